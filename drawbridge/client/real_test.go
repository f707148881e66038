// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"crypto"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"enarx.dev/enarx/drawbridge"
	"enarx.dev/enarx/internal/drawbridged"
	"enarx.dev/enarx/internal/drawbridged/auth"
	"enarx.dev/enarx/internal/drawbridged/store"
	"enarx.dev/enarx/oidctest"
)

// real is our own server, on a folder, with a provider and a user who has a
// repository.
type real struct {
	host   *httptest.Server
	faults *faults
	idp    *oidctest.Provider
}

func startReal(t *testing.T) *real {
	t.Helper()
	r := &real{idp: oidctest.Start(t, oidctest.Options{Audience: "testserver"})}
	s, err := store.OpenURL(t.Context(), "file://"+t.TempDir(), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	a, err := auth.New(auth.Config{Issuer: r.idp.Issuer(), Audiences: []string{"testserver"}, JWT: true, ClientID: "enarx", Tokens: s, Subjects: s})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { a.Run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
	server, err := drawbridged.New(drawbridged.Config{Store: s, Auth: a})
	if err != nil {
		t.Fatal(err)
	}
	r.faults = &faults{Handler: server.Handler()}
	r.host = start(t, r.faults)
	return r
}

func (r *real) client(t *testing.T, subject string) *Client {
	token := func(context.Context) (string, error) { return "", nil }
	if subject != "" {
		bearer := r.idp.Mint(oidctest.Claims{"sub": subject})
		token = func(context.Context) (string, error) { return bearer, nil }
	}
	return clientOf(t, r.host, Config{Token: token, Backoff: 5 * time.Millisecond})
}

// owner returns the client of a user with the repository of slug.
func (r *real) owner(t *testing.T, public bool) *Client {
	t.Helper()
	c := r.client(t, "test|owner")
	// The keys of the provider are fetched in the background: 503 until then.
	for _, want := range []bool{true, false} {
		if created, err := c.PutUser(t.Context(), slug, drawbridge.User{Subject: "test|owner"}); err != nil || created != want {
			t.Fatalf("user: %v, %v", created, err)
		}
		if created, err := c.PutRepository(t.Context(), slug, drawbridge.Repository{Public: public}); err != nil || created != want {
			t.Fatalf("repository: %v, %v", created, err)
		}
	}
	return c
}

func TestReal(t *testing.T) {
	r := startReal(t)
	c := r.owner(t, true)
	tree := build(t, folder(t, nested))
	key, public := newKey(t)
	p, err := c.Publish(t.Context(), slug, tree, PublishOptions{Signers: []crypto.Signer{key}})
	if err != nil || !p.Created {
		t.Fatalf("%+v, %v", p, err)
	}
	if p, err = c.Publish(t.Context(), slug, tree, PublishOptions{Signers: []crypto.Signer{key}}); err != nil || p.Created || p.Sent != 0 {
		t.Errorf("again: %+v, %v", p, err)
	}
	sum, _ := tree.Root().Digests.SHA256()
	pinned := slug
	pinned.Pinned, pinned.Digest = true, sum
	byDigest := pinned
	byDigest.Tag = ""
	anonymous := r.client(t, "")
	for _, s := range []drawbridge.Slug{slug, pinned, byDigest} {
		options := FetchOptions{Signers: drawbridge.NewSigners(public)}
		if s.Tag == "" {
			options.Signers = nil
		}
		into := filepath.Join(t.TempDir(), "into")
		if _, err := anonymous.Fetch(t.Context(), s, into, options); err != nil {
			t.Errorf("%s: %v", s, err)
			continue
		}
		same(t, contents(t, into), nested)
	}
	if tags, err := anonymous.Tags(t.Context(), slug); err != nil || !slices.Equal(tags, []string{"1.0.0"}) {
		t.Errorf("tags %q, %v", tags, err)
	}
	info, err := anonymous.Info(t.Context(), slug)
	if err != nil || !info.Public || len(info.Tags) != 1 || !info.Tags[0].Signed || info.Tags[0].Digest != drawbridge.Pin(sum) {
		t.Errorf("info %+v, %v", info, err)
	}
	d, err := anonymous.Deployment(t.Context(), slug)
	if err != nil || d.Digest != drawbridge.Pin(sum) || d.Digests != tree.Root().Digests || !slices.Equal(d.Signers, []string{public.Thumbprint()}) {
		t.Errorf("deployment %+v, %v", d, err)
	}
}

func TestRealVerbs(t *testing.T) {
	r := startReal(t)
	c, anonymous, stranger := r.owner(t, false), r.client(t, ""), r.client(t, "test|stranger")
	ctx := t.Context()
	if u, err := c.User(ctx, slug); err != nil || u.Subject != "test|owner" {
		t.Errorf("user %v, %v", u, err)
	}
	if repo, err := c.Repository(ctx, slug); err != nil || repo.Public {
		t.Errorf("repository %v, %v", repo, err)
	}
	if tags, err := c.Tags(ctx, slug); err != nil || len(tags) != 0 {
		t.Errorf("tags %v, %v", tags, err)
	}
	for _, other := range []*Client{anonymous, stranger} {
		if _, err := other.Tags(ctx, slug); !is(err, http.StatusUnauthorized) {
			t.Errorf("tags of a private repository: %v", err)
		}
	}
	if cfg, err := anonymous.Config(ctx); err != nil || cfg.Issuer != r.idp.Issuer() || cfg.ClientID != "enarx" {
		t.Errorf("config %+v, %v", cfg, err)
	}
	if w, err := c.Whoami(ctx); err != nil || w.Subject != "test|owner" {
		t.Errorf("whoami %+v, %v", w, err)
	}
	if _, err := c.Publish(ctx, slug, build(t, folder(t, nested)), PublishOptions{}); err != nil {
		t.Fatal(err)
	}
	for name, list := range map[string]func(*Client) (drawbridge.RepositoryList, error){
		"search":       func(c *Client) (drawbridge.RepositoryList, error) { return c.Search(ctx, "rep", 10, "") },
		"repositories": func(c *Client) (drawbridge.RepositoryList, error) { return c.Repositories(ctx, slug, "") },
	} {
		if found, err := list(c); err != nil || len(found.Repositories) != 1 || found.Repositories[0].Repository != "repo" {
			t.Errorf("%s by the owner: %+v, %v", name, found, err)
		}
		if found, err := list(stranger); err != nil || len(found.Repositories) != 0 {
			t.Errorf("%s by a stranger: %+v, %v", name, found, err)
		}
	}
	r.yank(t, c)
	policy := drawbridge.Policy{TEE: []string{"snp"}, Steward: "https://steward.example/"}
	if err := c.PutPolicy(ctx, slug, policy); err != nil {
		t.Error(err)
	}
	if got, err := c.Policy(ctx, slug); err != nil || !slices.Equal(got.TEE, policy.TEE) || got.Steward != policy.Steward {
		t.Errorf("policy %+v, %v", got, err)
	}
	r.robot(t, c)
}

func (r *real) yank(t *testing.T, c *Client) {
	t.Helper()
	ctx := t.Context()
	if _, err := c.Yanked(ctx, slug); !is(err, http.StatusNotFound) {
		t.Errorf("not yanked: %v", err)
	}
	if err := c.Yank(ctx, slug, "a bug"); err != nil {
		t.Error(err)
	}
	if y, err := c.Yanked(ctx, slug); err != nil || y.Reason != "a bug" {
		t.Errorf("yanked %+v, %v", y, err)
	}
	if _, err := c.Tag(ctx, slug); !is(err, http.StatusGone) || !strings.Contains(err.Error(), "a bug") {
		t.Errorf("a yanked tag: %v", err)
	}
	shown := clientOf(t, r.host, Config{Token: c.cfg.Token, ShowYanked: true})
	if _, err := shown.Tag(ctx, slug); err != nil {
		t.Errorf("a yanked tag, shown to the owner: %v", err)
	}
	if err := c.Unyank(ctx, slug); err != nil {
		t.Error(err)
	}
	if _, err := c.Tag(ctx, slug); err != nil {
		t.Errorf("no longer yanked: %v", err)
	}
}

func (r *real) robot(t *testing.T, c *Client) {
	t.Helper()
	ctx := t.Context()
	token, err := c.NewToken(ctx, slug, drawbridge.Token{Kind: "robot", Name: "ci", Actions: []string{"read", "publish"}, Expires: time.Now().Add(time.Hour)})
	if err != nil || token.Secret == "" {
		t.Fatalf("token %+v, %v", token, err)
	}
	list, err := c.Tokens(ctx, slug)
	if err != nil || len(list) != 1 || list[0].ID != token.ID || list[0].Secret != "" {
		t.Errorf("tokens %+v, %v", list, err)
	}
	robot := clientOf(t, r.host, Config{Token: func(context.Context) (string, error) { return token.Secret, nil }})
	next := slug
	next.Tag = "1.1.0"
	if _, err := robot.Publish(ctx, next, build(t, folder(t, map[string]string{"main.wasm": "by a robot"})), PublishOptions{}); err != nil {
		t.Errorf("a robot cannot publish: %v", err)
	}
	if err := c.RevokeToken(ctx, slug, token.ID); err != nil {
		t.Error(err)
	}
	if _, err := robot.Tags(ctx, slug); !is(err, http.StatusUnauthorized) {
		t.Errorf("a revoked token: %v", err)
	}
}

// A package that is cut off three times on its way to our server, and twice on
// its way back. ENARX_TEST_LONG makes it 1 GiB.
func TestRealResumes(t *testing.T) {
	size, chunk := int64(9<<20+5), int64(4<<20)
	if os.Getenv("ENARX_TEST_LONG") != "" {
		size, chunk = 1<<30, chunkSize
	}
	dir := folder(t, map[string]string{"small": "small", "more/small": "also small"})
	writeRandom(t, filepath.Join(dir, "main.wasm"), size)
	r := startReal(t)
	c := r.owner(t, true)
	m := newMemory()
	tree, err := BuildTree(t.Context(), dir, m.watch)
	if err != nil {
		t.Fatal(err)
	}
	once := clientOf(t, r.host, Config{Token: c.cfg.Token, Retries: -1})
	options := PublishOptions{StateDir: t.TempDir(), ChunkSize: chunk, Progress: m.watch}
	for i, cut := range []string{"PUT /api/v0.1.0/user/repo/_node", "PATCH", "PUT /api/v0.1.0/user/repo/_tag"} {
		n := int64(3 << 20)
		if i == 0 {
			n = 3
		}
		r.faults.add(cut, 1, cutRequest(n))
		if _, err := once.Publish(t.Context(), slug, tree, options); err == nil {
			t.Fatalf("run %d was not cut off", i)
		}
	}
	p, err := c.Publish(t.Context(), slug, tree, options)
	if err != nil || p.Created || p.Sent != 0 { // only the answer to the tag was lost
		t.Fatalf("created %v, sent %d, %v", p.Created, p.Sent, err)
	}
	sent := r.faults.patched.Load()
	if sent > size+chunk {
		t.Errorf("more than a piece was sent again: %d bytes for %d", sent, size)
	}
	r.faults.add("tree/main.wasm", 2, cutAfter(3<<20))
	into := filepath.Join(t.TempDir(), "into")
	root, err := r.client(t, "").Fetch(t.Context(), slug, into, FetchOptions{Progress: m.watch})
	if err != nil || r.faults.left() != 0 {
		t.Fatalf("%v, %d faults left", err, r.faults.left())
	}
	if got := build(t, into).Root(); got != root || root != tree.Root() {
		t.Errorf("fetched %v, want %v", got, tree.Root())
	}
	t.Logf("%d bytes were sent for %d; the heap of client and server grew by %d KiB", sent, size, m.grown()>>10)
	if m.grown() > 90<<20 {
		t.Errorf("the heap grew by %d bytes", m.grown())
	}
}

func writeRandom(t *testing.T, name string, size int64) {
	t.Helper()
	f, err := os.Create(name)
	if err == nil {
		_, err = io.CopyN(f, rand.NewChaCha8([32]byte{2}), size)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
}

// What goes wrong is told in the server's words.
func TestRealRefuses(t *testing.T) {
	r := startReal(t)
	c := r.owner(t, false)
	tree := build(t, folder(t, nested))
	for name, tt := range map[string]struct {
		c      *Client
		s      drawbridge.Slug
		status int
	}{
		"anonymous":     {r.client(t, ""), slug, http.StatusUnauthorized},
		"stranger":      {r.client(t, "test|stranger"), slug, http.StatusUnauthorized},
		"no repository": {c, drawbridge.Slug{User: "user", Repository: "nothing", Tag: "1.0.0"}, http.StatusNotFound},
	} {
		_, err := tt.c.Publish(t.Context(), tt.s, tree, PublishOptions{})
		if e, ok := errors.AsType[*StatusError](err); !ok || e.Status != tt.status || e.Text == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := c.Publish(t.Context(), slug, tree, PublishOptions{}); err != nil {
		t.Fatal(err)
	}
	other := build(t, folder(t, map[string]string{"main.wasm": "other"}))
	if _, err := c.Publish(t.Context(), slug, other, PublishOptions{}); !errors.Is(err, ErrTaken) {
		t.Errorf("another package: %v", err)
	}
}

// Several publish one package at once, with one folder of unfinished uploads.
func TestRealTogether(t *testing.T) {
	r := startReal(t)
	c := r.owner(t, true)
	dir := folder(t, nested)
	writeRandom(t, filepath.Join(dir, "large"), 700<<10)
	tree := build(t, dir)
	options := PublishOptions{StateDir: t.TempDir(), ChunkSize: 64 << 10}
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			if _, err := c.Publish(t.Context(), slug, tree, options); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	into := filepath.Join(t.TempDir(), "into")
	if root, err := r.client(t, "").Fetch(t.Context(), slug, into, FetchOptions{}); err != nil || root != tree.Root() {
		t.Errorf("%v", err)
	}
}

func TestRealOpen(t *testing.T) {
	r := startReal(t)
	c := r.owner(t, true)
	tree := build(t, folder(t, nested))
	if _, err := c.Publish(t.Context(), slug, tree, PublishOptions{}); err != nil {
		t.Fatal(err)
	}
	r.faults.add("tree/assets/b", 1, status(http.StatusServiceUnavailable, ""))
	body, m, err := c.Open(t.Context(), slug, drawbridge.Path{"assets", "b"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(body)
	if closeErr := body.Close(); err != nil || closeErr != nil || string(got) != "b" || m != drawbridge.MetaOf(got, drawbridge.TypeBinary) {
		t.Errorf("read %q, %+v, %v, %v", got, m, err, closeErr)
	}
	other := drawbridge.MetaOf([]byte("c"), drawbridge.TypeBinary)
	if _, _, err := c.Open(t.Context(), slug, drawbridge.Path{"assets", "b"}, &other); !errors.Is(err, ErrListing) {
		t.Errorf("another node: %v", err)
	}
	if _, _, err := c.Open(t.Context(), slug, drawbridge.Path{"nothing"}, nil); !is(err, http.StatusNotFound) {
		t.Errorf("no node: %v", err)
	}
	nodes, err := c.Walk(t.Context(), slug, tree.Root())
	if err != nil || len(nodes) != len(tree.Nodes) {
		t.Fatalf("walked %d nodes of %d, %v", len(nodes), len(tree.Nodes), err)
	}
	for i, n := range nodes {
		if n.Meta != tree.Nodes[i].Meta || n.Path.String() != tree.Nodes[i].Path.String() {
			t.Errorf("node %d is %s, want %s", i, n.Path, tree.Nodes[i].Path)
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"errors"
	"io"
	"io/fs"
	"log"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"enarx.dev/enarx/drawbridge"
)

var discardLog = log.New(io.Discard, "", 0)

var slug = drawbridge.Slug{User: "user", Repository: "repo", Tag: "1.0.0"}

// folder makes a folder of files.
func folder(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		name = filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func contents(t testing.TB, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := fs.WalkDir(os.DirFS(dir), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(filepath.Join(dir, name))
		files[name] = string(content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func build(t testing.TB, dir string) *Tree {
	t.Helper()
	tree, err := BuildTree(t.Context(), dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

var nested = map[string]string{
	"main.wasm": "\x00asm", "Enarx.toml": "", "assets/a/deep/file:1.txt": "deep", "assets/b": "b", "assets/same": "same", "z/same": "same", "zz": "last",
}

func same(t *testing.T, got, want map[string]string) {
	t.Helper()
	for name := range want {
		if content, ok := got[name]; !ok || content != want[name] {
			t.Errorf("%s: there %v, %d bytes, want %d", name, ok, len(content), len(want[name]))
		}
	}
	for name := range got {
		if _, ok := want[name]; !ok {
			t.Errorf("%s is too much", name)
		}
	}
}

func TestPublishFetch(t *testing.T) {
	server := newTiny(false)
	c := serve(t, server)
	tree := build(t, folder(t, nested))
	var last Event
	p, err := c.Publish(t.Context(), slug, tree, PublishOptions{Progress: func(e Event) { last = e }})
	if err != nil || !p.Created || p.Root != tree.Root() {
		t.Fatalf("%+v, %v", p, err)
	}
	if last.Done != last.Total || last.Step != Sending || last.Done != p.Sent || p.Sent+p.Skipped != tree.Size() || p.Skipped != 4 {
		t.Errorf("progress ended with %+v; sent %d and skipped %d of %d", last, p.Sent, p.Skipped, tree.Size())
	}
	log := server.requests()
	if log[len(log)-1] != "PUT /user/repo/_tag/1.0.0" {
		t.Errorf("the tag is not the last: %q", log)
	}
	into := filepath.Join(t.TempDir(), "into")
	root, err := c.Fetch(t.Context(), slug, into, FetchOptions{Progress: func(e Event) { last = e }})
	if err != nil || root != tree.Root() {
		t.Fatalf("%v, %v", root, err)
	}
	same(t, contents(t, into), nested)
	if last.Step != Receiving || last.Done != last.Total || last.Done != 4+4+1+4+4+4 {
		t.Errorf("progress ended with %+v", last)
	}

	p, err = c.Publish(t.Context(), slug, tree, PublishOptions{})
	if err != nil || p.Created || p.Sent != 0 || p.Skipped != tree.Size() {
		t.Errorf("again: %+v, %v", p, err)
	}
	next := slug
	next.Tag = "1.0.1"
	p, err = c.Publish(t.Context(), next, tree, PublishOptions{})
	if err != nil || !p.Created || p.Sent != 0 {
		t.Errorf("under another tag: %+v, %v", p, err)
	}
	other := build(t, folder(t, map[string]string{"main.wasm": "other"}))
	if _, err = c.Publish(t.Context(), slug, other, PublishOptions{}); !errors.Is(err, ErrTaken) {
		t.Errorf("another package: %v", err)
	}
}

func TestFetchPlaces(t *testing.T) {
	server := newTiny(false)
	c := serve(t, server)
	tree := build(t, folder(t, nested))
	lone := build(t, filepath.Join(folder(t, map[string]string{"main.wasm": "\x00asm"}), "main.wasm"))
	text := build(t, filepath.Join(folder(t, map[string]string{"x.txt": "text"}), "x.txt"))
	for tag, tree := range map[string]*Tree{"1.0.0": tree, "2.0.0": lone, "3.0.0": text} {
		s := slug
		s.Tag = tag
		if _, err := c.Publish(t.Context(), s, tree, PublishOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	sum, _ := tree.Root().Digests.SHA256()
	pin := drawbridge.Pin(sum)
	for text, want := range map[string]map[string]string{
		"user/repo:1.0.0": nested, "user/repo:1.0.0@" + pin: nested, "user/repo@" + pin: nested,
		"user/repo:2.0.0": {"main.wasm": "\x00asm"}, "user/repo:3.0.0": {"content": "text"},
	} {
		s, err := drawbridge.ParseSlug(text)
		if err != nil {
			t.Fatal(err)
		}
		into := t.TempDir() // empty is fine
		if _, err := c.Fetch(t.Context(), s, into, FetchOptions{}); err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		same(t, contents(t, into), want)
	}
	s := slug
	s.Pinned, s.Tag, s.Digest = true, "2.0.0", sum
	into := filepath.Join(t.TempDir(), "into")
	if _, err := c.Fetch(t.Context(), s, into, FetchOptions{}); !errors.Is(err, ErrPin) {
		t.Errorf("another package than the pinned one: %v", err)
	}
	full := folder(t, map[string]string{"x": "mine"})
	if _, err := c.Fetch(t.Context(), slug, full, FetchOptions{}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("into a folder with files: %v", err)
	}
	same(t, contents(t, full), map[string]string{"x": "mine"})
	t.Chdir(t.TempDir())
	if _, err := c.Fetch(t.Context(), slug, ".", FetchOptions{}); err == nil {
		t.Error("the working folder was replaced under us")
	}
	if _, err := c.Fetch(t.Context(), slug, "relative", FetchOptions{}); err != nil {
		t.Error(err)
	}
	if entries, _ := os.ReadDir(filepath.Dir(into)); len(entries) != 0 {
		t.Errorf("left over: %v", entries)
	}
}

func newKey(t *testing.T) (crypto.Signer, drawbridge.PublicKey) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	public, err := drawbridge.NewPublicKey(private.Public())
	if err != nil {
		t.Fatal(err)
	}
	return private, public
}

func TestSigned(t *testing.T) {
	c := serve(t, newTiny(false))
	tree := build(t, folder(t, nested))
	key, public := newKey(t)
	_, stranger := newKey(t)
	for range 2 { // the second time it is there
		if _, err := c.Publish(t.Context(), slug, tree, PublishOptions{Signers: []crypto.Signer{key}}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.Publish(t.Context(), slug, tree, PublishOptions{}); err != nil {
		t.Errorf("unsigned over signed: %v", err)
	}
	unsigned := slug
	unsigned.Tag = "2.0.0"
	if _, err := c.Publish(t.Context(), unsigned, tree, PublishOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Publish(t.Context(), unsigned, tree, PublishOptions{Signers: []crypto.Signer{key}}); !errors.Is(err, ErrTaken) || !errors.Is(err, drawbridge.ErrUnsigned) {
		t.Errorf("signed over unsigned: %v", err)
	}
	sum, _ := tree.Root().Digests.SHA256()
	for _, tt := range []struct {
		name string
		slug drawbridge.Slug
		by   drawbridge.Signers
		want error
	}{
		{"by the key", slug, drawbridge.NewSigners(stranger, public), nil},
		{"by another key", slug, drawbridge.NewSigners(stranger), drawbridge.ErrUnknownSigner},
		{"unsigned", unsigned, drawbridge.NewSigners(public), drawbridge.ErrUnsigned},
		{"nobody is trusted", slug, drawbridge.Signers{}, drawbridge.ErrUnknownSigner},
		{"no tag", drawbridge.Slug{User: "user", Repository: "repo", Pinned: true, Digest: sum}, drawbridge.NewSigners(public), drawbridge.ErrUnsigned},
	} {
		into := filepath.Join(t.TempDir(), "into")
		_, err := c.Fetch(t.Context(), tt.slug, into, FetchOptions{Signers: tt.by})
		if !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
		if _, statErr := os.Stat(into); (statErr == nil) != (tt.want == nil) {
			t.Errorf("%s: the folder: %v", tt.name, statErr)
		}
	}
}

// The key may be on another machine.
func TestSignedElsewhere(t *testing.T) {
	c := serve(t, newTiny(false))
	tree := build(t, folder(t, nested))
	key, _ := newKey(t)
	elsewhere := slug
	elsewhere.Tag = "3.0.0"
	offline, err := drawbridge.SignTag(drawbridge.Entry{Meta: tree.Root()}, elsewhere.Name(), key)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		p, err := c.Publish(t.Context(), elsewhere, tree, PublishOptions{Tag: &offline})
		if err != nil || string(p.Tag.Raw) != string(offline.Raw) {
			t.Errorf("signed elsewhere: %v", err)
		}
	}
	if _, err := c.Publish(t.Context(), elsewhere, build(t, t.TempDir()), PublishOptions{Tag: &offline}); !errors.Is(err, ErrOtherTree) {
		t.Errorf("signed elsewhere, for other files: %v", err)
	}
	if _, err := c.Publish(t.Context(), slug, tree, PublishOptions{Tag: &offline}); !errors.Is(err, drawbridge.ErrOtherTag) {
		t.Errorf("signed elsewhere, for another tag: %v", err)
	}
}

// random returns bytes that are the same in every run.
func random(n int) string {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(b)
	return string(b)
}

// Three runs are cut off, each further on; each is a new process as far as the
// client can tell. No byte that the server kept is sent again.
func TestPublishResumes(t *testing.T) {
	const size = 370<<10 + 123
	files := map[string]string{"main.wasm": random(size), "Enarx.toml": "x", "data/small": "small"}
	tree := build(t, folder(t, files))
	server := newTiny(false)
	f := &faults{Handler: server}
	host := start(t, f)
	state := t.TempDir()
	options := PublishOptions{StateDir: state, ChunkSize: 80 << 10}
	for i, cut := range []string{"PATCH /api/v0.1.0/user/repo/_upload/1", "PATCH /api/v0.1.0/user/repo/_upload/1", "PUT /api/v0.1.0/user/repo/_tag"} {
		if i < 2 { // one piece passes
			f.add(cut, 1, func(w http.ResponseWriter, r *http.Request, next http.Handler) { next.ServeHTTP(w, r) })
		}
		f.add(cut, 1, cutRequest(5*part+77))
		c := clientOf(t, host, Config{Retries: -1})
		if _, err := c.Publish(t.Context(), slug, tree, options); err == nil {
			t.Fatalf("run %d was not cut off", i)
		}
		if f.left() != 0 {
			t.Fatalf("run %d: faults left", i)
		}
	}
	var p Published
	var err error
	if p, err = clientOf(t, host, Config{}).Publish(t.Context(), slug, tree, options); err != nil || !p.Created {
		t.Fatalf("%+v, %v", p, err)
	}
	if p.Sent != 0 {
		t.Errorf("the last run sent %d bytes", p.Sent)
	}
	// Two pieces broke off with 77 bytes behind the last whole part.
	if got := server.bytes("upload"); got != size+2*77 {
		t.Errorf("%d bytes were sent for %d", got, size)
	}
	if got := server.bytes(drawbridge.TypeTOML) + server.bytes(drawbridge.TypeBinary); got != 6 {
		t.Errorf("small files were sent again: %d bytes", got)
	}
	if entries, _ := os.ReadDir(state); len(entries) != 0 {
		t.Errorf("remembered for nothing: %v", entries)
	}
	into := filepath.Join(t.TempDir(), "into")
	if _, err := clientOf(t, host, Config{}).Fetch(t.Context(), slug, into, FetchOptions{}); err != nil {
		t.Fatal(err)
	}
	same(t, contents(t, into), files)
}

// Whatever may pass is repeated within one run.
func TestPublishRetries(t *testing.T) {
	const size = 170 << 10
	files := map[string]string{"main.wasm": random(size), "small": "small"}
	tree := build(t, folder(t, files))
	cut, lost := cutRequest(30<<10), cutAnswer(0)
	for _, tt := range []struct {
		match  string
		strike func(http.ResponseWriter, *http.Request, http.Handler)
	}{
		{"GET /api/v0.1.0/user/repo/_tag", status(http.StatusServiceUnavailable, "busy")},
		{"_nodes", status(http.StatusTooManyRequests, "slowly")}, {"_nodes", lost},
		{"_node", cut}, {"PUT /api/v0.1.0/user/repo/_node", lost}, {"PUT /api/v0.1.0/user/repo/_node", status(http.StatusBadGateway, "")},
		{"POST /api/v0.1.0/user/repo/_upload", lost}, {"PATCH", cut}, {"PATCH", lost}, {"PATCH", status(http.StatusServiceUnavailable, "")},
		{"PUT /api/v0.1.0/user/repo/_upload", lost}, // done, but we do not know: the upload is gone
		{"PUT /api/v0.1.0/user/repo/_upload", status(http.StatusServiceUnavailable, "")},
		{"PATCH", status(http.StatusNotFound, "expired")},
		{"PUT /api/v0.1.0/user/repo/_tag", lost}, {"PUT /api/v0.1.0/user/repo/_tag", status(http.StatusGatewayTimeout, "")},
	} {
		server := newTiny(false)
		f := (&faults{Handler: server}).add(tt.match, 2, tt.strike)
		var last Event
		_, err := serve(t, f).Publish(t.Context(), slug, tree, PublishOptions{ChunkSize: 60 << 10, Progress: func(e Event) { last = e }})
		if err != nil || f.left() > 1 {
			t.Errorf("%s: %v, %d faults left", tt.match, err, f.left())
			continue
		}
		if last.Done != last.Total || last.Done+last.Skipped != tree.Size() {
			t.Errorf("%s: progress ended with %+v of %d", tt.match, last, tree.Size())
		}
		if err := f.fetchSame(t, files); err != nil {
			t.Errorf("%s: %v", tt.match, err)
		}
	}
}

func (f *faults) fetchSame(t *testing.T, files map[string]string) error {
	into := filepath.Join(t.TempDir(), "into")
	_, err := serve(t, f.Handler).Fetch(t.Context(), slug, into, FetchOptions{})
	if err == nil {
		same(t, contents(t, into), files)
	}
	return err
}

// What does not pass is told at once, in the server's words.
func TestPublishFails(t *testing.T) {
	tree := build(t, folder(t, map[string]string{"main.wasm": random(170 << 10), "small": "s"}))
	for _, tt := range []struct {
		match, want string
		status      int
	}{
		{"_nodes", "GET", http.StatusInternalServerError}, {"_nodes", "", http.StatusUnauthorized}, {"_nodes", "", http.StatusNotFound},
		{"PUT /api/v0.1.0/user/repo/_node", "", http.StatusInsufficientStorage}, {"PATCH", "", http.StatusForbidden}, {"PATCH", "", http.StatusConflict},
		{"PUT /api/v0.1.0/user/repo/_upload", "", http.StatusInsufficientStorage},
		{"PUT /api/v0.1.0/user/repo/_tag", "", http.StatusUnprocessableEntity}, {"GET /api/v0.1.0/user/repo/_tag", "", http.StatusGone},
	} {
		server := newTiny(false)
		f := (&faults{Handler: server}).add(tt.match, 1, status(tt.status, "the reason"))
		_, err := serve(t, f).Publish(t.Context(), slug, tree, PublishOptions{ChunkSize: 60 << 10})
		e, ok := errors.AsType[*StatusError](err)
		if !ok || e.Status != tt.status || e.Text != "the reason" {
			t.Errorf("%s: %v, want %d", tt.match, err, tt.status)
		}
		if slices.Contains(server.requests(), "PUT /user/repo/_tag/1.0.0") {
			t.Errorf("%s: the tag was sent", tt.match)
		}
	}
	server := newTiny(false)
	server.forget = func(m drawbridge.Meta) bool { return m.Length == 1 }
	if _, err := serve(t, server).Publish(t.Context(), slug, tree, PublishOptions{}); !errors.Is(err, ErrNotCommitted) {
		t.Errorf("a server that loses a node: %v", err)
	}
	once := true
	server = newTiny(false)
	server.forget = func(m drawbridge.Meta) bool {
		lose := once && m.Length == 1
		once = once && !lose
		return lose
	}
	if _, err := serve(t, server).Publish(t.Context(), slug, tree, PublishOptions{}); err != nil {
		t.Errorf("a server that loses a node once: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	f := (&faults{Handler: newTiny(false)}).add("PATCH", 1, func(http.ResponseWriter, *http.Request, http.Handler) { cancel(); panic(http.ErrAbortHandler) })
	if _, err := serve(t, f).Publish(ctx, slug, tree, PublishOptions{ChunkSize: 60 << 10}); !errors.Is(err, context.Canceled) {
		t.Errorf("a caller that gives up: %v", err)
	}
}

func TestPublishChanged(t *testing.T) {
	for name, change := range map[string]func(string) error{
		"longer":      func(f string) error { return os.WriteFile(f, []byte("longer"), 0o644) },
		"other bytes": func(f string) error { return os.WriteFile(f, []byte("T"), 0o644) },
		"gone":        os.Remove,
	} {
		dir := folder(t, map[string]string{"main.wasm": "t"})
		tree := build(t, dir)
		if err := change(filepath.Join(dir, "main.wasm")); err != nil {
			t.Fatal(err)
		}
		server := newTiny(false)
		_, err := serve(t, server).Publish(t.Context(), slug, tree, PublishOptions{})
		if err == nil || !strings.Contains(err.Error(), "main.wasm") {
			t.Errorf("%s: %v", name, err)
		}
		if n := len(server.requests()); n > 5 {
			t.Errorf("%s: tried with %d requests", name, n)
		}
	}
}

// An upload that an earlier run began with other bytes is begun anew.
func TestUploadPoisoned(t *testing.T) {
	tree := build(t, folder(t, map[string]string{"main.wasm": random(170 << 10)}))
	server := newTiny(false)
	c := serve(t, server)
	server.uploads["old"] = []byte("something else")
	for name, id := range map[string]string{"other bytes": "old", "unknown": "gone", "no ID at all": "../x"} {
		state := t.TempDir()
		u := uploads{dir: state}
		for _, n := range tree.Nodes {
			u.put(u.file(c.Host(), slug, n.Meta), id)
		}
		s := slug
		s.Tag = "1.0.0-" + strings.ReplaceAll(name, " ", "-")
		if _, err := c.Publish(t.Context(), s, tree, PublishOptions{StateDir: state, ChunkSize: 60 << 10}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		clear(server.contents)
		clear(server.objects)
	}
}

// A server of upstream's gets what upstream's clients send, in their order.
func TestPlain(t *testing.T) {
	tree := build(t, folder(t, nested))
	server := newTiny(true)
	c := serve(t, server)
	p, err := c.Publish(t.Context(), slug, tree, PublishOptions{})
	if err != nil || !p.Created || p.Sent != tree.Size() {
		t.Fatalf("%+v, %v", p, err)
	}
	var puts []string
	for _, line := range server.requests() {
		if rest, ok := strings.CutPrefix(line, "PUT /user/repo/_tag/1.0.0"); ok {
			puts = append(puts, strings.TrimPrefix(rest, "/tree"))
		}
	}
	want := []string{"", "", "/Enarx.toml", "/assets", "/assets/a", "/assets/a/deep", "/assets/a/deep/file:1.txt", "/assets/b", "/assets/same", "/main.wasm", "/z", "/z/same", "/zz"}
	if !slices.Equal(puts, want) {
		t.Errorf("sent %q, want %q", puts, want)
	}
	if err := (&faults{Handler: server}).fetchSame(t, nested); err != nil {
		t.Error(err)
	}
	p, err = c.Publish(t.Context(), slug, tree, PublishOptions{})
	if err != nil || p.Created || p.Sent != 0 {
		t.Errorf("again: %+v, %v", p, err)
	}
	key, _ := newKey(t)
	signed := slug
	signed.Tag = "2.0.0"
	if _, err := c.Publish(t.Context(), signed, tree, PublishOptions{Signers: []crypto.Signer{key}}); !errors.Is(err, errSignedPlain) {
		t.Errorf("signed: %v", err)
	}
	other := build(t, folder(t, map[string]string{"main.wasm": "other"}))
	if _, err := c.Publish(t.Context(), slug, other, PublishOptions{}); !errors.Is(err, ErrTaken) {
		t.Errorf("another package: %v", err)
	}
}

func TestPlainCutOff(t *testing.T) {
	tree := build(t, folder(t, nested))
	for _, tt := range []struct {
		name, match string
		strike      func(http.ResponseWriter, *http.Request, http.Handler)
		want        error
	}{
		{"answer to the tag lost", "PUT /api/v0.1.0/user/repo/_tag/1.0.0", cutAnswer(0), nil},
		{"answer to a node lost", "PUT /api/v0.1.0/user/repo/_tag/1.0.0/tree/assets/b", cutAnswer(0), nil},
		{"refused for now", "tree/main.wasm", status(http.StatusBadGateway, ""), nil},
		{"name burnt", "PUT /api/v0.1.0/user/repo/_tag/1.0.0/tree/main.wasm", cutRequest(2), ErrBroken},
	} {
		f := (&faults{Handler: newTiny(true)}).add(tt.match, 1, tt.strike)
		_, err := serve(t, f).Publish(t.Context(), slug, tree, PublishOptions{})
		if !errors.Is(err, tt.want) || f.left() != 0 {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
		if tt.want == nil {
			if err := f.fetchSame(t, nested); err != nil {
				t.Errorf("%s: %v", tt.name, err)
			}
		}
	}
}

// Somebody else publishes while we do.
func TestPublishRace(t *testing.T) {
	server := newTiny(false)
	c := serve(t, server)
	tree := build(t, folder(t, nested))
	key, _ := newKey(t)
	if _, err := c.Publish(t.Context(), slug, tree, PublishOptions{Signers: []crypto.Signer{key}}); err != nil {
		t.Fatal(err)
	}
	late := func() *Client { // to whom the tag is not there yet when it looks
		return serve(t, (&faults{Handler: server}).add("GET /api/v0.1.0/user/repo/_tag", 1, status(http.StatusNotFound, "")))
	}
	p, err := late().Publish(t.Context(), slug, tree, PublishOptions{})
	if err != nil || p.Created || !p.Tag.Signed() {
		t.Errorf("the same package: created %v, signed %v, %v", p.Created, p.Tag.Signed(), err)
	}
	other := build(t, folder(t, map[string]string{"main.wasm": "other"}))
	if _, err := late().Publish(t.Context(), slug, other, PublishOptions{}); !errors.Is(err, ErrTaken) {
		t.Errorf("another package: %v", err)
	}
}

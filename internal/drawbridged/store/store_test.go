// SPDX-License-Identifier: Apache-2.0

package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"gocloud.dev/blob"

	"enarx.dev/enarx/drawbridge"
	"enarx.dev/enarx/internal/drawbridged/disk"
)

// A rig is a store under test.
type rig struct {
	testing.TB
	*Store
}

// emptyBuckets opens an empty bucket of each kind that needs no program.
var emptyBuckets = map[string]func(testing.TB) *blob.Bucket{
	"disk": func(t testing.TB) *blob.Bucket {
		b, err := disk.Open(fastDir(t), disk.Options{})
		if err != nil {
			t.Fatal(err)
		}
		return b
	},
	"memory": func(t testing.TB) *blob.Bucket {
		b, err := openBucket(t.Context(), "mem://", false)
		if err != nil {
			t.Fatal(err)
		}
		return b
	},
	"gofakes3": func(t testing.TB) *blob.Bucket { return startFakeS3(t).bucket(t, "contract") },
}

func TestStore(t *testing.T) {
	for name, open := range emptyBuckets {
		t.Run(name, func(t *testing.T) { testStore(t, open) })
	}
}

// testStore is what every bucket must do for a Store. open returns an empty
// bucket each time.
func testStore(t *testing.T, open func(testing.TB) *blob.Bucket) {
	for _, test := range []struct {
		name string
		opts Options
		run  func(rig)
	}{
		{"users", Options{}, testUsers},
		{"repositories", Options{}, testRepos},
		{"subjects", Options{}, testSubjects},
		{"names", Options{}, testNames},
		{"tokens", Options{}, testTokens},
		{"publish", Options{}, testPublish},
		{"again", Options{}, testAgain},
		{"mismatch", Options{}, testMismatch},
		{"orphans", Options{}, testOrphans},
		{"strict", Options{StrictTree: true}, testStrict},
		{"possession", Options{}, testPossession},
		{"pending", Options{}, testPending},
		{"together", Options{}, testTogether},
		{"last node", Options{}, testLastNode},
		{"digests", Options{}, testDigests},
		{"yank", Options{}, testYank},
		{"upload", Options{}, testUpload},
		{"upload refused", Options{}, testUploadRefused},
		{"limits", Options{Limits: func(string) Limits { return Limits{Bytes: limitOfTest} }}, testLimits},
		{"limits of names", Options{Limits: func(string) Limits { return Limits{Repos: 2, Tags: 2} }}, testLimitsOfNames},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, err := Open(t.Context(), open(t), test.opts)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = s.Close() })
			test.run(rig{t, s})
		})
	}
}

// is fails the test unless err is the one that is wanted.
func (r rig) is(err, want error, format string, args ...any) {
	r.Helper()
	if !errors.Is(err, want) {
		r.Errorf("%s: %v, want %v", fmt.Sprintf(format, args...), err, want)
	}
}

// repo makes a user and his repository.
func (r rig) repo(user, repo string) {
	r.Helper()
	if _, err := r.PutUser(r.Context(), user, NewObject(drawbridge.User{Subject: "of " + user}.Canonical(), drawbridge.TypeJSON)); err != nil {
		r.Fatal(err)
	}
	if _, err := r.PutRepo(r.Context(), user, repo, NewObject([]byte(`{"public":true}`), drawbridge.TypeJSON)); err != nil {
		r.Fatal(err)
	}
}

func (r rig) node(user, repo, tag, path string, n sent) (PutResult, error) {
	return r.PutNode(r.Context(), user, repo, tag, splitPath(path), n.meta, bytes.NewReader(n.content))
}

// publish uploads a tag and its nodes as upstream's clients do.
func (r rig) publish(user, repo, tag string, nodes map[string]sent) {
	r.Helper()
	if _, err := r.PutTag(r.Context(), user, repo, tag, entryOf(nodes)); err != nil {
		r.Fatal(err)
	}
	for _, path := range inOrder(nodes) {
		if _, err := r.node(user, repo, tag, path, nodes[path]); err != nil {
			r.Fatalf("%s: %v", path, err)
		}
	}
}

// blobs returns the sizes of all blobs.
func (r rig) blobs() (count int, size int64) {
	r.Helper()
	for o, err := range r.list(r.Context(), "blobs/", "") {
		if err != nil {
			r.Fatal(err)
		}
		count++
		size += o.Size
	}
	return count, size
}

// names returns the committed tags, those yanked in brackets.
func (r rig) tagNames(user, repo string) string {
	r.Helper()
	names, err := r.TagNames(r.Context(), user, repo)
	if err != nil {
		r.Fatal(err)
	}
	var texts []string
	for _, n := range names {
		if n.Yanked {
			n.Name = "(" + n.Name + ")"
		}
		texts = append(texts, n.Name)
	}
	return strings.Join(texts, " ")
}

func file(content, mediaType string) sent {
	return sent{drawbridge.MetaOf([]byte(content), mediaType), []byte(content)}
}

func testUsers(r rig) {
	ctx := r.Context()
	alice := NewObject([]byte(`{"subject":"test|subject"}`), drawbridge.TypeJSON)
	for i, want := range []bool{true, false} {
		if created, err := r.PutUser(ctx, "alice", alice); created != want || err != nil {
			r.Errorf("put %d: %t, %v", i, created, err)
		}
	}
	got, err := r.GetUser(ctx, "alice")
	if err != nil || !got.same(alice) || got.Subject != "test|subject" || got.Created.IsZero() {
		r.Errorf("got %+v, %v", got, err)
	}
	_, err = r.PutUser(ctx, "alice", NewObject([]byte(`{"subject":"other"}`), drawbridge.TypeJSON))
	r.is(err, ErrConflict, "another content")
	fewer := alice
	fewer.Meta.Digests, _ = drawbridge.ParseDigestHeader("sha-224=:bV9/oPJS4ye2lM9m2I2g9tlo/kwddsbXx0THUg==:")
	_, err = r.PutUser(ctx, "alice", fewer)
	r.is(err, ErrConflict, "the same with fewer digests")
	wrong := alice
	wrong.Body = []byte(`{"subject":"test|Subject"}`)
	_, err = r.PutUser(ctx, "bob", wrong)
	r.is(err, ErrMismatch, "a wrong digest")
	_, err = r.GetUser(ctx, "bob")
	r.is(err, ErrNotFound, "what was refused")
}

func testRepos(r rig) {
	ctx := r.Context()
	o := NewObject([]byte(`{"public":true}`), drawbridge.TypeJSON)
	_, err := r.PutRepo(ctx, "bob", "repo", o)
	r.is(err, ErrNotFound, "repository of nobody")
	r.repo("alice", "zero")
	for repo, public := range map[string]bool{"one": true, "two": false} {
		o := NewObject(drawbridge.Repository{Public: public}.Canonical(), drawbridge.TypeJSON)
		if created, err := r.PutRepo(ctx, "alice", repo, o); !created || err != nil {
			r.Error(created, err)
		}
		got, err := r.GetRepo(ctx, "alice", repo)
		if err != nil || got.Public != public || !got.same(o) {
			r.Errorf("got %+v, %v", got, err)
		}
	}
	if _, err := r.PutRepo(ctx, "alice", "odd", NewObject([]byte(`{"public":true,"x":1}`), drawbridge.TypeJSON)); err != nil {
		r.Error(err)
	}
	if odd, err := r.GetRepo(ctx, "alice", "odd"); err != nil || odd.Public {
		r.Errorf("a repository that nobody understands: %+v, %v", odd, err)
	}
	if names, err := r.Repos(ctx, "alice"); err != nil || !slices.Equal(names, []string{"odd", "one", "two", "zero"}) {
		r.Errorf("repositories: %q, %v", names, err)
	}

	_, err = r.Policy(ctx, "alice", "one")
	r.is(err, ErrNotFound, "no policy")
	for _, p := range []string{"first", "second"} {
		if err := r.PutPolicy(ctx, "alice", "one", []byte(p)); err != nil {
			r.Error(err)
		}
		if got, err := r.Policy(ctx, "alice", "one"); err != nil || string(got) != p {
			r.Errorf("policy: %q, %v", got, err)
		}
	}
	r.is(r.PutPolicy(ctx, "alice", "none", nil), ErrNotFound, "policy of no repository")
}

func testSubjects(r rig) {
	ctx := r.Context()
	r.repo("alice", "repo")
	for _, tt := range []struct{ issuer, subject, user, holder string }{
		{"https://i/", "s", "ghost", "ghost"},   // never made,
		{"https://i/", "s", "alice", "alice"},   // so that he loses it
		{"https://i/", "s", "bob", "alice"},     //
		{"https://i/", "s", "alice", "alice"},   //
		{"https://i/s", "", "ghost", "ghost"},   // another pair
		{"https://j/", "s", "alice", "alice"},   //
		{"https://i/", "S", "ghost2", "ghost2"}, //
	} {
		if got, err := r.ClaimSubject(ctx, tt.issuer, tt.subject, tt.user); err != nil || got != tt.holder {
			r.Errorf("%+v: %s, %v", tt, got, err)
		}
	}
	if got, err := r.SubjectUser(ctx, "https://i/", "s"); err != nil || got != "alice" {
		r.Errorf("subject of %q, %v", got, err)
	}
	if got, err := r.SubjectUser(ctx, "https://i/", "unknown"); err != nil || got != "" {
		r.Errorf("subject of %q, %v", got, err)
	}
}

// testNames uses names that some file systems would take for the same, or not
// take at all.
func testNames(r rig) {
	ctx := r.Context()
	long := strings.Repeat("Long", 50)
	users := []string{"A", "AA", "Aa", "a", "aA", "aa", long + "1", long + "2"}
	slices.Sort(users)
	tree := tree{"main.wasm": "x"}.nodes(false)
	tags := []string{"1.0.0-A", "1.0.0-a", "1.0.0-a." + long + ".1", "1.0.0", "1.0.0+" + long, "1.0.0+b", "1.0.0-a.1"}
	for i, user := range users {
		for _, repo := range []string{"-", "R", "r", long + "-"} {
			r.repo(user, repo)
			if i > 0 && user != users[len(users)-1] {
				break
			}
		}
	}
	if got, err := r.Users(ctx, "", 0); err != nil || !slices.Equal(got, users) {
		r.Errorf("users: %q, %v", got, err)
	}
	if got, err := r.Users(ctx, "AA", 2); err != nil || !slices.Equal(got, []string{"Aa", long + "1"}) {
		r.Errorf("users behind AA: %q, %v", got, err)
	}
	user := users[len(users)-1]
	if got, err := r.Repos(ctx, user); err != nil || !slices.Equal(got, []string{"-", long + "-", "R", "r"}) {
		r.Errorf("repositories: %q, %v", got, err)
	}
	for _, tag := range tags {
		r.publish(user, long+"-", tag, tree)
	}
	slices.SortFunc(tags, drawbridge.CompareTags)
	if got := r.tagNames(user, long+"-"); got != strings.Join(tags, " ") {
		r.Errorf("tags:\n got %s\nwant %s", got, strings.Join(tags, " "))
	}
	if err := r.Yank(ctx, user, long+"-", tags[2], drawbridge.Yank{Reason: "x"}); err != nil {
		r.Error(err)
	}
	if infos, err := r.Tags(ctx, user, long+"-"); err != nil || len(infos) != len(tags) || infos[2].Yank == nil || infos[1].Yank != nil || infos[2].Name != tags[2] {
		r.Errorf("%+v, %v", infos, err)
	}
	for _, bad := range []string{"", ".", "..", "a/b", "a b", "ä", "^a", "~", strings.Repeat("a", 256)} {
		_, err := r.PutUser(ctx, bad, NewObject([]byte("{}"), drawbridge.TypeJSON))
		r.is(err, ErrInvalid, "user %q", bad)
		_, err = r.PutRepo(ctx, "a", bad, NewObject([]byte("{}"), drawbridge.TypeJSON))
		r.is(err, ErrInvalid, "repository %q", bad)
		_, err = r.PutTag(ctx, "a", "-", bad, entryOf(tree))
		r.is(err, ErrInvalid, "tag %q", bad)
		if bad == "^a" || bad == "~" {
			continue
		}
		if _, err := r.node("a", "-", "1.0.0", bad+"/"+bad, file("x", "a/b")); err == nil {
			r.Errorf("node %q was taken", bad)
		}
	}
}

func testTokens(r rig) {
	ctx := r.Context()
	for _, id := range []string{"one", "Two"} {
		if err := r.PutToken(ctx, "alice", id, []byte("record of "+id)); err != nil {
			r.Fatal(err)
		}
	}
	r.is(r.PutToken(ctx, "bob", "one", []byte("x")), ErrConflict, "an id that is taken")
	r.is(r.DeleteToken(ctx, "bob", "one"), ErrNotFound, "another's token")
	if got, err := r.TokenRecord(ctx, "Two"); err != nil || string(got) != "record of Two" {
		r.Errorf("%q, %v", got, err)
	}
	if got, err := r.Tokens(ctx, "alice"); err != nil || !slices.Equal(got, []string{"Two", "one"}) {
		r.Errorf("%q, %v", got, err)
	}
	for _, id := range []string{"two", "none", "", "../k", "a.b"} {
		if got, err := r.TokenRecord(ctx, id); err != nil || got != nil {
			r.Errorf("token %q: %q, %v", id, got, err)
		}
	}
	won := make(chan bool)
	for i := range 4 {
		go func() {
			made, err := r.ClaimTokenUse(ctx, "one", 1, fmt.Append(nil, i))
			if err != nil {
				r.Error(err)
			}
			won <- made
		}()
	}
	winners := 0
	for range 4 {
		if <-won {
			winners++
		}
	}
	if got, err := r.TokenUse(ctx, "one", 1); winners != 1 || len(got) != 1 || err != nil {
		r.Errorf("%d had the first use, which is %q, %v", winners, got, err)
	}
	if got, err := r.TokenUse(ctx, "one", 2); got != nil || err != nil {
		r.Errorf("the second use is %q, %v", got, err)
	}
	if err := r.DeleteToken(ctx, "alice", "one"); err != nil {
		r.Error(err)
	}
	if got, err := r.TokenRecord(ctx, "one"); err != nil || got != nil {
		r.Errorf("revoked: %q, %v", got, err)
	}
	r.is(r.DeleteToken(ctx, "alice", "one"), ErrNotFound, "revoked twice")
}

// testUpload cuts an upload at random places.
func testUpload(r rig) {
	ctx := r.Context()
	r.repo("alice", "repo")
	random := rand.New(rand.NewPCG(1, 2))
	content := make([]byte, partLimit+partLimit/3)
	for i := range content {
		content[i] = byte(random.Uint32())
	}
	n := sent{drawbridge.MetaOf(content, "a/b"), content}
	id, err := r.NewUpload(ctx, "alice", "repo")
	if err != nil {
		r.Fatal(err)
	}
	cuts, at := 0, int64(0)
	for at < n.meta.Length {
		offset, err := r.Upload(ctx, "alice", "repo", id)
		if err != nil || offset != at {
			r.Fatalf("offset %d, not %d, %v", offset, at, err)
		}
		rest := content[at:]
		if cut := random.IntN(3 << 20); cut < len(rest) && cuts < 4 {
			cuts++
			sender, cancel := context.WithCancel(ctx)
			body := io.MultiReader(bytes.NewReader(rest[:cut]), readerFunc(func([]byte) (int, error) {
				cancel() // as an HTTP server does when the connection breaks
				return 0, io.ErrUnexpectedEOF
			}))
			got, err := r.Append(sender, "alice", "repo", id, at, body)
			if !errors.Is(err, ErrBody) || got != at+int64(cut) {
				r.Fatalf("cut at %d: %d, %v", at+int64(cut), got, err)
			}
			at = got
			continue
		}
		if at, err = r.Append(ctx, "alice", "repo", id, at, bytes.NewReader(rest)); err != nil {
			r.Fatal(err)
		}
	}
	_, err = r.Append(ctx, "alice", "repo", id, 5, strings.NewReader("x"))
	r.is(err, ErrOffset, "another offset")
	for _, want := range []bool{true, false} {
		if result, err := r.Finish(ctx, "alice", "repo", id, n.meta); err != nil || result.Created != want {
			r.Errorf("finish: %+v, %v", result, err)
		}
	}
	sum, _ := n.meta.Digests.SHA256()
	body, err := r.Open(ctx, sum, 0, -1)
	if err != nil {
		r.Fatal(err)
	}
	if got, err := io.ReadAll(body); err != nil || !bytes.Equal(got, content) {
		r.Errorf("%d bytes, %v", len(got), err)
	}
	_ = body.Close()
}

// testUploadRefused asks for what an upload must not do.
func testUploadRefused(r rig) {
	ctx := r.Context()
	r.repo("alice", "repo")
	id, err := r.NewUpload(ctx, "alice", "repo")
	if err != nil {
		r.Fatal(err)
	}
	if _, err := r.Append(ctx, "alice", "repo", id, 0, strings.NewReader("wrong")); err != nil {
		r.Error(err)
	}
	right := file("right", "a/b").meta
	longer := right
	longer.Length++
	_, err = r.Finish(ctx, "alice", "repo", id, longer)
	r.is(err, ErrMismatch, "another length, so that it may go on")
	for _, other := range []string{"", "../..", strings.Repeat("0", 32)} {
		_, err = r.Upload(ctx, "alice", "repo", other)
		r.is(err, ErrNotFound, "upload %q", other)
	}
	r.repo("mallory", "repo")
	_, err = r.Upload(ctx, "mallory", "repo", id)
	r.is(err, ErrNotFound, "another's upload")
	_, err = r.Finish(ctx, "mallory", "repo", id, right)
	r.is(err, ErrNotFound, "another's upload")
	// Bytes that are not what is declared are of no use to anybody.
	_, err = r.Finish(ctx, "alice", "repo", id, right)
	r.is(err, ErrMismatch, "wrong bytes")
	_, err = r.Upload(ctx, "alice", "repo", id)
	r.is(err, ErrNotFound, "wrong bytes")
	for o, err := range r.list(ctx, repoPrefix("alice", "repo")+"s/", "") {
		r.Errorf("left: %v, %v", o, err)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

const limitOfTest = 10 * (100 + objectCost)

// testLimits has many try to exceed a quota at once: exactly as many succeed
// as fit.
func testLimits(r rig) {
	ctx := r.Context()
	r.repo("alice", "repo")
	put := func(i int) error {
		_, err := r.node("alice", "repo", "", "", file(fmt.Sprintf("%0100d", i), "a/b"))
		return err
	}
	if done := r.allowed(15, put); done != 10 {
		r.Errorf("%d of 100 bytes where 10 fit", done)
	}
	if usage, err := r.Usage(ctx, "alice"); err != nil || usage.Bytes != limitOfTest || usage.Repos != 1 {
		r.Errorf("usage: %+v, %v", usage, err)
	}
	// What is there may be sent again, and is counted once if sent by many.
	again := 0
	for i := range 15 {
		if put(i) == nil {
			again++
		}
	}
	if again != 10 {
		r.Errorf("%d could be sent again", again)
	}
	r.repo("bob", "repo")
	same := file(strings.Repeat("x", 600), "a/b")
	if done := r.allowed(8, func(int) error { _, err := r.node("bob", "repo", "", "", same); return err }); done != 8 {
		r.Errorf("only %d sent the same", done)
	}
	if usage, err := r.Usage(ctx, "bob"); err != nil || usage.Bytes != 600+objectCost {
		r.Errorf("usage: %+v, %v", usage, err)
	}
	const rest = limitOfTest - 600 - 2*objectCost
	_, err := r.node("bob", "repo", "", "", file(strings.Repeat("x", rest+1), "a/b"))
	r.is(err, ErrQuota, "one byte too much")
	if _, err := r.node("bob", "repo", "", "", file(strings.Repeat("x", rest), "a/b")); err != nil {
		r.Error(err)
	}
}

// allowed tries n times at once, and returns how often no quota was exceeded.
func (r rig) allowed(n int, try func(i int) error) (done int) {
	r.Helper()
	results := make(chan error)
	for i := range n {
		go func() { results <- try(i) }()
	}
	for range n {
		if err := <-results; err == nil {
			done++
		} else if !errors.Is(err, ErrQuota) {
			r.Error(err)
		}
	}
	return done
}

func testLimitsOfNames(r rig) {
	ctx := r.Context()
	r.repo("alice", "repo")
	o := NewObject([]byte(`{"public":true}`), drawbridge.TypeJSON)
	if done := r.allowed(5, func(i int) error { _, err := r.PutRepo(ctx, "alice", fmt.Sprint("r", i), o); return err }); done != 1 {
		r.Errorf("%d repositories more", done)
	}
	for i := range 2 {
		if created, err := r.PutRepo(ctx, "alice", "repo", o); created || err != nil {
			r.Errorf("%d: %v", i, err)
		}
	}
	done := r.allowed(6, func(i int) error {
		_, err := r.PutTag(ctx, "alice", "repo", fmt.Sprintf("1.0.%d", i), entryOf(deepTags["0.1.0"]))
		return err
	})
	if done != 2 {
		r.Errorf("%d tags", done)
	}
}

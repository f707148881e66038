// SPDX-License-Identifier: Apache-2.0

package store

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing/iotest"

	"enarx.dev/enarx/drawbridge"
)

// deepTags are trees that are published in testPublish.
var deepTags = map[string]map[string]sent{
	"0.1.0": tree{"Enarx.toml": "steward", "main.wasm": "\x00asm", "a/b/c/d": "deep", "a/x": "x", "a/y": "x", "zz": strings.Repeat("large", 100_000)}.nodes(false),
	"0.2.0": tree{"tEst-file": "text", "d/f": "text", "d/s/f": "text", "later": "orphan", "later2/x": "orphan dir"}.nodes(true),
	"0.3.0": tree{}.nodes(false),
	"0.4.0": {"": file("\x00asm alone", drawbridge.TypeWasm)},
}

func testPublish(r rig) {
	ctx := r.Context()
	r.repo("alice", "repo")
	for _, tag := range []string{"0.1.0", "0.2.0", "0.3.0", "0.4.0"} {
		nodes := deepTags[tag]
		before := r.tagNames("alice", "repo")
		result, err := r.PutTag(ctx, "alice", "repo", tag, entryOf(nodes))
		if err != nil || !result.Created || result.Committed {
			r.Fatalf("%s: %+v, %v", tag, result, err)
		}
		visible := false
		for _, path := range inOrder(nodes) {
			if !visible {
				r.invisible("alice", "repo", tag, nodes, before)
			}
			result, err := r.node("alice", "repo", tag, path, nodes[path])
			if err != nil || !result.Created || visible && !result.Committed {
				r.Errorf("%s/%s: %+v, %v", tag, path, result, err)
			}
			visible = result.Committed
		}
		if !visible {
			r.Fatalf("%s is not visible with all nodes", tag)
		}
		checkPublished(r, r.Store, "alice", "repo", tag, nodes)
		_, err = r.Node(ctx, "alice", "repo", tag, drawbridge.Path{"none"})
		r.is(err, ErrNotFound, "%s/none", tag)
		_, err = r.Node(ctx, "alice", "repo", tag, drawbridge.Path{"Enarx.toml", "below"})
		r.is(err, ErrNotFound, "%s: below a file", tag)
		root, _ := nodes[""].meta.Digests.SHA256()
		n, info, err := r.NodeByDigest(ctx, "alice", "repo", root, nil)
		if err != nil || info.Name != tag || n.Meta != nodes[""].meta {
			r.Errorf("%s by digest: %+v, %+v, %v", tag, n, info, err)
		}
	}
	r.ranges(deepTags["0.1.0"]["zz"])
	if got := r.tagNames("alice", "repo"); got != "0.1.0 0.2.0 0.3.0 0.4.0" {
		r.Errorf("tags: %s", got)
	}
	if report, err := r.Fsck(ctx, FsckOptions{}); err != nil || !report.Clean() {
		r.Errorf("fsck: %v, %v", report, err)
	}
}

// invisible checks that nobody sees a tag that is not complete.
func (r rig) invisible(user, repo, tag string, nodes map[string]sent, names string) {
	r.Helper()
	ctx := r.Context()
	_, err := r.GetTag(ctx, user, repo, tag)
	r.is(err, ErrNotFound, "tag %s, pending", tag)
	for path := range nodes {
		_, err := r.Node(ctx, user, repo, tag, splitPath(path))
		r.is(err, ErrNotFound, "node %s of %s, pending", path, tag)
	}
	root, _ := nodes[""].meta.Digests.SHA256()
	_, _, err = r.NodeByDigest(ctx, user, repo, root, nil)
	r.is(err, ErrNotFound, "root of %s, pending", tag)
	r.is(r.Yank(ctx, user, repo, tag, drawbridge.Yank{}), ErrNotFound, "yank of %s, pending", tag)
	if got := r.tagNames(user, repo); got != names {
		r.Errorf("tags %q, want %q", got, names)
	}
}

func (r rig) ranges(n sent) {
	r.Helper()
	sum, _ := n.meta.Digests.SHA256()
	size := n.meta.Length
	for _, at := range [][2]int64{{0, -1}, {0, 1}, {size - 1, -1}, {size / 2, 70_000}, {size, -1}} {
		body, err := r.Open(r.Context(), sum, at[0], at[1])
		if at[0] == size && err != nil {
			continue // S3 refuses that
		}
		if err != nil {
			r.Fatal(err)
		}
		got, err := io.ReadAll(body)
		want := n.content[at[0]:]
		if at[1] >= 0 {
			want = want[:at[1]]
		}
		if err != nil || !bytes.Equal(got, want) {
			r.Errorf("range %d: %d bytes, %v", at, len(got), err)
		}
		_ = body.Close()
	}
	_, err := r.Open(r.Context(), [32]byte{1}, 0, -1)
	r.is(err, ErrNotFound, "no blob")
}

// testAgain repeats everything.
func testAgain(r rig) {
	ctx := r.Context()
	nodes := deepTags["0.2.0"]
	r.repo("alice", "repo")
	r.publish("alice", "repo", "1.0.0", nodes)
	count, size := r.blobs()
	if result, err := r.PutTag(ctx, "alice", "repo", "1.0.0", entryOf(nodes)); err != nil || result != (PutResult{false, true}) {
		r.Errorf("tag again: %+v, %v", result, err)
	}
	for _, path := range inOrder(nodes) {
		if result, err := r.node("alice", "repo", "1.0.0", path, nodes[path]); err != nil || result != (PutResult{false, true}) {
			r.Errorf("%q again: %+v, %v", path, result, err)
		}
	}
	_, err := r.PutTag(ctx, "alice", "repo", "1.0.0", entryOf(deepTags["0.1.0"]))
	r.is(err, ErrConflict, "another tag")
	_, err = r.node("alice", "repo", "1.0.0", "", deepTags["0.1.0"][""])
	r.is(err, ErrNotListed, "another root")
	_, err = r.node("alice", "repo", "1.0.0", "d/f", file("other", "application/octet-stream"))
	r.is(err, ErrNotListed, "another node")
	_, err = r.node("alice", "repo", "1.0.0", "d/f", file("text", "text/plain"))
	r.is(err, ErrNotListed, "another type")

	// One content is one blob, in any number of tags and repositories.
	r.repo("bob", "repo")
	for i := range 10 {
		r.publish("bob", "repo", fmt.Sprintf("1.0.%d", i), nodes)
	}
	if count2, size2 := r.blobs(); count2 != count || size2 != size {
		r.Errorf("%d blobs of %d bytes became %d of %d", count, size, count2, size2)
	}
}

// testMismatch sends bodies that are not what was declared, and then the right
// ones.
func testMismatch(r rig) {
	ctx := r.Context()
	r.repo("alice", "repo")
	small, large := file("small", "a/b"), file(strings.Repeat("large", 200_000), "a/b")
	only := func(n sent, algorithm drawbridge.Algorithm) sent {
		var d drawbridge.Digests
		sum, _ := n.meta.Digests.Get(algorithm)
		_ = d.Set(algorithm, sum)
		n.meta.Digests = d
		return n
	}
	badDir := file(`{"a":1}`, drawbridge.TypeDirectory)
	for _, n := range []sent{small, large, only(small, drawbridge.SHA224), only(large, drawbridge.SHA512)} {
		r.refused(n)
	}
	_, err := r.node("alice", "repo", "", "", badDir)
	r.is(err, ErrInvalid, "a directory that is none")
	for o, err := range r.list(ctx, "", "") {
		if l, ok := parseKey(o.Key); err != nil || !ok || l.kind != kindUser && l.kind != kindRepo && l.kind != kindSettings {
			r.Errorf("there is %s, %v", o.Key, err)
		}
	}
	for _, n := range []sent{small, large, only(small, drawbridge.SHA224), only(large, drawbridge.SHA512)} {
		for _, want := range []bool{true, false} {
			if result, err := r.node("alice", "repo", "", "", n); err != nil || result.Created != want {
				r.Errorf("%d bytes: %+v, %v", n.meta.Length, result, err)
			}
		}
	}
	if count, size := r.blobs(); count != 2 || size != small.meta.Length+large.meta.Length {
		r.Errorf("%d blobs of %d bytes", count, size)
	}
	var text *MismatchError
	_, err = r.PutNode(ctx, "alice", "repo", "", nil, drawbridge.Meta{Digests: drawbridge.Sum([]byte("sm")), Length: 5, Type: "a/b"}, strings.NewReader("sm"))
	if !errors.As(err, &text) || text.Error() != "Content length mismatch, expected: 5, got 2" {
		r.Errorf("text: %v", err)
	}
}

// refused sends a node in all ways that are not what it is declared.
func (r rig) refused(n sent) {
	r.Helper()
	one := n.meta
	sum512, ok := one.Digests.Get(drawbridge.SHA512)
	if ok {
		sum512[0] ^= 1
		_ = one.Digests.Set(drawbridge.SHA512, sum512)
	} else {
		_ = one.Digests.Set(drawbridge.SHA512, make([]byte, 64))
	}
	longer := n.meta
	longer.Length++
	changed := slices.Clone(n.content)
	changed[len(changed)/2] ^= 1
	broken := io.MultiReader(bytes.NewReader(n.content[:len(n.content)/2]), iotest.ErrReader(io.ErrUnexpectedEOF))
	for name, tt := range map[string]struct {
		meta drawbridge.Meta
		body io.Reader
		want error
	}{
		"one of several digests": {one, bytes.NewReader(n.content), ErrMismatch},
		"changed body":           {n.meta, bytes.NewReader(changed), ErrMismatch},
		"short body":             {n.meta, bytes.NewReader(n.content[1:]), ErrMismatch},
		"long body":              {n.meta, io.MultiReader(bytes.NewReader(n.content), strings.NewReader("x")), ErrMismatch},
		"declared longer":        {longer, bytes.NewReader(n.content), ErrMismatch},
		"empty body":             {n.meta, strings.NewReader(""), ErrMismatch},
		"body cut off":           {n.meta, broken, ErrBody},
		"body fails":             {n.meta, iotest.ErrReader(errors.New("reset")), ErrBody},
	} {
		_, err := r.PutNode(r.Context(), "alice", "repo", "", nil, tt.meta, tt.body)
		r.is(err, tt.want, "%d bytes, %s", n.meta.Length, name)
	}
}

// testOrphans uploads what listings do not have.
func testOrphans(r rig) {
	ctx := r.Context()
	r.repo("alice", "repo")
	nodes := tree{"a": "a", "dir/x": "x", "later": "l", "sub/x/y": "deep", "sub/z": "z"}.nodes(true)
	// By the defect, the root lists a and dir; sub is an orphan that lists x, which
	// is its child then, and z is an orphan of its own.
	r.publish("alice", "repo", "1.0.0", nodes)
	want := map[string]bool{"": false, "a": false, "dir": false, "dir/x": false, "later": true, "sub": true, "sub/x": true, "sub/x/y": true, "sub/z": true}
	for path, orphan := range want {
		if info, err := r.Node(ctx, "alice", "repo", "1.0.0", splitPath(path)); err != nil || info.Orphan != orphan || info.Meta != nodes[path].meta {
			r.Errorf("%s: %+v, %v", path, info, err)
		}
	}
	orphans, err := r.Orphans(ctx, "alice", "repo", "1.0.0")
	var paths []string
	for _, o := range orphans {
		paths = append(paths, o.Path.String())
	}
	if err != nil || !slices.Equal(paths, []string{"later", "sub", "sub/z"}) {
		r.Errorf("orphans: %q, %v", paths, err)
	}
	other := file("other", "application/octet-stream")
	for path, want := range map[string]error{
		"b":       ErrNotListed, // sorts before the last listed, so no client forgot it
		"Z":       ErrNotListed,
		"dir/y":   ErrNotListed, // the listing ends with a file
		"later":   ErrConflict,
		"sub/x":   ErrNotListed, // listed, and otherwise
		"none/x":  ErrNoParent,
		"a/below": ErrNotListed,
		"later/x": ErrNotListed,
	} {
		_, err := r.node("alice", "repo", "1.0.0", path, other)
		r.is(err, want, "%s", path)
	}
	if result, err := r.node("alice", "repo", "1.0.0", "zzz", other); err != nil || !result.Created {
		r.Errorf("an orphan after the commit: %+v, %v", result, err)
	}

	// Orphans are those of one content: another attempt at a tag has none of them.
	first := tree{"a": "1", "dir/x": "never sent", "z": "first"}.nodes(true)
	second := tree{"a": "2", "dir/x": "x", "z": "second"}.nodes(true)
	if _, err := r.PutTag(ctx, "alice", "repo", "2.0.0", entryOf(first)); err != nil {
		r.Fatal(err)
	}
	for _, path := range []string{"", "a", "dir", "z"} {
		if _, err := r.node("alice", "repo", "2.0.0", path, first[path]); err != nil {
			r.Errorf("%s: %v", path, err)
		}
	}
	r.publish("alice", "repo", "2.0.0", second)
	checkPublished(r, r.Store, "alice", "repo", "2.0.0", second)
}

func testStrict(r rig) {
	r.repo("alice", "repo")
	nodes := tree{"dir/x": "x", "later": "l"}.nodes(true)
	if _, err := r.PutTag(r.Context(), "alice", "repo", "1.0.0", entryOf(nodes)); err != nil {
		r.Fatal(err)
	}
	for _, path := range inOrder(nodes) {
		want := error(nil)
		if path == "later" {
			want = ErrNotListed
		}
		_, err := r.node("alice", "repo", "1.0.0", path, nodes[path])
		r.is(err, want, "%s", path)
	}
}

// testPossession names what somebody else has.
func testPossession(r rig) {
	ctx := r.Context()
	r.repo("alice", "secret")
	r.repo("mallory", "repo")
	nodes := deepTags["0.1.0"]
	r.publish("alice", "secret", "1.0.0", nodes)

	if result, err := r.PutTag(ctx, "mallory", "repo", "1.0.0", entryOf(nodes)); err != nil || result.Committed {
		r.Fatalf("%+v, %v", result, err)
	}
	r.invisible("mallory", "repo", "1.0.0", nodes, "")
	// Not even the names in a directory can be guessed at.
	for _, path := range []string{"main.wasm", "none", "a/x"} {
		_, err := r.node("mallory", "repo", "1.0.0", path, file("guess", "a/b"))
		r.is(err, ErrNoParent, "%s", path)
	}
	var metas []drawbridge.Meta
	for _, n := range nodes {
		metas = append(metas, n.meta)
	}
	if missing, err := r.Missing(ctx, "mallory", "repo", metas); err != nil || slices.Contains(missing, false) {
		r.Errorf("missing: %t, %v", missing, err)
	}
	if missing, err := r.Missing(ctx, "alice", "secret", metas); err != nil || slices.Contains(missing, true) {
		r.Errorf("missing: %t, %v", missing, err)
	}
	// A listing of his own names a secret file: it is not his for that.
	wasm := nodes["main.wasm"]
	listing := drawbridge.Directory{"stolen": {Meta: wasm.meta}}
	root := file(string(listing.Canonical()), drawbridge.TypeDirectory)
	tag := NewObject(drawbridge.Entry{Meta: root.meta}.Canonical(), drawbridge.TypeEntry)
	if _, err := r.PutTag(ctx, "mallory", "repo", "2.0.0", tag); err != nil {
		r.Fatal(err)
	}
	if result, err := r.node("mallory", "repo", "2.0.0", "", root); err != nil || result.Committed {
		r.Fatalf("%+v, %v", result, err)
	}
	r.invisible("mallory", "repo", "2.0.0", map[string]sent{"": root, "stolen": wasm}, "")
	_, err := r.PutNode(ctx, "mallory", "repo", "2.0.0", drawbridge.Path{"stolen"}, wasm.meta, bytes.NewReader(make([]byte, wasm.meta.Length)))
	r.is(err, ErrMismatch, "without the bytes")
	// As an orphan directory it is not his either.
	if result, err := r.node("mallory", "repo", "2.0.0", "stolen", wasm); err != nil || !result.Committed {
		r.Errorf("with the bytes: %+v, %v", result, err)
	}
}

// testPending has several contents wait to become one tag.
func testPending(r rig) {
	ctx := r.Context()
	r.repo("alice", "repo")
	contents := make([]map[string]sent, maxPending+2)
	for i := range contents {
		contents[i] = tree{"main.wasm": fmt.Sprint("content ", i), "same": "same"}.nodes(false)
		result, err := r.PutTag(ctx, "alice", "repo", "1.0.0", entryOf(contents[i]))
		if err != nil || !result.Created {
			r.Fatalf("%d: %+v, %v", i, result, err)
		}
		if _, err := r.node("alice", "repo", "1.0.0", "", contents[i][""]); err != nil {
			r.Fatalf("%d: %v", i, err)
		}
	}
	if result, err := r.PutTag(ctx, "alice", "repo", "1.0.0", entryOf(contents[5])); err != nil || result.Created {
		r.Errorf("pending, again: %+v, %v", result, err)
	}
	// The oldest two went.
	_, err := r.node("alice", "repo", "1.0.0", "main.wasm", contents[1]["main.wasm"])
	r.is(err, ErrNotListed, "a node of a pending tag that went")
	if _, err := r.node("alice", "repo", "1.0.0", "main.wasm", contents[3]["main.wasm"]); err != nil {
		r.Error(err)
	}
	if _, err := r.node("alice", "repo", "1.0.0", "main.wasm", contents[7]["main.wasm"]); err != nil {
		r.Error(err)
	}
	// This completes two of them, and one becomes the tag.
	result, err := r.node("alice", "repo", "1.0.0", "same", contents[7]["same"])
	if err == nil && !result.Committed || err != nil && !errors.Is(err, ErrConflict) {
		r.Errorf("the last node: %+v, %v", result, err)
	}
	info, err := r.GetTag(ctx, "alice", "repo", "1.0.0")
	if err != nil || !info.same(entryOf(contents[7])) && !info.same(entryOf(contents[3])) {
		r.Fatalf("the tag is %+v, %v", info, err)
	}
	_, err = r.PutTag(ctx, "alice", "repo", "1.0.0", entryOf(contents[9]))
	r.is(err, ErrConflict, "one that came too late")
	for o, err := range r.list(ctx, repoPrefix("alice", "repo")+"p/", "") {
		r.Errorf("still pending: %v, %v", o, err)
	}
}

// testLastNode has one node complete two contents of a tag: the one that was
// put last becomes it, and nobody is told of a conflict.
func testLastNode(r rig) {
	r.repo("alice", "repo")
	first := tree{"Enarx.toml": "old", "main.wasm": "same"}.nodes(false)
	second := tree{"Enarx.toml": "new", "main.wasm": "same"}.nodes(false)
	for tag, order := range map[string][]map[string]sent{"1.0.0": {first, second}, "2.0.0": {first, second, first}} {
		for _, nodes := range order {
			if _, err := r.PutTag(r.Context(), "alice", "repo", tag, entryOf(nodes)); err != nil {
				r.Fatal(err)
			}
			for _, path := range []string{"", "Enarx.toml"} {
				if _, err := r.node("alice", "repo", tag, path, nodes[path]); err != nil {
					r.Fatal(err)
				}
			}
		}
	}
	for _, want := range []struct {
		tag   string
		nodes map[string]sent
	}{{"1.0.0", second}, {"2.0.0", first}} {
		// As if it were not there, which it is after the first tag.
		_ = r.remove(r.Context(), nodeKey("alice", "repo", nodeID{first["main.wasm"].meta.Key(), 4, mustSum(first["main.wasm"].meta)}))
		if result, err := r.node("alice", "repo", want.tag, "main.wasm", first["main.wasm"]); err != nil || !result.Committed {
			r.Errorf("%s: the last node: %+v, %v", want.tag, result, err)
		}
		if info, err := r.GetTag(r.Context(), "alice", "repo", want.tag); err != nil || !info.same(entryOf(want.nodes)) {
			r.Errorf("%s is %s, %v", want.tag, info.Body, err)
		}
	}
}

// testTogether puts tags whose nodes are all there: they are visible at once,
// and two at the same time are one.
func testTogether(r rig) {
	ctx := r.Context()
	r.repo("alice", "repo")
	contents := []map[string]sent{deepTags["0.1.0"], deepTags["0.2.0"]}
	r.publish("alice", "repo", "1.0.0", contents[0])
	r.publish("alice", "repo", "1.0.1", contents[1])
	results := make(chan error, 8)
	for i := range 8 {
		go func() {
			_, err := r.PutTag(ctx, "alice", "repo", "2.0.0", entryOf(contents[i%2]))
			results <- err
		}()
	}
	put := 0
	for range 8 {
		if err := <-results; err == nil {
			put++
		} else if !errors.Is(err, ErrConflict) {
			r.Error(err)
		}
	}
	if got := r.tagNames("alice", "repo"); got != "1.0.0 1.0.1 2.0.0" || put != 4 {
		r.Errorf("tags: %s", got)
	}
}

// testDigests publishes with other algorithms than SHA-256.
func testDigests(r rig) {
	ctx := r.Context()
	r.repo("alice", "repo")
	with := func(content, mediaType string, algorithms ...drawbridge.Algorithm) sent {
		h := drawbridge.NewHasher(algorithms...)
		_, _ = h.Write([]byte(content))
		return sent{drawbridge.Meta{Digests: h.Sum(), Length: int64(len(content)), Type: mediaType}, []byte(content)}
	}
	nodes := map[string]sent{
		"dir/small": with("small", "a/b", drawbridge.SHA224),
		"dir/large": with(strings.Repeat("x", smallBody+1), "a/b", drawbridge.SHA384, drawbridge.SHA512),
	}
	listing := drawbridge.Directory{"small": {Meta: nodes["dir/small"].meta}, "large": {Meta: nodes["dir/large"].meta}}
	nodes["dir"] = with(string(listing.Canonical()), drawbridge.TypeDirectory, drawbridge.SHA512)
	top := drawbridge.Directory{"dir": {Meta: nodes["dir"].meta}}
	nodes[""] = with(string(top.Canonical()), drawbridge.TypeDirectory, drawbridge.SHA384)
	r.publish("alice", "repo", "1.0.0", nodes)
	checkPublished(r, r.Store, "alice", "repo", "1.0.0", nodes)
	if report, err := r.Fsck(ctx, FsckOptions{}); err != nil || !report.Clean() || report.Uploads > 0 {
		r.Errorf("fsck: %v, %v", report, err)
	}
	sum := drawbridge.Sum(nodes[""].content)
	root, _ := sum.SHA256()
	if n, _, err := r.NodeByDigest(ctx, "alice", "repo", root, drawbridge.Path{"dir"}); err != nil || n.Meta != nodes["dir"].meta {
		r.Errorf("by digest: %+v, %v", n, err)
	}
}

func testYank(r rig) {
	ctx := r.Context()
	r.repo("alice", "repo")
	nodes := deepTags["0.4.0"]
	for _, tag := range []string{"1.0.0", "1.0.1"} {
		r.publish("alice", "repo", tag, nodes)
	}
	root, _ := nodes[""].meta.Digests.SHA256()
	for _, reason := range []string{"bad", "worse"} {
		if err := r.Yank(ctx, "alice", "repo", "1.0.0", drawbridge.Yank{Reason: reason, By: "alice"}); err != nil {
			r.Error(err)
		}
	}
	if info, err := r.GetTag(ctx, "alice", "repo", "1.0.0"); err != nil || info.Yank == nil || info.Yank.Reason != "bad" {
		r.Errorf("yanked: %+v, %v", info, err)
	}
	if got := r.tagNames("alice", "repo"); got != "(1.0.0) 1.0.1" {
		r.Errorf("tags: %s", got)
	}
	if _, info, err := r.NodeByDigest(ctx, "alice", "repo", root, nil); err != nil || info.Name != "1.0.1" {
		r.Errorf("by digest: %+v, %v", info, err)
	}
	_, err := r.PutTag(ctx, "alice", "repo", "1.0.0", entryOf(deepTags["0.3.0"]))
	r.is(err, ErrConflict, "the name of a yanked tag")
	for range 2 {
		if err := r.Unyank(ctx, "alice", "repo", "1.0.0"); err != nil {
			r.Error(err)
		}
	}
	if info, err := r.GetTag(ctx, "alice", "repo", "1.0.0"); err != nil || info.Yank != nil {
		r.Errorf("not yanked: %+v, %v", info, err)
	}
	r.is(r.Yank(ctx, "alice", "repo", "2.0.0", drawbridge.Yank{}), ErrNotFound, "no tag")
	r.is(r.Unyank(ctx, "alice", "repo", "2.0.0"), ErrNotFound, "no tag")
}

// SPDX-License-Identifier: Apache-2.0

package store

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"testing"
	"time"

	"enarx.dev/enarx/drawbridge"
)

var testTime = time.Unix(1_700_000_000, 5)

// TestDamage replaces each object in turn, by nothing, by garbage, and by
// another object. Whatever is asked for then is as it was, or an error.
func TestDamage(t *testing.T) {
	s := memStore(t, Options{})
	r := rig{t, s}
	r.repo("alice", "repo")
	nodes := deepTags["0.2.0"]
	r.publish("alice", "repo", "1.0.0", nodes)
	if _, err := s.PutTag(t.Context(), "alice", "repo", "2.0.0", entryOf(deepTags["0.1.0"])); err != nil {
		t.Fatal(err)
	}
	if err := s.Yank(t.Context(), "alice", "repo", "1.0.0", drawbridge.Yank{Reason: "x"}); err != nil {
		t.Fatal(err)
	}
	if err := s.PutToken(t.Context(), "alice", "token", []byte("x")); err != nil {
		t.Fatal(err)
	}
	var keys []string
	objects := map[string][]byte{}
	for o, err := range s.list(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		if o.Key == settingsKey {
			continue // without it nothing opens
		}
		keys = append(keys, o.Key)
		objects[o.Key] = mustRead(t, s, o.Key)
	}
	for i, key := range keys {
		flipped := slices.Clone(objects[key])
		flipped[len(flipped)/2] ^= 1
		other := objects[keys[(i+1)%len(keys)]]
		for _, damage := range [][]byte{nil, flipped, other, bytes.Repeat([]byte{'x'}, maxRecord+1)} {
			if damage == nil {
				mustRemove(t, s, key)
			} else {
				mustReplace(t, s, key, damage)
			}
			askAll(rig{t, reopened(t, s)}, key, nodes)
			if l, _ := parseKey(key); damage == nil && (l.kind == kindBlob || l.kind == kindNode) {
				checkPublished(t, reopened(t, s), "alice", "repo", "1.0.0", nodes) // by publishing it again
			}
			mustReplace(t, s, key, objects[key])
		}
	}
	checkPublished(t, reopened(t, s), "alice", "repo", "1.0.0", nodes)
}

// askAll calls what reads.
func askAll(r rig, damaged string, nodes map[string]sent) {
	ctx := r.Context()
	_, _ = r.Users(ctx, "", 0)
	_, _ = r.Repos(ctx, "alice")
	_, _ = r.Tags(ctx, "alice", "repo")
	_, _ = r.Orphans(ctx, "alice", "repo", "1.0.0")
	_, _ = r.TokenRecord(ctx, "token")
	_, _ = r.Usage(ctx, "alice")
	_, _ = r.GC(ctx)
	if info, err := r.GetTag(ctx, "alice", "repo", "1.0.0"); err == nil && !info.same(entryOf(nodes)) {
		r.Errorf("with %s damaged, the tag is %s", damaged, info.Body)
	}
	for path, n := range nodes {
		info, err := r.Node(ctx, "alice", "repo", "1.0.0", splitPath(path))
		if err != nil {
			continue
		}
		if info.Meta != n.meta {
			r.Errorf("with %s damaged, %s is %+v", damaged, path, info.Meta)
		}
		if body, err := r.Open(ctx, info.Blob, 0, -1); err == nil {
			_, _ = io.Copy(io.Discard, body) // the blob itself may be damaged: the client sees that
			_ = body.Close()
		}
	}
	// Who publishes again heals what can be told to be missing, and is never told
	// that another content is there.
	for _, path := range inOrder(nodes) {
		if _, err := r.node("alice", "repo", "1.0.0", path, nodes[path]); errors.Is(err, ErrConflict) || errors.Is(err, ErrMismatch) {
			r.Errorf("with %s damaged, %s: %v", damaged, path, err)
		}
	}
}

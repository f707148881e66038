// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"encoding/json"
	"errors"
	"testing"

	"enarx.dev/enarx/drawbridge"
)

// What a deep path leads through is parsed once, and not for every request:
// listings of megabytes, in each other, would keep a processor busy for long.
func TestDeepPathIsKnown(t *testing.T) {
	s := memStore(t, Options{})
	r := rig{t, s}
	r.repo("alice", "repo")
	nodes := tree{"a/b/c/file": "deep", "a/b/c/other": "deep too"}.nodes(false)
	r.publish("alice", "repo", "1.0.0", nodes)
	if err := readable(t.Context(), s, "alice", "repo", "1.0.0", "a/b/c/file", nodes["a/b/c/file"]); err != nil {
		t.Fatal(err)
	}
	s.dirs.clear()
	for _, path := range []string{"a/b/c/other", "a/b/c/file"} {
		if err := readable(t.Context(), s, "alice", "repo", "1.0.0", path, nodes[path]); err != nil {
			t.Fatal(err)
		}
	}
	for path, want := range map[string]bool{"": false, "a": false, "a/b": false, "a/b/c": true} {
		sum, _ := nodes[path].meta.Digests.SHA256()
		if _, ok := s.dirs.get(sum); ok != want {
			t.Errorf("%q was read again: %t", path, ok)
		}
	}
}

// Listings are parsed a few at a time, whoever wants them.
func TestParsingIsBounded(t *testing.T) {
	s := memStore(t, Options{})
	r := rig{t, s}
	r.repo("alice", "repo")
	nodes := tree{"a/file": "x"}.nodes(false)
	r.publish("alice", "repo", "1.0.0", nodes)
	s = reopened(t, s)
	if err := s.parsing.Acquire(t.Context(), parsedAtOnce); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // who gave up waiting
	if _, err := s.Node(ctx, "alice", "repo", "1.0.0", splitPath("a/file")); !errors.Is(err, context.Canceled) {
		t.Errorf("a listing beyond those that are being parsed: %v", err)
	}
	s.parsing.Release(parsedAtOnce)
	if err := readable(t.Context(), s, "alice", "repo", "1.0.0", "a/file", nodes["a/file"]); err != nil {
		t.Error(err)
	}
}

// What is vetoed when its last node comes does not become visible, and does
// not keep another content from becoming the tag.
func TestVet(t *testing.T) {
	s := memStore(t, Options{})
	r := rig{t, s}
	r.repo("alice", "repo")
	s.SetVet(func(_ context.Context, user, repo, name string, tag drawbridge.Tag) error {
		if user != "alice" || repo != "repo" || name != "1.0.0" && name != "2.0.0" {
			t.Errorf("asked about %s/%s:%s", user, repo, name)
		}
		if len(tag.Entry.Extra) == 0 {
			return errors.New("not good")
		}
		return nil
	})
	for tag, both := range map[string]bool{"1.0.0": false, "2.0.0": true} {
		nodes := tree{"main.wasm": "of " + tag}.nodes(false)
		contents := []Object{entryOf(nodes)}
		if both {
			good := drawbridge.Entry{Meta: nodes[""].meta, Extra: map[string]json.RawMessage{"good": json.RawMessage("1")}}
			contents = append(contents, NewObject(good.Canonical(), drawbridge.TypeEntry))
		}
		for _, o := range contents {
			if _, err := s.PutTag(t.Context(), "alice", "repo", tag, o); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := r.node("alice", "repo", tag, "", nodes[""]); err != nil {
			t.Fatal(err)
		}
		result, err := r.node("alice", "repo", tag, "main.wasm", nodes["main.wasm"])
		info, missing := s.GetTag(t.Context(), "alice", "repo", tag)
		if both {
			if err != nil || !result.Committed || missing != nil || len(info.Tag.Entry.Extra) != 1 {
				t.Errorf("a good one beside a bad one: %+v, %v, %v", result, err, missing)
			}
			continue
		}
		r.is(err, ErrVetoed, "the last node")
		r.is(missing, ErrNotFound, "the tag")
	}
}

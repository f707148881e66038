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
	nodes := tree{"main.wasm": "x"}.nodes(false)
	root, _ := nodes[""].meta.Digests.SHA256()
	plain := entryOf(nodes)
	extra := drawbridge.Entry{Meta: nodes[""].meta, Extra: map[string]json.RawMessage{"good": json.RawMessage("1")}}
	good := NewObject(extra.Canonical(), drawbridge.TypeEntry)
	var asked []string
	s.SetVet(func(_ context.Context, user, repo, name string, tag drawbridge.Tag) error {
		asked = append(asked, user+"/"+repo+":"+name)
		if len(tag.Entry.Extra) == 0 {
			return errors.New("not good")
		}
		return nil
	})
	put := func(o Object) (PutResult, error) { return s.PutTag(t.Context(), "alice", "repo", "1.0.0", o) }
	if _, err := put(plain); err != nil {
		t.Fatal(err)
	}
	if _, err := r.node("alice", "repo", "1.0.0", "", nodes[""]); err != nil {
		t.Fatal(err)
	}
	_, err := r.node("alice", "repo", "1.0.0", "main.wasm", nodes["main.wasm"])
	r.is(err, ErrVetoed, "the last node")
	_, err = s.GetTag(t.Context(), "alice", "repo", "1.0.0")
	r.is(err, ErrNotFound, "the tag")
	if result, err := put(good); err != nil || !result.Committed {
		t.Errorf("%+v, %v", result, err)
	}
	_, tag, err := s.NodeByDigest(t.Context(), "alice", "repo", root, nil)
	if err != nil || len(tag.Tag.Entry.Extra) != 1 {
		t.Errorf("%+v, %v", tag, err)
	}
	for _, name := range asked {
		if name != "alice/repo:1.0.0" {
			t.Errorf("asked about %q", name)
		}
	}
}

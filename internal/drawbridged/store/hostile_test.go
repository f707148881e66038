// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"enarx.dev/enarx/drawbridge"
	"enarx.dev/enarx/internal/drawbridged/disk"
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

// Whoever asks for a digest that no tag has makes us look at all tags: they are
// read once, and not for every request.
func TestUnknownDigestReadsNothing(t *testing.T) {
	s := memStore(t, Options{})
	r := rig{t, s}
	r.repo("alice", "repo")
	nodes := tree{"a/file": "x"}.nodes(false)
	tags := []string{"1.0.0", "2.0.0", "3.0.0-" + strings.Repeat("long", 40)} // the name of the last is in its record alone
	for _, tag := range tags {
		r.publish("alice", "repo", tag, nodes)
	}
	s = reopened(t, s)
	ask := func() error {
		_, _, err := s.NodeByDigest(t.Context(), "alice", "repo", [32]byte{1}, nil)
		return err
	}
	r.is(ask(), ErrNotFound, "cold")
	if s.records.cost > 4<<10 { // the repository's is there
		t.Errorf("the tags that were looked at take %d bytes of what is read often", s.records.cost)
	}
	s.records.clear()
	for _, tag := range tags {
		mustReplace(t, s, tagKey("alice", "repo", tag), []byte("who reads this finds damage"))
	}
	r.is(ask(), ErrNotFound, "warm")
	s.briefs.clear()
	r.is(ask(), ErrCorrupt, "cold again")
}

// An upload that is being deleted, its first parts first, is not there; it is
// not damaged.
func TestUploadGoesMeanwhile(t *testing.T) {
	for name, gone := range map[string]bool{"deleted": true, "damaged": false} {
		t.Run(name, func(t *testing.T) {
			s := memStore(t, Options{})
			r := rig{t, s}
			r.repo("alice", "repo")
			id, err := s.NewUpload(t.Context(), "alice", "repo")
			for at := int64(0); at < 3 && err == nil; at++ {
				_, err = s.Append(t.Context(), "alice", "repo", id, at, strings.NewReader("x"))
			}
			if err != nil {
				t.Fatal(err)
			}
			prefix, want := uploadPrefix("alice", "repo", id), ErrCorrupt
			if gone {
				mustRemove(t, s, prefix+"info")
				want = ErrNotFound
			}
			mustRemove(t, s, prefix+hexNumber(0))
			_, err = s.parts(t.Context(), "alice", "repo", id)
			r.is(err, want, "parts")
		})
	}
}

// The collector takes an upload away before its parts, whatever the clocks of
// bucket and server say: those who use it never see a gap.
func TestUploadGoesFirst(t *testing.T) {
	c, removed := &clock{}, []string{}
	b, err := disk.Open(fastDir(t), disk.Options{After: func(s disk.Step, err error) {
		if l, ok := parseKey(s.Path); s.Op == disk.Remove && ok && err == nil {
			removed = append(removed, string(l.kind))
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	s, err := Open(t.Context(), b, testOptions(c))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	r := rig{t, s}
	r.repo("alice", "repo")
	id, err := s.NewUpload(t.Context(), "alice", "repo")
	for at := int64(0); at < 2 && err == nil; at++ {
		_, err = s.Append(t.Context(), "alice", "repo", id, at, strings.NewReader("x"))
	}
	if err != nil {
		t.Fatal(err)
	}
	c.advance(testLife + testWait + time.Minute)
	if _, err := s.GC(t.Context()); err != nil || fmt.Sprint(removed) != "[upload part part]" {
		t.Errorf("removed %q, %v", removed, err)
	}
}

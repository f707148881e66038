// SPDX-License-Identifier: Apache-2.0

package store

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// What has no bytes, or few, counts all the same: nobody fills a store with
// empty things. What is counted as it is made is what is counted later.
func TestEveryObjectCounts(t *testing.T) {
	const fit = 8
	nodes := tree{"dir/x": "x"}.nodes(false)
	for name, tt := range map[string]struct {
		bytes int64 // of each object, more or less
		make  func(r rig, i int) error
	}{
		"nodes": {0, func(r rig, i int) error {
			_, err := r.node("alice", "repo", "", "", file("", fmt.Sprint("a/b", i)))
			return err
		}},
		"pending tags": {800, func(r rig, i int) error {
			_, err := r.PutTag(r.Context(), "alice", "repo", fmt.Sprintf("1.0.%d", i), entryOf(deepTags["0.1.0"]))
			return err
		}},
		"tags": {800, func(r rig, i int) error {
			_, err := r.PutTag(r.Context(), "alice", "repo", fmt.Sprintf("1.0.%d", i), entryOf(nodes))
			return err
		}},
		"orphans": {0, func(r rig, i int) error {
			_, err := r.node("alice", "repo", "0.0.1", fmt.Sprintf("z%02d", i), nodes["dir/x"])
			return err
		}},
		"uploads": {0, func(r rig, _ int) error {
			_, err := r.NewUpload(r.Context(), "alice", "repo")
			return err
		}},
	} {
		t.Run(name, func(t *testing.T) {
			limit := int64(0)
			s := memStore(t, Options{Limits: func(string) Limits { return Limits{Bytes: limit} }})
			r := rig{t, s}
			r.repo("alice", "repo")
			r.publish("alice", "repo", "0.0.1", nodes)
			before, err := s.Usage(t.Context(), "alice")
			if err != nil {
				t.Fatal(err)
			}
			limit = before.Bytes + fit*(objectCost+tt.bytes) + objectCost/2
			i := 0
			for ; err == nil && i < 10*fit; i++ {
				err = tt.make(r, i)
			}
			r.is(err, ErrQuota, "too many")
			if made := i - 1; made != fit {
				t.Errorf("%d %s where %d fit", made, name, fit)
			}
			if err := tt.make(r, 0); err != nil && name != "uploads" { // each of them is another one
				t.Errorf("what is there, again: %v", err)
			}
			held, _ := s.Usage(t.Context(), "alice")
			s.recount("alice")
			counted, err := s.Usage(t.Context(), "alice")
			if off := counted.Bytes - held.Bytes; err != nil || off < 0 || off > 64*fit { // times, in tags
				t.Errorf("%d bytes, counted again %d: %v", held.Bytes, counted.Bytes, err)
			}
		})
	}
}

// Parts of one byte are objects too.
func TestPartsCount(t *testing.T) {
	s := memStore(t, Options{Limits: func(string) Limits { return Limits{Bytes: 5*objectCost + 100} }})
	r := rig{t, s}
	r.repo("alice", "repo")
	id, err := s.NewUpload(t.Context(), "alice", "repo")
	at := int64(0)
	for ; err == nil && at < 50; at++ {
		_, err = s.Append(t.Context(), "alice", "repo", id, at, strings.NewReader("x"))
	}
	if !errors.Is(err, ErrQuota) || at > 7 {
		t.Errorf("after %d parts: %v", at, err)
	}
}

func TestUploadsOfRepository(t *testing.T) {
	c := &clock{}
	s := memStore(t, testOptions(c))
	r := rig{t, s}
	r.repo("alice", "repo")
	r.repo("alice", "other")
	first, err := s.NewUpload(t.Context(), "alice", "repo")
	for i := 1; i < maxUploads && err == nil; i++ {
		_, err = s.NewUpload(t.Context(), "alice", "repo")
	}
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.NewUpload(t.Context(), "alice", "repo")
	r.is(err, ErrQuota, "one more")
	if _, err := s.NewUpload(t.Context(), "alice", "other"); err != nil {
		t.Error(err)
	}
	if err := s.Abort(t.Context(), "alice", "repo", first); err != nil {
		t.Fatal(err)
	}
	for _, want := range []error{nil, ErrQuota} {
		_, err = s.NewUpload(t.Context(), "alice", "repo")
		r.is(err, want, "one for one that was given up")
	}
	c.advance(testLife) // those whose time is over are no uploads any more
	if _, err := s.NewUpload(t.Context(), "alice", "repo"); err != nil {
		t.Error(err)
	}
}

func TestOrphansOfTag(t *testing.T) {
	s := memStore(t, Options{})
	r := rig{t, s}
	r.repo("alice", "repo")
	nodes := tree{"dir/x": "x"}.nodes(false)
	r.publish("alice", "repo", "1.0.0", nodes)
	tag, err := s.committed(t.Context(), "alice", "repo", "1.0.0")
	if err != nil {
		t.Fatal(err)
	}
	for i := range maxOrphans - 1 {
		path := splitPath(fmt.Sprintf("y%d", i))
		record := sealed(orphanRecord{"1.0.0", path[0], nodes["dir/x"].meta})
		if _, err := s.create(t.Context(), orphanKey("alice", "repo", tag.id, path), record); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		path string
		want error
	}{{"z1", nil}, {"z2", ErrQuota}, {"z1", nil}, {"y0", nil}} {
		_, err := r.node("alice", "repo", "1.0.0", tt.path, nodes["dir/x"])
		r.is(err, tt.want, "orphan %s", tt.path)
	}
}

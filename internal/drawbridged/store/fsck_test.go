// SPDX-License-Identifier: Apache-2.0

package store

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"enarx.dev/enarx/drawbridge"
)

// staged returns a filled store with one of everything that waits.
func staged(t testing.TB) *Store { return stagedTemplate().store(t) }

var stagedTemplate = takeTemplate(func(ctx context.Context, a *actor) error {
	if err := fillStore(ctx, a); err != nil {
		return err
	}
	if _, err := a.PutTag(ctx, theUser, theRepo, "9.0.0", entryOf(otherTree)); err != nil {
		return err
	}
	id, err := a.NewUpload(ctx, theUser, theRepo)
	for at := int64(0); err == nil && at < 30; at += 10 {
		_, err = a.Append(ctx, theUser, theRepo, id, at, strings.NewReader("0123456789"))
	}
	if err != nil {
		return err
	}
	_, err = a.ClaimTokenUse(ctx, "kept", 0, []byte("use"))
	marker := markerRecord{Owner: "test", T0: a.now()}
	return errors.Join(err,
		a.PutToken(ctx, theUser, "kept", []byte("body")),
		a.replace(ctx, markerKey(blobMarkers, marker.T0), sealed(marker)))
})

// keyOf returns the n-th key of a kind.
func keyOf(t testing.TB, s *Store, k kind, n int) string {
	t.Helper()
	for o, err := range s.list(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		if l, ok := parseKey(o.Key); ok && l.kind == k {
			if n--; n < 0 {
				return o.Key
			}
		}
	}
	t.Fatalf("there is no %s", k)
	return ""
}

func mustRead(t testing.TB, s *Store, key string) []byte {
	t.Helper()
	data, err := s.bucket.ReadAll(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func mustReplace(t testing.TB, s *Store, key string, data []byte) {
	t.Helper()
	if err := s.replace(t.Context(), key, data); err != nil {
		t.Fatal(err)
	}
}

func mustRemove(t testing.TB, s *Store, key string) {
	t.Helper()
	if err := s.bucket.Delete(t.Context(), key); err != nil {
		t.Fatal(err)
	}
}

var allKinds = []kind{
	kindBlob, kindUser, kindUserToken, kindRepo, kindPolicy, kindNode, kindPending, kindTag,
	kindYank, kindOrphan, kindUpload, kindPart, kindToken, kindUse, kindSubject, kindMarker,
}

func TestFsckFindsNothing(t *testing.T) {
	s := staged(t)
	told := 0
	report, err := s.Fsck(t.Context(), FsckOptions{Progress: func(FsckReport) { told++ }})
	if err != nil || len(report.Findings) != 0 || told == 0 {
		t.Errorf("%v, told %d times\n%v", err, told, report)
	}
	if report.Users != 2 || report.Repositories != 3 || report.Tags != 4 || report.Pending != 1 || report.Uploads != 1 ||
		report.Tokens != 1 || report.Blobs == 0 || report.Verified != report.Blobs || report.Read != report.Bytes {
		t.Errorf("%v", report)
	}
}

// TestFsckFindsEveryByte changes one byte of an object of each kind. What is
// not covered by a digest (parts of uploads) is not damage yet.
func TestFsckFindsEveryByte(t *testing.T) {
	for _, k := range allKinds {
		t.Run(string(k), func(t *testing.T) {
			s := staged(t)
			key := keyOf(t, s, k, 0)
			good := mustRead(t, s, key)
			for _, at := range []int{0, len(good) / 2, len(good) - 1} {
				bad := bytes.Clone(good)
				bad[at] ^= 1
				mustReplace(t, s, key, bad)
				checkFound(t, s, key, k != kindPart)
			}
			mustReplace(t, s, key, good[:len(good)-1])
			checkFound(t, s, key, k != kindPart)
			mustReplace(t, s, key, good)
			checkFound(t, s, key, false)
		})
	}
}

func checkFound(t *testing.T, s *Store, key string, want bool) {
	t.Helper()
	report := mustFsck(t, s)
	if found := slices.ContainsFunc(report.Findings, func(f Finding) bool { return f.Severity == Damaged && f.Key == key }); found != want {
		t.Errorf("found: %v\n%v", found, report)
	}
}

// TestFsckFindsMissing deletes one object of each kind.
func TestFsckFindsMissing(t *testing.T) {
	for k, want := range map[kind]Severity{
		kindBlob: Damaged, kindUser: Damaged, kindRepo: Damaged, kindNode: Damaged, kindUserToken: Damaged,
		kindTag: Leftover /* its yank */, kindUpload: Leftover, kindToken: Leftover, kindPart: Leftover,
		kindPolicy: "", kindPending: "", kindYank: "", kindOrphan: "", kindUse: "", kindSubject: "", kindMarker: "",
	} {
		t.Run(string(k), func(t *testing.T) {
			s := staged(t)
			n := 0
			if k == kindTag {
				n = 2
			}
			if k == kindUserToken {
				n = 0
			}
			mustRemove(t, s, keyOf(t, s, k, n))
			report := mustFsck(t, s)
			if want == "" && len(report.Findings) > 0 || want != "" && report.Count(want) == 0 || want == Leftover && !report.Clean() {
				t.Errorf("want %q:\n%v", want, report)
			}
		})
	}
}

// TestFsckFindsLies has objects that are whole and in the wrong place.
func TestFsckFindsLies(t *testing.T) {
	for name, lie := range map[string]func(t *testing.T, s *Store) string{
		"another user's record": func(t *testing.T, s *Store) string {
			mustReplace(t, s, userKey(theUser), mustRead(t, s, keyOf(t, s, kindUser, 1)))
			return userKey(theUser)
		},
		"another tag's record": func(t *testing.T, s *Store) string {
			key := tagKey(theUser, theRepo, "2.0.0")
			mustReplace(t, s, key, mustRead(t, s, tagKey(theUser, theRepo, "1.0.0")))
			return key
		},
		"another repository's tag": func(t *testing.T, s *Store) string {
			key := repoPrefix(theUser, theRepo) + "t/7.7.7.tag"
			mustReplace(t, s, key, mustRead(t, s, tagKey(theUser, theRepo, "1.0.0")))
			return key
		},
		"a tag without its nodes": func(t *testing.T, s *Store) string {
			o := entryOf(otherTree)
			key := tagKey(theUser, theRepo, "5.0.0")
			mustReplace(t, s, key, sealed(objectRecord{Kind: kindTag, User: theUser, Repo: theRepo, Name: "5.0.0", Meta: o.Meta, Body: o.Body}))
			return key
		},
		"a node that was never sent": func(t *testing.T, s *Store) string {
			body, id := nodeRecordOf(otherTree["main.wasm"].meta, [32]byte(mustSum(otherTree["main.wasm"].meta)))
			mustReplace(t, s, nodeKey(theUser, theRepo, id), body)
			return nodeKey(theUser, theRepo, id)
		},
		"a node of another digest": func(t *testing.T, s *Store) string {
			meta := ownTree["main.wasm"].meta
			if err := meta.Digests.Set(drawbridge.SHA512, make([]byte, 64)); err != nil {
				t.Fatal(err)
			}
			body, id := nodeRecordOf(meta, mustSum(meta))
			mustReplace(t, s, nodeKey(theUser, theRepo, id), body)
			return blobKey(mustSum(meta))
		},
		"a node of another length": func(t *testing.T, s *Store) string {
			meta := ownTree["main.wasm"].meta
			meta.Length++
			body, id := nodeRecordOf(meta, mustSum(meta))
			mustReplace(t, s, nodeKey(theUser, theRepo, id), body)
			return nodeKey(theUser, theRepo, id)
		},
		"another orphan": func(t *testing.T, s *Store) string {
			key := keyOf(t, s, kindOrphan, 0)
			mustReplace(t, s, key, mustRead(t, s, keyOf(t, s, kindOrphan, 1)))
			return key
		},
		"another token's index": func(t *testing.T, s *Store) string {
			key := userTokenKey(theUser, "other")
			mustReplace(t, s, key, mustRead(t, s, userTokenKey(theUser, "kept")))
			return key
		},
		"another subject": func(t *testing.T, s *Store) string {
			key := subjectKey("other", "one")
			mustReplace(t, s, key, mustRead(t, s, keyOf(t, s, kindSubject, 0)))
			return key
		},
		"a session of another repository": func(t *testing.T, s *Store) string {
			key := keyOf(t, s, kindUpload, 0)
			mustReplace(t, s, key, sealed(uploadRecord{theUser, "other", time.Now()}))
			return key
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := staged(t)
			if name == "another orphan" { // there is one only: make a second
				s = twoOrphans(t)
			}
			checkFound(t, s, lie(t, s), true)
		})
	}
}

func twoOrphans(t *testing.T) *Store {
	t.Helper()
	o, s := sampleOldStore(t), memStore(t, Options{})
	if _, err := s.ImportUpstream(t.Context(), o.open(), TransferOptions{}); err != nil {
		t.Fatal(err)
	}
	return s
}

func mustSum(m drawbridge.Meta) [32]byte {
	sum, _ := m.Digests.SHA256()
	return sum
}

func TestFsckUnknownKeys(t *testing.T) {
	s := staged(t)
	keys := []string{"blobs/00/x", "other", "u/Upper/user", "u/a/r/b/n/x", "gc/x", "k/x", "sub/1", "u/a/r/b/t/c/other"}
	for _, key := range keys {
		mustReplace(t, s, key, []byte("?"))
	}
	report := mustFsck(t, s)
	if report.Count(Unknown) != len(keys) || report.Count(Damaged) != 0 || report.Clean() {
		t.Errorf("%v", report)
	}
}

// TestFsckRepair moves what is wrong out of the way, so that it can be
// uploaded again.
func TestFsckRepair(t *testing.T) {
	s := staged(t)
	ctx := t.Context()
	for _, path := range []string{"", "main.wasm"} { // a directory and a file
		key := blobKey(mustSum(ownTree[path].meta))
		bad := mustRead(t, s, key)
		bad[0] ^= 1
		mustReplace(t, s, key, bad)
	}
	mustReplace(t, s, keyOf(t, s, kindPending, 0), []byte("torn"))
	mustReplace(t, s, userKey(theUser), []byte("torn"))
	report, err := s.Fsck(ctx, FsckOptions{Repair: true})
	if err != nil {
		t.Fatal(err)
	}
	repaired := 0
	for _, f := range report.Findings {
		if f.Repaired {
			repaired++
		}
	}
	if repaired != 3 {
		t.Errorf("%v", report)
	}
	report = mustFsck(t, s)
	if report.Quarantined != 6 || report.Count(Damaged) == 0 {
		t.Errorf("%v", report)
	}
	mustReplace(t, s, userKey(theUser), sealed(userOf(theUser))) // from a backup
	s = reopened(t, s)
	metas := []drawbridge.Meta{ownTree[""].meta, ownTree["main.wasm"].meta}
	if missing, err := s.Missing(ctx, theUser, theRepo, metas); err != nil || !missing[0] || !missing[1] {
		t.Errorf("publishers are not told what to send again: %v, %v", missing, err)
	}
	for _, publish := range []string{theUser, strings.Repeat("Long", 60)} {
		repo, tag := theRepo, "2.0.0"
		if publish != theUser {
			repo, tag = "private", "1.0.0-RC.1+b"
		}
		if _, err := s.PutTag(ctx, publish, repo, tag, entryOf(ownTree)); err != nil {
			t.Errorf("the tag cannot be put again: %v", err)
		}
		for _, path := range inOrder(ownTree) {
			n := ownTree[path]
			if _, err := s.PutNode(ctx, publish, repo, tag, splitPath(path), n.meta, bytes.NewReader(n.content)); err != nil {
				t.Errorf("/%s cannot be put again: %v", path, err)
			}
		}
		checkPublished(t, s, publish, repo, tag, ownTree)
	}
	if report = mustFsck(t, s); !report.Clean() {
		t.Errorf("%v", report)
	}
}

func userOf(name string) objectRecord {
	o := NewObject(drawbridge.User{Subject: "s"}.Canonical(), drawbridge.TypeJSON)
	return objectRecord{Kind: kindUser, User: name, Meta: o.Meta, Body: o.Body}
}

// reopened is another server on the same bucket.
func reopened(t testing.TB, s *Store) *Store {
	t.Helper()
	again, err := Open(t.Context(), s.bucket, s.opts)
	if err != nil {
		t.Fatal(err)
	}
	return again
}

// TestFsckResumes cancels a check and continues it.
func TestFsckResumes(t *testing.T) {
	s := staged(t)
	whole := mustFsck(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	first, err := s.Fsck(ctx, FsckOptions{Progress: func(r FsckReport) {
		if r.Verified >= whole.Blobs/2 {
			cancel()
		}
	}})
	if !errors.Is(err, context.Canceled) || first.Last == "" || first.Verified >= whole.Blobs {
		t.Fatalf("%v\n%v", err, first)
	}
	late, cancel := context.WithCancel(t.Context())
	told, err := s.Fsck(late, FsckOptions{Progress: func(r FsckReport) {
		if r.Verified == whole.Blobs {
			cancel()
		}
	}})
	if !errors.Is(err, context.Canceled) || len(told.Findings) > 0 {
		t.Errorf("what could not be looked at is taken for damage: %v\n%v", err, told)
	}
	rest, err := s.Fsck(t.Context(), FsckOptions{After: first.Last})
	if err != nil || rest.Verified == 0 || rest.Verified >= whole.Blobs || first.Verified+rest.Verified < whole.Blobs || rest.Last != "" {
		t.Errorf("%v\n%v", err, rest)
	}
	if _, err := s.Fsck(t.Context(), FsckOptions{After: "x"}); !errors.Is(err, ErrInvalid) {
		t.Errorf("%v", err)
	}
}

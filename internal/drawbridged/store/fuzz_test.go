// SPDX-License-Identifier: Apache-2.0

package store

import (
	"bytes"
	"strings"
	"testing"

	"enarx.dev/enarx/drawbridge"
)

// resealed gives a damaged record a fitting seal, so that the fuzzer comes past
// it.
func resealed(body []byte) []byte {
	return []byte(seal + hexSum(body) + "\n" + string(body))
}

// FuzzRecord decodes what may be in a bucket that is damaged or was tampered
// with: an error, never a panic, and nothing is believed that does not fit.
func FuzzRecord(f *testing.F) {
	o := NewObject([]byte(`{"public":true}`), drawbridge.TypeJSON)
	n := file("x", "a/b")
	tag := entryOf(map[string]sent{"": n})
	node, _ := nodeRecordOf(n.meta, mustSum(n.meta))
	for _, record := range [][]byte{
		sealed(objectRecord{Kind: kindRepo, User: "alice", Repo: "repo", Meta: o.Meta, Body: o.Body}),
		sealed(objectRecord{Kind: kindTag, User: "alice", Repo: "repo", Name: "1.0.0", Meta: tag.Meta, Body: tag.Body}),
		sealed(orphanRecord{"1.0.0", "a/b", n.meta}), sealed(policyRecord{}), sealed(uploadRecord{}), sealed(tokenRecord{}),
		sealed(useRecord{}), sealed(subjectRecord{}), sealed(markerRecord{Condemned: packShort([]string{"a", "b"})}),
		sealed(settingsRecord{}), sealed(drawbridge.Yank{Reason: "x"}), node,
		nil, []byte(seal), []byte("{}"), []byte(`{"meta":{"digest":{},"length":-1,"type":""}}`),
	} {
		f.Add(record)
		_, body, _ := bytes.Cut(record, []byte("\n"))
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, data := range [][]byte{data, resealed(data)} {
			for _, record := range []any{
				new(orphanRecord), new(policyRecord), new(uploadRecord), new(tokenRecord), new(useRecord), new(subjectRecord),
				new(settingsRecord), new(drawbridge.Yank),
			} {
				_ = unseal(data, record)
			}
			var m markerRecord
			if unseal(data, &m) == nil {
				if _, err := m.marker(); (err == nil) != (len(m.Condemned)%8 == 0) {
					t.Errorf("a marker of %d bytes: %v", len(m.Condemned), err)
				}
			}
			if meta, err := decodeNode(data, nodeID{n.meta.Key(), n.meta.Length, mustSum(n.meta)}); err == nil && meta != n.meta {
				t.Errorf("another node: %+v", meta)
			}
			for _, k := range []kind{kindUser, kindRepo, kindTag, kindPending} {
				r, err := decodeObject(data, k, "alice", "repo", "1.0.0")
				if err != nil {
					continue
				}
				if r.object().check() != nil {
					t.Errorf("the bytes of %+v do not fit", r)
				}
				_, _ = newTagged(r)
			}
		}
	})
}

// FuzzKey takes keys apart that anybody may have put into the bucket.
func FuzzKey(f *testing.F) {
	n := nodeID{[32]byte{1}, 5, [32]byte{2}}
	for _, key := range []string{
		blobKey([32]byte{3}), userKey("Alice"), repoKey("a", "B-"), policyKey("a", "b"), tagKey("a", "b", "1.0.0-Rc.1+x"), yankKey("a", "b", "1.0.0"),
		nodeKey("a", "b", n), nodeKey("a", "b", n) + "." + hexNumber(5), pendingPrefix("a", "b", "1.0.0-a.b") + hexSum(nil) + "." + hexNumber(7),
		orphanKey("a", "b", [32]byte{4}, drawbridge.Path{"x"}), uploadPrefix("a", "b", randomID()) + "info", uploadPrefix("a", "b", randomID()) + hexNumber(9),
		tokenKey("Id"), useKey("Id", 3), userTokenKey("a", "Id"), subjectKey("i", "s"), markerKey(blobMarkers, testTime), markerKey(repoMarkers("a", "b"), testTime),
		settingsKey, "u/" + strings.Repeat("^a", 60) + "/user", "", "/", "u//user", "u/^/user", "u/~/user", "k/.token", "gc/blobs/-",
	} {
		f.Add(key)
	}
	f.Fuzz(func(t *testing.T, key string) {
		l, ok := parseKey(key)
		if !ok {
			return
		}
		if l.kind == "" || strings.ToLower(key) != key || strings.Contains(key, "//") || l.number < 0 {
			t.Errorf("%q is %+v", key, l)
		}
		for _, encoded := range []string{l.user, l.repo} {
			if name, _ := decodeName(encoded); name != "" && encodeName(name) != encoded {
				t.Errorf("%q has the name %q", key, name)
			}
		}
	})
}

// FuzzName encodes names: no two are the same, on no file system.
func FuzzName(f *testing.F) {
	f.Add("Alice", "alice")
	f.Add("^a", "A")
	f.Add(strings.Repeat("A", 51), strings.Repeat("A", 50)+"a")
	f.Add("~"+hexSum([]byte("x")), "x")
	f.Fuzz(func(t *testing.T, a, b string) {
		for _, s := range []string{a, b} {
			if drawbridge.CheckTag(s) != nil && drawbridge.CheckRepository(s) != nil {
				return
			}
		}
		x, y := encodeName(a), encodeName(b)
		if (x == y) != (a == b) || strings.ToLower(x) != x || len(x) > maxEncoded || strings.Contains(x, "/") {
			t.Errorf("%q and %q become %q and %q", a, b, x, y)
		}
		if name, ok := decodeName(x); !ok || name != a && name != "" {
			t.Errorf("%q becomes %q", a, name)
		}
	})
}

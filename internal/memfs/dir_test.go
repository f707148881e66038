// SPDX-License-Identifier: Apache-2.0

package memfs

import (
	"fmt"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func listing(t *testing.T, dir *Node, cookie uint64, limit int) (names []string, next uint64) {
	t.Helper()
	list, err := dir.ReadDir(cookie, limit)
	if err != nil {
		t.Fatal(err)
	}
	next = cookie
	for _, e := range list {
		names = append(names, e.Name)
		if e.Next <= next {
			t.Errorf("cookie %d after %d", e.Next, next)
		}
		next = e.Next
	}
	return names, next
}

func TestReadDir(t *testing.T) {
	fs := New(0)
	build(t, fs, "d/", "d/f", "d/s -> f", "d/sub/")
	d := find(t, fs, "d")
	list, err := d.ReadDir(0, 0)
	if err != nil {
		t.Fatal(err)
	}
	want := []Entry{
		{".", d.ino, Directory, 1},
		{"..", fs.Root().ino, Directory, 2},
		{"f", find(t, fs, "d/f").ino, Regular, 3},
		{"s", find(t, fs, "d/s").ino, Symlink, 4},
		{"sub", find(t, fs, "d/sub").ino, Directory, 5},
	}
	if diff := cmp.Diff(want, list); diff != "" {
		t.Error(diff)
	}
	for i := range want { // from each cookie, in steps of one and two, and all at once
		for limit := range 3 {
			var got []Entry
			cookie := uint64(i)
			for {
				part, err := d.ReadDir(cookie, limit)
				if err != nil {
					t.Fatal(err)
				}
				if len(part) == 0 {
					break
				}
				if limit > 0 && len(part) > limit {
					t.Errorf("%d entries, asked for %d", len(part), limit)
				}
				got = append(got, part...)
				cookie = part[len(part)-1].Next
			}
			if diff := cmp.Diff(want[i:], got); diff != "" {
				t.Errorf("from %d by %d:\n%s", i, limit, diff)
			}
		}
	}
	for _, cookie := range []uint64{6, 1 << 40, math.MaxUint64} {
		if list, err := d.ReadDir(cookie, 10); len(list) != 0 || err != nil {
			t.Errorf("from %d: %v, %v", cookie, list, err)
		}
	}
	if root, err := fs.Root().ReadDir(0, 2); err != nil || root[1].Ino != root[0].Ino {
		t.Errorf("the root's parent: %v, %v", root, err)
	}
}

// TestReadDirWhileChanging removes and adds names between the parts of a
// listing: what stayed all the time appears exactly once, in order.
func TestReadDirWhileChanging(t *testing.T) {
	const files = 500
	fs := New(0)
	var stayed []string
	for i := range files {
		name := fmt.Sprintf("f%d", i)
		build(t, fs, name)
		if i%3 == 0 {
			stayed = append(stayed, name)
		}
	}
	keep := map[string]bool{}
	for _, name := range stayed {
		keep[name] = true
	}
	var seen []string
	cookie, step := uint64(0), 0
	for {
		names, next := listing(t, fs.Root(), cookie, 7)
		if len(names) == 0 {
			break
		}
		cookie = next
		for _, name := range names {
			if keep[name] {
				seen = append(seen, name)
			}
		}
		for i := step * 20; i < min((step+1)*20, files); i++ {
			if name := fmt.Sprintf("f%d", i); !keep[name] {
				if err := fs.Unlink(fs.Root(), name); err != nil {
					t.Fatal(err)
				}
			}
		}
		if step < 50 {
			build(t, fs, fmt.Sprintf("new%d", step))
			if err := fs.Rename(fs.Root(), fmt.Sprintf("new%d", step), fs.Root(), "f0"); err != nil {
				t.Fatal(err)
			}
		}
		step++
		check(t, fs)
	}
	if diff := cmp.Diff(stayed, seen); diff != "" {
		t.Error(diff)
	}
}

func TestEmptyingLargeDirectory(t *testing.T) {
	fs := New(1 << 30)
	const files = 20000
	for i := range files {
		build(t, fs, fmt.Sprintf("f%d", i))
	}
	for i := range files {
		if err := fs.Unlink(fs.Root(), fmt.Sprintf("f%d", i)); err != nil {
			t.Fatal(err)
		}
	}
	check(t, fs)
	if fs.Used() != 0 || len(fs.root.dir.order) > 64 {
		t.Errorf("%d in use, %d slots", fs.Used(), len(fs.root.dir.order))
	}
}

// SPDX-License-Identifier: Apache-2.0

package memfs

import (
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRename(t *testing.T) {
	const ok = syscall.Errno(0)
	all := []string{"f", "g", "d/", "d/x", "d/sub/", "e/", "l -> f", "ld -> e"}
	tests := []struct {
		from, to string
		want     syscall.Errno
	}{
		// path_rename
		{"d", "new", ok},
		{"d", "e", ok},
		{"e", "d", syscall.ENOTEMPTY},
		{"e", "d/x", syscall.ENOTDIR},
		{"f", "new", ok},
		{"f", "g", ok},
		{"f", "e", syscall.EISDIR},
		{"f", "d", syscall.EISDIR},
		// path_rename_dir_trailing_slashes
		{"d/", "new", ok},
		{"d", "new/", ok},
		{"d/", "new/", ok},
		{"d/", "e/", ok},

		{"f/", "new", syscall.ENOTDIR},
		{"f", "new/", syscall.ENOTDIR},
		{"f", "g/", syscall.ENOTDIR},
		{"f", "e/", syscall.ENOTDIR},
		{"l/", "new", syscall.ENOTDIR},
		{"ld/", "new", syscall.ENOTDIR},
		{"e", "ld/", syscall.ENOTDIR},
		{"l", "new", ok}, // the link itself
		{"l", "g", ok},
		{"l", "e", syscall.EISDIR},
		{"f", "l", ok},
		{"e", "l", syscall.ENOTDIR},
		{"f", "ld/new", ok}, // links before the last component are followed
		{"ld/../f", "new", ok},

		{"f", "f", ok},
		{"d", "d", ok},
		{"d", "d/", ok},
		{"d", "d/sub", syscall.EINVAL},
		{"d", "d/sub/new", syscall.EINVAL},
		{"d", "d/new", syscall.EINVAL},
		{"d", "d/x", syscall.EINVAL},
		{"d/sub", "d", syscall.ENOTEMPTY},
		{"d/x", "d", syscall.EISDIR},
		{"d/sub", "sub", ok},
		{"e", "d/e", ok},
		{"e", "d/sub", ok},

		{"none", "new", syscall.ENOENT},
		{"none", "f", syscall.ENOENT},
		{"f", "none/new", syscall.ENOENT},
		{"f", "g/new", syscall.ENOTDIR},
		{".", "new", syscall.EINVAL},
		{"d/.", "new", syscall.EINVAL},
		{"d/sub/..", "new", syscall.EINVAL},
		{"e", ".", syscall.EINVAL},
		{"e", "d/sub/..", syscall.EINVAL},
		{"..", "new", syscall.EPERM},
		{"f", "../new", syscall.EPERM},
		{"f", "", syscall.ENOENT},
		{"", "f", syscall.ENOENT},
	}
	for _, tt := range tests {
		fs := New(1 << 20)
		build(t, fs, all...)
		before := tree(t, fs.Root(), "")
		var moved *Node
		if tt.want == ok {
			moved = find(t, fs, tt.from)
		}
		err := fs.Rename(fs.Root(), tt.from, fs.Root(), tt.to)
		if err == nil {
			err = ok
		}
		if err != tt.want {
			t.Errorf("%q to %q: %v, want %v", tt.from, tt.to, err, tt.want)
		}
		if tt.want != ok {
			if diff := cmp.Diff(before, tree(t, fs.Root(), "")); diff != "" {
				t.Errorf("%q to %q fails and changes the tree:\n%s", tt.from, tt.to, diff)
			}
		} else if now := find(t, fs, tt.to); now != moved {
			t.Errorf("%q to %q: something else is there", tt.from, tt.to)
		}
		check(t, fs)
	}
}

func TestRenameSameNode(t *testing.T) {
	fs := New(0)
	build(t, fs, "f")
	if err := fs.Link(fs.Root(), "f", fs.Root(), "g"); err != nil {
		t.Fatal(err)
	}
	if err := fs.Rename(fs.Root(), "f", fs.Root(), "g"); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"f", "g"}, tree(t, fs.Root(), "")); diff != "" {
		t.Error(diff)
	}
	check(t, fs)
}

// TestRenameReplacesHeld replaces a file that is open: its holder keeps its
// contents, and the space is back when it lets go.
func TestRenameReplacesHeld(t *testing.T) {
	fs := New(1 << 20)
	build(t, fs, "f", "g")
	n, err := fs.Open(fs.Root(), "g", Open{})
	if err != nil {
		t.Fatal(err)
	}
	if err := fs.Rename(fs.Root(), "f", fs.Root(), "g"); err != nil {
		t.Fatal(err)
	}
	check(t, fs, n)
	p := make([]byte, 1)
	if _, err := n.ReadAt(p, 0); err != nil || string(p) != "g" {
		t.Errorf("%q, %v", p, err)
	}
	n.Release()
	check(t, fs)
}

// TestRenameWhenFull shows that a full file system can still be tidied.
func TestRenameWhenFull(t *testing.T) {
	fs := New(2*nodeCost + nameCost("long") + nameCost("other"))
	build(t, fs, "long/", "other/")
	for _, tt := range []struct {
		from, to string
		want     error
	}{
		{"long", "longer", syscall.ENOSPC},
		{"long", "gone", nil},
		{"gone", "x", nil},
		{"x", "gone", nil},
		{"gone", "other", nil},
	} {
		if err := fs.Rename(fs.Root(), tt.from, fs.Root(), tt.to); err != tt.want {
			t.Errorf("%s to %s: %v, want %v", tt.from, tt.to, err, tt.want)
		}
		check(t, fs)
	}
}

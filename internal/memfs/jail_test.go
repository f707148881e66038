// SPDX-License-Identifier: Apache-2.0

package memfs

import (
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestJail tries to leave a directory by every operation and by every road.
func TestJail(t *testing.T) {
	fs := New(0)
	build(t, fs, "secret", "jail/", "jail/f", "jail/a/", "jail/a/b/",
		"jail/up -> ..", "jail/upsecret -> ../secret", "jail/a/upsecret -> ../../secret",
		"jail/a/b/top -> ../..", "jail/bounce -> a/../../jail/f", "jail/viatop -> a/b/top/f",
		"jail/out -> a/b/top/../secret", "jail/slash -> ../", "jail/two -> upsecret")
	// Only an archive can bring an absolute link.
	jail := find(t, fs, "jail")
	fs.mu.Lock()
	if _, err := jail.create("abs", Symlink, "/secret"); err != nil {
		t.Fatal(err)
	}
	if _, err := jail.create("absroot", Symlink, "/"); err != nil {
		t.Fatal(err)
	}
	fs.mu.Unlock()

	inside := []string{"f", "a/../f", "a/b/../../f", "a/b/top/f", "viatop", "a/b/top/a/b/top/f"}
	for _, p := range inside {
		if got := get(t, fs, jail, p); got != "jail/f" {
			t.Errorf("%q reads %q", p, got)
		}
	}
	before := tree(t, fs.Root(), "")
	outside := []string{
		"/", "/f", "/secret", "//jail/f", "..", "../", "../.", "../secret", "../jail/f", "a/../..",
		"a/../../jail/f", "a/b/../../..", "a/b/../../../jail/f", "./..", "up", "up/", "up/secret",
		"upsecret", "a/upsecret", "bounce", "out", "slash", "slash/secret", "two", "abs", "absroot",
		"absroot/", "absroot/secret", "a/b/top/..", "a/b/top/../secret", "..\x2f..",
	}
	for _, p := range outside {
		ops := map[string]error{}
		_, ops["lookup"] = fs.Lookup(jail, p, true)
		_, ops["open"] = fs.Open(jail, p, Open{Follow: true})
		_, ops["create"] = fs.Open(jail, p, Open{Follow: true, Create: true})
		_, ops["open dir"] = fs.Open(jail, p, Open{Follow: true, Directory: true})
		ops["below"] = fs.Mkdir(jail, p+"/x")
		ops["rename to"] = fs.Rename(jail, "f", jail, p+"/f")
		ops["rename from"] = fs.Rename(jail, p+"/secret", jail, "mine")
		ops["link to"] = fs.Link(jail, "f", jail, p+"/f")
		ops["link from"] = fs.Link(jail, p+"/secret", jail, "mine")
		ops["symlink"] = fs.Symlink("f", jail, p+"/s")
		ops["unlink"] = fs.Unlink(jail, p+"/secret")
		ops["rmdir"] = fs.Rmdir(jail, p+"/jail")
		_, ops["readlink"] = fs.Readlink(jail, p+"/jail/up")
		for op, err := range ops {
			if err != syscall.EPERM {
				t.Errorf("%s %q: %v, want EPERM", op, p, err)
			}
		}
	}
	if diff := cmp.Diff(before, tree(t, fs.Root(), "")); diff != "" {
		t.Errorf("the tree changed (-before +after):\n%s", diff)
	}
	check(t, fs)
}

// TestJailMoved is the classic escape: the guest holds a directory, moves it
// out of the tree it was found in, and goes up from there.
func TestJailMoved(t *testing.T) {
	fs := New(0)
	build(t, fs, "secret", "jail/", "jail/a/", "jail/a/b/", "other/")
	jail, b := find(t, fs, "jail"), find(t, fs, "jail/a/b")
	if err := fs.Rename(jail, "a/b", fs.Root(), "other/b"); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{"..", "../secret", "../../secret"} {
		if _, err := fs.Lookup(b, p, true); err != syscall.EPERM {
			t.Errorf("%q from the moved directory: %v", p, err)
		}
	}
	if err := fs.Rename(fs.Root(), "other/b", jail, "b"); err != nil {
		t.Fatal(err)
	}
	for p, want := range map[string]error{"b/..": nil, "b/../..": syscall.EPERM, "b/../a": nil} {
		if _, err := fs.Lookup(jail, p, true); err != want {
			t.Errorf("%q: %v, want %v", p, err, want)
		}
	}
	check(t, fs)
}

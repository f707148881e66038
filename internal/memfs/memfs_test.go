// SPDX-License-Identifier: Apache-2.0

package memfs

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
)

// build makes a tree from lines: "dir/", "file", "link -> target".
func build(t testing.TB, fs *FS, lines ...string) {
	t.Helper()
	for _, line := range lines {
		name, target, link := strings.Cut(line, " -> ")
		var err error
		switch {
		case link:
			err = fs.Symlink(target, fs.Root(), name)
		case strings.HasSuffix(name, "/"):
			err = fs.Mkdir(fs.Root(), name)
		default:
			put(t, fs, name, name)
		}
		if err != nil {
			t.Fatalf("making %q: %v", line, err)
		}
	}
}

func put(t testing.TB, fs *FS, name, contents string) {
	t.Helper()
	n, err := fs.Open(fs.Root(), name, Open{Create: true, Truncate: true})
	if err != nil {
		t.Fatalf("creating %q: %v", name, err)
	}
	defer n.Release()
	if _, err := n.WriteAt([]byte(contents), 0); err != nil {
		t.Fatal(err)
	}
}

func get(t testing.TB, fs *FS, dir *Node, name string) string {
	t.Helper()
	n, err := fs.Lookup(dir, name, true)
	if err != nil {
		t.Fatalf("finding %q: %v", name, err)
	}
	p := make([]byte, n.Info().Size)
	if _, err := n.ReadAt(p, 0); err != nil {
		t.Fatal(err)
	}
	return string(p)
}

func find(t testing.TB, fs *FS, name string) *Node {
	t.Helper()
	n, err := fs.Lookup(fs.Root(), name, false)
	if err != nil {
		t.Fatalf("finding %q: %v", name, err)
	}
	return n
}

// tree lists everything below dir, in the notation of build, with link counts
// of files that have several.
func tree(t testing.TB, dir *Node, prefix string) []string {
	t.Helper()
	entries, err := dir.ReadDir(0, 0)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries[2:] {
		n := dir.dir.lookup(e.Name)
		switch e.Type {
		case Directory:
			out = append(out, prefix+e.Name+"/")
			out = append(out, tree(t, n, prefix+e.Name+"/")...)
		case Symlink:
			out = append(out, prefix+e.Name+" -> "+n.target)
		default:
			out = append(out, prefix+e.Name)
		}
	}
	return out
}

// check verifies what must hold in every file system between two operations:
// the tree is one, links are counted right, and the charges add up. held are
// nodes that the caller retains and that may have no name any more.
func check(t testing.TB, fs *FS, held ...*Node) {
	t.Helper()
	fs.mu.RLock()
	defer fs.mu.RUnlock()
	names := map[*Node]uint64{}
	used := int64(0)
	todo := []*Node{fs.root}
	for len(todo) > 0 {
		dir := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		subdirs := checkDir(t, dir)
		for name, e := range dir.dir.byName {
			used += nameCost(name)
			names[e.node]++
		}
		if want := 2 + uint64(len(subdirs)); dir.nlink != want {
			t.Errorf("directory %d has nlink %d, want %d", dir.ino, dir.nlink, want)
		}
		todo = append(todo, subdirs...)
	}
	for n, count := range names {
		used += n.charged
		if n.typ == Directory && count != 1 || n.typ != Directory && count != n.nlink {
			t.Errorf("node %d has %d names and nlink %d", n.ino, count, n.nlink)
		}
		checkNode(t, n)
	}
	seen := map[*Node]bool{}
	for _, n := range held {
		if names[n] == 0 && !seen[n] && n != fs.root {
			seen[n] = true
			used += n.charged
			checkNode(t, n)
			if n.nlink != 0 {
				t.Errorf("node %d has no name but nlink %d", n.ino, n.nlink)
			}
		}
	}
	if used != fs.used || fs.max > 0 && fs.used > fs.max {
		t.Errorf("used is %d of %d, the tree adds up to %d", fs.used, fs.max, used)
	}
}

func checkDir(t testing.TB, dir *Node) (subdirs []*Node) {
	t.Helper()
	live, last := 0, uint64(cookieDotDot)
	for _, e := range dir.dir.order {
		if e.id <= last {
			t.Errorf("directory %d: cookie %d after %d", dir.ino, e.id, last)
		}
		last = e.id
		if e.node == nil {
			continue
		}
		live++
		if dir.dir.byName[e.name] != e {
			t.Errorf("directory %d: entry %q is listed but not found", dir.ino, e.name)
		}
		if e.node.typ == Directory {
			subdirs = append(subdirs, e.node)
			if e.node.dir.parent != dir {
				t.Errorf("directory %q has the wrong parent", e.name)
			}
		}
	}
	if live != len(dir.dir.byName) || len(dir.dir.order) != live+dir.dir.gone {
		t.Errorf("directory %d: %d live, %d gone, %d slots, %d names",
			dir.ino, live, dir.dir.gone, len(dir.dir.order), len(dir.dir.byName))
	}
	return subdirs
}

func checkNode(t testing.TB, n *Node) {
	t.Helper()
	want := int64(nodeCost + len(n.target))
	for i, b := range n.blocks {
		want += blockCost + b.size
		if i < 0 || i > (n.size-1)/blockSize || int64(len(b.data)) > b.size || b.size > blockSize {
			t.Errorf("node %d of size %d: block %d holds %d, charged %d", n.ino, n.size, i, len(b.data), b.size)
		}
		for j := max(n.size-i*blockSize, 0); j < int64(len(b.data)); j++ {
			if b.data[j] != 0 {
				t.Errorf("node %d of size %d: data past the end", n.ino, n.size)
				break
			}
		}
	}
	if !n.dead && n.charged != want {
		t.Errorf("node %d is charged %d, want %d", n.ino, n.charged, want)
	}
}

// TestErrno is the table of what each operation answers. Comments name the
// wasi-testsuite program that wants it so.
func TestErrno(t *testing.T) {
	long := strings.Repeat("n", 256)
	lookup := func(fs *FS, p string) error { _, err := fs.Lookup(fs.Root(), p, false); return err }
	follow := func(fs *FS, p string) error { _, err := fs.Lookup(fs.Root(), p, true); return err }
	open := func(how Open) func(fs *FS, p string) error {
		return func(fs *FS, p string) error { _, err := fs.Open(fs.Root(), p, how); return err }
	}
	mkdir := func(fs *FS, p string) error { return fs.Mkdir(fs.Root(), p) }
	rmdir := func(fs *FS, p string) error { return fs.Rmdir(fs.Root(), p) }
	unlink := func(fs *FS, p string) error { return fs.Unlink(fs.Root(), p) }
	readlink := func(fs *FS, p string) error { _, err := fs.Readlink(fs.Root(), p); return err }
	symlink := func(fs *FS, p string) error { return fs.Symlink("t", fs.Root(), p) }
	linkFile := func(fs *FS, p string) error { return fs.Link(fs.Root(), "f", fs.Root(), p) }
	linkFrom := func(fs *FS, p string) error { return fs.Link(fs.Root(), p, fs.Root(), "new") }
	target := func(fs *FS, p string) error { return fs.Symlink(p, fs.Root(), "new") }

	tests := []struct {
		op   string
		do   func(*FS, string) error
		path string
		want syscall.Errno // 0: success
	}{
		{"lookup", lookup, "", syscall.ENOENT},
		{"lookup", lookup, "f", 0},
		{"lookup", lookup, ".", 0},
		{"lookup", lookup, "./", 0},
		{"lookup", lookup, "d/.//e/../../d/e/../e///./g", 0}, // interesting_paths
		{"lookup", lookup, "d/e///", 0},
		{"lookup", lookup, "f/", syscall.ENOTDIR},
		{"lookup", lookup, "f/.", syscall.ENOTDIR},
		{"lookup", lookup, "f/..", syscall.ENOTDIR},
		{"lookup", lookup, "f/x", syscall.ENOTDIR},
		{"lookup", lookup, "d/e/g///", syscall.ENOTDIR},
		{"lookup", lookup, "none", syscall.ENOENT},
		{"lookup", lookup, "none/", syscall.ENOENT},
		{"lookup", lookup, "none/..", syscall.ENOENT},
		{"lookup", lookup, "d/e/g\x00", syscall.EINVAL},
		{"lookup", lookup, "\xff", syscall.EILSEQ},
		{"lookup", lookup, long, syscall.ENAMETOOLONG},
		{"lookup", lookup, long + "/x", syscall.ENAMETOOLONG},
		{"lookup", lookup, long[1:], syscall.ENOENT},
		{"lookup", lookup, strings.Repeat("./", maxPath/2) + ".", syscall.ENAMETOOLONG},
		{"lookup", lookup, strings.Repeat("./", maxPath/2), 0},
		{"lookup", lookup, "tof", 0},
		{"lookup", lookup, "tof/", syscall.ENOTDIR},
		{"lookup", lookup, "tod/", 0},
		{"lookup", lookup, "tod/e/g", 0},
		{"lookup", lookup, "dangling", 0},
		{"lookup", lookup, "dangling/", syscall.ENOENT},
		{"lookup", lookup, "loop", 0},
		{"follow", follow, "loop", syscall.ELOOP},
		{"follow", follow, "loop/x", syscall.ELOOP},
		{"follow", follow, "dangling", syscall.ENOENT},
		{"follow", follow, "tof", 0},
		{"follow", follow, "chain40", 0},
		{"follow", follow, "chain41", syscall.ELOOP},

		{"open", open(Open{}), "f", 0},
		{"open", open(Open{}), "none", syscall.ENOENT},    // path_open_missing
		{"open", open(Open{}), "f/", syscall.ENOTDIR},     // interesting_paths
		{"open", open(Open{}), "tof", syscall.ELOOP},      // nofollow_errors
		{"open", open(Open{}), "loop", syscall.ELOOP},     // symlink_loop
		{"open", open(Open{}), "dangling", syscall.ELOOP}, // dangling_symlink
		{"open", open(Open{Follow: true}), "tof", 0},      // symlink_create
		{"open dir", open(Open{Directory: true}), "d", 0},
		{"open dir", open(Open{Directory: true}), ".", 0},
		{"open dir", open(Open{Directory: true}), "f", syscall.ENOTDIR},
		{"open dir", open(Open{Directory: true}), "tod", syscall.ELOOP},
		{"open dir", open(Open{Directory: true}), "none", syscall.ENOENT}, // path_rename
		{"open dir", open(Open{Directory: true, Follow: true}), "tod", 0},
		{"open dir", open(Open{Directory: true, Follow: true}), "tof", syscall.ENOTDIR},
		{"create dir", open(Open{Directory: true, Create: true}), "new", syscall.EINVAL},
		{"create", open(Open{Create: true}), "new", 0},
		{"create", open(Open{Create: true}), "new/", syscall.EISDIR},
		{"create", open(Open{Create: true}), "f", 0},
		{"create", open(Open{Create: true}), "f/", syscall.ENOTDIR},
		{"create", open(Open{Create: true}), "d", syscall.EISDIR},
		{"create", open(Open{Create: true}), "none/new", syscall.ENOENT},
		{"create", open(Open{Create: true}), "f/new", syscall.ENOTDIR},
		{"create", open(Open{Create: true}), long, syscall.ENAMETOOLONG},
		{"create", open(Open{Create: true}), "dangling", syscall.ELOOP},
		{"create follow", open(Open{Create: true, Follow: true}), "dangling", 0},
		{"create excl", open(Open{Create: true, Exclusive: true}), "new", 0},
		{"create excl", open(Open{Create: true, Exclusive: true}), "f", syscall.EEXIST}, // path_open_create_existing
		{"create excl", open(Open{Create: true, Exclusive: true}), ".", syscall.EEXIST},
		{"create excl", open(Open{Create: true, Exclusive: true, Follow: true}), "dangling", syscall.EEXIST},
		{"truncate", open(Open{Truncate: true}), "f", 0},
		{"truncate", open(Open{Truncate: true}), "d", syscall.EISDIR},

		{"mkdir", mkdir, "new", 0},
		{"mkdir", mkdir, "new/", 0},
		{"mkdir", mkdir, "f", syscall.EEXIST},
		{"mkdir", mkdir, "d", syscall.EEXIST},
		{"mkdir", mkdir, "d/", syscall.EEXIST},
		{"mkdir", mkdir, ".", syscall.EEXIST},
		{"mkdir", mkdir, "d/..", syscall.EEXIST},
		{"mkdir", mkdir, "dangling", syscall.EEXIST},
		{"mkdir", mkdir, "none/new", syscall.ENOENT},
		{"rmdir", rmdir, "empty", 0},
		{"rmdir", rmdir, "empty/", 0},            // remove_directory_trailing_slashes
		{"rmdir", rmdir, "d", syscall.ENOTEMPTY}, // remove_nonempty_directory
		{"rmdir", rmdir, "f", syscall.ENOTDIR},   // remove_directory_trailing_slashes
		{"rmdir", rmdir, "f/", syscall.ENOTDIR},  // remove_directory_trailing_slashes
		{"rmdir", rmdir, "tod", syscall.ENOTDIR},
		{"rmdir", rmdir, "tod/", syscall.ENOTDIR},
		{"rmdir", rmdir, "none", syscall.ENOENT},
		{"rmdir", rmdir, ".", syscall.EINVAL},
		{"rmdir", rmdir, "empty/.", syscall.EINVAL},
		{"rmdir", rmdir, "d/e/..", syscall.ENOTEMPTY},
		{"unlink", unlink, "f", 0},
		{"unlink", unlink, "f/", syscall.ENOTDIR}, // unlink_file_trailing_slashes
		{"unlink", unlink, "d", syscall.EISDIR},   // unlink_file_trailing_slashes
		{"unlink", unlink, "d/", syscall.EISDIR},  // unlink_file_trailing_slashes
		{"unlink", unlink, ".", syscall.EISDIR},
		{"unlink", unlink, "tod", 0},
		{"unlink", unlink, "tod/", syscall.ENOTDIR},
		{"unlink", unlink, "loop", 0},
		{"unlink", unlink, "none", syscall.ENOENT},

		{"readlink", readlink, "tof", 0},
		{"readlink", readlink, "f", syscall.EINVAL},
		{"readlink", readlink, "d", syscall.EINVAL},
		{"readlink", readlink, "none", syscall.ENOENT},
		{"symlink", symlink, "new", 0},
		{"symlink", symlink, "new/", syscall.ENOENT}, // path_symlink_trailing_slashes
		{"symlink", symlink, "d", syscall.EEXIST},    // path_symlink_trailing_slashes
		{"symlink", symlink, "d/", syscall.EEXIST},   // path_symlink_trailing_slashes
		{"symlink", symlink, "f", syscall.EEXIST},    // path_symlink_trailing_slashes
		{"symlink", symlink, "f/", syscall.EEXIST},   // path_symlink_trailing_slashes
		{"symlink to", target, "/", syscall.EPERM},   // symlink_create
		{"symlink to", target, "/d", syscall.EPERM},
		{"symlink to", target, "", syscall.ENOENT},
		{"symlink to", target, "../..", 0},
		{"symlink to", target, "\xff", syscall.EILSEQ},
		{"symlink to", target, "a\x00", syscall.EINVAL},
		{"symlink to", target, strings.Repeat("a", maxPath+1), syscall.ENAMETOOLONG},

		{"link f to", linkFile, "new", 0},
		{"link f to", linkFile, "d/e/new", 0},
		{"link f to", linkFile, "new/", syscall.ENOENT},     // path_link
		{"link f to", linkFile, "f", syscall.EEXIST},        // path_link
		{"link f to", linkFile, "d", syscall.EEXIST},        // path_link
		{"link f to", linkFile, "dangling", syscall.EEXIST}, // path_link
		{"link f to", linkFile, "none/x", syscall.ENOENT},
		{"link", linkFrom, "d", syscall.EPERM}, // path_link
		{"link", linkFrom, "d/", syscall.EPERM},
		{"link", linkFrom, "f/", syscall.ENOTDIR},
		{"link", linkFrom, "dangling", 0}, // path_link
		{"link", linkFrom, "loop", 0},     // path_link
		{"link", linkFrom, "none", syscall.ENOENT},
	}
	for _, tt := range tests {
		fs := New(1 << 30)
		build(t, fs, "f", "d/", "d/e/", "d/e/g", "empty/", "tof -> f", "tod -> d",
			"dangling -> none", "loop -> loop", "chain1 -> f")
		for i := 2; i <= 41; i++ {
			build(t, fs, fmt.Sprintf("chain%d -> chain%d", i, i-1))
		}
		var want error
		if tt.want != 0 {
			want = tt.want
		}
		if err := tt.do(fs, tt.path); err != want {
			t.Errorf("%s %.40q: %v, want %v", tt.op, tt.path, err, want)
		}
	}
}

func TestNotADirectory(t *testing.T) { // path_open_dirfd_not_dir
	fs := New(0)
	build(t, fs, "f", "l -> f")
	for _, name := range []string{"f", "l"} {
		n := find(t, fs, name)
		if _, err := fs.Open(n, "x", Open{Create: true}); err != syscall.ENOTDIR {
			t.Errorf("opening below %s: %v", name, err)
		}
		if _, err := n.ReadDir(0, 0); err != syscall.ENOTDIR {
			t.Errorf("listing %s: %v", name, err)
		}
	}
}

func TestTwoFileSystems(t *testing.T) {
	a, b := New(0), New(0)
	build(t, a, "f", "d/")
	build(t, b, "d/")
	if da, db := a.Root().Info().Dev, b.Root().Info().Dev; da == 0 || db == 0 || da == db {
		t.Errorf("devices %d and %d", da, db)
	}
	if err := a.Link(a.Root(), "f", b.Root(), "f"); err != syscall.EXDEV {
		t.Errorf("link: %v", err)
	}
	if err := a.Rename(a.Root(), "f", b.Root(), "f"); err != syscall.EXDEV {
		t.Errorf("rename: %v", err)
	}
	if _, err := a.Lookup(b.Root(), "d", false); err != syscall.EXDEV {
		t.Errorf("lookup: %v", err)
	}
	check(t, a)
	check(t, b)
}

func TestRemovedDirectory(t *testing.T) {
	fs := New(1 << 20)
	build(t, fs, "d/", "f", "e/")
	d, err := fs.Open(fs.Root(), "d", Open{Directory: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := fs.Rmdir(fs.Root(), "d"); err != nil {
		t.Fatal(err)
	}
	check(t, fs, d)
	tests := map[string]error{
		"mkdir":   fs.Mkdir(d, "x"),
		"symlink": fs.Symlink("t", d, "x"),
		"link":    fs.Link(fs.Root(), "f", d, "x"),
		"rename":  fs.Rename(fs.Root(), "f", d, "x"),
		"move":    fs.Rename(fs.Root(), "e", d, "x"),
		"unlink":  fs.Unlink(d, "x"),
	}
	_, tests["create"] = fs.Open(d, "x", Open{Create: true})
	for op, err := range tests {
		if err != syscall.ENOENT {
			t.Errorf("%s in a removed directory: %v", op, err)
		}
	}
	if _, err := fs.Lookup(d, "..", false); err != syscall.EPERM {
		t.Errorf("leaving a removed directory: %v", err)
	}
	if list, err := d.ReadDir(0, 0); err != nil || len(list) != 2 || list[1].Ino != d.Info().Ino {
		t.Errorf("listing a removed directory: %v, %v", list, err)
	}
	if got := d.Info().Nlink; got != 0 {
		t.Errorf("nlink %d", got)
	}
	before := fs.Used()
	d.Release()
	if got := before - fs.Used(); got != nodeCost {
		t.Errorf("release gave back %d", got)
	}
	check(t, fs)
}

func TestTimes(t *testing.T) {
	fs := New(0)
	clock := int64(1000)
	fs.Now = func() int64 { clock++; return clock }
	build(t, fs, "d/")
	dir := find(t, fs, "d")
	stamp := func() Info { return dir.Info() }

	steps := []struct {
		name string
		do   func() error
	}{
		{"create", func() error {
			n, err := fs.Open(dir, "f", Open{Create: true})
			n.Release()
			return err
		}},
		{"link", func() error { return fs.Link(dir, "f", dir, "g") }},
		{"rename", func() error { return fs.Rename(dir, "g", dir, "h") }},
		{"unlink", func() error { return fs.Unlink(dir, "h") }},
		{"symlink", func() error { return fs.Symlink("t", dir, "s") }},
		{"mkdir", func() error { return fs.Mkdir(dir, "x") }},
		{"rmdir", func() error { return fs.Rmdir(dir, "x") }},
	}
	for _, s := range steps {
		before := stamp()
		if err := s.do(); err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
		if after := stamp(); after.Mtime <= before.Mtime || after.Ctime <= before.Ctime {
			t.Errorf("%s did not change the directory's times", s.name)
		}
	}

	f, err := fs.Lookup(dir, "f", false)
	if err != nil {
		t.Fatal(err)
	}
	before := f.Info()
	if _, err := f.WriteAt([]byte("x"), 0); err != nil {
		t.Fatal(err)
	}
	wrote := f.Info()
	if wrote.Mtime <= before.Mtime || wrote.Ctime <= before.Ctime || wrote.Atime != before.Atime {
		t.Errorf("write: %+v then %+v", before, wrote)
	}
	p := make([]byte, 1)
	for range 2 {
		if _, err := f.ReadAt(p, 0); err != nil {
			t.Fatal(err)
		}
	}
	if read := f.Info(); read.Atime <= wrote.Mtime || read.Mtime != wrote.Mtime {
		t.Errorf("read: %+v then %+v", wrote, read)
	}
	first := f.Info().Atime
	clock += relatimeAfter + 1
	if _, err := f.ReadAt(p, 0); err != nil {
		t.Fatal(err)
	}
	if f.Info().Atime == first {
		t.Error("a read a day later is not recorded")
	}

	at, mt := int64(5), int64(7)
	if err := f.SetTimes(&at, nil); err != nil || f.Info().Atime != 5 || f.Info().Mtime != wrote.Mtime {
		t.Errorf("set atime: %v, %+v", err, f.Info())
	}
	if err := f.SetTimes(nil, &mt); err != nil || f.Info().Atime != 5 || f.Info().Mtime != 7 {
		t.Errorf("set mtime: %v, %+v", err, f.Info())
	}
	link, err := fs.Lookup(dir, "s", false) // symlink_filestat
	if err != nil {
		t.Fatal(err)
	}
	if err := link.SetTimes(nil, &mt); err != nil || link.Info().Mtime != 7 || link.Info().Size != 1 {
		t.Errorf("set mtime of a link: %v, %+v", err, link.Info())
	}
}

func TestReleaseWithoutRetain(t *testing.T) {
	fs := New(0)
	build(t, fs, "f")
	defer func() {
		if s, ok := recover().(string); !ok || !strings.Contains(s, "bug") {
			t.Errorf("recovered %q", s)
		}
	}()
	find(t, fs, "f").Release()
}

func TestDefaultClock(t *testing.T) {
	if now := New(0).Root().Info().Mtime; now < 1e18 {
		t.Errorf("time stamp %d", now)
	}
}

func TestErrorsAreErrnos(t *testing.T) {
	_, err := New(0).Lookup(New(0).Root(), "/", false)
	if _, ok := errors.AsType[syscall.Errno](err); !ok {
		t.Errorf("%T", err)
	}
}

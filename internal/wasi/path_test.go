// SPDX-License-Identifier: Apache-2.0

package wasi

import (
	"strings"
	"testing"

	"enarx.dev/enarx/internal/memfs"
)

const (
	eNotempty errno = 55
	ePerm     errno = 63
	eLoop     errno = 32
	eXdev     errno = 75
	eIlseq    errno = 25
)

func TestPaths(t *testing.T) {
	g, _ := newTree(t)
	g.must("path_create_directory", 3, "dir")
	g.must("path_create_directory", 3, "dir/nested")
	g.open(3, "dir/nested/file", oflagCreat, 0, 0)
	open := func(path string) errno {
		return g.call("path_open", 3, 0, path, 0, uint64(0), uint64(0), 0, out)
	}
	for path, want := range map[string]errno{
		"dir/.//nested/../../dir/nested/../nested///./file": success,
		"dir/nested/":                         success,
		"dir/nested///":                       success,
		"/dir/nested/file":                    ePerm,
		"dir/nested/../../../dir/nested/file": ePerm,
		"dir/nested/file\x00":                 eInval,
		"dir/nested/file\xff":                 eIlseq,
		"dir/nested/file/":                    eNotdir,
		"dir/nested/file///":                  eNotdir,
		"missing":                             eNoent,
		"":                                    eNoent,
		strings.Repeat("x", 256):              eNametoolong,
		strings.Repeat("x/", maxPath):         eNametoolong,
	} {
		if got := open(path); got != want {
			t.Errorf("opening %.40q = %d, want %d", path, got, want)
		}
	}
	end := uint32(len(g.mem))
	g.want(eFault, "path_open", 3, 0, end-1, 2, 0, uint64(0), uint64(0), 0, out)
	g.want(eFault, "path_open", 3, 0, uint32(1<<32-1), 2, 0, uint64(0), uint64(0), 0, out)
	g.want(eFault, "path_open", 3, 0, "new", oflagCreat, uint64(0), uint64(0), 0, end-3)
	g.want(eNoent, "path_filestat_get", 3, 0, "new", out) // EFAULT came before creating it
	g.want(eNotempty, "path_remove_directory", 3, "dir")
	g.want(eNotdir, "path_remove_directory", 3, "dir/nested/file")
	g.want(eIsdir, "path_unlink_file", 3, "dir")
	g.want(eNotdir, "path_unlink_file", 3, "dir/nested/file/")
	g.must("path_unlink_file", 3, "dir/nested/file")
	g.must("path_remove_directory", 3, "dir/nested/")
}

func TestOpen(t *testing.T) {
	g, _ := newTree(t)
	g.must("path_create_directory", 3, "d")
	g.must("path_symlink", "f", 3, "ln")
	g.must("path_symlink", "d", 3, "lnd")
	g.must("path_symlink", "self", 3, "self")
	f := g.open(3, "f", oflagCreat, 0, 0)
	tests := []struct {
		name                    string
		fd                      uint32
		lookup, oflags, fdflags int
		path                    string
		base                    uint64
		want                    errno
	}{
		{"exclusive", 3, 0, oflagCreat | oflagExcl, 0, "f", 0, eExist},
		{"not a directory", f, 0, oflagCreat, 0, "x", 0, eNotdir},
		{"not follow", 3, 0, 0, 0, "ln", 0, eLoop},
		{"not follow to directory", 3, 0, oflagDirectory, 0, "lnd", 0, eLoop},
		{"follow", 3, lookupFollow, 0, 0, "ln", 0, success},
		{"follow to directory", 3, lookupFollow, oflagDirectory, 0, "lnd", 0, success},
		{"file as directory", 3, lookupFollow, oflagDirectory, 0, "ln", 0, eNotdir},
		{"loop", 3, lookupFollow, 0, 0, "self", 0, eLoop},
		{"non-blocking directory", 3, 0, 0, flagNonblock, ".", 0, success},
		{"directory to read", 3, 0, oflagDirectory, 0, ".", rightRead, success},
		{"directory to write", 3, 0, oflagDirectory, 0, ".", rightRead | rightWrite, eIsdir},
		{"directory to write, unsaid", 3, 0, 0, 0, ".", rightWrite, eIsdir},
		{"all rights of a directory", 3, 0, 0, 0, ".", rightsDirectory, success},
		{"unknown lookupflag", 3, 2, 0, 0, "f", 0, eInval},
		{"unknown oflag", 3, 0, 16, 0, "f", 0, eInval},
		{"unknown fdflag", 3, 0, 0, 32, "f", 0, eInval},
	}
	for _, tt := range tests {
		got := g.call("path_open", tt.fd, tt.lookup, tt.path, tt.oflags, tt.base, uint64(allRights), tt.fdflags, out)
		if got != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, got, tt.want)
		}
	}
}

// TestOpenRights follows rights from a directory to what is opened in it.
func TestOpenRights(t *testing.T) {
	g, _ := newTree(t)
	ro := g.open(3, "f", oflagCreat, rightRead, 0)
	if base, inherit := g.rights(ro); base != rightRead || inherit != 0 {
		t.Errorf("rights %#x, %#x", base, inherit)
	}
	if e := g.write(ro, "x"); e != eBadf {
		t.Errorf("writing what was opened to read: %d", e)
	}
	wo := g.open(3, "f", 0, rightWrite, 0)
	if _, e := g.read(wo, 1); e != eBadf {
		t.Errorf("reading what was opened to write: %d", e)
	}
	if e := g.write(wo, "x"); e != success {
		t.Error(e)
	}
	g.wantRead(ro, 2, "x")

	g.must("path_create_directory", 3, "d")
	narrow := uint64(rightRead | rightPathOpen)
	g.must("path_open", 3, 0, "d", oflagDirectory, uint64(rightPathOpen|rightPathCreateFile), narrow, 0, out)
	d := g.u32(out)
	g.must("path_open", d, 0, "x", oflagCreat, uint64(allRights), uint64(allRights), 0, out)
	if base, _ := g.rights(g.u32(out)); base != rightRead {
		t.Errorf("inherited %#x", base)
	}
	g.must("path_open", d, 0, ".", 0, uint64(rightsDirectory), uint64(allRights), 0, out)
	if base, inherit := g.rights(g.u32(out)); base != rightPathOpen || inherit != narrow {
		t.Errorf("inherited %#x, %#x", base, inherit)
	}
	g.want(eNotcapable, "path_open", d, 0, "x", oflagTrunc, uint64(allRights), uint64(0), 0, out)
	g.must("path_open", 3, 0, "d", oflagDirectory, uint64(rightPathOpen), uint64(rightFilestatSetSize), 0, out)
	sizes := g.u32(out)
	g.want(eNotcapable, "path_open", sizes, 0, "x", oflagTrunc, uint64(rightWrite), uint64(0), 0, out)
	g.must("path_open", sizes, 0, "x", oflagTrunc, uint64(rightFilestatSetSize), uint64(0), 0, out)
	g.want(eNotcapable, "path_create_directory", d, "y")
	g.want(eNotcapable, "path_remove_directory", d, "y")
	g.want(eNotcapable, "path_unlink_file", d, "x")
	g.want(eNotcapable, "path_symlink", "a", d, "y")
	g.want(eNotcapable, "path_readlink", d, "y", out, 4, out)
	g.want(eNotcapable, "path_filestat_get", d, 0, "x", out)
	g.want(eNotcapable, "path_filestat_set_times", d, 0, "x", uint64(0), uint64(0), 0)
	g.want(eNotcapable, "path_rename", d, "x", 3, "y")
	g.want(eNotcapable, "path_rename", 3, "x", d, "y")
	g.want(eNotcapable, "path_link", d, 0, "x", 3, "y")
	g.want(eNotcapable, "path_link", 3, 0, "x", d, "y")
	g.want(eNotcapable, "fd_readdir", d, out, 100, uint64(0), out)
	g.must("fd_fdstat_set_rights", d, uint64(rightPathOpen), narrow)
	g.want(eNotcapable, "path_open", d, 0, "new", oflagCreat, uint64(0), uint64(0), 0, out)
	g.must("fd_fdstat_set_rights", d, uint64(0), uint64(0))
	g.want(eNotcapable, "path_open", d, 0, "x", 0, uint64(0), uint64(0), 0, out)
}

func TestReadOnlyDirectory(t *testing.T) {
	fs := memfs.New(0)
	if err := writeFile(fs, "f", []byte("data")); err != nil {
		t.Fatal(err)
	}
	g := newGuest(t, Config{Files: []File{
		Dir("/pkg", fs, fs.Root(), true), Dir("/same", fs, fs.Root(), false),
	}})
	open := func(path string, oflags int, base uint64) errno {
		return g.call("path_open", 0, 0, path, oflags, base, uint64(allRights), 0, out)
	}
	for _, tt := range []struct {
		path   string
		oflags int
		base   uint64
		want   errno
	}{
		{"f", 0, rightRead, success},
		{"f", oflagCreat, rightRead, success},
		{"f", oflagCreat | oflagExcl, rightRead, eExist},
		{"new", oflagCreat, rightRead, eRofs},
		{"f", oflagTrunc, rightRead, eRofs},
		{"f", 0, rightRead | rightWrite, eRofs},
		{"missing", 0, rightRead, eNoent},
	} {
		if got := open(tt.path, tt.oflags, tt.base); got != tt.want {
			t.Errorf("opening %s, %#x, %#x = %d, want %d", tt.path, tt.oflags, tt.base, got, tt.want)
		}
	}
	g.must("path_open", 0, 0, ".", 0, uint64(rightsDirectory), uint64(allRights), 0, out)
	below := g.u32(out)
	for _, d := range []uint32{0, below} {
		g.want(eRofs, "path_create_directory", d, "x")
		g.want(eRofs, "path_remove_directory", d, "x")
		g.want(eRofs, "path_unlink_file", d, "f")
		g.want(eRofs, "path_symlink", "f", d, "x")
		g.want(eRofs, "path_rename", d, "f", d, "x")
		g.want(eRofs, "path_link", d, 0, "f", d, "x")
		g.want(eXdev, "path_link", d, 0, "f", 1, "x")
		g.want(eXdev, "path_rename", 1, "f", d, "x")
		g.want(eRofs, "path_filestat_set_times", d, 0, "f", uint64(1), uint64(1), setMtime)
		g.want(eRofs, "fd_filestat_set_times", d, uint64(1), uint64(1), setMtime)
	}
	if open("f", 0, rightRead|rightAllocate|rightFilestatSetSize|rightFilestatSetTimes) != success {
		t.Fatal("opening with rights that are dropped")
	}
	fd := g.u32(out)
	g.want(eNotcapable, "fd_allocate", fd, uint64(0), uint64(10))
	g.want(eNotcapable, "fd_filestat_set_size", fd, uint64(0))
	g.want(eNotcapable, "fd_filestat_set_times", fd, uint64(0), uint64(0), setMtime)
	g.wantRead(fd, 10, "data")
}

func TestLinks(t *testing.T) {
	g, _ := newTree(t)
	g.open(3, "f", oflagCreat, 0, 0)
	g.must("path_create_directory", 3, "d")
	g.must("path_symlink", "target", 3, "ln")
	g.want(ePerm, "path_symlink", "/", 3, "abs")
	g.want(eExist, "path_symlink", "x", 3, "f")
	g.want(eNoent, "path_symlink", "x", 3, "new/")

	buf := g.put([]byte("----------"))
	g.must("path_readlink", 3, "ln", buf, 10, out)
	if got := string(g.mem[buf : buf+10]); g.u32(out) != 6 || got != "target----" {
		t.Errorf("target is %d bytes: %q", g.u32(out), got)
	}
	g.must("path_readlink", 3, "ln", buf, 4, out)
	if g.u32(out) != 4 {
		t.Errorf("cut target is %d bytes", g.u32(out))
	}
	g.want(eInval, "path_readlink", 3, "f", buf, 4, out)
	g.want(eFault, "path_readlink", 3, "ln", len(g.mem)-3, 4, out)
	g.want(eFault, "path_readlink", 3, "ln", buf, 4, len(g.mem)-3)

	g.must("path_link", 3, 0, "f", 3, "hard")
	g.must("path_filestat_get", 3, 0, "hard", out)
	if g.u64(out+24) != 2 {
		t.Errorf("%d links", g.u64(out+24))
	}
	g.must("path_link", 3, 0, "ln", 3, "hard-ln")
	g.must("path_filestat_get", 3, 0, "hard-ln", out)
	if g.mem[out+16] != fileSymlink {
		t.Error("a link to a symbolic link is not one")
	}
	g.want(eInval, "path_link", 3, lookupFollow, "ln", 3, "x")
	g.want(eExist, "path_link", 3, 0, "f", 3, "f")
	g.want(ePerm, "path_link", 3, 0, "d", 3, "x")
	g.want(eNoent, "path_link", 3, 0, "f", 3, "x/")
}

func TestRename(t *testing.T) {
	g, _ := newTree(t)
	g.open(3, "f", oflagCreat, 0, 0)
	g.must("path_create_directory", 3, "a")
	g.must("path_create_directory", 3, "b")
	g.must("path_rename", 3, "a/", 3, "b/")
	g.want(eNoent, "path_filestat_get", 3, 0, "a", out)
	g.want(eIsdir, "path_rename", 3, "f", 3, "b")
	g.want(eNotdir, "path_rename", 3, "b", 3, "f")
	g.must("path_rename", 3, "f", 3, "b/f")
	g.must("path_create_directory", 3, "c")
	g.want(eNotempty, "path_rename", 3, "c", 3, "b")

	other := memfs.New(0)
	g.Append(Dir("/other", other, other.Root(), false))
	fd := len(g.fds) - 1
	g.want(eXdev, "path_rename", 3, "c", fd, "c")
	g.want(eXdev, "path_link", 3, 0, "b/f", fd, "c")
}

type entry struct {
	next, ino uint64
	typ       byte
	name      string
}

// list reads a directory in one call, as far as the buffer goes.
func (g *guest) list(fd, size uint32, cookie uint64) (entries []entry, used uint32) {
	g.Helper()
	buf := g.put(make([]byte, size))
	g.must("fd_readdir", fd, buf, size, cookie, out)
	used = g.u32(out)
	for at := buf; at+sizeDirent <= buf+used; {
		n := g.u32(at + 16)
		if at+sizeDirent+n > buf+used {
			break
		}
		entries = append(entries, entry{g.u64(at), g.u64(at + 8), g.mem[at+20], string(g.mem[at+24 : at+24+n])})
		at += sizeDirent + n
	}
	return entries, used
}

func TestReaddir(t *testing.T) {
	g, fs := newTree(t)
	list, used := g.list(3, 256, 0)
	if len(list) != 2 || list[0].name != "." || list[1].name != ".." || used >= 256 {
		t.Fatalf("an empty directory has %v", list)
	}
	if info := fs.Root().Info(); list[0].ino != info.Ino || list[0].typ != fileDirectory {
		t.Errorf("the directory's own entry is %v", list[0])
	}
	const files = 100
	for i := range files {
		g.must("fd_close", g.open(3, name("file.%d", i), oflagCreat, 0, 0))
	}
	for _, size := range []uint32{64, 100, 256, 1000, 1 << 16} {
		seen, cookie := map[string]bool{}, uint64(0)
		for {
			list, used := g.list(3, size, cookie)
			for _, e := range list {
				if seen[e.name] {
					t.Errorf("%s is listed twice", e.name)
				}
				seen[e.name] = true
				cookie = e.next
			}
			if used < size {
				break
			}
		}
		if len(seen) != files+2 {
			t.Errorf("with %d bytes at a time %d entries", size, len(seen))
		}
	}
	if _, used := g.list(3, 10, 0); used != 10 {
		t.Errorf("a buffer too small for an entry was filled to %d", used)
	}
	if _, used := g.list(3, 0, 0); used != 0 {
		t.Errorf("an empty buffer was filled to %d", used)
	}
	if _, used := g.list(3, 100, 1<<64-1); used != 0 {
		t.Errorf("a cookie behind the end gave %d bytes", used)
	}
	g.want(eNotdir, "fd_readdir", 1, out, 10, uint64(0), out)
	g.want(eFault, "fd_readdir", 3, len(g.mem)-9, 10, uint64(0), out)
	g.want(eFault, "fd_readdir", 3, 100, 10, uint64(0), len(g.mem)-3)
}

// TestFilestat compares both versions' layouts.
func TestFilestat(t *testing.T) {
	g, fs := newTree(t)
	if err := writeFile(fs, "f", []byte("12345")); err != nil {
		t.Fatal(err)
	}
	fd := g.open(3, "f", 0, allRights, 0)
	g.must("path_link", 3, 0, "f", 3, "g")
	g.must("fd_filestat_set_times", fd, uint64(111), uint64(222), setAtime|setMtime)
	n, err := fs.Lookup(fs.Root(), "f", false)
	if err != nil {
		t.Fatal(err)
	}
	i := n.Info()
	check := func(at uint32, a *abi) {
		t.Helper()
		nlink := uint64(g.u32(at + 20))
		if a.nlinkWide {
			nlink = g.u64(at + 24)
		}
		rest := at + a.afterNlink
		if g.u64(at) != i.Dev || g.u64(at+8) != i.Ino || g.mem[at+16] != fileRegular || nlink != 2 ||
			g.u64(rest) != 5 || g.u64(rest+8) != 111 || g.u64(rest+16) != 222 || g.u64(rest+24) != uint64(i.Ctime) {
			t.Errorf("filestat % x", g.mem[at:at+a.filestat])
		}
		if g.mem[at+a.filestat] != 0xee {
			t.Error("wrote behind the structure")
		}
	}
	for module, a := range map[string]*abi{Preview1: &preview1, Preview0: &preview0} {
		g.module = module
		g.mem[out+a.filestat] = 0xee
		g.must("fd_filestat_get", fd, out)
		check(out, a)
		g.must("path_filestat_get", 3, 0, "g", out)
		check(out, a)
		g.want(eFault, "path_filestat_get", 3, 0, "g", len(g.mem)-int(a.filestat)+1)
	}
	g.want(eInval, "path_filestat_get", 3, 2, "g", out)
}

// TestWhence seeks in preview 0, whose numbers are others.
func TestWhence(t *testing.T) {
	g, _ := newTree(t)
	fd := g.open(3, "f", oflagCreat, allRights, 0)
	g.write(fd, "0123456789")
	for _, tt := range []struct {
		module         string
		set, cur, end  int
		want, want2, e uint64
	}{
		{Preview1, 0, 1, 2, 3, 5, 9},
		{Preview0, 2, 0, 1, 3, 5, 9},
	} {
		g.module = tt.module
		g.must("fd_seek", fd, uint64(3), tt.set, out)
		if g.u64(out) != tt.want {
			t.Errorf("%s: SET gave %d", tt.module, g.u64(out))
		}
		g.must("fd_seek", fd, uint64(2), tt.cur, out)
		if g.u64(out) != tt.want2 {
			t.Errorf("%s: CUR gave %d", tt.module, g.u64(out))
		}
		minus := int64(-1)
		g.must("fd_seek", fd, uint64(minus), tt.end, out)
		if g.u64(out) != tt.e {
			t.Errorf("%s: END gave %d", tt.module, g.u64(out))
		}
	}
}

// TestUnlinkedFile keeps what is open usable, and gives its space back after.
func TestUnlinkedFile(t *testing.T) {
	fs := memfs.New(1 << 20)
	g := newGuest(t, Config{Files: []File{Dir("/", fs, fs.Root(), false)}})
	before := fs.Used()
	fd := g.open(0, "f", oflagCreat, allRights, 0)
	g.write(fd, "data")
	g.must("path_unlink_file", 0, "f")
	g.must("fd_seek", fd, uint64(0), 0, out)
	g.wantRead(fd, 10, "data")
	g.must("fd_close", fd)
	if got := fs.Used(); got != before {
		t.Errorf("%d bytes are used, %d before", got, before)
	}
}

// SPDX-License-Identifier: Apache-2.0

package wasi

import (
	"os"
	"testing"

	"enarx.dev/enarx/internal/memfs"
	"enarx.dev/enarx/internal/socket"
)

// TestNotOpen calls everything that takes a descriptor with numbers that are
// not one.
func TestNotOpen(t *testing.T) {
	g, _ := newTree(t)
	for _, fd := range []uint32{4, 1 << 16, 1 << 31, 1<<32 - 1} {
		for name, f := range byName[Preview1] {
			if len(name) < 3 || name[:3] != "fd_" && name[:5] != "sock_" && name[:5] != "path_" {
				continue
			}
			args := make([]any, len(f.Params))
			for i := range args {
				args[i] = fd
				if i > 0 && name != "path_symlink" {
					args[i] = 0
				}
			}
			g.want(eBadf, name, args...)
		}
	}
}

func TestRenumber(t *testing.T) {
	g, _ := newTree(t)
	rw := uint64(rightRead | rightWrite)
	a := g.open(3, "a", oflagCreat, rw, 0)
	b := g.open(3, "b", oflagCreat, rw, flagAppend)
	if a != 4 || b != 5 {
		t.Fatalf("opened %d and %d, want 4 and 5", a, b)
	}
	g.must("fd_renumber", b, a)
	g.want(eBadf, "fd_close", b)
	if base, _ := g.rights(a); base != rw || g.flags(a) != flagAppend {
		t.Error("the descriptor changed by moving")
	}
	g.want(eBadf, "fd_renumber", a, b)
	g.want(eBadf, "fd_renumber", b, a)
	g.must("fd_renumber", a, a)
	if got := g.open(3, "c", oflagCreat, rw, 0); got != b {
		t.Errorf("opened %d, want the lowest free number %d", got, b)
	}
	// Over a preopened directory and from standard input.
	dir := g.open(3, ".", oflagDirectory, rightsDirectory, 0)
	g.must("fd_renumber", dir, 3)
	g.want(eBadf, "fd_prestat_get", 3, out)
	g.must("fd_renumber", 0, 3)
	g.want(eBadf, "fd_fdstat_get", 0, out)
	g.want(eNotdir, "path_unlink_file", 3, "a")
	if got, e := g.nextFD(); got != 0 || e != success {
		t.Errorf("next number %d, want 0", got)
	}
}

func TestDescriptorLimit(t *testing.T) {
	g, _ := newTree(t)
	g.open(3, "f", oflagCreat, 0, 0)
	for i := 5; i < maxDescriptors; i++ {
		g.open(3, "f", 0, 0, 0)
	}
	g.want(eMfile, "path_open", 3, 0, "f", 0, uint64(0), uint64(0), 0, out)
	g.must("fd_close", 1000)
	if got := g.open(3, "f", 0, 0, 0); got != 1000 {
		t.Errorf("opened %d, want 1000", got)
	}
}

// TestKinds checks what fd_fdstat_get shows of what a guest starts with.
func TestKinds(t *testing.T) {
	fs := memfs.New(0)
	r, w := pipe(t)
	const noOffset = rightSeek | rightTell
	tests := []struct {
		name          string
		file          File
		filetype      byte
		flags         uint16
		base, without uint64 // rights it has and has not
	}{
		{"null", Null(), fileUnknown, flagAppend | flagNonblock, rightsStdio, rightSockAccept},
		{"empty", Empty(), fileUnknown, 0, rightRead, rightWrite},
		{"sink", Sink(), fileUnknown, 0, rightWrite, rightRead},
		{"no stdin", Stdin(nil), fileUnknown, 0, rightRead, rightWrite},
		{"stdin", Stdin(r), fileUnknown, 0, rightRead | rightPoll | noOffset, rightWrite},
		{"stdout", Stdout(w), fileUnknown, 0, rightWrite | rightPoll | noOffset, rightRead},
		{"listener", Listener(&socket.Listener{}, true), fileSocketStream, flagNonblock, rightsListener, rightWrite | noOffset},
		{"blocking listener", Listener(&socket.Listener{}, false), fileSocketStream, 0, rightsListener, rightWrite},
		{"conn", Conn(&socket.Conn{}, true), fileSocketStream, flagNonblock, rightsConn, rightSockAccept | noOffset},
		{"dir", Dir("/", fs, fs.Root(), false), fileDirectory, 0, rightsDirectory, rightRead | rightWrite | rightFilestatSetSize},
	}
	if tty, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0); err == nil {
		defer tty.Close()
		tests = append(tests, struct {
			name          string
			file          File
			filetype      byte
			flags         uint16
			base, without uint64
		}{"terminal", Stdout(tty), fileCharDevice, 0, rightWrite, noOffset})
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := New(Config{Files: []File{tt.file}}) // not closed: some sockets are not real
			g := &guest{TB: t, Host: h, mem: make(memory, 4096), module: Preview1, brk: 1024}
			g.must("fd_fdstat_get", 0, out)
			if got := g.mem[out]; got != tt.filetype {
				t.Errorf("file type %d, want %d", got, tt.filetype)
			}
			if got := le.Uint16(g.mem[out+2:]); got != tt.flags {
				t.Errorf("flags %#x, want %#x", got, tt.flags)
			}
			base := g.u64(out + 8)
			if base&tt.base != tt.base || base&tt.without != 0 {
				t.Errorf("rights %#x, want all of %#x and none of %#x", base, tt.base, tt.without)
			}
			g.must("fd_filestat_get", 0, out)
			if got := g.mem[out+16]; got != tt.filetype {
				t.Errorf("filestat type %d, want %d", got, tt.filetype)
			}
			g.want(eFault, "fd_fdstat_get", 0, len(g.mem)-23)
			g.want(eFault, "fd_filestat_get", 0, len(g.mem)-63)
		})
	}
}

func TestSetRights(t *testing.T) {
	g, _ := newTree(t)
	fd := g.open(3, "f", oflagCreat, rightRead|rightWrite|rightSeek|rightTell, 0)
	if e := g.write(fd, "1234"); e != success {
		t.Fatal(e)
	}
	g.must("fd_seek", fd, uint64(0), 0, out)
	g.wantRead(fd, 4, "1234")
	g.must("fd_fdstat_set_rights", fd, uint64(rightSeek|rightTell), uint64(0))
	if base, _ := g.rights(fd); base != rightSeek|rightTell {
		t.Errorf("rights are %#x", base)
	}
	if _, e := g.read(fd, 1); e != eBadf {
		t.Errorf("reading without the right: %d", e)
	}
	if e := g.write(fd, "x"); e != eBadf {
		t.Errorf("writing without the right: %d", e)
	}
	g.want(eNotcapable, "fd_fdstat_set_rights", fd, uint64(rightSeek|rightRead), uint64(0))
	g.want(eNotcapable, "fd_fdstat_set_rights", fd, uint64(rightSeek), uint64(rightRead))
	g.want(eNotcapable, "fd_filestat_get", fd, out)
	g.want(eNotcapable, "fd_sync", fd)
	g.want(eNotcapable, "fd_advise", fd, uint64(0), uint64(0), 0)
	g.want(eNotcapable, "fd_allocate", fd, uint64(0), uint64(1))
	g.want(eNotcapable, "fd_filestat_set_size", fd, uint64(0))
	g.want(eNotcapable, "fd_filestat_set_times", fd, uint64(0), uint64(0), 0)
	g.want(eNotcapable, "fd_fdstat_set_flags", fd, 0)
	g.must("fd_fdstat_set_rights", fd, uint64(rightTell), uint64(0))
	g.must("fd_seek", fd, uint64(0), 1, out) // only tells
	g.want(eNotcapable, "fd_seek", fd, uint64(1), 1, out)
	g.want(eNotcapable, "fd_seek", fd, uint64(0), 0, out)
	g.must("fd_fdstat_set_rights", fd, uint64(0), uint64(0))
	g.want(eNotcapable, "fd_seek", fd, uint64(0), 1, out)
	g.want(eNotcapable, "fd_tell", fd, out)
}

// TestPrestat has descriptors of other kinds before, between and behind the
// preopened directories.
func TestPrestat(t *testing.T) {
	fs := memfs.New(0)
	dir := func(name string) File { return Dir(name, fs, fs.Root(), false) }
	g := newGuest(t, Config{Files: []File{dir("/zero"), Sink(), Sink(), Null(), dir("/pkg"), Null(), dir("/tmp"), Null()}})
	for fd, want := range []struct {
		err errno
		tag byte
		len uint32
	}{
		{success, preopenDir, 5}, {success, preopenOther, 0}, {success, preopenOther, 0}, {success, preopenOther, 0},
		{success, preopenDir, 4}, {success, preopenOther, 0}, {success, preopenDir, 4}, {eBadf, 0, 0}, {eBadf, 0, 0},
	} {
		g.want(want.err, "fd_prestat_get", fd, out)
		if want.err == success && (g.mem[out] != want.tag || g.u32(out+4) != want.len) {
			t.Errorf("descriptor %d: tag %d, length %d", fd, g.mem[out], g.u32(out+4))
		}
	}
	g.want(eNametoolong, "fd_prestat_dir_name", 4, out, 0)
	g.want(eNametoolong, "fd_prestat_dir_name", 4, out, 3)
	g.want(eBadf, "fd_prestat_dir_name", 3, out, 100)
	g.want(eFault, "fd_prestat_dir_name", 4, len(g.mem)-3, 4)
	g.want(eFault, "fd_prestat_get", 4, len(g.mem)-7)
	g.mem[104] = 'x'
	g.must("fd_prestat_dir_name", 4, 100, 50)
	if got := string(g.mem[100:105]); got != "/pkgx" {
		t.Errorf("name and what follows: %q", got)
	}
	g.must("fd_close", 6)
	g.want(eBadf, "fd_prestat_get", 5, out)
	opened := g.open(4, ".", oflagDirectory, 0, 0)
	g.want(eBadf, "fd_prestat_get", opened, out)
}

func TestSyncAndAdvise(t *testing.T) {
	g, _ := newTree(t)
	fd := g.open(3, "f", oflagCreat, allRights, 0)
	g.must("fd_sync", fd)
	g.must("fd_datasync", fd)
	g.must("fd_sync", 3)
	g.must("fd_sync", 1)
	for advice := range 6 {
		g.must("fd_advise", fd, uint64(10), uint64(50), advice)
	}
	g.want(eInval, "fd_advise", fd, uint64(0), uint64(0), 6)
	g.want(eInval, "fd_advise", fd, uint64(1<<63), uint64(1<<63), 0)
	g.want(eIsdir, "fd_advise", 3, uint64(0), uint64(0), 0)
	g.want(eSpipe, "fd_advise", 1, uint64(0), uint64(0), 0)
}

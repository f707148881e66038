// SPDX-License-Identifier: Apache-2.0

package wasi

import (
	"math"
	"strings"
	"testing"

	"enarx.dev/enarx/internal/memfs"
)

func TestReadWriteSeek(t *testing.T) {
	g, _ := newTree(t)
	fd := g.open(3, "f", oflagCreat, allRights, 0)
	if e := g.write(fd, strings.Repeat("x", 100)); e != success {
		t.Fatal(e)
	}
	seek := func(offset int64, whence int, want errno, at uint64) {
		t.Helper()
		g.want(want, "fd_seek", fd, uint64(offset), whence, out)
		if want == success && g.u64(out) != at {
			t.Errorf("seek(%d, %d) gave %d, want %d", offset, whence, g.u64(out), at)
		}
		g.must("fd_tell", fd, out)
		if want == success && g.u64(out) != at {
			t.Errorf("tell gave %d, want %d", g.u64(out), at)
		}
	}
	seek(-50, 1, success, 50)
	seek(0, 0, success, 0)
	seek(1000, 1, success, 1000)
	seek(-2000, 1, eInval, 0)
	seek(-1, 0, eInval, 0)
	seek(math.MaxInt64, 0, success, math.MaxInt64)
	seek(1, 1, eOverflow, 0)
	seek(math.MinInt64, 1, eInval, 0)
	if e := g.write(fd, "x"); e != eFbig {
		t.Errorf("writing at the largest offset: %d", e)
	}
	g.wantRead(fd, 10, "")
	seek(0, 3, eInval, 0)
	seek(-1, 2, success, 99)
	g.wantRead(fd, 10, "x")
	g.want(eFault, "fd_seek", fd, uint64(0), 0, len(g.mem)-7)
	g.want(eFault, "fd_tell", fd, len(g.mem)-7)
	seek(0, 1, success, 100)
}

func TestPositioned(t *testing.T) {
	g, _ := newTree(t)
	fd := g.open(3, "f", oflagCreat, rightRead|rightWrite|rightSeek, 0)
	data := g.put([]byte("0123"))
	ptr, n := g.iovecs(data, 2, data+2, 2)
	g.must("fd_pwrite", fd, ptr, n, uint64(0), out)
	to := g.put(make([]byte, 8))
	ptr, n = g.iovecs(to, 2, to+2, 6)
	g.must("fd_pread", fd, ptr, n, uint64(1), out)
	if got := string(g.mem[to : to+8]); g.u32(out) != 3 || got != "123\x00\x00\x00\x00\x00" {
		t.Errorf("read %d bytes: %q", g.u32(out), got)
	}
	g.must("fd_tell", fd, out)
	if g.u64(out) != 0 {
		t.Errorf("the offset moved to %d", g.u64(out))
	}
	g.must("fd_pread", fd, ptr, n, uint64(100), out)
	if g.u32(out) != 0 {
		t.Error("read something behind the end")
	}
	g.want(eInval, "fd_pread", fd, ptr, n, uint64(1<<63), out)
	g.want(eInval, "fd_pwrite", fd, ptr, n, uint64(1<<63), out)
	g.want(eFbig, "fd_pwrite", fd, ptr, n, uint64(math.MaxInt64), out)
	g.want(eSpipe, "fd_pread", 0, ptr, n, uint64(0), out)
	g.want(eSpipe, "fd_pwrite", 1, ptr, n, uint64(0), out)
	noSeek := g.open(3, "f", 0, rightRead|rightWrite, 0)
	g.want(eNotcapable, "fd_pread", noSeek, ptr, n, uint64(0), out)
}

func TestAppend(t *testing.T) {
	g, _ := newTree(t)
	fd := g.open(3, "f", oflagCreat|oflagTrunc, allRights, flagAppend|flagSync)
	if got := g.flags(fd); got != flagAppend|flagSync {
		t.Errorf("flags %#x", got)
	}
	g.write(fd, "ab")
	g.must("fd_seek", fd, uint64(0), 0, out)
	g.write(fd, "cd")
	g.must("fd_tell", fd, out)
	if g.u64(out) != 4 {
		t.Errorf("the offset is %d after appending, want 4", g.u64(out))
	}
	ptr, n := g.iovecs(g.put([]byte("XYZ")), 3)
	g.must("fd_pwrite", fd, ptr, n, uint64(0), out)
	g.must("fd_tell", fd, out)
	if g.u64(out) != 4 {
		t.Errorf("the offset is %d after fd_pwrite, want 4", g.u64(out))
	}
	g.must("fd_seek", fd, uint64(0), 0, out)
	g.wantRead(fd, 10, "XYZd")

	g.must("fd_fdstat_set_flags", fd, 0)
	g.must("fd_seek", fd, uint64(1), 0, out)
	g.write(fd, "--")
	g.must("fd_seek", fd, uint64(0), 0, out)
	g.wantRead(fd, 10, "X--d")
	g.want(eInval, "fd_fdstat_set_flags", fd, 1<<5)
	g.want(eInval, "fd_fdstat_set_flags", fd, 1<<16)
}

func TestIovecs(t *testing.T) {
	g, _ := newTree(t)
	fd := g.open(3, "f", oflagCreat, allRights, 0)
	g.write(fd, "0123456789")
	rewind := func() { g.must("fd_seek", fd, uint64(0), 0, out) }

	// The first buffer lies over the second's description.
	rewind()
	b := g.put(make([]byte, 8))
	ptr, n := g.iovecs(0, 0, b, 4)
	le.PutUint32(g.mem[ptr:], ptr+8)
	le.PutUint32(g.mem[ptr+4:], 4)
	g.must("fd_read", fd, ptr, n, out)
	if got := string(g.mem[ptr+8:ptr+12]) + string(g.mem[b:b+4]); got != "01234567" {
		t.Errorf("read %q", got)
	}

	size := uint32(len(g.mem))
	bad := []struct {
		name       string
		ptr, count uint32
		want       errno
	}{
		{"array behind the end", size, 1, eFault},
		{"array over the end", size - 4, 1, eFault},
		{"array wraps", 1<<32 - 4, 2, eFault},
		{"too many", 0, maxIovecs + 1, eInval},
		{"count overflows", 0, 1 << 29, eInval},
	}
	for _, tt := range bad {
		rewind()
		g.want(tt.want, "fd_read", fd, tt.ptr, tt.count, out)
		g.want(tt.want, "fd_write", fd, tt.ptr, tt.count, out)
		g.want(tt.want, "fd_pread", fd, tt.ptr, tt.count, uint64(0), out)
	}
	for _, pair := range [][2]uint32{{size, 1}, {size - 1, 2}, {1<<32 - 1, 1}, {1, 1<<32 - 1}} {
		ptr, n := g.iovecs(b, 1, pair[0], pair[1])
		rewind()
		g.want(eFault, "fd_read", fd, ptr, n, out)
		g.must("fd_tell", fd, out)
		if g.u64(out) != 0 {
			t.Error("a call that failed with EFAULT read something")
		}
	}
	ptr, n = g.iovecs(1<<32-1, 0, b, 1)
	g.must("fd_read", fd, ptr, n, out)
	ptr, n = g.iovecs(b, 1)
	g.want(eFault, "fd_read", fd, ptr, n, size-3)
	g.want(eFault, "fd_write", fd, ptr, n, size-3)

	var many []uint32
	for range maxIovecs {
		many = append(many, 0, size)
	}
	ptr, n = g.iovecs(many...)
	g.must("fd_pread", fd, ptr, n, uint64(0), ptr-8) // 1 GiB in all; the file ends first
	if got := g.flags(fd); got != 0 {
		t.Errorf("flags %#x", got)
	}
}

func TestIovecSum(t *testing.T) {
	g := newGuest(t, Config{Files: []File{Null()}})
	g.mem = make(memory, 8<<20)
	var many []uint32
	for range 512 {
		many = append(many, 0, 8<<20)
	}
	ptr, n := g.iovecs(many...)
	g.want(eInval, "fd_write", 0, ptr, n, out) // 4 GiB cannot be returned
	g.must("fd_write", 0, ptr, n-1, out)
	if got := g.u32(out); got != 511*(8<<20) {
		t.Errorf("wrote %d", got)
	}
}

func TestAllocateAndSize(t *testing.T) {
	g, _ := newTree(t)
	fd := g.open(3, "f", oflagCreat, allRights, 0)
	size := func(want uint64) {
		t.Helper()
		g.must("fd_filestat_get", fd, out)
		if got := g.u64(out + 32); got != want {
			t.Errorf("size %d, want %d", got, want)
		}
	}
	g.must("fd_allocate", fd, uint64(0), uint64(100))
	size(100)
	g.must("fd_allocate", fd, uint64(10), uint64(10))
	size(100)
	g.must("fd_allocate", fd, uint64(90), uint64(20))
	size(110)
	g.want(eInval, "fd_allocate", fd, uint64(0), uint64(0))
	g.want(eInval, "fd_allocate", fd, uint64(1<<63), uint64(1))
	g.want(eInval, "fd_allocate", fd, uint64(0), uint64(1<<63))
	g.want(eFbig, "fd_allocate", fd, uint64(math.MaxInt64), uint64(2))
	g.must("fd_filestat_set_size", fd, uint64(7))
	size(7)
	g.want(eInval, "fd_filestat_set_size", fd, uint64(1<<63))
	g.want(eInval, "fd_filestat_set_size", 1, uint64(1))
	g.want(eIsdir, "fd_filestat_set_size", 3, uint64(1))
}

func TestDirectoryIsNoFile(t *testing.T) {
	g, _ := newTree(t)
	ptr, n := g.iovecs(g.put(make([]byte, 4)), 4)
	g.want(eIsdir, "fd_read", 3, ptr, n, out)
	g.want(eIsdir, "fd_write", 3, ptr, n, out)
	g.want(eIsdir, "fd_pread", 3, ptr, n, uint64(0), out)
	g.want(eIsdir, "fd_pwrite", 3, ptr, n, uint64(0), out)
	g.want(eIsdir, "fd_seek", 3, uint64(0), 0, out)
	g.want(eIsdir, "fd_tell", 3, out)
	g.want(eIsdir, "fd_allocate", 3, uint64(0), uint64(1))
	seek := g.open(3, ".", oflagDirectory, rightSeek, 0)
	if base, _ := g.rights(seek); base != 0 {
		t.Errorf("a directory has the right to seek: %#x", base)
	}
}

func TestTimes(t *testing.T) {
	g, fs := newTree(t)
	fd := g.open(3, "f", oflagCreat, allRights, 0)
	g.must("path_symlink", "f", 3, "ln")
	info := func(path string) memfs.Info {
		n, err := fs.Lookup(fs.Root(), path, false)
		if err != nil {
			t.Fatal(err)
		}
		return n.Info()
	}
	before := info("f")
	g.must("fd_filestat_set_times", fd, uint64(5), uint64(6), setMtime)
	if i := info("f"); i.Mtime != 6 || i.Atime != before.Atime {
		t.Errorf("times %d, %d", i.Atime, i.Mtime)
	}
	g.must("path_filestat_set_times", 3, 0, "ln", uint64(7), uint64(8), setAtime|setMtime)
	if i := info("ln"); i.Atime != 7 || i.Mtime != 8 || info("f").Mtime != 6 {
		t.Error("the times of the link were not set, or the file's were")
	}
	g.must("path_filestat_set_times", 3, lookupFollow, "ln", uint64(9), uint64(0), setAtime|setMtimeNow)
	if i := info("f"); i.Atime != 9 || i.Mtime < before.Mtime {
		t.Errorf("times %d, %d", i.Atime, i.Mtime)
	}
	for _, flags := range []int{setAtime | setAtimeNow, setMtime | setMtimeNow, 1 << 4, -1} {
		g.want(eInval, "fd_filestat_set_times", fd, uint64(100), uint64(200), flags)
		g.want(eInval, "path_filestat_set_times", 3, 0, "f", uint64(100), uint64(200), flags)
	}
	g.want(eInval, "fd_filestat_set_times", fd, uint64(1<<63), uint64(0), setAtime)
	g.want(eInval, "fd_filestat_set_times", 1, uint64(0), uint64(0), 0)
	g.want(eInval, "path_filestat_set_times", 3, 2, "f", uint64(0), uint64(0), 0)
}

func TestNoSpace(t *testing.T) {
	fs := memfs.New(16 << 10)
	g := newGuest(t, Config{Files: []File{Dir("/", fs, fs.Root(), false)}})
	fd := g.open(0, "f", oflagCreat, allRights, 0)
	chunk := strings.Repeat("x", 4<<10)
	written := 0
	for range 100 {
		e := g.write(fd, chunk)
		if e != success {
			if e != 51 {
				t.Errorf("errno %d, want ENOSPC", e)
			}
			break
		}
		written += int(g.u32(out))
	}
	if written == 0 || written > 16<<10 {
		t.Errorf("wrote %d bytes into 16 KiB", written)
	}
}

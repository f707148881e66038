// SPDX-License-Identifier: Apache-2.0

package hostio

import (
	"bytes"
	"encoding/binary"
	"os"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"enarx.dev/enarx/internal/confine"
	"enarx.dev/enarx/internal/sallyport"
	"enarx.dev/enarx/internal/shim/abi"
)

func pipes(t testing.TB) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	return r, w
}

func TestStartDescriptors(t *testing.T) {
	in, feed := pipes(t)
	drain, out := pipes(t)
	r := newProxied(t, in, out)
	if _, err := feed.WriteString("from outside"); err != nil {
		t.Fatal(err)
	}
	if n := r.must(abi.SYS_READ, 0, r.user, 4096); string(r.get(0, int(n))) != "from outside" {
		t.Errorf("read %q", r.get(0, int(n)))
	}
	r.must(abi.SYS_WRITE, 1, r.put(0, []byte("from inside")), 11)
	b := make([]byte, 64)
	if n, err := drain.Read(b); err != nil || string(b[:n]) != "from inside" {
		t.Errorf("%q, %v", b[:n], err)
	}
	r.fails(unix.EBADF, abi.SYS_WRITE, 0, r.user, 1)
	r.fails(unix.EBADF, abi.SYS_READ, 1, r.user, 1)
	r.fails(unix.EBADF, abi.SYS_READ, 2, r.user, 1)
	r.fails(unix.EFAULT, abi.SYS_WRITE, 1, r.user+userSize, 1)
	if fl := r.must(abi.SYS_FCNTL, 1, unix.F_GETFL, 0); fl&unix.O_ACCMODE != unix.O_WRONLY {
		t.Errorf("F_GETFL of an output: %#x", fl)
	}
	feed.Close()
	if n := r.must(abi.SYS_READ, 0, r.user, 10); n != 0 {
		t.Errorf("%d bytes at the end of a pipe", n)
	}
	r.must(abi.SYS_CLOSE, 0)
	r.fails(unix.EBADF, abi.SYS_CLOSE, 0)
}

// A write that is larger than the block arrives whole, through one iovec or
// many; a read is short, as Linux allows.
func TestLargeAndVectored(t *testing.T) {
	r := newProxied(t)
	r.must(abi.SYS_PIPE2, r.user, 0)
	in, out := uint64(r.get32(0)), uint64(r.get32(4))
	want := fill(300_000, 7)
	r.put(4096, want)
	// Lengths of zero and a single byte, and a page boundary, are in it.
	iovs, off, count := []uint64{}, uint64(4096), 0
	for _, n := range []uint64{0, 1, 4095, 100_000, 0, 195_904} {
		iovs = append(iovs, r.user+off, n)
		off += n
		count++
	}
	done := make(chan int64)
	go func() { done <- r.on(1, abi.SYS_WRITEV, out, r.put64(512*1024, iovs...), uint64(count)) }()
	var got []byte
	for len(got) < len(want) {
		v := r.put64(600*1024, r.user+700*1024, 5, r.user+800*1024, 100_000)
		n := r.must(abi.SYS_READV, in, v, 2)
		if n > sallyport.PayloadSize {
			t.Fatalf("a read of %d bytes", n)
		}
		got = append(got, append(r.get(700*1024, int(min(n, 5))), r.get(800*1024, int(max(n, 5)-5))...)...)
	}
	if n := <-done; n != int64(len(want)) {
		t.Errorf("wrote %d", n)
	}
	same(t, "pipe", got, want)
	r.fails(unix.EINVAL, abi.SYS_READV, in, r.user, 1025)
	r.fails(unix.EINVAL, abi.SYS_READV, in, r.put64(0, r.user, 1<<63), 1)
	r.fails(unix.EFAULT, abi.SYS_WRITEV, out, r.user+userSize, 1)
	r.fails(unix.EBADF, abi.SYS_WRITE, in, r.user, 1)
	r.fails(unix.EBADF, abi.SYS_READ, out, r.user, 1)
	if n := r.must(abi.SYS_WRITEV, out, r.user, 0); n != 0 {
		t.Errorf("no buffers: %d", n)
	}
}

func TestEventAndNonblock(t *testing.T) {
	r := newProxied(t)
	fd := r.must(abi.SYS_EVENTFD2, 3, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if v := r.must(abi.SYS_FCNTL, fd, unix.F_GETFD); v != unix.FD_CLOEXEC {
		t.Errorf("F_GETFD: %d", v)
	}
	r.must(abi.SYS_WRITE, fd, r.put64(0, 4), 8)
	r.must(abi.SYS_READ, fd, r.user, 100)
	if v := binary.LittleEndian.Uint64(r.get(0, 8)); v != 7 {
		t.Errorf("the counter is %d", v)
	}
	r.fails(unix.EAGAIN, abi.SYS_READ, fd, r.user, 8)
	r.fails(unix.EINVAL, abi.SYS_READ, fd, r.user, 7)
	r.fails(unix.EINVAL, abi.SYS_EVENTFD2, 0, 2)
	r.must(abi.SYS_PIPE2, r.user, unix.O_NONBLOCK)
	in := uint64(r.get32(0))
	r.fails(unix.EAGAIN, abi.SYS_READ, in, r.user, 8)
	r.must(abi.SYS_FCNTL, in, unix.F_SETFL, 0)
	if fl := r.must(abi.SYS_FCNTL, in, unix.F_GETFL); fl != unix.O_RDONLY {
		t.Errorf("F_GETFL: %#x", fl)
	}
	one := r.put(0, []byte{1, 0, 0, 0})
	r.must(abi.SYS_IOCTL, in, fionbio, one)
	r.fails(unix.EAGAIN, abi.SYS_READ, in, r.user, 8)
	r.fails(unix.ENOTTY, abi.SYS_IOCTL, in, unix.TCGETS, r.user)
	r.fails(unix.EINVAL, abi.SYS_FCNTL, in, unix.F_SETFL, unix.O_ASYNC)
	r.fails(unix.EINVAL, abi.SYS_FCNTL, in, unix.F_GETLK, r.user)
}

// Numbers are the lowest free, as on Linux; duplicates share the file and not
// the close-on-exec flag.
func TestDuplicates(t *testing.T) {
	in, feed := pipes(t)
	r := newProxied(t, in, in, in)
	want := func(got, want uint64) {
		t.Helper()
		if got != want {
			t.Errorf("descriptor %d, not %d", got, want)
		}
	}
	want(r.must(abi.SYS_DUP, 0), 3)
	want(r.must(abi.SYS_FCNTL, 0, unix.F_DUPFD, 100), 100)
	want(r.must(abi.SYS_FCNTL, 0, unix.F_DUPFD_CLOEXEC, 100), 101)
	want(r.must(abi.SYS_FCNTL, 101, unix.F_GETFD), 1)
	want(r.must(abi.SYS_FCNTL, 100, unix.F_GETFD), 0)
	r.must(abi.SYS_CLOSE, 1)
	want(r.must(abi.SYS_DUP, 3), 1)
	want(r.must(abi.SYS_DUP2, 2, 50), 50)
	want(r.must(abi.SYS_DUP2, 50, 50), 50)
	want(r.must(abi.SYS_DUP2, 2, 0), 0)
	want(r.must(abi.SYS_DUP3, 2, 60, unix.O_CLOEXEC), 60)
	want(r.must(abi.SYS_DUP3, 60, 2, 0), 2) // both of one file
	r.fails(unix.EINVAL, abi.SYS_DUP3, 60, 60, 0)
	r.fails(unix.EBADF, abi.SYS_DUP2, 60, MaxFiles)
	r.fails(unix.EBADF, abi.SYS_DUP2, 61, 61)
	r.fails(unix.EBADF, abi.SYS_DUP, 61)
	r.fails(unix.EINVAL, abi.SYS_FCNTL, 0, unix.F_DUPFD, MaxFiles)
	r.fails(unix.EMFILE, abi.SYS_SOCKET, 0+unix.AF_INET, unix.SOCK_STREAM, 0, r.fillNumbers())
	r.must(abi.SYS_CLOSE, 60)
	if _, err := feed.WriteString("x"); err != nil {
		t.Fatal(err)
	}
	want(r.must(abi.SYS_READ, 50, r.user, 8), 1)
}

func (r *rig) fillNumbers() uint64 {
	for r.call(abi.SYS_DUP, 0) >= 0 {
	}
	return 0
}

// A thread that waits in a call on a descriptor that another closes keeps its
// file, and what is opened next is not taken for it.
func TestCloseUnderCall(t *testing.T) {
	r := newProxied(t)
	r.must(abi.SYS_PIPE2, r.user, 0)
	in, out := uint64(r.get32(0)), uint64(r.get32(4))
	got := make(chan int64)
	go func() { got <- r.on(1, abi.SYS_READ, in, r.user+4096, 16) }()
	time.Sleep(20 * time.Millisecond)
	r.must(abi.SYS_CLOSE, in)
	r.must(abi.SYS_PIPE2, r.user, 0)
	in2, out2 := uint64(r.get32(0)), uint64(r.get32(4))
	if in2 != in {
		t.Errorf("descriptor %d is not used again: %d", in, in2)
	}
	r.must(abi.SYS_WRITE, out2, r.put(0, []byte("for the second")), 14)
	select {
	case n := <-got:
		t.Fatalf("the first reader got %d", n)
	case <-time.After(20 * time.Millisecond):
	}
	r.must(abi.SYS_WRITE, out, r.put(0, []byte("for the first")), 13)
	if n := <-got; n != 13 || string(r.get(4096, 13)) != "for the first" {
		t.Errorf("%d, %q", n, r.get(4096, 13))
	}
	r.must(abi.SYS_READ, in2, r.user, 100)
	if string(r.get(0, 14)) != "for the second" {
		t.Errorf("%q", r.get(0, 14))
	}
}

func TestFiles(t *testing.T) {
	r := newProxied(t)
	open := func(name string, flags uint64) int64 {
		return r.call(abi.SYS_OPENAT, ^uint64(99), r.put(0, append([]byte(name), 0)), flags)
	}
	r.Random = func(cpu uint32, addr, n uint64) int64 {
		r.put(addr-r.user, bytes.Repeat([]byte{4}, int(n)))
		return int64(n)
	}
	null, zero, random := open("/dev/null", 0), open("/dev/zero", unix.O_CLOEXEC), open("/dev/urandom", 0)
	if null != 0 || zero != 1 || random != 2 {
		t.Fatal(null, zero, random)
	}
	r.put(0, fill(16, 9))
	if n := r.must(abi.SYS_READ, 0, r.user, 16); n != 0 {
		t.Errorf("/dev/null: %d", n)
	}
	if n := r.must(abi.SYS_READ, 1, r.user, 8); n != 8 || !bytes.Equal(r.get(0, 9), append(make([]byte, 8), fill(16, 9)[8])) {
		t.Errorf("/dev/zero: %d %v", n, r.get(0, 9))
	}
	if n := r.must(abi.SYS_READ, 2, r.user, 8); n != 8 || r.get(7, 1)[0] != 4 {
		t.Errorf("/dev/urandom: %d", n)
	}
	r.fails(unix.EBADF, abi.SYS_WRITE, 0, r.user, 1)
	hosts, err := os.ReadFile("/etc/hosts")
	if err != nil {
		t.Log("no /etc/hosts:", err)
	} else {
		if fd := open("/etc/hosts", 0); fd != 3 {
			t.Fatal(fd)
		}
		n := r.must(abi.SYS_READ, 3, r.user, userSize)
		same(t, "hosts", r.get(0, int(n)), hosts[:min(len(hosts), int(n))])
		r.must(abi.SYS_LSEEK, 3, 1, unix.SEEK_SET)
		r.must(abi.SYS_READ, 3, r.user, 4)
		same(t, "hosts", r.get(0, 4), hosts[1:5])
		r.must(abi.SYS_PREAD64, 3, r.user, 4, 2)
		same(t, "hosts", r.get(0, 4), hosts[2:6])
		if end := r.must(abi.SYS_LSEEK, 3, 0, unix.SEEK_END); end != uint64(len(hosts)) {
			t.Errorf("it is %d bytes long", end)
		}
		r.must(abi.SYS_FSTAT, 3, r.user)
		if size := binary.LittleEndian.Uint64(r.get(48, 8)); size != uint64(len(hosts)) || r.get32(24) != unix.S_IFREG|0o444 {
			t.Errorf("fstat: size %d, mode %o", size, r.get32(24))
		}
	}
	r.fails(unix.EFAULT, abi.SYS_OPEN, r.user+userSize, 0)
	r.fails(unix.ENOENT, abi.SYS_NEWFSTATAT, 0, r.put(0, []byte("/\x00")), r.user, 0)
	r.fails(unix.ENOENT, abi.SYS_NEWFSTATAT, 0, r.put(0, []byte("/\x00")), r.user, unix.AT_EMPTY_PATH)
	r.must(abi.SYS_NEWFSTATAT, 0, r.put(0, []byte("\x00")), r.user+64, unix.AT_EMPTY_PATH)
	if mode := r.get32(64 + 24); mode != unix.S_IFCHR|0o666 {
		t.Errorf("mode of /dev/null: %o", mode)
	}
	r.must(abi.SYS_PIPE2, r.user, 0)
	r.fails(unix.ESPIPE, abi.SYS_LSEEK, uint64(r.get32(0)), 0, 0)
	r.fails(unix.ESPIPE, abi.SYS_PREAD64, uint64(r.get32(0)), r.user, 1, 0)
	r.fails(unix.ESPIPE, abi.SYS_PWRITE64, 0, r.user, 1, 0)
}

// What does not exist is not found, however it is to be read; and nothing is ever
// opened for writing. A program that looks for a folder (Go's fuzz tests do, for
// their seeds) goes on without it after ENOENT, and gives up after EACCES.
func TestOpenFlags(t *testing.T) {
	r := newProxied(t)
	const largefile = 0x8000
	names := []string{"/dev/null", "/etc/passwd", "/etc/hosts2", "", "testdata/fuzz/FuzzParse", "/proc/self/mem",
		"/sys/kernel/mm/transparent_hugepage/hpage_pmd_size"}
	for _, tt := range []struct {
		flags            uint64
		null, other, nil unix.Errno // of /dev/null, of the others, and what nil's rules say
	}{
		{unix.O_RDONLY, 0, unix.ENOENT, 0},
		{unix.O_CLOEXEC | largefile | unix.O_NOFOLLOW, 0, unix.ENOENT, 0},
		{unix.O_NONBLOCK, 0, unix.ENOENT, 0},
		{unix.O_DIRECTORY | unix.O_CLOEXEC, unix.ENOTDIR, unix.ENOENT, 0},
		// nil cannot see which name it is and Landlock grants O_PATH on all of the
		// host's; here there is nothing that it could name.
		{unix.O_PATH, unix.EACCES, unix.ENOENT, unix.EACCES},
		{unix.O_PATH | unix.O_DIRECTORY, unix.EACCES, unix.ENOENT, unix.EACCES},
		{unix.O_WRONLY, unix.EACCES, unix.EACCES, unix.EACCES},
		{unix.O_RDWR | unix.O_CLOEXEC, unix.EACCES, unix.EACCES, unix.EACCES},
		{unix.O_CREAT, unix.EACCES, unix.EACCES, unix.EACCES},
		{unix.O_TRUNC, unix.EACCES, unix.EACCES, unix.EACCES},
		{unix.O_TMPFILE | unix.O_RDWR, unix.EACCES, unix.EACCES, unix.EACCES},
	} {
		for i, name := range names {
			want := tt.other
			if i == 0 {
				want = tt.null
			}
			got := r.call(abi.SYS_OPENAT, ^uint64(99), r.put(0, append([]byte(name), 0)), tt.flags)
			if want != 0 && got != -int64(want) || want == 0 && got < 0 {
				t.Errorf("%q with %#x: %d, not %v", name, tt.flags, got, want)
			}
			if got < 0 {
				continue
			}
			if flags := r.must(abi.SYS_FCNTL, uint64(got), unix.F_GETFL); flags != tt.flags&unix.O_NONBLOCK|largefile {
				t.Errorf("%q with %#x: F_GETFL is %#x", name, tt.flags, flags)
			}
			r.must(abi.SYS_CLOSE, uint64(got))
		}
		for _, c := range confine.Calls() {
			if want := rule(c, &[6]uint64{0, 0, tt.flags}); c.Nr == abi.SYS_OPENAT && (want == confine.Serve) != (tt.nil == 0) {
				t.Errorf("flags %#x: nil says %v", tt.flags, want.Errno())
			}
		}
	}
}

// Many threads open, use and close at once; what they read is what they wrote.
func TestConcurrentFiles(t *testing.T) {
	r := newProxied(t)
	var wg sync.WaitGroup
	for cpu := range rigCPUs {
		wg.Go(func() {
			at := uint64(cpu) * 65536
			buf := fill(1000, byte(cpu))
			for range 200 {
				if ret := r.on(cpu, abi.SYS_PIPE2, r.user+at, unix.O_NONBLOCK); ret != 0 {
					t.Error("pipe2", ret)
					return
				}
				in, out := uint64(r.get32(at)), uint64(r.get32(at+4))
				dup := r.on(cpu, abi.SYS_DUP, out)
				if r.on(cpu, abi.SYS_CLOSE, out) != 0 || r.on(cpu, abi.SYS_WRITE, uint64(dup), r.put(at+64, buf), 1000) != 1000 {
					t.Error("write")
				}
				if n := r.on(cpu, abi.SYS_READ, in, r.user+at+4096, 2000); n != 1000 || !bytes.Equal(r.get(at+4096, 1000), buf) {
					t.Error("read", n)
				}
				r.on(cpu, abi.SYS_CLOSE, uint64(dup))
				r.on(cpu, abi.SYS_CLOSE, in)
			}
		})
	}
	wg.Wait()
}

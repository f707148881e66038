// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"enarx.dev/enarx/internal/sallyport"
)

// guest asks as a shim does, and as no shim would.
type guest struct {
	*Proxy
	t     testing.TB
	block []byte
	seq   uint64
}

func newGuest(t testing.TB, p *Proxy) *guest {
	words := make([]uint64, sallyport.BlockSize/8)
	return &guest{Proxy: p, t: t, block: unsafe.Slice((*byte)(unsafe.Pointer(&words[0])), sallyport.BlockSize)}
}

func newProxy(t testing.TB, files ...*os.File) *guest {
	t.Helper()
	p, err := New(files, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return newGuest(t, p)
}

func (g *guest) call(nr uint64, a ...uint64) int64 {
	g.seq++
	req := sallyport.Request{Seq: g.seq, Nr: nr}
	copy(req.Args[:], a)
	g.Serve(g.block, &req)
	if got := binary.LittleEndian.Uint64(g.block[0x40:]); got != g.seq {
		g.t.Errorf("reply to %d, not %d", got, g.seq)
	}
	return int64(binary.LittleEndian.Uint64(g.block[0x48:]))
}

func (g *guest) must(nr uint64, a ...uint64) uint64 {
	g.t.Helper()
	ret := g.call(nr, a...)
	if ret < 0 {
		g.t.Fatalf("call %d%v: %v", nr, a, unix.Errno(-ret))
	}
	return uint64(ret)
}

func (g *guest) payload() []byte { return sallyport.Data(g.block)[sallyport.PayloadOffset:] }

// address puts a loopback address, or one of the family, into the block.
func (g *guest) address(family byte, port uint16) {
	at := sallyport.Data(g.block)[sallyport.AddrBytes:]
	clear(at[:sallyport.AddrMax])
	at[0] = family
	binary.BigEndian.PutUint16(at[2:], port)
	copy(at[4:], []byte{127, 0, 0, 1})
}

// openFiles returns what the process has open.
func openFiles(t testing.TB) []string {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	var open []string
	for _, e := range entries {
		if to, err := os.Readlink(filepath.Join("/proc/self/fd", e.Name())); err == nil && to != "/proc/self/fd" {
			open = append(open, e.Name()+" "+to)
		}
	}
	return open
}

// What a compromised shim might ask for, and what it gets.
func TestRefusals(t *testing.T) {
	in, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	defer out.Close()
	g := newProxy(t, in)
	tcp := g.must(unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, unix.IPPROTO_TCP)
	ep := g.must(unix.SYS_EPOLL_CREATE1)
	text := uint64(g.call(unix.SYS_OPEN, sallyport.FileHosts))
	g.address(unix.AF_UNIX, 0)
	for _, tt := range []struct {
		name  string
		nr    uint64
		args  []uint64
		errno unix.Errno
	}{
		{"descriptor for a handle", unix.SYS_READ, []uint64{uint64(out.Fd()) + 50, 1}, unix.EBADF},
		{"no handle", unix.SYS_READ, []uint64{1 << 60, 1}, unix.EBADF},
		{"another generation", unix.SYS_READ, []uint64{sallyport.MaxHandles, 1}, unix.EBADF},
		{"more than the block", unix.SYS_READ, []uint64{0, sallyport.PayloadSize + 1}, unix.EINVAL},
		{"all addresses", unix.SYS_READ, []uint64{0, ^uint64(0)}, unix.EINVAL},
		{"more than the block", unix.SYS_SENDTO, []uint64{tcp, sallyport.PayloadSize + 1}, unix.EINVAL},
		{"more than the block", unix.SYS_RECVFROM, []uint64{tcp, sallyport.PayloadSize + 1}, unix.EINVAL},
		{"write to a socket", unix.SYS_WRITE, []uint64{tcp, 1}, unix.EINVAL},
		{"write to a text", unix.SYS_WRITE, []uint64{text, 1}, unix.EINVAL},
		{"file at any place", unix.SYS_PREAD64, []uint64{text, 1, ^uint64(0)}, unix.EINVAL},
		{"pread of a pipe", unix.SYS_PREAD64, []uint64{0, 1, 0}, unix.EINVAL},
		{"Unix socket", unix.SYS_SOCKET, []uint64{unix.AF_UNIX, unix.SOCK_STREAM, 0}, unix.EAFNOSUPPORT},
		{"Netlink", unix.SYS_SOCKET, []uint64{unix.AF_NETLINK, unix.SOCK_DGRAM, 0}, unix.EAFNOSUPPORT},
		{"raw socket", unix.SYS_SOCKET, []uint64{unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP}, unix.EPROTONOSUPPORT},
		{"Multipath TCP", unix.SYS_SOCKET, []uint64{unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_MPTCP}, unix.EPROTONOSUPPORT},
		{"wide type", unix.SYS_SOCKET, []uint64{unix.AF_INET, 1<<32 | unix.SOCK_STREAM, unix.IPPROTO_TCP}, unix.EPROTONOSUPPORT},
		{"path of a Unix socket", unix.SYS_CONNECT, []uint64{tcp, 16}, unix.EAFNOSUPPORT},
		{"long address", unix.SYS_BIND, []uint64{tcp, 110}, unix.EINVAL},
		{"out of band", unix.SYS_SENDTO, []uint64{tcp, 1, unix.MSG_OOB}, unix.EINVAL},
		{"error queue", unix.SYS_RECVFROM, []uint64{tcp, 1, unix.MSG_ERRQUEUE}, unix.EINVAL},
		{"option: binding to a device", unix.SYS_SETSOCKOPT, []uint64{tcp, unix.SOL_SOCKET, unix.SO_BINDTODEVICE, 4}, unix.ENOPROTOOPT},
		{"option: filter", unix.SYS_SETSOCKOPT, []uint64{tcp, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, 8}, unix.ENOPROTOOPT},
		{"option: length", unix.SYS_SETSOCKOPT, []uint64{tcp, unix.SOL_SOCKET, unix.SO_REUSEADDR, 8}, unix.ENOPROTOOPT},
		{"option read", unix.SYS_GETSOCKOPT, []uint64{tcp, unix.SOL_SOCKET, unix.SO_PEERCRED}, unix.ENOPROTOOPT},
		{"option read: not a number", unix.SYS_GETSOCKOPT, []uint64{tcp, unix.SOL_SOCKET, unix.SO_LINGER}, unix.ENOPROTOOPT},
		{"option read: everything", unix.SYS_GETSOCKOPT, []uint64{tcp, unix.IPPROTO_TCP, unix.TCP_INFO}, unix.ENOPROTOOPT},
		{"terminal", unix.SYS_IOCTL, []uint64{0, unix.TIOCSTI}, unix.ENOTTY},
		{"duplicate", unix.SYS_FCNTL, []uint64{0, unix.F_DUPFD, 0}, unix.EINVAL},
		{"owner of signals", unix.SYS_FCNTL, []uint64{0, unix.F_SETOWN, 1}, unix.EINVAL},
		{"async", unix.SYS_FCNTL, []uint64{0, unix.F_SETFL, unix.O_ASYNC}, unix.EINVAL},
		{"any file", unix.SYS_OPEN, []uint64{sallyport.FileCount}, unix.ENOENT},
		{"events", unix.SYS_EPOLL_WAIT, []uint64{ep, sallyport.MaxPoll + 1, 0}, unix.EINVAL},
		{"no events", unix.SYS_EPOLL_WAIT, []uint64{ep, 0, 0}, unix.EINVAL},
		{"watch itself", unix.SYS_EPOLL_CTL, []uint64{ep, unix.EPOLL_CTL_ADD, ep, 1, 0}, unix.EINVAL},
		{"keep awake", unix.SYS_EPOLL_CTL, []uint64{ep, unix.EPOLL_CTL_ADD, tcp, unix.EPOLLWAKEUP, 0}, unix.EINVAL},
		{"watch a descriptor", unix.SYS_EPOLL_CTL, []uint64{ep, unix.EPOLL_CTL_ADD, 99, 1, 0}, unix.EBADF},
		{"polls", unix.SYS_POLL, []uint64{sallyport.MaxPoll + 1, 0}, unix.EINVAL},
		{"a call nobody forwards", unix.SYS_EXECVE, nil, unix.ENOSYS},
		{"kill", unix.SYS_KILL, []uint64{0, 9}, unix.ENOSYS},
		{"memory", unix.SYS_MMAP, nil, unix.ENOSYS},
	} {
		if got := g.call(tt.nr, tt.args...); got != -int64(tt.errno) {
			t.Errorf("%s: call %d%v: %d (%v), not %v", tt.name, tt.nr, tt.args, got, unix.Errno(max(0, -got)), tt.errno)
		}
	}
}

// Descriptors in a Keep are the proxy's own duplicates, closed on exec, and are
// all gone afterwards.
func TestNothingLeft(t *testing.T) {
	in, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	defer out.Close()
	before := openFiles(t)
	g := newProxy(t, in, out)
	g.must(unix.SYS_EPOLL_CREATE1)
	g.must(unix.SYS_PIPE2, 0)
	g.must(unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_DGRAM, unix.IPPROTO_UDP)
	for i := range g.entries {
		if e := &g.entries[i]; e.state.Load()&refs != 0 {
			if fl, err := unix.FcntlInt(uintptr(e.fd), unix.F_GETFD, 0); err != nil || fl != unix.FD_CLOEXEC || e.fd < 3 {
				t.Errorf("descriptor %d: flags %d, %v", e.fd, fl, err)
			}
		}
	}
	g.must(unix.SYS_FCNTL, 1, unix.F_SETFL, unix.O_NONBLOCK)
	flags := func() int {
		conn, _ := out.SyscallConn()
		fl := 0
		conn.Control(func(fd uintptr) { fl, _ = unix.FcntlInt(fd, unix.F_GETFL, 0) })
		return fl
	}
	if want := unix.O_NONBLOCK; flags()&unix.O_NONBLOCK != want {
		t.Errorf("flags %#x", flags())
	}
	g.must(unix.SYS_FCNTL, 1, unix.F_SETFL, 0)
	g.Close()
	if flags()&unix.O_NONBLOCK == 0 {
		t.Error("the pipe, which Go had made non-blocking, is left blocking")
	}
	if after := openFiles(t); !slices.Equal(before, after) {
		t.Errorf("open before: %q; after: %q", before, after)
	}
	if got := g.call(unix.SYS_READ, 0, 1); got != -int64(unix.EBADF) {
		t.Errorf("read after Close: %d", got)
	}
}

// A handle that is closed under a call stays what it is until the call is over,
// and its number means nothing else afterwards.
func TestCloseUnderCall(t *testing.T) {
	g := newProxy(t)
	g.must(unix.SYS_PIPE2, 0)
	in, out := binary.LittleEndian.Uint64(g.payload()), binary.LittleEndian.Uint64(g.payload()[8:])
	done := make(chan int64)
	other := newGuest(t, g.Proxy)
	go func() { done <- other.call(unix.SYS_READ, in, 100) }()
	e := &g.entries[sallyport.HandleIndex(in)]
	for e.state.Load()&refs < 2 {
		time.Sleep(time.Millisecond)
	}
	g.must(unix.SYS_CLOSE, in)
	if got := g.call(unix.SYS_CLOSE, in); got != -int64(unix.EBADF) {
		t.Errorf("closed twice: %d", got)
	}
	fresh := g.must(unix.SYS_EVENTFD2, 0, 0)
	if sallyport.HandleIndex(fresh) == sallyport.HandleIndex(in) {
		t.Error("the handle is used again during a call")
	}
	copy(g.payload(), "abc")
	if n := g.call(unix.SYS_WRITE, out, 3); n != 3 {
		t.Errorf("write: %d", n)
	}
	if n := <-done; n != 3 {
		t.Errorf("read: %d", n)
	}
	if got := g.must(unix.SYS_EVENTFD2, 0, 0); sallyport.HandleIndex(got) != sallyport.HandleIndex(in) || got == in {
		t.Errorf("the index of handle %#x is not used with a new generation: %#x", in, got)
	}
	if n := g.call(unix.SYS_READ, in, 8); n != -int64(unix.EBADF) {
		t.Errorf("the old handle: %d", n)
	}
}

// vCPUs that open, use and close at random, each other's handles too, never get
// at a descriptor that is not the Keep's.
func TestRacingHandles(t *testing.T) {
	var canary [2]int
	if err := unix.Pipe2(canary[:], unix.O_NONBLOCK|unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(canary[0])
	defer unix.Close(canary[1])
	g := newProxy(t)
	handles := make(chan uint64, 64)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			g := newGuest(t, g.Proxy)
			for range 2000 {
				h := g.must(unix.SYS_EVENTFD2, 0, unix.EFD_NONBLOCK)
				select {
				case handles <- h:
				case old := <-handles:
					binary.LittleEndian.PutUint64(g.payload(), 1)
					g.call(unix.SYS_WRITE, old, 8)
					g.call(unix.SYS_CLOSE, old)
					g.call(unix.SYS_CLOSE, h)
					// The host opens and closes files of its own meanwhile.
					if f, err := os.Open("/dev/null"); err == nil {
						f.Close()
					}
				}
			}
		})
	}
	wg.Wait()
	if n, err := unix.Read(canary[0], make([]byte, 8)); err != unix.EAGAIN {
		t.Errorf("the host's own pipe has %d bytes, %v", n, err)
	}
}

func TestTableFull(t *testing.T) {
	before := len(openFiles(t))
	g := newProxy(t)
	g.free = g.free[:3]
	g.must(unix.SYS_EVENTFD2, 0, 0)
	g.must(unix.SYS_PIPE2, 0)
	for _, nr := range []uint64{unix.SYS_EVENTFD2, unix.SYS_PIPE2} {
		if got := g.call(nr, 0, 0); got != -int64(unix.ENFILE) {
			t.Errorf("call %d: %d", nr, got)
		}
	}
	if now := len(openFiles(t)); now != before+3 {
		t.Errorf("%d descriptors more", now-before)
	}
}

// The path of a request allocates nothing: a Keep's I/O leaves no work for the
// host's garbage collector.
func TestNoAllocation(t *testing.T) {
	g := newProxy(t)
	g.must(unix.SYS_PIPE2, unix.O_NONBLOCK)
	in, out := binary.LittleEndian.Uint64(g.payload()), binary.LittleEndian.Uint64(g.payload()[8:])
	udp := g.must(unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK, unix.IPPROTO_UDP)
	g.address(unix.AF_INET, 0)
	g.must(unix.SYS_BIND, udp, 16)
	g.must(unix.SYS_GETSOCKNAME, udp)
	ep := g.must(unix.SYS_EPOLL_CREATE1)
	failed := int64(0)
	ok := func(ret int64) { failed = min(failed, ret) }
	allocs := testing.AllocsPerRun(100, func() {
		ok(g.call(unix.SYS_SENDTO, udp, 10, 0, 16))
		ok(g.call(unix.SYS_RECVFROM, udp, 10, unix.MSG_TRUNC, 1))
		ok(g.call(unix.SYS_WRITE, out, 64))
		ok(g.call(unix.SYS_EPOLL_CTL, ep, unix.EPOLL_CTL_ADD, in, unix.EPOLLIN, 5))
		ok(g.call(unix.SYS_EPOLL_WAIT, ep, 8, 0))
		ok(g.call(unix.SYS_EPOLL_CTL, ep, unix.EPOLL_CTL_DEL, in, 0, 0))
		ok(g.call(unix.SYS_READ, in, 64))
		binary.LittleEndian.PutUint64(g.payload(), in)
		ok(g.call(unix.SYS_POLL, 1, 0))
		ok(g.call(unix.SYS_SETSOCKOPT, udp, unix.SOL_SOCKET, unix.SO_REUSEADDR, 4))
		ok(g.call(unix.SYS_CLOSE, uint64(g.call(unix.SYS_EVENTFD2, 0, 0))))
		g.address(unix.AF_INET, 9)
		ok(g.call(unix.SYS_GETSOCKNAME, udp))
	})
	if allocs != 0 || failed != 0 {
		t.Errorf("%v allocations, result %d", allocs, failed)
	}
}

// SPDX-License-Identifier: Apache-2.0

package hostio

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"enarx.dev/enarx/internal/sallyport"
	"enarx.dev/enarx/internal/shim/abi"
)

func TestTCP(t *testing.T) {
	r := newProxied(t)
	l, at := r.bound(unix.SOCK_STREAM)
	r.must(abi.SYS_LISTEN, l, 1<<31)
	c := r.must(abi.SYS_SOCKET, unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
	r.must(abi.SYS_CONNECT, c, r.put(0, sockaddr(at)), 16)
	r.put(64, []byte{8, 0, 0, 0}) // room for half an address
	s := r.must(abi.SYS_ACCEPT4, l, r.user, r.user+64, unix.SOCK_NONBLOCK)
	if n := r.get32(64); n != 16 || r.get(0, 1)[0] != unix.AF_INET {
		t.Errorf("the peer's address has %d bytes", n)
	}
	r.fails(unix.EAGAIN, abi.SYS_READ, s, r.user, 10)
	r.fails(unix.EAGAIN, abi.SYS_RECVFROM, c, r.user, 10, unix.MSG_DONTWAIT, 0, 0)

	// 2 MiB one way while the other waits for all of it.
	want := fill(400_000, 3)
	r.put(100_000, want)
	sent := make(chan int64)
	go func() { sent <- r.on(1, abi.SYS_SENDTO, c, r.user+100_000, 400_000, unix.MSG_NOSIGNAL, 0, 0) }()
	r.must(abi.SYS_FCNTL, s, unix.F_SETFL, 0)
	if n := r.must(abi.SYS_RECVFROM, s, r.user+600_000, 400_000, unix.MSG_WAITALL, 0, 0); n != 400_000 {
		t.Errorf("MSG_WAITALL returned %d", n)
	}
	same(t, "TCP", r.get(600_000, 400_000), want)
	if n := <-sent; n != 400_000 {
		t.Errorf("sent %d", n)
	}
	r.must(abi.SYS_WRITE, s, r.put(0, []byte("answer")), 6)
	for {
		r.must(abi.SYS_IOCTL, c, fionread, r.user)
		if r.get32(0) == 6 {
			break
		}
	}
	// A stream has no address to report.
	r.put(64, []byte{28, 0, 0, 0})
	if n := r.must(abi.SYS_RECVFROM, c, r.user, 100, unix.MSG_PEEK, r.user+32, r.user+64); n != 6 || r.get32(64) != 0 {
		t.Errorf("peeked %d, address of %d", n, r.get32(64))
	}
	r.must(abi.SYS_SHUTDOWN, s, unix.SHUT_WR)
	r.must(abi.SYS_READ, c, r.user, 100)
	if n := r.must(abi.SYS_READ, c, r.user, 100); n != 0 {
		t.Errorf("%d bytes after shutdown", n)
	}
	r.must(abi.SYS_CLOSE, s)
	for r.call(abi.SYS_WRITE, c, r.user, 1) >= 0 {
		time.Sleep(time.Millisecond)
	}
	r.fails(unix.EPIPE, abi.SYS_WRITE, c, r.user, 1)
	r.fails(unix.ENOTCONN, abi.SYS_GETPEERNAME, l, r.user, r.user+64)
	r.fails(unix.EADDRINUSE, abi.SYS_BIND, r.must(abi.SYS_SOCKET, unix.AF_INET, unix.SOCK_STREAM, 0), r.put(0, sockaddr(at)), 16)
}

func TestConnectErrors(t *testing.T) {
	r := newProxied(t)
	closed, at := r.bound(unix.SOCK_STREAM)
	c := r.must(abi.SYS_SOCKET, unix.AF_INET, unix.SOCK_STREAM, 0)
	r.put(0, sockaddr(at))
	r.fails(unix.ECONNREFUSED, abi.SYS_CONNECT, c, r.user, 16)
	n := r.must(abi.SYS_SOCKET, unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0)
	r.fails(unix.EINPROGRESS, abi.SYS_CONNECT, n, r.user, 16)
	r.put64(64, n|unix.POLLOUT<<32)
	r.must(abi.SYS_POLL, r.user+64, 1, 1000)
	r.put(80, []byte{4, 0, 0, 0})
	r.must(abi.SYS_GETSOCKOPT, n, unix.SOL_SOCKET, unix.SO_ERROR, r.user+84, r.user+80)
	if e := unix.Errno(r.get32(84)); e != unix.ECONNREFUSED {
		t.Errorf("SO_ERROR: %v", e)
	}
	for _, tt := range []struct {
		addr  []byte
		n     uint64
		errno unix.Errno
	}{
		{sockaddr(at), 15, unix.EINVAL},
		{sockaddr(at), 129, unix.EINVAL},
		{sockaddr(at), 1, unix.EINVAL},
		{[]byte{unix.AF_INET6, 27: 0}, 28, unix.EAFNOSUPPORT},
		{append([]byte{unix.AF_UNIX, 0}, "/run/docker.sock\x00"...), 19, unix.EAFNOSUPPORT},
		{[]byte{unix.AF_NETLINK, 11: 0}, 12, unix.EAFNOSUPPORT},
	} {
		r.put(0, append(tt.addr, make([]byte, 128)...))
		r.fails(tt.errno, abi.SYS_CONNECT, closed, r.user, tt.n)
	}
	r.fails(unix.EFAULT, abi.SYS_CONNECT, closed, r.user+userSize, 16)
	r.fails(unix.ENOTSOCK, abi.SYS_CONNECT, r.must(abi.SYS_EVENTFD, 0), r.user, 16)
	r.fails(unix.EBADF, abi.SYS_CONNECT, 99, r.user, 16)
}

// The largest datagram passes in one piece, both ways; what does not fit the
// program's buffer is cut, and recvmsg says so.
func TestUDP(t *testing.T) {
	r := newProxied(t)
	a, aAt := r.bound(unix.SOCK_DGRAM)
	b, bAt := r.bound(unix.SOCK_DGRAM)
	r.put(0, sockaddr(bAt))
	want := fill(65507, 5)
	r.put(4096, want)
	if n := r.must(abi.SYS_SENDTO, a, r.user+4096, 65507, 0, r.user, 16); n != 65507 {
		t.Errorf("sent %d", n)
	}
	r.put(64, []byte{28, 0, 0, 0})
	if n := r.must(abi.SYS_RECVFROM, b, r.user+200_000, 100_000, 0, r.user+128, r.user+64); n != 65507 {
		t.Errorf("received %d", n)
	}
	same(t, "UDP", r.get(200_000, 65507), want)
	if from := addrPort(r.get(128, 16)); from != aAt || r.get32(64) != 16 {
		t.Errorf("from %v, not %v", from, aAt)
	}
	r.fails(unix.EMSGSIZE, abi.SYS_SENDTO, a, r.user+4096, 65508, 0, r.user, 16)
	r.fails(unix.EMSGSIZE, abi.SYS_SENDTO, a, r.user+4096, 100_000, 0, r.user, 16)
	r.fails(unix.EDESTADDRREQ, abi.SYS_WRITE, a, r.user+4096, 1)

	// sendmsg gathers, recvmsg scatters and is cut.
	iov := r.put64(1024, r.user+4096, 10, r.user+8192, 20)
	r.put64(2048, r.user, 16, iov, 2, 0, 0, 0)
	if n := r.must(abi.SYS_SENDMSG, a, r.user+2048, 0); n != 30 {
		t.Errorf("sendmsg: %d", n)
	}
	r.put64(2048, r.user+128, 16, r.put64(1024, r.user+200_000, 3, r.user+200_100, 4), 2, 0, 99, 99)
	if n := r.must(abi.SYS_RECVMSG, b, r.user+2048, 0); n != 7 {
		t.Errorf("recvmsg: %d", n)
	}
	got := append(r.get(200_000, 3), r.get(200_100, 4)...)
	same(t, "recvmsg", got, want[:7])
	if flags, control := r.get32(2048+48), r.get32(2048+40); flags != unix.MSG_TRUNC || control != 0 {
		t.Errorf("flags %#x, control data of %d bytes", flags, control)
	}
	r.must(abi.SYS_SENDTO, a, r.user+4096, 0, 0, r.user, 16)
	if n := r.must(abi.SYS_RECVFROM, b, r.user, 10, 0, 0, 0); n != 0 {
		t.Errorf("an empty datagram has %d bytes", n)
	}
	// Connected, and disconnected again with the family 0.
	r.put(0, sockaddr(bAt))
	r.must(abi.SYS_CONNECT, a, r.user, 16)
	r.must(abi.SYS_WRITE, a, r.user+4096, 5)
	r.must(abi.SYS_READ, b, r.user+64, 5)
	r.must(abi.SYS_CONNECT, a, r.put(0, make([]byte, 16)), 16)
	r.fails(unix.EDESTADDRREQ, abi.SYS_WRITE, a, r.user+4096, 5)
	r.put64(2048, 0, 0, iov, 2, r.user, 8, 0)
	r.fails(unix.EOPNOTSUPP, abi.SYS_SENDMSG, a, r.user+2048, 0)
	r.fails(unix.EMSGSIZE, abi.SYS_SENDMSG, a, r.put64(2048, 0, 0, iov, 1025, 0, 0, 0), 0)
	r.fails(unix.EOPNOTSUPP, abi.SYS_SENDTO, a, r.user, 1, unix.MSG_OOB, 0, 0)
}

func TestIPv6(t *testing.T) {
	l, err := net.Listen("tcp6", "[::1]:0")
	if err != nil {
		t.Skip("this machine has no IPv6: ", err)
	}
	defer l.Close()
	r := newProxied(t)
	c := r.must(abi.SYS_SOCKET, unix.AF_INET6, unix.SOCK_STREAM, 0)
	r.put(0, []byte{1, 0, 0, 0})
	r.must(abi.SYS_SETSOCKOPT, c, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, r.user, 4)
	at := l.Addr().(*net.TCPAddr).AddrPort()
	r.must(abi.SYS_CONNECT, c, r.put(0, sockaddr(at)), 28)
	r.put(64, []byte{255, 0, 0, 0})
	r.must(abi.SYS_GETPEERNAME, c, r.user, r.user+64)
	if got := addrPort(r.get(0, 28)); got != at || r.get32(64) != 28 {
		t.Errorf("peer %v, not %v", got, at)
	}
}

func TestOptions(t *testing.T) {
	r := newProxied(t)
	l, _ := r.bound(unix.SOCK_STREAM)
	get := func(opt uint64) uint32 {
		t.Helper()
		r.put(64, []byte{4, 0, 0, 0})
		r.must(abi.SYS_GETSOCKOPT, l, unix.SOL_SOCKET, opt, r.user+72, r.user+64)
		return r.get32(72)
	}
	before := get(unix.SO_ACCEPTCONN)
	r.must(abi.SYS_LISTEN, l, 5)
	got := []uint32{before, get(unix.SO_ACCEPTCONN), get(unix.SO_TYPE), get(unix.SO_DOMAIN), get(unix.SO_PROTOCOL), get(unix.SO_ERROR)}
	if want := []uint32{0, 1, unix.SOCK_STREAM, unix.AF_INET, unix.IPPROTO_TCP, 0}; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("options %v, not %v", got, want)
	}
	r.put(0, []byte{1, 0, 0, 0, 1, 0, 0, 0})
	for _, o := range [][3]uint64{{unix.SOL_SOCKET, unix.SO_REUSEADDR, 4}, {unix.SOL_SOCKET, unix.SO_LINGER, 8},
		{unix.IPPROTO_TCP, unix.TCP_NODELAY, 4}, {unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 4}} {
		r.must(abi.SYS_SETSOCKOPT, l, o[0], o[1], r.user, o[2])
	}
	r.put(0, []byte{77, 0, 0, 0})
	r.must(abi.SYS_SETSOCKOPT, l, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, r.user, 4)
	for _, o := range [][3]uint64{{unix.SOL_SOCKET, unix.SO_REUSEADDR, 1}, {unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 77}} {
		r.put(64, []byte{8, 0, 0, 0})
		r.put(72, []byte{9, 9, 9, 9, 9})
		r.must(abi.SYS_GETSOCKOPT, l, o[0], o[1], r.user+72, r.user+64)
		if uint64(r.get32(72)) != o[2] || r.get32(64) != 4 || r.get(76, 1)[0] != 9 {
			t.Errorf("option %d %d: %v, length %d", o[0], o[1], r.get(72, 5), r.get32(64))
		}
	}
	r.fails(unix.ENOPROTOOPT, abi.SYS_GETSOCKOPT, l, unix.SOL_SOCKET, unix.SO_LINGER, r.user+72, r.user+64)
	r.fails(unix.ENOPROTOOPT, abi.SYS_GETSOCKOPT, l, unix.IPPROTO_IP, unix.IP_TTL, r.user+72, r.user+64)
	r.fails(unix.EINVAL, abi.SYS_SETSOCKOPT, l, unix.SOL_SOCKET, unix.SO_LINGER, r.user, 4)
	r.fails(unix.EFAULT, abi.SYS_SETSOCKOPT, l, unix.SOL_SOCKET, unix.SO_LINGER, r.user+userSize, 8)
	r.put(64, []byte{2, 0, 0, 0})
	r.put(72, []byte{9, 9, 9, 9})
	r.must(abi.SYS_GETSOCKOPT, l, unix.SOL_SOCKET, unix.SO_TYPE, r.user+72, r.user+64)
	if b := r.get(72, 4); !bytes.Equal(b, []byte{1, 0, 9, 9}) || r.get32(64) != 2 {
		t.Errorf("cut to two bytes: %v", b)
	}
}

type event32 struct {
	events uint32
	data   uint64
}

func (r *rig) ctl(ep, op, fd uint64, e event32) int64 {
	b := binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint32(nil, e.events), e.data)
	return r.call(abi.SYS_EPOLL_CTL, ep, op, fd, r.put(900_000, b))
}

func (r *rig) wait(ep uint64, ms uint64) (events []event32) {
	r.t.Helper()
	n := r.must(abi.SYS_EPOLL_PWAIT, ep, r.user+800_000, 128, ms, 0, 8)
	for i := range n {
		b := r.get(800_000+12*i, 12)
		events = append(events, event32{binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint64(b[4:])})
	}
	return events
}

func TestEpoll(t *testing.T) {
	r := newProxied(t)
	ep := r.must(abi.SYS_EPOLL_CREATE1, unix.EPOLL_CLOEXEC)
	ev := r.must(abi.SYS_EVENTFD2, 0, unix.EFD_NONBLOCK)
	const pointer = 0xfedc_ba98_7654_3210
	want := func(got int64, errno unix.Errno) {
		t.Helper()
		if got != -int64(errno) {
			t.Errorf("got %d, not %v", got, errno)
		}
	}
	in := event32{unix.EPOLLIN | unix.EPOLLET, pointer}
	want(r.ctl(ep, unix.EPOLL_CTL_MOD, ev, in), unix.ENOENT)
	want(r.ctl(ep, unix.EPOLL_CTL_DEL, ev, in), unix.ENOENT)
	want(r.ctl(ep, unix.EPOLL_CTL_ADD, ev, in), 0)
	want(r.ctl(ep, unix.EPOLL_CTL_ADD, ev, in), unix.EEXIST)
	want(r.ctl(ep, unix.EPOLL_CTL_ADD, ep, in), unix.EINVAL)
	want(r.ctl(ev, unix.EPOLL_CTL_ADD, ep, in), unix.EINVAL)
	want(r.ctl(ep, unix.EPOLL_CTL_ADD, 77, in), unix.EBADF)
	want(r.ctl(ep, 9, ev, in), unix.EINVAL)
	if got := r.wait(ep, 0); len(got) != 0 {
		t.Errorf("events too early: %v", got)
	}
	wrote := make(chan int64, 1)
	go func() { wrote <- r.on(1, abi.SYS_WRITE, ev, r.put64(0, 1), 8) }()
	if got := r.wait(ep, ^uint64(0)); len(got) != 1 || got[0] != (event32{unix.EPOLLIN, pointer}) {
		t.Errorf("events %+v", got)
	}
	<-wrote
	if got := r.wait(ep, 0); len(got) != 0 {
		t.Errorf("an edge twice: %v", got)
	}
	want(r.ctl(ep, unix.EPOLL_CTL_MOD, ev, event32{unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLONESHOT, 5}), 0)
	if got := r.wait(ep, 1000); len(got) != 1 || got[0] != (event32{unix.EPOLLIN | unix.EPOLLOUT, 5}) {
		t.Errorf("events %+v", got)
	}
	want(r.ctl(ep, unix.EPOLL_CTL_DEL, ev, in), 0)
	want(r.ctl(ep, unix.EPOLL_CTL_DEL, ev, in), unix.ENOENT)
	// A watched file that is closed is watched no more.
	want(r.ctl(ep, unix.EPOLL_CTL_ADD, ev, event32{unix.EPOLLIN, 6}), 0)
	r.must(abi.SYS_CLOSE, ev)
	if got := r.wait(ep, 0); len(got) != 0 {
		t.Errorf("events of a closed file: %v", got)
	}
	null := uint64(r.call(abi.SYS_OPEN, r.put(0, []byte("/dev/null\x00")), 0))
	want(r.ctl(ep, unix.EPOLL_CTL_ADD, null, in), unix.EPERM)
	r.fails(unix.EINVAL, abi.SYS_EPOLL_WAIT, ep, r.user, 0, 0)
	r.fails(unix.EINVAL, abi.SYS_EPOLL_WAIT, null, r.user, 1, 0)
	r.fails(unix.EINVAL, abi.SYS_READ, ep, r.user, 8)
	// Closing the epoll descriptor ends its watches, which check sees.
	ev = r.must(abi.SYS_EVENTFD2, 1, 0)
	want(r.ctl(ep, unix.EPOLL_CTL_ADD, ev, in), 0)
	r.must(abi.SYS_CLOSE, ep)
}

func TestEpollMany(t *testing.T) {
	r := newProxied(t)
	ep := r.must(abi.SYS_EPOLL_CREATE, 1)
	const n = 100
	for i := range uint64(n) {
		ev := r.must(abi.SYS_EVENTFD2, 1, 0)
		if ret := r.ctl(ep, unix.EPOLL_CTL_ADD, ev, event32{unix.EPOLLIN, i << 40}); ret != 0 {
			t.Fatal(ret)
		}
	}
	seen := map[uint64]bool{}
	for _, e := range r.wait(ep, 0) {
		seen[e.data>>40] = e.events == unix.EPOLLIN && e.data&(1<<40-1) == 0
	}
	for i := range uint64(n) {
		if !seen[i] {
			t.Errorf("no event, or a wrong one, of number %d", i)
		}
	}
}

func TestPoll(t *testing.T) {
	r := newProxied(t)
	ev := r.must(abi.SYS_EVENTFD2, 0, 0)
	entry := func(fd int32, events uint64) uint64 { return uint64(uint32(fd)) | events<<32 }
	poll := func(ms int64, entries ...uint64) (int64, []uint16) {
		at := r.put64(0, entries...)
		ret := r.call(abi.SYS_POLL, at, uint64(len(entries)), uint64(ms))
		var revents []uint16
		for i := range entries {
			revents = append(revents, binary.LittleEndian.Uint16(r.get(uint64(i)*8+6, 2)))
		}
		return ret, revents
	}
	null := r.must(abi.SYS_OPEN, r.put(0, []byte("/dev/null\x00")), 0)
	for _, tt := range []struct {
		ms      int64
		entries []uint64
		want    string
	}{
		{10, []uint64{entry(int32(ev), unix.POLLIN)}, "0 [0]"},
		{-1, []uint64{entry(int32(ev), unix.POLLIN|unix.POLLOUT), entry(-1, unix.POLLIN)}, "1 [4 0]"},
		{-1, []uint64{entry(99, unix.POLLIN)}, "1 [32]"},
		{-1, []uint64{entry(int32(null), unix.POLLIN|unix.POLLPRI), entry(99, 0), entry(int32(ev), unix.POLLOUT)}, "3 [1 32 4]"},
		{0, nil, "0 []"},
	} {
		ret, revents := poll(tt.ms, tt.entries...)
		if got := fmt.Sprint(ret, " ", revents); got != tt.want {
			t.Errorf("poll of %x: %s, not %s", tt.entries, got, tt.want)
		}
	}
	start := time.Now()
	r.put64(64, 0, 20e6)
	r.must(abi.SYS_PPOLL, 0, 0, r.user+64, 0, 0)
	if took := time.Since(start); took < 20*time.Millisecond {
		t.Errorf("ppoll waited %v", took)
	}
	r.put64(64, 0, 1e9)
	r.fails(unix.EINVAL, abi.SYS_PPOLL, 0, 0, r.user+64)
	r.fails(unix.EINVAL, abi.SYS_POLL, r.user, 1025, 0)
	r.fails(unix.EFAULT, abi.SYS_POLL, r.user+userSize-8, 2, 0)
	many := make([]uint64, sallyport.MaxPoll)
	for i := range many {
		many[i] = entry(int32(ev), unix.POLLOUT)
	}
	if ret, _ := poll(0, many...); ret != sallyport.MaxPoll {
		t.Errorf("poll of many: %d", ret)
	}
}

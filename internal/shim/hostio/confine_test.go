// SPDX-License-Identifier: Apache-2.0

package hostio

import (
	"testing"

	"golang.org/x/sys/unix"

	"enarx.dev/enarx/internal/confine"
	"enarx.dev/enarx/internal/sallyport"
	"enarx.dev/enarx/internal/shim/abi"
)

// The constants of this package are Linux's.
func TestConstants(t *testing.T) {
	for _, c := range [][2]int64{
		{afUnspec, unix.AF_UNSPEC}, {afInet, unix.AF_INET}, {afInet6, unix.AF_INET6}, {sockStream, unix.SOCK_STREAM}, {sockDgram, unix.SOCK_DGRAM},
		{sockNonblock, unix.SOCK_NONBLOCK}, {sockCloexec, unix.SOCK_CLOEXEC}, {ipprotoTCP, unix.IPPROTO_TCP}, {ipprotoUDP, unix.IPPROTO_UDP},
		{ipprotoIPv6, unix.IPPROTO_IPV6}, {solSocket, unix.SOL_SOCKET}, {soReuseaddr, unix.SO_REUSEADDR}, {soType, unix.SO_TYPE},
		{soError, unix.SO_ERROR}, {soBroadcast, unix.SO_BROADCAST}, {soSndbuf, unix.SO_SNDBUF}, {soRcvbuf, unix.SO_RCVBUF},
		{soKeepalive, unix.SO_KEEPALIVE}, {soLinger, unix.SO_LINGER}, {soReuseport, unix.SO_REUSEPORT}, {soAcceptconn, unix.SO_ACCEPTCONN},
		{soProtocol, unix.SO_PROTOCOL}, {soDomain, unix.SO_DOMAIN}, {tcpNodelay, unix.TCP_NODELAY}, {tcpKeepidle, unix.TCP_KEEPIDLE},
		{tcpKeepintvl, unix.TCP_KEEPINTVL}, {tcpKeepcnt, unix.TCP_KEEPCNT}, {tcpUserTimeout, unix.TCP_USER_TIMEOUT}, {ipv6V6only, unix.IPV6_V6ONLY}, {oDirectory, unix.O_DIRECTORY},
		{oNofollow, unix.O_NOFOLLOW}, {oPath, unix.O_PATH},
		{msgPeek, unix.MSG_PEEK}, {msgTrunc, unix.MSG_TRUNC}, {msgDontwait, unix.MSG_DONTWAIT}, {msgWaitall, unix.MSG_WAITALL},
		{msgNosignal, unix.MSG_NOSIGNAL}, {msgCmsgCloexec, unix.MSG_CMSG_CLOEXEC}, {oRdonly, unix.O_RDONLY}, {oRdwr, unix.O_RDWR},
		{oAccmode, unix.O_ACCMODE}, {oAppend, unix.O_APPEND}, {oNonblock, unix.O_NONBLOCK}, {oAsync, unix.O_ASYNC}, {oCloexec, unix.O_CLOEXEC},
		{fDupfd, unix.F_DUPFD}, {fGetfd, unix.F_GETFD}, {fSetfd, unix.F_SETFD}, {fGetfl, unix.F_GETFL}, {fSetfl, unix.F_SETFL},
		{fDupfdCloexec, unix.F_DUPFD_CLOEXEC}, {fdCloexec, unix.FD_CLOEXEC}, {fionread, unix.TIOCINQ}, {atEmptyPath, unix.AT_EMPTY_PATH},
		{seekSet, unix.SEEK_SET}, {seekCur, unix.SEEK_CUR}, {seekEnd, unix.SEEK_END}, {pollin, unix.POLLIN}, {pollout, unix.POLLOUT},
		{pollerr, unix.POLLERR}, {pollhup, unix.POLLHUP}, {pollnval, unix.POLLNVAL}, {pollrdnorm, unix.EPOLLRDNORM}, {pollwrnorm, unix.EPOLLWRNORM},
		{epollAdd, unix.EPOLL_CTL_ADD}, {epollDel, unix.EPOLL_CTL_DEL}, {epollMod, unix.EPOLL_CTL_MOD}, {efdSemaphore, unix.EFD_SEMAPHORE},
		{epollModes, unix.EPOLLET | unix.EPOLLONESHOT | unix.EPOLLEXCLUSIVE}, {sIFIFO, unix.S_IFIFO}, {sIFCHR, unix.S_IFCHR},
		{sIFREG, unix.S_IFREG}, {sIFSOCK, unix.S_IFSOCK},
	} {
		if c[0] != c[1] {
			t.Errorf("%#x is %#x in Linux", c[0], c[1])
		}
	}
}

// rule returns what nil's table answers to a call.
func rule(c confine.Call, a *[6]uint64) confine.Answer {
rules:
	for _, r := range c.Rules {
		for _, cond := range r.If {
			if a[cond.Arg]&cond.Mask != cond.Value {
				continue rules
			}
		}
		return r.Then
	}
	if c.Rules == nil && c.Else == confine.Serve {
		return confine.Serve
	}
	return c.Else
}

// What the nil backend refuses, this one refuses with the same error, and what
// that serves is not refused with it here: argument by argument, for every call
// that both know.
func TestSameRulesAsNil(t *testing.T) {
	r := newProxied(t)
	tcp, _ := r.bound(unix.SOCK_STREAM)
	r.must(abi.SYS_LISTEN, tcp, 5)
	r.must(abi.SYS_FCNTL, tcp, unix.F_SETFL, unix.O_NONBLOCK)
	tcp6 := r.call(abi.SYS_SOCKET, unix.AF_INET6, unix.SOCK_STREAM, 0)
	if tcp6 < 0 {
		t.Skip("this machine has no IPv6: ", unix.Errno(-tcp6))
	}
	path, value := r.put(4096, []byte("/dev/null\x00")), r.put(8192, []byte{8, 0, 0, 0, 0, 0, 0, 0})
	options := []uint64{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 13, 14, 15, 17, 18, 20, 23, 25, 26, 30, 36, 38, 39, 46, 50, 60, 65}
	bits := []uint64{0}
	for i := range 32 {
		bits = append(bits, 1<<i)
	}
	sample := map[uint64][]func(v, w uint64) [6]uint64{
		abi.SYS_SOCKET: {func(v, w uint64) [6]uint64 { return [6]uint64{v % 40, w, 0} },
			func(v, w uint64) [6]uint64 { return [6]uint64{2, v, w} }, func(v, w uint64) [6]uint64 { return [6]uint64{10, 2, w} }},
		abi.SYS_SENDTO:   {func(v, w uint64) [6]uint64 { return [6]uint64{tcp, value, 1, v | w} }},
		abi.SYS_RECVFROM: {func(v, w uint64) [6]uint64 { return [6]uint64{tcp, value, 1, v | w} }},
		abi.SYS_IOCTL:    {func(v, w uint64) [6]uint64 { return [6]uint64{tcp, 0x5400 + w, value} }},
		abi.SYS_OPEN:     {func(v, w uint64) [6]uint64 { return [6]uint64{path, v | w} }},
		abi.SYS_OPENAT:   {func(v, w uint64) [6]uint64 { return [6]uint64{99, path, v | w} }},
		abi.SYS_FCNTL: {func(v, w uint64) [6]uint64 { return [6]uint64{tcp, w, v} },
			func(v, w uint64) [6]uint64 { return [6]uint64{tcp, 1000 + w, 0} }},
		abi.SYS_GETSOCKOPT: {func(v, w uint64) [6]uint64 { return [6]uint64{tcp, v % 64, w, value, value} },
			func(v, w uint64) [6]uint64 { return [6]uint64{tcp, 6, w, value, value} },
			func(v, w uint64) [6]uint64 { return [6]uint64{uint64(tcp6), 41, w, value, value} }},
		abi.SYS_SETSOCKOPT: {func(v, w uint64) [6]uint64 { return [6]uint64{tcp, 1, w, value, 8} },
			func(v, w uint64) [6]uint64 { return [6]uint64{tcp, 6, w, value, 4} },
			func(v, w uint64) [6]uint64 { return [6]uint64{uint64(tcp6), 41, w, value, 4} },
			func(v, w uint64) [6]uint64 { return [6]uint64{uint64(tcp6), v, w, value, 4} }},
		abi.SYS_PWRITE64: {func(v, w uint64) [6]uint64 { return [6]uint64{v} }},
		abi.SYS_PWRITEV:  {func(v, w uint64) [6]uint64 { return [6]uint64{v} }},
	}
	compared := 0
	for _, c := range confine.Calls() {
		makes := sample[uint64(c.Nr)]
		if makes == nil && c.Rules != nil && c.Class == confine.Forward {
			t.Errorf("%s has rules and no samples", c.Name)
		}
		if c.Class == confine.Forward && c.Rules == nil {
			a := [6]uint64{MaxFiles, sallyport.MaxPoll + 1} // no descriptor, and too many to poll
			if _, known := r.Call(r.sp, &r.ports[0], uint64(c.Nr), &a); !known {
				t.Errorf("%s is forwarded by nil and not known here", c.Name)
			}
		}
		for _, make := range makes {
			for _, v := range bits {
				for _, w := range append(options, bits...) {
					a := make(v, w)
					want := rule(c, &a)
					r.put(8192, []byte{8, 0, 0, 0, 0, 0, 0, 0}) // getsockopt has written there
					got := r.call(uint64(c.Nr), a[:]...)
					compared++
					switch {
					case want != confine.Serve && got != -int64(want.Errno()):
						t.Errorf("%s%x: %d, not %v", c.Name, a, got, want.Errno())
					case want == confine.Serve && c.Else != confine.Serve && got == -int64(c.Else.Errno()) && got != -int64(unix.EINVAL):
						t.Errorf("%s%x: refused with %v, which nil serves", c.Name, a, c.Else.Errno())
					}
					if got > tcp6 && (c.Nr == abi.SYS_SOCKET || c.Nr == abi.SYS_OPEN || c.Nr == abi.SYS_OPENAT || c.Nr == abi.SYS_FCNTL) {
						r.call(abi.SYS_CLOSE, uint64(got))
					}
				}
			}
		}
	}
	t.Logf("%d calls compared", compared)
}

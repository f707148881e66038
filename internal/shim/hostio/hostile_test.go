// SPDX-License-Identifier: Apache-2.0

package hostio

import (
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"enarx.dev/enarx/internal/sallyport"
	"enarx.dev/enarx/internal/shim/abi"
)

// stage is a program that has one of everything, each with something to come.
type stage struct {
	*rig
	in, out       uint64 // a pipe with ten bytes in it
	empty         uint64 // one with nothing, and non-blocking
	listener      uint64 // with a connection to accept
	client        uint64
	udp, udpPeer  uint64 // with a datagram of ten bytes
	ep, ev        uint64 // a watch with pointer as data, and an event to report
	token         uint64
	handleOfEvent uint64
}

const watchedData = 0x1234_5678_9abc_def0

func newStage(t *testing.T) *stage {
	s := &stage{rig: newProxied(t)}
	s.must(abi.SYS_PIPE2, s.user, 0)
	s.in, s.out = uint64(s.get32(0)), uint64(s.get32(4))
	s.must(abi.SYS_WRITE, s.out, s.put(0, fill(10, 1)), 10)
	s.must(abi.SYS_PIPE2, s.user, unix.O_NONBLOCK)
	s.empty = uint64(s.get32(0))
	l, at := s.bound(unix.SOCK_STREAM)
	s.listener = l
	s.must(abi.SYS_LISTEN, l, 5)
	s.client = s.must(abi.SYS_SOCKET, unix.AF_INET, unix.SOCK_STREAM, 0)
	s.must(abi.SYS_CONNECT, s.client, s.put(0, sockaddr(at)), 16)
	s.udp, at = s.bound(unix.SOCK_DGRAM)
	s.udpPeer, _ = s.bound(unix.SOCK_DGRAM)
	s.must(abi.SYS_SENDTO, s.udpPeer, s.put(4096, fill(10, 2)), 10, 0, s.put(0, sockaddr(at)), 16)
	s.ep = s.must(abi.SYS_EPOLL_CREATE1, 0)
	s.ev = s.must(abi.SYS_EVENTFD2, 1, 0)
	if ret := s.ctl(s.ep, unix.EPOLL_CTL_ADD, s.ev, event32{unix.EPOLLIN, watchedData}); ret != 0 {
		t.Fatal(ret)
	}
	s.handleOfEvent = s.files[s.numbers[s.ev].file-1].handle
	i := s.files[s.numbers[s.ev].file-1].watch - 1
	s.token = token(i, s.watches[i].gen)
	s.put(64, []byte{28, 0, 0, 0})
	return s
}

func answer(ret int64) func(*stage, []byte, *sallyport.Request) {
	return func(_ *stage, block []byte, req *sallyport.Request) { sallyport.Reply(block, req.Seq, ret) }
}

func errno(e unix.Errno) int64 { return -int64(e) }

// Each case is one lie in reply to an otherwise honest conversation. A lie that
// no kernel could tell ends the Keep; one that some kernel tells is an error.
func TestLyingHost(t *testing.T) {
	const eio, abort = -int64(unix.EIO), true
	read := func(s *stage) int64 { return s.call(abi.SYS_READ, s.in, s.user, 10) }
	readEmpty := func(s *stage) int64 { return s.call(abi.SYS_READ, s.empty, s.user, 10) }
	write := func(s *stage) int64 { return s.call(abi.SYS_WRITE, s.out, s.user, 10) }
	accept := func(s *stage) int64 { return s.call(abi.SYS_ACCEPT4, s.listener, s.user, s.user+64, 0) }
	name := func(s *stage) int64 { return s.call(abi.SYS_GETSOCKNAME, s.client, s.user, s.user+64) }
	receive := func(s *stage) int64 { return s.call(abi.SYS_RECVFROM, s.udp, s.user, 10, 0, s.user, s.user+64) }
	event := func(s *stage) int64 { return s.call(abi.SYS_EVENTFD2, 0, 0) }
	pipe := func(s *stage) int64 { return s.call(abi.SYS_PIPE2, s.user, 0) }
	wait := func(s *stage) int64 { return s.call(abi.SYS_EPOLL_PWAIT, s.ep, s.user, 8, 100, 0, 8) }
	poll := func(s *stage) int64 { return s.call(abi.SYS_POLL, s.put64(0, s.ev|unix.POLLOUT<<32), 1, 100) }
	address := func(off int, v uint32) func(*stage, []byte, *sallyport.Request) {
		return func(_ *stage, block []byte, _ *sallyport.Request) { sallyport.Store32(sallyport.Data(block), off, v) }
	}
	report := func(events uint32, tok func(*stage) uint64) func(*stage, []byte, *sallyport.Request) {
		return func(s *stage, block []byte, req *sallyport.Request) {
			at := sallyport.Data(block)[sallyport.PayloadOffset:]
			sallyport.Store32(at, sallyport.EventMask, events)
			sallyport.Store64(at, sallyport.EventToken, tok(s))
			sallyport.Reply(block, req.Seq, 1)
		}
	}
	for _, tt := range []struct {
		name    string
		call    func(*stage) int64
		lie     func(*stage, []byte, *sallyport.Request)
		want    int64
		aborted bool
	}{
		{"rule 1: no errno", read, answer(-4096), eio, abort},
		{"rule 1: least number", read, answer(-1 << 63), eio, abort},
		{"rule 1: errno of another call", read, answer(errno(unix.ENOSYS)), eio, false},
		{"rule 1: not this call's", write, answer(errno(unix.ENOTSOCK)), eio, false},
		{"rule 1: EAGAIN and waiting", read, answer(errno(unix.EAGAIN)), eio, false},
		{"rule 1: EINTR and not waiting", readEmpty, answer(errno(unix.EINTR)), eio, false},
		{"rule 1: EINTR and waiting", read, answer(errno(unix.EINTR)), errno(unix.EINTR), false},
		{"rule 1: EBADF of an open file", read, answer(errno(unix.EBADF)), eio, false},
		{"rule 1: restart code", accept, answer(-512), eio, false},
		{"rule 2: longer than asked", read, answer(11), eio, abort},
		{"rule 2: longer than written", write, answer(11), eio, abort},
		{"rule 2: huge", read, answer(1<<63 - 1), eio, abort},
		{"rule 2: half an event counter", func(s *stage) int64 { return s.call(abi.SYS_READ, s.ev, s.user, 8) }, answer(4), eio, abort},
		{"rule 2: more than success", func(s *stage) int64 { return s.call(abi.SYS_LISTEN, s.listener, 1) }, answer(1), eio, abort},
		{"rule 2: address too long", name, address(sallyport.AddrLength, 29), eio, abort},
		{"rule 2: address of no length", accept, address(sallyport.AddrLength, 0), eio, abort},
		{"rule 2: IPv6 length", receive, address(sallyport.AddrLength, 28), eio, abort},
		{"rule 2: family", name, address(sallyport.AddrBytes, unix.AF_UNIX), eio, abort},
		{"rule 2: longer than any datagram", receive, answer(65536), eio, abort},
		{"rule 2: pending error", func(s *stage) int64 {
			return s.call(abi.SYS_GETSOCKOPT, s.client, unix.SOL_SOCKET, unix.SO_ERROR, s.user, s.user+64)
		}, answer(4096), eio, abort},
		{"rule 2: negative option", func(s *stage) int64 {
			return s.call(abi.SYS_GETSOCKOPT, s.client, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, s.user, s.user+64)
		}, answer(1 << 31), eio, abort},
		{"rule 3: handle in use", event, func(s *stage, block []byte, req *sallyport.Request) {
			sallyport.Reply(block, req.Seq, int64(s.handleOfEvent))
		}, eio, abort},
		{"rule 3: in use, of a later generation", accept, func(s *stage, block []byte, req *sallyport.Request) {
			sallyport.Reply(block, req.Seq, int64(s.handleOfEvent+sallyport.MaxHandles))
		}, eio, abort},
		{"rule 3: no handle", event, answer(sallyport.MaxHandle), eio, abort},
		{"rule 3: one handle twice", pipe, func(_ *stage, block []byte, _ *sallyport.Request) {
			at := sallyport.Data(block)[sallyport.PayloadOffset:]
			sallyport.Store64(at, 8, sallyport.Load64(at, 0))
		}, eio, abort},
		{"rule 4: no such token", wait, report(1, func(*stage) uint64 { return maxWatches }), eio, abort},
		{"rule 4: the data for a token", wait, report(1, func(*stage) uint64 { return watchedData }), eio, abort},
		{"rule 4: a generation to come", wait, report(1, func(s *stage) uint64 { return s.token + 1<<genShift }), eio, abort},
		{"rule 4: a free slot", wait, report(1, func(s *stage) uint64 { return s.token + 1 }), eio, abort},
		{"rule 4: an event not asked for", wait, report(unix.EPOLLOUT|unix.EPOLLRDHUP, func(s *stage) uint64 { return s.token }), 0, false},
		{"rule 4: and one that was", wait, report(^uint32(0), func(s *stage) uint64 { return s.token }), 1, false},
		{"rule 4: too many events", wait, answer(9), eio, abort},
		{"rule 6: poll events not asked for", poll, func(_ *stage, block []byte, req *sallyport.Request) {
			at := sallyport.Data(block)[sallyport.PayloadOffset:]
			sallyport.Store32(at, sallyport.PollEvents, 0xffff)
			sallyport.Store32(at, sallyport.PollRevents, unix.POLLIN|1<<16)
			sallyport.Reply(block, req.Seq, 1)
		}, 0, false},
		{"rule 6: poll counts more entries than it has", poll, answer(2), eio, abort},
		{"rule 8: the reply of the request before", read, func(_ *stage, block []byte, req *sallyport.Request) {
			sallyport.Reply(block, req.Seq-1, 10)
		}, eio, abort},
		{"rule 8: a reply to come", read, func(_ *stage, block []byte, req *sallyport.Request) {
			sallyport.Reply(block, req.Seq+1, 10)
		}, eio, abort},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newStage(t)
			honest := s.host
			lies, last := true, uint64(0)
			s.host = func(block []byte, req *sallyport.Request) {
				if req.Seq != last { // done once, however often it is asked for
					honest(block, req)
				}
				last = req.Seq
				if lies && req.Nr != abi.SYS_CLOSE {
					tt.lie(s, block, req)
				}
			}
			got := tt.call(s)
			lies = false
			code := []uint64{sallyport.AbortHost}
			if s.ports[0].Broken {
				code[0] = sallyport.AbortBroken
			}
			if !tt.aborted {
				code = nil
			}
			if got != tt.want || !slices.Equal(s.aborts, code) {
				t.Errorf("result %d, aborts %v; want %d, %v", got, s.aborts, tt.want, code)
			}
			s.aborts, s.ports[0].Broken = nil, false
			s.check()
			s.epollDataIsOurs(tt.want)
		})
	}
}

// epollDataIsOurs looks at what an epoll_wait that returned n left behind.
func (s *stage) epollDataIsOurs(n int64) {
	if n == 1 {
		if b := s.get(4, 8); get64(b) != watchedData {
			s.t.Errorf("the program got %#x as data", get64(b))
		}
	}
}

// What the program keeps in epoll_event.data, its buffers' addresses and its
// descriptors' numbers never reach the block, and neither do bytes that it did
// not ask to be sent.
func TestPointersStay(t *testing.T) {
	s := newStage(t)
	honest := s.host
	var secrets []uint64
	s.host = func(block []byte, req *sallyport.Request) {
		for off := 0; off+8 <= len(block); off += 4 {
			for _, secret := range secrets {
				if get64(block[off:]) == secret {
					t.Errorf("request %d has %#x at offset %#x", req.Nr, secret, off)
				}
			}
		}
		honest(block, req)
	}
	secrets = []uint64{watchedData, watchedData + 1, s.user, s.user + 64, s.user + 900_000, 0xabcdef_0123456789 & (1<<63 - 1)}
	s.put64(10, 0xabcdef_0123456789&(1<<63-1)) // behind the ten bytes
	if ret := s.ctl(s.ep, unix.EPOLL_CTL_MOD, s.ev, event32{unix.EPOLLIN, watchedData + 1}); ret != 0 {
		t.Fatal(ret)
	}
	s.must(abi.SYS_WRITE, s.out, s.user, 10)
	s.must(abi.SYS_RECVFROM, s.udp, s.user, 10, 0, s.user, s.user+64)
	s.put64(2048, s.user, 16, s.put64(1024, s.user, 10), 1, 0, 0, 0)
	s.call(abi.SYS_SENDMSG, s.udpPeer, s.user+2048, 0)
	s.must(abi.SYS_POLL, s.put64(0, s.ev|unix.POLLIN<<32), 1, 0)
	if got := s.wait(s.ep, 0); len(got) != 1 || got[0].data != watchedData+1 {
		t.Errorf("events %+v", got)
	}
}

// An event that was under way when its watch ended is nobody's, and the wait
// that it ended for nothing starts again a limited number of times.
func TestStaleEvents(t *testing.T) {
	s := newStage(t)
	if ret := s.ctl(s.ep, unix.EPOLL_CTL_DEL, s.ev, event32{}); ret != 0 {
		t.Fatal(ret)
	}
	if ret := s.ctl(s.ep, unix.EPOLL_CTL_ADD, s.ev, event32{unix.EPOLLIN, 7}); ret != 0 {
		t.Fatal(ret)
	}
	honest, waits := s.host, 0
	s.host = func(block []byte, req *sallyport.Request) {
		if waits++; req.Nr != abi.SYS_EPOLL_WAIT {
			honest(block, req)
			return
		}
		at := sallyport.Data(block)[sallyport.PayloadOffset:]
		sallyport.Store32(at, sallyport.EventMask, 1)
		sallyport.Store64(at, sallyport.EventToken, s.token)
		sallyport.Reply(block, req.Seq, 1)
	}
	s.fails(unix.EINTR, abi.SYS_EPOLL_WAIT, s.ep, s.user, 8, ^uint64(0))
	if waits != maxSpurious {
		t.Errorf("%d waits", waits)
	}
	if ret := s.call(abi.SYS_EPOLL_WAIT, s.ep, s.user, 8, 0); ret != 0 {
		t.Errorf("got %d", ret)
	}
}

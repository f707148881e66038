// SPDX-License-Identifier: Apache-2.0

package hostio

import (
	"encoding/binary"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"enarx.dev/enarx/internal/sallyport"
	"enarx.dev/enarx/internal/shim/abi"
)

// The program of FuzzHostileHost has its buffers in the middle of its memory:
// what lies around them may not change.
const (
	fuzzBuf    = 16 << 10 // data, from here on
	fuzzBufLen = 128 << 10
	fuzzMeta   = 160 << 10 // iovecs, addresses, lengths, events: written by the calls
	fuzzMetaLn = 16 << 10
	fuzzSize   = 192 << 10
	maxExits   = 4096 // of one call
)

// script is the input, as both the program and the host read on in it.
type script struct{ b []byte }

func (s *script) u8() byte {
	if len(s.b) == 0 {
		return 0
	}
	v := s.b[0]
	s.b = s.b[1:]
	return v
}

func (s *script) u64() (v uint64) {
	for range 8 {
		v = v<<8 | uint64(s.u8())
	}
	return v
}

// liar is a host that takes its replies from a script.
type liar struct {
	*script
	next  uint64 // handles that are new
	old   []uint64
	exits int
	rnd   *rand.Rand
}

func (l *liar) serve(block []byte, req *sallyport.Request) {
	l.exits++
	ret := l.result(req)
	data := sallyport.Data(block)
	switch how := l.u8(); how % 4 {
	case 0: // a little
		for range l.u8() % 8 {
			data[int(l.u8())%0x80] = l.u8()
		}
	case 1: // plausible
		l.address(data)
		l.events(data)
	case 2: // much
		for i := 0; i+8 <= 4096; i += 8 {
			binary.LittleEndian.PutUint64(data[i:], l.rnd.Uint64())
		}
	}
	if req.Nr == unix.SYS_PIPE2 && ret == 0 {
		binary.LittleEndian.PutUint64(data[sallyport.PayloadOffset:], uint64(l.handle()))
		binary.LittleEndian.PutUint64(data[sallyport.PayloadOffset+8:], uint64(l.handle()))
	}
	seq := req.Seq
	switch l.u8() {
	case 1:
		seq--
	case 2:
		seq = l.u64()
	case 3: // header and all
		for i := range sallyport.DataOffset {
			block[i] = l.u8()
		}
		return
	}
	sallyport.Reply(block, seq, ret)
}

func (l *liar) handle() int64 {
	switch l.u8() % 16 {
	case 1:
		return int64(l.u64() & (1<<53 - 1))
	case 2:
		if len(l.old) > 0 {
			return int64(l.old[int(l.u8())%len(l.old)])
		}
	}
	l.next++
	h := l.next + l.next<<sallyport.HandleBits
	l.old = append(l.old, h)
	return int64(h)
}

func (l *liar) result(req *sallyport.Request) int64 {
	switch l.u8() % 16 {
	case 0:
		return int64(l.u64())
	case 1:
		return -int64(l.u8())
	case 2:
		return -int64(binary.LittleEndian.Uint16([]byte{l.u8(), l.u8()}))
	case 3:
		return int64(req.Args[1]) + 1
	case 4:
		return -4096
	}
	switch req.Nr {
	case unix.SYS_READ, unix.SYS_RECVFROM, unix.SYS_WRITE, unix.SYS_SENDTO, unix.SYS_PREAD64:
		return int64(req.Args[1]) - int64(min(uint64(l.u8()), req.Args[1]))
	case unix.SYS_EPOLL_WAIT:
		return int64(min(uint64(l.u8()), req.Args[1]))
	case unix.SYS_POLL:
		return int64(min(uint64(l.u8()), req.Args[0]))
	case unix.SYS_SOCKET, unix.SYS_ACCEPT4, unix.SYS_EVENTFD2, unix.SYS_EPOLL_CREATE1, unix.SYS_OPEN:
		return l.handle()
	}
	return 0
}

func (l *liar) address(data []byte) {
	n := [...]uint32{16, 28, 0, 17}[l.u8()%4]
	binary.LittleEndian.PutUint32(data[sallyport.AddrLength:], n)
	data[sallyport.AddrBytes], data[sallyport.AddrBytes+1] = [...]byte{2, 10, 1, 0}[l.u8()%4], 0
}

func (l *liar) events(data []byte) {
	at := data[sallyport.PayloadOffset:]
	for i := range int(l.u8() % 16) {
		binary.LittleEndian.PutUint32(at[i*12:], uint32(l.u8())|uint32(l.u8())<<13)
		binary.LittleEndian.PutUint64(at[i*12+4:], token(uint32(l.u8()), uint64(l.u8()%4)))
	}
}

// scribble changes bytes of the block all the time, as a host can.
func scribble(block []byte, seed uint64, stop *atomic.Bool) {
	rnd := rand.New(rand.NewPCG(seed, 2))
	for !stop.Load() {
		for range 64 {
			off := rnd.IntN(0x100 + 0x40 + 512)
			if rnd.IntN(8) == 0 {
				off = rnd.IntN(len(block))
			}
			block[off] = byte(rnd.Uint32())
		}
		runtime.Gosched()
	}
}

// program makes one system call of the script's choice. It knows its own
// descriptors, mostly.
type program struct {
	*rig
	s     *script
	datas map[uint64]bool // what it ever gave as epoll_event.data
}

func (p *program) fd() uint64 {
	if v := p.s.u8(); v < 240 {
		return uint64(v % 24)
	}
	return p.s.u64()
}

func (p *program) length() uint64 {
	switch v := p.s.u8(); v % 8 {
	case 0:
		return fuzzBufLen
	case 1:
		return 8
	case 2:
		return sallyport.PayloadSize
	default:
		return uint64(v) * 7
	}
}

// meta writes 16 KiB of arguments in memory: two iovecs, an address, a length,
// a msghdr and poll entries, all at fixed places.
const (
	atIov, atAddr, atLen, atMsg, atPoll, atEvents, atValue, atPath = 0, 64, 128, 192, 1024, 8192, 320, 384
)

func (p *program) meta() uint64 {
	u := p.user
	b := make([]byte, fuzzMetaLn)
	put64(b[atIov:], u+fuzzBuf)
	put64(b[atIov+8:], p.length()/2)
	put64(b[atIov+16:], u+fuzzBuf+fuzzBufLen/2)
	put64(b[atIov+24:], p.length()/2)
	copy(b[atAddr:], []byte{2, 0, 1, 1, 127, 0, 0, 1})
	b[atLen] = p.s.u8()
	put64(b[atMsg:], u+fuzzMeta+atAddr)
	put32(b[atMsg+8:], 16)
	put64(b[atMsg+16:], u+fuzzMeta+atIov)
	put64(b[atMsg+24:], 2)
	for i := range 64 {
		put32(b[atPoll+8*i:], uint32(p.fd()))
		put32(b[atPoll+8*i+4:], uint32(p.s.u8()))
	}
	put32(b[atValue:], uint32(p.s.u8())|1<<31*uint32(p.s.u8()&1))
	data := p.s.u64()
	p.datas[data] = true
	put64(b[atValue+4:], data)
	copy(b[atPath:], [...]string{"/etc/hosts", "/dev/null", "/dev/zero", "/etc/resolv.conf"}[p.s.u8()%4])
	p.put(fuzzMeta, b)
	return u + fuzzMeta
}

// step makes a call and returns its number, result and most allowed result.
func (p *program) step() (nr uint64, ret, most int64) {
	m, buf, n, fd := p.meta(), p.user+fuzzBuf, p.length(), p.fd()
	type call struct {
		nr   uint64
		a    [6]uint64
		most int64
	}
	flags := uint64(p.s.u8()) & (msgDontwait | msgPeek)
	if p.s.u8()&1 == 1 {
		flags |= msgWaitall
	}
	calls := [...]call{
		{abi.SYS_READ, [6]uint64{fd, buf, n}, int64(n)},
		{abi.SYS_WRITE, [6]uint64{fd, buf, n}, int64(n)},
		{abi.SYS_READV, [6]uint64{fd, m + atIov, 2}, fuzzBufLen},
		{abi.SYS_WRITEV, [6]uint64{fd, m + atIov, 2}, fuzzBufLen},
		{abi.SYS_PREAD64, [6]uint64{fd, buf, n, 5}, int64(n)},
		{abi.SYS_RECVFROM, [6]uint64{fd, buf, n, flags, m + atAddr, m + atLen}, int64(n)},
		{abi.SYS_SENDTO, [6]uint64{fd, buf, n, flags, m + atAddr, 16}, int64(n)},
		{abi.SYS_RECVMSG, [6]uint64{fd, m + atMsg, flags}, fuzzBufLen},
		{abi.SYS_SENDMSG, [6]uint64{fd, m + atMsg, flags}, fuzzBufLen},
		{abi.SYS_SOCKET, [6]uint64{unix.AF_INET, 1 + uint64(p.s.u8()&1), 0}, MaxFiles},
		{abi.SYS_SOCKET, [6]uint64{unix.AF_INET6, 1 + uint64(p.s.u8()&1) | sockNonblock, 0}, MaxFiles},
		{abi.SYS_ACCEPT4, [6]uint64{fd, m + atAddr, m + atLen, 0}, MaxFiles},
		{abi.SYS_CONNECT, [6]uint64{fd, m + atAddr, 16}, 0},
		{abi.SYS_GETSOCKNAME, [6]uint64{fd, m + atAddr, m + atLen}, 0},
		{abi.SYS_GETSOCKOPT, [6]uint64{fd, 1, soError, m + atValue, m + atLen}, 0},
		{abi.SYS_GETSOCKOPT, [6]uint64{fd, 6, tcpKeepidle, m + atValue, m + atLen}, 0},
		{abi.SYS_SETSOCKOPT, [6]uint64{fd, 1, soReuseaddr, m + atValue, 4}, 0},
		{abi.SYS_EVENTFD2, [6]uint64{0, 0}, MaxFiles},
		{abi.SYS_PIPE2, [6]uint64{m + atValue, 0}, 0},
		{abi.SYS_EPOLL_CREATE1, [6]uint64{0}, MaxFiles},
		{abi.SYS_EPOLL_CTL, [6]uint64{fd, 1 + uint64(p.s.u8()%3), p.fd(), m + atValue}, 0},
		{abi.SYS_EPOLL_CTL, [6]uint64{fd, 1, p.fd(), m + atValue}, 0},
		{abi.SYS_EPOLL_PWAIT, [6]uint64{fd, m + atEvents, 64, uint64(int64(p.s.u8()&1) - 1)}, 64},
		{abi.SYS_POLL, [6]uint64{m + atPoll, 64, uint64(int64(p.s.u8()&1) - 1)}, 64},
		{abi.SYS_CLOSE, [6]uint64{fd}, 0},
		{abi.SYS_DUP, [6]uint64{fd}, MaxFiles},
		{abi.SYS_DUP2, [6]uint64{fd, p.fd()}, MaxFiles},
		{abi.SYS_FCNTL, [6]uint64{fd, [...]uint64{fGetfl, fSetfl, fDupfd, fGetfd}[p.s.u8()%4], oNonblock * uint64(p.s.u8()&1)}, MaxFiles + 1<<18},
		{abi.SYS_OPEN, [6]uint64{m + atPath, 0}, MaxFiles},
		{abi.SYS_FSTAT, [6]uint64{fd, m + atEvents}, 0},
		{abi.SYS_LSEEK, [6]uint64{fd, 3, uint64(p.s.u8() % 3)}, sallyport.MaxFileSize},
		{abi.SYS_IOCTL, [6]uint64{fd, fionread, m + atValue}, 0},
		{abi.SYS_LISTEN, [6]uint64{fd, 5}, 0},
		{abi.SYS_SHUTDOWN, [6]uint64{fd, 2}, 0},
	}
	c := calls[int(p.s.u8())%len(calls)]
	return c.nr, p.call(c.nr, c.a[:]...), c.most
}

// FuzzHostileHost lets a program talk to a host that is made of the input, and
// that writes to the block while the shim reads it. The shim may end the Keep; it
// may not panic, loop, return what the call cannot, write where the program gave
// no buffer, or leave its tables inconsistent.
func FuzzHostileHost(f *testing.F) {
	f.Add([]byte("seed"), false)
	for seed := range uint64(24) {
		rnd := rand.New(rand.NewPCG(seed, 3))
		b := make([]byte, 4000)
		for i := range b {
			if b[i] = byte(rnd.Uint32()); rnd.IntN(3) == 0 {
				b[i] = byte(rnd.IntN(40))
			}
		}
		f.Add(b, seed%2 == 0)
	}
	r, shadow := newRig(f, 3), fill(fuzzSize, 0x33)
	r.put(0, shadow)
	r.forged = true
	f.Fuzz(func(t *testing.T, input []byte, concurrent bool) {
		hostileRun(t, r, shadow, input, concurrent)
	})
}

func hostileRun(t *testing.T, r *rig, shadow, input []byte, concurrent bool) {
	r.t, r.aborts = t, nil
	abort := r.Table.Abort
	*r.Table = Table{Abort: abort, Random: func(uint32, uint64, uint64) int64 { return 0 }}
	r.Table.Init(3)
	r.ports[0].Broken = false
	s := &script{input}
	l := &liar{script: s, next: 3, rnd: rand.New(rand.NewPCG(uint64(len(input)), 4))}
	r.host = l.serve
	if concurrent {
		var stop atomic.Bool
		var wg sync.WaitGroup
		seed := l.rnd.Uint64()
		wg.Go(func() { scribble(r.blocks[0], seed, &stop) })
		defer wg.Wait()
		defer stop.Store(true)
	}
	p := &program{rig: r, s: s, datas: map[uint64]bool{}}
	for range 64 {
		if len(s.b) == 0 || len(r.aborts) > 0 {
			break
		}
		l.exits = 0
		start := time.Now()
		nr, ret, most := p.step()
		if ret < -4095 || ret > most {
			t.Fatalf("call %d returned %d", nr, ret)
		}
		if l.exits > maxExits || time.Since(start) > 10*time.Second {
			t.Fatalf("call %d took %d exits, %v", nr, l.exits, time.Since(start))
		}
		r.check()
		p.unharmed(nr, shadow)
		if nr == abi.SYS_EPOLL_PWAIT {
			for i := range ret {
				if data := get64(r.get(fuzzMeta+atEvents+uint64(i)*12+4, 8)); !p.datas[data] {
					t.Fatalf("epoll_wait gave the program %#x", data)
				}
			}
		}
	}
}

// unharmed compares the program's memory with what it was, except where the
// call's buffers are.
func (p *program) unharmed(nr uint64, shadow []byte) {
	p.t.Helper()
	for _, part := range [][2]int{{0, fuzzBuf}, {fuzzBuf + fuzzBufLen, fuzzMeta}, {fuzzMeta + fuzzMetaLn, fuzzSize}} {
		if got := p.get(uint64(part[0]), part[1]-part[0]); string(got) != string(shadow[part[0]:part[1]]) {
			p.t.Fatalf("call %d wrote to memory that is not its buffer", nr)
		}
	}
}

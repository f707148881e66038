// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"enarx.dev/enarx/internal/sallyport"
)

// numbers are those that a proxy serves, so that most requests get somewhere.
var numbers = []uint64{unix.SYS_READ, unix.SYS_WRITE, unix.SYS_OPEN, unix.SYS_CLOSE, unix.SYS_FSTAT, unix.SYS_POLL, unix.SYS_IOCTL,
	unix.SYS_PREAD64, unix.SYS_SOCKET, unix.SYS_CONNECT, unix.SYS_ACCEPT4, unix.SYS_SENDTO, unix.SYS_RECVFROM, unix.SYS_SHUTDOWN,
	unix.SYS_BIND, unix.SYS_LISTEN, unix.SYS_GETSOCKNAME, unix.SYS_GETPEERNAME, unix.SYS_SETSOCKOPT, unix.SYS_GETSOCKOPT, unix.SYS_FCNTL,
	unix.SYS_EPOLL_WAIT, unix.SYS_EPOLL_CTL, unix.SYS_EVENTFD2, unix.SYS_EPOLL_CREATE1, unix.SYS_PIPE2}

// arguments are values that mean something to some of them.
var arguments = []uint64{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 13, 15, 16, 17, 26, 28, 0x40, 0x100, 0x541b, 0x800, 0x801, 0x802, 0x4000, 0x80000,
	sallyport.PayloadSize, sallyport.PayloadSize + 1, 1 << 12, 1<<12 | 1, 1<<12 | 2, 1 << 31, 1 << 32, 1 << 63, ^uint64(0)}

// tame makes sure that a request neither waits for ever nor leaves the machine:
// both are what a Keep may do, and a fuzzer should not.
func (g *guest) tame(nr uint64, a []uint64) {
	switch nr {
	case unix.SYS_POLL:
		a[1] = 0
	case unix.SYS_EPOLL_WAIT:
		a[2] = 0
	case unix.SYS_FCNTL:
		a[2] |= unix.O_NONBLOCK
	case unix.SYS_PIPE2:
		a[0] |= unix.O_NONBLOCK
	case unix.SYS_SOCKET, unix.SYS_EVENTFD2, unix.SYS_ACCEPT4:
		a[1] |= unix.SOCK_NONBLOCK
	case unix.SYS_SETSOCKOPT:
		binary.LittleEndian.PutUint64(g.payload(), 0) // no lingering
	case unix.SYS_CONNECT, unix.SYS_BIND, unix.SYS_SENDTO:
		at := sallyport.Data(g.block)[sallyport.AddrBytes:]
		if at[0] == unix.AF_INET {
			copy(at[4:], []byte{127, 0, 0, 1})
		} else {
			clear(at[8:28])
			at[23] = 1
		}
	}
}

// FuzzServe gives the proxy requests that no shim makes. It may refuse them; it
// may not panic, leave a descriptor open, or touch one that is not a handle.
func FuzzServe(f *testing.F) {
	f.Add([]byte("seed"))
	for seed := range uint64(16) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		b := make([]byte, 1200)
		for i := range b {
			b[i] = byte(rnd.Uint32())
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, input []byte) {
		var canary [2]int
		if err := unix.Pipe2(canary[:], unix.O_NONBLOCK|unix.O_CLOEXEC); err != nil {
			t.Fatal(err)
		}
		defer unix.Close(canary[0])
		defer unix.Close(canary[1])
		if _, err := unix.Write(canary[1], []byte("canary")); err != nil {
			t.Fatal(err)
		}
		before := openFiles(t)
		g := newProxy(t)
		for range 200 {
			if len(input) < 8 {
				break
			}
			head := input[:8]
			input = input[8:]
			nr := numbers[int(head[0])%len(numbers)]
			if head[7] == 0xff {
				nr = binary.LittleEndian.Uint64(head) & (sallyport.MaxNr - 1)
			}
			var a [6]uint64
			for i := range 5 {
				a[i] = arguments[int(head[i+1])%len(arguments)]
			}
			n := min(len(input), int(head[6]%64))
			copy(sallyport.Data(g.block), input[:n])
			if head[6] >= 128 {
				copy(g.payload(), input[:n])
			}
			input = input[n:]
			g.tame(nr, a[:])
			if ret := g.call(nr, a[:]...); ret < -4095 {
				t.Fatalf("call %d%x: %d", nr, a, ret)
			}
		}
		g.Close()
		if after := openFiles(t); !slices.Equal(before, after) {
			t.Errorf("open before: %q; after: %q", before, after)
		}
		b := make([]byte, 16)
		n, err := unix.Read(canary[0], b)
		flags, ferr := unix.FcntlInt(uintptr(canary[0]), unix.F_GETFL, 0)
		if err != nil || ferr != nil || string(b[:max(n, 0)]) != "canary" || flags != unix.O_NONBLOCK {
			t.Errorf("the host's pipe: %q, %v, %v, flags %#x", b[:max(n, 0)], err, ferr, flags)
		}
	})
}

// SPDX-License-Identifier: Apache-2.0

package mem

import (
	"bytes"
	"math/rand/v2"
	"sync"
	"testing"
	"unsafe"

	"enarx.dev/enarx/internal/shim/abi"
)

func TestCopies(t *testing.T) {
	m := newMachine(t, 4<<20, 8<<20, 1)
	const at = 1<<30 + 1<<21 - 2*pageSize // in two tables
	want(t, "mmap", m.Mmap(0, at, 4*pageSize, rw, anon|mapFixed), at)
	want(t, "mmap", m.Mmap(0, at+4*pageSize, pageSize, abi.ProtRead, anon|mapFixed), at+4*pageSize)
	src := make([]byte, 3*pageSize)
	for i := range src {
		src[i] = byte(i*7 + i>>8)
	}
	dst := make([]byte, len(src))
	if !m.CopyOut(0, at+5, src) || !m.CopyIn(0, dst, at+5) || !bytes.Equal(src, dst) {
		t.Fatal("CopyOut and CopyIn")
	}
	clear(dst)
	if !m.FromShared(0, at+99, unsafe.Pointer(&src[0]), pageSize) || !m.ToShared(0, unsafe.Pointer(&dst[0]), at+99, pageSize) ||
		!bytes.Equal(src[:pageSize], dst[:pageSize]) {
		t.Fatal("FromShared and ToShared")
	}
	if !m.Zero(0, at+100, 2*pageSize) || !m.CopyIn(0, dst, at+99) || dst[0] != src[0] || !bytes.Equal(dst[1:2*pageSize], make([]byte, 2*pageSize-1)) {
		t.Fatal("Zero")
	}
	if !m.Store32(0, at+4, 0x12345678) || !m.Store64(0, at+8, 0x1122334455667788) {
		t.Fatal("stores")
	}
	if v, ok := m.Load32(0, at+4); v != 0x12345678 || !ok {
		t.Fatalf("Load32 = %#x", v)
	}
	if v, ok := m.Load64(0, at+8); v != 0x1122334455667788 || !ok {
		t.Fatalf("Load64 = %#x", v)
	}
	one := make([]byte, 1)
	_, unaligned32 := m.Load32(0, at+2)
	_, unaligned64 := m.Load64(0, at+4)
	_, unmapped32 := m.Load32(0, at-4)
	_, unmapped64 := m.Load64(0, at-8)
	p := unsafe.Pointer(&one[0])
	for what, ok := range map[string]bool{
		"in below": m.CopyIn(0, one, at-1), "in kernel": m.CopyIn(0, one, 1<<63), "in wrap": m.CopyIn(0, dst, ^uint64(0)),
		"in end": m.CopyIn(0, make([]byte, 2), abi.UserEnd-1), "in over": m.CopyIn(0, make([]byte, 2*pageSize), at+4*pageSize),
		"out read-only": m.CopyOut(0, at+4*pageSize, one), "out end": m.CopyOut(0, abi.UserEnd, one), "zero read-only": m.Zero(0, at+4*pageSize, 1),
		"zero wrap": m.Zero(0, at, ^uint64(0)), "store read-only": m.Store32(0, at+4*pageSize, 1), "store64 read-only": m.Store64(0, at+4*pageSize, 1),
		"unaligned store": m.Store32(0, at+1, 1), "unaligned store64": m.Store64(0, at+4, 1), "unaligned": unaligned32 || unaligned64,
		"unmapped": unmapped32 || unmapped64, "kernel store": m.Store64(0, DirectBase, 1),
		"shared too long": m.ToShared(0, p, at, 1<<40), "shared too long, in": m.FromShared(0, at, p, ^uint64(0)),
	} {
		if ok {
			t.Errorf("%s succeeded", what)
		}
	}
	if !m.CopyIn(0, nil, 1<<30) || !m.CopyOut(0, 0, nil) || !m.Zero(0, 0, 0) {
		t.Error("nothing could not be copied")
	}
	const last = abi.UserEnd - pageSize
	want(t, "mmap", m.Mmap(0, last, pageSize, rw, anon|mapFixed), last)
	if m.CopyOut(0, last, src) {
		t.Error("a copy went beyond the end")
	}
	if v, ok := m.Load64(0, last+8); v != 0 || !ok {
		t.Errorf("a copy beyond the end left %#x", v)
	}
	m.check(0)
}

func TestCopyInString(t *testing.T) {
	m := newMachine(t, 4<<20, 8<<20, 1)
	const at = 1 << 30
	want(t, "mmap", m.Mmap(0, at, 2*pageSize, rw, anon|mapFixed), at)
	if !m.CopyOut(0, at, bytes.Repeat([]byte{'a'}, 2*pageSize)) || !m.CopyOut(0, at+pageSize+3, []byte{0}) {
		t.Fatal("CopyOut")
	}
	for _, c := range []struct {
		addr    uint64
		size, n int
		ok      bool
	}{
		{at + pageSize, 100, 3, true},
		{at + pageSize, 4, 3, true},
		{at + pageSize, 3, 3, false},
		{at + pageSize - 10, 100, 13, true},
		{at + pageSize + 4, 2 * pageSize, pageSize - 4, false},
		{at + 2*pageSize, 10, 0, false},
		{at, 0, 0, false},
	} {
		dst := make([]byte, c.size)
		if n, ok := m.CopyInString(0, dst, c.addr); n != c.n || ok != c.ok || string(dst[:n]) != string(bytes.Repeat([]byte{'a'}, n)) {
			t.Errorf("CopyInString(%#x, %d) = %d, %v", c.addr, c.size, n, ok)
		}
	}
}

// TestConcurrent has several vCPUs in the shim at once. Each works on pages of its own
// among those of the others, so that it knows what it must find.
func TestConcurrent(t *testing.T) {
	const cpus, slots, rounds = 6, 40, 1500
	const base = 1<<30 + 1<<21 - cpus*slots/2*pageSize
	m := newMachine(t, 4<<20, 64<<20, 1)
	m.Space.hooks.Flush = func() {}
	m.Space.hooks.Shootdown = func(uint32) {}
	m.SetBrk(1 << 40)
	var wg sync.WaitGroup
	for cpu := range uint32(cpus) {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(cpu), 7))
			mapped := map[uint64]byte{}
			buf := make([]byte, 2*pageSize)
			for range rounds {
				// Pages of the vCPUs alternate in pairs.
				at := base + (r.Uint64N(slots/2)*cpus+uint64(cpu))*2*pageSize
				v, ok := mapped[at]
				switch r.IntN(8) {
				case 0, 1:
					if got := m.Mmap(cpu, at, 2*pageSize, rw, anon|mapFixed); got != int64(at) {
						t.Errorf("mmap: %d", got)
					}
					mapped[at] = 0
				case 2:
					if m.Munmap(cpu, at, 2*pageSize) != 0 {
						t.Error("munmap")
					}
					delete(mapped, at)
				case 3:
					if got := m.Madvise(cpu, at, 2*pageSize, madvDontNeed); (got == 0) != ok {
						t.Errorf("madvise: %d", got)
					}
					if ok {
						mapped[at] = 0
					}
				case 4:
					m.Mprotect(cpu, at, pageSize, abi.ProtRead)
					if out := m.Fault(cpu, at, faultWrite); (out == AccErr) != ok {
						t.Errorf("fault: %d", out)
					}
					m.Mprotect(cpu, at, pageSize, rw)
				case 5, 6:
					c := byte(r.Uint32())
					for i := range buf {
						buf[i] = c
					}
					if m.CopyOut(cpu, at, buf) != ok {
						t.Errorf("copy out with mapped %v", ok)
					}
					if ok {
						mapped[at] = c
					}
				default:
					got := m.CopyIn(cpu, buf, at)
					if got != ok || ok && (buf[0] != v || buf[2*pageSize-1] != v) {
						t.Errorf("copy in: %v %d %d, want %v %d", got, buf[0], buf[2*pageSize-1], ok, v)
					}
				}
				p := m.Mmap(cpu, 0, 3*pageSize, rw, anon)
				q := m.Mremap(cpu, uint64(p), 3*pageSize, 5*pageSize, mremapMayMove)
				if p < 0 || q < 0 || m.Munmap(cpu, uint64(q), 5*pageSize) != 0 {
					t.Errorf("mmap and mremap: %d, %d", p, q)
				}
			}
		})
	}
	wg.Wait()
	m.check(0)
	want(t, "munmap of all", m.Munmap(0, 0, abi.UserEnd), 0)
	m.check(0)
}

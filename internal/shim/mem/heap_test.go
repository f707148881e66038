// SPDX-License-Identifier: Apache-2.0

package mem

import (
	"testing"
	"unsafe"

	"enarx.dev/enarx/internal/shim/abi"
)

// TestInitRefuses lists heaps that cannot be.
func TestInitRefuses(t *testing.T) {
	ram := make([]byte, 8<<20)
	for _, c := range []struct{ heap, heapLen, limit uint64 }{
		{testHeap + pageSize, 2 << 20, 2 << 20},
		{testHeap, 2<<20 + pageSize, 4 << 20},
		{testHeap, 0, 4 << 20},
		{testHeap, 4 << 20, 2 << 20},
		{testHeap, 2 << 20, 1<<40 + 1<<21},
		{1 << 51, 2 << 20, 2 << 20},
		{^uint64(0) &^ (1<<21 - 1), 2 << 20, 2 << 20},
	} {
		if new(Space).Init(unsafe.Pointer(&ram[0]), testRoot, c.heap, c.heapLen, c.limit, Hooks{}) {
			t.Errorf("Init took %#x", c)
		}
	}
}

// TestGrow takes all memory there is, in the steps that the host expects.
func TestGrow(t *testing.T) {
	const limit = 300 << 20
	m := newMachine(t, 32<<20, limit, 1)
	const at = 1 << 30
	want(t, "mmap", m.Mmap(0, at, limit, rw, anon|mapFixed), at)
	n := uint64(0)
	sizes := map[uint64]bool{}
	for ; ; n++ {
		out := m.store(0, at+n*pageSize, n+1)
		if out == NoMemory {
			break
		}
		if out != Handled {
			t.Fatalf("page %d: %d", n, out)
		}
		sizes[m.heap] = true
	}
	m.check(0)
	if m.heap != limit || len(sizes) != 5 || !sizes[128<<20] || !sizes[256<<20] || n < limit/pageSize*99/100 {
		t.Fatalf("%d pages of %#x bytes, sizes %v", n, m.heap, sizes)
	}
	want(t, "populate", m.Madvise(0, at, limit, madvPopulateWrite), -abi.ENOMEM)
	for i := range n {
		if v, out := m.load(0, at+i*pageSize); v != i+1 || out != Handled {
			t.Fatalf("page %d: %d, %d", i, v, out)
		}
	}
	if _, ok := m.AllocFrame(0); ok {
		t.Fatal("AllocFrame found one more frame")
	}
	want(t, "munmap", m.Munmap(0, at, limit), 0)
	m.check(0)
	st := m.Stats()
	if left := st.Heap - st.Released - 32<<20; int64(left) > 0 || m.released < 280<<20 {
		t.Fatalf("%+v, %#x bytes were released", st, m.released)
	}
	want(t, "mmap", m.Mmap(0, at, limit, rw, anon|mapFixed), at)
	for i := range uint64(1000) {
		if v, out := m.load(0, at+i*7*pageSize); v != 0 || out != Handled {
			t.Fatalf("page %d is not zero again: %d, %d", i, v, out)
		}
	}
	m.check(0)
}

// TestHostRefuses goes on with the memory that there is, and with less than was wanted.
func TestHostRefuses(t *testing.T) {
	m := newMachine(t, 2<<20, 64<<20, 1)
	const at = 1 << 30
	want(t, "mmap", m.Mmap(0, at, 64<<20, rw, anon|mapFixed), at)
	m.refuse = true
	n := uint64(0)
	for m.store(0, at+n*pageSize, 1) == Handled {
		n++
	}
	m.check(0)
	if n < 300 || n > 400 {
		t.Fatalf("%d pages", n)
	}
	if m.CopyOut(0, at+n*pageSize, []byte{1}) || m.Zero(0, at+n*pageSize, 1) || m.Store32(0, at+n*pageSize, 1) {
		t.Fatal("a write without memory")
	}
	want(t, "mremap to where tables are needed", m.Mremap(0, at, 1<<20, 33<<20, 1), -abi.ENOMEM)
	m.check(0)
	m.refuse = false
	if out := m.store(0, at+n*pageSize, 1); out != Handled {
		t.Fatal(out)
	}
	m.check(0)
}

// TestRemapFails moves a mapping with less and less memory for page tables: it moves
// as a whole, or it stays and nothing is left behind.
func TestRemapFails(t *testing.T) {
	for left := range 8 {
		m := newMachine(t, 2<<20, 2<<20, 1)
		const at, n = 1<<30 - 4*pageSize, 8
		m.SetTop(at + 1<<40 + 14*pageSize) // 5 tables, as the new place is on both sides of a boundary
		want(t, "mmap", m.Mmap(0, at, n*pageSize, rw, anon|mapFixed|mapPopulate), at)
		want(t, "a neighbour", m.Mmap(0, at+n*pageSize, pageSize, 0, anon|mapFixed), at+n*pageSize)
		var held []uint64
		for {
			gpa, ok := m.AllocFrame(0)
			if !ok {
				break
			}
			held = append(held, gpa)
		}
		for range left {
			m.FreeFrame(held[len(held)-1])
			held = held[:len(held)-1]
		}
		ret := m.Mremap(0, at, n*pageSize, 2*n*pageSize, mremapMayMove)
		m.check(uint64(len(held)))
		if (ret == -abi.ENOMEM) != (left < 5) || ret < 0 && ret != -abi.ENOMEM {
			t.Errorf("with %d frames: %d", left, ret)
		}
	}
}

// TestForEver maps and unmaps at ever new addresses: neither frames nor tables may leak.
func TestForEver(t *testing.T) {
	m := newMachine(t, 4<<20, 64<<20, 1)
	for i := range uint64(20000) {
		at := 1<<30 + i*(1<<31+1<<21+pageSize)%(1<<46)
		want(t, "mmap", m.Mmap(0, at, 2*pageSize, rw, anon|mapFixed), int64(at))
		if out := m.store(0, at, 1); out != Handled {
			t.Fatal(out)
		}
		want(t, "munmap", m.Munmap(0, at+pageSize, pageSize), 0)
		want(t, "munmap", m.Munmap(0, at, pageSize), 0)
	}
	m.check(0)
	if st := m.Stats(); st.Heap != 4<<20 || st.Pooled > 4 {
		t.Fatalf("%+v", st)
	}
}

// TestKeepsSomeIdle frees and allocates in turn, which should not reach the host each time.
func TestKeepsSomeIdle(t *testing.T) {
	m := newMachine(t, 64<<20, 64<<20, 1)
	const at = 1 << 30
	for range 10 {
		want(t, "mmap", m.Mmap(0, at, 6<<20, rw, anon|mapFixed|mapPopulate), at)
		want(t, "munmap", m.Munmap(0, at, 6<<20), 0)
	}
	m.check(0)
	if m.released != 0 {
		t.Fatalf("%#x bytes were released", m.released)
	}
	want(t, "mmap", m.Mmap(0, at, 60<<20, rw, anon|mapFixed|mapPopulate), at)
	want(t, "madvise", m.Madvise(0, at, 60<<20, madvDontNeed), 0)
	m.check(0)
	if m.released < 40<<20 || m.frames.count[listIdle] != keepIdle {
		t.Fatalf("%#x bytes were released, %d chunks kept", m.released, m.frames.count[listIdle])
	}
}

func TestFrames(t *testing.T) {
	m := newMachine(t, 2<<20, 4<<20, 1)
	a, ok := m.AllocFrame(0)
	b, ok2 := m.AllocFrame(0)
	if !ok || !ok2 || a == b {
		t.Fatalf("%#x, %#x", a, b)
	}
	m.check(2)
	page := (*[pageSize]byte)(m.Frame(a))
	for i := range page {
		if page[i] != 0 {
			t.Fatalf("byte %d is %#x", i, page[i])
		}
		page[i] = 0xff
	}
	for range 2 {
		m.FreeFrame(a)
		m.check(1)
	}
	for _, gpa := range []uint64{0, testRoot, testHeap - pageSize, testHeap + 2<<20, ^uint64(0)} {
		m.FreeFrame(gpa)
	}
	m.check(1)
	if c, _ := m.AllocFrame(0); c != a || (*[pageSize]byte)(m.Frame(c))[9] != 0 {
		t.Fatalf("%#x is not the clean frame %#x", c, a)
	}
}

func TestKernelMap(t *testing.T) {
	m := newMachine(t, 2<<20, 4<<20, 1)
	const va = 0xFFFF_FFFF_9000_0000
	for _, c := range []struct {
		va, gpa, flags uint64
		ok             bool
		want           uint64
	}{
		{va, 0x5000, KernelWrite | KernelNX, true, 0x5063 | pteNX},
		{va, 0x5000, KernelWrite | KernelNX, true, 0x5063 | pteNX},
		{va, 0x6000, KernelWrite | KernelNX, false, 0x5063 | pteNX},
		{va + pageSize, 0x6000, KernelGlobal, true, 0x6161},
		{va + 2*pageSize, 0x6000, KernelWrite, false, 0},
		{va + 2*pageSize, 0x6000, KernelNX | pteUser, false, 0},
		{va + 2*pageSize, 0x6001, KernelNX, false, 0},
		{va + 2*pageSize, 1 << 51, KernelNX, false, 0},
		{0xFFFF_FE00_0000_0000, 0x40_0000_0000, KernelWrite | KernelNX | KernelShared, true, 0x40_0000_0063 | pteNX},
		{1 << 30, 0x6000, KernelNX, false, 0},
		{1 << 47, 0x6000, KernelNX, false, 0},
	} {
		if ok := m.KernelMap(0, c.va, c.gpa, c.flags); ok != c.ok {
			t.Errorf("KernelMap(%#x, %#x, %#x) = %v", c.va, c.gpa, c.flags, ok)
		}
		e := uint64(0)
		if t, _ := m.leaf(c.va); t != nil {
			e = t.get(index(c.va, 1))
		}
		if e != c.want {
			t.Errorf("KernelMap(%#x, %#x, %#x) made %#x, want %#x", c.va, c.gpa, c.flags, e, c.want)
		}
	}
}

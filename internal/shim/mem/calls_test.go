// SPDX-License-Identifier: Apache-2.0

package mem

import (
	"testing"

	"enarx.dev/enarx/internal/shim/abi"
)

const (
	rw   = abi.ProtRead | abi.ProtWrite
	anon = mapPrivate | mapAnonymous
)

// TestErrno lists what each call answers to arguments that do not fit. What is at 1 GiB:
// 4 pages that may be read and written, a hole of 4, 4 pages without access, and then
// an image page and a page of the shim.
func TestErrno(t *testing.T) {
	const (
		at  = 1 << 30
		end = abi.UserEnd
		max = ^uint64(0)
	)
	m := newMachine(t, 4<<20, 64<<20, 1)
	m.SetBrk(at + 1<<20)
	want(t, "mmap", m.Mmap(0, at, 4*pageSize, rw, anon|mapFixed), at)
	want(t, "mmap", m.Mmap(0, at+8*pageSize, 4*pageSize, 0, anon|mapFixed), at+8*pageSize)
	want(t, "MapImage", m.MapImage(0, at+12*pageSize, 100, abi.ProtRead, testImage), at+12*pageSize)
	want(t, "MapShimPage", m.MapShimPage(0, at+13*pageSize, testShim, abi.ProtRead), at+13*pageSize)
	type args = [4]uint64
	calls := map[string]func(a args) int64{
		"mmap":     func(a args) int64 { return m.Mmap(0, a[0], a[1], a[2], a[3]) },
		"munmap":   func(a args) int64 { return m.Munmap(0, a[0], a[1]) },
		"mprotect": func(a args) int64 { return m.Mprotect(0, a[0], a[1], a[2]) },
		"mremap":   func(a args) int64 { return m.Mremap(0, a[0], a[1], a[2], a[3]) },
		"madvise":  func(a args) int64 { return m.Madvise(0, a[0], a[1], a[2]) },
		"brk":      func(a args) int64 { return m.Brk(0, a[0]) },
		"image":    func(a args) int64 { return m.MapImage(0, a[0], a[1], a[2], a[3]) },
		"shim":     func(a args) int64 { return m.MapShimPage(0, a[0], a[1], a[2]) },
	}
	for _, c := range []struct {
		call string
		args args
		want int64
	}{
		{"mmap", args{0, 0, rw, anon}, -abi.EINVAL},
		{"mmap", args{0, pageSize, rw, mapPrivate}, -abi.EINVAL},
		{"mmap", args{0, pageSize, rw, mapAnonymous}, -abi.EINVAL},
		{"mmap", args{0, pageSize, rw, mapAnonymous | mapShared}, -abi.EINVAL},
		{"mmap", args{0, pageSize, rw, mapAnonymous | mapDroppable | mapLocked}, -abi.EINVAL},
		{"mmap", args{0, pageSize, rw, anon | mapHugeTLB}, -abi.ENOMEM},
		{"mmap", args{0, max, rw, anon}, -abi.ENOMEM},
		{"mmap", args{0, max - pageMask, 0, anon}, -abi.ENOMEM},
		{"mmap", args{0, end + 1, 0, anon}, -abi.ENOMEM},
		{"mmap", args{0, end, 0, anon}, -abi.ENOMEM},
		{"mmap", args{0, 64<<20 + 1, rw, anon}, -abi.ENOMEM},
		{"mmap", args{at, pageSize, rw | abi.ProtExec, anon}, -abi.EACCES},
		{"mmap", args{at + 1, pageSize, rw, anon | mapFixed}, -abi.EINVAL},
		{"mmap", args{end, pageSize, rw, anon | mapFixed}, -abi.ENOMEM},
		{"mmap", args{max - pageMask, pageSize, rw, anon | mapFixed}, -abi.ENOMEM},
		{"mmap", args{end - pageSize, 2 * pageSize, rw, anon | mapFixed}, -abi.ENOMEM},
		{"mmap", args{0, pageSize, rw, anon | mapFixed}, -abi.EPERM},
		{"mmap", args{at, pageSize, rw, anon | mapFixedNoReplace}, -abi.EEXIST},
		{"mmap", args{at + 7*pageSize, 2 * pageSize, rw, anon | mapFixedNoReplace}, -abi.EEXIST},
		{"munmap", args{at + 1, pageSize}, -abi.EINVAL},
		{"munmap", args{at, 0}, -abi.EINVAL},
		{"munmap", args{end, pageSize}, -abi.EINVAL},
		{"munmap", args{at, max}, -abi.EINVAL},
		{"munmap", args{at, max - at + 1}, -abi.EINVAL},
		{"munmap", args{max - pageMask, pageSize}, -abi.EINVAL},
		{"munmap", args{2 * at, pageSize}, 0},
		{"mprotect", args{at + 1, pageSize, rw}, -abi.EINVAL},
		{"mprotect", args{at, 0, 99}, 0},
		{"mprotect", args{at, max, rw}, -abi.ENOMEM},
		{"mprotect", args{at, max - at + 1, rw}, -abi.ENOMEM},
		{"mprotect", args{at, pageSize, 16}, -abi.EINVAL},
		{"mprotect", args{at, pageSize, abi.ProtRead | 1<<24}, -abi.EINVAL},
		{"mprotect", args{at, pageSize, abi.ProtWrite | abi.ProtExec}, -abi.EACCES},
		{"mprotect", args{at + 4*pageSize, pageSize, rw}, -abi.ENOMEM},
		{"mprotect", args{at, 5 * pageSize, rw}, -abi.ENOMEM},
		{"mprotect", args{end, pageSize, rw}, -abi.ENOMEM},
		{"mprotect", args{max - pageMask, pageSize, rw}, -abi.ENOMEM},
		{"mprotect", args{at, pageSize, rw | protSem}, 0},
		{"mprotect", args{at + 13*pageSize, pageSize, rw}, -abi.EACCES},
		{"mprotect", args{at + 13*pageSize, pageSize, abi.ProtExec}, -abi.EACCES},
		{"mprotect", args{at + 13*pageSize, pageSize, abi.ProtRead}, 0},
		{"mremap", args{at + 1, pageSize, pageSize, 0}, -abi.EINVAL},
		{"mremap", args{at, pageSize, 0, 0}, -abi.EINVAL},
		{"mremap", args{at, pageSize, max, 1}, -abi.EINVAL},
		{"mremap", args{at, pageSize, end + 1, 1}, -abi.EINVAL},
		{"mremap", args{at, pageSize, pageSize, 2}, -abi.EINVAL},
		{"mremap", args{at, pageSize, pageSize, 3}, -abi.EINVAL},
		{"mremap", args{at, pageSize, pageSize, 5}, -abi.EINVAL},
		{"mremap", args{at, 0, pageSize, 1}, -abi.EINVAL},
		{"mremap", args{at + 4*pageSize, pageSize, pageSize, 0}, -abi.EFAULT},
		{"mremap", args{at, 5 * pageSize, 6 * pageSize, 1}, -abi.EFAULT},
		{"mremap", args{at, pageSize, 2 * pageSize, 0}, -abi.ENOMEM},
		{"mremap", args{at, pageSize, 64<<20 + 1, 1}, -abi.ENOMEM},
		{"mremap", args{at, 4 * pageSize, 9 * pageSize, 0}, -abi.ENOMEM},
		{"mremap", args{at + 12*pageSize, pageSize, 2 * pageSize, 1}, -abi.EFAULT},
		{"mremap", args{at + 13*pageSize, pageSize, 2 * pageSize, 1}, -abi.EFAULT},
		{"mremap", args{at + 8*pageSize, pageSize, end, 1}, -abi.ENOMEM},
		{"mremap", args{at, max - pageMask, pageSize, 1}, -abi.EINVAL},
		{"mremap", args{at, 4 * pageSize, 4 * pageSize, 0}, at},
		{"madvise", args{at + 1, pageSize, madvDontNeed}, -abi.EINVAL},
		{"madvise", args{at, pageSize, 9}, -abi.EINVAL},
		{"madvise", args{at, pageSize, 1000}, -abi.EINVAL},
		{"madvise", args{at, max, madvDontNeed}, -abi.EINVAL},
		{"madvise", args{at, max - at - pageMask + pageSize, madvDontNeed}, -abi.EINVAL},
		{"madvise", args{at, 0, madvDontNeed}, 0},
		{"madvise", args{at, 5 * pageSize, madvDontNeed}, -abi.ENOMEM},
		{"madvise", args{at, 10 * pageSize, madvHugePage}, -abi.ENOMEM},
		{"madvise", args{at, 4 * pageSize, madvCollapse}, 0},
		{"madvise", args{at, 4 * pageSize, 15}, 0},
		{"madvise", args{at, 4 * pageSize, madvFree}, 0},
		{"madvise", args{at + 12*pageSize, pageSize, madvFree}, -abi.EINVAL},
		{"madvise", args{at + 12*pageSize, pageSize, madvDontNeed}, 0},
		{"madvise", args{at + 13*pageSize, pageSize, madvDontNeed}, -abi.EINVAL},
		{"madvise", args{at + 8*pageSize, pageSize, madvPopulateWrite}, -abi.EINVAL},
		{"madvise", args{at + 8*pageSize, pageSize, madvPopulateRead}, -abi.EINVAL},
		{"madvise", args{at, 5 * pageSize, madvPopulateWrite}, -abi.ENOMEM},
		{"madvise", args{end, pageSize, madvDontNeed}, -abi.ENOMEM},
		{"madvise", args{max - pageMask, pageSize, madvNormal}, -abi.EINVAL},
		{"brk", args{0}, at + 1<<20},
		{"brk", args{at}, at + 1<<20},
		{"brk", args{max}, at + 1<<20},
		{"brk", args{end - 1}, at + 1<<20},
		{"brk", args{at + 1<<20 + 65<<20}, at + 1<<20},
		{"brk", args{at + 1<<20 + 5}, at + 1<<20 + 5},
		{"brk", args{at + 1<<20 + 3*pageSize}, at + 1<<20 + 3*pageSize},
		{"brk", args{at + 1<<20}, at + 1<<20},
		{"image", args{at + 1, pageSize, 1, testImage}, -abi.EINVAL},
		{"image", args{4 * at, pageSize, 1, testImage + 8}, -abi.EINVAL},
		{"image", args{4 * at, 0, 1, testImage}, -abi.EINVAL},
		{"image", args{4 * at, pageSize, 1, max - pageMask}, -abi.EINVAL},
		{"image", args{4 * at, max, 1, testImage}, -abi.EINVAL},
		{"image", args{end, pageSize, 1, testImage}, -abi.ENOMEM},
		{"image", args{0, pageSize, 1, testImage}, -abi.ENOMEM},
		{"image", args{4 * at, pageSize, 7, testImage}, -abi.EACCES},
		{"image", args{at, pageSize, 1, testImage}, -abi.EEXIST},
		{"shim", args{at, testShim, 1}, -abi.EEXIST},
		{"shim", args{4 * at, testShim, 3}, -abi.EACCES},
		{"shim", args{4 * at, testShim + 1, 1}, -abi.EINVAL},
	} {
		if got := calls[c.call](c.args); got != c.want {
			t.Errorf("%s(%#x) = %d (%#x), want %d", c.call, c.args, got, got, c.want)
		}
		m.check(0)
	}
}

// TestPlacement covers where mappings go that may go anywhere.
func TestPlacement(t *testing.T) {
	m := newMachine(t, 4<<20, 64<<20, 1)
	const top = 0x7fff_0000_0000
	m.SetTop(top + 5)
	want(t, "first", m.Mmap(0, 0, 100, rw, anon), top-pageSize)
	want(t, "next below", m.Mmap(0, 0, 3*pageSize, 0, anon), top-4*pageSize)
	want(t, "a hint", m.Mmap(0, 0xc0_0000_0123, 64<<20, 0, anon), 0xc0_0000_0000)
	want(t, "the same hint", m.Mmap(0, 0xc0_0000_0000, pageSize, 0, anon), top-5*pageSize)
	want(t, "a hint below the lowest address", m.Mmap(0, 1, pageSize, 0, anon), top-6*pageSize) // Linux ignores page 0
	want(t, "a low hint", m.Mmap(0, pageSize, pageSize, 0, anon), abi.UserStart)
	want(t, "a hint above the end", m.Mmap(0, abi.UserEnd, pageSize, 0, anon), top-7*pageSize)
	want(t, "munmap", m.Munmap(0, top-4*pageSize, 2*pageSize), 0)
	want(t, "too big for the hole", m.Mmap(0, 0, 3*pageSize, rw, anon), top-10*pageSize)
	want(t, "into the hole", m.Mmap(0, 0, 2*pageSize, rw, anon), top-4*pageSize)
	want(t, "32 bits", m.Mmap(0, 0, pageSize, rw, anon|map32Bit), high32-pageSize)
	want(t, "100 TiB", m.Mmap(0, 0, 100<<40, 0, anon), top-10*pageSize-100<<40)
	want(t, "above the top", m.Mmap(0, 0, abi.UserEnd-top, 0, anon), top-10*pageSize-100<<40-(abi.UserEnd-top))
	m.check(0)
	want(t, "munmap", m.Munmap(0, 0, abi.UserEnd), 0)
	want(t, "all", m.Mmap(0, 0, abi.UserEnd-abi.UserStart, 0, anon), abi.UserStart)
	want(t, "nothing left", m.Mmap(0, 0, pageSize, 0, anon), -abi.ENOMEM)
	want(t, "munmap", m.Munmap(0, top+1<<20, pageSize), 0)
	want(t, "only a page above the top", m.Mmap(0, 0, pageSize, 0, anon), top+1<<20)
	m.check(0)
}

// TestFullArray fills the array of VMAs and works at its end.
func TestFullArray(t *testing.T) {
	m := newMachine(t, 4<<20, 64<<20, 1)
	const at = 1 << 30
	n := uint64(0)
	for ; ; n++ {
		if ret := m.Mmap(0, at+n*2*pageSize, pageSize, rw, anon|mapFixed); ret == -abi.ENOMEM {
			break
		}
	}
	if n != maxVMAs-1 {
		t.Fatalf("%d mappings", n)
	}
	want(t, "brk is not set", m.Brk(0, at), 0)
	want(t, "the last slot", m.MapImage(0, at/2, 3*pageSize, abi.ProtRead, testImage), at/2)
	want(t, "no slot", m.MapImage(0, at/4, pageSize, abi.ProtRead, testImage), -abi.ENOMEM)
	want(t, "split by munmap", m.Munmap(0, at/2+pageSize, pageSize), -abi.ENOMEM)
	want(t, "mprotect", m.Mprotect(0, at, pageSize, abi.ProtRead), -abi.ENOMEM)
	want(t, "growing moves", m.Mremap(0, at, pageSize, 4*pageSize, 1), -abi.ENOMEM)
	want(t, "growing stays", m.Mremap(0, at, pageSize, 2*pageSize, 1), at)
	want(t, "edges cut by munmap", m.Munmap(0, at+pageSize, 1<<29), 0)
	m.check(0)
	want(t, "munmap of all", m.Munmap(0, 0, abi.UserEnd), 0)
	m.check(0)
}

// TestRemapMoves moves many pages to where tables do not line up.
func TestRemapMoves(t *testing.T) {
	m := newMachine(t, 4<<20, 64<<20, 2)
	const at, n, top = 1 << 30, 3000, 0x7000_0012_3000
	m.SetTop(top)
	want(t, "mmap", m.Mmap(0, at, n*pageSize, rw, anon|mapFixed), at)
	for i := range uint64(n) {
		if out := m.store(int(i%2), at+i*pageSize, i+1); out != Handled {
			t.Fatalf("page %d: %d", i, out)
		}
	}
	m.check(0)
	want(t, "mremap of the middle", m.Mremap(0, at+pageSize, (n-2)*pageSize, 2*n*pageSize, 1), top-2*n*pageSize)
	m.check(0)
	for i := range uint64(n - 2) {
		if v, out := m.load(1, top-(2*n-i)*pageSize); out != Handled || v != i+2 {
			t.Fatalf("page %d: %d, %d", i, v, out)
		}
	}
	for a, w := range map[uint64]uint64{at: 1, at + (n-1)*pageSize: n, top - pageSize: 0} {
		if v, out := m.load(0, a); out != Handled || v != w {
			t.Fatalf("%#x: %d, %d", a, v, out)
		}
	}
	if _, out := m.load(0, at+pageSize); out != MapErr {
		t.Fatalf("old place: %d", out)
	}
	want(t, "munmap of all", m.Munmap(0, 0, abi.UserEnd), 0)
	m.check(0)
}

// TestFault lists faults that no sequence of calls leads to.
func TestFault(t *testing.T) {
	m := newMachine(t, 4<<20, 8<<20, 1)
	const at = 1 << 30
	want(t, "mmap", m.Mmap(0, at, pageSize, rw, anon|mapFixed), at)
	for _, c := range []struct {
		addr, errcode uint64
		want          Outcome
		flushes       int
	}{
		{at, 4 | faultWrite, Handled, 0},
		{at + 5, 4 | faultWrite, Handled, 1}, // the TLB was behind
		{at, 5, Handled, 2},
		{at, 5 | faultExec, AccErr, 2},
		{at, 5 | faultReserved, AccErr, 2},
		{at + pageSize, 4, MapErr, 2},
		{abi.UserEnd, 4, MapErr, 2},
		{1 << 47, 4, MapErr, 2},
		{DirectBase + testHeap, 5 | faultWrite, MapErr, 2},
		{^uint64(0), 5, MapErr, 2},
	} {
		if got := m.Fault(0, c.addr, c.errcode); got != c.want || m.flushes != c.flushes {
			t.Errorf("Fault(%#x, %#x) = %d after %d flushes, want %d after %d", c.addr, c.errcode, got, m.flushes, c.want, c.flushes)
		}
	}
	m.check(0)
}

// TestImage covers the copy of a page that was mapped in place when it was read-only.
func TestImage(t *testing.T) {
	m := newMachine(t, 4<<20, 8<<20, 2)
	const at = 1 << 30
	want(t, "MapImage", m.MapImage(0, at, 4*pageSize, abi.ProtRead|abi.ProtExec, testImage), at)
	for cpu := range 2 {
		if v, out := m.load(cpu, at+pageSize); out != Handled || v != imageWord(1) {
			t.Fatalf("load = %#x, %d", v, out)
		}
	}
	if st := m.Stats(); st.Frames != m.base.Frames+3 {
		t.Fatalf("reading the image took %d frames", st.Frames-m.base.Frames)
	}
	if out := m.store(0, at+pageSize, 1); out != AccErr {
		t.Fatalf("store = %d", out)
	}
	want(t, "mprotect", m.Mprotect(0, at, 2*pageSize, rw), 0)
	m.check(0)
	if v, out := m.load(0, at+pageSize); out != Handled || v != imageWord(1) {
		t.Fatalf("load = %#x, %d", v, out)
	}
	if _, out := m.load(1, at+pageSize); out != Handled {
		t.Fatal(out)
	}
	if out := m.store(0, at+pageSize, 7); out != Handled {
		t.Fatalf("store = %d", out)
	}
	m.check(0)
	if v, _ := m.load(1, at+pageSize); v != 7 {
		t.Fatalf("the other vCPU reads %#x", v)
	}
	want(t, "madvise", m.Madvise(0, at, 4*pageSize, madvDontNeed), 0)
	if v, _ := m.load(1, at+pageSize); v != imageWord(1) {
		t.Fatalf("dropped, it reads %#x", v)
	}
	m.check(0)
}

// SPDX-License-Identifier: Apache-2.0

package mem

import (
	"testing"

	"golang.org/x/sys/unix"

	"enarx.dev/enarx/internal/shim/abi"
)

// linux makes a system call and returns its result as the shim's program sees it.
func linux(nr uintptr, args ...uint64) int64 {
	var a [6]uintptr
	for i, v := range args {
		a[i] = uintptr(v)
	}
	r, _, errno := unix.RawSyscall6(nr, a[0], a[1], a[2], a[3], a[4], a[5])
	if errno != 0 {
		return -int64(errno)
	}
	return int64(r)
}

const noFD = ^uint64(0)

// TestAgainstLinux makes the same calls here and of the kernel below this test, in a
// range where neither has anything else, and compares the results.
func TestAgainstLinux(t *testing.T) {
	const at, area = 0x2345_4000_0000 - 32*pageSize, 64 // around a boundary between tables
	if got := linux(unix.SYS_MMAP, at, area*pageSize, 0, anon|mapFixedNoReplace, noFD, 0); got != at {
		t.Skipf("the kernel has no room at %#x: %d", uint64(at), got)
	}
	defer linux(unix.SYS_MUNMAP, at, area*pageSize)
	linux(unix.SYS_MUNMAP, at, area*pageSize)

	m := newMachine(t, 4<<20, 64<<20, 1)
	rounds := 60000
	if testing.Short() {
		rounds = 6000
	}
	r := newRand(3)
	pick := func(v ...uint64) uint64 { return v[r.IntN(len(v))] }
	max := ^uint64(0)
	for i := range rounds {
		addr := at + r.Uint64N(area)*pageSize
		n := min(1+r.Uint64N(16), (at+area*pageSize-addr)/pageSize) * pageSize
		prot := pick(0, 1, 2, 3, 4, 5)
		if r.IntN(12) == 0 {
			addr += pick(1, 8, 100)
		}
		if r.IntN(12) == 0 {
			n = pick(0, max, max-pageSize, max-addr, -addr, abi.UserEnd, abi.UserEnd+1, 1<<62)
		}
		var got, want int64
		var call string
		switch r.IntN(7) {
		case 0, 1:
			// Linux keeps apart what was ever accounted for, which mremap shows.
			flags := anon | mapNoReserve | pick(mapFixed, mapFixed, mapFixedNoReplace)
			if n > 1<<20 {
				prot = 0 // whether so much could be backed is a question of the machine
			}
			call, got, want = "mmap", m.Mmap(0, addr, n, prot, flags), linux(unix.SYS_MMAP, addr, n, prot, flags, noFD, 0)
		case 2:
			call, got, want = "munmap", m.Munmap(0, addr, n), linux(unix.SYS_MUNMAP, addr, n)
		case 3:
			if r.IntN(10) == 0 {
				prot = pick(8, 9, 16, 1<<30, 1<<40, max&^abi.ProtWrite)
			}
			call, got, want = "mprotect", m.Mprotect(0, addr, n, prot), linux(unix.SYS_MPROTECT, addr, n, prot)
		case 4, 5:
			flags := pick(0, 1)
			newLen := min(1+r.Uint64N(16), (at+area*pageSize-addr)/pageSize) * pageSize
			if r.IntN(12) == 0 {
				newLen = 0 // for silly lengths kernels before and since 6.17 differ
			}
			call, got, want = "mremap", m.Mremap(0, addr, n, newLen, flags), linux(unix.SYS_MREMAP, addr, n, newLen, flags, 0)
			if got > 0 && want > 0 && uint64(got) != addr && uint64(want) != addr {
				// Both moved it to a place of their own.
				m.Munmap(0, uint64(got), newLen)
				linux(unix.SYS_MUNMAP, uint64(want), newLen)
				want = got
			}
		case 6:
			advice := pick(0, 3, 4, 4, 8, 99, 1<<31) // not populating: Linux merges less then
			if end := addr + n; end > at+area*pageSize {
				n = pageSize // Linux would go on to the memory of this very test
			}
			call, got, want = "madvise", m.Madvise(0, addr, n, advice), linux(unix.SYS_MADVISE, addr, n, advice)
			prot = advice
		}
		if got != want {
			t.Fatalf("call %d: %s(%#x, %#x, %#x) = %d (%#x), Linux says %d (%#x)", i, call, addr, n, prot, got, got, want, want)
		}
	}
	m.check(0)
}

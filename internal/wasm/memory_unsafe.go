// SPDX-License-Identifier: Apache-2.0

package wasm

import (
	"unsafe"

	"github.com/tetratelabs/wazero/experimental"
	"golang.org/x/sys/unix"
)

// hugeFrom is the size from which huge pages are asked for: below it, rounding
// up to 2 MiB would cost more memory than it saves page faults.
const hugeFrom = 2 << 20

// linear is a guest's memory, reserved at its full size and made accessible
// as the guest grows. It never moves, is no part of Go's heap, so that a large
// guest does not make the collector think that there is work, and its
// untouched pages cost nothing.
type linear struct {
	reserved  unsafe.Pointer
	max       uint64
	committed uint64
}

// allocate implements experimental.MemoryAllocator. Out of memory shows as a
// nil buffer from Reallocate, which is memory.grow returning -1 in the guest.
func allocate(_, most uint64) experimental.LinearMemory {
	l := &linear{max: most}
	if most == 0 {
		return l
	}
	// MmapPtr and not Mmap: the latter keeps a map of slices, which pins
	// nothing useful here.
	p, err := unix.MmapPtr(-1, 0, nil, uintptr(most), unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE)
	if err != nil {
		l.max = 0
		return l
	}
	l.reserved = p
	return l
}

func (l *linear) Reallocate(size uint64) []byte {
	if size > l.max || l.reserved == nil {
		if size == 0 {
			return []byte{}
		}
		return nil
	}
	// Sound: reserved..reserved+max is one mapping that lives until Free, and
	// size is at most max.
	all := unsafe.Slice((*byte)(l.reserved), l.max)
	if size > l.committed { // whole pages of 64 KiB, so whole pages of the system
		grown := all[l.committed:size]
		if err := unix.Mprotect(grown, unix.PROT_READ|unix.PROT_WRITE); err != nil {
			return nil
		}
		if size >= hugeFrom {
			// A hint: a kernel or shim without huge pages may refuse it.
			_ = unix.Madvise(all[:size], unix.MADV_HUGEPAGE)
		}
		l.committed = size
	}
	return all[:size:size]
}

func (l *linear) Free() {
	if l.reserved != nil {
		_ = unix.MunmapPtr(l.reserved, uintptr(l.max))
		l.reserved, l.max, l.committed = nil, 0, 0
	}
}

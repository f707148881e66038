// SPDX-License-Identifier: Apache-2.0

package mem

import (
	"sync/atomic"
	"unsafe"
)

// phys is the direct map: guest-physical memory as the shim sees it. Addresses passed
// to its methods are those of heap frames, of page tables of the boot, and of image
// pages that the shim named: never one from the program or the host.
type phys struct{ base unsafe.Pointer }

// Init makes s the memory above the page table at root, whose upper half the loader
// has filled. Guest-physical address 0 is mapped at direct. The heap of heapLen bytes
// at heap is there already and may grow to limit bytes. It reports whether it can
// work with such a heap; on false, s must not be used.
func (s *Space) Init(direct unsafe.Pointer, root, heap, heapLen, limit uint64, hooks Hooks) bool {
	return s.init(phys{direct}, root, heap, heapLen, limit, hooks)
}

// Frame returns where the shim sees the frame at gpa.
func (s *Space) Frame(gpa uint64) unsafe.Pointer { return s.phys.at(gpa) }

func (p phys) at(gpa uint64) unsafe.Pointer { return unsafe.Add(p.base, gpa) }

// bytes returns n bytes of a frame from offset off; off+n is at most a page.
func (p phys) bytes(gpa, off, n uint64) []byte { return unsafe.Slice((*byte)(p.at(gpa+off)), n) }

// zero clears n neighbouring frames.
func (p phys) zero(gpa, n uint64) { clear(p.bytes(gpa, 0, n*pageSize)) }

// word32 and word64 return an aligned word of a frame.
func (p phys) word32(gpa, off uint64) *uint32 { return (*uint32)(p.at(gpa + off)) }
func (p phys) word64(gpa, off uint64) *uint64 { return (*uint64)(p.at(gpa + off)) }

// chunk returns entry i of a frame of metadata, which has groupChunks of them.
func (p phys) chunk(gpa, i uint64) *chunk { return (*chunk)(p.at(gpa + i*chunkBytes)) }

// vmas returns the array of VMAs in the vmaFrames frames at gpa.
func (p phys) vmas(gpa uint64) *vmaArray { return (*vmaArray)(p.at(gpa)) }

// table returns the page table at gpa.
func (p phys) table(gpa uint64) *table { return (*table)(p.at(gpa)) }

// table is a page table of any level. Other vCPUs walk it at any time, so that
// entries are read and written in one piece.
type table [tableEntries]uint64

func (t *table) set(i uint64, e uint64) { atomic.StoreUint64(&t[i%tableEntries], e) }
func (t *table) get(i uint64) uint64    { return atomic.LoadUint64(&t[i%tableEntries]) }

// ToShared copies n bytes of the program at addr to dst, memory shared with the host.
func (s *Space) ToShared(cpu uint32, dst unsafe.Pointer, addr, n uint64) bool {
	return n <= maxShared && s.CopyIn(cpu, unsafe.Slice((*byte)(dst), n), addr)
}

// FromShared copies n bytes at src, memory shared with the host, to the program at addr.
func (s *Space) FromShared(cpu uint32, addr uint64, src unsafe.Pointer, n uint64) bool {
	return n <= maxShared && s.CopyOut(cpu, addr, unsafe.Slice((*byte)(src), n))
}

// maxShared is more than any shared block has; it keeps unsafe.Slice from panicking.
const maxShared = 1 << 30

// SPDX-License-Identifier: Apache-2.0

// Package mem is the memory of a Keep: the physical frames of the private heap,
// the page tables, and the mappings of the one program above the shim, with the
// Linux calls that change them.
//
// It is freestanding code (no Go runtime below it) and trusts nobody: the program
// chooses the arguments of every call, the host may refuse memory and fills what it
// gives with what it likes. The host never chooses an address, and no frame's old
// content is ever shown: frames are zeroed when they are handed out.
//
// The program's memory is touched only through the direct map after a walk of the
// page tables by software, one page at a time with the lock held, so that SMAP stays
// on and no check can go stale before its use. Apart from that, all of this is
// ordinary code whose "physical memory" may be any block of bytes.
package mem

import (
	"enarx.dev/enarx/internal/shim/abi"
	"enarx.dev/enarx/internal/shim/spin"
)

// DirectBase is the virtual address at which the shim maps guest-physical address 0.
const DirectBase = 0xFFFF_8880_0000_0000

// Hooks are the privileged instructions and host calls that a Space needs. All are
// set, and all are called with the Space's lock held.
type Hooks struct {
	// Flush empties the calling vCPU's TLB of the program's mappings.
	Flush func()
	// Shootdown returns when no other vCPU can be in the program with a translation
	// that was made before the call and is not in the page tables any more. A vCPU
	// that is in the shim may have some, and must lose them before it goes back.
	Shootdown func(cpu uint32)
	// Grow asks the host for memory at gpa, right behind what there is.
	Grow func(cpu uint32, gpa, bytes uint64) bool
	// Release tells the host that the content of this memory is not needed.
	Release func(cpu uint32, gpa, bytes uint64)
}

// Space is the memory of a Keep. The shim has one static instance.
type Space struct {
	lock   spin.Lock // guards all below, the heap's metadata and the page tables of the lower half
	phys   phys
	root   uint64
	hooks  Hooks
	frames frames
	tables uint64 // page tables in use, those of the boot not counted
	pool   uint64 // GPA of the first page table kept for reuse, 0 if there is none
	pooled uint64

	vmas     *vmaArray
	n        int    // VMAs in use
	top      uint64 // mappings without a wish are placed below
	scan     uint64 // no hole above scan ...
	scanHole uint64 // ... has more bytes than this
	brkStart uint64
	brk      uint64
}

// Stats is a summary of what a Space holds.
type Stats struct {
	Frames   uint64 // frames in use, page tables and metadata included
	Tables   uint64 // page tables in use
	Pooled   uint64 // page tables kept for reuse
	VMAs     uint64
	Heap     uint64 // bytes of heap obtained from the host
	Released uint64 // bytes of those that hold nothing
}

func (s *Space) init(direct phys, root, heap, heapLen, limit uint64, hooks Hooks) bool {
	s.phys, s.root, s.hooks = direct, root, hooks
	if !s.frames.init(direct, heap, heapLen, limit) {
		return false
	}
	// Big tables live in the heap and not in .bss, all pages of which would be measured.
	gpa, ok := s.frames.run(vmaFrames)
	if !ok {
		return false
	}
	s.vmas = s.phys.vmas(gpa)
	s.SetTop(abi.UserEnd)
	ok = s.frames.fillSpare()
	for ok && s.frames.chunks < heapLen>>chunkShift {
		ok = s.frames.add() && s.frames.fillSpare()
	}
	return ok
}

// SetTop sets the address below which Mmap places what has no address of its own.
func (s *Space) SetTop(top uint64) {
	s.lock.Lock()
	if top > abi.UserEnd {
		top = abi.UserEnd
	}
	s.top = top &^ pageMask
	s.scan, s.scanHole = s.top, 0
	s.lock.Unlock()
}

// SetBrk sets where the area that Brk moves the end of begins.
func (s *Space) SetBrk(start uint64) {
	s.lock.Lock()
	s.brkStart, s.brk = start, start
	s.lock.Unlock()
}

// Stats returns what s holds at the moment.
func (s *Space) Stats() Stats {
	s.lock.Lock()
	st := Stats{
		Frames:   s.frames.used,
		Tables:   s.tables,
		Pooled:   s.pooled,
		VMAs:     uint64(s.n),
		Heap:     s.frames.chunks * chunkSize,
		Released: s.frames.count[listReleased] * chunkSize,
	}
	s.lock.Unlock()
	return st
}

// AllocFrame returns a zeroed frame that is the caller's until it calls FreeFrame. It
// is meant for what stays for long.
func (s *Space) AllocFrame(cpu uint32) (gpa uint64, ok bool) {
	s.lock.Lock()
	gpa, ok = s.allocFixed(cpu)
	s.lock.Unlock()
	return gpa, ok
}

// FreeFrame takes back a frame of AllocFrame, which no page table may hold any more.
func (s *Space) FreeFrame(gpa uint64) {
	s.lock.Lock()
	s.frames.free(gpa)
	s.lock.Unlock()
}

// SPDX-License-Identifier: Apache-2.0

package mem

import "enarx.dev/enarx/internal/shim/abi"

// The calls here take their arguments as the program gave them and return what
// Linux would: a result, or a negated errno. The order of the checks is Linux's
// (mm/mmap.c, mm/mprotect.c), because it decides which errno a caller sees.

// Flags of mmap.
const (
	mapShared         = 0x01
	mapPrivate        = 0x02
	mapDroppable      = 0x08
	mapType           = 0x0f
	mapFixed          = 0x10
	mapAnonymous      = 0x20
	map32Bit          = 0x40
	mapLocked         = 0x2000
	mapNoReserve      = 0x4000
	mapPopulate       = 0x8000
	mapHugeTLB        = 0x40000
	mapFixedNoReplace = 0x100000
)

// MAP_32BIT searches the second GiB, as Linux does.
const (
	low32  = 1 << 30
	high32 = 1 << 31
)

const (
	protAll = abi.ProtRead | abi.ProtWrite | abi.ProtExec
	protWX  = abi.ProtWrite | abi.ProtExec
	protSem = 0x8 // PROT_SEM, which means nothing

	protGrows = 0x300_0000 // PROT_GROWSDOWN and PROT_GROWSUP: nothing grows here
)

// pages rounds a length up to whole pages; it is zero if that is not possible.
func pages(length uint64) uint64 { return (length + pageMask) &^ pageMask }

// Mmap maps anonymous memory. The caller has checked that no descriptor is meant.
// Shared memory is refused: there is nobody to share it with, and nothing here
// remembers the difference.
func (s *Space) Mmap(cpu uint32, addr, length, prot, flags uint64) int64 {
	prot &= protAll
	kind := flags & mapType
	switch {
	case length == 0, flags&mapAnonymous == 0, kind != mapPrivate && kind != mapDroppable,
		kind == mapDroppable && flags&(mapLocked|mapHugeTLB) != 0:
		return abi.Err(abi.EINVAL)
	case length > abi.UserEnd, flags&mapHugeTLB != 0:
		return abi.Err(abi.ENOMEM)
	case prot&protWX == protWX:
		return abi.Err(abi.EACCES)
	}
	length = pages(length)
	s.lock.Lock()
	ret := s.mmap(cpu, addr, length, prot, flags)
	s.lock.Unlock()
	return ret
}

func (s *Space) mmap(cpu uint32, addr, length, prot, flags uint64) int64 {
	if prot&abi.ProtWrite != 0 && flags&mapNoReserve == 0 && !s.backable(length) || !s.room(2) {
		return abi.Err(abi.ENOMEM)
	}
	start, errno := s.choose(addr, length, flags)
	if errno != 0 {
		return abi.Err(errno)
	}
	end := start + length
	if s.overlaps(start, end) {
		// The tables stay: the new mapping is as likely to need them.
		s.clear(cpu, start, end, 0, 0)
		s.carve(start, end)
	}
	s.insert(vma{start: start, end: end, prot: uint8(prot), most: protAll, kind: kindAnon})
	if flags&(mapPopulate|mapLocked) != 0 && prot != 0 {
		s.populate(cpu, start, end) // failure is no error: the program may never touch it
	}
	return int64(start)
}

// backable reports whether the heap could ever hold so much at once.
func (s *Space) backable(length uint64) bool { return length <= s.frames.most*chunkSize }

// choose returns the address for a mapping: that asked for if it must or can be,
// and else one of ours.
func (s *Space) choose(addr, length, flags uint64) (uint64, int64) {
	if flags&(mapFixed|mapFixedNoReplace) != 0 {
		switch {
		case addr > abi.UserEnd-length:
			return 0, abi.ENOMEM
		case addr&pageMask != 0:
			return 0, abi.EINVAL
		case addr < abi.UserStart:
			return 0, abi.EPERM
		case flags&mapFixedNoReplace != 0 && s.overlaps(addr, addr+length):
			return 0, abi.EEXIST
		}
		return addr, 0
	}
	if addr &^= pageMask; addr != 0 {
		addr = max(addr, abi.UserStart)
		if addr <= abi.UserEnd-length && !s.overlaps(addr, addr+length) {
			return addr, 0
		}
	}
	var ok bool
	if flags&map32Bit != 0 {
		addr, _, ok = s.below(high32, low32, length)
	} else {
		addr, ok = s.place(length)
	}
	if !ok {
		return 0, abi.ENOMEM
	}
	return addr, 0
}

// Munmap removes all mappings in a range; holes in it are fine.
func (s *Space) Munmap(cpu uint32, addr, length uint64) int64 {
	if addr&pageMask != 0 || addr > abi.UserEnd || length > abi.UserEnd-addr || length == 0 {
		return abi.Err(abi.EINVAL)
	}
	s.lock.Lock()
	ret := s.munmap(cpu, addr, addr+pages(length))
	s.lock.Unlock()
	return ret
}

func (s *Space) munmap(cpu uint32, start, end uint64) int64 {
	i := s.find(start)
	if i == s.n || s.vmas[i].start >= end {
		return 0
	}
	if s.vmas[i].start < start && end < s.vmas[i].end && !s.room(1) {
		return abi.Err(abi.ENOMEM)
	}
	s.carve(start, end)
	floor, ceiling := s.gap(start, end)
	s.clear(cpu, start, end, floor, ceiling)
	return 0
}

// Mprotect changes the protection of a range. What is mapped before a hole is
// changed even though the call fails then, as on Linux.
func (s *Space) Mprotect(cpu uint32, addr, length, prot uint64) int64 {
	if addr&pageMask != 0 || prot&protGrows == protGrows {
		return abi.Err(abi.EINVAL)
	}
	if length == 0 {
		return 0
	}
	end := addr + pages(length)
	switch {
	case end <= addr:
		return abi.Err(abi.ENOMEM)
	case prot&^(protAll|protSem) != 0:
		return abi.Err(abi.EINVAL)
	case prot&protWX == protWX:
		return abi.Err(abi.EACCES)
	}
	s.lock.Lock()
	ret := s.mprotect(cpu, addr, end, uint8(prot&protAll))
	s.lock.Unlock()
	return ret
}

func (s *Space) mprotect(cpu uint32, start, end uint64, prot uint8) int64 {
	ret := int64(0)
	if upTo := s.mappedUpTo(start, end); upTo < end {
		end, ret = upTo, abi.Err(abi.ENOMEM)
		if end <= start {
			return ret
		}
	}
	if !s.room(2) {
		return abi.Err(abi.ENOMEM)
	}
	i := s.find(start)
	for j := i; j < s.n && s.vmas[j].start < end; j++ {
		if prot&^s.vmas[j].most != 0 {
			return abi.Err(abi.EACCES)
		}
	}
	s.split(start)
	s.split(end)
	i = s.find(start)
	j := i
	for ; j < s.n && s.vmas[j].start < end; j++ {
		s.vmas[j].prot = prot
	}
	s.merge(i, j)
	if s.protect(start, end, prot) {
		s.flushAll(cpu)
	}
	return ret
}

// protect gives the entries of a range another protection and reports whether a TLB
// may hold more than they allow now.
func (s *Space) protect(start, end uint64, prot uint8) (narrowed bool) {
	for addr := start; addr < end; {
		t, next := s.leaf(addr)
		next = min(next, end)
		for ; t != nil && addr < next; addr += pageSize {
			i := index(addr, 1)
			if old := t.get(i); old != 0 {
				e := reprotect(old, prot)
				if e != old {
					t.set(i, e)
				}
				narrowed = narrowed || narrows(old, e)
			}
		}
		addr = next
	}
	return narrowed
}

// Brk moves the end of the brk area and returns where it is now: the old place if
// it cannot be moved.
func (s *Space) Brk(cpu uint32, addr uint64) int64 {
	s.lock.Lock()
	if addr >= s.brkStart && addr < abi.UserEnd && s.brkStart != 0 {
		was, now := pages(s.brk), pages(addr)
		switch {
		case now < was:
			if s.munmap(cpu, now, was) == 0 {
				s.brk = addr
			}
		case now == was:
			s.brk = addr
		case now < abi.UserEnd && s.room(1) && s.backable(now-was) && !s.overlaps(was, now+pageSize):
			s.insert(vma{start: was, end: now, prot: abi.ProtRead | abi.ProtWrite, most: protAll, kind: kindAnon})
			s.brk = addr
		}
	}
	ret := int64(s.brk)
	s.lock.Unlock()
	return ret
}

// MapImage maps pages of the image at gpa, where nothing is mapped yet. They are
// shown in place while they are read-only, and copied where the mapping is writable.
func (s *Space) MapImage(cpu uint32, addr, length, prot, gpa uint64) int64 {
	return s.mapAt(addr, length, vma{gpa: gpa, prot: uint8(prot & protAll), most: protAll, kind: kindImage})
}

// MapShimPage maps one page of the shim's, where nothing is mapped yet. The program
// may unmap it, and give it less protection but never more; it is never writable.
func (s *Space) MapShimPage(cpu uint32, addr, gpa, prot uint64) int64 {
	p := uint8(prot & protAll)
	return s.mapAt(addr, pageSize, vma{gpa: gpa, prot: p, most: p, kind: kindShim})
}

// mapAt adds a mapping of pages that exist already.
func (s *Space) mapAt(addr, length uint64, v vma) int64 {
	switch {
	case (addr|v.gpa)&pageMask != 0, length == 0, v.gpa == 0, v.gpa >= physMax, length > physMax-v.gpa:
		return abi.Err(abi.EINVAL)
	case addr < abi.UserStart, length > abi.UserEnd, addr > abi.UserEnd-pages(length):
		return abi.Err(abi.ENOMEM)
	case v.prot&protWX == protWX, v.kind == kindShim && v.prot&abi.ProtWrite != 0:
		return abi.Err(abi.EACCES)
	}
	v.start, v.end = addr, addr+pages(length)
	s.lock.Lock()
	ret := int64(addr)
	if s.overlaps(v.start, v.end) {
		ret = abi.Err(abi.EEXIST)
	} else if !s.room(1) {
		ret = abi.Err(abi.ENOMEM)
	} else {
		s.insert(v)
	}
	s.lock.Unlock()
	return ret
}

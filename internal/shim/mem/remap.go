// SPDX-License-Identifier: Apache-2.0

package mem

import "enarx.dev/enarx/internal/shim/abi"

const mremapMayMove = 1

// Mremap changes the size of a mapping, which may move it. MREMAP_FIXED and
// MREMAP_DONTUNMAP are refused; only anonymous memory grows.
func (s *Space) Mremap(cpu uint32, addr, oldLen, newLen, flags uint64) int64 {
	if flags&^mremapMayMove != 0 || addr&pageMask != 0 {
		return abi.Err(abi.EINVAL)
	}
	oldPages, newPages := pages(oldLen), pages(newLen)
	if newPages == 0 || newPages > abi.UserEnd {
		return abi.Err(abi.EINVAL)
	}
	s.lock.Lock()
	ret := s.mremap(cpu, addr, oldPages, newPages, flags)
	s.lock.Unlock()
	return ret
}

func (s *Space) mremap(cpu uint32, addr, oldLen, newLen, flags uint64) int64 {
	v := s.lookup(addr)
	switch {
	case v == nil:
		return abi.Err(abi.EFAULT)
	case oldLen == 0:
		return abi.Err(abi.EINVAL) // copies a shared mapping, and there are none
	case oldLen >= newLen:
		if oldLen > newLen {
			if oldLen > abi.UserEnd-addr {
				return abi.Err(abi.EINVAL)
			}
			if ret := s.munmap(cpu, addr+newLen, addr+oldLen); ret != 0 {
				return ret
			}
		}
		return int64(addr)
	case oldLen > v.end-addr, v.kind != kindAnon:
		return abi.Err(abi.EFAULT)
	case v.prot&abi.ProtWrite != 0 && !s.backable(newLen):
		return abi.Err(abi.ENOMEM)
	}
	prot := v.prot
	if end := addr + oldLen; v.end == end && newLen <= abi.UserEnd-addr && !s.overlaps(end, addr+newLen) {
		s.insert(vma{start: end, end: addr + newLen, prot: prot, most: v.most, kind: kindAnon}) // merges: no room needed
		return int64(addr)
	}
	if flags&mremapMayMove == 0 || !s.room(2) {
		return abi.Err(abi.ENOMEM)
	}
	to, ok := s.place(newLen)
	if !ok || !s.relocate(cpu, addr, to, oldLen, newLen, prot) {
		return abi.Err(abi.ENOMEM)
	}
	return int64(to)
}

// relocate moves a mapping to a free range. Page-table entries move, and not bytes.
func (s *Space) relocate(cpu uint32, from, to, oldLen, newLen uint64, prot uint8) bool {
	// All that can fail comes first.
	if !s.makeTables(cpu, from, to, oldLen) {
		floor, ceiling := s.gap(to, to+newLen)
		s.clear(cpu, to, to+newLen, floor, ceiling)
		return false
	}
	end := from + oldLen
	s.insert(vma{start: to, end: to + newLen, prot: prot, most: protAll, kind: kindAnon})
	s.carve(from, end)
	floor, ceiling := s.gap(from, end)
	root := s.phys.table(s.root)
	// As in clear: no CPU may use the old address when the frame appears at the new one.
	if s.unlink(root, topLevel, 0, from, end, floor, ceiling) {
		s.flushAll(cpu)
	}
	for addr := from; addr < end; {
		t, next := s.leaf(addr)
		next = min(next, end)
		for ; t != nil && addr < next; addr += pageSize {
			if e := t.get(index(addr, 1)); e != 0 {
				t.set(index(addr, 1), 0)
				at := to + (addr - from)
				if dst, _ := s.leaf(at); dst != nil {
					dst.set(index(at, 1), reprotect(e, prot))
				}
			}
		}
		addr = next
	}
	s.reap(root, topLevel, 0, from, end, floor, ceiling)
	s.trim(cpu)
	return true
}

// makeTables makes the page tables at to that the entries at from need there.
func (s *Space) makeTables(cpu uint32, from, to, length uint64) bool {
	for addr := from; addr < from+length; {
		t, next := s.leaf(addr)
		next = min(next, from+length)
		if t != nil {
			at := to + (addr - from)
			last := to + (next - pageSize - from) // two tables if the ranges do not line up
			if s.makeLeaf(cpu, at, tableFlags) == nil || s.makeLeaf(cpu, last, tableFlags) == nil {
				return false
			}
		}
		addr = next
	}
	return true
}

// SPDX-License-Identifier: Apache-2.0

package mem

import "enarx.dev/enarx/internal/shim/abi"

// Outcome is what became of a page fault.
type Outcome uint8

// Outcomes of Fault.
const (
	Handled  Outcome = iota // try again
	MapErr                  // SEGV_MAPERR: nothing is mapped there
	AccErr                  // SEGV_ACCERR: the mapping does not allow it
	NoMemory                // no frame can be had
)

// Bits of a page fault's error code.
const (
	faultWrite    = 1 << 1
	faultReserved = 1 << 3
	faultExec     = 1 << 4
)

// around is how many pages are backed at once when memory is touched in rising order:
// a fault costs more than zeroing a page. Memory touched here and there gets what it
// touches.
const around = 16

// Fault serves a page fault of the program.
func (s *Space) Fault(cpu uint32, addr, errcode uint64) Outcome {
	need := uint8(abi.ProtRead)
	switch {
	case errcode&faultWrite != 0:
		need = abi.ProtWrite
	case errcode&faultExec != 0:
		need = abi.ProtExec
	}
	if errcode&faultReserved != 0 {
		return AccErr // a damaged table cannot be repaired by trying again
	}
	s.lock.Lock()
	out := Handled
	if s.permitted(addr, need) != 0 {
		s.hooks.Flush() // another vCPU was faster, or this one's TLB is behind
	} else {
		_, out = s.access(cpu, addr, need)
	}
	s.lock.Unlock()
	return out
}

// allows reports whether an access of the kind is allowed. As the CPU has it, what
// may be written or run may be read.
func allows(prot, need uint8) bool {
	return prot&need != 0 || need == abi.ProtRead && prot != 0
}

// access makes an access possible that the mapping allows, and returns the entry
// for the page.
func (s *Space) access(cpu uint32, addr uint64, need uint8) (uint64, Outcome) {
	if e := s.permitted(addr, need); e != 0 {
		return e, Handled
	}
	v := s.lookup(addr)
	switch {
	case v == nil:
		return 0, MapErr
	case !allows(v.prot, need):
		return 0, AccErr
	}
	t := s.makeLeaf(cpu, addr, tableFlags)
	if t == nil {
		return 0, NoMemory
	}
	e := s.back(cpu, v, t, addr&^pageMask)
	if e == 0 {
		return 0, NoMemory
	}
	if i := index(addr, 1); v.kind == kindAnon && i > 0 && t.get(i-1) != 0 {
		s.backMore(cpu, v, t, addr&^pageMask+pageSize)
	}
	return e, Handled
}

// permitted returns the entry for the page at addr if it allows an access of the
// kind, and else zero.
func (s *Space) permitted(addr uint64, need uint8) uint64 {
	if addr < abi.UserEnd {
		if t, _ := s.leaf(addr); t != nil {
			if e := t.get(index(addr, 1)); permits(e, need) {
				return e
			}
		}
	}
	return 0
}

// permits reports whether an entry allows an access of the kind.
func permits(e uint64, need uint8) bool {
	switch need {
	case abi.ProtWrite:
		return e&(ptePresent|pteWrite) == ptePresent|pteWrite
	case abi.ProtExec:
		return e&(ptePresent|pteNX) == ptePresent
	}
	return e&ptePresent != 0
}

// back makes the entry for the page at addr what it must be for v, and returns it;
// it is zero if no frame can be had.
func (s *Space) back(cpu uint32, v *vma, t *table, addr uint64) uint64 {
	i := index(addr, 1)
	old := t.get(i)
	if old&pteOwned != 0 {
		return old
	}
	source := v.gpa + (addr - v.start)
	if v.kind == kindShim || v.kind == kindImage && v.prot&abi.ProtWrite == 0 {
		e := source | leafFlags(v.prot, false)
		t.set(i, e)
		return e
	}
	gpa, ok := s.alloc(cpu)
	if !ok {
		return 0
	}
	if v.kind == kindImage {
		// A page of a writable mapping is copied as soon as it is read: replacing it at
		// the first write would need all TLBs emptied. That is left for pages that
		// were mapped before mprotect made them writable.
		copy(s.phys.bytes(gpa, 0, pageSize), s.phys.bytes(source, 0, pageSize))
		if old&ptePresent != 0 {
			t.set(i, 0)
			s.flushAll(cpu)
		}
	}
	e := gpa | leafFlags(v.prot, true)
	t.set(i, e)
	return e
}

// backMore backs the pages behind one that was touched, in the same table and mapping.
func (s *Space) backMore(cpu uint32, v *vma, t *table, addr uint64) {
	end := min(addr+(around-1)*pageSize, v.end, (addr-pageSize)&^(span(2)-1)+span(2))
	for ; addr < end && t.get(index(addr, 1)) == 0; addr += pageSize {
		gpa, ok := s.frames.get()
		if !ok {
			return // what nobody asked for is not worth growing
		}
		s.phys.zero(gpa, 1)
		t.set(index(addr, 1), gpa|leafFlags(v.prot, true))
	}
}

// populate backs all pages of a range of one mapping.
func (s *Space) populate(cpu uint32, start, end uint64) bool {
	v := s.lookup(start)
	for addr := start; v != nil && addr < end; {
		t := s.makeLeaf(cpu, addr, tableFlags)
		if t == nil {
			return false
		}
		for next := min(addr&^(span(2)-1)+span(2), end); addr < next; addr += pageSize {
			if s.back(cpu, v, t, addr) == 0 {
				return false
			}
		}
	}
	return true
}

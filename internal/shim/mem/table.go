// SPDX-License-Identifier: Apache-2.0

package mem

import "enarx.dev/enarx/internal/shim/abi"

// Bits of a page-table entry: Intel SDM volume 3A, section 5.5; AMD APM volume 2, section 5.4.
const (
	ptePresent  = 1 << 0
	pteWrite    = 1 << 1
	pteUser     = 1 << 2
	pteAccessed = 1 << 5
	pteDirty    = 1 << 6
	pteLarge    = 1 << 7
	pteGlobal   = 1 << 8
	pteOwned    = 1 << 9 // ignored by the CPU: the frame is the allocator's and this entry's alone
	pteNX       = 1 << 63

	// cbit marks private pages under SEV-SNP; without it there is no such bit.
	cbit = 0

	physMax  = 1 << 51
	addrMask = (physMax - 1) &^ pageMask &^ cbit

	// Accessed and dirty are set from the start: nothing reads them, and a CPU that
	// never has to set them never writes to a table behind our back.
	tableFlags = ptePresent | pteWrite | pteUser | pteAccessed | cbit

	tableEntries = 512
	topLevel     = 4
	lowerHalf    = 1 << 47
)

// An entry of a leaf table is zero, or present, or it holds a frame that may not be
// accessed at the moment (PROT_NONE): owned, and not present.

// Flags of KernelMap.
const (
	KernelWrite  = pteWrite
	KernelGlobal = pteGlobal
	KernelNX     = pteNX
	KernelShared = 1 << 10 // shared with the host: no C-bit
)

// index returns va's entry in a table of the level, 1 for leaf tables.
func index(va uint64, level uint) uint64 { return va >> (pageShift + 9*(level-1)) % tableEntries }

// span is how much address space an entry of a table of the level covers.
func span(level uint) uint64 { return 1 << (pageShift + 9*(level-1)) }

// leafFlags returns the flags of the entry for a page of a mapping with this
// protection. Frames that are not owned are never writable: they belong to the image.
func leafFlags(prot uint8, owned bool) uint64 {
	e := uint64(pteUser | pteAccessed | pteDirty | pteNX | cbit)
	if owned {
		e |= pteOwned
	}
	if prot != 0 {
		e |= ptePresent
	}
	if prot&abi.ProtWrite != 0 && owned {
		e |= pteWrite
	}
	if prot&abi.ProtExec != 0 {
		e &^= pteNX
	}
	return e
}

// reprotect returns e with the flags for another protection.
func reprotect(e uint64, prot uint8) uint64 {
	return e&addrMask | leafFlags(prot, e&pteOwned != 0)
}

// narrows reports whether a translation cached from old allows what e does not.
func narrows(old, e uint64) bool {
	return old&ptePresent != 0 && (old&^e&(ptePresent|pteWrite) != 0 || e&^old&pteNX != 0)
}

// leaf returns the table that holds the entry for addr, or nil and how far from addr
// on there is no table either. Entries that unlink has made not present count: while
// the lock is held, an entry above the leaves is a table unless it is zero.
func (s *Space) leaf(addr uint64) (t *table, next uint64) {
	t = s.phys.table(s.root)
	for level := uint(topLevel); level > 1; level-- {
		e := t.get(index(addr, level))
		if e == 0 {
			return nil, addr&^(span(level)-1) + span(level)
		}
		t = s.phys.table(e & addrMask)
	}
	return t, addr&^(span(2)-1) + span(2)
}

// makeLeaf returns the table that holds the entry for addr, with all tables above.
func (s *Space) makeLeaf(cpu uint32, addr, flags uint64) *table {
	t := s.phys.table(s.root)
	for level := uint(topLevel); level > 1; level-- {
		i := index(addr, level)
		e := t.get(i)
		if e == 0 {
			gpa, ok := s.newTable(cpu)
			if !ok {
				return nil // tables made so far stay; the next unmap around them finds them
			}
			e = gpa | flags
			t.set(i, e)
		}
		if e&pteLarge != 0 {
			return nil
		}
		t = s.phys.table(e & addrMask)
	}
	return t
}

// newTable returns an empty page table.
func (s *Space) newTable(cpu uint32) (gpa uint64, ok bool) {
	if gpa = s.pool; gpa != 0 {
		t := s.phys.table(gpa)
		s.pool = t.get(0)
		t.set(0, 0)
		s.pooled--
	} else if gpa, ok = s.allocFixed(cpu); !ok {
		return 0, false
	}
	s.tables++
	return gpa, true
}

// dropTable keeps an empty page table for reuse. It never becomes anything else: a
// vCPU that is in the shim is not waited for when TLBs are emptied, and may walk the
// table speculatively until it leaves. In a table it finds entries that are not
// present, or have their accessed bit set, and writes nothing; in the program's data
// it could set bits. The link to the next one, a page-aligned address, is an entry
// that is not present.
func (s *Space) dropTable(gpa uint64) {
	s.phys.table(gpa).set(0, s.pool)
	s.pool = gpa
	s.tables--
	s.pooled++
}

// clear removes all pages in [start, end), and all page tables that serve nothing
// outside of [floor, ceiling), in which no other mapping may lie. Two passes: the
// first makes entries not present but keeps what they point to, so that no list of
// frames is needed while the TLBs are emptied, and only then does the second free.
func (s *Space) clear(cpu uint32, start, end, floor, ceiling uint64) {
	root := s.phys.table(s.root)
	if s.unlink(root, topLevel, 0, start, end, floor, ceiling) {
		s.flushAll(cpu)
	}
	s.reap(root, topLevel, 0, start, end, floor, ceiling)
	s.trim(cpu)
}

// flushAll makes every vCPU forget what is not in the page tables any more.
func (s *Space) flushAll(cpu uint32) {
	s.hooks.Flush()
	s.hooks.Shootdown(cpu)
}

// unlink makes the entries for [start, end) not present, and of a table that goes
// away as a whole only the entry above: the caches of upper levels must not lead to
// the leaves either. It reports whether a CPU may have cached anything.
func (s *Space) unlink(t *table, level uint, base, start, end, floor, ceiling uint64) (cached bool) {
	size := span(level)
	for i := index(max(start, base), level); i < tableEntries; i++ {
		at := base + i*size
		if at >= end {
			break
		}
		e := t.get(i)
		switch {
		case e == 0:
		case level == 1 || at >= floor && at+size <= ceiling:
			if e&ptePresent != 0 {
				t.set(i, e&^ptePresent)
				cached = true
			}
		case s.unlink(s.phys.table(e&addrMask), level-1, at, start, end, floor, ceiling):
			cached = true
		}
	}
	return cached
}

// reap frees what unlink has left behind.
func (s *Space) reap(t *table, level uint, base, start, end, floor, ceiling uint64) {
	size := span(level)
	for i := index(max(start, base), level); i < tableEntries; i++ {
		at := base + i*size
		if at >= end {
			break
		}
		e := t.get(i)
		if e == 0 {
			continue
		}
		if level > 1 {
			whole := at >= floor && at+size <= ceiling
			if !whole {
				s.reap(s.phys.table(e&addrMask), level-1, at, start, end, floor, ceiling)
				continue
			}
			s.reap(s.phys.table(e&addrMask), level-1, at, at, at+size, floor, ceiling)
			s.dropTable(e & addrMask)
		} else if e&pteOwned != 0 {
			s.frames.free(e & addrMask)
		}
		t.set(i, 0)
	}
}

// KernelMap maps the page at gpa at va in the upper half, where nothing is mapped
// yet. A page is writable or executable, never both.
func (s *Space) KernelMap(cpu uint32, va, gpa, flags uint64) bool {
	const known = KernelWrite | KernelGlobal | KernelNX | KernelShared
	if va>>47 != 1<<17-1 || (va|gpa)&pageMask != 0 || gpa >= physMax || flags&^known != 0 ||
		flags&(KernelWrite|KernelNX) == KernelWrite {
		return false
	}
	e := gpa | flags&^KernelShared | ptePresent | pteAccessed | pteDirty
	if flags&KernelShared == 0 {
		e |= cbit
	}
	s.lock.Lock()
	ok := false
	if t := s.makeLeaf(cpu, va, tableFlags&^pteUser); t != nil {
		i := index(va, 1)
		if old := t.get(i); old == 0 {
			t.set(i, e)
			ok = true
		} else {
			ok = old == e
		}
	}
	s.lock.Unlock()
	return ok
}

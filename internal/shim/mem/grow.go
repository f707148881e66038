// SPDX-License-Identifier: Apache-2.0

package mem

// Growing takes memory from the host, trimming gives it back. Neither changes what
// addresses the heap may have: it is one range that only gets longer.

const (
	maxStep = 1 << 30 // most to ask the host for at once: the shim touches metadata for all of it

	// The host is told of free memory when more than maxIdle chunks of it have
	// gathered, and keepIdle chunks stay: a program that frees and allocates in
	// turn should not make a host call each time.
	maxIdle  = 8
	keepIdle = 4
)

// alloc returns a zeroed frame for a page of the program, growing the heap if it must.
func (s *Space) alloc(cpu uint32) (uint64, bool) {
	gpa, ok := s.frames.get()
	if !ok && s.grow(cpu) {
		gpa, ok = s.frames.get()
	}
	if !ok {
		gpa, ok = s.frames.getFixed() // the last resort: what is set aside for page tables
	}
	if ok {
		s.phys.zero(gpa, 1)
	}
	return gpa, ok
}

// allocFixed is alloc for page tables and other frames that stay.
func (s *Space) allocFixed(cpu uint32) (uint64, bool) {
	gpa, ok := s.frames.getFixed()
	if !ok && s.grow(cpu) {
		gpa, ok = s.frames.getFixed()
	}
	if !ok {
		gpa, ok = s.frames.get()
	}
	if ok {
		s.phys.zero(gpa, 1)
	}
	return gpa, ok
}

// grow takes memory from the host: twice as much as the last time, or if the host
// refuses, as much as it gives.
func (s *Space) grow(cpu uint32) bool {
	f := &s.frames
	left := (f.most - f.chunks) * chunkSize
	bytes := min(f.step, left)
	for bytes != 0 && !s.hooks.Grow(cpu, f.heap+f.chunks*chunkSize, bytes) {
		bytes = bytes / 2 &^ (chunkSize - 1)
	}
	if bytes == 0 {
		return false
	}
	f.step = min(bytes*2, maxStep)
	for end := f.chunks + bytes>>chunkShift; f.chunks < end; {
		// Each step lives on the spare frames and refills them from what it adds.
		if !s.mapDirect(f.heap+f.chunks*chunkSize) || !f.add() || !f.fillSpare() {
			return false
		}
	}
	return true
}

// mapDirect adds the chunk at gpa to the direct map. Nothing was there before, so
// no TLB has to know.
func (s *Space) mapDirect(gpa uint64) bool {
	va := uint64(DirectBase) + gpa
	t := s.phys.table(s.root)
	for level := uint(topLevel); level > 2; level-- {
		i := index(va, level)
		e := t.get(i)
		if e&pteLarge != 0 {
			return true // the loader mapped all of it with a page of 1 GiB
		}
		if e == 0 {
			next, ok := s.frames.takeSpare()
			if !ok {
				return false
			}
			s.phys.zero(next, 1)
			s.tables++ // not from the pool: growing must not depend on there being one
			e = next | tableFlags&^pteUser
			t.set(i, e)
		}
		t = s.phys.table(e & addrMask)
	}
	if i := index(va, 2); t.get(i) == 0 {
		t.set(i, gpa|ptePresent|pteWrite|pteAccessed|pteDirty|pteLarge|pteGlobal|pteNX|cbit)
	}
	return true
}

// trim gives back free memory if there is much of it. The caller has made sure that
// no TLB holds a translation to a free frame.
func (s *Space) trim(cpu uint32) {
	f := &s.frames
	if f.count[listIdle] <= maxIdle {
		return
	}
	for f.count[listIdle] > keepIdle {
		first := uint64(f.head[listIdle] - 1)
		last := first
		for first > 0 && f.chunk(first-1).list == listIdle {
			first--
		}
		for last+1 < f.chunks && f.chunk(last+1).list == listIdle {
			last++
		}
		// Never more than the excess: the rest of a long run is kept.
		if excess := f.count[listIdle] - keepIdle; last-first+1 > excess {
			first = last + 1 - excess
		}
		for i := first; i <= last; i++ {
			f.move(uint32(i), f.chunk(i), listReleased)
		}
		s.hooks.Release(cpu, f.heap+first*chunkSize, (last-first+1)*chunkSize)
	}
}

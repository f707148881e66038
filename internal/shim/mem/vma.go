// SPDX-License-Identifier: Apache-2.0

package mem

import "enarx.dev/enarx/internal/shim/abi"

// Kinds of VMA.
const (
	kindAnon  = iota // zeroed frames on demand
	kindImage        // pages of the measured image: shown in place, or copied if writable
	kindShim         // one page that the shim gave
)

// vma is a range of addresses with one protection and one origin.
type vma struct {
	start, end uint64
	gpa        uint64 // of the page at start, unless anonymous
	prot, most uint8  // protection, and the most that mprotect may give
	kind       uint8
}

const (
	maxVMAs   = 16384 - 4 // what a program can have
	slots     = maxVMAs + 4
	vmaFrames = slots * 32 / pageSize
)

// vmaArray holds the VMAs by address. The slots above maxVMAs are for the moment
// between splitting at the edges of a range and removing what is in it.
type vmaArray [slots]vma

// find returns the index of the first VMA that ends above addr, which is the one
// that holds addr if one does.
func (s *Space) find(addr uint64) int {
	lo, hi := 0, s.n
	for lo < hi {
		if mid := int(uint(lo+hi) / 2); s.vmas[mid].end > addr {
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	return lo
}

// lookup returns the VMA that holds addr, or nil.
func (s *Space) lookup(addr uint64) *vma {
	if i := s.find(addr); i < s.n && s.vmas[i].start <= addr {
		return &s.vmas[i]
	}
	return nil
}

// overlaps reports whether anything is mapped in [start, end).
func (s *Space) overlaps(start, end uint64) bool {
	i := s.find(start)
	return i < s.n && s.vmas[i].start < end
}

// mappedUpTo returns the end of the mappings that follow start without a hole, at
// most end; it is start if nothing is mapped there.
func (s *Space) mappedUpTo(start, end uint64) uint64 {
	for i := s.find(start); i < s.n && s.vmas[i].start <= start && start < end; i++ {
		start = s.vmas[i].end
	}
	return min(start, end)
}

// gap returns the hole around [start, end), in which nothing is mapped.
func (s *Space) gap(start, end uint64) (floor, ceiling uint64) {
	i := s.find(start)
	ceiling = lowerHalf // and not UserEnd, which is inside of what the last table covers
	if i < s.n {
		ceiling = s.vmas[i].start
	}
	if i > 0 {
		floor = s.vmas[i-1].end
	}
	return floor, ceiling
}

// shift moves all VMAs from index i on by d slots.
func (s *Space) shift(i, d int) {
	copy(s.vmas[i+d:], s.vmas[i:s.n])
	s.n += d
}

// split makes addr an edge between VMAs if it is inside one.
func (s *Space) split(addr uint64) {
	i := s.find(addr)
	if i == s.n || s.vmas[i].start >= addr {
		return
	}
	s.shift(i, 1)
	s.vmas[i].end = addr
	v := &s.vmas[i+1]
	if v.kind != kindAnon {
		v.gpa += addr - v.start
	}
	v.start = addr
}

// room reports whether there is room for n more VMAs.
func (s *Space) room(n int) bool { return s.n+n <= maxVMAs }

// carve removes all mappings in [start, end) from the array. One that reaches
// beyond both ends becomes two.
func (s *Space) carve(start, end uint64) {
	s.split(start)
	s.split(end)
	i := s.find(start)
	j := i
	for j < s.n && s.vmas[j].start < end {
		j++
	}
	s.shift(j, i-j)
	if end > s.scan {
		// The hole at the top of what was searched so far has grown.
		if _, s.scan = s.gap(start, end); s.scan >= s.top {
			s.scan, s.scanHole = s.top, 0
		}
	}
}

// insert adds a VMA where nothing is mapped.
func (s *Space) insert(v vma) {
	i := s.find(v.start)
	s.shift(i, 1)
	s.vmas[i] = v
	s.merge(i, i+1)
}

// merge joins the VMAs from index i-1 to j with their neighbours where they are alike.
func (s *Space) merge(i, j int) {
	for k := min(j, s.n-1); k >= i && k > 0; k-- {
		a, b := &s.vmas[k-1], &s.vmas[k]
		if a.end == b.start && a.prot == b.prot && a.most == b.most && a.kind == b.kind &&
			(a.kind == kindAnon || a.gpa+a.end-a.start == b.gpa) {
			a.end = b.end
			s.shift(k+1, -1)
		}
	}
}

// place finds a free range for a mapping, the highest below the top of the area as
// Linux does. It remembers how far it came and the largest hole it passed, so that
// mapping many things one after another does not search them all each time.
func (s *Space) place(length uint64) (uint64, bool) {
	if length <= s.scanHole {
		s.scan, s.scanHole = s.top, 0
	}
	if addr, hole, ok := s.below(s.scan, abi.UserStart, length); ok {
		s.scan, s.scanHole = addr+length, max(s.scanHole, hole)
		return addr, true
	}
	addr, _, ok := s.below(abi.UserEnd, abi.UserStart, length)
	return addr, ok
}

// below returns the highest free range of the length in [bottom, top), and the
// largest hole that was too small.
func (s *Space) below(top, bottom, length uint64) (addr, hole uint64, ok bool) {
	i := s.find(top)
	if i < s.n && s.vmas[i].start < top {
		top = s.vmas[i].start
	}
	for ; top > bottom; i-- {
		floor := uint64(bottom)
		if i > 0 {
			floor = max(bottom, s.vmas[i-1].end)
		}
		if floor < top {
			if top-floor >= length {
				return top - length, hole, true
			}
			hole = max(hole, top-floor)
		}
		if i == 0 {
			break
		}
		top = s.vmas[i-1].start
	}
	return 0, hole, false
}

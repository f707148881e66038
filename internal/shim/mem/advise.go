// SPDX-License-Identifier: Apache-2.0

package mem

import "enarx.dev/enarx/internal/shim/abi"

// Advice of madvise.
const (
	madvNormal        = 0
	madvWillNeed      = 3
	madvDontNeed      = 4
	madvFree          = 8
	madvHugePage      = 14
	madvDoDump        = 17
	madvCold          = 20
	madvPageOut       = 21
	madvPopulateRead  = 22
	madvPopulateWrite = 23
	madvCollapse      = 25
)

// Madvise takes advice about a range. Only two kinds do anything: memory that is not
// needed is dropped, and memory that will be is backed.
func (s *Space) Madvise(cpu uint32, addr, length, advice uint64) int64 {
	known := advice <= madvDontNeed || advice == madvFree || advice >= madvHugePage && advice <= madvDoDump ||
		advice >= madvCold && advice <= madvPopulateWrite || advice == madvCollapse
	size := pages(length)
	switch {
	case !known, addr&pageMask != 0, length != 0 && size == 0, addr+size < addr:
		return abi.Err(abi.EINVAL)
	case length == 0:
		return 0
	}
	s.lock.Lock()
	ret := s.madvise(cpu, addr, addr+size, advice)
	s.lock.Unlock()
	return ret
}

// madvise goes through the mappings of a range. Holes are an error, but one that is
// reported at the end; only populating stops at them.
func (s *Space) madvise(cpu uint32, start, end, advice uint64) int64 {
	ret := int64(0)
	populate := advice == madvPopulateRead || advice == madvPopulateWrite
	for at := start; at < end; {
		i := s.find(at)
		if i == s.n || s.vmas[i].start >= end {
			return abi.Err(abi.ENOMEM)
		}
		v := &s.vmas[i]
		if v.start > at {
			ret = abi.Err(abi.ENOMEM)
			if populate {
				return ret
			}
			at = v.start
		}
		upTo := min(v.end, end)
		switch {
		case populate:
			if v.prot == 0 || advice == madvPopulateWrite && v.prot&abi.ProtWrite == 0 {
				return abi.Err(abi.EINVAL)
			}
			if !s.populate(cpu, at, upTo) {
				return abi.Err(abi.ENOMEM)
			}
		case advice == madvDontNeed || advice == madvFree:
			if v.kind == kindShim || v.kind == kindImage && advice == madvFree {
				return abi.Err(abi.EINVAL)
			}
			s.clear(cpu, at, upTo, 0, 0)
		}
		at = upTo
	}
	return ret
}

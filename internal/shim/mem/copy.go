// SPDX-License-Identifier: Apache-2.0

package mem

import (
	"sync/atomic"

	"enarx.dev/enarx/internal/shim/abi"
)

// Copies between the shim and the program. Each page is found, if need be backed, and
// copied with the lock held, so that its frame cannot become anybody else's under
// the copy. Between pages the program may change its mappings: it then sees the copy
// fail half way, as it would on Linux.

// within reports whether [addr, addr+n) is in the program's half.
func within(addr, n uint64) bool { return n <= abi.UserEnd && addr <= abi.UserEnd-n }

// CopyIn copies from the program at addr. It reports whether all of it was readable.
func (s *Space) CopyIn(cpu uint32, dst []byte, addr uint64) bool {
	if !within(addr, uint64(len(dst))) {
		return false
	}
	for len(dst) > 0 {
		off := addr & pageMask
		n := min(pageSize-off, uint64(len(dst)))
		s.lock.Lock()
		e, out := s.access(cpu, addr, abi.ProtRead)
		if out == Handled {
			copy(dst[:n], s.phys.bytes(e&addrMask, off, n))
		}
		s.lock.Unlock()
		if out != Handled {
			return false
		}
		dst, addr = dst[n:], addr+n
	}
	return true
}

// CopyOut copies to the program at addr. It reports whether all of it was writable.
func (s *Space) CopyOut(cpu uint32, addr uint64, src []byte) bool {
	if !within(addr, uint64(len(src))) {
		return false
	}
	for len(src) > 0 {
		off := addr & pageMask
		n := min(pageSize-off, uint64(len(src)))
		s.lock.Lock()
		e, out := s.access(cpu, addr, abi.ProtWrite)
		if out == Handled {
			copy(s.phys.bytes(e&addrMask, off, n), src[:n])
		}
		s.lock.Unlock()
		if out != Handled {
			return false
		}
		src, addr = src[n:], addr+n
	}
	return true
}

// CopyInString copies a string of the program up to its NUL, which is not copied, and
// returns its length. If it fails, n is len(dst) for a string that is too long, and
// less for one that ends in memory that is not readable.
func (s *Space) CopyInString(cpu uint32, dst []byte, addr uint64) (n int, ok bool) {
	for n < len(dst) {
		off := addr & pageMask
		part := dst[n:]
		if uint64(len(part)) > pageSize-off {
			part = part[:pageSize-off]
		}
		if !s.CopyIn(cpu, part, addr) {
			return n, false
		}
		for i, c := range part {
			if c == 0 {
				return n + i, true
			}
		}
		n += len(part)
		addr += uint64(len(part))
	}
	return n, false
}

// Zero clears n bytes of the program at addr. It reports whether all were writable.
func (s *Space) Zero(cpu uint32, addr, n uint64) bool {
	if !within(addr, n) {
		return false
	}
	for n > 0 {
		off := addr & pageMask
		part := min(pageSize-off, n)
		s.lock.Lock()
		e, out := s.access(cpu, addr, abi.ProtWrite)
		if out == Handled {
			clear(s.phys.bytes(e&addrMask, off, part))
		}
		s.lock.Unlock()
		if out != Handled {
			return false
		}
		addr, n = addr+part, n-part
	}
	return true
}

// Load32 reads an aligned word of the program.
func (s *Space) Load32(cpu uint32, addr uint64) (v uint32, ok bool) {
	if addr%4 != 0 {
		return 0, false
	}
	s.lock.Lock()
	e, out := s.access(cpu, addr, abi.ProtRead)
	if ok = out == Handled; ok {
		v = atomic.LoadUint32(s.phys.word32(e&addrMask, addr&pageMask))
	}
	s.lock.Unlock()
	return v, ok
}

// Load64 reads an aligned word of the program.
func (s *Space) Load64(cpu uint32, addr uint64) (v uint64, ok bool) {
	if addr%8 != 0 {
		return 0, false
	}
	s.lock.Lock()
	e, out := s.access(cpu, addr, abi.ProtRead)
	if ok = out == Handled; ok {
		v = atomic.LoadUint64(s.phys.word64(e&addrMask, addr&pageMask))
	}
	s.lock.Unlock()
	return v, ok
}

// Store32 writes an aligned word of the program.
func (s *Space) Store32(cpu uint32, addr uint64, v uint32) bool {
	if addr%4 != 0 {
		return false
	}
	s.lock.Lock()
	e, out := s.access(cpu, addr, abi.ProtWrite)
	if out == Handled {
		atomic.StoreUint32(s.phys.word32(e&addrMask, addr&pageMask), v)
	}
	s.lock.Unlock()
	return out == Handled
}

// Store64 writes an aligned word of the program.
func (s *Space) Store64(cpu uint32, addr, v uint64) bool {
	if addr%8 != 0 {
		return false
	}
	s.lock.Lock()
	e, out := s.access(cpu, addr, abi.ProtWrite)
	if out == Handled {
		atomic.StoreUint64(s.phys.word64(e&addrMask, addr&pageMask), v)
	}
	s.lock.Unlock()
	return out == Handled
}

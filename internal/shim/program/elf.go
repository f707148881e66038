// SPDX-License-Identifier: Apache-2.0

package program

import (
	"enarx.dev/enarx/internal/sallyport"
	"enarx.dev/enarx/internal/shim/abi"
)

// Image is an executable file as it lies in the memory of a Keep.
type Image struct {
	Data []byte // read only, private, and mapped for as long as the Keep lives
	GPA  uint64 // of Data[0]; page aligned. The rest of the last page is zero.
}

// A segment is one PT_LOAD program header whose values were checked. Its addresses
// are those of the file: a position-independent program moves by a bias.
type segment struct {
	addr, memory uint64 // p_vaddr, p_memsz
	offset, file uint64 // p_offset, p_filesz
	prot         uint64 // abi.Prot*, never both writable and executable
}

// first and end return the pages that the segment touches.
func (s *segment) first() uint64 { return pageDown(s.addr) }
func (s *segment) end() uint64   { return pageUp(s.addr + s.memory) }

// An extent is a part of the file or of memory that some program header names.
type extent struct{ addr, offset, size uint64 }

// layout is what the headers of a program say, checked.
type layout struct {
	segments [maxSegments]segment // ascending, no two in one page
	count    int
	entry    uint64
	headers  uint64 // address of the program header table
	number   uint64 // of program headers
	align    uint64 // greatest p_align, at least a page
	moves    bool   // ET_DYN
	interp   bool   // PT_INTERP
	dynamic  extent
	relro    extent
}

// low and high bound the pages of all segments.
func (l *layout) low() uint64  { return l.segments[0].first() }
func (l *layout) high() uint64 { return l.segments[l.count-1].end() }

// Bounds of what a Keep loads. The stock linkers make four to five segments.
const (
	maxSegments = 16
	maxHeaders  = 64
	// maxAddress leaves the room above to the stack, the vDSO and mmap.
	maxAddress = 0x7000_0000_0000
	// maxSpan is the most address space that a position-independent program may span.
	maxSpan  = 1 << 38
	maxAlign = 1 << 21
)

// System V ABI, "Object Files" and AMD64 supplement: the values that we look at.
const (
	headerSize  = 64
	phentSize   = 56
	dynSize     = 16
	relaSize    = 24
	typeExec    = 2
	typeDyn     = 3
	machineX86  = 62
	osLinux     = 3
	ptLoad      = 1
	ptDynamic   = 2
	ptInterp    = 3
	ptGNUStack  = 0x6474e551
	ptGNURelro  = 0x6474e552
	flagExec    = 1
	flagWrite   = 2
	flagRead    = 4
	relRelative = 8
)

func pageDown(n uint64) uint64 { return n &^ (abi.PageSize - 1) }

// pageUp rounds up; its callers keep n far from the end of the address space.
func pageUp(n uint64) uint64 { return pageDown(n + abi.PageSize - 1) }

// within reports whether the n bytes at off lie in size bytes.
func within(off, n, size uint64) bool { return n <= size && off <= size-n }

// Little-endian values at an offset that the caller has checked.
func le16(b []byte, off uint64) uint64 { return uint64(b[off]) | uint64(b[off+1])<<8 }
func le32(b []byte, off uint64) uint64 { return le16(b, off) | le16(b, off+2)<<16 }
func le64(b []byte, off uint64) uint64 { return le32(b, off) | le32(b, off+4)<<32 }

// parse reads the headers of an executable. It trusts nothing in file but its
// length, and decides everything that can be known without mapping it.
func parse(file []byte, l *layout) sallyport.LoadError {
	if err := parseHeader(file, l); err != sallyport.LoadOK {
		return err
	}
	table := le64(file, 32)
	for i := uint64(0); i < l.number; i++ {
		if err := l.add(file, table+i*phentSize); err != sallyport.LoadOK {
			return err
		}
	}
	if l.count == 0 {
		return sallyport.LoadNoSegments
	}
	if l.moves && l.high()-l.low() > maxSpan {
		return sallyport.LoadAddress
	}
	if !l.executable() {
		return sallyport.LoadEntry
	}
	return l.findHeaders(table)
}

func parseHeader(file []byte, l *layout) sallyport.LoadError {
	size := uint64(len(file))
	switch {
	case size < headerSize || le32(file, 0) != 0x464c457f: // "\x7fELF"
		return sallyport.LoadNotELF
	case file[4] != 2 || file[5] != 1 || file[6] != 1 || le32(file, 20) != 1 || file[7] != 0 && file[7] != osLinux:
		return sallyport.LoadClass
	case le16(file, 18) != machineX86:
		return sallyport.LoadMachine
	case le16(file, 16) != typeExec && le16(file, 16) != typeDyn:
		return sallyport.LoadType
	}
	l.moves = le16(file, 16) == typeDyn
	l.entry = le64(file, 24)
	l.number = le16(file, 56)
	l.align = abi.PageSize
	if le16(file, 54) != phentSize || l.number == 0 || l.number > maxHeaders || !within(le64(file, 32), l.number*phentSize, size) {
		return sallyport.LoadHeaders
	}
	return sallyport.LoadOK
}

// add takes in the program header at offset at, which lies in the file.
func (l *layout) add(file []byte, at uint64) sallyport.LoadError {
	kind, flags := le32(file, at), le32(file, at+4)
	where := extent{offset: le64(file, at+8), addr: le64(file, at+16), size: le64(file, at+32)}
	switch kind {
	case ptLoad:
		return l.addSegment(file, at, flags, where)
	case ptInterp:
		l.interp = true
	case ptGNUStack:
		if flags&flagExec != 0 {
			return sallyport.LoadExecStack
		}
	case ptGNURelro:
		l.relro = where
		l.relro.size = le64(file, at+40)
	case ptDynamic:
		if l.dynamic.size != 0 || !within(where.offset, where.size, uint64(len(file))) {
			return sallyport.LoadDynamic
		}
		l.dynamic = where
	}
	return sallyport.LoadOK
}

func (l *layout) addSegment(file []byte, at, flags uint64, where extent) sallyport.LoadError {
	s := segment{addr: where.addr, offset: where.offset, file: where.size, memory: le64(file, at+40)}
	align := le64(file, at+48)
	if s.memory == 0 && s.file == 0 {
		return sallyport.LoadOK
	}
	var floor uint64
	if !l.moves {
		floor = abi.UserStart
	}
	writable := flags&flagWrite != 0
	switch {
	case s.file > s.memory || s.file < s.memory && !writable:
		return sallyport.LoadSegmentSize
	case !within(s.offset, s.file, uint64(len(file))):
		return sallyport.LoadTruncated
	case s.addr%abi.PageSize != s.offset%abi.PageSize || align > maxAlign || align&(align-1) != 0:
		return sallyport.LoadUnaligned
	case s.addr < floor || !within(s.addr, s.memory, maxAddress):
		return sallyport.LoadAddress
	case writable && flags&flagExec != 0:
		return sallyport.LoadWriteExec
	case l.count == maxSegments:
		return sallyport.LoadTooMany
	case l.count > 0 && s.first() < l.high():
		return sallyport.LoadOverlap
	}
	s.prot = protection(flags)
	l.align = max(l.align, align)
	l.segments[l.count] = s
	l.count++
	return sallyport.LoadOK
}

// protection turns p_flags into abi.Prot*. Whatever may be used may be read: page
// tables cannot say otherwise.
func protection(flags uint64) uint64 {
	var prot uint64
	if flags&(flagRead|flagWrite|flagExec) != 0 {
		prot = abi.ProtRead
	}
	if flags&flagWrite != 0 {
		prot |= abi.ProtWrite
	}
	if flags&flagExec != 0 {
		prot |= abi.ProtExec
	}
	return prot
}

// executable reports whether the entry point is code of the file.
func (l *layout) executable() bool {
	for i := range l.count {
		s := &l.segments[i]
		if s.prot&abi.ProtExec != 0 && l.entry >= s.addr && l.entry-s.addr < s.file {
			return true
		}
	}
	return false
}

// findHeaders finds the address at which the program will see its own program
// headers: a C library finds its thread-local data through them.
func (l *layout) findHeaders(table uint64) sallyport.LoadError {
	for i := range l.count {
		s := &l.segments[i]
		if table >= s.offset && within(table-s.offset, l.number*phentSize, s.file) {
			l.headers = s.addr + table - s.offset
			return sallyport.LoadOK
		}
	}
	return sallyport.LoadHeadersHidden
}

// inFile returns the offset in the file of n bytes at address addr, which must lie
// in what one segment has from the file.
func (l *layout) inFile(addr, n uint64) (uint64, bool) {
	for i := range l.count {
		s := &l.segments[i]
		if addr >= s.addr && within(addr-s.addr, n, s.file) {
			return s.offset + addr - s.addr, true
		}
	}
	return 0, false
}

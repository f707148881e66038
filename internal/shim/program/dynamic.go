// SPDX-License-Identifier: Apache-2.0

package program

import (
	"enarx.dev/enarx/internal/sallyport"
	"enarx.dev/enarx/internal/shim/abi"
)

// Tags of the dynamic section.
const (
	dtNull            = 0
	dtNeeded          = 1
	dtPltRelSz        = 2
	dtRela            = 7
	dtRelaSz          = 8
	dtRelaEnt         = 9
	dtInit            = 12
	dtRelSz           = 18
	dtTextRel         = 22
	dtInitArraySz     = 27
	dtFlags           = 30
	dtPreinitArraySz  = 33
	dtRelrSz          = 35
	flagTextRel       = 4
	maxDynamicEntries = 1024
)

// relocations is a table of Elf64_Rela in the file.
type relocations struct{ offset, count uint64 }

// findRelocations decides whether a program can run without an interpreter, and
// finds the relocations that we apply in its stead: those of a program that names
// an interpreter and then needs nothing of it, as `go build -buildmode=pie` makes
// them. A static PIE names none and relocates itself.
func findRelocations(file []byte, l *layout) (relocations, sallyport.LoadError) {
	d := dynamic{relaEnt: relaSize}
	if err := d.read(file, l); err != sallyport.LoadOK {
		return relocations{}, err
	}
	switch {
	case d.needed:
		return relocations{}, sallyport.LoadShared
	case !l.interp:
		return relocations{}, sallyport.LoadOK
	case d.textRel:
		return relocations{}, sallyport.LoadTextRelocation
	case d.other:
		return relocations{}, sallyport.LoadInterpreter
	case d.relaSz == 0:
		return relocations{}, sallyport.LoadOK
	case d.relaEnt != relaSize || d.relaSz%relaSize != 0:
		return relocations{}, sallyport.LoadRelocation
	}
	offset, ok := l.inFile(d.rela, d.relaSz)
	if !ok {
		return relocations{}, sallyport.LoadRelocation
	}
	r := relocations{offset, d.relaSz / relaSize}
	for i := uint64(0); i < r.count; i++ {
		if err := l.check(file, r.offset+i*relaSize); err != sallyport.LoadOK {
			return relocations{}, err
		}
	}
	return r, sallyport.LoadOK
}

// check checks one Elf64_Rela: relative, for a word of a writable segment.
func (l *layout) check(file []byte, at uint64) sallyport.LoadError {
	// The whole of r_info: the symbol in its upper half must be none.
	if le64(file, at+8) != relRelative {
		return sallyport.LoadInterpreter
	}
	where := le64(file, at)
	for i := range l.count {
		s := &l.segments[i]
		if where >= s.addr && within(where-s.addr, 8, s.memory) {
			if s.prot&abi.ProtWrite == 0 {
				return sallyport.LoadTextRelocation
			}
			return sallyport.LoadOK
		}
	}
	return sallyport.LoadRelocation
}

// dynamic is what of the dynamic section decides how to load a program.
type dynamic struct {
	rela, relaSz, relaEnt uint64
	needed                bool // a shared library is named
	textRel               bool
	other                 bool // work for an interpreter that we do not do
}

func (d *dynamic) read(file []byte, l *layout) sallyport.LoadError {
	n := l.dynamic.size / dynSize
	if n > maxDynamicEntries {
		return sallyport.LoadDynamic
	}
	for i := uint64(0); i < n; i++ {
		at := l.dynamic.offset + i*dynSize // within the file: see layout.add
		tag, value := le64(file, at), le64(file, at+8)
		if tag == dtNull {
			return sallyport.LoadOK
		}
		d.take(tag, value)
	}
	if n != 0 {
		return sallyport.LoadDynamic // it does not end
	}
	return sallyport.LoadOK
}

func (d *dynamic) take(tag, value uint64) {
	switch tag {
	case dtNeeded:
		d.needed = true
	case dtRela:
		d.rela = value
	case dtRelaSz:
		d.relaSz = value
	case dtRelaEnt:
		d.relaEnt = value
	case dtTextRel:
		d.textRel = true
	case dtFlags:
		d.textRel = d.textRel || value&flagTextRel != 0
	case dtInit, dtRelSz, dtRelrSz, dtPltRelSz, dtInitArraySz, dtPreinitArraySz:
		// Initialisers and relocations of other kinds; an empty table is no work.
		d.other = d.other || value != 0
	}
}

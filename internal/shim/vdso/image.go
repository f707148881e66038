// SPDX-License-Identifier: Apache-2.0

package vdso

import "enarx.dev/enarx/internal/shim/abi"

const pageSize = abi.PageSize

// The image is one page: headers and tables, then the text. Its addresses start at
// 0, so that offsets and addresses are the same.
const (
	dynsymOffset  = 64 + 2*56
	hashOffset    = dynsymOffset + 24*(1+functions)
	versymOffset  = hashOffset + 4*(2+1+1+functions)
	verdefOffset  = (versymOffset + 2*(1+functions) + 3) &^ 3
	dynamicOffset = (verdefOffset + 2*28 + 7) &^ 7
	dynstrOffset  = dynamicOffset + 16*10
	textOffset    = 0x400
)

// functions is the number of entries at the start of text.
const functions = 4

// The string table, and where in it a name starts. The order of the functions is
// that of the entries of text.
const (
	dynstr = "\x00__vdso_clock_gettime\x00__vdso_gettimeofday\x00__vdso_time\x00__vdso_clock_getres\x00linux-vdso.so.1\x00LINUX_2.6\x00"

	clockGettimeName = 1
	gettimeofdayName = clockGettimeName + len("__vdso_clock_gettime") + 1
	timeName         = gettimeofdayName + len("__vdso_gettimeofday") + 1
	clockGetresName  = timeName + len("__vdso_time") + 1
	objectName       = clockGetresName + len("__vdso_clock_getres") + 1
	versionName      = objectName + len("linux-vdso.so.1") + 1
)

// names is static data: indices into dynstr.
var names = [functions]uint32{clockGettimeName, uint32(gettimeofdayName), uint32(timeName), uint32(clockGetresName)}

// Build writes the code page: an ELF shared object with SysV hash and version
// tables, as the C libraries and Go's runtime look for them. The page must be zero,
// and be mapped read-only and executable right above the one that holds Data. Build
// reports false only for a page of another size, or when text is not as it must be.
func Build(page []byte) bool {
	src := code()
	if len(page) != pageSize || len(src) == 0 || textOffset+len(src) > pageSize || dynstrOffset+len(dynstr) > textOffset {
		return false
	}
	w := writer{page, 0}
	w.header()
	w.symbols()
	w.versions()
	w.dynamic()
	copy(page[dynstrOffset:], dynstr)
	copy(page[textOffset:], src)
	return true
}

// header writes the ELF header and the program headers.
func (w *writer) header() {
	w.put32(0x464c457f) // "\x7fELF"
	w.put32(0x00010102) // 64 bit, little endian, version 1, System V
	w.put64(0)
	w.put16(3)  // ET_DYN
	w.put16(62) // EM_X86_64
	w.put32(1)
	w.put64(0)  // no entry point
	w.put64(64) // program headers
	w.put64(0)  // no section headers
	w.put32(0)
	w.put16(64)
	w.put16(56)
	w.put16(2)
	w.put16(64)
	w.put16(0)
	w.put16(0)
	w.segment(1, 5, 0, pageSize, pageSize)      // PT_LOAD, R-X
	w.segment(2, 4, dynamicOffset, 16*10, 1<<3) // PT_DYNAMIC, R--
}

func (w *writer) segment(kind, flags uint32, offset, size, align uint64) {
	w.put32(kind)
	w.put32(flags)
	w.put64(offset)
	w.put64(offset)
	w.put64(offset)
	w.put64(size)
	w.put64(size)
	w.put64(align)
}

// symbols writes the symbol table, and a hash table with one bucket: a chain of
// all functions needs no hash.
func (w *writer) symbols() {
	w.at = dynsymOffset + 24 // after the null symbol
	for i := range uint64(functions) {
		w.put32(names[i])
		w.put16(0x12) // STB_GLOBAL, STT_FUNC; default visibility
		w.put16(1)    // in a section: readers take 0 for undefined
		w.put64(textOffset + i*entrySize)
		w.put64(entrySize)
	}
	w.at = hashOffset
	w.put32(1)
	w.put32(1 + functions)
	w.put32(1) // the chain: 1, 2, …, 0
	w.put32(0)
	for i := range uint32(functions) {
		w.put32((i + 2) % (1 + functions))
	}
}

// versions writes the version of every symbol and the definitions of both versions,
// the object's own and LINUX_2.6.
func (w *writer) versions() {
	w.at = versymOffset + 2
	for range functions {
		w.put16(2)
	}
	w.at = verdefOffset
	w.version(1, 1, uint32(objectName), 28)
	w.version(0, 2, uint32(versionName), 0)
}

// version writes an Elf64_Verdef and its only Elf64_Verdaux.
func (w *writer) version(flags, index uint16, name, next uint32) {
	w.put16(1)
	w.put16(flags)
	w.put16(index)
	w.put16(1)
	w.put32(hash(name))
	w.put32(20)
	w.put32(next)
	w.put32(name)
	w.put32(0)
}

func (w *writer) dynamic() {
	w.at = dynamicOffset
	w.pair(14, uint64(objectName)) // DT_SONAME
	w.pair(4, hashOffset)          // DT_HASH
	w.pair(5, dynstrOffset)        // DT_STRTAB
	w.pair(6, dynsymOffset)        // DT_SYMTAB
	w.pair(10, uint64(len(dynstr)))
	w.pair(11, 24)                   // DT_SYMENT
	w.pair(0x6ffffff0, versymOffset) // DT_VERSYM
	w.pair(0x6ffffffc, verdefOffset) // DT_VERDEF
	w.pair(0x6ffffffd, 2)            // DT_VERDEFNUM
	w.pair(0, 0)
}

// hash is the System V ABI's hash of the string at an index of dynstr.
func hash(name uint32) uint32 {
	var h uint32
	for i := name; dynstr[i] != 0; i++ {
		h = h<<4 + uint32(dynstr[i])
		h = (h ^ h>>24&0xf0) & 0x0fffffff
	}
	return h
}

// A writer writes little-endian values, one after another, at offsets that are all
// constants below textOffset.
type writer struct {
	page []byte
	at   int
}

func (w *writer) put16(v uint16) {
	w.page[w.at], w.page[w.at+1] = byte(v), byte(v>>8)
	w.at += 2
}

func (w *writer) put32(v uint32) {
	w.put16(uint16(v))
	w.put16(uint16(v >> 16))
}

func (w *writer) put64(v uint64) {
	w.put32(uint32(v))
	w.put32(uint32(v >> 32))
}

func (w *writer) pair(tag, value uint64) {
	w.put64(tag)
	w.put64(value)
}

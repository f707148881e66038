// SPDX-License-Identifier: Apache-2.0

// Package program brings a static x86-64 ELF executable into user space: its
// segments, the relocations that an interpreter would apply, a stack with
// arguments, and the auxiliary vector. The image is measured, so it is what the
// Keep's owner chose; its headers are still read as if they were hostile, because
// the reader runs at CPL 0. The arguments come from the host.
//
// System V ABI, AMD64 supplement, 3.4 "Process Initialization".
//
// This package is freestanding: see package abi's neighbours for what that forbids.
package program

import (
	"enarx.dev/enarx/internal/sallyport"
	"enarx.dev/enarx/internal/shim/abi"
	"enarx.dev/enarx/internal/shim/mem"
)

// Where things go: as on Linux, at random, so that a program's memory errors are
// no easier to use in a Keep than elsewhere.
const (
	pieBase       = 0x5555_0000_0000
	piePages      = 1 << 28 // of random bias
	brkPages      = 1 << 13 // of random distance from the image to the heap
	stackPages    = 1 << 22 // of random distance from the end of user space
	stackSize     = 8 << 20
	stackGuard    = 1 << 20 // Linux's stack_guard_gap
	mapPrivate    = 0x02
	mapAnonymous  = 0x20
	mapNoReserve  = 0x4000
	mapStack      = 0x20000
	mapFixedNoRep = 0x100000
)

// Load maps the program img into the empty user half of sp and returns where to
// start it. random gives 64 random bits, or says that it cannot.
func Load(sp *mem.Space, cpu uint32, img Image, args *Args, random func() (uint64, bool)) (entry, rsp uint64, err sallyport.LoadError) {
	if img.GPA%abi.PageSize != 0 {
		return 0, 0, sallyport.LoadImage
	}
	if !args.valid() {
		return 0, 0, sallyport.LoadArguments
	}
	var l layout
	if err := parse(img.Data, &l); err != sallyport.LoadOK {
		return 0, 0, err
	}
	relocs, err := findRelocations(img.Data, &l)
	if err != sallyport.LoadOK {
		return 0, 0, err
	}
	r, ok := random()
	if !ok {
		return 0, 0, sallyport.LoadRandom
	}
	bias := l.bias(r)
	for i := range l.count {
		if !mapSegment(sp, cpu, img.GPA, &l.segments[i], bias) {
			return 0, 0, sallyport.LoadMemory
		}
	}
	if !relocate(sp, cpu, img.Data, relocs, bias) || l.interp && !l.protect(sp, cpu, bias) {
		return 0, 0, sallyport.LoadMemory
	}
	places, ok := choose(l.high()+bias, random)
	if !ok {
		return 0, 0, sallyport.LoadRandom
	}
	sp.SetBrk(places.brk)
	sp.SetTop(places.guard())
	if !places.reserve(sp, cpu, args) {
		return 0, 0, sallyport.LoadMemory
	}
	rsp, ok = places.fill(sp, cpu, &l, bias, args)
	if !ok {
		return 0, 0, sallyport.LoadMemory
	}
	return l.entry + bias, rsp, sallyport.LoadOK
}

// bias returns by how much the program moves: not at all, or to a random place
// that keeps the alignment which its segments ask for.
func (l *layout) bias(random uint64) uint64 {
	if !l.moves {
		return 0
	}
	mask := l.align - 1
	return (pieBase+random%piePages*abi.PageSize)&^mask - l.low()&^mask
}

// mapSegment maps what a segment has of the file, in place or to be copied on the
// first write, and zeroes for the rest.
func mapSegment(sp *mem.Space, cpu uint32, gpa uint64, s *segment, bias uint64) bool {
	first, end := s.first()+bias, s.end()+bias
	zeroes := first // where whole pages of zeroes start
	if s.file != 0 {
		zeroes = pageUp(s.addr+s.file) + bias
		if sp.MapImage(cpu, first, zeroes-first, s.prot, gpa+pageDown(s.offset)) < 0 {
			return false
		}
		// The last page of the file holds what comes next there; where .bss starts it
		// must be zero. Writing gives the page a copy of its own.
		if fileEnd := s.addr + s.file + bias; s.memory > s.file && fileEnd < zeroes && !sp.Zero(cpu, fileEnd, zeroes-fileEnd) {
			return false
		}
	}
	return zeroes >= end || reserve(sp, cpu, zeroes, end-zeroes, s.prot, 0)
}

// reserve maps anonymous memory at an address that must be free.
func reserve(sp *mem.Space, cpu uint32, addr, length, prot, flags uint64) bool {
	return sp.Mmap(cpu, addr, length, prot, mapPrivate|mapAnonymous|mapFixedNoRep|flags) == int64(addr)
}

// relocate applies relative relocations, each of which findRelocations has checked.
func relocate(sp *mem.Space, cpu uint32, file []byte, r relocations, bias uint64) bool {
	var word [8]byte
	for i := uint64(0); i < r.count; i++ {
		at := r.offset + i*relaSize
		sallyport.Put64(word[:], 0, le64(file, at+16)+bias)
		if !sp.CopyOut(cpu, le64(file, at)+bias, word[:]) {
			return false
		}
	}
	return true
}

// protect makes what only relocations write read-only, as the interpreter that we
// stand in for would. Pages that hold other data too stay as they are.
func (l *layout) protect(sp *mem.Space, cpu uint32, bias uint64) bool {
	if _, ok := l.inFile(l.relro.addr, l.relro.size); !ok {
		return true // none, or not in one segment: it is only a hardening
	}
	first, end := pageDown(l.relro.addr), pageDown(l.relro.addr+l.relro.size)
	return first >= end || sp.Mprotect(cpu, first+bias, end-first, abi.ProtRead) == 0
}

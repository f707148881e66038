// SPDX-License-Identifier: Apache-2.0

package main

import (
	"unsafe"

	"enarx.dev/enarx/internal/sallyport"
	"enarx.dev/enarx/internal/shim/kernel"
)

// Where things lie. internal/loader/layout puts them there, and has the same
// numbers; its test compares the two.
const (
	maxCPUs = sallyport.MaxCPUs

	// A vCPU's area: its cpu, and three stacks with unmapped pages between.
	cpuBase  = 0xffff_ffff_9000_0000
	cpuShift = 17 // log2 of the distance between areas
	cpuMask  = 1<<cpuShift - 1

	cpuPages   = 4               // pages of type cpu, at the start of the area
	trapStack  = 5 << pageShift  // two pages: all exceptions
	faultStack = 8 << pageShift  // two pages: those that may hit the first
	stackBase  = 12 << pageShift // eight pages: system calls
	stackTop   = stackBase + 8<<pageShift

	sharedBase   = 0xffff_fe00_0000_0000 // the sallyport, one stride per vCPU
	pageShift    = 12
	mxcsrDefault = 0x1f80
)

// exitPort is the I/O port that means "serve my block".
//
//lint:ignore U1000 for the assembly
const exitPort = sallyport.ExitPort

// threadFX is for the assembly: where in a thread its FX image lies.
const threadFX = unsafe.Offsetof(kernel.Thread{}.FX)

// cpu is what a vCPU knows of itself. GS points to it in the shim. It starts on
// a page and thread on a multiple of 16, so that FXSAVE finds its image aligned.
type cpu struct {
	thread  kernel.Thread // Frame first: the entry code relies on it
	self    *cpu
	scratch uint64
	fs      uint64    // FS base of Go code: just above tls
	tls     [2]uint64 // g, where compiled code looks for it
	mxcsr   uint32
	index   uint32
	fault   kernel.Exception // fatalEntry fills it, in its order
	gdt     [8]uint64
	tss     tss
	gdtr    descriptor
	idtr    descriptor

	// g is the runtime.g that Go code believes to run on. All of it is zero:
	// a stack guard of zero is never reached, so no code tries to grow the stack.
	g [512]byte
}

// tss is the task state segment (AMD APM volume 2, figure 12-8), as halves:
// its quadwords are not aligned.
type tss [26]uint32

// descriptor is the operand of LGDT and LIDT; the base as words, so that there is
// nothing between it and the limit.
type descriptor struct {
	limit uint16
	base  [4]uint16
}

// Compile-time checks of what the assembly relies on.
const (
	_ = -unsafe.Offsetof(kernel.Thread{}.Frame)
	_ = -(threadFX % 16)
	_ = unsafe.Offsetof(kernel.Exception{}.CR2) - 0x38
	_ = 0x38 - unsafe.Offsetof(kernel.Exception{}.CR2)
	_ = uint(cpuPages<<pageShift - unsafe.Sizeof(cpu{}))
	_ = -unsafe.Offsetof(cpu{}.thread)
	_ = unsafe.Offsetof(kernel.Frame{}.FSBase) - 0xb0
	_ = 0xb0 - unsafe.Offsetof(kernel.Frame{}.FSBase)
)

// at returns a pointer to an address of the upper half, which no Go object has.
func at(address uint64) unsafe.Pointer {
	return *(*unsafe.Pointer)(unsafe.Pointer(&address))
}

// addr is the opposite of at.
func addr[T any](p *T) uint64 { return uint64(uintptr(unsafe.Pointer(p))) }

// cpuAt returns the area of a vCPU, which must be mapped.
func cpuAt(index uint32) *cpu { return (*cpu)(at(cpuBase + uint64(index)<<cpuShift)) }

// block returns a vCPU's sallyport block.
func block(index uint32) unsafe.Pointer {
	return at(sharedBase + uint64(index)*sallyport.SlotSize + sallyport.BlockPage*sallyport.PageSize)
}

// wordAt returns the word at an address of the upper half, which must be mapped.
func wordAt(address uint64) *uint64 { return (*uint64)(at(address)) }

// bytesAt returns memory of the upper half, which must be mapped.
func bytesAt(address uint64, size int) []byte { return unsafe.Slice((*byte)(at(address)), size) }

// SPDX-License-Identifier: Apache-2.0

package main

// Selectors. SYSCALL and SYSRET compute theirs from STAR, which fixes the order.
const (
	kernelCode = 0x08
	kernelData = 0x10
	userData   = 0x20 | 3
	userCode   = 0x28 | 3
	tssSel     = 0x30
)

// Segment descriptors (AMD APM volume 2, 4.8): flat, 64-bit code where they are code.
const (
	descKernelCode = 0x00af_9b00_0000_ffff
	descKernelData = 0x00cf_9300_0000_ffff
	descUserData   = 0x00cf_f300_0000_ffff
	descUserCode   = 0x00af_fb00_0000_ffff
	descTSS        = 0x0000_8900_0000_0067 // available 64-bit TSS of 104 bytes, base 0
)

// Model-specific registers (AMD APM volume 2, appendix A).
const (
	msrEFER         = 0xc000_0080
	msrSTAR         = 0xc000_0081
	msrLSTAR        = 0xc000_0082
	msrCSTAR        = 0xc000_0083
	msrSFMASK       = 0xc000_0084
	msrKernelGSBase = 0xc000_0102
)

// sfmask is the flags that SYSCALL clears: TF, IF, DF, IOPL, NT and AC.
const sfmask = 0x4_7700

// Control register bits that the shim's promises rest on: write protection of
// read-only pages in ring 0, and no execution of, or access to, user pages there.
const (
	cr0WP    = 1 << 16
	cr4FSGS  = 1 << 16
	cr4XSAVE = 1 << 18
	cr4SMEP  = 1 << 20
	cr4SMAP  = 1 << 21
	eferSCE  = 1 << 0
	eferNXE  = 1 << 11

	cr4Needed  = cr4FSGS | cr4XSAVE | cr4SMEP | cr4SMAP
	eferNeeded = eferSCE | eferNXE
)

// Vectors.
const (
	vectorNMI     = 2
	vectorDF      = 8
	vectorMC      = 18
	vectorHV      = 28
	vectorVC      = 29
	exceptions    = 32
	vectorKick    = 0x30 // the host wants the vCPU to look for work
	vectorOther   = 0x7f // any that nobody has asked for
	vectorSyscall = 256
	stubSize      = 16
)

// gate returns an interrupt gate, DPL 0: a program's INT n is a #GP. All of them
// change the stack, because the host can inject a vector when the stack pointer
// is still the user's.
func gate(handler, ist uint64) [2]uint64 {
	return [2]uint64{
		handler&0xffff | kernelCode<<16 | ist<<32 | 0x8e<<40 | (handler>>16&0xffff)<<48,
		handler >> 32,
	}
}

// idt is the interrupt descriptor table of all vCPUs.
var idt [256][2]uint64

// initIDT fills idt: exceptions that can interrupt another's entry have a stack
// of their own.
func initIDT() {
	stubs := addrStubs()
	for v := range idt {
		stub, ist := uint64(exceptions+1), uint64(1)
		switch {
		case v < exceptions:
			stub = uint64(v)
		case v == vectorKick:
			stub = exceptions
		}
		switch v {
		case vectorNMI, vectorDF, vectorMC, vectorHV, vectorVC:
			ist = 2
		}
		idt[v] = gate(stubs+stub*stubSize, ist)
	}
}

// set stores a 64-bit address at byte offset o, a multiple of 4.
func (t *tss) set(o int, address uint64) {
	t[o/4], t[o/4+1] = uint32(address), uint32(address>>32)
}

func (d *descriptor) set(base uint64, size uint16) {
	d.limit = size - 1
	for i := range d.base {
		d.base[i] = uint16(base >> (16 * i))
	}
}

// init makes the vCPU able to take exceptions and system calls.
func (c *cpu) init() {
	area := addr(c)
	c.tss.set(0x04, area+stackTop)                // RSP0, which nothing uses
	c.tss.set(0x24, area+trapStack+2<<pageShift)  // IST1
	c.tss.set(0x2c, area+faultStack+2<<pageShift) // IST2
	c.tss[0x64/4] = 0x68 << 16                    // I/O map beyond the limit: no port from ring 3
	base := addr(&c.tss)
	c.gdt = [8]uint64{
		1: descKernelCode, 2: descKernelData, 4: descUserData, 5: descUserCode,
		6: descTSS | (base&0xff_ffff)<<16 | (base>>24&0xff)<<56, 7: base >> 32,
	}
	c.gdtr.set(addr(&c.gdt), 64)
	c.idtr.set(addr(&idt), 4096)
	loadTables(&c.gdtr, &c.idtr, tssSel)
	wrmsr(msrSTAR, kernelCode<<32|(userData-3-8)<<48)
	wrmsr(msrLSTAR, addrSyscallEntry())
	wrmsr(msrCSTAR, addrHalt())
	wrmsr(msrSFMASK, sfmask)
	wrmsr(msrKernelGSBase, 0)
}

// protected says whether the CPU is in the state that the host was to start it
// in. A host that left out a protection need not be helped any further.
func protected() bool {
	return readCR0()&cr0WP != 0 && readCR4()&cr4Needed == cr4Needed && rdmsr(msrEFER)&eferNeeded == eferNeeded
}

// SPDX-License-Identifier: Apache-2.0

package kvm

import "encoding/binary"

// The guest of Probe: a few pages at physical address 0, mapped at the same
// virtual addresses. It does what the shim and the program above it will do,
// and reports each success to a port.
const (
	guestPML4       = 0x1000
	guestPDPT       = 0x2000
	guestPD         = 0x3000
	guestPT         = 0x4000
	guestPointers   = 0x5030 // what LGDT and LIDT read
	guestGDT        = 0x5100
	guestTSS        = 0x5200
	guestIDT        = 0x5400
	guestKernel     = 0x6000
	guestStack      = 0x7000
	guestStackTop   = 0x8000
	guestUser       = 0x8000
	guestLazy       = 0xa000 // not present until the guest's page fault handler has run
	guestSize       = 0xb000
	guestPageFault  = guestKernel + 0x80
	guestVectors    = guestKernel + 0x100 // 32 stubs of 4 bytes
	guestVectorSize = 4
	guestUnexpected = guestKernel + 0x180
)

// Ports of the guest.
const (
	portSyscall   = 0xe0 // the number that ring 3 passed to SYSCALL
	portFault     = 0xe1 // the address of a page fault
	portException = 0xe2 // the vector of any other exception: the end
)

// kernelCode is the guest's ring 0, at guestKernel. It starts at its first
// byte with the stack of ring 0.
var kernelCode = []struct {
	at    int
	bytes []byte
}{
	// Entry: descriptor tables, task register, SSE, FSGSBASE, SYSCALL registers, then ring 3.
	{0x0, []byte{
		0xb8, 0x30, 0x50, 0x00, 0x00, // MOV EAX,0x5030
		0x0f, 0x01, 0x10, // LGDT [RAX]
		0xb0, 0x3a, // MOV AL,0x3A
		0x0f, 0x01, 0x18, // LIDT [RAX]
		0xb8, 0x30, 0x00, 0x00, 0x00, // MOV EAX,0x30
		0x0f, 0x00, 0xd8, // LTR AX
		0x45, 0x0f, 0x57, 0xff, // XORPS XMM15,XMM15
		0xb8, 0x34, 0x12, 0x00, 0x00, // MOV EAX,0x1234
		0xf3, 0x48, 0x0f, 0xae, 0xd0, // WRFSBASE RAX
		0x31, 0xc0, // XOR EAX,EAX
		0xba, 0x08, 0x00, 0x18, 0x00, // MOV EDX,0x180008
		0xb9, 0x81, 0x00, 0x00, 0xc0, // MOV ECX,0xC0000081
		0x0f, 0x30, // WRMSR
		0x8d, 0x05, 0x29, 0x00, 0x00, 0x00, // LEA EAX,[RIP+0x29] # 60 <SYSCALL_ENTRY>
		0x31, 0xd2, // XOR EDX,EDX
		0xff, 0xc1, // INC ECX
		0x0f, 0x30, // WRMSR
		0xb8, 0x00, 0x77, 0x04, 0x00, // MOV EAX,0x47700
		0xb1, 0x84, // MOV CL,0x84
		0x0f, 0x30, // WRMSR
		0xb9, 0x00, 0x80, 0x00, 0x00, // MOV ECX,0x8000
		0x41, 0xbb, 0x02, 0x00, 0x00, 0x00, // MOV R11D,0x2
		0x48, 0x0f, 0x07, // SYSRETQ
	}},
	// SYSCALL from ring 3: report EAX and go back.
	{0x60, []byte{
		0xe7, 0xe0, // OUT 0xE0,EAX
		0x48, 0x0f, 0x07, // SYSRETQ
	}},
	// #PF: report CR2, make the page present, and go back.
	{0x80, []byte{
		0x0f, 0x20, 0xd0, // MOV RAX,CR2
		0xe7, 0xe1, // OUT 0xE1,EAX
		0x83, 0x0c, 0x25, 0x50, 0x40, 0x00, 0x00, 0x01, // OR 0x4050,0x1
		0x48, 0x83, 0xc4, 0x08, // ADD RSP,0x8
		0x48, 0xcf, // IRETQ
	}},
	// Any other exception: report its vector, which the stub pushed.
	{0x180, []byte{
		0x58,       // POP RAX
		0xe7, 0xe2, // OUT 0xE2,EAX
		0xf4, // HLT
	}},
}

// userCode is the guest's ring 3, at guestUser. EAX of each SYSCALL is the
// number of the step that worked; 5 means that the next one did not.
var userCode = []struct {
	at    int
	bytes []byte
}{
	// SYSCALL and back; touch a page that is not there; read the time twice.
	{0x0, []byte{
		0xb8, 0x01, 0x00, 0x00, 0x00, // MOV EAX,0x1
		0x0f, 0x05, // SYSCALL
		0xc7, 0x04, 0x25, 0x00, 0xa0, 0x00, 0x00, 0x5a, 0x5a, 0x00, 0x00, // MOV 0xA000,0x5A5A
		0xb8, 0x02, 0x00, 0x00, 0x00, // MOV EAX,0x2
		0x0f, 0x05, // SYSCALL
		0x0f, 0x31, // RDTSC
		0x89, 0xc3, // MOV EBX,EAX
		0x89, 0xd5, // MOV EBP,EDX
		0xb9, 0xe8, 0x03, 0x00, 0x00, // MOV ECX,0x3E8
	}},
	// Some time passes.
	{0x24, []byte{
		0xff, 0xc9, // DEC ECX
		0x75, 0xfc, // JNE 24 <AGAIN>
		0x0f, 0x31, // RDTSC
		0x29, 0xd8, // SUB EAX,EBX
		0x19, 0xea, // SBB EDX,EBP
		0x72, 0x23, // JB 53 <STOP>
		0x09, 0xd0, // OR EAX,EDX
		0x74, 0x1f, // JE 53 <STOP>
		0xb8, 0x03, 0x00, 0x00, 0x00, // MOV EAX,0x3
		0x0f, 0x05, // SYSCALL
		0xb9, 0x64, 0x00, 0x00, 0x00, // MOV ECX,0x64
	}},
	// RDRAND may be out of numbers now and then.
	{0x40, []byte{
		0x48, 0x0f, 0xc7, 0xf2, // RDRAND RDX
		0x72, 0x06, // JB 4C <DONE>
		0xff, 0xc9, // DEC ECX
		0x75, 0xf6, // JNE 40 <MORE>
		0xeb, 0x07, // JMP 53 <STOP>
	}},
	// All of it worked.
	{0x4c, []byte{
		0xb8, 0x04, 0x00, 0x00, 0x00, // MOV EAX,0x4
		0x0f, 0x05, // SYSCALL
	}},
	// Something did not.
	{0x53, []byte{
		0xb8, 0x05, 0x00, 0x00, 0x00, // MOV EAX,0x5
		0x0f, 0x05, // SYSCALL
		0xeb, 0xf7, // JMP 53 <STOP>
	}},
}

// Bits of page table entries.
const (
	ptePresent = 1 << 0
	pteWrite   = 1 << 1
	pteUser    = 1 << 2
	pteNX      = 1 << 63
)

// writeGuest lays the guest out in mem.
func writeGuest(mem []byte) {
	put := func(at int, v uint64) { binary.LittleEndian.PutUint64(mem[at:], v) }
	const table = ptePresent | pteWrite | pteUser
	put(guestPML4, guestPDPT|table)
	put(guestPDPT, guestPD|table)
	put(guestPD, guestPT|table)
	for _, page := range []struct {
		at    int
		flags uint64
	}{
		{guestPT, ptePresent | pteWrite | pteNX},
		{guestPointers &^ 0xfff, ptePresent | pteWrite | pteNX},
		{guestKernel, ptePresent},
		{guestStack, ptePresent | pteWrite | pteNX},
		{guestUser, ptePresent | pteUser},
		{guestLazy, pteWrite | pteUser | pteNX},
	} {
		put(guestPT+page.at>>12*8, uint64(page.at)|page.flags)
	}
	for i, descriptor := range []uint64{
		0, 0x00af_9b00_0000_ffff, 0x00cf_9300_0000_ffff, // null; ring 0: code, data
		0, 0x00cf_f300_0000_ffff, 0x00af_fb00_0000_ffff, // null; ring 3: data, code
		guestTSS<<16 | 0x0000_8900_0000_0067, 0, // an available 64-bit TSS
	} {
		put(guestGDT+8*i, descriptor)
	}
	binary.LittleEndian.PutUint16(mem[guestPointers:], 8*8-1)
	put(guestPointers+2, guestGDT)
	binary.LittleEndian.PutUint16(mem[guestPointers+10:], 32*16-1)
	put(guestPointers+12, guestIDT)
	put(guestTSS+4, guestStackTop)                             // RSP0
	binary.LittleEndian.PutUint16(mem[guestTSS+0x66:], 0x67+1) // no port for ring 3

	for v := range 32 {
		stub := guestVectors + guestVectorSize*v
		copy(mem[stub:], []byte{
			0x6a, byte(v), // PUSH v
			0xeb, byte(guestUnexpected - stub - guestVectorSize), // JMP guestUnexpected
		})
		put(guestIDT+16*v, gate(uint64(stub)))
	}
	const vectorPageFault = 14
	put(guestIDT+16*vectorPageFault, gate(guestPageFault))
	for _, part := range kernelCode {
		copy(mem[guestKernel+part.at:], part.bytes)
	}
	for _, part := range userCode {
		copy(mem[guestUser+part.at:], part.bytes)
	}
}

// gate is the first half of an interrupt gate for ring 0; the other half is
// zero for a handler below 4 GiB.
func gate(handler uint64) uint64 {
	return handler&0xffff | selKernelCode<<16 | 0x8e00<<32 | handler>>16<<48
}

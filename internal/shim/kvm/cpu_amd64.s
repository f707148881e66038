// SPDX-License-Identifier: Apache-2.0

// Privileged instructions, one function each; see cpu_amd64.go.

#include "go_asm.h"
#include "textflag.h"

// func exit(index uint32)
TEXT ·exit(SB),NOSPLIT,$0-4
	MOVL index+0(FP), AX
	MOVW $const_exitPort, DX
	OUTL
	RET

// func halt()
TEXT ·halt(SB),NOSPLIT,$0-0
again:
	HLT
	JMP again

// func pause()
TEXT ·pause(SB),NOSPLIT,$0-0
	PAUSE
	RET

// func flushTLB()
TEXT ·flushTLB(SB),NOSPLIT,$0-0
	MOVQ CR3, AX
	MOVQ AX, CR3
	RET

// func readCR2() uint64
TEXT ·readCR2(SB),NOSPLIT,$0-8
	MOVQ CR2, AX
	MOVQ AX, ret+0(FP)
	RET

// func readCR4() uint64
TEXT ·readCR4(SB),NOSPLIT,$0-8
	MOVQ CR4, AX
	MOVQ AX, ret+0(FP)
	RET

// func readCR0() uint64
TEXT ·readCR0(SB),NOSPLIT,$0-8
	MOVQ CR0, AX
	MOVQ AX, ret+0(FP)
	RET

// func readCR3() uint64
TEXT ·readCR3(SB),NOSPLIT,$0-8
	MOVQ CR3, AX
	MOVQ AX, ret+0(FP)
	RET

// func rdmsr(msr uint32) uint64
TEXT ·rdmsr(SB),NOSPLIT,$0-16
	MOVL msr+0(FP), CX
	RDMSR
	SHLQ $32, DX
	ORQ  DX, AX
	MOVQ AX, ret+8(FP)
	RET

// func wrmsr(msr uint32, value uint64)
TEXT ·wrmsr(SB),NOSPLIT,$0-16
	MOVL msr+0(FP), CX
	MOVQ value+8(FP), AX
	MOVQ AX, DX
	SHRQ $32, DX
	WRMSR
	RET

// func loadTables(gdt, idt *descriptor, tss uint16)
TEXT ·loadTables(SB),NOSPLIT,$0-18
	MOVQ gdt+0(FP), AX
	LGDT (AX)
	MOVQ idt+8(FP), AX
	LIDT (AX)
	MOVW tss+16(FP), AX
	LTR  AX
	RET

// func tsc() uint64
TEXT ·tsc(SB),NOSPLIT,$0-8
	LFENCE
	RDTSC
	SHLQ $32, DX
	ORQ  DX, AX
	MOVQ AX, ret+0(FP)
	RET

// func random() (value uint64, ok bool)
TEXT ·random(SB),NOSPLIT,$0-9
	RDRANDQ AX
	SETCS   ok+8(FP)
	MOVQ    AX, value+0(FP)
	RET

// func address(symbol) uintptr, one per entry point: a Go function value would
// need a closure, and its code pointer an unsafe cast.

// func addrSyscallEntry() uint64
TEXT ·addrSyscallEntry(SB),NOSPLIT,$0-8
	LEAQ ·syscallEntry(SB), AX
	MOVQ AX, ret+0(FP)
	RET

// func addrStubs() uint64
TEXT ·addrStubs(SB),NOSPLIT,$0-8
	LEAQ ·stubs(SB), AX
	MOVQ AX, ret+0(FP)
	RET

// func addrHalt() uint64
TEXT ·addrHalt(SB),NOSPLIT,$0-8
	LEAQ ·halt(SB), AX
	MOVQ AX, ret+0(FP)
	RET

// func this() *cpu
TEXT ·this(SB),NOSPLIT,$0-8
	MOVQ cpu_self(GS), AX
	MOVQ AX, ret+0(FP)
	RET

// func saveUpper(area *kernel.Upper)
TEXT ·saveUpper(SB),NOSPLIT,$0-8
	MOVQ area+0(FP), CX
	MOVL $const_ymmUpper, AX
	XORL DX, DX
	XSAVE64 (CX)
	RET

// func restoreUpper(area *kernel.Upper)
TEXT ·restoreUpper(SB),NOSPLIT,$0-8
	MOVQ area+0(FP), CX
	MOVL $const_ymmUpper, AX
	XORL DX, DX
	XRSTOR64 (CX)
	RET

// func features() uint32
TEXT ·features(SB),NOSPLIT,$0-4
	MOVL $1, AX
	XORL CX, CX
	CPUID
	MOVL DX, ret+0(FP)
	RET

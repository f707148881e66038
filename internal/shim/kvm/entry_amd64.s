// SPDX-License-Identifier: Apache-2.0

// Entry and exit of the shim. What each symbol expects and leaves behind is in
// its Go declaration, in entry_amd64.go; struct offsets and constants come from
// go_asm.h, which the compiler writes.

#include "go_asm.h"
#include "textflag.h"
#include "opcodes.h"

// The user's registers, in cpu.thread.Frame. R15 points to the cpu.
#define F_RAX    (cpu_thread+0x00)(R15)
#define F_RBX    (cpu_thread+0x08)(R15)
#define F_RCX    (cpu_thread+0x10)(R15)
#define F_RDX    (cpu_thread+0x18)(R15)
#define F_RSI    (cpu_thread+0x20)(R15)
#define F_RDI    (cpu_thread+0x28)(R15)
#define F_RBP    (cpu_thread+0x30)(R15)
#define F_R8     (cpu_thread+0x38)(R15)
#define F_R9     (cpu_thread+0x40)(R15)
#define F_R10    (cpu_thread+0x48)(R15)
#define F_R11    (cpu_thread+0x50)(R15)
#define F_R12    (cpu_thread+0x58)(R15)
#define F_R13    (cpu_thread+0x60)(R15)
#define F_R14    (cpu_thread+0x68)(R15)
#define F_R15    (cpu_thread+0x70)(R15)
#define F_RIP    (cpu_thread+0x78)(R15)
#define F_CS     (cpu_thread+0x80)(R15)
#define F_RFLAGS (cpu_thread+0x88)(R15)
#define F_RSP    (cpu_thread+0x90)(R15)
#define F_SS     (cpu_thread+0x98)(R15)
#define F_VECTOR (cpu_thread+0xa0)(R15)
#define F_ERROR  (cpu_thread+0xa8)(R15)
#define F_FSBASE (cpu_thread+0xb0)(R15)
#define F_FX     (cpu_thread+const_threadFX)(R15)

// SAVE stores the general registers but R15, SP, CX and R11, which the two
// entries find in different places.
#define SAVE \
	MOVQ AX, F_RAX; \
	MOVQ BX, F_RBX; \
	MOVQ DX, F_RDX; \
	MOVQ SI, F_RSI; \
	MOVQ DI, F_RDI; \
	MOVQ BP, F_RBP; \
	MOVQ R8, F_R8; \
	MOVQ R9, F_R9; \
	MOVQ R10, F_R10; \
	MOVQ R12, F_R12; \
	MOVQ R13, F_R13; \
	MOVQ R14, F_R14

// LOAD is the opposite of SAVE.
#define LOAD \
	MOVQ F_RAX, AX; \
	MOVQ F_RBX, BX; \
	MOVQ F_RDX, DX; \
	MOVQ F_RSI, SI; \
	MOVQ F_RDI, DI; \
	MOVQ F_RBP, BP; \
	MOVQ F_R8, R8; \
	MOVQ F_R9, R9; \
	MOVQ F_R10, R10; \
	MOVQ F_R12, R12; \
	MOVQ F_R13, R13; \
	MOVQ F_R14, R14

// GO makes the state that compiled Go code expects: g in R14 and below the FS
// base (the compiler reloads it from there), X15 zero, no direction flag, no
// unmasked SSE exceptions. The frame pointer 0 ends backtraces.
#define GO \
	CLD; \
	MOVQ cpu_fs(R15), AX; \
	WRFSBASEQ AX; \
	LDMXCSR cpu_mxcsr(R15); \
	XORPS X15, X15; \
	LEAQ cpu_g(R15), R14; \
	XORL BP, BP

// func start()
//
// register  at entry   use
// all       anything   CR3, CR4, EFER and segments as internal/loader/layout sets them; no stack
TEXT ·start(SB),NOSPLIT|NOFRAME|TOPFRAME,$0
	MOVL $1, AX
	LOCK
	XADDL AX, ·ticket(SB)
	CMPL AX, $const_maxCPUs
	JAE  halt
	MOVQ AX, BX
	SHLQ $const_cpuShift, BX
	MOVQ $const_cpuBase, R15
	ADDQ BX, R15
	LEAQ (R15), SP
	ADDQ $const_stackTop, SP
	MOVQ R15, cpu_self(R15)
	MOVL AX, cpu_index(R15)
	// Null data segments: IRET would null ring 0's, and their bases with them.
	XORL BX, BX
	MOVW BX, DS
	MOVW BX, ES
	MOVW BX, FS
	MOVW BX, GS
	LEAQ cpu_g(R15), BX
	MOVQ BX, cpu_tls(R15)       // the word below the FS base
	LEAQ (cpu_tls+8)(R15), BX
	MOVQ BX, cpu_fs(R15)
	MOVL $const_mxcsrDefault, cpu_mxcsr(R15)
	WRGSBASEQ R15
	// The program may use x87, SSE and AVX: XCR0 = 7.
	XORL CX, CX
	XORL DX, DX
	MOVL $7, AX
	XSETBV
	GO
	SUBQ $16, SP
	MOVQ R15, 0(SP)
	CALL ·enter(SB)
	JMP  ·resume(SB)
halt:
	HLT
	JMP  halt

// func syscallEntry()
//
// register  at entry         kept in
// CX        user's RIP       F_RCX, F_RIP
// R11       user's RFLAGS    F_R11, F_RFLAGS
// SP        user's           F_RSP
// GS base   user's           KERNEL_GS_BASE after SWAPGS
// the rest  user's           the frame
TEXT ·syscallEntry(SB),NOSPLIT|NOFRAME|TOPFRAME,$0
	SWAPGS
	MOVQ R15, cpu_scratch(GS)
	MOVQ cpu_self(GS), R15
	SAVE
	MOVQ CX, F_RCX
	MOVQ CX, F_RIP
	MOVQ R11, F_R11
	MOVQ R11, F_RFLAGS
	MOVQ SP, F_RSP
	MOVQ cpu_scratch(R15), AX
	MOVQ AX, F_R15
	MOVQ $const_userCode, F_CS
	MOVQ $const_userData, F_SS
	MOVQ $const_vectorSyscall, F_VECTOR
	MOVQ $0, F_ERROR
	JMP  ·serve(SB)

// func trapEntry()
//
// The stack, an IST one: vector, error code, and what the CPU pushed: RIP, CS,
// RFLAGS, RSP, SS.
TEXT ·trapEntry(SB),NOSPLIT|NOFRAME|TOPFRAME,$0
	TESTB $3, 24(SP)
	JNZ   user
	JMP   ·fatalEntry(SB)
user:
	SWAPGS
	LFENCE // or a mispredicted branch would run on with the user's GS
	MOVQ R15, cpu_scratch(GS)
	MOVQ cpu_self(GS), R15
	SAVE
	MOVQ CX, F_RCX
	MOVQ R11, F_R11
	MOVQ cpu_scratch(R15), AX
	MOVQ AX, F_R15
	MOVQ 0(SP), AX
	MOVQ AX, F_VECTOR
	MOVQ 8(SP), AX
	MOVQ AX, F_ERROR
	MOVQ 16(SP), AX
	MOVQ AX, F_RIP
	MOVQ 24(SP), AX
	MOVQ AX, F_CS
	MOVQ 32(SP), AX
	MOVQ AX, F_RFLAGS
	MOVQ 40(SP), AX
	MOVQ AX, F_RSP
	MOVQ 48(SP), AX
	MOVQ AX, F_SS
	CLAC // gates leave the user's AC flag, which would switch SMAP off
	JMP  ·serve(SB)

// func serve()
//
// R15 is the cpu, and the frame is complete but for FSBase and FX.
TEXT ·serve(SB),NOSPLIT|NOFRAME|TOPFRAME,$0
	LEAQ (R15), SP
	ADDQ $const_stackTop, SP
	RDFSBASEQ AX
	MOVQ AX, F_FSBASE
	FXSAVE64 F_FX
	GO
	SUBQ $16, SP
	MOVQ R15, 0(SP)
	CALL ·trap(SB)
	JMP  ·resume(SB)

// func resume()
//
// GS base is the cpu. Nothing else is expected.
TEXT ·resume(SB),NOSPLIT|NOFRAME|TOPFRAME,$0
	MOVQ cpu_self(GS), R15
	FXRSTOR64 F_FX
	MOVQ F_FSBASE, AX
	WRFSBASEQ AX
	CMPQ F_VECTOR, $const_vectorSyscall
	JNE  iret
	LOAD
	MOVQ F_RIP, CX
	MOVQ F_RFLAGS, R11
	MOVQ F_RSP, SP
	MOVQ F_R15, R15
	SWAPGS
	SYSRETQ
iret:
	LEAQ (R15), SP
	ADDQ $const_stackTop, SP
	PUSHQ F_SS
	PUSHQ F_RSP
	PUSHQ F_RFLAGS
	PUSHQ F_CS
	PUSHQ F_RIP
	LOAD
	MOVQ F_RCX, CX
	MOVQ F_R11, R11
	MOVQ F_R15, R15
	SWAPGS
	IRETQ

// func fatalEntry()
//
// An exception in the shim itself. The stack is as at trapEntry; it lies in
// the vCPU's own area, which is how the cpu is found whatever GS is.
TEXT ·fatalEntry(SB),NOSPLIT|NOFRAME|TOPFRAME,$0
	PUSHQ R15
	PUSHQ AX
	LEAQ (SP), R15
	ANDQ $~const_cpuMask, R15
	WRGSBASEQ R15
	MOVQ 16(SP), AX
	MOVQ AX, (cpu_fault+0x00)(R15)
	MOVQ 24(SP), AX
	MOVQ AX, (cpu_fault+0x08)(R15)
	MOVQ 32(SP), AX
	MOVQ AX, (cpu_fault+0x10)(R15)
	MOVQ 40(SP), AX
	MOVQ AX, (cpu_fault+0x18)(R15)
	MOVQ 48(SP), AX
	MOVQ AX, (cpu_fault+0x20)(R15)
	MOVQ 56(SP), AX
	MOVQ AX, (cpu_fault+0x28)(R15)
	MOVQ BP, (cpu_fault+0x30)(R15)
	MOVQ CR2, AX
	MOVQ AX, (cpu_fault+0x38)(R15)
	GO
	SUBQ $24, SP
	ANDQ $~15, SP
	MOVQ R15, 0(SP)
	CALL ·fatal(SB)
dead:
	HLT
	JMP dead

// STUB is one vector's entry, 16 bytes. Where the CPU pushes no error code, a
// zero takes its place.
#define STUB(vector) PCALIGN $16; PUSHQ $0; PUSHQ $vector; JMP ·trapEntry(SB)
#define STUB_ERROR(vector) PCALIGN $16; PUSHQ $vector; JMP ·trapEntry(SB)

// func stubs()
TEXT ·stubs(SB),NOSPLIT|NOFRAME|TOPFRAME,$0
	STUB(0)
	STUB(1)
	STUB(2)
	STUB(3)
	STUB(4)
	STUB(5)
	STUB(6)
	STUB(7)
	STUB_ERROR(8)
	STUB(9)
	STUB_ERROR(10)
	STUB_ERROR(11)
	STUB_ERROR(12)
	STUB_ERROR(13)
	STUB_ERROR(14)
	STUB(15)
	STUB(16)
	STUB_ERROR(17)
	STUB(18)
	STUB(19)
	STUB(20)
	STUB_ERROR(21)
	STUB(22)
	STUB(23)
	STUB(24)
	STUB(25)
	STUB(26)
	STUB(27)
	STUB(28)
	STUB_ERROR(29)
	STUB_ERROR(30)
	STUB(31)
	STUB(const_vectorKick)
	STUB(const_vectorOther)
	INT $3

// SPDX-License-Identifier: Apache-2.0

#include "go_asm.h"
#include "textflag.h"

// Everything below is C code to its callers (System V ABI): arguments in DI and
// SI, result in AX; AX, CX, DX, SI, DI and R8 to R11 may change. It uses no stack
// and no register that Go's or a signal handler's code relies on.
//
// In here: DI, SI  as the caller left them, until the end
//          R8      start of the text, wherever it was copied to
//          R9      sequence number of the data
//          R10     what to do with Clock.Offset: -1 to add it, 0 not to
//          R11     number of the system call that would do the same

#define DATA (const_pageSize + const_textOffset)
#define CLOCK(field) (Data_clock + field - DATA)(R8)
#define SEQ (Data_seq - DATA)(R8)

// Sets of clock ids, a bit for each: 0 and 5 are of the time of day; 1, 4, 6 and 7
// monotonic. 2 and 3 are times of processors, which only the shim knows.
#define REALTIME  0x21
#define MONOTONIC 0xd2

// func text()
TEXT ·text(SB), NOSPLIT|NOFRAME, $0-0
	JMP	clockGettime            // entrySize bytes for each
	PCALIGN	$16
	JMP	gettimeofday
	PCALIGN	$16
	JMP	time
	PCALIGN	$16
	JMP	clockGetres
	PCALIGN	$16

clockGettime: // int (clockid_t, struct timespec *)
	MOVL	$228, R11
	CMPL	DI, $7
	JHI	system
	MOVL	DI, CX
	MOVL	$1, AX
	SHLL	CX, AX
	XORL	R10, R10
	TESTL	$MONOTONIC, AX
	JNE	now
	TESTL	$REALTIME, AX
	JEQ	system
	MOVQ	$-1, R10
	JMP	now

gettimeofday: // int (struct timeval *, struct timezone *)
	MOVL	$96, R11
	MOVQ	$-1, R10
	TESTQ	DI, DI
	JNE	now
	JMP	zone

time: // time_t (time_t *)
	MOVL	$201, R11
	MOVQ	$-1, R10

now:
	LEAQ	·text(SB), R8           // relative to RIP, and so right in every copy
again:
	MOVL	SEQ, R9
	TESTL	$1, R9
	JNE	system
	TESTL	R9, R9
	JEQ	system
	LFENCE                          // the counter is read after what precedes it
	RDTSC
	SHLQ	$32, DX
	ORQ	DX, AX
	SUBQ	CLOCK(Clock_TSC), AX
	JCC	scale
	XORL	AX, AX                  // of before the last update: see Clock.Monotonic
scale:
	MULQ	CLOCK(Clock_Mult)       // DX:AX
	SHRQ	$const_shift, DX, AX    // SHRD: the low half of DX:AX >> shift
	ADDQ	CLOCK(Clock_NS), AX
	MOVQ	CLOCK(Clock_Offset), CX
	ANDQ	R10, CX
	ADDQ	CX, AX
	CMPL	R9, SEQ                 // loads are not reordered with loads on x86
	JNE	again
	XORL	DX, DX                  // the quotient fits: no #DE
	MOVL	$1000000000, CX
	DIVQ	CX                      // AX seconds, DX nanoseconds
	CMPL	R11, $228
	JEQ	timespec
	CMPL	R11, $96
	JEQ	timeval
	TESTQ	DI, DI
	JEQ	done
	MOVQ	AX, (DI)
done:
	RET

timespec:
	MOVQ	AX, 0(SI)
	MOVQ	DX, 8(SI)
	XORL	AX, AX
	RET

timeval:
	MOVQ	AX, 0(DI)
	MOVL	DX, AX
	XORL	DX, DX
	MOVL	$1000, CX
	DIVL	CX
	MOVQ	AX, 8(DI)
zone:
	XORL	AX, AX
	TESTQ	SI, SI
	JEQ	done
	MOVQ	AX, (SI)                // UTC
	RET

clockGetres: // int (clockid_t, struct timespec *)
	MOVL	$229, R11
	CMPL	DI, $7
	JHI	system
	MOVL	DI, CX
	MOVL	$1, AX
	SHLL	CX, AX
	TESTL	$(REALTIME|MONOTONIC), AX
	JEQ	system
	XORL	AX, AX
	TESTQ	SI, SI
	JEQ	done
	MOVQ	AX, 0(SI)
	MOVQ	$1, 8(SI)
	RET

system:
	MOVL	R11, AX
	SYSCALL                         // changes CX and R11
	RET
	QUAD	$const_endMark          // where a copy ends

// func textStart() unsafe.Pointer
TEXT ·textStart(SB), NOSPLIT, $0-8
	LEAQ	·text(SB), AX
	MOVQ	AX, ret+0(FP)
	RET

// SPDX-License-Identifier: Apache-2.0

// The registers of the floating-point and vector units survive system calls, page
// faults, sleeping, and the other threads' use of the same processor. System calls
// keep every other register too, except RAX, RCX and R11.

#include <cpuid.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "check.h"

enum { THREADS = 4, ROUNDS = 300 };

static int have_avx;

// sse fills XMM0-15 from in, makes the call, and stores them to out.
#define EACH(op) op(0) op(1) op(2) op(3) op(4) op(5) op(6) op(7) op(8) op(9) op(10) op(11) op(12) op(13) op(14) op(15)
#define LOADX(n) "movdqu " #n "*16(%[in]), %%xmm" #n "\n\t"
#define SAVEX(n) "movdqu %%xmm" #n ", " #n "*16(%[out])\n\t"
#define LOADY(n) "vmovdqu " #n "*32(%[in]), %%ymm" #n "\n\t"
#define SAVEY(n) "vmovdqu %%ymm" #n ", " #n "*32(%[out])\n\t"
#define CLOBBERS "rcx", "r11", "memory", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", \
	"xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15"

static long sse(long nr, long a, long b, const void *in, void *out)
{
	__asm__ volatile(EACH(LOADX) "syscall\n\t" EACH(SAVEX)
			 : "+a"(nr), "+D"(a), "+S"(b) : [in] "r"(in), [out] "r"(out), "d"(0L) : CLOBBERS);
	return nr;
}

__attribute__((target("avx"))) static long avx(long nr, long a, long b, const void *in, void *out)
{
	__asm__ volatile(EACH(LOADY) "syscall\n\t" EACH(SAVEY) "vzeroupper"
			 : "+a"(nr), "+D"(a), "+S"(b) : [in] "r"(in), [out] "r"(out), "d"(0L) : CLOBBERS);
	return nr;
}

// fault touches a page for the first time in the place of a system call.
static void fault(volatile char *page, const void *in, void *out)
{
	__asm__ volatile(EACH(LOADX) "movb $1, (%[page])\n\t" EACH(SAVEX)
			 : : [in] "r"(in), [out] "r"(out), [page] "r"(page) : CLOBBERS);
}

static void registers(void)
{
	register long r8 __asm__("r8") = 8, r9 __asm__("r9") = 9, r10 __asm__("r10") = 10, r12 __asm__("r12") = 12;
	register long r13 __asm__("r13") = 13, r14 __asm__("r14") = 14, r15 __asm__("r15") = 15;
	long rax = SYS_getppid, rbx = 3, rdi = 7, rsi = 6, rdx = 2;
	__asm__ volatile("std; cld; syscall"
			 : "+a"(rax), "+b"(rbx), "+D"(rdi), "+S"(rsi), "+d"(rdx), "+r"(r8), "+r"(r9), "+r"(r10), "+r"(r12), "+r"(r13), "+r"(r14), "+r"(r15)
			 : : "rcx", "r11", "memory");
	CHECK(rbx == 3 && rdi == 7 && rsi == 6 && rdx == 2 && r8 == 8 && r9 == 9 && r10 == 10);
	CHECK(r12 == 12 && r13 == 13 && r14 == 14 && r15 == 15);
}

static void *work(void *arg)
{
	uint64_t seed = 100 + (intptr_t)arg;
	uint64_t in[64], out[64];
	unsigned int mxcsr = 0x1f80 | (unsigned)((intptr_t)arg & 3) << 13, got; // a rounding mode of its own
	__asm__ volatile("ldmxcsr %0" : : "m"(mxcsr));
	char *pages = mmap(NULL, ROUNDS * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(pages != MAP_FAILED);
	struct { long sec, nsec; } wait = {0, 50000};
	for (int round = 0; round < ROUNDS; round++) {
		for (int i = 0; i < 64; i++)
			in[i] = next(&seed);
		CHECK(sse(SYS_sched_yield, 0, 0, in, out) == 0 && memcmp(in, out, 256) == 0);
		CHECK(sse(SYS_nanosleep, (long)&wait, 0, in, out) == 0 && memcmp(in, out, 256) == 0);
		fault(pages + round * 4096, in, out);
		CHECK(memcmp(in, out, 256) == 0);
		if (have_avx) {
			CHECK(avx(SYS_getpid, 0, 0, in, out) > 0 && memcmp(in, out, 512) == 0);
			CHECK(avx(SYS_nanosleep, (long)&wait, 0, in, out) == 0 && memcmp(in, out, 512) == 0);
		}
		registers();
	}
	__asm__ volatile("stmxcsr %0" : "=m"(got));
	CHECK((got & ~0x3fu) == (mxcsr & ~0x3fu));
	CHECK(munmap(pages, ROUNDS * 4096) == 0);
	return NULL;
}

int main(void)
{
	unsigned a, b, c, d;
	CHECK(__get_cpuid(1, &a, &b, &c, &d));
	have_avx = (c & bit_AVX) && (c & bit_OSXSAVE);
	pthread_t all[THREADS];
	for (long i = 0; i < THREADS; i++)
		CHECK(pthread_create(&all[i], NULL, work, (void *)i) == 0);
	for (int i = 0; i < THREADS; i++)
		CHECK(pthread_join(all[i], NULL) == 0);
	puts("registers kept");
	return 0;
}

// SPDX-License-Identifier: Apache-2.0

// Signals that a program makes for itself: faults caught on an alternate stack and left
// by siglongjmp or repaired, raise, masks, pthread_kill, and the cancelling of threads.

#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include "check.h"

static sigjmp_buf back;
static volatile sig_atomic_t seen, code, on_stack;
static void *volatile where;
static char alternate[64 << 10];

static int in_alternate(void *p) { return (char *)p >= alternate && (char *)p < alternate + sizeof alternate; }

static void jump(int sig, siginfo_t *info, void *context)
{
	(void)context;
	seen = sig;
	code = info->si_code;
	where = info->si_addr;
	on_stack = in_alternate(__builtin_frame_address(0));
	siglongjmp(back, 1);
}

static void handle(int sig, void (*f)(int, siginfo_t *, void *), int flags)
{
	struct sigaction act = {.sa_sigaction = f, .sa_flags = SA_SIGINFO | flags};
	sigemptyset(&act.sa_mask);
	CHECK(sigaction(sig, &act, NULL) == 0);
}

static void expect(const char *what, int sig, int want, void *address)
{
	CHECK(seen == sig && code == want && on_stack);
	CHECK(address == NULL || where == address);
	printf("%s: signal %d, code %d\n", what, sig, (int)code);
	seen = code = 0;
}

static void faults(void)
{
	stack_t stack = {.ss_sp = alternate, .ss_size = sizeof alternate}, old;
	CHECK(sigaltstack(&stack, &old) == 0 && old.ss_flags == SS_DISABLE);
	handle(SIGSEGV, jump, SA_ONSTACK);
	handle(SIGFPE, jump, SA_ONSTACK);
	handle(SIGILL, jump, SA_ONSTACK);
	if (!sigsetjmp(back, 1))
		poke(24);
	expect("write to nowhere", SIGSEGV, SEGV_MAPERR, (void *)24);
	char *page = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(page != MAP_FAILED);
	if (!sigsetjmp(back, 1))
		poke((uintptr_t)page + 5);
	expect("write to read-only memory", SIGSEGV, SEGV_ACCERR, page + 5);
	if (!sigsetjmp(back, 1))
		((void (*)(void))(uintptr_t)page)();
	expect("jump to data", SIGSEGV, SEGV_ACCERR, page);
	if (!sigsetjmp(back, 1))
		poke(0x8000000000000000); // not canonical: #GP, and no address
	expect("write to no address", SIGSEGV, SI_KERNEL, NULL);
	CHECK(where == NULL);
	if (!sigsetjmp(back, 1))
		__asm__ volatile("hlt");
	expect("privileged instruction", SIGSEGV, SI_KERNEL, NULL);
	if (!sigsetjmp(back, 1))
		__asm__ volatile("ud2");
	expect("invalid instruction", SIGILL, ILL_ILLOPN, NULL);
	if (!sigsetjmp(back, 1)) {
		volatile int zero = 0;
		// Not in C: a compiler may take it for something that never happens.
		__asm__ volatile("xorl %%edx, %%edx; movl $1, %%eax; idivl %0" : : "r"(zero) : "eax", "edx");
	}
	expect("division by zero", SIGFPE, FPE_INTDIV, NULL);
	CHECK(munmap(page, 4096) == 0);
}

static char *repaired;

// repair gives a page its rights and lets the instruction try again.
static void repair(int sig, siginfo_t *info, void *context)
{
	ucontext_t *u = context;
	CHECK(sig == SIGSEGV && info->si_addr == repaired + 100);
	CHECK(u->uc_mcontext.gregs[REG_CR2] == (greg_t)(uintptr_t)(repaired + 100));
	CHECK(u->uc_mcontext.gregs[REG_TRAPNO] == 14);
	CHECK(mprotect(repaired, 4096, PROT_READ | PROT_WRITE) == 0);
	seen++;
}

// skip steps over the two bytes of UD2.
static void skip(int sig, siginfo_t *info, void *context)
{
	(void)sig, (void)info;
	((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP] += 2;
	((ucontext_t *)context)->uc_mcontext.gregs[REG_RBX] = 4711;
	seen++;
}

static void repairs(void)
{
	repaired = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(repaired != MAP_FAILED);
	handle(SIGSEGV, repair, SA_ONSTACK);
	handle(SIGILL, skip, 0);
	seen = 0;
	double kept = 1.25;
	__asm__ volatile("" : "+x"(kept));
	poke((uintptr_t)repaired + 100);
	__asm__ volatile("" : "+x"(kept));
	CHECK(seen == 1 && repaired[100] == 1 && kept == 1.25);
	long rbx = 1;
	__asm__ volatile("ud2" : "+b"(rbx));
	CHECK(seen == 2 && rbx == 4711);
	CHECK(munmap(repaired, 4096) == 0);
	puts("repaired and tried again");
}

static volatile sig_atomic_t count[65];
static pthread_t runner;

static void counting(int sig, siginfo_t *info, void *context)
{
	(void)info, (void)context;
	count[sig]++;
	// The signal itself is blocked while its handler runs.
	sigset_t now;
	CHECK(pthread_sigmask(SIG_SETMASK, NULL, &now) == 0 && sigismember(&now, sig));
}

static void masks(void)
{
	handle(SIGUSR1, counting, 0);
	handle(SIGUSR2, counting, SA_RESETHAND);
	CHECK(raise(SIGUSR1) == 0 && count[SIGUSR1] == 1);
	sigset_t usr1, old, pending;
	sigemptyset(&usr1);
	sigaddset(&usr1, SIGUSR1);
	CHECK(pthread_sigmask(SIG_BLOCK, &usr1, &old) == 0 && !sigismember(&old, SIGUSR1));
	CHECK(raise(SIGUSR1) == 0 && raise(SIGUSR1) == 0 && count[SIGUSR1] == 1);
	if (sigpending(&pending) == 0) // a Keep may not have it
		CHECK(sigismember(&pending, SIGUSR1));
	CHECK(pthread_sigmask(SIG_SETMASK, &old, NULL) == 0);
	CHECK(count[SIGUSR1] == 2); // once, however often it was sent
	CHECK(raise(SIGUSR2) == 0 && count[SIGUSR2] == 1);
	struct sigaction act;
	CHECK(sigaction(SIGUSR2, NULL, &act) == 0 && act.sa_handler == SIG_DFL);
	act.sa_handler = SIG_IGN;
	CHECK(sigaction(SIGUSR2, &act, NULL) == 0 && raise(SIGUSR2) == 0);
	CHECK(sigaction(SIGKILL, &act, NULL) == -1 && errno == EINVAL);
	CHECK(kill(getpid(), SIGUSR1) == 0 && count[SIGUSR1] == 3);
	CHECK(kill(getpid(), 0) == 0);
	puts("masks");
}

static volatile int spinning, stop;

static void *spin(void *arg)
{
	(void)arg;
	spinning = 1;
	while (!stop)
		;
	return NULL;
}

static void other(int sig, siginfo_t *info, void *context)
{
	(void)info, (void)context;
	CHECK(pthread_equal(pthread_self(), runner));
	count[sig]++;
	stop = 1;
}

// A signal reaches a thread that makes no system call.
static void threads(void)
{
	handle(SIGURG, other, SA_RESTART);
	CHECK(pthread_create(&runner, NULL, spin, NULL) == 0);
	while (!spinning)
		usleep(100);
	CHECK(pthread_kill(runner, SIGURG) == 0);
	CHECK(pthread_join(runner, NULL) == 0 && count[SIGURG] == 1);
	puts("a thread that computes");
}

static int cleaned;

static void cleanup(void *arg) { cleaned += *(int *)arg; }

static void *sleeps(void *arg)
{
	pthread_cleanup_push(cleanup, arg);
	int fds[2];
	char c;
	CHECK(pipe(fds) == 0);
	spinning = 2;
	(void)!read(fds[0], &c, 1); // for ever, if it is not cancelled
	pthread_cleanup_pop(0);
	return NULL;
}

static void *async(void *arg)
{
	CHECK(pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL) == 0);
	pthread_cleanup_push(cleanup, arg);
	spinning = 3;
	for (;;)
		;
	pthread_cleanup_pop(0);
	return NULL;
}

static void cancels(void)
{
	int amount = 5;
	void *(*all[])(void *) = {sleeps, async};
	for (int i = 0; i < 2; i++) {
		pthread_t t;
		void *result;
		CHECK(pthread_create(&t, NULL, all[i], &amount) == 0);
		while (spinning != i + 2)
			usleep(100);
		usleep(20000);
		CHECK(pthread_cancel(t) == 0);
		CHECK(pthread_join(t, &result) == 0 && result == PTHREAD_CANCELED);
	}
	CHECK(cleaned == 10);
	puts("cancelled");
}

int main(void)
{
	faults();
	repairs();
	masks();
	threads();
	cancels();
	return 0;
}

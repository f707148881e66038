// SPDX-License-Identifier: Apache-2.0

// Ends in the way that its argument names.

#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "check.h"

static void *leave(void *arg)
{
	(void)arg;
	exit(42);
}

static void *stay(void *arg)
{
	(void)arg;
	for (;;)
		;
	return NULL;
}

static long overflow(volatile long *above);
static long (*volatile again)(volatile long *) = overflow;

static long overflow(volatile long *above)
{
	volatile long here[1000];
	here[0] = above == NULL ? 1 : above[0] + 1;
	return again(here) + here[0];
}

int main(int argc, char **argv)
{
	CHECK(argc == 2);
	const char *how = argv[1];
	pthread_t t;
	printf("%s\n", how);
	fflush(stdout);
	CHECK(pthread_create(&t, NULL, stay, NULL) == 0);
	if (strcmp(how, "abort") == 0)
		abort();
	if (strcmp(how, "segv") == 0)
		poke(16);
	if (strcmp(how, "overflow") == 0)
		return (int)overflow(NULL);
	if (strcmp(how, "term") == 0)
		raise(SIGTERM);
	if (strcmp(how, "kill") == 0)
		kill(getpid(), SIGKILL);
	if (strcmp(how, "thread") == 0) {
		CHECK(pthread_create(&t, NULL, leave, NULL) == 0);
		for (;;)
			pause();
	}
	if (strcmp(how, "main") == 0) { // the others go on
		pthread_detach(pthread_self());
		CHECK(pthread_create(&t, NULL, leave, NULL) == 0);
		pthread_exit(NULL);
	}
	if (strcmp(how, "exit") == 0)
		_exit(0x1ff);
	return 99;
}

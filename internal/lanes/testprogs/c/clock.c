// SPDX-License-Identifier: Apache-2.0

// Clocks: those of the vDSO and of the system calls agree, none goes backwards, also
// between threads, and sleeping takes the time that was asked for.

#include <pthread.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "check.h"

static int64_t ns(const struct timespec *t)
{
	CHECK(t->tv_nsec >= 0 && t->tv_nsec < 1000000000);
	return t->tv_sec * 1000000000LL + t->tv_nsec;
}

static int64_t library(clockid_t id)
{
	struct timespec t;
	CHECK(clock_gettime(id, &t) == 0);
	return ns(&t);
}

static int64_t call(clockid_t id)
{
	struct timespec t;
	CHECK(syscall(SYS_clock_gettime, id, &t) == 0);
	return ns(&t);
}

// Each reading must lie between those before and after it.
static void agree(clockid_t id)
{
	int64_t last = library(id);
	for (int i = 0; i < 20000; i++) {
		int64_t now = i % 2 ? call(id) : library(id);
		CHECK(now >= last);
		last = now;
	}
}

static int64_t shared;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void *together(void *arg)
{
	(void)arg;
	for (int i = 0; i < 5000; i++) {
		CHECK(pthread_mutex_lock(&lock) == 0);
		int64_t now = library(CLOCK_MONOTONIC);
		CHECK(now >= shared);
		shared = now;
		CHECK(pthread_mutex_unlock(&lock) == 0);
	}
	return NULL;
}

static void sleeps(void)
{
	struct timespec wait = {0, 30000000}, rest;
	int64_t start = library(CLOCK_MONOTONIC);
	CHECK(nanosleep(&wait, &rest) == 0);
	int64_t took = library(CLOCK_MONOTONIC) - start;
	CHECK(took >= 30000000 && took < 5000000000);
	struct timespec until = {0, 0};
	int64_t deadline = library(CLOCK_MONOTONIC) + 30000000;
	until.tv_sec = deadline / 1000000000;
	until.tv_nsec = deadline % 1000000000;
	CHECK(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == 0);
	CHECK(library(CLOCK_MONOTONIC) >= deadline);
	CHECK(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &wait, NULL) == 0); // long ago
	wait.tv_nsec = 1000000000;
	CHECK(nanosleep(&wait, NULL) == -1 && errno == EINVAL);
}

int main(void)
{
	static const clockid_t all[] = {CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_MONOTONIC_RAW, CLOCK_BOOTTIME};
	for (size_t i = 0; i < sizeof all / sizeof *all; i++)
		agree(all[i]);
	// The coarse ones may stand still for a while, and lag by a tick.
	CHECK(llabs(library(CLOCK_REALTIME_COARSE) - library(CLOCK_REALTIME)) < 1000000000);
	CHECK(llabs(library(CLOCK_MONOTONIC_COARSE) - library(CLOCK_MONOTONIC)) < 1000000000);
	struct timeval tv;
	CHECK(gettimeofday(&tv, NULL) == 0);
	CHECK(llabs(tv.tv_sec - library(CLOCK_REALTIME) / 1000000000) <= 1 && tv.tv_usec < 1000000);
	CHECK(llabs(time(NULL) - tv.tv_sec) <= 1);
	CHECK(library(CLOCK_REALTIME) / 1000000000 > 1767225600); // 2026
	struct timespec t;
	CHECK(clock_getres(CLOCK_MONOTONIC, &t) == 0 && t.tv_sec == 0 && t.tv_nsec > 0);
	CHECK(clock_gettime(77, &t) == -1 && errno == EINVAL);
	CHECK(library(CLOCK_PROCESS_CPUTIME_ID) >= 0 && library(CLOCK_THREAD_CPUTIME_ID) >= 0);
	pthread_t threads[4];
	for (int i = 0; i < 4; i++)
		CHECK(pthread_create(&threads[i], NULL, together, NULL) == 0);
	for (int i = 0; i < 4; i++)
		CHECK(pthread_join(threads[i], NULL) == 0);
	sleeps();
	puts("clocks");
	return 0;
}

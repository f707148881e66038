// SPDX-License-Identifier: Apache-2.0

// A hundred threads: a counter behind a mutex, a turn that goes round by condition
// variable, a barrier, time-outs, thread-local data and keys with destructors.

#include <pthread.h>
#include <semaphore.h>
#include <time.h>
#include <unistd.h>

#include "check.h"

enum { THREADS = 100, ADDS = 1000, TURNS = 10 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER, turn_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t turn_changed = PTHREAD_COND_INITIALIZER;
static pthread_barrier_t barrier;
static pthread_key_t key;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static sem_t done;
static long counter, turns, destroyed, inits;
static __thread long mine = 7;

static void init(void) { inits++; }

static void destroy(void *p)
{
	CHECK(p != NULL);
	__atomic_add_fetch(&destroyed, 1, __ATOMIC_RELAXED);
}

static void *work(void *arg)
{
	long number = (long)(intptr_t)arg;
	CHECK(mine == 7);
	mine = number;
	CHECK(pthread_once(&once, init) == 0);
	CHECK(pthread_setspecific(key, &mine) == 0);
	int last = pthread_barrier_wait(&barrier);
	CHECK(last == 0 || last == PTHREAD_BARRIER_SERIAL_THREAD);
	for (int i = 0; i < ADDS; i++) {
		CHECK(pthread_mutex_lock(&lock) == 0);
		counter++;
		CHECK(pthread_mutex_unlock(&lock) == 0);
	}
	for (int round = 0; round < TURNS; round++) {
		CHECK(pthread_mutex_lock(&turn_lock) == 0);
		while (turns % THREADS != number)
			CHECK(pthread_cond_wait(&turn_changed, &turn_lock) == 0);
		turns++;
		CHECK(pthread_cond_broadcast(&turn_changed) == 0);
		CHECK(pthread_mutex_unlock(&turn_lock) == 0);
	}
	CHECK(mine == number);
	CHECK(sem_post(&done) == 0);
	return (void *)(number * number);
}

static void *post(void *arg)
{
	CHECK(sem_post(arg) == 0);
	return NULL;
}

static void times_out(void)
{
	pthread_cond_t never = PTHREAD_COND_INITIALIZER;
	struct timespec start, end, now;
	CHECK(clock_gettime(CLOCK_REALTIME, &start) == 0);
	end = start;
	end.tv_nsec += 30000000;
	if (end.tv_nsec >= 1000000000) {
		end.tv_sec++;
		end.tv_nsec -= 1000000000;
	}
	CHECK(pthread_mutex_lock(&lock) == 0);
	CHECK(pthread_cond_timedwait(&never, &lock, &end) == ETIMEDOUT);
	CHECK(pthread_mutex_unlock(&lock) == 0);
	CHECK(clock_gettime(CLOCK_REALTIME, &now) == 0);
	CHECK((now.tv_sec - start.tv_sec) * 1000000000L + now.tv_nsec - start.tv_nsec >= 30000000);
}

int main(void)
{
	pthread_t all[THREADS];
	CHECK(pthread_barrier_init(&barrier, NULL, THREADS) == 0);
	CHECK(pthread_key_create(&key, destroy) == 0);
	CHECK(sem_init(&done, 0, 0) == 0);
	for (long i = 0; i < THREADS; i++)
		CHECK(pthread_create(&all[i], NULL, work, (void *)i) == 0);
	for (int i = 0; i < THREADS; i++)
		CHECK(sem_wait(&done) == 0);
	long sum = 0;
	for (int i = 0; i < THREADS; i++) {
		void *result;
		CHECK(pthread_join(all[i], &result) == 0);
		sum += (long)(intptr_t)result;
	}
	times_out();
	// A thread that nobody joins, and one after another for as long as it takes to use
	// a stack or a thread's number twice.
	for (long i = 0; i < THREADS; i++) {
		pthread_t one;
		CHECK(pthread_create(&one, NULL, post, &done) == 0);
		CHECK(pthread_detach(one) == 0);
		CHECK(sem_wait(&done) == 0);
	}
	printf("counter %ld, turns %ld, sum %ld, destroyed %ld, once %ld\n", counter, turns, sum, destroyed, inits);
	return 0;
}

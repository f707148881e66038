// SPDX-License-Identifier: Apache-2.0

// Threads that each take and give back memory at random: malloc, realloc, mmap, mremap,
// mprotect and munmap, with what is in it checked at every step. The order of each
// thread's steps is fixed, and so is the sum of what it has read.

#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include "check.h"

enum { THREADS = 6, STEPS = 4000, SLOTS = 64, PAGE = 4096 };

struct slot {
	unsigned char *p;
	size_t size;
	unsigned char fill;
	int mapped;
};

static uint64_t sums[THREADS];

// verify checks the first and last bytes and some between, and adds to the sum.
static void verify(struct slot *s, uint64_t *sum, size_t size)
{
	for (size_t i = 0; i < size; i += i < 64 || i + 64 > size ? 1 : 61) {
		CHECK(s->p[i] == (unsigned char)(s->fill + i));
		*sum += s->p[i];
	}
}

static void fill(struct slot *s, size_t from, unsigned char value)
{
	if (from == 0)
		s->fill = value;
	for (size_t i = from; i < s->size; i++)
		s->p[i] = (unsigned char)(s->fill + i);
}

static void take(struct slot *s, uint64_t *seed)
{
	s->mapped = next(seed) % 3 == 0;
	if (s->mapped) {
		s->size = PAGE * (1 + next(seed) % 32);
		s->p = mmap(NULL, s->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		CHECK(s->p != MAP_FAILED);
		for (size_t i = 0; i < s->size; i += 512)
			CHECK(s->p[i] == 0);
	} else {
		s->size = 1 + next(seed) % (next(seed) % 10 ? 2000 : 300000);
		s->p = malloc(s->size);
		CHECK(s->p != NULL);
	}
	fill(s, 0, (unsigned char)next(seed));
}

static void resize(struct slot *s, uint64_t *seed, uint64_t *sum)
{
	size_t old = s->size;
	if (s->mapped) {
		s->size = PAGE * (1 + next(seed) % 48);
		s->p = mremap(s->p, old, s->size, MREMAP_MAYMOVE);
		CHECK(s->p != MAP_FAILED);
		for (size_t i = old; i < s->size; i += 512)
			CHECK(s->p[i] == 0);
	} else {
		s->size = 1 + next(seed) % 100000;
		s->p = realloc(s->p, s->size);
		CHECK(s->p != NULL);
	}
	verify(s, sum, old < s->size ? old : s->size);
	if (old < s->size)
		fill(s, old, 0);
}

// protect changes rights back and forth, of all pages and of one in the middle.
static void protect(struct slot *s, uint64_t *seed, uint64_t *sum)
{
	size_t page = next(seed) % (s->size / PAGE) * PAGE;
	CHECK(mprotect(s->p, s->size, PROT_READ) == 0);
	CHECK(mprotect(s->p + page, PAGE, PROT_NONE) == 0);
	if (page)
		*sum += s->p[page - 1];
	CHECK(mprotect(s->p + page, PAGE, PROT_READ | PROT_WRITE) == 0);
	s->p[page] ^= 255;
	s->p[page] ^= 255;
	CHECK(mprotect(s->p, s->size, PROT_READ | PROT_WRITE) == 0);
}

static void drop(struct slot *s)
{
	if (s->mapped) {
		// In pieces, the second first: leaving its neighbours mapped on both sides. Each
		// once, for what is unmapped may be another thread's at once.
		if (s->size > 2 * PAGE) {
			CHECK(munmap(s->p + PAGE, PAGE) == 0);
			CHECK(munmap(s->p, PAGE) == 0);
			CHECK(munmap(s->p + 2 * PAGE, s->size - 2 * PAGE) == 0);
		} else {
			CHECK(munmap(s->p, s->size) == 0);
		}
	} else {
		free(s->p);
	}
	s->p = NULL;
}

static void *work(void *arg)
{
	long number = (long)(intptr_t)arg;
	uint64_t seed = number + 1, sum = 0;
	struct slot slots[SLOTS] = {0};
	for (int step = 0; step < STEPS; step++) {
		struct slot *s = &slots[next(&seed) % SLOTS];
		if (s->p == NULL) {
			take(s, &seed);
			continue;
		}
		verify(s, &sum, s->size);
		switch (next(&seed) % 4) {
		case 0:
			resize(s, &seed, &sum);
			break;
		case 1:
			if (s->mapped)
				protect(s, &seed, &sum);
			break;
		case 2:
			fill(s, 0, (unsigned char)next(&seed));
			break;
		default:
			drop(s);
		}
	}
	for (int i = 0; i < SLOTS; i++) {
		if (slots[i].p != NULL) {
			verify(&slots[i], &sum, slots[i].size);
			drop(&slots[i]);
		}
	}
	sums[number] = sum;
	return NULL;
}

int main(void)
{
	pthread_t all[THREADS];
	for (long i = 0; i < THREADS; i++)
		CHECK(pthread_create(&all[i], NULL, work, (void *)i) == 0);
	for (int i = 0; i < THREADS; i++)
		CHECK(pthread_join(all[i], NULL) == 0);
	for (int i = 0; i < THREADS; i++)
		printf("thread %d: %llu\n", i, (unsigned long long)sums[i]);
	return 0;
}

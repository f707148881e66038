// SPDX-License-Identifier: Apache-2.0

// Takes much memory, uses it and gives it back, several times: in one piece, in small
// ones, and by MADV_DONTNEED. What comes back must be zero.

#include <sys/mman.h>
#include <unistd.h>

#include "check.h"

enum { MIB = 1 << 20, SIZE = 256 * MIB };

int main(void)
{
	for (int round = 0; round < 2; round++) {
		unsigned char *p = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		CHECK(p != MAP_FAILED);
		for (long i = 0; i < SIZE; i += 4096) {
			CHECK(p[i] == 0 && p[i + 4095] == 0);
			*(long *)(p + i) = i + round;
		}
		for (long i = 0; i < SIZE; i += 4096)
			CHECK(*(long *)(p + i) == i + round);
		CHECK(madvise(p, SIZE / 2, MADV_DONTNEED) == 0);
		for (long i = 0; i < SIZE; i += 4096)
			CHECK(*(long *)(p + i) == (i < SIZE / 2 ? 0 : i + round));
		CHECK(munmap(p, SIZE) == 0);
	}
	enum { PIECES = 1024 };
	static char *piece[PIECES];
	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < PIECES; i++) {
			piece[i] = malloc(64 << 10);
			CHECK(piece[i] != NULL);
			memset(piece[i], i + round, 64 << 10);
		}
		for (int i = 0; i < PIECES; i++) {
			CHECK(piece[i][12345] == (char)(i + round));
			free(piece[i]);
		}
	}
	// Address space alone costs nothing.
	void *reserved = mmap(NULL, 100UL << 30, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	CHECK(reserved != MAP_FAILED);
	char *used = (char *)reserved + (50UL << 30);
	CHECK(mprotect(used, MIB, PROT_READ | PROT_WRITE) == 0);
	memset(used, 1, MIB);
	CHECK(munmap(reserved, 100UL << 30) == 0);
	puts("256 MiB, and again in pieces");
	return 0;
}

// SPDX-License-Identifier: Apache-2.0

// What these programs share: a condition that does not hold is printed to standard
// error and ends the program with 1.

#pragma once

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(cond)                                                                  \
	do {                                                                         \
		if (!(cond)) {                                                       \
			fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #cond, strerror(errno)); \
			_exit(1);                                                    \
		}                                                                    \
	} while (0)

// next is a generator of numbers that looks random (xorshift64*).
static inline uint64_t next(uint64_t *state)
{
	uint64_t x = *state;
	x ^= x >> 12;
	x ^= x << 25;
	x ^= x >> 27;
	*state = x;
	return x * 0x2545F4914F6CDD1DULL;
}

// poke writes to an address of which the compiler must know nothing.
static inline void poke(volatile uintptr_t address) { *(volatile char *)address = 1; }

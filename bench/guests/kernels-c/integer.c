// SPDX-License-Identifier: Apache-2.0
// Integer work: mixing with table look-ups, FNV-1a, SHA-256, a prime sieve, and an
// interpreter of byte code (one switch in a loop).

#include "kernels.h"

#include <stdlib.h>
#include <string.h>

uint64_t k_mix(void) {
	uint8_t table[256];
	for (int i = 0; i < 256; i++)
		table[i] = (uint8_t)(i * 167 + 13);
	uint64_t a = 1, b = 2, c = 3;
	for (uint64_t i = 0; i < 5000000; i++) {
		a = rotl(a, 13) ^ (b + i);
		b = b * 0x2545F4914F6CDD1Du + table[a & 255];
		table[b >> 56] ^= (uint8_t)a;
		if ((a ^ b) & 1)
			c += b >> 32;
		else
			c ^= a;
		if (!(i & 7))
			c += a / (b | 1);
	}
	return fold(fold(fold(0, a), b), c);
}

static uint8_t *noise(size_t size, uint64_t seed) {
	uint8_t *data = need(malloc(size));
	for (size_t i = 0; i < size; i++)
		data[i] = (uint8_t)rnd(&seed);
	return data;
}

uint64_t k_fnv(void) {
	enum { SIZE = 1 << 20 };
	uint8_t *data = noise(SIZE, 1);
	uint64_t hash = FNV_OFFSET;
	for (int pass = 0; pass < 16; pass++)
		hash = fnv1a(hash, (const char *)data, SIZE);
	free(data);
	return hash;
}

static const uint32_t round_constants[64] = {
	0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
	0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
	0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
	0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
	0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
	0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
	0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
	0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static inline uint32_t rotr32(uint32_t x, int n) { return x >> n | x << (32 - n); }

static void sha256_block(uint32_t state[8], const uint8_t *block) {
	uint32_t w[64];
	for (int i = 0; i < 16; i++)
		w[i] = (uint32_t)block[4 * i] << 24 | (uint32_t)block[4 * i + 1] << 16 | (uint32_t)block[4 * i + 2] << 8 | block[4 * i + 3];
	for (int i = 16; i < 64; i++) {
		uint32_t s0 = rotr32(w[i - 15], 7) ^ rotr32(w[i - 15], 18) ^ w[i - 15] >> 3;
		uint32_t s1 = rotr32(w[i - 2], 17) ^ rotr32(w[i - 2], 19) ^ w[i - 2] >> 10;
		w[i] = w[i - 16] + s0 + w[i - 7] + s1;
	}
	uint32_t v[8];
	memcpy(v, state, sizeof v);
	for (int i = 0; i < 64; i++) {
		uint32_t s1 = rotr32(v[4], 6) ^ rotr32(v[4], 11) ^ rotr32(v[4], 25);
		uint32_t t1 = v[7] + s1 + ((v[4] & v[5]) ^ (~v[4] & v[6])) + round_constants[i] + w[i];
		uint32_t s0 = rotr32(v[0], 2) ^ rotr32(v[0], 13) ^ rotr32(v[0], 22);
		uint32_t t2 = s0 + ((v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]));
		v[7] = v[6], v[6] = v[5], v[5] = v[4], v[4] = v[3] + t1;
		v[3] = v[2], v[2] = v[1], v[1] = v[0], v[0] = t1 + t2;
	}
	for (int i = 0; i < 8; i++)
		state[i] += v[i];
}

// The first eight bytes of the SHA-256 of 4 MiB of zero bytes, so that any sha256
// program can confirm the constant.
uint64_t k_sha256(void) {
	enum { SIZE = 4 << 20 };
	uint32_t state[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
	uint8_t *data = need(calloc(SIZE, 1));
	for (size_t i = 0; i < SIZE; i += 64)
		sha256_block(state, data + i);
	free(data);
	uint8_t last[64] = {0x80};
	uint64_t length = (uint64_t)SIZE * 8;
	for (int i = 0; i < 8; i++)
		last[56 + i] = (uint8_t)(length >> (56 - 8 * i));
	sha256_block(state, last);
	return (uint64_t)state[0] << 32 | state[1];
}

uint64_t k_sieve(void) {
	enum { LIMIT = 6000000 };
	uint8_t *composite = need(calloc(LIMIT, 1));
	uint64_t count = 0, last = 0;
	for (uint32_t n = 2; n < LIMIT; n++) {
		if (composite[n])
			continue;
		count++;
		last = n;
		if (n >= 2450) // above the square root
			continue;
		for (uint32_t m = n * n; m < LIMIT; m += n)
			composite[m] = 1;
	}
	free(composite);
	return count << 32 | last;
}

// The program counts Collatz steps: registers n, steps, total, start, limit, spare.
enum { SET, ADD, MUL3, HALF, ODD, ONE, LESS, JUMP, MOVE, INC, HALT };
static const uint8_t program[][3] = {
	/*  0 */ {SET, 3, 1},    // start = 1
	/*  1 */ {MOVE, 0, 3},   // n = start
	/*  2 */ {SET, 1, 0},    // steps = 0
	/*  3 */ {ONE, 0, 10},   // if n == 1 goto 10
	/*  4 */ {INC, 1, 1},    // steps++
	/*  5 */ {ODD, 0, 8},    // if n is odd goto 8
	/*  6 */ {HALF, 0, 0},   // n /= 2
	/*  7 */ {JUMP, 0, 3},
	/*  8 */ {MUL3, 0, 0},   // n = 3n + 1
	/*  9 */ {JUMP, 0, 3},
	/* 10 */ {ADD, 2, 1},    // total += steps
	/* 11 */ {INC, 3, 1},    // start++
	/* 12 */ {LESS, 3, 1},   // if start < limit goto 1
	/* 13 */ {HALT, 0, 0},
};

uint64_t k_interp(void) {
	uint64_t reg[6] = {0, 0, 0, 0, 20000, 0}, executed = 0;
	for (uint32_t pc = 0;; executed++) {
		const uint8_t *op = program[pc++];
		switch (op[0]) {
		case SET: reg[op[1]] = op[2]; break;
		case ADD: reg[op[1]] += reg[op[2]]; break;
		case MUL3: reg[op[1]] = reg[op[1]] * 3 + 1; break;
		case HALF: reg[op[1]] >>= 1; break;
		case ODD: if (reg[op[1]] & 1) pc = op[2]; break;
		case ONE: if (reg[op[1]] == 1) pc = op[2]; break;
		case LESS: if (reg[op[1]] < reg[4]) pc = op[2]; break;
		case JUMP: pc = op[2]; break;
		case MOVE: reg[op[1]] = reg[op[2]]; break;
		case INC: reg[op[1]] += op[2]; break;
		case HALT: return fold(fold(0, reg[2]), executed);
		}
	}
}

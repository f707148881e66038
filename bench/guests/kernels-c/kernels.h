// SPDX-License-Identifier: Apache-2.0
// What the C kernels share. Each k_NAME does one round of work from a fixed seed
// and returns a checksum, the same on every machine and in every round; the Go
// twin in ../kernels-go computes the same value with the same algorithm.
#pragma once

#include <stddef.h>
#include <stdint.h>

// splitmix64
static inline uint64_t rnd(uint64_t *state) {
	uint64_t z = (*state += 0x9E3779B97F4A7C15u);
	z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
	z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
	return z ^ (z >> 31);
}

static inline uint64_t rotl(uint64_t x, int n) { return x << n | x >> (64 - n); }

// fold adds one word to a checksum.
static inline uint64_t fold(uint64_t sum, uint64_t word) {
	return rotl(sum ^ word, 23) * 0x9E3779B97F4A7C15u;
}

#define FNV_OFFSET 0xCBF29CE484222325u
#define FNV_PRIME 0x100000001B3u

static inline uint64_t fnv1a(uint64_t hash, const char *text, size_t size) {
	for (size_t i = 0; i < size; i++)
		hash = (hash ^ (uint8_t)text[i]) * FNV_PRIME;
	return hash;
}

// need returns its argument and ends the program if that is NULL.
void *need(void *memory);

uint64_t bits(double x);
uint64_t fold_doubles(uint64_t sum, const double *v, size_t n);

// real gives the next number in [-1, 1).
static inline double real(uint64_t *state) {
	return (double)(int64_t)(rnd(state) >> 11) / 4503599627370496.0 - 1.0;
}

uint64_t k_fnv(void);
uint64_t k_gemm(void);
uint64_t k_interp(void);
uint64_t k_jacobi(void);
uint64_t k_json(void);
uint64_t k_mandel(void);
uint64_t k_map(void);
uint64_t k_mix(void);
uint64_t k_nbody(void);
uint64_t k_sha256(void);
uint64_t k_sieve(void);
uint64_t k_sort(void);
uint64_t k_strings(void);
uint64_t k_tree(void);

// SPDX-License-Identifier: Apache-2.0
// kernels NAME ROUNDS: runs one CPU kernel and prints its checksum. Every round
// must give the same, so that none can be left out.

#include "kernels.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void *need(void *memory) {
	if (memory == NULL) {
		fputs("kernels: out of memory\n", stderr);
		exit(1);
	}
	return memory;
}

uint64_t bits(double x) {
	uint64_t u;
	memcpy(&u, &x, sizeof u);
	return u;
}

uint64_t fold_doubles(uint64_t sum, const double *v, size_t n) {
	for (size_t i = 0; i < n; i++)
		sum = fold(sum, bits(v[i]));
	return sum;
}

static uint64_t k_none(void) { return 0; }

static const struct kernel {
	const char *name;
	uint64_t (*run)(void);
} kernels[] = {
	{"fnv", k_fnv},       {"gemm", k_gemm},     {"interp", k_interp}, {"jacobi", k_jacobi}, {"json", k_json},
	{"mandel", k_mandel}, {"map", k_map},       {"mix", k_mix},       {"nbody", k_nbody},   {"none", k_none},
	{"sha256", k_sha256}, {"sieve", k_sieve},   {"sort", k_sort},     {"strings", k_strings}, {"tree", k_tree},
};

int main(int argc, char **argv) {
	int rounds = argc == 3 ? atoi(argv[2]) : 0;
	if (rounds < 1) {
		fputs("usage: kernels NAME ROUNDS\n", stderr);
		return 2;
	}
	for (size_t i = 0; i < sizeof kernels / sizeof *kernels; i++) {
		if (strcmp(kernels[i].name, argv[1]) != 0)
			continue;
		uint64_t sum = kernels[i].run();
		for (int round = 1; round < rounds; round++) {
			if (kernels[i].run() != sum) {
				fputs("kernels: two rounds differ\n", stderr);
				return 1;
			}
		}
		printf("%s %016" PRIx64 "\n", argv[1], sum);
		return 0;
	}
	fprintf(stderr, "kernels: no kernel is named %s\n", argv[1]);
	return 2;
}

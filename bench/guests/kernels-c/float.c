// SPDX-License-Identifier: Apache-2.0
// Floating point: matrix product, a stencil, five bodies under gravity, the
// Mandelbrot set. Only + - * / and sqrt, which IEEE 754 rounds the same everywhere;
// built with -ffp-contract=off, because a fused multiply-add rounds once less.

#include "kernels.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

uint64_t k_gemm(void) {
	enum { N = 256 };
	double *a = need(malloc(sizeof *a * N * N)), *b = need(malloc(sizeof *b * N * N)), *c = need(calloc(N * N, sizeof *c));
	uint64_t seed = 2;
	for (int i = 0; i < N * N; i++) {
		a[i] = real(&seed);
		b[i] = real(&seed);
	}
	for (int i = 0; i < N; i++)
		for (int k = 0; k < N; k++) {
			double f = a[i * N + k];
			for (int j = 0; j < N; j++)
				c[i * N + j] += f * b[k * N + j];
		}
	uint64_t sum = fold_doubles(0, c, N * N);
	free(a), free(b), free(c);
	return sum;
}

uint64_t k_jacobi(void) {
	enum { N = 500, STEPS = 40 };
	double *now = need(malloc(sizeof *now * N * N)), *next = need(malloc(sizeof *next * N * N));
	uint64_t seed = 3;
	for (int i = 0; i < N * N; i++)
		now[i] = real(&seed);
	memcpy(next, now, sizeof *now * N * N);
	for (int step = 0; step < STEPS; step++) {
		for (int y = 1; y < N - 1; y++)
			for (int x = 1; x < N - 1; x++) {
				const double *p = now + y * N + x;
				next[y * N + x] = 0.2 * (p[0] + p[-1] + p[1] + p[-N] + p[N]);
			}
		double *t = now;
		now = next, next = t;
	}
	uint64_t sum = fold_doubles(0, now, N * N);
	free(now), free(next);
	return sum;
}

struct body {
	double at[3], speed[3], mass;
};

static void advance(struct body *bodies, int n, double dt) {
	for (int i = 0; i < n; i++) {
		struct body *a = bodies + i;
		for (int j = i + 1; j < n; j++) {
			struct body *b = bodies + j;
			double x = a->at[0] - b->at[0], y = a->at[1] - b->at[1], z = a->at[2] - b->at[2];
			double square = x * x + y * y + z * z + 0.01;
			double pull = dt / (square * sqrt(square));
			double fa = b->mass * pull, fb = a->mass * pull;
			a->speed[0] -= x * fa, a->speed[1] -= y * fa, a->speed[2] -= z * fa;
			b->speed[0] += x * fb, b->speed[1] += y * fb, b->speed[2] += z * fb;
		}
	}
	for (int i = 0; i < n; i++)
		for (int d = 0; d < 3; d++)
			bodies[i].at[d] += dt * bodies[i].speed[d];
}

uint64_t k_nbody(void) {
	enum { BODIES = 5, STEPS = 150000 };
	struct body bodies[BODIES];
	uint64_t seed = 4, sum = 0;
	for (int i = 0; i < BODIES; i++) {
		for (int d = 0; d < 3; d++) {
			bodies[i].at[d] = real(&seed);
			bodies[i].speed[d] = real(&seed);
		}
		bodies[i].mass = 1.5 + real(&seed);
	}
	for (int step = 0; step < STEPS; step++)
		advance(bodies, BODIES, 0.001);
	for (int i = 0; i < BODIES; i++)
		sum = fold_doubles(sum, bodies[i].at, 3);
	return sum;
}

uint64_t k_mandel(void) {
	enum { WIDTH = 480, HEIGHT = 320, LIMIT = 200 };
	uint64_t sum = 0;
	for (int y = 0; y < HEIGHT; y++)
		for (int x = 0; x < WIDTH; x++) {
			double cr = 3.0 * x / WIDTH - 2.0, ci = 2.0 * y / HEIGHT - 1.0;
			double zr = 0, zi = 0, rr = 0, ii = 0;
			int n = 0;
			for (; n < LIMIT && rr + ii <= 4.0; n++) {
				zi = 2.0 * zr * zi + ci;
				zr = rr - ii + cr;
				rr = zr * zr;
				ii = zi * zi;
			}
			sum = fold(sum, (uint64_t)n);
		}
	return sum;
}

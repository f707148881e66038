// SPDX-License-Identifier: Apache-2.0
// Data structures: strings built, searched and joined; sorting with a comparison
// through a function pointer; a chained hash table and trees from malloc.

#include "kernels.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

struct text {
	char *at;
	size_t size, room;
};

static void append(struct text *t, const char *more, size_t size) {
	if (t->size + size > t->room) {
		t->room = 2 * t->room + size + 16;
		t->at = need(realloc(t->at, t->room));
	}
	memcpy(t->at + t->size, more, size);
	t->size += size;
}

static size_t word(char *out, uint64_t *seed, int shortest, int longest) {
	size_t size = (size_t)shortest + rnd(seed) % (uint64_t)(longest - shortest + 1);
	for (size_t i = 0; i < size; i++)
		out[i] = (char)('a' + rnd(seed) % 6);
	return size;
}

// Horspool's algorithm: how often the needle occurs, occurrences not overlapping.
static uint64_t occurrences(struct text t, const char *needle, size_t size) {
	size_t skip[256];
	for (int i = 0; i < 256; i++)
		skip[i] = size;
	for (size_t i = 0; i + 1 < size; i++)
		skip[(uint8_t)needle[i]] = size - 1 - i;
	uint64_t found = 0;
	for (size_t at = 0; at + size <= t.size;) {
		size_t i = size;
		while (i > 0 && t.at[at + i - 1] == needle[i - 1])
			i--;
		if (i == 0)
			found++;
		at += i == 0 ? size : skip[(uint8_t)t.at[at + size - 1]];
	}
	return found;
}

uint64_t k_strings(void) {
	struct text t = {0}, joined = {0};
	uint64_t seed = 5, sum = 0;
	char w[16];
	for (int i = 0; i < 100000; i++) {
		if (i > 0)
			append(&t, " ", 1);
		append(&t, w, word(w, &seed, 1, 9));
	}
	for (int i = 0; i < 24; i++) {
		size_t size = word(w, &seed, 2, 6);
		sum = fold(sum, occurrences(t, w, size));
	}
	for (size_t from = 0, to = 0; to <= t.size; to++) {
		if (to < t.size && t.at[to] != ' ')
			continue;
		if (from > 0)
			append(&joined, "--", 2);
		for (size_t i = from; i < to; i++) {
			char upper = (char)(t.at[i] - 'a' + 'A');
			append(&joined, &upper, 1);
		}
		from = to + 1;
	}
	sum = fold(sum, fnv1a(FNV_OFFSET, joined.at, joined.size));
	free(t.at), free(joined.at);
	return sum;
}

typedef int compare(const void *, const void *);

static int by_text(const void *a, const void *b) {
	const uint8_t *s = a, *t = b;
	while (*s && *s == *t)
		s++, t++;
	return *s - *t;
}

static void quicksort(void **v, size_t n, compare *cmp) {
	while (n > 12) {
		void *pivot = v[n / 2];
		size_t i = 0, j = n - 1;
		for (;; i++, j--) {
			while (cmp(v[i], pivot) < 0)
				i++;
			while (cmp(pivot, v[j]) < 0)
				j--;
			if (i >= j)
				break;
			void *t = v[i];
			v[i] = v[j], v[j] = t;
		}
		quicksort(v, i, cmp);
		v += i, n -= i;
	}
	for (size_t i = 1; i < n; i++) {
		void *x = v[i];
		size_t j = i;
		for (; j > 0 && cmp(x, v[j - 1]) < 0; j--)
			v[j] = v[j - 1];
		v[j] = x;
	}
}

uint64_t k_sort(void) {
	enum { N = 60000 };
	char *space = need(calloc(N, 16));
	void **words = need(malloc(sizeof *words * N));
	uint64_t seed = 6, sum = FNV_OFFSET;
	for (int i = 0; i < N; i++) {
		words[i] = space + 16 * i;
		word(words[i], &seed, 3, 14);
	}
	quicksort(words, N, by_text);
	for (int i = 0; i < N; i++)
		sum = fnv1a(sum, words[i], strlen(words[i]) + 1);
	free(words), free(space);
	return sum;
}

struct node {
	uint64_t key, value;
	struct node *next;
};

enum { BUCKETS = 1 << 15 };

static struct node **slot(struct node **table, uint64_t key) {
	struct node **at = &table[(key * 0x9E3779B97F4A7C15u) >> 49];
	while (*at != NULL && (*at)->key != key)
		at = &(*at)->next;
	return at;
}

// Of 400,000 steps two thirds store under one of 50,000 keys, one third deletes.
uint64_t k_map(void) {
	struct node **table = need(calloc(BUCKETS, sizeof *table));
	uint64_t seed = 7, sum = 0, size = 0;
	for (uint64_t i = 0; i < 400000; i++) {
		uint64_t r = rnd(&seed), key = r % 50000;
		struct node **at = slot(table, key), *n = *at;
		if (r >> 32 & 1 && n != NULL) {
			sum ^= n->value;
			*at = n->next;
			free(n);
			size--;
		} else if (n != NULL) {
			n->value += i;
		} else {
			n = *at = need(malloc(sizeof *n));
			*n = (struct node){key, i, NULL};
			size++;
		}
	}
	for (int i = 0; i < BUCKETS; i++)
		for (struct node *n = table[i], *next; n != NULL; n = next) {
			sum += n->key * n->value;
			next = n->next;
			free(n);
		}
	free(table);
	return fold(fold(0, sum), size);
}

struct tree {
	struct tree *left, *right;
	uint64_t value;
};

static struct tree *grow(int depth, uint64_t *seed) {
	struct tree *t = need(malloc(sizeof *t));
	*t = (struct tree){NULL, NULL, rnd(seed)};
	if (depth > 0) {
		t->left = grow(depth - 1, seed);
		t->right = grow(depth - 1, seed);
	}
	return t;
}

static uint64_t fell(struct tree *t) {
	uint64_t sum = t->value;
	if (t->left != NULL)
		sum = fold(fold(sum, fell(t->left)), fell(t->right));
	free(t);
	return sum;
}

uint64_t k_tree(void) {
	uint64_t seed = 8, sum = 0;
	for (int i = 0; i < 24; i++)
		sum = fold(sum, fell(grow(12, &seed)));
	return sum;
}

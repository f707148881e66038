// SPDX-License-Identifier: Apache-2.0
// JSON: a document is parsed into a tree of allocated values and written out again
// without white space. As much of RFC 8259 as the document uses: no \u escapes, and
// integers for numbers.

#include "kernels.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum kind { NIL, FALSE, TRUE, NUMBER, STRING, ARRAY, OBJECT };

struct value {
	enum kind kind;
	int64_t number;
	char *key, *text;
	struct value *first, *next;
};

struct out {
	char *at;
	size_t size, room;
};

static void put(struct out *o, const char *text, size_t size) {
	if (o->size + size > o->room) {
		o->room = 2 * o->room + size;
		o->at = need(realloc(o->at, o->room));
	}
	memcpy(o->at + o->size, text, size);
	o->size += size;
}

static void puts_to(struct out *o, const char *text) { put(o, text, strlen(text)); }

static void document(struct out *o) {
	uint64_t seed = 9;
	char line[256];
	puts_to(o, "[\n");
	for (int i = 0; i < 3000; i++) {
		uint64_t r = rnd(&seed);
		snprintf(line, sizeof line,
			"  {\n    \"id\": %d,\n    \"name\": \"item \\\"%c%c%c\\\"\\n\",\n    \"score\": %d,\n"
			"    \"tags\": [\"t%d\", \"u%d\"],\n    \"sizes\": [%d, %d, %d],\n    \"ok\": %s,\n    \"next\": null\n  }%s\n",
			i, (char)('a' + (r & 15)), (char)('a' + (r >> 4 & 15)), (char)('a' + (r >> 8 & 15)), (int)(r >> 12 & 65535) - 32768,
			(int)(r >> 28 & 31), (int)(r >> 33 & 31), (int)(r >> 38 & 255), (int)(r >> 46 & 255), (int)(r >> 54 & 255),
			r >> 63 ? "true" : "false", i < 2999 ? "," : "");
		puts_to(o, line);
	}
	puts_to(o, "]\n");
}

static void skip(const char **p) {
	while (**p == ' ' || **p == '\n' || **p == '\t' || **p == '\r')
		++*p;
}

static void bad(const char *at) {
	fprintf(stderr, "kernels: bad JSON at %.20s\n", at);
	exit(1);
}

static char *parse_string(const char **p) {
	const char *from = ++*p;
	size_t size = 0;
	for (; **p != '"'; ++*p, size++) {
		if (**p == '\\')
			++*p;
		if (**p == 0)
			bad(from);
	}
	char *text = need(malloc(size + 1));
	for (size_t i = 0; i < size; i++, from++) {
		if (*from == '\\')
			text[i] = *++from == 'n' ? '\n' : *from;
		else
			text[i] = *from;
	}
	text[size] = 0;
	++*p;
	return text;
}

static struct value *parse(const char **p);

static void parse_members(struct value *v, const char **p, char end) {
	struct value **tail = &v->first;
	++*p;
	for (skip(p); **p != end; skip(p)) {
		char *key = NULL;
		if (v->kind == OBJECT) {
			key = parse_string(p);
			skip(p);
			if (*(*p)++ != ':')
				bad(*p);
		}
		*tail = parse(p);
		(*tail)->key = key;
		tail = &(*tail)->next;
		skip(p);
		if (**p == ',')
			++*p;
		else if (**p != end)
			bad(*p);
	}
	++*p;
}

static bool literal(const char **p, const char *text) {
	size_t size = strlen(text);
	if (strncmp(*p, text, size) != 0)
		return false;
	*p += size;
	return true;
}

static struct value *parse(const char **p) {
	struct value *v = need(calloc(1, sizeof *v));
	skip(p);
	switch (**p) {
	case '{': v->kind = OBJECT; parse_members(v, p, '}'); return v;
	case '[': v->kind = ARRAY; parse_members(v, p, ']'); return v;
	case '"': v->kind = STRING; v->text = parse_string(p); return v;
	}
	if (literal(p, "null"))
		v->kind = NIL;
	else if (literal(p, "true"))
		v->kind = TRUE;
	else if (literal(p, "false"))
		v->kind = FALSE;
	else {
		char *end;
		v->kind = NUMBER;
		v->number = strtoll(*p, &end, 10);
		if (end == *p)
			bad(*p);
		*p = end;
	}
	return v;
}

static void write_string(struct out *o, const char *text) {
	put(o, "\"", 1);
	for (; *text; text++) {
		if (*text == '\n')
			put(o, "\\n", 2);
		else if (*text == '"' || *text == '\\') {
			put(o, "\\", 1);
			put(o, text, 1);
		} else
			put(o, text, 1);
	}
	put(o, "\"", 1);
}

static void write(struct out *o, const struct value *v) {
	static const char *const words[] = {"null", "false", "true"};
	char number[24];
	switch (v->kind) {
	case NIL: case FALSE: case TRUE: puts_to(o, words[v->kind]); break;
	case NUMBER: put(o, number, (size_t)snprintf(number, sizeof number, "%lld", (long long)v->number)); break;
	case STRING: write_string(o, v->text); break;
	case ARRAY: case OBJECT:
		put(o, v->kind == ARRAY ? "[" : "{", 1);
		for (const struct value *m = v->first; m != NULL; m = m->next) {
			if (m != v->first)
				put(o, ",", 1);
			if (m->key != NULL) {
				write_string(o, m->key);
				put(o, ":", 1);
			}
			write(o, m);
		}
		put(o, v->kind == ARRAY ? "]" : "}", 1);
	}
}

static void discard(struct value *v) {
	for (struct value *next; v != NULL; v = next) {
		next = v->next;
		discard(v->first);
		free(v->key), free(v->text), free(v);
	}
}

uint64_t k_json(void) {
	struct out in = {0}, out = {0};
	document(&in);
	put(&in, "", 1);
	const char *p = in.at;
	struct value *v = parse(&p);
	write(&out, v);
	uint64_t sum = fnv1a(FNV_OFFSET, out.at, out.size);
	discard(v);
	free(in.at), free(out.at);
	return sum;
}

// SPDX-License-Identifier: Apache-2.0
// hold [MIB]: takes that much memory, writes to every page of it, says so, and
// stays until its standard input ends.

#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv) {
	size_t size = argc > 1 ? (size_t)atoi(argv[1]) << 20 : 0;
	volatile char *memory = malloc(size + 1);
	if (memory == NULL) {
		fputs("hold: out of memory\n", stderr);
		return 1;
	}
	for (size_t at = 0; at < size; at += 4096)
		memory[at] = 1;
	puts("ready");
	fflush(stdout);
	while (getchar() != EOF)
		continue;
	return 0;
}

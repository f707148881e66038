// SPDX-License-Identifier: Apache-2.0

// Prints its arguments and ends with the exit code that the first one names.

#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv) {
	for (int i = 1; i < argc; i++)
		printf("argument %d: %s\n", i, argv[i]);
	if (argc < 2)
		return 0;
	char *end;
	long code = strtol(argv[1], &end, 10);
	if (end == argv[1] || *end != '\0' || code < 0 || code > 125) {
		fprintf(stderr, "exit: %s is not an exit code between 0 and 125\n", argv[1]);
		return 2;
	}
	return (int)code;
}

// SPDX-License-Identifier: Apache-2.0

// Copies standard input to standard output until end of file.

#include <stdio.h>
#include <unistd.h>

static char buf[64 * 1024];

int main(void) {
	ssize_t n;
	while ((n = read(STDIN_FILENO, buf, sizeof buf)) > 0) {
		for (ssize_t done = 0; done < n;) {
			ssize_t w = write(STDOUT_FILENO, buf + done, (size_t)(n - done));
			if (w < 0) {
				perror("echo: write");
				return 1;
			}
			done += w;
		}
	}
	if (n < 0) {
		perror("echo: read");
		return 1;
	}
	return 0;
}

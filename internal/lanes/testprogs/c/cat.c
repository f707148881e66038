// SPDX-License-Identifier: Apache-2.0

// Copies standard input to standard output in pieces of many sizes, one of them the
// whole of a megabyte.

#include <sys/uio.h>
#include <unistd.h>

#include "check.h"

static char buf[1 << 20];

int main(void)
{
	uint64_t seed = 1;
	for (long round = 0;; round++) {
		size_t want = round % 8 == 7 ? sizeof buf : 1 + next(&seed) % 100000;
		struct iovec in[2] = {{buf, want / 2}, {buf + want / 2, want - want / 2}};
		ssize_t n = round % 2 ? readv(0, in, 2) : read(0, buf, want);
		CHECK(n >= 0);
		if (n == 0)
			return 0;
		for (ssize_t off = 0; off < n;) {
			struct iovec out[3] = {{buf + off, (n - off) / 3}, {NULL, 0}, {buf + off + (n - off) / 3, (n - off) - (n - off) / 3}};
			ssize_t w = round % 3 ? writev(1, out, 3) : write(1, buf + off, n - off);
			CHECK(w > 0);
			off += w;
		}
	}
}

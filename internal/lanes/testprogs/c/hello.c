// SPDX-License-Identifier: Apache-2.0

// The smallest program: five system calls.

#include <stdio.h>

int main(void)
{
	puts("hello, world");
	return 0;
}

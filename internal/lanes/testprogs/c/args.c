// SPDX-License-Identifier: Apache-2.0

// Prints its arguments without the first, checks what the kernel tells a program at
// its start, and exits with the number of arguments.

#include <elf.h>
#include <stddef.h>
#include <sys/auxv.h>
#include <unistd.h>

#include "check.h"

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		printf("%d %s\n", i, argv[i]);
	CHECK(argv[argc] == NULL);
	CHECK(getauxval(AT_PAGESZ) == 4096);
	CHECK(getauxval(AT_SECURE) == 0);
	CHECK(getauxval(AT_RANDOM) != 0);
	CHECK(getauxval(AT_PHENT) == sizeof(Elf64_Phdr));
	CHECK(getauxval(AT_EXECFN) != 0);
	CHECK(getauxval(AT_UID) == getuid() && getauxval(AT_EGID) == getegid());
	CHECK(((uintptr_t)__builtin_frame_address(0) & 15) == 0);
	// The program headers are where AT_PHDR says: one of them is of a loaded segment
	// in which AT_ENTRY lies.
	Elf64_Phdr *ph = (void *)getauxval(AT_PHDR);
	unsigned long n = getauxval(AT_PHNUM), entry = getauxval(AT_ENTRY), bias = 0;
	int found = 0;
	CHECK(ph != NULL && n > 0);
	extern char __ehdr_start[] __attribute__((weak, visibility("hidden")));
	Elf64_Ehdr *eh = (void *)__ehdr_start;
	if (eh != NULL) {
		CHECK(memcmp(eh->e_ident, ELFMAG, SELFMAG) == 0);
		CHECK((char *)eh + eh->e_phoff == (char *)ph && eh->e_phnum == n);
		if (eh->e_type == ET_DYN)
			bias = (unsigned long)eh;
	}
	for (unsigned long i = 0; i < n; i++)
		found |= ph[i].p_type == PT_LOAD && entry - bias - ph[i].p_vaddr < ph[i].p_filesz;
	CHECK(found);
	return argc - 1;
}

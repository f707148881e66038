// SPDX-License-Identifier: Apache-2.0

// Writes, renames, measures and reads back files in the Keep's in-memory /tmp.

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static void die(const char *what) {
	fprintf(stderr, "files: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void write_file(const char *path, const char *text) {
	FILE *f = fopen(path, "w");
	if (!f)
		die(path);
	if (fputs(text, f) < 0 || fclose(f) != 0)
		die(path);
}

int main(void) {
	if (mkdir("/tmp/out", 0700) != 0)
		die("mkdir /tmp/out");
	write_file("/tmp/out/draft", "memory only: gone when the Keep ends\n");
	if (rename("/tmp/out/draft", "/tmp/out/final") != 0)
		die("rename");
	if (fopen("/tmp/out/draft", "r") || errno != ENOENT)
		die("the old name is still there");

	DIR *dir = opendir("/tmp/out");
	if (!dir)
		die("opendir /tmp/out");
	for (struct dirent *e; (e = readdir(dir));) {
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			printf("entry: %s\n", e->d_name);
	}
	closedir(dir);

	struct stat st;
	if (stat("/tmp/out/final", &st) != 0)
		die("stat");
	printf("size: %lld\n", (long long)st.st_size);

	char line[80];
	FILE *f = fopen("/tmp/out/final", "r");
	if (!f || !fgets(line, sizeof line, f))
		die("reading /tmp/out/final");
	fclose(f);
	printf("content: %s", line);

	if (fopen("/etc/passwd", "r"))
		die("the host's files must not be visible");
	printf("/etc/passwd: %s\n", strerror(errno));
	return 0;
}

// SPDX-License-Identifier: Apache-2.0
// Copies lines of standard input to FILE, each with the size that LOG had when the line was read: what was acknowledged by then is
// in the log before that place. Without LOG the size is 0.
//
//	acks FILE [LOG]
#include <stdio.h>
#include <sys/stat.h>

int main(int argc, char **argv)
{
	char line[4096];
	FILE *out = argc > 1 ? fopen(argv[1], "w") : NULL;
	if (!out)
		return 2;
	while (fgets(line, sizeof line, stdin)) {
		struct stat st = {.st_size = 0};
		if (argc > 2)
			stat(argv[2], &st);
		fprintf(out, "%ld %s", (long)st.st_size, line);
		fflush(out);
	}
	return 0;
}

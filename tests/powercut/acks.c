// SPDX-License-Identifier: Apache-2.0
// Copies lines of standard input to FILE, each with the size that LOG had when the line was read: what was acknowledged by then is
// in the log before that place. Without LOG the size is 0. With `kill`, the process PID is killed MICROSECONDS after the given number of
// LINES, whatever else this machine does; what it had said by then is still read.
//
//	acks FILE [LOG | kill PID LINES MICROSECONDS]
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	char line[4096];
	FILE *out = argc > 1 ? fopen(argv[1], "w") : NULL;
	pid_t pid = argc > 5 && !strcmp(argv[2], "kill") ? atoi(argv[3]) : 0;
	if (!out)
		return 2;
	for (long n = 1; fgets(line, sizeof line, stdin); n++) {
		struct stat st = {.st_size = 0};
		if (argc == 3)
			stat(argv[2], &st);
		fprintf(out, "%ld %s", (long)st.st_size, line);
		fflush(out);
		if (pid && n == atol(argv[4])) {
			usleep((useconds_t)atol(argv[5]));
			kill(pid, SIGKILL);
		}
	}
	return 0;
}

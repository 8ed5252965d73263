// SPDX-License-Identifier: Apache-2.0
// A small program of many parts: arguments, environment, files, a child, a thread-free malloc loop.
// Built against glibc and musl, static and dynamic, PIE and not.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static int table[1000];

int main(int argc, char **argv)
{
	printf("argc %d:", argc);
	for (int i = 1; i < argc; i++)
		printf(" %s", argv[i]);
	printf("\nGREETING=%s\n", getenv("GREETING") ? getenv("GREETING") : "(none)");
	for (int i = 0; i < 1000; i++)
		table[i] = i * i;
	long sum = 0;
	for (int i = 0; i < 1000; i++) {
		char *p = malloc((size_t)i * 100 + 1);
		memset(p, i, (size_t)i * 100 + 1);
		sum += table[i] + p[i];
		free(p);
	}
	printf("sum %ld\n", sum);
	FILE *f = tmpfile();
	fprintf(f, "%.10f", 2.0 / 3.0);
	rewind(f);
	double d;
	if (fscanf(f, "%lf", &d) == 1)
		printf("read back %.6f\n", d);
	fflush(stdout);
	pid_t p = fork();
	if (p == 0)
		exit(17);
	int st;
	waitpid(p, &st, 0);
	printf("child %d\n", WEXITSTATUS(st));
	return 3;
}

// SPDX-License-Identifier: Apache-2.0
// A program to be traced and debugged: recursion, a global to watch, a thread, a system call whose result is printed.
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct point {
	int x, y;
};
static struct point origin = {3, 4};
static volatile int total;

__attribute__((noinline)) static int factorial(int n)
{
	if (n < 2)
		return 1;
	total += n;
	return n * factorial(n - 1);
}

__attribute__((noinline)) static int sum(const struct point *p) { return p->x + p->y; }

static void *worker(void *arg)
{
	total += 100;
	return arg;
}

int main(int argc, char **argv)
{
	pthread_t t;
	char c;

	if (argc > 1 && !strcmp(argv[1], "ppid")) {
		printf("getppid says %ld\n", (long)getppid());
		return 0;
	}
	if (argc > 1 && !strcmp(argv[1], "wait"))
		return read(0, &c, 1) == 1 ? c : 0;
	int f = factorial(4);
	if (pthread_create(&t, NULL, worker, NULL) || pthread_join(t, NULL))
		return 1;
	printf("factorial %d total %d sum %d\n", f, total, sum(&origin));
	return 0;
}

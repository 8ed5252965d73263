// SPDX-License-Identifier: Apache-2.0
// What connections cost that wait: N of them are made over the loopback, or to ADDRESS PORT (somebody who accepts), each carries a little data,
// then they idle.
//
//	idle N [ADDRESS PORT]
//
// One line a result, as micro.c prints them: connect (time of one), memory (objects of the kernel, for each connection with both ends where they
// are in it), poll (epoll_wait with N idle ones and one that is ready), close.
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static void die(const char *what)
{
	fprintf(stderr, "idle: %s: %s\n", what, strerror(errno));
	exit(1);
}

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

// The kernel's own objects; in Linux as in the enclave sockets, files and inodes are among them, and the data that waits is none.
static long kernel_objects(void)
{
	char line[128];
	long kb = -1;
	FILE *f = fopen("/proc/meminfo", "r");
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "Slab: %ld", &kb) == 1)
			break;
	if (f)
		fclose(f);
	return kb * 1024;
}

int main(int argc, char **argv)
{
	int n = argc > 1 ? atoi(argv[1]) : 10000, l = -1, ep = epoll_create1(0);
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct rlimit r = {(rlim_t)(2 * n + 100), (rlim_t)(2 * n + 100)}, old;
	socklen_t len = sizeof(a);
	int *c = calloc((size_t)n, sizeof(int)), *s = calloc((size_t)n, sizeof(int));
	char b[128] = "";

	if (n < 1 || !c || !s || ep < 0)
		die("start");
	if (setrlimit(RLIMIT_NOFILE, &r) && getrlimit(RLIMIT_NOFILE, &old) == 0) {
		old.rlim_cur = old.rlim_max;
		setrlimit(RLIMIT_NOFILE, &old);
	}
	if (argc > 3) {
		a.sin_port = htons((uint16_t)atoi(argv[3]));
		if (inet_pton(AF_INET, argv[2], &a.sin_addr) != 1)
			die("address");
	} else {
		l = socket(AF_INET, SOCK_STREAM, 0);
		if (l < 0 || bind(l, (struct sockaddr *)&a, sizeof(a)) || listen(l, 4096) || getsockname(l, (struct sockaddr *)&a, &len))
			die("listen");
	}
	memset(c, 0xff, (size_t)n * sizeof(int)); // touched before memory is measured
	memset(s, 0xff, (size_t)n * sizeof(int));
	long before = kernel_objects();
	double from = now();
	for (int k = 0; k < n; k++) {
		c[k] = socket(AF_INET, SOCK_STREAM, 0);
		if (c[k] < 0 || connect(c[k], (struct sockaddr *)&a, sizeof(a)))
			die("connect");
		if (l >= 0 && (s[k] = accept(l, NULL, NULL)) < 0)
			die("accept");
	}
	printf("connect %.0f ns lower\n", (now() - from) / n);
	for (int k = 0; k < n; k++) {
		struct epoll_event ev = {.events = EPOLLIN, .data.u32 = (unsigned)k};
		if (epoll_ctl(ep, EPOLL_CTL_ADD, l >= 0 ? s[k] : c[k], &ev))
			die("epoll_ctl");
		if (write(c[k], b, sizeof(b)) != sizeof(b) || (l >= 0 && read(s[k], b, sizeof(b)) != sizeof(b)))
			die("data");
		if (l >= 0 && (write(s[k], b, sizeof(b)) != sizeof(b) || read(c[k], b, sizeof(b)) != sizeof(b)))
			die("data");
	}
	printf("memory %.0f bytes lower\n", (double)(kernel_objects() - before) / n);
	if (l >= 0) {
		struct epoll_event ev;
		enum { ROUNDS = 100000 };
		from = now();
		for (int k = 0; k < ROUNDS; k++) {
			int at = (int)((unsigned)k * 7919u % (unsigned)n);
			if (write(c[at], b, 1) != 1 || epoll_wait(ep, &ev, 1, -1) != 1 || ev.data.u32 != (unsigned)at || read(s[at], b, 1) != 1)
				die("poll");
		}
		printf("poll %.0f ns lower\n", (now() - from) / ROUNDS);
	}
	from = now();
	for (int k = 0; k < n; k++) {
		close(c[k]);
		if (l >= 0)
			close(s[k]);
	}
	printf("close %.0f ns lower\n", (now() - from) / n);
	return 0;
}

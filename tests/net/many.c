// SPDX-License-Identifier: Apache-2.0
// A server with thousands of connections that idle, over the loopback and from outside: run natively and inside (tests/net/run, which starts
// `many --helper holder` outside and says by MANY how many descriptors allow for). All are there, none is ready but the one that is used, and that
// one works.
#define T_LIMIT 200	// seconds; a few are needed
#include "tests/kernel/t.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>

#define OUT4 "198.51.100.1"
// STEP: so many are made before the last of them has been accepted: a full backlog costs seconds, as clients only try again then.
enum { HOLDER = 9006, PUBLISHED = 7003, USES = 300, STEP = 500, BACKLOG = 4096, SPARE = 100 };
#define ADDR(a) (struct sockaddr *)&(a), sizeof(a)

static void raise_limit(void)
{
	struct rlimit l;
	OK(getrlimit(RLIMIT_NOFILE, &l));
	l.rlim_cur = l.rlim_max;
	OK(setrlimit(RLIMIT_NOFILE, &l));
}

// --- whoever holds the other ends

// Reads "PORT ADDRESS N", makes N connections there, each of which says its number, and answers with how many there are; then a number: asks through
// that one, and answers with what came back. Until the end.
static void hold(int s)
{
	FILE *in = fdopen(s, "r");
	char line[64], address[32];
	unsigned port, n, at, made = 0;
	if (!in || !fgets(line, sizeof(line), in) || sscanf(line, "%u %31s %u", &port, address, &n) != 3)
		return;
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	inet_pton(AF_INET, address, &a.sin_addr);
	const struct linger now = {.l_onoff = 1};
	int *c = calloc(n, sizeof(int));
	for (; c && made < n; made++) {
		c[made] = socket(AF_INET, SOCK_STREAM, 0);
		setsockopt(c[made], SOL_SOCKET, SO_LINGER, &now, sizeof(now)); // in TIME_WAIT they would have the ports that the next ones look for
		if (c[made] < 0 || connect(c[made], ADDR(a)) || write(c[made], &made, sizeof(made)) != sizeof(made) ||
		    (made % STEP == STEP - 1 && read(c[made], line, 1) != 1)) {
			dprintf(s, "%u: %s\n", made, strerror(errno));
			return;
		}
	}
	dprintf(s, "%u\n", made);
	while (fgets(line, sizeof(line), in) && sscanf(line, "%u", &at) == 1 && at < n) {
		char x = 'q';
		ssize_t got = write(c[at], &x, 1) == 1 ? read(c[at], &x, 1) : -1;
		dprintf(s, "%c\n", got == 1 ? x : '-');
	}
}

HELPER(holder)
{
	struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(HOLDER)};
	int l = OK(socket(AF_INET, SOCK_STREAM, 0));
	OK(setsockopt(l, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int)));
	raise_limit();
	signal(SIGCHLD, SIG_IGN);
	OK(bind(l, ADDR(any)));
	OK(listen(l, 8));
	for (;;) {
		int s = OK(accept(l, NULL, NULL));
		if (!OK(fork())) {
			hold(s);
			_exit(0);
		}
		close(s);
	}
}

// --- the server

static long kernel_objects(void)
{
	char line[128];
	long kb = 0;
	FILE *f = fopen("/proc/meminfo", "r");
	while (f && fgets(line, sizeof(line), f) && sscanf(line, "Slab: %ld", &kb) != 1)
		;
	if (f)
		fclose(f);
	return kb * 1024;
}

static void answered(int cmd, char *line, size_t n)
{
	size_t got = 0;
	while (got < n - 1 && t_readn(cmd, line + got, 1) == 1 && line[got] != '\n')
		got++;
	line[got] = '\0';
}

// Accepts n connections into an epoll set, by the number that each says.
static int collect(int l, unsigned n, int *of)
{
	int ep = OK(epoll_create1(0));
	for (unsigned k = 0; k < n; k++) {
		int s = OK(accept(l, NULL, NULL));
		unsigned at = n;
		EQ(t_readn(s, &at, sizeof(at)), sizeof(at));
		CHECK(at < n && !of[at]);
		of[at] = s;
		struct epoll_event e = {.events = EPOLLIN, .data.u32 = at};
		OK(epoll_ctl(ep, EPOLL_CTL_ADD, s, &e));
		if (at % STEP == STEP - 1)
			EQ(write(s, "s", 1), 1);
	}
	return ep;
}

static void serve(int l, int cmd, unsigned port, const char *address, unsigned n)
{
	struct epoll_event e[8];
	char line[64], x;
	unsigned at = 0;
	int *of = calloc(n, sizeof(int));
	CHECK(of);
	long before = kernel_objects();
	dprintf(cmd, "%u %s %u\n", port, address, n);
	int ep = collect(l, n, of);
	answered(cmd, line, sizeof(line));
	EQ(atoi(line), (int)n);
	if (kernel_objects() > before)	// the case before may have left some that are still on their way out
		printf("# %u idle connections of %s: %.2f KB each of the kernel's objects\n", n, address, (double)(kernel_objects() - before) / 1024 / n);
	fflush(stdout);
	EQ(epoll_wait(ep, e, 8, 0), 0);
	for (unsigned k = 0; k < USES; k++) {
		at = k * 7919u % n;
		dprintf(cmd, "%u\n", at);
		EQ(epoll_wait(ep, e, 8, -1), 1);	// that one, and no other
		EQ(e[0].data.u32, at);
		EQ(e[0].events, EPOLLIN);
		EQ(read(of[at], &x, 1), 1);
		EQ(x, 'q');
		EQ(write(of[at], "r", 1), 1);
		answered(cmd, line, sizeof(line));
		STREQ(line, "r");
	}
	EQ(epoll_wait(ep, e, 8, 0), 0);
	close(cmd);	// and all of them end
	unsigned ended = 0;
	while (ended < n) {
		int got = OK(epoll_wait(ep, e, 8, -1));
		for (int k = 0; k < got; k++, ended++) {
			ERR(read(of[e[k].data.u32], &x, 1), ECONNRESET);
			close(of[e[k].data.u32]);
		}
	}
}

static unsigned many(void)
{
	const char *text = getenv("MANY");
	struct rlimit l;
	raise_limit();
	OK(getrlimit(RLIMIT_NOFILE, &l));
	unsigned n = text ? (unsigned)atoi(text) : 10000;
	if (n + SPARE > l.rlim_cur)
		n = (unsigned)l.rlim_cur - SPARE;
	if (n < 1000)
		SKIP("too few descriptors");
	return n;
}

static int listener(unsigned port, struct sockaddr_in *a)
{
	socklen_t len = sizeof(*a);
	int l = OK(socket(AF_INET, SOCK_STREAM, 0));
	*a = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	OK(setsockopt(l, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int)));
	OK(bind(l, ADDR(*a)));
	OK(listen(l, BACKLOG));
	OK(getsockname(l, (void *)a, &len));
	return l;
}

// Both ends in here, in two processes.
TEST(many_idle_over_the_loopback)
{
	struct sockaddr_in a;
	unsigned n = many();
	int cmd[2], l = listener(0, &a);
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, cmd));
	pid_t other = OK(fork());
	if (!other) {
		close(cmd[0]);
		close(l);
		hold(cmd[1]);
		_exit(0);
	}
	close(cmd[1]);
	serve(l, cmd[0], ntohs(a.sin_port), "127.0.0.1", n);
	EQ(waitpid(other, NULL, 0), other);
}

TEST(many_idle_from_outside)
{
	struct sockaddr_in a, holder = {.sin_family = AF_INET, .sin_port = htons(HOLDER)};
	unsigned n = many();
	int l = listener(PUBLISHED, &a), cmd = OK(socket(AF_INET, SOCK_STREAM, 0));
	inet_pton(AF_INET, OUT4, &holder.sin_addr);
	OK(connect(cmd, ADDR(holder)));
	serve(l, cmd, PUBLISHED, OUT4, n);
}

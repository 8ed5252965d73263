// SPDX-License-Identifier: Apache-2.0
// Robustness: many of everything, one after the other and at once, and sudden deaths. Ordinary programs that also run natively.
// SOAK in the environment makes the numbers large. Cases that look for leaks compare /proc/coffer/objects before and after.
#define T_LIMIT 3600
#include <linux/futex.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <spawn.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/un.h>

#include "tests/kernel/t.h"

static long times(long quick, long soak) { return getenv("SOAK") ? soak : quick; }

// --- counters of the kernel

struct counter {
	char name[32];
	long value;
};
enum { COUNTERS = 128 };

static int counters(struct counter *c)
{
	FILE *f = fopen("/proc/coffer/objects", "r");
	int n = 0;
	while (f && n < COUNTERS && fscanf(f, "%31s %ld", c[n].name, &c[n].value) == 2)
		n++;
	if (f)
		fclose(f);
	return n;
}

// Slabs of the kernel stay as large as they were at most; pages_used contains an estimate of private memory.
static bool small_growth(const struct counter *before, const struct counter *after, long room)
{
	if (!strcmp(after->name, "pages_held"))
		room *= 32;
	return after->value <= before->value + room || !strcmp(after->name, "pages_used");
}

// Repeats something with a first round that fills the caches; afterwards no counter may have grown by more than `room`.
static void no_leak(void (*fn)(long), long n, long room)
{
	struct counter before[COUNTERS], after[COUNTERS];
	fn(n / 10 + 1);
	int k = counters(before);
	fn(n);
	for (int tries = 0;; tries++) { // what the host still has to clean up
		char grown[400] = "";
		int at = 0;
		if (counters(after) != k)
			t_fail(__LINE__, "other counters");
		for (int i = 0; i < k; i++)
			if (!small_growth(&before[i], &after[i], room))
				at += snprintf(grown + at, at < 300 ? sizeof(grown) - (size_t)at : 0, " %.31s %ld -> %ld", before[i].name,
					       before[i].value, after[i].value);
		if (!grown[0])
			return;
		if (tries == 50)
			t_fail(__LINE__, "grown in %ld rounds:%s", n, grown);
		t_sleep_ms(20);
	}
}

// --- one after the other

static void fork_exit(long n)
{
	for (long i = 0; i < n; i++) {
		pid_t p = OK(fork());
		if (!p)
			_exit((int)(i & 127));
		EQ(t_wait(p), i & 127);
	}
}
TEST(fork_exit) { no_leak(fork_exit, times(10000, 1000000), 64); }

HELPER(nothing) { return 7; }

static pid_t vfork_nothing(void)
{
	char *argv[] = {t_self, "--helper", "nothing", NULL};
	pid_t p = vfork();
	if (!p) {
		execv(t_self, argv);
		_exit(1);
	}
	return p;
}

static void vfork_exec(long n)
{
	for (long i = 0; i < n; i++)
		EQ(t_wait(OK(vfork_nothing())), 7);
}
TEST(vfork_exec) { no_leak(vfork_exec, times(1000, 100000), 64); }

static void fork_exec(long n)
{
	char *argv[] = {t_self, "--helper", "nothing", NULL};
	for (long i = 0; i < n; i++) {
		pid_t p = OK(fork());
		if (!p) {
			execv(t_self, argv);
			_exit(1);
		}
		EQ(t_wait(p), 7);
	}
}
TEST(fork_exec) { no_leak(fork_exec, times(1000, 100000), 64); }

static void *nothing(void *arg) { return arg; }

static void threads(long n)
{
	for (long i = 0; i < n; i++) {
		pthread_t t;
		ZERO(pthread_create(&t, NULL, nothing, NULL));
		ZERO(pthread_join(t, NULL));
	}
}
TEST(threads) { no_leak(threads, times(10000, 300000), 64); }

static void files(long n)
{
	char a[64], b[64];
	for (long i = 0; i < n; i++) {
		snprintf(a, sizeof(a), "f%ld", i % 97);
		snprintf(b, sizeof(b), "g%ld", i % 89);
		int fd = OK(open(a, O_RDWR | O_CREAT, 0600));
		OK(ftruncate(fd, 10000));
		t_writen(fd, a, strlen(a));
		char *m = OK(mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
		m[5000] = 1;
		OK(flock(fd, LOCK_EX));
		OK(munmap(m, 8192));
		OK(close(fd));
		OK(rename(a, b));
		OK(link(b, a));
		OK(unlink(a));
		OK(unlink(b));
		OK(mkdir(a, 0700));
		OK(symlink(a, b));
		OK(unlink(b));
		OK(rmdir(a));
	}
}
TEST_DIR(files) { no_leak(files, times(5000, 300000), 400); }

static void descriptors(long n)
{
	for (long i = 0; i < n; i++) {
		int p[2], s[2], e = OK(eventfd(0, 0)), t = OK(timerfd_create(CLOCK_MONOTONIC, 0)), ep = OK(epoll_create1(0));
		OK(pipe(p));
		OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
		struct epoll_event ev = {.events = EPOLLIN};
		OK(epoll_ctl(ep, EPOLL_CTL_ADD, p[0], &ev));
		OK(epoll_ctl(ep, EPOLL_CTL_ADD, s[0], &ev));
		OK(epoll_ctl(ep, EPOLL_CTL_ADD, e, &ev));
		t_writen(p[1], "x", 1);
		// a descriptor that waits in a queue which nobody will read
		struct iovec io = {.iov_base = "y", .iov_len = 1};
		union {
			char b[CMSG_SPACE(sizeof(int))];
			struct cmsghdr h;
		} u = {.h = {.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS}};
		memcpy(CMSG_DATA(&u.h), &p[0], sizeof(int));
		struct msghdr m = {.msg_iov = &io, .msg_iovlen = 1, .msg_control = u.b, .msg_controllen = sizeof(u.b)};
		EQ(sendmsg(s[1], &m, 0), 1);
		struct itimerspec its = {.it_value = {.tv_sec = 100}};
		OK(timerfd_settime(t, 0, &its, NULL));
		int fds[] = {p[0], p[1], s[0], s[1], e, t, ep};
		for (size_t k = 0; k < sizeof(fds) / sizeof(*fds); k++)
			OK(close(fds[k]));
	}
}
TEST(descriptors) { no_leak(descriptors, times(10000, 300000), 64); }

static void mappings(long n)
{
	for (long i = 0; i < n; i++) {
		char *m = OK(mmap(NULL, 64 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
		m[4096] = 1;
		OK(mprotect(m + 8 * 4096, 4096, PROT_NONE));
		char *to = OK(mremap(m, 8 * 4096, 128 * 4096, MREMAP_MAYMOVE));
		OK(munmap(to, 128 * 4096));
		OK(munmap(m + 8 * 4096, 56 * 4096));
		char *s = OK(mmap(NULL, 16 * 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
		s[0] = 1;
		OK(munmap(s, 16 * 4096));
	}
}
TEST(mappings) { no_leak(mappings, times(5000, 300000), 64); }

// --- at once

TEST(processes_at_once)
{
	enum { N = 1000 };
	int go[2], up[2];
	pid_t p[N];
	char c;
	OK(pipe(go));
	OK(pipe(up));
	for (int i = 0; i < N; i++) {
		p[i] = OK(fork());
		if (!p[i]) {
			close(go[1]);
			t_writen(up[1], "u", 1);
			_exit(read(go[0], &c, 1) == 0 ? 3 : 1);
		}
	}
	for (int i = 0; i < N; i++)
		EQ(read(up[0], &c, 1), 1);
	close(go[1]);
	for (int i = 0; i < N; i++)
		EQ(t_wait(p[i]), 3);
}

static int gate, arrived;
static void *stand(void *arg)
{
	__atomic_fetch_add(&arrived, 1, __ATOMIC_SEQ_CST);
	while (!__atomic_load_n(&gate, __ATOMIC_SEQ_CST))
		syscall(SYS_futex, &gate, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
	return arg;
}

TEST(threads_at_once)
{
	enum { N = 4000 };
	static pthread_t t[N];
	pthread_attr_t a;
	pthread_attr_init(&a);
	pthread_attr_setstacksize(&a, 65536);
	for (long i = 0; i < N; i++)
		ZERO(pthread_create(&t[i], &a, stand, (void *)i));
	while (__atomic_load_n(&arrived, __ATOMIC_SEQ_CST) < N)
		sched_yield();
	gate = 1;
	syscall(SYS_futex, &gate, FUTEX_WAKE_PRIVATE, N, NULL, NULL, 0);
	for (long i = 0; i < N; i++) {
		void *r;
		ZERO(pthread_join(t[i], &r));
		EQ((long)r, i);
	}
}

// A thousand processes with five threads each.
TEST(processes_of_threads)
{
	enum { N = 1000, T = 4 };
	static pid_t p[N];
	int go[2], up[2];
	char c;
	OK(pipe(go));
	OK(pipe(up));
	for (int i = 0; i < N; i++) {
		p[i] = OK(fork());
		if (p[i])
			continue;
		pthread_t t;
		pthread_attr_t a;
		pthread_attr_init(&a);
		pthread_attr_setstacksize(&a, 65536);
		close(go[1]);
		for (int k = 0; k < T; k++)
			ZERO(pthread_create(&t, &a, stand, NULL));
		while (__atomic_load_n(&arrived, __ATOMIC_SEQ_CST) < T)
			sched_yield();
		t_writen(up[1], "u", 1);
		_exit(read(go[0], &c, 1) == 0 ? 3 : 1);
	}
	for (int i = 0; i < N; i++)
		EQ(read(up[0], &c, 1), 1);
	close(go[1]);
	for (int i = 0; i < N; i++)
		EQ(t_wait(p[i]), 3);
}

TEST_DIR(descriptors_at_once)
{
	enum { N = 100000 };
	struct rlimit rl = {.rlim_cur = 1048576, .rlim_max = 1048576};
	if (setrlimit(RLIMIT_NOFILE, &rl))
		SKIP("RLIMIT_NOFILE cannot be raised");
	for (int i = 0; i < N / 2; i++)
		OK(eventfd((unsigned int)i, 0));
	int fd = OK(open("f", O_RDWR | O_CREAT, 0600)), last = 0;
	while (last < N)
		last = OK(dup(fd));
	pid_t p = OK(fork());
	if (!p) {
		uint64_t v;
		EQ(read(10000, &v, 8), 8);
		EQ(write(last, "x", 1), 1);
		_exit(0);
	}
	EQ(t_wait(p), 0);
	EQ(lseek(fd, 0, SEEK_CUR), 1);
	OK(close_range(3, ~0u, 0));
	EQ(OK(open("f", O_RDONLY)), 3);
}

// Forks until there is no room, as a bomb does; then there is room again for all.
TEST(fork_until_refused)
{
	enum { MAX = 20000 };
	static pid_t p[MAX];
	struct rlimit rl = {.rlim_cur = 3000, .rlim_max = 3000};
	int n = 0;
	if (access("/proc/coffer", F_OK)) // a native machine has others to think of
		SKIP("only inside");
	OK(setrlimit(RLIMIT_NPROC, &rl));
	OK(setuid(12345)); // the superuser is not bound by it
	for (; n < MAX; n++) {
		p[n] = fork();
		if (p[n] < 0)
			break;
		if (!p[n])
			for (;;)
				pause();
	}
	EQ(errno, EAGAIN);
	CHECK(n > 1000);
	for (int i = 0; i < n; i++)
		OK(kill(p[i], SIGKILL));
	for (int i = 0; i < n; i++)
		EQ(t_wait(p[i]), 128 + SIGKILL);
	for (int i = 0; i < 100; i++) {
		pid_t q = OK(fork());
		if (!q)
			_exit(0);
		EQ(t_wait(q), 0);
	}
}

// --- sudden deaths: workers of every trade, killed at any moment

static unsigned long rnd(unsigned long *s)
{
	*s ^= *s << 13, *s ^= *s >> 7, *s ^= *s << 17;
	return *s;
}

static void *spin_exec(void *arg)
{
	char *argv[] = {t_self, "--helper", "nothing", NULL};
	if (arg)
		execv(t_self, argv);
	while (!sched_yield())
		;
	return arg;
}

static void work(int trade)
{
	char name[32], buf[5000];
	int p[2], s[2];
	pthread_t t;
	memset(buf, 'b', sizeof(buf));
	for (long i = 0;; i++) {
		switch (trade) {
		case 0: // pipes
			OK(pipe(p));
			if (!fork()) {
				close(p[1]);
				while (read(p[0], buf, 100) > 0)
					;
				_exit(0);
			}
			for (int k = 0; k < 20; k++)
				t_writen(p[1], buf, 1000);
			close(p[0]), close(p[1]);
			break;
		case 1: // files, in the same folder as the others
			snprintf(name, sizeof(name), "n%ld", i % 5);
			if ((p[0] = open(name, O_RDWR | O_CREAT, 0600)) >= 0) {
				if (!flock(p[0], LOCK_EX | LOCK_NB) && write(p[0], buf, sizeof(buf)) > 0)
					i += ftruncate(p[0], 100);
				close(p[0]);
			}
			i += rename(name, "moved") + unlink("moved") + 2;
			break;
		case 2: // processes
			if (!fork())
				_exit(0);
			while (waitpid(-1, NULL, WNOHANG) > 0)
				;
			break;
		case 3: // spawn
			if (!posix_spawn(&p[0], t_self, NULL, NULL, (char *[]){t_self, "--helper", "nothing", NULL}, NULL))
				waitpid(p[0], NULL, 0);
			break;
		case 4: // threads, and exec in the middle of them
			if (!(p[0] = fork())) {
				for (int k = 0; k < 4; k++)
					pthread_create(&t, NULL, spin_exec, k == 3 ? buf : NULL);
				spin_exec(i & 1 ? buf : NULL);
			}
			sched_yield();
			if (i & 1 && i % 3)
				kill(p[0], SIGKILL);
			else if (!(i & 1))
				kill(p[0], SIGKILL);
			waitpid(p[0], NULL, 0);
			break;
		case 5: // sockets
			OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
			if (!fork()) {
				close(s[0]);
				while (read(s[1], buf, 300) > 0 && write(s[1], buf, 3) > 0)
					;
				_exit(0);
			}
			close(s[1]);
			for (int k = 0; k < 10 && write(s[0], buf, 200) > 0 && read(s[0], buf, 3) > 0; k++)
				;
			close(s[0]);
			break;
		case 6: { // memory, private and shared with children
			char *m = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, (i & 1 ? MAP_SHARED : MAP_PRIVATE) | MAP_ANONYMOUS, -1, 0);
			memset(m, 1, 1 << 18);
			if (!fork())
				_exit(m[5]);
			munmap(m, 1 << 20);
			break;
		}
		default: { // robust futexes between processes
			pthread_mutex_t *mx = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
			pthread_mutexattr_t a;
			pthread_mutexattr_init(&a);
			pthread_mutexattr_setpshared(&a, PTHREAD_PROCESS_SHARED);
			pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST);
			pthread_mutex_init(mx, &a);
			if (!(p[0] = fork())) {
				pthread_mutex_lock(mx);
				for (;;)
					pause();
			}
			sched_yield();
			kill(p[0], SIGKILL);
			if (pthread_mutex_lock(mx) == EOWNERDEAD)
				pthread_mutex_consistent(mx);
			pthread_mutex_unlock(mx);
			waitpid(p[0], NULL, 0);
			munmap(mx, 4096);
			break;
		}
		}
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
	}
}

enum { TRADES = 8 };

// Every worker leads a group with all its children; the group is killed member by member or at once.
static void storm(long n)
{
	unsigned long seed = 0x9e3779b97f4a7c15ul + (unsigned long)n;
	pid_t w[TRADES] = {0};
	OK(prctl(PR_SET_CHILD_SUBREAPER, 1));
	for (long i = 0; i < n + TRADES; i++) {
		int k = (int)(i < n ? rnd(&seed) % TRADES : (unsigned long)(i - n));
		if (w[k]) {
			if (rnd(&seed) & 1)
				OK(kill(w[k], SIGKILL));
			OK(kill(-w[k], SIGKILL));
			EQ(t_wait(w[k]), 128 + SIGKILL);
			while (waitpid(-w[k], NULL, 0) > 0) // its orphans
				;
			w[k] = 0;
		}
		if (i >= n)
			continue;
		w[k] = OK(fork());
		if (!w[k]) {
			setpgid(0, 0);
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			work(k);
		}
		setpgid(w[k], w[k]);
		t_sleep_ms((long)(rnd(&seed) % 6));
	}
}
TEST_DIR(kill_storm) { no_leak(storm, times(400, 20000), 400); }

// Workers of every trade, until SIGTERM: tests/stress/hostkill kills host processes meanwhile. Who dies is replaced.
static volatile sig_atomic_t end;
static void on_term(int sig)
{
	(void)sig;
	end = 1;
}

// Two servers of one port, made anew when one dies; each answers with its process number.
HELPER(servers)
{
	int s = OK(socket(AF_INET, SOCK_STREAM, 0)), one = 1;
	struct sockaddr_in at = {.sin_family = AF_INET};
	pid_t w[2] = {0};
	if (argc < 2)
		return 2;
	at.sin_port = htons((uint16_t)atoi(argv[1]));
	setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	OK(bind(s, (void *)&at, sizeof(at)));
	OK(listen(s, 10));
	for (int died = 0;;) { // until the enclave ends
		for (int i = 0; i < 2; i++) {
			if (w[i])
				continue;
			w[i] = OK(fork());
			if (w[i])
				continue;
			for (;;) {
				int c = OK(accept(s, NULL, NULL));
				dprintf(c, "%d\n", getpid());
				close(c);
			}
		}
		dprintf(1, "ready %d\n", died);
		int st;
		pid_t p = waitpid(-1, &st, 0);
		for (int i = 0; i < 2; i++)
			if (p > 0 && w[i] == p) {
				w[i] = 0;
				died++;
				if (!WIFSIGNALED(st) || WTERMSIG(st) != SIGKILL)
					dprintf(1, "status %x\n", st);
			}
	}
}

HELPER(workers)
{
	struct counter before[COUNTERS], after[COUNTERS];
	pid_t w[TRADES] = {0};
	int seats = 0, bad = 0;
	if (argc < 2 || chdir(argv[1]))
		return 2;
	OK(prctl(PR_SET_CHILD_SUBREAPER, 1));
	t_on(SIGTERM, on_term, 0);
	int k = counters(before);
	dprintf(1, "ready\n");
	while (!end || seats) {
		for (int i = 0; i < TRADES && !end; i++)
			if (!w[i]) {
				w[i] = OK(fork());
				if (!w[i]) {
					setpgid(0, 0);
					signal(SIGTERM, SIG_DFL);
					work(i);
				}
				setpgid(w[i], w[i]);
				seats++;
			}
		if (end)
			for (int i = 0; i < TRADES; i++)
				if (w[i])
					kill(-w[i], SIGKILL);
		int st;
		pid_t p = waitpid(-1, &st, 0);
		for (int i = 0; i < TRADES; i++)
			if (w[i] && w[i] == p) {
				kill(-p, SIGKILL);
				while (waitpid(-p, NULL, 0) > 0)
					;
				w[i] = 0;
				seats--;
			}
	}
	while (waitpid(-1, NULL, 0) > 0)
		;
	t_sleep_ms(300);
	counters(after);
	for (int i = 0; i < k; i++)
		if (!small_growth(&before[i], &after[i], 64)) {
			dprintf(1, "%s grew from %ld to %ld\n", before[i].name, before[i].value, after[i].value);
			bad = 1;
		}
	return bad;
}

// --- memory

// Touches a heap of this many MiB (argument of the environment) and checks it.
TEST(heap)
{
	size_t mib = (size_t)atol(getenv("HEAP_MIB") ? getenv("HEAP_MIB") : "256");
	unsigned long *m = OK(mmap(NULL, mib << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	for (size_t i = 0; i < mib << 20; i += 4096)
		m[i / 8] = i ^ 0x5555;
	for (size_t i = 0; i < mib << 20; i += 4096)
		if (m[i / 8] != (i ^ 0x5555))
			t_fail(__LINE__, "word at %zu", i);
}

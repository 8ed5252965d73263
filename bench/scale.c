// SPDX-License-Identifier: Apache-2.0
// Do two CPUs do twice the work of one? Each operation runs with one worker and with two (processes, then threads), each worker on
// files and pipes of its own except where the name says `same`. An ordinary program for native Linux and for an enclave.
//
//	scale [-q] [-n ROUNDS] [-s MILLISECONDS] [NAME...]      -s: a slice, for a profiler
//
// Prints `NAME_proc FACTOR x higher NS` and `NAME_thread ...`: best throughput of two over best throughput of one, over many short slices
// in turn, so that what else the machine does meets both alike; 2.0 is ideal. NS: time per operation of the two together. Each worker
// is bound to its CPU; the partner of one that plays ping-pong (`..._pair`) to the same.
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MAX = 2 };
static double slice_s, longer;
static int rounds = 150;

struct shared {
	_Atomic int ready, go;
	long done[MAX][16];	// a cache line apart
	struct {
		_Atomic uint32_t ping, pong, pad[62];
	} word[MAX];
	double start;
};
static struct shared *sh;

struct worker {
	int id, fd, p[2];
	char dir[64], path[96], fresh[96], other[96];
	uint32_t *word;
	int a[2], b[2];		// what a pair talks through: the worker writes a[1] and reads b[0]
	int epoll;
	bool threads;
	pthread_t partner;
	pid_t partner_pid;
	char buf[65536];
};

static double now(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

__attribute__((noreturn)) static void die(const char *what)
{
	perror(what);
	_exit(1);
}

static void check(bool good, const char *what)
{
	if (!good)
		die(what);
}

static void op_null(struct worker *w)
{
	(void)w;
	syscall(SYS_getppid);
}

static void op_read(struct worker *w) { check(pread(w->fd, w->buf, 4096, 0) == 4096, "pread"); }

static void op_read_same(struct worker *w)
{
	static __thread int fd = -1;
	if (fd < 0)
		fd = open("same", O_RDONLY);
	check(pread(fd, w->buf, 4096, 0) == 4096, "pread");
}

static void op_open(struct worker *w)
{
	int fd = open(w->path, O_RDONLY);
	check(fd >= 0, "open");
	close(fd);
}

static void op_open_same(struct worker *w)
{
	int fd = open("same", O_RDONLY);
	(void)w;
	check(fd >= 0, "open");
	close(fd);
}

static void op_stat(struct worker *w)
{
	struct stat st;
	check(!stat(w->path, &st), "stat");
}

static void op_pipe(struct worker *w)
{
	check(write(w->p[1], w->buf, 512) == 512 && read(w->p[0], w->buf, 512) == 512, "pipe");
}

static void op_pipe_new(struct worker *w)
{
	int p[2];
	(void)w;
	check(!pipe(p), "pipe");
	close(p[0]);
	close(p[1]);
}

static void op_futex(struct worker *w) { syscall(SYS_futex, w->word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0); }

static void op_mmap(struct worker *w)
{
	char *m = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	(void)w;
	check(m != MAP_FAILED, "mmap");
	m[0] = 1;
	munmap(m, 65536);
}

static void op_fork(struct worker *w)
{
	pid_t p = fork();
	(void)w;
	if (!p)
		_exit(0);
	check(p > 0 && waitpid(p, NULL, 0) == p, "fork");
}

static void op_create(struct worker *w)
{
	int fd = open(w->fresh, O_WRONLY | O_CREAT | O_EXCL, 0600);
	check(fd >= 0 && write(fd, w->buf, 100) == 100, "create");
	close(fd);
	check(!unlink(w->fresh), "unlink");
}

static void op_rename(struct worker *w)
{
	check(!rename(w->path, w->other) && !rename(w->other, w->path), "rename");
}

static void op_read_same_64k(struct worker *w)
{
	static __thread int fd = -1;
	if (fd < 0)
		fd = open("large", O_RDONLY);
	check(pread(fd, w->buf, 65536, 0) == 65536, "pread");
}

static void op_dup(struct worker *w)
{
	int fd = dup(w->fd);
	check(fd >= 0, "dup");
	close(fd);
}

// Faults alone: the mapping stays, its pages come and go.
static void op_fault(struct worker *w)
{
	static __thread char *m;
	(void)w;
	if (!m)
		m = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	for (int i = 0; i < 65536; i += 4096)
		m[i] = 1;
	check(!madvise(m, 65536, MADV_DONTNEED), "madvise");
}

static void op_mprotect(struct worker *w)
{
	static __thread char *m;
	(void)w;
	if (!m)
		m = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	check(!mprotect(m, 4096, PROT_READ) && !mprotect(m, 4096, PROT_READ | PROT_WRITE), "mprotect");
}

static void op_map_file(struct worker *w)
{
	char *m = mmap(NULL, 4096, PROT_READ, MAP_SHARED, w->fd, 0);
	check(m != MAP_FAILED, "mmap");
	munmap(m, 4096);
}

static void op_signal(struct worker *w)
{
	(void)w;
	raise(SIGUSR1);
}

static void *nothing(void *arg) { return arg; }

static void op_thread_new(struct worker *w)
{
	pthread_t t;
	(void)w;
	check(!pthread_create(&t, NULL, nothing, NULL), "pthread_create");
	pthread_join(t, NULL);
}

static void op_socket(struct worker *w) // through two sockets of the worker's own
{
	check(write(w->a[1], w->buf, 512) == 512 && read(w->a[0], w->buf, 512) == 512, "socket");
}

static void op_epoll(struct worker *w)
{
	struct epoll_event e;
	uint64_t v = 1;
	check(write(w->a[0], &v, 8) == 8 && epoll_wait(w->epoll, &e, 1, -1) == 1 && read(w->a[0], &v, 8) == 8, "epoll");
}

static void op_epoll_ctl(struct worker *w)
{
	struct epoll_event e = {.events = EPOLLIN};
	check(!epoll_ctl(w->epoll, EPOLL_CTL_DEL, w->a[0], NULL) && !epoll_ctl(w->epoll, EPOLL_CTL_ADD, w->a[0], &e), "epoll_ctl");
}

static void op_pair(struct worker *w)
{
	char c = 'x';
	check(write(w->a[1], &c, 1) == 1 && read(w->b[0], &c, 1) == 1, "pair");
}

static void futex(_Atomic uint32_t *word, int op, uint32_t v) { syscall(SYS_futex, word, op, v, NULL, NULL, 0); }

// Waits until *word is not v any more; what it is then.
static uint32_t change(_Atomic uint32_t *word, uint32_t v)
{
	uint32_t n;
	while ((n = atomic_load(word)) == v)
		futex(word, FUTEX_WAIT, v);
	return n;
}

static void op_futex_pair(struct worker *w)
{
	_Atomic uint32_t *ping = &sh->word[w->id].ping, *pong = &sh->word[w->id].pong;
	uint32_t was = atomic_load(pong);
	atomic_fetch_add(ping, 1);
	futex(ping, FUTEX_WAKE, 1);
	change(pong, was);
}

// --- what an operation needs for the time of a slice

static void channel_pipe(int p[2]) { check(!pipe(p), "pipe"); }
static void channel_unix(int p[2]) { check(!socketpair(AF_UNIX, SOCK_STREAM, 0, p), "socketpair"); }

static void channel_tcp(int p[2])
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t len = sizeof(a);
	int l = socket(AF_INET, SOCK_STREAM, 0), one = 1;
	check(l >= 0 && !bind(l, (struct sockaddr *)&a, len) && !listen(l, 1) && !getsockname(l, (struct sockaddr *)&a, &len), "listen");
	p[1] = socket(AF_INET, SOCK_STREAM, 0);
	check(p[1] >= 0 && !connect(p[1], (struct sockaddr *)&a, len) && (p[0] = accept(l, NULL, NULL)) >= 0, "connect");
	setsockopt(p[0], IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(p[1], IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	close(l);
}

static void *answers(void *arg)
{
	struct worker *w = arg;
	char c;
	while (read(w->a[0], &c, 1) == 1 && c != 'q')
		check(write(w->b[1], &c, 1) == 1, "answer");
	return NULL;
}

static void *answers_futex(void *arg)
{
	struct worker *w = arg;
	_Atomic uint32_t *ping = &sh->word[w->id].ping, *pong = &sh->word[w->id].pong;
	for (uint32_t seen = 0; (seen = change(ping, seen)) != UINT32_MAX;) {
		atomic_fetch_add(pong, 1);
		futex(pong, FUTEX_WAKE, 1);
	}
	return NULL;
}

static void partner(struct worker *w, void *(*fn)(void *))
{
	if (w->threads) {
		check(!pthread_create(&w->partner, NULL, fn, w), "pthread_create");
	} else if (!(w->partner_pid = fork())) {
		fn(w);
		_exit(0);
	}
}

static void partner_ends(struct worker *w)
{
	if (w->threads)
		pthread_join(w->partner, NULL);
	else
		waitpid(w->partner_pid, NULL, 0);
}

static void close_two(int p[2])
{
	close(p[0]);
	close(p[1]);
}

static void pair_pipe(struct worker *w)
{
	channel_pipe(w->a);
	channel_pipe(w->b);
	partner(w, answers);
}

// A socket is both ways: b is a, seen from the other end.
static void both_ways(struct worker *w)
{
	w->b[0] = w->a[1];
	w->b[1] = w->a[0];
	partner(w, answers);
}

static void pair_unix(struct worker *w)
{
	channel_unix(w->a);
	both_ways(w);
}

static void pair_tcp(struct worker *w)
{
	channel_tcp(w->a);
	both_ways(w);
}

static void pair_end(struct worker *w)
{
	check(write(w->a[1], "q", 1) == 1, "end");
	partner_ends(w);
	close_two(w->a);
	if (w->b[0] != w->a[1])
		close_two(w->b);
}

static void pair_futex(struct worker *w)
{
	atomic_store(&sh->word[w->id].ping, 0);
	partner(w, answers_futex);
}

static void pair_futex_end(struct worker *w)
{
	atomic_store(&sh->word[w->id].ping, UINT32_MAX);
	futex(&sh->word[w->id].ping, FUTEX_WAKE, 1);
	partner_ends(w);
}

static void with_unix(struct worker *w) { channel_unix(w->a); }
static void with_tcp(struct worker *w) { channel_tcp(w->a); }
static void without(struct worker *w) { close_two(w->a); }

static void with_epoll(struct worker *w)
{
	struct epoll_event e = {.events = EPOLLIN};
	w->a[0] = eventfd(0, 0);
	w->epoll = epoll_create1(0);
	check(w->a[0] >= 0 && w->epoll >= 0 && !epoll_ctl(w->epoll, EPOLL_CTL_ADD, w->a[0], &e), "epoll");
}

static void without_epoll(struct worker *w)
{
	close(w->epoll);
	close(w->a[0]);
}

static const struct op {
	const char *name;
	void (*fn)(struct worker *w);
	int batch;	// between two looks at the clock; 0: 16
	void (*begin)(struct worker *w), (*end)(struct worker *w);
} ops[] = {
	{"null", .fn = op_null},
	{"read", .fn = op_read},
	{"read_same", .fn = op_read_same},
	{"read_same_64k", .fn = op_read_same_64k},
	{"open", .fn = op_open},
	{"open_same", .fn = op_open_same},
	{"stat", .fn = op_stat},
	{"dup", .fn = op_dup},
	{"create_delete", .fn = op_create},
	{"rename", .fn = op_rename},
	{"pipe", .fn = op_pipe},
	{"pipe_new", .fn = op_pipe_new},
	{"pipe_pair", .fn = op_pair, .begin = pair_pipe, .end = pair_end},
	{"unix", .fn = op_socket, .begin = with_unix, .end = without},
	{"unix_pair", .fn = op_pair, .begin = pair_unix, .end = pair_end},
	{"tcp", .fn = op_socket, .begin = with_tcp, .end = without},
	{"tcp_pair", .fn = op_pair, .begin = pair_tcp, .end = pair_end},
	{"epoll", .fn = op_epoll, .begin = with_epoll, .end = without_epoll},
	{"epoll_ctl", .fn = op_epoll_ctl, .begin = with_epoll, .end = without_epoll},
	{"futex_wake", .fn = op_futex},
	{"futex_pair", .fn = op_futex_pair, .begin = pair_futex, .end = pair_futex_end},
	{"signal", .fn = op_signal},
	{"mmap_touch", .fn = op_mmap},
	{"fault", .fn = op_fault},
	{"mprotect", .fn = op_mprotect},
	{"map_file", .fn = op_map_file},
	{"thread_new", .fn = op_thread_new, .batch = 1},
	{"fork", .fn = op_fork, .batch = 1},
};

static struct worker workers[MAX];
static const struct op *current;

// All workers count within one and the same stretch of time: one that does not get its CPU makes the sum smaller, not larger.
static void run(struct worker *w, int n)
{
	long done = 0;
	int batch = current->batch ? current->batch : 16;
	double end;

	if (current->begin)
		current->begin(w);
	for (int i = 0; i < 3; i++)
		current->fn(w);
	if (atomic_fetch_add(&sh->ready, 1) == n - 1) {
		sh->start = now() + 0.0001;
		atomic_store(&sh->go, 1);
	}
	while (!atomic_load(&sh->go))
		;
	end = sh->start + slice_s;
	while (now() < sh->start)
		;
	for (;;) {
		for (int i = 0; i < batch; i++)
			current->fn(w);
		if (now() > end)
			break;
		done += batch;
	}
	sh->done[w->id][0] = done;
	if (current->end)
		current->end(w);
}

static int count, cpus[MAX];
static void *thread(void *arg)
{
	struct worker *w = arg;
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpus[w->id], &set);
	check(!sched_setaffinity(0, sizeof(set), &set), "sched_setaffinity");
	run(w, count);
	return NULL;
}

// Operations of n workers together in one slice.
static double throughput(int n, bool threads)
{
	pthread_t t[MAX];
	pid_t p[MAX];
	double sum = 0;

	count = n;
	workers[0].threads = workers[1].threads = threads;
	atomic_store(&sh->ready, 0);
	atomic_store(&sh->go, 0);
	for (int i = 0; i < n; i++) {
		if (threads) {
			check(!pthread_create(&t[i], NULL, thread, &workers[i]), "pthread_create");
		} else if (!(p[i] = fork())) {
			thread(&workers[i]);
			_exit(0);
		}
	}
	for (int i = 0; i < n; i++) {
		int st = 0;
		if (threads)
			pthread_join(t[i], NULL);
		else
			waitpid(p[i], &st, 0);
		if (st)
			exit(1);
		sum += (double)sh->done[i][0];
	}
	return sum;
}

static void prepare(int i)
{
	struct worker *w = &workers[i];
	static uint32_t words[MAX * 1024];

	w->id = i;
	w->word = &words[i * 1024];
	snprintf(w->dir, sizeof(w->dir), "dir%d", i);
	snprintf(w->path, sizeof(w->path), "%s/file", w->dir);
	snprintf(w->other, sizeof(w->other), "%s/other", w->dir);
	snprintf(w->fresh, sizeof(w->fresh), "%s/fresh", w->dir);
	check(!mkdir(w->dir, 0700), "mkdir");
	w->fd = open(w->path, O_RDWR | O_CREAT, 0600);
	check(w->fd >= 0 && write(w->fd, w->buf, 4096) == 4096, "write");
	check(!pipe(w->p), "pipe");
}

static void on_signal(int sig) { (void)sig; }

int main(int argc, char **argv)
{
	char dir[64];
	cpu_set_t all;
	int i, n = 0;

	check(!sched_getaffinity(0, sizeof(all), &all), "sched_getaffinity");
	for (i = 0; i < CPU_SETSIZE && n < MAX; i++)
		if (CPU_ISSET(i, &all))
			cpus[n++] = i;
	if (n < MAX) {
		fprintf(stderr, "scale: there is one CPU only\n");
		return 1;
	}
	signal(SIGUSR1, on_signal);
	while ((i = getopt(argc, argv, "qn:s:")) != -1)
		switch (i) {
		case 'q':
			rounds = 30;
			break;
		case 's': longer = atof(optarg) / 1e3; break;
		case 'n': rounds = atoi(optarg); break;
		default: return 2;
		}
	snprintf(dir, sizeof(dir), "%s/scale.%d", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp", getpid());
	check(!mkdir(dir, 0700) && !chdir(dir), dir);
	sh = mmap(NULL, sizeof(*sh), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	check(sh != MAP_FAILED, "mmap");
	for (i = 0; i < MAX; i++)
		prepare(i);
	int fd = open("same", O_RDWR | O_CREAT, 0600);
	check(fd >= 0 && write(fd, workers[0].buf, 4096) == 4096, "same");
	fd = open("large", O_RDWR | O_CREAT, 0600);
	check(fd >= 0 && write(fd, workers[0].buf, 65536) == 65536, "large");
	for (unsigned k = 0; k < sizeof(ops) / sizeof(*ops); k++) {
		bool wanted = optind == argc;
		for (i = optind; i < argc; i++)
			wanted |= !strcmp(argv[i], ops[k].name);
		if (!wanted)
			continue;
		current = &ops[k];
		slice_s = longer > 0 ? longer : current->batch == 1 ? 0.02 : 0.002; // shorter than what a busy scheduler gives at once
		for (int threads = 0; threads < 2; threads++) {
			double best[MAX + 1] = {0};
			for (int r = 0; r < rounds; r++)
				for (int n = 1; n <= MAX; n++) {
					double t = throughput(n, threads);
					best[n] = t > best[n] ? t : best[n];
				}
			if (best[1] == 0) { // the machine was too busy for one slice
				fprintf(stderr, "%s: no slice got its CPU\n", ops[k].name);
				continue;
			}
			printf("%s_%s %.2f x higher %.1f\n", ops[k].name, threads ? "thread" : "proc", best[2] / best[1],
			       slice_s * 1e9 / best[2]);
			fflush(stdout);
		}
	}
	for (i = 0; i < MAX; i++) {
		unlink(workers[i].path);
		rmdir(workers[i].dir);
	}
	unlink("same");
	unlink("large");
	check(!chdir("/") && !rmdir(dir), dir);
	return 0;
}

// SPDX-License-Identifier: Apache-2.0
// Do two CPUs do twice the work of one? Each operation runs with one worker and with two (processes, then threads), each worker on
// files and pipes of its own except where the name says `same`. An ordinary program for native Linux and for an enclave.
//
//	scale [-q] [-n ROUNDS] [NAME...]
//
// Prints `NAME_proc FACTOR x higher` and `NAME_thread ...`: best throughput of two over best throughput of one, over many short slices
// in turn, so that what else the machine does meets both alike. 2.0 is ideal.
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MAX = 2 };
static double slice_s = 0.002; // shorter than what a busy scheduler gives at once (fork: ten times that)
static int rounds = 150;

struct shared {
	_Atomic int ready, go;
	long done[MAX][16];	// a cache line apart
	double start;
};
static struct shared *sh;

struct worker {
	int id, fd, p[2];
	char dir[64], path[96], fresh[96];
	uint32_t *word;
	char buf[4096];
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

static const struct op {
	const char *name;
	void (*fn)(struct worker *w);
} ops[] = {
	{"null", op_null}, {"read", op_read}, {"read_same", op_read_same}, {"open", op_open}, {"open_same", op_open_same},
	{"stat", op_stat}, {"pipe", op_pipe}, {"pipe_new", op_pipe_new}, {"futex_wake", op_futex}, {"mmap_touch", op_mmap},
	{"fork", op_fork}, {"create_delete", op_create},
};

static struct worker workers[MAX];
static void (*current)(struct worker *w);
static int batch; // between two looks at the clock

// All workers count within one and the same stretch of time: one that does not get its CPU makes the sum smaller, not larger.
static void run(struct worker *w, int n)
{
	long done = 0;
	double end;

	for (int i = 0; i < 3; i++)
		current(w);
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
			current(w);
		if (now() > end)
			break;
		done += batch;
	}
	sh->done[w->id][0] = done;
}

static int count;
static void *thread(void *arg)
{
	struct worker *w = arg;
	cpu_set_t set; // an enclave leaves the choice to the host

	CPU_ZERO(&set);
	CPU_SET(w->id, &set);
	sched_setaffinity(0, sizeof(set), &set);
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
	snprintf(w->fresh, sizeof(w->fresh), "%s/fresh", w->dir);
	check(!mkdir(w->dir, 0700), "mkdir");
	w->fd = open(w->path, O_RDWR | O_CREAT, 0600);
	check(w->fd >= 0 && write(w->fd, w->buf, 4096) == 4096, "write");
	check(!pipe(w->p), "pipe");
}

int main(int argc, char **argv)
{
	char dir[64];
	int i;

	while ((i = getopt(argc, argv, "qn:")) != -1)
		switch (i) {
		case 'q':
			rounds = 30;
			break;
		case 'n': rounds = atoi(optarg); break;
		default: return 2;
		}
	snprintf(dir, sizeof(dir), "/tmp/scale.%d", getpid());
	check(!mkdir(dir, 0700) && !chdir(dir), dir);
	sh = mmap(NULL, sizeof(*sh), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	check(sh != MAP_FAILED, "mmap");
	for (i = 0; i < MAX; i++)
		prepare(i);
	int fd = open("same", O_RDWR | O_CREAT, 0600);
	check(fd >= 0 && write(fd, workers[0].buf, 4096) == 4096, "same");
	for (unsigned k = 0; k < sizeof(ops) / sizeof(*ops); k++) {
		bool wanted = optind == argc;
		for (i = optind; i < argc; i++)
			wanted |= !strcmp(argv[i], ops[k].name);
		if (!wanted)
			continue;
		current = ops[k].fn;
		batch = current == op_fork ? 1 : 16;
		slice_s = current == op_fork ? 0.02 : 0.002;
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
			printf("%s_%s %.2f x higher\n", ops[k].name, threads ? "thread" : "proc", best[2] / best[1]);
			fflush(stdout);
		}
	}
	for (i = 0; i < MAX; i++) {
		unlink(workers[i].path);
		rmdir(workers[i].dir);
	}
	unlink("same");
	check(!chdir("/") && !rmdir(dir), dir);
	return 0;
}

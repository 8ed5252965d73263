// SPDX-License-Identifier: Apache-2.0
// Throws system calls at the enclave kernel: every row of the table, with arguments made from the row's types (live descriptors of
// every kind, good and bad pointers, overlapping buffers, boundary numbers, flags), by several processes of three threads each.
// A worker may die of what it does to itself; the parent outlives it and at the end checks that the kernel still works.
//
//	sysfuzz [--seed N] [--seconds N] [--workers N] [--only NAME,...] [--recipes MASK]
//
// --recipes: which of the sequences of sysfuzz_recipes.c, a bit each; with --only none unless said after it.
//
// It would do harm natively, so it runs only where /proc/coffer is.
#include "tests/stress/sysfuzz.h"
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <getopt.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <mqueue.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const struct row {
	int nr;
	const char *name, *args, *state;
} rows[] = {
#define SYS(nr, name, cls, state, args, note) { nr, #name, args, #state },
#include "kernel/syscall/table.h"
#undef SYS
};
#define NROWS (sizeof(rows) / sizeof(*rows))

static const struct {
	const char *name, *words;
} sets[] = {
#define SET(name, words) { #name, words },
#include "kernel/syscall/flags.h"
#undef SET
};

// Where the arena and the counts lie: the arena has nothing behind it, so that a buffer that is too long ends in a fault; the counts lie
// below it, where no buffer gets to. Whatever changes them but the counting itself is then the kernel.
#define ARENA_AT ((void *)0x40000000)
#define TALLY_AT ((void *)0x20000000)
#define TALLY (1u << 16)
#define MARK 0x5afe5afe5afe5afe
#define COMMON_AT ((void *)0x30000000)

char *arena;
pid_t victim;
unsigned *common;
bool own_mounts;
u64 recipes = ~0ul;
int opened[KINDS][2];
static struct tally {
	unsigned long calls, good;
} *tally;		// a row each, shared by all workers
static const char *only;
static unsigned char wanted[NROWS];

u64 next(struct random *r)
{
	u64 z = r->s += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}
u64 below(struct random *r, u64 n) { return next(r) % n; }
bool one_in(struct random *r, u64 n) { return !below(r, n); }

u64 number(struct random *r)
{
	static const u64 odd[] = { 0, 1, 2, 3, 7, 8, 16, 63, 64, 65, 100, 127, 128, 255, 256, 511, 512, 1000, 1023, 1024, 4095, 4096, 4097, 65535, 65536,
		1 << 20, 0x7ffffffe, 0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff, 0x100000000, 0x7ffffffffffff000, 0x7fffffffffffffff,
		0x8000000000000000, 0xfffffffffffff000, 0xfffffffffffffffe, 0xffffffffffffffff };

	switch (below(r, 8)) {
	case 0: return next(r);
	case 1: return below(r, 1 << 16);
	case 2: case 3: return below(r, 16);
	default: return odd[below(r, sizeof(odd) / sizeof(*odd))];
	}
}

u64 bad_address(struct random *r)
{
	static const u64 odd[] = { 0, 1, 8, 4095, 0x7fffffffe000, 0x7fffffffefff, 0x7ffffffff000, 0x800000000000, 0xffff800000000000,
		0xffffffffff600000, 0xfffffffffffffff8, 0x680000000000, 0x680000100000, 0x680010000000, 0x67fffffff000, 0x680200000000 };

	return one_in(r, 3) ? (u64)arena + ARENA - below(r, 64) : odd[below(r, sizeof(odd) / sizeof(*odd))];
}

// Room in the arena; often the same few places, so that buffers overlap.
char *room(struct random *r, size_t n)
{
	size_t at = one_in(r, 2) ? below(r, 8) * 4096 : below(r, ARENA - n);

	return arena + (one_in(r, 4) ? at : at & ~15ul);
}

u64 address(struct random *r)
{
	if (one_in(r, 8))
		return bad_address(r);
	return (u64)arena + (one_in(r, 4) ? below(r, ARENA) : below(r, ARENA / 4096) * 4096);
}

static u64 descriptor(struct random *r)
{
	return one_in(r, 20) ? number(r) : 3 + below(r, 70);
}

u64 of_kind(struct random *r, enum kind k) { return one_in(r, 12) ? descriptor(r) : (u64)opened[k][below(r, 2)]; }

u64 text(struct random *r)
{
	static const char *const paths[] = { DIRECTORY "/a", DIRECTORY "/b", DIRECTORY "/d", DIRECTORY "/d/x", DIRECTORY "/l", "a", "b", "d", "l", "d/x",
		".", "..", "", "/", "/proc/self/fd/5", "/proc/self/maps", "/proc/self", "/dev/null", "/dev/zero", "/dev/ptmx", "/dev/shm/z",
		"/proc/self/auxv", "/proc/self/mem", "/proc/self/task", "/nowhere", "a/b", DIRECTORY "/sock", "user.one", "user.two", "tmpfs", "/q",
		"proc", "size=1m", "/sys/devices/system/cpu/online", "/proc/self/cmdline", "security.x", "/proc/self/root/tmp/sysfuzz/a" };
	char *p;

	if (one_in(r, 12))
		return bad_address(r);
	p = room(r, 8192);
	if (one_in(r, 30)) {
		size_t n = 200 + below(r, 5000);
		memset(p, one_in(r, 2) ? '/' : 'x', n);
		p[n] = 0;
	} else {
		strcpy(p, paths[below(r, sizeof(paths) / sizeof(*paths))]);
	}
	return (u64)p;
}

u64 flags(struct random *r, const char *set, bool bits)
{
	const char *w = "", *p;
	u64 v = 0;
	int n = 0, pick;

	if (one_in(r, 10))
		return number(r);
	for (size_t i = 0; i < sizeof(sets) / sizeof(*sets); i++)
		if (!strcmp(sets[i].name, set))
			w = sets[i].words;
	for (p = w; (p = strchr(p, '=')); p++)
		n++;
	for (int rounds = bits ? (int)below(r, 5) : 1; n && rounds > 0; rounds--) {
		pick = (int)below(r, (u64)n);
		for (p = strchr(w, '='); pick > 0; pick--)
			p = strchr(p + 1, '=');
		v |= strtoul(p + 1, NULL, 16);
	}
	return v;
}

void handler(int sig) { (void)sig; }

static u64 process(struct random *r)
{
	switch (below(r, 16)) {
	case 0: case 1: return 999999;
	case 2: return 0x7fffffff;
	case 3: return 0;
	default: return (u64)victim;
	}
}

static void fill(struct random *r, char *p, size_t n)
{
	for (size_t i = 0; i + 8 <= n; i += 8) {
		u64 v = one_in(r, 6) ? address(r) : one_in(r, 3) ? number(r) : below(r, 64);
		memcpy(p + i, &v, 8);
	}
}

// A structure of that kind somewhere in the arena. What the kernel only writes may be anything.
static u64 structure(struct random *r, const char *kind, u64 *length)
{
	char *p = room(r, 8192);
	u64 *q = (u64 *)p;

	if (one_in(r, 12))
		return bad_address(r);
	if (!strcmp(kind, "buf")) {
		*length = one_in(r, 6) ? number(r) : below(r, 6000);
	} else if (!strcmp(kind, "iov")) {
		*length = one_in(r, 10) ? number(r) : below(r, 12);
		for (u64 i = 0; i < *length && i < 12; i++) {
			q[2 * i] = address(r);
			q[2 * i + 1] = one_in(r, 12) ? number(r) : below(r, 5000);
		}
	} else if (strstr(kind, "timespec") || strstr(kind, "timeval") || strstr(kind, "itimer")) {
		for (int i = 0; i < 4; i++)
			q[i] = one_in(r, 12) ? number(r) : i % 2 ? below(r, 900000) : 0;
	} else if (!strcmp(kind, "sockaddr")) {
		struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons((uint16_t)(7000 + below(r, 4))), .sin_addr = { htonl(0x7f000001) } };
		struct sockaddr_un un = { .sun_family = AF_UNIX, .sun_path = DIRECTORY "/sock" };
		if (one_in(r, 2)) {
			memcpy(p, &in, sizeof(in));
			*length = sizeof(in);
		} else {
			if (one_in(r, 2))
				un.sun_path[0] = 0;
			memcpy(p, &un, sizeof(un));
			*length = one_in(r, 3) ? below(r, sizeof(un) + 1) : sizeof(un);
		}
	} else if (!strcmp(kind, "pollfd")) {
		*length = one_in(r, 10) ? number(r) : below(r, 20);
		for (u64 i = 0; i < 20; i++)
			q[i] = (descriptor(r) & 0xffffffff) | below(r, 0x10000) << 32;
	} else if (!strcmp(kind, "sigaction")) {
		q[0] = below(r, 3);
		if (q[0] == 2)
			q[0] = (u64)handler;
		q[1] = flags(r, "sa", true) | 0x04000000;
		q[2] = 0;
		q[3] = 0;
	} else if (!strcmp(kind, "sigset")) {
		q[0] = (one_in(r, 3) ? next(r) : 0) & ~(1ul << (SIGALRM - 1));
		*length = 8;
	} else if (!strcmp(kind, "msghdr")) {
		u64 n = 0, v = below(r, 6);
		fill(r, p, 128);
		q[0] = one_in(r, 2) ? 0 : structure(r, "sockaddr", &n);
		q[1] = n;
		q[2] = one_in(r, 8) ? bad_address(r) : (u64)(p + 256);
		q[3] = one_in(r, 12) ? number(r) : v;
		for (u64 i = 0; i < v; i++) {
			q[32 + 2 * i] = address(r);
			q[33 + 2 * i] = below(r, 3000);
		}
		q[4] = one_in(r, 2) ? 0 : (u64)(p + 1024);
		q[5] = one_in(r, 6) ? number(r) : 24;
		q[128] = one_in(r, 6) ? number(r) : 16 + 4 * below(r, 3);
		q[129] = (u64)SOL_SOCKET | (one_in(r, 4) ? below(r, 4) : SCM_RIGHTS) << 32;
		q[130] = descriptor(r) | descriptor(r) << 32;
	} else if (!strcmp(kind, "argv") || !strcmp(kind, "envp")) {
		for (u64 i = 0; i < 4; i++)
			q[i] = text(r);
		q[4] = 0;
	} else if (!strcmp(kind, "rlimit")) {
		q[0] = q[1] = one_in(r, 3) ? number(r) : 1 << 20;
	} else {
		fill(r, p, 256);
		if (one_in(r, 3)) // a length or count that fits, for those that carry one
			memset(p, 0, 256);
		*length = one_in(r, 3) ? number(r) : below(r, 256);
	}
	return (u64)p;
}

static u64 argument(struct random *r, const char *type, size_t n, u64 *length)
{
	char t[32];
	char mark = strchr("|#*>+", *type) ? *type : 0;

	snprintf(t, sizeof(t), "%.*s", (int)(n - !!mark), type + !!mark);
	if (mark == '|' || mark == '#')
		return flags(r, t, mark == '|');
	if (mark)
		return structure(r, t, length);
	if (!strcmp(t, "fd"))
		return descriptor(r);
	if (!strcmp(t, "dirfd"))
		return one_in(r, 2) ? (u64)AT_FDCWD : descriptor(r);
	if (!strcmp(t, "path") || !strcmp(t, "str"))
		return text(r);
	if (!strcmp(t, "pid"))
		return process(r);
	if (!strcmp(t, "sig"))
		return one_in(r, 8) ? number(r) : below(r, 66);
	if (!strcmp(t, "ms"))
		return below(r, 5);
	if (!strcmp(t, "p"))
		return address(r);
	if (!strcmp(t, "off"))
		return one_in(r, 4) ? number(r) : below(r, 20000);
	if (!strcmp(t, "n"))
		return *length != ~0ul ? *length : one_in(r, 4) ? number(r) : below(r, 70000);
	if (!strcmp(t, "o"))
		return one_in(r, 8) ? number(r) : 0600 | below(r, 0200);
	if (*t == 'x' && one_in(r, 3))
		return address(r);
	return *length != ~0ul && (*t == 'u' || *t == 'd') ? *length : number(r);
}

static bool forks(long nr) { return nr == SYS_fork || nr == SYS_clone || nr == SYS_clone3; }

static void call(struct random *r, const struct row *row)
{
	u64 a[6] = { 0 }, length = ~0ul;
	const char *p = row->args;

	for (int i = 0; i < 6; i++) {
		while (*p && *p != ':' && *p != '=')
			p++;
		if (*p != ':')
			break;
		size_t n = strcspn(++p, " ");
		u64 known = length;
		a[i] = argument(r, p, n, &length);
		if (known != ~0ul && known == length)
			length = ~0ul; // a length counts for the argument behind its buffer
		p += n;
	}
	if (!one_in(r, 4))
		better(r, row->nr, a);
	if (row->nr == SYS_clone) // a thread on somebody else's stack would only kill the worker
		a[0] &= ~(u64)(CLONE_VM | CLONE_VFORK | CLONE_PARENT);
	if (forks(row->nr) && !one_in(r, 20))
		return;
	if (row->nr == SYS_madvise && a[0] < (u64)tally + TALLY && a[0] + a[1] > (u64)tally)
		return; // MADV_REMOVE over everything would rightly clear the counts
	__atomic_fetch_add(&tally[row - rows].calls, 1, __ATOMIC_RELAXED); // first: a worker may not come back
	long ret = syscall(row->nr, a[0], a[1], a[2], a[3], a[4], a[5]);
	if (!ret && forks(row->nr))
		_exit(0);
	__atomic_fetch_add(&tally[row - rows].good, ret != -1, __ATOMIC_RELAXED);
}

// Calls that would end the worker at once, hit others than itself, or stop everything by right.
static bool left_out(const struct row *row)
{
	static const int list[] = { SYS_exit, SYS_exit_group, SYS_vfork, SYS_rt_sigreturn, SYS_reboot, SYS_arch_prctl, SYS_pause, 335 /* uretprobe: SIGILL */ };

	for (size_t i = 0; i < sizeof(list) / sizeof(*list); i++)
		if (row->nr == list[i])
			return true;
	return false;
}

static void open_everything(void)
{
	int two[2];
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr = { htonl(0x7f000001) } };
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	for (int i = 0; i < 2; i++) {
		opened[FILE_A][i] = open(DIRECTORY "/a", O_RDWR | O_CREAT, 0600);
		opened[FILE_B][i] = open(DIRECTORY "/b", O_RDWR | O_CREAT | O_APPEND, 0600);
		opened[FOLDER][i] = open(DIRECTORY, O_RDONLY | O_DIRECTORY);
		opened[PATH_ONLY][i] = open(DIRECTORY "/a", O_PATH);
		opened[NULL_DEVICE][i] = open("/dev/null", O_RDWR);
		opened[ZERO_DEVICE][i] = open("/dev/zero", O_RDWR);
		opened[MAPS][i] = open("/proc/self/maps", O_RDONLY);
		opened[PROGRAM][i] = open("/proc/self/exe", O_RDONLY);
		opened[TERMINAL][i] = open("/dev/ptmx", O_RDWR | O_NOCTTY);
		(void)!pipe2(two, i ? O_NONBLOCK : 0);
		opened[PIPE_OUT][i] = two[0], opened[PIPE_IN][i] = two[1];
		socketpair(AF_UNIX, SOCK_STREAM, 0, opened[STREAM_PAIR]);
		socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, opened[DGRAM_PAIR]);
		socketpair(AF_UNIX, SOCK_SEQPACKET, 0, opened[PACKET_PAIR]);
		opened[LISTENER][i] = socket(AF_INET, SOCK_STREAM, 0);
		bind(opened[LISTENER][i], (void *)&in, sizeof(in));
		listen(opened[LISTENER][i], 4);
		opened[UDP][i] = socket(AF_INET, SOCK_DGRAM, 0);
		opened[TCP6][i] = socket(AF_INET6, SOCK_STREAM, 0);
		opened[NETLINK][i] = socket(AF_NETLINK, SOCK_RAW, i ? 4 : 0);
		opened[EPOLL][i] = epoll_create1(0);
		opened[EVENT][i] = eventfd(3, EFD_NONBLOCK);
		opened[TIMER][i] = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
		opened[SIGNALS][i] = signalfd(-1, &set, SFD_NONBLOCK);
		opened[INOTIFY][i] = inotify_init1(IN_NONBLOCK);
		opened[MEMFD][i] = memfd_create("fuzz", MFD_ALLOW_SEALING);
		opened[PIDFD][i] = (int)syscall(SYS_pidfd_open, i ? victim : getpid(), 0);
		opened[QUEUE][i] = (int)mq_open("/q", O_RDWR | O_CREAT | O_NONBLOCK, 0600, NULL);
		opened[NAMESPACE][i] = open(i ? "/proc/self/ns/mnt" : "/proc/self/ns/uts", O_RDONLY);
	}
}

struct thread {
	struct random r;
};

void own_tally(void)
{
	if (mmap(tally, TALLY, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
		_exit(0);
}

void random_call(struct random *r)
{
	const struct row *row = &rows[below(r, NROWS)];

	if (wanted[row - rows] && (!strchr("AG", *row->state) || one_in(r, 20)))
		call(r, row);
}

// Each thread is hit every few milliseconds, so that nothing blocks it for long.
static void *loop(void *arg)
{
	struct thread *t = arg;
	struct sigevent often = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGALRM };
	struct itimerspec ms = { { 0, 3000000 }, { 0, 3000000 } };
	timer_t id;

	often._sigev_un._tid = (pid_t)syscall(SYS_gettid);
	timer_create(CLOCK_MONOTONIC, &often, &id);
	timer_settime(id, 0, &ms, NULL);
	for (;;) {
		random_call(&t->r);
		if (recipes && one_in(&t->r, 60))
			recipe(&t->r);
		if (one_in(&t->r, 500)) {
			close_range(3, ~0u, 0);
			open_everything();
		}
	}
	return NULL;
}

// The arena is unmapped and protected like everything else; then it comes back.
static void faulted(int sig, siginfo_t *info, void *context)
{
	char *at = info->si_addr;

	(void)context;
	if (at < arena || at >= arena + ARENA ||
	    mmap(arena, ARENA, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
		signal(sig, SIG_DFL);
}

static void worker(u64 seed)
{
	struct thread t[3];
	struct sigaction sa = { .sa_handler = handler }, fault = { .sa_sigaction = faulted, .sa_flags = SA_SIGINFO };
	pthread_t id;

	setpgid(0, 0);
	arena = mmap(ARENA_AT, ARENA + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	if (arena == MAP_FAILED)
		_exit(3);
	mprotect(arena + ARENA, 4096, PROT_NONE);
	// mounts of its own; without them it may make none
	own_mounts = !unshare(CLONE_NEWNS) && !mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL);
	if (!own_mounts)
		for (size_t i = 0; i < NROWS; i++)
			if (strstr(rows[i].name, "mount") || strstr(rows[i].name, "pivot") || strstr(rows[i].name, "open_tree"))
				wanted[i] = 0;
	if (chdir(DIRECTORY))
		_exit(3);
	victim = fork();
	if (!victim) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			sleep(1000);
	}
	for (int i = 0; i < 3; i++) {
		close(i);
		(void)!open("/dev/null", O_RDWR);
	}
	open_everything();
	for (int sig = 1; sig < 65; sig++) // files, timers and queues are told to send any of them
		if (sig != SIGILL && sig != SIGTRAP && sig != SIGFPE && sig != SIGSYS)
			sigaction(sig, &sa, NULL);
	sigaction(SIGSEGV, &fault, NULL);
	sigaction(SIGBUS, &fault, NULL);
	for (int i = 0; i < 3; i++) {
		t[i] = (struct thread){ .r = { seed * 3 + (u64)i } };
		if (i)
			pthread_create(&id, NULL, loop, &t[i]);
	}
	loop(&t[0]);
}

static int removed(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)st, (void)type;
	if (at->level)
		remove(path);
	return 0;
}

// What outlives processes: files and System V objects.
static void clean(void)
{
	struct shmid_ds shm;
	struct msqid_ds msg;
	struct semid_ds sem;

	mount(NULL, "/", NULL, MS_REMOUNT, NULL); // workers may have made them read-only: they are root
	mount(NULL, "/tmp", NULL, MS_REMOUNT, NULL);
	nftw(DIRECTORY, removed, 8, FTW_DEPTH | FTW_PHYS);
	nftw("/dev/shm", removed, 8, FTW_DEPTH | FTW_PHYS);
	umount2(DIRECTORY "/d", MNT_DETACH);
	umount2(DIRECTORY, MNT_DETACH);
	for (int i = 0; i < 256; i++) {
		int id = shmctl(i, SHM_STAT, &shm);
		if (id >= 0)
			shmctl(id, IPC_RMID, NULL);
		id = msgctl(i, MSG_STAT, &msg);
		if (id >= 0)
			msgctl(id, IPC_RMID, NULL);
		id = semctl(i, 0, SEM_STAT, &sem);
		if (id >= 0)
			semctl(id, 0, IPC_RMID);
	}
	mkdir(DIRECTORY, 0700);
	mkdir(DIRECTORY "/d", 0700);
	(void)!symlink("a", DIRECTORY "/l");
}

static int fail(const char *what)
{
	printf("sysfuzz: afterwards: %s: %s\n", what, strerror(errno));
	return 1;
}

static void *add(void *p)
{
	++*(int *)p;
	return p;
}

// Files, pipes, memory, threads, processes, sockets, time still do what they should.
static int check(void)
{
	char b[64] = "";
	int p[2], n = 0, status;
	pthread_t t;
	struct timespec a, z, nap = { 0, 2000000 };

	int fd = open(DIRECTORY "/check", O_RDWR | O_CREAT | O_TRUNC, 0600);
	if (fd < 0 || write(fd, "sound", 5) != 5 || pread(fd, b, 64, 0) != 5 || strcmp(b, "sound") || close(fd))
		return fail("a file");
	if (pipe(p) || write(p[1], "pipe", 4) != 4 || read(p[0], b, 64) != 4 || close(p[0]) || close(p[1]))
		return fail("a pipe");
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, p) || write(p[1], "sock", 4) != 4 || read(p[0], b, 64) != 4 || close(p[0]) || close(p[1]))
		return fail("a socket");
	char *m = mmap(NULL, 64 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (m == MAP_FAILED)
		return fail("mmap");
	for (size_t i = 0; i < 64 << 20; i += 4096)
		if (m[i]++)
			return fail("fresh memory is not zero");
	munmap(m, 64 << 20);
	if (pthread_create(&t, NULL, add, &n) || pthread_join(t, NULL) || n != 1)
		return fail("a thread");
	pid_t c = fork();
	if (!c)
		_exit(41 + n);
	if (c < 0 || waitpid(c, &status, 0) != c || !WIFEXITED(status) || WEXITSTATUS(status) != 42)
		return fail("a process");
	chmod("/proc/self/exe", 0755); // workers may have changed it: they are root
	c = fork();
	if (!c) {
		execl("/proc/self/exe", "sysfuzz", "--version", NULL);
		_exit(errno);
	}
	if (c < 0 || waitpid(c, &status, 0) != c)
		return fail("exec");
	if (status) {
		struct stat st = { 0 };
		fd = open("/proc/self/exe", O_RDONLY);
		memset(b, 0, sizeof(b));
		fstat(fd, &st);
		(void)!read(fd, b, 4);
		printf("sysfuzz: afterwards: exec: status %#x; the program has %ld bytes, mode %o, %02x %02x %02x %02x\n", status, (long)st.st_size,
		       st.st_mode, b[0], b[1], b[2], b[3]);
		return 1;
	}
	clock_gettime(CLOCK_MONOTONIC, &a);
	nanosleep(&nap, NULL);
	clock_gettime(CLOCK_MONOTONIC, &z);
	if ((z.tv_sec - a.tv_sec) * 1000000000l + z.tv_nsec - a.tv_nsec < nap.tv_nsec)
		return fail("the clock");
	return 0;
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

// The threads of a process that hangs, as /proc shows them.
static void show(pid_t pid)
{
	char name[64], line[512];

	for (int tid = pid; tid < pid + 16; tid++) {
		snprintf(name, sizeof(name), "/proc/%d/task/%d/status", pid, tid);
		FILE *f = fopen(name, "r");
		if (!f)
			continue;
		while (fgets(line, sizeof(line), f))
			if (!strncmp(line, "State", 5) || !strncmp(line, "Sig", 3) || !strncmp(line, "Shd", 3) || !strncmp(line, "Tr", 2))
				printf("sysfuzz: task %d %s", tid, line);
		fclose(f);
	}
}

// Kills a worker's processes and waits for it; 1 if it does not die.
static int reap(pid_t group)
{
	double until = now() + 30;
	struct timespec nap = { 0, 5000000 };

	kill(-group, SIGKILL);
	kill(group, SIGKILL);
	while (!waitpid(group, NULL, WNOHANG)) { // gone, or waited for already
		for (int tid = group + 1; tid < group + 8; tid++)
			waitpid(tid, NULL, WNOHANG | __WALL); // a thread that asked to be traced (PTRACE_TRACEME) is ours to wait for
		if (now() > until) {
			printf("sysfuzz: process %d does not die of SIGKILL\n", group);
			show(group);
			return 1;
		}
		nanosleep(&nap, NULL);
	}
	return 0;
}

static bool listed(const char *name)
{
	const char *p = only;
	size_t n = strlen(name);

	while (p && *p) {
		if (!strncmp(p, name, n) && (p[n] == ',' || !p[n]))
			return true;
		p = strchr(p, ',');
		p += !!p;
	}
	return !only;
}

// The counts and the marks behind them; 1 if somebody else wrote there. The workers are gone.
static int report(void)
{
	unsigned long calls = 0, good = 0, reached = 0;
	int bad = 0;

	for (u64 *m = (u64 *)(tally + NROWS); m < (u64 *)tally + TALLY / 8; m++)
		if (*m != MARK && !bad++)
			printf("sysfuzz: shared memory that only the fuzzer has was changed: %#lx at %p\n", *m, (void *)m);
	for (size_t i = 0; i < NROWS; i++) {
		if ((tally[i].calls > 1ul << 32 || tally[i].good > tally[i].calls) && !bad++)
			printf("sysfuzz: the counts of %s were changed: %lu, %lu\n", rows[i].name, tally[i].calls, tally[i].good);
		calls += tally[i].calls;
		good += tally[i].good;
		reached += tally[i].good > 0;
	}
	printf("sysfuzz: %lu calls, %lu without error; %lu of %zu kinds succeeded at least once; never:", calls, good, reached, NROWS);
	for (size_t i = 0; i < NROWS; i++)
		if (wanted[i] && !tally[i].good)
			printf(" %s", rows[i].name);
	puts("");
	return bad;
}

int main(int argc, char **argv)
{
	static const struct option options[] = { { "seed", required_argument, NULL, 's' }, { "seconds", required_argument, NULL, 't' },
		{ "workers", required_argument, NULL, 'w' }, { "only", required_argument, NULL, 'o' }, { "recipes", required_argument, NULL, 'r' }, { "version", no_argument, NULL, 'v' }, { 0 } };
	u64 seed = (u64)time(NULL);
	double seconds = 5;
	int option, workers = 3, rounds = 0, bad = 0;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1)
		switch (option) {
		case 's': seed = strtoul(optarg, NULL, 0); break;
		case 't': seconds = atof(optarg); break;
		case 'w': workers = atoi(optarg); break;
		case 'o': only = optarg; recipes = 0; break;
		case 'r': recipes = strtoul(optarg, NULL, 0); break;
		case 'v': return 0;
		default: return 2;
		}
	if (access("/proc/coffer", F_OK)) {
		fputs("sysfuzz: this is no enclave; it would do harm here\n", stderr);
		return 2;
	}
	if (workers < 1 || workers > 16)
		workers = 3;
	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("sysfuzz: --seed %lu, %g s, %d workers\n", seed, seconds, workers);
	tally = mmap(TALLY_AT, TALLY, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	if (tally == MAP_FAILED)
		return fail("mmap");
	_Static_assert(sizeof(*tally) * NROWS < TALLY, "room for the counts and some marks");
	common = mmap(COMMON_AT, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	if (common == MAP_FAILED)
		return fail("mmap");
	for (u64 *m = (u64 *)(tally + NROWS); m < (u64 *)tally + TALLY / 8; m++)
		*m = MARK;
	for (size_t i = 0; i < NROWS; i++)
		wanted[i] = listed(rows[i].name) && !left_out(&rows[i]);
	pid_t w[16] = { 0 };
	double born[16], end = now() + seconds, swept = now();
	clean();
	while (now() < end && !bad) {
		for (int i = 0; i < workers && !bad; i++) {
			if (w[i] > 0 && waitpid(w[i], NULL, WNOHANG)) {
				kill(-w[i], SIGKILL); // what it left behind
				w[i] = 0;
			}
			if (w[i] > 0 && now() - born[i] > 0.4) {
				bad |= reap(w[i]);
				w[i] = 0;
			}
			if (w[i] > 0)
				continue;
			born[i] = now();
			w[i] = fork();
			if (!w[i])
				worker(seed + (u64)rounds * 7919);
			rounds++;
			if (w[i] < 0)
				bad = fail("fork");
		}
		if (now() - swept > 3) {
			clean();
			swept = now();
		}
		struct timespec nap = { 0, 2000000 };
		nanosleep(&nap, NULL);
	}
	for (int i = 0; i < workers; i++)
		if (w[i] > 0)
			bad |= reap(w[i]);
	clean();
	bad |= check();
	bad |= report() > 0;
	printf("sysfuzz: %d workers in turn, the kernel %s\n", rounds, bad ? "is damaged" : "is sound");
	return bad;
}

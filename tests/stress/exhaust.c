// SPDX-License-Identifier: Apache-2.0
// One process takes all memory there is, by each way a program has. It gets an error or is killed; a bystander goes on living and
// working, and afterwards everything is there again. Only inside an enclave, whose memory is a setting of the project.
#define T_LIMIT 300
#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/socket.h>

#include "tests/kernel/t.h"

enum { MB = 1 << 20 };

static long count(const char *kind)
{
	char want[64];
	const char *p = t_get("/proc/coffer/objects");
	int n = snprintf(want, sizeof(want), "%s ", kind);
	for (; p && strncmp(p, want, (size_t)n); p = strchr(p, '\n') ? strchr(p, '\n') + 1 : NULL)
		;
	CHECK(p);
	return atol(p + n);
}

// --- the bystander: answers each byte after it has used memory, a descriptor and a file

struct bystander {
	pid_t pid;
	int to, from;
};

static int serve(int in, int out)
{
	static char block[1 << 20];
	char c;
	while (read(in, &c, 1) == 1) {
		memset(block, c, sizeof(block));
		int fd = open("/proc/self/stat", O_RDONLY);
		for (int i = 0; fd < 0 && errno == ENOMEM && i < 1000; i++) { // memory is short: a moment later it is not
			t_sleep_ms(10);
			fd = open("/proc/self/stat", O_RDONLY);
		}
		if (fd < 0 || read(fd, block, 100) < 10 || close(fd) || write(out, &c, 1) != 1)
			return 1;
	}
	return 0;
}

static struct bystander bystander(void)
{
	int to[2], from[2];
	OK(pipe(to));
	OK(pipe(from));
	pid_t p = OK(fork());
	if (!p) {
		close(to[1]);
		close(from[0]);
		_exit(serve(to[0], from[1]));
	}
	close(to[0]);
	close(from[1]);
	return (struct bystander){p, to[1], from[0]};
}

static void lives(const struct bystander *b)
{
	char c = 'x';
	struct pollfd p = {.fd = b->from, .events = POLLIN};
	if (write(b->to, &c, 1) != 1 || poll(&p, 1, 120000) != 1 || read(b->from, &c, 1) != 1) {
		t_sleep_ms(1000); // its end may be under way
		int st = 0;
		pid_t ended = waitpid(b->pid, &st, WNOHANG);
		t_fail(__LINE__, "the bystander %s, wait status %#x", ended ? "ended" : "does not answer", st);
	}
}

static void all_descriptors(void)
{
	struct rlimit rl;
	OK(getrlimit(RLIMIT_NOFILE, &rl));
	rl.rlim_cur = rl.rlim_max;
	OK(setrlimit(RLIMIT_NOFILE, &rl));
}

static bool use(size_t size)
{
	char *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		return false;
	memset(p, 1, size);
	munmap(p, size);
	return true;
}

// `eat` goes on until it is refused or killed; what it leaves in files `after` removes.
static void exhaust(void (*eat)(void), void (*after)(void))
{
	long held;
	int st;
	if (access("/proc/coffer/objects", R_OK))
		SKIP("only inside an enclave");
	OK(prctl(PR_SET_CHILD_SUBREAPER, 1));
	signal(SIGPIPE, SIG_IGN);
	struct bystander b = bystander();
	lives(&b);
	held = count("pages_held");
	pid_t eater = OK(fork());
	if (!eater) {
		close(b.to);
		close(b.from);
		setpgid(0, 0);
		all_descriptors();
		eat();
		t_sleep_ms(500); // full for a while
		_exit(0);
	}
	while (waitpid(eater, &st, WNOHANG) != eater) {
		lives(&b);
		t_sleep_ms(20);
	}
	kill(-eater, SIGKILL); // what it has forked, and what is ours now
	while (waitpid(-eater, NULL, 0) > 0)
		;
	if (after)
		after();
	CHECK((WIFEXITED(st) && !WEXITSTATUS(st)) || (WIFSIGNALED(st) && (WTERMSIG(st) == SIGKILL || WTERMSIG(st) == SIGBUS)));
	for (int i = 0; i < 200 && count("pages_held") > held + 2048; i++)
		t_sleep_ms(100);
	if (count("pages_held") > held + 2048)
		t_fail(__LINE__, "%ld pages are held, %ld before", count("pages_held"), held);
	lives(&b);
	for (int tries = 0;; tries++) { // there is as much as before
		pid_t p = OK(fork());
		if (!p)
			_exit(use(100 * MB) ? 0 : 1);
		if ((st = t_wait(p)) == 0)
			break;
		if (tries == 20)
			t_fail(__LINE__, "100 MiB cannot be had any more: %d", st);
		t_sleep_ms(200);
	}
	close(b.to);
	EQ(t_wait(b.pid), 0);
}

// --- the ways

static void eat_private(void)
{
	for (volatile char *p; (p = malloc(4 * MB));)
		for (int i = 0; i < 4 * MB; i += 4096)
			p[i] = 1;
}
TEST(private_memory) { exhaust(eat_private, NULL); }

static void eat_files(void)
{
	char name[32], block[65536] = {1};
	for (int i = 0;; i++) {
		snprintf(name, sizeof(name), "/tmp/eat%d", i);
		int fd = open(name, O_WRONLY | O_CREAT, 0600);
		if (fd < 0)
			return;
		for (int k = 0; k < 1000; k++)
			if (write(fd, block, sizeof(block)) < 0)
				return;
		close(fd);
	}
}
static void no_files(void)
{
	DIR *d = opendir("/tmp");
	for (struct dirent *e; d && (e = readdir(d));)
		if (!strncmp(e->d_name, "eat", 3))
			unlinkat(dirfd(d), e->d_name, 0);
	closedir(d);
}
TEST(tmpfs_files) { exhaust(eat_files, no_files); }

static void eat_names(void)
{
	char name[300];
	for (int i = 0;; i++) {
		snprintf(name, sizeof(name), "/tmp/many/%d.%0200d", i, i);
		int fd = open(name, O_WRONLY | O_CREAT, 0600);
		if (fd < 0)
			return;
		close(fd);
	}
}
static void no_names(void) { OK(umount("/tmp/many")); }
TEST(names_of_empty_files)
{
	if (access("/proc/coffer/objects", R_OK))
		SKIP("only inside an enclave");
	OK(mkdir("/tmp/many", 0700));
	OK(mount("tmpfs", "/tmp/many", "tmpfs", 0, ""));
	exhaust(eat_names, no_names);
}

static void eat_pipes(void)
{
	static char block[65536];
	for (int p[2]; !pipe2(p, O_NONBLOCK);) {
		if (fcntl(p[1], F_SETPIPE_SZ, MB) < 0)
			return;
		while (write(p[1], block, sizeof(block)) > 0)
			;
		if (errno != EAGAIN)
			return;
	}
}
TEST(pipe_buffers) { exhaust(eat_pipes, NULL); }

static void eat_sockets(void)
{
	static char block[65536];
	int big = 64 * MB;
	for (int s[2]; !socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, s);) {
		setsockopt(s[0], SOL_SOCKET, SO_SNDBUF, &big, sizeof(big));
		while (write(s[0], block, sizeof(block)) > 0)
			;
		if (errno != EAGAIN)
			return;
	}
}
TEST(socket_buffers) { exhaust(eat_sockets, NULL); }

static void eat_datagrams(void)
{
	static char block[100];
	for (int s[2]; !socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, s);)
		while (write(s[0], block, sizeof(block)) > 0)
			;
}
TEST(small_datagrams) { exhaust(eat_datagrams, NULL); }

static void eat_shared(size_t size)
{
	for (char *p; (p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)) != MAP_FAILED;)
		memset(p, 1, size);
}
static void eat_shared_small(void) { eat_shared(MB); }
static void eat_shared_large(void) { eat_shared(64 * MB); }
TEST(shared_memory) { exhaust(eat_shared_small, NULL); }
TEST(shared_memory_in_pieces) { exhaust(eat_shared_large, NULL); }

static void eat_sysv(void)
{
	for (;;) {
		int id = shmget(IPC_PRIVATE, 4 * MB, 0600);
		char *p = id < 0 ? (char *)-1 : shmat(id, NULL, 0);
		if (id >= 0)
			shmctl(id, IPC_RMID, NULL);
		if (p == (char *)-1)
			return;
		memset(p, 1, 4 * MB);
	}
}
TEST(system_v_segments) { exhaust(eat_sysv, NULL); }

static void eat_memfd(void)
{
	static char block[MB];
	for (int fd; (fd = memfd_create("eat", 0)) >= 0;)
		for (int i = 0; i < 64; i++)
			if (write(fd, block, MB) < 0)
				return;
}
TEST(memory_files) { exhaust(eat_memfd, NULL); }

static void fork_many(int size)
{
	for (;;) {
		pid_t p = fork();
		if (p < 0 || waitpid(-1, NULL, WNOHANG) > 0) // refused, or one was killed
			return;
		if (!p) {
			volatile char *m = malloc((size_t)size);
			for (int i = 0; m && i < size; i += 4096)
				m[i] = 1;
			for (;;)
				pause();
		}
	}
}
static void eat_by_forking(void) { fork_many(MB); }
TEST(forks) { exhaust(eat_by_forking, NULL); }
// Each is smaller than the bystander, who was there long before them.
static void eat_by_small_forks(void) { fork_many(600 << 10); }
TEST(small_forks) { exhaust(eat_by_small_forks, NULL); }

static void *wait_for_ever(void *p)
{
	char here[32768];
	memset(here, 1, sizeof(here));
	for (;;)
		pause();
	return p;
}
static void eat_by_threads(void)
{
	pthread_t t;
	while (!pthread_create(&t, NULL, wait_for_ever, NULL))
		;
}
TEST(threads) { exhaust(eat_by_threads, NULL); }

static void eat_descriptors(void)
{
	for (;;) { // a process may have so many; its children have the same again
		int ep = epoll_create1(0), fd;
		struct epoll_event ev = {.events = EPOLLIN};
		while ((fd = eventfd(0, 0)) >= 0)
			if (epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev))
				return;
		if (errno != EMFILE)
			return;
		pid_t p = fork();
		if (p)
			return;
		closefrom(3);
	}
}
TEST(descriptors) { exhaust(eat_descriptors, NULL); }

static void eat_by_mappings(void)
{
	for (;;) {
		char *p = mmap(NULL, 256 * MB, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		for (size_t at = 0; p != MAP_FAILED && at < 256 * MB && !mprotect(p + at, 4096, PROT_READ); at += 8192)
			;
		if (fork())
			return; // the parent stays, so that its share stays, too
	}
}
TEST(mappings) { exhaust(eat_by_mappings, NULL); }

// SPDX-License-Identifier: Apache-2.0
// /proc/coffer/objects: what a program makes is counted, and what it gives back is gone. Only inside an enclave.
#include "t.h"
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>

static long count(const char *kind)
{
	char want[64];
	const char *all, *p;

	if (access("/proc/coffer/objects", R_OK))
		SKIP("only inside an enclave");
	all = t_get("/proc/coffer/objects");
	snprintf(want, sizeof(want), "%s ", kind);
	for (p = all; p && strncmp(p, want, strlen(want)); p = strchr(p, '\n') ? strchr(p, '\n') + 1 : NULL)
		;
	if (!p)
		t_fail(__LINE__, "no line for %s", kind);
	return strtol(p + strlen(want), NULL, 10);
}

// One descriptor that `make` makes counts by 1 until it is closed.
#define COUNTS(kind, make)                                                                                         \
	do {                                                                                                       \
		long before_ = count(kind);                                                                        \
		int fd_ = OK(make);                                                                                \
		EQ(count(kind), before_ + 1);                                                                      \
		close(fd_);                                                                                        \
		EQ(count(kind), before_);                                                                          \
	} while (0)

TEST_DIR(descriptors)
{
	sigset_t set;
	sigemptyset(&set);
	COUNTS("files", open("/dev/null", O_RDONLY));
	COUNTS("epolls", epoll_create1(0));
	COUNTS("eventfds", eventfd(0, 0));
	COUNTS("timerfds", timerfd_create(CLOCK_MONOTONIC, 0));
	COUNTS("signalfds", signalfd(-1, &set, 0));
	COUNTS("inotifies", inotify_init1(0));
	COUNTS("sockets", socket(AF_UNIX, SOCK_STREAM, 0));
	COUNTS("inodes", memfd_create("m", 0));
	COUNTS("page_caches", memfd_create("m", 0));
}

TEST(pipes)
{
	long pipes = count("pipes"), files = count("files");
	int p[2];
	OK(pipe(p));
	EQ(count("pipes"), pipes + 1);
	EQ(count("files"), files + 2);
	close(p[0]);
	close(p[1]);
	EQ(count("pipes"), pipes);
	EQ(count("files"), files);
}

TEST(epoll_items)
{
	long before = count("epoll_items");
	int ep = OK(epoll_create1(0)), e = OK(eventfd(0, 0));
	struct epoll_event ev = {.events = EPOLLIN};
	OK(epoll_ctl(ep, EPOLL_CTL_ADD, e, &ev));
	EQ(count("epoll_items"), before + 1);
	close(ep);
	EQ(count("epoll_items"), before);
}

TEST(processes)
{
	long last = 0;
	for (int same = 0; same < 6;) { // what earlier cases left dies first
		t_sleep_ms(50);
		long now = count("processes") + count("tasks") + count("mms") + count("vmas");
		same = now == last ? same + 1 : 0;
		last = now;
	}
	long procs = count("processes"), tasks = count("tasks"), mms = count("mms"), vmas = count("vmas");
	int go[2];
	char c;
	OK(pipe(go));
	pid_t pid = OK(fork());
	if (!pid) {
		close(go[1]);
		_exit(read(go[0], &c, 1) != 0);
	}
	EQ(count("processes"), procs + 1);
	EQ(count("tasks"), tasks + 1);
	EQ(count("mms"), mms + 1);
	CHECK(count("vmas") > vmas);
	close(go[1]);
	EQ(t_wait(pid), 0);
	// the host's end of a process is later than ours
	for (int i = 0; i < 1000 && (count("processes") != procs || count("tasks") != tasks || count("mms") != mms); i++)
		t_sleep_ms(5);
	EQ(count("processes"), procs);
	EQ(count("tasks"), tasks);
	EQ(count("mms"), mms);
	EQ(count("vmas"), vmas);
}

TEST(mappings)
{
	long before = count("vmas"), caches = count("page_caches"), pages = count("cached_pages");
	char *p = OK(mmap(NULL, 8 << 12, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
	memset(p, 1, 8 << 12);
	EQ(count("page_caches"), caches + 1);
	EQ(count("cached_pages"), pages + 8);
	OK(mprotect(p + 4096, 4096, PROT_NONE));
	EQ(count("vmas"), before + 3);
	OK(munmap(p, 8 << 12));
	EQ(count("vmas"), before);
	EQ(count("page_caches"), caches);
	EQ(count("cached_pages"), pages);
}

TEST(signals)
{
	long before = count("signals");
	sigset_t set;
	siginfo_t info;
	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN);
	OK(sigprocmask(SIG_BLOCK, &set, NULL));
	for (int i = 0; i < 10; i++)
		OK(sigqueue(getpid(), SIGRTMIN, (union sigval){.sival_int = i}));
	EQ(count("signals"), before + 10);
	for (int i = 0; i < 10; i++)
		EQ(sigwaitinfo(&set, &info), SIGRTMIN);
	EQ(count("signals"), before);
}

TEST(posix_timers)
{
	long before = count("posix_timers");
	struct sigevent ev = {.sigev_notify = SIGEV_NONE};
	timer_t t;
	OK(timer_create(CLOCK_MONOTONIC, &ev, &t));
	EQ(count("posix_timers"), before + 1);
	OK(timer_delete(t));
	EQ(count("posix_timers"), before);
}

// Many of everything, made and given back: the kernel's memory is what it was.
TEST_DIR(nothing_stays)
{
	long first = 0;
	count("files");
	for (int round = 0; round < 4; round++) {
		for (int i = 0; i < 50; i++) {
			int p[2], s[2];
			OK(pipe(p));
			OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
			t_put("f", "text");
			OK(unlink("f"));
			pid_t pid = OK(fork());
			if (!pid)
				_exit(0);
			EQ(t_wait(pid), 0);
			close(p[0]);
			close(p[1]);
			close(s[0]);
			close(s[1]);
		}
		long sum = 0;
		for (int size = 128; size <= 2048; size *= 2) {
			char kind[32];
			snprintf(kind, sizeof(kind), "kmalloc_%d", size);
			sum += count(kind);
		}
		if (round == 1)
			first = sum;
		// other programs of the enclave live too: a leak would be 50 a round and more
		if (round > 1)
			CHECK(sum < first + 40);
	}
}

// --- peaks: the memory of what was there in great number goes back after a while

static long held_kib(void) { return count("pages_held") * 4; }

static void goes_down_to(long kib)
{
	for (int i = 0; i < 150 && held_kib() > kib; i++)
		t_sleep_ms(100);
	if (held_kib() > kib)
		t_fail(__LINE__, "the kernel holds %ld KiB, want %ld", held_kib(), kib);
}

TEST(peak_of_descriptors)
{
	struct rlimit rl;
	long before = held_kib(), peak, made = 0;
	OK(getrlimit(RLIMIT_NOFILE, &rl));
	rl.rlim_cur = rl.rlim_max;
	OK(setrlimit(RLIMIT_NOFILE, &rl));
	for (int p[2]; made < 60000 && !pipe(p); made += 2)
		;
	CHECK(made > 1000);
	peak = held_kib();
	CHECK(peak - before > made / 4);
	OK(close_range(3, 200, 0));
	OK(close_range(250, ~0u, 0)); // the case's own way to report lies between
	goes_down_to(before + (peak - before) / 4 + 2048);
}

TEST(peak_of_processes)
{
	long tables = count("fd_tables"), before = held_kib();
	int p[2], n;
	char c;
	OK(pipe(p));
	for (n = 0; n < 300; n++) {
		pid_t child = fork();
		if (child < 0)
			break;
		if (!child) {
			close(p[1]);
			(void)!read(p[0], &c, 1);
			_exit(0);
		}
	}
	CHECK(n > 50);
	CHECK(count("fd_tables") >= tables + n);
	close(p[1]);
	while (wait(NULL) > 0)
		;
	goes_down_to(before + 2048);
}

TEST(child_of_a_process_that_had_many_descriptors)
{
	long large = count("kmalloc_pages");
	int p[2], high = OK(fcntl(0, F_DUPFD, 900));
	char c;
	struct rlimit rl;
	OK(getrlimit(RLIMIT_NOFILE, &rl));
	rl.rlim_cur = rl.rlim_max;
	OK(setrlimit(RLIMIT_NOFILE, &rl));
	if (rl.rlim_max > 8000)
		high = OK(dup2(0, 8000));
	OK(close(high));
	OK(close(900));
	OK(pipe(p));
	large = count("kmalloc_pages");
	for (int i = 0; i < 20; i++)
		if (!OK(fork())) {
			close(p[1]);
			(void)!read(p[0], &c, 1);
			_exit(0);
		}
	CHECK(count("kmalloc_pages") < large + 20); // each table would take 16 pages
	close(p[1]);
	while (wait(NULL) > 0)
		;
}

// SPDX-License-Identifier: Apache-2.0
// Resource limits that bite: what happens at each, and who is exempt.
#include "t.h"
#include <pthread.h>
#include <sys/mman.h>
#include <sys/resource.h>

#define MB (1ul << 20)

static void limit(int what, unsigned long cur, unsigned long max)
{
	struct rlimit rl = {cur, max};
	OK(setrlimit((__rlimit_resource_t)what, &rl));
}

static unsigned long soft(int what)
{
	struct rlimit rl;
	OK(getrlimit((__rlimit_resource_t)what, &rl));
	return rl.rlim_cur;
}

// A user that nothing else runs as, without any capability.
static void be_nobody(void)
{
	unsigned id = 50000 + (unsigned)getpid(); // what another case left does not count
	if (setresgid(id, id, id) || setresuid(id, id, id))
		SKIP("may not change user");
}

static void *anon(unsigned long n, int prot, int flags) { return mmap(NULL, n, prot, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0); }

static unsigned long status_kb(const char *name)
{
	const char *p = strstr(t_get("/proc/self/status"), name);
	if (!p)
		t_fail(__LINE__, "no %s", name);
	return strtoul(p + strlen(name), NULL, 10);
}

TEST(nproc_stops_an_ordinary_user)
{
	be_nobody();
	limit(RLIMIT_NPROC, 3, 3);
	int go[2], n = 0, err = 0;
	char c;
	OK(pipe(go));
	for (; n < 10; n++) {
		pid_t p = fork();
		if (p < 0) {
			err = errno;
			break;
		}
		if (!p) {
			close(go[1]);
			_exit(read(go[0], &c, 1) != 0);
		}
	}
	EQ(n, 2); // this process is the first of three
	EQ(err, EAGAIN);
	close(go[1]);
	for (int i = 0; i < n; i++)
		CHECK(wait(NULL) > 0);
	EQ(t_wait(OK(fork() ?: (_exit(7), 0))), 7); // there is room again
}

static void *wait_on(void *fd)
{
	char c;
	return (void *)(long)read(*(int *)fd, &c, 1);
}

TEST(nproc_counts_threads)
{
	be_nobody();
	limit(RLIMIT_NPROC, 4, 4);
	pthread_t t[8];
	int go[2], n = 0;
	OK(pipe(go));
	while (n < 8 && pthread_create(&t[n], NULL, wait_on, &go[0]) == 0)
		n++;
	EQ(n, 3);
	close(go[1]);
	while (n-- > 0)
		ZERO(pthread_join(t[n], NULL));
}

TEST(nproc_does_not_stop_root)
{
	if (geteuid())
		SKIP("not root");
	limit(RLIMIT_NPROC, 1, 1);
	EQ(t_wait(OK(fork() ?: (_exit(5), 0))), 5);
}

TEST(address_space)
{
	unsigned long now = status_kb("VmSize:") << 10;
	limit(RLIMIT_AS, now + 8 * MB, RLIM_INFINITY);
	ERR(anon(16 * MB, PROT_READ, 0), ENOMEM);
	char *p = OK(anon(4 * MB, PROT_READ, 0));
	ERR(anon(6 * MB, PROT_NONE, 0), ENOMEM); // whatever it is good for, it is address space
	ERR(mremap(p, 4 * MB, 12 * MB, MREMAP_MAYMOVE), ENOMEM);
	OK(mmap(p, 4 * MB, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0)); // over itself: no more than before
	void *old = sbrk(0);
	ERR((long)sbrk(16 * MB), ENOMEM);
	CHECK(sbrk(0) == old);
	OK(munmap(p, 4 * MB));
	OK(anon(4 * MB, PROT_READ, 0));
}

TEST(data_segment)
{
	unsigned long now = status_kb("VmData:") << 10;
	limit(RLIMIT_DATA, now + 4 * MB, RLIM_INFINITY);
	ERR(anon(8 * MB, PROT_READ | PROT_WRITE, 0), ENOMEM);
	char *p = OK(anon(8 * MB, PROT_READ, 0)); // not data
	ERR(mprotect(p, 8 * MB, PROT_READ | PROT_WRITE), ENOMEM); // that would be
	OK(mprotect(p, 1 * MB, PROT_READ | PROT_WRITE));
	OK(mmap(NULL, 8 * MB, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
	ERR((long)sbrk(8 * MB), ENOMEM);
}

TEST(locked_memory)
{
	be_nobody();
	limit(RLIMIT_MEMLOCK, 64 << 10, 64 << 10);
	char *p = OK(anon(MB, PROT_READ | PROT_WRITE, 0));
	OK(mlock(p, 32 << 10));
	EQ(status_kb("VmLck:"), 32);
	OK(mlock(p, 32 << 10)); // already
	EQ(status_kb("VmLck:"), 32);
	OK(mlock(p + (32 << 10), 32 << 10));
	ERR(mlock(p + (64 << 10), 4096), ENOMEM);
	OK(munlock(p, 16 << 10));
	EQ(status_kb("VmLck:"), 48);
	OK(mlock(p + (64 << 10), 16 << 10));
	OK(munmap(p, MB));
	EQ(status_kb("VmLck:"), 0);
	ERR(mmap(NULL, 128 << 10, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED, -1, 0), EAGAIN);
	ERR(mlockall(MCL_CURRENT), ENOMEM);
	limit(RLIMIT_MEMLOCK, 0, 0);
	p = OK(anon(4096, PROT_READ, 0));
	ERR(mlock(p, 4096), EPERM);
	ERR(mlockall(MCL_CURRENT), EPERM);
	ERR(mlock((void *)(16 * MB), 4096), EPERM); // before it is looked whether anything is there
}

TEST(lock_everything)
{
	if (geteuid())
		SKIP("not root");
	OK(mlockall(MCL_CURRENT | MCL_FUTURE));
	unsigned long before = status_kb("VmLck:");
	CHECK(before > 0);
	OK(anon(MB, PROT_READ | PROT_WRITE, 0));
	EQ(status_kb("VmLck:"), before + 1024);
	pid_t p = OK(fork());
	if (!p)
		_exit(status_kb("VmLck:") != 0); // locks are not inherited
	EQ(t_wait(p), 0);
	OK(munlockall());
	EQ(status_kb("VmLck:"), 0);
	ERR(mlock((void *)(16 * MB), 4096), ENOMEM);
}

TEST_DIR(file_size)
{
	int fd = OK(open("f", O_RDWR | O_CREAT, 0600));
	char b[100] = "";
	signal(SIGXFSZ, SIG_IGN);
	limit(RLIMIT_FSIZE, 150, 150);
	EQ(write(fd, b, 100), 100);
	EQ(write(fd, b, 100), 50);
	ERR(write(fd, b, 1), EFBIG);
	ERR(pwrite(fd, b, 1, 1000), EFBIG);
	ERR(ftruncate(fd, 151), EFBIG);
	OK(ftruncate(fd, 150));
	int p[2];
	OK(pipe(p));
	limit(RLIMIT_FSIZE, 0, 0);
	EQ(write(p[1], b, 100), 100); // files only
	pid_t pid = OK(fork());
	if (!pid) {
		struct rlimit none = {0, 0};
		signal(SIGXFSZ, SIG_DFL);
		setrlimit(RLIMIT_CORE, &none);
		_exit(write(fd, b, 100) != -1);
	}
	EQ(t_wait(pid), 128 + SIGXFSZ);
}

static volatile sig_atomic_t got_xcpu;
static void on_xcpu(int sig) { got_xcpu += sig == SIGXCPU; }

TEST(cpu_time)
{
	pid_t p = OK(fork());
	if (!p) {
		t_on(SIGXCPU, on_xcpu, 0);
		limit(RLIMIT_CPU, 1, 2);
		while (!got_xcpu)
			;
		for (;;) // and at the hard limit there is no choice
			;
	}
	EQ(t_wait(p), 128 + SIGKILL);
	p = OK(fork());
	if (!p) {
		limit(RLIMIT_CORE, 0, 0);
		limit(RLIMIT_CPU, 1, RLIM_INFINITY);
		for (;;)
			;
	}
	EQ(t_wait(p), 128 + SIGXCPU);
}

TEST(pending_signals)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN);
	sigaddset(&set, SIGUSR1);
	OK(sigprocmask(SIG_BLOCK, &set, NULL));
	be_nobody();
	limit(RLIMIT_SIGPENDING, 4, 4);
	union sigval v = {.sival_int = 1};
	for (int i = 0; i < 4; i++)
		OK(sigqueue(getpid(), SIGRTMIN, v));
	ERR(sigqueue(getpid(), SIGRTMIN, v), EAGAIN);
	OK(kill(getpid(), SIGUSR1)); // what kill sends does not need room
	siginfo_t info;
	EQ(sigwaitinfo(&set, &info) > 0, 1);
	const char *q = strstr(t_get("/proc/self/status"), "SigQ:\t");
	CHECK(q && strstr(q, "/4\n"));
}

TEST(descriptors)
{
	limit(RLIMIT_NOFILE, 20, 20);
	int fd, last = -1;
	while ((fd = dup(0)) >= 0)
		last = fd;
	EQ(errno, EMFILE);
	EQ(last, 19);
	ERR(dup2(0, 20), EBADF);
	ERR(fcntl(0, F_DUPFD, 20), EINVAL);
}

TEST(niceness)
{
	struct rlimit rl = {15, 15}; // nice 5 at best
	if (setrlimit(RLIMIT_NICE, &rl))
		SKIP("may not raise the limit");
	be_nobody();
	OK(setpriority(PRIO_PROCESS, 0, 10));
	OK(setpriority(PRIO_PROCESS, 0, 5));
	ERR(setpriority(PRIO_PROCESS, 0, 4), EACCES);
	EQ(getpriority(PRIO_PROCESS, 0), 5);
}

TEST(of_another_process)
{
	int go[2];
	char c;
	OK(pipe(go));
	pid_t p = OK(fork());
	if (!p) {
		close(go[1]);
		if (read(go[0], &c, 1) != 0)
			_exit(1);
		_exit(soft(RLIMIT_NOFILE) == 33 ? 0 : 2);
	}
	struct rlimit rl = {33, 44}, old;
	OK(prlimit(p, RLIMIT_NOFILE, &rl, &old));
	OK(prlimit(p, RLIMIT_NOFILE, NULL, &old));
	EQ(old.rlim_cur, 33);
	EQ(old.rlim_max, 44);
	char path[64];
	snprintf(path, sizeof(path), "/proc/%d/limits", p);
	CHECK(strstr(t_get(path), "Max open files            33                   44                   files"));
	close(go[1]);
	EQ(t_wait(p), 0);
	be_nobody();
	ERR(prlimit(1, RLIMIT_NOFILE, NULL, &old), EPERM);
	rl.rlim_max = soft(RLIMIT_NOFILE) + 100000;
	limit(RLIMIT_NOFILE, 10, 20);
	ERR(setrlimit(RLIMIT_NOFILE, &rl), EPERM); // up again
}

TEST(inherited_and_kept_over_exec)
{
	limit(RLIMIT_NOFILE, 77, 99);
	pid_t p = OK(fork());
	if (!p) {
		execl("/bin/sh", "sh", "-c", "test $(ulimit -n) = 77", NULL);
		_exit(9);
	}
	EQ(t_wait(p), 0);
}

// SPDX-License-Identifier: Apache-2.0
// Calls that compare processes or reach into them: kcmp, pidfd_getfd, process_madvise, process_mrelease.
#include <linux/kcmp.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/uio.h>

#include "tests/kernel/t.h"

static long cmp(pid_t a, pid_t b, int type, long i, long j) { return syscall(SYS_kcmp, a, b, type, i, j); }

static pid_t sleeper(void)
{
	pid_t kid = OK(fork());
	if (!kid) {
		pause();
		_exit(0);
	}
	return kid;
}

TEST(kcmp_files)
{
	pid_t me = getpid();
	int a = OK(open("/dev/null", O_RDONLY)), b = OK(dup(a)), c = OK(open("/dev/null", O_RDONLY));
	if (cmp(me, me, KCMP_FILE, a, b) < 0 && errno == ENOSYS)
		SKIP("no kcmp here");
	EQ(cmp(me, me, KCMP_FILE, a, b), 0);
	long r = cmp(me, me, KCMP_FILE, a, c);
	CHECK(r == 1 || r == 2);
	EQ(cmp(me, me, KCMP_FILE, c, a), 3 - r); // a strict order
	ERR(cmp(me, me, KCMP_FILE, a, 99), EBADF);
	pid_t kid = sleeper();
	EQ(cmp(me, kid, KCMP_FILE, a, b), 0);
	t_end(kid);
}

TEST(kcmp_epoll_target)
{
	pid_t me = getpid();
	int a = OK(eventfd(0, 0)), b = OK(eventfd(0, 0)), ep = OK(epoll_create1(0)), old = OK(dup(a));
	struct epoll_event ev = {.events = EPOLLIN};
	struct kcmp_epoll_slot slot = {.efd = (unsigned)ep, .tfd = (unsigned)old};
	OK(epoll_ctl(ep, EPOLL_CTL_ADD, old, &ev));
	EQ(cmp(me, me, KCMP_EPOLL_TFD, a, (long)&slot), 0);
	long r = cmp(me, me, KCMP_EPOLL_TFD, b, (long)&slot);
	CHECK(r == 1 || r == 2);
	OK(dup2(b, old)); // the same number once more, for another file
	OK(epoll_ctl(ep, EPOLL_CTL_ADD, old, &ev));
	long zero = cmp(me, me, KCMP_EPOLL_TFD, a, (long)&slot) == 0;
	slot.toff = 1;
	zero += cmp(me, me, KCMP_EPOLL_TFD, a, (long)&slot) == 0;
	EQ(zero, 1);
	slot.toff = 2;
	ERR(cmp(me, me, KCMP_EPOLL_TFD, a, (long)&slot), ENOENT);
	slot.tfd = 99;
	ERR(cmp(me, me, KCMP_EPOLL_TFD, a, (long)&slot), ENOENT);
	slot.efd = (unsigned)b;
	ERR(cmp(me, me, KCMP_EPOLL_TFD, a, (long)&slot), EINVAL);
	slot.efd = 99;
	ERR(cmp(me, me, KCMP_EPOLL_TFD, a, (long)&slot), EBADF);
	ERR(cmp(me, me, KCMP_EPOLL_TFD, a, 8), EFAULT);
}

TEST(kcmp_parts)
{
	pid_t me = getpid(), kid = sleeper();
	if (cmp(me, me, KCMP_VM, 0, 0) < 0 && errno == ENOSYS)
		SKIP("no kcmp here");
	for (int t = KCMP_VM; t <= KCMP_SYSVSEM; t++)
		EQ(cmp(me, me, t, 0, 0), 0);
	CHECK(cmp(me, kid, KCMP_VM, 0, 0) > 0);
	CHECK(cmp(me, kid, KCMP_FILES, 0, 0) > 0);
	CHECK(cmp(me, kid, KCMP_FS, 0, 0) > 0);
	CHECK(cmp(me, kid, KCMP_SIGHAND, 0, 0) > 0);
	ERR(cmp(me, me, 99, 0, 0), EINVAL);
	ERR(cmp(me, 0x7ffffff, KCMP_VM, 0, 0), ESRCH);
	t_end(kid);
}

TEST_DIR(pidfd_getfd_takes_a_descriptor)
{
	char buf[8] = "";
	t_put("f", "shared");
	int p[2];
	OK(pipe(p));
	pid_t kid = OK(fork());
	if (!kid) {
		int fd = open("f", O_RDONLY);
		dup2(fd, 100);
		lseek(fd, 2, SEEK_SET);
		if (write(p[1], "x", 1) != 1)
			_exit(1);
		pause();
		_exit(0);
	}
	EQ(read(p[0], buf, 1), 1);
	int pfd = OK((int)syscall(SYS_pidfd_open, kid, 0));
	int fd = OK((int)syscall(SYS_pidfd_getfd, pfd, 100, 0));
	EQ(read(fd, buf, 8), 4); // the same open file
	STREQ(buf, "ared");
	EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
	ERR(syscall(SYS_pidfd_getfd, pfd, 101, 0), EBADF);
	ERR(syscall(SYS_pidfd_getfd, pfd, 100, 1), EINVAL);
	ERR(syscall(SYS_pidfd_getfd, p[0], 100, 0), EBADF);
	kill(kid, SIGKILL);
	EQ(waitpid(kid, NULL, 0), kid);
	ERR(syscall(SYS_pidfd_getfd, pfd, 100, 0), ESRCH);
}

TEST(process_madvise_hints)
{
	char *m = mmap(NULL, 16384, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	memset(m, 'x', 16384);
	pid_t kid = sleeper();
	int pfd = OK((int)syscall(SYS_pidfd_open, kid, 0));
	struct iovec v[2] = {{m, 4096}, {m + 8192, 8192}}, hole = {(void *)0x10000, 4096};
	EQ(syscall(SYS_process_madvise, pfd, v, 2, MADV_COLD, 0), 12288);
	ERR(syscall(SYS_process_madvise, pfd, v, 2, MADV_DONTNEED, 0), EINVAL);
	ERR(syscall(SYS_process_madvise, pfd, v, 2, MADV_COLD, 1), EINVAL);
	ERR(syscall(SYS_process_madvise, pfd, &hole, 1, MADV_COLD, 0), ENOMEM);
	ERR(syscall(SYS_process_madvise, 0, v, 2, MADV_COLD, 0), EBADF);
	t_end(kid);
}

TEST(process_mrelease_wants_a_dying_process)
{
	pid_t kid = sleeper();
	int pfd = OK((int)syscall(SYS_pidfd_open, kid, 0));
	ERR(syscall(448, pfd, 1), EINVAL);
	ERR(syscall(448, 0, 0), EBADF);
	ERR(syscall(448, pfd, 0), EINVAL);
	kill(kid, SIGKILL);
	EQ(waitpid(kid, NULL, 0), kid);
	ERR(syscall(448, pfd, 0), ESRCH);
}

// SPDX-License-Identifier: Apache-2.0
// POSIX message queues (man 7 mq_overview).
#include <mqueue.h>
#include <poll.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/mount.h>

#include "tests/kernel/t.h"

static char name[64];

static mqd_t make(int flags, long max, long size)
{
	struct mq_attr a = {.mq_maxmsg = max, .mq_msgsize = size};
	snprintf(name, sizeof(name), "/coffer-test-%d", getpid());
	mq_unlink(name);
	return OK(mq_open(name, O_CREAT | O_EXCL | O_RDWR | flags, 0600, &a));
}

static int snd(mqd_t q, const char *s, unsigned prio) { return mq_send(q, s, strlen(s), prio); }

static const char *rcv(mqd_t q, unsigned *prio)
{
	static char buf[9000];
	ssize_t n = mq_receive(q, buf, 8192, prio);
	if (n < 0)
		return NULL;
	buf[n] = 0;
	return buf;
}

TEST(priorities)
{
	unsigned p;
	mqd_t q = make(0, 5, 64);
	OK(snd(q, "low", 1));
	OK(snd(q, "high", 9));
	OK(snd(q, "mid", 5));
	OK(snd(q, "high2", 9));
	OK(snd(q, "", 0));
	STREQ(rcv(q, &p), "high");
	EQ(p, 9);
	STREQ(rcv(q, NULL), "high2");
	STREQ(rcv(q, NULL), "mid");
	STREQ(rcv(q, &p), "low");
	EQ(p, 1);
	STREQ(rcv(q, NULL), "");
	OK(mq_unlink(name));
}

TEST(attributes)
{
	struct mq_attr a, b = {.mq_flags = O_NONBLOCK, .mq_maxmsg = 99};
	mqd_t q = make(0, 3, 16);
	OK(snd(q, "x", 0));
	OK(mq_getattr(q, &a));
	CHECK(a.mq_maxmsg == 3 && a.mq_msgsize == 16 && a.mq_curmsgs == 1 && a.mq_flags == 0);
	OK(mq_setattr(q, &b, &a));
	EQ(a.mq_flags, 0);
	OK(mq_getattr(q, &a));
	CHECK(a.mq_flags == O_NONBLOCK && a.mq_maxmsg == 3);
	CHECK(fcntl(q, F_GETFL) & O_NONBLOCK);
	EQ(fcntl(q, F_GETFD), FD_CLOEXEC);
	b.mq_flags = O_APPEND;
	ERR(mq_setattr(q, &b, NULL), EINVAL);
	OK(mq_unlink(name));
	q = OK(mq_open(name, O_CREAT | O_RDWR, 0600, NULL));
	OK(mq_getattr(q, &a));
	CHECK(a.mq_maxmsg == 10 && a.mq_msgsize == 8192);
	OK(mq_unlink(name));
}

TEST(open_errors)
{
	struct mq_attr bad = {.mq_maxmsg = 0, .mq_msgsize = 10}, bad2 = {.mq_maxmsg = 10, .mq_msgsize = 0};
	ERR(mq_open("/coffer-none", O_RDWR), ENOENT);
	ERR(mq_open("/", O_RDWR | O_CREAT, 0600, NULL), ENOENT);
	ERR(mq_unlink("/a/b"), EACCES);
	ERR(mq_open("/..", O_RDWR), EACCES);
	ERR(mq_open("/a/b", O_RDWR | O_CREAT, 0600, NULL), EACCES);
	ERR(mq_open("noslash", O_RDWR), EINVAL);
	ERR(mq_open("/coffer-none", O_RDWR | O_CREAT, 0600, &bad), EINVAL);
	ERR(mq_open("/coffer-none", O_RDWR | O_CREAT, 0600, &bad2), EINVAL);
	ERR(mq_unlink("/coffer-none"), ENOENT);
	char lng[300] = "/";
	memset(lng + 1, 'n', 256);
	ERR(mq_open(lng, O_RDWR), ENAMETOOLONG);
	mqd_t q = make(0, 2, 16), r;
	ERR(mq_open(name, O_CREAT | O_EXCL | O_RDWR, 0600, NULL), EEXIST);
	r = OK(mq_open(name, O_RDONLY));
	ERR(mq_send(r, "x", 1, 0), EBADF);
	r = OK(mq_open(name, O_WRONLY));
	char b[16];
	ERR(mq_receive(r, b, 16, NULL), EBADF);
	ERR(mq_send(0, "x", 1, 0), EBADF);
	ERR(mq_send(-1, "x", 1, 0), EBADF);
	ERR(mq_send(q, "x", 1, 32768), EINVAL);
	ERR(mq_send(q, "0123456789abcdefg", 17, 0), EMSGSIZE);
	ERR(mq_receive(q, b, 15, NULL), EMSGSIZE);
	OK(mq_unlink(name));
	ERR(mq_open(name, O_RDWR), ENOENT);
	OK(snd(q, "still there", 0));
	STREQ(rcv(q, NULL), "still there");
}

TEST(nonblocking)
{
	mqd_t q = make(O_NONBLOCK, 2, 16);
	char b[16];
	ERR(mq_receive(q, b, 16, NULL), EAGAIN);
	OK(snd(q, "1", 0));
	OK(snd(q, "2", 0));
	ERR(snd(q, "3", 0), EAGAIN);
	OK(mq_unlink(name));
}

TEST(timeouts)
{
	mqd_t q = make(0, 1, 16);
	char b[16];
	struct timespec ts, bad = {1, -1}, past = {1, 0};
	clock_gettime(CLOCK_REALTIME, &ts);
	ts.tv_nsec += 20000000;
	if (ts.tv_nsec >= 1000000000) {
		ts.tv_sec++;
		ts.tv_nsec -= 1000000000;
	}
	ERR(mq_timedreceive(q, b, 16, NULL, &ts), ETIMEDOUT);
	ERR(mq_timedreceive(q, b, 16, NULL, &past), ETIMEDOUT);
	ERR(mq_timedreceive(q, b, 16, NULL, &bad), EINVAL);
	OK(mq_timedsend(q, "x", 1, 0, &past)); // it need not wait
	ERR(mq_timedsend(q, "x", 1, 0, &past), ETIMEDOUT);
	OK(mq_unlink(name));
}

static bool asleep(pid_t pid)
{
	char path[64], *s;
	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	s = strrchr(t_get(path), ')');
	return s && s[2] == 'S';
}

static void until_asleep(pid_t pid)
{
	while (!asleep(pid))
		usleep(1000);
}

TEST(reader_and_writer_wait)
{
	int st;
	mqd_t q = make(0, 1, 16);
	pid_t kid = OK(fork());
	if (!kid) {
		const char *s = rcv(q, NULL);
		_exit(s && !strcmp(s, "hello") ? 0 : 1);
	}
	until_asleep(kid);
	OK(snd(q, "hello", 0));
	EQ(waitpid(kid, &st, 0), kid);
	EQ(st, 0);
	OK(snd(q, "full", 0));
	kid = OK(fork());
	if (!kid)
		_exit(snd(q, "next", 0) ? 1 : 0);
	until_asleep(kid);
	STREQ(rcv(q, NULL), "full");
	EQ(waitpid(kid, &st, 0), kid);
	EQ(st, 0);
	STREQ(rcv(q, NULL), "next");
	OK(mq_unlink(name));
}

static void nothing(int sig) { (void)sig; }

TEST(interrupted)
{
	int st;
	mqd_t q = make(0, 1, 16);
	pid_t kid = OK(fork());
	if (!kid) {
		struct sigaction sa = {.sa_handler = nothing};
		sigaction(SIGUSR1, &sa, NULL);
		_exit(!rcv(q, NULL) && errno == EINTR ? 0 : 1);
	}
	until_asleep(kid);
	kill(kid, SIGUSR1);
	EQ(waitpid(kid, &st, 0), kid);
	EQ(st, 0);
	OK(mq_unlink(name));
}

TEST(readiness)
{
	mqd_t q = make(O_NONBLOCK, 1, 16);
	struct pollfd p = {.fd = q, .events = POLLIN | POLLOUT};
	EQ(poll(&p, 1, 0), 1);
	EQ(p.revents, POLLOUT);
	int ep = OK(epoll_create1(0));
	struct epoll_event ev = {.events = EPOLLIN, .data.u32 = 5};
	OK(epoll_ctl(ep, EPOLL_CTL_ADD, q, &ev));
	EQ(epoll_wait(ep, &ev, 1, 0), 0);
	pid_t kid = OK(fork());
	if (!kid) {
		usleep(20000);
		_exit(snd(q, "x", 0) ? 1 : 0);
	}
	EQ(epoll_wait(ep, &ev, 1, -1), 1);
	EQ(ev.data.u32, 5);
	EQ(poll(&p, 1, 0), 1);
	EQ(p.revents, POLLIN);
	EQ(waitpid(kid, NULL, 0), kid);
	OK(mq_unlink(name));
}

static volatile int got, got_value, got_code;
static void on_message(int sig, siginfo_t *si, void *c)
{
	(void)c;
	got = sig;
	got_value = si->si_value.sival_int;
	got_code = si->si_code;
}

TEST(notify_by_signal)
{
	mqd_t q = make(0, 4, 16);
	struct sigaction sa = {.sa_sigaction = on_message, .sa_flags = SA_SIGINFO};
	struct sigevent ev = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1, .sigev_value.sival_int = 77};
	sigaction(SIGUSR1, &sa, NULL);
	OK(mq_notify(q, &ev));
	ERR(mq_notify(q, &ev), EBUSY);
	OK(snd(q, "one", 0));
	EQ(got, SIGUSR1);
	EQ(got_value, 77);
	EQ(got_code, SI_MESGQ);
	got = 0;
	OK(snd(q, "two", 0)); // registered once, tells once
	EQ(got, 0);
	OK(mq_notify(q, &ev));
	OK(snd(q, "three", 0)); // the queue was not empty
	EQ(got, 0);
	while (mq_getattr(q, &(struct mq_attr){0}) == 0 && !got) {
		struct mq_attr a;
		OK(mq_getattr(q, &a));
		if (a.mq_curmsgs)
			rcv(q, NULL);
		else
			OK(snd(q, "four", 0));
	}
	EQ(got, SIGUSR1);
	OK(mq_notify(q, &ev));
	OK(mq_notify(q, NULL));
	OK(mq_notify(q, &ev));
	mqd_t other = OK(mq_open(name, O_RDWR));
	close(other); // ends the registration
	OK(mq_notify(q, &ev));
	ev.sigev_notify = 99;
	ERR(mq_notify(q, &ev), EINVAL);
	ev.sigev_notify = SIGEV_NONE;
	ERR(mq_notify(q, &ev), EBUSY);
	OK(mq_unlink(name));
}

static int told[2];
static void on_thread(union sigval v)
{
	char c = (char)v.sival_int;
	if (write(told[1], &c, 1) != 1)
		abort();
}

TEST(notify_by_thread)
{
	char c = 0;
	OK(pipe(told));
	mqd_t q = make(0, 4, 16);
	struct sigevent ev = {.sigev_notify = SIGEV_THREAD, .sigev_notify_function = on_thread, .sigev_value.sival_int = 'T'};
	OK(mq_notify(q, &ev));
	OK(snd(q, "one", 0));
	EQ(read(told[0], &c, 1), 1);
	EQ(c, 'T');
	OK(mq_unlink(name));
}

TEST(shared_by_name_and_stat)
{
	struct stat st;
	int w;
	mqd_t q = make(0, 2, 16);
	OK(fstat(q, &st));
	CHECK(S_ISREG(st.st_mode));
	EQ(st.st_mode & 0777, 0600);
	EQ(st.st_size, 80);
	pid_t kid = OK(fork());
	if (!kid) {
		close(q);
		mqd_t mine = mq_open(name, O_WRONLY);
		_exit(mine < 0 || snd(mine, "from kid", 3));
	}
	EQ(waitpid(kid, &w, 0), kid);
	EQ(w, 0);
	STREQ(rcv(q, NULL), "from kid");
	char b[128] = "";
	CHECK(read(q, b, sizeof(b) - 1) > 0);
	CHECK(strstr(b, "QSIZE:0 ") == b);
	OK(mq_unlink(name));
}

static void own_queues_and_mounts(void)
{
	if (unshare(CLONE_NEWNS | CLONE_NEWIPC))
		SKIP("not permitted");
	if (t_root_is_mount_point())
		OK(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
	OK(mkdir("m", 0755));
}

// mount -t mqueue: queues as files.
TEST_DIR(mounted)
{
	own_queues_and_mounts();
	if (mount("none", "m", "mqueue", 0, NULL))
		SKIP("cannot be mounted");
	struct mq_attr a = {.mq_maxmsg = 5, .mq_msgsize = 100}, b;
	mqd_t q = OK(mq_open("/here", O_CREAT | O_RDWR, 0600, &a));
	struct stat st;
	OK(stat("m/here", &st));
	EQ(st.st_mode, S_IFREG | 0600);
	OK(mq_send(q, "hello", 5, 1));
	CHECK(strstr(t_get("m/here"), "QSIZE:5 "));
	CHECK(strstr(t_get("m/here"), "NOTIFY_PID:0 "));
	DIR *d = opendir("m");
	struct dirent *e;
	int n = 0;
	while ((e = readdir(d)))
		n += !strcmp(e->d_name, "here");
	closedir(d);
	EQ(n, 1);
	int fd = OK(open("m/made", O_CREAT | O_RDWR, 0600)); // with the default limits
	OK(mq_getattr(fd, &b));
	EQ(b.mq_maxmsg, 10);
	mqd_t r = OK(mq_open("/made", O_RDWR));
	OK(mq_send(r, "x", 1, 0));
	char buf[8192];
	EQ(mq_receive(fd, buf, sizeof(buf), NULL), 1);
	ERR(mkdir("m/dir", 0755), EPERM);
	ERR(open("m/none", O_RDONLY), ENOENT);
	OK(unlink("m/here"));
	ERR(mq_open("/here", O_RDWR), ENOENT);
	OK(mq_unlink("/made"));
	ERR(access("m/made", F_OK), ENOENT);
	OK(mq_send(q, "still", 5, 1)); // open queues live on
	close(fd); // it was opened there
	OK(umount("m"));
}

// All mounts of an IPC namespace are one file system; it outlives its namespace, empty.
TEST_DIR(mounted_twice)
{
	own_queues_and_mounts();
	OK(mkdir("n", 0755));
	if (mount("none", "m", "mqueue", 0, NULL))
		SKIP("cannot be mounted");
	OK(mount("none", "n", "mqueue", 0, NULL));
	mqd_t q = OK(mq_open("/here", O_CREAT | O_RDWR, 0600, NULL));
	struct stat a, b, f;
	OK(chmod("m", 0700));
	OK(stat("m", &a));
	OK(stat("n", &b));
	OK(stat("n/here", &f));
	EQ(a.st_dev, b.st_dev);
	EQ(a.st_ino, b.st_ino);
	EQ(b.st_mode, S_IFDIR | 0700);
	EQ(f.st_dev, a.st_dev);
	OK(umount("m"));
	OK(umount("n"));
	OK(mount("none", "m", "mqueue", 0, NULL));
	OK(stat("m", &b));
	EQ(b.st_mode, S_IFDIR | 0700); // it lives as long as the namespace
	EQ(a.st_dev, b.st_dev);
	OK(close(q));
	OK(unshare(CLONE_NEWIPC));
	ERR(open("m/new", O_CREAT | O_RDWR, 0600), EACCES);
}

// Made but not mounted yet, while the only mount of the same file system goes away.
TEST_DIR(made_before_it_is_unmounted)
{
	own_queues_and_mounts();
	int fs = OK((int)syscall(SYS_fsopen, "mqueue", 0));
	OK(syscall(SYS_fsconfig, fs, 6, NULL, NULL, 0)); // FSCONFIG_CMD_CREATE
	if (mount("none", "m", "mqueue", 0, NULL))
		SKIP("cannot be mounted");
	OK(umount("m"));
	int made = OK((int)syscall(SYS_fsmount, fs, 0, 0));
	OK(syscall(SYS_move_mount, made, "", AT_FDCWD, "m", 4)); // MOVE_MOUNT_F_EMPTY_PATH
	OK(close(made));
	OK(close(fs));
	mqd_t q = OK(mq_open("/here", O_CREAT | O_RDWR, 0600, NULL));
	EQ(access("m/here", F_OK), 0);
	OK(close(q));
	OK(umount("m"));
}

// As above, and its namespace is gone as well.
TEST_DIR(made_in_a_namespace_that_is_gone)
{
	own_queues_and_mounts();
	int fs = OK((int)syscall(SYS_fsopen, "mqueue", 0));
	OK(syscall(SYS_fsconfig, fs, 6, NULL, NULL, 0));
	OK(unshare(CLONE_NEWIPC));
	int made = OK((int)syscall(SYS_fsmount, fs, 0, 0));
	OK(syscall(SYS_move_mount, made, "", AT_FDCWD, "m", 4));
	OK(close(made));
	OK(close(fs));
	ERR(open("m/new", O_CREAT | O_RDWR, 0600), EACCES);
	OK(umount("m"));
}

// SPDX-License-Identifier: Apache-2.0
// Mistakes that other library kernels made and that hurt real programs, one case or more for each of thirteen: none of them here.
// Speed is never measured: what was slow elsewhere is done so often that only a hang or that slowness meets the time limit.
#include <pthread.h>
#include <linux/futex.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "tests/kernel/t.h"

// 1. A call number that does not exist was EINVAL: C libraries fall back to older calls on ENOSYS only.
TEST(d01_unknown_calls_are_enosys)
{
	static const long numbers[] = {387, 400, 470 + 41, 512, 600, 1000, 100000, 0x7fffffff};
	for (unsigned i = 0; i < sizeof(numbers) / sizeof(*numbers); i++)
		ERR(syscall(numbers[i], -1, -1, -1, -1, -1, -1), ENOSYS);
}

TEST_DIR(d01_calls_that_fall_back_work)
{
	t_put("f", "x");
	OK(faccessat(AT_FDCWD, "f", R_OK, AT_EACCESS));
	int fd = OK(open("f", O_RDONLY));
	OK(close_range((unsigned)fd, (unsigned)fd, 0));
	ERR(fcntl(fd, F_GETFD), EBADF);
}

static void nothing(int s)
{
	(void)s;
}

struct reader {
	int p[2];
	pthread_t thread;
};

static void *interrupt_then_write(void *arg)
{
	struct reader *r = arg;
	for (int i = 0; i < 10; i++) {
		pthread_kill(r->thread, SIGUSR1);
		t_sleep_ms(5);
	}
	t_writen(r->p[1], "x", 1);
	return NULL;
}

// 2. SA_RESTART was ignored, and two futex operations were missing.
TEST(d02_sa_restart)
{
	struct reader a = {.thread = pthread_self()};
	pthread_t t;
	char c;
	t_on(SIGUSR1, nothing, SA_RESTART);
	OK(pipe(a.p));
	ZERO(pthread_create(&t, NULL, interrupt_then_write, &a));
	EQ(read(a.p[0], &c, 1), 1);
	ZERO(pthread_join(t, NULL));
}

static uint32_t word, other;
static void *wait_on_word(void *arg)
{
	while (syscall(SYS_futex, &word, FUTEX_WAIT, 0, NULL, NULL, 0) && errno == EINTR)
		;
	return arg;
}

static long sleepers(uint32_t *w, int wake)
{
	return syscall(SYS_futex, w, FUTEX_WAKE, wake, NULL, NULL, 0);
}

// False: on its way one of the two was back at the first word.
static bool requeue_and_wake_op(void)
{
	pthread_t t[2];
	word = other = 0;
	for (int i = 0; i < 2; i++)
		ZERO(pthread_create(&t[i], NULL, wait_on_word, NULL));
	long moved = 0, woken;
	while (moved < 2) // each as soon as it sleeps: woken none, moved to the other word
		moved += OK(syscall(SYS_futex, &word, FUTEX_CMP_REQUEUE, 0, (void *)2, &other, 0));
	long back = sleepers(&word, 9);
	ERR(syscall(SYS_futex, &word, FUTEX_CMP_REQUEUE, 1, (void *)1, &other, 1), EAGAIN);
	other = 5;
	woken = OK(syscall(SYS_futex, &word, FUTEX_WAKE_OP, 1, (void *)9, &other, FUTEX_OP(FUTEX_OP_ADD, 2, FUTEX_OP_CMP_EQ, 5)));
	EQ(other, 7);
	for (long left = 2 - back - woken; left > 0;)
		left -= sleepers(&word, 9);
	for (int i = 0; i < 2; i++)
		ZERO(pthread_join(t[i], NULL));
	return !back && woken == 2;
}

TEST(d02_futex_requeue_and_wake_op)
{
	bool good = false;
	for (int i = 0; i < 10 && !good; i++) // Linux puts a waiter that wakes for no reason back where it began: not ten times
		good = requeue_and_wake_op();
	CHECK(good);
}

// 3. A descriptor in flight was looked up when the receiver read it: gone, when the sender had closed it.
TEST(d03_sender_closes_what_it_sent)
{
	int s[2], p[2];
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	OK(pipe(p));
	union {
		struct cmsghdr h;
		char room[CMSG_SPACE(sizeof(int))];
	} u = {0};
	char c = 'x';
	struct iovec iov = {&c, 1};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &u, .msg_controllen = sizeof(u)};
	struct cmsghdr *h = CMSG_FIRSTHDR(&m);
	h->cmsg_level = SOL_SOCKET;
	h->cmsg_type = SCM_RIGHTS;
	h->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(h), &p[0], sizeof(int));
	OK(sendmsg(s[0], &m, 0));
	OK(close(p[0]));
	OK(close(s[0]));
	EQ(recvmsg(s[1], &m, 0), 1);
	int got;
	memcpy(&got, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof(int));
	t_writen(p[1], "y", 1);
	EQ(read(got, &c, 1), 1);
	EQ(c, 'y');
}

// 4. A vfork child that ended was no child for waitpid; other threads stood still while it ran.
static volatile bool ticking = true;
static volatile unsigned long ticks;
static void *tick(void *arg)
{
	while (ticking)
		ticks++;
	return arg;
}

TEST(d04_vfork_child_can_be_waited_for)
{
	for (int i = 0; i < 20; i++) {
		pid_t p = vfork();
		if (!p)
			_exit(i);
		EQ(t_wait(p), i);
	}
	ERR(waitpid(-1, NULL, WNOHANG), ECHILD);
}

TEST(d04_threads_run_beside_a_vfork_child)
{
	pthread_t t;
	ZERO(pthread_create(&t, NULL, tick, NULL));
	pid_t p = vfork();
	if (!p) {
		for (unsigned long from = ticks; ticks < from + 1000000;)
			; // ends only if the thread runs
		_exit(7);
	}
	EQ(t_wait(p), 7);
	ticking = false;
	ZERO(pthread_join(t, NULL));
}

// 5. munmap wiped memory at once, at a cost by size; fixed addresses were refused or slow.
TEST(d05_huge_mappings_come_and_go)
{
	for (int i = 0; i < 300; i++) {
		char *m = mmap(NULL, 64ul << 30, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		CHECK(m != MAP_FAILED);
		m[5ul << 30] = 1;
		OK(munmap(m, 64ul << 30));
	}
}

TEST(d05_fixed_addresses)
{
	// heaps of a JVM and of Go
	static const unsigned long at[] = {0x700000000, 0xc000000000, 0x7e8000000, 0x10000000000};
	for (unsigned i = 0; i < sizeof(at) / sizeof(*at); i++) {
		char *m = mmap((void *)at[i], 32 << 20, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
		CHECK((unsigned long)m == at[i]);
		ERR(mmap(m, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0), EEXIST);
		OK(mprotect(m + 4096, 4096, PROT_READ | PROT_WRITE));
		m[4096] = 1;
	}
	for (int i = 0; i < 20000; i++) // probing, as collectors do
		OK(mprotect((char *)at[0] + (i % 1000 + 2) * 8192ul, 4096, i & 1 ? PROT_READ : PROT_NONE));
}

// 6. A `syscall` instruction outside libc went past the library kernel, to the host.
TEST(d06_raw_syscalls_are_ours)
{
	static const unsigned char code[] = {0xb8, 39, 0, 0, 0, 0x0f, 0x05, 0xc3}; // mov $getpid,%eax; syscall; ret
	unsigned char *m = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(m != MAP_FAILED);
	memcpy(m, code, sizeof(code));
	for (int i = 0; i < 100; i++)
		EQ(((long (*)(void))(void *)m)(), getpid());
	pid_t p = OK(fork());
	if (!p)
		_exit(((long (*)(void))(void *)m)() == getpid() && getpid() != 0 ? 0 : 1);
	EQ(t_wait(p), 0);
}

// 7. Calls that the documentation named did not exist.
TEST_DIR(d07_preadv_pwritev)
{
	int fd = OK(open("f", O_RDWR | O_CREAT, 0600));
	char a[3] = "ab", b[4] = "cde", x[8] = "";
	struct iovec out[2] = {{a, 2}, {b, 3}}, in[2] = {{x, 1}, {x + 1, 6}};
	EQ(pwritev(fd, out, 2, 10), 5);
	EQ(preadv(fd, in, 2, 10), 5);
	CHECK(!memcmp(x, "abcde", 5));
	EQ(pwritev2(fd, out, 2, 0, RWF_APPEND), 5);
	EQ(preadv2(fd, in, 2, 15, 0), 5);
	CHECK(!memcmp(x, "abcde", 5));
	EQ(lseek(fd, 0, SEEK_CUR), 0);
}

// 8. All clocks were the wall clock.
static int64_t ns(clockid_t c)
{
	struct timespec t;
	OK(clock_gettime(c, &t));
	return t.tv_sec * 1000000000ll + t.tv_nsec;
}

static void *monotonic(void *arg)
{
	int64_t last = 0, boot = 0;
	for (int i = 0; i < 300000; i++) {
		int64_t t = ns(CLOCK_MONOTONIC), b = ns(CLOCK_BOOTTIME);
		CHECK(t >= last && b >= boot);
		last = t;
		boot = b;
	}
	return arg;
}

TEST(d08_monotonic_is_not_the_wall_clock)
{
	pthread_t t[2];
	CHECK(ns(CLOCK_REALTIME) - ns(CLOCK_MONOTONIC) > 20ll * 365 * 86400 * 1000000000ll); // started long after 1970
	CHECK(ns(CLOCK_PROCESS_CPUTIME_ID) < ns(CLOCK_MONOTONIC));
	for (int i = 0; i < 2; i++)
		ZERO(pthread_create(&t[i], NULL, monotonic, NULL));
	for (int i = 0; i < 2; i++)
		ZERO(pthread_join(t[i], NULL));
}

// 9. fork while another thread changed the kernel's tables spoiled them.
static volatile bool stop;
static void *change(void *arg)
{
	char name[32];
	sprintf(name, "d%ld", (long)arg);
	while (!stop) {
		int p[2], fd = open(name, O_RDWR | O_CREAT, 0600);
		CHECK(fd >= 0 && !pipe(p));
		int d = dup2(fd, 200 + (int)(long)arg);
		CHECK(d >= 0);
		void *m = mmap(NULL, 8192, PROT_READ, MAP_SHARED, fd, 0);
		CHECK(m != MAP_FAILED);
		munmap(m, 8192);
		close(d);
		close(p[0]);
		close(p[1]);
		close(fd);
		unlink(name);
	}
	return arg;
}

TEST_DIR(d09_fork_while_threads_change_everything)
{
	pthread_t t[3];
	t_put("keep", "kept");
	for (long i = 0; i < 3; i++)
		ZERO(pthread_create(&t[i], NULL, change, (void *)i));
	for (int i = 0; i < 100; i++) {
		pid_t p = OK(fork());
		if (!p) {
			int a[2];
			char c;
			if (strcmp(t_get("keep"), "kept") || pipe(a) || write(a[1], "x", 1) != 1 || read(a[0], &c, 1) != 1)
				_exit(1);
			_exit(0);
		}
		EQ(t_wait(p), 0);
	}
	stop = true;
	for (int i = 0; i < 3; i++)
		ZERO(pthread_join(t[i], NULL));
}

// 10. A file was looked for in a list of all files; epoll asked the host about all descriptors each time.
TEST_DIR(d10_thousands_of_files)
{
	char name[32];
	for (int i = 0; i < 5000; i++) {
		sprintf(name, "file-%d", i);
		OK(close(OK(open(name, O_WRONLY | O_CREAT | O_EXCL, 0600))));
	}
	for (int i = 0; i < 200000; i++) {
		sprintf(name, "file-%d", i * 7919 % 5000);
		OK(close(OK(open(name, O_RDONLY))));
	}
}

TEST(d10_epoll_of_many_idle_descriptors)
{
	int ep = OK(epoll_create1(0)), busy[2];
	struct epoll_event e = {.events = EPOLLIN};
	for (int i = 0; i < 400; i++) {
		int p[2];
		OK(pipe(p));
		e.data.fd = p[0];
		OK(epoll_ctl(ep, EPOLL_CTL_ADD, p[0], &e));
	}
	OK(pipe(busy));
	e.data.fd = busy[0];
	OK(epoll_ctl(ep, EPOLL_CTL_ADD, busy[0], &e));
	t_writen(busy[1], "x", 1);
	for (int i = 0; i < 500000; i++) {
		EQ(epoll_wait(ep, &e, 1, 0), 1);
		EQ(e.data.fd, busy[0]);
	}
}

// 11. O_TMPFILE was ignored, directories could not be renamed, time stamps stood still.
TEST_DIR(d11_o_tmpfile)
{
	int fd = OK(open(".", O_TMPFILE | O_RDWR, 0600));
	struct stat st;
	char link[64];
	OK(fstat(fd, &st));
	CHECK(S_ISREG(st.st_mode) && !st.st_nlink);
	t_writen(fd, "later", 5);
	sprintf(link, "/proc/self/fd/%d", fd);
	OK(linkat(AT_FDCWD, link, AT_FDCWD, "named", AT_SYMLINK_FOLLOW));
	STREQ(t_get("named"), "later");
}

TEST_DIR(d11_directories_can_be_renamed)
{
	OK(mkdir("a", 0700));
	OK(mkdir("a/b", 0700));
	t_put("a/b/f", "inside");
	int fd = OK(open("a/b", O_RDONLY | O_DIRECTORY));
	OK(rename("a", "c"));
	STREQ(t_get("c/b/f"), "inside");
	OK(faccessat(fd, "f", F_OK, 0));
	ERR(rename("c", "c/b/x"), EINVAL);
}

static bool later(struct timespec a, struct timespec b)
{
	return a.tv_sec > b.tv_sec || (a.tv_sec == b.tv_sec && a.tv_nsec > b.tv_nsec);
}

TEST_DIR(d11_time_stamps_move)
{
	struct stat f1, f2, d1, d2;
	t_put("f", "one");
	OK(stat("f", &f1));
	OK(stat(".", &d1));
	t_sleep_ms(30);
	t_put("f", "two");
	OK(mkdir("new", 0700));
	OK(stat("f", &f2));
	OK(stat(".", &d2));
	CHECK(later(f2.st_mtim, f1.st_mtim));
	CHECK(later(f2.st_ctim, f1.st_ctim));
	CHECK(later(d2.st_mtim, d1.st_mtim));
	t_sleep_ms(30);
	OK(chmod("f", 0600));
	OK(stat("f", &f1));
	CHECK(later(f1.st_ctim, f2.st_ctim));
	CHECK(!later(f1.st_mtim, f2.st_mtim));
}

// 12. More than 255 rewritten call sites fell back to signals; tracing a rewritten program crashed it.
static long many_sites(void)
{
	long sum = 0;
	__asm__ volatile(".rept 600\n mov $39, %%eax\n syscall\n add %%rax, %0\n .endr" : "+r"(sum)::"rax", "rcx", "r11", "memory");
	return sum;
}

TEST(d12_many_call_sites)
{
	for (int i = 0; i < 20; i++)
		EQ(many_sites(), 600l * getpid());
}

TEST(d12_rewritten_program_is_traced)
{
	many_sites(); // rewritten now, for the child too
	pid_t p = OK(fork());
	if (!p) {
		if (ptrace(PTRACE_TRACEME, 0, NULL, NULL))
			_exit(9);
		raise(SIGSTOP);
		_exit(many_sites() == 600l * getpid() ? 0 : 1);
	}
	int st, stops = 0;
	EQ(waitpid(p, &st, 0), p);
	CHECK(WIFSTOPPED(st));
	OK(ptrace(PTRACE_SETOPTIONS, p, NULL, (void *)PTRACE_O_TRACESYSGOOD));
	for (;;) {
		OK(ptrace(PTRACE_SYSCALL, p, NULL, NULL));
		EQ(waitpid(p, &st, 0), p);
		if (!WIFSTOPPED(st))
			break;
		if (WSTOPSIG(st) == (SIGTRAP | 0x80))
			stops++;
	}
	CHECK(WIFEXITED(st) && !WEXITSTATUS(st));
	CHECK(stops >= 1200);
}

// 13. hackbench panicked on several CPUs; creating and deleting files was twenty times slower.
enum { GROUPS = 4, PAIRS = 5, MESSAGES = 50, SIZE = 100 };

static void receive(int fd, int bytes)
{
	char b[SIZE];
	while (bytes > 0) {
		ssize_t n = read(fd, b, sizeof(b));
		if (n <= 0)
			_exit(1);
		bytes -= (int)n;
	}
	_exit(0);
}

static void group(void)
{
	int s[PAIRS][2];
	char b[SIZE] = "";
	pid_t kids[2 * PAIRS];
	for (int i = 0; i < PAIRS; i++)
		OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s[i]));
	for (int i = 0; i < 2 * PAIRS; i++) {
		kids[i] = OK(fork());
		if (kids[i])
			continue;
		if (i < PAIRS)
			receive(s[i][0], PAIRS * MESSAGES * SIZE);
		for (int m = 0; m < MESSAGES; m++)
			for (int r = 0; r < PAIRS; r++)
				t_writen(s[r][1], b, SIZE);
		_exit(0);
	}
	for (int i = 0; i < 2 * PAIRS; i++)
		EQ(t_wait(kids[i]), 0);
}

TEST(d13_hackbench)
{
	pid_t g[GROUPS];
	for (int i = 0; i < GROUPS; i++) {
		g[i] = OK(fork());
		if (!g[i]) {
			group();
			_exit(0);
		}
	}
	for (int i = 0; i < GROUPS; i++)
		EQ(t_wait(g[i]), 0);
}

TEST_DIR(d13_create_and_delete)
{
	for (int i = 0; i < 50000; i++) {
		OK(close(OK(open("f", O_WRONLY | O_CREAT | O_EXCL, 0600))));
		OK(unlink("f"));
	}
}

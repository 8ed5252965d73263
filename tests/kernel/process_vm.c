// SPDX-License-Identifier: Apache-2.0
// process_vm_readv and process_vm_writev: memory of another process, whatever that process is doing.
#include <pthread.h>
#include <sys/mman.h>
#include <sys/uio.h>

#include "tests/kernel/t.h"

enum { BIG = 3 << 20 };
static volatile uint32_t word = 0x1234;
static volatile int spin;

static long rd(pid_t pid, void *to, void *from, size_t n)
{
	struct iovec l = {to, n}, r = {from, n};
	return process_vm_readv(pid, &l, 1, &r, 1, 0);
}

static long wr(pid_t pid, void *from, void *to, size_t n)
{
	struct iovec l = {from, n}, r = {to, n};
	return process_vm_writev(pid, &l, 1, &r, 1, 0);
}

// A child in one of several states; it changed `word` before it says so.
static pid_t child(void (*what)(int fd))
{
	int p[2];
	char c;
	OK(pipe(p));
	pid_t pid = OK(fork());
	if (!pid) {
		word = 0x5678;
		close(p[0]);
		what(p[1]);
		_exit(0);
	}
	close(p[1]);
	EQ(read(p[0], &c, 1), 1);
	close(p[0]);
	return pid;
}

static void say(int fd)
{
	if (write(fd, "x", 1) != 1)
		_exit(3);
}

static void pauses(int fd)
{
	say(fd);
	pause();
}

static void spins(int fd)
{
	say(fd);
	while (!spin)
		;
}

static void stops(int fd)
{
	say(fd);
	raise(SIGSTOP);
}

static void reads(int fd)
{
	int p[2];
	char c;
	if (pipe(p))
		_exit(3);
	say(fd);
	if (read(p[0], &c, 1) < 0)
		_exit(4);
}

static void waits(int fd)
{
	pid_t kid = fork();
	if (!kid) {
		pause();
		_exit(0);
	}
	say(fd);
	waitpid(kid, NULL, 0);
}

static void probe(void (*what)(int), bool stopped)
{
	uint32_t got = 0, val = 77;
	pid_t pid = child(what);
	if (stopped) {
		int st;
		EQ(waitpid(pid, &st, WUNTRACED), pid);
	}
	EQ(rd(pid, &got, (void *)&word, 4), 4);
	EQ(got, 0x5678);
	EQ(wr(pid, &val, (void *)&word, 4), 4);
	EQ(rd(pid, &got, (void *)&word, 4), 4);
	EQ(got, 77);
	EQ(word, 0x1234); // not ours
	kill(pid, SIGKILL);
	EQ(waitpid(pid, NULL, 0), pid);
	ERR(rd(pid, &got, (void *)&word, 4), ESRCH);
}

TEST(target_pauses) { probe(pauses, false); }
TEST(target_runs) { probe(spins, false); }
TEST(target_is_stopped) { probe(stops, true); }
TEST(target_reads_a_pipe) { probe(reads, false); }
TEST(target_waits_for_its_child) { probe(waits, false); }

TEST(write_frees_a_spinning_process)
{
	int one = 1, st;
	pid_t pid = child(spins);
	EQ(wr(pid, &one, (void *)&spin, sizeof(one)), sizeof(one));
	EQ(waitpid(pid, &st, 0), pid);
	EQ(st, 0);
}

TEST(own_memory)
{
	uint32_t got = 0;
	EQ(rd(getpid(), &got, (void *)&word, 4), 4);
	EQ(got, 0x1234);
}

static char *area;
static void holds_area(int fd)
{
	for (int i = 0; i < BIG; i++)
		area[i] = (char)(i * 7 >> 3);
	say(fd);
	pause();
}

TEST(large)
{
	area = mmap(NULL, BIG, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(area != MAP_FAILED);
	char *got = calloc(1, BIG);
	pid_t pid = child(holds_area);
	EQ(rd(pid, got, area, BIG), BIG);
	for (int i = 0; i < BIG; i++)
		if (got[i] != (char)(i * 7 >> 3))
			t_fail(__LINE__, "byte %d is %d", i, got[i]);
	CHECK(area[12345] == 0);
	memset(got, 'w', BIG);
	EQ(wr(pid, got, area, BIG), BIG);
	memset(got, 0, BIG);
	EQ(rd(pid, got, area, BIG), BIG);
	for (int i = 0; i < BIG; i++)
		if (got[i] != 'w')
			t_fail(__LINE__, "byte %d is %d", i, got[i]);
	kill(pid, SIGKILL);
}

static void half_mapped(int fd)
{
	memset(area, 'h', 8192);
	munmap(area + 4096, 4096);
	mprotect(area + 8192, 4096, PROT_NONE);
	mprotect(area + 12288, 4096, PROT_READ);
	say(fd);
	pause();
}

TEST(ends_where_memory_ends)
{
	char got[8192] = "";
	area = mmap(NULL, 16384, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	pid_t pid = child(half_mapped);
	EQ(rd(pid, got, area + 4000, 200), 96);
	CHECK(got[0] == 'h' && got[95] == 'h' && got[96] == 0);
	ERR(rd(pid, got, area + 4096, 1), EFAULT);
	ERR(rd(pid, got, area + 8192, 1), EFAULT);
	ERR(rd(pid, got, (void *)-4096l, 1), EFAULT);
	EQ(rd(pid, got, area + 12288, 10), 10);
	ERR(wr(pid, got, area + 12288, 10), EFAULT);
	ERR(rd(pid, (void *)16, area, 10), EFAULT);
	kill(pid, SIGKILL);
}

TEST(lists)
{
	char a[3] = "", b[8] = "";
	static char far1[] = "abc", far2[] = "defghi";
	pid_t pid = child(pauses);
	struct iovec l[3] = {{a, 2}, {NULL, 0}, {b, 6}}, r[3] = {{far1, 3}, {far2, 0}, {far2, 5}};
	EQ(process_vm_readv(pid, l, 3, r, 3, 0), 8);
	CHECK(!memcmp(a, "ab", 2) && !memcmp(b, "cdefgh", 6));
	// the shorter side ends it
	l[2].iov_len = 3;
	memset(b, 0, 8);
	EQ(process_vm_readv(pid, l, 3, r, 3, 0), 5);
	STREQ(b, "cde");
	r[0].iov_base = (void *)8;
	ERR(process_vm_readv(pid, l, 3, r, 3, 0), EFAULT);
	r[0] = (struct iovec){far1, 3};
	r[2].iov_base = (void *)8;
	EQ(process_vm_readv(pid, l, 3, r, 3, 0), 3);
	kill(pid, SIGKILL);
}

TEST(errors)
{
	char c;
	struct iovec v = {&c, 1}, bad = {&c, (size_t)-1};
	pid_t me = getpid();
	ERR(process_vm_readv(me, &v, 1, &v, 1, 1), EINVAL);
	ERR(process_vm_readv(me, &v, 1025, &v, 1, 0), EINVAL);
	ERR(process_vm_readv(me, &v, 1, &v, 1025, 0), EINVAL);
	ERR(process_vm_readv(me, &bad, 1, &v, 1, 0), EINVAL);
	ERR(process_vm_readv(me, &v, 1, &bad, 1, 0), EINVAL);
	ERR(process_vm_readv(me, (void *)8, 1, &v, 1, 0), EFAULT);
	ERR(process_vm_readv(0x7ffffff, &v, 1, &v, 1, 0), ESRCH);
	EQ(process_vm_readv(0x7ffffff, &v, 0, &v, 1, 0), 0);
}

TEST(zombie)
{
	uint32_t got;
	pid_t pid = OK(fork());
	if (!pid)
		_exit(0);
	siginfo_t si;
	OK(waitid(P_PID, (id_t)pid, &si, WEXITED | WNOWAIT));
	ERR(rd(pid, &got, (void *)&word, 4), ESRCH);
	EQ(waitpid(pid, NULL, 0), pid);
}

// A process with threads, one of which keeps leaving.
static void *ends(void *p) { return p; }
static void threads_come_and_go(int fd)
{
	pthread_t t;
	say(fd);
	for (;;) {
		if (!pthread_create(&t, NULL, ends, NULL))
			pthread_join(t, NULL);
	}
}

TEST(many_times_against_threads_that_leave)
{
	uint32_t got;
	pid_t pid = child(threads_come_and_go);
	for (int i = 0; i < 300; i++) {
		EQ(rd(pid, &got, (void *)&word, 4), 4);
		EQ(got, 0x5678);
	}
	kill(pid, SIGKILL);
}

// Two processes that read each other must not wait for each other.
TEST(each_other)
{
	uint32_t got;
	pid_t me = getpid(), pid = OK(fork());
	for (int i = 0; i < 200; i++)
		EQ(rd(pid ? pid : me, &got, (void *)&word, 4), 4);
	if (!pid) {
		pause();
		_exit(0);
	}
	kill(pid, SIGKILL);
}

TEST(killed_while_being_read)
{
	for (int i = 0; i < 20; i++) {
		uint32_t got;
		pid_t pid = child(i & 1 ? spins : pauses), killer = OK(fork());
		if (!killer) {
			kill(pid, SIGKILL);
			_exit(0);
		}
		long r;
		while ((r = rd(pid, &got, (void *)&word, 4)) == 4)
			;
		CHECK(r == -1 && errno == ESRCH);
		waitpid(killer, NULL, 0);
		waitpid(pid, NULL, 0);
	}
}

// The target waits for its vfork child, which lives in its memory.
static int vfork_pipe[2];
static void vforks(int fd)
{
	char c;
	if (pipe(vfork_pipe))
		_exit(3);
	pid_t kid = vfork();
	if (!kid) {
		say(fd);
		if (read(vfork_pipe[0], &c, 1) < 0)
			_exit(4);
		_exit(0);
	}
	_exit(0);
}

TEST(target_waits_in_vfork)
{
	uint32_t got = 0;
	pid_t pid = child(vforks);
	EQ(rd(pid, &got, (void *)&word, 4), 4);
	EQ(got, 0x5678);
	kill(pid, SIGKILL);
}

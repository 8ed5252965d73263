// SPDX-License-Identifier: Apache-2.0
// Files that are cut short while they are mapped: what lies beyond the end is gone from every mapping in every process, and what
// grows there again is zero.
#include "tests/kernel/mem.h"
#include <linux/futex.h>
#include <linux/fs.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/uio.h>

#define BUS(p, write)                                                                              \
	do {                                                                                       \
		char *p_ = (p);                                                                    \
		EQ(touch(p_, write), SIGBUS);                                                      \
		EQ(sig_code, BUS_ADRERR);                                                          \
		CHECK(sig_addr == p_);                                                             \
	} while (0)

// p maps size bytes of fd shared or private; both ends and the middle are tried.
static void cut_and_grow(int fd, char *p, bool shared)
{
	char c;
	memset(p, 'x', 4 * PG);
	OK(ftruncate(fd, PG + 100));
	EQ(p[0], 'x');
	EQ(p[PG + 99], 'x');
	if (shared)
		EQ(p[PG + 100], 0);
	for (int i = 2; i < 4; i++) {
		BUS(p + i * PG, false);
		BUS(p + i * PG + 77, true);
	}
	EQ(touch(p + PG + 200, true), 0); // the rest of the last page
	OK(ftruncate(fd, 3 * PG));
	EQ(p[2 * PG], 0);
	EQ(p[3 * PG - 1], 0);
	BUS(p + 3 * PG, false);
	p[2 * PG] = 'n';
	EQ(pread(fd, &c, 1, 2 * PG), 1);
	EQ(c, shared ? 'n' : 0);
	OK(ftruncate(fd, 0));
	BUS(p, false);
	BUS(p + 2 * PG, true);
	OK(ftruncate(fd, 4 * PG));
	for (int i = 0; i < 4; i++)
		EQ(p[i * PG], 0);
}

TEST_DIR(shared_file)
{
	int fd = file(4 * PG);
	char *p = map(fd, 4 * PG, PROT_READ | PROT_WRITE, MAP_SHARED);
	for (int i = 0; i < 3; i++)
		cut_and_grow(fd, p, true);
	OK(munmap(p, 4 * PG));
}

TEST_DIR(private_copies_go_too)
{
	int fd = file(4 * PG);
	char *p = map(fd, 4 * PG, PROT_READ | PROT_WRITE, MAP_PRIVATE);
	for (int i = 0; i < 3; i++)
		cut_and_grow(fd, p, false);
	OK(munmap(p, 4 * PG));
}

TEST(memfd)
{
	int fd = OK(memfd_create("m", 0));
	OK(ftruncate(fd, 4 * PG));
	cut_and_grow(fd, map(fd, 4 * PG, PROT_READ | PROT_WRITE, MAP_SHARED), true);
	cut_and_grow(fd, map(fd, 4 * PG, PROT_READ | PROT_WRITE, MAP_PRIVATE), false);
}

TEST(posix_shared_memory)
{
	int fd = OK(shm_open("/mapcut", O_RDWR | O_CREAT | O_TRUNC, 0600));
	OK(shm_unlink("/mapcut"));
	OK(ftruncate(fd, 4 * PG));
	cut_and_grow(fd, map(fd, 4 * PG, PROT_READ | PROT_WRITE, MAP_SHARED), true);
}

TEST_DIR(by_name_and_by_open)
{
	int fd = file(2 * PG);
	char *p = map(fd, 2 * PG, PROT_READ | PROT_WRITE, MAP_SHARED);
	p[PG] = p[0] = 'x';
	OK(truncate("f", PG));
	BUS(p + PG, false);
	EQ(p[0], 'x');
	OK(close(OK(open("f", O_WRONLY | O_TRUNC))));
	BUS(p, false);
	EQ(pwrite(fd, "new", 3, 0), 3);
	STREQ(p, "new");
}

TEST_DIR(mapping_from_the_middle)
{
	int fd = file(8 * PG);
	char *p = OK(mmap(NULL, 4 * PG, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 4 * PG));
	p[0] = p[3 * PG] = 'x';
	OK(ftruncate(fd, 6 * PG));
	EQ(p[0], 'x');
	BUS(p + 3 * PG, false);
	OK(ftruncate(fd, PG));
	BUS(p, false);
	OK(ftruncate(fd, 5 * PG));
	EQ(p[0], 0);
	BUS(p + PG, true);
}

TEST_DIR(access_rights_come_first)
{
	int fd = file(PG);
	char *p = map(fd, 2 * PG, PROT_READ, MAP_SHARED);
	EQ(touch(p + PG, true), SIGSEGV);
	EQ(touch(p + PG, false), SIGBUS);
	OK(mprotect(p, 2 * PG, PROT_NONE));
	EQ(touch(p + PG, false), SIGSEGV);
	OK(mprotect(p, 2 * PG, PROT_WRITE | PROT_READ));
	BUS(p + PG, true);
}

TEST_DIR(calls_answer_efault)
{
	int fd = file(2 * PG), pp[2];
	char *p = map(fd, 2 * PG, PROT_READ | PROT_WRITE, MAP_SHARED);
	memset(p, 'x', 2 * PG);
	OK(pipe(pp));
	OK(ftruncate(fd, PG));
	ERR(write(pp[1], p + PG, 10), EFAULT);
	EQ(write(pp[1], "0123456789", 10), 10);
	ERR(read(pp[0], p + PG, 10), EFAULT);
	ERR(pread(fd, p + PG, 10, 0), EFAULT);
	ERR(pwrite(fd, p + PG, 10, 0), EFAULT);
	ERR(stat(p + PG, &(struct stat){0}), EFAULT);
	ERR(stat("/", (struct stat *)(p + PG)), EFAULT);
	ERR(syscall(SYS_futex, p + PG, FUTEX_WAIT, 0, NULL), EFAULT);
	ERR(syscall(SYS_futex, p + PG, FUTEX_WAKE, 1), EFAULT);
	struct iovec mine = {(char[10]){0}, 10}, there = {p + PG, 10};
	ERR(process_vm_readv(getpid(), &mine, 1, &there, 1, 0), EFAULT);
	EQ(read(pp[0], p, 10), 10);
	EQ(p[9], '9');
	OK(ftruncate(fd, 2 * PG));
	EQ(write(pp[1], p + PG, 10), 10);
	EQ(read(pp[0], p, 10), 10);
	EQ(p[9], 0);
}

// A child that maps the file too, or has it from its parent; it looks when it is told to, and never enters the kernel between.
static void other_process(bool own, int flags, size_t size)
{
	int fd = file(size);
	volatile int *go = mmap(NULL, PG, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	char *p = map(fd, size, PROT_READ | PROT_WRITE, flags);
	memset(p, 'x', 4 * PG);
	p[size - 1] = 'x';
	pid_t child = OK(fork());
	if (!child) {
		if (own)
			p = map(fd, size, PROT_READ | PROT_WRITE, flags);
		p[2 * PG] = 'y';
		p[size - 1] = 'y';
		*go = 1;
		while (*go != 2)
			;
		if (touch(p + 2 * PG, false) != SIGBUS || sig_addr != p + 2 * PG || touch(p + size - 1, true) != SIGBUS || touch(p, false))
			_exit(1);
		*go = 3;
		while (*go != 4)
			;
		_exit(p[2 * PG] || p[size - 1] || touch(p + size - 1, true) ? 2 : 0);
	}
	while (*go != 1)
		;
	OK(ftruncate(fd, PG));
	*go = 2;
	BUS(p + 2 * PG, false);
	while (*go != 3)
		if (waitpid(child, NULL, WNOHANG) == child)
			t_fail(__LINE__, "the child saw what is gone");
	OK(ftruncate(fd, (off_t)size));
	*go = 4;
	EQ(t_wait(child), 0);
	EQ(p[2 * PG], 0);
	EQ(p[size - 1], flags == MAP_SHARED ? 'w' : 0);
}

TEST_DIR(mapped_by_another_process) { other_process(true, MAP_SHARED, 4 * PG); }
TEST_DIR(inherited_by_a_child) { other_process(false, MAP_SHARED, 4 * PG); }
TEST_DIR(private_in_another_process) { other_process(false, MAP_PRIVATE, 4 * PG); }
TEST_DIR(large_in_another_process) { other_process(false, MAP_SHARED, 20 * MB); }
TEST_DIR(large_private_in_another_process) { other_process(true, MAP_PRIVATE, 20 * MB); }

// All kinds of waiting processes let go of the pages.
TEST_DIR(sleeping_and_stopped_processes)
{
	int fd = file(2 * PG), pp[2], back_pipe[2];
	char *p = map(fd, 2 * PG, PROT_READ | PROT_WRITE, MAP_SHARED), c;
	pid_t sleeper, stopped;
	int st;
	p[PG] = 'x';
	OK(pipe(pp));
	OK(pipe(back_pipe));
	if (!(sleeper = OK(fork()))) {
		if (read(pp[0], &c, 1) != 1)
			_exit(9);
		_exit(touch(p + PG, false) == SIGBUS ? 0 : 1);
	}
	if (!(stopped = OK(fork()))) {
		raise(SIGSTOP);
		_exit(touch(p + PG, false) == SIGBUS ? 0 : 1);
	}
	EQ(waitpid(stopped, &st, WUNTRACED), stopped);
	OK(ftruncate(fd, PG));
	EQ(write(pp[1], "x", 1), 1);
	EQ(t_wait(sleeper), 0);
	OK(kill(stopped, SIGCONT));
	EQ(t_wait(stopped), 0);
}

TEST_DIR(child_of_a_cut_mapping)
{
	int fd = file(4 * PG);
	char *p = map(fd, 4 * PG, PROT_READ | PROT_WRITE, MAP_SHARED);
	memset(p, 'x', 4 * PG);
	OK(ftruncate(fd, PG));
	pid_t child = OK(fork());
	if (!child) {
		if (touch(p + PG, false) != SIGBUS || touch(p, false))
			_exit(1);
		if (ftruncate(fd, 4 * PG))
			_exit(2);
		p[3 * PG] = 'c';
		_exit(p[PG] ? 3 : 0);
	}
	EQ(t_wait(child), 0);
	EQ(p[3 * PG], 'c');
}

// Mappings from 8 MiB on are made in pieces.
static void large(int flags)
{
	size_t size = 40 * MB, at = 17 * MB + 3 * PG;
	int fd = file(size);
	char *p = map(fd, size, PROT_READ | PROT_WRITE, flags);
	bool shared = flags == MAP_SHARED;
	for (size_t i = 0; i < size; i += MB / 2)
		p[i] = 'x';
	OK(ftruncate(fd, (off_t)at));
	EQ(p[17 * MB], 'x');
	BUS(p + at, false);
	BUS(p + 18 * MB, true);
	BUS(p + size - 1, true);
	OK(mprotect(p + 10 * MB, 20 * MB, PROT_READ)); // cuts the mapping in three
	EQ(touch(p + 11 * MB, true), SIGSEGV);
	BUS(p + 18 * MB, false);
	BUS(p + 30 * MB, false);
	OK(mprotect(p + 10 * MB, 20 * MB, PROT_READ | PROT_WRITE));
	OK(ftruncate(fd, (off_t)size));
	for (size_t i = 0; i < size; i += MB / 2)
		EQ(p[i], i < at ? 'x' : 0);
	p[size - 1] = 'e';
	OK(ftruncate(fd, 0));
	for (size_t i = 0; i < size; i += 5 * MB)
		BUS(p + i, i & MB);
	for (size_t now = 3 * PG; now < size; now += 7 * MB + PG) {
		OK(ftruncate(fd, (off_t)now));
		EQ(p[now - 1], 0);
		p[now - 1] = 'n';
		EQ(p[now - 1], 'n');
		BUS(p + ((now + PG - 1) & ~(PG - 1ul)), false);
	}
	EQ(p[3 * PG - 1], 'n');
	OK(munmap(p + MB, 20 * MB));
	OK(ftruncate(fd, 22 * MB));
	BUS(p + 22 * MB, false);
	EQ(p[21 * MB], 0);
	char c;
	EQ(pread(fd, &c, 1, 3 * PG - 1), 1);
	EQ(c, shared ? 'n' : 0);
}

TEST_DIR(large_shared) { large(MAP_SHARED); }
TEST_DIR(large_private) { large(MAP_PRIVATE); }

TEST_DIR(cut_mapping_is_moved_and_unmapped)
{
	int fd = file(4 * PG);
	for (int shared = 0; shared < 2; shared++) {
		OK(ftruncate(fd, 4 * PG));
		char *p = map(fd, 4 * PG, PROT_READ | PROT_WRITE, shared ? MAP_SHARED : MAP_PRIVATE), *q;
		memset(p, 'x', 4 * PG);
		OK(ftruncate(fd, 2 * PG));
		char *room = mmap(NULL, 4 * PG, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		CHECK(room != MAP_FAILED);
		q = mremap(p, 4 * PG, 4 * PG, MREMAP_MAYMOVE | MREMAP_FIXED, room);
		CHECK(q == room);
		EQ(q[0], 'x');
		EQ(q[PG], 'x');
		BUS(q + 2 * PG, false);
		EQ(touch(p, false), SIGSEGV);
		OK(ftruncate(fd, 4 * PG));
		EQ(q[3 * PG], 0);
		OK(ftruncate(fd, PG));
		OK(munmap(q + 2 * PG, PG));
		EQ(touch(q + 2 * PG, false), SIGSEGV);
		BUS(q + PG, false);
		BUS(q + 3 * PG, false);
		OK(munmap(q, 4 * PG));
	}
}

// A log that is written through a mapping and emptied again and again uses one file's memory.
TEST_DIR(cut_pages_are_given_back)
{
	size_t size = 4 * MB;
	int fd = file(size);
	char *p = map(fd, size, PROT_READ | PROT_WRITE, MAP_SHARED);
	for (int i = 0; i < 600; i++) {
		for (size_t at = 0; at < size; at += PG) {
			EQ(p[at], 0);
			p[at] = 1;
		}
		OK(ftruncate(fd, 0));
		OK(ftruncate(fd, (off_t)size));
	}
	pid_t child = OK(fork()); // and so it does when others have it, too
	if (!child) {
		pause();
		_exit(0);
	}
	for (int i = 0; i < 200; i++) {
		for (size_t at = 0; at < size; at += PG)
			p[at] = 1;
		OK(ftruncate(fd, 0));
		OK(ftruncate(fd, (off_t)size));
	}
	t_end(child);
}

static int race_fd;
static volatile bool race_over;

static void *cutter(void *p)
{
	(void)p;
	for (int i = 0; i < 2000 && !ftruncate(race_fd, 0) && !ftruncate(race_fd, 4 * PG); i++)
		;
	race_over = true;
	return NULL;
}

// Cuts meet new mappings, forks and touches.
TEST_DIR(cut_while_mappings_come_and_go)
{
	pthread_t t;
	race_fd = file(4 * PG);
	ZERO(pthread_create(&t, NULL, cutter, NULL));
	while (!race_over) {
		char *p = map(race_fd, 4 * PG, PROT_READ | PROT_WRITE, MAP_SHARED);
		for (int i = 0; i < 4; i++) {
			int sig = touch(p + i * PG, i & 1);
			CHECK(!sig || sig == SIGBUS);
		}
		pid_t child = OK(fork());
		if (!child) {
			int sig = touch(p + PG, true);
			_exit(!sig || sig == SIGBUS ? 0 : 1);
		}
		OK(munmap(p, 4 * PG));
		EQ(t_wait(child), 0);
	}
	ZERO(pthread_join(t, NULL));
	char *p = map(race_fd, 4 * PG, PROT_READ | PROT_WRITE, MAP_SHARED);
	OK(ftruncate(race_fd, PG));
	BUS(p + PG, false);
}

static const unsigned char returns[] = {0xb8, 0, 0, 0, 0, 0xc3, 0x0f, 0x05}; // mov $n,%eax; ret; and a call that is never reached

static void write_code(int fd, unsigned char n)
{
	unsigned char code[sizeof(returns)];
	memcpy(code, returns, sizeof(code));
	code[1] = n;
	EQ(pwrite(fd, code, sizeof(code), 0), sizeof(code));
}

static int run_code(char *p) { return ((int (*)(void))(uintptr_t)p)(); }

TEST_DIR(code_that_is_cut)
{
	int fd = file(2 * PG);
	write_code(fd, 1);
	EQ(pwrite(fd, returns, sizeof(returns), PG), sizeof(returns));
	char *p = map(fd, 2 * PG, PROT_READ | PROT_EXEC, MAP_PRIVATE);
	EQ(run_code(p), 1);
	EQ(run_code(p + PG), 0);
	OK(ftruncate(fd, PG));
	BUS(p + PG, false);
	EQ(run_code(p), 1);
	OK(ftruncate(fd, 2 * PG));
	EQ(p[PG], 0);
}

// A library that is written over is another library for those who map it next.
TEST_DIR(code_that_is_written_anew)
{
	int fd = file(2 * PG);
	for (unsigned char n = 1; n < 5; n++) {
		if (n == 3)
			OK(ftruncate(fd, 0));
		if (n == 4) {
			char *w = map(fd, PG, PROT_READ | PROT_WRITE, MAP_SHARED);
			w[1] = 4;
			OK(munmap(w, PG));
		} else {
			write_code(fd, n);
		}
		OK(ftruncate(fd, 2 * PG));
		char *p = map(fd, 2 * PG, PROT_READ | PROT_EXEC, MAP_PRIVATE);
		EQ(run_code(p), n);
	}
}

static volatile bool cutting;

static void *reads(void *arg)
{
	static char buf[64 * KB];
	int fd = *(int *)arg;
	for (unsigned k = 0; __atomic_load_n(&cutting, __ATOMIC_RELAXED); k++) {
		ssize_t n = pread(fd, buf, sizeof(buf), (off_t)(k * 7 % 32 * 32 * KB));
		for (ssize_t i = 0; i < n; i++)
			if (buf[i] != 'x')
				return (void *)"a byte that never was in the file";
	}
	return NULL;
}

// A file that somebody cuts off and fills again and again: who reads meanwhile gets what was in it, or its end; never the hole that is left of it.
// Where the file system can clone, what was filled in is not in memory yet.
TEST_DIR(who_reads_sees_data_or_the_end)
{
	static char data[MB];
	int from = OK(open("from", O_RDWR | O_CREAT, 0600)), fd = file(0);
	memset(data, 'x', MB);
	EQ(write(from, data, MB), MB);
	pthread_t t;
	void *wrong;
	cutting = true;
	CHECK(!pthread_create(&t, NULL, reads, &fd));
	for (int k = 0; k < 150; k++) {
		if (k % 3 == 2 || ioctl(fd, FICLONE, from))
			EQ(pwrite(fd, data, MB, 0), MB);
		OK(ftruncate(fd, 0));
	}
	__atomic_store_n(&cutting, false, __ATOMIC_RELAXED);
	CHECK(!pthread_join(t, &wrong));
	CHECK(!wrong);
}

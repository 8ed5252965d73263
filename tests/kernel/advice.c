// SPDX-License-Identifier: Apache-2.0
// What programs tell the kernel about their memory: locks, advice, and the questions which pages are there.
#include "tests/kernel/mem.h"
#include <sys/resource.h>

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif
enum { DONTNEED_LOCKED = 24 };

static long locked_kib(void)
{
	const char *at = strstr(t_get("/proc/self/status"), "VmLck:");
	CHECK(at);
	return atol(at + 6);
}

// One letter a page: is it there?
static const char *there(char *p, int pages)
{
	static char out[65];
	unsigned char v[64];
	memset(v, 0xff, sizeof(v));
	OK(mincore(p, (size_t)pages * PG, v));
	for (int i = 0; i < pages; i++) {
		CHECK(v[i] < 2);
		out[i] = v[i] ? 'x' : '.';
	}
	out[pages] = 0;
	return out;
}

TEST(locked_memory_is_not_dropped)
{
	char *p = anon(8, PROT_READ | PROT_WRITE, 0);
	memset(p, 'x', 8 * PG);
	OK(mlock(p, 8 * PG));
	EQ(locked_kib(), 32);
	ERR(madvise(p, PG, MADV_DONTNEED), EINVAL);
	ERR(madvise(p, PG, MADV_FREE), EINVAL);
	ERR(madvise(p, PG, MADV_COLD), EINVAL);
	ERR(madvise(p, PG, MADV_PAGEOUT), EINVAL);
	ERR(madvise(p, PG, MADV_REMOVE), EINVAL);
	EQ(p[0], 'x');
	OK(munlock(p, PG));
	EQ(locked_kib(), 28);
	ERR(madvise(p, 2 * PG, MADV_DONTNEED), EINVAL); // as far as the locked part
	EQ(p[0], 0);
	EQ(p[PG], 'x');
	if (madvise(p + PG, PG, DONTNEED_LOCKED) == 0) // since Linux 5.18
		EQ(p[PG], 0);
	OK(munmap(p, 4 * PG));
	EQ(locked_kib(), 16);
	OK(munlock(p + 4 * PG, 4 * PG));
	EQ(locked_kib(), 0);
}

TEST_DIR(locked_file_pages)
{
	int fd = file(4 * PG);
	char *p = map(fd, 4 * PG, PROT_READ | PROT_WRITE, MAP_SHARED);
	OK(mlock(p, 4 * PG));
	EQ(locked_kib(), 16);
	ERR(madvise(p, PG, MADV_DONTNEED), EINVAL);
	ERR(madvise(p, PG, MADV_REMOVE), EINVAL);
	ERR(msync(p, PG, MS_INVALIDATE), EBUSY);
	ERR(msync(p, PG, MS_INVALIDATE | MS_SYNC), EBUSY);
	OK(msync(p, PG, MS_SYNC));
	OK(munlock(p, 4 * PG));
	p[0] = 'x';
	OK(madvise(p, PG, MADV_REMOVE));
	EQ(p[0], 0);
	OK(msync(p, PG, MS_INVALIDATE));
	OK(ftruncate(fd, 2 * PG));
	ERR(mlock(p, 4 * PG), ENOMEM); // there is no page to bring in, but the mark stays
	EQ(locked_kib(), 16);
}

TEST(locked_when_touched)
{
	char *p = anon(8, PROT_READ | PROT_WRITE, 0);
	OK(mlock2(p, 8 * PG, MLOCK_ONFAULT));
	EQ(locked_kib(), 32);
	STREQ(there(p, 8), "........");
	p[PG] = 1;
	STREQ(there(p, 8), ".x......");
	ERR(mlock2(p, 8 * PG, 2), EINVAL);
	OK(mlock(p, 8 * PG));
	STREQ(there(p, 8), "xxxxxxxx");
	EQ(locked_kib(), 32);
}

TEST(locked_in_future)
{
	ERR(mlockall(MCL_ONFAULT), EINVAL);
	ERR(mlockall(0), EINVAL);
	ERR(mlockall(8), EINVAL);
	OK(mlockall(MCL_FUTURE | MCL_ONFAULT));
	char *p = anon(4, PROT_READ | PROT_WRITE, 0);
	STREQ(there(p, 4), "....");
	EQ(locked_kib(), 16);
	OK(munmap(p, 4 * PG));
	OK(mlockall(MCL_FUTURE));
	p = anon(4, PROT_READ | PROT_WRITE, 0);
	STREQ(there(p, 4), "xxxx");
	EQ(locked_kib(), 16);
	OK(munlockall());
	EQ(locked_kib(), 0);
	STREQ(there(p, 4), "xxxx");
	ERR(msync(p + 4096 * 4, PG, 64), EINVAL);
}

TEST(everything_that_is_there)
{
	char *p = anon(4, PROT_READ | PROT_WRITE, 0);
	OK(mlockall(MCL_CURRENT));
	STREQ(there(p, 4), "xxxx");
	char *q = anon(4, PROT_READ | PROT_WRITE, 0);
	STREQ(there(q, 4), "....");
	OK(munlockall());
	EQ(locked_kib(), 0);
}

TEST(locked_mapping_lives_on)
{
	char *p = anon(4, PROT_READ | PROT_WRITE, MAP_LOCKED);
	STREQ(there(p, 4), "xxxx");
	p = mremap(p, 4 * PG, 8 * PG, MREMAP_MAYMOVE);
	CHECK(p != MAP_FAILED);
	STREQ(there(p, 8), "xxxxxxxx");
	EQ(locked_kib(), 32);
	OK(mprotect(p, PG, PROT_READ));
	EQ(locked_kib(), 32);
	OK(munmap(p, 2 * PG));
	EQ(locked_kib(), 24);
	pid_t child = OK(fork());
	if (!child)
		_exit(locked_kib() ? 1 : madvise(p + 2 * PG, PG, MADV_DONTNEED) ? 2 : 0);
	EQ(t_wait(child), 0);
}

TEST(locks_and_holes)
{
	char *p = anon(4, PROT_READ | PROT_WRITE, 0);
	OK(munmap(p + PG, PG));
	ERR(mlock(p, 4 * PG), ENOMEM);
	EQ(locked_kib(), 4);
	ERR(munlock(p, 4 * PG), ENOMEM);
	EQ(locked_kib(), 0);
	p = anon(4, PROT_NONE, 0);
	ERR(mlock(p, 4 * PG), ENOMEM); // nothing can be brought in
	EQ(locked_kib(), 16);
	OK(mprotect(p, 4 * PG, PROT_READ | PROT_WRITE));
	STREQ(there(p, 4), "xxxx");
	ERR(mlock((void *)0x1000, PG), ENOMEM);
	ERR(munlock((void *)0x1000, PG), ENOMEM);
	ERR(mlock((void *)-4096l, 8192), EINVAL);
	OK(mlock(p, 0));
}

TEST(lock_limit)
{
	pid_t child = OK(fork());
	if (!child) {
		struct rlimit rl = {8 * PG, 8 * PG};
		char *p = anon(32, PROT_READ | PROT_WRITE, 0);
		OK(setrlimit(RLIMIT_MEMLOCK, &rl));
		OK(setuid(65534));
		OK(mlock(p, 8 * PG));
		OK(mlock(p, 8 * PG)); // counts once
		ERR(mlock(p + 8 * PG, PG), ENOMEM);
		OK(munlock(p + 4 * PG, PG));
		OK(mlock(p + 8 * PG, PG));
		ERR(mlock(p, 32 * PG), ENOMEM);
		CHECK(mmap(NULL, PG, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED, -1, 0) == MAP_FAILED && errno == EAGAIN);
		ERR(mlockall(MCL_CURRENT), ENOMEM);
		CHECK(mremap(p, 4 * PG, 64 * PG, MREMAP_MAYMOVE) == MAP_FAILED && errno == EAGAIN);
		rl.rlim_cur = 0;
		OK(setrlimit(RLIMIT_MEMLOCK, &rl));
		ERR(mlock(p, PG), EPERM);
		ERR(mlock(p, 0), EPERM);
		ERR(mlockall(MCL_FUTURE), EPERM);
		CHECK(mmap(NULL, PG, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED, -1, 0) == MAP_FAILED && errno == EPERM);
		OK(munlock(p, PG));
		_exit(0);
	}
	EQ(t_wait(child), 0);
}

TEST(mincore_tells_what_was_touched)
{
	char *p = anon(8, PROT_READ | PROT_WRITE, 0);
	unsigned char v[8];
	STREQ(there(p, 8), "........");
	p[0] = 1;
	(void)*(volatile char *)(p + PG);
	STREQ(there(p, 8), "xx......");
	OK(madvise(p, PG, MADV_DONTNEED));
	STREQ(there(p, 8), ".x......");
	OK(mprotect(p + 2 * PG, PG, PROT_READ)); // more than one mapping
	STREQ(there(p, 8), ".x......");
	ERR(mincore(p + 1, PG, v), EINVAL);
	OK(mincore(p, 0, v));
	ERR(mincore(p, PG, (void *)8), EFAULT);
	ERR(mincore((void *)0x1000, PG, v), ENOMEM);
	ERR(mincore(p, -1ul, v), ENOMEM);
	ERR(mincore((void *)-4096l, PG, v), ENOMEM);
	OK(munmap(p + 4 * PG, PG));
	ERR(mincore(p, 8 * PG, v), ENOMEM);
}

TEST_DIR(mincore_of_a_file)
{
	int fd = file(8 * PG);
	char buf[8 * PG];
	memset(buf, 'x', sizeof(buf));
	EQ(pwrite(fd, buf, sizeof(buf), 0), sizeof(buf));
	char *p = map(fd, 10 * PG, PROT_READ, MAP_SHARED);
	STREQ(there(p, 10), "xxxxxxxx..");
}

TEST_DIR(populate)
{
	char *p = anon(8, PROT_READ | PROT_WRITE, 0);
	OK(madvise(p, 2 * PG, MADV_POPULATE_READ));
	OK(madvise(p + 2 * PG, 2 * PG, MADV_POPULATE_WRITE));
	STREQ(there(p, 8), "xxxx....");
	OK(mprotect(p, PG, PROT_READ));
	ERR(madvise(p, 8 * PG, MADV_POPULATE_WRITE), EINVAL);
	OK(madvise(p, 8 * PG, MADV_POPULATE_READ));
	OK(munmap(p + 4 * PG, PG));
	ERR(madvise(p + PG, 7 * PG, MADV_POPULATE_READ), ENOMEM);
	int fd = file(8 * PG);
	p = map(fd, 10 * PG, PROT_READ | PROT_WRITE, MAP_SHARED);
	ERR(madvise(p, 10 * PG, MADV_POPULATE_READ), EFAULT);
	ERR(madvise(p, 10 * PG, MADV_POPULATE_WRITE), EFAULT);
	OK(ftruncate(fd, 10 * PG));
	OK(madvise(p, 10 * PG, MADV_POPULATE_WRITE));
	p = map(fd, 10 * PG, PROT_READ, MAP_PRIVATE);
	OK(madvise(p, 10 * PG, MADV_POPULATE_READ));
	STREQ(there(p, 10), "xxxxxxxxxx");
}

TEST(advice_errors)
{
	static const int good[] = {MADV_NORMAL, MADV_RANDOM, MADV_SEQUENTIAL, MADV_WILLNEED, MADV_DONTNEED, MADV_FREE, MADV_DONTFORK,
				   MADV_DOFORK, MADV_DONTDUMP, MADV_DODUMP, MADV_WIPEONFORK, MADV_KEEPONFORK, MADV_COLD, MADV_PAGEOUT,
				   MADV_POPULATE_READ};
	char *p = anon(4, PROT_READ | PROT_WRITE, 0);
	OK(munmap(p + PG, PG));
	for (unsigned i = 0; i < sizeof(good) / sizeof(*good); i++) {
		OK(madvise(p, 0, good[i]));
		OK(madvise(p, PG, good[i]));
		ERR(madvise(p, 4 * PG, good[i]), ENOMEM);
		ERR(madvise(p + PG, PG, good[i]), ENOMEM);
		ERR(madvise(p + 1, PG, good[i]), EINVAL);
		ERR(madvise(p, -4095ul, good[i]), EINVAL);
	}
	ERR(madvise(p, PG, 1000), EINVAL);
	ERR(madvise(p, 0, -1), EINVAL);
}

TEST(advice_goes_past_holes)
{
	char *p = anon(4, PROT_READ | PROT_WRITE, 0);
	OK(munmap(p + PG, PG));
	p[0] = p[2 * PG] = 'x';
	ERR(madvise(p, 4 * PG, MADV_DONTNEED), ENOMEM);
	EQ(p[0], 0);
	EQ(p[2 * PG], 0);
}

TEST(left_out_of_a_child)
{
	char *p = anon(4, PROT_READ | PROT_WRITE, 0);
	memset(p, 'x', 4 * PG);
	OK(madvise(p + PG, 2 * PG, MADV_DONTFORK));
	pid_t child = OK(fork());
	if (!child) {
		char *q = mmap(p + PG, PG, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
		_exit(p[0] != 'x' || p[3 * PG] != 'x' ? 1 : q != p + PG || *q ? 2 : touch(p + 2 * PG, false) != SIGSEGV ? 3 : 0);
	}
	EQ(t_wait(child), 0);
	EQ(p[PG], 'x');
	OK(madvise(p, 4 * PG, MADV_DOFORK));
	child = OK(fork());
	if (!child)
		_exit(p[2 * PG] == 'x' ? 0 : 1);
	EQ(t_wait(child), 0);
}

TEST_DIR(file_left_out_of_a_child)
{
	int fd = file(4 * PG);
	size_t big = 16 << 20;
	char *p = map(fd, 4 * PG, PROT_READ | PROT_WRITE, MAP_SHARED);
	OK(ftruncate(fd, (off_t)big));
	char *q = map(fd, big, PROT_READ | PROT_WRITE, MAP_SHARED);
	q[0] = 'x';
	OK(madvise(p, 4 * PG, MADV_DONTFORK));
	OK(madvise(q, big, MADV_DONTFORK));
	q[big / 2] = 'x'; // not touched before
	pid_t child = OK(fork());
	if (!child)
		_exit(touch(p, false) != SIGSEGV || touch(q, false) != SIGSEGV || touch(q + big / 2, false) != SIGSEGV ? 1 : 0);
	EQ(t_wait(child), 0);
	EQ(p[0], 'x');
}

TEST_DIR(wiped_in_a_child)
{
	char *p = anon(4, PROT_READ | PROT_WRITE, 0);
	memset(p, 'x', 4 * PG);
	OK(madvise(p + PG, PG, MADV_WIPEONFORK));
	for (int i = 0; i < 2; i++) {
		pid_t child = OK(fork());
		if (!child) {
			bool good = p[0] == 'x' && (i ? p[PG] == 'x' : !p[PG]) && p[2 * PG] == 'x';
			p[PG] = 'c';
			pid_t grandchild = fork(); // the mark is inherited
			if (!grandchild)
				_exit((i ? p[PG] == 'c' : !p[PG]) ? 0 : 1);
			_exit(good && !t_wait(grandchild) ? 0 : 1);
		}
		EQ(t_wait(child), 0);
		EQ(p[PG], 'x');
		OK(madvise(p + PG, PG, MADV_KEEPONFORK));
	}
	int fd = file(1 * PG);
	ERR(madvise(map(fd, 1 * PG, PROT_READ, MAP_SHARED), PG, MADV_WIPEONFORK), EINVAL);
	ERR(madvise(map(fd, 1 * PG, PROT_READ, MAP_PRIVATE), PG, MADV_WIPEONFORK), EINVAL);
	ERR(madvise(map(fd, 1 * PG, PROT_READ, MAP_PRIVATE), PG, MADV_FREE), EINVAL);
	ERR(madvise(map(fd, 1 * PG, PROT_READ, MAP_PRIVATE), PG, MADV_REMOVE), EACCES);
}

TEST(sync_goes_past_holes)
{
	char *p = anon(4, PROT_READ | PROT_WRITE, 0);
	OK(munmap(p + PG, PG));
	ERR(msync(p, 4 * PG, MS_SYNC), ENOMEM);
	ERR(msync(p + PG, PG, MS_ASYNC), ENOMEM);
	OK(mlock(p + 2 * PG, PG));
	ERR(msync(p, 4 * PG, MS_INVALIDATE), EBUSY);
	OK(msync(p, 0, MS_SYNC));
}

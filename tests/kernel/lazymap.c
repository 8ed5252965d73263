// SPDX-License-Identifier: Apache-2.0
// Large mappings of files and of shared memory, of which only a little is used: they cost what is touched, and keep what
// was written wherever they are split, protected, moved, forked or met by two threads at once.
#include "tests/kernel/mem.h"
#include <pthread.h>
#include <sys/socket.h>

enum { PIECES = 64 };
static const size_t HUGE_FILE = 40ul << 30; // more than any enclave or file system here could hold

static int sparse(size_t size)
{
	int fd = OK(open("sparse", O_RDWR | O_CREAT | O_TRUNC, 0600));
	OK(ftruncate(fd, (off_t)size));
	return fd;
}

TEST_DIR(sparse_file_shared)
{
	int fd = sparse(HUGE_FILE);
	char *p = map(fd, HUGE_FILE, PROT_READ | PROT_WRITE, MAP_SHARED), c;
	for (size_t at = 5; at < HUGE_FILE; at += HUGE_FILE / 16) {
		EQ(p[at], 0);
		p[at] = (char)(at >> 30) + 1;
		EQ(pread(fd, &c, 1, (off_t)at), 1);
		EQ(c, (char)(at >> 30) + 1);
		EQ(pwrite(fd, "z", 1, (off_t)at + 1), 1);
		EQ(p[at + 1], 'z');
	}
	struct stat st;
	OK(fstat(fd, &st));
	CHECK(st.st_blocks * 512 < 200l * MB);
	OK(munmap(p, HUGE_FILE));
}

TEST_DIR(sparse_file_private)
{
	int fd = sparse(HUGE_FILE);
	char *p = map(fd, HUGE_FILE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE), c;
	for (size_t at = 4095; at < HUGE_FILE; at += HUGE_FILE / 16) {
		p[at] = 'p';
		EQ(p[at + 1], 0);
		EQ(pread(fd, &c, 1, (off_t)at), 1);
		EQ(c, 0);
	}
	for (size_t at = 4095; at < HUGE_FILE; at += HUGE_FILE / 16)
		EQ(p[at], 'p');
}

TEST(shared_memory_over_fork)
{
	size_t size = 32ul << 30;
	char *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	CHECK(p != MAP_FAILED);
	p[0] = 'a';
	pid_t child = OK(fork());
	if (!child) {
		bool good = p[0] == 'a';
		p[size / 2] = 'b'; // touched by nobody before
		p[size - 1] = 'c';
		_exit(good ? 0 : 1);
	}
	EQ(t_wait(child), 0);
	EQ(p[size / 2], 'b');
	EQ(p[size - 1], 'c');
}

TEST_DIR(private_copies_part_at_fork)
{
	size_t size = 64 * MB;
	int fd = sparse(size);
	char *p = map(fd, size, PROT_READ | PROT_WRITE, MAP_PRIVATE);
	p[10 * MB] = 'a';
	pid_t child = OK(fork());
	if (!child) {
		bool good = p[10 * MB] == 'a' && !p[20 * MB];
		p[10 * MB] = 'c';
		p[20 * MB] = 'c';
		p[30 * MB] = 'c';
		_exit(good && p[10 * MB] == 'c' && p[30 * MB] == 'c' ? 0 : 1);
	}
	p[20 * MB] = 'p';
	EQ(t_wait(child), 0);
	EQ(p[10 * MB], 'a');
	EQ(p[20 * MB], 'p');
	EQ(p[30 * MB], 0);
}

TEST_DIR(split_and_cut)
{
	size_t size = 64 * MB, cut = 21 * MB + 4096;
	int fd = sparse(size);
	for (size_t at = 0; at < size; at += MB)
		EQ(pwrite(fd, &(char){(char)(at / MB + 1)}, 1, (off_t)at), 1);
	for (int shared = 0; shared < 2; shared++) {
		char *p = map(fd, size, PROT_READ | PROT_WRITE, shared ? MAP_SHARED : MAP_PRIVATE);
		p[cut - 1] = 'l';
		p[cut + 8192] = 'r';
		OK(munmap(p + cut, 4096));
		OK(munmap(p + 40 * MB + 4096, 8192));
		EQ(touch(p + cut, false), SIGSEGV);
		EQ(touch(p + 40 * MB + 4096, false), SIGSEGV);
		EQ(p[cut - 1], 'l');
		EQ(p[cut + 8192], 'r');
		for (size_t at = 0; at < size; at += MB)
			EQ(p[at], (char)(at / MB + 1));
		OK(munmap(p, size));
	}
}

TEST_DIR(protection_follows)
{
	size_t size = 64 * MB;
	int fd = sparse(size);
	for (int shared = 0; shared < 2; shared++) {
		char *p = map(fd, size, PROT_READ | PROT_WRITE, shared ? MAP_SHARED : MAP_PRIVATE);
		p[9 * MB] = 'k';
		OK(mprotect(p + 4 * MB, 40 * MB, PROT_READ));
		EQ(p[9 * MB], 'k');
		EQ(touch(p + 9 * MB, true), SIGSEGV);
		EQ(touch(p + 30 * MB, true), SIGSEGV); // never touched before
		EQ(touch(p + 30 * MB, false), 0);
		OK(mprotect(p, size, PROT_NONE));
		EQ(touch(p + 50 * MB, false), SIGSEGV);
		EQ(touch(p + 9 * MB, false), SIGSEGV);
		OK(mprotect(p, size, PROT_READ | PROT_WRITE));
		EQ(p[9 * MB], 'k');
		EQ(touch(p + 50 * MB, true), 0);
		EQ(touch(p + 30 * MB, true), 0);
		OK(munmap(p, size));
	}
}

TEST_DIR(end_of_file)
{
	size_t size = 64 * MB;
	int fd = sparse(21 * MB + 100);
	char *p = map(fd, size, PROT_READ | PROT_WRITE, MAP_SHARED);
	p[21 * MB] = 'e';
	EQ(touch(p + 21 * MB + 4095, false), 0);
	EQ(touch(p + 21 * MB + 4096, false), SIGBUS);
	EQ(touch(p + 50 * MB, true), SIGBUS);
	OK(ftruncate(fd, 64 * MB));
	EQ(touch(p + 21 * MB + 4096, true), 0);
	EQ(touch(p + 50 * MB, true), 0);
	EQ(touch(p + 64 * MB - 1, true), 0);
	EQ(p[21 * MB], 'e');
	char c;
	EQ(pread(fd, &c, 1, 50 * MB), 1);
	EQ(c, 'w');
}

TEST_DIR(calls_reach_untouched_memory)
{
	size_t size = 64 * MB;
	int fd = sparse(size), s[2];
	char *p = map(fd, size, PROT_READ | PROT_WRITE, MAP_SHARED), *q = map(fd, size, PROT_READ, MAP_PRIVATE);
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	OK(write(s[0], "hello", 5));
	EQ(read(s[1], p + 32 * MB - 2, 5), 5); // over the border of a piece
	CHECK(!memcmp(p + 32 * MB - 2, "hello", 5));
	EQ(write(s[0], q + 32 * MB - 2, 5), 5);
	char buf[8] = "";
	EQ(read(s[1], buf, 8), 5);
	STREQ(buf, "hello");
	EQ(pwrite(fd, p + 10 * MB, 3 * MB, 40 * MB), 3 * MB); // from the file to itself
	OK(madvise(p, size, MADV_DONTNEED));
	CHECK(!memcmp(p + 32 * MB - 2, "hello", 5));
	OK(madvise(p + 8 * MB, 16 * MB, 22 /* MADV_POPULATE_READ */));
	OK(msync(p, size, MS_SYNC));
}

TEST_DIR(moved_and_grown)
{
	size_t size = 64 * MB;
	int fd = sparse(4 * size);
	char *p = map(fd, size, PROT_READ | PROT_WRITE, MAP_SHARED), c;
	p[3 * MB] = 'a';
	char *guard = mmap(p + size, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); // cannot grow in place
	p = mremap(p, size, 4 * size, MREMAP_MAYMOVE);
	CHECK(p != MAP_FAILED);
	EQ(p[3 * MB], 'a');
	p[4 * size - 1] = 'z';
	EQ(pread(fd, &c, 1, (off_t)(4 * size - 1)), 1);
	EQ(c, 'z');
	munmap(guard, 4096);
	p = mremap(p, 4 * size, 4096, 0);
	CHECK(p != MAP_FAILED);
	EQ(touch(p + 4096, false), SIGSEGV);
}

TEST_DIR(fixed_over_something)
{
	size_t size = 64 * MB;
	int fd = sparse(size);
	char *p = map(-1, size + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS);
	memset(p, 'o', 32 * MB);
	p[size] = 'o';
	CHECK(mmap(p, size, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0) == p);
	for (size_t at = 0; at < size; at += MB)
		EQ(p[at], 0);
	EQ(p[size], 'o');
}

struct racers {
	pthread_barrier_t start;
	char *p;
	int n;
};

static void *race(void *arg)
{
	struct racers *r = arg;
	int me = __atomic_fetch_add(&r->n, 1, __ATOMIC_SEQ_CST);
	for (int i = 0; i < PIECES; i++) {
		pthread_barrier_wait(&r->start);
		r->p[(size_t)i * 2 * MB + (size_t)me * 64] = (char)(me + 1); // the same page, untouched until now
	}
	return NULL;
}

TEST_DIR(threads_meet_in_private_memory)
{
	size_t size = (size_t)PIECES * 2 * MB;
	int fd = sparse(size);
	struct racers r = {.p = map(fd, size, PROT_READ | PROT_WRITE, MAP_PRIVATE)};
	pthread_t t[4];
	ZERO(pthread_barrier_init(&r.start, NULL, 4));
	for (int i = 0; i < 4; i++)
		ZERO(pthread_create(&t[i], NULL, race, &r));
	for (int i = 0; i < 4; i++)
		ZERO(pthread_join(t[i], NULL));
	for (int i = 0; i < PIECES; i++)
		for (int k = 0; k < 4; k++)
			EQ(r.p[(size_t)i * 2 * MB + (size_t)k * 64], k + 1);
}

// The C library of this program: an ELF file of more than a megabyte.
static int libc_file(size_t *size)
{
	char line[512], path[512] = "";
	FILE *f = fopen("/proc/self/maps", "re");
	CHECK(f);
	while (fgets(line, sizeof(line), f) && !*path)
		if (strstr(line, "libc.so.6") || strstr(line, "libc-2"))
			sscanf(strchr(line, '/'), "%511[^\n]", path);
	fclose(f);
	if (!*path)
		SKIP("no shared C library");
	int fd = OK(open(path, O_RDONLY));
	struct stat st;
	OK(fstat(fd, &st));
	*size = (size_t)st.st_size & ~4095ul;
	return fd;
}

static bool same(int fd, const char *p, size_t off, size_t len)
{
	char buf[4096];
	for (; len; off += 4096, p += 4096, len -= 4096)
		if (pread(fd, buf, 4096, (off_t)off) != 4096 || memcmp(buf, p, 4096))
			return false;
	return true;
}

// A loader maps the whole of a library and other segments over it; who wants to read all of it must be able to.
TEST(whole_library)
{
	size_t size;
	int fd = libc_file(&size), pipes[2];
	char *p = map(fd, size, PROT_READ, MAP_PRIVATE), page[4096];
	CHECK(same(fd, p + size / 2 / 4096 * 4096, size / 2 / 4096 * 4096, 4096)); // its text, first of all
	OK(pipe(pipes));
	EQ(write(pipes[1], p + size / 3 / 4096 * 4096, 4096), 4096); // and a call that reads what nobody touched
	EQ(read(pipes[0], page, 4096), 4096);
	CHECK(same(fd, page, size / 3 / 4096 * 4096, 4096));
	pid_t c = OK(fork());
	if (!c)
		_exit(same(fd, p, 0, size) ? 0 : 1);
	EQ(t_wait(c), 0);
	CHECK(same(fd, p, 0, size));
	OK(munmap(p, size));
	// the same with everything read by a call, and as memory that is populated or locked at once
	p = map(fd, size, PROT_READ, MAP_PRIVATE);
	int out = OK(memfd_create("copy", 0));
	EQ(write(out, p, size), (long)size);
	char *q = map(out, size, PROT_READ, MAP_SHARED);
	CHECK(!memcmp(p, q, size));
	OK(munmap(p, size));
	p = map(fd, size, PROT_READ, MAP_PRIVATE | MAP_POPULATE);
	CHECK(!memcmp(p, q, size));
}

TEST(whole_library_cut_and_changed)
{
	enum { P = 4096, K = 17 * P }; // cuts that lie within pieces, not between
	size_t size;
	int fd = libc_file(&size);
	char *p = map(fd, size, PROT_READ, MAP_PRIVATE);
	OK(munmap(p + 5 * K, 3 * P));
	OK(mprotect(p + 7 * K, 2 * K, PROT_READ | PROT_WRITE));
	p[7 * K + 100] ^= 1; // nobody has read it before
	CHECK(mmap(p + 10 * K, K, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_FIXED, fd, 10 * K) == p + 10 * K);
	char *tail = p + 12 * K, *moved = mremap(tail, size - 12 * K, size - 12 * K + K, MREMAP_MAYMOVE);
	CHECK(moved != MAP_FAILED);
	pid_t c = OK(fork());
	// each has its own copy from here on, and undoes what it changed
	char bits = c ? 2 : 4;
	p[7 * K + 100] ^= bits;
	p[8 * K + 1] ^= bits;
	if (c)
		EQ(t_wait(c), 0);
	p[7 * K + 100] ^= bits ^ 1;
	p[8 * K + 1] ^= bits;
	CHECK(same(fd, p, 0, 5 * K));
	EQ(touch(p + 5 * K, false), SIGSEGV);
	CHECK(same(fd, p + 5 * K + 3 * P, 5 * K + 3 * P, 2 * K - 3 * P));
	CHECK(same(fd, p + 7 * K, 7 * K, 2 * K));
	CHECK(same(fd, p + 9 * K, 9 * K, K));
	CHECK(same(fd, p + 11 * K, 11 * K, K));
	CHECK(same(fd, moved, 12 * K, size - 12 * K));
	if (!c)
		_exit(0);
}

// SPDX-License-Identifier: Apache-2.0
// Memory: anonymous and file mappings, protection, remapping, advice, brk, sharing between processes.
#include <setjmp.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/ipc.h>
#include <sys/shm.h>

#include "tests/kernel/t.h"

enum { P = 4096 };

static char *anon(size_t pages)
{
	char *m = mmap(NULL, pages * P, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (m == MAP_FAILED)
		t_fail(__LINE__, "mmap: errno %d", errno);
	return m;
}

static sigjmp_buf back;
static void jump(int s)
{
	siglongjmp(back, s);
}

// Whether a read or a write of the byte raises SIGSEGV or SIGBUS.
static bool faults(volatile char *p, bool wr)
{
	t_on(SIGSEGV, jump, 0);
	t_on(SIGBUS, jump, 0);
	if (sigsetjmp(back, 1))
		return true;
	if (wr)
		*p = *p;
	else
		(void)*p;
	return false;
}

static int file(const char *name, size_t pages)
{
	char b[P];
	int fd = open(name, O_RDWR | O_CREAT | O_TRUNC, 0644);
	for (size_t i = 0; i < pages; i++) {
		memset(b, 'a' + (int)(i % 26), P);
		if (write(fd, b, P) != P)
			t_fail(__LINE__, "write: errno %d", errno);
	}
	return fd;
}

TEST(anonymous_is_zero)
{
	char *m = anon(64);
	for (int i = 0; i < 64 * P; i += 13)
		EQ(m[i], 0);
	memset(m, 1, 64 * P);
	OK(munmap(m, 64 * P));
	m = anon(64);
	for (int i = 0; i < 64 * P; i += 13)
		EQ(m[i], 0);
}

TEST(addresses_do_not_overlap)
{
	char *m[100];
	for (int i = 0; i < 100; i++) {
		m[i] = anon(3);
		memset(m[i], i, 3 * P);
	}
	for (int i = 0; i < 100; i++) {
		EQ((uintptr_t)m[i] % P, 0);
		CHECK(m[i][0] == i && m[i][3 * P - 1] == i);
	}
}

TEST(mmap_errors)
{
	ERR((long)mmap(NULL, 0, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), EINVAL);
	ERR((long)mmap(NULL, P, PROT_READ, MAP_PRIVATE, -1, 0), EBADF);
	ERR((long)mmap(NULL, P, PROT_READ, MAP_ANONYMOUS, -1, 0), EINVAL);
	ERR((long)mmap((void *)1, P, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0), EINVAL);
	ERR((long)mmap(NULL, 1ul << 60, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), ENOMEM);
	ERR((long)mmap((void *)(1ul << 62), P, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0), ENOMEM);
	int p[2];
	OK(pipe(p));
	ERR((long)mmap(NULL, P, PROT_READ, MAP_PRIVATE, p[0], 0), ENODEV);
	ERR(munmap((void *)1, P), EINVAL);
	ERR(munmap(NULL, 0), EINVAL);
}

TEST_DIR(file_mapping_modes)
{
	int fd = file("f", 1);
	int r = OK(open("f", O_RDONLY)), w = OK(open("f", O_WRONLY));
	ERR((long)mmap(NULL, P, PROT_READ | PROT_WRITE, MAP_SHARED, r, 0), EACCES);
	CHECK(mmap(NULL, P, PROT_READ | PROT_WRITE, MAP_PRIVATE, r, 0) != MAP_FAILED);
	ERR((long)mmap(NULL, P, PROT_READ, MAP_PRIVATE, w, 0), EACCES);
	ERR((long)mmap(NULL, P, PROT_READ, MAP_SHARED, fd, 100), EINVAL);
	char *m = mmap(NULL, P, PROT_READ, MAP_SHARED, r, 0);
	ERR(mprotect(m, P, PROT_READ | PROT_WRITE), EACCES);
}

TEST(fixed_replaces)
{
	char *m = anon(4);
	memset(m, 'x', 4 * P);
	char *n = mmap(m + P, 2 * P, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	CHECK(n == m + P);
	EQ(m[P], 0);
	EQ(m[3 * P - 1], 0);
	EQ(m[0], 'x');
	EQ(m[3 * P], 'x');
}

TEST(fixed_noreplace)
{
	char *m = anon(1);
	ERR((long)mmap(m, P, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0), EEXIST);
	OK(munmap(m, P));
	CHECK(mmap(m, P, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == m);
}

TEST(hint_that_is_taken)
{
	char *want = (char *)0x123400000000;
	char *m = mmap(want, P, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(m != MAP_FAILED);
	char *n = mmap(m, P, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); // taken: elsewhere
	CHECK(n != MAP_FAILED && n != m);
}

TEST(low_fixed_address)
{
	// Sanitizers, V8 and the JVM ask for particular low places.
	char *want = (char *)0x7fff8000;
	char *m = mmap(want, 16 * P, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);
	CHECK(m == want);
	m[0] = m[16 * P - 1] = 1;
	want = (char *)0x10007fff8000;
	m = mmap(want, 16 * P, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);
	CHECK(m == want);
	m[0] = 1;
}

TEST(map_32bit)
{
	char *m = mmap(NULL, P, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	CHECK(m != MAP_FAILED && (uintptr_t)m < 0x80000000ul);
	m[0] = 1;
}

TEST(huge_reservation)
{
	size_t n = 64ul << 30;
	char *m = mmap(NULL, n, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	CHECK(m != MAP_FAILED);
	OK(mprotect(m + (n / 2), 16 * P, PROT_READ | PROT_WRITE));
	m[n / 2 + 5] = 1;
	CHECK(faults(m, false));
	OK(munmap(m, n));
}

TEST(partial_munmap)
{
	char *m = anon(5);
	memset(m, 'x', 5 * P);
	OK(munmap(m + 2 * P, P));
	CHECK(!faults(m + 2 * P - 1, true));
	CHECK(faults(m + 2 * P, false));
	CHECK(!faults(m + 3 * P, true));
	EQ(m[3 * P], 'x');
	OK(munmap(m, 5 * P)); // over the hole: fine
	CHECK(faults(m, false));
	OK(munmap(m, 5 * P)); // nothing there: fine
}

TEST(mprotect_rules)
{
	char *m = anon(3);
	memset(m, 'x', 3 * P);
	OK(mprotect(m + P, P, PROT_READ));
	CHECK(!faults(m + P, false));
	CHECK(faults(m + P, true));
	CHECK(!faults(m, true));
	CHECK(!faults(m + 2 * P, true));
	OK(mprotect(m + P, P, PROT_NONE));
	CHECK(faults(m + P, false));
	OK(mprotect(m, 3 * P, PROT_READ | PROT_WRITE));
	CHECK(!faults(m + P, true));
	EQ(m[P], 'x');
	ERR(mprotect(m + 1, P, PROT_READ), EINVAL);
	OK(munmap(m + P, P));
	ERR(mprotect(m, 3 * P, PROT_READ), ENOMEM);
}

TEST(mprotect_makes_code_runnable)
{
	static const unsigned char code[] = {0xb8, 42, 0, 0, 0, 0xc3};
	char *m = anon(1);
	memcpy(m, code, sizeof(code));
	CHECK(faults(m, true) == false);
	OK(mprotect(m, P, PROT_READ | PROT_EXEC));
	EQ(((int (*)(void))(void *)m)(), 42);
	OK(mprotect(m, P, PROT_READ | PROT_WRITE));
	m[1] = 43;
	OK(mprotect(m, P, PROT_READ | PROT_EXEC));
	EQ(((int (*)(void))(void *)m)(), 43);
}

TEST(mremap_grow_in_place_or_move)
{
	char *m = anon(2);
	memset(m, 'x', 2 * P);
	char *n = mremap(m, 2 * P, 100 * P, MREMAP_MAYMOVE);
	CHECK(n != MAP_FAILED);
	EQ(n[2 * P - 1], 'x');
	EQ(n[2 * P], 0);
	n[100 * P - 1] = 1;
	n = mremap(n, 100 * P, P, 0);
	CHECK(n != MAP_FAILED);
	CHECK(faults(n + P, false));
	EQ(n[0], 'x');
}

TEST(mremap_fixed)
{
	char *a = anon(2), *b = anon(4);
	memset(a, 'a', 2 * P);
	memset(b, 'b', 4 * P);
	CHECK(mremap(a, 2 * P, 2 * P, MREMAP_MAYMOVE | MREMAP_FIXED, b + P) == b + P);
	EQ(b[P], 'a');
	EQ(b[0], 'b');
	EQ(b[3 * P], 'b');
	CHECK(faults(a, false));
	ERR((long)mremap(a, P, 2 * P, 0), EFAULT);
}

// What grew in place is one mapping: it moves as a whole.
TEST(mremap_moves_what_grew)
{
	char *room = anon(64), *a = anon(2);
	OK(munmap(room, 64 * P));
	char *m = mremap(a, 2 * P, 2 * P, MREMAP_MAYMOVE | MREMAP_FIXED, room);
	CHECK(m == room);
	for (int n = 2; n < 32; n *= 2) {
		memset(m, 'a' + n, (size_t)n * P);
		m = mremap(m, (size_t)n * P, 2 * (size_t)n * P, 0);
		CHECK(m == room);
		CHECK(m[n * P] == 0);
	}
	memset(m, 'z', 32 * P);
	char *to = anon(40);
	m = mremap(m, 32 * P, 40 * P, MREMAP_MAYMOVE | MREMAP_FIXED, to);
	CHECK(m == to);
	EQ(m[0], 'z');
	EQ(m[32 * P - 1], 'z');
	EQ(m[32 * P], 0);
}

TEST(mremap_cannot_grow_in_place)
{
	char *m = anon(3);
	ERR((long)mremap(m, P, 2 * P, 0), ENOMEM);
	m[P] = 1;
}

TEST_DIR(mremap_shared_file)
{
	int fd = file("f", 4);
	char *m = mmap(NULL, P, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	m = mremap(m, P, 4 * P, MREMAP_MAYMOVE);
	CHECK(m != MAP_FAILED);
	EQ(m[3 * P], 'd');
	m[3 * P] = 'X';
	char c;
	EQ(pread(fd, &c, 1, 3 * P), 1);
	EQ(c, 'X');
}

TEST(madvise_dontneed_zeroes)
{
	char *m = anon(4);
	memset(m, 'x', 4 * P);
	OK(madvise(m + P, 2 * P, MADV_DONTNEED));
	EQ(m[0], 'x');
	EQ(m[P], 0);
	EQ(m[3 * P - 1], 0);
	EQ(m[3 * P], 'x');
	OK(madvise(m, P, MADV_WILLNEED));
	OK(madvise(m, P, MADV_NORMAL));
	ERR(madvise(m + 1, P, MADV_DONTNEED), EINVAL);
	ERR(madvise(m, P, 9999), EINVAL);
	OK(munmap(m + P, P));
	ERR(madvise(m, 3 * P, MADV_DONTNEED), ENOMEM);
}

TEST_DIR(madvise_dontneed_on_file)
{
	int fd = file("f", 2);
	char *m = mmap(NULL, 2 * P, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	m[0] = 'X';
	OK(madvise(m, P, MADV_DONTNEED));
	EQ(m[0], 'a'); // the private copy is gone
	char *s = mmap(NULL, 2 * P, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	s[0] = 'Y';
	OK(madvise(s, P, MADV_DONTNEED));
	EQ(s[0], 'Y');
}

TEST_DIR(shared_file_coherent_with_read_and_write)
{
	char c;
	int fd = file("f", 2);
	char *m = mmap(NULL, 2 * P, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(m != MAP_FAILED);
	EQ(m[0], 'a');
	EQ(m[P], 'b');
	m[10] = 'X';
	EQ(pread(fd, &c, 1, 10), 1);
	EQ(c, 'X');
	EQ(pwrite(fd, "Y", 1, 20), 1);
	EQ(m[20], 'Y');
	OK(msync(m, 2 * P, MS_SYNC));
	OK(munmap(m, 2 * P));
	int again = OK(open("f", O_RDONLY));
	EQ(pread(again, &c, 1, 10), 1);
	EQ(c, 'X');
}

// Memory gets short: pages of files that storage has may go. Natively that would be felt by the whole machine.
static void memory_is_short(void)
{
	int fd = access("/proc/coffer", F_OK) ? -1 : open("/proc/sys/vm/drop_caches", O_WRONLY);
	if (fd < 0)
		return;
	OK(write(fd, "1", 1));
	OK(close(fd));
}

static void all_are(int fd, int pages, char c)
{
	for (int i = 0; i < pages; i++) {
		char got = 0;
		EQ(pread(fd, &got, 1, (off_t)i * P + i % P), 1);
		EQ(got, c);
	}
}

TEST_DIR(shared_file_keeps_what_a_mapping_wrote)
{
	enum { PAGES = 600 }; // more than are stored at a time
	int fd = file("f", PAGES);
	OK(fsync(fd));
	char *m = mmap(NULL, PAGES * P, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(m != MAP_FAILED);
	memset(m, 'm', PAGES * P);
	OK(munmap(m, PAGES * P));
	memory_is_short(); // nobody has stored it
	all_are(fd, PAGES, 'm');
	OK(fsync(fd));
	memory_is_short();
	all_are(fd, PAGES, 'm');
	m = mmap(NULL, PAGES * P, PROT_READ, MAP_SHARED, fd, 0);
	CHECK(m != MAP_FAILED);
	EQ(m[0], 'm');
	OK(syncfs(fd)); // nothing of it is dirty any more
	OK(mprotect(m, PAGES * P, PROT_READ | PROT_WRITE));
	memset(m, 'n', PAGES * P);
	OK(munmap(m, PAGES * P));
	OK(syncfs(fd));
	memory_is_short();
	all_are(fd, PAGES, 'n');
	OK(close(fd));
}

TEST_DIR(shared_file_between_processes)
{
	int fd = file("f", 1);
	char *m = mmap(NULL, P, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	pid_t p = OK(fork());
	if (!p) {
		int g = open("f", O_RDWR);
		char *n = mmap(NULL, P, PROT_READ | PROT_WRITE, MAP_SHARED, g, 0);
		n[5] = 'Q';
		m[6] = 'R';
		_exit(0);
	}
	EQ(t_wait(p), 0);
	EQ(m[5], 'Q');
	EQ(m[6], 'R');
}

TEST_DIR(private_file_is_copy_on_write)
{
	char c;
	int fd = file("f", 2);
	char *m = mmap(NULL, 2 * P, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	m[0] = 'X';
	EQ(pread(fd, &c, 1, 0), 1);
	EQ(c, 'a');
	pid_t p = OK(fork());
	if (!p) {
		if (m[0] != 'X' || m[P] != 'b')
			_exit(1);
		m[0] = 'Z';
		_exit(0);
	}
	EQ(t_wait(p), 0);
	EQ(m[0], 'X');
}

TEST_DIR(offset_mapping)
{
	int fd = file("f", 10);
	char *m = mmap(NULL, 2 * P, PROT_READ, MAP_PRIVATE, fd, 5 * P);
	CHECK(m != MAP_FAILED);
	EQ(m[0], 'f');
	EQ(m[P], 'g');
	close(fd); // the mapping keeps the file
	OK(unlink("f"));
	EQ(m[P + 7], 'g');
}

TEST_DIR(tail_of_last_page_is_zero)
{
	int fd = OK(open("f", O_RDWR | O_CREAT, 0644));
	EQ(write(fd, "abc", 3), 3);
	char *m = mmap(NULL, P, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	EQ(m[2], 'c');
	for (int i = 3; i < P; i++)
		EQ(m[i], 0);
	m[100] = 'x'; // behind the end: never in the file
	struct stat st;
	OK(fstat(fd, &st));
	EQ(st.st_size, 3);
}

TEST_DIR(read_into_mapping_of_same_file)
{
	int fd = file("f", 2);
	char *m = mmap(NULL, 2 * P, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	EQ(pread(fd, m + P, 100, 0), 100);
	EQ(m[P + 99], 'a');
	EQ(m[P + 100], 'b');
	EQ(pwrite(fd, m, 50, P), 50);
}

TEST(msync_errors)
{
	char *m = anon(1);
	OK(msync(m, P, MS_ASYNC));
	ERR(msync(m + 1, P, MS_SYNC), EINVAL);
	ERR(msync(m, P, MS_ASYNC | MS_SYNC), EINVAL);
	OK(munmap(m, P));
	ERR(msync(m, P, MS_SYNC), ENOMEM);
}

TEST(brk_moves)
{
	char *a = sbrk(0);
	CHECK(a != (void *)-1);
	CHECK(sbrk(10 * P) == a);
	a[0] = a[10 * P - 1] = 'x';
	CHECK(sbrk(0) == a + 10 * P);
	OK(brk(a + P));
	EQ(a[0], 'x');
	CHECK(sbrk(P) == a + P);
	EQ(a[P], 0); // returned memory comes back clean
}

TEST(malloc_and_free_much)
{
	for (int round = 0; round < 5; round++) {
		char *p[100];
		for (int i = 0; i < 100; i++) {
			p[i] = malloc(300000);
			CHECK(p[i]);
			memset(p[i], i, 300000);
		}
		for (int i = 0; i < 100; i++) {
			EQ(p[i][299999], i);
			free(p[i]);
		}
	}
}

TEST(address_space_limit)
{
	pid_t p = OK(fork());
	if (!p) {
		struct rlimit rl = {300 << 20, 300 << 20};
		OK(setrlimit(RLIMIT_AS, &rl));
		ERR((long)mmap(NULL, 400 << 20, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), ENOMEM);
		CHECK(mmap(NULL, 1 << 20, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED);
		_exit(0);
	}
	EQ(t_wait(p), 0);
}

TEST(mincore_and_mlock)
{
	unsigned char v[2];
	char *m = anon(2);
	m[0] = 1;
	OK(mincore(m, P, v));
	CHECK(v[0] & 1);
	OK(munmap(m, P));
	ERR(mincore(m, P, v), ENOMEM);
	OK(mlock(m + P, P));
	OK(munlock(m + P, P));
}

TEST(shared_anonymous_grandchildren)
{
	int *m = mmap(NULL, 16 * P, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(m != MAP_FAILED);
	for (int i = 0; i < 4; i++)
		if (OK(fork()) == 0) {
			for (int k = 0; k < 1000; k++)
				__atomic_add_fetch(&m[k], 1, __ATOMIC_SEQ_CST);
			_exit(0);
		}
	for (int i = 0; i < 4; i++)
		OK(wait(NULL));
	for (int k = 0; k < 1000; k++)
		EQ(m[k], 4);
}

TEST(unmapped_in_child_only)
{
	char *m = anon(2);
	m[0] = 'x';
	pid_t p = OK(fork());
	if (!p) {
		OK(munmap(m, 2 * P));
		_exit(faults(m, false) ? 0 : 1);
	}
	EQ(t_wait(p), 0);
	EQ(m[0], 'x');
}

TEST(many_mappings)
{
	// Every second page of a big area with another protection: thousands of areas.
	char *m = anon(4000);
	for (int i = 0; i < 4000; i += 2)
		OK(mprotect(m + i * P, P, PROT_READ));
	for (int i = 1; i < 4000; i += 2)
		m[i * P] = (char)i;
	CHECK(faults(m, true));
	OK(munmap(m, 4000 * P));
	m = anon(4000);
	for (int i = 0; i < 4000; i += 2)
		OK(munmap(m + i * P, P));
	for (int i = 1; i < 4000; i += 2)
		m[i * P] = 1;
}

// With as many mappings as there may be, one more in the middle of another cannot be made: what was there stays, with what it held.
TEST_DIR(fixed_that_cannot_be_made)
{
	const size_t pages = 70000;
	int fd = OK(open("f", O_RDWR | O_CREAT, 0600));
	OK(ftruncate(fd, 16 * 4096));
	char *old = mmap(NULL, 16 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *shared = mmap(NULL, 16 * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	char *many = mmap(NULL, pages * 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	CHECK(old != MAP_FAILED && shared != MAP_FAILED && many != MAP_FAILED);
	memset(old, 'o', 16 * 4096);
	memset(shared, 's', 16 * 4096);
	size_t full = 0;
	for (size_t i = 1; i < pages && full < 2; i += 2) // each makes two more, the last perhaps one
		full += !!mprotect(many + i * 4096, 4096, PROT_READ | PROT_WRITE);
	if (!full)
		SKIP("only inside an enclave"); // this system has room for more mappings
	CHECK(mprotect(many, 4096, PROT_NONE) || mprotect(many + 4096, 4096, PROT_NONE) || errno == ENOMEM);
	char *places[] = {old, shared};
	for (int k = 0; k < 2; k++) {
		char *p = places[k], c = k ? 's' : 'o';
		unsigned char in[16];
		for (int i = 4; i < 12; i++) {
			void *m = mmap(p + i * 4096, 4096, PROT_READ, MAP_FIXED | MAP_PRIVATE, fd, i % 2 ? 0 : 5 * 4096);
			CHECK(m != MAP_FAILED || errno == ENOMEM);
			EQ(mincore(p, 16 * 4096, in), 0); // all of it is mapped
			if (m == MAP_FAILED)
				EQ(p[i * 4096 + 77], c);
		}
		EQ(p[0], c);
		EQ(p[15 * 4096], c);
		EQ(pwrite(fd, p + 3 * 4096, 4096, 20 * 4096), 4096);
	}
	OK(munmap(many, pages * 4096));
	CHECK(mmap(old + 4096, 4096, PROT_READ, MAP_FIXED | MAP_PRIVATE, fd, 0) == old + 4096);
	EQ(old[4096], shared[0]);
}

// What a mapping of a file that is cut off keeps from being unmapped, for want of room for one mapping more, is nobody else's.
TEST_DIR(cut_that_cannot_be_unmapped)
{
	const size_t pages = 70000;
	int fd = OK(open("f", O_RDWR | O_CREAT, 0600));
	OK(ftruncate(fd, 64 * 4096));
	char *p = mmap(NULL, 64 * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	char *many = mmap(NULL, pages * 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	CHECK(p != MAP_FAILED && many != MAP_FAILED);
	memset(p, 's', 64 * 4096);
	size_t full = 0;
	for (size_t i = 1; i < pages && full < 2; i += 2)
		full += !!mprotect(many + i * 4096, 4096, PROT_READ | PROT_WRITE);
	if (!full)
		SKIP("only inside an enclave"); // this system has room for more mappings
	OK(ftruncate(fd, 4096));
	EQ(p[77], 's');
	OK(munmap(many, pages * 4096));
	OK(ftruncate(fd, 64 * 4096));
	EQ(pwrite(fd, "new", 3, 4096), 3);
	OK(munmap(p, 64 * 4096));
	p = mmap(NULL, 64 * 4096, PROT_READ, MAP_SHARED, fd, 0);
	CHECK(p != MAP_FAILED);
	EQ(memcmp(p + 4096, "new", 4), 0);
	EQ(p[63 * 4096], 0);
}

TEST(posix_shared_memory)
{
	char name[32];
	snprintf(name, sizeof(name), "/kt-%d", getpid());
	int fd = shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
	CHECK(fd >= 0);
	OK(ftruncate(fd, P));
	char *m = mmap(NULL, P, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	pid_t p = OK(fork());
	if (!p) {
		int g = OK(shm_open(name, O_RDWR, 0));
		char *n = mmap(NULL, P, PROT_READ | PROT_WRITE, MAP_SHARED, g, 0);
		n[0] = 'S';
		_exit(0);
	}
	EQ(t_wait(p), 0);
	EQ(m[0], 'S');
	OK(shm_unlink(name));
	ERR(shm_open(name, O_RDWR, 0), ENOENT);
}

TEST(sysv_shared_memory)
{
	int id = shmget(IPC_PRIVATE, P, IPC_CREAT | 0600);
	if (id < 0 && errno == ENOSYS)
		SKIP("no System V shared memory here");
	CHECK(id >= 0);
	char *m = shmat(id, NULL, 0);
	CHECK(m != (void *)-1);
	pid_t p = OK(fork());
	if (!p) {
		char *n = shmat(id, NULL, 0);
		n[0] = 'V';
		_exit(0);
	}
	EQ(t_wait(p), 0);
	EQ(m[0], 'V');
	OK(shmdt(m));
	OK(shmctl(id, IPC_RMID, NULL));
	ERR((long)shmat(id, NULL, 0), EINVAL);
}

TEST(exec_only_text_of_program)
{
	// Writing to the program's own text is a fault.
	CHECK(faults((volatile char *)(uintptr_t)anon, true));
}

TEST(sysv_shared_memory_keys)
{
	key_t key = 0x10000000 + getpid();
	int id = shmget(key, 2 * P, IPC_CREAT | IPC_EXCL | 0600);
	if (id < 0 && errno == ENOSYS)
		SKIP("no System V shared memory here");
	CHECK(id >= 0);
	ERR(shmget(key, P, IPC_CREAT | IPC_EXCL | 0600), EEXIST);
	EQ(shmget(key, 0, 0), id);
	ERR(shmget(key, 3 * P, 0), EINVAL);
	ERR(shmget(key + 1, P, 0), ENOENT);
	ERR(shmget(IPC_PRIVATE, 0, 0600), EINVAL);
	char *m = shmat(id, NULL, 0), *r = shmat(id, NULL, SHM_RDONLY);
	CHECK(m != (void *)-1 && r != (void *)-1 && m != r);
	m[P] = 'k';
	EQ(r[P], 'k');
	CHECK(faults(r, true));
	struct shmid_ds ds;
	OK(shmctl(id, IPC_STAT, &ds));
	EQ(ds.shm_segsz, 2 * P);
	EQ(ds.shm_nattch, 2);
	EQ(ds.shm_cpid, getpid());
	EQ(ds.shm_perm.mode & 0777, 0600);
	pid_t p = OK(fork());
	if (!p) {
		struct shmid_ds c;
		OK(shmctl(id, IPC_STAT, &c));
		EQ(c.shm_nattch, 4); // the child has them too
		_exit(m[P] == 'k' ? 0 : 1);
	}
	EQ(t_wait(p), 0);
	ERR(shmdt(m + P), EINVAL);
	OK(shmdt(r));
	ERR(shmdt(r), EINVAL);
	OK(shmctl(id, IPC_RMID, NULL));
	ERR(shmget(key, 0, 0), ENOENT);
	m[0] = 'x'; // still there for those who have it
	EQ(m[P], 'k');
	OK(shmdt(m));
	CHECK(faults(m, false));
}

// What a child does to its view of shared anonymous memory leaves the parent's pages alone; what it writes, it writes to both.
TEST(shared_anonymous_outlives_what_a_child_does)
{
	enum { N = 16 };
	size_t len = N * 4096;
	long *m = OK(mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
	for (int round = 0; round < 6; round++) {
		for (size_t i = 0; i < len / 8; i++)
			m[i] = 1;
		pid_t c = OK(fork());
		if (!c) {
			char *p = (char *)m;
			m[0] = round + 100;
			switch (round) {
			case 0: OK(madvise(p, len, MADV_DONTNEED)); break;
			case 1: ERR(madvise(p, len, MADV_FREE), EINVAL); break;
			case 2: OK(munmap(p + 4096, len - 4096)); break;
			case 3: p = OK(mremap(p, len, len, MREMAP_MAYMOVE | MREMAP_FIXED, p + 64 * len)); break;
			case 4: OK(mmap(p, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0)); break;
			default: OK(mremap(p, len, 4096, 0));
			}
			// fresh pages, which would be the parent's if those had been given back
			char *fresh = OK(mmap(NULL, 4 * len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
			memset(fresh, 0xee, 4 * len);
			if (round < 4)
				((long *)p)[1] = 7;
			_exit(0);
		}
		EQ(t_wait(c), 0);
		EQ(m[0], round + 100);
		EQ(m[1], round < 4 ? 7 : 1);
		for (size_t i = 2; i < len / 8; i++)
			EQ(m[i], 1);
	}
}

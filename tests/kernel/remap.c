// SPDX-License-Identifier: Apache-2.0
// mremap, mmap and mprotect at their edges: pages that move and leave zeroes behind, second mappings, flags that do not go together.
#include "tests/kernel/mem.h"

#define REFUSED(call, e) CHECK((call) == MAP_FAILED && errno == (e))

TEST(pages_go_and_leave_zeroes)
{
	char *p = anon(8, PROT_READ | PROT_WRITE, 0), *q, *room;
	memset(p, 'x', 8 * PG);
	REFUSED(mremap(p, 8 * PG, 8 * PG, MREMAP_DONTUNMAP, NULL), EINVAL);
	REFUSED(mremap(p, 8 * PG, 4 * PG, MREMAP_DONTUNMAP | MREMAP_MAYMOVE, NULL), EINVAL);
	q = mremap(p, 8 * PG, 8 * PG, MREMAP_DONTUNMAP | MREMAP_MAYMOVE, NULL);
	CHECK(q != MAP_FAILED && q != p);
	for (int i = 0; i < 8; i++) {
		EQ(q[i * PG], 'x');
		EQ(p[i * PG], 0);
	}
	p[0] = 'p';
	EQ(q[0], 'x');
	room = anon(2, PROT_NONE, 0);
	q = mremap(p, 2 * PG, 2 * PG, MREMAP_DONTUNMAP | MREMAP_MAYMOVE | MREMAP_FIXED, room);
	CHECK(q == room);
	EQ(q[0], 'p');
	EQ(p[0], 0);
	OK(munmap(p, 8 * PG));
	EQ(q[0], 'p');
	pid_t child = OK(fork());
	if (!child)
		_exit(q[0] == 'p' && touch(p, false) == SIGSEGV ? 0 : 1);
	EQ(t_wait(child), 0);
}

TEST_DIR(second_mapping_of_shared_pages)
{
	int fd = file(8 * PG);
	char *p = mmap(NULL, 8 * PG, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), *q;
	CHECK(p != MAP_FAILED);
	p[2 * PG] = 's';
	q = mremap(p + 2 * PG, 0, 4 * PG, MREMAP_MAYMOVE);
	CHECK(q != MAP_FAILED);
	EQ(q[0], 's');
	q[PG] = 't';
	EQ(p[3 * PG], 't');
	OK(munmap(p, 8 * PG));
	EQ(q[PG], 't');
	p = mmap(NULL, 16 << 20, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(p != MAP_FAILED);
	p[9 << 20] = 'u';
	q = mremap(p, 0, 16 << 20, MREMAP_MAYMOVE);
	CHECK(q != MAP_FAILED);
	EQ(q[9 << 20], 'u');
	q[3 << 20] = 'v';
	EQ(p[3 << 20], 'v');
	REFUSED(mremap(anon(1, PROT_READ, 0), 0, PG, MREMAP_MAYMOVE), EINVAL);
}

TEST(errors)
{
	char *p = anon(8, PROT_READ | PROT_WRITE, 0);
	REFUSED(mremap(p, PG, 0, MREMAP_MAYMOVE), EINVAL);
	REFUSED(mremap(p + 1, PG, PG, MREMAP_MAYMOVE), EINVAL);
	REFUSED(mremap(p, PG, 2 * PG, 8), EINVAL);
	REFUSED(mremap(p, PG, PG, MREMAP_FIXED, p + 4 * PG), EINVAL);
	REFUSED(mremap(p, 4 * PG, 4 * PG, MREMAP_FIXED | MREMAP_MAYMOVE, p + PG), EINVAL);
	REFUSED(mremap(p, PG, PG, MREMAP_FIXED | MREMAP_MAYMOVE, p + 4 * PG + 1), EINVAL);
	REFUSED(mremap((void *)0x1000, PG, 2 * PG, MREMAP_MAYMOVE), EFAULT);
	REFUSED(mremap(p, PG, 1l << 47, MREMAP_MAYMOVE), EINVAL);
	OK(mprotect(p + 4 * PG, 4 * PG, PROT_READ));
	REFUSED(mremap(p, 8 * PG, 16 * PG, MREMAP_MAYMOVE), EFAULT); // two mappings
}

// Making smaller in place works over several mappings.
TEST(smaller_over_several_mappings)
{
	char *p = anon(8, PROT_READ | PROT_WRITE, 0);
	p[PG] = 'x';
	OK(mprotect(p + 4 * PG, 4 * PG, PROT_READ));
	CHECK(mremap(p, 8 * PG, 8 * PG, MREMAP_MAYMOVE) == p);
	CHECK(mremap(p, 8 * PG, 2 * PG, 0) == p);
	EQ(p[PG], 'x');
	EQ(touch(p + 2 * PG, false), SIGSEGV);
	EQ(touch(p + 5 * PG, false), SIGSEGV);
}

TEST(moves_and_shrinks)
{
	char *p = anon(8, PROT_READ | PROT_WRITE, 0), *room = anon(8, PROT_READ, 0);
	p[0] = 'a';
	p[3 * PG] = 'b';
	CHECK(mremap(p, 8 * PG, 4 * PG, MREMAP_MAYMOVE | MREMAP_FIXED, room) == room);
	EQ(room[0], 'a');
	EQ(room[3 * PG], 'b');
	room[3 * PG] = 'c';
	EQ(touch(room + 4 * PG, true), SIGSEGV); // what was there before, read only
	EQ(touch(room + 4 * PG, false), 0);
	EQ(touch(p, false), SIGSEGV);
	EQ(touch(p + 7 * PG, false), SIGSEGV);
}

TEST_DIR(private_file_moves_and_grows)
{
	int fd = file(6 * PG);
	for (int i = 0; i < 6; i++)
		EQ(pwrite(fd, &(char){(char)('0' + i)}, 1, i * PG), 1);
	char *p = mmap(NULL, 4 * PG, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, PG), *q;
	CHECK(p != MAP_FAILED);
	p[PG] = 'c';
	CHECK(mmap(p + 4 * PG, PG, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) != MAP_FAILED || errno == EEXIST);
	q = mremap(p, 4 * PG, 8 * PG, MREMAP_MAYMOVE);
	CHECK(q != MAP_FAILED);
	EQ(q[0], '1');
	EQ(q[PG], 'c');
	EQ(q[4 * PG], '5');
	EQ(touch(q + 5 * PG, false), SIGBUS);
	OK(ftruncate(fd, 9 * PG));
	EQ(q[7 * PG], 0);
}

TEST_DIR(flags_of_mmap)
{
	int fd = file(2 * PG);
	char *p = anon(8, PROT_READ | PROT_WRITE, 0);
	REFUSED(mmap(p, PG, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0), EEXIST);
	REFUSED(mmap(p + 7 * PG, 2 * PG, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0), EEXIST);
	REFUSED(mmap(p + 1, PG, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0), EINVAL);
	OK(munmap(p, PG));
	CHECK(mmap(p, PG, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == p);
	REFUSED(mmap(NULL, PG, PROT_READ, MAP_SHARED_VALIDATE | MAP_SYNC, fd, 0), EOPNOTSUPP);
	REFUSED(mmap(NULL, PG, PROT_READ, MAP_SHARED_VALIDATE | MAP_ANONYMOUS, -1, 0), EINVAL);
	CHECK(mmap(NULL, PG, PROT_READ | PROT_WRITE, MAP_SHARED_VALIDATE, fd, 0) != MAP_FAILED);
	REFUSED(mmap(NULL, PG, PROT_READ, MAP_SHARED | MAP_ANONYMOUS | MAP_GROWSDOWN, -1, 0), EINVAL);
	REFUSED(mmap(NULL, PG, PROT_READ, MAP_SHARED | MAP_GROWSDOWN, fd, 0), EINVAL);
	REFUSED(mmap(NULL, PG, PROT_READ, MAP_PRIVATE | MAP_GROWSDOWN, fd, 0), EINVAL);
}

TEST_DIR(edges_of_mprotect)
{
	char *p = anon(4, PROT_READ | PROT_WRITE, 0);
	ERR(mprotect(p + 1, PG, PROT_READ), EINVAL);
	OK(mprotect(p, 0, PROT_READ));
	ERR(mprotect(p, -4095ul, PROT_READ), ENOMEM);
	ERR(mprotect(p, PG, 0x10), EINVAL);
	ERR(mprotect(p, PG, PROT_READ | PROT_GROWSDOWN), EINVAL);
	ERR(mprotect(p, PG, PROT_READ | PROT_GROWSUP), EINVAL);
	ERR(mprotect((void *)0x1000, PG, PROT_READ), ENOMEM);
	ERR(mprotect((void *)-4096l, PG, PROT_READ), ENOMEM);
	OK(munmap(p + 2 * PG, PG));
	ERR(mprotect(p, 4 * PG, PROT_READ), ENOMEM); // as far as it goes
	EQ(touch(p, true), SIGSEGV);
	EQ(touch(p + 3 * PG, true), 0);
	int fd = file(16 << 20);
	char *q = mmap(NULL, 16 << 20, PROT_WRITE, MAP_SHARED, fd, 0); // which can be read as well
	CHECK(q != MAP_FAILED);
	EQ(touch(q, false), 0);
	EQ(touch(q + (5 << 20), true), 0);
}

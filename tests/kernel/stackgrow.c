// SPDX-License-Identifier: Apache-2.0
// Stacks and other mappings that grow downwards when they are touched: as far as the limit goes, and not into their neighbours.
#include "tests/kernel/mem.h"
#include <sys/resource.h>

static volatile size_t depth; // bytes that a recursion reached
static char *deep_start;

__attribute__((noinline)) static int deeper(size_t most)
{
	volatile char frame[8 * KB];
	frame[0] = 1;
	depth = (size_t)(deep_start - (char *)frame);
	if (depth < most && deeper(most) < 0)
		return -1;
	return frame[0] - 1;
}

// How deep a recursion gets before SIGSEGV, at most `most`.
static size_t reach(size_t most)
{
	char here;
	mem_watch();
	deep_start = &here;
	if (!sigsetjmp(mem_back, 1))
		deeper(most);
	return depth;
}

// Start and end of the mapping [stack] or of the one that holds an address.
static void range_of(const void *p, unsigned long *start, unsigned long *end)
{
	char maps[65536], *line;
	strcpy(maps, t_get("/proc/self/maps"));
	for (line = strtok(maps, "\n"); line; line = strtok(NULL, "\n"))
		if (sscanf(line, "%lx-%lx", start, end) == 2 && (p ? (unsigned long)p >= *start && (unsigned long)p < *end : strstr(line, "[stack]") != NULL))
			return;
	t_fail(__LINE__, "no such mapping");
}

static size_t stack_size(void)
{
	unsigned long start, end;
	range_of(NULL, &start, &end);
	return end - start;
}

static void limit_stack(rlim_t n)
{
	struct rlimit rl;
	OK(getrlimit(RLIMIT_STACK, &rl));
	rl.rlim_cur = n;
	OK(setrlimit(RLIMIT_STACK, &rl));
}

// A program with a fresh stack under this limit: exec, then the helper.
static int with_limit(rlim_t n, const char *what)
{
	pid_t child = OK(fork());
	if (!child) {
		limit_stack(n);
		execl(t_self, t_self, "--helper", what, NULL);
		_exit(99);
	}
	return t_wait(child);
}

HELPER(starts_small)
{
	size_t before = stack_size();
	if (before > 400 * KB)
		return 1;
	if (reach(3 * MB) < 3 * MB)
		return 2;
	if (stack_size() < 3 * MB || stack_size() > 4 * MB)
		return 3;
	return 0;
}

TEST(grows_when_touched) { EQ(with_limit(8 * MB, "starts_small"), 0); }

HELPER(ends_at_limit)
{
	size_t n = reach(64 * MB);
	return n > 2 * MB ? 1 : n < 1800 * KB ? 2 : stack_size() > 2 * MB ? 3 : 0;
}

TEST(limit_of_the_program_before) { EQ(with_limit(2 * MB, "ends_at_limit"), 0); }

HELPER(limit_changes)
{
	limit_stack(1 * MB); // counts at once
	size_t n = reach(64 * MB);
	if (n > 1 * MB || n < 800 * KB)
		return 1;
	limit_stack(30 * MB); // so does more
	n = reach(64 * MB);
	if (n > 30 * MB || n < 29 * MB)
		return 2;
	limit_stack(RLIM_INFINITY);
	n = reach(60 * MB);
	return n < 60 * MB ? 3 : 0;
}

TEST(limit_changes_while_it_runs)
{
	struct rlimit rl;
	OK(getrlimit(RLIMIT_STACK, &rl));
	if (rl.rlim_max != RLIM_INFINITY)
		SKIP("the stack limit is fixed here");
	EQ(with_limit(8 * MB, "limit_changes"), 0);
}

HELPER(much_room) { return reach(200 * MB) < 200 * MB ? 1 : 0; }

TEST(limit_sets_the_layout)
{
	struct rlimit rl;
	OK(getrlimit(RLIMIT_STACK, &rl));
	if (rl.rlim_max != RLIM_INFINITY)
		SKIP("the stack limit is fixed here");
	EQ(with_limit(250 * MB, "much_room"), 0);
	EQ(with_limit(RLIM_INFINITY, "much_room"), 0);
}

HELPER(arguments_in_a_small_stack) { return argc > 0 && stack_size() <= 700 * KB ? 0 : 1; }

TEST(arguments_larger_than_the_first_stack)
{
	pid_t child = OK(fork());
	if (!child) {
		char *big = malloc(100 * KB + 1), *argv[] = {t_self, "--helper", "arguments_in_a_small_stack", big, big, big, big, NULL};
		memset(big, 'a', 100 * KB);
		big[100 * KB] = 0;
		execv(t_self, argv);
		_exit(99);
	}
	EQ(t_wait(child), 0);
}

// The kernel writes where the stack has not been yet.
HELPER(kernel_writes)
{
	char *low = (char *)__builtin_frame_address(0) - MB;
	int fd = open("/proc/self/maps", O_RDONLY);
	if (read(fd, low, 100) != 100 || low[0] == 0)
		return 1;
	return stat("/", (struct stat *)(void *)(low - MB)) ? 2 : 0;
}

TEST(calls_make_it_grow) { EQ(with_limit(8 * MB, "kernel_writes"), 0); }

HELPER(child_grows)
{
	pid_t child = fork();
	if (!child)
		_exit(reach(3 * MB) < 3 * MB);
	if (stack_size() > 1 * MB) // its own stack only
		return 1;
	return t_wait(child);
}

TEST(grows_in_a_child) { EQ(with_limit(8 * MB, "child_grows"), 0); }

// --- mappings of a program

static char *growing(size_t room, size_t size)
{
	char *p = mmap(NULL, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	CHECK(p != MAP_FAILED);
	OK(munmap(p, room));
	char *q = mmap(p + room - size, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN | MAP_FIXED, -1, 0);
	CHECK(q != MAP_FAILED);
	return q;
}

TEST(mapping_grows_down)
{
	char *p = growing(6 * MB, 4 * PG);
	EQ(touch(p, true), 0);
	EQ(touch(p - 1, true), 0);
	EQ(touch(p - 20 * PG, true), 0);
	EQ(touch(p - 300 * PG, false), 0);
	p[-10 * PG] = 'x';
	pid_t child = OK(fork());
	if (!child)
		_exit(p[-10 * PG] == 'x' && !touch(p - 350 * PG, true) ? 0 : 1);
	EQ(t_wait(child), 0);
	OK(mprotect(p + PG, PG, PROT_READ | PROT_GROWSDOWN)); // all from its start on
	EQ(touch(p + PG, true), SIGSEGV);
	EQ(touch(p - 20 * PG, true), SIGSEGV);
	EQ(touch(p + 2 * PG, true), 0);
	EQ(p[-10 * PG], 'x');
}

TEST(gap_to_a_neighbour)
{
	char *p = growing(6 * MB, 4 * PG);
	char *n = mmap(p - 330 * PG, PG, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	CHECK(n != MAP_FAILED);
	EQ(touch(p - 60 * PG, true), 0);
	EQ(touch(p - 320 * PG, true), SIGSEGV); // 256 pages are kept between
	EQ(touch(p - 329 * PG, true), SIGSEGV);
	OK(mprotect(n, PG, PROT_NONE)); // what cannot be touched is a guard itself
	EQ(touch(p - 320 * PG, true), 0);
	EQ(touch(n, true), SIGSEGV);
}

TEST(gap_is_not_given_away)
{
	char *p = growing(6 * MB, 4 * PG);
	char *q = mmap(p - 16 * PG, 8 * PG, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); // a hint
	CHECK(q != MAP_FAILED);
	CHECK(q + 8 * PG <= p - 256 * PG || q >= p);
}

TEST(mapping_obeys_the_stack_limit)
{
	char *p = growing(6 * MB, 4 * PG);
	limit_stack(1 * MB);
	EQ(touch(p - 200 * PG, true), 0);
	EQ(touch(p - 260 * PG, true), SIGSEGV);
}

// SPDX-License-Identifier: Apache-2.0
// Threads that share a descriptor table and open, close, replace, flag and copy at the same time: every descriptor has one owner, the lowest
// free one is given, nothing is lost or kept.
#include <linux/close_range.h>
#include <pthread.h>
#include <sys/resource.h>

#include "tests/kernel/t.h"

enum { THREADS = 4, ROUNDS = 20000 };

static int source[THREADS]; // a file of each thread's own
static ino_t inode[THREADS];
static volatile bool stop;
static int lowest; // all below are open, and stay so

static int count_open(int n)
{
	int c = 0;
	for (int i = 0; i < n; i++)
		c += fcntl(i, F_GETFD) >= 0;
	return c;
}

// `base`: descriptors that are open at first.
static void prepare(int base)
{
	char name[] = "0";
	struct stat st;

	OK(close_range(3, ~0u, 0));
	for (int i = 0; i < THREADS; i++, name[0]++) {
		source[i] = OK(open(name, O_RDWR | O_CREAT, 0600));
		OK(fstat(source[i], &st));
		inode[i] = st.st_ino;
	}
	while ((lowest = OK(dup(source[0])) + 1) < base)
		;
}

static void run(void *(*fn)(void *), int n)
{
	pthread_t t[THREADS];

	for (long i = 0; i < n; i++)
		EQ(pthread_create(&t[i], NULL, fn, (void *)i), 0);
	for (int i = 0; i < n; i++)
		EQ(pthread_join(t[i], NULL), 0);
}

static void mine(int fd, long me)
{
	struct stat st;

	OK(fstat(fd, &st));
	EQ(st.st_ino, inode[me]);
}

// Each thread has two descriptors open at most: none may get one above what all of them can have.
static void *open_close(void *arg)
{
	long me = (long)arg;

	for (int i = 0; i < ROUNDS; i++) {
		int a = OK(dup(source[me])), b = OK(fcntl(source[me], F_DUPFD_CLOEXEC, 0));

		CHECK(a >= lowest && a < lowest + 2 * THREADS);
		CHECK(b >= lowest && b < lowest + 2 * THREADS);
		if (i % 16 == 0) {
			mine(a, me);
			mine(b, me);
			EQ(fcntl(a, F_GETFD), 0);
			EQ(fcntl(b, F_GETFD), FD_CLOEXEC);
		}
		OK(close(i & 1 ? a : b));
		OK(close(i & 1 ? b : a));
	}
	return NULL;
}

static void lowest_and_own(int base)
{
	prepare(base);
	int before = count_open(400);
	run(open_close, THREADS);
	EQ(count_open(400), before);
	EQ(dup(0), lowest);
}

TEST_DIR(lowest_and_own_in_first_word) { lowest_and_own(10); }
TEST_DIR(lowest_and_own_at_border) { lowest_and_own(61); }
TEST_DIR(lowest_and_own_at_second_border) { lowest_and_own(126); }
TEST_DIR(lowest_and_own_above) { lowest_and_own(300); }

// Holes far below each other: a thread takes what another gives back.
static void *holes(void *arg)
{
	long me = (long)arg;

	for (int i = 0; i < ROUNDS; i++) {
		int a = OK(dup(source[me]));
		mine(a, me);
		OK(close(a));
		CHECK(a == 50 || a == 70 || a == 130 || (a >= 200 && a < 200 + THREADS));
	}
	return NULL;
}

TEST_DIR(holes_are_filled)
{
	prepare(5);
	for (int i = 0; i < 200; i++)
		if (fcntl(i, F_GETFD) < 0)
			OK(dup2(0, i));
	OK(close(50));
	OK(close(70));
	OK(close(130));
	run(holes, THREADS);
	EQ(dup(0), 50);
	EQ(dup(0), 70);
	EQ(dup(0), 130);
	EQ(dup(0), 200);
}

// A descriptor that is replaced again and again is always open, and is one of the two files.
enum { TARGET = 40 };
static void *replace(void *arg)
{
	long me = (long)arg;

	for (int i = 0; i < ROUNDS; i++)
		EQ(dup3(source[me], TARGET, me ? O_CLOEXEC : 0), TARGET);
	stop = true;
	return NULL;
}

static void *look(void *arg)
{
	struct stat st;

	(void)arg;
	while (!stop) {
		OK(fstat(TARGET, &st));
		CHECK(st.st_ino == inode[0] || st.st_ino == inode[1]);
		OK(fcntl(TARGET, F_GETFD));
	}
	return NULL;
}

static void *replace_or_look(void *arg) { return (long)arg < 2 ? replace(arg) : look(arg); }

TEST_DIR(replaced_is_always_open)
{
	prepare(10);
	OK(dup2(source[0], TARGET));
	run(replace_or_look, 3);
	OK(close(TARGET));
	ERR(close(TARGET), EBADF);
}

// dup2 to a number that others open and close: whoever has it last has all of it. A pipe's writers are counted in the end: none was lost or kept.
static int pipe_end[2];
static void *fight(void *arg)
{
	long me = (long)arg;

	for (int i = 0; i < ROUNDS; i++) {
		if (me == 0) {
			EQ(dup2(pipe_end[1], lowest), lowest);
		} else if (me == 1) {
			close(lowest); // may be open or not
		} else {
			int fd = OK(dup(pipe_end[1]));
			if (fd != lowest)
				OK(close(fd));
		}
	}
	return NULL;
}

TEST_DIR(fight_for_one_number)
{
	char c;

	prepare(10);
	OK(pipe(pipe_end));
	OK(dup2(pipe_end[0], 100));
	OK(dup2(pipe_end[1], 101));
	OK(close(pipe_end[0]));
	OK(close(pipe_end[1]));
	pipe_end[0] = 100;
	pipe_end[1] = 101;
	run(fight, 4);
	for (int i = lowest; i < lowest + THREADS; i++)
		close(i);
	EQ(write(101, "x", 1), 1);
	OK(close(101));
	EQ(read(100, &c, 1), 1);
	EQ(read(100, &c, 1), 0); // the end: no writer is left
	for (int i = lowest; i < 60; i++)
		ERR(fcntl(i, F_GETFD), EBADF);
	EQ(dup(0), lowest);
}

// A child has the table as it was at one moment: a file that is moved between two numbers is at one of them or both.
static int at_low = 20, at_high = 90;
static void *move(void *arg)
{
	(void)arg;
	while (!stop) {
		EQ(dup2(at_low, at_high), at_high);
		OK(close(at_low));
		EQ(fcntl(at_high, F_DUPFD, at_low), at_low);
		OK(close(at_high));
	}
	return NULL;
}

static void *noise(void *arg)
{
	while (!stop) {
		int fd = OK(dup(source[(long)arg]));
		OK(close(fd));
	}
	return NULL;
}

static void *fork_some(void *arg)
{
	(void)arg;
	for (int i = 0; i < 300; i++) {
		pid_t p = OK(fork());
		if (!p)
			_exit(fcntl(at_low, F_GETFD) < 0 && fcntl(at_high, F_GETFD) < 0);
		int status;
		EQ(waitpid(p, &status, 0), p);
		EQ(status, 0);
	}
	stop = true;
	return NULL;
}

static void *forker(void *arg) { return (long)arg == 0 ? fork_some(arg) : (long)arg == 1 ? move(arg) : noise(arg); }

TEST_DIR(fork_copies_one_moment)
{
	prepare(10);
	OK(dup2(source[0], at_low));
	run(forker, 3);
	OK(close(at_low));
	ERR(close(at_high), EBADF);
	EQ(dup(0), lowest);
}

// A process that closes all, and a table of its own, while the others go on.
static void *unshare_some(void *arg)
{
	long me = (long)arg;

	if (me) {
		while (!stop) {
			int fd = OK(dup(source[me]));
			mine(fd, me);
			OK(close(fd));
		}
		return NULL;
	}
	for (int i = 0; i < 300; i++) {
		pid_t p = OK(fork());
		if (!p) {
			OK(close_range(3, ~0u, CLOSE_RANGE_UNSHARE));
			_exit(dup(0) != 3);
		}
		int status;
		EQ(waitpid(p, &status, 0), p);
		EQ(status, 0);
	}
	OK(close_range(3, ~0u, CLOSE_RANGE_UNSHARE | CLOSE_RANGE_CLOEXEC));
	EQ(fcntl(source[1], F_GETFD), FD_CLOEXEC);
	OK(close_range(3, ~0u, 0));
	ERR(fcntl(source[1], F_GETFD), EBADF);
	stop = true;
	return NULL;
}

TEST_DIR(own_table_beside_others)
{
	prepare(10);
	run(unshare_some, 3);
	EQ(fcntl(source[1], F_GETFD), 0);
	EQ(dup(0), lowest);
}

// The limit is never passed and always reached.
static int got[THREADS];
static void *all_there_are(void *arg)
{
	long me = (long)arg;
	int fd;

	while ((fd = dup(source[me])) >= 0) {
		CHECK(fd < 150);
		got[me]++;
	}
	EQ(errno, EMFILE);
	return NULL;
}

TEST_DIR(limit_is_shared)
{
	struct rlimit r = {150, 150};
	int sum = 0;

	prepare(10);
	int before = count_open(150);
	OK(setrlimit(RLIMIT_NOFILE, &r));
	run(all_there_are, THREADS);
	for (int i = 0; i < THREADS; i++)
		sum += got[i];
	EQ(sum, 150 - before);
	EQ(count_open(150), 150);
	OK(close(77));
	EQ(dup(0), 77);
	ERR(dup(0), EMFILE);
}

// Flags belong to the descriptor, not to the number: one that was closed leaves none behind.
static void *flag(void *arg)
{
	long me = (long)arg;

	for (int i = 0; i < ROUNDS; i++) {
		int fd = OK(dup(source[me]));
		EQ(fcntl(fd, F_GETFD), 0);
		if (me & 1) {
			OK(fcntl(fd, F_SETFD, FD_CLOEXEC));
			EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
		}
		OK(close(fd));
	}
	return NULL;
}

TEST_DIR(flags_go_with_the_descriptor)
{
	prepare(10);
	run(flag, THREADS);
}

// Many descriptors: room is made while others read and close.
static void *many(void *arg)
{
	static int fds[THREADS][700];
	long me = (long)arg;

	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < 700; i++) {
			fds[me][i] = OK(dup(source[me]));
			if (i % 8 == 0)
				mine(fds[me][i / 2], me);
		}
		for (int i = 0; i < 700; i++)
			OK(close(fds[me][i]));
	}
	return NULL;
}

TEST_DIR(room_is_made_while_others_work)
{
	struct rlimit r = {4096, 4096};

	OK(setrlimit(RLIMIT_NOFILE, &r));
	prepare(10);
	run(many, THREADS);
	EQ(dup(0), lowest);
	EQ(dup(0), lowest + 1);
}

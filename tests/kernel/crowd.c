// SPDX-License-Identifier: Apache-2.0
// Threads and processes at the same objects at the same time: readers of one file while it changes, descriptors of one table,
// names that come and go under those who walk past them. Each repeats what would go wrong only sometimes.
#include "tests/kernel/t.h"
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/mman.h>

static _Atomic int *stop; // shared with children
static _Atomic long *turns;

static void shared_begin(void)
{
	char *m = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(m != MAP_FAILED);
	stop = (_Atomic int *)m;
	turns = (_Atomic long *)(m + 64);
}

static pthread_t crew[8];
static pid_t kids[8];
static int ncrew, nkids;

static void start(void *(*fn)(void *), long arg, bool process)
{
	if (!process) {
		CHECK(!pthread_create(&crew[ncrew++], NULL, fn, (void *)arg));
		return;
	}
	pid_t p = OK(fork());
	if (!p) {
		fn((void *)arg);
		_exit(0);
	}
	kids[nkids++] = p;
}

static void finish(void)
{
	atomic_store(stop, 1);
	while (ncrew)
		CHECK(!pthread_join(crew[--ncrew], NULL));
	while (nkids) {
		int st;
		EQ(waitpid(kids[--nkids], &st, 0), kids[nkids]);
		EQ(st, 0);
	}
}

enum { PAGES = 40 };

// What was written (letters), or zero where nothing is: never what memory held before.
static void *reads(void *arg)
{
	static __thread char buf[PAGES * 4096];
	int fd = OK(open("same", O_RDONLY));
	unsigned seed = (unsigned)(long)arg;
	while (!atomic_load(stop)) {
		size_t off = (size_t)rand_r(&seed) % (PAGES * 4096), want = (size_t)rand_r(&seed) % sizeof(buf) + 1;
		ssize_t n = OK(pread(fd, buf, want, (off_t)off));
		for (ssize_t i = 0; i < n; i++)
			if (buf[i] && (buf[i] < 'a' || buf[i] > 'z'))
				t_fail(__LINE__, "byte %zd of the file is %#x", (ssize_t)off + i, (unsigned char)buf[i]);
		atomic_fetch_add(turns, 1);
	}
	OK(close(fd));
	return NULL;
}

static void changes(int rounds)
{
	static char text[PAGES * 4096];
	int fd = OK(open("same", O_RDWR));
	unsigned seed = 5;
	for (int i = 0; i < rounds; i++) {
		size_t off = (size_t)rand_r(&seed) % (PAGES * 4096), n = (size_t)rand_r(&seed) % (PAGES * 4096 - off) + 1;
		memset(text, 'a' + i % 26, n);
		switch (rand_r(&seed) % 6) {
		case 0: OK(ftruncate(fd, (off_t)off)); break;
		case 1: OK(ftruncate(fd, PAGES * 4096)); break;
		case 2: OK(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)off, (off_t)n)); break;
		default: EQ(pwrite(fd, text, n, (off_t)off), n);
		}
		if (i % 8 == 0) // a file with other tables
			EQ(pwrite(fd, text, 1, (off_t)rand_r(&seed) % (8 << 20)), 1);
		if (i % 16 == 0)
			OK(ftruncate(fd, 0));
	}
	OK(close(fd));
}

static void readers_and_a_changer(bool processes)
{
	shared_begin();
	OK(close(OK(open("same", O_CREAT | O_RDWR, 0600))));
	for (long i = 0; i < 3; i++)
		start(reads, i + 1, processes);
	for (int i = 0; i < 40 || atomic_load(turns) < 100; i++)
		changes(20);
	finish();
}

TEST_DIR(threads_read_a_file_that_changes) { readers_and_a_changer(false); }
TEST_DIR(processes_read_a_file_that_changes) { readers_and_a_changer(true); }

static void *maps_and_reads(void *arg)
{
	int fd = OK(open("same", O_RDWR));
	while (!atomic_load(stop)) {
		char c, *m = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		CHECK(m != MAP_FAILED);
		m[100] = 'm';
		EQ(pread(fd, &c, 1, 100), 1);
		CHECK(c == 'm');
		OK(munmap(m, 8192));
		atomic_fetch_add(turns, 1);
	}
	OK(close(fd));
	return arg;
}

TEST_DIR(mappings_and_readers)
{
	shared_begin();
	int fd = OK(open("same", O_CREAT | O_RDWR, 0600));
	OK(ftruncate(fd, PAGES * 4096));
	start(maps_and_reads, 0, false);
	start(maps_and_reads, 0, true);
	start(reads, 3, false);
	start(reads, 4, true);
	while (atomic_load(turns) < 2000)
		sched_yield();
	finish();
}

// --- descriptors

static void *opens(void *arg)
{
	char name[16], c;
	snprintf(name, sizeof(name), "f%ld", (long)arg);
	for (int i = 0; i < 3000; i++) {
		int fd = OK(open(name, O_RDONLY | (i & 1 ? O_CLOEXEC : 0)));
		int d = i % 3 ? -1 : OK(dup(fd));
		EQ(fcntl(fd, F_GETFD), i & 1);
		EQ(pread(fd, &c, 1, 0), 1);
		EQ(c, 'a' + (long)arg); // our file and no neighbour's
		if (d >= 0) {
			EQ(pread(d, &c, 1, 0), 1);
			EQ(c, 'a' + (long)arg);
			OK(close(d));
			ERR(fcntl(999999, F_GETFD), EBADF);
		}
		OK(close(fd));
	}
	return NULL;
}

static void *grows(void *arg) // the table, again and again in children that copy it meanwhile
{
	for (int i = 0; i < 40; i++) {
		pid_t p = OK(fork());
		if (!p) {
			int fd = fcntl(0, F_DUPFD, 60 + i * 20);
			_exit(fd >= 60 + i * 20 ? 0 : 1);
		}
		int st;
		EQ(waitpid(p, &st, 0), p);
		EQ(st, 0);
	}
	return arg;
}

static int open_now(void)
{
	DIR *d = opendir("/proc/self/fd");
	int n = 0;
	CHECK(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

TEST_DIR(threads_open_and_close)
{
	shared_begin();
	int before = open_now();
	for (long i = 0; i < 4; i++) {
		char name[16], c = (char)('a' + i);
		snprintf(name, sizeof(name), "f%ld", i);
		int fd = OK(open(name, O_CREAT | O_RDWR, 0600));
		EQ(write(fd, &c, 1), 1);
		OK(close(fd));
	}
	for (long i = 0; i < 4; i++)
		start(opens, i, false);
	start(grows, 0, false);
	finish();
	EQ(open_now(), before);
	int low = OK(dup(0)); // nothing was lost below
	OK(close(low));
	EQ(OK(dup(0)), low);
}

// The lowest free numbers are given out, each once.
static _Atomic int taken[4096];

static void *takes(void *arg)
{
	int mine[100];
	for (int i = 0; i < 100; i++) {
		mine[i] = OK(dup(0));
		CHECK(mine[i] < 4096);
		EQ(atomic_fetch_add(&taken[mine[i]], 1), 0);
	}
	return arg;
}

TEST(numbers_are_dense_and_unique)
{
	shared_begin();
	bool was[1024];
	for (int i = 0; i < 1024; i++)
		was[i] = fcntl(i, F_GETFD) >= 0;
	for (int i = 0; i < 4; i++)
		start(takes, 0, false);
	finish();
	for (int i = 0, n = 0; n < 400; i++, n += !was[i - 1])
		EQ(taken[i], !was[i]);
}

// --- names

static void *creates(void *arg)
{
	char dir[16], a[32], b[32], c = 'x';
	snprintf(dir, sizeof(dir), "d%ld", (long)arg);
	if (mkdir(dir, 0700))
		EQ(errno, EEXIST);
	snprintf(a, sizeof(a), "%s/a", dir);
	snprintf(b, sizeof(b), "%s/b", dir);
	for (int i = 0; i < 1500; i++) {
		struct stat st;
		int fd = OK(open(a, O_CREAT | O_EXCL | O_WRONLY, 0600));
		EQ(write(fd, &c, 1), 1);
		OK(close(fd));
		ERR(open(a, O_CREAT | O_EXCL | O_WRONLY, 0600), EEXIST);
		OK(rename(a, b));
		ERR(stat(a, &st), ENOENT);
		OK(stat(b, &st));
		EQ(st.st_size, 1);
		OK(unlink(b));
		ERR(unlink(b), ENOENT);
	}
	return NULL;
}

static void *looks(void *arg)
{
	static const char *const names[] = {"d0/a", "d0/b", "d1/a", "d1/b", "d2/a", "common/0", "common/3", "d0"};
	unsigned seed = (unsigned)(long)arg;
	while (!atomic_load(stop)) {
		struct stat st;
		const char *n = names[rand_r(&seed) % 8];
		char c;
		int fd;
		if (stat(n, &st))
			CHECK(errno == ENOENT);
		else
			CHECK(S_ISREG(st.st_mode) ? st.st_size <= 1 && st.st_nlink <= 1 : S_ISDIR(st.st_mode));
		if ((fd = open(n, O_RDONLY)) >= 0) {
			char link[64], to[300];
			snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
			ssize_t len = OK(readlink(link, to, sizeof(to) - 1));
			to[len] = 0;
			CHECK(strstr(to, "/d") || strstr(to, "/common/"));
			if (!fstat(fd, &st) && S_ISREG(st.st_mode) && read(fd, &c, 1) == 1)
				EQ(c, 'x');
			OK(close(fd));
		} else {
			CHECK(errno == ENOENT);
		}
		atomic_fetch_add(turns, 1);
	}
	return NULL;
}

static void names_come_and_go(bool processes)
{
	shared_begin();
	for (long i = 0; i < 2; i++)
		start(looks, i + 1, !processes);
	pid_t p[3];
	pthread_t t[3];
	for (long i = 0; i < 3; i++)
		if (!processes) {
			CHECK(!pthread_create(&t[i], NULL, creates, (void *)i));
		} else if (!(p[i] = OK(fork()))) {
			creates((void *)i);
			_exit(0);
		}
	for (int i = 0; i < 3; i++)
		if (!processes) {
			CHECK(!pthread_join(t[i], NULL));
		} else {
			int st;
			EQ(waitpid(p[i], &st, 0), p[i]);
			EQ(st, 0);
		}
	finish();
}

TEST_DIR(threads_create_and_unlink) { names_come_and_go(false); }
TEST_DIR(processes_create_and_unlink) { names_come_and_go(true); }

// All in one directory, which is removed and made again under them.
static void *one_directory(void *arg)
{
	char name[32];
	snprintf(name, sizeof(name), "common/%ld", (long)arg);
	for (int i = 0; i < 1500; i++) {
		int fd = open(name, O_CREAT | O_WRONLY, 0600);
		if (fd < 0) {
			CHECK(errno == ENOENT);
			if (mkdir("common", 0700))
				CHECK(errno == EEXIST);
			continue;
		}
		OK(close(fd));
		OK(unlink(name)); // ours: as long as it is in there the directory stays
		if (i % 4 == 0 && rmdir("common"))
			CHECK(errno == ENOTEMPTY || errno == ENOENT);
	}
	return NULL;
}

TEST_DIR(a_directory_goes_under_those_who_create)
{
	shared_begin();
	start(looks, 1, false);
	start(looks, 2, true);
	pthread_t t[3];
	for (long i = 0; i < 3; i++)
		CHECK(!pthread_create(&t[i], NULL, one_directory, (void *)i));
	for (int i = 0; i < 3; i++)
		CHECK(!pthread_join(t[i], NULL));
	finish();
	if (rmdir("common"))
		EQ(errno, ENOENT);
}

// One name that several want: each gets it or the right error, and the file is as often there as it was made.
static _Atomic long *made;

static void *fights(void *arg)
{
	for (int i = 0; i < 2000; i++) {
		int fd = open("prize", O_CREAT | O_EXCL | O_WRONLY, 0600);
		if (fd >= 0) {
			atomic_fetch_add(made, 1);
			OK(close(fd));
		} else {
			CHECK(errno == EEXIST);
		}
		if (!unlink("prize"))
			atomic_fetch_sub(made, 1);
		else
			CHECK(errno == ENOENT);
	}
	return arg;
}

TEST_DIR(one_name_for_all)
{
	shared_begin();
	made = turns;
	for (long i = 0; i < 4; i++)
		start(fights, i, i & 1);
	while (ncrew)
		CHECK(!pthread_join(crew[--ncrew], NULL));
	finish();
	EQ(atomic_load(made), access("prize", F_OK) ? 0 : 1);
}

// --- a file that is renamed under those who have it open: they see a name that it had, never part of one

static void *renames(void *arg)
{
	static const char *const names[] = {"d0/a", "d1/a_name_that_is_longer_than_what_fits_beside_the_others", "d0/bbbbbbbb", "d1/c"};
	for (int i = 0; i < 4000; i++)
		OK(rename(names[i % 4], names[(i + 1) % 4]));
	atomic_store(stop, 1);
	return arg;
}

static void *asks_for_its_name(void *arg)
{
	static const char *const ends[] = {"/d0/a", "/d1/a_name_that_is_longer_than_what_fits_beside_the_others", "/d0/bbbbbbbb", "/d1/c"};
	char link[64], to[600];
	snprintf(link, sizeof(link), "/proc/self/fd/%d", (int)(long)arg);
	while (!atomic_load(stop)) {
		ssize_t n = OK(readlink(link, to, sizeof(to) - 1));
		bool good = false;
		to[n] = 0;
		for (int i = 0; i < 4; i++)
			good |= (size_t)n > strlen(ends[i]) && !strcmp(to + n - strlen(ends[i]), ends[i]);
		if (!good)
			t_fail(__LINE__, "it is called %s", to);
	}
	return NULL;
}

TEST_DIR(names_of_a_renamed_file)
{
	shared_begin();
	OK(mkdir("d0", 0700));
	OK(mkdir("d1", 0700));
	int fd = OK(open("d0/a", O_CREAT | O_RDWR, 0600));
	start(asks_for_its_name, fd, false);
	start(asks_for_its_name, fd, true);
	start(looks, 3, false);
	renames(NULL);
	finish();
}

// --- signals to a process whose threads block and unblock them: each comes once

enum { SENT = 3000 };
static _Atomic int came;
static void count_it(int sig)
{
	(void)sig;
	atomic_fetch_add(&came, 1);
}

static void *blocks(void *arg)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN);
	while (!atomic_load(stop)) {
		pthread_sigmask(SIG_BLOCK, &set, NULL);
		if ((long)arg == 1)
			sched_yield();
		pthread_sigmask(SIG_UNBLOCK, &set, NULL);
	}
	return NULL;
}

static void *sends(void *arg)
{
	for (int i = 0; i < SENT; i++)
		while (sigqueue((pid_t)(long)arg, SIGRTMIN, (union sigval){.sival_int = i})) {
			CHECK(errno == EAGAIN);
			sched_yield();
		}
	return NULL;
}

TEST(signals_and_masks)
{
	shared_begin();
	struct sigaction sa = {.sa_handler = count_it, .sa_flags = SA_RESTART};
	OK(sigaction(SIGRTMIN, &sa, NULL));
	pid_t me = getpid();
	for (long i = 0; i < 3; i++)
		start(blocks, i, false);
	pid_t p = OK(fork());
	if (!p) {
		sends((void *)(long)me);
		_exit(0);
	}
	sigset_t set; // the threads alone must take them
	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN);
	CHECK(!pthread_sigmask(SIG_BLOCK, &set, NULL));
	int st;
	EQ(waitpid(p, &st, 0), p);
	EQ(st, 0);
	while (atomic_load(&came) < SENT)
		sched_yield();
	finish();
	EQ(came, SENT);
}

// --- threads and processes that are looked for while they end

static void *short_lived(void *arg)
{
	atomic_store((_Atomic int *)arg, (int)syscall(SYS_gettid));
	return NULL;
}

static _Atomic int who[2];

static void *pokes(void *arg)
{
	while (!atomic_load(stop)) {
		int tid = atomic_load(&who[(long)arg & 1]);
		cpu_set_t set;
		if (tid && syscall(SYS_tgkill, getpid(), tid, 0))
			CHECK(errno == ESRCH);
		if (tid && sched_getaffinity(tid, sizeof(set), &set))
			CHECK(errno == ESRCH);
		if (tid && kill(tid, 0))
			CHECK(errno == ESRCH);
	}
	return NULL;
}

TEST(threads_end_while_they_are_sought)
{
	shared_begin();
	for (long i = 0; i < 2; i++)
		start(pokes, i, false);
	for (int i = 0; i < 1500; i++) {
		pthread_t t;
		CHECK(!pthread_create(&t, NULL, short_lived, &who[0]));
		CHECK(!pthread_join(t, NULL));
		if (i % 20 == 0) {
			pid_t p = OK(fork());
			if (!p)
				_exit(0);
			atomic_store(&who[1], p);
			int st;
			EQ(waitpid(p, &st, 0), p);
		}
	}
	finish();
}

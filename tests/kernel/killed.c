// SPDX-License-Identifier: Apache-2.0
// Processes that are killed while they write files: what their calls said was written is there, half a call at most is more than
// that, their locks are free, and the others go on. Also on a sealed volume (tests/e2e/refusals/sealed), where the host kills too.
#include "tests/kernel/t.h"
#include <sys/file.h>
#include <sys/mman.h>

enum { WRITERS = 3, ROUNDS = 12, WORDS = 400 };
struct record {
	uint64_t number, words[WORDS]; // all of them number * 7 + place
};
static struct {
	volatile long written, replaced; // what the calls of this writer have said
} *said;


static const char *name(char what, int who)
{
	static char at[8];
	snprintf(at, sizeof(at), "%c%d", what, who);
	return at;
}

static void fill(struct record *r, uint64_t number)
{
	r->number = number;
	for (int i = 0; i < WORDS; i++)
		r->words[i] = number * 7 + (uint64_t)i;
}

// Goes on where the one before was killed: appends records to one file, writes the number of the last into another and replaces it.
static void writer(int who)
{
	int fd = OK(open(name('w', who), O_RDWR | O_CREAT | O_APPEND, 0600));
	struct record r;
	char next[8];
	OK(flock(fd, LOCK_EX | LOCK_NB)); // a dead writer has none
	OK(ftruncate(fd, (off_t)((size_t)said[who].written * sizeof(r))));
	for (uint64_t n = (uint64_t)said[who].written;; n++) {
		fill(&r, n);
		EQ(write(fd, &r, sizeof(r)), sizeof(r));
		said[who].written = (long)n + 1;
		if (n % 64 == 5)
			OK(fsync(fd));
		usleep(500); // files stay small, and the host finds most writers at rest (hosted)
		if (n % 4)
			continue;
		strcpy(next, name('n', who));
		int m = OK(open(next, O_WRONLY | O_CREAT | O_TRUNC, 0600));
		EQ(write(m, &r, sizeof(r)), sizeof(r));
		close(m);
		OK(rename(next, name('r', who)));
		said[who].replaced = (long)n;
	}
}

static void same_record(const struct record *r, uint64_t number)
{
	struct record want;
	fill(&want, number);
	EQ(r->number, number);
	EQ(memcmp(r, &want, sizeof(want)), 0);
}

static void verify(int who)
{
	int fd = OK(open(name('w', who), O_RDONLY));
	long n = 0;
	struct record r;
	size_t got;
	while ((got = t_readn(fd, &r, sizeof(r))) == sizeof(r))
		same_record(&r, (uint64_t)n++);
	CHECK(n == said[who].written || n == said[who].written + 1);
	CHECK(n == said[who].written || got == 0);
	OK(flock(fd, LOCK_EX | LOCK_NB));
	close(fd);
	fd = OK(open(name('r', who), O_RDONLY));
	EQ(t_readn(fd, &r, sizeof(r)), sizeof(r));
	CHECK(r.number % 4 == 0 && (long)r.number >= said[who].replaced && (long)r.number <= said[who].written);
	same_record(&r, r.number);
	EQ(read(fd, &r, 1), 0);
	close(fd);
}

static pid_t start(int who)
{
	pid_t p = OK(fork());
	if (!p)
		writer(who);
	return p;
}

static void writes(int who)
{
	long was = said[who].written, replaced = said[who].replaced;
	while (said[who].written < was + 8 || said[who].replaced == replaced)
		t_sleep_ms(1);
}

static void start_all(pid_t *pid)
{
	said = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(said != MAP_FAILED);
	for (int i = 0; i < WRITERS; i++) {
		said[i].replaced = -1;
		pid[i] = start(i);
	}
}

TEST_DIR(writers)
{
	pid_t pid[WRITERS];
	start_all(pid);
	for (int k = 0; k < ROUNDS; k++) {
		for (int i = 0; i < WRITERS; i++)
			writes(i); // all of them, since another was killed
		int who = k % WRITERS;
		OK(kill(pid[who], SIGKILL));
		EQ(t_wait(pid[who]), 128 + SIGKILL);
		verify(who);
		pid[who] = start(who);
	}
	for (int i = 0; i < WRITERS; i++) {
		t_end(pid[i]);
		verify(i);
	}
}

// For some seconds the host may kill (tests/e2e/refusals/sealed); it begins when this has said `ready`.
HELPER(hosted)
{
	pid_t pid[WRITERS];
	int deaths = 0;
	OK(chdir(argv[1]));
	puts("ready");
	fflush(stdout);
	t_sleep_ms(500);
	start_all(pid);
	for (time_t end = time(NULL) + 3; time(NULL) < end; t_sleep_ms(1)) {
		for (int i = 0, st; i < WRITERS; i++) {
			if (waitpid(pid[i], &st, WNOHANG) != pid[i])
				continue;
			CHECK(WIFSIGNALED(st) && WTERMSIG(st) == SIGKILL);
			deaths++;
			if (said[i].replaced >= 0)
				verify(i);
			pid[i] = start(i);
		}
	}
	for (int i = 0; i < WRITERS; i++) {
		writes(i);
		t_end(pid[i]);
		verify(i);
	}
	sync();
	printf("whole after %d deaths\n", deaths);
	return 0;
}

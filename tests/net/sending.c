// SPDX-License-Identifier: Apache-2.0
// Files that are sent out of the enclave by sendfile(2), again and again, while they change: run natively and inside (tests/net/run). Both ends of
// each connection are here, and the host is between them: a receiver gets what was in the file when it was sent, whatever the sender keeps of it.
#include "tests/kernel/t.h"
#include <arpa/inet.h>
#include <linux/falloc.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>

#define OUT4 "198.51.100.1"
enum { PUBLISHED = 7000, PAGE = 4096, N = 300000 };
#define ADDR(a) (struct sockaddr *)&(a), sizeof(a)

static int listener = -1;

// A connection that goes through the host; buf: of each end's buffers, 0: as they come.
static void join(int *out, int *in, int buf)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(PUBLISHED)};
	if (listener < 0) {
		listener = OK(socket(AF_INET, SOCK_STREAM, 0));
		OK(setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int)));
		OK(bind(listener, ADDR(a)));
		OK(listen(listener, 128));
	}
	inet_pton(AF_INET, OUT4, &a.sin_addr);
	*out = OK(socket(AF_INET, SOCK_STREAM, 0));
	if (buf)
		OK(setsockopt(*out, SOL_SOCKET, SO_SNDBUF, &buf, sizeof(buf)));
	OK(connect(*out, ADDR(a)));
	*in = OK(accept(listener, NULL, NULL));
	if (buf)
		OK(setsockopt(*in, SOL_SOCKET, SO_RCVBUF, &buf, sizeof(buf)));
}

// What byte `at` of version v is: no two pages are alike.
static unsigned char byte_of(unsigned v, size_t at) { return (unsigned char)(((at + 1) * 2654435761u + v * 40503u) >> 13 ^ v) | 1; }

static void contents(unsigned char *b, unsigned v, size_t n)
{
	for (size_t k = 0; k < n; k++)
		b[k] = byte_of(v, k);
}

struct sending {
	int out, in, file;
	off_t at;
	size_t n;
};

static void *send_all(void *arg)
{
	struct sending *s = arg;
	while (s->n) {
		ssize_t r = OK(sendfile(s->out, s->file, &s->at, s->n));
		CHECK(r > 0);
		s->n -= (size_t)r;
	}
	return NULL;
}

// n bytes of the file from `at` on arrive as they are in `want`.
static void arrives(struct sending s, const unsigned char *want)
{
	static unsigned char back[N];
	size_t n = s.n;
	pthread_t t;
	ZERO(pthread_create(&t, NULL, send_all, &s));
	EQ(t_readn(s.in, back, n), n);
	ZERO(pthread_join(t, NULL));
	for (size_t k = 0; k < n; k++)
		if (back[k] != want[k])
			t_fail(__LINE__, "byte %zu of %zu is %#x and not %#x", k, n, back[k], want[k]);
}

enum change { WRITE, WRITE_IN_PIECES, APPEND, TRUNCATE, CUT, GROW, STORE, STORE_MAPPED, PUNCH, OTHER_PROCESS, RENAME, DELETED, COPIED, CHANGES };

// Changes the file as `how` says, and what it holds: *n bytes of b.
static void change(enum change how, int *file, const char *name, unsigned char *b, size_t *n, unsigned v)
{
	static unsigned char *mapped;
	char other[310];
	unsigned char *p;
	switch (how) {
	case WRITE:
	case OTHER_PROCESS:
		b[140000] ^= 8;
		if (how == WRITE || !fork()) {
			EQ(pwrite(*file, &b[140000], 1, 140000), 1);
			if (how == OTHER_PROCESS)
				_exit(0);
		} else {
			EQ(wait(NULL) > 0, 1);
		}
		break;
	case WRITE_IN_PIECES: { // from memory that was never touched, page by page
		p = mmap(NULL, *n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		memset(b, 0, *n);
		b[5] = p[5] = 5;
		EQ(pwrite(*file, p, *n, 0), *n);
		OK(munmap(p, *n));
		break;
	}
	case APPEND:
		contents(b + *n, v, 10000);
		EQ(pwrite(*file, b + *n, 10000, (off_t)*n), 10000);
		*n += 10000;
		break;
	case TRUNCATE:
		contents(b, v, *n);
		OK(ftruncate(*file, 0));
		EQ(pwrite(*file, b, *n, 0), *n);
		break;
	case CUT:
		*n -= 50001;
		OK(ftruncate(*file, (off_t)*n));
		break;
	case GROW:
		memset(b + *n, 0, 20000);
		*n += 20000;
		OK(ftruncate(*file, (off_t)*n));
		break;
	case STORE:
		p = mmap(NULL, *n, PROT_READ | PROT_WRITE, MAP_SHARED, *file, 0);
		CHECK(p != MAP_FAILED);
		p[131072] = b[131072] ^= 16;
		OK(munmap(p, *n));
		break;
	case STORE_MAPPED:
		if (!mapped)
			mapped = mmap(NULL, *n, PROT_READ | PROT_WRITE, MAP_SHARED, *file, 0);
		CHECK(mapped != MAP_FAILED);
		mapped[77777] = b[77777] ^= 32;
		break;
	case PUNCH:
		memset(b + 5000, 0, 150000);
		OK(fallocate(*file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 5000, 150000));
		break;
	case RENAME: {
		snprintf(other, sizeof(other), "%s.new", name);
		int f = OK(open(other, O_RDWR | O_CREAT | O_TRUNC, 0600));
		contents(b, v, *n);
		EQ(write(f, b, *n), *n);
		OK(rename(other, name));
		close(*file);
		*file = f;
		break;
	}
	case DELETED:
		unlink(name); // a second time it is not there
		break;
	case COPIED: {
		loff_t from = 90000 + v * 40, to = 3000;
		memmove(b + to, b + from, 70000);
		EQ(copy_file_range(*file, &from, *file, &to, 70000, 0), 70000);
		break;
	}
	default: break;
	}
}

static void changed_between(const char *folder)
{
	static unsigned char b[N];
	struct sending s = {.n = 0};
	char name[300];
	join(&s.out, &s.in, 0);
	for (enum change how = 0; how < CHANGES; how++) {
		size_t n = 200000;
		snprintf(name, sizeof(name), "%s/file", folder ? folder : "");
		s.file = OK(folder ? open(name, O_RDWR | O_CREAT | O_TRUNC, 0600) : memfd_create("file", 0));
		if (!folder && (how == RENAME || how == DELETED))
			continue;
		contents(b, (unsigned)how, n);
		EQ(write(s.file, b, n), n);
		for (unsigned v = 1; v < 4; v++) {
			for (int k = 0; k < 4; k++) {
				s.at = k == 3 ? 30000 : 0; // the last time not all of it
				s.n = n - (size_t)s.at * 2;
				if (k == 2 && folder) { // read from storage anew, where there is one
					OK(fsync(s.file));
					ZERO(posix_fadvise(s.file, 0, 0, POSIX_FADV_DONTNEED));
				}
				arrives(s, b + s.at);
			}
			change(how, &s.file, name, b, &n, v * 100);
		}
		s.at = 0;
		s.n = n;
		arrives(s, b);
		close(s.file);
	}
}

TEST_DIR(changed_between) { changed_between("."); }
TEST_DIR(changed_between_on_a_volume) { changed_between(getenv("COFFER_INSIDE") ? "/data" : "."); }
TEST(changed_between_in_memory) { changed_between(NULL); }

// In pieces of all kinds, which overlap: what is kept of a piece grows, and is replaced.
TEST(pieces)
{
	static const size_t piece[][2] = {{0, 40000}, {40000, 40000}, {80000, 60000}, {140000, 60000}, {20000, 30000},
		{100000, 9000}, {131072, 8192}, {131000, 20000}, {8192, 100000}, {0, 200000}};
	static unsigned char b[N];
	struct sending s = {.file = OK(memfd_create("file", 0))};
	join(&s.out, &s.in, 0);
	contents(b, 9, N);
	EQ(write(s.file, b, N), N);
	for (size_t round = 0; round < 60; round++) {
		const size_t *p = piece[round * (round / 10 + 1) % 10];
		s.at = (off_t)p[0];
		s.n = p[1];
		arrives(s, b + p[0]);
	}
}

// A file of the image, or of the disk.
TEST(the_program_itself)
{
	static unsigned char b[100000];
	struct sending s = {.file = OK(open(t_self, O_RDONLY))};
	join(&s.out, &s.in, 0);
	size_t n = (size_t)OK(read(s.file, b, sizeof(b)));
	for (int k = 0; k < 5; k++) {
		s.at = 0;
		s.n = n;
		arrives(s, b);
	}
}

// What was sent and is not received yet stays what it was when the file gets other contents, in other pages.
TEST(in_flight)
{
	enum { VERSIONS = 40, LEN = 100000 };
	static unsigned char b[LEN], back[LEN];
	struct sending s = {.file = OK(memfd_create("file", 0))};
	int out[VERSIONS], in[VERSIONS];
	ssize_t sent[VERSIONS];
	join(&s.out, &s.in, 0);
	for (unsigned v = 0; v < VERSIONS; v++) {
		OK(ftruncate(s.file, 0));
		contents(b, v, LEN);
		EQ(pwrite(s.file, b, LEN, 0), LEN);
		for (int k = 0; k < 3; k++) {
			s.at = 0;
			s.n = LEN;
			arrives(s, b);
		}
		join(&out[v], &in[v], 0);
		OK(fcntl(out[v], F_SETFL, O_NONBLOCK));
		sent[v] = OK(sendfile(out[v], s.file, &(off_t){0}, LEN));
	}
	for (unsigned v = 0; v < VERSIONS; v++) {
		EQ(t_readn(in[v], back, (size_t)sent[v]), sent[v]);
		contents(b, v, LEN);
		CHECK(!memcmp(back, b, (size_t)sent[v]));
	}
}

// More files than anybody keeps, in changing order, and receivers that take their time.
TEST(many_files)
{
	enum { FILES = 600, LEN = 12000, LATE = 50 };
	static unsigned char b[LEN], back[LEN];
	static int file[FILES];
	int out[LATE], in[LATE], late[LATE];
	struct sending s = {.n = 0};
	join(&s.out, &s.in, 0);
	for (int k = 0; k < LATE; k++) {
		join(&out[k], &in[k], 0);
		late[k] = -1;
	}
	for (unsigned k = 0; k < FILES; k++) {
		file[k] = OK(memfd_create("file", 0));
		contents(b, k, LEN);
		EQ(write(file[k], b, LEN), LEN);
	}
	for (unsigned round = 0, x = 1; round < 8 * FILES; round++) {
		unsigned f = round < 3 * FILES ? round % FILES : (x = x * 1664525u + 1013904223u) >> 10, l = round % LATE;
		f %= FILES;
		contents(b, f, LEN);
		s.file = file[f];
		EQ(sendfile(s.out, file[f], &(off_t){0}, LEN), LEN);
		EQ(t_readn(s.in, back, LEN), LEN);
		CHECK(!memcmp(back, b, LEN));
		if (late[l] >= 0) { // sent LATE rounds ago
			contents(b, (unsigned)late[l], LEN);
			EQ(t_readn(in[l], back, LEN), LEN);
			CHECK(!memcmp(back, b, LEN));
		}
		EQ(sendfile(out[l], file[f], &(off_t){0}, LEN), LEN);
		late[l] = (int)f;
	}
}

static void *send_once(void *arg)
{
	struct sending *s = arg;
	s->n = (size_t)OK(sendfile(s->out, s->file, &s->at, s->n));
	OK(shutdown(s->out, SHUT_WR));
	return NULL;
}

// The file becomes shorter while it is sent: what is no longer there does not arrive as zeroes.
TEST(cut_meanwhile)
{
	enum { LEN = 8 << 20, KEEP = 64 * PAGE };
	static unsigned char b[LEN];
	for (int round = 0; round < 4; round++) {
		struct sending s = {.file = OK(memfd_create("file", 0)), .n = LEN};
		pthread_t t;
		size_t got = 0;
		join(&s.out, &s.in, 30000);
		memset(b, 0xaa, sizeof(b));
		EQ(write(s.file, b, LEN), LEN);
		ZERO(pthread_create(&t, NULL, send_once, &s));
		EQ(recv(s.in, b, 1, MSG_PEEK), 1);
		OK(ftruncate(s.file, KEEP));
		for (ssize_t n; (n = OK(read(s.in, b, sizeof(b)))) != 0; got += (size_t)n)
			for (ssize_t k = 0; k < n; k++)
				CHECK(b[k] == 0xaa);
		ZERO(pthread_join(t, NULL));
		EQ(got, s.n);
		CHECK(got < LEN);
		close(s.out);
		close(s.in);
		close(s.file);
	}
}

// Nobody is there any more: an error, and SIGPIPE for who has not said that it minds.
TEST(nobody_receives)
{
	static unsigned char b[N];
	struct sending s = {.file = OK(memfd_create("file", 0))};
	contents(b, 1, N);
	EQ(write(s.file, b, N), N);
	for (int mind = 0; mind < 2; mind++) {
		join(&s.out, &s.in, 0);
		for (int k = 0; k < 3; k++) {
			s.at = 0;
			s.n = 100000;
			arrives(s, b);
		}
		close(s.in);
		pid_t p = OK(fork());
		if (!p) {
			ssize_t r;
			signal(SIGPIPE, mind ? SIG_IGN : SIG_DFL);
			while ((r = sendfile(s.out, s.file, &(off_t){0}, 100000)) > 0 || errno == ECONNRESET)
				;
			_exit(r < 0 && errno == EPIPE ? 7 : 8);
		}
		EQ(t_wait(p), mind ? 7 : 128 + SIGPIPE);
		close(s.out);
	}
}

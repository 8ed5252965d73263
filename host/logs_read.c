// SPDX-License-Identifier: Apache-2.0
// The reading half of logs.h: through all files, oldest first, and on behind the newest one's end while it grows and is renamed. A file is
// known by its inode, so that nothing is read twice when the names move on meanwhile.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "host/logs.h"

#define LONGEST (LOG_LINE_MAX + 256)

struct log_reader {
	char dir[4096];
	int fd;			// of the file at hand, -1: none yet
	size_t have;		// bytes in buf
	char buf[4 * LONGEST];
};

static bool two_digits(const char *s, int most)
{
	return s[0] >= '0' && s[0] <= '9' && s[1] >= '0' && s[1] <= '9' && (s[0] - '0') * 10 + s[1] - '0' <= most;
}

// 2026-11-22T09:04:31.123456789Z
static bool is_time(const char *s)
{
	static const char form[] = "####-##-##T##:##:##.#########Z";

	for (int i = 0; i < LOG_TIME_LEN; i++)
		if (form[i] == '#' ? s[i] < '0' || s[i] > '9' : s[i] != form[i])
			return false;
	return two_digits(s + 5, 12) && two_digits(s + 8, 31) && two_digits(s + 11, 23) && two_digits(s + 14, 59) && two_digits(s + 17, 60);
}

int log_parse(const char *line, size_t n, struct log_record *r)
{
	static const char *const names[] = LOG_STREAM_NAMES;
	const char *at = line + LOG_TIME_LEN + 1, *end = line + n;

	if (n < LOG_TIME_LEN + 1 || !is_time(line) || line[LOG_TIME_LEN] != ' ')
		return -EINVAL;
	r->time = line;
	for (int s = 0; s < LOG_STREAMS; s++) {
		size_t k = strlen(names[s]);

		if ((size_t)(end - at) < k + 3 || memcmp(at, names[s], k) != 0 || at[k] != ' ' || (at[k + 1] != 'F' && at[k + 1] != 'P') || at[k + 2] != ' ')
			continue;
		r->stream = (enum log_stream)s;
		r->partial = at[k + 1] == 'P';
		r->text = at + k + 3;
		r->len = (size_t)(end - r->text);
		return 0;
	}
	return -EINVAL;
}

static void name_of(const struct log_reader *r, unsigned int n, char *out, size_t size)
{
	if (n)
		snprintf(out, size, "%s/log.%u", r->dir, n);
	else
		snprintf(out, size, "%s/log", r->dir);
}

// The number of the file at hand now; -1: it has been removed, and so were those before it.
static int number_of(const struct log_reader *r)
{
	struct stat mine, st;
	char path[4200];

	if (fstat(r->fd, &mine))
		return -1;
	for (unsigned int n = 0; n <= LOG_FILES_MAX; n++) {
		name_of(r, n, path, sizeof(path));
		if (!stat(path, &st) && st.st_ino == mine.st_ino && st.st_dev == mine.st_dev)
			return (int)n;
	}
	return -1;
}

// Goes on with file n. The names may move on while we look: it is the right one only if the file at hand is still number `mine`.
static int open_number(struct log_reader *r, int n, int mine)
{
	char path[4200];
	int fd;

	name_of(r, (unsigned int)n, path, sizeof(path));
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (r->fd >= 0 && number_of(r) != mine) {
		close(fd);
		return -EAGAIN;
	}
	if (r->fd >= 0)
		close(r->fd);
	r->fd = fd;
	return 0;
}

static int open_oldest(struct log_reader *r)
{
	for (int n = LOG_FILES_MAX; n >= 0; n--)
		if (!open_number(r, n, -1))
			return 0;
	return -ENOENT;
}

// The file behind the one at hand. 1: there is one, 0: not yet.
static int next_file(struct log_reader *r)
{
	int n = r->fd >= 0 ? number_of(r) : -1;

	if (n < 0)
		return open_oldest(r) ? 0 : 1;
	return n > 0 && !open_number(r, n - 1, n);
}

// Gives out all whole lines of the buffer.
static int give(struct log_reader *r, log_fn *fn, void *ctx)
{
	size_t at = 0;
	char *newline;
	int err = 0;

	while (!err && (newline = memchr(r->buf + at, '\n', r->have - at))) {
		struct log_record rec;

		if (!log_parse(r->buf + at, (size_t)(newline - (r->buf + at)), &rec)) // else damaged: a crash of the machine
			err = fn(ctx, &rec);
		at = (size_t)(newline + 1 - r->buf);
	}
	if (!at && r->have == sizeof(r->buf)) // no log has such lines
		at = r->have;
	memmove(r->buf, r->buf + at, r->have - at);
	r->have -= at;
	return err;
}

int log_read(struct log_reader *r, log_fn *fn, void *ctx)
{
	int err;

	for (;;) {
		// asked first: what is written to a file before it gets another name is read before the next one
		bool renamed = r->fd >= 0 && number_of(r) != 0;
		ssize_t n = r->fd < 0 ? 0 : read(r->fd, r->buf + r->have, sizeof(r->buf) - r->have);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (!n) {
			if ((r->fd >= 0 && !renamed) || !next_file(r))
				return 0;
			r->have = 0;
			continue;
		}
		r->have += (size_t)n;
		err = give(r, fn, ctx);
		if (err)
			return err;
	}
}

int log_reader_open(struct log_reader **out, const char *dir, struct fault *f)
{
	struct log_reader *r = calloc(1, sizeof(*r));

	*out = r;
	if (!r)
		return fault_set(f, -ENOMEM, "out of memory");
	snprintf(r->dir, sizeof(r->dir), "%s", dir);
	r->fd = -1;
	if (open_oldest(r))
		return fault_set(f, -ENOENT, "there is no log in %s", dir);
	return 0;
}

void log_reader_free(struct log_reader *r)
{
	if (r && r->fd >= 0)
		close(r->fd);
	free(r);
}

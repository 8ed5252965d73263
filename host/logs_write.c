// SPDX-License-Identifier: Apache-2.0
// The writing half of logs.h, in the supervisor. A full disk costs lines, which are counted and told as soon as there is room, never the
// enclave: nothing here waits, and nothing here ends the process.
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "host/logs.h"

#define QUIET_MS 200	// so long the rest of a line may stay away

static int64_t monotonic_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void name_of(const struct log_writer *w, unsigned int n, char *out, size_t size)
{
	if (n)
		snprintf(out, size, "%s/log.%u", w->dir, n);
	else
		snprintf(out, size, "%s/log", w->dir);
}

// Appends to what is there; a line that a crash cut short is ended.
static void open_newest(struct log_writer *w)
{
	struct stat st;
	char path[4200], last;

	name_of(w, 0, path, sizeof(path));
	w->fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (w->fd < 0 || fstat(w->fd, &st)) {
		w->why = errno;
		return;
	}
	w->size = (uint64_t)st.st_size;
	if (w->size && pread(w->fd, &last, 1, st.st_size - 1) == 1 && last != '\n' && write(w->fd, "\n", 1) == 1)
		w->size++;
}

static void rotate(struct log_writer *w)
{
	char from[4200], to[4200];

	if (w->fd >= 0)
		close(w->fd);
	w->fd = -1;
	if (w->files == 1) {
		name_of(w, 0, from, sizeof(from));
		unlink(from);
	}
	for (unsigned int n = w->files - 1; n > 0; n--) {
		name_of(w, n - 1, from, sizeof(from));
		name_of(w, n, to, sizeof(to));
		rename(from, to);
	}
	open_newest(w);
}

// All of it or nothing: half a line would be taken for a whole one. The errno.
static int put(struct log_writer *w, const char *line, size_t n)
{
	ssize_t done;

	if (w->size && w->size + n > w->most)
		rotate(w);
	if (w->fd < 0)
		open_newest(w);
	if (w->fd < 0)
		return w->why;
	done = write(w->fd, line, n);
	if (done == (ssize_t)n) {
		w->size += n;
		return 0;
	}
	w->why = done < 0 ? errno : ENOSPC;
	if (done > 0 && ftruncate(w->fd, (off_t)w->size))
		w->size += (uint64_t)done; // the line stays cut: it has no newline, so it swallows the next one
	return w->why;
}

static void line(struct log_writer *w, enum log_stream s, bool partial, const char *text, size_t n)
{
	static const char *const names[] = LOG_STREAM_NAMES;
	static char buf[LOG_LINE_MAX + 256]; // one thread writes
	char what[160], stamp[24];
	struct timespec now;
	struct tm tm;
	int head;

	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &tm);
	strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S", &tm);
	if (w->dropped > w->said) {
		uint64_t lost = w->dropped;
		int k = snprintf(what, sizeof(what), "%s.%09ldZ enclave F coffer: %llu lines were not logged: %s\n", stamp, now.tv_nsec,
				 (unsigned long long)(lost - w->said), strerror(w->why));
		if (!put(w, what, (size_t)k))
			w->said = lost;
	}
	head = snprintf(buf, sizeof(buf), "%s.%09ldZ %s %c ", stamp, now.tv_nsec, names[s], partial ? 'P' : 'F');
	memcpy(buf + head, text, n);
	buf[(size_t)head + n] = '\n';
	if (w->dropped > w->said || put(w, buf, (size_t)head + n + 1))
		w->dropped++;
}

void log_open(struct log_writer *w, const char *dir, uint64_t size, unsigned int files)
{
	memset(w, 0, sizeof(*w));
	snprintf(w->dir, sizeof(w->dir), "%s", dir);
	w->most = size;
	w->files = files ? files : 1;
	open_newest(w);
}

void log_bytes(struct log_writer *w, enum log_stream s, const char *bytes, size_t n)
{
	struct log_line *l = &w->line[s];

	while (n) {
		const char *newline = memchr(bytes, '\n', n);
		size_t k = newline ? (size_t)(newline - bytes) : n, room = sizeof(l->text) - l->len;

		if (!l->len)
			l->since_ms = monotonic_ms();
		if (k > room) { // a piece of a long one
			memcpy(l->text + l->len, bytes, room);
			line(w, s, true, l->text, sizeof(l->text));
			l->len = 0;
			bytes += room;
			n -= room;
			continue;
		}
		memcpy(l->text + l->len, bytes, k);
		l->len += k;
		bytes += k;
		n -= k;
		if (newline) {
			line(w, s, false, l->text, l->len);
			l->len = 0;
			bytes++;
			n--;
		}
	}
}

void log_say(struct log_writer *w, const char *format, ...)
{
	char text[1200];
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (n > 0)
		line(w, LOG_ENCLAVE, false, text, (size_t)n < sizeof(text) ? (size_t)n : sizeof(text) - 1);
}

int log_flush(struct log_writer *w, bool all)
{
	int64_t now = monotonic_ms(), next = -1;

	for (int s = 0; s < LOG_STREAMS; s++) {
		struct log_line *l = &w->line[s];
		int64_t left = l->since_ms + QUIET_MS - now;

		if (l->len && (all || left <= 0)) {
			line(w, (enum log_stream)s, true, l->text, l->len);
			l->len = 0;
		} else if (l->len && (next < 0 || left < next)) {
			next = left;
		}
	}
	return (int)next;
}

void log_close(struct log_writer *w)
{
	log_flush(w, true);
	if (w->fd >= 0)
		close(w->fd);
	w->fd = -1;
}

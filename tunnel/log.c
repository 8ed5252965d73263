// SPDX-License-Identifier: Apache-2.0
// See log.h.
#include "tunnel/log.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define LINE 4096	// a pipe that can be written to takes so much at once, or nothing (pipe(7))

static atomic_int least = TUNNEL_LOG_INFO;
static atomic_bool as_json;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;	// of what follows
static time_t second;
static unsigned int in_second;
static uint64_t left_out;

static const char *const level_names[] = {"error", "warning", "info", "debug"};

void tunnel_log_set(enum tunnel_log_level level, bool json)
{
	least = (int)level;
	as_json = json;
}

bool tunnel_log_wants(enum tunnel_log_level level)
{
	return (int)level <= least;
}

int tunnel_log_level_read(const char *word, enum tunnel_log_level *out)
{
	for (unsigned int i = 0; i < sizeof level_names / sizeof *level_names; i++) {
		if (!strcmp(word, level_names[i])) {
			*out = i;
			return 0;
		}
	}
	return -EINVAL;
}

struct line {
	char *out;
	size_t len, size;	// size leaves room for what ends the line
};

static void put(struct line *l, const char *text)
{
	size_t n = strlen(text), room = l->size - l->len;
	n = n < room ? n : room;
	memcpy(l->out + l->len, text, n);
	l->len += n;
}

// A character that may stand in both forms; others are escaped as JSON does.
static void put_escaped(struct line *l, const char *text)
{
	for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
		char e[8] = {(char)*p};
		// U+0080 to U+009f, which terminals obey: their second byte is enough to show.
		bool c1 = *p == 0xc2 && p[1] >= 0x80 && p[1] <= 0x9f;
		if (*p == '\n')
			strcpy(e, "\\n");
		else if (*p == '"' || *p == '\\')
			snprintf(e, sizeof e, "\\%c", *p);
		else if (*p < ' ' || *p == 0x7f)
			snprintf(e, sizeof e, "\\u%04x", *p);
		else if (c1)
			snprintf(e, sizeof e, "\\u%04x", *++p);
		if (l->len + 8 >= l->size)	// no half of a character
			return;
		put(l, e);
	}
}

static bool is_word(const char *text)
{
	return *text && text[strcspn(text, " \"\\=\n\t")] == '\0';
}

static void put_field(struct line *l, bool json, const struct log_field *f)
{
	char number[24];
	bool quoted = f->text && (json || !is_word(f->text));
	put(l, json ? ",\"" : " ");
	put(l, f->name);
	put(l, json ? "\":" : "=");
	put(l, quoted ? "\"" : "");
	if (f->text) {
		put_escaped(l, f->text);
	} else {
		snprintf(number, sizeof number, "%lld", (long long)f->number);
		put(l, number);
	}
	put(l, quoted ? "\"" : "");
}

size_t tunnel_log_format(char *out, size_t size, bool json, int64_t unix_ms, enum tunnel_log_level level, const char *message,
	const struct log_field *fields)
{
	struct line l = {.out = out, .size = size - 4};
	time_t s = (time_t)(unix_ms / 1000);
	struct tm tm;
	char head[96], when[32];
	gmtime_r(&s, &tm);
	strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(head, sizeof head, json ? "{\"time\":\"%s.%03dZ\",\"level\":\"%s\",\"message\":\"" : "%s.%03dZ %-7s ", when, (int)(unix_ms % 1000),
		 level_names[level]);
	put(&l, head);
	put_escaped(&l, message);
	put(&l, json ? "\"" : "");
	for (; fields && fields->name; fields++) {
		size_t before = l.len;
		if (!fields->text && fields->number == LOG_NOTHING)
			continue;
		put_field(&l, json, fields);
		if (l.len + 8 >= l.size) {	// it may be cut: a line that parses is worth more
			l.len = before;
			break;
		}
	}
	l.size = size;
	put(&l, json ? "}\n" : "\n");
	out[l.len] = '\0';
	return l.len;
}

// The line, or none of it: who reads the log, or does not, never stops the gateway. With the lock, so that two do not meet in the last room of a pipe.
static bool put_out(const char *line, size_t len)
{
	struct pollfd p = {.fd = STDERR_FILENO, .events = POLLOUT};
	ssize_t n = send(STDERR_FILENO, line, len, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n >= 0 || errno != ENOTSOCK)
		return n >= 0;
	return poll(&p, 1, 0) == 1 && p.revents & POLLOUT && write(STDERR_FILENO, line, len) >= 0;
}

static bool write_line(enum tunnel_log_level level, const char *message, const struct log_field *fields)
{
	char line[LINE];
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	size_t len = tunnel_log_format(line, sizeof line, as_json, now.tv_sec * 1000LL + now.tv_nsec / 1000000, level, message, fields);
	return put_out(line, len);
}

// A flood of refused peers must fill neither the disk nor the time. With the lock.
static bool may_write(void)
{
	time_t now = time(NULL);
	if (now != second) {
		second = now;
		in_second = 0;
	}
	if (in_second >= LOG_PER_SECOND)
		return false;
	in_second++;
	return true;
}

void tunnel_log_fields(enum tunnel_log_level level, const char *message, const struct log_field *fields)
{
	pthread_mutex_lock(&lock);
	bool may = may_write() || level == TUNNEL_LOG_ERROR;
	if (may && left_out && write_line(TUNNEL_LOG_WARNING, "lines were left out", (const struct log_field[]){LOG_NUMBER("lines", left_out), {0}}))
		left_out = 0;
	left_out += !may || !write_line(level, message, fields);
	pthread_mutex_unlock(&lock);
}

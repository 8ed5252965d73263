// SPDX-License-Identifier: Apache-2.0
// See filter.h.
#include "tunnel/filter.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ROOM 16384	// of ready bytes, each way
#define MAX_JUNK (1u << 20)	// read behind the end of a request; what more comes stays with its sender

struct filter {
	struct acceptor *a;
	uint8_t in[ACCEPT_MAX_INPUT], up[ROOM], down[ROOM];
	size_t in_len, up_len, up_pos, down_len, down_pos, junk;
	bool up_over, down_over;
};

struct filter *filter_new(struct acceptor *a)
{
	struct filter *x = malloc(sizeof *x);
	if (x)
		*x = (struct filter){.a = a};
	return x;
}

void filter_free(struct filter *x)
{
	free(x);
}

void filter_early(struct filter *x, const uint8_t *bytes, size_t len)
{
	len = len < sizeof x->in ? len : sizeof x->in;
	memcpy(x->in, bytes, len);
	x->in_len = len;
}

// Rewrites what there is: 1 something came of it, 0 nothing.
static int rewrite_up(struct filter *x)
{
	size_t used = 0, made = 0;
	int end = x->up_over ? 1 : accept_up(x->a, x->in, x->in_len, &used, x->up, sizeof x->up, &made);
	if (end < 0)
		return end;
	x->up_over |= end == 1;
	x->up_len = made;
	x->up_pos = 0;
	x->in_len = x->up_over ? 0 : x->in_len - used;	// what follows the end is dropped
	memmove(x->in, x->in + used, x->in_len);
	return made > 0 || used > 0;
}

ssize_t filter_pull(struct filter *x, int fd, uint8_t *buf, size_t size)
{
	for (;;) {
		size_t n = x->up_len - x->up_pos;
		if (n) {
			n = n < size ? n : size;
			memcpy(buf, x->up + x->up_pos, n);
			x->up_pos += n;
			return (ssize_t)n;
		}
		int some = rewrite_up(x);
		if (some < 0)
			return some;
		if (some)
			continue;
		if (x->junk > MAX_JUNK)
			return -EAGAIN;
		ssize_t k = x->in_len < sizeof x->in ? recv(fd, x->in + x->in_len, sizeof x->in - x->in_len, 0) : -1;
		if (k < 0)
			return x->in_len < sizeof x->in ? -errno : -EPROTO;	// a full buffer that says nothing
		if (!k)	// with a part of a request nobody can do anything
			return x->up_over ? -EAGAIN : -ECONNRESET;
		x->in_len += (size_t)k;
		x->junk += x->up_over ? (size_t)k : 0;
	}
}

void filter_end(struct filter *x)
{
	if (x->down_over || x->down_pos < x->down_len)
		return;
	x->down_pos = 0;
	x->down_len = accept_down_end(x->a, x->down);
}

int filter_flush(struct filter *x, int fd)
{
	while (x->down_pos < x->down_len) {
		ssize_t n = send(fd, x->down + x->down_pos, x->down_len - x->down_pos, MSG_NOSIGNAL);
		if (n < 0)
			return -errno;
		x->down_pos += (size_t)n;
	}
	x->down_len = x->down_pos = 0;
	return 0;
}

ssize_t filter_push(struct filter *x, int fd, const uint8_t *bytes, size_t len, bool *over)
{
	size_t done = 0, used, made;
	for (;;) {
		int err = filter_flush(x, fd);
		*over = x->down_over;
		if (x->down_over)
			return (ssize_t)len;
		if (err)
			return err == -EAGAIN && done ? (ssize_t)done : err;
		int end = accept_down(x->a, bytes + done, len - done, &used, x->down, sizeof x->down, &made);
		if (end < 0)
			return end;
		x->down_over = end == 1;
		x->down_len = made;
		done += used;
		if (!used && !made && !x->down_over)
			return (ssize_t)done;
	}
}

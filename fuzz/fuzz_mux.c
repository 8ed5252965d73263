// SPDX-License-Identifier: Apache-2.0
// Fuzzes what a gateway's peer sends in an attested connection, mixed with what this side's streams do meanwhile. No stream may be called after its
// end, nothing may be kept beyond the limits, and what goes out must be frames.
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tunnel/mux_frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define STREAMS 8u
#define WINDOW 512u
#define MEMORY 16384u

struct user {
	struct mux_stream *s;
	uint8_t mood;
};

static struct user users[4 * STREAMS];
static unsigned int calls;

static struct user *user_of(struct mux_stream *s)
{
	struct user *u = mux_user(s);
	if (!u || u->s != s || mux_kept(s) > 4 * WINDOW)
		abort();
	return u;
}

static struct user *user_new(void)
{
	for (size_t i = 0; i < 4 * STREAMS; i++) {
		if (!users[i].s)
			return &users[i];
	}
	return NULL;
}

static int opened(void *ctx, struct mux_stream *s)
{
	struct user *u = user_new();
	(void)ctx;
	if (!u || mux_target(s)->port % 5 == 4)
		return -EACCES;
	*u = (struct user){s, (uint8_t)mux_target(s)->port};
	mux_set_user(s, u);
	if (u->mood & 1)
		mux_accept(s);
	return 0;
}

static void accepted(void *ctx, struct mux_stream *s)
{
	(void)ctx;
	mux_ready(user_of(s)->s);
}

static ssize_t pull(void *ctx, struct mux_stream *s, uint8_t *buf, size_t n)
{
	struct user *u = user_of(s);
	(void)ctx;
	if (++calls % 7 == 0)
		return -EAGAIN;
	if (calls % 31 == 0) {
		u->s = NULL;
		mux_reset(s, MUX_BUSY);
		return 0;
	}
	if (calls % 29 == 0)
		return calls & 1 ? 0 : -EIO;
	n = n > 100 ? 100 : n;
	memset(buf, 1, n);
	return (ssize_t)n;
}

static ssize_t take(void *ctx, struct mux_stream *s, const uint8_t *bytes, size_t len)
{
	struct user *u = user_of(s);
	uint8_t sum = 0;
	(void)ctx;
	for (size_t i = 0; i < len; i++)
		sum ^= bytes[i];
	if (++calls % 37 == 0) {
		u->s = NULL;
		mux_reset(s, MUX_FAILED);
		return 0;
	}
	if (calls % 41 == 0)
		return sum == 0x7f ? -EPIPE : -EAGAIN;
	return u->mood & 2 ? -EAGAIN : (ssize_t)(len - len / (1 + u->mood % 3));
}

static void end(void *ctx, struct mux_stream *s)
{
	(void)ctx;
	mux_ready(user_of(s)->s);
}

static void closed(void *ctx, struct mux_stream *s, enum mux_error why)
{
	(void)ctx;
	if (why > MUX_LOST)
		abort();
	user_of(s)->s = NULL;
}

static void nothing(void *ctx)
{
	(void)ctx;
}

static const struct mux_ops ops = {opened, accepted, pull, take, end, closed, nothing, nothing};

static void drain(struct mux *m)
{
	static uint8_t buf[2 * MUX_OUTPUT_MIN];
	size_t n = mux_output(m, buf, MUX_OUTPUT_MIN + calls % MUX_OUTPUT_MIN), at = 0;
	while (at < n) {
		struct mux_frame f;
		if (n - at < MUX_HEAD || mux_head_read(buf + at, &f) || f.len > n - at - MUX_HEAD)
			abort();
		at += MUX_HEAD + f.len;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t hello[] = {1, 0, 0, 8, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 8};
	struct mux_options o = {.streams = STREAMS, .window = WINDOW, .window_max = 4 * WINDOW, .memory = MEMORY};
	calls = 0;
	if (!size)
		return 0;
	o.client = *data & 1;
	struct mux *m = mux_new(&o, &ops, NULL);
	if (!m)
		abort();
	int err = *data & 2 ? 0 : mux_input(m, hello, sizeof(hello));
	data++;
	size--;
	// A byte of what is done here, then a byte of how much of the rest comes in.
	while (size >= 2 && !err) {
		struct user *u = &users[data[0] >> 3];
		struct user *fresh;
		switch (data[0] & 7) {
		case 0:
			fresh = user_new();
			if (fresh && !mux_open(&fresh->s, m, 1 + data[0] / 8 % 3u, NULL, fresh) && data[0] & 64)
				mux_ready(fresh->s);
			break;
		case 1:
			if (u->s)
				mux_ready(u->s);
			break;
		case 2:
			if (u->s)
				mux_resume(u->s);
			break;
		case 3:
			if (u->s) {
				struct mux_stream *s = u->s;
				u->s = NULL;
				mux_reset(s, MUX_TIMED_OUT);
			}
			break;
		case 4:
			if (u->s)
				mux_accept(u->s);
			break;
		case 5:
			if (data[0] == 0xfd)
				mux_go(m);
			else
				mux_ping(m);
			break;
		default:
			drain(m);
		}
		size_t n = data[1] < size - 2 ? data[1] : size - 2;
		uint8_t *piece = malloc(n ? n : 1);
		if (!piece)
			abort();
		memcpy(piece, data + 2, n);
		err = mux_input(m, piece, n);
		free(piece);
		data += 2 + n;
		size -= 2 + n;
		if (mux_memory(m) > MEMORY || mux_streams(m) > 4 * STREAMS)
			abort();
	}
	drain(m);
	mux_free(m);
	for (size_t i = 0; i < 4 * STREAMS; i++) {
		if (users[i].s)
			abort();	// never told that it was gone
	}
	return 0;
}

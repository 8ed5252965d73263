// SPDX-License-Identifier: Apache-2.0
// Fuzzes the gateway's ways in (tunnel/socks.c, http_proxy.c, http_head.c) with bytes that arrive whole and in pieces: both must lead to the same
// destination, and what a proxy passes on must be the same. The first byte says which way in, the second how long the pieces are. Behind a byte
// 0xff in what follows a forwarded request the answer begins.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tunnel/accept.h"
#include "tunnel/socks.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define ROOM (1 << 17)

struct played {
	enum accept_step step;
	struct target target;
	size_t used, up_len, down_len;
	int up, down;
	uint8_t up_bytes[ROOM], down_bytes[ROOM];
};

typedef int filter(struct acceptor *, const uint8_t *, size_t, size_t *, uint8_t *, size_t, size_t *);

static int pass(filter *f, struct acceptor *a, const uint8_t *in, size_t n, size_t piece, uint8_t *out, size_t *len)
{
	size_t at = 0, have = 0, used, made;
	int err = 0;
	do {
		have = n - have > piece ? have + piece : n;
		do {
			size_t room = piece < n ? 64 : 4096;
			if (room > ROOM - *len)
				return -1;
			err = f(a, in + at, have - at, &used, out + *len, room, &made);
			if (used > have - at || made > room)
				abort();
			at += used;
			*len += made;
		} while (!err && (used || made));
	} while (!err && have < n);
	if (err != 1 && err && err != -71)	// EPROTO
		abort();
	return err;
}

static void play(const struct accept_options *o, const uint8_t *in, size_t n, size_t piece, struct played *p)
{
	struct acceptor *a = accept_new(o);
	size_t at = 0, have = 0, used;
	if (!a)
		abort();
	*p = (struct played){.step = accept_begin(a, -1)};
	while (p->step == ACCEPT_MORE && have < n) {
		have = n - have > piece ? have + piece : n;
		p->step = accept_input(a, in + at, have - at, &used);
		if (used > have - at)
			abort();
		at += used;
		accept_output(a, &used);
		accept_sent(a, used);
	}
	p->used = at;
	if (p->step == ACCEPT_TARGET || p->step == ACCEPT_UDP) {
		char text[TARGET_TEXT];
		struct target again;
		p->target = *accept_target(a);
		target_text(&p->target, text);
		// What is understood is understood again from its text.
		if (p->step == ACCEPT_TARGET && (target_parse(&again, text, strlen(text), 0) || !target_equal(&again, &p->target)))
			abort();
		if (accept_connected(a, 0, NULL) != ACCEPT_OPEN)
			abort();
		if (accept_filters(a)) {
			const uint8_t *mark = memchr(in + at, 0xff, n - at);
			size_t up = mark ? (size_t)(mark - in) - at : n - at;
			p->up = pass(accept_up, a, in + at, up, piece, p->up_bytes, &p->up_len);
			if (mark)
				p->down = pass(accept_down, a, mark + 1, n - at - up - 1, piece, p->down_bytes, &p->down_len);
			if (p->down_len + ACCEPT_LAST_WORDS <= ROOM)
				p->down_len += accept_down_end(a, p->down_bytes + p->down_len);
		}
	}
	accept_free(a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct played whole, cut;
	struct accept_options o = {.kind = ACCEPT_HTTP};
	struct target t;
	if (size < 3)
		return 0;
	if (data[0] & 1)
		o = (struct accept_options){.kind = ACCEPT_SOCKS5, .udp = data[0] & 2};
	if ((data[0] & 5) == 5) {
		int n = socks_udp_read(data + 2, size - 2, &t);
		uint8_t out[SOCKS_UDP_HEADER];
		if (n > (int)size - 2 || (n > 0 && socks_udp_write(&t, out) > sizeof out))
			abort();
		return 0;
	}
	play(&o, data + 2, size - 2, size, &whole);
	play(&o, data + 2, size - 2, 1 + data[1], &cut);
	if (whole.step != cut.step || whole.used != cut.used || !target_equal(&whole.target, &cut.target) || whole.up != cut.up ||
	    whole.down != cut.down)
		abort();
	if ((whole.up >= 0 && (whole.up_len != cut.up_len || memcmp(whole.up_bytes, cut.up_bytes, whole.up_len))) || whole.down_len != cut.down_len ||
	    memcmp(whole.down_bytes, cut.down_bytes, whole.down_len))
		abort();
	return 0;
}

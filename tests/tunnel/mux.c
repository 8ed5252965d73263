// SPDX-License-Identifier: Apache-2.0
// tunnel/mux.c: two ends with bytes carried between them in pieces of every size, against a model of what each stream is to deliver.
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tests/attest/ok.h"
#include "tunnel/mux_frame.h"

#define WINDOW 4096u
#define ALL SIZE_MAX

// One stream as one end's user sees it.
struct app {
	struct end *end;
	struct app *peer;
	struct mux_stream *s;
	uint64_t seed;		// of what it sends
	size_t total, sent;	// what it has to send
	size_t got;		// what it took
	size_t take;		// what it is willing to take now
	size_t most;		// ... at a time; 0: all
	bool holds_end;		// does not say that it has no more
	bool accepted, told_end;
	int closed, fail_pull, fail_data;
	enum mux_error why;
	bool reset_in_data, reset_in_pull, reset_in_end;
	size_t datagrams, size;	// sent or taken; of each that it sends
};

struct end {
	struct mux *m;
	struct app *apps;	// by the target's port
	size_t count;
	int refuse;		// what `opened` answers
	bool late;		// `opened` does not accept
	unsigned int pongs, goings, opened;
	uint8_t *wire;		// what it sent and the other did not get yet
	size_t len, size;
};

static struct end a, b;
static const char *wrong;	// the first thing that was not as it should be
static uint64_t random_state;

static uint64_t mix(uint64_t x)
{
	x ^= x >> 33;
	x *= 0xff51afd7ed558ccdULL;
	x ^= x >> 33;
	x *= 0xc4ceb9fe1a85ec53ULL;
	return x ^ x >> 33;
}

static size_t rnd(size_t below)
{
	random_state += 0x9e3779b97f4a7c15ULL;
	return mix(random_state) % below;
}

static uint8_t pattern(uint64_t seed, size_t at)
{
	return (uint8_t)(mix(seed * 0x10001 + at / 8) >> at % 8 * 8);
}

static void check(bool right, const char *what)
{
	if (!right && !wrong)
		wrong = what;
}

static void fill(struct app *p, uint8_t *buf, size_t n, size_t at)
{
	for (size_t i = 0; i < n; i++)
		buf[i] = pattern(p->seed, at + i);
}

static int on_opened(void *ctx, struct mux_stream *s)
{
	struct end *e = ctx;
	const struct target *t = mux_target(s);
	e->opened++;
	if (e->refuse)
		return e->refuse;
	if (t->host != TARGET_IPV4 || t->address[0] != 10 || t->port > e->count) {
		check(false, "another target arrived");
		return -EINVAL;
	}
	struct app *p = &e->apps[t->port - 1];
	check(!p->s && !p->closed, "a stream was opened twice");
	p->s = s;
	mux_set_user(s, p);
	if (!e->late)
		mux_accept(s);
	return 0;
}

static void on_accepted(void *ctx, struct mux_stream *s)
{
	struct app *p = mux_user(s);
	check(p->end == ctx && p->s == s && !p->accepted, "accepted: another stream, or twice");
	p->accepted = true;
}

static ssize_t on_pull(void *ctx, struct mux_stream *s, uint8_t *buf, size_t size)
{
	struct app *p = mux_user(s);
	size_t left = p->total - p->sent;
	check(p->end == ctx && size && !p->closed, "pull: another stream, or after its end");
	if (p->fail_pull)
		return p->fail_pull;
	if (p->reset_in_pull) {
		mux_reset(s, MUX_TIMED_OUT);
		p->s = NULL;
		return 1;
	}
	if (mux_kind(s) != MUX_TCP) {
		check(size >= MUX_MAX_DATA, "too little room for a datagram");
		if (!p->total)
			return -EAGAIN;
		p->total--;
		p->datagrams++;
		fill(p, buf, p->size, 0);
		return (ssize_t)p->size;
	}
	if (!left)
		return p->holds_end ? -EAGAIN : 0;
	size_t n = left < size ? left : size;
	if (p->most && n > p->most)
		n = p->most;
	fill(p, buf, n, p->sent);
	p->sent += n;
	return (ssize_t)n;
}

static const struct mux_stream *promised;	// mux_more
static unsigned int promises;

static ssize_t on_data(void *ctx, struct mux_stream *s, const uint8_t *bytes, size_t len)
{
	struct app *p = mux_user(s);
	const bool more = mux_more(s);
	const size_t all = len;
	check(!promised || promised == s, "data: others between those of a stream that was to go on");
	promised = NULL;
	check(p->end == ctx && !p->told_end && !p->closed, "data: another stream, or after its end");
	if (p->reset_in_data) {
		mux_reset(s, MUX_REFUSED);
		p->s = NULL;
		return 0;
	}
	if (p->fail_data)
		return p->fail_data;
	if (mux_kind(s) != MUX_TCP) {
		p->datagrams++;
		for (size_t i = 0; i < len; i++)
			check(bytes[i] == pattern(p->peer->seed, i), "a datagram has other bytes");
		p->got = len;
		return (ssize_t)len;
	}
	check(len, "no data");
	if (!p->take)
		return -EAGAIN;
	if (len > p->take)
		len = p->take;
	for (size_t i = 0; i < len; i++)
		check(bytes[i] == pattern(p->peer->seed, p->got + i), "other bytes, or in another order");
	p->got += len;
	p->take -= p->take == ALL ? 0 : len;
	promised = more && len == all ? s : NULL;
	promises += more;
	return (ssize_t)len;
}

static void on_end(void *ctx, struct mux_stream *s)
{
	struct app *p = mux_user(s);
	check(p->end == ctx && !p->told_end && p->got == p->peer->sent, "an end before all was taken, or twice");
	p->told_end = true;
	if (p->reset_in_end) {
		mux_reset(s, MUX_CLOSED);
		p->s = NULL;
	}
}

static void on_closed(void *ctx, struct mux_stream *s, enum mux_error why)
{
	struct app *p = mux_user(s);
	check(p->end == ctx && p->s == s && !p->closed, "closed: another stream, or twice");
	p->closed++;
	p->why = why;
	p->s = NULL;
}

static void on_pong(void *ctx)
{
	((struct end *)ctx)->pongs++;
}

static void on_going(void *ctx)
{
	((struct end *)ctx)->goings++;
}

static const struct mux_ops ops = {on_opened, on_accepted, on_pull, on_data, on_end, on_closed, on_pong, on_going};

static void end_new(struct end *e, bool client, size_t count, struct mux_options *o)
{
	memset(e, 0, sizeof(*e));
	o->client = client;
	e->m = mux_new(o, &ops, e);
	e->apps = calloc(count, sizeof(struct app));
	e->count = count;
	if (!e->m || !e->apps)
		abort();
	for (size_t i = 0; i < count; i++)
		e->apps[i] = (struct app){.end = e, .seed = i * 2 + client, .take = ALL};
}

static void world_new(size_t count, struct mux_options o)
{
	wrong = NULL;
	end_new(&a, true, count, &o);
	end_new(&b, false, count, &o);
	for (size_t i = 0; i < count; i++) {
		a.apps[i].peer = &b.apps[i];
		b.apps[i].peer = &a.apps[i];
	}
}

static void end_free(struct end *e)
{
	mux_free(e->m);
	free(e->apps);
	free(e->wire);
}

static void world_free(void)
{
	end_free(&a);
	end_free(&b);
}

static int open_app(struct end *e, size_t i, enum mux_kind kind)
{
	struct target t = {.host = TARGET_IPV4, .port = (uint16_t)(i + 1), .address = {10, 1, 2, 3}};
	return mux_open(&e->apps[i].s, e->m, kind, &t, &e->apps[i]);
}

// What `e` has to send goes into its wire; room: of mux_output's buffer.
static size_t produce(struct end *e, size_t room)
{
	if (e->size - e->len < room) {
		e->size = e->len + room + 65536;
		e->wire = realloc(e->wire, e->size);
		if (!e->wire)
			abort();
	}
	bool pending = mux_pending(e->m);
	size_t n = mux_output(e->m, e->wire + e->len, room);
	check(pending || !n, "output although nothing was pending");
	e->len += n;
	return n;
}

// Carries n bytes of e's to the other, from memory of exactly that size.
static int carry(struct end *e, size_t n)
{
	struct end *to = e == &a ? &b : &a;
	if (!n)
		return 0;
	uint8_t *piece = malloc(n);
	if (!piece)
		abort();
	memcpy(piece, e->wire, n);
	memmove(e->wire, e->wire + n, e->len - n);
	e->len -= n;
	int err = mux_input(to->m, piece, n);
	free(piece);
	check(!promised, "data: a stream that was to go on did not");
	check(!err, mux_reason(to->m));
	return err;
}

// Until neither has anything to say.
static void settle(void)
{
	size_t n;
	do {
		n = produce(&a, MUX_OUTPUT_MIN);
		carry(&a, a.len);
		n += produce(&b, MUX_OUTPUT_MIN);
		carry(&b, b.len);
	} while ((n || mux_pending(a.m) || mux_pending(b.m)) && !wrong);
}

static void passed(const char *name)
{
	ok(name, !wrong, "%s", wrong ? wrong : "");
	world_free();
}

// ---- tests ----

static bool random_world(uint64_t seed)
{
	const size_t count = 24;
	size_t kept = 0, open = 0;
	random_state = seed;
	world_new(count, (struct mux_options){.window = WINDOW, .window_max = rnd(2) ? WINDOW : 4 * WINDOW, .streams = count});
	for (size_t i = 0; i < count; i++) {
		for (int k = 0; k < 2; k++) {
			struct app *p = k ? &b.apps[i] : &a.apps[i];
			p->total = rnd(4) ? rnd(5 * WINDOW) : 0;
			p->take = rnd(3) ? ALL : rnd(2000);
			p->most = rnd(2) ? 0 : 1 + rnd(700);
			p->holds_end = rnd(2);
		}
	}
	for (int step = 0; step < 3000 && !wrong; step++) {
		struct end *e = rnd(2) ? &a : &b;
		struct app *p = &e->apps[rnd(count)];
		switch (rnd(8)) {
		case 0:
			if (open < count) {
				check(!open_app(open % 2 ? &a : &b, open, MUX_TCP), "mux_open");
				open++;
			}
			break;
		case 1:
			if (p->s)
				mux_ready(p->s);
			break;
		case 2:
			if (p->s && rnd(6) == 0)
				mux_unready(p->s);
			break;
		case 3:
			if (p->s) {
				p->take = rnd(2) ? ALL : rnd(3 * WINDOW);
				mux_resume(p->s);
			}
			break;
		case 4:
			if (p->s && rnd(30) == 0) {
				mux_reset(p->s, MUX_FAILED);
				p->s = NULL;
			}
			break;
		case 5:
			produce(e, MUX_OUTPUT_MIN + rnd(9000));
			break;
		default:
			carry(e, e->len ? 1 + rnd(rnd(4) ? e->len : e->len < 12 ? e->len : 12) : 0);
		}
		kept = 0;
		for (size_t i = 0; i < count; i++) {
			if (b.apps[i].s)
				kept += mux_kept(b.apps[i].s);
			check(!b.apps[i].s || mux_kept(b.apps[i].s) <= 4 * WINDOW, "more than a window is kept");
		}
		check(mux_memory(b.m) >= kept && mux_memory(b.m) <= count * 8 * WINDOW, "the memory that is said");
	}
	while (open < count && !wrong) {
		open_app(open % 2 ? &a : &b, open, MUX_TCP);
		open++;
	}
	for (int round = 0; round < 2 && !wrong; round++) {
		settle();
		for (size_t i = 0; i < count; i++) {
			for (int k = 0; k < 2; k++) {
				struct app *p = k ? &b.apps[i] : &a.apps[i];
				p->take = ALL;
				p->holds_end = false;
				if (p->s)
					mux_resume(p->s);
				if (p->s)
					mux_ready(p->s);
			}
		}
	}
	settle();
	for (size_t i = 0; i < count; i++) {
		const struct app *p = &a.apps[i], *q = &b.apps[i];
		check(!p->s && !q->s, "a stream did not end");
		if (p->closed && q->closed && p->why == MUX_CLOSED && q->why == MUX_CLOSED)
			check(p->sent == p->total && q->got == p->total && p->got == q->total && q->sent == q->total && p->told_end && q->told_end, "bytes are missing");
		else
			check(p->closed + q->closed <= 1, "a reset, and both ends were told");
	}
	check(!mux_streams(a.m) && !mux_streams(b.m) && !mux_memory(a.m) && !mux_memory(b.m), "something is left");
	bool right = !wrong;
	if (!right)
		printf("seed %llu\n", (unsigned long long)seed);
	return right;
}

static void test_random(void)
{
	bool right = true;
	for (uint64_t seed = 1; right && seed <= 400; seed++) {
		right = random_world(seed);
		world_free();
	}
	ok("random-interleavings", right && promises, "%s, %u promises", wrong ? wrong : "", promises);
}

static void test_half_close(void)
{
	world_new(2, (struct mux_options){.window = WINDOW});
	open_app(&a, 0, MUX_TCP);
	a.apps[0].total = 3 * WINDOW;
	b.apps[0].holds_end = true;
	mux_ready(a.apps[0].s);
	settle();
	check(b.apps[0].told_end && b.apps[0].got == 3 * WINDOW && b.apps[0].s && !b.apps[0].closed && !a.apps[0].closed, "one end ended both");
	b.apps[0].total = 5 * WINDOW;
	mux_ready(b.apps[0].s);
	settle();
	check(a.apps[0].got == 5 * WINDOW && !a.apps[0].told_end && a.apps[0].s, "bytes against the closed direction");
	b.apps[0].holds_end = false;
	mux_ready(b.apps[0].s);
	settle();
	check(a.apps[0].told_end && a.apps[0].closed == 1 && b.apps[0].closed == 1 && a.apps[0].why == MUX_CLOSED && !mux_streams(a.m) && !mux_streams(b.m),
		"the second end");
	// Data and end before the stream is accepted; the answer after it.
	b.late = true;
	open_app(&a, 1, MUX_TCP);
	a.apps[1].total = 10;
	mux_ready(a.apps[1].s);
	settle();
	check(b.apps[1].got == 10 && b.apps[1].told_end && !a.apps[1].accepted, "data before the stream is accepted");
	mux_ready(b.apps[1].s);
	settle();
	check(!a.apps[1].told_end, "an end of a stream that is not accepted");
	mux_accept(b.apps[1].s);
	settle();
	check(a.apps[1].accepted && a.apps[1].closed && b.apps[1].closed, "a late accept");
	passed("half-close");
}

static void test_reset(void)
{
	for (int why = MUX_CLOSED; why < MUX_ERRORS; why++) {
		world_new(1, (struct mux_options){.window = WINDOW});
		open_app(&a, 0, MUX_TCP);
		settle();
		mux_reset(b.apps[0].s, (enum mux_error)why);
		b.apps[0].s = NULL;
		settle();
		check(a.apps[0].closed == 1 && a.apps[0].why == (enum mux_error)why && !b.apps[0].closed, "a reset's reason");
		check(!mux_streams(a.m) && !mux_streams(b.m), "streams after a reset");
		check(why == MUX_NO_NAME || mux_error_of(mux_errno_of((enum mux_error)why)) == (enum mux_error)why, "an error there and back");
		check(*mux_error_text((enum mux_error)why), "an error without words");
		if (wrong)
			break;
		world_free();
	}
	if (wrong) {
		passed("reset");
		return;
	}
	world_new(8, (struct mux_options){.window = WINDOW});
	b.refuse = -ECONNREFUSED;
	open_app(&a, 0, MUX_TCP);
	settle();
	check(a.apps[0].why == MUX_REFUSED && a.apps[0].closed, "a refusal");
	b.refuse = 0;
	for (size_t i = 1; i < 7; i++) {
		open_app(&a, i, MUX_TCP);
		a.apps[i].total = b.apps[i].total = 20 * WINDOW;
		mux_ready(a.apps[i].s);
	}
	b.apps[1].fail_data = -EPIPE;
	a.apps[2].fail_pull = -EACCES;
	b.apps[3].reset_in_data = true;
	a.apps[4].reset_in_pull = true;
	b.apps[5].reset_in_end = true;
	settle();
	check(b.apps[1].closed && b.apps[1].why == MUX_RESET && a.apps[1].why == MUX_RESET, "a reader that fails");
	check(a.apps[2].closed && a.apps[2].why == MUX_DENIED && b.apps[2].why == MUX_DENIED, "a writer that fails");
	check(!b.apps[3].closed && a.apps[3].why == MUX_REFUSED, "mux_reset within data");
	check(!a.apps[4].closed && b.apps[4].why == MUX_TIMED_OUT, "mux_reset within pull");
	check(a.apps[5].closed && !b.apps[5].closed && b.apps[5].got == 20 * WINDOW, "mux_reset within end");
	check(a.apps[6].s && b.apps[6].told_end, "another stream was hit");
	// Both at once, with data on the way.
	a.apps[6].total += 10;
	mux_ready(b.apps[6].s);
	produce(&b, MUX_OUTPUT_MIN);
	mux_reset(a.apps[6].s, MUX_FAILED);
	mux_reset(b.apps[6].s, MUX_FAILED);
	a.apps[6].s = b.apps[6].s = NULL;
	settle();
	check(!mux_streams(a.m) && !mux_streams(b.m), "streams that both reset");
	// Before its number is given out nobody is told of it.
	open_app(&a, 7, MUX_TCP);
	mux_reset(a.apps[7].s, MUX_FAILED);
	settle();
	check(!b.apps[7].s && b.opened == 7 && !mux_streams(a.m), "a stream that was given up at once");
	passed("reset");
}

static void test_credit(void)
{
	world_new(3, (struct mux_options){.window = WINDOW, .window_max = WINDOW});
	b.apps[0].take = 0;
	a.apps[0].total = a.apps[1].total = 100 * WINDOW;
	open_app(&a, 0, MUX_TCP);
	open_app(&a, 1, MUX_TCP);
	mux_ready(a.apps[0].s);
	mux_ready(a.apps[1].s);
	settle();
	check(a.apps[0].sent == WINDOW && mux_kept(b.apps[0].s) == WINDOW && mux_memory(b.m) <= 2 * WINDOW, "a reader that takes nothing gets one window");
	check(b.apps[1].told_end && b.apps[1].got == 100 * WINDOW, "a slow reader stopped another");
	size_t before = a.apps[0].sent;
	b.apps[0].take = 1;
	mux_resume(b.apps[0].s);
	settle();
	check(a.apps[0].sent == before, "a credit of one byte");
	for (int i = 0; i < 5000 && !b.apps[0].told_end && b.apps[0].s; i++) {
		b.apps[0].take = rnd(300);
		mux_resume(b.apps[0].s);
		settle();
		check(a.apps[0].sent - b.apps[0].got <= WINDOW, "more is on the way than the window");
	}
	check(b.apps[0].got == 100 * WINDOW, "bytes are missing");
	passed("credit");

	// A reader that keeps up gets more, one that does not keeps what it had; the sum is bounded.
	world_new(3, (struct mux_options){.window = WINDOW, .window_max = 16 * WINDOW, .memory = 40 * WINDOW});
	for (size_t i = 0; i < 3; i++) {
		a.apps[i].total = 400 * WINDOW;
		open_app(&a, i, MUX_TCP);
		mux_ready(a.apps[i].s);
	}
	b.apps[1].take = 0;
	for (int i = 0; i < 40; i++) {
		produce(&a, 32 * MUX_OUTPUT_MIN);
		carry(&a, a.len);
		produce(&b, MUX_OUTPUT_MIN);
		carry(&b, b.len);
	}
	b.apps[0].take = b.apps[2].take = 0;
	settle();
	check(mux_kept(b.apps[0].s) > 4 * WINDOW && mux_kept(b.apps[0].s) <= 16 * WINDOW, "a window that grows");
	check(mux_kept(b.apps[1].s) == WINDOW, "a window that does not");
	check(mux_memory(b.m) <= 40 * WINDOW, "memory of windows that grew");
	passed("window-grows");

	// Memory is bounded before windows are.
	world_new(8, (struct mux_options){.window = WINDOW, .memory = 4 * WINDOW});
	for (size_t i = 0; i < 8; i++) {
		a.apps[i].total = 2 * WINDOW;
		b.apps[i].take = 0;
		open_app(&a, i, MUX_TCP);
		mux_ready(a.apps[i].s);
	}
	settle();
	size_t busy = 0;
	for (size_t i = 0; i < 8; i++)
		busy += a.apps[i].closed && a.apps[i].why == MUX_BUSY && b.apps[i].closed && b.apps[i].why == MUX_BUSY;
	check(busy == 4 && mux_memory(b.m) == 4 * WINDOW, "streams beyond the memory");
	passed("memory-bounded");
}

static void test_limits(void)
{
	struct target name = {.host = TARGET_NAME, .port = 1, .name = "db"}, no_port = {.host = TARGET_NAME, .name = "db"};
	struct mux_stream *s[4];
	world_new(6, (struct mux_options){.window = WINDOW, .streams = 3});
	for (size_t i = 0; i < 4; i++)	// before the hello: its own limit
		check(open_app(&a, i, MUX_TCP) == (i < 3 ? 0 : -EAGAIN), "more streams than the limit, before the hello");
	settle();
	check(open_app(&a, 4, MUX_TCP) == -EAGAIN, "more streams than the limit");
	check(b.opened == 3 && !open_app(&b, 4, MUX_TCP), "the limit is each side's own");
	settle();
	mux_reset(a.apps[0].s, MUX_CLOSED);
	check(open_app(&a, 5, MUX_TCP) == -EAGAIN, "the peer has not been told yet");
	produce(&a, MUX_OUTPUT_MIN);
	check(!open_app(&a, 5, MUX_TCP), "room for another");
	settle();
	check(b.apps[5].s, "room for another, at the peer");
	check(mux_open(s, a.m, 0, NULL, NULL) == -EINVAL && mux_open(s, a.m, 9, NULL, NULL) == -EINVAL, "an unknown kind");
	check(mux_open(s, a.m, MUX_IP, &name, NULL) == -EINVAL && mux_open(s, a.m, MUX_TCP, &no_port, NULL) == -EINVAL, "targets that cannot be");
	passed("limits");
}

static void test_numbers(void)
{
	// One stream after the other: numbers are never used twice, and nothing piles up.
	world_new(1, (struct mux_options){.window = WINDOW, .streams = 1});
	for (int i = 0; i < 100000 && !wrong; i++) {
		struct app *p = &a.apps[0], *q = &b.apps[0];
		p->s = q->s = NULL;
		p->sent = q->sent = p->got = q->got = 0;
		p->total = q->total = 3;
		p->closed = q->closed = 0;
		p->accepted = p->told_end = q->told_end = false;
		check(!open_app(&a, 0, MUX_TCP), "mux_open");
		mux_ready(p->s);
		settle();
		if (i % 3 == 0) {
			mux_reset(q->s, MUX_CLOSED);
			settle();
		} else {
			mux_ready(q->s);
			settle();
			check(p->closed && q->closed && p->got == 3, "a stream in its turn");
		}
		check(!mux_streams(a.m) && !mux_streams(b.m), "a stream is left");
	}
	passed("numbers");

	world_new(10000, (struct mux_options){.window = WINDOW});
	for (size_t i = 0; i < 10000; i++) {
		a.apps[i].total = 1000 + i % 100;
		b.apps[i].total = i;
		check(!open_app(i % 2 ? &a : &b, i, MUX_TCP), "mux_open");
	}
	settle();
	check(mux_streams(a.m) == 10000 && mux_streams(b.m) == 10000, "not all are open");
	for (size_t i = 0; i < 10000 && !wrong; i++) {
		mux_ready(a.apps[i].s);
		mux_ready(b.apps[i].s);
	}
	settle();
	for (size_t i = 0; i < 10000; i++)
		check(a.apps[i].closed && b.apps[i].closed && b.apps[i].got == 1000 + i % 100 && a.apps[i].got == i, "bytes are missing");
	check(!mux_streams(a.m) && !mux_memory(a.m), "something is left");
	passed("10000-streams");
}

static void test_fairness(void)
{
	const size_t count = 21;
	world_new(count, (struct mux_options){.window = 1u << 20, .window_max = 1u << 20});
	for (size_t i = 0; i < count; i++) {
		open_app(&a, i, MUX_TCP);
		a.apps[i].holds_end = true;
		a.apps[i].most = i == 1 ? 500 : 0;	// gives little at a time
	}
	settle();
	size_t total = 0, least = ALL, most = 0;
	for (size_t i = 0; i + 1 < count; i++) {
		a.apps[i].total = 1u << 20;
		mux_ready(a.apps[i].s);
	}
	while (total < 4u << 20 && !wrong) {
		total += produce(&a, MUX_OUTPUT_MIN);
		carry(&a, a.len);
	}
	for (size_t i = 0; i + 1 < count; i++) {
		if (i == 1)
			continue;
		least = a.apps[i].sent < least ? a.apps[i].sent : least;
		most = a.apps[i].sent > most ? a.apps[i].sent : most;
	}
	check(most - least <= 16384, "one got more than another");
	check(a.apps[1].sent >= 500 * (least / 16384), "who gives little was passed over");
	// A newcomer waits for one round at most.
	a.apps[count - 1].total = 100;
	mux_ready(a.apps[count - 1].s);
	for (total = 0; !b.apps[count - 1].got && total < 2u << 20;) {
		total += produce(&a, MUX_OUTPUT_MIN);
		carry(&a, a.len);
	}
	check(total <= (count + 4) * (16384 + 8) + MUX_OUTPUT_MIN, "a newcomer waited for more than a round");
	passed("fairness");
}

static void test_datagrams(void)
{
	static const size_t sizes[] = {0, 1, 1472, 9000, 65507, 65535};
	world_new(2, (struct mux_options){.window = WINDOW});
	open_app(&a, 0, MUX_UDP);
	settle();
	for (size_t i = 0; i < 6; i++) {
		struct app *p = &a.apps[0], *q = &b.apps[0];
		p->size = sizes[i];
		p->total = 7;
		p->datagrams = q->datagrams = 0;
		q->got = ALL;
		mux_ready(p->s);
		while (mux_pending(a.m)) {
			produce(&a, MUX_OUTPUT_MIN + 20000);
			while (a.len)
				carry(&a, 1 + rnd(a.len));
		}
		check(p->datagrams == 7 && q->datagrams == 7 && q->got == sizes[i] && !mux_memory(b.m), "datagrams with their boundaries");
	}
	mux_reset(b.apps[0].s, MUX_CLOSED);
	settle();
	check(a.apps[0].closed && a.apps[0].why == MUX_CLOSED, "a stream of datagrams ends");
	// A datagram that the reader fails at.
	open_app(&a, 1, MUX_UDP);
	a.apps[1].total = 3;
	a.apps[1].size = 100;
	b.apps[1].fail_data = -ECONNREFUSED;
	mux_ready(a.apps[1].s);
	settle();
	check(a.apps[1].why == MUX_REFUSED && b.apps[1].closed, "a reader of datagrams that fails");
	passed("datagrams");
}

static void test_connection(void)
{
	struct mux_stream *s;
	world_new(6, (struct mux_options){.window = WINDOW});
	check(!mux_ping(a.m) && mux_ping(a.m) == -EALREADY, "two pings at once");
	settle();
	check(a.pongs == 1 && !mux_ping(a.m), "a pong");
	settle();
	check(a.pongs == 2, "the next pong");
	// b goes while a's second stream is on its way: it comes back as one that may be tried elsewhere.
	open_app(&a, 0, MUX_TCP);
	open_app(&b, 1, MUX_TCP);
	settle();
	mux_go(b.m);
	produce(&b, MUX_OUTPUT_MIN);
	open_app(&a, 2, MUX_TCP);
	a.apps[2].total = 10;
	mux_ready(a.apps[2].s);
	produce(&a, MUX_OUTPUT_MIN);
	open_app(&a, 3, MUX_TCP);
	settle();
	check(a.goings == 1 && b.opened == 1 && a.apps[2].closed && a.apps[3].closed && a.apps[2].why == MUX_GOING && a.apps[3].why == MUX_GOING,
		"streams that were late");
	check(mux_open(&s, a.m, MUX_TCP, NULL, NULL) == -ESHUTDOWN && mux_open(&s, b.m, MUX_TCP, NULL, NULL) == -ESHUTDOWN, "mux_open after it");
	a.apps[0].total = b.apps[0].total = 50;
	mux_ready(a.apps[0].s);
	mux_ready(b.apps[0].s);
	mux_reset(a.apps[1].s, MUX_CLOSED);
	settle();
	check(a.apps[0].closed && b.apps[0].got == 50 && !mux_streams(a.m) && !mux_streams(b.m), "what was open goes on");
	passed("going");
	// Nothing is taken any more from mux_go on, though b has not said so yet.
	world_new(6, (struct mux_options){.window = WINDOW});
	settle();
	open_app(&a, 0, MUX_TCP);
	produce(&a, MUX_OUTPUT_MIN);
	mux_go(b.m);
	settle();
	check(!b.opened && a.apps[0].closed && a.apps[0].why == MUX_GOING, "a stream that came before the word was out");
	passed("going at once");

	world_new(3, (struct mux_options){.window = WINDOW});
	open_app(&a, 0, MUX_TCP);
	open_app(&a, 1, MUX_UDP);
	settle();
	open_app(&a, 2, MUX_TCP);
	mux_free(a.m);
	for (size_t i = 0; i < 3; i++)
		check(a.apps[i].closed == 1 && a.apps[i].why == MUX_LOST, "streams of a connection that is gone");
	a.m = NULL;
	passed("lost");
}

// What a peer may not send. `hex` comes after a hello; B is the receiver: A's first stream is 1. With `opened` stream 1 is open, and 2 from B.
static const struct {
	const char *name, *hex;
	bool opened, fine;
} malformed[] = {
	{"an open", "02000004 00000001 01000000", false, true},
	{"data", "00000001 00000001 55", true, true},
	{"an unknown type", "0a000000 00000001", true, false},
	{"type 255", "ff000000 00000000", true, false},
	{"data that is too long", "00010000 00000001", true, false},
	{"data of 16 MiB", "00ffffff 00000001", true, false},
	{"data for stream 0", "00000001 00000000 55", true, false},
	{"data for a stream that never was", "00000001 00000003 55", true, false},
	{"data beyond the last number", "00000001 7fffffff 55", true, false},
	{"empty data", "00000000 00000001", true, false},
	{"more than the window", "00001001 00000001", true, false},
	{"data before it is accepted", "00000001 00000002 55", true, false},
	{"an end before it is accepted", "04000000 00000002", true, false},
	{"data after the end", "04000000 00000001 00000001 00000001 55", true, false},
	{"two ends", "04000000 00000001 04000000 00000001", true, false},
	{"an end with content", "04000001 00000001 00", true, false},
	{"a second hello", "01000008 00000000 00001000 00000010", false, false},
	{"a hello of a stream", "01000008 00000001 00001000 00000010", false, false},
	{"a short open", "02000003 00000001 010000", false, false},
	{"an open of stream 0", "02000004 00000000 01000000", false, false},
	{"an open of the other side's number", "02000004 00000002 01000000", false, false},
	{"an open that leaves numbers out", "02000004 00000003 01000000", false, false},
	{"a number that was used", "02000004 00000001 01000000", true, false},
	{"a number that was used and has ended", "05000001 00000001 00 02000004 00000001 01000000", true, false},
	{"kind 0", "02000004 00000001 00000000", false, false},
	{"kind 4", "02000004 00000001 04000000", false, false},
	{"a port without a host", "02000004 00000001 01000050", false, false},
	{"a host without a port", "02000008 00000001 01020000 0a000001", false, false},
	{"a name", "02000006 00000001 01010050 6462", false, true},
	{"an empty name", "02000004 00000001 01010050", false, false},
	{"a name with capitals", "02000006 00000001 01010050 4442", false, false},
	{"a name with a space", "02000007 00000001 01010050 642062", false, false},
	{"a name with a zero", "02000007 00000001 01010050 640062", false, false},
	{"a name with a dot at its end", "02000007 00000001 01010050 64622e", false, false},
	{"an address as a name", "0200000b 00000001 01010050 31302e302e302e31", false, false},
	{"an IPv4 address", "02000008 00000001 01020050 0a000001", false, true},
	{"an IPv4 address of five bytes", "02000009 00000001 01020050 0a00000100", false, false},
	{"an IPv6 address of four bytes", "02000008 00000001 01030050 0a000001", false, false},
	{"an IPv4 address as one of IPv6", "02000014 00000001 01030050 00000000000000000000ffff0a000001", false, false},
	{"an IPv6 address", "02000014 00000001 01030050 20010db8000000000000ffff0a000001", false, true},
	{"host type 4", "02000008 00000001 01040050 0a000001", false, false},
	{"a packet stream with a host", "02000008 00000001 03020050 0a000001", false, false},
	{"an accept of its own stream", "03000000 00000001", true, false},
	{"an accept", "03000000 00000002", true, true},
	{"two accepts", "03000000 00000002 03000000 00000002", true, false},
	{"a reset without a reason", "05000000 00000001", true, false},
	{"a reset of an unknown reason", "05000001 00000001 ff", true, true},
	{"a reset of what never was", "05000001 00000005 01", true, false},
	{"data after a reset", "05000001 00000001 01 00000001 00000001 55", true, true},
	{"a credit of nothing", "06000004 00000001 00000000", true, false},
	{"a credit beyond 2^31", "06000004 00000001 7fffffff", true, false},
	{"a credit of 2^32-1", "06000004 00000001 ffffffff", true, false},
	{"a credit for datagrams", "02000004 00000003 02000000 06000004 00000003 00000001", true, false},
	{"an end of datagrams", "02000004 00000003 02000000 04000000 00000003", true, false},
	{"an empty datagram", "02000004 00000003 02000000 00000000 00000003", true, true},
	{"an empty packet", "02000004 00000003 03000000 00000000 00000003", true, false},
	{"a ping", "07000008 00000000 0000000000000001", false, true},
	{"two pings at once", "07000008 00000000 0000000000000001 07000008 00000000 0000000000000002", false, false},
	{"a short ping", "07000004 00000000 00000001", false, false},
	{"a pong to no ping", "08000008 00000000 0000000000000001", false, false},
	{"going", "09000004 00000000 00000002", true, true},
	{"going twice", "09000004 00000000 00000000 09000004 00000000 00000000", true, false},
	{"going after a stream that never was", "09000004 00000000 00000004", true, false},
	{"going after its own stream", "09000004 00000000 00000001", true, false},
};

static size_t unhex(uint8_t *out, const char *hex)
{
	size_t n = 0;
	for (; *hex; hex += 2) {
		unsigned int v;
		while (*hex == ' ')
			hex++;
		if (sscanf(hex, "%2x", &v) != 1)
			abort();
		out[n++] = (uint8_t)v;
	}
	return n;
}

// Streams of these tests have no user.
static int any_opened(void *ctx, struct mux_stream *s)
{
	(void)ctx;
	mux_accept(s);
	return 0;
}

static void any_stream(void *ctx, struct mux_stream *s)
{
	(void)ctx, (void)s;
}

static ssize_t any_data(void *ctx, struct mux_stream *s, const uint8_t *bytes, size_t len)
{
	(void)ctx, (void)s, (void)bytes, (void)len;
	return -EAGAIN;
}

static void any_closed(void *ctx, struct mux_stream *s, enum mux_error why)
{
	(void)ctx, (void)s, (void)why;
}

static ssize_t any_pull(void *ctx, struct mux_stream *s, uint8_t *buf, size_t size)
{
	(void)ctx, (void)s, (void)buf, (void)size;
	return -EAGAIN;
}

static const struct mux_ops any = {any_opened, any_stream, any_pull, any_data, any_stream, any_closed, NULL, NULL};

static int fed(size_t which, size_t piece)
{
	static uint8_t out[2 * MUX_OUTPUT_MIN];
	uint8_t bytes[256];
	size_t n = unhex(bytes, "010000080000000000001000 00000010");
	struct mux_options o = {.window = WINDOW, .streams = 4};
	int err;
	struct mux *m = mux_new(&o, &any, NULL);
	if (!m)
		abort();
	if (malformed[which].opened)
		n += unhex(bytes + n, "0200000400000001 01000000");
	err = mux_input(m, bytes, n);
	if (malformed[which].opened) {
		struct mux_stream *s;
		if (mux_open(&s, m, MUX_TCP, NULL, NULL))
			abort();
		mux_output(m, out, sizeof(out));
	}
	n = unhex(bytes, malformed[which].hex);
	for (size_t at = 0; at < n && !err; at += piece) {
		size_t len = n - at < piece ? n - at : piece;
		uint8_t *copy = malloc(len);	// so that the sanitizer sees what is read behind it
		if (!copy)
			abort();
		memcpy(copy, bytes + at, len);
		err = mux_input(m, copy, len);
		free(copy);
	}
	if (err && (!*mux_reason(m) || mux_pending(m) || mux_output(m, out, sizeof(out)) || mux_input(m, bytes, 1) != -EPROTO))
		err = -EINVAL;
	mux_free(m);
	return err;
}

static void test_malformed(void)
{
	for (size_t i = 0; i < sizeof(malformed) / sizeof(malformed[0]); i++) {
		for (size_t piece = 1; piece < 40; piece++) {
			int err = fed(i, piece), want = malformed[i].fine ? 0 : -EPROTO;
			if (err != want) {
				ok("malformed", false, "%s in pieces of %zu: %d", malformed[i].name, piece, err);
				return;
			}
		}
	}
	// Whatever comes first is a hello, with a window.
	static const char *const first[] = {
		"0700000800000000 0000000000000001", "0200000400000001 01000000", "0100000800000000 00000000 00000010",
		"0100000800000000 80000000 00000010", "0100000700000000 00000000 000000",
	};
	for (size_t i = 0; i < 5; i++) {
		uint8_t bytes[64];
		struct mux_options o = {0};
		struct mux *m = mux_new(&o, &any, NULL);
		size_t n = unhex(bytes, first[i]);
		int err = m ? mux_input(m, bytes, n) : 0;
		mux_free(m);
		if (err != -EPROTO) {
			ok("malformed", false, "first frame %zu: %d", i, err);
			return;
		}
	}
	// More streams than were allowed.
	uint8_t bytes[64];
	struct mux_options o = {.streams = 4};
	struct mux *m = mux_new(&o, &any, NULL);
	int err = mux_input(m, bytes, unhex(bytes, "010000080000000000001000 00000010"));
	for (uint32_t i = 0; i < 5 && !err; i++) {
		unhex(bytes, "0200000400000001 01000000");
		mux_put32(bytes + 4, i * 2 + 1);
		err = mux_input(m, bytes, 12);
		if (i == 4 && err == -EPROTO)
			err = 1;
	}
	mux_free(m);
	ok("malformed", err == 1, "a fifth stream where four are allowed: %d", err);
}

int main(void)
{
	test_half_close();
	test_reset();
	test_credit();
	test_limits();
	test_datagrams();
	test_connection();
	test_fairness();
	test_malformed();
	test_numbers();
	test_random();
	return ok_failed ? 1 : 0;
}

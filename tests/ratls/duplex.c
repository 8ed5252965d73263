// SPDX-License-Identifier: Apache-2.0
// Both directions of a connection at once: one of them ended, both full, a peer that is silent or sends what is none of its business.
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "cli/tls.h"
#include "lib/tls.h"
#include "ratls/connection.h"
#include "tests/ratls/world.h"

static struct ratls_context *verifier, *prover, *both, *bare;

static void meet(struct pair *p, struct ratls_context *client, struct ratls_context *server)
{
	pair_open(p, client, server);
	pair_meet(p, NULL, NULL);
	if (p->client_error || p->server_error)
		ok("ratls: two that meet", false, "%s, %s", ratls_reason(p->client), ratls_reason(p->server));
}

// Half of a connection has ended, and proofs go on in both directions: each end verifies, each has ended or not.
static void test_half_closed(void)
{
	for (int i = 0; i < 4; i++) {
		struct pair p;
		char buf[64], label[96];
		meet(&p, both, both);
		struct ratls_connection *ended = i & 1 ? p.server : p.client, *open = i & 1 ? p.client : p.server, *asks = i & 2 ? ended : open;
		int err = ratls_end(ended, 60000);
		ssize_t eof = ratls_read(open, buf, sizeof buf, 60000);
		ratls_attest_again(asks);
		bool told = true, spins = false;
		for (int k = 0; k < 10; k++) {
			int timeout;
			bool ready;
			ratls_read(ended, buf, sizeof buf, 0);
			told &= !ratls_read(open, buf, sizeof buf, 0);
			ratls_wants(open, &timeout, &ready);
			spins |= ready;
		}
		snprintf(label, sizeof label, "ratls: a proof over half a connection, asked for by who has %s",
			 asks == ended ? "ended" : "not ended");
		ok(label, !err && !eof && told && !spins && strstr(ratls_peer(asks), "\"proofs\":2") && says(open, ended, "still here"),
		   "%d %zd %d %s %s", err, eof, spins, ratls_reason(p.client), ratls_reason(p.server));
		// And the rest ends as ever.
		ok(label, !ratls_end(open, 60000) && !ratls_read(ended, buf, sizeof buf, 60000), "%s", ratls_reason(ended));
		pair_close(&p);
	}
	// Who has ended and gone is no event for ever.
	struct pair p;
	char buf[8];
	int timeout;
	bool ready;
	meet(&p, verifier, prover);
	ratls_end(p.server, 60000);
	shutdown(ratls_fd(p.server), SHUT_WR);
	ssize_t n = ratls_read(p.client, buf, sizeof buf, 60000), m = ratls_read(p.client, buf, sizeof buf, 0);
	short wants = ratls_wants(p.client, &timeout, &ready);
	ok("ratls: a peer that ended and left", !n && !m && !(wants & POLLIN) && !ready && says(p.client, p.server, "yes"), "%zd %zd %d %d %s", n, m,
	   wants, ready, ratls_reason(p.client));
	pair_close(&p);
}

// More than the socket takes, without a look at what has come.
static void fill(struct ratls_connection *c)
{
	static const char data[200000];
	c->looked_ms = clock_ms() + 1000000;
	for (int i = 0; i < 8 && !connection_has_to_send(c); i++)
		ratls_write(c, data, sizeof data, 0);
}

// Ends its side, and reads the other's: 0 when both went well.
static ssize_t end_and_read(struct ratls_connection *c)
{
	char buf[4096];
	ssize_t n = ratls_end(c, 60000);
	if (n)
		return n;
	do
		n = ratls_read(c, buf, sizeof buf, 60000);
	while (n > 0);
	return n;
}

static void *end_it(void *c)
{
	return (void *)(intptr_t)end_and_read(c);
}

// What can neither be sent nor read: each waits for the other to read, and both must.
static void test_full(void)
{
	struct pair p;
	pthread_t t;
	void *result;
	meet(&p, verifier, prover);
	fill(p.client);
	fill(p.server);
	bool full = connection_has_to_send(p.client) && connection_has_to_send(p.server);
	pthread_create(&t, NULL, end_it, p.client);
	int err = (int)end_and_read(p.server);
	pthread_join(t, &result);
	ok("ratls: two ends of a full connection", full && !err && !result, "%d %d %d", full, err, (int)(intptr_t)result);
	pair_close(&p);

	// Without waiting the rest goes out later.
	static char buf[65536];
	meet(&p, verifier, prover);
	fill(p.server);
	size_t got = 0;
	int first = ratls_end(p.server, 0);
	ssize_t n;
	for (int i = 0; i < 1000; i++) {
		while ((n = ratls_read(p.client, buf, sizeof buf, 0)) > 0)
			got += (size_t)n;
		if (!n)
			break;
		ratls_write(p.server, NULL, 0, 0);
	}
	ok("ratls: an end that does not wait", first == -EAGAIN && !n && got, "%d %zd %zu", first, n, got);
	pair_close(&p);
}

static double cpu_s(void)
{
	struct timespec t;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

// A writer sleeps while it cannot write, whatever lies there to be read.
static void test_no_spin(void)
{
	for (int session = 0; session < 2; session++) {
		struct pair p;
		meet(&p, session ? verifier : bare, session ? prover : bare);
		for (int i = 0; i < 8; i++) {	// more than is kept, and the socket's own
			fill(p.server);
			ratls_write(p.client, NULL, 0, 0);
		}
		fill(p.client);
		double from = cpu_s();
		ssize_t n = ratls_write(p.client, "x", 1, 600);
		double used = cpu_s() - from;
		ok("ratls: a writer that must wait sleeps", n <= 1 && used < 0.2, "%zd, %.3f s of the processor", n, used);
		pair_close(&p);
	}
}

// A few bytes at a time into a socket that takes no more: none waits longer than it may.
static void test_trickle(void)
{
	for (int session = 0; session < 2; session++) {
		struct pair p;
		char buf[64];
		meet(&p, session ? verifier : bare, session ? prover : bare);
		size_t sent = 0, got = 0;
		ssize_t n = 0;
		for (int i = 0; i < 100000 && n >= 0; i++) {
			n = ratls_write(p.client, "x", 1, 0);
			sent += n > 0 ? (size_t)n : 0;
		}
		bool full = n == -EAGAIN;
		for (int i = 0; i < 1000 && (n > 0 || n == -EAGAIN) && got < sent; i++) {
			while ((n = ratls_read(p.server, buf, sizeof buf, 0)) > 0)
				got += (size_t)n;
			ratls_write(p.client, NULL, 0, 0);
		}
		ok("ratls: byte by byte into a full socket", full && got == sent, "%d, %zu of %zu", full, got, sent);
		pair_close(&p);
	}
}

// Cut off when it is due, not when somebody happens to look.
static void test_silent(void)
{
	struct ratls_options o = options_of(NULL, &good);
	o.renew_seconds = o.answer_seconds = 1;
	struct ratls_context *ctx = context_of(&o);
	struct pair p;
	char buf[8];
	meet(&p, ctx, prover);
	int64_t from = clock_ms();
	ssize_t n = ratls_read(p.client, buf, sizeof buf, 50000);
	int64_t took = clock_ms() - from;
	ok("ratls: a silent peer is cut off in time", n == -EKEYREJECTED && took < 30000, "%zd after %lld ms", n, (long long)took);
	pair_close(&p);
	ratls_context_free(ctx);
	// Asked again and again for an answer, the same time counts.
	meet(&p, verifier, prover);
	ratls_attest_again(p.client);
	p.client->since_challenge = 1000;
	int64_t by = p.client->x.answer_by_ms;
	ratls_attest_again(p.client);
	ok("ratls: asking twice does not put it off", p.client->since_challenge == 1000 && p.client->x.answer_by_ms == by, "%d",
	   (int)p.client->since_challenge);
	pair_close(&p);
}

// A prover whose records OpenSSL makes, so that a test may send what it likes by it.
static struct ratls_context *raw_prover(void)
{
	struct ratls_options o = options_of(&good, NULL);
	struct ratls_context *ctx = context_of(&o);
	ctx->openssl_records = true;
	return ctx;
}

static void test_frames(void)
{
	static const struct {
		const char *name, *bytes;
		size_t len;
	} all[] = {
		{"data of no length", "\0\0\0\0", 4}, {"data behind the end", "\4\0\0\0\0\0\0\1z", 9}, {"a second end", "\4\0\0\0\4\0\0\0", 8},
	};
	for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
		struct pair p;
		char buf[8], label[96];
		struct ratls_context *raw = raw_prover();
		meet(&p, verifier, raw);
		SSL_write(p.server->ssl, all[i].bytes, (int)all[i].len);
		ssize_t n = ratls_read(p.client, buf, sizeof buf, 60000);
		snprintf(label, sizeof label, "ratls: %s", all[i].name);
		ok(label, n == -EPROTO, "%zd %s", n, ratls_reason(p.client));
		pair_close(&p);
		ratls_context_free(raw);
	}
}

// A peer that changes its traffic keys without end keeps nobody busy for ever; one that does so with data between may.
static void test_keys(void)
{
	for (int data = 0; data < 2; data++) {
		struct pair p;
		char buf[16];
		ssize_t n = -EAGAIN;
		struct ratls_context *raw = raw_prover();
		meet(&p, verifier, raw);
		for (int i = 0; i < 30000 && (n == -EAGAIN || n > 0); i++) {
			if (SSL_key_update(p.server->ssl, SSL_KEY_UPDATE_NOT_REQUESTED) != 1 || SSL_do_handshake(p.server->ssl) != 1)
				abort();
			if (data && i % 1000 == 0)
				ratls_write(p.server, "x", 1, 0);
			if (i % 100 == 0)
				n = ratls_read(p.client, buf, sizeof buf, 0);
		}
		ok(data ? "ratls: new keys, and data" : "ratls: new keys without end", data ? n == -EAGAIN || n > 0 : n == -EPROTO, "%zd %s", n,
		   ratls_reason(p.client));
		pair_close(&p);
		ratls_context_free(raw);
	}
}

static int count(void *ctx, enum frame_type type, const void *bytes, size_t len)
{
	(void)type, (void)bytes, (void)len;
	++*(unsigned int *)ctx;
	return 0;
}

// Who renews each second is answered, for as long as it likes; who asks without a pause is not, also when it was quiet for long.
static void test_rate(void)
{
	static const uint8_t nonce[32];
	unsigned int sent = 0, answered = 0;
	struct exchange_state x = {.self = prover->self, .peer_verifies = true, .send = count, .ctx = &sent};
	struct ratls_work *w;
	struct fault f = {""};
	int err = 0;
	int64_t now = 1000;
	for (int i = 0; i < 200 && !err; i++, now += 1000) {
		err = exchange_take(&x, FRAME_CHALLENGE, nonce, sizeof nonce, now, &w, &f);
		work_release(err ? NULL : w);
	}
	ok("ratls: one that renews each second", !err, "%d %s at %lld", err, f.text, (long long)now);
	now += 3600000;
	while (!(err = exchange_take(&x, FRAME_CHALLENGE, nonce, sizeof nonce, now, &w, &f)) && answered < 1000) {
		work_release(w);
		answered++;
	}
	ok("ratls: one that asks without a pause", err == -EPROTO && answered < 20, "%d after %u", err, answered);
}

// Hardware whose trouble has the number of one of TLS's.
static void test_hardware(void)
{
	static const int all[] = {-EAGAIN, -EKEYREJECTED, -EACCES, -ECONNRESET};
	for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
		struct pair p;
		struct ratls_connection *c;
		struct ratls_error e;
		struct machine broken = good;
		struct ratls_options o = options_of(&broken, NULL);
		struct ratls_context *ctx = context_of(&o);
		int fds[2];
		pair_open(&p, verifier, ctx);	// the certificate is made
		broken.fails = all[i];
		pair_meet(&p, NULL, NULL);
		ok("ratls: hardware that fails in the session", p.server_error == -EIO && p.client_error == -EKEYREJECTED, "%d: %d %d", all[i],
		   p.server_error, p.client_error);
		pair_close(&p);
		ratls_context_free(ctx);
		ctx = context_of(&o);
		if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds))
			abort();
		int err = ratls_accept(&c, ctx, fds[0], &e);
		ok("ratls: hardware that fails before", err == -EIO, "%d: %d", all[i], err);
		close(fds[1]);
		ratls_context_free(ctx);
	}
}

struct relayed {
	struct ratls_connection *c;
	int in, out, err;
};

static void *relay(void *arg)
{
	struct relayed *r = arg;
	r->err = tls_relay(r->c, r->in, r->out, true);
	r->in = ratls_end(r->c, 60000);
	return NULL;
}

// `coffer tls` answers challenges while the program behind it reads nothing.
static void test_relay(void)
{
	static const char data[100000];
	struct pair p;
	pthread_t t;
	int in[2], out[2];
	char buf[4096];
	if (pipe(in) || pipe(out))
		abort();
	meet(&p, verifier, prover);
	struct relayed r = {p.server, in[0], out[1], 0};
	pthread_create(&t, NULL, relay, &r);
	ssize_t sent = ratls_write(p.client, data, sizeof data, 60000);	// more than the pipe holds
	for (int n = 0, last = -1, i = 0; i < 100 && (n <= 0 || n != last); i++) {	// until the pipe is full
		last = n;
		poll(NULL, 0, 50);
		if (ioctl(out[0], FIONREAD, &n))
			abort();
	}
	ratls_attest_again(p.client);
	for (int i = 0; i < 600 && !strstr(ratls_peer(p.client), "\"proofs\":2"); i++)
		ratls_read(p.client, buf, 1, 100);
	ok("ratls: a relay whose reader is slow", sent == sizeof data && strstr(ratls_peer(p.client), "\"proofs\":2"), "%zd %s", sent,
	   ratls_reason(p.client));
	ratls_end(p.client, 60000);
	close(in[1]);
	size_t got = 0;
	for (ssize_t n; (n = read(out[0], buf, sizeof buf)) > 0;)
		got += (size_t)n;
	ssize_t n = ratls_read(p.client, buf, sizeof buf, 60000);
	pthread_join(t, NULL);
	ok("ratls: and all comes through it", got == sizeof data && !n && !r.err, "%zu %zd %d", got, n, r.err);
	close(in[0]);
	close(out[0]);
	pair_close(&p);
}

int main(void)
{
	if (!world_begin())
		return 1;
	struct ratls_options v = options_of(NULL, &good), a = options_of(&good, NULL), m = options_of(&good, &good),
			     b = {.insecure_any_server = true, .session = RATLS_SESSION_OFF};
	verifier = context_of(&v);
	prover = context_of(&a);
	both = context_of(&m);
	bare = context_of(&b);
	test_half_closed();
	test_full();
	test_no_spin();
	test_trickle();
	test_silent();
	test_frames();
	test_keys();
	test_rate();
	test_hardware();
	test_relay();
	ratls_context_free(verifier);
	ratls_context_free(prover);
	ratls_context_free(both);
	ratls_context_free(bare);
	return world_end();
}

// SPDX-License-Identifier: Apache-2.0
// Deferred work: nothing that takes long is done by who drives a connection, data pass meanwhile, and connections may go away under it. And
// protocols' names.
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/tls.h"
#include "ratls/connection.h"
#include "tests/ratls/world.h"

static pthread_t driver;
static unsigned int in_line;	// how often the hardware was asked by the thread that drives connections

static int collect(void *ctx, const uint8_t report_data[64], struct ratls_evidence *out)
{
	in_line += pthread_equal(driver, pthread_self());
	return machine_collect(ctx, report_data, out);
}

static void *help(void *w)
{
	ratls_work_run(w);
	return NULL;
}

// Gives work of this connection to another thread, and waits for it: how much there was.
static unsigned int serve(struct ratls_connection *c)
{
	struct ratls_work *w = ratls_work_take(c);
	pthread_t t;
	if (!w)
		return 0;
	if (pthread_create(&t, NULL, help, w))
		abort();
	bool once = !ratls_work_take(c);
	pthread_join(t, NULL);
	return ok("ratls: deferred: one piece at a time, given once", once && !ratls_work_take(c), "more") ? 1 : 100;
}

struct loop {
	struct pair *p;
	unsigned int work[2];
};

static void between(void *ctx)
{
	struct loop *l = ctx;
	l->work[0] += serve(l->p->client);
	l->work[1] += serve(l->p->server);
}

static unsigned int meet(struct pair *p, struct ratls_context *client, struct ratls_context *server)
{
	struct loop l = {.p = p};
	pair_open(p, client, server);
	pair_meet(p, between, &l);
	return l.work[0] + l.work[1];
}

static struct ratls_options deferred(struct machine *m, const struct machine *peer)
{
	struct ratls_options o = options_of(m, peer);
	if (m)
		o.collect = collect;
	o.defer = true;
	return o;
}

static void test_handshakes(void)
{
	static const struct {
		const char *name;
		bool client_attests, server_attests, client_defers, server_defers;
		enum ratls_session session;
		unsigned int first, second;	// pieces of work: of the first handshake and of one with what is kept
	} all[] = {
		// A server's certificate, a client's; the verdicts about them; proofs and their verdicts.
		{"the server proves itself", false, true, true, true, RATLS_SESSION_REQUIRED, 4, 2},
		{"the client proves itself", true, false, true, true, RATLS_SESSION_REQUIRED, 5, 2},
		{"both do", true, true, true, true, RATLS_SESSION_REQUIRED, 8, 4},
		{"both do, the client defers nothing", true, true, false, true, RATLS_SESSION_REQUIRED, 4, 2},
		{"both do, the server defers nothing", true, true, true, false, RATLS_SESSION_REQUIRED, 4, 2},
		{"certificates alone", true, true, true, true, RATLS_SESSION_OFF, 4, 0},
	};
	for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
		struct ratls_options client = deferred(all[i].client_attests ? &good : NULL, all[i].server_attests ? &good : NULL);
		struct ratls_options server = deferred(all[i].server_attests ? &good : NULL, all[i].client_attests ? &good : NULL);
		client.insecure_any_server = !all[i].server_attests;
		client.defer = all[i].client_defers;
		server.defer = all[i].server_defers;
		client.session = server.session = all[i].session;
		struct ratls_context *c = context_of(&client), *s = context_of(&server);
		char label[128];
		for (int again = 0; again < 2; again++) {
			struct pair p;
			in_line = 0;
			unsigned int work = meet(&p, c, s), due = again ? all[i].second : all[i].first;
			snprintf(label, sizeof label, "ratls: deferred: %s%s", all[i].name, again ? ", again" : "");
			ok(label,
			   !p.client_error && !p.server_error && work == due && says(p.client, p.server, "question") &&
				   says(p.server, p.client, "answer"),
			   "client %d '%s', server %d '%s', %u pieces of %u", p.client_error, ratls_reason(p.client), p.server_error,
			   ratls_reason(p.server), work, due);
			if (client.defer && server.defer)
				ok(label, !in_line, "the hardware was asked in line %u times", in_line);
			pair_close(&p);
		}
		ratls_context_free(c);
		ratls_context_free(s);
	}
}

// Refused as ever, before a byte of the program's has passed.
static void test_refused(void)
{
	for (int session = 0; session < 2; session++) {
		struct ratls_options client = deferred(NULL, &other), server = deferred(&good, NULL), bare = {.defer = true};
		client.session = server.session = session ? RATLS_SESSION_REQUIRED : RATLS_SESSION_OFF;
		bare.session = client.session;
		struct ratls_context *c = context_of(&client), *s = context_of(&server), *b = context_of(&bare);
		struct pair p;
		meet(&p, c, s);
		ok("ratls: deferred: another program", p.client_error == -EKEYREJECTED && strstr(ratls_reason(p.client), "measurement: expected") &&
		   (!session || (p.server_error == -EACCES && strstr(ratls_reason(p.server), "measurement"))), "%d %s, %d %s", p.client_error,
		   ratls_reason(p.client), p.server_error, ratls_reason(p.server));
		pair_close(&p);
		meet(&p, c, b);
		ok("ratls: deferred: no evidence", p.client_error == -EKEYREJECTED && strstr(ratls_reason(p.client), "carries no evidence"), "%d %s",
		   p.client_error, ratls_reason(p.client));
		pair_close(&p);
		ratls_context_free(c);
		ratls_context_free(s);
		ratls_context_free(b);
	}
	// A certificate that cannot be made.
	struct machine broken = good;
	broken.fails = -EAGAIN;
	struct ratls_options client = deferred(NULL, &good), server = deferred(&broken, NULL);
	struct ratls_context *c = context_of(&client), *s = context_of(&server);
	struct pair p;
	meet(&p, c, s);
	ok("ratls: deferred: hardware that gives none", p.server_error == -EIO && p.client_error, "%d %s", p.server_error, ratls_reason(p.server));
	pair_close(&p);
	ratls_context_free(c);
	ratls_context_free(s);
}

// While proofs are renewed: data go both ways; what is taken may be dropped; what is never done costs the connection.
static void test_renewal(void)
{
	struct ratls_options client = deferred(&good, &good), server = deferred(&good, &good);
	struct ratls_context *c = context_of(&client), *s = context_of(&server);
	struct pair p;
	char buf[64];
	int timeout;
	bool ready;
	meet(&p, c, s);
	int err = ratls_attest_again(p.client);
	ssize_t n = ratls_read(p.server, buf, sizeof buf, 0);
	struct ratls_work *answer = ratls_work_take(p.server);
	ok("ratls: deferred: a proof is asked for", !err && n == -EAGAIN && answer, "%d %zd", err, n);
	ok("ratls: deferred: data pass while it is made", says(p.client, p.server, "question") && says(p.server, p.client, "answer"), "%s",
	   ratls_reason(p.client));
	// The server asks as well: its challenge is answered, and what it is answered waits behind its own work.
	err = ratls_attest_again(p.server);
	n = ratls_read(p.client, buf, sizeof buf, 0);
	unsigned int served = serve(p.client);
	ratls_read(p.client, buf, sizeof buf, 0);
	ssize_t m = ratls_read(p.server, buf, sizeof buf, 0);
	short wants = ratls_wants(p.server, &timeout, &ready);
	ok("ratls: deferred: a proof waits behind other work, and nobody spins", !err && served == 1 && m == -EAGAIN && !(wants & POLLIN) && !ready,
	   "%zd %zd %d %d", n, m, wants, ready);
	ratls_work_run(answer);
	for (int i = 0; i < 20; i++) {
		ratls_read(p.server, buf, sizeof buf, 0);
		ratls_read(p.client, buf, sizeof buf, 0);
		serve(p.server);
		serve(p.client);
	}
	ok("ratls: deferred: and both are proved", strstr(ratls_peer(p.client), "\"proofs\":2") && strstr(ratls_peer(p.server), "\"proofs\":2"),
	   "%s, %s", ratls_peer(p.client), ratls_peer(p.server));
	ok("ratls: deferred: data behind it", says(p.client, p.server, "question") && says(p.server, p.client, "answer"), "%s",
	   ratls_reason(p.client));
	// A connection that is closed under its work.
	ratls_attest_again(p.client);
	ratls_read(p.server, buf, sizeof buf, 0);
	answer = ratls_work_take(p.server);
	pair_close(&p);
	ratls_context_free(c);
	ratls_context_free(s);
	ok("ratls: deferred: work outlives its connection and its context", answer, "there is none");
	ratls_work_run(answer);
	// Work that nobody takes goes with its connection; and a proof that is judged by nobody is none.
	client.answer_seconds = 1;
	c = context_of(&client);
	s = context_of(&server);
	meet(&p, c, s);
	ratls_attest_again(p.client);
	ratls_read(p.server, buf, sizeof buf, 0);
	serve(p.server);
	ratls_read(p.server, buf, sizeof buf, 0);
	n = ratls_read(p.client, buf, sizeof buf, 0);
	bool judged = n != -EAGAIN || !p.client->work;
	for (int64_t end = clock_ms() + 20000; n == -EAGAIN && clock_ms() < end;) {
		ratls_wants(p.client, &timeout, &ready);
		poll(NULL, 0, timeout < 0 ? 1000 : timeout);
		n = ratls_read(p.client, buf, sizeof buf, 0);
	}
	ok("ratls: deferred: a proof that nobody judges", !judged && n == -EKEYREJECTED && strstr(ratls_reason(p.client), "not judged in time"),
	   "%d %zd %s", judged, n, ratls_reason(p.client));
	pair_close(&p);
	ratls_context_free(c);
	ratls_context_free(s);
}

static void test_alpn(void)
{
	static const char *const mux[] = {"coffer-mux/1", NULL}, *const both[] = {"x/2", "coffer-mux/1", NULL},
				 *const turned[] = {"coffer-mux/1", "x/2", NULL};
	static const char *const others[] = {"h2", "http/1.1", NULL};
	static const struct {
		const char *name;
		const char *const *client, *const *server;
		const char *agreed;
	} all[] = {
		{"one name", mux, mux, "coffer-mux/1"},	      {"the server's order counts", both, turned, "coffer-mux/1"},
		{"a client that offers none", NULL, mux, ""}, {"a server that knows none", mux, NULL, ""},
		{"none in common", others, mux, ""},	      {"one of several", both, mux, "coffer-mux/1"},
	};
	for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
		struct ratls_options client = options_of(NULL, &good), server = options_of(&good, NULL);
		client.alpn = all[i].client;
		server.alpn = all[i].server;
		struct ratls_context *c = context_of(&client), *s = context_of(&server);
		struct pair p;
		char label[96];
		pair_open(&p, c, s);
		ratls_context_free(c);	// the name lasts as long as the connection
		ratls_context_free(s);
		pair_meet(&p, NULL, NULL);
		snprintf(label, sizeof label, "ratls: protocols: %s", all[i].name);
		ok(label,
		   !p.client_error && !p.server_error && !strcmp(ratls_alpn(p.client), all[i].agreed) &&
			   !strcmp(ratls_alpn(p.server), all[i].agreed) && says(p.client, p.server, "question"),
		   "%d '%s' '%s'", p.client_error, ratls_alpn(p.client), ratls_alpn(p.server));
		pair_close(&p);
	}
	char longest[300];
	const char *const names[] = {longest, NULL}, *const empty[] = {"", NULL};
	struct ratls_options o = {.alpn = names};
	struct ratls_context *ctx;
	struct ratls_error e;
	memset(longest, 'a', sizeof longest);
	longest[256] = '\0';
	int err = ratls_context_new(&ctx, &o, &e);
	o.alpn = empty;
	ok("ratls: protocols: names that are none", err == -EINVAL && ratls_context_new(&ctx, &o, &e) == -EINVAL, "%d %s", err, e.text);
}

// A server that chooses what was not offered.
static int choose_other(SSL *ssl, const unsigned char **out, unsigned char *len, const unsigned char *in, unsigned int in_len, void *ctx)
{
	(void)ssl, (void)in, (void)in_len, (void)ctx;
	*out = (const unsigned char *)"other";
	*len = 5;
	return SSL_TLSEXT_ERR_OK;
}

static void test_alpn_forced(void)
{
	static const char *const mux[] = {"coffer-mux/1", NULL};
	struct ratls_options client = options_of(NULL, &good), server = options_of(&good, NULL);
	client.alpn = server.alpn = mux;
	struct ratls_context *c = context_of(&client), *s = context_of(&server);
	struct pair p;
	SSL_CTX_set_alpn_select_cb(s->server, choose_other, NULL);
	pair_open(&p, c, s);
	pair_meet(&p, NULL, NULL);
	ok("ratls: protocols: one that was not offered", p.client_error == -EPROTO, "%d %s", p.client_error, ratls_reason(p.client));
	pair_close(&p);
	ratls_context_free(c);
	ratls_context_free(s);
}

int main(void)
{
	if (!world_begin())
		return 1;
	driver = pthread_self();
	test_handshakes();
	test_refused();
	test_renewal();
	test_alpn();
	test_alpn_forced();
	return world_end();
}

// SPDX-License-Identifier: Apache-2.0
// Attested TLS between two of Coffer's: who attests, who verifies, proofs in the session and their renewal, what is refused, data, ends and cuts.
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/file.h"
#include "lib/tls.h"
#include "ratls/connection.h"
#include "tests/ratls/world.h"

static bool peer_is(struct ratls_connection *c, const char *verdict, const char *model, int proved)
{
	json_t *o = json_loads(ratls_peer(c), 0, NULL);
	const char *v = json_string_value(json_object_get(o, "verdict")), *m = json_string_value(json_object_get(o, "model"));
	bool ok = v && m && !strcmp(v, verdict) && !strcmp(m, model) && json_is_true(json_object_get(json_object_get(o, "session"), "proved")) == proved;
	json_decref(o);
	return ok;
}

// Both handshakes end as expected (client, server), and then bytes pass.
static void expect(const char *name, const struct ratls_options *client, const struct ratls_options *server, int client_error, int server_error, const char *why)
{
	struct ratls_context *c = context_of(client), *s = context_of(server);
	struct pair p;
	char label[160];
	snprintf(label, sizeof label, "ratls: %s", name);
	pair_open(&p, c, s);
	pair_meet(&p, NULL, NULL);
	bool as = p.client_error == client_error && p.server_error == server_error;
	const char *reason = client_error == -EKEYREJECTED ? ratls_reason(p.client) : server_error == -EKEYREJECTED ? ratls_reason(p.server) : "";
	bool worded = strstr(reason, why);
	bool talk = client_error || server_error || (says(p.client, p.server, "question") && says(p.server, p.client, "answer"));
	ok(label, as && worded && talk, "client %d '%s', server %d '%s'", p.client_error, ratls_reason(p.client), p.server_error, ratls_reason(p.server));
	pair_close(&p);
	ratls_context_free(c);
	ratls_context_free(s);
}

static void test_who(void)
{
	struct ratls_options attests = options_of(&good, NULL), verifies = options_of(NULL, &good), mutual = options_of(&good, &good);
	struct ratls_options shows = options_of(&good, NULL), asks = options_of(NULL, &good), nothing = {.session = RATLS_SESSION_REQUIRED};
	shows.insecure_any_server = nothing.insecure_any_server = true;
	expect("the server proves itself", &verifies, &attests, 0, 0, "");
	expect("the client proves itself", &shows, &asks, 0, 0, "");
	expect("both do", &mutual, &mutual, 0, 0, "");
	expect("neither does", &nothing, &nothing, 0, 0, "");
	verifies.session = attests.session = RATLS_SESSION_OFF;
	expect("certificates alone", &verifies, &attests, 0, 0, "");
	verifies.session = RATLS_SESSION_WANTED;
	expect("certificates alone, though more is wanted", &verifies, &attests, 0, 0, "");
	verifies.session = RATLS_SESSION_REQUIRED;
	expect("a certificate alone is refused unless asked for", &verifies, &attests, -EKEYREJECTED, 0, "--session wanted");
}

// Both prove themselves, and whose last message comes last is chance: each must find that it has all, without another byte to wake it.
static void test_often(void)
{
	struct ratls_options mutual = options_of(&good, &good);
	struct ratls_context *c = context_of(&mutual), *s = context_of(&mutual);
	int bad = 0, done = 0;
	for (; done < 40 && !bad; done++) {
		struct pair p;
		pair_open(&p, c, s);
		pair_meet(&p, NULL, NULL);
		bad = p.client_error ? p.client_error : p.server_error;
		pair_close(&p);
	}
	ok("ratls: both prove themselves, time after time", !bad, "%d after %d", bad, done);
	ratls_context_free(c);
	ratls_context_free(s);
}

static void test_refused(void)
{
	struct ratls_options server = options_of(&good, NULL), client = options_of(NULL, &good), verifier = options_of(NULL, &good), shows = {.insecure_any_server = true};
	struct machine debug = good;
	debug.debug = true;
	expect("another program", &(struct ratls_options){.verify = true, .measurements = (const char *[]){other.hex, NULL}, .insecure_simulated_root = root_pem}, &server,
	       -EKEYREJECTED, -EACCES, "measurement: expected");
	expect("no evidence", &client, &(struct ratls_options){.attest = false}, -EKEYREJECTED, -EACCES, "carries no evidence");
	expect("no certificate", &shows, &verifier, -EACCES, -EKEYREJECTED, "no certificate");
	client.insecure_simulated_root = NULL;
	expect("simulated hardware", &client, &server, -EKEYREJECTED, -EACCES, "root: expected");
	client.insecure_simulated_root = root_pem;
	server = options_of(&debug, NULL);
	expect("an enclave that its host can look into", &client, &server, -EKEYREJECTED, -EACCES, "dbgstat");
	client.insecure_accept_debug = true;
	expect("unless that was asked for", &client, &server, 0, 0, "");
	client = options_of(NULL, &good);
	server = options_of(&good, NULL);
	client.at = time(NULL) + 3 * 86400;
	expect("an expired certificate", &client, &server, -EKEYREJECTED, -EACCES, "certificate-validity");
	client.at = time(NULL) - 86400;
	expect("one of the future", &client, &server, -EKEYREJECTED, -EACCES, "certificate-validity");
}

static void test_options(void)
{
	const struct {
		const char *name, *why;
		struct ratls_options o;
	} all[] = {
		{"no policy", "any_measurement", {.verify = true}},
		{"a policy that nothing is asked by", "nothing is asked", {.measurements = (const char *[]){"00", NULL}}},
		{"a measurement that is none", "no measurement", {.verify = true, .measurements = (const char *[]){"xyz", NULL}}},
		{"evidence and ordinary certificates", "not both", {.verify = true, .any_measurement = true, .ca_file = "/dev/null"}},
		{"a token without its key", "which?", {.token_file = "/dev/null"}},
		{"any program, and nothing is asked", "nothing is asked", {.any_measurement = true}},
		{"roots of TPMs, and nothing is asked", "nothing is asked", {.tpm_roots_file = "x.pem"}},
		{"debug enclaves, and nothing is asked", "nothing is asked", {.insecure_accept_debug = true}},
		{"renewal of what nobody asks for", "(verify)", {.renew_seconds = 1}},
		{"time for an answer that nobody asks for", "(verify)", {.answer_seconds = 1}},
		{"verdicts kept that nobody makes", "(verify)", {.cache_seconds = 1}},
		{"a clock for nothing", "(verify)", {.at = 1}},
		{"collateral for nothing", "collateral_dir", {.collateral_dir = "."}},
		{"a collector for nothing", "(attest)", {.collect = machine_collect}},
		{"endorsements of nothing", "(attest)", {.endorse = true, .collateral_dir = "."}},
		{"a made certificate's name for one that is not made",
		 "certificate_file",
		 {.certificate_file = "c.pem", .key_file = "k.pem", .subject = "x"}},
		{"any server, and a policy", "insecure_any_server", {.verify = true, .any_measurement = true, .insecure_any_server = true}},
		{"kept for a while, and not kept", "no_cache", {.verify = true, .any_measurement = true, .no_cache = true, .cache_seconds = 5}},
		{"a token handed over, and proofs in the session",
		 "peer_token_file",
		 {.verify = true, .any_measurement = true, .token_keys_file = "k", .peer_token_file = "t"}},
		{"a missing policy", "nowhere.yaml", {.verify = true, .policy_file = "nowhere.yaml"}},
	};
	for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
		struct ratls_error e = {""};
		struct ratls_context *ctx;
		char label[96];
		snprintf(label, sizeof label, "ratls: options: %s", all[i].name);
		int err = ratls_context_new(&ctx, &all[i].o, &e);
		ok(label, err < 0 && !ctx && strstr(e.text, all[i].why), "%d %s", err, e.text);
	}
	struct ratls_context *ctx = context_of(&(struct ratls_options){.attest = false});
	struct ratls_connection *c;
	struct ratls_error e = {""};
	int fds[2];
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds))
		abort();
	ok("ratls: a client that asks nothing is not made", ratls_connect(&c, ctx, fds[0], "x", &e) == -EINVAL && strstr(e.text, "insecure_any_server"), "%s", e.text);
	close(fds[1]);
	ratls_context_free(ctx);
}

// An ordinary certificate is looked at anew when its session is resumed: one that has expired since does no longer.
static void test_resumed_ordinary(void)
{
	char cert_path[128], key_path[128], buf[8], *cert, *key;
	struct fault f = {""};
	snprintf(cert_path, sizeof cert_path, "%s/server.pem", world);
	snprintf(key_path, sizeof key_path, "%s/server.key", world);
	if (tls_make_certificate("server", "server.test", &cert, &key, &f) || file_write(cert_path, cert, strlen(cert), 0644, false, &f) ||
	    file_write(key_path, key, strlen(key), 0600, false, &f))
		abort();
	struct ratls_options client = {.ca_file = cert_path, .resume = true},
			     server = {.certificate_file = cert_path, .key_file = key_path, .resume = true};
	struct ratls_context *c = context_of(&client), *s = context_of(&server);
	for (int i = 0; i < 3; i++) {
		struct pair p;
		pair_open(&p, c, s);
		if (i == 2)
			X509_VERIFY_PARAM_set_time(SSL_get0_param(p.client->ssl), time(NULL) + 20ll * 365 * 86400);
		pair_meet(&p, NULL, NULL);
		bool resumed = strstr(ratls_peer(p.client), "\"resumed\":true");
		if (i < 2)
			ok("ratls: an ordinary certificate, resumed",
			   !p.client_error && !p.server_error && resumed == i && peer_is(p.client, "accepted", "x509", false) &&
				   says(p.server, p.client, "hello"),
			   "%d %s %s", p.client_error, ratls_reason(p.client), ratls_peer(p.client));
		else
			ok("ratls: an ordinary certificate that has expired, resumed",
			   p.client_error == -EKEYREJECTED && resumed && strstr(ratls_reason(p.client), "expired"), "%d %s %d", p.client_error,
			   ratls_reason(p.client), resumed);
		if (!p.client_error)
			ratls_read(p.client, buf, sizeof buf, 0);
		pair_close(&p);
	}
	ratls_context_free(c);
	ratls_context_free(s);
	free(cert);
	free(key);
}

// What the peer is told to be, proofs, and one more on demand.
static void test_again(void)
{
	struct ratls_options server = options_of(&good, NULL), client = options_of(NULL, &good);
	struct ratls_context *c = context_of(&client), *s = context_of(&server);
	struct pair p;
	char buf[64];
	pair_open(&p, c, s);
	pair_meet(&p, NULL, NULL);
	ok("ratls: the peer in JSON", peer_is(p.client, "accepted", "background-check", true) && strstr(ratls_peer(p.client), good.hex) &&
	   peer_is(p.server, "not asked", "none", false), "%s", ratls_peer(p.client));
	unsigned int asked = good.asked;
	int err = ratls_attest_again(p.client);
	ssize_t n = ratls_read(p.server, buf, sizeof buf, 50), m = ratls_read(p.client, buf, sizeof buf, 50);
	ok("ratls: a proof on demand", !err && n == -EAGAIN && m == -EAGAIN && good.asked == asked + 1 && strstr(ratls_peer(p.client), "\"proofs\":2"), "%d %zd %zd %s", err, n, m,
	   ratls_reason(p.client));
	other.fails = 0;
	struct machine was = good;
	memcpy(good.measurement, other.measurement, sizeof good.measurement);	// another program took its place, with the key
	ratls_attest_again(p.client);
	n = ratls_read(p.server, buf, sizeof buf, 50);
	m = ratls_read(p.client, buf, sizeof buf, 50);
	ok("ratls: a proof of something else cuts the peer off", m == -EKEYREJECTED && strstr(ratls_reason(p.client), "measurement") && peer_is(p.client, "refused", "background-check", true),
	   "%zd %s", m, ratls_reason(p.client));
	n = ratls_read(p.server, buf, sizeof buf, 50);
	ok("ratls: and it learns why", n == -EACCES && strstr(ratls_reason(p.server), "measurement"), "%zd %s", n, ratls_reason(p.server));
	memcpy(good.measurement, was.measurement, sizeof good.measurement);
	pair_close(&p);
	ratls_context_free(c);
	ratls_context_free(s);
}

// A peer that does not answer is cut off, whether the program reads or writes; one that answers is not, however much data is in front of the answer.
static void test_timer(void)
{
	struct ratls_options server = options_of(&good, NULL), client = options_of(NULL, &good);
	client.renew_seconds = client.answer_seconds = 1;
	struct ratls_context *c = context_of(&client), *s = context_of(&server);
	struct pair p;
	char buf[4096];
	pair_open(&p, c, s);
	pair_meet(&p, NULL, NULL);
	ssize_t n = ratls_read(p.client, buf, sizeof buf, 60000);	// nobody drives the server
	ok("ratls: a peer that does not answer is cut off", n == -EKEYREJECTED && strstr(ratls_reason(p.client), "in time"), "%zd %s", n, ratls_reason(p.client));
	pair_close(&p);

	pair_open(&p, c, s);
	pair_meet(&p, NULL, NULL);
	ssize_t k = 0;
	for (int64_t end = clock_ms() + 60000; (k >= 0 || k == -EAGAIN) && clock_ms() < end; usleep(1000))
		k = ratls_write(p.client, "x", 1, 50);
	ok("ratls: nor does one that is only written to get more", k == -EKEYREJECTED, "%zd %s", k, ratls_reason(p.client));
	pair_close(&p);

	pair_open(&p, c, s);
	pair_meet(&p, NULL, NULL);
	memset(buf, 'd', sizeof buf);
	int64_t end = clock_ms() + 2600;
	while (clock_ms() < end)	// the server writes and answers meanwhile; the client's program looks away
		if (ratls_write(p.server, buf, sizeof buf, 10) < 0 && ratls_wants(p.server, &(int){0}, &(bool){false}) == 0)
			break;
	ssize_t got = 0;
	for (end = clock_ms() + 60000; clock_ms() < end && !strstr(ratls_peer(p.client), "\"proofs\":2");) {
		n = ratls_read(p.client, buf, sizeof buf, 20);
		got += n > 0 ? n : 0;
		ratls_write(p.server, buf, 1, 10);
		if (n < 0 && n != -EAGAIN)
			break;
	}
	ok("ratls: an answer behind unread data counts", got > 0 && strstr(ratls_peer(p.client), "\"proofs\":2"), "%zd bytes, %s", got, ratls_reason(p.client));
	pair_close(&p);
	// Contexts may go first: what a program has read anew counts for new connections.
	pair_open(&p, c, s);
	ratls_context_free(c);
	ratls_context_free(s);
	pair_meet(&p, NULL, NULL);
	ok("ratls: connections outlive their contexts", !p.client_error && !p.server_error && says(p.client, p.server, "still"), "%d %d", p.client_error, p.server_error);
	pair_close(&p);
}

static void test_ends(bool session)
{
	struct ratls_options server = options_of(&good, NULL), client = options_of(NULL, &good);
	server.session = client.session = session ? RATLS_SESSION_REQUIRED : RATLS_SESSION_OFF;
	struct ratls_context *c = context_of(&client), *s = context_of(&server);
	struct pair p;
	char buf[64], label[96];
	pair_open(&p, c, s);
	pair_meet(&p, NULL, NULL);
	int err = ratls_end(p.client, 60000);
	ssize_t n = ratls_read(p.server, buf, sizeof buf, 60000);
	snprintf(label, sizeof label, "ratls: half an end%s", session ? "" : ", certificates alone");
	ok(label, !err && !n && says(p.server, p.client, "still here") && ratls_write(p.client, "x", 1, 0) == -EPIPE, "%d %zd %s", err, n, ratls_reason(p.client));
	ok(label, !ratls_end(p.server, 60000) && !ratls_read(p.client, buf, sizeof buf, 60000), "%s", ratls_reason(p.client));
	pair_close(&p);
	// Cut without a word: what came before is there, and then no end but a cut.
	pair_open(&p, c, s);
	pair_meet(&p, NULL, NULL);
	n = ratls_write(p.server, "part", 4, 60000);
	shutdown(ratls_fd(p.server), SHUT_RDWR);
	ssize_t got = ratls_read(p.client, buf, sizeof buf, 60000), next = ratls_read(p.client, buf, sizeof buf, 60000);
	snprintf(label, sizeof label, "ratls: a cut is no end%s", session ? "" : ", certificates alone");
	ok(label, n == 4 && got == 4 && next == -ECONNRESET, "%zd %zd %zd %s", n, got, next, ratls_reason(p.client));
	pair_close(&p);
	ratls_context_free(c);
	ratls_context_free(s);
}

static bool has_ended, met_at_once;

// What the server has of the handshake by the next call is all: nothing more will wake it.
static void end_at_once(void *pair)
{
	struct pair *p = pair;
	if (p->client_error)
		return;
	if (!has_ended && ratls_end(p->client, 0))
		p->client_error = -EIO;
	else if (has_ended && p->server_error)
		met_at_once = false;
	has_ended = true;
}

// A client that has nothing to say: its last verdict and its end come in one piece.
static void test_ends_at_once(void)
{
	struct ratls_options server = options_of(&good, NULL), client = options_of(NULL, &good);
	struct ratls_context *c = context_of(&client), *s = context_of(&server);
	struct pair p;
	char buf[8];
	met_at_once = true;
	pair_open(&p, c, s);
	pair_meet(&p, end_at_once, &p);
	ok("ratls: a client that ends at once", has_ended && met_at_once && !p.client_error && !p.server_error && ratls_read(p.server, buf, sizeof buf, 0) == 0 &&
	   ratls_write(p.server, "answer", 6, 0) == 6 && ratls_read(p.client, buf, sizeof buf, 0) == 6, "%d %d %s", p.client_error, p.server_error,
	   ratls_reason(p.server));
	pair_close(&p);
	ratls_context_free(c);
	ratls_context_free(s);
}

// More than any buffer holds, both ways at once, driven by one thread as an event loop would.
static void test_bulk(void)
{
	enum { TOTAL = 8 << 20, PIECE = 50000 };
	struct ratls_options both = options_of(&good, &good);
	struct ratls_context *ctx = context_of(&both);
	struct pair p;
	static uint8_t pattern[PIECE + 251], buf[PIECE];
	pair_open(&p, ctx, ctx);
	pair_meet(&p, NULL, NULL);
	for (size_t i = 0; i < sizeof pattern; i++)
		pattern[i] = (uint8_t)(i % 251);
	struct ratls_connection *const ends[] = {p.client, p.server};
	size_t sent[2] = {0}, got[2] = {0};
	bool same = true, alive = true;
	while (alive && same && (got[0] < TOTAL || got[1] < TOTAL)) {
		for (int i = 0; i < 2 && alive; i++) {
			size_t n = TOTAL - sent[i] < PIECE ? TOTAL - sent[i] : PIECE;
			ssize_t k = n ? ratls_write(ends[i], pattern + sent[i] % 251, n, 0) : 0;
			sent[i] += k > 0 ? (size_t)k : 0;
			alive &= k >= 0 || k == -EAGAIN;
			k = ratls_read(ends[i], buf, sizeof buf, 0);
			same &= k <= 0 || !memcmp(buf, pattern + got[i] % 251, (size_t)k);
			got[i] += k > 0 ? (size_t)k : 0;
			alive &= k > 0 || k == -EAGAIN;
		}
	}
	ok("ratls: much data both ways", same && got[0] == TOTAL && got[1] == TOTAL, "%zu %zu, same %d: %s %s", got[0], got[1], same, ratls_reason(p.client), ratls_reason(p.server));
	pair_close(&p);
	ratls_context_free(ctx);
}

// The same certificate again costs no verification, for a while; and sessions are resumed only where asked for.
static void test_cache_and_resumption(void)
{
	struct ratls_options server = options_of(&good, NULL), client = options_of(NULL, &good);
	server.session = client.session = RATLS_SESSION_OFF;
	server.resume = client.resume = true;
	for (int resume = 0; resume < 2; resume++) {
		struct ratls_context *c, *s;
		struct pair p;
		char buf[8];
		bool resumed[2];
		server.resume = client.resume = resume;
		c = context_of(&client);
		s = context_of(&server);
		unsigned int asked = good.asked;
		for (int i = 0; i < 2; i++) {
			pair_open(&p, c, s);
			pair_meet(&p, NULL, NULL);
			says(p.server, p.client, "tickets come with this");
			ratls_read(p.client, buf, sizeof buf, 0);
			resumed[i] = strstr(ratls_peer(p.client), "\"resumed\":true");
			ok(resume ? "ratls: with resumption" : "ratls: without resumption", !p.client_error && !p.server_error && peer_is(p.client, "accepted", "background-check", false) &&
			   resumed[i] == (resume && i), "%d %d %s", p.client_error, resumed[i], ratls_reason(p.client));
			pair_close(&p);
		}
		ok("ratls: one certificate for all connections", good.asked <= asked + 1, "%u", good.asked - asked);
		ratls_context_free(c);
		ratls_context_free(s);
	}
}

int main(void)
{
	if (!world_begin())
		return 1;
	test_who();
	test_often();
	test_refused();
	test_options();
	test_again();
	test_timer();
	test_ends(true);
	test_ends(false);
	test_ends_at_once();
	test_bulk();
	test_cache_and_resumption();
	test_resumed_ordinary();
	return world_end();
}

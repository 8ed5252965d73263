// SPDX-License-Identifier: Apache-2.0
// OHTTP's two ends with a relay between them that does what the test wants: passes on, changes, cuts, replays, gives out other keys. The hardware is
// simulated.
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "broker/ear.h"
#include "lib/encode.h"
#include "lib/file.h"
#include "lib/jwe.h"
#include "lib/keyfile.h"
#include "tests/ratls/world.h"
#include "tunnel/bhttp.h"
#include "tunnel/http1_server.h"
#include "tunnel/ohttp_gateway.h"

static int listener(char where[32])
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof in;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&in, sizeof in) || listen(fd, 64) || getsockname(fd, (struct sockaddr *)&in, &len))
		abort();
	snprintf(where, 32, "127.0.0.1:%u", ntohs(in.sin_port));
	return fd;
}

// ---- the plain server ----

static struct http1_server *origin;
static char origin_at[32];
static atomic_uint origin_calls;

// What it was asked, in text; /pieces comes in three, /broken ends too soon, /big is 300 KB.
static void serve(void *ctx, struct http1_call *c)
{
	struct outbuf b = {.at = NULL}, body = {.at = NULL}, fields = {.at = NULL};
	const struct http1_head *h = &c->head;
	char line[128];
	(void)ctx;
	atomic_fetch_add(&origin_calls, 1);
	if (http1_call_body(c, 1 << 20, &body)) {
		c->keep = false;
	} else if (http_text_is(&h->path, "/pieces") || http_text_is(&h->path, "/broken")) {
		outbuf_text(&fields, "Content-Type: text/event-stream\r\n");
		http1_answer_begin(c, 200, &fields, UINT64_MAX);
		http1_answer_piece(c, "one ", 4);
		http1_answer_piece(c, "two ", 4);
		if (http_text_is(&h->path, "/pieces")) {
			http1_answer_piece(c, "three", 5);
			http1_answer_end(c);
		} else {
			c->keep = false;
		}
	} else if (http_text_is(&h->path, "/big")) {
		uint8_t *p = outbuf_add(&b, 300000);
		memset(p, 'b', 300000);
		http1_answer(c, 200, "application/octet-stream", NULL, b.at, b.len);
	} else {
		const struct http_text *own = http_field_find(&h->fields, "x-own"), *hop = http_field_find(&h->fields, "x-hop");
		snprintf(line, sizeof line, "%.*s %.*s host=%.*s own=%.*s hop=%.*s body=%zu:", (int)h->method.len, h->method.at, (int)h->path.len,
			h->path.at,
			 (int)h->authority.len, h->authority.at, own ? (int)own->len : 0, own ? own->at : "", hop ? (int)hop->len : 0,
			 hop ? hop->at : "", body.len);
		outbuf_text(&b, line);
		outbuf_put(&b, body.at, body.len);
		http1_answer(c, 201, "text/x-test", "X-Answer: yes\r\n", b.at, b.len);
	}
	outbuf_free(&b);
	outbuf_free(&body);
	outbuf_free(&fields);
}

// ---- the relay ----

enum trick { PASS, FLIP_REQUEST, FLIP_ANSWER, CUT_ANSWER, REPLAY, SWAP_KEYS, OLD_DOCUMENT, FLIP_DOCUMENT, SAY_ITSELF, DROP_LAST_CHUNK, KEY_PROBLEM, LOSE_ANSWER };

static struct {
	struct http1_server *server;
	char at[32], to[32], other[32];
	_Atomic enum trick trick;
	atomic_uint posts;
	pthread_mutex_t lock;
	struct outbuf document;		// the first that was fetched
	unsigned int replay_status;
	bool saw;			// the secret word, in what passed
	size_t odd;			// messages whose size shows

} relay = {.lock = PTHREAD_MUTEX_INITIALIZER};

static const char secret_word[] = "marmalade";

static void look(const struct outbuf *b)
{
	relay.saw |= b->len && memmem(b->at, b->len, secret_word, strlen(secret_word));
}

// One exchange with a gateway: its status, its type, its content.
static unsigned int forward(struct http1_call *c, const char *to, const struct outbuf *body, struct outbuf *out, char type[64])
{
	struct wire w;
	struct fault f;
	struct outbuf q = {.at = NULL};
	static __thread struct http1_head h;
	struct http1_content content;
	const char *head;
	size_t len;
	const struct http_text *asked = http_field_find(&c->head.fields, "content-type");
	char line[128];
	outbuf_put(&q, c->head.method.at, c->head.method.len);
	outbuf_put(&q, " ", 1);
	outbuf_put(&q, c->head.path.at, c->head.path.len);
	snprintf(line, sizeof line, " HTTP/1.1\r\nHost: relay\r\nConnection: close\r\nContent-Length: %zu\r\n", body->len);
	outbuf_text(&q, line);
	if (asked) {
		snprintf(line, sizeof line, "Content-Type: %.*s\r\n", (int)asked->len, asked->at);
		outbuf_text(&q, line);
	}
	outbuf_text(&q, "\r\n");
	outbuf_put(&q, body->at, body->len);
	*type = '\0';
	int64_t deadline = clock_ms() + 60000;
	unsigned int status = 0;
	int err = wire_dial(&w, to, NULL, deadline, &f);
	if (!err)
		err = wire_write(&w, q.at, q.len, deadline);
	if (!err)
		err = wire_head(&w, deadline, deadline, &head, &len);
	if (!err)
		err = http1_response_read(&h, head, len, false, &f);
	if (!err) {
		const struct http_text *t = http_field_find(&h.fields, "content-type");
		if (t)
			snprintf(type, 64, "%.*s", (int)t->len, t->at);
		status = h.status;
		http1_content_begin(&content, &h);
		wire_body_begin(&w, WIRE_BODY_MS);
		wire_body_all(&w, &content, 1 << 22, out);
	}
	wire_close(&w);
	outbuf_free(&q);
	return status;
}

// The last chunk behind the others gone, and the one before given out as the last.
static void drop_last_chunk(struct outbuf *b)
{
	size_t at = 16;
	for (;;) {
		const uint8_t *chunk;
		size_t n, used;
		bool last;
		if (ohttp_chunk_find(b->at + at, b->len - at, true, &chunk, &n, &used, &last) || last)
			break;
		at += used;
	}
	b->len = at;
}

static void pass_on(void *ctx, struct http1_call *c)
{
	struct outbuf body = {.at = NULL}, out = {.at = NULL}, again = {.at = NULL};
	bool post = http_text_is(&c->head.method, "POST");
	enum trick trick = atomic_load(&relay.trick);
	char type[64], again_type[64];
	(void)ctx;
	if (http1_call_body(c, 1 << 22, &body))
		abort();
	pthread_mutex_lock(&relay.lock);
	look(&body);
	if (post)
		atomic_fetch_add(&relay.posts, 1);
	if (post && trick == FLIP_REQUEST)
		body.at[body.len / 2] ^= 4;
	unsigned int status = forward(c, !post && trick == SWAP_KEYS ? relay.other : relay.to, &body, &out, type);
	look(&out);
	// In one piece: header, key and tag are 7 + 32 + 16 bytes, a nonce and a tag 16 + 16.
	if (post && trick == PASS && !strcmp(type, OHTTP_RES_TYPE))
		relay.odd += (body.len - 55) % 256 || (out.len - 32) % 256;
	if (post && trick == REPLAY)
		relay.replay_status = forward(c, relay.to, &body, &again, again_type);
	if (!post && !relay.document.len)
		outbuf_put(&relay.document, out.at, out.len);
	if (!post && trick == OLD_DOCUMENT) {
		out.len = 0;
		outbuf_put(&out, relay.document.at, relay.document.len);
	}
	if (!post && trick == FLIP_DOCUMENT) {
		uint8_t *p = memmem(out.at, out.len, "\"keys\":\"", 8);
		p[8 + 30] = p[8 + 30] == 'A' ? 'B' : 'A';
	}
	if (post && trick == FLIP_ANSWER)
		out.at[out.len / 2] ^= 4;
	if (post && trick == CUT_ANSWER)
		out.len /= 2;
	if (post && trick == DROP_LAST_CHUNK)
		drop_last_chunk(&out);
	if (post && trick == SAY_ITSELF)
		http1_answer(c, 200, "text/plain", NULL, "trust me", 8);
	else if (post && trick == KEY_PROBLEM)
		http1_problem(c, 400, OHTTP_KEY_PROBLEM, "the key is not known", NULL);
	else if (post && trick == LOSE_ANSWER && atomic_exchange(&relay.trick, PASS) == LOSE_ANSWER)
		c->keep = false;	// ends the connection, once
	else
		http1_answer(c, status ? status : 502, type, NULL, out.at, out.len);
	pthread_mutex_unlock(&relay.lock);
	outbuf_free(&body);
	outbuf_free(&out);
	outbuf_free(&again);
}

// ---- the client ----

struct got {
	int err;
	unsigned int status;
	char type[64];
	struct outbuf body;
};

static void got_free(struct got *g)
{
	outbuf_free(&g->body);
}

static struct got ask(const char *where, const char *request)
{
	struct got g = {.err = 0};
	static struct http1_head h;
	struct http1_content content;
	struct wire w;
	struct fault f;
	const char *head;
	size_t len;
	int64_t deadline = clock_ms() + 60000;
	g.err = wire_dial(&w, where, NULL, deadline, &f);
	if (!g.err)
		g.err = wire_write(&w, request, strlen(request), deadline);
	if (!g.err)
		g.err = wire_head(&w, deadline, deadline, &head, &len);
	if (!g.err)
		g.err = http1_response_read(&h, head, len, !strncmp(request, "HEAD", 4), &f);
	if (!g.err) {
		const struct http_text *t = http_field_find(&h.fields, "content-type");
		g.status = h.status;
		snprintf(g.type, sizeof g.type, "%.*s", t ? (int)t->len : 0, t ? t->at : "");
		http1_content_begin(&content, &h);
		wire_body_begin(&w, WIRE_BODY_MS);
		g.err = wire_body_all(&w, &content, 1 << 22, &g.body);
	}
	outbuf_put(&g.body, "", 1);
	wire_close(&w);
	return g;
}

static struct ohttp_egress *egress, *other_egress;
static struct ohttp_ingress *ingress;
static char ingress_at[32];

static void start_ingress(const struct ratls_options *tls, bool whole)
{
	char url[128];
	struct fault f = {""};
	ohttp_ingress_stop(ingress, 0);
	ingress = NULL;
	snprintf(url, sizeof url, "http://%s", relay.at);
	const struct ohttp_ingress_options o = {.listener = listener(ingress_at), .url = url, .tls = tls, .whole = whole};
	if (ohttp_ingress_start(&ingress, &o, &f)) {
		printf("%s\n", f.text);
		abort();
	}
}

// Only the other machine's hardware is spared.
static struct ohttp_egress *start_egress(struct machine *m, const struct ratls_options *given, char at[32])
{
	struct ratls_options tls = given ? *given : options_of(m, NULL);
	struct ohttp_egress *e;
	struct fault f = {""};
	static const char *const origins[] = {"https://app.example", "*", NULL};
	const struct ohttp_egress_options o = {.listener = listener(at), .to = origin_at, .tls = &tls, .origins = origins,
						.evidence_per_s = m == &other ? 0 : 1000};
	if (ohttp_egress_start(&e, &o, &f)) {
		printf("%s\n", f.text);
		abort();
	}
	return e;
}

static void expect(const char *name, const char *request, unsigned int status, const char *body)
{
	struct got g = ask(ingress_at, request);
	ok(name, !g.err && g.status == status && strstr((char *)g.body.at, body), "%d, status %u, %.300s", g.err, g.status, (char *)g.body.at);
	got_free(&g);
}

#define GET(path) "GET " path " HTTP/1.1\r\nHost: service.test\r\nConnection: close\r\n\r\n"

static void test_exchange(bool whole)
{
	struct ratls_options tls = options_of(NULL, &good);
	const char *how = whole ? "in one piece" : "in chunks";
	char name[128];
	start_ingress(&tls, whole);
#define NAME(text) (snprintf(name, sizeof name, "ohttp: " text ", %s", how), name)
	expect(NAME("a GET"), GET("/a?b=c"), 201, "GET /a?b=c host=service.test own= hop= body=0:");
	expect(NAME("a POST with fields of its own and of the connection"),
	       "POST /p HTTP/1.1\r\nHost: service.test\r\nX-Own: 1\r\nX-Hop: 2\r\nConnection: close, x-hop\r\nContent-Length: 9\r\n\r\nmarmalade",
	       201,
	       "POST /p host=service.test own=1 hop= body=9:marmalade");
	expect(NAME("a chunked POST"),
	       "POST /p HTTP/1.1\r\nHost: service.test\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
	       "4\r\nmarm\r\n5;x=y\r\nalade\r\n0\r\nT: v\r\n\r\n", 201,
	       "body=9:marmalade");
	expect(NAME("an absolute URL, as a proxy is asked"), "GET http://else.test:81/x HTTP/1.1\r\nHost: else.test:81\r\nConnection: close\r\n\r\n",
		201,
	       "GET /x host=else.test:81");
	expect(NAME("HEAD"), "HEAD /h HTTP/1.1\r\nHost: service.test\r\nConnection: close\r\n\r\n", 201, "");
	expect(NAME("an answer in pieces"), GET("/pieces"), 200, "one two three");
	struct got g = ask(ingress_at, GET("/big"));
	ok(NAME("a large answer"), !g.err && g.status == 200 && g.body.len == 300001, "%d %u %zu", g.err, g.status, g.body.len);
	got_free(&g);
	g = ask(ingress_at, GET("/broken"));
	ok(NAME("an answer that breaks off is not taken for a whole one"), whole ? g.status == 502 : g.err != 0, "%d %u", g.err, g.status);
	got_free(&g);
	ok(NAME("the relay has read nothing"), !relay.saw, "the word passed in the clear");
	ok(NAME("and sees sizes rounded up"), !relay.odd, "%zu of others", relay.odd);
}

static void attack(enum trick trick, bool whole, bool fresh, unsigned int status, const char *text, const char *name)
{
	struct ratls_options tls = options_of(NULL, &good);
	unsigned int before;
	atomic_store(&relay.trick, PASS);
	if (fresh || !ingress)
		start_ingress(&tls, whole);
	if (!fresh)
		expect("ohttp: before an attack all is well", GET("/"), 201, "GET / ");
	atomic_store(&relay.trick, trick);
	before = atomic_load(&origin_calls);
	struct got g = ask(ingress_at, trick == DROP_LAST_CHUNK ? GET("/pieces") : GET("/attacked"));
	ok(name, status ? !g.err && g.status == status && strstr((char *)g.body.at, text) : g.err != 0, "%d, status %u, %s", g.err, g.status,
	   (char *)g.body.at);
	if (trick == SWAP_KEYS || trick == FLIP_REQUEST || trick == OLD_DOCUMENT || trick == FLIP_DOCUMENT)
		ok("ohttp: the plain server heard nothing of it", atomic_load(&origin_calls) == before, "it did");
	got_free(&g);
	atomic_store(&relay.trick, PASS);
}

static void test_attacks(void)
{
	struct ohttp_counts c;
	attack(SWAP_KEYS, false, true, 502, "measurement", "ohttp: keys of another enclave");
	attack(FLIP_DOCUMENT, false, true, 502, "ohttp-keys", "ohttp: keys that were changed on their way");
	attack(OLD_DOCUMENT, false, true, 502, "nonce", "ohttp: an old answer of the enclave itself");
	for (int whole = 0; whole < 2; whole++) {
		struct ratls_options tls = options_of(NULL, &good);
		start_ingress(&tls, whole);
		attack(FLIP_REQUEST, whole, false, 503, "new keys", whole ? "ohttp: a changed request" : "ohttp: a changed request, in chunks");
		attack(FLIP_ANSWER, whole, false, 502, "changed or cut", whole ? "ohttp: a changed answer" : "ohttp: a changed answer, in chunks");
		attack(CUT_ANSWER, whole, false, 502, "changed or cut",
			whole ? "ohttp: an answer cut short" : "ohttp: an answer cut short, in chunks");
		attack(SAY_ITSELF, whole, false, 502, "no answer of the gateway", "ohttp: an answer of the relay's own");
	}
	struct ratls_options tls = options_of(NULL, &good);
	start_ingress(&tls, false);
	attack(DROP_LAST_CHUNK, false, false, 0, "", "ohttp: an answer without its last chunk");

	atomic_store(&relay.trick, REPLAY);
	unsigned int before = atomic_load(&origin_calls);
	expect("ohttp: a request that the relay sends twice", GET("/twice"), 201, "GET /twice");
	ohttp_egress_counts(egress, &c);
	ok("ohttp: reaches the plain server once", atomic_load(&origin_calls) == before + 1 && relay.replay_status == 409 && c.replayed == 1,
	   "%u times, %u, %llu",
	   atomic_load(&origin_calls) - before, relay.replay_status, c.replayed);
	atomic_store(&relay.trick, KEY_PROBLEM);
	before = atomic_load(&relay.posts);
	struct got g = ask(ingress_at, "POST /once HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
	ok("ohttp: who says that the key was wrong gets a POST once", !g.err && g.status == 503 && atomic_load(&relay.posts) == before + 1, "%d %u",
	   g.err, g.status);
	got_free(&g);
	g = ask(ingress_at, GET("/again"));
	ok("ohttp: and a GET twice", !g.err && g.status == 503 && atomic_load(&relay.posts) == before + 3, "%d %u", g.err, g.status);
	got_free(&g);
	atomic_store(&relay.trick, PASS);
}

// A connection that was kept ends when the request is served, and before the answer came. What must not be done twice is not sent again: the gateway would
// know it, but another one with the same keys would not.
static void test_lost(void)
{
	static const char *const twice[] = {"GET", "PUT", "DELETE"};
	struct ratls_options tls = options_of(NULL, &good);
	char request[128], name[128], body[32];
	start_ingress(&tls, false);
	expect("ohttp: a connection that is kept", GET("/kept"), 201, "GET /kept");
	unsigned int posts = atomic_load(&relay.posts), calls = atomic_load(&origin_calls);
	atomic_store(&relay.trick, LOSE_ANSWER);
	struct got g = ask(ingress_at, "POST /once HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\nContent-Length: 4\r\n\r\npaid");
	ok("ohttp: a POST whose answer is lost is sent and served once",
	   !g.err && g.status == 502 && atomic_load(&relay.posts) == posts + 1 && atomic_load(&origin_calls) == calls + 1, "%d, status %u, %u, %u", g.err,
	   g.status, atomic_load(&relay.posts) - posts, atomic_load(&origin_calls) - calls);
	got_free(&g);
	for (size_t k = 0; k < sizeof twice / sizeof *twice; k++) {
		expect("ohttp: another connection that is kept", GET("/kept"), 201, "GET /kept");
		posts = atomic_load(&relay.posts);
		atomic_store(&relay.trick, LOSE_ANSWER);
		snprintf(request, sizeof request, "%s /lost HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", twice[k]);
		snprintf(name, sizeof name, "ohttp: a %s whose answer is lost is asked again", twice[k]);
		snprintf(body, sizeof body, "%s /lost", twice[k]);
		expect(name, request, 201, body);
		ok("ohttp: and as another request", atomic_load(&relay.posts) == posts + 2, "%u times", atomic_load(&relay.posts) - posts);
	}
	atomic_store(&relay.trick, PASS);
}

static void test_verification(void)
{
	struct ratls_options tls = options_of(NULL, &other);
	start_ingress(&tls, false);
	expect("ohttp: another measurement than was asked for", GET("/"), 502, "measurement");
	tls = options_of(NULL, &good);
	tls.insecure_simulated_root = NULL;
	start_ingress(&tls, false);
	expect("ohttp: simulated hardware where real is wanted", GET("/"), 502, "refused");
	struct ohttp_ingress *none;
	struct fault f = {""};
	char at[32];
	tls = (struct ratls_options){.verify = false};
	const struct ohttp_ingress_options o = {.listener = listener(at), .url = "http://127.0.0.1:1", .tls = &tls};
	int err = ohttp_ingress_start(&none, &o, &f);
	ok("ohttp: whom to believe must be said", err == -EINVAL && strstr(f.text, "which gateway"), "%d %s", err, f.text);
	tls.insecure_any_server = true;
	start_ingress(&tls, false);
	expect("ohttp: unless anybody will do", GET("/any"), 201, "GET /any");
}

// After a restart of the gateway: other keys.
static void test_restart(void)
{
	struct ratls_options tls = options_of(NULL, &good);
	start_ingress(&tls, false);
	expect("ohttp: before a restart", GET("/1"), 201, "GET /1");
	ohttp_egress_stop(egress, 0);
	egress = start_egress(&good, NULL, relay.to);
	expect("ohttp: after a restart the keys are fetched anew", GET("/2"), 201, "GET /2");
}

// ---- tokens ----

static struct signer signer;
static char token_path[128], key_path[128], keys_path[128];

static void write_token(EVP_PKEY *key, const char *measurement, time_t at)
{
	struct attest_result r;
	json_t *jwk = jwk_from_key(key);
	if (attest_result_init(&r))
		abort();
	attest_check_add(&r, "signature", true);
	json_object_set_new(r.claims, "tee", json_string("snp"));
	json_object_set_new(r.claims, "dbgstat", json_string("disabled-since-boot"));
	json_object_set_new(r.claims, "tcb_status", json_string("UpToDate"));
	json_object_set_new(r.claims, "measurement", json_string(measurement));
	json_object_set_new(r.claims, "snp", json_pack("{s:i, s:b}", "vmpl", 0, "policy_migrate_ma", 0));
	char *token = ear_token(&signer, "a broker", &r, NULL, jwk, at);
	if (!token || file_write(token_path, token, strlen(token), 0600, false, NULL))
		abort();
	free(token);
	json_decref(jwk);
	attest_result_free(&r);
}

static void write_keys(const char *path, EVP_PKEY *key)
{
	json_t *jwk = jwk_from_key(key), *set = json_pack("{s:[O]}", "keys", jwk);
	json_object_set_new(jwk, "kid", json_string("one"));
	json_decref(jwk);
	char *text = json_dumps(set, 0);
	if (!text || file_write(path, text, strlen(text), 0600, false, NULL))
		abort();
	free(text);
	json_decref(set);
}

// tunnel/web's page asks the gateway, in a browser.
__attribute__((unused)) static void test_page(const char *gateway, EVP_PKEY *stranger)
{
	char trust[128], others[128];
	int status = -1;
	if (access("/usr/bin/chromium", X_OK) || access("/usr/bin/chromedriver", X_OK) || access("/usr/bin/python3", X_OK)) {
		skip("the page in a browser", "there is no chromium with its driver (chromium, chromium-driver)");
		return;
	}
	snprintf(trust, sizeof trust, "%s/trust.json", world);
	snprintf(others, sizeof others, "%s/others.json", world);
	write_keys(others, stranger);
	json_t *o = json_pack("{s:o, s:[s]}", "jwks", json_load_file(keys_path, 0, NULL), "measurements", good.hex);
	if (!o || json_dump_file(o, trust, 0))
		abort();
	json_decref(o);
	fflush(stdout);
	pid_t pid = fork();
	if (!pid) {
		execl("/usr/bin/python3", "python3", "tests/tunnel/ohttp_page.py", gateway, trust, others, world, (char *)NULL);
		_exit(127);
	}
	waitpid(pid, &status, 0);
	ok("ohttp: the page in a browser", status == 0, "%d", status);
}

static void test_tokens(void)
{
	EVP_PKEY *key = EVP_EC_gen("P-256"), *stranger = EVP_EC_gen("P-256");
	const char *list[] = {good.hex, NULL}, *others[] = {other.hex, NULL};
	struct ratls_options shows = {.token_file = token_path, .key_file = key_path};
	struct ratls_options asks = {.verify = true, .measurements = list, .token_keys_file = keys_path};
	struct ohttp_egress *e;
	char at[32], saved[32];
	struct fault f;
	snprintf(token_path, sizeof token_path, "%s/token", world);
	snprintf(key_path, sizeof key_path, "%s/token.key", world);
	snprintf(keys_path, sizeof keys_path, "%s/keys.json", world);
	signer.key = EVP_EC_gen("P-256");
	strcpy(signer.kid, "one");
	if (!signer.key || EVP_PKEY_up_ref(key) != 1 || keyfile_write(key_path, key, &f))
		abort();
	write_keys(keys_path, signer.key);
	write_token(key, good.hex, time(NULL));
	strcpy(saved, relay.to);
	e = start_egress(NULL, &shows, at);
	strcpy(relay.to, at);
	start_ingress(&asks, false);
	expect("ohttp: a gateway with a broker's token", GET("/t"), 201, "GET /t");
#ifndef __SANITIZE_ADDRESS__	// it tests the page; what that asks of the gateway others ask, too
	test_page(at, stranger);
#endif
	asks.measurements = others;
	start_ingress(&asks, false);
	expect("ohttp: a token about another enclave", GET("/t"), 502, "measurement");
	asks.measurements = list;
	write_token(stranger, good.hex, time(NULL));
	start_ingress(&asks, false);
	expect("ohttp: a token about a key that the gateway has not", GET("/t"), 502, "token-key");
	write_token(key, good.hex, time(NULL) - 86400);
	start_ingress(&asks, false);
	expect("ohttp: an expired token", GET("/t"), 502, "token");
	write_token(key, good.hex, time(NULL));
	asks.token_keys_file = NULL;
	start_ingress(&asks, false);
	expect("ohttp: a token where nobody's are believed", GET("/t"), 502, "token");
	asks.token_keys_file = keys_path;
	for (int trick = FLIP_DOCUMENT; trick >= OLD_DOCUMENT; trick--) {
		outbuf_free(&relay.document);
		start_ingress(&asks, false);
		expect("ohttp: with a token, all is well", GET("/t"), 201, "GET /t");
		start_ingress(&asks, false);
		atomic_store(&relay.trick, trick);
		expect(trick == OLD_DOCUMENT ? "ohttp: an old statement of the token's key" : "ohttp: keys that the token's key did not sign",
			GET("/t"), 502,
		       trick == OLD_DOCUMENT ? "nonce" : "ohttp-keys");
		atomic_store(&relay.trick, PASS);
	}
	ohttp_egress_stop(e, 0);
	strcpy(relay.to, saved);
	EVP_PKEY_free(key);
	EVP_PKEY_free(stranger);
	EVP_PKEY_free(signer.key);
}

// ---- the gateway's own answers ----

static void direct(const char *name, const char *request, unsigned int status, const char *type, const char *body)
{
	struct got g = ask(relay.to, request);
	ok(name, !g.err && g.status == status && !strcmp(g.type, type) && memmem(g.body.at, g.body.len, body, strlen(body)),
	   "%d, status %u, %s: %.200s", g.err,
	   g.status, g.type, (char *)g.body.at);
	got_free(&g);
}

#define AT "/.well-known/ohttp-gateway"

static void test_gateway(void)
{
	direct("ohttp: the keys by themselves", "GET " AT " HTTP/1.1\r\nHost: a\r\n\r\n", 200, "application/ohttp-keys", "");
	direct("ohttp: evidence without a nonce", "GET " AT "/attested HTTP/1.1\r\nHost: a\r\n\r\n", 200, "application/json", "\"evidence\":");
	direct("ohttp: a nonce that is none", "GET " AT "/attested?nonce=xy HTTP/1.1\r\nHost: a\r\n\r\n", 400, "application/problem+json",
		"hexadecimal");
	direct("ohttp: elsewhere", "GET /x HTTP/1.1\r\nHost: a\r\n\r\n", 404, "application/problem+json", "elsewhere");
	direct("ohttp: another method", "PUT " AT " HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", 405, "application/problem+json", "POST");
	direct("ohttp: another type", "POST " AT " HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\nContent-Length: 1\r\n\r\nx", 415,
		"application/problem+json",
	       "message/ohttp-req");
	direct("ohttp: nonsense", "POST " AT " HTTP/1.1\r\nHost: a\r\nContent-Type: message/ohttp-req\r\nContent-Length: 1\r\n\r\nx", 400,
		"application/problem+json",
	       "ohttp-key");
	direct("ohttp: no HTTP", "hello\r\n\r\n", 400, "application/problem+json", "HTTP/1.1");
	direct("ohttp: two framings", "POST " AT " HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400,
	       "application/problem+json", "framings");
	direct("ohttp: two hosts", "GET " AT " HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, "application/problem+json", "Host");
	direct("ohttp: a preflight", "OPTIONS " AT " HTTP/1.1\r\nHost: a\r\nOrigin: https://app.example\r\n\r\n", 204, "", "");
	unsigned int busy = 0;
	for (int i = 0; i < 40; i++) {
		struct got g = ask(relay.other, "GET " AT "/attested?nonce=00112233445566778899aabbccddeeff HTTP/1.1\r\nHost: a\r\n\r\n");
		busy += g.status == 503;
		got_free(&g);
	}
	ok("ohttp: strangers do not keep the hardware busy", busy > 0, "forty times at once");
}

// ---- keys by themselves, with a clock of the test's ----

static int64_t test_now;

static int64_t test_clock(void)
{
	return test_now;
}

static int once(struct ohttp_keys *k, const struct outbuf *request)
{
	struct ohttp_exchange x;
	size_t used;
	int err = ohttp_keys_begin(k, &x, false, request->at, request->len, &used);
	if (!err) {
		err = ohttp_keys_once(k, request->at[0], &x);
		ohttp_end(&x);
	}
	return err;
}

static void make_request(struct ohttp_keys *k, struct outbuf *out)
{
	struct outbuf list = {.at = NULL};
	struct ohttp_config all[OHTTP_MAX_CONFIGS];
	struct ohttp_exchange x;
	struct fault f;
	out->len = 0;
	if (ohttp_keys_list(k, &list, &f) || ohttp_configs_read(all, list.at, list.len, &f) != 2 || ohttp_client_begin(&x, all, false, NULL, out) ||
	    ohttp_client_seal(&x, "x", 1, true, out))
		abort();
	ohttp_end(&x);
	outbuf_free(&list);
}

static void test_keys(void)
{
	const struct ohttp_keys_options o = {.rotate_s = 100, .overlap_s = 50, .max_requests = 4000, .clock_ms = test_clock};
	struct outbuf a = {.at = NULL}, b = {.at = NULL}, old = {.at = NULL};
	struct ohttp_keys *k;
	struct fault f = {""};
	test_now = 1000000;
	if (ohttp_keys_open(&k, &o, &f))
		abort();
	make_request(k, &a);
	make_request(k, &old);
	int first = once(k, &a), second = once(k, &a);
	ok("ohttp: a request once", !first && second == -EALREADY, "%d %d", first, second);
	test_now += 99000;
	ok("ohttp: the keys last", ohttp_keys_left_s(k) == 1, "%u", ohttp_keys_left_s(k));
	test_now += 2000;
	make_request(k, &b);
	ok("ohttp: then there are others", b.at[0] != a.at[0], "%d", b.at[0]);
	first = once(k, &old);
	second = once(k, &a);
	ok("ohttp: the old ones serve on, and have not forgotten", !first && second == -EALREADY && !once(k, &b), "%d %d", first, second);
	test_now += 51000;
	first = once(k, &a);
	ok("ohttp: for a while", first == -ENOENT, "%d", first);
	test_now += 30000;
	make_request(k, &b);
	uint8_t id = b.at[0];
	unsigned int made = 0;
	while (made < 10000 && b.at[0] == id && !once(k, &b)) {
		make_request(k, &b);
		made++;
	}
	ok("ohttp: who sends many requests gets new keys sooner", made == 2999 && b.at[0] != id, "%u", made);
	ohttp_keys_close(k);
	outbuf_free(&a);
	outbuf_free(&b);
	outbuf_free(&old);
}

// Silent connections take no place from who has something to say; a stop does not wait for them.
static void test_crowd(void)
{
	char at[32];
	struct wire silent[80];
	struct http1_server *s;
	struct fault f = {""};
	unsigned int answered = 0;
	const struct http1_server_options o = {.listener = listener(at), .max_connections = 4, .max_large_bytes = 1000, .handle = serve};
	if (http1_server_start(&s, &o, &f))
		abort();
	for (int i = 0; i < 80; i++) {
		if (wire_dial(&silent[i], at, NULL, clock_ms() + 60000, &f))
			abort();
		if (i % 20 == 19) {
			// A place is free as soon as the one that was cut off has gone: until then the answer is 503.
			for (int k = 0; k < 200; k++) {
				struct got g = ask(at, GET("/crowd"));
				bool good = !g.err && g.status == 201;
				got_free(&g);
				answered += good;
				if (good)
					break;
				poll(NULL, 0, 10);
			}
		}
	}
	ok("ohttp: silent connections keep nobody out", answered == 4 && http1_server_open_count(s) <= 68, "%u, %u open", answered,
	   http1_server_open_count(s));
	// Large requests have so much room together; small ones always have theirs.
	struct got g = {.err = 0};
	for (int k = 0; k < 200 && g.status != 201; k++) {
		got_free(&g);
		poll(NULL, 0, k ? 10 : 0);
		g = ask(at, "POST /s HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 5\r\n\r\nsmall");
	}
	ok("ohttp: a small request where there is no room for large ones", g.status == 201, "%d %u", g.err, g.status);
	got_free(&g);
	char *large = malloc(200000);
	int n = snprintf(large, 200, "POST /s HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 150000\r\n\r\n");
	memset(large + n, 'l', 150000);
	large[n + 150000] = '\0';
	g = ask(at, large);
	ok("ohttp: a large one", g.status != 201, "%d %u", g.err, g.status);
	got_free(&g);
	free(large);
	int64_t begun = clock_ms();
	http1_server_stop(s, 20000);
	ok("ohttp: a stop waits for answers only", clock_ms() - begun < 15000, "it waited");
	for (int i = 0; i < 80; i++)
		wire_close(&silent[i]);
}

static int64_t test_seconds;

static int64_t test_clock_s(void)
{
	return test_seconds;
}

// Two gateways with one secret, and one with another.
static void test_shared_keys(void)
{
	static const uint8_t secret[32] = "a secret that two gateways share", another[32] = "a secret that nobody else has...";
	struct ohttp_keys_options o = {.rotate_s = 1000, .overlap_s = 100, .clock_ms = test_clock, .clock_s = test_clock_s, .seed = secret,
		.seed_len = 32};
	struct outbuf a = {.at = NULL}, b = {.at = NULL}, early = {.at = NULL};
	struct ohttp_keys *k[3], *none;
	struct fault f = {""};
	test_seconds = 5000500;
	for (int i = 0; i < 3; i++) {
		o.seed = i == 2 ? another : secret;
		if (ohttp_keys_open(&k[i], &o, &f))
			abort();
	}
	make_request(k[0], &a);
	int first = once(k[1], &a), second = once(k[1], &a);
	ok("ohttp: a gateway opens what was sealed for another one with the same secret", !first && second == -EALREADY, "%d %d", first, second);
	struct ohttp_exchange x;
	struct outbuf opened = {.at = NULL};
	size_t used = 0;
	int err = ohttp_keys_begin(k[2], &x, false, a.at, a.len, &used);
	err = err ? err : ohttp_server_open(&x, a.at + used, a.len - used, true, &opened);
	ok("ohttp: and one with another does not", err == -EBADMSG, "%d", err);
	ohttp_end(&x);
	outbuf_free(&opened);
	test_seconds = 5000990;
	make_request(k[0], &b);
	test_seconds = 5001001;	// one gateway's clock is ahead
	make_request(k[0], &early);
	test_seconds = 5000999;
	first = once(k[1], &early);
	ok("ohttp: the next keys serve a minute before their time", early.at[0] != b.at[0] && !first, "%d", first);
	test_seconds = 5001099;
	first = once(k[1], &b);
	second = once(k[1], &a);
	ok("ohttp: the last ones serve on, and have not forgotten", !first && second == -EALREADY, "%d %d", first, second);
	test_seconds = 5001100;
	first = once(k[1], &b);
	second = once(k[1], &early);
	ok("ohttp: for a while, by the machine's clock", first == -ENOENT && second == -EALREADY && ohttp_keys_left_s(k[1]) == 900, "%d %d, %u",
	   first, second,
	   ohttp_keys_left_s(k[1]));
	test_seconds = 9000000;	// nobody asked for hours
	make_request(k[0], &b);
	ok("ohttp: after a long time", !once(k[1], &b), "refused");
	for (int i = 0; i < 3; i++)
		ohttp_keys_close(k[i]);
	o.seed_len = 31;
	err = ohttp_keys_open(&none, &o, &f);
	ok("ohttp: a secret that is too short", err == -EINVAL && strstr(f.text, "32 bytes"), "%d %s", err, f.text);
	outbuf_free(&a);
	outbuf_free(&b);
	outbuf_free(&early);
}

int main(void)
{
	struct fault f = {""};
	signal(SIGPIPE, SIG_IGN);
	if (!world_begin())
		return 1;
	const struct http1_server_options plain = {.listener = listener(origin_at), .handle = serve}, between = {.listener = listener(relay.at),
		.handle = pass_on};
	if (http1_server_start(&origin, &plain, &f) || http1_server_start(&relay.server, &between, &f))
		return 1;
	egress = start_egress(&good, NULL, relay.to);
	other_egress = start_egress(&other, NULL, relay.other);
	test_exchange(false);
	test_exchange(true);
	test_attacks();
	test_lost();
	test_verification();
	test_restart();
	test_tokens();
	test_gateway();
	test_keys();
	test_shared_keys();
	test_crowd();
	ohttp_ingress_stop(ingress, 1000);
	ohttp_egress_stop(egress, 1000);
	ohttp_egress_stop(other_egress, 1000);
	http1_server_stop(relay.server, 1000);
	http1_server_stop(origin, 1000);
	outbuf_free(&relay.document);
	return world_end();
}

// SPDX-License-Identifier: Apache-2.0
// An enclave's start, with its own code, through something between it and its broker that answers 503 or 429, or loses an answer, at each request
// in turn: the start goes on, waits as it is asked to, and no longer than it may.
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "init/exchange.h"
#include "lib/file.h"
#include "lib/http_server.h"
#include "lib/tls.h"
#include "tests/broker/harness.h"

#define VOLUME_HEX "0a0b0c0d0e0f10111213141516171819"
#define VOLUME "default/volume/" VOLUME_HEX
#define SECRET "app/key/one"

static struct run b;
static char *ca;	// of those in between, and of the broker

// What stands in between. `at`: the path's beginning of the request that is tampered with.
static struct between {
	pthread_mutex_t lock;
	struct http_server *server;
	char url[64];
	const char *method, *at, *retry_after;
	int status;		// the answer, 0: the broker's
	bool done;		// the broker gets the request all the same, and its answer is lost
	bool drop_session;	// the request goes on with a cookie that the broker does not know
	unsigned int times;	// so many are tampered with
	bool every_second;	// of them
	bool cut;		// the broker gets the request, and the connection goes instead of its answer
	unsigned int matched, tampered, auths;
} one = {.lock = PTHREAD_MUTEX_INITIALIZER}, two = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void pass_on(const struct http_request *q, const char *cookie, struct http_response *r)
{
	char headers[600], path[2200];
	struct http_reply reply;
	snprintf(headers, sizeof headers, "%s%.500s%s", *cookie ? "Cookie: " : "", cookie, *cookie ? "\r\n" : "");
	snprintf(path, sizeof path, "%s%s%s", q->head->path, *q->head->query ? "?" : "", q->head->query);
	if (request(&b, q->head->method, path, headers, q->body_len ? q->body : NULL, &reply)) {
		r->status = 502;
		return;
	}
	r->status = reply.status;
	r->body = reply.body;
	r->body_len = reply.body_len;
	snprintf(r->set_cookie, sizeof r->set_cookie, "%.255s", reply.cookie);
}

static char too_long[4096];

static void handle(void *ctx, const struct http_request *q, struct http_response *r)
{
	struct between *p = ctx;
	pthread_mutex_lock(&p->lock);
	bool hit = p->at && p->tampered < p->times && !strcmp(q->head->method, p->method) && !strncmp(q->head->path, p->at, strlen(p->at)) &&
		   (p->matched++ % 2 == 0 || !p->every_second);
	p->tampered += hit;
	p->auths += !strcmp(q->head->path, "/kbs/v0/auth");
	int status = hit ? p->status : 0;
	const char *wait = hit ? p->retry_after : NULL;
	bool pass = !status || p->done;
	bool cut = hit && p->cut;
	const char *cookie = hit && p->drop_session ? "kbs-session-id=00" : q->head->cookie;
	pthread_mutex_unlock(&p->lock);
	if (pass)
		pass_on(q, cookie, r);
	if (cut)	// an answer whose head is too long is not sent
		r->content_type = too_long;
	if (!status)
		return;
	if (r->body)
		free_wiped(r->body, r->body_len);
	r->status = status;
	r->body = strdup("{\"title\":\"Unavailable\",\"detail\":\"the test's wish\"}");
	r->body_len = strlen(r->body);
	r->set_cookie[0] = '\0';
	if (wait && asprintf(&r->headers, "Retry-After: %s\r\n", wait) < 0)
		r->headers = NULL;
}

static bool stand_between(struct between *p, const char *cert, const char *key)
{
	struct fault f = {""};
	SSL_CTX *tls = tls_server_context(cert, key, &f);
	struct http_server_options o = {.address = "127.0.0.1", .tls = tls, .handle = handle, .ctx = p};
	bool good = tls && !http_server_start(&p->server, &o, &f);
	SSL_CTX_free(tls);
	if (good)
		snprintf(p->url, sizeof p->url, "https://127.0.0.1:%u", http_server_port(p->server));
	return ok("something stands in between", good, "%s", f.text);
}

// ---- the enclave ----

static char said[1024], delivered[64];
static unsigned int lines, mounts, claims;
static struct coffer_anchor_state volume;

static int evidence_here(const uint8_t report_data[64], struct evidence *out, struct fault *f)
{
	return machine_evidence(&machine, report_data, out, f);
}

static int mount_here(unsigned int index, const struct settings_volume *v, const struct coffer_mount_key *key, struct fault *f)
{
	(void)index, (void)v, (void)key, (void)f;
	mounts++;
	return 0;
}

static void say_here(const char *line)
{
	snprintf(said, sizeof said, "%s", line);
	lines++;
}

static int anchor_write(const struct coffer_anchor_record *r)
{
	if (r->what == COFFER_ANCHOR_CLAIMED) {
		claims++;
		volume.epoch = r->state.epoch;
	}
	return 0;
}

static int anchor_read(struct coffer_anchor_record *r)
{
	*r = (struct coffer_anchor_record){.what = COFFER_ANCHOR_STATE, .state = volume};
	return 0;
}

static int deliver_here(const struct settings_secret *s, const void *bytes, size_t len, struct fault *f)
{
	(void)s, (void)f;
	snprintf(delivered, sizeof delivered, "%.*s", (int)len, (const char *)bytes);
	return 0;
}

static int start(const char *urls, unsigned int timeout, struct fault *f)
{
	static const struct attest_ops ops = {evidence_here, mount_here, NULL, NULL, say_here, anchor_write, anchor_read, deliver_here, NULL};
	struct settings_secret secret = {.path = (char *)"/run/key", .resource = (char *)SECRET, .mode = 0400};
	struct settings s = {.volume_count = 1, .broker_url = (char *)urls, .broker_ca = ca, .broker_timeout_s = timeout, .anchor = true,
			     .secret_count = 1, .secrets = &secret};
	struct exchange *x = NULL;
	s.volumes[0].name = "a.vol";
	s.volumes[0].path = "/data";
	strcpy(s.volumes[0].id, VOLUME_HEX);
	lines = mounts = claims = 0;
	said[0] = delivered[0] = f->text[0] = '\0';
	one.matched = one.tampered = one.auths = two.matched = two.tampered = two.auths = 0;
	int err = attest_run(&s, &ops, &x, f);
	exchange_free(x);
	return err;
}

static void tamper(struct between *p, const char *method, const char *at, int status, unsigned int times)
{
	p->method = method;
	p->at = at;
	p->status = status;
	p->times = times;
	p->retry_after = NULL;
	p->done = p->drop_session = p->every_second = p->cut = false;
}

static bool whole(int err)
{
	return !err && mounts == 1 && claims == 1 && !strcmp(delivered, "a secret");
}

#define ALWAYS 1000000u
static const struct { const char *method, *at; } requests[] = {
	{"POST", "/kbs/v0/auth"}, {"POST", "/kbs/v0/attest"}, {"GET", "/kbs/v0/resource/" VOLUME}, {"GET", "/kbs/v0/anchor/"}, {"POST", "/kbs/v0/anchor/"},
	{"GET", "/kbs/v0/resource/" SECRET},
};
#define REQUESTS (sizeof requests / sizeof *requests)

static void test_each(void)
{
	struct fault f;
	char name[160];
	for (size_t i = 0; i < REQUESTS; i++) {
		const char *what = requests[i].at + strlen("/kbs/v0/");
		bool proof = i == 1, handshake = i < 2;
		for (int status = 429; status <= 503; status += 503 - 429) {
			tamper(&one, requests[i].method, requests[i].at, status, 2);
			int err = start(one.url, 30, &f);
			snprintf(name, sizeof name, "%s %s, answered %d: the start goes on", requests[i].method, what, status);
			ok(name, whole(err) && one.tampered == 2, "%d, %u mounts, %u claims: %s", err, mounts, claims, f.text);
			ok("what it waits for is said once", lines == 1 && strstr(said, "the test's wish") && strstr(said, one.url) && strstr(said, "trying again"),
			   "%u lines: %s", lines, said);
			ok("a nonce is used once", one.auths == (handshake ? 3 : 1) || !proof, "%u", one.auths);
		}
		tamper(&one, requests[i].method, requests[i].at, 503, 1);
		one.done = true;
		int err = start(one.url, 30, &f);
		snprintf(name, sizeof name, "%s %s, done, but the answer is lost: the start goes on", requests[i].method, what);
		ok(name, whole(err) && one.tampered == 1, "%d, %u mounts, %u claims: %s", err, mounts, claims, f.text);
		if (i < 2)
			continue;
		tamper(&one, requests[i].method, requests[i].at, 0, 1);
		one.drop_session = true;
		err = start(one.url, 0, &f);
		snprintf(name, sizeof name, "%s %s, in a session that the broker has lost: it proves itself anew, with no word", requests[i].method, what);
		ok(name, whole(err) && one.auths == 2 && !lines, "%d, %u times, %u lines: %s", err, one.auths, lines, f.text);
	}
	one.at = NULL;
}

// The broker's anchor tells what became of a claim whose answer was lost.
static void test_claim(void)
{
	struct coffer_anchor_state known = {0};
	struct fault f;
	struct http_reply r;
	int err = request(&b, "GET", "/kbs/v0/anchor/" VOLUME, admin_header(&b), NULL, &r);
	json_t *o = err ? NULL : json_loads(r.body, 0, NULL);
	known.epoch = (unsigned long)json_integer_value(json_object_get(o, "epoch"));
	ok("the enclave writes under the epoch that the broker knows", known.epoch && known.epoch == volume.epoch, "%lu %lu", (unsigned long)known.epoch,
	   (unsigned long)volume.epoch);
	json_decref(o);
	if (!err)
		http_reply_free(&r);
	// The volume is older than what is remembered: no number of attempts changes that.
	struct coffer_anchor_state was = volume;
	struct broker_client *c = owner(&b);
	struct broker_anchor to = {.generation = 9};
	to.digest[0] = 9;
	uint8_t id[16];
	for (int i = 0; i < 16; i++)
		id[i] = (uint8_t)(10 + i);
	err = c ? broker_client_anchor_set(c, id, &to, &f) : -EIO;
	broker_client_close(c);
	tamper(&one, "POST", "/kbs/v0/anchor/", 503, 1);
	one.done = true;
	int got = start(one.url, 5, &f);
	ok("a refused claim whose answer is lost is refused still", !err && got == -EACCES && !claims && strstr(f.text, "older than the state"), "%d %d: %s", err, got,
	   f.text);
	volume = was;
	volume.generation = 9;
	memcpy(volume.digest, to.digest, 32);
	one.at = NULL;
}

// Each claim leaves a record at the broker. Whose answers are lost does not go on claiming without an end, or without a pause.
static void test_lost(void)
{
	struct fault f;
	char urls[200];
	tamper(&one, "POST", "/kbs/v0/anchor/", 0, 1);
	one.cut = true;
	int err = start(one.url, 0, &f);
	ok("a claim after which the connection goes is made from there, at once", whole(err) && one.tampered == 1 && !lines, "%d %u %u: %s", err, one.tampered, lines,
	   f.text);
	tamper(&one, "POST", "/kbs/v0/anchor/", 0, 3);
	one.cut = true;
	err = start(one.url, 30, &f);
	ok("it goes on after some such", whole(err) && one.tampered == 3 && lines == 1, "%d %u %u: %s", err, one.tampered, lines, f.text);
	tamper(&one, "POST", "/kbs/v0/anchor/", 0, 200);
	one.cut = true;
	err = start(one.url, 3, &f);
	ok("where each connection goes it ends with its time", err == -ECONNRESET && one.tampered < 30 && !claims && strstr(f.text, "within 3 s"), "%d %u: %s", err,
	   one.tampered, f.text);
	tamper(&one, "POST", "/kbs/v0/anchor/", 503, 200);
	tamper(&two, "POST", "/kbs/v0/anchor/", 503, 200);
	snprintf(urls, sizeof urls, "%s,%s", one.url, two.url);
	err = start(urls, 3, &f);
	ok("where none of two brokers can write, too", err == -EAGAIN && one.tampered + two.tampered < 30 && !claims && lines == 1, "%d %u %u: %s", err,
	   one.tampered, two.tampered, f.text);
	one.at = two.at = NULL;
	err = start(one.url, 0, &f);
	ok("and starts when that is over", whole(err), "%d: %s", err, f.text);
}

static void test_waits(void)
{
	struct fault f;
	tamper(&one, "GET", "/kbs/v0/resource/" SECRET, 503, 1);
	one.retry_after = "2";
	int64_t before = clock_ms();
	int err = start(one.url, 30, &f);
	ok("it waits as long as it is asked to", whole(err) && one.tampered == 1 && clock_ms() - before >= 2000, "%d %lld ms: %s", err,
	   (long long)(clock_ms() - before), f.text);

	tamper(&one, "GET", "/kbs/v0/resource/" SECRET, 429, ALWAYS);
	one.retry_after = "3000";
	err = start(one.url, 30, &f);
	ok("for longer than it may: it ends at once, and says which setting that is", err == -EAGAIN && one.tampered == 1 && !lines && strstr(f.text, "3000 s") &&
	   strstr(f.text, "the test's wish") && strstr(f.text, "broker: timeout:"), "%d %u: %s", err, one.tampered, f.text);

	char within[32];
	one.retry_after = "tomorrow";
	for (unsigned int s = 1; s <= 16; s *= 4) {	// more where it is too slow to ask twice
		err = start(one.url, s, &f);
		snprintf(within, sizeof within, "within %u s", s);
		if (one.tampered >= 2)
			break;
	}
	ok("without an end it ends when its time is over", err == -EAGAIN && one.tampered >= 2 && one.tampered < 20 && lines == 1 && strstr(f.text, within) &&
	   strstr(f.text, "the test's wish"), "%d %u %u: %s", err, one.tampered, lines, f.text);

	tamper(&one, "GET", "/kbs/v0/", 503, ALWAYS);
	one.retry_after = "1";
	for (int i = 0; i < 8; i++) {	// anew where it is too slow to come to the second
		one.every_second = true;
		err = start(one.url, 2, &f);
		if (one.tampered >= 2)
			break;
	}
	ok("the time is for the whole start", err == -EAGAIN && one.tampered == 2 && !mounts, "%d %u: %s", err, one.tampered, f.text);

	tamper(&one, "POST", "/kbs/v0/auth", 503, ALWAYS);
	err = start(one.url, 0, &f);
	ok("with no time it asks once", err == -EAGAIN && one.tampered == 1 && !lines, "%d %u %u: %s", err, one.tampered, lines, f.text);

	tamper(&one, "GET", "/kbs/v0/resource/" VOLUME, 500, ALWAYS);
	err = start(one.url, 30, &f);
	ok("another failure of the broker is none to wait for", err == -EACCES && one.tampered == 1 && !lines, "%d %u: %s", err, one.tampered, f.text);

	tamper(&one, "GET", "/kbs/v0/resource/" VOLUME, 401, ALWAYS);
	err = start(one.url, 30, &f);
	ok("a broker that refuses each session is believed", err == -EACCES && one.tampered == 3 && strstr(f.text, "the test's wish"), "%d %u: %s", err, one.tampered, f.text);
	one.at = NULL;
}

static void test_others(void)
{
	struct fault f;
	char urls[200];
	for (size_t i = 0; i < REQUESTS; i++) {
		tamper(&one, requests[i].method, requests[i].at, 503, ALWAYS);
		one.retry_after = "3000";
		snprintf(urls, sizeof urls, "%s,%s", one.url, two.url);
		int err = start(urls, 30, &f);
		ok("of two brokers one is overloaded: the other is asked, without a wait", whole(err) && one.tampered == 1 && !lines, "%s: %d, %u: %s", requests[i].at,
		   err, one.tampered, f.text);
	}
	tamper(&two, "POST", "/kbs/v0/attest", 503, 1);
	tamper(&one, "POST", "/kbs/v0/attest", 503, 1);
	int err = start(urls, 30, &f);
	ok("both are: it waits", whole(err) && one.tampered == 1 && two.tampered == 1 && lines == 1, "%d, %u %u, %u: %s", err, one.tampered, two.tampered, lines, f.text);
	one.at = two.at = NULL;
	snprintf(urls, sizeof urls, "https://127.0.0.1:1,%s", two.url);
	err = start(urls, 0, &f);
	ok("one is gone: the other is asked", whole(err) && !lines, "%d %u: %s", err, lines, f.text);
}

int main(void)
{
	char *cert = NULL, *key = NULL;
	struct fault f = {""};
	memset(too_long, 'x', sizeof too_long - 1);
	world_begin("retry");
	// The broker is a child of this process: it is made before there are threads, which the leak checker would look for in the child.
	if (tls_make_certificate("in between", "127.0.0.1", &cert, &key, &f) || !run_prepare(&b, "state") ||
	    !ok("a broker starts", run_start(&b, "--insecure-accept-simulated", machine.root_pem), "no") || !stand_between(&one, cert, key) ||
	    !stand_between(&two, cert, key))
		return 1;
	ca = cert;
	put_secret(&b, SECRET, "a secret");
	put_secret(&b, VOLUME, "the thirty-two bytes of the key.");
	set_policy(&b, SECRET, true, machine.measurement_hex);
	set_policy(&b, VOLUME, true, machine.measurement_hex);
	volume = (struct coffer_anchor_state){.generation = 3, .digest = {1, 2, 3}};
	test_each();
	test_claim();
	test_lost();
	test_waits();
	test_others();
	http_server_stop(one.server);
	http_server_stop(two.server);
	ok("it ends well", !run_stop(&b), "no");
	free(cert);
	free_wiped(key, strlen(key));
	run_free(&b);
	return world_end();
}

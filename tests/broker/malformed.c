// SPDX-License-Identifier: Apache-2.0
// What no client sends: malformed, truncated and oversized bodies, paths and evidence, at every endpoint of a broker that really runs. Each is
// answered with what is wrong with it (4xx), none with a fault of the broker's own, and the broker serves on. And two clients with one nonce.
#include <errno.h>
#include <openssl/rand.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "attest/binding.h"
#include "broker/routes.h"
#include "lib/encode.h"
#include "lib/file.h"
#include "lib/jwe.h"
#include "tests/broker/harness.h"

static struct run b;
static struct http_client *client;	// one connection for all

// Its status, or -errno.
static int ask(const char *method, const char *path, const char *headers, const char *body, size_t len)
{
	struct http_reply r;
	struct fault f = {""};
	int err = http_client_request(client, method, path, headers, body, len, &r, &f);
	if (err)
		return err;
	int status = r.status;
	http_reply_free(&r);
	return status;
}

static bool refused_well(int status)
{
	return status >= 400 && status < 500;
}

// ---- bodies ----

#define LARGE (900u << 10)

static const struct { const char *name, *text; } bodies[] = {
	{"nothing", ""}, {"half an object", "{\"action\":\"pu"}, {"a list", "[]"}, {"null", "null"}, {"a number", "1e999"}, {"a text", "\"x\""},
	{"no UTF-8", "{\"name\":\"\xff\xfe\"}"}, {"half a character", "{\"name\":\"\\ud800\"}"}, {"a name twice", "{\"action\":\"put\",\"action\":\"put\"}"},
	{"wrong types", "{\"action\":7,\"resource\":[],\"name\":{},\"key\":null,\"version\":\"x\",\"tee\":1,\"ring\":false,\"extra-params\":3}"},
	{"numbers out of range", "{\"action\":\"rollback\",\"version\":99999999999999999999999}"},
	{"negative numbers", "{\"action\":\"rollback\",\"version\":-1,\"epoch\":-1,\"generation\":-9223372036854775808,\"digest\":\"\"}"},
	{"no key", "{\"action\":\"add\",\"name\":\"x\",\"roles\":[\"auditor\"],\"key\":\"-----BEGIN PUBLIC KEY-----\\nMFkwEw\\n-----END PUBLIC KEY-----\\n\"}"},
	{"no certificate", "{\"action\":\"add\",\"name\":\"x\",\"roles\":[\"auditor\"],\"certificate\":\"-----BEGIN CERTIFICATE-----\\nMIIB\\n-----END CERTIFICATE-----\\n\"}"},
	{"no policy", "{\"action\":\"put\",\"text\":\"rules: [\",\"name\":\"x\"}"},
};

// A value of a secret is any bytes; a reload reads none.
static bool takes_anything(const char *path)
{
	return !strcmp(path, "/kbs/v0/resource/") || !strcmp(path, "/coffer/v0/reload");
}

static void test_bodies(void)
{
	char header[160], path[200], name[200], *large = malloc(LARGE + 16);
	unsigned int asked = 0;
	snprintf(header, sizeof header, "%s", admin_header(&b));
	memset(large, 'a', LARGE + 16);
	memcpy(large, "{\"action\":\"", 11);
	for (const struct route *t = routes; t->path; t++) {
		if (strcmp(t->method, "POST"))
			continue;
		snprintf(path, sizeof path, "%s%s", t->path, t->path[strlen(t->path) - 1] == '/' ? "default/file/none" : "");
		for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
			int status = ask("POST", path, header, bodies[i].text, strlen(bodies[i].text));
			snprintf(name, sizeof name, "POST %s with %s", t->path, bodies[i].name);
			asked++;
			if (takes_anything(t->path) ? status < 200 || status >= 500 : !refused_well(status))
				ok(name, false, "%d", status);
		}
		int status = ask("POST", path, header, large, LARGE);
		snprintf(name, sizeof name, "POST %s with nearly a megabyte", t->path);
		if (takes_anything(t->path) ? status < 200 || status >= 500 : !refused_well(status))
			ok(name, false, "%d", status);
	}
	ok("what is no request is refused as such, everywhere", asked > 10 * sizeof bodies / sizeof *bodies && !ok_failed, "%u asked", asked);
	free(large);
}

// ---- paths ----

static void test_paths(void)
{
	static const char *const rests[] = {"a", "a/b", "a/b/c/d", "../../etc/passwd", "%2e%2e/%2e%2e/x", "a//c", "a/b/", "%00/b/c", "%ff/b/c", "a/b/c%0d%0aX:y", "a/b/%"};
	static const char query[] = "?version=99999999999999999999&from=-1&to=x&size=18446744073709551616&index=1e9&cosigned=4294967297&replace";
	char header[160], path[4200], name[200], longest[4000];
	unsigned int asked = 0, wrong = 0;
	snprintf(header, sizeof header, "%s", admin_header(&b));
	memset(longest, 'a', sizeof longest - 1);
	longest[sizeof longest - 1] = '\0';
	for (const struct route *t = routes; t->path; t++) {
		bool rest = t->path[strlen(t->path) - 1] == '/', post = !strcmp(t->method, "POST");
		for (size_t i = 0; i <= sizeof rests / sizeof *rests; i++) {
			const char *r = i < sizeof rests / sizeof *rests ? rests[i] : longest;
			snprintf(path, sizeof path, "%s%s%s", t->path, rest ? r : "", i % 2 ? query : "");
			int status = ask(t->method, path, header, post ? "{" : NULL, post ? 1 : 0);
			snprintf(name, sizeof name, "%s %s with %.60s", t->method, t->path, r);
			asked++;
			if (status < 200 || status >= 500) {
				wrong++;
				ok(name, false, "%d", status);
			}
			if (!rest && i > 1)
				break;
		}
	}
	ok("no path and no query is a fault of the broker's", asked > 100 && !wrong, "%u of %u", wrong, asked);
}

// ---- evidence ----

enum junk { EMPTY, RANDOM, DER_DEEP, CBOR_DEEP, DER_LONG, JUNK };
static const char *const junk_names[JUNK] = {"nothing", "random bytes", "nested DER", "nested CBOR", "DER that is longer than it is"};

// As base64.
static char *junk_text(enum junk kind)
{
	static uint8_t bytes[3000];
	size_t len = kind == EMPTY ? 0 : sizeof bytes;
	char *text = malloc(BASE64_SIZE(sizeof bytes));
	if (kind == RANDOM)
		RAND_bytes(bytes, sizeof bytes);
	else
		memset(bytes, kind == CBOR_DEEP ? 0x81 : 0x30, sizeof bytes);
	for (size_t i = 0; kind == DER_DEEP && i + 4 < sizeof bytes; i += 4) {
		size_t left = sizeof bytes - i - 4;
		bytes[i + 1] = 0x82;
		bytes[i + 2] = (uint8_t)(left >> 8);
		bytes[i + 3] = (uint8_t)left;
	}
	if (kind == DER_LONG)
		memcpy(bytes, "\x30\x84\xff\xff\xff\xff\x30\x84\x7f\xff\xff\xff", 12);
	base64_encode(text, bytes, len, BASE64_STD);
	return text;
}

// All members that some kind of evidence has, each of which is this.
static json_t *evidence_of(enum junk kind)
{
	static const char *const members[] = {"attestation_report", "quote", "token", "report", "hcl_report", "vcek", "td_quote", "cc_eventlog", "ak_public", "eventlog",
					      "ak_certificates"};
	char *text = junk_text(kind);
	json_t *o = json_pack("{s:[{s:s, s:s}], s:s, s:{s:s, s:s, s:[s]}}", "cert_chain", "cert_type", "VCEK", "data", text, "evidence", text, "tpm_quote", "signature", text,
			      "message", text, "pcrs", text);
	for (size_t i = 0; i < sizeof members / sizeof *members; i++)
		json_object_set_new(o, members[i], json_string(text));
	free(text);
	return o;
}

static void test_evidence(void)
{
	static const char *const tees[] = {"snp", "tdx", "sgx", "csv", "cca", "tpm", "az-snp-vtpm", "az-tdx-vtpm", "coffer-simulated"};
	char name[200];
	unsigned int asked = 0;
	for (size_t i = 0; i < sizeof tees / sizeof *tees; i++) {
		for (int kind = 0; kind < JUNK; kind++) {
			struct guest g = {.key = NULL};
			snprintf(name, sizeof name, "%s: a session begins", tees[i]);
			if (!guest_begin(&b, tees[i], &g)) {
				ok(name, false, "no");
				continue;
			}
			json_t *key = jwk_from_key(g.key);
			json_t *o = json_pack("{s:{s:s, s:o}, s:{s:o}}", "runtime-data", "nonce", g.nonce, "tee-pubkey", key, "tee-evidence", "primary_evidence",
					      evidence_of((enum junk)kind));
			char *text = json_dumps(o, JSON_COMPACT);
			int status = ask("POST", "/kbs/v0/attest", g.cookie, text, strlen(text));
			snprintf(name, sizeof name, "%s: evidence of %s", tees[i], junk_names[kind]);
			ok(name, status == 400 || status == 403, "%d", status);
			asked += status == 400 || status == 403;
			free(text);
			json_decref(o);
			guest_free(&g);
		}
	}
	ok("no evidence of junk is a fault of the broker's", asked == JUNK * sizeof tees / sizeof *tees, "%u", asked);
}

// ---- one nonce ----

#define CLIENTS 8

static struct {
	pthread_t thread;
	const struct guest *guest;
	const char *body;
	int status;
} clients[CLIENTS];

static void *attest_once(void *arg)
{
	struct http_reply r;
	size_t i = (size_t)arg;
	int err = request(&b, "POST", "/kbs/v0/attest", clients[i].guest->cookie, clients[i].body, &r);
	clients[i].status = err ? err : r.status;
	if (!err)
		http_reply_free(&r);
	return NULL;
}

static void test_one_nonce(void)
{
	struct guest g = {.key = NULL};
	struct evidence e = {.chain = {.count = 0}};
	struct fault f = {""};
	uint8_t data[64];
	unsigned int good = 0, late = 0;
	ok("a session begins", guest_begin(&b, "snp", &g), "no");
	json_t *jwk = jwk_from_key(g.key);
	int err = attest_report_data(g.nonce, jwk, "", data);
	json_decref(jwk);
	if (!err)
		err = machine_evidence(&machine, data, &e, &f);
	char *body = err ? NULL : guest_body(g.key, g.nonce, &e);
	if (!ok("with evidence", body != NULL, "%s", f.text))
		return;
	for (size_t i = 0; i < CLIENTS; i++) {
		clients[i].guest = &g;
		clients[i].body = body;
		pthread_create(&clients[i].thread, NULL, attest_once, (void *)i);
	}
	for (size_t i = 0; i < CLIENTS; i++) {
		pthread_join(clients[i].thread, NULL);
		good += clients[i].status == 200;
		late += clients[i].status == 401;
	}
	ok("of eight clients with one nonce one attests", good == 1 && late == CLIENTS - 1, "%u, and %u are told", good, late);
	free(body);
	guest_free(&g);
}

int main(void)
{
	char path[160];
	static const char settings[] = "refusals_per_peer: 1000000\nsessions_per_peer: 100000\n";
	struct fault f = {""};
	world_begin("malformed");
	run_prepare(&b, "state");
	snprintf(path, sizeof path, "%s/settings.yaml", world);
	file_write(path, settings, sizeof settings - 1, 0600, false, NULL);
	if (!ok("the broker starts", run_start(&b, "--insecure-accept-simulated", machine.root_pem, "--config", path), "no"))
		return 1;
	struct http_client_options o = {.url = b.url, .ca_pem = b.ca, .resolve = http_resolve_static, .timeout_ms = 20000};
	if (ok("a client opens", !http_client_open(&client, &o, &f), "%s", f.text)) {
		test_bodies();
		test_paths();
		test_evidence();
		http_client_close(client);
	}
	test_one_nonce();
	expect("the broker serves on", &b, "GET", "/healthz", "", NULL, 200, "ok");
	ok("it ends well", !run_stop(&b), "no");
	run_free(&b);
	return world_end();
}

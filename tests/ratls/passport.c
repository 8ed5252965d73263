// SPDX-License-Identifier: Apache-2.0
// The passport model: tokens of a broker in certificates, in sessions, and handed over; other signers, other keys, old ones. The recorded certificates of other
// implementations, judged by the library with its clock set. And one context in many threads.
#include <errno.h>
#include <openssl/pem.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "attest/cert.h"
#include "broker/ear.h"
#include "lib/file.h"
#include "lib/jwe.h"
#include "ratls/judge.h"
#include "tests/attest/vectors.h"
#include "tests/ratls/world.h"

static struct signer signer, stranger;
static char token_path[128], key_path[128], keys_path[128];
static EVP_PKEY *tls_key;

static void write_text(const char *path, const char *text)
{
	if (file_write(path, text, strlen(text), 0600, false, NULL))
		abort();
}

static void write_key(const char *path, EVP_PKEY *key)
{
	BIO *bio = BIO_new(BIO_s_mem());
	char *text;
	if (PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) != 1)
		abort();
	long n = BIO_get_mem_data(bio, &text);
	if (file_write(path, text, (size_t)n, 0600, false, NULL))
		abort();
	BIO_free(bio);
}

// What a broker gives an enclave with this measurement that has attested with this key.
static void write_token(const struct signer *by, EVP_PKEY *key, const char *measurement, time_t at)
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
	char *token = ear_token(by, "a broker", &r, NULL, jwk, at);
	write_text(token_path, token);
	free(token);
	json_decref(jwk);
	attest_result_free(&r);
}

static void expect(const char *name, const struct ratls_options *client, const struct ratls_options *server, int error, const char *why)
{
	struct ratls_context *c = context_of(client), *s = context_of(server);
	struct pair p;
	char label[128];
	snprintf(label, sizeof label, "ratls: passport: %s", name);
	pair_open(&p, c, s);
	pair_meet(&p, NULL, NULL);
	ok(label, p.client_error == error && strstr(error ? ratls_reason(p.client) : ratls_peer(p.client), why) && (error || says(p.client, p.server, "question")),
	   "client %d '%s', server %d '%s'", p.client_error, ratls_reason(p.client), p.server_error, ratls_reason(p.server));
	pair_close(&p);
	ratls_context_free(c);
	ratls_context_free(s);
}

static void test_tokens(void)
{
	const char *list[] = {good.hex, NULL}, *others[] = {other.hex, NULL};
	struct ratls_options server = {.token_file = token_path, .key_file = key_path}, client = {.verify = true, .measurements = list, .token_keys_file = keys_path};
	time_t now = time(NULL);
	EVP_PKEY *another = EVP_EC_gen("P-256");
	write_token(&signer, tls_key, good.hex, now);
	expect("a token in the certificate and the session", &client, &server, 0, "\"model\":\"passport\"");
	server.session = client.session = RATLS_SESSION_OFF;
	expect("a token in the certificate alone", &client, &server, 0, "\"model\":\"passport\"");
	client.measurements = others;
	expect("of another program", &client, &server, -EKEYREJECTED, "measurement: expected");
	client.measurements = list;
	client.token_keys_file = NULL;
	expect("where tokens are not believed", &client, &server, -EKEYREJECTED, "token_keys_file");
	client.token_keys_file = keys_path;
	write_token(&stranger, tls_key, good.hex, now);
	expect("by a stranger", &client, &server, -EKEYREJECTED, "token: expected");
	write_token(&signer, tls_key, good.hex, now - 1000);
	expect("that has expired", &client, &server, -EKEYREJECTED, "an expired one");
	write_token(&signer, another, good.hex, now);
	expect("about another key", &client, &server, -EKEYREJECTED, "token-key: expected");
	// Handed over: the certificate has nothing in it.
	server.token_file = NULL;
	write_token(&signer, tls_key, good.hex, now);
	client.peer_token_file = token_path;
	expect("handed over", &client, &server, 0, "\"model\":\"passport\"");
	write_token(&signer, another, good.hex, now);
	expect("handed over, about another key", &client, &server, -EKEYREJECTED, "token-key: expected");
	EVP_PKEY_free(another);
}

// A connection lasts no longer than its token, unless a new one comes.
static void test_renewal(void)
{
	const char *list[] = {good.hex, NULL};
	struct ratls_options server = {.token_file = token_path, .key_file = key_path}, client = {.verify = true, .measurements = list, .token_keys_file = keys_path};
	struct ratls_context *c, *s = context_of(&server);
	struct pair p;
	char buf[8];
	client.renew_seconds = 1;
	c = context_of(&client);
	write_token(&signer, tls_key, good.hex, time(NULL));
	pair_open(&p, c, s);
	pair_meet(&p, NULL, NULL);
	for (int i = 0; i < 200 && !strstr(ratls_peer(p.client), "\"proofs\":2"); i++) {
		ratls_read(p.client, buf, sizeof buf, 20);
		ratls_read(p.server, buf, sizeof buf, 5);
	}
	ok("ratls: passport: shown again", strstr(ratls_peer(p.client), "\"proofs\":2"), "%s", ratls_reason(p.client));
	write_token(&signer, tls_key, good.hex, time(NULL) - 1000);
	ssize_t n = -EAGAIN;
	for (int i = 0; i < 200 && n == -EAGAIN; i++) {
		n = ratls_read(p.client, buf, sizeof buf, 20);
		ratls_read(p.server, buf, sizeof buf, 5);
	}
	ok("ratls: passport: an old one ends the connection", n == -EKEYREJECTED && strstr(ratls_reason(p.client), "expired"), "%zd %s", n, ratls_reason(p.client));
	pair_close(&p);
	ratls_context_free(c);
	ratls_context_free(s);
}

// SGX quotes of debug enclaves without collateral: refused, for these reasons alone.
static void test_vectors(void)
{
	static const struct {
		const char *name;
		time_t at;
	} all[] = {{"gramine-cert", 1700000000}, {"rats-tls-cert", 1700000000}, {"intel-sgxsdk-cert", 1714000000}, {"rats-rs-endorsed", 1713200010}};
	for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
		struct ratls_options o = {.verify = true, .any_measurement = true, .insecure_accept_debug = true, .at = all[i].at};
		struct cert_list l = {.count = 0};
		struct fault f = {""};
		struct judge *j;
		char path[96], label[96];
		size_t len;
		snprintf(path, sizeof path, "ratls/%s.pem", all[i].name);
		snprintf(label, sizeof label, "ratls: judged: %s", all[i].name);
		char *pem = vector_read(path, &len);
		if (!pem) {
			skip(label, "no vectors");
			continue;
		}
		if (cert_list_add_pem(&l, pem, len, NULL) || judge_open(&j, &o, &f))
			abort();
		struct verdict *v = judge_certificate(j, l.certs[0]);
		ok(label, v && !v->accepted && strstr(v->claims, "\"tee\":\"sgx\"") && !strstr(v->short_reason, "certificate-") && !strstr(v->short_reason, "report-data") &&
		   !strstr(v->short_reason, "signature") && strstr(v->short_reason, "tcb-info"), "%s", v ? v->short_reason : "");
		verdict_release(v);
		judge_close(j);
		cert_list_free(&l);
		free(pem);
	}
}

static void *meet_often(void *ctx)
{
	uintptr_t met = 0;
	for (int i = 0; i < 25; i++) {
		struct pair p;
		pair_open(&p, ctx, ctx);
		pair_meet(&p, NULL, NULL);
		met += !p.client_error && !p.server_error && says(p.client, p.server, "from one thread of many");
		pair_close(&p);
	}
	return (void *)met;
}

static void test_threads(void)
{
	struct ratls_options o = options_of(&good, &good);
	struct ratls_context *ctx = context_of(&o);
	pthread_t threads[4];
	uintptr_t met = 0;
	for (int i = 0; i < 4; i++) {
		if (pthread_create(&threads[i], NULL, meet_often, ctx))
			abort();
	}
	for (int i = 0; i < 4; i++) {
		void *n;
		pthread_join(threads[i], &n);
		met += (uintptr_t)n;
	}
	ok("ratls: a context in four threads", met == 100, "%zu of 100", (size_t)met);
	ratls_context_free(ctx);
}

int main(void)
{
	if (!world_begin())
		return 1;
	signer.key = EVP_EC_gen("P-256");
	stranger.key = EVP_EC_gen("P-256");
	tls_key = EVP_EC_gen("P-256");
	strcpy(signer.kid, "one");
	strcpy(stranger.kid, "one");
	snprintf(token_path, sizeof token_path, "%s/token", world);
	snprintf(key_path, sizeof key_path, "%s/tls.key", world);
	snprintf(keys_path, sizeof keys_path, "%s/jwks.json", world);
	write_key(key_path, tls_key);
	json_t *jwk = jwk_from_key(signer.key);
	json_object_set_new(jwk, "kid", json_string("one"));
	json_t *set = json_pack("{s:[o]}", "keys", jwk);
	char *text = json_dumps(set, 0);
	write_text(keys_path, text);
	free(text);
	json_decref(set);
	test_tokens();
	test_renewal();
	test_vectors();
	test_threads();
	EVP_PKEY_free(signer.key);
	EVP_PKEY_free(stranger.key);
	EVP_PKEY_free(tls_key);
	return world_end();
}

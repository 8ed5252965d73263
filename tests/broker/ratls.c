// SPDX-License-Identifier: Apache-2.0
// Clients whose TLS certificate carries their evidence: what they get, and what is refused, by a real broker.
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "attest/simtee.h"
#include "lib/encode.h"
#include "lib/file.h"
#include "lib/jwe.h"
#include "ratls/certificate.h"
#include "tests/broker/harness.h"

#define RESOURCE "default/secret/one"
#define SECRET "for the certified key"

static struct run b;
static EVP_PKEY *key;

static int ask_simulated(void *ctx, const uint8_t report_data[64], struct bundle *out, struct fault *f)
{
	uint8_t report[SIMTEE_REPORT_BYTES];
	char *pem;
	(void)ctx;
	int err = simtee_report(machine.dir, machine.measurement, report_data, false, report, &pem);
	if (err)
		return fault_set(f, err, "no evidence");
	bundle_put_bytes(out, "evidence", report, sizeof report);
	bundle_put_text(out, "certificates", pem, strlen(pem));
	free(pem);
	return 0;
}

// Bytes that no hardware made: they travel as a bundle.
static int ask_nobody(void *ctx, const uint8_t report_data[64], struct bundle *out, struct fault *f)
{
	(void)ctx, (void)report_data, (void)f;
	return bundle_put_bytes(out, "evidence", "no evidence", 11);
}

// For a nonce in base64 (NULL: none), made `age` seconds ago.
static X509 *certificate(EVP_PKEY *of, const char *nonce, int age)
{
	uint8_t bytes[64];
	ssize_t n = nonce ? base64_decode(bytes, sizeof bytes, nonce, strlen(nonce), BASE64_STD) : 0;
	X509 *cert = NULL;
	const struct ratls_cert_request q = {.key = of, .subject = "enclave", .nonce = nonce ? bytes : NULL, .nonce_len = (size_t)n, .now = time(NULL) - age,
					.seconds = 3600, .evidence = ask_simulated};
	if (ratls_cert_make(&q, &cert, NULL))
		abort();
	return cert;
}

// GET of the resource with that certificate and (or NULL) that session.
static void get(const char *name, X509 *cert, EVP_PKEY *own, const char *cookie, int status, const char *text)
{
	struct http_client *c;
	struct http_reply reply;
	struct fault f = {""};
	char plain[64] = "";
	size_t len = 0;
	struct http_client_options o = {.url = b.url, .ca_pem = b.ca, .certificate = cert, .key = own, .resolve = http_resolve_static, .timeout_ms = 20000};
	int err = http_client_open(&c, &o, &f);
	if (!err)
		err = http_client_request(c, "GET", "/kbs/v0/resource/" RESOURCE, cookie ? cookie : "", NULL, 0, &reply, &f);
	if (err) {
		ok(name, false, "%s", f.text);
		return;
	}
	if (reply.status == 200) {
		json_t *jwe = json_loadb(reply.body, reply.body_len, 0, NULL);
		err = jwe_decrypt(own, jwe, plain, sizeof plain - 1, &len, &f);
		json_decref(jwe);
		ok(name, status == 200 && !err && !strcmp(plain, text), "%s %s", plain, f.text);
	} else {
		ok(name, reply.status == status && strstr(reply.body, text), "%d %s", reply.status, reply.body);
	}
	http_reply_free(&reply);
	http_client_close(c);
}

static int ask_status(X509 *cert, EVP_PKEY *own, const char *cookie)
{
	struct http_client *c;
	struct http_reply reply;
	struct fault f = {""};
	struct http_client_options o = {.url = b.url, .ca_pem = b.ca, .certificate = cert, .key = own, .resolve = http_resolve_static, .timeout_ms = 20000};
	int err = http_client_open(&c, &o, &f);
	if (err)
		return err;
	err = http_client_request(c, "GET", "/kbs/v0/resource/" RESOURCE, cookie, NULL, 0, &reply, &f);
	int status = err ? err : reply.status;
	if (!err)
		http_reply_free(&reply);
	http_client_close(c);
	return status;
}

static void set_age(const char *text)
{
	char path[160];
	snprintf(path, sizeof path, "%s/broker.yaml", b.dir);
	if (file_write(path, text, strlen(text), 0600, false, NULL))
		abort();
}

// The default: a certificate made for this session.
static void test_strict(void)
{
	struct guest g = {.key = key}, other = {.key = key};
	guest_begin(&b, "snp", &g);
	X509 *cert = certificate(key, g.nonce, 0), *old = certificate(key, NULL, 0);
	get("ratls: a certificate with the session's nonce needs no attestation", cert, key, g.cookie, 200, SECRET);
	get("ratls: the session is attested then", NULL, key, g.cookie, 200, SECRET);
	guest_begin(&b, "snp", &other);
	get("ratls: the certificate of an earlier session", cert, key, other.cookie, 403, "nonce: expected");
	get("ratls: a nonce is spent by one try", cert, key, other.cookie, 401, "NonceUsed");
	get("ratls: without a session", cert, key, NULL, 401, "must carry this broker's nonce");
	guest_begin(&b, "snp", &other);
	get("ratls: a certificate without nonce", old, key, other.cookie, 403, "a certificate without one");
	guest_begin(&b, "tdx", &other);
	X509 *third = certificate(key, other.nonce, 0);
	get("ratls: other hardware than the session was begun for", third, key, other.cookie, 403, "evidence-kind");
	X509_free(cert);
	X509_free(old);
	X509_free(third);
	EVP_PKEY *ed = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	guest_begin(&b, "snp", &other);
	cert = certificate(ed, other.nonce, 0);
	get("ratls: a key that nothing can be encrypted to", cert, ed, other.cookie, 403, "certificate-key-kind");
	X509_free(cert);
	EVP_PKEY_free(ed);
	// Moved into a certificate of somebody else's key.
	EVP_PKEY *thief = jwk_new_key("P-256");
	guest_begin(&b, "snp", &other);
	cert = certificate(key, other.nonce, 0);
	X509_set_pubkey(cert, thief);
	X509_sign(cert, thief, EVP_sha256());
	get("ratls: evidence of another's key", cert, thief, other.cookie, 403, "certificate-key: expected");
	X509_free(cert);
	EVP_PKEY_free(thief);
	set_policy(&b, RESOURCE, false, machine.measurement_hex);
	guest_begin(&b, "snp", &other);
	cert = certificate(key, other.nonce, 0);
	get("ratls: a measurement that is not allowed", cert, key, other.cookie, 403, "measurement");
	set_policy(&b, RESOURCE, true, machine.measurement_hex);
	get("ratls: the same when it is", NULL, key, other.cookie, 200, SECRET);
	X509_free(cert);
}

// Who must wait for its turn has its nonce still.
static void test_limits(void)
{
	struct guest g = {.key = key};
	if (!ok("ratls: with few refusals", run_start(&b, "--insecure-accept-simulated", machine.root_pem), "no"))
		return;
	guest_begin(&b, "snp", &g);
	X509 *cert = certificate(key, g.nonce, 0), *old = certificate(key, NULL, 0);
	struct guest bad[16] = {{.key = NULL}};
	for (int i = 0; i < 16; i++) {
		bad[i].key = key;
		guest_begin(&b, "snp", &bad[i]);
	}
	int waits = 0;
	for (int i = 0; i < 16 && !waits; i++)
		waits = ask_status(old, key, bad[i].cookie) == 429;
	int told = ask_status(cert, key, g.cookie), status = told;
	if (!waits || told != 429)	// each second one comes back
		skip("ratls: limits", "this machine is too slow now to use them up");
	for (int i = 0; i < 600 && status == 429; i++) {
		usleep(200000);
		status = ask_status(cert, key, g.cookie);
	}
	ok("ratls: which spends no nonce", status == 200, "%d, then %d", told, status);
	ok("ratls: it ends well after limits", !run_stop(&b), "no");
	X509_free(cert);
	X509_free(old);
}

static void test_by_age(void)
{
	X509 *fresh = certificate(key, NULL, 0), *old = certificate(key, NULL, 1000);
	get("ratls: by age, a fresh one", fresh, key, NULL, 200, SECRET);
	get("ratls: by age, an old one", old, key, NULL, 403, "certificate-age: expected at most 600 s");
	X509_free(fresh);
	X509_free(old);
	// What is verified by no kind of hardware is not believed for that.
	for (int token = 0; token < 2; token++) {
		const struct ratls_cert_request q = {.key = key, .subject = "nobody", .now = time(NULL), .seconds = 3600, .evidence = ask_nobody,
						     .token = token ? "a.b.c" : NULL};
		X509 *none = NULL;
		if (ratls_cert_make(&q, &none, NULL))
			abort();
		get(token ? "ratls: by age, a token of nobody" : "ratls: by age, a bundle of nothing", none, key, NULL, 403, "evidence-kind: expected");
		X509_free(none);
	}
}

// Rules tell such a certificate from a session, whose evidence is fresh.
static void test_rules(void)
{
	static const char fresh[] = "conditions:\n  fresh: {caller: session, is: cookie}\n  ours: {owner_allows: true}\n"
				    "rules:\n  - {name: fresh, resources: ['*/*/*'], allow_when: [fresh, ours]}\n";
	char path[160];
	struct guest g = {.key = key};
	X509 *cert = certificate(key, NULL, 0), *bound;
	snprintf(path, sizeof path, "%s/policy.yaml", b.dir);
	ok("ratls: with rules", !file_write(path, fresh, sizeof fresh - 1, 0600, false, NULL) &&
	   run_start(&b, "--insecure-accept-simulated", machine.root_pem, "--policy", path), "no");
	get("ratls: a rule that wants a session refuses a certificate without nonce", cert, key, NULL, 403, "certificate");
	guest_begin(&b, "snp", &g);
	bound = certificate(key, g.nonce, 0);
	get("ratls: and takes one with the session's", bound, key, g.cookie, 200, SECRET);
	ok("ratls: it ends well with rules", !run_stop(&b), "no");
	X509_free(cert);
	X509_free(bound);
}

int main(void)
{
	world_begin("ratls");
	key = jwk_new_key("P-256");
	if (!run_prepare(&b, "state"))
		return 1;
	ok("ratls: the broker starts", run_start(&b, "--insecure-accept-simulated", machine.root_pem), "no");
	put_secret(&b, RESOURCE, SECRET);
	set_policy(&b, RESOURCE, true, machine.measurement_hex);
	test_strict();
	ok("ratls: it ends well", !run_stop(&b), "no");
	set_age("refusals_per_peer: 3\n");
	test_limits();
	set_age("ratls_max_age: 600\n");
	ok("ratls: with an age", run_start(&b, "--insecure-accept-simulated", machine.root_pem), "no");
	test_by_age();
	ok("ratls: it ends well again", !run_stop(&b), "no");
	test_rules();
	run_free(&b);
	EVP_PKEY_free(key);
	return world_end();
}

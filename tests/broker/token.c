// SPDX-License-Identifier: Apache-2.0
// Attestation result tokens: verified by others with the published keys; the keys outlive the broker and are exchanged without a gap.
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "broker/ear.h"
#include "lib/encode.h"
#include "lib/jwe.h"
#include "lib/keyfile.h"
#include "tests/broker/harness.h"

#define RESOURCE "default/secret/one"

static struct run b;

// A public document of the broker.
static json_t *ask(const char *path, const char *headers)
{
	struct http_reply r;
	if (request(&b, "GET", path, headers, NULL, &r))
		return NULL;
	json_t *o = r.status == 200 ? json_loadb(r.body, r.body_len, 0, NULL) : NULL;
	http_reply_free(&r);
	return o;
}

// By the published keys alone: 0, -EBADMSG...
static int offline(json_t *keys, const char *token, time_t at, json_t **body)
{
	EVP_PKEY *key = NULL;
	*body = NULL;
	int err = ear_open(jws_find_in_set, keys, token, at, body, NULL, &key);
	EVP_PKEY_free(key);
	return err;
}

static void header_kid(const char *token, char kid[JWK_THUMBPRINT])
{
	char text[2048];
	ssize_t n = base64_decode(text, sizeof text, token, strcspn(token, "."), BASE64_URL);
	json_t *h = n > 0 ? json_loadb(text, (size_t)n, 0, NULL) : NULL;
	const char *s = json_string_value(json_object_get(h, "kid"));
	snprintf(kid, JWK_THUMBPRINT, "%s", s ? s : "");
	json_decref(h);
}

static char *attest(void)
{
	struct guest g = {.key = NULL};
	char *token = NULL;
	int status = guest_attest(&b, &machine, &g, &token);
	if (status != 200 || !token)
		ok("an enclave attests", false, "%d", status);
	guest_free(&g);
	return token ? token : strdup("");
}

static void use(const char *name, const char *token, int status)
{
	char headers[16384];
	struct http_reply r;
	snprintf(headers, sizeof headers, "Authorization: Bearer %s\r\n", token);
	int err = request(&b, "GET", "/kbs/v0/resource/" RESOURCE, headers, NULL, &r);
	ok(name, !err && r.status == status, "%d %s", err ? err : r.status, err ? "" : r.body);
	if (!err)
		http_reply_free(&r);
}

static void rotate(void)
{
	struct http_reply r;
	char headers[256];
	snprintf(headers, sizeof headers, "%s", admin_header(&b));
	int err = request(&b, "POST", "/coffer/v0/signing-key", headers, "{\"ring\":\"token\"}", &r);
	ok("token: the owner exchanges the key", !err && r.status == 200 && strstr(r.body, "kid"), "%d %s", err, err ? "" : r.body);
	if (!err)
		http_reply_free(&r);
}

// Forged: another algorithm in the header, another key's signature.
static void test_forged(json_t *keys, const char *token)
{
	char text[16384], *body;
	json_t *none = NULL;
	const char *dot = strchr(token, '.');
	snprintf(text, sizeof text, "eyJhbGciOiJub25lIn0%.*s.", (int)(strrchr(token, '.') - dot), dot);
	ok("token: alg none", offline(keys, text, time(NULL), &none) == -EBADMSG, "accepted");
	EVP_PKEY *other = jwk_new_key("P-256");
	char kid[JWK_THUMBPRINT];
	header_kid(token, kid);
	body = jws_sign(other, json_pack("{s:s}", "kid", kid), json_pack("{s:I}", "exp", (json_int_t)time(NULL) + 100));
	ok("token: another key under the same name", offline(keys, body, time(NULL), &none) == -EBADMSG, "accepted");
	free(body);
	EVP_PKEY_free(other);
	snprintf(text, sizeof text, "%s", token);
	text[strlen(text) - 10] ^= 1;
	ok("token: a changed signature", offline(keys, text, time(NULL), &none) == -EBADMSG, "accepted");
}

static void test_tokens(void)
{
	char kid[JWK_THUMBPRINT], later_kid[JWK_THUMBPRINT];
	json_t *keys = ask("/.well-known/jwks.json", ""), *discovery = ask("/.well-known/openid-configuration", ""), *body;
	char *token = attest(), *later;
	const char *issuer = json_string_value(json_object_get(discovery, "issuer")), *uri = json_string_value(json_object_get(discovery, "jwks_uri"));
	ok("token: discovery", issuer && uri && !strcmp(issuer, b.url) && !strncmp(uri, b.url, strlen(b.url)) && strstr(uri, "/.well-known/jwks.json"), "%s",
	   issuer ? issuer : "none");
	int err = offline(keys, token, time(NULL), &body);
	const char *iss = json_string_value(json_object_get(body, "iss"));
	ok("token: it is verified with the published keys", !err && iss && !strcmp(iss, b.url), "%d", err);
	json_decref(body);
	ok("token: not when it has expired", offline(keys, token, time(NULL) + 301, &body) == -ESTALE, "accepted");
	test_forged(keys, token);
	header_kid(token, kid);
	expect("token: only who may exchanges keys", &b, "POST", "/coffer/v0/signing-key", "", "{\"ring\":\"token\"}", 401, "TokenRefused");
	rotate();
	later = attest();
	header_kid(later, later_kid);
	ok("token: a new key signs", *later_kid && strcmp(kid, later_kid), "%s", later_kid);
	use("token: the old one's tokens are good", token, 200);
	use("token: the new one's too", later, 200);
	ok("token: keys fetched before know nothing of the new one", offline(keys, later, time(NULL), &body), "accepted");
	json_decref(keys);
	run_stop(&b);
	ok("token: the broker starts again", run_start(&b, "--insecure-accept-simulated", machine.root_pem), "no");
	use("token: after a restart, the old key", token, 200);
	use("token: after a restart, the new key", later, 200);
	keys = ask("/.well-known/jwks.json", "");
	bool both = !offline(keys, token, time(NULL), &body);
	json_decref(body);
	both = !offline(keys, later, time(NULL), &body) && both;
	json_decref(body);
	ok("token: both are published", both, "no");
	json_decref(keys);
	json_decref(discovery);
	free(token);
	free(later);
}

static json_t *body_of(const char *token)
{
	char text[8192];
	const char *dot = token ? strchr(token, '.') : NULL, *end = dot ? strchr(dot + 1, '.') : NULL;
	ssize_t n = end ? base64_decode(text, sizeof text, dot + 1, (size_t)(end - dot - 1), BASE64_URL) : -1;
	return n > 0 ? json_loadb(text, (size_t)n, JSON_REJECT_DUPLICATES, NULL) : NULL;
}

// Its text is written piece by piece. Names of checks may be an owner's, and claims those of an enclave.
static void test_text(void)
{
	static const char odd[] = "\"},{\"claim\":\"é\n";
	struct attest_result r;
	struct signer s = {.key = jwk_new_key("P-256"), .kid = "key"};
	json_t *key = json_pack("{s:s, s:s}", "kty", odd, "x", "1");
	if (attest_result_init(&r) || !s.key || !key)
		abort();
	json_object_set_new(r.claims, "tee", json_string("snp"));
	json_object_set_new(r.claims, "dbgstat", json_string("disabled-since-boot"));
	json_object_set_new(r.claims, "odd", json_string(odd));
	attest_check_add(&r, odd, true);
	attest_check_add(&r, "plain", true)->outcome = ATTEST_SKIPPED;
	char *claims = json_dumps(r.claims, JSON_COMPACT), *given = ear_token(&s, odd, &r, claims, key, 1000), *made = ear_token(&s, odd, &r, NULL, key, 1000);
	json_t *one = body_of(given), *two = body_of(made), *cpu = json_object_get(json_object_get(one, "submods"), "cpu0");
	json_t *checks = json_object_get(cpu, "coffer.checks"), *first = json_array_get(checks, 0);
	ok("token: claims that are text already give the same", one && json_equal(one, two), "%s, %s", given ? given : "none", made ? made : "none");
	ok("token: odd texts are texts", json_equal(json_object_get(cpu, "ear.veraison.annotated-evidence"), r.claims) && json_array_size(checks) == 2 &&
	   !strcmp(json_string_value(json_object_get(first, "claim")), odd) && json_equal(json_object_get(one, "tee-pubkey"), key) &&
	   !strcmp(json_string_value(json_object_get(one, "iss")), odd), "%s", given ? given : "none");
	ok("token: it says how each check went", !strcmp(json_string_value(json_object_get(json_array_get(checks, 1), "outcome")), "skipped") &&
	   !strcmp(json_string_value(json_object_get(cpu, "ear.status")), "affirming") && json_integer_value(json_object_get(one, "exp")) == 1000 + EAR_SECONDS,
	   "%s", given ? given : "none");
	attest_check_add(&r, "\xff", true);
	char *none = ear_token(&s, "", &r, claims, key, 1000);
	ok("token: what is no text gives none", !none, "%s", none);
	free(none);
	json_decref(one);
	json_decref(two);
	json_decref(key);
	free(claims);
	free(given);
	free(made);
	attest_result_free(&r);
	EVP_PKEY_free(s.key);
}

// A broker from before had its key in a file.
static void test_adopted(void)
{
	static struct run old;
	char path[160], kid[JWK_THUMBPRINT] = "", want[JWK_THUMBPRINT];
	struct stat st;
	run_prepare(&old, "old");
	EVP_PKEY *key = jwk_new_key("P-256");
	EVP_PKEY_up_ref(key);
	snprintf(path, sizeof path, "%s/token.key", old.dir);
	keyfile_write(path, key, NULL);
	json_t *jwk = jwk_from_key(key);
	jwk_thumbprint(jwk, want);
	run_stop(&b);
	run_free(&b);
	b = old;
	ok("token: a broker with a key in a file starts", run_start(&b, "--insecure-accept-simulated", machine.root_pem), "no");
	char *token = attest();
	header_kid(token, kid);
	ok("token: the key is taken over", !strcmp(kid, want) && stat(path, &st), "%s", kid);
	free(token);
	json_decref(jwk);
	EVP_PKEY_free(key);
}

int main(void)
{
	world_begin("token");
	if (!run_prepare(&b, "state"))
		return 1;
	ok("token: the broker starts", run_start(&b, "--insecure-accept-simulated", machine.root_pem), "no");
	put_secret(&b, RESOURCE, "secret");
	set_policy(&b, RESOURCE, true, machine.measurement_hex);
	test_tokens();
	test_text();
	test_adopted();
	ok("token: it ends well", !run_stop(&b), "no");
	run_free(&b);
	return world_end();
}

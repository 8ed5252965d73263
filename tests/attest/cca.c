// SPDX-License-Identifier: Apache-2.0
// Arm CCA tokens: published ones, and made ones of the older and the newer profile with everything wrong that can be.
#include "attest/cca.h"

#include <openssl/pem.h>
#include <string.h>

#include "attest/cbor.h"
#include "attest/ecdsa.h"
#include "attest/slice.h"
#include "lib/encode.h"
#include "tests/attest/make/pki.h"
#include "tests/attest/ok.h"
#include "tests/attest/vectors.h"

static EVP_PKEY *read_key(const char *name)
{
	size_t len;
	char *text = vector_read(name, &len);
	EVP_PKEY *key = NULL;
	if (text && text[0] == '{') {	// a JWK
		uint8_t xy[96];
		json_t *o = json_loadb(text, len, 0, NULL);
		const char *x = slice_text(o, "x"), *y = slice_text(o, "y");
		if (base64_decode(xy, 48, x, strlen(x), BASE64_URL) == 48 && base64_decode(xy + 48, 48, y, strlen(y), BASE64_URL) == 48)
			key = ecdsa_key(xy, 48);
		json_decref(o);
	} else if (text) {
		BIO *bio = BIO_new_mem_buf(text, (int)len);
		key = PEM_read_bio_PUBKEY(bio, NULL, NULL, NULL);
		BIO_free(bio);
	}
	free(text);
	return key;
}

static void test_vector(const char *name, const char *token_file, const char *key_file)
{
	char label[128];
	size_t len;
	char *token = vector_read(token_file, &len);
	EVP_PKEY *key = read_key(key_file);
	struct attest_result r;
	snprintf(label, sizeof label, "cca vector %s", name);
	if (!token || !key) {
		skip(label, "the vectors are not here");
		return;
	}
	const struct cca_endorsement e = {.cpak = key};
	struct cca_input in = {.token = (uint8_t *)token, .token_len = len, .endorsements = &e, .endorsement_count = 1};
	attest_result_init(&r);
	cca_verify(&in, &r);
	ok(label, attest_passed(&r) && !strcmp(claim_of(&r, "tee"), "cca") &&
	   !strcmp(claim_of(&r, "cca.platform.profile"), "http://arm.com/CCA-SSD/1.0.0") &&
	   json_array_size(json_object_get(json_object_get(json_object_get(r.claims, "cca"), "platform"), "software_components")) > 1, "%s", failures(&r));
	attest_result_free(&r);
	unsigned int missed = 0;
	for (size_t i = 0; i < len; i++) {
		token[i] ^= 1;
		attest_result_init(&r);
		cca_verify(&in, &r);
		missed += attest_passed(&r);
		attest_result_free(&r);
		token[i] ^= 1;
	}
	snprintf(label, sizeof label, "cca vector %s: each changed byte is noticed", name);
	ok(label, missed == 0, "%u missed", missed);
	in.endorsement_count = 0;
	attest_result_init(&r);
	cca_verify(&in, &r);
	snprintf(label, sizeof label, "cca vector %s: without its platform's key", name);
	ok(label, !strcmp(failed_ids(&r), "platform-signature ") && !strcmp(claim_of(&r, "tee"), "unknown"), "%s", failures(&r));
	attest_result_free(&r);
	EVP_PKEY_free(key);
	free(token);
}

struct out {
	uint8_t b[4096];
	size_t n;
};

static void head(struct out *o, int major, uint64_t v)
{
	int n = v < 24 ? 0 : v < 256 ? 1 : v < 65536 ? 2 : 4;
	o->b[o->n++] = (uint8_t)(major << 5 | (n == 0 ? (int)v : n == 1 ? 24 : n == 2 ? 25 : 26));
	for (int i = n - 1; i >= 0; i--)
		o->b[o->n++] = (uint8_t)(v >> 8 * i);
}

static void bytes(struct out *o, int major, const void *p, size_t len)
{
	head(o, major, len);
	memcpy(o->b + o->n, p, len);
	o->n += len;
}

static void text(struct out *o, const char *s)
{
	bytes(o, 3, s, strlen(s));
}

static void filled(struct out *o, uint64_t key, uint8_t value, size_t len)
{
	uint8_t p[64];
	memset(p, value, sizeof p);
	head(o, 0, key);
	bytes(o, 2, p, len);
}

static void sign1(struct out *o, const struct out *payload, EVP_PKEY *key, size_t half)
{
	uint8_t protected[4] = {0xa1, 0x01, half == 32 ? 0x26 : 0x38, 0x22}, rs[96];
	size_t protected_len = half == 32 ? 3 : 4;
	struct out tbs = {.n = 0};
	head(&tbs, 4, 4);
	text(&tbs, "Signature1");
	bytes(&tbs, 2, protected, protected_len);
	bytes(&tbs, 2, "", 0);
	bytes(&tbs, 2, payload->b, payload->n);
	pki_sign(key, half, tbs.b, tbs.n, rs);
	head(o, 6, 18);
	head(o, 4, 4);
	bytes(o, 2, protected, protected_len);
	head(o, 5, 0);
	bytes(o, 2, payload->b, payload->n);
	bytes(o, 2, rs, 2 * half);
}

struct spec {
	bool cose_key, p256, other_rak, repeated;
	uint64_t lifecycle;
	size_t challenge_len;
	const char *rak_hash;
};

static EVP_PKEY *cpak, *rak, *rak256, *other;

static size_t make(const struct spec *s, uint8_t *token)
{
	struct out realm = {.n = 0}, platform = {.n = 0}, key = {.n = 0}, part = {.n = 0}, all = {.n = 0};
	size_t half = s->p256 ? 32 : 48;
	EVP_PKEY *own = s->p256 ? rak256 : rak;
	uint8_t xy[96], digest[32];
	pki_point(own, half, xy);
	if (s->cose_key) {
		head(&key, 5, 4);
		head(&key, 0, 1);
		head(&key, 0, 2);
		head(&key, 1, 0);
		head(&key, 0, s->p256 ? 1 : 2);
		head(&key, 1, 1);
		bytes(&key, 2, xy, half);
		head(&key, 1, 2);
		bytes(&key, 2, xy + half, half);
	} else {
		key.b[key.n++] = 4;
		memcpy(key.b + 1, xy, 96);
		key.n += 96;
	}
	EVP_Digest(key.b, key.n, digest, NULL, EVP_sha256(), NULL);
	head(&realm, 5, 6u + s->repeated);
	filled(&realm, 10, 0xda, s->challenge_len);
	if (s->repeated)
		filled(&realm, 10, 0xdb, s->challenge_len);
	head(&realm, 0, 44237);
	bytes(&realm, 2, key.b, key.n);
	filled(&realm, 44238, 0xe1, 32);
	head(&realm, 0, 44239);
	head(&realm, 4, 1);
	bytes(&realm, 2, digest, 32);
	head(&realm, 0, 44236);
	text(&realm, "sha-256");
	head(&realm, 0, 44240);
	text(&realm, s->rak_hash);
	head(&platform, 5, 4);
	head(&platform, 0, 10);
	bytes(&platform, 2, digest, 32);
	filled(&platform, 2396, 0x11, 32);
	filled(&platform, 256, 0x22, 33);
	head(&platform, 0, 2395);
	head(&platform, 0, s->lifecycle);
	head(&all, 6, 399);
	head(&all, 5, 2);
	head(&all, 0, 44234);
	sign1(&part, &platform, cpak, 48);
	bytes(&all, 2, part.b, part.n);
	part.n = 0;
	sign1(&part, &realm, s->other_rak ? other : own, s->other_rak ? 48 : half);
	head(&all, 0, 44241);
	bytes(&all, 2, part.b, part.n);
	memcpy(token, all.b, all.n);
	return all.n;
}

static void expect(const char *name, const struct spec *s, const struct cca_endorsement *e, const char *failed, const char *tee)
{
	uint8_t token[4096], challenge[64];
	struct attest_result r;
	memset(challenge, 0xda, 64);
	struct cca_input in = {.token = token, .token_len = make(s, token), .endorsements = e, .endorsement_count = 1, .challenge = challenge};
	attest_result_init(&r);
	cca_verify(&in, &r);
	ok(name, !strcmp(failed_ids(&r), failed) && !strcmp(claim_of(&r, "tee"), tee), "%s: %s", claim_of(&r, "tee"), failures(&r));
	attest_result_free(&r);
}

static void test_made(void)
{
	const struct spec good = {.lifecycle = 0x3003, .challenge_len = 64, .rak_hash = "sha-256"};
	uint8_t implementation[32], instance[33], wrong[33] = {0};
	cpak = EVP_EC_gen("P-384");
	rak = EVP_EC_gen("P-384");
	rak256 = EVP_EC_gen("P-256");
	other = EVP_EC_gen("P-384");
	memset(implementation, 0x11, 32);
	memset(instance, 0x22, 33);
	struct cca_endorsement e = {.cpak = cpak, .implementation = implementation, .instance = instance, .simulated = true};
	struct spec s = good;
	expect("cca: a bare key", &s, &e, "", "simulated");
	s.cose_key = true;
	expect("cca: a COSE key", &s, &e, "", "simulated");
	s.p256 = true;
	expect("cca: a COSE key of P-256", &s, &e, "", "simulated");
	s = good;
	s.other_rak = true;
	expect("cca: a realm token by another key", &s, &e, "realm-signature ", "simulated");
	s = good;
	s.rak_hash = "sha-384";
	expect("cca: another digest of the key", &s, &e, "realm-key ", "simulated");
	s.rak_hash = "md5";
	expect("cca: an unknown digest", &s, &e, "realm-key ", "simulated");
	s = good;
	s.lifecycle = 0x2000;
	expect("cca: a platform that is not secured", &s, &e, "lifecycle ", "simulated");
	s = good;
	s.challenge_len = 32;
	expect("cca: a short challenge", &s, &e, "report-data ", "simulated");
	s = good;
	s.repeated = true;
	expect("cca: a claim given twice", &s, &e, "report-data ", "simulated");
	e.cpak = other;
	expect("cca: an endorsement of another key", &good, &e, "platform-signature ", "unknown");
	e.cpak = cpak;
	e.instance = wrong;
	expect("cca: an endorsement of another instance", &good, &e, "platform-signature ", "unknown");
	e.instance = instance;
	e.simulated = false;
	expect("cca: a maker's endorsement", &good, &e, "", "cca");
	uint8_t token[4096];
	size_t len = make(&good, token);
	unsigned int accepted = 0;
	for (size_t n = 0; n < len; n++) {
		uint8_t *cut = malloc(n + 1);
		struct attest_result r;
		memcpy(cut, token, n);
		struct cca_input in = {.token = cut, .token_len = n, .endorsements = &e, .endorsement_count = 1};
		attest_result_init(&r);
		cca_verify(&in, &r);
		accepted += strcmp(failed_ids(&r), "format ") != 0;
		attest_result_free(&r);
		free(cut);
	}
	ok("cca: cut short anywhere", accepted == 0, "%u accepted", accepted);
	EVP_PKEY_free(cpak);
	EVP_PKEY_free(rak);
	EVP_PKEY_free(rak256);
	EVP_PKEY_free(other);
}

static void test_cbor(void)
{
	static const struct { const char *bytes; size_t len; bool good; } rows[] = {
		{"\x9b\xff\xff\xff\xff\xff\xff\xff\xff", 9, false}, {"\xbb\x7f\xff\xff\xff\xff\xff\xff\xff\x00", 10, false},
		{"\x5b\xff\xff\xff\xff\xff\xff\xff\xff", 9, false}, {"\x9f\x01\xff", 3, false}, {"\x5f\x41\x00\xff", 4, false}, {"\xf9\x00\x00", 3, false},
		{"\x82\x01\x02", 3, true}, {"\xa1\x01\x82\x01\x02", 5, true}, {"\xd2\x41\x00", 3, true}, {"\x82\x01", 2, false}, {"", 0, false},
	};
	uint8_t deep[5000];
	unsigned int wrong = 0;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct cursor c = cursor_of(rows[i].bytes, rows[i].len);
		wrong += (cbor_skip(&c) && !c.left) != rows[i].good;
	}
	ok("cbor: lengths that are not there, forms that are not used", wrong == 0, "%u wrong", wrong);
	memset(deep, 0x81, sizeof deep);
	deep[sizeof deep - 1] = 0;
	struct cursor c = cursor_of(deep, sizeof deep);
	ok("cbor: nested five thousand deep", cbor_skip(&c) && !c.left, "not passed over");
}

int main(void)
{
	test_vector("TF-RMM", "cca/tf-rmm/cca_token.cbor", "cca/tf-rmm/cca_platform.pub");
	test_vector("trustee", "cca/trustee/cca-example-token.cbor", "cca/trustee/cpak-pub.json");
	test_made();
	test_cbor();
	return ok_failed != 0;
}

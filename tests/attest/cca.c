// SPDX-License-Identifier: Apache-2.0
// Arm CCA tokens: published ones, and made ones of the older and the newer profile with everything wrong that can be.
#include "attest/cca.h"

#include <openssl/pem.h>
#include <string.h>

#include "attest/cbor.h"
#include "attest/ecdsa.h"
#include "attest/slice.h"
#include "lib/encode.h"
#include "tests/attest/make/cca.h"
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

static struct cca_keys keys;

static void expect(const char *name, const struct cca_spec *s, const struct cca_endorsement *e, const char *failed, const char *tee)
{
	uint8_t token[4096], challenge[64];
	struct attest_result r;
	memset(challenge, 0xda, 64);
	struct cca_input in = {.token = token, .token_len = cca_make(s, &keys, NULL, token), .endorsements = e, .endorsement_count = 1, .challenge = challenge};
	attest_result_init(&r);
	cca_verify(&in, &r);
	ok(name, !strcmp(failed_ids(&r), failed) && !strcmp(claim_of(&r, "tee"), tee), "%s: %s", claim_of(&r, "tee"), failures(&r));
	attest_result_free(&r);
}

static void test_made(void)
{
	const struct cca_spec good = {.lifecycle = 0x3003, .challenge_len = 64, .rak_hash = "sha-256"};
	uint8_t implementation[32], instance[33], wrong[33] = {0};
	keys.cpak = EVP_EC_gen("P-384");
	keys.rak = EVP_EC_gen("P-384");
	keys.rak256 = EVP_EC_gen("P-256");
	keys.other = EVP_EC_gen("P-384");
	memset(implementation, 0x11, 32);
	memset(instance, 0x22, 33);
	struct cca_endorsement e = {.cpak = keys.cpak, .implementation = implementation, .instance = instance, .simulated = true};
	struct cca_spec s = good;
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
	e.cpak = keys.other;
	expect("cca: an endorsement of another key", &good, &e, "platform-signature ", "unknown");
	e.cpak = keys.cpak;
	e.instance = wrong;
	expect("cca: an endorsement of another instance", &good, &e, "platform-signature ", "unknown");
	e.instance = instance;
	e.simulated = false;
	expect("cca: a maker's endorsement", &good, &e, "", "cca");
	uint8_t token[4096];
	size_t len = cca_make(&good, &keys, NULL, token);
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
	EVP_PKEY_free(keys.cpak);
	EVP_PKEY_free(keys.rak);
	EVP_PKEY_free(keys.rak256);
	EVP_PKEY_free(keys.other);
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

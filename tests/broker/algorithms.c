// SPDX-License-Identifier: Apache-2.0
// What the broker does with keys that stay, against published vectors, OpenSSL and the tool `jose`.
#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <stdlib.h>
#include <string.h>

#include "broker/secrets.h"
#include "lib/encode.h"
#include "lib/file.h"
#include "lib/jwa.h"
#include "lib/jwe.h"
#include "tests/broker/harness.h"
#include "tests/broker/keys.h"

static EVP_PKEY *ec_from(const char *d64, const char *x64, const char *y64)
{
	uint8_t point[65] = {4}, d[32];
	base64_decode(point + 1, 32, x64, strlen(x64), BASE64_URL);
	base64_decode(point + 33, 32, y64, strlen(y64), BASE64_URL);
	base64_decode(d, 32, d64, strlen(d64), BASE64_URL);
	BIGNUM *n = BN_bin2bn(d, 32, NULL);
	unsigned char native[32];
	BN_bn2nativepad(n, native, 32);
	OSSL_PARAM params[] = {OSSL_PARAM_construct_utf8_string("group", (char *)"prime256v1", 0), OSSL_PARAM_construct_octet_string("pub", point, 65),
			       OSSL_PARAM_construct_BN("priv", native, 32), OSSL_PARAM_construct_end()};
	EVP_PKEY_CTX *c = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
	EVP_PKEY *key = NULL;
	EVP_PKEY_fromdata_init(c);
	EVP_PKEY_fromdata(c, &key, EVP_PKEY_KEYPAIR, params);
	EVP_PKEY_CTX_free(c);
	BN_free(n);
	return key;
}

static void test_vectors(void)
{
	// RFC 7518 appendix C.
	EVP_PKEY *alice = ec_from("0_NxaRPUMQoAJt50Gz8YiTr8gRTwyEaCumd-MToTmIo", "gI0GAILBdu7T53akrFmMyGcsF3n5dO7MmwNBHKW5SV0",
				  "SLW_xSffzlPWrHEVI30DHM_4egVwt3NQqeUD7nMFpps");
	EVP_PKEY *bob = ec_from("VEmDZpDXXK8p8N0Cndsxs924q6nS1RXFASRl6BfUqdw", "weNJy2HscCSM6AEDTDg04biOvhFhyyWvOHQfeF_PxMQ",
				"e8lnCO-AlStT-NJVX-crhB7QRYhiix03illJOVAOyck");
	const struct jwa_info info = {"A128GCM", (const uint8_t *)"Alice", (const uint8_t *)"Bob", 5, 3};
	uint8_t one[16], two[16], wrapped[40], kek[32], key[32], back[32];
	char text[BASE64_SIZE(16)], hex[81];
	int err = alice && bob ? jwa_agree(alice, bob, &info, one, 16) | jwa_agree(bob, alice, &info, two, 16) : -1;
	base64_encode(text, one, 16, BASE64_URL);
	ok("ECDH-ES as published", !err && !strcmp(text, "VqqN6vgjbSBcIijNcacQGg") && !memcmp(one, two, 16), "%d: %s", err, text);
	EVP_PKEY_free(alice);
	EVP_PKEY_free(bob);
	// RFC 3394 section 4.6.
	hex_decode(kek, 32, "000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F");
	hex_decode(key, 32, "00112233445566778899AABBCCDDEEFF000102030405060708090A0B0C0D0E0F");
	err = jwa_wrap(kek, 32, key, 32, wrapped);
	ok("AES key wrap as published", !err && !strcmp(hex_encode(hex, wrapped, 40),
	   "28c9f404c4b810f4cbccb35cfb87f8263f5786e2d80ed326cbc7f0e71a99f43bfb988b9b7a02dd21"), "%d: %s", err, hex);
	ok("and back", !jwa_unwrap(kek, 32, wrapped, 40, back) && !memcmp(back, key, 32), "no");
	wrapped[7] ^= 1;
	ok("not when it was changed", jwa_unwrap(kek, 32, wrapped, 40, back) == -EBADMSG, "it opens");
}

// Is this what openssl takes for a signature?
// Runs it; the answer's text is asserted by `expect`.
static int run_op(enum keyop op, const struct keyop_key *key, json_t *request, struct keyop_answer *a, struct fault *f)
{
	f->text[0] = '\0';
	int err = keyop_run(op, key, request, a, f);
	json_decref(request);
	return err;
}

static void test_pair(const char *kind, const char *const *algs)
{
	static const char message[] = "a message of some length";
	struct keyop_key key = {.pair = keypair_generate(kind)};
	struct keyop_answer a;
	struct fault f = {""};
	uint8_t der[KEYPAIR_MAX_DER], sig[KEYPAIR_MAX_SIGNATURE];
	char name[64];
	json_t *jwk = keypair_jwk(key.pair, KEYPAIR_SIGN);
	char *pem = keypair_pem(key.pair);
	int n = keypair_store(key.pair, der);
	EVP_PKEY *again = n > 0 ? keypair_load(der, (size_t)n) : NULL;
	snprintf(name, sizeof name, "%s: made, kept and found again", kind);
	ok(name, again && EVP_PKEY_eq(again, key.pair) == 1 && jwk && pem && strstr(pem, "BEGIN PUBLIC KEY") && !strstr(pem, "PRIVATE") &&
	   !json_object_get(jwk, "d"), "no");
	EVP_PKEY_free(again);
	json_decref(jwk);
	free(pem);
	for (; *algs; algs++) {
		int err = run_op(KEYOP_SIGN, &key, request64("message", message, strlen(message), *algs), &a, &f);
		size_t len = bytes_of(a.out, "signature", sig, sizeof sig);
		snprintf(name, sizeof name, "%s signs with %s", kind, *algs);
		ok(name, !err && verifies(key.pair, *algs, message, sig, len) && !verifies(key.pair, *algs, "another one", sig, len), "%d: %s", err, f.text);
		json_decref(a.out);
		if (!strcmp(*algs, "EdDSA"))
			continue;
		uint8_t digest[48];
		unsigned int dlen;
		EVP_Digest(message, strlen(message), digest, &dlen, !strcmp(*algs, "ES384") ? EVP_sha384() : EVP_sha256(), NULL);
		err = run_op(KEYOP_SIGN, &key, request64("digest", digest, dlen, *algs), &a, &f);
		len = bytes_of(a.out, "signature", sig, sizeof sig);
		snprintf(name, sizeof name, "%s signs a digest with %s", kind, *algs);
		ok(name, !err && verifies(key.pair, *algs, message, sig, len), "%d: %s", err, f.text);
		json_decref(a.out);
		err = run_op(KEYOP_SIGN, &key, request64("digest", digest, dlen - 1, *algs), &a, &f);
		ok("a digest of another length is refused", err == -EINVAL && strstr(f.text, "bytes"), "%d: %s", err, f.text);
	}
	ok("an algorithm of another kind is refused", run_op(KEYOP_SIGN, &key, request64("message", "x", 1, "HS256"), &a, &f) == -EINVAL, "%s", f.text);
	ok("as is what is not known", run_op(KEYOP_SIGN, &key, json_pack("{s:s, s:b}", "message", "eA", "raw", 1), &a, &f) == -EINVAL, "%s", f.text);
	secret_key_wipe(&key);
}

static bool tool(const char *dir, const char *command)
{
	char text[600];
	snprintf(text, sizeof text, "cd %s && %s >/dev/null 2>&1", dir, command);
	return system(text) == 0;
}

// What the tool encrypts to a public half, the broker's key opens.
static void test_jose(const char *kind, const char *alg, const char *enc)
{
	struct keyop_key key = {.pair = keypair_generate(kind)};
	struct keyop_answer a;
	struct fault f = {""};
	char command[400], path[128], name[96], *text = NULL;
	size_t len;
	json_t *jwk = keypair_jwk(key.pair, KEYPAIR_DECRYPT);
	json_object_del(jwk, "use");
	snprintf(path, sizeof path, "%s/pub.jwk", world);
	json_dump_file(jwk, path, 0);
	snprintf(command, sizeof command, "printf 'their secret' | jose jwe enc -I- -k pub.jwk -i '{\"protected\":{\"alg\":\"%s\",\"enc\":\"%s\",\"kid\":\"%s\"}}' "
		 "-o their.jwe", alg, enc, json_string_value(json_object_get(jwk, "kid")));
	snprintf(name, sizeof name, "a JWE of another program: %s, %s, %s", kind, alg, enc);
	snprintf(path, sizeof path, "%s/their.jwe", world);
	if (!tool(world, command) || file_read(path, 65536, &text, &len, &f)) {
		lacks(name, "/usr/bin/jose", "it makes none");
	} else {
		char kid[KEYPAIR_KID];
		json_t *jwe = json_loads(text, 0, NULL), *q = json_pack("{s:o}", "jwe", jwe);
		bool known = keyop_kid(q, kid) && !strcmp(kid, json_string_value(json_object_get(jwk, "kid")));
		json_incref(q);
		int err = run_op(KEYOP_DECRYPT, &key, q, &a, &f);
		ok(name, known && !err && a.len == 12 && !memcmp(a.plain, "their secret", 12), "%d: %s", err, f.text);
		free_wiped(a.plain, a.len);
		json_object_set_new(jwe, "ciphertext", json_string("AAAAAAAAAAAAAAAA"));
		err = run_op(KEYOP_DECRYPT, &key, q, &a, &f);
		ok("not when it was changed", err == -EBADMSG && !a.plain, "%d: %s", err, f.text);
	}
	free(text);
	json_decref(jwk);
	secret_key_wipe(&key);
}

static void test_wrapping(void)
{
	struct keyop_key key = {.pair = NULL}, pair = {.pair = keypair_generate("rsa-3072")};
	struct keyop_answer a, b;
	struct fault f = {""};
	uint8_t secret[32], sealed[384];
	size_t n = sizeof sealed;
	RAND_bytes(key.aes, sizeof key.aes);
	RAND_bytes(secret, sizeof secret);
	static const char *const algs[] = {"A256KW", "A256GCMKW"};
	for (int i = 0; i < 2; i++) {
		int err = run_op(KEYOP_WRAP, &key, request64("key", secret, sizeof secret, algs[i]), &a, &f);
		ok("a key is wrapped", !err && !strcmp(json_string_value(json_object_get(a.out, "alg")), algs[i]), "%d: %s", err, f.text);
		err = run_op(KEYOP_UNWRAP, &key, json_deep_copy(a.out), &b, &f);
		ok("and unwrapped", !err && b.len == sizeof secret && !memcmp(b.plain, secret, b.len), "%d: %s", err, f.text);
		free_wiped(b.plain, b.len);
		key.aes[3] ^= 1;
		err = run_op(KEYOP_UNWRAP, &key, a.out, &b, &f);
		ok("by no other key", err == -EBADMSG && !b.plain, "%d: %s", err, f.text);
		key.aes[3] ^= 1;
	}
	ok("key wrap has its sizes", run_op(KEYOP_WRAP, &key, request64("key", secret, 15, "A256KW"), &a, &f) == -EINVAL && strstr(f.text, "multiple"), "%s",
	   f.text);
	EVP_PKEY_CTX *c = EVP_PKEY_CTX_new(pair.pair, NULL);
	bool made = EVP_PKEY_encrypt_init(c) == 1 && EVP_PKEY_CTX_set_rsa_padding(c, RSA_PKCS1_OAEP_PADDING) == 1 &&
		    EVP_PKEY_CTX_set_rsa_oaep_md(c, EVP_sha256()) == 1 && EVP_PKEY_encrypt(c, sealed, &n, secret, sizeof secret) == 1;
	EVP_PKEY_CTX_free(c);
	int err = run_op(KEYOP_DECRYPT, &pair, request64("ciphertext", sealed, n, "RSA-OAEP-256"), &a, &f);
	ok("RSA-OAEP-256", made && !err && a.len == sizeof secret && !memcmp(a.plain, secret, a.len), "%d: %s", err, f.text);
	free_wiped(a.plain, a.len);
	err = run_op(KEYOP_UNWRAP, &pair, request64("wrapped", sealed, n, "RSA-OAEP-256"), &a, &f);
	ok("a key wrapped with it", !err && a.len == sizeof secret, "%d: %s", err, f.text);
	free_wiped(a.plain, a.len);
	err = run_op(KEYOP_DECRYPT, &pair, request64("ciphertext", sealed, n - 1, "RSA-OAEP-256"), &a, &f);
	ok("not when it is cut", err == -EBADMSG && !a.plain, "%d: %s", err, f.text);
	secret_key_wipe(&pair);
}

static void test_import(void)
{
	static const struct { const char *make, *say; } bad[] = {
		{"openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out k.pem", "kind"},
		{"openssl ecparam -genkey -name secp521r1 -noout -out k.pem", "kind"},
		{"openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -aes128 -pass pass:abcd -out k.pem", "without a password"},
		{"echo nothing >k.pem", "PEM"},
	};
	EVP_PKEY *key = NULL;
	const char *kind = "";
	char path[128], *pem;
	struct fault f = {""};
	size_t len;
	snprintf(path, sizeof path, "%s/k.pem", world);
	int err = tool(world, "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384 -out k.pem") ? file_read(path, 65536, &pem, &len, &f) : -1;
	if (!err)
		err = keypair_import(pem, len, &key, &kind, &f);
	ok("a key of openssl's is taken", !err && !strcmp(kind, "ec-p384"), "%d: %s", err, f.text);
	EVP_PKEY_free(key);
	if (!err)
		free(pem);
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		if (!tool(world, bad[i].make) || file_read(path, 65536, &pem, &len, &f))
			continue;
		err = keypair_import(pem, len, &key, &kind, &f);
		ok("what is no such key is refused", err == -EINVAL && strstr(f.text, bad[i].say), "%zu: %d: %s", i, err, f.text);
		free(pem);
	}
}

int main(void)
{
	static const char *const es256[] = {"ES256", NULL}, *const es384[] = {"ES384", NULL}, *const eddsa[] = {"EdDSA", NULL}, *const rsa[] = {"PS256", "RS256", NULL};
	world_begin("algorithms");
	test_vectors();
	test_pair("ec-p256", es256);
	test_pair("ec-p384", es384);
	test_pair("ed25519", eddsa);
	test_pair("rsa-3072", rsa);
	test_wrapping();
	test_import();
	test_jose("ec-p256", "ECDH-ES", "A128GCM");
	test_jose("ec-p256", "ECDH-ES+A128KW", "A256GCM");
	test_jose("ec-p384", "ECDH-ES+A256KW", "A192GCM");
	return world_end();
}

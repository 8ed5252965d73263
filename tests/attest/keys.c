// SPDX-License-Identifier: Apache-2.0
// Keys that are kept, shared by threads with good and bad signatures; and the times of certificates against OpenSSL's own reading.
#include <openssl/rsa.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "attest/cert.h"
#include "attest/digest.h"
#include "attest/ecdsa.h"
#include "attest/verify_key.h"
#include "tests/attest/make/pki.h"
#include "tests/attest/ok.h"

static const char message[] = "what is signed";

static size_t rsa_sign(EVP_PKEY *key, bool pss, uint16_t hash, uint8_t signature[512])
{
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	EVP_PKEY_CTX *ctx;
	size_t n = 512;
	if (EVP_DigestSignInit(md, &ctx, digest_of(hash), NULL, key) != 1 ||
	    EVP_PKEY_CTX_set_rsa_padding(ctx, pss ? RSA_PKCS1_PSS_PADDING : RSA_PKCS1_PADDING) != 1 ||
	    EVP_DigestSign(md, signature, &n, (const uint8_t *)message, sizeof message) != 1)
		abort();
	EVP_MD_CTX_free(md);
	return n;
}

// Each way of signing only by its own signature, whatever was asked before.
static void test_rsa(void)
{
	static const uint16_t hashes[] = {TPM_SHA256, TPM_SHA384, TPM_SHA512};
	EVP_PKEY *pkey = EVP_RSA_gen(2048), *small = EVP_RSA_gen(1024);
	struct verify_key *k = verify_key_new(pkey), *weak = verify_key_new(small);
	uint8_t signatures[6][512], rs[64] = {1};
	size_t len = 0;
	bool good = true, mixed = false, changed = false;
	for (int i = 0; i < 6; i++)
		len = rsa_sign(pkey, i & 1, hashes[i / 2], signatures[i]);
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < 6; i++) {
			for (int j = 0; j < 6; j++) {
				bool ok = verify_key_rsa(k, j & 1, hashes[j / 2], signatures[i], len, message, sizeof message);
				good &= i != j || ok;
				mixed |= i != j && ok;
			}
			signatures[i][100] ^= 1;
			changed |= verify_key_rsa(k, i & 1, hashes[i / 2], signatures[i], len, message, sizeof message);
			signatures[i][100] ^= 1;
			changed |= verify_key_rsa(k, i & 1, hashes[i / 2], signatures[i], len - 1, message, sizeof message);
		}
	}
	ok("keys: RSA, each padding and hash, once and again", good, "one is refused");
	ok("keys: RSA, another padding or hash", !mixed, "it is taken");
	ok("keys: RSA, changed signatures", !changed, "one is taken");
	ok("keys: RSA with SHA-1", !verify_key_rsa(k, false, TPM_SHA1, signatures[0], len, message, sizeof message), "it is taken");
	ok("keys: an RSA key makes no ECDSA", !verify_key_ecdsa(k, rs, 32, message, sizeof message) && !verify_key_ecdsa(k, rs, 0, message, 0), "it does");
	len = rsa_sign(small, false, TPM_SHA256, signatures[0]);
	ok("keys: RSA with 1024 bits", !verify_key_rsa(weak, false, TPM_SHA256, signatures[0], len, message, sizeof message), "it is taken");
	verify_key_free(k);
	verify_key_free(weak);
	EVP_PKEY_free(pkey);
	EVP_PKEY_free(small);
}

static struct {
	struct verify_key *k;
	uint8_t rs[96];
	size_t n;
} shared;

static void *worker(void *arg)
{
	uint8_t bad[96];
	memcpy(bad, shared.rs, sizeof bad);
	bad[(size_t)arg] ^= 4;
	for (int i = 0; i < 200; i++) {
		if (!verify_key_ecdsa(shared.k, shared.rs, shared.n, message, sizeof message) || verify_key_ecdsa(shared.k, bad, shared.n, message, sizeof message) ||
		    verify_key_ecdsa(shared.k, shared.rs, shared.n, message, sizeof message - 1))
			return shared.k;
	}
	return NULL;
}

static void test_threads(const char *curve, size_t n)
{
	EVP_PKEY *pkey = EVP_EC_gen(curve);
	pthread_t t[4];
	bool wrong = false;
	shared.k = verify_key_new(pkey);
	shared.n = n;
	pki_sign(pkey, (int)n, message, sizeof message, shared.rs);
	for (size_t i = 0; i < 4; i++)
		pthread_create(&t[i], NULL, worker, (void *)(i + 7));
	for (int i = 0; i < 4; i++) {
		void *r;
		pthread_join(t[i], &r);
		wrong |= r != NULL;
	}
	ok("keys: threads share one", !wrong, "%s: a verdict is wrong", curve);
	ok("keys: the other curve's length", !verify_key_ecdsa(shared.k, shared.rs, n == 32 ? 48 : 32, message, sizeof message), "it is taken");
	ok("keys: an EC key makes no RSA", !verify_key_rsa(shared.k, false, TPM_SHA256, shared.rs, n, message, sizeof message), "it does");
	verify_key_free(shared.k);
	EVP_PKEY_free(pkey);
}

// OpenSSL's reading, where the form is the one that certificates must have.
static bool openssl_reads(const ASN1_TIME *t, const char *text, time_t *out)
{
	struct tm tm;
	size_t n = strlen(text), full = ASN1_STRING_type(t) == V_ASN1_GENERALIZEDTIME ? 15 : 13;
	if (n != full || text[n - 1] != 'Z' || ASN1_TIME_to_tm(t, &tm) != 1)
		return false;
	*out = timegm(&tm);
	return true;
}

static void test_times(void)
{
	unsigned int seed = 1, differ = 0, read = 0;
	char text[32], first[32] = "";
	static const char *const odd[] = {"", "Z", "2501011200Z", "20250101120000", "250101120000+", "250101120000+0100", "20250101120000.5Z", "25010112000aZ",
					  "2501011 0000Z", "000229000000Z", "010229000000Z", "19000229000000Z", "20000229235959Z", "250431000000Z", "251301000000Z",
					  "250001000000Z", "250100000000Z", "250101240000Z", "250101006000Z", "250101000060Z", "491231235959Z", "500101000000Z",
					  "99991231235959Z", "19691231235959Z", "00010101000000Z"};
	size_t count = sizeof odd / sizeof *odd;
	for (size_t i = 0; i < 40000 + 2 * count; i++) {
		bool full = i & 1;
		if (i < 2 * count)
			snprintf(text, sizeof text, "%s", odd[i / 2]);
		else if (full)
			snprintf(text, sizeof text, "%04d%02d%02d%02d%02d%02dZ", 1 + rand_r(&seed) % 9999, rand_r(&seed) % 14, rand_r(&seed) % 33, rand_r(&seed) % 25,
				 rand_r(&seed) % 61, rand_r(&seed) % 61);
		else
			snprintf(text, sizeof text, "%02d%02d%02d%02d%02d%02dZ", rand_r(&seed) % 100, rand_r(&seed) % 14, rand_r(&seed) % 33, rand_r(&seed) % 25,
				 rand_r(&seed) % 61, rand_r(&seed) % 61);
		ASN1_TIME *t = ASN1_STRING_type_new(full ? V_ASN1_GENERALIZEDTIME : V_ASN1_UTCTIME);
		time_t own = 0, theirs = 0;
		ASN1_STRING_set(t, text, (int)strlen(text));
		bool a = cert_time_read(t, &own), b = openssl_reads(t, text, &theirs);
		read += a;
		if ((a != b || own != theirs) && !differ++)
			snprintf(first, sizeof first, "%s", text);
		ASN1_TIME_free(t);
	}
	ok("certificates' times are read as OpenSSL reads them", !differ && read > 1000, "%u differ, the first is %s; %u are times", differ, first, read);
}

int main(void)
{
	test_rsa();
	test_threads("P-256", 32);
	test_threads("P-384", 48);
	test_times();
	return ok_failed != 0;
}

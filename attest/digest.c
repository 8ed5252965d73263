// SPDX-License-Identifier: Apache-2.0
// See digest.h.
#include "attest/digest.h"

#include <pthread.h>

static const struct {
	uint16_t alg;
	uint8_t size;
	const char *name;
	const EVP_MD *(*md)(void);
} algs[] = {
	{TPM_SHA1, 20, "sha1", EVP_sha1},	{TPM_SHA256, 32, "sha256", EVP_sha256}, {TPM_SHA384, 48, "sha384", EVP_sha384},
	{TPM_SHA512, 64, "sha512", EVP_sha512}, {TPM_SM3, 32, "sm3", EVP_sm3},
};

// Fetched once: OpenSSL looks up an implementation at each use of the plain ones. For as long as the process runs.
static EVP_MD *fetched[sizeof algs / sizeof *algs];

static void fetch(void)
{
	static const char *const names[] = {"SHA1", "SHA256", "SHA384", "SHA512", "SM3"};
	for (size_t i = 0; i < sizeof algs / sizeof *algs; i++)
		fetched[i] = EVP_MD_fetch(NULL, names[i], NULL);
}

static int find(uint16_t alg)
{
	for (int i = 0; i < (int)(sizeof algs / sizeof *algs); i++) {
		if (algs[i].alg == alg)
			return i;
	}
	return -1;
}

const EVP_MD *digest_of(uint16_t alg)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	int i = find(alg);
	pthread_once(&once, fetch);
	return i < 0 ? NULL : fetched[i] ? fetched[i] : algs[i].md();
}

size_t digest_size(uint16_t alg)
{
	int i = find(alg);
	return i < 0 ? 0 : algs[i].size;
}

const char *digest_name(uint16_t alg)
{
	int i = find(alg);
	return i < 0 ? "unknown" : algs[i].name;
}

bool digest_two(uint16_t alg, const void *a, size_t a_len, const void *b, size_t b_len, uint8_t *out)
{
	const EVP_MD *md = digest_of(alg);
	EVP_MD_CTX *ctx = md ? EVP_MD_CTX_new() : NULL;
	bool ok = ctx && EVP_DigestInit_ex(ctx, md, NULL) == 1 && EVP_DigestUpdate(ctx, a, a_len) == 1 && EVP_DigestUpdate(ctx, b, b_len) == 1 &&
		  EVP_DigestFinal_ex(ctx, out, NULL) == 1;
	EVP_MD_CTX_free(ctx);
	return ok;
}

// SPDX-License-Identifier: Apache-2.0
// Fuzzes CoRIM: whole files, of which none is signed, and manifests that are.
#include <openssl/ecdsa.h>
#include <stdlib.h>
#include <string.h>

#include "attest/corim.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

// A byte string's head in its shortest form, which is what a signature is over.
static size_t head(uint8_t *out, size_t len)
{
	int n = len < 24 ? 0 : len < 256 ? 1 : len < 65536 ? 2 : 4;
	out[0] = (uint8_t)(0x40 | (n == 0 ? (int)len : n == 1 ? 24 : n == 2 ? 25 : 26));
	for (int i = 0; i < n; i++)
		out[1 + i] = (uint8_t)(len >> 8 * (n - 1 - i));
	return 1 + (size_t)n;
}

// r then s over a manifest, as COSE has it.
static void sign(EVP_PKEY *key, const uint8_t *data, size_t size, uint8_t rs[64])
{
	static const char begin[] = "\x84\x6aSignature1\x43\xa1\x01\x26\x40";
	uint8_t der[80], *m = malloc(sizeof begin + 5 + size);
	const uint8_t *p = der;
	size_t n = sizeof begin - 1, len = sizeof der;
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	if (!m || !md)
		abort();
	memcpy(m, begin, n);
	n += head(m + n, size);
	memcpy(m + n, data, size);
	if (EVP_DigestSignInit(md, NULL, EVP_sha256(), NULL, key) != 1 || EVP_DigestSign(md, der, &len, m, n + size) != 1)
		abort();
	ECDSA_SIG *s = d2i_ECDSA_SIG(NULL, &p, (long)len);
	if (!s || BN_bn2binpad(ECDSA_SIG_get0_r(s), rs, 32) != 32 || BN_bn2binpad(ECDSA_SIG_get0_s(s), rs + 32, 32) != 32)
		abort();
	ECDSA_SIG_free(s);
	EVP_MD_CTX_free(md);
	free(m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct dsse_key key;
	struct fault f = {""};
	struct corim c;
	if (!key.key && dsse_key_of(EVP_EC_gen("P-256"), &key, NULL))
		abort();
	if (!corim_read(data, size, &key, 1, 1767225600, &c, &f))
		abort();
	uint8_t *file = malloc(size + 128);
	if (!file)
		return 0;
	memcpy(file, "\x84\x43\xa1\x01\x26\xa0", 6);
	size_t n = 6 + head(file + 6, size);
	memcpy(file + n, data, size);
	n += size;
	memcpy(file + n, "\x58\x40", 2);
	sign(key.key, data, size, file + n + 2);
	if (!corim_read(file, n + 66, &key, 1, 1767225600, &c, &f))
		corim_free(&c);
	else if (strstr(f.text, "none of the keys"))
		abort();
	free(file);
	return 0;
}

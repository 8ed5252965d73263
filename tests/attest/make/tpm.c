// SPDX-License-Identifier: Apache-2.0
// See tpm.h.
#include "tests/attest/make/tpm.h"

#include <openssl/rsa.h>
#include <string.h>

#include "tests/attest/make/pki.h"

static size_t be(uint8_t *p, uint64_t v, int n)
{
	for (int i = 0; i < n; i++)
		p[i] = (uint8_t)(v >> 8 * (n - 1 - i));
	return (size_t)n;
}

void tpm_make(const struct tpm_spec *s, EVP_PKEY *key, struct tpm_made *m)
{
	uint8_t *p = m->attest, rs[96], all[TPM_PCRS * 32];
	size_t n = 0;
	p += be(p, s->magic, 4);
	p += be(p, s->type, 2);
	p += be(p, 2, 2);
	p += be(p, 0xabcd, 2);
	p += be(p, s->nonce_len, 2);
	memcpy(p, s->nonce, s->nonce_len);
	p += s->nonce_len;
	p += be(p, 1234, 8);
	p += be(p, 5, 4);
	p += be(p, 6, 4);
	p += be(p, 1, 1);
	p += be(p, 7, 8);
	p += be(p, 1, 4);
	p += be(p, TPM_SHA256, 2);
	p += be(p, 3, 1);
	for (int i = 0; i < 3; i++)
		p += be(p, s->mask >> 8 * i & 0xff, 1);
	for (int i = 0; i < TPM_PCRS; i++) {
		if (s->mask >> i & 1) {
			memcpy(all + n, s->values[i], 32);
			n += 32;
		}
	}
	p += be(p, 32, 2);
	EVP_Digest(all, n, p, NULL, EVP_sha256(), NULL);
	p += 32;
	m->attest_len = (size_t)(p - m->attest);
	p = m->signature;
	p += be(p, (uint64_t)s->scheme, 2);
	size_t half = EVP_PKEY_get_bits(key) == 384 ? 48 : 32;
	p += be(p, s->scheme == 0x18 && half == 48 ? TPM_SHA384 : TPM_SHA256, 2);
	if (s->scheme == 0x18) {
		pki_sign(key, half, m->attest, m->attest_len, rs);
		p += be(p, half, 2);
		memcpy(p, rs, half);
		p += half;
		p += be(p, half, 2);
		memcpy(p, rs + half, half);
		p += half;
	} else {
		EVP_MD_CTX *md = EVP_MD_CTX_new();
		EVP_PKEY_CTX *ctx;
		size_t len = 512;
		EVP_DigestSignInit(md, &ctx, EVP_sha256(), NULL, key);
		if (s->scheme == 0x16)
			EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PSS_PADDING);
		EVP_DigestSign(md, p + 2, &len, m->attest, m->attest_len);
		EVP_MD_CTX_free(md);
		p += be(p, len, 2) + len;
	}
	m->signature_len = (size_t)(p - m->signature);
}

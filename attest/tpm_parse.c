// SPDX-License-Identifier: Apache-2.0
// The bytes of a TPM's quotes, signatures and public keys (all big-endian). See tpm.h. Pure; the fuzz target fuzz_tpm drives it.
#include <errno.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>
#include <string.h>

#include "attest/bytes.h"
#include "attest/ecdsa.h"
#include "attest/tpm.h"

#define TPM_GENERATED 0xff544347u
#define TPM_ST_ATTEST_QUOTE 0x8018

enum { ALG_RSA = 1, ALG_NULL = 0x10, ALG_RSASSA = 0x14, ALG_RSAPSS = 0x16, ALG_ECDSA = 0x18, ALG_ECDAA = 0x1a, ALG_ECC = 0x23 };

static const uint8_t *sized(struct cursor *c, uint16_t *len)
{
	*len = (uint16_t)cursor_be(c, 2);
	return cursor_take(c, *len);
}

int tpm_quote_parse(const uint8_t *bytes, size_t len, struct tpm_quote *q, struct fault *f)
{
	struct cursor c = cursor_of(bytes, len);
	memset(q, 0, sizeof *q);
	// What a TPM signs about itself begins so, and nothing from outside that it signs may.
	if (cursor_be(&c, 4) != TPM_GENERATED)
		return fault_set(f, -EINVAL, "not made by a TPM (magic)");
	uint64_t type = cursor_be(&c, 2);
	if (type != TPM_ST_ATTEST_QUOTE)
		return fault_set(f, -EINVAL, "attestation of type 0x%llx, not a quote", (unsigned long long)type);
	q->signer = sized(&c, &q->signer_len);
	q->nonce = sized(&c, &q->nonce_len);
	q->clock = cursor_be(&c, 8);
	q->resets = (uint32_t)cursor_be(&c, 4);
	q->restarts = (uint32_t)cursor_be(&c, 4);
	q->safe = cursor_be(&c, 1) == 1;
	q->firmware = cursor_be(&c, 8);
	uint64_t n = cursor_be(&c, 4);
	if (c.short_of || n > sizeof q->banks / sizeof *q->banks)
		return fault_set(f, -EINVAL, "cut short, or too many banks selected");
	for (unsigned int i = 0; i < n; i++) {
		q->banks[i].alg = (uint16_t)cursor_be(&c, 2);
		uint64_t size = cursor_be(&c, 1);
		const uint8_t *mask = cursor_take(&c, (size_t)size);
		if (!mask || size > 4)
			return fault_set(f, -EINVAL, "a selection of registers that is malformed");
		for (unsigned int k = 0; k < size; k++)
			q->banks[i].mask |= (uint32_t)mask[k] << 8 * k;
	}
	q->bank_count = (unsigned int)n;
	q->digest = sized(&c, &q->digest_len);
	if (c.short_of || c.left)
		return fault_set(f, -EINVAL, c.short_of ? "cut short" : "bytes behind the quote");
	return 0;
}

// A number of at most `half` bytes, right-aligned.
static bool align(struct cursor *c, uint8_t *out, size_t half)
{
	uint16_t len;
	const uint8_t *p = sized(c, &len);
	while (p && len > half && !*p) {
		p++;
		len--;
	}
	if (!p || len > half)
		return false;
	memset(out, 0, half);
	memcpy(out + half - len, p, len);
	return true;
}

int tpm_signature_parse(const uint8_t *bytes, size_t len, struct tpm_signature *s, struct fault *f)
{
	struct cursor c = cursor_of(bytes, len);
	uint16_t n;
	memset(s, 0, sizeof *s);
	s->scheme = (uint16_t)cursor_be(&c, 2);
	s->hash = (uint16_t)cursor_be(&c, 2);
	if (s->scheme == ALG_RSASSA || s->scheme == ALG_RSAPSS) {
		s->rsa = sized(&c, &n);
		s->rsa_len = n;
	} else if (s->scheme == ALG_ECDSA) {
		s->rs_half = s->hash == TPM_SHA384 ? 48 : 32;
		if (!align(&c, s->rs, s->rs_half) || !align(&c, s->rs + s->rs_half, s->rs_half))
			return fault_set(f, -EINVAL, "an ECDSA signature that is malformed");
	} else {
		return fault_set(f, -EINVAL, "signature scheme 0x%x", s->scheme);
	}
	if (c.short_of || c.left)
		return fault_set(f, -EINVAL, c.short_of ? "the signature is cut short" : "bytes behind the signature");
	return 0;
}

EVP_PKEY *tpm_rsa_key(const uint8_t *n, size_t len, uint32_t e)
{
	OSSL_PARAM_BLD *bld = OSSL_PARAM_BLD_new();
	BIGNUM *bn = BN_bin2bn(n, (int)len, NULL), *be = BN_new();
	OSSL_PARAM *params = NULL;
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
	EVP_PKEY *key = NULL;
	if (bld && bn && be && ctx && BN_set_word(be, e ? e : 65537) && OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_N, bn) &&
	    OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_E, be) && (params = OSSL_PARAM_BLD_to_param(bld)) &&
	    (EVP_PKEY_fromdata_init(ctx) != 1 || EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params) != 1))
		key = NULL;
	OSSL_PARAM_free(params);
	OSSL_PARAM_BLD_free(bld);
	BN_free(bn);
	BN_free(be);
	EVP_PKEY_CTX_free(ctx);
	ERR_clear_error();
	return key;
}

// TPMT_PUBLIC of a key that signs, or one that decrypts, which names a symmetric cipher.
static EVP_PKEY *public_area(struct cursor c)
{
	uint8_t xy[96];
	uint16_t n;
	uint64_t type = cursor_be(&c, 2);
	cursor_take(&c, 2 + 4);			// name's algorithm, attributes
	sized(&c, &n);				// policy
	if (cursor_be(&c, 2) != ALG_NULL)
		cursor_take(&c, 4);		// its bits and mode
	uint64_t scheme = cursor_be(&c, 2);
	if (scheme != ALG_NULL)
		cursor_take(&c, scheme == ALG_ECDAA ? 4 : 2);
	if (type == ALG_RSA) {
		cursor_take(&c, 2);		// bits
		uint32_t e = (uint32_t)cursor_be(&c, 4);
		const uint8_t *modulus = sized(&c, &n);
		return modulus && !c.left && n >= 256 && n <= 512 ? tpm_rsa_key(modulus, n, e) : NULL;
	}
	if (type != ALG_ECC)
		return NULL;
	uint64_t curve = cursor_be(&c, 2);
	size_t half = curve == 3 ? 32 : curve == 4 ? 48 : 0;
	uint64_t kdf = cursor_be(&c, 2);
	if (kdf != ALG_NULL)
		cursor_take(&c, 2);
	return half && align(&c, xy, half) && align(&c, xy + half, half) && !c.left ? ecdsa_key(xy, half) : NULL;
}

EVP_PKEY *tpm_key_read(const uint8_t *bytes, size_t len, struct fault *f)
{
	const uint8_t *p = bytes;
	EVP_PKEY *key = NULL;
	if (len > 16 << 10) {
		fault_set(f, -EINVAL, "%zu bytes are more than a public key has", len);
		return NULL;
	}
	if (len > 10 && !memcmp(bytes, "-----BEGIN", 10)) {
		BIO *bio = BIO_new_mem_buf(bytes, (int)len);
		key = bio ? PEM_read_bio_PUBKEY(bio, NULL, NULL, NULL) : NULL;
		BIO_free(bio);
	} else if (len > 2 && bytes[0] == 0x30) {
		key = d2i_PUBKEY(NULL, &p, (long)len);
		if (key && p != bytes + len) {
			EVP_PKEY_free(key);
			key = NULL;
		}
	} else if (len > 2) {
		bool wrapped = load_be(bytes, 2) == len - 2;
		key = public_area(wrapped ? cursor_of(bytes + 2, len - 2) : cursor_of(bytes, len));
	}
	ERR_clear_error();
	if (!key)
		fault_set(f, -EINVAL, "not a public key (PEM, DER, TPM2B_PUBLIC)");
	return key;
}

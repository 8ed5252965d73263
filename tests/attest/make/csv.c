// SPDX-License-Identifier: Apache-2.0
// See csv.h.
#include "tests/attest/make/csv.h"

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/hmac.h>
#include <stdlib.h>
#include <string.h>

static void le(uint8_t *p, uint64_t v, int n)
{
	for (int i = 0; i < n; i++)
		p[i] = (uint8_t)(v >> 8 * i);
}

static void reversed(uint8_t *out, const uint8_t *in)
{
	for (int i = 0; i < 32; i++)
		out[i] = in[31 - i];
}

// SM2 under an identity; r and s little-endian, 72 bytes each.
static void sign(EVP_PKEY *key, const char *id, const void *message, size_t len, uint8_t *out)
{
	uint8_t der[128], rs[64];
	const uint8_t *p = der;
	size_t der_len = sizeof der;
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(key, NULL);
	EVP_PKEY_CTX_set1_id(ctx, id, strlen(id));
	EVP_MD_CTX_set_pkey_ctx(md, ctx);
	if (EVP_DigestSignInit(md, NULL, EVP_sm3(), NULL, key) != 1 || EVP_DigestSign(md, der, &der_len, message, len) != 1)
		abort();
	ECDSA_SIG *sig = d2i_ECDSA_SIG(NULL, &p, (long)der_len);
	BN_bn2binpad(ECDSA_SIG_get0_r(sig), rs, 32);
	BN_bn2binpad(ECDSA_SIG_get0_s(sig), rs + 32, 32);
	reversed(out, rs);
	reversed(out + 72, rs + 32);
	ECDSA_SIG_free(sig);
	EVP_PKEY_CTX_free(ctx);
	EVP_MD_CTX_free(md);
}

static void put_key(uint8_t *p, EVP_PKEY *key, const char *id)
{
	uint8_t point[65];
	size_t len;
	EVP_PKEY_get_octet_string_param(key, OSSL_PKEY_PARAM_PUB_KEY, point, sizeof point, &len);
	le(p, 3, 4);
	reversed(p + 4, point + 1);
	reversed(p + 76, point + 33);
	le(p + 148, strlen(id), 2);
	memcpy(p + 150, id, strlen(id));
}

static void put_root(uint8_t *c, uint32_t usage, EVP_PKEY *key, const char *id, EVP_PKEY *signer, const char *signer_id)
{
	memset(c, 0, CSV_ROOT_BYTES);
	le(c, 1, 4);
	le(c + 36, usage, 4);
	put_key(c + 64, key, id);
	sign(signer, signer_id, c, 576, c + 576);
}

static void put_cert(uint8_t *c, uint32_t usage, EVP_PKEY *key, const char *id, EVP_PKEY *signer, const char *signer_id, uint32_t signer_usage)
{
	memset(c, 0, CSV_CERT_BYTES);
	le(c, 2, 4);
	le(c + 8, usage, 4);
	le(c + 12, 4, 4);
	put_key(c + 16, key, id);
	le(c + 1044, 0x1000, 4);
	le(c + 1564, signer_usage, 4);
	sign(signer, signer_id, c, 1044, c + 1564 + 8);
}

void csv_make_world(struct csv_world *w, uint32_t cek_usage)
{
	w->hrk = EVP_PKEY_Q_keygen(NULL, NULL, "SM2");
	EVP_PKEY *hsk = EVP_PKEY_Q_keygen(NULL, NULL, "SM2");
	w->cek = EVP_PKEY_Q_keygen(NULL, NULL, "SM2");
	w->pek = EVP_PKEY_Q_keygen(NULL, NULL, "SM2");
	put_root(w->hrk_cert, CSV_USAGE_HRK, w->hrk, "TEST-HRK", w->hrk, "TEST-HRK");
	put_root(w->hsk_cek, CSV_USAGE_HSK, hsk, "TEST-HSK", w->hrk, "TEST-HRK");
	put_cert(w->hsk_cek + CSV_ROOT_BYTES, cek_usage, w->cek, "TEST-CEK", hsk, "TEST-HSK", CSV_USAGE_HSK);
	put_cert(w->pek_cert, CSV_USAGE_PEK, w->pek, "TEST-PEK", w->cek, "TEST-CEK", CSV_USAGE_CEK);
	EVP_PKEY_free(hsk);
}

void csv_free_world(struct csv_world *w)
{
	EVP_PKEY_free(w->hrk);
	EVP_PKEY_free(w->cek);
	EVP_PKEY_free(w->pek);
}

static void mask(uint8_t *p, size_t len, const uint8_t m[4])
{
	for (size_t i = 0; i < len; i++)
		p[i] ^= m[i % 4];
}

size_t csv_make_report(const struct csv_world *w, int version, uint32_t policy, const uint8_t *data, uint8_t *b)
{
	static const uint8_t anonce[4] = {0x9b, 0x42, 0x91, 0x12}, none[4];
	const uint8_t *m = version == 1 ? anonce : none;
	size_t info = version == 1 ? 336 : 1168, len = info + CSV_CERT_BYTES + 128;
	unsigned int mac_len;
	memset(b, 0, len);
	if (data)
		memcpy(b + 64, data, 64);
	else
		memset(b + 64, 0xda, 64);
	memset(b + 128, 0x4e, 16);
	memset(b + 144, 0xe1, 32);
	le(b + 176, policy, 4);
	le(b + 180, CSV_USAGE_PEK, 4);
	le(b + 184, 4, 4);
	if (version == 2) {
		le(b + 188, 2200, 4);
		le(b + 192, 1, 2);
		memset(b + 208, 0xe1, 32);
		memset(b + 240, 0x71, 32);
	}
	memcpy(b + info, w->pek_cert, CSV_CERT_BYTES);
	strcpy((char *)b + info + CSV_CERT_BYTES, "TEST0001");
	mask(b, 188, m);
	mask(b + info, CSV_CERT_BYTES + 64, m);
	if (version == 1)
		memcpy(b + 188, anonce, 4);
	sign(w->pek, "TEST-PEK", b, version == 1 ? 180 : 1024, b + (version == 1 ? 192 : 1024));
	uint8_t nonce[16];
	memset(nonce, 0x4e, 16);
	HMAC(EVP_sm3(), nonce, 16, b + info, CSV_CERT_BYTES + 96, b + info + CSV_CERT_BYTES + 96, &mac_len);
	return len;
}

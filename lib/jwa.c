// SPDX-License-Identifier: Apache-2.0
// See jwa.h.
#include "lib/jwa.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <string.h>

#define MAX_FIELD 66	// of P-521

static size_t put_be32(uint8_t *p, size_t v)
{
	p[0] = (uint8_t)(v >> 24);
	p[1] = (uint8_t)(v >> 16);
	p[2] = (uint8_t)(v >> 8);
	p[3] = (uint8_t)v;
	return 4;
}

static size_t put_part(uint8_t *p, const void *bytes, size_t len)
{
	put_be32(p, len);
	if (len)
		memcpy(p + 4, bytes, len);
	return 4 + len;
}

// The curves that keys are on here have a cofactor of 1: a point of the curve, which is not that at infinity, has the curve's order. That is not
// multiplied out again, which takes longer than the agreement.
static bool is_on_curve(EVP_PKEY *key)
{
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, key, NULL);
	bool yes = ctx && EVP_PKEY_public_check_quick(ctx) == 1;
	EVP_PKEY_CTX_free(ctx);
	return yes;
}

// Z by ECDH, then one block of the Concat KDF with SHA-256: 32 bytes are enough for every algorithm here.
int jwa_agree(EVP_PKEY *mine, EVP_PKEY *theirs, const struct jwa_info *i, uint8_t *key, size_t len)
{
	uint8_t z[MAX_FIELD], text[4 + MAX_FIELD + 4 + 32 + 4 + JWA_MAX_INFO + 4 + JWA_MAX_INFO + 4], block[32];
	size_t zlen = sizeof z, n, alg = strlen(i->alg);
	int err = -EINVAL;
	if (len > sizeof block || alg > 32 || i->apu_len > JWA_MAX_INFO || i->apv_len > JWA_MAX_INFO)
		return -EINVAL;
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, mine, NULL);
	if (ctx && is_on_curve(theirs) && EVP_PKEY_derive_init(ctx) == 1 && EVP_PKEY_derive_set_peer_ex(ctx, theirs, 0) == 1 &&
	    EVP_PKEY_derive(ctx, z, &zlen) == 1) {
		n = put_be32(text, 1);
		memcpy(text + n, z, zlen);
		n += zlen;
		n += put_part(text + n, i->alg, alg);
		n += put_part(text + n, i->apu, i->apu_len);
		n += put_part(text + n, i->apv, i->apv_len);
		n += put_be32(text + n, 8 * len);
		if (EVP_Digest(text, n, block, NULL, EVP_sha256(), NULL) == 1) {
			memcpy(key, block, len);
			err = 0;
		}
	}
	explicit_bzero(z, sizeof z);
	explicit_bzero(text, sizeof text);
	explicit_bzero(block, sizeof block);
	EVP_PKEY_CTX_free(ctx);
	return err;
}

static int key_wrap(const uint8_t *kek, size_t kek_len, const uint8_t *in, size_t len, uint8_t *out, size_t out_len, bool wrap)
{
	const EVP_CIPHER *cipher = kek_len == 32 ? EVP_aes_256_wrap() : kek_len == 24 ? EVP_aes_192_wrap() : kek_len == 16 ? EVP_aes_128_wrap() : NULL;
	EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
	int n = 0, last = 0, err = -EBADMSG;
	if (!c)
		return -ENOMEM;
	EVP_CIPHER_CTX_set_flags(c, EVP_CIPHER_CTX_FLAG_WRAP_ALLOW);
	if (cipher && EVP_CipherInit_ex(c, cipher, NULL, kek, NULL, wrap) == 1 && EVP_CipherUpdate(c, out, &n, in, (int)len) == 1 &&
	    EVP_CipherFinal_ex(c, out + n, &last) == 1 && n + last == (int)out_len)
		err = 0;
	EVP_CIPHER_CTX_free(c);
	return err;
}

int jwa_wrap(const uint8_t *kek, size_t kek_len, const uint8_t *key, size_t len, uint8_t *out)
{
	if (len < 16 || len % 8 || len > JWA_MAX_WRAPPED)
		return -EINVAL;
	return key_wrap(kek, kek_len, key, len, out, len + JWA_WRAP_EXTRA, true);
}

int jwa_unwrap(const uint8_t *kek, size_t kek_len, const uint8_t *wrapped, size_t len, uint8_t *out)
{
	if (len < 24 || len % 8 || len > JWA_MAX_WRAPPED)
		return -EINVAL;
	return key_wrap(kek, kek_len, wrapped, len, out, len - JWA_WRAP_EXTRA, false);
}

int jwa_gcm(bool encrypt, const uint8_t *key, size_t key_len, const uint8_t iv[JWA_IV_BYTES], const void *aad, size_t aad_len, const uint8_t *in,
	    size_t len, uint8_t *out, uint8_t tag[JWA_TAG_BYTES])
{
	const EVP_CIPHER *cipher = key_len == 32 ? EVP_aes_256_gcm() : key_len == 24 ? EVP_aes_192_gcm() : key_len == 16 ? EVP_aes_128_gcm() : NULL;
	EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
	int n = 0, last = 0, err = -EBADMSG;
	if (!c)
		return -ENOMEM;
	if (!cipher || len > 1u << 30 || aad_len > 1u << 30 || EVP_CipherInit_ex(c, cipher, NULL, key, iv, encrypt) != 1 ||
	    (aad_len && EVP_CipherUpdate(c, NULL, &n, aad, (int)aad_len) != 1) || EVP_CipherUpdate(c, out, &n, in, (int)len) != 1)
		goto out;
	if (!encrypt && EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_GCM_SET_TAG, JWA_TAG_BYTES, tag) != 1)
		goto out;
	if (EVP_CipherFinal_ex(c, out + n, &last) != 1 || (size_t)(n + last) != len)
		goto out;
	if (encrypt && EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_GCM_GET_TAG, JWA_TAG_BYTES, tag) != 1)
		goto out;
	err = 0;
out:
	EVP_CIPHER_CTX_free(c);
	return err;
}

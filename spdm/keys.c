// SPDX-License-Identifier: Apache-2.0
// See keys.h.
#include "spdm/keys.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <string.h>

#include "attest/bytes.h"

static bool traffic(const struct suite *s, struct direction *d)
{
	d->sequence = 0;
	return suite_expand(s, d->secret, "key", NULL, d->key, SUITE_KEY) && suite_expand(s, d->secret, "iv", NULL, d->iv, SUITE_IV);
}

bool keys_handshake(struct keys *k, const struct suite *s, const uint8_t *secret, size_t len, const uint8_t *th1)
{
	static const uint8_t zeros[SUITE_MAX_HASH];
	k->suite = *s;
	return suite_extract(s, zeros, secret, len, k->handshake) &&
	       suite_expand(s, k->handshake, "req hs data", th1, k->request.secret, s->hash_len) &&
	       suite_expand(s, k->handshake, "rsp hs data", th1, k->response.secret, s->hash_len) &&
	       suite_expand(s, k->request.secret, "finished", NULL, k->request_finished, s->hash_len) &&
	       suite_expand(s, k->response.secret, "finished", NULL, k->response_finished, s->hash_len) &&
	       traffic(s, &k->request) && traffic(s, &k->response);
}

bool keys_application(struct keys *k, const uint8_t *th2)
{
	static const uint8_t zeros[SUITE_MAX_HASH];
	const struct suite *s = &k->suite;
	uint8_t salt[SUITE_MAX_HASH], master[SUITE_MAX_HASH];
	bool ok = suite_expand(s, k->handshake, "derived", NULL, salt, s->hash_len) && suite_extract(s, salt, zeros, s->hash_len, master) &&
		  suite_expand(s, master, "req app data", th2, k->request.secret, s->hash_len) &&
		  suite_expand(s, master, "rsp app data", th2, k->response.secret, s->hash_len) &&
		  suite_expand(s, master, "exp master", th2, k->exporter, s->hash_len) && traffic(s, &k->request) && traffic(s, &k->response);
	OPENSSL_cleanse(salt, sizeof salt);
	OPENSSL_cleanse(master, sizeof master);
	OPENSSL_cleanse(k->handshake, sizeof k->handshake);
	OPENSSL_cleanse(k->request_finished, sizeof k->request_finished);
	OPENSSL_cleanse(k->response_finished, sizeof k->response_finished);
	return ok;
}

bool keys_update(const struct keys *k, struct direction *d)
{
	uint8_t next[SUITE_MAX_HASH];
	bool ok = suite_expand(&k->suite, d->secret, "traffic upd", NULL, next, k->suite.hash_len);
	if (ok)
		memcpy(d->secret, next, k->suite.hash_len);
	OPENSSL_cleanse(next, sizeof next);
	return ok && traffic(&k->suite, d);
}

bool keys_exporter(const struct keys *k, const char *label, uint8_t out[32])
{
	return suite_expand(&k->suite, k->exporter, label, NULL, out, 32);
}

void keys_free(struct keys *k)
{
	OPENSSL_cleanse(k, sizeof *k);
}

// ---- records ----

// The count, lowest byte first, is added to the start value (DSP0277 version 1.2, section "AEAD requirements").
static void nonce_of(const struct direction *d, uint8_t nonce[SUITE_IV])
{
	memcpy(nonce, d->iv, SUITE_IV);
	for (int i = 0; i < 8; i++)
		nonce[i] ^= (uint8_t)(d->sequence >> 8 * i);
}

int record_seal(struct direction *d, uint32_t session, size_t sequence_len, const void *bytes, size_t len, struct buffer *b)
{
	uint8_t nonce[SUITE_IV];
	size_t head = RECORD_HEAD + sequence_len, begin = b->len;
	int n = 0, m = 0;
	if (len > RECORD_MAX_TEXT - sequence_len)
		return -EINVAL;
	buffer_number(b, session, 4);
	for (size_t i = 0; i < sequence_len; i++)
		buffer_number(b, (uint8_t)(d->sequence >> 8 * i), 1);
	buffer_number(b, (uint32_t)(2 + len + SUITE_TAG), 2);
	uint8_t *p = buffer_room(b, 2 + len + SUITE_TAG);
	EVP_CIPHER_CTX *ctx = p ? EVP_CIPHER_CTX_new() : NULL;
	if (!ctx)
		return -ENOMEM;
	p[0] = (uint8_t)len;
	p[1] = (uint8_t)(len >> 8);
	if (len)
		memcpy(p + 2, bytes, len);
	nonce_of(d, nonce);
	bool ok = EVP_EncryptInit_ex(ctx, EVP_aes_256_gcm(), NULL, d->key, nonce) == 1 &&
		  EVP_EncryptUpdate(ctx, NULL, &n, b->bytes + begin, (int)head) == 1 && EVP_EncryptUpdate(ctx, p, &n, p, (int)(2 + len)) == 1 &&
		  EVP_EncryptFinal_ex(ctx, p + n, &m) == 1 && EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, SUITE_TAG, p + 2 + len) == 1;
	EVP_CIPHER_CTX_free(ctx);
	ERR_clear_error();
	if (!ok) {
		OPENSSL_cleanse(p, 2 + len);
		b->len = begin;
		return -ENOMEM;
	}
	d->sequence++;
	return 0;
}

int record_open(struct direction *d, uint32_t session, size_t sequence_len, uint8_t *bytes, size_t len, uint8_t **text, size_t *text_len)
{
	struct cursor c = cursor_of(bytes, len);
	uint8_t nonce[SUITE_IV];
	int n = 0, m = 0;
	uint32_t id = cursor_le32(&c);
	const uint8_t *count = cursor_take(&c, sequence_len);
	uint16_t length = cursor_le16(&c);
	if (c.short_of || length != c.left || length < 2 + SUITE_TAG || id != session)
		return -EINVAL;
	for (size_t i = 0; i < sequence_len; i++) {
		if (count[i] != (uint8_t)(d->sequence >> 8 * i))
			return -EBADMSG;
	}
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	if (!ctx)
		return -ENOMEM;
	size_t head = RECORD_HEAD + sequence_len, size = length - SUITE_TAG;
	uint8_t *p = bytes + head, *out = malloc(size);	// what does not hold must not be seen, and a record may be tried with two keys
	nonce_of(d, nonce);
	bool ok = out && EVP_DecryptInit_ex(ctx, EVP_aes_256_gcm(), NULL, d->key, nonce) == 1 &&
		  EVP_DecryptUpdate(ctx, NULL, &n, bytes, (int)head) == 1 && EVP_DecryptUpdate(ctx, out, &n, p, (int)size) == 1 &&
		  EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, SUITE_TAG, p + size) == 1 && EVP_DecryptFinal_ex(ctx, out + n, &m) == 1;
	if (ok)
		memcpy(p, out, size);
	if (out)
		OPENSSL_cleanse(out, size);
	free(out);
	EVP_CIPHER_CTX_free(ctx);
	ERR_clear_error();
	if (!ok)
		return out ? -EBADMSG : -ENOMEM;
	d->sequence++;
	*text = p + 2;
	*text_len = load_le16(p);
	return *text_len <= size - 2 ? 0 : -EINVAL;	// random bytes may follow
}

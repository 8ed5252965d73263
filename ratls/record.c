// SPDX-License-Identifier: Apache-2.0
// See record.h.
#include "ratls/record.h"

#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "ratls/gather.h"

#define COPIED_MAX 1024	// what is sealed in place: a copy costs less than another call

static const struct {
	uint16_t number;
	const char *cipher, *digest;
	size_t key_len, secret_len;
} suites[] = {
	{0x1301, "AES-128-GCM", "SHA2-256", 16, 32},
	{0x1302, "AES-256-GCM", "SHA2-384", 32, 48},
	{0x1303, "ChaCha20-Poly1305", "SHA2-256", 32, 32},
};

#define SUITES (sizeof suites / sizeof *suites)
#define AES_256 1	// of these: what two of our ends agree on

// Looked up once: that takes longer than what is done with them.
static pthread_once_t once = PTHREAD_ONCE_INIT;
static EVP_CIPHER *ciphers[SUITES];
static EVP_KDF *kdf;

static void fetch(void)
{
	kdf = EVP_KDF_fetch(NULL, OSSL_KDF_NAME_TLS1_3_KDF, NULL);
	for (size_t i = 0; i < SUITES; i++)
		ciphers[i] = EVP_CIPHER_fetch(NULL, suites[i].cipher, NULL);
	ERR_clear_error();
}

// HKDF-Expand-Label(secret, label, "", len), section 7.1.
static bool expand(const struct tls13_keys *k, const char *label, uint8_t *out, size_t len)
{
	EVP_KDF_CTX *ctx = EVP_KDF_CTX_new(kdf);
	int mode = EVP_KDF_HKDF_MODE_EXPAND_ONLY;
	const OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, (char *)suites[k->suite].digest, 0),
		OSSL_PARAM_construct_int(OSSL_KDF_PARAM_MODE, &mode),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, (void *)k->secret, suites[k->suite].secret_len),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_PREFIX, (char *)"tls13 ", 6),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_LABEL, (char *)label, strlen(label)),
		OSSL_PARAM_construct_end(),
	};
	bool ok = ctx && EVP_KDF_derive(ctx, out, len, params) == 1;
	EVP_KDF_CTX_free(ctx);	// wipes its copy of the secret
	return ok;
}

static bool set_keys(struct tls13_keys *k, int seals)
{
	uint8_t key[32];
	bool ok = expand(k, "key", key, suites[k->suite].key_len) && expand(k, "iv", k->iv, sizeof k->iv);
	if (ok && k->gcm)
		gcm_key_set(k->gcm, key);
	else if (ok)
		ok = EVP_CipherInit_ex2(k->aead, ciphers[k->suite], key, NULL, seals, NULL) == 1;
	OPENSSL_cleanse(key, sizeof key);
	k->sequence = 0;
	return ok;
}

int tls13_open_keys(struct tls13_keys *k, uint16_t suite, const uint8_t *secret, size_t len, bool seals)
{
	unsigned int i = 0;
	pthread_once(&once, fetch);
	while (i < SUITES && suites[i].number != suite)
		i++;
	if (i == SUITES || suites[i].secret_len != len || !ciphers[i] || !kdf)
		return -ENOTSUP;
	*k = (struct tls13_keys){.suite = i};
	if (i == AES_256 && gather_ready())
		k->gcm = aligned_alloc(_Alignof(struct gcm_key), sizeof *k->gcm);
	else
		k->aead = EVP_CIPHER_CTX_new();
	memcpy(k->secret, secret, len);
	if ((k->gcm || k->aead) && set_keys(k, seals))
		return 0;
	tls13_close_keys(k);
	ERR_clear_error();
	return -ENOMEM;
}

int tls13_update_keys(struct tls13_keys *k)
{
	uint8_t next[RECORD_SECRET_MAX];
	int seals = k->aead && EVP_CIPHER_CTX_is_encrypting(k->aead);
	bool ok = expand(k, "traffic upd", next, suites[k->suite].secret_len);
	if (ok) {
		memcpy(k->secret, next, suites[k->suite].secret_len);
		ok = (!k->aead || EVP_CIPHER_CTX_reset(k->aead) == 1) && set_keys(k, seals);
	}
	OPENSSL_cleanse(next, sizeof next);
	if (ok)
		return 0;
	tls13_close_keys(k);
	ERR_clear_error();
	return -ENOMEM;
}

void tls13_close_keys(struct tls13_keys *k)
{
	EVP_CIPHER_CTX_free(k->aead);	// wipes the key
	if (k->gcm)
		OPENSSL_cleanse(k->gcm, sizeof *k->gcm);
	free(k->gcm);
	OPENSSL_cleanse(k, sizeof *k);
}

// The nonce of the next record (section 5.3). The number is used up, whatever becomes of the record.
static int take_number(struct tls13_keys *k, uint8_t nonce[sizeof k->iv])
{
	if ((!k->aead && !k->gcm) || k->sequence == UINT64_MAX)
		return -EOVERFLOW;
	memcpy(nonce, k->iv, sizeof k->iv);
	for (unsigned int i = 0; i < 8; i++)
		nonce[4 + i] ^= (uint8_t)(k->sequence >> (56 - 8 * i));
	k->sequence++;
	return 0;
}

// ---- by OpenSSL ----

// The next record, with its head, which is authenticated beside.
static bool begin(struct tls13_keys *k, const uint8_t *nonce, const uint8_t head[RECORD_HEAD])
{
	int n;
	return EVP_CipherInit_ex2(k->aead, NULL, NULL, nonce, -1, NULL) == 1 && EVP_CipherUpdate(k->aead, NULL, &n, head, RECORD_HEAD) == 1;
}

// One more piece of it, to *to, which moves on.
static bool pass(struct tls13_keys *k, uint8_t **to, const uint8_t *from, size_t len)
{
	int n = 0;
	if (len && (EVP_CipherUpdate(k->aead, *to, &n, from, (int)len) != 1 || (size_t)n != len))
		return false;
	*to += len;
	return true;
}

static bool seal_pieces(struct tls13_keys *k, const uint8_t *nonce, const uint8_t *record, uint8_t *to, const struct gather_piece *pieces,
			unsigned int count)
{
	int n;
	bool ok = begin(k, nonce, record);
	for (unsigned int i = 0; ok && i < count; i++)
		ok = pass(k, &to, pieces[i].bytes, pieces[i].len);
	return ok && EVP_CipherFinal_ex(k->aead, to, &n) == 1 && EVP_CIPHER_CTX_ctrl(k->aead, EVP_CTRL_AEAD_GET_TAG, RECORD_TAG, to) == 1;
}

static bool open_body(struct tls13_keys *k, const uint8_t *nonce, const uint8_t *record, uint8_t *content, size_t len)
{
	uint8_t *to = content;
	int n;
	if (begin(k, nonce, record) && EVP_CIPHER_CTX_ctrl(k->aead, EVP_CTRL_AEAD_SET_TAG, RECORD_TAG, content + len) == 1 && pass(k, &to, content, len) &&
	    EVP_CipherFinal_ex(k->aead, to, &n) == 1)
		return true;
	OPENSSL_cleanse(content, len);	// nobody may see what nobody vouches for
	ERR_clear_error();
	return false;
}

// ---- records ----

ssize_t tls13_seal(struct tls13_keys *k, enum record_type type, const uint8_t *head, size_t head_len, const uint8_t *bytes, size_t len, uint8_t *out)
{
	size_t content = head_len + len, body = content + 1 + RECORD_TAG;
	uint8_t *to = out + RECORD_HEAD, last = (uint8_t)type, nonce[sizeof k->iv];
	const struct gather_piece apart[] = {{head, head_len}, {bytes, len}, {&last, 1}}, together = {to, content + 1};
	bool copies = content <= COPIED_MAX, ok = true;
	out[0] = RECORD_DATA;
	out[1] = 3, out[2] = 3;
	out[3] = (uint8_t)(body >> 8), out[4] = (uint8_t)body;
	int err = take_number(k, nonce);
	if (err)
		return err;
	if (copies) {
		if (head_len)
			memcpy(to, head, head_len);
		if (len)
			memcpy(to + head_len, bytes, len);
		to[content] = last;
	}
	if (!k->gcm) {
		ok = copies ? seal_pieces(k, nonce, out, to, &together, 1) : seal_pieces(k, nonce, out, to, apart, 3);
	} else if (copies) {
		struct gcm_ctx c;
		gcm_encrypt(k->gcm, &c, to, to, content + 1, nonce, out, RECORD_HEAD, to + content + 1);
		OPENSSL_cleanse(&c, sizeof c);	// as in gather.c
	} else {
		gather_seal(k->gcm, to, apart, 3, nonce, out, RECORD_HEAD);
	}
	return ok ? (ssize_t)(RECORD_HEAD + body) : -ENOMEM;
}

ssize_t tls13_length(const uint8_t *bytes, size_t len)
{
	if (len < RECORD_HEAD)
		return 0;
	size_t body = (size_t)bytes[3] << 8 | bytes[4];
	// The version is looked at by nobody but the AEAD (section 5.1): other than 3, 3 the tag is wrong, or the sender computed it so.
	if (bytes[0] != RECORD_DATA)
		return -EPROTO;
	return body > RECORD_BODY_MAX ? -EMSGSIZE : (ssize_t)(RECORD_HEAD + body);
}

static bool open_gcm(const struct gcm_key *k, const uint8_t *nonce, const uint8_t *record, uint8_t *content, size_t len)
{
	struct gcm_ctx c;
	int err = gcm_decrypt(k, &c, content, content, len, nonce, record, RECORD_HEAD, content + len);
	OPENSSL_cleanse(&c, sizeof c);
	return !err;
}

ssize_t tls13_open(struct tls13_keys *k, uint8_t *bytes, size_t len, uint8_t *type)
{
	uint8_t *content = bytes + RECORD_HEAD, nonce[sizeof k->iv];
	if (len < RECORD_HEAD + 1 + RECORD_TAG)	// not even a type
		return -EBADMSG;
	size_t inner = len - RECORD_HEAD - RECORD_TAG;
	int err = take_number(k, nonce);
	if (err)
		return err;
	if (!(k->gcm ? open_gcm(k->gcm, nonce, bytes, content, inner) : open_body(k, nonce, bytes, content, inner)))
		return -EBADMSG;
	if (inner > RECORD_PLAIN_MAX + 1)
		return -EMSGSIZE;
	while (inner && !content[inner - 1])	// padding
		inner--;
	if (!inner)
		return -EPROTO;
	*type = content[inner - 1];
	return (ssize_t)inner - 1;
}

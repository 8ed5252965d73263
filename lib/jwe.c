// SPDX-License-Identifier: Apache-2.0
// See jwe.h. The steps of RFC 7516 sections 5.1 and 5.2 over OpenSSL's primitives.
#include "lib/jwe.h"

#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/rand.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "lib/encode.h"
#include "lib/file.h"
#include "lib/jwa.h"
#include "lib/jwe_rsa.h"

#define KEY_BYTES 32
#define WRAPPED_BYTES (KEY_BYTES + JWA_WRAP_EXTRA)
#define IV_BYTES JWA_IV_BYTES
#define TAG_BYTES JWA_TAG_BYTES
#define MAX_FIELD 66	// of P-521
#define ALG "ECDH-ES+A256KW"
#define ENC "A256GCM"

static const struct curve {
	const char *jose;
	const char *openssl;
	size_t field;	// bytes of a coordinate
} curves[] = {
	{"P-256", "prime256v1", 32},
	{"P-384", "secp384r1", 48},
	{"P-521", "secp521r1", 66},
};

static const struct curve *curve_by_name(const char *name)
{
	for (size_t i = 0; name && i < sizeof curves / sizeof *curves; i++) {
		if (!strcmp(curves[i].jose, name) || !strcmp(curves[i].openssl, name))
			return &curves[i];
	}
	return NULL;
}

static const struct curve *curve_of(EVP_PKEY *key)
{
	char group[64];
	if (!EVP_PKEY_is_a(key, "EC") || !EVP_PKEY_get_group_name(key, group, sizeof group, NULL))
		return NULL;
	return curve_by_name(group);
}

// A curve's parameters, kept from the first time on: making them out of its name takes as long as what is done with a key of it.
static EVP_PKEY *parameters_of(const struct curve *c)
{
	static _Atomic(EVP_PKEY *) all[sizeof curves / sizeof *curves];
	EVP_PKEY *key = all[c - curves], *other = NULL;
	if (key)
		return key;
	OSSL_PARAM params[] = {OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, (char *)c->openssl, 0), OSSL_PARAM_construct_end()};
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
	if (ctx && EVP_PKEY_fromdata_init(ctx) == 1)
		EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_KEY_PARAMETERS, params);
	EVP_PKEY_CTX_free(ctx);
	if (key && !atomic_compare_exchange_strong(&all[c - curves], &other, key)) {	// another thread was faster
		EVP_PKEY_free(key);
		key = other;
	}
	return key;
}

static EVP_PKEY *new_key(const struct curve *c)
{
	EVP_PKEY *parameters = parameters_of(c), *key = NULL;
	EVP_PKEY_CTX *ctx = parameters ? EVP_PKEY_CTX_new_from_pkey(NULL, parameters, NULL) : NULL;
	if (ctx && EVP_PKEY_keygen_init(ctx) == 1)
		EVP_PKEY_generate(ctx, &key);
	EVP_PKEY_CTX_free(ctx);
	return key;
}

// The public key of an uncompressed point; NULL: it is no point of the curve.
static EVP_PKEY *key_of_point(const struct curve *c, const uint8_t *point)
{
	EVP_PKEY *parameters = parameters_of(c), *key = EVP_PKEY_new();
	EVP_PKEY_CTX *check = NULL;
	bool good = parameters && key && EVP_PKEY_copy_parameters(key, parameters) == 1 &&
		    EVP_PKEY_set1_encoded_public_key(key, point, 1 + 2 * c->field) == 1 &&
		    (check = EVP_PKEY_CTX_new_from_pkey(NULL, key, NULL)) && EVP_PKEY_public_check_quick(check) == 1;
	EVP_PKEY_CTX_free(check);
	if (good)
		return key;
	EVP_PKEY_free(key);
	return NULL;
}

EVP_PKEY *jwk_new_key(const char *curve)
{
	const struct curve *c = curve_by_name(curve);
	return c ? new_key(c) : NULL;
}

static json_t *jwk_on(EVP_PKEY *key, const struct curve *c)
{
	uint8_t point[1 + 2 * MAX_FIELD];
	char x[BASE64_SIZE(MAX_FIELD)], y[BASE64_SIZE(MAX_FIELD)];
	size_t len;
	if (!EVP_PKEY_get_octet_string_param(key, OSSL_PKEY_PARAM_PUB_KEY, point, sizeof point, &len) ||
	    len != 1 + 2 * c->field || point[0] != POINT_CONVERSION_UNCOMPRESSED)
		return NULL;
	base64_encode(x, point + 1, c->field, BASE64_URL);
	base64_encode(y, point + 1 + c->field, c->field, BASE64_URL);
	return json_pack("{s:s, s:s, s:s, s:s, s:s}", "alg", ALG, "crv", c->jose, "kty", "EC", "x", x, "y", y);
}

json_t *jwk_from_key(EVP_PKEY *key)
{
	const struct curve *c = curve_of(key);
	return c ? jwk_on(key, c) : jwe_rsa_jwk(key);
}

// A coordinate; some clients drop leading zeros or pad, so that shorter ones are accepted.
static int coordinate(const json_t *jwk, const char *name, uint8_t *out, size_t field)
{
	const char *s = json_string_value(json_object_get(jwk, name));
	uint8_t raw[MAX_FIELD];
	if (!s)
		return -EINVAL;
	ssize_t n = base64_decode(raw, sizeof raw, s, strlen(s), BASE64_URL);
	if (n < 1 || (size_t)n > field)
		return -EINVAL;
	memset(out, 0, field - (size_t)n);
	memcpy(out + field - (size_t)n, raw, (size_t)n);
	return 0;
}

int jwk_to_key(const json_t *jwk, EVP_PKEY **out, struct fault *f)
{
	const char *kty = json_string_value(json_object_get(jwk, "kty"));
	const char *crv = json_string_value(json_object_get(jwk, "crv"));
	const char *alg = json_string_value(json_object_get(jwk, "alg"));
	uint8_t point[1 + 2 * MAX_FIELD];

	if (kty && !strcmp(kty, "RSA"))
		return jwe_rsa_key(jwk, out, f);
	if (!kty || strcmp(kty, "EC"))
		return fault_set(f, -EINVAL, "tee-pubkey: kty must be \"EC\" or \"RSA\"");
	const struct curve *c = curve_by_name(crv);
	if (!c || strcmp(c->jose, crv))
		return fault_set(f, -EINVAL, "tee-pubkey: crv must be P-256, P-384 or P-521");
	if (alg && strcmp(alg, ALG))
		return fault_set(f, -EINVAL, "tee-pubkey: alg must be " ALG);
	point[0] = POINT_CONVERSION_UNCOMPRESSED;
	if (coordinate(jwk, "x", point + 1, c->field) || coordinate(jwk, "y", point + 1 + c->field, c->field))
		return fault_set(f, -EINVAL, "tee-pubkey: x and y must be base64url coordinates of %s", crv);

	EVP_PKEY *key = key_of_point(c, point);
	if (!key)
		return fault_set(f, -EINVAL, "tee-pubkey: not a point of %s", crv);
	*out = key;
	return 0;
}

// The key that wraps the content's, with empty apu and apv.
static int agree(EVP_PKEY *mine, EVP_PKEY *theirs, uint8_t kek[KEY_BYTES])
{
	return jwa_agree(mine, theirs, &(struct jwa_info){.alg = ALG}, kek, KEY_BYTES);
}

// The protected header's base64url text, for the ephemeral key on that curve (RSA: NULL); malloc.
static char *protected_header(EVP_PKEY *ephemeral, const struct curve *c)
{
	json_t *epk = ephemeral ? jwk_on(ephemeral, c) : NULL;
	if (ephemeral && !epk)
		return NULL;
	json_object_del(epk, "alg");
	json_t *header = json_pack("{s:s, s:s, s:o*}", "alg", ephemeral ? ALG : JWE_RSA_ALG, "enc", ENC, "epk", epk);
	char *text = header ? json_dumps(header, JSON_COMPACT | JSON_SORT_KEYS) : NULL, *out = NULL;
	json_decref(header);
	if (text && (out = malloc(BASE64_SIZE(strlen(text)))))
		base64_encode(out, text, strlen(text), BASE64_URL);
	free(text);
	return out;
}

// The content's key for whoever has `to`; the header that says how. -EIO, -ENOMEM.
static int wrap_for(EVP_PKEY *to, const struct curve *c, const uint8_t cek[KEY_BYTES], uint8_t wrapped[JWE_RSA_MAX], size_t *len, char **header)
{
	uint8_t kek[KEY_BYTES];
	EVP_PKEY *ephemeral = c ? new_key(c) : NULL;
	int err = -EIO;
	if (!c) {
		err = jwe_rsa_wrap(to, cek, KEY_BYTES, wrapped, len);
	} else if (ephemeral && !agree(ephemeral, to, kek) && !jwa_wrap(kek, sizeof kek, cek, KEY_BYTES, wrapped)) {
		*len = WRAPPED_BYTES;
		err = 0;
	}
	*header = err ? NULL : protected_header(ephemeral, c);
	explicit_bzero(kek, sizeof kek);
	EVP_PKEY_free(ephemeral);
	return err ? err : *header ? 0 : -ENOMEM;
}

int jwe_encrypt(EVP_PKEY *to, const void *plain, size_t len, json_t **out, struct fault *f)
{
	uint8_t cek[KEY_BYTES], wrapped[JWE_RSA_MAX], iv[IV_BYTES], tag[TAG_BYTES];
	char wrapped64[BASE64_SIZE(JWE_RSA_MAX)], iv64[BASE64_SIZE(IV_BYTES)], tag64[BASE64_SIZE(TAG_BYTES)];
	size_t wrapped_len = 0;
	char *header = NULL, *text64 = NULL;
	uint8_t *sealed = NULL;
	int err = -ENOMEM;

	const struct curve *c = curve_of(to);
	if ((!c && !EVP_PKEY_is_a(to, "RSA")) || len > JWE_MAX_PLAINTEXT)
		return fault_set(f, -EINVAL, "the secret cannot be encrypted: unknown kind of key or too long");
	sealed = malloc(len + 1);
	text64 = malloc(BASE64_SIZE(len));
	if (!sealed || !text64)
		goto out;
	err = RAND_priv_bytes(cek, sizeof cek) == 1 && RAND_bytes(iv, sizeof iv) == 1 ? wrap_for(to, c, cek, wrapped, &wrapped_len, &header) : -EIO;
	if (!err && jwa_gcm(true, cek, sizeof cek, iv, header, strlen(header), plain, len, sealed, tag))
		err = -EIO;
	if (err)
		goto out;
	base64_encode(wrapped64, wrapped, wrapped_len, BASE64_URL);
	base64_encode(iv64, iv, sizeof iv, BASE64_URL);
	base64_encode(tag64, tag, sizeof tag, BASE64_URL);
	base64_encode(text64, sealed, len, BASE64_URL);
	*out = json_pack("{s:s, s:s, s:s, s:s, s:s}", "protected", header, "encrypted_key", wrapped64, "iv", iv64,
			 "ciphertext", text64, "tag", tag64);
	err = *out ? 0 : -ENOMEM;
out:
	if (err)
		fault_set(f, err, "the secret cannot be encrypted: %s", strerror(-err));
	explicit_bzero(cek, sizeof cek);
	free(header);
	free(text64);
	free(sealed);
	return err;
}

static ssize_t field(const json_t *jwe, const char *name, void *out, size_t size)
{
	const char *s = json_string_value(json_object_get(jwe, name));
	return s ? base64_decode(out, size, s, strlen(s), BASE64_URL) : -EINVAL;
}

// Checks the protected header and gets the sender's ephemeral key from it, or from the unprotected one, where some
// implementations put it: a changed key gives another agreement, which does not open.
static int read_header(const char *header64, const json_t *unprotected, EVP_PKEY **epk, struct fault *f)
{
	char text[2048];
	ssize_t n = base64_decode(text, sizeof text, header64, strlen(header64), BASE64_URL);
	json_t *h = n > 0 ? json_loadb(text, (size_t)n, JSON_REJECT_DUPLICATES, NULL) : NULL;
	const char *alg = json_string_value(json_object_get(h, "alg"));
	const char *enc = json_string_value(json_object_get(h, "enc"));
	int err;
	if (!alg || !enc || strcmp(alg, ALG) || strcmp(enc, ENC) || json_object_get(h, "crit") ||
	    json_object_get(h, "zip"))
		err = fault_set(f, -EINVAL, "the encrypted answer's header does not say " ALG " with " ENC);
	else
		err = jwk_to_key(json_object_get(json_object_get(h, "epk") ? h : unprotected, "epk"), epk, f);
	json_decref(h);
	return err;
}

int jwe_decrypt(EVP_PKEY *key, const json_t *jwe, void *plain, size_t size, size_t *len, struct fault *f)
{
	uint8_t kek[KEY_BYTES], cek[KEY_BYTES], wrapped[WRAPPED_BYTES], iv[IV_BYTES], tag[TAG_BYTES];
	const char *header = json_string_value(json_object_get(jwe, "protected"));
	const char *text = json_string_value(json_object_get(jwe, "ciphertext"));
	EVP_PKEY *epk = NULL;
	uint8_t *sealed = NULL;
	if (!header || !text || field(jwe, "encrypted_key", wrapped, sizeof wrapped) != sizeof wrapped ||
	    field(jwe, "iv", iv, sizeof iv) != sizeof iv || field(jwe, "tag", tag, sizeof tag) != sizeof tag)
		return fault_set(f, -EINVAL, "the encrypted answer is malformed");
	int err = read_header(header, json_object_get(jwe, "header"), &epk, f);
	if (err)
		return err;
	sealed = malloc(size + 1);
	if (!sealed) {
		err = fault_set(f, -ENOMEM, "out of memory");
		goto out;
	}
	ssize_t n = base64_decode(sealed, size, text, strlen(text), BASE64_URL);
	if (n < 0) {
		err = fault_set(f, (int)n, "the encrypted answer has an unexpected length");
		goto out;
	}
	err = agree(key, epk, kek);
	if (!err)
		err = jwa_unwrap(kek, sizeof kek, wrapped, sizeof wrapped, cek);
	if (!err)
		err = jwa_gcm(false, cek, sizeof cek, iv, header, strlen(header), sealed, (size_t)n, plain, tag);
	if (err) {
		explicit_bzero(plain, (size_t)n);
		err = fault_set(f, -EBADMSG,
				"the encrypted answer is not meant for this key or was changed on the way");
		goto out;
	}
	*len = (size_t)n;
out:
	explicit_bzero(kek, sizeof kek);
	explicit_bzero(cek, sizeof cek);
	EVP_PKEY_free(epk);
	free(sealed);
	return err;
}

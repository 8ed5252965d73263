// SPDX-License-Identifier: Apache-2.0
// See keyop.h. One message for everything that does not decrypt: which step it was is nobody's business.
#include "broker/keyop.h"

#include <errno.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>

#include "lib/encode.h"
#include "lib/file.h"
#include "lib/jwa.h"
#include "lib/jwe.h"

#define MAX_HEADER 4096
#define MAX_WRAPPED 1024	// a key of 1016 bytes: more than any symmetric one

static const char *const op_names[] = {"sign", "decrypt", "unwrap", "wrap"};

enum keyop keyop_named(const char *name)
{
	for (int i = 0; i < KEYOP_NONE; i++) {
		if (!strcmp(op_names[i], name))
			return (enum keyop)i;
	}
	return KEYOP_NONE;
}

bool keyop_possible(enum keyop op, const char *kind, enum keypair_use use)
{
	if (!strcmp(kind, "aes-256"))
		return op == KEYOP_DECRYPT || op == KEYOP_UNWRAP || op == KEYOP_WRAP;
	return keypair_uses(kind) & use && (use == KEYPAIR_SIGN ? op == KEYOP_SIGN : op == KEYOP_DECRYPT || op == KEYOP_UNWRAP);
}

static int not_ours(struct fault *f)
{
	return fault_set(f, -EBADMSG, "it is not encrypted to this key, or was changed");
}

static const char *text(const json_t *o, const char *name)
{
	const char *s = json_string_value(json_object_get(o, name));
	return s && strlen(s) == json_string_length(json_object_get(o, name)) ? s : NULL;
}

// A member's bytes: their number, or -EINVAL with a message, also when there is none.
static ssize_t bytes(const json_t *o, const char *name, void *out, size_t size, struct fault *f)
{
	const char *s = text(o, name);
	ssize_t n = s ? base64_decode(out, size, s, strlen(s), BASE64_URL) : -EINVAL;
	if (n == -ENOSPC)
		return fault_set(f, -EINVAL, "\"%s\" is too long: at most %zu bytes", name, size);
	return n < 0 ? fault_set(f, -EINVAL, s ? "\"%s\" is not base64url" : "the request lacks \"%s\"", name) : n;
}

static int only(const json_t *o, const char *const *known, struct fault *f)
{
	const char *name;
	json_t *v;
	json_object_foreach((json_t *)o, name, v) {
		const char *const *k = known;
		while (*k && strcmp(*k, name))
			k++;
		if (!*k)
			return fault_set(f, -EINVAL, "\"%.64s\" is not known here", name);
	}
	return 0;
}

static int sign(const struct keyop_key *key, const json_t *q, json_t **out, struct fault *f)
{
	static const char *const known[] = {"alg", "message", "digest", "form", NULL};
	const char *alg = text(q, "alg"), *form = text(q, "form");
	bool digested = json_object_get(q, "digest") != NULL;
	uint8_t *message = NULL, sig[KEYPAIR_MAX_SIGNATURE];
	char sig64[BASE64_SIZE(sizeof sig)];
	size_t len;
	int err = only(q, known, f);
	if (err)
		return err;
	if (digested == (json_object_get(q, "message") != NULL))
		return fault_set(f, -EINVAL, "either \"message\" or its \"digest\" is to be signed");
	if ((json_object_get(q, "alg") && !alg) || (json_object_get(q, "form") && (!form || (strcmp(form, "jose") && strcmp(form, "der")))))
		return fault_set(f, -EINVAL, "\"alg\" is a text, \"form\" is \"jose\" or \"der\"");
	message = malloc(KEYOP_MAX_BYTES);
	if (!message)
		return fault_set(f, -ENOMEM, "out of memory");
	ssize_t n = bytes(q, digested ? "digest" : "message", message, KEYOP_MAX_BYTES, f);
	struct keypair_message m = {.bytes = message, .len = n > 0 ? (size_t)n : 0, .digested = digested, .der = form && *form == 'd'};
	err = n < 0 ? (int)n : keypair_sign(key->pair, &alg, &m, sig, &len, f);
	if (!err) {
		base64_encode(sig64, sig, len, BASE64_URL);
		*out = json_pack("{s:s, s:s}", "alg", alg, "signature", sig64);
		err = *out ? 0 : fault_set(f, -ENOMEM, "out of memory");
	}
	free_wiped(message, KEYOP_MAX_BYTES);
	return err;
}

// "A256KW", "ECDH-ES+A128KW": bytes of the key that wraps; 0: it is no such algorithm.
static size_t wrap_bytes(const char *alg)
{
	return !strcmp(alg, "A128KW") ? 16 : !strcmp(alg, "A192KW") ? 24 : !strcmp(alg, "A256KW") ? 32 : 0;
}

// What a sender says of the agreement; `header` has epk and may have apu, apv.
static int agree(const struct keyop_key *key, const json_t *header, const char *alg, uint8_t *kek, size_t len, struct fault *f)
{
	uint8_t apu[JWA_MAX_INFO], apv[JWA_MAX_INFO];
	EVP_PKEY *epk = NULL;
	ssize_t u = 0, v = 0;
	if (json_object_get(header, "apu"))
		u = bytes(header, "apu", apu, sizeof apu, f);
	if (u >= 0 && json_object_get(header, "apv"))
		v = bytes(header, "apv", apv, sizeof apv, f);
	if (u < 0 || v < 0)
		return -EINVAL;
	json_t *jwk = json_deep_copy(json_object_get(header, "epk"));
	json_object_del(jwk, "alg");
	int err = jwk_to_key(jwk, &epk, NULL);
	json_decref(jwk);
	if (err)
		return fault_set(f, -EINVAL, "\"epk\" is no public key on P-256 or P-384");
	struct jwa_info info = {.alg = alg, .apu = apu, .apv = apv, .apu_len = (size_t)u, .apv_len = (size_t)v};
	err = jwa_agree(key->pair, epk, &info, kek, len);
	EVP_PKEY_free(epk);
	return err ? not_ours(f) : 0;
}

static int gcm_unwrap(const struct keyop_key *key, const json_t *header, const uint8_t *wrapped, size_t len, uint8_t *out, struct fault *f)
{
	uint8_t iv[JWA_IV_BYTES], tag[JWA_TAG_BYTES];
	if (bytes(header, "iv", iv, sizeof iv, f) != sizeof iv || bytes(header, "tag", tag, sizeof tag, f) != sizeof tag)
		return fault_set(f, -EINVAL, "A256GCMKW needs an \"iv\" of 12 bytes and a \"tag\" of 16");
	return jwa_gcm(false, key->aes, sizeof key->aes, iv, NULL, 0, wrapped, len, out, tag) ? not_ours(f) : 0;
}

// A wrapped key as `header` says (alg, and what that needs). *len: the size of `out` before.
static int unwrap_key(const struct keyop_key *key, const json_t *header, const uint8_t *wrapped, size_t wrapped_len, uint8_t *out, size_t *len,
		      struct fault *f)
{
	const char *alg = text(header, "alg");
	uint8_t kek[JWA_MAX_KEY];
	size_t kw;
	int err;
	if (!alg)
		return fault_set(f, -EINVAL, "no \"alg\" says how the key is wrapped");
	if (key->pair && EVP_PKEY_is_a(key->pair, "RSA") && !strcmp(alg, "RSA-OAEP-256"))
		return keypair_oaep(key->pair, wrapped, wrapped_len, out, len) ? not_ours(f) : 0;
	if (wrapped_len > *len)
		return not_ours(f);
	if (key->pair && EVP_PKEY_is_a(key->pair, "EC") && !strncmp(alg, "ECDH-ES+", 8) && (kw = wrap_bytes(alg + 8))) {
		err = agree(key, header, alg, kek, kw, f);
		if (!err && (err = jwa_unwrap(kek, kw, wrapped, wrapped_len, out)))
			err = not_ours(f);
		explicit_bzero(kek, sizeof kek);
	} else if (!key->pair && !strcmp(alg, "A256KW")) {
		err = jwa_unwrap(key->aes, sizeof key->aes, wrapped, wrapped_len, out) ? not_ours(f) : 0;
	} else if (!key->pair && !strcmp(alg, "A256GCMKW")) {
		err = gcm_unwrap(key, header, wrapped, wrapped_len, out, f);
		*len = wrapped_len;
		return err;
	} else {
		return fault_set(f, -EINVAL, "a key of this kind does not open what is wrapped with '%.32s'", alg);
	}
	*len = err ? 0 : wrapped_len - JWA_WRAP_EXTRA;
	return err;
}

// A JWE's parts, in either form; strings belong to `own` or to the request.
struct jwe {
	json_t *own;		// the flattened form
	json_t *header;		// protected and unprotected together
	const char *header64, *aad;
};

// The compact form as the flattened one.
static json_t *flatten(const char *compact)
{
	static const char *const names[] = {"protected", "encrypted_key", "iv", "ciphertext", "tag"};
	json_t *o = json_object();
	for (int i = 0; o && i < 5; i++) {
		size_t n = strcspn(compact, ".");
		if ((compact[n] == '.') != (i < 4) || json_object_set_new(o, names[i], json_stringn(compact, n))) {
			json_decref(o);
			return NULL;
		}
		compact += n + 1;
	}
	return o;
}

static void jwe_free(struct jwe *j)
{
	json_decref(j->own);
	json_decref(j->header);
}

static int jwe_read(struct jwe *j, const json_t *q, struct fault *f)
{
	const json_t *v = json_object_get(q, "jwe");
	char header[MAX_HEADER];
	json_t *more;
	*j = (struct jwe){0};
	if (json_is_string(v) && text(q, "jwe"))
		j->own = flatten(text(q, "jwe"));
	else if (json_is_object(v))
		j->own = json_incref((json_t *)v);
	j->header64 = text(j->own, "protected");
	j->aad = text(j->own, "aad");
	if (!j->header64 || (json_object_get(j->own, "aad") && !j->aad))
		return fault_set(f, -EINVAL, "\"jwe\" is neither a JWE's compact form nor its flattened one with a protected header");
	ssize_t n = base64_decode(header, sizeof header, j->header64, strlen(j->header64), BASE64_URL);
	j->header = n > 0 ? json_loadb(header, (size_t)n, JSON_REJECT_DUPLICATES, NULL) : NULL;
	if (!json_is_object(j->header))
		return fault_set(f, -EINVAL, "the JWE's protected header is not base64url of a JSON object");
	static const char *const unprotected[] = {"header", "unprotected"};
	for (int i = 0; i < 2; i++) {
		const char *name;
		json_t *value;
		more = json_object_get(j->own, unprotected[i]);
		json_object_foreach(more, name, value) {
			if (json_object_get(j->header, name) || json_object_set(j->header, name, value))
				return fault_set(f, -EINVAL, "the JWE's headers say the same thing twice");
		}
	}
	if (json_object_get(j->header, "crit") || json_object_get(j->header, "zip"))
		return fault_set(f, -EINVAL, "JWE with \"crit\" or \"zip\" are not opened");
	return 0;
}

// The key of the content, exactly `len` bytes.
static int content_key(const struct keyop_key *key, const struct jwe *j, const char *enc, uint8_t *cek, size_t len, struct fault *f)
{
	const char *alg = text(j->header, "alg");
	uint8_t wrapped[KEYPAIR_MAX_SIGNATURE], out[KEYPAIR_MAX_SIGNATURE];
	size_t got = sizeof out;
	if (key->pair && EVP_PKEY_is_a(key->pair, "EC") && alg && !strcmp(alg, "ECDH-ES"))
		return agree(key, j->header, enc, cek, len, f);
	ssize_t n = bytes(j->own, "encrypted_key", wrapped, sizeof wrapped, f);
	int err = n < 0 ? (int)n : unwrap_key(key, j->header, wrapped, (size_t)n, out, &got, f);
	if (!err && got != len)
		err = not_ours(f);
	if (!err)
		memcpy(cek, out, len);
	explicit_bzero(out, sizeof out);
	return err;
}

static int open_content(const struct jwe *j, const uint8_t *cek, size_t len, struct keyop_answer *a, struct fault *f)
{
	uint8_t iv[JWA_IV_BYTES], tag[JWA_TAG_BYTES], *sealed = malloc(KEYOP_MAX_BYTES);
	size_t aad_len = strlen(j->header64) + (j->aad ? 1 + strlen(j->aad) : 0);
	char *aad = malloc(aad_len + 1);
	ssize_t n = -ENOMEM;
	int err = -EINVAL;
	a->plain = malloc(KEYOP_MAX_BYTES);
	if (!sealed || !aad || !a->plain) {
		err = fault_set(f, -ENOMEM, "out of memory");
		goto out;
	}
	strcpy(aad, j->header64);
	if (j->aad) {
		strcat(aad, ".");
		strcat(aad, j->aad);
	}
	n = bytes(j->own, "ciphertext", sealed, KEYOP_MAX_BYTES, f);
	if (n < 0)
		goto out;
	if (bytes(j->own, "iv", iv, sizeof iv, f) != sizeof iv || bytes(j->own, "tag", tag, sizeof tag, f) != sizeof tag) {
		fault_set(f, -EINVAL, "the JWE's iv has 12 bytes and its tag 16");
		goto out;
	}
	err = jwa_gcm(false, cek, len, iv, aad, aad_len, sealed, (size_t)n, a->plain, tag) ? not_ours(f) : 0;
	a->len = (size_t)n;
out:
	free(aad);
	free(sealed);
	return err;
}

static int decrypt_jwe(const struct keyop_key *key, const json_t *q, struct keyop_answer *a, struct fault *f)
{
	struct jwe j;
	uint8_t cek[JWA_MAX_KEY];
	int err = jwe_read(&j, q, f);
	const char *enc = text(j.header, "enc");
	size_t len = !enc ? 0 : !strcmp(enc, "A256GCM") ? 32 : !strcmp(enc, "A192GCM") ? 24 : !strcmp(enc, "A128GCM") ? 16 : 0;
	if (!err && !len)
		err = fault_set(f, -EINVAL, "content encrypted with '%.32s' is not opened here: A128GCM, A192GCM and A256GCM are", enc ? enc : "");
	if (!err)
		err = content_key(key, &j, enc, cek, len, f);
	if (!err)
		err = open_content(&j, cek, len, a, f);
	explicit_bzero(cek, sizeof cek);
	jwe_free(&j);
	return err;
}

bool keyop_kid(const json_t *q, char kid[KEYPAIR_KID])
{
	struct jwe j;
	if (!json_object_get(q, "jwe"))
		return false;
	const char *s = jwe_read(&j, q, NULL) ? NULL : text(j.header, "kid");
	bool there = s && strlen(s) < KEYPAIR_KID;
	if (there)
		strcpy(kid, s);
	jwe_free(&j);
	return there;
}

// What is no JWE: bytes under "ciphertext" or "wrapped".
static int decrypt_bytes(const struct keyop_key *key, const json_t *q, const char *name, struct keyop_answer *a, struct fault *f)
{
	uint8_t wrapped[MAX_WRAPPED];
	ssize_t n = bytes(q, name, wrapped, sizeof wrapped, f);
	a->plain = malloc(KEYOP_MAX_BYTES);
	a->len = MAX_WRAPPED;
	if (!a->plain)
		return fault_set(f, -ENOMEM, "out of memory");
	return n < 0 ? (int)n : unwrap_key(key, q, wrapped, (size_t)n, a->plain, &a->len, f);
}

static int decrypt(const struct keyop_key *key, const json_t *q, struct keyop_answer *a, struct fault *f)
{
	static const char *const of_jwe[] = {"jwe", NULL}, *const of_bytes[] = {"alg", "ciphertext", NULL};
	bool jwe = json_object_get(q, "jwe") != NULL;
	const char *alg = text(q, "alg");
	int err = only(q, jwe ? of_jwe : of_bytes, f);
	if (err)
		return err;
	if (jwe)
		return decrypt_jwe(key, q, a, f);
	if (!alg || strcmp(alg, "RSA-OAEP-256"))
		return fault_set(f, -EINVAL, "what is decrypted is a \"jwe\", or a \"ciphertext\" with \"alg\": \"RSA-OAEP-256\"");
	return decrypt_bytes(key, q, "ciphertext", a, f);
}

static int unwrap(const struct keyop_key *key, const json_t *q, struct keyop_answer *a, struct fault *f)
{
	static const char *const known[] = {"alg", "wrapped", "iv", "tag", "epk", "apu", "apv", NULL};
	int err = only(q, known, f);
	return err ? err : decrypt_bytes(key, q, "wrapped", a, f);
}

static int wrap(const struct keyop_key *key, const json_t *q, json_t **out, struct fault *f)
{
	static const char *const known[] = {"alg", "key", NULL};
	uint8_t plain[MAX_WRAPPED], wrapped[MAX_WRAPPED + JWA_WRAP_EXTRA], iv[JWA_IV_BYTES], tag[JWA_TAG_BYTES];
	char wrapped64[BASE64_SIZE(sizeof wrapped)], iv64[BASE64_SIZE(sizeof iv)], tag64[BASE64_SIZE(sizeof tag)];
	const char *alg = text(q, "alg");
	bool gcm = alg && !strcmp(alg, "A256GCMKW");
	int err = only(q, known, f);
	if (err)
		return err;
	if (!gcm && (!alg || strcmp(alg, "A256KW")))
		return fault_set(f, -EINVAL, "\"alg\" is A256KW or A256GCMKW");
	ssize_t n = bytes(q, "key", plain, MAX_WRAPPED - JWA_WRAP_EXTRA, f);
	if (n < 0) {
		err = (int)n;
	} else if (gcm) {
		err = RAND_bytes(iv, sizeof iv) != 1 ? -EIO : jwa_gcm(true, key->aes, sizeof key->aes, iv, NULL, 0, plain, (size_t)n, wrapped, tag);
		base64_encode(wrapped64, wrapped, (size_t)n, BASE64_URL);
		base64_encode(iv64, iv, sizeof iv, BASE64_URL);
		base64_encode(tag64, tag, sizeof tag, BASE64_URL);
		*out = err ? NULL : json_pack("{s:s, s:s, s:s, s:s}", "alg", alg, "wrapped", wrapped64, "iv", iv64, "tag", tag64);
	} else {
		err = jwa_wrap(key->aes, sizeof key->aes, plain, (size_t)n, wrapped);
		if (err == -EINVAL)
			fault_set(f, err, "A256KW wraps keys of a multiple of 8 bytes, 16 at least; A256GCMKW any");
		else if (!err)
			base64_encode(wrapped64, wrapped, (size_t)n + JWA_WRAP_EXTRA, BASE64_URL);
		*out = err ? NULL : json_pack("{s:s, s:s}", "alg", alg, "wrapped", wrapped64);
	}
	explicit_bzero(plain, sizeof plain);
	if (err == -EINVAL)
		return err;
	return err || !*out ? fault_set(f, err ? err : -ENOMEM, "the key cannot be wrapped") : 0;
}

int keyop_run(enum keyop op, const struct keyop_key *key, const json_t *request, struct keyop_answer *a, struct fault *f)
{
	int err;
	*a = (struct keyop_answer){0};
	if (!json_is_object(request))
		err = fault_set(f, -EINVAL, "the request is not a JSON object");
	else if (op == KEYOP_SIGN && key->pair)
		err = sign(key, request, &a->out, f);
	else if (op == KEYOP_DECRYPT)
		err = decrypt(key, request, a, f);
	else if (op == KEYOP_UNWRAP)
		err = unwrap(key, request, a, f);
	else if (op == KEYOP_WRAP && !key->pair)
		err = wrap(key, request, &a->out, f);
	else
		err = fault_set(f, -EINVAL, "a key of this kind does not do that");
	if (err) {
		free_wiped(a->plain, a->plain ? KEYOP_MAX_BYTES : 0);
		a->plain = NULL;
		a->len = 0;
	}
	return err;
}

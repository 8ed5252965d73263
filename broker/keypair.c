// SPDX-License-Identifier: Apache-2.0
// See keypair.h.
#include "broker/keypair.h"

#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <stdlib.h>
#include <string.h>

#include "lib/encode.h"
#include "lib/jwe.h"

#define MAX_FIELD 48

static const struct kind {
	const char *name, *type, *group;	// OpenSSL's
	unsigned int bits, uses;
} kinds[] = {
	{"ec-p256", "EC", "prime256v1", 256, KEYPAIR_SIGN | KEYPAIR_DECRYPT},
	{"ec-p384", "EC", "secp384r1", 384, KEYPAIR_SIGN | KEYPAIR_DECRYPT},
	{"ed25519", "ED25519", NULL, 0, KEYPAIR_SIGN},
	{"rsa-3072", "RSA", NULL, 3072, KEYPAIR_SIGN | KEYPAIR_DECRYPT},
	{"rsa-4096", "RSA", NULL, 4096, KEYPAIR_SIGN | KEYPAIR_DECRYPT},
};

static const struct algorithm {
	const char *name, *kind;	// kinds whose names begin so
	size_t digest, field;		// bytes; of ECDSA's numbers
	int padding;
} algorithms[] = {
	{"ES256", "ec-p256", 32, 32, 0},
	{"ES384", "ec-p384", 48, 48, 0},
	{"EdDSA", "ed25519", 0, 0, 0},
	{"PS256", "rsa-", 32, 0, RSA_PKCS1_PSS_PADDING},
	{"RS256", "rsa-", 32, 0, RSA_PKCS1_PADDING},
};

static const struct kind *kind_named(const char *name)
{
	for (size_t i = 0; name && i < sizeof kinds / sizeof *kinds; i++) {
		if (!strcmp(kinds[i].name, name))
			return &kinds[i];
	}
	return NULL;
}

static const struct kind *kind_of(EVP_PKEY *key)
{
	char group[64];
	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
		const struct kind *k = &kinds[i];
		if (EVP_PKEY_is_a(key, k->type) &&
		    (k->group ? EVP_PKEY_get_group_name(key, group, sizeof group, NULL) == 1 && !strcmp(group, k->group)
			      : !k->bits || EVP_PKEY_get_bits(key) == (int)k->bits))
			return k;
	}
	return NULL;
}

unsigned int keypair_uses(const char *kind)
{
	const struct kind *k = kind_named(kind);
	return k ? k->uses : 0;
}

const char *keypair_kinds(void)
{
	return "ec-p256, ec-p384, ed25519, rsa-3072, rsa-4096";
}

EVP_PKEY *keypair_generate(const char *kind)
{
	const struct kind *k = kind_named(kind);
	if (!k)
		return NULL;
	if (k->group)
		return EVP_EC_gen(k->group);
	return k->bits ? EVP_RSA_gen(k->bits) : EVP_PKEY_Q_keygen(NULL, NULL, k->type);
}

// An encrypted file would have OpenSSL ask on the terminal.
static int no_password(char *buf, int size, int writing, void *ctx)
{
	(void)buf, (void)size, (void)writing, (void)ctx;
	return -1;
}

int keypair_import(const void *pem, size_t len, EVP_PKEY **out, const char **kind, struct fault *f)
{
	BIO *b = len <= 64u << 10 ? BIO_new_mem_buf(pem, (int)len) : NULL;
	EVP_PKEY *key = b ? PEM_read_bio_PrivateKey(b, NULL, no_password, NULL) : NULL;
	const struct kind *k = key ? kind_of(key) : NULL;
	EVP_PKEY_CTX *check = k ? EVP_PKEY_CTX_new_from_pkey(NULL, key, NULL) : NULL;
	int err = 0;
	BIO_free(b);
	if (!key)
		err = fault_set(f, -EINVAL, "this is no private key in PEM without a password (openssl pkey writes one)");
	else if (!k)
		err = fault_set(f, -EINVAL, "keys of this kind are not kept; kinds: %s", keypair_kinds());
	else if (!check || EVP_PKEY_pairwise_check(check) != 1)
		err = fault_set(f, -EINVAL, "the key's halves do not belong together");
	EVP_PKEY_CTX_free(check);
	if (err) {
		EVP_PKEY_free(key);
		return err;
	}
	*out = key;
	*kind = k->name;
	return 0;
}

int keypair_store(EVP_PKEY *key, uint8_t der[KEYPAIR_MAX_DER])
{
	uint8_t *at = der;
	int len = i2d_PrivateKey(key, NULL);
	if (len <= 0 || len > KEYPAIR_MAX_DER)
		return -EIO;
	return i2d_PrivateKey(key, &at) == len ? len : -EIO;
}

EVP_PKEY *keypair_load(const uint8_t *der, size_t len)
{
	const uint8_t *at = der;
	return d2i_AutoPrivateKey(NULL, &at, (long)len);
}

// A number of an RSA key, as JOSE writes numbers.
static int add_number(json_t *o, const char *name, EVP_PKEY *key, const char *param)
{
	uint8_t bytes[KEYPAIR_MAX_SIGNATURE];
	char text[BASE64_SIZE(sizeof bytes)];
	BIGNUM *n = NULL;
	int err = -EINVAL;
	if (EVP_PKEY_get_bn_param(key, param, &n) == 1 && BN_num_bytes(n) <= (int)sizeof bytes) {
		base64_encode(text, bytes, (size_t)BN_bn2bin(n, bytes), BASE64_URL);
		err = json_object_set_new(o, name, json_string(text)) ? -ENOMEM : 0;
	}
	BN_free(n);
	return err;
}

json_t *keypair_jwk(EVP_PKEY *key, enum keypair_use use)
{
	char kid[KEYPAIR_KID], x[BASE64_SIZE(32)];
	uint8_t raw[32];
	size_t len = sizeof raw;
	json_t *o = NULL;
	int err = 0;
	if (EVP_PKEY_is_a(key, "EC")) {
		o = jwk_from_key(key);
		err = json_object_del(o, "alg");
	} else if (EVP_PKEY_is_a(key, "ED25519")) {
		if (EVP_PKEY_get_raw_public_key(key, raw, &len) != 1)
			return NULL;
		base64_encode(x, raw, len, BASE64_URL);
		o = json_pack("{s:s, s:s, s:s}", "kty", "OKP", "crv", "Ed25519", "x", x);
	} else {
		o = json_pack("{s:s}", "kty", "RSA");
		err = add_number(o, "n", key, OSSL_PKEY_PARAM_RSA_N);
		if (!err)
			err = add_number(o, "e", key, OSSL_PKEY_PARAM_RSA_E);
	}
	if (err || !o || !jwk_thumbprint(o, kid) || json_object_set_new(o, "kid", json_string(kid)) ||
	    json_object_set_new(o, "use", json_string(use == KEYPAIR_SIGN ? "sig" : "enc"))) {
		json_decref(o);
		return NULL;
	}
	return o;
}

char *keypair_pem(EVP_PKEY *key)
{
	BIO *b = BIO_new(BIO_s_mem());
	char *text = NULL, *bytes;
	if (b && PEM_write_bio_PUBKEY(b, key) == 1) {
		long n = BIO_get_mem_data(b, &bytes);
		text = n > 0 ? strndup(bytes, (size_t)n) : NULL;
	}
	BIO_free(b);
	return text;
}

static const struct algorithm *choose(const char *kind, const char *alg)
{
	for (size_t i = 0; i < sizeof algorithms / sizeof *algorithms; i++) {
		const struct algorithm *a = &algorithms[i];
		if (!strncmp(kind, a->kind, strlen(a->kind)) && (!alg || !strcmp(alg, a->name)))
			return a;
	}
	return NULL;
}

// DER's two numbers as two of a fixed length.
static int jose_form(uint8_t *sig, size_t *len, size_t field)
{
	const uint8_t *at = sig;
	ECDSA_SIG *s = d2i_ECDSA_SIG(NULL, &at, (long)*len);
	uint8_t raw[2 * MAX_FIELD];
	int ok = s && BN_bn2binpad(ECDSA_SIG_get0_r(s), raw, (int)field) == (int)field &&
		 BN_bn2binpad(ECDSA_SIG_get0_s(s), raw + field, (int)field) == (int)field;
	ECDSA_SIG_free(s);
	if (!ok)
		return -EIO;
	memcpy(sig, raw, 2 * field);
	*len = 2 * field;
	return 0;
}

static int sign_message(EVP_PKEY *key, const struct keypair_message *m, uint8_t *out, size_t *len)
{
	EVP_MD_CTX *c = EVP_MD_CTX_new();
	int ok = c && EVP_DigestSignInit(c, NULL, NULL, NULL, key) == 1 && EVP_DigestSign(c, out, len, m->bytes, m->len) == 1;
	EVP_MD_CTX_free(c);
	return ok ? 0 : -EIO;
}

static int sign_digest(EVP_PKEY *key, const struct algorithm *a, const uint8_t *digest, uint8_t *out, size_t *len)
{
	EVP_PKEY_CTX *c = EVP_PKEY_CTX_new_from_pkey(NULL, key, NULL);
	int ok = c && EVP_PKEY_sign_init(c) == 1 && (!a->padding || EVP_PKEY_CTX_set_rsa_padding(c, a->padding) == 1) &&
		 EVP_PKEY_CTX_set_signature_md(c, a->digest == 48 ? EVP_sha384() : EVP_sha256()) == 1 &&
		 (a->padding != RSA_PKCS1_PSS_PADDING || EVP_PKEY_CTX_set_rsa_pss_saltlen(c, RSA_PSS_SALTLEN_DIGEST) == 1) &&
		 EVP_PKEY_sign(c, out, len, digest, a->digest) == 1;
	EVP_PKEY_CTX_free(c);
	return ok ? 0 : -EIO;
}

int keypair_sign(EVP_PKEY *key, const char **alg, const struct keypair_message *m, uint8_t out[KEYPAIR_MAX_SIGNATURE], size_t *len, struct fault *f)
{
	const struct kind *k = kind_of(key);
	const struct algorithm *a = k ? choose(k->name, *alg) : NULL;
	uint8_t digest[48];
	int err;
	if (!a)
		return fault_set(f, -EINVAL, "a key of kind %s does not sign with '%.16s'", k ? k->name : "?", *alg ? *alg : "");
	if (m->digested && m->len != a->digest)
		return a->digest ? fault_set(f, -EINVAL, "a digest for %s has %zu bytes, not %zu", a->name, a->digest, m->len)
				 : fault_set(f, -EINVAL, "%s signs messages, not digests", a->name);
	if (m->der && !a->field)
		return fault_set(f, -EINVAL, "signatures of %s have no form in DER", a->name);
	*alg = a->name;
	*len = KEYPAIR_MAX_SIGNATURE;
	if (!a->digest)
		err = sign_message(key, m, out, len);
	else if (m->digested)
		err = sign_digest(key, a, m->bytes, out, len);
	else if (EVP_Digest(m->bytes, m->len, digest, NULL, a->digest == 48 ? EVP_sha384() : EVP_sha256(), NULL) != 1)
		err = -EIO;
	else
		err = sign_digest(key, a, digest, out, len);
	if (!err && a->field && !m->der)
		err = jose_form(out, len, a->field);
	return err ? fault_set(f, err, "OpenSSL cannot sign") : 0;
}

int keypair_oaep(EVP_PKEY *key, const uint8_t *in, size_t in_len, uint8_t *out, size_t *len)
{
	uint8_t plain[KEYPAIR_MAX_SIGNATURE];
	size_t n = sizeof plain;
	EVP_PKEY_CTX *c = EVP_PKEY_is_a(key, "RSA") ? EVP_PKEY_CTX_new_from_pkey(NULL, key, NULL) : NULL;
	int ok = c && EVP_PKEY_decrypt_init(c) == 1 && EVP_PKEY_CTX_set_rsa_padding(c, RSA_PKCS1_OAEP_PADDING) == 1 &&
		 EVP_PKEY_CTX_set_rsa_oaep_md(c, EVP_sha256()) == 1 && EVP_PKEY_CTX_set_rsa_mgf1_md(c, EVP_sha256()) == 1 &&
		 EVP_PKEY_decrypt(c, plain, &n, in, in_len) == 1 && n <= *len;
	if (ok) {
		memcpy(out, plain, n);
		*len = n;
	}
	explicit_bzero(plain, sizeof plain);
	EVP_PKEY_CTX_free(c);
	return ok ? 0 : -EBADMSG;
}

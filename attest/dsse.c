// SPDX-License-Identifier: Apache-2.0
// See dsse.h. Format: github.com/secure-systems-lab/dsse, protocol 1.0.
#include "attest/dsse.h"

#include <errno.h>
#include <jansson.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "attest/ecdsa.h"
#include "attest/slice.h"
#include "lib/encode.h"

#define SIGNATURE_MAX 256

static bool known_kind(EVP_PKEY *key)
{
	return EVP_PKEY_is_a(key, "ED25519") || ecdsa_size(key);
}

// Ed25519 hashes by itself.
static const EVP_MD *digest_for(EVP_PKEY *key)
{
	size_t n = ecdsa_size(key);
	return n == 32 ? EVP_sha256() : n == 48 ? EVP_sha384() : NULL;
}

int dsse_key_of(EVP_PKEY *key, struct dsse_key *out, struct fault *f)
{
	uint8_t digest[32], *der = NULL;
	int len = known_kind(key) ? i2d_PUBKEY(key, &der) : 0, ok = 0;
	if (len > 0)
		ok = EVP_Digest(der, (size_t)len, digest, NULL, EVP_sha256(), NULL) == 1;
	OPENSSL_free(der);
	ERR_clear_error();
	if (!ok) {
		EVP_PKEY_free(key);
		return fault_set(f, -EINVAL, "a key of another kind than ECDSA P-256, P-384 or Ed25519");
	}
	out->key = key;
	hex_encode(out->id, digest, sizeof digest);
	return 0;
}

int dsse_public_key(const char *pem, size_t len, struct dsse_key *out, struct fault *f)
{
	EVP_PKEY *key = NULL;
	BIO *b = len < 1 << 20 ? BIO_new_mem_buf(pem, (int)len) : NULL;
	if (b)
		key = PEM_read_bio_PUBKEY(b, NULL, NULL, NULL);
	BIO_free(b);
	b = !key && len < 1 << 20 ? BIO_new_mem_buf(pem, (int)len) : NULL;
	if (b) {
		X509 *cert = PEM_read_bio_X509(b, NULL, NULL, NULL);
		key = cert ? X509_get_pubkey(cert) : NULL;
		X509_free(cert);
		BIO_free(b);
	}
	ERR_clear_error();
	return key ? dsse_key_of(key, out, f) : fault_set(f, -EINVAL, "no public key or certificate in PEM");
}

int dsse_private_key(const char *pem, size_t len, struct dsse_key *out, struct fault *f)
{
	BIO *b = len < 1 << 20 ? BIO_new_mem_buf(pem, (int)len) : NULL;
	EVP_PKEY *key = b ? PEM_read_bio_PrivateKey(b, NULL, NULL, NULL) : NULL;
	BIO_free(b);
	ERR_clear_error();
	return key ? dsse_key_of(key, out, f) : fault_set(f, -EINVAL, "no private key in PEM, or the passphrase is wrong");
}

void dsse_key_free(struct dsse_key *k)
{
	EVP_PKEY_free(k->key);
	k->key = NULL;
}

// What is signed: "DSSEv1", then type and payload, each after its length.
static char *signed_bytes(const char *type, const char *payload, size_t len, size_t *out_len)
{
	size_t head = strlen(type) + 64;
	char *m = malloc(head + len);
	if (!m)
		return NULL;
	int n = snprintf(m, head, "DSSEv1 %zu %s %zu ", strlen(type), type, len);
	memcpy(m + n, payload, len);
	*out_len = (size_t)n + len;
	return m;
}

static bool signature_ok(EVP_PKEY *key, const uint8_t *sig, size_t sig_len, const char *m, size_t len)
{
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	bool ok = md && EVP_DigestVerifyInit(md, NULL, digest_for(key), NULL, key) == 1 &&
		  EVP_DigestVerify(md, sig, sig_len, (const uint8_t *)m, len) == 1;
	EVP_MD_CTX_free(md);
	ERR_clear_error();
	return ok;
}

// Both alphabets are allowed.
static ssize_t decode(void *out, size_t size, const json_t *s)
{
	const char *text = json_string_value(s);
	size_t len = json_string_length(s);
	if (!text)
		return -EINVAL;
	return base64_decode(out, size, text, len, strpbrk(text, "-_") ? BASE64_URL : BASE64_STD);
}

// The index of the first key that made one of the signatures, or -1.
static int signer(const json_t *signatures, const struct dsse_key *keys, unsigned int count, const char *m, size_t len)
{
	uint8_t sig[SIGNATURE_MAX];
	for (size_t i = 0; i < json_array_size(signatures) && i < DSSE_MAX_SIGNATURES; i++) {
		ssize_t n = decode(sig, sizeof sig, json_object_get(json_array_get(signatures, i), "sig"));
		for (unsigned int k = 0; n > 0 && k < count; k++) {
			if (signature_ok(keys[k].key, sig, (size_t)n, m, len))
				return (int)k;
		}
	}
	return -1;
}

int dsse_open(const char *text, size_t len, const char *type, const struct dsse_key *keys, unsigned int count, char **payload, size_t *payload_len,
	      int *by, struct fault *f)
{
	char *bytes = NULL, *m = NULL;
	size_t m_len;
	*payload = NULL;
	*by = -1;
	json_t *o = len <= DSSE_MAX_BYTES ? slice_parse(text, len, f) : NULL;
	if (!o)
		return len <= DSSE_MAX_BYTES ? -EINVAL : fault_set(f, -EINVAL, "%zu bytes are more than an envelope may have", len);
	const json_t *body = json_object_get(o, "payload"), *signatures = json_object_get(o, "signatures");
	int err = 0;
	if (!json_is_string(body) || strcmp(slice_text(o, "payloadType"), type)) {
		err = fault_set(f, -EINVAL, "not a signed envelope (DSSE) of %s", type);
		goto out;
	}
	bytes = malloc(json_string_length(body) + 1);
	ssize_t n = bytes ? decode(bytes, json_string_length(body), body) : -ENOMEM;
	if (n < 0) {
		err = fault_set(f, (int)n, n == -ENOMEM ? "out of memory" : "the envelope's payload is not base64");
		goto out;
	}
	bytes[n] = '\0';
	if (count) {
		m = signed_bytes(type, bytes, (size_t)n, &m_len);
		if (!m) {
			err = fault_set(f, -ENOMEM, "out of memory");
			goto out;
		}
		*by = signer(signatures, keys, count, m, m_len);
		if (*by < 0) {
			err = fault_set(f, -EBADMSG, json_array_size(signatures) ? "none of its signatures is by a key that was given" : "it is not signed");
			goto out;
		}
	}
	*payload = bytes;
	*payload_len = (size_t)n;
	bytes = NULL;
out:
	free(bytes);
	free(m);
	json_decref(o);
	return err;
}

int dsse_seal(const char *type, const char *payload, size_t len, const struct dsse_key *key, char **out, struct fault *f)
{
	uint8_t sig[SIGNATURE_MAX];
	char sig64[BASE64_SIZE(SIGNATURE_MAX)], *body = malloc(BASE64_SIZE(len)), *m;
	size_t m_len, n = sizeof sig;
	m = signed_bytes(type, payload, len, &m_len);
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	int err = 0;
	*out = NULL;
	if (!body || !m || !md || EVP_DigestSignInit(md, NULL, digest_for(key->key), NULL, key->key) != 1 ||
	    EVP_DigestSign(md, sig, &n, (const uint8_t *)m, m_len) != 1) {
		err = fault_set(f, -EINVAL, "cannot sign with that key");
		goto out;
	}
	base64_encode(body, payload, len, BASE64_STD);
	base64_encode(sig64, sig, n, BASE64_STD);
	json_t *o = json_pack("{s:s, s:s, s:[{s:s, s:s}]}", "payloadType", type, "payload", body, "signatures", "keyid", key->id, "sig", sig64);
	*out = o ? json_dumps(o, JSON_INDENT(1)) : NULL;
	json_decref(o);
	if (!*out)
		err = fault_set(f, -ENOMEM, "out of memory");
out:
	EVP_MD_CTX_free(md);
	free(m);
	free(body);
	ERR_clear_error();
	return err;
}

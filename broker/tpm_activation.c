// SPDX-License-Identifier: Apache-2.0
// See tpm_activation.h.
#include "broker/tpm_activation.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/hmac.h>
#include <stdlib.h>
#include <string.h>

#include "attest/tpm.h"
#include "attest/tpm_credential.h"
#include "lib/encode.h"

#define MAX_TEXT (64u << 10)

// What only brokers with this key can make, and the TPM that it was sealed to can open.
static int credential_of(const uint8_t secret[32], const char *id, const char *nonce, const char *ak, const char *ek, uint8_t out[TPM_CREDENTIAL_BYTES])
{
	char text[400];
	unsigned int n = 0;
	int len = snprintf(text, sizeof text, "coffer tpm activation 1\n%s\n%s\n%s\n%s\n", id, nonce, ak, ek);
	return HMAC(EVP_sha256(), secret, 32, (uint8_t *)text, (size_t)len, out, &n) && n == TPM_CREDENTIAL_BYTES ? 0 : -EIO;
}

static uint8_t *decode(const json_t *o, const char *name, size_t *len)
{
	const char *text = json_string_value(json_object_get(o, name));
	size_t n = json_string_length(json_object_get(o, name));
	uint8_t *out = text && n && n <= MAX_TEXT ? malloc(n) : NULL;
	ssize_t got = out ? base64_decode(out, n, text, n, BASE64_STD) : -1;
	if (got <= 0) {
		free(out);
		return NULL;
	}
	*len = (size_t)got;
	return out;
}

// The endorsement key that is asked about: certified by a maker, or on the operator's list. Where there is a list, only what is on it will do.
static int endorsement(const struct verifier *v, const json_t *ask, time_t now, EVP_PKEY **ek, char digest[65], struct fault *f)
{
	const char *const *list = v->policy->tpm_endorsement_keys;
	const char *pem = json_string_value(json_object_get(ask, "ek_certificates"));
	struct cert_list certs = {.count = 0};
	EVP_PKEY *key = NULL;
	uint8_t *public;
	size_t len;
	int err = 0;
	*ek = NULL;
	if (pem) {
		err = strlen(pem) > MAX_TEXT || cert_list_add_pem(&certs, pem, strlen(pem), NULL)
			      ? fault_set(f, -EINVAL, "extra-params: tpm: ek_certificates must be certificates in PEM") : 0;
		if (!err && list[0]) {
			key = X509_get0_pubkey(certs.certs[0]);
		} else if (!err && tpm_ek_certified(&certs, v->tpm_roots.certs, v->tpm_roots.count, &v->tpm_revocation, now, &key, f)) {
			err = -EACCES;
		}
		if (!err && key && EVP_PKEY_up_ref(key) == 1)
			*ek = key;
	} else {
		public = decode(ask, "ek_public", &len);
		*ek = public ? tpm_key_read(public, len, NULL) : NULL;
		free(public);
		if (!*ek)
			err = fault_set(f, -EINVAL, "extra-params: tpm: ek_certificates (PEM) or ek_public (base64 of TPM2B_PUBLIC) is missing or malformed");
		else if (!list[0])
			err = fault_set(f, -EACCES, "the endorsement key has no certificate, and the broker's policy lists none (tpm_endorsement_keys)");
	}
	cert_list_free(&certs);
	if (!err && !tpm_key_digest(*ek, digest))
		err = fault_set(f, -EACCES, "no endorsement key");
	if (!err && list[0]) {
		while (*list && strcmp(*list, digest))
			list++;
		if (!*list)
			err = fault_set(f, -EACCES, "the endorsement key %s is not on the policy's list (tpm_endorsement_keys)", digest);
	}
	if (err) {
		EVP_PKEY_free(*ek);
		*ek = NULL;
	}
	return err;
}

static json_t *answer(const struct tpm_challenge *c, const char *ek)
{
	char blob[BASE64_SIZE(sizeof c->blob)], secret[BASE64_SIZE(sizeof c->secret)];
	base64_encode(blob, c->blob, c->blob_len, BASE64_STD);
	base64_encode(secret, c->secret, c->secret_len, BASE64_STD);
	return json_pack("{s:s, s:s, s:s}", "credential_blob", blob, "encrypted_secret", secret, "ek_digest", ek);
}

int tpm_activation_challenge(const struct verifier *v, const uint8_t secret[32], const char *body, size_t len, const char id[SESSION_ID_TEXT],
			     const char nonce[SESSION_NONCE_TEXT], time_t now, json_t **out, struct fault *f)
{
	uint8_t credential[TPM_CREDENTIAL_BYTES], *public = NULL;
	json_t *o = json_loadb(body, len, JSON_REJECT_DUPLICATES, NULL);
	const json_t *extra = json_object_get(o, "extra-params"), *ask = json_object_get(extra, "tpm");
	struct tpm_challenge c;
	struct tpm_public ak = {.key = NULL};
	EVP_PKEY *ek = NULL;
	char ek_digest[65], ak_digest[65];
	size_t n = 0;
	int err = 0;
	*out = NULL;
	if (!ask)
		goto out;
	public = decode(ask, "ak_public", &n);
	if (!public)
		err = fault_set(f, -EINVAL, "extra-params: tpm: ak_public must be base64 of TPM2B_PUBLIC");
	if (!err)
		err = tpm_public_read(public, n, &ak, f);
	if (!err && tpm_public_attests(&ak, f))
		err = -EACCES;
	if (!err)
		err = endorsement(v, ask, now, &ek, ek_digest, f);
	if (!err && !tpm_key_digest(ak.key, ak_digest))
		err = fault_set(f, -ENOMEM, "out of memory");
	if (!err && credential_of(secret, id, nonce, ak_digest, ek_digest, credential))
		err = fault_set(f, -EIO, "no credential can be made");
	if (!err)
		err = tpm_credential_make(ek, ak.name, ak.name_len, credential, &c, f);
	if (!err && !(*out = answer(&c, ek_digest)))
		err = fault_set(f, -ENOMEM, "out of memory");
out:
	OPENSSL_cleanse(credential, sizeof credential);
	EVP_PKEY_free(ek);
	tpm_public_free(&ak);
	free(public);
	json_decref(o);
	return err;
}

void tpm_activation_check(const uint8_t secret[32], const char *id, const char *nonce, struct bundle *b, struct attest_result *out)
{
	uint8_t wanted[TPM_CREDENTIAL_BYTES];
	const json_t *said = json_object_get(b->json, "tpm_activation");
	const char *ek = json_string_value(json_object_get(said, "ek_digest"));
	char ak_digest[65] = "";
	size_t len = 0, n = 0;
	json_object_del(b->json, "tpm_activated");
	if (!said)
		return;
	uint8_t *got = decode(said, "credential", &n);
	const uint8_t *public = bundle_bytes(b, "tpm_key", &len);
	EVP_PKEY *ak = public ? tpm_key_read(public, len, NULL) : NULL;
	bool ok = got && n == sizeof wanted && ek && strlen(ek) == 64 && ak && tpm_key_digest(ak, ak_digest) &&
		  !credential_of(secret, id, nonce, ak_digest, ek, wanted) && !CRYPTO_memcmp(got, wanted, sizeof wanted);
	struct attest_check *c = attest_check_add(out, "tpm-activation", ok);
	attest_expected(c, "the credential that this session's challenge sealed to the TPM");
	attest_found(c, "%s", ok ? "it is" : "another one, or one for another key");
	if (ok && bundle_put_text(b, "tpm_activated", ak_digest, strlen(ak_digest)))
		c->outcome = ATTEST_FAILED;
	OPENSSL_cleanse(wanted, sizeof wanted);
	EVP_PKEY_free(ak);
	free(got);
}

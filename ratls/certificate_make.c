// SPDX-License-Identifier: Apache-2.0
// Making RA-TLS certificates (certificate.h): claims first, then evidence over their digest, then the certificate with both.
#include <errno.h>
#include <openssl/err.h>
#include <openssl/objects.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

#include "attest/cbor.h"
#include "ratls/certificate.h"
#include "attest/snp.h"
#include "lib/certext.h"

#define CLOCK_SLACK_S 60

struct buffer {
	uint8_t *bytes;
	size_t len;
};

static uint8_t *put(uint8_t *p, unsigned int major, uint64_t n)
{
	return p + cbor_head(p, major, n);
}

static uint8_t *put_bytes(uint8_t *p, unsigned int major, const void *bytes, size_t len)
{
	return mempcpy(put(p, major, len), bytes, len);
}

// {"pubkey-hash": h'[1, SHA-256 of the key]', "nonce": h'...', "tls-exporter": h'...', "ohttp-keys": h'...'}
static int make_claims(const struct ratls_cert_request *q, struct buffer *out)
{
	uint8_t hash[32], inner[40], *der = NULL, *p;
	int len = i2d_PUBKEY(q->key, &der);
	bool made = len > 0 && EVP_Digest(der, (size_t)len, hash, NULL, EVP_sha256(), NULL) == 1;
	OPENSSL_free(der);
	out->bytes = made ? malloc(256 + q->nonce_len) : NULL;
	if (!out->bytes)
		return -ENOMEM;
	p = put(put(inner, 4, 2), 0, 1);
	p = put_bytes(p, 2, hash, sizeof hash);
	size_t inner_len = (size_t)(p - inner);
	p = put(out->bytes, 5, 1u + !!q->nonce + !!q->exporter + !!q->ohttp_keys);
	p = put_bytes(p, 3, "pubkey-hash", 11);
	p = put_bytes(p, 2, inner, inner_len);
	if (q->nonce) {
		p = put_bytes(p, 3, "nonce", 5);
		p = put_bytes(p, 2, q->nonce, q->nonce_len);
	}
	if (q->exporter) {
		p = put_bytes(p, 3, "tls-exporter", 12);
		p = put_bytes(p, 2, q->exporter, RATLS_EXPORTER_BYTES);
	}
	if (q->ohttp_keys) {
		p = put_bytes(p, 3, "ohttp-keys", 10);
		p = put_bytes(p, 2, q->ohttp_keys, RATLS_OHTTP_KEYS_BYTES);
	}
	out->len = (size_t)(p - out->bytes);
	return 0;
}

// SNP's report with the certificates that came with it behind it, as the machine's firmware lays them out.
static int with_table(struct bundle *b, struct fault *f)
{
	struct snp_chain chain = {.count = 0};
	size_t len, pem_len, table_len;
	const char *pem = bundle_text(b, "certificates", &pem_len);
	const uint8_t *report = bundle_bytes(b, "evidence", &len);
	uint8_t *all = NULL;
	if (!pem || len != SNP_REPORT_BYTES)
		return 0;
	int err = snp_chain_add_pem(&chain, pem, pem_len, f);
	if (!err)
		err = snp_table_make(&chain, NULL, &table_len);
	if (!err && !(all = malloc(len + table_len)))
		err = fault_set(f, -ENOMEM, "out of memory");
	if (!err) {
		memcpy(all, report, len);
		err = snp_table_make(&chain, all + len, &table_len);
	}
	if (!err)
		err = bundle_replace_bytes(b, "evidence", all, len + table_len);
	free(all);
	snp_chain_free(&chain);
	return err;
}

static int join(uint64_t tag, const void *evidence, size_t len, const struct buffer *claims, struct buffer *out, struct fault *f)
{
	out->bytes = malloc(len + claims->len + 32);
	if (!out->bytes)
		return fault_set(f, -ENOMEM, "out of memory");
	uint8_t *p = put(put(out->bytes, 6, tag), 4, 2);
	p = put_bytes(put_bytes(p, 2, evidence, len), 2, claims->bytes, claims->len);
	out->len = (size_t)(p - out->bytes);
	return 0;
}

// tag([evidence, claims])
static int make_extension(struct bundle *b, const struct buffer *claims, struct buffer *out, struct fault *f)
{
	size_t len = 0;
	const uint8_t *evidence = bundle_bytes(b, "evidence", &len);
	enum evidence_kind kind = evidence ? evidence_kind_of(evidence, len) : EVIDENCE_UNKNOWN;
	switch (kind) {
	case EVIDENCE_SGX: case EVIDENCE_TDX: return join(RATLS_TAG_QUOTE, evidence, len, claims, out, f);
	case EVIDENCE_SNP: return join(RATLS_TAG_SNP, evidence, len, claims, out, f);
	case EVIDENCE_CSV: return join(RATLS_TAG_CSV, evidence, len, claims, out, f);
	default: break;
	}
	char *text = json_dumps(b->json, JSON_COMPACT | JSON_SORT_KEYS);
	int err = text ? join(RATLS_TAG_BUNDLE, text, strlen(text), claims, out, f) : fault_set(f, -ENOMEM, "out of memory");
	free(text);
	return err;
}

// The claims, and evidence over them.
int ratls_content_make(const struct ratls_cert_request *q, uint8_t **bytes, size_t *len, struct fault *f)
{
	struct buffer claims = {.bytes = NULL}, content = {.bytes = NULL};
	struct bundle b = {.json = NULL};
	uint8_t data[64] = {0};
	if (q->nonce && (!q->nonce_len || q->nonce_len > RATLS_MAX_NONCE))
		return fault_set(f, -EINVAL, "a nonce has 1 to %d bytes", RATLS_MAX_NONCE);
	int err = make_claims(q, &claims);
	if (!err && EVP_Digest(claims.bytes, claims.len, data, NULL, EVP_sha256(), NULL) != 1)
		err = -ENOMEM;
	if (!err)
		err = bundle_init(&b);
	if (err)
		fault_set(f, err, "out of memory");
	else if (q->token)
		err = join(RATLS_TAG_TOKEN, q->token, strlen(q->token), &claims, &content, f);
	else if (!(err = q->evidence(q->ctx, data, &b, f)) && !(err = with_table(&b, f)))
		err = make_extension(&b, &claims, &content, f);
	free(claims.bytes);
	bundle_free(&b);
	*bytes = content.bytes;
	*len = content.len;
	return err;
}

// What read_endorsements reads; members that are missing are empty. *out: left empty when there is nothing to send.
static int make_endorsements(struct bundle *b, struct buffer *out)
{
	static const char *const members[] = {
		"tcb_info", "tcb_info_issuer_chain", "pck_crl", "root_ca_crl", "pck_crl_issuer_chain", "qe_identity", "qe_identity_issuer_chain",
	};
	const void *parts[7];
	size_t lens[7], total = 32;
	for (size_t i = 0; i < 7; i++) {
		parts[i] = i == 2 || i == 3 ? (const void *)bundle_bytes(b, members[i], &lens[i]) : bundle_text(b, members[i], &lens[i]);
		if (!parts[i])
			lens[i] = 0;
		total += lens[i] + 9;
	}
	if (!parts[0])
		return 0;
	uint8_t *p = out->bytes = malloc(total);
	if (!p)
		return -ENOMEM;
	p = put(put(put(p, 6, RATLS_TAG_QUOTE), 4, 8), 0, 3);
	for (size_t i = 0; i < 7; i++)
		p = put_bytes(p, 2, parts[i] ? parts[i] : "", lens[i]);
	out->len = (size_t)(p - out->bytes);
	return 0;
}

static bool add_extension(X509 *cert, const char *name, const struct buffer *content)
{
	ASN1_OBJECT *oid = OBJ_txt2obj(name, 1);
	ASN1_OCTET_STRING *s = ASN1_OCTET_STRING_new();
	X509_EXTENSION *e = NULL;
	bool ok = oid && s && ASN1_OCTET_STRING_set(s, content->bytes, (int)content->len) == 1 && (e = X509_EXTENSION_create_by_OBJ(NULL, oid, 0, s)) &&
		  X509_add_ext(cert, e, -1) == 1;
	X509_EXTENSION_free(e);
	ASN1_OCTET_STRING_free(s);
	ASN1_OBJECT_free(oid);
	return ok;
}

// content, endorsements: empty ones are left out.
static X509 *make_certificate(const struct ratls_cert_request *q, const struct buffer *content, const struct buffer *endorsements)
{
	X509 *cert = X509_new();
	uint64_t serial;
	time_t from = q->now - CLOCK_SLACK_S, until = q->now + q->seconds;
	X509_NAME *name = cert ? X509_get_subject_name(cert) : NULL;
	// RSA signs with SHA-256 too; Ed25519 and its kin name no digest.
	const EVP_MD *md = EVP_PKEY_is_a(q->key, "EC") || EVP_PKEY_is_a(q->key, "RSA") ? EVP_sha256() : NULL;
	bool ok = cert && RAND_bytes((uint8_t *)&serial, sizeof serial) == 1 && X509_set_version(cert, X509_VERSION_3) &&
		  ASN1_INTEGER_set_uint64(X509_get_serialNumber(cert), serial >> 1 | 1) &&
		  X509_time_adj_ex(X509_getm_notBefore(cert), 0, 0, &from) && X509_time_adj_ex(X509_getm_notAfter(cert), 0, 0, &until) &&
		  X509_set_pubkey(cert, q->key) &&
		  X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const uint8_t *)q->subject, -1, -1, 0) == 1 &&
		  X509_set_issuer_name(cert, name) && certext_add(cert, cert, NID_basic_constraints, "critical,CA:FALSE") &&
		  certext_add(cert, cert, NID_key_usage, "critical,digitalSignature") && certext_add(cert, cert, NID_subject_key_identifier, "hash") &&
		  (!content->len || add_extension(cert, "2.23.133.5.4.9", content)) &&
		  (!endorsements->len || add_extension(cert, "2.23.133.5.4.2", endorsements)) && X509_sign(cert, q->key, md) > 0;
	ERR_clear_error();
	if (ok)
		return cert;
	X509_free(cert);
	return NULL;
}

static int finish(const struct ratls_cert_request *q, const struct buffer *content, const struct buffer *endorsements, X509 **out, struct fault *f)
{
	*out = make_certificate(q, content, endorsements);
	return *out ? 0 : fault_set(f, -EIO, "the certificate cannot be made: is the subject at most 64 characters long?");
}

int ratls_cert_make_plain(const struct ratls_cert_request *q, X509 **out, struct fault *f)
{
	static const struct buffer none;
	return finish(q, &none, &none, out, f);
}

int ratls_cert_make(const struct ratls_cert_request *q, X509 **out, struct fault *f)
{
	struct buffer content = {.bytes = NULL}, endorsements = {.bytes = NULL};
	int err = ratls_content_make(q, &content.bytes, &content.len, f);
	if (!err && q->endorsements && make_endorsements(q->endorsements, &endorsements))
		err = fault_set(f, -ENOMEM, "out of memory");
	if (!err)
		err = finish(q, &content, &endorsements, out, f);
	free(content.bytes);
	free(endorsements.bytes);
	return err;
}

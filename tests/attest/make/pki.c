// SPDX-License-Identifier: Apache-2.0
// See pki.h.
#include "tests/attest/make/pki.h"

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/certext.h"

static void need(bool ok, const char *what)
{
	if (!ok) {
		fprintf(stderr, "cannot make %s\n", what);
		abort();
	}
}

static void add_raw(X509 *cert, const struct pki_extension *x)
{
	ASN1_OBJECT *obj = OBJ_txt2obj(x->oid, 1);
	ASN1_OCTET_STRING *data = ASN1_OCTET_STRING_new();
	need(obj && data && ASN1_OCTET_STRING_set(data, x->bytes, x->len), "an extension");
	X509_EXTENSION *e = X509_EXTENSION_create_by_OBJ(NULL, obj, 0, data);
	need(e && X509_add_ext(cert, e, -1) == 1, "an extension");
	X509_EXTENSION_free(e);
	ASN1_OCTET_STRING_free(data);
	ASN1_OBJECT_free(obj);
}

static const EVP_MD *digest_of(EVP_PKEY *key)
{
	return EVP_PKEY_get_bits(key) == 256 ? EVP_sha256() : EVP_sha384();
}

static const uint8_t ak_usage[] = {0x30, 0x07, 0x06, 0x05, 0x67, 0x81, 0x05, 0x08, 0x03};
const struct pki_extension pki_ak_usage[] = {{"2.5.29.37", ak_usage, sizeof ak_usage}, {NULL, NULL, 0}};

struct pki pki_make(const struct pki_spec *s)
{
	static long serial = 1000;
	struct pki p = {X509_new(), !strcmp(s->kind, "RSA") ? EVP_RSA_gen(2048) : EVP_EC_gen(s->kind)};
	X509_NAME *name = p.cert ? X509_get_subject_name(p.cert) : NULL;
	X509 *above = s->issuer ? s->issuer->cert : p.cert;
	need(p.cert && p.key && X509_set_version(p.cert, X509_VERSION_3) && ASN1_INTEGER_set(X509_get_serialNumber(p.cert), ++serial) &&
	     ASN1_TIME_set(X509_getm_notBefore(p.cert), s->from) && ASN1_TIME_set(X509_getm_notAfter(p.cert), s->to) &&
	     X509_set_pubkey(p.cert, p.key) &&
	     X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const uint8_t *)s->name, -1, -1, 0) &&
	     X509_set_issuer_name(p.cert, X509_get_subject_name(above)), "a certificate");
	need(certext_add(p.cert, above, NID_basic_constraints, s->ca ? "critical,CA:TRUE" : "critical,CA:FALSE"), "an extension");
	need(certext_add(p.cert, above, NID_key_usage, s->ca ? "critical,keyCertSign,cRLSign" : "critical,digitalSignature"), "an extension");
	for (const struct pki_extension *x = s->extensions; x && x->oid; x++)
		add_raw(p.cert, x);
	EVP_PKEY *signer = s->issuer ? s->issuer->key : p.key;
	need(X509_sign(p.cert, signer, digest_of(signer)) > 0, "a signature");
	// As a reader would have it: with what is derived from the encoding in place.
	uint8_t *der = NULL;
	int len = i2d_X509(p.cert, &der);
	const uint8_t *q = der;
	X509_free(p.cert);
	p.cert = d2i_X509(NULL, &q, len);
	OPENSSL_free(der);
	need(p.cert != NULL, "a certificate");
	return p;
}

void pki_free(struct pki *p)
{
	X509_free(p->cert);
	EVP_PKEY_free(p->key);
	*p = (struct pki){NULL, NULL};
}

X509_CRL *pki_crl(const struct pki *issuer, X509 *revoked, time_t from, time_t to)
{
	X509_CRL *crl = X509_CRL_new();
	ASN1_TIME *last = ASN1_TIME_set(NULL, from), *next = ASN1_TIME_set(NULL, to);
	need(crl && last && next && X509_CRL_set_version(crl, X509_CRL_VERSION_2) &&
	     X509_CRL_set_issuer_name(crl, X509_get_subject_name(issuer->cert)) && X509_CRL_set1_lastUpdate(crl, last) &&
	     X509_CRL_set1_nextUpdate(crl, next), "a revocation list");
	if (revoked) {
		X509_REVOKED *r = X509_REVOKED_new();
		need(r && X509_REVOKED_set_serialNumber(r, X509_get_serialNumber(revoked)) && X509_REVOKED_set_revocationDate(r, last) &&
		     X509_CRL_add0_revoked(crl, r), "an entry");
	}
	need(X509_CRL_sign(crl, issuer->key, digest_of(issuer->key)) > 0, "a signature");
	ASN1_TIME_free(last);
	ASN1_TIME_free(next);
	return crl;
}

uint8_t *pki_crl_der(X509_CRL *crl, size_t *len)
{
	uint8_t *der = NULL;
	int n = i2d_X509_CRL(crl, &der);
	need(n > 0, "DER");
	*len = (size_t)n;
	uint8_t *copy = malloc(*len);
	memcpy(copy, der, *len);
	OPENSSL_free(der);
	X509_CRL_free(crl);
	return copy;
}

char *pki_pem(X509 *first, ...)
{
	BIO *bio = BIO_new(BIO_s_mem());
	va_list ap;
	va_start(ap, first);
	for (X509 *c = first; c; c = va_arg(ap, X509 *))
		need(PEM_write_bio_X509(bio, c), "PEM");
	va_end(ap);
	char *bytes;
	long len = BIO_get_mem_data(bio, &bytes);
	char *text = strndup(bytes, (size_t)len);
	BIO_free(bio);
	return text;
}

void pki_sign(EVP_PKEY *key, size_t n, const void *message, size_t len, uint8_t *rs)
{
	uint8_t der[160];
	const uint8_t *p = der;
	size_t der_len = sizeof der;
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	need(md && EVP_DigestSignInit(md, NULL, n == 32 ? EVP_sha256() : EVP_sha384(), NULL, key) == 1 &&
	     EVP_DigestSign(md, der, &der_len, message, len) == 1, "a signature");
	ECDSA_SIG *sig = d2i_ECDSA_SIG(NULL, &p, (long)der_len);
	need(sig && BN_bn2binpad(ECDSA_SIG_get0_r(sig), rs, (int)n) >= 0 && BN_bn2binpad(ECDSA_SIG_get0_s(sig), rs + n, (int)n) >= 0, "a signature");
	ECDSA_SIG_free(sig);
	EVP_MD_CTX_free(md);
}

void pki_point(EVP_PKEY *key, size_t n, uint8_t *xy)
{
	uint8_t point[1 + 2 * 48];
	size_t len = 0;
	need(EVP_PKEY_get_octet_string_param(key, OSSL_PKEY_PARAM_PUB_KEY, point, sizeof point, &len) == 1 && len == 1 + 2 * n, "a point");
	memcpy(xy, point + 1, 2 * n);
}

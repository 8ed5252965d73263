// SPDX-License-Identifier: Apache-2.0
// See svid.h.
#include "broker/svid.h"

#include <ctype.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/certext.h"
#include "lib/encode.h"
#include "lib/jws.h"

#define CLOCK_SLACK_S 60

bool svid_domain_valid(const char *domain)
{
	size_t n = strlen(domain);
	return n && n <= SVID_MAX_DOMAIN && strspn(domain, "abcdefghijklmnopqrstuvwxyz0123456789._-") == n;
}

bool svid_name_valid(const char *name)
{
	size_t n = strlen(name);
	for (const char *p = name; *p; p++) {
		if (!isalnum((unsigned char)*p) && !strchr("._-", *p))
			return false;
	}
	return n && n <= 64 && strcmp(name, ".") && strcmp(name, "..");
}

void svid_id(char out[SVID_ID_TEXT], const char *domain, const char *name)
{
	snprintf(out, SVID_ID_TEXT, "spiffe://%s%s%s", domain, *name ? "/" : "", name);
}

static bool entry(X509_NAME *name, const char *field, const char *value)
{
	return X509_NAME_add_entry_by_txt(name, field, MBSTRING_UTF8, (const uint8_t *)value, -1, -1, 0) == 1;
}

// Names what both kinds have: number, dates, key, subject. The common name is short enough for X.509, whatever the domain.
static X509 *begin(EVP_PKEY *key, const char *common, time_t from, time_t until)
{
	X509 *cert = X509_new();
	uint64_t serial;
	bool ok = cert && RAND_bytes((uint8_t *)&serial, sizeof serial) == 1 && X509_set_version(cert, X509_VERSION_3) &&
		  ASN1_INTEGER_set_uint64(X509_get_serialNumber(cert), serial >> 1 | 1) &&
		  X509_time_adj_ex(X509_getm_notBefore(cert), 0, 0, &from) && X509_time_adj_ex(X509_getm_notAfter(cert), 0, 0, &until) &&
		  X509_set_pubkey(cert, key) && entry(X509_get_subject_name(cert), "O", "Coffer") && entry(X509_get_subject_name(cert), "CN", common);
	if (ok)
		return cert;
	X509_free(cert);
	return NULL;
}

static X509 *finish(X509 *cert, bool ok, EVP_PKEY *key)
{
	ok = ok && X509_sign(cert, key, EVP_sha256()) > 0;
	ERR_clear_error();
	if (ok)
		return cert;
	X509_free(cert);
	return NULL;
}

X509 *svid_authority(const struct signer *s, const char *domain)
{
	char id[SVID_ID_TEXT], uri[SVID_ID_TEXT + 8], common[64];
	svid_id(id, domain, "");
	snprintf(uri, sizeof uri, "URI:%s", id);
	snprintf(common, sizeof common, "SPIFFE authority %.8s", s->kid);
	X509 *cert = begin(s->key, common, s->created - CLOCK_SLACK_S, (time_t)(s->created + SVID_AUTHORITY_SECONDS));
	if (!cert)
		return NULL;
	bool ok = X509_set_issuer_name(cert, X509_get_subject_name(cert)) && certext_add(cert, cert, NID_basic_constraints, "critical,CA:TRUE") &&
		  certext_add(cert, cert, NID_key_usage, "critical,keyCertSign,cRLSign") && certext_add(cert, cert, NID_subject_key_identifier, "hash") &&
		  certext_add(cert, cert, NID_subject_alt_name, uri);
	return finish(cert, ok, s->key);
}

X509 *svid_leaf(const struct signer *s, const char *domain, const char *name, EVP_PKEY *key, time_t now, unsigned int seconds)
{
	char id[SVID_ID_TEXT], uri[SVID_ID_TEXT + 8];
	svid_id(id, domain, name);
	snprintf(uri, sizeof uri, "URI:%s", id);
	X509 *authority = svid_authority(s, domain), *cert = authority ? begin(key, name, now - CLOCK_SLACK_S, now + seconds) : NULL;
	if (cert) {
		bool ok = X509_set_issuer_name(cert, X509_get_subject_name(authority)) && certext_add(cert, authority, NID_basic_constraints, "critical,CA:FALSE") &&
			  certext_add(cert, authority, NID_key_usage, "critical,digitalSignature") &&
			  certext_add(cert, authority, NID_ext_key_usage, "serverAuth,clientAuth") && certext_add(cert, authority, NID_subject_key_identifier, "hash") &&
			  certext_add(cert, authority, NID_authority_key_identifier, "keyid:always") && certext_add(cert, authority, NID_subject_alt_name, uri);
		cert = finish(cert, ok, s->key);
	}
	X509_free(authority);
	return cert;
}

char *svid_jwt(const struct signer *s, const char *issuer, const char *domain, const char *name, const json_t *audience, time_t now)
{
	char id[SVID_ID_TEXT];
	svid_id(id, domain, name);
	return jws_sign(s->key, json_pack("{s:s, s:s}", "kid", s->kid, "typ", "JWT"),
			json_pack("{s:s, s:s, s:O, s:I, s:I}", "iss", issuer, "sub", id, "aud", audience, "iat", (json_int_t)now, "exp",
				  (json_int_t)now + SVID_JWT_SECONDS));
}

char *svid_pem(X509 *cert)
{
	BIO *bio = BIO_new(BIO_s_mem());
	char *p, *out = NULL;
	if (bio && PEM_write_bio_X509(bio, cert) == 1) {
		long n = BIO_get_mem_data(bio, &p);
		out = n > 0 ? strndup(p, (size_t)n) : NULL;
	}
	BIO_free(bio);
	return out;
}

char *svid_x5c(X509 *cert)
{
	uint8_t *der = NULL;
	int len = i2d_X509(cert, &der);
	char *out = len > 0 ? malloc(BASE64_SIZE((size_t)len)) : NULL;
	if (out)
		base64_encode(out, der, (size_t)len, BASE64_STD);
	OPENSSL_free(der);
	return out;
}

// SPDX-License-Identifier: Apache-2.0
// See shed.h.
#include "ratls/shed.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static pthread_once_t once = PTHREAD_ONCE_INIT;
static uint8_t *nothing;
static int nothing_len;

uint8_t *shed_extensions(X509 *cert, size_t *len)
{
	X509 *small = X509_dup(cert);
	uint8_t *der = NULL, *out = NULL;
	while (small && X509_get_ext_count(small) > 0)
		X509_EXTENSION_free(X509_delete_ext(small, X509_get_ext_count(small) - 1));
	if (small && i2d_re_X509_tbs(small, &der) > 0) {
		OPENSSL_free(der);
		der = NULL;
		int n = i2d_X509(small, &der);
		if (n > 0 && (out = malloc((size_t)n))) {
			memcpy(out, der, (size_t)n);
			*len = (size_t)n;
		}
	}
	OPENSSL_free(der);
	X509_free(small);
	ERR_clear_error();
	return out;
}

X509 *shed_read(const uint8_t *bytes, size_t len)
{
	X509 *cert = d2i_X509(NULL, &bytes, (long)len);
	ERR_clear_error();
	return cert;
}

// Its key is of the kind that takes least memory.
static void make_nothing(void)
{
	EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	X509 *cert = X509_new();
	if (key && cert && X509_set_version(cert, X509_VERSION_3) && ASN1_INTEGER_set(X509_get_serialNumber(cert), 1) &&
	    X509_gmtime_adj(X509_getm_notBefore(cert), 0) && X509_gmtime_adj(X509_getm_notAfter(cert), 0) && X509_set_pubkey(cert, key) &&
	    X509_sign(cert, key, NULL))
		nothing_len = i2d_X509(cert, &nothing);
	X509_free(cert);
	EVP_PKEY_free(key);
}

void shed_certificate(X509 *cert)
{
	pthread_once(&once, make_nothing);
	const uint8_t *bytes = nothing;
	// Decoding into it drops a reference when it fails, for want of memory; this is that one.
	if (nothing_len > 0 && X509_up_ref(cert) && d2i_X509(&cert, &bytes, nothing_len))
		X509_free(cert);
	ERR_clear_error();
}

// SPDX-License-Identifier: Apache-2.0
// Fuzzes RA-TLS certificates: the content of their extensions (by the first byte: evidence, endorsements, older forms), and whole
// certificates in DER. Nothing may pass.
#include <stdint.h>
#include <stdlib.h>

#include "ratls/certificate.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void judge(X509 *cert)
{
	struct attest_result r;
	struct bundle b;
	struct ratls_cert ratls;
	uint8_t bound[64];
	if (attest_result_init(&r) || bundle_init(&b))
		abort();
	bool begun = ratls_cert_begin(cert, 1750000000, &ratls, &b, bound, &r);
	if (begun)
		ratls_cert_check_nonce(&ratls, "nonce", 5, &r);
	const struct evidence_input in = {.bundle = &b, .report_data = begun ? bound : NULL, .now = 1750000000};
	evidence_verify(&in, &r);
	if (attest_passed(&r))
		abort();
	bundle_free(&b);
	attest_result_free(&r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const oids[] = {"2.23.133.5.4.9", "2.23.133.5.4.2", "1.2.840.113741.1337.6", "1.2.840.113741.1.13.1"};
	static EVP_PKEY *key;
	const uint8_t *p = data + 1;
	if (!size)
		return 0;
	if (!key && !(key = EVP_EC_gen("P-256")))
		abort();
	X509 *cert = *data & 4 ? d2i_X509(NULL, &p, (long)size - 1) : X509_new();
	if (cert && !(*data & 4)) {
		ASN1_OBJECT *oid = OBJ_txt2obj(oids[*data & 3], 1);
		ASN1_OCTET_STRING *s = ASN1_OCTET_STRING_new();
		ASN1_OCTET_STRING_set(s, p, (int)size - 1);
		X509_EXTENSION *e = X509_EXTENSION_create_by_OBJ(NULL, oid, 0, s);
		X509_add_ext(cert, e, -1);
		X509_set_pubkey(cert, key);
		X509_EXTENSION_free(e);
		ASN1_OCTET_STRING_free(s);
		ASN1_OBJECT_free(oid);
	}
	if (cert)
		judge(cert);
	X509_free(cert);
	return 0;
}

// SPDX-License-Identifier: Apache-2.0
// See pck_chain.h.
#include "attest/pck_chain.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

// SHA-256 of the public key (DER) of the "Intel SGX Root CA".
static const char intel_root_key[] = "a0af031289f5d5d4132f9186068a7fc13628633ba235777472e29b6b6c67a49e";

// 1.2.840.113741.1.13.1
static const uint8_t pck_extension[] = {0x2a, 0x86, 0x48, 0x86, 0xf8, 0x4d, 0x01, 0x0d, 0x01};

bool dcap_root_is_intel(X509 *root)
{
	char hex[65];
	return cert_key_digest(root, hex) && !strcmp(hex, intel_root_key);
}

static void destroy(void *p)
{
	struct pck_chain *c = p;
	verify_key_free(c->key);
	cert_list_free(&c->certs);
	free(c);
}

static void read_platform(struct pck_chain *c)
{
	char issuer[128] = "";
	const ASN1_OCTET_STRING *e = c->certs.count ? cert_extension(c->certs.certs[0], pck_extension, sizeof pck_extension) : NULL;
	int err = e ? pck_platform_read(ASN1_STRING_get0_data(e), (size_t)ASN1_STRING_length(e), &c->platform, &c->platform_why)
		    : fault_set(&c->platform_why, -EINVAL, "the PCK certificate does not describe its platform");
	c->platform_read = !err;
	if (err)
		return;
	X509_NAME_get_text_by_NID(X509_get_issuer_name(c->certs.certs[0]), NID_commonName, issuer, sizeof issuer);
	c->processor = strcasestr(issuer, "processor");
}

struct shared_entry *pck_chain_of(const void *bytes, size_t len)
{
	static struct shared_cache platforms = SHARED_CACHE_INIT;
	unsigned int count;
	while (len && !((const char *)bytes)[len - 1])
		len--;
	const struct shared_part key = {bytes, len};
	struct shared_entry *e = shared_get(&platforms, &key, 1);
	struct pck_chain *c = e ? NULL : calloc(1, sizeof *c);
	if (e || !c)
		return e;
	c->err = cert_list_add(&c->certs, bytes, len, &c->why);
	cert_list_leaf_first(&c->certs);
	if (!c->err)
		c->err = cert_order(&c->certs, c->chain, 3, &count, &c->why);
	if (!c->err && count != 3)
		c->err = fault_set(&c->why, -EBADMSG, "a chain of %u certificates, not 3", count);
	if (!c->err) {
		c->intel_root = dcap_root_is_intel(c->chain[2]);
		c->key = verify_key_new(X509_get0_pubkey(c->chain[0]));
	}
	read_platform(c);
	if (c->err == -ENOMEM) {	// says nothing of the chain
		destroy(c);
		return NULL;
	}
	e = shared_put(&platforms, &key, 1, c, destroy);
	if (!e)
		destroy(c);
	return e;
}

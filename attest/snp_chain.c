// SPDX-License-Identifier: Apache-2.0
// See snp_chain.h. Pure over the certificates given.
#include "attest/snp_chain.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "attest/cert.h"

// SHA-256 of the DER of AMD's root keys (ARK), as published at kdsintf.amd.com.
static const struct {
	const char *product;
	const char *sha256;
} amd_roots[] = {
	{"Milan", "69d063b45344d26a2e94e1f4210de49ef555308287d4c174445c95639a540bcd"},
	{"Genoa", "4c6598d19c18719c5dfd4a7d335f674e5bfe1d8f800cea2cf270c10d103db2f1"},
	{"Turin", "1f084161a44bb6d93778a904877d4819cafa5d05ef4193b2ded9dd9c73dd3f6a"},
};

static int add(struct snp_chain *c, X509 *cert, struct fault *f)
{
	if (c->count == SNP_MAX_CERTS) {
		X509_free(cert);
		return fault_set(f, -E2BIG, "more than %d certificates", SNP_MAX_CERTS);
	}
	c->certs[c->count++] = cert;
	return 0;
}

int snp_chain_add_pem(struct snp_chain *c, const char *pem, size_t len, struct fault *f)
{
	BIO *bio = len <= 1 << 20 ? BIO_new_mem_buf(pem, (int)len) : NULL;
	unsigned int before = c->count;
	int err = 0;
	X509 *cert;
	while (bio && !err && (cert = PEM_read_bio_X509(bio, NULL, NULL, NULL)))
		err = add(c, cert, f);
	BIO_free(bio);
	ERR_clear_error();
	if (!err && c->count == before)
		err = fault_set(f, -EINVAL, "no certificate in the PEM text");
	return err;
}

int snp_chain_add_der(struct snp_chain *c, const uint8_t *der, size_t len, struct fault *f)
{
	const uint8_t *p = der;
	X509 *cert = len <= 1 << 20 ? d2i_X509(NULL, &p, (long)len) : NULL;
	ERR_clear_error();
	if (!cert || p != der + len) {
		X509_free(cert);
		return fault_set(f, -EINVAL, "not a certificate in DER");
	}
	return add(c, cert, f);
}

void snp_chain_free(struct snp_chain *c)
{
	for (unsigned int i = 0; i < c->count; i++)
		X509_free(c->certs[i]);
	c->count = 0;
	free(c->links);
	c->links = NULL;
}

int snp_chain_order(const struct snp_chain *c, X509 *ordered[3], struct fault *f)
{
	char name[128];
	memset(ordered, 0, 3 * sizeof *ordered);
	if (!c->count)
		return fault_set(f, -EBADMSG, "no certificates");
	ordered[0] = c->certs[0];
	for (int level = 1; level < 3; level++) {
		for (unsigned int i = 1; i < c->count && !ordered[level]; i++) {
			if (cert_is_authority(c->certs[i]) && cert_signed_by(ordered[level - 1], c->certs[i]))
				ordered[level] = c->certs[i];
		}
		if (!ordered[level])
			return fault_set(f, -EBADMSG, "no certificate that signed '%s'",
					 cert_subject(ordered[level - 1], name, sizeof name));
	}
	if (!cert_signed_by(ordered[2], ordered[2]))
		return fault_set(f, -EBADMSG, "'%s' is not a root (not signed by itself)",
				 cert_subject(ordered[2], name, sizeof name));
	return 0;
}

int snp_chain_dates(X509 *const ordered[3], time_t now, struct fault *f)
{
	int err = 0;
	for (int i = 0; i < 3 && !err; i++)
		err = cert_dates(ordered[i], now, f);
	return err;
}

enum snp_root snp_root_of(X509 *root, X509 *const *simulated, unsigned int count, const char **product)
{
	char hex[65];
	*product = "";
	if (!cert_digest(root, hex))
		return SNP_ROOT_UNKNOWN;
	for (size_t i = 0; i < sizeof amd_roots / sizeof *amd_roots; i++) {
		if (!strcmp(amd_roots[i].sha256, hex)) {
			*product = amd_roots[i].product;
			return SNP_ROOT_AMD;
		}
	}
	for (unsigned int i = 0; i < count; i++) {
		if (!X509_cmp(root, simulated[i]))
			return SNP_ROOT_SIMULATED;
	}
	return SNP_ROOT_UNKNOWN;
}

// The DER content of extension 1.3.6.1.4.1.3704.1.<suffix>, or NULL.
static const ASN1_OCTET_STRING *extension(X509 *cert, const char *suffix)
{
	char oid[64];
	snprintf(oid, sizeof oid, "1.3.6.1.4.1.3704.1.%s", suffix);
	ASN1_OBJECT *obj = OBJ_txt2obj(oid, 1);
	int i = obj ? X509_get_ext_by_OBJ(cert, obj, -1) : -1;
	ASN1_OBJECT_free(obj);
	return i < 0 ? NULL : X509_EXTENSION_get_data(X509_get_ext(cert, i));
}

// One part of the TCB: a DER INTEGER of 0..255. -1 when missing, -2 when malformed.
static int svn(X509 *cert, const char *suffix)
{
	const ASN1_OCTET_STRING *e = extension(cert, suffix);
	if (!e)
		return -1;
	const uint8_t *p = ASN1_STRING_get0_data(e);
	int len = ASN1_STRING_length(e);
	if (len == 3 && p[0] == 0x02 && p[1] == 1 && p[2] < 0x80)
		return p[2];
	if (len == 4 && p[0] == 0x02 && p[1] == 2 && p[2] == 0 && p[3] >= 0x80)
		return p[3];
	return -2;
}

int snp_leaf_read(X509 *leaf, struct snp_leaf *out, struct fault *f)
{
	memset(out, 0, sizeof *out);
	out->bootloader = svn(leaf, "3.1");
	out->tee = svn(leaf, "3.2");
	out->snp = svn(leaf, "3.3");
	out->microcode = svn(leaf, "3.8");
	out->fmc = svn(leaf, "3.9");
	out->has_fmc = out->fmc >= 0;
	if (out->bootloader < 0 || out->tee < 0 || out->snp < 0 || out->microcode < 0 || out->fmc == -2)
		return fault_set(f, -EINVAL, "the certificate's TCB extensions are missing or malformed");
	const ASN1_OCTET_STRING *e = extension(leaf, "2");
	if (e) {	// IA5String
		const uint8_t *p = ASN1_STRING_get0_data(e);
		int len = ASN1_STRING_length(e);
		if (len < 2 || p[0] != 0x16 || p[1] != len - 2 || p[1] >= sizeof out->product)
			return fault_set(f, -EINVAL, "the certificate's product name is malformed");
		memcpy(out->product, p + 2, p[1]);
		for (char *c = out->product; *c; c++) {
			if (*c < ' ' || *c >= 0x7f)
				*c = '?';
		}
	}
	out->is_vlek = extension(leaf, "5") != NULL;
	e = extension(leaf, "4");
	if (e) {
		const uint8_t *p = ASN1_STRING_get0_data(e);
		int len = ASN1_STRING_length(e);
		// Raw bytes, or wrapped in a DER OCTET STRING.
		if (len > 2 && len <= 66 && p[0] == 0x04 && p[1] == len - 2 && len != 64) {
			p += 2;
			len -= 2;
		}
		if (len != 64 && len != 8)
			return fault_set(f, -EINVAL, "the certificate's chip id is malformed");
		memcpy(out->hwid, p, (size_t)len);
		out->hwid_len = (size_t)len;
		out->has_hwid = true;
	}
	return 0;
}

void snp_chain_links(const struct snp_chain *c, struct snp_links *out)
{
	out->why.text[0] = out->leaf_why.text[0] = '\0';
	out->err = snp_chain_order(c, out->ordered, &out->why);
	out->leaf_err = c->count ? snp_leaf_read(c->certs[0], &out->leaf, &out->leaf_why) : -ENOENT;
}

void snp_chain_keep_links(struct snp_chain *c)
{
	c->links = malloc(sizeof *c->links);
	if (c->links)
		snp_chain_links(c, c->links);
	if (c->links && (c->links->err || c->links->leaf_err)) {	// a lack of memory looks like a bad signature
		free(c->links);
		c->links = NULL;
	}
}

// SPDX-License-Identifier: Apache-2.0
// One item of collateral: takes the forms in which services and tools hand it out, and checks that it is what its name says: well-formed,
// about that platform or chip, signed under the chain that came with it. Whether that chain ends in a root that counts is the verifiers'
// business; here it is only told. See collateral.h. Untrusted bytes: the fuzz target fuzz_collateral drives it. Pure; no locks.
#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "attest/cert.h"
#include "attest/collateral.h"
#include "attest/csv.h"
#include "attest/dcap.h"
#include "attest/pck_chain.h"
#include "attest/slice.h"
#include "attest/snp_chain.h"
#include "lib/encode.h"

void collateral_item_free(struct collateral_item *i)
{
	free(i->body);
	free(i->chain);
	i->body = i->chain = NULL;
	i->body_len = i->chain_len = 0;
}

static char *copy(const void *bytes, size_t len)
{
	char *p = malloc(len + 1);
	if (p) {
		memcpy(p, bytes, len);
		p[len] = '\0';
	}
	return p;
}

static void name_of(const X509_NAME *name, char *out, size_t size)
{
	if (X509_NAME_get_text_by_NID((X509_NAME *)name, NID_commonName, out, (int)size) < 0)
		out[0] = '\0';
	for (char *c = out; *c; c++) {
		if (*c < ' ' || *c >= 0x7f)
			*c = '?';
	}
}

static bool is_text(const char *s, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if ((s[i] < ' ' || s[i] >= 0x7f) && !strchr("\t\r\n", s[i] ? s[i] : 'x'))
			return false;
	}
	return true;
}

static void expires_with(struct collateral_item *i, time_t t)
{
	if (t >= 0 && (i->expires < 0 || t < i->expires))
		i->expires = t;
}

// What makes a revocation list: DER, PEM, or hex as caches write it.
static X509_CRL *read_list(const char *body, size_t len)
{
	size_t digits = 0;
	uint8_t *bytes = NULL;
	while (digits < len && body[digits] && strchr("0123456789abcdefABCDEF", body[digits]))
		digits++;
	bool hex = digits && digits % 2 == 0;
	for (size_t k = digits; hex && k < len; k++)	// a line end, perhaps
		hex = body[k] == '\n' || body[k] == '\r' || body[k] == ' ';
	char *text = hex ? copy(body, digits) : NULL;
	if (text && (bytes = malloc(digits / 2)) && !hex_decode(bytes, digits / 2, text)) {
		body = (const char *)bytes;
		len = digits / 2;
	}
	X509_CRL *crl = cert_crl_read(body, len);
	free(bytes);
	free(text);
	return crl;
}

static int take_der(struct collateral_item *i, uint8_t *der, int len, struct fault *f)
{
	if (len <= 0)
		return fault_set(f, -ENOMEM, "out of memory");
	i->body = copy(der, (size_t)len);
	i->body_len = (size_t)len;
	OPENSSL_free(der);
	return i->body ? 0 : fault_set(f, -ENOMEM, "out of memory");
}

static int set_list(struct collateral_item *i, const char *body, size_t len, struct fault *f)
{
	uint8_t *der = NULL;
	X509_CRL *crl = read_list(body, len);
	if (!crl)
		return fault_set(f, -EINVAL, "not a revocation list");
	i->issued = cert_time(X509_CRL_get0_lastUpdate(crl));
	i->expires = cert_time(X509_CRL_get0_nextUpdate(crl));
	name_of(X509_CRL_get_issuer(crl), i->signer, sizeof i->signer);
	int n = i2d_X509_CRL(crl, &der);
	X509_CRL_free(crl);
	return take_der(i, der, n, f);
}

static bool names_processor(const char *name)
{
	return strcasestr(name, "processor") != NULL;
}

// Intel's statements and the list of its PCK authority: opened as a verifier opens them.
static int check_intel(struct collateral_item *i, struct fault *f)
{
	struct dcap_collateral_parts p = {.pck_chain = {NULL, 0}};
	const struct collateral_text body = {i->body, i->body_len}, chain = {i->chain, i->chain_len};
	const struct collateral_signed *s;
	struct dcap_collateral *c;
	const char *part;
	X509 *root = NULL;
	int err = 0;
	switch (i->key.kind) {
	case COLLATERAL_TCB_INFO:
		p.tcb_info = body;
		p.tcb_info_chain = chain;
		break;
	case COLLATERAL_QE_IDENTITY:
		p.qe_identity = body;
		p.qe_identity_chain = chain;
		break;
	default:
		p.pck_crl = body;
		p.pck_crl_chain = chain;
		break;
	}
	if (dcap_collateral_open(&p, &c))
		return fault_set(f, -ENOMEM, "out of memory");
	if (i->key.kind == COLLATERAL_PCK_CRL) {
		root = c->pck_root;
		if (i->chain && !root)
			err = fault_set(f, -EBADMSG, "it is not signed by the chain that came with it");
		else if (names_processor(i->signer) == i->key.platform)
			err = fault_set(f, -EINVAL, "it is the list of '%s'", i->signer);
	} else {
		bool tcb = i->key.kind == COLLATERAL_TCB_INFO;
		s = tcb ? &c->tcb_signed : &c->qe_signed;
		if (!s->good)
			err = fault_set(f, -EBADMSG, "%s", s->why.text);
		else if (i->key.tdx != (tcb ? c->tcb.is_tdx : c->qe.is_td) || (tcb && memcmp(c->tcb.fmspc, i->key.fmspc, 6)))
			err = fault_set(f, -EINVAL, "it is about another kind of platform");
		root = s->good ? s->chain[s->count - 1] : NULL;
		i->issued = tcb ? c->tcb.issued : c->qe.issued;
		i->evaluation = tcb ? c->tcb.evaluation : c->qe.evaluation;
		i->expires = dcap_collateral_expires(c, &part);
	}
	if (!err && root) {
		cert_subject(root, i->signer, sizeof i->signer);
		i->maker_root = dcap_root_is_intel(root);
	}
	dcap_collateral_free(c);
	return err;
}

static int set_vcek(struct collateral_item *i, const char *body, size_t len, struct fault *f)
{
	struct cert_list l = {.count = 0};
	struct snp_leaf leaf;
	uint8_t *der = NULL;
	const struct collateral_key *k = &i->key;
	int err = cert_list_add(&l, body, len, f);
	if (!err && l.count != 1)
		err = fault_set(f, -EINVAL, "%u certificates, not one", l.count);
	if (!err)
		err = snp_leaf_read(l.certs[0], &leaf, f);
	if (!err && (leaf.is_vlek || !leaf.has_hwid || memcmp(leaf.hwid, k->hwid, k->hwid_len)))
		err = fault_set(f, -EINVAL, "it is another chip's");
	if (!err && strncmp(leaf.product, k->product, strlen(k->product)))	// "Milan-B0"
		err = fault_set(f, -EINVAL, "it is of another product: %.40s", leaf.product);
	if (!err && (leaf.bootloader != k->bootloader || leaf.tee != k->tee || leaf.snp != k->snp || leaf.microcode != k->microcode ||
		     (k->fmc >= 0 && leaf.fmc != k->fmc)))
		err = fault_set(f, -EINVAL, "it is of other firmware: TCB %d.%d.%d.%d", leaf.bootloader, leaf.tee, leaf.snp, leaf.microcode);
	if (!err) {
		i->issued = cert_time(X509_get0_notBefore(l.certs[0]));
		i->expires = cert_time(X509_get0_notAfter(l.certs[0]));
		name_of(X509_get_issuer_name(l.certs[0]), i->signer, sizeof i->signer);
		int n = i2d_X509(l.certs[0], &der);
		err = take_der(i, der, n, f);
	}
	cert_list_free(&l);
	return err;
}

// Authority and root, in this order whatever theirs was.
static int set_amd_chain(struct collateral_item *i, const char *body, size_t len, struct fault *f)
{
	struct cert_list l = {.count = 0};
	X509 *chain[2];
	unsigned int count = 0;
	const char *product;
	BIO *bio = NULL;
	char *text;
	int err = cert_list_add(&l, body, len, f);
	cert_list_leaf_first(&l);
	if (!err)
		err = cert_order(&l, chain, 2, &count, f);
	if (!err && (count != 2 || !cert_is_authority(chain[0])))
		err = fault_set(f, -EINVAL, "not an authority's certificate and its root's");
	if (err)
		goto out;
	for (unsigned int c = 0; c < 2; c++)
		expires_with(i, cert_time(X509_get0_notAfter(chain[c])));
	i->issued = cert_time(X509_get0_notBefore(chain[0]));
	cert_subject(chain[1], i->signer, sizeof i->signer);
	i->maker_root = snp_root_of(chain[1], NULL, 0, &product) == SNP_ROOT_AMD;
	if (i->maker_root && strcmp(product, i->key.product)) {
		err = fault_set(f, -EINVAL, "it ends in the root of %s", product);
		goto out;
	}
	bio = BIO_new(BIO_s_mem());
	if (!bio || PEM_write_bio_X509(bio, chain[0]) != 1 || PEM_write_bio_X509(bio, chain[1]) != 1) {
		err = fault_set(f, -ENOMEM, "out of memory");
		goto out;
	}
	i->body_len = (size_t)BIO_get_mem_data(bio, &text);
	i->body = copy(text, i->body_len);
	if (!i->body)
		err = fault_set(f, -ENOMEM, "out of memory");
out:
	BIO_free(bio);
	cert_list_free(&l);
	ERR_clear_error();
	return err;
}

static int set_hygon(struct collateral_item *i, const char *body, size_t len, struct fault *f)
{
	struct csv_cert root, cek;
	const uint8_t *b = (const uint8_t *)body;
	bool chip = i->key.kind == COLLATERAL_HSK_CEK;
	if (len != CSV_ROOT_BYTES + (chip ? CSV_CERT_BYTES : 0))
		return fault_set(f, -EINVAL, "%zu bytes, not %d", len, CSV_ROOT_BYTES + (chip ? CSV_CERT_BYTES : 0));
	int err = csv_root_read(b, CSV_ROOT_BYTES, &root, f);
	if (!err && root.usage != (chip ? CSV_USAGE_HSK : CSV_USAGE_HRK))
		err = fault_set(f, -EINVAL, "a certificate for another use");
	if (!err && chip)
		err = csv_cert_read(b + CSV_ROOT_BYTES, CSV_CERT_BYTES, &cek, f);
	if (err)
		return err;
	strcpy(i->signer, chip ? "HSK" : "HRK");
	i->body = copy(body, len);
	i->body_len = len;
	return i->body ? 0 : fault_set(f, -ENOMEM, "out of memory");
}

int collateral_item_set(struct collateral_item *i, const void *body, size_t len, const char *chain, size_t chain_len, struct fault *f)
{
	int err = 0;
	i->body = i->chain = NULL;
	i->issued = i->expires = -1;
	i->evaluation = -1;
	i->maker_root = false;
	i->signer[0] = '\0';
	i->chain_len = 0;
	if (!len || len > COLLATERAL_MAX_BODY || chain_len > COLLATERAL_MAX_CHAIN)
		return fault_set(f, -EINVAL, len ? "too large" : "empty");
	if (chain && !is_text(chain, chain_len))
		return fault_set(f, -EINVAL, "its issuer's chain is no text");
	if (chain && !(i->chain = copy(chain, chain_len)))
		return fault_set(f, -ENOMEM, "out of memory");
	i->chain_len = chain ? chain_len : 0;
	switch (i->key.kind) {
	case COLLATERAL_TCB_INFO:
	case COLLATERAL_QE_IDENTITY:
		i->body = copy(body, len);
		i->body_len = len;
		err = i->body ? check_intel(i, f) : fault_set(f, -ENOMEM, "out of memory");
		break;
	case COLLATERAL_PCK_CRL:
		err = set_list(i, body, len, f);
		if (!err)
			err = check_intel(i, f);
		break;
	case COLLATERAL_ROOT_CRL:
	case COLLATERAL_AMD_CRL:
		err = set_list(i, body, len, f);
		break;
	case COLLATERAL_VCEK:
		err = set_vcek(i, body, len, f);
		break;
	case COLLATERAL_AMD_CHAIN:
		err = set_amd_chain(i, body, len, f);
		break;
	case COLLATERAL_HSK_CEK:
	case COLLATERAL_HRK:
		err = set_hygon(i, body, len, f);
		break;
	}
	if (err)
		collateral_item_free(i);
	return err;
}

int collateral_item_read(struct collateral_item *i, const char *text, size_t len, struct fault *f)
{
	uint8_t *bytes = NULL;
	memset(i, 0, sizeof *i);
	json_t *o = slice_parse(text, len, f);
	if (!o)
		return -EINVAL;
	const json_t *chain = json_object_get(o, "issuer_chain"), *body = json_object_get(o, "text"), *b64 = json_object_get(o, "bytes");
	const char *content = json_string_value(body);
	size_t n = json_string_length(body);
	int err = 0;
	if (strcmp(slice_text(o, "format"), COLLATERAL_FORMAT))
		err = fault_set(f, -EINVAL, "not a file of the format " COLLATERAL_FORMAT);
	else if (!content == !json_is_string(b64) || (chain && !json_is_string(chain)))
		err = fault_set(f, -EINVAL, "it has no contents, or two");
	if (!err)
		err = collateral_key_read(slice_text(o, "path"), &i->key, f);
	if (!err && !content) {
		n = json_string_length(b64);
		bytes = malloc(n + 1);
		ssize_t got = bytes ? base64_decode(bytes, n, json_string_value(b64), n, BASE64_STD) : -1;
		if (got < 0)
			err = fault_set(f, -EINVAL, "its contents are not base64");
		content = (const char *)bytes;
		n = got < 0 ? 0 : (size_t)got;
	}
	if (!err) {
		snprintf(i->source, sizeof i->source, "%s", slice_text(o, "source"));
		for (char *c = i->source; *c; c++) {
			if ((unsigned char)*c < ' ' || *c == 0x7f)
				*c = '?';
		}
		i->fetched = slice_time(json_object_get(o, "fetched"));
		err = collateral_item_set(i, content, n, json_string_value(chain), json_string_length(chain), f);
	}
	free(bytes);
	json_decref(o);
	return err;
}

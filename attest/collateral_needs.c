// SPDX-License-Identifier: Apache-2.0
// What a piece of evidence needs of its maker, and putting that into its bundle. See collateral.h. Evidence is untrusted: what it names
// decides which items are looked for, never whether they are believed. No network, no locks.
#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "attest/bytes.h"
#include "attest/cert.h"
#include "attest/collateral.h"
#include "attest/csv.h"
#include "attest/dcap.h"
#include "attest/evidence.h"
#include "attest/hcl.h"
#include "attest/pck_chain.h"
#include "attest/snp_chain.h"
#include "lib/encode.h"

__attribute__((format(printf, 2, 3))) static void need(struct collateral_needs *n, const char *format, ...)
{
	char path[COLLATERAL_MAX_PATH];
	va_list ap;
	va_start(ap, format);
	vsnprintf(path, sizeof path, format, ap);
	va_end(ap);
	if (n->count == COLLATERAL_MAX_NEEDS || collateral_key_read(path, &n->need[n->count].key, NULL))
		return;
	n->need[n->count].state = COLLATERAL_MISSING;
	n->need[n->count++].expires = -1;
}

// The platform's certificate: in the quote, or beside it.
static void needs_of_pck(struct bundle *b, const struct dcap_quote *q, struct collateral_needs *n, const char *tee)
{
	char fmspc[13];
	size_t len = q->cert_len;
	const char *pem = (const char *)q->cert_data;
	if (q->cert_type != DCAP_CERT_PCK_CHAIN)
		pem = bundle_text(b, "pck_certificate_chain", &len);
	struct shared_entry *e = pem ? pck_chain_of(pem, len) : NULL;
	const struct pck_chain *c = e ? shared_object(e) : NULL;
	if (!c || !c->platform_read) {
		snprintf(n->note, sizeof n->note, "the quote %s: give the chain of its PCK certificate (pck_certificate_chain in a bundle), which "
			 "says what kind of platform it is",
			 q->cert_type == DCAP_CERT_PCK_CHAIN ? "carries a PCK certificate that cannot be read" : "only names its platform");
	} else {
		need(n, "/%s/certification/v4/tcb?fmspc=%s", tee, hex_encode(fmspc, c->platform.fmspc, 6));
		need(n, "/sgx/certification/v4/pckcrl?ca=%s", c->processor ? "processor" : "platform");
	}
	shared_release(e);
}

static int needs_of_quote(struct bundle *b, const uint8_t *bytes, size_t len, struct collateral_needs *n, struct fault *f)
{
	struct dcap_quote q;
	int err = dcap_quote_parse(bytes, len, &q, f);
	if (err)
		return -EINVAL;
	const char *tee = q.is_tdx ? "tdx" : "sgx";
	needs_of_pck(b, &q, n, tee);
	need(n, "/%s/certification/v4/qe/identity", tee);
	need(n, "/IntelSGXRootCA.der");
	return 0;
}

// The certificates that come with a report: in the bundle, else in the table behind it.
static void own_certificates(struct bundle *b, const uint8_t *evidence, size_t len, struct snp_chain *chain)
{
	size_t n;
	const char *pem = bundle_text(b, "certificates", &n);
	struct shared_entry *shared = pem ? cert_list_shared(pem, n) : NULL;
	const struct cert_list *l = shared ? shared_object(shared) : NULL;
	for (unsigned int i = 0; l && i < l->count && chain->count < SNP_MAX_CERTS; i++) {
		chain->certs[chain->count] = l->certs[i];
		X509_up_ref(chain->certs[chain->count++]);
	}
	shared_release(shared);
	if (!pem && len > SNP_REPORT_BYTES && evidence_kind_of(evidence, len) == EVIDENCE_SNP)
		snp_chain_add_table(chain, evidence + SNP_REPORT_BYTES, len - SNP_REPORT_BYTES, NULL);
}

static void needs_of_chip(const struct snp_report *r, const char *product, struct collateral_needs *n)
{
	char hex[129], fmc[16] = "";
	bool turin = !strcmp(product, "Turin");
	uint8_t tcb[8];
	for (int i = 0; i < 8; i++)
		tcb[i] = (uint8_t)(r->reported_tcb >> 8 * i);
	hex_encode(hex, r->chip_id, turin ? 8 : sizeof r->chip_id);
	if (turin)
		snprintf(fmc, sizeof fmc, "fmcSPL=%u&", tcb[0]);
	need(n, "/vcek/v1/%s/%s?%sblSPL=%u&teeSPL=%u&snpSPL=%u&ucodeSPL=%u", product, hex, fmc, tcb[turin], tcb[turin + 1], tcb[turin ? 3 : 6], tcb[7]);
}

static int needs_of_report(const uint8_t *report, const struct snp_chain *own, const char *product, struct collateral_needs *n,
			   struct fault *f)
{
	struct snp_report r;
	struct snp_leaf leaf;
	X509 *ordered[3];
	int err = snp_parse(report, SNP_REPORT_BYTES, &r, f);
	if (err)
		return err;
	bool has_leaf = own->count && !snp_leaf_read(own->certs[0], &leaf, NULL), vlek = (r.key_info >> 2 & 7) == SNP_KEY_VLEK;
	if (!product || !*product)
		product = snp_product(&r);
	for (const char *const *p = (const char *const[]){"Milan", "Genoa", "Turin", NULL}; !*product && has_leaf && *p; p++) {
		if (!strncmp(leaf.product, *p, strlen(*p)))
			product = *p;
	}
	if (!*product) {
		product = "Milan";
		n->product_guessed = true;
	}
	if (!has_leaf && vlek)
		snprintf(n->note, sizeof n->note, "the report is signed by a VLEK, whose certificate only the provider of the machine has: it comes with "
			 "the report (extended report), or give it with --collateral");
	else if (!has_leaf && (r.key_info & 2 || all_bytes(r.chip_id, sizeof r.chip_id, 0)))
		snprintf(n->note, sizeof n->note, "the report hides its chip, so that its VCEK cannot be asked for: it comes with the report (extended "
			 "report), or from the provider of the machine");
	else if (!has_leaf)
		needs_of_chip(&r, product, n);
	if (!has_leaf || snp_chain_order(own, ordered, NULL))
		need(n, "/%s/v1/%s/cert_chain", vlek ? "vlek" : "vcek", product);
	need(n, "/%s/v1/%s/crl", vlek ? "vlek" : "vcek", product);
	return 0;
}

int collateral_needs(struct bundle *b, const char *product, struct collateral_needs *n, struct fault *f)
{
	struct snp_chain own = {.count = 0};
	struct csv_report csv;
	struct hcl_report hcl;
	size_t len, quote_len;
	memset(n, 0, sizeof *n);
	const uint8_t *evidence = bundle_bytes(b, "evidence", &len), *quote;
	enum evidence_kind kind = evidence ? evidence_kind_of(evidence, len) : json_object_get(b->json, "tpm_quote") ? EVIDENCE_TPM
				  : json_object_get(b->json, "device_evidence_list") ? EVIDENCE_GPU : EVIDENCE_UNKNOWN;
	int err = 0;
	switch (kind) {
	case EVIDENCE_SGX:
	case EVIDENCE_TDX:
		err = needs_of_quote(b, evidence, len, n, f);
		break;
	case EVIDENCE_SNP:
		own_certificates(b, evidence, len, &own);
		err = len < SNP_REPORT_BYTES ? fault_set(f, -EINVAL, "a report that is cut short")
					     : needs_of_report(evidence, &own, product, n, f);
		break;
	case EVIDENCE_HCL:
		err = hcl_parse(evidence, len, &hcl, f);
		if (err)
			break;
		quote = bundle_bytes(b, "quote", &quote_len);
		if (hcl.hardware == HCL_SNP) {
			own_certificates(b, evidence, len, &own);
			err = needs_of_report(hcl.report, &own, product, n, f);
		} else if (quote) {
			err = needs_of_quote(b, quote, quote_len, n, f);
		} else {
			snprintf(n->note, sizeof n->note, "Azure on TDX: the quote that the machine's host makes of the report is missing (`quote`)");
		}
		break;
	case EVIDENCE_CSV:
		err = csv_parse(evidence, len, &csv, f);
		if (!err)
			need(n, "/hsk_cek?snumber=%s", (const char *)csv.serial);
		need(n, "/hrk");
		break;
	case EVIDENCE_CCA:
		snprintf(n->note, sizeof n->note, "Arm has no common service: the maker of the machine gives the platform's key (cca_platform_key)");
		break;
	case EVIDENCE_TPM:
	case EVIDENCE_LOG:
	case EVIDENCE_GPU:
		break;
	case EVIDENCE_UNKNOWN:
		err = fault_set(f, -EINVAL, evidence ? "evidence of no kind that is known" : "no evidence");
		break;
	}
	snp_chain_free(&own);
	return err ? -EINVAL : 0;
}

// The members that an item stands for: what is asked for it, and what says that the bundle has its like.
static const char *member_of(const struct collateral_key *k)
{
	static const char *const names[] = {
		[COLLATERAL_TCB_INFO] = "tcb_info", [COLLATERAL_QE_IDENTITY] = "qe_identity", [COLLATERAL_PCK_CRL] = "pck_crl",
		[COLLATERAL_ROOT_CRL] = "root_ca_crl", [COLLATERAL_VCEK] = "certificates", [COLLATERAL_AMD_CHAIN] = "certificates",
		[COLLATERAL_AMD_CRL] = "crl", [COLLATERAL_HSK_CEK] = "hsk_cek", [COLLATERAL_HRK] = "hrk",
	};
	return names[k->kind];
}

static int put_certificates(struct bundle *b, const char *first, size_t first_len, const char *second, size_t second_len)
{
	char *all = malloc(first_len + second_len + 1);
	if (!all)
		return -ENOMEM;
	if (first_len)
		memcpy(all, first, first_len);
	if (second_len)
		memcpy(all + first_len, second, second_len);
	int err = bundle_put_text(b, "certificates", all, first_len + second_len);
	free(all);
	return err;
}

static int add_vcek(const struct collateral_item *i, struct bundle *b)
{
	const uint8_t *der = (const uint8_t *)i->body;
	X509 *cert = d2i_X509(NULL, &der, (long)i->body_len);
	BIO *bio = BIO_new(BIO_s_mem());
	char *pem;
	size_t rest_len;
	int err = -ENOMEM;
	if (cert && bio && PEM_write_bio_X509(bio, cert) == 1) {
		const char *rest = bundle_text(b, "certificates", &rest_len);
		size_t n = (size_t)BIO_get_mem_data(bio, &pem);
		err = put_certificates(b, pem, n, rest, rest ? rest_len : 0);
	}
	BIO_free(bio);
	X509_free(cert);
	ERR_clear_error();
	return err;
}

// The chain goes behind the chip's certificate: that of the bundle, or one that the report brought in its table.
static int add_amd_chain(const struct collateral_item *i, struct bundle *b)
{
	struct snp_chain own = {.count = 0};
	size_t n, len;
	char *pem;
	int err = 0;
	const char *there = bundle_text(b, "certificates", &n);
	if (there)
		return put_certificates(b, there, n, i->body, i->body_len);
	const uint8_t *evidence = bundle_bytes(b, "evidence", &len);
	if (evidence)
		own_certificates(b, evidence, len, &own);
	BIO *bio = own.count ? BIO_new(BIO_s_mem()) : NULL;
	if (own.count && (!bio || PEM_write_bio_X509(bio, own.certs[0]) != 1))
		err = -ENOMEM;
	n = bio ? (size_t)BIO_get_mem_data(bio, &pem) : 0;
	if (!err)
		err = put_certificates(b, bio ? pem : NULL, n, i->body, i->body_len);
	BIO_free(bio);
	snp_chain_free(&own);
	return err;
}

static bool is_statement(const struct collateral_key *k)
{
	return k->kind == COLLATERAL_TCB_INFO || k->kind == COLLATERAL_QE_IDENTITY;
}

json_t *collateral_body_text(const struct collateral_item *i)
{
	if (is_statement(&i->key))
		return json_stringn(i->body, i->body_len);
	char *text = malloc(BASE64_SIZE(i->body_len));
	json_t *j = text ? json_stringn_nocheck(text, base64_encode(text, i->body, i->body_len, BASE64_STD)) : NULL;
	free(text);
	return j;
}

// What is not only put there, but into what is there.
static int add_certificates(const struct collateral_item *i, struct bundle *b)
{
	return i->key.kind == COLLATERAL_VCEK ? add_vcek(i, b) : add_amd_chain(i, b);
}

static int put_item(const struct collateral_key *k, json_t *body, json_t *chain, struct bundle *b)
{
	static const char *const chains[] = {
		[COLLATERAL_TCB_INFO] = "tcb_info_issuer_chain", [COLLATERAL_QE_IDENTITY] = "qe_identity_issuer_chain",
		[COLLATERAL_PCK_CRL] = "pck_crl_issuer_chain",
	};
	if (is_statement(k))
		json_object_del(b->json, k->kind == COLLATERAL_TCB_INFO ? "tcb_info_signature" : "qe_identity_signature");
	int err = body ? bundle_put_shared(b, member_of(k), body) : -ENOMEM;
	if (!err && chain && k->kind <= COLLATERAL_PCK_CRL)
		err = bundle_put_shared(b, chains[k->kind], chain);
	return err;
}

static bool is_certificate(const struct collateral_key *k)
{
	return k->kind == COLLATERAL_VCEK || k->kind == COLLATERAL_AMD_CHAIN;
}

int collateral_to_bundle(const struct collateral_item *i, struct bundle *b, struct fault *f)
{
	int err;
	if (is_certificate(&i->key)) {
		err = add_certificates(i, b);
	} else {
		json_t *body = collateral_body_text(i), *chain = i->chain ? json_stringn(i->chain, i->chain_len) : NULL;
		err = put_item(&i->key, body, chain, b);
		json_decref(body);
		json_decref(chain);
	}
	return err ? fault_set(f, -ENOMEM, "out of memory") : 0;
}

// Early statements are ahead of the standard ones, unless nobody fetched them for long.
static bool early_counts(const struct collateral_item *early, const struct collateral_item *standard, time_t now)
{
	bool over = early->expires >= 0 && early->expires < now, standard_over = standard->expires >= 0 && standard->expires < now;
	return over == standard_over ? early->evaluation >= standard->evaluation : !over;
}

// One of the wanted items.
static int find(struct collateral_store *s, struct collateral_key *k, time_t now, struct collateral_kept **item)
{
	struct collateral_key early_key;
	struct collateral_kept *early;
	char path[COLLATERAL_MAX_PATH + 16];
	int err = collateral_borrow(s, k, item, NULL);
	if (!is_statement(k))
		return err;
	snprintf(path, sizeof path, "%s%cupdate=early", k->path, strchr(k->path, '?') ? '&' : '?');
	if (collateral_key_read(path, &early_key, NULL) || collateral_borrow(s, &early_key, &early, NULL))
		return err;
	if (!err && !early_counts(&early->item, &(*item)->item, now)) {
		collateral_release(early);
		return 0;
	}
	if (!err)
		collateral_release(*item);
	*item = early;
	*k = early_key;
	return 0;
}

static int fill(struct collateral_store *s, struct bundle *b, time_t now, struct collateral_needs *n, struct fault *f)
{
	int err = 0;
	for (unsigned int i = 0; i < n->count && !err; i++) {
		struct collateral_key *k = &n->need[i].key;
		struct collateral_kept *kept;
		// A chip's certificate and its chain are listed only where the evidence lacks them.
		n->need[i].in_bundle = !is_certificate(k) && json_object_get(b->json, member_of(k));
		if (find(s, k, now, &kept)) {
			n->need[i].state = n->need[i].in_bundle ? COLLATERAL_THERE : COLLATERAL_MISSING;
			continue;
		}
		bool expired = kept->item.expires >= 0 && kept->item.expires < now;
		n->need[i].expires = kept->item.expires;
		n->need[i].state = expired && !n->need[i].in_bundle ? COLLATERAL_EXPIRED : COLLATERAL_THERE;
		if (!expired || !n->need[i].in_bundle)
			err = is_certificate(k) ? add_certificates(&kept->item, b) : put_item(k, kept->body, kept->chain, b);
		if (err)
			fault_set(f, err, "out of memory");
		collateral_release(kept);
	}
	return err;
}

// A report that does not say which product it is of: the one whose certificate is kept.
static void settle_product(struct collateral_store *s, struct bundle *b, struct collateral_needs *n)
{
	struct collateral_needs other;
	struct collateral_item item;
	if (!n->product_guessed || !collateral_get(s, &n->need[0].key, &item, NULL)) {
		if (n->product_guessed)
			collateral_item_free(&item);
		return;
	}
	if (collateral_needs(b, "Genoa", &other, NULL) || collateral_get(s, &other.need[0].key, &item, NULL))
		return;
	collateral_item_free(&item);
	*n = other;
}

int collateral_fill(struct collateral_store *s, struct bundle *b, time_t now, struct collateral_needs *out, struct fault *f)
{
	struct collateral_needs own, *n = out ? out : &own;
	int err = collateral_needs(b, NULL, n, f);
	if (err)
		return err;
	settle_product(s, b, n);
	return fill(s, b, now, n, f);
}

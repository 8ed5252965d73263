// SPDX-License-Identifier: Apache-2.0
// Items out of files that other tools wrote. See collateral.h. What a file is about follows from its contents; the item's own checks say
// whether that is true. Untrusted bytes: the fuzz target fuzz_collateral drives it. Pure; no locks.
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
#include "attest/slice.h"
#include "attest/snp_chain.h"
#include "lib/encode.h"

struct import {
	const struct collateral_origin *o;
	int (*take)(void *ctx, const struct collateral_item *i, const char *what, const char *why);
	void *ctx;
	int count, result;
};

static void refuse(struct import *m, const char *what, const char *why)
{
	m->count++;
	if (!m->result)
		m->result = m->take(m->ctx, NULL, what, why);
}

// One item by its maker's path; `chain` NULL: the one that was given beside the file.
static void offer(struct import *m, const char *path, const char *what, const void *body, size_t len, const char *chain, size_t chain_len)
{
	struct collateral_item i = {.fetched = m->o->time};
	struct fault why = {""};
	if (m->result)
		return;
	if (!chain) {
		chain = m->o->chain;
		chain_len = m->o->chain_len;
	}
	snprintf(i.source, sizeof i.source, "%s", m->o->source);
	int err = collateral_key_read(path, &i.key, &why);
	bool chained = !err && (i.key.kind == COLLATERAL_TCB_INFO || i.key.kind == COLLATERAL_QE_IDENTITY || i.key.kind == COLLATERAL_PCK_CRL);
	if (!err)
		err = collateral_item_set(&i, body, len, chained ? chain : NULL, chained ? chain_len : 0, &why);
	if (err) {
		refuse(m, what, why.text);
		return;
	}
	m->count++;
	m->result = m->take(m->ctx, &i, what, NULL);
	collateral_item_free(&i);
}

// Headers keep line ends as %0A; files may have them so too.
static char *unescape(const char *text, size_t *len)
{
	char *out = text ? malloc(*len + 1) : NULL;
	size_t n = 0;
	uint8_t byte;
	for (size_t i = 0; out && i < *len; i++) {
		char digits[3] = "";
		if (text[i] == '%' && i + 2 < *len)
			memcpy(digits, text + i + 1, 2);
		bool coded = *digits && !hex_decode(&byte, 1, digits);
		out[n++] = coded ? (char)byte : text[i];
		i += coded ? 2 : 0;
	}
	if (out) {
		out[n] = '\0';
		*len = n;
	}
	return out;
}

// A signed statement of Intel's, the whole answer: says itself what it is about.
static void statement(struct import *m, const char *text, size_t len, bool early, const json_t *chain_text)
{
	const char *inner, *update = early ? "update=early" : "update=standard";
	char path[128] = "";
	size_t n, chain_len = json_string_length(chain_text);
	json_t *o = NULL;
	char *chain = unescape(json_string_value(chain_text), &chain_len);
	bool tcb = !slice_member(text, len, "tcbInfo", &inner, &n, NULL);
	if (tcb || !slice_member(text, len, "enclaveIdentity", &inner, &n, NULL))
		o = slice_parse(inner, n, NULL);
	const char *id = o ? slice_text(o, "id") : "";
	if (tcb && (!strcmp(id, "SGX") || !strcmp(id, "TDX")))
		snprintf(path, sizeof path, "/%s/certification/v4/tcb?fmspc=%.16s&%s", *id == 'T' ? "tdx" : "sgx", slice_text(o, "fmspc"), update);
	else if (!tcb && (!strcmp(id, "QE") || !strcmp(id, "TD_QE")))
		snprintf(path, sizeof path, "/%s/certification/v4/qe/identity?%s", *id == 'T' ? "tdx" : "sgx", update);
	if (*path)
		offer(m, path, tcb ? "TCB info" : "QE identity", text, len, chain, chain_len);
	else if (strcmp(id, "QVE"))	// of Intel's own verifying enclave, which nobody needs here
		refuse(m, tcb ? "TCB info" : "identity", "it is not about SGX or TDX platforms");
	free(chain);
	json_decref(o);
}

// The same as a parsed object: written anew as Intel writes it, without white space; the signature tells whether that is so.
static void statement_object(struct import *m, const json_t *o, bool early, const json_t *chain)
{
	char *text = json_is_object(o) ? json_dumps(o, JSON_COMPACT) : NULL;
	if (json_is_string(o))
		statement(m, json_string_value(o), json_string_length(o), early, chain);
	else if (text)
		statement(m, text, strlen(text), early, chain);
	free(text);
}

// The inner object and its signature apart.
static void statement_apart(struct import *m, const json_t *o, const char *member, const char *name)
{
	char signature_name[40], chain_name[40];
	snprintf(signature_name, sizeof signature_name, "%s_signature", name);
	snprintf(chain_name, sizeof chain_name, "%s_issuer_chain", name);
	const json_t *body = json_object_get(o, name), *signature = json_object_get(o, signature_name), *chain = json_object_get(o, chain_name);
	if (!json_is_string(body))
		return;
	if (!json_is_string(signature)) {
		statement(m, json_string_value(body), json_string_length(body), false, chain);
		return;
	}
	size_t size = json_string_length(body) + json_string_length(signature) + 64;
	char *text = malloc(size);
	if (!text)
		return;
	int n = snprintf(text, size, "{\"%s\":%s,\"signature\":\"%s\"}", member, json_string_value(body), json_string_value(signature));
	statement(m, text, (size_t)n, false, chain);
	free(text);
}

// Whose list it is follows from its issuer's name.
static void list(struct import *m, const void *bytes, size_t len, const char *chain, size_t chain_len)
{
	static const char *const products[] = {"Milan", "Genoa", "Turin"};
	struct collateral_item probe = {.body = NULL};
	char path[COLLATERAL_MAX_PATH] = "";
	struct fault why = {""};
	collateral_key_read("/IntelSGXRootCA.der", &probe.key, NULL);	// only to learn the issuer
	if (collateral_item_set(&probe, bytes, len, NULL, 0, &why)) {
		refuse(m, "revocation list", why.text);
		return;
	}
	if (strstr(probe.signer, "PCK"))
		snprintf(path, sizeof path, "/sgx/certification/v4/pckcrl?ca=%s", strcasestr(probe.signer, "processor") ? "processor" : "platform");
	else if (strstr(probe.signer, "SGX"))
		snprintf(path, sizeof path, "/IntelSGXRootCA.der");
	for (size_t i = 0; i < sizeof products / sizeof *products; i++) {
		if (!strncmp(probe.signer, "ARK-", 4) && !strcmp(probe.signer + 4, products[i]))
			snprintf(path, sizeof path, "/vcek/v1/%s/crl", products[i]);
	}
	if (*path)
		offer(m, path, "revocation list", bytes, len, chain, chain_len);
	else
		refuse(m, "revocation list", "whose it is does not follow from its issuer's name: say it with --item");
	collateral_item_free(&probe);
}

static void chip(struct import *m, X509 *cert, const struct snp_leaf *leaf)
{
	char path[COLLATERAL_MAX_PATH], hex[129], fmc[16] = "";
	uint8_t *der = NULL;
	if (leaf->is_vlek || !leaf->has_hwid) {
		refuse(m, "VLEK", "a provider's certificates are not kept: they come with each report");
		return;
	}
	if (leaf->has_fmc)
		snprintf(fmc, sizeof fmc, "fmcSPL=%d&", leaf->fmc);
	snprintf(path, sizeof path, "/vcek/v1/%.5s/%s?%sblSPL=%d&teeSPL=%d&snpSPL=%d&ucodeSPL=%d", leaf->product,
		 hex_encode(hex, leaf->hwid, leaf->hwid_len), fmc, leaf->bootloader, leaf->tee, leaf->snp, leaf->microcode);
	int n = i2d_X509(cert, &der);
	if (n > 0)
		offer(m, path, "VCEK", der, (size_t)n, NULL, 0);
	OPENSSL_free(der);
}

// AMD's: chips' certificates, and authorities with their roots.
static void certificates(struct import *m, const void *bytes, size_t len)
{
	struct cert_list l = {.count = 0};
	struct snp_leaf leaf;
	struct fault why = {""};
	char root[128], authority[128], path[64], *pem;
	if (cert_list_add(&l, bytes, len, &why)) {
		refuse(m, "certificates", why.text);
		return;
	}
	for (unsigned int i = 0; i < l.count; i++) {
		if (!snp_leaf_read(l.certs[i], &leaf, NULL)) {
			chip(m, l.certs[i], &leaf);
			continue;
		}
		cert_subject(l.certs[i], authority, sizeof authority);
		for (unsigned int j = 0; j < l.count; j++) {
			if (i == j || !cert_is_authority(l.certs[i]) || !cert_signed_by(l.certs[i], l.certs[j]) ||
			    strncmp(cert_subject(l.certs[j], root, sizeof root), "ARK-", 4))
				continue;
			BIO *bio = BIO_new(BIO_s_mem());
			snprintf(path, sizeof path, "/%s/v1/%.16s/cert_chain", strstr(authority, "VLEK") ? "vlek" : "vcek", root + 4);
			if (bio && PEM_write_bio_X509(bio, l.certs[i]) == 1 && PEM_write_bio_X509(bio, l.certs[j]) == 1) {
				size_t n = (size_t)BIO_get_mem_data(bio, &pem);
				offer(m, path, "AMD's certificates", pem, n, NULL, 0);
			}
			BIO_free(bio);
		}
	}
	if (!m->count)
		refuse(m, "certificates", "none of a chip of AMD's, nor an authority with its root");
	cert_list_free(&l);
	ERR_clear_error();
}

// Base64, hex or PEM of a text member, as bundles have them.
static void bytes_member(struct import *m, struct bundle *b, const char *name, const char *path)
{
	size_t len, chain_len;
	const uint8_t *bytes = bundle_bytes(b, name, &len);
	const char *chain = !strcmp(name, "pck_crl") ? bundle_text(b, "pck_crl_issuer_chain", &chain_len) : NULL;
	if (bytes && path)
		offer(m, path, name, bytes, len, NULL, 0);
	else if (bytes)
		list(m, bytes, len, chain, chain ? chain_len : 0);
	else if (json_object_get(b->json, name))
		refuse(m, name, "not base64, hex or PEM");
}

// A bundle, or collateral for one quote as PCCS tools write it.
static void bundle(struct import *m, json_t *o)
{
	struct bundle b = {.json = o};	// only for its decoding
	struct csv_report csv;
	char path[128] = "";
	size_t len;
	statement_apart(m, o, "tcbInfo", "tcb_info");
	statement_apart(m, o, "enclaveIdentity", "qe_identity");
	bytes_member(m, &b, "pck_crl", NULL);
	bytes_member(m, &b, "root_ca_crl", "/IntelSGXRootCA.der");
	const char *pem = bundle_text(&b, "certificates", &len);
	if (pem)
		certificates(m, pem, len);
	bytes_member(m, &b, "crl", NULL);
	bytes_member(m, &b, "hrk", "/hrk");
	const uint8_t *evidence = bundle_bytes(&b, "evidence", &len);
	if (evidence && json_object_get(o, "hsk_cek") && !csv_parse(evidence, len, &csv, NULL)) {
		snprintf(path, sizeof path, "/hsk_cek?snumber=%.64s", (const char *)csv.serial);
		bytes_member(m, &b, "hsk_cek", path);
	} else if (json_object_get(o, "hsk_cek")) {
		refuse(m, "hsk_cek", "without a report of the chip, its serial number is not known");
	}
	json_incref(o);
	bundle_free(&b);
}

static const json_t *member_like(const json_t *o, const char *suffix)
{
	const char *name;
	json_t *value;
	json_object_foreach((json_t *)o, name, value) {
		size_t n = strlen(name), want = strlen(suffix);
		if (n >= want && !strcasecmp(name + n - want, suffix))
			return value;
	}
	return NULL;
}

static void text_list(struct import *m, const json_t *text, const json_t *chain_text)
{
	size_t len = json_string_length(chain_text);
	char *chain = unescape(json_string_value(chain_text), &len);
	if (json_string_length(text))
		list(m, json_string_value(text), json_string_length(text), chain, chain ? len : 0);
	free(chain);
}

// What Intel's client tool collects for many platforms ("platform_collaterals.json").
static void platforms(struct import *m, const json_t *c)
{
	const json_t *certs = json_object_get(c, "certificates"), *tcb_chain = member_like(certs, "tcb-info-issuer-chain");
	const json_t *qe_chain = member_like(certs, "enclave-identity-issuer-chain"), *pck = member_like(certs, "pck-certificate-issuer-chain");
	const json_t *lists = json_object_get(c, "pckcacrl");
	size_t i;
	json_t *info;
	json_array_foreach(json_object_get(c, "tcbinfos"), i, info) {
		statement_object(m, json_object_get(info, "sgx_tcbinfo"), false, tcb_chain);
		statement_object(m, json_object_get(info, "tdx_tcbinfo"), false, tcb_chain);
		statement_object(m, json_object_get(info, "sgx_tcbinfo_early"), true, tcb_chain);
		statement_object(m, json_object_get(info, "tdx_tcbinfo_early"), true, tcb_chain);
	}
	statement_object(m, json_object_get(c, "qeidentity"), false, qe_chain);
	statement_object(m, json_object_get(c, "tdqeidentity"), false, qe_chain);
	statement_object(m, json_object_get(c, "qeidentity_early"), true, qe_chain);
	statement_object(m, json_object_get(c, "tdqeidentity_early"), true, qe_chain);
	text_list(m, json_object_get(lists, "processorCrl"), json_object_get(pck, "PROCESSOR"));
	text_list(m, json_object_get(lists, "platformCrl"), json_object_get(pck, "PLATFORM"));
	text_list(m, json_object_get(c, "rootcacrl"), NULL);
}

static void json(struct import *m, const char *text, size_t len, json_t *o, struct fault *f)
{
	static const char *const known[] = {"tcb_info", "qe_identity", "pck_crl", "root_ca_crl", "certificates", "crl", "hsk_cek", "hrk"};
	const json_t *chain = json_object_get(o, "issuer_chain");
	struct collateral_item i;
	if (!strcmp(slice_text(o, "format"), COLLATERAL_FORMAT)) {
		if (collateral_item_read(&i, text, len, f)) {
			refuse(m, "item", f->text);
			return;
		}
		m->count++;
		m->result = m->take(m->ctx, &i, "item", NULL);
		collateral_item_free(&i);
	} else if (json_object_get(o, "tcbInfo") || json_object_get(o, "enclaveIdentity")) {
		statement(m, text, len, false, NULL);
	} else if (json_object_get(o, "tcb_info_json") || json_object_get(o, "enclave_identity_json")) {
		statement_object(m, json_object_get(o, "tcb_info_json"), false, chain);
		statement_object(m, json_object_get(o, "enclave_identity_json"), false, chain);
	} else if (json_object_get(o, "crl_data")) {
		text_list(m, json_object_get(o, "crl_data"), chain);
	} else if (json_object_get(o, "collaterals")) {
		platforms(m, json_object_get(o, "collaterals"));
	}
	for (size_t k = 0; !m->count && k < sizeof known / sizeof *known; k++) {
		if (json_object_get(o, known[k])) {
			bundle(m, o);
			break;
		}
	}
}

int collateral_import(const void *bytes, size_t len, const struct collateral_origin *o,
		      int (*take)(void *ctx, const struct collateral_item *i, const char *what, const char *why), void *ctx, struct fault *f)
{
	struct import m = {.o = o, .take = take, .ctx = ctx};
	const uint8_t *b = bytes;
	struct fault why = {""};
	if (o->path) {
		offer(&m, o->path, o->path, bytes, len, NULL, 0);
	} else if (bundle_looks(b, len)) {
		json_t *j = slice_parse(bytes, len, &why);
		if (!j)
			return fault_set(f, -EINVAL, "%s", why.text);
		json(&m, bytes, len, j, &why);
		json_decref(j);
	} else if (len == CSV_ROOT_BYTES) {
		offer(&m, "/hrk", "Hygon's root", bytes, len, NULL, 0);
	} else {
		X509_CRL *crl = cert_crl_read(bytes, len);
		X509_CRL_free(crl);
		if (crl || (len && len % 2 == 0 && !memcmp(bytes, "30", 2)))
			list(&m, bytes, len, NULL, 0);
		else if (len && (b[0] == 0x30 || memmem(bytes, len, "-----BEGIN CERTIFICATE", 22)))
			certificates(&m, bytes, len);
	}
	ERR_clear_error();
	if (m.result)
		return m.result;
	return m.count ? m.count : fault_set(f, -EINVAL, "neither collateral nor a bundle that has some");
}

// SPDX-License-Identifier: Apache-2.0
// See dcap.h.
#include "tests/attest/make/dcap.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "attest/json.h"
#include "lib/encode.h"

#define YEAR (365ll * MADE_DAY)

#define COMMON \
	.ak_type = 2, .qe_svn = 4, .qe_mrsigner = 0x8c, .qe_flags = 0x11, .platform_svn = 7, .platform_pce = 11, .fmspc = "00806f050000", \
	.tcb_fmspc = "00806F050000", .pce_id = "0000", .tcb_version = 3, .qe_version = 2, .tcb_issued = MADE_NOW - MADE_DAY, \
	.tcb_next = MADE_NOW + 29 * MADE_DAY, .qe_issued = MADE_NOW - MADE_DAY, .qe_next = MADE_NOW + 29 * MADE_DAY, \
	.crl_from = MADE_NOW - MADE_DAY, .crl_to = MADE_NOW + 29 * MADE_DAY, .pck_to = MADE_NOW + 7 * YEAR, .qe_status = "UpToDate"

const struct dcap_spec made_sgx = {
	COMMON, .version = 3, .sgx_flags = 0x05, .qe_prod_id = 1, .tcb_id = "SGX", .qe_id = "QE",
	.levels = {{7, 11, 0, 0, "UpToDate", "2025-03-13T00:00:00Z", NULL},
		   {6, 11, 0, 0, "SWHardeningNeeded", "2024-03-13T00:00:00Z", "INTEL-SA-00615"},
		   {5, 5, 0, 0, "OutOfDate", "2021-03-13T00:00:00Z", "INTEL-SA-00289"}},
};

const struct dcap_spec made_tdx = {
	COMMON, .tdx = true, .version = 4, .td_attributes = TD_ATTR_SEPT_VE_DISABLE, .tee_tcb_svn = {5, 1, 7}, .tee_tcb_svn2 = {5, 1, 7},
	.qe_prod_id = 2, .tcb_id = "TDX", .qe_id = "TD_QE",
	.levels = {{7, 11, 5, 7, "UpToDate", "2025-03-13T00:00:00Z", NULL},
		   {6, 11, 4, 6, "OutOfDate", "2024-03-13T00:00:00Z", "INTEL-SA-00960"},
		   {5, 5, 2, 5, "OutOfDateConfigurationNeeded", "2021-03-13T00:00:00Z", "INTEL-SA-00289"}},
	.modules = {{"TDX_01", {5, 3, 1}, {"UpToDate", "OutOfDate", "Revoked"}}, {"tdx_03", {3, 2, 1}, {"UpToDate", "OutOfDate", "Revoked"}}},
};

static struct pki root, other_root;

static void roots(void)
{
	if (root.cert)
		return;
	root = pki_make(&(struct pki_spec){"Coffer TEST SGX root", NULL, true, "P-256", MADE_NOW - YEAR, MADE_NOW + 20 * YEAR, NULL});
	other_root = pki_make(&(struct pki_spec){"Coffer TEST SGX root", NULL, true, "P-256", MADE_NOW - YEAR, MADE_NOW + 20 * YEAR, NULL});
}

X509 *made_root(void)
{
	roots();
	return root.cert;
}

// tag, length, content; returns what follows.
static uint8_t *tlv(uint8_t *out, uint8_t tag, const uint8_t *content, size_t len)
{
	*out++ = tag;
	if (len > 127) {
		*out++ = 0x82;
		*out++ = (uint8_t)(len >> 8);
	}
	*out++ = (uint8_t)len;
	memcpy(out, content, len);
	return out + len;
}

// SEQUENCE { OID 1.2.840.113741.1.13.1.<arcs>, value }
static uint8_t *pck_pair(uint8_t *out, int arc, int arc2, uint8_t tag, const uint8_t *content, size_t len)
{
	uint8_t oid[11] = {0x2a, 0x86, 0x48, 0x86, 0xf8, 0x4d, 0x01, 0x0d, 0x01, (uint8_t)arc, (uint8_t)arc2};
	uint8_t inner[600], *p = tlv(inner, 0x06, oid, arc2 ? 11 : 10);
	p = tlv(p, tag, content, len);
	return tlv(out, 0x30, inner, (size_t)(p - inner));
}

static size_t pck_extension(const struct dcap_spec *s, uint8_t *out)
{
	uint8_t all[900], tcb[700], cpu_svn[16], bytes[16] = {1, 2, 3}, *p = all, *t = tcb;
	for (int i = 1; i <= 16; i++) {
		cpu_svn[i - 1] = (uint8_t)s->platform_svn;
		t = pck_pair(t, 2, i, 0x02, &cpu_svn[i - 1], 1);
	}
	t = pck_pair(t, 2, 17, 0x02, &(uint8_t){(uint8_t)s->platform_pce}, 1);
	t = pck_pair(t, 2, 18, 0x04, cpu_svn, 16);
	p = pck_pair(p, 1, 0, 0x04, bytes, 16);
	p = pck_pair(p, 2, 0, 0x30, tcb, (size_t)(t - tcb));
	hex_decode(bytes, 2, s->pce_id);
	p = pck_pair(p, 3, 0, 0x04, bytes, 2);
	hex_decode(bytes, 6, s->fmspc);
	p = pck_pair(p, 4, 0, 0x04, bytes, 6);
	p = pck_pair(p, 5, 0, 0x0a, (const uint8_t[]){1}, 1);
	return (size_t)(tlv(out, 0x30, all, (size_t)(p - all)) - out);
}

static void le(uint8_t *p, uint64_t v, int n)
{
	for (int i = 0; i < n; i++)
		p[i] = (uint8_t)(v >> 8 * i);
}

static size_t make_body(const struct dcap_spec *s, uint8_t *b)
{
	size_t len = !s->tdx ? SGX_REPORT_BYTES : s->td15 ? TD15_REPORT_BYTES : TD_REPORT_BYTES;
	memset(b, 0, len);
	if (!s->tdx) {
		b[48] = s->sgx_flags;
		memset(b + 64, 0xe1, 32);
		memset(b + 128, 0x51, 32);
		memset(b + 320, 0xda, 64);
		if (s->has_bound)
			memcpy(b + 320, s->bound, 64);
		return len;
	}
	memcpy(b, s->tee_tcb_svn, 3);
	memset(b + 64, s->mrsigner_seam, 48);
	le(b + 112, s->seam_attributes, 8);
	le(b + 120, s->td_attributes, 8);
	memset(b + 136, 0xe1, 48);
	memset(b + 520, 0xda, 64);
	if (s->has_bound)
		memcpy(b + 520, s->bound, 64);
	if (s->td15)
		memcpy(b + 584, s->tee_tcb_svn2, 3);
	return len;
}

static void make_qe_report(const struct dcap_spec *s, const uint8_t ak[64], const uint8_t *auth, size_t auth_len, uint8_t *b)
{
	uint8_t all[256];
	memset(b, 0, SGX_REPORT_BYTES);
	b[48] = s->qe_flags;
	memset(b + 128, s->qe_mrsigner, 32);
	le(b + 256, (uint64_t)s->qe_prod_id, 2);
	le(b + 258, (uint64_t)s->qe_svn, 2);
	memcpy(all, ak, 64);
	memcpy(all + 64, auth, auth_len);
	EVP_Digest(all, 64 + auth_len, b + 320, NULL, EVP_sha256(), NULL);
	b[320] ^= s->wrong_ak_hash;
}

static void make_quote(const struct dcap_spec *s, const struct pki *pck, const char *chain, struct made *m)
{
	static const uint8_t vendor[16] = {0x93, 0x9a, 0x72, 0x33, 0xf7, 0x9c, 0x4c, 0xa9, 0x94, 0x0a, 0x0d, 0xb3, 0x95, 0x7f, 0x06, 0x07};
	uint8_t *q = m->quote, *p = q, ak[64], auth[32];
	struct pki key = {NULL, EVP_EC_gen("P-256")}, other = {NULL, EVP_EC_gen("P-256")};
	size_t chain_len = strlen(chain) + 1;
	memset(auth, 0x77, sizeof auth);
	pki_point(key.key, 32, ak);
	le(p, (uint64_t)s->version, 2);
	le(p + 2, (uint64_t)s->ak_type, 2);
	le(p + 4, s->tdx ? 0x81 : 0, 4);
	le(p + 8, 0, 4);
	memcpy(p + 12, vendor, 16);
	memset(p + 28, 0x11, 20);
	p += 48;
	if (s->version == 5) {
		le(p, !s->tdx ? 1 : s->td15 ? 3 : 2, 2);
		le(p + 2, !s->tdx ? SGX_REPORT_BYTES : s->td15 ? TD15_REPORT_BYTES : TD_REPORT_BYTES, 4);
		p += 6;
	}
	p += make_body(s, p);
	size_t signed_len = (size_t)(p - q), inner = SGX_REPORT_BYTES + 64 + 2 + sizeof auth + 6 + chain_len;
	le(p, 128 + inner + (s->version > 3 ? 6 : 0), 4);
	p += 4;
	pki_sign(s->quote_signed_by_other ? other.key : key.key, 32, q, signed_len, p);
	memcpy(p + 64, ak, 64);
	p += 128;
	if (s->version > 3) {
		le(p, 6, 2);
		le(p + 2, inner, 4);
		p += 6;
	}
	make_qe_report(s, ak, auth, sizeof auth, p);
	pki_sign(s->qe_signed_by_other ? other.key : pck->key, 32, p, SGX_REPORT_BYTES, p + SGX_REPORT_BYTES);
	p += SGX_REPORT_BYTES + 64;
	le(p, sizeof auth, 2);
	memcpy(p + 2, auth, sizeof auth);
	p += 2 + sizeof auth;
	le(p, 5, 2);
	le(p + 2, chain_len, 4);
	memcpy(p + 6, chain, chain_len);
	m->quote_len = (size_t)(p + 6 + chain_len - q);
	pki_free(&key);
	pki_free(&other);
}

static int components(char *out, const char *name, const int *svn)
{
	int n = sprintf(out, "\"%s\":[", name);
	for (int i = 0; i < 16; i++)
		n += sprintf(out + n, "%s{\"svn\":%d}", i ? "," : "", svn[i]);
	return n + sprintf(out + n, "]");
}

static int levels(char *out, const struct dcap_spec *s)
{
	int n = sprintf(out, "\"tcbLevels\":[");
	for (const struct made_level *l = s->levels; l < s->levels + 4 && l->status; l++) {
		int sgx[16], tdx[16] = {l->tdx0, 0, l->tdx2};
		for (int i = 0; i < 16; i++)
			sgx[i] = l->svn;
		n += sprintf(out + n, "%s{\"tcb\":{", l == s->levels ? "" : ",");
		n += components(out + n, "sgxtcbcomponents", sgx);
		n += sprintf(out + n, ",\"pcesvn\":%d", l->pce_svn);
		if (s->tdx) {
			n += sprintf(out + n, ",");
			n += components(out + n, "tdxtcbcomponents", tdx);
		}
		n += sprintf(out + n, "},\"tcbDate\":\"%s\",\"tcbStatus\":\"%s\"", l->date, l->status);
		if (l->advisory)
			n += sprintf(out + n, ",\"advisoryIDs\":[\"%s\"]", l->advisory);
		n += sprintf(out + n, "}");
	}
	return n + sprintf(out + n, "]");
}

static int modules(char *out, const struct dcap_spec *s)
{
	static const char about[] = "\"mrsigner\":\"%096d\",\"attributes\":\"0000000000000000\",\"attributesMask\":\"FFFFFFFFFFFFFFFF\"";
	int n = sprintf(out, "\"tdxModule\":{");
	n += sprintf(out + n, about, 0);
	n += sprintf(out + n, "},\"tdxModuleIdentities\":[");
	for (const struct made_module *m = s->modules; m < s->modules + 3 && m->id; m++) {
		n += sprintf(out + n, "%s{\"id\":\"%s\",", m == s->modules ? "" : ",", m->id);
		n += sprintf(out + n, about, 0);
		n += sprintf(out + n, ",\"tcbLevels\":[");
		for (int i = 0; i < 3; i++)
			n += sprintf(out + n, "%s{\"tcb\":{\"isvsvn\":%d},\"tcbDate\":\"2024-01-0%dT00:00:00Z\",\"tcbStatus\":\"%s\"}", i ? "," : "",
				     m->svn[i], 3 - i, m->status[i]);
		n += sprintf(out + n, "]}");
	}
	return n + sprintf(out + n, "],");
}

// {"member":BODY,"signature":"..."}, signed; one character of the body changed afterwards where that is asked for.
static char *sign_json(const char *member, char *body, EVP_PKEY *key, bool tamper)
{
	uint8_t rs[64];
	char hex[129], *out = malloc(strlen(body) + 256), *c;
	pki_sign(key, 32, body, strlen(body), rs);
	if (tamper && (c = strstr(body, "Date\":\"20")))
		c[12] ^= 1;
	sprintf(out, "{\"%s\":%s,\"signature\":\"%s\"}", member, body, hex_encode(hex, rs, 64));
	return out;
}

static void make_json(const struct dcap_spec *s, EVP_PKEY *signer, struct made *m)
{
	static char body[64 << 10];
	char from[32], to[32], signer_hex[65];
	int n = sprintf(body, "{\"id\":\"%s\",\"version\":%d,\"issueDate\":\"%s\",\"nextUpdate\":\"%s\",\"fmspc\":\"%s\",\"pceId\":\"%s\","
			"\"tcbType\":0,\"tcbEvaluationDataNumber\":17,", s->tcb_id, s->tcb_version, time_text(from, s->tcb_issued),
			time_text(to, s->tcb_next), s->tcb_fmspc, s->pce_id);
	if (s->tdx)
		n += modules(body + n, s);
	n += levels(body + n, s);
	sprintf(body + n, "}");
	m->tcb = sign_json("tcbInfo", body, signer, s->tcb_tampered);
	memset(signer_hex, 0, sizeof signer_hex);
	for (int i = 0; i < 32; i++)
		sprintf(signer_hex + 2 * i, "8C");
	sprintf(body, "{\"id\":\"%s\",\"version\":%d,\"issueDate\":\"%s\",\"nextUpdate\":\"%s\",\"tcbEvaluationDataNumber\":17,"
		"\"miscselect\":\"00000000\",\"miscselectMask\":\"FFFFFFFF\",\"attributes\":\"11000000000000000000000000000000\","
		"\"attributesMask\":\"FBFFFFFFFFFFFFFF0000000000000000\",\"mrsigner\":\"%s\",\"isvprodid\":%d,\"tcbLevels\":["
		"{\"tcb\":{\"isvsvn\":4},\"tcbDate\":\"2025-01-01T00:00:00Z\",\"tcbStatus\":\"%s\"},"
		"{\"tcb\":{\"isvsvn\":2},\"tcbDate\":\"2021-01-01T00:00:00Z\",\"tcbStatus\":\"OutOfDate\",\"advisoryIDs\":[\"INTEL-SA-00477\"]},"
		"{\"tcb\":{\"isvsvn\":1},\"tcbDate\":\"2020-01-01T00:00:00Z\",\"tcbStatus\":\"Revoked\"}]}", s->qe_id, s->qe_version,
		time_text(from, s->qe_issued), time_text(to, s->qe_next), signer_hex, s->tdx ? 2 : 1, s->qe_status);
	m->qe = sign_json("enclaveIdentity", body, signer, s->qe_tampered);
}

static struct collateral_text text_of(const char *s)
{
	return (struct collateral_text){s, strlen(s)};
}

void made_make(const struct dcap_spec *s, struct made *m)
{
	uint8_t ext[1024];
	size_t crl_len;
	roots();
	memset(m, 0, sizeof *m);
	int ext_len = (int)pck_extension(s, ext);
	const struct pki_extension list[] = {{"1.2.840.113741.1.13.1", ext, ext_len}, {NULL, NULL, 0}};
	struct pki ca = pki_make(&(struct pki_spec){"TEST PCK Platform CA", &root, true, "P-256", MADE_NOW - YEAR, MADE_NOW + 10 * YEAR, NULL});
	struct pki pck = pki_make(&(struct pki_spec){"TEST PCK Certificate", &ca, false, "P-256", MADE_NOW - MADE_DAY, s->pck_to, list});
	struct pki signer = pki_make(&(struct pki_spec){"TEST TCB Signing", s->tcb_signed_by_ca ? &ca : &root, false, "P-256", MADE_NOW - YEAR,
							MADE_NOW + 7 * YEAR, NULL});
	char *chain = s->no_root_in_chain ? pki_pem(pck.cert, ca.cert, NULL)
		      : s->chain_shuffled ? pki_pem(root.cert, ca.cert, pck.cert, NULL)
		      : s->extra_certificate ? pki_pem(pck.cert, other_root.cert, ca.cert, root.cert, NULL)
					      : pki_pem(pck.cert, ca.cert, root.cert, NULL);
	make_quote(s, &pck, chain, m);
	make_json(s, signer.key, m);
	m->tcb_chain = s->tcb_signed_by_ca ? pki_pem(signer.cert, ca.cert, root.cert, NULL) : pki_pem(signer.cert, root.cert, NULL);
	m->crl_chain = pki_pem(ca.cert, root.cert, NULL);
	m->parts.root_crl.bytes = (char *)(m->root_crl = pki_crl_der(pki_crl(s->other_crl_issuer ? &other_root : &root,
		s->revoke == 2 ? ca.cert : s->revoke == 3 ? signer.cert : NULL, s->crl_from, s->crl_to), &crl_len));
	m->parts.root_crl.len = crl_len;
	m->parts.pck_crl.bytes = (char *)(m->pck_crl = pki_crl_der(pki_crl(&ca, s->revoke == 1 ? pck.cert : NULL, s->crl_from, s->crl_to), &crl_len));
	m->parts.pck_crl.len = crl_len;
	m->revoking = pki_crl_der(pki_crl(&ca, pck.cert, s->crl_from, s->crl_to), &m->revoking_len);
	m->parts.tcb_info = text_of(m->tcb);
	m->parts.qe_identity = text_of(m->qe);
	m->parts.tcb_info_chain = m->parts.qe_identity_chain = text_of(m->tcb_chain);
	m->parts.pck_crl_chain = text_of(m->crl_chain);
	if (dcap_collateral_open(&m->parts, &m->collateral))
		abort();
	free(chain);
	pki_free(&ca);
	pki_free(&pck);
	pki_free(&signer);
}

void made_free(struct made *m)
{
	dcap_collateral_free(m->collateral);
	free(m->tcb);
	free(m->qe);
	free(m->tcb_chain);
	free(m->crl_chain);
	free(m->root_crl);
	free(m->pck_crl);
	free(m->revoking);
}

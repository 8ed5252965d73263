// SPDX-License-Identifier: Apache-2.0
// Verification of SGX and TDX evidence, in order: format, chain, root, dates, revocation, TCB info, QE identity, platform, quoting
// enclave, attestation key, signature, TDX module, TCB, report data. See dcap.h. Pure: time, collateral and roots are inputs.
#include "attest/dcap.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509v3.h>
#include <string.h>

#include "attest/bytes.h"
#include "attest/digest.h"
#include "attest/ecdsa.h"
#include "attest/json.h"
#include "attest/pck_chain.h"
#include "lib/encode.h"

enum root_kind { ROOT_UNKNOWN, ROOT_INTEL, ROOT_SIMULATED };

struct state {
	const struct dcap_input *in;
	const struct dcap_collateral *col;	// may be NULL
	struct dcap_quote q;
	struct shared_entry *own;	// the quote's chain; NULL: it has none
	const struct pck_chain *pck;	// that, or the collateral's; NULL: none
	X509 *const *chain;		// PCK certificate, its authority, root
	bool chained;
	struct attest_result *out;
};

static enum root_kind root_of(const struct dcap_input *in, const struct pck_chain *c)
{
	if (c->intel_root)
		return ROOT_INTEL;
	for (unsigned int i = 0; i < in->simulated_root_count; i++) {
		if (!X509_cmp(c->chain[2], in->simulated_roots[i]))
			return ROOT_SIMULATED;
	}
	return ROOT_UNKNOWN;
}

// The PCK certificate and what is above it, from the quote or, for quotes that only name their platform, from the collateral.
static int find_chain(struct state *s, struct fault *f)
{
	if (s->q.cert_type == DCAP_CERT_PCK_CHAIN) {
		s->own = pck_chain_of(s->q.cert_data, s->q.cert_len);
		if (!s->own)
			return fault_set(f, -ENOMEM, "memory is short");
		s->pck = shared_object(s->own);
	} else if (s->q.cert_type < DCAP_CERT_PPID || s->q.cert_type > DCAP_CERT_PPID_RSA3072) {
		return fault_set(f, -EBADMSG, "certification data of type %u", s->q.cert_type);
	} else if (s->col && s->col->pck) {
		s->pck = shared_object(s->col->pck);
	} else {
		return fault_set(f, -EBADMSG, "the quote names its platform (certification data %u) but carries no PCK certificate, and the "
				 "collateral has none", s->q.cert_type);
	}
	s->chain = s->pck->chain;
	return s->pck->err ? fault_set(f, s->pck->err, "%s", s->pck->why.text) : 0;
}

static void check_root(struct state *s)
{
	char name[128];
	enum root_kind kind = root_of(s->in, s->pck);
	if (s->own && kind != ROOT_UNKNOWN)
		shared_prove(s->own);
	struct attest_check *c = attest_check_add(s->out, "root", kind != ROOT_UNKNOWN);
	attest_expected(c, s->in->simulated_root_count ? "Intel's SGX root or a simulated root that is accepted here" : "Intel's SGX root");
	attest_found(c, "'%s'%s", cert_subject(s->chain[2], name, sizeof name),
		     kind == ROOT_INTEL ? "" : kind == ROOT_SIMULATED ? ", a simulated root" : ", whose key is another one");
	set_text(s->out->claims, "tee", kind == ROOT_SIMULATED ? "simulated" : kind == ROOT_UNKNOWN ? "unknown" : s->q.is_tdx ? "tdx" : "sgx");
}

static void check_dates(struct state *s)
{
	struct fault why = {""};
	int err = 0;
	for (int i = 0; i < 3 && !err; i++)
		err = cert_dates(s->chain[i], s->in->now, &why);
	struct attest_check *c = attest_check_add(s->out, "certificate-dates", !err);
	attest_expected(c, "valid at the time of verification");
	attest_found(c, "%s", err ? why.text : "valid");
}

// One revocation list against one certificate; the list's signature is not checked again where opening the collateral did.
static int revoked(X509_CRL *crl, X509 *known, X509 *issuer, X509 *cert, time_t now, struct fault *f)
{
	X509_REVOKED *entry = NULL;
	char name[128];
	if (!known || X509_cmp(known, issuer))
		return cert_crl_check(crl, issuer, cert, now, f);
	int err = cert_crl_dates(crl, issuer, now, f);
	if (!err && X509_CRL_get0_by_cert(crl, &entry, cert) != 0)
		err = fault_set(f, -EKEYREVOKED, "'%s' is revoked", cert_subject(cert, name, sizeof name));
	return err;
}

static void check_revocation(struct state *s)
{
	const struct dcap_collateral *col = s->col;
	struct fault why = {""};
	int err;
	if (!col || !col->root_crl || !col->pck_crl)
		err = fault_set(&why, -ENOENT, !col || !col->root_crl ? "no revocation list of the root" : "no revocation list of the PCK authority");
	else
		err = revoked(col->root_crl, col->root_crl_issuer, s->chain[2], s->chain[1], s->in->now, &why);
	if (!err)
		err = revoked(col->pck_crl, col->pck_crl_issuer, s->chain[1], s->chain[0], s->in->now, &why);
	if (!err && col->tcb_signed.good)
		err = revoked(col->root_crl, col->root_crl_issuer, s->chain[2], col->tcb_signed.chain[0], s->in->now, &why);
	if (!err && col->qe_signed.good)
		err = revoked(col->root_crl, col->root_crl_issuer, s->chain[2], col->qe_signed.chain[0], s->in->now, &why);
	struct attest_check *c = attest_check_add(s->out, "revocation", !err);
	attest_expected(c, "current revocation lists of root and authority that name none of the certificates");
	attest_found(c, "%s", err ? why.text : "none is revoked");
}

// A signed statement: genuine, under the quote's root, for this kind of TEE, current.
static void check_statement(struct state *s, const char *id, const char *dates_id, const struct collateral_signed *statement, bool for_tdx,
			    time_t issued, time_t next, const char *what)
{
	struct fault why = {""};
	char from[32], to[32], now[32];
	int err = 0;
	if (!s->col || !statement->given)
		err = fault_set(&why, -ENOENT, "none was given");
	else if (!statement->good)
		err = fault_set(&why, -EBADMSG, "%s", statement->why.text);
	else if (s->chained && X509_cmp(statement->chain[statement->count - 1], s->chain[2]))
		err = fault_set(&why, -EBADMSG, "signed under another root than the quote's");
	else if (statement->count != 2 || X509_check_ca(statement->chain[0]))
		err = fault_set(&why, -EBADMSG, "signed by a certificate that is not the root's own");
	else if (for_tdx != s->q.is_tdx)
		err = fault_set(&why, -EBADMSG, "it is about %s", for_tdx ? "TDX" : "SGX");
	for (unsigned int i = 0; !err && i < statement->count; i++)
		err = cert_dates(statement->chain[i], s->in->now, &why);
	struct attest_check *c = attest_check_add(s->out, id, !err);
	attest_expected(c, "%s for %s, signed under the quote's root", what, s->q.is_tdx ? "TDX" : "SGX");
	attest_found(c, "%s", err ? why.text : "signed");
	if (!s->col || !statement->good)
		return;
	c = attest_check_add(s->out, dates_id, issued <= s->in->now && s->in->now <= next);
	attest_expected(c, "current at %s", time_text(now, s->in->now));
	attest_found(c, "from %s to %s", time_text(from, issued), time_text(to, next));
}

static void check_platform(struct state *s)
{
	const struct dcap_collateral *col = s->col;
	const struct pck_platform *p = s->pck->platform_read ? &s->pck->platform : NULL;
	char a[16], b[16], x[8], y[8];
	bool match = p && col && col->tcb_signed.good && !memcmp(col->tcb.fmspc, p->fmspc, 6) && !memcmp(col->tcb.pce_id, p->pce_id, 2);
	struct attest_check *c = attest_check_add(s->out, "platform", match);
	if (col && col->tcb_signed.good)
		attest_expected(c, "fmspc %s, pceid %s", hex_encode(a, col->tcb.fmspc, 6), hex_encode(x, col->tcb.pce_id, 2));
	else
		attest_expected(c, "TCB info about this platform");
	if (p)
		attest_found(c, "fmspc %s, pceid %s", hex_encode(b, p->fmspc, 6), hex_encode(y, p->pce_id, 2));
	else
		attest_found(c, "%s", s->pck->platform_why.text);
}

static void check_qe_report(struct state *s)
{
	uint8_t bound[64] = {0};
	bool ok = s->chained && s->pck->key && verify_key_ecdsa(s->pck->key, s->q.qe_signature, 32, s->q.qe_report_bytes, SGX_REPORT_BYTES);
	struct attest_check *c = attest_check_add(s->out, "qe-report", ok);
	attest_expected(c, "the quoting enclave's report, signed by the platform (ECDSA P-256 by its PCK certificate)");
	attest_found(c, ok ? "valid" : s->chained ? "a signature that does not match" : "no chain to check it with");

	EVP_MD_CTX *md = EVP_MD_CTX_new();
	ok = md && EVP_DigestInit_ex(md, digest_of(TPM_SHA256), NULL) == 1 && EVP_DigestUpdate(md, s->q.ak, 64) == 1 &&
	     EVP_DigestUpdate(md, s->q.qe_auth, s->q.qe_auth_len) == 1 && EVP_DigestFinal_ex(md, bound, NULL) == 1;
	EVP_MD_CTX_free(md);
	ok = ok && !CRYPTO_memcmp(bound, s->q.qe.report_data, 64);
	char x[129], y[129];
	c = attest_check_add(s->out, "attestation-key", ok);
	attest_expected(c, "%s", hex_encode(x, bound, 64));
	attest_found(c, "%s", hex_encode(y, s->q.qe.report_data, 64));
}

static bool under_mask(const uint8_t *have, const uint8_t *want, const uint8_t *mask, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if ((have[i] & mask[i]) != (want[i] & mask[i]))
			return false;
	}
	return true;
}

static void check_qe(struct state *s)
{
	const struct sgx_report *r = &s->q.qe;
	const char *wrong = NULL;
	char x[65], y[65];
	if (!s->col || !s->col->qe_signed.good) {
		struct attest_check *c = attest_check_add(s->out, "qe", false);
		attest_expected(c, "the quoting enclave that its identity describes");
		attest_found(c, "no identity to compare with");
		return;
	}
	const struct qe_identity *want = &s->col->qe;
	const uint8_t *misc = s->q.qe_report_bytes + 16;	// as the identity writes it: in the report's byte order
	if (memcmp(r->mrsigner, want->mrsigner, 32))
		wrong = "another signer";
	else if (r->isv_prod_id != want->prod_id)
		wrong = "another product id";
	else if (!under_mask(r->attributes, want->attributes, want->attributes_mask, 16))
		wrong = "other attributes";
	else if (!under_mask(misc, want->misc, want->misc_mask, 4))
		wrong = "another MISCSELECT";
	struct attest_check *c = attest_check_add(s->out, "qe", !wrong);
	attest_expected(c, "mrsigner %s, product id %d", hex_encode(x, want->mrsigner, 32), want->prod_id);
	attest_found(c, "%s%smrsigner %s, product id %u", wrong ? wrong : "", wrong ? ": " : "", hex_encode(y, r->mrsigner, 32), r->isv_prod_id);
}

static void key_free(void *key)
{
	verify_key_free(key);
}

// The attestation key, which a platform keeps for long: to make one of its bytes costs a sixth of a verification.
static struct shared_entry *attestation_key(const uint8_t *xy)
{
	static struct shared_cache keys = SHARED_CACHE_INIT;
	const struct shared_part part = {xy, 64};
	struct shared_entry *e = shared_get(&keys, &part, 1);
	EVP_PKEY *public = e ? NULL : ecdsa_key(xy, 32);
	struct verify_key *key = public ? verify_key_new(public) : NULL;
	EVP_PKEY_free(public);
	if (key)
		e = shared_put(&keys, &part, 1, key, key_free);
	if (key && !e)
		verify_key_free(key);
	return e;
}

static void check_signature(struct state *s)
{
	struct shared_entry *key = attestation_key(s->q.ak);
	bool ok = key && verify_key_ecdsa(shared_object(key), s->q.signature, 32, s->q.signed_bytes, s->q.signed_len);
	struct attest_check *c = attest_check_add(s->out, "signature", ok);
	attest_expected(c, "ECDSA P-256 with SHA-256 by the quote's attestation key");
	attest_found(c, ok ? "valid" : !key ? "an attestation key that is no point of the curve"
					    : "a signature that does not match: the quote was changed or signed by another key");
	shared_release(key);
}

static void check_module(struct state *s)
{
	const struct td_report *td = &s->q.td;
	const struct tdx_module *m = tcb_module_of(&s->col->tcb, td->tee_tcb_svn);
	uint8_t attributes[8];
	char x[97], y[97];
	for (int i = 0; i < 8; i++)
		attributes[i] = (uint8_t)(td->seam_attributes >> 8 * i);
	bool ok = m && !memcmp(m->mrsigner, td->mrsigner_seam, 48) && under_mask(attributes, m->attributes, m->attributes_mask, 8);
	struct attest_check *c = attest_check_add(s->out, "tdx-module", ok);
	if (m)
		attest_expected(c, "mrsigner_seam %s, seam attributes %s", hex_encode(x, m->mrsigner, 48), hex_encode(y, m->attributes, 8));
	else
		attest_expected(c, "a module that the TCB info knows");
	if (m)
		attest_found(c, "mrsigner_seam %s, seam attributes %s", hex_encode(x, td->mrsigner_seam, 48), hex_encode(y, attributes, 8));
	else
		attest_found(c, "module version %u", td->tee_tcb_svn[1]);
}

static void add_advisories(json_t *all, const json_t *some)
{
	size_t i, j;
	json_t *a, *b;
	json_array_foreach((json_t *)some, i, a) {
		bool known = false;
		json_array_foreach(all, j, b)
			known |= json_equal(a, b);
		if (!known && json_is_string(a))
			json_array_append(all, a);
	}
}

static void check_tcb(struct state *s)
{
	struct tcb_result r;
	json_t *claims = s->out->claims, *advisories = json_array();
	tcb_evaluate(&s->col->tcb, &s->col->qe, &s->pck->platform, s->q.is_tdx ? &s->q.td : NULL, s->q.qe.isv_svn, &r);
	struct attest_check *c = attest_check_add(s->out, "tcb", r.status != TCB_UNSUPPORTED && r.status != TCB_REVOKED);
	attest_expected(c, "security versions that Intel knows and has not revoked");
	if (r.status == TCB_UNSUPPORTED)
		attest_found(c, "no level matches the %s: TCB not supported",
			     r.platform.status == TCB_UNSUPPORTED ? "platform" : r.module_judged && r.module.status == TCB_UNSUPPORTED
			     ? "TDX module" : "quoting enclave");
	else
		attest_found(c, "%s", tcb_status_name(r.status));
	add_advisories(advisories, r.platform.advisories);
	add_advisories(advisories, r.module.advisories);
	add_advisories(advisories, r.qe.advisories);
	set_text(claims, "tcb_status", tcb_status_name(r.status));
	if (r.status != TCB_UNSUPPORTED)
		set_time(claims, "tcb_date", r.date);
	json_object_set_new(claims, "advisory_ids", advisories);
	json_t *o = set_object(claims, "tcb");
	set_text(o, "platform", tcb_status_name(r.platform.status));
	set_text(o, "qe", tcb_status_name(r.qe.status));
	if (r.module_judged)
		set_text(o, "module", tcb_status_name(r.module.status));
	set_number(o, "evaluation_number", s->col->tcb.evaluation);
}

static void platform_claims(const struct state *s)
{
	json_t *o = set_object(s->out->claims, "platform");
	const struct pck_platform *p = &s->pck->platform;
	set_hex(o, "fmspc", p->fmspc, 6);
	set_hex(o, "pce_id", p->pce_id, 2);
	set_hex(o, "ppid", p->ppid, 16);
	set_hex(o, "cpu_svn", p->cpu_svn, 16);
	set_number(o, "pce_svn", p->pce_svn);
	set_text(o, "type", p->type == 0 ? "standard" : p->type == 1 ? "scalable" : p->type == 2 ? "scalable-with-integrity" : "unknown");
	if (p->has_instance)
		set_hex(o, "instance_id", p->instance_id, 16);
	if (p->dynamic >= 0)
		set_bool(o, "dynamic", p->dynamic);
	if (p->cached_keys >= 0)
		set_bool(o, "cached_keys", p->cached_keys);
	if (p->smt >= 0)
		set_bool(o, "smt_enabled", p->smt);
}

static void check_collateral(struct state *s)
{
	const struct dcap_collateral *col = s->col;
	static const struct collateral_signed none;
	check_statement(s, "tcb-info", "tcb-info-dates", col ? &col->tcb_signed : &none, col && col->tcb.is_tdx, col ? col->tcb.issued : 0,
			col ? col->tcb.next : 0, "TCB info");
	check_statement(s, "qe-identity", "qe-identity-dates", col ? &col->qe_signed : &none, col && col->qe.is_td, col ? col->qe.issued : 0,
			col ? col->qe.next : 0, "the quoting enclave's identity");
	if (!col)
		return;
	const char *part;
	time_t expires = dcap_collateral_expires(col, &part);
	if (expires >= 0) {
		set_time(s->out->claims, "collateral_expires", expires);
		set_text(s->out->claims, "collateral_expires_first", part);
	}
}

void dcap_verify(const struct dcap_input *in, struct attest_result *out)
{
	struct state s = {.in = in, .col = in->collateral, .out = out};
	struct fault why = {""};
	int err = dcap_quote_parse(in->quote, in->quote_len, &s.q, &why);
	struct attest_check *c = attest_check_add(out, "format", !err);
	attest_expected(c, "an SGX quote (version 3) or a TDX quote (version 4 or 5)");
	set_text(out->claims, "tee", "unknown");
	if (err) {
		attest_found(c, "%s", why.text);
		return;
	}
	attest_found(c, "%s quote, version %u", s.q.is_tdx ? "TDX" : "SGX", s.q.version);
	if (in->strict) {
		c = attest_check_add(out, "trailing-bytes", !s.q.trailing);
		attest_expected(c, "none");
		attest_found(c, "%zu bytes behind the quote", s.q.trailing);
	}
	err = find_chain(&s, &why);
	s.chained = !err;
	c = attest_check_add(out, "certificate-chain", !err);
	attest_expected(c, "three certificates: the platform's (PCK), its authority, a root");
	attest_found(c, "%s", err ? why.text : "complete and signed");
	if (s.chained) {
		check_root(&s);
		check_dates(&s);
		check_revocation(&s);
	}
	check_collateral(&s);
	if (s.chained)
		check_platform(&s);
	check_qe_report(&s);
	check_qe(&s);
	check_signature(&s);
	if (s.q.is_tdx && s.col && s.col->tcb_signed.good && s.col->tcb.is_tdx)
		check_module(&s);
	bool platform = s.chained && s.pck->platform_read;
	if (platform && s.col && s.col->tcb_signed.good && s.col->qe_signed.good && s.col->tcb.is_tdx == s.q.is_tdx)
		check_tcb(&s);
	attest_check_report_data(out, in->report_data, s.q.report_data);
	dcap_claims(&s.q, out->claims);
	if (platform)
		platform_claims(&s);
	shared_release(s.own);
}

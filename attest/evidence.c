// SPDX-License-Identifier: Apache-2.0
// See evidence.h. One function a kind, which hands the bundle's members to that kind's verifier.
#include "attest/evidence.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "attest/bytes.h"
#include "attest/cca.h"
#include "attest/csv.h"
#include "attest/dcap.h"
#include "attest/eventlog.h"
#include "attest/gpu.h"
#include "attest/hcl.h"
#include "attest/initdata.h"
#include "attest/json.h"
#include "attest/shared_cache.h"
#include "attest/slice.h"
#include "attest/snp.h"
#include "attest/spdm.h"
#include "attest/tpm.h"
#include "attest/verify_key.h"
#include "lib/encode.h"

static const char *const kind_names[] = {
	"nothing that is known", "an AMD SEV-SNP report", "an Intel SGX quote", "an Intel TDX quote", "an Azure confidential VM's report",
	"a Hygon CSV report", "an Arm CCA token", "a TPM quote", "an event log", "an NVIDIA GPU's measurements",
};

const char *evidence_kind_name(enum evidence_kind kind)
{
	return kind_names[kind];
}

enum evidence_kind evidence_kind_of(const uint8_t *b, size_t len)
{
	struct dcap_quote q;
	struct csv_report csv;
	struct eventlog log;
	if (len >= 4 && !memcmp(b, "HCLA", 4))
		return EVIDENCE_HCL;
	if (len >= 6 && load_be(b, 4) == 0xff544347)
		return EVIDENCE_TPM;
	if (spdm_looks(b, len))
		return EVIDENCE_GPU;
	if (len >= 3 && b[0] == 0xd9 && load_be(b + 1, 2) == 399)
		return EVIDENCE_CCA;
	if (len >= 48 && !dcap_quote_parse(b, len, &q, NULL))
		return q.is_tdx ? EVIDENCE_TDX : EVIDENCE_SGX;
	if (len == SNP_REPORT_BYTES || (len > SNP_REPORT_BYTES && len <= 64 << 10 && load_le32(b) >= 2 && load_le32(b) <= 5 && load_le32(b + 0x34) == 1))
		return EVIDENCE_SNP;
	if (len >= 48 && len < DCAP_MAX_BYTES && load_le16(b) >= 3 && load_le16(b) <= 5 && load_le16(b + 2) == 2)
		return load_le16(b) > 3 && load_le32(b + 4) == 0x81 ? EVIDENCE_TDX : EVIDENCE_SGX;	// a quote that is malformed further on
	if (len >= CSV_V1_BYTES && !csv_parse(b, len, &csv, NULL) && csv.mac_ok)
		return EVIDENCE_CSV;
	if (len >= 32 && !eventlog_open(&log, b, len, NULL) && load_le32(b) < EVENTLOG_REGISTERS)
		return EVIDENCE_LOG;
	return EVIDENCE_UNKNOWN;
}

// What the verifiers borrow while they run.
struct parts {
	const struct evidence_input *in;
	const uint8_t *evidence;
	size_t len;
	struct shared_entry *chain, *collateral, *tpm_keys;	// of the tables below
	EVP_PKEY *key;		// CCA's
	uint8_t pcr_values[TPM_PCRS][DIGEST_MAX];
	const uint8_t *pcrs[TPM_PCRS];
	struct snp_input snp;
	struct dcap_input dcap;
	struct tpm_input tpm;
};

static struct collateral_text text(const struct evidence_input *in, const char *name)
{
	struct collateral_text t;
	t.bytes = bundle_text(in->bundle, name, &t.len);
	return t;
}

static struct collateral_text bytes(const struct evidence_input *in, const char *name)
{
	struct collateral_text t;
	t.bytes = (const char *)bundle_bytes(in->bundle, name, &t.len);
	return t;
}

// What members of a bundle were read to, by their text as it stands.
static struct shared_cache collaterals = SHARED_CACHE_INIT, chains = SHARED_CACHE_INIT, tpm_keys = SHARED_CACHE_INIT;

static unsigned int key_of(const struct evidence_input *in, const char *const *members, struct shared_part parts[SHARED_CACHE_PARTS])
{
	unsigned int n = 0;
	for (; members[n]; n++)
		parts[n].bytes = bundle_text(in->bundle, members[n], &parts[n].len);
	return n;
}

// AMD's certificates and revocation list.
struct snp_parts {
	struct snp_chain chain;
	X509_CRL *crl;
};

static void snp_parts_free(void *p)
{
	struct snp_parts *s = p;
	snp_chain_free(&s->chain);
	X509_CRL_free(s->crl);
	free(s);
}

// The certificates stand in the bundle as PEM, or behind the report as a table.
static struct shared_entry *read_chain(struct parts *p)
{
	static const char *const members[] = {"certificates", "crl", NULL};
	const struct evidence_input *in = p->in;
	struct shared_part key[SHARED_CACHE_PARTS];
	unsigned int count = key_of(in, members, key);
	bool table = !key[0].bytes && p->len > SNP_REPORT_BYTES;
	size_t n;
	if (table)
		key[count++] = (struct shared_part){p->evidence + SNP_REPORT_BYTES, p->len - SNP_REPORT_BYTES};
	struct shared_entry *e = shared_get(&chains, key, count);
	struct snp_parts *s = e ? NULL : calloc(1, sizeof *s);
	if (e || !s)
		return e;
	if (key[0].bytes)
		snp_chain_add_pem(&s->chain, key[0].bytes, key[0].len, NULL);
	else if (table)
		snp_chain_add_table(&s->chain, key[2].bytes, key[2].len, NULL);
	snp_chain_keep_links(&s->chain);
	const uint8_t *crl = bundle_bytes(in->bundle, "crl", &n);
	s->crl = crl ? cert_crl_read(crl, n) : NULL;
	e = shared_put(&chains, key, count, s, snp_parts_free);
	if (!e)
		snp_parts_free(s);
	return e;
}

static int fill_snp(struct parts *p)
{
	const struct evidence_input *in = p->in;
	size_t report = p->len < SNP_REPORT_BYTES ? p->len : SNP_REPORT_BYTES;
	bool given = json_object_get(in->bundle->json, "crl");
	p->chain = read_chain(p);
	if (!p->chain)
		return -ENOMEM;
	const struct snp_parts *s = shared_object(p->chain);
	p->snp = (struct snp_input){.report = p->evidence, .report_len = report, .chain = &s->chain, .report_data = in->report_data,
				    .simulated_roots = in->simulated_roots, .simulated_root_count = in->simulated_root_count, .crl = s->crl,
				    .crl_unreadable = given && !s->crl, .now = in->now};
	return 0;
}

static void collateral_free(void *p)
{
	dcap_collateral_free(p);
}

static struct shared_entry *read_collateral(const struct evidence_input *in)
{
	static const char *const members[] = {"tcb_info", "tcb_info_signature", "tcb_info_issuer_chain", "qe_identity", "qe_identity_signature",
					      "qe_identity_issuer_chain", "root_ca_crl", "pck_crl", "pck_crl_issuer_chain", "pck_certificate_chain", NULL};
	struct shared_part key[SHARED_CACHE_PARTS];
	unsigned int count = key_of(in, members, key);
	struct shared_entry *e = shared_get(&collaterals, key, count);
	struct dcap_collateral *opened;
	if (e)
		return e;
	const struct dcap_collateral_parts c = {
		.tcb_info = text(in, "tcb_info"), .tcb_info_signature = text(in, "tcb_info_signature"), .tcb_info_chain = text(in, "tcb_info_issuer_chain"),
		.qe_identity = text(in, "qe_identity"), .qe_identity_signature = text(in, "qe_identity_signature"),
		.qe_identity_chain = text(in, "qe_identity_issuer_chain"), .root_crl = bytes(in, "root_ca_crl"), .pck_crl = bytes(in, "pck_crl"),
		.pck_crl_chain = text(in, "pck_crl_issuer_chain"), .pck_chain = text(in, "pck_certificate_chain"),
	};
	if (dcap_collateral_open(&c, &opened))
		return NULL;
	e = shared_put(&collaterals, key, count, opened, collateral_free);
	if (!e)
		dcap_collateral_free(opened);
	return e;
}

// `quote` is the evidence itself, or what an Azure machine's host made of its report.
static int fill_dcap(struct parts *p, const uint8_t *quote, size_t len)
{
	const struct evidence_input *in = p->in;
	p->collateral = read_collateral(in);
	if (!p->collateral)
		return -ENOMEM;
	p->dcap = (struct dcap_input){.quote = quote, .quote_len = len, .report_data = in->report_data, .collateral = shared_object(p->collateral),
				      .simulated_roots = in->simulated_roots, .simulated_root_count = in->simulated_root_count,
				      .strict = in->strict, .now = in->now};
	return 0;
}

static void fill_pcrs(struct parts *p)
{
	const char *name;
	json_t *value;
	json_object_foreach(json_object_get(p->in->bundle->json, "tpm_pcrs"), name, value) {
		char *end;
		unsigned long i = strtoul(name, &end, 10);
		size_t n = json_string_length(value) / 2;
		if (!*end && i < TPM_PCRS && n && n <= DIGEST_MAX && !slice_hex(value, p->pcr_values[i], n))
			p->pcrs[i] = p->pcr_values[i];
	}
}

// A TPM's key and its certificates.
struct tpm_parts {
	EVP_PKEY *key;
	struct verify_key *prepared;
	char digest[65];
	struct cert_list certs;
};

static void tpm_parts_free(void *p)
{
	struct tpm_parts *t = p;
	verify_key_free(t->prepared);
	EVP_PKEY_free(t->key);
	cert_list_free(&t->certs);
	free(t);
}

static struct shared_entry *read_tpm_keys(const struct evidence_input *in)
{
	static const char *const members[] = {"tpm_key", "tpm_certificates", NULL};
	struct shared_part key[SHARED_CACHE_PARTS];
	unsigned int count = key_of(in, members, key);
	struct shared_entry *e = shared_get(&tpm_keys, key, count);
	struct tpm_parts *t = e ? NULL : calloc(1, sizeof *t);
	size_t n;
	if (e || !t)
		return e;
	const uint8_t *der = bundle_bytes(in->bundle, "tpm_key", &n);
	t->key = der ? tpm_key_read(der, n, NULL) : NULL;
	if (key[1].bytes && cert_list_add_pem(&t->certs, key[1].bytes, key[1].len, NULL))
		cert_list_free(&t->certs);
	cert_list_leaf_first(&t->certs);
	if (!t->key && t->certs.count) {
		t->key = X509_get0_pubkey(t->certs.certs[0]);
		if (t->key)
			EVP_PKEY_up_ref(t->key);
	}
	if (tpm_key_digest(t->key, t->digest))
		t->prepared = verify_key_new(t->key);
	e = shared_put(&tpm_keys, key, count, t, tpm_parts_free);
	if (!e)
		tpm_parts_free(t);
	return e;
}

static void fill_tpm(struct parts *p, const uint8_t *quote, size_t len)
{
	const struct evidence_input *in = p->in;
	p->tpm = (struct tpm_input){.attest = quote, .attest_len = len, .nonce = in->nonce, .nonce_len = in->nonce_len, .pcrs = p->pcrs, .now = in->now,
				    .roots = in->tpm_roots, .root_count = in->tpm_root_count, .revocation = in->tpm_revocation,
				    .allowed = in->tpm_keys};
	p->tpm.signature = bundle_bytes(in->bundle, "tpm_signature", &p->tpm.signature_len);
	// An RSA signature alone has the key's size; a TPMT_SIGNATURE is longer and begins with its scheme.
	p->tpm.bare_signature = p->tpm.signature && (p->tpm.signature_len == 256 || p->tpm.signature_len == 384 || p->tpm.signature_len == 512);
	p->tpm.log = bundle_bytes(in->bundle, "event_log", &p->tpm.log_len);
	p->tpm_keys = read_tpm_keys(in);
	const struct tpm_parts *t = p->tpm_keys ? shared_object(p->tpm_keys) : NULL;	// without memory: no key
	if (t && t->certs.count) {
		p->tpm.certificates = &t->certs;
		p->tpm.trust = TPM_TRUST_CERTIFICATE;
	}
	if (t && *t->digest) {
		p->tpm.ak = t->key;
		p->tpm.prepared = t->prepared;
		p->tpm.ak_digest = t->digest;
	}
	if (p->tpm.ak && in->tpm_activated && !strcmp(t->digest, in->tpm_activated))
		p->tpm.trust = TPM_TRUST_ACTIVATED;
	if (in->tpm_keys) // who lists keys wants one of these; a certificate is any TPM's of its maker
		p->tpm.trust = TPM_TRUST_ALLOWED;
	fill_pcrs(p);
}

static void verify_dcap(struct parts *p, struct attest_result *out)
{
	struct dcap_quote q;
	size_t n;
	if (fill_dcap(p, p->evidence, p->len)) {
		attest_found(attest_check_add(out, "format", false), "memory is short");
		return;
	}
	dcap_verify(&p->dcap, out);
	const uint8_t *log = bundle_bytes(p->in->bundle, "event_log", &n);
	if (!log || dcap_quote_parse(p->evidence, p->len, &q, NULL) || !q.is_tdx)
		return;
	const uint8_t *rtmr[4] = {q.td.rtmr[0], q.td.rtmr[1], q.td.rtmr[2], q.td.rtmr[3]};
	eventlog_check(out, log, n, TPM_SHA384, 1, 15, rtmr, 4, "RTMR");
}

static void verify_hcl(struct parts *p, struct attest_result *out)
{
	size_t n;
	const uint8_t *quote = bundle_bytes(p->in->bundle, "quote", &n);
	if (fill_snp(p) || fill_dcap(p, quote, n)) {
		attest_found(attest_check_add(out, "format", false), "memory is short");
		return;
	}
	struct hcl_input hcl = {.blob = p->evidence, .blob_len = p->len, .snp = &p->snp, .dcap = quote ? &p->dcap : NULL};
	quote = bundle_bytes(p->in->bundle, "tpm_quote", &n);
	if (quote) {
		fill_tpm(p, quote, n);
		hcl.tpm = &p->tpm;
	}
	hcl_verify(&hcl, out);
}

static void verify_csv(struct parts *p, struct attest_result *out)
{
	const struct evidence_input *in = p->in;
	struct csv_report r;
	size_t n;
	struct csv_input csv = {.report = p->evidence, .report_len = p->len, .simulated_hrk = in->simulated_hrk, .report_data = in->report_data,
				.strict = in->strict};
	csv.hsk_cek = bundle_bytes(in->bundle, "hsk_cek", &csv.hsk_cek_len);
	csv.hrk = bundle_bytes(in->bundle, "hrk", &csv.hrk_len);
	csv_verify(&csv, out);
	const uint8_t *log = bundle_bytes(in->bundle, "event_log", &n);
	if (!log || csv_parse(p->evidence, p->len, &r, NULL) || r.version != 2)
		return;
	const uint8_t *rtmr[5] = {r.rtmr[0], r.rtmr[1], r.rtmr[2], r.rtmr[3], r.rtmr[4]};
	eventlog_check(out, log, n, TPM_SM3, 0, 0x1e, rtmr, 5, "RTMR");	// the first is the launch measurement
}

static bool key_listed(const char hex[65], const char *const *list)
{
	for (; list && *list; list++) {
		if (!strcmp(*list, hex))
			return true;
	}
	return false;
}

static void verify_cca(struct parts *p, struct attest_result *out)
{
	const struct evidence_input *in = p->in;
	size_t n;
	const uint8_t *key = bundle_bytes(in->bundle, "cca_platform_key", &n);
	p->key = key ? tpm_key_read(key, n, NULL) : NULL;
	// The bundle brings the key, the verifier says whether it is a platform's.
	char digest[65];
	bool endorsed = p->key && tpm_key_digest(p->key, digest) && key_listed(digest, in->cca_keys);
	const struct cca_endorsement e = {.cpak = p->key};
	const struct cca_input cca = {.token = p->evidence, .token_len = p->len, .endorsements = &e,
				      .endorsement_count = endorsed, .challenge = in->report_data, .strict = in->strict};
	cca_verify(&cca, out);
	json_t *platform = json_object_get(json_object_get(out->claims, "cca"), "platform");
	if (endorsed && platform)
		set_text(platform, "key_digest", digest);
}

// GPUs: one alone by its messages and certificates, or several as a list in JSON, which may stand beside other evidence.
static void verify_gpu(struct parts *p, bool alone, struct attest_result *out)
{
	const struct evidence_input *in = p->in;
	static const struct cert_list none = {.count = 0};
	struct shared_entry *certs = NULL;
	struct cert_crls crls = {.count = 0};
	size_t n;
	struct gpu_trust t = {.roots = in->gpu_roots, .root_count = in->gpu_root_count, .simulated_roots = in->simulated_roots,
			      .simulated_root_count = in->simulated_root_count, .nonce = in->gpu_nonce, .strict = in->strict, .now = in->now};
	if (alone && in->nonce && in->nonce_len == GPU_NONCE_BYTES)
		t.nonce = in->nonce;
	const uint8_t *crl = bundle_bytes(in->bundle, alone ? "crl" : "gpu_crl", &n);
	if (crl && cert_crls_add(&crls, crl, n, NULL))
		attest_expected(attest_check_add(out, "gpu-revocation", false), "revocation lists that can be read");
	t.crls = &crls;
	const json_t *list = json_object_get(in->bundle->json, "device_evidence_list");
	if (list) {
		gpu_verify_json(&t, in->bundle->json, out);
	} else {
		const char *pem = bundle_text(in->bundle, "certificates", &n);
		certs = pem ? cert_list_shared(pem, n) : NULL;
		gpu_verify(&t, &(struct gpu_device){p->evidence, p->len, certs ? shared_object(certs) : &none, ""}, 1, out);
	}
	const struct attest_check *root = attest_find(out, "gpu-root");
	bool proved = root && root->outcome == ATTEST_PASSED, simulated = false;
	json_t *device;
	size_t i;
	json_array_foreach(json_object_get(out->claims, "gpu"), i, device)
		simulated |= json_is_true(json_object_get(device, "simulated"));
	if (alone)
		set_text(out->claims, "tee", !proved ? "unknown" : simulated ? "simulated" : "gpu");
	shared_release(certs);
	cert_crls_free(&crls);
}

static void show_log(struct parts *p, struct attest_result *out)
{
	struct eventlog l;
	struct fault why = {""};
	json_t *all = NULL;
	int err = eventlog_open(&l, p->evidence, p->len, &why);
	for (unsigned int i = 0; !err && i < l.alg_count && !all; i++)	// the strongest comes last
		all = eventlog_claims(p->evidence, p->len, l.algs[l.alg_count - 1 - i].alg, &why);
	if (all)
		json_object_set_new(out->claims, "event_log", all);
	struct attest_check *c = attest_check_add(out, "format", all != NULL);
	attest_expected(c, "an event log");
	attest_found(c, "%s", all ? "one" : why.text);
	c = attest_check_add(out, "signature", false);
	attest_expected(c, "a quote that signs the registers to which the log replays");
	attest_found(c, "a log alone, which proves nothing");
	set_text(out->claims, "tee", "unknown");
}

// What was asked or given, but this kind of evidence cannot answer: never passed over in silence.
static void check_unanswered(const struct evidence_input *in, enum evidence_kind kind, struct attest_result *out)
{
	struct attest_check *c;
	if (in->report_data && (kind == EVIDENCE_HCL || !attest_find(out, "report-data"))) {
		c = attest_check_add(out, "report-data-asked", false);
		attest_expected(c, "evidence that can be bound to report data");
		attest_found(c, "%s%s", evidence_kind_name(kind), kind == EVIDENCE_HCL || kind == EVIDENCE_TPM || kind == EVIDENCE_GPU ? ", which is bound by a nonce" : "");
	}
	const struct attest_check *gpu = kind == EVIDENCE_GPU ? attest_find(out, "gpu-nonce") : NULL;
	if (in->nonce && !attest_find(out, "tpm-nonce") && (!gpu || gpu->outcome == ATTEST_SKIPPED)) {
		c = attest_check_add(out, "nonce-asked", false);
		attest_expected(c, "a TPM's quote, which a nonce can bind, or a GPU's answer (%d bytes)", GPU_NONCE_BYTES);
		attest_found(c, "%s without one", evidence_kind_name(kind));
	}
	if (json_object_get(in->bundle->json, "event_log") && !attest_find(out, "event-log")) {
		c = attest_check_add(out, "event-log", false);
		attest_expected(c, "a log that replays to signed registers");
		attest_found(c, "a log that cannot be read, or evidence without registers");
	}
}

// As a claim, so that a policy can ask for it later as well, when only claims are left.
static void note_revocation(struct attest_result *out)
{
	const struct attest_check *c = attest_find(out, "revocation");
	set_text(out->claims, "revocation", !c ? "none" : c->outcome == ATTEST_PASSED ? "checked" : c->outcome == ATTEST_FAILED ? "failed" : "unchecked");
}

enum evidence_kind evidence_verify(const struct evidence_input *in, struct attest_result *out)
{
	struct parts p = {.in = in};
	struct attest_check *c;
	p.evidence = bundle_bytes(in->bundle, "evidence", &p.len);
	if (!p.evidence)	// a TPM's quote may stand alone
		p.evidence = bundle_bytes(in->bundle, "tpm_quote", &p.len);
	bool gpus = json_object_get(in->bundle->json, "device_evidence_list");
	enum evidence_kind kind = p.evidence ? evidence_kind_of(p.evidence, p.len) : gpus ? EVIDENCE_GPU : EVIDENCE_UNKNOWN;
	switch (kind) {
	case EVIDENCE_GPU:
		verify_gpu(&p, true, out);
		break;
	case EVIDENCE_SNP:
		if (fill_snp(&p)) {
			attest_found(attest_check_add(out, "format", false), "memory is short");
			break;
		}
		snp_verify(&p.snp, out);
		if (in->strict) {
			bool read = !json_object_get(in->bundle->json, "certificates"); // what follows is their table
			c = attest_check_add(out, "trailing-bytes", read || p.len <= SNP_REPORT_BYTES);
			attest_expected(c, "none");
			attest_found(c, "%zu bytes behind the report", p.len > SNP_REPORT_BYTES && !read ? p.len - SNP_REPORT_BYTES : 0);
		}
		break;
	case EVIDENCE_SGX:
	case EVIDENCE_TDX:
		verify_dcap(&p, out);
		break;
	case EVIDENCE_HCL:
		verify_hcl(&p, out);
		break;
	case EVIDENCE_CSV:
		verify_csv(&p, out);
		break;
	case EVIDENCE_CCA:
		verify_cca(&p, out);
		break;
	case EVIDENCE_TPM:
		fill_tpm(&p, p.evidence, p.len);
		tpm_verify(&p.tpm, out);
		if (p.tpm.trust == TPM_TRUST_ACTIVATED && in->tpm_endorsement && json_object_get(out->claims, "tpm"))
			set_text(json_object_get(out->claims, "tpm"), "ek_digest", in->tpm_endorsement);
		break;
	case EVIDENCE_LOG:
		show_log(&p, out);
		break;
	case EVIDENCE_UNKNOWN:
		c = attest_check_add(out, "format", false);
		attest_expected(c, "evidence of a known kind");
		if (p.evidence)
			attest_found(c, "%zu bytes of none", p.len);
		else
			attest_found(c, "no evidence in the bundle");
		set_text(out->claims, "tee", "unknown");
		break;
	}
	if (gpus && kind != EVIDENCE_GPU)
		verify_gpu(&p, false, out);
	initdata_check(in->bundle, kind, out);
	check_unanswered(in, kind, out);
	note_revocation(out);
	shared_release(p.chain);
	shared_release(p.collateral);
	shared_release(p.tpm_keys);
	EVP_PKEY_free(p.key);
	return kind;
}

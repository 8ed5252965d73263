// SPDX-License-Identifier: Apache-2.0
// The broker takes the evidence of each kind of hardware, in the forms that clients of the KBS protocol write: made under test roots and
// bound to the session, a real TPM's (swtpm), and recorded from real machines, where what is wrong must be the session's nonce and no more.
#include <errno.h>
#include <openssl/pem.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "attest/binding.h"
#include "attest/bundle.h"
#include "attest/cert.h"
#include "attest/collateral.h"
#include "attest/refval.h"
#include "broker/audit_client.h"
#include "lib/encode.h"
#include "lib/file.h"
#include "lib/jwe.h"
#include "tests/attest/make/cca.h"
#include "tests/attest/make/csv.h"
#include "tests/attest/make/dcap.h"
#include "tests/attest/make/snp.h"
#include "tests/attest/make/tpm.h"
#include "tests/attest/vectors.h"
#include "tests/broker/harness.h"

#define RESOURCE "default/secret/one"

static char collateral[96], roots_file[96], policy_file[96], tpm_roots_file[96], references[96];
static struct run b;

static void write_text(const char *path, const void *text, size_t len)
{
	if (file_write(path, text, len, 0600, false, NULL))
		abort();
}

static bool start(const char *extra1, const char *extra2)
{
	return run_start(&b, "--collateral", collateral, "--policy", policy_file, "--tpm-roots", tpm_roots_file, "--references", references, extra1,
			 extra2);
}

// ---- one exchange ----

static struct guest guest;
static json_t *jwk;		// of its key
static char answer[65536];
static int answer_status;
static uint8_t bound[64];	// the report data of this session

static bool begin(const char *tee)
{
	return guest_begin(&b, tee, &guest) && !attest_report_data(guest.nonce, jwk, "", bound);
}

static json_t *init_data;	// sent beside the evidence; NULL: none

// Sends evidence (taken over); the answer stands in `answer`.
static void send_evidence(json_t *primary)
{
	struct http_reply r;
	json_t *o = json_pack("{s:{s:s, s:O}, s:{s:o, s:s}}", "runtime-data", "nonce", guest.nonce, "tee-pubkey", jwk, "tee-evidence", "primary_evidence",
			      primary, "additional_evidence", "");
	if (init_data)
		json_object_set(o, "init-data", init_data);
	char *body = json_dumps(o, JSON_COMPACT);
	answer_status = 0;
	answer[0] = '\0';
	if (!request(&b, "POST", "/kbs/v0/attest", guest.cookie, body, &r)) {
		answer_status = r.status;
		snprintf(answer, sizeof answer, "%s", r.body);
		http_reply_free(&r);
	}
	free(body);
	json_decref(o);
}

// The names of what the answer refuses: "id id ".
static const char *refusals(void)
{
	static char text[1024];
	json_t *o = json_loads(answer, 0, NULL), *e;
	size_t i, n = 0;
	text[0] = '\0';
	json_array_foreach(json_object_get(o, "refusals"), i, e)
		n += (size_t)snprintf(text + n, sizeof text - n, "%s ", json_string_value(json_object_get(e, "claim")));
	json_decref(o);
	return text;
}

// A claim of the token that was answered, by path; "" when it is missing.
static const char *token_claim(const char *path)
{
	static char value[256], body[65536];
	json_t *o = json_loads(answer, 0, NULL);
	const char *token = json_string_value(json_object_get(o, "token")), *dot = token ? strchr(token, '.') : NULL;
	ssize_t n = dot ? base64_decode(body, sizeof body - 1, dot + 1, strcspn(dot + 1, "."), BASE64_URL) : -1;
	json_t *t = n > 0 ? json_loadb(body, (size_t)n, 0, NULL) : NULL;
	json_t *cpu = json_object_get(json_object_get(t, "submods"), "cpu0");
	struct attest_result r = {.claims = !strncmp(path, "ear.", 4) ? cpu : json_object_get(cpu, "ear.veraison.annotated-evidence")};
	snprintf(value, sizeof value, "%s", !strcmp(path, "ear.status") ? json_string_value(json_object_get(cpu, path)) ?: "" : claim_of(&r, path));
	json_decref(t);
	json_decref(o);
	return value;
}

static void accepted(const char *name, const char *tee)
{
	ok(name, answer_status == 200 && !strcmp(token_claim("tee"), tee), "%d: tee %s, %s", answer_status, token_claim("tee"), answer);
}

static void refused(const char *name, const char *ids)
{
	ok(name, answer_status == 403 && !strcmp(refusals(), ids), "%d: %s, not %s: %s", answer_status, refusals(), ids, answer);
}

// ---- makers of what clients send ----

static json_t *b64(const void *bytes, size_t len, enum base64_kind kind)
{
	char *text = malloc(BASE64_SIZE(len));
	base64_encode(text, bytes, len, kind);
	json_t *s = json_string(text);
	free(text);
	return s;
}

static json_t *numbers(const uint8_t *bytes, size_t len)
{
	json_t *l = json_array();
	for (size_t i = 0; i < len; i++)
		json_array_append_new(l, json_integer(bytes[i]));
	return l;
}

static json_t *hex(const uint8_t *bytes, size_t len)
{
	char text[2 * 1024 + 1];
	return json_string(hex_encode(text, bytes, len));
}

// A file of collateral, as the operator gives it.
static void put_collateral(const char *tee, struct bundle *b)
{
	char path[160];
	char *text = json_dumps(b->json, JSON_INDENT(1));
	snprintf(path, sizeof path, "%s/own/%s.json", collateral, tee);
	write_text(path, text, strlen(text));
	free(text);
	bundle_free(b);
}

static void no_collateral(const char *tee)
{
	char path[160];
	snprintf(path, sizeof path, "%s/own/%s.json", collateral, tee);
	unlink(path);
}

static json_t *cert_entry(const char *type, X509 *cert)
{
	uint8_t *der = NULL;
	int len = i2d_X509(cert, &der);
	json_t *o = json_pack("{s:s, s:o}", "cert_type", type, "data", b64(der, (size_t)len, BASE64_STD));
	OPENSSL_free(der);
	return o;
}

static uint64_t number_at(const uint8_t *b, int at, int n)
{
	uint64_t v = 0;
	for (int i = n - 1; i >= 0; i--)
		v = v << 8 | b[at + i];
	return v;
}

static json_t *tcb_at(const uint8_t *b, int at)
{
	return json_pack("{s:i, s:i, s:o, s:i, s:i}", "bootloader", b[at], "tee", b[at + 1], "_reserved", numbers(b + at + 2, 4), "snp", b[at + 6],
			 "microcode", b[at + 7]);
}

// The report by fields, as a Rust client's serialiser writes it.
static json_t *snp_fields(const uint8_t *b)
{
	static const struct { const char *name; int at, n; } lists[] = {
		{"family_id", 0x10, 16}, {"image_id", 0x20, 16}, {"report_data", 0x50, 64}, {"measurement", 0x90, 48}, {"host_data", 0xc0, 32},
		{"id_key_digest", 0xe0, 48}, {"author_key_digest", 0x110, 48}, {"report_id", 0x140, 32}, {"report_id_ma", 0x160, 32}, {"chip_id", 0x1a0, 64},
	}, single[] = {
		{"version", 0, 4}, {"guest_svn", 4, 4}, {"policy", 8, 8}, {"vmpl", 0x30, 4}, {"sig_algo", 0x34, 4}, {"plat_info", 0x40, 8}, {"key_info", 0x48, 4},
		{"cpuid_fam_id", 0x188, 1}, {"cpuid_mod_id", 0x189, 1}, {"cpuid_step", 0x18a, 1},
	}, tcbs[] = {{"current_tcb", 0x38, 8}, {"reported_tcb", 0x180, 8}, {"committed_tcb", 0x1e0, 8}, {"launch_tcb", 0x1f0, 8}};
	json_t *o = json_object();
	for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
		json_object_set_new(o, lists[i].name, numbers(b + lists[i].at, (size_t)lists[i].n));
	for (size_t i = 0; i < sizeof single / sizeof *single; i++)
		json_object_set_new(o, single[i].name, json_integer((json_int_t)number_at(b, single[i].at, single[i].n)));
	for (size_t i = 0; i < sizeof tcbs / sizeof *tcbs; i++)
		json_object_set_new(o, tcbs[i].name, tcb_at(b, tcbs[i].at));
	json_object_set_new(o, "current", json_pack("{s:i, s:i, s:i}", "build", b[0x1e8], "minor", b[0x1e9], "major", b[0x1ea]));
	json_object_set_new(o, "committed", json_pack("{s:i, s:i, s:i}", "build", b[0x1ec], "minor", b[0x1ed], "major", b[0x1ee]));
	json_object_set_new(o, "signature", json_pack("{s:o, s:o}", "r", numbers(b + 0x2a0, 72), "s", numbers(b + 0x2e8, 72)));
	return o;
}

// ---- each kind ----

static void test_snp(void)
{
	struct snp_made m;
	struct bundle b;
	struct snp_spec s = snp_genoa;
	size_t crl_len;
	s.bound = bound;
	s.crl_to = time(NULL) + 86400;
	begin("snp");
	snp_make(&s, &m);
	send_evidence(json_pack("{s:o, s:[o, o, o]}", "attestation_report", b64(m.report, sizeof m.report, BASE64_STD), "cert_chain",
				cert_entry("ASK", m.chain.certs[1]), cert_entry("ARK", m.chain.certs[2]), cert_entry("VCEK", m.chain.certs[0])));
	accepted("snp: a report in base64", "simulated");
	snp_made_free(&m);

	begin("snp");
	snp_make(&s, &m);
	bundle_init(&b);
	uint8_t *crl = pki_crl_der(m.crl, &crl_len);
	char *pem = pki_pem(m.chain.certs[1], m.chain.certs[2], NULL);
	bundle_put_bytes(&b, "crl", crl, crl_len);
	bundle_put_text(&b, "certificates", pem, strlen(pem));
	free(crl);
	free(pem);
	put_collateral("snp", &b);
	send_evidence(json_pack("{s:o, s:[o]}", "attestation_report", snp_fields(m.report), "cert_chain", cert_entry("VCEK", m.chain.certs[0])));
	accepted("snp: a report by its fields; authorities and revocation list are the operator's", "simulated");
	ok("snp: the token says that revocation was checked", !strcmp(token_claim("revocation"), "checked"), "%s", token_claim("revocation"));
	snp_made_free(&m);

	begin("snp");
	snp_make(&s, &m);
	send_evidence(json_pack("{s:o}", "attestation_report", snp_fields(m.report)));
	ok("snp: without its chip's certificate", answer_status == 403 && strstr(refusals(), "tcb "), "%d: %s", answer_status, answer);
	begin("snp");
	json_t *fields = snp_fields(m.report);
	json_object_del(fields, "chip_id");
	send_evidence(json_pack("{s:o}", "attestation_report", fields));
	ok("snp: a field that is missing is named", answer_status == 400 && strstr(answer, "chip_id is missing"), "%d: %s", answer_status, answer);
	snp_made_free(&m);

	s.revoked = true;
	begin("snp");
	snp_make(&s, &m);
	bundle_init(&b);
	crl = pki_crl_der(m.crl, &crl_len);
	bundle_put_bytes(&b, "crl", crl, crl_len);
	free(crl);
	put_collateral("snp", &b);
	send_evidence(json_pack("{s:o, s:[o, o, o]}", "attestation_report", snp_fields(m.report), "cert_chain", cert_entry("VCEK", m.chain.certs[0]),
				cert_entry("ASK", m.chain.certs[1]), cert_entry("ARK", m.chain.certs[2])));
	refused("snp: a revoked authority", "revocation ");
	bundle_init(&b);
	bundle_put_bytes(&b, "crl", "no list", 7);
	put_collateral("snp", &b);
	begin("snp");
	snp_made_free(&m);
	s.revoked = false;
	snp_make(&s, &m);
	send_evidence(json_pack("{s:o, s:[o, o, o]}", "attestation_report", snp_fields(m.report), "cert_chain", cert_entry("VCEK", m.chain.certs[0]),
				cert_entry("ASK", m.chain.certs[1]), cert_entry("ARK", m.chain.certs[2])));
	refused("snp: a revocation list that cannot be read", "revocation ");
	char own[160];
	snprintf(own, sizeof own, "%s/own/snp.json", collateral);
	write_text(own, "{", 1);
	begin("snp");
	send_evidence(json_pack("{s:o, s:[o, o, o]}", "attestation_report", snp_fields(m.report), "cert_chain", cert_entry("VCEK", m.chain.certs[0]),
				cert_entry("ASK", m.chain.certs[1]), cert_entry("ARK", m.chain.certs[2])));
	ok("snp: the operator's own file, which may be what revokes, is damaged", answer_status == 403 && strstr(refusals(), "collateral-own "), "%d: %s",
	   answer_status, answer);
	no_collateral("snp");
	snp_made_free(&m);

	begin("tdx");
	snp_make(&s, &m);
	send_evidence(json_pack("{s:o}", "quote", b64(m.report, sizeof m.report, BASE64_STD)));
	ok("evidence of another kind than the client's", strstr(refusals(), "evidence-kind "), "%d: %s", answer_status, answer);
	snp_made_free(&m);
}

static void test_init_data(void)
{
	static const char body[] = "algorithm = \"sha384\"\nversion = \"0.1.0\"\n\n[data]\n\"policy.rego\" = '''\ndefault allow := false\n'''\n";
	uint8_t digest[48];
	struct snp_made m;
	struct snp_spec s = snp_genoa;
	s.bound = bound;
	s.host_data = digest;
	EVP_Q_digest(NULL, "SHA2-384", NULL, body, strlen(body), digest, NULL);
	for (int step = 0; step < 4; step++) {
		begin("snp");
		snp_make(&s, &m);
		init_data = step == 3 ? json_pack("{s:s}", "format", "toml") : json_pack("{s:s, s:s}", "format", "toml", "body", step == 1 ? body + 1 : body);
		send_evidence(json_pack("{s:o, s:[o, o, o]}", "attestation_report", b64(m.report, sizeof m.report, BASE64_STD), "cert_chain",
					cert_entry("ASK", m.chain.certs[1]), cert_entry("ARK", m.chain.certs[2]), cert_entry("VCEK", m.chain.certs[0])));
		if (step == 0) {
			accepted("init-data: the host's, as the report has it", "simulated");
			ok("init-data: its digest is a claim", !strncmp(token_claim("init_data.algorithm"), "sha384", 7) && strlen(token_claim("init_data.digest")) == 96,
			   "%s", token_claim("init_data.digest"));
		} else if (step < 3) {
			refused(step == 1 ? "init-data: another text" : "init-data: a report without it", "init-data ");
		} else {
			ok("init-data: without a body", answer_status == 400 && strstr(answer, "init-data"), "%d: %s", answer_status, answer);
		}
		json_decref(init_data);
		init_data = NULL;
		snp_made_free(&m);
		s.host_data = step ? NULL : digest;
	}
}

static void test_extra_params(void)
{
	static const struct {
		const char *name, *extra;
		int status;
	} cases[] = {
		{"auth: extra-params that say the same", "{\"tee-metadata\":{\"primary_tee\":{\"tee\":\"snp\"},\"additional_tees\":[]},\"supported-hash-algorithms\":[\"sha384\"]}", 200},
		{"auth: extra-params of another TEE", "{\"tee-metadata\":{\"primary_tee\":{\"tee\":\"tdx\"}}}", 400},
		{"auth: a policy of the client's choice", "{\"attestation-policy-selector\":\"mine\"}", 400},
		{"auth: no policy of the client's choice", "{\"attestation-policy-selector\":null}", 200},
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct http_reply r;
		char body[512];
		snprintf(body, sizeof body, "{\"version\":\"0.4.0\",\"tee\":\"snp\",\"extra-params\":%s}", cases[i].extra);
		int err = request(&b, "POST", "/kbs/v0/auth", "", body, &r);
		ok(cases[i].name, !err && r.status == cases[i].status, "%d, %d", err, err ? 0 : r.status);
		if (!err)
			http_reply_free(&r);
	}
}

static void dcap_collateral(const char *tee, const struct made *m)
{
	struct bundle b;
	bundle_init(&b);
	bundle_put_text(&b, "tcb_info", m->tcb, strlen(m->tcb));
	bundle_put_text(&b, "tcb_info_issuer_chain", m->tcb_chain, strlen(m->tcb_chain));
	bundle_put_text(&b, "qe_identity", m->qe, strlen(m->qe));
	bundle_put_text(&b, "qe_identity_issuer_chain", m->tcb_chain, strlen(m->tcb_chain));
	bundle_put_text(&b, "pck_crl_issuer_chain", m->crl_chain, strlen(m->crl_chain));
	bundle_put_bytes(&b, "root_ca_crl", m->root_crl, m->parts.root_crl.len);
	bundle_put_bytes(&b, "pck_crl", m->pck_crl, m->parts.pck_crl.len);
	put_collateral(tee, &b);
}

// The same in a collateral store, as `coffer collateral` would have fetched it.
static void dcap_store(const struct made *m)
{
	const struct { const char *path; const void *body; size_t len; const char *chain; } items[] = {
		{"/tdx/certification/v4/tcb?fmspc=00806F050000", m->tcb, strlen(m->tcb), m->tcb_chain},
		{"/tdx/certification/v4/qe/identity", m->qe, strlen(m->qe), m->tcb_chain},
		{"/sgx/certification/v4/pckcrl?ca=platform&encoding=der", m->pck_crl, m->parts.pck_crl.len, m->crl_chain},
		{"/IntelSGXRootCA.der", m->root_crl, m->parts.root_crl.len, NULL},
	};
	struct collateral_store *store;
	struct fault f = {""};
	int err = collateral_open(&store, collateral, false, &f);
	for (size_t i = 0; !err && i < sizeof items / sizeof *items; i++) {
		struct collateral_item item = {.fetched = time(NULL)};
		err = collateral_key_read(items[i].path, &item.key, &f);
		if (!err)
			err = collateral_item_set(&item, items[i].body, items[i].len, items[i].chain, items[i].chain ? strlen(items[i].chain) : 0, &f);
		if (!err)
			err = collateral_put(store, &item, &f);
		if (err)
			ok("an item of the store", false, "%s: %s", items[i].path, f.text);
		collateral_item_free(&item);
	}
	collateral_close(store);
}

static struct dcap_spec now_of(const struct dcap_spec *of)
{
	struct dcap_spec s = *of;
	s.tcb_issued = s.qe_issued = s.crl_from = time(NULL) - MADE_DAY;
	s.tcb_next = s.qe_next = s.crl_to = time(NULL) + 20 * MADE_DAY;
	s.has_bound = true;
	memcpy(s.bound, bound, 64);
	return s;
}

static void test_dcap(const char *tee, const struct dcap_spec *of)
{
	struct made m;
	char name[96];
	begin(tee);
	struct dcap_spec s = now_of(of);
	made_make(&s, &m);
	dcap_collateral(tee, &m);
	send_evidence(json_pack("{s:o}", "quote", b64(m.quote, m.quote_len, BASE64_STD)));
	snprintf(name, sizeof name, "%s: a quote with the operator's collateral", tee);
	accepted(name, "simulated");
	snprintf(name, sizeof name, "%s: the token has its TCB status", tee);
	ok(name, !strcmp(token_claim("tcb_status"), "UpToDate"), "%s", token_claim("tcb_status"));
	begin(tee);
	send_evidence(json_pack("{s:o}", "quote", b64(m.quote, m.quote_len, BASE64_STD)));
	snprintf(name, sizeof name, "%s: the same quote in another session", tee);
	refused(name, "report-data ");
	made_free(&m);

	begin(tee);
	s = now_of(of);
	s.platform_svn = 6;
	made_make(&s, &m);
	dcap_collateral(tee, &m);
	send_evidence(json_pack("{s:o}", "quote", b64(m.quote, m.quote_len, BASE64_STD)));
	snprintf(name, sizeof name, "%s: a platform that the policy finds too old", tee);
	if (of->tdx)
		refused(name, "tcb_status ");
	else
		accepted("sgx: SWHardeningNeeded is in the platform's policy", "simulated");
	made_free(&m);

	begin(tee);
	s = now_of(of);
	made_make(&s, &m);
	no_collateral(tee);
	send_evidence(json_pack("{s:o}", "quote", b64(m.quote, m.quote_len, BASE64_STD)));
	snprintf(name, sizeof name, "%s: without collateral", tee);
	ok(name, answer_status == 403 && strstr(refusals(), "tcb-info ") && strstr(answer, "expected"), "%d: %s", answer_status, answer);
	made_free(&m);
}

static void test_store(void)
{
	struct made m;
	begin("tdx");
	struct dcap_spec s = now_of(&made_tdx);
	made_make(&s, &m);
	dcap_store(&m);
	send_evidence(json_pack("{s:o}", "quote", b64(m.quote, m.quote_len, BASE64_STD)));
	accepted("tdx: a quote with what the collateral store has", "simulated");
	made_free(&m);
	char *log;
	size_t len;
	bool said = !file_read(b.log, 1 << 20, &log, &len, NULL) && strstr(log, "collateral: missing VCEK of the Genoa chip c1c1c1c1");
	ok("what was missing before is in the broker's log", said, "no");
	free(log);
}

static struct csv_world csv;

static void test_csv(void)
{
	static uint8_t report[4096];
	static const uint8_t magic[16];
	struct bundle b;
	begin("csv");
	csv_make_report(&csv, 1, CSV_POLICY_NODBG | CSV_POLICY_ES, bound, report);
	bundle_init(&b);
	bundle_put_bytes(&b, "hrk", csv.hrk_cert, sizeof csv.hrk_cert);
	bundle_put_bytes(&b, "hsk_cek", csv.hsk_cek, sizeof csv.hsk_cek);
	put_collateral("csv", &b);
	send_evidence(json_pack("{s:{s:o, s:i, s:o}, s:{}, s:o}", "attestation_report", "magic", numbers(magic, 16), "flags", 0, "data",
				numbers(report, sizeof report), "cert_chain", "serial_number", numbers((const uint8_t *)"TEST0001", 8)));
	accepted("csv: a report, padded as clients pad it", "simulated");
	ok("csv: the debugger is off", !strcmp(token_claim("dbgstat"), "disabled-since-boot"), "%s", token_claim("dbgstat"));
	begin("csv");
	size_t len = csv_make_report(&csv, 2, CSV_POLICY_NODBG | CSV_POLICY_ES, bound, report);
	send_evidence(json_pack("{s:o, s:{s:o}}", "attestation_report", b64(report, len, BASE64_STD), "cert_chain", "hsk_cek",
				b64(csv.hsk_cek, sizeof csv.hsk_cek, BASE64_STD)));
	accepted("csv: version 2", "simulated");
	begin("csv");
	csv_make_report(&csv, 1, CSV_POLICY_NODBG, bound, report);
	send_evidence(json_pack("{s:o}", "attestation_report", b64(report, CSV_V1_BYTES, BASE64_STD)));
	refused("csv: registers that the host can read", "csv.policy.es ");
	no_collateral("csv");
}

static struct cca_keys cca;

static void test_cca(void)
{
	uint8_t token[4096];
	struct bundle b;
	uint8_t *der = NULL;
	int der_len = i2d_PUBKEY(cca.cpak, &der);
	const struct cca_spec s = {.lifecycle = 0x3003, .challenge_len = 64, .rak_hash = "sha-256"};
	begin("cca");
	size_t len = cca_make(&s, &cca, bound, token);
	bundle_init(&b);
	bundle_put_bytes(&b, "cca_platform_key", der, (size_t)der_len);
	put_collateral("cca", &b);
	send_evidence(json_pack("{s:o}", "token", numbers(token, len)));
	accepted("cca: a token of a platform whose key is listed", "cca");
	ok("cca: the token affirms", !strcmp(token_claim("ear.status"), "affirming"), "%s", token_claim("ear.status"));
	begin("cca");
	send_evidence(json_pack("{s:o}", "token", b64(token, len, BASE64_STD)));
	refused("cca: the same token in another session", "report-data ");
	no_collateral("cca");
	OPENSSL_free(der);
}

static uint8_t values[TPM_PCRS][32];

static json_t *pcrs_hex(void)
{
	json_t *l = json_array();
	for (int i = 0; i < TPM_PCRS; i++)
		json_array_append_new(l, hex(values[i], 32));
	return l;
}

static struct pki tpm_root, tpm_ak;

static void test_tpm(void)
{
	struct tpm_made m;
	uint8_t *der = NULL;
	int der_len = i2d_PUBKEY(tpm_ak.key, &der);
	char *chain = pki_pem(tpm_ak.cert, tpm_root.cert, NULL);
	static const size_t lens[] = {32, 48, 64};
	for (size_t i = 0; i < 3; i++) {
		char name[64];
		begin("tpm");
		tpm_make(&(struct tpm_spec){0x18, 0xff544347, 0x8018, 0x81, bound, lens[i], values}, tpm_ak.key, &m);
		send_evidence(json_pack("{s:s, s:o, s:{s:o, s:o, s:o}}", "ak_certificates", chain, "ak_public", b64(der, (size_t)der_len, BASE64_STD),
					"tpm_quote", "signature", b64(m.signature, m.signature_len, BASE64_STD), "message",
					b64(m.attest, m.attest_len, BASE64_STD), "pcrs", pcrs_hex()));
		snprintf(name, sizeof name, "tpm: a quote whose nonce has %zu bytes", lens[i]);
		accepted(name, "tpm");
	}
	ok("tpm: the token says why its key is believed", !strcmp(token_claim("tpm.ak_trust"), "certificate"), "%s", token_claim("tpm.ak_trust"));
	begin("tpm");
	tpm_make(&(struct tpm_spec){0x18, 0xff544347, 0x8018, 0x81, bound, 31, values}, tpm_ak.key, &m);
	send_evidence(json_pack("{s:s, s:o, s:{s:o, s:o, s:o}}", "ak_certificates", chain, "ak_public", b64(der, (size_t)der_len, BASE64_STD),
				"tpm_quote", "signature", b64(m.signature, m.signature_len, BASE64_STD), "message",
				b64(m.attest, m.attest_len, BASE64_STD), "pcrs", pcrs_hex()));
	refused("tpm: a nonce that is too short", "tpm-nonce ");
	begin("tpm");
	tpm_make(&(struct tpm_spec){0x18, 0xff544347, 0x8018, 0x81, bound, 48, values}, tpm_ak.key, &m);
	send_evidence(json_pack("{s:o, s:{s:o, s:o, s:o}}", "ak_public", b64(der, (size_t)der_len, BASE64_STD), "tpm_quote", "signature",
				b64(m.signature, m.signature_len, BASE64_STD), "message", b64(m.attest, m.attest_len, BASE64_STD), "pcrs", pcrs_hex()));
	refused("tpm: a key of which nothing says that it is a TPM's", "tpm-key ");
	free(chain);
	OPENSSL_free(der);
}

// Azure: the paravisor's blob over an SNP report that binds a JSON text with the vTPM's key.
static size_t make_hcl(const uint8_t *report, const char *json, uint8_t *blob)
{
	size_t n = strlen(json);
	memset(blob, 0, 0x4d4);
	memcpy(blob, "HCLA", 4);
	memcpy(blob + 0x20, report, SNP_REPORT_BYTES);
	blob[0x4c4] = 1;
	blob[0x4c8] = 2;
	blob[0x4cc] = 1;
	blob[0x4d0] = (uint8_t)n;
	blob[0x4d1] = (uint8_t)(n >> 8);
	memcpy(blob + 0x4d4, json, n);
	return 0x4d4 + n;
}

static char *runtime_json(EVP_PKEY *rsa)
{
	BIGNUM *n = NULL;
	uint8_t bytes[256];
	EVP_PKEY_get_bn_param(rsa, "n", &n);
	BN_bn2binpad(n, bytes, sizeof bytes);
	BN_free(n);
	json_t *o = json_pack("{s:[{s:s, s:s, s:s, s:o}]}", "keys", "kid", "HCLAkPub", "kty", "RSA", "e", "AQAB", "n", b64(bytes, 256, BASE64_URL));
	char *text = json_dumps(o, JSON_COMPACT);
	json_decref(o);
	return text;
}

static void test_azure(void)
{
	static uint8_t blob[4096];
	uint8_t data[64] = {0};
	struct tpm_made q;
	struct snp_made m;
	EVP_PKEY *rsa = EVP_RSA_gen(2048);
	char *json = runtime_json(rsa);
	struct snp_spec s = snp_milan;
	digest_two(TPM_SHA256, json, strlen(json), "", 0, data);
	s.bound = data;
	snp_make(&s, &m);
	size_t len = make_hcl(m.report, json, blob);
	char *pem = pki_pem(m.chain.certs[0], m.chain.certs[1], m.chain.certs[2], NULL);
	begin("az-snp-vtpm");
	tpm_make(&(struct tpm_spec){0x14, 0xff544347, 0x8018, 0x81, bound, 48, values}, rsa, &q);
	send_evidence(json_pack("{s:i, s:s, s:o, s:{s:o, s:o, s:o}}", "version", 1, "vcek", pem, "hcl_report", b64(blob, len, BASE64_URL), "tpm_quote",
				"signature", hex(q.signature, q.signature_len), "message", hex(q.attest, q.attest_len), "pcrs", pcrs_hex()));
	accepted("azure: SNP with its vTPM", "simulated");
	ok("azure: the vTPM's key is believed by the hardware's word", !strcmp(token_claim("tpm.ak_trust"), "tee"), "%s", token_claim("tpm.ak_trust"));
	begin("az-snp-vtpm");
	send_evidence(json_pack("{s:s, s:o, s:{s:o, s:o, s:o}}", "vcek", pem, "report", numbers(blob, len), "quote", "signature",
				numbers(q.signature, q.signature_len), "message", numbers(q.attest, q.attest_len), "pcrs", pcrs_hex()));
	refused("azure: the older form, of another session", "tpm-nonce ");
	struct bundle own;
	bundle_init(&own);
	bundle_put_text(&own, "certificates", pem, strlen(pem));
	put_collateral("az-tdx-vtpm", &own);
	begin("az-tdx-vtpm");
	tpm_make(&(struct tpm_spec){0x14, 0xff544347, 0x8018, 0x81, bound, 48, values}, rsa, &q);
	send_evidence(json_pack("{s:s, s:o, s:{s:o, s:o, s:o}}", "td_quote", "AAAA", "hcl_report", b64(blob, len, BASE64_URL), "tpm_quote", "signature",
				hex(q.signature, q.signature_len), "message", hex(q.attest, q.attest_len), "pcrs", pcrs_hex()));
	refused("azure: SNP under TDX's name", "evidence-kind ");
	no_collateral("az-tdx-vtpm");
	free(pem);
	snp_made_free(&m);

	struct made d;
	begin("az-tdx-vtpm");
	struct dcap_spec t = now_of(&made_tdx);
	memcpy(t.bound, data, 64);
	made_make(&t, &d);
	dcap_collateral("az-tdx-vtpm", &d);
	blob[0x4c8] = 4;
	tpm_make(&(struct tpm_spec){0x14, 0xff544347, 0x8018, 0x81, bound, 48, values}, rsa, &q);
	send_evidence(json_pack("{s:i, s:o, s:o, s:{s:o, s:o, s:o}}", "version", 1, "td_quote", b64(d.quote, d.quote_len, BASE64_URL), "hcl_report",
				b64(blob, len, BASE64_URL), "tpm_quote", "signature", hex(q.signature, q.signature_len), "message",
				hex(q.attest, q.attest_len), "pcrs", pcrs_hex()));
	accepted("azure: TDX with its vTPM", "simulated");
	ok("azure: its registers are in the token", strlen(token_claim("tdx.mr_td")) == 96 && strlen(token_claim("tpm.pcrs.pcr07")) == 64, "%s", answer);
	made_free(&d);
	free(json);
	EVP_PKEY_free(rsa);
}

// A real TPM's code (swtpm) makes a restricted key and quotes with this session's nonce.
static const char swtpm_script[] =
	"cd \"$0\" || exit 9; exec 2>/dev/null >/dev/null\n"
	"for t in swtpm tpm2_createprimary tpm2_quote; do command -v $t || exit 9; done\n"
	"timeout 600 swtpm socket --tpm2 --tpmstate dir=\"$0\" --server type=unixio,path=\"$0/s\" --ctrl type=unixio,path=\"$0/s.ctrl\" "
	"--flags not-need-init,startup-clear & p=$!; trap 'kill $p; wait' EXIT\n"
	"for i in $(seq 600); do [ -S s.ctrl ] && [ -S s ] && break; sleep 0.2; done\n"
	"export TPM2TOOLS_TCTI=\"swtpm:path=$0/s\"\n"
	"tpm2_createprimary -C o -g sha256 -G rsa2048:rsassa-sha256:null -a 'fixedtpm|fixedparent|sensitivedataorigin|userwithauth|restricted|sign' "
	"-c k.ctx && tpm2_flushcontext -t && tpm2_readpublic -c k.ctx -o k.pub -f tss && tpm2_readpublic -c k.ctx -o k.der -f der && "
	"tpm2_flushcontext -t && tpm2_quote -c k.ctx -l sha256:0,7 -q \"$1\" -m q.msg -s q.sig -g sha256\n";

static void test_swtpm(void)
{
	char folder[96], line[512], path[128], nonce_hex[129], *bytes[3] = {NULL};
	static const char *const names[] = {"q.msg", "q.sig", "k.pub"};
	size_t len[3];
	begin("tpm");
	snprintf(folder, sizeof folder, "%s/tpm", world);
	mkdir(folder, 0700);
	snprintf(path, sizeof path, "%s/script", folder);
	write_text(path, swtpm_script, sizeof swtpm_script - 1);
	snprintf(line, sizeof line, "sh -c \"$(cat %s)\" %s %s", path, folder, hex_encode(nonce_hex, bound, 64));
	int rc = system(line);
	for (int i = 0; i < 3; i++) {
		snprintf(path, sizeof path, "%s/%s", folder, names[i]);
		if (file_read(path, 4096, &bytes[i], &len[i], NULL))
			bytes[i] = NULL;
	}
	if (rc == 9 << 8) {
		skip("tpm: swtpm", "swtpm and tpm2-tools are not installed");
	} else if (ok("tpm: swtpm makes a quote", bytes[0] && bytes[1] && bytes[2], "none (%d)", rc)) {
		send_evidence(json_pack("{s:o, s:{s:o, s:o, s:o}}", "ak_public", b64(bytes[2], len[2], BASE64_STD), "tpm_quote", "signature",
					b64(bytes[1], len[1], BASE64_STD), "message", b64(bytes[0], len[0], BASE64_STD), "pcrs", pcrs_hex()));
		refused("tpm: a real TPM's quote; only its key is not known", "tpm-key ");
	}
	for (int i = 0; i < 3; i++)
		free(bytes[i]);
}

// What real clients sent once: everything is right but the session (and what depends on the time and the operator).
static void test_recorded(void)
{
	size_t len, json_len, pem_len;
	char *text = vector_read("tpm/trustee/tpm_evidence.json", &len);
	if (!text) {
		skip("recorded evidence", "the vectors are not here");
		return;
	}
	begin("tpm");
	send_evidence(json_loadb(text, len, 0, NULL));
	refused("recorded: a TPM's, as a client sent it", "tpm-key tpm-nonce ");
	free(text);
	uint8_t *blob = (uint8_t *)vector_read("azure/snp/hcl-report.bin", &len);
	char *pem = vector_read("azure/snp/vcek.pem", &pem_len);
	text = vector_read("azure/snp/tpm-quote-v1.json", &json_len);
	begin("az-snp-vtpm");
	send_evidence(json_pack("{s:i, s:s, s:o, s:o}", "version", 1, "vcek", pem, "hcl_report", b64(blob, len, BASE64_URL), "tpm_quote",
				json_loadb(text, json_len, 0, NULL)));
	refused("recorded: an Azure machine's", "tpm-nonce ");
	free(blob);
	free(pem);
	free(text);
	text = vector_read("csv/trustee/csv_evidence.json", &len);
	begin("csv");
	send_evidence(json_loadb(text, len, 0, NULL));
	ok("recorded: a Hygon machine's", answer_status == 403 && strstr(refusals(), "certificate-chain ") && strstr(refusals(), "report-data ") &&
	   !strstr(refusals(), "mac ") && !strstr(refusals(), " signature ") && strstr(answer, "no HSK and CEK"), "%d: %s", answer_status, answer);
	free(text);
	text = vector_read("tdx/dcap-qvl/quote.bin", &len);
	begin("tdx");
	send_evidence(json_pack("{s:o}", "quote", b64(text, len, BASE64_STD)));
	ok("recorded: a TDX machine's", answer_status == 403 && strstr(refusals(), "report-data ") && !strstr(refusals(), " signature "), "%d: %s",
	   answer_status, answer);
	free(text);
	text = vector_read("cca/tf-rmm/cca_token.cbor", &len);
	begin("cca");
	send_evidence(json_pack("{s:o}", "token", numbers((uint8_t *)text, len)));
	refused("recorded: an Arm realm's", "platform-signature report-data tee ");
	free(text);
}

static int is_acceptance(void *found, uint64_t index, const char *line, size_t len)
{
	char *copy = strndup(line, len);
	(void)index;
	*(bool *)found |= copy && strstr(copy, "\"attest\"") && strstr(copy, "\"accepted\"") && strstr(copy, "\"passed\":[") &&
			  strstr(copy, "\"qe-identity\"") && strstr(copy, "\"evidence\":\"") && strstr(copy, "\"key\":\"");
	free(copy);
	return 0;
}

// The measurement decides who gets it, however long it is.
static void test_release(void)
{
	struct fault f = {""};
	struct http_reply r;
	struct made m;
	size_t len;
	struct broker_client *c = owner(&b);
	if (!c)
		return;
	put_secret(&b, RESOURCE, "a secret");
	begin("sgx");
	struct dcap_spec s = now_of(&made_sgx);
	made_make(&s, &m);
	dcap_collateral("sgx", &m);
	send_evidence(json_pack("{s:o}", "quote", b64(m.quote, m.quote_len, BASE64_STD)));
	made_free(&m);
	no_collateral("sgx");
	int err = request(&b, "GET", "/kbs/v0/resource/" RESOURCE, guest.cookie, NULL, &r);
	ok("sgx: an enclave that no policy allows gets nothing", !err && r.status == 403 && strstr(r.body, "measurement"), "%d", err);
	if (!err)
		http_reply_free(&r);
	err = broker_client_policy_allow(c, RESOURCE, token_claim("measurement"), NULL, &f);
	ok("sgx: its measurement is allowed", !err && strlen(token_claim("measurement")) == 64, "%s", f.text);
	err = request(&b, "GET", "/kbs/v0/resource/" RESOURCE, guest.cookie, NULL, &r);
	json_t *jwe = err ? NULL : json_loads(r.body, 0, NULL);
	char plain[64];
	ok("sgx: it gets its secret", jwe && !jwe_decrypt(guest.key, jwe, plain, sizeof plain, &len, &f) && len == 8 && !memcmp(plain, "a secret", 8),
	   "%d: %s", err, err ? "" : r.body);
	json_decref(jwe);
	if (!err)
		http_reply_free(&r);
	bool found = false;
	struct note head;
	err = audit_client_head(c, "", &head, &f);
	if (!err)
		err = audit_client_lines(c, 0, head.head.size, is_acceptance, &found, &f);
	ok("the log has each check of an acceptance", !err && found, "%s", f.text);
	broker_client_close(c);
}

static char platform[512];	// the policy without rules

static void reload(const char *rules, const char *wanted)
{
	char text[2048];
	size_t before = run_log_size(&b);
	snprintf(text, sizeof text, "%s%s", platform, rules);
	write_text(policy_file, text, strlen(text));
	kill(b.pid, SIGHUP);
	bool said = run_said(&b, before, wanted);
	ok("SIGHUP has the policy read anew", said, "no '%s' in the log", wanted);
}

static void get_with(const char *headers, const char *name, int status, const char *text)
{
	struct http_reply r;
	int err = request(&b, "GET", "/kbs/v0/resource/" RESOURCE, headers, NULL, &r);
	ok(name, !err && r.status == status && strstr(r.body, text), "%d, %d: %s", err, err ? 0 : r.status, err ? "" : r.body);
	if (!err)
		http_reply_free(&r);
}

static void get(const char *name, int status, const char *text)
{
	get_with(guest.cookie, name, status, text);
}

#define CONDITIONS \
	"conditions:\n  simulated: {claim: tee, is: simulated}\n  local: {caller: address, is: 127.0.0.1}\n  owned: {owner_allows: true}\n" \
	"  current: {claim: tcb_status, is: UpToDate}\n  stale: {claim: tcb_status, is: OutOfDate}\n  token: {caller: session, is: token}\n  known: {reference: measurement}\n" \
	"rules:\n  - name: main\n    resources: ['default/secret/*']\n"

static void sign_reference(EVP_PKEY *signer, json_t *body)
{
	struct dsse_key k;
	struct fault f = {""};
	char path[160], *text;
	EVP_PKEY_up_ref(signer);
	if (dsse_key_of(signer, &k, &f) || refval_sign(body, &k, time(NULL), &text, &f)) {
		ok("a document of reference values", false, "%s", f.text);
		return;
	}
	snprintf(path, sizeof path, "%s/values.json", references);
	write_text(path, text, strlen(text));
	free(text);
	dsse_key_free(&k);
}

static void test_rules(void)
{
	struct made m;
	struct fault f = {""};
	char path[160], *pem;
	begin("sgx");
	struct dcap_spec s = now_of(&made_sgx);
	made_make(&s, &m);
	dcap_collateral("sgx", &m);
	send_evidence(json_pack("{s:o}", "quote", b64(m.quote, m.quote_len, BASE64_STD)));
	made_free(&m);
	no_collateral("sgx");
	json_t *measurement = json_string(token_claim("measurement"));
	reload(CONDITIONS "    allow_when: [simulated, local, owned, current]\n", "were read anew");
	get("rules: what all conditions allow is given", 200, "ciphertext");
	reload(CONDITIONS "    allow_when: [simulated, stale]\n", "were read anew");
	get("rules: what one refuses is not, and it is named", 403, "stale: expected tcb_status: OutOfDate, found UpToDate");
	reload(CONDITIONS "    allow_when: [simulated, lost]\n", "there is no condition 'lost'");
	get("rules: a policy that is none changes nothing", 403, "stale: expected");
	reload(CONDITIONS "    allow_when: [simulated]\n    deny_when: [current]\n", "were read anew");
	get("rules: a rule that denies", 403, "current: expected not tcb_status: UpToDate");
	char headers[256], begun = platform[0];
	snprintf(headers, sizeof headers, "Authorization: Basic eDp5\r\n%s", guest.cookie);
	reload(CONDITIONS "    allow_when: [simulated, token]\n", "were read anew");
	get_with(headers, "rules: a session's cookie is no token, whatever stands beside it", 403, "token: expected session: token, found cookie");
	platform[0] = '\0';
	reload("", "was NOT read anew");
	platform[0] = begun;
	get("rules: an empty policy changes nothing", 403, "token: expected");
	reload(CONDITIONS "    allow_when: [known]\n", "were read anew");
	get("rules: no reference value", 403, "no document has one");

	EVP_PKEY *signer = EVP_EC_gen("P-256");
	BIO *bio = BIO_new(BIO_s_mem());
	PEM_write_bio_PUBKEY(bio, signer);
	long n = BIO_get_mem_data(bio, &pem);
	snprintf(path, sizeof path, "%s/signer.pem", references);
	write_text(path, pem, (size_t)n);
	BIO_free(bio);
	json_t *body = refval_body("values", time(NULL) - 60, time(NULL) + 3600);
	const struct refval_new v = {.name = "measurement", .kind = REFVAL_EQUALS, .value = measurement, .from = -1, .until = -1};
	refval_put(body, &v, &f);
	sign_reference(signer, body);
	reload(CONDITIONS "    allow_when: [known]\n", "were read anew");
	get("rules: a reference value", 200, "ciphertext");
	char *older;
	size_t older_len;
	snprintf(path, sizeof path, "%s/values.json", references);
	if (file_read(path, 1 << 20, &older, &older_len, NULL))
		abort();
	refval_revoke(body, "measurement", measurement, "a hole", time(NULL) - 1, &f);
	sign_reference(signer, body);
	reload(CONDITIONS "    allow_when: [known]\n", "were read anew");
	get("rules: a reference value that was revoked", 403, "that is not revoked");
	write_text(path, older, older_len);
	free(older);
	reload(CONDITIONS "    allow_when: [known]\n", "was NOT read anew");
	get("rules: an older document than one that was used, put back, changes nothing", 403, "that is not revoked");
	EVP_PKEY *other = EVP_EC_gen("P-256");
	sign_reference(other, body);
	reload(CONDITIONS "    allow_when: [simulated]\n", "was NOT read anew");
	get("rules: a document signed by somebody else keeps the old policy", 403, "that is not revoked");
	EVP_PKEY_free(signer);
	EVP_PKEY_free(other);
	json_decref(body);
	json_decref(measurement);
	snprintf(path, sizeof path, "%s/values.json", references);
	unlink(path);
}

static void prepare(void)
{
	char path[160], hrk[128], text[512], digest[65];
	snprintf(collateral, sizeof collateral, "%s/collateral", world);
	snprintf(roots_file, sizeof roots_file, "%s/roots.pem", world);
	snprintf(policy_file, sizeof policy_file, "%s/platform.yaml", world);
	snprintf(tpm_roots_file, sizeof tpm_roots_file, "%s/tpm.pem", world);
	snprintf(references, sizeof references, "%s/references", world);
	mkdir(collateral, 0700);
	mkdir(references, 0700);
	snprintf(path, sizeof path, "%s/own", collateral);
	mkdir(path, 0700);
	char *pem = pki_pem(made_root(), snp_made_root(), NULL);
	write_text(roots_file, pem, strlen(pem));
	free(pem);
	csv_make_world(&csv, CSV_USAGE_CEK);
	snprintf(hrk, sizeof hrk, "%s.hrk", roots_file);
	write_text(hrk, csv.hrk_cert, sizeof csv.hrk_cert);
	cca = (struct cca_keys){EVP_EC_gen("P-384"), EVP_EC_gen("P-384"), EVP_EC_gen("P-256"), EVP_EC_gen("P-384")};
	tpm_key_digest(cca.cpak, digest);
	snprintf(text, sizeof text, "tcb_status: [SWHardeningNeeded]\ncca_platform_keys: [%s]\n", digest);
	snprintf(platform, sizeof platform, "%s", text);
	write_text(policy_file, text, strlen(text));
	tpm_root = pki_make(&(struct pki_spec){"TEST TPM root", NULL, true, "P-256", MADE_NOW - MADE_DAY, MADE_NOW + 3650ll * MADE_DAY, NULL});
	tpm_ak = pki_make(&(struct pki_spec){"TEST AK", &tpm_root, false, "P-256", MADE_NOW - MADE_DAY, MADE_NOW + 3650ll * MADE_DAY, pki_ak_usage});
	pem = pki_pem(tpm_root.cert, NULL);
	write_text(tpm_roots_file, pem, strlen(pem));
	free(pem);
	guest.key = jwk_new_key("P-256");
	jwk = jwk_from_key(guest.key);
}

int main(void)
{
	world_begin("tees");
	prepare();
	if (!run_prepare(&b, "state") || !ok("the broker starts", start("--insecure-accept-simulated", roots_file), "no"))
		return 1;
	test_snp();
	test_init_data();
	test_extra_params();
	test_dcap("tdx", &made_tdx);
	test_dcap("sgx", &made_sgx);
	test_csv();
	test_cca();
	test_tpm();
	test_azure();
	test_swtpm();
	test_recorded();
	test_release();
	test_rules();
	test_store();
	ok("a name for simulated hardware", begin("coffer-simulated"), "no");
	expect("an unknown kind of hardware", &b, "POST", "/kbs/v0/auth", "", "{\"version\":\"0.4.0\",\"tee\":\"sample\"}", 400, "supported: snp, tdx");
	ok("it ends well", !run_stop(&b), "no");
	if (ok("the broker starts, for real hardware only", start(NULL, NULL), "no")) {
		struct snp_made m;
		struct snp_spec s = snp_milan;
		expect("the name for simulated hardware is refused", &b, "POST", "/kbs/v0/auth", "", "{\"version\":\"0.4.0\",\"tee\":\"coffer-simulated\"}",
		       400, "not accepted here");
		s.bound = bound;
		begin("snp");
		snp_make(&s, &m);
		send_evidence(json_pack("{s:o, s:[o, o, o]}", "attestation_report", b64(m.report, sizeof m.report, BASE64_STD), "cert_chain",
					cert_entry("ASK", m.chain.certs[1]), cert_entry("ARK", m.chain.certs[2]), cert_entry("VCEK", m.chain.certs[0])));
		refused("and so is what it signs", "root tee ");
		snp_made_free(&m);
		ok("it ends well", !run_stop(&b), "no");
	}
	static const char loose[] = "insecure_accept_simulated: true\n";
	write_text(policy_file, loose, sizeof loose - 1);
	ok("a policy file alone does not make the broker insecure", !start(NULL, NULL), "it starts");
	waitpid(b.pid, NULL, 0);
	json_decref(jwk);
	guest_free(&guest);
	csv_free_world(&csv);
	EVP_PKEY_free(cca.cpak);
	EVP_PKEY_free(cca.rak);
	EVP_PKEY_free(cca.rak256);
	EVP_PKEY_free(cca.other);
	pki_free(&tpm_root);
	pki_free(&tpm_ak);
	run_free(&b);
	return world_end();
}

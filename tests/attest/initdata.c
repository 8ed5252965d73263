// SPDX-License-Identifier: Apache-2.0
// Init-data: its digest by the text's own word, and that it is what the hardware reported, wherever each kind reports it.
#include "attest/initdata.h"

#include <errno.h>
#include <openssl/evp.h>
#include <string.h>

#include "lib/encode.h"
#include "tests/attest/make/snp.h"
#include "tests/attest/ok.h"
#include "tests/attest/vectors.h"

static const char toml[] = "# for a guest\nalgorithm = \"sha256\" # ours\n\tversion='0.1.0'\r\n\n[data]\nalgorithm = 7\n\"a\" = \"\"\"\nversion\n\"\"\"\n";

static void test_texts(void)
{
	static const struct {
		const char *format, *body, *algorithm;	// NULL: refused
	} cases[] = {
		{"toml", toml, "sha256"},
		{"toml", "version = \"0.1.0\"\nalgorithm = \"sha-384\"", "sha384"},
		{"json", "{\"version\":\"0.1.0\",\"algorithm\":\"sha512\",\"data\":{}}", "sha512"},
		{"toml", "algorithm = \"sha256\"\n[data]\nversion = \"0.1.0\"", NULL},
		{"toml", "version = \"0.1.0\"\n[data]\nalgorithm = \"sha256\"", NULL},
		{"toml", "version = \"0.1.0\"\nalgorithm = \"md5\"", NULL},
		{"toml", "version = \"0.1.0\"\nalgorithm = \"sha256\"\nalgorithm = \"sha384\"", NULL},
		{"toml", "version = \"0.1.0\"\nnote = \"\"\"\nalgorithm = \"sha256\"\n\"\"\"", NULL},
		{"toml", "version = \"0.1.0\"\nalgorithm = \"sha\\u0032\"", NULL},
		{"toml", "version = \"0.1.0\" algorithm = \"sha256\"", NULL},
		{"toml", "version = \"0.1.0\"\nalgorithm = \"sha256", NULL},
		{"toml", "algorithm", NULL},
		{"toml", "", NULL},
		{"json", "[]", NULL},
		{"json", "{\"version\":\"0.1.0\",\"algorithm\":384}", NULL},
		{"yaml", "version: 0.1.0\nalgorithm: sha256\n", NULL},
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct initdata d;
		struct fault f = {""};
		uint8_t want[64];
		char name[64];
		int err = initdata_digest(cases[i].format, cases[i].body, strlen(cases[i].body), &d, &f);
		snprintf(name, sizeof name, "initdata: text %zu", i);
		if (!cases[i].algorithm) {
			ok(name, err == -EINVAL && *f.text, "%d %s", err, f.text);
			continue;
		}
		EVP_Digest(cases[i].body, strlen(cases[i].body), want, NULL, EVP_get_digestbyname(cases[i].algorithm), NULL);
		ok(name, !err && !strcmp(d.algorithm, cases[i].algorithm) && !memcmp(d.digest, want, d.len), "%d %s", err, f.text);
	}
}

// Claims as they would be, with the place of one kind filled: by the digest, and with its last byte changed.
static void test_places(void)
{
	static const struct {
		const char *name;
		enum evidence_kind kind;
		size_t bytes;
		const char *path[3];
	} places[] = {
		{"SNP", EVIDENCE_SNP, 32, {"snp", "host_data"}}, {"TDX", EVIDENCE_TDX, 48, {"tdx", "mr_config_id"}}, {"SGX", EVIDENCE_SGX, 64, {"sgx", "config_id"}},
		{"CCA", EVIDENCE_CCA, 64, {"cca", "realm", "personalization_value"}}, {"Azure", EVIDENCE_HCL, 32, {"tpm", "pcrs", "pcr08"}},
		{"TPM", EVIDENCE_TPM, 32, {"tpm", "pcrs", "pcr08"}}, {"CSV, which has none", EVIDENCE_CSV, 0, {NULL}},
	};
	for (size_t i = 0; i < 2 * sizeof places / sizeof *places; i++) {
		enum evidence_kind kind = places[i / 2].kind;
		uint8_t value[64] = {0}, two[64] = {0};
		char hex[129], name[64];
		struct bundle b;
		struct attest_result r;
		EVP_Digest(toml, strlen(toml), value, NULL, EVP_sha256(), NULL);
		if (kind == EVIDENCE_HCL || kind == EVIDENCE_TPM) {
			memcpy(two + 32, value, 32);
			EVP_Digest(two, 64, value, NULL, EVP_sha256(), NULL);
		}
		value[places[i / 2].bytes ? places[i / 2].bytes - 1 : 0] ^= i & 1;
		hex_encode(hex, value, places[i / 2].bytes);
		bundle_init(&b);
		bundle_put_text(&b, "init_data", toml, strlen(toml));
		attest_result_init(&r);
		json_t *o = r.claims;
		const char *const *p = places[i / 2].path;
		for (int k = 0; k < 3 && p[k]; k++) {
			bool last = k == 2 || !p[k + 1];
			json_object_set_new(o, p[k], last ? json_string(hex) : json_object());
			o = json_object_get(o, p[k]);
		}
		initdata_check(&b, kind, &r);
		bool want = !(i & 1) && kind != EVIDENCE_CSV;
		snprintf(name, sizeof name, "initdata: %s%s", places[i / 2].name, i & 1 ? ", changed" : "");
		ok(name, attest_passed(&r) == want && (json_object_get(r.claims, "init_data") != NULL) == want, "%s", failures(&r));
		attest_result_free(&r);
		bundle_free(&b);
	}
}

// A whole report; the same bundle without the text says nothing of it.
static void test_report(void)
{
	uint8_t digest[32];
	struct snp_made m;
	struct snp_spec s = snp_genoa;
	X509 *root = snp_made_root();
	EVP_Digest(toml, strlen(toml), digest, NULL, EVP_sha256(), NULL);
	s.host_data = digest;
	snp_make(&s, &m);
	for (int with = 0; with < 2; with++) {
		struct bundle b;
		struct attest_result r;
		char *pem = pki_pem(m.chain.certs[0], m.chain.certs[1], m.chain.certs[2], NULL);
		bundle_init(&b);
		bundle_put_bytes(&b, "evidence", m.report, sizeof m.report);
		bundle_put_text(&b, "certificates", pem, strlen(pem));
		if (with)
			bundle_put_text(&b, "init_data", toml, strlen(toml));
		attest_result_init(&r);
		struct evidence_input in = {.bundle = &b, .simulated_roots = &root, .simulated_root_count = 1, .now = SNP_MADE_NOW};
		evidence_verify(&in, &r);
		const struct attest_check *c = attest_find(&r, "init-data");
		ok(with ? "initdata: a report that has it" : "initdata: a report alone", with ? c && c->outcome == ATTEST_PASSED && attest_passed(&r) : !c, "%s", failures(&r));
		free(pem);
		attest_result_free(&r);
		bundle_free(&b);
	}
	snp_made_free(&m);
	X509_free(root);
}

int main(void)
{
	test_texts();
	test_places();
	test_report();
	return ok_failed != 0;
}

// SPDX-License-Identifier: Apache-2.0
// Verification of SNP evidence, in order: format, chain, root, dates, revocation, signature, TCB, chip, report data.
// See snp.h. Pure: time and roots are inputs.
#include "attest/snp.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "attest/cert.h"
#include "attest/digest.h"
#include "attest/ecdsa.h"
#include "attest/json.h"
#include "attest/simtee.h"
#include "attest/snp_chain.h"
#include "lib/encode.h"

struct tcb {
	int fmc, bootloader, tee, snp, microcode;
};

static struct tcb tcb_of(uint64_t word, bool turin)
{
	uint8_t b[8];
	for (int i = 0; i < 8; i++)
		b[i] = (uint8_t)(word >> 8 * i);
	if (turin)
		return (struct tcb){b[0], b[1], b[2], b[3], b[7]};
	return (struct tcb){-1, b[0], b[1], b[6], b[7]};
}

static bool not_above(const struct tcb *a, const struct tcb *b)
{
	return a->fmc <= b->fmc && a->bootloader <= b->bootloader && a->tee <= b->tee && a->snp <= b->snp && a->microcode <= b->microcode;
}

static void tcb_text(char *out, size_t size, const struct tcb *t)
{
	int n = t->fmc >= 0 ? snprintf(out, size, "fmc %d, ", t->fmc) : 0;
	snprintf(out + n, size - (size_t)n, "bootloader %d, tee %d, snp %d, microcode %d", t->bootloader, t->tee,
		 t->snp, t->microcode);
}

static json_t *tcb_json(const struct tcb *t)
{
	json_t *o = json_pack("{s:i, s:i, s:i, s:i}", "bootloader", t->bootloader, "tee", t->tee, "snp", t->snp,
			      "microcode", t->microcode);
	if (t->fmc >= 0)
		json_object_set_new(o, "fmc", json_integer(t->fmc));
	return o;
}

static json_t *hex_json(const uint8_t *bytes, size_t len)
{
	char hex[2 * 64 + 1];
	return json_string(hex_encode(hex, bytes, len));
}

static json_t *firmware_json(unsigned int major, unsigned int minor, unsigned int build)
{
	return json_sprintf("%u.%u.%u", major, minor, build);
}

// The product that the report's CPU is, "" where it does not say (version 2) or the model is not known.
const char *snp_product(const struct snp_report *r)
{
	if (r->version < 3)
		return "";
	if (r->cpu_family == 0x19)
		return r->cpu_model <= 0x0f ? "Milan" : (r->cpu_model >= 0x10 && r->cpu_model <= 0x1f) ||
		       (r->cpu_model >= 0xa0 && r->cpu_model <= 0xaf) ? "Genoa" : "";
	return r->cpu_family == 0x1a && r->cpu_model <= 0x11 ? "Turin" : "";
}

static void claims(const struct snp_report *r, bool turin, json_t *out)
{
	struct tcb current = tcb_of(r->current_tcb, turin), reported = tcb_of(r->reported_tcb, turin);
	struct tcb committed = tcb_of(r->committed_tcb, turin), launch = tcb_of(r->launch_tcb, turin);
	bool debug = r->policy & SNP_POLICY_DEBUG;

	json_object_set_new(out, "dbgstat", json_string(debug ? "enabled" : "disabled-since-boot"));
	json_object_set_new(out, "measurement", hex_json(r->measurement, sizeof r->measurement));
	json_object_set_new(out, "report_data", hex_json(r->report_data, sizeof r->report_data));
	json_t *s = json_object();
	json_object_set_new(out, "snp", s);
	json_object_set_new(s, "report_version", json_integer(r->version));
	json_object_set_new(s, "guest_svn", json_integer(r->guest_svn));
	json_object_set_new(s, "vmpl", json_integer(r->vmpl));
	json_object_set_new(s, "policy_abi_major", json_integer(r->policy >> 8 & 0xff));
	json_object_set_new(s, "policy_abi_minor", json_integer(r->policy & 0xff));
	json_object_set_new(s, "policy_smt_allowed", json_boolean(r->policy & SNP_POLICY_SMT));
	json_object_set_new(s, "policy_migrate_ma", json_boolean(r->policy & SNP_POLICY_MIGRATE_MA));
	json_object_set_new(s, "policy_debug_allowed", json_boolean(debug));
	json_object_set_new(s, "policy_single_socket", json_boolean(r->policy & SNP_POLICY_SINGLE_SOCKET));
	json_object_set_new(s, "policy_cxl_allowed", json_boolean(r->policy & SNP_POLICY_CXL));
	json_object_set_new(s, "policy_aes_256_xts", json_boolean(r->policy & SNP_POLICY_AES_256_XTS));
	json_object_set_new(s, "policy_rapl_disabled", json_boolean(r->policy & SNP_POLICY_RAPL_DISABLED));
	json_object_set_new(s, "policy_ciphertext_hiding", json_boolean(r->policy & SNP_POLICY_CIPHERTEXT_HIDING));
	json_object_set_new(s, "policy_page_swap_disabled", json_boolean(r->policy & SNP_POLICY_PAGE_SWAP_DISABLED));
	json_object_set_new(s, "platform_ecc_enabled", json_boolean(r->platform_info >> 2 & 1));
	json_object_set_new(s, "platform_rapl_disabled", json_boolean(r->platform_info >> 3 & 1));
	json_object_set_new(s, "platform_ciphertext_hiding", json_boolean(r->platform_info >> 4 & 1));
	json_object_set_new(s, "platform_alias_check", json_boolean(r->platform_info >> 5 & 1));
	json_object_set_new(s, "platform_tio", json_boolean(r->platform_info >> 7 & 1));
	json_object_set_new(s, "author_key_signed", json_boolean(r->key_info & 1));
	json_object_set_new(s, "chip_id_masked", json_boolean(r->key_info >> 1 & 1));
	json_object_set_new(s, "platform_smt_enabled", json_boolean(r->platform_info & 1));
	json_object_set_new(s, "platform_tsme_enabled", json_boolean(r->platform_info >> 1 & 1));
	json_object_set_new(s, "family_id", hex_json(r->family_id, sizeof r->family_id));
	json_object_set_new(s, "image_id", hex_json(r->image_id, sizeof r->image_id));
	json_object_set_new(s, "host_data", hex_json(r->host_data, sizeof r->host_data));
	json_object_set_new(s, "id_key_digest", hex_json(r->id_key_digest, sizeof r->id_key_digest));
	json_object_set_new(s, "author_key_digest", hex_json(r->author_key_digest, sizeof r->author_key_digest));
	json_object_set_new(s, "report_id", hex_json(r->report_id, sizeof r->report_id));
	json_object_set_new(s, "chip_id", hex_json(r->chip_id, sizeof r->chip_id));
	json_object_set_new(s, "current_firmware", firmware_json(r->current_major, r->current_minor, r->current_build));
	json_object_set_new(s, "committed_firmware", firmware_json(r->committed_major, r->committed_minor, r->committed_build));
	if (r->version >= 3) {
		json_object_set_new(s, "cpu_family", json_integer(r->cpu_family));
		json_object_set_new(s, "cpu_model", json_integer(r->cpu_model));
		json_object_set_new(s, "cpu_stepping", json_integer(r->cpu_stepping));
	}
	if (r->version >= 5) {
		set_hex(s, "launch_mitigations", &r->launch_mitigations, 8);
		set_hex(s, "current_mitigations", &r->current_mitigations, 8);
	}
	json_object_set_new(s, "current_tcb", tcb_json(&current));
	json_object_set_new(s, "reported_tcb", tcb_json(&reported));
	json_object_set_new(s, "committed_tcb", tcb_json(&committed));
	json_object_set_new(s, "launch_tcb", tcb_json(&launch));
}

// Each number has 72 bytes, the lowest first; a good one fills 48.
static bool number_of(uint8_t out[48], const uint8_t le[72])
{
	uint8_t beyond = 0;
	for (size_t i = 0; i < 48; i++)
		out[47 - i] = le[i];
	for (size_t i = 48; i < 72; i++)
		beyond |= le[i];
	return !beyond;
}

static bool signature_ok(const uint8_t *bytes, const struct snp_report *r, EVP_PKEY *key)
{
	uint8_t rs[96];
	return number_of(rs, r->signature_r) && number_of(rs + 48, r->signature_s) && ecdsa_ok(key, rs, 48, bytes, SNP_SIGNED_BYTES);
}

static void check_signature(const struct snp_input *in, const struct snp_report *r, struct attest_result *out)
{
	EVP_PKEY *key = in->chain->count ? X509_get0_pubkey(in->chain->certs[0]) : NULL;
	bool p384 = ecdsa_size(key) == 48;
	bool ok = p384 && r->signature_algo == 1 && signature_ok(in->report, r, key);
	struct attest_check *c = attest_check_add(out, "signature", ok);
	attest_expected(c, "ECDSA P-384 with SHA-384 by the report's signing certificate");
	if (ok)
		attest_found(c, "valid");
	else if (!key)
		attest_found(c, "no certificate");
	else if (!p384)
		attest_found(c, "a certificate whose key is not P-384");
	else if (r->signature_algo != 1)
		attest_found(c, "signature algorithm %u", r->signature_algo);
	else
		attest_found(c, "a signature that does not match: the report was changed or signed by another key");
}

static void check_leaf(const struct snp_report *r, const struct snp_leaf *leaf, struct attest_result *out)
{
	struct tcb reported = tcb_of(r->reported_tcb, leaf->has_fmc);
	struct tcb certified = {leaf->has_fmc ? leaf->fmc : -1, leaf->bootloader, leaf->tee, leaf->snp,
				leaf->microcode};
	char text[128];
	struct attest_check *c = attest_check_add(out, "tcb", !memcmp(&reported, &certified, sizeof reported));
	tcb_text(text, sizeof text, &certified);
	attest_expected(c, "%s", text);
	tcb_text(text, sizeof text, &reported);
	attest_found(c, "%s", text);

	struct tcb current = tcb_of(r->current_tcb, leaf->has_fmc), committed = tcb_of(r->committed_tcb, leaf->has_fmc);
	c = attest_check_add(out, "tcb-order", not_above(&committed, &current) && not_above(&reported, &current));
	tcb_text(text, sizeof text, &current);
	attest_expected(c, "committed and reported versions not above the current ones: %s", text);
	tcb_text(text, sizeof text, not_above(&committed, &current) ? &reported : &committed);
	attest_found(c, "%s", text);

	const char *cpu = snp_product(r);
	if (*cpu && !leaf->is_vlek) {
		c = attest_check_add(out, "cpu", !strncmp(leaf->product, cpu, strlen(cpu)));
		attest_expected(c, "%s, which the certificate is for", leaf->product);
		attest_found(c, "%s (family 0x%x, model 0x%x)", cpu, r->cpu_family, r->cpu_model);
	}

	unsigned int kind = r->key_info >> 2 & 7;
	bool masked = r->key_info >> 1 & 1;
	c = attest_check_add(out, "signing-key", kind == (leaf->is_vlek ? SNP_KEY_VLEK : SNP_KEY_VCEK));
	attest_expected(c, leaf->is_vlek ? "VLEK" : "VCEK");
	attest_found(c, kind == SNP_KEY_VCEK ? "VCEK" : kind == SNP_KEY_VLEK ? "VLEK" : kind == SNP_KEY_NONE ? "none" :
		     "a reserved value");

	char hex[2 * SNP_CHIP_ID_BYTES + 1];
	bool ok = leaf->has_hwid && !memcmp(leaf->hwid, r->chip_id, SNP_CHIP_ID_BYTES);
	c = attest_check_add(out, "chip-id", ok);
	if (leaf->is_vlek || masked) {
		c->outcome = ATTEST_SKIPPED;
		attest_found(c,
			     masked ? "masked by the platform" : "a VLEK, which belongs to a provider, not to a chip");
		return;
	}
	attest_expected(c, "%s", leaf->has_hwid ? hex_encode(hex, leaf->hwid, sizeof leaf->hwid)
						 : "a chip id in the certificate");
	attest_found(c, "%s", hex_encode(hex, r->chip_id, sizeof r->chip_id));
}

static void check_revocation(const struct snp_input *in, X509 *const *ordered, struct attest_result *out)
{
	struct fault why = {""};
	struct attest_check *c;
	if (in->crl_unreadable) {
		c = attest_check_add(out, "revocation", false);
		attest_expected(c, "a revocation list");
		attest_found(c, "something that cannot be read as one");
		return;
	}
	if (!in->crl) {
		c = attest_check_add(out, "revocation", true);
		c->outcome = ATTEST_SKIPPED;
		attest_found(c, "no revocation list was given");
		return;
	}
	// AMD revokes intermediates; chips are judged by their TCB.
	int err = cert_crl_check(in->crl, ordered[2], ordered[1], in->now, &why);
	c = attest_check_add(out, "revocation", !err);
	attest_expected(c, "a current revocation list of the root that does not name the signing certificate's issuer");
	attest_found(c, "%s", err ? why.text : "not revoked");
}

// The chain's checks. Fills *leaf when the certificate can be read; true then.
static bool check_chain(const struct snp_input *in, struct attest_result *out, struct snp_leaf *leaf)
{
	struct snp_links own;
	const struct snp_links *links = in->chain->links;
	struct fault why = {""};
	const char *product = "", *tee = "unknown";
	char name[128];
	if (!links) {
		snp_chain_links(in->chain, &own);
		links = &own;
	}
	X509 *const *ordered = links->ordered;
	struct attest_check *c = attest_check_add(out, "certificate-chain", !links->err);
	attest_expected(c, "three certificates: one that signs reports, its issuer, a root");
	attest_found(c, "%s", links->err ? links->why.text : "complete and signed");
	if (!links->err) {
		enum snp_root root = snp_root_of(ordered[2], in->simulated_roots, in->simulated_root_count, &product);
		tee = root == SNP_ROOT_AMD ? "snp" : root == SNP_ROOT_SIMULATED ? "simulated" : "unknown";
		c = attest_check_add(out, "root", root != SNP_ROOT_UNKNOWN);
		attest_expected(c, in->simulated_root_count
					   ? "AMD's root (Milan, Genoa, Turin) or the simulated root that is "
					     "accepted here"
					   : "AMD's root (Milan, Genoa, Turin)");
		cert_subject(ordered[2], name, sizeof name);
		bool simulated = root == SNP_ROOT_UNKNOWN && !strcmp(name, SIMTEE_ROOT_NAME);
		attest_found(c, "'%s'%s", name, simulated ? ", simulated hardware: taken only where an insecure_... setting names this root" : "");

		int err = snp_chain_dates(ordered, in->now, &why);
		c = attest_check_add(out, "certificate-dates", !err);
		attest_expected(c, "valid now");
		attest_found(c, "%s", err ? why.text : "valid");

		check_revocation(in, ordered, out);
	}
	json_object_set_new(out->claims, "tee", json_string(tee));
	if (!in->chain->count)
		return false;
	if (links->leaf_err) {
		c = attest_check_add(out, "tcb", false);
		attest_expected(c, "a certificate that states its TCB");
		attest_found(c, "%s", links->leaf_why.text);
		return false;
	}
	*leaf = links->leaf;
	// A root vouches for its own product only.
	if (*product) {
		c = attest_check_add(out, "product",
				     !strncmp(leaf->product, product, strlen(product)) || leaf->is_vlek);
		attest_expected(c, "%s", product);
		attest_found(c, "%s", leaf->product);
	}
	json_object_set_new(out->claims, "hwmodel", json_string(*product ? product : leaf->product));
	return true;
}

void snp_verify(const struct snp_input *in, struct attest_result *out)
{
	struct snp_report r;
	struct snp_leaf leaf = {0};
	struct fault why = {""};
	int err = snp_parse(in->report, in->report_len, &r, &why);
	struct attest_check *c = attest_check_add(out, "format", !err);
	attest_expected(c, "an SNP report of %d bytes, version 2 to 5", SNP_REPORT_BYTES);
	if (err) {
		attest_found(c, "%s", why.text);
		json_object_set_new(out->claims, "tee", json_string("unknown"));
		return;
	}
	attest_found(c, "version %u", r.version);
	bool readable = check_chain(in, out, &leaf);
	check_signature(in, &r, out);
	if (readable)
		check_leaf(&r, &leaf, out);
	attest_check_report_data(out, in->report_data, r.report_data);
	claims(&r, leaf.has_fmc || r.cpu_family == 0x1a, out->claims);
}

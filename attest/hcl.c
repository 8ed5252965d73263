// SPDX-License-Identifier: Apache-2.0
// See hcl.h. Pure; the fuzz target fuzz_hcl drives the parser.
#include "attest/hcl.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

#include "attest/bytes.h"
#include "attest/json.h"
#include "attest/slice.h"
#include "lib/encode.h"

#define REPORT_AT 0x20
#define REPORT_AREA 1184
#define TD_REPORT_AREA 1024

int hcl_parse(const uint8_t *bytes, size_t len, struct hcl_report *h, struct fault *f)
{
	struct cursor c = cursor_of(bytes, len);
	memset(h, 0, sizeof *h);
	const uint8_t *head = cursor_take(&c, REPORT_AT), *report = cursor_take(&c, REPORT_AREA);
	cursor_le32(&c);		// size of what follows
	uint32_t version = cursor_le32(&c), type = cursor_le32(&c), hash = cursor_le32(&c), n = cursor_le32(&c);
	const uint8_t *json = cursor_take(&c, n);
	if (c.short_of)
		return fault_set(f, -EINVAL, "cut short");
	if (memcmp(head, "HCLA", 4))
		return fault_set(f, -EINVAL, "no HCL report (magic)");
	if (version != 1)
		return fault_set(f, -EINVAL, "runtime data of version %u", version);
	if (type != HCL_SNP && type != HCL_TDX)
		return fault_set(f, -EINVAL, "a report of type %u (2 is SNP, 4 is TDX)", type);
	if (hash < 1 || hash > 3)
		return fault_set(f, -EINVAL, "hash of type %u", hash);
	h->hardware = (enum hcl_hardware)type;
	h->report = report;
	h->report_len = type == HCL_SNP ? REPORT_AREA : TD_REPORT_AREA;
	h->runtime = (const char *)json;
	h->runtime_len = n;
	h->hash = hash == 1 ? TPM_SHA256 : hash == 2 ? TPM_SHA384 : TPM_SHA512;
	return 0;
}

static ssize_t number_of(const json_t *jwk, const char *name, uint8_t *out, size_t size)
{
	const json_t *s = json_object_get(jwk, name);
	return json_is_string(s) ? base64_decode(out, size, json_string_value(s), json_string_length(s), BASE64_URL) : -EINVAL;
}

EVP_PKEY *hcl_attestation_key(const struct hcl_report *h, struct fault *f)
{
	uint8_t n[512], e[4];
	EVP_PKEY *key = NULL;
	size_t i;
	json_t *jwk, *o = slice_parse(h->runtime, h->runtime_len, f);
	json_array_foreach(json_object_get(o, "keys"), i, jwk) {
		if (strcmp(slice_text(jwk, "kid"), "HCLAkPub") || strcmp(slice_text(jwk, "kty"), "RSA"))
			continue;
		ssize_t n_len = number_of(jwk, "n", n, sizeof n), e_len = number_of(jwk, "e", e, sizeof e);
		if (n_len >= 256 && e_len > 0)
			key = tpm_rsa_key(n, (size_t)n_len, (uint32_t)load_be(e, (size_t)e_len));
		break;
	}
	json_decref(o);
	if (!key && o)
		fault_set(f, -EINVAL, "the runtime data names no attestation key");
	return key;
}

// report_data of the hardware's report: the JSON's digest, then zeros.
static void check_binding(const struct hcl_report *h, const uint8_t *report_data, struct attest_result *out)
{
	uint8_t want[64] = {0};
	char x[129], y[129];
	bool ok = report_data && digest_two(h->hash, h->runtime, h->runtime_len, "", 0, want) && !CRYPTO_memcmp(want, report_data, 64);
	struct attest_check *c = attest_check_add(out, "hcl-binding", ok);
	attest_expected(c, "the runtime data's digest %s", hex_encode(x, want, 64));
	attest_found(c, "%s", report_data ? hex_encode(y, report_data, 64) : "no report of such a machine");
}

static void verify_hardware(const struct hcl_input *in, const struct hcl_report *h, struct attest_result *out)
{
	if (h->hardware == HCL_SNP && in->snp) {
		struct snp_report r;
		struct snp_input snp = *in->snp;
		snp.report = h->report;
		snp.report_len = h->report_len;
		snp.report_data = NULL;
		snp_verify(&snp, out);
		check_binding(h, snp_parse(h->report, h->report_len, &r, NULL) ? NULL : r.report_data, out);
	} else if (h->hardware == HCL_TDX && in->dcap) {
		struct dcap_quote q;
		struct dcap_input dcap = *in->dcap;
		dcap.report_data = NULL;
		dcap_verify(&dcap, out);
		bool of_td = !dcap_quote_parse(dcap.quote, dcap.quote_len, &q, NULL) && q.is_tdx; // an enclave is no machine
		check_binding(h, of_td ? q.report_data : NULL, out);
	} else {
		struct attest_check *c = attest_check_add(out, "hcl-hardware", false);
		attest_expected(c, h->hardware == HCL_SNP ? "the certificates of an SNP report" : "the quote of a TD report, and its collateral");
		attest_found(c, "none");
	}
}

void hcl_verify(const struct hcl_input *in, struct attest_result *out)
{
	struct hcl_report h;
	struct fault why = {""};
	int err = hcl_parse(in->blob, in->blob_len, &h, &why);
	struct attest_check *c = attest_check_add(out, "hcl-format", !err);
	attest_expected(c, "a report of Azure's paravisor");
	attest_found(c, "%s", err ? why.text : h.hardware == HCL_SNP ? "over SNP" : "over TDX");
	if (err) {
		set_text(out->claims, "tee", "unknown");
		return;
	}
	verify_hardware(in, &h, out);
	json_t *runtime = slice_parse(h.runtime, h.runtime_len, NULL);
	if (runtime)
		json_object_set_new(out->claims, "azure", runtime);
	if (!in->tpm)
		return;
	struct tpm_input tpm = *in->tpm;
	tpm.ak = hcl_attestation_key(&h, &why);
	tpm.prepared = NULL;
	tpm.ak_digest = NULL;
	tpm.trust = attest_passed(out) ? TPM_TRUST_TEE : TPM_TRUST_NONE;	// a TEE that is not proved vouches for nothing
	tpm_verify(&tpm, out);
	EVP_PKEY_free(tpm.ak);
}

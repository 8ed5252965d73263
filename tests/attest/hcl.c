// SPDX-License-Identifier: Apache-2.0
// Azure: a real HCL report over SNP with its vTPM's quote, and what can be wrong between the two; an HCL report over TDX made under test roots.
#include "attest/hcl.h"

#include <string.h>

#include "attest/slice.h"
#include "lib/encode.h"
#include "tests/attest/make/dcap.h"
#include "tests/attest/ok.h"
#include "tests/attest/vectors.h"

static void expect(const char *name, const struct hcl_input *in, const char *failed)
{
	struct attest_result r;
	attest_result_init(&r);
	hcl_verify(in, &r);
	ok(name, !strcmp(failed_ids(&r), failed), "%s", failures(&r));
	attest_result_free(&r);
}

static void test_snp(void)
{
	static uint8_t attest[512], signature[512], values[TPM_PCRS][32];
	const uint8_t *pcrs[TPM_PCRS];
	size_t len, pem_len, json_len;
	char *blob = vector_read("azure/snp/hcl-report.bin", &len), *pem = vector_read("azure/snp/vcek.pem", &pem_len);
	char *text = vector_read("azure/snp/tpm-quote-v1.json", &json_len);
	struct snp_chain chain = {.count = 0};
	struct attest_result r;
	if (!blob || !pem || !text) {
		skip("hcl vector Azure SNP", "the vectors are not here");
		return;
	}
	json_t *o = json_loadb(text, json_len, 0, NULL), *m = json_object_get(o, "message"), *s = json_object_get(o, "signature");
	snp_chain_add_pem(&chain, pem, pem_len, NULL);
	slice_hex(m, attest, json_string_length(m) / 2);
	slice_hex(s, signature, json_string_length(s) / 2);
	for (size_t i = 0; i < TPM_PCRS; i++)
		pcrs[i] = slice_hex(json_array_get(json_object_get(o, "pcrs"), i), values[i], 32) ? NULL : values[i];
	struct snp_input snp = {.chain = &chain, .now = 1734652800};
	struct tpm_input tpm = {.attest = attest, .attest_len = json_string_length(m) / 2, .signature = signature,
				.signature_len = json_string_length(s) / 2, .bare_signature = true, .nonce = (const uint8_t *)"challenge",
				.nonce_len = 9, .pcrs = pcrs, .now = 1734652800};
	struct hcl_input in = {.blob = (uint8_t *)blob, .blob_len = len, .snp = &snp, .tpm = &tpm};
	attest_result_init(&r);
	hcl_verify(&in, &r);
	ok("hcl vector Azure SNP", attest_passed(&r) && !strcmp(claim_of(&r, "tee"), "snp") && !strcmp(claim_of(&r, "tpm.ak_trust"), "tee") &&
	   !strcmp(claim_of(&r, "azure.vm-configuration.vmUniqueId"), "911B0EF8-9DBA-48B0-B275-4E4DF2D39252"), "%s", failures(&r));
	attest_result_free(&r);
	tpm.ak_digest = "another key's";	// of the key that a bundle brings, which is not the one that signed
	attest_result_init(&r);
	hcl_verify(&in, &r);
	ok("hcl vector Azure SNP: the claim is about the key that the report names", attest_passed(&r) && strlen(claim_of(&r, "tpm.ak_digest")) == 64, "%s",
	   claim_of(&r, "tpm.ak_digest"));
	attest_result_free(&r);
	tpm.ak_digest = NULL;
	uint8_t *json = (uint8_t *)strstr(blob + 0x4d4, "secure-boot\":true");
	json[13] = 'f';
	expect("hcl vector Azure SNP: runtime data changed", &in, "hcl-binding tpm-key tpm-signature ");
	json[13] = 't';
	uint8_t *key = (uint8_t *)strstr(blob + 0x4d4, "\"n\":\"") + 20;
	uint8_t was = *key;
	*key = was == 'A' ? 'B' : 'A';
	expect("hcl vector Azure SNP: another attestation key", &in, "hcl-binding tpm-key tpm-signature ");
	*key = was;
	blob[0x20 + 0x91] ^= 1;
	expect("hcl vector Azure SNP: another measurement", &in, "signature tpm-key ");
	blob[0x20 + 0x91] ^= 1;
	tpm.nonce_len = 8;
	expect("hcl vector Azure SNP: another nonce", &in, "tpm-nonce ");
	in.snp = NULL;
	in.tpm = NULL;
	expect("hcl vector Azure SNP: without certificates", &in, "hcl-hardware ");
	in.blob_len = 0x4d4 + 10;
	expect("hcl vector Azure SNP: cut short", &in, "hcl-format ");
	snp_chain_free(&chain);
	json_decref(o);
	free(blob);
	free(pem);
	free(text);
}

// The hardware's quote comes from the host, and must be about the JSON in the blob: here it is about something else.
static void test_tdx(void)
{
	static uint8_t blob[2048];
	static const char json[] = "{\"keys\":[]}";
	struct made m;
	X509 *root = made_root();
	made_make(&made_tdx, &m);
	memcpy(blob, "HCLA", 4);
	blob[0x4c4] = 1;
	blob[0x4c8] = HCL_TDX;
	blob[0x4cc] = 1;
	blob[0x4d0] = sizeof json - 1;
	memcpy(blob + 0x4d4, json, sizeof json - 1);
	struct dcap_input dcap = {.quote = m.quote, .quote_len = m.quote_len, .collateral = m.collateral, .simulated_roots = &root,
				  .simulated_root_count = 1, .now = MADE_NOW};
	struct hcl_input in = {.blob = blob, .blob_len = sizeof blob, .dcap = &dcap};
	expect("hcl: a TD's quote about other runtime data", &in, "hcl-binding ");
	made_free(&m);
	struct dcap_spec s = made_tdx;
	digest_two(TPM_SHA256, json, sizeof json - 1, "", 0, s.bound);
	s.has_bound = true;
	made_make(&s, &m);
	dcap.quote_len = m.quote_len;
	dcap.collateral = m.collateral;
	expect("hcl: a TD's quote about this runtime data", &in, "");
	struct made enclave;
	struct dcap_spec sgx = made_sgx;
	memcpy(sgx.bound, s.bound, sizeof s.bound);
	sgx.has_bound = true;
	made_make(&sgx, &enclave);
	struct dcap_input other = dcap;
	other.quote = enclave.quote;
	other.quote_len = enclave.quote_len;
	other.collateral = enclave.collateral;
	in.dcap = &other;
	expect("hcl: an enclave's quote in the place of a TD's", &in, "hcl-binding ");
	in.dcap = &dcap;
	made_free(&enclave);
	struct tpm_input none = {.now = MADE_NOW};
	in.tpm = &none;
	expect("hcl: runtime data without a key", &in, "tpm-format ");
	blob[0x4c8] = 3;
	expect("hcl: another kind of hardware", &in, "hcl-format ");
	made_free(&m);
}

int main(void)
{
	test_snp();
	test_tdx();
	return ok_failed != 0;
}

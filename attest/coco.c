// SPDX-License-Identifier: Apache-2.0
// See coco.h. One function a form.
#include "attest/coco.h"

#include <errno.h>
#include <openssl/hmac.h>
#include <stdlib.h>
#include <string.h>

#include "attest/csv.h"
#include "attest/snp.h"
#include "attest/tpm.h"
#include "lib/encode.h"

enum coding { STD, URL, HEX };

// Bytes of a text in that coding, or of a list of numbers: malloc'ed. -EINVAL, -ENOMEM; *out is NULL then.
static int bytes_of(const json_t *v, enum coding coding, uint8_t **out, size_t *len)
{
	size_t size = json_is_string(v) ? json_string_length(v) : json_array_size(v);
	const char *text = json_string_value(v);
	ssize_t n = -EINVAL;
	*out = NULL;
	if (!size)
		return -EINVAL;
	*out = malloc(size);
	if (!*out)
		return -ENOMEM;
	if (!text)
		n = coco_numbers(v, *out, size);
	else if (coding != HEX)
		n = base64_decode(*out, size, text, size, coding == URL ? BASE64_URL : BASE64_STD);
	else if (size % 2 == 0 && strlen(text) == size && !hex_decode(*out, size / 2, text))
		n = (ssize_t)(size / 2);
	*len = n > 0 ? (size_t)n : 0;
	if (n > 0)
		return 0;
	free(*out);
	*out = NULL;
	return -EINVAL;
}

// o's member `from` as the bundle's member `to`; missing is an error unless `optional`.
static int move_bytes(const json_t *o, const char *from, enum coding coding, struct bundle *b, const char *to, bool optional, struct fault *f)
{
	static const char *const words[] = {"base64", "base64url", "hexadecimal"};
	const json_t *v = json_object_get(o, from);
	uint8_t *bytes;
	size_t len;
	if (optional && (!v || json_is_null(v)))
		return 0;
	int err = bytes_of(v, coding, &bytes, &len);
	if (err)
		return fault_set(f, err, "tee-evidence: %s must be bytes in %s", from, words[coding]);
	err = bundle_put_bytes(b, to, bytes, len);
	free(bytes);
	return err ? fault_set(f, err, "out of memory") : 0;
}

// Appends a certificate to the bundle's PEM text.
static int add_certificate(struct bundle *b, const uint8_t *der, size_t len, struct fault *f)
{
	size_t have, n;
	const char *old = bundle_text(b, "certificates", &have);
	size_t size = have + 64 + BASE64_SIZE(len) * 66 / 64;
	char *pem = malloc(size), *text = malloc(BASE64_SIZE(len)), *p = pem;
	int err = -ENOMEM;
	if (pem && text) {
		n = base64_encode(text, der, len, BASE64_STD);
		if (old)
			p = mempcpy(p, old, have);
		p = stpcpy(p, "-----BEGIN CERTIFICATE-----\n");
		for (size_t i = 0; i < n; i += 64) {
			p = mempcpy(p, text + i, n - i < 64 ? n - i : 64);
			*p++ = '\n';
		}
		p = stpcpy(p, "-----END CERTIFICATE-----\n");
		err = bundle_put_text(b, "certificates", pem, (size_t)(p - pem));
	}
	free(pem);
	free(text);
	return err ? fault_set(f, err, "out of memory") : 0;
}

static bool signs_reports(const json_t *entry)
{
	const char *type = json_string_value(json_object_get(entry, "cert_type"));
	return type && (!strcmp(type, "VCEK") || !strcmp(type, "VLEK"));
}

// [{"cert_type", "data"}]: the report's signer goes first, wherever it stands. None at all: the verifier's collateral has them.
static int read_chain(const json_t *list, struct bundle *b, struct fault *f)
{
	unsigned int signers = 0;
	if (!list || json_is_null(list) || (json_is_array(list) && !json_array_size(list)))
		return 0;
	if (!json_is_array(list) || json_array_size(list) > SNP_MAX_CERTS)
		return fault_set(f, -EINVAL, "primary_evidence: cert_chain must be a list of at most %d certificates (VCEK or VLEK, ASK, ARK)",
				 SNP_MAX_CERTS);
	for (int pass = 0; pass < 2; pass++) {
		for (size_t i = 0; i < json_array_size(list); i++) {
			const json_t *entry = json_array_get(list, i);
			const char *type = json_string_value(json_object_get(entry, "cert_type"));
			uint8_t *der;
			size_t len;
			if (signs_reports(entry) != (pass == 0) || (type && !strcmp(type, "CRL"))) // lists come from the verifier's side
				continue;
			signers += pass == 0;
			int err = bytes_of(json_object_get(entry, "data"), STD, &der, &len);
			if (err)
				return fault_set(f, err, "primary_evidence: cert_chain[%zu]: data must be base64 of DER", i);
			err = add_certificate(b, der, len, f);
			free(der);
			if (err)
				return err;
		}
	}
	return signers == 1 ? 0 : fault_set(f, -EINVAL, "primary_evidence: cert_chain must have one VCEK or VLEK");
}

static int read_snp(const json_t *o, struct bundle *b, struct fault *f)
{
	const json_t *report = json_object_get(o, "attestation_report");
	uint8_t fields[SNP_REPORT_BYTES], *bytes = NULL;
	size_t len = sizeof fields;
	int err = json_is_object(report) ? coco_snp_report(report, fields, f) : bytes_of(report, STD, &bytes, &len);
	if (!err && len != SNP_REPORT_BYTES)
		err = -EINVAL;
	if (err && !json_is_object(report))
		fault_set(f, err, "primary_evidence: attestation_report must be the report's %d bytes in base64, or its fields by name",
			  SNP_REPORT_BYTES);
	if (!err)
		err = bundle_put_bytes(b, "evidence", bytes ? bytes : fields, SNP_REPORT_BYTES);
	free(bytes);
	return err ? err : read_chain(json_object_get(o, "cert_chain"), b, f);
}

static int read_sgx(const json_t *o, struct bundle *b, struct fault *f)
{
	return move_bytes(o, "quote", STD, b, "evidence", false, f);
}

static int read_tdx(const json_t *o, struct bundle *b, struct fault *f)
{
	int err = move_bytes(o, "quote", STD, b, "evidence", false, f);
	return err ? err : move_bytes(o, "cc_eventlog", STD, b, "event_log", true, f);
}

// Clients that read a report of version 1 take the mask off the platform's key and serial number, where they stand, and leave out the
// reserved bytes behind them. The masked form is put back. So is its code, for which no more is needed than the nonce in the report: what
// proves the key is its chain, and what proves the report is the key's signature.
static int mask_csv(struct bundle *b)
{
	enum { NONCE = 128, MASK = 188, KEY = 336, MASKED = CSV_CERT_BYTES + 64, CODE = CSV_V1_BYTES - 32 };
	struct csv_cert pek;
	uint8_t nonce[16];
	unsigned int n;
	size_t len;
	const uint8_t *report = bundle_bytes(b, "evidence", &len);
	if (!report || len < CSV_V1_BYTES || csv_cert_read(report + KEY, CSV_CERT_BYTES, &pek, NULL) || pek.usage != CSV_USAGE_PEK)
		return 0;
	uint8_t *masked = malloc(len);
	if (!masked)
		return -ENOMEM;
	memcpy(masked, report, len);
	for (size_t i = 0; i < sizeof nonce; i++)
		nonce[i] = report[NONCE + i] ^ report[MASK + i % 4];
	for (size_t i = 0; i < MASKED; i++)
		masked[KEY + i] ^= report[MASK + i % 4];
	int err = HMAC(EVP_sm3(), nonce, sizeof nonce, masked + KEY, CODE - KEY, masked + CODE, &n) ? 0 : -ENOMEM;
	if (!err)
		err = bundle_replace_bytes(b, "evidence", masked, len);
	free(masked);
	return err;
}

static int read_csv(const json_t *o, struct bundle *b, struct fault *f)
{
	const json_t *report = json_object_get(o, "attestation_report"), *chain = json_object_get(o, "cert_chain");
	int err = json_is_object(report) ? move_bytes(report, "data", STD, b, "evidence", false, f)
					 : move_bytes(o, "attestation_report", STD, b, "evidence", false, f);
	// HSK and CEK as bytes; taken apart into fields they are not read: the chip's are the collateral's.
	if (!err && !json_is_object(json_object_get(chain, "hsk_cek")))
		err = move_bytes(chain, "hsk_cek", STD, b, "hsk_cek", true, f);
	if (!err && mask_csv(b))
		err = fault_set(f, -ENOMEM, "out of memory");
	return err ? err : move_bytes(o, "cc_eventlog", STD, b, "event_log", true, f);
}

static int read_cca(const json_t *o, struct bundle *b, struct fault *f)
{
	return move_bytes(o, "token", STD, b, "evidence", false, f);
}

// {"signature", "message", "pcrs": [hex or numbers, 24 of them, SHA-256]}
static int read_quote(const json_t *o, enum coding coding, struct bundle *b, struct fault *f)
{
	const json_t *list = json_object_get(o, "pcrs");
	json_t *pcrs = json_object();
	char name[8], hex[2 * 64 + 1];
	int err = move_bytes(o, "signature", coding, b, "tpm_signature", false, f);
	if (!err)
		err = move_bytes(o, "message", coding, b, "tpm_quote", false, f);
	if (!err && (!json_is_array(list) || json_array_size(list) > TPM_PCRS))
		err = fault_set(f, -EINVAL, "tpm_quote: pcrs must be a list of up to %d values", TPM_PCRS);
	for (size_t i = 0; !err && i < json_array_size(list); i++) {
		const json_t *v = json_array_get(list, i);
		uint8_t *bytes = NULL;
		size_t len;
		err = bytes_of(v, HEX, &bytes, &len);
		snprintf(name, sizeof name, "%u", (unsigned int)i);
		if (err || len > 64)
			err = fault_set(f, -EINVAL, "tpm_quote: pcrs[%zu] is no value", i);
		else if (json_object_set_new(pcrs, name, json_string(hex_encode(hex, bytes, len))))
			err = fault_set(f, -ENOMEM, "out of memory");
		free(bytes);
	}
	if (!err && json_object_set(b->json, "tpm_pcrs", pcrs))
		err = fault_set(f, -ENOMEM, "out of memory");
	json_decref(pcrs);
	return err;
}

static int read_tpm(const json_t *o, struct bundle *b, struct fault *f)
{
	size_t len;
	int err = read_quote(json_object_get(o, "tpm_quote"), STD, b, f);
	if (!err)
		err = move_bytes(o, "ak_public", STD, b, "tpm_key", false, f);
	if (!err)
		err = move_bytes(o, "eventlog", STD, b, "event_log", true, f);
	const char *certs = json_string_value(json_object_get(o, "ak_certificates"));	// ours: PEM, the key's first
	if (!err && certs)
		err = bundle_put_text(b, "tpm_certificates", certs, strlen(certs));
	json_t *activation = json_object_get(o, "activation");	// ours: the answer to the session's challenge
	if (!err && activation && json_object_set(b->json, "tpm_activation", activation))
		err = fault_set(f, -ENOMEM, "out of memory");
	const uint8_t *quote = bundle_bytes(b, "tpm_quote", &len);
	return err || !quote ? err : bundle_put_bytes(b, "evidence", quote, len);
}

// Older clients wrote "quote", "report" and lists of numbers, newer ones "tpm_quote", "hcl_report", hex and base64url.
static int read_az(const json_t *o, struct bundle *b, struct fault *f)
{
	const json_t *quote = json_object_get(o, "tpm_quote");
	int err = read_quote(quote ? quote : json_object_get(o, "quote"), HEX, b, f);
	return err ? err : move_bytes(o, json_object_get(o, "hcl_report") ? "hcl_report" : "report", URL, b, "evidence", false, f);
}

static int read_az_snp(const json_t *o, struct bundle *b, struct fault *f)
{
	const char *pem = json_string_value(json_object_get(o, "vcek"));
	uint8_t *der;
	size_t len;
	int err = read_az(o, b, f);
	if (err)
		return err;
	if (pem && !strncmp(pem, "-----BEGIN", 10))
		return bundle_put_text(b, "certificates", pem, strlen(pem));
	if (bytes_of(json_object_get(o, "vcek"), URL, &der, &len))
		return fault_set(f, -EINVAL, "tee-evidence: vcek must be a certificate, PEM or base64url of DER");
	err = add_certificate(b, der, len, f);
	free(der);
	return err;
}

static int read_az_tdx(const json_t *o, struct bundle *b, struct fault *f)
{
	int err = read_az(o, b, f);
	return err ? err : move_bytes(o, "td_quote", URL, b, "quote", false, f);
}

static const struct coco_tee tees[] = {
	{"snp", EVIDENCE_SNP, .read = read_snp}, {"tdx", EVIDENCE_TDX, .read = read_tdx}, {"sgx", EVIDENCE_SGX, .read = read_sgx},
	{"csv", EVIDENCE_CSV, .read = read_csv}, {"cca", EVIDENCE_CCA, .read = read_cca},
	{"az-snp-vtpm", EVIDENCE_HCL, .by_nonce = true, .hardware = "snp", .read = read_az_snp},
	{"az-tdx-vtpm", EVIDENCE_HCL, .by_nonce = true, .hardware = "tdx", .read = read_az_tdx},
	{"tpm", EVIDENCE_TPM, .by_nonce = true, .read = read_tpm}, {"coffer-simulated", EVIDENCE_SNP, .simulated = true, .read = read_snp},
};

const struct coco_tee *coco_tee_find(const char *name)
{
	// As the first clients of protocol 0.4.0 wrote them.
	if (!strcmp(name, "azsnpvtpm") || !strcmp(name, "aztdxvtpm"))
		name = name[2] == 's' ? "az-snp-vtpm" : "az-tdx-vtpm";
	for (size_t i = 0; i < sizeof tees / sizeof *tees; i++) {
		if (!strcmp(tees[i].name, name))
			return &tees[i];
	}
	return NULL;
}

const char *coco_tee_names(void)
{
	return "snp, tdx, sgx, csv, cca, az-snp-vtpm, az-tdx-vtpm, tpm";
}

int coco_read(const struct coco_tee *tee, const json_t *primary, struct bundle *b, struct fault *f)
{
	if (!json_is_object(primary))
		return fault_set(f, -EINVAL, "tee-evidence: primary_evidence must be an object");
	return tee->read(primary, b, f);
}

size_t coco_nonce_len(struct bundle *b)
{
	struct tpm_quote q;
	size_t len;
	const uint8_t *bytes = bundle_bytes(b, "tpm_quote", &len);
	bool known = bytes && !tpm_quote_parse(bytes, len, &q, NULL) && (q.nonce_len == 32 || q.nonce_len == 64);
	return known ? q.nonce_len : 48;
}

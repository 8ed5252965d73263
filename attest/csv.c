// SPDX-License-Identifier: Apache-2.0
// Verification of Hygon CSV reports, in order: format, HMAC, root, chain HRK -> HSK -> CEK -> PEK, signature, report data. See csv.h. Pure.
#include "attest/csv.h"

#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <string.h>

#include "attest/bytes.h"
#include "attest/ecdsa.h"
#include "attest/json.h"
#include "lib/encode.h"

// SHA-256 of Hygon's root certificate (HRK) as published.
static const char hygon_root[] = "296efa97580464aca0ab5eefe42199ee05862182508d1629f29cf4dc175b10cd";

static EVP_PKEY *sm2_key(const uint8_t xy[64])
{
	uint8_t point[65] = {4};
	char group[] = "SM2";
	EVP_PKEY *key = NULL;
	memcpy(point + 1, xy, 64);
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, group, 0),
		OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, point, sizeof point),
		OSSL_PARAM_construct_end(),
	};
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "SM2", NULL);
	if (!ctx || EVP_PKEY_fromdata_init(ctx) != 1 || EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params) != 1)
		key = NULL;
	EVP_PKEY_CTX_free(ctx);
	return key;
}

bool csv_sm2_ok(const struct csv_key *k, const uint8_t rs[64], const uint8_t *message, size_t len)
{
	uint8_t der[ECDSA_DER_MAX];
	size_t der_len = ecdsa_der(der, rs, 32);
	EVP_PKEY *key = sm2_key(k->xy);
	EVP_PKEY_CTX *ctx = key ? EVP_PKEY_CTX_new(key, NULL) : NULL;
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	bool ok = ctx && md && EVP_PKEY_CTX_set1_id(ctx, k->id, k->id_len) == 1;
	if (ok) {
		EVP_MD_CTX_set_pkey_ctx(md, ctx);
		ok = EVP_DigestVerifyInit(md, NULL, EVP_sm3(), NULL, key) == 1 && EVP_DigestVerify(md, der, der_len, message, len) == 1;
	}
	EVP_MD_CTX_free(md);
	EVP_PKEY_CTX_free(ctx);
	EVP_PKEY_free(key);
	ERR_clear_error();
	return ok;
}

// Signed by `signer`, in the slot that names the signer's kind.
static bool signed_by(const struct csv_cert *c, const struct csv_cert *signer, bool slots)
{
	for (int i = 0; i < (slots ? 2 : 1); i++) {
		if ((!slots || c->signatures[i].usage == signer->usage) && csv_sm2_ok(&signer->key, c->signatures[i].rs, c->body, c->body_len))
			return true;
	}
	return false;
}

static int read_chain(const struct csv_input *in, struct csv_cert *hrk, struct csv_cert *hsk, struct csv_cert *cek, struct csv_cert *pek,
		      const struct csv_report *r, struct fault *f)
{
	int err = csv_cert_read(r->pek, CSV_CERT_BYTES, pek, f);
	if (err)
		return err;
	if (!in->hsk_cek || in->hsk_cek_len != CSV_ROOT_BYTES + CSV_CERT_BYTES)
		return fault_set(f, -ENOENT, "no HSK and CEK of this chip (%s)", r->serial);
	if (!in->hrk)
		return fault_set(f, -ENOENT, "no root certificate (HRK)");
	err = csv_root_read(in->hrk, in->hrk_len, hrk, f);
	if (!err)
		err = csv_root_read(in->hsk_cek, CSV_ROOT_BYTES, hsk, f);
	if (!err)
		err = csv_cert_read(in->hsk_cek + CSV_ROOT_BYTES, CSV_CERT_BYTES, cek, f);
	if (err)
		return err;
	if (hrk->usage != CSV_USAGE_HRK || hsk->usage != CSV_USAGE_HSK || cek->usage != CSV_USAGE_CEK || pek->usage != CSV_USAGE_PEK)
		return fault_set(f, -EBADMSG, "a certificate in another's place (usages 0x%x, 0x%x, 0x%x, 0x%x)", hrk->usage, hsk->usage,
				 cek->usage, pek->usage);
	if (!signed_by(hrk, hrk, false))
		return fault_set(f, -EBADMSG, "the root is not signed by itself");
	if (!signed_by(hsk, hrk, false))
		return fault_set(f, -EBADMSG, "HSK is not signed by the root");
	if (!signed_by(cek, hsk, true))
		return fault_set(f, -EBADMSG, "CEK is not signed by HSK");
	if (!signed_by(pek, cek, true))
		return fault_set(f, -EBADMSG, "PEK is not signed by CEK: certificates of another chip");
	return 0;
}

static void check_root(const struct csv_input *in, struct attest_result *out)
{
	uint8_t digest[32];
	char hex[65] = "";
	if (in->hrk && EVP_Digest(in->hrk, in->hrk_len, digest, NULL, EVP_sha256(), NULL) == 1)
		hex_encode(hex, digest, 32);
	bool hygon = !strcmp(hex, hygon_root);
	bool simulated = !hygon && in->simulated_hrk && in->hrk_len == CSV_ROOT_BYTES && !memcmp(in->hrk, in->simulated_hrk, CSV_ROOT_BYTES);
	struct attest_check *c = attest_check_add(out, "root", hygon || simulated);
	attest_expected(c, in->simulated_hrk ? "Hygon's root or the simulated root that is accepted here" : "Hygon's root");
	attest_found(c, "%s", hygon ? "Hygon's" : simulated ? "the simulated root" : *hex ? "another one" : "none");
	set_text(out->claims, "tee", hygon ? "csv" : simulated ? "simulated" : "unknown");
}

static void claims(const struct csv_report *r, json_t *out)
{
	char name[8];
	set_text(out, "dbgstat", r->policy & CSV_POLICY_NODBG ? "disabled-since-boot" : "enabled");
	set_hex(out, "measurement", r->measure, 32);
	set_hex(out, "report_data", r->report_data, 64);
	json_t *o = set_object(out, "csv");
	set_number(o, "version", r->version);
	set_hex(o, "measure", r->measure, 32);
	set_hex(o, "vm_id", r->vm_id, 16);
	set_hex(o, "vm_version", r->vm_version, 16);
	set_hex(o, "user_pubkey_digest", r->pubkey_digest, 32);
	set_hex(o, "mnonce", r->nonce, 16);
	// Only the nonce's holder is needed to bind another one: it tells where to ask for certificates, not which chip this is.
	json_object_set_new(o, "unproved_serial_number", json_string((const char *)r->serial));
	json_t *p = set_object(o, "policy");
	set_bool(p, "nodbg", r->policy & CSV_POLICY_NODBG);
	set_bool(p, "noks", r->policy & CSV_POLICY_NOKS);
	set_bool(p, "es", r->policy & CSV_POLICY_ES);
	set_bool(p, "nosend", r->policy & CSV_POLICY_NOSEND);
	set_bool(p, "domain", r->policy >> 4 & 1);
	set_bool(p, "csv", r->policy >> 5 & 1);
	set_bool(p, "csv3", r->policy & CSV_POLICY_CSV3);
	set_bool(p, "asid_reuse", r->policy >> 7 & 1);
	set_number(p, "hsk_version", r->policy >> 8 & 15);
	set_number(p, "cek_version", r->policy >> 12 & 15);
	set_number(p, "api_major", r->policy >> 16 & 255);
	set_number(p, "api_minor", r->policy >> 24);
	if (r->version != 2)
		return;
	set_number(o, "build", r->build);
	set_number(o, "rtmr_version", r->rtmr_version);
	for (int i = 0; i < 5; i++) {
		snprintf(name, sizeof name, "rtmr%d", i);
		set_hex(o, name, r->rtmr[i], 32);
	}
}

void csv_verify(const struct csv_input *in, struct attest_result *out)
{
	struct csv_report r;
	struct csv_cert hrk, hsk, cek, pek;
	struct fault why = {""};
	int err = csv_parse(in->report, in->report_len, &r, &why);
	struct attest_check *c = attest_check_add(out, "format", !err);
	attest_expected(c, "a CSV report of version 1 (%d bytes) or 2 (%d bytes)", CSV_V1_BYTES, CSV_V2_BYTES);
	attest_found(c, "%s", err ? why.text : r.version == 1 ? "version 1" : "version 2");
	set_text(out->claims, "tee", "unknown");
	if (err)
		return;
	if (in->strict) {
		c = attest_check_add(out, "trailing-bytes", !r.trailing);
		attest_expected(c, "none");
		attest_found(c, "%zu bytes behind the report", r.trailing);
	}
	c = attest_check_add(out, "mac", r.mac_ok);
	attest_expected(c, "PEK and serial number bound to the nonce (HMAC-SM3)");
	attest_found(c, r.mac_ok ? "bound" : "a code that does not match");
	check_root(in, out);
	err = read_chain(in, &hrk, &hsk, &cek, &pek, &r, &why);
	c = attest_check_add(out, "certificate-chain", !err);
	attest_expected(c, "root (HRK), HSK, CEK, PEK, each signed by the one before");
	attest_found(c, "%s", err ? why.text : "complete and signed");
	bool ok = !csv_cert_read(r.pek, CSV_CERT_BYTES, &pek, NULL) && r.sig_usage == CSV_USAGE_PEK && r.sig_algo == 4 &&
		  csv_sm2_ok(&pek.key, r.rs, r.signed_bytes, r.signed_len);
	c = attest_check_add(out, "signature", ok);
	attest_expected(c, "SM2 with SM3 by the platform's endorsement key (PEK)");
	attest_found(c, ok ? "valid" : "a signature that does not match: the report was changed or signed by another key");
	attest_check_report_data(out, in->report_data, r.report_data);
	claims(&r, out->claims);
}

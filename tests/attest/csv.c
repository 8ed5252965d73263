// SPDX-License-Identifier: Apache-2.0
// Hygon CSV: a real report with its chain, and reports of both versions made under a test root.
#include "attest/csv.h"

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <string.h>

#include "tests/attest/ok.h"
#include "tests/attest/vectors.h"

static void verify(const struct csv_input *in, struct attest_result *r)
{
	attest_result_init(r);
	csv_verify(in, r);
}

static unsigned int unnoticed(const struct csv_input *in, uint8_t *bytes, size_t len)
{
	unsigned int missed = 0;
	for (size_t i = 0; i < len; i += 5) {
		struct attest_result r;
		bytes[i] ^= 0x40;
		verify(in, &r);
		missed += attest_passed(&r);
		attest_result_free(&r);
		bytes[i] ^= 0x40;
	}
	return missed;
}

static void test_vector(void)
{
	size_t report_len, chain_len, hrk_len;
	char *report = vector_read("csv/csv-rs/report.cert", &report_len), *chain = vector_read("csv/csv-rs/hsk_cek.cert", &chain_len);
	char *hrk = vector_read("csv/csv-rs/hrk.cert", &hrk_len);
	struct attest_result r;
	if (!report || !chain || !hrk) {
		skip("csv vector csv-rs", "the vectors are not here");
		return;
	}
	uint8_t data[64] = "user data";
	struct csv_input in = {.report = (uint8_t *)report, .report_len = report_len, .hsk_cek = (uint8_t *)chain, .hsk_cek_len = chain_len,
			       .hrk = (uint8_t *)hrk, .hrk_len = hrk_len, .report_data = data};
	verify(&in, &r);
	ok("csv vector csv-rs", attest_passed(&r) && !strcmp(claim_of(&r, "tee"), "csv") && !strcmp(claim_of(&r, "csv.serial_number"), "NZA9T14052605"),
	   "%s %s", claim_of(&r, "csv.serial_number"), failures(&r));
	attest_result_free(&r);
	unsigned int missed = unnoticed(&in, (uint8_t *)report, report_len);
	ok("csv vector csv-rs: each changed byte is noticed", missed == 0, "%u missed", missed);
	in.hsk_cek = NULL;
	verify(&in, &r);
	ok("csv vector csv-rs: without the chip's certificates", !strcmp(failed_ids(&r), "certificate-chain "), "%s", failures(&r));
	attest_result_free(&r);
	free(report);
	free(chain);
	free(hrk);
}

static void le(uint8_t *p, uint64_t v, int n)
{
	for (int i = 0; i < n; i++)
		p[i] = (uint8_t)(v >> 8 * i);
}

static void reversed(uint8_t *out, const uint8_t *in)
{
	for (int i = 0; i < 32; i++)
		out[i] = in[31 - i];
}

// SM2 under an identity; r and s little-endian, 72 bytes each.
static void sign(EVP_PKEY *key, const char *id, const void *message, size_t len, uint8_t *out)
{
	uint8_t der[128], rs[64];
	const uint8_t *p = der;
	size_t der_len = sizeof der;
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(key, NULL);
	EVP_PKEY_CTX_set1_id(ctx, id, strlen(id));
	EVP_MD_CTX_set_pkey_ctx(md, ctx);
	if (EVP_DigestSignInit(md, NULL, EVP_sm3(), NULL, key) != 1 || EVP_DigestSign(md, der, &der_len, message, len) != 1)
		abort();
	ECDSA_SIG *sig = d2i_ECDSA_SIG(NULL, &p, (long)der_len);
	BN_bn2binpad(ECDSA_SIG_get0_r(sig), rs, 32);
	BN_bn2binpad(ECDSA_SIG_get0_s(sig), rs + 32, 32);
	reversed(out, rs);
	reversed(out + 72, rs + 32);
	ECDSA_SIG_free(sig);
	EVP_PKEY_CTX_free(ctx);
	EVP_MD_CTX_free(md);
}

static void put_key(uint8_t *p, EVP_PKEY *key, const char *id)
{
	uint8_t point[65];
	size_t len;
	EVP_PKEY_get_octet_string_param(key, OSSL_PKEY_PARAM_PUB_KEY, point, sizeof point, &len);
	le(p, 3, 4);
	reversed(p + 4, point + 1);
	reversed(p + 76, point + 33);
	le(p + 148, strlen(id), 2);
	memcpy(p + 150, id, strlen(id));
}

struct world {
	EVP_PKEY *hrk, *cek, *pek;
	uint8_t hrk_cert[CSV_ROOT_BYTES], hsk_cek[CSV_ROOT_BYTES + CSV_CERT_BYTES], pek_cert[CSV_CERT_BYTES];
};

static void put_root(uint8_t *c, uint32_t usage, EVP_PKEY *key, const char *id, EVP_PKEY *signer, const char *signer_id)
{
	memset(c, 0, CSV_ROOT_BYTES);
	le(c, 1, 4);
	le(c + 36, usage, 4);
	put_key(c + 64, key, id);
	sign(signer, signer_id, c, 576, c + 576);
}

static void put_cert(uint8_t *c, uint32_t usage, EVP_PKEY *key, const char *id, EVP_PKEY *signer, const char *signer_id, uint32_t signer_usage)
{
	memset(c, 0, CSV_CERT_BYTES);
	le(c, 2, 4);
	le(c + 8, usage, 4);
	le(c + 12, 4, 4);
	put_key(c + 16, key, id);
	le(c + 1044, 0x1000, 4);
	le(c + 1564, signer_usage, 4);
	sign(signer, signer_id, c, 1044, c + 1564 + 8);
}

static void make_world(struct world *w, uint32_t cek_usage)
{
	w->hrk = EVP_PKEY_Q_keygen(NULL, NULL, "SM2");
	EVP_PKEY *hsk = EVP_PKEY_Q_keygen(NULL, NULL, "SM2");
	w->cek = EVP_PKEY_Q_keygen(NULL, NULL, "SM2");
	w->pek = EVP_PKEY_Q_keygen(NULL, NULL, "SM2");
	put_root(w->hrk_cert, CSV_USAGE_HRK, w->hrk, "TEST-HRK", w->hrk, "TEST-HRK");
	put_root(w->hsk_cek, CSV_USAGE_HSK, hsk, "TEST-HSK", w->hrk, "TEST-HRK");
	put_cert(w->hsk_cek + CSV_ROOT_BYTES, cek_usage, w->cek, "TEST-CEK", hsk, "TEST-HSK", CSV_USAGE_HSK);
	put_cert(w->pek_cert, CSV_USAGE_PEK, w->pek, "TEST-PEK", w->cek, "TEST-CEK", CSV_USAGE_CEK);
	EVP_PKEY_free(hsk);
}

static void free_world(struct world *w)
{
	EVP_PKEY_free(w->hrk);
	EVP_PKEY_free(w->cek);
	EVP_PKEY_free(w->pek);
}

static void mask(uint8_t *p, size_t len, const uint8_t m[4])
{
	for (size_t i = 0; i < len; i++)
		p[i] ^= m[i % 4];
}

static size_t make_report(const struct world *w, int version, uint32_t policy, uint8_t *b)
{
	static const uint8_t anonce[4] = {0x9b, 0x42, 0x91, 0x12}, none[4];
	const uint8_t *m = version == 1 ? anonce : none;
	size_t info = version == 1 ? 336 : 1168, len = info + CSV_CERT_BYTES + 128;
	unsigned int mac_len;
	memset(b, 0, len);
	memset(b + 64, 0xda, 64);
	memset(b + 128, 0x4e, 16);
	memset(b + 144, 0xe1, 32);
	le(b + 176, policy, 4);
	le(b + 180, CSV_USAGE_PEK, 4);
	le(b + 184, 4, 4);
	if (version == 2) {
		le(b + 188, 2200, 4);
		le(b + 192, 1, 2);
		memset(b + 208, 0xe1, 32);
		memset(b + 240, 0x71, 32);
	}
	memcpy(b + info, w->pek_cert, CSV_CERT_BYTES);
	strcpy((char *)b + info + CSV_CERT_BYTES, "TEST0001");
	mask(b, 188, m);
	mask(b + info, CSV_CERT_BYTES + 64, m);
	if (version == 1)
		memcpy(b + 188, anonce, 4);
	sign(w->pek, "TEST-PEK", b, version == 1 ? 180 : 1024, b + (version == 1 ? 192 : 1024));
	uint8_t nonce[16];
	memset(nonce, 0x4e, 16);
	HMAC(EVP_sm3(), nonce, 16, b + info, CSV_CERT_BYTES + 96, b + info + CSV_CERT_BYTES + 96, &mac_len);
	return len;
}

static void test_made(void)
{
	static uint8_t b[8192];
	struct world w, other, swapped;
	struct attest_result r;
	char label[96];
	make_world(&w, CSV_USAGE_CEK);
	make_world(&other, CSV_USAGE_CEK);
	make_world(&swapped, CSV_USAGE_OCA);
	struct csv_input in = {.report = b, .hsk_cek = w.hsk_cek, .hsk_cek_len = sizeof w.hsk_cek, .hrk = w.hrk_cert, .hrk_len = sizeof w.hrk_cert,
			       .simulated_hrk = w.hrk_cert};
	for (int version = 1; version <= 2; version++) {
		in.report_len = make_report(&w, version, CSV_POLICY_NODBG, b);
		verify(&in, &r);
		snprintf(label, sizeof label, "csv: version %d", version);
		ok(label, attest_passed(&r) && !strcmp(claim_of(&r, "tee"), "simulated") && !strcmp(claim_of(&r, "dbgstat"), "disabled-since-boot") &&
		   json_integer_value(json_object_get(json_object_get(r.claims, "csv"), "version")) == version, "%s", failures(&r));
		attest_result_free(&r);
		unsigned int missed = unnoticed(&in, b, in.report_len);
		snprintf(label, sizeof label, "csv: version %d: each changed byte is noticed", version);
		ok(label, missed == 0, "%u missed", missed);
		make_report(&w, version, 0, b);
		verify(&in, &r);
		ok("csv: debugging allowed", !strcmp(claim_of(&r, "dbgstat"), "enabled"), "%s", claim_of(&r, "dbgstat"));
		attest_result_free(&r);
	}
	in.report_len = 4096;
	in.strict = true;
	verify(&in, &r);
	ok("csv: padded, strict", !strcmp(failed_ids(&r), "trailing-bytes "), "%s", failures(&r));
	attest_result_free(&r);
	in.strict = false;
	in.report_len = CSV_V1_BYTES - 1;
	verify(&in, &r);
	ok("csv: cut short", !strcmp(failed_ids(&r), "format "), "%s", failures(&r));
	attest_result_free(&r);
	in.report_len = make_report(&w, 1, CSV_POLICY_NODBG, b);
	in.simulated_hrk = NULL;
	verify(&in, &r);
	ok("csv: a root that is not accepted", !strcmp(failed_ids(&r), "root ") && !strcmp(claim_of(&r, "tee"), "unknown"), "%s", failures(&r));
	attest_result_free(&r);
	in.simulated_hrk = w.hrk_cert;
	in.hsk_cek = other.hsk_cek;
	verify(&in, &r);
	ok("csv: another chip's certificates", !strcmp(failed_ids(&r), "certificate-chain "), "%s", failures(&r));
	attest_result_free(&r);
	in.report_len = make_report(&swapped, 1, CSV_POLICY_NODBG, b);
	in.hsk_cek = swapped.hsk_cek;
	in.hrk = in.simulated_hrk = swapped.hrk_cert;
	verify(&in, &r);
	ok("csv: a certificate of another use", !strcmp(failed_ids(&r), "certificate-chain "), "%s", failures(&r));
	attest_result_free(&r);
	free_world(&w);
	free_world(&other);
	free_world(&swapped);
}

int main(void)
{
	test_vector();
	test_made();
	return ok_failed != 0;
}

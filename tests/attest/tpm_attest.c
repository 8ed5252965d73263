// SPDX-License-Identifier: Apache-2.0
// A TPM's evidence end to end, against swtpm (a real TPM's code) whose maker is swtpm_localca: endorsement certificate, activate-credential made
// without a TPM and answered by one, quotes, registers; a TPM without a certificate; Azure's report in an NV index.
#include <errno.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "attest/collect.h"
#include "attest/evidence.h"
#include "attest/tpm.h"
#include "attest/tpm_collect.h"
#include "tests/attest/make/pki.h"
#include "tests/attest/make/swtpm.h"
#include "tests/attest/ok.h"
#include "tests/attest/vectors.h"

#define where swtpm_where

static void read_certs(const char *name, struct cert_list *l)
{
	char *pem = swtpm_certificate(name);
	if (pem)
		cert_list_add_pem(l, pem, strlen(pem), NULL);
	free(pem);
}

static void test_challenge(struct tpm_attester *a, EVP_PKEY *ek, const struct tpm_public *ak)
{
	uint8_t secret[TPM_CREDENTIAL_BYTES] = {1, 2, 3}, got[TPM_CREDENTIAL_BYTES] = {0}, name[66];
	struct tpm_challenge c, bad;
	struct fault f = {""};
	int err = tpm_credential_make(ek, ak->name, ak->name_len, secret, &c, &f);
	if (!err)
		err = tpm_attester_activate(a, &c, got, &f);
	ok("the TPM opens a credential for its keys", !err && !memcmp(secret, got, sizeof got), "%d %s", err, f.text);
	memcpy(name, ak->name, ak->name_len);
	name[10] ^= 1;
	err = tpm_credential_make(ek, name, ak->name_len, secret, &bad, &f);
	if (!err)
		err = tpm_attester_activate(a, &bad, got, &f);
	ok("not one for another attestation key", err == -EACCES, "%d %s", err, f.text);
	bad = c;
	bad.blob[bad.blob_len - 1] ^= 1;
	err = tpm_attester_activate(a, &bad, got, &f);
	ok("not one that was changed", err == -EACCES, "%d %s", err, f.text);
	EVP_PKEY *other = EVP_RSA_gen(2048);
	err = tpm_credential_make(other, ak->name, ak->name_len, secret, &bad, &f);
	if (!err)
		err = tpm_attester_activate(a, &bad, got, &f);
	ok("not one for another TPM", err < 0, "%d %s", err, f.text);
	EVP_PKEY_free(other);
	err = tpm_attester_activate(a, &c, got, &f);
	ok("and the first again", !err && !memcmp(secret, got, sizeof got), "%d %s", err, f.text);
}

static void test_verdict(struct tpm_attester *a, const struct tpm_public *ak)
{
	static const uint8_t nonce[32] = {7, 7};
	struct fault f = {""};
	struct bundle b;
	char hex[65];
	bundle_init(&b);
	int err = tpm_attester_quote(a, 0xff, nonce, sizeof nonce, &b, &f);
	tpm_key_digest(ak->key, hex);
	struct evidence_input in = {.bundle = &b, .nonce = nonce, .nonce_len = sizeof nonce, .now = time(NULL), .tpm_activated = hex};
	struct attest_result out;
	attest_result_init(&out);
	if (!err)
		evidence_verify(&in, &out);
	ok("its quote", !err && attest_passed(&out) && !strcmp(claim_of(&out, "tpm.ak_trust"), "activate-credential") && *claim_of(&out, "tpm.pcrs.pcr07"),
	   "%d %s %s", err, f.text, failures(&out));
	attest_result_free(&out);
	hex[3] ^= 1;
	attest_result_init(&out);
	evidence_verify(&in, &out);
	ok("another key was activated", !strcmp(failed_ids(&out), "tpm-key "), "%s", failures(&out));
	attest_result_free(&out);
	bundle_free(&b);
}

// A list that names nobody and says so of a part only.
static X509_CRL *list_of_part(const struct pki *issuer, int what, const char *value)
{
	X509_CRL *crl = pki_crl(issuer, NULL, time(NULL) - 100, time(NULL) + 100);
	ASN1_INTEGER *one = ASN1_INTEGER_new();
	bool delta = what == NID_delta_crl;
	X509_EXTENSION *e = delta ? NULL : X509V3_EXT_nconf_nid(NULL, NULL, what, value);
	bool made = delta ? ASN1_INTEGER_set(one, 1) && X509_CRL_add1_ext_i2d(crl, what, one, 1, 0) == 1 : e && X509_CRL_add_ext(crl, e, -1) == 1;
	ok("a list of a part", made && X509_CRL_sign(crl, issuer->key, EVP_sha256()) > 0, "it cannot be made");
	X509_EXTENSION_free(e);
	ASN1_INTEGER_free(one);
	return crl;
}

// A file with two lists, of which the second is cut or damaged, is not one with one.
static void test_list_file(X509_CRL *first, X509_CRL *second)
{
	struct cert_crls l = {.count = 0};
	BIO *bio = BIO_new(BIO_s_mem());
	char *text = NULL;
	if (!bio || !PEM_write_bio_X509_CRL(bio, first) || !PEM_write_bio_X509_CRL(bio, second))
		abort();
	size_t len = (size_t)BIO_get_mem_data(bio, &text), middle = len * 3 / 4;
	ok("a file of two lists", cert_crls_add(&l, text, len, NULL) == 0 && l.count == 2, "%u", l.count);
	cert_crls_free(&l);
	ok("one that was cut", cert_crls_add(&l, text, middle, NULL) == -EINVAL, "it is read");
	cert_crls_free(&l);
	text[middle] = '*';
	ok("one that was damaged", cert_crls_add(&l, text, len, NULL) == -EINVAL, "it is read");
	cert_crls_free(&l);
	BIO_free(bio);
}

// Lists of the maker's root and of its intermediate, about a chain that is good.
static void test_revoked(const struct cert_list *chain, const struct cert_list *roots)
{
	struct pki root = {roots->certs[0], swtpm_key("swtpm-localca-rootca-privkey.pem")}, issuer = {chain->certs[1], swtpm_key("signkey.pem")};
	struct cert_revocation r = {.accept_expired = false};
	struct fault f = {""};
	time_t now = time(NULL);
	EVP_PKEY *ek;
	if (!ok("the maker's keys", root.key && issuer.key, "no"))
		return;
#define CERTIFIED tpm_ek_certified(chain, roots->certs, roots->count, &r, now, &ek, &f)
	r.lists.crls[r.lists.count++] = pki_crl(&issuer, NULL, now - 100, now + 100);
	ok("the root has no list", CERTIFIED == -ENOENT && strstr(f.text, "no revocation list of"), "%s", f.text);
	r.lists.crls[r.lists.count++] = pki_crl(&root, NULL, now - 100, now + 100);
	ok("lists that name neither", CERTIFIED == 0, "%s", f.text);
	r.lists.crls[r.lists.count++] = pki_crl(&issuer, chain->certs[0], now - 50, now + 100);
	ok("a newer one behind them that does", CERTIFIED == -EKEYREVOKED, "%s", f.text);
	test_list_file(r.lists.crls[0], r.lists.crls[2]);
	X509_CRL_free(r.lists.crls[--r.lists.count]);
	static const struct { int what; const char *value; bool will_do; } parts[] = {
		{NID_delta_crl, "of changes", false}, {NID_issuing_distribution_point, "critical,onlyuser:TRUE", true},
		{NID_issuing_distribution_point, "critical,onlyCA:TRUE", false}, {NID_issuing_distribution_point, "critical,onlysomereasons:keyCompromise", false},
		{NID_issuing_distribution_point, "critical,fullname:URI:http://another.example/", false}, {NID_inhibit_any_policy, "critical,1", false},
		{NID_inhibit_any_policy, "1", true}};
	for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
		X509_CRL_free(r.lists.crls[0]);
		r.lists.crls[0] = list_of_part(&issuer, parts[i].what, parts[i].value);
		int err = CERTIFIED;
		ok(parts[i].value, err == (parts[i].will_do ? 0 : -ENOENT), "%d %s", err, f.text);
	}
	X509_CRL_free(r.lists.crls[0]);
	r.lists.crls[0] = pki_crl(&issuer, chain->certs[0], now - 100, now + 100);
	ok("a TPM that was revoked", CERTIFIED == -EKEYREVOKED && strstr(f.text, "is revoked"), "%s", f.text);
	X509_CRL_free(r.lists.crls[0]);
	r.lists.crls[0] = pki_crl(&issuer, NULL, now - 100, now - 10);
	ok("a list that has ended", CERTIFIED == -ESTALE, "%s", f.text);
	r.accept_expired = true;
	ok("which may be accepted", CERTIFIED == 0, "%s", f.text);
	X509_CRL_free(r.lists.crls[0]);
	r.lists.crls[0] = pki_crl(&issuer, chain->certs[0], now - 100, now - 10);
	ok("and still revokes", CERTIFIED == -EKEYREVOKED, "%s", f.text);
	X509_CRL_free(r.lists.crls[0]);
	r.lists.crls[0] = pki_crl(&issuer, NULL, now - 100, now + 100);
	X509_CRL_free(r.lists.crls[1]);
	r.lists.crls[1] = pki_crl(&root, chain->certs[1], now - 100, now + 100);
	ok("an authority that was revoked", CERTIFIED == -EKEYREVOKED, "%s", f.text);
	X509_CRL_free(r.lists.crls[1]);
	r.lists.crls[1] = pki_crl(&(struct pki){root.cert, issuer.key}, NULL, now - 100, now + 100);
	ok("a list in the root's name that it did not sign", CERTIFIED == -EBADMSG, "%s", f.text);
	cert_crls_free(&r.lists);
	EVP_PKEY_free(root.key);
	EVP_PKEY_free(issuer.key);
}

static void test_made(void)
{
	struct tpm_attester a;
	struct fault f = {""};
	struct cert_list roots = {.count = 0}, chain = {.count = 0}, nobody = {.count = 0};
	struct tpm_public ak;
	EVP_PKEY *ek = NULL;
	uint8_t *der;
	size_t len;
	int err = tpm_attester_open(&a, where, &f);
	if (!ok("a TPM", !err && !a.azure && a.ak_len > 60, "%d %s", err, f.text))
		return;
	err = tpm_public_read(a.ak_public, a.ak_len, &ak, &f);
	ok("its attestation key", !err && !tpm_public_attests(&ak, &f) && ak.name_len == 34, "%d %s", err, f.text);
	struct tpm_public weak = ak;
	weak.attributes &= ~(1u << 16);
	ok("an unrestricted key attests nothing", tpm_public_attests(&weak, &f) == -EBADMSG, "%s", f.text);
	weak.attributes = ak.attributes & ~2u;
	ok("nor one that can be copied", tpm_public_attests(&weak, &f) == -EBADMSG, "%s", f.text);
	err = tpm_attester_endorsement(&a, &der, &len, &f);
	ok("its endorsement certificate", !err && !cert_list_add_der(&chain, der, len, &f), "%d %s", err, f.text);
	free(err ? NULL : der);
	read_certs("swtpm-localca-rootca-cert.pem", &roots);
	err = tpm_ek_certified(&chain, roots.certs, roots.count, NULL, time(NULL), &ek, &f);
	ok("its maker's intermediate is missing", err == -EBADMSG && strstr(f.text, "no certificate that signed"), "%d %s", err, f.text);
	read_certs("issuercert.pem", &chain);
	err = tpm_ek_certified(&chain, roots.certs, roots.count, NULL, time(NULL), &ek, &f);
	ok("a chain to its maker's root", !err && ek, "%d %s", err, f.text);
	ok("nobody's root", tpm_ek_certified(&chain, nobody.certs, 0, NULL, time(NULL), &ek, &f) == -EBADMSG, "%s", f.text);
	ok("before it was made", tpm_ek_certified(&chain, roots.certs, roots.count, NULL, 1000000000, &ek, &f) == -ESTALE, "%s", f.text);
	test_revoked(&chain, &roots);
	X509 *leaf = chain.certs[0];
	chain.certs[0] = chain.certs[1];
	chain.certs[1] = leaf;
	ok("an authority's certificate is no endorsement key's", tpm_ek_certified(&chain, roots.certs, roots.count, NULL, time(NULL), &ek, &f) == -EBADMSG, "%s",
	   f.text);
	EVP_PKEY *own = tpm_key_read(a.ek_public, a.ek_len, &f);
	ok("the certificate is about the TPM's own key", own && EVP_PKEY_eq(own, X509_get0_pubkey(leaf)) == 1, "%s", f.text);
	test_challenge(&a, X509_get0_pubkey(leaf), &ak);
	test_verdict(&a, &ak);
	EVP_PKEY_free(own);
	tpm_public_free(&ak);
	tpm_attester_close(&a);
	cert_list_free(&roots);
	cert_list_free(&chain);
}

// No certificate: an elliptic endorsement key, which a verifier may have on a list.
static void test_bare(void)
{
	struct tpm_attester a;
	struct fault f = {""};
	struct tpm_public ak = {.key = NULL};
	uint8_t *der;
	size_t len;
	int err = tpm_attester_open(&a, where, &f);
	if (!ok("a TPM without certificates", !err, "%d %s", err, f.text))
		return;
	err = tpm_attester_endorsement(&a, &der, &len, &f);
	ok("has none", err == -ENOENT && a.ek && a.ek_len, "%d %s", err, f.text);
	EVP_PKEY *ek = tpm_key_read(a.ek_public, a.ek_len, &f);
	err = tpm_public_read(a.ak_public, a.ak_len, &ak, &f);
	ok("an elliptic endorsement key", ek && !err && EVP_PKEY_is_a(ek, "EC"), "%s", f.text);
	if (ek && !err)
		test_challenge(&a, ek, &ak);
	EVP_PKEY_free(ek);
	tpm_public_free(&ak);
	tpm_attester_close(&a);
}

static void test_collect(void)
{
	static const uint8_t data[64] = {9, 8, 7};
	const struct collect_places places = {.tpm = where};
	char provider[64] = "";
	struct fault f = {""};
	struct bundle b;
	struct attest_result out;
	bundle_init(&b);
	int err = collect_evidence(COLLECT_TPM, &places, data, -1, &b, provider, &f);
	ok("evidence collected from a TPM", !err && !strcmp(provider, "tpm"), "%d %s", err, f.text);
	struct evidence_input in = {.bundle = &b, .nonce = data, .nonce_len = COLLECT_NONCE_BYTES, .now = time(NULL)};
	attest_result_init(&out);
	if (!err)
		evidence_verify(&in, &out);
	ok("all but its key is proved", !strcmp(failed_ids(&out), "tpm-key "), "%s", failures(&out));
	attest_result_free(&out);
	bundle_free(&b);
	const struct collect_places none = {.tpm = "unix:/nowhere/socket"};
	bundle_init(&b);
	err = collect_evidence(COLLECT_TPM, &none, data, -1, &b, provider, &f);
	ok("no TPM there", err < 0 && strstr(f.text, "/nowhere/socket"), "%d %s", err, f.text);
	bundle_free(&b);
}

// What the owner of a TPM does to it, in bytes: the command's length is filled in. 0, or what the TPM answers; `handle` gets the first handle.
static uint32_t owner(struct tpm *t, const uint8_t *command, size_t n, uint32_t *handle)
{
	uint8_t q[TPM_MAX], answer[TPM_MAX];
	size_t len = 0;
	uint32_t rc = 0x922;
	memcpy(q, command, n);
	q[4] = (uint8_t)(n >> 8);
	q[5] = (uint8_t)n;
	for (int i = 0; i < 100 && rc == 0x922; i++) {
		if (t->transmit(t, q, n, answer, &len, NULL) || len < 10)
			return 0xffffffff;
		rc = (uint32_t)answer[6] << 24 | (uint32_t)answer[7] << 16 | (uint32_t)answer[8] << 8 | answer[9];
	}
	if (handle && len >= 14)
		*handle = (uint32_t)answer[10] << 24 | (uint32_t)answer[11] << 16 | (uint32_t)answer[12] << 8 | answer[13];
	return rc;
}

#define BE32(v) (uint8_t)((v) >> 24), (uint8_t)((v) >> 16), (uint8_t)((v) >> 8), (uint8_t)(v)
#define PASSWORD 0, 0, 0, 9, 0x40, 0, 0, 9, 0, 0, 0, 0, 0
#define OWNER 0x40, 0, 0, 1

// A TPM as Azure's paravisor leaves it: a report in an NV index, and a persistent key (0x81000003).
static void test_azure(void)
{
	enum { REPORT = 1500, PIECE = 500 };
	static const uint8_t define[] = {0x80, 2, 0, 0, 0, 0, 0, 0, 1, 0x2a, OWNER, PASSWORD, 0, 0, 0, 14, 0x01, 0x40, 0, 1, 0, 0xb,
					 BE32(1u << 1 | 1u << 17 | 1u << 25), 0, 0, REPORT >> 8, REPORT & 0xff};
	static const uint8_t key[] = {0x80, 2, 0, 0, 0, 0, 0, 0, 1, 0x31, OWNER, PASSWORD, 0, 4, 0, 0, 0, 0, 0, 24, 0, 0x23, 0, 0xb, 0, 5, 0, 0x72,
				      0, 0, 0, 0x10, 0, 0x18, 0, 0xb, 0, 3, 0, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
	static const uint8_t data[64] = {3, 1};
	uint8_t report[REPORT] = "HCLA", write[64 + PIECE];
	const struct collect_places places = {.tpm = where};
	char provider[64] = "";
	struct fault f = {""};
	struct attest_result out;
	struct bundle b;
	struct tpm t;
	uint32_t handle = 0, rc = 1;
	size_t len;
	for (size_t i = 4; i < sizeof report; i++)
		report[i] = (uint8_t)(i * 7);
	if (!tpm_open(&t, where, &f)) {
		rc = owner(&t, define, sizeof define, NULL);
		for (size_t at = 0; !rc && at < REPORT; at += PIECE) {
			const uint8_t head[] = {0x80, 2, 0, 0, 0, 0, 0, 0, 1, 0x37, OWNER, 0x01, 0x40, 0, 1, PASSWORD, PIECE >> 8, PIECE & 0xff};
			uint8_t *p = mempcpy(mempcpy(write, head, sizeof head), report + at, PIECE);
			*p++ = (uint8_t)(at >> 8);
			*p++ = (uint8_t)at;
			rc = owner(&t, write, (size_t)(p - write), NULL);
		}
		if (!rc)
			rc = owner(&t, key, sizeof key, &handle);
		const uint8_t keep[] = {0x80, 2, 0, 0, 0, 0, 0, 0, 1, 0x20, OWNER, BE32(handle), PASSWORD, 0x81, 0, 0, 3};
		if (!rc)
			rc = owner(&t, keep, sizeof keep, NULL);
		const uint8_t flush[] = {0x80, 1, 0, 0, 0, 0, 0, 0, 1, 0x65, BE32(handle)};
		if (!rc)
			rc = owner(&t, flush, sizeof flush, NULL);
		tpm_close(&t);
	}
	if (!ok("a TPM like Azure's", !rc, "code 0x%x", rc))
		return;
	bundle_init(&b);
	int err = collect_evidence(COLLECT_ANY, &places, data, -1, &b, provider, &f);
	const uint8_t *got = bundle_bytes(&b, "evidence", &len);
	ok("the paravisor's report with the TPM's quote", !err && !strcmp(provider, "azure-vtpm") && got && len == REPORT && !memcmp(got, report, REPORT),
	   "%d %s %s", err, f.text, provider);
	// By the same key, alone: the quote is good; that a TEE vouches for the key is another's to prove (hcl.c).
	const struct evidence_input in = {.bundle = &b, .nonce = data, .nonce_len = COLLECT_NONCE_BYTES, .now = time(NULL)};
	json_object_del(b.json, "evidence");
	for (unsigned int i = 0; i < b.count; i++) {
		if (!strcmp(b.blobs[i].name, "evidence")) {
			free(b.blobs[i].bytes);
			b.blobs[i] = b.blobs[--b.count];
		}
	}
	attest_result_init(&out);
	evidence_verify(&in, &out);
	ok("quoted by its persistent key", !strcmp(failed_ids(&out), "tpm-key "), "%s", failures(&out));
	attest_result_free(&out);
	bundle_free(&b);
}

int main(void)
{
	if (!swtpm_begin()) {
		lacks("TPMs", "/usr/bin/swtpm_setup", "it makes none");
	} else if (!swtpm_start("state")) {
		ok("swtpm", false, "it does not start");
	} else {
		test_made();
		test_collect();
		swtpm_stop();
		if (ok("another TPM", swtpm_start("bare"), "it does not start"))
			test_bare();
		swtpm_stop();
		if (ok("a third TPM", swtpm_start("azure"), "it does not start"))
			test_azure();
	}
	swtpm_end();
	return ok_failed != 0;
}

// SPDX-License-Identifier: Apache-2.0
// RA-TLS certificates: those of four other implementations, in place; ours, made over simulated hardware; and each way to cheat with them.
#include "ratls/certificate.h"

#include <errno.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "attest/cert.h"
#include "attest/simtee.h"
#include "lib/jwe.h"
#include "tests/attest/make/cca.h"
#include "tests/attest/ok.h"
#include "tests/attest/vectors.h"
#include "tests/folder.h"

static char tee_dir[64];
static const uint8_t measurement[48] = "ratls";
static X509 *root;

static X509 *read_vector(const char *name)
{
	char path[128];
	size_t len;
	struct cert_list l = {.count = 0};
	snprintf(path, sizeof path, "ratls/%s.pem", name);
	char *pem = vector_read(path, &len);
	if (!pem)
		return NULL;
	if (cert_list_add_pem(&l, pem, len, NULL))
		abort();
	free(pem);
	return l.certs[0];
}

static void judge(X509 *cert, time_t now, const uint8_t *nonce, size_t nonce_len, struct attest_result *r)
{
	struct ratls_cert ratls;
	struct bundle b;
	uint8_t data[64];
	if (bundle_init(&b) || attest_result_init(r))
		abort();
	bool begun = ratls_cert_begin(cert, now, &ratls, &b, data, r);
	if (begun && nonce)
		ratls_cert_check_nonce(&ratls, nonce, nonce_len, r);
	const struct evidence_input in = {.bundle = &b, .report_data = begun ? data : NULL, .simulated_roots = &root, .simulated_root_count = 1, .now = now};
	evidence_verify(&in, r);
	bundle_free(&b);
}

// What it must yield: an SGX quote that is genuine and bound to the key, of an enclave that its host may debug; no collateral is in it.
static void test_vectors(void)
{
	static const struct {
		const char *name, *form;
		time_t at;
	} all[] = {
		{"gramine-cert", "interoperable", 1700000000}, {"rats-tls-cert", "interoperable", 1700000000}, {"intel-sgxsdk-cert", "interoperable", 1714000000},
		{"rats-rs-endorsed", "interoperable", 1713200010},
	};
	for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
		char label[96];
		struct attest_result r;
		X509 *cert = read_vector(all[i].name);
		snprintf(label, sizeof label, "ratls: %s", all[i].name);
		if (!cert) {
			skip(label, "no vectors");
			continue;
		}
		judge(cert, all[i].at, NULL, 0, &r);
		const char *failed = failed_ids(&r);
		bool debug = !strcmp(claim_of(&r, "dbgstat"), "enabled");
		ok(label, !strcmp(failed, "revocation tcb-info qe-identity platform qe ") && !strcmp(claim_of(&r, "tee"), "sgx") && debug &&
			attest_find(&r, "report-data")->outcome == ATTEST_PASSED && attest_find(&r, "signature")->outcome == ATTEST_PASSED &&
			attest_find(&r, "certificate-key")->outcome == ATTEST_PASSED && !strcmp(claim_of(&r, "ratls.form"), all[i].form),
		   "%s, dbgstat %s", failed, claim_of(&r, "dbgstat"));
		attest_result_free(&r);
		X509_free(cert);
	}
}

static int ask_simulated(void *ctx, const uint8_t report_data[64], struct bundle *out, struct fault *f)
{
	uint8_t report[SIMTEE_REPORT_BYTES];
	char *pem;
	int err = simtee_report(tee_dir, measurement, report_data, ctx != NULL, report, &pem);
	if (err)
		return fault_set(f, err, "no evidence");
	bundle_put_bytes(out, "evidence", report, sizeof report);
	bundle_put_text(out, "certificates", pem, strlen(pem));
	free(pem);
	return 0;
}

static X509 *make(EVP_PKEY *key, const void *nonce, size_t nonce_len)
{
	struct fault f = {""};
	X509 *cert = NULL;
	const struct ratls_cert_request q = {.key = key, .subject = "enclave", .nonce = nonce, .nonce_len = nonce_len, .now = time(NULL), .seconds = 300,
					.evidence = ask_simulated};
	if (ratls_cert_make(&q, &cert, &f)) {
		printf("%s\n", f.text);
		abort();
	}
	return cert;
}

// The certificate with other content in its evidence extension (or none, or twice), signed by `key`.
static X509 *change(X509 *cert, EVP_PKEY *key, const char *oid, const void *bytes, size_t len, unsigned int times)
{
	X509 *c = X509_dup(cert);
	ASN1_OBJECT *dice = OBJ_txt2obj("2.23.133.5.4.9", 1), *o = OBJ_txt2obj(oid, 1);
	X509_EXTENSION_free(X509_delete_ext(c, X509_get_ext_by_OBJ(c, dice, -1)));
	ASN1_OCTET_STRING *s = ASN1_OCTET_STRING_new();
	ASN1_OCTET_STRING_set(s, bytes, (int)len);
	for (unsigned int i = 0; i < times; i++) {
		X509_EXTENSION *e = X509_EXTENSION_create_by_OBJ(NULL, o, 0, s);
		X509_add_ext(c, e, -1);
		X509_EXTENSION_free(e);
	}
	X509_set_pubkey(c, key);
	X509_sign(c, key, EVP_sha256());
	ASN1_OCTET_STRING_free(s);
	ASN1_OBJECT_free(dice);
	ASN1_OBJECT_free(o);
	return c;
}

static void expect(const char *label, X509 *cert, time_t now, const char *nonce, const char *failed)
{
	struct attest_result r;
	char name[96];
	snprintf(name, sizeof name, "ratls: %s", label);
	judge(cert, now, (const uint8_t *)nonce, nonce ? strlen(nonce) : 0, &r);
	const char *found = failed_ids(&r);
	ok(name, !strcmp(found, failed), "failed '%s', should '%s': %s", found, failed, failures(&r));
	attest_result_free(&r);
}

static void test_made(EVP_PKEY *key, const char *kind)
{
	char label[64];
	X509 *cert = make(key, "once", 4);
	snprintf(label, sizeof label, "ours, %s, is believed", kind);
	expect(label, cert, time(NULL), "once", "");
	X509_free(cert);
}

static void test_cheating(EVP_PKEY *key, EVP_PKEY *thief)
{
	static const char oid[] = "2.23.133.5.4.9";
	time_t now = time(NULL);
	X509 *cert = make(key, "once", 4), *c;
	struct ratls_cert r;
	struct fault f = {""};
	if (ratls_cert_read(cert, &r, &f))
		abort();
	ASN1_OBJECT *o = OBJ_txt2obj(oid, 1);
	ASN1_OCTET_STRING *s = X509_EXTENSION_get_data(X509_get_ext(cert, X509_get_ext_by_OBJ(cert, o, -1)));
	ASN1_OBJECT_free(o);
	size_t len = (size_t)ASN1_STRING_length(s);
	uint8_t *bytes = malloc(len + 16);
	memcpy(bytes, ASN1_STRING_get0_data(s), len);
	size_t evidence = (size_t)(r.evidence - ASN1_STRING_get0_data(s)), claims = (size_t)(r.claims - ASN1_STRING_get0_data(s));

	expect("another nonce", cert, now, "twice", "nonce ");
	expect("before it begins", cert, now - 3600, NULL, "certificate-validity ");
	expect("after its end", cert, now + 301, NULL, "certificate-validity ");
	c = make(key, NULL, 0);
	expect("no nonce where one is asked for", c, now, "once", "nonce ");
	X509_free(c);
	c = change(cert, thief, oid, bytes, len, 1);
	expect("evidence moved to another key", c, now, NULL, "certificate-key ");
	X509_free(c);
	c = X509_dup(cert);
	X509_set_pubkey(c, thief);
	expect("the key exchanged, the signature not", c, now, NULL, "certificate-signature certificate-key ");
	X509_free(c);
	c = change(cert, key, oid, bytes, len, 0);
	expect("no evidence", c, now, NULL, "certificate-evidence format ");
	X509_free(c);
	c = change(cert, key, oid, bytes, len, 2);
	expect("evidence twice", c, now, NULL, "certificate-evidence format ");
	X509_free(c);
	c = change(cert, key, oid, bytes, len - 1, 1);
	expect("evidence cut short", c, now, NULL, "certificate-evidence format ");
	X509_free(c);
	c = change(cert, key, oid, bytes, len + 1, 1);
	expect("bytes behind the claims", c, now, NULL, "certificate-evidence format ");
	X509_free(c);
	bytes[evidence + 0x90] ^= 1;	// the measurement
	c = change(cert, key, oid, bytes, len, 1);
	expect("the measurement changed", c, now, NULL, "signature ");
	X509_free(c);
	bytes[evidence + 0x90] ^= 1;
	bytes[len - 1] ^= 1;	// of the nonce
	c = change(cert, key, oid, bytes, len, 1);
	expect("the nonce changed", c, now, NULL, "report-data ");
	X509_free(c);
	bytes[len - 1] ^= 1;
	bytes[claims + 1 + 12 + 2 + 1] = 2;	// [alg, ...]
	c = change(cert, key, oid, bytes, len, 1);
	expect("a digest that nobody knows", c, now, NULL, "certificate-evidence format ");
	X509_free(c);
	bytes[claims + 1 + 12 + 2 + 1] = 1;
	bytes[4] ^= 2;	// SNP's tag becomes CSV's
	c = change(cert, key, oid, bytes, len, 1);
	expect("a tag of other hardware", c, now, NULL, "certificate-evidence ");
	X509_free(c);
	bytes[4] ^= 2;
	bytes[5] = 0x83;
	c = change(cert, key, oid, bytes, len, 1);
	expect("a list of three", c, now, NULL, "certificate-evidence format ");
	X509_free(c);
	// The older form is for quotes only.
	c = change(cert, key, "1.2.840.113741.1337.6", r.evidence, r.evidence_len, 1);
	expect("an older certificate with a report", c, now, NULL, "certificate-evidence report-data ");
	X509_free(c);
	free(bytes);
	X509_free(cert);
}

// A key that is the point at infinity: for some arithmetic any signature by it would do.
static void test_infinity(EVP_PKEY *key)
{
	X509 *made = make(key, NULL, 0), *bad = X509_dup(made), *c;
	uint8_t *point = OPENSSL_zalloc(1), *der = NULL;
	struct ratls_cert r;
	struct attest_result result;
	struct fault f = {""};
	if (!X509_PUBKEY_set0_param(X509_get_X509_PUBKEY(bad), OBJ_nid2obj(NID_X9_62_id_ecPublicKey), V_ASN1_OBJECT,
				    OBJ_nid2obj(NID_X9_62_prime256v1), point, 1) ||
	    i2d_re_X509_tbs(bad, &der) <= 0)
		abort();
	OPENSSL_free(der);
	der = NULL;
	int len = i2d_X509(bad, &der);
	const uint8_t *p = der;
	c = d2i_X509(NULL, &p, len);
	int err = c ? ratls_cert_read(c, &r, &f) : -EBADMSG;
	if (!err) {
		judge(c, time(NULL), NULL, 0, &result);
		ok("ratls: a key at infinity", strstr(failed_ids(&result), "certificate-signature certificate-key"), "%s", failed_ids(&result));
		attest_result_free(&result);
	} else {
		ok("ratls: a key at infinity", err == -EBADMSG, "%d %s", err, f.text);
	}
	OPENSSL_free(der);
	X509_free(made);
	X509_free(bad);
	X509_free(c);
}

// Gramine's certificate without the extension that all understand: the older one is read, and bound.
static void test_legacy(void)
{
	X509 *cert = read_vector("gramine-cert");
	struct attest_result r;
	if (!cert) {
		skip("ratls: the older form", "no vectors");
		return;
	}
	ASN1_OBJECT *dice = OBJ_txt2obj("2.23.133.5.4.9", 1);
	X509_EXTENSION_free(X509_delete_ext(cert, X509_get_ext_by_OBJ(cert, dice, -1)));
	ASN1_OBJECT_free(dice);
	judge(cert, 1700000000, NULL, 0, &r);
	ok("ratls: the older form", !strcmp(claim_of(&r, "ratls.form"), "gramine") && attest_find(&r, "report-data")->outcome == ATTEST_PASSED &&
	   attest_find(&r, "signature")->outcome == ATTEST_PASSED, "%s", failures(&r));
	attest_result_free(&r);
	X509_free(cert);
}

// Endorsements: integers of any width, empty members, C strings; a list that is too short is refused.
static void test_endorsements(void)
{
	static const uint8_t good[] = "\xd9\xea\x60\x88\x1a\x00\x00\x00\x03\x42{}\x41" "A\x41" "B\x40\x41" "C\x42{\x00\x40";
	struct ratls_cert r = {.evidence = (const uint8_t *)"e", .evidence_len = 1, .endorsements = good, .endorsements_len = sizeof good - 1};
	struct bundle b;
	struct fault f = {""};
	size_t len, n;
	bundle_init(&b);
	bool read = !ratls_cert_bundle(&r, &b, &f);
	const char *chain = bundle_text(&b, "pck_crl_issuer_chain", &n), *qe = bundle_text(&b, "qe_identity", &len);
	ok("ratls: endorsements", read && chain && n == 1 && *chain == 'C' && qe && len == 1 && !bundle_text(&b, "root_ca_crl", &n), "%s", f.text);
	bundle_free(&b);
	for (size_t cut = 0; cut + 2 < sizeof good - 1; cut++) {
		bundle_init(&b);
		r.endorsements_len = cut;
		if (r.endorsements_len && !ratls_cert_bundle(&r, &b, &f) && cut < sizeof good - 2)
			ok("ratls: endorsements cut short", false, "at %zu", cut);
		bundle_free(&b);
	}
}

// Collateral that is sent along comes out as it went in.
static void test_endorsed(EVP_PKEY *key)
{
	struct ratls_cert_request q = {.key = key, .subject = "enclave", .now = time(NULL), .seconds = 300, .evidence = ask_simulated};
	struct bundle in, out;
	struct ratls_cert r;
	struct fault f = {""};
	X509 *cert = NULL;
	size_t tcb_len = 0, crl_len = 0, n;
	if (bundle_init(&in) || bundle_init(&out) || bundle_put_text(&in, "tcb_info", "{\"a\":1}", 7) || bundle_put_bytes(&in, "pck_crl", "\x30\x00\x01", 3))
		abort();
	q.endorsements = &in;
	bool made = !ratls_cert_make(&q, &cert, &f) && !ratls_cert_read(cert, &r, &f) && r.endorsements && !ratls_cert_bundle(&r, &out, &f);
	const char *tcb = bundle_text(&out, "tcb_info", &tcb_len);
	const uint8_t *crl = bundle_bytes(&out, "pck_crl", &crl_len);
	ok("ratls: endorsements are sent along", made && tcb && tcb_len == 7 && !memcmp(tcb, "{\"a\":1}", 7) && crl && crl_len == 3 && !memcmp(crl, "\x30\x00\x01", 3) &&
	   !bundle_text(&out, "qe_identity", &n), "%s", f.text);
	X509_free(cert);
	bundle_free(&in);
	bundle_free(&out);
}

static int ask_cca(void *ctx, const uint8_t report_data[64], struct bundle *out, struct fault *f)
{
	static const struct cca_spec spec = {.lifecycle = 0x3003, .challenge_len = 64, .rak_hash = "sha-256"};
	uint8_t token[4096];
	(void)f;
	return bundle_put_bytes(out, "evidence", token, cca_make(&spec, ctx, report_data, token));
}

// Hardware that has no tag of its own: as a bundle, bound all the same.
static void test_bundled(EVP_PKEY *key)
{
	struct cca_keys keys = {EVP_EC_gen("P-384"), EVP_EC_gen("P-384"), EVP_EC_gen("P-256"), EVP_EC_gen("P-384")};
	struct ratls_cert_request q = {.key = key, .subject = "realm", .now = time(NULL), .seconds = 300, .evidence = ask_cca, .ctx = &keys};
	struct attest_result r;
	struct fault f = {""};
	X509 *cert = NULL;
	if (ratls_cert_make(&q, &cert, &f)) {
		printf("%s\n", f.text);
		abort();
	}
	judge(cert, time(NULL), NULL, 0, &r);
	const struct attest_check *bound = attest_find(&r, "report-data"), *of_key = attest_find(&r, "certificate-key");
	// Nobody endorses these keys: that, and nothing else, is wrong.
	ok("ratls: hardware without a tag", bound && bound->outcome == ATTEST_PASSED && of_key && of_key->outcome == ATTEST_PASSED &&
	   attest_find(&r, "certificate-evidence")->outcome == ATTEST_PASSED && !strcmp(failed_ids(&r), "platform-signature "), "%s", failed_ids(&r));
	attest_result_free(&r);
	X509_free(cert);
	EVP_PKEY_free(keys.cpak);
	EVP_PKEY_free(keys.rak);
	EVP_PKEY_free(keys.rak256);
	EVP_PKEY_free(keys.other);
}

int main(void)
{
	char path[128], *pem;
	size_t len;
	struct cert_list l = {.count = 0};
	if (!test_folder(tee_dir, "ratls") || simtee_root_path(tee_dir, path, sizeof path) || file_read(path, 1 << 20, &pem, &len, NULL) ||
	    cert_list_add_pem(&l, pem, len, NULL))
		return 1;
	free(pem);
	root = l.certs[0];
	test_vectors();
	EVP_PKEY *key = jwk_new_key("P-256"), *other = jwk_new_key("P-384"), *rsa = EVP_RSA_gen(2048), *ed = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	test_made(key, "P-256");
	test_made(other, "P-384");
	test_made(rsa, "RSA");
	test_made(ed, "Ed25519");
	test_cheating(key, other);
	test_legacy();
	test_infinity(key);
	test_endorsements();
	test_endorsed(key);
	test_bundled(key);
	EVP_PKEY_free(key);
	EVP_PKEY_free(other);
	EVP_PKEY_free(rsa);
	EVP_PKEY_free(ed);
	cert_list_free(&l);
	return ok_failed != 0;
}

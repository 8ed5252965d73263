// SPDX-License-Identifier: Apache-2.0
// A machine with a TPM (swtpm) attests to a broker in two steps: its endorsement key's certificate buys a challenge, which only that TPM opens, for its
// own attestation key, in that session.
#include <openssl/pem.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "attest/binding.h"
#include "attest/tpm.h"
#include "attest/tpm_collect.h"
#include "broker/audit_client.h"
#include "lib/encode.h"
#include "lib/file.h"
#include "lib/jwe.h"
#include "tests/attest/make/pki.h"
#include "tests/attest/make/swtpm.h"
#include "tests/broker/harness.h"

static struct run b;
static struct tpm_attester tpm;
static char *chain;		// the endorsement key's certificates
static EVP_PKEY *key;
static char cookie[128], nonce[64], answer[65536];
static int status;

static json_t *b64(const void *bytes, size_t len)
{
	char text[BASE64_SIZE(8192)];
	base64_encode(text, bytes, len, BASE64_STD);
	return json_string(text);
}

// POST /auth with extra-params.tpm (taken over); the answer's own. Fills cookie and nonce.
static json_t *auth(json_t *ask)
{
	struct http_reply r;
	json_t *o = json_pack("{s:s, s:s, s:{s:o*}}", "version", "0.4.0", "tee", "tpm", "extra-params", "tpm", ask);
	char *body = json_dumps(o, 0), *set;
	json_decref(o);
	o = NULL;
	status = 0;
	if (!request(&b, "POST", "/kbs/v0/auth", "", body, &r)) {
		status = r.status;
		snprintf(answer, sizeof answer, "%s", r.body);
		o = json_loads(r.body, 0, NULL);
		set = r.cookie;
		snprintf(cookie, sizeof cookie, "Cookie: %.*s\r\n", (int)strcspn(set, ";"), set);
		snprintf(nonce, sizeof nonce, "%s", json_string_value(json_object_get(o, "nonce")) ?: "");
		http_reply_free(&r);
	}
	free(body);
	json_t *extra = json_incref(json_object_get(json_object_get(o, "extra-params"), "tpm"));
	json_decref(o);
	return extra;
}

static json_t *honest_ask(void)
{
	return json_pack("{s:o, s:s}", "ak_public", b64(tpm.ak_public, tpm.ak_len), "ek_certificates", chain);
}

static bool read_challenge(const json_t *o, struct tpm_challenge *c)
{
	const char *blob = json_string_value(json_object_get(o, "credential_blob")), *secret = json_string_value(json_object_get(o, "encrypted_secret"));
	ssize_t n = blob ? base64_decode(c->blob, sizeof c->blob, blob, strlen(blob), BASE64_STD) : -1;
	ssize_t m = secret ? base64_decode(c->secret, sizeof c->secret, secret, strlen(secret), BASE64_STD) : -1;
	c->blob_len = n > 0 ? (size_t)n : 0;
	c->secret_len = m > 0 ? (size_t)m : 0;
	return n > 0 && m > 0;
}

// POST /attest: a quote for this session with that credential (NULL: none).
static void attest(const uint8_t *credential, const char *ek)
{
	uint8_t bound[64];
	struct bundle quote;
	struct http_reply r;
	json_t *jwk = jwk_from_key(key), *pcrs = json_array();
	char name[8], *body;
	bundle_init(&quote);
	status = 0;
	*answer = '\0';
	if (attest_report_data(nonce, jwk, "", bound) || tpm_attester_quote(&tpm, 0xff, bound, 32, &quote, NULL))
		return;
	for (int i = 0; i < 8; i++) {
		snprintf(name, sizeof name, "%d", i);
		json_array_append(pcrs, json_object_get(json_object_get(quote.json, "tpm_pcrs"), name));
	}
	json_t *primary = json_pack("{s:O, s:{s:O, s:O, s:o}}", "ak_public", json_object_get(quote.json, "tpm_key"), "tpm_quote", "signature",
				    json_object_get(quote.json, "tpm_signature"), "message", json_object_get(quote.json, "tpm_quote"), "pcrs", pcrs);
	if (credential)
		json_object_set_new(primary, "activation", json_pack("{s:o, s:s}", "credential", b64(credential, TPM_CREDENTIAL_BYTES), "ek_digest", ek));
	json_t *o = json_pack("{s:{s:s, s:o}, s:{s:o, s:s}}", "runtime-data", "nonce", nonce, "tee-pubkey", jwk, "tee-evidence", "primary_evidence",
			      primary, "additional_evidence", "");
	body = json_dumps(o, 0);
	if (!request(&b, "POST", "/kbs/v0/attest", cookie, body, &r)) {
		status = r.status;
		snprintf(answer, sizeof answer, "%s", r.body);
		http_reply_free(&r);
	}
	free(body);
	json_decref(o);
	bundle_free(&quote);
}

static void test_honest(void)
{
	uint8_t credential[TPM_CREDENTIAL_BYTES], old[TPM_CREDENTIAL_BYTES];
	struct tpm_challenge c;
	struct fault f = {""};
	json_t *extra = auth(honest_ask());
	char ek[65];
	snprintf(ek, sizeof ek, "%s", json_string_value(json_object_get(extra, "ek_digest")) ?: "");
	ok("a challenge", status == 200 && read_challenge(extra, &c), "%d %s", status, answer);
	json_decref(extra);
	int err = tpm_attester_activate(&tpm, &c, credential, &f);
	ok("the TPM opens it", !err, "%d %s", err, f.text);
	attest(credential, ek);
	ok("accepted by the maker's word", status == 200, "%d %s", status, answer);
	memcpy(old, credential, sizeof old);
	json_decref(auth(honest_ask()));
	attest(old, ek);
	ok("a credential of another session", status == 403 && strstr(answer, "tpm-activation") && strstr(answer, "tpm-key"), "%d %s", status, answer);
	extra = auth(honest_ask());
	err = read_challenge(extra, &c) ? tpm_attester_activate(&tpm, &c, credential, &f) : -1;
	json_decref(extra);
	ek[0] = ek[0] == 'a' ? 'b' : 'a';
	attest(credential, ek);
	ok("a credential with another endorsement key's name", !err && status == 403 && strstr(answer, "tpm-activation"), "%d %s", status, answer);
	json_decref(auth(NULL));
	attest(NULL, NULL);
	ok("without a challenge the key is nobody's", status == 403 && strstr(answer, "tpm-key") && !strstr(answer, "tpm-activation"), "%d %s", status,
	   answer);
}

static int count_endorsement(void *ctx, uint64_t index, const char *line, size_t len)
{
	(void)index;
	*(unsigned int *)ctx += memmem(line, len, "\"tpm-endorsement\"", 17) != NULL;
	return 0;
}

// Records of refused endorsement keys.
static unsigned int refusals_on_record(void)
{
	struct broker_client *c = owner(&b);
	struct fault f = {""};
	struct note head = {.head = {.size = 0}};
	unsigned int n = 0;
	int err = !c || audit_client_head(c, "", &head, &f) ? -1 : audit_client_lines(c, 0, head.head.size, count_endorsement, &n, &f);
	ok("the log is read", !err, "%s", f.text);
	broker_client_close(c);
	return n;
}

static void test_refused(void)
{
	json_decref(auth(json_pack("{s:o, s:o}", "ak_public", b64(tpm.ak_public, tpm.ak_len), "ek_public", b64(tpm.ek_public, tpm.ek_len))));
	ok("an endorsement key without a certificate", status == 403 && strstr(answer, "EndorsementRefused"), "%d %s", status, answer);
	json_decref(auth(json_pack("{s:o, s:s}", "ak_public", b64(tpm.ek_public, tpm.ek_len), "ek_certificates", chain)));
	ok("a key that decrypts is no attestation key", status == 403 && strstr(answer, "EndorsementRefused"), "%d %s", status, answer);
	json_decref(auth(json_pack("{s:o, s:s}", "ak_public", b64("x", 1), "ek_certificates", chain)));
	ok("no key", status == 400, "%d %s", status, answer);
	json_decref(auth(json_pack("{s:o, s:s}", "ak_public", b64(tpm.ak_public, tpm.ak_len), "ek_certificates", "-----BEGIN")));
	ok("no certificates", status == 400, "%d %s", status, answer);
	json_decref(auth(json_string("?")));
	ok("no object", status == 400, "%d %s", status, answer);
	char *self = swtpm_certificate("issuercert.pem");
	json_decref(auth(json_pack("{s:o, s:s}", "ak_public", b64(tpm.ak_public, tpm.ak_len), "ek_certificates", self)));
	ok("an authority's certificate", status == 403, "%d %s", status, answer);
	free(self);
	unsigned int n = refusals_on_record();
	ok("the three endorsements that were refused are in the audit log", n == 3, "%u", n);
}

static void test_listed(const char *policy)
{
	char text[256], digest[65];
	EVP_PKEY *ek = tpm_key_read(tpm.ek_public, tpm.ek_len, NULL);
	tpm_key_digest(ek, digest);
	EVP_PKEY_free(ek);
	for (int right = 1; right >= 0; right--) {
		run_stop(&b);
		digest[7] = right ? digest[7] : digest[7] == '0' ? '1' : '0';
		snprintf(text, sizeof text, "tees: [tpm]\ntpm_endorsement_keys: ['%s']\n", digest);
		file_write(policy, text, strlen(text), 0600, false, NULL);
		if (!ok("the broker starts with a list", run_start(&b, "--policy", policy), "no"))
			return;
		json_decref(auth(json_pack("{s:o, s:o}", "ak_public", b64(tpm.ak_public, tpm.ak_len), "ek_public", b64(tpm.ek_public, tpm.ek_len))));
		ok(right ? "an endorsement key on the list" : "one that is not", status == (right ? 200 : 403), "%d %s", status, answer);
	}
}

// The maker's lists: of its root, which names nothing, and of its intermediate.
static void write_lists(const char *path, X509 *revoked)
{
	char *root = swtpm_certificate("swtpm-localca-rootca-cert.pem"), *issuer = swtpm_certificate("issuercert.pem");
	struct cert_list certs = {.count = 0};
	cert_list_add_pem(&certs, root, strlen(root), NULL);
	cert_list_add_pem(&certs, issuer, strlen(issuer), NULL);
	struct pki of_root = {certs.certs[0], swtpm_key("swtpm-localca-rootca-privkey.pem")}, of_issuer = {certs.certs[1], swtpm_key("signkey.pem")};
	time_t now = time(NULL);
	X509_CRL *lists[] = {pki_crl(&of_root, NULL, now - 100, now + 10000), pki_crl(&of_issuer, revoked, now - 100, now + 10000)};
	FILE *f = fopen(path, "w");
	for (int i = 0; i < 2; i++) {
		PEM_write_X509_CRL(f, lists[i]);
		X509_CRL_free(lists[i]);
	}
	fclose(f);
	EVP_PKEY_free(of_root.key);
	EVP_PKEY_free(of_issuer.key);
	cert_list_free(&certs);
	free(root);
	free(issuer);
}

// The maker says that this TPM's certificate is not to be believed any more, while the broker runs.
static void test_revoked(const char *roots, X509 *leaf)
{
	char path[160], list[160], text[200];
	snprintf(path, sizeof path, "%s/broker.yaml", b.dir);
	snprintf(list, sizeof list, "%s/tpm.crl", world);
	int n = snprintf(text, sizeof text, "tpm_crl: %s\n", list);
	file_write(path, text, (size_t)n, 0600, false, NULL);
	write_lists(list, NULL);
	ok("a broker with the maker's lists", run_start(&b, "--tpm-roots", roots), "no");
	json_decref(auth(honest_ask()));
	ok("which do not name this TPM", status == 200, "%d %s", status, answer);
	write_lists(list, leaf);
	size_t from = run_log_size(&b);
	kill(b.pid, SIGHUP);
	ok("they are read anew", run_said(&b, from, "were read anew"), "no");
	json_decref(auth(honest_ask()));
	ok("and name it", status == 403 && strstr(answer, "EndorsementRefused") && strstr(answer, "is revoked"), "%d %s", status, answer);
	run_stop(&b);
	unlink(path);
}

int main(void)
{
	char roots[160], policy[160], *pem;
	struct fault f = {""};
	uint8_t *der = NULL;
	size_t len = 0;
	world_begin("tpm");
	if (!swtpm_begin() || !swtpm_start("state")) {
		lacks("TPMs", "/usr/bin/swtpm_setup", "it makes none");
		swtpm_end();
		return world_end();
	}
	snprintf(roots, sizeof roots, "%s/tpm-roots.pem", world);
	snprintf(policy, sizeof policy, "%s/policy.yaml", world);
	pem = swtpm_certificate("swtpm-localca-rootca-cert.pem");
	file_write(roots, pem, strlen(pem), 0600, false, NULL);
	free(pem);
	key = EVP_EC_gen("P-256");
	int err = tpm_attester_open(&tpm, swtpm_where, &f);
	if (!err)
		err = tpm_attester_endorsement(&tpm, &der, &len, &f);
	if (ok("a TPM with a certificate", !err, "%d %s", err, f.text)) {
		const uint8_t *p = der;
		X509 *leaf = d2i_X509(NULL, &p, (long)len);
		char *issuer = swtpm_certificate("issuercert.pem");
		BIO *bio = BIO_new(BIO_s_mem());
		PEM_write_bio_X509(bio, leaf);
		BIO_puts(bio, issuer);
		char *text;
		long n = BIO_get_mem_data(bio, &text);
		chain = strndup(text, (size_t)n);
		BIO_free(bio);
		free(issuer);
		if (run_prepare(&b, "state") && ok("the broker starts", run_start(&b, "--tpm-roots", roots), "no")) {
			test_honest();
			test_refused();
			test_listed(policy);
			run_stop(&b);
			test_revoked(roots, leaf);
		}
		X509_free(leaf);
		tpm_attester_close(&tpm);
	}
	free(der);
	free(chain);
	EVP_PKEY_free(key);
	run_free(&b);
	swtpm_end();
	return world_end();
}

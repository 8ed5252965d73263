// SPDX-License-Identifier: Apache-2.0
// See ratls.h. Runs in connection threads; no locks of its own.
#include "broker/ratls.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "attest/cert.h"
#include "broker/kbs.h"
#include "broker/limits.h"
#include "lib/encode.h"
#include "lib/jwe.h"
#include "lib/jwk.h"
#include "ratls/certificate.h"

// What the protocol calls hardware whose evidence such a certificate can carry.
static const struct coco_tee *tee_of(const struct ratls_cert *r)
{
	switch (evidence_kind_of(r->evidence, r->evidence_len)) {
	case EVIDENCE_SGX: return coco_tee_find("sgx");
	case EVIDENCE_TDX: return coco_tee_find("tdx");
	case EVIDENCE_SNP: return coco_tee_find("snp");
	case EVIDENCE_CSV: return coco_tee_find("csv");
	default: return NULL;
	}
}

// Secrets will be encrypted to the certificate's key.
static void check_key(X509 *cert, struct attest_result *result)
{
	char thumbprint[JWK_THUMBPRINT];
	json_t *jwk = jwk_from_key(X509_get0_pubkey(cert));
	struct attest_check *c = attest_check_add(result, "certificate-key-kind", jwk != NULL);
	attest_expected(c, "a key that secrets can be encrypted to: EC on P-256, P-384 or P-521, RSA");
	attest_found(c, "%s", jwk ? "one" : "another");
	if (jwk && jwk_thumbprint(jwk, thumbprint))
		json_object_set_new(result->claims, "key_thumbprint", json_string(thumbprint));
	json_decref(jwk);
}

// The client's own word, which is what the name of the setting promises: no more.
static void check_age(X509 *cert, unsigned int max_s, time_t now, struct attest_result *result)
{
	long long age = (long long)now - cert_time(X509_get0_notBefore(cert));
	struct attest_check *c = attest_check_add(result, "certificate-age", age <= max_s);
	attest_expected(c, "at most %u s, by its own dates", max_s);
	attest_found(c, "%lld s", age);
}

// nonce NULL: by age. 0: accepted, and in the log; else it is answered.
static int verify(struct broker *b, const char *nonce, const struct coco_tee *said, const struct http_request *q, struct http_response *r,
		  json_t **claims)
{
	struct attest_result result;
	struct bundle evidence;
	struct ratls_cert ratls;
	uint8_t data[64], bytes[SESSION_NONCE_BYTES];
	time_t now = time(NULL);
	if (attest_result_init(&result) || bundle_init(&evidence)) {
		attest_result_free(&result);
		broker_problem(r, 503, "Internal", "out of memory", NULL);
		return -ENOMEM;
	}
	if (ratls_cert_begin(q->certificate, now, &ratls, &evidence, data, &result)) {
		const struct coco_tee *tee = said ? said : tee_of(&ratls);
		if (nonce) {
			ssize_t n = base64_decode(bytes, sizeof bytes, nonce, strlen(nonce), BASE64_STD);
			ratls_cert_check_nonce(&ratls, bytes, n > 0 ? (size_t)n : 0, &result);
		} else {
			check_age(q->certificate, b->ratls_max_age_s, now, &result);
		}
		check_key(q->certificate, &result);
		if (tee) {
			verifier_verify(&b->verifier, tee, &evidence, data, NULL, now, &result);
		} else {	// bundles and tokens, which say for themselves what they are: there is no session that said it before
			struct attest_check *c = attest_check_add(&result, "evidence-kind", false);
			attest_expected(c, "evidence of SGX, TDX, SNP or CSV, where no session has begun");
			attest_found(c, "another kind");
		}
	}
	json_object_del(json_object_get(result.claims, "event_log"), "events");
	int err = broker_decide(b, &(struct broker_wish){.event = "attest"}, &result, r);
	if (!err)
		*claims = json_incref(result.claims);
	attest_result_free(&result);
	bundle_free(&evidence);
	return err;
}

int ratls_ask(struct broker *b, const char *session, const struct http_request *q, struct http_response *r, json_t **claims, EVP_PKEY **key)
{
	char nonce[SESSION_NONCE_TEXT];
	const struct coco_tee *tee;
	EVP_PKEY *own = X509_get0_pubkey(q->certificate);
	struct fault f = {""};
	if (broker_told_to_wait(r, limits_ask(b->limits, r->peer)))	// before the nonce is spent
		return -EAGAIN;
	int err = session_take_nonce(b->sessions, session, nonce, &tee, &f);
	if (err && err != -EALREADY && err != -ENOENT) {
		broker_fault(r, err, &f);
		return err;
	}
	if (err) {
		broker_problem(r, 401, err == -EALREADY ? "NonceUsed" : "SessionUnknown",
			       "this session's nonce was used already, or the session has expired: begin anew with POST /kbs/v0/auth", NULL);
		return err;
	}
	err = verify(b, nonce, tee, q, r, claims);
	if (err)
		return err;
	json_t *kept = json_deep_copy(*claims);	// the others are added to here
	EVP_PKEY_up_ref(own);
	err = kept ? session_attested(b->sessions, session, kept, NULL, own, &f) : -ENOMEM;
	json_decref(kept);
	if (err) {
		EVP_PKEY_free(own);
		json_decref(*claims);
		*claims = NULL;
		broker_problem(r, 503, "Internal", "the session ended meanwhile or memory is short", NULL);
		return err;
	}
	EVP_PKEY_up_ref(own);
	*key = own;
	return 0;
}

int ratls_ask_by_age(struct broker *b, const struct http_request *q, struct http_response *r, json_t **claims, EVP_PKEY **key)
{
	if (!b->ratls_max_age_s) {
		broker_problem(r, 401, "SessionMissing", "a certificate must carry this broker's nonce: POST /kbs/v0/auth, make the certificate with the nonce, "
			       "and send the cookie with it", NULL);
		return -EACCES;
	}
	if (broker_told_to_wait(r, limits_ask(b->limits, r->peer)))
		return -EAGAIN;
	int err = verify(b, NULL, NULL, q, r, claims);
	if (err)
		return err;
	*key = X509_get0_pubkey(q->certificate);
	EVP_PKEY_up_ref(*key);
	return 0;
}

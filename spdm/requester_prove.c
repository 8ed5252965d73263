// SPDX-License-Identifier: Apache-2.0
// What a responder must prove, in the order of the conversation: its certificate is whole, its key is there now, the evidence in the certificate is
// believed, measurements and session are signed by the same key, and new evidence belongs to the session. See requester.c.
#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <string.h>

#include "lib/encode.h"
#include "spdm/requester_state.h"
#include "spdm/responder_state.h"

#define CERTIFICATE_HEAD 8

static int failed(struct fault *f)
{
	return fault_set(f, -EIO, "OpenSSL fails");
}

// ---- certificates ----

int ask_digests(struct requester *r, struct buffer *out)
{
	head_write(requester_request(r), SPDM_1_2, SPDM_GET_DIGESTS, 0, 0);
	r->step = STEP_DIGESTS;
	return requester_ask(r, out);
}

static int ask_certificate(struct requester *r, struct buffer *out)
{
	uint32_t most = r->o.transfer_size - CERTIFICATE_HEAD, left = SPDM_MAX_CHAIN - (uint32_t)r->chain.len;
	const struct spdm_portion p = {.offset = (uint16_t)r->chain.len, .length = (uint16_t)(most < left ? most : left)};
	get_certificate_write(requester_request(r), &p);
	r->step = STEP_CERTIFICATE;
	return requester_ask(r, out);
}

static bool note(struct requester *r, const struct response *a)
{
	return transcript_add(&r->m, r->request.bytes, r->request.len) && transcript_add(&r->m, a->bytes, a->len);
}

int take_digests(struct requester *r, const struct response *a, struct buffer *out, struct fault *f)
{
	const uint8_t *digest;
	int err = digests_read(a->bytes, a->len, &r->suite, &digest, f);
	if (err)
		return err;
	memcpy(r->chain_hash, digest, r->suite.hash_len);
	if (!transcript_begin(&r->m, &r->suite, r->vca.bytes, r->vca.len) || !note(r, a))
		return failed(f);
	return ask_certificate(r, out);
}

static int ask_challenge(struct requester *r, struct buffer *out)
{
	const struct spdm_challenge c = {.summary_type = SUMMARY_ALL, .nonce = r->nonce};
	if (RAND_bytes(r->nonce, sizeof r->nonce) != 1)
		return -EIO;
	challenge_write(requester_request(r), &c);
	r->step = STEP_CHALLENGE;
	return requester_ask(r, out);
}

int take_certificate(struct requester *r, const struct response *a, struct buffer *out, struct fault *f)
{
	uint8_t digest[SUITE_MAX_HASH];
	struct fault why = {""};
	struct spdm_portion p;
	int err = certificate_read(a->bytes, a->len, &p, f);
	if (err)
		return err;
	size_t asked = r->request.bytes[6] | (size_t)r->request.bytes[7] << 8;
	if (p.slot || !p.length || p.length > asked || p.remainder + r->chain.len + p.length > SPDM_MAX_CHAIN)
		return fault_set(f, -EPROTO, "a part of the certificates that was not asked for");
	buffer_put(&r->chain, p.bytes, p.length);
	if (r->chain.failed)
		return -ENOMEM;
	if (!note(r, a))
		return failed(f);
	if (p.remainder)
		return ask_certificate(r, out);
	if (!suite_digest(&r->suite, r->chain.bytes, r->chain.len, digest))
		return failed(f);
	err = requester_check(r, "certificate-digest", !CRYPTO_memcmp(digest, r->chain_hash, r->suite.hash_len), f,
			      "the certificates are not those of DIGESTS");
	if (err)
		return err;
	err = chain_read(r->chain.bytes, r->chain.len, &r->suite, &r->leaf, &why);
	if (!err && suite_asym_of(X509_get0_pubkey(r->leaf)) != r->suite.asym)
		err = fault_set(&why, -EBADMSG, "the leaf's key is of another kind than the signatures that were agreed on");
	err = requester_check(r, "certificate-chain", !err, f, "%s", why.text);
	return err ? err : ask_challenge(r, out);
}

// ---- the key is there, and what its evidence says ----

static bool signed_by_leaf(struct requester *r, const struct transcript *t, const char *context, const uint8_t *signature)
{
	uint8_t digest[SUITE_MAX_HASH];
	return transcript_digest(t, digest) && suite_verify(&r->suite, X509_get0_pubkey(r->leaf), context, digest, signature);
}

static int check_summary(struct requester *r, const char *name, const uint8_t *summary, struct fault *f)
{
	uint8_t wanted[SUITE_MAX_HASH];
	if (!measured_summary(&r->measured, &r->suite, r->measurement_hash, SUMMARY_ALL, wanted))
		return failed(f);
	return requester_check(r, name, !CRYPTO_memcmp(wanted, summary, r->suite.hash_len), f,
			       "the summary of measurements is not that of what the evidence says");
}

static int ask_measurements(struct requester *r, enum step step, uint8_t operation, struct buffer *out)
{
	const struct spdm_get_measurements g = {.attributes = ATTRIBUTE_SIGNATURE | ATTRIBUTE_RAW, .operation = operation, .nonce = r->nonce};
	if (RAND_bytes(r->nonce, sizeof r->nonce) != 1)
		return -EIO;
	get_measurements_write(requester_request(r), &g);
	r->step = step;
	return requester_ask(r, out);
}

static int ask_key_exchange(struct requester *r, struct buffer *out)
{
	uint8_t random[SPDM_RANDOM], point[SUITE_MAX_POINT];
	struct buffer opaque = {.bytes = NULL};
	r->half = 0;
	r->dhe = suite_dhe_make(&r->suite, point);
	bool ok = r->dhe && RAND_bytes(random, sizeof random) == 1;
	while (ok && !r->half)
		ok = RAND_bytes((uint8_t *)&r->half, sizeof r->half) == 1;
	opaque_offer_write(&opaque);
	const struct spdm_key_exchange k = {.summary_type = SUMMARY_ALL, .session_id = r->half, .random = random, .exchange = point,
					    .opaque = opaque.bytes, .opaque_len = (uint16_t)opaque.len};
	if (ok && !opaque.failed)
		key_exchange_write(requester_request(r), &r->suite, &k);
	ok = ok && !opaque.failed;
	buffer_free(&opaque);
	r->step = STEP_KEY_EXCHANGE;
	return ok ? requester_ask(r, out) : -EIO;
}

int take_challenge(struct requester *r, const struct response *a, struct buffer *out, struct fault *f)
{
	struct fault why = {""};
	struct spdm_challenge c;
	int err = challenge_auth_read(a->bytes, a->len, &r->suite, SUMMARY_ALL, &c, f);
	if (err)
		return err;
	err = requester_check(r, "certificate-digest", !c.slot && !CRYPTO_memcmp(c.chain_hash, r->chain_hash, r->suite.hash_len), f,
			      "CHALLENGE_AUTH is about other certificates");
	if (err)
		return err;
	bool noted = transcript_add(&r->m, r->request.bytes, r->request.len) && transcript_add(&r->m, a->bytes, c.signed_len);
	err = requester_check(r, "challenge-signature", noted && signed_by_leaf(r, &r->m, CONTEXT_CHALLENGE, c.signature), f,
			      "the certificate's key has not signed this conversation and nonce");
	transcript_free(&r->m);
	if (err)
		return err;
	// Evidence is looked at once its key has answered: verifying costs more than asking.
	err = r->o.judge(r->o.ctx, r->leaf, &r->claims, &why);
	err = requester_check(r, "evidence", !err, f, "%s", why.text);
	if (err)
		return err;
	measured_from(r->claims, &r->measured);
	err = check_summary(r, "challenge-summary", c.summary, f);
	if (err)
		return err;
	return r->o.session == REQUESTER_NO_SESSION ? ask_measurements(r, STEP_CLEAR_MEASUREMENTS, MEASUREMENTS_ALL, out) : ask_key_exchange(r, out);
}

// ---- measurements ----

// Reads MEASUREMENTS with a signature over this one request and answer.
static int read_signed(struct requester *r, const struct response *a, struct spdm_measurements *m, struct fault *f)
{
	struct transcript l = {.ctx = NULL};
	int err = spdm_parse_answer(a->bytes, a->len, SPDM_1_2, r->suite.signature_len, m, f);
	if (!err && (m->trailing || (m->param2 & 15)))
		err = fault_set(f, -EPROTO, "MEASUREMENTS of another slot, or with bytes behind it");
	if (err)
		return err;
	bool ok = transcript_begin(&l, &r->suite, r->vca.bytes, r->vca.len) && transcript_add(&l, r->request.bytes, r->request.len) &&
		  transcript_add(&l, a->bytes, m->signed_len) && signed_by_leaf(r, &l, CONTEXT_MEASUREMENTS, m->signature);
	transcript_free(&l);
	return requester_check(r, "measurements-signature", ok, f, "the certificate's key has not signed these measurements and this nonce");
}

static json_t *blocks_json(const struct spdm_measurements *m)
{
	json_t *list = json_array();
	for (unsigned int i = 0; list && i < m->count; i++) {
		const struct spdm_block *b = &m->blocks[i];
		const char *claim = measure_claim(b->index);
		char *hex = malloc(2 * (size_t)b->len + 1);
		json_t *o = json_pack("{s:i, s:s, s:s, s:s}", "index", b->index, "type", measure_type_name(b->type), "form",
				      b->raw ? "raw" : "digest", "value", hex ? hex_encode(hex, b->value, b->len) : "");
		if (claim)
			json_object_set_new(o, "claim", json_string(claim));
		free(hex);
		if (!o || json_array_append_new(list, o)) {
			json_decref(list);
			return NULL;
		}
	}
	return list;
}

int take_measurements(struct requester *r, const struct response *a, struct buffer *out, struct fault *f)
{
	struct spdm_measurements m;
	struct fault why = {""};
	int err = read_signed(r, a, &m, f);
	if (err)
		return err;
	err = measured_compare(&r->measured, r->measurement_hash, &m, &why);
	err = requester_check(r, "measurements", !err, f, "%s", why.text);
	if (err)
		return err;
	json_decref(r->blocks);
	r->blocks = blocks_json(&m);
	if (!r->blocks)
		return -ENOMEM;
	if (r->step == STEP_CLEAR_MEASUREMENTS) {
		r->step = STEP_ENDED;
		return 0;
	}
	if (r->o.session == REQUESTER_SESSION) {
		r->step = STEP_OPEN;
		return 0;
	}
	return ask_measurements(r, STEP_EVIDENCE, INDEX_EVIDENCE, out);
}

int take_evidence(struct requester *r, const struct response *a, struct buffer *out, struct fault *f)
{
	struct spdm_measurements m;
	struct fault why = {""};
	uint8_t exporter[32];
	(void)out;
	int err = read_signed(r, a, &m, f);
	if (err)
		return err;
	bool one = m.count == 1 && m.blocks[0].index == INDEX_EVIDENCE && m.blocks[0].raw;
	err = requester_check(r, "session-evidence", one, f, "the answer is no block of evidence");
	if (err)
		return err;
	if (!keys_exporter(&r->session.keys, SESSION_LABEL, exporter))
		return failed(f);
	err = r->o.judge_session(r->o.ctx, r->leaf, m.blocks[0].value, m.blocks[0].len, r->nonce, exporter, &why);
	OPENSSL_cleanse(exporter, sizeof exporter);
	err = requester_check(r, "session-evidence", !err, f, "%s", why.text);
	if (err)
		return err;
	r->proved = true;
	r->step = STEP_OPEN;
	return 0;
}

// ---- the session ----

static int check_exchange(struct requester *r, const struct response *a, const struct spdm_key_exchange *k, struct fault *f)
{
	uint8_t wanted[SUITE_MAX_HASH];
	struct session *s = &r->session;
	bool ok = secured_begin(s, &r->suite, &r->vca, r->chain_hash) && transcript_add(&s->th, r->request.bytes, r->request.len) &&
		  transcript_add(&s->th, a->bytes, k->signed_len);
	int err = requester_check(r, "key-exchange-signature", ok && signed_by_leaf(r, &s->th, CONTEXT_KEY_EXCHANGE, k->signature), f,
				  "the certificate's key has not signed this key exchange");
	if (err)
		return err;
	ok = transcript_add(&s->th, k->signature, r->suite.signature_len) && secured_derive(s, &r->suite, r->dhe, k->exchange) &&
	     secured_verify_data(s, false, wanted) && !CRYPTO_memcmp(wanted, k->verify, r->suite.hash_len) &&
	     transcript_add(&s->th, k->verify, r->suite.hash_len);
	return requester_check(r, "key-exchange-verify", ok, f, "the responder has not the session's keys, or has seen another conversation");
}

int take_key_exchange(struct requester *r, const struct response *a, struct buffer *out, struct fault *f)
{
	uint8_t verify[SUITE_MAX_HASH];
	struct spdm_key_exchange k;
	struct session *s = &r->session;
	int err = key_exchange_rsp_read(a->bytes, a->len, &r->suite, SUMMARY_ALL, &k, f);
	if (err)
		return err;
	if (k.mut_auth)
		return fault_set(f, -EPROTO, "the responder asks for a certificate, which was not agreed on");
	err = opaque_choice_read(k.opaque, k.opaque_len, &r->secured_version, f);
	if (!err && !r->secured_version)
		err = fault_set(f, -EPROTO, "the responder chose a version of secured messages that was not offered");
	if (!err)
		err = check_exchange(r, a, &k, f);
	EVP_PKEY_free(r->dhe);
	r->dhe = NULL;
	if (!err)
		err = check_summary(r, "key-exchange-summary", k.summary, f);
	if (err) {
		secured_close(s);
		return err;
	}
	r->beat_s = k.heartbeat_s;
	s->id = secured_number(r->half, k.session_id);
	s->state = SESSION_HANDSHAKE;
	struct buffer *b = requester_request(r);
	head_write(b, SPDM_1_2, SPDM_FINISH, 0, 0);
	if (b->failed || !transcript_add(&s->th, b->bytes, b->len) || !secured_verify_data(s, true, verify) ||
	    !transcript_add(&s->th, verify, r->suite.hash_len))
		return failed(f);
	buffer_put(b, verify, r->suite.hash_len);
	r->step = STEP_FINISH;
	return requester_ask(r, out);
}

int take_finish(struct requester *r, const struct response *a, struct buffer *out, struct fault *f)
{
	if (a->len != SPDM_HEAD)
		return fault_set(f, -EPROTO, "bytes behind FINISH_RSP");
	if (!transcript_add(&r->session.th, a->bytes, a->len) || !secured_open(&r->session))
		return failed(f);
	return ask_measurements(r, STEP_MEASUREMENTS, MEASUREMENTS_ALL, out);
}

// ---- what is known ----

json_t *requester_report(const struct requester *r)
{
	json_t *checks = json_array();
	bool done = !r->failed && r->step >= STEP_OPEN;
	char version[8];
	for (unsigned int i = 0; i < r->check_count; i++)
		json_array_append_new(checks, json_pack("{s:s, s:s}", "check", r->checks[i], "outcome", "passed"));
	if (r->failed)
		json_array_append_new(checks, json_pack("{s:s, s:s}", "check", r->failed, "outcome", "failed"));
	json_t *spdm = json_pack("{s:s, s:s, s:s}", "version", "1.2", "signature", suite_asym_name(r->suite.asym), "hash",
				 suite_hash_name(r->suite.hash));
	if (r->suite.dhe && r->secured_version) {
		snprintf(version, sizeof version, "%d.%d", r->secured_version >> 12, r->secured_version >> 8 & 15);
		json_t *more = json_pack("{s:s, s:s, s:s, s:b, s:i, s:i}", "key_exchange", suite_dhe_name(r->suite.dhe), "cipher", "AES-256-GCM",
					 "secured_messages", version, "proved", r->proved, "heartbeat_seconds", r->beat_s, "key_updates", r->updates);
		json_object_update(spdm, more);
		json_decref(more);
	}
	json_t *o = json_pack("{s:s, s:o, s:o}", "verdict", done ? "accepted" : r->failed ? "refused" : "failed", "spdm", spdm, "checks", checks);
	if (o && r->claims)
		json_object_set(o, "claims", r->claims);
	if (o && r->blocks)
		json_object_set(o, "measurements", r->blocks);
	return o;
}

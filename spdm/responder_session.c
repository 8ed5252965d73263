// SPDX-License-Identifier: Apache-2.0
// The responder's answers about sessions: their making, their end, new keys; and long answers in pieces. See responder.c.
#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <string.h>

#include "spdm/responder_state.h"

static int internal(struct responder *r)
{
	return responder_refuse(r, SPDM_UNSPECIFIED, "out of memory, or OpenSSL fails");
}

// KEY_EXCHANGE_RSP with signature and verify data, all of it in the transcript.
static bool write_key_exchange(struct responder *r, const struct request *q, const struct spdm_key_exchange *k, uint16_t version, struct buffer *b)
{
	uint8_t point[SUITE_MAX_POINT], random[SPDM_RANDOM], summary[SUITE_MAX_HASH], digest[SUITE_MAX_HASH];
	struct session *s = &r->session;
	struct buffer opaque = {.bytes = NULL};
	uint16_t half = 0;
	EVP_PKEY *own = suite_dhe_make(&r->suite, point);
	bool ok = own && secured_begin(s, &r->suite, &r->vca, r->chain_hash) && transcript_add(&s->th, q->bytes, q->len) &&
		  RAND_bytes(random, sizeof random) == 1 &&
		  (!k->summary_type || measured_summary(&r->measured, &r->suite, r->measurement_hash, k->summary_type, summary));
	while (ok && !half)
		ok = RAND_bytes((uint8_t *)&half, sizeof half) == 1;
	opaque_choice_write(&opaque, version);
	r->beat_s = r->peer.flags & CAP_HBEAT ? r->heartbeat_s : 0;
	const struct spdm_key_exchange a = {.heartbeat_s = r->beat_s, .session_id = half, .random = random, .exchange = point,
					    .summary = k->summary_type ? summary : NULL, .opaque = opaque.bytes, .opaque_len = (uint16_t)opaque.len};
	if (ok && !opaque.failed)
		key_exchange_rsp_write(b, &r->suite, &a);
	size_t signed_len = b->len;
	uint8_t *signature = ok && signed_len ? buffer_room(b, r->suite.signature_len) : NULL;
	ok = signature && transcript_add(&s->th, b->bytes, signed_len) && transcript_digest(&s->th, digest) &&
	     suite_sign(&r->suite, r->key, CONTEXT_KEY_EXCHANGE, digest, signature) && transcript_add(&s->th, signature, r->suite.signature_len) &&
	     secured_derive(s, &r->suite, own, k->exchange);
	uint8_t *verify = ok ? buffer_room(b, r->suite.hash_len) : NULL;
	ok = verify && secured_verify_data(s, false, digest) && transcript_add(&s->th, digest, r->suite.hash_len);
	if (ok) {
		memcpy(verify, digest, r->suite.hash_len);
		s->id = secured_number(k->session_id, half);
		s->state = SESSION_HANDSHAKE;
	}
	buffer_free(&opaque);
	EVP_PKEY_free(own);
	return ok;
}

int responder_key_exchange(struct responder *r, const struct request *q, struct buffer *b)
{
	struct spdm_key_exchange k;
	uint16_t version;
	struct fault f;
	if (!r->suite.dhe)
		return responder_refuse(r, SPDM_UNEXPECTED_REQUEST, "nothing was agreed on that a session needs");
	if (key_exchange_read(q->bytes, q->len, &r->suite, &k, &f))
		return responder_refuse(r, SPDM_INVALID_REQUEST, f.text);
	if (k.slot || (k.summary_type && !r->measurement_hash))
		return responder_refuse(r, SPDM_INVALID_REQUEST, "no such slot, or no measurements");
	if (opaque_offer_read(k.opaque, k.opaque_len, &version, &f))
		return responder_refuse(r, SPDM_INVALID_REQUEST, f.text);
	if (!version)
		return responder_refuse(r, SPDM_INVALID_REQUEST, "no version of secured messages that both sides have");
	// A point that is not on the curve is the requester's mistake, but there is nothing more to say to who makes it.
	if (write_key_exchange(r, q, &k, version, b))
		return 0;
	secured_close(&r->session);
	return responder_refuse(r, SPDM_INVALID_REQUEST, "no key can be agreed on");
}

int responder_finish(struct responder *r, const struct request *q, struct buffer *b)
{
	uint8_t wanted[SUITE_MAX_HASH];
	struct session *s = &r->session;
	const uint8_t *verify;
	struct fault f;
	if (finish_read(q->bytes, q->len, &r->suite, &verify, &f)) {
		r->close_due = true;
		return responder_refuse(r, SPDM_INVALID_REQUEST, f.text);
	}
	bool ok = transcript_add(&s->th, q->bytes, q->len - r->suite.hash_len) && secured_verify_data(s, true, wanted);
	if (!ok || CRYPTO_memcmp(wanted, verify, r->suite.hash_len)) {
		r->close_due = true;
		return ok ? responder_refuse(r, SPDM_DECRYPT_ERROR, "the requester has seen another conversation") : internal(r);
	}
	head_write(b, SPDM_1_2, SPDM_FINISH_RSP, 0, 0);
	r->open_due = transcript_add(&s->th, verify, r->suite.hash_len) && transcript_add(&s->th, b->bytes, b->len);
	r->close_due = !r->open_due;
	return r->open_due ? 0 : internal(r);
}

int responder_heartbeat(struct responder *r, const struct request *q, struct buffer *b)
{
	if (q->len != SPDM_HEAD)
		return responder_refuse(r, SPDM_INVALID_REQUEST, "HEARTBEAT has four bytes");
	if (!r->beat_s)
		return responder_refuse(r, SPDM_UNEXPECTED_REQUEST, "no heartbeat was agreed on");
	head_write(b, SPDM_1_2, SPDM_HEARTBEAT_ACK, 0, 0);
	return 0;
}

// The answer to "all" is the first record with the new key of this direction; the requester's first one must be KEY_UPDATE_VERIFY.
int responder_key_update(struct responder *r, const struct request *q, struct buffer *b)
{
	struct session *s = &r->session;
	uint8_t operation = q->len == SPDM_HEAD ? q->bytes[2] : 0;
	if (!(r->peer.flags & CAP_KEY_UPD))
		return responder_refuse(r, SPDM_UNEXPECTED_REQUEST, "no new keys were agreed on");
	if (operation < KEY_UPDATE_REQUEST || operation > KEY_UPDATE_VERIFY)
		return responder_refuse(r, SPDM_INVALID_REQUEST, "no such operation of KEY_UPDATE");
	if ((operation == KEY_UPDATE_VERIFY) != r->verify_due)
		return responder_refuse(r, SPDM_UNEXPECTED_REQUEST, "KEY_UPDATE out of order");
	if (operation != KEY_UPDATE_VERIFY &&
	    (!keys_update(&s->keys, &s->keys.request) || (operation == KEY_UPDATE_ALL && !keys_update(&s->keys, &s->keys.response)))) {
		r->close_due = true;
		return internal(r);
	}
	r->verify_due = operation != KEY_UPDATE_VERIFY;
	head_write(b, SPDM_1_2, SPDM_KEY_UPDATE_ACK, operation, q->bytes[3]);
	return 0;
}

int responder_end_session(struct responder *r, const struct request *q, struct buffer *b)
{
	if (q->len != SPDM_HEAD)
		return responder_refuse(r, SPDM_INVALID_REQUEST, "END_SESSION has four bytes");
	head_write(b, SPDM_1_2, SPDM_END_SESSION_ACK, 0, 0);
	r->close_due = r->ended = true;
	return 0;
}

int responder_after(struct responder *r, struct fault *f)
{
	bool open = r->open_due, close = r->close_due;
	r->open_due = r->close_due = false;
	if (close) {
		secured_close(&r->session);
		r->verify_due = false;
		return 0;
	}
	return open && !secured_open(&r->session) ? fault_set(f, -EIO, "OpenSSL fails") : 0;
}

// ---- long answers ----

size_t responder_most(const struct responder *r)
{
	return r->peer.data_transfer_size < SESSION_MAX_MESSAGE ? r->peer.data_transfer_size : SESSION_MAX_MESSAGE;
}

int responder_fit(struct responder *r, const struct request *q, struct buffer *b)
{
	if (b->len <= responder_most(r))
		return 0;
	if (!(r->peer.flags & CAP_CHUNK) || b->len > r->peer.max_message_size)
		return responder_refuse(r, SPDM_RESPONSE_TOO_LARGE, "the answer is longer than the requester takes");
	buffer_clear(&r->large);
	buffer_put(&r->large, b->bytes, b->len);
	r->large_in_session = q->in_session;
	r->chunk = 0;
	r->chunk_at = 0;
	r->handle++;
	buffer_clear(b);
	head_write(b, SPDM_1_2, SPDM_ERROR, SPDM_LARGE_RESPONSE, 0);
	buffer_number(b, r->handle, 1);
	return b->failed || r->large.failed ? internal(r) : 0;
}

int responder_chunk_get(struct responder *r, const struct request *q, struct buffer *b)
{
	struct spdm_chunk c;
	struct fault f;
	if (chunk_get_read(q->bytes, q->len, &c, &f))
		return responder_refuse(r, SPDM_INVALID_REQUEST, f.text);
	// Pieces go in order, each once, and only where the whole was asked for.
	if (!r->large.len || r->large_in_session != q->in_session || c.handle != r->handle || c.number != r->chunk)
		return responder_refuse(r, SPDM_UNEXPECTED_REQUEST, "no such piece of an answer");
	size_t left = r->large.len - r->chunk_at, most = responder_most(r) - CHUNK_FIRST_HEAD;
	c.total = (uint32_t)r->large.len;
	c.bytes = r->large.bytes + r->chunk_at;
	c.len = (uint32_t)(left < most ? left : most);
	c.last = c.len == left;
	chunk_response_write(b, &c);
	r->chunk++;
	r->chunk_at += c.len;
	if (c.last)
		buffer_clear(&r->large);
	return 0;
}

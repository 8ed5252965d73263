// SPDX-License-Identifier: Apache-2.0
// See responder.h. What arrives is looked at in one place (`requests`): whether it may come now, outside or within a session; each answer is one
// function. An answer that fails is an ERROR and changes nothing, but for what its message begins anew.
#include "spdm/responder_state.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/rand.h>
#include <stdatomic.h>
#include <string.h>

#define CERTIFICATE_HEAD 8
#define CT_EXPONENT 20			// a second: evidence may take that long
// Asking the hardware costs, and anybody may ask: so often at once in a connection, and then as often as one who asks each second.
#define EVIDENCE_AT_ONCE 9
#define EVIDENCE_EVERY_MS 1000
// And in all connections together: who makes one after the other gains nothing.
#define ALL_AT_ONCE 40
#define ALL_EVERY_MS 125
#define CAPABILITIES (CAP_CERT | CAP_CHAL | CAP_MEAS_SIG | CAP_ENCRYPT | CAP_MAC | CAP_KEY_EX | CAP_HBEAT | CAP_KEY_UPD | CAP_CHUNK)

int responder_new(struct responder **out, const struct responder_options *o, struct fault *f)
{
	struct responder *r = calloc(1, sizeof *r);
	if (!r)
		return fault_set(f, -ENOMEM, "out of memory");
	X509_up_ref(o->cert);
	EVP_PKEY_up_ref(o->key);
	*r = (struct responder){.cert = o->cert, .key = o->key, .measured = *o->measured, .prove = o->prove, .ctx = o->ctx,
				.heartbeat_s = (uint8_t)o->heartbeat_s,
				.transfer_size = o->transfer_size ? o->transfer_size : SESSION_MAX_MESSAGE};
	int err = suite_asym_of(r->key) ? 0 : fault_set(f, -EINVAL, "SPDM signs with ECDSA on P-256 or P-384 here, and the key is another one");
	if (!err && (o->heartbeat_s > UINT8_MAX || r->transfer_size < SPDM_MIN_TRANSFER || r->transfer_size > SESSION_MAX_MESSAGE))
		err = fault_set(f, -EINVAL, "a heartbeat has at most 255 seconds, a message %d to %d bytes", SPDM_MIN_TRANSFER,
				(int)SESSION_MAX_MESSAGE);
	if (err)
		responder_free(r);
	else
		*out = r;
	return err;
}

// Back to the beginning: GET_VERSION does that at any time.
static void reset(struct responder *r)
{
	secured_close(&r->session);
	buffer_clear(&r->vca);
	buffer_clear(&r->chain);
	buffer_clear(&r->large);
	transcript_free(&r->m);
	transcript_free(&r->l);
	r->stage = STAGE_NONE;
	r->open_due = r->close_due = r->verify_due = false;
	r->suite = (struct suite){.asym = 0};
}

void responder_free(struct responder *r)
{
	if (!r)
		return;
	reset(r);
	buffer_free(&r->vca);
	buffer_free(&r->chain);
	buffer_free(&r->large);
	buffer_free(&r->answer);
	X509_free(r->cert);
	EVP_PKEY_free(r->key);
	free(r);
}

// An answer instead of the one asked for: -EREMOTEIO, with the code in r->error.
int responder_refuse(struct responder *r, uint8_t code, const char *why)
{
	r->error = code;
	r->error_data = 0;
	fault_set(&r->refusal, 0, "%s", why);
	return -EREMOTEIO;
}

static int internal(struct responder *r)
{
	return responder_refuse(r, SPDM_UNSPECIFIED, "out of memory, or OpenSSL fails");
}

// ---- what is agreed on ----

static int get_version(struct responder *r, const struct request *q, struct buffer *b)
{
	reset(r);
	version_write(b, SPDM_1_2);
	buffer_put(&r->vca, q->bytes, q->len);
	buffer_put(&r->vca, b->bytes, b->len);
	r->stage = STAGE_VERSION;
	return 0;
}

static int get_capabilities(struct responder *r, const struct request *q, struct buffer *b)
{
	struct spdm_capabilities own = {.ct_exponent = CT_EXPONENT, .flags = CAPABILITIES, .data_transfer_size = r->transfer_size,
					.max_message_size = r->transfer_size > 4096 ? r->transfer_size : 4096};
	struct fault f;
	if (!r->heartbeat_s)
		own.flags &= ~CAP_HBEAT;
	if (capabilities_read(q->bytes, q->len, &r->peer, &f))
		return responder_refuse(r, SPDM_INVALID_REQUEST, f.text);
	capabilities_write(b, SPDM_CAPABILITIES, &own);
	buffer_put(&r->vca, q->bytes, q->len);
	buffer_put(&r->vca, b->bytes, b->len);
	r->stage = STAGE_CAPABILITIES;
	return 0;
}

// The better one of what is offered.
static uint32_t pick(uint32_t offered, uint32_t better, uint32_t other)
{
	return offered & better ? better : offered & other;
}

static int negotiate_algorithms(struct responder *r, const struct request *q, struct buffer *b)
{
	struct spdm_algorithms offer, a;
	struct fault f;
	if (algorithms_read(q->bytes, q->len, false, &offer, &f))
		return responder_refuse(r, SPDM_INVALID_REQUEST, f.text);
	a = (struct spdm_algorithms){.measurement_spec = offer.measurement_spec & MEASUREMENT_DMTF, .opaque = offer.opaque & OPAQUE_FORMAT_1,
				     .asym = offer.asym & suite_asym_of(r->key), .hash = pick(offer.hash, HASH_SHA384, HASH_SHA256),
				     .tables = offer.tables, .dhe = (uint16_t)pick(offer.dhe, DHE_P384, DHE_P256),
				     .aead = offer.aead & AEAD_AES256GCM, .key_schedule = offer.key_schedule & KEY_SCHEDULE_SPDM};
	a.measurement_hash = !a.measurement_spec ? 0 : a.hash == HASH_SHA384 ? MEASUREMENT_SHA384 : MEASUREMENT_SHA256;
	// A session needs all of it; without, the rest can be had.
	const uint32_t needed = CAP_KEY_EX | CAP_ENCRYPT | CAP_MAC;
	bool sessions = (r->peer.flags & needed) == needed && a.dhe && a.aead && a.key_schedule && a.opaque;
	if (!sessions)
		a.dhe = a.aead = a.key_schedule = 0;
	if (suite_set(&r->suite, a.asym, a.hash, a.dhe, a.aead))
		return responder_refuse(r, SPDM_INVALID_REQUEST, "no algorithms that both sides have");
	if (chain_write(&r->chain, &r->suite, r->cert, &f) || !suite_digest(&r->suite, r->chain.bytes, r->chain.len, r->chain_hash))
		return responder_refuse(r, SPDM_UNSPECIFIED, f.text);
	algorithms_write(b, true, &a);
	buffer_put(&r->vca, q->bytes, q->len);
	buffer_put(&r->vca, b->bytes, b->len);
	if (r->vca.failed)
		return internal(r);
	r->measurement_hash = a.measurement_hash;
	r->stage = STAGE_ALGORITHMS;
	return 0;
}

// ---- certificates ----

// The transcript of CHALLENGE: within a session there is none.
static bool note(struct responder *r, const struct request *q, const struct buffer *b)
{
	return q->in_session || (transcript_add(&r->m, q->bytes, q->len) && transcript_add(&r->m, b->bytes, b->len));
}

static bool begin_m(struct responder *r)
{
	return transcript_begin(&r->m, &r->suite, r->vca.bytes, r->vca.len);
}

static int get_digests(struct responder *r, const struct request *q, struct buffer *b)
{
	if (q->len != SPDM_HEAD)
		return responder_refuse(r, SPDM_INVALID_REQUEST, "GET_DIGESTS has four bytes");
	head_write(b, SPDM_1_2, SPDM_DIGESTS, 0, 1);
	buffer_put(b, r->chain_hash, r->suite.hash_len);
	return (q->in_session || begin_m(r)) && note(r, q, b) ? 0 : internal(r);
}

static int get_certificate(struct responder *r, const struct request *q, struct buffer *b)
{
	struct spdm_portion p;
	struct fault f;
	if (get_certificate_read(q->bytes, q->len, &p, &f))
		return responder_refuse(r, SPDM_INVALID_REQUEST, f.text);
	if (p.slot || !p.length || p.offset >= r->chain.len)
		return responder_refuse(r, SPDM_INVALID_REQUEST, "no such slot, or nothing of its certificates");
	size_t left = r->chain.len - p.offset, most = responder_most(r) - CERTIFICATE_HEAD;
	size_t n = p.length < left ? p.length : left;
	p.length = (uint16_t)(n < most ? n : most);
	p.bytes = r->chain.bytes + p.offset;
	p.remainder = (uint16_t)(left - p.length);
	certificate_write(b, &p);
	if (!q->in_session && !r->m.ctx && !begin_m(r))
		return internal(r);
	return note(r, q, b) ? 0 : internal(r);
}

static int challenge(struct responder *r, const struct request *q, struct buffer *b)
{
	uint8_t nonce[SPDM_NONCE_BYTES], summary[SUITE_MAX_HASH], digest[SUITE_MAX_HASH];
	struct spdm_challenge c;
	struct fault f;
	if (challenge_read(q->bytes, q->len, &c, &f))
		return responder_refuse(r, SPDM_INVALID_REQUEST, f.text);
	if (c.slot)
		return responder_refuse(r, SPDM_INVALID_REQUEST, "no such slot");
	struct spdm_challenge a = {.slot_mask = 1, .chain_hash = r->chain_hash, .nonce = nonce, .summary = c.summary_type ? summary : NULL};
	bool ok = RAND_bytes(nonce, sizeof nonce) == 1 &&
		  (!a.summary || measured_summary(&r->measured, &r->suite, r->measurement_hash, c.summary_type, summary)) && (r->m.ctx || begin_m(r));
	if (!ok)
		return internal(r);
	challenge_auth_write(b, &r->suite, &a);
	ok = note(r, q, b) && transcript_digest(&r->m, digest);
	transcript_free(&r->m);
	uint8_t *signature = ok ? buffer_room(b, r->suite.signature_len) : NULL;
	return signature && suite_sign(&r->suite, r->key, CONTEXT_CHALLENGE, digest, signature) ? 0 : internal(r);
}

// ---- measurements ----

// Of all connections.
static bool may_ask_hardware(_Atomic int64_t *until_ms, int64_t now_ms)
{
	int64_t was = atomic_load(until_ms), next;
	do {
		next = (was > now_ms ? was : now_ms) + ALL_EVERY_MS;
		if (next > now_ms + ALL_AT_ONCE * ALL_EVERY_MS)
			return false;
	} while (!atomic_compare_exchange_weak(until_ms, &was, next));
	return true;
}

void responder_share_evidence(struct responder *r, _Atomic int64_t *until_ms)
{
	r->all_evidence = until_ms;
}

static int new_evidence(struct responder *r, const struct spdm_get_measurements *g, struct buffer *record)
{
	uint8_t exporter[32], *content = NULL;
	size_t len;
	struct fault f = {""};
	if (!r->prove || r->session.state != SESSION_OPEN || !g->nonce)
		return responder_refuse(r, SPDM_INVALID_REQUEST, "new evidence is about a session and a nonce: it needs both");
	int64_t until = (r->evidence_until_ms > r->now_ms ? r->evidence_until_ms : r->now_ms) + EVIDENCE_EVERY_MS;
	if (until > r->now_ms + EVIDENCE_AT_ONCE * EVIDENCE_EVERY_MS)
		return responder_refuse(r, SPDM_OPERATION_FAILED, "new evidence is asked for again and again");
	if (r->all_evidence && !may_ask_hardware(r->all_evidence, r->now_ms))
		return responder_refuse(r, SPDM_OPERATION_FAILED, "new evidence is asked for by too many at once");
	r->evidence_until_ms = until;
	int err = keys_exporter(&r->session.keys, SESSION_LABEL, exporter) ? r->prove(r->ctx, g->nonce, exporter, &content, &len, &f) : -ENOMEM;
	OPENSSL_cleanse(exporter, sizeof exporter);
	if (err)
		return responder_refuse(r, SPDM_OPERATION_FAILED, *f.text ? f.text : "no evidence can be made");
	measure_block(record, INDEX_EVIDENCE, 4, content, len);
	free(content);
	return 0;
}

static int write_measurements(struct responder *r, const struct request *q, const struct spdm_get_measurements *g, struct buffer *b)
{
	struct buffer record = {.bytes = NULL};
	uint8_t nonce[SPDM_NONCE_BYTES];
	unsigned int blocks = 1;
	int err = 0;
	if (g->operation == INDEX_EVIDENCE && q->in_session)
		err = new_evidence(r, g, &record);
	else if (g->operation == MEASUREMENTS_COUNT)
		blocks = 0;
	else if (measured_record(&r->measured, r->measurement_hash, g->operation, g->attributes & ATTRIBUTE_RAW, &record, &blocks) == -ENOENT)
		err = responder_refuse(r, SPDM_INVALID_REQUEST, "no measurement of that number");
	if (!err && RAND_bytes(nonce, sizeof nonce) != 1)
		err = internal(r);
	if (!err)
		measurements_write(b, g->operation ? 0 : (uint8_t)measured_count(&r->measured), g->slot, blocks, &record, nonce);
	buffer_free(&record);
	return err;
}

static int get_measurements(struct responder *r, const struct request *q, struct buffer *b)
{
	uint8_t digest[SUITE_MAX_HASH];
	struct spdm_get_measurements g;
	struct fault f;
	if (get_measurements_read(q->bytes, q->len, &g, &f))
		return responder_refuse(r, SPDM_INVALID_REQUEST, f.text);
	if (!r->measurement_hash)
		return responder_refuse(r, SPDM_UNEXPECTED_REQUEST, "no form of measurements was agreed on");
	if (g.slot)
		return responder_refuse(r, SPDM_INVALID_REQUEST, "no such slot");
	// What is within a session and what is not are never in one transcript.
	if ((!r->l.ctx || r->l_in_session != q->in_session) && !transcript_begin(&r->l, &r->suite, r->vca.bytes, r->vca.len))
		return internal(r);
	r->l_in_session = q->in_session;
	int err = write_measurements(r, q, &g, b);
	if (!err && !(transcript_add(&r->l, q->bytes, q->len) && transcript_add(&r->l, b->bytes, b->len)))
		err = internal(r);
	if (!err && g.nonce) {
		uint8_t *signature = transcript_digest(&r->l, digest) ? buffer_room(b, r->suite.signature_len) : NULL;
		if (!signature || !suite_sign(&r->suite, r->key, CONTEXT_MEASUREMENTS, digest, signature))
			err = internal(r);
	}
	if (g.nonce)
		transcript_free(&r->l);
	return err;
}

// ---- which request, when ----

static const struct handler {
	uint8_t code;
	enum stage stage;		// exactly this one; STAGE_ANY: any
	bool clear, handshake, session;	// outside of a session, in its handshake, in a session
	int (*answer)(struct responder *r, const struct request *q, struct buffer *b);
} requests[] = {
	{SPDM_GET_VERSION, STAGE_ANY, true, false, false, get_version},
	{SPDM_GET_CAPABILITIES, STAGE_VERSION, true, false, false, get_capabilities},
	{SPDM_NEGOTIATE_ALGORITHMS, STAGE_CAPABILITIES, true, false, false, negotiate_algorithms},
	{SPDM_GET_DIGESTS, STAGE_ALGORITHMS, true, false, true, get_digests},
	{SPDM_GET_CERTIFICATE, STAGE_ALGORITHMS, true, false, true, get_certificate},
	{SPDM_CHALLENGE, STAGE_ALGORITHMS, true, false, false, challenge},
	{SPDM_GET_MEASUREMENTS, STAGE_ALGORITHMS, true, false, true, get_measurements},
	{SPDM_KEY_EXCHANGE, STAGE_ALGORITHMS, true, false, false, responder_key_exchange},
	{SPDM_FINISH, STAGE_ALGORITHMS, false, true, false, responder_finish},
	{SPDM_HEARTBEAT, STAGE_ALGORITHMS, false, false, true, responder_heartbeat},
	{SPDM_KEY_UPDATE, STAGE_ALGORITHMS, false, false, true, responder_key_update},
	{SPDM_END_SESSION, STAGE_ALGORITHMS, false, false, true, responder_end_session},
	{SPDM_CHUNK_GET, STAGE_ALGORITHMS, true, false, true, responder_chunk_get},
};

static const struct handler *handler_of(uint8_t code)
{
	for (size_t i = 0; i < sizeof requests / sizeof *requests; i++) {
		if (requests[i].code == code)
			return &requests[i];
	}
	return NULL;
}

// What may not come now is refused before anything of it is read.
static int admit(struct responder *r, const struct request *q, const struct spdm_head *head, const struct handler *h)
{
	if (r->stage == STAGE_NONE && head->code != SPDM_GET_VERSION)
		return responder_refuse(r, SPDM_UNEXPECTED_REQUEST, "GET_VERSION comes first");
	if (head->version != (head->code == SPDM_GET_VERSION ? SPDM_1_0 : SPDM_1_2))
		return responder_refuse(r, SPDM_VERSION_MISMATCH, "another version than the one agreed on");
	if (!h) {
		responder_refuse(r, SPDM_UNSUPPORTED_REQUEST, "a request that is not answered here");
		r->error_data = head->code;
		return -EREMOTEIO;
	}
	bool handshake = r->session.state == SESSION_HANDSHAKE;
	if (h->stage != STAGE_ANY && h->stage != r->stage)
		return responder_refuse(r, SPDM_UNEXPECTED_REQUEST, "a request out of order");
	if (q->in_session ? (handshake ? !h->handshake : !h->session) : !h->clear)
		return responder_refuse(r, h->clear || q->in_session ? SPDM_UNEXPECTED_REQUEST : SPDM_SESSION_REQUIRED, "a request out of place");
	if (!q->in_session && handshake && head->code != SPDM_GET_VERSION && head->code != SPDM_CHUNK_GET)
		return responder_refuse(r, SPDM_UNEXPECTED_REQUEST, "a session is being made: FINISH must come");
	if (r->verify_due && head->code != SPDM_KEY_UPDATE && q->in_session)
		return responder_refuse(r, SPDM_UNEXPECTED_REQUEST, "the new key is to be verified first");
	if (h->answer == responder_key_exchange && r->session.state != SESSION_NONE)
		return responder_refuse(r, SPDM_SESSION_LIMIT, "there is a session already");
	return 0;
}

// An ERROR in the place of whatever has been written.
static void write_error(struct responder *r, struct buffer *b)
{
	buffer_clear(b);
	head_write(b, r->stage == STAGE_NONE ? SPDM_1_0 : SPDM_1_2, SPDM_ERROR, r->error, r->error_data);
}

// The answer to a request, into r->answer.
static void respond(struct responder *r, const struct request *q)
{
	struct buffer *b = &r->answer;
	struct spdm_head head;
	bool had_session = r->session.state != SESSION_NONE;
	buffer_clear(b);
	int err = head_read(q->bytes, q->len, &head) ? 0 : responder_refuse(r, SPDM_INVALID_REQUEST, "a message of less than four bytes");
	const struct handler *h = err ? NULL : handler_of(head.code);
	if (!err)
		err = admit(r, q, &head, h);
	// A transcript holds messages that follow each other: another one in between ends it.
	if (!err && h->answer != get_measurements && h->answer != responder_chunk_get)
		transcript_free(&r->l);
	if (!err && (h->answer == get_measurements || h->answer == responder_key_exchange))
		transcript_free(&r->m);
	if (!err && h->answer != responder_chunk_get)
		buffer_clear(&r->large);
	if (!err)
		err = h->answer(r, q, b);
	if (!err && b->failed)
		err = internal(r);
	if (!err && r->stage >= STAGE_CAPABILITIES)
		err = responder_fit(r, q, b);
	if (err && !had_session)	// one that was made by an answer that does not go
		secured_close(&r->session);
	if (err)
		transcript_free(&r->l);
	if (err)
		write_error(r, b);
}

// ---- frames ----

static int input_clear(struct responder *r, const uint8_t *bytes, size_t len, struct buffer *out)
{
	const struct request q = {.bytes = bytes, .len = len};
	respond(r, &q);
	spdm_frame_write(out, SPDM_CLEAR, r->answer.bytes, r->answer.len);
	return out->failed || r->answer.failed ? -ENOMEM : 0;
}

// The session is over with a record that does not hold; the requester is told so under its keys.
static int input_broken(struct responder *r, struct buffer *out, int err)
{
	responder_refuse(r, SPDM_DECRYPT_ERROR, "a record does not hold");
	write_error(r, &r->answer);
	secured_seal(&r->session, SPDM_CLEAR, r->answer.bytes, r->answer.len, out);
	secured_close(&r->session);
	return err;
}

static int input_secured(struct responder *r, uint8_t *bytes, size_t len, struct buffer *out, struct spdm_event *e, struct fault *f)
{
	enum spdm_frame_type type;
	uint8_t *text;
	size_t text_len;
	if (r->session.state == SESSION_NONE)
		return fault_set(f, -EPROTO, "a record without a session");
	int err = secured_unseal(&r->session, bytes, len, &type, &text, &text_len, f);
	if (err)
		return input_broken(r, out, err);
	if (type != SPDM_CLEAR && (r->session.state != SESSION_OPEN || r->verify_due))
		return input_broken(r, out, fault_set(f, -EPROTO, "data before FINISH, or before a new key was verified"));
	if (type != SPDM_CLEAR) {
		*e = (struct spdm_event){.data = text, .len = text_len, .data_end = type == SPDM_DATA_END};
		return 0;
	}
	const struct request q = {.bytes = text, .len = text_len, .in_session = true};
	respond(r, &q);
	err = secured_seal(&r->session, SPDM_CLEAR, r->answer.bytes, r->answer.len, out);
	return err ? fault_set(f, err, "no record can be made") : responder_after(r, f);
}

int responder_input(struct responder *r, const struct spdm_frame *head, uint8_t *bytes, int64_t now_ms, struct buffer *out, struct spdm_event *e,
		    struct fault *f)
{
	int err;
	*e = (struct spdm_event){.data = NULL};
	r->refusal.text[0] = '\0';
	r->now_ms = now_ms;
	switch (head->type) {
	case SPDM_CLEAR:
		err = input_clear(r, bytes, head->len, out);
		break;
	case SPDM_SECURED:
		err = input_secured(r, bytes, head->len, out, e, f);
		if (!err)
			r->heard_ms = now_ms;
		break;
	case SPDM_ROLE_INQUIRY:
		spdm_frame_write(out, SPDM_NO_REQUESTER, NULL, 0);	// it answers, and does not ask
		err = out->failed ? -ENOMEM : 0;
		break;
	default:
		err = fault_set(f, -EPROTO, "the requester has ended it with error 0x%02x of the transport", head->type);
	}
	return err == -ENOMEM ? fault_set(f, err, "out of memory") : err;
}

int responder_send(struct responder *r, const void *bytes, size_t len, bool end, struct buffer *out)
{
	if (r->session.state != SESSION_OPEN)
		return -ENOTCONN;
	if (len > SPDM_DATA_MAX || (end && len))
		return -EINVAL;
	return secured_seal(&r->session, end ? SPDM_DATA_END : SPDM_DATA, bytes, len, out);
}

bool responder_open(const struct responder *r)
{
	return r->session.state == SESSION_OPEN;
}

bool responder_ended(const struct responder *r)
{
	return r->ended;
}

int64_t responder_due_ms(const struct responder *r)
{
	bool beats = r->session.state == SESSION_OPEN && r->beat_s;
	return beats ? r->heard_ms + 2000 * r->beat_s : -1;	// twice the period (DSP0274 section "HEARTBEAT")
}

bool responder_expired(struct responder *r, int64_t now_ms)
{
	int64_t due = responder_due_ms(r);
	if (due < 0 || now_ms < due)
		return false;
	secured_close(&r->session);
	return true;
}

const char *responder_refusal(const struct responder *r)
{
	return r->refusal.text;
}

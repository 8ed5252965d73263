// SPDX-License-Identifier: Apache-2.0
// See requester.h. Here: the conversation, from frame to frame; versions, capabilities, algorithms; the open session. What is to be proved is in
// requester_prove.c.
#include "spdm/requester_state.h"

#include <errno.h>
#include <openssl/rand.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define CAPABILITIES (CAP_ENCRYPT | CAP_MAC | CAP_KEY_EX | CAP_HBEAT | CAP_KEY_UPD | CAP_CHUNK)
#define RECORDS_BEFORE_UPDATE (1u << 20)

int requester_new(struct requester **out, const struct requester_options *o, struct fault *f)
{
	struct requester *r = calloc(1, sizeof *r);
	if (!r)
		return fault_set(f, -ENOMEM, "out of memory");
	r->o = *o;
	r->session.requester = true;
	if (!r->o.transfer_size)
		r->o.transfer_size = SESSION_MAX_MESSAGE;
	if (!r->o.records_per_key)
		r->o.records_per_key = RECORDS_BEFORE_UPDATE;
	r->o.asym = o->asym ? o->asym : ASYM_P256 | ASYM_P384;
	r->o.hash = o->hash ? o->hash : HASH_SHA256 | HASH_SHA384;
	r->o.dhe = o->dhe ? o->dhe : DHE_P256 | DHE_P384;
	if (r->o.transfer_size < SPDM_MIN_TRANSFER || r->o.transfer_size > SESSION_MAX_MESSAGE) {
		free(r);
		return fault_set(f, -EINVAL, "a message has %d to %d bytes", SPDM_MIN_TRANSFER, (int)SESSION_MAX_MESSAGE);
	}
	*out = r;
	return 0;
}

void requester_free(struct requester *r)
{
	if (!r)
		return;
	secured_close(&r->session);
	transcript_free(&r->m);
	buffer_free(&r->request);
	buffer_free(&r->vca);
	buffer_free(&r->chain);
	buffer_free(&r->large);
	X509_free(r->leaf);
	EVP_PKEY_free(r->dhe);
	json_decref(r->claims);
	json_decref(r->blocks);
	OPENSSL_cleanse(r, sizeof *r);
	free(r);
}

int requester_check(struct requester *r, const char *name, bool passed, struct fault *f, const char *format, ...)
{
	struct fault why;
	va_list ap;
	if (passed) {
		bool known = false;
		for (unsigned int i = 0; i < r->check_count; i++)
			known |= !strcmp(r->checks[i], name);
		if (!known && r->check_count < REQUESTER_MAX_CHECKS)
			r->checks[r->check_count++] = name;
		return 0;
	}
	va_start(ap, format);
	vsnprintf(why.text, sizeof why.text, format, ap);
	va_end(ap);
	r->failed = name;
	return fault_set(f, -EKEYREJECTED, "%s: %s", name, why.text);
}

struct buffer *requester_request(struct requester *r)
{
	buffer_clear(&r->request);
	return &r->request;
}

static int send_bytes(struct requester *r, const struct buffer *b, struct buffer *out)
{
	if (b->failed)
		return -ENOMEM;
	if (r->session.state != SESSION_NONE)
		return secured_seal(&r->session, SPDM_CLEAR, b->bytes, b->len, out);
	spdm_frame_write(out, SPDM_CLEAR, b->bytes, b->len);
	return out->failed ? -ENOMEM : 0;
}

int requester_ask(struct requester *r, struct buffer *out)
{
	r->waiting = true;
	return send_bytes(r, &r->request, out);
}

// ---- versions, capabilities, algorithms ----

int requester_begin(struct requester *r, struct buffer *out)
{
	head_write(requester_request(r), SPDM_1_0, SPDM_GET_VERSION, 0, 0);
	r->step = STEP_VERSION;
	return requester_ask(r, out);
}

// Request and answer become part of every transcript.
static int agree(struct requester *r, const struct response *a)
{
	buffer_put(&r->vca, r->request.bytes, r->request.len);
	buffer_put(&r->vca, a->bytes, a->len);
	return r->vca.failed ? -ENOMEM : 0;
}

static int take_version(struct requester *r, const struct response *a, struct buffer *out, struct fault *f)
{
	const struct spdm_capabilities own = {.flags = CAPABILITIES, .data_transfer_size = r->o.transfer_size,
					      .max_message_size = REQUESTER_MAX_MESSAGE};
	bool has;
	int err = version_read(a->bytes, a->len, SPDM_1_2, &has, f);
	if (err)
		return err;
	if (!has)
		return fault_set(f, -EPROTO, "the responder does not speak SPDM 1.2");
	err = agree(r, a);
	capabilities_write(requester_request(r), SPDM_GET_CAPABILITIES, &own);
	r->step = STEP_CAPABILITIES;
	return err ? err : requester_ask(r, out);
}

static int take_capabilities(struct requester *r, const struct response *a, struct buffer *out, struct fault *f)
{
	struct spdm_algorithms offer = {.measurement_spec = MEASUREMENT_DMTF, .opaque = OPAQUE_FORMAT_1, .asym = r->o.asym, .hash = r->o.hash,
					.dhe = r->o.dhe, .aead = AEAD_AES256GCM, .key_schedule = KEY_SCHEDULE_SPDM, .tables = 1 | 2 | 8};
	uint32_t needed = CAP_CERT | CAP_CHAL;
	int err = capabilities_read(a->bytes, a->len, &r->peer, f);
	if (err)
		return err;
	if (r->o.session != REQUESTER_NO_SESSION)
		needed |= CAP_ENCRYPT | CAP_MAC | CAP_KEY_EX;
	if ((r->peer.flags & needed) != needed || (r->peer.flags & CAP_MEAS) != CAP_MEAS_SIG)
		return fault_set(f, -EPROTO, "the responder cannot do what is needed: certificates, challenges, signed measurements%s (it has 0x%x)",
				 r->o.session == REQUESTER_NO_SESSION ? "" : ", sessions", r->peer.flags);
	if (r->peer.data_transfer_size < 256)
		return fault_set(f, -EPROTO, "the responder takes no more than %u bytes at once", r->peer.data_transfer_size);
	err = agree(r, a);
	algorithms_write(requester_request(r), false, &offer);
	r->step = STEP_ALGORITHMS;
	return err ? err : requester_ask(r, out);
}

// Exactly one, and one of those that were offered.
static bool one_of(uint32_t chosen, uint32_t offered)
{
	return __builtin_popcount(chosen) == 1 && (chosen & offered);
}

static int take_algorithms(struct requester *r, const struct response *a, struct buffer *out, struct fault *f)
{
	struct spdm_algorithms c;
	int err = algorithms_read(a->bytes, a->len, true, &c, f);
	if (err)
		return err;
	bool chosen = one_of(c.asym, r->o.asym) && one_of(c.hash, r->o.hash) && c.measurement_spec == MEASUREMENT_DMTF && !c.req_asym &&
		      one_of(c.measurement_hash, MEASUREMENT_SHA256 | MEASUREMENT_SHA384);
	bool sessions = one_of(c.dhe, r->o.dhe) && c.aead == AEAD_AES256GCM && c.key_schedule == KEY_SCHEDULE_SPDM && c.opaque == OPAQUE_FORMAT_1;
	if (!chosen || (!sessions && r->o.session != REQUESTER_NO_SESSION) ||
	    suite_set(&r->suite, c.asym, c.hash, sessions ? c.dhe : 0, sessions ? c.aead : 0))
		return fault_set(f, -EPROTO, "the responder chose algorithms that were not offered, or none");
	r->measurement_hash = c.measurement_hash;
	err = agree(r, a);
	return err ? err : ask_digests(r, out);
}

// ---- the open session ----

static int ask_simple(struct requester *r, uint8_t code, uint8_t param1, uint8_t param2, struct buffer *out)
{
	if (r->step != STEP_OPEN || r->session.state != SESSION_OPEN)
		return -ENOTCONN;
	if (r->waiting)
		return -EAGAIN;
	head_write(requester_request(r), SPDM_1_2, code, param1, param2);
	return requester_ask(r, out);
}

int requester_update(struct requester *r, struct buffer *out)
{
	if (!(r->peer.flags & CAP_KEY_UPD))
		return -EOPNOTSUPP;
	int err = ask_simple(r, SPDM_KEY_UPDATE, KEY_UPDATE_ALL, ++r->tag, out);
	if (err)
		return err;
	r->session.next = r->session.keys.response;
	r->session.changing = keys_update(&r->session.keys, &r->session.next);
	return r->session.changing ? 0 : -EIO;
}

int requester_end(struct requester *r, struct buffer *out)
{
	return ask_simple(r, SPDM_END_SESSION, 0, 0, out);
}

// The answer to "all" had the new key, or the session would still be changing; ours is shown next.
static int take_update(struct requester *r, const struct response *a, struct buffer *out, struct fault *f)
{
	if (a->len != SPDM_HEAD || a->head.param1 != r->request.bytes[2] || a->head.param2 != r->tag || r->session.changing)
		return fault_set(f, -EPROTO, "KEY_UPDATE_ACK is not the answer to this KEY_UPDATE, or has not the new key");
	if (a->head.param1 == KEY_UPDATE_VERIFY) {
		r->updates++;
		return 0;
	}
	if (!keys_update(&r->session.keys, &r->session.keys.request))
		return fault_set(f, -EIO, "OpenSSL fails");
	head_write(requester_request(r), SPDM_1_2, SPDM_KEY_UPDATE, KEY_UPDATE_VERIFY, ++r->tag);
	return requester_ask(r, out);
}

static int take_simple(struct requester *r, const struct response *a, struct buffer *out, struct fault *f)
{
	if (a->head.code == SPDM_KEY_UPDATE_ACK)
		return take_update(r, a, out, f);
	if (a->len != SPDM_HEAD)
		return fault_set(f, -EPROTO, "bytes behind an answer");
	if (a->head.code == SPDM_END_SESSION_ACK) {
		secured_close(&r->session);
		r->step = STEP_ENDED;
	}
	return 0;
}

bool requester_may_send(const struct requester *r)
{
	return requester_open(r) && (!r->waiting || r->request.bytes[1] == SPDM_HEARTBEAT);
}

int requester_send(struct requester *r, const void *bytes, size_t len, bool end, struct buffer *out)
{
	if (r->step != STEP_OPEN || r->session.state != SESSION_OPEN)
		return -ENOTCONN;
	if (len > SPDM_DATA_MAX || (end && len))
		return -EINVAL;
	if (!requester_may_send(r))
		return -EAGAIN;
	return secured_seal(&r->session, end ? SPDM_DATA_END : SPDM_DATA, bytes, len, out);
}

static bool update_due(const struct requester *r)
{
	const struct keys *k = &r->session.keys;
	return (r->peer.flags & CAP_KEY_UPD) && (k->request.sequence >= r->o.records_per_key || k->response.sequence >= r->o.records_per_key);
}

int64_t requester_due_ms(const struct requester *r)
{
	if (r->step != STEP_OPEN)
		return -1;
	if (!r->waiting && update_due(r))
		return 0;
	return r->beat_s ? r->asked_ms + 1000 * r->beat_s : -1;
}

int requester_tick(struct requester *r, int64_t now_ms, struct buffer *out, struct fault *f)
{
	int err = 0;
	if (r->step != STEP_OPEN)
		return 0;
	if (!r->waiting && update_due(r)) {
		err = requester_update(r, out);
		r->asked_ms = now_ms;
	} else if (r->beat_s && now_ms >= r->asked_ms + 1000 * r->beat_s) {
		if (r->waiting)
			return fault_set(f, -ETIMEDOUT, "the responder does not answer any more");
		err = ask_simple(r, SPDM_HEARTBEAT, 0, 0, out);
		r->asked_ms = now_ms;
	}
	return err ? fault_set(f, err, "no request can be made") : 0;
}

// ---- answers ----

static const struct awaited {
	uint8_t code;
	int (*take)(struct requester *r, const struct response *a, struct buffer *out, struct fault *f);
} awaited[] = {
	[STEP_VERSION] = {SPDM_VERSION, take_version},
	[STEP_CAPABILITIES] = {SPDM_CAPABILITIES, take_capabilities},
	[STEP_ALGORITHMS] = {SPDM_ALGORITHMS, take_algorithms},
	[STEP_DIGESTS] = {SPDM_DIGESTS, take_digests},
	[STEP_CERTIFICATE] = {SPDM_CERTIFICATE, take_certificate},
	[STEP_CHALLENGE] = {SPDM_CHALLENGE_AUTH, take_challenge},
	[STEP_CLEAR_MEASUREMENTS] = {SPDM_MEASUREMENTS, take_measurements},
	[STEP_KEY_EXCHANGE] = {SPDM_KEY_EXCHANGE_RSP, take_key_exchange},
	[STEP_FINISH] = {SPDM_FINISH_RSP, take_finish},
	[STEP_MEASUREMENTS] = {SPDM_MEASUREMENTS, take_measurements},
	[STEP_EVIDENCE] = {SPDM_MEASUREMENTS, take_evidence},
	[STEP_OPEN] = {0, take_simple},		// the request's own
};

static int ask_chunk(struct requester *r, struct buffer *out)
{
	const struct spdm_chunk c = {.handle = r->handle, .number = r->chunk};
	struct buffer b = {.bytes = NULL};
	chunk_get_write(&b, &c);
	r->waiting = true;
	int err = send_bytes(r, &b, out);
	buffer_free(&b);
	return err;
}

static int take_error(struct requester *r, const struct response *a, struct buffer *out, struct fault *f)
{
	uint8_t code = a->head.param1;
	if (code == SPDM_LARGE_RESPONSE && a->len == SPDM_HEAD + 1 && !r->chunking) {
		r->chunking = true;
		r->chunk = 0;
		r->handle = a->bytes[SPDM_HEAD];
		buffer_clear(&r->large);
		return ask_chunk(r, out);
	}
	// Others than Coffer have no such block.
	if (r->step == STEP_EVIDENCE && r->o.session == REQUESTER_EVIDENCE_WANTED && code != SPDM_DECRYPT_ERROR && a->in_session) {
		r->step = STEP_OPEN;
		return 0;
	}
	if (r->step == STEP_EVIDENCE)
		return requester_check(r, "session-evidence", false, f, "the responder gives no new evidence (%s)", spdm_error_name(code));
	return fault_set(f, -EPROTO, "the responder answers with the error %s (0x%02x)", spdm_error_name(code), code);
}

static int take(struct requester *r, struct response *a, struct buffer *out, struct fault *f)
{
	uint8_t version = r->step == STEP_VERSION ? SPDM_1_0 : SPDM_1_2;
	if (!r->waiting)
		return fault_set(f, -EPROTO, "an answer that nobody asked for");
	if (!head_read(a->bytes, a->len, &a->head) || a->head.version != version)
		return fault_set(f, -EPROTO, "an answer that is too short, or of another version");
	r->waiting = false;
	if (a->head.code == SPDM_ERROR)
		return take_error(r, a, out, f);
	uint8_t code = r->step == STEP_OPEN ? r->request.bytes[1] & 0x7f : awaited[r->step].code;
	if (a->head.code != code || !awaited[r->step].take)
		return fault_set(f, -EPROTO, "answer 0x%02x instead of 0x%02x", a->head.code, code);
	return awaited[r->step].take(r, a, out, f);
}

// One piece more; with the last, the whole.
static int take_chunk(struct requester *r, const struct response *piece, struct buffer *out, struct fault *f)
{
	struct response whole = {.in_session = piece->in_session};
	struct spdm_chunk c;
	struct spdm_head head;
	if (!r->waiting || !head_read(piece->bytes, piece->len, &head) || head.version != SPDM_1_2 || head.code != SPDM_CHUNK_RESPONSE)
		return fault_set(f, -EPROTO, "no piece of an answer where one was asked for");
	int err = chunk_response_read(piece->bytes, piece->len, &c, f);
	if (err)
		return err;
	if (!r->chunk)
		r->large_total = c.total;
	if (c.handle != r->handle || c.number != r->chunk || !c.len || r->large_total > REQUESTER_MAX_MESSAGE ||
	    c.len > r->large_total - r->large.len || c.last != (r->large.len + c.len == r->large_total))
		return fault_set(f, -EPROTO, "pieces of an answer that do not fit together");
	buffer_put(&r->large, c.bytes, c.len);
	if (r->large.failed)
		return -ENOMEM;
	r->chunk++;
	if (!c.last)
		return ask_chunk(r, out);
	whole.bytes = r->large.bytes;
	whole.len = r->large.len;
	err = take(r, &whole, out, f);
	r->chunking = false;
	return err;
}

static int input_message(struct requester *r, const uint8_t *bytes, size_t len, bool in_session, struct buffer *out, struct fault *f)
{
	struct response a = {.bytes = bytes, .len = len, .in_session = in_session};
	bool secured = r->session.state != SESSION_NONE;
	if (in_session != secured)
		return fault_set(f, -EPROTO, secured ? "an answer outside of the session that it belongs to" : "a record without a session");
	return r->chunking ? take_chunk(r, &a, out, f) : take(r, &a, out, f);
}

static int input_secured(struct requester *r, uint8_t *bytes, size_t len, struct buffer *out, struct spdm_event *e, struct fault *f)
{
	enum spdm_frame_type type;
	uint8_t *text;
	size_t text_len;
	if (r->session.state == SESSION_NONE)
		return fault_set(f, -EPROTO, "a record without a session");
	int err = secured_unseal(&r->session, bytes, len, &type, &text, &text_len, f);
	if (err)
		return err;
	if (type == SPDM_CLEAR)
		return input_message(r, text, text_len, true, out, f);
	if (r->step != STEP_OPEN)
		return fault_set(f, -EPROTO, "data before all is proved");
	*e = (struct spdm_event){.data = text, .len = text_len, .data_end = type == SPDM_DATA_END};
	return 0;
}

int requester_input(struct requester *r, const struct spdm_frame *head, uint8_t *bytes, int64_t now_ms, struct buffer *out, struct spdm_event *e,
		    struct fault *f)
{
	enum step before = r->step;
	int err;
	*e = (struct spdm_event){.data = NULL};
	if (head->type == SPDM_CLEAR)
		err = input_message(r, bytes, head->len, false, out, f);
	else if (head->type == SPDM_SECURED)
		err = input_secured(r, bytes, head->len, out, e, f);
	else
		err = fault_set(f, -EPROTO, "the responder has ended it with error 0x%02x of the transport", head->type);
	if (before != STEP_OPEN && r->step == STEP_OPEN)
		r->asked_ms = now_ms;
	if (err == -ENOMEM)
		fault_set(f, err, "out of memory");
	return err == -EINVAL ? -EPROTO : err;	// what a reader could not read
}

bool requester_open(const struct requester *r)
{
	return r->step == STEP_OPEN && r->session.state == SESSION_OPEN;
}

bool requester_ended(const struct requester *r)
{
	return r->step == STEP_ENDED;
}

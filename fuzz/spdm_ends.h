// SPDX-License-Identifier: Apache-2.0
// What the fuzz targets of SPDM share: two ends that can hold a whole conversation, over a certificate without evidence that their judge takes all
// the same.
#ifndef COFFER_FUZZ_SPDM_ENDS_H
#define COFFER_FUZZ_SPDM_ENDS_H

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ratls/certificate.h"
#include "spdm/message.h"
#include "spdm/requester_state.h"
#include "spdm/responder_state.h"

struct ends {
	struct requester *requester;
	struct responder *responder;
	struct buffer up, down;
};

static int takes_all(void *ctx, X509 *leaf, json_t **claims, struct fault *f)
{
	(void)ctx, (void)leaf, (void)f;
	*claims = json_pack("{s:s}", "measurement", "00112233");
	return *claims ? 0 : -ENOMEM;
}

static int takes_new(void *ctx, X509 *leaf, const uint8_t *content, size_t len, const uint8_t nonce[32], const uint8_t exporter[32], struct fault *f)
{
	(void)ctx, (void)leaf, (void)content, (void)len, (void)nonce, (void)exporter, (void)f;
	return 0;
}

static int proves(void *ctx, const uint8_t nonce[32], const uint8_t exporter[32], uint8_t **content, size_t *len, struct fault *f)
{
	(void)ctx, (void)nonce, (void)exporter, (void)f;
	*len = 300;
	return (*content = calloc(1, *len)) ? 0 : -ENOMEM;
}

static void ends_open(struct ends *e, bool pieces)
{
	static X509 *cert;
	static EVP_PKEY *key;
	struct requester_options q = {.judge = takes_all, .judge_session = takes_new, .hash = HASH_SHA256, .dhe = DHE_P256,
				      .transfer_size = pieces ? 64 : 0};
	struct responder_options o = {.heartbeat_s = 5, .prove = proves};
	struct measured m;
	if (!cert) {
		struct ratls_cert_request made = {.key = key = EVP_EC_gen("P-256"), .subject = "fuzz", .now = time(NULL), .seconds = 1u << 30};
		if (!key || ratls_cert_make_plain(&made, &cert, NULL))
			abort();
	}
	json_t *claims = NULL;
	if (takes_all(NULL, NULL, &claims, NULL))
		abort();
	measured_from(claims, &m);
	json_decref(claims);
	o.cert = cert;
	o.key = key;
	o.measured = &m;
	*e = (struct ends){.requester = NULL};
	if (requester_new(&e->requester, &q, NULL) || responder_new(&e->responder, &o, NULL) || requester_begin(e->requester, &e->up))
		abort();
}

static void ends_close(struct ends *e)
{
	requester_free(e->requester);
	responder_free(e->responder);
	buffer_free(&e->up);
	buffer_free(&e->down);
}

// The frames in a buffer go to their end. False: it has failed, or there were none.
static bool ends_pass(struct ends *e, bool up)
{
	struct buffer *from = up ? &e->up : &e->down;
	struct spdm_event event;
	struct spdm_frame head;
	struct fault f;
	size_t at = 0;
	bool ok = from->len;
	while (ok && at < from->len) {
		if (spdm_frame_read(from->bytes + at, &head, &f))
			abort();
		ok = !(up ? responder_input(e->responder, &head, from->bytes + at + SPDM_FRAME_HEAD, 1, &e->down, &event, &f) :
			    requester_input(e->requester, &head, from->bytes + at + SPDM_FRAME_HEAD, 1, &e->up, &event, &f));
		at += SPDM_FRAME_HEAD + head.len;
	}
	buffer_clear(from);
	return ok;
}

// One frame from the fuzzer: a first byte (odd: within the session, if there is one, as its other end would seal it; the other bits: what for), two
// bytes of length and so many bytes, to one end. False: nothing is left.
static bool ends_feed(struct ends *e, bool up, const uint8_t **data, size_t *size, int *err)
{
	struct session *s = up ? &e->responder->session : &e->requester->session;
	struct buffer frame = {.bytes = NULL}, *out = up ? &e->down : &e->up;
	struct spdm_event event;
	struct spdm_frame head;
	struct fault f;
	if (*size < 3)
		return false;
	uint8_t kind = **data;
	size_t len = (*data)[1] | (size_t)(*data)[2] << 8;
	*data += 3;
	*size -= 3;
	if (len > *size)
		len = *size;
	if (kind & 1 && s->state != SESSION_NONE) {
		struct session other = {.state = s->state, .requester = up, .id = s->id, .keys = s->keys};
		if (secured_seal(&other, kind & 2 ? SPDM_DATA : SPDM_CLEAR, *data, len < SESSION_MAX_MESSAGE ? len : SESSION_MAX_MESSAGE, &frame))
			abort();
	} else {
		spdm_frame_write(&frame, kind & 2 ? SPDM_SECURED : SPDM_CLEAR, *data, len < SPDM_FRAME_MAX ? len : SPDM_FRAME_MAX);
	}
	*data += len;
	*size -= len;
	if (frame.failed || spdm_frame_read(frame.bytes, &head, &f))
		abort();
	// A copy of its own, so that the sanitizer sees every byte read behind it.
	uint8_t *copy = malloc(head.len + !head.len);
	if (!copy)
		abort();
	memcpy(copy, frame.bytes + SPDM_FRAME_HEAD, head.len);
	*err = up ? responder_input(e->responder, &head, copy, 1, out, &event, &f) : requester_input(e->requester, &head, copy, 1, out, &event, &f);
	free(copy);
	buffer_free(&frame);
	return true;
}

// A conversation as far as the input's first byte says, *all: to its end. False: there is no such byte.
static bool ends_begin(struct ends *e, const uint8_t **data, size_t *size, bool *all)
{
	if (!*size)
		return false;
	unsigned int turns = **data & 15;
	ends_open(e, **data & 16);
	++*data;
	--*size;
	*all = turns == 15;
	for (unsigned int i = 0; i < (*all ? 200 : turns) && ends_pass(e, true) && ends_pass(e, false); i++)
		;
	return true;
}

#endif

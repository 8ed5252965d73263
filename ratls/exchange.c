// SPDX-License-Identifier: Apache-2.0
// See exchange.h.
#include "ratls/exchange.h"

#include <errno.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/encode.h"
#include "ratls/shed.h"

// Asking the hardware costs: a verifier may ask so often at once, and then as often as one that renews each second.
#define ANSWERS_AT_ONCE 9
#define ANSWER_EVERY_MS 1000

int exchange_challenge(struct exchange_state *x, int64_t now_ms, struct fault *f)
{
	if (x->asked || x->judging)
		return 0;
	if (RAND_bytes(x->nonce, sizeof x->nonce) != 1)
		return fault_set(f, -EIO, "no random bytes");
	x->asked = true;
	x->answer_by_ms = now_ms + x->answer_s * 1000ll;
	return x->send(x->ctx, FRAME_CHALLENGE, x->nonce, sizeof x->nonce);
}

static int take_challenge(struct exchange_state *x, const uint8_t *nonce, int64_t now_ms, struct ratls_work **work, struct fault *f)
{
	if (!x->peer_verifies)
		return fault_set(f, -EPROTO, "the peer asks for a proof although it said that it would not");
	x->answered_until_ms = (x->answered_until_ms > now_ms ? x->answered_until_ms : now_ms) + ANSWER_EVERY_MS;
	if (x->answered_until_ms > now_ms + ANSWERS_AT_ONCE * ANSWER_EVERY_MS)
		return fault_set(f, -EPROTO, "the peer asks for proofs again and again");
	if (!(*work = work_new(WORK_ANSWER, x->judge, x->self, NULL)))
		return fault_set(f, -ENOMEM, "out of memory");
	memcpy((*work)->nonce, nonce, sizeof x->nonce);
	memcpy((*work)->exporter, x->own_exporter, sizeof x->own_exporter);
	return 0;
}

static int finish_answer(struct exchange_state *x, struct ratls_work *w, struct fault *f)
{
	int err = w->err;
	if (!err && w->len > FRAME_MAX_PROOF)
		err = fault_set(&w->why, -E2BIG, "the evidence is too large");
	x->answers++;
	int sent = x->send(x->ctx, FRAME_PROOF, w->content, err ? 0 : w->len);
	// Never -EAGAIN, nor what says that a peer was refused: no reason of the hardware's is one of the connection's.
	return err ? fault_set(f, err == -ENOMEM ? err : -EIO, "this side cannot prove itself: %s", w->why.text) : sent;
}

static int refuse(struct exchange_state *x, const char *to_peer, const char *text, struct fault *f)
{
	char reason[FRAME_MAX_REASON];
	int n = snprintf(reason, sizeof reason, "%s", to_peer);
	x->send(x->ctx, FRAME_VERDICT, reason, n < (int)sizeof reason ? (size_t)n : sizeof reason - 1);
	return fault_set(f, -EKEYREJECTED, "the peer is refused: %s", text);
}

static int take_proof(struct exchange_state *x, const uint8_t *content, size_t len, struct ratls_work **work, struct fault *f)
{
	if (!x->asked)
		return fault_set(f, -EPROTO, "the peer sent a proof that nobody asked for");
	x->asked = false;	// a nonce serves once
	if (!len)
		return refuse(x, "no proof", "it has no proof for this session", f);
	X509 *peer = x->peer_small ? shed_read(x->peer_small, x->peer_small_len) : x->peer;
	struct ratls_work *w = peer ? work_new(WORK_PROOF, x->judge, x->self, peer) : NULL;
	if (peer != x->peer)
		X509_free(peer);
	if (!w || !(w->content = malloc(len))) {
		work_release(w);
		return fault_set(f, -ENOMEM, "out of memory");
	}
	memcpy(w->content, content, len);
	w->len = len;
	memcpy(w->nonce, x->nonce, sizeof x->nonce);
	memcpy(w->exporter, x->peer_exporter, sizeof x->peer_exporter);
	x->judging = true;
	*work = w;
	return 0;
}

static int finish_proof(struct exchange_state *x, struct ratls_work *w, int64_t now_ms, struct fault *f)
{
	struct verdict *v = w->verdict;
	x->judging = false;
	if (!v)
		return fault_set(f, -ENOMEM, "out of memory");
	verdict_release(x->verdict);
	x->verdict = verdict_ref(v);
	if (!v->accepted)
		return refuse(x, v->short_reason, v->reason, f);
	x->proofs++;
	// Good for renew_s, but no longer than what it rests on: a token, collateral.
	long long rest_s = (long long)(v->until - judge_now(x->judge));
	x->renew_at_ms = now_ms + 1000 * (rest_s < 1 ? 1 : rest_s < x->renew_s ? rest_s : x->renew_s);
	return x->send(x->ctx, FRAME_VERDICT, NULL, 0);
}

int exchange_take(struct exchange_state *x, enum frame_type type, const uint8_t *bytes, size_t len, int64_t now_ms, struct ratls_work **work,
		  struct fault *f)
{
	char reason[FRAME_MAX_REASON + 1];
	*work = NULL;
	switch (type) {
	case FRAME_CHALLENGE: return take_challenge(x, bytes, now_ms, work, f);
	case FRAME_PROOF: return take_proof(x, bytes, len, work, f);
	case FRAME_VERDICT:
		if (len) {
			memcpy(reason, bytes, len);
			reason[len] = '\0';
			return fault_set(f, -EACCES, "the peer refuses this side: %s", text_printable(reason));
		}
		if (x->verdicts >= x->answers)
			return fault_set(f, -EPROTO, "the peer sent a verdict about nothing");
		x->verdicts++;
		return 0;
	default: return fault_set(f, -EPROTO, "a frame that is no part of a proof");
	}
}

int exchange_finish(struct exchange_state *x, struct ratls_work *w, int64_t now_ms, struct fault *f)
{
	return w->kind == WORK_ANSWER ? finish_answer(x, w, f) : finish_proof(x, w, now_ms, f);
}

bool exchange_done(const struct exchange_state *x)
{
	return (!x->judge || x->proofs) && (!x->peer_verifies || x->verdicts);
}

int64_t exchange_due_ms(const struct exchange_state *x)
{
	return !x->judge || x->judging ? -1 : x->asked ? x->answer_by_ms : x->renew_at_ms ? x->renew_at_ms : -1;
}

void exchange_rest(struct exchange_state *x)
{
	if (!x->peer || x->peer_small || !(x->peer_small = shed_extensions(x->peer, &x->peer_small_len)))
		return;
	X509_free(x->peer);
	x->peer = NULL;
}

void exchange_close(struct exchange_state *x)
{
	verdict_release(x->verdict);
	x->verdict = NULL;
	X509_free(x->peer);
	x->peer = NULL;
	free(x->peer_small);
	x->peer_small = NULL;
}

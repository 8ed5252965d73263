// SPDX-License-Identifier: Apache-2.0
// Anchors: of each volume the newest root that its writer told of, so that a host cannot put an older copy of the volume back.
// One writer at a time: who opens a volume claims it with the state that he found, gets the next epoch, and fences whoever had it
// before. Within an epoch the generation only rises. Runs in connection threads; takes no lock of its own, the store's
// compare-and-move decides between two at once.
#include <errno.h>
#include <limits.h>
#include <string.h>

#include "broker/api.h"
#include "broker/kbs.h"
#include "lib/encode.h"
#include "lib/file.h"
#include "lib/log.h"

#define DIGEST_BYTES 32

static bool read_number(const json_t *o, const char *name, long long *out)
{
	const json_t *v = json_object_get(o, name);
	*out = json_integer_value(v);
	return json_is_integer(v) && *out >= 0;
}

// {"epoch","generation","digest"}, the first only where it is wanted.
static bool read_state(const json_t *o, bool epoch, struct store_anchor *out)
{
	const char *digest = json_string_value(json_object_get(o, "digest"));
	memset(out, 0, sizeof *out);
	return read_number(o, "generation", &out->generation) && (!epoch || read_number(o, "epoch", &out->epoch)) && digest &&
	       !hex_decode(out->digest, sizeof out->digest, digest);
}

static json_t *state_json(const struct store_anchor *a)
{
	char digest[2 * DIGEST_BYTES + 1];
	hex_encode(digest, a->digest, DIGEST_BYTES);
	return json_pack("{s:I, s:I, s:s}", "epoch", (json_int_t)a->epoch, "generation", (json_int_t)a->generation, "digest", digest);
}

static bool record(struct broker *b, const char *event, const char *resource, const struct store_anchor *to,
		   struct http_response *r)
{
	struct fault f = {""};
	json_t *o = json_pack("{s:s, s:s, s:I, s:I}", "event", event, "resource", resource, "epoch", (json_int_t)to->epoch,
			      "generation", (json_int_t)to->generation);
	int err = audit_log(b, r, o, &f);
	if (err)
		broker_fault(r, err, &f);
	return !err;
}

static void move(struct broker *b, const char *resource, const struct store_anchor *from, const struct store_anchor *to,
		 bool back, struct http_response *r)
{
	struct fault f = {""};
	int err = store_move_anchor(b->store, resource, from, to, back, &f);
	if (err == -ESTALE)
		broker_problem(r, 409, "AnchorConflict", f.text, NULL);
	else if (err)
		broker_fault(r, err, &f);
	else
		broker_reply(r, 200, state_json(to));
}

// {"from": state or null, "to": state}: `from` is what the asker compared the volume with, `to` is what he found there.
static void claim(struct broker *b, const char *resource, const json_t *o, const struct store_anchor *now, struct http_response *r)
{
	struct store_anchor from, to;
	const json_t *f = json_object_get(o, "from");
	if (!read_state(json_object_get(o, "to"), false, &to) || (!json_is_null(f) && !read_state(f, true, &from))) {
		broker_problem(r, 400, "BadRequest", "a claim has \"from\" (a state, or null) and \"to\": generation and digest (64 hex digits)",
			       NULL);
		return;
	}
	if (json_is_null(f) != !now || (now && memcmp(now, &from, sizeof from))) {
		broker_problem(r, 409, "AnchorConflict", "what is remembered of this volume has changed meanwhile", NULL);
		return;
	}
	if (now && (to.generation < now->generation ||
		    (to.generation == now->generation && memcmp(to.digest, now->digest, DIGEST_BYTES)))) {
		broker_problem(r, 409, "AnchorRollback", "the volume is older than the state that is remembered of it", NULL);
		return;
	}
	to.epoch = now ? now->epoch + 1 : 1;
	if (record(b, now ? "anchor-claim" : "anchor-first-claim", resource, &to, r))
		move(b, resource, now, &to, false, r);
}

static void advance(struct broker *b, const char *resource, const json_t *o, const struct store_anchor *now, struct http_response *r)
{
	struct store_anchor to;
	if (!read_state(o, true, &to))
		broker_problem(r, 400, "BadRequest", "needed: epoch, generation and digest (64 hex digits)", NULL);
	else if (!now)
		broker_problem(r, 404, "AnchorUnknown", "nothing is remembered of this volume: claim it first", NULL);
	else if (to.epoch != now->epoch)
		broker_problem(r, 409, "AnchorFenced", "another writer has claimed this volume since", NULL);
	else if (!memcmp(&to, now, sizeof to)) // the answer to the first attempt was lost
		broker_reply(r, 200, state_json(now));
	else if (to.generation <= now->generation)
		broker_problem(r, 409, "AnchorRollback", "a newer state is remembered of this volume", NULL);
	else
		move(b, resource, now, &to, false, r);
}

// The owner's: this state is right, whatever is remembered (a backup was put back on purpose). Fences every writer.
static void accept_state(struct broker *b, const char *resource, const json_t *o, const struct store_anchor *now, struct http_response *r)
{
	struct store_anchor to;
	if (!read_state(o, false, &to)) {
		broker_problem(r, 400, "BadRequest", "needed: generation and digest (64 hex digits)", NULL);
		return;
	}
	to.epoch = now ? now->epoch + 1 : 1;
	if (record(b, "owner-sets-anchor", resource, &to, r))
		move(b, resource, now, &to, true, r);
}

static void change(struct broker *b, const char *resource, bool owner, json_t *claims, const struct http_request *q,
		   const struct store_anchor *now, struct http_response *r)
{
	json_error_t e;
	json_t *o = json_loadb(q->body, q->body_len, JSON_REJECT_DUPLICATES, &e);
	const char *action = json_string_value(json_object_get(o, "action"));
	bool is_claim = action && !strcmp(action, "claim");
	if (!owner && broker_appraise(b, &(struct broker_wish){is_claim ? "anchor" : NULL, resource, "anchor", 0, NULL}, claims, q, r))
		goto out;
	if (is_claim)
		claim(b, resource, o, now, r);
	else if (action && !strcmp(action, "advance"))
		advance(b, resource, o, now, r);
	else if (action && !strcmp(action, "set") && owner)
		accept_state(b, resource, o, now, r);
	else
		broker_problem(r, 400, "BadRequest", "action must be \"claim\" or \"advance\", or the owner's \"set\"", NULL);
out:
	json_decref(o);
}

void anchor_handle(struct broker *b, const char *resource, const struct http_request *q, struct http_response *r)
{
	struct fault f = {""};
	struct store_anchor now;
	json_t *claims = NULL;
	EVP_PKEY *key = NULL;
	bool owner, get = !strcmp(q->head->method, "GET");
	if (broker_asker(b, q, r, &owner, &claims, &key))
		return;
	if (owner && !broker_permits(r, get ? PERMIT_ANCHOR_READ : PERMIT_ANCHOR_SET, resource))
		return;
	if (!get && !owner && !broker_token_will_do(q, r))
		goto out;
	if (get && !owner && broker_appraise(b, &(struct broker_wish){NULL, resource, "anchor", 0, NULL}, claims, q, r))
		goto out;
	int err = store_get_anchor(b->store, resource, &now, &f);
	if (err && err != -ENOENT) {
		broker_fault(r, err, &f);
	} else if (!get) {
		change(b, resource, owner, claims, q, err ? NULL : &now, r);
	} else if (err) {
		broker_problem(r, 404, "AnchorUnknown", f.text, NULL);
	} else {
		broker_reply(r, 200, state_json(&now));
	}
out:
	json_decref(claims);
	EVP_PKEY_free(key);
}

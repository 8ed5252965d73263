// SPDX-License-Identifier: Apache-2.0
// Anchors, the enclave's side: what the broker remembers of a volume before it is mounted, the claim after it, and the helper that
// stays behind and tells the broker, or the TPM (anchor_tpm.c), of new roots. The kernel decides what has to be told and when (kernel/fs/sealed_anchor.c).
#include "init/exchange.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/encode.h"

static void path_of(const char *id, char path[128])
{
	snprintf(path, 128, "/kbs/v0/anchor/default/volume/%s", id);
}

static int read_state(const struct http_reply *reply, struct coffer_anchor_state *out)
{
	json_t *o = json_loadb(reply->body, reply->body_len, JSON_REJECT_DUPLICATES, NULL);
	const json_t *epoch = json_object_get(o, "epoch"), *generation = json_object_get(o, "generation");
	const char *digest = json_string_value(json_object_get(o, "digest"));
	int err = -EPROTO;
	if (json_is_integer(epoch) && json_is_integer(generation) && json_integer_value(epoch) > 0 && json_integer_value(generation) >= 0 &&
	    digest && !hex_decode(out->digest, sizeof out->digest, digest)) {
		out->epoch = (unsigned long)json_integer_value(epoch);
		out->generation = (unsigned long)json_integer_value(generation);
		err = 0;
	}
	json_decref(o);
	return err;
}

static bool titled(const struct http_reply *reply, const char *title)
{
	json_t *o = json_loadb(reply->body, reply->body_len, JSON_REJECT_DUPLICATES, NULL);
	const char *t = json_string_value(json_object_get(o, "title"));
	bool is = t && !strcmp(t, title);
	json_decref(o);
	return is;
}

int anchor_get(struct exchange *x, const char *id, struct coffer_anchor_state *out, struct fault *f)
{
	struct http_reply reply;
	char path[128];
	path_of(id, path);
	int err = exchange_ask(x, &(struct exchange_request){"GET", path, NULL, false}, &reply, f);
	if (err)
		return err;
	if (reply.status == 200) {
		err = read_state(&reply, out);
		if (err)
			fault_set(f, err, "%s does not answer like a Coffer broker", x->s->broker_url);
	} else if (reply.status == 404 && titled(&reply, "AnchorUnknown")) {
		err = -ENOENT;
	} else if (reply.status == 404) {
		err = fault_set(f, -EPROTO,
				"the broker %s keeps no anchors: a rollback of volumes would go unseen; \"anchor: none\" in coffer.yaml accepts that",
				x->s->broker_url);
	} else {
		err = exchange_refused(x, "what it remembers of a volume:", &reply, f);
	}
	http_reply_free(&reply);
	return err;
}

static json_t *state_json(const struct coffer_anchor_state *s)
{
	char digest[65];
	hex_encode(digest, s->digest, sizeof s->digest);
	return json_pack("{s:I, s:I, s:s}", "epoch", (json_int_t)s->epoch, "generation", (json_int_t)s->generation, "digest", digest);
}

// Takes `o` over. `once`: see exchange.h.
static int post(struct exchange *x, unsigned int index, json_t *o, bool once, struct http_reply *reply, struct fault *f)
{
	char path[128], *text = o ? json_dumps(o, JSON_COMPACT) : NULL;
	json_decref(o);
	if (!text)
		return fault_set(f, -ENOMEM, "out of memory");
	path_of(x->s->volumes[index].id, path);
	int err = exchange_ask(x, &(struct exchange_request){"POST", path, text, once}, reply, f);
	free(text);
	return err;
}

static int claim_at_broker(struct exchange *x, unsigned int index, const struct coffer_anchor_state *from, struct coffer_anchor_state *to,
			   struct fault *f)
{
	struct coffer_anchor_state granted, now, own;
	struct http_reply reply;
	unsigned long before = from ? from->epoch : 0;
	int err;
	while ((err = post(x, index, json_pack("{s:s, s:o, s:o}", "action", "claim", "from", from ? state_json(from) : json_null(), "to", state_json(to)),
			   true, &reply, f)) == -EINPROGRESS) {
		// The answer was lost. Where what is remembered is this very claim, the next is made from there; anything else the broker judges. Each
		// leaves a record there, but exchange_ask has an end.
		err = anchor_get(x, x->s->volumes[index].id, &now, f);
		if (err && err != -ENOENT)
			return err;
		if (!err && now.epoch == before + 1 && now.generation == to->generation && !memcmp(now.digest, to->digest, sizeof now.digest)) {
			own = now;
			from = &own;
			before = own.epoch;
		}
	}
	if (err)
		return err;
	if (reply.status != 200)
		err = exchange_refused(x, "to let this enclave write a volume:", &reply, f);
	else if (read_state(&reply, &granted) || granted.generation != to->generation ||
		 memcmp(granted.digest, to->digest, sizeof granted.digest))
		err = fault_set(f, -EPROTO, "%s does not answer like a Coffer broker", x->s->broker_url);
	else
		to->epoch = granted.epoch;
	http_reply_free(&reply);
	return err;
}

int anchor_claim(struct exchange *x, unsigned int index, const struct coffer_anchor_state *from, struct fault *f)
{
	struct coffer_anchor_record r = {.what = COFFER_ANCHOR_STATE, .index = index};
	int err = x->ops->anchor_write(&r);
	if (!err)
		err = x->ops->anchor_read(&r);
	if (err || r.index != index)
		return fault_set(f, err ? err : -EPROTO, "the kernel does not say in which state the volume %.200s is", x->s->volumes[index].name);
	err = x->s->anchor_tpm ? anchor_tpm_claim(x, index, from, &r.state, f) : claim_at_broker(x, index, from, &r.state, f);
	if (err)
		return err;
	r.what = COFFER_ANCHOR_CLAIMED;
	err = x->ops->anchor_write(&r);
	return err ? fault_set(f, err, "the kernel does not take the claim of the volume %.200s", x->s->volumes[index].name) : 0;
}

// One root to the broker: what came of it. The same told twice is no error there.
static enum coffer_anchor_what tell(struct exchange *x, const struct coffer_anchor_record *r)
{
	struct fault f = {""};
	struct http_reply reply;
	json_t *o = state_json(&r->state);
	json_object_set_new(o, "action", json_string("advance"));
	if (post(x, r->index, o, false, &reply, &f))
		return COFFER_ANCHOR_SILENT;
	bool known = reply.status == 200, fenced = reply.status == 409 && (titled(&reply, "AnchorFenced") || titled(&reply, "AnchorRollback"));
	http_reply_free(&reply);
	return fenced ? COFFER_ANCHOR_FENCED : known ? COFFER_ANCHOR_KNOWS : COFFER_ANCHOR_SILENT;
}

int anchor_hide(const struct exchange *x)
{
	return x->ops->anchor_write(&(struct coffer_anchor_record){.what = COFFER_ANCHOR_SERVE});
}

int helper_hide(const struct exchange *x)
{
	return x->ops->anchor_write(&(struct coffer_anchor_record){.what = COFFER_ANCHOR_HIDE});
}

void anchor_serve(struct exchange *x)
{
	struct coffer_anchor_record r;
	x->patience_ms = 0;	// the kernel asks again, and knows how long it may
	while (!x->ops->anchor_read(&r) && r.what == COFFER_ANCHOR_STATE && r.index < x->s->volume_count) {
		r.what = x->s->anchor_tpm ? anchor_tpm_tell(x, &r) : tell(x, &r);
		int err = x->ops->anchor_write(&r);
		if (err && err != -ENODEV) // unmounted while the broker was asked: the other volumes need the helper still
			return;
	}
}

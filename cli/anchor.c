// SPDX-License-Identifier: Apache-2.0
// Anchors of the owner's commands: the broker remembers, as it does for enclaves; or a TPM (anchor_tpm.c); or nobody.
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/owner.h"

static struct broker_anchor to_broker(const struct seal_anchor *a)
{
	struct broker_anchor b = {.epoch = a->epoch, .generation = a->generation};
	memcpy(b.digest, a->digest, sizeof(b.digest));
	return b;
}

static int open_broker(void *ctx, struct broker_client **c, struct fault *f)
{
	const struct owner *o = ctx;

	return broker_client_open(c, &o->broker, f);
}

static int told(int err, const struct fault *f, struct seal_tool_err *e)
{
	if (err && err != -ENOENT)
		snprintf(e->text, sizeof(e->text), "the anchor: %.480s", f->text);
	return err;
}

static int get(void *ctx, const u8 id[SEAL_ID_BYTES], struct seal_anchor *out, struct seal_tool_err *e)
{
	struct broker_client *c;
	struct broker_anchor b;
	struct fault f = {0};
	int err = open_broker(ctx, &c, &f);

	if (!err) {
		err = broker_client_anchor_get(c, id, &b, &f);
		broker_client_close(c);
	}
	if (!err) {
		*out = (struct seal_anchor){.epoch = b.epoch, .generation = b.generation};
		memcpy(out->digest, b.digest, sizeof(out->digest));
	}
	return told(err, &f, e);
}

static int claim(void *ctx, const u8 id[SEAL_ID_BYTES], const struct seal_anchor *from, const struct seal_anchor *found, u64 *epoch,
		 struct seal_tool_err *e)
{
	struct broker_anchor was = from ? to_broker(from) : (struct broker_anchor){0}, to = to_broker(found), got;
	struct broker_client *c;
	struct fault f = {0};
	int err = open_broker(ctx, &c, &f);

	if (!err) {
		err = broker_client_anchor_claim(c, id, from ? &was : NULL, &to, &got, &f);
		broker_client_close(c);
	}
	if (!err)
		*epoch = got.epoch;
	return told(err == -ENOENT ? -EPROTO : err, &f, e);
}

static int advance(void *ctx, const u8 id[SEAL_ID_BYTES], const struct seal_anchor *now, struct seal_tool_err *e)
{
	struct broker_anchor to = to_broker(now);
	struct broker_client *c;
	struct fault f = {0};
	int err = open_broker(ctx, &c, &f);

	if (!err) {
		err = broker_client_anchor_advance(c, id, &to, &f);
		broker_client_close(c);
	}
	return told(err == -ENOENT ? -EPROTO : err, &f, e);
}

static int set(void *ctx, const u8 id[SEAL_ID_BYTES], const struct seal_anchor *now, struct seal_tool_err *e)
{
	struct broker_anchor to = to_broker(now);
	struct broker_client *c;
	struct fault f = {0};
	int err = open_broker(ctx, &c, &f);

	if (!err) {
		err = broker_client_anchor_set(c, id, &to, &f);
		broker_client_close(c);
	}
	return told(err == -ENOENT ? -EPROTO : err, &f, e);
}

int owner_anchor(const struct owner *o, struct fault *f)
{
	static struct owner kept;
	static const struct seal_tool_anchor broker = {.get = get, .claim = claim, .advance = advance, .set = set, .ctx = &kept};
	const char *where = o->anchor ? o->anchor : o->key_file ? "none" : "broker";

	if (!strncmp(where, "tpm", 3) && (!where[3] || where[3] == ':'))
		return owner_anchor_tpm(o, where[3] ? where + 4 : "device:/dev/tpmrm0", f);
	if (strcmp(where, "broker") && strcmp(where, "none"))
		return fault_set(f, -EINVAL, "--anchor is broker, tpm, tpm:WHERE or none, not '%.60s'", where);
	kept = *o;
	seal_tool_set_anchor(*where == 'b' ? &broker : NULL);
	return 0;
}

const char *owner_anchor_text(char *buf, size_t n)
{
	struct seal_tool_anchored a;

	seal_tool_last_anchored(&a);
	if (!a.asked)
		snprintf(buf, n, "not detected: no anchor was asked");
	else if (!a.known)
		snprintf(buf, n, "not detected: the %s remembers nothing of this volume yet", owner_anchor_is_tpm() ? "TPM" : "broker");
	else
		snprintf(buf, n, "not seen: the %s remembers commit %" PRIu64, owner_anchor_is_tpm() ? "TPM" : "broker", (uint64_t)a.generation);
	return buf;
}

// SPDX-License-Identifier: Apache-2.0
// Anchors of volumes that the owner's commands open: what is remembered is compared at each opening; who writes claims the volume
// first, and tells the anchor of the last state when he is done. One anchor for the whole process, set before the first volume.
#include "seal/tool_impl.h"

static const struct seal_tool_anchor *anchor;
static struct seal_tool_anchored last;

void seal_tool_set_anchor(const struct seal_tool_anchor *a) { anchor = a; }
void seal_tool_last_anchored(struct seal_tool_anchored *out) { *out = last; }

// What the anchor has of t->id. -ENOENT: nothing.
static int remembered(struct tool_vol *t, const u8 *key, struct seal_anchor *out, struct seal_tool_err *err)
{
	int r = anchor->begin ? anchor->begin(anchor->ctx, t->id, key, err) : 0;
	return r ? r : anchor->get(anchor->ctx, t->id, out, err);
}

int tool_attach(struct tool_vol *t, const u8 *key, u32 flags, struct seal_tool_err *err)
{
	struct seal_anchor least, found;
	struct seal_fault f = {0};
	u32 version;
	bool known = false;
	int r = 0;
	memset(&last, 0, sizeof last);
	if (anchor) {
		r = seal_probe(&t->host.io, &t->host.env, t->id, &version);
		if (r)
			return tool_err(err, r, "%s: %s", t->path, tool_why(r));
		r = remembered(t, key, &least, err);
		if (r && r != -ENOENT)
			return r;
		known = !r;
	}
	// the volume that the anchor was asked about, not what the file shows by now, or in its other root
	r = seal_mount_anchored(&t->host.io, &t->host.env, key, anchor ? t->id : NULL, flags | (anchor ? SEAL_CLAIM : 0), known ? &least : NULL, &t->vol,
				&f);
	if (r)
		return tool_err(err, r, "%s: %s", t->path, f.text[0] ? f.text : tool_why(r));
	last.asked = anchor != NULL;
	last.known = known;
	last.generation = known ? least.generation : 0;
	if (!anchor || flags & SEAL_RDONLY)
		return 0;
	seal_get_state(t->vol, &found);
	r = anchor->claim(anchor->ctx, t->id, known ? &least : NULL, &found, &found.epoch, err);
	if (r) {
		seal_fence(t->vol);
		seal_unmount(t->vol);
		t->vol = NULL;
		return r;
	}
	seal_set_epoch(t->vol, found.epoch);
	t->claimed = true;
	t->told = found.generation;
	return 0;
}

int tool_settle(struct tool_vol *t, struct seal_tool_err *err)
{
	struct seal_anchor now;
	if (!t->claimed)
		return 0;
	int r = seal_checkpoint(t->vol);
	seal_get_state(t->vol, &now);
	if (!r && now.generation != t->told)
		r = anchor->advance(anchor->ctx, t->id, &now, err);
	else if (r)
		tool_err(err, r, "%s: writing the volume: %s", t->path, tool_why(r));
	return r;
}

// Opens the volume that the anchor is asked about, whatever its state is.
static int look(struct tool_vol *t, const char *path, const u8 *key, struct seal_tool_anchor_view *v, struct seal_tool_err *err)
{
	struct seal_fault f = {0};
	u32 version;
	memset(v, 0, sizeof *v);
	memset(t, 0, sizeof *t);
	t->path = path;
	if (!anchor)
		return tool_err(err, -ENOTCONN, "%s: there is no anchor to ask (--anchor)", path);
	int r = hostio_open(&t->host, path, HOSTIO_READ);
	if (r)
		return tool_err(err, r, "%s: %s", path, tool_why(r));
	r = seal_probe(&t->host.io, &t->host.env, t->id, &version);
	if (!r)
		r = seal_mount(&t->host.io, &t->host.env, key, t->id, SEAL_RDONLY, &t->vol, &f);
	if (r) {
		tool_err(err, r, "%s: %s", path, f.text[0] ? f.text : tool_why(r));
		goto out;
	}
	seal_get_state(t->vol, &v->found);
	r = remembered(t, key, &v->remembered, err);
	v->known = !r;
	r = r == -ENOENT ? 0 : r;
	if (!r && v->known)
		v->verdict = seal_anchor_check(&v->found, &v->remembered, v->why, sizeof v->why);
out:
	return r ? tool_unmount(t, r, err) : 0;
}

int seal_tool_anchor_view(const char *path, const u8 key[SEAL_KEY_BYTES], struct seal_tool_anchor_view *v, struct seal_tool_err *err)
{
	struct tool_vol t;
	int r = look(&t, path, key, v, err);
	return r ? r : tool_unmount(&t, 0, err);
}

int seal_tool_anchor_set(const char *path, const u8 key[SEAL_KEY_BYTES], bool back, struct seal_tool_anchor_view *before,
			 struct seal_tool_err *err)
{
	struct tool_vol t;
	int r = look(&t, path, key, before, err);
	if (r)
		return r;
	if (before->known && before->found.generation < before->remembered.generation && !back)
		r = tool_err(err, -EEXIST, "%s is commit %lu, and the anchor remembers commit %lu: what was committed in between would be gone for "
			     "good (--force accepts that)", path, before->found.generation, before->remembered.generation);
	else if (!before->known || before->verdict)
		r = anchor->set(anchor->ctx, t.id, &before->found, err);
	return tool_unmount(&t, r, err);
}

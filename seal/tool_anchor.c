// SPDX-License-Identifier: Apache-2.0
// Anchors of volumes that the owner's commands open: what is remembered is compared at each opening; who writes claims the volume
// first, and tells the anchor of the last state when he is done. One anchor for the whole process, set before the first volume.
#include "seal/tool_impl.h"

static const struct seal_tool_anchor *anchor;
static struct seal_tool_anchored last;

void seal_tool_set_anchor(const struct seal_tool_anchor *a) { anchor = a; }
void seal_tool_last_anchored(struct seal_tool_anchored *out) { *out = last; }

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
		r = anchor->get(anchor->ctx, t->id, &least, err);
		if (r && r != -ENOENT)
			return r;
		known = !r;
	}
	// the volume that the anchor was asked about, not what the file shows by now, or in its other root
	r = seal_mount_anchored(&t->host.io, &t->host.env, key, anchor ? t->id : NULL, flags, known ? &least : NULL, &t->vol, &f);
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

// SPDX-License-Identifier: Apache-2.0
// What an owner does to a volume as a whole: snapshots, another key, another size, and the work in pieces that these leave.
// Each opens the volume, does it, and closes it with a commit. Hosted only.
#include "seal/tool_impl.h"
#include <stdlib.h>

#define WORK_BLOCKS 16384ul // between two looks at the clock and at signals

// The pieces of work that are left, until there are none. Stopping is not an error of the volume's: it goes on later.
static int work(struct tool_vol *t, const struct seal_tool_progress *p, struct seal_tool_err *err)
{
	struct seal_work w = {.what = ""};
	int r;
	while ((r = seal_work(t->vol, WORK_BLOCKS, &w)) > 0) {
		if (p && p->fn)
			p->fn(p->ctx, 0, w.done * SEAL_BLOCK, w.total * SEAL_BLOCK);
		if (seal_tool_stop)
			return tool_err(err, -EINTR, "%s: stopped (`coffer volume finish` goes on; the volume can be used meanwhile)",
					t->path);
	}
	return r ? tool_vol_err(err, t, r, w.what[0] ? w.what : "working") : 0;
}

int seal_tool_finish(const char *path, const u8 key[SEAL_KEY_BYTES], const struct seal_tool_progress *p,
		     struct seal_tool_err *err)
{
	struct tool_vol t;
	int r = tool_mount(&t, path, key, 0, err);
	return r ? r : tool_unmount(&t, work(&t, p, err), err);
}

static int snapshot_err(struct tool_vol *t, int e, const char *name, struct seal_tool_err *err)
{
	switch (e) {
	case -EEXIST: return tool_err(err, e, "%s: there is a snapshot %s already", t->path, name);
	case -ENOENT: return tool_err(err, e, "%s: there is no snapshot %s", t->path, name);
	case -EMLINK: return tool_err(err, e, "%s: it has as many snapshots as a volume can have", t->path);
	case -EINVAL: return tool_err(err, e, "%s: '%s' cannot be the name of a snapshot", t->path, name);
	default: return tool_vol_err(err, t, e, name);
	}
}

int seal_tool_snapshot(const char *path, const u8 key[SEAL_KEY_BYTES], enum seal_tool_snap what, const char *name,
		       const struct seal_tool_progress *p, struct seal_tool_err *err)
{
	struct tool_vol t;
	u32 len = (u32)strnlen(name, SEAL_SNAPNAME_MAX + 1);
	int r = tool_mount(&t, path, key, 0, err);
	if (r)
		return r;
	r = what == SEAL_SNAP_CREATE   ? seal_snapshot_create(t.vol, name, len)
	    : what == SEAL_SNAP_DELETE ? seal_snapshot_delete(t.vol, name, len)
				       : seal_snapshot_rollback(t.vol, name, len);
	if (r)
		r = snapshot_err(&t, r, name, err);
	else if (what != SEAL_SNAP_CREATE)
		r = work(&t, p, err);
	return tool_unmount(&t, r, err);
}

struct gather {
	struct seal_snapshot *v;
	size_t n, cap;
	int r;
};

static bool gather_one(void *ctx, const struct seal_snapshot *s)
{
	struct gather *g = ctx;
	if (g->n == g->cap) {
		struct seal_snapshot *v = realloc(g->v, (g->cap + 64) * sizeof *v);
		if (!v) {
			g->r = -ENOMEM;
			return false;
		}
		g->v = v;
		g->cap += 64;
	}
	g->v[g->n++] = *s;
	return true;
}

int seal_tool_snapshots(const char *path, const u8 key[SEAL_KEY_BYTES],
			void (*fn)(void *ctx, const struct seal_snapshot *s, u64 own_blocks), void *ctx,
			struct seal_tool_err *err)
{
	struct gather g = {0};
	struct tool_vol t;
	u64 own;
	int r = tool_mount(&t, path, key, SEAL_RDONLY, err);
	if (r)
		return r;
	r = seal_snapshot_list(t.vol, gather_one, &g);
	r = r ? r : g.r;
	for (size_t k = 0; k < g.n && !r; k++) {
		r = seal_snapshot_usage(t.vol, g.v[k].name, (u32)strlen(g.v[k].name), &own);
		if (!r)
			fn(ctx, &g.v[k], own);
	}
	if (r)
		r = tool_vol_err(err, &t, r, "listing snapshots");
	free(g.v);
	return tool_unmount(&t, r, err);
}

int seal_tool_rekey(const char *path, const u8 old[SEAL_KEY_BYTES], const u8 key[SEAL_KEY_BYTES], bool reencrypt,
		    int (*keep)(void *ctx, struct seal_tool_err *err), void *ctx, const struct seal_tool_progress *p,
		    struct seal_tool_err *err)
{
	struct tool_vol t;
	int r = tool_mount(&t, path, old, 0, err);
	if (r)
		return r;
	r = seal_rekey_begin(t.vol, old, key);
	if (r == -EBUSY) { // an attempt that nobody finished: its key opens nothing any more
		r = seal_rekey_finish(t.vol, old);
		r = r ? r : seal_rekey_begin(t.vol, old, key);
	}
	if (r) {
		r = tool_vol_err(err, &t, r, "giving it another key");
		goto out;
	}
	r = keep(ctx, err);
	if (r) // perhaps only its answer was lost, and the old key with it: both open the volume until the next attempt
		goto out;
	r = reencrypt ? seal_reencrypt(t.vol, key, key) : seal_rekey_finish(t.vol, key);
	if (r == -EBUSY)
		r = tool_err(err, r, "%s: it is being encrypted again already: `coffer volume finish` first", path);
	else if (r)
		r = tool_vol_err(err, &t, r, reencrypt ? "encrypting it again" : "taking the old key away");
	else if (reencrypt)
		r = work(&t, p, err);
out:
	return tool_unmount(&t, r, err);
}

int seal_tool_resize(const char *path, const u8 key[SEAL_KEY_BYTES], u64 bytes, bool grow, const struct seal_tool_progress *p,
		     struct seal_tool_err *err)
{
	struct seal_info i;
	struct tool_vol t;
	int r = tool_mount(&t, path, key, 0, err);
	if (r)
		return r;
	seal_get_info(t.vol, &i);
	if (bytes / SEAL_BLOCK == i.size_blocks && !i.shrinking)
		goto out;
	if (grow != (bytes / SEAL_BLOCK >= i.size_blocks)) {
		r = tool_err(err, -EINVAL, "%s: its limit is %lu bytes: that would %s it (coffer volume %s)", path,
			     i.size_blocks * SEAL_BLOCK, grow ? "shrink" : "grow", grow ? "shrink" : "grow");
		goto out;
	}
	r = seal_resize(t.vol, bytes);
	if (r == -ENOSPC)
		r = tool_err(err, r, "%s: what it holds (%lu bytes), and the room that it needs to work, does not fit", path, i.used_blocks * SEAL_BLOCK);
	else if (r == -EINVAL)
		r = tool_err(err, r, "%s: " TOOL_SIZES, path);
	else if (r)
		r = tool_vol_err(err, &t, r, "giving it another size");
	else
		r = work(&t, p, err);
out:
	return tool_unmount(&t, r, err);
}

s64 seal_tool_scrub(const char *path, const u8 key[SEAL_KEY_BYTES], void (*fn)(void *ctx, const struct seal_damage *d), void *ctx,
		    struct seal_scrub_stats *st, const struct seal_tool_progress *p, struct seal_tool_err *err)
{
	struct seal_scrub *scrub = NULL;
	struct tool_vol t;
	int r = tool_mount(&t, path, key, SEAL_RDONLY, err);
	if (r)
		return r;
	memset(st, 0, sizeof *st);
	r = seal_scrub_begin(t.vol, &scrub);
	while (!r && (r = seal_scrub_step(scrub, WORK_BLOCKS, fn, ctx, st)) > 0) {
		if (p && p->fn)
			p->fn(p->ctx, 0, st->blocks_done * SEAL_BLOCK, st->blocks_total * SEAL_BLOCK);
		r = seal_tool_stop ? -EINTR : 0;
	}
	if (r)
		tool_vol_err(err, &t, r, r == -EINTR ? "stopped" : "scrubbing");
	if (scrub)
		seal_scrub_end(scrub);
	r = tool_unmount(&t, r, err);
	return r ? r : (s64)st->damaged;
}

s64 seal_tool_fsck(const char *path, const u8 key[SEAL_KEY_BYTES], bool repair, u64 grow, const struct seal_checker *how,
		   struct seal_fsck_stats *st, struct seal_tool_err *err)
{
	struct seal_info was, now;
	struct tool_vol t;
	memset(st, 0, sizeof *st);
	int r = tool_mount(&t, path, key, SEAL_REPAIR | (repair ? 0 : SEAL_RDONLY), err);
	if (r)
		return r;
	seal_get_info(t.vol, &was);
	if (repair && grow)
		r = seal_resize(t.vol, grow);
	if (r) {
		r = r == -EINVAL ? tool_err(err, r, "%s: its limit is %lu bytes, and a repair can only make it larger", path, was.size_blocks * SEAL_BLOCK) :
				   tool_vol_err(err, &t, r, "giving it more room");
		return tool_unmount(&t, r, err);
	}
	s64 left = repair ? seal_repair(t.vol, how, st) : seal_fsck_watched(t.vol, how, st);
	seal_get_info(t.vol, &now);
	bool kept = now.generation != was.generation;
	if (left == -EINTR)
		r = tool_err(err, -EINTR, "%s: stopped: %s", path, kept ? "what was mended so far is kept" : "nothing was changed");
	else if (left == -ENOSPC)
		r = tool_err(err, -ENOSPC, "%s: there is no room to repair it, and %s: `coffer volume fsck --repair --size SIZE` with a SIZE of more than %lu MiB, "
			     "or more room on this disk", path, kept ? "only a part of it is done (nothing is lost by that)" : "it is as it was", was.size_blocks >> 8);
	else if (left < 0)
		r = tool_vol_err(err, &t, (int)left, repair ? "repairing" : "checking");
	r = tool_unmount(&t, r, err);
	return r ? r : left;
}

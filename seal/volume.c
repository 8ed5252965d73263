// SPDX-License-Identifier: Apache-2.0
// A volume's life: format, probe, mount, unmount, information. Takes the volume's lock in the calls on a mounted
// volume.
#include "seal/root.h"

static int vol_new(const struct seal_io *io, const struct seal_env *env, struct seal_vol **out)
{
	int r = gcm_init();
	if (r)
		return r;
	struct seal_vol *v = env->alloc(env->ctx, sizeof *v);
	if (!v)
		return -ENOMEM;
	memset(v, 0, sizeof *v);
	v->io = *io;
	v->env = *env;
	v->cur = NO_SESSION;
	list_init(&v->views);
	v->cursor = v->run_cursor = FIRST_BLOCK;
	v->longest = ~0ul;
	v->due_blocks = SYNC_DUE_BLOCKS;
	v->max_nodes = SEAL_MAX((env->cache_bytes ? env->cache_bytes : 16u << 20) / SEAL_BLOCK, 64ul);
	list_init(&v->lru);
	list_init(&v->inode_lru);
	list_init(&v->dirty_inodes);
	list_init(&v->orphans);
	for (u32 c = 0; c < NCLASS; c++)
		for (u32 l = 0; l < NLEVEL; l++)
			list_init(&v->dirty[c][l]);
	sv_tree_init(&v->itab, CLASS_ITAB, NULL);
	sv_tree_init(&v->bmap, CLASS_BMAP, NULL);
	sv_tree_init(&v->refs, CLASS_REFS, NULL);
	sv_tree_init(&v->snaps, CLASS_SNAP, NULL);
	v->keys = vol_alloc(v, NKEYS * sizeof *v->keys);
	v->gcm = vol_alloc(v, SEAL_BLOCK);
	for (v->nhash = 1024; v->nhash < v->max_nodes && v->nhash < 1u << 20;)
		v->nhash *= 2;
	v->hash = vol_alloc(v, v->nhash * sizeof *v->hash);
	r = sv_icache_init(v);
	v->buf = vol_alloc(v, SEAL_BUF_BYTES);
	if (v->keys)
		memset(v->keys, 0, NKEYS * sizeof *v->keys);
	if (v->hash)
		memset(v->hash, 0, v->nhash * sizeof *v->hash);
	*out = v;
	return v->keys && v->gcm && v->hash && v->buf ? r : -ENOMEM;
}

// Wipes and frees everything.
static void vol_destroy(struct seal_vol *v)
{
	sv_icache_end(v);
	v->discard = false;
	sv_reloc_end(v);
	sv_tree_drop(v, &v->itab);
	sv_tree_drop(v, &v->bmap);
	sv_tree_drop(v, &v->refs);
	sv_tree_drop(v, &v->snaps);
	sv_views_drop(v);
	sv_space_committed(v);
	vol_free(v, v->pending, v->npending_leaves * sizeof *v->pending);
	if (v->keys)
		root_unload(v);
	vol_free(v, v->keys, NKEYS * sizeof *v->keys);
	if (v->gcm)
		explicit_bzero(v->gcm, SEAL_BLOCK);
	vol_free(v, v->gcm, SEAL_BLOCK);
	vol_free(v, v->hash, v->nhash * sizeof *v->hash);
	vol_free(v, v->buf, SEAL_BUF_BYTES);
	vol_free(v, v->log_lost, sizeof *v->log_lost);
	sv_overlay_end(v);
	struct seal_env env = v->env;
	explicit_bzero(v, sizeof *v);
	env.free(env.ctx, v, sizeof *v);
}

static int make_dir(struct seal_vol *v, u32 mode, u64 want)
{
	struct seal_inode *i;
	int r = sv_inode_alloc(v, T_DIR | mode, 0, 0, &i);
	if (r)
		return r;
	i->nlink = 2;
	i->parent = SEAL_ROOT_INO;
	r = i->ino == want ? 0 : SEAL_ECORRUPT;
	sv_inode_put(v, i);
	return r;
}

int seal_format(const struct seal_io *io, const struct seal_env *env, const u8 key[SEAL_KEY_BYTES], const u8 *id,
		u64 size_bytes)
{
	struct seal_vol *v = NULL;
	struct node *b;
	u8 fresh[SEAL_ID_BYTES], secret[32];
	u64 blocks = size_bytes ? size_bytes / SEAL_BLOCK : 1ul << 28;
	if (blocks < 256 || blocks > MAX_BLOCKS)
		return -EINVAL;
	int r = vol_new(io, env, &v);
	if (r)
		goto out;
	if (!id) {
		r = env->random(env->ctx, fresh, sizeof fresh);
		id = fresh;
	}
	if (r)
		goto out;
	r = env->random(env->ctx, secret, sizeof secret);
	if (!r)
		r = env->random(env->ctx, v->dir_key, sizeof v->dir_key);
	if (r)
		goto out;
	root_keys(v, secret, id);
	r = key_wrap(v, key, secret, &v->wrap[0]);
	explicit_bzero(secret, sizeof secret);
	if (r)
		goto out;
	v->max_blocks = blocks;
	v->hiwater = v->used = v->end = FIRST_BLOCK;
	v->next_ino = SEAL_ROOT_INO;
	sv_space_set_reserve(v);
	r = sv_session_begin(v);
	if (!r)
		r = sv_tree_grow(v, &v->bmap, (blocks - 1) / BITS_PER_BLOCK);
	if (!r)
		r = sv_node_get(v, &v->bmap, 0, 0, NODE_WRITE, &b);
	if (r)
		goto out;
	*(u64 *)b->data |= (1ul << FIRST_BLOCK) - 1;
	sv_node_put(v, b);
	r = make_dir(v, 0755, SEAL_ROOT_INO);
	if (!r)
		r = make_dir(v, 0700, ORPHAN_INO);
	if (!r) {
		vol_changed(v);
		r = vol_commit(v, true);
	}
out:
	if (v)
		vol_destroy(v);
	return r;
}

int seal_probe(const struct seal_io *io, const struct seal_env *env, u8 id[SEAL_ID_BYTES], u32 *version)
{
	struct d_slot head;
	void *block = env->alloc(env->ctx, SEAL_BLOCK);
	int r = SEAL_ENOTVOLUME;
	if (!block)
		return -ENOMEM;
	for (u32 k = 0; k < 2 && r; k++) {
		enum slot_state st = slot_probe(io, k, block, &head);
		if (st == SLOT_OK || st == SLOT_BAD) {
			memcpy(id, head.id, SEAL_ID_BYTES);
			*version = head.version;
			r = 0;
		} else if (st == SLOT_VERSION && r == SEAL_ENOTVOLUME)
			r = SEAL_EVERSION;
		else if (st == SLOT_IO && r == SEAL_ENOTVOLUME)
			r = -EIO;
	}
	env->free(env->ctx, block, SEAL_BLOCK);
	return r;
}

static int refuse(struct seal_vol *v, int err, int kind, const char *text)
{
	v->fault.kind = kind;
	snprintf(v->fault.text, sizeof v->fault.text, "%s", text);
	if (v->env.log)
		v->env.log(v->env.ctx, text);
	return err;
}

// Loads a root whose slot authenticates, and checks what may be missing after a crash, unless it is to be repaired.
static int root_try(struct seal_vol *v, const u8 *key, const struct d_slot *s)
{
	int r = root_unlock(v, key, s);
	if (!r)
		r = root_load(v, s);
	if (r)
		return r;
	s64 size = v->io.size(v->io.ctx);
	if (size < 0)
		return vol_io_error(v, (int)size, 0, false);
	if (v->repairing) {
		v->cut_short = (u64)size / SEAL_BLOCK < v->end;
		v->end = SEAL_MIN(v->end, (u64)size / SEAL_BLOCK);
		return 0;
	}
	if ((u64)size / SEAL_BLOCK < v->end) {
		v->fault.kind = SEAL_FAULT_CUT;
		v->fault.block = (u64)size / SEAL_BLOCK;
		snprintf(v->fault.text, sizeof v->fault.text,
			 "the volume file is cut short: it has %ld bytes, its root needs %lu", size,
			 v->end * SEAL_BLOCK);
		return SEAL_ETAMPER;
	}
	return root_complete(v, s);
}

// The root that was not taken: a key that opens only that one is a key of the volume still, until it is written over.
static void look_aside(struct seal_vol *v)
{
	struct d_slot head;
	memcpy(v->newest_wrap, v->wrap, sizeof v->newest_wrap);
	memcpy(v->other_wrap, v->wrap, sizeof v->other_wrap);
	if (slot_probe(&v->io, v->slot ^ 1, v->buf, &head) == SLOT_OK && !memcmp(head.id, v->id, sizeof head.id))
		memcpy(v->other_wrap, head.wrap, sizeof v->other_wrap);
	v->clean = v->clean && !v->fell_back && !memcmp(v->wrap, v->other_wrap, sizeof v->wrap);
}

#define ROOT_TRIES 3 // to read a root, for a repair

// Picks the newest root that authenticates and loads it.
static int mount_root(struct seal_vol *v, const u8 *key, const u8 *expect_id, bool repair, struct d_slot *a, struct d_slot *b)
{
	enum slot_state st[2];
	bool seen[4] = {false};
	for (u32 k = 0; k < 2; k++) {
		int tries = 0;
		do
			st[k] = slot_read(v, k, key, k ? b : a);
		while (st[k] == SLOT_IO && repair && ++tries < ROOT_TRIES);
		if (st[k] < 4)
			seen[st[k]] = true;
	}
	bool unread = st[0] == SLOT_IO || st[1] == SLOT_IO, one = st[0] == SLOT_OK || st[1] == SLOT_OK;
	if (unread && !one)
		return refuse(v, -EIO, SEAL_FAULT_IO, "the host could not read the volume's root");
	if (unread && !repair) // it may be the newest, and readable the next time
		return refuse(v, -EIO, SEAL_FAULT_IO,
			      "the host could not read one of the volume's two roots, perhaps the newest (a repair takes the other one)");
	if (st[0] != SLOT_OK && st[1] != SLOT_OK) {
		if (seen[SLOT_KEY])
			return refuse(v, SEAL_EKEY, SEAL_FAULT_KEY,
				      "the key does not fit this volume (or the volume's header was altered)");
		if (seen[SLOT_BAD])
			return refuse(v, SEAL_ETAMPER, SEAL_FAULT_ROOT,
				      "the volume's root does not authenticate: changed, replaced or cut short");
		if (seen[SLOT_VERSION])
			return refuse(v, SEAL_EVERSION, SEAL_FAULT_NONE,
				      "the volume has a format that this program does not know (it reads version 3): use "
				      "the program that made it");
		return refuse(v, SEAL_ENOTVOLUME, SEAL_FAULT_NONE, "not a sealed volume");
	}
	struct d_slot *s = st[0] != SLOT_OK ? b : st[1] != SLOT_OK || a->generation > b->generation ? a : b;
	if (expect_id && memcmp(s->id, expect_id, SEAL_ID_BYTES))
		return refuse(v, SEAL_EIDENTITY, SEAL_FAULT_NONE, "this is another volume than the one asked for");
	struct d_slot *other = st[0] != SLOT_OK || st[1] != SLOT_OK ? NULL : s == a ? b : a;
	v->fell_back = !other;
	v->root_unread = unread;
	v->patient = repair;
	int r = root_try(v, key, s);
	// A commit that was interrupted: its root has landed, but not all that belongs to it. The one before is whole.
	if (r == SEAL_ETAMPER && s->together && other && !memcmp(other->id, s->id, SEAL_ID_BYTES)) {
		struct seal_fault first = v->fault;
		root_unload(v);
		r = root_try(v, key, other);
		if (r)
			v->fault = first;
		v->fell_back = true;
	}
	v->repairing = repair;
	if (r && r != -ENOMEM && repair) { // no root is whole: the newest for what it can give, or else the one before
		root_unload(v);
		r = root_try(v, key, s);
		if (r && r != -ENOMEM && other && !memcmp(other->id, s->id, SEAL_ID_BYTES)) {
			root_unload(v);
			r = root_try(v, key, other);
		}
	}
	if (!r && v->fell_back && v->env.log)
		v->env.log(v->env.ctx,
			   "one of the volume's two roots is not whole (an interrupted commit, or tampering): "
			   "using the other");
	if (!r) {
		memset(&v->fault, 0, sizeof v->fault);
		look_aside(v);
	}
	return r;
}

struct mounting {
	const struct seal_io *io;
	const struct seal_env *env;
	const u8 *key, *expect_id;
	u32 flags;
	const struct seal_anchor *least; // NULL: no anchor
	const char *snapshot;		 // NULL: the live tree
	u32 snapshot_len;
	bool salvage; // a repair whose log could not be gone through as it is
	bool no_log;  // not even so: what it holds is lost
};

// The directory ".snapshots", which no table holds.
static void snapdir_init(struct seal_vol *v)
{
	struct seal_inode *d = &v->snapdir;
	d->ino = SNAPDIR_INO;
	d->mode = T_DIR | 0555;
	d->nlink = 2;
	d->refs = 1;
	d->mtime = d->ctime = d->atime = d->btime = v->root->btime;
	list_init(&d->lru);
	list_init(&d->dirty_link);
	list_init(&d->orphan_link);
	sv_tree_init(&d->tree, CLASS_FILE, d);
}

// What was synced after the root. A mount that writes makes it part of its next commit; a check and a repair look at blocks only.
static int log_mount(struct seal_vol *v, bool read_only, bool salvage)
{
	int r = read_only ? sv_overlay_begin(v) : 0;
	if (!r)
		r = salvage ? sv_log_salvage(v) : sv_log_replay(v);
	bool any = v->log.records;
	if (!r && any && (read_only || v->repairing))
		r = vol_settle(v);
	if (!r && any && !read_only)
		vol_changed(v);
	if (!any)
		sv_overlay_end(v);
	if (!r)
		memset(&v->fault, 0, sizeof v->fault);
	return r;
}

static int log_is_lost(struct seal_vol *v)
{
	v->log_lost = vol_alloc(v, sizeof *v->log_lost);
	if (v->log_lost)
		*v->log_lost = (struct log_lost){.all = true};
	return v->log_lost ? 0 : -ENOMEM;
}

static int mount_do(const struct mounting *m, struct seal_vol **out, struct seal_fault *fault)
{
	const struct seal_anchor *least = m->least;
	u32 flags = m->flags;
	const size_t slot_bytes = SLOT_BLOCKS * SEAL_BLOCK;
	struct seal_vol *v = NULL;
	void *a = NULL, *b = NULL;
	bool no_log = false;
	*out = NULL;
	if (fault)
		memset(fault, 0, sizeof *fault);
	int r = vol_new(m->io, m->env, &v);
	if (r)
		goto out;
	a = vol_alloc(v, slot_bytes);
	b = vol_alloc(v, slot_bytes);
	r = a && b ? mount_root(v, m->key, m->expect_id, flags & SEAL_REPAIR, a, b) : -ENOMEM;
	if (r)
		goto out;
	sv_space_set_reserve(v);
	if (v->log.next && !m->no_log)
		r = log_mount(v, flags & SEAL_RDONLY, m->salvage);
	if (!r && m->no_log)
		r = log_is_lost(v);
	if (r) {
		no_log = v->repairing && r != -ENOMEM;
		goto out;
	}
	v->log.next = 0;
	if (least) {
		char text[sizeof v->fault.text];
		r = seal_anchor_check(&v->state, least, text, sizeof text);
		if (r) {
			refuse(v, r, SEAL_FAULT_ROLLBACK, text);
			goto out;
		}
	}
	v->unclaimed = (least || flags & SEAL_CLAIM) && !(flags & SEAL_RDONLY);
	v->epoch = 0; // until an anchor gives one: what is written without is of no writer
	if (m->snapshot)
		r = sv_view_mount(v, m->snapshot, m->snapshot_len);
	if (!r && !v->repairing)
		r = sv_inode_get(v, SEAL_ROOT_INO | sv_top(v), &v->root);
	if (!r && v->root && !sv_inode_is(v->root, T_DIR))
		r = vol_fault(v, SEAL_ECORRUPT, SEAL_FAULT_FORMAT, &v->itab, 0, 0, 0);
	if (!r && v->root)
		snapdir_init(v);
	v->read_only = flags & SEAL_RDONLY;
	v->discard = flags & SEAL_DISCARD && v->io.punch;
	if (!r && !v->read_only && !v->repairing)
		r = sv_orphans_reap(v);
out:
	if (v && a) {
		explicit_bzero(a, slot_bytes);
		vol_free(v, a, slot_bytes);
	}
	if (v && b) {
		explicit_bzero(b, slot_bytes);
		vol_free(v, b, slot_bytes);
	}
	if (r && v) {
		if (fault)
			*fault = v->fault;
		vol_destroy(v);
		v = NULL;
	}
	if (no_log && !m->no_log) { // a check begins at the root; a repair too, if it has to
		struct mounting again = *m;
		again.no_log = m->salvage || flags & SEAL_RDONLY;
		again.salvage = !again.no_log;
		return mount_do(&again, out, fault);
	}
	*out = v;
	return r;
}

int seal_mount(const struct seal_io *io, const struct seal_env *env, const u8 key[SEAL_KEY_BYTES], const u8 *expect_id,
	       u32 flags, struct seal_vol **out, struct seal_fault *fault)
{
	const struct mounting m = {.io = io, .env = env, .key = key, .expect_id = expect_id, .flags = flags};
	return mount_do(&m, out, fault);
}

int seal_mount_anchored(const struct seal_io *io, const struct seal_env *env, const u8 key[SEAL_KEY_BYTES],
			const u8 *expect_id, u32 flags, const struct seal_anchor *least, struct seal_vol **out,
			struct seal_fault *fault)
{
	const struct mounting m = {
		.io = io, .env = env, .key = key, .expect_id = expect_id, .flags = flags, .least = least};
	return mount_do(&m, out, fault);
}

int seal_mount_snapshot(const struct seal_io *io, const struct seal_env *env, const u8 key[SEAL_KEY_BYTES],
			const u8 *expect_id, const char *name, u32 len, const struct seal_anchor *least, struct seal_vol **out,
			struct seal_fault *fault)
{
	const struct mounting m = {.io = io,
				   .env = env,
				   .key = key,
				   .expect_id = expect_id,
				   .flags = SEAL_RDONLY,
				   .least = least,
				   .snapshot = name,
				   .snapshot_len = len};
	return mount_do(&m, out, fault);
}

int seal_unmount(struct seal_vol *v)
{
	vol_lock(v);
	if (v->root)
		sv_inode_put(v, v->root);
	int r = v->failed ? v->failed : vol_commit(v, true);
	vol_unlock(v);
	vol_destroy(v);
	return r;
}

void seal_get_info(struct seal_vol *v, struct seal_info *out)
{
	u32 dying = 0;
	vol_lock(v);
	if (v->nsnaps)
		sv_views_load(v); // unreadable: they count as they are
	memset(out, 0, sizeof *out);
	memcpy(out->id, v->id, SEAL_ID_BYTES);
	out->version = FORMAT;
	out->generation = v->generation;
	out->size_blocks = v->max_blocks;
	out->used_blocks = v->used;
	out->free_blocks = v->max_blocks - v->used;
	out->inodes = v->inodes;
	for (u32 k = 0; k < v->nsessions; k++)
		out->sessions += v->sessions[k].used;
	out->read_only = v->read_only;
	out->fell_back = v->fell_back;
	for (struct list *e = v->views.next; e != &v->views; e = e->next)
		dying += LIST_ENTRY(e, struct view, link)->dying;
	out->snapshots = v->nsnaps - dying;
	out->keys = key_count(v);
	out->reencrypting = root_has_old(v);
	out->shrinking = v->shrink_to != 0;
	out->freeing = dying != 0;
	out->shared_blocks = v->nshared;
	out->reserved_blocks = v->reserved;
	out->log_records = v->log.records;
	vol_unlock(v);
}

void seal_get_fault(struct seal_vol *v, struct seal_fault *out)
{
	vol_lock(v);
	*out = v->fault;
	vol_unlock(v);
}

static u64 room(const struct seal_vol *v, u64 *bfree)
{
	u64 kept = sv_space_kept(v);
	u64 gone = v->used + v->ndirty + v->reserved;
	*bfree = sv_space_top(v) > gone ? sv_space_top(v) - gone : 0;
	return *bfree > kept ? *bfree - kept : 0;
}

u64 seal_room(const struct seal_vol *v)
{
	u64 bfree;
	return room(v, &bfree);
}

void seal_statfs(struct seal_vol *v, struct seal_statfs *out)
{
	vol_lock(v);
	out->blocks = sv_space_top(v) - FIRST_BLOCK;
	out->bavail = room(v, &out->bfree);
	out->ffree = out->bavail * INODES_PER_BLOCK;
	out->files = v->inodes + out->ffree;
	vol_unlock(v);
}

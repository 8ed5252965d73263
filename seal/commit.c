// SPDX-License-Identifier: Apache-2.0
// Commit: everything that changed goes to places the committed root does not refer to; then a flush; then the new root
// into the older of the two slots; then a flush. A crash at any point leaves the old root or the new one.
// A small commit saves the first flush: its root lists the blocks that go with it, and counts only if they are all
// there.
#include "seal/root.h"

int vol_abort(struct seal_vol *v, int err)
{
	if (!v->failed) {
		v->failed = -EIO;
		if (v->env.log)
			v->env.log(v->env.ctx,
				   "volume closed for changes after a failure; its last committed state is intact");
	}
	return err;
}

// Gives every dirty bitmap block and session table block its new place. Placing one may dirty another, until none is
// left.
static int place_all(struct seal_vol *v)
{
	for (bool more = true; more;) {
		more = false;
		for (u32 level = 0; level <= MAX_HEIGHT; level++) {
			struct list *l = &v->dirty[CLASS_BMAP][level];
			for (struct list *e = l->next; e != l; e = e->next) {
				struct node *n = LIST_ENTRY(e, struct node, lru), *holder;
				struct d_ptr *slot;
				u64 got;
				if (n->new_addr)
					continue;
				int r = sv_space_alloc(v, 1, &n->new_addr, &got);
				if (!r)
					r = sv_tree_slot(v, &v->bmap, level, n->index, NODE_READ, &slot, &holder);
				if (r)
					return r;
				sv_node_put(v, holder);
				if (ptr_addr(slot))
					r = sv_space_free_sole(v, slot);
				if (r)
					return r;
				memset(slot, 0, sizeof *slot);
				more = true;
			}
		}
		for (u32 k = 0; k < v->ntables; k++) {
			struct table *t = &v->tables[k];
			u64 got;
			if (!t->dirty || t->new_addr)
				continue;
			int r = sv_space_alloc(v, 1, &t->new_addr, &got);
			if (!r && t->ptr.addr)
				r = sv_space_free_addr(v, t->ptr.addr);
			if (r)
				return r;
			more = true;
		}
	}
	return 0;
}

static int commit_tables(struct seal_vol *v)
{
	int r = 0;
	for (u32 k = 0; k < v->ntables && !r; k++) {
		struct table *t = &v->tables[k];
		if (!t->dirty)
			continue;
		t->ptr.addr = t->new_addr;
		r = table_write(v, k);
		t->dirty = false;
		t->new_addr = 0;
	}
	return r;
}

// Once no block is left under the secret before the present one, nobody needs it any more.
static void forget_old_secret(struct seal_vol *v)
{
	for (u32 k = 0; k < v->nsessions; k++)
		if (v->sessions[k].used && v->sessions[k].era != v->era)
			return;
	explicit_bzero(v->old_secret, sizeof v->old_secret);
	explicit_bzero(v->old_prk, sizeof v->old_prk);
}

// second: of the two of a clean close. The anchor is told of the first, so that either of them opens.
static int root_store(struct seal_vol *v, bool clean, bool second, u64 log)
{
	u8 head[SLOT_PLAIN];
	int r = slot_write(v, v->generation + 1, clean ? 1u + second : 0, log);
	memcpy(head, v->buf, sizeof head);
	if (!r)
		r = sv_flush(v);
	if (r)
		return r;
	v->generation++;
	memcpy(v->other_wrap, v->newest_wrap, sizeof v->other_wrap);
	memcpy(v->newest_wrap, v->wrap, sizeof v->newest_wrap);
	v->slot ^= 1;
	sv_log_follows(v, log, head + offsetof(struct d_slot, tag));
	if (!second)
		sv_anchor_note(v, v->generation, v->epoch, head);
	return 0;
}

// All that can be tried again when it fails: nothing is lost, it is still dirty.
static int write_contents(struct seal_vol *v)
{
	int r = sv_session_begin(v);
	if (!r)
		r = sv_orphans_store(v);
	if (!r)
		r = sv_nodes_writeback(v, CLASS_FILE);
	if (!r)
		r = sv_inodes_writeback(v);
	if (!r)
		r = sv_nodes_writeback(v, CLASS_ITAB);
	if (!r)
		r = sv_views_writeback(v);
	if (!r)
		r = sv_nodes_writeback(v, CLASS_SNAP);
	if (!r && !v->nshared && !v->moving) // all of its counters are zero
		r = sv_tree_free_range(v, &v->refs, 0, ~0ul);
	if (!r)
		r = sv_nodes_writeback(v, CLASS_REFS);
	return r;
}

static int write_tables(struct seal_vol *v)
{
	v->placing = true;
	int r = place_all(v);
	v->placing = false;
	if (!r)
		r = sv_nodes_writeback(v, CLASS_BMAP);
	if (!r)
		r = commit_tables(v);
	return r;
}

int vol_settle(struct seal_vol *v)
{
	int r = write_contents(v);
	if (!r)
		r = write_tables(v);
	return r;
}

int vol_commit(struct seal_vol *v, bool clean)
{
	u64 log = 0;
	if (v->read_only)
		return 0;
	if (v->failed)
		return v->failed;
	if (!v->changed && (!clean || v->clean))
		return 0;
	if (v->unclaimed)
		return -EBUSY;
	int r = write_contents(v);
	if (!r && !clean)
		r = sv_log_begin(v, &log);
	if (r)
		return r;
	r = write_tables(v);
	if (!r)
		forget_old_secret(v);
	if (!r && (clean || v->recent_full))
		r = sv_flush(v);
	if (!r)
		r = root_store(v, clean, false, log);
	if (!r && clean) // both slots hold it, so that damage to one costs nothing
		r = root_store(v, clean, true, log);
	if (r)
		return vol_abort(v, r == -ENOSPC ? r : vol_io_error(v, r, 0, true));
	sv_space_committed(v);
	v->changed = v->log.unsynced = v->log.beyond = false;
	v->log.inodes = v->log.pages = 0;
	v->clean = clean;
	v->txn_ctr = v->ctr;
	if (log && sv_space_hold(v, log))
		v->log.next = 0;
	if (v->ctr >> 32) { // far below what AES-GCM bears under one key
		v->tables[v->cur / SESSIONS_PER_BLOCK].dirty = true;
		v->cur = NO_SESSION;
	}
	return 0;
}

#define UNFLUSHED_MOST 256u // blocks

// Much takes the host long: it is made durable before the commit, while others have the lock, so that the commit's own flushes have little left
// to do. An error ends all changes; who commits meanwhile gets it from his own flush.
static void flush_ahead(struct seal_vol *v)
{
	v->unflushed = 0;
	vol_unlock(v);
	int r = v->io.flush(v->io.ctx);
	vol_lock(v);
	if (r)
		vol_abort(v, vol_io_error(v, r, 0, true));
}

// By a record of the log where one can tell what has changed, else by a root.
int seal_sync(struct seal_vol *v)
{
	vol_lock(v);
	if (!v->failed && v->log.unsynced && !v->read_only && v->unflushed > UNFLUSHED_MOST)
		flush_ahead(v);
	int r = v->failed;
	if (!r && v->log.unsynced && !v->read_only) {
		r = sv_log_write(v);
		r = r ? r : vol_commit(v, false);
	}
	vol_unlock(v);
	return r < 0 ? r : 0;
}

bool seal_sync_due(const struct seal_vol *v)
{
	return __atomic_load_n(&v->crowded, __ATOMIC_RELAXED) && __atomic_load_n(&v->replaced, __ATOMIC_RELAXED) >= v->due_blocks;
}

int seal_checkpoint(struct seal_vol *v)
{
	vol_lock(v);
	int r = v->failed ? v->failed : vol_commit(v, true);
	vol_unlock(v);
	return r;
}

// SPDX-License-Identifier: Apache-2.0
// The two root slots and the session table. A slot says in plaintext which volume it is, whether a key fits, and the
// salt of the session that wrote it; all of that is authenticated with the encrypted rest. The salts of older sessions
// are in table blocks, each under a random key of its own that the root holds the salt of.
#include "seal/root.h"
#include "seal/sha256.h"

int root_unlock(struct seal_vol *v, const u8 key[SEAL_KEY_BYTES], const struct d_slot *head)
{
	u8 secret[32];
	int r = key_unwrap(v, key, head, secret);
	if (!r)
		root_keys(v, secret, head->id);
	explicit_bzero(secret, sizeof secret);
	return r;
}

// A key used once: for a slot (read), or a block of the session table. The caller passes keyslot 0's place.
static const struct gcm_key *once_key(struct seal_vol *v, const char *purpose, const u8 salt[32])
{
	u8 key[32];
	v->keys[0].valid = false;
	seal_hkdf_expand(v->prk, purpose, salt, 32, key, 32);
	fpu_begin(v);
	gcm_key_set(&v->keys[0].key, key);
	fpu_end(v);
	explicit_bzero(key, sizeof key);
	return &v->keys[0].key;
}

static void slot_nonce(const struct d_slot *s, u8 nonce[12])
{
	u32 purpose = 1; // blocks have 0
	memcpy(nonce, &s->ctr, 8);
	memcpy(nonce + 8, &purpose, 4);
}

static void tree_store(const struct tree *t, struct d_tree *d)
{
	d->height = t->height;
	memcpy(d->root, t->root, sizeof d->root);
}

int slot_write(struct seal_vol *v, u64 generation, u32 clean, u64 log)
{
	u32 slot = v->slot ^ 1;
	size_t tables = v->ntables * sizeof(struct d_table_ptr), recents = v->nrecent * sizeof(struct d_recent);
	u32 length = (u32)((sizeof(struct d_slot) + tables + recents + SEAL_BLOCK - 1) & ~(SEAL_BLOCK - 1ul));
	struct d_slot *s = vol_alloc(v, length);
	u8 nonce[12];
	if (!s)
		return -ENOMEM;
	memset(s, 0, length);
	memcpy(s->magic, MAGIC, 8);
	s->version = FORMAT;
	s->length = length;
	memcpy(s->id, v->id, 16);
	memcpy(s->salt, v->sessions[v->cur].salt, 32);
	s->ctr = v->ctr++;
	s->slot = slot;
	s->epoch = v->epoch;
	memcpy(s->wrap, v->wrap, sizeof s->wrap);
	s->generation = generation;
	s->max_blocks = v->max_blocks;
	s->hiwater = v->hiwater;
	s->used = v->used;
	s->end = v->end;
	s->next_ino = v->next_ino;
	s->free_ino = v->free_ino;
	s->inodes = v->inodes;
	s->clean = clean;
	s->session = v->cur;
	s->session_live = v->sessions[v->cur].live;
	s->sessions = v->nsessions;
	s->tables = v->ntables;
	memcpy(s->dir_key, v->dir_key, sizeof s->dir_key);
	s->era = v->era;
	memcpy(s->old_secret, v->old_secret, sizeof s->old_secret);
	s->shared = v->nshared;
	s->reserved = v->reserved;
	s->shrink_to = v->shrink_to;
	s->snapshots = v->nsnaps;
	s->next_view = v->next_view;
	s->log = log;
	tree_store(&v->itab, &s->itab);
	tree_store(&v->bmap, &s->bmap);
	tree_store(&v->refs, &s->refs);
	tree_store(&v->snaps, &s->snaps);
	for (u32 k = 0; k < v->ntables; k++)
		s->table[k] = v->tables[k].ptr;
	s->together = v->nrecent || v->end > v->flushed_end; // room that was only given may be missing too
	s->recents = v->nrecent;
	memcpy(&s->table[v->ntables], v->recent, recents);
	slot_nonce(s, nonce);
	const struct gcm_key *key = sv_session_key(v, v->cur);
	memcpy(v->buf, s, SLOT_PLAIN);
	fpu_begin(v);
	gcm_encrypt(key, v->gcm, v->buf + SLOT_PLAIN, (u8 *)s + SLOT_PLAIN, length - SLOT_PLAIN, nonce, s,
		    offsetof(struct d_slot, tag), v->buf + offsetof(struct d_slot, tag));
	fpu_end(v);
	explicit_bzero(s, length);
	vol_free(v, s, length);
	return v->io.write(v->io.ctx, slot * SLOT_BLOCKS * SEAL_BLOCK, v->buf, length);
}

enum slot_state slot_probe(const struct seal_io *io, u32 k, void *block, struct d_slot *head)
{
	int r = io->read(io->ctx, k * SLOT_BLOCKS * SEAL_BLOCK, block, SEAL_BLOCK);
	if (r)
		return r == -ENODATA ? SLOT_BLANK : SLOT_IO;
	memcpy(head, block, SLOT_PLAIN);
	if (memcmp(head->magic, MAGIC, 8))
		return SLOT_BLANK;
	if (head->version != FORMAT)
		return SLOT_VERSION;
	if (head->length < sizeof(struct d_slot) || head->length % SEAL_BLOCK ||
	    head->length > SLOT_BLOCKS * SEAL_BLOCK)
		return SLOT_BAD;
	return SLOT_OK;
}

enum slot_state slot_read(struct seal_vol *v, u32 k, const u8 key[SEAL_KEY_BYTES], void *buf)
{
	struct d_slot head, *s = buf;
	u8 nonce[12];
	enum slot_state st = slot_probe(&v->io, k, v->buf, &head);
	if (st != SLOT_OK)
		return st;
	int r = root_unlock(v, key, &head);
	if (r)
		return r == SEAL_EKEY ? SLOT_KEY : SLOT_BAD;
	r = v->io.read(v->io.ctx, k * SLOT_BLOCKS * SEAL_BLOCK, v->buf, head.length);
	if (r)
		return r == -ENODATA ? SLOT_BAD : SLOT_IO;
	memcpy(s, &head, SLOT_PLAIN); // the copy that was checked, not the second reading
	slot_nonce(s, nonce);
	const struct gcm_key *gk = once_key(v, "coffer session key", s->salt);
	fpu_begin(v);
	r = gcm_decrypt(gk, v->gcm, (u8 *)s + SLOT_PLAIN, v->buf + SLOT_PLAIN, s->length - SLOT_PLAIN, nonce, s,
			offsetof(struct d_slot, tag), s->tag);
	fpu_end(v);
	return r || s->slot != k ? SLOT_BAD : SLOT_OK;
}

struct table_aad {
	u8 id[16];
	u64 addr;
	u32 cls, index;
};
#define CLASS_TABLE NCLASS

int table_write(struct seal_vol *v, u32 k)
{
	struct table *t = &v->tables[k];
	struct table_aad a = {.addr = t->ptr.addr, .cls = CLASS_TABLE, .index = k};
	static const u8 nonce[12]; // the key is used once
	struct d_session *d = vol_alloc(v, SEAL_BLOCK);
	if (!d)
		return -ENOMEM;
	int r = v->env.random(v->env.ctx, t->ptr.salt, sizeof t->ptr.salt);
	if (r)
		goto out;
	memset(d, 0, SEAL_BLOCK);
	for (u64 j = 0; j < SESSIONS_PER_BLOCK && k * SESSIONS_PER_BLOCK + j < v->nsessions; j++) {
		const struct session *s = &v->sessions[k * SESSIONS_PER_BLOCK + j];
		if (!s->used)
			continue;
		memcpy(d[j].salt, s->salt, 32);
		d[j].live = s->live;
		d[j].era = s->era;
	}
	memcpy(a.id, v->id, 16);
	const struct gcm_key *key = once_key(v, "coffer session table", t->ptr.salt);
	fpu_begin(v);
	gcm_encrypt(key, v->gcm, v->buf, d, SEAL_BLOCK, nonce, &a, sizeof a, t->ptr.tag);
	fpu_end(v);
	r = v->io.write(v->io.ctx, t->ptr.addr * SEAL_BLOCK, v->buf, SEAL_BLOCK);
	v->end = SEAL_MAX(v->end, t->ptr.addr + 1);
out:
	explicit_bzero(d, SEAL_BLOCK);
	vol_free(v, d, SEAL_BLOCK);
	return r;
}

static int table_read(struct seal_vol *v, u32 k)
{
	struct table *t = &v->tables[k];
	struct table_aad a = {.addr = t->ptr.addr, .cls = CLASS_TABLE, .index = k};
	static const u8 nonce[12];
	if (t->ptr.addr < FIRST_BLOCK || t->ptr.addr >= v->max_blocks)
		return vol_fault(v, SEAL_ECORRUPT, SEAL_FAULT_POINTER, NULL, 0, k, t->ptr.addr);
	struct d_session *d = vol_alloc(v, SEAL_BLOCK);
	if (!d)
		return -ENOMEM;
	memcpy(a.id, v->id, 16);
	int r = sv_host_read(v, t->ptr.addr, v->buf, 1);
	if (r == -ENODATA)
		r = vol_fault(v, SEAL_ETAMPER, SEAL_FAULT_CUT, NULL, 0, k, t->ptr.addr);
	else if (r)
		r = vol_io_error(v, r, t->ptr.addr, false);
	if (r)
		goto out;
	const struct gcm_key *key = once_key(v, "coffer session table", t->ptr.salt);
	fpu_begin(v);
	r = gcm_decrypt(key, v->gcm, d, v->buf, SEAL_BLOCK, nonce, &a, sizeof a, t->ptr.tag);
	fpu_end(v);
	if (r) {
		r = vol_fault(v, SEAL_ETAMPER, SEAL_FAULT_CONTENT, NULL, 0, k, t->ptr.addr);
		goto out;
	}
	for (u64 j = 0; j < SESSIONS_PER_BLOCK && k * SESSIONS_PER_BLOCK + j < v->nsessions; j++) {
		static const u8 none[32];
		struct session *s = &v->sessions[k * SESSIONS_PER_BLOCK + j];
		memcpy(s->salt, d[j].salt, 32);
		s->live = d[j].live;
		s->era = d[j].era;
		s->used = memcmp(s->salt, none, 32) != 0;
		if (s->used && s->era != v->era && (!root_has_old(v) || s->era + 1 != v->era))
			r = vol_fault(v, SEAL_ECORRUPT, SEAL_FAULT_FORMAT, NULL, 0, k, t->ptr.addr);
	}
out:
	explicit_bzero(d, SEAL_BLOCK);
	vol_free(v, d, SEAL_BLOCK);
	return r;
}

static int tree_load(struct tree *t, u32 cls, const struct d_tree *d)
{
	sv_tree_init(t, cls, NULL);
	if (d->height > MAX_HEIGHT)
		return SEAL_ECORRUPT;
	t->height = (u8)d->height;
	memcpy(t->root, d->root, sizeof t->root);
	return 0;
}

int root_load(struct seal_vol *v, const struct d_slot *s)
{
	u64 tables = (s->sessions + SESSIONS_PER_BLOCK - 1) / SESSIONS_PER_BLOCK;
	bool sane = s->max_blocks >= FIRST_BLOCK && s->max_blocks <= MAX_BLOCKS && s->hiwater <= s->max_blocks &&
		    s->used <= s->hiwater && s->end <= s->max_blocks && s->sessions && s->sessions <= MAX_SESSIONS &&
		    s->session < s->sessions && s->tables == tables && s->free_ino < s->next_ino &&
		    s->recents <= RECENT_MAX && s->snapshots <= MAX_SNAPSHOTS && s->next_view <= MAX_VIEW_ID &&
		    s->shrink_to <= s->max_blocks && s->next_ino < 1ul << VIEW_SHIFT &&
		    sizeof *s + s->tables * sizeof s->table[0] + s->recents * sizeof(struct d_recent) <= s->length;
	if (!sane || tree_load(&v->itab, CLASS_ITAB, &s->itab) || tree_load(&v->bmap, CLASS_BMAP, &s->bmap) ||
	    tree_load(&v->refs, CLASS_REFS, &s->refs) || tree_load(&v->snaps, CLASS_SNAP, &s->snaps))
		return vol_fault(v, SEAL_ECORRUPT, SEAL_FAULT_FORMAT, NULL, 0, 0, 0);
	v->generation = s->generation;
	v->slot = s->slot;
	v->log = (struct log){.next = s->log, .session = s->session};
	memcpy(v->log.chain, s->tag, sizeof v->log.chain);
	v->max_blocks = s->max_blocks;
	v->hiwater = s->hiwater;
	v->used = s->used;
	v->end = v->flushed_end = s->end;
	v->next_ino = s->next_ino;
	v->free_ino = s->free_ino;
	v->inodes = s->inodes;
	v->clean = s->clean == 2;
	memcpy(v->wrap, s->wrap, sizeof v->wrap);
	memcpy(v->dir_key, s->dir_key, sizeof v->dir_key);
	v->era = s->era;
	root_old_keys(v, s->old_secret);
	v->nshared = s->shared;
	v->reserved = s->reserved;
	v->shrink_to = s->shrink_to;
	v->nsnaps = s->snapshots;
	v->next_view = s->next_view;
	sv_anchor_note(v, s->generation, s->epoch, s);
	v->nsessions = v->cap_sessions = s->sessions;
	v->ntables = v->cap_tables = s->tables;
	v->sessions = vol_alloc(v, v->cap_sessions * sizeof *v->sessions);
	v->tables = vol_alloc(v, v->cap_tables * sizeof *v->tables);
	if (!v->sessions || !v->tables)
		return -ENOMEM;
	memset(v->sessions, 0, v->cap_sessions * sizeof *v->sessions);
	memset(v->tables, 0, v->cap_tables * sizeof *v->tables);
	for (u32 k = 0; k < v->ntables; k++) {
		v->tables[k].ptr = s->table[k];
		int r = table_read(v, k);
		if (r && (!v->repairing || r == -ENOMEM))
			return r;
		if (r) { // whatever is under its keys is lost
			u32 first = k * (u32)SESSIONS_PER_BLOCK;
			memset(v->sessions + first, 0, SEAL_MIN(v->nsessions - first, (u32)SESSIONS_PER_BLOCK) * sizeof *v->sessions);
			if (v->tables[k].ptr.addr < FIRST_BLOCK || v->tables[k].ptr.addr >= v->hiwater)
				v->tables[k].ptr.addr = 0;
			v->tables[k].dirty = true;
			v->tables_lost++;
		}
	}
	struct session *last = &v->sessions[s->session];
	if (v->tables_lost && !last->used) // that one the root tells itself
		*last = (struct session){.era = v->era, .used = true};
	if (v->tables_lost)
		memcpy(last->salt, s->salt, 32);
	if (!last->used || memcmp(last->salt, s->salt, 32))
		return vol_fault(v, SEAL_ECORRUPT, SEAL_FAULT_FORMAT, NULL, 0, 0, 0);
	last->live = s->session_live;
	v->tables[s->session / SESSIONS_PER_BLOCK].dirty = true; // its entry does not have the count yet
	return 0;
}

int root_complete(struct seal_vol *v, const struct d_slot *s)
{
	const struct d_recent *list = (const struct d_recent *)&s->table[s->tables];
	u8 *page = vol_alloc(v, SEAL_BLOCK);
	int r = page ? 0 : -ENOMEM;
	for (u32 k = 0; k < s->recents && !r; k++) {
		struct tree t;
		if (list[k].cls >= NCLASS)
			r = SEAL_ECORRUPT;
		sv_tree_init(&t, list[k].cls, NULL);
		if (!r)
			r = sv_block_read(v, &t, list[k].level, 0, &list[k].ptr, page);
	}
	if (page)
		explicit_bzero(page, SEAL_BLOCK);
	vol_free(v, page, SEAL_BLOCK);
	return r;
}

void root_unload(struct seal_vol *v)
{
	if (v->sessions)
		explicit_bzero(v->sessions, v->cap_sessions * sizeof *v->sessions);
	vol_free(v, v->sessions, v->cap_sessions * sizeof *v->sessions);
	vol_free(v, v->tables, v->cap_tables * sizeof *v->tables);
	v->sessions = NULL;
	v->tables = NULL;
	v->nsessions = v->cap_sessions = v->ntables = v->cap_tables = v->tables_lost = 0;
	sv_session_forget_keys(v);
}

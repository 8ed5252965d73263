// SPDX-License-Identifier: Apache-2.0
// The log. Most fsyncs change nothing but contents and attributes of files that the newest root has. They need no root: one
// block, a record, says which pages lie where now, and is durable by one flush together with them; the trees are written by
// the next commit. Records form a chain: each names the block of the next one, and its tag covers the tag of the root or
// record before it. When the volume is opened, the chain is gone through from the newest root on, as far as records
// authenticate with all the pages that they name: each is a state that was synced, or the last one that was being synced.
//
// The blocks of records, and those of pages that were overwritten since the root, are out of reach until the next commit.
// What a record cannot tell sets v->log.beyond, and the next sync is a commit. Volume's lock held.
#include "seal/root.h"

struct record_aad {
	u8 id[16];
	u64 addr;
	u32 cls, zero;
	u64 generation;
	u8 chain[16];
};
#define CLASS_RECORD (NCLASS + 1) // NCLASS: the session table's blocks

static void record_aad(const struct seal_vol *v, u64 addr, struct record_aad *a)
{
	*a = (struct record_aad){.addr = addr, .generation = v->generation + 1, .cls = CLASS_RECORD};
	memcpy(a->id, v->id, sizeof a->id);
	memcpy(a->chain, v->log.chain, sizeof a->chain);
}

static void record_nonce(u64 ctr, u8 nonce[12])
{
	u32 purpose = 2; // blocks have 0, root slots 1
	memcpy(nonce, &ctr, 8);
	memcpy(nonce + 8, &purpose, 4);
}

// --- what has changed
static u32 inode_place(struct seal_vol *v, const struct seal_inode *i)
{
	struct log *l = &v->log;
	u32 k = 0;
	while (k < l->inodes && l->ino[k] != i->ino)
		k++;
	if (k == LOG_INODES || !i->nlink || i->view) {
		l->beyond = true;
		return LOG_INODES;
	}
	if (k == l->inodes)
		l->ino[l->inodes++] = i->ino;
	return k;
}

void sv_log_inode(struct seal_vol *v, const struct seal_inode *i)
{
	if (!v->log.beyond)
		inode_place(v, i);
}

void sv_log_pages(struct seal_vol *v, const struct seal_inode *i, const u64 *index, u32 n)
{
	struct log *l = &v->log;
	u32 place = l->beyond ? LOG_INODES : inode_place(v, i), had = l->pages;
	for (u32 k = 0; k < n && !l->beyond; k++) {
		u32 j = 0;
		while (j < had && (l->page[j].inode != place || l->page[j].index != index[k]))
			j++; // written again since the last record
		if (j == had)
			j = l->pages;
		if (j == LOG_PAGES) {
			l->beyond = true;
			return;
		}
		l->page[j] = (struct d_log_page){.index = index[k], .inode = place, .ptr = v->ptrs[k]};
		l->pages += j == l->pages;
	}
}

// --- writing
// A free block, which nobody else gets until the next commit. 0: there is none.
static int block_reserve(struct seal_vol *v, u64 *addr)
{
	u64 got;
	int r = sv_space_alloc(v, 1, addr, &got);
	if (!r)
		return sv_space_free_addr(v, *addr);
	*addr = 0;
	return r == -ENOSPC ? 0 : r;
}

int sv_log_begin(struct seal_vol *v, u64 *addr) { return block_reserve(v, addr); }

void sv_log_follows(struct seal_vol *v, u64 addr, const u8 tag[16])
{
	struct log *l = &v->log;
	memcpy(l->chain, tag, sizeof l->chain);
	l->next = addr;
	l->session = v->cur;
	l->records = l->all_pages = 0;
}

static int record_fill(struct seal_vol *v, struct d_log *d)
{
	struct log *l = &v->log;
	memset(d, 0, sizeof *d);
	d->generation = v->generation + 1;
	d->inodes = l->inodes;
	d->pages = l->pages;
	memcpy(d->page, l->page, l->pages * sizeof d->page[0]);
	for (u32 k = 0; k < l->inodes; k++) {
		struct seal_inode *i;
		int r = sv_inode_get(v, l->ino[k], &i);
		if (r)
			return r;
		d->inode[k] = (struct d_log_inode){.ino = i->ino, .size = i->size, .mode = i->mode, .uid = i->uid, .gid = i->gid,
						   .atime = i->atime, .mtime = i->mtime, .ctime = i->ctime};
		sv_inode_put(v, i);
	}
	return l->records + 1 < LOG_RECORDS ? block_reserve(v, &d->next) : 0;
}

static int record_write(struct seal_vol *v, struct d_log *d)
{
	struct record_aad a;
	u8 nonce[12];
	const struct gcm_key *key = sv_session_key(v, v->cur);
	record_aad(v, v->log.next, &a);
	d->ctr = v->ctr++;
	record_nonce(d->ctr, nonce);
	fpu_begin(v);
	gcm_encrypt(key, v->gcm, v->buf + LOG_PLAIN, (u8 *)d + LOG_PLAIN, SEAL_BLOCK - LOG_PLAIN, nonce, &a, sizeof a, d->tag);
	fpu_end(v);
	memcpy(v->buf, d, LOG_PLAIN);
	return v->io.write(v->io.ctx, v->log.next * SEAL_BLOCK, v->buf, SEAL_BLOCK);
}

int sv_log_write(struct seal_vol *v)
{
	struct log *l = &v->log;
	if (l->beyond || !l->next || !l->inodes || l->session != v->cur || v->unclaimed || l->records >= LOG_RECORDS ||
	    l->all_pages + l->pages > LOG_ALL_PAGES)
		return 0;
	struct d_log *d = vol_alloc(v, sizeof *d);
	if (!d || record_fill(v, d) || record_write(v, d)) { // a commit may still do
		l->beyond = true;
		goto out;
	}
	v->end = SEAL_MAX(v->end, l->next + 1);
	int r = sv_flush(v);
	if (r) {
		vol_abort(v, vol_io_error(v, r, l->next, true));
		vol_free(v, d, sizeof *d);
		return v->failed;
	}
	v->generation++;
	memcpy(l->chain, d->tag, sizeof l->chain);
	l->next = d->next;
	l->records++;
	l->all_pages += l->pages;
	l->inodes = l->pages = 0;
	l->unsynced = false;
	v->txn_ctr = v->ctr;
	sv_anchor_note_record(v, d);
out:
	if (d)
		explicit_bzero(d, sizeof *d);
	vol_free(v, d, sizeof *d);
	return !l->beyond;
}

// --- going through it
// Reads the next record. 1: it is there and authenticates; 0: the chain ends before it.
static int record_read(struct seal_vol *v, u32 session, struct d_log *d)
{
	struct log *l = &v->log;
	struct record_aad a;
	u8 nonce[12];
	if (l->next < FIRST_BLOCK || l->next >= v->max_blocks)
		return vol_fault(v, SEAL_ECORRUPT, SEAL_FAULT_POINTER, NULL, 0, l->records, l->next);
	int r = sv_host_read(v, l->next, v->buf, 1);
	if (r)
		return r == -ENODATA ? 0 : vol_io_error(v, r, l->next, false);
	memcpy(d, v->buf, LOG_PLAIN);
	record_aad(v, l->next, &a);
	record_nonce(d->ctr, nonce);
	const struct gcm_key *key = sv_session_key(v, session);
	fpu_begin(v);
	r = gcm_decrypt(key, v->gcm, (u8 *)d + LOG_PLAIN, v->buf + LOG_PLAIN, SEAL_BLOCK - LOG_PLAIN, nonce, &a, sizeof a, d->tag);
	fpu_end(v);
	if (r || d->generation != v->generation + 1)
		return 0;
	if (d->inodes > LOG_INODES || d->pages > LOG_PAGES)
		return vol_fault(v, SEAL_ECORRUPT, SEAL_FAULT_FORMAT, NULL, 0, l->records, l->next);
	return 1;
}

// Are the pages that it names all there? They were written in one flush with it. 1, 0 or -errno.
static int record_complete(struct seal_vol *v, u32 session, const struct d_log *d, u8 *page)
{
	struct tree t;
	sv_tree_init(&t, CLASS_FILE, NULL);
	for (u32 k = 0; k < d->pages; k++) {
		const struct d_log_page *p = &d->page[k];
		if (p->inode >= d->inodes || p->ptr.session != session || p->index >= S64_LIMIT / SEAL_BLOCK)
			return vol_fault(v, SEAL_ECORRUPT, SEAL_FAULT_FORMAT, NULL, 0, v->log.records, v->log.next);
		int r = sv_block_read(v, &t, 0, p->index, &p->ptr, page);
		if (r)
			return r == SEAL_ETAMPER ? 0 : r;
	}
	return 1;
}

static bool attributes_valid(const struct seal_inode *i, const struct d_log_inode *e, u32 pages)
{
	bool grows = e->size != i->size;
	if (!i->nlink || (e->mode & 0170000) != (i->mode & 0170000) || e->size > S64_LIMIT || e->size < i->size)
		return false;
	if ((pages || grows) && !sv_inode_is(i, T_REG))
		return false;
	return !i->is_inline || (pages ? !i->size : !grows);
}

static void inode_set(struct seal_inode *i, const struct d_log_inode *e)
{
	i->size = e->size;
	i->mode = e->mode;
	i->uid = e->uid;
	i->gid = e->gid;
	i->atime = e->atime;
	i->mtime = e->mtime;
	i->ctime = e->ctime;
}

static int inode_apply(struct seal_vol *v, const struct d_log *d, u32 k)
{
	const struct d_log_inode *e = &d->inode[k];
	struct seal_inode *i;
	u64 index[LOG_PAGES];
	u32 n = 0;
	if (e->ino > VIEW_INO)
		return SEAL_ECORRUPT;
	int r = sv_inode_get(v, e->ino, &i);
	if (r)
		return r == -ESTALE ? SEAL_ECORRUPT : r;
	for (u32 j = 0; j < d->pages; j++)
		if (d->page[j].inode == k) {
			index[n] = d->page[j].index;
			v->ptrs[n++] = d->page[j].ptr;
		}
	r = attributes_valid(i, e, n) ? sv_inode_dirty(v, i) : SEAL_ECORRUPT;
	if (!r && n)
		r = sv_file_uninline(v, i);
	if (!r && n)
		r = sv_file_adopt(v, i, index, n);
	if (!r)
		inode_set(i, e);
	else
		v->failed = r; // it is not opened: nothing of it may be freed
	sv_inode_put(v, i);
	return r;
}

static bool damage(int r) { return r == SEAL_ETAMPER || r == SEAL_ECORRUPT || r == -EIO; }

// For a repair: page by page, as far as the trees can be read; the rest is noted. What a record says of a file is newer than what is
// there, so nothing that is put in place can be older than what it replaces.
static int inode_salvage(struct seal_vol *v, const struct d_log *d, u32 k)
{
	const struct d_log_inode *e = &d->inode[k];
	struct log_lost *lost = v->log_lost;
	struct seal_inode *i = NULL;
	u32 pages = 0, missed = 0, at = 0;
	for (u32 j = 0; j < d->pages; j++)
		pages += d->page[j].inode == k;
	int r = e->ino > VIEW_INO ? SEAL_ECORRUPT : sv_inode_get(v, e->ino, &i);
	if (!r)
		r = attributes_valid(i, e, pages) ? sv_inode_dirty(v, i) : SEAL_ECORRUPT;
	if (!r && pages)
		r = sv_file_uninline(v, i);
	bool whole = !r;
	for (u32 j = 0; j < d->pages && !r; j++) {
		if (d->page[j].inode != k)
			continue;
		v->ptrs[0] = d->page[j].ptr;
		r = sv_file_adopt(v, i, &d->page[j].index, 1);
		missed += r != 0;
		r = v->failed ? v->failed : damage(r) ? 0 : r;
	}
	if (!r)
		inode_set(i, e);
	if (i)
		sv_inode_put(v, i);
	if (whole && !missed)
		return r;
	while (at < lost->n && lost->of[at].ino != e->ino)
		at++;
	lost->others += at == LOG_LOST;
	if (at < LOG_LOST) {
		lost->n = SEAL_MAX(lost->n, at + 1);
		lost->of[at].ino = e->ino;
		lost->of[at].pages += whole ? missed : pages;
		lost->of[at].attributes = lost->of[at].attributes || !whole;
	}
	return v->failed ? v->failed : damage(r) || r == -ESTALE ? 0 : r;
}

static int record_apply(struct seal_vol *v, const struct d_log *d)
{
	int r = 0;
	for (u32 k = 0; k < d->pages && !r; k++)
		r = sv_space_claim(v, ptr_addr(&d->page[k].ptr));
	for (u32 k = 0; k < d->inodes && !r; k++)
		r = v->log_lost ? inode_salvage(v, d, k) : inode_apply(v, d, k);
	if (r == SEAL_ECORRUPT)
		return vol_fault(v, r, SEAL_FAULT_FORMAT, NULL, 0, v->log.records, v->log.next);
	return r ? r : sv_cache_shrink(v);
}

static void go_on(struct seal_vol *v, const struct d_log *d)
{
	struct log *l = &v->log;
	v->generation++;
	memcpy(l->chain, d->tag, sizeof l->chain);
	l->next = d->next;
	l->records++;
}

static int block_hold(struct seal_vol *v, u64 addr)
{
	int r = sv_space_hold(v, addr);
	if (!r)
		v->end = SEAL_MAX(v->end, addr + 1); // where the file is made longer, it is with blank blocks
	return r;
}

// Goes to the end of the chain. All its blocks are out of reach from here on: what the first records change may have to be written
// out, and that must not go to where later ones lie.
static int chain_hold(struct seal_vol *v, u32 session, struct d_log *d, u8 *page)
{
	struct log *l = &v->log;
	int r = 0;
	while (l->next && l->records < LOG_RECORDS && !r) {
		r = record_read(v, session, d);
		if (r > 0)
			r = record_complete(v, session, d, page);
		if (r == -EIO && v->log_lost && !v->failed) {
			v->log_lost->cut = true;
			return 0;
		}
		if (r <= 0)
			return r;
		r = block_hold(v, l->next);
		for (u32 k = 0; k < d->pages && !r; k++)
			r = block_hold(v, ptr_addr(&d->page[k].ptr));
		if (!r)
			go_on(v, d);
	}
	return r;
}

// After root_load, which set v->log up.
int sv_log_replay(struct seal_vol *v)
{
	struct log *l = &v->log;
	const u64 first = l->next, generation = v->generation;
	u32 session = l->session, n;
	u8 chain[sizeof l->chain];
	struct d_log *d = vol_alloc(v, sizeof *d);
	u8 *page = vol_alloc(v, SEAL_BLOCK);
	memcpy(chain, l->chain, sizeof chain);
	v->sessions[session].live++; // its key is needed to the end
	int r = d && page ? chain_hold(v, session, d, page) : -ENOMEM;
	n = l->records;
	memcpy(l->chain, chain, sizeof chain);
	l->next = first;
	l->records = 0;
	v->generation = generation;
	while (!r && l->records < n) {
		r = record_read(v, session, d);
		if (r <= 0) { // it was there a moment ago
			r = r ? r : vol_fault(v, SEAL_ETAMPER, SEAL_FAULT_CONTENT, NULL, 0, l->records, l->next);
			break;
		}
		r = record_apply(v, d);
		if (r)
			break;
		go_on(v, d);
		sv_anchor_note_record(v, d);
	}
	sv_session_ref(v, session, -1);
	l->next = 0; // what follows belongs to a session of its own, and to its roots
	if (d)
		explicit_bzero(d, sizeof *d);
	if (page)
		explicit_bzero(page, SEAL_BLOCK);
	vol_free(v, d, sizeof *d);
	vol_free(v, page, SEAL_BLOCK);
	return r;
}

int sv_log_salvage(struct seal_vol *v)
{
	v->log_lost = vol_alloc(v, sizeof *v->log_lost);
	if (!v->log_lost)
		return -ENOMEM;
	memset(v->log_lost, 0, sizeof *v->log_lost);
	v->log_lost->some = true;
	u32 session = v->log.session;
	int r = sv_repair_counts(v); // counts one block more under that key, so that it is not forgotten
	if (!r)
		r = sv_log_replay(v);
	if (!r)
		sv_session_ref(v, session, -1);
	return r;
}

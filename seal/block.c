// SPDX-License-Identifier: Apache-2.0
// Ciphertext: encrypting, decrypting, reading and writing blocks; the session keys.
//
// A nonce is never used twice with a key: each mount that writes starts a session with a key of its own, derived from
// the volume's key and 256 random bits, and within it nonces are a counter in memory. So neither a crash nor a host
// that puts an old state of the file back can make a (key, nonce) pair come again.
// Called with the volume's lock held; ciphertext is decrypted only from v->buf, a private copy.
#include "seal/sha256.h"
#include "seal/vol.h"

#define READ_AGAIN 2u

struct aad {
	u8 id[16];
	u64 addr;
	u32 cls, level;
};

static const char *what_is(const struct tree *t, u32 level)
{
	if (!t)
		return "root";
	if (t->cls == CLASS_ITAB)
		return level ? "inode table pointers" : "inode table";
	if (t->cls == CLASS_BMAP)
		return level ? "free space pointers" : "free space map";
	if (t->cls == CLASS_REFS)
		return level ? "reference count pointers" : "reference counts";
	if (t->cls == CLASS_SNAP)
		return level ? "snapshot table pointers" : "snapshot table";
	if (level == LEVEL_XATTR)
		return "extended attributes";
	return level ? "file pointers" : "file contents";
}

int vol_fault(struct seal_vol *v, int err, int kind, const struct tree *t, u32 level, u64 index, u64 block)
{
	static const char *const why[] = {
		[SEAL_FAULT_CONTENT] = "does not match the tag in its parent: changed, swapped or replayed",
		[SEAL_FAULT_CUT] = "lies beyond the end of the volume file: cut short",
		[SEAL_FAULT_POINTER] = "is named by an impossible pointer",
		[SEAL_FAULT_IO] = "could not be transferred: the host reported an error",
		[SEAL_FAULT_FORMAT] = "is authentic but makes no sense",
		[SEAL_FAULT_LOST] = "was lost: a repair found it damaged",
	};
	struct seal_fault *f = &v->fault;
	f->kind = kind;
	f->block = block;
	f->ino = t && t->inode ? t->inode->ino : 0;
	f->level = level;
	f->index = index;
	if (f->ino)
		snprintf(f->text, sizeof f->text, "block %lu (%s of inode %lu, position %lu) %s", block,
			 what_is(t, level), f->ino, index, why[kind]);
	else
		snprintf(f->text, sizeof f->text, "block %lu (%s, position %lu) %s", block, what_is(t, level), index,
			 why[kind]);
	if (v->env.log)
		v->env.log(v->env.ctx, f->text);
	return err;
}

int vol_io_error(struct seal_vol *v, int err, u64 block, bool writing)
{
	if (!writing && err == -ENODATA)
		return err;
	if (err == -ENOSPC || err == -EDQUOT || err == -EFBIG)
		return -ENOSPC;
	v->fault.kind = SEAL_FAULT_IO;
	v->fault.block = block;
	snprintf(v->fault.text, sizeof v->fault.text, "%s block %lu failed: the host reported error %d",
		 writing ? "writing" : "reading", block, -err);
	if (v->env.log)
		v->env.log(v->env.ctx, v->fault.text);
	return -EIO;
}

int vol_check_ptr(struct seal_vol *v, const struct d_ptr *p)
{
	u64 a = ptr_addr(p);
	if (a < FIRST_BLOCK || a >= v->max_blocks || p->session >= v->nsessions || !v->sessions[p->session].used)
		return SEAL_ECORRUPT;
	return 0;
}

// --- sessions

void sv_session_forget_keys(struct seal_vol *v)
{
	if (v->keys)
		explicit_bzero(v->keys, NKEYS * sizeof *v->keys);
}

const struct gcm_key *sv_session_key(struct seal_vol *v, u32 session)
{
	struct keyslot *k = &v->keys[session % NKEYS];
	if (!k->valid || k->session != session) {
		u8 key[32];
		const struct session *s = &v->sessions[session];
		seal_hkdf_expand(s->era == v->era ? v->prk : v->old_prk, "coffer session key", s->salt, 32, key, 32);
		fpu_begin(v);
		gcm_key_set(&k->key, key);
		fpu_end(v);
		explicit_bzero(key, sizeof key);
		k->session = session;
		k->valid = true;
	}
	return &k->key;
}

static int sessions_reserve(struct seal_vol *v, u32 n)
{
	if (n <= v->cap_sessions)
		return 0;
	u32 cap = SEAL_MAX(n, v->cap_sessions * 2);
	cap = (u32)SEAL_MIN((u64)cap, MAX_SESSIONS);
	if (n > cap)
		return -EMLINK;
	struct session *s = vol_alloc(v, cap * sizeof *s);
	if (!s)
		return -ENOMEM;
	memset(s, 0, cap * sizeof *s);
	if (v->nsessions)
		memcpy(s, v->sessions, v->nsessions * sizeof *s);
	if (v->sessions)
		explicit_bzero(v->sessions, v->cap_sessions * sizeof *s);
	vol_free(v, v->sessions, v->cap_sessions * sizeof *s);
	v->sessions = s;
	v->cap_sessions = cap;
	return 0;
}

int sv_session_begin(struct seal_vol *v)
{
	u8 salt[32];
	u32 s = 0;
	if (v->cur != NO_SESSION)
		return 0;
	while (s < v->nsessions && v->sessions[s].used)
		s++;
	int r = sessions_reserve(v, s + 1);
	if (r)
		return r;
	u32 tables = (u32)(s / SESSIONS_PER_BLOCK) + 1;
	if (tables > v->cap_tables) {
		struct table *t = vol_alloc(v, tables * 2 * sizeof *t);
		if (!t)
			return -ENOMEM;
		memset(t, 0, tables * 2 * sizeof *t);
		if (v->ntables)
			memcpy(t, v->tables, v->ntables * sizeof *t);
		vol_free(v, v->tables, v->cap_tables * sizeof *t);
		v->tables = t;
		v->cap_tables = tables * 2;
	}
	r = v->env.random(v->env.ctx, salt, sizeof salt);
	if (r)
		return r;
	memcpy(v->sessions[s].salt, salt, sizeof salt);
	v->sessions[s].live = 0;
	v->sessions[s].era = v->era;
	v->sessions[s].used = true;
	v->nsessions = SEAL_MAX(v->nsessions, s + 1);
	v->ntables = SEAL_MAX(v->ntables, tables);
	v->tables[s / SESSIONS_PER_BLOCK].dirty = true;
	v->keys[s % NKEYS].valid = false;
	v->cur = s;
	v->ctr = v->txn_ctr = 1;
	return 0;
}

// The number of live blocks under a session changes; without any, the salt is forgotten and the place reused.
void sv_session_ref(struct seal_vol *v, u32 session, s64 d)
{
	struct session *s = &v->sessions[session];
	s->live += (u64)d;
	if (session == v->cur)
		return;
	v->tables[session / SESSIONS_PER_BLOCK].dirty = true;
	if (!s->live) {
		explicit_bzero(s, sizeof *s);
		v->keys[session % NKEYS].valid = false;
	}
}

// --- blocks

static void block_aad(const struct seal_vol *v, u32 cls, u32 level, u64 addr, struct aad *a)
{
	memcpy(a->id, v->id, sizeof a->id);
	a->addr = addr;
	a->cls = cls;
	a->level = level;
}

static void block_nonce(const struct d_ptr *p, u8 nonce[12])
{
	u64 ctr = ptr_ctr(p);
	memcpy(nonce, &ctr, 8);
	memset(nonce + 8, 0, 4);
}

// What a repair cannot read is lost, so a host that could not read it gets another chance.
int sv_host_read(struct seal_vol *v, u64 addr, void *buf, u32 n)
{
	int r = v->io.read(v->io.ctx, addr * SEAL_BLOCK, buf, (size_t)n * SEAL_BLOCK);
	for (u32 k = 0; r && r != -ENODATA && v->patient && k < READ_AGAIN; k++)
		r = v->io.read(v->io.ctx, addr * SEAL_BLOCK, buf, (size_t)n * SEAL_BLOCK);
	return r;
}

int sv_block_read_run(struct seal_vol *v, const struct tree *t, u64 index, const struct d_ptr *p, u32 n,
		      void *const *out)
{
	u64 addr = ptr_addr(p);
	int r = sv_host_read(v, addr, v->buf, n);
	if (r && n > 1) { // find out which one it is
		for (u32 k = 0; k < n; k++) {
			r = sv_block_read_run(v, t, index + k, p + k, 1, out + k);
			if (r)
				return r;
		}
		return 0;
	}
	if (r == -ENODATA)
		return vol_fault(v, SEAL_ETAMPER, SEAL_FAULT_CUT, t, 0, index, addr);
	if (r)
		return vol_io_error(v, r, addr, false);
	u32 k;
	fpu_begin(v);
	for (k = 0; k < n && !r; k++) {
		struct aad a;
		u8 nonce[12];
		const struct gcm_key *key = sv_session_key(v, p[k].session);
		block_aad(v, t->cls, 0, addr + k, &a);
		block_nonce(&p[k], nonce);
		r = gcm_decrypt(key, v->gcm, out[k], v->buf + (size_t)k * SEAL_BLOCK, SEAL_BLOCK, nonce, &a, sizeof a,
				p[k].tag);
	}
	fpu_end(v);
	return r ? vol_fault(v, SEAL_ETAMPER, SEAL_FAULT_CONTENT, t, 0, index + k - 1, addr + k - 1) : 0;
}

// Through a buffer that stays in the CPU's cache: to copy ciphertext into memory that is not there yet, and to decrypt it in place, takes longer.
int sv_block_fetch(struct seal_vol *v, struct fetch *f, u32 cls, u32 at, u32 n, void *const *out)
{
	const struct d_ptr *p = f->ptr + at;
	u64 addr = ptr_addr(p);
	int r = v->io.read(v->io.ctx, addr * SEAL_BLOCK, f->buf, (size_t)n * SEAL_BLOCK);
	if (r)
		return r;
	fpu_begin(v);
	for (u32 k = 0; k < n && !r; k++) {
		struct aad a;
		u8 nonce[12];
		block_aad(v, cls, 0, addr + k, &a);
		block_nonce(&p[k], nonce);
		r = gcm_decrypt(&f->key, &f->ctx, out[at + k], f->buf + (size_t)k * SEAL_BLOCK, SEAL_BLOCK, nonce, &a,
				sizeof a, p[k].tag);
	}
	fpu_end(v);
	return r;
}

int sv_block_read(struct seal_vol *v, const struct tree *t, u32 level, u64 index, const struct d_ptr *p, void *out)
{
	struct aad a;
	u8 nonce[12];
	u64 addr = ptr_addr(p);
	int r = vol_check_ptr(v, p);
	if (r)
		return vol_fault(v, r, SEAL_FAULT_POINTER, t, level, index, addr);
	r = sv_host_read(v, addr, v->buf, 1);
	if (r == -ENODATA)
		return vol_fault(v, SEAL_ETAMPER, SEAL_FAULT_CUT, t, level, index, addr);
	if (r)
		return vol_io_error(v, r, addr, false);
	const struct gcm_key *key = sv_session_key(v, p->session);
	block_aad(v, t->cls, level, addr, &a);
	block_nonce(p, nonce);
	fpu_begin(v);
	r = gcm_decrypt(key, v->gcm, out, v->buf, SEAL_BLOCK, nonce, &a, sizeof a, p->tag);
	fpu_end(v);
	return r ? vol_fault(v, SEAL_ETAMPER, SEAL_FAULT_CONTENT, t, level, index, addr) : 0;
}

// --- what the next root would have to vouch for

void sv_recent_forget(struct seal_vol *v, u64 addr)
{
	for (u32 k = 0; k < v->nrecent; k++)
		if (ptr_addr(&v->recent[k].ptr) == addr) {
			v->recent[k] = v->recent[--v->nrecent];
			return;
		}
}

static void recent_add(struct seal_vol *v, const struct d_ptr *p, u32 cls, u32 level)
{
	sv_recent_forget(v, ptr_addr(p)); // written again before the flush
	if (v->nrecent == RECENT_MAX)
		v->recent_full = true;
	else
		v->recent[v->nrecent++] = (struct d_recent){*p, cls, level};
}

int sv_flush(struct seal_vol *v)
{
	int r = v->io.flush(v->io.ctx);
	if (r)
		return r;
	v->nrecent = 0;
	v->recent_full = false;
	v->flushed_end = v->end;
	v->unflushed = 0;
	return 0;
}

// Blocks that are to be written, by whoever comes: each takes the next piece until none is left. Pieces begin at multiples of their size
// on the disk, where all lie together: the host's page cache then keeps each as one folio.
#define SHARE_LEAST 128u // fewer are done before another thread is awake
#define SHARE_PIECE 16u
#define SHARE_MAX   4u
struct put {
	struct seal_vol *v;
	const struct gcm_key *key;
	struct d_ptr *p;
	const void *const *in;
	u32 cls, level, n, piece, skew, next, came;
	bool failed;
	int err; // of the first that failed
	u64 err_addr;
};
_Static_assert(SHARE_MAX * SHARE_PIECE <= IO_BLOCKS && SHARE_MAX * sizeof(struct gcm_ctx) <= SEAL_BLOCK, "each has its part of the buffers");

static int put_piece(struct put *w, u32 from, u32 n, u8 *buf, struct gcm_ctx *ctx)
{
	struct seal_vol *v = w->v;
	struct d_ptr *p = w->p + from;
	fpu_begin(v);
	for (u32 k = 0; k < n; k++) {
		struct aad a;
		u8 nonce[12];
		block_aad(v, w->cls, w->level, ptr_addr(&p[k]), &a);
		block_nonce(&p[k], nonce);
		gcm_encrypt(w->key, ctx, buf + (size_t)k * SEAL_BLOCK, w->in[from + k], SEAL_BLOCK, nonce, &a, sizeof a, p[k].tag);
	}
	fpu_end(v);
	for (u32 k = 0, m; k < n; k += m) {
		u64 addr = ptr_addr(&p[k]);
		for (m = 1; k + m < n && ptr_addr(&p[k + m]) == addr + m;)
			m++;
		int r = v->io.write(v->io.ctx, addr * SEAL_BLOCK, buf + (size_t)k * SEAL_BLOCK, (size_t)m * SEAL_BLOCK);
		if (r && !__atomic_exchange_n(&w->failed, true, __ATOMIC_RELAXED)) {
			w->err = r;
			w->err_addr = addr;
		}
		if (r)
			return r;
	}
	return 0;
}

static void put_pieces(void *arg)
{
	struct put *w = arg;
	u32 me = __atomic_fetch_add(&w->came, 1, __ATOMIC_RELAXED);
	while (me < SHARE_MAX && !__atomic_load_n(&w->failed, __ATOMIC_RELAXED)) {
		u32 next = __atomic_fetch_add(&w->next, w->piece, __ATOMIC_RELAXED);
		u32 from = next ? next - w->skew : 0, to = SEAL_MIN(next + w->piece - w->skew, w->n);
		if (from >= to || put_piece(w, from, to - from, w->v->buf + (size_t)me * w->piece * SEAL_BLOCK, w->v->gcm + me))
			break;
	}
}

// Where much is overwritten in a large volume, commits come one after the other. The host is told of what was written a piece at a time: its
// disk works while we do, and their flushes, which others wait for, find little left. Elsewhere it may wait: what is written may be gone again soon.
#define OUT_BLOCKS 1024u
#define OUT_LEAST  16u // what lies scattered takes longer to tell than to flush

static void write_out(struct seal_vol *v, const struct d_ptr *p, u32 n)
{
	for (u32 k = 0; k < n; k++) {
		u64 addr = ptr_addr(&p[k]), len = v->out_to - v->out_from;
		if (addr != v->out_to || len >= OUT_BLOCKS) {
			if (len >= OUT_LEAST)
				v->io.write_out(v->io.ctx, v->out_from * SEAL_BLOCK, len * SEAL_BLOCK);
			v->out_from = addr;
		}
		v->out_to = addr + 1;
	}
}

int sv_block_write(struct seal_vol *v, u32 cls, u32 level, struct d_ptr *p, const void *const *in, u32 n)
{
	int r = sv_session_begin(v);
	if (r)
		return r;
	bool share = v->env.share && n >= SHARE_LEAST;
	struct put w = {.v = v, .key = sv_session_key(v, v->cur), .p = p, .in = in, .cls = cls, .level = level, .n = n,
			.piece = share ? SHARE_PIECE : IO_BLOCKS};
	w.skew = (u32)(ptr_addr(p) % w.piece);
	for (u32 k = 0; k < n; k++)
		ptr_set(&p[k], ptr_addr(&p[k]), v->ctr++, v->cur);
	if (share)
		v->env.share(v->env.ctx, put_pieces, &w);
	else
		put_pieces(&w);
	if (w.err)
		return vol_io_error(v, w.err, w.err_addr, true);
	v->unflushed += n;
	for (u32 k = 0; k < n; k++)
		v->end = SEAL_MAX(v->end, ptr_addr(&p[k]) + 1);
	for (u32 k = 0; k < n && !v->recent_full; k++)
		recent_add(v, &p[k], cls, level);
	if (cls == CLASS_FILE && !level && v->io.write_out && v->hiwater >= v->due_blocks * 2 && v->replaced >= v->due_blocks / 32)
		write_out(v, p, n);
	return 0;
}

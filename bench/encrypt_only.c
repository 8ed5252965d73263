// SPDX-License-Identifier: Apache-2.0
// A kernel of the benchmarks only (make INSECURE_ENCRYPT_ONLY=1 B=build/encrypt-only bins): contents of files on a sealed volume are encrypted and
// authenticated page by page with the volume's own cipher, and overwritten in place, behind the volume in the host's file; their tags are in memory.
// No tree, no log, no freshness, no crash consistency, and one large file at a time, that lasts until the enclave ends. Everything above
// (fio, the page cache, its threads) and below (the host's calls) is what a sealed volume has: what differs is what the volume does.
// Linked in place of seal_read_pages and seal_write_pages (ld's --wrap); no other kernel has it. Locks: flags of its
// own that nobody sleeps on, leaves.
#include "seal/vol.h"

#define CHUNK	4096u // pages whose tags lie together
#define CHUNKS	4096u // 64 GiB
#define PIECE	16u   // as in seal/block.c
#define BUFFERS 4u
#define LARGE	(1u << 20) // smaller files are not what is measured

struct tag {
	u64 ctr;
	u8 tag[16];
};
static struct tag *tags[CHUNKS];
static struct gcm_key key;
static u64 counter;
static bool ready, setup;
static struct buffer {
	bool taken;
	struct gcm_ctx ctx;
	u8 *data; // IO_BLOCKS
} buffers[BUFFERS];

int __real_seal_read_pages(struct seal_vol *v, struct seal_inode *i, u64 first, u32 n, void *const *pages);
int __real_seal_write_pages(struct seal_vol *v, struct seal_inode *i, const u64 *index, u32 n, const void *const *pages, u64 new_size);
int __wrap_seal_read_pages(struct seal_vol *v, struct seal_inode *i, u64 first, u32 n, void *const *pages);
int __wrap_seal_write_pages(struct seal_vol *v, struct seal_inode *i, const u64 *index, u32 n, const void *const *pages, u64 new_size);

static bool take(bool *lock) { return !__atomic_exchange_n(lock, true, __ATOMIC_ACQUIRE); }
static void give(bool *lock) { __atomic_store_n(lock, false, __ATOMIC_RELEASE); }

static int set_up(struct seal_vol *v)
{
	u8 bytes[32];
	int r = 0;

	if (__atomic_load_n(&ready, __ATOMIC_ACQUIRE))
		return 0;
	while (!take(&setup))
		;
	for (u32 k = 0; k < BUFFERS && !r; k++)
		if (!buffers[k].data && !(buffers[k].data = v->env.alloc(v->env.ctx, IO_BLOCKS * SEAL_BLOCK)))
			r = -ENOMEM;
	if (!r && !ready && !(r = v->env.random(v->env.ctx, bytes, sizeof bytes))) {
		v->env.fpu_begin(v->env.ctx);
		gcm_key_set(&key, bytes);
		v->env.fpu_end(v->env.ctx);
		explicit_bzero(bytes, sizeof bytes);
		v->env.log(v->env.ctx, "INSECURE: this kernel only encrypts contents of files, in place, and forgets them when it ends: for benchmarks");
		__atomic_store_n(&ready, true, __ATOMIC_RELEASE);
	}
	give(&setup);
	return r;
}

static struct buffer *buffer_get(void)
{
	for (u32 k = 0;; k = (k + 1) % BUFFERS)
		if (take(&buffers[k].taken))
			return &buffers[k];
}

static struct tag *tag_of(u64 page)
{
	struct tag *t = page / CHUNK < CHUNKS ? __atomic_load_n(&tags[page / CHUNK], __ATOMIC_ACQUIRE) : NULL;
	return t ? t + page % CHUNK : NULL;
}

static int tag_make(struct seal_vol *v, u64 page)
{
	u64 c = page / CHUNK;
	if (c >= CHUNKS)
		return -EFBIG;
	if (tag_of(page))
		return 0;
	while (!take(&setup))
		;
	struct tag *t = tags[c];
	if (!t && (t = v->env.alloc(v->env.ctx, CHUNK * sizeof *t))) {
		memset(t, 0, CHUNK * sizeof *t);
		__atomic_store_n(&tags[c], t, __ATOMIC_RELEASE);
	}
	give(&setup);
	return t ? 0 : -ENOMEM;
}

static u64 offset_of(const struct seal_vol *v, u64 page) { return (v->max_blocks + page) * SEAL_BLOCK; }

static void nonce_of(const struct tag *t, u8 nonce[12])
{
	memcpy(nonce, &t->ctr, 8);
	memset(nonce + 8, 0, 4);
}

int __wrap_seal_read_pages(struct seal_vol *v, struct seal_inode *i, u64 first, u32 n, void *const *pages)
{
	if (i->size < LARGE)
		return __real_seal_read_pages(v, i, first, n, pages);
	int r = set_up(v);
	struct buffer *b = r ? NULL : buffer_get();
	for (u32 k = 0, m; k < n && !r; k += m) {
		struct tag *t = tag_of(first + k);
		m = 1;
		if (!t || !t->ctr) { // of an earlier enclave, or a hole: nothing that is measured reads there
			r = -EIO;
			break;
		}
		while (k + m < n && m < IO_BLOCKS && (t = tag_of(first + k + m)) && t->ctr)
			m++;
		r = v->io.read(v->io.ctx, offset_of(v, first + k), b->data, (size_t)m * SEAL_BLOCK);
		v->env.fpu_begin(v->env.ctx);
		for (u32 j = 0; j < m && !r; j++) {
			u64 page = first + k + j;
			u8 nonce[12];
			t = tag_of(page);
			nonce_of(t, nonce);
			r = gcm_decrypt(&key, &b->ctx, pages[k + j], b->data + (size_t)j * SEAL_BLOCK, SEAL_BLOCK, nonce, &page, sizeof page, t->tag);
		}
		v->env.fpu_end(v->env.ctx);
	}
	if (b)
		give(&b->taken);
	return r;
}

// What is to be written, by whoever comes, in pieces: as a sealed volume does it.
struct put {
	struct seal_vol *v;
	const u64 *index;
	const void *const *pages;
	u32 n, piece, next;
	int err;
};

static void put_pieces(void *arg)
{
	struct put *w = arg;
	struct seal_vol *v = w->v;
	struct buffer *b = buffer_get();
	for (u32 from; !w->err && (from = __atomic_fetch_add(&w->next, w->piece, __ATOMIC_RELAXED)) < w->n;) {
		u32 n = SEAL_MIN(w->piece, w->n - from);
		v->env.fpu_begin(v->env.ctx);
		for (u32 k = 0; k < n; k++) {
			u64 page = w->index[from + k];
			struct tag *t = tag_of(page);
			u8 nonce[12];
			t->ctr = __atomic_add_fetch(&counter, 1, __ATOMIC_RELAXED);
			nonce_of(t, nonce);
			gcm_encrypt(&key, &b->ctx, b->data + (size_t)k * SEAL_BLOCK, w->pages[from + k], SEAL_BLOCK, nonce, &page, sizeof page, t->tag);
		}
		v->env.fpu_end(v->env.ctx);
		for (u32 k = 0, m; k < n && !w->err; k += m) {
			for (m = 1; k + m < n && w->index[from + k + m] == w->index[from + k] + m;)
				m++;
			int r = v->io.write(v->io.ctx, offset_of(v, w->index[from + k]), b->data + (size_t)k * SEAL_BLOCK, (size_t)m * SEAL_BLOCK);
			if (r)
				w->err = r;
		}
	}
	give(&b->taken);
}

int __wrap_seal_write_pages(struct seal_vol *v, struct seal_inode *i, const u64 *index, u32 n, const void *const *pages, u64 new_size)
{
	struct put w = {.v = v, .index = index, .pages = pages, .n = n, .piece = n >= 128 && v->env.share ? PIECE : IO_BLOCKS};

	if (SEAL_MAX(i->size, new_size) < LARGE)
		return __real_seal_write_pages(v, i, index, n, pages, new_size);
	w.err = set_up(v);
	for (u32 k = 0; k < n && !w.err; k++)
		w.err = tag_make(v, index[k]);
	if (w.err)
		return w.err;
	if (n >= 128 && v->env.share)
		v->env.share(v->env.ctx, put_pieces, &w);
	else
		put_pieces(&w);
	return w.err || i->size >= new_size ? w.err : seal_setattr(v, i, SEAL_SET_SIZE, &(struct seal_attr){.size = new_size});
}

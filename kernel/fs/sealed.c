// SPDX-License-Identifier: Apache-2.0
// Sealed volumes: mount type "sealed", source "volN", data a struct coffer_mount_key. The library in seal/ does the
// work; this file gives it memory, time, randomness and the host's block calls, and keeps the list of what is dirty.
// Locks: mounted_lock (mount and unmount only); svol->round_lock (storing all files); inode->lock, then the library's lock
// (svol->io_lock), which is held over block hostcalls, then flush_lock; svol->dirty_lock is a leaf. The flusher thread takes the same
// ones in the same order.
#include "kernel/fs/sealed.h"
#include "kernel/include/hostcall.h"
#include "kernel/include/ktime.h"
#include "kernel/include/platform.h"

#define WORK_BLOCKS 4096u // of background work in one round of the flusher
#define FLUSH_NS (5 * NSEC_PER_SEC) // dirty data is committed at the latest after this time

static struct svol *mounted[SEALED_MAX];
static struct mutex mounted_lock;
static bool flusher_runs;
static u32 flusher_word;

// --- what the library asks of its surroundings
static int io_read(void *ctx, u64 off, void *buf, size_t n)
{
	struct svol *sv = ctx;
	int r = hc_block_read(sv->index, off, buf, n);
	if (r) {
		long size = hc_block_size(sv->index);
		if (size >= 0 && ((u64)size < n || off > (u64)size - n))
			r = -ENODATA;
	}
	return r;
}

static int io_write(void *ctx, u64 off, const void *buf, size_t n)
{
	return hc_block_write(((struct svol *)ctx)->index, off, buf, n);
}
// Linux tells of what it could not write once. Who flushes beside him who was told is told too: each waits for the one before.
static int io_flush(void *ctx)
{
	struct svol *sv = ctx;
	mutex_lock(&sv->flush_lock);
	if (!sv->flush_error)
		sv->flush_error = hc_block_flush(sv->index);
	int r = sv->flush_error;
	mutex_unlock(&sv->flush_lock);
	return r;
}

static int io_punch(void *ctx, u64 off, u64 n) { return min(hc_block_punch(((struct svol *)ctx)->index, off, n), 0); }
static int io_truncate(void *ctx, u64 size) { return min(hc_block_resize(((struct svol *)ctx)->index, size), 0); }
static void io_write_out(void *ctx, u64 off, u64 n) { hc_block_out(((struct svol *)ctx)->index, off, n); }
static s64 io_size(void *ctx) { return hc_block_size(((struct svol *)ctx)->index); }
static void *env_alloc(void *ctx, size_t n)
{
	(void)ctx;
	if (n < PAGE_SIZE)
		return kmalloc(n);
	pfn_t p = page_alloc((u32)(PAGE_ALIGN(n) >> PAGE_SHIFT), false);
	return p ? page_addr(p) : NULL;
}

static void env_free(void *ctx, void *p, size_t n)
{
	(void)ctx;
	if (n < PAGE_SIZE)
		kfree(p);
	else
		page_free(page_of(p), (u32)(PAGE_ALIGN(n) >> PAGE_SHIFT));
}

static int env_random(void *ctx, void *buf, size_t n)
{
	(void)ctx;
	pf_random(buf, n);
	return 0;
}

static u64 env_now(void *ctx)
{
	(void)ctx;
	return ktime_real();
}

static void env_lock(void *ctx) { mutex_lock(&((struct svol *)ctx)->io_lock); }
static void env_unlock(void *ctx) { mutex_unlock(&((struct svol *)ctx)->io_lock); }

// Who sleeps on the lock takes longer to wake than we to come back: he is given the time.
static void env_pause(void *ctx)
{
	enum { TURNS = 200 };
	struct mutex *m = &((struct svol *)ctx)->io_lock;
	bool awaited = __atomic_load_n(&m->word, __ATOMIC_RELAXED) == 2;

	mutex_unlock(m);
	for (u32 i = 0; awaited && i < TURNS && !__atomic_load_n(&m->word, __ATOMIC_RELAXED); i++)
		pf_yield();
	mutex_lock(m);
}

static void env_fpu_begin(void *ctx)
{
	(void)ctx;
	pf_fpu_begin();
}

static void env_fpu_end(void *ctx)
{
	(void)ctx;
	pf_fpu_end();
}

static void env_share(void *ctx, void (*fn)(void *), void *arg)
{
	(void)ctx;
	sealed_share(fn, arg);
}

// A damaged disk fails often, and a read-ahead finds what nobody asked for yet: of a while's faults the first few are shown, then how many
// were not. Two threads may count at once; then one more is shown.
static void env_log(void *ctx, const char *text)
{
	enum { SHOWN = 3 };
	struct svol *sv = ctx;
	u64 now = ktime_mono();
	u32 unsaid;

	if (!sv->v) // while it is being opened, open_volume has the word
		return;
	if (now - __atomic_load_n(&sv->said_since, __ATOMIC_RELAXED) > 5 * NSEC_PER_SEC) {
		__atomic_store_n(&sv->said_since, now, __ATOMIC_RELAXED);
		__atomic_store_n(&sv->said, 0, __ATOMIC_RELAXED);
		unsaid = __atomic_exchange_n(&sv->unsaid, 0, __ATOMIC_RELAXED);
		if (unsaid)
			pr_err("sealed volume %s: %u more faults were not shown", sv->name, unsaid);
	}
	if (__atomic_fetch_add(&sv->said, 1, __ATOMIC_RELAXED) < SHOWN)
		pr_err("sealed volume %s: %s", sv->name, text);
	else
		__atomic_fetch_add(&sv->unsaid, 1, __ATOMIC_RELAXED);
}

// --- what is dirty
void sealed_mark_dirty(struct inode *i)
{
	struct svol *sv = svol_of(i);
	struct snode *n = snode_of(i);
	mutex_lock(&sv->dirty_lock);
	if (list_empty(&n->dirty)) {
		inode_get(i);
		list_add_tail(&n->dirty, &sv->dirty);
	}
	mutex_unlock(&sv->dirty_lock);
}

// The next dirty inode, with the list's reference; those behind `stop` entries are not looked at.
static struct inode *dirty_next(struct svol *sv)
{
	struct inode *i = NULL;
	mutex_lock(&sv->dirty_lock);
	if (!list_empty(&sv->dirty)) {
		struct snode *n = list_first(&sv->dirty, struct snode, dirty);
		list_del(&n->dirty);
		list_init(&n->dirty);
		i = n->inode;
	}
	mutex_unlock(&sv->dirty_lock);
	return i;
}

static u64 dirty_count(struct svol *sv)
{
	u64 n = 0;
	mutex_lock(&sv->dirty_lock);
	for (struct list *l = sv->dirty.next; l != &sv->dirty; l = l->next)
		n++;
	mutex_unlock(&sv->dirty_lock);
	return n;
}

// One at a time: a sync that came while another has a file in hand would miss that one, and say that all is stored.
int sealed_store(struct svol *sv, bool mapped)
{
	int r = 0;
	mutex_lock(&sv->round_lock);
	for (u64 n = dirty_count(sv); n; n--) {
		struct inode *i = dirty_next(sv);
		if (!i)
			break;
		mutex_lock(&i->lock);
		// A file mapped shared and writable changes without a trace: all of it counts as dirty, so it is stored
		// only when somebody asks, and stays on the list.
		bool traceless = i->pc && i->pc->wmapcount;
		int e = traceless && !mapped ? 0 : sealed_flush(i);
		bool again = e || traceless;
		mutex_unlock(&i->lock);
		if (again && i->nlink)
			sealed_mark_dirty(i);
		r = r ? r : e;
		inode_put(i);
	}
	mutex_unlock(&sv->round_lock);
	return r;
}

int sealed_sync(struct svol *sv)
{
	int r = sealed_store(sv, true), e = seal_sync(sv->v);
	sealed_anchor_note(sv);
	return r ? r : sealed_err(e);
}

struct svol *sealed_get(u32 k)
{
	mutex_lock(&mounted_lock);
	struct svol *sv = k < SEALED_MAX ? mounted[k] : NULL;
	if (sv && !ref_get_unless_zero(&sv->sb->ref)) // being unmounted
		sv = NULL;
	mutex_unlock(&mounted_lock);
	return sv;
}

void sealed_sync_due(struct svol *sv)
{
	if (seal_sync_due(sv->v) && !__atomic_exchange_n(&flusher_word, 1, __ATOMIC_ACQ_REL))
		pf_wake(&flusher_word, 1);
}

// round: all that is dirty is stored; else only what is due.
static void flush_volume(struct svol *sv, bool round)
{
	if (sv->sb->read_only || (!round && !seal_sync_due(sv->v)))
		return;
	if ((round && sealed_store(sv, false)) || seal_sync(sv->v))
		pr_once("sealed volume %s: its data cannot be stored (see above)", sv->name);
	// Room of deleted snapshots, re-encryption: a piece of what is left of it.
	if (round)
		seal_work(sv->v, WORK_BLOCKS, NULL);
}

static void flusher(void *arg)
{
	(void)arg;
	for (u64 next = ktime_deadline(FLUSH_NS);;) {
		pf_wait(&flusher_word, 0, next);
		__atomic_store_n(&flusher_word, 0, __ATOMIC_RELEASE);
		bool round = ktime_mono() >= next;
		if (round)
			page_trim();
		for (u32 k = 0; k < SEALED_MAX; k++) {
			struct svol *sv = sealed_get(k);
			if (!sv)
				continue;
			struct super *sb = sv->sb;
			flush_volume(sv, round);
			sealed_anchor_note(sv);
			super_put(sb);
		}
		if (round)
			next = ktime_deadline(FLUSH_NS);
	}
}

// --- the super block
static int sync(struct super *sb) { return sb->read_only ? 0 : sealed_sync(sb->priv); }

// The enclave ends: every volume is left as if it had been unmounted.
void sealed_shutdown(void)
{
	for (u32 k = 0; k < SEALED_MAX; k++) {
		struct svol *sv = mounted[k];
		if (!sv || sv->sb->read_only)
			continue;
		int r = sealed_sync(sv);
		int e = seal_checkpoint(sv->v);
		if (r || e)
			pr_err("sealed volume %s: what was written last could not be stored (error %d); its last "
			       "committed state is intact",
			       sv->name, -(r ? r : e));
	}
}

static int statfs(struct super *sb, struct statfs *st)
{
	struct svol *sv = sb->priv;
	struct seal_statfs s;
	seal_statfs(sv->v, &s);
	u64 waits = __atomic_load_n(&sv->unflushed, __ATOMIC_RELAXED); // in the cache, without a block yet
	st->f_blocks = (s64)s.blocks;
	st->f_bfree = (s64)(s.bfree - min(waits, s.bfree));
	st->f_bavail = (s64)(s.bavail - min(waits, s.bavail));
	st->f_files = (s64)s.files;
	st->f_ffree = (s64)s.ffree;
	return 0;
}

static void put(struct super *sb)
{
	struct svol *sv = sb->priv;
	if (sv->v)
		sealed_anchor_end(sv);
	mutex_lock(&mounted_lock);
	int r = sv->v ? seal_unmount(sv->v) : 0;
	if (r)
		pr_err("sealed volume %s: closing it: error %d; its last committed state is intact", sv->name, -r);
	if (sv->unsaid)
		pr_err("sealed volume %s: %u more faults were not shown", sv->name, sv->unsaid);
	mounted[sv->index] = NULL;
	mutex_unlock(&mounted_lock);
	kfree(sv);
}

static void options(struct super *sb, char *buf, size_t n)
{
	static const char *const sources[] = {"", ",key=sealing", ",key=sealing-SIMULATED"};
	struct svol *sv = sb->priv;
	sealed_anchor_text(sv, buf, n);
	size_t len = strlen(buf);
	snprintf(buf + len, n - len, "%s", sources[sv->source]);
}

static const struct super_ops sealed_sops = {
	.evict = sealed_forget, .statfs = statfs, .sync = sync, .put = put, .options = options};

static int volume_index(const char *source)
{
	u64 n;
	if (strncmp(source, "vol", 3) || kstrtou64(source + 3, NULL, &n) || n >= SEALED_MAX)
		return -ENODEV;
	return (int)n;
}

static void warn_fallback(struct svol *sv)
{
	struct seal_info info;
	seal_get_info(sv->v, &info);
	if (info.fell_back)
		pr_warn("sealed volume %s: one of its two roots does not authenticate (an interrupted commit, or "
			"tampering); the other is used, commit %lu",
			sv->name, info.generation);
}

static int open_volume(struct svol *sv, const struct coffer_mount_key *key, u32 flags)
{
	struct seal_fault fault;
	const struct seal_io io = {.ctx = sv, .read = io_read, .write = io_write, .flush = io_flush, .size = io_size,
				   .punch = io_punch, .truncate = io_truncate, .write_out = io_write_out};
	const struct seal_env env = {
		.ctx = sv,
		.alloc = env_alloc,
		.free = env_free,
		.random = env_random,
		.now_ns = env_now,
		.lock = env_lock,
		.unlock = env_unlock,
		.pause = env_pause,
		.fpu_begin = env_fpu_begin,
		.fpu_end = env_fpu_end,
		.log = env_log,
		.share = env_share,
		.cache_bytes = min((u64)key->cache_mib << 20, page_count_total() * PAGE_SIZE / 8),
	};
	struct seal_anchor least = {.epoch = key->least.epoch, .generation = key->least.generation};
	memcpy(least.digest, key->least.digest, sizeof(least.digest));
	int r = 0;
	if (key->create) {
		r = io_size(sv) ? -EEXIST : seal_format(&io, &env, key->key, key->id, 0);
		if (r) {
			pr_err("sealed volume %s cannot be made: %s (error %d)", sv->name, r == -EEXIST ? "the host's file is not empty" : "no storage", -r);
			return r;
		}
	}
	r = seal_mount_anchored(&io, &env, key->key, key->id, (flags & MS_RDONLY ? SEAL_RDONLY : 0) | (key->anchor ? SEAL_CLAIM : 0),
				    key->anchor == COFFER_ANCHOR_KNOWN ? &least : NULL, &sv->v, &fault);
	if (r)
		pr_err("sealed volume %s cannot be opened: %s (error %d)", sv->name,
		       fault.text[0] ? fault.text : "no storage", -r);
	else
		warn_fallback(sv);
	return r;
}

static int sealed_mount(const char *source, u32 flags, const void *data, size_t len, struct super **out)
{
	struct coffer_mount_key key;
	struct seal_inode *root;
	struct svol *sv = NULL;
	struct super *sb = NULL;
	int index = volume_index(source), r = index < 0 ? index : -EINVAL;
	if (index < 0 || len < sizeof(key))
		return r;
	memcpy(&key, data, sizeof(key));
	mutex_lock(&mounted_lock);
	if (key.magic != COFFER_MOUNT_KEY_MAGIC || key.version != COFFER_MOUNT_KEY_VERSION ||
	    key.anchor > COFFER_ANCHOR_KNOWN || key.where > COFFER_ANCHOR_IN_TPM ||
	    key.source > COFFER_KEY_SEALING_SIMULATED || (key.create && (flags & MS_RDONLY)))
		goto out;
	r = -EBUSY;
	if (mounted[index])
		goto out;
	r = -ENOMEM;
	if (!(sv = knew(struct svol)) || !(sb = super_new("sealed", &sealed_sops, SEALED_MAGIC)))
		goto out;
	sv->index = index;
	sv->source = key.source;
	sv->sb = sb;
	snprintf(sv->name, sizeof(sv->name), "vol%d", index);
	list_init(&sv->dirty);
	if ((r = open_volume(sv, &key, flags)))
		goto out;
	sb->priv = sv;
	sb->read_only = flags & MS_RDONLY;
	r = seal_iget(sv->v, SEAL_ROOT_INO, &root);
	if (!r) {
		sb->root = sealed_inode(sb, root);
		r = IS_ERR(sb->root) ? (int)PTR_ERR(sb->root) : 0;
	}
	if (r) {
		sb->root = NULL;
		seal_unmount(sv->v);
		goto out;
	}
	sealed_anchor_begin(sv, &key);
	mounted[index] = sv;
	if (!flusher_runs && !pf_kthread(flusher, NULL, "sealed-flush")) {
		flusher_runs = true;
		page_keep();
		sealed_io_init();
	}
out:
	mutex_unlock(&mounted_lock);
	explicit_bzero(&key, sizeof(key));
	if (r) {
		if (sb) {
			sb->ops = NULL; // nothing to unmount
			super_put(sb);
		}
		kfree(sv);
		return r;
	}
	*out = sb;
	return 0;
}

int sealed_init(void) { return fs_register("sealed", sealed_mount); }

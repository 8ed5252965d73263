// SPDX-License-Identifier: Apache-2.0
// Page cache: which page of the enclave's memory holds which page of a file. Two levels of tables; the first
// one starts small, because most files are. Lock: pc->lock, over lookups and copies (nofault) but never over storage
// reads or writes: pages being read are marked busy and others wait for them. Once readers of a file have met at its lock, they do
// without (crowd.h). caches_lock (leaf) guards the list for reclaim.
#include "kernel/include/count.h"
#include "kernel/include/crowd.h"
#include "kernel/include/kstring.h"
#include "kernel/include/log.h"
#include "kernel/include/mm.h"
#include "kernel/include/wait.h"

#define PE_PFN 0x0fffffffu
#define PE_DIRTY 0x80000000u
#define PE_BUSY 0x40000000u
#define LEAF 1024u
#define MAX_INDEX (1ul << 36)	// 256 TiB files
#define FILL 64ul		// pages read ahead in one piece: who wants one of them waits for all
#define PATIENCE 1000		// spins: as long as copying 128 KiB takes

static struct waitq busy_wq = { .lock = MUTEX_INIT, .waiters = LIST_INIT(busy_wq.waiters) };
static struct mutex caches_lock;
static struct list caches = LIST_INIT(caches);	// those that storage can refill

struct limbo {		// a run of pages that were truncated while mapped
	struct list link;
	u64 index, cut;	// in the file; which truncation it was
	pfn_t pfn;
	u32 n;
};

struct pagecache *pc_new(const struct pc_ops *ops, void *owner)
{
	struct pagecache *pc = knew(struct pagecache);

	if (!pc)
		return NULL;
	COUNT(page_caches, 1);
	ref_init(&pc->ref, 1);
	pc->ops = ops;
	pc->owner = owner;
	pc->dirty_from = U64_MAX;
	list_init(&pc->limbo);
	list_init(&pc->all);
	list_init(&pc->views);
	if (ops && ops->read) {
		mutex_lock(&caches_lock);
		list_add_tail(&pc->all, &caches);
		mutex_unlock(&caches_lock);
	}
	return pc;
}

// For all that could change something.
static void pc_lock(struct pagecache *pc)
{
	mutex_lock(&pc->lock);
	if (unlikely(pc->crowded))
		crowd_wait(pc);
}

// The same after or before work on storage. A reader or writer may hold the lock over a long copy, but going to sleep for it and being woken up
// takes longer still.
static void pc_lock_patient(struct pagecache *pc)
{
	for (u32 k = 0; k < PATIENCE; k++) {
		if (mutex_trylock(&pc->lock)) {
			if (unlikely(pc->crowded))
				crowd_wait(pc);
			return;
		}
		pf_relax();
	}
	pc_lock(pc);
}

void pc_get(struct pagecache *pc) { ref_get(&pc->ref); }

static void dirty(struct pagecache *pc, s64 by)
{
	pc->ndirty += (u64)by;
	COUNT(dirty_pages, by);
}

static void mark_dirty(struct pagecache *pc, u64 index, u32 *e)
{
	if (*e & PE_DIRTY)
		return;
	*e |= PE_DIRTY;
	pc->dirty_from = min(pc->dirty_from, index);
	dirty(pc, 1);
}

static void resident(struct pagecache *pc, s64 by)
{
	pc->npages += (u64)by;
	COUNT(cached_pages, by);
	if (pc->ops && pc->ops->read)
		COUNT(file_pages, by);
}

// The entry of a page, or NULL when its table is not there. Lock held.
static u32 *entry(struct pagecache *pc, u64 i)
{
	u64 l = i / LEAF;

	if (l >= pc->nleaf || !pc->leaf[l] || (l == 0 && i >= pc->leaf0_cap))
		return NULL;
	return &pc->leaf[l][i % LEAF];
}

// The same, making tables. NULL: out of memory.
static u32 *entry_make(struct pagecache *pc, u64 i)
{
	u64 l = i / LEAF;

	if (i >= MAX_INDEX)
		return NULL;
	if (l >= pc->nleaf) {
		u64 n = l + 1 > 4 ? max(l + 1, pc->nleaf * 2) : l + 1;
		u32 **t = krealloc(pc->leaf, n * sizeof(*t));
		if (!t)
			return NULL;
		memset(t + pc->nleaf, 0, (n - pc->nleaf) * sizeof(*t));
		pc->leaf = t;
		pc->nleaf = n;
	}
	if (l == 0 && i >= pc->leaf0_cap) {
		u32 cap = i < 16 ? 16 : i < 128 ? 128 : LEAF;
		u32 *t = krealloc(pc->leaf[0], cap * sizeof(u32));
		if (!t)
			return NULL;
		memset(t + pc->leaf0_cap, 0, (cap - pc->leaf0_cap) * sizeof(u32));
		pc->leaf[0] = t;
		pc->leaf0_cap = cap;
	} else if (!pc->leaf[l]) {
		pc->leaf[l] = kzalloc(LEAF * sizeof(u32));
		if (!pc->leaf[l])
			return NULL;
	}
	return &pc->leaf[l][i % LEAF];
}

static u64 end_index(struct pagecache *pc) { return pc->nleaf * LEAF; }

// A page that may be mapped leaves the cache. Lock held.
static void release_page(struct pagecache *pc, u64 index, u32 pe)
{
	struct limbo *l = list_empty(&pc->limbo) ? NULL : list_entry(pc->limbo.prev, struct limbo, link);
	pfn_t pfn = pe & PE_PFN;

	resident(pc, -1);
	if (pe & PE_DIRTY)
		dirty(pc, -1);
	if (l && l->cut == pc->cut_gen && l->index + l->n == index && l->pfn + l->n == pfn) {
		l->n++;
	} else if ((l = knew(struct limbo))) {
		l->index = index;
		l->cut = pc->cut_gen;
		l->pfn = pfn;
		l->n = 1;
		list_add_tail(&l->link, &pc->limbo);
	} // else: no memory to remember a page that others map: it is lost until the enclave ends
}

// Frees what waits from page `index` on, of truncations up to `cut`; true if nothing is left.
static bool drain_limbo(struct pagecache *pc, u64 index, u64 cut)
{
	struct limbo *l, *t;

	list_for_each_safe(l, t, &pc->limbo, link) {
		if (l->index < index || l->cut > cut)
			continue;
		list_del(&l->link);
		page_free(l->pfn, l->n);
		kfree(l);
	}
	return list_empty(&pc->limbo);
}

bool pc_cut_begin(struct pagecache *pc, u64 size, struct pc_cut *c)
{
	bool any = false;
	struct limbo *l;

	if (!pc->mapcount)
		return false;
	mutex_lock(&pc->lock);
	*c = (struct pc_cut){ DIV_ROUND_UP(size, PAGE_SIZE), pc->mapcount, pc->map_gen, pc->cut_gen };
	list_for_each(l, &pc->limbo, link)
		any |= l->index >= c->index;
	mutex_unlock(&pc->lock);
	return any;
}

bool pc_cut_end(struct pagecache *pc, const struct pc_cut *c, u64 seen)
{
	bool all;

	mutex_lock(&pc->lock);
	all = seen == pc->mapcount && c->map_gen == pc->map_gen;
	if (all)
		drain_limbo(pc, c->index, c->cut_gen);
	mutex_unlock(&pc->lock);
	return all;
}

// The data is no longer what text views were made of. Lock held.
static void changed(struct pagecache *pc)
{
	pc->data_gen++;
	if (unlikely(!list_empty(&pc->views)))
		text_drop_cache(pc);
}

void pc_mapped(struct pagecache *pc, int delta, bool writable)
{
	pc_lock(pc);
	pc->mapcount += (u32)delta;
	pc->map_gen += delta > 0;
	if (writable) {
		pc->wmapcount += (u32)delta;
		pc->was_wmapped = true;
		changed(pc);
	}
	if (!pc->mapcount)
		drain_limbo(pc, 0, U64_MAX);
	mutex_unlock(&pc->lock);
	if (writable && delta > 0 && pc->ops && pc->ops->wmapped)
		pc->ops->wmapped(pc);
}

// Signals can wait: what a page is busy with ends soon.
static void wait_busy(struct pagecache *pc, u64 index)
{
	struct waiter w;

	mutex_unlock(&pc->lock);
	waiter_init(&w);
	waitq_add(&busy_wq, &w);
	for (;;) {
		u32 seq = task_seq();
		pc_lock(pc);
		u32 *e = entry(pc, index);
		bool busy = e && *e & PE_BUSY;
		if (!busy)
			break;
		mutex_unlock(&pc->lock);
		task_sleep_uninterruptible(seq, NO_DEADLINE);
	}
	mutex_unlock(&pc->lock);
	waitq_del(&busy_wq, &w);
	pc_lock(pc);
}

// Frees pages [from, to) under the lock. Busy ones are waited for.
static void drop_range(struct pagecache *pc, u64 from, u64 to)
{
	u32 run = 0;
	pfn_t first = 0;

	to = min(to, end_index(pc));
	for (u64 i = from; i < to; i++) {
		u32 *e = entry(pc, i);
		if (!e) {
			i |= LEAF - 1;
			continue;
		}
		if (!*e)
			continue;
		while (*e & PE_BUSY) {
			wait_busy(pc, i);
			e = entry(pc, i);
		}
		u32 pe = *e;
		*e = 0;
		if (!pe)
			continue;
		pc->data_gen++; // as in pc_write
		if (pc->mapcount) {
			release_page(pc, i, pe);
			continue;
		}
		resident(pc, -1);
		if (pe & PE_DIRTY)
			dirty(pc, -1);
		pe &= PE_PFN;
		if (run && first + run == pe) {
			run++;
		} else {
			page_free(first, run);
			first = pe;
			run = 1;
		}
	}
	page_free(first, run);
}

void pc_put(struct pagecache *pc)
{
	if (!pc || !ref_put(&pc->ref))
		return;
	if (!list_empty(&pc->all)) {
		mutex_lock(&caches_lock);
		list_del(&pc->all);
		mutex_unlock(&caches_lock);
	}
	text_drop_cache(pc);
	pc_lock(pc);
	pc->mapcount = 0;
	drop_range(pc, 0, U64_MAX);
	drain_limbo(pc, 0, U64_MAX);
	mutex_unlock(&pc->lock);
	for (u64 l = 0; l < pc->nleaf; l++)
		kfree(pc->leaf[l]);
	kfree(pc->leaf);
	COUNT(page_caches, -1);
	kfree(pc);
}

static u64 shrink_locked(struct pagecache *pc, u64 want);

// Pages for pc, whose lock is held: when other files have nothing to give, its own clean ones go.
static pfn_t alloc_run(struct pagecache *pc, u32 want, u32 *got, enum page_content content)
{
	pfn_t p = page_alloc_upto(want, got, content);

	if (!p && pc->ops && pc->ops->read && shrink_locked(pc, want + 1024)) // page_alloc cannot take from pc: its lock is ours
		p = page_alloc_upto(want, got, content);
	return p;
}

static u64 data_pages(struct pagecache *pc)
{
	if (!pc->ops || !pc->ops->size)
		return U64_MAX;
	return DIV_ROUND_UP((pc->ops->stored ? pc->ops->stored : pc->ops->size)(pc), PAGE_SIZE);
}

// Makes up to max consecutive missing pages from index present. PAGES_ANY: their content does not matter; else read or zero. Lock held on entry and
// exit; dropped while storage is read. *n pages are then present from index. 0 or -errno.
static int make_pages(struct pagecache *pc, u64 index, u64 max, enum page_content content, u32 *n)
{
	bool from_storage = content != PAGES_ANY && pc->ops && pc->ops->read && index < data_pages(pc);
	u32 want = 0, got;
	pfn_t p;

	max = min(max, 512ul);
	if (from_storage)
		max = min(max, data_pages(pc) - index);
	for (; want < max; want++) {
		u32 *e = entry_make(pc, index + want);
		if (!e)
			break;
		if (*e)
			break;
	}
	if (!want)
		return -ENOMEM;
	p = alloc_run(pc, want, &got, from_storage ? PAGES_ANY : content);
	if (!p)
		return -ENOMEM;
	for (u32 i = 0; i < got; i++)
		*entry(pc, index + i) = (p + i) | (from_storage ? PE_BUSY : 0);
	resident(pc, got);
	*n = got;
	if (!from_storage)
		return 0;
	mutex_unlock(&pc->lock);
	int r = pc->ops->read(pc, index, got, page_addr(p));
	pc_lock_patient(pc);
	for (u32 i = 0; i < got; i++)
		*entry(pc, index + i) = r ? 0 : p + i;
	if (r) {
		resident(pc, -(s64)got);
		page_free(p, got);
	}
	waitq_wake(&busy_wq, 0);
	return r;
}

// Is the page at index there, or a hole that stays one? Then a run of such (contiguous in memory), at most max. Lock held or in the crowd.
static bool present(struct pagecache *pc, u64 index, u64 max, pfn_t *pfn, u32 *n)
{
	u32 *e = entry(pc, index), k = 1;

	if (!e || !*e) {
		*pfn = PFN_NONE;
		*n = 1;
		return !(pc->ops && pc->ops->read && index < data_pages(pc));
	}
	if (*e & PE_BUSY)
		return false;
	*pfn = *e & PE_PFN;
	max = min(max, LEAF - index % LEAF);
	if (index < LEAF)
		max = min(max, pc->leaf0_cap - index);
	while (k < max && (e[k] & ~PE_DIRTY) == *pfn + k)
		k++;
	*n = k;
	return true;
}

// A run of present pages (contiguous in memory) from index, at most max; makes the first if create. Lock held.
static int run_locked(struct pagecache *pc, u64 index, u64 max, bool create, pfn_t *pfn, u32 *n)
{
	for (;;) {
		u32 *e = entry(pc, index);
		if (e && (*e & PE_BUSY)) {
			wait_busy(pc, index);
			continue;
		}
		if (present(pc, index, max, pfn, n) && (*pfn || !create))
			return 0;
		// read-ahead: storage is read in larger pieces than asked for
		u64 ahead = pc->ops && pc->ops->read ? max(max, create ? 32ul : (u64)pc->ahead) : max;
		u32 got;
		int r;
		r = make_pages(pc, index, max(ahead, 1ul), PAGES_ZERO, &got);
		if (r)
			return r;
	}
}

int pc_run(struct pagecache *pc, u64 index, u64 max, bool create, pfn_t *pfn, u32 *n)
{
	int r;

	pc_lock(pc);
	r = run_locked(pc, index, max, create, pfn, n);
	mutex_unlock(&pc->lock);
	return r;
}

int pc_allocate(struct pagecache *pc, u64 index, u64 end)
{
	u64 from = index;
	pfn_t pfn;
	u32 n;
	int r = 0;

	for (; !r && index < end; index += n) {
		if (index > from && signal_pending() && signal_fatal()) // as on Linux: a timer must not hinder it for ever
			return -EINTR;
		pc_lock(pc);
		present(pc, index, end - index, &pfn, &n);
		if (!pfn)
			r = make_pages(pc, index, end - index, PAGES_ZERO_LATER, &n);
		if (!pfn && !r) {
			pc->bare = pc->bare_end ? min(pc->bare, index) : index;
			pc->bare_end = max(pc->bare_end, index + n);
		}
		mutex_unlock(&pc->lock);
	}
	return r == -ENOMEM ? -ENOSPC : r;
}

// Who writes allocated pages from their beginning takes them from the host in large pieces. Lock held.
static void touch_bare(struct pagecache *pc)
{
	pfn_t pfn;
	u32 n;

	present(pc, pc->bare, min(pc->bare_end - pc->bare, (u64)LEAF), &pfn, &n);
	if (pfn)
		pf_populate((uptr)page_addr(pfn), (u64)n << PAGE_SHIFT, true);
	pc->bare += n;
	if (pc->bare >= pc->bare_end)
		pc->bare = pc->bare_end = 0;
}

int pc_copy(struct pagecache *pc, u64 index, u64 n, void *kaddr)
{
	u8 *to = kaddr;
	int r = 0;

	mutex_lock(&pc->lock);
	for (u64 i = 0, k; i < n && !r; i += k) {
		u32 *e = entry(pc, index + i);

		k = 1;
		if (e && *e && !(*e & PE_BUSY)) {
			memcpy(to + (i << PAGE_SHIFT), page_addr(*e & PE_PFN), PAGE_SIZE);
			continue;
		}
		while (i + k < n && k < 512 && (!(e = entry(pc, index + i + k)) || !*e))
			k++;
		mutex_unlock(&pc->lock);
		r = pc->ops->read(pc, index + i, (u32)k, to + (i << PAGE_SHIFT));
		mutex_lock(&pc->lock);
	}
	mutex_unlock(&pc->lock);
	return r;
}

void pc_adopt(struct pagecache *pc, u64 index, u32 n, pfn_t pfn)
{
	mutex_lock(&pc->lock);
	for (u32 i = 0; i < n; i++) {
		u32 *e = entry_make(pc, index + i);

		if (!e || *e) {
			page_free(pfn + i, 1);
			continue;
		}
		*e = pfn + i;
		resident(pc, 1);
	}
	mutex_unlock(&pc->lock);
}

bool pc_on_its_way(struct pagecache *pc, u64 index)
{
	pc_lock(pc);
	u32 *e = entry(pc, index);
	bool busy = e && *e & PE_BUSY;
	mutex_unlock(&pc->lock);
	return busy;
}

// A reader comes: true: into the crowd; false: alone, with the lock.
static bool reader_in(struct pagecache *pc)
{
	if (likely(!pc->crowded)) {
		if (likely(mutex_trylock(&pc->lock))) {
			if (unlikely(pc->crowded))
				crowd_wait(pc);
			return false;
		}
		mutex_lock(&pc->lock);
		pc->crowded = true;
		mutex_unlock(&pc->lock);
	}
	crowd_join(pc, &pc->lock);
	return true;
}

static void reader_out(struct pagecache *pc, bool in_crowd)
{
	if (unlikely(in_crowd))
		crowd_leave(pc);
	else
		mutex_unlock(&pc->lock);
}

u64 pc_resident(struct pagecache *pc, u64 first, u64 end)
{
	bool in_crowd = reader_in(pc);
	u64 n = 0;

	for (end = min(end, end_index(pc)); first < end; first++) {
		u32 *e = entry(pc, first);
		if (!e)
			first |= LEAF - 1;
		else
			n += *e != 0;
	}
	reader_out(pc, in_crowd);
	return n;
}

ssize_t pc_read(struct pagecache *pc, struct iter *it, u64 pos, u64 size)
{
	size_t done = 0;
	int r = 0;

	if (pos >= size)
		return 0;
	u64 left = min(size - pos, (u64)it->left);
	bool in_crowd = reader_in(pc);
	while (left) {
		u64 index = pos >> PAGE_SHIFT, most;
		u32 off = (u32)(pos & (PAGE_SIZE - 1)), n;
		pfn_t pfn;
		size_t k, c;

		most = DIV_ROUND_UP(off + left, PAGE_SIZE);
		if (unlikely(in_crowd) && !present(pc, index, most, &pfn, &n)) {
			crowd_leave(pc); // storage has to be read
			pc_lock(pc);
			in_crowd = false;
		}
		if (likely(!in_crowd) && (r = run_locked(pc, index, most, false, &pfn, &n)))
			break;
		k = min((size_t)left, (size_t)n * PAGE_SIZE - off);
		c = pfn ? iter_put(it, (u8 *)page_addr(pfn) + off, k) : iter_zero(it, k);
		pos += c;
		left -= c;
		done += c;
		if (c < k) {
			reader_out(pc, in_crowd);
			r = iter_fault_in(it, true);
			in_crowd = reader_in(pc);
			if (r)
				break;
		}
	}
	reader_out(pc, in_crowd);
	return done ? (ssize_t)done : r;
}

size_t pc_peek(struct pagecache *pc, void *to, size_t n, u64 pos, const u64 *size)
{
	bool in_crowd = reader_in(pc);
	size_t done = 0;
	u64 begin = pos, end;

	while (done < n) {
		u32 off = (u32)(pos & (PAGE_SIZE - 1)), run;
		pfn_t pfn;
		size_t k;

		if (!present(pc, pos >> PAGE_SHIFT, DIV_ROUND_UP(off + n - done, PAGE_SIZE), &pfn, &run))
			break;
		k = min(n - done, (size_t)run * PAGE_SIZE - off);
		if (pfn)
			memcpy((u8 *)to + done, (u8 *)page_addr(pfn) + off, k);
		else
			memset((u8 *)to + done, 0, k);
		pos += k;
		done += k;
	}
	end = __atomic_load_n(size, __ATOMIC_RELAXED); // it shrinks before pages go: what is here was no hole that a cut made
	reader_out(pc, in_crowd);
	return min(done, end > begin ? end - begin : 0);
}

int pc_bring(struct pagecache *pc, u64 pos)
{
	struct iter it;
	char byte;

	iter_kernel(&it, &byte, 1);
	return (int)min(pc_read(pc, &it, pos, pos + 1), (ssize_t)0);
}

// Pages that were made and not filled. Lock held since.
static void give_back(struct pagecache *pc, u64 index, u32 n)
{
	page_free(*entry(pc, index) & PE_PFN, n);
	for (u32 k = 0; k < n; k++)
		*entry(pc, index + k) = 0;
	resident(pc, -(s64)n);
}

ssize_t pc_write(struct pagecache *pc, struct iter *it, u64 pos, u64 size)
{
	u64 torn = U64_MAX; // a page that was not to be had in one piece
	size_t done = 0;
	int r = 0;

	(void)size;
	pc_lock(pc);
	changed(pc);
	while (it->left) {
		u64 index = pos >> PAGE_SHIFT;
		u32 off = (u32)(pos & (PAGE_SIZE - 1)), n = 0;
		u32 *e = entry(pc, index);
		size_t k, c;
		pfn_t pfn;

		if (!e || !*e || *e & PE_BUSY) {
			// whole new pages need no content of before
			u64 whole = off || index == torn ? 0 : it->left >> PAGE_SHIFT;
			bool busy = e && *e;
			if (busy)
				wait_busy(pc, index);
			else if (whole)
				r = make_pages(pc, index, whole, PAGES_ANY, &n);
			else
				r = make_pages(pc, index, 1, PAGES_ZERO, &n);
			if (r)
				break;
			if (busy)
				continue;
			// Pages made without content are all overwritten. Where the copy faults, what storage has stays; what it does not have is zeroes.
			if (whole) {
				struct iter from = *it;
				pfn = *entry(pc, index) & PE_PFN;
				k = (size_t)n << PAGE_SHIFT;
				c = iter_get(it, page_addr(pfn), k);
				if (c < k && pc->ops && pc->ops->read && index < data_pages(pc)) {
					u32 full = (u32)(c >> PAGE_SHIFT);
					torn = index + full;
					give_back(pc, torn, n - full);
					iter_revert(it, &from);
					k = c &= PAGE_MASK;
					iter_advance(it, c);
					if (!c)
						continue;
				} else if (c < k) {
					memset((u8 *)page_addr(pfn) + c, 0, k - c);
				}
				goto copied;
			}
		}
		r = run_locked(pc, index, DIV_ROUND_UP(off + it->left, PAGE_SIZE), true, &pfn, &n);
		if (r)
			break;
		if (pc->bare_end && index <= pc->bare && pc->bare < index + n)
			touch_bare(pc);
		k = min(it->left, (size_t)n * PAGE_SIZE - off);
		c = iter_get(it, (u8 *)page_addr(pfn) + off, k);
	copied:
		pc->data_gen++; // the lock was perhaps let go since it was bumped
		if (pc->ops && pc->ops->write)
			for (u64 i = index; i <= (pos + max(c, (size_t)1) - 1) >> PAGE_SHIFT; i++)
				mark_dirty(pc, i, entry(pc, i));
		pos += c;
		done += c;
		if (c < k) {
			mutex_unlock(&pc->lock);
			r = iter_fault_in(it, false);
			pc_lock(pc);
			if (r)
				break;
		}
	}
	mutex_unlock(&pc->lock);
	return done ? (ssize_t)done : r;
}

static void zero_part(struct pagecache *pc, u64 start, u64 end)
{
	u32 *e = entry(pc, start >> PAGE_SHIFT);

	while (e && *e & PE_BUSY) {
		wait_busy(pc, start >> PAGE_SHIFT);
		e = entry(pc, start >> PAGE_SHIFT);
	}
	if (!e || !*e)
		return;
	memset((u8 *)page_addr(*e & PE_PFN) + (start & (PAGE_SIZE - 1)), 0, end - start);
	pc->data_gen++;
	if (pc->ops && pc->ops->write)
		mark_dirty(pc, start >> PAGE_SHIFT, e);
}

void pc_truncate(struct pagecache *pc, u64 newsize, u64 oldsize)
{
	pc_lock(pc);
	pc->cut_gen++;
	changed(pc);
	drop_range(pc, DIV_ROUND_UP(newsize, PAGE_SIZE), U64_MAX);
	if (newsize & (PAGE_SIZE - 1) && newsize < oldsize)
		zero_part(pc, newsize, PAGE_ALIGN(newsize));
	mutex_unlock(&pc->lock);
}

void pc_drop(struct pagecache *pc, u64 start, u64 end)
{
	pc_lock(pc);
	pc->cut_gen++;
	changed(pc);
	drop_range(pc, start >> PAGE_SHIFT, DIV_ROUND_UP(end, PAGE_SIZE));
	mutex_unlock(&pc->lock);
}

// Mapped pages stay, as zeroes.
static void zero_pages(struct pagecache *pc, u64 from, u64 to)
{
	for (u64 i = from; i < to; i++) {
		if (entry(pc, i))
			zero_part(pc, i << PAGE_SHIFT, (i + 1) << PAGE_SHIFT);
		else
			i |= LEAF - 1;
	}
}

void pc_punch(struct pagecache *pc, u64 start, u64 end)
{
	u64 s = PAGE_ALIGN(start), e;

	pc_lock(pc);
	changed(pc);
	end = min(end, end_index(pc) << PAGE_SHIFT); // nothing is cached behind that
	e = end & PAGE_MASK;
	if (start >= end)
		goto out;
	if (s > e) {
		zero_part(pc, start, end);
	} else {
		if (start < s)
			zero_part(pc, start, s);
		if (pc->mapcount)
			zero_pages(pc, s >> PAGE_SHIFT, e >> PAGE_SHIFT);
		else
			drop_range(pc, s >> PAGE_SHIFT, e >> PAGE_SHIFT);
		if (e < end)
			zero_part(pc, e, end);
	}
out:
	mutex_unlock(&pc->lock);
}

// Takes up to PC_BATCH pages to be written from *i on, before limit, and marks them busy. Lock held.
static u32 collect(struct pagecache *pc, u64 *i, u64 limit, bool all, u64 *index, const void **pages)
{
	u32 n = 0;

	for (; *i < limit && n < PC_BATCH && (all || pc->ndirty); ++*i) {
		u32 *e = entry(pc, *i);

		if (!e) {
			*i |= LEAF - 1;
			continue;
		}
		if (!*e || *e & PE_BUSY || !(*e & PE_DIRTY || all))
			continue;
		if (*e & PE_DIRTY)
			dirty(pc, -1);
		*e = (*e & ~PE_DIRTY) | PE_BUSY;
		index[n] = *i;
		pages[n++] = page_addr(*e & PE_PFN);
	}
	return n;
}

// The mappings that changed pages without a trace are gone: from here on each page says itself that it is not stored, also where that fails.
static void mark_written(struct pagecache *pc, u64 limit)
{
	for (u64 i = 0; i < limit; i++) {
		u32 *e = entry(pc, i);

		if (!e)
			i |= LEAF - 1;
		else if (*e && !(*e & PE_BUSY))
			mark_dirty(pc, i, e);
	}
	pc->was_wmapped = false;
}

static int store(struct pagecache *pc, u64 limit, bool behind)
{
	u64 index[PC_BATCH], i;
	const void *pages[PC_BATCH];
	int r = 0;
	u32 n;

	if (!pc->ops || !pc->ops->write)
		return 0;
	pc_lock(pc);
	// shared writable mappings leave no trace of a write: all their pages count as dirty
	bool all = pc->wmapcount || pc->was_wmapped;

	if (all && behind)
		goto out;
	limit = min(limit, min(end_index(pc), data_pages(pc)));
	if (all && !pc->wmapcount) {
		mark_written(pc, limit);
		all = false;
	}
	i = all ? 0 : pc->dirty_from;
	pc->dirty_from = U64_MAX; // who makes a page dirty from now on says so
	// behind a writer only what fills a batch: the rest will be followed by more, or stored with it
	while (!r && (behind ? pc->ndirty >= PC_BATCH : pc->ndirty || all) && (n = collect(pc, &i, limit, all, index, pages))) {
		mutex_unlock(&pc->lock);
		r = pc->ops->write(pc, index, n, pages);
		pc_lock_patient(pc);
		for (u32 k = 0; k < n; k++) {
			u32 *e = entry(pc, index[k]);
			*e &= ~PE_BUSY;
			if (r)
				mark_dirty(pc, index[k], e);
		}
		waitq_wake(&busy_wq, 0);
	}
	if (pc->ndirty)
		pc->dirty_from = min(pc->dirty_from, i);
out:
	mutex_unlock(&pc->lock);
	return r;
}

int pc_sync(struct pagecache *pc) { return store(pc, U64_MAX, false); }
int pc_write_behind(struct pagecache *pc, u64 limit) { return store(pc, limit, true); }

void pc_fill(struct pagecache *pc, u64 index, u64 n)
{
	u64 end = index + n;
	u32 got;

	pc_lock_patient(pc);
	while (index < end && index < data_pages(pc) && !page_short()) {
		u32 *e = entry(pc, index);
		if (e && *e)
			index++;
		else if (make_pages(pc, index, min(end - index, FILL), PAGES_ZERO, &got))
			break;
		else
			index += got;
	}
	mutex_unlock(&pc->lock);
}

u64 pc_next_data(struct pagecache *pc, u64 pos)
{
	u64 i = pos >> PAGE_SHIFT, r = U64_MAX;

	pc_lock(pc);
	for (u64 end = end_index(pc); i < end; i++) {
		u32 *e = entry(pc, i);
		if (!e) {
			i |= LEAF - 1;
			continue;
		}
		if (*e) {
			r = max(pos, i << PAGE_SHIFT);
			break;
		}
	}
	mutex_unlock(&pc->lock);
	return r;
}

u64 pc_next_hole(struct pagecache *pc, u64 pos)
{
	u64 i = pos >> PAGE_SHIFT;

	pc_lock(pc);
	for (;; i++) {
		u32 *e = entry(pc, i);
		if (!e || !*e)
			break;
	}
	mutex_unlock(&pc->lock);
	return max(pos, i << PAGE_SHIFT);
}

// Drops up to `want` clean pages from..to-1, if nobody maps them, nor did with leave to write since all was stored.
static u64 drop_clean(struct pagecache *pc, u64 from, u64 to, u64 want)
{
	u64 n = 0;

	if (pc->mapcount || pc->was_wmapped)
		return 0;
	to = min(to, end_index(pc));
	for (u64 i = from; i < to && n < want; i++) {
		u32 *e = entry(pc, i);
		if (!e) {
			i |= LEAF - 1;
			continue;
		}
		if (*e && !(*e & (PE_BUSY | PE_DIRTY))) {
			page_free(*e & PE_PFN, 1);
			*e = 0;
			resident(pc, -1);
			n++;
		}
	}
	return n;
}

// Called under another cache's lock, so it only tries.
static u64 shrink_locked(struct pagecache *pc, u64 want) { return drop_clean(pc, 0, U64_MAX, want); }

void pc_drop_clean(struct pagecache *pc, u64 start, u64 end)
{
	pc_lock(pc);
	pc->cut_gen++;
	changed(pc);
	drop_clean(pc, start >> PAGE_SHIFT, DIV_ROUND_UP(end, PAGE_SIZE), U64_MAX);
	mutex_unlock(&pc->lock);
}

u64 pc_shrink(struct pagecache *pc, u64 want)
{
	u64 n = 0;

	if (mutex_trylock(&pc->lock)) {
		if (unlikely(pc->crowded))
			crowd_wait(pc);
		n = shrink_locked(pc, want);
		mutex_unlock(&pc->lock);
	}
	return n;
}

u64 pc_reclaim(u64 want)
{
	struct pagecache *pc;
	u64 n = 0;

	if (!mutex_trylock(&caches_lock))
		return 0;
	list_for_each(pc, &caches, all) {
		n += pc_shrink(pc, want - n);
		if (n >= want)
			break;
	}
	mutex_unlock(&caches_lock);
	return n;
}

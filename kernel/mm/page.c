// SPDX-License-Identifier: Apache-2.0
// Page allocator: buddy lists over 2 MiB blocks of the enclave's memory. Blocks are taken from the host on first use and given back
// when whole and plenty. Each shard (shard.h) keeps some single pages. Locks: a shard's list, then page_lock, a leaf; the host is asked
// to take memory back without page_lock.
#include "kernel/include/alloc.h"
#include "kernel/include/kstring.h"
#include "kernel/include/lock.h"
#include "kernel/include/log.h"
#include "kernel/include/mm.h"
#include "kernel/include/platform.h"
#include "kernel/include/shard.h"
#include "kernel/mm/page.h"

#define MAX_ORDER 9		// 2 MiB
#define BARE_LIST (MAX_ORDER + 1) // whole blocks that no memory is behind: taken when there are no others
#define POPULATE_PAGES 16	// fresh runs from here on are faulted in by one call, not page by page
#define HUGE_FROM 8192ul	// pages held before fresh blocks are asked for whole: a small enclave touches little of its last one
#define RECLAIM_PAGES 1024	// given back by file caches at a time
#define MAX_RESERVE 16384ul	// 64 MiB
#define KEEP_BLOCKS 16u		// free whole blocks kept instead of given back

static struct mutex page_lock;
static u32 free_head[BARE_LIST + 1];	// pfn or 0
static u32 free_count[BARE_LIST + 1];	// entries of each list
static u32 keep_blocks = KEEP_BLOCKS;	// most whole ones that hold memory
static u32 idle_blocks;			// fewest there were since page_trim looked last
static u32 first_pfn __sealed, limit_pfn __sealed, arena_pages __sealed; // of kmalloc's arena, elsewhere
static u32 top_pfn;			// [top, limit) never used yet: reads as zero
static u64 free_pages;
static u64 outside_pages;		// the limit's part that programs' private memory takes
u64 page_reserve;		// when less is free, a process is killed (oom.c): kernel objects are refused half of it earlier, file data twice
bool page_emergency;		// a process is being killed: its memory will pay for kernel objects

// Single pages that were freed lately, by shard: most pages come and go one by one.
#define NEAR_MAX 32u
static struct {
	struct mutex lock;
	u32 n;
	u32 pfn[NEAR_MAX];
} __aligned(64) near[SHARDS];

// bytes of memory in all: kmalloc's arena, in [arena, arena_end), and the rest from first on. All are offsets in the linear map.
void page_init(u64 bytes, u64 arena, u64 arena_end, u64 first)
{
	arena_end = min(arena_end, arena + min(bytes / 8, (u64)KMALLOC_ARENA_PAGES * PAGE_SIZE));
	arena_pages = (u32)((arena_end - arena) >> PAGE_SHIFT);
	kmalloc_init((u32)(arena >> PAGE_SHIFT), (u32)(arena_end >> PAGE_SHIFT));
	first_pfn = top_pfn = (u32)(first >> PAGE_SHIFT);
	limit_pfn = first_pfn + (u32)(bytes >> PAGE_SHIFT) - arena_pages;
	free_pages = limit_pfn - first_pfn;
	page_reserve = min(free_pages / 64, MAX_RESERVE);
}

void *page_addr(pfn_t pfn) { return (void *)(page_base + ((u64)pfn << PAGE_SHIFT)); }
pfn_t page_of(const void *p) { return (pfn_t)(((uptr)p - page_base) >> PAGE_SHIFT); }

static u64 near_pages(void)
{
	u64 n = 0;

	for (u32 i = 0; i < SHARDS; i++)
		n += __atomic_load_n(&near[i].n, __ATOMIC_RELAXED);
	return n;
}

// Without what the shards keep: they are at most 2 MiB, and looking at all of them would cost each allocation.
static u64 free_less_outside(void)
{
	u64 out = __atomic_load_n(&outside_pages, __ATOMIC_RELAXED), n = __atomic_load_n(&free_pages, __ATOMIC_RELAXED);

	return n > out ? n - out : 0;
}

bool page_short(void) { return free_less_outside() < 2 * page_reserve; }
u64 page_count_free(void) { return free_less_outside() + near_pages(); }
u32 page_free_blocks(u32 order)
{
	u32 n = order <= MAX_ORDER ? __atomic_load_n(&free_count[order], __ATOMIC_RELAXED) : 0;

	return order == MAX_ORDER ? n + __atomic_load_n(&free_count[BARE_LIST], __ATOMIC_RELAXED) : n;
}
u64 page_count_held(void) { return arena_pages - kmalloc_arena_free() + limit_pfn - first_pfn - __atomic_load_n(&free_pages, __ATOMIC_RELAXED) - near_pages(); }
u64 page_count_outside(void) { return __atomic_load_n(&outside_pages, __ATOMIC_RELAXED); }
u64 page_count_total(void) { return arena_pages + limit_pfn - first_pfn; }

static u32 list_of(u32 order, u8 zero) { return order == MAX_ORDER && zero ? BARE_LIST : order; }

static void list_push(u32 pfn, u32 order, u8 zero)
{
	struct pmeta *m = pmeta(pfn);
	u32 l = list_of(order, zero);

	m->state = PM_FREE;
	m->order = (u8)order;
	m->zero = zero;
	m->prev = 0;
	m->next = free_head[l];
	if (m->next)
		pmeta(m->next)->prev = pfn;
	free_head[l] = pfn;
	free_count[l]++;
}

static void list_remove(u32 pfn, u32 order)
{
	struct pmeta *m = pmeta(pfn);
	u32 l = list_of(order, m->zero);

	if (m->prev)
		pmeta(m->prev)->next = m->next;
	else
		free_head[l] = m->next;
	if (m->next)
		pmeta(m->next)->prev = m->prev;
	m->state = PM_USED;
	free_count[l]--;
	if (l == MAX_ORDER)
		idle_blocks = min(idle_blocks, free_count[l]);
}

// What is kept, what is in use and programs' private memory are no more than the limit.
static u32 most_kept(void) { return (u32)min((u64)keep_blocks, max((u64)KEEP_BLOCKS, free_less_outside() / 512)); }

// Frees one aligned power-of-two run, merging with its buddies. Returns a block to give back to the host, or 0.
static u32 free_order(u32 pfn, u32 order, u8 zero)
{
	while (order < MAX_ORDER) {
		u32 buddy = pfn ^ (1u << order);
		struct pmeta *b = pmeta(buddy);
		if (buddy < first_pfn || buddy >= top_pfn || b->state != PM_FREE || b->order != order)
			break;
		zero &= b->zero;
		list_remove(buddy, order);
		pfn &= ~(1u << order);
		order++;
	}
	if (order == MAX_ORDER && !zero && free_count[MAX_ORDER] >= most_kept())
		return pfn;
	list_push(pfn, order, zero);
	return 0;
}

// Frees [pfn, pfn+n) in aligned pieces; page_lock held, dropped around giving memory back.
static void free_run(u32 pfn, u32 n, u8 zero)
{
	while (n) {
		u32 order = pfn ? (u32)__builtin_ctz(pfn) : MAX_ORDER;
		u32 back;
		if (order > MAX_ORDER)
			order = MAX_ORDER;
		while ((1u << order) > n)
			order--;
		back = free_order(pfn, order, zero);
		if (back) {
			mutex_unlock(&page_lock);
			pf_pages_released(back, 1u << MAX_ORDER);
			mutex_lock(&page_lock);
			list_push(back, MAX_ORDER, 1);
		}
		pfn += 1u << order;
		n -= 1u << order;
	}
}

// One block of the order; splits bigger ones; fresh memory last. 0 when there is none. *fresh: the 2 MiB around it, when no memory is behind
// any of it, else 0.
static u32 take(u32 order, u8 *zero, u32 *fresh)
{
	u32 o, pfn;

	for (o = order; o <= BARE_LIST; o++)
		if (free_head[o])
			break;
	if (o <= BARE_LIST) {
		pfn = free_head[o];
		o = min(o, (u32)MAX_ORDER);
		list_remove(pfn, o);
		*zero = pmeta(pfn)->zero;
	} else {
		o = MAX_ORDER;
		pfn = (top_pfn + 511) & ~511u;
		if (pfn + 512 > limit_pfn || pfn + 512 < pfn)
			return 0;
		top_pfn = pfn + 512;
		*zero = 1;
	}
	*fresh = o == MAX_ORDER && *zero ? pfn : 0;
	while (o > order) {
		o--;
		list_push(pfn + (1u << o), o, *zero);
	}
	pmeta(pfn)->state = PM_USED;
	return pfn;
}

// Kernel objects (spare 0) may use everything while memory is on its way.
static bool room_for(u32 n, u64 spare)
{
	if (!spare && __atomic_load_n(&page_emergency, __ATOMIC_RELAXED))
		return free_pages >= n;
	return free_less_outside() >= n + (spare ? spare : page_reserve + page_reserve / 2);
}

// What other processes have used is in memory, and yet a fault for this one. A fault by reading maps what lies around as well (64 KiB), one by
// writing only its page.
static void meet(u32 pfn, u32 n)
{
	for (u32 k = 0; k < n; k++)
		(void)*(volatile u8 *)page_addr(pfn + k);
}

// `spare` pages must be left; 0: for the kernel itself.
static pfn_t alloc_pages(u32 n, enum page_content want, u64 spare)
{
	u32 order = n <= 1 ? 0 : 32 - (u32)__builtin_clz(n - 1), pfn, fresh = 0;
	u8 z = 0;

	if (!n)
		return PFN_NONE;
	mutex_lock(&page_lock);
	if (!room_for(n, spare)) {
		pfn = 0;
	} else if (order <= MAX_ORDER) {
		pfn = take(order, &z, &fresh);
		if (pfn && (1u << order) > n)
			free_run(pfn + n, (1u << order) - n, z);
	} else {
		// more than a block: contiguous only from memory never used
		u32 blocks = DIV_ROUND_UP(n, 512u);
		pfn = (top_pfn + 511) & ~511u;
		z = 1;
		if ((u64)pfn + (u64)blocks * 512 > limit_pfn) {
			pfn = 0;
		} else {
			top_pfn = pfn + blocks * 512;
			pmeta(pfn)->state = PM_USED;
			free_run(pfn + n, blocks * 512 - n, 1);
		}
	}
	if (pfn)
		free_pages -= n;
	mutex_unlock(&page_lock);
	if (fresh && want != PAGES_ZERO_LATER && page_count_held() >= HUGE_FROM && pf_pages_huge(fresh))
		return pfn; // zero, and there
	if (pfn && z && n >= POPULATE_PAGES && want != PAGES_ZERO_LATER)
		pf_populate((uptr)page_addr(pfn), (u64)n << PAGE_SHIFT, true);
	else if (pfn && !z && want != PAGES_ZERO_LATER)
		meet(pfn, n);
	if (pfn && want != PAGES_ANY && !z)
		memset(page_addr(pfn), 0, (u64)n << PAGE_SHIFT);
	return pfn;
}

static pfn_t near_take(void)
{
	__typeof__(&near[0]) s = &near[my_shard()];
	pfn_t p = PFN_NONE;

	if (!__atomic_load_n(&s->n, __ATOMIC_RELAXED))
		return PFN_NONE;
	mutex_lock(&s->lock);
	if (s->n)
		p = s->pfn[--s->n];
	mutex_unlock(&s->lock);
	return p;
}

static bool near_keep(pfn_t pfn)
{
	__typeof__(&near[0]) s = &near[my_shard()];
	bool kept = false;

	mutex_lock(&s->lock);
	if (s->n < NEAR_MAX) {
		s->pfn[s->n++] = pfn;
		kept = true;
	}
	mutex_unlock(&s->lock);
	return kept;
}

// Memory is short: what the shards keep goes back, where it merges with its neighbours. False: there was nothing.
static bool near_drain(void)
{
	bool any = false;

	for (u32 i = 0; i < SHARDS; i++) {
		mutex_lock(&near[i].lock);
		mutex_lock(&page_lock);
		while (near[i].n) {
			free_pages++;
			free_run(near[i].pfn[--near[i].n], 1, 0);
			any = true;
		}
		mutex_unlock(&page_lock);
		mutex_unlock(&near[i].lock);
	}
	return any;
}

// File pages that can be read again make room for whatever is needed. pc_reclaim only tries locks, so any caller may come here.
static pfn_t alloc_or_reclaim(u32 n, enum page_content want, u64 spare)
{
	pfn_t p = n == 1 && room_for(1, spare) ? near_take() : PFN_NONE;

	if (p) {
		meet(p, 1);
		if (want != PAGES_ANY)
			memset(page_addr(p), 0, PAGE_SIZE);
		return p;
	}
	p = alloc_pages(n, want, spare);
	if (unlikely(!p) && n && near_drain())
		p = alloc_pages(n, want, spare);
	if (unlikely(!p) && n && pc_reclaim(n + RECLAIM_PAGES))
		p = alloc_pages(n, want, spare);
	return p;
}

pfn_t page_alloc(u32 n, bool zero) { return alloc_or_reclaim(n, zero ? PAGES_ZERO : PAGES_ANY, 0); }

pfn_t page_alloc_upto(u32 n, u32 *got, enum page_content want)
{
	if (n > 512)
		n = 512;
	for (; n; n /= 2) {
		pfn_t p = n > 1 ? alloc_pages(n, want, 2 * page_reserve) : alloc_or_reclaim(n, want, 2 * page_reserve);
		if (p) {
			*got = n;
			return p;
		}
	}
	return PFN_NONE;
}

void page_free(pfn_t pfn, u32 n)
{
	if (!pfn || !n || (n == 1 && near_keep(pfn)))
		return;
	mutex_lock(&page_lock);
	free_pages += n;
	free_run(pfn, n, 0);
	mutex_unlock(&page_lock);
}

// Gives back n of the whole blocks that hold memory, and leaves `least`. page_lock held, dropped meanwhile.
static void give_back(u32 n, u32 least)
{
	for (; n && free_count[MAX_ORDER] > least; n--) {
		u32 pfn = free_head[MAX_ORDER];

		list_remove(pfn, MAX_ORDER);
		mutex_unlock(&page_lock);
		pf_pages_released(pfn, 1u << MAX_ORDER);
		mutex_lock(&page_lock);
		list_push(pfn, MAX_ORDER, 1);
	}
}

// What programs take for themselves the host has to have beside what is kept here.
void page_set_outside(u64 pages)
{
	__atomic_store_n(&outside_pages, pages, __ATOMIC_RELAXED);
	if (__atomic_load_n(&free_count[MAX_ORDER], __ATOMIC_RELAXED) <= most_kept())
		return;
	mutex_lock(&page_lock);
	give_back(U32_MAX, most_kept());
	mutex_unlock(&page_lock);
}

// A file cache comes and goes in large pieces, and memory from the host is dear: what was freed stays until nobody wanted it for the time
// between two calls of page_trim, which who calls this has to make.
void page_keep(void)
{
	mutex_lock(&page_lock);
	keep_blocks = U32_MAX;
	idle_blocks = 0;
	mutex_unlock(&page_lock);
}

void page_trim(void)
{
	mutex_lock(&page_lock);
	if (idle_blocks > KEEP_BLOCKS)
		give_back(idle_blocks - KEEP_BLOCKS, KEEP_BLOCKS);
	idle_blocks = free_count[MAX_ORDER];
	mutex_unlock(&page_lock);
}

void page_bare(pfn_t pfn, u32 n)
{
	pf_pages_released(pfn, n);
	mutex_lock(&page_lock);
	free_pages += n;
	mutex_unlock(&page_lock);
}

bool page_fill(pfn_t pfn, u32 n)
{
	bool room;

	(void)pfn; // the memory comes when it is touched
	mutex_lock(&page_lock);
	room = room_for(n, 0);
	if (room)
		free_pages -= n;
	mutex_unlock(&page_lock);
	return room;
}

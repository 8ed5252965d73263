// SPDX-License-Identifier: Apache-2.0
// Text views: executable file segments as all processes share them, with system call sites patched into
// jumps to trampolines. A view is a copy of the file's pages (reads of the file see the original bytes); its trampolines
// lie in pages mapped beside it at a fixed distance, so one patch is right for everyone. Patching happens when
// a site first traps, in the trapping thread.
//
// Two forms are patched (everything else keeps trapping):
//   A  b8 imm32 0f 05            mov $nr,%eax; syscall      -> jmp over the mov; the syscall bytes stay
//      48 c7 c0 imm32 0f 05      mov $nr,%rax; syscall      -> likewise (signal restorers; unwinders know them by CFI)
//      b8 imm32 <few> 0f 05      the same with a few plain instructions between -> the trampoline has copies of them (starts of
//                                programs and threads in glibc)
//   B  0f 05 48 3d imm32         syscall; cmp $imm,%rax     -> jmp over both; the trampoline replays the cmp
// RCX carries the return address, R11 is dead after a system call; so the user stack is not touched.
// In every form a `syscall` instruction lies just before the return address: a restart is rip -= 2.
//
// Other threads may be executing the bytes that change. Five bytes within one cache line are replaced by one store; a site that
// crosses lines gets int3 first, with a barrier on all CPUs before and after the other bytes.
// A site whose jump would cross pages is left alone: a program may have one of the two pages as its own (mprotect), and would run half of it.
//
// Large segments are read in pieces on first touch (text_fill); the mapping is lazy then (lazy.c).
// Locks: tv->lock (leaf) over trampolines and patches; pc->lock over the list of views.
#include "kernel/include/count.h"
#include "kernel/include/kstring.h"
#include "kernel/include/log.h"
#include "kernel/include/mm.h"
#include "kernel/include/platform.h"
#include "kernel/include/task.h"
#include "kernel/mm/vma.h"

#define VIEW_MAX_PAGES 32768ul	// 128 MiB
#define SLOT 32u
#define TRAMP_FIRST 32u		// the kernel's entry address lies at 0

extern char kentry[];
uptr text_kentry __sealed = (uptr)kentry;

void text_get(struct textview *v) { ref_get(&v->ref); }

void text_put(struct textview *v)
{
	if (!v || !ref_put(&v->ref))
		return;
	if (v->pfn) {
		page_free(v->pfn, (u32)v->npages);
		page_free(v->tramp_pfn, TRAMP_BYTES >> PAGE_SHIFT);
	}
	kfree(v->filled);
	COUNT(text_views, -1);
	kfree(v);
}

void text_drop_cache(struct pagecache *pc)
{
	struct textview *v, *t;

	list_for_each_safe(v, t, &pc->views, link) {
		list_del(&v->link);
		v->pc = NULL;
		text_put(v);
	}
}

// Offset of the first `syscall` in [off, len), or len. Seven places are looked at together: a byte of `z` is zero where 0f 05 begins.
static u64 next_syscall(const u8 *p, u64 off, u64 len)
{
	const u64 ones = 0x0101010101010101ul, high = 0x8080808080808080ul;

	for (; off + 8 <= len; off += 7) {
		u64 w, z;

		memcpy(&w, p + off, 8);
		z = (w ^ ones * 0x0f) | (w >> 8 ^ ones * 0x05);
		z = (z - ones) & ~z & high;
		if (unlikely(z))
			return off + (u64)__builtin_ctzl(z) / 8;
	}
	for (; off + 2 <= len; off++)
		if (p[off] == 0x0f && p[off + 1] == 0x05)
			return off;
	return len;
}

// Whether the segment has a system call at all.
static int any_syscall(struct textview *v, struct pagecache *pc, bool *any)
{
	u32 n;
	pfn_t p;
	int r;

	*any = false;
	for (u64 i = 0; i < v->npages && !*any; i += n) {
		r = pc_run(pc, v->pgoff + i, v->npages - i, true, &p, &n);
		if (r)
			return r;
		u64 size = (u64)n << PAGE_SHIFT;
		*any = next_syscall(page_addr(p), 0, size) < size;
		if (!*any && i + n < v->npages) { // across the border of two runs
			pfn_t q;
			u32 m;
			r = pc_run(pc, v->pgoff + i + n, 1, true, &q, &m);
			if (r)
				return r;
			*any = *((u8 *)page_addr(p + n) - 1) == 0x0f && *(u8 *)page_addr(q) == 0x05;
		}
	}
	return 0;
}

static int copy_from_cache(struct textview *v, struct pagecache *pc)
{
	u32 n;
	pfn_t p;

	for (u64 i = 0; i < v->npages; i += n) {
		int r = pc_run(pc, v->pgoff + i, v->npages - i, true, &p, &n);
		if (r)
			return r;
		memcpy(page_addr(v->pfn + (u32)i), page_addr(p), (size_t)n << PAGE_SHIFT);
		if (!i)
			pf_pages_mapped_often(p, n); // other segments of the file are mapped as they are
	}
	return 0;
}

#define PIECE_PAGES (LAZY_IMAGE_PIECE >> PAGE_SHIFT)

static bool is_filled(const struct textview *v, u64 piece) { return __atomic_load_n(&v->filled[piece / 64], __ATOMIC_ACQUIRE) >> (piece % 64) & 1; }

// Read beside the view: only under the lock is it sure that nobody else was quicker, and perhaps patched it.
static int fill_piece(struct textview *v, struct pagecache *pc, u64 piece)
{
	u64 first = piece * PIECE_PAGES, n = min(PIECE_PAGES, v->npages - first);
	pfn_t temp = page_alloc((u32)n, false);
	int r;

	if (!temp)
		return -ENOMEM;
	r = pc_copy(pc, v->pgoff + first, n, page_addr(temp));
	if (!r) {
		mutex_lock(&v->lock);
		if (!is_filled(v, piece)) {
			memcpy(page_addr(v->pfn + (u32)first), page_addr(temp), n << PAGE_SHIFT);
			__atomic_fetch_or(&v->filled[piece / 64], 1ul << (piece % 64), __ATOMIC_RELEASE);
		}
		mutex_unlock(&v->lock);
	}
	page_free(temp, (u32)n);
	return r;
}

int text_fill(struct textview *v, struct pagecache *pc, u64 first, u64 end)
{
	int r = 0;

	for (u64 piece = first / PIECE_PAGES; v->filled && piece * PIECE_PAGES < min(end, v->npages) && !r; piece++)
		if (!is_filled(v, piece))
			r = fill_piece(v, pc, piece);
	return r;
}

// A large segment of a file that nobody can change: nothing is read yet.
static int build_lazily(struct textview *v)
{
	u64 entry = text_kentry;

	v->filled = kzalloc(DIV_ROUND_UP(DIV_ROUND_UP(v->npages, PIECE_PAGES), 64ul) * 8);
	v->tramp_pfn = page_alloc(TRAMP_BYTES >> PAGE_SHIFT, false);
	v->pfn = v->filled && v->tramp_pfn ? page_alloc((u32)v->npages, false) : PFN_NONE;
	if (!v->pfn) {
		if (v->tramp_pfn)
			page_free(v->tramp_pfn, TRAMP_BYTES >> PAGE_SHIFT);
		kfree(v->filled);
		return -ENOMEM;
	}
	memcpy(page_addr(v->tramp_pfn), &entry, 8);
	v->tramp_used = TRAMP_FIRST;
	return 0;
}

// Fills a new view; views without any system call stay empty (pfn 0). The text of a file that nobody can change need not be in the
// page cache as well: it is read straight into the view, and is the page cache's when there turns out to be no call in it.
static int build(struct textview *v, struct pagecache *pc)
{
	u64 len = v->npages << PAGE_SHIFT, entry = text_kentry;
	bool fixed = pc->ops && pc->ops->read && !pc->ops->write, any = true;
	int r;

	if (fixed && v->npages >= LAZY_MIN_IMAGE >> PAGE_SHIFT)
		return build_lazily(v);
	r = fixed ? 0 : any_syscall(v, pc, &any);

	if (r || !any)
		return r;
	r = -ENOMEM;
	v->pfn = page_alloc((u32)v->npages, false);
	if (!v->pfn)
		return r;
	r = fixed ? pc_copy(pc, v->pgoff, v->npages, page_addr(v->pfn)) : copy_from_cache(v, pc);
	if (r)
		goto fail;
	if (fixed && next_syscall(page_addr(v->pfn), 0, len) == len) {
		pc_adopt(pc, v->pgoff, (u32)v->npages, v->pfn);
		v->pfn = 0;
		return 0;
	}
	v->tramp_pfn = page_alloc(TRAMP_BYTES >> PAGE_SHIFT, false);
	r = -ENOMEM;
	if (!v->tramp_pfn)
		goto fail;
	memcpy(page_addr(v->tramp_pfn), &entry, 8);
	v->tramp_used = TRAMP_FIRST;
	pf_pages_mapped_often(v->pfn, (u32)v->npages);
	return 0;
fail:
	page_free(v->pfn, (u32)v->npages);
	v->pfn = 0;
	return r;
}

static struct textview *find(struct pagecache *pc, u64 pgoff, u64 npages)
{
	struct textview *v;

	list_for_each(v, &pc->views, link)
		if (v->pgoff == pgoff && v->npages == npages)
			return v;
	return NULL;
}

struct textview *text_view(struct pagecache *pc, u64 pgoff, u64 npages)
{
	struct textview *v, *old;
	bool written;
	u64 gen;

	if (npages > VIEW_MAX_PAGES)
		return NULL;
	mutex_lock(&pc->lock);
	v = find(pc, pgoff, npages);
	gen = pc->data_gen;
	written = pc->wmapcount;
	if (v)
		text_get(v);
	mutex_unlock(&pc->lock);
	if (written) // who writes through a mapping wants to see it in the others
		return NULL;
	if (!v) {
		v = knew(struct textview);
		if (!v)
			return NULL;
		COUNT(text_views, 1);
		ref_init(&v->ref, 2); // the list's and the caller's
		v->pc = pc;
		v->pgoff = pgoff;
		v->npages = npages;
		if (build(v, pc)) {
			COUNT(text_views, -1);
			kfree(v);
			return NULL;
		}
		mutex_lock(&pc->lock);
		old = find(pc, pgoff, npages);
		if (old)
			text_get(old);
		else if (gen == pc->data_gen)
			list_add(&v->link, &pc->views);
		else
			v->pc = NULL; // written meanwhile: nobody else shall have it
		mutex_unlock(&pc->lock);
		if (old || !v->pc)
			ref_put(&v->ref); // the list's
		if (old) {
			text_put(v);
			v = old;
		}
	}
	if (!v->pfn) {
		text_put(v);
		return NULL;
	}
	return v;
}

static void put32(u8 *p, s64 v)
{
	s32 x = (s32)v;
	memcpy(p, &x, 4);
}

// Replaces the 5 bytes at `at` (a kernel address of the view) by a jump, while other threads run there.
static void patch5(u8 *at, const u8 jmp[5])
{
	uptr a = (uptr)at, line = a & 63;
	u64 w;

	if (line <= 59) {
		uptr s = line <= 56 ? a : (a & ~63ul) + 56;
		memcpy(&w, (void *)s, 8);
		memcpy((u8 *)&w + (a - s), jmp, 5);
		__asm__ volatile("movq %1, (%0)" ::"r"(s), "r"(w) : "memory");
		return;
	}
	__atomic_store_n(at, 0xcc, __ATOMIC_SEQ_CST);
	pf_text_sync();
	for (int i = 1; i < 5; i++)
		__atomic_store_n(at + i, jmp[i], __ATOMIC_SEQ_CST);
	pf_text_sync();
	__atomic_store_n(at, jmp[0], __ATOMIC_SEQ_CST);
	pf_text_sync();
}

// Bytes [from, end) of a view
static bool crosses_pages(u64 from, u64 end) { return from >> PAGE_SHIFT != (end - 1) >> PAGE_SHIFT; }

// Offset of n fresh trampoline slots, 0 when there is no room. tv->lock held.
static u32 slots(struct textview *v, u32 n)
{
	if (v->tramp_used + n * SLOT > TRAMP_BYTES)
		return 0;
	v->tramp_used += n * SLOT;
	return v->tramp_used - n * SLOT;
}

// Jump from `from` (offset in the view) to trampoline slot t, both relative to the view's start.
static void make_jmp(u8 jmp[5], struct textview *v, u64 from, u32 t)
{
	jmp[0] = 0xe9;
	put32(jmp + 1, v->delta + t - (s64)(from + 5));
}

// lea behind_the_syscall(%rip),%rcx; jmp *entry(%rip): the end of a trampoline of form A, at offset `at` from the view.
static void finish_a(struct textview *v, u64 off, u8 *p, s64 at)
{
	memcpy(p, "\x48\x8d\x0d", 3);
	put32(p + 3, (s64)off + 2 - (at + 7));
	memcpy(p + 7, "\xff\x25", 2);
	put32(p + 9, -(at - v->delta) - 13);
}

// `mov` is the length of the instruction that loads the number: 5 or 7 bytes; the number is its last 4.
static void form_a(struct textview *v, u8 *text, u64 off, u32 mov)
{
	u8 *tr, jmp[5];
	u32 t = crosses_pages(off - mov, off - mov + 5) ? 0 : slots(v, 1);
	s64 at;

	if (!t)
		return;
	tr = (u8 *)page_addr(v->tramp_pfn) + t;
	at = v->delta + t;
	tr[0] = 0xb8;					// mov $nr,%eax
	memcpy(tr + 1, text + off - 4, 4);
	finish_a(v, off, tr + 5, at + 5);
	make_jmp(jmp, v, off - mov, t);
	patch5(text + off - mov, jmp);
}

// Length of a plain instruction that can be copied elsewhere and neither reads nor writes rax; else 0. *rip: its last 4 bytes are relative.
static u32 plain(const u8 *x, bool *rip)
{
	const u8 *p = x;
	bool p66 = *p == 0x66, fixed = false;
	u8 rex = 0, mod, reg, rm;

	p += p66;
	if ((*p & 0xf0) == 0x40)
		rex = *p++;
	if (*p >= 0xb9 && *p <= 0xbf && !p66 && !rex)	// mov $imm,%r32
		return 5;
	if (*p == 0x0f) {
		p++;
		fixed = *p == 0x6c || *p == 0x6e;	// punpcklqdq, movq: registers only
		if (*p != 0x11 && *p != 0x29 && !(fixed && p66)) // movups, movaps to memory
			return 0;
	} else if (*p == 0x31) {			// xor
		fixed = true;
	} else if ((*p != 0x89 && *p != 0x8d) || p66) {	// mov to memory or register, lea
		return 0;
	}
	bool vector = p[-1] == 0x0f, lea = *p == 0x8d && !vector;
	p++;
	mod = *p >> 6, reg = (u8)((*p >> 3 & 7) | (rex & 4) << 1), rm = (u8)((*p & 7) | (rex & 1) << 3);
	if ((!vector && !reg) || (!rm && !(vector && mod == 3 && p[-1] == 0x6c)) || (fixed && mod != 3))
		return 0;
	p++;
	*rip = mod == 0 && (rm & 7) == 5;
	if (*rip && !lea)
		return 0;
	if (mod != 3 && (rm & 7) == 4 && *p++ != 0x24)	// only plain (%rsp)
		return 0;
	return (u32)(p - x) + (mod == 1 ? 1 : mod == 2 || *rip ? 4 : 0);
}

#define BETWEEN_MAX 24u

// Bytes of plain instructions between mov $nr,%eax and the call at `off`; 0 when there is no such place. Code that jumps among
// them still finds them and the syscall as they were.
static u32 between(const u8 *text, u64 off, u64 nr)
{
	u32 num = (u32)nr;

	for (u32 n = 2; n <= BETWEEN_MAX && off >= n + 6u; n++) {
		const u8 *x = text + off - n;
		bool rip, any = false;
		u32 i = 0, k = 1;

		if (x[-5] != 0xb8 || memcmp(x - 4, &num, 4) || (x[-6] & 0xf0) == 0x40)
			continue;
		for (; i < n && k && !any; i += k) {
			k = plain(x + i, &rip);
			any = rip && n != k; // moved alone only
		}
		if (i == n && k && !any)
			return n;
	}
	return 0;
}

static void form_a_between(struct textview *v, u8 *text, u64 off, u32 n)
{
	u8 *tr, jmp[5], *x = text + off - n;
	bool rip = false;
	u32 t = crosses_pages(off - n - 5, off - n) ? 0 : slots(v, n + 18 > SLOT ? 2 : 1);
	s64 at;
	s32 disp;

	if (!t)
		return;
	tr = (u8 *)page_addr(v->tramp_pfn) + t;
	at = v->delta + t;
	memcpy(tr, x, n);
	if (plain(x, &rip) == n && rip) { // relative to rip: same address from the new place
		memcpy(&disp, x + n - 4, 4);
		put32(tr + n - 4, disp + ((s64)off - n) - at);
	}
	memcpy(tr + n, x - 5, 5); // mov $nr,%eax
	finish_a(v, off, tr + n + 5, at + n + 5);
	make_jmp(jmp, v, off - n - 5, t);
	patch5(x - 5, jmp);
}

// The end of a thread in glibc, `1: xor %edi,%edi; mov %edx,%eax; syscall; jmp 1b`: too short for a jump once threads run there, so it is
// patched when the view has its place and is not yet mapped. tv->lock held.
void text_placed(struct textview *v)
{
	static const u8 loop[] = { 0x31, 0xff, 0x89, 0xd0, 0x0f, 0x05, 0xeb, 0xf8 };
	u8 *text = page_addr(v->pfn), jmp[5];
	u64 len = v->filled ? 0 : v->npages << PAGE_SHIFT; // no C library is that large

	for (u64 off = 8; (off = next_syscall(text, off, len)) + 4 <= len; off += 2) {
		u8 *tr;
		u32 t;
		if (memcmp(text + off - 4, loop, sizeof(loop)) || crosses_pages(off - 4, off + 2))
			continue;
		t = slots(v, 1);
		if (!t)
			return;
		tr = (u8 *)page_addr(v->tramp_pfn) + t;
		memcpy(tr, loop, 4);
		finish_a(v, off, tr + 4, v->delta + t + 4);
		make_jmp(jmp, v, off - 4, t);
		memcpy(text + off - 4, jmp, 5);
	}
}

// Returns the offset (from the view's start) of the code behind the call in the trampoline.
static s64 form_b(struct textview *v, u8 *text, u64 off)
{
	u8 *tr, jmp[5];
	u32 t = crosses_pages(off, off + 8) ? 0 : slots(v, 1);
	s64 at;

	if (!t)
		return -1;
	tr = (u8 *)page_addr(v->tramp_pfn) + t;
	at = v->delta + t;
	memcpy(tr, "\x48\x8d\x0d\x08\x00\x00\x00", 7);	// lea post(%rip),%rcx
	memcpy(tr + 7, "\xff\x25", 2);			// jmp *entry(%rip)
	put32(tr + 9, -(s64)t - 13);
	memcpy(tr + 13, "\x0f\x05", 2);			// syscall: only a restart comes here
	memcpy(tr + 15, text + off + 2, 6);		// post: cmp $imm,%rax
	tr[21] = 0xe9;					// jmp behind the cmp
	put32(tr + 22, (s64)off + 8 - (at + 26));
	make_jmp(jmp, v, off, t);
	patch5(text + off, jmp);
	return at + 15;
}

// A call that form A patched traps again when it is restarted: its trampoline returns behind the `syscall`, which must stay.
static bool jumps_to_trampoline(struct textview *v, const u8 *text, u64 at)
{
	s32 rel;

	if (text[at] != 0xe9)
		return false;
	memcpy(&rel, text + at + 1, 4);
	s64 to = (s64)at + 5 + rel - v->delta;
	return to >= 0 && to < (s64)TRAMP_BYTES;
}

static bool is_form_a(struct textview *v, const u8 *text, u64 off)
{
	for (u32 back = 5; back <= 5 + BETWEEN_MAX && back <= off; back++)
		if (jumps_to_trampoline(v, text, off - back))
			return true;
	return false;
}

void text_trap(struct regs *r)
{
	struct mm *mm = curproc->mm;
	struct textview *tv = NULL;
	struct pagecache *pc = NULL;
	u64 off = 0, len;
	uptr base = 0;
	u32 n;
	struct vma *v;
	u8 *text;

	mutex_lock(&mm->lock);
	v = mm_find(mm, r->rip - 2);
	if (v && v->view) {
		tv = v->view;
		text_get(tv);
		base = v->start - ((v->pgoff - tv->pgoff) << PAGE_SHIFT);
		off = r->rip - 2 - base;
		if (tv->filled)
			pc_get(pc = v->pc);
	}
	mutex_unlock(&mm->lock);
	if (!tv)
		return;
	// the bytes around it, which may lie in another piece
	if (pc && text_fill(tv, pc, (off > 64 ? off - 64 : 0) >> PAGE_SHIFT, ((off + 16) >> PAGE_SHIFT) + 1)) {
		pc_put(pc);
		text_put(tv);
		return;
	}
	if (pc)
		pc_put(pc);
	text = page_addr(tv->pfn);
	len = tv->npages << PAGE_SHIFT;
	mutex_lock(&tv->lock);
	if (off + 8 <= len && text[off] == 0xe9) {
		// another thread patched form B here after we had trapped: go on behind the call in the trampoline
		s32 rel;
		memcpy(&rel, text + off + 1, 4);
		r->rip = base + off + 5 + (u64)(s64)rel + 15;
	} else if (off >= 6 && text[off - 5] == 0xb8 && (text[off - 6] & 0xf0) != 0x40 &&
		   !memcmp(text + off - 4, &r->orig_rax, 4) && r->orig_rax < U32_MAX) {
		form_a(tv, text, off, 5);
	} else if (off >= 7 && !memcmp(text + off - 7, "\x48\xc7\xc0", 3) && !memcmp(text + off - 4, &r->orig_rax, 4) &&
		   r->orig_rax <= U32_MAX / 2) {
		form_a(tv, text, off, 7);
	} else if (r->orig_rax <= U32_MAX / 2 && (n = between(text, off, r->orig_rax))) {
		form_a_between(tv, text, off, n);
	} else if (off + 8 <= len && text[off + 2] == 0x48 && text[off + 3] == 0x3d && !is_form_a(tv, text, off)) {
		s64 post = form_b(tv, text, off);
		if (post != -1)
			r->rip = base + (u64)post;
	}
	mutex_unlock(&tv->lock);
	text_put(tv);
}

// A breakpoint inside a view: when no patch is on its way any more, it is there only if the program has it. True: run the instruction again.
bool text_breakpoint(u64 rip)
{
	struct mm *mm = curproc->mm;
	struct textview *tv = NULL;
	bool ours;
	struct vma *v;
	u64 off = 0;

	mutex_lock(&mm->lock);
	v = mm_find(mm, rip);
	if (v && v->view) {
		tv = v->view;
		text_get(tv);
		off = rip - (v->start - ((v->pgoff - tv->pgoff) << PAGE_SHIFT));
	}
	mutex_unlock(&mm->lock);
	if (!tv)
		return false;
	mutex_lock(&tv->lock);
	ours = *((u8 *)page_addr(tv->pfn) + off) != 0xcc;
	mutex_unlock(&tv->lock);
	text_put(tv);
	return ours;
}

// SPDX-License-Identifier: Apache-2.0
// Address spaces: a sorted array of mappings per process (mm/mm.c, mm/mmap.c), the page cache
// (mm/pagecache.c) and text views (mm/text.c).
// Locks: mm->lock, then an inode's pagecache lock. Neither is held over a hostcall that may block,
// except that page reading fills pages under the pagecache's fill protocol.
#pragma once
#include "kernel/include/alloc.h"
#include "kernel/include/list.h"
#include "kernel/include/lock.h"
#include "kernel/include/uapi.h"
#include "kernel/include/usercopy.h"

struct file;
struct inode;
struct pagecache;
struct textview;

#define VMA_SHARED 1u
#define VMA_STACK 2u
#define VMA_TRAMP 4u	// trampolines beside a text view; hidden from the program
#define VMA_VIEW 8u	// text view of an executable file segment
#define VMA_VDSO 16u
#define VMA_HEAP 32u
#define VMA_LOCKED 64u
#define VMA_GUARD 128u	// address space kept free for trampolines
#define VMA_DONTFORK 256u
#define VMA_NORESERVE 512u
#define VMA_SEALED 2048u // mseal(2)
#define VMA_MAYWRITE 1024u // a shared mapping may become writable (file opened for writing)
#define VMA_LOCKONFAULT 16384u // with VMA_LOCKED: pages come when they are touched
#define VMA_WIPEONFORK 4096u
#define VMA_GROWSDOWN 8192u

struct vma {
	uptr start, end;
	u32 prot;		// PROT_*
	u32 flags;
	struct file *file;	// reference, or NULL
	struct pagecache *pc;	// reference: what is mapped (file or shared anonymous); NULL: private anonymous
	u64 pgoff;		// page offset in pc
	u64 valid;		// bytes from start that are backed (rest: beyond the end of file); with `lazy` that may be mapped
	struct textview *view;
	struct lazy *lazy;	// reference: mapped in pieces on first touch (mm/lazy.c); NULL: mapped as a whole
};

struct mm {
	struct ref ref;
	struct mutex lock;
	struct vma *vmas;	// sorted by start
	u32 n, cap;
	uptr brk_start, brk, mmap_base, brk_limit;
	uptr hint;		// where the search for a free place starts
	u64 total_pages, locked_pages, data_pages;	// mapped, VMA_LOCKED, private and writable but for the stack
	u64 peak_pages;		// most of total_pages
	struct list rseq;	// host threads with an area of rseq(2) here (kernel/task/rseq.c)
	u32 mdwe;		// PR_SET_MDWE: PR_MDWE_*
	bool thp_off;		// PR_SET_THP_DISABLE, for those who ask: huge pages are the host's choice
	u32 lock_future;	// mlockall(MCL_FUTURE): VMA_LOCKED, perhaps VMA_LOCKONFAULT
	struct proc *owner;
	u32 others;		// processes that live here beyond the first (CLONE_VM); vfork children do not count. tasklist
	u32 users_host;		// host threads inside
	u64 cut_pass;		// mm/cut.c, under tasklist: the last pass that looked here
	bool unpatched;		// traced: text is the process's own (mm/text_trace.c)
	struct mutex remote_lock;	// requests of other processes (mm/remote.c)
	struct list remote;
	u64 program;		// a number that no other program's memory ever has; changes with exec, after the ids. tasklist
	struct list aio;		// contexts of Linux AIO (fs/aio.c)
};

// kernel/task/rseq.c: before memory is unmapped or made read-only, mm->lock held: 0 or -EAREAGONE, which ends the process where the call ends.
bool rseq_within(const struct mm *mm, uptr start, uptr end);
static inline int rseq_memory_goes(const struct mm *mm, uptr start, uptr end)
{
	return unlikely(!list_empty(&mm->rseq)) && rseq_within(mm, start, end) ? -EAREAGONE : 0;
}

// Address space layout: 0 fixed, 1 random but for the heap, 2 all random (/proc/sys/kernel/randomize_va_space).
extern int randomize_va_space;
u64 mm_random(u64 bits);		// for the next program of the current process; 0 when its layout is fixed (0, or by personality)

void aio_drop(struct mm *mm);
struct mm *mm_new(void);
u64 mm_program_new(void);
// What prctl said of the memory before it, for that of a child or a new program.
static inline void mm_inherit_prctl(struct mm *to, const struct mm *from)
{
	to->mdwe = from->mdwe & 2 ? 0 : from->mdwe; // PR_MDWE_NO_INHERIT
	to->thp_off = from->thp_off;
}
// Copies the mappings (the platform copies the memory). On success from->lock stays held, so that nobody changes them until
// the memory has been copied too; then call mm_fork_end. -ENOMEM.
int mm_fork_begin(struct mm *from, struct mm **out);
void mm_fork_end(struct mm *from);
void mm_put(struct mm *mm);		// last reference: drops references held by mappings; host memory goes with the host process
bool mm_leave(struct mm *mm);		// a process goes; true: the last one. tasklist held
void mm_clear(struct mm *mm);		// exec in place: forget and unmap everything

// The loader's and mmap(2)'s entry. addr is a hint unless MAP_FIXED(_NOREPLACE). Result: address or -errno.
long mm_map(struct mm *mm, uptr addr, size_t len, int prot, int flags, struct file *f, u64 pgoff, u32 vma_flags);
// Maps n pages of kernel memory, shared, outside the page cache (the vDSO); the pages stay for ever. hint as in mm_map.
long mm_map_pages(struct mm *mm, uptr hint, pfn_t pfn, u32 n, int prot, u32 vma_flags);
int mm_unmap(struct mm *mm, uptr addr, size_t len);
int mm_protect(struct mm *mm, uptr addr, size_t len, int prot);
// Whether limits let `pages` more be mapped with such flags and protection (RLIMIT_AS, RLIMIT_DATA): 0 or -ENOMEM. mm->lock held.
int mm_may_grow(const struct mm *mm, u64 pages, u32 prot, u32 vma_flags);
// Private writable memory of this size can never exist within the enclave's limit (vm.overcommit_memory 0).
bool mm_hopeless(u64 pages, u32 prot, u32 vma_flags);
extern u32 overcommit_memory;	// 0 or 1, /proc/sys/vm/overcommit_memory
// Whether RLIMIT_MEMLOCK lets `pages` more be locked.
bool mm_may_lock(const struct mm *mm, u64 pages);
bool mm_can_lock(void);		// any at all
void mm_populate(struct mm *mm, uptr start, uptr end);	// brings in what is locked in the range, as far as it goes; no locks held
// Finds the mapping that holds addr; mm->lock held. NULL if none.
struct vma *mm_find(struct mm *mm, uptr addr);
// A fault of the current address space at addr that mapping lazily could cure. 0: retry. -EFAULT: SIGSEGV. -EIO/-ENXIO: SIGBUS.
int mm_fault(uptr addr, bool write);
// Futex and lock key of a user address: (mm, addr) if private, (pagecache, offset) if shared. Reference held by *obj only while mapped.
int mm_key(const void __user *p, bool private_hint, void **obj, u64 *off);

// --- page cache: the data of one inode (or shared anonymous memory), page by page
struct pc_ops {
	// Fills n contiguous cache pages starting at index from storage; kaddr has room. Called without locks of the cache.
	int (*read)(struct pagecache *pc, u64 index, u32 n, void *kaddr);
	// Writes n <= PC_BATCH dirty pages: page index[k] is at pages[k], index rises. NULL: memory is the storage (tmpfs).
	int (*write)(struct pagecache *pc, const u64 *index, u32 n, const void **pages);
	u64 (*size)(struct pagecache *pc);	// bytes of data now
	u64 (*stored)(struct pagecache *pc);	// bytes that have to be read: more while the file is being cut. NULL: size
	// A mapping by which programs may change pages without a trace came, or became one. May be NULL; no locks of the cache.
	void (*wmapped)(struct pagecache *pc);
};
#define PC_BATCH 256u
struct pagecache {
	struct ref ref;
	struct mutex lock;
	const struct pc_ops *ops;
	void *owner;		// inode, guarded by the inode's own reference rules (NULL after it went)
	u32 **leaf;		// leaf[i >> 10][i & 1023] = page entry (pfn | flags)
	u64 nleaf;
	u64 npages;		// resident
	u32 mapcount;		// mappings; truncated pages wait in `limbo` until nobody maps them
	u32 wmapcount;		// shared writable mappings
	struct list limbo;
	u64 map_gen, cut_gen, data_gen;	// mappings that ever came; truncations; changes: bumped with the lock held that it is made under
	bool anon, was_wmapped;
	bool crowded;		// readers met: they count themselves instead of taking the lock (crowd.h)
	u64 sent_as;		// the number by which the send cache knows it (net/sendcache.c); 0: never sent
	u64 ndirty, dirty_from;	// no page before dirty_from is dirty
	u64 bare, bare_end;	// pages that were allocated and perhaps never touched: the host has not given their memory
	u32 leaf0_cap;		// entries of leaf[0], which starts small
	u32 ahead;		// pages that a read takes from storage at least: more while they are read in order
	struct list views;	// text views of this file (mm/text.c)
	struct list all;	// all caches that storage can refill
};
struct pagecache *pc_new(const struct pc_ops *ops, void *owner);
void pc_get(struct pagecache *pc);
void pc_put(struct pagecache *pc);
// Copies between the cache and it. Reading stops at `size`. Missing pages are read from storage or zero.
// pc_write makes pages and marks them dirty; the caller sets the inode's size. Bytes done or -errno.
ssize_t pc_read(struct pagecache *pc, struct iter *it, u64 pos, u64 size);
// Copies what is in memory from byte `pos` on: less than n where a page is missing, which pc_bring reads then (0 or -errno).
// *size: of the file, whatever is cut off it meanwhile.
size_t pc_peek(struct pagecache *pc, void *to, size_t n, u64 pos, const u64 *size);
int pc_bring(struct pagecache *pc, u64 pos);
ssize_t pc_write(struct pagecache *pc, struct iter *it, u64 pos, u64 size);
// A run of up to max present contiguous pages from index (created/read when missing if `create`): *pfn, *n.
// 0 with *pfn == PFN_NONE: a hole (create false).
int pc_run(struct pagecache *pc, u64 index, u64 max, bool create, pfn_t *pfn, u32 *n);
// A file in memory has pages from index to end; -ENOSPC, or -EINTR when a signal came on the way.
int pc_allocate(struct pagecache *pc, u64 index, u64 end);
// For files that nobody can change (ops->read and no ops->write): copies pages past the cache, which does not keep what it had not;
// and puts pages with the file's contents into it (frees those that it has already).
int pc_copy(struct pagecache *pc, u64 index, u64 n, void *kaddr);
void pc_adopt(struct pagecache *pc, u64 index, u32 n, pfn_t pfn);
u64 pc_resident(struct pagecache *pc, u64 first, u64 end);	// pages [first, end) that are in memory
bool pc_on_its_way(struct pagecache *pc, u64 index);			// being read or written just now
void pc_truncate(struct pagecache *pc, u64 newsize, u64 oldsize);	// drops pages beyond, zeroes the tail of the last
void pc_punch(struct pagecache *pc, u64 start, u64 end);		// byte range becomes zeroes
// Storage may have other contents there now: what is in it goes. What is not stored yet stays, and so do the pages of mappings.
void pc_drop_clean(struct pagecache *pc, u64 start, u64 end);
void pc_drop(struct pagecache *pc, u64 start, u64 end);		// storage has other contents there now; start: of a page. mm_cut then
int pc_sync(struct pagecache *pc);					// writes dirty pages
// The same in the background: only pages before `limit`, and none of a file that mappings may have changed.
int pc_write_behind(struct pagecache *pc, u64 limit);
void pc_fill(struct pagecache *pc, u64 index, u64 n);			// reads missing pages while memory is plenty
u64 pc_next_data(struct pagecache *pc, u64 pos), pc_next_hole(struct pagecache *pc, u64 pos); // tmpfs SEEK_DATA/HOLE
// Drops clean unmapped pages; returns how many (memory pressure).
u64 pc_shrink(struct pagecache *pc, u64 want);
u64 pc_reclaim(u64 want);	// the same over all caches
void pc_mapped(struct pagecache *pc, int delta, bool shared_writable);	// a mapping comes (1) or goes (-1)

// The file has been cut to `size` bytes (pc_truncate): takes the rest out of all mappings. May sleep; no locks held.
void mm_cut(struct pagecache *pc, u64 size);
// Its bracket around one look at all mappings: false when no pages beyond `size` wait in limbo; c->mappings are to be seen. pc_cut_end
// frees the pages that waited if that many were seen and none came meanwhile; true: all done.
struct pc_cut {
	u64 index, mappings, map_gen, cut_gen;
};
bool pc_cut_begin(struct pagecache *pc, u64 size, struct pc_cut *c);
bool pc_cut_end(struct pagecache *pc, const struct pc_cut *c, u64 seen);

// --- text views (mm/text.c)
// The view of pages [pgoff, pgoff+npages) of a file, made on first use; a new reference. NULL: map the file itself (each call traps).
struct textview *text_view(struct pagecache *pc, u64 pgoff, u64 npages);
void text_placed(struct textview *v);	// delta is set, nothing is mapped yet; v->lock held
void text_get(struct textview *v);
void text_put(struct textview *v);
// Where its pages and its trampolines are, and how far the trampolines lie behind the view's start (0: not fixed yet).
struct textview {
	struct ref ref;
	struct mutex lock;		// trampolines; leaf
	struct list link;		// pc->views
	struct pagecache *pc;		// the file; cleared when it goes
	u64 pgoff, npages;
	pfn_t pfn, tramp_pfn;
	s64 delta;
	u32 tramp_used;
	u64 *filled;			// bitmap of pieces (LAZY_IMAGE_PIECE) that were read; NULL: the whole was
};
// Reads what is missing of pages [first, end) of the view. 0 or -errno.
int text_fill(struct textview *v, struct pagecache *pc, u64 first, u64 end);
#define TRAMP_BYTES 0x10000ul
// Maps kernel pages (vDSO) into the program at a free place; address or -errno.
long mm_map_pages(struct mm *mm, uptr hint, pfn_t pfn, u32 n, int prot, u32 vma_flags);
// The program trapped at a syscall instruction that ends at rip: patch the site if it can be. Sets regs->rcx.
struct regs;
void text_trap(struct regs *regs);
extern uptr text_kentry;	// address that trampolines (and the vDSO) jump to
bool text_breakpoint(u64 rip); // SIGTRAP at rip comes from patching: run it again
// For a tracer (mm/text_trace.c), all of the current address space. The text becomes unpatched and private, and an instruction
// pointer in a trampoline the program's own:
void text_expose(struct regs *regs);
uptr text_call_address(uptr rip);	// where the program thinks that it is, for an address behind a system call
// Copies within one page with a debugger's rights: -EFAULT where nothing is mapped, or a shared page may not be written.
int mm_debug_copy(uptr addr, void *buf, size_t n, bool write);
void text_drop_cache(struct pagecache *pc);	// the file's cache goes away, or its data changes: the next mapping makes a new view

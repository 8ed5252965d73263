// SPDX-License-Identifier: Apache-2.0
// The inside of a mounted sealed volume, shared by the files of seal/. Everything here is protected by the volume's
// one mutex (struct seal_env lock/unlock), taken in the public functions; functions declared here expect it held.
//
// Layers, each below calling only downwards: name/dir/xattr/file -> inode -> node (cache and trees) -> space
// (allocation) -> block (encrypt, decrypt, read, write) ; commit ties them together.
#pragma once
#include "seal/disk.h"
#include "seal/gcm.h"

struct list {
	struct list *next, *prev;
};
static inline void list_init(struct list *l) { l->next = l->prev = l; }
static inline bool list_empty(const struct list *l) { return l->next == l; }
static inline void list_del(struct list *e)
{
	e->prev->next = e->next;
	e->next->prev = e->prev;
	list_init(e);
}
static inline void list_add_tail(struct list *l, struct list *e)
{
	e->next = l;
	e->prev = l->prev;
	l->prev->next = e;
	l->prev = e;
}
#define LIST_ENTRY(p, t, m) ((t *)((char *)(p)-offsetof(t, m)))

// REFS and SNAP exist once; FILE and ITAB blocks may be shared between the live tree, snapshots and clones.
enum tree_class { CLASS_FILE, CLASS_ITAB, CLASS_BMAP, CLASS_REFS, CLASS_SNAP, NCLASS };
#define LEVEL_XATTR 6u // the pseudo level of an inode's xattr block
#define NLEVEL	    7u

// A radix tree of blocks: a file's contents, the inode table, the allocation bitmap.
struct tree {
	u8 cls;
	u8 height;  // level of the blocks that root[] points to
	u32 nnodes, ndirty; // of it in the cache; of these dirty
	u32 nleaves;	    // in the cache and of level 0
	struct list nodes;
	struct seal_inode *inode; // CLASS_FILE: whose
	struct view *view;	  // CLASS_ITAB: whose; NULL: the live tree
	struct d_ptr root[NROOT];
};

// A cached, decrypted block. Invariant: the ancestors of a dirty node are in the cache and dirty.
struct node {
	struct node *hash_next;
	struct list lru; // clean and unpinned: v->lru; dirty: v->dirty[class][level]
	struct list in_tree;
	struct tree *tree;
	u64 index;
	u8 level;
	bool dirty, checked; // checked: structure validated (directory blocks)
	u32 pins;
	u64 new_addr; // bitmap blocks: address given in this commit, 0: not yet
	u8 *data;
};

// A snapshot in memory: all are loaded when the first one is asked for.
struct view {
	struct list link; // v->views
	u32 id, slot;	  // slot: its place in the snapshot table
	bool dying, dirty;
	u32 name_len;
	char name[SEAL_SNAPNAME_MAX + 1];
	u64 generation, next_ino, free_ino, inodes;
	s64 created;
	struct tree itab;
};

struct seal_inode {
	struct seal_inode *hash_next;
	struct view *view; // NULL: live. Else read-only
	struct list lru;	// v->inode_lru while it can be forgotten: not held, not dirty, not waiting to be freed
	struct list dirty_link; // v->dirty_inodes
	struct list orphan_link;
	u64 ino;
	u32 refs;
	bool dirty, orphan_stored;
	bool is_inline;
	u32 mode, nlink, uid, gid, generation, flags;
	u64 size, blocks, rdev, parent;
	s64 atime, mtime, ctime, btime;
	u32 dir_root, dir_height, dir_blocks, dir_free;
	u64 dir_count;
	struct d_ptr xattr;
	struct tree tree; // root[] doubles as the inline contents
};

struct session {
	u8 salt[32];
	u64 live, era;
	bool used;
};
struct table { // one block of the session table
	struct d_table_ptr ptr;
	bool dirty;
	u64 new_addr;
};

#define NKEYS 16u
struct keyslot {
	struct gcm_key key;
	u32 session;
	bool valid;
};

#define IO_BLOCKS  (SEAL_BUF_BYTES / SEAL_BLOCK)
#define BATCH_BLOCKS (IO_BLOCKS * 4) // contents that are stored together
#define NO_SESSION 0xffffffffu

// The log (seal/log.c): what has changed since the last commit or record, as far as a record can tell it.
struct log {
	u64 next;	// block of the next record; 0: the next commit has to write a root
	u8 chain[16];	// tag of the root or record before it
	u32 session;	// that root's
	u32 records, all_pages; // behind that root
	bool beyond;	// something has changed that a record cannot tell
	bool unsynced;	// something has changed at all
	u32 inodes, pages;
	u64 ino[LOG_INODES];
	struct d_log_page page[LOG_PAGES];
};

// What a repair could not keep of the log (seal/log.c).
#define LOG_LOST 64u
struct log_lost {
	bool all;   // none of it could be gone through
	bool cut;   // the host could not read a record, or a page of one: it is lost, and what follows it
	bool some;  // it was, with a map of free space made anew
	u64 others; // inodes beyond those in `of`
	u32 n;
	struct {
		u64 ino;
		u32 pages;
		bool attributes;
	} of[LOG_LOST];
};

#define SYNC_DUE_BLOCKS (512ul << 20 >> 12)

struct seal_vol {
	struct seal_io io;
	struct seal_env env;
	bool read_only, fell_back, discard;
	bool repairing;  // what cannot be read is passed over, and nothing is expected to be there
	bool root_unread; // one root slot could not be read by the host, not even for a repair
	bool patient;	 // for a repair: what the host cannot read it is asked for again
	bool cut_short;  // the file is shorter than the root says
	struct log_lost *log_lost; // of a volume that is repaired; NULL: all of the log is there
	u32 tables_lost; // blocks of the session table that cannot be read
	int failed; // set once committing is no longer safe; every change then gets this error
	u8 id[16];
	u8 prk[32], old_prk[32]; // all keys derive from it; old_prk: those of sessions of the era before
	u8 old_secret[32];	 // zero: none
	u64 era;
	struct d_wrap wrap[NWRAPS];			      // of the next root
	struct d_wrap newest_wrap[NWRAPS], other_wrap[NWRAPS]; // of the two that are stored
	u8 dir_key[16];
	struct seal_fault fault;

	// root state
	u64 generation, max_blocks, hiwater, used, end, next_ino, free_ino, inodes;
	struct seal_anchor state; // the newest root on disk (of the two of a clean close the first)
	u64 epoch;		  // what the next root carries; 0: no anchor has let this mount write
	bool unclaimed;		  // mounted with an anchor that has not let us commit yet
	bool changed; // since the last commit
	bool clean;   // both slots hold the committed state
	u32 slot;     // the one that holds the newest root
	struct log log;
	struct overlay *overlay; // of a mount that only reads, and had a log to go through (seal/overlay.c)
	struct tree itab, bmap, refs, snaps;
	struct seal_inode *root;

	// sharing
	u64 nshared;  // blocks with extra references: while 0, nothing is looked up
	u64 reserved; // blocks set aside by fallocate
	u64 shrink_to;
	u64 grow_to; // the limit that a repair is to give the volume; 0: as it is
	u32 nsnaps, next_view;
	bool views_loaded;
	struct list views;
	struct view *top;	   // mounted as this snapshot; NULL: the live tree
	struct seal_inode snapdir; // ".snapshots"
	struct reloc *reloc;	   // what the moving of blocks remembers between its pieces (seal/reloc.c)
	bool moving;		   // a piece of it is being done

	// keys
	struct session *sessions;
	u32 nsessions, cap_sessions, cur; // cur: session of this mount or NO_SESSION
	u64 ctr, txn_ctr;		  // next nonce; first one of this transaction
	struct table *tables;
	u32 ntables, cap_tables;
	struct keyslot *keys; // NKEYS, direct mapped by session
	struct gcm_ctx *gcm; // a page of them: one for each thread that works on one transfer

	// what was written since the last flush
	struct d_recent recent[RECENT_MAX];
	u32 nrecent;
	bool recent_full; // more than fits
	u64 flushed_end;  // `end` as of that flush
	u64 unflushed;	  // blocks, most of them
	u64 out_from, out_to; // of them, contents that lie together, the last ones: write_out has not been told yet

	// cache
	struct node **hash; // nhash chains, a power of two
	u32 nhash;
	struct list lru, dirty[NCLASS][NLEVEL];
	u64 nnodes, max_nodes, ndirty;
	struct seal_inode **ihash; // nihash chains, a power of two
	u32 nihash;
	struct list inode_lru, dirty_inodes, orphans;
	u32 ninodes, ndirty_inodes, norphans;

	// space
	u64 **pending; // by bitmap block: freed, but the committed root still refers to it
	u64 npending_leaves, pending_count;
	u64 cursor, run_cursor;	// where to look on, for a few blocks and for many
	u64 longest, freed;	// no run was longer; blocks freed since
	u64 replaced, due_blocks; // freed in runs since the last commit, which still has them; when there are so many, another is due (seal_sync_due)
	bool crowded;		// what is written in runs makes the file grow, or soon will
	u64 reserve;	// blocks that keep a commit possible, whatever happens
	bool placing;	// past the point where a commit can be tried again: no growing if it can be helped
	bool host_full; // the host refused to grow the file: stay below hiwater
	u8 *buf;	// SEAL_BUF_BYTES: ciphertext of one transfer
	struct node *batch[IO_BLOCKS];
	struct d_ptr ptrs[BATCH_BLOCKS];
};

static inline void *vol_alloc(struct seal_vol *v, size_t n) { return v->env.alloc(v->env.ctx, n); }
static inline void vol_free(struct seal_vol *v, void *p, size_t n)
{
	if (p)
		v->env.free(v->env.ctx, p, n);
}
static inline void vol_lock(struct seal_vol *v)
{
	if (v->env.lock)
		v->env.lock(v->env.ctx);
}
static inline void vol_unlock(struct seal_vol *v)
{
	if (v->env.unlock)
		v->env.unlock(v->env.ctx);
}
// Between two pieces of what takes long: who waits for the lock gets it.
static inline void vol_pause(struct seal_vol *v)
{
	if (v->env.pause) {
		v->env.pause(v->env.ctx);
	} else {
		vol_unlock(v);
		vol_lock(v);
	}
}
static inline void fpu_begin(struct seal_vol *v)
{
	if (v->env.fpu_begin)
		v->env.fpu_begin(v->env.ctx);
}
static inline void fpu_end(struct seal_vol *v)
{
	if (v->env.fpu_end)
		v->env.fpu_end(v->env.ctx);
}

// --- block.c: ciphertext
// Records (and logs) what does not match; returns `err`.
int vol_fault(struct seal_vol *v, int err, int kind, const struct tree *t, u32 level, u64 index, u64 block);
int vol_check_ptr(struct seal_vol *v, const struct d_ptr *p); // range of address and session; 0 or SEAL_ECORRUPT
int sv_block_read(struct seal_vol *v, const struct tree *t, u32 level, u64 index, const struct d_ptr *p, void *out);
int sv_host_read(struct seal_vol *v, u64 addr, void *buf, u32 n); // n blocks of ciphertext
// n blocks of level 0 with adjacent addresses (n <= IO_BLOCKS), block k into out[k].
int sv_block_read_run(struct seal_vol *v, const struct tree *t, u64 index, const struct d_ptr *p, u32 n,
		      void *const *out);
// The same for pointers of one session, whose key it is, with a buffer of the caller's and without the volume's lock: the
// blocks may be freed and written anew meanwhile, so an error means no more than to look again.
#define FETCH_BLOCKS 64u
struct fetch {
	struct gcm_key key;
	struct gcm_ctx ctx;
	u8 buf[FETCH_BLOCKS * SEAL_BLOCK];
	struct d_ptr ptr[IO_BLOCKS]; // address 0: nothing to read
};
int sv_block_fetch(struct seal_vol *v, struct fetch *f, u32 cls, u32 at, u32 n, void *const *out);
// Encrypts in[k] for the address already in p[k] and completes p[k]; writes runs of adjacent addresses. n <= BATCH_BLOCKS.
int sv_block_write(struct seal_vol *v, u32 cls, u32 level, struct d_ptr *p, const void *const *in, u32 n);
void sv_recent_forget(struct seal_vol *v, u64 addr); // a block written since the last flush is not referred to any more
int sv_flush(struct seal_vol *v);
int sv_session_begin(struct seal_vol *v); // makes sure that there is a current session
void sv_session_ref(struct seal_vol *v, u32 session, s64 d);
const struct gcm_key *sv_session_key(struct seal_vol *v, u32 session);
void sv_session_forget_keys(struct seal_vol *v);
int vol_io_error(struct seal_vol *v, int err, u64 block, bool writing);
static inline bool ptr_uncommitted(const struct seal_vol *v, const struct d_ptr *p)
{
	return p->session == v->cur && ptr_ctr(p) >= v->txn_ctr && (p->addr_lo | p->addr_hi);
}

// --- refs.c: blocks with more than one reference
// The number of references beyond the first, or -errno.
s64 sv_refs_extra(struct seal_vol *v, u64 addr);
u64 sv_refs_reserve(const struct seal_vol *v); // blocks that counting may take, at the worst
int sv_refs_add(struct seal_vol *v, u64 addr, s64 d);
// A node is about to change whose block has other owners: they keep it; what it points to gets one more reference.
int sv_node_unshare(struct seal_vol *v, struct node *n, struct d_ptr *slot);
// One more reference to each block that a block of this class and level points to.
int sv_refs_children(struct seal_vol *v, u32 cls, u32 level, const void *data);
// May the block behind p be overwritten where it lies? Not if it is committed or has other owners. 1, 0 or -errno.
static inline int sv_inplace(struct seal_vol *v, const struct d_ptr *p)
{
	if (!ptr_uncommitted(v, p))
		return 0;
	s64 extra = v->nshared ? sv_refs_extra(v, ptr_addr(p)) : 0;
	return extra < 0 ? (int)extra : !extra;
}

// --- space.c: allocation
int sv_space_alloc(struct seal_vol *v, u64 want, u64 *addr, u64 *got); // a run of at least one block
int sv_space_free(struct seal_vol *v, const struct d_ptr *p);	       // one pointer to the block less
int sv_space_free_sole(struct seal_vol *v, const struct d_ptr *p);     // of a block that is never shared
int sv_space_free_run(struct seal_vol *v, const struct d_ptr *first, u32 n); // and the n - 1 behind it, of the same session: committed, no other pointer
int sv_space_release(struct seal_vol *v, u64 addr, u64 n);	       // allocated but never referred to
int sv_space_free_addr(struct seal_vol *v, u64 addr); // a committed block outside the trees (session table)
int sv_space_keep(struct seal_vol *v, u64 addr);      // free from the next commit on, as the map says already
void sv_space_host_full(struct seal_vol *v); // a write found the host's disk full, and its blocks were released
u64 sv_space_available(const struct seal_vol *v);
void sv_space_committed(struct seal_vol *v);
int sv_space_hold(struct seal_vol *v, u64 addr);  // keeps a free block out of reach until the next commit
int sv_space_claim(struct seal_vol *v, u64 addr); // takes a block that is held
u64 sv_space_kept(const struct seal_vol *v); // of the free blocks, those that only deleting may use
// Before a change: refuses on read-only or failed volumes; makes sure that `blocks` new blocks and the commit after
// them will find room (committing first if that frees some). privileged: may use the part kept for deleting.
int sv_op_begin(struct seal_vol *v, u64 blocks, bool privileged);
// The same for a large change that is done in pieces, each of which begins with sv_op_begin: is there room for all of them?
int sv_op_begin_pieces(struct seal_vol *v, u64 blocks);
// The same for a change that the caller tells the log of (sv_log_inode, sv_log_pages).
int sv_op_begin_logged(struct seal_vol *v, u64 blocks, bool privileged);
void vol_changed(struct seal_vol *v);

// --- memo.c: what is known of pointer blocks that have been gone through
struct memo_entry {
	struct d_ptr ptr;
	u64 blocks; // itself and those below it, as an inode counts them; CLASS_ITAB: its index
	u32 bad;    // places below it that are damaged (seal/fsck.c)
	u8 level;
	bool used;
};
struct memo {
	struct memo_entry *e; // by address and level; cap: a power of two
	u64 n, cap, seed;
	u64 reads; // sv_tree_count: pointer blocks that it may still read, where that is limited; then -EAGAIN
	bool limited;
};
struct memo_entry *sv_memo_find(const struct memo *m, const struct d_ptr *p, u32 level);
int sv_memo_add(struct seal_vol *v, struct memo *m, const struct d_ptr *p, u32 level, u64 blocks, u32 bad);
void sv_memo_end(struct seal_vol *v, struct memo *m); // empty again

// --- node.c: the cache
#define NODE_READ  0u
#define NODE_WRITE 1u // the node and its ancestors become dirty; missing ones are made
// The node at (level, index), pinned; *out NULL: a hole (NODE_READ only).
int sv_node_get(struct seal_vol *v, struct tree *t, u32 level, u64 index, u32 mode, struct node **out);
void sv_node_put(struct seal_vol *v, struct node *n);
struct node *sv_node_find(struct seal_vol *v, struct tree *t, u32 level, u64 index); // cached or NULL; not pinned
void sv_node_drop(struct seal_vol *v, struct node *n);				     // forget, dirty or not
void sv_tree_drop(struct seal_vol *v, struct tree *t);				     // forget all its nodes
void sv_tree_drop_under(struct seal_vol *v, struct tree *t, u32 level, u64 index);   // those at and below this place
void sv_tree_init(struct tree *t, u32 cls, struct seal_inode *i);
u64 sv_tree_limit(u32 height);					 // blocks a tree of that height can hold
int sv_tree_grow(struct seal_vol *v, struct tree *t, u64 index); // make `index` addressable
// The slot that holds the pointer to (level, index): its holder is pinned in *holder (NULL: the root). Slot NULL: hole.
int sv_tree_slot(struct seal_vol *v, struct tree *t, u32 level, u64 index, u32 mode, struct d_ptr **slot,
		 struct node **holder);
// Adds the blocks at and below a place, as an inode counts them; shared ones are gone through once. shared: it lies below such a one.
int sv_tree_count(struct seal_vol *v, struct tree *t, u32 level, u64 index, const struct d_ptr *slot, struct memo *m, bool shared, u64 *n);
// Frees the blocks from..to-1 of the contents; pointer blocks that become empty too.
int sv_tree_free_range(struct seal_vol *v, struct tree *t, u64 from, u64 to);
// The same a piece at a time, from the end on. 1: more is left, *to is where it ends now; 0: nothing is. all: a file that nobody can
// reach any more loses everything; the count of its blocks may be too high until it is done. An error leaves the volume to be closed.
#define PIECE_BLOCKS 2048u
int sv_tree_free_piece(struct seal_vol *v, struct tree *t, u64 from, u64 *to, bool all);
int sv_nodes_writeback(struct seal_vol *v, u32 cls); // all dirty nodes of a class, bottom up
int sv_cache_shrink(struct seal_vol *v);	     // at a safe point: write out and drop when over the limit

// --- inode.c
bool sv_inode_valid(const struct d_inode *d); // what the rest of the code relies on
// For repairs: this place of an inode table (nobody holds the inode) becomes free, or a new directory; and the list of free ones.
int sv_inode_erase(struct seal_vol *v, u64 ino, u32 mode);
int sv_inode_free(struct seal_vol *v, struct seal_inode *i); // its contents too; nobody else holds it
int sv_inodes_free_list(struct seal_vol *v, bool mend);	      // 1: it is wrong, and made anew where that is asked
int sv_inode_get(struct seal_vol *v, u64 ino, struct seal_inode **out);
void sv_inode_put(struct seal_vol *v, struct seal_inode *i);
void sv_inode_put_last(struct seal_vol *v, struct seal_inode *i); // at the end of a call: the lock is given up where much is freed
int sv_inode_dirty(struct seal_vol *v, struct seal_inode *i); // makes its place in the inode table writable
int sv_inode_alloc(struct seal_vol *v, u32 mode, u32 uid, u32 gid, struct seal_inode **out);
int sv_inode_store(struct seal_vol *v, struct seal_inode *i); // into its block of the table; it is clean then
int sv_inodes_writeback(struct seal_vol *v);
void sv_inode_count_blocks(struct seal_inode *i, s64 d);
void sv_inode_unlinked(struct seal_vol *v, struct seal_inode *i); // nlink became 0 while a reference is held
void sv_inode_relinked(struct seal_vol *v, struct seal_inode *i);
int sv_orphans_store(struct seal_vol *v); // at commit: nameless open files go to the hidden directory
int sv_orphans_reap(struct seal_vol *v);  // at mount
int sv_inodes_reload(struct seal_vol *v, struct view *w, u64 leaf); // that block of the table is another one now
#define SV_STALE ((struct view *)8) // view of an inode whose snapshot was deleted while somebody held it
static inline bool sv_is_stale(const struct seal_inode *i) { return i->view == SV_STALE; }
// Snapshots change only where blocks are moved.
static inline bool sv_is_frozen(const struct seal_vol *v, const struct seal_inode *i)
{
	return i == &v->snapdir || sv_is_stale(i) || (i->view && !v->moving);
}
#define VIEW_INO ((1ul << VIEW_SHIFT) - 1)
static inline u64 sv_ino_view(u64 ino) { return ino & ~VIEW_INO; }
static inline u64 sv_top(const struct seal_vol *v) { return v->top ? (u64)v->top->id << VIEW_SHIFT : 0; }
static inline bool sv_inode_is(const struct seal_inode *i, u32 type) { return (i->mode & 0170000) == type; }
#define T_FIFO 0010000u
#define T_CHR  0020000u
#define T_DIR  0040000u
#define T_BLK  0060000u
#define T_REG  0100000u
#define T_LNK  0120000u
#define T_SOCK 0140000u
static inline void sv_inode_touch(struct seal_vol *v, struct seal_inode *i, bool contents)
{
	i->ctime = (s64)v->env.now_ns(v->env.ctx);
	if (contents)
		i->mtime = i->ctime;
}

// --- icache.c: the decoded ones
int sv_icache_init(struct seal_vol *v);
void sv_icache_end(struct seal_vol *v);
struct seal_inode *sv_inode_find(struct seal_vol *v, u64 ino); // NULL: not cached
int sv_inode_new(struct seal_vol *v, u64 ino, struct seal_inode **out); // blank, with one reference
void sv_inode_forget(struct seal_vol *v, struct seal_inode *i); // its handle, changes and all
void sv_inode_unused(struct seal_vol *v, struct seal_inode *i); // nobody holds it any more
void sv_inode_dirtied(struct seal_vol *v, struct seal_inode *i);
void sv_inode_cleaned(struct seal_vol *v, struct seal_inode *i);
int sv_inodes_settle(struct seal_vol *v); // at a safe point: when many are dirty, those are stored that have no dirty blocks
void sv_inodes_drop_all(struct seal_vol *v);
void sv_inodes_drop_view(struct seal_vol *v, struct view *view); // its snapshot is gone
bool sv_inodes_idle(struct seal_vol *v);			 // nobody holds a live inode but the root

// --- snap.c
int sv_view_get(struct seal_vol *v, u32 id, struct view **out); // -ESTALE: no such snapshot
int sv_views_load(struct seal_vol *v);				 // v->views is complete
int sv_view_dirty(struct seal_vol *v, struct view *w);		 // makes its place in the snapshot table writable
int sv_views_writeback(struct seal_vol *v);
void sv_views_drop(struct seal_vol *v);
int sv_view_mount(struct seal_vol *v, const char *name, u32 len); // v->top is this snapshot
int sv_snapdir_lookup(struct seal_vol *v, const char *name, u32 len, struct seal_inode **out);
int sv_snapdir_iterate(struct seal_vol *v, u64 cookie, seal_emit emit, void *ctx);
bool sv_snapdir_named(const struct seal_vol *v, const struct seal_inode *dir, const char *name, u32 len);
// Gives up to *budget blocks of deleted snapshots back. 1: more is left.
int sv_snaps_reap(struct seal_vol *v, u64 *budget);
// One reference less to the block behind p; when it was the last one, to everything below as well.
int sv_drop_subtree(struct seal_vol *v, u32 cls, u32 level, struct d_ptr *p);

// --- reloc.c, resize.c
void sv_reloc_freed(struct seal_vol *v, u64 addr); // v->reloc is there, and the block is free
// A node got a copy of its own of the block `from`, which more than one other still refer to (others), or one.
void sv_reloc_unshared(struct seal_vol *v, struct tree *t, u32 level, u64 index, u64 from, bool others);
void sv_reloc_end(struct seal_vol *v);
void sv_discard_committed(struct seal_vol *v); // v->discard: what the last commit freed is punched out of the file
void sv_space_set_reserve(struct seal_vol *v);
// Blocks below which new ones are taken.
static inline u64 sv_space_top(const struct seal_vol *v) { return v->shrink_to ? v->shrink_to : v->max_blocks; }

// --- dir.c
struct seal_dirent {
	u64 key, ino;
	u32 type;
};
int sv_dir_find(struct seal_vol *v, struct seal_inode *d, const char *name, u32 len, struct seal_dirent *out);
int sv_dir_insert(struct seal_vol *v, struct seal_inode *d, const char *name, u32 len, u64 ino, u32 type);
int sv_dir_remove(struct seal_vol *v, struct seal_inode *d, u64 key);
int sv_dir_replace(struct seal_vol *v, struct seal_inode *d, u64 key, u64 ino, u32 type);
int sv_dir_iterate(struct seal_vol *v, struct seal_inode *d, u64 cookie, seal_emit emit, void *ctx);
// The entries of all blocks that can be read, whatever the tree says; and a directory that is empty afterwards.
int sv_dir_salvage(struct seal_vol *v, struct seal_inode *d, seal_emit emit, void *ctx);
int sv_dir_clear(struct seal_vol *v, struct seal_inode *d);

// --- file.c
int sv_file_uninline(struct seal_vol *v, struct seal_inode *i); // inline contents move to a block; i is dirty
int sv_file_truncate(struct seal_vol *v, struct seal_inode *i, u64 size);
// Makes a large file shorter a piece at a time, so that sv_file_truncate has little left to do. The lock is given up in between.
int sv_file_shrink(struct seal_vol *v, struct seal_inode *i, u64 size);
// Pages index[k] are now what lies behind v->ptrs[k], in blocks that are taken. The inode is dirty.
int sv_file_adopt(struct seal_vol *v, struct seal_inode *i, const u64 *index, u32 n);
s64 data_read(struct seal_vol *v, struct seal_inode *i, u64 off, void *buf, size_t n);
s64 data_write(struct seal_vol *v, struct seal_inode *i, u64 off, const void *buf, size_t n);

// --- anchor.c
void sv_anchor_note(struct seal_vol *v, u64 generation, u64 epoch, const void *slot); // a root's plaintext part
void sv_anchor_note_record(struct seal_vol *v, const struct d_log *d);

// --- falloc.c: sv_op_begin_logged for writing these pages, which takes at most `cost` blocks
int sv_write_begin(struct seal_vol *v, struct seal_inode *i, const u64 *index, u32 n, u64 cost);

// --- scrub.c: as seal_path; dir: a directory that may have an entry for it, 0: search. *budget: blocks of directories to look at.
int sv_path(struct seal_vol *v, u64 ino, u64 dir, char *buf, size_t n, u64 *budget);

// --- log.c
void sv_log_inode(struct seal_vol *v, const struct seal_inode *i); // its attributes have changed
void sv_log_pages(struct seal_vol *v, const struct seal_inode *i, const u64 *index, u32 n); // stored at v->ptrs
// Makes everything done so far durable by a record. 1: it is; 0: it takes a commit.
int sv_log_write(struct seal_vol *v);
int sv_log_begin(struct seal_vol *v, u64 *addr); // before a root is written: where the records after it begin
void sv_log_follows(struct seal_vol *v, u64 addr, const u8 tag[16]); // that root is durable
int sv_log_replay(struct seal_vol *v); // after root_load: goes on from that root
// The same for a repair, where that failed: free space and counts are made anew first (sv_repair_counts), and what cannot be put in its
// place is noted in v->log_lost.
int sv_log_salvage(struct seal_vol *v);

// --- repair.c: the free space map, reference counts and session counts become what the trees refer to
int sv_repair_counts(struct seal_vol *v);
// resize.c: the limit that a repair was asked for, if any, once the map of free space is as it will be written. No commit.
int sv_grow_unmended(struct seal_vol *v);

// --- overlay.c: what is written from now on stays in memory
int sv_overlay_begin(struct seal_vol *v);
void sv_overlay_end(struct seal_vol *v);

// --- commit.c
int vol_commit(struct seal_vol *v, bool clean);
int vol_settle(struct seal_vol *v); // writes out everything that a commit would, but no root
// A change stopped half way: nothing of it may be committed. Returns err.
int vol_abort(struct seal_vol *v, int err);

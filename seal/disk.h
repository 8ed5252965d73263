// SPDX-License-Identifier: Apache-2.0
// The sealed volume's format, version 3 (docs/sealed-volume.md). Little-endian; structures are naturally aligned.
// Only struct d_slot's first SLOT_PLAIN bytes are plaintext on disk; everything else lies inside encrypted blocks.
#pragma once
#include "seal/seal.h"

#define MAGIC		 "COFFERV1"
#define FORMAT		 3u
#define SLOT_BLOCKS	 16ul // each of the two root slots: up to 64 KiB, of which only what is needed is written
#define FIRST_BLOCK	 32ul // blocks 0..31 are the two slots
#define MAX_BLOCKS	 (1ul << 40)   // 4 PiB
#define FANOUT		 128ul	       // pointers a block
#define NROOT		 11u	       // pointers in an inode
#define MAX_HEIGHT	 5u	       // 11 * 128^5 blocks
#define INLINE_MAX	 (NROOT * 32u) // bytes of a small file or symlink kept in its inode
#define INODE_BYTES	 512u
#define INODES_PER_BLOCK 8ul
#define BITS_PER_BLOCK	 32768ul // bitmap block: 128 MiB of volume
#define ORPHAN_INO	 2ul	 // hidden directory of files that have no name but are still open
#define FIRST_INO	 3ul
#define REFS_PER_BLOCK	 1024ul // counters of extra references: 4 MiB of volume a block
#define SNAPS_PER_BLOCK	 4ul
#define MAX_SNAPSHOTS	 1024u
#define VIEW_SHIFT	 40u // inode numbers: bits 40..62 say which snapshot; on disk they are always 0
#define MAX_VIEW_ID	 ((1u << 23) - 2)
#define SNAPDIR_INO	 ((u64)(MAX_VIEW_ID + 1) << VIEW_SHIFT) // ".snapshots"; not on disk

// A pointer is what authenticates the block behind it. addr 0: a hole.
struct d_ptr {
	u32 addr_lo;
	u16 addr_hi;
	u16 ctr_hi; // ctr: the nonce, unique within the session's key
	u32 ctr_lo;
	u32 session; // index into the session table: which key
	u8 tag[16];
};
_Static_assert(sizeof(struct d_ptr) == 32, "pointer");

struct d_inode {
	u32 mode, nlink, uid, gid; // mode 0: free
	u64 size;
	u64 blocks;			// blocks of 4096 in use, pointer blocks included
	s64 atime, mtime, ctime, btime; // ns
	u32 generation;
	u8 is_inline, height;
	u16 flags; // SEAL_FLAG_*; 0 in volumes that were written before there were any
	u64 rdev;
	u64 parent;		  // directory: ".."; free inode: the next free one
	u32 dir_root, dir_height; // directory: B+tree in the file's own blocks (seal/dir.c)
	u32 dir_blocks, dir_free; // dir_free: number + 1 of the first free block, 0: none
	u64 dir_count;
	u64 spare[2];
	u8 body[INLINE_MAX]; // contents, or NROOT pointers
	struct d_ptr xattr;
};
_Static_assert(sizeof(struct d_inode) == INODE_BYTES, "inode");

struct d_tree {
	u32 height, zero;
	struct d_ptr root[NROOT];
};

// A snapshot: an inode table as it was. It shares blocks with the live one and with other snapshots.
struct d_snap {
	u32 id;	   // never used twice; 0: the place is free
	u32 dying; // deleted; what it still holds is being freed
	u64 generation;
	s64 created;
	u64 next_ino, free_ino, inodes;
	u32 name_len, zero;
	u8 name[256];
	struct d_tree itab;
	u8 spare[352];
};
_Static_assert(sizeof(struct d_snap) * SNAPS_PER_BLOCK == SEAL_BLOCK, "snapshot");

// A block of the session table: own random key each time it is written.
struct d_session {
	u8 salt[32]; // all zero: unused
	u64 live;    // blocks in the tree encrypted under it
	u64 era;     // which of the volume's secrets its key derives from
};
#define SESSIONS_PER_BLOCK 85ul
struct d_table_ptr {
	u64 addr;
	u8 salt[32];
	u8 tag[16];
};

// A block that a root refers to and that was written in the same flush as the root: after a crash it may be missing, so
// it is checked when the volume is opened.
struct d_recent {
	struct d_ptr ptr;
	u32 cls, level;
};
#define RECENT_MAX 64u

// The volume's secret, encrypted under a master key. All zero: none.
struct d_wrap {
	u8 check[16]; // tells whether a master key fits
	u8 salt[32];  // of the key that is used for this wrap only
	u8 secret[32];
	u8 tag[16];
};
#define NWRAPS 2u // two while the master key is being changed

// A root slot. The plaintext part, but for the tag, is additional authenticated data.
struct d_slot {
	u8 magic[8];
	u32 version, length; // bytes of the slot in use, a multiple of 4096
	u8 id[16];
	u8 salt[32]; // of the session this root was written in
	u64 ctr;
	u32 slot; // 0 or 1
	u32 zero1;
	u64 epoch; // the writer that an anchor let commit (seal/anchor.c); 0: none was asked
	struct d_wrap wrap[NWRAPS];
	u8 zero2[24];
	u8 tag[16];
	// --- encrypted from here
	u64 generation;
	u64 max_blocks, hiwater, used, end; // end: blocks the file must have
	u64 next_ino, free_ino, inodes;
	u32 clean;	  // 1: the other slot is about to get this state too; 2: it has it
	u32 session;	  // index of the session this root was written in
	u64 session_live; // its count, which the table's entry does not have yet
	u32 sessions;	  // entries in the table
	u32 tables;	  // blocks of the table
	u32 together;	  // written in one flush with what it refers to, or with the file's last blocks: `recents` entries follow the table
	u32 recents;
	u8 dir_key[16];	    // of the hash that orders directories
	u64 era;	    // counts secrets; sessions of the one before may be left while the volume is re-encrypted
	u8 old_secret[32];  // the one before; zero: all is under the present one
	u64 shared;	    // blocks with extra references
	u64 reserved;	    // blocks set aside for ranges that fallocate gave
	u64 shrink_to;	    // blocks; 0: not shrinking
	u32 snapshots, next_view;
	u64 log; // block of the first record that may follow this root; 0: none does
	u8 spare[56];
	struct d_tree itab, bmap, refs, snaps;
	struct d_table_ptr table[];
};
#define SLOT_PLAIN 320u
_Static_assert(offsetof(struct d_slot, generation) == SLOT_PLAIN, "slot");
#define MAX_TABLES \
	((SLOT_BLOCKS * SEAL_BLOCK - sizeof(struct d_slot) - RECENT_MAX * sizeof(struct d_recent)) / \
	 sizeof(struct d_table_ptr))
#define MAX_SESSIONS (MAX_TABLES * SESSIONS_PER_BLOCK)

// A record of the log: what an fsync made durable after a root, when it was no more than contents and attributes of files that
// the root has. It counts only behind the root or record before it, whose tag is part of what this one's tag covers, and if
// all pages that it names authenticate. The first two fields are plaintext.
#define LOG_PAGES  64u
#define LOG_INODES 8u
struct d_log_inode {
	u64 ino, size;
	u32 mode, uid, gid, zero;
	s64 atime, mtime, ctime;
};
struct d_log_page {
	u64 index;
	u32 inode, zero; // which of the record's inodes
	struct d_ptr ptr;
};
struct d_log {
	u64 ctr;
	u8 tag[16];
	// --- encrypted from here
	u64 generation, next; // next: block of the record after this one; 0: none
	u32 inodes, pages;
	struct d_log_inode inode[LOG_INODES];
	struct d_log_page page[LOG_PAGES];
	u8 spare[SEAL_BLOCK - 48 - LOG_INODES * 56 - LOG_PAGES * 48];
};
#define LOG_PLAIN 24u
_Static_assert(sizeof(struct d_log) == SEAL_BLOCK && offsetof(struct d_log, generation) == LOG_PLAIN, "log record");
// Behind one root: more would take long to go through when the volume is opened.
#define LOG_RECORDS   1024u
#define LOG_ALL_PAGES 4096u

// Directory blocks (B+tree in the directory's own file; numbers are the file's block numbers).
struct d_dirhead {
	u16 kind; // 1 leaf, 2 inner, 3 free
	u16 count;
	u16 heap;      // leaf: start of the names, which grow down from the end of the block
	u16 dead;      // leaf: bytes of deleted names
	u32 next_free; // free: number + 1 of the next free block of this directory, 0: none
	u32 zero;
};
struct d_dirslot { // leaf, sorted by key
	u64 key;   // 55 bits of hash, 8 bits to tell equals apart; never below 256
	u64 ino;
	u16 off, len; // of the name, in the block
	u32 type;     // mode & S_IFMT
};
struct d_dirsep { // inner: child holds keys >= key (the first one: any)
	u64 key;
	u32 child, zero;
};
#define DIR_LEAF      1
#define DIR_INNER     2
#define DIR_FREE      3
#define DIR_MAX_INNER ((SEAL_BLOCK - sizeof(struct d_dirhead)) / sizeof(struct d_dirsep))

struct d_xattr { // entries one after another, ended by len 0
	u16 len; // of the name
	u16 vlen;
	u8 bytes[]; // name, value; the next entry is 4-byte aligned
};

// A pointer that stands for a block which is set aside but not written: address 0 and this nonce counter.
#define CTR_RESERVED 1ul
// What a repair put in the place of a pointer whose block does not authenticate: reading there is an error until it is
// overwritten. It counts as one block of its file, as a reserved one does.
#define CTR_LOST 2ul

static inline u64 ptr_addr(const struct d_ptr *p) { return p->addr_lo | (u64)p->addr_hi << 32; }
static inline u64 ptr_ctr(const struct d_ptr *p) { return p->ctr_lo | (u64)p->ctr_hi << 32; }
static inline void ptr_set(struct d_ptr *p, u64 addr, u64 ctr, u32 session)
{
	p->addr_lo = (u32)addr;
	p->addr_hi = (u16)(addr >> 32);
	p->ctr_lo = (u32)ctr;
	p->ctr_hi = (u16)(ctr >> 32);
	p->session = session;
}
static inline bool ptr_none(const struct d_ptr *p) { return !(p->addr_lo | p->addr_hi | p->ctr_lo); }
static inline bool ptr_reserved(const struct d_ptr *p) { return !ptr_addr(p) && ptr_ctr(p) == CTR_RESERVED; }
static inline bool ptr_lost(const struct d_ptr *p) { return !ptr_addr(p) && ptr_ctr(p) == CTR_LOST; }

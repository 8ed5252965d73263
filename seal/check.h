// SPDX-License-Identifier: Apache-2.0
// What a check of a whole volume gathers (seal/fsck.c), for mending it (seal/repair.c). Volume's lock held.
#pragma once
#include "seal/vol.h"

struct damage { // a block that cannot be read or makes no sense
	u64 ino;	// of the file whose it is, with the snapshot; 0: the volume's own
	u32 cls, level;
	u64 index;
	u32 view; // CLASS_ITAB: snapshot whose table it is, 0: live
	bool counted; // among the references to the block; not when the pointer is impossible
	bool place;   // the block is whole, but must not be named here
	u64 dir;      // FILE: a directory with an entry for it (seal/repair_names.c), 0: none met
};
#define LEVEL_INODE (MAX_HEIGHT + 2) // not a block: the inode itself makes no sense

struct check {
	struct seal_vol *v;
	const struct seal_checker *how;
	struct seal_fsck_stats *st;
	u8 *seen; // one bit a block of the volume, up to hiwater
	u8 *own;  // the same, for the blocks of the free space map and the reference counts: a repair makes these anew
	u8 *bad;  // the same, for those that are damaged; NULL: none is
	bool again; // second walk: each owner of a bad block, also where it shares the pointer to it
	bool live_dir; // within a directory of the live tree, which shares nothing with another inode of it
	struct memo walked;  // pointer blocks and blocks of inode tables that were gone through
	struct memo counted; // shared pointer blocks whose blocks were counted, for mending
	u64 places; // in inode tables and files where something is damaged: shared blocks count for each that names them
	bool more;  // there is more damage than is noted
	bool differ; // two pointers to one block differ: which session it counts for shows when one of them is gone
	u64 seen_bytes, marked;
	u32 **extra; // by block: references beyond the first; pages of REFS_PER_BLOCK, made as needed
	u64 extra_pages, shared;
	u32 **prints; // by block, in pages like `extra`: of contents that are shared, a digest of the pointer that was met first; 0: none
	u64 seed;     // of these digests
	u32 *names;  // by inode: directory entries that name it, and NAME_ORPHAN
	u64 names_max; // inodes in `names`
	u64 *live;     // by session: blocks found
	u64 *own_live; // of them in `own`
	u64 live_max;
	u64 reserved, inodes;
	u64 last_ino; // the highest that the live inode table has in use
	u8 *page;
	struct damage *damage;
	u32 ndamage, cap_damage;
};
#define DAMAGE_MAX (1u << 17)  // places that are noted for one pass of a repair
#define NAME_ORPHAN (1u << 31) // the hidden directory names it
#define NAME_SKIP   (1u << 30) // a directory whose blocks are not its own: its entries are not gone through
#define NAME_LINKS  (NAME_SKIP - 1)
static inline bool check_bit(const u8 *bits, u64 k) { return bits[k / 8] >> (k % 8) & 1; }

void check_finding(struct check *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
int check_begin(struct check *c);
void check_end(struct check *c);
// Everything that the trees refer to: seen, extra, live, reserved, damage.
int check_walk(struct check *c);
// After it, where blocks are shared: the damage of files and inode tables once more, for each that is hit by it.
int check_owners(struct check *c);
// Both, and everything that is compared.
int check_all(struct check *c);
void check_repaired(struct check *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

// --- repair_names.c: directories, names and link counts of the live tree
int repair_dir(struct check *c, struct seal_inode *d); // made anew from what can be read of it
int repair_names(struct check *c);
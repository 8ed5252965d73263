// SPDX-License-Identifier: Apache-2.0
// What a check of a whole volume gathers (seal/fsck.c), for mending it (seal/repair.c). Volume's lock held.
#pragma once
#include "seal/vol.h"

struct damage { // a block that cannot be read or makes no sense
	u64 ino;	// of the file whose it is, with the snapshot; 0: the volume's own
	u32 cls, level;
	u64 index;
	u32 view; // CLASS_ITAB: snapshot whose table it is, 0: live
};

struct check {
	struct seal_vol *v;
	void (*report)(void *ctx, const char *text);
	void *ctx;
	struct seal_fsck_stats *st;
	u8 *seen; // one bit a block of the volume, up to hiwater
	u64 seen_bytes, marked;
	u32 **extra; // by block: references beyond the first; pages of REFS_PER_BLOCK, made as needed
	u64 extra_pages, shared;
	u32 *names;  // by inode: directory entries that name it
	u64 names_max; // inodes in `names`
	u64 *live;     // by session: blocks found
	u64 live_max;
	u64 reserved, inodes;
	u8 *page;
	struct damage *damage;
	u32 ndamage, cap_damage;
	bool partly; // something could not be read: what lies behind it is unknown
};

void check_finding(struct check *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
int check_begin(struct check *c);
void check_end(struct check *c);
// Everything that the trees refer to: seen, extra, live, reserved, damage.
int check_walk(struct check *c);
// Directories and links of the live tree against each other: names, and findings.
int check_names(struct check *c);

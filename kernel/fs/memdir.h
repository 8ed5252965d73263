// SPDX-License-Identifier: Apache-2.0
// Directories and files in memory: what tmpfs.c and overlay.c share. Guarded by the directory's inode lock.
#pragma once
#include "kernel/fs/fs.h"

#define WHITEOUT_COOKIES (1ul << 40)	// readdir positions above belong to the layer below

struct mement {				// one name
	struct mement *hnext;
	struct inode *inode;		// reference; NULL: whiteout, the name below is hidden
	u64 cookie;
	u32 hash, at;			// at: its slot
	u8 len;
	char name[];
};

struct memdir {
	struct mement **slot;		// sorted by cookie; NULL where one was removed
	u32 nslots, cap, live;		// live: names that are not whiteouts
	u32 used;			// entries, whiteouts too
	struct mement **bucket;		// NULL while small
	u32 nbuckets;			// power of two
	u64 next_cookie;
};

struct mement *memdir_find(struct memdir *d, const char *name, u32 len);
int memdir_add(struct memdir *d, const char *name, u32 len, struct inode *ino); // takes its own reference; -ENOMEM
void memdir_del(struct memdir *d, struct mement *e);
void memdir_set(struct memdir *d, struct mement *e, struct inode *ino);	// replaces; NULL makes a whiteout
u32 memdir_from(struct memdir *d, u64 cookie);		// first slot with a cookie >= this
void memdir_free(struct memdir *d);

struct xattr {
	struct list link;
	u32 len;
	char *name;
	u8 value[];
};

struct memnode {			// inode->priv in tmpfs and overlay
	struct memdir dir;
	char *target;			// symlinks
	struct list xattrs;
	u64 charged;			// pages of data accounted
	// overlay only
	struct inode *lower;		// reference to the object below, or NULL
	struct pagecache *lower_pc;	// reference: the data below, also after copy-up (readers may still hold the pointer)
	bool lower_data;		// inode->pc is the lower one
	bool pinned;			// differs from the object below: kept in memory by a reference of its own
};
struct memfs {				// super->priv
	u64 max_pages;			// 0: no limit of its own
	u64 used_pages, inodes;		// part of the sums: super_sum
	u64 max_inodes;			// 0: no limit
	struct super *lower;
};

static inline struct memnode *node_of(const struct inode *i) { return i->priv; }
static inline struct memfs *memfs_of(const struct inode *i) { return i->sb->priv; }

extern const struct inode_ops memdir_iops, memfile_iops, memlink_iops;
extern const struct file_ops memfile_fops, memdir_fops;
extern const struct super_ops memfs_sops;
struct inode *mem_inode(struct super *sb, u32 mode);	// with its memnode and operations; pc for regular files
struct pagecache *mem_pc(struct inode *i);		// page cache of a regular file in memory
int mem_add_xattr(struct inode *i, const char *name, const void *buf, size_t n);	// one of a name that it has not: -ENOSPC

// overlay.c; all are nops on inodes without a lower object
int overlay_lookup(struct inode *dir, const char *name, u32 len, struct inode **out);
bool overlay_hides(struct inode *dir, const char *name, u32 len);	// must a removed name leave a whiteout?
int overlay_readdir(struct inode *dir, struct dir_ctx *c);
bool overlay_empty(struct inode *dir);
void overlay_dirty(struct inode *ino);			// about to differ from the object below
int overlay_copy_up(struct inode *ino, u64 keep);	// data into memory, the first `keep` bytes of it; inode lock held
void overlay_gone(struct inode *ino);			// nlink has reached 0

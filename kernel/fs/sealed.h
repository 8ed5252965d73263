// SPDX-License-Identifier: Apache-2.0
// What the two files of the sealed file system share.
#pragma once
#include "kernel/fs/fs.h"
#include "seal/seal.h"

#define SEALED_MAX   16u	 // volumes mounted at the same time
#define SEALED_MAGIC 0x52464643u // f_type: "CFFR"

struct svol { // a mounted volume: super->priv
	struct seal_vol *v;
	int index;		 // the host's number of it
	char name[16];		 // "vol0"
	struct mutex io_lock;	 // the library's one lock; leaf but for block hostcalls
	struct mutex dirty_lock; // leaf: the list below
	struct list dirty;	 // inodes (each a reference) with contents or times that the volume does not have yet
	u64 unflushed;		 // pages written to the cache since they were last stored; an upper bound
	struct super *sb;
};

struct snode {		       // inode->priv
	struct seal_inode *si; // reference
	struct inode *inode;
	struct list dirty; // svol->dirty, guarded by dirty_lock
	u64 unflushed;	   // its part of svol->unflushed; inode->lock
};

static inline struct svol *svol_of(const struct inode *i) { return i->sb->priv; }
static inline struct snode *snode_of(const struct inode *i) { return i->priv; }
static inline struct seal_vol *vol_of(const struct inode *i) { return svol_of(i)->v; }
// What a program sees of an error: damage is EIO (the kernel log has the sentence).
static inline int sealed_err(int r) { return r == -EBADMSG || r == -EUCLEAN ? -EIO : r; }

// The VFS inode of si, whose reference is consumed in any case. ERR_PTR.
struct inode *sealed_inode(struct super *sb, struct seal_inode *si);
void sealed_refresh(struct inode *i); // links, times, size of directories: from the volume
void sealed_mark_dirty(struct inode *i);
void sealed_forget(struct inode *i); // evict
// Stores one inode's contents and times; inode->lock held.
int sealed_flush(struct inode *i);
// Stores everything dirty, without a commit; of files with shared writable mappings only if `mapped`. No inode lock
// held.
int sealed_store(struct svol *sv, bool mapped);
// The same with mapped files, and commits. No inode lock held.
int sealed_sync(struct svol *sv);

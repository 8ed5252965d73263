// SPDX-License-Identifier: Apache-2.0
// What the two files of the sealed file system share.
#pragma once
#include "hostcall/mountkey.h"
#include "kernel/fs/fs.h"
#include "seal/seal.h"

#define SEALED_MAX   16u	 // volumes mounted at the same time
#define SEALED_MAGIC 0x52464643u // f_type: "CFFR"

struct sanchor { // what the volume's anchor knows (sealed_anchor.c)
	u32 mode;	       // enum coffer_anchor_mode
	bool tpm;	       // in a TPM; else at the broker
	bool each_fsync;       // fsync waits for it
	u64 every_ns, bound_ns; // told so often; so old may a commit become that it does not know
	struct seal_anchor state; // newest committed root
	u64 known;	       // generation that it knows
	u64 behind_since;      // when the oldest commit was made that it does not know; 0: there is none
	u64 told_at, tried_at; // its last answer; when the helper was last sent
	bool claimed, fenced, silent, urgent, asked;
	bool in_vain;	       // somebody has waited long enough for that; the next ones need not
};

struct svol { // a mounted volume: super->priv
	struct seal_vol *v;
	int index;		 // the host's number of it
	char name[16];		 // "vol0"
	struct mutex io_lock;	 // the library's one lock; leaf but for block hostcalls
	struct mutex flush_lock; // leaf: one flush at a time
	int flush_error;	 // of the first flush that failed
	struct mutex round_lock; // before any inode's: who stores all that is dirty has some of it in hand, off the list
	struct mutex dirty_lock; // leaf: the list below
	struct list dirty;	 // inodes (each a reference) with contents or times that the volume does not have yet
	u64 unflushed;		 // pages written to the cache since they were last stored; an upper bound
	struct super *sb;
	struct sanchor anchor;
	u32 source; // enum coffer_key_source
	u64 said_since;		 // faults in the log: when the first of this while was shown, how many were, how many were not
	u32 said, unsaid;
};

struct snode {		       // inode->priv
	struct seal_inode *si; // reference
	struct inode *inode;
	struct list dirty; // svol->dirty, guarded by dirty_lock
	u64 unflushed;	   // its part of svol->unflushed; inode->lock
	struct mutex store_lock; // after inode->lock: storing contents, and cutting them off
	u64 cutting;		 // size before a cut that is under way, by which the volume still has contents; with store_lock
	bool behind;		 // asked for in the background
	u64 next;		 // page after the last one read; this and the next ones are hints, without a lock
	u64 ahead, asked;	 // page up to which it is read ahead; up to which the other thread was asked to
	u32 in_order;		 // pages read in order, up to a limit
	bool frozen;		 // part of a snapshot: nothing of it changes, not even in memory
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
void sealed_sync_due(struct svol *sv); // after writing: has the flusher commit, if much was written anew (seal_sync_due)
// Did a call that came back with an error change the file? was: its attributes before. Of what is done in pieces the first may be done.
bool sealed_half_done(struct inode *i, const struct seal_attr *was, struct seal_attr *now);
void sealed_forget(struct inode *i); // evict
// sealed_clone.c
int sealed_clone(struct file *from, u64 soff, struct file *to, u64 doff, u64 len);
int sealed_dedupe(struct file *from, u64 soff, struct file *to, u64 doff, u64 len);
long sealed_ioctl(struct file *f, u32 cmd, u64 arg);
// Stores one inode's contents and times; inode->lock held.
int sealed_flush(struct inode *i);
// Its contents only, even of a file without a name. inode->lock held.
int sealed_store_pages(struct inode *i);
// Stores part of what waits in the cache, without inode->lock: whole pages of a file that nobody maps writable.
void sealed_store_behind(struct inode *i);
// sealed_io.c: hints to the two threads.
bool sealed_read_ahead(struct inode *i, u64 index, u64 n); // false: too much is asked for already
bool sealed_write_behind(struct inode *i);
void sealed_io_init(void);
// fn(arg), and beside it in another thread when that one has nothing else to do; both are back when it returns.
void sealed_share(void (*fn)(void *), void *arg);
// Stores everything dirty, without a commit; of files with shared writable mappings only if `mapped`. No inode lock
// held.
int sealed_store(struct svol *sv, bool mapped);
// The same with mapped files, and commits. No inode lock held.
int sealed_sync(struct svol *sv);
// Mounted volume k with a reference on its super block, or NULL.
struct svol *sealed_get(u32 k);

// --- sealed_anchor.c
void sealed_anchor_begin(struct svol *sv, const struct coffer_mount_key *key); // after the mount
void sealed_anchor_end(struct svol *sv);				       // before the unmount; may wait
void sealed_anchor_note(struct svol *sv);				       // after what may have committed
int sealed_anchor_fsync(struct svol *sv);				       // after fsync's commit: 0, -EIO, -ERESTARTSYS
void sealed_anchor_text(struct svol *sv, char *buf, size_t n);		       // as a mount option

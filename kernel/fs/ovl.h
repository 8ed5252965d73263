// SPDX-License-Identifier: Apache-2.0
// Overlay mounts: directories of other file systems, laid over each other. What the ovl_*.c files share.
//
// The root file system is an overlay too, of another build (overlay.c): its upper layer is memory that nobody else sees, so names, objects
// and whiteouts are one with it. Here the layers are directories that others may look at, and what is on them says everything:
// whiteouts are character devices 0:0, an opaque directory has the attribute trusted.overlay.opaque (user.overlay.opaque with `userxattr`).
// So a tree that Linux made can be mounted, and the other way round.
//
// Locks, after those that the VFS holds on inodes of the overlay: ovl_fs->change (every change, copy-up too) -> inode locks of
// the layers. An inode's `upper` is set once, under `change`.
#pragma once
#include "kernel/fs/layer.h"

#define OVL_LAYERS 500u

struct ovl_fs { // super->priv
	struct mutex change;
	struct dentry *upper, *work; // references; NULL: nothing can be changed
	struct dentry **lower;	     // references, topmost first
	u32 nlower;
	struct super **supers; // the different file systems below, each with a reference and in use
	u32 nsupers;
	u32 temp;	// number of the next name in `work`
	bool userxattr; // user.overlay.* instead of trusted.overlay.*
	char *options;	// as /proc/mounts shows them
	struct cred *mounter; // of who rules a user namespace only: may no more in the layers than without the overlay. NULL: may all
};

struct ovl_node { // inode->priv
	struct dentry *upper;	 // reference; NULL: not there
	struct dentry **lower;	 // references, topmost first; only a directory has more than one
	u32 nlower;
	struct inode *parent;	 // reference, and
	char *name;		 // its name there: where it is copied to. Good while it has no upper
	struct pagecache *below; // reference: the data of before copy-up, which readers may still use
	u64 number;		 // inode number that copy-up leaves alone
	bool removed;
};

struct ovl_file { // file->priv of a regular file: the files that are open below it
	struct file *lower, *upper;
};

static inline struct ovl_fs *ovl_fs(const struct inode *i) { return i->sb->priv; }
static inline struct ovl_node *ovl_node(const struct inode *i) { return i->priv; }
static inline struct dentry *ovl_upper(const struct inode *i) { return __atomic_load_n(&ovl_node(i)->upper, __ATOMIC_ACQUIRE); }
static inline struct dentry *ovl_real(const struct inode *i)
{
	struct dentry *up = ovl_upper(i);
	return up ? up : ovl_node(i)->lower[0];
}

// Whether who has mounted it may do that with what lies in a layer; who asks was looked at by the VFS.
static inline int ovl_may(const struct ovl_fs *fs, const struct dentry *d, int mask)
{
	return likely(!fs->mounter) ? 0 : cred_permission(fs->mounter, d->inode, mask);
}

// ovl_node.c
// The inode of what was found; consumes the references and the array in any case. name NULL: a root. ERR_PTR.
struct inode *ovl_inode(struct super *sb, struct dentry *upper, struct dentry **lower, u32 nlower, struct inode *parent, const char *name);
int ovl_lookup(struct inode *dir, const char *name, u32 len, struct inode **out);
void ovl_refresh(struct inode *i);	// attributes as they are below
bool ovl_whiteout(const struct dentry *d);
bool ovl_hides(struct inode *dir, const char *name);	// a lower layer has that name: without it a whiteout is needed
void ovl_evict(struct inode *i);
const char *ovl_attr(const struct ovl_fs *fs, const char *which, char buf[48]); // "opaque": the attribute's whole name
int ovl_set_opaque(struct ovl_fs *fs, struct inode *dir);
int ovl_set_origin(struct ovl_fs *fs, struct inode *upper, u64 number);	// the number it had before it was copied
// ovl_copy.c; `change` held
int ovl_copy_up(struct inode *i, u64 keep);	// it has an upper afterwards; of a regular file's data the first `keep` bytes
void ovl_temp(struct ovl_fs *fs, char name[16]); // a free name in `work`
int ovl_clear_whiteouts(struct dentry *dir); // the whiteouts of a directory of nothing else go
int ovl_clear(struct dentry *work, const char *name); // a directory of nothing but whiteouts goes
// ovl_list.c
int ovl_readdir(struct file *f, struct dir_ctx *c);
void ovl_list_free(struct file *f);
int ovl_empty(struct inode *dir);	// 0 or -ENOTEMPTY
extern const struct inode_ops ovl_dir_iops, ovl_file_iops, ovl_link_iops;
extern const struct file_ops ovl_dir_fops, ovl_file_fops;
int ovl_setattr(struct inode *i, const struct iattr *a), ovl_getattr(struct inode *i);
ssize_t ovl_getxattr(struct inode *i, const char *name, void *buf, size_t n), ovl_listxattr(struct inode *i, char *buf, size_t n);
int ovl_setxattr(struct inode *i, const char *name, const void *buf, size_t n, int flags), ovl_removexattr(struct inode *i, const char *name);

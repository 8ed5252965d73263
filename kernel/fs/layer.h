// SPDX-License-Identifier: Apache-2.0
// Names in a layer of an overlay: what the VFS does for a program, without questions about permission, because the overlay
// has asked them of its own inodes (layer.c; layer_rename is rename.c's). Names end with NUL. Private to kernel/fs/.
#pragma once
#include "kernel/fs/fs.h"

// The dentry of a name, which may be negative. ERR_PTR.
struct dentry *layer_find(struct dentry *dir, const char *name);
// A new object; regular files, directories, symlinks (with their target) and special files by mode. *out may be NULL. -EEXIST.
int layer_make(struct dentry *dir, const char *name, u32 mode, u64 rdev, const char *target, struct dentry **out);
int layer_link(struct dentry *dir, const char *name, struct inode *ino, struct dentry **out);
int layer_remove(struct dentry *dir, const char *name);	// unlink or rmdir
int layer_rename(struct dentry *od, const char *on, struct dentry *nd, const char *nn, u32 flags);
struct file *layer_open(struct dentry *d, u32 flags);	// an open file without a path. ERR_PTR
int layer_setattr(struct inode *i, struct iattr *a);
// Attributes by name, of at most n bytes: -EOPNOTSUPP where there are none.
ssize_t layer_getxattr(struct inode *i, const char *name, void *buf, size_t n);
ssize_t layer_listxattr(struct inode *i, char *buf, size_t n);
int layer_setxattr(struct inode *i, const char *name, const void *buf, size_t n, int flags);
int layer_removexattr(struct inode *i, const char *name);

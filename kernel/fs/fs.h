// SPDX-License-Identifier: Apache-2.0
// What the files of the VFS core share with each other and nobody else needs.
#pragma once
#include "kernel/include/ipc.h"
#include "kernel/include/kstring.h"
#include "kernel/include/log.h"
#include "kernel/include/task.h"
#include "kernel/include/vfs.h"
#include <linux/capability.h>
#include <linux/inotify.h>
#include <linux/mount.h>

// lseek(2); linux/fs.h would bring in too much else
#ifndef SEEK_SET
#define SEEK_SET 0
#define SEEK_CUR 1
#define SEEK_END 2
#define SEEK_DATA 3
#define SEEK_HOLE 4
#endif

#define MAY_EXEC 1
#define MAY_WRITE 2
#define MAY_READ 4
#define MAY_NOW 8	// the attributes have just been fetched
bool inode_capable(const struct inode *ino, int cap);	// of the caller, over this file
int mode_permission(const struct inode *ino, int mask);
int cred_permission(const struct cred *c, const struct inode *ino, int mask); // the same for somebody else
int inode_permission_locked(struct inode *ino, int mask);	// does not sleep: -ECHILD when the attributes have to be fetched first

static inline bool is_dir(const struct inode *i) { return (i->mode & S_IFMT) == S_IFDIR; }
static inline bool is_reg(const struct inode *i) { return (i->mode & S_IFMT) == S_IFREG; }
static inline bool is_lnk(const struct inode *i) { return (i->mode & S_IFMT) == S_IFLNK; }

// An inode's lock around operations of its file system, unless they wait for a program (super->waits).
static inline void inode_lock(struct inode *i)
{
	if (likely(!i->sb->waits))
		mutex_lock(&i->lock);
}
static inline void inode_unlock(struct inode *i)
{
	if (likely(!i->sb->waits))
		mutex_unlock(&i->lock);
}

static inline bool can_read(const struct file *f)
{
	return !(f->flags & (O_PATH | O_WRONLY));
}
static inline bool can_write(const struct file *f)
{
	u32 acc = f->flags & (O_PATH | O_ACCMODE);
	return acc == O_WRONLY || acc == O_RDWR;
}

// --- dcache.c. Functions with _locked want dcache_lock.
#define HASH_INIT 0x2545F4914F6CDD1Dul
static inline u64 hash_step(u64 h, u8 c) { return ((h << 7) | (h >> 57)) ^ c; }
static inline u32 hash_end(const struct dentry *parent, u64 h)
{
	return (u32)(((h ^ ((uptr)parent >> 5)) * 0x9E3779B97F4A7C15ul) >> 32);
}
static inline u32 name_hash(const struct dentry *parent, const char *name, u32 len)
{
	u64 h = HASH_INIT;
	for (u32 i = 0; i < len; i++)
		h = hash_step(h, (u8)name[i]);
	return hash_end(parent, h);
}
void dcache_init(void);
struct dentry *d_find_locked(struct dentry *parent, const char *name, u32 len, u32 hash);
// New dentry, one reference, not in the cache. Consumes the reference on inode (also on failure). NULL: no memory.
struct dentry *d_new(struct dentry *parent, const char *name, u32 len, struct inode *inode);
struct dentry *d_new_root(struct inode *inode);		// its own parent; consumes inode
void d_add(struct dentry *d);				// enters d into the cache; its directory's inode lock held since it was not found there
// A mount point in a file system whose names are not cached (/sys/kernel/config): enters it and its parents all the same.
void d_pin_locked(struct dentry *d);
void d_get(struct dentry *d);
void d_put(struct dentry *d);
void d_instantiate(struct dentry *d, struct inode *inode); // negative -> positive; consumes inode
void d_drop(struct dentry *d);				// out of the cache; caller has a reference and the directory's inode lock
int d_move(struct dentry *d, struct dentry *to);	// d takes the place and name of `to`, which leaves the cache; -ENOMEM
int d_exchange(struct dentry *a, struct dentry *b);
// Copies d's name so that it ends at `end`, unless it is longer than `room`. Its length in *len; the parent that it is a name in.
struct dentry *d_name_locked(struct dentry *d, char *end, u32 room, u32 *len);
bool d_ancestor(struct dentry *a, struct dentry *d);	// a is d or above it; rename_lock held
// Finds or makes the dentry of a name; dir's inode lock held. ERR_PTR.
struct dentry *d_lookup(struct dentry *dir, const char *name, u32 len);
extern struct mount *anon_mnt;				// pseudo mount of nameless objects
struct dentry *d_anon(struct inode *inode, const char *name);

// --- super.c
enum super_sum { SB_PAGES, SB_INODES, SB_SUMS };
u64 super_ino(struct super *sb);			// a fresh inode number
void super_add(struct super *sb, enum super_sum what, u64 *total, s64 by);
u64 super_sum(const struct super *sb, enum super_sum what, const u64 *total);
#define SUPER_SLACK 2048u				// *total alone is nearer to the sum than this, or it is not a positive number

// --- namei.c
struct last {				// final component of a path
	const char *name;		// within the path's buffer
	u32 len;
	u32 kind;			// LAST_*
	bool slash;			// followed by a slash
};
enum { LAST_NORM, LAST_DOT, LAST_DOTDOT, LAST_ROOT };
#define PATH_BUF 4096
// Walks to the parent. `name` must stay valid while *last is used, *link too (kfree it: last->name may point there).
int path_parent(int dfd, const char *name, u32 flags, struct path *out, struct last *last, char **link);
int user_path_name(char buf[PATH_BUF], const void __user *name, bool empty_ok);
int path_child(struct path *p, struct dentry *child);	// p's dentry replaced by child (reference consumed), mounts crossed
// A path that must not be walked: symlink depth is counted across the final link in open(O_CREAT).
int path_follow_last(struct path *dir, struct dentry *link, u32 flags, u32 *depth, struct path *out, struct last *last, char **buf);

extern const struct file_ops detached_fops;		// a descriptor that owns a tree of mounts (mount_api.c)
// --- mount.c
extern struct mount *root_mnt;
int mount_write(const struct mount *m);			// 0 or -EROFS
struct mount *mount_at_locked(struct mount *parent, struct dentry *d);	// what is mounted there (topmost), no reference
struct mount *mount_new(struct super *sb, struct dentry *root, const char *source, u32 flags); // consumes sb's reference
int mount_attach(struct mount *m, struct path *where);	// consumes m's reference on success; where stays the caller's
void mount_attach_root(struct mount *m);
void mount_get(struct mount *m), mount_get_locked(struct mount *m);
void mount_put(struct mount *m);
struct super *super_by_dev(u64 dev);			// of a mounted file system, with a reference; NULL
const char *fs_type_name(u32 i);			// the i-th registered type, NULL past the last
struct super *fs_make(const char *fstype, const char *source, u32 flags, const void *data, size_t len);

void file_pos_lock(struct file *f), file_pos_unlock(struct file *f);	// rw.c
// --- file.c, fdtable.c
struct file *file_new(u32 flags);			// blank file, one reference
// Like fd_get, but without a reference while this task is the only user of its table: and nobody closes for it while it sleeps, as io_uring may.
static inline struct file *fd_light(int fd, bool *put)
{
	struct task *t = current;
	struct fdtable *ft = t->files;
	if (likely(ft->ref.n == 1 && (u32)fd < ft->size && !t->uring)) {
		*put = false;
		return slot_file(*fd_slot(ft, (u32)fd));
	}
	*put = true;
	return fd_get(fd);
}
static inline void fd_light_put(struct file *f, bool put)
{
	if (put)
		file_put(f);
}

int fd_set_cloexec(int fd, bool on);

// --- open.c
struct open_how_k {
	u32 flags, mode, lookup;
};
struct file *open_path_flags(int dfd, const char *name, const struct open_how_k *how);

// --- xattr.c: an object by directory, path and AT_* flags, or the file of a descriptor
struct at {
	struct path p;
	struct file *f;
	struct inode *ino;
	const struct mount *m;
};
int at_get(struct at *a, int dfd, const void __user *path, u32 flags);
void at_put(struct at *a);
// --- fileattr.c: flags of files (inode->flags)
#define FILE_IMMUTABLE 0x10u
#define FILE_APPEND 0x20u
#define FILE_NODUMP 0x40u
#define FILE_NOATIME 0x80u
#define FILE_FLAGS (FILE_IMMUTABLE | FILE_APPEND | FILE_NODUMP | FILE_NOATIME)
#define FILE_INHERITED (FILE_NODUMP | FILE_NOATIME)
long fileattr_ioctl(struct file *f, u32 cmd, u64 arg);	// -ENOTTY: not one of these

// --- checks shared by stat.c, dir.c, xattr.c
int setattr_checked(struct inode *ino, struct iattr *a);	// asks the file system; inode lock held
void setattr_copy(struct inode *i, const struct iattr *a);	// all but the size, and a new ctime; inode lock held
u32 mode_written(const struct inode *ino);		// what is left of its mode when the caller changes contents: without CAP_FSETID no set-id bits
void setattr_written(const struct inode *ino, struct iattr *a);	// takes them away with the change *a; inode lock held
int setattr_plain(struct inode *i, const struct iattr *a);	// the same, for inodes that live in memory alone
extern const struct inode_ops plain_iops;			// of those that have no size and no names: pipes, sockets
void setattr_cut(struct inode *ino, u64 size);		// after it set a size: mappings lose what lies beyond; may sleep
bool inode_owner(const struct inode *ino);		// owner or CAP_FOWNER
struct file *fd_path(int fd);				// any descriptor, O_PATH too: fd_get

// --- devfs.c
const struct file_ops *dev_fops(u64 rdev);		// NULL: no such device
int devfs_init(void), kmsg_init(void);

// --- tmpfs.c, overlay.c, erofs.c
int tmpfs_init(void);
struct super *tmpfs_new(const char *fstype, u64 max_bytes, u32 mode);
// clone.c
long file_clone(struct file *dst, u32 cmd, u64 arg);
long file_dedupe(struct file *src, u64 arg);
u64 clone_for_copy(struct file *src, u64 soff, struct file *dst, u64 doff, u64 n); // bytes that are shared now, from the start; 0: copy
struct verity;
int erofs_mount(struct verity *image, struct super **out); // an image; closes it when it goes, not when this fails
int overlay_mount(struct super *lower, struct super **out);
void tmpfs_add_node(struct inode *dir, const char *name, u32 mode, u64 rdev, const char *target);

// --- locks.c
void locks_free(struct inode *ino);

// --- inotify, cheap when nobody watches
static inline void fs_event(struct inode *dir, struct inode *ino, const char *name, u32 mask)
{
	if (unlikely((dir && dir->watches) || (ino && ino->watches)))
		fsnotify(dir, ino, name, mask);
}
static inline void file_event(struct file *f, u32 mask)
{
	if (f->path.dentry)
		fsnotify_name(f->path.dentry, mask);
}

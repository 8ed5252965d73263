// SPDX-License-Identifier: Apache-2.0
// What the files about mounts share: the table (mount.c), trees of mounts and mount namespaces (mount_tree.c), the
// old calls (mount_calls.c) and the new ones (mount_api.c), the lists that /proc shows (mount_text.c).
// Locks: mount_lock (a whole change of the table), then dcache_lock, which guards the table and each mount's links.
#pragma once
#include "kernel/fs/fs.h"
#include "kernel/include/ns.h"

#define MNT_RESTRICT (MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC)
#define MNT_ATIME (MS_NOATIME | MS_NODIRATIME | MS_RELATIME)
#define MNT_STATE (MNT_RESTRICT | MNT_ATIME)
#define MNT_PROPAGATION (MS_SHARED | MS_PRIVATE | MS_SLAVE | MS_UNBINDABLE)

struct mnt_ns {
	struct ns ns;
	struct mount *root;	// the whole tree holds the reference
};

// A number that no other mount ever has: above all those that are used again (listmount, statmount, statx).
#define MOUNT_UNIQUE (1ul << 31)
static inline u64 mount_unique(const struct mount *m) { return MOUNT_UNIQUE + (u64)m->id; }
bool mount_reached_locked(const struct mount *m, const struct path *root);	// whether it lies under root; dcache_lock held
const char *mount_root_name(const struct mount *m, char *buf, size_t n);	// which part of its file system it shows

extern struct list mounts;	// oldest first; topmost of a place is the youngest
extern struct mutex mount_lock;

void mount_counted_locked(struct mount *m, bool by_shard);	// references counted by shard: while m is in the table
u32 mount_references_locked(const struct mount *m);
struct mount *first_child_locked(struct mount *m);
void detach_locked(struct mount *m);		// out of the table; m->was is to be put by the caller, and the table's reference
// A copy of what is mounted at *from, with `recursive` also of the mounts below it: belongs to no namespace and hangs nowhere.
// mount_lock held. fs (or NULL): its root and working directory move to the copies. ERR_PTR.
struct mount *tree_copy(const struct path *from, bool recursive, struct fs_ctx *fs);
void tree_drop(struct mount *m);		// unmounts m and all below it; mount_lock held; consumes the table's reference
void tree_set_ns(struct mount *m, struct mnt_ns *n);	// m and all below it; dcache_lock held
bool mount_waits(const struct mount *m);	// in a tree that a descriptor owns, until move_mount hangs it; mount_lock held
bool mount_takes_back(const struct mount *m, u32 flags);	// flags that a mount from a user namespace above has
bool mount_hides_locked(const struct mount *m, struct dentry *d); // something below d that came from a user namespace above
int mount_may_make(const char *fstype);		// 0, -EPERM, -ENODEV
// Of proc and sysfs, in a mount namespace that a user namespace rules: -EPERM unless there is such a mount already in which nothing was hidden,
// and which may do no less. *keep: the locked_flags of the new one.
int mount_reveals(const char *fstype, u32 flags, u32 *keep);
bool fs_known(const char *name);		// fs/mount_api.c
// The work of mount(2) on places; mount_lock held.
long bind_mount(const struct path *from, struct path *where, bool recursive);
long move_mount_to(const struct path *from, struct path *where);
long remount_at(const struct path *where, u32 flags, const char *opts, bool only_mount);
long set_propagation(const struct path *where, u32 flags);
long new_mount(const char *fstype, const char *source, u32 flags, const char *opts, struct path *where);

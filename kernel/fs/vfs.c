// SPDX-License-Identifier: Apache-2.0
// Boot of the file systems: the verified image below, memory above it, and what programs expect to find mounted.
// Runs once, before any program. Locks: none.
#include "kernel/fs/mounts.h"
#include "kernel/fs/verity.h"
#include "kernel/include/platform.h"

int anon_init(void);
int sealed_init(void), ovl_init(void), fuse_init(void), image_fs_init(void);

static const struct {
	const char *fstype, *target, *data;
	u32 flags;
} table[] = {
	{"proc", "/proc", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC},
	{"sysfs", "/sys", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC},
	{"cgroup2", "/sys/fs/cgroup", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC},
	{"configfs", "/sys/kernel/config", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC},
	{"devtmpfs", "/dev", NULL, MS_NOSUID},
	{"devpts", "/dev/pts", NULL, MS_NOSUID | MS_NOEXEC},
	{"tmpfs", "/dev/shm", NULL, MS_NOSUID | MS_NODEV},
	{"tmpfs", "/tmp", NULL, MS_NOSUID | MS_NODEV},
	{"tmpfs", "/run", "mode=0755", MS_NOSUID | MS_NODEV},
};

// A mount point that the image lacks is made in memory.
static int mount_one(u32 k)
{
	const char *t = table[k].target;
	size_t len = table[k].data ? strlen(table[k].data) + 1 : 0;
	int r = mount_at(table[k].fstype, table[k].fstype, t, table[k].flags, table[k].data, len);
	if (r != -ENOENT || strchr(t + 1, '/'))
		return r;
	struct path root = {root_mnt, root_mnt->root};
	tmpfs_add_node(root.dentry->inode, t + 1, S_IFDIR | 0755, 0, NULL);
	dcache_invalidate(root.dentry->inode, t + 1, (u32)strlen(t + 1));
	return mount_at(table[k].fstype, table[k].fstype, t, table[k].flags, table[k].data, len);
}

static int mount_all(void)
{
	struct super *image, *root;
	struct verity *blocks;
	int r = verity_init(&blocks);
	if (r || (r = erofs_mount(blocks, &image)))
		return r;
	if ((r = overlay_mount(image, &root)))
		return r;
	root_mnt = mount_new(root, NULL, "overlay", MS_RELATIME);
	if (!root_mnt)
		return -ENOMEM;
	mount_attach_root(root_mnt);
	init_proc->fs = fs_ctx_new();
	if (!init_proc->fs)
		return -ENOMEM;
	for (u32 k = 0; k < ARRAY_SIZE(table); k++) {
		r = mount_one(k);
		if (r)
			pr_warn("%s cannot be mounted on %s: error %d", table[k].fstype, table[k].target, -r);
	}
	struct mount *m;
	list_for_each(m, &mounts, link)
		super_stays(m->sb);
	return 0;
}

int vfs_init(void)
{
	// The calls below ask who they work for: the first process, which is not running yet.
	struct hthread *h = hthread_self();
	struct task *before = h->cur;
	int r;
	dcache_init();
	if (!before || !before->proc)
		h->cur = list_first(&init_proc->threads, struct task, thread_link);
	if (!(r = anon_init()) && !(r = tmpfs_init()) && !(r = sealed_init()) && !(r = image_fs_init()) && !(r = ovl_init()) &&
	    !(r = fuse_init()) && !(r = devfs_init()) && !(r = ipc_init()))
		r = mount_all();
	h->cur = before;
	verity_boot_done();
	return r;
}

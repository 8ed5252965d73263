// SPDX-License-Identifier: Apache-2.0
// Character devices: the registry, the memory devices, and /dev, a tmpfs with a node for each.
// Locks: none; devices are registered at boot.
#include "kernel/fs/fs.h"
#include "kernel/include/platform.h"

#define DEV_MAX 64u
#define MKDEV(ma, mi) ((u64)(ma) << 8 | ((mi) & 0xff) | ((u64)((mi) & ~0xffu) << 12))

static struct {
	u32 major, minor;
	const char *name;
	u32 mode;
	const struct file_ops *fops;
} devs[DEV_MAX];
static u32 ndevs;
static struct inode *dev_root;		// root of /dev once it is mounted

// "pts/0" and the like live in a file system of their own; here only plain names get a node.
static void add_node(u32 i)
{
	if (devs[i].name && !strchr(devs[i].name, '/'))
		tmpfs_add_node(dev_root, devs[i].name, S_IFCHR | devs[i].mode, MKDEV(devs[i].major, devs[i].minor),
			       NULL);
}

int dev_register(u32 major, u32 minor, const char *name, u32 mode, const struct file_ops *fops)
{
	if (ndevs == DEV_MAX)
		return -ENOSPC;
	devs[ndevs].major = major;
	devs[ndevs].minor = minor;
	devs[ndevs].name = name;
	devs[ndevs].mode = mode & 07777;
	devs[ndevs].fops = fops;
	if (dev_root)
		add_node(ndevs);
	ndevs++;
	return 0;
}

const struct file_ops *dev_fops(u64 rdev)
{
	for (u32 i = 0; i < ndevs; i++)
		if (MKDEV(devs[i].major, devs[i].minor) == rdev)
			return devs[i].fops;
	return NULL;
}

// --- null, zero, full
static ssize_t null_read(struct file *f, struct iter *it, u64 *pos)
{
	(void)f;
	(void)it;
	(void)pos;
	return 0;
}

static ssize_t null_write(struct file *f, struct iter *it, u64 *pos)
{
	(void)f;
	(void)pos;
	size_t n = it->left;
	iter_advance(it, n);
	return (ssize_t)n;
}

static ssize_t full_write(struct file *f, struct iter *it, u64 *pos)
{
	(void)f;
	(void)it;
	(void)pos;
	return -ENOSPC;
}

// Copies made by `step` until the iterator is full, faults resolved in between.
static ssize_t fill(struct iter *it, size_t (*step)(struct iter *it))
{
	size_t total = it->left;
	int r = 0;
	while (it->left && !r) {
		if (!step(it))
			r = iter_fault_in(it, true);
		if (signal_pending() && it->left < total)
			break;
	}
	return it->left < total ? (ssize_t)(total - it->left) : r;
}

static size_t step_zero(struct iter *it) { return iter_zero(it, min(it->left, 1ul << 20)); }

static size_t step_random(struct iter *it)
{
	u8 buf[1024];
	size_t n = min(it->left, sizeof(buf));
	pf_random(buf, n);
	n = iter_put(it, buf, n);
	explicit_bzero(buf, sizeof(buf));
	return n;
}

static ssize_t zero_read(struct file *f, struct iter *it, u64 *pos)
{
	(void)f;
	(void)pos;
	return fill(it, step_zero);
}

static ssize_t random_read(struct file *f, struct iter *it, u64 *pos)
{
	(void)f;
	(void)pos;
	return fill(it, step_random);
}

static s64 null_llseek(struct file *f, s64 off, int whence)
{
	(void)off;
	(void)whence;
	f->pos = 0;
	return 0;
}

static int zero_mmap(struct file *f, u64 pgoff, size_t len, int prot, int flags, struct pagecache **pc)
{
	(void)f;
	(void)pgoff;
	(void)len;
	(void)prot;
	(void)flags;
	*pc = NULL; // plain anonymous memory
	return 0;
}

#define RNDGETENTCNT_ 0x80045200u
static long random_ioctl(struct file *f, u32 cmd, u64 arg)
{
	(void)f;
	int bits = 256;
	return cmd == RNDGETENTCNT_ ? put_user(bits, U(arg)) : -ENOTTY;
}

static const struct file_ops null_fops = {.read = null_read, .write = null_write, .llseek = null_llseek};
static const struct file_ops zero_fops = {
	.read = zero_read, .write = null_write, .llseek = null_llseek, .mmap = zero_mmap};
static const struct file_ops full_fops = {.read = zero_read, .write = full_write, .llseek = null_llseek};
// What programs write into the random devices is accepted and ignored: entropy comes from the CPU.
static const struct file_ops random_fops = {
	.read = random_read, .write = null_write, .llseek = null_llseek, .ioctl = random_ioctl};

static int dev_mount(const char *source, u32 flags, const void *data, size_t len, struct super **out)
{
	(void)source;
	(void)flags;
	(void)data;
	(void)len;
	static struct super *sb; // one for all its mounts
	if (!sb) {
		sb = tmpfs_new("devtmpfs", 0, 0755);
		if (!sb)
			return -ENOMEM;
		dev_root = sb->root;
		for (u32 i = 0; i < ndevs; i++)
			add_node(i);
		tmpfs_add_node(dev_root, "fd", 0, 0, "/proc/self/fd");
		tmpfs_add_node(dev_root, "stdin", 0, 0, "/proc/self/fd/0");
		tmpfs_add_node(dev_root, "stdout", 0, 0, "/proc/self/fd/1");
		tmpfs_add_node(dev_root, "stderr", 0, 0, "/proc/self/fd/2");
		tmpfs_add_node(dev_root, "core", 0, 0, "/proc/kcore");
		tmpfs_add_node(dev_root, "shm", S_IFDIR | 01777, 0, NULL);
		tmpfs_add_node(dev_root, "pts", S_IFDIR | 0755, 0, NULL);
		tmpfs_add_node(dev_root, "mqueue", S_IFDIR | 01777, 0, NULL);
		ref_get(&sb->active); // never torn down: open devices outlive a mount
	}
	super_get(sb);
	*out = sb;
	return 0;
}

int devfs_init(void)
{
	dev_register(1, 3, "null", 0666, &null_fops);
	dev_register(1, 5, "zero", 0666, &zero_fops);
	dev_register(1, 7, "full", 0666, &full_fops);
	dev_register(1, 8, "random", 0666, &random_fops);
	dev_register(1, 9, "urandom", 0666, &random_fops);
	kmsg_init();
	return fs_register("devtmpfs", dev_mount);
}

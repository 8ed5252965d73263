// SPDX-License-Identifier: Apache-2.0
// Flags of files (immutable, append only, no dump): kept through commits and snapshots, inherited, checked and mended; and what
// attributes cost: those that are as they should be cost no write.
#include "seal/vol.h"
#include "seal/tool_mount.h"
#include "tests/seal/mem.h"
#include <linux/fs.h>

static struct mem mem;

static struct seal_inode *make(struct seal_vol *v, struct seal_inode *dir, const char *name, u32 mode)
{
	struct seal_inode *i = NULL;
	int r = seal_create(v, dir, name, (u32)strlen(name), mode, 0, 0, 0, &i);
	return r ? NULL : i;
}

static struct seal_inode *at(struct seal_vol *v, struct seal_inode *dir, const char *name)
{
	struct seal_inode *i = NULL;
	return seal_lookup(v, dir, name, (u32)strlen(name), &i) ? NULL : i;
}

static int set(struct seal_vol *v, struct seal_inode *i, u32 flags)
{
	return seal_setattr(v, i, SEAL_SET_FLAGS, &(struct seal_attr){.flags = flags});
}

static u32 get(struct seal_vol *v, struct seal_inode *i)
{
	struct seal_attr a;
	seal_getattr(v, i, &a);
	return a.flags;
}

static int remount(struct seal_vol **v)
{
	int r = seal_unmount(*v);
	return r ? r : seal_mount(&mem.io, &test_env, test_key, NULL, 0, v, NULL);
}

static void kept(void)
{
	struct seal_vol *v;
	CHECK_EQ(new_volume(&mem, 16u << 20, &v), 0);
	struct seal_inode *root = root_of(v), *d = make(v, root, "d", 0040755), *f = make(v, root, "f", 0100644), *g, *fifo;
	CHECK(d && f && (fifo = make(v, root, "fifo", 0010644)));
	CHECK_EQ(get(v, f), 0);
	CHECK_EQ(set(v, f, SEAL_FLAG_IMMUTABLE | SEAL_FLAG_NODUMP), 0);
	CHECK_EQ(set(v, d, SEAL_FLAG_APPEND | SEAL_FLAG_NODUMP | SEAL_FLAG_NOATIME), 0);
	CHECK_EQ(set(v, f, 1), -EOPNOTSUPP);
	CHECK_EQ(set(v, fifo, SEAL_FLAG_NODUMP), -EOPNOTSUPP);
	CHECK_EQ(seal_sync(v), 0);
	CHECK_EQ(seal_write(v, f, 0, "text", 4), 4); // what the flags forbid is for the caller to refuse
	CHECK_EQ(seal_fsync(v, f), 0);
	CHECK((g = make(v, d, "new", 0100600)));
	CHECK_EQ(get(v, g), SEAL_FLAG_NODUMP | SEAL_FLAG_NOATIME);
	seal_iput(v, g);
	CHECK((g = make(v, d, "node", 0010600)));
	CHECK_EQ(get(v, g), 0);
	seal_iput(v, g);
	CHECK_EQ(seal_snapshot_create(v, "s", 1), 0);
	CHECK_EQ(set(v, f, SEAL_FLAG_APPEND), 0);
	CHECK((g = make(v, root, "clone", 0100644)));
	CHECK_EQ(seal_clone(v, f, 0, g, 0, 0), 0);
	CHECK_EQ(get(v, g), 0); // it has the contents, not the attributes
	seal_iput(v, g);
	seal_iput(v, fifo);
	seal_iput(v, f);
	seal_iput(v, d);
	seal_iput(v, root);
	CHECK_EQ(remount(&v), 0);
	root = root_of(v);
	CHECK((f = at(v, root, "f")) && (d = at(v, root, "d")));
	CHECK_EQ(get(v, f), SEAL_FLAG_APPEND);
	CHECK_EQ(get(v, d), SEAL_FLAG_APPEND | SEAL_FLAG_NODUMP | SEAL_FLAG_NOATIME);
	seal_iput(v, f);
	struct seal_inode *snaps = at(v, root, SEAL_SNAPDIR), *snap = at(v, snaps, "s");
	CHECK(snap && (f = at(v, snap, "f")));
	CHECK_EQ(get(v, f), SEAL_FLAG_IMMUTABLE | SEAL_FLAG_NODUMP);
	CHECK_EQ(set(v, f, 0), -EROFS);
	seal_iput(v, f);
	seal_iput(v, snap);
	seal_iput(v, snaps);
	seal_iput(v, d);
	seal_iput(v, root);
	CHECK_EQ(fsck_quiet(v), 0);
	CHECK_EQ(seal_unmount(v), 0);
	mem_free(&mem);
}

static void finding(void *ctx, const char *text)
{
	(void)text;
	++*(u32 *)ctx;
}

// Flags that no version of this library writes.
static void checked(void)
{
	struct seal_vol *v;
	struct seal_fsck_stats st;
	u32 found = 0;
	CHECK_EQ(new_volume(&mem, 16u << 20, &v), 0);
	struct seal_inode *root = root_of(v), *f = make(v, root, "f", 0100644), *fifo = make(v, root, "fifo", 0010644);
	CHECK(f && fifo);
	CHECK_EQ(set(v, f, SEAL_FLAG_NODUMP), 0);
	f->flags |= 0x4000;
	fifo->flags = SEAL_FLAG_APPEND;
	CHECK_EQ(seal_setattr(v, fifo, SEAL_SET_UID, &(struct seal_attr){.uid = 7}), 0);
	CHECK_EQ(seal_fsck(v, finding, &found, &st), 2);
	CHECK_EQ(found, 2);
	seal_iput(v, f);
	seal_iput(v, fifo);
	seal_iput(v, root);
	CHECK_EQ(seal_unmount(v), 0);
	CHECK_EQ(seal_mount(&mem.io, &test_env, test_key, NULL, SEAL_REPAIR, &v, NULL), 0);
	const struct seal_checker how = {.finding = finding, .ctx = &found};
	CHECK_EQ(seal_repair(v, &how, &st), 0);
	CHECK_EQ(st.findings, 2);
	CHECK_EQ(seal_unmount(v), 0);
	CHECK_EQ(seal_mount(&mem.io, &test_env, test_key, NULL, 0, &v, NULL), 0);
	root = root_of(v);
	CHECK((f = at(v, root, "f")) && (fifo = at(v, root, "fifo")));
	CHECK_EQ(get(v, f), SEAL_FLAG_NODUMP);
	CHECK_EQ(get(v, fifo), 0);
	seal_iput(v, f);
	seal_iput(v, fifo);
	seal_iput(v, root);
	CHECK_EQ(fsck_quiet(v), 0);
	CHECK_EQ(seal_unmount(v), 0);
	mem_free(&mem);
}

// The kernel gives times and mode of a file to the volume at each fsync.
static void unchanged_costs_nothing(void)
{
	struct seal_vol *v;
	struct seal_attr a;
	const u32 which = SEAL_SET_ATIME | SEAL_SET_MTIME | SEAL_SET_CTIME | SEAL_SET_MODE;
	CHECK_EQ(new_volume(&mem, 16u << 20, &v), 0);
	struct seal_inode *root = root_of(v), *f = make(v, root, "f", 0100644);
	CHECK(f);
	CHECK_EQ(seal_write(v, f, 0, "text", 4), 4);
	CHECK_EQ(seal_sync(v), 0);
	seal_getattr(v, f, &a);
	u64 writes = mem.writes, flushes = mem.flushes, commits = v->generation;
	for (int k = 0; k < 100; k++) {
		CHECK_EQ(seal_setattr(v, f, which, &a), 0);
		CHECK_EQ(seal_setattr(v, f, which | SEAL_SET_UID | SEAL_SET_GID | SEAL_SET_FLAGS, &a), 0);
		CHECK_EQ(seal_fsync(v, f), 0);
	}
	CHECK_EQ(mem.writes, writes);
	CHECK_EQ(mem.flushes, flushes);
	CHECK_EQ(v->generation, commits);
	u32 each[] = {SEAL_SET_ATIME, SEAL_SET_MTIME, SEAL_SET_CTIME, SEAL_SET_MODE, SEAL_SET_UID, SEAL_SET_GID, SEAL_SET_FLAGS};
	for (u32 k = 0; k < sizeof each / sizeof *each; k++) { // and each change is one
		struct seal_attr b = a;
		b.atime_ns++, b.mtime_ns++, b.mode ^= 0100, b.uid++, b.gid++, b.flags = SEAL_FLAG_NODUMP;
		b.ctime_ns += each[k] == SEAL_SET_CTIME;
		flushes = mem.flushes;
		CHECK_EQ(seal_setattr(v, f, each[k] | SEAL_SET_CTIME, &b), 0);
		CHECK_EQ(seal_fsync(v, f), 0);
		CHECK(mem.flushes > flushes);
		seal_getattr(v, f, &a);
	}
	seal_iput(v, f);
	seal_iput(v, root);
	CHECK_EQ(seal_unmount(v), 0);
	mem_free(&mem);
}

static int asked(struct mount *m, struct seal_inode *i, u32 caller, u32 flags)
{
	u8 out[MOUNT_FLAGS_BYTES];
	int r = mount_ioctl_flags(m, i, caller, (unsigned)FS_IOC_SETFLAGS, &flags, sizeof flags, out, sizeof out);
	if (!r && get(m->t.vol, i) != flags)
		return -EIO;
	struct fsxattr x = {.fsx_xflags = flags & SEAL_FLAG_NODUMP ? FS_XFLAG_NODUMP : 0};
	int other = flags & ~SEAL_FLAG_NODUMP ? r : mount_ioctl_flags(m, i, caller, (unsigned)FS_IOC_FSSETXATTR, &x, sizeof x, out, sizeof out);
	return r == other ? r : -EIO;
}

// On a mounted volume, where the host's kernel does not look at who asks: the owner may, and what forbids something only root.
static void who_may_change(void)
{
	const u32 strict[] = {SEAL_FLAG_IMMUTABLE, SEAL_FLAG_APPEND};
	struct seal_vol *v;
	CHECK_EQ(new_volume(&mem, 16u << 20, &v), 0);
	struct seal_inode *root = root_of(v), *f = make(v, root, "f", 0100644);
	struct mount m = {.t.vol = v, .uid = 1000, .unchecked = true}; // mounted by 1000, whom the volume has as 0
	CHECK(f);
	CHECK_EQ(seal_setattr(v, f, SEAL_SET_UID, &(struct seal_attr){.uid = 7}), 0);
	CHECK_EQ(asked(&m, f, 8, SEAL_FLAG_NODUMP), -EPERM);
	CHECK_EQ(asked(&m, f, 1000, SEAL_FLAG_NODUMP), -EPERM);
	CHECK_EQ(asked(&m, f, 7, SEAL_FLAG_NODUMP), 0);
	CHECK_EQ(asked(&m, f, 0, 0), 0);
	for (u32 k = 0; k < 2; k++) {
		CHECK_EQ(asked(&m, f, 7, strict[k]), -EPERM);
		CHECK_EQ(asked(&m, f, 0, strict[k]), 0);
		CHECK_EQ(asked(&m, f, 7, 0), -EPERM);
		CHECK_EQ(asked(&m, f, 0, 0), 0);
	}
	CHECK_EQ(seal_setattr(v, f, SEAL_SET_UID, &(struct seal_attr){.uid = 0}), 0);
	CHECK_EQ(asked(&m, f, 1000, SEAL_FLAG_NODUMP), 0);
	m.unchecked = false; // it has looked
	CHECK_EQ(asked(&m, f, 8, SEAL_FLAG_IMMUTABLE), 0);
	seal_iput(v, f);
	seal_iput(v, root);
	CHECK_EQ(seal_unmount(v), 0);
	mem_free(&mem);
}

int main(void)
{
	RUN(kept);
	RUN(checked);
	RUN(unchanged_costs_nothing);
	RUN(who_may_change);
	return test_end();
}

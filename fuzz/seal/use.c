// SPDX-License-Identifier: Apache-2.0
// What the fuzz targets of sealed volumes share: a small volume with one of everything, where its blocks of each kind are, and a
// program that uses a volume in every way.
#include "fuzz/seal/use.h"

static struct mem image;

static void populate(struct seal_vol *v)
{
	struct seal_inode *root = root_of(v), *d, *i;
	static u8 data[300000];
	seal_create(v, root, "dir", 3, 0040755, 0, 0, 0, &d);
	for (u32 k = 0; k < 150; k++) {
		char name[64];
		u32 len = (u32)sprintf(name, "a file with a longer name %u", k);
		seal_create(v, d, name, len, 0100600, 0, 0, 0, &i);
		seal_write(v, i, 0, data, k * 7);
		seal_iput(v, i);
	}
	seal_create(v, root, "big", 3, 0100600, 0, 0, 0, &i);
	seal_write(v, i, 0, data, sizeof data);
	seal_setxattr(v, i, "user.a", 6, "value", 5, 0);
	seal_iput(v, i);
	seal_symlink(v, root, "link", 4, "dir/x", 5, 0, 0, NULL);
	seal_iput(v, d);
	seal_snapshot_create(v, "before", 6);
	seal_create(v, root, "clone", 5, 0100600, 0, 0, 0, &d);
	if (!seal_lookup(v, root, "big", 3, &i)) {
		seal_clone(v, i, 0, d, 0, 0);
		seal_write(v, i, 5000, data, 9000);
		seal_iput(v, i);
	}
	seal_iput(v, d);
	seal_create(v, root, "tall", 4, 0100600, 0, 0, 0, &d); // pointer blocks on pointer blocks, and all of it shared
	seal_write(v, d, 40ul << 40, data, 5000);
	seal_create(v, root, "tall too", 8, 0100600, 0, 0, 0, &i);
	seal_clone(v, d, 0, i, 0, 0);
	seal_iput(v, i);
	seal_iput(v, d);
	seal_lookup(v, root, "dir", 3, &d);
	seal_tmpfile(v, 0600, 0, 0, &i);
	seal_sync(v); // the nameless file stays in the hidden directory
	for (u64 k = 0; k < 3 && !seal_lookup(v, root, "big", 3, &i); k++) { // records of the log
		const void *pages[2] = {data, data};
		seal_write_pages(v, i, (const u64[]){k, k + 70}, 2, pages, (k + 71) * 4096);
		seal_sync(v);
		seal_iput(v, i);
	}
	seal_iput(v, d);
	seal_iput(v, root);
}

static void make_image(void)
{
	struct seal_vol *v;
	struct mem m;
	if (new_volume(&m, 16u << 20, &v))
		abort();
	populate(v);
	mem_copy(&image, &m);
	seal_unmount(v);
	mem_free(&m);
}

const struct mem *use_image(void)
{
	if (!image.data)
		make_image();
	return &image;
}

u64 use_block_of(u32 kind, u32 which)
{
	u32 n = 0;
	u64 found = which & 1 ? 16 : 0; // a root slot
	if (kind % PLAIN_KINDS == 0)
		return found;
	for (u32 pass = 0; pass < 2 && (!pass || n); pass++) {
		u32 want = pass ? which % n : ~0u;
		n = 0;
		for (u64 b = 0; b < image.size / 4096 && b < PLAIN_BLOCKS; b++)
			if (plain_kind[b] == kind % PLAIN_KINDS && n++ == want)
				return b;
	}
	return found;
}

static bool entry(void *ctx, const char *name, u32 len, u64 ino, u32 type, u64 cookie)
{
	u64 *sum = ctx;
	(void)type, (void)cookie;
	for (u32 k = 0; k < len; k++)
		*sum += (u8)name[k] + ino;
	return true;
}

static void use(struct seal_vol *v, bool write)
{
	static u8 buf[400000];
	static const char *const names[] = {"dir", "big", "link", "tall", "a file with a longer name 17"};
	struct seal_fsck_stats st;
	u64 sum = 0;
	struct seal_inode *root = root_of(v), *dir = root, *i;
	seal_fsck(v, NULL, NULL, &st);
	for (u32 k = 0; k < 5 && root; k++) {
		if (seal_lookup(v, dir, names[k], (u32)strlen(names[k]), &i))
			continue;
		seal_read(v, i, 0, buf, sizeof buf);
		seal_readlink(v, i, (char *)buf, 4095);
		seal_listxattr(v, i, (char *)buf, sizeof buf);
		seal_getxattr(v, i, "user.a", 6, buf, sizeof buf);
		seal_readdir(v, i, 0, entry, &sum);
		seal_seek(v, i, 0, true);
		if (write) {
			seal_write(v, i, 5000, buf, 9000);
			seal_truncate(v, i, 70000);
			seal_punch(v, i, 100, 30000);
			seal_setxattr(v, i, "user.b", 6, "x", 1, 0);
			seal_create(v, i, "new", 3, 0100600, 0, 0, 0, NULL);
			seal_rename(v, root, names[k], (u32)strlen(names[k]), root, "moved", 5, 0);
			seal_unlink(v, root, "moved", 5);
		}
		seal_iput(v, i);
	}
	if (root)
		seal_iput(v, root);
	if (write) {
		struct seal_work w;
		seal_snapshot_create(v, "after", 5);
		seal_snapshot_delete(v, "before", 6);
		for (u32 k = 0; k < 50 && seal_work(v, 64, &w) == 1; k++)
			;
	}
	seal_sync(v);
}

// A repair of anything ends; what it calls whole is whole.
static void repair(const struct mem *m)
{
	static const struct seal_checker quiet;
	struct seal_fsck_stats st;
	struct seal_vol *v;
	struct mem copy;
	mem_copy(&copy, m);
	if (!seal_mount(&copy.io, &test_env, test_key, NULL, SEAL_REPAIR, &v, NULL)) {
		s64 left = seal_repair(v, &quiet, &st);
		seal_unmount(v);
		if (!left) {
			if (seal_mount(&copy.io, &test_env, test_key, NULL, 0, &v, NULL))
				abort();
			if (seal_fsck(v, NULL, NULL, &st))
				abort();
			seal_unmount(v);
		}
	}
	mem_free(&copy);
}

void use_volume(struct mem *m)
{
	struct seal_vol *v;
	repair(m);
	for (u32 write = 0; write < 2; write++)
		if (!seal_mount(&m->io, &test_env, test_key, NULL, write ? 0 : SEAL_RDONLY, &v, NULL)) {
			use(v, write);
			seal_unmount(v);
		}
	if (!seal_mount_snapshot(&m->io, &test_env, test_key, NULL, "before", 6, NULL, &v, NULL)) {
		use(v, false);
		seal_unmount(v);
	}
}

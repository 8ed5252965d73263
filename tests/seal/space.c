// SPDX-License-Identifier: Apache-2.0
// Limits: full volumes and full hosts, many names, huge sparse files, many mounts, files without a name, attributes.
#include "seal/vol.h"
#include "tests/seal/mem.h"

static u8 data[1 << 20];

static struct seal_inode *make(struct seal_vol *v, const char *name)
{
	struct seal_inode *root = root_of(v), *i = NULL;
	seal_create(v, root, name, (u32)strlen(name), 0100600, 0, 0, 0, &i);
	seal_iput(v, root);
	return i;
}

static int drop(struct seal_vol *v, const char *name)
{
	struct seal_inode *root = root_of(v);
	int r = seal_unlink(v, root, name, (u32)strlen(name));
	seal_iput(v, root);
	return r;
}

// Fills, sees ENOSPC, deletes, fills again; nothing leaks and a commit never fails.
static void full_volume(void)
{
	struct mem m;
	struct seal_vol *v;
	struct seal_statfs st;
	CHECK_EQ(new_volume(&m, 4u << 20, &v), 0);
	u64 first = 0;
	for (int round = 0; round < 12; round++) {
		u64 total = 0;
		u32 n = 0;
		s64 w = 0;
		for (; w >= 0 && n < 2000; n++) {
			char name[20];
			sprintf(name, "f%u", n);
			struct seal_inode *i = make(v, name);
			if (!i)
				break;
			w = seal_write(v, i, 0, data, round % 2 ? 5000 : 100000);
			total += w > 0 ? (u64)w : 0;
			seal_iput(v, i);
			if (n % 7 == 0)
				CHECK_EQ(seal_sync(v), 0);
		}
		CHECK(n < 2000);
		CHECK_EQ(seal_sync(v), 0);
		CHECK(total > 1u << 20);
		if (round == 0)
			first = total;
		if (round == 10)
			CHECK(total > first - first / 10);
		CHECK(make(v, "one-more") == NULL || w < 0);
		for (u32 k = 0; k <= n; k++) {
			char name[20];
			sprintf(name, "f%u", k);
			int r = drop(v, name);
			CHECK(r == 0 || (r == -ENOENT && k >= n - 1));
		}
		drop(v, "one-more");
		CHECK_EQ(seal_sync(v), 0);
		CHECK_EQ(fsck_quiet(v), 0);
	}
	seal_statfs(v, &st);
	CHECK(st.bfree > 900);
	CHECK(m.size <= 4u << 20);
	CHECK_EQ(seal_unmount(v), 0);
	mem_free(&m);
}

// Overwriting in a full volume goes on working: copies are made, then the old blocks come back.
static void overwrite_when_full(void)
{
	struct mem m;
	struct seal_vol *v;
	CHECK_EQ(new_volume(&m, 4u << 20, &v), 0);
	struct seal_inode *i = make(v, "db");
	u64 size = 0;
	while (seal_write(v, i, size, data, 65536) == 65536)
		size += 65536;
	CHECK_EQ(seal_sync(v), 0);
	for (u32 k = 0; k < 300; k++) {
		u64 off = rnd() % (size / 4096) * 4096;
		s64 w = seal_write(v, i, off, data, 4096);
		CHECK(w == 4096 || w == -ENOSPC);
		CHECK_EQ(seal_fsync(v, i), 0);
	}
	CHECK_EQ(seal_truncate(v, i, 4096), 0);
	CHECK_EQ(seal_sync(v), 0);
	CHECK_EQ(seal_write(v, i, 0, data, 1 << 20), 1 << 20);
	CHECK_EQ(fsck_quiet(v), 0);
	seal_iput(v, i);
	CHECK_EQ(seal_unmount(v), 0);
	mem_free(&m);
}

static void host_disk_full(void)
{
	struct mem m;
	struct seal_vol *v;
	CHECK_EQ(new_volume(&m, 1ul << 30, &v), 0);
	struct seal_inode *a = make(v, "a"), *b = make(v, "b"), *c = make(v, "c");
	CHECK_EQ(seal_write(v, a, 0, data, 1 << 20), 1 << 20);
	CHECK_EQ(seal_write(v, b, 0, data, 1 << 20), 1 << 20);
	CHECK_EQ(seal_sync(v), 0);
	m.limit = m.size;
	u64 done = 0;
	s64 w;
	while ((w = seal_write(v, c, done, data, 65536)) > 0)
		done += (u64)w;
	CHECK_EQ(w, -ENOSPC);
	CHECK_EQ(fsck_quiet(v) < 0 ? -ENOSPC : 0, 0);
	seal_iput(v, a);
	CHECK_EQ(drop(v, "a"), 0);
	CHECK_EQ(seal_sync(v), 0);
	CHECK_EQ(seal_write(v, c, 0, data, 500000), 500000);
	CHECK_EQ(seal_sync(v), 0);
	CHECK_EQ(fsck_quiet(v), 0);
	CHECK(m.size <= m.limit);
	while ((w = seal_write(v, c, done, data, 65536)) > 0)
		done += (u64)w;
	seal_iput(v, b);
	seal_iput(v, c);
	CHECK_EQ(seal_unmount(v), 0);
	CHECK_EQ(seal_mount(&m.io, &test_env, test_key, NULL, 0, &v, NULL), 0); // on the full disk
	CHECK_EQ(drop(v, "b"), 0);
	CHECK_EQ(seal_unmount(v), 0);
	CHECK_EQ(seal_mount(&m.io, &test_env, test_key, NULL, 0, &v, NULL), 0);
	b = make(v, "b");
	c = make(v, "d");
	CHECK_EQ(fsck_quiet(v), 0);
	m.limit = 0;
	CHECK_EQ(seal_write(v, c, 0, data, 1 << 20), 1 << 20);
	seal_iput(v, b);
	seal_iput(v, c);
	CHECK_EQ(seal_unmount(v), 0);
	mem_free(&m);
}

// Holes here and there, and a host that gives no more: what is written goes into them, and the volume stays usable.
static void host_full_with_holes(void)
{
	for (u32 holes = 350; holes < 470; holes += 10) {
		struct seal_info before, after;
		struct mem m;
		struct seal_vol *v;
		CHECK_EQ(new_volume(&m, 1ul << 30, &v), 0);
		struct seal_inode *a = make(v, "a"), *b = make(v, "b");
		for (u64 at = 0; at < 16ul << 20; at += sizeof data)
			CHECK_EQ(seal_write(v, a, at, data, sizeof data), (s64)sizeof data);
		CHECK_EQ(seal_write(v, b, 0, data, holes % 64 * 4096), holes % 64 * 4096);
		CHECK_EQ(seal_sync(v), 0);
		for (u32 k = 0; k < holes; k++)
			CHECK_EQ(seal_punch(v, a, k * 6ul * 4096, 4096), 0);
		CHECK_EQ(seal_sync(v), 0);
		m.limit = m.size;
		for (u64 k = 0; k < 200; k++) // nothing of any length is left
			CHECK_EQ(seal_write(v, b, (1000 + k) * 4096, data, 4096), 4096);
		CHECK_EQ(seal_sync(v), 0);
		seal_get_info(v, &before);
		CHECK_EQ(seal_write(v, b, 1 << 20, data, 64 * 4096), 64 * 4096);
		seal_get_info(v, &after);
		CHECK_EQ(after.generation, before.generation); // they are found at once, not after places behind the end
		CHECK_EQ(seal_sync(v), 0);
		CHECK_EQ(fsck_quiet(v), 0);
		seal_iput(v, a);
		seal_iput(v, b);
		CHECK_EQ(seal_unmount(v), 0);
		CHECK(m.size <= m.limit);
		mem_free(&m);
	}
}

struct page {
	u64 n, last;
	u32 room; // entries that still fit into this call's buffer
	bool ordered;
};

static bool paging(void *ctx, const char *name, u32 len, u64 ino, u32 type, u64 cookie)
{
	struct page *p = ctx;
	(void)name, (void)len, (void)ino, (void)type;
	if (!p->room--)
		return false;
	p->ordered = p->ordered && cookie > p->last && !(cookie >> 63);
	p->last = cookie;
	p->n++;
	return true;
}

static void big_directory(void)
{
	enum { N = 30000 };
	struct mem m;
	struct seal_vol *v;
	CHECK_EQ(new_volume(&m, 1ul << 30, &v), 0);
	struct seal_inode *root = root_of(v), *i;
	for (u32 k = 0; k < N; k++) {
		char name[40];
		u32 len = (u32)sprintf(name, "entry number %u", k);
		CHECK_EQ(seal_create(v, root, name, len, 0100600, 0, 0, 0, NULL), 0);
	}
	CHECK_EQ(seal_sync(v), 0);
	struct page p = {.ordered = true};
	for (u64 before = 1; before != p.n;) {
		before = p.n;
		p.room = 100;
		CHECK_EQ(seal_readdir(v, root, p.last, paging, &p), 0);
	}
	CHECK_EQ(p.n, N);
	CHECK(p.ordered);
	for (u32 k = 0; k < N; k += 2) {
		char name[40];
		u32 len = (u32)sprintf(name, "entry number %u", k);
		CHECK_EQ(seal_unlink(v, root, name, len), 0);
	}
	CHECK_EQ(fsck_quiet(v), 0);
	for (u32 k = 0; k < N; k++) {
		char name[40];
		u32 len = (u32)sprintf(name, "entry number %u", k);
		int r = seal_lookup(v, root, name, len, &i);
		CHECK_EQ(r, k % 2 ? 0 : -ENOENT);
		if (!r)
			seal_iput(v, i);
	}
	for (u32 k = 1; k < N; k += 2) {
		char name[40];
		u32 len = (u32)sprintf(name, "entry number %u", k);
		CHECK_EQ(seal_unlink(v, root, name, len), 0);
	}
	struct seal_attr a;
	seal_getattr(v, root, &a);
	CHECK_EQ(a.size, 0);
	CHECK_EQ(a.blocks, 0);
	CHECK_EQ(fsck_quiet(v), 0);
	seal_iput(v, root);
	CHECK_EQ(seal_unmount(v), 0);
	mem_free(&m);
}

static void sparse_and_huge(void)
{
	struct mem m;
	struct seal_vol *v;
	CHECK_EQ(new_volume(&m, 1ul << 30, &v), 0);
	struct seal_inode *i = make(v, "sparse");
	u64 far = 5ul << 40;
	CHECK_EQ(seal_write(v, i, far, "end", 3), 3);
	CHECK_EQ(seal_write(v, i, 0, "start", 5), 5);
	CHECK_EQ(seal_write(v, i, 1ul << 30, data, 8192), 8192);
	struct seal_attr a;
	seal_getattr(v, i, &a);
	CHECK_EQ(a.size, far + 3);
	CHECK(a.blocks < 8 * 24);
	CHECK_EQ(seal_seek(v, i, 5000, false), 1ul << 30);
	CHECK_EQ(seal_seek(v, i, 0, true), 4096);
	CHECK_EQ(seal_seek(v, i, (1ul << 30) + 8192, true), (1ul << 30) + 8192);
	CHECK_EQ(seal_sync(v), 0);
	char b[8] = {0};
	CHECK_EQ(seal_read(v, i, far, b, 8), 3);
	CHECK(!memcmp(b, "end", 3));
	CHECK_EQ(seal_read(v, i, far / 2, b, 8), 8);
	CHECK(!b[0] && !b[7]);
	CHECK(seal_write(v, i, 1ul << 62, "x", 1) == -EFBIG);
	CHECK_EQ(seal_truncate(v, i, 6), 0);
	CHECK_EQ(seal_truncate(v, i, 1ul << 40), 0);
	CHECK_EQ(seal_read(v, i, 0, b, 8), 8);
	CHECK(!memcmp(b, "start\0\0\0", 8));
	CHECK_EQ(fsck_quiet(v), 0);
	CHECK_EQ(seal_truncate(v, i, 0), 0);
	seal_getattr(v, i, &a);
	CHECK_EQ(a.blocks, 0);
	seal_iput(v, i);
	CHECK_EQ(seal_unmount(v), 0);
	mem_free(&m);
}

// Each mount that writes starts a session; sessions whose blocks are all gone are forgotten.
static void many_mounts(void)
{
	struct mem m;
	struct seal_vol *v;
	struct seal_info info;
	CHECK_EQ(new_volume(&m, 64u << 20, &v), 0);
	CHECK_EQ(seal_unmount(v), 0);
	u64 generation = 0;
	for (u32 k = 0; k < 400; k++) {
		char name[20];
		sprintf(name, "m%u", k % 150);
		CHECK_EQ(seal_mount(&m.io, &test_env, test_key, NULL, 0, &v, NULL), 0);
		seal_get_info(v, &info);
		CHECK(info.generation > generation || !k);
		generation = info.generation;
		drop(v, name);
		struct seal_inode *i = make(v, name);
		CHECK_EQ(seal_write(v, i, 0, data, 9000), 9000);
		seal_iput(v, i);
		CHECK_EQ(seal_unmount(v), 0);
	}
	CHECK_EQ(seal_mount(&m.io, &test_env, test_key, NULL, 0, &v, NULL), 0);
	seal_get_info(v, &info);
	CHECK(info.sessions > 102 && info.sessions < 180);
	CHECK_EQ(fsck_quiet(v), 0);
	CHECK_EQ(seal_unmount(v), 0);
	u64 w = m.writes; // an unchanged volume is not written to
	CHECK_EQ(seal_mount(&m.io, &test_env, test_key, NULL, 0, &v, NULL), 0);
	CHECK_EQ(seal_unmount(v), 0);
	CHECK_EQ(m.writes, w);
	mem_free(&m);
}

static void nameless_files(void)
{
	struct mem m, crash;
	struct seal_vol *v;
	struct seal_info before, after;
	CHECK_EQ(new_volume(&m, 64u << 20, &v), 0);
	CHECK_EQ(seal_sync(v), 0);
	seal_get_info(v, &before);
	struct seal_inode *i = make(v, "gone"), *t;
	CHECK_EQ(seal_write(v, i, 0, data, 300000), 300000);
	CHECK_EQ(seal_sync(v), 0);
	CHECK_EQ(drop(v, "gone"), 0);
	CHECK_EQ(seal_tmpfile(v, 0600, 0, 0, &t), 0);
	CHECK_EQ(seal_write(v, t, 0, data, 100000), 100000);
	CHECK_EQ(seal_sync(v), 0);
	CHECK_EQ(seal_read(v, i, 0, data, 300000), 300000);
	mem_copy(&crash, &m); // both still open when the enclave dies
	struct seal_inode *root = root_of(v);
	CHECK_EQ(seal_link(v, root, "named", 5, t), 0);
	seal_iput(v, root);
	seal_iput(v, t);
	seal_iput(v, i);
	CHECK_EQ(fsck_quiet(v), 0);
	CHECK_EQ(drop(v, "named"), 0);
	CHECK_EQ(seal_sync(v), 0);
	seal_get_info(v, &after);
	CHECK_EQ(after.inodes, before.inodes);
	CHECK(after.used_blocks <= before.used_blocks + 4);
	CHECK_EQ(seal_unmount(v), 0);
	CHECK_EQ(seal_mount(&crash.io, &test_env, test_key, NULL, 0, &v, NULL), 0);
	seal_get_info(v, &after);
	CHECK_EQ(after.inodes, before.inodes);
	CHECK_EQ(fsck_quiet(v), 0);
	CHECK_EQ(seal_unmount(v), 0);
	mem_free(&m);
	mem_free(&crash);
}

static void attributes(void)
{
	struct mem m;
	struct seal_vol *v;
	char b[4096];
	CHECK_EQ(new_volume(&m, 64u << 20, &v), 0);
	struct seal_inode *i = make(v, "f");
	CHECK_EQ(seal_getxattr(v, i, "user.a", 6, b, 10), -ENODATA);
	CHECK_EQ(seal_setxattr(v, i, "user.a", 6, "one", 3, SEAL_XATTR_REPLACE), -ENODATA);
	CHECK_EQ(seal_setxattr(v, i, "user.a", 6, "one", 3, 0), 0);
	CHECK_EQ(seal_setxattr(v, i, "user.b", 6, "", 0, 0), 0);
	CHECK_EQ(seal_setxattr(v, i, "user.a", 6, "three", 5, SEAL_XATTR_CREATE), -EEXIST);
	CHECK_EQ(seal_setxattr(v, i, "user.a", 6, "three", 5, 0), 0);
	CHECK_EQ(seal_setxattr(v, i, "user.c", 6, data, 4090, 0), -ENOSPC);
	CHECK_EQ(seal_getxattr(v, i, "user.a", 6, b, 2), -ERANGE);
	CHECK_EQ(seal_getxattr(v, i, "user.a", 6, NULL, 0), 5);
	CHECK_EQ(seal_listxattr(v, i, b, sizeof b), 14);
	CHECK(!memcmp(b, "user.b\0user.a\0", 14));
	seal_iput(v, i);
	CHECK_EQ(seal_unmount(v), 0);
	CHECK_EQ(seal_mount(&m.io, &test_env, test_key, NULL, 0, &v, NULL), 0);
	struct seal_inode *root = root_of(v);
	CHECK_EQ(seal_lookup(v, root, "f", 1, &i), 0);
	CHECK_EQ(seal_getxattr(v, i, "user.a", 6, b, 10), 5);
	CHECK(!memcmp(b, "three", 5));
	CHECK_EQ(seal_getxattr(v, i, "user.b", 6, b, 10), 0);
	CHECK_EQ(seal_removexattr(v, i, "user.a", 6), 0);
	CHECK_EQ(seal_removexattr(v, i, "user.a", 6), -ENODATA);
	CHECK_EQ(fsck_quiet(v), 0);
	seal_iput(v, i);
	CHECK_EQ(drop(v, "f"), 0);
	CHECK_EQ(fsck_quiet(v), 0);
	seal_iput(v, root);
	CHECK_EQ(seal_unmount(v), 0);
	mem_free(&m);
}

static void read_only_mount(void)
{
	struct mem m;
	struct seal_vol *v;
	CHECK_EQ(new_volume(&m, 64u << 20, &v), 0);
	struct seal_inode *i = make(v, "f"), *n, *root;
	CHECK_EQ(seal_write(v, i, 0, "abc", 3), 3);
	seal_iput(v, i);
	CHECK_EQ(seal_unmount(v), 0);
	u64 w = m.writes;
	CHECK_EQ(seal_mount(&m.io, &test_env, test_key, NULL, SEAL_RDONLY, &v, NULL), 0);
	root = root_of(v);
	CHECK_EQ(seal_lookup(v, root, "f", 1, &i), 0);
	CHECK_EQ(seal_write(v, i, 0, "x", 1), -EROFS);
	CHECK_EQ(seal_truncate(v, i, 0), -EROFS);
	CHECK_EQ(seal_unlink(v, root, "f", 1), -EROFS);
	CHECK_EQ(seal_create(v, root, "g", 1, 0100600, 0, 0, 0, &n), -EROFS);
	CHECK_EQ(seal_sync(v), 0);
	seal_iput(v, i);
	seal_iput(v, root);
	CHECK_EQ(seal_unmount(v), 0);
	CHECK_EQ(m.writes, w);
	mem_free(&m);
}

// What one small fsync costs the host: one flush and few bytes.
static void cheap_fsync(void)
{
	struct mem m;
	struct seal_vol *v;
	CHECK_EQ(new_volume(&m, 1ul << 30, &v), 0);
	struct seal_inode *i = make(v, "db");
	for (u32 k = 0; k < 64; k++)
		CHECK_EQ(seal_write(v, i, (u64)k << 20, data, 1 << 20), 1 << 20);
	CHECK_EQ(seal_fsync(v, i), 0);
	u64 w = m.writes, b = m.bytes_written, f = m.flushes;
	for (u32 k = 0; k < 100; k++) {
		CHECK_EQ(seal_write(v, i, rnd() % 16384 * 4096, data, 4096), 4096);
		CHECK_EQ(seal_fsync(v, i), 0);
	}
	printf("# a 4 KiB write and fsync: %lu writes, %lu KiB, %lu flushes\n", (m.writes - w) / 100,
	       (m.bytes_written - b) / 102400, (m.flushes - f) / 100);
	CHECK_EQ(m.flushes - f, 100);
	CHECK(m.bytes_written - b < 100 * 40960);
	seal_iput(v, i);
	CHECK_EQ(seal_unmount(v), 0);
	mem_free(&m);
}

// A directory that was removed, or renamed over, while it was open is no finding, neither now nor after a crash.
static void removed_directories_that_are_open(void)
{
	struct mem m, crashed;
	struct seal_vol *v, *c;
	struct seal_inode *root, *d1, *moved, *over, *gone;
	CHECK_EQ(new_volume(&m, 8u << 20, &v), 0);
	root = root_of(v);
	CHECK_EQ(seal_create(v, root, "d1", 2, 0040755, 0, 0, 0, &d1), 0);
	CHECK_EQ(seal_create(v, d1, "moved", 5, 0040755, 0, 0, 0, &moved), 0);
	CHECK_EQ(seal_create(v, root, "over", 4, 0040755, 0, 0, 0, &over), 0);
	CHECK_EQ(seal_create(v, root, "gone", 4, 0040755, 0, 0, 0, &gone), 0);
	CHECK_EQ(seal_rename(v, d1, "moved", 5, root, "over", 4, 0), 0);
	CHECK_EQ(seal_rmdir(v, root, "gone", 4), 0);
	CHECK_EQ(seal_sync(v), 0);
	CHECK_EQ(fsck_quiet(v), 0);
	mem_copy(&crashed, &m);
	CHECK_EQ(seal_mount(&crashed.io, &test_env, test_key, NULL, SEAL_RDONLY, &c, NULL), 0);
	CHECK_EQ(fsck_quiet(c), 0);
	CHECK_EQ(seal_unmount(c), 0);
	seal_iput(v, gone);
	seal_iput(v, over);
	seal_iput(v, moved);
	seal_iput(v, d1);
	seal_iput(v, root);
	CHECK_EQ(fsck_quiet(v), 0);
	CHECK_EQ(seal_unmount(v), 0);
	mem_free(&crashed);
	mem_free(&m);
}

static u64 told_bytes, told_most;
static bool told_of_file = true; // and of whole blocks

static void told(void *ctx, u64 off, u64 len)
{
	const struct mem *m = ctx;
	told_bytes += len;
	told_most = SEAL_MAX(told_most, len);
	told_of_file = told_of_file && len && !(off % SEAL_BLOCK) && !(len % SEAL_BLOCK) && off + len <= m->size;
}

// What is overwritten in runs, so that the file grows, asks for a commit; and then takes the room of what it replaced.
static void overwritten_in_runs(void)
{
	struct mem m;
	struct seal_vol *v;
	struct seal_inode *i;
	CHECK_EQ(new_volume(&m, 1u << 30, &v), 0);
	CHECK_EQ(v->due_blocks, 512 * 256);
	v->due_blocks = 256 * 256;
	v->io.write_out = told;
	i = make(v, "file");
	for (u64 mib = 0; mib < 272; mib++)
		CHECK_EQ(seal_write(v, i, mib << 20, data, 1 << 20), 1 << 20);
	CHECK(!seal_sync_due(v)); // nothing of that was committed before
	CHECK_EQ(seal_sync(v), 0);
	u64 end = m.size;
	for (u64 mib = 0; mib < 256; mib++) {
		CHECK(!seal_sync_due(v));
		CHECK_EQ(seal_write(v, i, mib << 20, data, 1 << 20), 1 << 20);
	}
	CHECK(seal_sync_due(v));
	CHECK(!told_bytes || m.size > 512u << 20); // a small volume's disk has time
	CHECK_EQ(seal_sync(v), 0);
	CHECK(!seal_sync_due(v));
	u64 grown = m.size;
	CHECK(grown > end + (250u << 20)); // the old blocks stayed until then
	for (u64 mib = 0; mib < 180; mib++)
		CHECK_EQ(seal_write(v, i, mib << 20, data, 1 << 20), 1 << 20);
	CHECK(!seal_sync_due(v));
	CHECK_EQ(seal_sync(v), 0);
	CHECK(m.size < grown + (2u << 20));
	told_bytes = 0;
	for (u64 mib = 0; mib < 1800; mib++) { // the file stays as it is while there is room for what comes next
		CHECK_EQ(seal_write(v, i, mib % 256 << 20, data, 1 << 20), 1 << 20);
		if (seal_sync_due(v))
			CHECK_EQ(seal_sync(v), 0);
	}
	CHECK(m.size < grown + (64u << 20));
	CHECK(told_bytes > 1500ul << 20 && told_bytes < 1800ul << 20 && told_most >= 4u << 20 && told_of_file);
	seal_iput(v, i);
	CHECK_EQ(seal_unmount(v), 0);
	mem_free(&m);
}

int main(void)
{
	RUN(overwritten_in_runs);
	RUN(removed_directories_that_are_open);
	RUN(full_volume);
	RUN(overwrite_when_full);
	RUN(host_disk_full);
	RUN(host_full_with_holes);
	RUN(big_directory);
	RUN(sparse_and_huge);
	RUN(many_mounts);
	RUN(nameless_files);
	RUN(attributes);
	RUN(read_only_mount);
	RUN(cheap_fsync);
	return test_end();
}

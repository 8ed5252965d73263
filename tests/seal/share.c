// SPDX-License-Identifier: Apache-2.0
// Snapshots, clones, keys and sizes: what each costs, what is refused, and what survives.
#include "tests/seal/mem.h"

static u8 data[1 << 20];

static struct seal_inode *make(struct seal_vol *v, const char *name)
{
	struct seal_inode *root = root_of(v), *i = NULL;
	seal_create(v, root, name, (u32)strlen(name), 0100600, 0, 0, 0, &i);
	seal_iput(v, root);
	return i;
}

static struct seal_inode *find(struct seal_vol *v, struct seal_inode *dir, const char *name)
{
	struct seal_inode *i = NULL;
	seal_lookup(v, dir, name, (u32)strlen(name), &i);
	return i;
}

static u64 used(struct seal_vol *v)
{
	struct seal_info info;
	seal_get_info(v, &info);
	return info.used_blocks;
}

static void fill(struct seal_vol *v, struct seal_inode *i, u64 bytes, u32 salt)
{
	for (u64 off = 0; off < bytes; off += sizeof data) {
		for (u64 k = 0; k < sizeof data; k += 8)
			memcpy(data + k, &(u64){(off + k) * 0x9e3779b97f4a7c15ul + salt}, 8);
		seal_write(v, i, off, data, bytes - off < sizeof data ? bytes - off : sizeof data);
	}
}

static bool holds(struct seal_vol *v, struct seal_inode *i, u64 bytes, u32 salt)
{
	for (u64 off = 0, w; off < bytes; off += sizeof data) {
		u64 n = bytes - off < sizeof data ? bytes - off : sizeof data;
		if (seal_read(v, i, off, data, n) != (s64)n)
			return false;
		for (u64 k = 0; k + 8 <= n; k += 8) {
			memcpy(&w, data + k, 8);
			if (w != (off + k) * 0x9e3779b97f4a7c15ul + salt)
				return false;
		}
	}
	return true;
}

static int all_work(struct seal_vol *v, u64 piece)
{
	int r;
	while ((r = seal_work(v, piece, NULL)) > 0)
		;
	return r;
}

static bool collect(void *ctx, const struct seal_snapshot *s)
{
	char *names = ctx;
	strcat(names, s->name);
	strcat(names, ",");
	return true;
}

static bool count(void *ctx, const char *name, u32 len, u64 ino, u32 type, u64 cookie)
{
	(void)name, (void)len, (void)ino, (void)type, (void)cookie;
	++*(u32 *)ctx;
	return true;
}

static void snapshots(void)
{
	struct mem m;
	struct seal_vol *v, *s;
	u64 unique;
	u32 n = 0;
	char names[100] = "";
	CHECK_EQ(new_volume(&m, 256u << 20, &v), 0);
	struct seal_inode *i = make(v, "big"), *root = root_of(v), *dir, *top, *j;
	fill(v, i, 32 << 20, 1);
	CHECK_EQ(seal_sync(v), 0);
	u64 before = used(v);
	CHECK_EQ(seal_snapshot_create(v, "one", 3), 0);
	CHECK(used(v) - before <= 4); // 32 MiB for next to nothing
	CHECK_EQ(seal_snapshot_create(v, "one", 3), -EEXIST);
	CHECK_EQ(seal_snapshot_create(v, "a/b", 3), -EINVAL);
	CHECK_EQ(seal_snapshot_create(v, "..", 2), -EINVAL);
	CHECK_EQ(seal_snapshot_usage(v, "one", 3, &unique), 0);
	CHECK_EQ(unique, 0);
	before = used(v);
	fill(v, i, 1 << 20, 2); // the first 256 blocks
	CHECK_EQ(seal_sync(v), 0);
	CHECK(used(v) - before >= 256 && used(v) - before < 280);
	CHECK_EQ(seal_snapshot_usage(v, "one", 3, &unique), 0);
	CHECK(unique >= 256 && unique < 270);
	CHECK_EQ(seal_snapshot_create(v, "two", 3), 0);
	CHECK_EQ(seal_snapshot_list(v, collect, names), 0);
	CHECK(!strcmp(names, "one,two,"));
	CHECK_EQ(fsck_quiet(v), 0);
	// the directory of snapshots: hidden, read-only, and its inodes are others
	CHECK_EQ(seal_readdir(v, root, 0, count, &n), 0);
	CHECK_EQ(n, 1);
	dir = find(v, root, SEAL_SNAPDIR);
	CHECK(dir != NULL);
	CHECK_EQ(seal_readdir(v, dir, 0, count, &n), 0);
	CHECK_EQ(n, 3);
	top = find(v, dir, "one");
	j = find(v, top, "big");
	CHECK(holds(v, j, 32 << 20, 1));
	struct seal_attr a, b;
	seal_getattr(v, i, &a);
	seal_getattr(v, j, &b);
	CHECK(a.ino != b.ino && !a.snapshot && b.snapshot);
	CHECK_EQ(seal_write(v, j, 0, "x", 1), -EROFS);
	CHECK_EQ(seal_truncate(v, j, 0), -EROFS);
	CHECK_EQ(seal_unlink(v, top, "big", 3), -EROFS);
	CHECK_EQ(seal_create(v, dir, "x", 1, 0100600, 0, 0, 0, NULL), -EROFS);
	CHECK_EQ(seal_create(v, root, SEAL_SNAPDIR, 10, 0040700, 0, 0, 0, NULL), -EEXIST);
	CHECK_EQ(seal_rmdir(v, root, SEAL_SNAPDIR, 10), -EPERM);
	CHECK_EQ(seal_rename(v, root, "big", 3, root, SEAL_SNAPDIR, 10, 0), -EPERM);
	CHECK_EQ(seal_rename(v, top, "big", 3, root, "y", 1, 0), -EROFS);
	CHECK_EQ(seal_link(v, root, "l", 1, j), -EXDEV);
	// a file comes back from a snapshot at no cost
	struct seal_inode *back = make(v, "back");
	before = used(v);
	CHECK_EQ(seal_clone(v, j, 0, back, 0, 0), 0);
	CHECK_EQ(seal_sync(v), 0);
	CHECK(used(v) - before < 16);
	CHECK(holds(v, back, 32 << 20, 1));
	CHECK(seal_same(v, back, j) && !seal_same(v, i, j));
	seal_iput(v, back);
	// going back needs that nobody holds anything
	CHECK_EQ(seal_snapshot_rollback(v, "one", 3), -EBUSY);
	// a deleted one is gone at once, also for those who have it open
	CHECK_EQ(seal_snapshot_delete(v, "one", 3), 0);
	CHECK_EQ(seal_read(v, j, 0, data, 10), -ESTALE);
	CHECK(find(v, dir, "one") == NULL);
	CHECK(find(v, top, "big") == NULL);
	CHECK_EQ(seal_snapshot_usage(v, "one", 3, &unique), -ENOENT);
	seal_iput(v, j);
	seal_iput(v, top);
	seal_iput(v, dir);
	seal_iput(v, i);
	seal_iput(v, root);
	CHECK_EQ(all_work(v, 64), 0);
	CHECK_EQ(fsck_quiet(v), 0);
	CHECK_EQ(seal_snapshot_rollback(v, "two", 3), 0);
	root = root_of(v);
	CHECK(find(v, root, "back") == NULL);
	i = find(v, root, "big");
	CHECK(holds(v, i, 1 << 20, 2));
	seal_iput(v, i);
	seal_iput(v, root);
	CHECK_EQ(all_work(v, 64), 0);
	CHECK_EQ(fsck_quiet(v), 0);
	CHECK_EQ(seal_unmount(v), 0);
	CHECK_EQ(seal_mount_snapshot(&m.io, &test_env, test_key, NULL, "one", 3, NULL, &s, NULL), -ENOENT);
	CHECK_EQ(seal_mount_snapshot(&m.io, &test_env, test_key, NULL, "two", 3, NULL, &s, NULL), 0);
	root = root_of(s);
	i = find(s, root, "big");
	CHECK(holds(s, i, 1 << 20, 2));
	CHECK_EQ(seal_write(s, i, 0, "x", 1), -EROFS);
	seal_iput(s, i);
	seal_iput(s, root);
	CHECK_EQ(seal_unmount(s), 0);
	mem_free(&m);
}

// A volume full of what snapshots hold: deleting files gains nothing, but works; deleting a snapshot gains.
static void full_of_snapshots(void)
{
	struct mem m;
	struct seal_vol *v;
	CHECK_EQ(new_volume(&m, 16u << 20, &v), 0);
	struct seal_inode *root = root_of(v), *i;
	s64 w = 0;
	for (u32 round = 0; round < 40 && w >= 0; round++) {
		char name[20];
		u32 len = (u32)sprintf(name, "f%u", round % 7);
		if (seal_lookup(v, root, name, len, &i) && seal_create(v, root, name, len, 0100600, 0, 0, 0, &i))
			break;
		w = seal_write(v, i, 0, data, 700000);
		seal_iput(v, i);
		len = (u32)sprintf(name, "s%u", round);
		seal_snapshot_create(v, name, len);
	}
	CHECK_EQ(fsck_quiet(v), 0);
	for (u32 k = 0; k < 7; k++) {
		char name[20];
		u32 len = (u32)sprintf(name, "f%u", k);
		CHECK_EQ(seal_unlink(v, root, name, len), 0);
		CHECK_EQ(seal_sync(v), 0);
	}
	u64 before = used(v);
	for (u32 k = 0; k < 40; k++) {
		char name[20];
		u32 len = (u32)sprintf(name, "s%u", k);
		int r = seal_snapshot_delete(v, name, len);
		CHECK(r == 0 || (r == -ENOENT && k > 10));
		CHECK_EQ(all_work(v, 100), 0);
	}
	printf("# full of snapshots: %lu blocks, %lu without\n", before, used(v));
	CHECK(before > 2500 && used(v) < 100);
	CHECK_EQ(fsck_quiet(v), 0);
	seal_iput(v, root);
	CHECK_EQ(seal_unmount(v), 0);
	mem_free(&m);
}

static void clones(void)
{
	struct mem m;
	struct seal_vol *v;
	CHECK_EQ(new_volume(&m, 256u << 20, &v), 0);
	struct seal_inode *a = make(v, "a"), *b = make(v, "b"), *root = root_of(v);
	fill(v, a, 16 << 20, 3);
	CHECK_EQ(seal_write(v, a, 5000, "changed", 7), 7); // in memory only
	CHECK_EQ(seal_read(v, a, 0, data, 8192), 8192);
	u8 *want = malloc(8192);
	memcpy(want, data, 8192);
	CHECK_EQ(seal_sync(v), 0);
	CHECK_EQ(seal_write(v, a, 5000, "changed", 7), 7); // once more
	u64 before = used(v);
	CHECK_EQ(seal_clone(v, a, 0, b, 0, 0), 0);
	CHECK_EQ(seal_sync(v), 0);
	CHECK(used(v) - before < 16);
	CHECK_EQ(seal_read(v, b, 0, data, 8192), 8192);
	CHECK(!memcmp(want, data, 8192));
	free(want);
	CHECK_EQ(seal_write(v, b, 4096, "b", 1), 1);
	CHECK_EQ(seal_read(v, a, 4096, data, 1), 1);
	CHECK(data[0] != 'b');
	CHECK_EQ(seal_clone(v, a, 1, b, 0, 4096), -EINVAL);
	CHECK_EQ(seal_clone(v, a, 0, b, 0, 100), -EINVAL);
	CHECK_EQ(seal_clone(v, a, 0, a, 4096, 8192), -EINVAL);
	CHECK_EQ(seal_clone(v, a, 0, a, 1 << 20, 8192), 0);
	CHECK_EQ(seal_clone(v, a, 17 << 20, b, 0, 4096), -EINVAL);
	CHECK_EQ(seal_clone(v, root, 0, b, 0, 0), -EISDIR);
	CHECK_EQ(seal_dedupe(v, a, 0, a, 1 << 20, 8192), 1);
	CHECK_EQ(seal_dedupe(v, a, 0, b, 1 << 20, 8192), 0);
	struct seal_attr at;
	seal_getattr(v, b, &at);
	CHECK(at.blocks >= 8 * 4096 && at.blocks < 8 * 4200);
	CHECK_EQ(seal_unlink(v, root, "a", 1), 0);
	seal_iput(v, a);
	CHECK_EQ(fsck_quiet(v), 0);
	CHECK_EQ(seal_truncate(v, b, 3 << 20), 0);
	CHECK_EQ(fsck_quiet(v), 0);
	CHECK_EQ(seal_unlink(v, root, "b", 1), 0);
	seal_iput(v, b);
	seal_iput(v, root);
	CHECK_EQ(seal_sync(v), 0);
	CHECK(used(v) < before - 4000);
	CHECK_EQ(fsck_quiet(v), 0);
	CHECK_EQ(seal_unmount(v), 0);
	mem_free(&m);
}

static bool opens(struct mem *m, const u8 *key)
{
	struct seal_vol *v;
	if (seal_mount(&m->io, &test_env, key, NULL, SEAL_RDONLY, &v, NULL))
		return false;
	seal_unmount(v);
	return true;
}

// After each write of a change of keys, torn or not, the old key or the new one opens the volume.
static void rekey_is_crash_safe(void)
{
	struct mem m, c;
	struct seal_vol *v;
	u8 next[SEAL_KEY_BYTES] = "the key that comes after it....";
	CHECK_EQ(new_volume(&m, 64u << 20, &v), 0);
	struct seal_inode *i = make(v, "f");
	fill(v, i, 100000, 7);
	seal_iput(v, i);
	CHECK_EQ(seal_sync(v), 0);
	mem_copy(&c, &m);
	m.record = true;
	u64 w = m.bytes_written;
	CHECK_EQ(seal_rekey_begin(v, test_key, next), 0);
	u32 both = m.nops;
	CHECK_EQ(seal_rekey_finish(v, next), 0);
	CHECK(m.bytes_written - w < 100000); // nothing but roots and what belongs to a commit
	u32 old = 0, new = 0;
	for (u32 k = 0; k < m.nops; k++) {
		for (u32 torn = 0; torn < 3 && m.ops[k].n; torn++) {
			struct mem t;
			mem_copy(&t, &c);
			mem_apply(&t, &(struct mem_op){m.ops[k].off, m.ops[k].n * torn / 2, m.ops[k].data});
			bool o = opens(&t, test_key), n = opens(&t, next);
			CHECK(k < both ? o : n);
			old += o;
			new += n;
			mem_free(&t);
		}
		mem_apply(&c, &m.ops[k]);
	}
	CHECK(old && new);
	CHECK(!opens(&m, test_key) && opens(&m, next)); // nothing in the file is for the old key any more
	mem_free(&c);
	CHECK_EQ(seal_rekey(v, test_key, next), SEAL_EKEY);
	CHECK_EQ(seal_unmount(v), 0);
	mem_free(&m);
}

// Every block is written anew, shared ones once; also when it is interrupted again and again.
static u32 keys_shown(struct mem *m, const u8 *key)
{
	struct seal_info info = {0};
	struct seal_vol *v;
	if (seal_mount(&m->io, &test_env, key, NULL, SEAL_RDONLY, &v, NULL))
		return 0;
	seal_get_info(v, &info);
	seal_unmount(v);
	return info.keys;
}

// Cut anywhere while the old key is taken away: as long as it still opens a root that is known, and who writes next ends it.
static void what_is_left_of_a_key(const u8 *next, bool again)
{
	struct mem m, c;
	struct seal_vol *v;
	u32 seen = 0;
	CHECK_EQ(new_volume(&m, 64u << 20, &v), 0);
	CHECK_EQ(seal_rekey_begin(v, test_key, next), 0);
	mem_copy(&c, &m);
	m.record = true;
	CHECK_EQ(again ? seal_reencrypt(v, next, next) : seal_rekey_finish(v, next), 0);
	for (u32 k = 0; k < m.nops; k++) {
		struct mem t;
		mem_copy(&t, &c);
		bool old = opens(&t, test_key);
		CHECK_EQ(keys_shown(&t, next), old ? 2 : 1);
		struct seal_vol *w;
		CHECK_EQ(seal_mount(&t.io, &test_env, next, NULL, 0, &w, NULL), 0);
		CHECK_EQ(seal_unmount(w), 0);
		u32 left = keys_shown(&t, next);
		CHECK_EQ(left, opens(&t, test_key) ? 2 : 1);
		seen += old && left == 1;
		mem_free(&t);
		mem_apply(&c, &m.ops[k]);
	}
	CHECK(seen);
	CHECK_EQ(keys_shown(&c, next), 1);
	CHECK(!opens(&c, test_key));
	CHECK_EQ(seal_unmount(v), 0);
	mem_free(&c);
	mem_free(&m);
}

static void a_cut_change_of_keys_is_shown(void)
{
	u8 next[SEAL_KEY_BYTES] = "the key that comes after it....";
	what_is_left_of_a_key(next, false);
	what_is_left_of_a_key(next, true);
}

static void full_reencryption(void)
{
	struct mem m;
	struct seal_vol *v;
	struct seal_info info;
	u8 next[SEAL_KEY_BYTES] = "one for the second secret......";
	CHECK_EQ(new_volume(&m, 256u << 20, &v), 0);
	struct seal_inode *i = make(v, "f"), *j = make(v, "g"), *root;
	fill(v, i, 24 << 20, 7);
	CHECK_EQ(seal_setxattr(v, i, "user.x", 6, "y", 1, 0), 0);
	CHECK_EQ(seal_snapshot_create(v, "s", 1), 0);
	CHECK_EQ(seal_clone(v, i, 0, j, 0, 0), 0);
	fill(v, j, 1 << 20, 8);
	CHECK_EQ(seal_snapshot_create(v, "t", 1), 0);
	fill(v, i, 4096, 9);
	seal_iput(v, i);
	CHECK_EQ(seal_sync(v), 0);
	u64 before = used(v);
	CHECK_EQ(seal_reencrypt(v, test_key, next), 0);
	CHECK_EQ(seal_reencrypt(v, next, next), -EBUSY);
	CHECK(!opens(&m, test_key) && opens(&m, next));
	int r = 1;
	for (u32 k = 0; r > 0; k++) {
		r = seal_work(v, 1, NULL);
		if (r < 0 || k > 1000)
			printf("# piece %u: %d (%s)\n", k, r, test_log);
		CHECK(r >= 0 && k < 1000);
		if (k == 2) {
			seal_iput(v, j);
			CHECK_EQ(seal_unmount(v), 0);
			CHECK_EQ(seal_mount(&m.io, &test_env, next, NULL, 0, &v, NULL), 0);
			root = root_of(v);
			j = find(v, root, "g");
			seal_iput(v, root);
			seal_get_info(v, &info);
			CHECK(info.reencrypting);
		}
		CHECK_EQ(seal_write(v, j, 30000, "in use", 6), 6); // meanwhile
	}
	seal_get_info(v, &info);
	CHECK(!info.reencrypting);
	CHECK_EQ(fsck_quiet(v), 0);
	printf("# re-encryption: %lu blocks in use, before %lu\n", used(v), before);
	CHECK(used(v) < before + before / 20); // still shared
	CHECK_EQ(seal_snapshot_rollback(v, "s", 1), -EBUSY);
	seal_iput(v, j);
	CHECK_EQ(seal_snapshot_rollback(v, "s", 1), 0);
	root = root_of(v);
	i = find(v, root, "f");
	CHECK(holds(v, i, 24 << 20, 7));
	seal_iput(v, i);
	seal_iput(v, root);
	CHECK_EQ(all_work(v, 1000), 0);
	CHECK_EQ(fsck_quiet(v), 0);
	CHECK_EQ(seal_unmount(v), 0);
	mem_free(&m);
}

static void grow_and_shrink(void)
{
	struct mem m;
	struct seal_vol *v;
	struct seal_info info;
	struct seal_statfs st;
	CHECK_EQ(new_volume(&m, 64u << 20, &v), 0);
	struct seal_inode *i = make(v, "first"), *j = make(v, "second"), *root = root_of(v);
	fill(v, i, 20 << 20, 1);
	fill(v, j, 20 << 20, 2);
	CHECK_EQ(seal_snapshot_create(v, "s", 1), 0);
	seal_iput(v, i);
	CHECK_EQ(seal_unlink(v, root, "first", 5), 0); // the snapshot keeps it
	CHECK_EQ(seal_resize(v, 4096), -EINVAL);
	CHECK_EQ(seal_resize(v, 30 << 20), -ENOSPC);
	CHECK_EQ(seal_resize(v, 512ul << 20), 0);
	seal_statfs(v, &st);
	CHECK_EQ(st.blocks, (512u << 8) - 32);
	CHECK_EQ(seal_snapshot_delete(v, "s", 1), 0);
	CHECK_EQ(all_work(v, 500), 0);
	CHECK_EQ(seal_resize(v, 30 << 20), 0);
	seal_get_info(v, &info);
	CHECK(info.shrinking);
	CHECK_EQ(all_work(v, 500), 0);
	seal_get_info(v, &info);
	CHECK(!info.shrinking && info.size_blocks == 30u << 8);
	CHECK(m.size <= 30u << 20);
	CHECK(holds(v, j, 20 << 20, 2));
	CHECK_EQ(fsck_quiet(v), 0);
	s64 w;
	u64 off = 20 << 20;
	while ((w = seal_write(v, j, off, data, 65536)) > 0)
		off += (u64)w;
	CHECK_EQ(w, -ENOSPC);
	CHECK(off > 25u << 20);
	CHECK_EQ(seal_resize(v, 64 << 20), 0);
	CHECK_EQ(seal_write(v, j, off, data, 65536), 65536);
	seal_iput(v, j);
	seal_iput(v, root);
	CHECK_EQ(seal_unmount(v), 0);
	CHECK_EQ(seal_mount(&m.io, &test_env, test_key, NULL, 0, &v, NULL), 0);
	CHECK_EQ(fsck_quiet(v), 0);
	CHECK_EQ(seal_unmount(v), 0);
	mem_free(&m);
}

static void discard(void)
{
	struct mem m;
	struct seal_vol *v;
	u64 n;
	CHECK_EQ(new_volume(&m, 64u << 20, &v), 0);
	struct seal_inode *i = make(v, "f");
	fill(v, i, 20 << 20, 1);
	CHECK_EQ(seal_sync(v), 0);
	CHECK_EQ(seal_truncate(v, i, 1 << 20), 0);
	CHECK_EQ(seal_trim(v, 0, ~0ul >> 1, 0, &n), 0);
	CHECK(n < 4 << 20); // nothing that the last root still needs
	CHECK_EQ(seal_sync(v), 0);
	CHECK_EQ(m.punched, n);
	CHECK_EQ(seal_trim(v, 0, ~0ul >> 1, 65536, &n), 0);
	CHECK(n > 18 << 20 && n < 24 << 20);
	CHECK(holds(v, i, 1 << 20, 1));
	CHECK_EQ(fsck_quiet(v), 0);
	seal_iput(v, i);
	CHECK_EQ(seal_unmount(v), 0);
	u64 before = m.punched;
	CHECK_EQ(seal_mount(&m.io, &test_env, test_key, NULL, SEAL_DISCARD, &v, NULL), 0);
	struct seal_inode *root = root_of(v);
	CHECK_EQ(seal_unlink(v, root, "f", 1), 0);
	CHECK_EQ(seal_sync(v), 0);
	CHECK(m.punched - before > 1000000);
	seal_iput(v, root);
	CHECK_EQ(fsck_quiet(v), 0);
	CHECK_EQ(seal_unmount(v), 0);
	m.io.punch = NULL;
	CHECK_EQ(seal_mount(&m.io, &test_env, test_key, NULL, SEAL_DISCARD, &v, NULL), 0);
	CHECK_EQ(seal_trim(v, 0, 1 << 20, 0, &n), -EOPNOTSUPP);
	CHECK_EQ(seal_unmount(v), 0);
	mem_free(&m);
}

// What fallocate has set aside is there when everything else is full, and for this file only.
static void set_aside(void)
{
	struct mem m;
	struct seal_vol *v;
	struct seal_attr a;
	CHECK_EQ(new_volume(&m, 16u << 20, &v), 0);
	struct seal_inode *i = make(v, "db"), *j = make(v, "other");
	CHECK_EQ(seal_fallocate(v, i, 0, 0, 4 << 20), 0);
	seal_getattr(v, i, &a);
	CHECK(a.size == 4 << 20 && a.blocks >= (4 << 20) / 512);
	CHECK_EQ(seal_seek(v, i, 0, false), -ENXIO); // no data yet
	CHECK_EQ(seal_fallocate(v, i, SEAL_FALLOC_KEEP_SIZE, 4 << 20, 1 << 20), 0);
	CHECK_EQ(seal_fallocate(v, j, 0, 0, 1 << 30), -ENOSPC);
	seal_getattr(v, j, &a);
	CHECK(a.size == 0 && a.blocks == 0);
	s64 w;
	u64 off = 0;
	while ((w = seal_write(v, j, off, data, 65536)) > 0)
		off += (u64)w;
	CHECK_EQ(seal_sync(v), 0);
	CHECK_EQ(fsck_quiet(v), 0);
	CHECK_EQ(seal_write_needs(v, i, 0, 5 << 20), 0);
	CHECK_EQ(seal_write_needs(v, i, 5 << 20, 8192), 2);
	for (u64 at = 0; at < 5 << 20; at += 65536)
		CHECK_EQ(seal_write(v, i, at, data, 65536), 65536);
	CHECK_EQ(seal_sync(v), 0);
	for (u64 at = 0; at < 5 << 20; at += 4096 * 37) // and again, over what is there
		CHECK_EQ(seal_write(v, i, at, data, 5000), 5000);
	CHECK_EQ(seal_sync(v), 0);
	CHECK_EQ(seal_write(v, i, 6 << 20, data, 65536), -ENOSPC);
	CHECK_EQ(fsck_quiet(v), 0);
	seal_iput(v, i);
	seal_iput(v, j);
	CHECK_EQ(seal_unmount(v), 0);
	mem_free(&m);
}

struct damages {
	struct seal_damage d[20];
	u32 n;
};

static void note(void *ctx, const struct seal_damage *d)
{
	struct damages *l = ctx;
	if (l->n < 20)
		l->d[l->n++] = *d;
}

// Damage is found while the volume is in use, told once, and with the name of the file.
static void scrubbing(void)
{
	struct mem m;
	struct seal_vol *v;
	struct seal_scrub *s;
	struct seal_scrub_stats st;
	static struct damages l;
	char path[64];
	CHECK_EQ(new_volume(&m, 64u << 20, &v), 0);
	struct seal_inode *root = root_of(v), *d, *i;
	CHECK_EQ(seal_create(v, root, "dir", 3, 0040755, 0, 0, 0, &d), 0);
	CHECK_EQ(seal_create(v, d, "file", 4, 0100600, 0, 0, 0, &i), 0);
	fill(v, i, 10 << 20, 5);
	CHECK_EQ(seal_snapshot_create(v, "s", 1), 0);
	struct seal_attr a;
	seal_getattr(v, i, &a);
	CHECK_EQ(seal_path(v, a.ino, path, sizeof path), 0);
	CHECK(!strcmp(path, "/dir/file"));
	CHECK_EQ(seal_path(v, SEAL_ROOT_INO, path, sizeof path), 0);
	CHECK(!strcmp(path, "/"));
	CHECK_EQ(seal_path(v, 999, path, sizeof path), -ENOENT);
	for (u32 round = 0; round < 2; round++) {
		l.n = 0;
		u32 pieces = 0;
		int r;
		CHECK_EQ(seal_scrub_begin(v, &s), 0);
		while ((r = seal_scrub_step(s, 100, note, &l, &st)) > 0) {
			CHECK_EQ(seal_write(v, i, 8 << 20, data, 100), 100); // meanwhile
			pieces++;
		}
		CHECK_EQ(r, 0);
		seal_scrub_end(s);
		CHECK(st.blocks_done >= 2560 && st.blocks_done <= st.blocks_total + 100);
		CHECK_EQ(st.damaged, l.n);
		if (!round) {
			CHECK_EQ(l.n, 0);
			m.data[1000 * 4096 + 17] ^= 1; // contents: nothing else fills that much
			continue;
		}
		CHECK_EQ(l.n, 1);
		CHECK(l.d[0].block == 1000 && l.d[0].ino == a.ino && !strcmp(l.d[0].path, "/dir/file"));
		CHECK_EQ(l.d[0].length, 4096);
		CHECK_EQ(seal_read(v, i, l.d[0].offset, data, 4096), SEAL_ETAMPER);
	}
	seal_iput(v, i);
	seal_iput(v, d);
	seal_iput(v, root);
	seal_unmount(v);
	mem_free(&m);
}

int main(void)
{
	RUN(snapshots);
	RUN(full_of_snapshots);
	RUN(clones);
	RUN(rekey_is_crash_safe);
	RUN(a_cut_change_of_keys_is_shown);
	RUN(full_reencryption);
	RUN(grow_and_shrink);
	RUN(discard);
	RUN(set_aside);
	RUN(scrubbing);
	return test_end();
}

// SPDX-License-Identifier: Apache-2.0
// Random operations on a volume and on a plain model of a Linux file system; results and contents must agree, also
// after syncs, remounts, and with the smallest cache.
#include "tests/seal/mem.h"

#define NAMES	 40 // names in a directory
#define DIRS	 6  // fixed directories: 0 is the root
#define FILES	 200
#define MAX_SIZE (700u << 10)

struct mfile {
	bool used;
	u32 type, links, mode;
	u64 size;
	u8 *data; // MAX_SIZE
};
struct mname {
	int file; // index + 1; 0: none
};
static struct mfile files[FILES];
static struct mname names[DIRS][NAMES];
static struct seal_inode *dirs[DIRS];
static struct seal_vol *vol;
static struct mem store;

// A snapshot as the model knows it: names, sizes, and hashes of contents.
#define SNAPS 5
struct msnap {
	bool used;
	struct mname names[DIRS][NAMES];
	struct mfile files[FILES];
	u64 hash[FILES];
};
static struct msnap snaps[SNAPS];
static u8 key[SEAL_KEY_BYTES];

static u64 hash_of(const u8 *p, u64 n)
{
	u64 h = n, w;
	for (; n >= 8; p += 8, n -= 8) {
		memcpy(&w, p, 8);
		h = (h ^ w) * 0x9e3779b97f4a7c15ul;
		h ^= h >> 31;
	}
	for (; n; p++, n--)
		h = (h ^ *p) * 0x9e3779b97f4a7c15ul;
	return h;
}

static u32 name_of(u32 k, char *buf)
{
	return (u32)sprintf(
		buf, k % 7 == 0 ? "a-rather-long-name-so-that-splits-happen-in-the-middle-of-things-%u" : "n%u", k);
}

static int file_new(void)
{
	for (int k = 0; k < FILES; k++)
		if (!files[k].used) {
			u8 *data = files[k].data ? files[k].data : malloc(MAX_SIZE);
			files[k] = (struct mfile){.used = true, .links = 1, .data = data};
			memset(data, 0, MAX_SIZE);
			return k;
		}
	return -1;
}

static void file_unref(int k)
{
	if (!--files[k].links)
		files[k].used = false;
}

static int open_name(u32 d, u32 n, struct seal_inode **out)
{
	char buf[100];
	u32 len = name_of(n, buf);
	return seal_lookup(vol, dirs[d], buf, len, out);
}

static void op_create(u32 d, u32 n)
{
	char buf[100];
	u32 len = name_of(n, buf);
	struct seal_inode *i = NULL;
	int r = seal_create(vol, dirs[d], buf, len, 0100644, 5, 6, 0, &i);
	if (names[d][n].file) {
		CHECK_EQ(r, -EEXIST);
		return;
	}
	CHECK_EQ(r, 0);
	int f = file_new();
	if (f < 0) {
		CHECK_EQ(seal_unlink(vol, dirs[d], buf, len), 0);
	} else {
		files[f].type = 0100000;
		files[f].mode = 0644;
		names[d][n].file = f + 1;
	}
	seal_iput(vol, i);
}

static void op_write(u32 d, u32 n)
{
	struct seal_inode *i;
	if (!names[d][n].file)
		return;
	struct mfile *f = &files[names[d][n].file - 1];
	CHECK_EQ(open_name(d, n, &i), 0);
	u32 kind = (u32)(rnd() % 4);
	u64 off = kind == 0		   ? rnd() % 400
		  : kind == 1		   ? rnd() % 60000
		  : f->size < MAX_SIZE / 2 ? f->size
					   : rnd() % (MAX_SIZE / 2);
	u64 len = kind == 0 ? rnd() % 200 : kind == 1 ? rnd() % 20000 : rnd() % (MAX_SIZE / 3);
	if (rnd() % 3 == 0)
		off &= ~4095ul;
	u8 *buf = malloc(len + 1);
	for (u64 k = 0; k < len; k++)
		buf[k] = (u8)(rnd() >> 3);
	CHECK_EQ(seal_write(vol, i, off, buf, len), len);
	memcpy(f->data + off, buf, len);
	if (len && off + len > f->size)
		f->size = off + len;
	free(buf);
	seal_iput(vol, i);
}

static void op_pages(u32 d, u32 n)
{
	struct seal_inode *i;
	if (!names[d][n].file)
		return;
	struct mfile *f = &files[names[d][n].file - 1];
	CHECK_EQ(open_name(d, n, &i), 0);
	u64 index[40], at = rnd() % 100;
	u32 want = (u32)(1 + rnd() % 40), count = 0;
	bool gaps = rnd() % 2;
	for (; count < want && at < MAX_SIZE / 4096; at += 1 + (gaps && rnd() % 3 ? rnd() % 30 : 0))
		index[count++] = at;
	const void *pages[40];
	u64 end = (index[count - 1] + 1) * 4096, size = rnd() % 2 ? end : end - rnd() % 4096;
	if (f->size > size)
		size = f->size;
	for (u32 k = 0; k < count; k++) {
		u8 *p = f->data + index[k] * 4096;
		for (u32 j = 0; j < 4096; j += 64)
			if (index[k] * 4096 + j < size)
				p[j] = (u8)rnd();
		pages[k] = p;
	}
	CHECK_EQ(seal_write_pages(vol, i, index, count, pages, size), 0);
	f->size = size;
	seal_iput(vol, i);
}

static void op_truncate(u32 d, u32 n, bool punch)
{
	struct seal_inode *i;
	if (!names[d][n].file)
		return;
	struct mfile *f = &files[names[d][n].file - 1];
	CHECK_EQ(open_name(d, n, &i), 0);
	if (punch) {
		u64 off = rnd() % (f->size + 1), len = rnd() % 100000;
		CHECK_EQ(seal_punch(vol, i, off, len), 0);
		if (off + len > f->size)
			len = f->size - off;
		memset(f->data + off, 0, len);
	} else {
		u64 size = rnd() % 3 == 0 ? rnd() % 500 : rnd() % 5 == 0 ? 0 : rnd() % MAX_SIZE;
		CHECK_EQ(seal_truncate(vol, i, size), 0);
		if (size < f->size)
			memset(f->data + size, 0, f->size - size);
		f->size = size;
	}
	seal_iput(vol, i);
}

static void op_fallocate(u32 d, u32 n)
{
	static const int modes[] = {0, SEAL_FALLOC_KEEP_SIZE, SEAL_FALLOC_ZERO_RANGE, SEAL_FALLOC_ZERO_RANGE | SEAL_FALLOC_KEEP_SIZE};
	struct seal_inode *i;
	if (!names[d][n].file)
		return;
	struct mfile *f = &files[names[d][n].file - 1];
	CHECK_EQ(open_name(d, n, &i), 0);
	u64 off = rnd() % (MAX_SIZE - 200000), len = 1 + rnd() % 150000, end = off + len;
	int mode = modes[rnd() % 4];
	CHECK_EQ(seal_fallocate(vol, i, mode, off, len), 0);
	if (mode & SEAL_FALLOC_ZERO_RANGE && off < f->size)
		memset(f->data + off, 0, (end < f->size ? end : f->size) - off);
	if (!(mode & SEAL_FALLOC_KEEP_SIZE) && end > f->size)
		f->size = end;
	seal_iput(vol, i);
}

static void op_clone(u32 d, u32 n, u32 d2, u32 n2)
{
	struct seal_inode *s, *t;
	if (!names[d][n].file || !names[d2][n2].file)
		return;
	struct mfile *f = &files[names[d][n].file - 1], *g = &files[names[d2][n2].file - 1];
	CHECK_EQ(open_name(d, n, &s), 0);
	CHECK_EQ(open_name(d2, n2, &t), 0);
	u64 so = rnd() % 2 ? 0 : rnd() % (f->size + 1) & ~4095ul, to = rnd() % 2 ? so : rnd() % (g->size + 1) & ~4095ul;
	u64 len = rnd() % 2 ? f->size - so : rnd() % (f->size - so + 1) & ~4095ul, n_ = len ? len : f->size - so;
	bool ragged = n_ % 4096 && (so + n_ != f->size || to + n_ < g->size);
	bool overlap = f == g && so < to + n_ && to < so + n_;
	int r = to + n_ > MAX_SIZE ? 1 : seal_clone(vol, s, so, t, to, len);
	if (r != 1)
		CHECK_EQ(r, ragged || overlap ? -EINVAL : 0);
	if (!r && n_) {
		memmove(g->data + to, f->data + so, n_);
		if (to + n_ > g->size)
			g->size = to + n_;
	}
	if (!r && rnd() % 2)
		CHECK_EQ(seal_dedupe(vol, s, so, t, to, n_), n_ ? 1 : 0);
	seal_iput(vol, s);
	seal_iput(vol, t);
}

static u32 snap_name(u32 k, char *buf) { return (u32)sprintf(buf, "snap %u", k); }

static void op_snapshot(u32 k)
{
	char buf[20];
	u32 len = snap_name(k, buf);
	if (snaps[k].used) {
		CHECK_EQ(seal_snapshot_create(vol, buf, len), -EEXIST);
		CHECK_EQ(seal_snapshot_delete(vol, buf, len), 0);
		snaps[k].used = false;
		return;
	}
	CHECK_EQ(seal_snapshot_create(vol, buf, len), 0);
	snaps[k].used = true;
	memcpy(snaps[k].names, names, sizeof names);
	memcpy(snaps[k].files, files, sizeof files);
	for (u32 f = 0; f < FILES; f++)
		if (files[f].used)
			snaps[k].hash[f] = hash_of(files[f].data, files[f].size);
}

// Everything in the snapshot is as it was; with `restore`, its contents become the model's.
static void verify_snapshot(u32 k, bool restore)
{
	static u8 data[MAX_SIZE];
	struct seal_inode *root = root_of(vol), *all, *top, *dir, *i;
	char buf[100];
	u32 len = snap_name(k, buf);
	CHECK_EQ(seal_lookup(vol, root, SEAL_SNAPDIR, sizeof SEAL_SNAPDIR - 1, &all), 0);
	CHECK_EQ(seal_lookup(vol, all, buf, len, &top), snaps[k].used ? 0 : -ENOENT);
	for (u32 d = 0; d < DIRS && snaps[k].used; d++) {
		len = (u32)sprintf(buf, "dir%u", d);
		CHECK_EQ(d ? seal_lookup(vol, top, buf, len, &dir) : 0, 0);
		for (u32 n = 0; n < NAMES; n++) {
			len = name_of(n, buf);
			int r = seal_lookup(vol, d ? dir : top, buf, len, &i), f = snaps[k].names[d][n].file - 1;
			CHECK_EQ(r, f < 0 ? -ENOENT : 0);
			if (r)
				continue;
			CHECK_EQ(seal_read(vol, i, 0, data, sizeof data), snaps[k].files[f].size);
			CHECK(hash_of(data, snaps[k].files[f].size) == snaps[k].hash[f]);
			CHECK_EQ(seal_write(vol, i, 0, "x", 1), -EROFS);
			if (restore) {
				memset(files[f].data, 0, MAX_SIZE);
				memcpy(files[f].data, data, snaps[k].files[f].size);
			}
			seal_iput(vol, i);
		}
		if (d)
			seal_iput(vol, dir);
	}
	if (snaps[k].used)
		seal_iput(vol, top);
	seal_iput(vol, all);
	seal_iput(vol, root);
}

// Nobody holds an inode.
static void rollback(u32 k)
{
	char buf[20];
	u32 len = snap_name(k, buf);
	verify_snapshot(k, true);
	for (u32 f = 0; f < FILES; f++) {
		u8 *data = files[f].data ? files[f].data : snaps[k].files[f].data;
		files[f] = snaps[k].files[f];
		files[f].data = data;
	}
	memcpy(names, snaps[k].names, sizeof names);
	CHECK_EQ(seal_snapshot_rollback(vol, buf, len), 0);
}

static void new_key(void)
{
	u8 next[SEAL_KEY_BYTES];
	struct seal_info info;
	for (u32 k = 0; k < sizeof next; k++)
		next[k] = (u8)rnd();
	CHECK_EQ(seal_rekey_begin(vol, next, key), SEAL_EKEY);
	CHECK_EQ(seal_rekey_begin(vol, key, next), 0);
	seal_get_info(vol, &info);
	CHECK_EQ(info.keys, 2);
	if (rnd() % 4) {
		CHECK_EQ(seal_rekey_finish(vol, next), 0);
		memcpy(key, next, sizeof key);
	} else
		CHECK_EQ(seal_rekey_finish(vol, key), 0); // thought better of it
}

static bool work(u32 steps)
{
	int r = 1;
	while (steps-- && r > 0)
		r = seal_work(vol, 64 + rnd() % 1000, NULL);
	if (r < 0)
		printf("# seal_work: %d\n", r);
	return r >= 0;
}

static void reencrypt(void)
{
	struct seal_info info;
	u8 next[SEAL_KEY_BYTES];
	seal_get_info(vol, &info);
	for (u32 k = 0; k < sizeof next; k++)
		next[k] = (u8)rnd();
	CHECK_EQ(seal_reencrypt(vol, next, key), info.reencrypting ? -EBUSY : SEAL_EKEY);
	if (info.reencrypting)
		return;
	CHECK_EQ(seal_reencrypt(vol, key, next), 0);
	memcpy(key, next, sizeof key);
}

static void resize(void)
{
	struct seal_info info;
	seal_get_info(vol, &info);
	u64 blocks = info.used_blocks + info.reserved_blocks + 256 + rnd() % 6000, all = rnd() % 4;
	int r = seal_resize(vol, blocks * 4096);
	CHECK(r == 0 || r == -ENOSPC);
	CHECK(work(all ? ~0u : 2));
	seal_get_info(vol, &info);
	if (!r && all) {
		CHECK_EQ(info.size_blocks, blocks);
		CHECK(store.size <= blocks * 4096);
		CHECK_EQ(fsck_quiet(vol), 0);
	}
	CHECK_EQ(seal_resize(vol, 1ul << 30), 0);
}

static void op_unlink(u32 d, u32 n)
{
	char buf[100];
	u32 len = name_of(n, buf);
	int r = seal_unlink(vol, dirs[d], buf, len);
	CHECK_EQ(r, names[d][n].file ? 0 : -ENOENT);
	if (!r) {
		file_unref(names[d][n].file - 1);
		names[d][n].file = 0;
	}
}

static void op_link(u32 d, u32 n, u32 d2, u32 n2)
{
	char buf[100];
	struct seal_inode *i;
	if (!names[d][n].file)
		return;
	CHECK_EQ(open_name(d, n, &i), 0);
	u32 len = name_of(n2, buf);
	int r = seal_link(vol, dirs[d2], buf, len, i);
	CHECK_EQ(r, names[d2][n2].file ? -EEXIST : 0);
	if (!r) {
		names[d2][n2].file = names[d][n].file;
		files[names[d][n].file - 1].links++;
	}
	seal_iput(vol, i);
}

static void op_rename(u32 d, u32 n, u32 d2, u32 n2)
{
	char a[100], b[100];
	u32 la = name_of(n, a), lb = name_of(n2, b), flags = (u32)(rnd() % 6);
	if (flags > 2)
		flags = 0;
	int s = names[d][n].file, t = names[d2][n2].file;
	int r = seal_rename(vol, dirs[d], a, la, dirs[d2], b, lb, flags);
	int want = !s ? -ENOENT : flags == 1 && t ? -EEXIST : flags == 2 && !t ? -ENOENT : 0;
	CHECK_EQ(r, want);
	if (r || (s == t && flags != 1))
		return;
	if (flags == 2) {
		names[d][n].file = t;
		names[d2][n2].file = s;
		return;
	}
	if (t)
		file_unref(t - 1);
	names[d2][n2].file = s;
	names[d][n].file = 0;
}

static void verify_file(struct seal_inode *i, struct mfile *f)
{
	static u8 buf[MAX_SIZE + 4096];
	struct seal_attr a;
	seal_getattr(vol, i, &a);
	CHECK_EQ(a.size, f->size);
	CHECK_EQ(a.nlink, f->links);
	CHECK_EQ(seal_read(vol, i, 0, buf, sizeof buf), f->size);
	CHECK(!memcmp(buf, f->data, f->size));
	if (f->size) {
		u64 off = rnd() % f->size, n = rnd() % 9000;
		s64 want = (s64)(off + n > f->size ? f->size - off : n);
		CHECK_EQ(seal_read(vol, i, off, buf, n), want);
		CHECK(!memcmp(buf, f->data + off, (size_t)want));
	}
	void *pages[3] = {buf, buf + 4096, buf + 8192};
	u64 first = rnd() % (f->size / 4096 + 1);
	CHECK_EQ(seal_read_pages(vol, i, first, 3, pages), 0);
	for (u64 k = 0; k < 3 * 4096; k++)
		CHECK(buf[k] == (first * 4096 + k < f->size ? f->data[first * 4096 + k] : 0));
}

static bool count_entry(void *ctx, const char *name, u32 len, u64 ino, u32 type, u64 cookie)
{
	(void)name, (void)len, (void)ino, (void)type, (void)cookie;
	++*(u32 *)ctx;
	return true;
}

static void verify_all(void)
{
	for (u32 d = 0; d < DIRS; d++) {
		u32 want = d ? 0 : DIRS - 1, got = 0;
		for (u32 n = 0; n < NAMES; n++) {
			struct seal_inode *i;
			int r = open_name(d, n, &i);
			CHECK_EQ(r, names[d][n].file ? 0 : -ENOENT);
			if (r)
				continue;
			want++;
			verify_file(i, &files[names[d][n].file - 1]);
			seal_iput(vol, i);
		}
		CHECK_EQ(seal_readdir(vol, dirs[d], 0, count_entry, &got), 0);
		CHECK_EQ(got, want);
	}
}

static void dirs_open(bool create)
{
	dirs[0] = root_of(vol);
	for (u32 d = 1; d < DIRS; d++) {
		char b[20];
		u32 len = (u32)sprintf(b, "dir%u", d);
		if (create)
			CHECK_EQ(seal_create(vol, dirs[0], b, len, 0040755, 0, 0, 0, &dirs[d]), 0);
		else
			CHECK_EQ(seal_lookup(vol, dirs[0], b, len, &dirs[d]), 0);
	}
}

static void dirs_close(void)
{
	for (u32 d = 0; d < DIRS; d++)
		seal_iput(vol, dirs[d]);
}

static void run(u64 seed, u32 steps, size_t cache)
{
	struct seal_env env = test_env;
	env.cache_bytes = cache;
	rnd_seed(seed);
	for (int k = 0; k < FILES; k++)
		files[k].used = false;
	memset(names, 0, sizeof names);
	for (u32 k = 0; k < SNAPS; k++)
		snaps[k].used = false;
	memcpy(key, test_key, sizeof key);
	mem_init(&store);
	CHECK_EQ(seal_format(&store.io, &env, key, NULL, 1ul << 30), 0);
	CHECK_EQ(seal_mount(&store.io, &env, key, NULL, rnd() % 2 ? SEAL_DISCARD : 0, &vol, NULL), 0);
	dirs_open(true);
	for (u32 s = 0; s < steps && !test_failures; s++) {
		u32 d = (u32)(rnd() % DIRS), n = (u32)(rnd() % NAMES), d2 = (u32)(rnd() % DIRS),
		    n2 = (u32)(rnd() % NAMES);
		switch (rnd() % 17) {
		case 0:
		case 1:
		case 2: op_create(d, n); break;
		case 3:
		case 4:
		case 5: op_write(d, n); break;
		case 6: op_pages(d, n); break;
		case 7: op_truncate(d, n, false); break;
		case 8: op_truncate(d, n, true); break;
		case 9: op_unlink(d, n); break;
		case 10: op_link(d, n, d2, n2); break;
		case 11: op_rename(d, n, d2, n2); break;
		case 12:
			if (rnd() % 4 == 0)
				CHECK_EQ(seal_sync(vol), 0);
			break;
		case 13:
			if (rnd() % 12)
				break;
			dirs_close();
			CHECK_EQ(seal_unmount(vol), 0);
			CHECK_EQ(seal_mount(&store.io, &env, key, NULL, rnd() % 2 ? SEAL_DISCARD : 0, &vol, NULL), 0);
			d = (u32)(rnd() % SNAPS);
			if (snaps[d].used && rnd() % 3 == 0)
				rollback(d);
			if (rnd() % 3 == 0)
				new_key();
			dirs_open(false);
			if (rnd() % 3 == 0)
				CHECK_EQ(fsck_quiet(vol), 0);
			break;
		case 14: op_clone(d, n, d2, n2); break;
		case 15: op_fallocate(d, n); break;
		case 16:
			if (rnd() % 12 == 0)
				op_snapshot((u32)(rnd() % SNAPS));
			if (rnd() % 40 == 0)
				reencrypt();
			if (rnd() % 20 == 0)
				resize();
			if (rnd() % 4 == 0)
				CHECK(work(1));
			break;
		}
		if (s % 300 == 299) {
			verify_all();
			verify_snapshot((u32)(rnd() % SNAPS), false);
		}
	}
	for (u32 k = 0; k < SNAPS; k++)
		verify_snapshot(k, false);
	verify_all();
	CHECK_EQ(fsck_quiet(vol), 0);
	for (u32 k = 0; k < SNAPS; k++)
		if (snaps[k].used)
			op_snapshot(k);
	CHECK_EQ(seal_resize(vol, 1ul << 30), 0);
	CHECK(work(~0u));
	verify_all();
	CHECK_EQ(fsck_quiet(vol), 0);
	dirs_close();
	CHECK_EQ(seal_unmount(vol), 0);
	CHECK_EQ(test_allocs_left, 0);
	mem_free(&store);
}

static void random_operations(void) { run(1, 3000, 4u << 20); }
static void random_operations_small_cache(void) { run(2, 3000, 0x40000); }
static void random_operations_more(void)
{
	for (u64 s = 3; s < 12 && !test_failures; s++)
		run(s, 1000, s << 18);
}

//	seal-model [-n SEEDS]	more of them (make soak-storage)
static u64 more;
static void random_operations_many(void)
{
	for (u64 s = 0; s < more && !test_failures; s++) {
		run(100 + s, 2000, (1 + s % 16) << 18);
		if (s % 10 == 9) {
			printf("ok seal model: %lu of %lu seeds\n", s + 1, more);
			fflush(stdout);
		}
	}
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "-n"))
		more = strtoul(argv[2], NULL, 0);
	RUN(random_operations);
	RUN(random_operations_small_cache);
	RUN(random_operations_more);
	if (more)
		RUN(random_operations_many);
	for (int k = 0; k < FILES; k++)
		free(files[k].data);
	return test_failures != 0;
}

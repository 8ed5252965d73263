// SPDX-License-Identifier: Apache-2.0
// Very many names: made in one directory, looked up, listed, held, deleted, with counts of what that costs: memory stays within what
// the volume's cache may have, however many inodes are dirty, and an operation touches no more blocks than the tree is high.
//
//	seal-many [-n NAMES]
#include "seal/vol.h"
#include "tests/seal/mem.h"

#define CACHE (8u << 20)
#define HELD  20000u

static struct mem mem;
static u64 names = 60000, live, peak;
static struct seal_inode *held[HELD];

static void *counted_alloc(void *ctx, size_t n)
{
	void *p = test_env.alloc(ctx, n);
	live += p ? n : 0;
	peak = SEAL_MAX(peak, live);
	return p;
}

static void counted_free(void *ctx, void *p, size_t n)
{
	live -= n;
	test_env.free(ctx, p, n);
}

static struct seal_vol *open_volume(void)
{
	struct seal_vol *v = NULL;
	struct seal_env env = test_env;
	env.alloc = counted_alloc;
	env.free = counted_free;
	env.cache_bytes = CACHE;
	live = peak = 0;
	return seal_mount(&mem.io, &env, test_key, NULL, 0, &v, NULL) ? NULL : v;
}

// What the cache may have, the inodes decoded from it, the table of what was freed since the last commit, and one transfer's buffer.
static u64 allowed(void) { return CACHE + CACHE / 2 + mem.size / 32768 * 2 + (1u << 20); }

static u32 name_of(u64 k, char *buf) { return (u32)sprintf(buf, "entry number %lu", k); }

static struct seal_inode *dir_of(struct seal_vol *v)
{
	struct seal_inode *root = root_of(v), *d = NULL;
	if (seal_lookup(v, root, "many", 4, &d))
		seal_create(v, root, "many", 4, 0040755, 0, 0, 0, &d);
	seal_iput(v, root);
	return d;
}

struct listing {
	struct seal_vol *v;
	struct seal_inode *dir;
	u64 count, sum, last;
	u32 n;
	char name[64][40];
};

static bool emit(void *ctx, const char *name, u32 len, u64 ino, u32 type, u64 cookie)
{
	struct listing *l = ctx;
	(void)ino, (void)type;
	if (l->n == 64 || len >= 40)
		return false;
	memcpy(l->name[l->n], name, len);
	l->name[l->n][len] = 0;
	l->sum += strtoul(l->name[l->n++] + strlen("entry number "), NULL, 10);
	l->last = cookie;
	l->count++;
	return true;
}

// All of it, 64 names at a time; each piece's names are deleted before the next one is read.
static int list(struct listing *l, bool delete)
{
	int r;
	do {
		l->n = 0;
		r = seal_readdir(l->v, l->dir, l->last, emit, l);
		for (u32 k = 0; delete && !r && k < l->n; k++)
			r = seal_unlink(l->v, l->dir, l->name[k], (u32)strlen(l->name[k]));
	} while (!r && l->n);
	return r;
}

static void create(void)
{
	struct seal_inode *i;
	char name[40];
	CHECK_EQ((mem_init(&mem), seal_format(&mem.io, &test_env, test_key, NULL, 8ul << 30)), 0);
	struct seal_vol *v = open_volume();
	CHECK(v);
	struct seal_inode *d = dir_of(v);
	for (u64 k = 0; k < names; k++) {
		CHECK_EQ(seal_create(v, d, name, name_of(k, name), 0100644, 0, 0, 0, k % 8 ? NULL : &i), 0);
		if (k % 8)
			continue;
		CHECK_EQ(seal_write(v, i, 0, name, 20), 20);
		seal_iput(v, i);
	}
	CHECK_EQ(seal_create(v, d, name, name_of(names / 2, name), 0100644, 0, 0, 0, NULL), -EEXIST);
	printf("# %lu names: %u levels, %u blocks; %lu KiB at most (%lu allowed), %lu reads, %lu writes\n", names, d->dir_height, d->dir_blocks,
	       peak / 1024, allowed() / 1024, mem.reads, mem.writes);
	CHECK(peak <= allowed());
	CHECK(d->dir_height <= (names <= 10000 ? 2u : 3u));
	seal_iput(v, d);
	CHECK_EQ(seal_unmount(v), 0);
}

static void look_up(void)
{
	struct seal_vol *v = open_volume();
	struct seal_inode *d = dir_of(v), *i;
	char name[40];
	CHECK(v && d);
	u64 reads = mem.reads, at = 1, tries = SEAL_MIN(names, 100000ul);
	for (u64 k = 0; k < tries; k++, at = at * 2654435761u + 12345) {
		struct seal_attr a;
		CHECK_EQ(seal_lookup(v, d, name, name_of(at % names, name), &i), 0);
		seal_getattr(v, i, &a);
		CHECK(a.nlink == 1 && a.size == (at % names % 8 ? 0 : 20));
		seal_iput(v, i);
		CHECK_EQ(seal_lookup(v, d, name, (u32)sprintf(name, "no entry %lu", k), &i), -ENOENT);
	}
	reads = mem.reads - reads;
	printf("# %lu found and as many missed: %lu reads, %lu KiB at most\n", tries, reads, peak / 1024);
	CHECK(reads <= tries * (2 * d->dir_height + 4)); // the entry, the miss, the way to the inode
	CHECK(peak <= allowed());
	struct listing l = {.v = v, .dir = d};
	CHECK_EQ(list(&l, false), 0);
	CHECK_EQ(l.count, names);
	CHECK_EQ(l.sum, names * (names - 1) / 2);
	seal_iput(v, d);
	CHECK_EQ(seal_unmount(v), 0);
}

// Programs hold many: what the cache is allowed goes on top of that, and finding one stays a matter of a few steps.
static void hold(void)
{
	struct seal_vol *v = open_volume();
	struct seal_inode *d = dir_of(v), *i;
	char name[40];
	CHECK(v && d);
	u32 n = (u32)SEAL_MIN(names, (u64)HELD);
	for (u32 k = 0; k < n; k++)
		CHECK_EQ(seal_lookup(v, d, name, name_of(k, name), &held[k]), 0);
	CHECK(peak <= allowed() + n * sizeof *i);
	CHECK(v->nihash >= n / 2);
	for (u32 k = 0; k < n; k++) {
		CHECK_EQ(seal_lookup(v, d, name, name_of(k, name), &i), 0);
		CHECK(i == held[k]);
		seal_iput(v, i);
	}
	for (u32 k = 0; k < n; k++)
		seal_iput(v, held[k]);
	CHECK(v->ninodes >= n); // they go when others come
	for (u64 k = 0; k < 2; k++) {
		CHECK_EQ(seal_lookup(v, d, name, name_of(names - 1 - k, name), &i), 0);
		seal_iput(v, i);
	}
	CHECK(v->ninodes <= v->max_nodes / 4 + 66);
	seal_iput(v, d);
	CHECK_EQ(seal_unmount(v), 0);
}

static void delete(void)
{
	struct seal_vol *v = open_volume();
	struct seal_inode *d = dir_of(v);
	char name[40];
	CHECK(v && d);
	for (u64 k = 0; k < names; k += 2)
		CHECK_EQ(seal_unlink(v, d, name, name_of(k, name)), 0);
	CHECK_EQ(seal_sync(v), 0);
	CHECK_EQ(fsck_quiet(v), 0);
	peak = live; // the check has a table of its own
	struct listing l = {.v = v, .dir = d};
	CHECK_EQ(list(&l, true), 0);
	CHECK_EQ(l.count, names / 2);
	CHECK_EQ(d->dir_count, 0);
	CHECK(peak <= allowed());
	struct seal_inode *root = root_of(v);
	seal_iput(v, d);
	CHECK_EQ(seal_rmdir(v, root, "many", 4), 0);
	seal_iput(v, root);
	CHECK_EQ(seal_sync(v), 0);
	struct seal_info info;
	seal_get_info(v, &info);
	CHECK(info.inodes <= 2 && info.used_blocks < 200 + names / 8 + names / 400); // what is left is the table of inodes
	CHECK_EQ(fsck_quiet(v), 0);
	CHECK_EQ(seal_unmount(v), 0);
	mem_free(&mem);
}

// A large file, in whole pages and in pieces that end within pages, and many files that are open and written at the same time.
static void large_writes(void)
{
	static u8 data[1 << 20];
	CHECK_EQ((mem_init(&mem), seal_format(&mem.io, &test_env, test_key, NULL, 1ul << 30)), 0);
	struct seal_vol *v = open_volume();
	CHECK(v);
	struct seal_inode *d = dir_of(v);
	char name[40];
	for (u32 k = 0; k < 400; k++)
		CHECK_EQ(seal_create(v, d, name, name_of(k, name), 0100644, 0, 0, 0, &held[k]), 0);
	for (u64 at = 0; at < 96ul << 20; at += sizeof data)
		CHECK_EQ(seal_write(v, held[0], at, data, sizeof data), (s64)sizeof data);
	for (u64 at = 0; at < 32ul << 20; at += 60000)
		CHECK_EQ(seal_write(v, held[1], at, data, 60000), 60000);
	for (u32 k = 2; k < 12000; k++)
		CHECK_EQ(seal_write(v, held[2 + k % 398], k / 398 * 5000ul, data, 5000), 5000);
	printf("# large writes: %lu KiB at most (%lu allowed)\n", peak / 1024, allowed() / 1024);
	CHECK(peak <= allowed());
	for (u32 k = 0; k < 400; k++)
		seal_iput(v, held[k]);
	seal_iput(v, d);
	CHECK_EQ(seal_sync(v), 0);
	CHECK_EQ(fsck_quiet(v), 0);
	CHECK_EQ(seal_unmount(v), 0);
	mem_free(&mem);
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "-n"))
		names = strtoul(argv[2], NULL, 0);
	RUN(create);
	RUN(look_up);
	RUN(hold);
	RUN(delete);
	RUN(large_writes);
	return test_end();
}

// SPDX-License-Identifier: Apache-2.0
// Large batches of contents that two threads encrypt and write together: what is read back, every state that a crash in the middle can
// leave, and errors of the host while both are at it.
#include "tests/seal/mem.h"
#include <pthread.h>

#define PAGES 1200u // of the file; more than four batches
#define BATCH 600u

static struct mem mem;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int (*plain_write)(void *ctx, u64 off, const void *buf, size_t len);
static u32 shared, helped;
static pthread_t mine;
static u8 was[PAGES][4096], is[PAGES][4096], got[PAGES][4096];

struct both {
	void (*fn)(void *);
	void *arg;
};
static void *second(void *b)
{
	((struct both *)b)->fn(((struct both *)b)->arg);
	return NULL;
}

static void share(void *ctx, void (*fn)(void *), void *arg)
{
	pthread_t t;
	struct both b = {fn, arg};
	bool two = !pthread_create(&t, NULL, second, &b);
	(void)ctx;
	shared++;
	fn(arg);
	if (two)
		pthread_join(t, NULL);
}

static int write_locked(void *ctx, u64 off, const void *buf, size_t len)
{
	pthread_mutex_lock(&lock);
	helped += !pthread_equal(pthread_self(), mine);
	int r = plain_write(ctx, off, buf, len);
	pthread_mutex_unlock(&lock);
	return r;
}

static struct seal_vol *open_volume(struct mem *m)
{
	struct seal_vol *v = NULL;
	struct seal_env env = test_env;
	env.cache_bytes = 16u << 20;
	env.share = share;
	plain_write = m->io.write;
	struct seal_io io = m->io;
	io.write = write_locked;
	mine = pthread_self();
	return seal_mount(&io, &env, test_key, NULL, 0, &v, NULL) ? NULL : v;
}

static struct seal_inode *file_of(struct seal_vol *v)
{
	struct seal_inode *root = root_of(v), *i = NULL;
	if (seal_lookup(v, root, "file", 4, &i))
		seal_create(v, root, "file", 4, 0100600, 0, 0, 0, &i);
	seal_iput(v, root);
	return i;
}

// Changes some pages, in order, with gaps, and stores them at once.
static int change(struct seal_vol *v, struct seal_inode *i, bool gaps)
{
	const void *pages[BATCH];
	u64 index[BATCH], at = gaps ? rnd() % 9 : 0;
	u32 n = 0;
	for (; n < BATCH && at < PAGES; at += gaps ? 1 + rnd() % 3 : 1) {
		for (u32 k = 0; k < 4096; k += 512)
			is[at][k] = (u8)rnd();
		pages[n] = is[at];
		index[n++] = at;
	}
	return seal_write_pages(v, i, index, n, pages, (index[n - 1] + 1) * 4096);
}

static bool reads(struct seal_vol *v, struct seal_inode *i, u8 (*what)[4096], u64 pages)
{
	for (u64 at = 0; at < pages; at += 64) {
		void *out[64];
		u32 n = (u32)SEAL_MIN(64ul, pages - at);
		for (u32 k = 0; k < n; k++)
			out[k] = got[at + k];
		if (seal_read_pages(v, i, at, n, out))
			return false;
	}
	return !memcmp(got, what, pages * 4096);
}

static void large_batches(void)
{
	CHECK_EQ((mem_init(&mem), seal_format(&mem.io, &test_env, test_key, NULL, 32ul << 20)), 0);
	struct seal_vol *v = open_volume(&mem);
	CHECK(v);
	struct seal_inode *i = file_of(v);
	for (u32 k = 0; k < 12; k++) {
		CHECK_EQ(change(v, i, k & 1), 0);
		if (k % 3 == 2)
			CHECK_EQ(seal_sync(v), 0);
		struct seal_attr a;
		seal_getattr(v, i, &a);
		CHECK(reads(v, i, is, a.size / 4096));
	}
	CHECK(shared >= 12);
	CHECK_EQ(fsck_quiet(v), 0);
	seal_iput(v, i);
	CHECK_EQ(seal_unmount(v), 0);
	CHECK((v = open_volume(&mem)));
	i = file_of(v);
	struct seal_attr a;
	seal_getattr(v, i, &a);
	CHECK(reads(v, i, is, a.size / 4096));
	seal_iput(v, i);
	CHECK_EQ(seal_unmount(v), 0);
	mem_free(&mem);
	printf("# the other thread wrote %u pieces\n", helped);
}

// The first `ops` of what was recorded reached the disk, and of the rest of that epoch every other write.
static void crashed_after(const struct mem *base, u32 ops, bool more, u64 pages)
{
	struct mem m;
	struct seal_vol *v;
	mem_copy(&m, base);
	for (u32 k = 0; k < ops; k++)
		mem_apply(&m, &mem.ops[k]);
	for (u32 k = ops; more && k < mem.nops && mem.ops[k].n; k++)
		if (k & 1)
			mem_apply(&m, &mem.ops[k]);
	CHECK((v = open_volume(&m)));
	struct seal_inode *i = file_of(v);
	CHECK(reads(v, i, was, pages) || reads(v, i, is, pages));
	CHECK_EQ(fsck_quiet(v), 0);
	seal_iput(v, i);
	CHECK_EQ(seal_unmount(v), 0);
	mem_free(&m);
}

static void crash_in_the_middle(void)
{
	struct mem base;
	CHECK_EQ((mem_init(&mem), seal_format(&mem.io, &test_env, test_key, NULL, 32ul << 20)), 0);
	struct seal_vol *v = open_volume(&mem);
	CHECK(v);
	struct seal_inode *i = file_of(v);
	CHECK_EQ(change(v, i, false), 0);
	CHECK_EQ(seal_sync(v), 0);
	memcpy(was, is, sizeof was);
	mem_copy(&base, &mem);
	mem.record = true;
	CHECK_EQ(change(v, i, false), 0);
	CHECK_EQ(seal_sync(v), 0);
	mem.record = false;
	CHECK(mem.nops > 30);
	for (u32 k = 0; k <= mem.nops; k++) {
		crashed_after(&base, k, false, BATCH);
		crashed_after(&base, k, true, BATCH);
	}
	seal_iput(v, i);
	CHECK_EQ(seal_unmount(v), 0);
	mem_free(&base);
	mem_free(&mem);
}

static void host_errors(void)
{
	for (int fail = 0; fail < 60; fail += 3) {
		CHECK_EQ((mem_init(&mem), seal_format(&mem.io, &test_env, test_key, NULL, 32ul << 20)), 0);
		struct seal_vol *v = open_volume(&mem);
		CHECK(v);
		struct seal_inode *i = file_of(v);
		CHECK_EQ(change(v, i, false), 0);
		CHECK_EQ(seal_sync(v), 0);
		memcpy(was, is, sizeof was);
		mem.fail_after = fail;
		int r = change(v, i, fail & 1), e = seal_sync(v);
		bool hit = mem.fail_after < 0;
		mem.fail_after = -1;
		CHECK(!hit || r || e);
		if (r) { // nothing of a batch that failed counts, and it can be tried again unless the volume closed itself
			struct seal_attr a;
			seal_getattr(v, i, &a);
			CHECK_EQ(a.size, BATCH * 4096);
		}
		seal_iput(v, i);
		seal_unmount(v);
		CHECK((v = open_volume(&mem)));
		CHECK_EQ(fsck_quiet(v), 0);
		CHECK_EQ(seal_unmount(v), 0);
		mem_free(&mem);
	}
}

int main(void)
{
	rnd_seed(11);
	RUN(large_batches);
	RUN(crash_in_the_middle);
	RUN(host_errors);
	return test_end();
}

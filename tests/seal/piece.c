// SPDX-License-Identifier: Apache-2.0
// Large files: whatever is done to one, nobody waits for more than a piece of it. Counted for each hold of the volume's lock: blocks
// that became free or taken, set aside, shared or not, and blocks read and written. Between two pieces another user works on the volume, and
// now and then the volume is committed there, opened as a crash would leave it, and checked.
//
//	seal-piece [-m MIB]
#include "seal/vol.h"
#include "tests/seal/mem.h"

#define MOST	   (PIECE_BLOCKS + 1200u) // a piece, what is below one pointer block more, pointer blocks, and what a small cache writes out
#define DATA	   (24ul << 20)
#define CHECK_EACH 7u

static struct mem mem;
static struct seal_vol *vol;
static u64 mib = 512, most, holds, turn, checks;
static u64 used, reserved, shared, moved; // as of when the lock was taken
static u8 data[1 << 20];
static struct seal_inode *other; // another user's
static struct seal_inode *meddled; // somebody writes here when the lock is given up for the first time
static u64 meddled_at; // CUT: or makes it empty, and all is stored
#define CUT (~0ul)
static bool busy, crashes, held;
static u64 flushed, most_flushed; // bytes written by the last flush; by one flush with the lock held

static u64 io(void) { return mem.reads + mem.bytes_written / SEAL_BLOCK; }
static u64 apart(u64 a, u64 b) { return a > b ? a - b : b - a; }

static void lock(void *ctx)
{
	(void)ctx;
	held = true;
	if (vol) {
		used = vol->used;
		reserved = vol->reserved;
		shared = vol->nshared;
		moved = io();
	}
}

static void unlock(void *ctx)
{
	(void)ctx;
	held = false;
	if (!vol || busy)
		return;
	u64 a = SEAL_MAX(apart(vol->used, used), apart(vol->reserved, reserved)), b = SEAL_MAX(apart(vol->nshared, shared), io() - moved);
	holds++;
	most = SEAL_MAX(most, SEAL_MAX(a, b));
}

static int whole(void)
{
	struct mem copy;
	struct seal_vol *v;
	mem_copy(&copy, &mem);
	int r = seal_mount(&copy.io, &test_env, test_key, NULL, 0, &v, NULL);
	if (!r) {
		r = fsck_quiet(v);
		int e = seal_unmount(v);
		r = r ? r : e;
	}
	mem_free(&copy);
	return r;
}

// Somebody else has the lock between two pieces.
static void pause_hook(void *ctx)
{
	unlock(ctx);
	if (meddled && !busy) {
		busy = true;
		if (meddled_at == CUT ? seal_truncate(vol, meddled, 1) || seal_truncate(vol, meddled, 0) || seal_sync(vol) : seal_write(vol, meddled, meddled_at, "meddled", 7) != 7)
			test_failures++;
		meddled = NULL;
		busy = false;
	}
	if (other && !busy) {
		busy = true;
		turn++;
		if (seal_write(vol, other, turn % 64 * 4096, data, 4096) != 4096)
			test_failures++;
		if (crashes && turn % CHECK_EACH == 0 && turn < 40 * CHECK_EACH) {
			checks++;
			if (seal_sync(vol) || whole()) {
				printf("not ok seal pieces: a commit between two is not whole\n");
				test_failures++;
			}
		}
		busy = false;
	}
	lock(ctx);
}

static struct seal_inode *make(const char *name)
{
	struct seal_inode *root = root_of(vol), *i = NULL;
	seal_create(vol, root, name, (u32)strlen(name), 0100600, 0, 0, 0, &i);
	seal_iput(vol, root);
	return i;
}

static int drop(const char *name)
{
	struct seal_inode *root = root_of(vol);
	int r = seal_unlink(vol, root, name, (u32)strlen(name));
	seal_iput(vol, root);
	return r;
}

static int flush(void *ctx)
{
	struct mem *m = ctx;
	m->flushes++;
	most_flushed = SEAL_MAX(most_flushed, held ? m->bytes_written - flushed : 0);
	flushed = m->bytes_written;
	if (!held && vol && meddled && !busy) { // nobody waits for this one
		busy = true;
		if (seal_write(vol, meddled, meddled_at, "meddled", 7) != 7 || seal_sync(vol))
			test_failures++;
		busy = false;
		meddled = NULL;
	}
	return meddled_at == CUT && !held ? -EIO : 0;
}

static int begin(u64 bytes)
{
	struct seal_env env = test_env;
	int r;
	env.lock = lock;
	env.unlock = unlock;
	env.pause = pause_hook;
	vol = NULL;
	turn = meddled_at = 0;
	mem_init(&mem);
	r = seal_format(&mem.io, &test_env, test_key, NULL, bytes);
	mem.io.flush = flush;
	struct seal_vol *v;
	if (!r)
		r = seal_mount(&mem.io, &env, test_key, NULL, 0, &v, NULL);
	if (!r) {
		vol = v;
		other = make("other");
	}
	return r;
}

static int end(void)
{
	struct seal_vol *v = vol;
	seal_iput(v, other);
	other = NULL;
	int r = seal_sync(v), e = fsck_quiet(v);
	vol = NULL;
	r = r ? r : e;
	e = seal_unmount(v);
	mem_free(&mem);
	return r ? r : e;
}

static bool bounded(const char *what)
{
	printf("# %s: %lu holds of the lock, %lu blocks at most in one\n", what, holds, most);
	bool ok = most <= MOST;
	most = holds = 0;
	return ok;
}

// Set aside, so that it needs no room in memory.
static void huge(void)
{
	const u64 size = mib << 20;
	CHECK_EQ(begin(size * 4 + (8ul << 30)), 0);
	crashes = false;
	struct seal_inode *i = make("huge"), *c;
	bounded("-");
	CHECK_EQ(seal_fallocate(vol, i, 0, 0, size), 0);
	CHECK(bounded("fallocate"));
	CHECK_EQ(seal_punch(vol, i, size / 4 + 100, size / 4), 0);
	CHECK(bounded("punch"));
	CHECK_EQ(seal_truncate(vol, i, size / 2 + size / 4 + 1), 0);
	CHECK(bounded("truncate"));
	struct seal_attr a;
	seal_getattr(vol, i, &a);
	CHECK_EQ(a.size, size / 2 + size / 4 + 1);
	bounded("-");
	c = make("clone");
	CHECK_EQ(seal_clone(vol, i, 0, c, 4096, size / 4), 0);
	CHECK(bounded("clone of a range"));
	CHECK_EQ(seal_seek(vol, i, size / 4 + 8192, false), -ENXIO); // set aside is a hole
	CHECK(bounded("seek"));
	seal_iput(vol, c);
	seal_iput(vol, i);
	CHECK_EQ(drop("huge"), 0);
	CHECK(bounded("delete"));
	CHECK_EQ(drop("clone"), 0);
	CHECK(bounded("delete the clone"));
	CHECK_EQ(end(), 0);
}

static bool reads_as(struct seal_inode *i, u64 from, u64 to)
{
	static u8 got[1 << 16];
	for (u64 at = from; at < to; at += sizeof got) {
		s64 n = seal_read(vol, i, at, got, SEAL_MIN(sizeof got, to - at));
		if (n <= 0 || memcmp(got, data + at % sizeof data, (size_t)n))
			return false;
	}
	return true;
}

static void contents(void)
{
	CHECK_EQ(begin(1ul << 30), 0);
	crashes = true;
	struct seal_inode *i = make("data"), *c = make("clone"), *d = make("same");
	for (u64 k = 0; k < sizeof data; k++)
		data[k] = (u8)rnd();
	for (u64 at = 0; at < DATA; at += sizeof data) {
		CHECK_EQ(seal_write(vol, i, at, data, sizeof data), (s64)sizeof data);
		CHECK_EQ(seal_write(vol, d, at, data, sizeof data), (s64)sizeof data);
	}
	CHECK_EQ(seal_sync(vol), 0);
	bounded("-");
	CHECK_EQ(seal_dedupe(vol, i, 0, d, 0, DATA), 1);
	CHECK(bounded("dedupe"));
	CHECK(reads_as(d, 0, DATA));
	CHECK_EQ(seal_write(vol, d, DATA / 2, "other", 5), 5);
	CHECK_EQ(seal_sync(vol), 0);
	bounded("-");
	CHECK_EQ(seal_dedupe(vol, i, 0, d, 0, DATA), 0);
	CHECK(bounded("dedupe of what differs"));
	CHECK_EQ(seal_clone(vol, i, 0, c, 1 << 20, DATA), 0);
	CHECK(bounded("clone of a range"));
	CHECK(reads_as(c, 1 << 20, DATA + (1 << 20)));
	CHECK_EQ(seal_clone(vol, i, 0, d, 0, 0), 0);
	CHECK(bounded("clone of all over another"));
	CHECK_EQ(seal_truncate(vol, d, 8193), 0); // all of it shared
	CHECK(bounded("truncate a clone"));
	CHECK(reads_as(d, 0, 8193));
	CHECK_EQ(seal_punch(vol, c, 1 << 20, DATA - (4 << 20)), 0);
	CHECK(bounded("punch in shared blocks"));
	CHECK(reads_as(c, DATA - (3 << 20), DATA + (1 << 20)));
	CHECK(reads_as(i, 0, DATA));
	CHECK_EQ(seal_truncate(vol, i, 5), 0);
	CHECK(bounded("truncate"));
	CHECK(reads_as(i, 0, 5));
	CHECK_EQ(seal_clone(vol, c, 0, i, 0, 0), 0);
	seal_iput(vol, c);
	CHECK_EQ(drop("clone"), 0);
	CHECK(bounded("delete what is shared"));
	seal_iput(vol, i);
	CHECK_EQ(drop("data"), 0);
	CHECK(bounded("delete"));
	CHECK(checks >= 10);
	seal_iput(vol, d);
	CHECK_EQ(end(), 0);
}

// Nothing is lost of what a clone would take the place of, when there is no room for it.
static void no_room(void)
{
	CHECK_EQ(begin(64ul << 20), 0);
	crashes = false;
	struct seal_inode *a = make("a"), *b = make("b"), *fill = make("fill"), *waits = other;
	other = NULL; // there is no room for him either
	for (u64 at = 0; at < DATA / 2; at += sizeof data)
		for (u32 k = 0; k < 2; k++)
			CHECK_EQ(seal_write(vol, k ? a : b, at, data, sizeof data), (s64)sizeof data);
	CHECK_EQ(seal_sync(vol), 0);
	CHECK_EQ(seal_snapshot_create(vol, "s", 1), 0);
	CHECK_EQ(seal_write(vol, b, 0, data, 4096), 4096); // it shares the rest
	u64 at = 0;
	for (u64 n = sizeof data; n >= 4096; n /= 2)
		while (seal_write(vol, fill, at, data, n) == (s64)n)
			at += n;
	CHECK_EQ(seal_clone(vol, a, 0, b, 0, 0), -ENOSPC);
	CHECK(reads_as(b, 0, DATA / 2));
	seal_iput(vol, fill);
	CHECK_EQ(drop("fill"), 0);
	CHECK_EQ(seal_sync(vol), 0);
	CHECK_EQ(seal_clone(vol, a, 0, b, 0, 0), 0);
	CHECK(reads_as(b, 0, DATA / 2));
	seal_iput(vol, a);
	seal_iput(vol, b);
	other = waits;
	CHECK_EQ(end(), 0);
}

// Whoever gets the lock between two pieces changes the file that they are about.
static void meddling(void)
{
	const u64 small = 64 * 4096;
	struct seal_attr a;
	char got[8] = "";
	CHECK_EQ(begin(1ul << 30), 0);
	crashes = false;
	struct seal_inode *i = make("i"), *c = make("c");
	for (u32 k = 0; k < 2; k++)
		CHECK_EQ(seal_write(vol, k ? i : c, 0, data, small), (s64)small);
	CHECK_EQ(seal_fallocate(vol, c, SEAL_FALLOC_KEEP_SIZE, 0, 32ul << 20), 0);
	CHECK_EQ(seal_sync(vol), 0);
	bounded("-");
	meddled = i;
	meddled_at = 0;
	CHECK_EQ(seal_dedupe(vol, i, 0, c, 0, small), 1); // what was compared is what is shared
	CHECK(bounded("dedupe"));
	CHECK(reads_as(c, 0, small));
	meddled = NULL;
	CHECK_EQ(seal_fallocate(vol, i, 0, 0, 32ul << 20), 0);
	meddled = i; // it becomes longer while it is cut off
	meddled_at = 48ul << 20;
	CHECK_EQ(seal_truncate(vol, i, 8192), 0);
	CHECK(!meddled);
	seal_getattr(vol, i, &a);
	CHECK_EQ(a.size, 8192);
	CHECK_EQ(seal_truncate(vol, i, 64ul << 20), 0);
	CHECK_EQ(seal_read(vol, i, 48ul << 20, got, 7), 7);
	CHECK_EQ(got[0], 0);
	seal_iput(vol, i);
	seal_iput(vol, c);
	CHECK_EQ(end(), 0);
}

// The source's ragged end may become the end of the clone as long as both are ends.
static void ragged(void)
{
	const u64 size = (32ul << 20) + 100;
	struct seal_attr a;
	char got[8] = "";
	CHECK_EQ(begin(1ul << 30), 0);
	crashes = false;
	struct seal_inode *i = make("i"), *c = make("c");
	for (int what = 0; what < 2; what++) {
		CHECK_EQ(seal_truncate(vol, i, 0), 0);
		CHECK_EQ(seal_truncate(vol, c, 0), 0);
		CHECK_EQ(seal_fallocate(vol, i, 0, 0, size), 0);
		CHECK_EQ(seal_write(vol, i, size - 1, "e", 1), 1);
		meddled = what ? c : i; // becomes longer
		meddled_at = what ? size + 4096 : size;
		CHECK_EQ(seal_clone(vol, i, 0, c, 4096, 0), -EINVAL);
		CHECK(!meddled);
		if (what)
			CHECK_EQ(seal_read(vol, c, size + 4096, got, 7), 7);
		else
			CHECK_EQ(seal_read(vol, i, size, got, 7), 7);
		CHECK(!memcmp(got, "meddled", 7));
		seal_getattr(vol, c, &a);
		CHECK(what ? a.size == size + 4096 + 7 : a.size < size + 4096);
	}
	seal_iput(vol, i);
	seal_iput(vol, c);
	CHECK_EQ(end(), 0);
}

// What is to be made durable is so before the lock is taken for it: who waits for the lock waits for little of the host's disk.
static void sync_of_much(void)
{
	struct seal_attr a;
	CHECK_EQ(begin(1ul << 30), 0);
	crashes = false;
	struct seal_inode *i = make("i"), *c = make("c");
	CHECK_EQ(seal_sync(vol), 0);
	for (int pass = 0; pass < 2; pass++) {
		most_flushed = 0;
		flushed = mem.bytes_written;
		for (u64 at = 0; at < DATA; at += sizeof data)
			CHECK_EQ(seal_write(vol, i, at, data, sizeof data), (s64)sizeof data);
		meddled = pass ? c : NULL;
		meddled_at = 0;
		CHECK_EQ(seal_sync(vol), 0);
		CHECK(!meddled);
		printf("# %lu bytes were made durable with the lock held\n", most_flushed);
		CHECK(most_flushed < 2 << 20);
		CHECK_EQ(whole(), 0);
	}
	seal_getattr(vol, c, &a);
	CHECK_EQ(a.size, 7);
	// what that flush reports nobody else is told: the volume is closed for changes
	for (u64 at = 0; at < DATA; at += sizeof data)
		CHECK_EQ(seal_write(vol, i, at, data, sizeof data), (s64)sizeof data);
	meddled_at = CUT;
	CHECK_EQ(seal_sync(vol), -EIO);
	meddled_at = 0;
	CHECK_EQ(seal_sync(vol), -EIO);
	CHECK_EQ(seal_write(vol, c, 0, data, 1), -EIO);
	CHECK_EQ(whole(), 0);
	seal_iput(vol, i);
	seal_iput(vol, c);
	struct seal_vol *v = vol;
	seal_iput(v, other);
	other = NULL;
	vol = NULL;
	CHECK(seal_unmount(v) < 0);
	mem_free(&mem);
}

// What a file that somebody emptied meanwhile is told last is stored, too.
static void punch_of_emptied(void)
{
	struct seal_attr a, b;
	struct seal_vol *v;
	CHECK_EQ(begin(1ul << 30), 0);
	crashes = false;
	struct seal_inode *i = make("i"), *root;
	CHECK_EQ(seal_fallocate(vol, i, 0, 0, 32ul << 20), 0);
	CHECK_EQ(seal_sync(vol), 0);
	meddled = i;
	meddled_at = CUT;
	CHECK_EQ(seal_punch(vol, i, 0, 31ul << 20), 0);
	CHECK(!meddled);
	seal_getattr(vol, i, &a);
	CHECK_EQ(a.size, 0);
	seal_iput(vol, i);
	seal_iput(vol, other);
	other = NULL;
	v = vol;
	vol = NULL;
	CHECK_EQ(seal_unmount(v), 0);
	CHECK_EQ(seal_mount(&mem.io, &test_env, test_key, NULL, 0, &v, NULL), 0);
	root = root_of(v);
	CHECK_EQ(seal_lookup(v, root, "i", 1, &i), 0);
	seal_getattr(v, i, &b);
	CHECK_EQ(a.mtime_ns, b.mtime_ns);
	seal_iput(v, i);
	seal_iput(v, root);
	CHECK_EQ(seal_unmount(v), 0);
	mem_free(&mem);
}

// What fits into the inode is stored like all else, and a snapshot's is left alone.
static void set_aside_little(void)
{
	struct seal_inode *root, *dir, *i;
	struct seal_attr a;
	struct seal_vol *v;
	CHECK_EQ(new_volume(&mem, 16ul << 20, &v), 0);
	root = root_of(v);
	CHECK_EQ(seal_create(v, root, "f", 1, 0100600, 0, 0, 0, &i), 0);
	CHECK_EQ(seal_snapshot_create(v, "s", 1), 0);
	CHECK_EQ(seal_fallocate(v, i, 0, 0, 100), 0);
	seal_iput(v, i);
	seal_iput(v, root);
	CHECK_EQ(seal_unmount(v), 0);
	CHECK_EQ(seal_mount(&mem.io, &test_env, test_key, NULL, 0, &v, NULL), 0);
	root = root_of(v);
	CHECK_EQ(seal_lookup(v, root, "f", 1, &i), 0);
	seal_getattr(v, i, &a);
	CHECK_EQ(a.size, 100);
	seal_iput(v, i);
	CHECK_EQ(seal_lookup(v, root, SEAL_SNAPDIR, strlen(SEAL_SNAPDIR), &dir), 0);
	seal_iput(v, root);
	CHECK_EQ(seal_lookup(v, dir, "s", 1, &root), 0);
	CHECK_EQ(seal_lookup(v, root, "f", 1, &i), 0);
	CHECK_EQ(seal_fallocate(v, i, 0, 0, 100), -EROFS);
	seal_getattr(v, i, &a);
	CHECK_EQ(a.size, 0);
	seal_iput(v, i);
	seal_iput(v, root);
	seal_iput(v, dir);
	CHECK_EQ(seal_unmount(v), 0);
	mem_free(&mem);
}

// Nearly endless holes: as quick as short ones.
static void sparse(void)
{
	CHECK_EQ(begin(1ul << 30), 0);
	struct seal_inode *i = make("sparse");
	const u64 size = S64_LIMIT - 4096;
	bounded("-");
	CHECK_EQ(seal_truncate(vol, i, size), 0);
	CHECK_EQ(seal_seek(vol, i, 0, false), -ENXIO);
	CHECK_EQ(seal_seek(vol, i, 12345, true), 12345);
	CHECK_EQ(seal_write(vol, i, 40ul << 40, "x", 1), 1);
	CHECK_EQ(seal_write(vol, i, 4096, data, 4096 * 3), 4096 * 3);
	for (int pass = 0; pass < 2; pass++) { // not stored yet, and stored
		CHECK_EQ(seal_seek(vol, i, 0, false), 4096);
		CHECK_EQ(seal_seek(vol, i, 5000, true), 4096 * 4);
		CHECK_EQ(seal_seek(vol, i, 4096 * 4, false), (s64)(40ul << 40));
		CHECK_EQ(seal_seek(vol, i, (40ul << 40) + 1, true), (s64)(40ul << 40) + 4096);
		CHECK_EQ(seal_seek(vol, i, (40ul << 40) + 4096, false), -ENXIO);
		CHECK_EQ(seal_sync(vol), 0);
	}
	CHECK_EQ(seal_punch(vol, i, 0, size), 0);
	CHECK_EQ(seal_truncate(vol, i, 1), 0);
	CHECK(bounded("sparse"));
	CHECK(io() < 1000);
	u64 n;
	CHECK_EQ(seal_trim(vol, 1ul << 30, ~0ul, 0, &n), -EINVAL); // begins behind the volume
	CHECK_EQ(seal_trim(vol, 0, 4095, 0, &n), -EINVAL);
	CHECK_EQ(seal_trim(vol, (1ul << 30) - 4096, ~0ul, 0, &n), 0);
	seal_iput(vol, i);
	CHECK_EQ(end(), 0);
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "-m"))
		mib = strtoul(argv[2], NULL, 0);
	RUN(huge);
	RUN(contents);
	RUN(no_room);
	RUN(meddling);
	RUN(ragged);
	RUN(punch_of_emptied);
	RUN(sync_of_much);
	RUN(set_aside_little);
	RUN(sparse);
	return test_end();
}

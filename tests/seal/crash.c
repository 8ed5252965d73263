// SPDX-License-Identifier: Apache-2.0
// Crash enumerator: records every write and flush that a workload makes, then rebuilds the storage as a crash could
// have left it: every prefix, and random subsets of the 4 KiB pieces written since the last completed flush. Each must
// open at the last completed sync or at the one in flight, pass fsck, and be usable.
#include "tests/seal/mem.h"

#define MAXSYNC 200
struct point {
	u32 begin, end; // recorded operations before the sync started, after it completed
	u64 digest;
};
static struct point points[MAXSYNC];
static u32 npoints;
static struct mem base, store;
static struct seal_env env;

static u64 mix(u64 h, const void *p, size_t n)
{
	const u8 *b = p;
	for (size_t k = 0; k < n; k++)
		h = (h ^ b[k]) * 0x100000001b3ul;
	return h;
}

struct kids {
	char name[256][32];
	u32 n;
};

static bool kid(void *ctx, const char *name, u32 len, u64 ino, u32 type, u64 cookie)
{
	struct kids *k = ctx;
	(void)ino, (void)type, (void)cookie;
	if (k->n < 256 && len < 32)
		snprintf(k->name[k->n++], 32, "%.*s", (int)len, name);
	return true;
}

// Everything a program could see. 0: an error.
static u64 digest(struct seal_vol *v, struct seal_inode *i)
{
	static u8 buf[400000];
	struct seal_attr a;
	seal_getattr(v, i, &a);
	u64 h = mix(1469598103934665603ul, &a.ino, sizeof a.ino);
	h = mix(h, &a.size, sizeof a.size);
	h = mix(h, &a.nlink, sizeof a.nlink);
	h = mix(h, &a.mtime_ns, sizeof a.mtime_ns);
	if ((a.mode & 0170000) == 0100000) {
		s64 n = seal_read(v, i, 0, buf, sizeof buf);
		return n < 0 || (u64)n != a.size ? 0 : mix(h, buf, (size_t)n);
	}
	if ((a.mode & 0170000) != 0040000)
		return h;
	struct kids *k = calloc(1, sizeof *k);
	if (seal_readdir(v, i, 0, kid, k))
		h = 0;
	for (u32 j = 0; j < k->n && h; j++) {
		struct seal_inode *c;
		if (seal_lookup(v, i, k->name[j], (u32)strlen(k->name[j]), &c)) {
			h = 0;
			break;
		}
		u64 d = digest(v, c);
		seal_iput(v, c);
		h = d ? mix(mix(h, &d, 8), k->name[j], strlen(k->name[j])) : 0;
	}
	free(k);
	return h;
}

static u64 state_of(struct seal_vol *v)
{
	struct seal_inode *root = root_of(v);
	u64 h = root ? digest(v, root) : 0;
	if (root)
		seal_iput(v, root);
	return h;
}

static void sync_point(struct seal_vol *v)
{
	struct point *p = &points[npoints++];
	p->digest = state_of(v);
	p->begin = store.nops;
	CHECK_EQ(seal_sync(v), 0);
	p->end = store.nops;
}

// Small files, renames over, unlinks while open, overwrites, truncates: what databases and editors do.
static void workload(u64 seed, u32 syncs, size_t cache)
{
	struct seal_vol *v;
	struct seal_inode *root, *i, *open_files[4] = {0};
	static u8 data[200000];
	rnd_seed(seed);
	env = test_env;
	env.cache_bytes = cache;
	npoints = 0;
	mem_init(&store);
	CHECK_EQ(seal_format(&store.io, &env, test_key, NULL, 8u << 20), 0);
	mem_copy(&base, &store);
	store.record = true;
	CHECK_EQ(seal_mount(&store.io, &env, test_key, NULL, 0, &v, NULL), 0);
	points[npoints++] = (struct point){0, 0, state_of(v)};
	root = root_of(v);
	while (npoints < syncs) {
		for (u32 k = (u32)(rnd() % 12); k; k--) {
			char name[20], to[20];
			u32 len = (u32)sprintf(name, "f%lu", rnd() % 24), tlen = (u32)sprintf(to, "f%lu", rnd() % 24);
			switch (rnd() % 7) {
			case 0:
			case 1:
			case 2:
				if (seal_lookup(v, root, name, len, &i) &&
				    seal_create(v, root, name, len, 0100600, 0, 0, 0, &i))
					break;
				memset(data, (int)rnd(), sizeof data);
				seal_write(v, i, rnd() % 3 ? rnd() % 60000 & ~4095ul : rnd() % 9000, data,
					   rnd() % 4 ? rnd() % 9000 : 4096 * (rnd() % 40));
				seal_iput(v, i);
				break;
			case 3: seal_unlink(v, root, name, len); break;
			case 4: seal_rename(v, root, name, len, root, to, tlen, 0); break;
			case 5: { // keep one open, then unlink it
				struct seal_inode **o = &open_files[rnd() % 4];
				if (*o)
					seal_iput(v, *o);
				if (seal_lookup(v, root, name, len, o))
					*o = NULL;
				else
					seal_unlink(v, root, name, len);
				break;
			}
			case 6:
				if (!seal_lookup(v, root, name, len, &i)) {
					seal_truncate(v, i, rnd() % 70000);
					seal_iput(v, i);
				}
				break;
			}
		}
		sync_point(v);
	}
	for (u32 k = 0; k < 4; k++)
		if (open_files[k])
			seal_iput(v, open_files[k]);
	seal_iput(v, root);
	struct point *p = &points[npoints++];
	p->digest = state_of(v);
	p->begin = store.nops;
	CHECK_EQ(seal_unmount(v), 0);
	p->end = store.nops;
}

// No findings, but for the root slot that was being written.
static bool sound(struct seal_vol *v)
{
	struct seal_info info;
	struct seal_fsck_stats st;
	seal_get_info(v, &info);
	return seal_fsck(v, NULL, NULL, &st) == info.fell_back;
}

static u32 tried, at_last, at_next;

// The storage m is what a crash after `done` complete operations (and perhaps parts of later ones) left.
static bool judge(struct mem *m, u32 done, u32 reached, bool thorough)
{
	struct seal_vol *v;
	struct seal_fault f;
	u64 h, last = 0;
	u32 k = 0;
	bool ok;
	tried++;
	while (k + 1 < npoints && points[k + 1].end <= done)
		k++;
	last = points[k].digest;
	u64 next = k + 1 < npoints && points[k + 1].begin < reached ? points[k + 1].digest : last;
	int r = seal_mount(&m->io, &env, test_key, NULL, SEAL_RDONLY, &v, &f);
	if (r) {
		printf("# crash after %u operations: does not open (%d): %s\n", done, r, f.text);
		return false;
	}
	h = state_of(v);
	seal_unmount(v);
	ok = h && (h == last || h == next);
	if (!ok)
		printf("# crash after %u operations (sync %u): state %lx is neither %lx nor %lx\n", done, k, h, last,
		       next);
	at_last += h == last;
	at_next += h == next && next != last;
	if (!ok || !thorough)
		return ok;
	r = seal_mount(&m->io, &env, test_key, NULL, 0, &v, &f);
	if (r)
		return false;
	ok = sound(v);
	struct seal_inode *root = root_of(v), *i;
	if (!seal_create(v, root, "after", 5, 0100600, 0, 0, 0, &i)) {
		ok = seal_write(v, i, 0, "x", 1) == 1 && ok;
		seal_iput(v, i);
	} else
		ok = false;
	seal_iput(v, root);
	ok = !seal_unmount(v) && ok;
	if (seal_mount(&m->io, &env, test_key, NULL, 0, &v, &f))
		return false;
	ok = fsck_quiet(v) == 0 && ok;
	seal_unmount(v);
	return ok;
}

static void every_prefix(void)
{
	struct mem m, copy;
	mem_copy(&m, &base);
	tried = at_last = at_next = 0;
	for (u32 k = 0; k <= store.nops; k++) {
		mem_copy(&copy, &m);
		bool ok = judge(&copy, k, k, k % 16 == 0);
		mem_free(&copy);
		CHECK(ok);
		if (k < store.nops)
			mem_apply(&m, &store.ops[k]);
	}
	printf("# %u prefixes of %u syncs: %u at the last sync, %u at the one in flight\n", tried, npoints, at_last,
	       at_next);
	mem_free(&m);
}

// Applies a random subset of the 4 KiB (or, torn, 512-byte) pieces of the operations from..to-1, in random order.
static void apply_some(struct mem *m, u32 from, u32 to, u32 percent, u32 piece)
{
	for (u32 k = from; k < to; k++) {
		const struct mem_op *op = &store.ops[rnd() % 2 ? k : to - 1 - (k - from)];
		for (u64 at = 0; at < op->n; at += piece) {
			struct mem_op part = {op->off + at, piece, op->data + at};
			if (rnd() % 100 < percent)
				mem_apply(m, &part);
		}
	}
}

static void reordered_within_epochs(void)
{
	struct mem m, copy;
	mem_copy(&m, &base);
	tried = at_last = at_next = 0;
	for (u32 k = 0; k < store.nops;) {
		u32 end = k;
		while (end < store.nops && store.ops[end].n)
			end++;
		for (u32 t = 0; t < 24 && end > k; t++) {
			static const u32 percents[] = {50, 90, 10, 98};
			mem_copy(&copy, &m);
			apply_some(&copy, k, end, percents[t % 4], t % 3 ? 4096 : 512);
			bool ok = judge(&copy, k, end, t == 0);
			mem_free(&copy);
			CHECK(ok);
		}
		for (; k < end; k++)
			mem_apply(&m, &store.ops[k]);
		k++; // the flush
	}
	printf("# %u reorderings: %u at the last sync, %u at the one in flight\n", tried, at_last, at_next);
	mem_free(&m);
}

static void one_run(u64 seed, u32 syncs, size_t cache)
{
	int before = test_failures;
	workload(seed, syncs, cache);
	if (before == test_failures)
		every_prefix();
	if (before == test_failures)
		reordered_within_epochs();
	mem_free(&store);
	mem_free(&base);
}

static void crashes(void) { one_run(11, 25, 1u << 20); }
static void crashes_with_early_writes(void) { one_run(12, 25, 0x40000); }
static void crashes_more(void)
{
	for (u64 s = 20; s < 23; s++)
		one_run(s, 12, 0x40000);
}

// The host fails a write at every possible place: the caller gets an error, and the volume reopens at a sync.
static void write_errors_everywhere(void)
{
	for (int n = 0; n < 120; n++) {
		struct seal_vol *v;
		struct mem m;
		CHECK_EQ(new_volume(&m, 8u << 20, &v), 0);
		struct seal_inode *root = root_of(v), *i;
		CHECK_EQ(seal_create(v, root, "kept", 4, 0100600, 0, 0, 0, &i), 0);
		CHECK_EQ(seal_write(v, i, 0, "kept", 4), 4);
		CHECK_EQ(seal_sync(v), 0);
		seal_iput(v, i);
		m.fail_after = n;
		static u8 data[60000];
		int errors = 0;
		for (u32 k = 0; k < 10; k++) {
			char name[20];
			u32 len = (u32)sprintf(name, "n%u", k);
			if (seal_create(v, root, name, len, 0100600, 0, 0, 0, &i)) {
				errors++;
				continue;
			}
			errors += seal_write(v, i, 0, data, sizeof data) != sizeof data;
			errors += seal_fsync(v, i) != 0;
			seal_iput(v, i);
		}
		CHECK(errors > 0 || m.fail_after >= 0);
		seal_iput(v, root);
		seal_unmount(v);
		m.fail_after = -1;
		CHECK_EQ(seal_mount(&m.io, &test_env, test_key, NULL, 0, &v, NULL), 0);
		CHECK_EQ(fsck_quiet(v), 0);
		root = root_of(v);
		char b[8];
		CHECK_EQ(seal_lookup(v, root, "kept", 4, &i), 0);
		CHECK_EQ(seal_read(v, i, 0, b, 8), 4);
		seal_iput(v, i);
		seal_iput(v, root);
		CHECK_EQ(seal_unmount(v), 0);
		mem_free(&m);
	}
}

int main(void)
{
	RUN(crashes);
	RUN(crashes_with_early_writes);
	RUN(crashes_more);
	RUN(write_errors_everywhere);
	if (test_allocs_left) {
		printf("not ok memory: %lu allocations left\n", test_allocs_left);
		test_failures++;
	}
	return test_failures != 0;
}

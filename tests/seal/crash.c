// SPDX-License-Identifier: Apache-2.0
// Crash enumerator: records every write and flush that a workload makes, then rebuilds the storage as a crash could
// have left it: every prefix, and of what was written since the last completed flush every subset where there are few pieces,
// else single ones, all but single ones and random subsets, of 4 KiB or torn at 512 bytes. Each must open at the last completed
// sync or at the one in flight, pass fsck, and be usable.
//
//	seal-crash [-s SEED] [-n RUNS] [-t REORDERINGS] [-j JOBS]	as many states as wanted (make soak); without options some thousands
#include "tests/seal/work.h"
#include <sys/wait.h>
#include <unistd.h>

#define MAXSYNC 200
struct point {
	u32 begin, end; // recorded operations before the sync started, after it completed
	u64 digest;
};
static struct point points[MAXSYNC];
static u32 npoints;
static struct mem base, store;
static struct seal_env env;
static u32 reorderings = 16; // random ones of each epoch

static const u8 other_key[SEAL_KEY_BYTES] = "the key that comes after it....";
static u32 flags; // of the mounts that write
static bool second_key; // the volume is under the other key now

static int open_volume(struct mem *m, u32 how, struct seal_vol **v, struct seal_fault *f)
{
	int r = seal_mount(&m->io, &env, second_key ? other_key : test_key, NULL, how, v, f);
	if (r == SEAL_EKEY) // a crash may have come before the new key, or after it
		r = seal_mount(&m->io, &env, second_key ? test_key : other_key, NULL, how, v, f);
	return r;
}

static u64 state_of(struct seal_vol *v)
{
	static struct state s;
	state_read(v, &s);
	return state_digest(&s);
}

// It is durable with its last flush: what is given back to the host after that (SEAL_DISCARD) goes with whatever comes next.
static u32 durable(u32 begin)
{
	u32 end = store.nops;
	while (end > begin && store.ops[end - 1].n)
		end--;
	return end;
}

static void sync_point(struct seal_vol *v)
{
	struct point *p = &points[npoints++];
	p->digest = state_of(v);
	p->begin = store.nops;
	CHECK_EQ(seal_sync(v), 0);
	p->end = durable(p->begin);
}

static u32 snapshots, rekeys, records, resizes, trims;

// What commits by itself: nothing or all of it is there after a crash.
static void special(struct seal_vol *v)
{
	struct point *p = &points[npoints++];
	char name[8];
	u32 len = (u32)sprintf(name, "s%lu", rnd() % 3);
	int r = 0;
	p->begin = store.nops;
	switch (rnd() % 9) {
	case 0:
	case 1:
		r = seal_snapshot_create(v, name, len);
		snapshots += !r;
		r = r == -EEXIST ? 0 : r;
		break;
	case 2: r = seal_snapshot_delete(v, name, len); r = r == -ENOENT ? 0 : r; break;
	case 3: r = seal_work(v, 16 + rnd() % 200, NULL); break;
	case 4:
		r = seal_rekey(v, second_key ? other_key : test_key, second_key ? test_key : other_key);
		second_key ^= !r;
		rekeys += !r;
		break;
	case 6: { // larger, or smaller: the work that goes on behind moves what lies beyond
		struct seal_info info;
		seal_get_info(v, &info);
		r = seal_resize(v, (rnd() % 2 ? info.size_blocks + rnd() % 600 : info.size_blocks - rnd() % 600) * SEAL_BLOCK);
		resizes += !r;
		break;
	}
	case 7: {
		u64 trimmed;
		r = seal_trim(v, 0, ~0ul, 0, &trimmed);
		trims += !r;
		break;
	}
	case 8: r = seal_snapshot_rollback(v, name, len); r = r == -ENOENT ? 0 : r; break;
	case 5: r = seal_reencrypt(v, second_key ? other_key : test_key, second_key ? other_key : test_key); break;
	}
	if (r < 0 && r != -EBUSY && r != -ENOSPC) {
		printf("not ok crash: a special operation: error %d\n", r);
		test_failures++;
	}
	p->digest = state_of(v);
	p->end = durable(p->begin);
}

// Small files, renames over, unlinks while open, overwrites, truncates: what databases and editors do.
static void workload(u64 seed, u32 syncs, size_t cache)
{
	struct seal_vol *v;
	struct work w = {.max_write = 160000};
	rnd_seed(seed);
	env = test_env;
	env.cache_bytes = cache;
	npoints = 0;
	second_key = false;
	flags = seed % 2 ? SEAL_DISCARD : 0;
	mem_init(&store);
	CHECK_EQ(seal_format(&store.io, &env, test_key, NULL, 8u << 20), 0);
	mem_copy(&base, &store);
	store.record = true;
	CHECK_EQ(open_volume(&store, flags, &v, NULL), 0);
	points[npoints++] = (struct point){0, 0, state_of(v)};
	while (npoints < syncs) {
		if (rnd() % 4)
			work_quiet(v, (u32)(rnd() % 5));
		else
			work_some(&w, v, (u32)(rnd() % 12));
		sync_point(v);
		struct seal_info info;
		seal_get_info(v, &info);
		records += info.log_records != 0;
		if (rnd() % 4 == 0 && npoints < syncs)
			special(v);
	}
	work_close(&w, v);
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

// What is left can be used again, and stays whole.
static bool usable(struct mem *m)
{
	struct seal_vol *v;
	struct seal_inode *root, *i;
	if (open_volume(m, flags, &v, NULL))
		return false;
	bool ok = sound(v);
	root = root_of(v);
	if (root && !seal_create(v, root, "after", 5, 0100600, 0, 0, 0, &i)) {
		ok = seal_write(v, i, 0, "x", 1) == 1 && ok;
		seal_iput(v, i);
	} else
		ok = false;
	if (root)
		seal_iput(v, root);
	ok = !seal_unmount(v) && ok;
	if (open_volume(m, 0, &v, NULL))
		return false;
	ok = fsck_quiet(v) == 0 && ok;
	seal_unmount(v);
	return ok;
}

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
	while (k + 1 < npoints && points[k + 1].begin < reached && points[k + 1].digest == last)
		k++; // it changed nothing that can be seen, and perhaps committed nothing
	u64 next = k + 1 < npoints && points[k + 1].begin < reached ? points[k + 1].digest : last;
	int r = open_volume(m, SEAL_RDONLY, &v, &f);
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
	if (ok && thorough && !usable(m)) {
		printf("# crash after %u operations (sync %u): opens, but is not whole or not usable\n", done, k);
		ok = false;
	}
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

#define PIECES 4096u
struct pieces { // of the operations of one epoch
	struct mem_op p[PIECES];
	u32 n;
};

static void cut_up(struct pieces *c, u32 from, u32 to, u32 size)
{
	c->n = 0;
	for (u32 k = from; k < to; k++)
		for (u64 at = 0; at < store.ops[k].n && c->n < PIECES; at += size)
			c->p[c->n++] = (struct mem_op){store.ops[k].off + at, SEAL_MIN(size, store.ops[k].n - at), store.ops[k].data + at};
}

// One state: those pieces landed for which `landed` says so, in a random order.
static bool some_landed(const struct mem *m, const struct pieces *c, const bool *landed, u32 done, u32 reached, bool thorough)
{
	struct mem copy;
	mem_copy(&copy, m);
	bool backwards = rnd() & 1;
	for (u32 k = 0; k < c->n; k++) {
		u32 j = backwards ? c->n - 1 - k : k;
		if (landed[j])
			mem_apply(&copy, &c->p[j]);
	}
	bool ok = judge(&copy, done, reached, thorough);
	mem_free(&copy);
	return ok;
}

static bool epoch_states(const struct mem *m, u32 from, u32 to)
{
	static const u32 percents[] = {50, 90, 10, 98};
	static struct pieces c;
	static bool landed[PIECES];
	bool ok = true;
	cut_up(&c, from, to, 4096);
	if (c.n <= 9) // all of them
		for (u32 mask = 0; mask < 1u << c.n && ok; mask++) {
			for (u32 k = 0; k < c.n; k++)
				landed[k] = mask & 1u << k;
			ok = some_landed(m, &c, landed, from, to, mask % 64 == 1);
		}
	else
		for (u32 one = 0; one < c.n && ok; one += 1 + c.n / 64)
			for (u32 alone = 0; alone < 2 && ok; alone++) {
				for (u32 k = 0; k < c.n; k++)
					landed[k] = (k == one) == alone;
				ok = some_landed(m, &c, landed, from, to, false);
			}
	for (u32 t = 0; t < reorderings && ok; t++) {
		cut_up(&c, from, to, t % 2 ? 4096 : 512);
		for (u32 k = 0; k < c.n; k++)
			landed[k] = rnd() % 100 < percents[t / 2 % 4];
		ok = some_landed(m, &c, landed, from, to, t % 16 == 3);
	}
	return ok;
}

static void reordered_within_epochs(void)
{
	struct mem m;
	mem_copy(&m, &base);
	tried = at_last = at_next = 0;
	for (u32 k = 0; k < store.nops;) {
		u32 end = k;
		while (end < store.nops && store.ops[end].n)
			end++;
		if (end > k)
			CHECK(epoch_states(&m, k, end));
		for (; k < end; k++)
			mem_apply(&m, &store.ops[k]);
		k++; // the flush
	}
	printf("# %u reorderings: %u at the last sync, %u at the one in flight\n", tried, at_last, at_next);
	mem_free(&m);
}

static u64 one_run(u64 seed, u32 syncs, size_t cache)
{
	int before = test_failures;
	u64 n = 0;
	workload(seed, syncs, cache);
	if (before == test_failures)
		every_prefix();
	n += tried;
	if (before == test_failures)
		reordered_within_epochs();
	n += tried;
	printf("# %u snapshots, %u new keys, %u records of the log, %u resizes, %u trims, %lu ranges given back\n", snapshots, rekeys, records, resizes, trims, store.punches);
	mem_free(&store);
	mem_free(&base);
	if (before != test_failures)
		printf("# seed %lu, cache %lu\n", seed, cache);
	return n;
}

static void crashes(void) { one_run(11, 20, 1u << 20); }
static void crashes_with_early_writes(void) { one_run(12, 20, 0x40000); }
static void crashes_more(void)
{
	for (u64 s = 20; s < 25; s++)
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

// Seeds first, first + step, ... in one process.
static int many(u64 first, u64 runs, u64 step)
{
	u64 n = 0;
	for (u64 k = first; k < first + runs && !test_failures; k += step)
		n += one_run(k, 10 + (u32)(k % 40), k % 3 ? 0x40000 : 1u << 20);
	if (!test_failures)
		printf("ok seal crash: %lu states, seeds %lu to %lu by %lu\n", n, first, first + runs - 1, step);
	fflush(stdout);
	return test_failures != 0;
}

static int soak(int argc, char **argv)
{
	u64 seed = 1000, runs = 40, jobs = 1;
	int opt, failed = 0, status;
	while ((opt = getopt(argc, argv, "s:n:t:j:")) != -1) {
		u64 v = strtoul(optarg ? optarg : "", NULL, 0);
		if (opt == 's')
			seed = v;
		else if (opt == 'n')
			runs = v;
		else if (opt == 't')
			reorderings = (u32)v;
		else if (opt == 'j')
			jobs = v;
		else
			return 2;
	}
	for (u64 j = 0; j < jobs; j++) {
		fflush(stdout);
		pid_t pid = fork();
		if (pid == 0)
			exit(many(seed + j, runs - SEAL_MIN(j, runs), jobs));
		failed |= pid < 0;
	}
	while (wait(&status) > 0)
		failed |= status != 0;
	return failed;
}

int main(int argc, char **argv)
{
	if (argc > 1)
		return soak(argc, argv);
	RUN(crashes);
	RUN(crashes_with_early_writes);
	RUN(crashes_more);
	if (records < 12) {
		printf("not ok crash: only %u records of the log were made\n", records);
		test_failures++;
	}
	RUN(write_errors_everywhere);
	return test_end();
}

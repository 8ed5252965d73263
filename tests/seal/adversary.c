// SPDX-License-Identifier: Apache-2.0
// A host that keeps every version of a volume and shows any mixture: blocks of version i < j side by side, swapped, moved, of
// another volume, cut off, flipped anywhere. What is read is what the version says whose root is shown, or a typed error; with an
// anchor only the newest version. Images taken at any moment, also between two syncs, open at a synced state.
//
//	seal-adversary [-s SEED] [-n ROUNDS]	more rounds (make soak)
#include "tests/seal/work.h"
#include <unistd.h>

#define VERSIONS 24u
static struct mem image[VERSIONS], foreign;
static struct state said[VERSIONS]; // what a program saw when version k was committed
static struct seal_anchor known[VERSIONS];
static u64 rounds = 1500;

static u32 whole, refused, partly;

static bool typed(int r)
{
	return r == SEAL_ETAMPER || r == SEAL_EKEY || r == SEAL_ENOTVOLUME || r == SEAL_EVERSION || r == SEAL_EROLLBACK;
}

// Mounts the image and reads all of it. newest: only that version will do, else any of which the root is shown.
static bool judge(const char *what, struct mem *m, const struct seal_anchor *least, u32 newest)
{
	static struct state s;
	struct seal_vol *v;
	struct seal_fault f;
	u32 k = newest;
	int r = seal_mount_anchored(&m->io, &test_env, test_key, NULL, SEAL_RDONLY, least, &v, &f);
	if (r) {
		refused++;
		if (typed(r) && f.text[0])
			return true;
		printf("# %s: mounting: error %d '%s'\n", what, r, f.text);
		return false;
	}
	state_read(v, &s);
	seal_unmount(v);
	if (!least)
		for (k = 0; k < VERSIONS && said[k].generation != s.generation; k++)
			;
	if (k == VERSIONS && s.generation + 1 == said[0].generation)
		s.generation++, k = 0; // the first of the two equal roots that making the volume wrote
	if (k == VERSIONS || said[k].generation != s.generation) {
		printf("# %s: opens at commit %lu, which is no version\n", what, s.generation);
		return false;
	}
	if (s.error && !typed(s.error)) {
		printf("# %s: reading: error %d\n", what, s.error);
		return false;
	}
	if (!state_within(&s, &said[k])) {
		printf("# %s: serves what version %u does not hold\n", what, k);
		return false;
	}
	whole += !s.error;
	partly += s.error != 0;
	return true;
}

static void prepare(void)
{
	struct seal_vol *v;
	struct work w = {.max_write = 60000};
	struct mem m;
	rnd_seed(77);
	CHECK_EQ(new_volume(&m, 16u << 20, &v), 0);
	seal_set_epoch(v, 5);
	for (u32 k = 0; k < VERSIONS; k++) {
		do // the first one is the empty volume
			if (k > 3 && k % 3) // two of three versions are a record of the log
				work_quiet(v, 1 + (u32)(rnd() % 4));
			else
				work_some(&w, v, k ? 4 + (u32)(rnd() % 30) : 0);
		while (seal_sync(v), seal_get_state(v, &known[k]), k && known[k].generation == known[k - 1].generation);
		state_read(v, &said[k]);
		CHECK(state_digest(&said[k]));
		CHECK_EQ(said[k].generation, known[k].generation);
		mem_copy(&image[k], &m);
	}
	work_close(&w, v);
	CHECK_EQ(seal_unmount(v), 0);
	mem_free(&m);
	CHECK_EQ(new_volume(&foreign, 16u << 20, &v), 0);
	work_some(&w, v, 300);
	work_close(&w, v);
	CHECK_EQ(seal_unmount(v), 0);
	for (u32 k = 0; k < VERSIONS; k++)
		CHECK(judge("an old copy", &image[k], NULL, k));
	CHECK_EQ(whole, VERSIONS);
	whole = 0;
}

static void put(struct mem *m, u64 block, const struct mem *from, u64 source)
{
	struct mem_op op = {block * 4096, 4096, from->data + source * 4096};
	if ((source + 1) * 4096 <= from->size)
		mem_apply(m, &op);
}

// Some of the blocks that differ (the roots too) are those of another version.
static void versions_mixed(void)
{
	refused = whole = partly = 0;
	for (u64 t = 0; t < rounds; t++) {
		static const u32 percents[] = {1, 10, 50, 90, 99};
		u32 i = (u32)(rnd() % VERSIONS), j = (u32)(rnd() % VERSIONS), percent = percents[rnd() % 5];
		if (rnd() % 3 == 0)
			i = j ? j - 1 : 0; // neighbours share the most
		bool roots = rnd() % 4 == 0;
		struct mem m;
		mem_copy(&m, &image[j]);
		for (u64 b = roots ? 0 : 32; b * 4096 < m.size; b++)
			if (rnd() % 100 < percent)
				put(&m, b, &image[i], b);
		bool anchor = rnd() & 1;
		bool ok = judge("mixed versions", &m, anchor ? &known[VERSIONS - 1] : NULL, VERSIONS - 1);
		mem_free(&m);
		CHECK(ok);
	}
	printf("# %lu mixtures: %u refused, %u read whole, %u in part\n", rounds, refused, whole, partly);
	CHECK(refused && whole && (partly || rounds < 100));
}

static void blocks_moved_and_foreign(void)
{
	refused = whole = partly = 0;
	for (u64 t = 0; t < rounds; t++) {
		u32 j = VERSIONS - 1 - (u32)(rnd() % 3);
		struct mem m;
		mem_copy(&m, &image[j]);
		u64 blocks = m.size / 4096;
		for (u64 n = 1 + rnd() % 6; n; n--) {
			u64 b = rnd() % blocks;
			switch (rnd() % 4) {
			case 0: put(&m, b, &image[j], rnd() % blocks); break;		   // another place
			case 1: put(&m, b, &image[rnd() % VERSIONS], rnd() % blocks); break; // and time
			case 2: put(&m, b, &foreign, rnd() % (foreign.size / 4096)); break;
			case 3: put(&m, b, &foreign, b); break;
			}
		}
		bool ok = judge("moved blocks", &m, NULL, j);
		mem_free(&m);
		CHECK(ok);
	}
	printf("# %lu images with moved blocks: %u refused, %u read whole, %u in part\n", rounds, refused, whole, partly);
}

static void bits_flipped_and_ends_cut(void)
{
	refused = whole = partly = 0;
	for (u64 t = 0; t < rounds; t++) {
		u32 j = VERSIONS - 1 - (u32)(rnd() % 3);
		struct mem m;
		mem_copy(&m, &image[j]);
		if (rnd() % 8 == 0)
			m.size = rnd() % m.size;
		for (u64 n = 1 + rnd() % 4; n && m.size; n--)
			m.data[rnd() % 4 ? rnd() % m.size : (rnd() % 2 * 65536 + rnd() % 600) % m.size] ^= (u8)(1u << rnd() % 8);
		bool ok = judge("flipped bits", &m, rnd() & 1 ? &known[j] : NULL, j);
		mem_free(&m);
		CHECK(ok);
	}
	printf("# %lu damaged images: %u refused, %u read whole, %u in part\n", rounds, refused, whole, partly);
}

// The host copies the file at any moment while a program works, cache pressure included, and shows the copy later: nothing that was
// never synced appears.
static void unanticipated_snapshots(void)
{
	static struct state s;
	struct seal_vol *v, *c;
	struct mem m, copy;
	struct seal_env env = test_env;
	struct work w = {.max_write = 160000};
	u64 digests[400] = {0};
	u32 n = 0, taken = 0;
	env.cache_bytes = 0x40000;
	rnd_seed(31);
	mem_init(&m);
	CHECK_EQ(seal_format(&m.io, &env, test_key, NULL, 32u << 20), 0);
	CHECK_EQ(seal_mount(&m.io, &env, test_key, NULL, 0, &v, NULL), 0);
	state_read(v, &s);
	digests[n++] = state_digest(&s);
	while (n < 60) {
		u64 writes = m.writes;
		if (rnd() % 2)
			work_quiet(v, 1 + (u32)(rnd() % 8));
		else
			work_some(&w, v, 1 + (u32)(rnd() % 8));
		if (m.writes != writes) { // the cache wrote out what nobody synced
			mem_copy(&copy, &m);
			CHECK_EQ(seal_mount(&copy.io, &test_env, test_key, NULL, SEAL_RDONLY, &c, NULL), 0);
			state_read(c, &s);
			seal_unmount(c);
			mem_free(&copy);
			u64 h = state_digest(&s);
			u32 k = 0;
			struct seal_info info;
			seal_get_info(v, &info);
			if (info.generation != s.generation)
				CHECK(!"the copy is older than the volume");
			while (k < n && digests[k] != h)
				k++;
			taken++;
			if (k == n) { // a commit that the volume made by itself, since space was short: then it is the state of now
				state_read(v, &s);
				CHECK_EQ(state_digest(&s), h);
			}
		}
		if (rnd() % 4 == 0) {
			CHECK_EQ(seal_sync(v), 0);
			state_read(v, &s);
			digests[n++] = state_digest(&s);
		}
	}
	printf("# %u images taken between syncs\n", taken);
	CHECK(taken > 10);
	work_close(&w, v);
	CHECK_EQ(seal_unmount(v), 0);
	mem_free(&m);
}

int main(int argc, char **argv)
{
	u64 seed = 5;
	int opt;
	while ((opt = getopt(argc, argv, "s:n:")) != -1)
		*(opt == 's' ? &seed : &rounds) = strtoul(optarg ? optarg : "", NULL, 0);
	RUN(prepare);
	rnd_seed(seed);
	if (!test_failures) {
		RUN(versions_mixed);
		RUN(blocks_moved_and_foreign);
		RUN(bits_flipped_and_ends_cut);
		RUN(unanticipated_snapshots);
	}
	for (u32 k = 0; k < VERSIONS; k++)
		mem_free(&image[k]);
	mem_free(&foreign);
	return test_end();
}

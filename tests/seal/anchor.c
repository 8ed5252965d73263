// SPDX-License-Identifier: Apache-2.0
// Freshness of the whole volume: every older image is refused by what the anchor remembers, every state that an honest crash
// can leave is accepted, and a line of commits that runs beside the anchored one is not.
#include "tests/seal/mem.h"

static struct seal_fault fault;

static int mount_with(struct mem *m, u32 flags, const struct seal_anchor *a, struct seal_vol **v)
{
	return seal_mount_anchored(&m->io, &test_env, test_key, NULL, flags, a, v, &fault);
}

// Opens for writing as an enclave does: check, then claim the next epoch with the state found.
static int claim(struct mem *m, struct seal_anchor *a, struct seal_vol **v)
{
	int r = mount_with(m, 0, a, v);
	if (r)
		return r;
	u64 epoch = a->epoch + 1;
	seal_get_state(*v, a);
	a->epoch = epoch;
	seal_set_epoch(*v, epoch);
	return 0;
}

static int change(struct seal_vol *v, u32 k)
{
	struct seal_inode *root = root_of(v), *i;
	char name[20];
	u32 len = (u32)sprintf(name, "f%u", k);
	int r = seal_create(v, root, name, len, 0100600, 0, 0, 0, &i);
	if (!r) {
		r = seal_write(v, i, 0, name, len) == (s64)len ? 0 : -EIO;
		seal_iput(v, i);
	}
	seal_iput(v, root);
	return r ? r : seal_sync(v);
}

static int opens(struct mem *m, const struct seal_anchor *a)
{
	struct seal_vol *v;
	int r = mount_with(m, SEAL_RDONLY, a, &v);
	if (!r)
		seal_unmount(v);
	return r;
}

#define STATES 12
static struct mem image[STATES];
static struct seal_anchor known[STATES];

static void older_images_are_refused(void)
{
	struct seal_vol *v;
	struct mem m;
	struct seal_anchor a;
	CHECK_EQ(new_volume(&m, 8u << 20, &v), 0);
	CHECK_EQ(seal_unmount(v), 0);
	CHECK_EQ(seal_mount(&m.io, &test_env, test_key, NULL, SEAL_RDONLY, &v, NULL), 0);
	seal_get_state(v, &a);
	seal_unmount(v);
	CHECK_EQ(claim(&m, &a, &v), 0);
	for (u32 k = 0; k < STATES; k++) {
		CHECK_EQ(change(v, k), 0);
		seal_get_state(v, &known[k]);
		CHECK_EQ(known[k].epoch, a.epoch);
		mem_copy(&image[k], &m);
	}
	for (u32 i = 0; i < STATES; i++)
		for (u32 j = 0; j < STATES; j++) // what the anchor was told last; later commits were on their way to it
			CHECK_EQ(opens(&image[i], &known[j]), i < j ? SEAL_EROLLBACK : 0);
	CHECK_EQ(opens(&image[3], &known[5]), SEAL_EROLLBACK);
	CHECK(strstr(fault.text, "rolled back") && fault.kind == SEAL_FAULT_ROLLBACK);
	CHECK_EQ(seal_unmount(v), 0);
	CHECK_EQ(opens(&m, &known[STATES - 1]), 0);
	mem_free(&m);
}

// Both slots of a closed volume hold the state that the anchor was told of: losing one costs nothing.
static void either_slot_of_a_closed_volume(void)
{
	struct seal_vol *v;
	struct seal_anchor a = known[4], last;
	struct mem m;
	mem_copy(&m, &image[4]);
	CHECK_EQ(claim(&m, &a, &v), 0);
	CHECK_EQ(change(v, 100), 0);
	CHECK_EQ(seal_checkpoint(v), 0);
	seal_get_state(v, &last);
	CHECK_EQ(seal_unmount(v), 0);
	for (u32 s = 0; s < 2; s++) {
		m.data[s * 65536 + 200] ^= 1;
		CHECK_EQ(opens(&m, &last), 0);
		m.data[s * 65536 + 200] ^= 1;
	}
	mem_free(&m);
}

// Two enclaves on two copies: the first is kept from its anchor and commits more often than the second, whose commits are
// anchored. The first's copy has the higher number, and must not open.
static void another_line_is_refused(void)
{
	struct seal_vol *v1, *v2;
	struct seal_anchor first = known[2], second;
	struct mem a, b;
	mem_copy(&a, &image[2]);
	mem_copy(&b, &image[2]);
	CHECK_EQ(claim(&a, &first, &v1), 0);
	second = first;
	CHECK_EQ(claim(&b, &second, &v2), 0);
	CHECK(second.epoch == first.epoch + 1);
	for (u32 k = 0; k < 8; k++)
		CHECK_EQ(change(v1, 200 + k), 0);
	CHECK_EQ(change(v2, 300), 0);
	seal_get_state(v2, &second);
	CHECK_EQ(opens(&a, &second), SEAL_EROLLBACK);
	CHECK(strstr(fault.text, "replaced"));
	CHECK_EQ(opens(&b, &second), 0);
	// the same number of commits on both sides
	struct seal_anchor s1;
	while (seal_get_state(v2, &second), seal_get_state(v1, &s1), second.generation < s1.generation)
		CHECK_EQ(change(v2, 400 + (u32)second.generation), 0);
	CHECK_EQ(second.generation, s1.generation);
	CHECK_EQ(opens(&a, &second), SEAL_EROLLBACK);
	CHECK_EQ(seal_unmount(v1), 0);
	CHECK_EQ(seal_unmount(v2), 0);
	CHECK_EQ(opens(&a, &second), SEAL_EROLLBACK);
	mem_free(&a);
	mem_free(&b);
}

static void nothing_is_committed_before_the_claim(void)
{
	struct seal_vol *v;
	struct mem m;
	mem_copy(&m, &image[1]);
	CHECK_EQ(mount_with(&m, 0, &known[1], &v), 0);
	u64 writes = m.writes;
	CHECK_EQ(change(v, 500), -EBUSY);
	CHECK_EQ(seal_checkpoint(v), -EBUSY);
	seal_set_epoch(v, 77);
	CHECK_EQ(seal_sync(v), 0);
	CHECK(m.writes > writes);
	CHECK_EQ(seal_unmount(v), 0);
	struct seal_anchor a = known[1];
	CHECK_EQ(opens(&m, &a), SEAL_EROLLBACK); // the anchor knows of no writer 77
	a.epoch = 77;
	CHECK_EQ(opens(&m, &a), 0);
	mem_free(&m);
}

// The volume dies at every write and every flush of a run, the anchor having been told of each commit that was complete, or of
// none of the last few: it opens each time.
static void every_crash_opens(void)
{
	struct seal_vol *v;
	struct mem m, copy;
	struct seal_anchor a = known[6], told[10];
	u32 at[10], n = 0;
	mem_copy(&m, &image[6]);
	CHECK_EQ(claim(&m, &a, &v), 0);
	m.record = true;
	told[n] = a;
	at[n++] = 0;
	while (n < 10) {
		CHECK_EQ(change(v, 600 + n), 0);
		seal_get_state(v, &told[n]);
		at[n++] = m.nops;
	}
	CHECK_EQ(seal_unmount(v), 0);
	mem_copy(&copy, &image[6]);
	for (u32 k = 0; k < m.nops; k++) {
		for (u32 s = 0; s < n && at[s] <= k; s++)
			CHECK_EQ(opens(&copy, &told[s]), 0);
		for (u32 s = 0; s < n; s++) // what is not there yet cannot be anchored, and would be refused
			if (at[s] > k + 4)
				CHECK_EQ(opens(&copy, &told[s]), SEAL_EROLLBACK);
		mem_apply(&copy, &m.ops[k]);
	}
	mem_free(&copy);
	mem_free(&m);
}

// Who writes without an anchor leaves roots of no writer: whatever the line is that they end, the anchor takes none of them until its
// owner says so.
static void written_without_the_anchor(void)
{
	struct seal_vol *v;
	struct seal_anchor a = known[3], state;
	struct mem m;
	mem_copy(&m, &image[3]);
	CHECK_EQ(seal_mount(&m.io, &test_env, test_key, NULL, SEAL_RDONLY, &v, NULL), 0);
	CHECK_EQ(seal_unmount(v), 0);
	CHECK_EQ(opens(&m, &a), 0); // who only looked left nothing
	CHECK_EQ(seal_mount(&m.io, &test_env, test_key, NULL, 0, &v, NULL), 0);
	for (u32 k = 0; k < 4; k++)
		CHECK_EQ(change(v, 700 + k), 0);
	seal_get_state(v, &state);
	CHECK_EQ(state.epoch, 0);
	CHECK_EQ(opens(&m, &a), SEAL_EROLLBACK); // with each of these roots
	CHECK_EQ(seal_unmount(v), 0);
	CHECK_EQ(opens(&m, &a), SEAL_EROLLBACK);
	CHECK(strstr(fault.text, "without its anchor"));
	CHECK_EQ(mount_with(&m, 0, &a, &v), SEAL_EROLLBACK);
	CHECK_EQ(seal_mount(&m.io, &test_env, test_key, NULL, SEAL_RDONLY, &v, NULL), 0);
	seal_get_state(v, &state); // the owner: this is right
	CHECK_EQ(seal_unmount(v), 0);
	state.epoch = a.epoch + 1;
	CHECK_EQ(opens(&m, &state), 0);
	CHECK_EQ(claim(&m, &state, &v), 0);
	CHECK_EQ(change(v, 710), 0);
	CHECK_EQ(seal_unmount(v), 0);
	CHECK_EQ(opens(&m, &state), 0);
	mem_free(&m);
}

// The anchor that knows nothing yet is asked before the first commit too: else that root would be of no writer.
static void the_first_claim(void)
{
	struct seal_vol *v;
	struct seal_anchor a;
	struct mem m;
	mem_copy(&m, &image[2]);
	CHECK_EQ(mount_with(&m, SEAL_CLAIM, NULL, &v), 0);
	u64 writes = m.writes;
	CHECK_EQ(change(v, 800), -EBUSY);
	CHECK_EQ(m.writes, writes);
	seal_get_state(v, &a);
	a.epoch = 1;
	seal_set_epoch(v, 1);
	CHECK_EQ(seal_sync(v), 0);
	CHECK_EQ(seal_unmount(v), 0);
	CHECK_EQ(opens(&m, &a), 0);
	mem_free(&m);
}

static void snapshots_of_older_images_are_refused(void)
{
	struct seal_vol *v, *s;
	struct seal_anchor a = known[5], now;
	struct mem m, old;
	mem_copy(&m, &image[5]);
	CHECK_EQ(claim(&m, &a, &v), 0);
	CHECK_EQ(seal_snapshot_create(v, "one", 3), 0);
	mem_copy(&old, &m);
	CHECK_EQ(change(v, 900), 0);
	seal_get_state(v, &now);
	CHECK_EQ(seal_unmount(v), 0);
	CHECK_EQ(seal_mount_snapshot(&old.io, &test_env, test_key, NULL, "one", 3, &now, &s, &fault), SEAL_EROLLBACK);
	CHECK(fault.kind == SEAL_FAULT_ROLLBACK);
	CHECK_EQ(seal_mount_snapshot(&old.io, &test_env, test_key, NULL, "one", 3, NULL, &s, &fault), 0);
	CHECK_EQ(seal_unmount(s), 0);
	CHECK_EQ(seal_mount_snapshot(&m.io, &test_env, test_key, NULL, "one", 3, &now, &s, &fault), 0);
	CHECK_EQ(seal_unmount(s), 0);
	mem_free(&old);
	mem_free(&m);
}

int main(void)
{
	RUN(older_images_are_refused);
	RUN(either_slot_of_a_closed_volume);
	RUN(another_line_is_refused);
	RUN(nothing_is_committed_before_the_claim);
	RUN(every_crash_opens);
	RUN(written_without_the_anchor);
	RUN(the_first_claim);
	RUN(snapshots_of_older_images_are_refused);
	for (u32 k = 0; k < STATES; k++)
		mem_free(&image[k]);
	return test_end();
}

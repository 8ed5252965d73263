// SPDX-License-Identifier: Apache-2.0
// The log of a sealed volume: what an fsync costs, what is there after a crash, what a host can take back of it.
#include "seal/vol.h"
#include "tests/seal/work.h"

#define PAGES 64u
static struct mem m;
static struct seal_vol *v;
static struct seal_inode *file;
static u8 page[4096];

static int page_write(u64 k, u8 with)
{
	const void *in[1] = {page};
	memset(page, with, sizeof page);
	return seal_write_pages(v, file, &k, 1, in, (k + 1) * 4096);
}

static int page_and_sync(u64 k, u8 with)
{
	int r = page_write(k, with);
	return r ? r : seal_sync(v);
}

// A file of whole pages that a root knows.
static int begin(u64 bytes)
{
	struct seal_inode *root;
	int r = new_volume(&m, bytes, &v);
	if (!r)
		r = seal_iget(v, SEAL_ROOT_INO, &root);
	if (r)
		return r;
	r = seal_create(v, root, "file", 4, 0100600, 0, 0, 0, &file);
	seal_iput(v, root);
	for (u64 k = 0; k < PAGES && !r; k++)
		r = page_write(k, 1);
	return r ? r : seal_sync(v);
}

static void end(void)
{
	seal_iput(v, file);
	CHECK_EQ(seal_unmount(v), 0);
	mem_free(&m);
}

static u32 records(struct seal_vol *of)
{
	struct seal_info info;
	seal_get_info(of, &info);
	return info.log_records;
}

static void an_fsync_is_one_block_more(void)
{
	CHECK_EQ(begin(64u << 20), 0);
	u64 flushes = m.flushes;
	u32 small = 0;
	for (u32 k = 0; k < 20; k++) {
		u64 bytes = m.bytes_written;
		CHECK_EQ(page_and_sync(rnd() % PAGES, (u8)k), 0);
		small += m.bytes_written - bytes == 8192; // else the file was made longer
	}
	CHECK_EQ(m.flushes - flushes, 20);
	CHECK(small > 17);
	flushes = m.flushes;
	CHECK_EQ(seal_sync(v), 0); // nothing has changed
	CHECK_EQ(m.flushes, flushes);
	CHECK_EQ(records(v), 20);
	end();
}

static void what_a_record_cannot_tell(void)
{
	static const char *const what[] = {"create", "truncate", "part of a page", "xattr", "punch", "many pages", "attributes"};
	CHECK_EQ(begin(64u << 20), 0);
	struct seal_inode *root = root_of(v), *i;
	for (u32 k = 0; k < 7; k++) {
		CHECK_EQ(page_and_sync(3, 2), 0);
		CHECK(records(v) > 0);
		switch (k) {
		case 0:
			CHECK_EQ(seal_create(v, root, "other", 5, 0100600, 0, 0, 0, &i), 0);
			seal_iput(v, i);
			break;
		case 1: CHECK_EQ(seal_truncate(v, file, 50 * 4096), 0); break;
		case 2: CHECK_EQ(seal_write(v, file, 100, "x", 1), 1); break;
		case 3: CHECK_EQ(seal_setxattr(v, file, "user.a", 6, "b", 1, 0), 0); break;
		case 4: CHECK_EQ(seal_punch(v, file, 4096, 4096), 0); break;
		case 5:
			for (u64 j = 0; j < 65; j++)
				CHECK_EQ(page_write(j, 7), 0);
			break;
		case 6: CHECK_EQ(seal_setattr(v, file, SEAL_SET_UID, &(struct seal_attr){.uid = 7}), 0); break;
		}
		CHECK_EQ(seal_sync(v), 0);
		if ((records(v) != 0) != (k == 6)) {
			printf("# %s: %u records\n", what[k], records(v));
			CHECK(!"a root or a record");
		}
	}
	seal_iput(v, root);
	end();
}

// Pages far apart, in a file that had none when its root was written: one record has them all.
static void pages_far_apart_in_an_empty_file(void)
{
	static const u64 far[] = {3, 5, 2394, 200000};
	struct seal_inode *root, *i;
	struct seal_vol *again;
	struct mem crashed;
	u8 got[4096];
	CHECK_EQ(new_volume(&m, 64u << 20, &v), 0);
	root = root_of(v);
	CHECK_EQ(seal_create(v, root, "file", 4, 0100600, 0, 0, 0, &file), 0);
	CHECK_EQ(seal_truncate(v, file, 200001ul * 4096), 0);
	CHECK_EQ(seal_sync(v), 0);
	for (u32 k = 0; k < 4; k++)
		CHECK_EQ(page_write(far[k], (u8)(k + 1)), 0);
	CHECK_EQ(seal_sync(v), 0);
	CHECK_EQ(records(v), 1);
	mem_copy(&crashed, &m);
	CHECK_EQ(seal_mount(&crashed.io, &test_env, test_key, NULL, 0, &again, NULL), 0);
	struct seal_inode *there = root_of(again);
	CHECK_EQ(seal_lookup(again, there, "file", 4, &i), 0);
	for (u32 k = 0; k < 4; k++) {
		CHECK_EQ(seal_read(again, i, far[k] * 4096, got, 4096), 4096);
		CHECK_EQ(got[77], k + 1);
	}
	seal_iput(again, i);
	seal_iput(again, there);
	CHECK_EQ(fsck_quiet(again), 0);
	CHECK_EQ(seal_unmount(again), 0);
	mem_free(&crashed);
	seal_iput(v, root);
	end();
}

// A root follows in time, and blocks of a small volume do not run out.
static void the_log_ends(void)
{
	CHECK_EQ(begin(2u << 20), 0);
	u32 most = 0, roots = 0, last = 0;
	for (u32 k = 0; k < 3000; k++) {
		CHECK_EQ(page_and_sync(rnd() % PAGES, (u8)k), 0);
		u32 n = records(v);
		roots += n < last;
		last = n;
		most = SEAL_MAX(most, n);
	}
	printf("# 2 MiB: %u records at most, %u roots\n", most, roots);
	CHECK(most > 20 && roots > 2);
	CHECK_EQ(fsck_quiet(v), 0);
	end();
	CHECK_EQ(begin(256u << 20), 0);
	for (u32 k = 0; k < 3000; k++) {
		CHECK_EQ(page_and_sync(rnd() % PAGES, (u8)k), 0);
		most = SEAL_MAX(most, records(v));
	}
	CHECK_EQ(most, 1024);
	end();
}

// After each sync the file as it is opens with what was synced; it is whole; and a mount that writes goes on from there.
static void each_record_is_there(void)
{
	static struct state before, after;
	CHECK_EQ(begin(16u << 20), 0);
	for (u32 k = 0; k < 60; k++) {
		struct seal_vol *c;
		struct mem copy;
		work_quiet(v, 1);
		CHECK_EQ(page_and_sync(rnd() % 3000, (u8)k), 0);
		state_read(v, &before);
		mem_copy(&copy, &m);
		CHECK_EQ(seal_mount(&copy.io, &test_env, test_key, NULL, SEAL_RDONLY, &c, NULL), 0);
		state_read(c, &after);
		CHECK(state_digest(&before) && state_digest(&before) == state_digest(&after));
		CHECK_EQ(before.generation, after.generation);
		CHECK_EQ(records(c), records(v));
		CHECK_EQ(fsck_quiet(c), 0);
		CHECK_EQ(seal_unmount(c), 0);
		CHECK_EQ(copy.writes, 0);
		CHECK_EQ(seal_mount(&copy.io, &test_env, test_key, NULL, 0, &c, NULL), 0);
		if (k % 2)
			CHECK_EQ(fsck_quiet(c), 0);
		CHECK_EQ(seal_unmount(c), 0);
		CHECK_EQ(seal_mount(&copy.io, &test_env, test_key, NULL, SEAL_RDONLY, &c, NULL), 0);
		state_read(c, &after);
		CHECK_EQ(records(c), 0);
		CHECK(state_digest(&before) == state_digest(&after));
		CHECK_EQ(fsck_quiet(c), 0);
		CHECK_EQ(seal_unmount(c), 0);
		mem_free(&copy);
	}
	end();
}

// More is changed than fits in the cache, so going through the log writes pointer blocks out half way: not to where what is yet to
// come lies, neither in memory nor in the file.
static int far_pages(struct seal_vol *of, u32 n, u32 first)
{
	struct seal_inode *root = root_of(of), *i;
	int r = seal_lookup(of, root, "file", 4, &i);
	seal_iput(of, root);
	if (r)
		return r;
	for (u32 k = 0; k < n && !r; k++) {
		u8 got = 0;
		s64 e = seal_read(of, i, (first + k) * 128ul * 4096, &got, 1);
		r = e != 1 ? (int)e : got == (u8)(k + 7) ? 0 : 1000 + (int)k;
	}
	seal_iput(of, i);
	return r;
}

static void a_log_that_outgrows_the_cache(void)
{
	enum { N = 300 };
	CHECK_EQ(begin(64u << 20), 0);
	for (u32 k = 0; k < N; k++)
		CHECK_EQ(page_write((1 + k) * 128, 1), 0);
	CHECK_EQ(seal_sync(v), 0);
	CHECK_EQ(records(v), 0);
	for (u32 k = 0; k < N; k++)
		CHECK_EQ(page_and_sync((1 + k) * 128, (u8)(k + 7)), 0);
	CHECK_EQ(records(v), N);
	for (u32 k = 0; k < 2; k++) {
		struct seal_vol *c;
		struct mem copy, again;
		mem_copy(&copy, &m);
		CHECK_EQ(seal_mount(&copy.io, &test_env, test_key, NULL, k ? 0 : SEAL_RDONLY, &c, NULL), 0);
		CHECK_EQ(records(c), N);
		CHECK_EQ(far_pages(c, N, 1), 0);
		CHECK_EQ(copy.writes != 0, k); // else this tests nothing
		mem_copy(&again, &copy);
		CHECK_EQ(fsck_quiet(c), 0);
		CHECK_EQ(seal_unmount(c), 0);
		mem_free(&copy);
		CHECK_EQ(seal_mount(&again.io, &test_env, test_key, NULL, 0, &c, NULL), 0); // it stopped before its first commit
		CHECK_EQ(records(c), N);
		CHECK_EQ(far_pages(c, N, 1), 0);
		CHECK_EQ(seal_unmount(c), 0);
		mem_free(&again);
	}
	end();
}

// The host damages, cuts off or replaces a record, or a page that one names: what is behind it is gone, and nothing else comes
// in its place; an anchor that was told of more refuses.
static void a_host_takes_records_back(void)
{
	enum { N = 12 };
	static struct state said[N + 1], s;
	static struct seal_anchor told[N + 1];
	u64 first[N + 1], second[N + 1];
	CHECK_EQ(begin(16u << 20), 0);
	seal_set_epoch(v, 3);
	CHECK_EQ(page_and_sync(1, 1), 0);
	CHECK_EQ(records(v), 0); // records belong to a root of their epoch
	for (u32 k = 0; k <= N; k++) {
		m.record = true;
		if (k)
			CHECK_EQ(page_and_sync(k, (u8)(50 + k)), 0);
		m.record = false;
		CHECK_EQ(records(v), k);
		first[k] = second[k] = 0;
		for (u32 j = 0; j < m.nops; j++)
			if (m.ops[j].n == 4096) { // the page, then the record; what is longer only gives the file room
				first[k] = second[k];
				second[k] = m.ops[j].off;
			}
		mem_forget_ops(&m);
		state_read(v, &said[k]);
		seal_get_state(v, &told[k]);
	}
	for (u32 t = 0; t < 400; t++) {
		struct seal_vol *c;
		struct seal_fault f;
		struct mem copy;
		u32 k = 1 + (u32)(rnd() % N), j = 1 + (u32)(rnd() % N), a = (u32)(rnd() % (N + 1));
		u64 off = rnd() % 2 ? first[k] : second[k];
		mem_copy(&copy, &m);
		if (t % 3 == 0)
			copy.data[off + rnd() % 4096] ^= 1;
		else if (t % 3 == 1)
			memset(copy.data + off, 0, 4096);
		else if (j != k)
			memcpy(copy.data + off, m.data + (off == first[k] ? first[j] : second[j]), 4096);
		else
			k = N + 1;
		CHECK_EQ(seal_mount_anchored(&copy.io, &test_env, test_key, NULL, SEAL_RDONLY, &told[a], &c, &f), a < k ? 0 : SEAL_EROLLBACK);
		if (a < k) {
			state_read(c, &s);
			CHECK_EQ(s.generation, told[k - 1].generation);
			CHECK(state_digest(&s) == state_digest(&said[k - 1]));
			seal_unmount(c);
		}
		mem_free(&copy);
	}
	end();
}

// Any one block is damaged while there are records: the volume opens at a state that was synced, or says what is wrong; and it can
// be mended.
static void damage_and_repair(void)
{
	enum { N = 6 };
	static struct state said[N], s;
	u32 refused = 0, whole = 0, partly = 0;
	CHECK_EQ(begin(2u << 20), 0);
	for (u32 k = 0; k < N; k++) {
		CHECK_EQ(page_and_sync(k * 9, (u8)(90 + k)), 0);
		CHECK_EQ(records(v), k + 1);
		state_read(v, &said[k]);
	}
	for (u64 b = 32; b * 4096 < m.size; b++) {
		struct seal_vol *c;
		struct seal_fault f;
		struct seal_fsck_stats st;
		struct mem copy;
		u32 k = 0;
		mem_copy(&copy, &m);
		copy.data[b * 4096 + rnd() % 4096] ^= 4;
		int r = seal_mount(&copy.io, &test_env, test_key, NULL, SEAL_RDONLY, &c, &f);
		CHECK(!r || (r == SEAL_ETAMPER && f.text[0]));
		if (!r) {
			state_read(c, &s);
			while (k < N && said[k].generation != s.generation)
				k++;
			CHECK((k < N && state_within(&s, &said[k])) || s.generation + 1 == said[0].generation);
			partly += s.error != 0;
			seal_unmount(c);
		}
		refused += r != 0;
		r = seal_mount(&copy.io, &test_env, test_key, NULL, SEAL_REPAIR, &c, &f);
		if (!r) {
			CHECK_EQ(seal_repair(c, &(struct seal_checker){0}, &st), 0);
			CHECK_EQ(seal_unmount(c), 0);
			CHECK_EQ(seal_mount(&copy.io, &test_env, test_key, NULL, SEAL_RDONLY, &c, &f), 0);
			CHECK_EQ(fsck_quiet(c), 0);
			seal_unmount(c);
			whole++;
		}
		mem_free(&copy);
	}
	printf("# one block damaged: %u refused, %u read in part, %u mended\n", refused, partly, whole);
	CHECK(refused && partly && whole > 200);
	end();
}

static char said_text[20000];
static void told(void *ctx, const char *text)
{
	(void)ctx;
	if (strlen(said_text) + strlen(text) + 2 < sizeof said_text)
		strcat(strcat(said_text, text), "\n");
}

static u64 address(struct tree *t, u32 level, u64 index)
{
	struct node *holder;
	struct d_ptr *slot;
	u64 addr = 0;
	if (!sv_tree_slot(v, t, level, index, NODE_READ, &slot, &holder) && slot)
		addr = ptr_addr(slot);
	sv_node_put(v, holder);
	return addr;
}

// What was synced after the newest root outlives the map of free space, the counts of references, and what other files lose.
static void the_log_outlives_what_is_damaged(void)
{
	static struct state whole, s;
	struct seal_inode *root, *other, *also;
	CHECK_EQ(begin(32u << 20), 0);
	root = root_of(v);
	CHECK_EQ(seal_create(v, root, "other", 5, 0100600, 0, 0, 0, &other), 0);
	CHECK_EQ(seal_create(v, root, "also", 4, 0100600, 0, 0, 0, &also), 0);
	CHECK_EQ(seal_clone(v, file, 0, also, 0, 0), 0);
	seal_iput(v, also);
	seal_iput(v, root);
	for (u64 k = 0; k < 40; k++)
		CHECK_EQ(seal_write(v, other, k * 4096 * 100, page, sizeof page), 4096);
	CHECK_EQ(seal_sync(v), 0);
	for (u32 k = 0; k < 20; k++) {
		const void *in[1] = {page};
		u64 at = 100ul * k;
		CHECK_EQ(page_write(k * 3, (u8)(100 + k)), 0);
		CHECK_EQ(seal_write_pages(v, other, &at, 1, in, 40 * 4096 * 100), 0);
		CHECK_EQ(seal_sync(v), 0);
	}
	CHECK_EQ(records(v), 20);
	state_read(v, &whole);
	u64 bad[] = {address(&v->bmap, 0, 0), address(&v->bmap, 1, 0), address(&v->refs, 0, 0), 0};
	u64 upper = address(&other->tree, 1, 3);
	for (u32 k = 0; k < 8; k++) {
		struct seal_vol *c;
		struct seal_fault f;
		struct seal_fsck_stats st;
		struct seal_inode *r, *i;
		struct mem copy;
		u64 addr = bad[k / 2];
		if (!addr && k / 2 != 3)
			continue;
		mem_copy(&copy, &m);
		if (addr)
			copy.data[addr * 4096 + 99] ^= 4;
		if (k % 2) // and a pointer block of another file
			copy.data[upper * 4096 + 99] ^= 4;
		said_text[0] = 0;
		CHECK_EQ(seal_mount(&copy.io, &test_env, test_key, NULL, SEAL_REPAIR | SEAL_RDONLY, &c, &f), 0);
		CHECK_EQ(seal_fsck(c, told, NULL, &st) > 0, addr || k % 2);
		seal_unmount(c);
		CHECK_EQ(copy.writes, 0);
		said_text[0] = 0;
		CHECK_EQ(seal_mount(&copy.io, &test_env, test_key, NULL, SEAL_REPAIR, &c, &f), 0);
		CHECK_EQ(seal_repair(c, &(struct seal_checker){.finding = told, .repair = told}, &st), 0);
		CHECK(!strstr(said_text, "session")); // the counts of blocks under each key are right
		CHECK_EQ(seal_unmount(c), 0);
		CHECK_EQ(seal_mount(&copy.io, &test_env, test_key, NULL, 0, &c, &f), 0);
		CHECK_EQ(fsck_quiet(c), 0);
		state_read(c, &s);
		if (k % 2 == 0)
			CHECK(state_digest(&s) == state_digest(&whole));
		else { // pages 384 to 511 of `other` are lost, what is beside them is the newest
			u8 got;
			r = root_of(c);
			CHECK(strstr(said_text, "/other: "));
			CHECK_EQ(seal_lookup(c, r, "other", 5, &i), 0);
			CHECK_EQ(seal_read(c, i, 400 * 4096, &got, 1), SEAL_ETAMPER);
			CHECK_EQ(seal_read(c, i, 600 * 4096, &got, 1), 1);
			CHECK_EQ(got, 106);
			seal_iput(c, i);
			CHECK_EQ(seal_lookup(c, r, "file", 4, &i), 0);
			CHECK_EQ(seal_read(c, i, 57 * 4096, &got, 1), 1);
			CHECK_EQ(got, 119);
			seal_iput(c, i);
			seal_iput(c, r);
		}
		CHECK_EQ(seal_unmount(c), 0);
		mem_free(&copy);
	}
	seal_iput(v, other);
	end();
}

static int mended(struct mem *image, struct state *s)
{
	struct seal_fsck_stats st;
	struct seal_fault f;
	struct seal_vol *c;
	said_text[0] = 0;
	int r = seal_mount(&image->io, &test_env, test_key, NULL, SEAL_REPAIR, &c, &f);
	if (r)
		return r;
	s64 left = seal_repair(c, &(struct seal_checker){.finding = told, .repair = told}, &st);
	r = seal_unmount(c);
	image->bad_reads = 0;
	if (!r && !left)
		r = seal_mount(&image->io, &test_env, test_key, NULL, SEAL_RDONLY, &c, &f);
	if (r || left)
		return left ? (int)left : r;
	r = fsck_quiet(c);
	state_read(c, s);
	seal_unmount(c);
	return r;
}

// A host that could not read a block once or twice can the next time, and nothing is lost for it. One that never can: what was synced
// after the newest root is lost from there on, not all of it.
static void a_host_that_cannot_read(void)
{
	static struct state said[9], s;
	struct mem copy;
	CHECK_EQ(begin(2u << 20), 0);
	for (u32 k = 0; k < 9; k++) {
		if (k)
			CHECK_EQ(page_and_sync(k * 5, (u8)(60 + k)), 0);
		CHECK_EQ(records(v), k);
		state_read(v, &said[k]);
	}
	for (u64 b = 32; b * 4096 < m.size; b++) {
		mem_copy(&copy, &m);
		copy.bad_block = b;
		copy.bad_reads = 2;
		CHECK_EQ(mended(&copy, &s), 0);
		CHECK(state_digest(&s) == state_digest(&said[8]));
		CHECK(!said_text[0]);
		mem_free(&copy);
	}
	u64 third = 0;
	for (u32 n = 0; n < 2; n++) { // a record, and a page of one
		struct log *l = &v->log;
		third = n ? address(&file->tree, 0, 6 * 5) : l->next;
		if (!n) {
			CHECK_EQ(page_and_sync(1, 99), 0); // the record that lies there, and one after it
			CHECK_EQ(page_and_sync(2, 99), 0);
		}
		mem_copy(&copy, &m);
		copy.bad_block = third;
		copy.bad_reads = ~0u;
		CHECK_EQ(mended(&copy, &s), 0);
		CHECK(state_digest(&s) == state_digest(&said[n ? 5 : 8]));
		CHECK(strstr(said_text, "cannot be read by the host"));
		mem_free(&copy);
	}
	end();
}

// A crash left a root whose blocks have not landed, and the host fails a read or two while the one before it is looked at: it is whole still.
static void a_host_that_cannot_read_after_a_crash(void)
{
	static struct state said, s;
	struct mem image, copy;
	CHECK_EQ(begin(2u << 20), 0);
	CHECK_EQ(page_write(5, 71), 0);
	CHECK_EQ(seal_setxattr(v, file, "user.a", 6, "b", 1, 0), 0); // no record tells of it
	CHECK_EQ(seal_sync(v), 0);
	CHECK_EQ(records(v), 0);
	state_read(v, &said);
	mem_copy(&image, &m);
	m.record = true;
	CHECK_EQ(page_write(5, 72), 0);
	CHECK_EQ(page_write(6, 72), 0);
	CHECK_EQ(seal_setxattr(v, file, "user.a", 6, "c", 1, 0), 0);
	CHECK_EQ(seal_sync(v), 0);
	m.record = false;
	u32 roots = 0;
	for (u32 k = 0; k < m.nops; k++)
		if (m.ops[k].n && m.ops[k].off < 32 * 4096) {
			mem_apply(&image, &m.ops[k]);
			roots++;
		}
	CHECK_EQ(roots, 1);
	for (u64 b = 32; b * 4096 < m.size; b++) {
		mem_copy(&copy, &image);
		copy.bad_block = b;
		copy.bad_reads = 2;
		CHECK_EQ(mended(&copy, &s), 0);
		CHECK(state_digest(&s) == state_digest(&said));
		CHECK(!strstr(said_text, "lost"));
		mem_free(&copy);
	}
	mem_free(&image);
	end();
}

// A record that cannot be written: a root takes its place.
static void a_write_that_fails(void)
{
	CHECK_EQ(begin(16u << 20), 0);
	CHECK_EQ(page_and_sync(1, 1), 0);
	CHECK_EQ(page_write(2, 2), 0);
	m.fail_after = 0;
	CHECK_EQ(seal_sync(v), 0);
	m.fail_after = -1;
	CHECK_EQ(records(v), 0);
	CHECK_EQ(page_and_sync(3, 2), 0);
	CHECK_EQ(records(v), 1);
	CHECK_EQ(fsck_quiet(v), 0);
	end();
}

int main(void)
{
	rnd_seed(9);
	RUN(an_fsync_is_one_block_more);
	RUN(what_a_record_cannot_tell);
	RUN(pages_far_apart_in_an_empty_file);
	RUN(the_log_ends);
	RUN(each_record_is_there);
	RUN(a_log_that_outgrows_the_cache);
	RUN(a_host_takes_records_back);
	RUN(damage_and_repair);
	RUN(the_log_outlives_what_is_damaged);
	RUN(a_host_that_cannot_read);
	RUN(a_host_that_cannot_read_after_a_crash);
	RUN(a_write_that_fails);
	return test_end();
}

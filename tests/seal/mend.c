// SPDX-License-Identifier: Apache-2.0
// Repairs of what is rare: a root that the host cannot read beside one that is torn, two pointers to one block that differ, inodes that the
// root does not count or the volume has no room for, a volume so full that the names have no room to be mended in, and repairs that make a
// volume so large that its map of free space gets more levels.
#include "seal/hostio.h"
#include "seal/root.h"
#include "tests/seal/mem.h"
#include <unistd.h>

#define SLOT(k) ((k) * SLOT_BLOCKS)

static char said[1 << 16];
static void told(void *ctx, const char *text)
{
	(void)ctx;
	if (strlen(said) + strlen(text) + 2 < sizeof said)
		strcat(strcat(said, text), "\n");
}

// grow: the limit that the repair gets, 0: none.
static s64 repair(struct mem *m, u64 grow)
{
	const struct seal_checker how = {.finding = told, .repair = told};
	struct seal_fsck_stats st;
	struct seal_vol *v;
	said[0] = 0;
	int r = seal_mount(&m->io, &test_env, test_key, NULL, SEAL_REPAIR, &v, NULL);
	if (r)
		return r;
	r = grow ? seal_resize(v, grow) : 0;
	s64 left = r ? r : seal_repair(v, &how, &st);
	r = seal_unmount(v);
	return left ? left : r;
}

static s64 check(struct mem *m, u32 flags)
{
	struct seal_fsck_stats st;
	struct seal_vol *v;
	said[0] = 0;
	int r = seal_mount(&m->io, &test_env, test_key, NULL, flags, &v, NULL);
	if (r)
		return r;
	s64 n = seal_fsck(v, told, NULL, &st);
	r = seal_unmount(v);
	return n ? n : r;
}

static int put(struct seal_vol *v, const char *name, u8 with, u32 pages)
{
	struct seal_inode *root = root_of(v), *i = NULL;
	u8 page[SEAL_BLOCK];
	memset(page, with, sizeof page);
	int r = seal_create(v, root, name, (u32)strlen(name), 0100644, 0, 0, 0, &i);
	if (r == -EEXIST)
		r = seal_lookup(v, root, name, (u32)strlen(name), &i);
	for (u32 k = 0; k < pages && !r; k++)
		r = seal_write(v, i, k * SEAL_BLOCK, page, sizeof page) == SEAL_BLOCK ? 0 : -ENOSPC;
	if (i)
		seal_iput(v, i);
	seal_iput(v, root);
	return r;
}

// The first byte of a file, or an error.
static s64 first_of(struct mem *m, const char *name)
{
	struct seal_inode *root, *i;
	struct seal_vol *v;
	u8 c = 0;
	int r = seal_mount(&m->io, &test_env, test_key, NULL, 0, &v, NULL);
	if (r)
		return r;
	root = root_of(v);
	s64 n = seal_lookup(v, root, name, (u32)strlen(name), &i);
	if (!n) {
		n = seal_read(v, i, 0, &c, 1);
		seal_iput(v, i);
	}
	seal_iput(v, root);
	r = seal_unmount(v);
	return n < 0 ? n : r ? r : c;
}

// Commits that are not the end of the mount: each slot has a state of its own. *newest: the slot of the last.
static int two_states(struct mem *m, u32 *newest)
{
	struct seal_vol *v;
	int r = new_volume(m, 16u << 20, &v);
	for (u8 k = 1; k <= 3 && !r; k++) {
		r = put(v, "f", k, 1);
		vol_changed(v);
		if (!r)
			r = seal_sync(v);
	}
	*newest = v->slot;
	struct mem crashed;
	mem_copy(&crashed, m);
	int e = seal_unmount(v);
	mem_free(m);
	*m = crashed;
	m->io.ctx = m;
	return r ? r : e;
}

static void unreadable(struct mem *m, u32 slot, u32 times)
{
	m->bad_block = SLOT(slot);
	m->bad_reads = times;
}

static void one_root_unreadable(void)
{
	for (u32 newer = 0; newer < 2; newer++) {
		struct seal_fault fault;
		struct seal_vol *v;
		struct mem m;
		u32 newest;
		CHECK_EQ(two_states(&m, &newest), 0);
		unreadable(&m, newest ^ !newer, 1); // the next attempt may succeed: nothing is taken back
		CHECK_EQ(seal_mount(&m.io, &test_env, test_key, NULL, 0, &v, &fault), -EIO);
		CHECK(strstr(fault.text, "one of the volume's two roots") && fault.kind == SEAL_FAULT_IO);
		CHECK_EQ(first_of(&m, "f"), 3);
		mem_free(&m);
		CHECK_EQ(two_states(&m, &newest), 0);
		unreadable(&m, newest ^ !newer, 2); // a repair asks again
		CHECK_EQ(check(&m, SEAL_RDONLY | SEAL_REPAIR), 0);
		unreadable(&m, newest ^ !newer, 1000);
		CHECK_EQ(check(&m, SEAL_RDONLY | SEAL_REPAIR), 1);
		CHECK(strstr(said, "cannot be read by the host"));
		CHECK_EQ(repair(&m, 0), 0);
		m.bad_reads = 0;
		CHECK_EQ(check(&m, 0), 0);
		CHECK_EQ(first_of(&m, "f"), newer ? 2 : 3);
		mem_free(&m);
	}
}

// The newest root, or a block that was written in its flush, is torn, and the host cannot read the one before.
static void torn_and_unreadable(void)
{
	for (int torn = 0; torn < 2; torn++) {
		struct seal_fault fault;
		struct seal_vol *v;
		struct mem m;
		u32 newest;
		CHECK_EQ(two_states(&m, &newest), 0);
		if (!torn) {
			m.data[SLOT(newest) * SEAL_BLOCK + 2000] ^= 1;
		} else { // the file's page, which that commit wrote
			struct seal_inode *root, *i;
			CHECK_EQ(seal_mount(&m.io, &test_env, test_key, NULL, SEAL_RDONLY, &v, NULL), 0);
			root = root_of(v);
			CHECK_EQ(seal_lookup(v, root, "f", 1, &i), 0);
			m.data[ptr_addr(&i->tree.root[0]) * SEAL_BLOCK] ^= 1;
			seal_iput(v, i);
			seal_iput(v, root);
			CHECK_EQ(seal_unmount(v), 0);
		}
		unreadable(&m, newest ^ 1, 1000);
		CHECK_EQ(seal_mount(&m.io, &test_env, test_key, NULL, 0, &v, &fault), -EIO);
		CHECK(strstr(fault.text, "the host could not read"));
		if (!torn) { // nothing to go by
			CHECK_EQ(check(&m, SEAL_RDONLY | SEAL_REPAIR), -EIO);
			CHECK_EQ(repair(&m, 0), -EIO);
			m.bad_reads = 0; // nothing was written either
			CHECK_EQ(first_of(&m, "f"), 2);
		} else { // the newest for what it can give
			CHECK_EQ(repair(&m, 0), 0);
			CHECK(strstr(said, "/f: bytes 0 to 4095 are lost"));
			m.bad_reads = 0;
			CHECK_EQ(check(&m, 0), 0);
			CHECK_EQ(first_of(&m, "f"), SEAL_ETAMPER);
		}
		mem_free(&m);
	}
}

// A pointer that names another file's block as what it is not: the block counts for the session of that file, and keeps its key.
static void pointers_that_differ(void)
{
	struct seal_inode *root, *i, *f;
	struct seal_vol *v;
	struct mem m;
	CHECK_EQ(new_volume(&m, 16u << 20, &v), 0);
	CHECK_EQ(put(v, "a", 1, 1), 0);
	CHECK_EQ(put(v, "f", 2, 1), 0);
	CHECK_EQ(seal_unmount(v), 0);
	CHECK_EQ(seal_mount(&m.io, &test_env, test_key, NULL, 0, &v, NULL), 0);
	CHECK_EQ(put(v, "a", 3, 1), 0);
	CHECK_EQ(put(v, "c", 3, 1), 0);
	CHECK_EQ(seal_sync(v), 0);
	root = root_of(v);
	CHECK_EQ(seal_lookup(v, root, "a", 1, &i), 0);
	CHECK_EQ(seal_lookup(v, root, "f", 1, &f), 0);
	struct d_ptr *p = &i->tree.root[0], wrong = f->tree.root[0];
	CHECK(i->ino < f->ino && wrong.session != v->cur);
	CHECK_EQ(v->sessions[wrong.session].live, 1); // nothing else is left of it
	CHECK_EQ(sv_op_begin(v, 32, true), 0);
	CHECK_EQ(sv_inode_dirty(v, i), 0);
	sv_tree_drop(v, &i->tree);
	CHECK_EQ(sv_space_free(v, p), 0);
	CHECK_EQ(sv_refs_add(v, ptr_addr(&wrong), 1), 0);
	ptr_set(&wrong, ptr_addr(&wrong), 99, v->cur);
	*p = wrong;
	seal_iput(v, i);
	seal_iput(v, f);
	seal_iput(v, root);
	CHECK_EQ(seal_unmount(v), 0);
	CHECK_EQ(first_of(&m, "f"), 2);
	CHECK_EQ(repair(&m, 0), 0);
	CHECK_EQ(check(&m, 0), 0);
	CHECK_EQ(first_of(&m, "f"), 2);
	CHECK_EQ(first_of(&m, "a"), SEAL_ETAMPER);
	mem_free(&m);
}

// Inodes behind those that the root counts, and so far behind that the volume cannot have made them.
static void numbers(void)
{
	for (int far = 0; far < 2; far++) {
		struct seal_inode *root, *i;
		struct seal_vol *v;
		struct mem m;
		CHECK_EQ(new_volume(&m, 16u << 20, &v), 0);
		CHECK_EQ(put(v, "f", 1, 200), 0);
		u64 next = v->next_ino;
		v->next_ino = far ? 70000000 : next + 40;
		CHECK_EQ(put(v, "g", 2, 300), 0);
		u64 then = v->next_ino;
		CHECK_EQ(seal_sync(v), 0);
		u64 used = v->used;
		v->next_ino = far ? then : next;
		vol_changed(v);
		CHECK_EQ(vol_commit(v, true), 0);
		CHECK_EQ(seal_unmount(v), 0);
		CHECK(check(&m, SEAL_RDONLY | SEAL_REPAIR) > 0);
		CHECK_EQ(repair(&m, 0), 0);
		CHECK_EQ(check(&m, 0), 0);
		CHECK_EQ(first_of(&m, "f"), 1);
		CHECK_EQ(seal_mount(&m.io, &test_env, test_key, NULL, 0, &v, NULL), 0);
		if (far) { // gone, with what they held
			CHECK(strstr(said, "") && v->used < used - 290 && v->next_ino < then);
			v->next_ino = then - 1; // nothing is in the way when the numbers are reached
			CHECK_EQ(put(v, "h", 3, 2), 0);
			CHECK_EQ(seal_sync(v), 0);
		} else {
			root = root_of(v);
			CHECK_EQ(seal_lookup(v, root, "lost+found", 10, &i) == 0 || seal_lookup(v, root, "g", 1, &i) == 0, 1);
			seal_iput(v, i);
			seal_iput(v, root);
			CHECK_EQ(v->next_ino >= then, 1);
		}
		CHECK_EQ(seal_unmount(v), 0);
		mem_free(&m);
	}
}

// A volume is not made smaller than its numbers of inodes are, of which a repair may have left few.
static void shrink_keeps_numbers(void)
{
	struct seal_vol *v;
	struct mem m;
	CHECK_EQ(new_volume(&m, 64u << 20, &v), 0);
	v->next_ino = 10000;
	CHECK_EQ(put(v, "f", 1, 1), 0);
	CHECK_EQ(seal_resize(v, 4u << 20), -ENOSPC);
	CHECK_EQ(seal_resize(v, 32u << 20), 0);
	while (seal_work(v, 1000, NULL) > 0)
		;
	CHECK_EQ(seal_unmount(v), 0);
	mem_free(&m);
}

// A block of a large directory is lost in a full volume: what is left of it has to be written beside it, and there is no room.
static void no_room_up_to(u64 limit)
{
	struct seal_inode *root;
	struct seal_info was, now;
	struct seal_vol *v;
	struct mem m, start;
	char name[240];
	u64 lost = 0;
	CHECK_EQ(new_volume(&m, 6u << 20, &v), 0);
	memset(name, 'n', sizeof name);
	for (u32 k = 0; k < 1500; k++) {
		snprintf(name + 220, 19, "%u", k);
		CHECK_EQ(put(v, name, 5, 0), 0);
	}
	for (u32 k = 0; !put(v, name, 6, 1); k++) // as much as goes in
		snprintf(name, sizeof name, "fill%u", k);
	CHECK_EQ(seal_sync(v), 0);
	root = root_of(v);
	CHECK(root->dir_blocks > 90);
	for (u64 k = 20; !lost; k++) {
		struct node *holder;
		struct d_ptr *slot;
		CHECK_EQ(sv_tree_slot(v, &root->tree, 0, k, NODE_READ, &slot, &holder), 0);
		lost = slot ? ptr_addr(slot) : 0;
		sv_node_put(v, holder);
	}
	seal_iput(v, root);
	CHECK_EQ(seal_unmount(v), 0);
	m.data[lost * SEAL_BLOCK] ^= 1;
	mem_copy(&start, &m);
	s64 r = repair(&m, 0);
	CHECK_EQ(r, -ENOSPC);
	CHECK_EQ(seal_mount(&start.io, &test_env, test_key, NULL, SEAL_RDONLY | SEAL_REPAIR, &v, NULL), 0);
	seal_get_info(v, &was);
	CHECK_EQ(seal_unmount(v), 0);
	CHECK_EQ(seal_mount(&m.io, &test_env, test_key, NULL, SEAL_RDONLY | SEAL_REPAIR, &v, NULL), 0);
	seal_get_info(v, &now);
	CHECK_EQ(seal_unmount(v), 0);
	CHECK_EQ(now.inodes, was.inodes); // as it was, or a step further
	CHECK(now.generation <= was.generation + 1);
	CHECK_EQ(repair(&m, 5u << 20), -EINVAL);
	CHECK_EQ(repair(&m, limit), 0);
	CHECK_EQ(check(&m, 0), 0);
	CHECK_EQ(seal_mount(&m.io, &test_env, test_key, NULL, 0, &v, NULL), 0);
	seal_get_info(v, &now);
	CHECK_EQ(now.size_blocks, limit / SEAL_BLOCK);
	CHECK_EQ(now.inodes, was.inodes + 1); // with lost+found
	CHECK_EQ(put(v, "new", 7, 100), 0);
	CHECK_EQ(seal_unmount(v), 0);
	mem_free(&start);
	mem_free(&m);
}

static void no_room(void)
{
	no_room_up_to(16u << 20);
	no_room_up_to(2ul << 30); // the map of free space gets a level more
}

// --- volumes in a sparse file
static char big_path[64];
static struct hostio big_host;

static int big_open(u32 flags, struct seal_vol **v)
{
	int r = hostio_open(&big_host, big_path, HOSTIO_WRITE);
	if (r)
		return r;
	r = seal_mount(&big_host.io, &big_host.env, test_key, NULL, flags, v, NULL);
	if (r)
		hostio_close(&big_host);
	return r;
}

static int big_close(struct seal_vol *v)
{
	int r = seal_unmount(v), e = hostio_close(&big_host);
	return r ? r : e;
}

static bool stop(void *ctx, u64 done, u64 total)
{
	(void)done, (void)total;
	return *(bool *)ctx;
}

// Repairs, checks, and says what the limit is then, in bytes.
static s64 big_repair(u64 grow, bool stopped, u64 *limit)
{
	const struct seal_checker how = {.finding = told, .repair = told, .progress = stop, .ctx = &stopped};
	struct seal_fsck_stats st;
	struct seal_info i;
	struct seal_vol *v;
	said[0] = 0;
	int r = big_open(SEAL_REPAIR, &v);
	if (r)
		return r;
	s64 left = seal_resize(v, grow);
	if (!left)
		left = seal_repair(v, &how, &st);
	r = big_close(v);
	if (!r)
		r = big_open(stopped ? SEAL_RDONLY : 0, &v);
	if (r)
		return r;
	seal_get_info(v, &i);
	*limit = i.size_blocks * SEAL_BLOCK;
	if (!stopped && !left)
		left = fsck_quiet(v);
	r = big_close(v);
	return left ? left : r;
}

// A volume whose limit is `bytes`, with blocks in use about `at`.
static int big_make(u64 bytes, u64 at)
{
	struct seal_vol *v;
	const char *tmp = getenv("TMPDIR");
	snprintf(big_path, sizeof big_path, "%s/seal-mend.XXXXXX", tmp && strlen(tmp) < 40 ? tmp : "/tmp");
	int fd = mkstemp(big_path);
	if (fd < 0)
		return -errno;
	close(fd);
	int r = hostio_open(&big_host, big_path, HOSTIO_WRITE);
	if (r)
		return r;
	r = seal_format(&big_host.io, &big_host.env, test_key, NULL, bytes);
	hostio_close(&big_host);
	if (!r)
		r = big_open(0, &v);
	if (r)
		return r;
	r = put(v, "f", 1, 300);
	if (!r && at) {
		v->hiwater = v->end = at / SEAL_BLOCK;
		v->cursor = v->run_cursor = v->end - 100;
		r = truncate(big_path, (off_t)at) ? -errno : put(v, "g", 2, 80);
	}
	int e = big_close(v);
	return r ? r : e;
}

static int big_ruin(u64 block)
{
	u8 c = 0;
	int r = hostio_open(&big_host, big_path, HOSTIO_WRITE);
	if (r)
		return r;
	r = big_host.io.read(big_host.io.ctx, block * SEAL_BLOCK + 77, &c, 1);
	c ^= 1;
	if (!r)
		r = big_host.io.write(big_host.io.ctx, block * SEAL_BLOCK + 77, &c, 1);
	hostio_close(&big_host);
	return r;
}

// Where the map of free space lies: its block of that level for a place in the volume.
static u64 map_block(u32 level, u64 at)
{
	struct seal_vol *v;
	struct node *holder;
	struct d_ptr *slot;
	if (big_open(0, &v))
		return 0;
	int r = sv_tree_slot(v, &v->bmap, level, (at / SEAL_BLOCK / BITS_PER_BLOCK) >> (7 * level), NODE_READ, &slot, &holder);
	u64 addr = !r && slot ? ptr_addr(slot) : 0;
	sv_node_put(v, holder);
	return big_close(v) ? 0 : addr;
}

// Below and beyond 11 * 128 MiB, and 128 times that: whole volumes, damaged maps, and a repair that is stopped.
static void grown_far(void)
{
	const u64 g = 1ul << 30;
	u64 limit, block;
	CHECK_EQ(big_make(g, 0), 0);
	CHECK_EQ(big_repair(4 * g, true, &limit), -EINTR);
	CHECK_EQ(limit, g);
	CHECK_EQ(big_repair(4 * g, false, &limit), 0);
	CHECK(!said[0]);
	CHECK_EQ(limit, 4 * g);
	CHECK_EQ(big_repair(2 * g, false, &limit), -EINVAL);
	CHECK_EQ(limit, 4 * g);
	CHECK(block = map_block(0, 0));
	CHECK_EQ(big_ruin(block), 0);
	CHECK_EQ(big_repair(1024 * g, false, &limit), 0);
	CHECK(said[0]);
	CHECK_EQ(limit, 1024 * g);
	unlink(big_path);

	CHECK_EQ(big_make(8 * g, 5 * g), 0); // blocks in use in the 40th block of the map
	CHECK(block = map_block(1, 0));
	CHECK_EQ(big_ruin(block), 0);
	CHECK_EQ(big_repair(1024 * g, true, &limit), -EINTR);
	CHECK_EQ(limit, 8 * g);
	CHECK_EQ(big_repair(1024 * g, false, &limit), 0);
	CHECK_EQ(limit, 1024 * g);
	unlink(big_path);
}

int main(void)
{
	RUN(one_root_unreadable);
	RUN(torn_and_unreadable);
	RUN(pointers_that_differ);
	RUN(numbers);
	RUN(shrink_keeps_numbers);
	RUN(no_room);
	RUN(grown_far);
	if (big_path[0])
		unlink(big_path);
	return test_end();
}

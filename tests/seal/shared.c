// SPDX-License-Identifier: Apache-2.0
// What is shared costs once: a volume of many clones, and volumes that an owner of the key wrote to cost as much as can be (pointer
// blocks that name one block 128 times, five levels high; one block of inodes in all places of the table; directories that share
// their blocks or go round in them; numbers as large as fields are). Checks, repairs and changes end, by the reads they make.
#include "seal/vol.h"
#include "tests/seal/mem.h"

#define CLONES 400u
#define PAGES 2000u

static char said[1 << 18];
static u32 findings, repairs;
static void told(void *ctx, const char *text)
{
	++*(u32 *)ctx;
	if (strlen(said) + strlen(text) + 2 < sizeof said)
		strcat(strcat(said, text), "\n");
}
static void told_finding(void *ctx, const char *text) { (void)ctx, told(&findings, text); }
static void told_repair(void *ctx, const char *text) { (void)ctx, told(&repairs, text); }

static s64 check(struct mem *m)
{
	struct seal_fsck_stats st;
	struct seal_vol *v;
	said[0] = 0;
	findings = 0;
	int r = seal_mount(&m->io, &test_env, test_key, NULL, 0, &v, NULL);
	if (r)
		return r;
	s64 n = seal_fsck(v, told_finding, NULL, &st);
	r = seal_unmount(v);
	return n ? n : r;
}

static s64 repair(struct mem *m)
{
	const struct seal_checker how = {.finding = told_finding, .repair = told_repair};
	struct seal_fsck_stats st;
	struct seal_vol *v;
	said[0] = 0;
	findings = repairs = 0;
	int r = seal_mount(&m->io, &test_env, test_key, NULL, SEAL_REPAIR, &v, NULL);
	if (r)
		return r;
	s64 left = seal_repair(v, &how, &st);
	r = seal_unmount(v);
	return left ? left : r;
}

static u64 address(struct seal_vol *v, struct tree *t, u32 level, u64 index)
{
	struct node *holder;
	struct d_ptr *slot;
	u64 addr = 0;
	if (!sv_tree_slot(v, t, level, index, NODE_READ, &slot, &holder) && slot)
		addr = ptr_addr(slot);
	sv_node_put(v, holder);
	return addr;
}

static void ruin(struct mem *m, u64 block) { m->data[block * SEAL_BLOCK + 77] ^= 1; }

// One file, and whole clones of it.
static void clones(void)
{
	struct seal_inode *root, *i, *c;
	struct seal_vol *v;
	struct mem m;
	u8 page[SEAL_BLOCK];
	CHECK_EQ(new_volume(&m, 256u << 20, &v), 0);
	root = root_of(v);
	CHECK_EQ(seal_create(v, root, "f", 1, 0100644, 0, 0, 0, &i), 0);
	for (u64 k = 0; k < PAGES; k++) {
		memset(page, (int)(k % 250) + 1, sizeof page);
		CHECK_EQ(seal_write(v, i, k * SEAL_BLOCK, page, sizeof page), SEAL_BLOCK);
	}
	for (u32 k = 0; k < CLONES; k++) {
		char name[12];
		CHECK_EQ(seal_create(v, root, name, (u32)sprintf(name, "c%u", k), 0100644, 0, 0, 0, &c), 0);
		CHECK_EQ(seal_clone(v, i, 0, c, 0, 0), 0);
		seal_iput(v, c);
	}
	CHECK_EQ(seal_sync(v), 0);
	u64 leaf = address(v, &i->tree, 0, 1000);
	seal_iput(v, i);
	seal_iput(v, root);
	CHECK_EQ(seal_unmount(v), 0);
	u64 all = m.size / SEAL_BLOCK;
	m.reads = 0;
	CHECK_EQ(check(&m), 0);
	CHECK(m.reads < 2 * all);
	ruin(&m, leaf);
	m.reads = 0;
	CHECK_EQ(repair(&m), 0);
	CHECK(m.reads < 5 * all + 10 * CLONES);
	CHECK_EQ(check(&m), 0);
	CHECK_EQ(seal_mount(&m.io, &test_env, test_key, NULL, 0, &v, NULL), 0);
	root = root_of(v);
	for (u32 k = 0; k < CLONES; k += 57) { // each has lost this page, and no other
		char name[12];
		CHECK_EQ(seal_lookup(v, root, name, (u32)sprintf(name, "c%u", k), &c), 0);
		CHECK_EQ(seal_read(v, c, 1000 * SEAL_BLOCK, page, sizeof page), SEAL_ETAMPER);
		CHECK_EQ(seal_read(v, c, 1001 * SEAL_BLOCK, page, sizeof page), SEAL_BLOCK);
		CHECK_EQ(page[5], 1001 % 250 + 1);
		seal_iput(v, c);
	}
	seal_iput(v, root);
	CHECK_EQ(seal_unmount(v), 0);
	mem_free(&m);
}

// The clones of a range count for each place: more than the volume has blocks, and the file can be read.
static void more_than_the_volume(void)
{
	struct seal_inode *root, *i;
	struct seal_vol *v;
	struct mem m;
	u8 page[SEAL_BLOCK];
	memset(page, 7, sizeof page);
	CHECK_EQ(new_volume(&m, 4u << 20, &v), 0);
	root = root_of(v);
	CHECK_EQ(seal_create(v, root, "f", 1, 0100644, 0, 0, 0, &i), 0);
	for (u64 k = 0; k < 64; k++)
		CHECK_EQ(seal_write(v, i, k * SEAL_BLOCK, page, sizeof page), SEAL_BLOCK);
	for (u64 n = 64; n < 2048; n *= 2)
		CHECK_EQ(seal_clone(v, i, 0, i, n * SEAL_BLOCK, n * SEAL_BLOCK), 0);
	CHECK(i->blocks > (4u << 20) / SEAL_BLOCK);
	seal_iput(v, i);
	seal_iput(v, root);
	CHECK_EQ(seal_unmount(v), 0);
	CHECK_EQ(check(&m), 0);
	CHECK_EQ(seal_mount(&m.io, &test_env, test_key, NULL, SEAL_RDONLY, &v, NULL), 0);
	root = root_of(v);
	CHECK_EQ(seal_lookup(v, root, "f", 1, &i), 0);
	CHECK_EQ(seal_read(v, i, 2000 * SEAL_BLOCK, page, sizeof page), SEAL_BLOCK);
	seal_iput(v, i);
	seal_iput(v, root);
	CHECK_EQ(seal_unmount(v), 0);
	mem_free(&m);
}

// A file, or a directory, of one block of contents in 11 * 128^5 places. addr[level]: its blocks.
static int make_tower(struct mem *m, bool dir, u64 addr[MAX_HEIGHT + 1])
{
	struct seal_inode *root, *i;
	struct seal_vol *v;
	u64 blocks = 1;
	int r = new_volume(m, 256u << 20, &v);
	if (r)
		return r;
	root = root_of(v);
	r = seal_create(v, root, "tower", 5, dir ? 0040755 : 0100644, 0, 0, 0, &i);
	if (!r && dir)
		r = seal_create(v, i, "entry", 5, 0100644, 0, 0, 0, NULL);
	else if (!r)
		r = (int)SEAL_MIN(seal_write(v, i, 0, m, sizeof *m), 0);
	if (!r)
		r = sv_inode_dirty(v, i);
	if (!r)
		r = sv_file_uninline(v, i);
	if (!r)
		r = sv_tree_grow(v, &i->tree, sv_tree_limit(MAX_HEIGHT) - 1);
	if (!r)
		r = seal_sync(v);
	for (u32 level = 1; level <= MAX_HEIGHT + 1 && !r; level++) {
		u64 n = level <= MAX_HEIGHT ? FANOUT : NROOT;
		struct node *b = NULL;
		r = sv_op_begin(v, 32, true);
		if (!r)
			r = level <= MAX_HEIGHT ? sv_node_get(v, &i->tree, level, 0, NODE_WRITE, &b) : sv_inode_dirty(v, i);
		struct d_ptr *p = b ? (struct d_ptr *)b->data : i->tree.root;
		for (u64 k = 1; k < n && !r; k++)
			p[k] = p[0];
		if (!r)
			r = sv_refs_add(v, ptr_addr(p), (s64)n - 1);
		sv_node_put(v, b);
		blocks = blocks * n + (level <= MAX_HEIGHT);
		if (level > MAX_HEIGHT) {
			i->blocks = blocks;
			i->size = sv_tree_limit(MAX_HEIGHT) * SEAL_BLOCK;
		}
		vol_changed(v);
		if (!r)
			r = vol_commit(v, false);
	}
	for (u32 level = 0; level <= MAX_HEIGHT; level++)
		addr[level] = address(v, &i->tree, level, 0);
	seal_iput(v, i);
	seal_iput(v, root);
	int e = seal_unmount(v);
	return r ? r : e;
}

static void tower(void)
{
	struct seal_inode *root, *i;
	struct seal_vol *v;
	struct mem whole, m;
	u64 addr[MAX_HEIGHT + 1];
	CHECK_EQ(make_tower(&whole, false, addr), 0);
	CHECK_EQ(check(&whole), 0);
	// the count is checked though all of it is shared
	mem_copy(&m, &whole);
	CHECK_EQ(seal_mount(&m.io, &test_env, test_key, NULL, 0, &v, NULL), 0);
	root = root_of(v);
	CHECK_EQ(seal_lookup(v, root, "tower", 5, &i), 0);
	CHECK_EQ(sv_op_begin(v, 32, true), 0);
	CHECK_EQ(sv_inode_dirty(v, i), 0);
	i->blocks--;
	vol_changed(v);
	u64 half = i->size / 2 / SEAL_BLOCK * SEAL_BLOCK, full = i->blocks + 1;
	seal_iput(v, i);
	seal_iput(v, root);
	CHECK_EQ(seal_unmount(v), 0);
	CHECK_EQ(check(&m), 1);
	CHECK_EQ(repair(&m), 0);
	CHECK_EQ(check(&m), 0);
	// cut in the middle, holes, and its end
	CHECK_EQ(seal_mount(&m.io, &test_env, test_key, NULL, 0, &v, NULL), 0);
	root = root_of(v);
	CHECK_EQ(seal_lookup(v, root, "tower", 5, &i), 0);
	CHECK_EQ(i->blocks, full);
	CHECK_EQ(seal_truncate(v, i, half), 0);
	CHECK_EQ(seal_punch(v, i, SEAL_BLOCK * 100, half / 2), 0);
	CHECK_EQ(seal_sync(v), 0);
	CHECK_EQ(fsck_quiet(v), 0);
	CHECK_EQ(seal_unlink(v, root, "tower", 5), 0);
	seal_iput(v, i);
	CHECK_EQ(seal_sync(v), 0);
	CHECK_EQ(fsck_quiet(v), 0);
	seal_iput(v, root);
	CHECK_EQ(seal_unmount(v), 0);
	mem_free(&m);
	// 180,000 places lose a pointer block
	mem_copy(&m, &whole);
	ruin(&m, addr[3]);
	CHECK_EQ(repair(&m), 0);
	CHECK_EQ(check(&m), 0);
	mem_free(&m);
	// 378 thousand million lose the contents: it ends, and says that there is more
	mem_copy(&m, &whole);
	ruin(&m, addr[0]);
	s64 left = repair(&m);
	CHECK(left);
	CHECK(strstr(said, "places"));
	CHECK(check(&m) != 0);
	mem_free(&m);
	mem_free(&whole);
}

// The same of a directory, beside two files that share what is damaged: a repair looks for each of these, and does not climb for them.
static void directory_tower(void)
{
	struct seal_inode *root, *i, *c;
	struct seal_vol *v;
	struct mem m;
	u64 addr[MAX_HEIGHT + 1];
	u8 page[SEAL_BLOCK] = {1};
	CHECK_EQ(make_tower(&m, true, addr), 0);
	CHECK_EQ(seal_mount(&m.io, &test_env, test_key, NULL, 0, &v, NULL), 0);
	root = root_of(v);
	CHECK_EQ(seal_create(v, root, "f", 1, 0100644, 0, 0, 0, &i), 0);
	for (u64 k = 0; k < 300; k++)
		CHECK_EQ(seal_write(v, i, k * SEAL_BLOCK, page, sizeof page), SEAL_BLOCK);
	CHECK_EQ(seal_create(v, root, "c", 1, 0100644, 0, 0, 0, &c), 0);
	CHECK_EQ(seal_clone(v, i, 0, c, 0, 0), 0);
	CHECK_EQ(seal_sync(v), 0);
	u64 leaf = address(v, &i->tree, 0, 200);
	seal_iput(v, i);
	seal_iput(v, c);
	seal_iput(v, root);
	CHECK_EQ(seal_unmount(v), 0);
	ruin(&m, leaf);
	m.reads = 0;
	CHECK_EQ(repair(&m), 0);
	CHECK(m.reads < 20 * (m.size / SEAL_BLOCK));
	CHECK_EQ(check(&m), 0);
	CHECK_EQ(seal_mount(&m.io, &test_env, test_key, NULL, 0, &v, NULL), 0);
	root = root_of(v);
	CHECK_EQ(seal_lookup(v, root, "tower", 5, &i), 0);
	CHECK_EQ(seal_lookup(v, i, "entry", 5, &c), 0);
	seal_iput(v, c);
	seal_iput(v, i);
	for (u32 k = 0; k < 2; k++) {
		CHECK_EQ(seal_lookup(v, root, k ? "f" : "c", 1, &i), 0);
		CHECK_EQ(seal_read(v, i, 200 * SEAL_BLOCK, page, sizeof page), SEAL_ETAMPER);
		CHECK_EQ(seal_read(v, i, 201 * SEAL_BLOCK, page, sizeof page), SEAL_BLOCK);
		seal_iput(v, i);
	}
	seal_iput(v, root);
	CHECK_EQ(seal_unmount(v), 0);
	mem_free(&m);
}

static int reopen(struct mem *m, struct seal_vol **v)
{
	int r = seal_unmount(*v);
	return r ? r : seal_mount(&m->io, &test_env, test_key, NULL, 0, v, NULL);
}

// One block of inodes at all places of the table, and a next inode number that is as large as it may be.
static void inode_tower(void)
{
	struct seal_inode *root, *i;
	struct seal_vol *v;
	struct mem m;
	CHECK_EQ(new_volume(&m, 64u << 20, &v), 0);
	root = root_of(v);
	CHECK_EQ(seal_create(v, root, "f", 1, 0100644, 0, 0, 0, &i), 0);
	seal_iput(v, i);
	seal_iput(v, root);
	CHECK_EQ(sv_tree_grow(v, &v->itab, sv_tree_limit(MAX_HEIGHT) - 1), 0);
	CHECK_EQ(vol_commit(v, true), 0);
	for (u32 level = 1; level <= MAX_HEIGHT; level++) {
		struct node *b;
		CHECK_EQ(sv_op_begin(v, 32, true), 0);
		CHECK_EQ(sv_node_get(v, &v->itab, level, 0, NODE_WRITE, &b), 0);
		struct d_ptr *p = (struct d_ptr *)b->data;
		for (u64 k = 1; k < FANOUT; k++)
			p[k] = p[0];
		CHECK_EQ(sv_refs_add(v, ptr_addr(p), FANOUT - 1), 0);
		sv_node_put(v, b);
		vol_changed(v);
		CHECK_EQ(vol_commit(v, false), 0);
	}
	v->next_ino = (1ul << VIEW_SHIFT) - 1;
	vol_changed(v);
	CHECK_EQ(vol_commit(v, true), 0);
	CHECK_EQ(seal_unmount(v), 0);
	CHECK(check(&m) > 600);
	CHECK(strstr(said, "the root counts inodes up to"));
	CHECK_EQ(repair(&m), 0);
	CHECK_EQ(check(&m), 0);
	CHECK_EQ(seal_mount(&m.io, &test_env, test_key, NULL, 0, &v, NULL), 0);
	root = root_of(v);
	CHECK_EQ(seal_lookup(v, root, "f", 1, &i), 0);
	seal_iput(v, i);
	seal_iput(v, root);
	CHECK_EQ(seal_unmount(v), 0);
	mem_free(&m);
}

// Two directories with the same blocks; and one whose upper block names one leaf again and again.
static void directories(void)
{
	struct seal_inode *root, *a, *b;
	struct seal_vol *v;
	struct node *n;
	struct mem m;
	char name[80];
	CHECK_EQ(new_volume(&m, 64u << 20, &v), 0);
	root = root_of(v);
	CHECK_EQ(seal_create(v, root, "a", 1, 0040755, 0, 0, 0, &a), 0);
	CHECK_EQ(seal_create(v, root, "b", 1, 0040755, 0, 0, 0, &b), 0);
	for (u32 k = 0; k < 200; k++) {
		u32 len = (u32)sprintf(name, "a name of some length, so that there are several blocks %u", k);
		CHECK_EQ(seal_create(v, a, name, len, 0100644, 0, 0, 0, NULL), 0);
	}
	CHECK(a->dir_height > 1 && !a->tree.height);
	CHECK_EQ(seal_sync(v), 0);
	CHECK_EQ(sv_op_begin(v, 64, true), 0);
	CHECK_EQ(sv_inode_dirty(v, b), 0);
	for (u32 k = 0; k < NROOT; k++) {
		b->tree.root[k] = a->tree.root[k];
		if (ptr_addr(&a->tree.root[k]))
			CHECK_EQ(sv_refs_add(v, ptr_addr(&a->tree.root[k]), 1), 0);
	}
	b->dir_root = a->dir_root, b->dir_height = a->dir_height, b->dir_blocks = a->dir_blocks;
	b->dir_count = a->dir_count, b->blocks = a->blocks, b->size = a->size;
	vol_changed(v);
	seal_iput(v, a);
	seal_iput(v, b);
	seal_iput(v, root);
	CHECK_EQ(seal_unmount(v), 0);
	CHECK(check(&m) > 0);
	CHECK(strstr(said, "belongs to two owners"));
	CHECK_EQ(repair(&m), 0);
	CHECK_EQ(check(&m), 0);
	CHECK_EQ(seal_mount(&m.io, &test_env, test_key, NULL, 0, &v, NULL), 0);
	root = root_of(v);
	CHECK_EQ(seal_lookup(v, root, "a", 1, &a), 0);
	CHECK_EQ(a->dir_count, 200);
	CHECK_EQ(seal_lookup(v, root, "b", 1, &b), 0);
	CHECK_EQ(b->dir_count, 0);
	seal_iput(v, b);
	seal_iput(v, root);
	CHECK_EQ(sv_op_begin(v, 64, true), 0);
	CHECK_EQ(sv_node_get(v, &a->tree, 0, a->dir_root, NODE_WRITE, &n), 0);
	struct d_dirhead *h = (struct d_dirhead *)n->data;
	struct d_dirsep *s = (struct d_dirsep *)(h + 1);
	for (u32 k = h->count; k < DIR_MAX_INNER; k++)
		s[k] = (struct d_dirsep){.key = s[k - 1].key + 1, .child = s[0].child};
	h->count = DIR_MAX_INNER;
	sv_node_put(v, n);
	seal_iput(v, a);
	vol_changed(v);
	CHECK_EQ(reopen(&m, &v), 0);
	CHECK_EQ(seal_unmount(v), 0);
	CHECK(check(&m) > 0);
	CHECK(strstr(said, "cannot be listed"));
	CHECK_EQ(repair(&m), 0);
	CHECK_EQ(check(&m), 0);
	mem_free(&m);
}

// Two pointers to one block that differ: one of them reads something, the other nothing. The check finds it, a repair keeps the one.
static void pointers_that_differ(void)
{
	struct seal_vol *v;
	struct seal_inode *root, *f, *g;
	struct d_ptr *slot;
	struct node *holder;
	struct mem m;
	u8 page[SEAL_BLOCK], got[SEAL_BLOCK];
	CHECK_EQ(new_volume(&m, 16u << 20, &v), 0);
	root = root_of(v);
	CHECK_EQ(seal_create(v, root, "f", 1, 0100644, 0, 0, 0, &f), 0);
	CHECK_EQ(seal_create(v, root, "g", 1, 0100644, 0, 0, 0, &g), 0);
	for (u64 k = 0; k < 50; k++) {
		memset(page, (int)k + 1, sizeof page);
		CHECK_EQ(seal_write(v, f, k * SEAL_BLOCK, page, SEAL_BLOCK), SEAL_BLOCK);
	}
	CHECK_EQ(seal_setxattr(v, f, "user.a", 6, page, 1000, 0), 0);
	CHECK_EQ(seal_sync(v), 0);
	CHECK_EQ(seal_clone(v, f, 0, g, 0, 0), 0);
	CHECK_EQ(seal_snapshot_create(v, "s", 1), 0);
	CHECK_EQ(sv_op_begin(v, 16, true), 0);
	CHECK_EQ(sv_tree_slot(v, &g->tree, 0, 3, NODE_WRITE, &slot, &holder), 0);
	slot->tag[5] ^= 1;
	sv_node_put(v, holder);
	CHECK_EQ(sv_inode_dirty(v, f), 0);
	f->xattr.tag[5] ^= 1;
	seal_iput(v, f);
	seal_iput(v, g);
	seal_iput(v, root);
	CHECK_EQ(seal_unmount(v), 0);
	CHECK_EQ(check(&m), 2);
	CHECK_EQ(repair(&m), 0);
	CHECK_EQ(repairs, 2); // the snapshot's are whole
	CHECK(strstr(said, "/g: bytes 12288 to 16383 are lost") && strstr(said, "attributes are lost"));
	CHECK_EQ(check(&m), 0);
	CHECK_EQ(seal_mount(&m.io, &test_env, test_key, NULL, 0, &v, NULL), 0);
	root = root_of(v);
	CHECK_EQ(seal_lookup(v, root, "f", 1, &f), 0);
	CHECK_EQ(seal_lookup(v, root, "g", 1, &g), 0);
	for (u64 k = 0; k < 50; k++) {
		memset(page, (int)k + 1, sizeof page);
		CHECK_EQ(seal_read(v, f, k * SEAL_BLOCK, got, SEAL_BLOCK), SEAL_BLOCK);
		CHECK(!memcmp(page, got, sizeof page));
		CHECK_EQ(seal_read(v, g, k * SEAL_BLOCK, got, SEAL_BLOCK), k == 3 ? SEAL_ETAMPER : (int)SEAL_BLOCK);
	}
	seal_iput(v, f);
	seal_iput(v, g);
	seal_iput(v, root);
	CHECK_EQ(seal_unmount(v), 0);
	mem_free(&m);
}

// Room set aside where a pointer block would be: a whole one at once, which no program asks for. Freeing it goes no deeper.
static void set_aside_above(void)
{
	struct seal_vol *v;
	struct seal_inode *root, *i;
	struct mem m;
	u8 page[SEAL_BLOCK] = {1};
	CHECK_EQ(new_volume(&m, 16u << 20, &v), 0);
	root = root_of(v);
	for (int what = 0; what < 3; what++) {
		CHECK_EQ(seal_create(v, root, "f", 1, 0100644, 0, 0, 0, &i), 0);
		for (u64 k = 0; k < 20; k++)
			CHECK_EQ(seal_write(v, i, k * SEAL_BLOCK, page, SEAL_BLOCK), SEAL_BLOCK);
		CHECK_EQ(sv_op_begin(v, 16, true), 0);
		CHECK_EQ(sv_inode_dirty(v, i), 0);
		ptr_set(&i->tree.root[2], 0, CTR_RESERVED, 0);
		v->reserved++;
		sv_inode_count_blocks(i, 1);
		CHECK_EQ(seal_truncate(v, i, FANOUT * 4 * SEAL_BLOCK), 0);
		CHECK_EQ(seal_sync(v), 0);
		CHECK_EQ(fsck_quiet(v), 0);
		if (what == 0)
			CHECK_EQ(seal_truncate(v, i, 5), 0);
		else if (what == 1)
			CHECK_EQ(seal_punch(v, i, 0, FANOUT * 3 * SEAL_BLOCK), 0);
		CHECK_EQ(seal_unlink(v, root, "f", 1), 0);
		seal_iput(v, i);
		CHECK_EQ(seal_sync(v), 0);
		CHECK_EQ(v->reserved, 0);
		CHECK_EQ(fsck_quiet(v), 0);
	}
	seal_iput(v, root);
	CHECK_EQ(seal_unmount(v), 0);
	mem_free(&m);
}

// A full cache: whoever looks a page up and then something else cannot count on the page to be there still. The pages that are written
// over, punched and cloned over are those that the cache would let go next.
static void full_cache(void)
{
	enum { BLOCKS = 8 * 1024, FIRST = 12 };
	static u8 big[64 * SEAL_BLOCK];
	struct seal_env env = test_env;
	struct seal_inode *root, *f, *g;
	struct seal_vol *v;
	struct mem m;
	u8 byte;
	env.cache_bytes = 64 * SEAL_BLOCK;
	mem_init(&m);
	CHECK_EQ(seal_format(&m.io, &test_env, test_key, NULL, 128u << 20), 0);
	CHECK_EQ(seal_mount(&m.io, &env, test_key, NULL, 0, &v, NULL), 0);
	root = root_of(v);
	CHECK_EQ(seal_create(v, root, "f", 1, 0100644, 0, 0, 0, &f), 0);
	CHECK_EQ(seal_create(v, root, "g", 1, 0100644, 0, 0, 0, &g), 0);
	for (u64 at = 0; at < BLOCKS * SEAL_BLOCK; at += sizeof big) {
		memset(big, (int)(at / sizeof big) + 1, sizeof big);
		CHECK_EQ(seal_write(v, f, at, big, sizeof big), (s64)sizeof big);
	}
	CHECK_EQ(seal_clone(v, f, 0, g, SEAL_BLOCK, 0), 0); // page by page
	CHECK_EQ(seal_sync(v), 0);
	u32 met = 0;
	for (u32 n = 0; n < 4000; n++) {
		u64 at = (rnd() % BLOCKS + 1) * SEAL_BLOCK, of[FIRST];
		u32 k = 0;
		CHECK_EQ(seal_read(v, g, at + 5, &byte, 1), 1);
		if (n % 4)
			continue;
		for (struct list *e = v->lru.next; e != &v->lru && k < FIRST; e = e->next) {
			const struct node *c = LIST_ENTRY(e, struct node, lru);
			if (c->tree == &g->tree && !c->level)
				of[k++] = c->index;
		}
		if (!k)
			continue;
		met++;
		at = of[rnd() % k] * SEAL_BLOCK;
		switch (n / 4 % 3) {
		case 0: CHECK_EQ(seal_write(v, g, at, big, SEAL_BLOCK), SEAL_BLOCK); break;
		case 1: CHECK_EQ(seal_punch(v, g, at, SEAL_BLOCK), 0); break;
		case 2: CHECK_EQ(seal_clone(v, f, rnd() % BLOCKS * SEAL_BLOCK, g, at, SEAL_BLOCK), 0); break;
		}
	}
	CHECK(met > 500);
	CHECK_EQ(fsck_quiet(v), 0);
	seal_iput(v, f);
	seal_iput(v, g);
	seal_iput(v, root);
	CHECK_EQ(seal_unmount(v), 0);
	mem_free(&m);
}

int main(void)
{
	RUN(clones);
	RUN(more_than_the_volume);
	RUN(tower);
	RUN(directory_tower);
	RUN(inode_tower);
	RUN(directories);
	RUN(set_aside_above);
	RUN(pointers_that_differ);
	RUN(full_cache);
	return test_end();
}

// SPDX-License-Identifier: Apache-2.0
// Repairs: whatever is damaged, what authenticates is still there afterwards, nothing else appears, and a check finds nothing.
// Wrong counts, maps and links (made by reaching into a mounted volume), each kind of block damaged by itself, random damage to
// volumes with snapshots and clones, and repairs that are interrupted at any write.
//
//	seal-repair [-s SEED] [-n ROUNDS]	more rounds (make soak)
#include "seal/vol.h"
#include "tests/seal/work.h"
#include <unistd.h>

#define PAGES 48u
#define ITEMS 1200u
struct item { // an inode as a reader sees it
	u64 ino, size;
	u32 mode;
	bool xattr_bad;
	u64 xattr;
	u64 page[PAGES]; // digests, 0: hole; 1: cannot be read
};
struct all {
	u32 n;
	bool mounted;
	struct item i[ITEMS];
};
static struct all whole, before, after;
static u64 rounds = 40;

static u64 digest_of(const u8 *p, u64 n)
{
	u64 h = 1469598103934665603ul, any = 0;
	for (u64 k = 0; k < n; k++) {
		h = (h ^ p[k]) * 0x100000001b3ul;
		any |= p[k];
	}
	return any ? h | 2 : 0;
}

static struct item *find(struct all *a, u64 ino)
{
	for (u32 k = 0; k < a->n; k++)
		if (a->i[k].ino == ino)
			return &a->i[k];
	return NULL;
}

struct walk {
	struct seal_vol *v;
	struct all *a;
	u64 kid[400];
	u32 nkids;
};

static bool kid(void *ctx, const char *name, u32 len, u64 ino, u32 type, u64 cookie)
{
	struct walk *w = ctx;
	(void)name, (void)len, (void)type, (void)cookie;
	if (w->nkids < 400)
		w->kid[w->nkids++] = ino;
	return true;
}

static void read_item(struct seal_vol *v, struct all *a, u64 ino)
{
	static u8 buf[SEAL_BLOCK], x[1024];
	struct seal_inode *i;
	struct seal_attr at;
	if (find(a, ino) || seal_iget(v, ino, &i))
		return;
	seal_getattr(v, i, &at);
	if (a->n == ITEMS)
		abort();
	struct item *t = &a->i[a->n++];
	*t = (struct item){.ino = ino, .size = at.size, .mode = at.mode};
	s64 n = seal_getxattr(v, i, "user.a", 6, x, sizeof x);
	t->xattr_bad = n < 0 && n != -ENODATA;
	t->xattr = n > 0 ? digest_of(x, (u64)n) : 0;
	if ((at.mode & 0170000) == 0040000) {
		struct walk *w = calloc(1, sizeof *w);
		w->v = v;
		t->size = 0;
		t->page[0] = seal_readdir(v, i, 0, kid, w) ? 1 : 0;
		for (u32 k = 0; k < w->nkids; k++)
			read_item(v, a, w->kid[k]);
		free(w);
	} else {
		for (u64 k = 0; k * SEAL_BLOCK < at.size && k < PAGES; k++) {
			n = (at.mode & 0170000) == 0120000 ? seal_readlink(v, i, (char *)buf, sizeof buf)
							    : seal_read(v, i, k * SEAL_BLOCK, buf, sizeof buf);
			t->page[k] = n < 0 ? 1 : digest_of(buf, (u64)n);
		}
	}
	seal_iput(v, i);
}

static void read_all(struct mem *m, struct all *a)
{
	struct seal_vol *v;
	struct seal_inode *root, *snaps;
	memset(a, 0, sizeof *a);
	if (seal_mount(&m->io, &test_env, test_key, NULL, SEAL_RDONLY, &v, NULL))
		return;
	a->mounted = true;
	read_item(v, a, SEAL_ROOT_INO);
	root = root_of(v);
	if (root && !seal_lookup(v, root, SEAL_SNAPDIR, sizeof SEAL_SNAPDIR - 1, &snaps)) {
		struct walk w = {.v = v};
		seal_readdir(v, snaps, 0, kid, &w);
		for (u32 k = 0; k < w.nkids; k++)
			read_item(v, a, w.kid[k]);
		seal_iput(v, snaps);
	}
	if (root)
		seal_iput(v, root);
	seal_unmount(v);
}

static char first_text[256];
static u32 findings, repairs;
static void told_finding(void *ctx, const char *text)
{
	(void)ctx;
	findings++;
	if (!first_text[0])
		snprintf(first_text, sizeof first_text, "%s", text);
}
static char said[20000];
static void told_repair(void *ctx, const char *text)
{
	(void)ctx;
	repairs++;
	if (strlen(said) + strlen(text) + 2 < sizeof said)
		strcat(strcat(said, text), "\n");
}

// 0: whole now.
static s64 repair(struct mem *m)
{
	const struct seal_checker how = {.finding = told_finding, .repair = told_repair};
	struct seal_fsck_stats st;
	struct seal_vol *v;
	findings = repairs = 0;
	first_text[0] = said[0] = 0;
	int r = seal_mount(&m->io, &test_env, test_key, NULL, SEAL_REPAIR, &v, NULL);
	if (r)
		return r;
	s64 left = seal_repair(v, &how, &st);
	r = seal_unmount(v);
	return left ? left : r;
}

static int check(struct mem *m)
{
	struct seal_vol *v;
	int r = seal_mount(&m->io, &test_env, test_key, NULL, 0, &v, NULL);
	if (r)
		return r;
	r = fsck_quiet(v);
	seal_unmount(v);
	return r;
}

// Nothing but what was there before; and all that could be read of it.
static bool faithful(bool must_keep)
{
	for (u32 k = 0; k < after.n; k++) {
		struct item *a = &after.i[k], *w = find(&whole, a->ino);
		if (!w || (w->mode & 0170000) != (a->mode & 0170000)) {
			if ((a->mode & 0170000) == 0040000)
				continue; // lost+found
			printf("# inode %lu appeared\n", a->ino);
			return false;
		}
		if (a->size != w->size || a->xattr_bad || (a->xattr && a->xattr != w->xattr)) {
			printf("# inode %lu: size %lu, was %lu; attributes %lx, were %lx\n", a->ino, a->size, w->size, a->xattr, w->xattr);
			return false;
		}
		for (u32 p = 0; p < PAGES; p++)
			if (a->page[p] != 1 && a->page[p] != w->page[p]) {
				printf("# inode %lu: page %u is another one\n", a->ino, p);
				return false;
			}
	}
	for (u32 k = 0; must_keep && k < before.n; k++) {
		struct item *b = &before.i[k], *a = find(&after, b->ino);
		bool dir = (b->mode & 0170000) == 0040000, link = (b->mode & 0170000) == 0120000;
		if (!a && link && b->page[0] == 1)
			continue; // a link without a target
		if (!a) {
			printf("# inode %lu (mode %o) is gone\n", b->ino, b->mode);
			return false;
		}
		if (!b->xattr_bad && a->xattr != b->xattr) {
			printf("# inode %lu lost its attributes\n", b->ino);
			return false;
		}
		for (u32 p = 0; p < PAGES && !dir; p++)
			if (b->page[p] != 1 && a->page[p] != b->page[p]) {
				printf("# inode %lu: page %u could be read before the repair\n", b->ino, p);
				return false;
			}
	}
	return true;
}

// Mends the damaged image m and judges.
static bool judge(const char *what, struct mem *m)
{
	read_all(m, &before);
	s64 left = repair(m);
	if (left) {
		printf("# %s: %ld left; '%s'\n%s", what, left, first_text, said);
		return false;
	}
	int r = check(m);
	if (r) {
		printf("# %s: the check afterwards: %d\n%s", what, r, said);
		return false;
	}
	read_all(m, &after);
	if (!faithful(before.mounted)) {
		printf("# %s: '%s'\n%s", what, first_text, said);
		return false;
	}
	return true;
}

static struct mem image;

// Files of all shapes, a large directory, links, snapshots and clones.
static void make_image(u64 seed)
{
	struct seal_vol *v;
	struct work w = {.max_write = 150000};
	mem_free(&image);
	rnd_seed(seed);
	CHECK_EQ(new_volume(&image, 32u << 20, &v), 0);
	struct seal_inode *root = root_of(v), *d, *i;
	CHECK_EQ(seal_create(v, root, "many", 4, 0040755, 0, 0, 0, &d), 0);
	for (u32 k = 0; k < 150; k++) {
		char name[80];
		u32 len = (u32)sprintf(name, "a name of some length, so that there are several blocks %u", k);
		CHECK_EQ(seal_create(v, d, name, len, 0100644, 0, 0, 0, &i), 0);
		CHECK_EQ(seal_write(v, i, 0, name, len), len);
		seal_iput(v, i);
	}
	seal_iput(v, d);
	char target[2000];
	memset(target, 'x', sizeof target);
	CHECK_EQ(seal_symlink(v, root, "long", 4, target, sizeof target, 0, 0, NULL), 0);
	CHECK_EQ(seal_create(v, root, "big", 3, 0100644, 0, 0, 0, &i), 0);
	for (u64 k = 0; k < 300; k++)
		CHECK_EQ(seal_write(v, i, k * 4096 * (k < 40 ? 1 : 7), target, 1000), 1000);
	seal_iput(v, i);
	seal_iput(v, root);
	for (u32 k = 0; k < 3; k++) {
		char name[8];
		work_some(&w, v, 60);
		seal_snapshot_create(v, name, (u32)sprintf(name, "s%u", k));
	}
	work_some(&w, v, 60);
	work_close(&w, v);
	CHECK_EQ(seal_unmount(v), 0);
	CHECK_EQ(check(&image), 0);
	read_all(&image, &whole);
	CHECK(whole.n > 300);
}

static void ruin(struct mem *m, u64 block)
{
	m->data[block * 4096 + rnd() % 4096] ^= (u8)(1 + rnd() % 255);
}

static void nothing_to_repair(void)
{
	make_image(3);
	struct mem m;
	mem_copy(&m, &image);
	CHECK_EQ(repair(&m), 0);
	CHECK_EQ(findings, 0);
	CHECK_EQ(repairs, 0);
	CHECK_EQ(m.writes, 0);
	mem_free(&m);
}

static void every_block(void)
{
	u32 told = 0;
	for (u64 b = rnd() % 3; b * 4096 < image.size; b += rounds > 40 ? 1 : 6) {
		struct mem m;
		char what[40];
		mem_copy(&m, &image);
		ruin(&m, b);
		snprintf(what, sizeof what, "block %lu", b);
		bool ok = judge(what, &m);
		told += repairs != 0;
		mem_free(&m);
		CHECK(ok);
	}
	CHECK(told > 30);
}

static void random_damage(void)
{
	for (u64 t = 0; t < rounds; t++) {
		struct mem m;
		if (t % 8 == 7)
			make_image(100 + t);
		if (test_failures)
			return;
		mem_copy(&m, &image);
		for (u64 n = 1 + rnd() % (t % 3 ? 12 : 200); n; n--)
			ruin(&m, 32 + rnd() % (m.size / 4096 - 32));
		if (t % 5 == 4)
			m.size = 4096 * (32 + rnd() % (m.size / 4096 - 32)); // cut short as well
		bool ok = judge("random damage", &m);
		mem_free(&m);
		CHECK(ok);
	}
}

// A page that is lost cannot be read, is no hole, stays so in a clone, and can be written again.
static void lost_pages(void)
{
	struct seal_vol *v;
	struct seal_inode *root, *i, *c;
	struct mem m;
	u8 page[4096], got[4096];
	CHECK_EQ(new_volume(&m, 16u << 20, &v), 0);
	root = root_of(v);
	CHECK_EQ(seal_create(v, root, "f", 1, 0100644, 0, 0, 0, &i), 0);
	for (u64 k = 0; k < 200; k++) {
		memset(page, (int)k + 1, sizeof page);
		CHECK_EQ(seal_write(v, i, k * 4096, page, 4096), 4096);
	}
	CHECK_EQ(seal_sync(v), 0);
	struct node *holder;
	struct d_ptr *slot;
	CHECK_EQ(sv_tree_slot(v, &i->tree, 0, 7, NODE_READ, &slot, &holder), 0);
	u64 leaf = ptr_addr(slot);
	sv_node_put(v, holder);
	CHECK_EQ(sv_tree_slot(v, &i->tree, 1, 1, NODE_READ, &slot, &holder), 0); // pages 128 to 255
	u64 upper = ptr_addr(slot);
	sv_node_put(v, holder);
	seal_iput(v, i);
	seal_iput(v, root);
	CHECK_EQ(seal_unmount(v), 0);
	ruin(&m, leaf);
	ruin(&m, upper);
	CHECK_EQ(repair(&m), 0);
	CHECK(strstr(said, "/f: bytes 28672 to 32767 are lost"));
	CHECK(strstr(said, "/f: bytes 524288 to 819199 are lost"));
	CHECK_EQ(check(&m), 0);
	CHECK_EQ(seal_mount(&m.io, &test_env, test_key, NULL, 0, &v, NULL), 0);
	root = root_of(v);
	CHECK_EQ(seal_lookup(v, root, "f", 1, &i), 0);
	CHECK_EQ(seal_read(v, i, 28672, got, 4096), SEAL_ETAMPER);
	CHECK_EQ(seal_read(v, i, 28673, got, 1), SEAL_ETAMPER);
	CHECK_EQ(seal_read(v, i, 150 * 4096, got, 4096), SEAL_ETAMPER);
	CHECK_EQ(seal_seek(v, i, 28672, false), 28672);
	CHECK_EQ(seal_write(v, i, 28700, "x", 1), SEAL_ETAMPER); // what is beside it is not known
	CHECK_EQ(seal_create(v, root, "c", 1, 0100644, 0, 0, 0, &c), 0);
	CHECK_EQ(seal_clone(v, i, 0, c, 0, 0), 0);
	CHECK_EQ(seal_read(v, c, 28672, got, 4096), SEAL_ETAMPER);
	memset(page, 99, sizeof page);
	CHECK_EQ(seal_write(v, i, 28672, page, 4096), 4096);
	CHECK_EQ(seal_write(v, i, 130 * 4096, page, 4096), 4096);
	CHECK_EQ(seal_read(v, i, 28672, got, 4096), 4096);
	CHECK(!memcmp(got, page, 4096));
	CHECK_EQ(seal_read(v, i, 130 * 4096, got, 4096), 4096);
	CHECK(!memcmp(got, page, 4096));
	CHECK_EQ(seal_read(v, i, 131 * 4096, got, 4096), SEAL_ETAMPER);
	CHECK_EQ(seal_read(v, c, 28672, got, 4096), SEAL_ETAMPER);
	CHECK_EQ(seal_sync(v), 0);
	CHECK_EQ(fsck_quiet(v), 0);
	CHECK_EQ(seal_truncate(v, i, 140 * 4096 + 5), 0); // in the middle of what is lost
	CHECK_EQ(seal_punch(v, i, 120 * 4096, 12 * 4096), 0);
	CHECK_EQ(seal_read(v, i, 131 * 4096, got, 4096), 4096); // a hole
	CHECK_EQ(seal_truncate(v, i, 300 * 4096), 0);
	CHECK_EQ(seal_read(v, i, 200 * 4096, got, 4096), 4096); // beyond the old end: zeros
	CHECK_EQ(seal_sync(v), 0);
	CHECK_EQ(fsck_quiet(v), 0);
	CHECK_EQ(seal_snapshot_create(v, "s", 1), 0);
	CHECK_EQ(seal_unlink(v, root, "f", 1), 0);
	CHECK_EQ(seal_unlink(v, root, "c", 1), 0);
	seal_iput(v, i);
	seal_iput(v, c);
	CHECK_EQ(seal_snapshot_delete(v, "s", 1), 0);
	while (seal_work(v, 1000, NULL) > 0)
		;
	CHECK_EQ(seal_sync(v), 0);
	CHECK_EQ(fsck_quiet(v), 0);
	seal_iput(v, root);
	CHECK_EQ(seal_unmount(v), 0);
	mem_free(&m);
}

// What no damage makes, only a defect: the counts are wrong though every block authenticates.
static void wrong_counts(void)
{
	for (int what = 0; what < 12; what++) {
		struct mem m;
		struct seal_vol *v;
		struct seal_inode *root, *i, *d;
		struct seal_dirent e;
		struct node *b;
		mem_copy(&m, &image);
		CHECK_EQ(seal_mount(&m.io, &test_env, test_key, NULL, 0, &v, NULL), 0);
		root = root_of(v);
		CHECK_EQ(seal_lookup(v, root, "big", 3, &i), 0);
		CHECK_EQ(seal_lookup(v, root, "many", 4, &d), 0);
		CHECK_EQ(sv_op_begin(v, 64, true), 0);
		CHECK_EQ(sv_inode_dirty(v, i), 0);
		CHECK_EQ(sv_inode_dirty(v, d), 0);
		CHECK_EQ(sv_node_get(v, &v->bmap, 0, 0, NODE_WRITE, &b), 0);
		switch (what) {
		case 0: // blocks in use that the map calls free: dangerous
			for (u64 k = 0; k < 20; k++) {
				struct node *holder;
				struct d_ptr *slot;
				CHECK_EQ(sv_tree_slot(v, &i->tree, 0, k, NODE_READ, &slot, &holder), 0);
				u64 addr = ptr_addr(slot);
				sv_node_put(v, holder);
				b->data[addr / 8] &= (u8)~(1u << addr % 8);
				v->used--;
				CHECK_EQ(sv_space_keep(v, addr), 0); // the commit shall not take it
			}
			break;
		case 1: b->data[1000] = 0xff; v->used += 3; break;
		case 2: CHECK_EQ(sv_refs_add(v, ptr_addr(&i->tree.root[0]), 3), 0); break;
		case 3: i->nlink = 7; d->nlink = 1; break;
		case 4: d->dir_count += 5; break;
		case 5: d->parent = i->ino; break;
		case 6: v->inodes += 9; break;
		case 7: v->free_ino = SEAL_ROOT_INO; break;
		case 8: // a name less
			CHECK_EQ(sv_dir_find(v, root, "big", 3, &e), 0);
			CHECK_EQ(sv_dir_remove(v, root, e.key), 0);
			break;
		case 9: // a name of another type, and one of nothing
			CHECK_EQ(sv_dir_find(v, root, "big", 3, &e), 0);
			CHECK_EQ(sv_dir_replace(v, root, e.key, i->ino, T_LNK), 0);
			CHECK_EQ(sv_dir_insert(v, root, "none", 4, v->next_ino - 1 + 500, T_REG), 0);
			break;
		case 10: i->blocks += 17; break;
		case 11: v->reserved += 50; v->sessions[v->cur].live += 4; break;
		}
		sv_node_put(v, b);
		seal_iput(v, i);
		seal_iput(v, d);
		seal_iput(v, root);
		CHECK_EQ(vol_commit(v, true), 0); // seal_unmount would free what has no links
		CHECK_EQ(seal_unmount(v), 0);
		char text[30];
		snprintf(text, sizeof text, "wrong count %d", what);
		bool ok = judge(text, &m);
		mem_free(&m);
		CHECK(ok);
		CHECK(findings);
	}
}

// A crash at any write of a repair: the volume can be repaired, and nothing more is lost.
static void interrupted(void)
{
	for (int t = 0; t < 3; t++) {
		struct mem m, start, part;
		mem_copy(&m, &image);
		for (int n = 0; n < 8; n++)
			ruin(&m, 32 + rnd() % (m.size / 4096 - 32));
		read_all(&m, &before);
		mem_copy(&start, &m);
		m.record = true;
		CHECK_EQ(repair(&m), 0);
		for (u32 upto = 0; upto <= m.nops * 3; upto++) {
			u32 end = upto / 3, flushed = end;
			while (flushed && m.ops[flushed - 1].n)
				flushed--;
			mem_copy(&part, &start);
			for (u32 k = 0; k < end; k++)
				if (m.ops[k].n && (k < flushed || upto % 3 == 0 || rnd() % 3)) // some had not landed yet
					mem_apply(&part, &m.ops[k]);
			struct all *keep = malloc(sizeof *keep);
			*keep = before;
			s64 left = repair(&part);
			int r = check(&part);
			read_all(&part, &after);
			before = *keep;
			free(keep);
			bool ok = !left && !r && faithful(before.mounted);
			mem_free(&part);
			if (!ok)
				printf("# after %u of %u writes: left %ld, check %d, '%s'\n%s", upto, m.nops, left, r, first_text, said);
			CHECK(ok);
		}
		mem_free(&m);
		mem_free(&start);
	}
}

int main(int argc, char **argv)
{
	u64 seed = 9;
	int opt;
	while ((opt = getopt(argc, argv, "s:n:")) != -1)
		*(opt == 's' ? &seed : &rounds) = strtoul(optarg ? optarg : "", NULL, 0);
	RUN(nothing_to_repair);
	rnd_seed(seed);
	if (!test_failures) {
		RUN(wrong_counts);
		RUN(lost_pages);
		RUN(every_block);
		RUN(random_damage);
		RUN(interrupted);
	}
	mem_free(&image);
	return test_end();
}

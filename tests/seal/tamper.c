// SPDX-License-Identifier: Apache-2.0
// A hostile host: every block of a volume is damaged, swapped, replayed, cut off or taken from another volume. Reading
// must give either exactly what was written or a typed error; never anything else.
#include "tests/seal/mem.h"

#define MAXPATH 300
struct entry { // what the volume held when it was intact
	char path[64];
	struct seal_attr a;
	u64 digest;
};
static struct entry want[MAXPATH];
static u32 nwant;

static u64 digest(const u8 *p, size_t n)
{
	u64 h = n, w;
	for (; n >= 8; p += 8, n -= 8) {
		memcpy(&w, p, 8);
		h = (h ^ w) * 0x9e3779b97f4a7c15ul;
		h ^= h >> 29;
	}
	for (; n; p++, n--)
		h = (h ^ *p) * 0x9e3779b97f4a7c15ul;
	return h;
}

struct visit {
	struct seal_vol *v;
	struct entry *out; // recording
	u32 n;
	int error; // first error met
	bool differs;
};
struct kids {
	char name[64][40];
	u32 n;
};

static bool kid(void *ctx, const char *name, u32 len, u64 ino, u32 type, u64 cookie)
{
	struct kids *k = ctx;
	(void)ino, (void)type, (void)cookie;
	if (k->n < 64 && len < 40)
		snprintf(k->name[k->n++], 40, "%.*s", (int)len, name);
	return true;
}

static void visit(struct visit *w, struct seal_inode *i, const char *path)
{
	static u8 buf[1 << 20];
	struct entry e = {0};
	snprintf(e.path, sizeof e.path, "%s", path);
	seal_getattr(w->v, i, &e.a);
	s64 n = 0;
	if ((e.a.mode & 0170000) == 0100000)
		n = seal_read(w->v, i, 0, buf, sizeof buf);
	else if ((e.a.mode & 0170000) == 0120000)
		n = seal_readlink(w->v, i, (char *)buf, sizeof buf);
	if (n < 0) {
		w->error = w->error ? w->error : (int)n;
		return;
	}
	if ((e.a.mode & 0170000) != 0040000 && (u64)n < e.a.size) { // a later page failed: an error must follow
		w->error = w->error ? w->error : (int)seal_read(w->v, i, (u64)n, buf, 1);
		return;
	}
	e.digest = digest(buf, (size_t)n);
	char x[100];
	s64 xn = seal_getxattr(w->v, i, "user.t", 6, x, sizeof x);
	if (xn >= 0)
		e.digest ^= (u8)x[0];
	else if (xn != -ENODATA) {
		w->error = w->error ? w->error : (int)xn;
		return;
	}
	if (w->out)
		w->out[w->n] = e;
	else if (w->n >= nwant || memcmp(&want[w->n], &e, sizeof e))
		w->differs = true;
	w->n++;
	if ((e.a.mode & 0170000) != 0040000)
		return;
	struct kids *k = calloc(1, sizeof *k);
	int r = seal_readdir(w->v, i, 0, kid, k);
	if (r)
		w->error = w->error ? w->error : r;
	for (u32 j = 0; j < k->n && !r; j++) {
		struct seal_inode *c;
		char sub[64];
		snprintf(sub, sizeof sub, "%.20s/%.40s", path, k->name[j]);
		r = seal_lookup(w->v, i, k->name[j], (u32)strlen(k->name[j]), &c);
		if (r) {
			w->error = w->error ? w->error : r;
			break;
		}
		visit(w, c, sub);
		seal_iput(w->v, c);
		r = w->error;
	}
	free(k);
}

// 1: exactly as recorded; else the typed error. -1: something else was served.
static int outcome(struct mem *m, const u8 *key)
{
	struct seal_vol *v;
	struct seal_fault f;
	int r = seal_mount(&m->io, &test_env, key, NULL, SEAL_RDONLY, &v, &f);
	if (r)
		return f.text[0] || r == -ENOMEM ? r : -1;
	struct visit w = {.v = v};
	struct seal_inode *root;
	r = seal_iget(v, SEAL_ROOT_INO, &root);
	if (!r) {
		visit(&w, root, "");
		seal_iput(v, root);
	}
	seal_get_fault(v, &f);
	seal_unmount(v);
	r = r ? r : w.error;
	if (r)
		return f.kind && f.text[0] ? r : -1;
	return w.differs || w.n != nwant ? -1 : 1;
}

static int mounts(struct mem *m)
{
	struct seal_vol *v;
	int r = seal_mount(&m->io, &test_env, test_key, NULL, SEAL_RDONLY, &v, NULL);
	if (!r)
		seal_unmount(v);
	return r ? r : 1;
}

static struct mem good, other, older;

static void populate(struct seal_vol *v, u32 version)
{
	static u8 data[300000];
	struct seal_inode *root = root_of(v), *i, *d;
	for (u32 k = 0; k < sizeof data; k++)
		data[k] = (u8)(k * 7 + k / 4096 + version);
	if (!root)
		return;
	if (seal_lookup(v, root, "dir", 3, &d) && seal_create(v, root, "dir", 3, 0040755, 0, 0, 0, &d))
		goto out; // some tests write to damaged volumes
	for (u32 k = 0; k < 40; k++) {
		char name[40];
		u32 len = (u32)sprintf(name, "file-%u", k);
		if (seal_lookup(v, d, name, len, &i) && seal_create(v, d, name, len, 0100600, k, k, 0, &i))
			continue;
		seal_write(v, i, 0, data + k, k * 200 + version);
		if (k % 10 == 0)
			seal_setxattr(v, i, "user.t", 6, &data[version], 5, 0);
		seal_iput(v, i);
	}
	seal_iput(v, d);
	if (!seal_lookup(v, root, "big", 3, &i) || !seal_create(v, root, "big", 3, 0100600, 0, 0, 0, &i)) {
		seal_write(v, i, 0, data, sizeof data);
		seal_write(v, i, 900000, data, 10000);
		seal_iput(v, i);
	}
	if (!version)
		seal_symlink(v, root, "link", 4, "dir/file-1", 10, 0, 0, NULL);
out:
	seal_iput(v, root);
}

static void prepare(void)
{
	struct seal_vol *v;
	CHECK_EQ(new_volume(&good, 64u << 20, &v), 0);
	populate(v, 0);
	CHECK_EQ(seal_unmount(v), 0);
	mem_copy(&older, &good);
	CHECK_EQ(seal_mount(&good.io, &test_env, test_key, NULL, 0, &v, NULL), 0);
	populate(v, 1);
	CHECK_EQ(seal_sync(v), 0);
	populate(v, 2);
	CHECK_EQ(seal_unmount(v), 0);
	CHECK_EQ(seal_mount(&good.io, &test_env, test_key, NULL, SEAL_RDONLY, &v, NULL), 0);
	CHECK_EQ(fsck_quiet(v), 0);
	struct visit w = {.v = v, .out = want};
	struct seal_inode *root = root_of(v);
	visit(&w, root, "");
	nwant = w.n;
	CHECK_EQ(w.error, 0);
	seal_iput(v, root);
	seal_unmount(v);
	CHECK(nwant == 44);
	CHECK_EQ(outcome(&good, test_key), 1);
	CHECK_EQ(new_volume(&other, 64u << 20, &v), 0);
	populate(v, 0);
	populate(v, 2);
	CHECK_EQ(seal_unmount(v), 0);
}

static u32 refused, harmless;

static void judge(const char *what, u64 block, int r)
{
	if (r == 1)
		harmless++;
	else if (r == SEAL_ETAMPER || r == SEAL_EKEY || r == SEAL_ENOTVOLUME || r == SEAL_EVERSION)
		refused++;
	else {
		printf("not ok %s of block %lu: outcome %d\n", what, block, r);
		test_failures++;
	}
}

static void flipped_bits(void)
{
	u64 blocks = good.size / 4096;
	refused = harmless = 0;
	for (u64 b = 0; b < blocks; b++) {
		if (b > 0 && b < 16 && good.data[b * 4096] == 0)
			continue; // unused part of a slot
		u64 off = b * 4096 + rnd() % 4096;
		u8 bit = (u8)(1u << rnd() % 8);
		good.data[off] ^= bit;
		judge("flip", b, outcome(&good, test_key));
		good.data[off] ^= bit;
	}
	printf("# %u refused, %u harmless (free blocks, one of two equal roots)\n", refused, harmless);
	CHECK(refused > 60);
	CHECK_EQ(outcome(&good, test_key), 1);
}

// Every byte of the two root slots, and of one block of each kind.
static void every_byte_of_the_roots(void)
{
	for (u32 s = 0; s < 2; s++)
		for (u32 k = 0; k < 4096; k++) {
			u8 *p = &good.data[s * 65536 + k];
			*p ^= 0x10;
			int r = k % 61 ? mounts(&good) : outcome(&good, test_key);
			*p ^= 0x10;
			if (r != 1) { // both slots hold the same state after a clean close
				printf("not ok byte %u of slot %u: outcome %d\n", k, s, r);
				test_failures++;
				return;
			}
		}
	u8 save[2][4096];
	for (u32 k = 0; k < 4096; k += 1 + (k > 200) * 97) { // both slots at once: nothing to fall back to
		for (u32 s = 0; s < 2; s++) {
			memcpy(save[s], good.data + s * 65536, 4096);
			good.data[s * 65536 + k] ^= 0x80;
		}
		int r = outcome(&good, test_key);
		for (u32 s = 0; s < 2; s++)
			memcpy(good.data + s * 65536, save[s], 4096);
		CHECK(r == SEAL_ETAMPER || r == SEAL_EKEY || r == SEAL_ENOTVOLUME || r == SEAL_EVERSION);
	}
}

static void swapped_blocks(void)
{
	u64 blocks = good.size / 4096;
	u8 t[4096];
	for (u32 k = 0; k < 400; k++) {
		u64 a = 32 + rnd() % (blocks - 32), b = 32 + rnd() % (blocks - 32);
		memcpy(t, good.data + a * 4096, 4096);
		memcpy(good.data + a * 4096, good.data + b * 4096, 4096);
		memcpy(good.data + b * 4096, t, 4096);
		judge("swap", a, outcome(&good, test_key));
		memcpy(good.data + b * 4096, good.data + a * 4096, 4096);
		memcpy(good.data + a * 4096, t, 4096);
	}
	memcpy(t, good.data, 4096); // the slots
	memcpy(good.data, good.data + 65536, 4096);
	memcpy(good.data + 65536, t, 4096);
	CHECK_EQ(outcome(&good, test_key), SEAL_ETAMPER);
	memcpy(good.data + 65536, good.data, 4096);
	memcpy(good.data, t, 4096);
}

static void replayed(struct mem *from, const char *what, u32 *refusals)
{
	u64 blocks = good.size / 4096;
	u8 t[4096];
	refused = harmless = 0;
	for (u64 b = 32; b < blocks; b++) {
		if ((b + 1) * 4096 > from->size || !memcmp(from->data + b * 4096, good.data + b * 4096, 4096))
			continue;
		memcpy(t, good.data + b * 4096, 4096);
		memcpy(good.data + b * 4096, from->data + b * 4096, 4096);
		judge(what, b, outcome(&good, test_key));
		memcpy(good.data + b * 4096, t, 4096);
	}
	*refusals = refused;
	printf("# %s: %u refused, %u harmless\n", what, refused, harmless);
}

static void replayed_old_blocks(void)
{
	u32 n;
	replayed(&older, "replay", &n);
	CHECK(n > 0);
}

static void blocks_of_another_volume(void)
{
	u32 n;
	replayed(&other, "another volume's block", &n);
	CHECK(n > 50);
	u8 t[2][4096];
	for (u32 s = 0; s < 2; s++) {
		memcpy(t[s], good.data + s * 65536, 4096);
		memcpy(good.data + s * 65536, other.data + s * 65536, 4096);
	}
	CHECK(outcome(&good, test_key) < 0);
	for (u32 s = 0; s < 2; s++)
		memcpy(good.data + s * 65536, t[s], 4096);
	CHECK_EQ(outcome(&good, test_key), 1);
}

static void cut_short(void)
{
	u64 size = good.size;
	for (u64 n = 0; n < size; n += n < 300000 ? 1777 : 40960) {
		good.size = n;
		int r = outcome(&good, test_key);
		good.size = size;
		CHECK(r == SEAL_ETAMPER || r == SEAL_ENOTVOLUME);
	}
}

static void wrong_key_is_told_from_damage(void)
{
	u8 key[32];
	memcpy(key, test_key, 32);
	for (int bit = 0; bit < 256; bit += 5) {
		key[bit / 8] ^= (u8)(1u << bit % 8);
		CHECK_EQ(outcome(&good, key), SEAL_EKEY);
		key[bit / 8] ^= (u8)(1u << bit % 8);
	}
	struct seal_vol *v;
	struct seal_fault f;
	u8 id[16] = {9};
	CHECK_EQ(seal_mount(&good.io, &test_env, test_key, id, SEAL_RDONLY, &v, &f), SEAL_EIDENTITY);
	CHECK(strstr(f.text, "another volume"));
}

// Damage found while changing things: the volume stays as it was at the last commit.
static void damage_while_writing(void)
{
	u64 blocks = good.size / 4096;
	for (u64 b = 32; b < blocks; b += 3) {
		struct mem m;
		struct seal_vol *v;
		mem_copy(&m, &good);
		m.data[b * 4096 + 99] ^= 4;
		if (!seal_mount(&m.io, &test_env, test_key, NULL, 0, &v, NULL)) {
			populate(v, 3);
			struct seal_inode *root = root_of(v), *d;
			if (root && !seal_lookup(v, root, "dir", 3, &d)) {
				for (u32 k = 0; k < 40; k += 3) {
					char name[40];
					u32 len = (u32)sprintf(name, "file-%u", k);
					seal_unlink(v, d, name, len);
				}
				seal_iput(v, d);
			}
			if (root)
				seal_iput(v, root);
			seal_unmount(v);
		}
		mem_free(&m);
	}
	CHECK_EQ(test_allocs_left, 0);
}

static bool blank(const u8 *p) { return !p[0] && !memcmp(p, p + 1, 4095); } // never written, only given room

static void nothing_is_encrypted_twice_alike(void)
{
	struct mem a, b;
	struct seal_vol *v;
	u8 id[16] = {1, 2, 3};
	struct mem *ms[2] = {&a, &b};
	for (int k = 0; k < 2; k++) {
		mem_init(ms[k]);
		CHECK_EQ(seal_format(&ms[k]->io, &test_env, test_key, id, 64u << 20), 0);
		CHECK_EQ(seal_mount(&ms[k]->io, &test_env, test_key, NULL, 0, &v, NULL), 0);
		populate(v, 0);
		CHECK_EQ(seal_unmount(v), 0);
	}
	for (u64 off = 32 * 4096; off < SEAL_MIN(a.size, b.size); off += 4096)
		CHECK(blank(a.data + off) || memcmp(a.data + off, b.data + off, 4096));
	// The host puts the state after the first mount back, twice: the two continuations share no key.
	struct mem base;
	mem_free(&b);
	mem_copy(&base, &a);
	mem_copy(&b, &base);
	for (int k = 0; k < 2; k++) {
		CHECK_EQ(seal_mount(&ms[k]->io, &test_env, test_key, NULL, 0, &v, NULL), 0);
		populate(v, 4);
		CHECK_EQ(seal_unmount(v), 0);
	}
	for (u64 off = 32 * 4096; off < SEAL_MIN(a.size, b.size); off += 4096)
		CHECK(blank(a.data + off) || (off < base.size && !memcmp(a.data + off, base.data + off, 4096)) ||
		      memcmp(a.data + off, b.data + off, 4096));
	mem_free(&a);
	mem_free(&b);
	mem_free(&base);
}

int main(void)
{
	RUN(prepare);
	RUN(flipped_bits);
	RUN(every_byte_of_the_roots);
	RUN(swapped_blocks);
	RUN(replayed_old_blocks);
	RUN(blocks_of_another_volume);
	RUN(cut_short);
	RUN(wrong_key_is_told_from_damage);
	RUN(damage_while_writing);
	RUN(nothing_is_encrypted_twice_alike);
	mem_free(&good);
	mem_free(&older);
	mem_free(&other);
	return test_failures != 0;
}

// SPDX-License-Identifier: Apache-2.0
// See work.h.
#include "tests/seal/work.h"

static struct seal_inode *somewhere(struct seal_vol *v)
{
	struct seal_inode *root = root_of(v), *d;
	char name[8];
	u32 k = (u32)(rnd() % 6);
	if (!root || k > 2)
		return root;
	u32 len = (u32)sprintf(name, "d%u", k);
	if (seal_lookup(v, root, name, len, &d) && seal_create(v, root, name, len, 0040755, 0, 0, 0, &d))
		return root;
	seal_iput(v, root);
	return d;
}

static void clone_from_another(struct seal_vol *v, struct seal_inode *to)
{
	struct seal_inode *d = somewhere(v), *from;
	char name[8];
	u32 len = (u32)sprintf(name, "f%lu", rnd() % 12);
	if (!d)
		return;
	if (!seal_lookup(v, d, name, len, &from)) {
		seal_clone(v, from, rnd() % 4 * 4096, to, rnd() % 8 * 4096, rnd() % 2 ? 0 : (1 + rnd() % 6) * 4096);
		seal_iput(v, from);
	}
	seal_iput(v, d);
}

static void change_file(struct work *w, struct seal_vol *v, struct seal_inode *i)
{
	static u8 data[200000];
	struct seal_attr a;
	u64 n = rnd() % 4 ? rnd() % 9000 : rnd() % w->max_write;
	seal_getattr(v, i, &a);
	memset(data, (int)rnd(), n);
	switch (rnd() % 12) {
	case 9: seal_fallocate(v, i, rnd() % 2 ? SEAL_FALLOC_KEEP_SIZE : 0, rnd() % 60000, 1 + rnd() % 90000); break;
	case 10: seal_fallocate(v, i, SEAL_FALLOC_ZERO_RANGE, rnd() % 60000, 1 + rnd() % 30000); break;
	case 11: clone_from_another(v, i); break;
	case 0: seal_truncate(v, i, rnd() % 70000); break;
	case 1: seal_punch(v, i, rnd() % 60000, rnd() % 30000); break;
	case 2: seal_setxattr(v, i, "user.a", 6, data, 1 + rnd() % 900, 0); break;
	case 3: seal_removexattr(v, i, "user.a", 6); break;
	case 4: seal_write(v, i, a.size, data, n); break;
	case 5: seal_write(v, i, rnd() % 9000, data, rnd() % 300); break;
	default: seal_write(v, i, rnd() % 3 ? rnd() % 60000 & ~4095ul : rnd() % 9000, data, n); break;
	}
}

static void one(struct work *w, struct seal_vol *v, struct seal_inode *d, struct seal_inode *to_dir)
{
	char name[20], to[20];
	u32 len = (u32)sprintf(name, "f%lu", rnd() % 12), tlen = (u32)sprintf(to, "f%lu", rnd() % 12);
	struct seal_inode *i;
	switch (rnd() % 12) {
	case 0: seal_unlink(v, d, name, len); break;
	case 1: seal_rename(v, d, name, len, to_dir, to, tlen, 0); break;
	case 2: seal_rename(v, d, name, len, to_dir, to, tlen, SEAL_RENAME_EXCHANGE); break;
	case 3:
		if (!seal_lookup(v, d, name, len, &i)) {
			seal_link(v, to_dir, to, tlen, i);
			seal_iput(v, i);
		}
		break;
	case 4: seal_symlink(v, d, to, tlen, "d1/f3", 5, 0, 0, NULL); break;
	case 5: { // keep one open, then unlink it
		struct seal_inode **o = &w->open_files[rnd() % 4];
		if (*o)
			seal_iput(v, *o);
		if (seal_lookup(v, d, name, len, o))
			*o = NULL;
		else
			seal_unlink(v, d, name, len);
		break;
	}
	default:
		if (seal_lookup(v, d, name, len, &i) && seal_create(v, d, name, len, 0100600 | (rnd() & 077), 0, 0, 0, &i))
			break;
		change_file(w, v, i);
		seal_iput(v, i);
	}
}

void work_some(struct work *w, struct seal_vol *v, u32 n)
{
	for (; n; n--) {
		struct seal_inode *d = somewhere(v), *to = somewhere(v);
		if (d && to)
			one(w, v, d, to);
		if (d)
			seal_iput(v, d);
		if (to)
			seal_iput(v, to);
	}
}

static void quiet_change(struct seal_vol *v, struct seal_inode *i)
{
	static u8 pages[8][4096];
	const void *in[8];
	u64 index[8];
	struct seal_attr a;
	u32 n = 1 + (u32)(rnd() % 8);
	seal_getattr(v, i, &a);
	if (rnd() % 4 == 0 || (a.mode & 0170000) != 0100000) {
		struct seal_attr b = {.mode = 0600 | (rnd() & 077), .uid = (u32)rnd() % 9, .mtime_ns = (s64)rnd() % 1000000};
		seal_setattr(v, i, rnd() % 2 ? SEAL_SET_MODE : SEAL_SET_UID | SEAL_SET_MTIME, &b);
		return;
	}
	index[0] = rnd() % (rnd() % 8 ? 30 : 3000);
	for (u32 k = 0; k < n; k++) {
		memset(pages[k], (int)rnd(), 4096);
		in[k] = pages[k];
		index[k] = k ? index[k - 1] + 1 + (rnd() % 3 ? 0 : rnd() % 40) : index[0];
	}
	u64 end = rnd() % 3 ? 0 : index[n - 1] * 4096 + 1 + rnd() % 4096;
	u64 size = SEAL_MAX(a.size, end);
	if (size <= index[n - 1] * 4096)
		return;
	if (size < (index[n - 1] + 1) * 4096) // zeros behind the end
		memset(pages[n - 1] + size % 4096, 0, 4096 - size % 4096);
	seal_write_pages(v, i, index, n, in, SEAL_MIN(size, (index[n - 1] + 1) * 4096));
}

void work_quiet(struct seal_vol *v, u32 n)
{
	for (; n; n--) {
		struct seal_inode *d = root_of(v), *i;
		char name[8];
		if (rnd() % 2) {
			struct seal_inode *sub;
			if (!seal_lookup(v, d, name, (u32)sprintf(name, "d%lu", rnd() % 3), &sub)) {
				seal_iput(v, d);
				d = sub;
			}
		}
		for (u32 k = 0; k < 8; k++)
			if (!seal_lookup(v, d, name, (u32)sprintf(name, "f%lu", rnd() % 12), &i)) {
				quiet_change(v, i);
				seal_iput(v, i);
				break;
			}
		seal_iput(v, d);
	}
}

void work_close(struct work *w, struct seal_vol *v)
{
	for (u32 k = 0; k < 4; k++) {
		if (w->open_files[k])
			seal_iput(v, w->open_files[k]);
		w->open_files[k] = NULL;
	}
}

// --- states

static u64 mix(u64 h, const void *p, size_t n)
{
	const u8 *b = p;
	u64 x;
	for (; n >= 8; b += 8, n -= 8) {
		memcpy(&x, b, 8);
		h = (h ^ x) * 0x9e3779b97f4a7c15ul;
		h ^= h >> 29;
	}
	for (; n; b++, n--)
		h = (h ^ *b) * 0x100000001b3ul;
	return h;
}

struct kids {
	char name[64][24];
	u32 n;
};

static bool kid(void *ctx, const char *name, u32 len, u64 ino, u32 type, u64 cookie)
{
	struct kids *k = ctx;
	(void)ino, (void)type, (void)cookie;
	if (k->n < 64 && len < 24)
		snprintf(k->name[k->n++], 24, "%.*s", (int)len, name);
	return true;
}

static int by_name(const void *a, const void *b) { return strcmp(a, b); }

// The digest of one inode, or a negative errno.
static int digest(struct seal_vol *v, struct seal_inode *i, const struct seal_attr *a, u64 *out)
{
	static u8 buf[400000];
	u8 x[1024];
	u64 h = mix(1469598103934665603ul, &a->mode, sizeof a->mode);
	h = mix(h, &a->nlink, sizeof a->nlink);
	h = mix(h, &a->mtime_ns, sizeof a->mtime_ns);
	s64 n = 0;
	if ((a->mode & 0170000) != 0040000) {
		h = mix(h, &a->size, sizeof a->size);
		n = (a->mode & 0170000) == 0120000 ? seal_readlink(v, i, (char *)buf, sizeof buf) : seal_read(v, i, 0, buf, sizeof buf);
		u64 end = SEAL_MIN(a->size, sizeof buf);
		if (n >= 0 && (u64)n < end) { // a later page failed: an error must follow
			bool link = (a->mode & 0170000) == 0120000;
			for (u64 at = (u64)n; at < end && n >= 0 && !link; at += 4096)
				n = seal_read(v, i, at, buf, 1);
			n = n >= 0 ? -EIO : n;
		}
	}
	if (n < 0)
		return (int)n;
	h = mix(h, buf, (size_t)n);
	n = seal_getxattr(v, i, "user.a", 6, x, sizeof x);
	if (n < 0 && n != -ENODATA)
		return (int)n;
	*out = n < 0 ? h : mix(h, x, (size_t)n);
	return 0;
}

static void visit(struct seal_vol *v, struct seal_inode *i, const char *path, struct state *s)
{
	struct seal_attr a;
	u64 h = 0;
	seal_getattr(v, i, &a);
	int r = digest(v, i, &a, &h);
	if (r) {
		s->error = s->error ? s->error : r;
		return;
	}
	if (s->n == STATE_PATHS)
		abort();
	struct state_line *l = &s->line[s->n++];
	snprintf(l->path, sizeof l->path, "%.47s", path);
	l->digest = h;
	if ((a.mode & 0170000) != 0040000)
		return;
	struct kids *k = calloc(1, sizeof *k);
	r = seal_readdir(v, i, 0, kid, k);
	if (!r)
		qsort(k->name, k->n, sizeof k->name[0], by_name);
	for (u32 j = 0; j < k->n && !r; j++) {
		struct seal_inode *c;
		char sub[64];
		snprintf(sub, sizeof sub, "%.23s/%.23s", path, k->name[j]);
		int e = seal_lookup(v, i, k->name[j], (u32)strlen(k->name[j]), &c);
		if (e) {
			s->error = s->error ? s->error : e;
			continue;
		}
		visit(v, c, sub, s);
		seal_iput(v, c);
	}
	s->error = s->error ? s->error : r;
	free(k);
}

void state_read(struct seal_vol *v, struct state *s)
{
	struct seal_info info;
	struct seal_inode *root;
	memset(s, 0, sizeof *s);
	seal_get_info(v, &info);
	s->generation = info.generation;
	s->error = seal_iget(v, SEAL_ROOT_INO, &root);
	if (s->error)
		return;
	visit(v, root, "", s);
	struct seal_inode *snaps;
	int r = seal_lookup(v, root, SEAL_SNAPDIR, sizeof SEAL_SNAPDIR - 1, &snaps);
	if (!r) {
		visit(v, snaps, "@", s);
		seal_iput(v, snaps);
	} else if (r != -ENOENT)
		s->error = s->error ? s->error : r;
	seal_iput(v, root);
}

u64 state_digest(const struct state *s)
{
	u64 h = s->n;
	for (u32 k = 0; k < s->n; k++)
		h = mix(mix(h, &s->line[k].digest, 8), s->line[k].path, strlen(s->line[k].path));
	return s->error ? 0 : h | 1;
}

bool state_within(const struct state *part, const struct state *whole)
{
	u32 j = 0;
	for (u32 k = 0; k < part->n; k++) {
		while (j < whole->n && strcmp(whole->line[j].path, part->line[k].path))
			j++;
		if (j == whole->n || whole->line[j].digest != part->line[k].digest)
			return false;
	}
	return part->error || part->n == whole->n;
}

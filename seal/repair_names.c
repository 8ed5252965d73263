// SPDX-License-Identifier: Apache-2.0
// The part of a repair (seal/repair.c) that sets names right: directories are made anew from what can be read of them, entries
// of inodes that are gone are dropped, files and directories without a name get one in /lost+found, link counts become what
// they are. Volume's lock held; every step leaves a volume that may be committed.
#include "seal/check.h"

#define LOST_FOUND "lost+found"

// --- a directory, from its blocks
struct name {
	struct name *next;
	u64 ino;
	u32 len, type;
	char bytes[];
};
struct names {
	struct seal_vol *v;
	struct name *first;
};

static bool keep_name(void *ctx, const char *name, u32 len, u64 ino, u32 type, u64 cookie)
{
	struct names *l = ctx;
	struct name *n = vol_alloc(l->v, sizeof *n + len);
	(void)cookie;
	if (!n)
		return false;
	*n = (struct name){.next = l->first, .ino = ino, .len = len, .type = type};
	memcpy(n->bytes, name, len);
	l->first = n;
	return true;
}

int repair_dir(struct check *c, struct seal_inode *d)
{
	struct seal_vol *v = c->v;
	struct names l = {.v = v};
	u64 had = d->dir_count;
	int r = sv_dir_salvage(v, d, keep_name, &l);
	if (!r) // for all of it: nothing is committed before the last entry is back
		r = sv_op_begin(v, 2 * SEAL_MIN((u64)d->dir_blocks, v->used) + 32, true);
	if (!r)
		r = sv_inode_dirty(v, d);
	if (!r)
		r = sv_dir_clear(v, d);
	while (l.first) {
		struct name *n = l.first;
		l.first = n->next;
		if (!r)
			r = sv_dir_insert(v, d, n->bytes, n->len, n->ino, n->type);
		if (r == -EEXIST)
			r = 0;
		explicit_bzero(n, sizeof *n + n->len);
		vol_free(v, n, sizeof *n + n->len);
	}
	if (!r)
		check_repaired(c, "directory %lu was made anew: %lu of %lu entries could be read", d->ino & VIEW_INO, d->dir_count, had);
	return r;
}

// --- entries
#define MOST 32u
struct scan {
	struct check *c;
	struct seal_inode *dir;
	u64 at, count;
	u32 n;
	struct wrong {
		u64 key, ino;
		u32 type; // what the entry has to say; 0: it has to go
		u32 len;
		char name[48];
	} wrong[MOST];
};

static bool count_entry(void *ctx, const char *name, u32 len, u64 ino, u32 type, u64 cookie)
{
	(void)name, (void)len, (void)ino, (void)type, (void)cookie;
	++*(u64 *)ctx;
	return true;
}

// Where the names of damaged files are.
static void note_dir(struct check *c, u64 ino, u64 dir)
{
	for (u32 lo = 0, hi = c->ndamage; lo < hi;) { // not sorted where several trees were walked: then it is searched for later
		u32 mid = (lo + hi) / 2;
		struct damage *d = &c->damage[mid];
		if (d->cls == CLASS_FILE && d->ino == ino) {
			for (; d > c->damage && d[-1].ino == ino; d--)
				;
			for (; d < c->damage + c->ndamage && d->ino == ino; d++)
				d->dir = dir;
			return;
		}
		if (d->cls == CLASS_FILE && d->ino < ino)
			lo = mid + 1;
		else
			hi = mid;
	}
}

static bool scan_entry(void *ctx, const char *name, u32 len, u64 ino, u32 type, u64 cookie)
{
	struct scan *s = ctx;
	struct check *c = s->c;
	struct seal_inode *i = NULL;
	u32 right = 0;
	if (s->n == MOST)
		return false;
	s->at = cookie;
	if (ino >= FIRST_INO && ino < c->names_max && !sv_inode_get(c->v, ino, &i)) {
		bool dir = sv_inode_is(i, T_DIR);
		right = i->mode & 0170000;
		if (dir && (c->names[ino] || ino == s->dir->ino))
			right = 0; // a directory has one name
		else {
			c->names[ino]++;
			note_dir(c, ino, s->dir->ino);
		}
		if (dir && right && i->parent != s->dir->ino && !sv_inode_dirty(c->v, i))
			i->parent = s->dir->ino;
		sv_inode_put(c->v, i);
	}
	if (right != type) {
		struct wrong *w = &s->wrong[s->n++];
		*w = (struct wrong){.key = cookie, .ino = ino, .type = right, .len = SEAL_MIN(len, (u32)sizeof w->name)};
		memcpy(w->name, name, w->len);
	}
	return true;
}

static int mend_dir(struct check *c, struct seal_inode *d)
{
	struct seal_vol *v = c->v;
	struct scan s = {.c = c, .dir = d};
	u64 count = 0;
	int r = sv_dir_iterate(v, d, 0, count_entry, &count);
	if (r == -ENOMEM)
		return r;
	r = r || count != d->dir_count ? repair_dir(c, d) : 0;
	for (bool more = true; more && !r;) {
		s.n = 0;
		r = sv_op_begin(v, 40, true);
		if (!r)
			r = sv_dir_iterate(v, d, s.at, scan_entry, &s);
		more = s.n == MOST;
		for (u32 k = 0; k < s.n && !r; k++) {
			struct wrong *w = &s.wrong[k];
			r = sv_op_begin(v, 32, true);
			if (!r && w->type)
				r = sv_dir_replace(v, d, w->key, w->ino, w->type);
			else if (!r)
				r = sv_dir_remove(v, d, w->key);
			if (!r && !w->type)
				check_repaired(c, "directory %lu: the entry %.*s named what is lost, and is dropped", d->ino, (int)w->len, w->name);
		}
	}
	return r;
}

// --- what has no name

// /lost+found, which is made when it is missing; something else may have its name.
static int lost_found(struct check *c, struct seal_inode *root, struct seal_inode **out)
{
	struct seal_vol *v = c->v;
	char name[32];
	for (u32 k = 0; k < 100; k++) {
		struct seal_dirent e;
		u32 len = (u32)snprintf(name, sizeof name, k ? LOST_FOUND ".%u" : LOST_FOUND, k);
		int r = sv_dir_find(v, root, name, len, &e);
		if (!r && e.type != T_DIR)
			continue;
		if (r != -ENOENT)
			return r ? r : sv_inode_get(v, e.ino, out);
		r = sv_inode_alloc(v, T_DIR | 0700, 0, 0, out);
		if (!r)
			r = sv_dir_insert(v, root, name, len, (*out)->ino, T_DIR);
		if (!r) {
			(*out)->nlink = 2;
			(*out)->parent = SEAL_ROOT_INO;
			c->names[(*out)->ino] = 1;
		}
		return r;
	}
	return -EEXIST;
}

static int give_name(struct check *c, struct seal_inode *root, struct seal_inode *i)
{
	struct seal_vol *v = c->v;
	struct seal_inode *lf = NULL;
	char name[40];
	int r = sv_op_begin(v, 64, true);
	if (!r)
		r = sv_inode_dirty(v, root);
	if (!r)
		r = lost_found(c, root, &lf);
	if (!r)
		r = sv_inode_dirty(v, lf);
	if (!r)
		r = sv_inode_dirty(v, i);
	for (u32 k = 0, again = 1; again && !r; k++) { // "#12", or "#12.1" when an earlier repair left one
		u32 len = (u32)snprintf(name, sizeof name, k ? "#%lu.%u" : "#%lu", i->ino, k);
		r = sv_dir_insert(v, lf, name, len, i->ino, i->mode & 0170000);
		again = r == -EEXIST;
		r = again ? 0 : r;
	}
	if (!r) {
		c->names[i->ino]++;
		if (sv_inode_is(i, T_DIR))
			i->parent = lf->ino;
		note_dir(c, i->ino, lf->ino);
		check_repaired(c, "inode %lu had no name: it is /" LOST_FOUND "/%s now", i->ino, name);
	}
	if (lf)
		sv_inode_put(v, lf);
	return r;
}

static int name_or_free(struct check *c, struct seal_inode *root, u64 ino)
{
	struct seal_vol *v = c->v;
	struct seal_inode *i;
	if (ino < FIRST_INO || c->names[ino] || sv_inode_get(v, ino, &i))
		return 0;
	if (i->nlink) {
		int r = give_name(c, root, i);
		sv_inode_put(v, i);
		return r;
	}
	int r = sv_op_begin(v, 32, true);
	if (!r)
		r = sv_inode_free(v, i); // and its handle
	if (!r)
		check_repaired(c, "inode %lu had been deleted: it is freed", ino);
	return r;
}

// --- links, and the count of inodes
static int set_links(struct check *c)
{
	struct seal_vol *v = c->v;
	u32 *subdirs = vol_alloc(v, c->names_max * sizeof *subdirs);
	int r = subdirs ? 0 : -ENOMEM;
	u64 found = 0;
	if (subdirs)
		memset(subdirs, 0, c->names_max * sizeof *subdirs);
	for (int pass = 0; pass < 2 && !r; pass++)
		for (u64 ino = SEAL_ROOT_INO; ino < c->names_max && !r; ino++) {
			struct seal_inode *i;
			if (sv_inode_get(v, ino, &i))
				continue;
			bool dir = sv_inode_is(i, T_DIR), top = ino < FIRST_INO;
			u32 want = c->names[ino] + (dir ? 1 + subdirs[ino] : 0) + top;
			if (!pass && dir && !top && i->parent < c->names_max)
				subdirs[i->parent]++;
			found += pass;
			if (pass && i->nlink != want) {
				r = sv_op_begin(v, 8, true);
				if (!r)
					r = sv_inode_dirty(v, i);
				if (!r) {
					check_repaired(c, "inode %lu has %u links, not %u", ino, want, i->nlink);
					i->nlink = want;
				}
			}
			u32 flags = dir || sv_inode_is(i, T_REG) ? i->flags & SEAL_FLAGS : 0;
			if (pass && !r && i->flags != flags) {
				r = sv_op_begin(v, 8, true);
				if (!r)
					r = sv_inode_dirty(v, i);
				if (!r) {
					check_repaired(c, "inode %lu has the flags %x, not %x", ino, flags, i->flags);
					i->flags = flags;
				}
			}
			sv_inode_put(v, i);
		}
	vol_free(v, subdirs, c->names_max * sizeof *subdirs);
	if (!r)
		v->inodes = found;
	return r;
}

// The root directory, or the hidden one.
static int top_dir(struct check *c, u64 ino, u32 mode, struct seal_inode **out)
{
	int r = sv_inode_get(c->v, ino, out);
	if (!r && sv_inode_is(*out, T_DIR))
		return 0;
	if (!r)
		sv_inode_forget(c->v, *out); // nobody else holds it
	*out = NULL;
	if (r == -ENOMEM)
		return r;
	r = sv_op_begin(c->v, 16, true);
	if (!r)
		r = sv_inode_erase(c->v, ino, T_DIR | mode);
	if (!r)
		check_repaired(c, "the %s directory was missing: there is an empty one now", ino == SEAL_ROOT_INO ? "root" : "hidden");
	return r ? r : sv_inode_get(c->v, ino, out);
}

int repair_names(struct check *c)
{
	struct seal_vol *v = c->v;
	struct seal_inode *root = NULL, *hidden = NULL, *d;
	u64 end = v->next_ino;
	memset(c->names, 0, c->names_max * sizeof *c->names);
	int r = top_dir(c, ORPHAN_INO, 0700, &hidden);
	if (!r)
		r = top_dir(c, SEAL_ROOT_INO, 0755, &root);
	if (!r)
		r = sv_op_begin(v, 32, true);
	if (!r)
		r = sv_inode_dirty(v, hidden);
	if (!r)
		r = sv_dir_clear(v, hidden); // what waits to be freed is freed here
	for (u64 ino = SEAL_ROOT_INO; ino < end && !r; ino++) {
		if (ino == ORPHAN_INO || sv_inode_get(v, ino, &d))
			continue;
		if (sv_inode_is(d, T_DIR))
			r = mend_dir(c, d);
		sv_inode_put(v, d);
	}
	if (!r)
		r = sv_inodes_free_list(v, true);
	r = SEAL_MIN(r, 0);
	for (u64 ino = FIRST_INO; ino < end && !r; ino++)
		r = name_or_free(c, root, ino);
	if (!r)
		r = set_links(c);
	if (root)
		sv_inode_put(v, root);
	if (hidden)
		sv_inode_put(v, hidden);
	return r;
}

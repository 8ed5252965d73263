// SPDX-License-Identifier: Apache-2.0
// What differs between two trees, each a volume, a snapshot in one, or a folder of this machine: names, types, modes,
// contents, link targets. Walks both at the same time, in the order of names; nothing is written. Hosted only.
#include "seal/tool_impl.h"
#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

struct node { // an object of either kind of tree
	struct tool_vol *t; // NULL: of this machine
	struct seal_inode *i;
	int fd; // opened for reading what there is to read; -1: none
	u32 mode, flags;
	bool has_flags; // else none can be kept there
	u64 size;
};

struct diffing {
	void (*fn)(void *ctx, char what, const char *path);
	void *ctx;
	struct seal_tool_err *err;
	u64 found;
	u8 *a, *b; // TOOL_CHUNK each
	char path[8192];
};

static int failed(struct diffing *d, const struct node *n, int e)
{
	if (n->t)
		return tool_vol_err(d->err, n->t, e, d->path);
	return tool_err(d->err, e, "%s: %s", d->path, strerror(-e));
}

static void node_close(struct node *n)
{
	if (n->i)
		seal_iput(n->t->vol, n->i);
	if (n->fd >= 0)
		close(n->fd);
	*n = (struct node){.fd = -1};
}

static void fill_node(struct node *n)
{
	struct seal_attr a;
	seal_getattr(n->t->vol, n->i, &a);
	n->mode = a.mode;
	n->size = a.size;
	n->flags = a.flags;
	n->has_flags = true;
}

static int host_child(int dfd, const char *name, struct node *out)
{
	struct stat st;
	if (fstatat(dfd, name, &st, AT_SYMLINK_NOFOLLOW))
		return -errno;
	*out = (struct node){.fd = -1, .mode = st.st_mode, .size = (u64)st.st_size};
	if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode) && !S_ISLNK(st.st_mode))
		return 0;
	out->fd = openat(dfd, name, (S_ISLNK(st.st_mode) ? O_PATH : O_RDONLY | O_NONBLOCK) | O_NOFOLLOW | O_CLOEXEC);
	if (out->fd < 0)
		return -errno;
	out->has_flags = !S_ISLNK(st.st_mode) && tool_flags_known(out->fd);
	out->flags = tool_flags_get(out->fd);
	return 0;
}

static int node_child(const struct node *dir, const char *name, struct node *out)
{
	if (!dir->t)
		return host_child(dir->fd, name, out);
	*out = (struct node){.t = dir->t, .fd = -1};
	int r = seal_lookup(dir->t->vol, dir->i, name, (u32)strlen(name), &out->i);
	if (!r)
		fill_node(out);
	return r;
}

static int node_list(const struct node *dir, struct names *out)
{
	int r;
	if (dir->t)
		return tool_list_dir(dir->t->vol, dir->i, out);
	int fd = openat(dir->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	if (!d) {
		r = -errno;
		if (fd >= 0)
			close(fd);
		return r;
	}
	r = tool_list_host_dir(d, out);
	closedir(d);
	return r;
}

// A whole chunk, or what there is up to the end.
static s64 node_read(const struct node *n, u64 off, u8 *buf)
{
	size_t done = 0;
	if (n->t)
		return seal_read(n->t->vol, n->i, off, buf, TOOL_CHUNK);
	while (done < TOOL_CHUNK) {
		ssize_t k = pread(n->fd, buf + done, TOOL_CHUNK - done, (off_t)(off + done));
		if (k < 0 && errno == EINTR)
			continue;
		if (k < 0)
			return -errno;
		if (!k)
			break;
		done += (size_t)k;
	}
	return (s64)done;
}

static int node_target(const struct node *n, u8 *buf)
{
	ssize_t k;
	if (n->t)
		return seal_readlink(n->t->vol, n->i, (char *)buf, SEAL_SYMLINK_MAX);
	k = readlinkat(n->fd, "", (char *)buf, SEAL_SYMLINK_MAX);
	return k < 0 ? -errno : (int)k;
}

static void differs(struct diffing *d, char what)
{
	d->found++;
	d->fn(d->ctx, what, d->path);
}

// 1: the same, 0: not.
static int same_contents(struct diffing *d, const struct node *a, const struct node *b)
{
	if (a->size != b->size)
		return 0;
	if (a->t && a->t == b->t && seal_same(a->t->vol, a->i, b->i))
		return 1;
	for (u64 off = 0; off < a->size;) {
		s64 n = node_read(a, off, d->a), m = n < 0 ? 0 : node_read(b, off, d->b);
		if (n < 0 || m < 0)
			return n < 0 ? failed(d, a, (int)n) : failed(d, b, (int)m);
		if (n != m || memcmp(d->a, d->b, (size_t)n))
			return 0;
		if (!n)
			break;
		off += (u64)n;
	}
	return 1;
}

static int same_target(struct diffing *d, const struct node *a, const struct node *b)
{
	int n = node_target(a, d->a), m = n < 0 ? 0 : node_target(b, d->b);
	if (n < 0 || m < 0)
		return n < 0 ? failed(d, a, n) : failed(d, b, m);
	return n == m && !memcmp(d->a, d->b, (size_t)n);
}

static int compare_dirs(struct diffing *d, const struct node *a, const struct node *b, size_t at, int depth);

static int compare(struct diffing *d, const struct node *a, const struct node *b, size_t at, int depth)
{
	int same = 1;
	if ((a->mode & S_IFMT) != (b->mode & S_IFMT)) {
		differs(d, 'T');
		return 0;
	}
	if (S_ISREG(a->mode))
		same = same_contents(d, a, b);
	else if (S_ISLNK(a->mode))
		same = same_target(d, a, b);
	if (same < 0)
		return same;
	if (!same)
		differs(d, 'M');
	else if (!S_ISLNK(a->mode) && ((a->mode & 07777) != (b->mode & 07777) || (a->has_flags && b->has_flags && a->flags != b->flags)))
		differs(d, 'P');
	return S_ISDIR(a->mode) ? compare_dirs(d, a, b, at, depth + 1) : 0;
}

static int compare_name(struct diffing *d, const struct node *a, const struct node *b, const char *name, size_t at, int depth)
{
	struct node x = {.fd = -1}, y = {.fd = -1};
	int r = node_child(a, name, &x), n = (int)strlen(name);
	if (r)
		r = failed(d, a, r);
	else if ((r = node_child(b, name, &y)))
		r = failed(d, b, r);
	else
		r = compare(d, &x, &y, at + (size_t)n, depth);
	node_close(&x);
	node_close(&y);
	return r;
}

static int compare_dirs(struct diffing *d, const struct node *a, const struct node *b, size_t at, int depth)
{
	struct names x = {0}, y = {0};
	size_t i = 0, k = 0;
	int r = depth > TOOL_DEPTH ? -ELOOP : node_list(a, &x);
	if (r)
		r = failed(d, a, r);
	else if ((r = node_list(b, &y)))
		r = failed(d, b, r);
	while (!r && (i < x.n || k < y.n)) {
		int c = i == x.n ? 1 : k == y.n ? -1 : strcmp(x.v[i], y.v[k]);
		const char *name = c <= 0 ? x.v[i] : y.v[k];
		int n = snprintf(d->path + at, sizeof d->path - at, "%s%s", at ? "/" : "", name);
		if ((size_t)n >= sizeof d->path - at)
			r = tool_err(d->err, -ENAMETOOLONG, "%.200s...: the path is too long", d->path);
		else if (c < 0)
			differs(d, 'D');
		else if (c > 0)
			differs(d, 'A');
		else
			r = compare_name(d, a, b, name, at + (at ? 1 : 0), depth);
		i += c <= 0;
		k += c >= 0;
	}
	d->path[at] = 0;
	names_free(&x);
	names_free(&y);
	return r;
}

// The root of a tree: a folder, a volume or one of its snapshots. `share`: an open volume that is this one as well.
static int open_side(const struct seal_tool_side *s, struct tool_vol *mine, struct tool_vol *share, struct node *out,
		     struct seal_tool_err *err)
{
	struct node snaps = {.fd = -1};
	int r;
	*out = (struct node){.fd = -1};
	if (!s->key)
		return (r = host_child(AT_FDCWD, s->path, out)) ? tool_err(err, r, "%s: %s", s->path, strerror(-r)) : 0;
	if (!share && (r = tool_mount(mine, s->path, s->key, SEAL_RDONLY, err)))
		return r;
	out->t = share ? share : mine;
	r = seal_iget(out->t->vol, SEAL_ROOT_INO, &out->i);
	if (!r && s->snapshot) {
		snaps = *out;
		r = node_child(&snaps, SEAL_SNAPDIR, out);
		node_close(&snaps);
		snaps = *out;
		if (!r)
			r = node_child(&snaps, s->snapshot, out);
		if (snaps.i)
			node_close(&snaps);
	}
	if (r)
		return tool_err(err, r, "%s: %s%s", s->path, s->snapshot ? s->snapshot : "",
				r == -ENOENT ? ": there is no such snapshot" : tool_why(r));
	fill_node(out);
	return 0;
}

s64 seal_tool_diff(const struct seal_tool_side *a, const struct seal_tool_side *b,
		   void (*fn)(void *ctx, char what, const char *path), void *ctx, struct seal_tool_err *err)
{
	struct diffing d = {.fn = fn, .ctx = ctx, .err = err, .a = malloc(TOOL_CHUNK), .b = malloc(TOOL_CHUNK)};
	struct tool_vol va = {0}, vb = {0};
	struct node x = {.fd = -1}, y = {.fd = -1};
	bool one = a->key && b->key && !strcmp(a->path, b->path);
	int r = d.a && d.b ? 0 : tool_err(err, -ENOMEM, "out of memory");
	if (!r)
		r = open_side(a, &va, NULL, &x, err);
	if (!r)
		r = open_side(b, &vb, one ? &va : NULL, &y, err);
	if (!r)
		r = compare(&d, &x, &y, 0, 0);
	node_close(&x);
	node_close(&y);
	if (vb.vol)
		r = tool_unmount(&vb, r, err);
	if (va.vol)
		r = tool_unmount(&va, r, err);
	if (d.a)
		explicit_bzero(d.a, TOOL_CHUNK);
	if (d.b)
		explicit_bzero(d.b, TOOL_CHUNK);
	free(d.a);
	free(d.b);
	return r ? r : (s64)d.found;
}

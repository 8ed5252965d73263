// SPDX-License-Identifier: Apache-2.0
// Keys, creating, information, listing and checking of volumes for the owner's commands. Hosted only.
#include "seal/tool_impl.h"
#include <ctype.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

volatile sig_atomic_t seal_tool_stop;

int tool_err(struct seal_tool_err *err, int e, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(err->text, sizeof err->text, fmt, ap);
	va_end(ap);
	return e;
}

const char *tool_why(int e)
{
	switch (e) {
	case SEAL_ETAMPER: return "the volume was changed behind our back";
	case SEAL_EKEY: return "the key does not fit this volume (or the volume's header was altered)";
	case SEAL_ENOTVOLUME: return "not a sealed volume";
	case SEAL_EVERSION: return "made by a newer version: unknown format";
	case SEAL_EIDENTITY: return "another volume than the one asked for";
	case SEAL_EROLLBACK: return "an older state than the anchor remembers";
	case SEAL_ECORRUPT: return "the volume is authentic but inconsistent";
	case -EBUSY: return "in use by another process (an enclave, a mount or a command has it open)";
	default: return strerror(-e);
	}
}

int tool_vol_err(struct seal_tool_err *err, struct tool_vol *t, int e, const char *what)
{
	struct seal_fault f = {0};
	if (t->vol)
		seal_get_fault(t->vol, &f);
	if (f.text[0] && (e == SEAL_ETAMPER || e == SEAL_ECORRUPT || e == -EIO))
		return tool_err(err, e, "%s: %s: %s", t->path, what, f.text);
	return tool_err(err, e, "%s: %s: %s", t->path, what, tool_why(e));
}

int tool_mount(struct tool_vol *t, const char *path, const u8 *key, u32 flags, struct seal_tool_err *err)
{
	memset(t, 0, sizeof *t);
	t->path = path;
	int r;
	// Who unmounts returns before the last commit is written: its lock is waited for a little.
	for (int tries = 0; (r = hostio_open(&t->host, path, flags & SEAL_RDONLY ? HOSTIO_READ : HOSTIO_WRITE)) == -EBUSY &&
			    tries < 60; tries++)
		usleep(50000);
	if (r)
		return tool_err(err, r, "%s: %s", path, tool_why(r));
	r = tool_attach(t, key, flags, err);
	if (r)
		hostio_close(&t->host);
	return r;
}

int tool_unmount(struct tool_vol *t, int r, struct seal_tool_err *err)
{
	if (t->vol) {
		struct seal_tool_err told = {0};
		int e = tool_settle(t, &told);
		if (e && !r)
			r = tool_err(err, e, "%s", told.text);
		e = seal_unmount(t->vol);
		t->vol = NULL;
		if (e && !r)
			r = tool_err(err, e, "%s: writing the volume: %s", t->path, tool_why(e));
	}
	int e = hostio_close(&t->host);
	if (e && !r)
		r = tool_err(err, e, "%s: %s", t->path, tool_why(e));
	return r;
}

int tool_sync_parent(const char *path)
{
	char *copy = strdup(path);
	if (!copy)
		return -ENOMEM;
	int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = 0;
	if (fd < 0 || fsync(fd))
		r = -errno;
	if (fd >= 0)
		close(fd);
	free(copy);
	return r;
}

static struct link **links_slot(struct links *l, u64 a, u64 b)
{
	struct link **p = &l->table[((a ^ b) * 0x9e3779b97f4a7c15ul >> 20) & (l->buckets - 1)];
	while (*p && ((*p)->a != a || (*p)->b != b))
		p = &(*p)->next;
	return p;
}

struct link *links_find(struct links *l, u64 a, u64 b) { return l->buckets ? *links_slot(l, a, b) : NULL; }

static int links_grow(struct links *l)
{
	struct links to = {.n = l->n, .buckets = l->buckets ? l->buckets * 2 : 256};
	to.table = calloc(to.buckets, sizeof *to.table);
	if (!to.table)
		return l->buckets ? 0 : -ENOMEM; // longer chains will do
	for (size_t k = 0; k < l->buckets; k++)
		for (struct link *d = l->table[k], *next; d; d = next) {
			next = d->next;
			d->next = NULL;
			*links_slot(&to, d->a, d->b) = d;
		}
	free(l->table);
	*l = to;
	return 0;
}

int links_add(struct links *l, u64 a, u64 b, u64 value, const char *path)
{
	if (l->n >= l->buckets && links_grow(l))
		return -ENOMEM;
	struct link *d = calloc(1, sizeof *d), **p = links_slot(l, a, b);
	if (d && path && !(d->path = strdup(path))) {
		free(d);
		d = NULL;
	}
	if (!d)
		return -ENOMEM;
	d->a = a;
	d->b = b;
	d->value = value;
	d->next = *p;
	*p = d;
	l->n++;
	return 0;
}

void links_free(struct links *l)
{
	for (size_t k = 0; k < l->buckets; k++)
		for (struct link *d = l->table[k], *next; d; d = next) {
			next = d->next;
			free(d->path);
			free(d);
		}
	free(l->table);
}

static int names_add(struct names *l, const char *name, size_t len)
{
	if (l->n == l->cap) {
		size_t cap = l->cap ? l->cap * 2 : 64;
		char **v = realloc(l->v, cap * sizeof *v);
		if (!v)
			return -ENOMEM;
		l->v = v;
		l->cap = cap;
	}
	l->v[l->n] = strndup(name, len);
	return l->v[l->n] ? (l->n++, 0) : -ENOMEM;
}

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static void names_sort(struct names *l)
{
	if (l->n)
		qsort(l->v, l->n, sizeof *l->v, by_name);
}

int tool_list_host_dir(DIR *d, struct names *out)
{
	struct dirent *e;
	int r = 0;
	for (errno = 0; !r && (e = readdir(d)); errno = 0)
		if (strcmp(e->d_name, ".") && strcmp(e->d_name, ".."))
			r = names_add(out, e->d_name, strlen(e->d_name));
	if (!r)
		r = -errno;
	names_sort(out);
	return r;
}

void names_free(struct names *l)
{
	for (size_t k = 0; k < l->n; k++)
		free(l->v[k]);
	free(l->v);
}

// --- keys

int seal_tool_new_key(u8 key[SEAL_KEY_BYTES], struct seal_tool_err *err)
{
	if (getentropy(key, SEAL_KEY_BYTES))
		return tool_err(err, -errno, "no randomness for a key: %s", strerror(errno));
	return 0;
}

void seal_tool_id_hex(const u8 id[SEAL_ID_BYTES], char out[33])
{
	for (u32 k = 0; k < SEAL_ID_BYTES; k++)
		sprintf(out + 2 * k, "%02x", id[k]);
}

int seal_tool_save_key(const char *path, const u8 key[SEAL_KEY_BYTES], struct seal_tool_err *err)
{
	char hex[2 * SEAL_KEY_BYTES + 2];
	for (u32 k = 0; k < SEAL_KEY_BYTES; k++)
		sprintf(hex + 2 * k, "%02x", key[k]);
	hex[2 * SEAL_KEY_BYTES] = '\n';
	int r = 0, fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0 && errno == EEXIST)
		r = tool_err(err, -EEXIST, "key file %s exists, and a key in it may be the only one: name a new file", path);
	else if (fd < 0)
		r = tool_err(err, -errno, "key file %s: %s", path, strerror(errno));
	else if (write(fd, hex, sizeof hex - 1) != (ssize_t)sizeof hex - 1 || fsync(fd)) {
		r = tool_err(err, errno ? -errno : -EIO, "key file %s: %s; removed", path, strerror(errno));
		unlink(path);
	}
	if (fd >= 0)
		close(fd);
	explicit_bzero(hex, sizeof hex);
	return r;
}

static int digit(char c) { return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1; }

int seal_tool_load_key(const char *path, u8 key[SEAL_KEY_BYTES], struct seal_tool_err *err)
{
	char hex[2 * SEAL_KEY_BYTES + 3];
	struct stat st;
	int r = 0, fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (fd < 0)
		return tool_err(err, -errno, "key file %s: %s", path, strerror(errno));
	ssize_t n = read(fd, hex, sizeof hex);
	if (fstat(fd, &st) || n < 0)
		r = tool_err(err, -errno, "key file %s: %s", path, strerror(errno));
	else if (S_ISREG(st.st_mode) && st.st_mode & 077)
		r = tool_err(err, -EACCES, "key file %s can be read by others (mode %03o): chmod 600 it", path,
			     st.st_mode & 0777);
	close(fd);
	while (n > 0 && (hex[n - 1] == '\n' || hex[n - 1] == '\r'))
		n--;
	if (!r && n != 2 * SEAL_KEY_BYTES)
		r = tool_err(err, -EINVAL, "key file %s does not hold a key: 64 hexadecimal digits are expected", path);
	for (u32 k = 0; k < SEAL_KEY_BYTES && !r; k++) {
		int hi = digit((char)tolower(hex[2 * k])), lo = digit((char)tolower(hex[2 * k + 1]));
		if (hi < 0 || lo < 0)
			r = tool_err(err, -EINVAL,
				     "key file %s does not hold a key: character %u is not a hexadecimal digit", path,
				     2 * k + (hi < 0 ? 1 : 2));
		else
			key[k] = (u8)(hi << 4 | lo);
	}
	explicit_bzero(hex, sizeof hex);
	return r;
}

// --- volumes

int seal_tool_id(const char *path, u8 id[SEAL_ID_BYTES], u32 *version, struct seal_tool_err *err)
{
	struct hostio h;
	int r = hostio_open(&h, path, HOSTIO_PROBE);
	if (!r) {
		r = seal_probe(&h.io, &h.env, id, version);
		hostio_close(&h);
	}
	return r ? tool_err(err, r, "%s: %s", path, tool_why(r)) : 0;
}

int seal_tool_info(const char *path, const u8 key[SEAL_KEY_BYTES], struct seal_info *info, struct seal_tool_err *err)
{
	struct tool_vol t;
	int r = tool_mount(&t, path, key, SEAL_RDONLY, err);
	if (r)
		return r;
	seal_get_info(t.vol, info);
	return tool_unmount(&t, 0, err);
}

// --- listing and single files

struct gather {
	struct names *names;
	int r;
};

static bool gather_emit(void *ctx, const char *name, u32 len, u64 ino, u32 type, u64 cookie)
{
	struct gather *g = ctx;
	(void)ino, (void)type, (void)cookie;
	g->r = names_add(g->names, name, len);
	return !g->r;
}

int tool_list_dir(struct seal_vol *v, struct seal_inode *d, struct names *out)
{
	struct gather g = {out, 0};
	int r = seal_readdir(v, d, 0, gather_emit, &g);
	names_sort(out);
	return r ? r : g.r;
}

struct lister {
	struct tool_vol *t;
	void (*fn)(void *ctx, const char *path, const struct seal_attr *a);
	void *ctx;
	struct seal_tool_err *err;
	char path[8192];
};

static int list_below(struct lister *l, struct seal_inode *dir, size_t at, int depth)
{
	struct names names = {0};
	int r = depth > TOOL_DEPTH ? -ELOOP : tool_list_dir(l->t->vol, dir, &names);
	for (size_t k = 0; k < names.n && !r; k++) {
		struct seal_inode *i;
		struct seal_attr a;
		int n = snprintf(l->path + at, sizeof l->path - at, "%s%s", at ? "/" : "", names.v[k]);
		if ((size_t)n >= sizeof l->path - at) {
			r = -ENAMETOOLONG;
			break;
		}
		r = seal_lookup(l->t->vol, dir, names.v[k], (u32)strlen(names.v[k]), &i);
		if (r)
			break;
		seal_getattr(l->t->vol, i, &a);
		l->fn(l->ctx, l->path, &a);
		if (S_ISDIR(a.mode))
			r = list_below(l, i, at + (size_t)n, depth + 1);
		seal_iput(l->t->vol, i);
	}
	names_free(&names);
	l->path[at] = 0;
	return r;
}

int seal_tool_list(const char *path, const u8 key[SEAL_KEY_BYTES],
		   void (*fn)(void *ctx, const char *path, const struct seal_attr *a), void *ctx,
		   struct seal_tool_err *err)
{
	struct tool_vol t;
	struct seal_inode *root = NULL;
	struct lister l = {.t = &t, .fn = fn, .ctx = ctx, .err = err};
	int r = tool_mount(&t, path, key, SEAL_RDONLY, err);
	if (r)
		return r;
	r = seal_iget(t.vol, SEAL_ROOT_INO, &root);
	if (!r)
		r = list_below(&l, root, 0, 0);
	if (r)
		r = tool_vol_err(err, &t, r, "listing");
	if (root)
		seal_iput(t.vol, root);
	return tool_unmount(&t, r, err);
}

int tool_walk(struct seal_vol *v, const char *inner, struct seal_inode **out)
{
	struct seal_inode *d, *i;
	int r = seal_iget(v, SEAL_ROOT_INO, &d);
	while (!r && *inner) {
		size_t n = strcspn(inner, "/");
		if (n) {
			r = seal_lookup(v, d, inner, (u32)n, &i);
			seal_iput(v, d);
			d = r ? NULL : i;
		}
		inner += n + (inner[n] == '/');
	}
	*out = d;
	return r;
}

int seal_tool_cat(const char *path, const u8 key[SEAL_KEY_BYTES], const char *inner, int fd, struct seal_tool_err *err)
{
	struct tool_vol t;
	struct seal_inode *i = NULL;
	int r = tool_mount(&t, path, key, SEAL_RDONLY, err);
	if (r)
		return r;
	u8 *buf = malloc(TOOL_CHUNK);
	r = buf ? tool_walk(t.vol, inner, &i) : -ENOMEM;
	if (r)
		r = tool_vol_err(err, &t, r, inner);
	s64 n = 0;
	for (u64 off = 0; !r && (n = seal_read(t.vol, i, off, buf, TOOL_CHUNK)) > 0; off += (u64)n)
		for (s64 done = 0, k; done < n && !r; done += k) {
			k = write(fd, buf + done, (size_t)(n - done));
			if (k < 0 && errno != EINTR)
				r = tool_err(err, -errno, "output: %s", strerror(errno));
			k = k < 0 ? 0 : k;
		}
	if (!r && n < 0)
		r = tool_vol_err(err, &t, (int)n, inner);
	if (buf)
		explicit_bzero(buf, TOOL_CHUNK);
	free(buf);
	if (i)
		seal_iput(t.vol, i);
	return tool_unmount(&t, r, err);
}

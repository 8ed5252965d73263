// SPDX-License-Identifier: Apache-2.0
// Making volumes: an empty one, or one with a folder's contents. The volume grows under the name FILE.partial and
// gets its own when it is whole and durable; a run that was interrupted can be gone on with. Memory: the names of the
// folders on the way down, and a table of the files that have several names. Hosted only.
#include "seal/tool_seal.h"
#include "seal/disk.h"
#include <dirent.h>
#include <fcntl.h>
#include <fts.h>
#include <stdlib.h>
#include <unistd.h>

void sealing_show(struct sealing *s, bool now)
{
	const struct seal_tool_progress *p = s->o->progress;
	if (p && p->fn && (now || s->st->bytes - s->shown >= 8u << 20)) {
		s->shown = s->st->bytes;
		p->fn(p->ctx, s->st->files, s->st->bytes, s->total);
	}
}

int sealing_host_err(struct sealing *s, int e) { return tool_err(s->err, e, "%s: %s", s->path, strerror(-e)); }

int sealing_vol_err(struct sealing *s, int e)
{
	if (e == -ENOSPC)
		return tool_err(s->err, e, "%s: no space for the sealed copy of %s", s->t.path, s->path);
	return tool_vol_err(s->err, &s->t, e, s->path);
}

static int remove_all(struct sealing *s, struct seal_inode *d, int depth)
{
	struct names names = {0};
	int r = depth > TOOL_DEPTH ? -ELOOP : tool_list_dir(s->t.vol, d, &names);
	if (r)
		r = sealing_vol_err(s, r);
	for (size_t k = 0; k < names.n && !r; k++)
		r = sealing_remove(s, d, names.v[k], depth + 1);
	names_free(&names);
	return r;
}

int sealing_remove(struct sealing *s, struct seal_inode *dir, const char *name, int depth)
{
	struct seal_inode *i;
	struct seal_attr a;
	u32 len = (u32)strlen(name);
	int r = seal_lookup(s->t.vol, dir, name, len, &i);
	if (r)
		return sealing_vol_err(s, r);
	seal_getattr(s->t.vol, i, &a);
	r = S_ISDIR(a.mode) ? remove_all(s, i, depth) : 0;
	seal_iput(s->t.vol, i);
	if (r)
		return r;
	r = S_ISDIR(a.mode) ? seal_rmdir(s->t.vol, dir, name, len) : seal_unlink(s->t.vol, dir, name, len);
	return r ? sealing_vol_err(s, r) : 0;
}

// When going on: what stands under a name that is about to be made. A folder stays if a folder is wanted.
static int clear_name(struct sealing *s, struct seal_inode *dir, const char *name, bool want_dir, struct seal_inode **out)
{
	struct seal_attr a;
	int r = s->resumed ? seal_lookup(s->t.vol, dir, name, (u32)strlen(name), out) : -ENOENT;
	if (r)
		return r == -ENOENT ? 0 : sealing_vol_err(s, r);
	seal_getattr(s->t.vol, *out, &a);
	if (want_dir && S_ISDIR(a.mode))
		return 0;
	seal_iput(s->t.vol, *out);
	*out = NULL;
	return sealing_remove(s, dir, name, 0);
}

static int seal_dir(struct sealing *s, struct seal_inode *dir, int fd, size_t at, int depth);

static int seal_link_file(struct sealing *s, struct seal_inode *dir, int dfd, const char *name, const struct stat *st)
{
	char target[SEAL_SYMLINK_MAX + 1];
	struct seal_inode *i = NULL;
	ssize_t n = readlinkat(dfd, name, target, sizeof target);
	if (n < 0 || n > (ssize_t)SEAL_SYMLINK_MAX)
		return sealing_host_err(s, n < 0 ? -errno : -ENAMETOOLONG);
	int r = clear_name(s, dir, name, false, &i);
	if (r)
		return r;
	r = seal_symlink(s->t.vol, dir, name, (u32)strlen(name), target, (u32)n, 0, 0, &i);
	if (r)
		return sealing_vol_err(s, r);
	s->st->symlinks++;
	r = sealing_attr(s, i, st);
	seal_iput(s->t.vol, i);
	return r;
}

static int seal_fifo(struct sealing *s, struct seal_inode *dir, const char *name, const struct stat *st)
{
	struct seal_inode *i = NULL;
	int r = clear_name(s, dir, name, false, &i);
	if (r)
		return r;
	r = seal_create(s->t.vol, dir, name, (u32)strlen(name), S_IFIFO | 0600, 0, 0, 0, &i);
	if (r)
		return sealing_vol_err(s, r);
	r = sealing_attr(s, i, st);
	seal_iput(s->t.vol, i);
	return r;
}

static int seal_subdir(struct sealing *s, struct seal_inode *dir, int dfd, const char *name, const struct stat *st,
		       size_t at, int depth)
{
	struct seal_inode *i = NULL;
	int fd = openat(dfd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return sealing_host_err(s, -errno);
	int r = clear_name(s, dir, name, true, &i);
	if (!r && !i && (r = seal_create(s->t.vol, dir, name, (u32)strlen(name), S_IFDIR | 0700, 0, 0, 0, &i)))
		r = sealing_vol_err(s, r);
	if (r) {
		close(fd);
		return r;
	}
	r = sealing_xattrs(s, i, fd);
	if (r)
		close(fd);
	else
		r = seal_dir(s, i, fd, at, depth + 1);
	if (!r)
		r = sealing_attr(s, i, st);
	seal_iput(s->t.vol, i);
	return r;
}

static int seal_one(struct sealing *s, struct seal_inode *dir, int dfd, const char *name, size_t at, int depth)
{
	struct stat st;
	if (seal_tool_stop)
		return tool_err(s->err, -EINTR, "stopped");
	if (fstatat(dfd, name, &st, AT_SYMLINK_NOFOLLOW))
		return sealing_host_err(s, -errno);
	if (st.st_dev == s->out_dev && st.st_ino == s->out_ino)
		return 0;
	sealing_show(s, true);
	if (S_ISREG(st.st_mode))
		return sealing_regular(s, dir, dfd, name, &st);
	if (S_ISDIR(st.st_mode))
		return seal_subdir(s, dir, dfd, name, &st, at, depth);
	if (S_ISLNK(st.st_mode))
		return seal_link_file(s, dir, dfd, name, &st);
	if (S_ISFIFO(st.st_mode))
		return seal_fifo(s, dir, name, &st);
	s->st->others_skipped++; // sockets and devices mean nothing elsewhere
	return 0;
}

// When going on: names that the folder does not have any more.
static int prune(struct sealing *s, struct seal_inode *dir, const struct names *have)
{
	struct names names = {0};
	int r = tool_list_dir(s->t.vol, dir, &names);
	if (r)
		r = sealing_vol_err(s, r);
	for (size_t k = 0, h = 0; k < names.n && !r; k++) { // both are sorted
		while (h < have->n && strcmp(have->v[h], names.v[k]) < 0)
			h++;
		if (h == have->n || strcmp(have->v[h], names.v[k]))
			r = sealing_remove(s, dir, names.v[k], 0);
	}
	names_free(&names);
	return r;
}

// Everything in the folder open as fd, which is consumed.
static int seal_dir(struct sealing *s, struct seal_inode *dir, int fd, size_t at, int depth)
{
	struct names names = {0};
	int r = depth > TOOL_DEPTH ? -ELOOP : 0;
	DIR *d = fdopendir(fd);
	if (!d) {
		close(fd);
		return sealing_host_err(s, -errno);
	}
	s->st->dirs++;
	if (!r)
		r = tool_list_host_dir(d, &names);
	if (r)
		r = sealing_host_err(s, r);
	if (!r && s->resumed)
		r = prune(s, dir, &names);
	for (size_t k = 0; k < names.n && !r; k++) {
		int n = snprintf(s->path + at, sizeof s->path - at, "/%s", names.v[k]);
		r = (size_t)n >= sizeof s->path - at ? sealing_host_err(s, -ENAMETOOLONG)
						     : seal_one(s, dir, dirfd(d), names.v[k], at + (size_t)n, depth);
	}
	if (!r)
		s->path[at] = 0;
	names_free(&names);
	closedir(d);
	return r;
}

// A single file: alone in the volume under its own name.
static int fill_file(struct sealing *s, struct seal_inode *root, const char *path)
{
	const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
	char *parent = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
	int fd = parent ? open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	int r = fd < 0 ? sealing_host_err(s, -errno) : seal_one(s, root, fd, base, strlen(s->path), 0);
	if (fd >= 0)
		close(fd);
	free(parent);
	return r;
}

u64 sealing_measure(const char *dir)
{
	char *paths[] = {(char *)dir, NULL};
	FTS *fts = fts_open(paths, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
	u64 total = 0;
	for (FTSENT *e; fts && !seal_tool_stop && (e = fts_read(fts));)
		if (e->fts_info == FTS_F)
			total += (u64)e->fts_statp->st_size;
	if (fts)
		fts_close(fts);
	return total;
}

static int fill(struct sealing *s, const char *dir)
{
	struct seal_inode *root;
	struct stat st;
	int n = snprintf(s->path, sizeof s->path, "%s", dir);
	if (stat(dir, &st))
		return sealing_host_err(s, -errno);
	if (!S_ISDIR(st.st_mode) && !S_ISREG(st.st_mode))
		return tool_err(s->err, -EINVAL, "%s is neither a folder nor a file", dir);
	if (s->o->progress)
		s->total = sealing_measure(dir);
	int r = seal_iget(s->t.vol, SEAL_ROOT_INO, &root);
	if (r)
		return sealing_vol_err(s, r);
	if (S_ISDIR(st.st_mode)) {
		while (n > 1 && s->path[n - 1] == '/')
			s->path[--n] = 0;
		int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		r = fd < 0 ? sealing_host_err(s, -errno) : sealing_xattrs(s, root, fd);
		if (!r)
			r = seal_dir(s, root, fd, (size_t)n, 0);
		else if (fd >= 0)
			close(fd);
		if (!r)
			r = sealing_attr(s, root, &st);
	} else
		r = fill_file(s, root, dir);
	seal_iput(s->t.vol, root);
	return r;
}

char *seal_tool_partial(const char *path)
{
	char *tmp;
	return asprintf(&tmp, "%s.partial", path) < 0 ? NULL : tmp;
}

// A new volume under the temporary name; one that another run left there goes, if that run is over. Nothing else does.
static int begin_new(struct sealing *s, const char *tmp, const u8 *key, u64 size, u8 *id_out)
{
	struct hostio *h = &s->t.host;
	u32 version;
	int r = hostio_open(h, tmp, HOSTIO_WRITE);
	if (r == -EBUSY)
		return tool_err(s->err, r, "%s: %s", tmp, tool_why(r));
	if (!r) {
		bool ours = !h->io.size(h) || !seal_probe(&h->io, &h->env, id_out, &version);
		hostio_close(h);
		if (!ours)
			r = SEAL_ENOTVOLUME;
		else if (unlink(tmp))
			r = -errno;
	}
	if (r == SEAL_ENOTVOLUME)
		return tool_err(s->err, -EEXIST, "%s exists already and is not a volume that an earlier run left: move it away", tmp);
	if (r && r != -ENOENT)
		return tool_err(s->err, r, "%s: %s", tmp, tool_why(r));
	r = hostio_open(h, tmp, HOSTIO_CREATE);
	if (r)
		return tool_err(s->err, r, "%s: %s", tmp, tool_why(r));
	r = seal_format(&h->io, &h->env, key, NULL, size);
	if (!r)
		r = seal_probe(&h->io, &h->env, id_out, &version);
	return r ? tool_err(s->err, r, "%s: creating the volume: %s", s->t.path, tool_why(r)) : 0;
}

static int begin_again(struct sealing *s, const char *tmp, u8 *id_out)
{
	struct hostio *h = &s->t.host;
	u32 version;
	int r = hostio_open(h, tmp, HOSTIO_WRITE);
	if (!r)
		r = seal_probe(&h->io, &h->env, id_out, &version);
	s->resumed = !r;
	return r ? tool_err(s->err, r, "%s: %s", tmp, tool_why(r)) : 0;
}

// Fills the volume that is open under its temporary name.
static int fill_volume(struct sealing *s, const u8 *key, const u8 *id, const char *dir)
{
	struct hostio *h = &s->t.host;
	struct stat st;
	int r;
	if (fstat(h->fd, &st) == 0) {
		s->out_dev = st.st_dev;
		s->out_ino = st.st_ino;
	}
	if (!s->resumed && s->o->ready && (r = s->o->ready(s->o->ctx, id, s->err)))
		return r;
	if (!dir)
		return 0;
	r = tool_attach(&s->t, key, 0, s->err);
	return r ? r : fill(s, dir);
}

// With force: what has the name now is kept from others until it is replaced, as what they wrote into it would be lost. *held: a descriptor, or -1.
static int hold(struct sealing *s, const char *path, int *held)
{
	struct stat mine, now;
	if (!s->o->force)
		return 0;
	if (*held >= 0 && !fstat(*held, &mine) && !stat(path, &now) && mine.st_dev == now.st_dev && mine.st_ino == now.st_ino)
		return 0;
	if (*held >= 0)
		close(*held);
	int r = hostio_hold(path, held);
	if (r == -EBUSY)
		return tool_err(s->err, r, "%s: %s", path, tool_why(r));
	return r ? tool_err(s->err, r, "%s: cannot tell whether somebody has it open, and it is not replaced (%s): move it away first", path,
			    tool_why(r)) : 0;
}

static int build(struct sealing *s, const char *path, const u8 *key, u64 size, const char *dir, u8 *id_out)
{
	char *tmp = seal_tool_partial(path);
	struct stat st;
	int r, held = -1;
	if (!tmp)
		return tool_err(s->err, -ENOMEM, "out of memory");
	if (!s->o->force && !lstat(path, &st)) {
		free(tmp);
		return tool_err(s->err, -EEXIST, "%s exists already; it is not overwritten unless forced", path);
	}
	r = hold(s, path, &held);
	if (r) {
		free(tmp);
		return r;
	}
	s->t.path = path;
	s->t.host.fd = -1;
	r = s->o->resume && !lstat(tmp, &st) ? begin_again(s, tmp, id_out) : begin_new(s, tmp, key, size, id_out);
	bool ours = s->t.host.locked;
	if (!r)
		r = fill_volume(s, key, id_out, dir);
	r = tool_unmount(&s->t, r, s->err);
	if (!r)
		r = hold(s, path, &held); // another file may have the name by now
	if (!r && (s->o->force ? rename(tmp, path) : renameat2(AT_FDCWD, tmp, AT_FDCWD, path, RENAME_NOREPLACE)))
		r = tool_err(s->err, -errno, "%s: %s", path, strerror(errno));
	if (!r)
		tool_sync_parent(path); // the volume itself is durable already
	else if (ours) {
		size_t n = strlen(s->err->text);
		bool keep = (r == -EINTR || r == -EBUSY || s->o->resume) && dir;
		if (!keep)
			unlink(tmp);
		snprintf(s->err->text + n, sizeof s->err->text - n,
			 keep ? " (what is done is in %s: the same command with --resume goes on)"
			      : " (the partial volume was removed)",
			 tmp);
	}
	if (held >= 0)
		close(held);
	free(tmp);
	return r;
}

int seal_tool_create(const char *path, const u8 key[SEAL_KEY_BYTES], u64 size_bytes, bool force,
		     u8 id_out[SEAL_ID_BYTES], struct seal_tool_err *err)
{
	struct sealing s = {.err = err, .o = &(struct seal_tool_options){.force = force}};
	if (size_bytes && (size_bytes < 1u << 20 || size_bytes / SEAL_BLOCK > MAX_BLOCKS))
		return tool_err(err, -EINVAL, "%s: " TOOL_SIZES, path);
	return build(&s, path, key, size_bytes, NULL, id_out);
}

int seal_tool_seal(const char *dir, const char *path, const u8 key[SEAL_KEY_BYTES], const struct seal_tool_options *o,
		   struct seal_tool_stats *st, u8 id_out[SEAL_ID_BYTES], struct seal_tool_err *err)
{
	struct sealing s = {.o = o, .st = st, .err = err, .buf = malloc(TOOL_CHUNK)};
	memset(st, 0, sizeof *st);
	int r = s.buf ? build(&s, path, key, 0, dir, id_out) : tool_err(err, -ENOMEM, "out of memory");
	if (s.buf)
		explicit_bzero(s.buf, TOOL_CHUNK);
	free(s.buf);
	links_free(&s.links);
	if (!r)
		sealing_show(&s, true);
	return r;
}

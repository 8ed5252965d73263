// SPDX-License-Identifier: Apache-2.0
// Making volumes: an empty one, or one with a folder's contents. The volume grows under a temporary name beside its
// final one and is renamed when it is complete and durable. Hosted only.
#include "seal/tool_impl.h"
#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

struct sealing {
	struct tool_vol t;
	const struct seal_tool_progress *progress;
	struct seal_tool_stats *st;
	struct seal_tool_err *err;
	bool keep_owner;
	dev_t out_dev; // the volume being written: never sealed into itself
	ino_t out_ino;
	struct links links;
	u8 *buf;
	u64 shown;
	char path[8192]; // in hand, relative to the folder; for messages
};

static void show(struct sealing *s, bool now)
{
	if (s->progress && s->progress->fn && (now || s->st->bytes - s->shown >= 8u << 20)) {
		s->shown = s->st->bytes;
		s->progress->fn(s->progress->ctx, s->st->files, s->st->bytes, s->path);
	}
}

static int host_err(struct sealing *s, int e) { return tool_err(s->err, e, "%s: %s", s->path, strerror(-e)); }

static int vol_err(struct sealing *s, int e)
{
	if (e == -ENOSPC)
		return tool_err(s->err, e, "%s: no space for the sealed copy of %s", s->t.path, s->path);
	return tool_vol_err(s->err, &s->t, e, s->path);
}

static int copy_attr(struct sealing *s, struct seal_inode *i, const struct stat *st)
{
	struct seal_attr a = {
		.mode = st->st_mode & 07777,
		.uid = s->keep_owner ? st->st_uid : 0,
		.gid = s->keep_owner ? st->st_gid : 0,
		.atime_ns = st->st_atim.tv_sec * 1000000000l + st->st_atim.tv_nsec,
		.mtime_ns = st->st_mtim.tv_sec * 1000000000l + st->st_mtim.tv_nsec,
	};
	int r = seal_setattr(s->t.vol, i, SEAL_SET_MODE | SEAL_SET_UID | SEAL_SET_GID | SEAL_SET_ATIME | SEAL_SET_MTIME,
			     &a);
	return r ? vol_err(s, r) : 0;
}

static bool all_zero(const u8 *p, size_t n) { return !n || (!p[0] && !memcmp(p, p + 1, n - 1)); }

// Contents, leaving holes where a whole page is zero.
static int copy_contents(struct sealing *s, struct seal_inode *i, int fd)
{
	u64 off = 0;
	for (;;) {
		size_t n = 0;
		while (n < TOOL_CHUNK) { // whole chunks keep the pages aligned
			ssize_t k = read(fd, s->buf + n, TOOL_CHUNK - n);
			if (k < 0 && errno == EINTR)
				continue;
			if (k < 0)
				return host_err(s, -errno);
			if (!k)
				break;
			n += (size_t)k;
		}
		if (!n)
			break;
		for (size_t at = 0, m; at < n; at += m) {
			bool hole = all_zero(s->buf + at, SEAL_MIN((size_t)SEAL_BLOCK, n - at));
			m = SEAL_MIN((size_t)SEAL_BLOCK, n - at);
			while (at + m < n &&
			       all_zero(s->buf + at + m, SEAL_MIN((size_t)SEAL_BLOCK, n - at - m)) == hole)
				m += SEAL_MIN((size_t)SEAL_BLOCK, n - at - m);
			if (hole)
				continue;
			s64 w = seal_write(s->t.vol, i, off + at, s->buf + at, m);
			if (w != (s64)m)
				return vol_err(s, w < 0 ? (int)w : -ENOSPC);
		}
		off += n;
		s->st->bytes += n;
		show(s, false);
	}
	struct seal_attr a;
	seal_getattr(s->t.vol, i, &a);
	int r = a.size < off ? seal_truncate(s->t.vol, i, off) : 0;
	return r ? vol_err(s, r) : 0;
}

static int seal_dir(struct sealing *s, struct seal_inode *dir, int fd, size_t at, int depth);

static int seal_regular(struct sealing *s, struct seal_inode *dir, int dfd, const char *name, const struct stat *st)
{
	struct seal_inode *i = NULL;
	u32 len = (u32)strlen(name);
	struct link *l = st->st_nlink > 1 ? links_find(&s->links, st->st_dev, st->st_ino) : NULL;
	if (l) {
		int r = seal_iget(s->t.vol, l->value, &i);
		if (!r) {
			r = seal_link(s->t.vol, dir, name, len, i);
			seal_iput(s->t.vol, i);
		}
		return r ? vol_err(s, r) : 0;
	}
	int fd = openat(dfd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK);
	if (fd < 0)
		return host_err(s, -errno);
	struct stat now;
	int r = fstat(fd, &now) ? -errno : S_ISREG(now.st_mode) ? 0 : -EAGAIN;
	if (r) {
		close(fd);
		return host_err(s, r);
	}
	r = seal_create(s->t.vol, dir, name, len, S_IFREG | (st->st_mode & 07777), 0, 0, 0, &i);
	if (r)
		r = vol_err(s, r);
	else
		r = copy_contents(s, i, fd);
	close(fd);
	if (!r)
		r = copy_attr(s, i, st);
	if (!r && st->st_nlink > 1) {
		struct seal_attr a;
		seal_getattr(s->t.vol, i, &a);
		r = links_add(&s->links, st->st_dev, st->st_ino, a.ino, NULL);
	}
	if (i)
		seal_iput(s->t.vol, i);
	s->st->files++;
	return r;
}

static int seal_link_file(struct sealing *s, struct seal_inode *dir, int dfd, const char *name, const struct stat *st)
{
	char target[SEAL_SYMLINK_MAX + 1];
	struct seal_inode *i;
	ssize_t n = readlinkat(dfd, name, target, sizeof target);
	if (n < 0 || n > (ssize_t)SEAL_SYMLINK_MAX)
		return host_err(s, n < 0 ? -errno : -ENAMETOOLONG);
	int r = seal_symlink(s->t.vol, dir, name, (u32)strlen(name), target, (u32)n, 0, 0, &i);
	if (r)
		return vol_err(s, r);
	s->st->symlinks++;
	r = copy_attr(s, i, st);
	seal_iput(s->t.vol, i);
	return r;
}

static int seal_subdir(struct sealing *s, struct seal_inode *dir, int dfd, const char *name, const struct stat *st,
		       size_t at, int depth)
{
	struct seal_inode *i;
	int fd = openat(dfd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return host_err(s, -errno);
	int r = seal_create(s->t.vol, dir, name, (u32)strlen(name), S_IFDIR | 0700, 0, 0, 0, &i);
	if (r) {
		close(fd);
		return vol_err(s, r);
	}
	r = seal_dir(s, i, fd, at, depth + 1);
	if (!r)
		r = copy_attr(s, i, st);
	seal_iput(s->t.vol, i);
	return r;
}

static int seal_one(struct sealing *s, struct seal_inode *dir, int dfd, const char *name, size_t at, int depth)
{
	struct stat st;
	if (fstatat(dfd, name, &st, AT_SYMLINK_NOFOLLOW))
		return host_err(s, -errno);
	if (st.st_dev == s->out_dev && st.st_ino == s->out_ino)
		return 0;
	show(s, true);
	if (S_ISREG(st.st_mode))
		return seal_regular(s, dir, dfd, name, &st);
	if (S_ISDIR(st.st_mode))
		return seal_subdir(s, dir, dfd, name, &st, at, depth);
	if (S_ISLNK(st.st_mode))
		return seal_link_file(s, dir, dfd, name, &st);
	if (S_ISFIFO(st.st_mode)) {
		struct seal_inode *i;
		int r = seal_create(s->t.vol, dir, name, (u32)strlen(name), S_IFIFO | 0600, 0, 0, 0, &i);
		if (r)
			return vol_err(s, r);
		r = copy_attr(s, i, &st);
		seal_iput(s->t.vol, i);
		return r;
	}
	s->st->others_skipped++; // sockets and devices mean nothing elsewhere
	return 0;
}

// Everything in the folder open as fd, which is consumed.
static int seal_dir(struct sealing *s, struct seal_inode *dir, int fd, size_t at, int depth)
{
	struct names names = {0};
	struct dirent *e;
	int r = depth > TOOL_DEPTH ? -ELOOP : 0;
	DIR *d = fdopendir(fd);
	if (!d) {
		close(fd);
		return host_err(s, -errno);
	}
	s->st->dirs++;
	for (errno = 0; !r && (e = readdir(d)); errno = 0)
		if (strcmp(e->d_name, ".") && strcmp(e->d_name, ".."))
			r = names_add(&names, e->d_name, strlen(e->d_name));
	if (!r && errno)
		r = -errno;
	if (r)
		r = host_err(s, r);
	names_sort(&names);
	for (size_t k = 0; k < names.n && !r; k++) {
		int n = snprintf(s->path + at, sizeof s->path - at, "/%s", names.v[k]);
		r = (size_t)n >= sizeof s->path - at ? host_err(s, -ENAMETOOLONG)
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
	int r = fd < 0 ? host_err(s, -errno) : seal_one(s, root, fd, base, strlen(s->path), 0);
	if (fd >= 0)
		close(fd);
	free(parent);
	return r;
}

static int fill(struct sealing *s, const char *dir)
{
	struct seal_inode *root;
	struct stat st;
	int n = snprintf(s->path, sizeof s->path, "%s", dir);
	if (stat(dir, &st))
		return host_err(s, -errno);
	if (!S_ISDIR(st.st_mode) && !S_ISREG(st.st_mode))
		return tool_err(s->err, -EINVAL, "%s is neither a folder nor a file", dir);
	int r = seal_iget(s->t.vol, SEAL_ROOT_INO, &root);
	if (r)
		return vol_err(s, r);
	if (S_ISDIR(st.st_mode)) {
		while (n > 1 && s->path[n - 1] == '/')
			s->path[--n] = 0;
		int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		r = fd < 0 ? host_err(s, -errno) : seal_dir(s, root, fd, (size_t)n, 0);
		if (!r)
			r = copy_attr(s, root, &st);
	} else
		r = fill_file(s, root, dir);
	seal_iput(s->t.vol, root);
	return r;
}

// Formats a volume under a temporary name, fills it and gives it its name.
static int build(struct sealing *s, const char *path, const u8 *key, u64 size, bool force, const char *dir, u8 *id_out)
{
	char tmp[4096];
	struct stat st;
	u32 version;
	struct hostio *h = &s->t.host;
	if ((size_t)snprintf(tmp, sizeof tmp, "%s.partial-%d", path, (int)getpid()) >= sizeof tmp)
		return tool_err(s->err, -ENAMETOOLONG, "%s: name too long", path);
	if (!force && !lstat(path, &st))
		return tool_err(s->err, -EEXIST, "%s exists already; it is not overwritten unless forced", path);
	s->t.path = path;
	int r = hostio_open(h, tmp, HOSTIO_CREATE);
	if (r)
		return tool_err(s->err, r, "%s: %s", tmp, tool_why(r));
	if (fstat(h->fd, &st) == 0) {
		s->out_dev = st.st_dev;
		s->out_ino = st.st_ino;
	}
	r = seal_format(&h->io, &h->env, key, NULL, size);
	if (!r)
		r = seal_probe(&h->io, &h->env, id_out, &version);
	if (!r && dir)
		r = seal_mount(&h->io, &h->env, key, id_out, 0, &s->t.vol, NULL);
	if (r)
		r = tool_err(s->err, r, "%s: creating the volume: %s", path, tool_why(r));
	else if (dir)
		r = fill(s, dir);
	r = tool_unmount(&s->t, r, s->err);
	if (!r && (force ? rename(tmp, path) : renameat2(AT_FDCWD, tmp, AT_FDCWD, path, RENAME_NOREPLACE)))
		r = tool_err(s->err, -errno, "%s: %s", path, strerror(errno));
	if (!r)
		tool_sync_parent(path); // the volume itself is durable already
	if (r) {
		unlink(tmp);
		size_t n = strlen(s->err->text);
		snprintf(s->err->text + n, sizeof s->err->text - n, " (the partial volume was removed)");
	}
	return r;
}

int seal_tool_create(const char *path, const u8 key[SEAL_KEY_BYTES], u64 size_bytes, bool force,
		     u8 id_out[SEAL_ID_BYTES], struct seal_tool_err *err)
{
	struct sealing s = {.err = err};
	if (size_bytes && size_bytes < 1u << 20)
		return tool_err(err, -EINVAL, "%s: a volume has at least 1 MiB", path);
	return build(&s, path, key, size_bytes, force, NULL, id_out);
}

int seal_tool_seal(const char *dir, const char *path, const u8 key[SEAL_KEY_BYTES], bool force, bool keep_owner,
		   const struct seal_tool_progress *p, struct seal_tool_stats *st, u8 id_out[SEAL_ID_BYTES],
		   struct seal_tool_err *err)
{
	struct sealing s = {.progress = p, .st = st, .err = err, .keep_owner = keep_owner, .buf = malloc(TOOL_CHUNK)};
	memset(st, 0, sizeof *st);
	int r = s.buf ? build(&s, path, key, 0, force, dir, id_out) : tool_err(err, -ENOMEM, "out of memory");
	if (s.buf)
		explicit_bzero(s.buf, TOOL_CHUNK);
	free(s.buf);
	links_free(&s.links);
	if (!r) {
		s.path[0] = 0;
		show(&s, true);
	}
	return r;
}

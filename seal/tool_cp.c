// SPDX-License-Identifier: Apache-2.0
// `coffer cp`: some files into a volume, or out of it. Into a volume a file is written without a name, and gets its name in one step with whatever
// had it before; so a full volume, Ctrl-C or a crash leave the old one. Out of one, tool_open.c does the same on the host's side. Hosted only.
#include "seal/tool_open.h"
#include "seal/tool_seal.h"
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#define TEMPORARY ".coffer-cp." // between the link and the rename, which no commit parts

static const char *base_of(const char *path)
{
	const char *slash = strrchr(path, '/');
	return slash ? slash + 1 : path;
}

// The last part of a path, without slashes behind it; malloc'ed. "": there is none (the root).
static char *last_part(const char *path)
{
	size_t n = strlen(path);
	while (n && path[n - 1] == '/')
		n--;
	char *whole = strndup(path, n), *last = whole ? strdup(base_of(whole)) : NULL;
	free(whole);
	return last;
}

static bool is_dir(struct seal_vol *v, struct seal_inode *i)
{
	struct seal_attr a;
	seal_getattr(v, i, &a);
	return S_ISDIR(a.mode);
}

// --- into a volume

struct putting {
	struct sealing s;
	bool recursive;
};

static int put_err(struct putting *p, int e)
{
	struct statvfs host;
	if (e == -ENOSPC && !fstatvfs(p->s.t.host.fd, &host) && (geteuid() ? host.f_bavail : host.f_bfree) * host.f_frsize < 1u << 20)
		return tool_err(p->s.err, e, "the disk that holds %s is full: there is no room for %s. What had that name in the volume is unchanged",
				p->s.t.path, p->s.path);
	if (e == -ENOSPC)
		return tool_err(p->s.err, e, "%s is full: there is no room for %s. What had that name in the volume is unchanged (`coffer volume grow` makes room)",
				p->s.t.path, p->s.path);
	return sealing_vol_err(&p->s, e);
}

// i, which has no name yet, gets one; what had it goes. A folder stays.
static int publish(struct putting *p, struct seal_inode *dir, const char *name, struct seal_inode *i)
{
	struct seal_vol *v = p->s.t.vol;
	struct seal_inode *old = NULL;
	struct seal_attr a;
	char tmp[40];
	u32 len = (u32)strlen(name), tlen;
	int r = seal_lookup(v, dir, name, len, &old);
	if (r && r != -ENOENT)
		return put_err(p, r);
	if (r == -ENOENT) {
		r = seal_link(v, dir, name, len, i);
		return r ? put_err(p, r) : 0;
	}
	bool folder = is_dir(v, old);
	seal_iput(v, old);
	if (folder)
		return tool_err(p->s.err, -EISDIR, "%s: there is a folder of that name in the volume", p->s.path);
	seal_getattr(v, i, &a);
	tlen = (u32)snprintf(tmp, sizeof tmp, TEMPORARY "%lu", a.ino);
	r = seal_link(v, dir, tmp, tlen, i);
	if (!r && (r = seal_rename(v, dir, tmp, tlen, dir, name, len, 0)))
		seal_unlink(v, dir, tmp, tlen);
	return r ? put_err(p, r) : 0;
}

static int put_file(struct putting *p, struct seal_inode *dir, const char *name, int dfd, const char *source, const struct stat *st)
{
	struct seal_inode *i = NULL;
	int r = seal_tmpfile(p->s.t.vol, S_IFREG | 0600, 0, 0, &i);
	if (r)
		return put_err(p, r);
	r = sealing_fill(&p->s, i, dfd, source, st);
	if (r == -ENOSPC)
		r = put_err(p, r);
	if (!r)
		r = publish(p, dir, name, i);
	seal_iput(p->s.t.vol, i); // without a name it goes
	p->s.st->files += !r;
	return r;
}

// Standard input: its length is not known before its end.
static int put_stream(struct putting *p, struct seal_inode *dir, const char *name)
{
	struct seal_inode *i = NULL;
	struct timespec now;
	u64 off = 0;
	int r = seal_tmpfile(p->s.t.vol, S_IFREG | 0600, 0, 0, &i);
	if (r)
		return put_err(p, r);
	for (size_t n = 1; n && !r; off += n) {
		n = 0;
		for (ssize_t k = 1; k && n < TOOL_CHUNK && !r; n += k > 0 ? (size_t)k : 0) {
			k = read(0, p->s.buf + n, TOOL_CHUNK - n);
			if (k < 0 && errno != EINTR)
				r = tool_err(p->s.err, -errno, "standard input: %s", strerror(errno));
			else if (seal_tool_stop)
				r = tool_err(p->s.err, -EINTR, "stopped");
		}
		if (!r)
			r = sealing_store(&p->s, i, off, n);
		p->s.st->bytes += n;
		sealing_show(&p->s, false);
	}
	if (!r && (r = seal_truncate(p->s.t.vol, i, off)))
		r = put_err(p, r);
	else if (r == -ENOSPC)
		r = put_err(p, r);
	clock_gettime(CLOCK_REALTIME, &now);
	struct stat st = {.st_mode = S_IFREG | 0600, .st_uid = getuid(), .st_gid = getgid(), .st_atim = now, .st_mtim = now};
	if (!r)
		r = sealing_attr(&p->s, i, &st);
	if (!r)
		r = publish(p, dir, name, i);
	seal_iput(p->s.t.vol, i);
	p->s.st->files += !r;
	return r;
}

// A symbolic link or a FIFO: made under a temporary name.
static int put_special(struct putting *p, struct seal_inode *dir, const char *name, int dfd, const char *source, const struct stat *st)
{
	struct seal_vol *v = p->s.t.vol;
	struct seal_inode *i = NULL, *old = NULL;
	char target[SEAL_SYMLINK_MAX + 1], tmp[] = TEMPORARY "new";
	u32 tlen = sizeof tmp - 1, len = (u32)strlen(name);
	int r;
	if (!seal_lookup(v, dir, name, len, &old)) {
		bool folder = is_dir(v, old);
		seal_iput(v, old);
		if (folder)
			return tool_err(p->s.err, -EISDIR, "%s: there is a folder of that name in the volume", p->s.path);
	}
	if (S_ISLNK(st->st_mode)) {
		ssize_t n = readlinkat(dfd, source, target, sizeof target);
		if (n < 0 || n > (ssize_t)SEAL_SYMLINK_MAX)
			return sealing_host_err(&p->s, n < 0 ? -errno : -ENAMETOOLONG);
		r = seal_symlink(v, dir, tmp, tlen, target, (u32)n, 0, 0, &i);
	} else {
		r = seal_create(v, dir, tmp, tlen, S_IFIFO | 0600, 0, 0, 0, &i);
	}
	if (r)
		return put_err(p, r);
	r = sealing_attr(&p->s, i, st);
	seal_iput(v, i);
	if (!r && (r = seal_rename(v, dir, tmp, tlen, dir, name, len, 0)))
		r = put_err(p, r);
	if (r)
		seal_unlink(v, dir, tmp, tlen);
	p->s.st->symlinks += !r && S_ISLNK(st->st_mode);
	return r;
}

static int put_one(struct putting *p, struct seal_inode *dir, const char *name, int dfd, const char *source, size_t at, int depth);

static int put_dir(struct putting *p, struct seal_inode *dir, const char *name, int dfd, const char *source, const struct stat *st, size_t at, int depth)
{
	struct seal_vol *v = p->s.t.vol;
	struct seal_inode *i = NULL;
	struct names names = {0};
	bool made = false;
	int fd = openat(dfd, source, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW), r;
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	if (!d) {
		r = sealing_host_err(&p->s, -errno);
		if (fd >= 0)
			close(fd);
		return r;
	}
	r = depth > TOOL_DEPTH ? sealing_host_err(&p->s, -ELOOP) : seal_lookup(v, dir, name, (u32)strlen(name), &i);
	if (r == -ENOENT) {
		r = seal_create(v, dir, name, (u32)strlen(name), S_IFDIR | 0700, 0, 0, 0, &i);
		made = !r;
	}
	if (r) {
		r = r == -ELOOP ? r : put_err(p, r);
		goto out;
	}
	if (!is_dir(v, i)) {
		r = tool_err(p->s.err, -ENOTDIR, "%s: what has that name in the volume is not a folder", p->s.path);
		goto out;
	}
	r = tool_list_host_dir(d, &names);
	if (r)
		r = sealing_host_err(&p->s, r);
	for (size_t k = 0; k < names.n && !r; k++) {
		int n = snprintf(p->s.path + at, sizeof p->s.path - at, "/%s", names.v[k]);
		r = (size_t)n >= sizeof p->s.path - at ? sealing_host_err(&p->s, -ENAMETOOLONG)
						       : put_one(p, i, names.v[k], dirfd(d), names.v[k], at + (size_t)n, depth + 1);
	}
	if (!r)
		p->s.path[at] = 0;
	if (!r && made)
		r = sealing_xattrs(&p->s, i, dirfd(d));
	if (!r && made)
		r = sealing_attr(&p->s, i, st);
	p->s.st->dirs++;
out:
	names_free(&names);
	if (i)
		seal_iput(v, i);
	closedir(d);
	return r;
}

static int put_one(struct putting *p, struct seal_inode *dir, const char *name, int dfd, const char *source, size_t at, int depth)
{
	struct stat st;
	if (seal_tool_stop)
		return tool_err(p->s.err, -EINTR, "stopped");
	if (fstatat(dfd, source, &st, AT_SYMLINK_NOFOLLOW))
		return sealing_host_err(&p->s, -errno);
	if (st.st_dev == p->s.out_dev && st.st_ino == p->s.out_ino)
		return depth ? 0 : tool_err(p->s.err, -EINVAL, "%s is the volume itself", p->s.path);
	sealing_show(&p->s, true);
	if (S_ISREG(st.st_mode))
		return put_file(p, dir, name, dfd, source, &st);
	if (S_ISDIR(st.st_mode) && !p->recursive)
		return tool_err(p->s.err, -EISDIR, "%s is a folder: -r copies it with all that is in it", p->s.path);
	if (S_ISDIR(st.st_mode))
		return put_dir(p, dir, name, dfd, source, &st, at, depth);
	if (S_ISLNK(st.st_mode) || S_ISFIFO(st.st_mode))
		return put_special(p, dir, name, dfd, source, &st);
	p->s.st->others_skipped++; // sockets and devices mean nothing elsewhere
	return 0;
}

// Where it goes: a folder that is there (*name NULL), or the folder of a new name, which is the caller's to free.
static int destination(struct putting *p, const char *to, int count, struct seal_inode **dir, char **name)
{
	struct seal_vol *v = p->s.t.vol;
	size_t n = strlen(to);
	*name = NULL;
	snprintf(p->s.path, sizeof p->s.path, "%s", to);
	int r = tool_walk(v, to, dir);
	if (!r && is_dir(v, *dir))
		return 0;
	if (*dir)
		seal_iput(v, *dir);
	*dir = NULL;
	if (r && r != -ENOENT)
		return sealing_vol_err(&p->s, r);
	if (count > 1 || (n && to[n - 1] == '/'))
		return tool_err(p->s.err, -ENOENT, "%s: there is no such folder in %s", to, p->s.t.path);
	*name = last_part(to);
	char *parent = strndup(to, n - (*name ? strlen(*name) : 0));
	r = *name && parent ? tool_walk(v, parent, dir) : -ENOMEM;
	if (r == -ENOENT || (!r && !is_dir(v, *dir)))
		r = tool_err(p->s.err, -ENOENT, "%s: there is no such folder in %s", parent, p->s.t.path);
	else if (r)
		r = sealing_vol_err(&p->s, r);
	free(parent);
	return r;
}

static int put_named(struct putting *p, struct seal_inode *dir, const char *as, const char *from)
{
	char *own = as ? strdup(as) : last_part(from), *real;
	int r, n;
	if (!own)
		return tool_err(p->s.err, -ENOMEM, "out of memory");
	n = snprintf(p->s.path, sizeof p->s.path, "%s", from);
	if (!strcmp(from, "-")) {
		r = as ? put_stream(p, dir, as) : tool_err(p->s.err, -EINVAL, "standard input has no name: say which it gets in the volume");
		free(own);
		return r;
	}
	real = realpath(from, NULL); // who names a link means the file
	if (!real)
		r = sealing_host_err(&p->s, -errno);
	else if (!*own || !strcmp(own, ".") || !strcmp(own, ".."))
		r = put_one(p, dir, *base_of(real) ? base_of(real) : "root", AT_FDCWD, real, (size_t)n, 0);
	else
		r = put_one(p, dir, own, AT_FDCWD, real, (size_t)n, 0);
	free(real);
	free(own);
	return r;
}

int seal_tool_put(const char *path, const u8 key[SEAL_KEY_BYTES], const struct seal_tool_cp *c, const struct seal_tool_options *o,
		  struct seal_tool_stats *st, struct seal_tool_err *err)
{
	struct putting p = {.s = {.o = o, .st = st, .err = err}, .recursive = c->recursive};
	struct seal_inode *dir = NULL;
	char *name = NULL;
	struct stat self;
	memset(st, 0, sizeof *st);
	int r = tool_mount(&p.s.t, path, key, 0, err);
	if (r)
		return r;
	if (!fstat(p.s.t.host.fd, &self)) {
		p.s.out_dev = self.st_dev;
		p.s.out_ino = self.st_ino;
	}
	for (int i = 0; o->progress && i < c->count; i++)
		p.s.total += strcmp(c->from[i], "-") ? sealing_measure(c->from[i]) : 0;
	p.s.buf = malloc(TOOL_CHUNK);
	r = p.s.buf ? destination(&p, c->to, c->count, &dir, &name) : tool_err(err, -ENOMEM, "out of memory");
	for (int i = 0; i < c->count && !r; i++)
		r = put_named(&p, dir, name, c->from[i]);
	if (!r)
		sealing_show(&p.s, true);
	if (dir)
		seal_iput(p.s.t.vol, dir);
	if (p.s.buf)
		explicit_bzero(p.s.buf, TOOL_CHUNK);
	free(p.s.buf);
	free(name);
	return tool_unmount(&p.s.t, r, err);
}

// --- out of a volume

static int get_one(struct opening *o, struct seal_inode *i, int dfd, const char *name, size_t at, bool recursive, int depth);

static int get_dir(struct opening *o, struct seal_inode *i, const struct seal_attr *a, int dfd, const char *name, size_t at, int depth)
{
	struct names names = {0};
	bool made = !mkdirat(dfd, name, 0700);
	if (!made && errno != EEXIST)
		return opening_host_err(o, -errno);
	int fd = openat(dfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return opening_host_err(o, -errno);
	int r = depth > TOOL_DEPTH ? -ELOOP : tool_list_dir(o->t.vol, i, &names);
	if (r)
		r = opening_vol_err(o, r);
	o->st->dirs++;
	for (size_t k = 0; k < names.n && !r; k++) {
		struct seal_inode *in = NULL;
		int n = snprintf(o->path + at, sizeof o->path - at, "/%s", names.v[k]);
		if ((size_t)n >= sizeof o->path - at)
			r = opening_host_err(o, -ENAMETOOLONG);
		else if ((r = seal_lookup(o->t.vol, i, names.v[k], (u32)strlen(names.v[k]), &in)))
			r = opening_vol_err(o, r);
		else
			r = get_one(o, in, fd, names.v[k], at + (size_t)n, true, depth + 1);
		if (in)
			seal_iput(o->t.vol, in);
	}
	if (!r)
		o->path[at] = 0;
	if (!r && made) { // a folder that was there stays as it is
		r = opening_attr(o, i, a, fd);
		if (!r)
			r = opening_flags(o, a, fd);
	}
	names_free(&names);
	close(fd);
	return r;
}

static int get_file(struct opening *o, struct seal_inode *i, const struct seal_attr *a, int dfd, const char *name)
{
	struct stat st;
	if (!fstatat(dfd, name, &st, AT_SYMLINK_NOFOLLOW) && S_ISDIR(st.st_mode))
		return tool_err(o->err, -EISDIR, "%s: there is a folder of that name", name);
	int r = opening_file(o, i, a, dfd, name);
	o->st->files += !r;
	return r;
}

static int get_one(struct opening *o, struct seal_inode *i, int dfd, const char *name, size_t at, bool recursive, int depth)
{
	struct seal_attr a;
	if (seal_tool_stop)
		return tool_err(o->err, -EINTR, "stopped");
	seal_getattr(o->t.vol, i, &a);
	if (S_ISREG(a.mode))
		return get_file(o, i, &a, dfd, name);
	if (S_ISDIR(a.mode) && !recursive)
		return tool_err(o->err, -EISDIR, "%s is a folder: -r copies it with all that is in it", o->path);
	if (S_ISDIR(a.mode))
		return get_dir(o, i, &a, dfd, name, at, depth);
	if (S_ISLNK(a.mode))
		return opening_symlink(o, i, &a, dfd, name);
	if (S_ISFIFO(a.mode))
		return opening_fifo(o, &a, dfd, name);
	o->st->others_skipped++;
	return 0;
}

// Opens the folder that files go to. *name: the new name of the only one, or NULL: each keeps its own. Both are the caller's.
static int target(struct opening *o, const struct seal_tool_cp *c, char **name)
{
	size_t n = strlen(c->to);
	char *parent;
	int fd = open(c->to, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	*name = NULL;
	if (fd >= 0)
		return fd;
	if ((errno != ENOENT && errno != ENOTDIR) || c->count > 1 || (n && c->to[n - 1] == '/' && !c->recursive))
		return tool_err(o->err, -errno, "%s: %s", c->to, strerror(errno));
	*name = last_part(c->to);
	parent = *name ? strndup(c->to, (size_t)(strrchr(c->to, '/') ? strrchr(c->to, '/') - c->to + 1 : 0)) : NULL;
	if (!parent || !**name) {
		free(parent);
		return tool_err(o->err, -ENOENT, "%s: there is no such folder", c->to);
	}
	fd = open(*parent ? parent : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		fd = tool_err(o->err, -errno, "%s: %s", parent, strerror(errno));
	free(parent);
	return fd;
}

static int get_named(struct opening *o, const char *from, const char *as, bool recursive)
{
	struct seal_inode *i = NULL;
	char *own = last_part(from);
	int n = snprintf(o->path, sizeof o->path, "%s", from), r;
	if (!own)
		return tool_err(o->err, -ENOMEM, "out of memory");
	r = tool_walk(o->t.vol, from, &i);
	if (r == -ENOENT)
		r = tool_err(o->err, r, "%s: there is no such file in %s", from, o->t.path);
	else if (r)
		r = opening_vol_err(o, r);
	else if (!as && !*own)
		r = tool_err(o->err, -EINVAL, "the root of a volume has no name: say which it gets (`coffer open` decrypts a whole volume)");
	else if (!as && (!strcmp(own, ".") || !strcmp(own, "..")))
		r = tool_err(o->err, -EINVAL, "%s: this is no name for a file", from);
	else
		r = get_one(o, i, o->rootfd, as ? as : own, (size_t)n, recursive, 0);
	if (i)
		seal_iput(o->t.vol, i);
	free(own);
	return r;
}

int seal_tool_get(const char *path, const u8 key[SEAL_KEY_BYTES], const struct seal_tool_cp *c, const struct seal_tool_options *o,
		  struct seal_tool_stats *st, struct seal_tool_err *err)
{
	struct seal_tool_options replace = *o;
	struct opening g = {.o = &replace, .st = st, .err = err, .rootfd = -1};
	char *name = NULL;
	memset(st, 0, sizeof *st);
	replace.force = true;
	replace.resume = false;
	int r = tool_mount(&g.t, path, key, SEAL_RDONLY, err);
	if (r)
		return r;
	g.buf = malloc(2ul * TOOL_CHUNK);
	r = g.rootfd = g.buf ? target(&g, c, &name) : tool_err(err, -ENOMEM, "out of memory");
	if (r > 0)
		r = 0;
	for (int i = 0; i < c->count && !r; i++)
		r = get_named(&g, c->from[i], name, c->recursive);
	if (g.rootfd >= 0) {
		if (!r && syncfs(g.rootfd))
			r = tool_err(err, -errno, "%s: %s", c->to, strerror(errno));
		close(g.rootfd);
	}
	if (g.buf)
		explicit_bzero(g.buf, 2ul * TOOL_CHUNK);
	free(g.buf);
	free(name);
	return tool_unmount(&g.t, r, err);
}

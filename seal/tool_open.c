// SPDX-License-Identifier: Apache-2.0
// Decrypting a volume into a folder. What lands on the host is made with openat and mkdirat relative to folders that
// were opened without following symlinks, so nothing in the volume can lead outside. A file has another name until it is
// whole: .coffer-partial.INODE.TIME, by which an interrupted run finds it again. Hosted only.
#include "seal/tool_open.h"
#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

static void show(struct opening *o, bool now)
{
	const struct seal_tool_progress *p = o->o->progress;
	if (p && p->fn && (now || o->st->bytes - o->shown >= 8u << 20)) {
		o->shown = o->st->bytes;
		p->fn(p->ctx, o->st->files, o->st->bytes, o->total);
	}
}

int opening_host_err(struct opening *o, int e)
{
	o->damage = false;
	return tool_err(o->err, e, "%s: %s", o->path,
			e == -EEXIST ? "exists already; it is not overwritten unless forced" : strerror(-e));
}

int opening_vol_err(struct opening *o, int e)
{
	o->damage = e == SEAL_ETAMPER || e == SEAL_ECORRUPT || e == -EIO;
	return tool_vol_err(o->err, &o->t, e, o->path);
}

static struct timespec to_ts(s64 ns)
{
	struct timespec t = {.tv_sec = ns / 1000000000l, .tv_nsec = ns % 1000000000l};
	if (t.tv_nsec < 0) {
		t.tv_nsec += 1000000000l;
		t.tv_sec--;
	}
	return t;
}

// Makes room for a name: with force, what is there goes, unless it is a folder; or stays until it is replaced in one step.
static int clear_name(struct opening *o, int dfd, const char *name, bool stays)
{
	struct stat st;
	if (fstatat(dfd, name, &st, AT_SYMLINK_NOFOLLOW))
		return errno == ENOENT ? 0 : -errno;
	if (!o->o->force)
		return -EEXIST;
	if (stays)
		return S_ISDIR(st.st_mode) ? -EISDIR : 0;
	return unlinkat(dfd, name, 0) ? -errno : 0;
}

// What an earlier run named is whole, but after a power cut its contents may not be: files are not flushed one by one. So a run
// notes in the target folder which boot of the machine it is in, and in another one nothing is trusted unseen.
#define RUN_MARK ".coffer-partial.run"

static void boot_id(char id[64])
{
	int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, id, 63);
	id[n > 0 ? n : 0] = 0;
	if (fd >= 0)
		close(fd);
}

static void mark_begin(struct opening *o, struct seal_inode *root, bool empty)
{
	char now[64], then[64] = "";
	struct seal_inode *i;
	boot_id(now);
	if (!*now)
		return;
	if (!seal_lookup(o->t.vol, root, RUN_MARK, sizeof RUN_MARK - 1, &i)) { // the volume has a file of that name
		seal_iput(o->t.vol, i);
		return;
	}
	int fd = openat(o->rootfd, RUN_MARK, empty ? O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC : O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
	if (fd < 0)
		return;
	o->marked = true;
	if (empty)
		o->trusted = write(fd, now, strlen(now)) == (ssize_t)strlen(now);
	else
		o->trusted = read(fd, then, sizeof then - 1) > 0 && !strcmp(now, then);
	close(fd);
}

static void mark_end(struct opening *o)
{
	if (o->marked)
		unlinkat(o->rootfd, RUN_MARK, 0);
}

static s64 ns_of(const struct timespec *t) { return t->tv_sec * 1000000000l + t->tv_nsec; }

// Is this what an earlier run has made of the same file? It gets its name when it is whole, with its time.
static bool finished(struct opening *o, const struct seal_attr *a, int dfd, const char *name)
{
	struct stat st;
	return o->o->resume && !fstatat(dfd, name, &st, AT_SYMLINK_NOFOLLOW) && (st.st_mode & S_IFMT) == (a->mode & S_IFMT) &&
	       (!S_ISREG(st.st_mode) || (u64)st.st_size == a->size) && ns_of(&st.st_mtim) == a->mtime_ns;
}

static int write_all(int fd, const u8 *p, size_t n, u64 off)
{
	while (n) {
		ssize_t k = pwrite(fd, p, n, (off_t)off);
		if (k < 0 && errno == EINTR)
			continue;
		if (k <= 0)
			return k ? -errno : -EIO;
		p += k;
		n -= (size_t)k;
		off += (u64)k;
	}
	return 0;
}

static int copy_contents(struct opening *o, struct seal_inode *i, const struct seal_attr *a, int fd, u64 from)
{
	u64 off = from;
	while (off < a->size) {
		s64 data = seal_seek(o->t.vol, i, off, false);
		if (data == -ENXIO)
			break; // only a hole is left
		if (data < 0)
			return opening_vol_err(o, (int)data);
		o->st->bytes += (u64)data - off;
		off = (u64)data;
		s64 hole = seal_seek(o->t.vol, i, off, true);
		if (hole < 0)
			return opening_vol_err(o, (int)hole);
		s64 n = seal_read(o->t.vol, i, off, o->buf, SEAL_MIN(TOOL_CHUNK - off % SEAL_BLOCK, (u64)hole - off));
		if (n <= 0)
			return n ? opening_vol_err(o, (int)n) : 0;
		int r = write_all(fd, o->buf, (size_t)n, off);
		if (r)
			return opening_host_err(o, r);
		off += (u64)n;
		o->st->bytes += (u64)n;
		show(o, false);
		if (seal_tool_stop)
			return tool_err(o->err, -EINTR, "stopped");
	}
	o->st->bytes += a->size - off;
	return ftruncate(fd, (off_t)a->size) ? opening_host_err(o, -errno) : 0;
}

static int restore_xattrs(struct opening *o, struct seal_inode *i, int fd)
{
	char list[SEAL_BLOCK], value[SEAL_BLOCK];
	s64 n = seal_listxattr(o->t.vol, i, list, sizeof list);
	if (n < 0)
		return opening_vol_err(o, (int)n);
	for (s64 at = 0; at < n; at += (s64)strlen(list + at) + 1) {
		const char *name = list + at;
		if (strncmp(name, "user.", 5) && !o->o->keep_owner)
			continue; // capabilities and the like mean what the owner of the machine says
		s64 m = seal_getxattr(o->t.vol, i, name, (u32)strlen(name), value, sizeof value);
		if (m < 0)
			return opening_vol_err(o, (int)m);
		if (fsetxattr(fd, name, value, (size_t)m, 0))
			return tool_err(o->err, -errno, "%s: its extended attribute %s cannot be kept here: %s", o->path, name,
					strerror(errno));
	}
	return 0;
}

// Owner first: changing it takes set-user-ID bits and capabilities away.
int opening_attr(struct opening *o, struct seal_inode *i, const struct seal_attr *a, int fd)
{
	struct timespec ts[2] = {to_ts(a->atime_ns), to_ts(a->mtime_ns)};
	tool_flags_set(fd, 0); // an earlier run's would be in the way
	if (o->o->keep_owner && fchown(fd, a->uid, a->gid))
		return opening_host_err(o, -errno);
	int r = restore_xattrs(o, i, fd);
	if (!r && (fchmod(fd, a->mode & (o->o->keep_owner ? 07777 : 0777)) || futimens(fd, ts)))
		r = opening_host_err(o, -errno);
	return r;
}

// Last of all: some flags forbid any further change, another name too.
int opening_flags(struct opening *o, const struct seal_attr *a, int fd)
{
	int r = tool_flags_set(fd, tool_flags_kept(a->flags, o->o->keep_owner));
	return r ? tool_err(o->err, r, "%s: its flags (immutable, append only) cannot be kept here: %s", o->path, strerror(-r)) : 0;
}

static int restore_named_flags(struct opening *o, const struct seal_attr *a, int dfd, const char *name)
{
	if (!tool_flags_kept(a->flags, o->o->keep_owner))
		return 0;
	int fd = openat(dfd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	int r = fd < 0 ? opening_host_err(o, -errno) : opening_flags(o, a, fd);
	if (fd >= 0)
		close(fd);
	return r;
}

// Has what is there under the name the file's contents? 1, 0 or an error. Its attributes are set once more.
static int same_contents(struct opening *o, struct seal_inode *i, const struct seal_attr *a, int dfd, const char *name)
{
	int fd = openat(dfd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC), same = 1;
	if (fd < 0)
		return opening_host_err(o, -errno);
	for (u64 off = 0; off < a->size && same > 0;) {
		s64 n = seal_read(o->t.vol, i, off, o->buf, TOOL_CHUNK);
		if (n <= 0) {
			same = n ? opening_vol_err(o, (int)n) : 0;
			break;
		}
		for (s64 at = 0, k; at < n && same > 0; at += k) {
			k = pread(fd, o->buf + TOOL_CHUNK, (size_t)(n - at), (off_t)off + at);
			same = k > 0 && !memcmp(o->buf + at, o->buf + TOOL_CHUNK, (size_t)k);
		}
		off += (u64)n;
		if (seal_tool_stop && same > 0)
			same = tool_err(o->err, -EINTR, "stopped");
	}
	int r = same > 0 ? opening_attr(o, i, a, fd) : 0;
	close(fd);
	return r ? r : same;
}

// The file while it is being written: found again by inode and time, or new. *from: how much is there already.
static int open_partial(struct opening *o, const struct seal_attr *a, int dfd, char tmp[80], u64 *from)
{
	struct stat st;
	snprintf(tmp, 80, ".coffer-partial.%lu.%ld", a->ino, a->mtime_ns);
	*from = 0;
	int fd = o->o->resume ? openat(dfd, tmp, O_WRONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC) : -1;
	if (fd >= 0 && !fstat(fd, &st) && S_ISREG(st.st_mode) && st.st_nlink == 1 && st.st_uid == geteuid()) {
		if (o->trusted)
			*from = SEAL_MIN((u64)st.st_size, a->size) / SEAL_BLOCK * SEAL_BLOCK;
		else if (ftruncate(fd, 0)) { // not to go on from: holes have to be holes
			int r = -errno;
			close(fd);
			return r;
		}
		return fd;
	}
	if (fd >= 0)
		close(fd);
	unlinkat(dfd, tmp, 0); // of another run
	fd = openat(dfd, tmp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	return fd < 0 ? -errno : fd;
}

int opening_file(struct opening *o, struct seal_inode *i, const struct seal_attr *a, int dfd, const char *name)
{
	char tmp[80];
	u64 from;
	int fd = open_partial(o, a, dfd, tmp, &from);
	if (fd < 0)
		return opening_host_err(o, fd);
	o->st->bytes += from;
	int r = copy_contents(o, i, a, fd, from);
	if (!r)
		r = opening_attr(o, i, a, fd);
	if (close(fd) && !r)
		r = opening_host_err(o, -errno);
	if (!r && renameat2(dfd, tmp, dfd, name, o->o->force ? 0 : RENAME_NOREPLACE))
		r = opening_host_err(o, -errno);
	if (r && r != -EINTR && !o->o->resume)
		unlinkat(dfd, tmp, 0);
	return r;
}

static int open_regular(struct opening *o, struct seal_inode *i, const struct seal_attr *a, int dfd, const char *name)
{
	struct link *l = a->nlink > 1 ? links_find(&o->links, a->ino, 0) : NULL;
	int r = 0, whole = finished(o, a, dfd, name);
	if (whole && !o->trusted) {
		whole = same_contents(o, i, a, dfd, name);
		if (whole < 0)
			return whole;
		if (!whole && unlinkat(dfd, name, 0))
			return opening_host_err(o, -errno);
	}
	if (whole) {
		o->st->bytes += a->size;
		o->st->kept++;
	} else {
		r = clear_name(o, dfd, name, !l);
		if (r)
			return opening_host_err(o, r);
		if (l && linkat(o->rootfd, l->path, dfd, name, 0))
			return opening_host_err(o, -errno);
		if (!l)
			r = opening_file(o, i, a, dfd, name);
	}
	if (!r && a->nlink > 1 && !l && (r = links_add(&o->links, a->ino, 0, 1, o->path)))
		r = opening_host_err(o, r);
	if (!r && (l ? ++l->value : 1) == a->nlink) // its last name
		r = restore_named_flags(o, a, dfd, name);
	if (!r && (!l || whole))
		o->st->files++;
	return r;
}

int opening_symlink(struct opening *o, struct seal_inode *i, const struct seal_attr *a, int dfd, const char *name)
{
	char target[SEAL_SYMLINK_MAX + 1];
	int n = seal_readlink(o->t.vol, i, target, SEAL_SYMLINK_MAX);
	if (n < 0)
		return opening_vol_err(o, n);
	target[n] = 0;
	if (finished(o, a, dfd, name))
		return o->st->symlinks++, 0;
	int r = clear_name(o, dfd, name, false);
	if (!r && symlinkat(target, dfd, name))
		r = -errno;
	if (!r && o->o->keep_owner && fchownat(dfd, name, a->uid, a->gid, AT_SYMLINK_NOFOLLOW))
		r = -errno;
	struct timespec ts[2] = {to_ts(a->atime_ns), to_ts(a->mtime_ns)};
	if (!r && utimensat(dfd, name, ts, AT_SYMLINK_NOFOLLOW))
		r = -errno;
	o->st->symlinks++;
	return r ? opening_host_err(o, r) : 0;
}

static int open_dir(struct opening *o, struct seal_inode *dir, int fd, size_t at, int depth);

static int open_subdir(struct opening *o, struct seal_inode *i, const struct seal_attr *a, int dfd, const char *name,
		       size_t at, int depth)
{
	if (mkdirat(dfd, name, 0700) && !(errno == EEXIST && (o->o->force || o->o->resume)))
		return opening_host_err(o, -errno);
	int fd = openat(dfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return opening_host_err(o, -errno);
	tool_flags_set(fd, 0);
	int r = fchmod(fd, 0700) ? opening_host_err(o, -errno) : open_dir(o, i, fd, at, depth + 1); // a finished one may be read-only
	if (!r)
		r = opening_attr(o, i, a, fd);
	if (!r)
		r = opening_flags(o, a, fd);
	close(fd);
	return r;
}

int opening_fifo(struct opening *o, const struct seal_attr *a, int dfd, const char *name)
{
	struct timespec ts[2] = {to_ts(a->atime_ns), to_ts(a->mtime_ns)};
	if (finished(o, a, dfd, name))
		return 0;
	int r = clear_name(o, dfd, name, false);
	if (!r && (mkfifoat(dfd, name, a->mode & 0777) || utimensat(dfd, name, ts, AT_SYMLINK_NOFOLLOW)))
		r = -errno;
	return r ? opening_host_err(o, r) : 0;
}

static bool listed(const struct names *names, const char *name)
{
	size_t from = 0, to = names->n;
	while (from < to) { // they are sorted
		size_t k = from + (to - from) / 2;
		int c = strcmp(names->v[k], name);
		if (!c)
			return true;
		if (c < 0)
			from = k + 1;
		else
			to = k;
	}
	return false;
}

// What earlier runs left of files that the volume has no more. A file of the volume may have such a name too.
static int sweep(struct opening *o, int fd, const struct names *names)
{
	int copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = copy < 0 ? NULL : fdopendir(copy);
	struct dirent *e;
	if (!d) {
		if (copy >= 0)
			close(copy);
		return opening_host_err(o, -errno);
	}
	while ((e = readdir(d)))
		if (!strncmp(e->d_name, ".coffer-partial.", 16) && strcmp(e->d_name, RUN_MARK) && !listed(names, e->d_name))
			unlinkat(fd, e->d_name, 0);
	closedir(d);
	return 0;
}

static int open_inode(struct opening *o, struct seal_inode *dir, int dfd, const char *name, size_t at, int depth)
{
	struct seal_inode *i;
	struct seal_attr a;
	int r = seal_lookup(o->t.vol, dir, name, (u32)strlen(name), &i);
	if (r)
		return opening_vol_err(o, r);
	show(o, true);
	seal_getattr(o->t.vol, i, &a);
	if (S_ISREG(a.mode))
		r = open_regular(o, i, &a, dfd, name);
	else if (S_ISDIR(a.mode))
		r = open_subdir(o, i, &a, dfd, name, at, depth);
	else if (S_ISLNK(a.mode))
		r = opening_symlink(o, i, &a, dfd, name);
	else if (S_ISFIFO(a.mode))
		r = opening_fifo(o, &a, dfd, name);
	else
		o->st->others_skipped++;
	seal_iput(o->t.vol, i);
	return r;
}

// What is damaged is told and left out; all else comes out whole.
static int open_one(struct opening *o, struct seal_inode *dir, int dfd, const char *name, size_t at, int depth)
{
	if (seal_tool_stop)
		return tool_err(o->err, -EINTR, "stopped");
	o->damage = false;
	int r = open_inode(o, dir, dfd, name, at, depth);
	if (!r || !o->damage)
		return r;
	if (!o->st->damaged++)
		o->first = *o->err;
	if (o->o->damaged)
		o->o->damaged(o->o->ctx, o->err->text);
	o->err->text[0] = 0;
	return 0;
}

static int open_dir(struct opening *o, struct seal_inode *dir, int fd, size_t at, int depth)
{
	struct names names = {0};
	int r = depth > TOOL_DEPTH ? -ELOOP : tool_list_dir(o->t.vol, dir, &names);
	if (r)
		r = opening_vol_err(o, r);
	o->st->dirs++;
	for (size_t k = 0; k < names.n && !r; k++) {
		int n = snprintf(o->path + at, sizeof o->path - at, "%s%s", at ? "/" : "", names.v[k]);
		r = (size_t)n >= sizeof o->path - at ? opening_host_err(o, -ENAMETOOLONG)
						     : open_one(o, dir, fd, names.v[k], at + (size_t)n, depth);
	}
	if (!r && (o->o->resume || o->o->force))
		r = sweep(o, fd, &names);
	if (!r)
		o->path[at] = 0;
	names_free(&names);
	return r;
}

// The target folder: made, or there already and empty (unless forced).
static int target_open(struct opening *o, const char *dir, struct seal_inode *root, bool *made)
{
	struct dirent *e;
	*made = !mkdir(dir, 0700);
	if (!*made && errno != EEXIST)
		return tool_err(o->err, -errno, "%s: %s", dir, strerror(errno));
	o->rootfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = o->rootfd < 0 ? NULL : opendir(dir);
	if (!d)
		return tool_err(o->err, -errno, "%s: %s", dir, strerror(errno));
	bool empty = true;
	while ((e = readdir(d)))
		empty = empty && (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."));
	closedir(d);
	if (!empty && !o->o->force && !o->o->resume)
		return tool_err(o->err, -ENOTEMPTY, "%s is not empty: --force replaces files of it, --resume goes on with what a run that was stopped has left", dir);
	mark_begin(o, root, empty);
	return 0;
}

static int tell_damage(struct opening *o, const char *path, const char *dir)
{
	return tool_err(o->err, SEAL_ETAMPER, "%.250s%s; %lu files are whole in %.100s, %lu are damaged and not there. `coffer volume fsck %.100s` "
			"says what is wrong, `coffer mount` reads the rest of such files", o->first.text, o->st->damaged > 1 ? ", and others" : "",
			o->st->files, dir, o->st->damaged, path);
}

// Why it ended, and what is left behind.
static void explain(struct opening *o, int r, const char *dir)
{
	struct seal_tool_err *err = o->err;
	size_t n = strlen(err->text);
	if (r == -EINTR || o->o->resume)
		snprintf(err->text + n, sizeof err->text - n,
			 " (%lu files are whole in %s: the same command with --resume goes on)", o->st->files, dir);
	else
		snprintf(err->text + n, sizeof err->text - n, " (%lu files decrypted before that are left in %s)",
			 o->st->files, dir);
}

int seal_tool_open(const char *path, const u8 key[SEAL_KEY_BYTES], const char *dir, const struct seal_tool_options *options,
		   struct seal_tool_stats *st, struct seal_tool_err *err)
{
	struct opening o = {.o = options, .st = st, .err = err, .rootfd = -1};
	struct seal_inode *root = NULL;
	struct seal_info info;
	bool made = false;
	memset(st, 0, sizeof *st);
	int r = tool_mount(&o.t, path, key, SEAL_RDONLY, err);
	if (r)
		return r;
	seal_get_info(o.t.vol, &info);
	o.total = info.used_blocks * SEAL_BLOCK;
	o.buf = malloc(2ul * TOOL_CHUNK);
	r = o.buf ? seal_iget(o.t.vol, SEAL_ROOT_INO, &root) : -ENOMEM;
	if (r)
		r = tool_vol_err(err, &o.t, r, "opening");
	if (!r)
		r = target_open(&o, dir, root, &made);
	if (!r) {
		r = open_dir(&o, root, o.rootfd, 0, 0);
		if (!r && syncfs(o.rootfd)) // before the mark goes
			r = tool_err(err, -errno, "%s: %s", dir, strerror(errno));
		if (!r || (r != -EINTR && !options->resume))
			mark_end(&o);
		if (!r && (made || options->resume)) { // a folder that was there stays as it is
			struct seal_attr a;
			seal_getattr(o.t.vol, root, &a);
			r = opening_attr(&o, root, &a, o.rootfd);
			if (!r)
				r = opening_flags(&o, &a, o.rootfd);
		}
		if (!r && syncfs(o.rootfd))
			r = tool_err(err, -errno, "%s: %s", dir, strerror(errno));
		bool removed = (r || st->damaged) && made && !o.st->files && !rmdir(dir);
		if (!r && st->damaged)
			r = tell_damage(&o, path, dir);
		else if (r && !removed)
			explain(&o, r, dir);
	}
	if (!r)
		show(&o, true);
	if (root)
		seal_iput(o.t.vol, root);
	if (o.rootfd >= 0)
		close(o.rootfd);
	if (o.buf)
		explicit_bzero(o.buf, 2ul * TOOL_CHUNK);
	free(o.buf);
	links_free(&o.links);
	return tool_unmount(&o.t, r, err);
}

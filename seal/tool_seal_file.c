// SPDX-License-Identifier: Apache-2.0
// Sealing one regular file: contents with their holes, attributes, links, and going on with a file that an interrupted run
// left unfinished. A file is finished when it has its modification time, which it gets last. Hosted only.
#include "seal/tool_seal.h"
#include <fcntl.h>
#include <stdlib.h>
#include <sys/xattr.h>
#include <unistd.h>

#define COMMIT_BYTES  (256ul << 20) // an interrupted run loses at most this much, or so many files
#define COMMIT_FILES  20000u
#define RESUMABLE     COMMIT_BYTES // files from this size are gone on with in their middle
#define SOURCE_XATTR  "trusted.coffer.source"
#define XATTR_LIST    65536u

struct source { // value of SOURCE_XATTR while a large file is unfinished: what it was when it was begun
	u64 size;
	s64 mtime_ns;
};

static s64 ns_of(const struct timespec *t) { return t->tv_sec * 1000000000l + t->tv_nsec; }

// Now and then the part that is done is committed: it survives a crash, and little memory is held.
static int checkpoint(struct sealing *s)
{
	if (s->st->bytes - s->committed < COMMIT_BYTES && s->uncommitted < COMMIT_FILES)
		return 0;
	s->committed = s->st->bytes;
	s->uncommitted = 0;
	int r = seal_sync(s->t.vol);
	return r ? sealing_vol_err(s, r) : 0;
}

static bool all_zero(const u8 *p, size_t n) { return !n || (!p[0] && !memcmp(p, p + 1, n - 1)); }

int sealing_store(struct sealing *s, struct seal_inode *i, u64 off, size_t n)
{
	for (size_t at = 0, m; at < n; at += m) {
		bool hole = all_zero(s->buf + at, SEAL_MIN((size_t)SEAL_BLOCK, n - at));
		m = SEAL_MIN((size_t)SEAL_BLOCK, n - at);
		while (at + m < n && all_zero(s->buf + at + m, SEAL_MIN((size_t)SEAL_BLOCK, n - at - m)) == hole)
			m += SEAL_MIN((size_t)SEAL_BLOCK, n - at - m);
		if (hole)
			continue;
		s64 w = seal_write(s->t.vol, i, off + at, s->buf + at, m);
		if (w != (s64)m)
			return sealing_vol_err(s, w < 0 ? (int)w : -ENOSPC);
	}
	return 0;
}

static ssize_t read_chunk(int fd, u8 *buf, u64 off)
{
	size_t n = 0;
	while (n < TOOL_CHUNK) { // whole chunks keep the pages aligned
		ssize_t k = pread(fd, buf + n, TOOL_CHUNK - n, (off_t)(off + n));
		if (k < 0 && errno == EINTR)
			continue;
		if (k < 0)
			return -errno;
		if (!k)
			break;
		n += (size_t)k;
	}
	return (ssize_t)n;
}

// The file's contents from a page's beginning on, its holes skipped. *end: where it ended.
static int copy_contents(struct sealing *s, struct seal_inode *i, int fd, u64 from, u64 *end)
{
	struct stat st;
	u64 off = from;
	for (;;) {
		off_t data = lseek(fd, (off_t)off, SEEK_DATA);
		if (data < 0 && errno == ENXIO)
			break; // only a hole is left, or nothing
		u64 at = data < 0 ? off : (u64)data / SEAL_BLOCK * SEAL_BLOCK;
		s->st->bytes += SEAL_MAX(at, off) - off;
		off = SEAL_MAX(at, off);
		ssize_t n = read_chunk(fd, s->buf, off);
		if (n < 0)
			return sealing_host_err(s, (int)n);
		if (!n)
			break;
		int r = sealing_store(s, i, off, (size_t)n);
		off += (u64)n;
		s->st->bytes += (u64)n;
		sealing_show(s, false);
		if (!r)
			r = checkpoint(s);
		if (!r && seal_tool_stop)
			r = tool_err(s->err, -EINTR, "stopped");
		if (r)
			return r;
	}
	if (fstat(fd, &st))
		return sealing_host_err(s, -errno);
	*end = SEAL_MAX(off, (u64)st.st_size);
	s->st->bytes += *end - off;
	return 0;
}

int sealing_attr(struct sealing *s, struct seal_inode *i, const struct stat *st)
{
	struct seal_attr a = {
		.mode = st->st_mode & 07777,
		.uid = s->o->keep_owner ? st->st_uid : 0,
		.gid = s->o->keep_owner ? st->st_gid : 0,
		.atime_ns = ns_of(&st->st_atim),
		.mtime_ns = ns_of(&st->st_mtim),
	};
	int r = seal_setattr(s->t.vol, i, SEAL_SET_MODE | SEAL_SET_UID | SEAL_SET_GID | SEAL_SET_ATIME | SEAL_SET_MTIME,
			     &a);
	return r ? sealing_vol_err(s, r) : 0;
}

static bool wanted_xattr(const struct sealing *s, const char *name)
{
	if (!strncmp(name, "user.", 5))
		return true;
	return s->o->keep_owner && (!strncmp(name, "trusted.", 8) || !strcmp(name, "security.capability")) &&
	       strcmp(name, SOURCE_XATTR) != 0;
}

// Those of the host's file; none that a directory of the volume has given it.
static int sealing_flags(struct sealing *s, struct seal_inode *i, int fd)
{
	struct seal_attr a, want = {.flags = tool_flags_kept(tool_flags_get(fd), s->o->keep_owner)};
	seal_getattr(s->t.vol, i, &a);
	int r = a.flags == want.flags ? 0 : seal_setattr(s->t.vol, i, SEAL_SET_FLAGS, &want);
	return r ? sealing_vol_err(s, r) : 0;
}

int sealing_xattrs(struct sealing *s, struct seal_inode *i, int fd)
{
	char *list = malloc(2 * XATTR_LIST), *value = list ? list + XATTR_LIST : NULL;
	ssize_t n = list ? flistxattr(fd, list, XATTR_LIST) : -1;
	int r = !list ? -ENOMEM : n < 0 && errno != EOPNOTSUPP ? -errno : 0;
	for (ssize_t at = 0; at < n && !r; at += (ssize_t)strlen(list + at) + 1) {
		const char *name = list + at;
		ssize_t m = wanted_xattr(s, name) ? fgetxattr(fd, name, value, XATTR_LIST) : 0;
		if (!wanted_xattr(s, name) || (m < 0 && errno == ENODATA))
			continue;
		r = m < 0 ? -errno : seal_setxattr(s->t.vol, i, name, (u32)strlen(name), value, (size_t)m, 0);
		if (r == -ENOSPC || r == -E2BIG)
			r = tool_err(s->err, r, "%s: its extended attributes take more than the 4 KiB that a volume has for them",
				     s->path);
		else if (r)
			r = sealing_vol_err(s, r);
	}
	free(list);
	return r ? r : sealing_flags(s, i, fd);
}

// --- going on

// Where an unfinished large file can be gone on with: its source must be what it was.
static u64 resume_at(struct sealing *s, struct seal_inode *i, const struct stat *st)
{
	struct source was;
	struct seal_attr a;
	s64 n = seal_getxattr(s->t.vol, i, SOURCE_XATTR, (u32)strlen(SOURCE_XATTR), &was, sizeof was);
	seal_getattr(s->t.vol, i, &a);
	if (n != sizeof was || was.size != (u64)st->st_size || was.mtime_ns != ns_of(&st->st_mtim))
		return 0;
	return SEAL_MIN(a.size, was.size) / SEAL_BLOCK * SEAL_BLOCK;
}

static int note_source(struct sealing *s, struct seal_inode *i, const struct stat *st)
{
	struct source now = {.size = (u64)st->st_size, .mtime_ns = ns_of(&st->st_mtim)};
	return seal_setxattr(s->t.vol, i, SOURCE_XATTR, (u32)strlen(SOURCE_XATTR), &now, sizeof now, 0);
}

// What an earlier run made of this name: finished (*done), to be gone on with (*out), or nothing that is of use.
static int earlier(struct sealing *s, struct seal_inode *dir, const char *name, const struct stat *st,
		   struct seal_inode **out, bool *done)
{
	struct seal_attr a;
	int r = seal_lookup(s->t.vol, dir, name, (u32)strlen(name), out);
	if (r == -ENOENT)
		return 0;
	if (r)
		return sealing_vol_err(s, r);
	seal_getattr(s->t.vol, *out, &a);
	*done = S_ISREG(a.mode) && a.size == (u64)st->st_size && a.mtime_ns == ns_of(&st->st_mtim);
	if (*done || (S_ISREG(a.mode) && a.nlink == 1))
		return 0;
	seal_iput(s->t.vol, *out);
	*out = NULL;
	return sealing_remove(s, dir, name, 0);
}

// --- files

int sealing_fill(struct sealing *s, struct seal_inode *i, int dfd, const char *name, const struct stat *st)
{
	int fd = openat(dfd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK);
	if (fd < 0)
		return sealing_host_err(s, -errno);
	bool large = (u64)st->st_size >= RESUMABLE;
	struct stat now;
	u64 from = s->resumed && large ? resume_at(s, i, st) : 0, end = 0;
	int r = fstat(fd, &now) ? -errno : S_ISREG(now.st_mode) ? 0 : -EAGAIN;
	if (r) {
		r = sealing_host_err(s, r);
		goto out;
	}
	r = seal_truncate(s->t.vol, i, from); // what an earlier run left behind that
	if (!r && large)
		r = note_source(s, i, st);
	if (r) {
		r = sealing_vol_err(s, r);
		goto out;
	}
	s->st->bytes += from;
	r = copy_contents(s, i, fd, from, &end);
	if (!r && (r = seal_truncate(s->t.vol, i, end)))
		r = sealing_vol_err(s, r);
	if (!r && large && (r = seal_removexattr(s->t.vol, i, SOURCE_XATTR, (u32)strlen(SOURCE_XATTR))))
		r = sealing_vol_err(s, r);
	if (!r)
		r = sealing_xattrs(s, i, fd);
	if (!r)
		r = sealing_attr(s, i, st);
out:
	close(fd);
	return r;
}

// One more name of a file that is in the volume already.
static int another_name(struct sealing *s, struct seal_inode *dir, const char *name, u64 ino)
{
	struct seal_inode *i, *there;
	struct seal_attr a;
	u32 len = (u32)strlen(name);
	int r = s->resumed ? seal_lookup(s->t.vol, dir, name, len, &there) : -ENOENT;
	if (!r) {
		seal_getattr(s->t.vol, there, &a);
		seal_iput(s->t.vol, there);
		if (a.ino == ino)
			return 0;
		if ((r = sealing_remove(s, dir, name, 0)))
			return r;
	} else if (r != -ENOENT) {
		return sealing_vol_err(s, r);
	}
	r = seal_iget(s->t.vol, ino, &i);
	if (!r) {
		r = seal_link(s->t.vol, dir, name, len, i);
		seal_iput(s->t.vol, i);
	}
	return r ? sealing_vol_err(s, r) : 0;
}

int sealing_regular(struct sealing *s, struct seal_inode *dir, int dfd, const char *name, const struct stat *st)
{
	struct seal_inode *i = NULL;
	struct link *l = st->st_nlink > 1 ? links_find(&s->links, st->st_dev, st->st_ino) : NULL;
	bool done = false;
	int r = 0;
	if (l)
		return another_name(s, dir, name, l->value);
	if (s->resumed && (r = earlier(s, dir, name, st, &i, &done)))
		return r;
	if (!i && (r = seal_create(s->t.vol, dir, name, (u32)strlen(name), S_IFREG | (st->st_mode & 07777), 0, 0, 0, &i)))
		return sealing_vol_err(s, r);
	if (done) {
		s->st->bytes += (u64)st->st_size;
		s->st->kept++;
	} else {
		r = sealing_fill(s, i, dfd, name, st);
		s->uncommitted++;
	}
	if (!r && st->st_nlink > 1) {
		struct seal_attr a;
		seal_getattr(s->t.vol, i, &a);
		if ((r = links_add(&s->links, st->st_dev, st->st_ino, a.ino, NULL)))
			r = sealing_host_err(s, r);
	}
	seal_iput(s->t.vol, i);
	s->st->files++;
	return r ? r : checkpoint(s);
}

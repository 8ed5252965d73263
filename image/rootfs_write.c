// SPDX-License-Identifier: Apache-2.0
// One entry of a root file system into the tree (see rootfs.h). All paths are resolved inside the tree by the kernel (tree.c); what is
// there by the same name goes first, so that no link placed earlier is ever written through.
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "image/rootfs.h"

// Mount points of the enclave's kernel: what an image has there is never seen.
static bool is_mounted_over(const char *path)
{
	static const char *const folders[] = {"/dev/", "/proc/", "/sys/"};

	for (int i = 0; i < 3; i++)
		if (starts_with(path, folders[i]))
			return true;
	return false;
}

// /.coffer by another way: through a link to the root that was placed earlier.
static int check_own(struct rootfs_writer *w, int parent, const char *name, const char *path, struct fault *p)
{
	struct stat at, root;

	if (strcmp(name, ".coffer") != 0)
		return 0;
	if (fstat(parent, &at) < 0 || fstat(w->tree->fd, &root) < 0)
		return fault_errno(p, errno, "cannot look at %s", w->tree->path);
	if (at.st_dev != root.st_dev || at.st_ino != root.st_ino)
		return 0;
	return fault_set(p, -EEXIST, "%s: /.coffer of an image is Coffer's own", path);
}

// Makes room for `path`: the folder that will hold it. *name: its last part. Something else of that name goes, except a folder where a
// folder is wanted.
static int open_place(struct rootfs_writer *w, const char *path, bool folder, const char **name, bool *there, struct fault *p)
{
	int parent = tree_parent(w->tree, path, name, p), err;
	struct stat st;

	*there = false;
	if (parent < 0)
		return parent;
	err = check_own(w, parent, *name, path, p);
	if (err) {
		close(parent);
		return err;
	}
	if (!fstatat(parent, *name, &st, AT_SYMLINK_NOFOLLOW)) {
		if (S_ISDIR(st.st_mode) && folder) {
			*there = true;
			return parent;
		}
		w->result->replaced += !w->layer;
		if (S_ISDIR(st.st_mode)) {
			err = tree_remove_all(w->tree, path, p);
			if (err) {
				close(parent);
				return err;
			}
		} else if (unlinkat(parent, *name, 0) < 0) {
			err = fault_errno(p, errno, "cannot replace %s%s", w->tree->path, path);
			close(parent);
			return err;
		} else if (w->tree->attributes && st.st_nlink == 1) {
			attributes_drop(w->tree->attributes, st.st_ino);
		}
		if (S_ISLNK(st.st_mode)) { // what was below it is there no more
			string_set_free(&w->tree->folders);
		}
	}
	return parent;
}

// Notes the attributes of what is now there.
static int keep(struct rootfs_writer *w, const struct rootfs_entry *e, int parent, const char *name, struct fault *p)
{
	struct stat st;

	if (fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return fault_errno(p, errno, "cannot look at %s%s", w->tree->path, e->path);
	rootfs_keep_attributes(w->tree, e, st.st_ino, w->result);
	return 0;
}

static int count(struct rootfs_writer *w, const struct rootfs_entry *e, uint64_t bytes, struct fault *p)
{
	struct rootfs_result *r = w->result;

	if (e->attributes && w->tree->attributes) { // all of them are in memory
		uint64_t most = w->limits.attributes ? w->limits.attributes : ATTRIBUTES_MAX_ALL;

		bytes += e->attributes->xattr_bytes;
		r->attribute_bytes += e->attributes->xattr_bytes;
		if (r->attribute_bytes > most)
			return fault_set(p, -E2BIG, "more than %llu bytes of extended attributes (--all-root leaves them out)", (unsigned long long)most);
	}
	if (++r->files > w->limits.files)
		return fault_set(p, -E2BIG, "more than %llu files (--max-files)", (unsigned long long)w->limits.files);
	if (bytes > w->limits.bytes || r->bytes > w->limits.bytes - bytes)
		return fault_set(p, -E2BIG, "more than %llu bytes (--max-size)", (unsigned long long)w->limits.bytes);
	r->bytes += bytes;
	return 0;
}

static int write_at(int fd, const uint8_t *bytes, size_t len, int64_t offset)
{
	while (len) {
		ssize_t n = pwrite(fd, bytes, len, offset);

		if (n < 0 && errno != EINTR)
			return -errno;
		n = n < 0 ? 0 : n;
		bytes += n;
		len -= (size_t)n;
		offset += n;
	}
	return 0;
}

static int write_file(struct rootfs_writer *w, const struct rootfs_entry *e, struct rootfs_data *d, struct fault *p)
{
	mode_t mode = e->mode & 0111 ? 0755 : 0644;
	const void *bytes;
	const char *name;
	int64_t offset;
	size_t len;
	bool there;
	int parent, fd = -1, err;

	// Before the first byte: what a header promises is enough to refuse.
	err = count(w, e, e->size, p);
	if (err)
		return err;
	parent = open_place(w, e->path, false, &name, &there, p);
	if (parent < 0)
		return parent;
	fd = openat(parent, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
	if (fd < 0) {
		err = fault_errno(p, errno, "cannot make %s%s", w->tree->path, e->path);
		goto out;
	}
	while ((err = rootfs_data_next(d, &bytes, &len, &offset, p)) > 0) {
		if (offset < 0 || (uint64_t)offset > e->size || len > e->size - (uint64_t)offset) {
			err = fault_set(p, -EBADMSG, "%s has more content than its size", e->path);
			goto out;
		}
		err = write_at(fd, bytes, len, offset);
		if (err) {
			fault_errno(p, -err, "cannot write %s%s", w->tree->path, e->path);
			goto out;
		}
	}
	if (err < 0)
		goto out;
	if (ftruncate(fd, (off_t)e->size) < 0 || fchmod(fd, mode) < 0 ||
	    futimens(fd, (struct timespec[]){{.tv_nsec = UTIME_OMIT}, {.tv_sec = e->mtime}}) < 0)
		err = fault_errno(p, errno, "cannot write %s%s", w->tree->path, e->path);
	if (!err)
		err = keep(w, e, parent, name, p);
out:
	if (fd >= 0)
		close(fd);
	close(parent);
	return err;
}

static int make_link(struct rootfs_writer *w, const struct rootfs_entry *e, struct fault *p)
{
	const char *name, *from_name;
	int from, parent = -1, err = 0;
	struct stat st;
	bool there;

	err = count(w, e, 0, p);
	if (err)
		return err;
	if (!tree_stat(w->tree, e->target, &st) || !S_ISREG(st.st_mode))
		return fault_set(p, -EINVAL, "%s is a hard link to %s, which is no file before it", e->path, e->target);
	if (!strcmp(e->path, e->target))
		return 0;
	from = tree_parent(w->tree, e->target, &from_name, p);
	if (from < 0)
		return from;
	parent = open_place(w, e->path, false, &name, &there, p);
	if (parent < 0)
		err = parent;
	else if (linkat(from, from_name, parent, name, 0) < 0)
		err = fault_errno(p, errno, "cannot link %s%s to %s", w->tree->path, e->path, e->target);
	if (parent >= 0)
		close(parent);
	close(from);
	return err;
}

// A symbolic link, or a folder that may be there already.
static int make_name(struct rootfs_writer *w, const struct rootfs_entry *e, bool folder, struct fault *p)
{
	const char *name;
	int parent, err;
	bool there;

	err = count(w, e, 0, p);
	if (err)
		return err;
	parent = open_place(w, e->path, folder, &name, &there, p);
	if (parent < 0)
		return parent;
	if (!folder && symlinkat(e->target, parent, name) < 0)
		err = fault_errno(p, errno, "cannot make the link %s%s", w->tree->path, e->path);
	else if (folder && !there && (mkdirat(parent, name, 0755) < 0 || fchmodat(parent, name, 0755, 0) < 0))
		err = fault_errno(p, errno, "cannot make the folder %s%s", w->tree->path, e->path);
	else
		err = keep(w, e, parent, name, p);
	close(parent);
	return err;
}

// The folder in which all others are: its number in an image has no room for extended attributes.
static int write_root(struct rootfs_writer *w, const struct rootfs_entry *e, struct fault *p)
{
	struct rootfs_entry plain = *e;
	struct stat st;

	if (e->kind != ROOTFS_FOLDER)
		return 0;
	if (fstat(w->tree->fd, &st) < 0)
		return fault_errno(p, errno, "cannot look at %s", w->tree->path);
	plain.lost |= !!e->attributes;
	plain.attributes = NULL;
	rootfs_keep_attributes(w->tree, &plain, st.st_ino, w->result);
	return 0;
}

static bool is_whiteout(const char *path) { return starts_with(strrchr(path, '/') + 1, ".wh."); }

int rootfs_write(void *ctx, const struct rootfs_entry *e, struct rootfs_data *d, struct fault *p)
{
	struct rootfs_writer *w = ctx;

	if (!strcmp(e->path, "/"))
		return write_root(w, e, p);
	if (is_mounted_over(e->path) || (w->layer && is_whiteout(e->path)))
		return 0;
	if (starts_with(e->path, "/.coffer") && (!e->path[8] || e->path[8] == '/'))
		return fault_set(p, -EEXIST, "%s: /.coffer of an image is Coffer's own", e->path);
	switch (e->kind) {
	case ROOTFS_FILE: return write_file(w, e, d, p);
	case ROOTFS_FOLDER: return make_name(w, e, true, p);
	case ROOTFS_SYMLINK: return make_name(w, e, false, p);
	case ROOTFS_HARDLINK: return make_link(w, e, p);
	case ROOTFS_OTHER: break;
	}
	w->result->devices++;
	return 0;
}

// All that a folder holds goes, the folder stays.
static int make_opaque(struct tree *t, const char *folder, struct fault *p)
{
	struct stat st;
	int err;

	if (!strcmp(folder, "/") || !tree_stat(t, folder, &st) || !S_ISDIR(st.st_mode))
		return !strcmp(folder, "/") ? fault_set(p, -EINVAL, "a layer that hides the whole root") : 0;
	err = tree_remove_all(t, folder, p);
	return err ? err : tree_mkdirs(t, folder, p);
}

int rootfs_whiteout(void *ctx, const struct rootfs_entry *e, struct rootfs_data *d, struct fault *p)
{
	struct rootfs_writer *w = ctx;
	const char *slash = strrchr(e->path, '/'), *name = slash + 1 + 4;
	char *folder, *hidden;
	int err = 0;

	(void)d;
	if (!is_whiteout(e->path))
		return 0;
	folder = slash == e->path ? xstrdup("/") : xstrndup(e->path, (size_t)(slash - e->path));
	if (!strcmp(name, ".wh..opq")) {
		err = make_opaque(w->tree, folder, p);
	} else if (!starts_with(name, ".wh.")) { // .wh..wh.plnk and the like are AUFS's own
		if (!*name || !strcmp(name, ".") || !strcmp(name, ".."))
			err = fault_set(p, -EINVAL, "a whiteout of nothing: %s", e->path);
		hidden = xasprintf("%s/%s", strcmp(folder, "/") ? folder : "", name);
		if (!err)
			err = tree_remove_all(w->tree, hidden, p);
		free(hidden);
	}
	free(folder);
	return err;
}

// SPDX-License-Identifier: Apache-2.0
// What kind of thing is it that shall be imported, and folders (see rootfs.h).
#include "image/rootfs.h"

#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "image/encrypt.h"

static int by_name(const FTSENT **a, const FTSENT **b) { return strcmp((*a)->fts_name, (*b)->fts_name); }

static int count(const struct rootfs_options *o, struct rootfs_result *r, const struct stat *st, struct fault *p)
{
	if (++r->files > o->limits.files)
		return fault_set(p, -E2BIG, "more than %llu files (--max-files)", (unsigned long long)o->limits.files);
	if (S_ISREG(st->st_mode))
		r->bytes += (uint64_t)st->st_size;
	if (r->bytes > o->limits.bytes)
		return fault_set(p, -E2BIG, "more than %llu bytes (--max-size)", (unsigned long long)o->limits.bytes);
	return 0;
}

// A file with several names is one file in the image too.
static int copy_file(struct tree *t, const FTSENT *e, const char *path, struct string_set *names, struct fault *p)
{
	char *key = xasprintf("%llu:%llu", (unsigned long long)e->fts_statp->st_dev, (unsigned long long)e->fts_statp->st_ino);
	const char *first = e->fts_statp->st_nlink > 1 ? string_set_get(names, key) : NULL;
	int err = 0;

	if (first) {
		const char *from_name, *name;
		int from = tree_parent(t, first, &from_name, p), to = from < 0 ? -1 : tree_parent(t, path, &name, p);

		err = from < 0 ? from : to < 0 ? to : 0;
		if (!err && linkat(from, from_name, to, name, 0) < 0)
			err = fault_errno(p, errno, "cannot link %s%s", t->path, path);
		if (from >= 0)
			close(from);
		if (to >= 0)
			close(to);
	} else {
		err = tree_copy_file(t, e->fts_accpath, path, p);
		if (!err && e->fts_statp->st_nlink > 1)
			string_set_add(names, key, path);
	}
	free(key);
	return err;
}

static int copy_entry(struct tree *t, const FTSENT *e, const char *path, struct string_set *names, struct rootfs_result *r, struct fault *p)
{
	char target[PATH_MAX];
	ssize_t n;

	r->owners += e->fts_statp->st_uid != 0 || e->fts_statp->st_gid != 0;
	r->set_id += S_ISREG(e->fts_statp->st_mode) && e->fts_statp->st_mode & 06000;
	r->attributes += llistxattr(e->fts_accpath, NULL, 0) > 0;
	switch (e->fts_statp->st_mode & S_IFMT) {
	case S_IFDIR: return tree_mkdirs(t, path, p);
	case S_IFREG: return copy_file(t, e, path, names, p);
	case S_IFLNK:
		n = readlink(e->fts_accpath, target, sizeof(target) - 1);
		if (n < 0)
			return fault_errno(p, errno, "cannot read the link %s", e->fts_path);
		target[n] = '\0';
		return tree_symlink(t, path, target, p);
	}
	r->devices++;
	return 0;
}

static int import_folder(struct tree *t, const char *folder, const struct rootfs_options *o, struct rootfs_result *r, struct fault *p)
{
	static const char *const not_ours[] = {"/dev", "/proc", "/sys"};
	char *paths[] = {(char *)folder, NULL};
	FTS *fts = fts_open(paths, FTS_PHYSICAL | FTS_NOCHDIR | FTS_XDEV, by_name);
	struct string_set names = {0};
	size_t top = strlen(folder);
	struct stat own;
	FTSENT *e;
	int err = 0;

	if (!fts)
		return fault_errno(p, errno, "cannot read %s", folder);
	if (fstat(t->fd, &own) < 0)
		err = fault_errno(p, errno, "cannot look at %s", t->path);
	while (!err && (errno = 0, e = fts_read(fts))) {
		const char *path = e->fts_path + top;

		if (e->fts_info == FTS_DP || !e->fts_level)
			continue;
		if (e->fts_info == FTS_DNR || e->fts_info == FTS_ERR || e->fts_info == FTS_NS) {
			err = fault_errno(p, e->fts_errno, "cannot read %s", e->fts_path);
			break;
		}
		if (e->fts_statp->st_dev == own.st_dev && e->fts_statp->st_ino == own.st_ino) { // the folder that is being filled
			fts_set(fts, e, FTS_SKIP);
			continue;
		}
		for (int i = 0; i < 3 && e->fts_level == 1; i++)
			if (!strcmp(path, not_ours[i]))
				fts_set(fts, e, FTS_SKIP);
		if (!strcmp(path, "/.coffer")) {
			err = fault_set(p, -EEXIST, "%s: /.coffer of an image is Coffer's own", e->fts_path);
			break;
		}
		err = count(o, r, e->fts_statp, p);
		if (!err)
			err = copy_entry(t, e, path, &names, r, p);
	}
	if (!err && errno)
		err = fault_errno(p, errno, "cannot read %s", folder);
	fts_close(fts);
	string_set_free(&names);
	return err;
}

static int import_tar(struct tree *t, int fd, const char *name, const struct rootfs_options *o, struct rootfs_result *r, struct fault *p)
{
	struct rootfs_writer w = {.tree = t, .limits = o->limits, .result = r};
	int err = rootfs_tar_walk(fd, name, rootfs_write, &w, p);

	if (!err && !r->files)
		err = fault_set(p, -EINVAL, "%s holds nothing", name);
	return err;
}

// What is unpacked may turn out to be a container image: then it goes aside, and its layers come into the tree.
static int import_unpacked_container(struct tree *t, const struct rootfs_options *o, struct rootfs_result *r, struct fault *p)
{
	struct tree again = {.fd = -1};
	char *path = xstrdup(t->path);
	int err = image_remove_tree(o->work, p);

	if (!err && rename(t->path, o->work) < 0)
		err = fault_errno(p, errno, "cannot rename %s", t->path);
	*r = (struct rootfs_result){0};
	if (!err)
		err = tree_open(&again, path, p);
	if (!err) {
		tree_close(t);
		*t = again;
		err = rootfs_import_container(t, o->work, o, r, p);
	}
	if (image_remove_tree(o->work, err ? NULL : p) && !err)
		err = -EIO;
	free(path);
	return err;
}

int rootfs_import(struct tree *t, const char *from, const struct rootfs_options *o, struct rootfs_result *r, struct fault *p)
{
	char *folder = xstrdup(from);
	struct stat st;
	int fd = -1, err;

	*r = (struct rootfs_result){0};
	for (size_t n = strlen(folder); n > 1 && folder[n - 1] == '/';)
		folder[--n] = '\0';
	fd = strcmp(from, "-") ? open(folder, O_RDONLY | O_CLOEXEC) : dup(0);
	if (fd < 0 || fstat(fd, &st) < 0)
		err = fault_errno(p, errno, "cannot open %s", from);
	else if (S_ISDIR(st.st_mode) && rootfs_is_container(folder))
		err = rootfs_import_container(t, folder, o, r, p);
	else if (S_ISDIR(st.st_mode))
		err = import_folder(t, strcmp(folder, "/") ? folder : "/.", o, r, p);
	else
		err = import_tar(t, fd, from, o, r, p);
	if (!err && !S_ISDIR(st.st_mode) && rootfs_is_container(t->path))
		err = import_unpacked_container(t, o, r, p);
	if (fd >= 0)
		close(fd);
	free(folder);
	return err;
}

void rootfs_result_free(struct rootfs_result *r)
{
	string_list_free(&r->entrypoint);
	string_list_free(&r->command);
	string_list_free(&r->environment);
	string_list_free(&r->ports);
	string_list_free(&r->volumes);
	free(r->working_directory);
	free(r->user);
	*r = (struct rootfs_result){0};
}

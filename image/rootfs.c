// SPDX-License-Identifier: Apache-2.0
// What kind of thing is it that shall be imported, and folders (see rootfs.h).
#include "image/rootfs.h"

#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <limits.h>
#include <linux/limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "image/encrypt.h"

static int by_name(const FTSENT **a, const FTSENT **b) { return strcmp((*a)->fts_name, (*b)->fts_name); }

void rootfs_keep_attributes(struct tree *t, const struct rootfs_entry *e, uint64_t inode, struct rootfs_result *r)
{
	struct file_attributes a = {0};

	r->owners += e->uid != 0 || e->gid != 0;
	r->set_id += e->kind == ROOTFS_FILE && e->mode & 06000;
	r->attributes += !!e->attributes;
	r->lost += e->lost;
	if (!t->attributes)
		return;
	if (e->attributes) {
		a = *e->attributes;
		*e->attributes = (struct file_attributes){0};
	}
	a.kind = e->kind == ROOTFS_FOLDER ? 'd' : e->kind == ROOTFS_SYMLINK ? 'l' : 'f';
	a.mode = e->kind == ROOTFS_SYMLINK ? 0777 : e->mode & 07777;
	a.uid = e->uid;
	a.gid = e->gid;
	attributes_set(t->attributes, inode, &a);
}

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

// Of a file system that has none: none.
static int read_xattrs(const FTSENT *e, struct rootfs_entry *entry, struct file_attributes *a, struct fault *p)
{
	char names[XATTR_LIST_MAX], value[XATTR_SIZE_MAX];
	ssize_t all = llistxattr(e->fts_accpath, names, sizeof(names));
	int kept = 0;

	for (const char *name = names; all > 0 && name < names + all && kept >= 0; name += strlen(name) + 1) {
		ssize_t n = lgetxattr(e->fts_accpath, name, value, sizeof(value));
		struct fault why;

		kept = n < 0 ? 0 : file_attributes_add(a, name, value, (size_t)n, &why);
		entry->lost |= !kept;
		if (kept < 0)
			fault_set(p, kept, "%s: %s", e->fts_path, why.text);
	}
	entry->attributes = a->xattr_count ? a : NULL;
	return kept < 0 ? kept : 0;
}

// A tree that a user unpacked belongs to that user, who stands for root then.
static int copy_attributes(struct tree *t, const FTSENT *e, const char *path, const struct stat *top, struct rootfs_result *r, struct fault *p)
{
	const struct stat *st = e->fts_statp;
	struct rootfs_entry entry = {
		.path = path, .kind = S_ISDIR(st->st_mode) ? ROOTFS_FOLDER : S_ISLNK(st->st_mode) ? ROOTFS_SYMLINK : ROOTFS_FILE, .mode = st->st_mode & 07777,
		.uid = st->st_uid == top->st_uid ? 0 : st->st_uid, .gid = st->st_gid == top->st_gid ? 0 : st->st_gid,
	};
	struct file_attributes a = {0};
	bool root = !e->fts_level;
	struct stat made;
	int err = root ? 0 : read_xattrs(e, &entry, &a, p);

	if (!err && (root ? fstat(t->fd, &made) < 0 : !tree_stat(t, path, &made)))
		err = fault_set(p, -EIO, "cannot look at %s%s", t->path, path);
	if (!err)
		rootfs_keep_attributes(t, &entry, made.st_ino, r);
	file_attributes_free(&a);
	return err;
}

static int copy_entry(struct tree *t, const FTSENT *e, const char *path, struct string_set *names, const struct stat *top, struct rootfs_result *r,
		      struct fault *p)
{
	char target[PATH_MAX];
	ssize_t n;
	int err;

	switch (e->fts_statp->st_mode & S_IFMT) {
	case S_IFDIR:
		err = tree_mkdirs(t, path, p);
		break;
	case S_IFREG:
		err = copy_file(t, e, path, names, p);
		break;
	case S_IFLNK:
		n = readlink(e->fts_accpath, target, sizeof(target) - 1);
		if (n < 0)
			return fault_errno(p, errno, "cannot read the link %s", e->fts_path);
		target[n] = '\0';
		err = tree_symlink(t, path, target, p);
		break;
	default:
		r->devices++;
		return 0;
	}
	return err ? err : copy_attributes(t, e, path, top, r, p);
}

static int import_folder(struct tree *t, const char *folder, const struct rootfs_options *o, struct rootfs_result *r, struct fault *p)
{
	static const char *const not_ours[] = {"/dev", "/proc", "/sys"};
	char *paths[] = {(char *)folder, NULL};
	FTS *fts = fts_open(paths, FTS_PHYSICAL | FTS_NOCHDIR | FTS_XDEV, by_name);
	struct string_set names = {0};
	size_t top = strlen(folder);
	struct stat own, first;
	FTSENT *e;
	int err = 0;

	if (!fts)
		return fault_errno(p, errno, "cannot read %s", folder);
	if (fstat(t->fd, &own) < 0)
		err = fault_errno(p, errno, "cannot look at %s", t->path);
	else if (stat(folder, &first) < 0)
		err = fault_errno(p, errno, "cannot look at %s", folder);
	while (!err && (errno = 0, e = fts_read(fts))) {
		const char *path = e->fts_path + top;

		if (e->fts_info == FTS_DP)
			continue;
		if (e->fts_info == FTS_DNR || e->fts_info == FTS_ERR || e->fts_info == FTS_NS) {
			err = fault_errno(p, e->fts_errno, "cannot read %s", e->fts_path);
			break;
		}
		if (!e->fts_level) {
			err = copy_attributes(t, e, "/", &first, r, p);
			continue;
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
			err = copy_entry(t, e, path, &names, &first, r, p);
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
	struct attributes_map *attributes = t->attributes;
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
		t->attributes = attributes; // begins anew: those were of the container image's own files
		if (attributes)
			attributes_free(attributes);
		err = rootfs_import_container(t, o->work, o, r, p);
	}
	if (image_remove_tree(o->work, err ? NULL : p) && !err)
		err = -EIO;
	free(path);
	return err;
}

int rootfs_import(struct tree *t, const char *from, const struct rootfs_options *o, struct rootfs_result *r, struct fault *p)
{
	struct attributes_map attributes = {0};
	char *folder = xstrdup(from);
	struct stat st;
	int fd = -1, err;

	t->attributes = o->all_root ? NULL : &attributes;
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
	t->attributes = NULL;
	if (!err)
		err = attributes_write(&attributes, t, p);
	attributes_free(&attributes);
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

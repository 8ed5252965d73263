// SPDX-License-Identifier: Apache-2.0
// The image/ folder being assembled (see tree.h). No locks: one process works on a project at a time.
#include "image/tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "image/attributes.h"

enum { MOST_LINKS = 40, MOST_DEPTH = 2048 };

static int open_in(int root, const char *path, int flags)
{
	struct open_how how = {.flags = (uint64_t)flags | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT};
	long fd = syscall(SYS_openat2, root, *path ? path : "/", &how, sizeof(how));

	return fd < 0 ? -errno : (int)fd;
}

int tree_open(struct tree *t, const char *path, struct fault *p)
{
	*t = (struct tree){.fd = -1};
	if (mkdir(path, 0755) < 0 && errno != EEXIST)
		return fault_errno(p, errno, "cannot make %s", path);
	t->fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (t->fd < 0)
		return fault_errno(p, errno, "cannot open %s", path);
	t->path = xstrdup(path);
	return 0;
}

void tree_close(struct tree *t)
{
	if (t->fd >= 0)
		close(t->fd);
	free(t->path);
	string_set_free(&t->folders);
	*t = (struct tree){.fd = -1};
}

// Opens the folder that holds `path`; *name is set to the last part.
static int open_parent(struct tree *t, const char *path, const char **name, struct fault *p)
{
	const char *slash = strrchr(path, '/');
	char *folder;
	int fd;

	*name = slash ? slash + 1 : path;
	folder = xstrndup(path, slash ? (size_t)(slash - path) : 0);
	fd = open_in(t->fd, folder, O_PATH | O_DIRECTORY);
	if (fd < 0)
		fault_errno(p, -fd, "cannot open the folder %s of %s", *folder ? folder : "/", t->path);
	free(folder);
	return fd;
}

static int make_one(struct tree *t, const char *folder, int depth, struct fault *p);

static int mkdirs(struct tree *t, const char *folder, int depth, struct fault *p)
{
	char *prefix;
	int err = 0;

	if (string_set_has(&t->folders, folder))
		return 0;
	prefix = xstrdup(folder);
	for (char *slash = prefix; !err && slash;) {
		slash = strchr(slash + 1, '/');
		if (slash)
			*slash = '\0';
		if (prefix[0] && strcmp(prefix, "/") != 0)
			err = make_one(t, prefix, depth, p);
		if (slash)
			*slash = '/';
	}
	if (!err)
		string_set_add(&t->folders, folder, NULL);
	free(prefix);
	return err;
}

// Makes one folder whose parents exist; where a dangling link stands, makes what it points to.
static int make_one(struct tree *t, const char *folder, int depth, struct fault *p)
{
	char target[4096], *inner;
	const char *name;
	int parent, fd, err = 0;
	ssize_t n;

	if (string_set_has(&t->folders, folder))
		return 0;
	fd = open_in(t->fd, folder, O_PATH | O_DIRECTORY);
	if (fd >= 0) {
		close(fd);
		string_set_add(&t->folders, folder, NULL);
		return 0;
	}
	if (fd != -ENOENT)
		return fault_errno(p, -fd, "cannot make the folder %s%s", t->path, folder);
	parent = open_parent(t, folder, &name, p);
	if (parent < 0)
		return parent;
	if (!mkdirat(parent, name, 0755)) {
		if (fchmodat(parent, name, 0755, 0) < 0)
			err = fault_errno(p, errno, "cannot set the mode of %s%s", t->path, folder);
		goto out;
	}
	if (errno != EEXIST || depth > MOST_LINKS) {
		err = fault_errno(p, errno, "cannot make the folder %s%s", t->path, folder);
		goto out;
	}
	n = readlinkat(parent, name, target, sizeof(target) - 1);
	if (n < 0) {
		err = fault_errno(p, errno, "cannot make the folder %s%s", t->path, folder);
		goto out;
	}
	target[n] = '\0';
	inner = target[0] == '/' ? xstrdup(target) : xasprintf("%.*s/%s", (int)(strlen(folder) - strlen(name) - 1), folder, target);
	err = mkdirs(t, inner, depth + 1, p);
	free(inner);
out:
	close(parent);
	return err;
}

int tree_mkdirs(struct tree *t, const char *folder, struct fault *p)
{
	return mkdirs(t, folder, 0, p);
}

static int make_parents(struct tree *t, const char *path, struct fault *p)
{
	char *folder = xstrdup(path), *slash = strrchr(folder, '/');
	int err = 0;

	if (slash && slash != folder) {
		*slash = '\0';
		err = tree_mkdirs(t, folder, p);
	}
	free(folder);
	return err;
}

int tree_symlink(struct tree *t, const char *path, const char *target, struct fault *p)
{
	char old[4096];
	const char *name;
	int parent, err = make_parents(t, path, p);
	ssize_t n;

	if (err)
		return err;
	parent = open_parent(t, path, &name, p);
	if (parent < 0)
		return parent;
	n = readlinkat(parent, name, old, sizeof(old));
	if (n >= 0 && (size_t)n == strlen(target) && !memcmp(old, target, (size_t)n))
		goto out;
	if (n >= 0)
		unlinkat(parent, name, 0);
	else if (errno == EINVAL) {
		err = fault_set(p, -EEXIST, "%s%s is in the way: on this machine it is a link to %s; move it there",
				  t->path, path, target);
		goto out;
	}
	if (symlinkat(target, parent, name) < 0)
		err = fault_errno(p, errno, "cannot make the link %s%s", t->path, path);
out:
	close(parent);
	return err;
}

// The recorded time of the source in a .pyc's header (PEP 552): 4 bytes at 8, unless its flags (at 4) say "by hash".
static void set_pyc_time(uint8_t *bytes, size_t len)
{
	const uint32_t time = IMAGE_TIME; // little-endian, as the machine

	if (len >= 16 && !bytes[4] && !bytes[5] && !bytes[6] && !bytes[7])
		memcpy(bytes + 8, &time, sizeof(time));
}

static int copy_bytes(int from, int to, bool pyc)
{
	static uint8_t buffer[1 << 20];
	bool first = true;
	ssize_t n;

	while ((n = read(from, buffer, sizeof(buffer))) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (first && pyc)
			set_pyc_time(buffer, (size_t)n);
		first = false;
		for (ssize_t done = 0; done < n;) {
			ssize_t w = write(to, buffer + done, (size_t)(n - done));

			if (w < 0 && errno != EINTR)
				return -errno;
			done += w > 0 ? w : 0;
		}
	}
	return 0;
}

int tree_copy_file(struct tree *t, const char *host_path, const char *path, struct fault *p)
{
	int from, parent = -1, to = -1, err;
	struct stat st, have;
	char temporary[64];
	const char *name;
	mode_t mode;

	from = open(host_path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (from < 0)
		return fault_errno(p, errno, "cannot read %s", host_path);
	if (fstat(from, &st) < 0 || !S_ISREG(st.st_mode)) {
		err = fault_set(p, -EINVAL, "%s is not a regular file", host_path);
		goto out;
	}
	mode = st.st_mode & 0111 ? 0755 : 0644;
	err = make_parents(t, path, p);
	if (err)
		goto out;
	parent = open_parent(t, path, &name, p);
	if (parent < 0) {
		err = parent;
		goto out;
	}
	if (!fstatat(parent, name, &have, AT_SYMLINK_NOFOLLOW)) {
		if (S_ISREG(have.st_mode) && have.st_size == st.st_size && (have.st_mode & 07777) == mode &&
		    have.st_mtim.tv_sec == st.st_mtim.tv_sec && have.st_mtim.tv_nsec == st.st_mtim.tv_nsec)
			goto out;
		if (S_ISDIR(have.st_mode)) {
			err = fault_set(p, -EISDIR, "%s%s is a folder, and %s is a file", t->path, path, host_path);
			goto out;
		}
	}
	snprintf(temporary, sizeof(temporary), ".coffer-copy.%d", (int)getpid());
	to = openat(parent, temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
	if (to < 0 && errno == EEXIST) {
		unlinkat(parent, temporary, 0);
		to = openat(parent, temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
	}
	if (to < 0)
		err = -errno;
	if (!err)
		err = copy_bytes(from, to, ends_with(path, ".pyc"));
	if (!err && fchmod(to, mode) < 0)
		err = -errno;
	if (!err && futimens(to, (struct timespec[]){{.tv_nsec = UTIME_OMIT}, st.st_mtim}) < 0)
		err = -errno;
	if (!err && renameat(parent, temporary, parent, name) < 0)
		err = -errno;
	if (err) {
		fault_errno(p, -err, "cannot copy %s to %s%s", host_path, t->path, path);
		unlinkat(parent, temporary, 0);
	}
out:
	if (to >= 0)
		close(to);
	if (parent >= 0)
		close(parent);
	close(from);
	return err;
}

int tree_write_file(struct tree *t, const char *path, const void *bytes, size_t len, bool program, struct fault *p)
{
	mode_t mode = program ? 0755 : 0644;
	int parent, fd, err;
	const char *name;
	char temporary[64];

	err = make_parents(t, path, p);
	if (err)
		return err;
	parent = open_parent(t, path, &name, p);
	if (parent < 0)
		return parent;
	fd = openat(parent, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd >= 0) {
		struct text have = {0};
		char buffer[65536];
		struct stat st;
		ssize_t n;
		bool same;

		// Left alone when it is the same, so that nothing looks changed.
		while (have.len <= len && (n = read(fd, buffer, sizeof(buffer))) > 0)
			text_add(&have, buffer, (size_t)n);
		same = !fstat(fd, &st) && (st.st_mode & 07777) == mode && have.len == len &&
		       (!len || !memcmp(have.data, bytes, len));
		text_free(&have);
		close(fd);
		if (same)
			goto out;
	}
	snprintf(temporary, sizeof(temporary), ".coffer-write.%d", (int)getpid());
	unlinkat(parent, temporary, 0);
	fd = openat(parent, temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
	if (fd < 0) {
		err = fault_errno(p, errno, "cannot write %s%s", t->path, path);
		goto out;
	}
	for (size_t done = 0; !err && done < len;) {
		ssize_t n = write(fd, (const char *)bytes + done, len - done);

		if (n < 0 && errno != EINTR)
			err = -errno;
		done += n > 0 ? (size_t)n : 0;
	}
	if (!err && fchmod(fd, mode) < 0)
		err = -errno;
	if (close(fd) < 0 && !err)
		err = -errno;
	if (!err && renameat(parent, temporary, parent, name) < 0)
		err = -errno;
	if (err) {
		fault_errno(p, -err, "cannot write %s%s", t->path, path);
		unlinkat(parent, temporary, 0);
	}
out:
	close(parent);
	return err;
}

int tree_remove(struct tree *t, const char *path, struct fault *p)
{
	const char *name;
	int parent = open_parent(t, path, &name, p), err = 0;

	if (parent < 0)
		return parent == -ENOENT ? 0 : parent;
	if (unlinkat(parent, name, 0) < 0 && errno != ENOENT)
		if ((errno != EISDIR && errno != EPERM) || unlinkat(parent, name, AT_REMOVEDIR) < 0)
			err = fault_errno(p, errno, "cannot remove %s%s", t->path, path);
	close(parent);
	return err;
}

static int remove_below(struct tree *t, int parent, const char *name, int depth)
{
	struct dirent *entry;
	int fd, err = 0;
	struct stat st;
	DIR *d;

	// Its number may soon be another file's.
	if (t->attributes && !fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) && (S_ISDIR(st.st_mode) || st.st_nlink == 1))
		attributes_drop(t->attributes, st.st_ino);
	if (!unlinkat(parent, name, 0) || errno == ENOENT)
		return 0;
	if (errno != EISDIR && errno != EPERM)
		return -errno;
	if (depth > MOST_DEPTH)
		return -ELOOP;
	fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	d = fd < 0 ? NULL : fdopendir(fd);
	if (!d) {
		err = -errno;
		if (fd >= 0)
			close(fd);
		return err;
	}
	while (!err && (entry = readdir(d)))
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			err = remove_below(t, fd, entry->d_name, depth + 1);
	closedir(d);
	if (!err && unlinkat(parent, name, AT_REMOVEDIR) < 0)
		err = -errno;
	return err;
}

int tree_remove_all(struct tree *t, const char *path, struct fault *p)
{
	const char *name;
	int parent = open_parent(t, path, &name, p), err;

	if (parent == -ENOENT || parent == -ENOTDIR)
		return 0;
	if (parent < 0)
		return parent;
	err = remove_below(t, parent, name, 0);
	close(parent);
	string_set_free(&t->folders);
	return err ? fault_errno(p, -err, "cannot remove %s%s", t->path, path) : 0;
}

int tree_parent(struct tree *t, const char *path, const char **name, struct fault *p)
{
	int err = make_parents(t, path, p);

	return err ? err : open_parent(t, path, name, p);
}

bool tree_stat(struct tree *t, const char *path, struct stat *st)
{
	struct fault ignored;
	const char *name;
	int parent = open_parent(t, path, &name, &ignored);
	bool found;

	if (parent < 0)
		return false;
	found = !fstatat(parent, *name ? name : ".", st, AT_SYMLINK_NOFOLLOW);
	close(parent);
	return found;
}

int tree_open_file(struct tree *t, const char *path)
{
	return open_in(t->fd, path, O_RDONLY | O_NONBLOCK);
}

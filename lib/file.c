// SPDX-License-Identifier: Apache-2.0
// See file.h. Touches the file system only; no locks.
#include "lib/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static int read_open(int fd, const char *path, size_t limit, char **out, size_t *len, struct fault *f)
{
	size_t size = 4096 < limit + 1 ? 4096 : limit + 1, n = 0;
	char *buf = malloc(size + 1);
	int err = 0;
	if (!buf)
		return fault_set(f, -ENOMEM, "out of memory");
	for (;;) {
		ssize_t got = read(fd, buf + n, size - n);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0) {
			err = fault_errno(f, errno, "cannot read %s", path);
			goto out;
		}
		if (got == 0)
			break;
		n += (size_t)got;
		if (n > limit) {
			err = fault_set(f, -EFBIG, "%s is larger than %zu bytes", path, limit);
			goto out;
		}
		if (n == size) {
			// The old copy may hold a secret: grow by hand and wipe it.
			size_t bigger = 2 * size < limit + 1 ? 2 * size : limit + 1;
			char *p = malloc(bigger + 1);
			if (!p) {
				err = fault_set(f, -ENOMEM, "out of memory");
				goto out;
			}
			memcpy(p, buf, n);
			free_wiped(buf, n);
			buf = p;
			size = bigger;
		}
	}
	buf[n] = '\0';
	*out = buf;
	*len = n;
	return 0;
out:
	free_wiped(buf, n);
	return err;
}

static int file_read_checked(const char *path, size_t limit, bool private, char **out, size_t *len, struct fault *f)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (fd < 0)
		return fault_errno(f, errno, "cannot open %s", path);
	struct stat st;
	int err;
	if (fstat(fd, &st) < 0)
		err = fault_errno(f, errno, "cannot read %s", path);
	else if (S_ISDIR(st.st_mode))
		err = fault_errno(f, EISDIR, "cannot read %s", path);
	else if (private && (st.st_mode & 077))
		err = fault_set(f, -EPERM, "%s holds a secret, but others may read it (mode %03o): chmod 600 it", path,
				st.st_mode & 0777);
	else if (private && st.st_uid != geteuid())
		err = fault_set(f, -EPERM, "%s holds a secret, but belongs to another user", path);
	else
		err = read_open(fd, path, limit, out, len, f);
	close(fd);
	return err;
}

int file_read(const char *path, size_t limit, char **out, size_t *len, struct fault *f)
{
	return file_read_checked(path, limit, false, out, len, f);
}

int file_read_private(const char *path, size_t limit, char **out, size_t *len, struct fault *f)
{
	return file_read_checked(path, limit, true, out, len, f);
}

static int write_all(int fd, const char *b, size_t len)
{
	while (len) {
		ssize_t n = write(fd, b, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		b += n;
		len -= (size_t)n;
	}
	return 0;
}

// A rename lasts when its folder was written, too.
static int sync_folder(const char *path)
{
	char dir[PATH_MAX];
	const char *slash = strrchr(path, '/');
	snprintf(dir, sizeof dir, "%.*s", slash ? (int)(slash - path) + 1 : 1, slash ? path : ".");
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), err = 0;
	if (fd < 0)
		return errno == EACCES ? 0 : -errno;	// a folder that may be written to, not read
	if (fsync(fd) < 0 && errno != EINVAL && errno != EROFS)	// some file systems have nothing to write
		err = -errno;
	close(fd);
	return err;
}

int file_sync_folder(const char *path, struct fault *f)
{
	int err = sync_folder(path);
	return err ? fault_errno(f, -err, "cannot sync the folder of %s", path) : 0;
}

int file_write(const char *path, const void *bytes, size_t len, mode_t mode, bool fresh, struct fault *f)
{
	char tmp[PATH_MAX];
	if (snprintf(tmp, sizeof tmp, "%s.XXXXXX", path) >= (int)sizeof tmp)
		return fault_set(f, -ENAMETOOLONG, "the path %s is too long", path);
	int fd = mkostemp(tmp, O_CLOEXEC);
	if (fd < 0)
		return fault_errno(f, errno, "cannot make a file beside %s", path);
	int err = write_all(fd, bytes, len);
	if (!err && (fchmod(fd, mode) < 0 || fsync(fd) < 0))
		err = -errno;
	if (close(fd) < 0 && !err)
		err = -errno;
	if (!err && (fresh ? link(tmp, path) : rename(tmp, path)) < 0)
		err = -errno;
	if (err || fresh)
		unlink(tmp);
	if (!err)
		err = sync_folder(path);
	return err ? fault_errno(f, -err, "cannot write %s", path) : 0;
}

int file_lock(const char *path, int *fd, struct fault *f)
{
	char lock[PATH_MAX];
	if (snprintf(lock, sizeof lock, "%s.lock", path) >= (int)sizeof lock)
		return fault_set(f, -ENAMETOOLONG, "the path %s is too long", path);
	*fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (*fd < 0)
		return fault_errno(f, errno, "cannot make %s", lock);
	while (flock(*fd, LOCK_EX) < 0) {
		if (errno == EINTR)
			continue;
		int err = errno;
		close(*fd);
		*fd = -1;
		return fault_errno(f, err, "cannot lock %s", lock);
	}
	return 0;
}

int file_make_private_dir(const char *path, struct fault *f)
{
	char p[PATH_MAX];
	size_t len = strlen(path);
	if (!len || len >= sizeof p)
		return fault_set(f, -ENAMETOOLONG, "the folder's path is empty or too long");
	memcpy(p, path, len + 1);
	for (size_t i = 1; i <= len; i++) {
		if (p[i] != '/' && p[i] != '\0')
			continue;
		char c = p[i];
		p[i] = '\0';
		if (mkdir(p, 0700) < 0 && errno != EEXIST)
			return fault_errno(f, errno, "cannot make the folder %s", p);
		p[i] = c;
	}
	struct stat st;
	if (stat(path, &st) < 0)
		return fault_errno(f, errno, "cannot use the folder %s", path);
	if (!S_ISDIR(st.st_mode))
		return fault_errno(f, ENOTDIR, "cannot use %s", path);
	if (st.st_mode & 022)
		return fault_set(f, -EPERM, "the folder %s holds secrets, but others may write to it: chmod 700 it",
				 path);
	return 0;
}

int file_data_dir(char *out, size_t size, const char *variable, const char *name)
{
	const char *v = getenv(variable);
	int n;
	if (v && *v)
		n = snprintf(out, size, "%s", v);
	else if ((v = getenv("XDG_DATA_HOME")) && *v)
		n = snprintf(out, size, "%s/coffer/%s", v, name);
	else if ((v = getenv("HOME")) && *v)
		n = snprintf(out, size, "%s/.local/share/coffer/%s", v, name);
	else
		return -ENOENT;
	return n < 0 || (size_t)n >= size ? -ENAMETOOLONG : 0;
}

void free_wiped(void *p, size_t len)
{
	if (p)
		explicit_bzero(p, len);
	free(p);
}

// SPDX-License-Identifier: Apache-2.0
// Tar files, read with libarchive (see rootfs.h). The library is loaded when it is wanted: it brings many others, and most commands never ask.
#include <archive.h>
#include <archive_entry.h>
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <locale.h>
#include <openssl/evp.h>
#include <string.h>
#include <sys/stat.h>

#include "image/rootfs.h"

enum { BLOCK_BYTES = 1 << 17, HEADERS_BYTES = 1 << 14 };

static struct {
	bool loaded;
#define CALL(name) typeof(&archive_##name) name
	CALL(read_new);
	CALL(read_free);
	CALL(read_support_filter_gzip);
	CALL(read_support_filter_xz);
	CALL(read_support_filter_zstd);
	CALL(read_support_filter_bzip2);
	CALL(read_support_format_tar);
	CALL(read_support_format_raw);
	CALL(read_open_fd);
	CALL(read_open_memory);
	CALL(read_next_header);
	CALL(read_data_block);
	CALL(error_string);
	CALL(entry_pathname);
	CALL(entry_hardlink);
	CALL(entry_symlink);
	CALL(entry_filetype);
	CALL(entry_perm);
	CALL(entry_size);
	CALL(entry_uid);
	CALL(entry_gid);
	CALL(entry_mtime);
	CALL(entry_xattr_reset);
	CALL(entry_xattr_next);
	CALL(entry_acl_types);
#undef CALL
} ar;

static bool load(void)
{
	void *lib;

	if (ar.loaded)
		return true;
	lib = dlopen("libarchive.so.13", RTLD_NOW | RTLD_LOCAL);
	if (!lib)
		return false;
#define GET(name) (ar.name = (typeof(ar.name))dlsym(lib, "archive_" #name))
	ar.loaded = GET(read_new) && GET(read_free) && GET(read_support_filter_gzip) && GET(read_support_filter_xz) && GET(read_support_filter_zstd) &&
		    GET(read_support_filter_bzip2) && GET(read_support_format_tar) && GET(read_support_format_raw) && GET(read_open_fd) && GET(read_open_memory) &&
		    GET(read_next_header) && GET(read_data_block) && GET(error_string) && GET(entry_pathname) && GET(entry_hardlink) &&
		    GET(entry_symlink) && GET(entry_filetype) && GET(entry_perm) && GET(entry_size) && GET(entry_uid) && GET(entry_gid) &&
		    GET(entry_mtime) && GET(entry_xattr_reset) && GET(entry_xattr_next) && GET(entry_acl_types);
#undef GET
	return ar.loaded;
}

struct rootfs_data {
	struct archive *a;
	const char *path;
};

int rootfs_data_next(struct rootfs_data *d, const void **bytes, size_t *len, int64_t *offset, struct fault *p)
{
	int r = ar.read_data_block(d->a, bytes, len, offset);

	if (r == ARCHIVE_EOF)
		return 0;
	if (r != ARCHIVE_OK)
		return fault_set(p, -EBADMSG, "the content of %s is damaged: %s", d->path, ar.error_string(d->a));
	return 1;
}

int rootfs_clean_path(const char *name, char *out, struct fault *p)
{
	size_t used = 0;

	while (*name) {
		size_t n = strcspn(name, "/");

		if (n == 2 && name[0] == '.' && name[1] == '.')
			return fault_set(p, -EINVAL, "a name with '..' in it: %.200s", name);
		if (n && !(n == 1 && name[0] == '.')) {
			if (n > NAME_MAX || used + n + 2 > PATH_MAX)
				return fault_set(p, -ENAMETOOLONG, "a name that is too long: %.100s...", name);
			out[used++] = '/';
			memcpy(out + used, name, n);
			used += n;
		}
		name += n + (name[n] == '/');
	}
	if (!used)
		out[used++] = '/';
	out[used] = '\0';
	return 0;
}

// A number that is an owner's: 32 bits, of which the last means nobody.
static int get_owner(int64_t v, const char *path, uint32_t *out, struct fault *p)
{
	if (v < 0 || v >= UINT32_MAX)
		return fault_set(p, -EINVAL, "%s belongs to the user or group %lld, which no system has", path, (long long)v);
	*out = (uint32_t)v;
	return 0;
}

static int get_attributes(struct archive_entry *entry, struct rootfs_entry *e, struct file_attributes *a, struct fault *p)
{
	const char *name;
	const void *value;
	size_t len;
	int kept = 0;

	e->lost = ar.entry_acl_types(entry) & (ARCHIVE_ENTRY_ACL_TYPE_POSIX1E | ARCHIVE_ENTRY_ACL_TYPE_NFS4);
	ar.entry_xattr_reset(entry);
	while (kept >= 0 && ar.entry_xattr_next(entry, &name, &value, &len) == ARCHIVE_OK) {
		struct fault why;

		kept = name ? file_attributes_add(a, name, value, len, &why) : 0;
		e->lost |= !kept;
		if (kept < 0)
			fault_set(p, kept, "%s: %s", e->path, why.text);
	}
	e->attributes = a->xattr_count ? a : NULL;
	return kept < 0 ? kept : 0;
}

static int visit_entry(struct archive *a, struct archive_entry *entry, rootfs_visit *visit, void *ctx, struct fault *p)
{
	const char *name = ar.entry_pathname(entry), *hard = ar.entry_hardlink(entry), *target = NULL;
	char path[PATH_MAX], hard_path[PATH_MAX];
	struct rootfs_data data = {a, path};
	struct rootfs_entry e = {.path = path};
	struct file_attributes attributes = {0};
	int err;

	if (!name || !*name)
		return fault_set(p, -EINVAL, "an entry whose name is empty or cannot be read");
	err = rootfs_clean_path(name, path, p);
	if (err)
		return err;
	if (hard) {
		err = rootfs_clean_path(hard, hard_path, p);
		if (err)
			return err;
		e.kind = ROOTFS_HARDLINK;
		e.target = hard_path;
	} else {
		switch (ar.entry_filetype(entry)) {
		case AE_IFREG: e.kind = ROOTFS_FILE; break;
		case AE_IFDIR: e.kind = ROOTFS_FOLDER; break;
		case AE_IFLNK:
			e.kind = ROOTFS_SYMLINK;
			target = ar.entry_symlink(entry);
			if (!target || !*target || strlen(target) >= PATH_MAX)
				return fault_set(p, -EINVAL, "the link %s leads nowhere", path);
			e.target = target;
			break;
		default: e.kind = ROOTFS_OTHER;
		}
	}
	if (ar.entry_size(entry) < 0)
		return fault_set(p, -EINVAL, "%s has a negative size", path);
	e.mode = ar.entry_perm(entry) & 07777; // a header may say more
	e.size = e.kind == ROOTFS_FILE ? (uint64_t)ar.entry_size(entry) : 0;
	e.mtime = ar.entry_mtime(entry);
	err = get_owner(ar.entry_uid(entry), path, &e.uid, p);
	if (!err)
		err = get_owner(ar.entry_gid(entry), path, &e.gid, p);
	if (!err)
		err = get_attributes(entry, &e, &attributes, p);
	if (!err)
		err = visit(ctx, &e, &data, p);
	file_attributes_free(&attributes);
	return err;
}

static int walk(struct archive *a, const char *name, rootfs_visit *visit, void *ctx, struct fault *p)
{
	struct archive_entry *entry;
	int err = 0, r;

	while (!err && (r = ar.read_next_header(a, &entry)) != ARCHIVE_EOF) {
		if (r != ARCHIVE_OK && r != ARCHIVE_WARN)
			return fault_set(p, -EBADMSG, "%s is not a tar file, or damaged: %s", name, ar.error_string(a) ? ar.error_string(a) : "no reason given");
		err = visit_entry(a, entry, visit, ctx, p);
	}
	return err;
}

// format: of what is in the compressed file.
static struct archive *begin(int (*const *format)(struct archive *), struct fault *p)
{
	struct archive *a;

	if (!load()) {
		fault_set(p, -ENOPKG, "tar files are read with libarchive, which is not on this machine: apt-get install libarchive13");
		return NULL;
	}
	a = ar.read_new();
	if (!a) {
		fault_set(p, -ENOMEM, "out of memory");
		return NULL;
	}
	ar.read_support_filter_gzip(a);
	ar.read_support_filter_xz(a);
	ar.read_support_filter_zstd(a);
	ar.read_support_filter_bzip2(a);
	(*format)(a);
	return a;
}

int rootfs_tar_walk(int fd, const char *name, rootfs_visit *visit, void *ctx, struct fault *p)
{
	// Names are UTF-8 in newer archives, which libarchive gives in the locale's characters.
	locale_t utf8 = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0), old = utf8 ? uselocale(utf8) : (locale_t)0;
	struct archive *a = begin(&ar.read_support_format_tar, p);
	int err = a ? 0 : -ENOPKG;

	if (a && ar.read_open_fd(a, fd, BLOCK_BYTES) != ARCHIVE_OK)
		err = fault_set(p, -EBADMSG, "%s is not a tar file, or damaged: %s", name, ar.error_string(a));
	if (!err)
		err = walk(a, name, visit, ctx, p);
	if (a)
		ar.read_free(a);
	if (utf8) {
		uselocale(old);
		freelocale(utf8);
	}
	return err;
}

int rootfs_tar_digest(int fd, const char *name, const EVP_MD *kind, const struct rootfs_limits *limits, unsigned char *out, struct fault *p)
{
	struct archive *a = begin(&ar.read_support_format_raw, p);
	EVP_MD_CTX *digest = EVP_MD_CTX_new();
	bool good = digest && EVP_DigestInit_ex(digest, kind, NULL);
	struct archive_entry *entry;
	int err = a ? 0 : -ENOPKG, r;
	const void *bytes;
	uint64_t most;
	int64_t offset;
	size_t len;

	// Beside their content files take room for their headers: names, attributes, padding.
	if (__builtin_mul_overflow(limits->files, (uint64_t)HEADERS_BYTES, &most) || __builtin_add_overflow(most, limits->bytes, &most))
		most = UINT64_MAX;
	if (!err && (ar.read_open_fd(a, fd, BLOCK_BYTES) != ARCHIVE_OK || ar.read_next_header(a, &entry) != ARCHIVE_OK))
		err = fault_set(p, -EBADMSG, "%s cannot be read: %s", name, ar.error_string(a));
	while (!err && good && (r = ar.read_data_block(a, &bytes, &len, &offset)) != ARCHIVE_EOF) {
		if (r != ARCHIVE_OK)
			err = fault_set(p, -EBADMSG, "%s is damaged: %s", name, ar.error_string(a));
		else if (len > most)
			err = fault_set(p, -E2BIG, "%s holds more than --max-size and --max-files let in", name);
		else
			good = EVP_DigestUpdate(digest, bytes, len);
		most -= err ? 0 : len;
	}
	if (!err && !(good && EVP_DigestFinal_ex(digest, out, NULL)))
		err = fault_set(p, -EIO, "cannot compute the digest of %s", name);
	EVP_MD_CTX_free(digest);
	if (a)
		ar.read_free(a);
	return err;
}

int rootfs_tar_walk_memory(const void *bytes, size_t len, rootfs_visit *visit, void *ctx, struct fault *p)
{
	struct archive *a = begin(&ar.read_support_format_tar, p);
	int err = a ? 0 : -ENOPKG;

	if (a && ar.read_open_memory(a, bytes, len) != ARCHIVE_OK)
		err = fault_set(p, -EBADMSG, "%s", ar.error_string(a));
	if (!err)
		err = walk(a, "the text", visit, ctx, p);
	if (a)
		ar.read_free(a);
	return err;
}

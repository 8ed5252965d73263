// SPDX-License-Identifier: Apache-2.0
// Container images in a folder (see rootfs.h): every blob's digest is checked before anything of it is used; then the layers are applied one
// upon the other, of each first what it removes, then what it adds.
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "image/oci.h"
#include "image/rootfs.h"

enum { MOST_INDEXES = 4 };

struct container {
	const char *folder;
	int fd;
};

bool rootfs_is_container(const char *folder)
{
	char *index = xasprintf("%s/index.json", folder), *layout = xasprintf("%s/oci-layout", folder), *saved = xasprintf("%s/manifest.json", folder);
	char *usr = xasprintf("%s/usr", folder), *bin = xasprintf("%s/bin", folder);
	bool is = (!access(index, F_OK) && !access(layout, F_OK)) || (!access(saved, F_OK) && access(usr, F_OK) && access(bin, F_OK));

	free(index);
	free(layout);
	free(saved);
	free(usr);
	free(bin);
	return is;
}

// Files of the layout are plain files in it: links, which docker makes for layers that occur twice, stay inside.
static int open_inner(const struct container *c, const char *path, struct stat *st, struct fault *p)
{
	struct open_how how = {.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK, .resolve = RESOLVE_BENEATH};
	int fd = (int)syscall(SYS_openat2, c->fd, path, &how, sizeof(how));

	if (fd < 0)
		return fault_errno(p, errno, "cannot open %.200s of the image %s", path, c->folder);
	if (fstat(fd, st) < 0 || !S_ISREG(st->st_mode)) {
		close(fd);
		return fault_set(p, -EINVAL, "%.200s of the image %s is not a file", path, c->folder);
	}
	return fd;
}

static int read_inner(const struct container *c, const char *path, struct text *out, struct fault *p)
{
	char buffer[65536];
	struct stat st;
	ssize_t n = 0;
	int fd = open_inner(c, path, &st, p);

	if (fd < 0)
		return fd;
	text_puts(out, "");
	while (out->len <= OCI_MAX_JSON && (n = read(fd, buffer, sizeof(buffer))) > 0)
		text_add(out, buffer, (size_t)n);
	close(fd);
	if (n < 0)
		return fault_errno(p, errno, "cannot read %.200s of the image %s", path, c->folder);
	return out->len > OCI_MAX_JSON ? fault_set(p, -EFBIG, "%.200s of the image %s is too large", path, c->folder) : 0;
}

// "sha256:<hex>" of what a file, or some bytes, hold.
static int check_digest(const char *want, int fd, const void *bytes, size_t len, const char *what, struct fault *p)
{
	const EVP_MD *kind = starts_with(want, "sha512:") ? EVP_sha512() : EVP_sha256();
	EVP_MD_CTX *digest = EVP_MD_CTX_new();
	bool good = digest && EVP_DigestInit_ex(digest, kind, NULL);
	unsigned char *buffer = xmalloc(1 << 20), sum[EVP_MAX_MD_SIZE];
	char hex[2 * EVP_MAX_MD_SIZE + 1];
	unsigned int size = 0;
	ssize_t n = 0;

	if (fd >= 0)
		while (good && (n = read(fd, buffer, 1 << 20)) > 0)
			good = EVP_DigestUpdate(digest, buffer, (size_t)n);
	else
		good = good && EVP_DigestUpdate(digest, bytes, len);
	good = good && !n && EVP_DigestFinal_ex(digest, sum, &size);
	EVP_MD_CTX_free(digest);
	free(buffer);
	if (!good)
		return fault_set(p, -EIO, "cannot read %s", what);
	if (strcmp(hex_text(hex, sum, size), want + 7))
		return fault_set(p, -EBADMSG, "%s has not the digest %.80s that names it", what, want);
	return fd >= 0 && lseek(fd, 0, SEEK_SET) < 0 ? fault_errno(p, errno, "cannot read %s again", what) : 0;
}

// A layer is what the image's configuration names by the digest of its tar file, however that is compressed: the one that holds is this.
static int check_layer(const char *diff_id, int fd, const char *name, const struct rootfs_options *o, struct fault *p)
{
	const EVP_MD *kind = starts_with(diff_id, "sha512:") ? EVP_sha512() : EVP_sha256();
	unsigned char sum[EVP_MAX_MD_SIZE];
	char hex[2 * EVP_MAX_MD_SIZE + 1];
	int err = rootfs_tar_digest(fd, name, kind, &o->limits, sum, p);

	if (!err && strcmp(hex_text(hex, sum, (size_t)EVP_MD_get_size(kind)), diff_id + 7))
		err = fault_set(p, -EBADMSG, "%s is not the layer %.80s that the image's configuration names", name, diff_id);
	if (!err && lseek(fd, 0, SEEK_SET) < 0)
		err = fault_errno(p, errno, "cannot read %s again", name);
	return err;
}

static char *blob_path(const struct oci_blob *b) { return xasprintf("blobs/%.6s/%s", b->digest, b->digest + 7); }

// A blob that is JSON, checked.
static int read_blob(const struct container *c, const struct oci_blob *b, struct text *out, struct fault *p)
{
	char *path = blob_path(b);
	int err = read_inner(c, path, out, p);

	if (!err && out->len != b->size)
		err = fault_set(p, -EBADMSG, "%s has %zu bytes, not the %llu that name it", path, out->len, (unsigned long long)b->size);
	if (!err)
		err = check_digest(b->digest, -1, out->data, out->len, path, p);
	free(path);
	return err;
}

// Two passes: of what a layer hides, nothing is its own.
static int apply_layer(struct tree *t, int fd, const char *name, const struct rootfs_options *o, struct rootfs_result *r, struct fault *p)
{
	struct rootfs_writer w = {.tree = t, .limits = o->limits, .result = r, .layer = true};
	int err = rootfs_tar_walk(fd, name, rootfs_whiteout, &w, p);

	if (!err && lseek(fd, 0, SEEK_SET) < 0)
		err = fault_errno(p, errno, "cannot read %s again", name);
	if (!err)
		err = rootfs_tar_walk(fd, name, rootfs_write, &w, p);
	r->layers += !err;
	return err;
}

static int take_config(const struct text *json, const char *platform, struct oci_config *config, struct rootfs_result *r, struct fault *p)
{
	int err = oci_read_config(json->data, json->len, config, p);
	size_t n = strcspn(platform, "/"), m;

	if (err)
		return err;
	m = strcspn(platform + n + 1, "/");
	if ((config->os && (strlen(config->os) != n || strncmp(config->os, platform, n))) ||
	    (config->architecture && (strlen(config->architecture) != m || strncmp(config->architecture, platform + n + 1, m))))
		return fault_set(p, -ENOENT, "the image is for %.40s/%.40s, not for %s", config->os ? config->os : "?",
				 config->architecture ? config->architecture : "?", platform);
	// They change owners: what stays in `config` is freed with it.
	r->entrypoint = config->entrypoint;
	r->command = config->command;
	r->environment = config->environment;
	r->ports = config->ports;
	r->volumes = config->volumes;
	r->working_directory = config->working_directory;
	r->user = config->user;
	config->entrypoint = config->command = config->environment = config->ports = config->volumes = (struct string_list){0};
	config->working_directory = config->user = NULL;
	return 0;
}

static int import_oci(struct tree *t, const struct container *c, const struct rootfs_options *o, struct rootfs_result *r, struct fault *p)
{
	struct oci_manifest manifest = {0};
	struct oci_config config = {0};
	struct text json = {0};
	struct oci_blob b = {0};
	const char *tag = o->tag;
	bool is_index = true;
	int err = read_inner(c, "index.json", &json, p);

	for (int depth = 0; !err && is_index; depth++) {
		if (depth == MOST_INDEXES) {
			err = fault_set(p, -ELOOP, "indexes in indexes in the image %s", c->folder);
			break;
		}
		err = oci_read_index(json.data, json.len, tag, o->platform, &b, &is_index, p);
		tag = NULL; // names are the outermost index's
		text_free(&json);
		json = (struct text){0};
		if (!err)
			err = read_blob(c, &b, &json, p);
	}
	if (!err) {
		snprintf(r->digest, sizeof(r->digest), "%.79s", b.digest);
		err = oci_read_manifest(json.data, json.len, &manifest, p);
	}
	text_free(&json);
	json = (struct text){0};
	if (!err)
		err = read_blob(c, &manifest.config, &json, p);
	if (!err)
		err = take_config(&json, o->platform, &config, r, p);
	if (!err && config.diff_ids.count != manifest.layer_count)
		err = fault_set(p, -EBADMSG, "the manifest has %zu layers, the image's configuration %zu", manifest.layer_count, config.diff_ids.count);
	for (size_t i = 0; i < manifest.layer_count && !err; i++) {
		char *path = blob_path(&manifest.layers[i]);
		struct stat st;
		int fd = open_inner(c, path, &st, p);

		err = fd < 0 ? fd : 0;
		if (!err && (uint64_t)st.st_size != manifest.layers[i].size)
			err = fault_set(p, -EBADMSG, "%s has %lld bytes, not the %llu that name it", path, (long long)st.st_size,
					(unsigned long long)manifest.layers[i].size);
		if (!err)
			err = check_digest(manifest.layers[i].digest, fd, NULL, 0, path, p);
		if (!err)
			err = check_layer(config.diff_ids.items[i], fd, path, o, p);
		if (!err)
			err = apply_layer(t, fd, path, o, r, p);
		if (fd >= 0)
			close(fd);
		free(path);
	}
	oci_manifest_free(&manifest);
	oci_config_free(&config);
	text_free(&json);
	return err;
}

// The older form: the configuration's file is called by its digest, and has the digests of the layers' tar files.
static int import_saved(struct tree *t, const struct container *c, const struct rootfs_options *o, struct rootfs_result *r, struct fault *p)
{
	struct oci_saved saved = {0};
	struct oci_config config = {0};
	struct text json = {0};
	int err = read_inner(c, "manifest.json", &json, p);

	if (!err)
		err = oci_read_saved(json.data, json.len, o->tag, &saved, p);
	text_free(&json);
	json = (struct text){0};
	if (!err)
		err = read_inner(c, saved.config, &json, p);
	if (!err) {
		const char *slash = strrchr(saved.config, '/'), *name = slash ? slash + 1 : saved.config;

		if (strspn(name, "0123456789abcdef") != 64 || (name[64] && strcmp(name + 64, ".json")))
			err = fault_set(p, -EINVAL, "the configuration %.100s is not called by its digest", saved.config);
		else
			snprintf(r->digest, sizeof(r->digest), "sha256:%.64s", name);
	}
	if (!err)
		err = check_digest(r->digest, -1, json.data, json.len, saved.config, p);
	if (!err)
		err = take_config(&json, o->platform, &config, r, p);
	if (!err && config.diff_ids.count != saved.layers.count)
		err = fault_set(p, -EBADMSG, "the archive has %zu layers, the image's configuration %zu", saved.layers.count, config.diff_ids.count);
	for (size_t i = 0; i < saved.layers.count && !err; i++) {
		struct stat st;
		int fd = open_inner(c, saved.layers.items[i], &st, p);

		err = fd < 0 ? fd : check_layer(config.diff_ids.items[i], fd, saved.layers.items[i], o, p);
		if (!err)
			err = apply_layer(t, fd, saved.layers.items[i], o, r, p);
		if (fd >= 0)
			close(fd);
	}
	oci_saved_free(&saved);
	oci_config_free(&config);
	text_free(&json);
	return err;
}

int rootfs_import_container(struct tree *t, const char *folder, const struct rootfs_options *o, struct rootfs_result *r, struct fault *p)
{
	struct container c = {.folder = folder, .fd = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC)};
	char *index = xasprintf("%s/index.json", folder), *layout = xasprintf("%s/oci-layout", folder);
	int err;

	if (c.fd < 0)
		err = fault_errno(p, errno, "cannot open %s", folder);
	else if (!access(index, F_OK) && !access(layout, F_OK))
		err = import_oci(t, &c, o, r, p);
	else
		err = import_saved(t, &c, o, r, p);
	if (c.fd >= 0)
		close(c.fd);
	free(index);
	free(layout);
	return err;
}

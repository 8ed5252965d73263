// SPDX-License-Identifier: Apache-2.0
// `coffer import`: a whole root file system becomes a project's image/ folder. It comes as a folder, a tar file (plain, gzip, xz, zstd, bzip2),
// an OCI image layout (a folder or a tar of one) or what `docker save` writes. All of it is untrusted: nothing is written outside the folder,
// whatever names and links it has, and sizes and numbers are limited. Compressed or not, tar files are read in one pass with constant memory.
//
// Owners, modes and extended attributes go into the tree's list (attributes.h). What an image cannot keep (image.md) is counted.
#ifndef COFFER_IMAGE_ROOTFS_H
#define COFFER_IMAGE_ROOTFS_H

#include <openssl/types.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "image/attributes.h"
#include "image/text.h"
#include "image/tree.h"
#include "lib/fault.h"

struct rootfs_limits {
	uint64_t bytes, files;
	uint64_t attributes;		// bytes of extended attributes; 0: ATTRIBUTES_MAX_ALL
};

#define ROOTFS_MAX_BYTES (64ull << 30)
#define ROOTFS_MAX_FILES 4000000ull

struct rootfs_options {
	struct rootfs_limits limits;
	const char *platform;		// of an OCI index: "linux/amd64"
	const char *tag;		// the image of that name; NULL: the only one there is
	bool all_root;			// all files root's, of the modes 0755 and 0644, without extended attributes
	const char *work;		// a folder that can be made and removed, on the file system of image/
};

struct rootfs_result {
	uint64_t files, bytes;
	uint64_t attribute_bytes;			// of extended attributes, part of `bytes`
	uint64_t owners, set_id, attributes;		// entries that belong to others than root, have set-id bits, extended attributes that are kept
	uint64_t lost, devices;				// entries that had extended attributes, or were something, that an image does not keep
	uint64_t replaced;				// entries that came twice in one tar: the last one counts
	unsigned int layers;				// 0: no container image
	char digest[80];				// of a container image's manifest, or of its configuration (docker save)
	// of a container image's configuration
	struct string_list entrypoint, command, environment, ports, volumes;
	char *working_directory, *user;
};

// Fills the empty folder `t` from the file or folder `from`. Errors: -errno with a message; `t` is then in an unknown state.
// -EINVAL, -EBADMSG: hostile or corrupt; -E2BIG: beyond the limits; -ENOENT: no image for the platform or of the name.
int rootfs_import(struct tree *t, const char *from, const struct rootfs_options *o, struct rootfs_result *r, struct fault *p);
void rootfs_result_free(struct rootfs_result *r);

// ---- parts, for each other and for tests ----

enum rootfs_kind { ROOTFS_FILE, ROOTFS_FOLDER, ROOTFS_SYMLINK, ROOTFS_HARDLINK, ROOTFS_OTHER };

struct rootfs_entry {
	const char *path;		// "/usr/bin/x": clean, without empty, "." and ".." parts; "/" is the root itself
	enum rootfs_kind kind;
	const char *target;		// of a link; of a hard link as clean as `path`
	unsigned int mode;
	uint64_t size;
	uint32_t uid, gid;
	struct file_attributes *attributes; // its extended attributes; whoever is called may take them over. NULL: none
	bool lost;			// has some that an image does not keep
	int64_t mtime;
};

struct rootfs_data;			// the content of the entry under the reader
// The next piece of content. 1: there is one, 0: the end, -errno with a message.
int rootfs_data_next(struct rootfs_data *d, const void **bytes, size_t *len, int64_t *offset, struct fault *p);

typedef int rootfs_visit(void *ctx, const struct rootfs_entry *e, struct rootfs_data *d, struct fault *p);

// rootfs_tar.c: calls `visit` for each entry of a tar file, from its descriptor or from memory. -ENOPKG: libarchive is not on this machine.
int rootfs_tar_walk(int fd, const char *name, rootfs_visit *visit, void *ctx, struct fault *p);
int rootfs_tar_walk_memory(const void *bytes, size_t len, rootfs_visit *visit, void *ctx, struct fault *p);
// The digest of a layer's tar file as it was before it was compressed. `out`: as long as `kind`'s digests. -E2BIG: longer than the limits can need.
int rootfs_tar_digest(int fd, const char *name, const EVP_MD *kind, const struct rootfs_limits *limits, unsigned char *out, struct fault *p);
// Makes "/a/b" of "./a//b/", in place of `out` (of PATH_MAX bytes). -EINVAL: it has ".." parts; -ENAMETOOLONG.
int rootfs_clean_path(const char *name, char *out, struct fault *p);

// rootfs.c: the owner, mode and extended attributes of what an entry made, into the tree's list. `inode`: its number there.
void rootfs_keep_attributes(struct tree *t, const struct rootfs_entry *e, uint64_t inode, struct rootfs_result *r);

// rootfs_write.c: an entry into the tree. `ctx` is a struct rootfs_writer.
struct rootfs_writer {
	struct tree *tree;
	struct rootfs_limits limits;
	struct rootfs_result *result;
	bool layer;			// names beginning with .wh. are whiteouts, and are not written
};
int rootfs_write(void *ctx, const struct rootfs_entry *e, struct rootfs_data *d, struct fault *p);
// Removes what a layer's whiteout names; other entries are passed over. Called for all of a layer before its files are written.
int rootfs_whiteout(void *ctx, const struct rootfs_entry *e, struct rootfs_data *d, struct fault *p);

// rootfs_oci.c: an OCI layout or an unpacked `docker save`, in a folder.
bool rootfs_is_container(const char *folder);
int rootfs_import_container(struct tree *t, const char *folder, const struct rootfs_options *o, struct rootfs_result *r, struct fault *p);

#endif

// SPDX-License-Identifier: Apache-2.0
// Fuzzes the reader of tar files behind `coffer import`: whatever libarchive makes of the bytes, paths that reach a writer are clean, and owners,
// modes and extended attributes within their bounds.
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "image/rootfs.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const char *path)
{
	if (path[0] != '/' || strlen(path) >= PATH_MAX)
		abort();
	for (const char *at = path; (at = strchr(at, '/')); at++)
		if ((at[1] == '/' || !at[1]) && path[1])
			abort();
		else if (at[1] == '.' && (!at[2] || at[2] == '/' || (at[2] == '.' && (!at[3] || at[3] == '/'))))
			abort();
}

static int visit(void *ctx, const struct rootfs_entry *e, struct rootfs_data *d, struct fault *p)
{
	uint64_t *room = ctx;
	const void *bytes;
	int64_t offset;
	size_t len;
	int err = 0;

	check(e->path);
	if (e->uid == UINT32_MAX || e->gid == UINT32_MAX || e->mode > 07777)
		abort();
	if (e->attributes && (!e->attributes->xattr_count || e->attributes->xattr_bytes > ATTRIBUTES_MAX_XATTRS))
		abort();
	for (size_t i = 0; e->attributes && i < e->attributes->xattr_count; i++) // sorted, of kinds that an image keeps
		if (!strchr(e->attributes->xattrs[i].name, '.') || (i && strcmp(e->attributes->xattrs[i - 1].name, e->attributes->xattrs[i].name) >= 0))
			abort();
	if (e->kind == ROOTFS_HARDLINK)
		check(e->target);
	while (e->kind == ROOTFS_FILE && (err = rootfs_data_next(d, &bytes, &len, &offset, p)) > 0)
		if (len > *room)
			return fault_set(p, -1, "enough");
		else
			*room -= len;
	return err;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint64_t room = 1 << 20;
	struct fault f;

	rootfs_tar_walk_memory(data, size, visit, &room, &f);
	return 0;
}

// SPDX-License-Identifier: Apache-2.0
// An encrypted root image: mount type "coffer-image", data a struct coffer_image_key. The blocks behind the measured image,
// verified and decrypted (verity.c), as a read-only EROFS under a memory layer: the same as the ordinary root. Mounted by
// init-attest, once it has the key; the caller makes it the root. Locks: none of its own.
#include "hostcall/mountkey.h"
#include "kernel/fs/verity.h"

int image_fs_init(void);

static int image_mount(const char *source, u32 flags, const void *data, size_t len, struct super **out)
{
	struct coffer_image_key k;
	struct verity *blocks = NULL;
	struct super *image = NULL;
	int r = -EINVAL;
	(void)source;
	(void)flags;
	if (len < sizeof(k))
		return r;
	memcpy(&k, data, sizeof(k));
	if (k.magic == COFFER_IMAGE_KEY_MAGIC && k.version == COFFER_MOUNT_KEY_VERSION)
		r = verity_open(k.blocks, k.root, k.key, &blocks);
	explicit_bzero(&k, sizeof(k));
	if (r)
		return r;
	r = erofs_mount(blocks, &image);
	if (r) {
		verity_close(blocks);
		return r == -EINVAL ? -EKEYREJECTED : r; // verified, but no file system: not this key's
	}
	r = overlay_mount(image, out);
	super_put(image); // the layer above has its own reference
	return r;
}

int image_fs_init(void) { return fs_register("coffer-image", image_mount); }

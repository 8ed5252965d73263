// SPDX-License-Identifier: Apache-2.0
// The on-disk parsers of sealed volumes, with the cipher taken away (fuzz/seal/plain_gcm.c): the input is a list of
// changes, each 3 bytes of position, 1 byte of length and kind, then the bytes, made to a small valid volume. Mounting,
// reading, checking and changing it must not crash, hang or run out of bounds, whatever an authentic block says.
#include "tests/seal/mem.h"

static struct mem image;

static void populate(struct seal_vol *v)
{
	struct seal_inode *root = root_of(v), *d, *i;
	static u8 data[300000];
	seal_create(v, root, "dir", 3, 0040755, 0, 0, 0, &d);
	for (u32 k = 0; k < 150; k++) {
		char name[64];
		u32 len = (u32)sprintf(name, "a file with a longer name %u", k);
		seal_create(v, d, name, len, 0100600, 0, 0, 0, &i);
		seal_write(v, i, 0, data, k * 7);
		seal_iput(v, i);
	}
	seal_create(v, root, "big", 3, 0100600, 0, 0, 0, &i);
	seal_write(v, i, 0, data, sizeof data);
	seal_setxattr(v, i, "user.a", 6, "value", 5, 0);
	seal_iput(v, i);
	seal_symlink(v, root, "link", 4, "dir/x", 5, 0, 0, NULL);
	seal_tmpfile(v, 0600, 0, 0, &i);
	seal_sync(v); // the nameless file stays in the hidden directory
	seal_iput(v, d);
	seal_iput(v, root);
}

static void make_image(void)
{
	struct seal_vol *v;
	struct mem m;
	if (new_volume(&m, 16u << 20, &v))
		abort();
	populate(v);
	mem_copy(&image, &m);
	seal_unmount(v);
	mem_free(&m);
}

static bool entry(void *ctx, const char *name, u32 len, u64 ino, u32 type, u64 cookie)
{
	u64 *sum = ctx;
	(void)type, (void)cookie;
	for (u32 k = 0; k < len; k++)
		*sum += (u8)name[k] + ino;
	return true;
}

static void use(struct seal_vol *v, bool write)
{
	static u8 buf[400000];
	static const char *const names[] = {"dir", "big", "link", "a file with a longer name 17"};
	struct seal_fsck_stats st;
	u64 sum = 0;
	struct seal_inode *root = root_of(v), *dir = root, *i;
	seal_fsck(v, NULL, NULL, &st);
	for (u32 k = 0; k < 4 && root; k++) {
		if (seal_lookup(v, dir, names[k], (u32)strlen(names[k]), &i))
			continue;
		seal_read(v, i, 0, buf, sizeof buf);
		seal_readlink(v, i, (char *)buf, 4095);
		seal_listxattr(v, i, (char *)buf, sizeof buf);
		seal_getxattr(v, i, "user.a", 6, buf, sizeof buf);
		seal_readdir(v, i, 0, entry, &sum);
		seal_seek(v, i, 0, true);
		if (write) {
			seal_write(v, i, 5000, buf, 9000);
			seal_truncate(v, i, 70000);
			seal_punch(v, i, 100, 30000);
			seal_setxattr(v, i, "user.b", 6, "x", 1, 0);
			seal_create(v, i, "new", 3, 0100600, 0, 0, 0, NULL);
			seal_rename(v, root, names[k], (u32)strlen(names[k]), root, "moved", 5, 0);
			seal_unlink(v, root, "moved", 5);
		}
		seal_iput(v, i);
	}
	if (root)
		seal_iput(v, root);
	seal_sync(v);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t n)
{
	struct mem m;
	struct seal_vol *v;
	if (!image.data)
		make_image();
	mem_copy(&m, &image);
	while (n > 4) {
		u64 off = (data[0] | (u64)data[1] << 8 | (u64)data[2] << 16) % m.size;
		size_t k = data[3] % 16u + 1;
		data += 4;
		n -= 4;
		k = SEAL_MIN(SEAL_MIN(k, n), m.size - off);
		memcpy(m.data + off, data, k);
		data += k;
		n -= k;
	}
	for (u32 write = 0; write < 2; write++)
		if (!seal_mount(&m.io, &test_env, test_key, NULL, write ? 0 : SEAL_RDONLY, &v, NULL)) {
			use(v, write);
			seal_unmount(v);
		}
	mem_free(&m);
	return 0;
}

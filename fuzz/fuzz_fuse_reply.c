// SPDX-License-Identifier: Apache-2.0
// Fuzzes the checks of what a FUSE daemon replies: headers, attributes, entries, directories, lists of names. What passes must keep the
// promises that the callers in kernel/fs/fuse_*.c rely on. It includes the kernel source, which needs nothing of a kernel.
#include "kernel/fs/fuse_reply.c"

__attribute__((noreturn)) void abort(void);
void *malloc(size_t n);
void free(void *p);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void directory(const uint8_t *buf, u32 n)
{
	struct fuse_dirent d;
	const char *name;
	u32 at = 0, before = 0;

	while (fuse_next_dirent(buf, n, &at, &d, &name) > 0) {
		if (at <= before || at > n || !d.namelen || d.namelen > 255 || (const uint8_t *)name + d.namelen > buf + at)
			abort();
		for (u32 k = 0; k < d.namelen; k++)
			if (!name[k] || name[k] == '/')
				abort();
		before = at;
	}
}

static void names(const char *text, u32 n)
{
	if (!fuse_names_ok(text, n))
		return;
	for (u32 at = 0; at < n;) {
		u32 len = (u32)strnlen(text + at, n - at);
		if (!len || len > 255 || at + len >= n)
			abort();
		at += len + 1;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuse_out_header h;
	struct fuse_entry_out e;
	u32 limits[2];
	uint8_t *copy;

	if (size < sizeof(h) + sizeof(limits))
		return 0;
	memcpy(&h, data, sizeof(h));
	memcpy(limits, data + sizeof(h), sizeof(limits));
	limits[1] %= 70000;
	if (fuse_header_ok(&h, size)) {
		if (h.len != size || h.error > 0 || h.error <= -512)
			abort();
		if (fuse_length_ok(&h, limits[0], limits[1]) && !h.error && (h.len - sizeof(h) > limits[1] || h.len - sizeof(h) < limits[0]))
			abort();
		if (fuse_length_ok(&h, limits[0], limits[1]) && h.error && h.len != sizeof(h))
			abort();
	}
	// exactly as long as the data, so that a read behind it is seen
	data += sizeof(h);
	size -= sizeof(h);
	copy = malloc(size);
	memcpy(copy, data, size);
	directory(copy, (u32)size);
	names((const char *)copy, (u32)size);
	if (fuse_target_ok((const char *)copy, (u32)size) && memchr(copy, 0, size))
		abort();
	if (size >= sizeof(e)) {
		memcpy(&e, copy, sizeof(e));
		if (fuse_entry_ok(&e) && (e.nodeid <= 1 || !(e.attr.mode & 0170000) || e.attr.size > FUSE_SIZE_MAX))
			abort();
	}
	fuse_notice_ok(size, limits[0], limits[1]);
	free(copy);
	return 0;
}

// SPDX-License-Identifier: Apache-2.0
// Checks of what a FUSE daemon says: see fuse_reply.h. Pure functions, no locks.
#include "kernel/fs/fuse_reply.h"
#include "kernel/include/kstring.h"
#include "kernel/include/uapi.h"

#define NAME_MOST 255u
#define SEC 1000000000u

bool fuse_header_ok(const struct fuse_out_header *h, u64 got)
{
	// codes of the kernel's own (512 and more) are not for daemons
	return got >= sizeof(*h) && h->len == got && h->error <= 0 && h->error > -512;
}

bool fuse_length_ok(const struct fuse_out_header *h, u32 out_min, u32 out_max)
{
	u32 n = h->len - (u32)sizeof(*h);

	return h->error ? !n : n >= out_min && n <= out_max;
}

bool fuse_attr_ok(const struct fuse_attr *a)
{
	switch (a->mode & S_IFMT) {
	case S_IFREG: case S_IFDIR: case S_IFLNK: case S_IFCHR: case S_IFBLK: case S_IFIFO: case S_IFSOCK:
		break;
	default:
		return false;
	}
	return !(a->mode & ~(u32)(S_IFMT | 07777)) && a->size <= FUSE_SIZE_MAX && a->blocks <= FUSE_SIZE_MAX && a->atimensec < SEC &&
	       a->mtimensec < SEC && a->ctimensec < SEC;
}

bool fuse_entry_ok(const struct fuse_entry_out *e) { return e->nodeid && e->nodeid != FUSE_ROOT_ID && fuse_attr_ok(&e->attr); }

int fuse_next_dirent(const u8 *buf, u32 n, u32 *at, struct fuse_dirent *head, const char **name)
{
	u32 left = n - *at, size;

	if (left < FUSE_NAME_OFFSET)
		return left ? -EIO : 0;
	memcpy(head, buf + *at, FUSE_NAME_OFFSET);
	if (!head->namelen || head->namelen > NAME_MOST)
		return -EIO;
	size = (u32)FUSE_DIRENT_SIZE(head);
	if (size > left)
		return -EIO;
	*name = (const char *)buf + *at + FUSE_NAME_OFFSET;
	if (memchr(*name, '/', head->namelen) || memchr(*name, 0, head->namelen))
		return -EIO;
	*at += size;
	return 1;
}

bool fuse_target_ok(const char *text, u32 n) { return n && !memchr(text, 0, n); }

bool fuse_names_ok(const char *text, u32 n)
{
	for (u32 at = 0, start = 0; at < n; at++)
		if (!text[at]) {
			if (at == start || at - start > NAME_MOST)
				return false;
			start = at + 1;
		}
	return !n || !text[n - 1];
}

bool fuse_notice_ok(u64 got, u64 n, u64 name) { return got == n + (name ? name + 1 : 0) && name <= NAME_MOST; }

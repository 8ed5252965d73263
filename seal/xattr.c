// SPDX-License-Identifier: Apache-2.0
// Extended attributes: all of a file's in one block, entries one after another (struct d_xattr).
#include "seal/vol.h"

static u32 entry_size(u32 len, u32 vlen) { return ((u32)sizeof(struct d_xattr) + len + vlen + 3) & ~3u; }

// The entry at *at, or NULL at the end; *at moves behind it.
static struct d_xattr *entry_next(const u8 *data, u32 *at)
{
	if (*at + sizeof(struct d_xattr) > SEAL_BLOCK)
		return NULL;
	struct d_xattr *x = (struct d_xattr *)(data + *at);
	u32 n = entry_size(x->len, x->vlen);
	if (!x->len || *at + n > SEAL_BLOCK)
		return NULL;
	*at += n;
	return x;
}

static struct d_xattr *entry_find(const u8 *data, const char *name, u32 len, u32 *end)
{
	struct d_xattr *x, *found = NULL;
	for (*end = 0; (x = entry_next(data, end));)
		if (x->len == len && !memcmp(x->bytes, name, len))
			found = x;
	return found;
}

static int xattr_node(struct seal_vol *v, struct seal_inode *i, u32 mode, struct node **n)
{
	return sv_node_get(v, &i->tree, LEVEL_XATTR, 0, mode, n);
}

s64 seal_getxattr(struct seal_vol *v, struct seal_inode *i, const char *name, u32 len, void *buf, size_t n)
{
	struct node *b;
	u32 end;
	vol_lock(v);
	s64 r = xattr_node(v, i, NODE_READ, &b);
	if (!r) {
		struct d_xattr *x = b ? entry_find(b->data, name, len, &end) : NULL;
		r = !x ? -ENODATA : n && n < x->vlen ? -ERANGE : x->vlen;
		if (r > 0 && n)
			memcpy(buf, x->bytes + x->len, x->vlen);
		sv_node_put(v, b);
	}
	vol_unlock(v);
	return r;
}

s64 seal_listxattr(struct seal_vol *v, struct seal_inode *i, char *buf, size_t n)
{
	struct node *b;
	struct d_xattr *x;
	size_t sum = 0;
	vol_lock(v);
	s64 r = xattr_node(v, i, NODE_READ, &b);
	for (u32 at = 0; !r && b && (x = entry_next(b->data, &at)); sum += x->len + 1u) {
		if (n && n < sum + x->len + 1)
			r = -ERANGE;
		else if (n) {
			memcpy(buf + sum, x->bytes, x->len);
			buf[sum + x->len] = 0;
		}
	}
	sv_node_put(v, b);
	vol_unlock(v);
	return r ? r : (s64)sum;
}

// The new value, or none (val NULL: remove).
static int xattr_set(struct seal_vol *v, struct seal_inode *i, const char *name, u32 len, const void *val, size_t n,
		     int flags)
{
	struct node *b;
	u32 end = 0;
	if (!len || len > 255)
		return -ERANGE;
	if (n > SEAL_BLOCK)
		return -E2BIG;
	int r = sv_op_begin(v, 12, !val);
	if (!r)
		r = xattr_node(v, i, NODE_READ, &b);
	if (r)
		return r;
	struct d_xattr *x = b ? entry_find(b->data, name, len, &end) : NULL;
	u32 old = x ? entry_size(x->len, x->vlen) : 0;
	if (!x && (!val || flags & SEAL_XATTR_REPLACE))
		r = -ENODATA;
	else if (x && flags & SEAL_XATTR_CREATE)
		r = -EEXIST;
	else if (val && end - old + entry_size(len, (u32)n) > SEAL_BLOCK)
		r = -ENOSPC;
	sv_node_put(v, b);
	if (!r)
		r = sv_inode_dirty(v, i);
	if (!r)
		r = xattr_node(v, i, NODE_WRITE, &b);
	if (r)
		return r;
	x = entry_find(b->data, name, len, &end);
	if (x) {
		u32 at = (u32)((u8 *)x - b->data);
		memmove(b->data + at, b->data + at + old, end - at - old);
		end -= old;
		memset(b->data + end, 0, old);
	}
	if (val) {
		x = (struct d_xattr *)(b->data + end);
		x->len = (u16)len;
		x->vlen = (u16)n;
		memcpy(x->bytes, name, len);
		if (n)
			memcpy(x->bytes + len, val, n);
	}
	sv_node_put(v, b);
	sv_inode_touch(v, i, false);
	return 0;
}

int seal_setxattr(struct seal_vol *v, struct seal_inode *i, const char *name, u32 len, const void *val, size_t n,
		  int flags)
{
	vol_lock(v);
	int r = xattr_set(v, i, name, len, val ? val : "", n, flags);
	vol_unlock(v);
	return r;
}

int seal_removexattr(struct seal_vol *v, struct seal_inode *i, const char *name, u32 len)
{
	vol_lock(v);
	int r = xattr_set(v, i, name, len, NULL, 0, 0);
	vol_unlock(v);
	return r;
}

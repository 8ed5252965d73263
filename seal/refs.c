// SPDX-License-Identifier: Apache-2.0
// Blocks with more than one reference. Snapshots and clones share blocks; a sparse table by block number counts the
// references beyond the first. Counting is lazy: a pointer counts for the block it names, not for what lies below it.
// Only when a shared pointer block is about to change do its children get one more reference each, since two blocks
// name them from then on; and when a shared block loses a reference nothing below it changes. So making a snapshot costs
// a handful of counters, whatever its size, and a volume without sharing pays for one test of v->nshared.
//
// The table is a tree of its own that is never shared; it is written by the same commit as what it counts.
// Volume's lock held.
#include "seal/vol.h"

s64 sv_refs_extra(struct seal_vol *v, u64 addr)
{
	struct node *b;
	if (!v->nshared)
		return 0;
	int r = sv_node_get(v, &v->refs, 0, addr / REFS_PER_BLOCK, NODE_READ, &b);
	if (r || !b)
		return r;
	u32 n = ((u32 *)b->data)[addr % REFS_PER_BLOCK];
	sv_node_put(v, b);
	return n;
}

u64 sv_refs_reserve(const struct seal_vol *v)
{
	u64 leaves = v->hiwater / REFS_PER_BLOCK + 1;
	return leaves + leaves / 64 + 8;
}

int sv_refs_add(struct seal_vol *v, u64 addr, s64 d)
{
	struct node *b;
	u64 leaf = addr / REFS_PER_BLOCK;
	int r = sv_tree_grow(v, &v->refs, leaf);
	if (!r)
		r = sv_node_get(v, &v->refs, 0, leaf, NODE_WRITE, &b);
	if (r)
		return r;
	u32 *n = (u32 *)b->data + addr % REFS_PER_BLOCK;
	s64 now = (s64)*n + d;
	if (now < 0)
		r = vol_fault(v, SEAL_ECORRUPT, SEAL_FAULT_FORMAT, &v->refs, 0, leaf, addr);
	else if (now > 0xffffffffl)
		r = -EMLINK;
	else {
		v->nshared += !*n && now;
		v->nshared -= *n && !now;
		*n = (u32)now;
	}
	sv_node_put(v, b);
	return r;
}

static int child_add(struct seal_vol *v, const struct d_ptr *p)
{
	if (ptr_reserved(p))
		v->reserved++; // there are two such places now
	if (!ptr_addr(p))
		return 0;
	int r = vol_check_ptr(v, p);
	return r ? vol_fault(v, r, SEAL_FAULT_POINTER, &v->refs, 0, 0, ptr_addr(p)) : sv_refs_add(v, ptr_addr(p), 1);
}

int sv_refs_children(struct seal_vol *v, u32 cls, u32 level, const void *data)
{
	int r = 0;
	if (level && level != LEVEL_XATTR) {
		const struct d_ptr *p = data;
		for (u32 k = 0; k < FANOUT && !r; k++)
			r = child_add(v, &p[k]);
	} else if (cls == CLASS_ITAB) {
		const struct d_inode *d = data;
		for (u32 k = 0; k < INODES_PER_BLOCK && !r; k++, d++) {
			const struct d_ptr *p = (const struct d_ptr *)d->body;
			for (u32 j = 0; j < NROOT && d->mode && !d->is_inline && !r; j++)
				r = child_add(v, &p[j]);
			if (d->mode && !r)
				r = child_add(v, &d->xattr);
		}
	}
	return r;
}

int sv_node_unshare(struct seal_vol *v, struct node *n, struct d_ptr *slot)
{
	u64 addr = ptr_addr(slot);
	s64 extra = sv_refs_extra(v, addr);
	if (extra <= 0)
		return (int)extra;
	int r = sv_refs_children(v, n->tree->cls, n->level, n->data);
	if (!r)
		r = sv_refs_add(v, addr, -1);
	if (r)
		return vol_abort(v, r);
	if (v->moving)
		sv_reloc_unshared(v, n->tree, n->level, n->index, addr, extra > 1);
	memset(slot, 0, sizeof *slot); // until the node is written
	return 0;
}

// SPDX-License-Identifier: Apache-2.0
// A mount that only reads has to go through the log as well, and what comes of it is written out as a commit would, but into
// memory: reads find it there, and everything else in the volume's file. Written only while the volume is being opened;
// reading takes no lock.
#include "seal/vol.h"

struct overlay {
	struct seal_io below;
	struct seal_vol *v;
	struct over { // by block number, open addressing
		u64 addr; // 0: the place is free
		u8 *data;
	} *place;
	u64 n, cap; // cap: a power of two, at most half full
	u64 end;
};

static struct over *find(struct over *place, u64 cap, u64 addr)
{
	u64 k = addr * 0x9e3779b97f4a7c15ul >> 20;
	while (place[k & (cap - 1)].addr && place[k & (cap - 1)].addr != addr)
		k++;
	return &place[k & (cap - 1)];
}

static int reserve(struct overlay *o)
{
	if ((o->n + 1) * 2 <= o->cap)
		return 0;
	u64 cap = o->cap ? o->cap * 2 : 256;
	struct over *p = vol_alloc(o->v, cap * sizeof *p);
	if (!p)
		return -ENOMEM;
	memset(p, 0, cap * sizeof *p);
	for (u64 k = 0; k < o->cap; k++)
		if (o->place[k].addr)
			*find(p, cap, o->place[k].addr) = o->place[k];
	vol_free(o->v, o->place, o->cap * sizeof *p);
	o->place = p;
	o->cap = cap;
	return 0;
}

static int over_write(void *ctx, u64 off, const void *buf, size_t len)
{
	struct overlay *o = ctx;
	for (size_t at = 0; at < len; at += SEAL_BLOCK) {
		u64 addr = (off + at) / SEAL_BLOCK;
		int r = reserve(o);
		if (r)
			return r;
		struct over *p = find(o->place, o->cap, addr);
		if (!p->data && !(p->data = vol_alloc(o->v, SEAL_BLOCK)))
			return -ENOMEM;
		o->n += !p->addr;
		p->addr = addr;
		memcpy(p->data, (const u8 *)buf + at, SEAL_BLOCK);
		o->end = SEAL_MAX(o->end, addr + 1);
	}
	return 0;
}

static int over_read(void *ctx, u64 off, void *buf, size_t len)
{
	struct overlay *o = ctx;
	bool any = false;
	for (size_t at = 0; at < len && !any && o->n; at += SEAL_BLOCK)
		any = find(o->place, o->cap, (off + at) / SEAL_BLOCK)->data;
	if (!any)
		return o->below.read(o->below.ctx, off, buf, len);
	for (size_t at = 0; at < len; at += SEAL_BLOCK) {
		const struct over *p = find(o->place, o->cap, (off + at) / SEAL_BLOCK);
		int r = 0;
		if (p->data)
			memcpy((u8 *)buf + at, p->data, SEAL_BLOCK);
		else
			r = o->below.read(o->below.ctx, off + at, (u8 *)buf + at, SEAL_BLOCK);
		if (r)
			return r;
	}
	return 0;
}

static int over_flush(void *ctx)
{
	(void)ctx;
	return 0;
}

static s64 over_size(void *ctx)
{
	struct overlay *o = ctx;
	s64 size = o->below.size(o->below.ctx);
	return size < 0 ? size : SEAL_MAX(size, (s64)(o->end * SEAL_BLOCK));
}

int sv_overlay_begin(struct seal_vol *v)
{
	struct overlay *o = vol_alloc(v, sizeof *o);
	if (!o)
		return -ENOMEM;
	memset(o, 0, sizeof *o);
	o->below = v->io;
	o->v = v;
	v->overlay = o;
	v->io = (struct seal_io){.ctx = o, .read = over_read, .write = over_write, .flush = over_flush, .size = over_size};
	return 0;
}

void sv_overlay_end(struct seal_vol *v)
{
	struct overlay *o = v->overlay;
	if (!o)
		return;
	v->io = o->below;
	for (u64 k = 0; k < o->cap; k++)
		vol_free(v, o->place[k].data, SEAL_BLOCK);
	vol_free(v, o->place, o->cap * sizeof *o->place);
	vol_free(v, o, sizeof *o);
	v->overlay = NULL;
}

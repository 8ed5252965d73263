// SPDX-License-Identifier: Apache-2.0
// What is known of pointer blocks that have been gone through, by the pointer that names them: a shared block is then gone through
// once, however many name it, and its numbers count once for each of them. A pointer never stands for two contents (no nonce is used
// twice), so what is noted stays true as long as nothing is cached that differs from what is stored: the caller asks only for blocks
// that are clean with all that is below them. Volume's lock held.
#include "seal/vol.h"

static u64 place(const struct memo *m, const struct d_ptr *p, u32 level)
{
	return ((ptr_addr(p) * NLEVEL + level) ^ m->seed) * 0x9e3779b97f4a7c15ul >> 20;
}

struct memo_entry *sv_memo_find(const struct memo *m, const struct d_ptr *p, u32 level)
{
	for (u64 k = place(m, p, level); m->cap && m->e[k & (m->cap - 1)].used; k++) {
		struct memo_entry *e = &m->e[k & (m->cap - 1)];
		if (e->level == level && !memcmp(&e->ptr, p, sizeof *p))
			return e;
	}
	return NULL;
}

static void put(struct memo *m, const struct memo_entry *e)
{
	u64 k = place(m, &e->ptr, e->level);
	while (m->e[k & (m->cap - 1)].used)
		k++;
	m->e[k & (m->cap - 1)] = *e;
	m->n++;
}

static int grow(struct seal_vol *v, struct memo *m)
{
	struct memo bigger = {.cap = m->cap ? m->cap * 2 : 64, .seed = m->seed};
	int r = m->cap ? 0 : v->env.random(v->env.ctx, &bigger.seed, sizeof bigger.seed); // who wrote the volume does not choose the places
	if (r)
		return r;
	bigger.e = vol_alloc(v, bigger.cap * sizeof *bigger.e);
	if (!bigger.e)
		return -ENOMEM;
	memset(bigger.e, 0, bigger.cap * sizeof *bigger.e);
	for (u64 k = 0; k < m->cap; k++)
		if (m->e[k].used)
			put(&bigger, &m->e[k]);
	sv_memo_end(v, m);
	*m = bigger;
	return 0;
}

int sv_memo_add(struct seal_vol *v, struct memo *m, const struct d_ptr *p, u32 level, u64 blocks, u32 bad)
{
	int r = m->n * 2 >= m->cap ? grow(v, m) : 0;
	if (!r)
		put(m, &(struct memo_entry){.ptr = *p, .blocks = blocks, .bad = bad, .level = (u8)level, .used = true});
	return r;
}

void sv_memo_end(struct seal_vol *v, struct memo *m)
{
	vol_free(v, m->e, m->cap * sizeof *m->e);
	*m = (struct memo){0};
}

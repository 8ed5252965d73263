// SPDX-License-Identifier: Apache-2.0
// See cache.h. Sets of four by a few bytes of the signature: who sends certificates chooses these, but pushes out only verdicts about certificates that were
// accepted, and that costs a peer a verification, never its connection.
#include "ratls/cache.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define SETS 64
#define WAYS 4
#define MAX_BYTES (256u << 10)	// of a certificate that is kept

struct entry {
	uint8_t *der;
	size_t len;
	struct verdict *verdict;
	time_t until;
};

struct verdict_cache {
	pthread_mutex_t lock;
	struct entry entries[SETS][WAYS];
	unsigned int next[SETS];
};

struct verdict_cache *verdict_cache_new(void)
{
	struct verdict_cache *c = calloc(1, sizeof *c);
	if (c)
		pthread_mutex_init(&c->lock, NULL);
	return c;
}

static void drop(struct entry *e)
{
	free(e->der);
	verdict_release(e->verdict);
	*e = (struct entry){.der = NULL};
}

void verdict_cache_free(struct verdict_cache *c)
{
	if (!c)
		return;
	for (unsigned int i = 0; i < SETS * WAYS; i++)
		drop(&c->entries[i / WAYS][i % WAYS]);
	pthread_mutex_destroy(&c->lock);
	free(c);
}

static unsigned int set_of(const uint8_t *der, size_t len)
{
	return len < 2 ? 0 : (der[len - 1] ^ der[len - 2]) % SETS;
}

static struct entry *find(struct verdict_cache *c, const uint8_t *der, size_t len)
{
	struct entry *set = c->entries[set_of(der, len)];
	for (unsigned int i = 0; i < WAYS; i++) {
		if (set[i].der && set[i].len == len && !memcmp(set[i].der, der, len))
			return &set[i];
	}
	return NULL;
}

struct verdict *verdict_cache_get(struct verdict_cache *c, const uint8_t *der, size_t len, time_t now)
{
	struct verdict *v = NULL;
	pthread_mutex_lock(&c->lock);
	struct entry *e = find(c, der, len);
	// A clock that went back makes a verdict of the future, which is not believed either.
	if (e && now >= e->verdict->from && now < e->until)
		v = verdict_ref(e->verdict);
	else if (e)
		drop(e);
	pthread_mutex_unlock(&c->lock);
	return v;
}

void verdict_cache_put(struct verdict_cache *c, const uint8_t *der, size_t len, struct verdict *v, time_t until)
{
	uint8_t *copy = len <= MAX_BYTES ? malloc(len) : NULL;
	if (!copy)
		return;
	memcpy(copy, der, len);
	pthread_mutex_lock(&c->lock);
	struct entry *e = find(c, der, len);
	if (!e) {
		unsigned int set = set_of(der, len);
		e = &c->entries[set][c->next[set]++ % WAYS];
	}
	drop(e);
	*e = (struct entry){copy, len, verdict_ref(v), until < v->until ? until : v->until};
	pthread_mutex_unlock(&c->lock);
}

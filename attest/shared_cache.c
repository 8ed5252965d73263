// SPDX-License-Identifier: Apache-2.0
// See shared_cache.h.
#include "attest/shared_cache.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define MISSING SIZE_MAX

struct shared_entry {
	atomic_uint refs;
	void *object;
	void (*destroy)(void *);
	unsigned int count;
	size_t lens[SHARED_CACHE_PARTS], total;
	uint8_t bytes[];
};

static size_t len_of(const struct shared_part *p)
{
	return p->bytes ? p->len : MISSING;
}

static bool is(const struct shared_entry *e, const struct shared_part *parts, unsigned int count)
{
	const uint8_t *at = e->bytes;
	if (e->count != count)
		return false;
	for (unsigned int i = 0; i < count; i++) {
		if (e->lens[i] != len_of(&parts[i]))
			return false;
	}
	for (unsigned int i = 0; i < count; i++) {
		if (!parts[i].bytes || !parts[i].len)
			continue;
		if (memcmp(at, parts[i].bytes, parts[i].len))
			return false;
		at += parts[i].len;
	}
	return true;
}

struct shared_entry *shared_get(struct shared_cache *c, const struct shared_part *parts, unsigned int count)
{
	struct shared_entry *found = NULL;
	pthread_mutex_lock(&c->lock);
	for (unsigned int i = 0; i < SHARED_CACHE_SIZE && !found; i++) {
		if (c->entries[i] && is(c->entries[i], parts, count))
			found = c->entries[i];
	}
	if (found)
		atomic_fetch_add(&found->refs, 1);
	pthread_mutex_unlock(&c->lock);
	return found;
}

struct shared_entry *shared_put(struct shared_cache *c, const struct shared_part *parts, unsigned int count, void *object, void (*destroy)(void *))
{
	size_t total = 0;
	for (unsigned int i = 0; i < count; i++)
		total += parts[i].bytes ? parts[i].len : 0;
	struct shared_entry *e = malloc(sizeof *e + total), *old[SHARED_CACHE_SIZE];
	unsigned int gone = 0;
	if (!e)
		return NULL;
	*e = (struct shared_entry){.object = object, .destroy = destroy, .count = count, .total = total};
	atomic_init(&e->refs, 1);
	uint8_t *at = e->bytes;
	for (unsigned int i = 0; i < count; i++) {
		e->lens[i] = len_of(&parts[i]);
		if (parts[i].bytes && parts[i].len)
			at = mempcpy(at, parts[i].bytes, parts[i].len);
	}
	if (total > SHARED_CACHE_BYTES / 4)
		return e;	// the caller's alone
	pthread_mutex_lock(&c->lock);
	do {
		unsigned int i = c->next++ % SHARED_CACHE_SIZE;
		if (c->entries[i]) {
			c->bytes -= c->entries[i]->total;
			old[gone++] = c->entries[i];
		}
		c->entries[i] = NULL;
	} while (c->bytes + total > SHARED_CACHE_BYTES);
	c->entries[(c->next - 1) % SHARED_CACHE_SIZE] = e;
	c->bytes += total;
	atomic_fetch_add(&e->refs, 1);
	pthread_mutex_unlock(&c->lock);
	while (gone)
		shared_release(old[--gone]);
	return e;
}

void *shared_object(const struct shared_entry *e)
{
	return e->object;
}

void shared_release(struct shared_entry *e)
{
	if (!e || atomic_fetch_sub(&e->refs, 1) != 1)
		return;
	e->destroy(e->object);
	free(e);
}

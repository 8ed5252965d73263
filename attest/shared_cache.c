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
	atomic_bool proved;
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

#define SAMPLES 16

// Not of all bytes, which would take longer than to compare them: of some that lie evenly in each part.
static uint64_t tag_of(const struct shared_part *parts, unsigned int count)
{
	uint64_t tag = count;
	for (unsigned int i = 0; i < count; i++) {
		size_t len = parts[i].bytes ? parts[i].len : 0;
		tag = (tag ^ len_of(&parts[i])) * 0x9e3779b97f4a7c15;
		for (size_t k = 0; k < SAMPLES && len; k++) {
			uint64_t word = 0;
			size_t n = len < sizeof word ? len : sizeof word;
			memcpy(&word, (const uint8_t *)parts[i].bytes + (len - n) * k / (SAMPLES - 1), n);
			tag = (tag ^ tag >> 29 ^ word) * 0x9e3779b97f4a7c15;
		}
	}
	return tag;
}

struct shared_entry *shared_get(struct shared_cache *c, const struct shared_part *parts, unsigned int count)
{
	struct shared_entry *found = NULL;
	uint64_t tag = tag_of(parts, count);
	pthread_mutex_lock(&c->lock);
	for (unsigned int i = 0; i < SHARED_CACHE_SIZE && !found; i++) {
		if (c->tags[i] == tag && c->entries[i] && is(c->entries[i], parts, count))
			found = c->entries[i];
	}
	if (found)
		atomic_fetch_add(&found->refs, 1);
	pthread_mutex_unlock(&c->lock);
	return found;
}

// Takes one out: of what was not proved, the one that is there longest, else of all. The table is not empty.
static unsigned int evict(struct shared_cache *c, struct shared_entry **out)
{
	unsigned int at = SHARED_CACHE_SIZE;
	for (unsigned int i = 0; i < SHARED_CACHE_SIZE; i++) {
		unsigned int k = (c->next + i) % SHARED_CACHE_SIZE;
		if (!c->entries[k])
			continue;
		if (at == SHARED_CACHE_SIZE)
			at = k;
		if (!atomic_load_explicit(&c->entries[k]->proved, memory_order_relaxed)) {
			at = k;
			break;
		}
	}
	*out = c->entries[at];
	c->entries[at] = NULL;
	c->bytes -= (*out)->total;
	c->next = (at + 1) % SHARED_CACHE_SIZE;
	return at;
}

static size_t unproved(const struct shared_cache *c)
{
	size_t bytes = 0;
	for (unsigned int i = 0; i < SHARED_CACHE_SIZE; i++) {
		if (c->entries[i] && !atomic_load_explicit(&c->entries[i]->proved, memory_order_relaxed))
			bytes += c->entries[i]->total;
	}
	return bytes;
}

struct shared_entry *shared_put(struct shared_cache *c, const struct shared_part *parts, unsigned int count, void *object, void (*destroy)(void *))
{
	size_t total = 0;
	for (unsigned int i = 0; i < count; i++)
		total += parts[i].bytes ? parts[i].len : 0;
	struct shared_entry *e = malloc(sizeof *e + total), *old[SHARED_CACHE_SIZE];
	unsigned int gone = 0, place = 0;
	if (!e)
		return NULL;
	*e = (struct shared_entry){.object = object, .destroy = destroy, .count = count, .total = total};
	atomic_init(&e->refs, 1);
	atomic_init(&e->proved, false);
	uint8_t *at = e->bytes;
	for (unsigned int i = 0; i < count; i++) {
		e->lens[i] = len_of(&parts[i]);
		if (parts[i].bytes && parts[i].len)
			at = mempcpy(at, parts[i].bytes, parts[i].len);
	}
	if (total > SHARED_CACHE_BYTES / 4)
		return e;	// the caller's alone
	pthread_mutex_lock(&c->lock);
	// Evicted first is what was not proved: this ends with none of it.
	for (size_t rest; (rest = unproved(c)) && rest + total > SHARED_CACHE_UNPROVED;)
		evict(c, &old[gone++]);
	while (c->bytes + total > SHARED_CACHE_BYTES)
		evict(c, &old[gone++]);
	while (place < SHARED_CACHE_SIZE && c->entries[place])
		place++;
	if (place == SHARED_CACHE_SIZE)
		place = evict(c, &old[gone++]);
	c->entries[place] = e;
	c->tags[place] = tag_of(parts, count);
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

void shared_prove(struct shared_entry *e)
{
	atomic_store_explicit(&e->proved, true, memory_order_relaxed);
}

void shared_release(struct shared_entry *e)
{
	if (!e || atomic_fetch_sub(&e->refs, 1) != 1)
		return;
	e->destroy(e->object);
	free(e);
}

// SPDX-License-Identifier: Apache-2.0
// See pck_cache.h.
#include "attest/pck_cache.h"

#include <string.h>

void pck_cache_init(struct pck_cache *c)
{
	memset(c, 0, sizeof *c);
	pthread_mutex_init(&c->lock, NULL);
}

static void clear(struct pck_cache *c, unsigned int i)
{
	for (int k = 0; k < 3; k++) {
		X509_free(c->entries[i].chain[k]);
		c->entries[i].chain[k] = NULL;
	}
}

void pck_cache_free(struct pck_cache *c)
{
	for (unsigned int i = 0; i < PCK_CACHE_SIZE; i++)
		clear(c, i);
	pthread_mutex_destroy(&c->lock);
}

bool pck_cache_get(struct pck_cache *c, const uint8_t digest[32], X509 *chain[3])
{
	bool found = false;
	pthread_mutex_lock(&c->lock);
	for (unsigned int i = 0; i < PCK_CACHE_SIZE && !found; i++) {
		if (!c->entries[i].chain[0] || memcmp(c->entries[i].digest, digest, 32))
			continue;
		found = true;
		for (int k = 0; k < 3; k++) {
			chain[k] = c->entries[i].chain[k];
			X509_up_ref(chain[k]);
		}
	}
	pthread_mutex_unlock(&c->lock);
	return found;
}

void pck_cache_put(struct pck_cache *c, const uint8_t digest[32], X509 *const chain[3])
{
	pthread_mutex_lock(&c->lock);
	unsigned int i = c->next++ % PCK_CACHE_SIZE;
	clear(c, i);
	memcpy(c->entries[i].digest, digest, 32);
	for (int k = 0; k < 3; k++) {
		c->entries[i].chain[k] = chain[k];
		X509_up_ref(chain[k]);
	}
	pthread_mutex_unlock(&c->lock);
}

// SPDX-License-Identifier: Apache-2.0
// See link_cache.h. A link's set follows from its digest; in a set the oldest one gives way, so that a few that meet there do not push each other out.
#include "attest/link_cache.h"

#include <pthread.h>
#include <string.h>

#define SETS 256
#define WAYS 4

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
	uint8_t links[WAYS][32];	// zeros: empty, which no digest is
	unsigned int next;
} sets[SETS];

bool link_cache_has(const uint8_t link[32])
{
	bool has = false;
	pthread_mutex_lock(&lock);
	for (int i = 0; i < WAYS; i++)
		has |= !memcmp(sets[link[0]].links[i], link, 32);
	pthread_mutex_unlock(&lock);
	return has;
}

void link_cache_put(const uint8_t link[32])
{
	pthread_mutex_lock(&lock);
	memcpy(sets[link[0]].links[sets[link[0]].next++ % WAYS], link, 32);
	pthread_mutex_unlock(&lock);
}

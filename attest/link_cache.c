// SPDX-License-Identifier: Apache-2.0
// See link_cache.h. A link's place follows from its digest; a newer one takes an older one's.
#include "attest/link_cache.h"

#include <pthread.h>
#include <string.h>

#define PLACES 256

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static uint8_t links[PLACES][32];	// zeros: empty, which no digest is

bool link_cache_has(const uint8_t link[32])
{
	pthread_mutex_lock(&lock);
	bool has = !memcmp(links[link[0]], link, 32);
	pthread_mutex_unlock(&lock);
	return has;
}

void link_cache_put(const uint8_t link[32])
{
	pthread_mutex_lock(&lock);
	memcpy(links[link[0]], link, 32);
	pthread_mutex_unlock(&lock);
}

// SPDX-License-Identifier: Apache-2.0
// See shares.h.
#include "tunnel/shares.h"
#include "tunnel/mix.h"

#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define BUCKETS 1024u

struct share {
	struct share *next;
	uint64_t peer;
	unsigned int count;
};

struct shares {
	pthread_mutex_t lock;
	struct share *bucket[BUCKETS];
};

static uint64_t seed;
static pthread_once_t seeded = PTHREAD_ONCE_INIT;

static void make_seed(void)
{
	if (getrandom(&seed, sizeof seed, 0) != sizeof seed)
		seed = (uintptr_t)&seed;
}

uint64_t share_of(const struct sockaddr *sa)
{
	const struct sockaddr_in *in = (const void *)sa;
	const struct sockaddr_in6 *in6 = (const void *)sa;
	uint64_t network = 0;
	if (sa->sa_family == AF_INET) {
		network = in->sin_addr.s_addr;
	} else if (sa->sa_family == AF_INET6) {
		// Behind ::ffff:0:0/96 it is one host that counts.
		memcpy(&network, IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr) ? &in6->sin6_addr.s6_addr[12] : in6->sin6_addr.s6_addr,
		       IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr) ? 4 : 8);
	} else {
		return 0;
	}
	pthread_once(&seeded, make_seed);
	network = mix_bits(mix_bits(network ^ seed) + seed);
	return network ? network : 1;
}

uint64_t share_of_peer(int fd)
{
	struct sockaddr_storage sa;
	socklen_t len = sizeof sa;
	return getpeername(fd, (struct sockaddr *)&sa, &len) ? 0 : share_of((struct sockaddr *)&sa);
}

int shares_new(struct shares **out)
{
	struct shares *s = *out = calloc(1, sizeof *s);
	if (!s)
		return -ENOMEM;
	pthread_mutex_init(&s->lock, NULL);
	return 0;
}

void shares_free(struct shares *s)
{
	if (!s)
		return;
	for (unsigned int i = 0; i < BUCKETS; i++) {
		for (struct share *h = s->bucket[i], *next; h; h = next) {
			next = h->next;
			free(h);
		}
	}
	pthread_mutex_destroy(&s->lock);
	free(s);
}

bool shares_take(struct shares *s, uint64_t peer, unsigned int most)
{
	bool taken = false;
	if (!peer)
		return true;
	pthread_mutex_lock(&s->lock);
	struct share **at = &s->bucket[peer % BUCKETS];
	while (*at && (*at)->peer != peer)
		at = &(*at)->next;
	if (!*at && most && (*at = calloc(1, sizeof **at)))
		(*at)->peer = peer;
	if (*at && (*at)->count < most) {
		(*at)->count++;
		taken = true;
	}
	pthread_mutex_unlock(&s->lock);
	return taken;
}

void shares_give(struct shares *s, uint64_t peer)
{
	if (!peer)
		return;
	pthread_mutex_lock(&s->lock);
	struct share **at = &s->bucket[peer % BUCKETS];
	while (*at && (*at)->peer != peer)
		at = &(*at)->next;
	struct share *h = *at;
	if (h && !--h->count) {
		*at = h->next;
		free(h);
	}
	pthread_mutex_unlock(&s->lock);
}

// SPDX-License-Identifier: Apache-2.0
// Inside attest/: the platforms met lately. Reading three certificates costs more than all the signatures of a quote, and a platform
// sends the same ones each time; so the chains whose signatures were found good are kept, by the digest of their bytes. Dates, revocation
// and trust in the root are not remembered: they are checked each time.
// Threads may share one: its mutex is held for a comparison of digests and a few reference counts, never across a signature.
#ifndef COFFER_ATTEST_PCK_CACHE_H
#define COFFER_ATTEST_PCK_CACHE_H

#include <openssl/x509.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PCK_CACHE_SIZE 64

struct pck_cache {
	pthread_mutex_t lock;
	struct {
		uint8_t digest[32];
		X509 *chain[3];		// NULL: empty
	} entries[PCK_CACHE_SIZE];
	unsigned int next;		// the one to be replaced
};

void pck_cache_init(struct pck_cache *c);
void pck_cache_free(struct pck_cache *c);

// Fills chain[] with references of the caller's own. False: not known.
bool pck_cache_get(struct pck_cache *c, const uint8_t digest[32], X509 *chain[3]);
void pck_cache_put(struct pck_cache *c, const uint8_t digest[32], X509 *const chain[3]);

#endif

// SPDX-License-Identifier: Apache-2.0
// Inside attest/: what was read from bytes lately, kept by those very bytes. Who verifies evidence meets the same collateral, certificates and keys
// each time, and reading them costs more than the evidence's own signature. Objects are immutable and shared by reference counts; what depends on the
// time or on whom a verifier trusts is no part of them. A table is behind a mutex that is held for comparing bytes only.
// Tables are bounded. What was proved to be good gives way last: who sends rubbish pushes out other rubbish.
#ifndef COFFER_ATTEST_SHARED_CACHE_H
#define COFFER_ATTEST_SHARED_CACHE_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

#define SHARED_CACHE_SIZE 128
#define SHARED_CACHE_PARTS 10
#define SHARED_CACHE_BYTES (16u << 20)	// of a table's keys; one that is larger than a quarter of it is not kept
// Of those that were not proved, or one that is larger: anybody may have made them, and so that what is read of them takes twenty times as much.
#define SHARED_CACHE_UNPROVED (2u << 20)

struct shared_part {
	const void *bytes;	// NULL: not given, which is another key than an empty part
	size_t len;
};

struct shared_entry;

struct shared_cache {
	pthread_mutex_t lock;
	uint64_t tags[SHARED_CACHE_SIZE];	// of the bytes: equal ones have equal tags
	struct shared_entry *entries[SHARED_CACHE_SIZE];
	size_t bytes;
	unsigned int next;	// to be replaced
};
#define SHARED_CACHE_INIT {.lock = PTHREAD_MUTEX_INITIALIZER}

// A reference to what was kept for these parts; NULL: nothing.
struct shared_entry *shared_get(struct shared_cache *c, const struct shared_part *parts, unsigned int count);
// Keeps an object, which is taken over; a reference for the caller, or NULL without memory (the object stays the caller's).
struct shared_entry *shared_put(struct shared_cache *c, const struct shared_part *parts, unsigned int count, void *object, void (*destroy)(void *));
void *shared_object(const struct shared_entry *e);
// It is worth keeping: part of evidence that was found genuine.
void shared_prove(struct shared_entry *e);
// NULL is fine. The last reference destroys the object.
void shared_release(struct shared_entry *e);

#endif

// SPDX-License-Identifier: Apache-2.0
// See blocks.h. `lock` guards the stores that no thread has.
#include "lib/blocks.h"

#include <malloc.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

// gcc and clang say differently that AddressSanitizer is at work, which is to see every block come and go.
#ifdef __SANITIZE_ADDRESS__
#define EVERY_BLOCK_SEEN 1
#elif defined __has_feature
#if __has_feature(address_sanitizer)
#define EVERY_BLOCK_SEEN 1
#endif
#endif

#define STEP 16			// malloc's sizes: STEP * n + HEAD
#define HEAD 8
#define CLASSES 16
#define KEEP (96u << 10)	// bytes in a store: a request's JSON and more

struct block {
	struct block *next;
};

struct store {
	struct store *next;
	size_t bytes;
	struct block *kept[CLASSES];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct store *idle;
static _Thread_local struct store *mine;

void blocks_begin(void)
{
#ifndef EVERY_BLOCK_SEEN
	pthread_mutex_lock(&lock);
	struct store *s = idle;
	if (s)
		idle = s->next;
	pthread_mutex_unlock(&lock);
	mine = s ? s : calloc(1, sizeof *s);
#endif
}

void blocks_end(void)
{
	struct store *s = mine;
	mine = NULL;
	if (!s)
		return;
	pthread_mutex_lock(&lock);
	s->next = idle;
	idle = s;
	pthread_mutex_unlock(&lock);
}

void *block_take(size_t size)
{
	size_t class = size <= STEP + HEAD ? 0 : (size - HEAD - 1) / STEP;
	struct store *s = mine;
	if (!s || class >= CLASSES)
		return malloc(size);
	struct block *b = s->kept[class];
	if (!b)
		return malloc((class + 1) * STEP + HEAD);	// as large as those that come back to it
	s->kept[class] = b->next;
	__builtin_prefetch(b->next, 1);	// they lie anywhere
	s->bytes -= (class + 1) * STEP + HEAD;
	b->next = NULL;
	return b;
}

void block_give(void *p)
{
	if (!p)
		return;
	size_t size = malloc_usable_size(p), class = (size - HEAD) / STEP - 1;
	struct store *s = mine;
	explicit_bzero(p, size);
	if (!s || class >= CLASSES || size % STEP != HEAD || s->bytes + size > KEEP) {
		free(p);
		return;
	}
	struct block *b = p;
	b->next = s->kept[class];
	s->kept[class] = b;
	s->bytes += size;
}

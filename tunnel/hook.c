// SPDX-License-Identifier: Apache-2.0
// See hook.h.
#include "tunnel/hook.h"

#include <errno.h>
#include <openssl/rand.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define SLOTS 1024

struct ticket {
	struct ticket *next;
	uint8_t bytes[HOOK_TICKET];
	uint64_t id;
	struct target target;
};

struct hook {
	pthread_mutex_t lock;
	hook_result *result;
	void *ctx;
	size_t n;
	struct ticket *slot[SLOTS];
};

static struct ticket **slot_of(struct hook *h, const uint8_t bytes[HOOK_TICKET])
{
	return &h->slot[(bytes[0] | (unsigned int)bytes[1] << 8) % SLOTS];
}

int hook_new(struct hook **out, hook_result *result, void *ctx)
{
	struct hook *h = calloc(1, sizeof *h);
	*out = h;
	if (!h)
		return -ENOMEM;
	pthread_mutex_init(&h->lock, NULL);
	h->result = result;
	h->ctx = ctx;
	return 0;
}

void hook_free(struct hook *h)
{
	if (!h)
		return;
	for (size_t i = 0; i < SLOTS; i++) {
		while (h->slot[i]) {
			struct ticket *t = h->slot[i];
			h->slot[i] = t->next;
			free(t);
		}
	}
	pthread_mutex_destroy(&h->lock);
	free(h);
}

int hook_issue(struct hook *h, const struct target *t, uint64_t id, uint8_t ticket[HOOK_TICKET])
{
	struct ticket *made = malloc(sizeof *made);
	int err = 0;
	if (!made)
		return -ENOMEM;
	*made = (struct ticket){.id = id, .target = *t};
	if (RAND_bytes(made->bytes, sizeof made->bytes) != 1) {
		free(made);
		return -EIO;
	}
	memcpy(ticket, made->bytes, HOOK_TICKET);
	pthread_mutex_lock(&h->lock);
	if (h->n == HOOK_MAX) {
		err = -EBUSY;
	} else {
		h->n++;
		made->next = *slot_of(h, made->bytes);
		*slot_of(h, made->bytes) = made;
	}
	pthread_mutex_unlock(&h->lock);
	if (err)
		free(made);
	return err;
}

void hook_forget(struct hook *h, uint64_t id)
{
	pthread_mutex_lock(&h->lock);
	for (size_t i = 0; i < SLOTS; i++) {
		for (struct ticket **p = &h->slot[i]; *p;) {
			struct ticket *t = *p;
			if (t->id != id) {
				p = &t->next;
				continue;
			}
			*p = t->next;
			h->n--;
			free(t);
		}
	}
	pthread_mutex_unlock(&h->lock);
}

bool hook_redeem(struct hook *h, const uint8_t ticket[HOOK_TICKET], struct target *t, uint64_t *id)
{
	struct ticket *found = NULL;
	pthread_mutex_lock(&h->lock);
	for (struct ticket **p = slot_of(h, ticket); *p && !found; p = &(*p)->next) {
		if (memcmp((*p)->bytes, ticket, HOOK_TICKET))	// random and used once: timing tells nothing that could be used
			continue;
		found = *p;
		*p = found->next;
		h->n--;
		break;
	}
	pthread_mutex_unlock(&h->lock);
	if (found) {
		*t = found->target;
		*id = found->id;
	}
	bool good = found;
	free(found);
	return good;
}

void hook_tell(struct hook *h, uint64_t id, int error)
{
	h->result(h->ctx, id, error);
}

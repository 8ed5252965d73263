// SPDX-License-Identifier: Apache-2.0
// See session.h. `lock` guards the table; nothing else is taken under it. A session is in a chain by its id, and in a queue: those that wait for
// their attestation, oldest first, or those that have it. Claims are kept as text: a tree of them takes five times the memory. Of the newest the
// tree is kept too, for the first who asks: most enclaves ask for a key at once.
#include "broker/session.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/session_db.h"
#include "lib/encode.h"
#include "lib/tls.h"

#define TREES 64

enum { WAITING, ATTESTED, QUEUES };

struct session {
	struct session *in_chain, *before, *behind;	// behind: also in the list of free ones
	bool nonce_taken;
	const struct coco_tee *tee;	// static
	char id[SESSION_ID_TEXT];
	char nonce[SESSION_NONCE_TEXT];
	int64_t begun_ms;
	char *claims;		// NULL until attested
	json_t *tree;		// of the same, or NULL
	EVP_PKEY *key;
};

struct session_table {
	struct session_db *shared;	// then nothing of what follows is used
	pthread_mutex_t lock;
	unsigned int capacity, used;
	int64_t life_ms;
	struct session **chains;	// `capacity` of them
	struct {
		struct session *first, *last;
		unsigned int count;
	} queues[QUEUES];
	struct session *free;
	struct session *with_tree[TREES];	// the newest, or such as have none any more
	unsigned int next_tree;
	struct session sessions[];
};

struct session_table *session_table_new(unsigned int capacity, unsigned int seconds)
{
	struct session_table *t = calloc(1, sizeof *t + capacity * sizeof t->sessions[0]);
	if (!t || !(t->chains = calloc(capacity, sizeof *t->chains))) {
		free(t);
		return NULL;
	}
	pthread_mutex_init(&t->lock, NULL);
	t->capacity = capacity;
	t->life_ms = seconds * 1000ll;
	for (unsigned int i = capacity; i-- > 0;) {
		t->sessions[i].behind = t->free;
		t->free = &t->sessions[i];
	}
	return t;
}

int session_table_shared(struct session_table **out, struct db *db, const uint8_t master_key[32], unsigned int seconds, struct fault *f)
{
	struct session_table *t = session_table_new(1, seconds);
	int err = t ? session_db_open(&t->shared, db, master_key, seconds, f) : fault_set(f, -ENOMEM, "out of memory");
	if (err)
		session_table_free(t);
	else
		*out = t;
	return err;
}

static void put(struct session_table *t, struct session *s, int queue)
{
	s->before = t->queues[queue].last;
	s->behind = NULL;
	*(s->before ? &s->before->behind : &t->queues[queue].first) = s;
	t->queues[queue].last = s;
	t->queues[queue].count++;
}

static void take(struct session_table *t, struct session *s)
{
	int queue = s->claims ? ATTESTED : WAITING;
	*(s->before ? &s->before->behind : &t->queues[queue].first) = s->behind;
	*(s->behind ? &s->behind->before : &t->queues[queue].last) = s->before;
	t->queues[queue].count--;
}

// Ids are random: their first digits will do.
static struct session **chain(struct session_table *t, const char *id)
{
	char digits[9];
	memcpy(digits, id, 8);
	digits[8] = '\0';
	return &t->chains[strtoul(digits, NULL, 16) % t->capacity];
}

static void wipe(struct session *s)
{
	free(s->claims);
	json_decref(s->tree);
	EVP_PKEY_free(s->key);
	explicit_bzero(s, sizeof *s);
}

static void end(struct session_table *t, struct session *s)
{
	struct session **p = chain(t, s->id);
	while (*p != s)
		p = &(*p)->in_chain;
	*p = s->in_chain;
	take(t, s);
	wipe(s);
	s->behind = t->free;
	t->free = s;
	t->used--;
}

void session_table_free(struct session_table *t)
{
	if (!t)
		return;
	for (unsigned int i = 0; i < t->capacity; i++)
		wipe(&t->sessions[i]);
	if (t->shared)
		session_db_close(t->shared);
	pthread_mutex_destroy(&t->lock);
	free(t->chains);
	free(t);
}

// With the lock held: ends those whose time is over.
static void expire(struct session_table *t)
{
	int64_t now = clock_ms();
	for (int q = 0; q < QUEUES; q++) {
		while (t->queues[q].first && now - t->queues[q].first->begun_ms >= t->life_ms)
			end(t, t->queues[q].first);
	}
}

// With the lock held: a free place, made if need be. A quarter of all is for those that wait: sessions that have it do not have clients in
// the middle of their attestation push each other out, and whoever only begins sessions ends no more of the others.
static struct session *place(struct session_table *t)
{
	expire(t);
	if (!t->free) {
		bool many = t->queues[WAITING].count >= (t->capacity + 3) / 4 || !t->queues[ATTESTED].count;
		end(t, t->queues[many ? WAITING : ATTESTED].first);
	}
	struct session *s = t->free;
	t->free = s->behind;
	t->used++;
	return s;
}

// With the lock held: the live session with this id.
static struct session *find(struct session_table *t, const char *id)
{
	if (strlen(id) != SESSION_ID_TEXT - 1)
		return NULL;
	for (struct session *s = *chain(t, id); s; s = s->in_chain) {
		if (CRYPTO_memcmp(s->id, id, SESSION_ID_TEXT - 1))
			continue;
		if (clock_ms() - s->begun_ms < t->life_ms)
			return s;
		end(t, s);
		return NULL;
	}
	return NULL;
}

int session_begin(struct session_table *t, const struct coco_tee *tee, char id[SESSION_ID_TEXT], char nonce[SESSION_NONCE_TEXT], struct fault *f)
{
	uint8_t u[16], n[SESSION_NONCE_BYTES];
	if (RAND_bytes(u, sizeof u) != 1 || RAND_bytes(n, sizeof n) != 1)
		return fault_set(f, -EIO, "no random numbers");
	u[6] = (uint8_t)((u[6] & 0x0f) | 0x40);
	u[8] = (uint8_t)((u[8] & 0x3f) | 0x80);
	snprintf(id, SESSION_ID_TEXT, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", u[0],
		 u[1], u[2], u[3], u[4], u[5], u[6], u[7], u[8], u[9], u[10], u[11], u[12], u[13], u[14], u[15]);
	base64_encode(nonce, n, sizeof n, BASE64_STD);
	if (t->shared)
		return session_db_begin(t->shared, tee, id, nonce, f);
	pthread_mutex_lock(&t->lock);
	struct session *s = place(t);
	s->tee = tee;
	s->begun_ms = clock_ms();
	memcpy(s->id, id, SESSION_ID_TEXT);
	memcpy(s->nonce, nonce, SESSION_NONCE_TEXT);
	struct session **p = chain(t, id);
	s->in_chain = *p;
	*p = s;
	put(t, s, WAITING);
	pthread_mutex_unlock(&t->lock);
	return 0;
}

int session_take_nonce(struct session_table *t, const char *id, char nonce[SESSION_NONCE_TEXT], const struct coco_tee **tee, struct fault *f)
{
	if (t->shared)
		return session_db_take_nonce(t->shared, id, nonce, tee, f);
	int err = 0;
	pthread_mutex_lock(&t->lock);
	struct session *s = find(t, id);
	if (!s) {
		err = -ENOENT;
	} else if (s->nonce_taken) {
		err = -EALREADY;
	} else {
		s->nonce_taken = true;
		*tee = s->tee;
		memcpy(nonce, s->nonce, SESSION_NONCE_TEXT);
	}
	pthread_mutex_unlock(&t->lock);
	return err;
}

// With the lock held. The one that leaves the newest is left to the caller to free.
static json_t *keep_tree(struct session_table *t, struct session *s, json_t *tree)
{
	struct session **place = &t->with_tree[t->next_tree++ % TREES];
	json_t *old = *place ? (*place)->tree : NULL;
	if (*place)
		(*place)->tree = NULL;
	*place = s;
	s->tree = json_incref(tree);
	return old;
}

int session_attested(struct session_table *t, const char *id, json_t *claims, const char *given, EVP_PKEY *key, struct fault *f)
{
	if (t->shared) {
		int result = session_db_attested(t->shared, id, claims, key, f);
		if (!result)
			EVP_PKEY_free(key);
		return result;
	}
	char *text = given ? strdup(given) : json_dumps(claims, JSON_COMPACT);
	json_t *old = NULL;
	if (!text)
		return -ENOMEM;
	pthread_mutex_lock(&t->lock);
	struct session *s = find(t, id);
	int err = s && !s->claims ? 0 : -ENOENT;
	if (!err) {
		take(t, s);
		s->claims = text;
		s->key = key;
		put(t, s, ATTESTED);
		text = NULL;
		old = keep_tree(t, s, claims);
	}
	pthread_mutex_unlock(&t->lock);
	json_decref(old);
	free(text);
	return err;
}

int session_get(struct session_table *t, const char *id, json_t **claims, EVP_PKEY **key, struct fault *f)
{
	if (t->shared)
		return session_db_get(t->shared, id, claims, key, f);
	int err = 0;
	pthread_mutex_lock(&t->lock);
	struct session *s = find(t, id);
	char *text = s && s->claims && !s->tree ? strdup(s->claims) : NULL;
	if (!s) {
		err = -ENOENT;
	} else if (!s->claims) {
		err = -EACCES;
	} else if (!text && !s->tree) {
		err = -ENOMEM;
	} else {
		*claims = s->tree;
		s->tree = NULL;
		*key = s->key;
		EVP_PKEY_up_ref(s->key);
	}
	pthread_mutex_unlock(&t->lock);
	if (!err && !*claims && !(*claims = json_loads(text, 0, NULL))) {
		EVP_PKEY_free(*key);
		*key = NULL;
		err = -ENOMEM;
	}
	free(text);
	return err;
}

unsigned int session_count(struct session_table *t)
{
	if (t->shared)
		return session_db_count(t->shared);
	pthread_mutex_lock(&t->lock);
	expire(t);
	unsigned int n = t->used;
	pthread_mutex_unlock(&t->lock);
	return n;
}

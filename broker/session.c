// SPDX-License-Identifier: Apache-2.0
// See session.h. `lock` guards the table; nothing else is taken under it. A linear search over at most a few thousand
// entries costs less than the TLS record that brought the request.
#include "broker/session.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/encode.h"
#include "lib/tls.h"

struct session {
	bool used, nonce_taken;
	const struct coco_tee *tee;	// static
	char id[SESSION_ID_TEXT];
	char nonce[SESSION_NONCE_TEXT];
	int64_t begun_ms;
	json_t *claims;		// NULL until attested
	EVP_PKEY *key;
};

struct session_table {
	pthread_mutex_t lock;
	unsigned int capacity;
	int64_t life_ms;
	struct session sessions[];
};

struct session_table *session_table_new(unsigned int capacity, unsigned int seconds)
{
	struct session_table *t = calloc(1, sizeof *t + capacity * sizeof t->sessions[0]);
	if (t) {
		pthread_mutex_init(&t->lock, NULL);
		t->capacity = capacity;
		t->life_ms = seconds * 1000ll;
	}
	return t;
}

static void end(struct session *s)
{
	json_decref(s->claims);
	EVP_PKEY_free(s->key);
	explicit_bzero(s, sizeof *s);
}

void session_table_free(struct session_table *t)
{
	if (!t)
		return;
	for (unsigned int i = 0; i < t->capacity; i++)
		end(&t->sessions[i]);
	pthread_mutex_destroy(&t->lock);
	free(t);
}

// With the lock held: a free place, made if need be.
static struct session *place(struct session_table *t)
{
	struct session *oldest = NULL, *oldest_waiting = NULL;
	int64_t now = clock_ms();
	for (unsigned int i = 0; i < t->capacity; i++) {
		struct session *s = &t->sessions[i];
		if (s->used && now - s->begun_ms >= t->life_ms)
			end(s);
		if (!s->used)
			return s;
		if (!oldest || s->begun_ms < oldest->begun_ms)
			oldest = s;
		if (!s->claims && (!oldest_waiting || s->begun_ms < oldest_waiting->begun_ms))
			oldest_waiting = s;
	}
	struct session *victim = oldest_waiting ? oldest_waiting : oldest;
	end(victim);
	return victim;
}

// With the lock held: the live session with this id.
static struct session *find(struct session_table *t, const char *id)
{
	int64_t now = clock_ms();
	if (strlen(id) != SESSION_ID_TEXT - 1)
		return NULL;
	for (unsigned int i = 0; i < t->capacity; i++) {
		struct session *s = &t->sessions[i];
		if (s->used && !CRYPTO_memcmp(s->id, id, SESSION_ID_TEXT - 1)) {
			if (now - s->begun_ms < t->life_ms)
				return s;
			end(s);
		}
	}
	return NULL;
}

int session_begin(struct session_table *t, const struct coco_tee *tee, char id[SESSION_ID_TEXT], char nonce[SESSION_NONCE_TEXT])
{
	uint8_t u[16], n[SESSION_NONCE_BYTES];
	if (RAND_bytes(u, sizeof u) != 1 || RAND_bytes(n, sizeof n) != 1)
		return -EIO;
	u[6] = (uint8_t)((u[6] & 0x0f) | 0x40);
	u[8] = (uint8_t)((u[8] & 0x3f) | 0x80);
	snprintf(id, SESSION_ID_TEXT, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", u[0],
		 u[1], u[2], u[3], u[4], u[5], u[6], u[7], u[8], u[9], u[10], u[11], u[12], u[13], u[14], u[15]);
	base64_encode(nonce, n, sizeof n, BASE64_STD);
	pthread_mutex_lock(&t->lock);
	struct session *s = place(t);
	s->used = true;
	s->tee = tee;
	s->begun_ms = clock_ms();
	memcpy(s->id, id, SESSION_ID_TEXT);
	memcpy(s->nonce, nonce, SESSION_NONCE_TEXT);
	pthread_mutex_unlock(&t->lock);
	return 0;
}

int session_take_nonce(struct session_table *t, const char *id, char nonce[SESSION_NONCE_TEXT], const struct coco_tee **tee)
{
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

int session_attested(struct session_table *t, const char *id, json_t *claims, EVP_PKEY *key)
{
	pthread_mutex_lock(&t->lock);
	struct session *s = find(t, id);
	int err = s && !s->claims ? 0 : -ENOENT;
	if (!err) {
		s->claims = json_deep_copy(claims);
		s->key = key;
		if (!s->claims) {
			s->key = NULL;
			err = -ENOMEM;
		}
	}
	pthread_mutex_unlock(&t->lock);
	return err;
}

int session_get(struct session_table *t, const char *id, json_t **claims, EVP_PKEY **key)
{
	int err = 0;
	pthread_mutex_lock(&t->lock);
	struct session *s = find(t, id);
	if (!s) {
		err = -ENOENT;
	} else if (!s->claims) {
		err = -EACCES;
	} else {
		// jansson's reference counts are not shared between threads here: each gets a copy.
		*claims = json_deep_copy(s->claims);
		*key = s->key;
		if (!*claims)
			err = -ENOMEM;
		else
			EVP_PKEY_up_ref(s->key);
	}
	pthread_mutex_unlock(&t->lock);
	return err;
}

unsigned int session_count(struct session_table *t)
{
	unsigned int n = 0;
	int64_t now = clock_ms();
	pthread_mutex_lock(&t->lock);
	for (unsigned int i = 0; i < t->capacity; i++)
		n += t->sessions[i].used && now - t->sessions[i].begun_ms < t->life_ms;
	pthread_mutex_unlock(&t->lock);
	return n;
}

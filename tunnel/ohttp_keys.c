// SPDX-License-Identifier: Apache-2.0
// See ohttp_keys.h.
#include "tunnel/ohttp_keys.h"

#include <errno.h>
#include <jansson.h>
#include <openssl/rand.h>
#include <pthread.h>

#include "lib/encode.h"
#include "lib/tls.h"

#define ROTATE_S 3600
#define OVERLAP_S 600
#define MAX_REQUESTS (1u << 20)
#define EVIDENCE_PER_S 5
#define GENERATIONS 4
#define SOONEST_MS 60000	// that a full memory brings new keys
#define FIRST_SEEN 1024
#define AHEAD_S 60
#define DOCUMENT_MS 300000	// that one without a nonce is given out
#define KEMS 2

static const uint16_t kems[KEMS] = {HPKE_X25519, HPKE_P256};	// browsers have the second one

// What a key has opened: open addressing, never more than half full. Entries are digests under a secret salt, so that nobody can aim at one place.
struct seen {
	uint8_t (*at)[16];
	uint32_t size, count;	// size: a power of two
};

struct generation {
	bool used;
	uint8_t first_id;	// ids first_id and first_id + 1
	int64_t period;		// of keys out of a seed
	EVP_PKEY *key[KEMS];
	int64_t made_ms, retired_ms;	// retired_ms: when newer ones took its place; INT64_MAX: not yet
	struct outbuf list;		// application/ohttp-keys
	uint8_t digest[32], salt[16];
	struct seen seen;
	char *document;			// without a nonce; NULL: not asked for yet
	int64_t document_until_ms;
};

struct ohttp_keys {
	pthread_mutex_t lock;
	struct self *self;
	int64_t rotate_ms, overlap_ms;
	uint32_t max_requests;
	unsigned int evidence_per_s;
	int64_t (*clock_ms)(void), (*clock_s)(void);
	bool seeded;
	uint8_t seed[HPKE_HASH];	// extracted
	struct generation all[GENERATIONS];
	struct generation *current;
	uint8_t next_id;
	int64_t asked_ms;		// tokens of a bucket: when it was empty
};

// ---- memory of requests ----

static bool seen_add_to(struct seen *s, const uint8_t digest[16])
{
	uint64_t h;
	memcpy(&h, digest, sizeof h);
	for (uint32_t i = (uint32_t)h & (s->size - 1);; i = (i + 1) & (s->size - 1)) {
		static const uint8_t none[16];
		if (!memcmp(s->at[i], digest, 16))
			return false;
		if (!memcmp(s->at[i], none, 16)) {
			memcpy(s->at[i], digest, 16);
			s->count++;
			return true;
		}
	}
}

static int seen_grow(struct seen *s)
{
	struct seen n = {.size = s->size ? 2 * s->size : FIRST_SEEN};
	static const uint8_t none[16];
	n.at = calloc(n.size, sizeof *n.at);
	if (!n.at)
		return -ENOMEM;
	for (uint32_t i = 0; i < s->size; i++) {
		if (memcmp(s->at[i], none, 16))
			seen_add_to(&n, s->at[i]);
	}
	free(s->at);
	*s = n;
	return 0;
}

static int seen_add(struct seen *s, const uint8_t digest[16], uint32_t max)
{
	if (s->count >= max)
		return -ENOSPC;
	if (2 * (s->count + 1) > s->size && seen_grow(s))
		return -ENOMEM;
	return seen_add_to(s, digest) ? 0 : -EALREADY;
}

// ---- generations ----

static void generation_end(struct generation *g)
{
	for (int i = 0; i < KEMS; i++)
		EVP_PKEY_free(g->key[i]);
	outbuf_free(&g->list);
	free(g->seen.at);
	free(g->document);
	memset(g, 0, sizeof *g);
}

static int64_t machine_clock(void)
{
	return (int64_t)time(NULL);
}

// Of a period: the same wherever the same seed is.
static EVP_PKEY *seeded_key(const uint8_t seed[HPKE_HASH], int64_t rotate_s, int64_t period, uint16_t kem)
{
	struct outbuf info = {.at = NULL};
	uint8_t ikm[32];
	outbuf_text(&info, "coffer ohttp key");
	outbuf_number(&info, (uint64_t)rotate_s, 8);
	outbuf_number(&info, (uint64_t)period, 8);
	outbuf_number(&info, kem, 2);
	bool made = !info.failed && !hpke_expand(seed, info.at, info.len, ikm, sizeof ikm);
	EVP_PKEY *key = made ? hpke_derive(kem, ikm, sizeof ikm) : NULL;
	OPENSSL_cleanse(ikm, sizeof ikm);
	outbuf_free(&info);
	return key;
}

// `k`: NULL for keys of its own, else they are of this period.
static int generation_make(struct generation *g, const struct ohttp_keys *k, int64_t period, uint8_t first_id, int64_t now, struct fault *f)
{
	memset(g, 0, sizeof *g);
	*g = (struct generation){.used = true, .first_id = first_id, .period = period, .made_ms = now, .retired_ms = INT64_MAX};
	int err = RAND_bytes(g->salt, sizeof g->salt) == 1 ? 0 : -EIO;
	for (int i = 0; !err && i < KEMS; i++) {
		struct ohttp_config c = {.id = (uint8_t)(first_id + i), .kem = kems[i]};
		g->key[i] = k ? seeded_key(k->seed, k->rotate_ms / 1000, period, kems[i]) : hpke_generate(kems[i]);
		err = g->key[i] ? hpke_public_write(kems[i], g->key[i], c.public) : -EIO;
		if (!err)
			ohttp_config_put(&g->list, &c, true);
	}
	if (!err && (g->list.failed || EVP_Digest(g->list.at, g->list.len, g->digest, NULL, EVP_sha256(), NULL) != 1))
		err = -ENOMEM;
	if (err)
		generation_end(g);
	return err ? fault_set(f, err, "no keys can be made: %s", err == -ENOMEM ? "out of memory" : "OpenSSL refuses") : 0;
}

// With the lock.
static int rotate(struct ohttp_keys *k, int64_t now, struct fault *f)
{
	struct generation *place = &k->all[0];
	for (int i = 0; i < GENERATIONS && place->used; i++) {
		struct generation *g = &k->all[i];
		if (g != k->current && (!g->used || place == k->current || g->made_ms < place->made_ms))
			place = g;
	}
	struct generation fresh;
	int err = generation_make(&fresh, NULL, 0, k->next_id, now, f);
	if (err)
		return err;
	if (place->used)
		generation_end(place);
	if (k->current)
		k->current->retired_ms = now;
	*place = fresh;
	k->current = place;
	k->next_id = (uint8_t)(k->next_id + KEMS);
	return 0;
}

// With the lock: the keys of this period; of the one before, for overlap_s; and of the next, a minute before it begins, for other gateways' clocks
// may be ahead.
static int keep_seeded(struct ohttp_keys *k, int64_t now_ms, struct fault *f)
{
	int64_t rotate_s = k->rotate_ms / 1000, now = k->clock_s(), period = now / rotate_s, within = now % rotate_s;
	int64_t from = within < k->overlap_ms / 1000 ? period - 1 : period, to = within >= rotate_s - AHEAD_S ? period + 1 : period;
	struct generation *before = k->current;
	int err = 0;
	for (int i = 0; i < GENERATIONS; i++) {
		struct generation *g = &k->all[i];
		if (g->used && g != before && (g->period < from || g->period > to))
			generation_end(g);
	}
	for (int64_t want = from; !err && want <= to; want++) {
		struct generation *g = NULL, *place = NULL;
		for (int i = 0; i < GENERATIONS; i++) {
			if (!k->all[i].used)
				place = &k->all[i];
			else if (k->all[i].period == want)
				g = &k->all[i];
		}
		if (!g && !(err = generation_make(place, k, want, (uint8_t)(want * KEMS), now_ms, f)))
			g = place;
		if (want == period && g)
			k->current = g;
	}
	// Without memory for new ones the old ones go on.
	if (before && before != k->current && (before->period < from || before->period > to))
		generation_end(before);
	return err;
}

// With the lock: what is due. When no new keys can be made the old ones go on until they can.
static int64_t keep(struct ohttp_keys *k)
{
	int64_t now = k->clock_ms();
	if (k->seeded) {
		keep_seeded(k, now, NULL);
		return now;
	}
	if (now - k->current->made_ms >= k->rotate_ms)
		rotate(k, now, NULL);
	for (int i = 0; i < GENERATIONS; i++) {
		struct generation *g = &k->all[i];
		if (g->used && g != k->current && now - g->retired_ms >= k->overlap_ms)
			generation_end(g);
	}
	return now;
}

// With the lock: until the current keys are replaced.
static int64_t left_ms(const struct ohttp_keys *k, int64_t now)
{
	return k->seeded ? k->rotate_ms - k->clock_s() * 1000 % k->rotate_ms : k->rotate_ms - (now - k->current->made_ms);
}

static struct generation *find(struct ohttp_keys *k, uint8_t id, int *which)
{
	for (int i = 0; i < GENERATIONS; i++) {
		struct generation *g = &k->all[i];
		*which = (uint8_t)(id - g->first_id);
		if (g->used && *which < KEMS)
			return g;
	}
	return NULL;
}

int ohttp_keys_open(struct ohttp_keys **out, const struct ohttp_keys_options *o, struct fault *f)
{
	struct ohttp_keys *k = calloc(1, sizeof *k);
	if (!k)
		return fault_set(f, -ENOMEM, "out of memory");
	k->self = o->self;
	k->rotate_ms = (o->rotate_s ? o->rotate_s : ROTATE_S) * 1000ll;
	k->overlap_ms = (o->overlap_s ? o->overlap_s : OVERLAP_S) * 1000ll;
	k->max_requests = o->max_requests ? o->max_requests : MAX_REQUESTS;
	k->evidence_per_s = o->evidence_per_s ? o->evidence_per_s : EVIDENCE_PER_S;
	k->clock_ms = o->clock_ms ? o->clock_ms : clock_ms;
	k->clock_s = o->clock_s ? o->clock_s : machine_clock;
	k->seeded = o->seed;
	pthread_mutex_init(&k->lock, NULL);
	// Numbers of a process before this one are mostly not those of now, so that a client with an old list is told so.
	int err;
	if (k->seeded && o->seed_len < 32)
		err = fault_set(f, -EINVAL, "a secret for keys has 32 bytes or more, not %zu", o->seed_len);
	else if (k->seeded)
		err = (err = hpke_extract("coffer ohttp keys", 17, o->seed, o->seed_len, k->seed)) ? fault_set(f, err,
		"OpenSSL refuses") : keep_seeded(k, 0, f);
	else
		err = RAND_bytes(&k->next_id, 1) == 1 ? rotate(k, k->clock_ms(), f) : fault_set(f, -EIO, "no random bytes");
	k->asked_ms = k->clock_ms() - 4000;
	if (err)
		ohttp_keys_close(k);
	else
		*out = k;
	return err;
}

void ohttp_keys_close(struct ohttp_keys *k)
{
	if (!k)
		return;
	for (int i = 0; i < GENERATIONS; i++)
		generation_end(&k->all[i]);
	OPENSSL_cleanse(k->seed, sizeof k->seed);
	pthread_mutex_destroy(&k->lock);
	free(k);
}

int ohttp_keys_rotate(struct ohttp_keys *k, struct fault *f)
{
	pthread_mutex_lock(&k->lock);
	int err = k->seeded ? fault_set(f, -EOPNOTSUPP, "keys out of a shared secret change with the time") : rotate(k, k->clock_ms(), f);
	pthread_mutex_unlock(&k->lock);
	return err;
}

int ohttp_keys_list(struct ohttp_keys *k, struct outbuf *out, struct fault *f)
{
	pthread_mutex_lock(&k->lock);
	keep(k);
	outbuf_put(out, k->current->list.at, k->current->list.len);
	pthread_mutex_unlock(&k->lock);
	return out->failed ? fault_set(f, -ENOMEM, "out of memory") : 0;
}

unsigned int ohttp_keys_left_s(struct ohttp_keys *k)
{
	pthread_mutex_lock(&k->lock);
	int64_t left = left_ms(k, keep(k));
	pthread_mutex_unlock(&k->lock);
	return left > 0 ? (unsigned int)(left / 1000) : 0;
}

int ohttp_keys_begin(struct ohttp_keys *k, struct ohttp_exchange *x, bool chunked, const uint8_t *in, size_t len, size_t *used)
{
	struct ohttp_request_header h;
	int which = 0, err = ohttp_header_read(&h, in, len);
	EVP_PKEY *key = NULL;
	if (err)
		return err;
	pthread_mutex_lock(&k->lock);
	keep(k);
	struct generation *g = find(k, h.key_id, &which);
	if (g && kems[which] == h.suite.kem) {
		key = g->key[which];
		EVP_PKEY_up_ref(key);
	}
	pthread_mutex_unlock(&k->lock);
	if (!key)
		return -ENOENT;
	err = ohttp_server_begin(x, key, chunked, in, len, used);
	EVP_PKEY_free(key);
	return err;
}

int ohttp_keys_once(struct ohttp_keys *k, uint8_t key_id, const struct ohttp_exchange *x)
{
	uint8_t salted[sizeof k->all->salt + HPKE_MAX_PUBLIC], digest[32];
	int which, err = -ENOENT;
	pthread_mutex_lock(&k->lock);
	struct generation *g = find(k, key_id, &which);
	if (g) {
		memcpy(salted, g->salt, sizeof g->salt);
		memcpy(salted + sizeof g->salt, x->enc, x->enc_len);
		err = EVP_Digest(salted, sizeof g->salt + x->enc_len, digest, NULL, EVP_sha256(), NULL) == 1 ? seen_add(&g->seen, digest,
			k->max_requests)
													      : -EIO;
		int64_t now = k->clock_ms();
		if (!k->seeded && g == k->current && g->seen.count >= k->max_requests / 4 * 3 && now - g->made_ms >= SOONEST_MS)
			rotate(k, now, NULL);
	}
	pthread_mutex_unlock(&k->lock);
	return err;
}

// ---- what vouches ----

// With the lock. Hardware is slow, and strangers may ask: only so often.
static bool may_ask(struct ohttp_keys *k, int64_t now)
{
	int64_t each = 1000 / k->evidence_per_s, burst = 4000;
	if (self_has_token(k->self))
		return true;
	if (k->asked_ms < now - burst)
		k->asked_ms = now - burst;
	if (k->asked_ms + each > now)
		return false;
	k->asked_ms += each;
	return true;
}

static void put_base64(json_t *o, const char *name, const void *bytes, size_t len)
{
	char *text = malloc(BASE64_SIZE(len));
	if (text) {
		base64_encode(text, bytes, len, BASE64_URL);
		json_object_set_new(o, name, json_string(text));
	}
	free(text);
}

static char *write_document(const struct outbuf *list, int64_t left_ms, const uint8_t *content, size_t content_len, const char *token,
	const char *proof)
{
	json_t *o = json_pack("{s:i, s:I}", "version", 1, "expires_in", (json_int_t)(left_ms > 0 ? left_ms / 1000 : 0));
	put_base64(o, "keys", list->at, list->len);
	if (content)
		put_base64(o, "evidence", content, content_len);
	if (token) {
		json_object_set_new(o, "token", json_string(token));
		json_object_set_new(o, "proof", json_string(proof));
	}
	char *text = json_object_size(o) == (content ? 4 : 5) ? json_dumps(o, JSON_COMPACT) : NULL;
	json_decref(o);
	return text;
}

int ohttp_keys_document(struct ohttp_keys *k, const void *nonce, size_t nonce_len, char **json, struct fault *f)
{
	struct outbuf list = {.at = NULL};
	uint8_t digest[32], *content = NULL;
	char *token = NULL, *proof = NULL;
	size_t len = 0;
	*json = NULL;
	if (!k->self || !self_attests(k->self))
		return fault_set(f, -EOPNOTSUPP, "nothing vouches for the keys of this gateway");
	pthread_mutex_lock(&k->lock);
	int64_t now = keep(k), left = left_ms(k, now);
	struct generation *g = k->current;
	bool kept = !nonce && g->document && now < g->document_until_ms, may = kept || may_ask(k, now);
	uint8_t id = g->first_id;
	EVP_PKEY *key = g->key[0];
	int err = 0;
	if (kept)
		*json = strdup(g->document);
	memcpy(digest, g->digest, sizeof digest);
	outbuf_put(&list, g->list.at, g->list.len);
	EVP_PKEY_up_ref(key);
	pthread_mutex_unlock(&k->lock);
	if (!may)
		err = fault_set(f, -EAGAIN, "the hardware is asked for evidence too often");
	if (!err && !kept)
		err = self_vouch(k->self, key, digest, nonce, nonce_len, &content, &len, &token, &proof, f);
	if (!err && !kept && !list.failed)
		*json = write_document(&list, left, content, len, token, proof);
	if (!err && !*json)
		err = fault_set(f, -ENOMEM, "out of memory");
	if (!err && !kept && !nonce) {
		pthread_mutex_lock(&k->lock);
		if (k->current->first_id == id) {
			free(k->current->document);
			k->current->document = strdup(*json);
			k->current->document_until_ms = now + DOCUMENT_MS;
		}
		pthread_mutex_unlock(&k->lock);
	}
	EVP_PKEY_free(key);
	outbuf_free(&list);
	free(content);
	free(token);
	free(proof);
	return err;
}

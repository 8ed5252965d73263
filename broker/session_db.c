// SPDX-License-Identifier: Apache-2.0
// See session_db.h. Takes no lock: a nonce is taken by the one statement that finds it free.
#include "broker/session_db.h"

#include <errno.h>
#include <openssl/rand.h>
#include <openssl/x509.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "attest/coco.h"
#include "broker/store.h"
#include "lib/encode.h"
#include "lib/file.h"
#include "lib/jwa.h"
#include "lib/sha.h"

#define OVERHEAD (JWA_IV_BYTES + JWA_TAG_BYTES)
#define MOST 65536		// beyond it, those that did not attest within half a minute make room
#define TIDY_SECONDS 20

struct session_db {
	struct db *db;
	uint8_t key[32];
	unsigned int seconds;
	_Atomic long long tidied;
};

static const struct db_migration tables[] = {
	{.both = "CREATE TABLE session(id BLOB PRIMARY KEY, begun INTEGER NOT NULL, taken INTEGER NOT NULL, start BLOB NOT NULL, result BLOB) STRICT;"
		 "CREATE INDEX session_begun ON session(begun);"},
};

int session_db_open(struct session_db **out, struct db *db, const uint8_t master_key[32], unsigned int seconds, struct fault *f)
{
	struct session_db *s = calloc(1, sizeof *s);
	if (!s)
		return fault_set(f, -ENOMEM, "out of memory");
	s->db = db;
	s->seconds = seconds;
	int err = store_derive(master_key, "coffer broker sessions v1", s->key) ? fault_set(f, -EIO, "cannot derive keys") :
		  db_migrate(db, "session", tables, sizeof tables / sizeof *tables, f);
	if (err)
		session_db_close(s);
	else
		*out = s;
	return err;
}

void session_db_close(struct session_db *s)
{
	free_wiped(s, s ? sizeof *s : 0);
}

static void row_id(const char *id, uint8_t out[32])
{
	char text[64];
	int n = snprintf(text, sizeof text, "session %s", id);
	sha_256(text, (size_t)n, out);
}

// iv | ciphertext | tag of *o (taken over), bound to the session and to what it is; malloc'ed.
static int seal(const struct session_db *s, const char *what, const char *id, json_t *o, uint8_t **out, size_t *len, struct fault *f)
{
	char aad[64], *text = o ? json_dumps(o, JSON_COMPACT) : NULL;
	size_t n = text ? strlen(text) : 0;
	uint8_t *p = text ? malloc(n + OVERHEAD) : NULL;
	snprintf(aad, sizeof aad, "%s %s", what, id);
	json_decref(o);
	int err = !p ? fault_set(f, -ENOMEM, "out of memory") : RAND_bytes(p, JWA_IV_BYTES) != 1 ||
		  jwa_gcm(true, s->key, 32, p, aad, strlen(aad), (uint8_t *)text, n, p + JWA_IV_BYTES, p + JWA_IV_BYTES + n) ?
		  fault_set(f, -EIO, "the session cannot be encrypted") : 0;
	free(text);
	if (err) {
		free(p);
		return err;
	}
	*out = p;
	*len = n + OVERHEAD;
	return 0;
}

// NULL when it is not what a broker wrote.
static json_t *unseal(const struct session_db *s, const char *what, const char *id, const uint8_t *sealed, size_t len)
{
	char aad[64];
	uint8_t tag[JWA_TAG_BYTES];
	if (!sealed || len < OVERHEAD)
		return NULL;
	size_t n = len - OVERHEAD;
	uint8_t *p = malloc(n + 1);
	if (!p)
		return NULL;
	snprintf(aad, sizeof aad, "%s %s", what, id);
	memcpy(tag, sealed + len - JWA_TAG_BYTES, sizeof tag);
	json_t *o = jwa_gcm(false, s->key, 32, sealed, aad, strlen(aad), sealed + JWA_IV_BYTES, n, p, tag) ? NULL : json_loadb((char *)p, n, 0, NULL);
	free(p);
	return o;
}

// Expired ones go, at most now and then.
static int tidy(struct session_db *s, long long now, struct fault *f)
{
	long long before = atomic_load(&s->tidied);
	if (now >= before && now - before < TIDY_SECONDS)
		return 0;
	if (!atomic_compare_exchange_strong(&s->tidied, &before, now))
		return 0;
	int err = db_do(s->db, f, "DELETE FROM session WHERE begun <= ?", "i", now - s->seconds);
	if (err >= 0 && session_db_count(s) > MOST)
		err = db_do(s->db, f, "DELETE FROM session WHERE result IS NULL AND begun <= ?", "i", now - 30);
	return err < 0 ? err : 0;
}

int session_db_begin(struct session_db *s, const struct coco_tee *tee, const char *id, const char *nonce, struct fault *f)
{
	long long now = time(NULL);
	uint8_t row[32], *sealed;
	size_t len;
	int err = tidy(s, now, f);
	if (!err)
		err = seal(s, "start", id, json_pack("{s:s, s:s, s:I}", "tee", tee->name, "nonce", nonce, "begun", (json_int_t)now), &sealed, &len, f);
	if (err)
		return err;
	row_id(id, row);
	err = db_do(s->db, f, "INSERT INTO session VALUES(?, ?, 0, ?, NULL)", "bib", row, sizeof row, now, sealed, len);
	free(sealed);
	return err < 0 ? err : 0;
}

struct work {
	struct session_db *s;
	const char *id;
	json_t *start, *result;
	bool take;		// the nonce
	const uint8_t *new_result;
	size_t new_len;
};

// The live session; its halves as they are. -ENOENT.
static int read_row(struct db_tx *t, struct work *w, bool *taken, struct fault *f)
{
	struct db_rows *r = NULL;
	uint8_t row[32];
	size_t len;
	json_decref(w->start); // of an attempt before
	json_decref(w->result);
	w->start = w->result = NULL;
	row_id(w->id, row);
	int err = db_query(t, &r, f, "SELECT taken, start, result FROM session WHERE id = ?", "b", row, sizeof row);
	if (!err)
		err = db_next(r, f);
	if (err == 1) {
		*taken = db_int(r, 0) != 0;
		const void *start = db_blob(r, 1, &len);
		w->start = unseal(w->s, "start", w->id, start, len);
		const void *result = db_blob(r, 2, &len);
		w->result = unseal(w->s, "result", w->id, result, len);
		long long age = (long long)time(NULL) - json_integer_value(json_object_get(w->start, "begun"));
		err = !w->start || age >= w->s->seconds ? -ENOENT : 0;
	} else if (!err) {
		err = -ENOENT;
	}
	db_rows_end(r);
	return err;
}

static int take(struct db_tx *t, void *ctx, struct fault *f)
{
	struct work *w = ctx;
	uint8_t row[32];
	bool taken = true;
	int err = read_row(t, w, &taken, f);
	if (err || taken)
		return err ? err : -EALREADY;
	row_id(w->id, row);
	err = db_run(t, f, "UPDATE session SET taken = 1 WHERE id = ? AND taken = 0", "b", row, sizeof row);
	return err < 0 ? err : err == 1 ? 0 : -EALREADY;
}

int session_db_take_nonce(struct session_db *s, const char *id, char nonce[SESSION_NONCE_TEXT], const struct coco_tee **tee, struct fault *f)
{
	struct work w = {.s = s, .id = id};
	int err = strlen(id) == SESSION_ID_TEXT - 1 ? db_write(s->db, take, &w, f) : -ENOENT;
	const char *text = json_string_value(json_object_get(w.start, "nonce")), *name = json_string_value(json_object_get(w.start, "tee"));
	if (!err) {
		*tee = name ? coco_tee_find(name) : NULL;
		if (*tee && text && strlen(text) < SESSION_NONCE_TEXT)
			strcpy(nonce, text);
		else
			err = -ENOENT;
	}
	json_decref(w.start);
	json_decref(w.result);
	return err;
}

static int store_result(struct db_tx *t, void *ctx, struct fault *f)
{
	struct work *w = ctx;
	uint8_t row[32];
	bool taken = false;
	int err = read_row(t, w, &taken, f);
	if (err || !taken || w->result)
		return err ? err : -ENOENT;
	row_id(w->id, row);
	err = db_run(t, f, "UPDATE session SET result = ? WHERE id = ?", "bb", w->new_result, w->new_len, row, sizeof row);
	return err < 0 ? err : 0;
}

int session_db_attested(struct session_db *s, const char *id, const json_t *claims, EVP_PKEY *key, struct fault *f)
{
	struct work w = {.s = s, .id = id};
	uint8_t *der = NULL, *sealed = NULL;
	int n = i2d_PUBKEY(key, &der);
	char *text = n > 0 ? malloc(BASE64_SIZE((size_t)n)) : NULL;
	int err = text ? 0 : fault_set(f, -ENOMEM, "out of memory");
	if (!err) {
		base64_encode(text, der, (size_t)n, BASE64_STD);
		err = seal(s, "result", id, json_pack("{s:o, s:s}", "claims", json_deep_copy(claims), "key", text), &sealed, &w.new_len, f);
	}
	w.new_result = sealed;
	if (!err)
		err = db_write(s->db, store_result, &w, f);
	json_decref(w.start);
	json_decref(w.result);
	OPENSSL_free(der);
	free(text);
	free(sealed);
	return err;
}

static int get(struct db_tx *t, void *ctx, struct fault *f)
{
	bool taken;
	return read_row(t, ctx, &taken, f);
}

int session_db_get(struct session_db *s, const char *id, json_t **claims, EVP_PKEY **key, struct fault *f)
{
	struct work w = {.s = s, .id = id};
	uint8_t der[1024];
	const uint8_t *p = der;
	int err = strlen(id) == SESSION_ID_TEXT - 1 ? db_read(s->db, get, &w, f) : -ENOENT;
	if (!err && !w.result)
		err = -EACCES;
	if (!err) {
		const char *text = json_string_value(json_object_get(w.result, "key"));
		ssize_t n = text ? base64_decode(der, sizeof der, text, strlen(text), BASE64_STD) : -1;
		*key = n > 0 ? d2i_PUBKEY(NULL, &p, n) : NULL;
		*claims = json_incref(json_object_get(w.result, "claims"));
		if (!*key || !*claims) {
			EVP_PKEY_free(*key);
			json_decref(*claims);
			*key = NULL;
			*claims = NULL;
			err = -ENOENT;
		}
	}
	json_decref(w.start);
	json_decref(w.result);
	return err;
}

struct counting {
	long long since, count;
};

static int count(struct db_tx *t, void *ctx, struct fault *f)
{
	struct counting *c = ctx;
	struct db_rows *r = NULL;
	int err = db_query(t, &r, f, "SELECT count(*) FROM session WHERE begun > ?", "i", c->since);
	if (!err && (err = db_next(r, f)) == 1) {
		c->count = db_int(r, 0);
		err = 0;
	}
	db_rows_end(r);
	return err;
}

unsigned int session_db_count(struct session_db *s)
{
	struct counting c = {.since = (long long)time(NULL) - s->seconds};
	return db_read(s->db, count, &c, NULL) ? 0 : (unsigned int)c.count;
}

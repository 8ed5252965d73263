// SPDX-License-Identifier: Apache-2.0
// See store.h. Takes no lock: the database orders what happens at the same time.
#include "broker/store.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/encode.h"
#include "lib/file.h"

struct store {
	struct db *db;
	struct guard *guard;	// of each row of allowed and anchor
	uint8_t policy_key[32];	// derived from the master key
};

static const struct db_migration tables[] = {
	{.both = "CREATE TABLE IF NOT EXISTS meta(name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT;"
		 "CREATE TABLE IF NOT EXISTS secret(resource TEXT PRIMARY KEY, sealed BLOB NOT NULL, changed TEXT NOT NULL) STRICT;"
		 "CREATE TABLE IF NOT EXISTS allowed(resource TEXT NOT NULL, measurement TEXT NOT NULL, note TEXT NOT NULL,"
		 " created TEXT NOT NULL, mac BLOB NOT NULL, PRIMARY KEY(resource, measurement)) STRICT;"
		 "CREATE TABLE IF NOT EXISTS anchor(resource TEXT PRIMARY KEY, epoch INTEGER NOT NULL, generation INTEGER NOT NULL,"
		 " digest BLOB NOT NULL, changed TEXT NOT NULL) STRICT;",
	 .sqlite = "CREATE TRIGGER IF NOT EXISTS anchor_never_back BEFORE UPDATE ON anchor WHEN new.resource <> old.resource"
		   " OR new.epoch < old.epoch OR new.generation < old.generation"
		   " OR (new.generation = old.generation AND new.digest <> old.digest)"
		   " BEGIN SELECT RAISE(ABORT, 'an anchor never goes back'); END;",
	 .postgres = "CREATE FUNCTION anchor_never_back() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
		     " RAISE EXCEPTION 'an anchor never goes back'; END $$;"
		     "CREATE TRIGGER anchor_never_back BEFORE UPDATE ON anchor FOR EACH ROW WHEN (new.resource <> old.resource"
		     " OR new.epoch < old.epoch OR new.generation < old.generation"
		     " OR (new.generation = old.generation AND new.digest <> old.digest)) EXECUTE FUNCTION anchor_never_back();"},
};

int store_derive(const uint8_t master[STORE_MASTER_KEY_BYTES], const char *info, uint8_t out[32])
{
	EVP_PKEY_CTX *c = EVP_PKEY_CTX_new_id(EVP_PKEY_HKDF, NULL);
	size_t len = 32;
	int ok = c && EVP_PKEY_derive_init(c) == 1 && EVP_PKEY_CTX_set_hkdf_md(c, EVP_sha256()) == 1 &&
		 EVP_PKEY_CTX_set1_hkdf_key(c, master, STORE_MASTER_KEY_BYTES) == 1 &&
		 EVP_PKEY_CTX_add1_hkdf_info(c, (const uint8_t *)info, (int)strlen(info)) == 1 &&
		 EVP_PKEY_derive(c, out, &len) == 1 && len == 32;
	EVP_PKEY_CTX_free(c);
	return ok ? 0 : -EIO;
}

static const char master_mark[] = "coffer broker master key check v1";

// A value that only the right master key can have written tells a foreign database or key apart from a damaged one.
static int check_master(struct db_tx *t, void *ctx, struct fault *f)
{
	const uint8_t *mark = ctx;
	struct db_rows *r = NULL;
	size_t len = 0;
	int err = db_run(t, f, "INSERT INTO meta VALUES('master', ?) ON CONFLICT (name) DO NOTHING", "b", mark, (size_t)32);
	// Waits for one who is about to exchange the key (rekey_data.c): a server may still be at the commit of one that was killed.
	if (err >= 0)
		err = db_run(t, f, "UPDATE meta SET value = value WHERE name = 'master'", "");
	if (err >= 0)
		err = db_query(t, &r, f, "SELECT value FROM meta WHERE name = 'master'", "");
	if (err >= 0)
		err = db_next(r, f);
	if (err >= 0) {
		const void *found = err ? db_blob(r, 0, &len) : NULL;
		err = found && len == 32 && !memcmp(found, mark, 32) ? 0 : fault_set(f, -EKEYREJECTED, "the broker's database was made with "
										     "another master key");
	}
	db_rows_end(r);
	return err;
}

#define POLICY_NAME 512

// What a policy is called where it is guarded.
static const char *policy_name(char out[POLICY_NAME], const char *resource, const char *measurement)
{
	snprintf(out, POLICY_NAME, "%s %s", resource ? resource : "", measurement ? measurement : "");
	return out;
}

// Of a row: resource, epoch, generation, digest.
static int anchor_of(struct db_rows *r, struct store_anchor *out, const char *resource, struct fault *f)
{
	size_t n;
	const void *digest = db_blob(r, 3, &n);
	memset(out, 0, sizeof *out);
	out->epoch = db_int(r, 1);
	out->generation = db_int(r, 2);
	if (n != sizeof out->digest)
		return fault_set(f, -EIO, "what is remembered of %s is damaged", resource);
	memcpy(out->digest, digest, sizeof out->digest);
	return 0;
}

int store_tables(struct db *db, struct fault *f)
{
	return db_migrate(db, "store", tables, sizeof tables / sizeof *tables, f);
}

int store_prepare(struct db *db, const uint8_t master_key[STORE_MASTER_KEY_BYTES], struct fault *f)
{
	uint8_t mark[32];
	if (store_derive(master_key, master_mark, mark))
		return fault_set(f, -EIO, "cannot derive keys");
	int err = store_tables(db, f);
	return err ? err : db_write(db, check_master, mark, f);
}

// Rows from before there were guards.
static int adopt(struct db_tx *t, void *ctx, struct fault *f)
{
	struct store *s = ctx;
	struct db_rows *r = NULL;
	struct store_anchor a;
	char name[POLICY_NAME];
	size_t n;
	int err = db_query(t, &r, f, "SELECT resource, measurement, mac FROM allowed", "");
	while (!err && (err = db_next(r, f)) == 1) {
		const void *mac = db_blob(r, 2, &n);
		err = guard_write(s->guard, t, "allowed", policy_name(name, db_text(r, 0), db_text(r, 1)), mac, n, f);
	}
	db_rows_end(r);
	r = NULL;
	if (!err)
		err = db_query(t, &r, f, "SELECT resource, epoch, generation, digest FROM anchor", "");
	while (!err && (err = db_next(r, f)) == 1) {
		err = anchor_of(r, &a, db_text(r, 0), f);
		if (!err)
			err = guard_write(s->guard, t, "anchor", db_text(r, 0), &a, sizeof a, f);
	}
	db_rows_end(r);
	return err;
}

int store_keys(struct store **out, const uint8_t master_key[STORE_MASTER_KEY_BYTES], struct fault *f)
{
	struct store *s = calloc(1, sizeof *s);
	if (!s)
		return fault_set(f, -ENOMEM, "out of memory");
	if (store_derive(master_key, "coffer broker policies v1", s->policy_key)) {
		store_close(s);
		return fault_set(f, -EIO, "cannot derive keys");
	}
	*out = s;
	return 0;
}

int store_open(struct store **out, struct db *db, struct guard *guard, const uint8_t master_key[STORE_MASTER_KEY_BYTES], struct fault *f)
{
	struct store *s;
	int err = store_keys(&s, master_key, f);
	if (err)
		return err;
	s->db = db;
	s->guard = guard;
	if (guard_new(guard))
		err = db_write(db, adopt, s, f);
	if (err)
		store_close(s);
	else
		*out = s;
	return err;
}

void store_close(struct store *s)
{
	free_wiped(s, s ? sizeof *s : 0);
}

int store_mac(const struct store *s, const char *what, const void *bytes, size_t len, uint8_t mac[32])
{
	size_t n = strlen(what) + 1, out = 0;	// with its NUL: a policy's text begins with a digit, and has none
	char *text = malloc(n + len);
	if (!text)
		return -ENOMEM;
	memcpy(mempcpy(text, what, n), bytes, len);
	bool ok = EVP_Q_mac(NULL, "HMAC", NULL, "SHA256", NULL, s->policy_key, sizeof s->policy_key, (uint8_t *)text, n + len, mac, 32, &out) &&
		  out == 32;
	free(text);
	return ok ? 0 : -EIO;
}

// Over a policy's row, each part with its length: what somebody else wrote into the database allows nothing.
static int policy_mac(const struct store *s, const char *resource, const char *measurement, const char *note, const char *created,
		      uint8_t out[32])
{
	const char *const parts[] = {resource, measurement, note, created};
	char text[1024];
	size_t n = 0, len = 0;
	for (int i = 0; i < 4; i++) {
		if (!parts[i] || n + strlen(parts[i]) + 24 > sizeof text)
			return -EINVAL;
		n += (size_t)snprintf(text + n, sizeof text - n, "%zu:%s", strlen(parts[i]), parts[i]);
	}
	return EVP_Q_mac(NULL, "HMAC", NULL, "SHA256", NULL, s->policy_key, sizeof s->policy_key, (const uint8_t *)text, n, out, 32, &len) &&
	       len == 32 ? 0 : -EIO;
}

// The row of a statement that gives resource, measurement, note, created, mac. -EBADMSG when this broker did not write it.
static int check_policy(struct store *s, struct db_tx *t, struct db_rows *r, struct fault *f)
{
	const char *text[4];
	char name[POLICY_NAME];
	uint8_t mac[32];
	size_t len;
	const void *found = db_blob(r, 4, &len);
	for (int i = 0; i < 4; i++)
		text[i] = db_text(r, i);
	if (!policy_mac(s, text[0], text[1], text[2], text[3], mac) && len == sizeof mac && !CRYPTO_memcmp(found, mac, sizeof mac)) {
		int err = guard_read(s->guard, t, "allowed", policy_name(name, text[0], text[1]), mac, sizeof mac, f);
		if (err != -EBADMSG)
			return err;
	}
	return fault_set(f, -EBADMSG, "a policy of %.200s was changed outside the broker: it allows nothing. `coffer policy deny` removes it, "
			 "`allow` makes it anew", text[0] ? text[0] : "?");
}

// What a transaction is about, and what it finds.
struct work {
	struct store *s;
	const char *resource, *measurement, *note;
	char (*list)[ATTEST_MEASUREMENT_HEX];
	unsigned int count;
	json_t *json;
	long long policies;
	struct store_anchor *anchor;
	const struct store_anchor *from, *to;
	bool back;
};

// Of a change: nothing changed is -ENOENT.
static int changed(int count, const char *resource, struct fault *f)
{
	if (count == 0)
		return fault_set(f, -ENOENT, "there is no such entry for %s", resource);
	return count > 0 ? 0 : count;
}

static int allow(struct db_tx *t, void *ctx, struct fault *f)
{
	const struct work *w = ctx;
	char now[32], name[POLICY_NAME];
	uint8_t mac[32];
	time_text(now, time(NULL));
	if (policy_mac(w->s, w->resource, w->measurement, w->note, now, mac))
		return fault_set(f, -EINVAL, "the policy cannot be stored");
	int err = db_run(t, f, "INSERT INTO allowed VALUES(?, ?, ?, ?, ?) ON CONFLICT (resource, measurement) DO UPDATE SET"
			 " note = excluded.note, created = excluded.created, mac = excluded.mac", "ttttb", w->resource, w->measurement, w->note, now,
			 mac, sizeof mac);
	return err < 0 ? err : guard_write(w->s->guard, t, "allowed", policy_name(name, w->resource, w->measurement), mac, sizeof mac, f);
}

int store_allow(struct store *s, const char *resource, const char *measurement, const char *note, struct fault *f)
{
	struct work w = {.s = s, .resource = resource, .measurement = measurement, .note = note};
	return db_write(s->db, allow, &w, f);
}

static int deny(struct db_tx *t, void *ctx, struct fault *f)
{
	const struct work *w = ctx;
	struct db_rows *r;
	char name[POLICY_NAME];
	int count = 0, err = db_query(t, &r, f, "SELECT measurement FROM allowed WHERE resource = ?", "t", w->resource);
	while (!err && (err = db_next(r, f)) == 1) {
		const char *m = db_text(r, 0);
		err = 0;
		if (w->measurement && strcmp(m, w->measurement))
			continue;
		count++;
		err = guard_write(w->s->guard, t, "allowed", policy_name(name, w->resource, m), NULL, 0, f);
		if (!err)
			err = db_run(t, f, "DELETE FROM allowed WHERE resource = ? AND measurement = ?", "tt", w->resource, m);
		err = err < 0 ? err : 0;
	}
	db_rows_end(r);
	return err ? err : count;
}

int store_deny(struct store *s, const char *resource, const char *measurement, struct fault *f)
{
	struct work w = {.s = s, .resource = resource, .measurement = measurement};
	return changed(db_write(s->db, deny, &w, f), resource, f);
}

static int get_allowed(struct db_tx *t, void *ctx, struct fault *f)
{
	struct work *w = ctx;
	struct db_rows *r;
	w->count = 0;
	int err = db_query(t, &r, f, "SELECT resource, measurement, note, created, mac FROM allowed WHERE resource = ?"
			   " ORDER BY created, measurement", "t", w->resource);
	while (!err && (err = db_next(r, f)) == 1 && !(err = check_policy(w->s, t, r, f))) {
		void *bigger = realloc(w->list, (w->count + 1) * sizeof *w->list);
		if (!bigger) {
			err = fault_set(f, -ENOMEM, "out of memory");
			break;
		}
		w->list = bigger;
		strncpy(w->list[w->count], db_text(r, 1), ATTEST_MEASUREMENT_HEX - 1);
		w->list[w->count++][ATTEST_MEASUREMENT_HEX - 1] = '\0';
	}
	db_rows_end(r);
	return err;
}

int store_allowed(struct store *s, const char *resource, char (**list)[ATTEST_MEASUREMENT_HEX], unsigned int *count,
		  struct fault *f)
{
	struct work w = {.s = s, .resource = resource};
	int err = db_read(s->db, get_allowed, &w, f);
	if (err) {
		free(w.list);
		w.list = NULL;
		w.count = 0;
	}
	*list = w.list;
	*count = w.count;
	return err;
}

static int get_policies(struct db_tx *t, void *ctx, struct fault *f)
{
	struct work *w = ctx;
	struct db_rows *r;
	json_array_clear(w->json);
	int err = db_query(t, &r, f, "SELECT resource, measurement, note, created, mac FROM allowed ORDER BY resource, created, measurement", "");
	while (!err && (err = db_next(r, f)) == 1) {
		json_t *o = json_pack("{s:s, s:s, s:s, s:s}", "resource", db_text(r, 0), "measurement", db_text(r, 1), "note", db_text(r, 2),
				      "created", db_text(r, 3));
		int checked = check_policy(w->s, t, r, f);
		if (checked && checked != -EBADMSG) {
			json_decref(o);
			err = checked;
			break;
		}
		if (checked)
			json_object_set_new(o, "changed_outside", json_true());
		err = json_array_append_new(w->json, o) ? fault_set(f, -ENOMEM, "out of memory") : 0;
	}
	db_rows_end(r);
	return err;
}

int store_policies(struct store *s, json_t **out, struct fault *f)
{
	struct work w = {.s = s, .json = json_array()};
	int err = w.json ? db_read(s->db, get_policies, &w, f) : fault_set(f, -ENOMEM, "out of memory");
	if (err)
		json_decref(w.json);
	else
		*out = w.json;
	return err;
}

static int count_policies(struct db_tx *t, void *ctx, struct fault *f)
{
	struct work *w = ctx;
	struct db_rows *r;
	int err = db_query(t, &r, f, "SELECT count(*) FROM allowed", "");
	if (!err && (err = db_next(r, f)) == 1) {
		w->policies = db_int(r, 0);
		err = 0;
	}
	db_rows_end(r);
	return err;
}

int store_count_policies(struct store *s, long long *policies, struct fault *f)
{
	struct work w = {.s = s};
	int err = db_read(s->db, count_policies, &w, f);
	*policies = w.policies;
	return err;
}

static int read_anchor(struct db_tx *t, const struct work *w, struct store_anchor *out, struct fault *f)
{
	struct db_rows *r;
	int err = db_query(t, &r, f, "SELECT resource, epoch, generation, digest FROM anchor WHERE resource = ?", "t", w->resource);
	if (!err)
		err = db_next(r, f);
	bool there = err == 1;
	if (there)
		err = anchor_of(r, out, w->resource, f);
	if (!err)
		err = guard_read(w->s->guard, t, "anchor", w->resource, there ? out : NULL, sizeof *out, f);
	if (!err && !there)
		err = fault_set(f, -ENOENT, "nothing is remembered of %s", w->resource);
	db_rows_end(r);
	return err;
}

static int get_anchor(struct db_tx *t, void *ctx, struct fault *f)
{
	struct work *w = ctx;
	return read_anchor(t, w, w->anchor, f);
}

int store_get_anchor(struct store *s, const char *resource, struct store_anchor *out, struct fault *f)
{
	struct work w = {.s = s, .resource = resource, .anchor = out};
	return db_read(s->db, get_anchor, &w, f);
}

static int move_anchor(struct db_tx *t, void *ctx, struct fault *f)
{
	const struct work *w = ctx;
	struct store_anchor now;
	char when[32];
	time_text(when, time(NULL));
	int err = read_anchor(t, w, &now, f);
	bool there = !err;
	if (err && err != -ENOENT)
		return err;
	if (there != (w->from != NULL) || (w->from && memcmp(&now, w->from, sizeof now)))
		return fault_set(f, -ESTALE, "what is remembered of %s has changed meanwhile", w->resource);
	// One transaction in any case: at no moment, and after no failure, is nothing remembered, for then any copy would be accepted.
	if (there && !w->back) {
		err = db_run(t, f, "UPDATE anchor SET epoch = ?, generation = ?, digest = ?, changed = ? WHERE resource = ?", "iibtt",
			     w->to->epoch, w->to->generation, w->to->digest, sizeof w->to->digest, when, w->resource);
	} else {
		// What the trigger lets nobody do: the owner puts a new row in the old one's place.
		err = there ? db_run(t, f, "DELETE FROM anchor WHERE resource = ?", "t", w->resource) : 0;
		if (err >= 0)
			err = db_run(t, f, "INSERT INTO anchor VALUES(?, ?, ?, ?, ?)", "tiibt", w->resource, w->to->epoch, w->to->generation,
				     w->to->digest, sizeof w->to->digest, when);
	}
	// A writer advances many times a second.
	if (err >= 0 && w->from && w->from->epoch == w->to->epoch)
		guard_later(w->s->guard, t);
	return err < 0 ? err : guard_write(w->s->guard, t, "anchor", w->resource, w->to, sizeof *w->to, f);
}

int store_move_anchor(struct store *s, const char *resource, const struct store_anchor *from, const struct store_anchor *to,
		      bool back, struct fault *f)
{
	struct work w = {.s = s, .resource = resource, .from = from, .to = to, .back = back};
	int err = db_write(s->db, move_anchor, &w, f);
	return err < 0 ? err : 0;
}

// ---- another master key ----

static int rekey_policies(struct store *s, const struct store *is, struct guard_rekey *k, struct db_tx *t, struct fault *f)
{
	struct db_rows *r = NULL;
	char name[POLICY_NAME];
	uint8_t mac[32];
	size_t len;
	int err = db_query(t, &r, f, "SELECT resource, measurement, note, created, mac FROM allowed ORDER BY resource, measurement", "");
	while (!err && (err = db_next(r, f)) == 1) {
		const char *resource = db_text(r, 0), *measurement = db_text(r, 1);
		const void *was = db_blob(r, 4, &len);
		err = check_policy(s, t, r, f);
		if (!err && policy_mac(is, resource, measurement, db_text(r, 2), db_text(r, 3), mac))
			err = fault_set(f, -EIO, "cannot authenticate a policy of %s", resource);
		if (!err)
			err = guard_rekey_row(k, "allowed", policy_name(name, resource, measurement), was, len, mac, sizeof mac, f);
		if (!err)
			err = db_run(t, f, "UPDATE allowed SET mac = ? WHERE resource = ? AND measurement = ?", "btt", mac, sizeof mac, resource, measurement);
		err = err < 0 ? err : 0;
	}
	db_rows_end(r);
	return err;
}

static int rekey_anchors(struct guard_rekey *k, struct db_tx *t, struct fault *f)
{
	struct db_rows *r = NULL;
	struct store_anchor a;
	int err = db_query(t, &r, f, "SELECT resource, epoch, generation, digest FROM anchor ORDER BY resource", "");
	while (!err && (err = db_next(r, f)) == 1) {
		err = anchor_of(r, &a, db_text(r, 0), f);
		if (!err)
			err = guard_rekey_row(k, "anchor", db_text(r, 0), &a, sizeof a, &a, sizeof a, f);
	}
	db_rows_end(r);
	return err;
}

int store_rekey(struct store *s, const struct store *is, const uint8_t new_key[STORE_MASTER_KEY_BYTES], struct guard_rekey *k, struct db_tx *t, struct fault *f)
{
	uint8_t mark[32];
	int err = store_derive(new_key, master_mark, mark) ? fault_set(f, -EIO, "cannot derive keys") : 0;
	if (!err)
		err = rekey_policies(s, is, k, t, f);
	if (!err)
		err = rekey_anchors(k, t, f);
	if (!err)
		err = db_run(t, f, "UPDATE meta SET value = ? WHERE name = 'master'", "b", mark, sizeof mark);
	if (err >= 0)
		err = db_run(t, f, "DELETE FROM secret", "");	// what was put there behind the broker's back: secrets.c
	return err < 0 ? err : 0;
}

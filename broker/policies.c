// SPDX-License-Identifier: Apache-2.0
// See policies.h.
#include "broker/policies.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "broker/api.h"
#include "broker/state.h"
#include "lib/encode.h"
#include "lib/log.h"
#include "lib/sha.h"
#include "lib/tls.h"

#define BLIND_MS 60000
#define AGAIN_MS 2000	// a version that could not be used may have been met by a moment's lack of something

static const struct db_migration tables[] = {
	{.both = "CREATE TABLE policy_version(version INTEGER PRIMARY KEY, name TEXT NOT NULL, author TEXT NOT NULL, created INTEGER NOT NULL,"
		 " digest TEXT NOT NULL, body TEXT NOT NULL) STRICT;"
		 "CREATE TABLE policy_head(one INTEGER PRIMARY KEY, active INTEGER NOT NULL) STRICT;"},
};

int policies_tables(struct db *db, struct fault *f)
{
	return db_migrate(db, "policy", tables, sizeof tables / sizeof *tables, f);
}

int policies_open(struct broker *b, struct fault *f)
{
	return policies_tables(b->db, f);
}

struct work {
	struct broker *b;
	long long version;
	struct policy_version *v;
	json_t *list;
};

static int read_active(struct db_tx *t, void *ctx, struct fault *f)
{
	struct work *w = ctx;
	struct db_rows *r;
	int err = db_query(t, &r, f, "SELECT active FROM policy_head WHERE one = 1", ""), found = 0;
	w->version = 0;
	if (!err && (err = found = db_next(r, f)) == 1)
		w->version = db_int(r, 0);
	db_rows_end(r);
	return err < 0 ? err : guard_read(w->b->guard, t, "policy_head", "1", found ? &w->version : NULL, sizeof w->version, f);
}

int policies_active(struct broker *b, long long *version, struct fault *f)
{
	struct work w = {.b = b};
	int err = db_read(b->db, read_active, &w, f);
	*version = w.version;
	return err;
}

// What is guarded of a version: its text through the digest.
static size_t content_of(const struct policy_version *v, char out[400])
{
	return (size_t)snprintf(out, 400, "%zu:%s%zu:%s%s %lld", strlen(v->name), v->name, strlen(v->author), v->author, v->digest, v->created);
}

static void digest_of(const char *text, size_t len, char hex[65])
{
	uint8_t digest[32];
	sha_256(text, len, digest);
	hex_encode(hex, digest, sizeof digest);
}

static bool take(char *out, size_t size, const char *from)
{
	return from && strlen(from) < size && strcpy(out, from);
}

static int read_version(struct db_tx *t, void *ctx, struct fault *f)
{
	struct work *w = ctx;
	struct policy_version *v = w->v;
	long long wanted = w->version;
	char name[32], content[400], digest[65];
	struct db_rows *r;
	policy_version_free(v);
	int err = wanted ? 0 : read_active(t, w, f);
	v->version = w->version;
	w->version = wanted;
	if (err)
		return err;
	if (!v->version)
		return fault_set(f, -ENOENT, "no policy was put here");
	err = db_query(t, &r, f, "SELECT name, author, created, digest, body FROM policy_version WHERE version = ?", "i", v->version);
	if (!err && (err = db_next(r, f)) == 1) {
		v->created = db_int(r, 2);
		v->text = strdup(db_text(r, 4) ?: "");
		v->len = v->text ? strlen(v->text) : 0;
		digest_of(v->text ? v->text : "", v->len, digest);
		err = v->text && take(v->name, sizeof v->name, db_text(r, 0)) && take(v->author, sizeof v->author, db_text(r, 1)) &&
		      take(v->digest, sizeof v->digest, db_text(r, 3)) && !strcmp(digest, v->digest) ? 0 :
		      fault_set(f, -EBADMSG, "version %lld of the policy was changed outside the broker", v->version);
	} else if (!err) {
		// The one that holds does not just go away: then another would decide, or none.
		err = fault_set(f, wanted ? -ENOENT : -EBADMSG, "there is no version %lld of the policy", v->version);
	}
	db_rows_end(r);
	snprintf(name, sizeof name, "%lld", v->version);
	return err ? err : guard_read(w->b->guard, t, "policy_version", name, content, content_of(v, content), f);
}

int policies_get(struct broker *b, long long version, struct policy_version *out, struct fault *f)
{
	struct work w = {.b = b, .version = version, .v = out};
	memset(out, 0, sizeof *out);
	int err = db_read(b->db, read_version, &w, f);
	if (err)
		policy_version_free(out);
	return err;
}

void policy_version_free(struct policy_version *v)
{
	free(v->text);
	memset(v, 0, sizeof *v);
}

static int list_work(struct db_tx *t, void *ctx, struct fault *f)
{
	struct work *w = ctx;
	struct db_rows *r;
	char number[32], content[400];
	int err = read_active(t, w, f);
	json_array_clear(w->list);
	if (err)
		return err;
	err = db_query(t, &r, f, "SELECT version, name, author, created, digest FROM policy_version ORDER BY version DESC", "");
	while (!err && (err = db_next(r, f)) == 1) {
		struct policy_version v = {.version = db_int(r, 0), .created = db_int(r, 3)};
		char when[32];
		snprintf(number, sizeof number, "%lld", v.version);
		bool fits = take(v.name, sizeof v.name, db_text(r, 1)) && take(v.author, sizeof v.author, db_text(r, 2)) &&
			    take(v.digest, sizeof v.digest, db_text(r, 4));
		err = fits ? guard_read(w->b->guard, t, "policy_version", number, content, content_of(&v, content), f) :
			fault_set(f, -EBADMSG, "version %lld of the policy was changed outside the broker", v.version);
		if (err)
			break;
		time_text(when, (time_t)v.created);
		json_array_append_new(w->list, json_pack("{s:I, s:s, s:s, s:s, s:s, s:b}", "version", (json_int_t)v.version, "name", v.name, "author", v.author,
							 "digest", v.digest, "created", when, "active", v.version == w->version));
	}
	db_rows_end(r);
	return err < 0 ? err : 0;
}

int policies_list(struct broker *b, json_t **out, struct fault *f)
{
	struct work w = {.b = b, .list = json_array()};
	int err = db_read(b->db, list_work, &w, f);
	if (err)
		json_decref(w.list);
	else
		*out = w.list;
	return err;
}

int policies_rekey(struct guard_rekey *k, struct db_tx *t, struct fault *f)
{
	struct db_rows *r = NULL;
	char number[32], content[400];
	int err = db_query(t, &r, f, "SELECT version, name, author, created, digest FROM policy_version ORDER BY version", "");
	while (!err && (err = db_next(r, f)) == 1) {
		struct policy_version v = {.version = db_int(r, 0), .created = db_int(r, 3)};
		snprintf(number, sizeof number, "%lld", v.version);
		bool fits = take(v.name, sizeof v.name, db_text(r, 1)) && take(v.author, sizeof v.author, db_text(r, 2)) &&
			    take(v.digest, sizeof v.digest, db_text(r, 4));
		size_t len = fits ? content_of(&v, content) : 0;
		err = guard_rekey_row(k, "policy_version", number, content, len, content, len, f);
	}
	db_rows_end(r);
	r = NULL;
	if (!err)
		err = db_query(t, &r, f, "SELECT active FROM policy_head WHERE one = 1", "");
	if (!err && (err = db_next(r, f)) == 1) {
		long long active = db_int(r, 0);
		err = guard_rekey_row(k, "policy_head", "1", &active, sizeof active, &active, sizeof active, f);
	}
	db_rows_end(r);
	return err;
}

static int put_work(struct db_tx *t, void *ctx, struct fault *f)
{
	struct work *w = ctx;
	struct policy_version *v = w->v;
	struct db_rows *r;
	char name[32], content[400];
	int err = read_active(t, w, f);
	v->version = 0;
	if (!err && v->text) {
		err = db_query(t, &r, f, "SELECT coalesce(max(version), 0) FROM policy_version", "");
		if (!err && (err = db_next(r, f)) == 1)
			v->version = db_int(r, 0) + 1;
		db_rows_end(r);
		if (err >= 0)
			err = db_run(t, f, "INSERT INTO policy_version(version, name, author, created, digest, body) VALUES(?, ?, ?, ?, ?, ?)", "ittitt", v->version,
				     v->name, v->author, v->created, v->digest, v->text);
		snprintf(name, sizeof name, "%lld", v->version);
		if (err >= 0)
			err = guard_write(w->b->guard, t, "policy_version", name, content, content_of(v, content), f);
	}
	if (err >= 0)
		err = db_run(t, f, "INSERT INTO policy_head(one, active) VALUES(1, ?) ON CONFLICT (one) DO UPDATE SET active = excluded.active", "i", v->version);
	return err < 0 ? err : guard_write(w->b->guard, t, "policy_head", "1", &v->version, sizeof v->version, f);
}

void policies_digest(struct policy_version *v)
{
	digest_of(v->text, v->len, v->digest);
}

int policies_put(struct broker *b, struct policy_version *v, struct fault *f)
{
	struct work w = {.b = b, .v = v};
	v->created = time(NULL);
	if (v->text)
		policies_digest(v);
	int err = db_write(b->db, put_work, &w, f);
	atomic_fetch_add(&b->policy_changes, 1);	// also after an error: it may not be known whether it took effect
	return err < 0 ? err : 0;
}

// The database does not answer: said once a minute, however many requests there are.
static void say_blind(struct broker *b, const struct fault *f)
{
	int64_t now = clock_ms(), again = atomic_load(&b->policy_blind_ms);
	if (now >= again && atomic_compare_exchange_strong(&b->policy_blind_ms, &again, now + BLIND_MS))
		log_alarm("broker: the policy cannot be looked at, the one before stays: %s", f->text);
}

enum look { SAME, BEHIND, UNKNOWN };

// Is another version used than the one that holds? One that could not be used is tried again only now and then.
static enum look look(struct broker *b, long long *active)
{
	struct fault f = {""};
	int err = policies_active(b, active, &f);
	if (err) {
		say_blind(b, &f);
		return UNKNOWN;
	}
	pthread_rwlock_rdlock(&b->verifier_lock);
	bool same = b->verifier.policy_version == *active;
	pthread_rwlock_unlock(&b->verifier_lock);
	return same ? SAME : atomic_load(&b->policy_failed) != *active || clock_ms() >= atomic_load(&b->policy_again_ms) ? BEHIND : UNKNOWN;
}

static enum look follow(struct broker *b)
{
	struct fault f = {""};
	long long active;
	enum look found = look(b, &active);
	if (found != BEHIND)
		return found;
	pthread_mutex_lock(&b->follow_lock);
	found = look(b, &active);
	if (found != BEHIND) {	// another request was faster
	} else if (broker_state_follow(b, &f)) {
		if (atomic_exchange(&b->policy_failed, active) != active)
			log_alarm("broker: version %lld of the policy cannot be used here, the one before stays: %s", active, f.text);
		atomic_store(&b->policy_again_ms, clock_ms() + AGAIN_MS);
	} else {
		atomic_store(&b->policy_failed, -1);
		if (active)
			log_info("broker: version %lld of the policy holds now", active);
		else
			log_info("broker: no policy is put any longer");
		found = SAME;
	}
	pthread_mutex_unlock(&b->follow_lock);
	return found;
}

void policies_follow(struct broker *b)
{
	unsigned long changes = atomic_load(&b->policy_changes);
	if (b->settings->policy[0])	// a file decides
		return;
	// A database that is this broker's alone holds what it put there: asked is after each change, until that was followed.
	if (!db_shared(b->db) && atomic_load(&b->policy_followed) == changes)
		return;
	if (follow(b) == SAME)
		atomic_store(&b->policy_followed, changes);
}

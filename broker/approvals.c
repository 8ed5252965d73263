// SPDX-License-Identifier: Apache-2.0
// See approvals.h.
#include "broker/approvals.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "attest/slice.h"
#include "broker/api.h"
#include "broker/guard.h"
#include "lib/encode.h"
#include "lib/log.h"
#include "lib/sha.h"

#define MAX_WAITING 1000
#define MAX_WAITING_EACH 50	// of one who asks
#define CLEAR_AT_ONCE 64	// approvals whose time is over, with each new one
#define WAIT_SECONDS (7 * 86400)

static const struct db_migration tables[] = {
	{.both = "CREATE TABLE approval_request(id TEXT PRIMARY KEY, action TEXT NOT NULL, subject TEXT NOT NULL, detail TEXT NOT NULL,"
		 " asked INTEGER NOT NULL, author TEXT NOT NULL) STRICT;"
		 "CREATE TABLE approval(id TEXT NOT NULL, keyid TEXT NOT NULL, expires TEXT NOT NULL, signature BLOB NOT NULL, PRIMARY KEY(id, keyid)) STRICT;"},
};

static const char *const operations[] = {"allow", "destroy", "identity", "policy", "read", NULL};

int approval_check_rule(const json_t *rule, struct fault *f)
{
	const json_t *of = json_object_get(rule, "of");
	json_int_t k = json_integer_value(json_object_get(rule, "k"));
	size_t n = json_array_size(of);
	for (size_t i = 0; i < n; i++) {
		const char *name = json_string_value(json_array_get(of, i));
		for (size_t j = 0; j < i; j++) {
			if (!strcmp(json_string_value(json_array_get(of, j)), name))
				return fault_set(f, -EINVAL, "'%.64s' stands in `of` twice", name);
		}
	}
	return k >= 1 && (size_t)k <= n ? 0 : fault_set(f, -EINVAL, "k must be between 1 and the number of names in `of`");
}

int approvals_check_settings(const json_t *settings, struct fault *f)
{
	struct fault why = {""};
	const char *name;
	json_t *rule;
	json_object_foreach((json_t *)settings, name, rule) {
		const char *const *o = operations;
		while (*o && strcmp(*o, name))
			o++;
		if (!*o)
			return fault_set(f, -EINVAL, "approvals: '%.32s' is none of allow, destroy, identity, policy, read", name);
		if (approval_check_rule(rule, &why))
			return fault_set(f, -EINVAL, "approvals: %s: %s", name, why.text);
	}
	return 0;
}

int approvals_tables(struct db *db, struct fault *f)
{
	return db_migrate(db, "approval", tables, sizeof tables / sizeof *tables, f);
}

int approvals_open(struct broker *b, struct fault *f)
{
	uint8_t mac[32];
	int err = store_mac(b->store, "approvals of the broker", "", 0, mac);
	if (err)
		return fault_set(f, err, "cannot derive keys");
	hex_encode(b->approval_name, mac, 8);
	return approvals_tables(b->db, f);
}

void approval_id(const struct approval *a, char id[APPROVAL_ID])
{
	uint8_t digest[32];
	char text[APPROVAL_STATEMENT];
	int n = snprintf(text, sizeof text, "%s\n%s\n%s", a->action, a->subject, a->detail);
	sha_256(text, n < (int)sizeof text ? (size_t)n : sizeof text - 1, digest);
	hex_encode(id, digest, 8);
}

int approval_statement(const char *broker, const struct approval *a, const char *expires, char out[APPROVAL_STATEMENT])
{
	// Lines are told apart by what ends them; and what a terminal obeys could show an approver something else.
	if (!text_is_printable(a->action) || !text_is_printable(a->subject) || !text_is_printable(a->detail) || !text_is_printable(expires))
		return -EINVAL;
	int n = snprintf(out, APPROVAL_STATEMENT, "coffer-approval-v1\nbroker: %s\naction: %s\nsubject: %s\ndetail: %s\nexpires: %s\n", broker, a->action,
			 a->subject, a->detail, expires);
	return n < APPROVAL_STATEMENT ? 0 : -E2BIG;
}

struct signed_one {
	char keyid[IDENTITY_KEYID], expires[32];
	uint8_t signature[SIGNKEY_SIGNATURE];
};

struct reading {
	struct broker *b;
	const char *id;
	struct signed_one *all;
	unsigned int count;
};

// The guarded row's name: one that was used up, and is put back, counts for nothing.
static const char *row_name(const char *id, const struct signed_one *s, char out[APPROVAL_ID + IDENTITY_KEYID])
{
	snprintf(out, APPROVAL_ID + IDENTITY_KEYID, "%s %s", id, s->keyid);
	return out;
}

static int read_signed(struct db_tx *t, void *ctx, struct fault *f)
{
	struct reading *g = ctx;
	struct db_rows *r;
	size_t len;
	char name[APPROVAL_ID + IDENTITY_KEYID];
	int err = db_query(t, &r, f, "SELECT keyid, expires, signature FROM approval WHERE id = ? ORDER BY keyid", "t", g->id);
	g->count = 0;
	while (!err && (err = db_next(r, f)) == 1) {
		struct signed_one *more = realloc(g->all, (g->count + 1) * sizeof *more), *s;
		const char *keyid = db_text(r, 0), *expires = db_text(r, 1);
		const void *signature = db_blob(r, 2, &len);
		err = more ? 0 : fault_set(f, -ENOMEM, "out of memory");
		if (!more)
			break;
		g->all = more;
		s = &more[g->count];
		// What does not fit was not written by a broker, and counts for nothing.
		if (keyid && expires && strlen(keyid) < sizeof s->keyid && strlen(expires) < sizeof s->expires && len == sizeof s->signature) {
			memset(s, 0, sizeof *s);
			strcpy(s->keyid, keyid);
			strcpy(s->expires, expires);
			memcpy(s->signature, signature, len);
			int kept = guard_read(g->b->guard, t, "approval", row_name(g->id, s, name), s, sizeof *s, f);
			g->count += !kept;
			err = kept == -EBADMSG ? 0 : kept;
		}
	}
	db_rows_end(r);
	return err < 0 ? err : 0;
}

int approvals_rekey(struct guard_rekey *k, struct db_tx *t, struct fault *f)
{
	struct db_rows *r = NULL;
	char name[APPROVAL_ID + IDENTITY_KEYID];
	size_t len;
	int err = db_query(t, &r, f, "SELECT id, keyid, expires, signature FROM approval", "");
	while (!err && (err = db_next(r, f)) == 1) {
		struct signed_one s = {0};
		const char *id = db_text(r, 0), *keyid = db_text(r, 1), *expires = db_text(r, 2);
		const void *signature = db_blob(r, 3, &len);
		err = 0;
		// What does not fit was not written by a broker.
		if (!id || !keyid || !expires || strlen(keyid) >= sizeof s.keyid || strlen(expires) >= sizeof s.expires || len != sizeof s.signature)
			continue;
		strcpy(s.keyid, keyid);
		strcpy(s.expires, expires);
		memcpy(s.signature, signature, len);
		err = guard_rekey_row(k, "approval", row_name(id, &s, name), &s, sizeof s, NULL, 0, f);
		err = err == -EBADMSG ? 0 : err;
	}
	db_rows_end(r);
	if (!err)
		err = db_run(t, f, "DELETE FROM approval", "");
	return err < 0 ? err : 0;
}

static bool may_approve(const struct identity *who)
{
	const struct caller c = {.kind = CALLER_KEY, .roles = who->roles};
	return caller_may(&c, PERMIT_APPROVE, NULL);
}

// Does its signature hold, and its time, and its signer?
static int check_one(struct broker *b, const struct approval *a, const char *keyid, const char *expires, const uint8_t signature[SIGNKEY_SIGNATURE],
		     struct identity *who, struct fault *f)
{
	char text[APPROVAL_STATEMENT];
	EVP_PKEY *key;
	json_t *when = json_string(expires);
	time_t until = when ? slice_time(when) : -1, now = time(NULL);
	json_decref(when);
	if (until < now || until > now + APPROVAL_DAYS * 86400ll)
		return fault_set(f, -EINVAL, "expires: a time like 2026-01-31T00:00:00Z that lies ahead, by %d days at most", APPROVAL_DAYS);
	int err = strchr(keyid, ':') ? -ENOENT : identities_find(b->identities, keyid, who, f);
	if (err)
		return err == -ENOENT ? fault_set(f, err, "an approval is signed by an identity's key: a certificate or the admin token cannot") : err;
	if (!may_approve(who))
		return fault_set(f, -EACCES, "%s may not approve", who->name);
	if (approval_statement(b->approval_name, a, expires, text) || signkey_read(who->pem, strlen(who->pem), &key, f))
		return fault_set(f, -EINVAL, "the statement is too long or not one");
	bool good = signkey_verify(key, text, strlen(text), signature, SIGNKEY_SIGNATURE);
	EVP_PKEY_free(key);
	return good ? 0 : fault_set(f, -EKEYREJECTED, "the approval's signature does not hold");
}

int approval_check(struct broker *b, const struct approval *a, const char *keyid, const char *expires, const uint8_t signature[SIGNKEY_SIGNATURE],
		   struct fault *f)
{
	struct identity who;
	return check_one(b, a, keyid, expires, signature, &who, f);
}

struct putting {
	struct broker *b;
	const char *id;
	struct signed_one s;
};

struct over {
	char id[APPROVAL_ID], keyid[IDENTITY_KEYID];
};

// Those whose time is over count for nothing; here they go.
static int clear_over(struct broker *b, struct db_tx *t, struct fault *f)
{
	char now_text[32], name[APPROVAL_ID + IDENTITY_KEYID];
	struct db_rows *r;
	struct over *over = calloc(CLEAR_AT_ONCE, sizeof *over);
	unsigned int count = 0;
	if (!over)
		return fault_set(f, -ENOMEM, "out of memory");
	time_text(now_text, time(NULL));
	int err = db_query(t, &r, f, "SELECT id, keyid FROM approval WHERE expires < ? ORDER BY expires LIMIT ?", "ti", now_text, (long long)CLEAR_AT_ONCE);
	while (!err && (err = db_next(r, f)) == 1) {
		const char *id = db_text(r, 0), *keyid = db_text(r, 1);
		if (id && keyid && strlen(id) < sizeof over->id && strlen(keyid) < sizeof over->keyid && count < CLEAR_AT_ONCE) {
			strcpy(over[count].id, id);
			strcpy(over[count++].keyid, keyid);
		}
		err = 0;
	}
	db_rows_end(r);
	for (unsigned int i = 0; i < count && !err; i++) {
		struct signed_one s;
		strcpy(s.keyid, over[i].keyid);
		err = db_run(t, f, "DELETE FROM approval WHERE id = ? AND keyid = ?", "tt", over[i].id, over[i].keyid);
		if (err >= 0)
			err = guard_write(b->guard, t, "approval", row_name(over[i].id, &s, name), NULL, 0, f);
	}
	free(over);
	return err;
}

static int put_work(struct db_tx *t, void *ctx, struct fault *f)
{
	const struct putting *p = ctx;
	char name[APPROVAL_ID + IDENTITY_KEYID];
	int err = clear_over(p->b, t, f);
	if (err)
		return err;
	err = db_run(t, f, "INSERT INTO approval(id, keyid, expires, signature) VALUES(?, ?, ?, ?) ON CONFLICT (id, keyid) DO UPDATE SET"
			 " expires = excluded.expires, signature = excluded.signature", "tttb", p->id, p->s.keyid, p->s.expires, p->s.signature,
			 sizeof p->s.signature);
	return err < 0 ? err : guard_write(p->b->guard, t, "approval", row_name(p->id, &p->s, name), &p->s, sizeof p->s, f);
}

int approvals_put(struct broker *b, const struct approval *a, const char *keyid, const char *expires, const uint8_t signature[SIGNKEY_SIGNATURE],
		  struct fault *f)
{
	char id[APPROVAL_ID];
	struct putting p = {.b = b, .id = id};
	if (strlen(keyid) >= sizeof p.s.keyid || strlen(expires) >= sizeof p.s.expires)
		return fault_set(f, -EINVAL, "expires: a time like 2026-01-31T00:00:00Z");
	approval_id(a, id);
	strcpy(p.s.keyid, keyid);
	strcpy(p.s.expires, expires);
	memcpy(p.s.signature, signature, sizeof p.s.signature);
	int err = db_write(b->db, put_work, &p, f);
	return err < 0 ? err : 0;
}

// *g: what was looked at; its list is the caller's to free in any case.
static int judge(const struct approval *a, struct reading *g, json_t **names, struct fault *f)
{
	int err = db_read(g->b->db, read_signed, g, f);
	*names = json_array();
	for (unsigned int i = 0; !err && i < g->count; i++) {
		struct identity who;
		err = check_one(g->b, a, g->all[i].keyid, g->all[i].expires, g->all[i].signature, &who, f);
		if (!err)
			json_array_append_new(*names, json_string(who.name));
		else if (err == -EINVAL || err == -ENOENT || err == -EACCES || err == -EKEYREJECTED)
			err = 0;	// one that no longer counts
	}
	if (err) {
		json_decref(*names);
		*names = NULL;
	}
	return err;
}

int approvals_valid(struct broker *b, const struct approval *a, json_t **names, struct fault *f)
{
	char id[APPROVAL_ID];
	struct reading g = {.b = b, .id = id};
	approval_id(a, id);
	int err = judge(a, &g, names, f);
	free(g.all);
	return err;
}

struct waiting {
	const struct approval *a;
	const char *id, *by;
	long long now;
};

const char *approval_by_enclave(const char *address, char out[APPROVAL_BY])
{
	uint8_t six[16];
	char net[INET6_ADDRSTRLEN];
	if (inet_pton(AF_INET6, address, six) == 1) {	// who has one address of a /64 has all
		memset(six + 8, 0, 8);
		if (inet_ntop(AF_INET6, six, net, sizeof net))
			address = net;
	}
	snprintf(out, APPROVAL_BY, APPROVAL_BY_ENCLAVE " at %.46s", address);
	return out;
}

static bool is_enclave(const char *by)
{
	return !strncmp(by, APPROVAL_BY_ENCLAVE, sizeof APPROVAL_BY_ENCLAVE - 1);
}

// What waits beside the one that is asked for (again): how much in all, of enclaves, of who asks, and about the same measurement.
struct places {
	long long all, enclaves, own, same;
};

static int count_places(struct db_tx *t, const struct waiting *w, struct places *n, struct fault *f)
{
	struct db_rows *r;
	memset(n, 0, sizeof *n);
	int err = db_query(t, &r, f, "SELECT author, detail FROM approval_request WHERE id <> ?", "t", w->id);
	while (!err && (err = db_next(r, f)) == 1) {
		const char *author = db_text(r, 0) ?: "", *detail = db_text(r, 1) ?: "";
		n->all++;
		n->enclaves += is_enclave(author);
		n->own += !strcmp(author, w->by);
		n->same += is_enclave(author) && !strcmp(detail, w->a->detail);
		err = 0;
	}
	db_rows_end(r);
	return err < 0 ? err : 0;
}

// All places of enclaves are taken: of those who have most, the oldest that nobody has approved yet goes, if they have more than who asks would.
static int take_place(struct db_tx *t, const struct places *n, struct fault *f)
{
	char author[APPROVAL_BY] = "";
	struct db_rows *r;
	long long most = 0;
	int err = db_query(t, &r, f, "SELECT author, count(*) AS n FROM approval_request WHERE author LIKE '" APPROVAL_BY_ENCLAVE "%' GROUP BY author"
			   " ORDER BY n DESC, author LIMIT 1", "");
	if (!err && (err = db_next(r, f)) == 1) {
		snprintf(author, sizeof author, "%s", db_text(r, 0) ?: "");
		most = db_int(r, 1);
	}
	db_rows_end(r);
	if (err < 0 || most <= n->own + 1)
		return err < 0 ? err : 0;
	return db_run(t, f, "DELETE FROM approval_request WHERE id IN (SELECT id FROM approval_request WHERE author = ?"
		      " AND id NOT IN (SELECT id FROM approval) ORDER BY asked, id LIMIT 1)", "t", author);
}

static int ask_work(struct db_tx *t, void *ctx, struct fault *f)
{
	const struct waiting *w = ctx;
	bool enclave = is_enclave(w->by);
	struct places n;
	int err = db_run(t, f, "DELETE FROM approval_request WHERE asked < ?", "i", w->now - WAIT_SECONDS);
	if (err >= 0)
		err = count_places(t, w, &n, f);
	if (err < 0)
		return err;
	if (enclave && n.same >= MAX_WAITING_EACH)
		return fault_set(f, -EDQUOT, "%d releases to this measurement wait for approvals already", MAX_WAITING_EACH);
	if (!enclave && n.own >= MAX_WAITING_EACH)
		return fault_set(f, -EDQUOT, "%d operations of %.64s wait for approvals already: have those approved first, or wait until they are "
				 "forgotten, after %d days", MAX_WAITING_EACH, w->by, WAIT_SECONDS / 86400);
	if (enclave && n.enclaves >= MAX_WAITING / 2) {
		err = take_place(t, &n, f);
		if (!err)
			err = fault_set(f, -EDQUOT, "%d releases to enclaves wait for approvals, which is as many as may", MAX_WAITING / 2);
		if (err < 0)
			return err;
		n.all--;
	}
	if (n.all >= MAX_WAITING)
		return fault_set(f, -EDQUOT, "%d operations wait for approvals, which is as many as may", MAX_WAITING);
	err = db_run(t, f, "INSERT INTO approval_request(id, action, subject, detail, asked, author) VALUES(?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE"
		     " SET asked = excluded.asked", "ttttit", w->id, w->a->action, w->a->subject, w->a->detail, w->now, w->by);
	return err < 0 ? err : 0;
}

int approvals_ask(struct broker *b, const struct approval *a, const char *by, struct fault *f)
{
	char id[APPROVAL_ID];
	approval_id(a, id);
	return db_write(b->db, ask_work, &(struct waiting){.a = a, .id = id, .by = by, .now = time(NULL)}, f);
}

// All of those that were judged, or none (0): whoever is second finds others, or none, and what came meanwhile is not taken for what is gone.
static int use_work(struct db_tx *t, void *ctx, struct fault *f)
{
	const struct reading *judged = ctx;
	struct reading now = {.b = judged->b, .id = judged->id};
	char name[APPROVAL_ID + IDENTITY_KEYID];
	int err = read_signed(t, &now, f), used = (int)now.count;
	if (err || now.count != judged->count || (now.count && memcmp(now.all, judged->all, now.count * sizeof *now.all))) {
		used = 0;
		goto out;
	}
	err = db_run(t, f, "DELETE FROM approval WHERE id = ?", "t", now.id);
	if (err >= 0)
		err = db_run(t, f, "DELETE FROM approval_request WHERE id = ?", "t", now.id);
	for (unsigned int i = 0; i < now.count && err >= 0; i++)
		err = guard_write(now.b->guard, t, "approval", row_name(now.id, &now.all[i], name), NULL, 0, f);
out:
	free(now.all);
	return err < 0 ? err : used;
}

// Those that were asked for.
static json_t *names_in(const json_t *names, const json_t *of)
{
	json_t *list = json_array(), *want, *have;
	size_t i, j;
	json_array_foreach((json_t *)of, i, want) {
		json_array_foreach((json_t *)names, j, have) {
			if (json_equal(want, have)) {
				json_array_append(list, want);
				break;
			}
		}
	}
	return list;
}

bool broker_approved(struct broker *b, struct http_response *r, const char *operation, const char *subject, const char *detail)
{
	const json_t *rule = json_object_get(b->approvals, operation), *of = json_object_get(rule, "of");
	const struct approval a = {operation, subject, detail};
	struct fault f = {""};
	char id[APPROVAL_ID], text[600];
	struct reading g = {.b = b, .id = id};
	json_t *names = NULL, *counted;
	if (!rule)
		return true;
	approval_id(&a, id);
	int err = judge(&a, &g, &names, &f);
	counted = names_in(names, of);
	json_decref(names);
	size_t have = json_array_size(counted), need = (size_t)json_integer_value(json_object_get(rule, "k"));
	if (!err && have >= need) {
		err = db_write(b->db, use_work, &g, &f);
		have = err > 0 ? have : 0;
		err = err < 0 ? err : 0;
	}
	free(g.all);
	if (!err && have >= need) {
		json_decref(r->caller->approved_by);
		r->caller->approved_by = counted;
		return true;
	}
	json_decref(counted);
	if (!err)
		err = approvals_ask(b, &a, r->caller->name, &f);
	if (err == -EDQUOT) {
		broker_problem(r, 429, "TooManyWaiting", f.text, NULL);
		return false;
	}
	if (err) {
		log_alarm("broker: approvals: %s", f.text);
		broker_problem(r, db_worth_retrying(err) ? 503 : 500, "Internal", "the approvals cannot be looked at now; the broker's own log says why", NULL);
		return false;
	}
	snprintf(text, sizeof text, "this needs %zu approvals, and has %zu: `coffer approve %s` by others, then once more", need, have, id);
	broker_problem(r, 403, "ApprovalNeeded", text, NULL);
	return false;
}

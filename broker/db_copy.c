// SPDX-License-Identifier: Apache-2.0
// See db_copy.h. A page of rows is in memory at a time: a server's answers come whole. Takes no lock.
#include "broker/db_copy.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "broker/approvals.h"
#include "broker/db_backend.h"
#include "broker/identities.h"
#include "broker/policies.h"
#include "broker/secrets.h"
#include "broker/signer.h"
#include "broker/store.h"

#define MAX_KEY 3

// Columns of the key come first.
struct table {
	const char *count, *first, *next, *insert, *empty;
	int keys, columns;
};
#define TABLE(name, key, rest, marks, all, keys, columns) { \
	"SELECT count(*) FROM " name, \
	"SELECT " key rest " FROM " name " ORDER BY " key " LIMIT 64", \
	"SELECT " key rest " FROM " name " WHERE (" key ") > (" marks ") ORDER BY " key " LIMIT 64", \
	"INSERT INTO " name "(" key rest ") VALUES(" all ")", "DELETE FROM " name, keys, columns}

static const struct table tables[] = {
	TABLE("meta", "name", ", value", "?", "?, ?", 1, 2),
	TABLE("allowed", "resource, measurement", ", note, created, mac", "?, ?", "?, ?, ?, ?, ?", 2, 5),
	TABLE("anchor", "resource", ", epoch, generation, digest, changed", "?", "?, ?, ?, ?, ?", 1, 5),
	TABLE("secret_head", "resource", ", head", "?", "?, ?", 1, 2),
	TABLE("secret_value", "resource, version", ", sealed", "?, ?", "?, ?, ?", 2, 3),
	TABLE("secret_release", "resource, version, who", ", mac", "?, ?, ?", "?, ?, ?, ?", 3, 4),
	TABLE("signing_key", "ring, kid", ", body", "?, ?", "?, ?, ?", 2, 3),
	TABLE("identity", "name", ", roles, prefixes, keyid, pem, created, author", "?", "?, ?, ?, ?, ?, ?, ?", 1, 7),
	TABLE("identity_head", "one", ", version, mac", "?", "?, ?, ?", 1, 3),
	TABLE("admin_nonce", "keyid, nonce", ", until", "?, ?", "?, ?, ?", 2, 3),
	TABLE("approval_request", "id", ", action, subject, detail, asked, author", "?", "?, ?, ?, ?, ?, ?", 1, 6),
	TABLE("approval", "id, keyid", ", expires, signature", "?, ?", "?, ?, ?, ?", 2, 4),
	TABLE("policy_version", "version", ", name, author, created, digest, body", "?", "?, ?, ?, ?, ?, ?", 1, 6),
	TABLE("policy_head", "one", ", active", "?", "?, ?", 1, 2),
	TABLE("guard", "area, name", ", stamp, mac", "?, ?", "?, ?, ?, ?", 2, 4),
	TABLE("guard_lane", "lane", ", version, sealed", "?", "?, ?, ?", 1, 3),
};
#define TABLES (sizeof tables / sizeof *tables)

static int make_tables(struct db *db, struct fault *f)
{
	int (*const areas[])(struct db *db, struct fault *f) = {store_tables, guard_tables, secrets_tables, signers_tables, identities_tables,
								approvals_tables, policies_tables};
	int err = 0;
	for (size_t i = 0; i < sizeof areas / sizeof *areas && !err; i++)
		err = areas[i](db, f);
	return err;
}

static int one_number(struct db_tx *t, const char *sql, long long *out, struct fault *f)
{
	struct db_rows *r = NULL;
	int err = db_query(t, &r, f, sql, "");
	if (!err && (err = db_next(r, f)) == 1) {
		*out = db_int(r, 0);
		err = 0;
	}
	db_rows_end(r);
	return err;
}

static int check_empty(struct db_tx *t, struct fault *f)
{
	for (size_t i = 0; i < TABLES; i++) {
		long long rows = 0;
		int err = one_number(t, tables[i].count, &rows, f);
		if (err)
			return err;
		if (rows)
			return fault_set(f, -EEXIST, "the database to write into holds a broker's data already: it must be a new one, or an empty one");
	}
	return 0;
}

// What stays of a row when the next page is asked for.
struct place {
	struct db_value key[MAX_KEY];
	char *text[MAX_KEY];
};

static int keep(struct place *p, const struct table *table, const struct db_value *v, struct fault *f)
{
	for (int i = 0; i < table->keys; i++) {
		free(p->text[i]);
		p->text[i] = NULL;
		p->key[i] = v[i];
		if (v[i].type != 't')
			continue;
		if (!(p->text[i] = strdup(v[i].p)))
			return fault_set(f, -ENOMEM, "out of memory");
		p->key[i].p = p->text[i];
	}
	return 0;
}

static int copy_page(struct db_tx *from, struct db_tx *to, const struct table *table, struct place *p, bool first, int *rows, struct fault *f)
{
	struct db_value v[DB_MAX_VALUES];
	struct db_rows *r = NULL;
	int err = first ? db_query(from, &r, f, table->first, "") : db_query_values(from, &r, f, table->next, p->key, table->keys);
	*rows = 0;
	while (!err && (err = db_next(r, f)) == 1) {
		for (int i = 0; i < table->columns; i++)
			v[i] = db_value_of(r, i);
		err = db_run_values(to, f, table->insert, v, table->columns);
		err = err < 0 ? err : keep(p, table, v, f);
		++*rows;
	}
	db_rows_end(r);
	return err;
}

static int copy_table(struct db_tx *from, struct db_tx *to, const struct table *table, struct fault *f)
{
	struct place p = {.text = {NULL}};
	int rows = 1, err = 0;
	for (bool first = true; rows && !err; first = false)
		err = copy_page(from, to, table, &p, first, &rows, f);
	for (int i = 0; i < MAX_KEY; i++)
		free(p.text[i]);
	return err;
}

static int version_of(struct db_tx *t, const char *area, long long *out, struct fault *f)
{
	struct db_rows *r = NULL;
	int err = db_query(t, &r, f, "SELECT version FROM schema_version WHERE area = ?", "t", area);
	*out = 0;
	if (!err && (err = db_next(r, f)) == 1)
		*out = db_int(r, 0);
	db_rows_end(r);
	return err < 0 ? err : 0;
}

static int check_versions(struct db_tx *from, struct db_tx *to, struct fault *f)
{
	static const char *const areas[] = {"store", "guard", "secrets", "signer", "identity", "approval", "policy"};
	for (size_t i = 0; i < sizeof areas / sizeof *areas; i++) {
		long long theirs, ours;
		int err = version_of(from, areas[i], &theirs, f);
		if (!err)
			err = version_of(to, areas[i], &ours, f);
		if (err)
			return err;
		if (theirs != ours)
			return fault_set(f, -EPROTO, "the tables '%s' have version %lld, this Coffer's have %lld: use the Coffer that the brokers run, or let it "
					 "start on the database first", areas[i], theirs, ours);
	}
	return 0;
}

// Stamps of a shared database come from a sequence: it goes on behind all that was used.
static int move_clock(struct db_tx *t, struct fault *f)
{
	struct db_rows *r = NULL;
	long long rows = 0, lanes = 0;
	int err = one_number(t, "SELECT coalesce(max(stamp), 0) FROM guard", &rows, f);
	if (!err)
		err = one_number(t, "SELECT coalesce(max(version), 0) FROM guard_lane", &lanes, f);
	if (!err)
		err = db_query(t, &r, f, "SELECT setval('guard_clock', ?)", "i", (rows > lanes ? rows : lanes) + 1);
	db_rows_end(r);
	return err;
}

struct work {
	struct db *to;
	struct db_tx *from;
};

static int write_all(struct db_tx *to, void *ctx, struct fault *f)
{
	const struct work *w = ctx;
	int err = check_versions(w->from, to, f);
	if (!err)
		err = check_empty(to, f);
	for (size_t i = 0; i < TABLES && !err; i++)
		err = copy_table(w->from, to, &tables[i], f);
	return !err && db_shared(w->to) ? move_clock(to, f) : err;
}

static int read_all(struct db_tx *t, void *ctx, struct fault *f)
{
	struct work *w = ctx;
	w->from = t;
	return db_write(w->to, write_all, w, f);
}

int db_copy(struct db *from, struct db *to, struct fault *f)
{
	struct work w = {.to = to};
	int err = make_tables(to, f);
	return err ? err : db_read(from, read_all, &w, f);
}

static int empty_all(struct db_tx *t, void *ctx, struct fault *f)
{
	int err = 0;
	(void)ctx;
	for (size_t i = 0; i < TABLES && err >= 0; i++)
		err = db_run(t, f, tables[i].empty, "");
	return err < 0 ? err : 0;
}

int db_copy_undo(struct db *to, struct fault *f)
{
	return db_write(to, empty_all, NULL, f);
}

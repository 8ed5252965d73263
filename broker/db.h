// SPDX-License-Identifier: Apache-2.0
// A small SQL layer for the broker's tables: a file of SQLite, or a PostgreSQL server. Only db_sqlite.c and db_pg.c know them.
// Connections are pooled inside (SQLite has one); every function but those on a transaction may be called from any thread.
//
// SQL is what both understand: `?` for parameters, INSERT ... ON CONFLICT (...) DO NOTHING / DO UPDATE SET x = excluded.x, RETURNING,
// no INSERT OR REPLACE, no rowid. To add tables, an area of the broker (a .c file) has a list of its own and calls db_migrate() once,
// after db_open(), before anything is served:
//
//	static const struct db_migration tables[] = {
//		{.both = "CREATE TABLE ticket(name TEXT PRIMARY KEY, uses INTEGER NOT NULL, body BLOB NOT NULL) STRICT"},	// 1
//		{.both = "ALTER TABLE ticket ADD COLUMN expires INTEGER NOT NULL DEFAULT 0"},				// 2
//	};
//	err = db_migrate(db, "ticket", tables, 2, f);
//
// A migration that was ever pushed is not edited: a further one is added behind it. In `both`, types are written TEXT, INTEGER (64 bits)
// and BLOB, and tables end in STRICT: each backend gets what it calls so (text is in the order of its bytes). Several statements end in ';'.
// What differs (triggers) goes into `sqlite` and `postgres`, which run after it.
//
// The host may edit any row: what matters is to be authenticated, under the name and the table it stands in.
#ifndef COFFER_BROKER_DB_H
#define COFFER_BROKER_DB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/fault.h"

struct db;
struct db_tx;
struct db_rows;

// What calls return beside -ENOMEM and -EIO:
//	-ENOTCONN	the server is not reachable now
//	-EUCLEAN	at the end of a writing transaction: it took effect, or may have; the message says why that is not as it should be
//	-EBUSY		others were in the way too often
//	-ETIMEDOUT	it took too long
//	-ENOSPC, -EROFS	nothing can be written now
//	-EEXIST		a key is taken
//	-EPERM		a trigger refused it
// True of the first six: it is worth to ask again later (503).
bool db_worth_retrying(int err);

// `where`: a path (made when missing, 0600), or postgresql://...
int db_open(struct db **out, const char *where, struct fault *f);
void db_close(struct db *d);
// Other brokers may work on it at the same time.
bool db_shared(const struct db *d);
// Is `where` such a URL?
bool db_is_url(const char *where);

// Connections that other brokers have to it now. To be asked before a second thread uses `d`: a connection of this process would count.
int db_others(struct db *d, long long *count, struct fault *f);

// A copy as it is at one moment, in a new file (0600), while others work on it. -EOPNOTSUPP: a server makes its own.
int db_snapshot(struct db *d, const char *path, struct fault *f);

struct db_migration {
	const char *both, *sqlite, *postgres;	// NULL for none
};
// Brings the tables of an area to version `count`, in one transaction. -EPROTO: they are newer than that.
int db_migrate(struct db *d, const char *area, const struct db_migration *list, unsigned int count, struct fault *f);

// Runs `work` in a transaction: committed and durable when both return 0 or more (its result is returned), otherwise nothing of it
// happened. Writers are serializable: `work` may be called several times, each time from the start, and must have no effect elsewhere
// (or one that may be repeated). A reader sees one state.
typedef int db_work(struct db_tx *t, void *ctx, struct fault *f);
int db_write(struct db *d, db_work *work, void *ctx, struct fault *f);
int db_read(struct db *d, db_work *work, void *ctx, struct fault *f);

// One who follows all transactions of db_write (guard.c). `data` is the transaction's own, NULL at first.
struct db_observer {
	void *ctx;
	// The last thing in it.
	int (*ending)(void *ctx, struct db_tx *t, struct fault *f);
	// It took effect, or not; nobody else uses the connection yet.
	void (*ended)(void *ctx, void *data, bool committed);
	// Others go on; who called db_write waits for this. Frees data.
	int (*settled)(void *ctx, void *data, bool committed, struct fault *f);
};
void db_observe(struct db *d, const struct db_observer *o);
void **db_data(struct db_tx *t);
// The connection's place in the pool, 0...
unsigned int db_lane(const struct db_tx *t);
// How many times this transaction was begun before.
unsigned int db_attempt(const struct db_tx *t);

// A statement. Each letter of `types` is a parameter: t (const char *, NULL is null), b (const void *, size_t), i (long long), n (null,
// nothing passed). `sql` must be a literal: prepared statements are found by its address. After a failed statement the transaction can
// only fail. Returns the number of rows changed.
int db_run(struct db_tx *t, struct fault *f, const char *sql, const char *types, ...);
// A transaction of one such statement.
int db_do(struct db *d, struct fault *f, const char *sql, const char *types, ...);

// One that yields rows: *out is ended by db_rows_end (NULL is fine) in any case, before the transaction ends. Other statements may run
// meanwhile.
int db_query(struct db_tx *t, struct db_rows **out, struct fault *f, const char *sql, const char *types, ...);
// 1: there is a row; 0: no more.
int db_next(struct db_rows *r, struct fault *f);
void db_rows_end(struct db_rows *r);
// Of the row, valid until the next: column 0... NULL and 0 for null.
long long db_int(struct db_rows *r, int column);
const char *db_text(struct db_rows *r, int column);
const void *db_blob(struct db_rows *r, int column, size_t *len);

#endif

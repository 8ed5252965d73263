// SPDX-License-Identifier: Apache-2.0
// Rows that the host may not edit, swap, delete or put back: of each guarded row the database also has a stamp and a MAC over table,
// name, stamp and content, under the master key. Two further things tell an older state, which once was true, from the present one:
//
//	memory	the newest stamp of each row that this broker knows of. Of a database that is its own (SQLite) it knows all
//	digest	a keyed multiset hash over all guarded rows, kept in shares: each connection of each broker has one of its own (a "lane",
//		with a version that counts its transactions), so that writers do not wait for each other. All shares and all rows are
//		compared at the start, and in between where brokers share a database. The lanes' versions and the digest of all go to the
//		audit log after each change, before it is answered, and are compared with it at the start
//
// docs/broker-operations.md says what that detects. For whoever has a table: in each transaction that changes a row, call guard_write
// with what the row now says; in each that reads one, call guard_read with what was found. `content` is any unambiguous encoding of
// what matters in the row (columns that are not in it are not guarded). Not for what lives only for minutes (sessions).
//
//	err = db_run(t, f, "UPDATE ticket SET uses = ? WHERE name = ?", "it", uses - 1, name);
//	if (err >= 0)
//		err = guard_write(g, t, "ticket", name, content, len, f);
#ifndef COFFER_BROKER_GUARD_H
#define COFFER_BROKER_GUARD_H

#include <jansson.h>

#include "broker/db.h"

struct guard;
struct audit;

// Makes its tables, compares what is in them with itself and with what the log last said, and from now on tells the log; *db and *a must
// outlive it. `a` NULL: nothing is compared or told. `accept`: the owner says that the database was put back on purpose; is recorded.
// -EBADMSG: rows were changed by somebody else, or the database is of another master key. -ESTALE: it was put back.
int guard_open(struct guard **out, struct db *db, const uint8_t master_key[32], struct audit *a, bool accept, struct fault *f);
int guard_tables(struct db *db, struct fault *f);	// makes them only
void guard_close(struct guard *g);
// The database has never been guarded: rows that are there already are to be written with guard_write now.
bool guard_new(const struct guard *g);

// The row now has this content; NULL: it is gone (fine when it was not there).
int guard_write(struct guard *g, struct db_tx *t, const char *table, const char *name, const void *content, size_t len, struct fault *f);
// The row was found with this content; NULL: it was not found. -EBADMSG: that is not what the brokers last wrote.
int guard_read(struct guard *g, struct db_tx *t, const char *table, const char *name, const void *content, size_t len, struct fault *f);
// What this transaction changes may be lost from the audit log if the broker is killed within a second (and then a rollback of just that
// is not noticed at the start): for what changes many times a second.
void guard_later(struct guard *g, struct db_tx *t);

// Has the audit log say how the database is.
int guard_tell(struct guard *g, struct fault *f);

// Compares all rows with all shares. -EBADMSG.
int guard_check(struct guard *g, struct fault *f);
// False when a look at all rows has found that somebody else changed them: nothing guarded is given out any more.
bool guard_sound(struct guard *g);

// ---- Another master key (rekey_data.c): in one transaction, on a database that nobody else uses ----
struct guard_rekey;
// `g` is open under the old key.
int guard_rekey_begin(struct guard_rekey **out, struct guard *g, const uint8_t new_key[32], struct db_tx *t, struct fault *f);
// A row was found with content `was`; checked as by guard_read, and from now on it has `is` (NULL: it was taken away). Each row once.
int guard_rekey_row(struct guard_rekey *k, const char *table, const char *name, const void *was, size_t was_len, const void *is, size_t is_len,
		    struct fault *f);
// -EBADMSG when there are rows that were not named. After it only the new key's guard can be opened.
int guard_rekey_end(struct guard_rekey *k, struct fault *f);
void guard_rekey_free(struct guard_rekey *k);

#endif

// SPDX-License-Identifier: Apache-2.0
// Inside the SQL layer (db.h): what a backend is. A connection is used by one thread at a time.
#ifndef COFFER_BROKER_DB_BACKEND_H
#define COFFER_BROKER_DB_BACKEND_H

#include "broker/db.h"

#define DB_MAX_VALUES 16
#define DB_MAX_CONNECTIONS 8

struct db_value {
	char type;	// as in db_run: t, b, i, n
	long long i;
	const void *p;	// text has a NUL behind its `len` bytes
	size_t len;
};

struct db_conn;
struct db_tx;

// As db_run, of values that came out of rows; a row's column.
int db_run_values(struct db_tx *t, struct fault *f, const char *sql, const struct db_value *v, int count);
int db_query_values(struct db_tx *t, struct db_rows **out, struct fault *f, const char *sql, const struct db_value *v, int count);
struct db_value db_value_of(struct db_rows *r, int column);

struct db_rows {
	struct db_conn *conn;
};

enum db_mode { DB_READ, DB_WRITE, DB_MIGRATE };	// the last: alone among all brokers

// Calls return 0 or -errno as in db.h, and -EAGAIN for a transaction that is to be run again from its start.
struct db_backend {
	unsigned int connections;	// at most, DB_MAX_CONNECTIONS
	bool shared;
	bool postgres;
	int (*connect)(struct db_conn **out, const char *where, struct fault *f);
	void (*disconnect)(struct db_conn *c);
	int (*begin)(struct db_conn *c, enum db_mode mode, struct fault *f);
	int (*commit)(struct db_conn *c, struct fault *f);
	void (*rollback)(struct db_conn *c);
	// Can it still be used?
	bool (*alive)(struct db_conn *c);
	// Statements without parameters, one after the other.
	int (*script)(struct db_conn *c, const char *sql, struct fault *f);
	// rows NULL: runs to its end, returns the number of rows changed.
	int (*run)(struct db_conn *c, const char *sql, const struct db_value *v, int count, struct db_rows **rows, struct fault *f);
	int (*next)(struct db_rows *r, struct fault *f);
	void (*end)(struct db_rows *r);
	void (*value)(struct db_rows *r, int column, struct db_value *out);
	// How many connections of other brokers there are; NULL: there can be none.
	int (*others)(struct db_conn *c, long long *count, struct fault *f);
	int (*snapshot)(struct db_conn *c, const char *path, struct fault *f);	// NULL: it has none
};

struct db_conn {
	const struct db_backend *backend;
	int failed;	// a statement of this transaction failed so
};

extern const struct db_backend db_sqlite, db_postgres;

#endif

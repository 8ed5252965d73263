// SPDX-License-Identifier: Apache-2.0
// Inserts rows 1, 2, 3... into a SQLite database for ever, a transaction each, and says a row's number once its transaction is
// durable.
//
//	powercut-sqlite FILE wal|delete|truncate|persist [ROWS]
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv)
{
	static char blob[6000];
	sqlite3 *db;
	sqlite3_stmt *st;
	char sql[200];
	if (argc < 3 || sqlite3_open(argv[1], &db))
		return 2;
	// extra: with a rollback journal the commit is the journal's removal, which "full" does not make durable by itself
	snprintf(sql, sizeof sql, "pragma journal_mode=%s; pragma synchronous=extra; create table if not exists t(n integer primary key, b blob)", argv[2]);
	if (sqlite3_exec(db, sql, NULL, NULL, NULL) || sqlite3_prepare_v2(db, "select coalesce(max(n), 0) from t", -1, &st, NULL) ||
	    sqlite3_step(st) != SQLITE_ROW) {
		fprintf(stderr, "%s\n", sqlite3_errmsg(db));
		return 1;
	}
	long n = (long)sqlite3_column_int64(st, 0), end = argc > 3 ? n + atol(argv[3]) : 1000000;
	sqlite3_finalize(st);
	if (sqlite3_prepare_v2(db, "insert into t values(?, ?)", -1, &st, NULL))
		return 1;
	while (n < end) {
		n++;
		memset(blob, (int)n, sizeof blob);
		sqlite3_bind_int64(st, 1, n);
		sqlite3_bind_blob(st, 2, blob, (int)(n * 37 % (long)sizeof blob), SQLITE_STATIC);
		if (sqlite3_step(st) != SQLITE_DONE) {
			fprintf(stderr, "row %ld: %s\n", n, sqlite3_errmsg(db));
			return 1;
		}
		sqlite3_reset(st);
		printf("%ld\n", n);
		fflush(stdout);
	}
	return sqlite3_close(db) != 0;
}

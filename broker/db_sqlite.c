// SPDX-License-Identifier: Apache-2.0
// The SQLite backend of db.h: one connection, WAL, synchronous=FULL. Takes no locks: the pool gives it to one thread at a time.
#include "broker/db_backend.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/file.h"

#define KEPT 64			// prepared statements
#define BUSY_MS 1000		// of waiting for a lock at a time: db.c asks again, and knows when it is enough

struct kept {
	const char *sql;
	sqlite3_stmt *st;
	bool used;
};

struct connection {
	struct db_conn base;
	sqlite3 *db;
	struct kept kept[KEPT];
};

struct rows {
	struct db_rows base;
	sqlite3_stmt *st;
	struct kept *kept;
	bool first;	// it is on a row that nobody has asked for yet
	bool done;
};

static struct connection *of(struct db_conn *c)
{
	return (struct connection *)c;
}

static int fail(struct connection *c, struct fault *f)
{
	int code = sqlite3_extended_errcode(c->db), err = -EIO;
	switch (code & 0xff) {
	case SQLITE_FULL:
		err = -ENOSPC;
		break;
	case SQLITE_IOERR:	// some of its files it makes room for in other ways
		err = sqlite3_system_errno(c->db) == ENOSPC || sqlite3_system_errno(c->db) == EDQUOT ? -ENOSPC : -EIO;
		break;
	case SQLITE_NOMEM:
		err = -ENOMEM;
		break;
	case SQLITE_BUSY:
		err = -EAGAIN;
		break;
	case SQLITE_READONLY:
		err = -EROFS;
		break;
	case SQLITE_CONSTRAINT:
		err = code == SQLITE_CONSTRAINT_TRIGGER ? -EPERM : -EEXIST;
		break;
	}
	return fault_set(f, err, "the broker's database: %s", sqlite3_errmsg(c->db));
}

static void sqlite_disconnect(struct db_conn *base)
{
	struct connection *c = of(base);
	for (int i = 0; i < KEPT; i++)
		sqlite3_finalize(c->kept[i].st);
	sqlite3_close(c->db);
	free(c);
}

static int sqlite_connect(struct db_conn **out, const char *where, struct fault *f)
{
	struct connection *c = calloc(1, sizeof *c);
	int err = 0;
	if (!c)
		return fault_set(f, -ENOMEM, "out of memory");
	c->base.backend = &db_sqlite;
	// SQLite would make it with the umask's mode.
	int fd = open(where, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0) {
		err = fault_errno(f, errno, "cannot open %s", where);
		goto out;
	}
	close(fd);
	if (sqlite3_open_v2(where, &c->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK ||
	    sqlite3_busy_timeout(c->db, 5000) != SQLITE_OK ||	// for what follows
	    sqlite3_exec(c->db, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA secure_delete = ON;"
			 "PRAGMA trusted_schema = OFF;", NULL, NULL, NULL) != SQLITE_OK) {
		err = fail(c, f);
		err = err == -EAGAIN ? -EBUSY : err;
	}
	sqlite3_busy_timeout(c->db, BUSY_MS);
out:
	if (err)
		sqlite_disconnect(&c->base);
	else
		*out = &c->base;
	return err;
}

static int sqlite_script(struct db_conn *base, const char *sql, struct fault *f)
{
	return sqlite3_exec(of(base)->db, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : fail(of(base), f);
}

// Some failures have ended the transaction already.
static void sqlite_rollback(struct db_conn *base)
{
	if (!sqlite3_get_autocommit(of(base)->db))
		sqlite3_exec(of(base)->db, "ROLLBACK", NULL, NULL, NULL);
}

static bool sqlite_alive(struct db_conn *base)
{
	(void)base;
	return true;
}

static int prepare(struct connection *c, const char *sql, sqlite3_stmt **st, struct kept **place, struct fault *f)
{
	struct kept *empty = NULL;
	*place = NULL;
	for (struct kept *k = c->kept; k < c->kept + KEPT; k++) {
		if (k->sql == sql && !k->used) {
			k->used = true;
			*place = k;
			*st = k->st;
			return 0;
		}
		if (!k->sql && !empty)
			empty = k;
	}
	if (sqlite3_prepare_v3(c->db, sql, -1, empty ? SQLITE_PREPARE_PERSISTENT : 0, st, NULL) != SQLITE_OK)
		return fail(c, f);
	if (empty)
		*empty = (struct kept){sql, *st, true};
	*place = empty;
	return 0;
}

static void done_with(sqlite3_stmt *st, struct kept *k)
{
	if (!k) {
		sqlite3_finalize(st);
		return;
	}
	sqlite3_reset(st);
	sqlite3_clear_bindings(st);
	k->used = false;
}

// A statement without parameters or rows that is asked for all the time.
static int again_and_again(struct connection *c, const char *sql, struct fault *f)
{
	struct kept *k;
	sqlite3_stmt *st;
	int err = prepare(c, sql, &st, &k, f);
	if (err)
		return err;
	if (sqlite3_step(st) != SQLITE_DONE)
		err = fail(c, f);
	done_with(st, k);
	return err;
}

static int sqlite_begin(struct db_conn *base, enum db_mode mode, struct fault *f)
{
	static const char read[] = "BEGIN", write[] = "BEGIN IMMEDIATE";
	return again_and_again(of(base), mode == DB_READ ? read : write, f);
}

static int sqlite_commit(struct db_conn *base, struct fault *f)
{
	static const char commit[] = "COMMIT";
	return again_and_again(of(base), commit, f);
}

static int bind(sqlite3_stmt *st, const struct db_value *v, int count)
{
	int rc = SQLITE_OK;
	for (int i = 0; i < count && rc == SQLITE_OK; i++) {
		if (v[i].type == 't')
			rc = sqlite3_bind_text(st, i + 1, v[i].p, (int)v[i].len, SQLITE_TRANSIENT);
		else if (v[i].type == 'b')
			rc = sqlite3_bind_blob64(st, i + 1, v[i].p ? v[i].p : "", v[i].len, SQLITE_TRANSIENT);
		else if (v[i].type == 'i')
			rc = sqlite3_bind_int64(st, i + 1, v[i].i);
	}
	return rc;
}

static int sqlite_run(struct db_conn *base, const char *sql, const struct db_value *v, int count, struct db_rows **rows, struct fault *f)
{
	struct connection *c = of(base);
	struct kept *k;
	sqlite3_stmt *st;
	int err = prepare(c, sql, &st, &k, f);
	if (err)
		return err;
	int rc = bind(st, v, count);
	if (rc == SQLITE_OK)
		rc = sqlite3_step(st);
	if (rc != SQLITE_DONE && rc != SQLITE_ROW) {
		err = fail(c, f);
		done_with(st, k);
		return err;
	}
	if (!rows) {
		done_with(st, k);
		return sqlite3_changes(c->db);
	}
	struct rows *r = calloc(1, sizeof *r);
	if (!r) {
		done_with(st, k);
		return fault_set(f, -ENOMEM, "out of memory");
	}
	*r = (struct rows){{base}, st, k, rc == SQLITE_ROW, rc == SQLITE_DONE};
	*rows = &r->base;
	return 0;
}

static int sqlite_next(struct db_rows *base, struct fault *f)
{
	struct rows *r = (struct rows *)base;
	int rc = r->done ? SQLITE_DONE : r->first ? SQLITE_ROW : sqlite3_step(r->st);
	r->first = false;
	r->done = rc != SQLITE_ROW;
	return rc == SQLITE_ROW ? 1 : rc == SQLITE_DONE ? 0 : fail(of(base->conn), f);
}

static void sqlite_end(struct db_rows *base)
{
	struct rows *r = (struct rows *)base;
	done_with(r->st, r->kept);
	free(r);
}

static void sqlite_value(struct db_rows *base, int column, struct db_value *out)
{
	sqlite3_stmt *st = ((struct rows *)base)->st;
	switch (sqlite3_column_type(st, column)) {
	case SQLITE_INTEGER:
		*out = (struct db_value){.type = 'i', .i = sqlite3_column_int64(st, column)};
		break;
	case SQLITE_TEXT:
		*out = (struct db_value){.type = 't', .p = sqlite3_column_text(st, column), .len = (size_t)sqlite3_column_bytes(st, column)};
		break;
	case SQLITE_BLOB:
		*out = (struct db_value){.type = 'b', .p = sqlite3_column_blob(st, column), .len = (size_t)sqlite3_column_bytes(st, column)};
		out->p = out->p ? out->p : "";
		break;
	}
}

static int sqlite_snapshot(struct db_conn *base, const char *path, struct fault *f)
{
	sqlite3 *to = NULL;
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600), rc = SQLITE_ERROR;
	if (fd < 0)
		return fault_errno(f, errno, "cannot make %s", path);
	close(fd);
	if (sqlite3_open_v2(path, &to, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL) == SQLITE_OK) {
		sqlite3_backup *b = sqlite3_backup_init(to, "main", of(base)->db, "main");
		if (b) {
			sqlite3_backup_step(b, -1); // all of it, in one state
			rc = sqlite3_backup_finish(b);
		}
	}
	int err = rc == SQLITE_OK ? 0 : fault_set(f, (rc & 0xff) == SQLITE_FULL ? -ENOSPC : -EIO, "cannot copy the database: %s",
						  to ? sqlite3_errmsg(to) : "out of memory");
	sqlite3_close(to);
	return err;
}

const struct db_backend db_sqlite = {
	.connections = 1,
	.connect = sqlite_connect,
	.disconnect = sqlite_disconnect,
	.begin = sqlite_begin,
	.commit = sqlite_commit,
	.rollback = sqlite_rollback,
	.alive = sqlite_alive,
	.script = sqlite_script,
	.run = sqlite_run,
	.next = sqlite_next,
	.end = sqlite_end,
	.value = sqlite_value,
	.snapshot = sqlite_snapshot,
};

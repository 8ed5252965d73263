// SPDX-License-Identifier: Apache-2.0
// See db.h. `lock` guards the pool; it is never held while a statement runs.
#include "broker/db_backend.h"

#include <ctype.h>
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/tls.h"

#define ATTEMPTS 40		// of a transaction that meets others; about ten seconds
#define PATIENCE_MS 10000	// in all, with those attempts and with the wait for a connection
#define MIGRATE_MS 600000	// another broker changes the tables meanwhile
#define SILENT_MS 2000		// who was told so late that there is no answer has met a server that hangs
#define AGAIN_MS 1000		// after one that met it: those who queued up behind him, for a lock, are told before another one tries

struct db {
	const struct db_backend *backend;
	char *where;
	struct db_observer observer;
	pthread_mutex_t lock;
	pthread_cond_t freed;
	struct db_conn *conn[DB_MAX_CONNECTIONS];
	bool taken[DB_MAX_CONNECTIONS];
	bool silent, probing;	// the server hangs: one transaction at a time tries it, the others are told at once
	int64_t again_ms;	// not before this
};

struct db_tx {
	struct db_conn *c;
	unsigned int lane, attempt;
	int64_t began_ms;
	bool probe;
	void *data;
};

bool db_worth_retrying(int err)
{
	return err == -ENOTCONN || err == -EUCLEAN || err == -EBUSY || err == -ETIMEDOUT || err == -ENOSPC || err == -EROFS;
}

bool db_is_url(const char *where)
{
	return !strncmp(where, "postgresql://", 13) || !strncmp(where, "postgres://", 11);
}

bool db_shared(const struct db *d)
{
	return d->backend->shared;
}

void db_observe(struct db *d, const struct db_observer *o)
{
	d->observer = *o;
}

void **db_data(struct db_tx *t)
{
	return &t->data;
}

unsigned int db_lane(const struct db_tx *t)
{
	return t->lane;
}

unsigned int db_attempt(const struct db_tx *t)
{
	return t->attempt;
}

// A connection of the pool, made if need be, for this thread alone. When there is none in time, t->lane is none either.
static int take(struct db *d, struct db_tx *t, int64_t until_ms, struct fault *f)
{
	const struct timespec until = {until_ms / 1000, until_ms % 1000 * 1000000};
	unsigned int i;
	int late = 0;
	t->lane = DB_MAX_CONNECTIONS;
	pthread_mutex_lock(&d->lock);
	for (;;) {
		unsigned int empty = d->backend->connections;
		if (d->silent && (d->probing || clock_ms() < d->again_ms)) {
			pthread_mutex_unlock(&d->lock);
			return fault_set(f, -ENOTCONN, "the broker's database does not answer");
		}
		for (i = 0; i < d->backend->connections; i++) {
			if (!d->taken[i] && d->conn[i])
				break;
			if (!d->taken[i] && empty > i)
				empty = i;
		}
		if (i == d->backend->connections)
			i = empty;
		if (i < d->backend->connections)
			break;
		if (late) {
			pthread_mutex_unlock(&d->lock);
			return fault_set(f, -EBUSY, "the broker's database is busy: others have had all connections to it for too long");
		}
		late = pthread_cond_timedwait(&d->freed, &d->lock, &until);
	}
	d->taken[i] = true;
	t->probe = d->silent;
	d->probing |= t->probe;
	pthread_mutex_unlock(&d->lock);
	t->lane = i;
	t->began_ms = clock_ms();
	return d->conn[i] ? 0 : d->backend->connect(&d->conn[i], d->where, f);
}

static bool waited_for_nothing(const struct db_tx *t, int err)
{
	return err == -ENOTCONN && clock_ms() - t->began_ms >= SILENT_MS;
}

// `err`: how it ended.
static void give_back(struct db *d, const struct db_tx *t, int err)
{
	unsigned int i = t->lane;
	if (i == DB_MAX_CONNECTIONS)
		return;
	if (d->conn[i] && !d->backend->alive(d->conn[i])) {
		d->backend->disconnect(d->conn[i]);
		d->conn[i] = NULL;
	}
	pthread_mutex_lock(&d->lock);
	d->taken[i] = false;
	if (t->probe)
		d->probing = false;
	if (waited_for_nothing(t, err)) {
		d->silent = true;
		d->again_ms = clock_ms() + AGAIN_MS;
	} else if (err != -ENOTCONN) {
		d->silent = false;
	}
	pthread_cond_broadcast(&d->freed);
	pthread_mutex_unlock(&d->lock);
}

int db_open(struct db **out, const char *where, struct fault *f)
{
	struct db *d = calloc(1, sizeof *d);
	struct db_tx t = {.c = NULL, .lane = DB_MAX_CONNECTIONS};
	pthread_condattr_t monotonic;
	if (!d)
		return fault_set(f, -ENOMEM, "out of memory");
	pthread_mutex_init(&d->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&d->freed, &monotonic);
	pthread_condattr_destroy(&monotonic);
	d->backend = db_is_url(where) ? &db_postgres : &db_sqlite;
	d->where = strdup(where);
	int err = d->where ? take(d, &t, clock_ms() + PATIENCE_MS, f) : fault_set(f, -ENOMEM, "out of memory");
	if (err)
		db_close(d);
	else {
		give_back(d, &t, 0);
		*out = d;
	}
	return err;
}

void db_close(struct db *d)
{
	if (!d)
		return;
	for (unsigned int i = 0; i < DB_MAX_CONNECTIONS; i++) {
		if (d->conn[i])
			d->backend->disconnect(d->conn[i]);
	}
	pthread_cond_destroy(&d->freed);
	pthread_mutex_destroy(&d->lock);
	free(d->where);
	free(d);
}

// Longer and longer, and not all at the same moment.
static void wait_a_little(unsigned int attempt)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	unsigned int most = attempt < 9 ? 1u << attempt : 512;
	long ms = 1 + (now.tv_nsec / 1000) % most;
	nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL);
}

// *told: the end of the transaction was asked for.
static int once(struct db *d, struct db_tx *t, enum db_mode mode, db_work *work, void *ctx, bool *told, struct fault *f)
{
	struct db_conn *c = t->c;
	c->failed = 0;
	*told = false;
	int err = c->backend->begin(c, mode, f);
	if (err) {
		c->backend->rollback(c);	// it may have begun, and failed then: on the lock of who migrates
		return err;
	}
	int result = work(t, ctx, f);
	err = c->failed ? c->failed : result < 0 ? result : 0;
	if (!err && t->data)
		err = d->observer.ending(d->observer.ctx, t, f);
	err = c->failed ? c->failed : err;
	if (!err) {
		*told = mode != DB_READ;
		err = c->backend->commit(c, f);
	}
	if (err)
		c->backend->rollback(c);
	if (t->data)
		d->observer.ended(d->observer.ctx, t->data, !err);
	return err ? err : result;
}

static int settle(struct db *d, struct db_tx *t, int result, struct fault *f)
{
	int err = t->data ? d->observer.settled(d->observer.ctx, t->data, result >= 0, f) : 0;
	t->data = NULL;
	return result < 0 || !err ? result : err;
}

static int reconnect(struct db *d, unsigned int slot, struct fault *f)
{
	d->backend->disconnect(d->conn[slot]);
	d->conn[slot] = NULL;
	return d->backend->connect(&d->conn[slot], d->where, f);
}

static int transact(struct db *d, enum db_mode mode, db_work *work, void *ctx, struct fault *f)
{
	struct db_tx t = {.c = NULL};
	bool told = false, again = true, unknown = false;
	int64_t until_ms = clock_ms() + (mode == DB_MIGRATE ? MIGRATE_MS : PATIENCE_MS);
	int err = take(d, &t, until_ms, f);
	while (!err) {
		t.c = d->conn[t.lane];
		err = once(d, &t, mode, work, ctx, &told, f);
		if (err == -ENOTCONN && told) {
			unknown = true;
			fault_set(f, err, "the connection to the broker's database broke at the end of a change: whether it took effect is not "
				  "known. Look before you repeat it");
			break;
		}
		if (err == -EAGAIN && ((t.attempt >= ATTEMPTS && mode != DB_MIGRATE) || clock_ms() >= until_ms))
			err = fault_set(f, -EBUSY, "the broker's database is busy: others were in the way each time");
		if (err != -EAGAIN && (err != -ENOTCONN || !again || waited_for_nothing(&t, err)))
			break;
		settle(d, &t, err, NULL);
		if (err == -ENOTCONN) { // the server was restarted since it was last used
			again = false;
			err = reconnect(d, t.lane, f);
		} else {
			wait_a_little(t.attempt++);
			err = 0;
		}
	}
	give_back(d, &t, err);
	return settle(d, &t, unknown ? -EUCLEAN : err, f);
}

int db_write(struct db *d, db_work *work, void *ctx, struct fault *f)
{
	return transact(d, DB_WRITE, work, ctx, f);
}

int db_read(struct db *d, db_work *work, void *ctx, struct fault *f)
{
	return transact(d, DB_READ, work, ctx, f);
}

int db_others(struct db *d, long long *count, struct fault *f)
{
	struct db_tx t = {.c = NULL};
	*count = 0;
	if (!d->backend->others)
		return 0;
	int err = take(d, &t, clock_ms() + PATIENCE_MS, f);
	if (!err)
		err = d->backend->others(d->conn[t.lane], count, f);
	give_back(d, &t, err);
	return err;
}

int db_snapshot(struct db *d, const char *path, struct fault *f)
{
	struct db_tx t = {.c = NULL};
	if (!d->backend->snapshot)
		return fault_set(f, -EOPNOTSUPP, "the database is on a server: it has no file that could be copied");
	int err = take(d, &t, clock_ms() + PATIENCE_MS, f);
	if (!err)
		err = d->backend->snapshot(d->conn[t.lane], path, f);
	give_back(d, &t, err);
	return err;
}

static int collect(struct db_value *v, const char *types, va_list ap)
{
	int n = 0;
	for (; types[n]; n++) {
		if (n == DB_MAX_VALUES)
			return -EINVAL;
		v[n] = (struct db_value){.type = types[n]};
		if (types[n] == 't') {
			v[n].p = va_arg(ap, const char *);
			v[n].len = v[n].p ? strlen(v[n].p) : 0;
			v[n].type = v[n].p ? 't' : 'n';
		} else if (types[n] == 'b') {
			v[n].p = va_arg(ap, const void *);
			v[n].len = va_arg(ap, size_t);
		} else if (types[n] == 'i') {
			v[n].i = va_arg(ap, long long);
		}
	}
	return n;
}

static int statement(struct db_tx *t, struct db_rows **rows, struct fault *f, const char *sql, const struct db_value *v, int count)
{
	struct db_conn *c = t->c;
	if (rows)
		*rows = NULL;
	int err = c->failed ? c->failed : count < 0 ? fault_set(f, count, "too many parameters") : c->backend->run(c, sql, v, count, rows, f);
	if (err < 0)
		c->failed = err;
	return err;
}

int db_run(struct db_tx *t, struct fault *f, const char *sql, const char *types, ...)
{
	struct db_value v[DB_MAX_VALUES];
	va_list ap;
	va_start(ap, types);
	int n = collect(v, types, ap);
	va_end(ap);
	return statement(t, NULL, f, sql, v, n);
}

int db_query(struct db_tx *t, struct db_rows **out, struct fault *f, const char *sql, const char *types, ...)
{
	struct db_value v[DB_MAX_VALUES];
	va_list ap;
	va_start(ap, types);
	int n = collect(v, types, ap);
	va_end(ap);
	return statement(t, out, f, sql, v, n);
}

int db_run_values(struct db_tx *t, struct fault *f, const char *sql, const struct db_value *v, int count)
{
	return statement(t, NULL, f, sql, v, count);
}

int db_query_values(struct db_tx *t, struct db_rows **out, struct fault *f, const char *sql, const struct db_value *v, int count)
{
	return statement(t, out, f, sql, v, count);
}

struct single {
	const char *sql;
	struct db_value v[DB_MAX_VALUES];
	int count;
};

static int run_single(struct db_tx *t, void *ctx, struct fault *f)
{
	struct single *s = ctx;
	return statement(t, NULL, f, s->sql, s->v, s->count);
}

int db_do(struct db *d, struct fault *f, const char *sql, const char *types, ...)
{
	struct single s = {.sql = sql};
	va_list ap;
	va_start(ap, types);
	s.count = collect(s.v, types, ap);
	va_end(ap);
	return db_write(d, run_single, &s, f);
}

int db_next(struct db_rows *r, struct fault *f)
{
	struct db_conn *c = r->conn;
	int err = c->backend->next(r, f);
	if (err < 0)
		c->failed = err;
	return err;
}

void db_rows_end(struct db_rows *r)
{
	if (r)
		r->conn->backend->end(r);
}

struct db_value db_value_of(struct db_rows *r, int column)
{
	struct db_value v = {.type = 'n'};
	r->conn->backend->value(r, column, &v);
	return v;
}

long long db_int(struct db_rows *r, int column)
{
	struct db_value v = db_value_of(r, column);
	return v.type == 'i' ? v.i : 0;
}

const char *db_text(struct db_rows *r, int column)
{
	struct db_value v = db_value_of(r, column);
	return v.type == 't' ? v.p : NULL;
}

const void *db_blob(struct db_rows *r, int column, size_t *len)
{
	struct db_value v = db_value_of(r, column);
	*len = v.type == 'b' ? v.len : 0;
	return v.type == 'b' ? v.p : NULL;
}

static const char *const postgres_words[][2] = {{"BLOB", "BYTEA"}, {"INTEGER", "BIGINT"}, {"TEXT", "TEXT COLLATE \"C\""},
						  {"STRICT", ""}, {NULL, NULL}};

static bool in_word(char c)
{
	return isalnum((unsigned char)c) || c == '_';
}

// A migration's common words as PostgreSQL has them; malloc'ed.
static char *translated(const char *sql)
{
	char *out = NULL;
	size_t size = 0;
	FILE *to = open_memstream(&out, &size);
	if (!to)
		return NULL;
	for (const char *p = sql; *p;) {
		size_t n = 0;
		while (in_word(p[n]))
			n++;
		const char *now = p;
		size_t len = n ? n : 1;
		for (int i = 0; postgres_words[i][0] && n; i++) {
			if (strlen(postgres_words[i][0]) == n && !strncmp(postgres_words[i][0], p, n)) {
				now = postgres_words[i][1];
				len = strlen(now);
			}
		}
		fwrite(now, 1, len, to);
		p += n ? n : 1;
	}
	return fclose(to) ? free(out), NULL : out;
}

struct migrate {
	const struct db_backend *backend;
	const char *area;
	const struct db_migration *list;
	unsigned int count;
};

static const char versions[] = "CREATE TABLE IF NOT EXISTS schema_version(area TEXT PRIMARY KEY, version INTEGER NOT NULL) STRICT";

static int script(struct db_tx *t, const char *sql, bool translate, struct fault *f)
{
	struct db_conn *c = t->c;
	if (!sql)
		return 0;
	char *own = translate && c->backend->postgres ? translated(sql) : strdup(sql);
	int err = own ? c->backend->script(c, own, f) : fault_set(f, -ENOMEM, "out of memory");
	if (err)
		c->failed = err;
	free(own);
	return err;
}

static int migrate(struct db_tx *t, void *ctx, struct fault *f)
{
	const struct migrate *m = ctx;
	struct db_rows *r = NULL;
	long long version = 0;
	int err = script(t, versions, true, f);
	if (!err)
		err = db_query(t, &r, f, "SELECT version FROM schema_version WHERE area = ?", "t", m->area);
	if (!err)
		err = db_next(r, f);
	if (err == 1)
		version = db_int(r, 0);
	db_rows_end(r);
	if (err < 0)
		return err;
	if (version < 0 || version > m->count)
		return fault_set(f, -EPROTO, "the broker's database was written by a newer Coffer (its tables '%s' have version %lld, this one "
				 "knows %u): use that one, or put a backup from before back", m->area, version, m->count);
	if (version == m->count)
		return 0;
	err = 0;
	for (unsigned int i = (unsigned int)version; i < m->count && !err; i++) {
		err = script(t, m->list[i].both, true, f);
		if (!err)
			err = script(t, m->backend->postgres ? m->list[i].postgres : m->list[i].sqlite, false, f);
	}
	if (!err)
		err = db_run(t, f, "INSERT INTO schema_version VALUES(?, ?) ON CONFLICT (area) DO UPDATE SET version = excluded.version", "ti",
			     m->area, (long long)m->count);
	return err < 0 ? err : 0;
}

int db_migrate(struct db *d, const char *area, const struct db_migration *list, unsigned int count, struct fault *f)
{
	struct migrate m = {d->backend, area, list, count};
	return transact(d, DB_MIGRATE, migrate, &m, f);
}

// SPDX-License-Identifier: Apache-2.0
// The broker's database layer and the guard of its rows, on SQLite and on PostgreSQL.
#include "broker/db.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "broker/audit.h"
#include "broker/guard_inner.h"
#include "broker/secrets.h"
#include "broker/store.h"
#include "lib/tls.h"
#include "tests/attest/ok.h"
#include "tests/broker/pg.h"
#include "tests/folder.h"

static char work[64];
static const char *on; // what is being tested, for names
static const uint8_t master[32] = "a master key of this test's own";

#define OK(name, ...) do { char text_[160]; snprintf(text_, sizeof text_, "%s: %s", on, name); ok(text_, __VA_ARGS__); } while (0)

// ---- the layer ----

static const struct db_migration versions[] = {
	{.both = "CREATE TABLE thing(name TEXT PRIMARY KEY, n INTEGER NOT NULL, body BLOB) STRICT;"},
	{.both = "ALTER TABLE thing ADD COLUMN note TEXT NOT NULL DEFAULT 'none';"},
};

static int read_thing(struct db_tx *t, void *ctx, struct fault *f)
{
	struct db_rows *r = NULL;
	size_t len = 0;
	int *good = ctx;
	int err = db_query(t, &r, f, "SELECT name, n, body, note FROM thing WHERE name = ?", "t", "größte");
	if (!err)
		err = db_next(r, f);
	*good = err == 1 && !strcmp(db_text(r, 0), "größte") && db_int(r, 1) == LLONG_MIN && db_blob(r, 2, &len) && len == 5 &&
		!memcmp(db_blob(r, 2, &len), "a\0b\xff'", 5) && !strcmp(db_text(r, 3), "none") && db_next(r, f) == 0;
	db_rows_end(r);
	r = NULL;
	if (err == 1)
		err = db_query(t, &r, f, "SELECT body, n FROM thing WHERE name IN ('null', 'empty') ORDER BY name", "");
	*good = *good && db_next(r, f) == 1 && db_blob(r, 0, &len) && len == 0 && db_int(r, 1) == LLONG_MAX && db_next(r, f) == 1 &&
		!db_blob(r, 0, &len);
	db_rows_end(r);
	return err < 0 ? err : 0;
}

static int half(struct db_tx *t, void *ctx, struct fault *f)
{
	(void)ctx;
	int err = db_run(t, f, "INSERT INTO thing(name, n) VALUES('half', 1)", "");
	if (err < 0)
		return err;
	db_run(t, f, "INSERT INTO thing(name, n) VALUES('half', 2)", ""); // fails, and nobody looks
	return 0;
}

static int add_one(struct db_tx *t, void *ctx, struct fault *f)
{
	struct db_rows *r = NULL;
	long long n = 0;
	(void)ctx;
	int err = db_query(t, &r, f, "SELECT n FROM thing WHERE name = 'sum'", "");
	if (!err && (err = db_next(r, f)) == 1)
		n = db_int(r, 0);
	db_rows_end(r);
	return err < 0 ? err : db_run(t, f, "UPDATE thing SET n = ? WHERE name = 'sum'", "i", n + 1);
}

static void *add_many(void *ctx)
{
	struct fault f;
	for (int i = 0; i < 25; i++) {
		if (db_write(ctx, add_one, NULL, &f) != 1) {
			printf("# %s\n", f.text);
			break;
		}
	}
	return NULL;
}

static int read_number(struct db_tx *t, void *ctx, struct fault *f)
{
	struct db_rows *r = NULL;
	int err = db_query(t, &r, f, "SELECT n FROM thing WHERE name = 'sum'", "");
	if (!err)
		err = db_next(r, f);
	if (err == 1)
		*(long long *)ctx = db_int(r, 0);
	db_rows_end(r);
	return err < 0 ? err : 0;
}

static void test_layer(const char *where)
{
	struct db *d = NULL;
	struct fault f = {""};
	pthread_t thread[4];
	long long sum = -1;
	int good = 0, err = db_open(&d, where, &f);
	OK("opens", !err, "%s", f.text);
	if (err)
		return;
	OK("tables are made", !db_migrate(d, "test", versions, 1, &f), "%s", f.text);
	OK("and migrated", !db_migrate(d, "test", versions, 2, &f), "%s", f.text);
	OK("once", !db_migrate(d, "test", versions, 2, &f), "%s", f.text);
	err = db_migrate(d, "test", versions, 1, &f);
	OK("newer tables are refused", err == -EPROTO && strstr(f.text, "newer Coffer"), "%d %s", err, f.text);
	err = db_do(d, &f, "INSERT INTO thing(name, n, body) VALUES(?, ?, ?)", "tib", "größte", LLONG_MIN, "a\0b\xff'", (size_t)5);
	OK("a row is written", err == 1, "%d %s", err, f.text);
	db_do(d, &f, "INSERT INTO thing(name, n, body) VALUES(?, ?, ?)", "tib", "empty", LLONG_MAX, "", (size_t)0);
	db_do(d, &f, "INSERT INTO thing(name, n, body) VALUES(?, ?, ?)", "tin", "null", 0ll);
	err = db_read(d, read_thing, &good, &f);
	OK("and read", !err && good, "%d %s", err, f.text);
	err = db_do(d, &f, "INSERT INTO thing(name, n) VALUES('null', 3)", "");
	OK("a key that is taken", err == -EEXIST, "%d %s", err, f.text);
	err = db_do(d, &f, "INSERT INTO thing(name, n) VALUES('null', 3) ON CONFLICT (name) DO NOTHING", "");
	OK("changes nothing", err == 0, "%d %s", err, f.text);
	err = db_write(d, half, NULL, &f);
	OK("a failed statement fails the transaction", err == -EEXIST, "%d %s", err, f.text);
	err = db_do(d, &f, "DELETE FROM thing WHERE name = 'half'", "");
	OK("nothing of it is there", err == 0, "%d %s", err, f.text);
	err = db_do(d, &f, "SELECT x FROM nowhere", "");
	OK("an error is told", err == -EIO && strstr(f.text, "nowhere"), "%d %s", err, f.text);
	db_do(d, &f, "INSERT INTO thing(name, n) VALUES('sum', 0)", "");
	for (int i = 0; i < 4; i++)
		pthread_create(&thread[i], NULL, add_many, d);
	for (int i = 0; i < 4; i++)
		pthread_join(thread[i], NULL);
	err = db_read(d, read_number, &sum, &f);
	OK("of 100 additions at once none is lost", !err && sum == 100, "%d %lld %s", err, sum, f.text);
	db_close(d);
}

static size_t asked;

static int read_much(struct db_tx *t, void *ctx, struct fault *f)
{
	struct db_rows *r = NULL;
	size_t len = 0;
	int err = db_query(t, &r, f, "SELECT body FROM thing WHERE name = 'much'", "");
	if (!err)
		err = db_next(r, f);
	const uint8_t *p = err == 1 ? db_blob(r, 0, &len) : NULL;
	bool same = p && len == asked;
	for (size_t i = 0; same && i < len; i++)
		same = p[i] == (uint8_t)(i * 7 + asked);
	*(bool *)ctx = same;
	db_rows_end(r);
	return err < 0 ? err : 0;
}

// Answers that end anywhere in a record of TLS, which the socket does not tell of any more.
static void test_sizes(const char *where)
{
	struct db *d = NULL;
	struct fault f = {""};
	int err = db_open(&d, where, &f);
	OK("opens for large rows", !err && !db_migrate(d, "test", versions, 2, &f), "%d %s", err, f.text);
	uint8_t *body = malloc(1 << 18);
	if (err || !body)
		goto out;
	const char *why = NULL;
	for (asked = 1500; !why && asked < 1 << 18; asked += asked / 7 + 131) {
		bool same = false;
		for (size_t i = 0; i < asked; i++)
			body[i] = (uint8_t)(i * 7 + asked);
		err = db_do(d, &f, "INSERT INTO thing(name, n, body) VALUES('much', 1, ?) ON CONFLICT (name) DO UPDATE SET body = excluded.body", "b",
			    (const void *)body, asked);
		if (err == 1)
			err = db_read(d, read_much, &same, &f);
		if (err || !same)
			why = err ? f.text : "not what was written";
	}
	OK("rows of any size are read", !why, "%zu bytes: %d %s", asked, err, why);
out:
	free(body);
	db_close(d);
}

// ---- the guard ----

struct world {
	const char *where, *name;
	struct db *db, *host;	// the broker's, and somebody else's
	struct audit *audit;
	struct guard *guard;
	struct store *store;
	struct secrets *secrets;
	EVP_PKEY *key;
};

static int open_world(struct world *w, bool accept, struct fault *f)
{
	char dir[96], origin[64];
	uint64_t dropped;
	snprintf(dir, sizeof dir, "%s/audit-%s-%s", work, on, w->name);
	snprintf(origin, sizeof origin, "coffer-audit/%s", w->name);
	if (!w->key)
		w->key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	int err = audit_open(&w->audit, dir, origin, w->key, &dropped, f);
	if (!err)
		err = db_open(&w->db, w->where, f);
	if (!err)
		err = store_prepare(w->db, master, f);
	if (!err)
		err = guard_open(&w->guard, w->db, master, w->audit, accept, f);
	if (!err)
		err = store_open(&w->store, w->db, w->guard, master, f);
	if (!err)
		err = secrets_open(&w->secrets, w->db, w->guard, master, f);
	return err;
}

static void close_world(struct world *w)
{
	secrets_close(w->secrets);
	store_close(w->store);
	guard_close(w->guard);
	db_close(w->db);
	audit_close(w->audit);
	w->store = NULL;
	w->secrets = NULL;
	w->guard = NULL;
	w->db = NULL;
	w->audit = NULL;
}

static int put(struct world *w, const char *resource, const char *text, struct fault *f)
{
	const struct secrets_put p = {.mode = SECRETS_REPLACE, .value = text, .len = strlen(text)};
	return secrets_put(w->secrets, resource, &p, time(NULL), NULL, f);
}

// What the broker gives out: the text, or what it answers.
static const char *get(struct world *w, const char *resource, struct fault *f)
{
	static char text[64];
	uint8_t *secret;
	size_t len;
	int err = secrets_read(w->secrets, resource, 0, time(NULL), &secret, &len, f);
	if (err == -ENOENT || err == -EBADMSG)
		return err == -ENOENT ? "(none)" : "(changed)";
	if (err)
		return "(error)";
	snprintf(text, sizeof text, "%.*s", (int)len, (char *)secret);
	free(secret);
	return text;
}

static void as_host(struct world *w, const char *sql)
{
	struct fault f;
	int err = db_do(w->host, &f, sql, "");
	if (err < 0)
		printf("# %s: %s\n", sql, f.text);
}

// Copies of all that matters, as a host that reads and writes the database can make.
static const char *const kept[] = {"secret_head", "secret_value", "allowed", "anchor", "guard", "guard_lane"};

static void keep(struct world *w)
{
	for (size_t i = 0; i < sizeof kept / sizeof *kept; i++) {
		char *drop, *copy;
		struct fault f;
		// Statements live as long as connections remember them.
		if (asprintf(&drop, "DROP TABLE IF EXISTS kept_%s", kept[i]) < 0 || asprintf(&copy, "CREATE TABLE kept_%s AS SELECT * FROM %s", kept[i], kept[i]) < 0)
			return;
		struct db *d;
		if (!db_open(&d, w->where, &f)) {
			db_do(d, &f, drop, "");
			db_do(d, &f, copy, "");
			db_close(d);
		}
		free(drop);
		free(copy);
	}
}

static void put_back(struct world *w)
{
	as_host(w, "DELETE FROM secret_head");
	as_host(w, "DELETE FROM secret_value");
	as_host(w, "DELETE FROM allowed");
	as_host(w, "DELETE FROM anchor");
	as_host(w, "DELETE FROM guard");
	as_host(w, "DELETE FROM guard_lane");
	as_host(w, "INSERT INTO secret_head SELECT * FROM kept_secret_head");
	as_host(w, "INSERT INTO secret_value SELECT * FROM kept_secret_value");
	as_host(w, "INSERT INTO allowed SELECT * FROM kept_allowed");
	as_host(w, "INSERT INTO anchor SELECT * FROM kept_anchor");
	as_host(w, "INSERT INTO guard SELECT * FROM kept_guard");
	as_host(w, "INSERT INTO guard_lane SELECT * FROM kept_guard_lane");
}

// One row and its guard as they were when they were kept.
#define PUT_BACK_ROW(w, name) do { \
	as_host(w, "DELETE FROM secret_head WHERE resource = '" name "'"); \
	as_host(w, "DELETE FROM secret_value WHERE resource = '" name "'"); \
	as_host(w, "DELETE FROM guard WHERE name = '" name "'"); \
	as_host(w, "INSERT INTO secret_head SELECT * FROM kept_secret_head WHERE resource = '" name "'"); \
	as_host(w, "INSERT INTO secret_value SELECT * FROM kept_secret_value WHERE resource = '" name "'"); \
	as_host(w, "INSERT INTO guard SELECT * FROM kept_guard WHERE name = '" name "'"); } while (0)

#define GIVES(name, w, resource, want) do { \
	struct fault f_ = {""}; \
	const char *got_ = get(w, resource, &f_); \
	OK(name, !strcmp(got_, want), "%s: %s", got_, f_.text); } while (0)

static void test_rows(struct world *w)
{
	struct fault f = {""};
	int err = put(w, "a/b/one", "first", &f);
	OK("a secret is stored", !err, "%d %s", err, f.text);
	put(w, "a/b/two", "other", &f);
	keep(w);
	err = put(w, "a/b/one", "second", &f);
	OK("and replaced", !err, "%d %s", err, f.text);
	GIVES("it is given out", w, "a/b/one", "second");

	PUT_BACK_ROW(w, "a/b/one");
	GIVES("a row that was put back with its guard is not given out", w, "a/b/one", "(changed)");
	GIVES("others are", w, "a/b/two", "other");
	err = guard_check(w->guard, &f);
	OK("a look at all rows finds it", err == -EBADMSG, "%d %s", err, f.text);
	err = put(w, "a/b/one", "third", &f);
	OK("nor can it be replaced unnoticed", err == -EBADMSG, "%d %s", err, f.text);
	close_world(w);
	err = open_world(w, false, &f);
	OK("a start finds it", err == -EBADMSG && strstr(f.text, "outside the broker"), "%d %s", err, f.text);
	close_world(w);
	err = open_world(w, true, &f);
	OK("which nobody can accept", err == -EBADMSG, "%d %s", err, f.text);
	close_world(w);
}

static void test_removed(struct world *w)
{
	struct fault f = {""};
	int err = open_world(w, false, &f);
	OK("the broker starts", !err, "%d %s", err, f.text);
	if (err)
		return;
	put(w, "a/b/gone", "once", &f);
	keep(w);
	err = secrets_delete(w->secrets, "a/b/gone", &f);
	OK("a secret is deleted", !err, "%d %s", err, f.text);
	GIVES("it is gone", w, "a/b/gone", "(none)");
	PUT_BACK_ROW(w, "a/b/gone");
	GIVES("a deleted row that was put back is not given out", w, "a/b/gone", "(changed)");
	as_host(w, "DELETE FROM secret_head WHERE resource = 'a/b/gone'");
	as_host(w, "DELETE FROM secret_value WHERE resource = 'a/b/gone'");
	as_host(w, "DELETE FROM guard WHERE name = 'a/b/gone'");
	GIVES("taken out again", w, "a/b/gone", "(none)");
	err = put(w, "a/b/gone", "anew", &f);
	OK("it can be made anew", !err, "%d %s", err, f.text);
	GIVES("and read", w, "a/b/gone", "anew");
	as_host(w, "UPDATE secret_head SET head = (SELECT head FROM secret_head WHERE resource = 'a/b/two') WHERE resource = 'a/b/gone'");
	GIVES("a row with another's content is not given out", w, "a/b/gone", "(changed)");
	as_host(w, "DELETE FROM secret_head WHERE resource = 'a/b/gone'");
	GIVES("one that the host deletes is missed", w, "a/b/gone", "(changed)");
	put_back(w);
	close_world(w);
}

static void test_restored(struct world *w)
{
	struct fault f = {""};
	struct note before, after;
	int err = open_world(w, false, &f);
	OK("a database that was put back as a whole is refused", err == -ESTALE && strstr(f.text, "--accept-restored-database"), "%d %s", err, f.text);
	if (w->audit)
		audit_head(w->audit, &before);
	close_world(w);
	err = open_world(w, true, &f);
	OK("unless its owner says so", !err, "%d %s", err, f.text);
	if (err)
		return;
	audit_head(w->audit, &after);
	OK("which is on record", after.head.size == before.head.size + 1, "%llu %llu", (unsigned long long)before.head.size,
	   (unsigned long long)after.head.size);
	GIVES("it has what the backup had", w, "a/b/gone", "once");
	err = put(w, "a/b/gone", "later", &f);
	OK("it can be written", !err, "%d %s", err, f.text);
	close_world(w);
	err = open_world(w, false, &f);
	OK("later starts need no word", !err, "%d %s", err, f.text);
	if (!err)
		GIVES("and have what is newest", w, "a/b/gone", "later");
	put_back(w);
	close_world(w);
	err = open_world(w, false, &f);
	OK("the same backup is refused again", err == -ESTALE, "%d %s", err, f.text);
	close_world(w);
}

static void test_anchor(struct world *w)
{
	struct fault f = {""};
	struct store_anchor one = {.epoch = 1, .generation = 5, .digest = "five"}, two = {.epoch = 1, .generation = 6, .digest = "six"}, now;
	int err = open_world(w, true, &f);
	OK("the broker starts again", !err, "%d %s", err, f.text);
	if (err)
		return;
	err = store_move_anchor(w->store, "a/b/volume", NULL, &one, false, &f);
	OK("an anchor is set", !err, "%d %s", err, f.text);
	keep(w);
	err = store_move_anchor(w->store, "a/b/volume", &one, &two, false, &f);
	OK("and moved", !err, "%d %s", err, f.text);
	err = store_move_anchor(w->store, "a/b/volume", &two, &one, false, &f);
	OK("the database refuses to move it back", err == -EPERM, "%d %s", err, f.text);
	err = store_move_anchor(w->store, "a/b/volume", &one, &two, false, &f);
	OK("who comes late is told", err == -ESTALE, "%d %s", err, f.text);
	err = db_do(w->host, &f, "UPDATE anchor SET generation = 1", "");
	OK("whoever asks", err == -EPERM, "%d %s", err, f.text);
	err = store_get_anchor(w->store, "a/b/volume", &now, &f);
	OK("it is where it was", !err && now.generation == 6, "%d %s", err, f.text);
	as_host(w, "DELETE FROM anchor");
	as_host(w, "DELETE FROM guard WHERE name = 'a/b/volume'");
	as_host(w, "INSERT INTO anchor SELECT * FROM kept_anchor");
	as_host(w, "INSERT INTO guard SELECT * FROM kept_guard WHERE name = 'a/b/volume'");
	err = store_get_anchor(w->store, "a/b/volume", &now, &f);
	OK("one that was put back is noticed", err == -EBADMSG, "%d %s", err, f.text);
	as_host(w, "DELETE FROM anchor");
	as_host(w, "DELETE FROM guard WHERE name = 'a/b/volume'");
	err = store_get_anchor(w->store, "a/b/volume", &now, &f);
	OK("one that was taken away is missed", err == -EBADMSG, "%d %s", err, f.text);
	err = store_move_anchor(w->store, "a/b/volume", NULL, &one, false, &f);
	OK("and none is set in its place", err == -EBADMSG, "%d %s", err, f.text);
	put_back(w);
	close_world(w);
	err = open_world(w, false, &f);
	OK("an advance that was put back with all else is noticed at the start", err == -ESTALE, "%d %s", err, f.text);
	close_world(w);
}

static void accept_again(struct world *w, const char *name, const char *text, int times)
{
	struct fault f = {""};
	int err = open_world(w, true, &f);
	while (!err && times--)
		err = put(w, "a/b/era", text, &f);
	OK(name, !err, "%d %s", err, f.text);
	close_world(w);
}

// What was accepted earlier, and went on, is not what was accepted last.
static void test_eras(struct world *w)
{
	struct fault f = {""};
	accept_again(w, "a copy is accepted", "the first time", 2);
	as_host(w, "CREATE TABLE era_head AS SELECT * FROM secret_head");
	as_host(w, "CREATE TABLE era_value AS SELECT * FROM secret_value");
	as_host(w, "CREATE TABLE era_guard AS SELECT * FROM guard");
	as_host(w, "CREATE TABLE era_lane AS SELECT * FROM guard_lane");
	for (int empty = 0; empty < 2; empty++) {
		put_back(w);
		if (empty) {
			as_host(w, "DELETE FROM anchor");
			as_host(w, "DELETE FROM allowed");
			as_host(w, "DELETE FROM secret_head");
			as_host(w, "DELETE FROM secret_value");
			as_host(w, "DELETE FROM guard");
			as_host(w, "DELETE FROM guard_lane");
		}
		accept_again(w, empty ? "an empty one" : "and accepted once more", "another time", 1);
		int err = open_world(w, false, &f);
		OK("which stays", !err, "%d %s", err, f.text);
		close_world(w);
		if (empty)
			as_host(w, "INSERT INTO anchor SELECT * FROM kept_anchor");
		as_host(w, "DELETE FROM secret_head");
		as_host(w, "DELETE FROM secret_value");
		as_host(w, "DELETE FROM guard");
		as_host(w, "DELETE FROM guard_lane");
		as_host(w, "INSERT INTO secret_head SELECT * FROM era_head");
		as_host(w, "INSERT INTO secret_value SELECT * FROM era_value");
		as_host(w, "INSERT INTO guard SELECT * FROM era_guard");
		as_host(w, "INSERT INTO guard_lane SELECT * FROM era_lane");
		err = open_world(w, false, &f);
		OK("what grew from the first is refused", err == -ESTALE, "%d %s", err, f.text);
		close_world(w);
	}
}

// Names that come and go do not add up in memory.
static void test_growth(struct world *w)
{
	struct fault f = {""};
	char name[64];
	int err = open_world(w, true, &f);
	size_t room = err ? 0 : w->guard->room;
	for (int i = 0; i < 600 && !err; i++) {
		snprintf(name, sizeof name, "a/b/passing-%d", i);
		err = put(w, name, "x", &f);
		if (!err)
			err = secrets_delete(w->secrets, name, &f);
	}
	ok("sqlite: many names come and go", !err, "%d %s", err, f.text);
	ok("sqlite: and are not remembered", !err && w->guard->room <= room, "%zu, was %zu", err ? 0 : w->guard->room, room);
	GIVES("the last is known to be gone", w, "a/b/passing-599", "(none)");
	OK("the broker says that its rows are sound", !err && guard_sound(w->guard), "no");
	as_host(w, "UPDATE guard SET stamp = 1 WHERE name = 'a/b/two'");
	OK("a look at all rows finds one that was changed", guard_check(w->guard, &f) == -EBADMSG, "no");
	OK("and it does not say so any more", !guard_sound(w->guard), "it does");
	put_back(w);
	close_world(w);
}

// By which descriptor this process has a file open.
static int descriptor(const char *path)
{
	char link[64], to[200];
	for (int fd = 3; fd < 256; fd++) {
		snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
		ssize_t n = readlink(link, to, sizeof to - 1);
		to[n > 0 ? n : 0] = '\0';
		if (!strcmp(to, path))
			return fd;
	}
	return -1;
}

// A change that is done, and cannot be recorded, is not called one that may be repeated.
static void test_untold(struct world *w)
{
	struct fault f = {""};
	char path[160];
	int err = open_world(w, true, &f);
	snprintf(path, sizeof path, "%s/audit-%s-%s/index", work, on, w->name);
	int fd = descriptor(path), saved = dup(fd), full = open("/dev/full", O_RDWR);
	OK("a log that will be full", !err && fd >= 0 && full >= 0, "%d %s", err, f.text);
	if (err || fd < 0)
		return;
	dup2(full, fd);
	err = put(w, "a/b/untold", "done", &f);
	dup2(saved, fd);
	close(saved);
	close(full);
	OK("a change that took effect and is not on record", err == -EUCLEAN && db_worth_retrying(err) && strstr(f.text, "took effect"), "%d %s", err, f.text);
	GIVES("did take effect", w, "a/b/untold", "done");
	close_world(w);
}

static size_t live(const struct guard *g)
{
	size_t n = 0;
	for (size_t i = 0; i < g->room; i++)
		n += g->stamps[i].stamp > 0;
	return n;
}

// Names that one broker made and took away again do not stay with the other, which nobody asks for them. One that the host puts back is refused
// for all that.
static void test_passing(struct world *one, struct world *two)
{
	struct fault f = {""};
	char name[64];
	int err = guard_check(two->guard, &f);
	size_t before = live(two->guard);
	for (int i = 0; i < 40 && !err; i++) {
		snprintf(name, sizeof name, "a/b/passing-%d", i);
		err = put(one, name, "x", &f);
	}
	err = err ? err : guard_check(two->guard, &f);
	OK("one's many names are known to the other", !err && live(two->guard) >= before + 40, "%d %s", err, f.text);
	as_host(two, "CREATE TABLE passed_head AS SELECT * FROM secret_head WHERE resource = 'a/b/passing-7'");
	as_host(two, "CREATE TABLE passed_guard AS SELECT * FROM guard WHERE name = 'a/b/passing-7'");
	for (int i = 0; i < 40 && !err; i++) {
		snprintf(name, sizeof name, "a/b/passing-%d", i);
		err = secrets_delete(one->secrets, name, &f);
	}
	err = err ? err : guard_check(two->guard, &f);
	OK("when they are gone they are forgotten", !err && live(two->guard) <= before, "%d %s: %zu, was %zu", err, f.text, live(two->guard), before);
	as_host(two, "INSERT INTO secret_head SELECT * FROM passed_head");
	as_host(two, "INSERT INTO guard SELECT * FROM passed_guard");
	GIVES("one that is put back is noticed", two, "a/b/passing-7", "(changed)");
	as_host(two, "DELETE FROM secret_head WHERE resource = 'a/b/passing-7'");
	as_host(two, "DELETE FROM guard WHERE name = 'a/b/passing-7'");
	err = put(one, "a/b/passing-7", "anew", &f);
	OK("it is made anew", !err, "%d %s", err, f.text);
	GIVES("which the other has", two, "a/b/passing-7", "anew");
}

// Two brokers on one database.
static void test_two(const char *where)
{
	struct world one = {.where = where, .name = "one"}, two = {.where = where, .name = "two"};
	struct fault f = {""};
	int err = open_world(&one, false, &f);
	if (!err)
		err = open_world(&two, false, &f);
	if (!err)
		err = db_open(&two.host, where, &f);
	if (!err)
		err = put(&one, "a/b/pair", "text", &f);
	OK("two brokers", !err, "%d %s", err, f.text);
	if (!err) {
		GIVES("what one stores, the other has", &two, "a/b/pair", "text");
		err = secrets_delete(one.secrets, "a/b/pair", &f);
		OK("the one deletes it", !err, "%d %s", err, f.text);
		GIVES("the other knows that it is gone", &two, "a/b/pair", "(none)");
		GIVES("and goes on", &two, "a/b/pair", "(none)");
		err = put(&one, "a/b/pair", "anew", &f);
		OK("it is made anew", !err, "%d %s", err, f.text);
		GIVES("which the other has", &two, "a/b/pair", "anew");
		err = guard_check(two.guard, &f);
		OK("all fits", !err, "%d %s", err, f.text);
		test_passing(&one, &two);
		as_host(&two, "DELETE FROM secret_head WHERE resource = 'a/b/pair'");
		as_host(&two, "DELETE FROM guard WHERE name = 'a/b/pair'");
		GIVES("when the host takes it away the other notices", &two, "a/b/pair", "(changed)");
	}
	close_world(&one);
	close_world(&two);
	db_close(two.host);
	EVP_PKEY_free(one.key);
	EVP_PKEY_free(two.key);
}

static atomic_bool held;

// What brokers that change tables take, kept for longer than one waits for it at a time.
static int hold(struct db_tx *t, void *ctx, struct fault *f)
{
	struct db_rows *r = NULL;
	(void)ctx;
	int err = db_query(t, &r, f, "SELECT pg_advisory_xact_lock(4851706420771201)", "");
	db_rows_end(r);
	atomic_store(&held, true);
	usleep(6000000);
	return err;
}

static void *hold_lock(void *ctx)
{
	struct fault f;
	db_write(ctx, hold, NULL, &f);
	return NULL;
}

// Somebody else has the file locked, and keeps it so: told in time, by all who ask at once.
struct locked {
	char path[96];
	pthread_t thread[3];
	struct db *db;
	int err[3];
	int64_t ms[3];
};

static struct locked locked;

static void *ask_locked(void *ctx)
{
	struct fault f;
	int i = (int)(intptr_t)ctx;
	int64_t began = clock_ms();
	locked.err[i] = db_do(locked.db, &f, "UPDATE thing SET n = 1 WHERE name = 'x'", "");
	locked.ms[i] = clock_ms() - began;
	return NULL;
}

static void begin_locked(sqlite3 **other)
{
	struct fault f;
	snprintf(locked.path, sizeof locked.path, "%s/locked.db", work);
	int err = db_open(&locked.db, locked.path, &f);
	if (!err)
		err = db_migrate(locked.db, "test", versions, 2, &f);
	bool held = !err && sqlite3_open(locked.path, other) == SQLITE_OK && sqlite3_exec(*other, "BEGIN IMMEDIATE", NULL, NULL, NULL) == SQLITE_OK;
	ok("sqlite: a file is locked", held, "%d", err);
	for (intptr_t i = 0; i < 3; i++)
		pthread_create(&locked.thread[i], NULL, ask_locked, (void *)i);
}

static void end_locked(sqlite3 *other)
{
	struct fault f;
	for (int i = 0; i < 3; i++) {
		pthread_join(locked.thread[i], NULL);
		ok("sqlite: who waits for a lock in vain is told", locked.err[i] == -EBUSY && locked.ms[i] < 60000, "%d after %lld ms", locked.err[i],
		   (long long)locked.ms[i]);
	}
	sqlite3_exec(other, "ROLLBACK", NULL, NULL, NULL);
	sqlite3_close(other);
	ok("sqlite: and goes on when it is gone", db_do(locked.db, &f, "UPDATE thing SET n = 1 WHERE name = 'x'", "") == 0, "%s", f.text);
	db_close(locked.db);
}

static void test_migrations_meet(const char *where)
{
	struct db *d = NULL;
	struct fault f = {""};
	pthread_t thread;
	int err = db_open(&d, where, &f);
	if (!err && !pthread_create(&thread, NULL, hold_lock, d)) {
		while (!atomic_load(&held))
			usleep(1000);
		err = db_migrate(d, "test", versions, 2, &f);
		pthread_join(thread, NULL);
	}
	OK("who finds another one changing tables waits", !err, "%d %s", err, f.text);
	db_close(d);
}

// Nothing is told to a server that need not prove who it is.
static void test_plain(void)
{
	static const char *const urls[] = {"postgresql://u@192.0.2.1/x", "postgresql://u@127.0.0.1,192.0.2.1/x",
					   "postgresql://u@192.0.2.1/x?sslmode=require", "postgresql://u@localhost/x?hostaddr=192.0.2.1"};
	for (size_t i = 0; i < sizeof urls / sizeof *urls; i++) {
		struct db *d = NULL;
		struct fault f = {""};
		int err = db_open(&d, urls[i], &f);
		OK("another machine must prove who it is", err == -EACCES, "%s: %d %s", urls[i], err, f.text);
		db_close(err ? NULL : d);
	}
}

static void test_key(struct world *w)
{
	struct fault f = {""};
	const uint8_t other[32] = "another master key";
	int err = db_open(&w->db, w->where, &f);
	if (!err)
		err = store_prepare(w->db, other, &f);
	OK("another master key is refused", err == -EKEYREJECTED, "%d %s", err, f.text);
	db_close(w->db);
	w->db = NULL;
}

static void test_guard(const char *where)
{
	struct world w = {.where = where, .name = "test"};
	struct fault f = {""};
	int err = open_world(&w, false, &f);
	OK("a broker's tables are made", !err, "%d %s", err, f.text);
	if (!err)
		err = db_open(&w.host, where, &f);
	if (!err) {
		test_rows(&w);
		// The host mends what it did.
		as_host(&w, "UPDATE guard SET stamp = stamp + 0");
		put_back(&w);
		err = open_world(&w, true, &f);
		OK("a whole older copy can be accepted", !err, "%d %s", err, f.text);
		close_world(&w);
		test_removed(&w);
		test_restored(&w);
		test_anchor(&w);
		test_eras(&w);
		test_untold(&w);
		if (!db_is_url(where))
			test_growth(&w);
		test_key(&w);
	}
	close_world(&w);
	db_close(w.host);
	EVP_PKEY_free(w.key);
}

int main(void)
{
	char path[96];
	struct pg pg;
	struct stat st;
	signal(SIGPIPE, SIG_IGN);
	if (!test_folder(work, "db"))
		return 1;
	on = "sqlite";
	snprintf(path, sizeof path, "%s/test.db", work);
	test_layer(path);
	ok("sqlite: only its owner reads it", !stat(path, &st) && (st.st_mode & 0777) == 0600, "%o", st.st_mode);
	test_guard(path);
	sqlite3 *other = NULL;
	begin_locked(&other);
	on = "postgres";
	if (pg_make(&pg)) {
		test_layer(pg.url);
		test_guard(pg.url);
		test_two(pg.url);
		test_migrations_meet(pg.url);
		test_plain();
		test_sizes(pg.url);
		on = "postgres over TLS";
		pg_stop(&pg, SIGINT);
		bool started = pg_use_tls(&pg) && pg_start(&pg);
		OK("starts", started, "see %s/log", pg.dir);
		if (started)
			test_sizes(pg.url);
	} else {
		lacks("postgres", "/usr/lib/postgresql/15/bin/initdb", "no server could be started");
	}
	pg_remove(&pg);
	end_locked(other);
	return ok_failed != 0;
}

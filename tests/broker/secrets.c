// SPDX-License-Identifier: Apache-2.0
// Secrets of the broker: versions and limits with a clock of the test's own, a race of many for one use, rows that somebody edits, and all of it
// over the protocol, also while the broker is killed.
// COFFER_TEST_RACE, COFFER_TEST_KILLS: how often (`make soak`).
#include <errno.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <pthread.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "broker/guard.h"
#include "broker/secrets.h"
#include "broker/store.h"
#include "lib/encode.h"
#include "lib/file.h"
#include "lib/jwa.h"
#include "lib/jwe.h"
#include "tests/broker/harness.h"
#include "tests/broker/keys.h"
#include "tests/broker/pg.h"

static const char *const none[] = {NULL};

static unsigned int amount(const char *variable, unsigned int usual)
{
	const char *s = getenv(variable);
	return s && *s ? (unsigned int)strtoul(s, NULL, 10) : usual;
}

// ---- the store, with a clock of its own ----

static struct db *db;
static struct guard *guard;
static struct store *policies;
static struct secrets *all;
static const uint8_t master[32] = "the master key of this test only";
static const time_t start = 1700000000;

static bool open_all(const char *path, struct fault *f)
{
	return !db_open(&db, path, f) && !store_prepare(db, master, f) && !guard_open(&guard, db, master, NULL, false, f) && !store_open(&policies, db, guard, master, f) &&
	       !secrets_open(&all, db, guard, master, f);
}

static void close_all(void)
{
	secrets_close(all);
	store_close(policies);
	guard_close(guard);
	db_close(db);
	all = NULL;
	policies = NULL;
	guard = NULL;
	db = NULL;
}

// A put of text, with settings; the error.
static int put(const char *name, int mode, const char *kind, const char *value, const char *settings, time_t now, struct fault *f)
{
	json_t *o = json_loads(settings, 0, NULL);
	struct secrets_put p = {.kind = kind, .settings = o, .others = none, .value = value, .len = value ? strlen(value) : 0};
	p.mode = mode;
	f->text[0] = '\0';
	int err = secrets_put(all, name, &p, now, NULL, f);
	json_decref(o);
	return err;
}

static int set(const char *name, const char *settings, time_t now)
{
	json_t *o = json_loads(settings, 0, NULL);
	int err = secrets_set(all, name, 0, o, none, now, NULL);
	json_decref(o);
	return err;
}

static char got[SECRET_MAX_BYTES + 1];
static struct secrets_release last;

static int ask(const char *name, unsigned int version, const char *who, time_t now)
{
	const struct secrets_ask q = {.name = name, .version = version, .operation = "read", .thumbprint = who, .now = now};
	int err = secrets_release(all, &q, &last, NULL);
	*got = '\0';
	if (!err) {
		memcpy(got, last.value, last.len);
		got[last.len] = '\0';
		free_wiped(last.value, last.len);
	}
	return err;
}

static void gives(const char *name, const char *resource, unsigned int version, const char *who, time_t now, const char *value)
{
	int err = ask(resource, version, who, now);
	ok(name, !err && !strcmp(got, value), "%d: '%.40s'", err, got);
}

static void refuses(const char *name, const char *resource, unsigned int version, const char *who, time_t now, int want)
{
	int err = ask(resource, version, who, now);
	ok(name, err == want, "%d, not %d", err, want);
}

static void test_versions(void)
{
	struct fault f;
	ok("a secret is put", !put("a/b/versions", SECRETS_NEW, NULL, "one", "{}", start, &f), "%s", f.text);
	ok("not twice", put("a/b/versions", SECRETS_NEW, NULL, "two", "{}", start, &f) == -EEXIST, "%s", f.text);
	ok("what is not there does not rotate", put("a/b/none", SECRETS_ROTATE, NULL, "two", "{}", start, &f) == -ENOENT, "%s", f.text);
	put("a/b/versions", SECRETS_ROTATE, NULL, "two", "{}", start + 10, &f);
	put("a/b/versions", SECRETS_ROTATE, NULL, "three", "{\"not_before\":\"2023-11-14T23:00:00Z\"}", start + 20, &f);	// 1700002800
	gives("the current version", "a/b/versions", 0, "k", start + 30, "two");
	gives("an older one by its number", "a/b/versions", 1, "k", start + 30, "one");
	refuses("one that is not valid yet", "a/b/versions", 3, "k", start + 30, -ETIME);
	gives("which becomes the current one by itself", "a/b/versions", 0, "k", 1700002800, "three");
	refuses("no other number", "a/b/versions", 4, "k", start + 30, -ENOENT);
	set("a/b/versions", "{\"keep_versions\":1}", 1700002800);
	refuses("only the one before is kept", "a/b/versions", 1, "k", 1700002900, -ESTALE);
	gives("that is this one", "a/b/versions", 2, "k", 1700002900, "two");
	set("a/b/versions", "{\"keep_versions\":null,\"keep_seconds\":3600}", 1700002900);
	gives("for an hour", "a/b/versions", 2, "k", 1700002800 + 3600, "two");
	refuses("not longer", "a/b/versions", 2, "k", 1700002800 + 3601, -ESTALE);
	set("a/b/versions", "{\"keep_seconds\":null,\"current\":1}", 1700002900);
	gives("an owner goes back", "a/b/versions", 0, "k", 1700002900, "one");
	put("a/b/versions", SECRETS_ROTATE, NULL, "four", "{\"lifetime\":100}", 1700003000, &f);
	gives("until the next one", "a/b/versions", 0, "k", 1700003000, "four");
	put("a/b/versions", SECRETS_ROTATE, NULL, "five", "{}", 1700003000, &f);
	gives("it lives for so long", "a/b/versions", 0, "k", 1700003100, "five");
	refuses("and no longer", "a/b/versions", 0, "k", 1700003101, -EKEYEXPIRED);
	secrets_state(all, "a/b/versions", 2, SECRET_DISABLED, NULL);
	refuses("a disabled version", "a/b/versions", 2, "k", 1700003000, -EKEYREVOKED);
	secrets_state(all, "a/b/versions", 2, SECRET_ENABLED, NULL);
	gives("enabled again", "a/b/versions", 2, "k", 1700003000, "two");
	secrets_state(all, "a/b/versions", 0, SECRET_DISABLED, NULL);
	refuses("all of it disabled", "a/b/versions", 0, "k", 1700003000, -EKEYREVOKED);
	secrets_state(all, "a/b/versions", 0, SECRET_ENABLED, NULL);
	ok("a version is destroyed", !secrets_state(all, "a/b/versions", 2, SECRET_DESTROYED, &f), "%s", f.text);
	refuses("then it is gone", "a/b/versions", 2, "k", 1700003000, -EKEYREVOKED);
	ok("for good", secrets_state(all, "a/b/versions", 2, SECRET_ENABLED, &f) == -EINVAL, "%s", f.text);
	put("a/b/versions", SECRETS_REPLACE, NULL, "six", "{}", 1700003000, &f);
	gives("what replaces", "a/b/versions", 0, "k", 1700003000, "six");
	refuses("leaves nothing of the others", "a/b/versions", 5, "k", 1700003000, -EKEYREVOKED);
	ok("a secret is deleted", !secrets_delete(all, "a/b/versions", &f), "%s", f.text);
	refuses("then there is none", "a/b/versions", 0, "k", 1700003000, -ENOENT);
	for (int i = 0; i < SECRET_MAX_VERSIONS + 5; i++)
		put("a/b/many", i ? SECRETS_ROTATE : SECRETS_NEW, NULL, "x", "{}", start, &f);
	ok("there is a limit of versions", put("a/b/many", SECRETS_ROTATE, NULL, "x", "{}", start, &f) == -ENOSPC && strstr(f.text, "destroy"), "%s", f.text);
	secrets_state(all, "a/b/many", 1, SECRET_DESTROYED, NULL);
	ok("what is destroyed makes room", !put("a/b/many", SECRETS_ROTATE, NULL, "y", "{}", start, &f), "%s", f.text);
	gives("and numbers go on", "a/b/many", SECRET_MAX_VERSIONS + 1, "k", start, "y");
}

static void test_made_here(void)
{
	struct fault f;
	uint8_t *value = NULL;
	size_t len = 0;
	char one[100];
	ok("random bytes", !put("a/b/random", SECRETS_NEW, "random", NULL, "{\"bytes\":20,\"encoding\":\"hex\"}", start, &f), "%s", f.text);
	ok("are given as hex", !ask("a/b/random", 0, "k", start) && strlen(got) == 40 && strspn(got, "0123456789abcdef") == 40, "%s", got);
	snprintf(one, sizeof one, "%.40s", got);
	put("a/b/random", SECRETS_ROTATE, NULL, NULL, "{}", start, &f);
	ok("rotation makes others", !ask("a/b/random", 0, "k", start) && strlen(got) == 40 && strcmp(got, one), "%s", got);
	for (int n = 1; n < 6; n++) {
		snprintf(one, sizeof one, "{\"bytes\":%d,\"encoding\":\"base64url\"}", n);
		secrets_delete(all, "a/b/short", NULL);
		ok("of any size", !put("a/b/short", SECRETS_NEW, "random", NULL, one, start, &f) && !ask("a/b/short", 0, "k", start) &&
		   strlen(got) == (size_t)(n * 8 + 5) / 6, "%d: %s", n, got);
	}
	ok("what is the owner's does not rotate by itself", put("a/b/data", SECRETS_NEW, NULL, "x", "{}", start, &f) == 0 &&
	   put("a/b/data", SECRETS_ROTATE, NULL, NULL, "{}", start, &f) == -EINVAL && strstr(f.text, "owner"), "%s", f.text);
	ok("a key that may sign or decrypt needs its use", put("a/b/pair", SECRETS_NEW, "ec-p256", NULL, "{}", start, &f) == -EINVAL && strstr(f.text, "use"),
	   "%s", f.text);
	ok("ed25519 does not decrypt", put("a/b/pair", SECRETS_NEW, "ed25519", NULL, "{\"use\":\"decrypt\"}", start, &f) == -EINVAL, "%s", f.text);
	ok("a pair is made", !put("a/b/pair", SECRETS_NEW, "ec-p256", NULL, "{\"use\":\"sign\"}", start, &f), "%s", f.text);
	ok("its owner does not get it", secrets_read(all, "a/b/pair", 0, start, &value, &len, &f) == -EPERM && !value && strstr(f.text, "never leaves"), "%s",
	   f.text);
	refuses("nor does it come out as a release", "a/b/pair", 0, "k", start, -EPERM);
	const struct secrets_ask other_use = {.name = "a/b/pair", .operation = "decrypt", .thumbprint = "k", .now = start};
	ok("nor for another use than it was made for", secrets_release(all, &other_use, &last, &f) == -EINVAL && !last.value, "%s", f.text);
	ok("its kind stays", put("a/b/pair", SECRETS_ROTATE, "rsa-3072", NULL, "{}", start, &f) == -EINVAL, "%s", f.text);
	ok("its use stays", put("a/b/pair", SECRETS_ROTATE, NULL, NULL, "{\"use\":\"decrypt\"}", start, &f) == -EINVAL, "%s", f.text);
	ok("aes keys have 32 bytes", put("a/b/aes", SECRETS_NEW, "aes-256", "short", "{}", start, &f) == -EINVAL && strstr(f.text, "32"), "%s", f.text);
	static const char *const bad[] = {"{\"uses\":0}", "{\"uses\":1.5}", "{\"uses\":\"1\"}", "{\"keep_versions\":-1}", "{\"not_after\":\"soon\"}", "{\"nothing\":1}",
					  "{\"note\":\"a\\nb\"}", "{\"publish\":1}", "{\"current\":9}", "{\"reset_uses\":false}", "{\"bytes\":9}",
					  "{\"not_before\":\"2030-01-01T00:00:00Z\",\"not_after\":\"2029-01-01T00:00:00Z\"}"};
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		ok("a setting that is none", set("a/b/pair", bad[i], start) == -EINVAL, "%s", bad[i]);
}

static void test_uses(void)
{
	struct fault f;
	put("a/b/once", SECRETS_NEW, NULL, "once", "{\"uses\":1}", start, &f);
	gives("once", "a/b/once", 0, "alice", start, "once");
	ok("it was counted", last.counted && !last.again && last.use == 1 && last.uses == 1, "no");
	gives("the same caller again: the same release", "a/b/once", 0, "alice", start, "once");
	ok("which does not count", last.counted && last.again, "no");
	refuses("nobody else", "a/b/once", 0, "bob", start, -EDQUOT);
	put("a/b/once", SECRETS_ROTATE, NULL, "anew", "{}", start, &f);
	gives("a new version counts anew", "a/b/once", 0, "bob", start, "anew");
	refuses("for one", "a/b/once", 0, "alice", start, -EDQUOT);
	set("a/b/once", "{\"reset_uses\":true}", start);
	gives("until the owner says so", "a/b/once", 0, "alice", start, "anew");
	refuses("who had it before is forgotten then", "a/b/once", 0, "bob", start, -EDQUOT);
	put("a/b/total", SECRETS_NEW, NULL, "1", "{\"uses_total\":2}", start, &f);
	gives("of all versions together", "a/b/total", 0, "a", start, "1");
	put("a/b/total", SECRETS_ROTATE, NULL, "2", "{}", start, &f);
	gives("so many", "a/b/total", 0, "b", start, "2");
	refuses("and no more", "a/b/total", 0, "c", start, -EDQUOT);
	gives("and again to those", "a/b/total", 1, "a", start, "1");
	secrets_state(all, "a/b/total", 1, SECRET_DISABLED, NULL);
	refuses("unless it is disabled since", "a/b/total", 1, "a", start, -EKEYREVOKED);
}

struct racer {
	struct secrets *s;
	pthread_barrier_t *gate;
	unsigned int thread, tries, round, won;
};

static void *race_one(void *ctx)
{
	struct racer *r = ctx;
	struct secrets_release *out = malloc(sizeof *out);
	char who[64];
	pthread_barrier_wait(r->gate);
	for (unsigned int i = 0; i < r->tries; i++) {
		const struct secrets_ask q = {.name = "a/b/race", .operation = "read", .thumbprint = who, .now = start};
		snprintf(who, sizeof who, "%u-%u-%u", r->round, r->thread, i);
		if (!secrets_release(r->s, &q, out, NULL)) {
			r->won++;
			free_wiped(out->value, out->len);
		}
	}
	free(out);
	return NULL;
}

// Many callers, one use: exactly one has it, in each round. Half of them ask the other broker, if there is one.
static void test_race(const char *name, struct secrets *other, unsigned int rounds, unsigned int tries)
{
	enum { THREADS = 8 };
	unsigned int wrong = 0;
	struct fault f;
	put("a/b/race", SECRETS_NEW, "random", NULL, "{\"uses\":1}", start, &f);
	for (unsigned int round = 0; round < rounds; round++) {
		pthread_t thread[THREADS];
		struct racer racer[THREADS];
		pthread_barrier_t gate;
		unsigned int won = 0;
		set("a/b/race", "{\"reset_uses\":true}", start);
		pthread_barrier_init(&gate, NULL, THREADS);
		for (unsigned int i = 0; i < THREADS; i++) {
			racer[i] = (struct racer){.s = i % 2 ? other : all, .gate = &gate, .thread = i, .tries = tries, .round = round};
			pthread_create(&thread[i], NULL, race_one, &racer[i]);
		}
		for (unsigned int i = 0; i < THREADS; i++) {
			pthread_join(thread[i], NULL);
			won += racer[i].won;
		}
		pthread_barrier_destroy(&gate);
		wrong += won != 1;
	}
	ok(name, !wrong, "not in %u of %u rounds of %u", wrong, rounds, THREADS * tries);
}

// Two brokers, which know nothing of each other, over one database.
static void test_shared(void)
{
	struct fault f = {""};
	struct pg pg;
	struct db *db2 = NULL;
	struct guard *guard2 = NULL;
	struct store *policies2 = NULL;
	struct secrets *other = NULL;
	if (pg_make(&pg)) {
		bool good = open_all(pg.url, &f) && !db_open(&db2, pg.url, &f) && !guard_open(&guard2, db2, master, NULL, false, &f) &&
			    !store_open(&policies2, db2, guard2, master, &f) && !secrets_open(&other, db2, guard2, master, &f);
		if (ok("two over one database", good, "%s", f.text))
			test_race("of all who ask one of two brokers for one use, one has it", other, amount("COFFER_TEST_RACE", 30) / 6, 5);
		secrets_close(other);
		store_close(policies2);
		guard_close(guard2);
		db_close(db2);
		close_all();
	}
	pg_remove(&pg);
}

static bool sql(const char *path, const char *text)
{
	sqlite3 *s;
	bool good = sqlite3_open(path, &s) == SQLITE_OK && sqlite3_exec(s, text, NULL, NULL, NULL) == SQLITE_OK && sqlite3_changes(s) > 0;
	sqlite3_close(s);
	return good;
}

static void test_edited(const char *path)
{
	struct fault f;
	json_t *list = NULL, *o;
	size_t i;
	unsigned int changed = 0;
	put("e/b/one", SECRETS_NEW, NULL, "one", "{\"uses\":1}", start, &f);
	put("e/b/two", SECRETS_NEW, NULL, "two", "{}", start, &f);
	put("e/b/two", SECRETS_ROTATE, NULL, "two again", "{}", start, &f);
	ask("e/b/one", 0, "alice", start);
	ok("versions are exchanged", sql(path, "UPDATE secret_value SET version = 9 WHERE resource = 'e/b/two' AND version = 1;"
					       "UPDATE secret_value SET version = 1 WHERE resource = 'e/b/two' AND version = 2;"
					       "UPDATE secret_value SET version = 2 WHERE resource = 'e/b/two' AND version = 9"), "no");
	refuses("they do not open", "e/b/two", 0, "k", start, -EBADMSG);
	refuses("neither", "e/b/two", 1, "k", start, -EBADMSG);
	ok("a release is given to another", sql(path, "UPDATE secret_release SET who = who || 'x' WHERE resource = 'e/b/one'"), "no");
	refuses("who has none by it", "e/b/one", 0, "bob", start, -EDQUOT);
	// The count as it was before the release.
	put("e/b/back", SECRETS_NEW, NULL, "once", "{\"uses\":1}", start, &f);
	sql(path, "CREATE TABLE before AS SELECT * FROM secret_head WHERE resource = 'e/b/back'");
	gives("one use", "e/b/back", 0, "alice", start, "once");
	ok("is undone by the host", sql(path, "DELETE FROM secret_release WHERE resource = 'e/b/back';"
					"UPDATE secret_head SET head = (SELECT head FROM before) WHERE resource = 'e/b/back'"), "no");
	refuses("which gives nobody another", "e/b/back", 0, "bob", start, -EBADMSG);
	ok("a head is moved", sql(path, "UPDATE secret_head SET resource = 'e/b/other' WHERE resource = 'e/b/one'"), "no");
	refuses("it does not open", "e/b/other", 0, "bob", start, -EBADMSG);
	int err = secrets_list(all, start, &list, &f);
	json_array_foreach(list, i, o)
		changed += json_is_true(json_object_get(o, "changed_outside"));
	ok("the list says so", !err && changed == 2, "%u", changed);
	json_decref(list);
	// One that was deleted and made anew: the value of the one before does not open in it.
	put("e/b/anew", SECRETS_NEW, NULL, "old", "{}", start, &f);
	sql(path, "CREATE TABLE kept AS SELECT * FROM secret_value WHERE resource = 'e/b/anew'");
	secrets_delete(all, "e/b/anew", NULL);
	put("e/b/anew", SECRETS_NEW, NULL, "new", "{}", start, &f);
	ok("a value is put back", sql(path, "UPDATE secret_value SET sealed = (SELECT sealed FROM kept) WHERE resource = 'e/b/anew'"), "no");
	refuses("of one that was there before", "e/b/anew", 0, "k", start, -EBADMSG);
}

// What a broker from before wrote.
static void test_old_table(void)
{
	char path[128];
	struct fault f = {""};
	uint8_t key[32], sealed[JWA_IV_BYTES + 9 + JWA_TAG_BYTES] = "twelve bytes";
	snprintf(path, sizeof path, "%s/old.db", world);
	int err = db_open(&db, path, &f);
	if (!err)
		err = store_prepare(db, master, &f);
	if (!err)
		err = guard_open(&guard, db, master, NULL, false, &f);
	if (!err)
		err = store_open(&policies, db, guard, master, &f);
	store_derive(master, "coffer broker secrets v1", key);
	jwa_gcm(true, key, 32, sealed, "default/volume/old", 18, (const uint8_t *)"a old key", 9, sealed + 12, sealed + 21);
	if (!err)
		err = db_do(db, &f, "INSERT INTO secret VALUES(?, ?, ?)", "tbt", "default/volume/old", sealed, sizeof sealed, "2025-01-01T00:00:00Z");
	if (err > 0)
		err = secrets_open(&all, db, guard, master, &f);
	if (!ok("a database from before is opened", !err, "%d: %s", err, f.text))
		return;
	gives("and its secrets are there", "default/volume/old", 0, "k", time(NULL) + 5, "a old key");
	close_all();
	if (!ok("also at the next start", open_all(path, &f), "%s", f.text))
		return;
	gives("still", "default/volume/old", 1, "k", time(NULL) + 5, "a old key");
	// Who kept the row from then puts it back.
	put("default/volume/old", SECRETS_REPLACE, NULL, "a new key", "{}", time(NULL), &f);
	ok("the old row is put back", db_do(db, &f, "INSERT INTO secret VALUES(?, ?, ?)", "tbt", "default/volume/old", sealed, sizeof sealed, "2025-01-01T00:00:00Z") > 0,
	   "%s", f.text);
	close_all();
	if (!ok("at another start", open_all(path, &f), "%s", f.text))
		return;
	gives("it is not taken over again", "default/volume/old", 0, "k", time(NULL) + 5, "a new key");
	close_all();
}

// ---- over the protocol ----

static struct run b;

// POST of a line and a value by the owner; the status.
static int owner_post(const char *name, const char *line, const char *value)
{
	char path[256], *body;
	struct http_reply r;
	snprintf(path, sizeof path, "/coffer/v0/secret/%s", name);
	if (asprintf(&body, "%s%s%s", line, value ? "\n" : "", value ? value : "") < 0)
		return -1;
	int err = request(&b, "POST", path, admin_header(&b), body, &r), status = err ? err : r.status;
	if (!err && status != 200)
		printf("# %s: %d %s\n", name, status, r.body);
	if (!err)
		http_reply_free(&r);
	free(body);
	return status;
}

// An operation of an attested guest: status; *o is the answer's JSON.
static int operate(const struct guest *g, const char *name, const char *op, json_t *q, json_t **o)
{
	char path[256], *body = json_dumps(q, JSON_COMPACT);
	struct http_reply r;
	json_decref(q);
	snprintf(path, sizeof path, "/kbs/v0/key/%s/%s", name, op);
	int err = request(&b, "POST", path, g->cookie, body, &r), status = err ? err : r.status;
	free(body);
	*o = err ? NULL : json_loads(r.body, 0, NULL);
	if (!err)
		http_reply_free(&r);
	return status;
}

static const char *title(const json_t *o)
{
	const char *s = json_string_value(json_object_get(o, "title"));
	return s ? s : "";
}

static bool decrypts_to(const struct guest *g, const json_t *jwe, const void *want, size_t want_len)
{
	uint8_t plain[256];
	size_t len = 0;
	return !jwe_decrypt(g->key, jwe, plain, sizeof plain, &len, NULL) && len == want_len && !memcmp(plain, want, len);
}

static EVP_PKEY *public_key(const json_t *o)
{
	const char *pem = json_string_value(json_object_get(o, "pem"));
	BIO *in = BIO_new_mem_buf(pem ? pem : "", -1);
	EVP_PKEY *key = PEM_read_bio_PUBKEY(in, NULL, NULL, NULL);
	BIO_free(in);
	return key;
}

static void test_keys_over_http(const struct guest *g, const struct guest *stranger)
{
	static const char message[] = "sign this";
	json_t *o, *q;
	uint8_t sig[KEYPAIR_MAX_SIGNATURE];
	char header[160];
	struct http_reply r;
	set_policy(&b, "app/key/sign", true, machine.measurement_hex);
	set_policy(&b, "app/key/open", true, machine.measurement_hex);
	set_policy(&b, "app/key/kek", true, machine.measurement_hex);
	ok("a signing key is made", owner_post("app/key/sign", "{\"action\":\"generate\",\"kind\":\"ec-p256\",\"use\":\"sign\"}", NULL) == 200, "no");
	ok("a decrypting key is made", owner_post("app/key/open", "{\"action\":\"generate\",\"kind\":\"ec-p384\",\"use\":\"decrypt\"}", NULL) == 200, "no");
	ok("a wrapping key is made", owner_post("app/key/kek", "{\"action\":\"generate\",\"kind\":\"aes-256\"}", NULL) == 200, "no");
	int status = operate(g, "app/key/sign", "sign", request64("message", message, strlen(message), "ES256"), &o);
	size_t n = bytes_of(o, "signature", sig, sizeof sig);
	json_decref(o);
	snprintf(header, sizeof header, "%s", g->cookie);
	int err = request(&b, "GET", "/kbs/v0/key/app/key/sign/public", header, NULL, &r);
	o = err ? NULL : json_loads(r.body, 0, NULL);
	EVP_PKEY *pub = public_key(o);
	ok("it signs for an attested caller", status == 200 && pub && verifies(pub, "ES256", message, sig, n), "%d", status);
	EVP_PKEY_free(pub);
	json_decref(o);
	if (!err)
		http_reply_free(&r);
	status = operate(stranger, "app/key/sign", "sign", request64("message", message, strlen(message), "ES256"), &o);
	ok("not for one that has not attested", status == 401, "%d %s", status, title(o));
	json_decref(o);
	o = request64("message", message, strlen(message), "ES256");
	char *token = NULL, *bearer = NULL, *body = json_dumps(o, JSON_COMPACT);
	json_decref(o);
	struct guest other = {.key = NULL};
	status = guest_attest(&b, &machine, &other, &token);
	if (status != 200 || !token || asprintf(&bearer, "Authorization: Bearer %s\r\n", token) < 0)
		abort();
	expect("a token, which others may have been shown, signs nothing", &b, "POST", "/kbs/v0/key/app/key/sign/sign", bearer, body, 403, "TokenNotEnough");
	expect("nor wraps", &b, "POST", "/kbs/v0/key/app/key/kek/wrap", bearer, "{}", 403, "TokenNotEnough");
	expect("it may ask for what is encrypted to its key", &b, "POST", "/kbs/v0/key/app/key/open/decrypt", bearer, "{}", 400, "BadRequest");
	guest_free(&other);
	free(bearer);
	free(token);
	free(body);
	expect("the private half does not leave", &b, "GET", "/kbs/v0/resource/app/key/sign", g->cookie, NULL, 403, "KeyStays");
	expect("nor to its owner", &b, "GET", "/coffer/v0/key/app/key/sign", admin_header(&b), NULL, 403, "KeyStays");
	expect("its public half is not everybody's", &b, "GET", "/kbs/v0/key/app/key/sign/public", "", NULL, 401, "SessionMissing");
	owner_post("app/key/sign", "{\"action\":\"set\",\"publish\":true}", NULL);
	expect("unless it is published", &b, "GET", "/kbs/v0/key/app/key/sign/public", "", NULL, 200, "BEGIN PUBLIC KEY");
	owner_post("app/key/sign", "{\"action\":\"rotate\"}", NULL);
	err = request(&b, "GET", "/kbs/v0/key/app/key/sign/public?format=jwks", "", NULL, &r);
	o = err ? NULL : json_loads(r.body, 0, NULL);
	ok("as a set, while it rotates", json_array_size(json_object_get(o, "keys")) == 2, "%s", err ? "" : r.body);
	json_decref(o);
	if (!err)
		http_reply_free(&r);
	status = operate(g, "app/key/sign", "decrypt", json_pack("{s:s}", "jwe", "a.b.c.d.e"), &o);
	ok("a signing key does not decrypt", status == 400 && strstr(json_string_value(json_object_get(o, "detail")), "made to sign"), "%d", status);
	json_decref(o);
	expect("there is no such operation", &b, "POST", "/kbs/v0/key/app/key/sign/steal", g->cookie, "{}", 404, "NotFound");
	expect("a request must be JSON", &b, "POST", "/kbs/v0/key/app/key/sign/sign", g->cookie, "{", 400, "BadRequest");

	// Encrypted to the key's public half before it rotated: its kid finds the version.
	err = request(&b, "GET", "/kbs/v0/key/app/key/open/public", admin_header(&b), NULL, &r);
	o = err ? NULL : json_loads(r.body, 0, NULL);
	pub = public_key(o);
	json_t *jwe = NULL;
	if (!ok("the owner gets the public half", pub && !jwe_encrypt(pub, "for the enclave", 15, &jwe, NULL), "no"))
		return;
	json_object_set_new(jwe, "header", json_pack("{s:O}", "kid", json_object_get(json_object_get(o, "jwk"), "kid")));
	EVP_PKEY_free(pub);
	json_decref(o);
	http_reply_free(&r);
	owner_post("app/key/open", "{\"action\":\"rotate\"}", NULL);
	status = operate(g, "app/key/open", "decrypt", json_pack("{s:O}", "jwe", jwe), &o);
	ok("it decrypts for an attested caller, to whose key the answer is", status == 200 && decrypts_to(g, o, "for the enclave", 15), "%d %s", status, title(o));
	json_decref(o);
	json_object_del(jwe, "header");
	status = operate(g, "app/key/open", "decrypt", json_pack("{s:o}", "jwe", jwe), &o);
	ok("the newest version's key does not fit", status == 400 && !strcmp(title(o), "NotDecrypted"), "%d %s", status, title(o));
	json_decref(o);
	status = operate(g, "app/key/kek", "wrap", request64("key", "0123456789abcdef", 16, "A256KW"), &q);
	ok("a key is wrapped", status == 200, "%d", status);
	json_object_del(q, "version");
	status = operate(g, "app/key/kek", "unwrap", q, &o);
	ok("and unwrapped", status == 200 && decrypts_to(g, o, "0123456789abcdef", 16), "%d %s", status, title(o));
	json_decref(o);
}

static void test_once_over_http(struct guest *g)
{
	struct guest other = {.key = NULL};
	char plain[64];
	size_t len = 0;
	set_policy(&b, "app/one/time", true, machine.measurement_hex);
	ok("a secret for one use", owner_post("app/one/time", "{\"action\":\"put\",\"uses\":1}", "UNIQUEVALUE") == 200, "no");
	int status = guest_get(&b, g, "app/one/time", plain, sizeof plain, &len);
	ok("is given", status == 200 && len == 11 && !memcmp(plain, "UNIQUEVALUE", 11), "%d", status);
	ok("the same key attests anew", guest_attest(&b, &machine, g, NULL) == 200, "no");
	status = guest_get(&b, g, "app/one/time", plain, sizeof plain, &len);
	ok("and has the same release", status == 200 && len == 11, "%d", status);
	ok("another key attests", guest_attest(&b, &machine, &other, NULL) == 200, "no");
	expect("it is too late", &b, "GET", "/kbs/v0/resource/app/one/time", other.cookie, NULL, 403, "SecretUsedUp");
	owner_post("app/one/time", "{\"action\":\"rotate\"}", "SECONDVALUE");
	status = guest_get(&b, &other, "app/one/time?version=2", plain, sizeof plain, &len);
	ok("a version by its number", status == 200 && !memcmp(plain, "SECONDVALUE", 11), "%d", status);
	expect("a version that is none", &b, "GET", "/kbs/v0/resource/app/one/time?version=0", other.cookie, NULL, 400, "BadRequest");
	ok("a value among the settings is refused", owner_post("app/one/time", "{\"action\":\"rotate\",\"value\":\"UNIQUEVALUE\"}", NULL) == 400, "no");
	owner_post("app/one/time", "{\"action\":\"disable\"}", NULL);
	expect("disabled", &b, "GET", "/kbs/v0/resource/app/one/time", other.cookie, NULL, 403, "SecretDisabled");
	expect("its owner sees what there is", &b, "GET", "/coffer/v0/secret/app/one/time", admin_header(&b), NULL, 200, "\"used\":1");
	expect("in the list, too", &b, "GET", "/coffer/v0/secret", admin_header(&b), NULL, 200, "app/one/time");
	expect("which is not for others", &b, "GET", "/coffer/v0/secret", other.cookie, NULL, 401, "");
	expect("destroy says which", &b, "POST", "/coffer/v0/secret-destroy/app/one/time", admin_header(&b), "{\"version\":\"x\"}", 400, "version");
	expect("all of them", &b, "POST", "/coffer/v0/secret-destroy/app/one/time", admin_header(&b), "{}", 200, "ok");
	expect("no value is left", &b, "GET", "/coffer/v0/key/app/one/time", admin_header(&b), NULL, 403, "destroyed");
	guest_free(&other);
}

// What is on disk: records of releases, no value anywhere.
static void test_traces(void)
{
	static const char *const files[] = {"broker.db", "broker.db-wal", "audit/entries"};
	char path[160], *text;
	size_t len;
	for (size_t i = 0; i < 3; i++) {
		snprintf(path, sizeof path, "%s/%s", b.dir, files[i]);
		if (file_read(path, 64 << 20, &text, &len, NULL))
			continue;
		ok("no value is in the clear", !memmem(text, len, "UNIQUEVALUE", 11) && !memmem(text, len, "SECONDVALUE", 11), "%s", files[i]);
		if (i == 2)
			ok("releases are on record", memmem(text, len, "\"event\":\"release\"", 17) && memmem(text, len, "\"operation\":\"sign\"", 18) &&
			   memmem(text, len, "put-secret", 10), "no");
		free(text);
	}
}

static void test_rules(void)
{
	static const char policy[] = "conditions:\n  signs: {caller: operation, in: [sign, public]}\n  known: {owner_allows: true}\n"
				     "rules:\n  - name: signing only\n    resources: [app/key/*, app/plain/*]\n    allow_when: [known, signs]\n";
	char path[128];
	struct guest g = {.key = NULL};
	json_t *o;
	snprintf(path, sizeof path, "%s/policy.yaml", world);
	file_write(path, policy, strlen(policy), 0600, false, NULL);
	if (!ok("a broker with rules about operations", run_start(&b, "--insecure-accept-simulated", machine.root_pem, "--policy", path), "no"))
		return;
	set_policy(&b, "app/plain/text", true, machine.measurement_hex);
	owner_post("app/plain/text", "{\"action\":\"put\"}", "some text");
	ok("a guest attests", guest_attest(&b, &machine, &g, NULL) == 200, "no");
	int status = operate(&g, "app/key/sign", "sign", request64("message", "x", 1, NULL), &o);
	ok("it may sign", status == 200, "%d %s", status, title(o));
	json_decref(o);
	expect("and not read", &b, "GET", "/kbs/v0/resource/app/plain/text", g.cookie, NULL, 403, "signs");
	status = operate(&g, "app/key/kek", "unwrap", json_pack("{s:s}", "alg", "A256KW"), &o);
	ok("nor unwrap", status == 403 && !strcmp(title(o), "PolicyDeny"), "%d %s", status, title(o));
	json_decref(o);
	guest_free(&g);
	ok("it ends well", !run_stop(&b), "no");
}

// ---- killed with requests in flight ----

struct runner {
	struct guest g;
	pthread_t thread;
	bool had;
	unsigned int pause_us;
};

static void *run_one(void *ctx)
{
	struct runner *r = ctx;
	char plain[64];
	size_t len = 0;
	usleep(r->pause_us);
	r->had |= guest_get(&b, &r->g, "app/kill/once", plain, sizeof plain, &len) == 200;
	return NULL;
}

static void test_kills(void)
{
	enum { GUESTS = 4, USES = 2 };
	unsigned int rounds = amount("COFFER_TEST_KILLS", 6), wrong = 0, cut = 0;
	set_policy(&b, "app/kill/once", true, machine.measurement_hex);
	owner_post("app/kill/once", "{\"action\":\"generate\",\"uses\":2}", NULL);
	for (unsigned int round = 0; round < rounds && !wrong; round++) {
		struct runner r[GUESTS] = {0};
		unsigned int had = 0, before = 0;
		uint16_t pause = 0;
		RAND_bytes((uint8_t *)&pause, sizeof pause);
		owner_post("app/kill/once", "{\"action\":\"rotate\"}", NULL);
		for (int i = 0; i < GUESTS; i++)
			wrong += guest_attest(&b, &machine, &r[i].g, NULL) != 200;
		for (int i = 0; i < GUESTS; i++) {
			r[i].pause_us = (unsigned int)(pause * (unsigned int)(i + 1)) % 8000;
			pthread_create(&r[i].thread, NULL, run_one, &r[i]);
		}
		usleep(2000 + 2u * pause);	// at most 133 ms
		kill(b.pid, SIGKILL);
		waitpid(b.pid, NULL, 0);
		for (int i = 0; i < GUESTS; i++) {
			pthread_join(r[i].thread, NULL);
			before += r[i].had;
		}
		cut += before < USES;
		if (!run_start(&b, "--insecure-accept-simulated", machine.root_pem)) {
			wrong++;
			break;
		}
		for (int i = 0; i < GUESTS; i++) {	// each asks again, with its key
			r[i].pause_us = 0;
			wrong += guest_attest(&b, &machine, &r[i].g, NULL) != 200;
			run_one(&r[i]);
			had += r[i].had;
			guest_free(&r[i].g);
		}
		wrong += had != USES;
		if (had != USES)
			printf("# round %u: %u of %d had it, %u before the kill\n", round, had, USES, before);
	}
	ok("killed with requests in flight: as many have it as may, each that was counted, nobody else", !wrong, "%u wrong", wrong);
	printf("# %u of %u kills came before all answers\n", cut, rounds);
}

// ---- an enclave that starts while its broker is killed ----

static char delivered[128];

static int evidence_here(const uint8_t report_data[64], struct evidence *out, struct fault *f)
{
	return machine_evidence(&machine, report_data, out, f);
}

static int deliver_here(const struct settings_secret *s, const void *bytes, size_t len, struct fault *f)
{
	if (strcmp(s->path, "/run/key") || len >= sizeof delivered)
		return fault_set(f, -EINVAL, "not what was asked for");
	memcpy(delivered, bytes, len);
	delivered[len] = '\0';
	return 0;
}

static void say_nothing(const char *line)
{
	(void)line;
}

static void *start_enclave(void *ctx)
{
	static const struct attest_ops ops = {evidence_here, NULL, NULL, NULL, say_nothing, NULL, NULL, deliver_here, NULL};
	struct settings_secret secret = {.path = (char *)"/run/key", .resource = (char *)"app/start/once", .mode = 0400};
	struct settings s = {.broker_url = b.url, .broker_ca = b.ca, .broker_timeout_s = 60, .secret_count = 1, .secrets = &secret};
	struct fault f = {""};
	int *err = ctx;
	*err = attest_run(&s, &ops, NULL, &f);
	return NULL;
}

// The use that was counted is the enclave's that started, or none was.
static void test_starts(void)
{
	unsigned int rounds = amount("COFFER_TEST_KILLS", 6), lost = 0, had = 0, again = 0;
	set_policy(&b, "app/start/once", true, machine.measurement_hex);
	owner_post("app/start/once", "{\"action\":\"generate\",\"encoding\":\"hex\",\"uses\":1}", NULL);
	for (unsigned int round = 0; round < rounds; round++) {
		pthread_t thread;
		struct http_reply r;
		uint16_t pause;
		int err = -1;
		*delivered = '\0';
		RAND_bytes((uint8_t *)&pause, sizeof pause);
		owner_post("app/start/once", "{\"action\":\"rotate\"}", NULL);
		pthread_create(&thread, NULL, start_enclave, &err);
		usleep(2000 + 3u * pause);
		kill(b.pid, SIGKILL);
		waitpid(b.pid, NULL, 0);
		if (!run_start(&b, "--insecure-accept-simulated", machine.root_pem))
			lost++;
		pthread_join(thread, NULL);
		bool used = !request(&b, "GET", "/coffer/v0/secret/app/start/once", admin_header(&b), NULL, &r);
		json_t *o = used ? json_loads(r.body, 0, NULL) : NULL, *list = json_object_get(o, "versions");
		used = json_object_get(json_array_get(list, json_array_size(list) - 1), "used") != NULL;
		if (o)
			http_reply_free(&r);
		json_decref(o);
		had += !err;
		again += !err && used;
		lost += used != !err || (!err && strlen(delivered) != 64);
	}
	ok("an enclave that starts while its broker is killed gets what was counted for it", !lost, "%u of %u", lost, rounds);
	printf("# %u of %u starts came through, %u were counted\n", had, rounds, again);
}

int main(void)
{
	struct guest g = {.key = NULL}, stranger = {.key = NULL};
	struct fault f = {""};
	char path[128];
	world_begin("secrets");
	test_old_table();
	snprintf(path, sizeof path, "%s/own.db", world);
	if (ok("a database opens", open_all(path, &f), "%s", f.text)) {
		test_versions();
		test_made_here();
		test_uses();
		test_race("of all who race for one use, one has it", all, amount("COFFER_TEST_RACE", 30), 20);
		test_edited(path);
		close_all();
	}
	test_shared();
	bool prepared = run_prepare(&b, "state");
	run_stays(&b);
	if (prepared && ok("a broker starts", run_start(&b, "--insecure-accept-simulated", machine.root_pem), "no")) {
		ok("a guest attests", guest_attest(&b, &machine, &g, NULL) == 200 && guest_begin(&b, "snp", &stranger), "no");
		test_keys_over_http(&g, &stranger);
		test_once_over_http(&g);
		test_kills();
		test_starts();
		test_traces();
		ok("it ends well", !run_stop(&b), "no");
		test_rules();
	}
	guest_free(&g);
	guest_free(&stranger);
	run_free(&b);
	return world_end();
}

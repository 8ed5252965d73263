// SPDX-License-Identifier: Apache-2.0
// What the path of a request does only once, or keeps for the next one, to be quick: nothing of that may be seen by who asks.
#include <pthread.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "broker/api.h"
#include "lib/file.h"
#include "tests/broker/harness.h"

static struct run b;

// What one request has of a session's claims, and adds to, is not the next one's.
static void test_claims(void)
{
	enum { MANY = 200 };
	struct session_table *t = session_table_new(MANY, 60);
	static char id[MANY][SESSION_ID_TEXT];
	char nonce[SESSION_NONCE_TEXT];
	json_t *first = NULL, *second = NULL;
	EVP_PKEY *key = NULL;
	for (int i = 0; i < MANY; i++) {	// more than are kept as trees
		json_t *claims = json_pack("{s:i, s:{s:s}}", "number", i, "of", "tee", "x");
		session_begin(t, NULL, id[i], nonce, NULL);
		session_attested(t, id[i], claims, NULL, EVP_EC_gen("P-256"), NULL);
		json_decref(claims);
	}
	unsigned int right = 0, alone = 0;
	for (int i = MANY; i-- > 0;) {
		json_t *expected = json_pack("{s:i, s:{s:s}}", "number", i, "of", "tee", "x");
		if (session_get(t, id[i], &first, &key, NULL))
			break;
		EVP_PKEY_free(key);
		right += json_equal(first, expected);
		json_object_set_new(first, "added", json_true());
		json_object_set_new(json_object_get(first, "of"), "tee", json_string("y"));
		if (session_get(t, id[i], &second, &key, NULL))
			break;
		EVP_PKEY_free(key);
		alone += json_equal(second, expected);
		json_decref(first);
		json_decref(second);
		json_decref(expected);
	}
	ok("each session has its own claims", right == MANY, "%u of %d", right, MANY);
	ok("each request has them for itself", alone == MANY, "%u of %d", alone, MANY);
	session_table_free(t);
}

static void *ask_for_life(void *ctx)
{
	struct http_head head = {.method = "GET", .path = "/healthz"};
	struct http_request q = {.head = &head};
	struct http_response r = {.peer = "192.0.2.1:1"};
	broker_handle(ctx, &q, &r);
	bool alive = r.status == 200;
	free(r.body);
	return alive ? ctx : NULL;
}

// Whatever the others wait for.
static void test_alive(void)
{
	struct broker *busy = calloc(1, sizeof *busy);
	struct timespec until;
	pthread_t asker;
	void *alive = NULL;
	pthread_rwlock_init(&busy->verifier_lock, NULL);
	pthread_rwlock_wrlock(&busy->verifier_lock);
	pthread_create(&asker, NULL, ask_for_life, busy);
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += 60;
	bool early = !pthread_timedjoin_np(asker, &alive, &until);
	pthread_rwlock_unlock(&busy->verifier_lock);
	if (!early)
		pthread_join(asker, &alive);
	ok("a broker whose requests wait says that it lives", early && alive, "it waited too");
	free(busy);
}

static unsigned int times_said(const char *text)
{
	char *log = NULL;
	size_t len;
	unsigned int n = 0;
	if (file_read(b.log, 1 << 24, &log, &len, NULL))
		return 0;
	for (const char *p = log; (p = strstr(p, text)); p++)
		n++;
	free(log);
	return n;
}

// The policy cannot be looked at: the one before stays, and it is said once, however many ask.
static void test_blind(void)
{
	static const char none[] = "GET", resource[] = "/kbs/v0/resource/default/key/none";
	char path[160], header[256];
	sqlite3 *db;
	if (!ok("a broker starts", run_start(&b, "--insecure-accept-simulated", machine.root_pem), "no"))
		return;
	snprintf(path, sizeof path, "%s/broker.db", b.dir);
	sqlite3_open(path, &db);
	sqlite3_busy_timeout(db, 10000);
	ok("the policy's table can be taken away", !sqlite3_exec(db, "ALTER TABLE policy_head RENAME TO gone", NULL, NULL, NULL), "%s", sqlite3_errmsg(db));
	unsigned int before = times_said("cannot be looked at");
	for (int i = 0; i < 20; i++)
		expect("requests are served without it", &b, none, resource, "", NULL, 401, "SessionMissing");
	unsigned int said = times_said("cannot be looked at") - before;
	ok("that is said once", said == 1, "%u times", said);
	ok("the table comes back", !sqlite3_exec(db, "ALTER TABLE gone RENAME TO policy_head", NULL, NULL, NULL), "%s", sqlite3_errmsg(db));
	size_t from = run_log_size(&b);
	snprintf(header, sizeof header, "%s", admin_header(&b));
	expect("a policy is put", &b, "POST", "/coffer/v0/policy-document", header, "{\"action\":\"put\",\"text\":\"tees: [snp]\\n\"}", 200, "version");
	expect("a request after that", &b, none, resource, "", NULL, 401, "SessionMissing");
	ok("has it used", run_said(&b, from, "version 1 of the policy holds now"), "no");
	from = run_log_size(&b);
	expect("it is withdrawn", &b, "POST", "/coffer/v0/policy-document", header, "{\"action\":\"withdraw\"}", 200, "version");
	expect("a request after that", &b, none, resource, "", NULL, 401, "SessionMissing");
	ok("has none used", run_said(&b, from, "no policy is put any longer"), "no");
	sqlite3_close(db);
	ok("it ends well", !run_stop(&b), "no");
}

// A head of a secret that was opened before is that of the row as it is now.
static void test_heads(void)
{
	static const char name[] = "default/secret/one", other[] = "default/secret/two";
	struct guest g = {.key = NULL};
	char path[160], out[64];
	size_t len;
	sqlite3 *db;
	if (!ok("a broker starts", run_start(&b, "--insecure-accept-simulated", machine.root_pem), "no"))
		return;
	put_secret(&b, name, "first");
	put_secret(&b, other, "second");
	set_policy(&b, name, true, machine.measurement_hex);
	set_policy(&b, other, true, machine.measurement_hex);
	ok("a client attests", guest_attest(&b, &machine, &g, NULL) == 200, "no");
	for (int i = 0; i < 3; i++) {
		ok("a secret is read", guest_get(&b, &g, name, out, sizeof out, &len) == 200 && len == 5 && !memcmp(out, "first", 5), "no");
		ok("and another one", guest_get(&b, &g, other, out, sizeof out, &len) == 200 && len == 6 && !memcmp(out, "second", 6), "no");
	}
	char header[256];
	snprintf(header, sizeof header, "%s", admin_header(&b));
	expect("its owner disables it", &b, "POST", "/coffer/v0/secret/default/secret/one", header, "{\"action\":\"disable\"}", 200, "");
	ok("and it is not given again", guest_get(&b, &g, name, out, sizeof out, &len) == 403, "it is");
	snprintf(path, sizeof path, "%s/broker.db", b.dir);
	sqlite3_open(path, &db);
	sqlite3_busy_timeout(db, 10000);
	ok("somebody gives it the other's row", !sqlite3_exec(db, "UPDATE secret_head SET head = (SELECT head FROM secret_head WHERE resource = 'default/secret/two')"
							      " WHERE resource = 'default/secret/one'", NULL, NULL, NULL), "%s", sqlite3_errmsg(db));
	sqlite3_close(db);
	ok("which is no head of this one", guest_get(&b, &g, name, out, sizeof out, &len) == 500, "it is");
	ok("the other is read as before", guest_get(&b, &g, other, out, sizeof out, &len) == 200 && len == 6 && !memcmp(out, "second", 6), "no");
	guest_free(&g);
	ok("it ends well", !run_stop(&b), "no");
}

int main(void)
{
	world_begin("round");
	if (!run_prepare(&b, "state"))
		return 1;
	test_claims();
	test_alive();
	test_blind();
	test_heads();
	run_free(&b);
	return world_end();
}

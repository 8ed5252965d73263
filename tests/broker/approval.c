// SPDX-License-Identifier: Apache-2.0
// Policies in the database by version, and k of n who must agree: against a broker that really runs, with simulated evidence.
#include <errno.h>
#include <openssl/ec.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "broker/approvals.h"
#include "lib/encode.h"
#include "lib/file.h"
#include "lib/keyfile.h"
#include "lib/signkey.h"
#include "tests/broker/harness.h"

#define RESOURCE "team/file/one"
#define DOCUMENT "/coffer/v0/policy-document"
#define WITH_APPROVAL "conditions:\n  two: {approval: {k: 2, of: [ann, ben, cid]}}\nrules:\n  - {name: r, resources: ['team/file/*'], allow_when: [two]}\n"
#define OPEN "conditions:\n  some: {claim: tee, present: true}\nrules:\n  - {name: open, resources: ['*/*/*'], allow_when: [some]}\n"
#define SHUT "conditions:\n  never: {claim: tee, is: nothing}\nrules:\n  - {name: shut, resources: ['*/*/*'], allow_when: [never]}\n"

static struct run b;

struct person {
	const char *name;
	char file[128], pem[SIGNKEY_PEM];
	EVP_PKEY *key;
};

static struct person ann = {.name = "ann"}, ben = {.name = "ben"}, cid = {.name = "cid"}, dan = {.name = "dan"};

// As the admin token does it: the status, and the answer's text into `out`.
static int post(const char *path, json_t *body, char *out, size_t size)
{
	struct http_reply r;
	char *text = json_dumps(body, JSON_COMPACT);
	int err = request(&b, "POST", path, admin_header(&b), text, &r), status = err ? err : r.status;
	if (out)
		snprintf(out, size, "%s", err ? "" : r.body);
	if (!err)
		http_reply_free(&r);
	free(text);
	json_decref(body);
	return status;
}

static void add(struct person *p, const char *role)
{
	json_t *o;
	p->key = EVP_EC_gen("P-256");
	signkey_pem(p->key, p->pem);
	snprintf(p->file, sizeof p->file, "%s/%s.key", world, p->name);
	EVP_PKEY_up_ref(p->key);
	keyfile_write(p->file, p->key, NULL);
	o = json_pack("{s:s, s:s, s:[s], s:s}", "action", "add", "name", p->name, "roles", role, "key", p->pem);
	ok("an identity is added", post("/coffer/v0/identity", o, NULL, 0) == 200, "%s", p->name);
}

static struct broker_client *client_of(const struct person *p)
{
	struct broker_client *c = NULL;
	struct fault f = {""};
	struct broker_client_options o = {.dir = b.dir, .url = b.url, .identity_file = p->file};
	if (broker_client_open(&c, &o, &f))
		ok("a signing client opens", false, "%s", f.text);
	return c;
}

// What p hands in as `by`'s statement; 0 or the error.
static int approve_with(const struct person *p, const struct person *by, const struct approval *a, const struct approval *said, long seconds)
{
	struct broker_client *c = client_of(p);
	struct fault f = {""};
	char statement[APPROVAL_STATEMENT], expires[32], text[BASE64_SIZE(64)];
	uint8_t signature[64];
	time_t until = time(NULL) + seconds;
	struct tm tm;
	json_t *list = NULL, *o;
	int err = broker_client_json(c, "GET", "/coffer/v0/approval", NULL, &list, &f);
	strftime(expires, sizeof expires, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&until, &tm));
	if (!err)
		err = approval_statement(json_string_value(json_object_get(list, "broker")), a, expires, statement);
	signkey_sign(by->key, statement, strlen(statement), signature);
	base64_encode(text, signature, 64, BASE64_STD);
	o = json_pack("{s:s, s:s, s:s, s:s, s:s}", "action", said->action, "subject", said->subject, "detail", said->detail, "expires", expires, "signature", text);
	if (!err)
		err = broker_client_json(c, "POST", "/coffer/v0/approval", o, NULL, &f);
	json_decref(list);
	json_decref(o);
	broker_client_close(c);
	return err;
}

static int approve(const struct person *p, const struct approval *a, long seconds)
{
	return approve_with(p, p, a, a, seconds);
}

static int put(const char *text, const char *name, char *out, size_t size)
{
	return post(DOCUMENT, json_pack("{s:s, s:s, s:s}", "action", "put", "text", text, "name", name), out, size);
}

static int release(struct guest *g)
{
	char out[64];
	size_t len;
	return guest_get(&b, g, RESOURCE, out, sizeof out, &len);
}

static bool edit(const char *sql)
{
	char path[128];
	sqlite3 *db;
	snprintf(path, sizeof path, "%s/broker.db", b.dir);
	bool done = sqlite3_open(path, &db) == SQLITE_OK && sqlite3_busy_timeout(db, 5000) == SQLITE_OK &&
		    sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK && sqlite3_total_changes(db) > 0;
	sqlite3_close(db);
	return done;
}

static long long count(const char *sql)
{
	char path[128];
	sqlite3 *db;
	sqlite3_stmt *st = NULL;
	long long n = -1;
	snprintf(path, sizeof path, "%s/broker.db", b.dir);
	if (sqlite3_open(path, &db) == SQLITE_OK && sqlite3_prepare_v2(db, sql, -1, &st, NULL) == SQLITE_OK && sqlite3_step(st) == SQLITE_ROW)
		n = sqlite3_column_int64(st, 0);
	sqlite3_finalize(st);
	sqlite3_close(db);
	return n;
}

static void test_policies(struct guest *g)
{
	char text[4096];
	ok("without rules the owner's list decides", release(g) == 200, "it does not");
	ok("rules are put", put(SHUT, "shut", text, sizeof text) == 200 && strstr(text, "\"version\":1"), "%s", text);
	ok("and decide at the next request", release(g) == 403, "they do not");
	ok("a policy that is none is refused", put("rules: 7\n", "", text, sizeof text) == 400 && strstr(text, "BadPolicy"), "%s", text);
	ok("so is one that lets simulated hardware in", put("insecure_accept_debug: true\n" OPEN, "", text, sizeof text) == 400 && strstr(text, "broker.yaml only"), "%s", text);
	ok("and an empty one", put("", "", text, sizeof text) == 400, "%s", text);
	ok("the one before stays", release(g) == 403, "it does not");
	ok("another version", put(OPEN, "open", text, sizeof text) == 200 && strstr(text, "\"version\":2"), "%s", text);
	ok("gives", release(g) == 200, "it does not");
	ok("back to the first", post(DOCUMENT, json_pack("{s:s, s:i}", "action", "rollback", "version", 1), text, sizeof text) == 200 &&
	   strstr(text, "\"version\":3"), "%s", text);
	ok("refuses again", release(g) == 403, "it does not");
	ok("not to one that never was", post(DOCUMENT, json_pack("{s:s, s:i}", "action", "rollback", "version", 77), text, sizeof text) == 404, "%s", text);
	expect("the history names all, with authors", &b, "GET", "/coffer/v0/policy-history", admin_header(&b), NULL, 200, "\"name\":\"back to version 1\"");
	expect("a version is shown", &b, "GET", DOCUMENT "?version=2", admin_header(&b), NULL, 200, "name: open");
	expect("decisions name the version", &b, "GET", "/coffer/v0/audit/records?from=0&to=30", admin_header(&b), NULL, 200, "\"policy_version\":3");
	ok("withdrawn, the owner's list decides", post(DOCUMENT, json_pack("{s:s}", "action", "withdraw"), text, sizeof text) == 200 && release(g) == 200, "%s", text);

	char away[200];
	snprintf(away, sizeof away, "%s.away", machine.root_pem);
	ok("a version that cannot be used now: the one before stays", put(SHUT, "later", NULL, 0) == 200 && !rename(machine.root_pem, away) && release(g) == 200, "no");
	ok("when what it needs is there", !rename(away, machine.root_pem), "%d", errno);
	for (int i = 0; i < 480 && release(g) == 200; i++)
		nanosleep(&(struct timespec){.tv_nsec = 250000000}, NULL);
	ok("it is used by itself", release(g) == 403, "it is not");
	ok("a version's author is edited", edit("UPDATE policy_version SET author = 'nobody' WHERE version = 1"), "no");
	expect("which its history does not tell", &b, "GET", "/coffer/v0/policy-history", admin_header(&b), NULL, 500, "policy_version 1");
	ok("and is put right", edit("UPDATE policy_version SET author = (SELECT author FROM policy_version WHERE version = 2) WHERE version = 1"), "no");
	expect("so that it is told", &b, "GET", "/coffer/v0/policy-history", admin_header(&b), NULL, 200, "\"name\":\"later\"");
	ok("and back", post(DOCUMENT, json_pack("{s:s}", "action", "withdraw"), NULL, 0) == 200 && release(g) == 200, "no");
}

// Is there a record of that event whose approvals are these?
static bool on_record(const char *event, const char *one, const char *two)
{
	struct http_reply r;
	bool found = false;
	char *save = NULL, kind[64], first[64], second[64];
	snprintf(kind, sizeof kind, "\"event\":\"%s\"", event);
	snprintf(first, sizeof first, "\"approved_by\":[\"%s\",\"%s\"]", one, two);
	snprintf(second, sizeof second, "\"approved_by\":[\"%s\",\"%s\"]", two, one);
	for (unsigned int from = 0; !found; from += 100) {
		char path[96];
		snprintf(path, sizeof path, "/coffer/v0/audit/records?from=%u&to=%u", from, from + 100);
		if (request(&b, "GET", path, admin_header(&b), NULL, &r))
			break;
		bool more = r.status == 200 && r.body_len;
		for (char *line = more ? strtok_r(r.body, "\n", &save) : NULL; line; line = strtok_r(NULL, "\n", &save))
			found |= strstr(line, kind) && (strstr(line, first) || strstr(line, second));
		http_reply_free(&r);
		if (!more)
			break;
	}
	return found;
}

// Enclaves of one network have taken all places for what waits: another's still gets one, and each measurement has its share.
static void test_flood(struct guest *g)
{
	edit("DELETE FROM approval_request");
	ok("a crowd of one network waits", edit("INSERT INTO approval_request WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 500) "
	   "SELECT printf('%016d', n), 'release', 'x/y/' || n, printf('%096d', n), CAST(strftime('%s') AS INTEGER), 'an enclave at 10.9.9.9' FROM c"), "no");
	ok("another's enclave gets a place", release(g) == 403 && count("SELECT count(*) FROM approval_request WHERE author = 'an enclave at 127.0.0.1'") == 1 &&
	   count("SELECT count(*) FROM approval_request") == 500, "no");
	ok("that nobody takes again", count("SELECT count(*) FROM approval_request WHERE author = 'an enclave at 10.9.9.9'") == 499, "no");
	ok("places of many networks", edit("UPDATE approval_request SET author = 'an enclave at 10.9.' || id WHERE author LIKE '%10.9.9.9'; "
	   "DELETE FROM approval_request WHERE author = 'an enclave at 127.0.0.1'; INSERT INTO approval_request SELECT 'more', action, 'x/y/z', detail, asked, "
	   "'an enclave at 10.9.8.8' FROM approval_request LIMIT 1"), "no");
	ok("none of whom has more than another: they stay", release(g) == 403 && count("SELECT count(*) FROM approval_request WHERE author LIKE '%10.9.%'") == 500, "no");
	char sql[400];
	snprintf(sql, sizeof sql, "DELETE FROM approval_request WHERE asked > 0; INSERT INTO approval_request WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 "
		 "FROM c WHERE n < 50) SELECT 'm' || n, 'release', 'x/y/' || n, '%s', CAST(strftime('%%s') AS INTEGER), 'an enclave at 10.9.9.9' FROM c",
		 machine.measurement_hex);
	ok("one measurement waits for much", edit(sql), "no");
	ok("and has its share", release(g) == 403 && count("SELECT count(*) FROM approval_request") == 50, "more");
	ok("until it is forgotten", edit("DELETE FROM approval_request WHERE id IN ('m1', 'm2')") && release(g) == 403 &&
	   count("SELECT count(*) FROM approval_request WHERE subject = '" RESOURCE "'") == 1, "no");
	edit("DELETE FROM approval_request WHERE id LIKE 'm%'");
}

static void test_release(struct guest *g)
{
	const struct approval one = {APPROVAL_RELEASE, RESOURCE, machine.measurement_hex}, other = {APPROVAL_RELEASE, "team/file/two", machine.measurement_hex};
	struct http_reply r;
	char path[200], text[2048];
	ok("a policy that refuses for another reason too", put("conditions:\n  two: {approval: {k: 2, of: [ann, ben, cid]}}\n  never: {claim: tee, is: none}\n"
	   "rules:\n  - {name: r, resources: ['team/file/*'], allow_when: [two, never]}\n", "", text, sizeof text) == 200, "%s", text);
	ok("asks nobody for approvals that would not help", release(g) == 403 && count("SELECT count(*) FROM approval_request") == 0, "it does");
	ok("a policy that asks for approvals", put(WITH_APPROVAL, "", text, sizeof text) == 200, "%s", text);
	ok("one with more approvals than names is none", put("conditions:\n  two: {approval: {k: 3, of: [ann, ben]}}\nrules:\n  - {name: r, resources: ['*/*/*'], "
	   "allow_when: [two]}\n", "", text, sizeof text) == 400, "%s", text);
	ok("nor one that names somebody twice", put("conditions:\n  two: {approval: {k: 2, of: [ann, ann]}}\nrules:\n  - {name: r, resources: ['*/*/*'], "
	   "allow_when: [two]}\n", "", text, sizeof text) == 400, "%s", text);
	test_flood(g);
	ok("without approvals nothing is given", release(g) == 403, "it is");
	snprintf(path, sizeof path, "%s", "/coffer/v0/approval");
	expect("it waits where approvers look", &b, "GET", path, admin_header(&b), NULL, 200, "\"subject\":\"" RESOURCE "\"");
	ok("somebody gives it a time that there is not", edit("UPDATE approval_request SET asked = 9000000000000000000"), "no");
	expect("which ends nothing", &b, "GET", path, admin_header(&b), NULL, 200, "\"subject\":\"" RESOURCE "\"");
	ok("and the time is put right", edit("UPDATE approval_request SET asked = strftime('%s')"), "no");
	ok("one approval", !approve(&ann, &one, 600) && release(g) == 403, "is enough, or not taken");
	ok("the same one's again does not count twice", !approve(&ann, &one, 700) && release(g) == 403, "it does");
	ok("somebody's who is not named does not count", !approve(&dan, &one, 600) && release(g) == 403, "it does");
	ok("another's for another resource does not count", !approve(&ben, &other, 600) && release(g) == 403, "it does");
	ok("what was said of another is not taken for this", approve_with(&ben, &ben, &other, &one, 600) != 0 && release(g) == 403, "it is");
	ok("nor is another's statement", approve_with(&ben, &ann, &one, &one, 600) != 0 && release(g) == 403, "it is");
	ok("nor one that is over", approve(&ben, &one, -5) != 0, "it is");
	ok("nor one that lasts too long", approve(&ben, &one, 31 * 86400) != 0, "it is");
	ok("a short one of a moment", !approve(&ben, &one, 5) && release(g) == 200, "does not count");
	for (int i = 0; i < 480 && release(g) == 200; i++)
		nanosleep(&(struct timespec){.tv_nsec = 250000000}, NULL);
	ok("counts until it is over", release(g) == 403, "and longer");
	ok("a longer one of it", !approve(&ben, &one, 600) && release(g) == 200 && release(g) == 200, "does not count");
	ok("the release's record names both", on_record("resource", "ann", "ben"), "no");
	ok("what somebody signs into the database himself is nothing", edit("DELETE FROM approval WHERE keyid IN (SELECT keyid FROM identity WHERE name = 'ben');"
	   "INSERT INTO approval SELECT id, 'x' || substr(keyid, 2), expires, signature FROM approval WHERE keyid IN (SELECT keyid FROM identity WHERE name = 'ann')") &&
	   release(g) == 403, "it is");
	ok("the third one's", !approve(&cid, &one, 600) && release(g) == 200, "does not count");
	ok("who is removed takes the approval along", post("/coffer/v0/identity", json_pack("{s:s, s:s}", "action", "remove", "name", "cid"), NULL, 0) == 200 &&
	   release(g) == 403, "no");
	if (!request(&b, "GET", "/kbs/v0/resource/" RESOURCE, g->cookie, NULL, &r)) {
		ok("the refusal says what is missing and how to give it", strstr(r.body, "2 approvals of ann, ben, cid") && strstr(r.body, "coffer approve "), "%s", r.body);
		http_reply_free(&r);
	}
	ok("withdrawn again", post(DOCUMENT, json_pack("{s:s}", "action", "withdraw"), NULL, 0) == 200, "no");
}

static void test_operations(void)
{
	char text[2048];
	const char *const m = machine.measurement_hex;
	json_t *o = json_pack("{s:s, s:s, s:s}", "action", "allow", "resource", "team/file/two", "measurement", m);
	ok("an operation that needs approvals waits for them", post("/coffer/v0/policy", json_incref(o), text, sizeof text) == 403 && strstr(text, "ApprovalNeeded"), "%s", text);
	const struct approval a = {"allow", "team/file/two", m};
	ok("two of three approve", !approve(&ann, &a, 600) && !approve(&ben, &a, 600), "no");
	json_t *other = json_pack("{s:s, s:s, s:s}", "action", "allow", "resource", "team/file/three", "measurement", m);
	ok("not something else", post("/coffer/v0/policy", other, text, sizeof text) == 403, "%s", text);
	edit("CREATE TABLE spare AS SELECT * FROM approval");
	ok("then it is done", post("/coffer/v0/policy", json_incref(o), text, sizeof text) == 200, "%s", text);
	ok("and its record names both", on_record("allow", "ann", "ben"), "no");
	ok("once", post("/coffer/v0/policy", json_incref(o), text, sizeof text) == 403, "%s", text);
	ok("also when the host puts them back", edit("INSERT OR IGNORE INTO approval SELECT * FROM spare") && post("/coffer/v0/policy", json_incref(o), text, sizeof text) == 403,
	   "%s", text);
	ok("approvals that are given anew count", !approve(&ann, &a, 600) && !approve(&ben, &a, 600) && post("/coffer/v0/policy", o, text, sizeof text) == 200, "%s", text);
	expect("destroying waits too", &b, "DELETE", "/kbs/v0/resource/team/file/one", admin_header(&b), NULL, 403, "ApprovalNeeded");
	expect("so does replacing, which destroys", &b, "POST", "/kbs/v0/resource/team/file/one?replace=true", admin_header(&b), "x", 403, "ApprovalNeeded");
	expect("in either way", &b, "POST", "/coffer/v0/secret/team/file/one", admin_header(&b), "{\"action\":\"replace\"}\nx", 403, "ApprovalNeeded");
	expect("adding a version does not", &b, "POST", "/coffer/v0/secret/team/file/one", admin_header(&b), "{\"action\":\"rotate\"}\nx", 200, "\"version\":2");
	const struct approval tricky[] = {{"allow", "team/file/two", "\033[1Kx"}, {"allow", "a\nb", "x"}, {"allow", "a", "\xc2\x9b" "1Kx"}, {"al\x7flow", "a", "b"}};
	for (size_t i = 0; i < sizeof tricky / sizeof *tricky; i++) {
		char statement[APPROVAL_STATEMENT];
		ok("nothing is signed that a terminal would obey", approval_statement("b", &tricky[i], "2026-01-01T00:00:00Z", statement) == -EINVAL, "%zu is", i);
	}
}

// What the list of waiting operations has for somebody.
static bool sees(const struct person *p, const char *subject)
{
	struct broker_client *c = client_of(p);
	struct fault f = {""};
	json_t *o = NULL, *row;
	size_t i;
	bool there = false;
	int err = broker_client_json(c, "GET", "/coffer/v0/approval", NULL, &o, &f);
	ok("the list is given", !err, "%s: %s", p->name, f.text);
	json_array_foreach(json_object_get(o, "requests"), i, row)
		there |= !strcmp(json_string_value(json_object_get(row, "subject")), subject);
	json_decref(o);
	broker_client_close(c);
	return there;
}

static void add_owner(struct person *p, const char *prefix)
{
	json_t *o;
	p->key = EVP_EC_gen("P-256");
	signkey_pem(p->key, p->pem);
	snprintf(p->file, sizeof p->file, "%s/%s.key", world, p->name);
	EVP_PKEY_up_ref(p->key);
	keyfile_write(p->file, p->key, NULL);
	o = json_pack("{s:s, s:s, s:[s], s:s, s:[s]}", "action", "add", "name", p->name, "roles", "owner", "key", p->pem, "resources", prefix);
	ok("an owner is added", post("/coffer/v0/identity", o, NULL, 0) == 200, "%s", p->name);
}

// Asks for something that waits; what the broker says.
static const char *wait_for(const struct person *p, const char *method, const char *path, json_t *body)
{
	static struct fault f;
	struct broker_client *c = client_of(p);
	json_t *o = NULL;
	f.text[0] = '\0';
	broker_client_json(c, method, path, body, &o, &f);
	json_decref(o);
	json_decref(body);
	broker_client_close(c);
	return f.text;
}

static void test_views(void)
{
	static struct person ola = {.name = "ola"}, oda = {.name = "oda"};
	const char *said;
	char path[64];
	int waiting = 0;
	add_owner(&ola, "team/");
	add_owner(&oda, "other/");
	json_t *o = json_pack("{s:s, s:s, s:s}", "action", "allow", "resource", "team/file/nine", "measurement", machine.measurement_hex);
	said = wait_for(&ola, "POST", "/coffer/v0/policy", o);
	ok("an owner's operation waits", strstr(said, "coffer approve "), "%s", said);
	ok("who asked sees it", sees(&ola, "team/file/nine"), "no");
	ok("so do approvers", sees(&ann, "team/file/nine"), "no");
	ok("another owner does not", !sees(&oda, "team/file/nine"), "it does");
	said = wait_for(&ola, "GET", "/coffer/v0/key/team/file/one", NULL);
	ok("reading waits", strstr(said, "coffer approve "), "%s", said);
	ok("and is seen by the other owner, who is to approve it", sees(&oda, "team/file/one"), "it is not");
	const struct approval brief = {"destroy", "team/file/brief", "all"};
	ok("an approval of a moment", !approve(&ann, &brief, 4) || !approve(&ann, &brief, 30), "no");	// on a busy machine the moment may be over on the way
	for (int i = 0; i < 480 && count("SELECT count(*) FROM approval WHERE expires < strftime('%Y-%m-%dT%H:%M:%SZ', 'now')") == 0; i++)
		nanosleep(&(struct timespec){.tv_nsec = 250000000}, NULL);
	ok("is over", count("SELECT count(*) FROM approval WHERE expires < strftime('%Y-%m-%dT%H:%M:%SZ', 'now')") > 0, "it is not");
	const struct approval later = {"destroy", "team/file/later", "all"};
	ok("and is gone with the next one", !approve(&ann, &later, 600) &&
	   count("SELECT count(*) FROM approval WHERE expires < strftime('%Y-%m-%dT%H:%M:%SZ', 'now', '-1 second')") == 0, "it stays");
	for (; waiting < 80; waiting++) {
		snprintf(path, sizeof path, "team/file/many-%d", waiting);
		o = json_pack("{s:s, s:s, s:s}", "action", "allow", "resource", path, "measurement", machine.measurement_hex);
		said = wait_for(&ola, "POST", "/coffer/v0/policy", o);
		if (!strstr(said, "coffer approve "))
			break;
	}
	ok("one who asks and asks is told to stop", waiting > 20 && waiting < 60 && strstr(said, "wait for approvals already"), "after %d: %s", waiting, said);
	o = json_pack("{s:s, s:s, s:s}", "action", "allow", "resource", "team/file/nine", "measurement", machine.measurement_hex);
	said = wait_for(&ola, "POST", "/coffer/v0/policy", o);
	ok("what waits may be asked for again", strstr(said, "coffer approve "), "%s", said);
	o = json_pack("{s:s, s:s, s:s}", "action", "allow", "resource", "other/file/x", "measurement", machine.measurement_hex);
	said = wait_for(&oda, "POST", "/coffer/v0/policy", o);
	ok("and others ask still", strstr(said, "coffer approve "), "%s", said);
	EVP_PKEY_free(ola.key);
	EVP_PKEY_free(oda.key);
}

int main(void)
{
	struct guest g = {0};
	char config[128], text[600];
	world_begin("approval");
	run_prepare(&b, "state");
	snprintf(config, sizeof config, "%s/broker.yaml", world);
	snprintf(text, sizeof text, "refusals_per_peer: 1000000\n");
	file_write(config, text, strlen(text), 0644, false, NULL);
	if (!ok("the broker starts", run_start(&b, "--config", config, "--insecure-accept-simulated", machine.root_pem), "no"))
		return 1;
	add(&ann, "approver");
	add(&ben, "approver");
	add(&cid, "approver");
	add(&dan, "approver");
	put_secret(&b, RESOURCE, "secret");
	set_policy(&b, RESOURCE, true, machine.measurement_hex);
	ok("an enclave attests", guest_attest(&b, &machine, &g, NULL) == 200, "no");
	test_policies(&g);
	test_release(&g);
	strcat(text, "approvals:\n  allow: {k: 2, of: [ann, ben, dan]}\n  destroy: {k: 1, of: [ann]}\n  read: {k: 1, of: [oda]}\n");
	file_write(config, text, strlen(text), 0644, false, NULL);
	ok("a broker whose operations need approvals", !run_stop(&b) && run_start(&b, "--config", config, "--insecure-accept-simulated", machine.root_pem), "no");
	test_operations();
	test_views();
	put(OPEN, "for the next start", NULL, 0);
	snprintf(text, sizeof text, "%s/rules.yaml", world);
	file_write(text, OPEN, strlen(OPEN), 0644, false, NULL);
	size_t before = run_log_size(&b);
	ok("a file and a version in the database do not both decide", !run_stop(&b) && !run_start(&b, "--policy", text) && run_said(&b, before, "two policies"), "they do");
	run_stop(&b);
	struct run fresh;
	run_prepare(&fresh, "fresh");
	ok("a broker with a file", run_start(&fresh, "--policy", text), "no");
	expect("takes none over the network", &fresh, "POST", DOCUMENT, admin_header(&fresh), "{\"action\":\"put\",\"text\":\"tees: [snp]\"}", 409, "rules.yaml");
	ok("and ends well", !run_stop(&fresh), "no");
	run_free(&fresh);
	guest_free(&g);
	struct person *const people[] = {&ann, &ben, &cid, &dan};
	for (size_t i = 0; i < 4; i++)
		EVP_PKEY_free(people[i]->key);
	run_free(&b);
	return world_end() || ok_failed;
}

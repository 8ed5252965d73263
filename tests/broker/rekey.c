// SPDX-License-Identifier: Apache-2.0
// Another master key (`coffer broker rekey-master --new-key`) under a broker that has everything: all of it is there afterwards, nothing opens
// under the old key, what was edited or put back is refused, and it may be cut off anywhere. With SQLite, and with PostgreSQL.
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "broker/db.h"
#include "lib/file.h"
#include "tests/broker/command.h"
#include "tests/broker/harness.h"
#include "tests/broker/pg.h"

static struct run b;
static struct pg pg;
static const char *database;	// its URL, or NULL

static bool start(void)
{
	return database ? run_start(&b, "--insecure-accept-simulated", machine.root_pem, "--database", database) :
			  run_start(&b, "--insecure-accept-simulated", machine.root_pem);
}

// broker.yaml names the database for the commands; the broker's own option says the same.
static void settle_settings(void)
{
	char path[160], text[400];
	snprintf(path, sizeof path, "%s/broker.yaml", b.dir);
	int n = snprintf(text, sizeof text, "database: \"%s\"\n", database ? database : "");
	if (database)
		file_write(path, text, (size_t)n, 0600, false, NULL);
}

static char *get(const char *path, const char *header)
{
	struct http_reply r;
	if (request(&b, "GET", path, header, NULL, &r))
		return strdup("?");
	char *text = strdup(r.body);
	http_reply_free(&r);
	return text;
}

static void post(const char *name, const char *path, const char *body)
{
	expect(name, &b, "POST", path, admin_header(&b), body, 200, "");
}

// Of everything that hangs on the master key, one.
static void fill(void)
{
	put_secret(&b, "default/key/one", "the first secret");
	set_policy(&b, "default/key/one", true, machine.measurement_hex);
	post("a version more", "/coffer/v0/secret/default/key/one", "{\"action\":\"rotate\"}\nthe second version");
	post("a secret for two uses", "/coffer/v0/secret/default/key/twice", "{\"action\":\"put\",\"uses\":2}\ntwice");
	set_policy(&b, "default/key/twice", true, machine.measurement_hex);
	post("a key that stays", "/coffer/v0/secret/default/key/sign", "{\"action\":\"generate\",\"kind\":\"ec-p256\",\"use\":\"sign\"}");
	post("an anchor", "/kbs/v0/anchor/default/volume/v", "{\"action\":\"set\",\"epoch\":3,\"generation\":9,\"digest\":"
	     "\"00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\"}");
}

static int use(const char *resource, const char *value)
{
	struct guest g = {0};
	char got[200];
	size_t len = 0;
	int status = guest_attest(&b, &machine, &g, NULL);
	if (status == 200)
		status = guest_get(&b, &g, resource, got, sizeof got, &len);
	if (status == 200 && (len != strlen(value) || memcmp(got, value, len)))
		status = -EBADMSG;
	guest_free(&g);
	return status;
}

// As it was filled, after a start.
static bool whole(void)
{
	if (!start())
		return false;
	char *anchor = get("/kbs/v0/anchor/default/volume/v", admin_header(&b)), *secret = get("/coffer/v0/secret/default/key/one", admin_header(&b));
	bool there = strstr(anchor, "\"generation\":9") && strstr(secret, "\"version\":2") && use("default/key/one", "the second version") == 200;
	if (!there)
		printf("# %s %s\n", anchor, secret);
	free(anchor);
	free(secret);
	return !run_stop(&b) && there;
}

static int rekey(void)
{
	return command(broker_rekey_main, "--new-key", "--dir", b.dir);
}

static bool key_file(const char *name, char hex[65])
{
	char path[160], *text;
	size_t len;
	snprintf(path, sizeof path, "%s/%s", b.dir, name);
	if (file_read(path, 1000, &text, &len, NULL))
		return false;
	snprintf(hex, 65, "%.64s", text);
	free(text);
	return true;
}

static void put_key_file(const char *name, const char *hex)
{
	char path[160];
	snprintf(path, sizeof path, "%s/%s", b.dir, name);
	if (hex)
		file_write(path, hex, strlen(hex), 0600, false, NULL);
	else
		unlink(path);
}

static void test_exchange(void)
{
	char before[65], after[65], *jwks, *now, *log;
	ok("the broker starts", start(), "no");
	fill();
	int status = use("default/key/twice", "twice");
	ok("one use of two", status == 200, "%d", status);
	jwks = get("/.well-known/jwks.json", "");
	key_file("master.key", before);
	int rc = rekey();
	ok("not while it runs", rc == 1 && strstr(said, "another broker"), "%d %s", rc, said);
	ok("the broker ends", !run_stop(&b), "no");
	rc = rekey();
	ok("the master key is exchanged", rc == 0 && strstr(said, "4 values"), "%d %s", rc, said);
	ok("it is another one, in one file", key_file("master.key", after) && strcmp(before, after) && !key_file("master.key.next", before), "no");
	ok("the broker starts under it", start(), "no");
	expect("the secret's first version", &b, "GET", "/coffer/v0/key/default/key/one?version=1", admin_header(&b), NULL, 200, "the first secret");
	expect("its second", &b, "GET", "/coffer/v0/key/default/key/one", admin_header(&b), NULL, 200, "the second version");
	expect("the anchor", &b, "GET", "/kbs/v0/anchor/default/volume/v", admin_header(&b), NULL, 200, "\"generation\":9");
	status = use("default/key/one", "the second version");
	ok("the policy lets the enclave have it", status == 200, "%d", status);
	status = use("default/key/twice", "twice");
	ok("the second use of two", status == 200, "%d", status);
	status = use("default/key/twice", "twice");
	ok("there is no third", status == 403, "%d", status);
	now = get("/.well-known/jwks.json", "");
	ok("tokens are signed by the same key", !strcmp(jwks, now), "%s, was %s", now, jwks);
	log = get("/coffer/v0/audit/records?from=0&to=200", admin_header(&b));
	ok("it is on record, before and after", strstr(log, "\"step\":\"begin\"") && strstr(log, "\"step\":\"done\""), "%s", log);
	put_secret(&b, "default/key/later", "later");
	ok("it goes on, and ends well", !run_stop(&b), "no");
	free(jwks);
	free(now);
	free(log);
}

// The database under the old key's file: nobody takes it for a new broker's.
static void test_old_key(const char *old)
{
	char now[65];
	key_file("master.key", now);
	put_key_file("master.key", old);
	ok("the old key opens nothing", !start(), "it does");
	if (b.pid > 0)
		waitpid(b.pid, NULL, 0);
	b.pid = 0;
	put_key_file("master.key", now);
}

// Between any two steps.
static void test_cut(void)
{
	char old[65], fresh[65], other[65] = "";
	key_file("master.key", old);
	for (int i = 0; i < 64; i++)
		other[i] = "0123456789abcdef"[i % 16];
	put_key_file("master.key.next", other);
	ok("cut off before the database was changed: the old key's, whole", whole(), "no");
	ok("and what was begun is gone", !key_file("master.key.next", fresh), "no");
	int rc = rekey();
	ok("again", rc == 0, "%d %s", rc, said);
	key_file("master.key", fresh);
	test_old_key(old);
	put_key_file("master.key", old);
	put_key_file("master.key.next", fresh);
	ok("cut off after it: the new key's, whole", whole(), "no");
	ok("and the new file is in its place", key_file("master.key", other) && !strcmp(other, fresh) && !key_file("master.key.next", other), "no");
}

// Killed wherever it is: the broker starts and has everything.
static void test_killed(void)
{
	char was[65], is[65];
	struct timespec from, to;
	int rounds = 12, whole_after = 0, exchanged = 0;
	clock_gettime(CLOCK_MONOTONIC, &from);
	ok("one that is not killed", rekey() == 0, "%s", said);
	clock_gettime(CLOCK_MONOTONIC, &to);
	long takes = (to.tv_sec - from.tv_sec) * 1000000000 + to.tv_nsec - from.tv_nsec;	// so that most are killed within
	for (int i = 0; i < rounds; i++) {
		key_file("master.key", was);
		pid_t pid = command_begin(broker_rekey_main, "--new-key", "--dir", b.dir);
		long wait = takes / rounds * i;
		nanosleep(&(struct timespec){wait / 1000000000, wait % 1000000000}, NULL);
		kill(pid, SIGKILL);
		command_end(pid);
		whole_after += whole();
		key_file("master.key", is);
		exchanged += strcmp(was, is) != 0;
	}
	ok("killed at any moment, all is there", whole_after == rounds, "%d of %d", whole_after, rounds);
	printf("# killed %d times, %d times after the exchange\n", rounds, exchanged);
}

static bool edit(const char *sql)
{
	struct fault f = {""};
	struct db *d = NULL;
	char path[160];
	snprintf(path, sizeof path, "%s/broker.db", b.dir);
	int err = db_open(&d, database ? database : path, &f);
	if (!err)
		err = db_do(d, &f, sql, "");
	db_close(d);
	if (err < 0)
		printf("# %s\n", f.text);
	return err >= 0;
}

// Taken away, with what guards it, while the command waits for a passphrase.
static void test_edited_meanwhile(void)
{
	static const char passphrase[] = "a new passphrase";
	int s[2], unread = 1;
	char number[16];
	if (!ok("a passphrase that comes late", !socketpair(AF_UNIX, SOCK_STREAM, 0, s) && write(s[1], passphrase, 1) == 1, "no"))
		return;
	snprintf(number, sizeof number, "%d", s[0]);
	pid_t pid = command_begin(broker_rekey_main, "--new-key", "--dir", b.dir, "--master-key", "passphrase", "--new-passphrase-fd", number);
	for (int i = 0; i < 6000 && unread; i++) {
		usleep(10000);
		ioctl(s[0], FIONREAD, &unread);
	}
	ok("it is waited for", !unread, "no");
	ok("what guards the row that is gone goes too", edit("DELETE FROM guard WHERE area = 'anchor'"), "no");
	ok("it comes", write(s[1], passphrase + 1, sizeof passphrase - 2) > 0 && !shutdown(s[1], SHUT_WR), "no");
	int rc = command_end(pid);
	ok("that is refused, too", rc == 1 && strstr(said, "changed outside"), "%d %s", rc, said);
	close(s[0]);
	close(s[1]);
}

// What somebody put there must not become the new key's.
static void test_edited(void)
{
	int rc;
	ok("a policy from elsewhere", edit("INSERT INTO allowed SELECT 'default/key/stolen', measurement, note, created, mac FROM allowed"
					   " WHERE resource = 'default/key/one'"), "no");
	rc = rekey();
	ok("is refused, and named", rc == 1 && strstr(said, "default/key/stolen"), "%d %s", rc, said);
	ok("taken away", edit("DELETE FROM allowed WHERE resource = 'default/key/stolen'"), "no");
	ok("a value that is another's", edit("UPDATE secret_value SET sealed = (SELECT sealed FROM secret_value WHERE resource = 'default/key/twice')"
					     " WHERE resource = 'default/key/one' AND version = 1"), "no");
	rc = rekey();
	ok("is refused, too", rc == 1 && strstr(said, "default/key/one is damaged"), "%d %s", rc, said);
	ok("put right by its owner", start(), "no");
	post("the value is destroyed", "/coffer/v0/secret-destroy/default/key/one", "{\"version\":1}");
	ok("the broker ends", !run_stop(&b), "no");
	rc = rekey();
	ok("then the key is exchanged", rc == 0, "%d %s", rc, said);
	ok("a guarded row is gone", edit("DELETE FROM anchor"), "no");
	rc = rekey();
	ok("that is refused", rc == 1 && strstr(said, "changed outside"), "%d %s", rc, said);
	test_edited_meanwhile();
}

// Database and key file from before, put back together: the log knows better.
static void test_put_back(void)
{
	char path[160], copy[160], key[65], fresh[65], *text;
	size_t len;
	struct fault f = {""};
	snprintf(path, sizeof path, "%s/broker.db", b.dir);
	snprintf(copy, sizeof copy, "%s/copy.db", world);
	key_file("master.key", key);
	ok("a copy", !file_read(path, 64 << 20, &text, &len, &f) && !file_write(copy, text, len, 0600, false, &f), "%s", f.text);
	free(text);
	int rc = rekey();
	ok("the key is exchanged", rc == 0 && key_file("master.key", fresh) && strcmp(key, fresh), "%d %s", rc, said);
	put_key_file("master.key", key);
	ok("the copy is put back with its key", !rename(copy, path), "no");
	size_t from = run_log_size(&b);
	ok("and does not start", !start(), "it does");
	if (b.pid > 0)
		waitpid(b.pid, NULL, 0);
	b.pid = 0;
	ok("because it was put back", run_said(&b, from, "was put back"), "no");
}

static void test_ways(void)
{
	int rc = command(broker_rekey_main, "--new-key", "--dir", b.dir, "--master-key", "passphrase", "--new-passphrase-fd", "%a new passphrase");
	ok("the new key under a passphrase", rc == 0 && strstr(said, "kept under: passphrase"), "%d %s", rc, said);
	rc = command(broker_rekey_main, "--new-key", "--dir", b.dir, "--passphrase-fd", "%a new passphrase", "--new-passphrase-fd", "%another passphrase");
	ok("another under another", rc == 0 && strstr(said, "passphrase"), "%d %s", rc, said);
	rc = command(broker_rekey_main, "--new-key", "--dir", b.dir, "--passphrase-fd", "%a new passphrase", "--new-passphrase-fd", "%another passphrase");
	ok("the one before does not open it", rc == 1 && strstr(said, "is wrong"), "%d %s", rc, said);
	rc = command(broker_rekey_main, "--new-key", "--dir", b.dir, "--add", "--master-key", "file", "--passphrase-fd", "%another passphrase");
	ok("--add is for a key that stays", rc == 2 && strstr(said, "--add"), "%d %s", rc, said);
	rc = command(broker_rekey_main, "--new-key", "--dir", b.dir, "--master-key", "file", "--passphrase-fd", "%another passphrase");
	ok("and back into a file", rc == 0 && whole(), "%d %s", rc, said);
}

// Another broker on the same server.
static void test_others(void)
{
	struct run other;
	char path[160], hex[66];
	key_file("master.key", hex);
	hex[64] = '\n';
	struct run mine = b;
	run_prepare(&other, "other");
	snprintf(path, sizeof path, "%s/master.key", other.dir);
	file_write(path, hex, 65, 0600, false, NULL);
	ok("another broker is at work", run_start(&other, "--insecure-accept-simulated", machine.root_pem, "--database", database), "no");
	b = mine;
	int rc = rekey();
	ok("the key is not exchanged under it", rc == 1 && strstr(said, "other brokers"), "%d %s", rc, said);
	ok("it ends", !run_stop(&other), "no");
	rc = rekey();
	ok("then it is", rc == 0, "%d %s", rc, said);
	ok("with the old key it does not start", !run_start(&other, "--insecure-accept-simulated", machine.root_pem, "--database", database), "it does");
	if (other.pid > 0)
		waitpid(other.pid, NULL, 0);
	key_file("master.key", hex);
	hex[64] = '\n';
	file_write(path, hex, 65, 0600, false, NULL);
	ok("with the new one it does", run_start(&other, "--insecure-accept-simulated", machine.root_pem, "--database", database), "no");
	ok("and ends well", !run_stop(&other), "no");
	run_free(&other);
}

static void test_all(const char *name)
{
	if (!run_prepare(&b, name))
		return;
	settle_settings();
	test_exchange();
	test_cut();
	test_killed();
	if (database)
		test_others();
	else
		test_ways(), test_put_back(), run_free(&b), run_prepare(&b, "edited"), start(), fill(), use("default/key/twice", "twice"), run_stop(&b);
	test_edited();
	run_free(&b);
}

int main(void)
{
	world_begin("rekey");
	test_all("state");
	if (pg_make(&pg)) {
		database = pg.url;
		test_all("shared");
	} else {
		skip("postgres", "no server could be started");
	}
	pg_remove(&pg);
	return world_end();
}

// SPDX-License-Identifier: Apache-2.0
// Two brokers side by side on one PostgreSQL: what is begun at one goes on at the other, what is counted is counted once, one is killed in
// the middle of requests, the database goes away and comes back. And one broker on SQLite whose disk fills.
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "attest/binding.h"
#include "lib/encode.h"
#include "lib/file.h"
#include "lib/jwe.h"
#include "tests/broker/harness.h"
#include "tests/broker/pg.h"

static struct run a, b;
static struct pg pg;

#define RESOURCE "default/file/shared"

static bool begin(struct run *r)
{
	return run_start(r, "--insecure-accept-simulated", machine.root_pem, "--database", pg.url);
}

static void copy(const char *name)
{
	char from[160], to[160], *text;
	size_t len;
	struct fault f = {""};
	snprintf(from, sizeof from, "%s/%s", a.dir, name);
	snprintf(to, sizeof to, "%s/%s", b.dir, name);
	unlink(to);
	int err = file_read(from, 65536, &text, &len, &f);
	if (!err)
		err = file_write(to, text, len, 0600, true, &f);
	if (err)
		ok("a key is given to the other broker", false, "%s", f.text);
	else
		free(text);
}

// What a session's client sends to attest.
static char *evidence_of(struct guest *g)
{
	struct evidence e = {.chain = {.count = 0}};
	uint8_t data[64];
	struct fault f = {""};
	json_t *jwk = jwk_from_key(g->key);
	int err = attest_report_data(g->nonce, jwk, "", data);
	json_decref(jwk);
	if (!err)
		err = machine_evidence(&machine, data, &e, &f);
	return err ? NULL : guest_body(g->key, g->nonce, &e);
}

// Its status, or -errno.
static int status_of(const struct run *r, const char *method, const char *path, const char *headers, const char *body)
{
	struct http_reply reply;
	int err = request(r, method, path, headers, body, &reply);
	if (err)
		return err;
	int status = reply.status;
	http_reply_free(&reply);
	return status;
}

static void test_start(void)
{
	ok("one broker starts on PostgreSQL", begin(&a), "no");
	size_t before = run_log_size(&b);
	ok("another with a key of its own does not", !begin(&b), "it does");
	ok("and says why", run_said(&b, before, "another master key"), "no");
	waitpid(b.pid, NULL, 0);
	copy("master.key");
	copy("admin.token");
	ok("with the same master key it does", begin(&b), "no");
	struct run other = b;
	ok("a URL with a password in it is refused", !run_start(&other, "--database", "postgresql://u:secret@/x?host=/nowhere"), "no");
	waitpid(other.pid, NULL, 0);
}

static void test_sessions(void)
{
	struct guest g = {.key = NULL}, other = {.key = NULL};
	char out[64];
	size_t len;
	put_secret(&a, RESOURCE, "what is shared");
	set_policy(&b, RESOURCE, true, machine.measurement_hex);
	ok("a session begins at one", guest_begin(&a, "snp", &g), "no");
	char *body = evidence_of(&g);
	int status = status_of(&b, "POST", "/kbs/v0/attest", g.cookie, body);
	ok("attests at the other", status == 200, "%d", status);
	status = guest_get(&a, &g, RESOURCE, out, sizeof out, &len);
	ok("gets the secret of the first", status == 200 && len == 14 && !memcmp(out, "what is shared", 14), "%d", status);
	status = guest_get(&b, &g, RESOURCE, out, sizeof out, &len);
	ok("and of the second", status == 200, "%d", status);
	expect("its nonce was used, says the one", &a, "POST", "/kbs/v0/attest", g.cookie, body, 401, "NonceUsed");
	expect("and the other", &b, "POST", "/kbs/v0/attest", g.cookie, body, 401, "NonceUsed");
	expect("nobody else's session is known", &b, "GET", "/kbs/v0/resource/" RESOURCE,
	       "Cookie: kbs-session-id=00000000-0000-4000-8000-000000000000\r\n", NULL, 401, "SessionUnknown");
	char *token = NULL;
	status = guest_attest(&a, &machine, &other, &token);
	ok("a token of the one", status == 200 && token, "%d", status);
	char headers[8192];
	snprintf(headers, sizeof headers, "Authorization: Bearer %s\r\n", token ? token : "");
	status = status_of(&b, "GET", "/kbs/v0/resource/" RESOURCE, headers, NULL);
	ok("is good at the other", status == 200, "%d", status);
	set_policy(&a, RESOURCE, false, NULL);
	status = guest_get(&b, &g, RESOURCE, out, sizeof out, &len);
	ok("what the one takes back, the other refuses", status == 403, "%d", status);
	set_policy(&a, RESOURCE, true, machine.measurement_hex);
	free(body);
	free(token);
	guest_free(&g);
	guest_free(&other);
}

// Many at once, half of them at each broker.
#define MANY 8

struct one {
	const struct run *at;
	struct guest *guest;
	const char *body;
	int status;
	pthread_t thread;
};

static void *attest_once(void *ctx)
{
	struct one *o = ctx;
	o->status = status_of(o->at, "POST", "/kbs/v0/attest", o->guest->cookie, o->body);
	return NULL;
}

static void *get_once(void *ctx)
{
	struct one *o = ctx;
	char out[64];
	size_t len;
	o->status = guest_get(o->at, o->guest, "default/file/once", out, sizeof out, &len);
	return NULL;
}

static unsigned int at_once(struct one list[MANY], void *(*what)(void *))
{
	unsigned int good = 0;
	for (int i = 0; i < MANY; i++)
		pthread_create(&list[i].thread, NULL, what, &list[i]);
	for (int i = 0; i < MANY; i++) {
		pthread_join(list[i].thread, NULL);
		good += list[i].status == 200;
	}
	return good;
}

static void test_once(void)
{
	struct guest g = {.key = NULL}, guests[MANY] = {{.key = NULL}};
	struct one list[MANY];
	guest_begin(&a, "snp", &g);
	char *body = evidence_of(&g);
	for (int i = 0; i < MANY; i++)
		list[i] = (struct one){.at = i % 2 ? &a : &b, .guest = &g, .body = body};
	unsigned int good = at_once(list, attest_once);
	ok("a nonce that is used at both at once serves one", good == 1, "%u", good);
	free(body);
	guest_free(&g);

	expect("a secret for one use", &a, "POST", "/coffer/v0/secret/default/file/once", admin_header(&a), "{\"action\":\"put\",\"uses\":1}\nonce", 200,
	       "");
	set_policy(&a, "default/file/once", true, machine.measurement_hex);
	for (int i = 0; i < MANY; i++) {
		int status = guest_attest(i % 2 ? &b : &a, &machine, &guests[i], NULL);
		if (status != 200)
			ok("a client attests", false, "%d", status);
		list[i] = (struct one){.at = i % 2 ? &a : &b, .guest = &guests[i]};
	}
	good = at_once(list, get_once);
	ok("is given to one of eight clients of two brokers", good == 1, "%u", good);
	unsigned int refused = 0;
	for (int i = 0; i < MANY; i++) {
		refused += list[i].status == 403;
		guest_free(&guests[i]);
	}
	ok("and refused to the others", refused == MANY - 1, "%u", refused);
}

// ---- one is killed ----

static atomic_bool stop;
static atomic_uint rounds, moved;

// A client of either broker: when one fails, it begins anew at the other.
static void *client(void *ctx)
{
	unsigned int at = (unsigned int)(uintptr_t)ctx;
	while (!atomic_load(&stop)) {
		struct guest g = {.key = NULL};
		char out[64];
		size_t len;
		const struct run *r = at % 2 ? &b : &a;
		int status = guest_attest(r, &machine, &g, NULL);
		if (status == 200)
			status = guest_get(r, &g, RESOURCE, out, sizeof out, &len);
		if (status == 200) {
			atomic_fetch_add(&rounds, 1);
		} else {
			at++;
			atomic_fetch_add(&moved, 1);
		}
		guest_free(&g);
	}
	return NULL;
}

#define WRITES 400
static bool acknowledged[WRITES];
static atomic_uint written;

// An owner who writes one secret after the other, at whichever broker answers.
static void *writer(void *ctx)
{
	char header[160];
	(void)ctx;
	snprintf(header, sizeof header, "%s", admin_header(&a));
	for (unsigned int i = 0; i < WRITES && !atomic_load(&stop); i++) {
		char path[96], text[32];
		snprintf(path, sizeof path, "/kbs/v0/resource/default/file/n%u?replace=true", i);
		snprintf(text, sizeof text, "number %u", i);
		for (unsigned int k = i; k < i + 2 && !acknowledged[i]; k++)
			acknowledged[i] = status_of(k % 2 ? &b : &a, "POST", path, header, text) / 100 == 2;
		atomic_store(&written, i + 1);
	}
	return NULL;
}

static struct http_client *both_open(const struct run *first, const struct run *second, const char *cas)
{
	struct http_client *c = NULL;
	struct fault f = {""};
	char url[300], *ca = NULL;
	snprintf(url, sizeof url, "%s,%s", first->url, second->url);
	if (asprintf(&ca, "%s%s", a.ca, cas) < 0)
		return NULL;
	struct http_client_options o = {.url = url, .ca_pem = ca, .resolve = http_resolve_static, .timeout_ms = 20000};
	if (http_client_open(&c, &o, &f))
		ok("a client of both opens", false, "%s", f.text);
	free(ca);
	return c;
}

// Whether it says that it has what lies there: an answer that is neither yes nor no (a broker that is busy, a call that took too long) is asked for again.
static bool is_there(const struct run *r, const char *path)
{
	int status = 0;
	for (int i = 0; i < 100 && (status = status_of(r, "GET", path, admin_header(r), NULL)) != 200 && status != 404; i++)
		usleep(100000);
	return status == 200;
}

static void test_killed(void)
{
	pthread_t threads[4];
	for (int i = 0; i < 3; i++)
		pthread_create(&threads[i], NULL, client, (void *)(uintptr_t)i);
	pthread_create(&threads[3], NULL, writer, NULL);
	while (atomic_load(&rounds) < 6 || atomic_load(&written) < 6)
		usleep(10000);
	struct http_client *both = both_open(&a, &b, b.ca);
	struct http_reply reply = {.status = 0};
	struct fault f = {""};
	int got = both ? http_client_request(both, "GET", "/kbs/v0/resource/" RESOURCE, "", NULL, 0, &reply, &f) : -1;
	ok("a client that knows both asks the first", !got && reply.status == 401, "%d, %d: %s", got, reply.status, f.text);
	http_reply_free(&reply);
	kill(a.pid, SIGKILL);
	waitpid(a.pid, NULL, 0);
	got = both ? http_client_request(both, "GET", "/kbs/v0/resource/" RESOURCE, "", NULL, 0, &reply, &f) : -1;
	ok("and, when that is killed, the other", !got && reply.status == 401, "%d, %d: %s", got, reply.status, f.text);
	http_reply_free(&reply);
	http_client_close(both);
	both = both_open(&b, &a, "");
	got = both ? http_client_request(both, "GET", "/kbs/v0/resource/" RESOURCE, "", NULL, 0, &reply, &f) : -1;
	ok("one who knows only the killed one's certificate is told of the other's", got == -EKEYREJECTED && strstr(f.text, "not trusted"), "%d: %s", got, f.text);
	http_client_close(both);
	unsigned int before = atomic_load(&rounds), wrote = atomic_load(&written);
	for (int i = 0; i < 18000 && (atomic_load(&rounds) < before + 6 || (atomic_load(&written) < wrote + 6 && atomic_load(&written) < WRITES)); i++)
		usleep(10000);
	unsigned int after = atomic_load(&rounds);
	atomic_store(&stop, true);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	ok("clients go on when one broker is killed", after >= before + 6, "%u, then %u", before, after);
	ok("they moved to the other", atomic_load(&moved) > 0, "no");
	unsigned int lost = 0, told = 0;
	for (unsigned int i = 0; i < WRITES; i++) {
		char path[96];
		snprintf(path, sizeof path, "/coffer/v0/key/default/file/n%u", i);
		told += acknowledged[i];
		lost += acknowledged[i] && !is_there(&b, path);
	}
	ok("nothing that was acknowledged is lost", told > 6 && lost == 0, "%u of %u", lost, told);
	ok("the killed one starts again", begin(&a), "no");
	int status = status_of(&a, "GET", "/coffer/v0/key/default/file/n0", admin_header(&a), NULL);
	ok("and serves", status == 200, "%d", status);
}

// ---- the database goes away ----

static void test_outage(void)
{
	struct guest g = {.key = NULL};
	char out[64];
	size_t len;
	int status = guest_attest(&a, &machine, &g, NULL);
	ok("a client attests", status == 200, "%d", status);
	pg_stop(&pg, SIGQUIT);
	expect("without the database a session cannot begin", &a, "POST", "/kbs/v0/auth", "",
	       "{\"version\":\"0.4.0\",\"tee\":\"snp\",\"extra-params\":\"\"}", 503, "Unavailable");
	expect("nor go on", &b, "GET", "/kbs/v0/resource/" RESOURCE, g.cookie, NULL, 503, "Unavailable");
	expect("nor can the owner change anything", &a, "POST", "/kbs/v0/resource/default/file/outage?replace=true", admin_header(&a), "text", 503,
	       "Unavailable");
	ok("the database comes back", pg_start(&pg), "no");
	status = guest_get(&b, &g, RESOURCE, out, sizeof out, &len);
	ok("the session goes on", status == 200, "%d", status);
	status = status_of(&a, "GET", "/coffer/v0/key/default/file/outage", admin_header(&a), NULL);
	ok("nothing was half done", status == 404, "%d", status);
	put_secret(&a, "default/file/outage", "text");
	guest_free(&g);
}

// Which key signed it; "" when it is none.
static void kid_of(const char *token, char kid[128])
{
	char text[512];
	size_t n = token ? strcspn(token, ".") : 0;
	ssize_t len = base64_decode((uint8_t *)text, sizeof text, token ? token : "", n, BASE64_URL);
	json_t *o = len > 0 ? json_loadb(text, (size_t)len, 0, NULL) : NULL;
	snprintf(kid, 128, "%s", json_string_value(json_object_get(o, "kid")) ?: "");
	json_decref(o);
}

// Whoever verifies a token with the keys that the other broker publishes finds the one that signed it.
static void test_rotation(void)
{
	char kid[128], first[128];
	struct http_reply r;
	struct run *const at[] = {&a, &b};
	unsigned int missing = 0, asked = 0;
	bool changed = false;
	struct guest g = {.key = NULL};
	char *token = NULL;
	guest_attest(&a, &machine, &g, &token);
	kid_of(token, first);
	free(token);
	expect("the signing key is exchanged at one", &a, "POST", "/coffer/v0/signing-key", admin_header(&a), "{\"ring\":\"token\"}", 200, "kid");
	for (int i = 0; i < 1800 && !changed; i++) {
		token = NULL;
		int status = guest_attest(at[i % 2], &machine, &g, &token);
		kid_of(token, kid);
		int err = request(at[1 - i % 2], "GET", "/.well-known/jwks.json", "", NULL, &r);
		asked += status == 200 && !err && *kid;
		missing += !err && !strstr(r.body, kid);
		changed = *kid && strcmp(kid, first);
		if (!err)
			http_reply_free(&r);
		free(token);
		usleep(100000);
	}
	ok("the other publishes it before anything is signed with it", asked && missing == 0, "%u of %u not", missing, asked);
	ok("and then it signs", changed, "it does not");
	guest_free(&g);
}

#define CROWD 24	// more than the broker has threads

static void *keys_once(void *ctx)
{
	struct one *o = ctx;
	o->status = status_of(o->at, "GET", "/.well-known/jwks.json", "", NULL);
	return NULL;
}

// What all of them want one has to look up, for the others: they are told when he was, not one after the other.
static void test_crowd(const struct run *at)
{
	struct one list[CROWD];
	unsigned int told = 0;
	for (int i = 0; i < CROWD; i++) {
		list[i] = (struct one){.at = at};
		pthread_create(&list[i].thread, NULL, keys_once, &list[i]);
	}
	for (int i = 0; i < CROWD; i++) {
		pthread_join(list[i].thread, NULL);
		told += list[i].status == 503;
	}
	ok("a crowd that waits for the same is told", told == CROWD, "%u", told);
}

// It hangs: its connections stay, and nothing answers on them.
static void test_hang(void)
{
	struct one list[MANY];
	struct guest g = {.key = NULL};
	struct run hasty = {.pid = 0};
	char url[sizeof pg.url + 24], out[64], path[160];
	size_t len;
	unsigned int told = 0;
	run_prepare(&hasty, "hasty");
	snprintf(path, sizeof path, "%s/master.key", hasty.dir);
	unlink(path);
	struct run was = b;
	b = hasty;
	copy("master.key");
	b = was;
	snprintf(url, sizeof url, "%s&connect_timeout=2", pg.url);
	if (!ok("a broker that waits not so long starts", run_start(&hasty, "--insecure-accept-simulated", machine.root_pem, "--database", url), "no"))
		return;
	int status = guest_attest(&hasty, &machine, &g, NULL);
	ok("a client attests there", status == 200, "%d", status);
	pg_hang(&pg, true);
	for (int i = 0; i < MANY; i++)
		list[i] = (struct one){.at = &hasty, .guest = &g};
	at_once(list, get_once);
	for (int i = 0; i < MANY; i++)
		told += list[i].status == 503;
	ok("with a database that hangs all are told", told == MANY, "%u", told);
	expect("and what to do", &hasty, "GET", "/kbs/v0/resource/" RESOURCE, g.cookie, NULL, 503, "a little later");
	test_crowd(&hasty);
	expect("what needs no database is served", &hasty, "GET", "/healthz", "", NULL, 200, "ok");
	expect("the broker says that it is not ready", &hasty, "GET", "/readyz", "", NULL, 503, "\"database\":\"failed\"");
	pg_hang(&pg, false);
	status = 0;
	for (int i = 0; i < 1800 && status != 200; i++) {
		status = guest_get(&hasty, &g, RESOURCE, out, sizeof out, &len);
		if (status != 200)
			usleep(100000);
	}
	ok("when it goes on, so does the session", status == 200, "%d", status);
	put_secret(&hasty, "default/file/hang", "text");
	guest_free(&g);
	ok("it ends well", !run_stop(&hasty), "no");
	run_free(&hasty);
}

static void test_postgres(void)
{
	run_prepare(&a, "a");
	run_prepare(&b, "b");
	test_start();
	test_sessions();
	test_once();
	test_killed();
	test_outage();
	test_rotation();
	test_hang();
	ok("both end well", !run_stop(&a) && !run_stop(&b), "no");
	run_free(&a);
	run_free(&b);
}

// ---- a disk that fills ----

static void fill(const char *dir, char path[160])
{
	char block[4096];
	snprintf(path, 160, "%s/filling", dir);
	FILE *f = fopen(path, "w");
	memset(block, 'x', sizeof block);
	while (f && fwrite(block, 1, sizeof block, f) == sizeof block && !fflush(f))
		;
	if (f)
		fclose(f);
}

// In a namespace of its own, where a small file system can be mounted.
static void test_full(void)
{
	struct run r;
	char path[160], text[9000];
	unsigned int stored = 0, refused = 0;
	if (unshare(getuid() ? CLONE_NEWUSER | CLONE_NEWNS : CLONE_NEWNS) || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL)) {
		skip("full disk", "no mount namespace can be made here");
		return;
	}
	run_prepare(&r, "full");
	run_free(&r);
	snprintf(path, sizeof path, "%s/full", world);
	if (mount("none", path, "tmpfs", 0, "size=4m,mode=0700")) {
		skip("full disk", "nothing can be mounted here");
		return;
	}
	run_prepare(&r, "full");
	snprintf(r.log, sizeof r.log, "%s/full.log", world);
	ok("a broker starts on a small disk", run_start(&r, "--insecure-accept-simulated", machine.root_pem), "no");
	put_secret(&r, "default/file/first", "first");
	char ballast[160], *room = calloc(1, 512 << 10);	// to be thrown off later
	snprintf(ballast, sizeof ballast, "%s/ballast", r.dir);
	ok("half a megabyte of it is taken", room && !file_write(ballast, room, 512 << 10, 0600, true, NULL), "no");
	free(room);
	memset(text, 's', sizeof text - 1);
	text[sizeof text - 1] = '\0';
	for (unsigned int i = 0; i < 2000 && refused < 3; i++) {
		char name[96];
		snprintf(name, sizeof name, "/kbs/v0/resource/default/file/n%u", stored);
		int status = status_of(&r, "POST", name, admin_header(&r), text);
		stored += status / 100 == 2;
		refused += status == 503;
		if (status / 100 != 2 && status != 503) {
			ok("a full disk is told as such", false, "%d", status);
			break;
		}
	}
	ok("a full disk refuses, with 503", stored > 10 && refused == 3, "%u stored, %u refused", stored, refused);
	fill(r.dir, path);
	int status = status_of(&r, "POST", "/kbs/v0/resource/default/file/more", admin_header(&r), text);
	ok("nothing goes with no room at all", status == 503, "%d", status);
	unlink(path);
	unlink(ballast);
	status = status_of(&r, "POST", "/kbs/v0/resource/default/file/more", admin_header(&r), "with room again");
	ok("with room it goes on by itself", status / 100 == 2, "%d", status);
	kill(r.pid, SIGKILL);
	waitpid(r.pid, NULL, 0);
	snprintf(path, sizeof path, "%s/full", world);
	mount(NULL, path, NULL, MS_REMOUNT, "size=8m");
	ok("after a kill it starts again, with more room", run_start(&r, "--insecure-accept-simulated", machine.root_pem), "no");
	unsigned int lost = 0;
	for (unsigned int i = 0; i < stored; i++) {
		char name[96];
		snprintf(name, sizeof name, "/coffer/v0/key/default/file/n%u", i);
		lost += !is_there(&r, name);
	}
	ok("nothing that was acknowledged is lost", lost == 0, "%u of %u", lost, stored);
	put_secret(&r, "default/file/last", "last");
	ok("it ends well", !run_stop(&r), "no");
	run_free(&r);
	umount2(path, MNT_DETACH);
}

int main(void)
{
	signal(SIGPIPE, SIG_IGN);
	world_begin("brokers");
	if (pg_make(&pg))
		test_postgres();
	else
		lacks("postgres", "/usr/lib/postgresql/15/bin/initdb", "no server could be started");
	pg_remove(&pg);
	test_full();
	return world_end();
}

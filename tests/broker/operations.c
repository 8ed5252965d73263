// SPDX-License-Identifier: Apache-2.0
// A broker in operation: health and metrics (read by Prometheus' own promtool where it is), limits on who is refused, reload and stop with
// requests in hand, and kills: what was acknowledged is there afterwards.
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "attest/refval.h"
#include "broker/api.h"
#include "broker/audit_client.h"
#include "broker/limits.h"
#include "broker/metrics.h"
#include "broker/session.h"
#include "lib/file.h"
#include "lib/tls.h"
#include "tests/broker/harness.h"
#include "tests/port.h"

#define RESOURCE "default/secret/one"

static struct run b;

static bool start(const char *settings)
{
	char path[160];
	snprintf(path, sizeof path, "%s/settings.yaml", world);
	if (file_write(path, settings, strlen(settings), 0600, false, NULL))
		return false;
	return run_start(&b, "--insecure-accept-simulated", machine.root_pem, "--config", path);
}

// ---- health and metrics ----

// The second line that a broker with metrics_listen prints is lost in the harness: tests say the port.
static char *plain_get(unsigned int port, const char *path)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char *text = calloc(1, 1 << 20), line[200];
	size_t n = 0;
	ssize_t got;
	snprintf(line, sizeof line, "GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", path);
	if (!connect(fd, (struct sockaddr *)&a, sizeof a) && send(fd, line, strlen(line), MSG_NOSIGNAL) > 0) {
		while ((got = recv(fd, text + n, (1 << 20) - 1 - n, 0)) > 0)
			n += (size_t)got;
	}
	close(fd);
	return text;
}

// The value of a series, -1 when it is not there.
static double value(const char *text, const char *series)
{
	char line[300];
	snprintf(line, sizeof line, "\n%s ", series);
	const char *at = strstr(text, line);
	return at ? atof(at + strlen(line)) : -1;
}

static char *metrics(void)
{
	struct http_reply r;
	if (request(&b, "GET", "/metrics", admin_header(&b), NULL, &r))
		return strdup("");
	char *text = strdup(r.body);
	http_reply_free(&r);
	return text;
}

// Each line is a comment of ours or `name{label="value",...} number`, each family is announced once, a histogram grows to its count.
static const char *malformed(const char *text)
{
	static char why[300];
	char family[128] = "";
	double last = 0;
	for (const char *p = text; *p;) {
		char line[600], name[128];
		size_t n = strcspn(p, "\n");
		int used = 0;
		double v;
		snprintf(line, sizeof line, "%.*s", (int)n, p);
		snprintf(why, sizeof why, "%.250s", line);
		p += n + 1;
		if (p[-1] != '\n')
			return "no newline at its end";
		if (!strncmp(line, "# TYPE ", 7)) {
			char again[200];
			sscanf(line + 7, "%127s", family);
			snprintf(again, sizeof again, "\n# TYPE %s ", family);
			if (strstr(p, again))
				return why;
			continue;
		}
		if (!strncmp(line, "# HELP ", 7))
			continue;
		if (sscanf(line, "%127[a-zA-Z0-9_:]%n", name, &used) != 1 || strncmp(name, family, strlen(family)))
			return why;
		const char *rest = line + used;
		if (*rest == '{') {
			do {
				int k = 0;
				rest++;
				sscanf(rest, "%*[a-z_]=\"%n", &k);
				rest += k;
				rest += strcspn(rest, "\"\\");
				if (!k || *rest++ != '"')
					return why;
			} while (*rest == ',');
			if (*rest++ != '}')
				return why;
		}
		if (sscanf(rest, " %lf%n", &v, &used) != 1 || rest[used])
			return why;
		bool bucket = strstr(line, "_bucket{") != NULL;
		if (bucket && !strstr(line, "le=\"0.001\"") && v < last)
			return why;
		last = v;
	}
	return NULL;
}

static void promtool(const char *text)
{
	char path[160], command[400];
	snprintf(path, sizeof path, "%s/metrics", world);
	if (system("command -v promtool >/dev/null 2>&1")) {
		skip("promtool", "prometheus is not installed");
		return;
	}
	file_write(path, text, strlen(text), 0600, false, NULL);
	snprintf(command, sizeof command, "promtool check metrics < %s > %s.said 2>&1", path, path);
	int status = system(command);
	char *said = NULL;
	size_t len;
	strcat(path, ".said");
	if (file_read(path, 65536, &said, &len, NULL))
		said = NULL;
	ok("promtool finds nothing wrong", status == 0, "%s", said ? said : "");
	free(said);
}

static void test_metrics(void)
{
	char settings[100];
	unsigned int port = free_port();
	struct guest g = {.key = NULL};
	struct machine other;
	uint8_t got[64];
	size_t len;
	snprintf(settings, sizeof settings, "metrics_listen: 127.0.0.1:%u\n", port);
	if (!ok("a broker with metrics starts", start(settings), "no"))
		return;
	put_secret(&b, RESOURCE, "a secret");
	set_policy(&b, RESOURCE, true, machine.measurement_hex);
	ok("a secret is released", guest_attest(&b, &machine, &g, NULL) == 200 && guest_get(&b, &g, RESOURCE, got, sizeof got, &len) == 200, "no");
	guest_free(&g);
	machine_make(&other, "other");
	ok("and another machine refused", guest_attest(&b, &other, &g, NULL) == 403, "no");
	guest_free(&g);

	expect("health is for everybody", &b, "GET", "/healthz", "", NULL, 200, "ok");
	expect("so is readiness", &b, "GET", "/readyz", "", NULL, 200, "\"status\":\"ready\"");
	expect("metrics are not", &b, "GET", "/metrics", "", NULL, 401, "admin token");
	char *text = metrics();
	const char *wrong = malformed(text);
	ok("metrics are well-formed", *text && !wrong, "%s", wrong ? wrong : "none");
	promtool(text);
	ok("attestations are counted by outcome", value(text, "coffer_attestations_total{tee=\"simulated\",outcome=\"accepted\"}") == 1, "%s", text);
	ok("refusals by check", value(text, "coffer_refusals_total{check=\"root\"}") == 1, "%s", text);
	ok("requests by route and status", value(text, "coffer_requests_total{method=\"POST\",route=\"/kbs/v0/attest\",status=\"200\"}") == 1 &&
	   value(text, "coffer_requests_total{method=\"POST\",route=\"/kbs/v0/attest\",status=\"403\"}") == 1, "%s", text);
	ok("their times", value(text, "coffer_request_duration_seconds_count{method=\"POST\",route=\"/kbs/v0/attest\"}") == 2 &&
	   value(text, "coffer_request_duration_seconds_bucket{method=\"POST\",route=\"/kbs/v0/attest\",le=\"+Inf\"}") == 2, "%s", text);
	ok("secrets, sessions, records", value(text, "coffer_secrets_released_total") == 1 && value(text, "coffer_sessions") == 2 &&
	   value(text, "coffer_audit_entries") >= 5, "%s", text);
	ok("and what it runs on", value(text, "coffer_database_up") == 1 && value(text, "coffer_audit_log_up") == 1 &&
	   value(text, "process_resident_memory_bytes") > 1e6 && value(text, "coffer_disk_reserve_used") == 0, "%s", text);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
	ok("in less than 30 MiB", value(text, "process_resident_memory_bytes") < 30 << 20, "%.0f bytes", value(text, "process_resident_memory_bytes"));
#endif
	free(text);
	text = plain_get(port, "/metrics");
	ok("the loopback address has them without TLS", strstr(text, " 200 OK") && strstr(text, "coffer_build_info{version="), "%s", text);
	free(text);
	text = plain_get(port, "/readyz");
	ok("and health", strstr(text, " 200 OK") && strstr(text, "\"ready\""), "%s", text);
	free(text);
	text = plain_get(port, "/coffer/v0/status");
	ok("and nothing else", strstr(text, " 404 "), "%s", text);
	free(text);
	ok("it ends well", !run_stop(&b), "no");
	ok("metrics are not given to the network without TLS", !start("metrics_listen: 0.0.0.0:0\n"), "it starts");
	waitpid(b.pid, NULL, 0);
}

// More words than there is room for are counted together: none is lost.
static void test_series(void)
{
	char *text = NULL, tee[32];
	size_t len;
	double all = 0;
	for (int i = 0; i < 400; i++) {
		snprintf(tee, sizeof tee, "tee-%d", i % 200);
		metric_attestation(tee, i < 200 ? "accepted" : "refused");
	}
	FILE *out = open_memstream(&text, &len);
	metrics_write(out);
	fclose(out);
	for (const char *p = text; (p = strstr(p, "\ncoffer_attestations_total{")); p++)
		all += atof(strchr(p, '}') + 1);
	ok("of 200 kinds with two outcomes all are counted", all == 400, "%.0f", all);
	ok("those without a place of their own by outcome", value(text, "coffer_attestations_total{tee=\"other\",outcome=\"accepted\"}") > 0 &&
	   value(text, "coffer_attestations_total{tee=\"other\",outcome=\"refused\"}") == 200, "%s", text);
	free(text);
}

// ---- what the broker remembers of documents ----

static void test_seen(void)
{
	char path[160];
	json_t *seen = NULL;
	struct fault f = {""};
	snprintf(path, sizeof path, "%s/seen", world);
	ok("nothing was seen before there is a file", !refval_seen_read(path, &seen, &f) && json_object_size(seen) == 0, "%s", f.text);
	json_decref(seen);
	file_write(path, "[1]", 3, 0600, false, NULL);
	ok("a damaged file is no empty one", refval_seen_read(path, &seen, &f) == -EINVAL && !seen, "%s", f.text);
}

// ---- sessions ----

static void test_sessions(void)
{
	struct session_table *t = session_table_new(8, 60);
	char id[20][SESSION_ID_TEXT], nonce[SESSION_NONCE_TEXT];
	json_t *claims = json_pack("{s:s}", "tee", "x"), *got = NULL;
	EVP_PKEY *key = NULL;
	const struct coco_tee *tee;
	for (int i = 0; i < 6; i++) {
		session_begin(t, NULL, id[i], nonce, NULL);
		session_attested(t, id[i], claims, NULL, EVP_EC_gen("P-256"), NULL);
	}
	for (int i = 6; i < 20; i++)
		session_begin(t, NULL, id[i], nonce, NULL);
	ok("the table of sessions is bounded", session_count(t) == 8, "%u", session_count(t));
	unsigned int there = 0;
	for (int i = 0; i < 6; i++) {
		int err = session_get(t, id[i], &got, &key, NULL);
		there += !err && json_equal(got, claims);
		if (!err) {
			json_decref(got);
			EVP_PKEY_free(key);
		}
	}
	ok("whoever only begins sessions ends none that has attested", there == 6, "%u", there);
	ok("of those that wait the oldest went", session_take_nonce(t, id[19], nonce, &tee, NULL) == 0 && session_take_nonce(t, id[18], nonce, &tee, NULL) == 0 &&
	   session_take_nonce(t, id[17], nonce, &tee, NULL) == -ENOENT, "no");
	session_attested(t, id[18], claims, NULL, EVP_EC_gen("P-256"), NULL);
	session_attested(t, id[19], claims, NULL, EVP_EC_gen("P-256"), NULL);
	session_begin(t, NULL, id[6], nonce, NULL);
	session_begin(t, NULL, id[7], nonce, NULL);
	ok("where all have attested, two that come at once both can", session_take_nonce(t, id[6], nonce, &tee, NULL) == 0 &&
	   session_take_nonce(t, id[7], nonce, &tee, NULL) == 0, "one has lost its session");
	ok("the oldest made room", session_get(t, id[0], &got, &key, NULL) == -ENOENT && session_get(t, id[1], &got, &key, NULL) == -ENOENT &&
	   session_get(t, id[2], &got, &key, NULL) == 0, "no");
	json_decref(got);
	EVP_PKEY_free(key);
	session_table_free(t);
	t = session_table_new(8, 0);
	session_begin(t, NULL, id[0], nonce, NULL);
	ok("and none outlives its time", session_take_nonce(t, id[0], nonce, &tee, NULL) == -ENOENT && session_count(t) == 0, "one does");
	session_table_free(t);
	json_decref(claims);
}

static bool readiness_becomes(int status)
{
	for (int i = 0; i < 1200; i++) {
		struct http_reply r;
		bool reached = !request(&b, "GET", "/readyz", "", NULL, &r) && r.status == status;
		http_reply_free(&r);
		if (reached)
			return true;
		usleep(100000);
	}
	return false;
}

static void test_ready(void)
{
	char path[160];
	sqlite3 *db;
	if (!ok("a broker starts", start(""), "no"))
		return;
	snprintf(path, sizeof path, "%s/broker.db", b.dir);
	sqlite3_open(path, &db);
	sqlite3_busy_timeout(db, 10000);
	ok("it is ready", readiness_becomes(200), "it is not");
	ok("a table can be taken away", !sqlite3_exec(db, "ALTER TABLE allowed RENAME TO gone", NULL, NULL, NULL), "%s", sqlite3_errmsg(db));
	ok("then it is not ready", readiness_becomes(503), "it is");
	char *text = metrics();
	ok("and its metrics say that it is the database", value(text, "coffer_database_up") == 0 && value(text, "coffer_audit_log_up") == 1, "%s", text);
	free(text);
	expect("it lives", &b, "GET", "/healthz", "", NULL, 200, "ok");
	ok("the table comes back", !sqlite3_exec(db, "ALTER TABLE gone RENAME TO allowed", NULL, NULL, NULL), "%s", sqlite3_errmsg(db));
	ok("and it is ready again", readiness_becomes(200), "it is not");
	sqlite3_close(db);
	ok("it ends well", !run_stop(&b), "no");
}

static int put_status;

static void *put_late(void *header)
{
	struct http_reply r;
	int err = request(&b, "POST", "/kbs/v0/resource/default/late/one?replace=true", header, "late", &r);
	put_status = err ? err : r.status;
	if (!err)
		http_reply_free(&r);
	return NULL;
}

// While requests in hand end, who watches the broker is told that it stops.
static void test_draining(void)
{
	char settings[100], path[160], header[160], *text = NULL;
	unsigned int port = free_port();
	sqlite3 *db;
	pthread_t t;
	snprintf(settings, sizeof settings, "metrics_listen: 127.0.0.1:%u\n", port);
	if (!ok("a broker with metrics starts", start(settings), "no"))
		return;
	snprintf(header, sizeof header, "%s", admin_header(&b));
	snprintf(path, sizeof path, "%s/broker.db", b.dir);
	sqlite3_open(path, &db);
	sqlite3_busy_timeout(db, 10000);
	ok("its database is held", !sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL), "%s", sqlite3_errmsg(db));
	pthread_create(&t, NULL, put_late, header);
	for (int i = 0; i < 12000 && (!text || !strstr(text, "\ncoffer_requests_in_hand 1\n")); i++) {
		usleep(10000);
		free(text);
		text = plain_get(port, "/metrics");
	}
	kill(b.pid, SIGTERM);
	for (int i = 0; i < 12000 && !strstr(text, "\"stopping\""); i++) {
		usleep(10000);
		free(text);
		text = plain_get(port, "/readyz");
	}
	ok("a broker that stops says so to those who watch it", strstr(text, " 503 ") && strstr(text, "\"stopping\""), "%s", text);
	free(text);
	text = plain_get(port, "/metrics");
	ok("and its metrics go on", strstr(text, " 200 OK") && strstr(text, "\ncoffer_connections 1\n"), "%s", text);
	free(text);
	sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
	sqlite3_close(db);
	pthread_join(t, NULL);
	ok("the request in hand is served", put_status / 100 == 2, "%d", put_status);
	int status = -1;	// it has been told already
	for (int i = 0; i < 1200 && waitpid(b.pid, &status, WNOHANG) == 0; i++)
		usleep(50000);
	ok("it ends well", status == 0, "%x", status);
}

// ---- limits ----

// Whose allowance is whose.
static void test_peers(void)
{
	static const struct limit_settings few = {.refusals_per_peer = 1, .sessions_per_peer = 1, .refusals_logged = 2};
	static const struct { const char *name, *one, *other; bool same; } cases[] = {
		{"another port is the same peer", "10.0.0.7:1", "10.0.0.7:2", true},
		{"another address is not", "10.0.0.7:1", "10.0.0.8:1", false},
		{"IPv4 through a socket of both is IPv4", "[::ffff:10.0.0.7]:1", "10.0.0.7:2", true},
		{"a /64 is one peer", "[2001:db8::1]:1", "[2001:db8::ffff:2]:2", true},
		{"another /64 is not", "[2001:db8::1]:1", "[2001:db8:0:1::1]:1", false},
		{"nor is the IPv4 address that a /64 begins with", "[2001:db8::1]:1", "32.1.13.184:1", false},
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct limits *l = limits_new(&few, world);
		bool first = limits_ask(l, cases[i].one) == 0;
		limits_refused(l, cases[i].one, REFUSED_EVIDENCE);
		ok(cases[i].name, first && limits_ask(l, cases[i].one) > 0 && (limits_ask(l, cases[i].other) > 0) == cases[i].same, "no");
		limits_free(l);
	}
	// Nobody gets rid of another's allowance by coming from everywhere.
	struct limits *l = limits_new(&(struct limit_settings){.refusals_per_peer = 3, .sessions_per_peer = 3, .refusals_logged = 1}, world);
	char peer[64];
	for (int i = 0; i < 3; i++)
		limits_refused(l, "192.0.2.1:1", REFUSED_EVIDENCE);
	for (int i = 0; i < 20000; i++) {
		snprintf(peer, sizeof peer, "10.%d.%d.%d:1", i >> 16, i >> 8 & 255, i & 255);
		limits_ask(l, peer);
	}
	ok("who only asks takes nobody's place", limits_ask(l, "192.0.2.1:1") > 0, "it did");
	for (int i = 0; i < 1000; i++)
		limits_refused(l, "192.0.2.1:1", REFUSED_RELEASE);
	ok("what is refused although nothing is left makes no debt", limits_ask(l, "192.0.2.1:1") <= 1, "%u s", limits_ask(l, "192.0.2.1:1"));
	limits_free(l);
}

static unsigned long records(int look(void *ctx, uint64_t index, const char *line, size_t len), void *ctx)
{
	struct broker_client *c = owner(&b);
	struct fault f = {""};
	struct note head = {.head = {.size = 0}};
	int err = !c || audit_client_head(c, "", &head, &f) ? -1 : audit_client_lines(c, 0, head.head.size, look, ctx, &f);
	ok("the log is read", !err, "%s", f.text);
	broker_client_close(c);
	return head.head.size;
}

struct seen {
	unsigned long attests, summed[5];
};

static int count_refusals(void *ctx, uint64_t index, const char *line, size_t len)
{
	static const char *const kinds[] = {"attest", "resource", "admin", "too-many", "session"};
	struct seen *s = ctx;
	json_t *o = json_loadb(line, len, 0, NULL);
	const char *event = json_string_value(json_object_get(o, "event")), *kind = json_string_value(json_object_get(o, "kind"));
	const char *outcome = json_string_value(json_object_get(o, "outcome"));
	(void)index;
	s->attests += event && outcome && !strcmp(event, "attest") && !strcmp(outcome, "refused");
	for (int k = 0; event && kind && !strcmp(event, "refusals") && k < 5; k++)
		s->summed[k] += strcmp(kind, kinds[k]) ? 0 : (unsigned long)json_integer_value(json_object_get(o, "count"));
	json_decref(o);
	return 0;
}

static char said[512];

static void remember_line(const char *line)
{
	snprintf(said, sizeof said, "%s", line);
}

static int take_mount(unsigned int index, const struct settings_volume *v, const struct coffer_mount_key *key, struct fault *f)
{
	(void)index;
	(void)v;
	(void)key;
	(void)f;
	return 0;
}

static int own_evidence(const uint8_t report_data[64], struct evidence *out, struct fault *f)
{
	return machine_evidence(&machine, report_data, out, f);
}

// With the enclave's own code.
static int enclave_gets_key(void)
{
	static const struct attest_ops ops = {.evidence = own_evidence, .mount = take_mount, .say = remember_line};
	static const uint8_t id[16] = {1}, volume_key[32] = {2};
	struct settings s = {.volume_count = 1, .broker_url = b.url, .broker_ca = b.ca, .broker_timeout_s = 60};
	struct fault f = {""};
	char name[48];
	s.volumes[0].name = "a.vol";
	s.volumes[0].path = "/data";
	strcpy(s.volumes[0].id, "01000000000000000000000000000000");
	broker_volume_resource(name, id);
	struct broker_client *c = owner(&b);
	int err = c ? broker_client_put_volume_key(c, id, volume_key, true, &f) : -EIO;
	broker_client_close(c);
	set_policy(&b, name, true, machine.measurement_hex);
	// On a slow machine a session may be left again by the time that the enclave asks.
	for (int i = 0; i < 50 && !err && !strstr(said, "trying again"); i++) {
		struct guest g = {.key = NULL};
		while (guest_begin(&b, "snp", &g))	// until there is nothing left
			;
		guest_free(&g);
		err = attest_run(&s, &ops, NULL, &f);
	}
	if (err)
		printf("%s\n", f.text);
	return err;
}

static void test_limits(void)
{
	struct machine other;
	struct guest g = {.key = NULL};
	struct http_reply r;
	struct seen before = {0}, after = {0};
	unsigned int refused = 0, waits = 0;
	machine_make(&other, "wrong");
	if (!ok("a broker with small limits starts", start("refusals_per_peer: 12\nrefusals_logged: 5\n"), "no"))
		return;
	records(count_refusals, &before);
	unsigned int asked = 0;
	while (asked < 40 || (!waits && asked < 1000)) {	// on a slow machine allowances come back meanwhile
		int status = guest_attest(&b, &other, &g, NULL);
		asked++;
		refused += status == 403;
		waits += status == -EPROTO;	// 429 for /auth
	}
	ok("who is refused again and again is told to wait", refused >= 12 && waits >= 1 && refused + waits == asked, "%u refused, %u waits of %u", refused, waits,
	   asked);
	int err = request(&b, "POST", "/kbs/v0/auth", "", "{\"version\":\"0.4.0\",\"tee\":\"snp\"}", &r);
	for (int i = 0; i < 100 && !err && r.status == 200; i++) {	// on a slow machine an allowance has come back meanwhile
		http_reply_free(&r);
		int status = guest_attest(&b, &other, &g, NULL);
		refused += status == 403;
		waits += status == -EPROTO;
		err = request(&b, "POST", "/kbs/v0/auth", "", "{\"version\":\"0.4.0\",\"tee\":\"snp\"}", &r);
	}
	ok("with 429", !err && r.status == 429 && strstr(r.body, "come again in"), "%d %d", err, err ? 0 : r.status);
	if (!err)
		http_reply_free(&r);
	expect("who may is not kept out by that", &b, "GET", "/coffer/v0/status", admin_header(&b), NULL, 200, "version");
	unsigned int told = 0, wrong = 0;
	for (asked = 0; asked < 20 || (!told && asked < 1000); asked++) {
		if (request(&b, "GET", "/coffer/v0/status", "Authorization: Bearer 00\r\n", NULL, &r))
			continue;
		told += r.status == 429;
		wrong += r.status == 401;
		http_reply_free(&r);
	}
	ok("who guesses tokens is told to wait as well", told && told + wrong == asked, "%u, %u", told, wrong);
	unsigned int strangers = 0;
	static const char *const nobody[] = {"", "Authorization: Bearer x.y.z\r\n", "Cookie: kbs-session-id=01234567-89ab-4cde-8f01-23456789abcd\r\n"};
	for (int i = 0; i < 30; i++) {
		if (request(&b, "GET", "/kbs/v0/resource/" RESOURCE, nobody[i % 3], NULL, &r))
			continue;
		strangers += r.status == 401;
		http_reply_free(&r);
	}
	ok("without a session nothing is given", strangers == 30, "%u", strangers);
	run_stop(&b);
	ok("it starts again", start("refusals_per_peer: 1000\n"), "no");
	records(count_refusals, &after);
	unsigned long single = after.attests - before.attests, summed = after.summed[0] - before.summed[0];
	ok("each refusal is a record, or one of a number that is", single >= 5 && summed >= 1 && single + summed == refused, "%lu + %lu of %u", single, summed,
	   refused);
	ok("so are those who were told to wait", after.summed[3] - before.summed[3] >= waits + told, "%lu of %u", after.summed[3] - before.summed[3], waits);
	ok("and wrong callers", after.summed[2] - before.summed[2] == wrong, "%lu of %u", after.summed[2] - before.summed[2], wrong);
	ok("and those without a session", after.summed[4] - before.summed[4] == strangers, "%lu of %u", after.summed[4] - before.summed[4], strangers);
	unsigned int good = 0;
	for (int i = 0; i < 60; i++)	// more than sessions_per_peer would be in this time if they were not given back
		good += guest_attest(&b, &machine, &g, NULL) == 200;
	ok("good attestations are never limited", good == 60, "%u", good);
	guest_free(&g);
	run_stop(&b);
	ok("it starts where sessions are few", start("sessions_per_peer: 3\n"), "no");
	good = 0;
	for (int i = 0; i < 10; i++)
		good += guest_attest(&b, &machine, &g, NULL) == 200;
	ok("one after the other they suffice", good == 10, "%u", good);
	unsigned int begun = 0;
	for (int i = 0; i < 60; i++)
		begun += guest_begin(&b, "snp", &g);
	ok("sessions that lead to nothing are limited", begun >= 3 && begun < 60, "%u", begun);
	ok("an enclave that is told to wait waits, says so, and gets its key", enclave_gets_key() == 0 && strstr(said, "trying again"), "%s", said);
	guest_free(&g);
	run_stop(&b);
	// More than any disk has.
	ok("it starts without room on its disk", start("disk_reserve: 1048576\n"), "no");
	expect("it says that it is not ready", &b, "GET", "/readyz", "", NULL, 503, "\"disk_reserve\":\"used\"");
	struct seen low = {0}, lower = {0};
	records(count_refusals, &low);
	ok("refusals are still answered", guest_attest(&b, &other, &g, NULL) == 403, "no");
	ok("grants go on", guest_attest(&b, &machine, &g, NULL) == 200, "no");
	records(count_refusals, &lower);
	ok("the refusal is not in the log by itself", lower.attests == low.attests, "it is");
	guest_free(&g);
	ok("it ends well", !run_stop(&b), "no");
}

// ---- JSON that is meant to hurt ----

// What may have been done is not to be asked for again unseen; what was not, is.
static void test_unknown_outcome(void)
{
	struct fault f = {"a test"};
	struct http_response unknown = {.status = 0}, busy = {.status = 0};
	broker_fault(&unknown, -EUCLEAN, &f);
	broker_fault(&busy, -EBUSY, &f);
	ok("an outcome that is not known", unknown.status == 503 && strstr(unknown.body, "OutcomeUnknown") && !unknown.headers, "%d %s",
	   unknown.status, unknown.body);
	ok("a database that is busy", busy.status == 503 && busy.headers && strstr(busy.headers, "Retry-After"), "%d %s", busy.status, busy.body);
	free(unknown.body);
	free(busy.body);
	free(busy.headers);
}

static void test_json(void)
{
	size_t n = 1 << 19;
	char *deep = malloc(n + 200);
	if (!ok("a broker starts", start("refusals_per_peer: 1000\n"), "no"))
		return;
	static const char *const paths[] = {"/kbs/v0/auth", "/coffer/v0/policy"};
	for (int i = 0; i < 2; i++) {
		for (int closed = 0; closed < 2; closed++) {
			memset(deep, '[', n);
			if (closed)
				memset(deep + n / 2, ']', n / 2);
			deep[n] = '\0';
			expect("deeply nested lists are refused", &b, "POST", paths[i], admin_header(&b), deep, 400, "");
		}
	}
	// As deep as the parser lets it be, where the value is looked at.
	char *p = deep + sprintf(deep, "{\"version\":\"0.4.0\",\"tee\":\"snp\",\"extra-params\":");
	for (int i = 0; i < 2000; i++)
		p = stpcpy(p, "{\"a\":");
	p = stpcpy(p, "1");
	for (int i = 0; i < 2001; i++)
		p = stpcpy(p, "}");
	struct http_reply r;
	int err = request(&b, "POST", "/kbs/v0/auth", "", deep, &r);
	ok("the deepest that are read do no harm", !err && (r.status == 200 || r.status == 400), "%d", err);
	if (!err)
		http_reply_free(&r);
	struct guest g = {.key = NULL};
	guest_begin(&b, "snp", &g);
	p = deep + sprintf(deep, "{\"runtime-data\":{\"nonce\":\"x\",\"tee-pubkey\":");
	for (int i = 0; i < 2000; i++)
		p = stpcpy(p, "{\"a\":");
	p = stpcpy(p, "1");
	for (int i = 0; i < 2000; i++)
		p = stpcpy(p, "}");
	strcpy(p, "},\"tee-evidence\":{}}");
	expect("nor in evidence", &b, "POST", "/kbs/v0/attest", g.cookie, deep, 400, "");
	guest_free(&g);
	free(deep);
	expect("it still answers", &b, "GET", "/healthz", "", NULL, 200, "ok");
	ok("it ends well", !run_stop(&b), "no");
}

// ---- reload, stop and kill with requests in hand ----

#define CLIENTS 16

static atomic_bool enough;
static atomic_ulong rounds, failures;

static void *attest_on(void *unused)
{
	(void)unused;
	while (!enough) {
		struct guest g = {.key = NULL};
		uint8_t got[64];
		size_t len;
		bool good = guest_attest(&b, &machine, &g, NULL) == 200 && guest_get(&b, &g, RESOURCE, got, sizeof got, &len) == 200;
		rounds++;
		failures += !good;
		guest_free(&g);
	}
	return NULL;
}

static void test_reload(void)
{
	pthread_t t[CLIENTS];
	unsigned int reloads = 0;
	if (!ok("a broker starts", start("connections_per_peer: 1000\n"), "no"))
		return;
	enough = false;
	rounds = failures = 0;
	for (int i = 0; i < CLIENTS; i++)
		pthread_create(&t[i], NULL, attest_on, NULL);
	for (; reloads < 20 || rounds < 50; reloads++) {
		size_t before = run_log_size(&b);
		for (int i = 0; i < 3; i++)	// also while one is being served
			kill(b.pid, SIGHUP);
		if (!run_said(&b, before, "were read anew"))
			break;
	}
	enough = true;
	for (int i = 0; i < CLIENTS; i++)
		pthread_join(t[i], NULL);
	ok("no request fails while everything is read anew again and again", reloads >= 20 && rounds >= 50 && failures == 0, "%u reloads, %lu rounds, %lu failed",
	   reloads, (unsigned long)rounds, (unsigned long)failures);
	ok("it ends well", !run_stop(&b), "no");
}

// The certificate is exchanged while it serves; a connection that is open goes on.
static void test_certificate(void)
{
	char path[160], *cert, *key, *old;
	struct fault f = {""};
	struct http_client *c = NULL;
	struct http_reply r;
	if (!ok("a broker starts", start(""), "no"))
		return;
	old = b.ca;
	struct http_client_options o = {.url = b.url, .ca_pem = old, .resolve = http_resolve_static, .timeout_ms = 20000};
	bool kept = !http_client_open(&c, &o, &f) && !http_client_request(c, "GET", "/healthz", "", NULL, 0, &r, &f);
	if (kept)
		http_reply_free(&r);
	if (tls_make_certificate("Another", "localhost,127.0.0.1", &cert, &key, &f))
		abort();
	snprintf(path, sizeof path, "%s/cert.pem", b.dir);
	file_write(path, cert, strlen(cert), 0644, false, NULL);
	size_t before = run_log_size(&b);
	kill(b.pid, SIGHUP);
	ok("a certificate without its key changes nothing", run_said(&b, before, "NOT read anew") && !request(&b, "GET", "/healthz", "", NULL, &r), "it does");
	http_reply_free(&r);
	snprintf(path, sizeof path, "%s/tls.key", b.dir);
	file_write(path, key, strlen(key), 0600, false, NULL);
	before = run_log_size(&b);
	kill(b.pid, SIGHUP);
	ok("one with its key is taken", run_said(&b, before, "were read anew"), "no");
	ok("who trusts the old one is told", request(&b, "GET", "/healthz", "", NULL, &r) == -EKEYREJECTED, "no");
	b.ca = cert;
	expect("who trusts the new one is served", &b, "GET", "/healthz", "", NULL, 200, "ok");
	kept = kept && !http_client_request(c, "GET", "/healthz", "", NULL, 0, &r, &f);
	ok("and a connection from before goes on", kept, "%s", f.text);
	if (kept)
		http_reply_free(&r);
	http_client_close(c);
	free(old);
	free_wiped(key, strlen(key));
	ok("it ends well", !run_stop(&b), "no");
}

// A certificate that a root issued through an intermediate one: clients that know the root alone must be given what is between.
static void test_chain(void)
{
	static const char make[] =
		"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout root.key -out root.pem -days 30 -subj /CN=root "
		"-addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign &&"
		"openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout middle.key -out middle.csr -subj /CN=middle &&"
		"printf 'basicConstraints=critical,CA:TRUE,pathlen:0\nkeyUsage=critical,keyCertSign\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n' >middle.ext &&"
		"openssl x509 -req -in middle.csr -CA root.pem -CAkey root.key -out middle.pem -days 30 -extfile middle.ext &&"
		"openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout leaf.key -out leaf.csr -subj /CN=leaf &&"
		"printf 'basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=serverAuth\nsubjectAltName=DNS:localhost\n"
		"subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n' >leaf.ext &&"
		"openssl x509 -req -in leaf.csr -CA middle.pem -CAkey middle.key -out leaf.pem -days 30 -extfile leaf.ext &&"
		"cat leaf.pem middle.pem";
	static const char show[] = "openssl s_client -connect %s -CAfile %s/root.pem -verify_return_error -showcerts -servername localhost -verify_hostname localhost "
				   "</dev/null 2>&1";
	char text[4200], *root = NULL;
	struct http_client *c = NULL;
	struct http_reply r;
	struct fault f = {""};
	size_t len;
	snprintf(text, sizeof text, "cd %s && cp %s/cert.pem own.pem && cp %s/tls.key own.key && (%s) >%s/cert.pem 2>openssl.log && cat leaf.key >%s/tls.key",
		 world, b.dir, b.dir, make, b.dir, b.dir);
	int err = system(text);
	snprintf(text, sizeof text, "%s/root.pem", world);
	if (!ok("a chain is made", !err && !file_read(text, 1 << 16, &root, &len, NULL), "%d", err) || !ok("a broker starts with it", start(""), "no"))
		goto out;
	struct http_client_options o = {.url = b.url, .ca_pem = root, .name = "localhost", .resolve = http_resolve_static, .timeout_ms = 20000};
	err = http_client_open(&c, &o, &f);
	if (!err)
		err = http_client_request(c, "GET", "/healthz", "", NULL, 0, &r, &f);
	ok("who knows its root alone is served", !err && r.status == 200, "%d %s", err, f.text);
	if (!err)
		http_reply_free(&r);
	http_client_close(c);
	unsigned int certificates = 0;
	bool verified = false;
	snprintf(text, sizeof text, show, b.url + strlen("https://"), world);
	FILE *p = popen(text, "r");
	while (p && fgets(text, sizeof text, p)) {
		certificates += !strncmp(text, "-----BEGIN CERTIFICATE", 22);
		verified |= strstr(text, "Verification: OK") != NULL;
	}
	if (p)
		pclose(p);
	ok("openssl s_client sees both, and verifies them", certificates == 2 && verified, "%u certificates, %s", certificates, verified ? "verified" : "not verified");
	ok("it ends well", !run_stop(&b), "no");
	snprintf(text, sizeof text, "echo '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----' >>%s/cert.pem", b.dir);
	ok("a chain that is damaged", !system(text) && !start(""), "is taken");
	waitpid(b.pid, NULL, 0);
	b.pid = 0;
out:
	free(root);
	snprintf(text, sizeof text, "cd %s && cat own.pem >%s/cert.pem && cat own.key >%s/tls.key", world, b.dir, b.dir);
	ok("its own comes back", !system(text), "no");
}

struct put_ctx {
	pthread_t thread;
	int id;
	atomic_ulong acknowledged;
	const char *admin;
};

// Stores numbers, each after the one before was acknowledged.
static void *put_on(void *arg)
{
	struct put_ctx *c = arg;
	while (!enough) {
		char path[100], body[32];
		struct http_reply r;
		snprintf(path, sizeof path, "/kbs/v0/resource/default/kill/n%d?replace=true", c->id);
		snprintf(body, sizeof body, "%lu", c->acknowledged + 1);
		if (request(&b, "POST", path, c->admin, body, &r))
			continue;
		c->acknowledged += r.status / 100 == 2;
		http_reply_free(&r);
	}
	return NULL;
}

static int look(void *ctx, uint64_t index, const char *line, size_t len)
{
	(void)index;
	(void)line;
	(void)len;
	++*(unsigned long *)ctx;
	return 0;
}

// A kill leaves a log that opens with the same history, and every change that was acknowledged.
static void test_kill(void)
{
	struct put_ctx c[4] = {{.id = 0}, {.id = 1}, {.id = 2}, {.id = 3}};
	unsigned int good = 0, consistent = 0;
	char header[128], why[160] = "";
	snprintf(header, sizeof header, "%s", admin_header(&b));
	struct note kept = {.head = {.size = 0}};
	const int kills = 6;
	for (int k = 0; k < kills; k++) {
		if (!ok("a broker starts after the kill", start(""), "no"))
			return;
		struct broker_client *o = owner(&b);
		struct fault f = {""};
		struct note now;
		struct merkle_proof p;
		bool fine = o && !audit_client_head(o, "", &now, &f);
		if (fine && kept.head.size)
			fine = now.head.size >= kept.head.size && !audit_client_consistency(o, kept.head.size, now.head.size, &p, &f) &&
			       merkle_check_consistency(kept.head.size, kept.head.root, now.head.size, now.head.root, &p);
		consistent += fine;
		enough = false;
		for (int i = 0; i < 4; i++) {
			c[i].admin = header;
			pthread_create(&c[i].thread, NULL, put_on, &c[i]);
		}
		unsigned long goal = c[0].acknowledged + 5 + (unsigned long)(3 * k);
		for (int i = 0; i < 20000 && c[0].acknowledged < goal; i++)
			usleep(1000);
		if (o)
			fine = !audit_client_head(o, "", &kept, &f);
		broker_client_close(o);
		kill(b.pid, SIGKILL);
		waitpid(b.pid, NULL, 0);
		enough = true;
		for (int i = 0; i < 4; i++)
			pthread_join(c[i].thread, NULL);
		if (!ok("a broker starts where another was killed", start(""), "no"))
			return;
		for (int i = 0; i < 4; i++) {
			char path[100];
			struct http_reply r;
			snprintf(path, sizeof path, "/coffer/v0/key/default/kill/n%d", i);
			int err = request(&b, "GET", path, header, NULL, &r);
			if (err) {
				snprintf(why, sizeof why, "no answer (%d)", err);
				continue;
			}
			// One more may have been stored whose answer was lost; or none yet, where the machine was busy with the others'.
			unsigned long stored = r.status == 200 ? strtoul(r.body, NULL, 10) : 0, told = c[i].acknowledged;
			if ((r.status == 200 || (r.status == 404 && !told)) && (stored == told || stored == told + 1))
				good++;
			else
				snprintf(why, sizeof why, "after kill %d n%d is %lu and was acknowledged up to %lu (%d)", k, i, stored, told, r.status);
			if (stored > c[i].acknowledged)
				c[i].acknowledged = stored;
			http_reply_free(&r);
		}
		run_stop(&b);
	}
	ok("after each kill the log goes on from the head that was shown", consistent == kills, "%u of %d", consistent, kills);
	ok("and what was acknowledged is there", good == 4 * kills, "%u of %d; %s", good, 4 * kills, why);
	ok("a broker starts", start(""), "no");
	unsigned long lines = 0, size = records(look, &lines);
	ok("the whole log is given", lines >= size && size > 50, "%lu of %lu", lines, size);
	ok("it ends well", !run_stop(&b), "no");
}

// SIGTERM comes while clients ask: each answer is whole or the connection was refused, and the broker ends.
static void test_stop(void)
{
	pthread_t t[CLIENTS];
	unsigned int well = 0;
	for (int k = 0; k < 5; k++) {
		if (!ok("a broker starts", start("connections_per_peer: 1000\n"), "no"))
			return;
		enough = false;
		rounds = failures = 0;
		for (int i = 0; i < CLIENTS; i++)
			pthread_create(&t[i], NULL, attest_on, NULL);
		while (rounds < CLIENTS)
			usleep(1000);
		enough = true;
		int status = run_stop(&b);
		well += status == 0;
		for (int i = 0; i < CLIENTS; i++)
			pthread_join(t[i], NULL);
	}
	ok("SIGTERM under load ends it with 0", well == 5, "%u of 5", well);
	well = 0;
	for (int k = 0; k < 8; k++)
		well += start("") && run_stop(&b) == 0;
	ok("so does one that comes as soon as it has said where it listens", well == 8, "%u of 8", well);
}

int main(void)
{
	world_begin("operations");
	if (!run_prepare(&b, "state"))
		return 1;
	test_seen();
	test_unknown_outcome();
	test_sessions();
	test_metrics();
	test_series();
	test_ready();
	test_draining();
	test_peers();
	test_limits();
	test_json();
	test_reload();
	test_certificate();
	test_chain();
	test_stop();
	test_kill();
	run_free(&b);
	return world_end();
}

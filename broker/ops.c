// SPDX-License-Identifier: Apache-2.0
// See ops.h. Runs in connection threads. What costs something to find out is found out once in a while; `lock` guards what was found last. It is not
// held while the database is asked, which may take until a server is given up: one thread does that, the others say what is known.
#include "broker/ops.h"

#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "broker/limits.h"
#include "broker/metrics.h"
#include "broker/state.h"
#include "lib/file.h"
#include "lib/tls.h"
#include "lib/version.h"

#define READY_MS 1000
#define SILENT_MS 3000	// a database that has not answered for so long is down
#define COLLATERAL_MS 60000
#define MAX_KINDS 16

struct expiry {
	char kind[32];
	time_t first;		// of all items of this kind
	unsigned int items, expired;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int64_t ready_ms = INT64_MIN / 2, collateral_ms = INT64_MIN / 2;
static bool database_up = true, asking;	// it was there when the broker started
static int64_t asked_ms;
static struct expiry expiries[MAX_KINDS];
static unsigned int kinds, damaged;

void ops_live(struct broker *b, const char *rest, const struct http_request *q, struct http_response *r)
{
	(void)b;
	(void)rest;
	(void)q;
	broker_reply(r, 200, json_pack("{s:s}", "status", "ok"));
}

static int note_expiry(void *ctx, const char *file, const struct collateral_item *i, const char *why)
{
	static const char *const names[] = {
		[COLLATERAL_TCB_INFO] = "tcb-info", [COLLATERAL_QE_IDENTITY] = "qe-identity", [COLLATERAL_PCK_CRL] = "pck-crl",
		[COLLATERAL_ROOT_CRL] = "root-crl", [COLLATERAL_AMD_CRL] = "amd-crl", [COLLATERAL_AMD_CHAIN] = "amd-chain",
	};
	time_t now = *(time_t *)ctx;
	(void)file;
	(void)why;
	if (!i) {
		damaged++;
		return 0;
	}
	if (i->expires < 0)
		return 0;
	const char *name = (size_t)i->key.kind < sizeof names / sizeof *names && names[i->key.kind] ? names[i->key.kind] : "certificate";
	unsigned int k = 0;
	while (k < kinds && strcmp(expiries[k].kind, name))
		k++;
	if (k == MAX_KINDS)
		return 0;
	if (k == kinds) {
		expiries[kinds] = (struct expiry){.first = i->expires};
		strcpy(expiries[kinds++].kind, name);
	}
	if (i->expires < expiries[k].first)
		expiries[k].first = i->expires;
	expiries[k].items++;
	expiries[k].expired += i->expires < now;
	return 0;
}

// With the lock held. The verifier is ours to read: a reload waits for requests.
static void look_at_collateral(struct broker *b)
{
	struct fault f = {""};
	time_t now = time(NULL);
	if (clock_ms() - collateral_ms < COLLATERAL_MS)
		return;
	kinds = damaged = 0;
	if (b->verifier.store)
		collateral_each(b->verifier.store, note_expiry, &now, &f);
	collateral_ms = clock_ms();
}

static bool database_answers(struct broker *b)
{
	struct fault f = {""};
	long long policies;
	pthread_mutex_lock(&lock);
	bool mine = !asking && clock_ms() - ready_ms >= READY_MS;
	if (mine) {
		asking = true;
		asked_ms = clock_ms();
	}
	pthread_mutex_unlock(&lock);
	bool up = mine && !store_count_policies(b->store, &policies, &f);
	pthread_mutex_lock(&lock);
	if (mine) {
		asking = false;
		database_up = up;
		ready_ms = clock_ms();
	}
	up = database_up && !(asking && clock_ms() - asked_ms > SILENT_MS);
	pthread_mutex_unlock(&lock);
	return up;
}

// {"status":"ready"|"not ready","checks":{...}}: 200 or 503. Collateral that has expired refuses some evidence and not all, so that it is told,
// but a broker with it is ready.
void ops_ready(struct broker *b, const char *rest, const struct http_request *q, struct http_response *r)
{
	(void)rest;
	(void)q;
	bool low, expired = false, database = database_answers(b);
	pthread_mutex_lock(&lock);
	look_at_collateral(b);
	for (unsigned int i = 0; i < kinds; i++)
		expired |= expiries[i].expired > 0;
	const char *collateral = !b->verifier.store ? "none" : damaged ? "damaged" : expired ? "expired" : "ok";
	pthread_mutex_unlock(&lock);
	bool log = audit_works(b->audit);
	limits_disk(b->limits, &low);
	bool sound = guard_sound(b->guard), stopping = atomic_load(&b->stopping), ready = database && sound && log && !low && !stopping;
	broker_reply(r, ready ? 200 : 503, json_pack("{s:s, s:{s:s, s:s, s:s, s:s}}", "status", ready ? "ready" : stopping ? "stopping" : "not ready",
						     "checks", "database", !database ? "failed" : sound ? "ok" : "changed-outside", "audit_log",
						     log ? "ok" : "failed", "disk_reserve", low ? "used" : "ok", "collateral", collateral));
}

static double resident_bytes(void)
{
	unsigned long pages = 0;
	FILE *f = fopen("/proc/self/statm", "re");
	if (f && fscanf(f, "%*u %lu", &pages) != 1)
		pages = 0;
	if (f)
		fclose(f);
	return (double)pages * (double)sysconf(_SC_PAGESIZE);
}

static void write_collateral(FILE *out)
{
	fprintf(out, "# HELP coffer_collateral_expiry_seconds Until the first item of its kind expires; negative: since then.\n"
		     "# TYPE coffer_collateral_expiry_seconds gauge\n");
	for (unsigned int i = 0; i < kinds; i++)
		fprintf(out, "coffer_collateral_expiry_seconds{kind=\"%s\"} %lld\n", expiries[i].kind, (long long)(expiries[i].first - time(NULL)));
	fprintf(out, "# HELP coffer_collateral_items Items of the store that expire.\n# TYPE coffer_collateral_items gauge\n");
	for (unsigned int i = 0; i < kinds; i++)
		fprintf(out, "coffer_collateral_items{kind=\"%s\"} %u\n", expiries[i].kind, expiries[i].items);
	metrics_one(out, "coffer_collateral_damaged", "gauge", "Files of the store that cannot be read.", damaged);
}

static void write_connections(FILE *out, struct http_server *server)
{
	struct http_server_counts c;
	http_server_counts(server, &c);
	metrics_one(out, "coffer_connections", "gauge", "Connections that are open.", c.open);
	metrics_one(out, "coffer_connections_accepted_total", "counter", "Connections taken.", (double)c.accepted);
	metrics_one(out, "coffer_connections_over_peer_limit_total", "counter", "Connections refused because their address had its share.",
		    (double)c.over_peer_limit);
	metrics_one(out, "coffer_connections_made_room_total", "counter", "Waiting connections closed because all places were taken.",
		    (double)c.made_room);
	metrics_one(out, "coffer_connections_timed_out_total", "counter", "Connections cut off at a deadline.", (double)c.timed_out);
	metrics_one(out, "coffer_tls_failures_total", "counter", "Handshakes that failed.", (double)c.bad_handshakes);
	metrics_one(out, "coffer_malformed_requests_total", "counter", "Requests refused before they were understood.", (double)c.bad_requests);
}

static void write_all(FILE *out, struct broker *b)
{
	struct note head;
	struct rusage u;
	bool low;
	fprintf(out, "# HELP coffer_build_info Which broker this is.\n# TYPE coffer_build_info gauge\ncoffer_build_info{version=\"%s\"} 1\n", COFFER_VERSION);
	metrics_write(out);
	metrics_one(out, "coffer_sessions", "gauge", "Sessions that have not expired.", session_count(b->sessions));
	audit_head(b->audit, &head);
	metrics_one(out, "coffer_audit_entries", "gauge", "Records of the audit log.", (double)head.head.size);
	metrics_one(out, "coffer_audit_log_up", "gauge", "1: the audit log takes records.", audit_works(b->audit));
	fprintf(out, "# HELP coffer_refusals_summed_total Refusals that have no record of their own.\n# TYPE coffer_refusals_summed_total counter\n");
	for (int k = 0; k < REFUSALS; k++)
		fprintf(out, "coffer_refusals_summed_total{kind=\"%s\"} %lu\n", refusal_name((enum refusal)k), limits_unlogged(b->limits, (enum refusal)k));
	metrics_one(out, "coffer_disk_free_bytes", "gauge", "Room where the audit log lies.", (double)limits_disk(b->limits, &low));
	metrics_one(out, "coffer_disk_reserve_used", "gauge", "1: there is less room than is kept for grants.", low);
	metrics_one(out, "coffer_database_up", "gauge", "1: the database answers.", database_answers(b));
	metrics_one(out, "coffer_database_sound", "gauge", "0: rows were changed outside the broker, which gives nothing out any more.", guard_sound(b->guard));
	pthread_mutex_lock(&lock);
	look_at_collateral(b);
	write_collateral(out);
	pthread_mutex_unlock(&lock);
	if (b->server)
		write_connections(out, b->server);
	getrusage(RUSAGE_SELF, &u);
	metrics_one(out, "process_cpu_seconds_total", "counter", "Processor time.",
		    (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6);
	metrics_one(out, "process_resident_memory_bytes", "gauge", "Memory in use.", resident_bytes());
	metrics_one(out, "process_start_time_seconds", "gauge", "When it started.", (double)b->started);
}

void ops_metrics(struct broker *b, const char *rest, const struct http_request *q, struct http_response *r)
{
	(void)rest;
	(void)q;
	FILE *out = open_memstream(&r->body, &r->body_len);
	if (!out) {
		broker_problem(r, 503, "Internal", "out of memory", NULL);
		return;
	}
	write_all(out, b);
	fclose(out);
	r->status = 200;
	r->content_type = "text/plain; version=0.0.4; charset=utf-8";
}

// The thread that waits for signals does it, when the requests in hand have ended, this one too: how it went is in the log and the metrics.
void ops_reload(struct broker *b, const char *rest, const struct http_request *q, struct http_response *r)
{
	(void)rest;
	(void)q;
	struct fault f = {""};
	int err = audit_log(b, r, json_pack("{s:s, s:s}", "event", "reload", "outcome", "asked"), &f);
	if (err) {
		broker_fault(r, err, &f);
		return;
	}
	kill(getpid(), SIGHUP);
	broker_reply(r, 202, json_pack("{s:s, s:s}", "status", "asked", "see", "the broker's log, coffer_reloads_total and coffer_failed_reloads_total"));
}

static void handle(void *ctx, const struct http_request *q, struct http_response *r)
{
	struct broker *b = ctx;
	const char *path = q->head->path;
	if (strcmp(q->head->method, "GET")) {
		broker_problem(r, 405, "MethodNotAllowed", "this is not done with that method", NULL);
		return;
	}
	if (!strcmp(path, "/healthz")) {	// needs nothing, not even the lock
		ops_live(b, "", q, r);
		return;
	}
	pthread_rwlock_rdlock(&b->verifier_lock);
	if (!strcmp(path, "/readyz"))
		ops_ready(b, "", q, r);
	else if (!strcmp(path, "/metrics"))
		ops_metrics(b, "", q, r);
	else
		broker_problem(r, 404, "NotFound", "here are /healthz, /readyz and /metrics", NULL);
	pthread_rwlock_unlock(&b->verifier_lock);
}

int ops_listen(struct http_server **out, struct broker *b, const char *listen, struct fault *f)
{
	char address[64];
	unsigned int port;
	if (broker_split_listen(listen, address, &port) || (strncmp(address, "127.", 4) && strcmp(address, "::1")))
		return fault_set(f, -EINVAL, "metrics_listen: '%s' is no loopback ADDRESS:PORT; elsewhere /metrics is read at the broker's own address, "
				 "by those who may", listen);
	const struct http_server_options o = {.address = address, .port = port, .handle = handle, .ctx = b, .workers = 4, .max_connections = 64,
					      .max_per_peer = 64, .max_body_bytes = 1024};
	return http_server_start(out, &o, f);
}

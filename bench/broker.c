// SPDX-License-Identifier: Apache-2.0
// Load on a real broker: bench/broker [SECONDS [ROW...]]. The broker is a process on one CPU, the clients are threads on the others, so that both the
// rate and the broker's own processor time for a round are those of one core. One line a row: name, count, seconds, broker's processor time in
// seconds, p50 and p99 in milliseconds. Then its start and its memory.
//
// Each client has its evidence made anew for each nonce, as an enclave has. The hardware that signs is this program: it keeps its key and signs
// by Nettle, so that one CPU of clients keeps the broker's busy. What a core of the broker can do is the count over its processor time.
#include <gmp.h>
#include <nettle/dsa.h>
#include <nettle/ecc-curve.h>
#include <nettle/ecdsa.h>
#include <openssl/core_names.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/sha.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "attest/binding.h"
#include "lib/encode.h"
#include "lib/jwe.h"
#include "lib/tls.h"
#include "tests/broker/harness.h"

#define CLIENTS 16
#define RESOURCE "default/secret/one"
#define MAX_TIMES (1u << 20)
#define REPORT_DATA 0x50
#define SIGNATURE 0x2a0	// over what is before it: two numbers of 72 bytes, the lowest first

static struct run b;
static atomic_bool enough;
static atomic_uint counted;
static float times_ms[MAX_TIMES];

static double now_s(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void on_cpus(bool first)
{
	cpu_set_t all, set;
	CPU_ZERO(&set);
	sched_getaffinity(0, sizeof all, &all);
	int n = 0;
	for (int i = 0; i < CPU_SETSIZE; i++) {
		if (CPU_ISSET(i, &all) && (first ? n++ == 0 : n++ > 0))
			CPU_SET(i, &set);
	}
	if (CPU_COUNT(&set))
		sched_setaffinity(0, sizeof set, &set);
}

// The broker's processor time so far.
static double cpu_s(void)
{
	char path[64];
	unsigned long user = 0, sys = 0;
	snprintf(path, sizeof path, "/proc/%d/stat", (int)b.pid);
	FILE *f = fopen(path, "re");
	if (f && fscanf(f, "%*d (%*[^)]) %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &sys) != 2)
		user = sys = 0;
	if (f)
		fclose(f);
	return (double)(user + sys) / (double)sysconf(_SC_CLK_TCK);
}

// A size of its memory from /proc/PID/status, in MiB.
static double memory_mib(const char *what)
{
	char path[64], line[200];
	unsigned long kib = 0;
	snprintf(path, sizeof path, "/proc/%d/status", (int)b.pid);
	FILE *f = fopen(path, "re");
	while (f && fgets(line, sizeof line, f)) {
		if (!strncmp(line, what, strlen(what)))
			kib = strtoul(line + strlen(what) + 1, NULL, 10);
	}
	if (f)
		fclose(f);
	return (double)kib / 1024;
}

// The simulated machine: a report of it to go by, and its key.
static struct evidence example;
static struct ecc_scalar chip_key;

// simtee.h makes both anew from the machine's files each time, which takes the client longer than the broker its whole round.
static bool chip_open(void)
{
	static const uint8_t nothing[64];
	char path[160];
	uint8_t number[48];
	BIGNUM *n = NULL;
	mpz_t key;
	snprintf(path, sizeof path, "%s/vcek.key", machine.dir);
	if (machine_evidence(&machine, nothing, &example, NULL))
		return false;
	FILE *f = fopen(path, "re");
	EVP_PKEY *k = f ? PEM_read_PrivateKey(f, NULL, NULL, NULL) : NULL;
	bool good = k && EVP_PKEY_get_bn_param(k, OSSL_PKEY_PARAM_PRIV_KEY, &n) == 1 && BN_bn2binpad(n, number, sizeof number) == sizeof number;
	if (f)
		fclose(f);
	mpz_init(key);
	mpz_import(key, sizeof number, 1, 1, 1, 0, number);
	ecc_scalar_init(&chip_key, nettle_get_secp_384r1());
	good = good && ecc_scalar_set(&chip_key, key) == 1;
	mpz_clear(key);
	BN_free(n);
	EVP_PKEY_free(k);
	return good;
}

static void chip_random(void *ctx, size_t len, uint8_t *out)
{
	(void)ctx;
	if (RAND_bytes(out, (int)len) != 1)
		abort();
}

static void chip_report(const uint8_t data[64], struct evidence *out)
{
	uint8_t digest[SHA384_DIGEST_LENGTH];
	struct dsa_signature s;
	*out = example;
	for (unsigned int i = 0; i < out->chain.count; i++)	// guest_body frees the chain
		X509_up_ref(out->chain.certs[i]);
	memcpy(out->report + REPORT_DATA, data, 64);
	SHA384(out->report, SIGNATURE, digest);
	dsa_signature_init(&s);
	ecdsa_sign(&chip_key, NULL, chip_random, sizeof digest, digest, &s);
	memset(out->report + SIGNATURE, 0, sizeof out->report - SIGNATURE);
	mpz_export(out->report + SIGNATURE, NULL, -1, 1, -1, 0, s.r);
	mpz_export(out->report + SIGNATURE + 72, NULL, -1, 1, -1, 0, s.s);
	dsa_signature_clear(&s);
}

struct client {
	pthread_t thread;
	struct http_client *http;
	EVP_PKEY *key;
	json_t *jwk;
	char cookie[128], nonce[64];
	bool (*work)(struct client *c);
	unsigned int failed;
};

static void hang_up(struct client *c)
{
	http_client_close(c->http);
	c->http = NULL;
}

static bool ask(struct client *c, const char *method, const char *path, const char *body, struct http_reply *r)
{
	struct fault f = {""};
	struct http_client_options o = {.url = b.url, .ca_pem = b.ca, .resolve = http_resolve_static, .timeout_ms = 30000};
	if (!c->http && http_client_open(&c->http, &o, &f))
		return false;
	return !http_client_request(c->http, method, path, c->cookie, body, body ? strlen(body) : 0, r, &f);
}

static bool expect_200(struct client *c, const char *method, const char *path, const char *body)
{
	struct http_reply r;
	if (!ask(c, method, path, body, &r))
		return false;
	bool good = r.status == 200;
	http_reply_free(&r);
	return good;
}

static bool begin(struct client *c)
{
	struct http_reply r;
	c->cookie[0] = '\0';
	if (!ask(c, "POST", "/kbs/v0/auth", "{\"version\":\"0.4.0\",\"tee\":\"snp\",\"extra-params\":\"\"}", &r))
		return false;
	json_t *o = json_loads(r.body, 0, NULL);
	const char *n = json_string_value(json_object_get(o, "nonce"));
	bool good = r.status == 200 && n && strlen(n) < sizeof c->nonce;
	r.cookie[strcspn(r.cookie, ";")] = '\0';
	if (good) {
		strcpy(c->nonce, n);
		snprintf(c->cookie, sizeof c->cookie, "Cookie: %.100s\r\n", r.cookie);
	}
	json_decref(o);
	http_reply_free(&r);
	return good;
}

static bool attest(struct client *c)
{
	struct evidence e;
	uint8_t data[64];
	if (!begin(c) || attest_report_data(c->nonce, c->jwk, "", data))
		return false;
	chip_report(data, &e);
	char *body = guest_body(c->key, c->nonce, &e);
	bool good = expect_200(c, "POST", "/kbs/v0/attest", body);
	free(body);
	return good;
}

static bool get_secret(struct client *c)
{
	return expect_200(c, "GET", "/kbs/v0/resource/" RESOURCE, NULL);
}

static bool whole_round(struct client *c)	// what an enclave does when it starts
{
	bool good = attest(c) && get_secret(c);
	hang_up(c);
	return good;
}

static bool kept_round(struct client *c)	// the same on a connection that is there
{
	return attest(c) && get_secret(c);
}

static bool connect_only(struct client *c)	// a handshake and the smallest request
{
	bool good = expect_200(c, "GET", "/healthz", NULL);
	hang_up(c);
	return good;
}

static bool health(struct client *c)
{
	return expect_200(c, "GET", "/healthz", NULL);
}

static void *client_thread(void *arg)
{
	struct client *c = arg;
	while (!enough) {
		double from = now_s();
		bool good = c->work(c);
		unsigned int i = counted++;
		if (i < MAX_TIMES)
			times_ms[i] = (float)((now_s() - from) * 1000);
		c->failed += !good;
	}
	hang_up(c);
	return NULL;
}

static int by_size(const void *a, const void *c)
{
	float x = *(const float *)a, y = *(const float *)c;
	return x < y ? -1 : x > y;
}

static char **only;	// rows, up to NULL; NULL: all

static bool row(const char *name, bool (*work)(struct client *), bool (*before)(struct client *), double seconds)
{
	bool wanted = !only;
	for (char **o = only; o && *o; o++)
		wanted |= !strcmp(*o, name);
	if (!wanted)
		return true;
	static struct client clients[CLIENTS];
	unsigned int failed = 0;
	enough = false;
	counted = 0;
	for (int i = 0; i < CLIENTS; i++) {
		clients[i] = (struct client){.key = jwk_new_key("P-256"), .work = work};
		clients[i].jwk = jwk_from_key(clients[i].key);
		failed += before && !before(&clients[i]);
	}
	double from = now_s(), cpu = cpu_s();
	for (int i = 0; i < CLIENTS; i++)
		pthread_create(&clients[i].thread, NULL, client_thread, &clients[i]);
	usleep((useconds_t)(seconds * 1e6));
	unsigned int n = counted;
	double took = now_s() - from;
	cpu = cpu_s() - cpu;
	enough = true;
	for (int i = 0; i < CLIENTS; i++) {
		pthread_join(clients[i].thread, NULL);
		failed += clients[i].failed;
		json_decref(clients[i].jwk);
		EVP_PKEY_free(clients[i].key);
	}
	if (failed || !n) {
		fprintf(stderr, "%s: %u of %u failed\n", name, failed, n);
		return false;
	}
	qsort(times_ms, n < MAX_TIMES ? n : MAX_TIMES, sizeof *times_ms, by_size);
	printf("%s %u %.3f %.3f %.2f %.2f\n", name, n, took, cpu, (double)times_ms[n / 2], (double)times_ms[(unsigned long)n * 99 / 100]);
	fflush(stdout);
	return true;
}

// Open and quiet.
static bool many_connections(unsigned int count)
{
	struct client *c = calloc(count, sizeof *c);
	bool good = c != NULL;
	for (unsigned int i = 0; i < count && good; i++)
		good = health(&c[i]);
	if (good)
		printf("memory_with_%u_connections_mib %.1f\n", count, memory_mib("VmRSS:"));
	for (unsigned int i = 0; i < count && c; i++)
		hang_up(&c[i]);
	free(c);
	return good;
}

static bool start(const char *settings, double *ms)
{
	double from = now_s();
	on_cpus(true);
	bool up = run_start(&b, "--insecure-accept-simulated", machine.root_pem, "--config", settings);
	*ms = (now_s() - from) * 1000;
	return up;
}

int main(int argc, char **argv)
{
	static const char text[] = "connections_per_peer: 1024\nsessions_per_peer: 1000000\n";
	double seconds = argc > 1 ? atof(argv[1]) : 5, ms, least = 1e9;
	char settings[160];
	cpu_set_t all;
	bool good = true;
	only = argc > 2 ? argv + 2 : NULL;
	sched_getaffinity(0, sizeof all, &all);
	if (CPU_COUNT(&all) < 2)
		fprintf(stderr, "broker: clients and broker share one CPU: only processor times count\n");
	setrlimit(RLIMIT_NOFILE, &(struct rlimit){4096, 4096});
	world_begin("bench-broker");
	snprintf(settings, sizeof settings, "%s/settings.yaml", world);
	FILE *f = fopen(settings, "we");
	if (!f || fputs(text, f) < 0 || fclose(f) || !run_prepare(&b, "state") || !chip_open())
		return 1;
	for (int i = 0; i < 7; i++) {
		if (!start(settings, &ms))
			return 1;
		least = ms < least ? ms : least;
		int status = i < 6 ? run_stop(&b) : 0;
		if (status)
			fprintf(stderr, "broker: it ended with status %#x\n", (unsigned int)status);
		sched_setaffinity(0, sizeof all, &all);
	}
	printf("start_ms %.1f\n", least);
	printf("memory_at_start_mib %.1f\n", memory_mib("VmRSS:"));
	on_cpus(false);
	put_secret(&b, RESOURCE, "thirty-two bytes of a secret key");
	set_policy(&b, RESOURCE, true, machine.measurement_hex);
	good &= row("round", whole_round, NULL, seconds);
	printf("memory_after_rounds_mib %.1f\n", memory_mib("VmRSS:"));
	good &= row("round_kept_connection", kept_round, NULL, seconds);
	good &= row("attest", attest, NULL, seconds);
	good &= row("resource", get_secret, attest, seconds);
	good &= row("handshake", connect_only, NULL, seconds);
	good &= row("request", health, NULL, seconds);
	printf("memory_highest_mib %.1f\n", memory_mib("VmHWM:"));
	good &= many_connections(1000);
	good &= !run_stop(&b);
	run_free(&b);
	return world_end() || !good;
}

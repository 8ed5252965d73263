// SPDX-License-Identifier: Apache-2.0
// Attested TLS beside TLS alone: mutual handshakes over P-256, and bytes, both ends in this thread over a socket pair. Rounds take turns and the median of each
// counts; time is the thread's own. Last, what a connection costs in memory that rests after a first message, half of both its ends'.
//
//	ratls [-q]	name, unit, value, ratio to the plain one, one line each
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#include "lib/file.h"
#include "tests/attest/make/pki.h"
#include "tests/ratls/world.h"

#define ROUNDS_MAX 15
#define BULK (32u << 20)
#define PIECE 65536

static double now_s(void)
{
	struct timespec t;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void die(const char *what)
{
	fprintf(stderr, "ratls: %s\n", what);
	exit(1);
}

// ---- TLS alone ----

struct plain {
	SSL_CTX *client, *server;
};

static SSL_CTX *plain_context(bool server, const struct pki *own, X509 *trusted)
{
	SSL_CTX *t = SSL_CTX_new(server ? TLS_server_method() : TLS_client_method());
	SSL_CTX_set_min_proto_version(t, TLS1_3_VERSION);
	SSL_CTX_use_certificate(t, own->cert);
	SSL_CTX_use_PrivateKey(t, own->key);
	X509_STORE_add_cert(SSL_CTX_get_cert_store(t), trusted);
	SSL_CTX_set_verify(t, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
	SSL_CTX_set_session_cache_mode(t, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_num_tickets(t, 0);
	SSL_CTX_set_mode(t, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	return t;
}

static struct plain plain_make(void)
{
	const time_t now = time(NULL);
	struct pki ca = pki_make(&(struct pki_spec){.name = "authority", .ca = true, .kind = "P-256", .from = now - 60, .to = now + 86400});
	struct pki a = pki_make(&(struct pki_spec){.name = "server", .issuer = &ca, .kind = "P-256", .from = now - 60, .to = now + 86400});
	struct pki b = pki_make(&(struct pki_spec){.name = "client", .issuer = &ca, .kind = "P-256", .from = now - 60, .to = now + 86400});
	return (struct plain){plain_context(false, &b, ca.cert), plain_context(true, &a, ca.cert)};
}

struct plain_pair {
	SSL *client, *server;
	int fds[2];
};

static void plain_open(struct plain_pair *p, const struct plain *with)
{
	int a = -1, b = -1;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, p->fds))
		die("no socket pair");
	p->client = SSL_new(with->client);
	p->server = SSL_new(with->server);
	SSL_set_fd(p->client, p->fds[0]);
	SSL_set_fd(p->server, p->fds[1]);
	while (a != 1 || b != 1) {
		if (a != 1 && (a = SSL_connect(p->client)) != 1 && SSL_get_error(p->client, a) != SSL_ERROR_WANT_READ)
			die("plain TLS fails");
		if (b != 1 && (b = SSL_accept(p->server)) != 1 && SSL_get_error(p->server, b) != SSL_ERROR_WANT_READ)
			die("plain TLS fails");
	}
}

static void plain_close(struct plain_pair *p)
{
	SSL_free(p->client);
	SSL_free(p->server);
	close(p->fds[0]);
	close(p->fds[1]);
}

static double plain_handshakes(const struct plain *with, unsigned int count)
{
	double from = now_s();
	for (unsigned int i = 0; i < count; i++) {
		struct plain_pair p;
		plain_open(&p, with);
		plain_close(&p);
	}
	return count / (now_s() - from);
}

static double plain_bulk(const struct plain *with)
{
	static char data[PIECE];
	struct plain_pair p;
	size_t sent = 0, got = 0;
	plain_open(&p, with);
	double from = now_s();
	while (got < BULK) {
		int n;
		for (size_t end = sent + PIECE; sent < end && sent < BULK; sent += (size_t)n) {	// record by record: all of them before any is read
			if ((n = SSL_write(p.client, data, (int)(end - sent))) <= 0)
				die("plain TLS blocks");
		}
		for (size_t end = sent; got < end; got += (size_t)n) {
			if ((n = SSL_read(p.server, data, PIECE)) <= 0)
				die("plain TLS breaks");
		}
	}
	double rate = BULK / (now_s() - from) / 1e6;
	plain_close(&p);
	return rate;
}

// ---- attested ----

static void attested_open(struct pair *p, struct ratls_context *ctx)
{
	pair_open(p, ctx, ctx);
	pair_meet(p, NULL, NULL);
	if (p->client_error || p->server_error)
		die(ratls_reason(p->client_error ? p->client : p->server));
}

static double attested_handshakes(struct ratls_context *ctx, unsigned int count)
{
	double from = now_s();
	for (unsigned int i = 0; i < count; i++) {
		struct pair p;
		attested_open(&p, ctx);
		pair_close(&p);
	}
	return count / (now_s() - from);
}

static double attested_bulk(struct ratls_context *ctx)
{
	static char data[PIECE];
	struct pair p;
	size_t sent = 0, got = 0;
	attested_open(&p, ctx);
	double from = now_s();
	while (got < BULK) {
		ssize_t n;
		if (ratls_write(p.client, data, PIECE, 0) != PIECE)
			die("attested TLS blocks");
		for (sent += PIECE; got < sent; got += (size_t)n) {
			if ((n = ratls_read(p.server, data, PIECE, 0)) <= 0)
				die("attested TLS breaks");
		}
	}
	double rate = BULK / (now_s() - from) / 1e6;
	pair_close(&p);
	return rate;
}

#define RESTING_MAX 4000

static double resident_kib(void)
{
	long all = 0, resident = 0;
	FILE *f = fopen("/proc/self/statm", "r");
	if (!f || fscanf(f, "%ld %ld", &all, &resident) != 2)
		die("no /proc/self/statm");
	fclose(f);
	return (double)resident * (double)sysconf(_SC_PAGESIZE) / 1024;
}

// How many pairs there may be.
static unsigned int room(void)
{
	struct rlimit l;
	if (getrlimit(RLIMIT_NOFILE, &l))
		die("no limits");
	l.rlim_cur = l.rlim_max;
	setrlimit(RLIMIT_NOFILE, &l);
	return l.rlim_cur < 2 * RESTING_MAX + 64 ? (unsigned int)(l.rlim_cur - 64) / 2 : RESTING_MAX;
}

static void memory_attested(const char *name, struct ratls_context *ctx, unsigned int count)
{
	static struct pair p[RESTING_MAX];
	double before = 0;
	for (unsigned int i = 0; i < count; i++) {
		attested_open(&p[i], ctx);
		if (!says(p[i].client, p[i].server, "hello") || !says(p[i].server, p[i].client, "hello"))
			die("attested TLS breaks");
		if (i == 9)	// what is kept for all is there
			before = resident_kib();
	}
	printf("%s KiB %.1f 1.00\n", name, (resident_kib() - before) / (2.0 * (count - 10)));
	for (unsigned int i = 0; i < count; i++)
		pair_close(&p[i]);
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static double median(double *v, unsigned int n)
{
	qsort(v, n, sizeof *v, by_value);
	return v[n / 2];
}

int main(int argc, char **argv)
{
	enum { PLAIN, CACHED, UNCACHED, PROVED, BULK_PLAIN, BULK_ALONE, BULK_FRAMED, KINDS };
	static const struct {
		const char *name, *unit;
		int base;
	} kinds[KINDS] = {
		{"handshake_mutual_tls13", "1/s", PLAIN}, {"handshake_attested_cached", "1/s", PLAIN}, {"handshake_attested_uncached", "1/s", PLAIN},
		{"handshake_attested_proofs", "1/s", PLAIN}, {"bulk_tls13", "MB/s", BULK_PLAIN}, {"bulk_attested_certificates", "MB/s", BULK_PLAIN},
		{"bulk_attested_session", "MB/s", BULK_PLAIN},
	};
	static double values[KINDS][ROUNDS_MAX], ratios[KINDS][ROUNDS_MAX];
	bool quick = argc > 1 && !strcmp(argv[1], "-q");
	unsigned int rounds = quick ? 3 : ROUNDS_MAX, count = quick ? 50 : 200;
	if (!world_begin())
		die("no folder");
	struct plain plain = plain_make();
	struct ratls_options o = options_of(&good, &good);
	struct ratls_context *proved = context_of(&o);
	o.session = RATLS_SESSION_OFF;
	struct ratls_context *cached = context_of(&o);
	o.no_cache = true;
	struct ratls_context *uncached = context_of(&o);
	for (unsigned int r = 0; r < rounds; r++) {
		values[PLAIN][r] = plain_handshakes(&plain, count);
		values[CACHED][r] = attested_handshakes(cached, count);
		values[UNCACHED][r] = attested_handshakes(uncached, count / 5);
		values[PROVED][r] = attested_handshakes(proved, count / 5);
		values[BULK_PLAIN][r] = plain_bulk(&plain);
		values[BULK_ALONE][r] = attested_bulk(cached);
		values[BULK_FRAMED][r] = attested_bulk(proved);
		for (unsigned int k = 0; k < KINDS; k++)
			ratios[k][r] = values[k][r] / values[kinds[k].base][r];
	}
	for (unsigned int k = 0; k < KINDS; k++)
		printf("%s %s %.0f %.2f\n", kinds[k].name, kinds[k].unit, median(values[k], rounds), median(ratios[k], rounds));
	memory_attested("memory_resting_session", proved, quick ? 200 : room());
	ratls_context_free(proved);
	ratls_context_free(cached);
	ratls_context_free(uncached);
	return world_end();
}

// SPDX-License-Identifier: Apache-2.0
// The audit log at size (`make audit-bench`): appends COUNT records from many threads, then times proofs and a start. Each answer is
// checked. Times are of this machine as busy as it is.
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "broker/audit.h"

#define THREADS 256
#define PROOFS 2000

static struct audit *log_;
static uint64_t per_thread;

static double now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static void *fill(void *arg)
{
	struct fault f = {""};

	for (uint64_t i = 0; i < per_thread; i++) {
		json_t *o = json_pack("{s:s, s:s, s:s}", "event", "resource", "outcome", "accepted", "resource", "default/volume/0123456789abcdef");
		if (audit_append(log_, o, NULL, &f)) {
			fprintf(stderr, "%s\n", f.text);
			exit(1);
		}
	}
	return arg;
}

static int compare(const void *a, const void *b)
{
	double d = *(const double *)a - *(const double *)b;

	return d < 0 ? -1 : d > 0;
}

static void proofs(uint64_t size, int consistency)
{
	static double ms[PROOFS];
	struct merkle_proof p;
	struct fault f = {""};

	for (int i = 0; i < PROOFS; i++) {
		uint64_t at = ((uint64_t)random() << 31 | (uint64_t)random()) % size;
		double t = now_ms();
		if (consistency ? audit_prove_consistency(log_, at + 1, size, &p, &f) : audit_prove_inclusion(log_, at, size, &p, &f)) {
			fprintf(stderr, "%s\n", f.text);
			exit(1);
		}
		ms[i] = now_ms() - t;
	}
	qsort(ms, PROOFS, sizeof *ms, compare);
	printf("%s proofs: median %.3f ms, 99 %% %.3f ms, slowest %.3f ms\n", consistency ? "consistency" : "inclusion", ms[PROOFS / 2],
	       ms[PROOFS * 99 / 100], ms[PROOFS - 1]);
}

int main(int argc, char **argv)
{
	const char *dir = argc > 1 ? argv[1] : "audit-bench";
	uint64_t count = argc > 2 ? strtoull(argv[2], NULL, 10) : 10000000, dropped;
	static const uint8_t secret[32] = "of this benchmark, for its logs";
	EVP_PKEY *key = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, secret, sizeof secret);	// so that a log that is there can be gone on with
	pthread_t threads[THREADS];
	pthread_attr_t attr;
	struct rusage use;
	struct fault f = {""};
	struct note n;

	per_thread = count / THREADS;
	if (audit_open(&log_, dir, "bench", key, &dropped, &f)) {
		fprintf(stderr, "%s\n", f.text);
		return 1;
	}
	double t = now_ms();
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 128 << 10);
	for (int i = 0; i < THREADS; i++)
		pthread_create(&threads[i], &attr, fill, NULL);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	t = now_ms() - t;
	audit_head(log_, &n);
	printf("%llu records in %.0f s: %.0f a second\n", (unsigned long long)n.head.size, t / 1e3, (double)(per_thread * THREADS) / t * 1e3);
	proofs(n.head.size, 0);
	proofs(n.head.size, 1);
	audit_close(log_);
	t = now_ms();
	if (audit_open(&log_, dir, "bench", key, &dropped, &f)) {
		fprintf(stderr, "%s\n", f.text);
		return 1;
	}
	getrusage(RUSAGE_SELF, &use);
	printf("opened again in %.2f ms; most memory so far %ld KiB\n", now_ms() - t, use.ru_maxrss);
	audit_close(log_);
	EVP_PKEY_free(key);
	return 0;
}

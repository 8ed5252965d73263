// SPDX-License-Identifier: Apache-2.0
// See metrics.h. Numbers are atomic; `lock` guards the making of a new series.
#include "broker/metrics.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "broker/routes.h"

#define MAX_ROUTES 128
#define MAX_SERIES 128
#define OTHERS 2	// the last of them are kept for "other": one for each word that label_b has

static const int statuses[] = {200, 201, 204, 400, 401, 403, 404, 405, 409, 410, 413, 429, 500, 502, 503};
enum { STATUSES = sizeof statuses / sizeof *statuses + 1 };	// the last: others
static const double bounds[] = {.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10};
enum { BOUNDS = sizeof bounds / sizeof *bounds };

static struct route_counts {	// the last row: no route
	atomic_ulong by_status[STATUSES], by_time[BOUNDS + 1], microseconds;
} by_route[MAX_ROUTES + 1];

static const struct { const char *name, *help; } simple[METRICS] = {
	[METRIC_SECRETS] = {"coffer_secrets_released_total", "Secrets given to attested callers."},
	[METRIC_LIMITED] = {"coffer_rate_limited_total", "Requests answered with 429."},
	[METRIC_FAULTS] = {"coffer_internal_errors_total", "Requests that failed for the database, the audit log or another fault of the broker's own."},
	[METRIC_RELOADS] = {"coffer_reloads_total", "Times that policy, references and roots were read anew."},
	[METRIC_BAD_RELOADS] = {"coffer_failed_reloads_total", "Times that they could not be, and those before stayed."},
};
static atomic_ulong counters[METRICS];
static atomic_long in_hand;

struct series {
	char a[32], b[16];
	atomic_ulong n;
};

struct family {
	const char *name, *help, *label_a, *label_b;	// label_b NULL: one label
	atomic_uint count;
	struct series series[MAX_SERIES];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct family attestations = {.name = "coffer_attestations_total", .help = "Attestations by what the hardware claims to be and by outcome.",
				     .label_a = "tee", .label_b = "outcome"};
static struct family refusals = {.name = "coffer_refusals_total", .help = "Checks that refused an attestation or a release.", .label_a = "check"};

void metric_add(enum metric m)
{
	counters[m]++;
}

void metric_begun(void)
{
	in_hand++;
}

void metric_request(int route, int status, int64_t microseconds)
{
	struct route_counts *c = &by_route[route >= 0 && route < MAX_ROUTES ? route : MAX_ROUTES];
	int s = 0, t = 0;
	while (s < STATUSES - 1 && statuses[s] != status)
		s++;
	while (t < BOUNDS && (double)microseconds > bounds[t] * 1e6)
		t++;
	c->by_status[s]++;
	c->by_time[t]++;
	c->microseconds += (unsigned long)microseconds;
	in_hand--;
	if (status == 429)
		metric_add(METRIC_LIMITED);
	if (status >= 500)
		metric_add(METRIC_FAULTS);
}

static struct series *find(struct family *f, const char *a, const char *b)
{
	for (unsigned int i = 0; i < f->count; i++) {
		if (!strcmp(f->series[i].a, a) && !strcmp(f->series[i].b, b))
			return &f->series[i];
	}
	return NULL;
}

// Labels are words of ours; what is not, or would be one too many, is "other".
static void add(struct family *f, const char *a, const char *b)
{
	static const char word[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";
	if (!*a || strspn(a, word) != strlen(a) || strlen(a) >= sizeof f->series[0].a)
		a = "other";
	struct series *s = find(f, a, b);
	if (!s) {
		pthread_mutex_lock(&lock);
		s = find(f, a, b);
		if (!s && f->count >= MAX_SERIES - OTHERS)
			s = find(f, a = "other", b);
		if (!s && f->count < MAX_SERIES) {
			s = &f->series[f->count];
			snprintf(s->a, sizeof s->a, "%s", a);
			snprintf(s->b, sizeof s->b, "%s", b);
			f->count++;
		}
		pthread_mutex_unlock(&lock);
	}
	if (s)
		s->n++;
}

void metric_attestation(const char *tee, const char *outcome)
{
	add(&attestations, tee, outcome);
}

void metric_refusal(const char *check)
{
	add(&refusals, check, "");
}

static void head(FILE *out, const char *name, const char *type, const char *help)
{
	fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

void metrics_one(FILE *out, const char *name, const char *type, const char *help, double value)
{
	head(out, name, type, help);
	fprintf(out, "%s %.15g\n", name, value);
}

static void write_family(FILE *out, const struct family *f)
{
	head(out, f->name, "counter", f->help);
	for (unsigned int i = 0; i < f->count; i++) {
		const struct series *s = &f->series[i];
		if (f->label_b)
			fprintf(out, "%s{%s=\"%s\",%s=\"%s\"} %lu\n", f->name, f->label_a, s->a, f->label_b, s->b, (unsigned long)s->n);
		else
			fprintf(out, "%s{%s=\"%s\"} %lu\n", f->name, f->label_a, s->a, (unsigned long)s->n);
	}
}

// method="GET",route="/healthz"
static void labels(FILE *out, int route, int count)
{
	fprintf(out, "method=\"%s\",route=\"%s\"", route < count ? routes[route].method : "", route < count ? routes[route].path : "none");
}

static void write_times(FILE *out, int route, int count)
{
	const struct route_counts *c = &by_route[route < count ? route : MAX_ROUTES];
	unsigned long sum = 0;
	for (int t = 0; t <= BOUNDS; t++) {
		sum += c->by_time[t];
		fprintf(out, "coffer_request_duration_seconds_bucket{");
		labels(out, route, count);
		if (t < BOUNDS)
			fprintf(out, ",le=\"%g\"} %lu\n", bounds[t], sum);
		else
			fprintf(out, ",le=\"+Inf\"} %lu\n", sum);
	}
	fprintf(out, "coffer_request_duration_seconds_sum{");
	labels(out, route, count);
	fprintf(out, "} %.6f\ncoffer_request_duration_seconds_count{", (double)c->microseconds / 1e6);
	labels(out, route, count);
	fprintf(out, "} %lu\n", sum);
}

void metrics_write(FILE *out)
{
	int count = 0;
	while (routes[count].path && count < MAX_ROUTES)
		count++;
	for (int m = 0; m < METRICS; m++)
		metrics_one(out, simple[m].name, "counter", simple[m].help, (double)counters[m]);
	metrics_one(out, "coffer_requests_in_hand", "gauge", "Requests that are being answered.", (double)in_hand);
	write_family(out, &attestations);
	write_family(out, &refusals);
	head(out, "coffer_requests_total", "counter", "Requests by route and status.");
	for (int r = 0; r <= count; r++) {
		for (int s = 0; s < STATUSES; s++) {
			unsigned long n = by_route[r < count ? r : MAX_ROUTES].by_status[s];
			if (!n)
				continue;
			fprintf(out, "coffer_requests_total{");
			labels(out, r, count);
			if (s < STATUSES - 1)
				fprintf(out, ",status=\"%d\"} %lu\n", statuses[s], n);
			else
				fprintf(out, ",status=\"other\"} %lu\n", n);
		}
	}
	head(out, "coffer_request_duration_seconds", "histogram", "Time in which the broker answered, without the network's.");
	for (int r = 0; r <= count; r++)
		write_times(out, r, count);
}

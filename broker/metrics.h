// SPDX-License-Identifier: Apache-2.0
// Inside broker/: what is counted, for Prometheus. Counters of the process: they only grow. Any thread; one lock inside, for labels that are new.
#ifndef COFFER_BROKER_METRICS_H
#define COFFER_BROKER_METRICS_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum metric { METRIC_SECRETS, METRIC_LIMITED, METRIC_FAULTS, METRIC_RELOADS, METRIC_BAD_RELOADS, METRICS };

void metric_add(enum metric m);
// A request came in; metric_request tells its end.
void metric_begun(void);
// A request is answered. `route` is its row in routes.c, -1: none.
void metric_request(int route, int status, int64_t microseconds);
// An attestation: the hardware that it claims to be, and its outcome.
void metric_attestation(const char *tee, const char *outcome);
// A check that refused something.
void metric_refusal(const char *check);

// All of these as text in Prometheus' exposition format 0.0.4.
void metrics_write(FILE *out);
// For other families: "# HELP", "# TYPE" and one line without labels.
void metrics_one(FILE *out, const char *name, const char *type, const char *help, double value);

#endif

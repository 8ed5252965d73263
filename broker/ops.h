// SPDX-License-Identifier: Apache-2.0
// Inside broker/: health and metrics, on the broker's own address and, without TLS, on a loopback address of their own (`metrics_listen`).
#ifndef COFFER_BROKER_OPS_H
#define COFFER_BROKER_OPS_H

#include "broker/api.h"

BROKER_HANDLER(ops_live);	// GET /healthz
BROKER_HANDLER(ops_ready);	// GET /readyz
BROKER_HANDLER(ops_metrics);	// GET /metrics
BROKER_HANDLER(ops_reload);	// POST /coffer/v0/reload

// -EINVAL unless it is a loopback address.
int ops_listen(struct http_server **out, struct broker *b, const char *listen, struct fault *f);

#endif

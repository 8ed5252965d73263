// SPDX-License-Identifier: Apache-2.0
// What the gateway tells and takes over HTTP at `admin`, a Unix socket or a loopback address: GET /healthz, /metrics (Prometheus), /status,
// /connections;
// POST /reload. And the command's side of it. Threads: the HTTP server's; reload is whoever gave the function's to guard.
#ifndef COFFER_TUNNEL_ADMIN_H
#define COFFER_TUNNEL_ADMIN_H

#include "tunnel/engine.h"

struct admin;

struct admin_options {
	struct engine *engine;
	const struct config_address *at;
	// Reads the configuration again. 0, or an error and its message.
	int (*reload)(void *ctx, struct fault *f);
	void *ctx;
};

int admin_start(struct admin **out, const struct admin_options *o, struct fault *f);
void admin_stop(struct admin *a);	// NULL is fine

// One request to a running gateway. *status: of HTTP; *body: malloc'ed, with a NUL. -ECONNREFUSED, -ENOENT, -EPROTO...
int admin_ask(const struct config_address *at, const char *method, const char *path, int *status, char **body, struct fault *f);

#endif

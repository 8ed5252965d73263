// SPDX-License-Identifier: Apache-2.0
// Inside init/: the network gateway of the enclave (docs/network.md), an ordinary process that init starts before the program. What it carries
// is measured (config.json); where destinations are to be found today is the host's word, which needs no trust: they prove themselves.
#ifndef COFFER_INIT_GATEWAY_H
#define COFFER_INIT_GATEWAY_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/fault.h"
#include "ratls/ratls.h"

#define GATEWAY_FILE "/proc/coffer/gateway"
#define GATEWAY_MAX_ROUTES 160
#define GATEWAY_MAX_PLACES 8
#define GATEWAY_MAX_MEASUREMENTS 256

struct gateway_route {
	bool out;		// from programs to the world; else from the world to the program that listens on `port`
	bool plain;		// as it is: measured permission, no protection
	unsigned int port;
	char *host;		// out: the destination's name or address
	char *address;		// out: where programs reach it
	unsigned int inner_port;
	char *places[GATEWAY_MAX_PLACES];	// out: where the host says that it is, "ADDRESS:PORT"
	unsigned int place_count;
	struct ratls_options tls;	// points into the configuration
	const char *name;		// that a certificate under tls.ca_file must carry
	const char *measurements[GATEWAY_MAX_MEASUREMENTS + 1];
	struct ratls_context *ctx;	// not made or freed by gateway_read and gateway_free
};

struct gateway {
	struct gateway_route routes[GATEWAY_MAX_ROUTES];
	unsigned int count;
	void *config;		// the JSON that the texts belong to
};

// From config.json and the host block. -EINVAL the one is damaged, -EPERM the other asks for what it may not, -ENOMEM. gateway_free in any case. Pure.
int gateway_read(struct gateway *g, const char *config, size_t config_len, const char *host, size_t host_len, struct fault *f);
void gateway_free(struct gateway *g);

// gateway_relay.c: passes bytes both ways until both sides have ended. `tls` NULL: between two plain sockets. Both descriptors are non-blocking and
// stay the caller's. 0: each side got all of the other's; else what it was lost by.
int gateway_relay(struct ratls_connection *tls, int far, int near);

#endif

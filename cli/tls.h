// SPDX-License-Identifier: Apache-2.0
// What `coffer tls`'s parts share.
#ifndef COFFER_CLI_TLS_H
#define COFFER_CLI_TLS_H

#include "cli/cli.h"
#include "ratls/ratls.h"

// Passes bytes between a connection and two descriptors until both sides have ended: 0, or what the connection was lost by; -EIO: `out` was.
// owns_out: a program's input, which is closed when the peer has ended; else all ends then.
int tls_relay(struct ratls_connection *c, int in, int out, bool owns_out);

// Evidence of SIMULATED hardware for a measurement of 48 bytes (ctx): a collector for struct ratls_options.
int tls_simulate(void *ctx, const uint8_t report_data[64], struct ratls_evidence *out);

// A socket connected to HOST:PORT, whose host is written to `host`; one that listens at [ADDRESS:]PORT. A negative errno and why.
int tls_dial(const char *where, char host[256], struct fault *f);
int tls_listen(const char *where, struct fault *f);

// Takes connections for ever, each in a process of its own, so that none waits for another; what `one` returns is its exit code.
void tls_serve(int s, int (*one)(void *ctx, int fd), void *ctx);

// `coffer tls certificate`.
int tls_certificate(int argc, char **argv);

extern const struct command command_tls;

#endif

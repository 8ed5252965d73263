// SPDX-License-Identifier: Apache-2.0
// What `coffer tls`'s parts share.
#ifndef COFFER_CLI_TLS_H
#define COFFER_CLI_TLS_H

#include <sys/types.h>

#include <openssl/evp.h>

#include "attest/bundle.h"
#include "cli/cli.h"
#include "ratls/ratls.h"

// Passes bytes between a connection and two descriptors until both sides have ended: 0, or what the connection was lost by; -EIO: `out` was.
// owns_out: a program's input, which is closed when the peer has ended; else all ends then.
int tls_relay(struct ratls_connection *c, int in, int out, bool owns_out);

// Evidence of SIMULATED hardware for a measurement of 48 bytes (ctx): a collector for struct ratls_options.
int tls_simulate(void *ctx, const uint8_t report_data[64], struct ratls_evidence *out);

#define TLS_MEASUREMENTS 64

// What a side shows, what the other one must be, and how that is told.
struct tls_sides {
	struct ratls_options o;	// points into the rest
	const char *measurements[TLS_MEASUREMENTS + 1];
	uint8_t simulated[48];	// evidence of SIMULATED hardware is of this measurement
	bool json, quiet;
	int timeout_ms;
};

// Options a s e k p m M C T r d n w j q, as getopt_long left them. What is wrong with one (a text that lives as long as *f), or NULL.
const char *tls_option(struct tls_sides *q, int option, struct fault *f);

// A whole number within limits; a word's place in a list, -1: it is not there.
bool tls_number(const char *text, unsigned int least, unsigned int most, unsigned int *out);
int tls_word(const char *text, const char *const words[], unsigned int count);

// Starts a command whose output is read from *from and whose input is *to; the caller closes both and waits for it. `peer` (NULL: none) is its
// COFFER_TLS_PEER. Its process id, or a negative errno.
pid_t tls_command(char *const argv[], const char *peer, int *from, int *to);

// A socket connected to HOST:PORT, whose host is written to `host`; one that listens at [ADDRESS:]PORT. A negative errno and why.
int tls_dial(const char *where, char host[256], struct fault *f);
int tls_listen(const char *where, struct fault *f);

// Takes connections for ever, each in a process of its own, so that none waits for another; what `one` returns is its exit code.
void tls_serve(int s, int (*one)(void *ctx, int fd), void *ctx);

// Evidence over these data, from what this runs on, or SIMULATED for a measurement of 48 bytes (`simulated`, NULL: not). An initialised bundle.
int tls_evidence(void *simulated, const uint8_t report_data[64], struct bundle *out, struct fault *f);
// The private key in the file, or a new P-256 one that is put there. EVP_PKEY_free.
int tls_key_file(const char *path, EVP_PKEY **key, struct fault *f);

// `coffer tls certificate`.
int tls_certificate(int argc, char **argv);

extern const struct command command_tls;

#endif

// SPDX-License-Identifier: Apache-2.0
// What the tests of attested TLS share: simulated hardware in a temporary folder, contexts that use it, and two connections that one thread drives in turn.
#ifndef COFFER_TESTS_RATLS_WORLD_H
#define COFFER_TESTS_RATLS_WORLD_H

#include "ratls/ratls.h"
#include "tests/attest/ok.h"

// One machine: what runs there, and on which simulated hardware.
struct machine {
	char tee[96];		// its folder
	uint8_t measurement[48];
	char hex[97];
	bool debug;
	unsigned int asked;	// how often it gave evidence
	int fails;		// a negative errno instead
};

extern char world[64], root_pem[128];	// of the first machine's hardware
extern struct machine good, other;	// the same hardware, other programs

// False: there is no temporary folder.
bool world_begin(void);
int world_end(void);

// A collector for struct ratls_options; ctx is a machine.
int machine_collect(void *ctx, const uint8_t report_data[64], struct ratls_evidence *out);

// Options that attest as `m` (NULL: nothing), and verify that the peer is `peer` (NULL: nothing).
struct ratls_options options_of(struct machine *m, const struct machine *peer);
// Aborts with the reason when there is none.
struct ratls_context *context_of(const struct ratls_options *o);

extern int pair_patience_ms;

struct pair {
	struct ratls_connection *client, *server;
	int client_error, server_error;	// of the handshakes
};

// Two ends of a socket pair, connected.
void pair_open(struct pair *p, struct ratls_context *client, struct ratls_context *server);
// The same over descriptors that somebody sits between.
void pair_open_over(struct pair *p, struct ratls_context *client, int client_fd, struct ratls_context *server, int server_fd);
// Drives both handshakes until each has ended some way; `between` (may be NULL) is called in each turn. So long at most.
void pair_meet(struct pair *p, void (*between)(void *ctx), void *ctx);
void pair_close(struct pair *p);
// Text goes from a to b and is what comes.
bool says(struct ratls_connection *a, struct ratls_connection *b, const char *text);

#endif

// SPDX-License-Identifier: Apache-2.0
// What the broker's test programs share: a temporary folder, brokers that really run (a process each, on a free loopback port), requests, the
// owner's calls, and sessions with simulated evidence. Single-threaded but for what says otherwise.
//
//	static struct run b;
//	world_begin("name");
//	run_prepare(&b, "state");
//	ok("the broker starts", run_start(&b, "--insecure-accept-simulated", machine.root_pem), "no");
//	...
//	ok("it ends well", !run_stop(&b), "no");
//	return world_end();
#ifndef COFFER_TESTS_BROKER_HARNESS_H
#define COFFER_TESTS_BROKER_HARNESS_H

#include <jansson.h>
#include <openssl/evp.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "attest/snp.h"
#include "broker/broker.h"
#include "broker/client.h"
#include "init/attest.h"
#include "lib/fault.h"
#include "lib/http_client.h"
#include "tests/attest/ok.h"

extern char world[64];	// the temporary folder

// Simulated hardware and what runs on it.
struct machine {
	char dir[96], root_pem[128];
	uint8_t measurement[48];
	char measurement_hex[97];
	bool debug;
};
extern struct machine machine;	// the one of world_begin

void machine_make(struct machine *m, const char *name);

// /tmp/coffer-NAME-..., and `machine`. Ends the program when there is no folder.
void world_begin(const char *name);
// Removes it all; the program's exit status.
int world_end(void);

struct run {
	char dir[96], log[128];	// state folder; what it says on standard error, of all its starts
	char listen[64];	// "127.0.0.1:0" unless changed before a start
	char url[128];
	char *ca;		// its certificate (PEM)
	pid_t pid;
};

// Its state folder (world/NAME) with keys and certificate. Reports a failure.
bool run_prepare(struct run *b, const char *name);
// Where it starts from now on is a place that nobody takes while it is not there.
void run_stays(struct run *b);
// Starts it with further options, up to NULL; false when it does not come up (then waitpid(b->pid) has its status).
bool run_start_with(struct run *b, const char *const *options);
#define run_start(b, ...) run_start_with(b, (const char *const[]){__VA_ARGS__, NULL})
// SIGTERM; its wait status, -1 when it did not end within a minute. Shows its log unless it is 0.
int run_stop(struct run *b);
// Waits until its log has `text` behind the first `from` bytes (run_log_size before what is to be said).
bool run_said(const struct run *b, size_t from, const char *text);
size_t run_log_size(const struct run *b);
void run_free(struct run *b);

// One request on a connection of its own. Any thread. body NULL: none.
int request(const struct run *b, const char *method, const char *path, const char *headers, const char *body, struct http_reply *reply);
// Asserts its status and a text in the answer.
void expect(const char *name, const struct run *b, const char *method, const char *path, const char *headers, const char *body, int status,
	    const char *text);

// ---- the owner ----

// NULL (reported) when it cannot be opened; broker_client_close it.
struct broker_client *owner(const struct run *b);
// "Authorization: Bearer ...\r\n" of the admin token.
const char *admin_header(const struct run *b);
// Stores a secret (text) and allows the measurement to have it, or takes that back. Reports failures.
void put_secret(const struct run *b, const char *resource, const char *text);
void set_policy(const struct run *b, const char *resource, bool allow, const char *measurement_hex);

// ---- clients that attest; any thread ----

struct guest {
	EVP_PKEY *key;		// P-256, made by guest_begin unless it is there
	char cookie[128];	// of its session: a header line
	char nonce[64];
};

// Evidence of a simulated machine over these report data.
int machine_evidence(const struct machine *m, const uint8_t report_data[64], struct evidence *out, struct fault *f);
// POST /auth.
bool guest_begin(const struct run *b, const char *tee, struct guest *g);
// A body for /attest: this key and nonce with the evidence (whose chain is freed). malloc'ed.
char *guest_body(EVP_PKEY *key, const char *nonce, struct evidence *e);
// Begins and attests as that machine: the status of the answer (200), or -errno. *token (malloc'ed) unless NULL.
int guest_attest(const struct run *b, const struct machine *m, struct guest *g, char **token);
// GET of a resource, decrypted into out (its length in *len): the status of the answer, or -errno.
int guest_get(const struct run *b, const struct guest *g, const char *resource, void *out, size_t size, size_t *len);
void guest_free(struct guest *g);

#endif

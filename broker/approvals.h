// SPDX-License-Identifier: Apache-2.0
// Inside broker/: k of n must agree. An approval is a statement that an identity signed with its key: what is approved, in words, and until when.
// Releases that a policy's condition `approval` holds back, and operations that broker.yaml's `approvals` names, wait for them. Each is checked when it
// is used: its signature, its time, and that its signer is still there with that key and may approve. No lock of its own.
#ifndef COFFER_BROKER_APPROVALS_H
#define COFFER_BROKER_APPROVALS_H

#include <jansson.h>
#include <stdbool.h>

#include "broker/guard.h"
#include "lib/fault.h"
#include "lib/http_server.h"
#include "lib/signkey.h"

#define APPROVAL_ID 17		// 16 hex digits and the terminator
#define APPROVAL_STATEMENT 2048
#define APPROVAL_DAYS 30	// at most so long
#define APPROVAL_RELEASE "release"
#define APPROVAL_BY_ENCLAVE "an enclave"	// who asked begins so; no identity's name has a space
#define APPROVAL_BY 96

struct broker;

// What is approved: an action ("release", "allow", "destroy"...), of what, and what exactly.
struct approval {
	const char *action, *subject, *detail;
};

// {"k": N, "of": [names]}: names that are some, k between 1 and their number. -EINVAL.
int approval_check_rule(const json_t *rule, struct fault *f);
// broker.yaml's `approvals`: operations and such rules.
int approvals_check_settings(const json_t *settings, struct fault *f);

int approvals_tables(struct db *db, struct fault *f);
int approvals_open(struct broker *b, struct fault *f);
// Signatures name the broker by its master key: under another one (rekey_data.c) those that were given count for nothing, and go.
int approvals_rekey(struct guard_rekey *k, struct db_tx *t, struct fault *f);

void approval_id(const struct approval *a, char id[APPROVAL_ID]);
// The text that is signed. -E2BIG, -EINVAL: a part has a control character in it.
int approval_statement(const char *broker, const struct approval *a, const char *expires, char out[APPROVAL_STATEMENT]);

// Would this one count now? -EINVAL, -ENOENT, -EACCES, -EKEYREJECTED and why.
int approval_check(struct broker *b, const struct approval *a, const char *keyid, const char *expires, const uint8_t signature[SIGNKEY_SIGNATURE],
		   struct fault *f);
// Keeps one that was checked; a later one of the same key takes its place.
int approvals_put(struct broker *b, const struct approval *a, const char *keyid, const char *expires, const uint8_t signature[SIGNKEY_SIGNATURE],
		  struct fault *f);
// The names of those who approve it now, as a list; a new reference.
int approvals_valid(struct broker *b, const struct approval *a, json_t **names, struct fault *f);
// Somebody waits for it: shown to those who may approve. Each identity, each measurement and each network of enclaves has its share of the
// places; when all are taken, who has fewest takes one of who has most. -EDQUOT: too much waits already.
int approvals_ask(struct broker *b, const struct approval *a, const char *by, struct fault *f);
// "an enclave at 10.0.0.7": an address, or the /64 of one.
const char *approval_by_enclave(const char *address, char out[APPROVAL_BY]);

// For handlers, just before the change: has it been approved, where that is asked for? The approvals are used up, and records of this request
// name who gave them. Otherwise it is answered.
bool broker_approved(struct broker *b, struct http_response *r, const char *operation, const char *subject, const char *detail);

#endif

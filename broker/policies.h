// SPDX-License-Identifier: Apache-2.0
// Inside broker/: the policy of rules in the database: every version that was ever put, with its digest and author, and which one holds. Guarded
// rows. What one broker puts, the others that share the database use from their next request on. No lock of its own.
#ifndef COFFER_BROKER_POLICIES_H
#define COFFER_BROKER_POLICIES_H

#include <jansson.h>

#include "broker/db.h"
#include "broker/guard.h"

#define POLICY_NAME 101
#define POLICY_MAX_BYTES (256u << 10)

struct broker;

struct policy_version {
	long long version, created;
	char name[POLICY_NAME], author[65], digest[65];	// SHA-256 of the text
	char *text;	// malloc
	size_t len;
};

int policies_tables(struct db *db, struct fault *f);
int policies_open(struct broker *b, struct fault *f);
// What guards them under another master key, in the transaction of rekey_data.c.
int policies_rekey(struct guard_rekey *k, struct db_tx *t, struct fault *f);

// The version that holds, 0: none. Cheap.
int policies_active(struct broker *b, long long *version, struct fault *f);
// One of them; version 0: the one that holds. -ENOENT. policy_version_free.
int policies_get(struct broker *b, long long version, struct policy_version *out, struct fault *f);
void policy_version_free(struct policy_version *v);
// [{"version","name","author","digest","created","active"}], newest first.
int policies_list(struct broker *b, json_t **out, struct fault *f);
// A new version, which holds from now on; *v gets its number. text NULL: none holds any longer.
int policies_put(struct broker *b, struct policy_version *v, struct fault *f);

void policies_digest(struct policy_version *v);

// Has the broker use the version that holds, if it uses another one. Before a request is served, without the verifier's lock.
void policies_follow(struct broker *b);

#endif

// SPDX-License-Identifier: Apache-2.0
// What the broker keeps beside secrets (secrets.h), in its database (db.h): policies (resource -> allowed measurement), anchors of volumes.
// Every function may be called from any thread.
#ifndef COFFER_BROKER_STORE_H
#define COFFER_BROKER_STORE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "attest/policy.h"
#include "broker/guard.h"
#include "lib/fault.h"

#define STORE_MASTER_KEY_BYTES 32

struct store;

// Makes the tables; -EKEYREJECTED when the database was made with another master key. Before the guard is opened.
int store_prepare(struct db *db, const uint8_t master_key[STORE_MASTER_KEY_BYTES], struct fault *f);
// *db and *guard must outlive it. The master key is not kept.
int store_open(struct store **out, struct db *db, struct guard *guard, const uint8_t master_key[STORE_MASTER_KEY_BYTES], struct fault *f);
int store_tables(struct db *db, struct fault *f);	// makes them only
void store_close(struct store *s);
// One that only computes store_mac, under another key.
int store_keys(struct store **out, const uint8_t master_key[STORE_MASTER_KEY_BYTES], struct fault *f);
// All that it keeps under the keys of another master key, in the transaction of rekey_data.c.
int store_rekey(struct store *s, const struct store *is, const uint8_t new_key[STORE_MASTER_KEY_BYTES], struct guard_rekey *k, struct db_tx *t, struct fault *f);

// A MAC under the master key over what another area of the broker keeps in the database; `what` names the area, so that none passes for
// another's.
int store_mac(const struct store *s, const char *what, const void *bytes, size_t len, uint8_t mac[32]);

// measurement: 96 lower-case hex digits. Allowing twice is fine (the note is replaced).
int store_allow(struct store *s, const char *resource, const char *measurement, const char *note, struct fault *f);
// measurement NULL: all of the resource. -ENOENT when there was none.
int store_deny(struct store *s, const char *resource, const char *measurement, struct fault *f);
// The measurements that may have the resource; *list is malloc'ed. -EBADMSG when one was changed behind the broker's back.
int store_allowed(struct store *s, const char *resource, char (**list)[ATTEST_MEASUREMENT_HEX], unsigned int *count,
		  struct fault *f);
// [{"resource","measurement","note","created"}], and "changed_outside" where that is so; a new reference.
int store_policies(struct store *s, json_t **out, struct fault *f);

// What is remembered of a volume (broker/anchor.c).
struct store_anchor {
	long long epoch, generation;
	uint8_t digest[32];
};
// -ENOENT.
int store_get_anchor(struct store *s, const char *resource, struct store_anchor *out, struct fault *f);
// `from` NULL: there must be none yet. -ESTALE when the one there is another than *from. Durable when it returns 0. The
// database itself refuses a smaller generation or epoch, unless `back`.
int store_move_anchor(struct store *s, const char *resource, const struct store_anchor *from, const struct store_anchor *to,
		      bool back, struct fault *f);

int store_count_policies(struct store *s, long long *policies, struct fault *f);

// A key for one purpose, by HKDF. -EIO.
int store_derive(const uint8_t master_key[STORE_MASTER_KEY_BYTES], const char *purpose, uint8_t out[32]);

#endif

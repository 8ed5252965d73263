// SPDX-License-Identifier: Apache-2.0
// Inside broker/: all that a database holds, from one master key to another, in one transaction (rekey.c; the files are its part). For a
// database that no broker serves.
#ifndef COFFER_BROKER_REKEY_DATA_H
#define COFFER_BROKER_REKEY_DATA_H

#include "broker/master.h"
#include "broker/state.h"

// Opens all areas under the key that the database has, and the audit log of `dir`: what was edited or put back is found here. b is zeroed;
// rekey_close in any case. The database stays the caller's.
int rekey_open(struct broker *b, struct db *db, const char *dir, const uint8_t key[MASTER_KEY_BYTES], struct fault *f);
void rekey_close(struct broker *b);

// Values and signing keys are encrypted anew, all MACs made anew; on record before and after. *values: of secrets. Before the end of the
// transaction the database is as it was, after it the new key's.
int rekey_exchange(struct broker *b, const uint8_t old_key[MASTER_KEY_BYTES], const uint8_t new_key[MASTER_KEY_BYTES], unsigned long long *values,
		   struct fault *f);

#endif

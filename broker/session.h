// SPDX-License-Identifier: Apache-2.0
// Sessions of the KBS protocol: a random id (cookie) and a nonce that serves one attestation, then, if it succeeded,
// the claims and the TEE's public key. Bounded in number and age; in memory, or in a database that several brokers share (then calls
// also fail as db.h says: db_worth_retrying). One lock inside.
#ifndef COFFER_BROKER_SESSION_H
#define COFFER_BROKER_SESSION_H

#include <jansson.h>
#include <openssl/evp.h>
#include <stdbool.h>
#include <stdint.h>

#include "lib/fault.h"

#define SESSION_ID_TEXT 37		// UUID and terminator
#define SESSION_NONCE_BYTES 32
#define SESSION_NONCE_TEXT 45		// base64 and terminator
#define SESSION_SECONDS 300

struct session_table;

struct session_table *session_table_new(unsigned int capacity, unsigned int seconds);
struct db;
int session_table_shared(struct session_table **out, struct db *db, const uint8_t master_key[32], unsigned int seconds, struct fault *f);
void session_table_free(struct session_table *t);

struct coco_tee;

// A new session of a client that says it is a `tee`. When the table is full, the oldest one that has not attested makes room if a quarter has not; else
// the oldest that has.
int session_begin(struct session_table *t, const struct coco_tee *tee, char id[SESSION_ID_TEXT], char nonce[SESSION_NONCE_TEXT], struct fault *f);

// Takes the nonce: it can be taken once. -ENOENT no such session (or expired), -EALREADY taken before.
int session_take_nonce(struct session_table *t, const char *id, char nonce[SESSION_NONCE_TEXT], const struct coco_tee **tee, struct fault *f);

// The attestation succeeded: stores the claims, of which it may keep a reference, so that nobody changes them any more, and the key (taken over on
// success). `text`: the same as text of JSON, where the caller has it, else NULL.
int session_attested(struct session_table *t, const char *id, json_t *claims, const char *text, EVP_PKEY *key, struct fault *f);

// Of an attested session: the claims, for the caller alone, and a reference to the key. -ENOENT, -EACCES not attested.
int session_get(struct session_table *t, const char *id, json_t **claims, EVP_PKEY **key, struct fault *f);

unsigned int session_count(struct session_table *t);

#endif

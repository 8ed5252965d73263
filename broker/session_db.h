// SPDX-License-Identifier: Apache-2.0
// Inside session.c: sessions that several brokers share, in their database. What is in a row is encrypted and bound to the session; the row
// is found by a hash of its id, so that whoever reads the database cannot take a session over. Not guarded (guard.h): they live for minutes.
#ifndef COFFER_BROKER_SESSION_DB_H
#define COFFER_BROKER_SESSION_DB_H

#include "broker/db.h"
#include "broker/session.h"

struct session_db;

int session_db_open(struct session_db **out, struct db *db, const uint8_t master_key[32], unsigned int seconds, struct fault *f);
void session_db_close(struct session_db *s);

int session_db_begin(struct session_db *s, const struct coco_tee *tee, const char *id, const char *nonce, struct fault *f);
int session_db_take_nonce(struct session_db *s, const char *id, char nonce[SESSION_NONCE_TEXT], const struct coco_tee **tee, struct fault *f);
int session_db_attested(struct session_db *s, const char *id, const json_t *claims, EVP_PKEY *key, struct fault *f);
int session_db_get(struct session_db *s, const char *id, json_t **claims, EVP_PKEY **key, struct fault *f);
unsigned int session_db_count(struct session_db *s);

#endif

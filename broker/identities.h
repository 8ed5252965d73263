// SPDX-License-Identifier: Apache-2.0
// Inside broker/: the identities of those who administer the broker, in its database: under one MAC, so that a host that adds, changes or takes
// away a row is noticed (then nobody is known until the table is put right). Every look asks the database for its version: what another broker
// or request changed counts at once. Also the nonces of signed requests. One lock inside.
#ifndef COFFER_BROKER_IDENTITIES_H
#define COFFER_BROKER_IDENTITIES_H

#include <jansson.h>

#include "broker/db.h"
#include "broker/identity.h"
#include "broker/store.h"
#include "lib/signkey.h"

#define IDENTITY_KEYID 160

struct identity {
	char name[IDENTITY_NAME];
	unsigned int roles;
	char prefixes[IDENTITY_PREFIXES];
	// A key's thumbprint; "x509:" and the digest of a certificate; "name:" and a name that certificates under `client_ca` carry.
	char keyid[IDENTITY_KEYID];
	char pem[SIGNKEY_PEM];	// of a key; "" otherwise
	long long created;
	char by[IDENTITY_NAME];
};

struct identities;

int identities_open(struct identities **out, struct db *db, struct guard *guard, const struct store *store, struct fault *f);
int identities_tables(struct db *db, struct fault *f);	// makes them only
void identities_close(struct identities *s);
// All of them under another master key, whose store `is` is, in the transaction of rekey_data.c.
int identities_rekey(const struct identities *s, const struct store *is, struct guard_rekey *k, struct db_tx *t, struct fault *f);

// -ENOENT; -EBADMSG when the table was changed outside the broker.
int identities_find(struct identities *s, const char *keyid, struct identity *out, struct fault *f);
int identities_find_name(struct identities *s, const char *name, struct identity *out, struct fault *f);
// [{"name","roles":[],"resources":[],"kind","key","created","by"}]; a new reference.
int identities_list(struct identities *s, json_t **out, struct fault *f);
// The number that administer, or -errno.
int identities_admins(struct identities *s, struct fault *f);

// -EEXIST: the name or the key is taken.
int identities_add(struct identities *s, const struct identity *i, struct fault *f);
// -ENOENT. -EBUSY: no admin would be left; `superuser` may do it all the same.
int identities_remove(struct identities *s, const char *name, bool superuser, struct fault *f);
int identities_change(struct identities *s, const char *name, unsigned int roles, const char *prefixes, bool superuser, struct fault *f);

// Takes a nonce of a key, once until then. -EALREADY.
int identities_nonce(struct identities *s, const char *keyid, const char *nonce, long long now, long long until, struct fault *f);

// "owner,approver" -> bits; 0: one is unknown, or none. And back, a new reference.
unsigned int roles_parse(const char *text);
json_t *roles_json(unsigned int roles);
json_t *prefixes_json(const char *prefixes);

#endif

// SPDX-License-Identifier: Apache-2.0
// Inside broker/: the keys with which the broker signs what others believe: tokens, identities. Each purpose has a ring: one key that signs,
// and those before it, which verify until the last thing that they signed has expired. In the database, encrypted and bound to their
// ring under the master key, so that brokers that share it sign alike. Every function may be called from any thread.
#ifndef COFFER_BROKER_SIGNER_H
#define COFFER_BROKER_SIGNER_H

#include <jansson.h>
#include <openssl/evp.h>
#include <time.h>

#include "broker/guard.h"
#include "lib/jwk.h"

enum signer_ring {
	SIGNER_TOKEN,		// attestation results (ear.h)
	SIGNER_SVID_JWT,	// SPIFFE
	SIGNER_SVID_X509,	// SPIFFE's authority
	SIGNER_RINGS,
};
extern const char *const signer_ring_names[SIGNER_RINGS];	// "token", "svid-jwt", "svid-x509"

#define SIGNER_X509_MAX_SECONDS 86400	// what SIGNER_SVID_X509 signs lives no longer

struct signers;

// Makes its table; *db and *guard (which tells when rows were edited or put back) must outlive it.
int signers_open(struct signers **out, struct db *db, struct guard *guard, const uint8_t master_key[32], struct fault *f);
int signers_tables(struct db *db, struct fault *f);	// makes it only
void signers_close(struct signers *s);
// All of them under another master key, in the transaction of rekey_data.c.
int signers_rekey(struct signers *s, const uint8_t new_key[32], struct guard_rekey *k, struct db_tx *t, struct fault *f);

// A key of a broker from before, as the ring's first one: only where the ring is empty. Takes nothing over.
int signers_adopt(struct signers *s, enum signer_ring ring, EVP_PKEY *key, struct fault *f);

struct signer {
	EVP_PKEY *key;		// EVP_PKEY_free
	char kid[JWK_THUMBPRINT];
	time_t created;
};
// The key that signs now; the ring's first one is made here.
int signers_current(struct signers *s, enum signer_ring ring, struct signer *out, struct fault *f);
// One that may have signed something that is still good. -ENOENT.
int signers_find(struct signers *s, enum signer_ring ring, const char *kid, EVP_PKEY **out);
// All of those, the current one first: at most `max`, which the caller frees. -errno or their number.
int signers_all(struct signers *s, enum signer_ring ring, struct signer *out, unsigned int max, struct fault *f);
#define SIGNERS_MAX 16	// of a ring
// Appends the public halves to a list, as JWKs with kid, alg and use.
int signers_jwks(struct signers *s, enum signer_ring ring, const char *use, json_t *list, struct fault *f);

// A new key signs from now on. -EBUSY: so many keys of this ring are still needed that no more is made.
int signers_rotate(struct signers *s, enum signer_ring ring, char kid[JWK_THUMBPRINT], struct fault *f);

#endif

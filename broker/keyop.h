// SPDX-License-Identifier: Apache-2.0
// What a caller may have done with a key that stays at the broker: requests are JSON of untrusted callers, read strictly. Binary members are
// base64url. Pure; fuzz_keyop drives it.
//
//   sign     {"message" | "digest", "alg"?, "form": "jose" | "der"?}                         -> {"alg", "signature"}
//   decrypt  {"jwe": compact or flattened} | {"alg": "RSA-OAEP-256", "ciphertext"}           -> bytes
//   unwrap   {"alg", "wrapped", and for A256GCMKW "iv", "tag", for ECDH-ES+... "epk", "apu"?, "apv"?} -> bytes
//   wrap     {"key", "alg": "A256KW" | "A256GCMKW"}                                          -> {"alg", "wrapped", "iv"?, "tag"?}
#ifndef COFFER_BROKER_KEYOP_H
#define COFFER_BROKER_KEYOP_H

#include <jansson.h>
#include <openssl/evp.h>

#include "broker/keypair.h"

#define KEYOP_MAX_BYTES (64u << 10)	// of a message, of what is decrypted
#define KEYOP_AES_BYTES 32

struct keyop_key {
	EVP_PKEY *pair;				// or NULL:
	uint8_t aes[KEYOP_AES_BYTES];		// a wrapping key
};

// KEYOP_NONE: there is none of that name. Which of them a key does follows from its kind ("aes-256" is no pair) and use.
enum keyop { KEYOP_SIGN, KEYOP_DECRYPT, KEYOP_UNWRAP, KEYOP_WRAP, KEYOP_NONE };
enum keyop keyop_named(const char *name);
bool keyop_possible(enum keyop op, const char *kind, enum keypair_use use);

// Which key a JWE says that it is for; false: it does not say, or it is no JWE.
bool keyop_kid(const json_t *request, char kid[KEYPAIR_KID]);

// The answer: *out is a new reference (sign, wrap), or *plain (decrypt, unwrap; malloc'ed, to be wiped). -EINVAL malformed; -EBADMSG: what was
// encrypted is not for this key, or was changed.
struct keyop_answer {
	json_t *out;
	uint8_t *plain;
	size_t len;
};
int keyop_run(enum keyop op, const struct keyop_key *key, const json_t *request, struct keyop_answer *a, struct fault *f);

#endif

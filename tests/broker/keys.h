// SPDX-License-Identifier: Apache-2.0
// For tests of keys that stay with the broker: requests and answers in base64, and signatures as OpenSSL sees them.
#ifndef COFFER_TESTS_BROKER_KEYS_H
#define COFFER_TESTS_BROKER_KEYS_H

#include <jansson.h>
#include <openssl/evp.h>
#include <stdbool.h>
#include <stdint.h>

// A signature as JOSE writes it.
bool verifies(EVP_PKEY *key, const char *alg, const char *message, const uint8_t *sig, size_t len);
// {name: bytes, "alg": alg}; alg NULL: without.
json_t *request64(const char *name, const void *bytes, size_t len, const char *alg);
// The member's bytes; how many, 0 when it is not there.
size_t bytes_of(const json_t *o, const char *name, uint8_t *out, size_t size);

#endif

// SPDX-License-Identifier: Apache-2.0
// SHA-256 and SHA-384 of one buffer, by libcrypto's routines but without its machinery of providers, which takes milliseconds to start:
// `coffer run` hashes a few things and is gone from the path.
#ifndef COFFER_LIB_SHA_H
#define COFFER_LIB_SHA_H

#include <stddef.h>
#include <stdint.h>

void sha_256(const void *data, size_t len, uint8_t digest[32]);
void sha_384(const void *data, size_t len, uint8_t digest[48]);

#endif

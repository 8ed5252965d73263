// SPDX-License-Identifier: Apache-2.0
// Inside attest/: ECDSA signatures on P-384 checked with Nettle, which takes half the time of OpenSSL 3.0: that has no code of its own for this
// curve. Nothing secret is computed with. From any thread: the point of a key is kept with the key, under a lock of this file.
#ifndef COFFER_ATTEST_P384_H
#define COFFER_ATTEST_P384_H

#include <openssl/evp.h>
#include <stdbool.h>
#include <stdint.h>

#define P384_BYTES 48

// Does `rs` (r then s, big-endian) sign `digest` under that key, which is one of P-384? False also when memory is short.
bool p384_verify(EVP_PKEY *key, const uint8_t rs[2 * P384_BYTES], const uint8_t digest[P384_BYTES]);

#endif

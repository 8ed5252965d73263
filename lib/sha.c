// SPDX-License-Identifier: Apache-2.0
// See sha.h. Touches its arguments only; no locks.
#define OPENSSL_SUPPRESS_DEPRECATED
#include "lib/sha.h"

#include <openssl/sha.h>

void sha_256(const void *data, size_t len, uint8_t digest[32])
{
	SHA256_CTX c;

	SHA256_Init(&c);
	SHA256_Update(&c, data, len);
	SHA256_Final(digest, &c);
}

void sha_384(const void *data, size_t len, uint8_t digest[48])
{
	SHA512_CTX c;

	SHA384_Init(&c);
	SHA384_Update(&c, data, len);
	SHA384_Final(digest, &c);
}

// SPDX-License-Identifier: Apache-2.0
// Fuzzes what attested callers have done with keys that stay at the broker: JSON requests against a key of each kind. The input's first byte says
// which key and which operation.
#include <stdint.h>
#include <stdlib.h>

#include "broker/keyop.h"
#include "lib/file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static EVP_PKEY *pair(const char *kind)
{
	EVP_PKEY *key = keypair_generate(kind);
	if (!key)
		abort();
	return key;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct keyop_key keys[4];
	struct keyop_answer a;
	struct fault f;
	char kid[KEYPAIR_KID];
	if (!keys[0].pair) {
		keys[0].pair = pair("ec-p256");
		keys[1].pair = pair("ed25519");
		keys[2].pair = pair("rsa-3072");
	}
	if (!size)
		return 0;
	json_t *q = json_loadb((const char *)data + 1, size - 1, JSON_REJECT_DUPLICATES, NULL);
	keyop_kid(q, kid);
	if (!keyop_run((enum keyop)(data[0] >> 2 & 3), &keys[data[0] & 3], q, &a, &f)) {
		if (!a.out == !a.plain)	// one of the two
			abort();
		json_decref(a.out);
		free_wiped(a.plain, a.len);
	} else if (a.plain) {
		abort();
	}
	json_decref(q);
	return 0;
}

// SPDX-License-Identifier: Apache-2.0
// Fuzzes what an owner sends as settings of a secret, its form at rest, and a key that is imported. What is read is written and read again: it must
// be the same.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "broker/secret.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void again(struct secret *s)
{
	static struct secret t;
	json_t *o = secret_to_json(s), *described = secret_describe(s, "a/b/c", 1700000000);
	if (!described)
		abort();
	if (o && (secret_from_json(&t, o) || memcmp(s->id, t.id, sizeof t.id) || s->count != t.count || s->uses != t.uses || s->last != t.last))
		abort();
	json_decref(o);
	json_decref(described);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const kinds[] = {"data", "random", "aes-256", "ec-p256"};
	static const char *const others[] = {"action", NULL};
	static struct secret s;
	struct secret_version *v;
	struct fault f;
	EVP_PKEY *key;
	const char *kind;
	if (!size)
		return 0;
	if (data[0] == 'k') {
		if (!keypair_import(data + 1, size - 1, &key, &kind, &f))
			EVP_PKEY_free(key);
		return 0;
	}
	json_t *o = json_loadb((const char *)data + 1, size - 1, JSON_REJECT_DUPLICATES, NULL);
	if (json_is_object(o) && data[0] & 1) {
		if (!secret_from_json(&s, o))
			again(&s);
	} else if (json_is_object(o)) {
		if (secret_init(&s, kinds[data[0] >> 1 & 3], &f) || secret_add_version(&s, 1700000000, &v, &f))
			abort();
		if (!secret_apply(&s, v, o, data[0] & 8, others, &f))
			again(&s);
	}
	json_decref(o);
	return 0;
}

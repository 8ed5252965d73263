// SPDX-License-Identifier: Apache-2.0
// See binding.h. Sorted keys, no white space and ASCII text are what RFC 8785 asks of objects of strings; numbers,
// whose canonical form is intricate, are refused.
#include "attest/binding.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static bool plain(const char *s)
{
	for (; *s; s++) {
		if ((unsigned char)*s >= 0x7f)
			return false;
	}
	return true;
}

static bool flat_object_of_text(const json_t *o)
{
	const char *key;
	json_t *value;
	if (!json_is_object(o))
		return false;
	json_object_foreach((json_t *)o, key, value) {
		if (!plain(key) || !json_is_string(value) || !plain(json_string_value(value)) ||
		    strlen(json_string_value(value)) != json_string_length(value))
			return false;
	}
	return true;
}

int attest_report_data(const char *nonce, const json_t *tee_pubkey, const char *additional, uint8_t out[64])
{
	if (!plain(nonce) || (additional && !plain(additional)) || !flat_object_of_text(tee_pubkey))
		return -EINVAL;
	json_t *o = json_pack("{s:s*, s:s, s:O}", "additional-evidence", additional, "nonce", nonce, "tee-pubkey", tee_pubkey);
	char *text = o ? json_dumps(o, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
	json_decref(o);
	memset(out, 0, 64);
	int err = text && EVP_Digest(text, strlen(text), out, NULL, EVP_sha384(), NULL) == 1 ? 0 : -ENOMEM;
	free(text);
	return err;
}

// SPDX-License-Identifier: Apache-2.0
// See jwk.h. The canonical form is sorted and without white space, which is how it is dumped here.
#include "lib/jwk.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/encode.h"
#include "lib/sha.h"

bool jwk_thumbprint(const json_t *jwk, char out[JWK_THUMBPRINT])
{
	static const char *const ec[] = {"crv", "kty", "x", "y", NULL}, *const rsa[] = {"e", "kty", "n", NULL};
	static const char *const okp[] = {"crv", "kty", "x", NULL};
	const char *kty = json_string_value(json_object_get(jwk, "kty"));
	uint8_t digest[32];
	json_t *o = json_object();
	*out = '\0';
	for (const char *const *m = kty && !strcmp(kty, "RSA") ? rsa : kty && !strcmp(kty, "OKP") ? okp : ec; *m; m++) {
		if (json_object_set(o, *m, json_object_get(jwk, *m))) {
			json_decref(o);
			return false;
		}
	}
	char *canonical = json_dumps(o, JSON_COMPACT | JSON_SORT_KEYS);
	json_decref(o);
	if (!canonical)
		return false;
	sha_256(canonical, strlen(canonical), digest);
	free(canonical);
	base64_encode(out, digest, sizeof digest, BASE64_URL);
	return true;
}

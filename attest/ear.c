// SPDX-License-Identifier: Apache-2.0
// See ear.h.
#include "attest/ear.h"

#include <errno.h>
#include <stdio.h>

#include "lib/jwe.h"

// The claims as they were before that; a new reference.
static json_t *claims_of(const json_t *submods)
{
	json_t *claims = json_copy(json_object_get(json_object_get(submods, "cpu0"), "ear.veraison.annotated-evidence")), *list = json_array(), *device;
	char name[32];
	for (size_t i = 0; snprintf(name, sizeof name, "gpu%zu", i) > 0 && (device = json_object_get(submods, name)); i++)
		json_array_append(list, json_object_get(device, "ear.veraison.annotated-evidence"));
	if (json_array_size(list))
		json_object_set(claims, "gpu", list);
	json_decref(list);
	return claims;
}

int ear_open(jws_find *find, void *ctx, const char *token, time_t now, json_t **body_out, json_t **claims, EVP_PKEY **key)
{
	json_t *o = NULL;
	int err = jws_open(token, find, ctx, &o);
	if (err)
		return -EBADMSG;
	const json_t *submods = json_object_get(o, "submods");
	if (!json_is_object(json_object_get(json_object_get(submods, "cpu0"), "ear.veraison.annotated-evidence")))
		err = -EBADMSG;
	else if (json_integer_value(json_object_get(o, "exp")) <= (json_int_t)now)
		err = -ESTALE;
	else if (jwk_to_key(json_object_get(o, "tee-pubkey"), key, NULL))
		err = -EBADMSG;
	else if (claims)
		*claims = claims_of(submods);
	if (!err && body_out)
		*body_out = o;
	else
		json_decref(o);
	return err;
}

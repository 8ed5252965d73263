// SPDX-License-Identifier: Apache-2.0
// See printable.h. Pure; no locks.
#include "cli/printable.h"

#include <stdlib.h>
#include <string.h>

#include "lib/encode.h"

static json_t *copy(const json_t *v)
{
	const char *key;
	json_t *member, *out;
	size_t i;

	if (json_is_string(v)) {
		char *text = strdup(json_string_value(v));
		out = text ? json_string(text_printable(text)) : NULL;
		free(text);
		return out;
	}
	if (json_is_object(v)) {
		out = json_object();
		json_object_foreach((json_t *)v, key, member)
			json_object_set_new(out, key, copy(member));
		return out;
	}
	if (!json_is_array(v))
		return json_deep_copy(v);
	out = json_array();
	json_array_foreach(v, i, member)
		json_array_append_new(out, copy(member));
	return out;
}

json_t *printable(json_t *v)
{
	json_t *out = v ? copy(v) : NULL;

	json_decref(v);
	return out;
}

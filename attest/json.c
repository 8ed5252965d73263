// SPDX-License-Identifier: Apache-2.0
// See json.h.
#include "attest/json.h"

#include <stdlib.h>

#include "lib/encode.h"

void set_hex(json_t *o, const char *name, const void *bytes, size_t len)
{
	char small[2 * 64 + 1], *hex = len <= 64 ? small : malloc(2 * len + 1);
	if (hex)
		json_object_set_new_nocheck(o, name, json_stringn_nocheck(hex_encode(hex, bytes, len), 2 * len));
	if (hex != small)
		free(hex);
}

void set_text(json_t *o, const char *name, const char *text)
{
	json_object_set_new_nocheck(o, name, json_string(text));
}

void set_number(json_t *o, const char *name, json_int_t n)
{
	json_object_set_new_nocheck(o, name, json_integer(n));
}

void set_bool(json_t *o, const char *name, bool b)
{
	json_object_set_new_nocheck(o, name, json_boolean(b));
}

void set_time(json_t *o, const char *name, time_t t)
{
	char text[32];
	set_text(o, name, time_text(text, t));
}

json_t *set_object(json_t *o, const char *name)
{
	json_t *child = json_object();
	json_object_set_new_nocheck(o, name, child);
	return child;
}

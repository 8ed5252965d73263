// SPDX-License-Identifier: Apache-2.0
// See loads.h.
#include "image/loads.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_NAMES = 64, NAME_MAX_BYTES = 64 };

// The length of "lib....so[.digits and dots]" at `s`, with its NUL within `room`; or 0.
static size_t library_name(const char *s, size_t room)
{
	size_t n = strnlen(s, room < NAME_MAX_BYTES ? room : NAME_MAX_BYTES), so = 0;

	if (n == room || n == NAME_MAX_BYTES || n < 7)
		return 0;
	for (size_t i = 3; i + 3 <= n && !so; i++)
		if (!memcmp(s + i, ".so", 3) && (i + 3 == n || s[i + 3] == '.'))
			so = i;
	if (so < 4 || strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+-.") != n)
		return 0;
	return strspn(s + so + 3, ".0123456789") == n - so - 3 && s[n - 1] != '.' ? n : 0;
}

void elf_loaded_names(const void *bytes, size_t len, const struct string_list *known, struct string_list *names)
{
	const char *at = bytes, *end = at + len;

	if (!memmem(bytes, len, "\0dlopen", 8))
		return;
	while (names->count < MOST_NAMES && (at = memmem(at, (size_t)(end - at), "\0lib", 4))) {
		size_t n = library_name(at + 1, (size_t)(end - at - 1));
		char *name;

		at++;
		if (!n)
			continue;
		name = xstrndup(at, n);
		if (!string_list_has(names, name) && !string_list_has(known, name))
			string_list_add(names, name);
		free(name);
	}
}

// SPDX-License-Identifier: Apache-2.0
// See slice.h.
#include "attest/slice.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "lib/encode.h"

// Where the string that begins at text[i] ends (behind its quote), or len + 1.
static size_t string_end(const char *text, size_t len, size_t i)
{
	for (i++; i < len; i++) {
		if (text[i] == '\\')
			i++;
		else if (text[i] == '"')
			return i + 1;
	}
	return len + 1;
}

static bool white(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

int slice_member(const char *text, size_t len, const char *name, const char **value, size_t *value_len, struct fault *f)
{
	size_t depth = 0, start = 0, i = 0, name_len = strlen(name);
	bool key_next = false, ours = false;
	*value = NULL;
	while (i < len) {
		char c = text[i];
		if (c == '"') {
			size_t end = string_end(text, len, i);
			if (end > len)
				return fault_set(f, -EINVAL, "JSON: a string without end");
			// Names with escapes are not looked through: such a member is not found.
			if (depth == 1 && key_next) {
				ours = end - i == name_len + 2 && !memcmp(text + i + 1, name, name_len);
				key_next = false;
			}
			i = end;
			continue;
		}
		if (depth == 1 && (c == ',' || c == '}') && ours && start) {
			if (*value)
				return fault_set(f, -EINVAL, "JSON: '%s' is given twice", name);
			size_t end = i;
			while (end > start && white(text[end - 1]))
				end--;
			while (start < end && white(text[start]))
				start++;
			*value = text + start;
			*value_len = end - start;
			start = 0;
			ours = false;
		}
		if (c == '{' || c == '[') {
			if (depth == 0 && c != '{')
				return fault_set(f, -EINVAL, "JSON: not an object");
			if (++depth > SLICE_MAX_DEPTH)
				return fault_set(f, -EINVAL, "JSON: nested more than %d deep", SLICE_MAX_DEPTH);
			key_next = depth == 1;
		} else if (c == '}' || c == ']') {
			if (!depth)
				return fault_set(f, -EINVAL, "JSON: a bracket too many");
			depth--;
		} else if (c == ':' && depth == 1) {
			start = i + 1;
		} else if (c == ',' && depth == 1) {
			key_next = true;
			start = 0;
		}
		i++;
	}
	if (depth)
		return fault_set(f, -EINVAL, "JSON: cut short");
	return *value ? 0 : fault_set(f, -EINVAL, "JSON: no member '%s'", name);
}

json_t *slice_parse(const char *text, size_t len, struct fault *f)
{
	json_error_t why;
	size_t depth = 0;
	for (size_t i = 0; i < len; i++) {
		if (text[i] == '"') {
			i = string_end(text, len, i) - 1;
		} else if (text[i] == '{' || text[i] == '[') {
			if (++depth > SLICE_MAX_DEPTH) {
				fault_set(f, -EINVAL, "JSON: nested more than %d deep", SLICE_MAX_DEPTH);
				return NULL;
			}
		} else if ((text[i] == '}' || text[i] == ']') && depth) {
			depth--;
		}
	}
	json_t *o = json_loadb(text, len, JSON_REJECT_DUPLICATES, &why);
	if (!o)
		fault_set(f, -EINVAL, "JSON, line %d: %s", why.line, why.text);
	return o;
}

time_t slice_time(const json_t *s)
{
	const char *t = json_string_value(s);
	static const char form[] = "0000-00-00T00:00:00Z";
	if (!t || strlen(t) != sizeof form - 1)
		return -1;
	for (size_t i = 0; i < sizeof form - 1; i++) {
		if (form[i] == '0' ? t[i] < '0' || t[i] > '9' : t[i] != form[i])
			return -1;
	}
#define PAIR(at) ((t[at] - '0') * 10 + t[(at) + 1] - '0')
	struct tm tm = {.tm_year = PAIR(0) * 100 + PAIR(2) - 1900, .tm_mon = PAIR(5) - 1, .tm_mday = PAIR(8),
			.tm_hour = PAIR(11), .tm_min = PAIR(14), .tm_sec = PAIR(17)};
#undef PAIR
	if (tm.tm_year < 70 || tm.tm_mon < 0 || tm.tm_mon > 11 || tm.tm_mday < 1 || tm.tm_mday > 31 || tm.tm_hour > 23 ||
	    tm.tm_min > 59 || tm.tm_sec > 60)
		return -1;
	return timegm(&tm);
}

int slice_hex(const json_t *s, uint8_t *out, size_t n)
{
	const char *t = json_string_value(s);
	return t && strlen(t) == 2 * n ? hex_decode(out, n, t) : -EINVAL;
}

const char *slice_text(const json_t *o, const char *name)
{
	const char *s = json_string_value(json_object_get(o, name));
	return s ? s : "";
}

long slice_number(const json_t *o, const char *name, long max)
{
	const json_t *v = json_object_get(o, name);
	json_int_t n = json_is_integer(v) ? json_integer_value(v) : -1;
	return n >= 0 && n <= max ? (long)n : -1;
}

// SPDX-License-Identifier: Apache-2.0
// See result.h.
#include "attest/result.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/encode.h"

int attest_result_init(struct attest_result *r)
{
	r->count = 0;	// a check is cleared when it is added
	r->claims = json_object();
	return r->claims ? 0 : -ENOMEM;
}

void attest_result_free(struct attest_result *r)
{
	json_decref(r->claims);
	r->claims = NULL;
	r->count = 0;
}

struct attest_check *attest_check_add(struct attest_result *r, const char *id, bool passed)
{
	// The number of checks is fixed by the code, not by the evidence; losing one would be losing a refusal.
	if (r->count == ATTEST_MAX_CHECKS)
		abort();
	struct attest_check *c = &r->checks[r->count++];
	c->expected[0] = c->found[0] = '\0';
	c->id = id;
	c->outcome = passed ? ATTEST_PASSED : ATTEST_FAILED;
	return c;
}

// Most are plain texts, and there are forty of them in a verification.
static void write_text(char *out, size_t size, const char *format, va_list ap)
{
	bool one = !strcmp(format, "%s");
	const char *plain = one ? va_arg(ap, const char *) : strchr(format, '%') ? NULL : format;
	if (one && !plain)
		plain = "(none)";
	if (plain) {
		size_t n = strnlen(plain, size - 1);
		memcpy(out, plain, n);
		out[n] = '\0';
	} else {
		vsnprintf(out, size, format, ap);
	}
	if (plain != format)
		text_printable(out);	// some of it comes from the evidence, and all of it goes to terminals and logs
}

void attest_expected(struct attest_check *c, const char *format, ...)
{
	va_list ap;
	va_start(ap, format);
	write_text(c->expected, sizeof c->expected, format, ap);
	va_end(ap);
}

void attest_found(struct attest_check *c, const char *format, ...)
{
	va_list ap;
	va_start(ap, format);
	write_text(c->found, sizeof c->found, format, ap);
	va_end(ap);
}

void attest_check_report_data(struct attest_result *r, const uint8_t *expected, const uint8_t *found)
{
	char hex[2 * 64 + 1];
	struct attest_check *c = attest_check_add(r, "report-data", expected && !CRYPTO_memcmp(expected, found, 64));
	attest_found(c, "%s", hex_encode(hex, found, 64));
	if (expected) {
		attest_expected(c, "%s", hex_encode(hex, expected, 64));
	} else {
		c->outcome = ATTEST_SKIPPED;
		attest_found(c, "no expected value was given");
	}
}

const struct attest_check *attest_find(const struct attest_result *r, const char *id)
{
	for (unsigned int i = 0; i < r->count; i++) {
		if (!strcmp(r->checks[i].id, id))
			return &r->checks[i];
	}
	return NULL;
}

bool attest_passed(const struct attest_result *r)
{
	for (unsigned int i = 0; i < r->count; i++) {
		if (r->checks[i].outcome == ATTEST_FAILED)
			return false;
	}
	return r->count > 0;
}

// Text from certificates may not be UTF-8, which JSON text must be.
static json_t *text(const char *s)
{
	json_t *j = json_string(s);
	if (j)
		return j;
	char ascii[sizeof((struct attest_check *)0)->expected];
	snprintf(ascii, sizeof ascii, "%s", s);
	for (char *p = ascii; *p; p++) {
		if ((unsigned char)*p >= 0x7f)
			*p = '?';
	}
	return json_string(ascii);
}

static json_t *checks_json(const struct attest_result *r, bool all)
{
	static const char *const outcomes[] = {"passed", "failed", "skipped"};
	json_t *list = json_array();
	for (unsigned int i = 0; list && i < r->count; i++) {
		const struct attest_check *c = &r->checks[i];
		if (!all && c->outcome != ATTEST_FAILED)
			continue;
		json_t *o = json_pack("{s:s, s:o, s:o}", "claim", c->id, "expected", text(c->expected), "found",
				      text(c->found));
		if (all)
			json_object_set_new(o, "outcome", json_string(outcomes[c->outcome]));
		json_array_append_new(list, o);
	}
	return list;
}

json_t *attest_failures_json(const struct attest_result *r)
{
	return checks_json(r, false);
}

json_t *attest_checks_json(const struct attest_result *r)
{
	return checks_json(r, true);
}

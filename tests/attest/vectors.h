// SPDX-License-Identifier: Apache-2.0
// Evidence of real machines, read in place beside the repository (../shared/vectors) or where $COFFER_VECTORS says; tests that need it
// are skipped without. And questions to a result that several tests ask. Single-threaded.
#ifndef COFFER_TESTS_ATTEST_VECTORS_H
#define COFFER_TESTS_ATTEST_VECTORS_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "attest/result.h"
#include "lib/file.h"

// A whole file of the vectors; NULL when it is not here. free() by the caller.
static inline char *vector_read(const char *name, size_t *len)
{
	const char *folder = getenv("COFFER_VECTORS");
	char path[512], *bytes;
	snprintf(path, sizeof path, "%s/%s", folder ? folder : "../shared/vectors", name);
	return file_read(path, 1 << 20, &bytes, len, NULL) ? NULL : bytes;
}

// The failed checks, for messages and comparisons: "id id ".
static inline const char *failed_ids(const struct attest_result *r)
{
	static char text[1024];
	size_t n = 0;
	text[0] = '\0';
	for (unsigned int i = 0; i < r->count && n < sizeof text; i++) {
		if (r->checks[i].outcome == ATTEST_FAILED)
			n += (size_t)snprintf(text + n, sizeof text - n, "%s ", r->checks[i].id);
	}
	return text;
}

// The same with what was found.
static inline const char *failures(const struct attest_result *r)
{
	static char text[4096];
	size_t n = 0;
	text[0] = '\0';
	for (unsigned int i = 0; i < r->count && n < sizeof text; i++) {
		if (r->checks[i].outcome == ATTEST_FAILED)
			n += (size_t)snprintf(text + n, sizeof text - n, "%s (expected %s, found %s); ", r->checks[i].id,
					      r->checks[i].expected, r->checks[i].found);
	}
	return text;
}

// A claim by path ("tdx.mr_td"); "" when it is missing or no text.
static inline const char *claim_of(const struct attest_result *r, const char *path)
{
	const json_t *o = r->claims;
	char part[128];
	while (*path) {
		size_t n = strcspn(path, ".");
		snprintf(part, sizeof part, "%.*s", (int)n, path);
		o = json_object_get(o, part);
		path += n + (path[n] == '.');
	}
	const char *s = json_string_value(o);
	return s ? s : "";
}

#endif

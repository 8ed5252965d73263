// SPDX-License-Identifier: Apache-2.0
// The file in which somebody keeps the versions of documents of reference values that he has met (see refval.h).
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "attest/refval.h"
#include "attest/slice.h"
#include "lib/file.h"

int refval_seen_read(const char *path, json_t **seen, struct fault *f)
{
	struct fault why = {""};
	char *text;
	size_t len;
	if (access(path, F_OK)) {
		*seen = json_object();
		return *seen ? 0 : fault_set(f, -ENOMEM, "out of memory");
	}
	int err = file_read(path, 1 << 20, &text, &len, f);
	if (err)
		return err;
	*seen = slice_parse(text, len, &why);
	free(text);
	if (!json_is_object(*seen)) {
		json_decref(*seen);
		*seen = NULL;
		return fault_set(f, -EINVAL, "%s is no list of versions seen: %.200s", path, why.text);
	}
	return 0;
}

int refval_seen_write(const char *path, const json_t *seen, struct fault *f)
{
	char *text = json_dumps(seen, JSON_INDENT(1) | JSON_SORT_KEYS);
	int err = text ? file_write(path, text, strlen(text), 0600, false, f) : fault_set(f, -ENOMEM, "out of memory");
	free(text);
	return err;
}

// SPDX-License-Identifier: Apache-2.0
// Fuzzes the headers of a signed request: lines of Signature-Input, Signature, Content-Digest and a body, as a stranger may send them.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/httpsig.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *value(void *ctx, const char *component)
{
	return !strcmp(component, "@method") ? "POST" : !strcmp(component, "content-digest") ? ctx : NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1), *save = NULL, *base;
	struct fault f = {""};
	struct httpsig s;
	size_t len;
	if (!text)
		abort();
	memcpy(text, data, size);
	text[size] = '\0';
	char *input = strtok_r(text, "\n", &save), *signature = input ? strtok_r(NULL, "\n", &save) : NULL;
	char *digest = signature ? strtok_r(NULL, "\n", &save) : NULL, *body = digest ? strtok_r(NULL, "", &save) : NULL;
	if (input && signature && !httpsig_parse(&s, input, signature, &f)) {
		// What is parsed is what stands there: params lie within the header, components are names.
		if (s.params < input || s.params + s.params_len > input + strlen(input))
			abort();
		if (!httpsig_base(&s, value, digest ? digest : "", &base, &len, &f)) {
			if (strlen(base) != len)
				abort();
			free(base);
		}
	}
	if (digest)
		httpsig_digest_check(digest, body ? body : "", body ? strlen(body) : 0, &f);
	free(text);
	return 0;
}

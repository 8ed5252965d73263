// SPDX-License-Identifier: Apache-2.0
// Fuzzes hosts and rules about them (tunnel/target.c, rules.c): a rule, a newline, a destination, a newline, an address of it. What is special
// never passes a rule that does not name a network.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tunnel/rules.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1), *asked, *address, again[TARGET_TEXT];
	const char *rule = text;
	struct rules *r = NULL;
	struct fault f;
	struct target t, a, b;
	if (!text)
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	asked = strchr(text, '\n');
	address = asked ? strchr(asked + 1, '\n') : NULL;
	if (!address)
		goto out;
	*asked++ = *address++ = '\0';
	if (rules_new(&r, &rule, 1, &f) || target_parse(&t, asked, strlen(asked), 443))
		goto out;
	target_text(&t, again);
	if (target_parse(&b, again, strlen(again), 0) || !target_equal(&t, &b))
		abort();
	if (t.host != TARGET_NAME && rules_match(r, &t) && target_is_special(&t) && *rule == '*')
		abort();
	if (t.host == TARGET_NAME && !target_parse(&a, address, strlen(address), 443) && a.host != TARGET_NAME && rules_address(r, &t, &a) &&
	    target_is_special(&a) && *rule == '*' && !strchr(rule, '@'))
		abort();
	rules_select(r, &t);
out:
	rules_free(r);
	free(text);
	return 0;
}

// SPDX-License-Identifier: Apache-2.0
// See yamlproblem.h.
#include "lib/yamlproblem.h"

#include <stdbool.h>
#include <string.h>

// libyaml counts characters, without the mark that a text may begin with.
static bool tab_at(const char *text, size_t len, size_t index)
{
	size_t at = len >= 3 && !memcmp(text, "\xef\xbb\xbf", 3) ? 3 : 0;
	for (; index && at < len; index--)
		for (at++; at < len && ((unsigned char)text[at] & 0xc0) == 0x80; at++)
			;
	return at < len && text[at] == '\t';
}

const char *yaml_problem(const yaml_parser_t *p, const char *text, size_t len)
{
	if (!p->problem)
		return p->error == YAML_MEMORY_ERROR ? "out of memory" : "not YAML";
	// libyaml's words for the commonest mistake name no cause.
	if (strstr(p->problem, "start any token") && tab_at(text, len, p->problem_mark.index))
		return "a tab: YAML is indented with spaces";
	return p->problem;
}

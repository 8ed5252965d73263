// SPDX-License-Identifier: Apache-2.0
// Fuzzes the import of TNG's configurations (tunnel/import.c): whatever the JSON says, what is written is YAML, and lines of its comments stay
// comments.
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "tunnel/import.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_yaml(const char *text)
{
	yaml_parser_t p;
	yaml_event_t e;
	bool end = false;
	if (!yaml_parser_initialize(&p))
		return;
	yaml_parser_set_input_string(&p, (const unsigned char *)text, strlen(text));
	while (!end) {
		if (!yaml_parser_parse(&p, &e))
			abort();
		end = e.type == YAML_STREAM_END_EVENT;
		yaml_event_delete(&e);
	}
	yaml_parser_delete(&p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	json_t *o = json_loadb((const char *)data, size, JSON_REJECT_DUPLICATES, NULL), *notes;
	struct fault f;
	char *yaml;
	if (o && !import_tng(o, &yaml, &notes, &f)) {
		check_yaml(yaml);
		free(yaml);
		json_decref(notes);
	}
	json_decref(o);
	return 0;
}

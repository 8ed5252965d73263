// SPDX-License-Identifier: Apache-2.0
// Strict YAML configuration: a table says which keys exist and of what type; the result is a JSON tree in which every
// value already has that type. Refused, with file, line and reason: unknown keys (the nearest known one is named),
// duplicates, wrong types, anchors and aliases, tags, several documents, text past the limits.
// Scalars are read as the table wants them: `name: no` is the text "no" where text is wanted. No locks, no globals.
#ifndef COFFER_LIB_YAMLCFG_H
#define COFFER_LIB_YAMLCFG_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "lib/fault.h"

#define YAMLCFG_MAX_BYTES (1u << 20)
#define YAMLCFG_MAX_DEPTH 16

enum yamlcfg_kind {
	YAMLCFG_TEXT,	// string
	YAMLCFG_BOOL,	// true | false
	YAMLCFG_INT,	// decimal integer within [min, max]
	YAMLCFG_LIST,	// list whose items are of type `item`
	YAMLCFG_MAP,	// map with free keys whose values are of type `item`
	YAMLCFG_RECORD,	// map with the known keys `keys`
};

struct yamlcfg_key;

struct yamlcfg_type {
	enum yamlcfg_kind kind;
	const struct yamlcfg_type *item;
	const struct yamlcfg_key *keys;	// ends with a NULL name
	long long min, max;		// INT
};

struct yamlcfg_key {
	const char *name;
	struct yamlcfg_type type;
	bool required;
};

// Reads a file. `*out` is a new reference (an object). Errors: -ENOENT and other open/read errors, -EFBIG past 1 MiB,
// -EINVAL bad content, -ENOMEM; f->text says where and why.
int yamlcfg_load(const char *path, const struct yamlcfg_type *type, json_t **out, struct fault *f);

// The same from text; `name` stands for the file in messages.
int yamlcfg_parse(const char *text, size_t len, const char *name, const struct yamlcfg_type *type, json_t **out,
		  struct fault *f);

#endif

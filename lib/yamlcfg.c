// SPDX-License-Identifier: Apache-2.0
// See yamlcfg.h. libyaml builds the document; this file checks it against the table and turns it into JSON.
// Touches nothing but the file it is told to read; no locks.
#include "lib/yamlcfg.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "lib/file.h"
#include "lib/yamlproblem.h"

struct walk {
	yaml_document_t *doc;
	const char *name;	// of the file
	struct fault *fault;
};

__attribute__((format(printf, 3, 4))) static int bad(struct walk *w, const yaml_node_t *at, const char *format, ...)
{
	char why[512];
	va_list ap;
	va_start(ap, format);
	vsnprintf(why, sizeof why, format, ap);
	va_end(ap);
	return fault_set(w->fault, -EINVAL, "%s:%zu: %s", w->name, at ? at->start_mark.line + 1 : 1, why);
}

// Edits (insert, delete, replace) between two words of fewer than 32 characters.
static unsigned int distance(const char *a, const char *b)
{
	size_t n = strlen(a), m = strlen(b);
	unsigned int row[33];
	if (n > 31 || m > 31)
		return 99;
	for (size_t j = 0; j <= m; j++)
		row[j] = (unsigned int)j;
	for (size_t i = 1; i <= n; i++) {
		unsigned int corner = row[0];
		row[0] = (unsigned int)i;
		for (size_t j = 1; j <= m; j++) {
			unsigned int best = corner + (a[i - 1] != b[j - 1]);
			corner = row[j];
			if (row[j] + 1 < best)
				best = row[j] + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			row[j] = best;
		}
	}
	return row[m];
}

static const struct yamlcfg_key *nearest(const struct yamlcfg_key *keys, const char *word)
{
	const struct yamlcfg_key *best = NULL;
	unsigned int least = 99;
	for (; keys->name; keys++) {
		unsigned int d = distance(keys->name, word);
		if (d < least) {
			least = d;
			best = keys;
		}
	}
	return best;
}

static int scalar(struct walk *w, const yaml_node_t *n, const char *what, const char **out)
{
	if (n->type != YAML_SCALAR_NODE)
		return bad(w, n, "%s must be a single value", what);
	if (memchr(n->data.scalar.value, 0, n->data.scalar.length))
		return bad(w, n, "%s holds a NUL character", what);
	*out = (const char *)n->data.scalar.value;
	return 0;
}

static int convert(struct walk *w, yaml_node_t *n, const struct yamlcfg_type *t, const char *what, unsigned int depth,
		   json_t **out);

static int convert_scalar(struct walk *w, yaml_node_t *n, const struct yamlcfg_type *t, const char *what, json_t **out)
{
	const char *s = NULL;
	int err = scalar(w, n, what, &s);
	if (err)
		return err;
	bool plain = n->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
	switch (t->kind) {
	case YAMLCFG_BOOL:
		if (!plain || (strcmp(s, "true") && strcmp(s, "false")))
			return bad(w, n, "%s must be true or false, not '%s'", what, s);
		*out = json_boolean(*s == 't');
		break;
	case YAMLCFG_INT: {
		char *end;
		errno = 0;
		long long v = strtoll(s, &end, 10);
		if (!plain || end == s || *end || errno || v < t->min || v > t->max)
			return bad(w, n, "%s must be a number from %lld to %lld, not '%s'", what, t->min, t->max, s);
		*out = json_integer(v);
		break;
	}
	default:
		if (plain && (!*s || !strcmp(s, "~") || !strcmp(s, "null")))
			return bad(w, n, "%s has no value", what);
		*out = json_string(s);
	}
	return *out ? 0 : bad(w, n, "%s is not valid text", what);
}

static int convert_list(struct walk *w, yaml_node_t *n, const struct yamlcfg_type *t, const char *what,
			unsigned int depth, json_t *list)
{
	if (n->type != YAML_SEQUENCE_NODE)
		return bad(w, n, "%s must be a list", what);
	for (yaml_node_item_t *i = n->data.sequence.items.start; i < n->data.sequence.items.top; i++) {
		json_t *v = NULL;
		int err = convert(w, yaml_document_get_node(w->doc, *i), t->item, what, depth, &v);
		if (err)
			return err;
		if (json_array_append_new(list, v))
			return fault_set(w->fault, -ENOMEM, "out of memory");
	}
	return 0;
}

static const struct yamlcfg_key *find_key(const struct yamlcfg_key *keys, const char *name)
{
	for (; keys->name; keys++) {
		if (!strcmp(keys->name, name))
			return keys;
	}
	return NULL;
}

static int convert_map(struct walk *w, yaml_node_t *n, const struct yamlcfg_type *t, const char *what,
		       unsigned int depth, json_t *map)
{
	if (n->type != YAML_MAPPING_NODE)
		return bad(w, n, "%s must be a map (key: value)", what);
	for (yaml_node_pair_t *p = n->data.mapping.pairs.start; p < n->data.mapping.pairs.top; p++) {
		yaml_node_t *kn = yaml_document_get_node(w->doc, p->key),
			    *vn = yaml_document_get_node(w->doc, p->value);
		const char *key = NULL;
		char label[160];
		int err = scalar(w, kn, "a key", &key);
		if (err)
			return err;
		const struct yamlcfg_type *vt = t->item;
		if (t->kind == YAMLCFG_RECORD) {
			const struct yamlcfg_key *k = find_key(t->keys, key), *like = nearest(t->keys, key);
			if (!k && like)
				return bad(w, kn, "unknown key '%s'; the nearest known key is '%s'", key, like->name);
			if (!k)
				return bad(w, kn, "unknown key '%s'", key);
			vt = &k->type;
		}
		if (json_object_get(map, key))
			return bad(w, kn, "'%s' is given twice", key);
		json_t *v = NULL;
		snprintf(label, sizeof label, "'%s'", key);
		err = convert(w, vn, vt, label, depth, &v);
		if (err)
			return err;
		if (json_object_set_new(map, key, v))
			return bad(w, kn, "'%s' is not valid text", key);
	}
	for (const struct yamlcfg_key *k = t->kind == YAMLCFG_RECORD ? t->keys : NULL; k && k->name; k++) {
		if (k->required && !json_object_get(map, k->name))
			return bad(w, n, "%s lacks the key '%s'", what, k->name);
	}
	return 0;
}

static int convert(struct walk *w, yaml_node_t *n, const struct yamlcfg_type *t, const char *what, unsigned int depth,
		   json_t **out)
{
	if (depth >= YAMLCFG_MAX_DEPTH)
		return bad(w, n, "nested too deeply");
	if (t->kind != YAMLCFG_LIST && t->kind != YAMLCFG_MAP && t->kind != YAMLCFG_RECORD)
		return convert_scalar(w, n, t, what, out);
	json_t *tree = t->kind == YAMLCFG_LIST ? json_array() : json_object();
	if (!tree)
		return fault_set(w->fault, -ENOMEM, "out of memory");
	int err = t->kind == YAMLCFG_LIST ? convert_list(w, n, t, what, depth + 1, tree)
					  : convert_map(w, n, t, what, depth + 1, tree);
	if (err)
		json_decref(tree);
	else
		*out = tree;
	return err;
}

static int not_yaml(const yaml_parser_t *p, const char *text, size_t len, const char *name, struct fault *f)
{
	return fault_set(f, -EINVAL, "%s:%zu: %s", name, p->problem_mark.line + 1, yaml_problem(p, text, len));
}

// libyaml resolves aliases by itself, which lets a small text stand for a huge tree: they are refused on the events,
// before a document is built. Also refused there: anchors, explicit tags and a second document.
static int refuse_indirection(const char *text, size_t len, const char *name, struct fault *f)
{
	yaml_parser_t parser;
	yaml_event_t e;
	int err = 0;
	unsigned int documents = 0;
	if (!yaml_parser_initialize(&parser))
		return fault_set(f, -ENOMEM, "out of memory");
	yaml_parser_set_input_string(&parser, (const unsigned char *)text, len);
	for (bool end = false; !end && !err;) {
		if (!yaml_parser_parse(&parser, &e)) {
			err = not_yaml(&parser, text, len, name, f);
			break;
		}
		size_t line = e.start_mark.line + 1;
		bool odd = e.type == YAML_ALIAS_EVENT;
		if (e.type == YAML_SCALAR_EVENT)
			odd = e.data.scalar.anchor || e.data.scalar.tag;
		else if (e.type == YAML_SEQUENCE_START_EVENT)
			odd = e.data.sequence_start.anchor || e.data.sequence_start.tag;
		else if (e.type == YAML_MAPPING_START_EVENT)
			odd = e.data.mapping_start.anchor || e.data.mapping_start.tag;
		if (odd)
			err = fault_set(f, -EINVAL, "%s:%zu: anchors, aliases and tags are not accepted here", name,
					line);
		else if (e.type == YAML_DOCUMENT_START_EVENT && ++documents > 1)
			err = fault_set(f, -EINVAL, "%s:%zu: a second document; there must be one", name, line);
		end = e.type == YAML_STREAM_END_EVENT;
		yaml_event_delete(&e);
	}
	yaml_parser_delete(&parser);
	return err;
}

int yamlcfg_parse(const char *text, size_t len, const char *name, const struct yamlcfg_type *type, json_t **out,
		  struct fault *f)
{
	yaml_parser_t parser;
	yaml_document_t doc;
	if (len > YAMLCFG_MAX_BYTES)
		return fault_set(f, -EFBIG, "%s is larger than %u bytes", name, YAMLCFG_MAX_BYTES);
	int err = refuse_indirection(text, len, name, f);
	if (err)
		return err;
	if (!yaml_parser_initialize(&parser))
		return fault_set(f, -ENOMEM, "out of memory");
	yaml_parser_set_input_string(&parser, (const unsigned char *)text, len);
	if (!yaml_parser_load(&parser, &doc)) {
		err = not_yaml(&parser, text, len, name, f);
		goto out;
	}
	struct walk w = {.doc = &doc, .name = name, .fault = f};
	yaml_node_t *root = yaml_document_get_root_node(&doc);
	if (root) {
		err = convert(&w, root, type, "the file", 0, out);
	} else {	// an empty file is an empty map
		*out = json_object();
		err = *out ? 0 : fault_set(f, -ENOMEM, "out of memory");
	}
	yaml_document_delete(&doc);
out:
	yaml_parser_delete(&parser);
	return err;
}

int yamlcfg_load(const char *path, const struct yamlcfg_type *type, json_t **out, struct fault *f)
{
	char *text;
	size_t len;
	int err = file_read(path, YAMLCFG_MAX_BYTES, &text, &len, f);
	if (err)
		return err;
	err = yamlcfg_parse(text, len, path, type, out, f);
	free(text);
	return err;
}

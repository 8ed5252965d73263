// SPDX-License-Identifier: Apache-2.0
// See config_read.h.
#include "image/config_read.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <string.h>

int config_bad(struct config_reader *r, const yaml_node_t *node, const char *format, ...)
{
	char message[1024];
	va_list args;

	va_start(args, format);
	vsnprintf(message, sizeof(message), format, args);
	va_end(args);
	return fault_set(r->problem, -EINVAL, "%s:%zu: %s", r->file, node->start_mark.line + 1, message);
}

const char *config_type_name(const yaml_node_t *node)
{
	switch (node->type) {
	case YAML_SCALAR_NODE: return "a single value";
	case YAML_SEQUENCE_NODE: return "a list";
	case YAML_MAPPING_NODE: return "a map";
	default: return "nothing";
	}
}

int config_read_scalar(struct config_reader *r, yaml_node_t *node, const char *key, const char **out)
{
	*out = "";
	if (node->type != YAML_SCALAR_NODE)
		return config_bad(r, node, "'%s' takes one value, not %s", key, config_type_name(node));
	if (memchr(node->data.scalar.value, '\0', node->data.scalar.length))
		return config_bad(r, node, "'%s' holds a NUL byte", key);
	*out = (const char *)node->data.scalar.value;
	return 0;
}

bool config_is_empty(const yaml_node_t *node)
{
	return node->type == YAML_SCALAR_NODE && node->data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
	       (node->data.scalar.length == 0 || !strcmp((const char *)node->data.scalar.value, "~") ||
		!strcmp((const char *)node->data.scalar.value, "null"));
}

int config_read_bool(struct config_reader *r, yaml_node_t *node, const char *key, bool *out)
{
	const char *s;
	int err = config_read_scalar(r, node, key, &s);

	if (err)
		return err;
	if (strcmp(s, "true") != 0 && strcmp(s, "false") != 0)
		return config_bad(r, node, "'%s' is true or false, not '%s'", key, s);
	*out = *s == 't';
	return 0;
}

int config_read_list(struct config_reader *r, yaml_node_t *node, const char *key, struct string_list *out)
{
	const char *s;
	int err;

	if (node->type != YAML_SEQUENCE_NODE)
		return config_bad(r, node, "'%s' is a list, such as [one, two], not %s", key, config_type_name(node));
	for (yaml_node_item_t *i = node->data.sequence.items.start; i < node->data.sequence.items.top; i++) {
		err = config_read_scalar(r, yaml_document_get_node(r->doc, *i), key, &s);
		if (err)
			return err;
		string_list_add(out, s);
	}
	return 0;
}

static int unknown_key(struct config_reader *r, yaml_node_t *node, const char *name, const char *where, const struct config_key *keys)
{
	const char *nearest = NULL;
	unsigned int best = UINT_MAX;
	struct text known = {0};
	int err;

	for (const struct config_key *k = keys; k->name; k++) {
		unsigned int distance = edit_distance(name, k->name);

		if (distance < best) {
			best = distance;
			nearest = k->name;
		}
		text_printf(&known, "%s%s", known.len ? ", " : "", k->name);
	}
	if (nearest && best <= 1 + strlen(name) / 3)
		err = config_bad(r, node, "unknown key '%s'%s: did you mean '%s'?", name, where, nearest);
	else
		err = config_bad(r, node, "unknown key '%s'%s; known keys: %s", name, where, known.data);
	text_free(&known);
	return err;
}

int config_read_map(struct config_reader *r, yaml_node_t *node, const char *where, const struct config_key *keys)
{
	uint64_t seen = 0;
	int err;

	if (node->type != YAML_MAPPING_NODE)
		return config_bad(r, node, "expected a map of key: value lines%s, not %s", where, config_type_name(node));
	for (yaml_node_pair_t *i = node->data.mapping.pairs.start; i < node->data.mapping.pairs.top; i++) {
		yaml_node_t *name_node = yaml_document_get_node(r->doc, i->key);
		yaml_node_t *value = yaml_document_get_node(r->doc, i->value);
		const struct config_key *k = keys;
		const char *name;

		err = config_read_scalar(r, name_node, "a key", &name);
		if (err)
			return err;
		while (k->name && strcmp(k->name, name) != 0)
			k++;
		if (!k->name)
			return unknown_key(r, name_node, name, where, keys);
		if (seen & 1ull << (k - keys))
			return config_bad(r, name_node, "'%s' is given twice", name);
		seen |= 1ull << (k - keys);
		if (!config_is_empty(value)) {
			err = k->read(r, value, name);
			if (err)
				return err;
		}
	}
	return 0;
}

bool config_is_name(const char *s)
{
	size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.");

	return n && n <= 64 && !s[n] && s[0] != '.' && s[0] != '-';
}

bool config_is_environment_name(const char *s)
{
	size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_");

	return n && !s[n] && !isdigit((unsigned char)s[0]);
}

bool config_is_clean_path(const char *s)
{
	if (s[0] != '/')
		return false;
	if (!s[1])
		return true;
	while (*s) {
		size_t n = strcspn(++s, "/");

		if (!n || (n == 1 && s[0] == '.') || (n == 2 && s[0] == '.' && s[1] == '.'))
			return false;
		s += n;
	}
	return true;
}

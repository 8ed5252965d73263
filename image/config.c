// SPDX-License-Identifier: Apache-2.0
// coffer.yaml, strictly: each key is known, has one type and appears once, and every message names file and line.
#include "image/config.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

enum { CONFIG_MAX_BYTES = 1 << 20, CA_MAX_BYTES = 256 << 10 };

struct reader {
	yaml_document_t *doc;
	const char *file;
	const char *folder;
	struct config *config;
	struct fault *problem;
};

struct key {
	const char *name;
	int (*read)(struct reader *r, yaml_node_t *value, const char *key);
};

__attribute__((format(printf, 3, 4)))
static int bad(struct reader *r, const yaml_node_t *node, const char *format, ...)
{
	char message[1024];
	va_list args;

	va_start(args, format);
	vsnprintf(message, sizeof(message), format, args);
	va_end(args);
	return fault_set(r->problem, -EINVAL, "%s:%zu: %s", r->file, node->start_mark.line + 1, message);
}

static const char *type_name(const yaml_node_t *node)
{
	switch (node->type) {
	case YAML_SCALAR_NODE: return "a single value";
	case YAML_SEQUENCE_NODE: return "a list";
	case YAML_MAPPING_NODE: return "a map";
	default: return "nothing";
	}
}

static int read_scalar(struct reader *r, yaml_node_t *node, const char *key, const char **out)
{
	*out = "";
	if (node->type != YAML_SCALAR_NODE)
		return bad(r, node, "'%s' takes one value, not %s", key, type_name(node));
	if (memchr(node->data.scalar.value, '\0', node->data.scalar.length))
		return bad(r, node, "'%s' holds a NUL byte", key);
	*out = (const char *)node->data.scalar.value;
	return 0;
}

// A key with nothing after it, or ~: the same as leaving the key out.
static bool is_empty(const yaml_node_t *node)
{
	return node->type == YAML_SCALAR_NODE && node->data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
	       (node->data.scalar.length == 0 || !strcmp((const char *)node->data.scalar.value, "~") ||
		!strcmp((const char *)node->data.scalar.value, "null"));
}

static int read_bool(struct reader *r, yaml_node_t *node, const char *key, bool *out)
{
	const char *s;
	int err = read_scalar(r, node, key, &s);

	if (err)
		return err;
	if (strcmp(s, "true") != 0 && strcmp(s, "false") != 0)
		return bad(r, node, "'%s' is true or false, not '%s'", key, s);
	*out = *s == 't';
	return 0;
}

static int read_list(struct reader *r, yaml_node_t *node, const char *key, struct string_list *out)
{
	const char *s;
	int err;

	if (node->type != YAML_SEQUENCE_NODE)
		return bad(r, node, "'%s' is a list, such as [one, two], not %s", key, type_name(node));
	for (yaml_node_item_t *i = node->data.sequence.items.start; i < node->data.sequence.items.top; i++) {
		err = read_scalar(r, yaml_document_get_node(r->doc, *i), key, &s);
		if (err)
			return err;
		string_list_add(out, s);
	}
	return 0;
}

static int unknown_key(struct reader *r, yaml_node_t *node, const char *name, const char *where, const struct key *keys)
{
	const char *nearest = NULL;
	unsigned int best = UINT_MAX;
	struct text known = {0};
	int err;

	for (const struct key *k = keys; k->name; k++) {
		unsigned int distance = edit_distance(name, k->name);

		if (distance < best) {
			best = distance;
			nearest = k->name;
		}
		text_printf(&known, "%s%s", known.len ? ", " : "", k->name);
	}
	if (nearest && best <= 1 + strlen(name) / 3)
		err = bad(r, node, "unknown key '%s'%s: did you mean '%s'?", name, where, nearest);
	else
		err = bad(r, node, "unknown key '%s'%s; known keys: %s", name, where, known.data);
	text_free(&known);
	return err;
}

static int read_map(struct reader *r, yaml_node_t *node, const char *where, const struct key *keys)
{
	uint64_t seen = 0;
	int err;

	if (node->type != YAML_MAPPING_NODE)
		return bad(r, node, "expected a map of key: value lines%s, not %s", where, type_name(node));
	for (yaml_node_pair_t *i = node->data.mapping.pairs.start; i < node->data.mapping.pairs.top; i++) {
		yaml_node_t *name_node = yaml_document_get_node(r->doc, i->key);
		yaml_node_t *value = yaml_document_get_node(r->doc, i->value);
		const struct key *k = keys;
		const char *name;

		err = read_scalar(r, name_node, "a key", &name);
		if (err)
			return err;
		while (k->name && strcmp(k->name, name) != 0)
			k++;
		if (!k->name)
			return unknown_key(r, name_node, name, where, keys);
		if (seen & 1ull << (k - keys))
			return bad(r, name_node, "'%s' is given twice", name);
		seen |= 1ull << (k - keys);
		if (!is_empty(value)) {
			err = k->read(r, value, name);
			if (err)
				return err;
		}
	}
	return 0;
}

static bool is_name(const char *s)
{
	size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.");

	return n && n <= 64 && !s[n] && s[0] != '.' && s[0] != '-';
}

static bool is_environment_name(const char *s)
{
	size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_");

	return n && !s[n] && !isdigit((unsigned char)s[0]);
}

// Absolute, without empty, "." or ".." parts and without a closing slash: one path has one spelling.
static bool is_clean_path(const char *s)
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

static int read_name(struct reader *r, yaml_node_t *value, const char *key)
{
	const char *s;
	int err = read_scalar(r, value, key, &s);

	if (err)
		return err;
	if (!is_name(s))
		return bad(r, value, "'name' may have up to 64 letters, digits and - _ . and begins with a letter or digit");
	free(r->config->name);
	r->config->name = xstrdup(s);
	return 0;
}

static int read_command(struct reader *r, yaml_node_t *value, const char *key)
{
	int err = read_list(r, value, key, &r->config->command);

	if (!err && r->config->command.count && !r->config->command.items[0][0])
		err = bad(r, value, "the first item of 'command' is the program: it is empty");
	return err;
}

static int read_host_arguments(struct reader *r, yaml_node_t *value, const char *key)
{
	return read_bool(r, value, key, &r->config->host_arguments);
}

static int compare_pairs(const void *a, const void *b)
{
	return strcmp(((const struct config_pair *)a)->name, ((const struct config_pair *)b)->name);
}

static int read_environment(struct reader *r, yaml_node_t *value, const char *key)
{
	struct config *c = r->config;
	int err;

	if (value->type != YAML_MAPPING_NODE)
		return bad(r, value, "'%s' is a map of NAME: value lines, not %s", key, type_name(value));
	for (yaml_node_pair_t *i = value->data.mapping.pairs.start; i < value->data.mapping.pairs.top; i++) {
		yaml_node_t *name_node = yaml_document_get_node(r->doc, i->key);
		const char *name, *text;

		err = read_scalar(r, name_node, key, &name);
		if (!err)
			err = read_scalar(r, yaml_document_get_node(r->doc, i->value), name, &text);
		if (err)
			return err;
		if (!is_environment_name(name))
			return bad(r, name_node, "'%s' cannot be the name of an environment variable", name);
		for (size_t k = 0; k < c->environment_count; k++)
			if (!strcmp(c->environment[k].name, name))
				return bad(r, name_node, "'%s' is given twice", name);
		c->environment = xrealloc(c->environment, (c->environment_count + 1) * sizeof(*c->environment));
		c->environment[c->environment_count++] = (struct config_pair){xstrdup(name), xstrdup(text)};
	}
	if (c->environment_count)
		qsort(c->environment, c->environment_count, sizeof(*c->environment), compare_pairs);
	return 0;
}

static int read_host_environment(struct reader *r, yaml_node_t *value, const char *key)
{
	int err = read_list(r, value, key, &r->config->host_environment);

	if (err)
		return err;
	for (size_t i = 0; i < r->config->host_environment.count; i++)
		if (!is_environment_name(r->config->host_environment.items[i]))
			return bad(r, value, "'%s' cannot be the name of an environment variable",
				   r->config->host_environment.items[i]);
	string_list_sort(&r->config->host_environment);
	return 0;
}

static int read_working_directory(struct reader *r, yaml_node_t *value, const char *key)
{
	const char *s;
	int err = read_scalar(r, value, key, &s);

	if (err)
		return err;
	if (!is_clean_path(s))
		return bad(r, value, "'%s' is an absolute path such as /app, not '%s'", key, s);
	free(r->config->working_directory);
	r->config->working_directory = xstrdup(s);
	return 0;
}

static struct config_volume *newest_volume(struct reader *r)
{
	return &r->config->volumes[r->config->volume_count - 1];
}

static int read_volume_mode(struct reader *r, yaml_node_t *value, const char *key)
{
	const char *s;
	int err = read_scalar(r, value, key, &s);

	if (err)
		return err;
	if (strcmp(s, "ro") != 0 && strcmp(s, "rw") != 0)
		return bad(r, value, "'mode' is ro or rw, not '%s'", s);
	newest_volume(r)->read_only = s[1] == 'o';
	return 0;
}

static int read_volume_name(struct reader *r, yaml_node_t *value, const char *key)
{
	const char *s;
	int err = read_scalar(r, value, key, &s);

	if (err)
		return err;
	if (strlen(s) != 32 || strspn(s, "0123456789abcdef") != 32)
		return bad(r, value, "a volume's 'name' is its id: 32 hex digits, as `coffer volume info` prints it");
	free(newest_volume(r)->name);
	newest_volume(r)->name = xstrdup(s);
	return 0;
}

static int read_volume_key(struct reader *r, yaml_node_t *value, const char *key)
{
	const char *s;
	int err = read_scalar(r, value, key, &s);

	if (err)
		return err;
	if (strcmp(s, "broker") != 0 && strcmp(s, "sealing") != 0)
		return bad(r, value, "a volume's 'key' is broker, or sealing: the enclave's own sealing key, not '%s'", s);
	newest_volume(r)->sealing = *s == 's';
	return 0;
}

static int read_volume_bind(struct reader *r, yaml_node_t *value, const char *key)
{
	const char *s;
	int err = read_scalar(r, value, key, &s);

	if (err)
		return err;
	if (!strcmp(s, "signer"))
		return bad(r, value, "'bind: signer' needs a platform that knows who signed an enclave; the simulated TEE knows its measurement only");
	if (strcmp(s, "measurement") != 0)
		return bad(r, value, "'bind' is measurement, not '%s'", s);
	return 0;
}

static const struct key volume_keys[] = {
	{"bind", read_volume_bind},
	{"key", read_volume_key},
	{"mode", read_volume_mode},
	{"name", read_volume_name},
	{0},
};

static int compare_volumes(const void *a, const void *b)
{
	return strcmp(((const struct config_volume *)a)->path, ((const struct config_volume *)b)->path);
}

static int read_volumes(struct reader *r, yaml_node_t *value, const char *key)
{
	struct config *c = r->config;
	int err;

	if (value->type != YAML_MAPPING_NODE)
		return bad(r, value, "'%s' is a map such as /data: {mode: ro}, not %s", key, type_name(value));
	for (yaml_node_pair_t *i = value->data.mapping.pairs.start; i < value->data.mapping.pairs.top; i++) {
		yaml_node_t *path_node = yaml_document_get_node(r->doc, i->key);
		yaml_node_t *settings = yaml_document_get_node(r->doc, i->value);
		const char *path;

		err = read_scalar(r, path_node, key, &path);
		if (err)
			return err;
		if (!is_clean_path(path) || !path[1])
			return bad(r, path_node, "a volume is mounted at an absolute path such as /data, not '%s'", path);
		if (!strcmp(path, "/.coffer") || starts_with(path, "/.coffer/"))
			return bad(r, path_node, "/.coffer belongs to Coffer: mount the volume elsewhere");
		for (size_t k = 0; k < c->volume_count; k++)
			if (!strcmp(c->volumes[k].path, path))
				return bad(r, path_node, "'%s' is given twice", path);
		c->volumes = xrealloc(c->volumes, (c->volume_count + 1) * sizeof(*c->volumes));
		c->volumes[c->volume_count++] = (struct config_volume){.path = xstrdup(path), .read_only = true, .name = xstrdup("")};
		if (!is_empty(settings)) {
			err = read_map(r, settings, " of a volume", volume_keys);
			if (err)
				return err;
		}
	}
	if (c->volume_count)
		qsort(c->volumes, c->volume_count, sizeof(*c->volumes), compare_volumes);
	return 0;
}

static struct config_secret *newest_secret(struct reader *r)
{
	return &r->config->secrets[r->config->secret_count - 1];
}

// repository/type/tag, as the broker has them.
static bool is_resource(const char *s)
{
	unsigned int parts = 0;

	if (strlen(s) > 200)
		return false;
	for (;; s++) {
		size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.");

		if (!n || n > 64 || (n <= 2 && strspn(s, ".") >= n))
			return false;
		parts++;
		s += n;
		if (*s != '/')
			return !*s && parts == 3;
	}
}

static int read_secret_resource(struct reader *r, yaml_node_t *value, const char *key)
{
	const char *s;
	int err = read_scalar(r, value, key, &s);

	if (err)
		return err;
	if (!is_resource(s))
		return bad(r, value, "a secret is a resource of the broker, such as default/app/password, not '%s'", s);
	free(newest_secret(r)->resource);
	newest_secret(r)->resource = xstrdup(s);
	return 0;
}

static int read_secret_number(struct reader *r, yaml_node_t *value, const char *key, unsigned long max, unsigned int *out)
{
	const char *s;
	int err = read_scalar(r, value, key, &s);

	if (err)
		return err;
	if (!*s || strlen(s) > 9 || strspn(s, "0123456789") != strlen(s) || strtoul(s, NULL, 10) > max)
		return bad(r, value, "'%s' of a secret is a number up to %lu, not '%s'", key, max, s);
	*out = (unsigned int)strtoul(s, NULL, 10);
	return 0;
}

static int read_secret_version(struct reader *r, yaml_node_t *value, const char *key)
{
	return read_secret_number(r, value, key, 1000000, &newest_secret(r)->version);
}

static int read_secret_owner(struct reader *r, yaml_node_t *value, const char *key)
{
	return read_secret_number(r, value, key, 65534, &newest_secret(r)->owner);
}

static int read_secret_group(struct reader *r, yaml_node_t *value, const char *key)
{
	return read_secret_number(r, value, key, 65534, &newest_secret(r)->group);
}

static int read_secret_mode(struct reader *r, yaml_node_t *value, const char *key)
{
	const char *s;
	int err = read_scalar(r, value, key, &s);

	if (err)
		return err;
	if (strlen(s) < 3 || strlen(s) > 4 || strspn(s, "01234567") != strlen(s) || strtoul(s, NULL, 8) > 0777)
		return bad(r, value, "'mode' of a secret is octal, such as 0400, not '%s'", s);
	newest_secret(r)->mode = (unsigned int)strtoul(s, NULL, 8);
	return 0;
}

static const struct key secret_keys[] = {
	{"group", read_secret_group},
	{"mode", read_secret_mode},
	{"owner", read_secret_owner},
	{"resource", read_secret_resource},
	{"version", read_secret_version},
	{0},
};

static int compare_secrets(const void *a, const void *b)
{
	return strcmp(((const struct config_secret *)a)->path, ((const struct config_secret *)b)->path);
}

static int read_secrets(struct reader *r, yaml_node_t *value, const char *key)
{
	struct config *c = r->config;
	int err;

	if (value->type != YAML_MAPPING_NODE)
		return bad(r, value, "'%s' is a map such as /run/secrets/password: default/app/password, not %s", key, type_name(value));
	for (yaml_node_pair_t *i = value->data.mapping.pairs.start; i < value->data.mapping.pairs.top; i++) {
		yaml_node_t *path_node = yaml_document_get_node(r->doc, i->key);
		yaml_node_t *settings = yaml_document_get_node(r->doc, i->value);
		const char *path;

		err = read_scalar(r, path_node, key, &path);
		if (err)
			return err;
		if (!is_clean_path(path) || !starts_with(path, "/run/") || strlen(path) > 255)
			return bad(r, path_node, "a secret becomes a file in memory, below /run, such as /run/secrets/password, not '%s'", path);
		for (size_t k = 0; k < c->secret_count; k++)
			if (!strcmp(c->secrets[k].path, path))
				return bad(r, path_node, "'%s' is given twice", path);
		if (c->secret_count == CONFIG_MAX_SECRETS)
			return bad(r, path_node, "more than %d secrets", CONFIG_MAX_SECRETS);
		c->secrets = xrealloc(c->secrets, (c->secret_count + 1) * sizeof(*c->secrets));
		c->secrets[c->secret_count++] = (struct config_secret){.path = xstrdup(path), .mode = 0400};
		err = settings->type == YAML_SCALAR_NODE ? read_secret_resource(r, settings, "resource") : read_map(r, settings, " of a secret", secret_keys);
		if (err)
			return err;
		if (!newest_secret(r)->resource)
			return bad(r, path_node, "which secret of the broker is to be at %s? Its 'resource' is missing", path);
	}
	if (c->secret_count)
		qsort(c->secrets, c->secret_count, sizeof(*c->secrets), compare_secrets);
	return 0;
}

static int read_copy_from(struct reader *r, yaml_node_t *value, const char *key)
{
	const char *s;
	int err = read_scalar(r, value, key, &s);

	if (!err)
		r->config->copy[r->config->copy_count - 1].from = xstrdup(s);
	return err;
}

static int read_copy_to(struct reader *r, yaml_node_t *value, const char *key)
{
	const char *s;
	int err = read_scalar(r, value, key, &s);

	if (err)
		return err;
	if (!is_clean_path(s))
		return bad(r, value, "'to' is an absolute path in the image, not '%s'", s);
	r->config->copy[r->config->copy_count - 1].to = xstrdup(s);
	return 0;
}

static const struct key copy_keys[] = {
	{"from", read_copy_from},
	{"to", read_copy_to},
	{0},
};

static int read_copy(struct reader *r, yaml_node_t *value, const char *key)
{
	struct config *c = r->config;
	const char *s;
	int err;

	if (value->type != YAML_SEQUENCE_NODE)
		return bad(r, value, "'%s' is a list such as [/usr/bin/python3, score.py], not %s", key, type_name(value));
	for (yaml_node_item_t *i = value->data.sequence.items.start; i < value->data.sequence.items.top; i++) {
		yaml_node_t *item = yaml_document_get_node(r->doc, *i);

		c->copy = xrealloc(c->copy, (c->copy_count + 1) * sizeof(*c->copy));
		c->copy[c->copy_count++] = (struct config_copy){0};
		if (item->type == YAML_MAPPING_NODE) {
			err = read_map(r, item, " of 'copy'", copy_keys);
		} else {
			err = read_scalar(r, item, key, &s);
			if (!err)
				c->copy[c->copy_count - 1].from = xstrdup(s);
		}
		if (err)
			return err;
		if (!c->copy[c->copy_count - 1].from || !c->copy[c->copy_count - 1].from[0])
			return bad(r, item, "an item of 'copy' says what to copy: a path, or {from: path, to: path in the image}");
	}
	return 0;
}

int config_parse_size(const char *s, uint64_t *bytes)
{
	unsigned int shift = 0;
	uint64_t value = 0;

	if (!isdigit((unsigned char)*s))
		return -EINVAL;
	for (; isdigit((unsigned char)*s); s++) {
		if (value > UINT64_MAX / 100)
			return -ERANGE;
		value = value * 10 + (uint64_t)(*s - '0');
	}
	switch (*s) {
	case 'K': shift = 10; s++; break;
	case 'M': shift = 20; s++; break;
	case 'G': shift = 30; s++; break;
	case 'T': shift = 40; s++; break;
	}
	if (*s)
		return -EINVAL;
	if (value > UINT64_MAX >> shift)
		return -ERANGE;
	*bytes = value << shift;
	return 0;
}

static int read_memory(struct reader *r, yaml_node_t *value, const char *key)
{
	const char *s;
	int err = read_scalar(r, value, key, &s);

	if (err)
		return err;
	err = config_parse_size(s, &r->config->memory_bytes);
	if (err)
		return bad(r, value, "'%s' is a size such as 512M or 8G, not '%s'", key, s);
	if (r->config->memory_bytes < 64 << 20 || r->config->memory_bytes > 200ull << 30 ||
	    r->config->memory_bytes % (2 << 20))
		return bad(r, value, "'%s' is between 64M and 200G and a multiple of 2M", key);
	return 0;
}

static int read_volume_cache(struct reader *r, yaml_node_t *value, const char *key)
{
	const char *s;
	int err = read_scalar(r, value, key, &s);

	if (err)
		return err;
	err = config_parse_size(s, &r->config->volume_cache_bytes);
	if (err)
		return bad(r, value, "'%s' is a size such as 16M or 256M, not '%s'", key, s);
	if (r->config->volume_cache_bytes < 1 << 20 || r->config->volume_cache_bytes > 4ull << 30 ||
	    r->config->volume_cache_bytes % (1 << 20))
		return bad(r, value, "'%s' is between 1M and 4G and a multiple of 1M", key);
	return 0;
}

static int compare_ports(const void *a, const void *b)
{
	return *(const uint16_t *)a - *(const uint16_t *)b;
}

static int read_listen(struct reader *r, yaml_node_t *value, const char *key)
{
	struct config *c = r->config;
	struct string_list ports = {0};
	int err = read_list(r, value, key, &ports);

	for (size_t i = 0; !err && i < ports.count; i++) {
		char *end;
		unsigned long port = strtoul(ports.items[i], &end, 10);

		if (!isdigit((unsigned char)ports.items[i][0]) || *end || port < 1 || port > 65535)
			err = bad(r, value, "'%s' in '%s' is not a port (1 to 65535)", ports.items[i], key);
		else if (config_listens(c, (unsigned int)port))
			err = bad(r, value, "port %lu is given twice", port);
		else if (c->listen_count == CONFIG_MAX_PORTS)
			err = bad(r, value, "'%s' takes at most %d ports", key, CONFIG_MAX_PORTS);
		else
			c->listen[c->listen_count++] = (uint16_t)port;
	}
	qsort(c->listen, c->listen_count, sizeof(*c->listen), compare_ports);
	string_list_free(&ports);
	return err;
}

static int read_connect(struct reader *r, yaml_node_t *value, const char *key)
{
	const char *s;
	int err = read_scalar(r, value, key, &s);

	if (err)
		return err;
	if (strcmp(s, "any") != 0 && strcmp(s, "none") != 0)
		return bad(r, value, "'%s' is any or none, not '%s'", key, s);
	r->config->connect_any = s[0] == 'a';
	return 0;
}

static const struct key network_keys[] = {
	{"listen", read_listen},
	{"connect", read_connect},
	{0},
};

static int read_network(struct reader *r, yaml_node_t *value, const char *key)
{
	(void)key;
	return read_map(r, value, " of 'network'", network_keys);
}

static int read_broker_ca(struct reader *r, yaml_node_t *value, const char *key)
{
	struct fault why;
	struct text pem = {0};
	const char *s;
	char *path;
	int err = read_scalar(r, value, key, &s);

	if (err)
		return err;
	path = s[0] == '/' ? xstrdup(s) : xasprintf("%s/%s", r->folder, s);
	if (text_read_file(&pem, path, CA_MAX_BYTES, &why))
		err = bad(r, value, "broker: ca: %s", why.text);
	else if (strlen(pem.data) != pem.len || !strstr(pem.data, "-----BEGIN CERTIFICATE-----"))
		err = bad(r, value, "broker: ca: %s holds no PEM certificate", path);
	else {
		free(r->config->broker_ca);
		r->config->broker_ca = xstrdup(pem.data);
	}
	text_free(&pem);
	free(path);
	return err;
}

static int read_broker_name(struct reader *r, yaml_node_t *value, const char *key)
{
	const char *s;
	int err = read_scalar(r, value, key, &s);

	if (!err && (!*s || strlen(s) > 253 || strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-:") != strlen(s)))
		err = bad(r, value, "broker: name: '%s' is not the name or address of a host", s);
	if (!err) {
		free(r->config->broker_name);
		r->config->broker_name = xstrdup(s);
	}
	return err;
}

static int read_count(struct reader *r, yaml_node_t *value, const char *key, const char *what, unsigned long max, int *out)
{
	const char *s;
	char *end;
	int err = read_scalar(r, value, key, &s);

	if (err)
		return err;
	unsigned long n = strtoul(s, &end, 10);
	if (!isdigit((unsigned char)*s) || *end || n > max)
		return bad(r, value, "%s takes a number of %s, from 0 to %lu, not '%s'", key, what, max, s);
	*out = (int)n;
	return 0;
}

static int read_anchor(struct reader *r, yaml_node_t *value, const char *key)
{
	const char *s;
	int err = read_scalar(r, value, key, &s);

	if (err)
		return err;
	if (strcmp(s, "broker") != 0 && strcmp(s, "tpm") != 0 && strcmp(s, "none") != 0)
		return bad(r, value, "'anchor' is broker, tpm or none, not '%s'", s);
	free(r->config->anchor);
	r->config->anchor = xstrdup(s);
	return 0;
}

static int read_anchor_fsync(struct reader *r, yaml_node_t *value, const char *key)
{
	return read_bool(r, value, key, &r->config->anchor_fsync);
}

static int read_anchor_every(struct reader *r, yaml_node_t *value, const char *key)
{
	return read_count(r, value, key, "milliseconds", 3600000, &r->config->anchor_every);
}

static int read_anchor_bound(struct reader *r, yaml_node_t *value, const char *key)
{
	return read_count(r, value, key, "seconds", 3600, &r->config->anchor_bound);
}

static int read_broker_timeout(struct reader *r, yaml_node_t *value, const char *key)
{
	(void)key;
	return read_count(r, value, "broker: timeout:", "seconds", 3600, &r->config->broker_timeout);
}

static const struct key broker_keys[] = {
	{"ca", read_broker_ca},
	{"name", read_broker_name},
	{"timeout", read_broker_timeout},
	{0},
};

static int read_broker(struct reader *r, yaml_node_t *value, const char *key)
{
	(void)key;
	return read_map(r, value, " of 'broker'", broker_keys);
}

static int read_debug_enclave(struct reader *r, yaml_node_t *value, const char *key)
{
	return read_bool(r, value, key, &r->config->debug_enclave);
}

static int read_encrypt(struct reader *r, yaml_node_t *value, const char *key)
{
	return read_bool(r, value, key, &r->config->encrypt);
}

static int read_restartable_sequences(struct reader *r, yaml_node_t *value, const char *key)
{
	return read_bool(r, value, key, &r->config->restartable_sequences);
}

static int read_insecure_host_mounts(struct reader *r, yaml_node_t *value, const char *key)
{
	return bad(r, value, "'%s': this version cannot mount host folders; put the files into the image (copy:) or "
		   "seal them into a volume (coffer seal)", key);
}

static const struct key top_keys[] = {
	{"name", read_name},
	{"command", read_command},
	{"host_arguments", read_host_arguments},
	{"environment", read_environment},
	{"host_environment", read_host_environment},
	{"working_directory", read_working_directory},
	{"volumes", read_volumes},
	{"volume_cache", read_volume_cache},
	{"copy", read_copy},
	{"memory", read_memory},
	{"network", read_network},
	{"anchor", read_anchor},
	{"anchor_bound", read_anchor_bound},
	{"anchor_every", read_anchor_every},
	{"anchor_fsync", read_anchor_fsync},
	{"broker", read_broker},
	{"encrypt", read_encrypt},
	{"restartable_sequences", read_restartable_sequences},
	{"secrets", read_secrets},
	{"debug_enclave", read_debug_enclave},
	{"insecure_host_mounts", read_insecure_host_mounts},
	{0},
};

static int check_whole(struct reader *r, const yaml_node_t *root)
{
	struct config *c = r->config;

	if (!c->command.count && !c->host_arguments)
		return bad(r, root, "'command' is missing: it says what runs in the enclave "
			   "(or let the host choose with host_arguments: true)");
	for (size_t i = 0; i < c->host_environment.count; i++)
		for (size_t k = 0; k < c->environment_count; k++)
			if (!strcmp(c->host_environment.items[i], c->environment[k].name))
				return bad(r, root, "'%s' is fixed by 'environment', so 'host_environment' cannot let the host "
					   "set it", c->environment[k].name);
	return 0;
}

static int parse_document(struct reader *r, yaml_parser_t *parser)
{
	yaml_document_t doc;
	yaml_node_t *root;
	int err;

	if (!yaml_parser_load(parser, &doc))
		return fault_set(r->problem, -EINVAL, "%s:%zu: not valid YAML: %s", r->file, parser->problem_mark.line + 1,
				   parser->problem ? parser->problem : "out of memory");
	r->doc = &doc;
	root = yaml_document_get_root_node(&doc);
	if (!root)
		err = fault_set(r->problem, -EINVAL, "%s:1: the file is empty; `coffer init` writes a commented one", r->file);
	else
		err = read_map(r, root, "", top_keys);
	if (!err)
		err = check_whole(r, root);
	yaml_document_delete(&doc);
	return err;
}

int config_parse(struct config *c, const char *folder, const char *file, const char *yaml, size_t len, struct fault *p)
{
	struct reader r = {.file = file, .folder = folder, .config = c, .problem = p};
	yaml_parser_t parser;
	int err;

	*c = (struct config){
		.project = xstrdup(folder),
		.name = xstrdup("enclave"),
		.working_directory = xstrdup("/"),
		.memory_bytes = CONFIG_DEFAULT_MEMORY,
		.anchor = xstrdup("broker"),
		.anchor_every = -1,
		.volume_cache_bytes = CONFIG_DEFAULT_VOLUME_CACHE,
		.anchor_bound = -1,
		.broker_ca = xstrdup(""),
		.broker_name = xstrdup(""),
		.broker_timeout = CONFIG_DEFAULT_BROKER_TIMEOUT,
	};
	if (!yaml_parser_initialize(&parser))
		return fault_set(p, -ENOMEM, "out of memory");
	yaml_parser_set_input_string(&parser, (const unsigned char *)yaml, len);
	err = parse_document(&r, &parser);
	yaml_parser_delete(&parser);
	for (size_t k = 0; !err && k < c->volume_count; k++)
		if (c->volumes[k].sealing && strcmp(c->anchor, "none") != 0)
			err = fault_set(p, -EINVAL, "%s: the volume at %s is sealed to the enclave ('key: sealing'), and %s: a rollback of it is not detected. "
					"'anchor: none' accepts that; else its key has to be the broker's", file, c->volumes[k].path,
					strcmp(c->anchor, "tpm") == 0 ?
						"the index of a TPM is made by the owner with the volume's key, which he does not have" :
						"a broker remembers volumes whose owner put their key there, which nobody did");
	bool tpm = !err && !strcmp(c->anchor, "tpm"); // its memory bears some 100,000 writes
	if (c->anchor_every < 0)
		c->anchor_every = tpm ? CONFIG_DEFAULT_TPM_EVERY : CONFIG_DEFAULT_ANCHOR_EVERY;
	if (c->anchor_bound < 0)
		c->anchor_bound = tpm ? CONFIG_DEFAULT_TPM_BOUND : CONFIG_DEFAULT_ANCHOR_BOUND;
	if (err)
		config_free(c);
	return err;
}

int config_load(struct config *c, const char *folder, struct fault *p)
{
	char *absolute = realpath(folder, NULL), *path;
	struct text yaml = {0};
	int err;

	if (!absolute)
		return fault_errno(p, errno, "cannot open the project folder %s", folder);
	path = xasprintf("%s/%s", absolute, CONFIG_FILE);
	err = text_read_file(&yaml, path, CONFIG_MAX_BYTES, p);
	if (err == -ENOENT)
		fault_set(p, err, "%s is not a Coffer project: it has no %s (make one with `coffer init DIR`)", folder,
			    CONFIG_FILE);
	if (!err)
		err = config_parse(c, absolute, CONFIG_FILE, yaml.data, yaml.len, p);
	text_free(&yaml);
	free(path);
	free(absolute);
	return err;
}

bool config_listens(const struct config *c, unsigned int port)
{
	for (size_t i = 0; i < c->listen_count; i++)
		if (c->listen[i] == port)
			return true;
	return false;
}

// SPDX-License-Identifier: Apache-2.0
// coffer.yaml: the sections `volumes`, `secrets` and `copy`.
#include "image/config_read.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static struct config_volume *newest_volume(struct config_reader *r)
{
	return &r->config->volumes[r->config->volume_count - 1];
}

static int read_volume_mode(struct config_reader *r, yaml_node_t *value, const char *key)
{
	const char *s;
	int err = config_read_scalar(r, value, key, &s);

	if (err)
		return err;
	if (strcmp(s, "ro") != 0 && strcmp(s, "rw") != 0)
		return config_bad(r, value, "'mode' is ro or rw, not '%s'", s);
	newest_volume(r)->read_only = s[1] == 'o';
	return 0;
}

static int read_volume_name(struct config_reader *r, yaml_node_t *value, const char *key)
{
	const char *s;
	int err = config_read_scalar(r, value, key, &s);

	if (err)
		return err;
	if (strlen(s) != 32 || strspn(s, "0123456789abcdef") != 32)
		return config_bad(r, value, "a volume's 'name' is its id: 32 hex digits, as `coffer volume info` prints it");
	free(newest_volume(r)->name);
	newest_volume(r)->name = xstrdup(s);
	return 0;
}

static int read_volume_key(struct config_reader *r, yaml_node_t *value, const char *key)
{
	const char *s;
	int err = config_read_scalar(r, value, key, &s);

	if (err)
		return err;
	if (strcmp(s, "broker") != 0 && strcmp(s, "sealing") != 0)
		return config_bad(r, value, "a volume's 'key' is broker, or sealing: the enclave's own sealing key, not '%s'", s);
	newest_volume(r)->sealing = *s == 's';
	return 0;
}

static int read_volume_bind(struct config_reader *r, yaml_node_t *value, const char *key)
{
	const char *s;
	int err = config_read_scalar(r, value, key, &s);

	if (err)
		return err;
	if (!strcmp(s, "signer"))
		return config_bad(r, value, "'bind: signer' needs a platform that knows who signed an enclave; the simulated TEE knows its measurement only");
	if (strcmp(s, "measurement") != 0)
		return config_bad(r, value, "'bind' is measurement, not '%s'", s);
	return 0;
}

static const struct config_key volume_keys[] = {
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

int config_read_volumes(struct config_reader *r, yaml_node_t *value, const char *key)
{
	struct config *c = r->config;
	int err;

	if (value->type != YAML_MAPPING_NODE)
		return config_bad(r, value, "'%s' is a map such as /data: {mode: ro}, not %s", key, config_type_name(value));
	for (yaml_node_pair_t *i = value->data.mapping.pairs.start; i < value->data.mapping.pairs.top; i++) {
		yaml_node_t *path_node = yaml_document_get_node(r->doc, i->key);
		yaml_node_t *settings = yaml_document_get_node(r->doc, i->value);
		const char *path;

		err = config_read_scalar(r, path_node, key, &path);
		if (err)
			return err;
		if (!config_is_clean_path(path) || !path[1])
			return config_bad(r, path_node, "a volume is mounted at an absolute path such as /data, not '%s'", path);
		if (!strcmp(path, "/.coffer") || starts_with(path, "/.coffer/"))
			return config_bad(r, path_node, "/.coffer belongs to Coffer: mount the volume elsewhere");
		for (size_t k = 0; k < c->volume_count; k++)
			if (!strcmp(c->volumes[k].path, path))
				return config_bad(r, path_node, "'%s' is given twice", path);
		c->volumes = xrealloc(c->volumes, (c->volume_count + 1) * sizeof(*c->volumes));
		c->volumes[c->volume_count++] = (struct config_volume){.path = xstrdup(path), .read_only = true, .name = xstrdup("")};
		if (!config_is_empty(settings)) {
			err = config_read_map(r, settings, " of a volume", volume_keys);
			if (err)
				return err;
		}
	}
	if (c->volume_count)
		qsort(c->volumes, c->volume_count, sizeof(*c->volumes), compare_volumes);
	return 0;
}

static struct config_secret *newest_secret(struct config_reader *r)
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

static int read_secret_resource(struct config_reader *r, yaml_node_t *value, const char *key)
{
	const char *s;
	int err = config_read_scalar(r, value, key, &s);

	if (err)
		return err;
	if (!is_resource(s))
		return config_bad(r, value, "a secret is a resource of the broker, such as default/app/password, not '%s'", s);
	free(newest_secret(r)->resource);
	newest_secret(r)->resource = xstrdup(s);
	return 0;
}

static int read_secret_number(struct config_reader *r, yaml_node_t *value, const char *key, unsigned long max, unsigned int *out)
{
	const char *s;
	int err = config_read_scalar(r, value, key, &s);

	if (err)
		return err;
	if (!*s || strlen(s) > 9 || strspn(s, "0123456789") != strlen(s) || strtoul(s, NULL, 10) > max)
		return config_bad(r, value, "'%s' of a secret is a number up to %lu, not '%s'", key, max, s);
	*out = (unsigned int)strtoul(s, NULL, 10);
	return 0;
}

static int read_secret_version(struct config_reader *r, yaml_node_t *value, const char *key)
{
	return read_secret_number(r, value, key, 1000000, &newest_secret(r)->version);
}

static int read_secret_owner(struct config_reader *r, yaml_node_t *value, const char *key)
{
	return read_secret_number(r, value, key, 65534, &newest_secret(r)->owner);
}

static int read_secret_group(struct config_reader *r, yaml_node_t *value, const char *key)
{
	return read_secret_number(r, value, key, 65534, &newest_secret(r)->group);
}

static int read_secret_mode(struct config_reader *r, yaml_node_t *value, const char *key)
{
	const char *s;
	int err = config_read_scalar(r, value, key, &s);

	if (err)
		return err;
	if (strlen(s) < 3 || strlen(s) > 4 || strspn(s, "01234567") != strlen(s) || strtoul(s, NULL, 8) > 0777)
		return config_bad(r, value, "'mode' of a secret is octal, such as 0400, not '%s'", s);
	newest_secret(r)->mode = (unsigned int)strtoul(s, NULL, 8);
	return 0;
}

static const struct config_key secret_keys[] = {
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

int config_read_secrets(struct config_reader *r, yaml_node_t *value, const char *key)
{
	struct config *c = r->config;
	int err;

	if (value->type != YAML_MAPPING_NODE)
		return config_bad(r, value, "'%s' is a map such as /run/secrets/password: default/app/password, not %s", key, config_type_name(value));
	for (yaml_node_pair_t *i = value->data.mapping.pairs.start; i < value->data.mapping.pairs.top; i++) {
		yaml_node_t *path_node = yaml_document_get_node(r->doc, i->key);
		yaml_node_t *settings = yaml_document_get_node(r->doc, i->value);
		const char *path;

		err = config_read_scalar(r, path_node, key, &path);
		if (err)
			return err;
		if (!config_is_clean_path(path) || !starts_with(path, "/run/") || strlen(path) > 255)
			return config_bad(r, path_node, "a secret becomes a file in memory, below /run, such as /run/secrets/password, not '%s'", path);
		for (size_t k = 0; k < c->secret_count; k++)
			if (!strcmp(c->secrets[k].path, path))
				return config_bad(r, path_node, "'%s' is given twice", path);
		if (c->secret_count == CONFIG_MAX_SECRETS)
			return config_bad(r, path_node, "more than %d secrets", CONFIG_MAX_SECRETS);
		c->secrets = xrealloc(c->secrets, (c->secret_count + 1) * sizeof(*c->secrets));
		c->secrets[c->secret_count++] = (struct config_secret){.path = xstrdup(path), .mode = 0400};
		err = settings->type == YAML_SCALAR_NODE ? read_secret_resource(r, settings, "resource") :
							   config_read_map(r, settings, " of a secret", secret_keys);
		if (err)
			return err;
		if (!newest_secret(r)->resource)
			return config_bad(r, path_node, "which secret of the broker is to be at %s? Its 'resource' is missing", path);
	}
	if (c->secret_count)
		qsort(c->secrets, c->secret_count, sizeof(*c->secrets), compare_secrets);
	return 0;
}

static int read_copy_from(struct config_reader *r, yaml_node_t *value, const char *key)
{
	const char *s;
	int err = config_read_scalar(r, value, key, &s);

	if (!err)
		r->config->copy[r->config->copy_count - 1].from = xstrdup(s);
	return err;
}

static int read_copy_to(struct config_reader *r, yaml_node_t *value, const char *key)
{
	const char *s;
	int err = config_read_scalar(r, value, key, &s);

	if (err)
		return err;
	if (!config_is_clean_path(s))
		return config_bad(r, value, "'to' is an absolute path in the image, not '%s'", s);
	r->config->copy[r->config->copy_count - 1].to = xstrdup(s);
	return 0;
}

static const struct config_key copy_keys[] = {
	{"from", read_copy_from},
	{"to", read_copy_to},
	{0},
};

int config_read_copy(struct config_reader *r, yaml_node_t *value, const char *key)
{
	struct config *c = r->config;
	const char *s;
	int err;

	if (value->type != YAML_SEQUENCE_NODE)
		return config_bad(r, value, "'%s' is a list such as [/usr/bin/python3, score.py], not %s", key, config_type_name(value));
	for (yaml_node_item_t *i = value->data.sequence.items.start; i < value->data.sequence.items.top; i++) {
		yaml_node_t *item = yaml_document_get_node(r->doc, *i);

		c->copy = xrealloc(c->copy, (c->copy_count + 1) * sizeof(*c->copy));
		c->copy[c->copy_count++] = (struct config_copy){0};
		if (item->type == YAML_MAPPING_NODE) {
			err = config_read_map(r, item, " of 'copy'", copy_keys);
		} else {
			err = config_read_scalar(r, item, key, &s);
			if (!err)
				c->copy[c->copy_count - 1].from = xstrdup(s);
		}
		if (err)
			return err;
		if (!c->copy[c->copy_count - 1].from || !c->copy[c->copy_count - 1].from[0])
			return config_bad(r, item, "an item of 'copy' says what to copy: a path, or {from: path, to: path in the image}");
	}
	return 0;
}

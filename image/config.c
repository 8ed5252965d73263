// SPDX-License-Identifier: Apache-2.0
// coffer.yaml, strictly: each key is known, has one type and appears once, and every message names file and line.
#include "image/config_read.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "lib/yamlproblem.h"

enum { CONFIG_MAX_BYTES = 1 << 20, CA_MAX_BYTES = 256 << 10 };

static int read_name(struct config_reader *r, yaml_node_t *value, const char *key)
{
	const char *s;
	int err = config_read_scalar(r, value, key, &s);

	if (err)
		return err;
	if (!config_is_name(s))
		return config_bad(r, value, "'name' may have up to 64 letters, digits and - _ . and begins with a letter or digit");
	free(r->config->name);
	r->config->name = xstrdup(s);
	return 0;
}

static int read_command(struct config_reader *r, yaml_node_t *value, const char *key)
{
	int err = config_read_list(r, value, key, &r->config->command);

	if (!err && r->config->command.count && !r->config->command.items[0][0])
		err = config_bad(r, value, "the first item of 'command' is the program: it is empty");
	return err;
}

static int read_host_arguments(struct config_reader *r, yaml_node_t *value, const char *key)
{
	return config_read_bool(r, value, key, &r->config->host_arguments);
}

static int compare_pairs(const void *a, const void *b)
{
	return strcmp(((const struct config_pair *)a)->name, ((const struct config_pair *)b)->name);
}

static int read_environment(struct config_reader *r, yaml_node_t *value, const char *key)
{
	struct config *c = r->config;
	int err;

	if (value->type != YAML_MAPPING_NODE)
		return config_bad(r, value, "'%s' is a map of NAME: value lines, not %s", key, config_type_name(value));
	for (yaml_node_pair_t *i = value->data.mapping.pairs.start; i < value->data.mapping.pairs.top; i++) {
		yaml_node_t *name_node = yaml_document_get_node(r->doc, i->key);
		const char *name, *text;

		err = config_read_scalar(r, name_node, key, &name);
		if (!err)
			err = config_read_scalar(r, yaml_document_get_node(r->doc, i->value), name, &text);
		if (err)
			return err;
		if (!config_is_environment_name(name))
			return config_bad(r, name_node, "'%s' cannot be the name of an environment variable", name);
		for (size_t k = 0; k < c->environment_count; k++)
			if (!strcmp(c->environment[k].name, name))
				return config_bad(r, name_node, "'%s' is given twice", name);
		c->environment = xrealloc(c->environment, (c->environment_count + 1) * sizeof(*c->environment));
		c->environment[c->environment_count++] = (struct config_pair){xstrdup(name), xstrdup(text)};
	}
	if (c->environment_count)
		qsort(c->environment, c->environment_count, sizeof(*c->environment), compare_pairs);
	return 0;
}

static int read_host_environment(struct config_reader *r, yaml_node_t *value, const char *key)
{
	int err = config_read_list(r, value, key, &r->config->host_environment);

	if (err)
		return err;
	for (size_t i = 0; i < r->config->host_environment.count; i++)
		if (!config_is_environment_name(r->config->host_environment.items[i]))
			return config_bad(r, value, "'%s' cannot be the name of an environment variable",
				   r->config->host_environment.items[i]);
	string_list_sort(&r->config->host_environment);
	return 0;
}

// Programs that the host may start in the running enclave: `any`, or a list.
static int read_host_exec(struct config_reader *r, yaml_node_t *value, const char *key)
{
	struct string_list *list = &r->config->host_exec;
	const char *s;
	int err;

	if (value->type == YAML_SCALAR_NODE && !config_is_empty(value)) {
		err = config_read_scalar(r, value, key, &s);
		if (!err && strcmp(s, "any") != 0 && strcmp(s, "none") != 0)
			err = config_bad(r, value, "'%s' is a list of programs (absolute paths in the enclave), any, or none, not '%s'", key, s);
		r->config->host_exec_any = !err && *s == 'a';
		return err;
	}
	err = config_read_list(r, value, key, list);
	for (size_t i = 0; i < list->count && !err; i++)
		if (!config_is_clean_path(list->items[i]))
			err = config_bad(r, value, "'%s' in '%s' is not the absolute path of a program in the enclave", list->items[i], key);
	string_list_sort(list);
	return err;
}

static int read_working_directory(struct config_reader *r, yaml_node_t *value, const char *key)
{
	const char *s;
	int err = config_read_scalar(r, value, key, &s);

	if (err)
		return err;
	if (!config_is_clean_path(s))
		return config_bad(r, value, "'%s' is an absolute path such as /app, not '%s'", key, s);
	free(r->config->working_directory);
	r->config->working_directory = xstrdup(s);
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

static int read_memory(struct config_reader *r, yaml_node_t *value, const char *key)
{
	const char *s;
	int err = config_read_scalar(r, value, key, &s);

	if (err)
		return err;
	err = config_parse_size(s, &r->config->memory_bytes);
	if (err)
		return config_bad(r, value, "'%s' is a size such as 512M or 8G, not '%s'", key, s);
	if (r->config->memory_bytes < 64 << 20 || r->config->memory_bytes > 200ull << 30 ||
	    r->config->memory_bytes % (2 << 20))
		return config_bad(r, value, "'%s' is between 64M and 200G and a multiple of 2M", key);
	return 0;
}

static int read_volume_cache(struct config_reader *r, yaml_node_t *value, const char *key)
{
	const char *s;
	int err = config_read_scalar(r, value, key, &s);

	if (err)
		return err;
	err = config_parse_size(s, &r->config->volume_cache_bytes);
	if (err)
		return config_bad(r, value, "'%s' is a size such as 16M or 256M, not '%s'", key, s);
	if (r->config->volume_cache_bytes < 1 << 20 || r->config->volume_cache_bytes > 4ull << 30 ||
	    r->config->volume_cache_bytes % (1 << 20))
		return config_bad(r, value, "'%s' is between 1M and 4G and a multiple of 1M", key);
	return 0;
}

static int read_broker_ca(struct config_reader *r, yaml_node_t *value, const char *key)
{
	struct fault why;
	struct text pem = {0};
	const char *s;
	char *path;
	int err = config_read_scalar(r, value, key, &s);

	if (err)
		return err;
	path = s[0] == '/' ? xstrdup(s) : xasprintf("%s/%s", r->folder, s);
	if (text_read_file(&pem, path, CA_MAX_BYTES, &why))
		err = config_bad(r, value, "broker: ca: %s", why.text);
	else if (strlen(pem.data) != pem.len || !strstr(pem.data, "-----BEGIN CERTIFICATE-----"))
		err = config_bad(r, value, "broker: ca: %s holds no PEM certificate", path);
	else {
		free(r->config->broker_ca);
		r->config->broker_ca = xstrdup(pem.data);
	}
	text_free(&pem);
	free(path);
	return err;
}

static int read_broker_name(struct config_reader *r, yaml_node_t *value, const char *key)
{
	const char *s;
	int err = config_read_scalar(r, value, key, &s);

	if (!err && (!*s || strlen(s) > 253 || strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-:") != strlen(s)))
		err = config_bad(r, value, "broker: name: '%s' is not the name or address of a host", s);
	if (!err) {
		free(r->config->broker_name);
		r->config->broker_name = xstrdup(s);
	}
	return err;
}

static int read_count(struct config_reader *r, yaml_node_t *value, const char *key, const char *what, unsigned long max, int *out)
{
	const char *s;
	char *end;
	int err = config_read_scalar(r, value, key, &s);

	if (err)
		return err;
	unsigned long n = strtoul(s, &end, 10);
	if (!isdigit((unsigned char)*s) || *end || n > max)
		return config_bad(r, value, "%s takes a number of %s, from 0 to %lu, not '%s'", key, what, max, s);
	*out = (int)n;
	return 0;
}

static int read_anchor(struct config_reader *r, yaml_node_t *value, const char *key)
{
	const char *s;
	int err = config_read_scalar(r, value, key, &s);

	if (err)
		return err;
	if (strcmp(s, "broker") != 0 && strcmp(s, "tpm") != 0 && strcmp(s, "none") != 0)
		return config_bad(r, value, "'anchor' is broker, tpm or none, not '%s'", s);
	free(r->config->anchor);
	r->config->anchor = xstrdup(s);
	return 0;
}

static int read_anchor_fsync(struct config_reader *r, yaml_node_t *value, const char *key)
{
	return config_read_bool(r, value, key, &r->config->anchor_fsync);
}

static int read_anchor_every(struct config_reader *r, yaml_node_t *value, const char *key)
{
	return read_count(r, value, key, "milliseconds", 3600000, &r->config->anchor_every);
}

static int read_anchor_bound(struct config_reader *r, yaml_node_t *value, const char *key)
{
	return read_count(r, value, key, "seconds", 3600, &r->config->anchor_bound);
}

static int read_broker_timeout(struct config_reader *r, yaml_node_t *value, const char *key)
{
	(void)key;
	return read_count(r, value, "broker: timeout:", "seconds", 3600, &r->config->broker_timeout);
}

static const struct config_key broker_keys[] = {
	{"ca", read_broker_ca},
	{"name", read_broker_name},
	{"timeout", read_broker_timeout},
	{0},
};

static int read_broker(struct config_reader *r, yaml_node_t *value, const char *key)
{
	(void)key;
	return config_read_map(r, value, " of 'broker'", broker_keys);
}

static int read_debug_enclave(struct config_reader *r, yaml_node_t *value, const char *key)
{
	return config_read_bool(r, value, key, &r->config->debug_enclave);
}

static int read_encrypt(struct config_reader *r, yaml_node_t *value, const char *key)
{
	return config_read_bool(r, value, key, &r->config->encrypt);
}

static int read_restartable_sequences(struct config_reader *r, yaml_node_t *value, const char *key)
{
	return config_read_bool(r, value, key, &r->config->restartable_sequences);
}

static int read_time(struct config_reader *r, yaml_node_t *value, const char *key)
{
	const char *s;
	int err = config_read_scalar(r, value, key, &s);

	if (!err && strcmp(s, "broker") != 0 && strcmp(s, "host") != 0)
		return config_bad(r, value, "'time' is host or broker, not '%s'", s);
	if (!err)
		r->config->time_broker = *s == 'b';
	return err;
}

static int read_insecure_host_mounts(struct config_reader *r, yaml_node_t *value, const char *key)
{
	return config_bad(r, value, "'%s': this version cannot mount host folders; put the files into the image (copy:) or "
		   "seal them into a volume (coffer seal)", key);
}

// --- limits: which the kernel keeps (kernel/task/limit.c)
static int read_limit(struct config_reader *r, yaml_node_t *value, const char *key, const char *what, int least, int most, int *out)
{
	const char *s;
	int err = config_read_scalar(r, value, key, &s);

	if (err)
		return err;
	size_t digits = strspn(s, "0123456789");
	long n = digits && !s[digits] && digits < 10 ? strtol(s, NULL, 10) : -1;
	if (n < least || n > most)
		return config_bad(r, value, "limits: %s: is a number of %s, from %d to %d, not '%s'", key, what, least, most, s);
	*out = (int)n;
	return 0;
}

static int read_limit_cpus(struct config_reader *r, yaml_node_t *value, const char *key)
{
	return read_limit(r, value, key, "CPUs", 1, 64, &r->config->limit_cpus);
}

static int read_limit_processes(struct config_reader *r, yaml_node_t *value, const char *key)
{
	return read_limit(r, value, key, "processes and threads", 8, 16384, &r->config->limit_processes);
}

static int read_limit_descriptors(struct config_reader *r, yaml_node_t *value, const char *key)
{
	return read_limit(r, value, key, "descriptors of a process", 16, 1048576, &r->config->limit_descriptors);
}

static int read_limit_files(struct config_reader *r, yaml_node_t *value, const char *key)
{
	return read_limit(r, value, key, "open files of all processes together", 64, 100000000, &r->config->limit_files);
}

static int read_limit_memory(struct config_reader *r, yaml_node_t *value, const char *key)
{
	(void)key;
	return config_bad(r, value, "the limit on memory is a key of its own: write `memory: 512M` outside 'limits'");
}

static const struct config_key limit_keys[] = {
	{"cpus", read_limit_cpus},
	{"processes", read_limit_processes},
	{"descriptors", read_limit_descriptors},
	{"files", read_limit_files},
	{"memory", read_limit_memory},
	{0},
};

static int read_limits(struct config_reader *r, yaml_node_t *value, const char *key)
{
	(void)key;
	return config_read_map(r, value, " of 'limits'", limit_keys);
}

static const struct config_key top_keys[] = {
	{"name", read_name},
	{"command", read_command},
	{"host_arguments", read_host_arguments},
	{"environment", read_environment},
	{"host_environment", read_host_environment},
	{"host_exec", read_host_exec},
	{"working_directory", read_working_directory},
	{"volumes", config_read_volumes},
	{"volume_cache", read_volume_cache},
	{"copy", config_read_copy},
	{"memory", read_memory},
	{"limits", read_limits},
	{"network", config_read_network},
	{"anchor", read_anchor},
	{"anchor_bound", read_anchor_bound},
	{"anchor_every", read_anchor_every},
	{"anchor_fsync", read_anchor_fsync},
	{"broker", read_broker},
	{"encrypt", read_encrypt},
	{"restartable_sequences", read_restartable_sequences},
	{"secrets", config_read_secrets},
	{"time", read_time},
	{"debug_enclave", read_debug_enclave},
	{"insecure_host_mounts", read_insecure_host_mounts},
	{0},
};

static int check_whole(struct config_reader *r, const yaml_node_t *root)
{
	struct config *c = r->config;

	if (!c->command.count && !c->host_arguments)
		return config_bad(r, root, "'command' is missing: it says what runs in the enclave "
			   "(or let the host choose with host_arguments: true)");
	for (size_t i = 0; i < c->host_environment.count; i++)
		for (size_t k = 0; k < c->environment_count; k++)
			if (!strcmp(c->host_environment.items[i], c->environment[k].name))
				return config_bad(r, root, "'%s' is fixed by 'environment', so 'host_environment' cannot let the host "
					   "set it", c->environment[k].name);
	return 0;
}

static int parse_document(struct config_reader *r, yaml_parser_t *parser, const char *yaml, size_t len)
{
	yaml_document_t doc;
	yaml_node_t *root;
	int err;

	if (!yaml_parser_load(parser, &doc))
		return fault_set(r->problem, -EINVAL, "%s:%zu: not valid YAML: %s", r->file, parser->problem_mark.line + 1,
				 yaml_problem(parser, yaml, len));
	r->doc = &doc;
	root = yaml_document_get_root_node(&doc);
	if (!root)
		err = fault_set(r->problem, -EINVAL, "%s:1: the file is empty; `coffer init` writes a commented one", r->file);
	else
		err = config_read_map(r, root, "", top_keys);
	if (!err)
		err = check_whole(r, root);
	yaml_document_delete(&doc);
	return err;
}

int config_parse(struct config *c, const char *folder, const char *file, const char *yaml, size_t len, struct fault *p)
{
	struct config_reader r = {.file = file, .folder = folder, .config = c, .problem = p};
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
	err = parse_document(&r, &parser, yaml, len);
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

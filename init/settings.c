// SPDX-License-Identifier: Apache-2.0
// See settings.h. Touches the two files that settings_load names, nothing else; no locks.
#include "init/settings.h"

#include <errno.h>
#include <jansson.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/file.h"

#define DEFAULT_PATH "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#define DEFAULT_HOME "HOME=/root"

static int no_memory(struct fault *f)
{
	return fault_set(f, -ENOMEM, "out of memory");
}

static json_t *parse_object(const char *bytes, size_t len, const char *what, struct fault *f)
{
	json_error_t e;
	json_t *o = json_loadb(bytes, len, JSON_REJECT_DUPLICATES, &e);
	if (!o)
		fault_set(f, -EINVAL, "%s is not JSON: %s", what, e.text);
	else if (!json_is_object(o))
		fault_set(f, -EINVAL, "%s is not a JSON object", what);
	else
		return o;
	json_decref(o);
	return NULL;
}

// A list of text as an argv.
static int copy_list(const json_t *list, size_t max, char ***out, const char *what, struct fault *f)
{
	size_t n = json_array_size(list);
	if (!json_is_array(list) || n > max)
		return fault_set(f, -EINVAL, "%s must be a list of at most %zu texts", what, max);
	*out = calloc(n + 1, sizeof **out);
	if (!*out)
		return no_memory(f);
	for (size_t i = 0; i < n; i++) {
		const char *s = json_string_value(json_array_get(list, i));
		if (!s)
			return fault_set(f, -EINVAL, "%s must hold texts only", what);
		if (!((*out)[i] = strdup(s)))
			return no_memory(f);
	}
	return 0;
}

static void free_list(char **list)
{
	for (char **p = list; p && *p; p++)
		free(*p);
	free(list);
}

// "a b c" of a list, cut to fit, control characters replaced: for messages.
static const char *join(const json_t *list, char *out, size_t size)
{
	size_t n = 0;
	out[0] = '\0';
	for (size_t i = 0; i < json_array_size(list) && n < size; i++) {
		const char *s = json_string_value(json_array_get(list, i));
		n += (size_t)snprintf(out + n, size - n, "%s%s", i ? " " : "", s ? s : "?");
	}
	for (char *p = out; *p; p++) {
		if ((unsigned char)*p < ' ' || *p == 0x7f)
			*p = '?';
	}
	return out;
}

static int read_args(struct settings *s, const json_t *config, const json_t *host, struct fault *f)
{
	const json_t *command = json_object_get(config, "command"), *args = json_object_get(host, "args");
	char asked[200], measured[200];
	if (!json_is_array(command))
		return fault_set(f, -EINVAL, "config.json has no command");
	if (args && !json_is_array(args))
		return fault_set(f, -EPERM, "the host block's args is not a list");
	bool chosen = json_array_size(args) > 0 && !json_equal(args, command);
	if (chosen && !json_is_true(json_object_get(config, "host_arguments")))
		return fault_set(f, -EPERM,
				 "the host asks for '%s', but this enclave runs only '%s' (coffer.yaml: host_arguments "
				 "is false)",
				 join(args, asked, sizeof asked), join(command, measured, sizeof measured));
	int err = copy_list(chosen ? args : command, SETTINGS_MAX_ARGS, &s->argv,
			    chosen ? "the host block's args" : "command", f);
	if (err == -EINVAL && chosen)
		err = -EPERM;
	if (!err && (!s->argv[0] || !*s->argv[0]))
		err = fault_set(f, -EPERM,
				"there is nothing to run: give coffer.yaml a command, or name a program after --");
	return err;
}

static bool name_valid(const char *name)
{
	return *name && !strchr(name, '=');
}

static bool list_has(const json_t *list, const char *text)
{
	for (size_t i = 0; i < json_array_size(list); i++) {
		const char *s = json_string_value(json_array_get(list, i));
		if (s && !strcmp(s, text))
			return true;
	}
	return false;
}

static int add_env(char **envp, size_t *n, const char *name, const json_t *value, struct fault *f)
{
	const char *v = json_string_value(value);
	if (!v || !name_valid(name))
		return fault_set(f, -EPERM, "the environment variable '%.64s' is malformed", name);
	if (asprintf(&envp[*n], "%s=%s", name, v) < 0) {
		envp[*n] = NULL;
		return no_memory(f);
	}
	++*n;
	return 0;
}

static int read_env(struct settings *s, const json_t *config, const json_t *host, struct fault *f)
{
	json_t *fixed = json_object_get(config, "environment"), *asked = json_object_get(host, "env");
	const json_t *allowed = json_object_get(config, "host_environment");
	const char *name;
	json_t *value;
	size_t n = 0;
	int err = 0;
	if (asked && !json_is_object(asked))
		return fault_set(f, -EPERM, "the host block's env is not a map");
	if (json_object_size(fixed) + json_object_size(asked) > SETTINGS_MAX_ENV)
		return fault_set(f, -EPERM, "more than %d environment variables", SETTINGS_MAX_ENV);
	s->envp = calloc(json_object_size(fixed) + json_object_size(asked) + 3, sizeof *s->envp);
	if (!s->envp)
		return no_memory(f);
	json_object_foreach(fixed, name, value) {
		if (!err)
			err = add_env(s->envp, &n, name, value, f);
	}
	json_object_foreach(asked, name, value) {
		if (err)
			break;
		if (json_object_get(fixed, name))
			err = fault_set(f, -EPERM,
					"the host sets the environment variable '%.64s', which coffer.yaml fixes "
					"(environment)",
					name);
		else if (!list_has(allowed, name))
			err = fault_set(f, -EPERM,
					"the host sets the environment variable '%.64s', which coffer.yaml does not "
					"let in (host_environment)",
					name);
		else
			err = add_env(s->envp, &n, name, value, f);
	}
	bool has_path = json_object_get(fixed, "PATH") || json_object_get(asked, "PATH");
	bool has_home = json_object_get(fixed, "HOME") || json_object_get(asked, "HOME");
	if (!err && !has_path && !(s->envp[n++] = strdup(DEFAULT_PATH)))
		err = no_memory(f);
	if (!err && !has_home && !(s->envp[n++] = strdup(DEFAULT_HOME)))
		err = no_memory(f);
	return err;
}

static int read_cwd(struct settings *s, const json_t *config, const json_t *host, struct fault *f)
{
	const char *measured = json_string_value(json_object_get(config, "working_directory"));
	const json_t *asked = json_object_get(host, "cwd");
	const char *cwd = json_string_value(asked);
	if (!measured)
		measured = "/";
	if (asked && !cwd)
		return fault_set(f, -EPERM, "the host block's cwd is not text");
	if (!cwd || !*cwd)
		cwd = measured;
	if (*cwd != '/')
		return fault_set(f, -EPERM, "the working directory must be an absolute path");
	if (strcmp(cwd, measured) && !json_is_true(json_object_get(config, "host_arguments")))
		return fault_set(f, -EPERM,
				 "the host asks for the working directory '%.200s', but this enclave works in '%.200s' "
				 "(coffer.yaml: host_arguments is false)",
				 cwd, measured);
	s->cwd = strdup(cwd);
	return s->cwd ? 0 : no_memory(f);
}

// One volume of the host block against the volume that config.json has at the same path.
static int read_volume(struct settings *s, const json_t *volumes, const json_t *v, struct fault *f)
{
	struct settings_volume *out = &s->volumes[s->volume_count];
	const char *name = json_string_value(json_object_get(v, "name"));
	const char *path = json_string_value(json_object_get(v, "path"));
	const char *mode = json_string_value(json_object_get(v, "mode"));
	const char *id = json_string_value(json_object_get(v, "id"));
	if (!name || !path || !mode || !id || json_object_size(v) != 4)
		return fault_set(f, -EPERM, "the host block's volumes must have name, path, mode and id");
	const json_t *measured = json_object_get(volumes, path);
	const char *key = json_string_value(json_object_get(measured, "key"));
	out->sealing = key && !strcmp(key, "sealing");
	if (key && !out->sealing)
		return fault_set(f, -EINVAL, "config.json's volumes are malformed");
	if ((strlen(id) != 32 || strspn(id, "0123456789abcdef") != 32) && (*id || !out->sealing))
		return fault_set(f, -EPERM, "the host block's volume id is not 32 hex digits");
	if (!measured)
		return fault_set(f, -EPERM,
				 "the host mounts a volume at '%.200s', which coffer.yaml does not list (volumes)",
				 path);
	const char *want_mode = json_string_value(json_object_get(measured, "mode"));
	const char *want_id = json_string_value(json_object_get(measured, "name"));
	if (!want_mode || !want_id || *path != '/')
		return fault_set(f, -EINVAL, "config.json's volumes are malformed");
	if (strcmp(mode, "ro") && strcmp(mode, "rw"))
		return fault_set(f, -EPERM, "a volume's mode must be ro or rw");
	if (strcmp(mode, want_mode))
		return fault_set(f, -EPERM, "the host mounts the volume at %.200s as '%s', but coffer.yaml says '%.8s'",
				 path, mode, want_mode);
	if (*want_id && strcmp(want_id, id))
		return fault_set(f, -EPERM, "the volume at %.200s must be %.32s (coffer.yaml), but the host gives %s",
				 path, want_id, id);
	for (unsigned int i = 0; i < s->volume_count; i++) {
		if (!strcmp(s->volumes[i].path, path))
			return fault_set(f, -EPERM, "the host mounts two volumes at %.200s", path);
	}
	out->read_only = *mode == 'r' && mode[1] == 'o';
	strcpy(out->id, id); // 32 digits, or none
	out->name = strdup(name);
	out->path = strdup(path);
	s->volume_count++;
	return out->name && out->path ? 0 : no_memory(f);
}

static int read_volumes(struct settings *s, const json_t *config, const json_t *host, struct fault *f)
{
	json_t *measured = json_object_get(config, "volumes");
	const json_t *asked = json_object_get(host, "volumes");
	const char *path;
	json_t *v;
	if (asked && (!json_is_array(asked) || json_array_size(asked) > SETTINGS_MAX_VOLUMES))
		return fault_set(f, -EPERM, "the host block's volumes is not a list of at most %d",
				 SETTINGS_MAX_VOLUMES);
	for (size_t i = 0; i < json_array_size(asked); i++) {
		int err = read_volume(s, measured, json_array_get(asked, i), f);
		if (err)
			return err;
	}
	// A missing volume would silently turn into an empty folder of the image.
	json_object_foreach(measured, path, v) {
		bool found = false;
		for (unsigned int i = 0; i < s->volume_count; i++)
			found |= !strcmp(s->volumes[i].path, path);
		if (!found)
			return fault_set(f, -EPERM, "there is no volume for %.200s: give one with -v FILE.vol:%.200s",
					 path, path);
	}
	return 0;
}

static int copy_text(char **out, const json_t *v, struct fault *f)
{
	const char *t = json_string_value(v);
	if (!t)
		return 0;
	*out = strdup(t);
	return *out ? 0 : no_memory(f);
}

static int read_secrets(struct settings *s, const json_t *config, struct fault *f)
{
	static const char *const numbers[] = {"mode", "owner", "group", "version"};
	json_t *measured = json_object_get(config, "secrets"), *v;
	const char *path;
	if (!json_object_size(measured))
		return 0;
	s->secrets = calloc(json_object_size(measured), sizeof *s->secrets);
	if (!s->secrets)
		return no_memory(f);
	json_object_foreach(measured, path, v) {
		struct settings_secret *out = &s->secrets[s->secret_count++];
		unsigned int *const values[] = {&out->mode, &out->owner, &out->group, &out->version};
		const char *resource = json_string_value(json_object_get(v, "resource"));
		bool good = resource && *path == '/' && strlen(path) < 256 && strlen(resource) <= 200;
		for (size_t i = 0; i < 4; i++) {
			const json_t *n = json_object_get(v, numbers[i]);
			good = good && json_is_integer(n) && json_integer_value(n) >= 0 && json_integer_value(n) <= 1 << 30;
			*values[i] = (unsigned int)json_integer_value(n);
		}
		if (!good)
			return fault_set(f, -EINVAL, "config.json's secrets are malformed");
		if (!(out->path = strdup(path)) || !(out->resource = strdup(resource)))
			return no_memory(f);
	}
	return 0;
}

static int read_broker(struct settings *s, const json_t *config, const json_t *host, struct fault *f)
{
	const json_t *broker = json_object_get(config, "broker"), *url = json_object_get(host, "broker");
	const json_t *timeout = json_object_get(broker, "timeout");
	if (url && !json_is_string(url))
		return fault_set(f, -EPERM, "the host block's broker is not text");
	if (timeout &&
	    (!json_is_integer(timeout) || json_integer_value(timeout) < 0 || json_integer_value(timeout) > 3600))
		return fault_set(f, -EINVAL, "config.json's broker timeout must be from 0 to 3600 seconds");
	s->broker_timeout_s = timeout ? (unsigned int)json_integer_value(timeout) : SETTINGS_DEFAULT_TIMEOUT_S;
	int err = json_string_length(url) ? copy_text(&s->broker_url, url, f) : 0;
	if (!err)
		err = copy_text(&s->broker_ca, json_object_get(broker, "ca"), f);
	if (!err && json_string_length(json_object_get(broker, "name")))
		err = copy_text(&s->broker_name, json_object_get(broker, "name"), f);
	if (!err && !s->broker_ca && !(s->broker_ca = strdup("")))
		err = no_memory(f);
	return err;
}

static int read_anchor(struct settings *s, const json_t *config, const json_t *host, struct fault *f)
{
	const json_t *anchor = json_object_get(config, "anchor");
	const char *in = anchor ? json_string_value(json_object_get(anchor, "in")) : "broker";
	json_int_t every = json_integer_value(json_object_get(anchor, "every")), bound = json_integer_value(json_object_get(anchor, "bound"));
	if (!in || (strcmp(in, "broker") && strcmp(in, "tpm") && strcmp(in, "none")) || every < 0 || every > 3600000 || bound < 0 || bound > 3600)
		return fault_set(f, -EINVAL, "config.json's anchor is malformed");
	s->anchor = *in != 'n';
	s->anchor_tpm = *in == 't';
	const json_t *tpm = json_object_get(host, "tpm");
	if (tpm && (!json_is_string(tpm) || strncmp(json_string_value(tpm), "tcp:", 4)))
		return fault_set(f, -EPERM, "the host block's tpm is not a way to a TPM");
	int err = copy_text(&s->tpm, tpm, f);
	if (err)
		return err;
	if (s->anchor_tpm && s->volume_count && !s->tpm)
		return fault_set(f, -EPERM, "this enclave's volumes are anchored in a TPM (coffer.yaml: anchor: tpm), and the host gives no way to it: "
				 "coffer run --tpm device:/dev/tpmrm0");
	s->anchor_fsync = json_is_true(json_object_get(anchor, "each_fsync"));
	s->anchor_every_ms = (unsigned int)every;
	s->anchor_bound_ms = (unsigned int)bound * 1000;
	return 0;
}

static int read_cache(struct settings *s, const json_t *config, struct fault *f)
{
	json_int_t bytes = json_integer_value(json_object_get(config, "volume_cache"));
	if (bytes < 0 || bytes > (json_int_t)4 << 30)
		return fault_set(f, -EINVAL, "config.json's volume_cache is malformed");
	s->volume_cache_mib = (unsigned int)(bytes >> 20);
	return 0;
}

static int read_time(struct settings *s, const json_t *config, struct fault *f)
{
	const json_t *time = json_object_get(config, "time");
	const char *text = json_string_value(time);
	if (time && (!text || (strcmp(text, "host") && strcmp(text, "broker"))))
		return fault_set(f, -EINVAL, "config.json's time is malformed");
	s->time_broker = text && *text == 'b';
	return 0;
}

static int read_network(struct settings *s, const json_t *config, const json_t *host, struct fault *f)
{
	const json_t *network = json_object_get(config, "network"), *addresses = json_object_get(host, "addresses");
	if (addresses && !json_is_object(addresses))
		return fault_set(f, -EPERM, "the host block's addresses is not a map");
	s->gateway = json_array_size(json_object_get(network, "shield")) || json_array_size(json_object_get(network, "destinations")) ||
		     json_array_size(json_object_get(network, "dns"));
	return 0;
}

// Programs that the host may start while the enclave runs. Older configurations do not have the key.
static int read_exec(struct settings *s, const json_t *config, struct fault *f)
{
	const json_t *list = json_object_get(config, "host_exec"), *names = json_object_get(config, "host_environment");
	const char *text = json_string_value(list);
	int err = 0;
	if ((list && !text && !json_is_array(list)) || (text && strcmp(text, "any")))
		return fault_set(f, -EINVAL, "config.json's host_exec is malformed");
	s->exec.any = text;
	if (json_array_size(list))
		err = copy_list(list, SETTINGS_MAX_ARGS, &s->exec.programs, "host_exec", f);
	for (char **p = s->exec.programs; !err && p && *p; p++)
		if (**p != '/')
			err = fault_set(f, -EINVAL, "config.json's host_exec is malformed");
	if (!err && json_array_size(names))
		err = copy_list(names, SETTINGS_MAX_ENV, &s->exec.variables, "host_environment", f);
	s->exec.envp = s->envp;
	s->exec.cwd = s->cwd;
	return err;
}

static int refuse_unknown(json_t *host, struct fault *f)
{
	static const char *const known[] = {"args", "env", "cwd", "volumes", "broker", "tpm", "addresses"};
	const char *key;
	json_t *v;
	json_object_foreach(host, key, v) {
		bool found = false;
		for (size_t i = 0; i < sizeof known / sizeof *known; i++)
			found |= !strcmp(known[i], key);
		if (!found)
			return fault_set(f, -EPERM, "the host block has an unknown key '%.64s'", key);
	}
	return 0;
}

int settings_read(struct settings *s, const char *config_text, size_t config_len, const char *host_text,
		  size_t host_len, struct fault *f)
{
	json_t *config = NULL, *host = NULL;
	int err = 0;
	memset(s, 0, sizeof *s);
	config = parse_object(config_text, config_len, "config.json", f);
	if (!config)
		return -EINVAL;
	host = host_len <= HOST_BLOCK_MAX_BYTES ? parse_object(host_text, host_len, "the host block", f) : NULL;
	if (!host) {
		err = host_len > HOST_BLOCK_MAX_BYTES ? fault_set(f, -EPERM, "the host block is too large") : -EPERM;
		goto out;
	}
	err = refuse_unknown(host, f);
	if (!err)
		err = read_args(s, config, host, f);
	if (!err)
		err = read_env(s, config, host, f);
	if (!err)
		err = read_cwd(s, config, host, f);
	if (!err)
		err = read_volumes(s, config, host, f);
	if (!err)
		err = read_secrets(s, config, f);
	if (!err)
		err = read_broker(s, config, host, f);
	if (!err)
		err = read_anchor(s, config, host, f);
	if (!err)
		err = read_cache(s, config, f);
	if (!err)
		err = read_network(s, config, host, f);
	if (!err)
		err = read_time(s, config, f);
	if (!err)
		err = read_exec(s, config, f);
out:
	json_decref(config);
	json_decref(host);
	return err;
}

static int hex_digit(char c) { return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1; }

int settings_read_image(struct settings_image *image, const char *text, size_t len, struct fault *f)
{
	json_t *o = parse_object(text, len, "image.json", f);
	const char *id = json_string_value(json_object_get(o, "id")), *root = json_string_value(json_object_get(o, "root"));
	const json_t *blocks = json_object_get(o, "blocks");
	int err = 0;
	if (!o)
		return -EINVAL;
	if (!id || strlen(id) != 32 || strspn(id, "0123456789abcdef") != 32 || !root || strlen(root) != 64 ||
	    strspn(root, "0123456789abcdef") != 64 || !json_is_integer(blocks) || json_integer_value(blocks) < 1) {
		err = fault_set(f, -EINVAL, "image.json is damaged");
		goto out;
	}
	image->present = true;
	image->blocks = (unsigned long long)json_integer_value(blocks);
	memcpy(image->id, id, sizeof image->id);
	for (int i = 0; i < 32; i++)
		image->root[i] = (unsigned char)(hex_digit(root[2 * i]) << 4 | hex_digit(root[2 * i + 1]));
out:
	json_decref(o);
	return err;
}

static int load_image(struct settings_image *image, struct fault *f)
{
	char *text = NULL;
	size_t len;
	if (access(IMAGE_PATH, F_OK) && errno == ENOENT)
		return 0;
	int err = file_read(IMAGE_PATH, 4096, &text, &len, f);
	if (!err)
		err = settings_read_image(image, text, len, f);
	free(text);
	return err;
}

int settings_load(struct settings *s, struct fault *f)
{
	char *config = NULL, *host = NULL;
	size_t config_len, host_len;
	memset(s, 0, sizeof *s);
	int err = file_read(CONFIG_PATH, CONFIG_MAX_BYTES, &config, &config_len, f);
	if (!err)
		err = file_read(HOST_BLOCK_PATH, HOST_BLOCK_MAX_BYTES, &host, &host_len, f);
	if (!err)
		err = settings_read(s, config, config_len, host, host_len, f);
	if (!err)
		err = load_image(&s->image, f);
	free(config);
	free(host);
	return err;
}

void settings_free(struct settings *s)
{
	free_list(s->argv);
	free_list(s->envp);
	free_list(s->exec.programs);
	free_list(s->exec.variables);
	free(s->cwd);
	for (unsigned int i = 0; i < s->volume_count; i++) {
		free(s->volumes[i].name);
		free(s->volumes[i].path);
	}
	for (unsigned int i = 0; i < s->secret_count; i++) {
		free(s->secrets[i].path);
		free(s->secrets[i].resource);
	}
	free(s->secrets);
	free(s->broker_url);
	free(s->broker_ca);
	free(s->broker_name);
	free(s->tpm);
	memset(s, 0, sizeof *s);
}

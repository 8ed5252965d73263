// SPDX-License-Identifier: Apache-2.0
// See exec_request.h. No locks.
#include "init/exec_request.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_ARGS 4096
#define MAX_ENV 1024
#define MAX_CELLS 10000

static int no_memory(struct fault *f) { return fault_set(f, -ENOMEM, "out of memory"); }

static bool has(char **list, const char *s)
{
	for (char **p = list; p && *p; p++)
		if (!strcmp(*p, s))
			return true;
	return false;
}

// The program that a name means: itself, or the one listed that ends with it. NULL: none.
static const char *allowed(const struct exec_rules *rules, const char *name)
{
	if (rules->any || has(rules->programs, name))
		return name;
	for (char **p = rules->programs; p && *p && !strchr(name, '/'); p++)
		if (!strcmp(strrchr(*p, '/') + 1, name))
			return *p;
	return NULL;
}

static int read_args(struct exec_request *r, const struct exec_rules *rules, const json_t *args, struct fault *f)
{
	size_t n = json_array_size(args);
	if (!n || n > MAX_ARGS)
		return fault_set(f, -EINVAL, "a request names a program and at most %d arguments", MAX_ARGS - 1);
	r->argv = calloc(n + 1, sizeof *r->argv);
	if (!r->argv)
		return no_memory(f);
	for (size_t i = 0; i < n; i++) {
		const char *s = json_string_value(json_array_get(args, i)), *name = s;
		if (!s || (!i && !*s))
			return fault_set(f, -EINVAL, "a request's args are texts, the first a program");
		if (!i && !(s = allowed(rules, name))) {
			if (!rules->programs)
				return fault_set(f, -EPERM, "this enclave starts no programs for the host (coffer.yaml: host_exec)");
			return fault_set(f, -EPERM, "the host asks for '%.200s', which coffer.yaml does not list (host_exec)", name);
		}
		if (!(r->argv[i] = strdup(s)))
			return no_memory(f);
	}
	return 0;
}

// Sets or replaces a variable.
static int set(char **envp, size_t *n, const char *name, const char *value, struct fault *f)
{
	size_t len = strlen(name), i = 0;
	char *pair;
	if (asprintf(&pair, "%s=%s", name, value) < 0)
		return no_memory(f);
	while (i < *n && (strncmp(envp[i], name, len) || envp[i][len] != '='))
		i++;
	if (i < *n)
		free(envp[i]);
	else
		++*n;
	envp[i] = pair;
	return 0;
}

static int read_env(struct exec_request *r, const struct exec_rules *rules, json_t *env, const char *term, struct fault *f)
{
	const char *name;
	size_t n = 0;
	json_t *value;
	if ((env && !json_is_object(env)) || json_object_size(env) > MAX_ENV)
		return fault_set(f, -EINVAL, "a request's env is a map of at most %d variables", MAX_ENV);
	for (char **p = rules->envp; p && *p; p++)
		n++;
	r->envp = calloc(n + json_object_size(env) + 2, sizeof *r->envp);
	if (!r->envp)
		return no_memory(f);
	for (size_t i = 0; i < n; i++)
		if (!(r->envp[i] = strdup(rules->envp[i])))
			return no_memory(f);
	int err = term && has(rules->variables, "TERM") ? set(r->envp, &n, "TERM", term, f) : 0;
	json_object_foreach(env, name, value) {
		const char *v = json_string_value(value);
		if (err)
			break;
		if (!v)
			err = fault_set(f, -EINVAL, "the environment variable '%.64s' is malformed", name);
		else if (!has(rules->variables, name))
			err = fault_set(f, -EPERM, "the host sets the environment variable '%.64s', which coffer.yaml does not let in (host_environment)", name);
		else
			err = set(r->envp, &n, name, v, f);
	}
	return err;
}

static int read_cells(const json_t *tty, const char *name, unsigned short *out, struct fault *f)
{
	const json_t *v = json_object_get(tty, name);
	if (!json_is_integer(v) || json_integer_value(v) < 0 || json_integer_value(v) > MAX_CELLS)
		return fault_set(f, -EINVAL, "a terminal has 0 to %d %s", MAX_CELLS, name);
	*out = (unsigned short)json_integer_value(v);
	return 0;
}

static int refuse_unknown(json_t *o, const char *const *known, struct fault *f)
{
	const char *key;
	json_t *v;
	json_object_foreach(o, key, v) {
		size_t k = 0;
		while (known[k] && strcmp(known[k], key))
			k++;
		if (!known[k])
			return fault_set(f, -EINVAL, "the request has an unknown key '%.64s'", key);
	}
	return 0;
}

int exec_request_read(struct exec_request *r, const struct exec_rules *rules, const char *text, size_t len, struct fault *f)
{
	static const char *const keys[] = {"args", "env", "cwd", "user", "tty", NULL}, *const tty_keys[] = {"rows", "cols", "term", NULL};
	json_error_t e;
	json_t *o = json_loadb(text, len, JSON_REJECT_DUPLICATES, &e), *tty = json_object_get(o, "tty");
	const json_t *where = json_object_get(o, "cwd"), *whom = json_object_get(o, "user");
	const char *cwd = json_string_value(where), *user = json_string_value(whom), *term = json_string_value(json_object_get(tty, "term"));
	int err = 0;
	memset(r, 0, sizeof *r);
	if (!json_is_object(o))
		err = fault_set(f, -EINVAL, "the request is not a JSON object");
	else if (tty && !json_is_object(tty))
		err = fault_set(f, -EINVAL, "the request's tty is not a map");
	if (!err)
		err = refuse_unknown(o, keys, f);
	if (!err && tty)
		err = refuse_unknown(tty, tty_keys, f);
	if (!err)
		err = read_args(r, rules, json_object_get(o, "args"), f);
	if (!err && where && (!cwd || *cwd != '/'))
		err = fault_set(f, -EINVAL, "the working directory must be an absolute path");
	if (!err && cwd && !rules->any && strcmp(cwd, rules->cwd))
		err = fault_set(f, -EPERM, "the host asks for the working directory '%.200s'; only host_exec: any leaves that to it", cwd);
	if (!err && whom && (!user || !*user || strlen(user) != json_string_length(whom)))
		err = fault_set(f, -EINVAL, "the user must be a text");
	if (!err && user && !rules->any)
		err = fault_set(f, -EPERM, "the host asks for the user '%.100s'; only host_exec: any leaves that to it", user);
	if (!err && user && !(r->user = strdup(user)))
		err = no_memory(f);
	r->sets_home = json_object_get(json_object_get(o, "env"), "HOME");
	if (!err && !(r->cwd = strdup(cwd ? cwd : rules->cwd)))
		err = no_memory(f);
	r->tty = tty;
	if (!err && tty)
		err = read_cells(tty, "rows", &r->rows, f);
	if (!err && tty)
		err = read_cells(tty, "cols", &r->cols, f);
	if (!err)
		err = read_env(r, rules, json_object_get(o, "env"), term, f);
	json_decref(o);
	return err;
}

static void free_list(char **list)
{
	for (char **p = list; p && *p; p++)
		free(*p);
	free(list);
}

void exec_request_free(struct exec_request *r)
{
	free_list(r->argv);
	free_list(r->envp);
	free(r->cwd);
	free(r->user);
	memset(r, 0, sizeof *r);
}

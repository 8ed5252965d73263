// SPDX-License-Identifier: Apache-2.0
// `coffer secret`: the owner's secrets at the broker. Values come from standard input or a private file and go to a pipe or a private file: never
// through an argument, an environment variable or a terminal. Buffers that held one are wiped.
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "broker/secret.h"
#include "cli/cli.h"
#include "cli/owner.h"
#include "lib/file.h"

enum {
	OPT_FILE = 256, OPT_OUTPUT, OPT_KIND, OPT_USE, OPT_BYTES, OPT_ENCODING, OPT_NOTE, OPT_USES, OPT_USES_TOTAL, OPT_KEEP, OPT_KEEP_FOR, OPT_LIFETIME,
	OPT_NOT_BEFORE, OPT_NOT_AFTER, OPT_PUBLISH, OPT_CURRENT, OPT_RESET, OPT_VERSION, OPT_ALL, OPT_FORCE, OPT_JSON, OPT_FORMAT,
};

struct asked {
	struct owner owner;
	struct broker_client *client;
	const char *action, *name;
	const char *file, *output, *format;
	json_t *request;	// settings, and what else goes into its line
	unsigned int version;
	bool all, force, json, set;	// set: some setting is among the options
};

// "90", "15m", "12h", "30d" in seconds; -1.
static long long duration(const char *s)
{
	static const struct { char unit; long long seconds; } units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}, {'y', 366 * 86400}};
	char *end;
	long long n = *s >= '0' && *s <= '9' && strlen(s) < 12 ? strtoll(s, &end, 10) : -1;

	if (n < 0 || !*end)
		return n;
	for (size_t i = 0; i < sizeof(units) / sizeof(*units); i++)
		if (end[0] == units[i].unit && !end[1])
			return n * units[i].seconds;
	return -1;
}

static int whole(const char *s, long long *out)
{
	if (!*s || strlen(s) > 12 || strspn(s, "0123456789") != strlen(s))
		return -EINVAL;
	*out = strtoll(s, NULL, 10);
	return 0;
}

// One option of a setting into the request. What the broker checks is not checked here.
static int setting(struct asked *a, int option, const char *value)
{
	static const struct { int option; const char *name, *none; char type; } known[] = {
		{OPT_USE, "use", NULL, 't'}, {OPT_ENCODING, "encoding", NULL, 't'}, {OPT_KIND, "kind", NULL, 't'}, {OPT_BYTES, "bytes", NULL, 'n'},
		{OPT_NOTE, "note", NULL, 't'}, {OPT_USES, "uses", "none", 'n'}, {OPT_USES_TOTAL, "uses_total", "none", 'n'},
		{OPT_KEEP, "keep_versions", "all", 'n'}, {OPT_KEEP_FOR, "keep_seconds", "always", 'd'}, {OPT_LIFETIME, "lifetime", "none", 'd'},
		{OPT_NOT_BEFORE, "not_before", "none", 't'}, {OPT_NOT_AFTER, "not_after", "none", 't'}, {OPT_PUBLISH, "publish", NULL, 'b'},
		{OPT_CURRENT, "current", "newest", 'n'}, {OPT_RESET, "reset_uses", NULL, 'y'},
	};
	for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++) {
		json_t *v = NULL;
		long long n = -1;

		if (known[i].option != option)
			continue;
		if (known[i].none && !strcmp(value, known[i].none))
			v = json_null();
		else if (known[i].type == 't')
			v = json_string(value);
		else if (known[i].type == 'y')
			v = json_true();
		else if (known[i].type == 'b')
			v = !strcmp(value, "yes") ? json_true() : !strcmp(value, "no") ? json_false() : NULL;
		else if (known[i].type == 'd' ? (n = duration(value)) >= 0 : !whole(value, &n))
			v = json_integer(n);
		if (!v)
			return cli_usage(&command_secret, "--%s does not take '%s'", option == OPT_KEEP ? "keep" : option == OPT_KEEP_FOR ? "keep-for" :
					 known[i].name, value);
		a->set = true;
		json_object_set_new(a->request, known[i].name, v);
		return 0;
	}
	return -1;
}

static int options(struct asked *a, int argc, char **argv)
{
	static const struct option known[] = {
		OWNER_OPTIONS, {"file", required_argument, NULL, OPT_FILE}, {"output", required_argument, NULL, OPT_OUTPUT},
		{"kind", required_argument, NULL, OPT_KIND}, {"use", required_argument, NULL, OPT_USE}, {"bytes", required_argument, NULL, OPT_BYTES},
		{"encoding", required_argument, NULL, OPT_ENCODING}, {"note", required_argument, NULL, OPT_NOTE},
		{"uses", required_argument, NULL, OPT_USES}, {"uses-total", required_argument, NULL, OPT_USES_TOTAL},
		{"keep", required_argument, NULL, OPT_KEEP}, {"keep-for", required_argument, NULL, OPT_KEEP_FOR},
		{"lifetime", required_argument, NULL, OPT_LIFETIME}, {"not-before", required_argument, NULL, OPT_NOT_BEFORE},
		{"not-after", required_argument, NULL, OPT_NOT_AFTER}, {"publish", required_argument, NULL, OPT_PUBLISH},
		{"current", required_argument, NULL, OPT_CURRENT}, {"reset-uses", no_argument, NULL, OPT_RESET},
		{"version", required_argument, NULL, OPT_VERSION}, {"all", no_argument, NULL, OPT_ALL}, {"force", no_argument, NULL, OPT_FORCE},
		{"json", no_argument, NULL, OPT_JSON}, {"format", required_argument, NULL, OPT_FORMAT}, {0},
	};
	long long n;
	int option, err;

	optind = 1;
	while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
		switch (option) {
		case OPT_FILE: a->file = optarg; continue;
		case OPT_OUTPUT: a->output = optarg; continue;
		case OPT_FORMAT: a->format = optarg; continue;
		case OPT_ALL: a->all = true; continue;
		case OPT_FORCE: a->force = true; continue;
		case OPT_JSON: a->json = true; continue;
		case OPT_VERSION:
			if (whole(optarg, &n) || n < 1 || n > 1000000000)
				return cli_usage(&command_secret, "--version takes a number from 1");
			a->version = (unsigned int)n;
			continue;
		default: break;
		}
		if (option != '?' && owner_option(&a->owner, option, optarg) && !a->owner.key_file)
			continue;
		err = option == '?' ? -1 : setting(a, option, optarg ? optarg : "");
		if (err)
			return err < 0 ? cli_usage(&command_secret, "wrong option") : err;
	}
	return 0;
}

// Standard input, unless that is a terminal, which would show it; or a file that nobody else reads.
static int read_value(const struct asked *a, char **value, size_t *len, struct fault *f)
{
	size_t room = SECRET_MAX_BYTES + 1;

	if (a->file)
		return file_read_private(a->file, SECRET_MAX_BYTES, value, len, f);
	if (isatty(STDIN_FILENO))
		return fault_set(f, -EINVAL, "a secret is not typed on a terminal, which shows it: pipe it in, or name a private file (--file)");
	*value = malloc(room);
	*len = 0;
	if (!*value)
		return fault_set(f, -ENOMEM, "out of memory");
	for (;;) {
		ssize_t n = read(STDIN_FILENO, *value + *len, room - *len);
		int err = n < 0 && errno != EINTR ? fault_errno(f, errno, "cannot read standard input") : 0;

		if (!err && n > 0 && (*len += (size_t)n) == room)
			err = fault_set(f, -EFBIG, "a secret may have %u bytes at most", SECRET_MAX_BYTES);
		if (err) {
			free_wiped(*value, room);
			*value = NULL;
			return err;
		}
		if (n == 0)
			return 0;
	}
}

// The request's line, and behind it the value.
static int change(struct asked *a, const char *action, const char *value, size_t len, json_t **answer, struct fault *f)
{
	char path[300];
	int err;

	json_object_set_new(a->request, "action", json_string(action));
	if (a->version)
		json_object_set_new(a->request, "version", json_integer(a->version));
	char *line = json_dumps(a->request, JSON_COMPACT);
	size_t n = line ? strlen(line) : 0;
	char *body = line ? malloc(n + len + 2) : NULL;
	if (!body) {
		free(line);
		return fault_set(f, -ENOMEM, "out of memory");
	}
	memcpy(body, line, n);
	if (value) {
		body[n++] = '\n';
		memcpy(body + n, value, len);
	}
	snprintf(path, sizeof(path), "/coffer/v0/secret/%s", a->name);
	err = broker_client_call(a->client, "POST", path, body, n + (value ? len : 0), answer, f);
	free_wiped(body, n + len);
	free(line);
	return err;
}

static void print_json(const json_t *o)
{
	char *text = json_dumps(o, JSON_COMPACT | JSON_SORT_KEYS);

	printf("%s\n", text ? text : "{}");
	free(text);
}

static int describe(const struct asked *a, json_t **out, struct fault *f)
{
	char path[300];

	snprintf(path, sizeof(path), "/coffer/v0/secret/%s", a->name);
	return broker_client_call(a->client, "GET", path, NULL, 0, out, f);
}

static int store(struct asked *a, struct fault *f)
{
	bool rotate = !strcmp(a->action, "rotate"), wants = !strcmp(a->action, "put") || a->file;
	json_t *answer = NULL, *there = NULL;
	char *value = NULL;
	size_t len = 0;
	int err = 0;

	if (rotate && !wants) { // the broker makes the new version of what it made
		err = describe(a, &there, f);
		const char *kind = json_string_value(json_object_get(there, "kind"));
		wants = kind && !strcmp(kind, "data");
		json_decref(there);
	}
	if (!err && wants)
		err = read_value(a, &value, &len, f);
	if (!err)
		err = change(a, a->action, value, len, &answer, f);
	free_wiped(value, value ? len : 0);
	if (!err && a->json)
		print_json(answer);
	else if (!err)
		printf("%s: version %lld is %s\n", a->name, json_integer_value(json_object_get(answer, "version")), rotate ? "there" : "kept at the broker");
	json_decref(answer);
	return err;
}

static int get(const struct asked *a, struct fault *f)
{
	char path[300], *value = NULL;
	size_t len = 0;
	int n = snprintf(path, sizeof(path), "/coffer/v0/key/%s", a->name), err = 0;

	if (a->version)
		snprintf(path + n, sizeof(path) - (size_t)n, "?version=%u", a->version);
	if (!a->output && isatty(STDOUT_FILENO))
		return fault_set(f, -EINVAL, "a secret is not shown on a terminal: pipe it to what needs it, or name a file (--output)");
	err = broker_client_text(a->client, "GET", path, NULL, 0, &value, &len, f);
	if (!err && a->output)
		err = file_write(a->output, value, len, 0600, !a->force, f);
	else if (!err && (fwrite(value, 1, len, stdout) != len || fflush(stdout)))
		err = fault_errno(f, errno, "cannot write the secret");
	free_wiped(value, value ? len : 0);
	return err;
}

static const char *text_of(const json_t *o, const char *name)
{
	const char *s = json_string_value(json_object_get(o, name));

	return s ? s : "";
}

static void print_limit(const json_t *o, const char *name, const char *text)
{
	if (json_object_get(o, name))
		printf("  %-14s %lld\n", text, json_integer_value(json_object_get(o, name)));
}

static void print_version(const json_t *v, long long current)
{
	long long number = json_integer_value(json_object_get(v, "version"));
	const char *state = text_of(v, "state");
	bool given = json_is_true(json_object_get(v, "given"));

	printf("  version %-6lld %s%s%s%s", number, given ? "" : cli_yellow(stdout), strcmp(state, "enabled") || given ? state : "enabled, not given",
	       given ? "" : cli_plain(stdout), number == current ? ", current" : "");
	printf(", made %s", text_of(v, "created"));
	if (*text_of(v, "not_before"))
		printf(", valid from %s", text_of(v, "not_before"));
	if (*text_of(v, "not_after"))
		printf(", until %s", text_of(v, "not_after"));
	if (json_object_get(v, "used"))
		printf(", given %lld times", json_integer_value(json_object_get(v, "used")));
	printf("\n");
	if (*text_of(v, "kid"))
		printf("                 key %s\n", text_of(v, "kid"));
}

static void print_secret(const json_t *o)
{
	json_t *v;
	size_t i;

	printf("%s\n  %-14s %s%s%s\n", text_of(o, "resource"), "kind", text_of(o, "kind"), *text_of(o, "use") ? ", to " : "", text_of(o, "use"));
	if (json_is_true(json_object_get(o, "disabled")))
		printf("  %sdisabled%s\n", cli_yellow(stdout), cli_plain(stdout));
	if (*text_of(o, "note"))
		printf("  %-14s %s\n", "note", text_of(o, "note"));
	if (json_is_true(json_object_get(o, "publish")))
		printf("  %-14s for everybody\n", "public half");
	print_limit(o, "uses", "uses each");
	print_limit(o, "uses_total", "uses in all");
	print_limit(o, "used_total", "used in all");
	print_limit(o, "keep_versions", "old ones kept");
	print_limit(o, "keep_seconds", "kept seconds");
	print_limit(o, "lifetime", "lives seconds");
	json_array_foreach(json_object_get(o, "versions"), i, v)
		print_version(v, json_integer_value(json_object_get(o, "current")));
}

static int list(const struct asked *a, struct fault *f)
{
	json_t *answer = NULL, *o, *secrets;
	size_t i;
	int err = broker_client_call(a->client, "GET", "/coffer/v0/secret", NULL, 0, &answer, f);

	if (err)
		return err;
	secrets = json_object_get(answer, "secrets");
	if (a->json)
		print_json(answer);
	else if (!json_array_size(secrets))
		printf("The broker keeps no secret yet (coffer secret put, generate).\n");
	json_array_foreach(secrets, i, o) {
		if (a->json)
			break;
		if (json_is_true(json_object_get(o, "changed_outside")))
			printf("%s  %sCHANGED outside the broker: it is given to nobody%s\n", text_of(o, "resource"), cli_red(stdout), cli_plain(stdout));
		else
			printf("%s  %s, version %lld%s%s%s\n", text_of(o, "resource"), text_of(o, "kind"),
			       json_integer_value(json_object_get(o, "current")), json_is_true(json_object_get(o, "disabled")) ? ", disabled" : "",
			       *text_of(o, "note") ? "  # " : "", text_of(o, "note"));
	}
	json_decref(answer);
	return 0;
}

static int show(const struct asked *a, struct fault *f)
{
	json_t *o = NULL;
	int err = describe(a, &o, f);

	if (!err && a->json)
		print_json(o);
	else if (!err)
		print_secret(o);
	json_decref(o);
	return err;
}

static int public(const struct asked *a, struct fault *f)
{
	char path[300], *text = NULL;
	size_t len;
	json_t *o = NULL;
	int n = snprintf(path, sizeof(path), "/kbs/v0/key/%s/public", a->name), err;

	if (a->format && !strcmp(a->format, "jwks"))
		snprintf(path + n, sizeof(path) - (size_t)n, "?format=jwks");
	else if (a->version)
		snprintf(path + n, sizeof(path) - (size_t)n, "?version=%u", a->version);
	err = broker_client_text(a->client, "GET", path, NULL, 0, &text, &len, f);
	if (err)
		return err;
	o = json_loadb(text, len, 0, NULL);
	if (a->json || (a->format && !strcmp(a->format, "jwks")))
		print_json(o);
	else if (a->format && !strcmp(a->format, "jwk"))
		print_json(json_object_get(o, "jwk"));
	else
		printf("%s", text_of(o, "pem"));
	json_decref(o);
	free(text);
	return 0;
}

static int destroy(const struct asked *a, struct fault *f)
{
	char path[300], body[64] = "{}";

	snprintf(path, sizeof(path), "/coffer/v0/secret-destroy/%s", a->name);
	if (a->version)
		snprintf(body, sizeof(body), "{\"version\":%u}", a->version);
	return broker_client_call(a->client, "POST", path, body, strlen(body), NULL, f);
}

static int delete(const struct asked *a, struct fault *f)
{
	char path[300];

	snprintf(path, sizeof(path), "/coffer/v0/secret/%s", a->name);
	return broker_client_call(a->client, "DELETE", path, NULL, 0, NULL, f);
}

static int act(struct asked *a, struct fault *f)
{
	const char *what = a->action;

	if (!strcmp(what, "list"))
		return list(a, f);
	if (!strcmp(what, "show"))
		return show(a, f);
	if (!strcmp(what, "get"))
		return get(a, f);
	if (!strcmp(what, "public"))
		return public(a, f);
	if (!strcmp(what, "destroy"))
		return destroy(a, f);
	if (!strcmp(what, "delete"))
		return delete(a, f);
	if (!strcmp(what, "put") || !strcmp(what, "generate") || !strcmp(what, "rotate"))
		return store(a, f);
	return change(a, what, NULL, 0, NULL, f); // set, disable, enable
}

// What can be wrong about the command line as a whole; EXIT_OK, or answered.
static int check(const struct asked *a, int words)
{
	static const char *const known[] = {"put", "get", "generate", "list", "show", "public", "rotate", "set", "disable", "enable", "destroy", "delete"};
	bool found = false, settable = false;

	for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++)
		found = found || !strcmp(known[i], a->action);
	settable = !strcmp(a->action, "put") || !strcmp(a->action, "generate") || !strcmp(a->action, "rotate") || !strcmp(a->action, "set");
	if (!found)
		return cli_usage(&command_secret, "there is no 'secret %s': put, get, generate, list, show, public, rotate, set, disable, enable, destroy or "
				 "delete", a->action);
	if (words != (strcmp(a->action, "list") ? 1 : 0))
		return cli_usage(&command_secret, words ? "too many words for '%s': a value is never an argument" : "which secret? '%s' takes its name, such as "
				 "default/app/password", a->action);
	if (words && (strlen(a->name) > 200 || a->name[0] == '/' || strspn(a->name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./") !=
		      strlen(a->name)))
		return cli_usage(&command_secret, "a secret is named repository/type/tag, such as default/app/password");
	if (a->set && !settable)
		return cli_usage(&command_secret, "nothing is set with '%s'", a->action);
	if (!strcmp(a->action, "set") && !a->set)
		return cli_usage(&command_secret, "set what? --uses, --keep, --not-after...");
	if (!strcmp(a->action, "destroy") && a->all == (a->version != 0))
		return cli_usage(&command_secret, "destroy which? --version N, or --all");
	if (!strcmp(a->action, "delete") && !a->force)
		return cli_usage(&command_secret, "whatever needs it is lost with it: --force deletes it with all versions");
	return EXIT_OK;
}

static int secret(int argc, char **argv)
{
	struct asked a = {.request = json_object()};
	struct fault f = {0};
	int err = options(&a, argc, argv);

	if (!err && optind == argc)
		err = cli_usage(&command_secret, "say what to do: put, get, generate, list, show, rotate, set...");
	if (!err) {
		a.action = argv[optind];
		a.name = optind + 1 < argc ? argv[optind + 1] : "";
		err = check(&a, argc - optind - 1);
	}
	if (!err) {
		// What is published is for everybody.
		err = broker_client_open(&a.client, &a.owner.broker, &f);
		if (!err)
			err = act(&a, &f);
		broker_client_close(a.client);
		err = err ? cli_fail(&f) : EXIT_OK;
	}
	json_decref(a.request);
	return err;
}

const struct command command_secret = {
	"secret", "keep secrets and keys at the broker, for attested enclaves",
	"usage: coffer secret put NAME [--file FILE] [--kind data|aes-256|KEY] [SETTING...]     the value: standard input, or a private file\n"
	"       coffer secret generate NAME [--kind random|aes-256|KEY] [--bytes N] [--encoding raw|hex|base64url] [SETTING...]\n"
	"       coffer secret rotate NAME [--file FILE] [SETTING...]       a further version; the broker makes it, or for data it is read\n"
	"       coffer secret get NAME [--version N] [--output FILE]       into a pipe or a private file; keys that stay are not given\n"
	"       coffer secret list|show NAME [--json]                      names, versions, limits: never values\n"
	"       coffer secret public NAME [--version N] [--format pem|jwk|jwks]\n"
	"       coffer secret set NAME [--version N] SETTING...\n"
	"       coffer secret disable|enable NAME [--version N]            without a version: all of it\n"
	"       coffer secret destroy NAME --version N|--all               its value is gone for good; its name and number stay\n"
	"       coffer secret delete NAME --force\n\n"
	"NAME is repository/type/tag, such as default/app/password. Who may have it is said by `coffer policy`. KEY is a key pair whose\n"
	"private half never leaves the broker: ec-p256, ec-p384, ed25519, rsa-3072, rsa-4096, with --use sign|decrypt; aes-256 wraps and\n"
	"unwraps keys. Attested enclaves use them with POST /kbs/v0/key/NAME/sign, decrypt, unwrap, wrap (docs/secrets.md).\n\n"
	"      --uses N|none            how often each version is given at most; 1: once\n"
	"      --uses-total N|none      the same for all versions together\n"
	"      --keep N|all             how many versions before the current one are still given\n"
	"      --keep-for TIME|always   how long (90s, 15m, 12h, 30d) after the next one was made\n"
	"      --not-before DATE|none   (2026-01-31T00:00:00Z) of the new version, or with `set` of the current one or --version\n"
	"      --not-after DATE|none\n"
	"      --lifetime TIME|none     new versions expire that long after they are made\n"
	"      --publish yes|no         the public half is for everybody\n"
	"      --current N|newest       which version is the current one\n"
	"      --reset-uses             whatever was given does not count\n"
	"      --note TEXT\n"
	"      --json                   what a program reads\n" OWNER_HELP,
	secret,
};

// SPDX-License-Identifier: Apache-2.0
// See policy_document.h.
#include "cli/policy_document.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/owner.h"
#include "cli/printable.h"
#include "lib/file.h"

#define DOCUMENT "/coffer/v0/policy-document"

static const char *const words[] = {"put", "show", "history", "rollback", "withdraw", NULL};

bool policy_document_knows(const char *what)
{
	for (const char *const *w = words; *w; w++)
		if (!strcmp(*w, what))
			return true;
	return false;
}

static const char *text_of(const json_t *o, const char *name)
{
	const char *s = json_string_value(json_object_get(o, name));

	return s ? s : "";
}

static long long number_of(const json_t *o, const char *name)
{
	return (long long)json_integer_value(json_object_get(o, name));
}

static void print_json(const json_t *o)
{
	json_dumpf(o, stdout, JSON_COMPACT | JSON_SORT_KEYS);
	putchar('\n');
}

static int change(struct broker_client *client, json_t *body, struct fault *f)
{
	json_t *answer = NULL;
	int err = body ? broker_client_json(client, "POST", DOCUMENT, body, &answer, f) : fault_set(f, -EINVAL, "the policy or its name is not valid text");

	if (!err && number_of(answer, "version"))
		printf("Version %lld of the policy holds now (%.16s...)\n", number_of(answer, "version"), text_of(answer, "digest"));
	else if (!err)
		printf("No rules hold any longer: what `coffer policy allow` says decides\n");
	json_decref(answer);
	json_decref(body);
	return err;
}

static int put(struct broker_client *client, const char *path, const char *name, struct fault *f)
{
	char *text;
	size_t len;
	int err = file_read(path, 256 << 10, &text, &len, f);

	if (err)
		return err;
	err = change(client, json_pack("{s:s, s:s%, s:s}", "action", "put", "text", text, len, "name", name ? name : ""), f);
	free(text);
	return err;
}

static int show(struct broker_client *client, const char *version, bool json, struct fault *f)
{
	char path[80];
	json_t *answer = NULL;

	snprintf(path, sizeof(path), version ? DOCUMENT "?version=%.20s" : DOCUMENT, version);
	int err = broker_client_json(client, "GET", path, NULL, &answer, f);
	if (err)
		return err;
	if (json)
		print_json(answer);
	else if (!strcmp(text_of(answer, "source"), "file"))
		printf("# the broker's own file %s decides (`policy` in its broker.yaml, or --policy)\n", text_of(answer, "file"));
	else if (!strcmp(text_of(answer, "source"), "none"))
		printf("# no rules: what `coffer policy allow` says decides\n");
	else
		printf("# version %lld%s%s, by %s, %s\n%s", number_of(answer, "version"), *text_of(answer, "name") ? ", " : "", text_of(answer, "name"),
		       text_of(answer, "author"), text_of(answer, "digest"), text_of(answer, "text"));
	json_decref(answer);
	return 0;
}

static int history(struct broker_client *client, bool json, struct fault *f)
{
	json_t *answer = NULL, *row;
	size_t i;
	int err = broker_client_json(client, "GET", "/coffer/v0/policy-history", NULL, &answer, f);

	if (err)
		return err;
	if (json)
		print_json(answer);
	else
		answer = printable(answer);
	if (!json && !json_array_size(json_object_get(answer, "versions")))
		printf("No policy was ever put.\n");
	json_array_foreach(json ? NULL : json_object_get(answer, "versions"), i, row)
		printf("%s%6lld  %s  %.16s...  %-16s  %s\n", json_is_true(json_object_get(row, "active")) ? "*" : " ", number_of(row, "version"),
		       text_of(row, "created"), text_of(row, "digest"), text_of(row, "author"), text_of(row, "name"));
	json_decref(answer);
	return 0;
}

int policy_document(int argc, char **argv)
{
	static const struct option options[] = {
		OWNER_OPTIONS, {"name", required_argument, NULL, 'n'}, {"version", required_argument, NULL, 'v'}, {"json", no_argument, NULL, 'j'}, {0},
	};
	const char *what = argv[0], *name = NULL, *version = NULL, *word;
	struct broker_client *client;
	struct owner o = {0};
	struct fault f = {0};
	bool json = false;
	int option, err;

	optind = 1;
	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option == 'n')
			name = optarg;
		else if (option == 'v')
			version = optarg;
		else if (option == 'j')
			json = true;
		else if (!owner_option(&o, option, optarg) || o.key_file)
			return cli_usage(&command_policy, "wrong option");
	}
	bool takes = !strcmp(what, "put") || !strcmp(what, "rollback");
	if (argc - optind != takes)
		return cli_usage(&command_policy, takes ? "'%s' takes one argument" : "'%s' takes no argument", what);
	word = argv[optind];
	if (!strcmp(what, "rollback") && (strspn(word, "0123456789") != strlen(word) || strlen(word) > 15 || !atoll(word)))
		return cli_usage(&command_policy, "rollback takes the number of a version (coffer policy history)");
	if (broker_client_open(&client, &o.broker, &f))
		return cli_fail(&f);
	if (!strcmp(what, "put"))
		err = put(client, word, name, &f);
	else if (!strcmp(what, "show"))
		err = show(client, version, json, &f);
	else if (!strcmp(what, "history"))
		err = history(client, json, &f);
	else if (!strcmp(what, "rollback"))
		err = change(client, json_pack("{s:s, s:I}", "action", "rollback", "version", (json_int_t)atoll(word)), &f);
	else
		err = change(client, json_pack("{s:s}", "action", "withdraw"), &f);
	broker_client_close(client);
	return err ? cli_fail(&f) : EXIT_OK;
}

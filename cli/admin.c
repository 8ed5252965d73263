// SPDX-License-Identifier: Apache-2.0
// `coffer admin`: who administers a broker.
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/owner.h"
#include "cli/printable.h"
#include "lib/file.h"

struct request {
	const char *roles, *resources, *key, *certificate, *certificate_name;
	bool json;
};

// "a,b" -> ["a","b"]
static json_t *list_of(const char *text)
{
	json_t *list = json_array();

	for (const char *p = text ? text : ""; *p;) {
		size_t n = strcspn(p, ",");

		json_array_append_new(list, json_stringn(p, n));
		p += n + (p[n] == ',');
	}
	return list;
}

static int add_file(json_t *o, const char *name, const char *path, struct fault *f)
{
	char *text;
	size_t len;
	int err = file_read(path, 64 << 10, &text, &len, f);

	if (err)
		return err;
	if (strstr(text, "PRIVATE KEY"))
		err = fault_set(f, -EINVAL, "%s holds a private key, which stays with its owner: what belongs here is what `coffer identity show` prints", path);
	else if (json_object_set_new(o, name, json_string(text)))
		err = fault_set(f, -EINVAL, "%s is not text", path);
	free_wiped(text, len);
	return err;
}

static int change(struct broker_client *client, const char *action, const char *name, const struct request *q, struct fault *f)
{
	json_t *o = json_pack("{s:s, s:s}", "action", action, "name", name);
	int err = o ? 0 : fault_set(f, -EINVAL, "the name is not valid text");

	if (!err && q->roles) {
		json_object_set_new(o, "roles", list_of(q->roles));
		json_object_set_new(o, "resources", list_of(q->resources));
	}
	if (!err && q->key)
		err = add_file(o, "key", q->key, f);
	if (!err && q->certificate)
		err = add_file(o, "certificate", q->certificate, f);
	if (!err && q->certificate_name)
		json_object_set_new(o, "certificate_name", json_string(q->certificate_name));
	if (!err)
		err = broker_client_json(client, "POST", "/coffer/v0/identity", o, NULL, f);
	json_decref(o);
	return err;
}

static void print_list(const json_t *o, const char *label, const char *name)
{
	size_t i;
	json_t *v;

	if (!json_array_size(json_object_get(o, name)))
		return;
	printf("  %-10s ", label);
	json_array_foreach(json_object_get(o, name), i, v)
		printf("%s%s", i ? ", " : "", json_string_value(v));
	putchar('\n');
}

static int list(struct broker_client *client, bool json, struct fault *f)
{
	json_t *answer = NULL, *row;
	size_t i;
	int err = broker_client_json(client, "GET", "/coffer/v0/identity", NULL, &answer, f);

	if (!err && json) {
		json_dumpf(answer, stdout, JSON_COMPACT | JSON_SORT_KEYS);
		putchar('\n');
	} else if (!err) {
		answer = printable(answer);
		if (!json_array_size(json_object_get(answer, "identities")))
			printf("Nobody but who has the admin token (coffer admin add NAME --role admin --key FILE).\n");
		json_array_foreach(json_object_get(answer, "identities"), i, row) {
			printf("%s\n", json_string_value(json_object_get(row, "name")));
			print_list(row, "roles", "roles");
			print_list(row, "resources", "resources");
			printf("  %-10s %s\n", json_string_value(json_object_get(row, "kind")), json_string_value(json_object_get(row, "key")));
			printf("  %-10s %s, by %s\n", "since", json_string_value(json_object_get(row, "created")), json_string_value(json_object_get(row, "by")));
		}
	}
	json_decref(answer);
	return err;
}

static int admin(int argc, char **argv)
{
	static const struct option options[] = {
		OWNER_OPTIONS, {"role", required_argument, NULL, 'r'}, {"resources", required_argument, NULL, 'R'}, {"key", required_argument, NULL, 'k'},
		{"certificate", required_argument, NULL, 'c'}, {"certificate-name", required_argument, NULL, 'C'}, {"json", no_argument, NULL, 'j'}, {0},
	};
	struct owner o = {0};
	struct request q = {0};
	struct broker_client *client;
	struct fault f = {0};
	const char *what, *name;
	int option, err, words;

	optind = 1;
	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 'r': q.roles = optarg; break;
		case 'R': q.resources = optarg; break;
		case 'k': q.key = optarg; break;
		case 'c': q.certificate = optarg; break;
		case 'C': q.certificate_name = optarg; break;
		case 'j': q.json = true; break;
		default:
			if (!owner_option(&o, option, optarg) || o.key_file)
				return cli_usage(&command_admin, "wrong option");
		}
	}
	words = argc - optind;
	if (!words)
		return cli_usage(&command_admin, "say what to do: add, list, role or remove");
	what = argv[optind];
	name = words > 1 ? argv[optind + 1] : NULL;
	if (strcmp(what, "add") && strcmp(what, "list") && strcmp(what, "role") && strcmp(what, "remove"))
		return cli_usage(&command_admin, "there is no 'admin %s': add, list, role or remove", what);
	if (!strcmp(what, "role") && words == 3 && !q.roles) {
		q.roles = argv[optind + 2];
		words = 2;
	}
	if (words != (!strcmp(what, "list") ? 1 : 2))
		return cli_usage(&command_admin, "wrong number of arguments for '%s'", what);
	if ((!strcmp(what, "add") || !strcmp(what, "role")) && !q.roles)
		return cli_usage(&command_admin, "which role? --role admin, owner, operator, auditor or approver (several with , between)");
	if (!strcmp(what, "add") && !q.key + !q.certificate + !q.certificate_name != 2)
		return cli_usage(&command_admin, "known by what? --key FILE (a public key), --certificate FILE or --certificate-name NAME");
	if (broker_client_open(&client, &o.broker, &f))
		return cli_fail(&f);
	err = !strcmp(what, "list") ? list(client, q.json, &f) : change(client, what, name, &q, &f);
	broker_client_close(client);
	if (err)
		return cli_fail(&f);
	if (!strcmp(what, "add"))
		printf("%s may come in as %s\n", name, q.roles);
	else if (!strcmp(what, "role"))
		printf("%s is %s now\n", name, q.roles);
	else if (!strcmp(what, "remove"))
		printf("%s is nobody any longer\n", name);
	return EXIT_OK;
}

const struct command command_admin = {
	"admin", "say who administers a broker",
	"usage: coffer admin add NAME --role ROLE[,ROLE...] [--resources PREFIX[,PREFIX...]]\n"
	"                    --key FILE | --certificate FILE | --certificate-name NAME\n"
	"       coffer admin list [--json]\n"
	"       coffer admin role NAME ROLE[,ROLE...] [--resources PREFIX[,PREFIX...]]\n"
	"       coffer admin remove NAME                              takes effect at the next request\n\n"
	"Roles: admin (everything), owner (of the resources that begin with a PREFIX such as team/ or default/volume/: put, rotate, allow,\n"
	"deny, their part of the audit log), operator (status, metrics; no secrets), auditor (audit log, lists), approver (gives\n"
	"approvals). A key is what `coffer identity show` prints; --certificate is a client's certificate itself, --certificate-name a name\n"
	"in certificates under the broker's `client_ca`. The first admin is added with the admin token. docs/identity.md\n\n" OWNER_HELP,
	admin,
};

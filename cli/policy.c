// SPDX-License-Identifier: Apache-2.0
// `coffer policy`: which enclave may have which key.
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/audit.h"
#include "cli/cli.h"
#include "cli/owner.h"
#include "cli/policy_check.h"
#include "cli/policy_document.h"
#include "image/text.h"

// A volume's file, its id, or a resource path -> "default/volume/<id>".
static int find_resource(const char *what, char out[256], struct fault *f)
{
	struct seal_tool_err e = {0};
	u8 id[SEAL_ID_BYTES];
	u32 version;
	int err;

	if (!access(what, F_OK)) {
		err = seal_tool_id(what, id, &version, &e);
		if (err)
			return fault_set(f, err, "%s", e.text);
		broker_volume_resource(out, id);
		return 0;
	}
	if (strlen(what) == 32 && strspn(what, "0123456789abcdef") == 32)
		snprintf(out, 256, "default/volume/%s", what);
	else if (strchr(what, '/') && !ends_with(what, ".vol") && strlen(what) < 200 && what[0] != '/' && what[0] != '.')
		snprintf(out, 256, "%s", what);
	else
		return fault_set(f, -ENOENT, "there is no volume %s here (name a volume's file, its id, or a resource such as "
				 "default/volume/ID)", what);
	return 0;
}

static int list(struct broker_client *client, bool json, struct fault *f)
{
	json_t *answer = NULL, *row;
	char *text;
	size_t i;
	int err = broker_client_policy_list(client, &answer, f);

	if (err)
		return err;
	if (json) {
		text = json_dumps(answer, JSON_COMPACT | JSON_SORT_KEYS);
		printf("%s\n", text ? text : "{}");
		free(text);
		goto out;
	}
	if (!json_array_size(json_object_get(answer, "policies")))
		printf("No enclave may have any key yet (coffer policy allow FILE.vol --measurement DIGEST).\n");
	json_array_foreach(json_object_get(answer, "policies"), i, row) {
		const char *note = json_string_value(json_object_get(row, "note"));

		printf("%s\n  to       %s\n  since    %s\n", json_string_value(json_object_get(row, "resource")),
		       json_string_value(json_object_get(row, "measurement")), json_string_value(json_object_get(row, "created")));
		if (json_is_true(json_object_get(row, "changed_outside")))
			printf("  %sCHANGED outside the broker: it allows nothing%s\n", cli_red(stdout), cli_plain(stdout));
		if (note && *note)
			printf("  note     %s\n", note);
	}
out:
	json_decref(answer);
	return 0;
}

static bool is_measurement(const char *s)
{
	size_t n = s ? strlen(s) : 0;

	return (n == 96 || n == 64) && strspn(s, "0123456789abcdef") == n;
}

static int policy(int argc, char **argv)
{
	static const struct option options[] = {
		OWNER_OPTIONS, {"measurement", required_argument, NULL, 'm'}, {"note", required_argument, NULL, 'n'},
		{"json", no_argument, NULL, 'j'}, {0},
	};
	const char *measurement = NULL, *note = NULL, *what;
	struct broker_client *client;
	struct owner o = {0};
	struct fault f = {0};
	char resource[256];
	bool json = false;
	int option, err, words;

	if (argc > 1 && !strcmp(argv[1], "check"))
		return policy_check(argc - 1, argv + 1);
	if (argc > 1 && policy_document_knows(argv[1]))
		return policy_document(argc - 1, argv + 1);
	optind = 1;
	while ((option = getopt_long(argc, argv, "m:n:", options, NULL)) != -1) {
		if (option == 'm')
			measurement = optarg;
		else if (option == 'n')
			note = optarg;
		else if (option == 'j')
			json = true;
		else if (!owner_option(&o, option, optarg) || o.key_file)
			return cli_usage(&command_policy, "wrong option");
	}
	if (optind == argc)
		return cli_usage(&command_policy, "say what to do: allow, deny, list, log, check, put, show, history, rollback or withdraw");
	what = argv[optind];
	words = argc - optind - 1;
	if (strcmp(what, "allow") && strcmp(what, "deny") && strcmp(what, "list") && strcmp(what, "log"))
		return cli_usage(&command_policy, "there is no 'policy %s': allow, deny, list, log, check, put, show, history, rollback or withdraw", what);
	if (words != (*what == 'l' ? 0 : 1))
		return cli_usage(&command_policy, "wrong number of arguments for '%s'", what);
	if (measurement && !is_measurement(measurement))
		return cli_usage(&command_policy, "a measurement is 96 hex digits, as `coffer measure` prints it (64 for SGX and CSV)");
	if (!strcmp(what, "allow") && !measurement)
		return cli_usage(&command_policy, "which enclave? --measurement $(coffer measure)");
	if (words && find_resource(argv[optind + 1], resource, &f))
		return cli_fail(&f);
	if (broker_client_open(&client, &o.broker, &f))
		return cli_fail(&f);
	if (!strcmp(what, "list"))
		err = list(client, json, &f);
	else if (!strcmp(what, "log"))
		err = audit_print_all(client, &f);
	else if (!strcmp(what, "allow"))
		err = broker_client_policy_allow(client, resource, measurement, note, &f);
	else
		err = broker_client_policy_deny(client, resource, measurement, &f);
	broker_client_close(client);
	if (err)
		return cli_fail(&f);
	if (!strcmp(what, "allow"))
		printf("The enclave %.16s... may have the key of %s\n", measurement, argv[optind + 1]);
	else if (!strcmp(what, "deny") && measurement)
		printf("The enclave %.16s... may no longer have the key of %s\n", measurement, argv[optind + 1]);
	else if (!strcmp(what, "deny"))
		printf("No enclave may have the key of %s any longer\n", argv[optind + 1]);
	return EXIT_OK;
}

const struct command command_policy = {
	"policy", "say which enclave may have which key",
	"usage: coffer policy allow VOLUME --measurement DIGEST [--note TEXT]\n"
	"       coffer policy deny VOLUME [--measurement DIGEST]      without a digest: for every enclave\n"
	"       coffer policy list [--json]\n"
	"       coffer policy log                                     all of `coffer audit list`, a JSON line each\n"
	"       coffer policy put POLICY.yaml [--name TEXT]            a new version of the rules, which holds from now on\n"
	"       coffer policy show [--version N] [--json]             the rules that hold, or held\n"
	"       coffer policy history [--json]\n"
	"       coffer policy rollback N                              version N again, as a new version\n"
	"       coffer policy withdraw                                no rules any longer: what `policy allow` says decides\n"
	"       coffer policy check POLICY.yaml EVIDENCE --resource RESOURCE [--collateral FILE|DIR] [--event-log FILE] [--at TIME]\n"
	"                     [--caller NAME=VALUE...] [--owner-allows yes|no] [--approved-by NAME...] [--reference FILE... --reference-key KEY...]\n"
	"                     [--tpm-root FILE] [--insecure-simulated-root FILE] [--json]\n\n"
	"VOLUME is a volume's file, its id (32 hex digits), or a resource of the broker (default/volume/ID). DIGEST is what\n"
	"`coffer measure` prints.\n\n"
	"check shows what the rules of a policy file (docs/policy.md) decide about a resource for recorded evidence (raw, or a\n"
	"bundle), and the whole tree of conditions that led there. It asks no broker. --caller says what a broker would know of who\n"
	"asks (address, session), --owner-allows whether `policy allow` names the measurement,\n"
	"--approved-by who approved this release. Exit codes: 0 allowed, 3 refused,\n"
	"1 something could not be read, 2 wrong usage.\n\n" OWNER_HELP,
	policy,
};

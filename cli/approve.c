// SPDX-License-Identifier: Apache-2.0
// `coffer approve` and `coffer approvals`: k of n who must agree to a release or to an operation of a broker.
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "broker/approvals.h"
#include "cli/cli.h"
#include "cli/owner.h"
#include "cli/printable.h"
#include "lib/encode.h"
#include "lib/signkey.h"

static const char *text_of(const json_t *o, const char *name)
{
	const char *s = json_string_value(json_object_get(o, name));

	return s ? s : "";
}

static void print_one(const json_t *row)
{
	size_t i;
	json_t *v;

	printf("%s\n  action    %s\n  subject   %s\n  detail    %s\n  asked     %s, by %s\n  approved  ", text_of(row, "id"), text_of(row, "action"),
	       text_of(row, "subject"), text_of(row, "detail"), text_of(row, "asked"), text_of(row, "by"));
	json_array_foreach(json_object_get(row, "approved_by"), i, v)
		printf("%s%s", i ? ", " : "by ", json_string_value(v));
	printf("%s\n", i ? "" : "by nobody yet");
}

static int approvals(int argc, char **argv)
{
	static const struct option options[] = {OWNER_OPTIONS, {"json", no_argument, NULL, 'j'}, {0}};
	struct broker_client *client;
	struct owner o = {0};
	struct fault f = {0};
	json_t *answer = NULL, *row;
	bool json = false;
	int option, err;
	size_t i;

	optind = 1;
	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option == 'j')
			json = true;
		else if (!owner_option(&o, option, optarg) || o.key_file)
			return cli_usage(&command_approvals, "wrong option");
	}
	if (argc - optind != 1 || strcmp(argv[optind], "list"))
		return cli_usage(&command_approvals, "say what to do: list");
	err = broker_client_open(&client, &o.broker, &f);
	if (err)
		return cli_fail(&f);
	err = broker_client_json(client, "GET", "/coffer/v0/approval", NULL, &answer, &f);
	broker_client_close(client);
	if (!err && json) {
		json_dumpf(answer, stdout, JSON_COMPACT | JSON_SORT_KEYS);
		putchar('\n');
	} else if (!err) {
		answer = printable(answer);
		if (!json_array_size(json_object_get(answer, "requests")))
			printf("Nothing waits for an approval.\n");
		json_array_foreach(json_object_get(answer, "requests"), i, row)
			print_one(row);
	}
	json_decref(answer);
	return err ? cli_fail(&f) : EXIT_OK;
}

const struct command command_approvals = {
	"approvals", "what waits for approvals at a broker",
	"usage: coffer approvals list [--json]\n\n"
	"Shows what somebody wants and others must agree to: releases that the policy's condition `approval` holds back, and operations that\n"
	"broker.yaml's `approvals` names; and who has approved (coffer approve ID). docs/policy.md\n\n" OWNER_HELP,
	approvals,
};

// "90m", "8h", "7d" -> seconds; 0: none of these.
static long seconds_of(const char *text)
{
	char *end;
	long n = strtol(text, &end, 10);
	long unit = !strcmp(end, "m") ? 60 : !strcmp(end, "h") ? 3600 : !strcmp(end, "d") ? 86400 : 0;

	return end != text && n > 0 && n <= 1000000 ? n * unit : 0;
}

struct wish {
	const char *id, *action, *subject, *detail;
	long seconds;
};

// What is signed is what was shown: it is made here from the words, not taken from the broker.
static int give(struct broker_client *client, const struct approval *a, const char *broker, long seconds, char expires[32], struct fault *f)
{
	char statement[APPROVAL_STATEMENT], text[BASE64_SIZE(SIGNKEY_SIGNATURE)];
	uint8_t signature[SIGNKEY_SIGNATURE];
	EVP_PKEY *key = broker_client_key(client);

	if (!key)
		return fault_set(f, -EINVAL, "an approval is signed with your own key: coffer identity create, or --identity FILE");
	time_text(expires, time(NULL) + seconds);
	int err = approval_statement(broker, a, expires, statement);
	if (!err)
		err = signkey_sign(key, statement, strlen(statement), signature);
	if (err)
		return fault_set(f, err, "this cannot be signed: it is too long, or has control characters in it");
	base64_encode(text, signature, sizeof(signature), BASE64_STD);
	json_t *o = json_pack("{s:s, s:s, s:s, s:s, s:s}", "action", a->action, "subject", a->subject, "detail", a->detail, "expires", expires, "signature", text);
	err = o ? broker_client_json(client, "POST", "/coffer/v0/approval", o, NULL, f) : fault_set(f, -EINVAL, "not valid text");
	json_decref(o);
	return err;
}

static int find(const json_t *list, const char *id, struct approval *a, struct fault *f)
{
	size_t i;
	json_t *row;

	json_array_foreach(json_object_get(list, "requests"), i, row) {
		if (strcmp(text_of(row, "id"), id) != 0)
			continue;
		char is[APPROVAL_ID];
		*a = (struct approval){text_of(row, "action"), text_of(row, "subject"), text_of(row, "detail")};
		approval_id(a, is);
		return strcmp(is, id) ? fault_set(f, -EBADMSG, "the broker shows something else under %s than that", id) : 0;
	}
	return fault_set(f, -ENOENT, "nothing waits under %s (coffer approvals list)", id);
}

static int run(const struct owner *o, const struct wish *w, struct fault *f)
{
	struct approval a = {w->action, w->subject, w->detail};
	struct broker_client *client;
	json_t *list = NULL;
	char expires[32], id[APPROVAL_ID];
	int err = broker_client_open(&client, &o->broker, f);

	if (err)
		return err;
	err = broker_client_json(client, "GET", "/coffer/v0/approval", NULL, &list, f);
	if (!err && w->id)
		err = find(list, w->id, &a, f);
	if (!err)
		err = give(client, &a, text_of(list, "broker"), w->seconds, expires, f);
	if (!err) {
		approval_id(&a, id);
		printf("Approved %s until %s:\n  action   %s\n  subject  %s\n  detail   %s\n", id, expires, a.action, a.subject, a.detail);
	}
	json_decref(list);
	broker_client_close(client);
	return err;
}

static int approve(int argc, char **argv)
{
	static const struct option options[] = {
		OWNER_OPTIONS, {"for", required_argument, NULL, 'F'}, {"resource", required_argument, NULL, 'R'}, {"measurement", required_argument, NULL, 'm'}, {0},
	};
	struct wish w = {.action = APPROVAL_RELEASE, .seconds = 8 * 3600};
	struct owner o = {0};
	struct fault f = {0};
	int option;

	optind = 1;
	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 'F': w.seconds = seconds_of(optarg); break;
		case 'R': w.subject = optarg; break;
		case 'm': w.detail = optarg; break;
		default:
			if (!owner_option(&o, option, optarg) || o.key_file)
				return cli_usage(&command_approve, "wrong option");
		}
	}
	w.id = argc - optind == 1 ? argv[optind] : NULL;
	if (argc - optind > 1 || !w.id == !(w.subject && w.detail) || (w.id && (w.subject || w.detail)))
		return cli_usage(&command_approve, "what? An ID (coffer approvals list), or --resource RESOURCE --measurement DIGEST");
	if (w.seconds <= 0 || w.seconds > APPROVAL_DAYS * 86400l)
		return cli_usage(&command_approve, "--for takes 90m, 8h or 7d, %d days at most", APPROVAL_DAYS);
	return run(&o, &w, &f) ? cli_fail(&f) : EXIT_OK;
}

const struct command command_approve = {
	"approve", "agree to what waits for approvals",
	"usage: coffer approve ID [--for 8h]\n"
	"       coffer approve --resource RESOURCE --measurement DIGEST [--for 8h]    a release, before anybody asks\n\n"
	"Signs with your key (coffer identity) that you agree to exactly what `coffer approvals list` shows under ID, until the time is over\n"
	"(90m, 8h, 7d; 30 days at most). It counts once, as long as you are known to the broker. A release may then happen as often as it is\n"
	"asked for; an operation happens once.\n\n" OWNER_HELP,
	approve,
};

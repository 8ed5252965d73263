// SPDX-License-Identifier: Apache-2.0
// `coffer token`: fetches an attestation result token (EAR) of a broker, or verifies one without asking the broker: the passport model.
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "attest/json.h"
#include "broker/ear.h"
#include "cli/cli.h"
#include "cli/evidence.h"
#include "cli/owner.h"
#include "cli/tls.h"
#include "cli/token.h"
#include "lib/encode.h"
#include "lib/file.h"

#define MAX_BYTES (256u << 10)

// From a file, or from the broker, whose certificate vouches for it.
static int read_keys(const char *file, const struct owner *o, json_t **out, struct fault *f)
{
	struct broker_client_options options = o->broker;
	struct broker_client *client;
	char *text = NULL;
	size_t len;
	options.anonymous = true;
	int err = file ? file_read(file, MAX_BYTES, &text, &len, f) : broker_client_open(&client, &options, f);
	if (!err && !file) {
		err = broker_client_text(client, "GET", "/.well-known/jwks.json", NULL, 0, &text, &len, f);
		broker_client_close(client);
	}
	if (err)
		return err;
	*out = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
	free(text);
	if (json_is_array(json_object_get(*out, "keys")))
		return 0;
	json_decref(*out);
	*out = NULL;
	return fault_set(f, -EINVAL, "%s is no set of keys (JWKS)", file ? file : "what the broker answered");
}

// A token, or what the broker answered: {"token": ...}.
static int read_token(const char *path, char **out, struct fault *f)
{
	size_t len;
	int err = file_read(strcmp(path, "-") ? path : "/dev/stdin", MAX_BYTES, out, &len, f);
	if (err)
		return err;
	json_t *o = json_loadb(*out, len, 0, NULL);
	const char *inner = json_string_value(json_object_get(o, "token"));
	if (inner) {
		free(*out);
		*out = strdup(inner);
	}
	json_decref(o);
	if (!*out)
		return fault_set(f, -ENOMEM, "out of memory");
	(*out)[strcspn(*out, " \t\r\n")] = '\0';
	return 0;
}

static void print(const char *path, const json_t *body, time_t now, bool json)
{
	char stamp[32];
	const json_t *cpu = json_object_get(json_object_get(body, "submods"), "cpu0");
	const char *issuer = json_string_value(json_object_get(body, "iss")), *status = json_string_value(json_object_get(cpu, "ear.status"));
	char *text = json_dumps(json ? body : json_object_get(cpu, "ear.veraison.annotated-evidence"), (json ? JSON_COMPACT : JSON_INDENT(2)) | JSON_SORT_KEYS);
	if (json) {
		printf("%s\n", text ? text : "{}");
	} else {
		printf("ACCEPTED: %s is a token of %s, good for another %lld s.\n", path, issuer ? issuer : "a broker that does not name itself",
		       (long long)(json_integer_value(json_object_get(body, "exp")) - now));
		printf("  given          %s\n", time_text(stamp, (time_t)json_integer_value(json_object_get(body, "iat"))));
		printf("  status         %s\n", status ? status : "none");
		printf("%s\n", text ? text : "");
	}
	free(text);
}

// Again and again: what is in the file is never older than that, while the broker is there.
static int fetch(const struct token_fetch *q, unsigned int every_s)
{
	struct fault f = {""};
	for (;;) {
		bool no;
		int err = token_fetch(q, &no, &f);
		if (!every_s)
			return !err ? EXIT_OK : (cli_fail(&f), no ? EXIT_REFUSED : EXIT_ERROR);
		if (err)
			cli_fail(&f);
		sleep(every_s);
	}
}

static int token(int argc, char **argv)
{
	static const struct option options[] = {
		OWNER_OPTIONS, {"jwks", required_argument, NULL, 'k'}, {"at", required_argument, NULL, 't'}, {"json", no_argument, NULL, 'j'},
		{"key", required_argument, NULL, 'K'}, {"output", required_argument, NULL, 'o'}, {"attest", no_argument, NULL, 'a'},
		{"insecure-simulate", required_argument, NULL, 's'}, {"every", required_argument, NULL, 'e'}, {0},
	};
	struct owner o = {0};
	struct fault f = {""};
	const char *keys_file = NULL, *at = "now";
	struct bundle none = {.json = NULL};
	json_t *keys = NULL, *body = NULL;
	EVP_PKEY *tee = NULL;
	char *text = NULL;
	struct token_fetch q = {.owner = &o};
	uint8_t simulated[48];
	bool json = false, attest = false;
	unsigned int every_s = 0;
	time_t now;
	int option;

	optind = 1;
	while ((option = getopt_long(argc, argv, "o:", options, NULL)) != -1) {
		if (option == 'k')
			keys_file = optarg;
		else if (option == 't')
			at = optarg;
		else if (option == 'j')
			json = true;
		else if (option == 'K')
			q.key_file = optarg;
		else if (option == 'o')
			q.output = optarg;
		else if (option == 'a')
			attest = true;
		else if (option == 's' && (strlen(optarg) != 96 || hex_decode(simulated, 48, optarg)))
			return cli_usage(&command_token, "--insecure-simulate takes a measurement: 96 hexadecimal digits");
		else if (option == 's')
			q.simulated = simulated;
		else if (option == 'e' && !tls_number(optarg, 1, 86400, &every_s))
			return cli_usage(&command_token, "--every takes seconds");
		else if (option == 'e')
			continue;
		else if (!owner_option(&o, option, optarg) || o.key_file || o.anchor)
			return cli_usage(&command_token, "wrong option");
	}
	if (argc - optind == 1 && !strcmp(argv[optind], "fetch")) {
		if (!q.key_file || !q.output || attest == !!q.simulated)
			return cli_usage(&command_token, "fetch takes --key FILE, --output FILE, and --attest or --insecure-simulate HEX");
		return fetch(&q, every_s);
	}
	if (argc - optind != 2 || strcmp(argv[optind], "verify") || !strcmp(at, "recorded") || q.key_file || q.output || attest || q.simulated || every_s)
		return cli_usage(&command_token, "say what: verify FILE, or fetch --key FILE --output FILE --attest");
	const char *path = argv[optind + 1];
	int err = evidence_time(at, &none, &now, &f), verdict = 0;
	if (!err)
		err = read_token(path, &text, &f);
	if (!err)
		err = read_keys(keys_file, &o, &keys, &f);
	if (!err) {
		verdict = ear_open(jws_find_in_set, keys, text, now, &body, NULL, &tee);
		if (verdict)
			fprintf(stderr, "%sREFUSED%s: %s %s\n", cli_red(stderr), cli_plain(stderr), path,
				verdict == -ESTALE ? "has expired" : "is no token that one of these keys signed");
		else
			print(path, body, now, json);
	}
	EVP_PKEY_free(tee);
	json_decref(body);
	json_decref(keys);
	free(text);
	return err ? cli_fail(&f) : verdict ? EXIT_REFUSED : EXIT_OK;
}

const struct command command_token = {
	"token", "fetch or verify a broker's attestation result token",
	"usage: coffer token verify FILE [--jwks FILE] [--at TIME] [--json]\n"
	"       coffer token fetch --key FILE --output FILE --attest [--every SECONDS]\n\n"
	"FILE is a token as POST /kbs/v0/attest answers it (- is standard input). Its signature, its time and its form are checked against\n"
	"the broker's keys; prints what the token says of the enclave. Whether that will do is the reader's to decide.\n\n"
	"fetch attests what this runs on to the broker, with the public half of the key (EC, P-256; made where there is none), and writes the\n"
	"token, which lasts five minutes: for `coffer tls --token`, and `identity: {token, key}` of a gateway.\n\n"
	"      --every SECONDS      fetches it anew so often, until it is stopped; a failure is said, and the file stays as it is\n"
	"      --insecure-simulate HEX   instead of --attest: evidence of simulated hardware, which proves nothing\n"
	"      --jwks FILE          the keys, from the broker's /.well-known/jwks.json: no network then. Otherwise the broker is asked\n"
	"      --at TIME            judge for 2025-06-19T10:16:03Z instead of now\n"
	"      --broker URL, --broker-ca FILE, --broker-dir DIR   where the broker is\n\n"
	"Exit codes: 0 accepted, 3 refused, 1 something could not be read, 2 wrong usage.\n",
	token,
};

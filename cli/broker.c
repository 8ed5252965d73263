// SPDX-License-Identifier: Apache-2.0
// `coffer broker`: the attestation and key broker in the owner's trusted place.
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "attest/simtee.h"
#include "broker/broker.h"
#include "cli/cli.h"
#include "cli/owner.h"

static int status(int argc, char **argv)
{
	static const struct option options[] = {OWNER_OPTIONS, {"json", no_argument, NULL, 'j'}, {0}};
	struct broker_client *client;
	struct owner o = {0};
	struct fault f = {0};
	json_t *answer = NULL, *value;
	bool json = false;
	const char *key;
	char *text;
	int option, err;

	optind = 1;
	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option == 'j')
			json = true;
		else if (!owner_option(&o, option, optarg) || o.key_file)
			return cli_usage(&command_broker, "wrong option");
	}
	err = broker_client_open(&client, &o.broker, &f);
	if (err)
		return cli_fail(&f);
	err = broker_client_status(client, &answer, &f);
	if (!err && json) {
		text = json_dumps(answer, JSON_COMPACT | JSON_SORT_KEYS);
		printf("%s\n", text ? text : "{}");
		free(text);
	} else if (!err) {
		printf("%s\n", broker_client_url(client));
		json_object_foreach(answer, key, value) {
			text = json_dumps(value, JSON_ENCODE_ANY);
			printf("  %-20s %s\n", key, text ? text : "");
			free(text);
		}
		if (json_is_true(json_object_get(answer, "simulated_accepted")))
			printf("%s  INSECURE: this broker accepts the simulated TEE, which protects nothing%s\n", cli_red(stdout),
			       cli_plain(stdout));
	}
	json_decref(answer);
	broker_client_close(client);
	return err ? cli_fail(&f) : EXIT_OK;
}

static int prepare(int argc, char **argv)
{
	const char *dir = argc == 3 && !strcmp(argv[1], "--dir") ? argv[2] : NULL;
	char folder[4096];
	struct fault f = {0};

	if (argc != 1 && !dir)
		return cli_usage(&command_broker, "prepare takes --dir DIR only");
	if (broker_prepare(dir, &f))
		return cli_fail(&f);
	if (!dir && !broker_default_dir(folder, sizeof(folder)))
		dir = folder;
	printf("%s/cert.pem\n", dir);
	return EXIT_OK;
}

static int simulated_root(int argc, char **argv)
{
	char path[4096];
	struct fault f = {0};
	int err;

	if (argc != 1)
		return cli_usage(&command_broker, "unexpected argument '%s'", argv[1]);
	err = simtee_root_path(NULL, path, sizeof(path));
	if (err) {
		fault_errno(&f, -err, "cannot make the simulated TEE of this machine");
		return cli_fail(&f);
	}
	printf("%s\n", path);
	return EXIT_OK;
}

static int rotate(int argc, char **argv)
{
	static const struct option options[] = {OWNER_OPTIONS, {"ring", required_argument, NULL, 'r'}, {0}};
	struct broker_client *client;
	struct owner o = {0};
	struct fault f = {0};
	const char *ring = "token";
	char body[64], *answer = NULL;
	size_t len;
	int option, err;

	optind = 1;
	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option == 'r')
			ring = optarg;
		else if (!owner_option(&o, option, optarg) || o.key_file)
			return cli_usage(&command_broker, "wrong option");
	}
	if (optind != argc || (strcmp(ring, "token") && strcmp(ring, "svid-jwt") && strcmp(ring, "svid-x509")))
		return cli_usage(&command_broker, "rotate-token-key takes --ring token, svid-jwt or svid-x509");
	err = broker_client_open(&client, &o.broker, &f);
	if (err)
		return cli_fail(&f);
	snprintf(body, sizeof body, "{\"ring\":\"%s\"}", ring);
	err = broker_client_text(client, "POST", "/coffer/v0/signing-key", body, strlen(body), &answer, &len, &f);
	broker_client_close(client);
	if (err)
		return cli_fail(&f);
	json_t *made = json_loadb(answer, len, 0, NULL);
	const char *kid = json_string_value(json_object_get(made, "kid"));
	printf("%s\n", kid ? kid : "");
	fprintf(stderr, "coffer: this key signs from now on; the one before verifies until what it signed has expired\n");
	json_decref(made);
	free(answer);
	return EXIT_OK;
}

bool broker_explains(int argc, char **argv)
{
	static const char *const own[] = {"serve", "rekey-master", "backup", "restore"};

	for (size_t i = 0; argc > 1 && i < sizeof(own) / sizeof(*own); i++)
		if (!strcmp(argv[1], own[i]))
			return true;
	return false;
}

static int broker(int argc, char **argv)
{
	char name[] = "coffer broker serve", rekey_name[] = "coffer broker rekey-master", backup_name[] = "coffer broker backup",
	     restore_name[] = "coffer broker restore";

	if (argc < 2)
		return cli_usage(&command_broker, "say what to do: serve, prepare, status, rekey-master, backup or restore");
	if (!strcmp(argv[1], "serve")) {
		argv[1] = name;
		return broker_main(argc - 1, argv + 1);
	}
	if (!strcmp(argv[1], "rekey-master")) {
		argv[1] = rekey_name;
		return broker_rekey_main(argc - 1, argv + 1);
	}
	if (!strcmp(argv[1], "backup")) {
		argv[1] = backup_name;
		return broker_backup_main(argc - 1, argv + 1);
	}
	if (!strcmp(argv[1], "restore")) {
		argv[1] = restore_name;
		return broker_restore_main(argc - 1, argv + 1);
	}
	if (!strcmp(argv[1], "prepare"))
		return prepare(argc - 1, argv + 1);
	if (!strcmp(argv[1], "status"))
		return status(argc - 1, argv + 1);
	if (!strcmp(argv[1], "simulated-root"))
		return simulated_root(argc - 1, argv + 1);
	if (!strcmp(argv[1], "rotate-token-key"))
		return rotate(argc - 1, argv + 1);
	return cli_usage(&command_broker, "there is no 'broker %s': serve, prepare, status, rekey-master, backup, restore, rotate-token-key or simulated-root", argv[1]);
}

const struct command command_broker = {
	"broker", "serve keys to enclaves that prove what they are",
	"usage: coffer broker serve [--dir DIR] [--listen ADDRESS:PORT]   runs until it is stopped\n"
	"       coffer broker prepare [--dir DIR]                         makes its keys; prints the certificate's file\n"
	"       coffer broker status [--json]                             asks a running broker\n"
	"       coffer broker rekey-master ...                            keeps its master key under another passphrase, TPM or token\n"
	"       coffer broker rekey-master --new-key ...                  exchanges it, and encrypts all that it knows anew\n"
	"       coffer broker rotate-token-key [--ring token|svid-jwt|svid-x509]   signs with a new key from now on; prints its name\n"
	"       coffer broker backup FILE ..., restore FILE ...           all that it knows, encrypted, in one file\n"
	"       coffer broker simulated-root                              the root certificate of this machine's simulated TEE\n\n"
	"The broker holds the keys of the owner's volumes, checks the evidence of enclaves, and gives a key to those that the\n"
	"policy allows. Run it where the owner trusts the machine. Its certificate belongs into coffer.yaml (broker: ca:).\n\n"
	"      --dir DIR                              state folder (COFFER_BROKER_DIR or ~/.local/share/coffer/broker)\n"
	"      --listen ADDRESS:PORT                  default " BROKER_DEFAULT_LISTEN "\n"
	"      --insecure-accept-simulated ROOT.pem   believe the simulated TEE that this root certifies: protects nothing\n"
	"`coffer broker serve --help` has all options; rekey-master, backup and restore explain themselves, too.\n\n"
	"status, rotate-token-key:\n" OWNER_HELP,
	broker,
};

// SPDX-License-Identifier: Apache-2.0
// `coffer identity`: the key that signs the owner's requests to a broker.
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <openssl/ec.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/owner.h"
#include "cli/passphrase.h"
#include "cli/printable.h"
#include "lib/file.h"
#include "lib/keyfile.h"
#include "lib/signkey.h"

// Makes the folder of the default place; one that is named must be there.
static int place(const char *given, char path[PATH_MAX], struct fault *f)
{
	char dir[PATH_MAX];
	int err = given ? 0 : broker_identity_path(path, PATH_MAX);

	if (err)
		return fault_set(f, err, "where to? Set HOME, or give --identity FILE");
	if (given)
		return snprintf(path, PATH_MAX, "%s", given) < PATH_MAX ? 0 : fault_set(f, -ENAMETOOLONG, "the path is too long");
	strcpy(dir, path);
	*strrchr(dir, '/') = '\0';
	return file_make_private_dir(dir, f);
}

static int show_key(EVP_PKEY *key, const char *path, bool json, struct fault *f)
{
	char id[SIGNKEY_ID], pem[SIGNKEY_PEM];

	if (signkey_id(key, id) || signkey_pem(key, pem))
		return fault_set(f, -EINVAL, "%s is no key of EC P-256 or Ed25519", path);
	if (json) {
		json_t *o = json_pack("{s:s, s:s, s:s, s:s}", "key", id, "algorithm", signkey_algorithm(key), "file", path, "public_key", pem);
		json_dumpf(o, stdout, JSON_COMPACT | JSON_SORT_KEYS);
		putchar('\n');
		json_decref(o);
	} else {
		printf("# %s, %s, in %s\n%s", id, signkey_algorithm(key), path, pem);
	}
	return 0;
}

static int create(const char *given, bool locked, bool ed25519, bool json, struct fault *f)
{
	char path[PATH_MAX];
	EVP_PKEY *key;
	int err = place(given, path, f);

	if (err)
		return err;
	if (!access(path, F_OK))
		return fault_set(f, -EEXIST, "%s is there already: it stays (--identity FILE makes another one)", path);
	key = ed25519 ? EVP_PKEY_Q_keygen(NULL, NULL, "ED25519") : EVP_EC_gen("P-256");
	if (key)
		EVP_PKEY_up_ref(key);
	err = keyfile_write_locked(path, key, locked ? cli_passphrase : NULL, f);
	if (!err)
		err = show_key(key, path, json, f);
	EVP_PKEY_free(key);
	if (!err && isatty(STDOUT_FILENO))
		printf("\nAn admin of the broker lets it in, with what stands above in a file:\n  coffer admin add NAME --role ROLE --key FILE\n");
	return err;
}

static int show(const char *given, bool json, struct fault *f)
{
	char path[PATH_MAX];
	EVP_PKEY *key;
	int err = place(given, path, f);

	if (!err && access(path, F_OK))
		err = fault_set(f, -ENOENT, "there is no identity yet (%s): coffer identity create", path);
	if (!err)
		err = keyfile_read_locked(path, cli_passphrase, &key, f);
	if (err)
		return err;
	err = show_key(key, path, json, f);
	EVP_PKEY_free(key);
	return err;
}

static void print_list(const json_t *o, const char *name)
{
	size_t i;
	json_t *v;

	json_array_foreach(json_object_get(o, name), i, v)
		printf("%s%s", i ? ", " : "", json_string_value(v));
}

static int whoami(const struct owner *o, bool json, struct fault *f)
{
	struct broker_client *client;
	json_t *answer = NULL;
	int err = broker_client_open(&client, &o->broker, f);

	if (err)
		return err;
	err = broker_client_json(client, "GET", "/coffer/v0/whoami", NULL, &answer, f);
	if (!err && json) {
		json_dumpf(answer, stdout, JSON_COMPACT | JSON_SORT_KEYS);
		putchar('\n');
	} else if (!err) {
		answer = printable(answer);
		printf("%s\n  roles      ", json_string_value(json_object_get(answer, "name")));
		print_list(answer, "roles");
		printf("\n  resources  ");
		print_list(answer, "resources");
		printf("\n  known by   %s\n", json_string_value(json_object_get(answer, "by")));
	}
	json_decref(answer);
	broker_client_close(client);
	return err;
}

static int identity(int argc, char **argv)
{
	static const struct option options[] = {
		OWNER_OPTIONS, {"algorithm", required_argument, NULL, 'a'}, {"passphrase", no_argument, NULL, 'p'}, {"json", no_argument, NULL, 'j'}, {0},
	};
	const char *algorithm = "p256", *what;
	struct owner o = {0};
	struct fault f = {0};
	bool locked = false, json = false;
	int option, err;

	optind = 1;
	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option == 'a')
			algorithm = optarg;
		else if (option == 'p')
			locked = true;
		else if (option == 'j')
			json = true;
		else if (!owner_option(&o, option, optarg) || o.key_file)
			return cli_usage(&command_identity, "wrong option");
	}
	if (argc - optind != 1)
		return cli_usage(&command_identity, "say what to do: create, show or whoami");
	what = argv[optind];
	if (strcmp(algorithm, "p256") && strcmp(algorithm, "ed25519"))
		return cli_usage(&command_identity, "--algorithm takes p256 or ed25519");
	if (!strcmp(what, "create"))
		err = create(o.broker.identity_file, locked || cli_passphrase_file, *algorithm == 'e', json, &f);
	else if (!strcmp(what, "show"))
		err = show(o.broker.identity_file, json, &f);
	else if (!strcmp(what, "whoami"))
		err = whoami(&o, json, &f);
	else
		return cli_usage(&command_identity, "there is no 'identity %s': create, show or whoami", what);
	return err ? cli_fail(&f) : EXIT_OK;
}

const struct command command_identity = {
	"identity", "the key that signs your requests to brokers",
	"usage: coffer identity create [--algorithm p256|ed25519] [--passphrase] [--identity FILE] [--json]\n"
	"       coffer identity show [--identity FILE] [--json]       its public half, for `coffer admin add --key`\n"
	"       coffer identity whoami [--json]                       what a broker says who you are\n\n"
	"create makes a private key in ~/.config/coffer/identity.key (0600), with --passphrase or --passphrase-file encrypted. From then\n"
	"on every command that asks a broker signs its requests with it; an admin of that broker adds its public half.\n\n" OWNER_HELP,
	identity,
};

// SPDX-License-Identifier: Apache-2.0
// All of `coffer`: finds the subcommand and hands over. No logic of its own. command.c says why it is a program beside `coffer`.
#include <string.h>

#include "broker/client.h"
#include "cli/cli.h"
#include "cli/passphrase.h"
#include "image/text.h"

const struct command *const commands[] = {
	&command_init, &command_new, &command_copy, &command_import, &command_build, &command_run, &command_start, &command_exec, &command_ps, &command_logs, &command_stop, &command_kill, &command_restart, &command_rm, &command_top, &command_measure,
	&command_seal, &command_open, &command_mount, &command_cp, &command_volume, &command_broker, &command_secret, &command_policy, &command_audit, &command_identity, &command_admin, &command_approve, &command_approvals,
	&command_verify, &command_evidence, &command_reference, &command_collateral, &command_token, &command_tls, &command_spdm, &command_tunnel, &command_doctor, &command_syscalls, &command_version, &command_help, NULL,
};

static const struct command *find_command(const char *name)
{
	for (size_t i = 0; commands[i]; i++)
		if (!strcmp(commands[i]->name, name))
			return commands[i];
	return NULL;
}

static int unknown_command(const char *name)
{
	const char *nearest = NULL;
	unsigned int best = 1 + (unsigned int)strlen(name) / 3;

	for (size_t i = 0; commands[i]; i++) {
		unsigned int distance = edit_distance(name, commands[i]->name);

		if (distance <= best) {
			best = distance;
			nearest = commands[i]->name;
		}
	}
	if (nearest)
		return cli_usage(NULL, "there is no command '%s': did you mean '%s'?", name, nearest);
	return cli_usage(NULL, "there is no command '%s'", name);
}

// `coffer help [COMMAND]`
static int help(int argc, char **argv)
{
	const struct command *c;

	if (argc > 1) {
		c = find_command(argv[1]);
		if (!c)
			return unknown_command(argv[1]);
		fputs(c->usage, stdout);
		return EXIT_OK;
	}
	printf("Runs unmodified Linux programs in an enclave, on data that only attested programs can read.\n\n"
	       "usage: coffer [-C PROJECT] COMMAND ...\n\n");
	for (size_t i = 0; commands[i]; i++)
		printf("  %s%-10s%s %s\n", cli_bold(stdout), commands[i]->name, cli_plain(stdout), commands[i]->summary);
	printf("\nThree commands to hello world:\n"
	       "  coffer init hello /bin/echo && cd hello\n"
	       "  coffer build\n"
	       "  coffer run -- /bin/echo Hello from the enclave\n\n"
	       "Each command explains itself: coffer COMMAND --help\n");
	return EXIT_OK;
}

const struct command command_help = {
	"help", "this list, or a command's own help",
	"usage: coffer help [COMMAND]\n\nShows what a command does and its options.\n", help,
};

static int version(int argc, char **argv)
{
	if (argc > 1 && !strcmp(argv[1], "--json"))
		printf("{\"version\":\"%s\",\"platforms\":[\"process\"]}\n", COFFER_VERSION);
	else if (argc > 1)
		return cli_usage(&command_version, "unknown argument '%s'", argv[1]);
	else
		printf("coffer %s\n", COFFER_VERSION);
	return EXIT_OK;
}

const struct command command_version = {
	"version", "the version of Coffer",
	"usage: coffer version [--json]\n\nPrints the version of Coffer.\n", version,
};

int main(int argc, char **argv)
{
	const struct command *c;
	int at;

	broker_client_passphrase = cli_passphrase;
	at = cli_options(argc, argv);
	if (at >= argc) {
		help(1, argv);
		return EXIT_USAGE;
	}
	if (!strcmp(argv[at], "--help") || !strcmp(argv[at], "-h"))
		return help(1, argv);
	if (!strcmp(argv[at], "--version"))
		return version(1, argv);
	c = find_command(argv[at]);
	if (!c)
		return argv[at][0] == '-' ? cli_usage(NULL, "unknown option '%s'", argv[at]) : unknown_command(argv[at]);
	if (cli_asks_for_help(argc - at, argv + at) && (c != &command_broker || !broker_explains(argc - at, argv + at))) {
		const char *own = c == &command_volume ? volume_help(argc - at, argv + at) : NULL;

		fputs(own ? own : c->usage, stdout);
		return EXIT_OK;
	}
	return c->run(argc - at, argv + at);
}

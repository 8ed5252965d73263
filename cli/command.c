// SPDX-License-Identifier: Apache-2.0
// The `coffer` command. It can `run` and `start` by itself, and is small for that: one static program starts in a tenth of the time that loading TLS,
// JSON and SQL libraries takes, and while the enclave runs their memory is not held. All else is done by coffer-tools.
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "image/text.h"

int main(int argc, char **argv)
{
	static const struct command *const own[] = {&command_run, &command_start};
	int at = cli_options(argc, argv);
	struct fault f = {0};
	char *tools;

	for (size_t i = 0; at < argc && i < sizeof(own) / sizeof(*own); i++) {
		if (strcmp(argv[at], own[i]->name))
			continue;
		if (!cli_asks_for_help(argc - at, argv + at))
			return own[i]->run(argc - at, argv + at);
		fputs(own[i]->usage, stdout);
		return EXIT_OK;
	}
	tools = xasprintf("%s/coffer-tools", cli_own_lib_dir());
	execv(tools, argv);
	fault_errno(&f, errno, "cannot start %s: Coffer is not completely installed here", tools);
	free(tools);
	return cli_fail(&f);
}

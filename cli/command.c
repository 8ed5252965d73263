// SPDX-License-Identifier: Apache-2.0
// The `coffer` command. It can `run` by itself, and is small for that: one static program starts in a tenth of the time that loading TLS,
// JSON and SQL libraries takes, and while the enclave runs their memory is not held. All else is done by coffer-tools.
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "image/text.h"

int main(int argc, char **argv)
{
	int at = cli_options(argc, argv);
	struct fault f = {0};
	char *tools;

	if (at < argc && !strcmp(argv[at], "run")) {
		if (!cli_asks_for_help(argc - at, argv + at))
			return command_run.run(argc - at, argv + at);
		fputs(command_run.usage, stdout);
		return EXIT_OK;
	}
	tools = xasprintf("%s/coffer-tools", cli_own_lib_dir());
	execv(tools, argv);
	fault_errno(&f, errno, "cannot start %s: Coffer is not completely installed here", tools);
	free(tools);
	return cli_fail(&f);
}

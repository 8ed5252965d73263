// SPDX-License-Identifier: Apache-2.0
// What `coffer run` and `coffer start` share: how an enclave is to be run.
#ifndef COFFER_CLI_RUN_H
#define COFFER_CLI_RUN_H

#include "cli/cli.h"
#include "image/build.h"
#include "host/supervise.h"

// `start`'s own options; what is not given stays as it is.
struct start_options {
	const char *name, *restart;
	uint64_t log_size;
	unsigned int log_files, stop_timeout;
};

// Reads run's options (and start's, when that is given), and checks what can be checked early. 0, or an exit code after a message.
int run_prepare(const struct command *c, int argc, char **argv, struct start_options *start);
// Facts of what was prepared: memory, project, program, measurement; and a name for it when it has none. 0 or -errno.
int run_describe(struct instance *i, struct fault *f);
// "NAME=value" of all its -e.
const struct string_list *run_environment(void);
// Runs it: the exit code of `coffer run`. s: below a supervisor.
int run_enclave(const struct supervised *s);

#endif

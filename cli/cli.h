// SPDX-License-Identifier: Apache-2.0
// What the subcommands of `coffer` share. One file a subcommand; the work is done by libraries.
#ifndef COFFER_CLI_CLI_H
#define COFFER_CLI_CLI_H

#include <stdbool.h>
#include <stdio.h>

#include "lib/fault.h"
#include "lib/version.h"

// Exit codes beside a program's own.
enum {
	EXIT_OK = 0,
	EXIT_ERROR = 1,		// the command failed: a message was printed
	EXIT_USAGE = 2,		// the command line was wrong
	EXIT_REFUSED = 3,	// `verify`: the evidence was read, and does not hold
	EXIT_CANNOT_RUN = 125,	// `run`: the enclave could not be started, or was refused
};

struct command {
	const char *name;
	const char *summary;			// one line, for `coffer help`
	const char *usage;			// the whole --help text
	int (*run)(int argc, char **argv);	// argv[0] is the subcommand's name
};

extern const struct command command_init, command_new, command_copy, command_import, command_build, command_run, command_measure,
	command_start, command_exec, command_ps, command_logs, command_stop, command_kill, command_restart, command_rm, command_top, command_cp,
	command_seal, command_open, command_mount, command_volume, command_broker, command_secret, command_policy, command_audit, command_identity, command_admin, command_approve, command_approvals, command_doctor, command_syscalls, command_verify, command_evidence,
	command_reference, command_collateral, command_token, command_tls, command_spdm, command_tunnel, command_version, command_help;
extern const struct command *const commands[];

// --help of one of `coffer volume`'s own subcommands; NULL when none is named.
const char *volume_help(int argc, char **argv);
// Is it a subcommand of `coffer broker` that answers --help itself?
bool broker_explains(int argc, char **argv);

// The folder given by `coffer -C`, or ".".
extern const char *cli_project;

// The folder with kernel.elf, init and init-attest: the one that belongs to this program, or $COFFER_LIB_DIR.
const char *cli_lib_dir(void);
// The one that belongs to this program, where its other parts are as well.
const char *cli_own_lib_dir(void);
// Takes the options before the subcommand; the index of the subcommand's name.
int cli_options(int argc, char **argv);
// True when --help stands among the subcommand's own options: before a `--`, after which all belongs to the program.
bool cli_asks_for_help(int argc, char **argv);

// Prints "coffer: error: ..." to stderr; returns EXIT_ERROR.
int cli_fail(const struct fault *p);
// A wrong command line: the message and where to find help; returns EXIT_USAGE.
__attribute__((format(printf, 2, 3))) int cli_usage(const struct command *c, const char *format, ...);

// Escape sequences when the stream is a terminal and NO_COLOR is not set, "" otherwise.
const char *cli_red(FILE *f);
const char *cli_green(FILE *f);
const char *cli_yellow(FILE *f);
const char *cli_bold(FILE *f);
const char *cli_plain(FILE *f);


#endif

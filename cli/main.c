// SPDX-License-Identifier: Apache-2.0
// The `coffer` command: finds the subcommand and hands over. No logic of its own.
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "image/text.h"

const struct command *const commands[] = {
	&command_init, &command_new, &command_copy, &command_build, &command_run, &command_measure,
	&command_seal, &command_open, &command_volume, &command_broker, &command_policy,
	&command_doctor, &command_syscalls, &command_version, &command_help, NULL,
};

const char *cli_project = ".";

const char *cli_lib_dir(void)
{
	static char found[PATH_MAX + 32];
	char self[PATH_MAX];
	const char *given = getenv("COFFER_LIB_DIR");
	ssize_t n;

	if (given && *given)
		return given;
	if (!found[0]) {
		n = readlink("/proc/self/exe", self, sizeof(self) - 1);
		if (n <= 0)
			return "/usr/lib/coffer";
		self[n] = '\0';
		*strrchr(self, '/') = '\0';
		snprintf(found, sizeof(found), "%s/../lib/coffer", self);
		if (realpath(found, self))
			snprintf(found, sizeof(found), "%s", self);
	}
	return found;
}

static bool colour(FILE *f)
{
	const char *no = getenv("NO_COLOR"), *term = getenv("TERM");

	return isatty(fileno(f)) && !(no && *no) && !(term && !strcmp(term, "dumb"));
}

const char *cli_red(FILE *f) { return colour(f) ? "\033[1;31m" : ""; }
const char *cli_green(FILE *f) { return colour(f) ? "\033[32m" : ""; }
const char *cli_yellow(FILE *f) { return colour(f) ? "\033[33m" : ""; }
const char *cli_bold(FILE *f) { return colour(f) ? "\033[1m" : ""; }
const char *cli_plain(FILE *f) { return colour(f) ? "\033[0m" : ""; }

int cli_fail(const struct fault *p)
{
	fflush(stdout);
	fprintf(stderr, "%scoffer: error:%s %s\n", cli_red(stderr), cli_plain(stderr), p->text);
	return EXIT_ERROR;
}

int cli_usage(const struct command *c, const char *format, ...)
{
	va_list args;

	fflush(stdout);
	fprintf(stderr, "%scoffer%s%s: error:%s ", cli_red(stderr), c ? " " : "", c ? c->name : "", cli_plain(stderr));
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fprintf(stderr, "\nTry: coffer %s%s--help\n", c ? c->name : "", c ? " " : "");
	return EXIT_USAGE;
}

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
		printf("  %s%-9s%s %s\n", cli_bold(stdout), commands[i]->name, cli_plain(stdout), commands[i]->summary);
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

// True when --help stands among the command's own options: before a `--`, after which all belongs to the program.
static bool asks_for_help(int argc, char **argv)
{
	for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
		if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h"))
			return true;
	return false;
}

int main(int argc, char **argv)
{
	const struct command *c;
	int at = 1;

	while (at + 1 < argc && !strcmp(argv[at], "-C")) {
		cli_project = argv[at + 1];
		at += 2;
	}
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
	if (asks_for_help(argc - at, argv + at)) {
		fputs(c->usage, stdout);
		return EXIT_OK;
	}
	return c->run(argc - at, argv + at);
}

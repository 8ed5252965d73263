// SPDX-License-Identifier: Apache-2.0
// What the subcommands share (cli.h).
#include "cli/cli.h"

#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *cli_project = ".";

static char *self_dir(char path[PATH_MAX])
{
	ssize_t n = readlink("/proc/self/exe", path, PATH_MAX - 1);

	if (n <= 0)
		return NULL;
	path[n] = '\0';
	*strrchr(path, '/') = '\0';
	return path;
}

const char *cli_own_lib_dir(void)
{
	static char found[PATH_MAX + 32];
	char self[PATH_MAX], *slash;

	if (found[0])
		return found;
	if (!self_dir(self))
		return "/usr/lib/coffer";
	slash = strrchr(self, '/');
	if (slash && !strcmp(slash, "/bin")) // PREFIX/bin/coffer
		snprintf(found, sizeof(found), "%.*s/lib/coffer", (int)(slash - self), self);
	else // PREFIX/lib/coffer/coffer-tools
		snprintf(found, sizeof(found), "%s", self);
	return found;
}

const char *cli_lib_dir(void)
{
	const char *given = getenv("COFFER_LIB_DIR");

	return given && *given ? given : cli_own_lib_dir();
}

int cli_options(int argc, char **argv)
{
	int at = 1;

	while (at + 1 < argc && !strcmp(argv[at], "-C")) {
		cli_project = argv[at + 1];
		at += 2;
	}
	return at;
}

bool cli_asks_for_help(int argc, char **argv)
{
	for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
		if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h"))
			return true;
	return false;
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

// SPDX-License-Identifier: Apache-2.0
// `coffer copy`: programs and what they need, into image/.
#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>

#include "cli/cli.h"
#include "image/copy.h"

static int copy(int argc, char **argv)
{
	static const struct option options[] = {
		{"to", required_argument, NULL, 't'}, {"verbose", no_argument, NULL, 'v'}, {"quiet", no_argument, NULL, 'q'},
		{"from-package", required_argument, NULL, 'p'}, {"with-recommends", no_argument, NULL, 'r'}, {0},
	};
	bool verbose = false, quiet = false, recommends = false;
	struct string_list packages = {0};
	const char *to = NULL;
	struct config config;
	struct copier copier;
	struct fault p;
	char size[32];
	int option, err;

	optind = 1;
	while ((option = getopt_long(argc, argv, "t:vq", options, NULL)) != -1) {
		switch (option) {
		case 't': to = optarg; break;
		case 'v': verbose = true; break;
		case 'q': quiet = true; break;
		case 'p': string_list_add(&packages, optarg); break;
		case 'r': recommends = true; break;
		default: return cli_usage(&command_copy, "wrong option");
		}
	}
	if (recommends && !packages.count)
		return cli_usage(&command_copy, "--with-recommends goes with --from-package");
	if (optind == argc && !packages.count)
		return cli_usage(&command_copy, "what shall be copied?");
	if (to && (to[0] != '/' || argc - optind != 1 || packages.count))
		return cli_usage(&command_copy, "--to takes an absolute path in the image, for one thing to copy");
	if (config_load(&config, cli_project, &p))
		return cli_fail(&p);
	err = copy_begin(&copier, &config, quiet ? NULL : stdout, &p);
	copier.report_files = verbose;
	for (int i = optind; i < argc && !err; i++)
		err = copy_item(&copier, argv[i], to, &p);
	for (size_t i = 0; i < packages.count && !err; i++) {
		char *item = xasprintf("debian:%s%s", packages.items[i], recommends ? "+recommends" : "");

		err = copy_item(&copier, item, NULL, &p);
		free(item);
	}
	if (!err)
		err = copy_finish(&copier, &p);
	for (size_t i = 0; i < copier.undone.count && !err && !quiet; i++)
		printf("  note: %s\n", copier.undone.items[i]);
	if (!err && !quiet) {
		printf("%" PRIu64 " files, %s, into image/", copier.files, human_size(size, copier.bytes));
		if (copier.notes && !verbose)
			printf("; %" PRIu64 " optional parts are not on this machine (-v names them)", copier.notes);
		printf("\n");
	}
	copy_end(&copier);
	string_list_free(&packages);
	config_free(&config);
	return err ? cli_fail(&p) : EXIT_OK;
}

const struct command command_copy = {
	"copy", "copy programs with all they need into image/",
	"usage: coffer copy [-v] [-q] [--to PATH] [--from-package NAME [--with-recommends]] WHAT...\n\n"
	"Copies into the project's image/, and says what was copied and why:\n"
	"  /usr/bin/prog   a program, script, file or folder, to the same place in the image\n"
	"  score.py        a file or folder of the project, to the working directory of coffer.yaml\n"
	"  python3         a program found in /usr/bin and the like\n"
	"  debian:NAME     a Debian package with all that it depends on, also one that is not installed here (debian-files:NAME: its files alone)\n"
	"  python:NAME     a Python module of this machine\n"
	"with the shared libraries, interpreters, Python modules and data that they need. Programs are read, never run.\n"
	"The `copy:` list of coffer.yaml does the same at each build.\n\n"
	"  --from-package NAME, --with-recommends\n"
	"                  the same as debian:NAME and debian:NAME+recommends: the package, its dependencies (and what they recommend), the users\n"
	"                  and links that their maintainer scripts make. The scripts are not run; what else they would do is told.\n"
	"                  NAME=VERSION asks for one version. What is not installed is fetched by apt, which checks its signature.\n"
	"  --to PATH       where in the image it goes\n"
	"  -v, --verbose   a line for each file\n"
	"  -q, --quiet     no report\n",
	copy,
};

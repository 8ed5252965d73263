// SPDX-License-Identifier: Apache-2.0
// `coffer init`: a new project folder with a commented coffer.yaml. `coffer new` is the same.
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/cli.h"
#include "image/config.h"
#include "image/text.h"

// A YAML double-quoted string is a superset of a JSON string.
static void yaml_list(struct text *t, char *const *items, int count)
{
	text_puts(t, "[");
	for (int i = 0; i < count; i++) {
		if (i)
			text_puts(t, ", ");
		text_json(t, items[i]);
	}
	text_puts(t, "]");
}

static void write_yaml(struct text *t, const char *name, char *const *program, int words, bool host_arguments)
{
	text_printf(t,
		"# What this enclave is. Everything here is measured: change a line and the enclave is another one.\n"
		"# All keys: docs/coffer-yaml.md\n"
		"name: %s\n\n"
		"# The program that runs, and its arguments.\n", name);
	if (words) {
		text_puts(t, "command: ");
		yaml_list(t, program, words);
		text_puts(t, "\n\n");
	} else {
		text_puts(t, "#command: [/usr/bin/python3, score.py]\n\n");
	}
	text_printf(t,
		"# May the host that runs the enclave choose another program of the image, and arguments? With false, only\n"
		"# `command` runs, exactly as written. Say false before you give real data to the enclave.\n"
		"host_arguments: %s\n\n", host_arguments ? "true" : "false");
	text_puts(t,
		"# Copied from this machine at `coffer build`, with the libraries and data that it needs: programs (/usr/bin/python3,\n"
		"# or just python3), files and folders of this project (score.py, models/), Debian packages (debian:redis-server),\n"
		"# Python modules (python:numpy). Whatever you put into the folder image/ yourself is in the image too.\n");
	if (words) {
		text_puts(t, "copy: ");
		yaml_list(t, program, 1);
		text_puts(t, "\n\n");
	} else {
		text_puts(t, "copy: []\n\n");
	}
	text_puts(t,
		"# Where the program starts, and where files of this project are put.\n"
		"working_directory: /app\n\n"
		"# Fixed variables, and the names of those that the host may set.\n"
		"environment:\n"
		"  LANG: C.UTF-8\n"
		"host_environment: [TERM]\n\n"
		"# Most memory that the enclave may take.\n"
		"memory: 8G\n\n"
		"# Sealed volumes: where the program finds them. The key of each comes from the owner's broker.\n"
		"#volumes:\n"
		"#  /data: {mode: ro}\n"
		"#  /out: {mode: rw}\n\n"
		"# Secrets of the owner's broker that the program finds as files in memory.\n"
		"#secrets:\n"
		"#  /run/secrets/password: default/app/password\n\n"
		"# The certificate that the owner's broker must show.\n"
		"#broker:\n"
		"#  ca: broker.pem\n\n"
		"# Ports on which the program may be reached from outside, and whether it may connect to the outside.\n"
		"# (`6379: attested` instead of a port: only through attested TLS, which the program need not know of.)\n"
		"#network:\n"
		"#  listen: [8080]\n"
		"#  connect: none\n\n"
		"# Lets logs and traces of system calls out of the enclave. Never with real data.\n"
		"#debug_enclave: false\n");
}

static int make_project(const char *folder, char *const *program, int words, bool host_arguments, struct fault *p)
{
	char *yaml_path = xasprintf("%s/%s", folder, CONFIG_FILE), *image = xasprintf("%s/image", folder);
	char *ignore = xasprintf("%s/.gitignore", folder), *absolute = NULL, *name;
	struct text yaml = {0};
	struct config check;
	int err = 0;

	if (!access(yaml_path, F_OK)) {
		err = fault_set(p, -EEXIST, "%s exists: this is a project already", yaml_path);
		goto out;
	}
	if ((mkdir(folder, 0755) < 0 && errno != EEXIST) || (mkdir(image, 0755) < 0 && errno != EEXIST)) {
		err = fault_errno(p, errno, "cannot make %s", folder);
		goto out;
	}
	absolute = realpath(folder, NULL);
	if (!absolute) {
		err = fault_errno(p, errno, "cannot open %s", folder);
		goto out;
	}
	name = strrchr(absolute, '/') + 1;
	for (char *c = name; *c; c++)
		if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.", *c))
			*c = '-';
	write_yaml(&yaml, *name && *name != '.' && *name != '-' ? name : "enclave", program, words, host_arguments);
	err = config_parse(&check, folder, CONFIG_FILE, yaml.data, yaml.len, p);
	if (err)
		goto out;
	config_free(&check);
	err = text_write_file(yaml_path, yaml.data, yaml.len, p);
	if (!err && access(ignore, F_OK) < 0)
		err = text_write_file(ignore, "/build/\n", 8, p);
out:
	text_free(&yaml);
	free(absolute);
	free(ignore);
	free(image);
	free(yaml_path);
	return err;
}

static int init(int argc, char **argv)
{
	static const struct option options[] = {{"host-arguments", required_argument, NULL, 'a'}, {0}};
	const struct command *me = strcmp(argv[0], "new") ? &command_init : &command_new;
	bool host_arguments = true;
	struct fault p;
	char *folder;
	int option, words;

	optind = 1;
	while ((option = getopt_long(argc, argv, "+", options, NULL)) != -1) {
		if (option != 'a' || (strcmp(optarg, "true") && strcmp(optarg, "false")))
			return cli_usage(me, option == 'a' ? "--host-arguments takes true or false" : "wrong option");
		host_arguments = optarg[0] == 't';
	}
	folder = optind < argc ? argv[optind] : ".";
	words = optind + 1 < argc ? argc - optind - 1 : 0;
	if (!words && !host_arguments)
		return cli_usage(me, "with --host-arguments false, name the program: coffer %s %s PROGRAM", me->name, folder);
	if (make_project(folder, argv + optind + 1, words, host_arguments, &p))
		return cli_fail(&p);
	printf("Made the project %s. Look at %s/%s, then:\n", folder, folder, CONFIG_FILE);
	if (strcmp(folder, ".") != 0)
		printf("  cd %s\n", folder);
	printf("  coffer build\n  coffer run\n");
	return EXIT_OK;
}

#define INIT_HELP(name)											\
	"usage: coffer " name " [--host-arguments true|false] [DIR [PROGRAM [ARGUMENT...]]]\n\n"	\
	"Makes a project: a folder with a commented coffer.yaml and an empty image/.\n"			\
	"PROGRAM becomes the command of the enclave, and is copied into the image by `coffer build`.\n\n" \
	"  --host-arguments true|false   whether the host may choose program and arguments (true)\n\n"	\
	"  coffer init hello /bin/echo Hello && cd hello && coffer build && coffer run\n"

const struct command command_init = {"init", "make a project: a folder with a commented coffer.yaml", INIT_HELP("init"), init};
const struct command command_new = {"new", "the same as init", INIT_HELP("new"), init};

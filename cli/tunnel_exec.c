// SPDX-License-Identifier: Apache-2.0
// `coffer tunnel exec`: a program through the gateway; `coffer tunnel import`: a configuration of another make.
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "cli/tunnel.h"
#include "lib/file.h"
#include "tunnel/gateway_exec.h"
#include "tunnel/import.h"

#define MAX_IMPORT (1u << 20)

int tunnel_exec(int argc, char **argv)
{
	static const struct option options[] = {{"route", required_argument, NULL, 'r'}, {"name", required_argument, NULL, 'n'}, {0}};
	const char *path = NULL, *name = NULL;
	struct fault f = {""};
	int option, status = 0;
	optind = 1;
	while ((option = getopt_long(argc, argv, "+", options, NULL)) != -1) {
		if (option == 'r')
			path = optarg;
		else if (option == 'n')
			name = optarg;
		else
			return cli_usage(&command_tunnel, "exec takes --route FILE, --name ROUTE and a command");
	}
	if (!path || optind == argc)
		return cli_usage(&command_tunnel, "exec --route FILE -- PROGRAM...: %s is missing", path ? "the program" : "the file");
	int err = gateway_exec(path, name, argv + optind, &status, &f);
	if (err)
		cli_fail(&f);
	return err == -ENOENT && status ? status : err ? EXIT_CANNOT_RUN : status;
}

static void show_notes(const json_t *notes)
{
	const json_t *n;
	size_t i;
	json_array_foreach((json_t *)notes, i, n) {
		const char *field = json_string_value(json_object_get(n, "field")), *outcome = json_string_value(json_object_get(n, "outcome"));
		fprintf(stderr, "%s%s%s: %s: %s\n", cli_bold(stderr), field, cli_plain(stderr), outcome, json_string_value(json_object_get(n,
		   "note")));
	}
}

int tunnel_import(int argc, char **argv)
{
	static const struct option options[] = {{"json", no_argument, NULL, 'j'}, {0}};
	struct fault f = {""};
	json_error_t e;
	json_t *tng = NULL, *notes = NULL;
	char *text = NULL, *yaml = NULL;
	size_t len;
	bool json = false;
	int option, err;
	optind = 1;
	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option != 'j')
			return cli_usage(&command_tunnel, "import takes --json and a file");
		json = true;
	}
	if (argc - optind != 1)
		return cli_usage(&command_tunnel, "which file? coffer tunnel import FILE.json");
	err = file_read(argv[optind], MAX_IMPORT, &text, &len, &f);
	if (!err && !(tng = json_loadb(text, len, JSON_REJECT_DUPLICATES, &e)))
		err = fault_set(&f, -EINVAL, "%s: line %d: %s", argv[optind], e.line, e.text);
	if (!err)
		err = import_tng(tng, &yaml, &notes, &f);
	size_t open = json_array_size(notes);
	if (!err && json) {
		json_t *o = json_pack("{s:s, s:O}", "configuration", yaml, "notes", notes);
		err = !o || json_dumpf(o, stdout, JSON_INDENT(2)) ? fault_set(&f, -ENOMEM, "no memory") : 0;
		putchar('\n');
		json_decref(o);
	} else if (!err) {
		fputs(yaml, stdout);
		show_notes(notes);
	}
	json_decref(notes);
	json_decref(tng);
	free_wiped(text, text ? len : 0);	// it may have passwords
	free(yaml);
	return err ? cli_fail(&f) : open ? EXIT_REFUSED : EXIT_OK;
}

// SPDX-License-Identifier: Apache-2.0
// `coffer mount`: a sealed volume as a folder of the owner's machine.
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/owner.h"
#include "seal/tool_mount.h"

// The words of -o, as mount(8) has them.
static int mount_words(struct seal_mount_options *m, char *words)
{
	char *save = NULL;

	for (char *w = strtok_r(words, ",", &save); w; w = strtok_r(NULL, ",", &save)) {
		if (!strcmp(w, "ro"))
			m->read_only = true;
		else if (!strcmp(w, "rw"))
			m->read_only = false;
		else if (!strcmp(w, "allow_other"))
			m->allow_other = true;
		else if (!strcmp(w, "discard"))
			m->discard = true;
		else
			return cli_usage(&command_mount, "-o knows ro, rw, allow_other and discard, not '%s'", w);
	}
	return 0;
}

static void say_rollback(void *ctx)
{
	const struct seal_mount_options *m = ctx;
	struct seal_tool_anchored a;
	char text[128];

	seal_tool_last_anchored(&a);
	if (!a.asked || (!a.known && m->read_only)) // who writes has made himself known to the anchor
		fprintf(stderr, "coffer: rollback %s\n", owner_anchor_text(text, sizeof(text)));
}

static int mount_volume(int argc, char **argv)
{
	static const struct option options[] = {
		OWNER_OPTIONS, {"foreground", no_argument, NULL, 'f'}, {"keep-owner", no_argument, NULL, 'k'}, {0},
	};
	struct seal_mount_options m = {.mounted = say_rollback, .ctx = &m};
	struct seal_tool_err e = {0};
	struct owner o = {0};
	struct fault f = {0};
	u8 key[SEAL_KEY_BYTES];
	int option, err = 0;

	optind = 1;
	while (!err && (option = getopt_long(argc, argv, "fo:", options, NULL)) != -1) {
		if (option == 'f')
			m.foreground = true;
		else if (option == 'k')
			m.keep_owner = true;
		else if (option == 'o')
			err = mount_words(&m, optarg);
		else if (!owner_option(&o, option, optarg))
			err = cli_usage(&command_mount, "wrong option");
	}
	if (err)
		return err;
	if (argc - optind != 2)
		return cli_usage(&command_mount, "say which volume, and where: coffer mount FILE.vol DIR");
	if (owner_volume_key(&o, argv[optind], key, &f))
		return cli_fail(&f);
	err = seal_tool_mount(argv[optind], key, argv[optind + 1], &m, &e);
	if (!err)
		return EXIT_OK;
	fault_set(&f, err, "%s", e.text);
	return cli_fail(&f);
}

const struct command command_mount = {
	"mount", "use a sealed volume as a folder of this machine",
	"usage: coffer mount [-f] [-o ro|rw|allow_other|discard[,...]] [OPTION...] FILE.vol DIR\n\n"
	"Mounts a volume at the folder DIR (through FUSE), to read and to write. Everything that reaches the disk is encrypted;\n"
	"fsync makes it durable, and so do five seconds of waiting. `fusermount3 -u DIR` or SIGTERM ends it with a commit.\n"
	"Damage is an input/output error for the program, and a sentence on standard error or in the syslog.\n\n"
	"  -o ro                read only; several may mount one volume at the same time\n"
	"  -o allow_other       other users may enter too\n"
	"  -o discard           what is deleted goes back to this machine's disk at each commit (else: with fstrim)\n"
	"  -f, --foreground     stay in the foreground\n"
	"      --keep-owner     show owners as the volume has them (else root's files are yours, and yours become root's)\n"
	"      --key-file FILE      the key is in this file\n" OWNER_HELP,
	mount_volume,
};

// SPDX-License-Identifier: Apache-2.0
// `coffer volume`: finds the subcommand, reads its options, hands over. The subcommands are in volume_*.c.
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/volume.h"
#include "image/config.h"
#include "image/text.h"

#define KEY_HELP "      --key-file FILE      the key is in this file, not at the broker\n" OWNER_HELP

static const struct sub {
	const char *name;
	int (*run)(struct request *r);
	int least, most;	// words behind the name
	const char *usage;
} subs[] = {
	{"create", volume_create, 1, 1,
	 "usage: coffer volume create [-f] [--size SIZE] FILE.vol\n\n"
	 "Makes an empty volume with a new key, which goes to the broker or, with --key-file, into that new file.\n\n"
	 "      --size SIZE          most that the volume may hold, such as 10G (default 1T; the file grows as needed)\n"
	 "  -f, --force              replace an existing volume\n"
	 "      --key-file FILE      put the key into this new file\n" OWNER_HELP},
	{"info", volume_info, 1, 1,
	 "usage: coffer volume info [--json] FILE.vol\n\n"
	 "What anybody can see of a volume (its id, the format), and with the key its state: commits, space, snapshots, work that\n"
	 "is not finished.\n\n"
	 "      --json               as JSON\n" KEY_HELP},
	{"list", volume_list, 1, 1,
	 "usage: coffer volume list [--json] FILE.vol\n\n"
	 "Names, types, modes and sizes of all files, sorted.\n\n"
	 "      --json               one JSON object a line\n" KEY_HELP},
	{"cat", volume_cat, 2, 2,
	 "usage: coffer volume cat FILE.vol PATH\n\n"
	 "One file to standard output; of a snapshot: .snapshots/NAME/PATH.\n\n" KEY_HELP},
	{"fsck", volume_fsck, 1, 1,
	 "usage: coffer volume fsck [--repair [--size SIZE]] [--json] FILE.vol\n\n"
	 "Reads and authenticates every block, and compares free space, reference and link counts and directories. Without --repair it\n"
	 "changes nothing. Exit codes as of fsck(8): 0 whole, 1 mended, 4 findings are left, 8 it could not be checked, 32 stopped.\n\n"
	 "      --repair             mend: what authenticates is kept; contents that do not cannot be read until they are written again\n"
	 "                           (which bytes of which file is told); files without a name go to lost+found\n"
	 "      --size SIZE          grow to this limit as well: for a full volume, where a repair has no room\n"
	 "      --json               one JSON object a line: findings, repairs, and the result\n" KEY_HELP},
	{"scrub", volume_scrub, 1, 1,
	 "usage: coffer volume scrub [--json] FILE.vol\n\n"
	 "Reads and authenticates every block in use, of snapshots too, and goes on behind damage: each damaged block with the file that\n"
	 "loses by it. Exit code 0: none; 1: some.\n\n"
	 "      --json               one JSON object a line\n" KEY_HELP},
	{"diff", volume_diff, 2, 2,
	 "usage: coffer volume diff [--json] A B\n\n"
	 "Names what differs between A and B: each is a volume, a snapshot (FILE.vol@NAME) or a folder. A line is a letter and a path:\n"
	 "A only in B, D only in A, M other contents or link target, T another type, P another mode or flags. Exit code 0: nothing differs;\n"
	 "1: something does; 2: it could not be compared.\n\n"
	 "      --json               one JSON object a line\n"
	 "      --other-key-file FILE  the key of B, when it is another volume\n" KEY_HELP},
	{"snapshot", volume_snapshot, 2, 3,
	 "usage: coffer volume snapshot create|delete|rollback FILE.vol NAME\n"
	 "       coffer volume snapshot list [--json] FILE.vol\n\n"
	 "A snapshot keeps the volume as it is now; it takes room only for what changes later. A mounted volume shows snapshots in\n"
	 "/.snapshots. rollback makes the volume what the snapshot holds; what came later is lost unless it is in another snapshot.\n\n"
	 "      --json               list as JSON\n" KEY_HELP},
	{"rekey", volume_rekey, 1, 1,
	 "usage: coffer volume rekey [--reencrypt] FILE.vol\n"
	 "       coffer volume rekey [--reencrypt] --key-file OLD --new-key-file NEW FILE.vol\n\n"
	 "Gives a volume a new key, which takes the old one's place at the broker (or goes into the new file NEW). Both open it until the new\n"
	 "one is in its place. Nothing is rewritten: who has an old copy of the file and the old key can still read that copy. With\n"
	 "--reencrypt all blocks are written anew under a new secret, so that a stolen old key is of no use for what the volume holds now\n"
	 "(slow; `volume finish` goes on when it was stopped).\n\n" KEY_HELP},
	{"grow", volume_grow, 1, 1,
	 "usage: coffer volume grow --size SIZE FILE.vol\n\n"
	 "Lets a volume hold more: at once.\n\n"
	 "      --size SIZE          the new limit, such as 10G\n" KEY_HELP},
	{"shrink", volume_shrink, 1, 1,
	 "usage: coffer volume shrink --size SIZE FILE.vol\n\n"
	 "Lets a volume hold less: what lies beyond is moved, then the file is cut. What it holds must fit.\n\n"
	 "      --size SIZE          the new limit, such as 10G\n" KEY_HELP},
	{"finish", volume_finish, 1, 1,
	 "usage: coffer volume finish FILE.vol\n\n"
	 "Goes on with what was stopped: giving back the room of deleted snapshots, re-encryption, shrinking.\n\n" KEY_HELP},
	{"anchor", volume_anchor, 2, 2,
	 "usage: coffer volume anchor show [--json] FILE.vol\n"
	 "       coffer volume anchor set [-f] FILE.vol\n\n"
	 "The anchor of a volume remembers its newest state, so that an older copy does not open. show: what it remembers, what the file is,\n"
	 "and whether that opens (exit code 0) or not (1).\n\n"
	 "set: from now on the file as it is is the right one. Needed after a backup was put back on purpose, or after the volume was written\n"
	 "without its anchor (--anchor none, --key-file). It is your word against the anchor's memory: if somebody has put an older or another\n"
	 "copy there, set accepts that copy. Whoever is writing the volume is fenced.\n\n"
	 "      --json               show as JSON\n"
	 "  -f, --force              set: also when the anchor remembers a newer commit, which is given up by that\n" KEY_HELP},
	{0},
};

static const struct sub *find_sub(const char *name)
{
	for (const struct sub *s = subs; s->name; s++)
		if (!strcmp(s->name, name))
			return s;
	return !strcmp(name, "check") ? find_sub("fsck") : NULL;
}

int volume_key(struct request *r, u8 key[SEAL_KEY_BYTES])
{
	struct fault f = {0};

	return owner_volume_key(&r->owner, r->words[0], key, &f) ? cli_fail(&f) : EXIT_OK;
}

int volume_result(int err, const struct seal_tool_err *e)
{
	struct fault f;

	if (!err)
		return EXIT_OK;
	fault_set(&f, err, "%s", e->text);
	cli_fail(&f);
	return cli_stopped() ? cli_stopped() : EXIT_ERROR;
}

void volume_json_text(const char *s)
{
	struct text t = {0};

	text_json(&t, s);
	fputs(t.data, stdout);
	text_free(&t);
}

void volume_progress(void *ctx, u64 files, u64 bytes, u64 total)
{
	progress_show(ctx, files, bytes, total);
}

int volume_create(struct request *r)
{
	struct fault f = {0};

	r->make.volume = r->words[0];
	r->make.size_bytes = r->size;
	return owner_make_volume(&r->owner, &r->make, &f) ? cli_fail(&f) : EXIT_OK;
}

static int volume(int argc, char **argv)
{
	enum { SIZE = 256, JSON, REENCRYPT, REPAIR, NEW_KEY, OTHER_KEY };
	static const struct option options[] = {
		OWNER_OPTIONS, {"force", no_argument, NULL, 'f'}, {"size", required_argument, NULL, SIZE},
		{"json", no_argument, NULL, JSON}, {"reencrypt", no_argument, NULL, REENCRYPT}, {"repair", no_argument, NULL, REPAIR},
		{"new-key-file", required_argument, NULL, NEW_KEY}, {"other-key-file", required_argument, NULL, OTHER_KEY}, {0},
	};
	struct request r = {0};
	const struct sub *s;
	int option;

	optind = 1;
	while ((option = getopt_long(argc, argv, "f", options, NULL)) != -1) {
		switch (option) {
		case 'f': r.make.force = true; break;
		case JSON: r.json = true; break;
		case REENCRYPT: r.reencrypt = true; break;
		case REPAIR: r.repair = true; break;
		case NEW_KEY: r.new_key_file = optarg; break;
		case OTHER_KEY: r.other_key_file = optarg; break;
		case SIZE:
			if (config_parse_size(optarg, &r.size) || !r.size)
				return cli_usage(&command_volume, "--size takes a number with K, M, G or T, such as 10G, and at least 1M; not '%s'",
						 optarg);
			break;
		default:
			if (!owner_option(&r.owner, option, optarg))
				return cli_usage(&command_volume, "wrong option");
		}
	}
	if (argc - optind < 1)
		return cli_usage(&command_volume, "say what to do and with which volume: coffer volume info FILE.vol");
	s = find_sub(argv[optind]);
	if (!s)
		return cli_usage(&command_volume, "there is no 'volume %s'", argv[optind]);
	r.count = argc - optind - 1;
	if (r.count < s->least || r.count > s->most)
		return cli_usage(&command_volume, "wrong number of arguments (coffer volume %s --help)", s->name);
	for (int i = 0; i < r.count; i++)
		r.words[i] = argv[optind + 1 + i];
	return s->run(&r);
}

const char *volume_help(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		const struct sub *s = argv[i][0] == '-' ? NULL : find_sub(argv[i]);

		if (s)
			return s->usage;
	}
	return NULL;
}

const struct command command_volume = {
	"volume", "make, show, check, snapshot, compare, re-key sealed volumes",
	"usage: coffer volume create [--size SIZE] FILE.vol    a new, empty volume\n"
	"       coffer volume info FILE.vol                    its id, and with the key its state\n"
	"       coffer volume list FILE.vol                    names and sizes of its files\n"
	"       coffer volume cat FILE.vol PATH                one file to standard output\n"
	"       coffer volume fsck [--repair] FILE.vol         reads and authenticates everything, and mends it\n"
	"       coffer volume scrub FILE.vol                   reads everything, names each file with damage\n"
	"       coffer volume diff A B                         what differs: volumes, snapshots (FILE.vol@NAME), folders\n"
	"       coffer volume snapshot create|list|delete|rollback FILE.vol [NAME]\n"
	"       coffer volume rekey [--reencrypt] FILE.vol     another key\n"
	"       coffer volume grow|shrink --size SIZE FILE.vol another limit\n"
	"       coffer volume finish FILE.vol                  goes on with work that was stopped\n"
	"       coffer volume anchor show|set FILE.vol         what its anchor remembers; the owner's word against it\n\n"
	"Each explains itself: coffer volume info --help. All but create and finish take --json where it makes sense.\n\n"
	KEY_HELP,
	volume,
};

// SPDX-License-Identifier: Apache-2.0
// `coffer seal` and `coffer open`: the owner's data into a sealed volume, and out of one.
#include <getopt.h>
#include <inttypes.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/owner.h"
#include "cli/progress.h"
#include "image/text.h"

static int seal(int argc, char **argv)
{
	static const struct option options[] = {
		OWNER_OPTIONS, {"force", no_argument, NULL, 'f'}, {"keep-owner", no_argument, NULL, 'o'}, {"resume", no_argument, NULL, 'r'}, {"quiet", no_argument, NULL, 'q'},
		{0},
	};
	struct owner_new_volume v = {0};
	struct owner o = {0};
	struct fault f = {0};
	int option;

	optind = 1;
	while ((option = getopt_long(argc, argv, "fq", options, NULL)) != -1) {
		if (option == 'f')
			v.force = true;
		else if (option == 'o')
			v.keep_owner = true;
		else if (option == 'r')
			v.resume = true;
		else if (option == 'q')
			v.quiet = true;
		else if (!owner_option(&o, option, optarg))
			return cli_usage(&command_seal, "wrong option");
	}
	if (argc - optind != 2)
		return cli_usage(&command_seal, "say what to seal and the volume to make: coffer seal DIR FILE.vol");
	v.source = argv[optind];
	v.volume = argv[optind + 1];
	if (!owner_make_volume(&o, &v, &f))
		return EXIT_OK;
	cli_fail(&f);
	return cli_stopped() ? cli_stopped() : EXIT_ERROR;
}

const struct command command_seal = {
	"seal", "encrypt a folder into a sealed volume; its key goes to the broker",
	"usage: coffer seal [OPTION...] DIR FILE.vol\n\n"
	"Encrypts a folder (or one file) into the new volume FILE.vol, with a key made for it. The key goes to the owner's\n"
	"broker, or into a file. Nobody else can read the volume, or change a byte of it unseen. The volume grows as FILE.vol.partial\n"
	"and gets its name when it is whole.\n\n"
	"  -f, --force              replace an existing volume\n"
	"      --resume             go on with FILE.vol.partial of a run that was stopped (Ctrl-C, a crash), and keep it when this one is\n"
	"      --keep-owner         keep user and group numbers, capabilities and the like (else all files belong to root in the enclave)\n"
	"      --key-file FILE      put the key into this new file, not to the broker\n" OWNER_HELP
	"  -q, --quiet              no report\n",
	seal,
};

static void show(void *ctx, u64 files, u64 bytes, u64 total)
{
	progress_show(ctx, files, bytes, total);
}

static void damaged(void *ctx, const char *text)
{
	const struct progress *bar = ctx;

	fprintf(stderr, "%s%s\n", bar->on ? "\r\033[K" : "", text);
}

static int open_volume(int argc, char **argv)
{
	static const struct option options[] = {
		OWNER_OPTIONS, {"force", no_argument, NULL, 'f'}, {"keep-owner", no_argument, NULL, 'o'}, {"resume", no_argument, NULL, 'r'},
		{"quiet", no_argument, NULL, 'q'}, {0},
	};
	struct progress bar;
	struct seal_tool_progress on = {.fn = show, .ctx = &bar};
	struct seal_tool_options how = {.progress = &on, .damaged = damaged, .ctx = &bar};
	struct seal_tool_stats stats = {0};
	struct seal_tool_err e = {0};
	struct owner o = {0};
	struct fault f = {0};
	bool quiet = false;
	u8 key[SEAL_KEY_BYTES];
	char size[32];
	int option, err;

	optind = 1;
	while ((option = getopt_long(argc, argv, "fq", options, NULL)) != -1) {
		if (option == 'f')
			how.force = true;
		else if (option == 'o')
			how.keep_owner = true;
		else if (option == 'r')
			how.resume = true;
		else if (option == 'q')
			quiet = true;
		else if (!owner_option(&o, option, optarg))
			return cli_usage(&command_open, "wrong option");
	}
	if (argc - optind != 2)
		return cli_usage(&command_open, "say which volume, and the folder for its files: coffer open FILE.vol DIR");
	if (owner_volume_key(&o, argv[optind], key, &f))
		return cli_fail(&f);
	cli_catch_stop();
	progress_begin(&bar, "Opening", quiet);
	if (!bar.on)
		how.progress = NULL;
	err = seal_tool_open(argv[optind], key, argv[optind + 1], &how, &stats, &e);
	progress_end(&bar);
	explicit_bzero(key, sizeof(key));
	if (err) {
		fault_set(&f, err, "%s", e.text);
		cli_fail(&f);
		return cli_stopped() ? cli_stopped() : EXIT_ERROR;
	}
	if (!quiet)
		printf("Opened %s: %" PRIu64 " files, %" PRIu64 " folders, %s in %s\n", argv[optind], (uint64_t)stats.files,
		       (uint64_t)stats.dirs, human_size(size, stats.bytes), argv[optind + 1]);
	return EXIT_OK;
}

const struct command command_open = {
	"open", "decrypt a sealed volume into a folder",
	"usage: coffer open [OPTION...] FILE.vol DIR\n\n"
	"Decrypts all files of a volume into the folder DIR, which must be empty or new. The key comes from the owner's broker\n"
	"or from a file. Whatever does not authenticate is not written: files that are damaged are named and left out, the\n"
	"others come out whole, and the exit code is 1.\n\n"
	"  -f, --force              replace files of DIR\n"
	"      --resume             go on with what a run that was stopped has left in DIR\n"
	"      --keep-owner         restore user and group numbers, set-user-ID bits, capabilities and the like\n"
	"      --key-file FILE      the key is in this file\n" OWNER_HELP
	"  -q, --quiet              no report\n",
	open_volume,
};

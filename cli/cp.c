// SPDX-License-Identifier: Apache-2.0
// `coffer cp`: some of the owner's files into a sealed volume, or out of one.
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/cli.h"
#include "cli/volume.h"
#include "image/text.h"

struct cp {
	struct owner owner;
	struct seal_tool_options how;
	struct seal_tool_cp what;
	bool quiet;
};

// "FILE.vol:/path": the volume's length, 0 when the word is a file of this machine.
static size_t volume_part(const char *word)
{
	for (const char *p = strstr(word, ":/"); p; p = strstr(p + 1, ":/")) {
		char *volume = xstrndup(word, (size_t)(p - word));
		struct stat st;
		bool is = p != word && ((!stat(volume, &st) && S_ISREG(st.st_mode)) || (p - word > 4 && !strncmp(p - 4, ".vol", 4)));

		free(volume);
		if (is)
			return (size_t)(p - word);
	}
	return 0;
}

static int copy(struct cp *c, const char *volume, bool into)
{
	struct seal_tool_progress on = {.fn = volume_progress};
	struct seal_tool_stats stats = {0};
	struct seal_tool_err e = {0};
	struct progress bar;
	struct fault f = {0};
	u8 key[SEAL_KEY_BYTES];
	int err;

	if (owner_volume_key(&c->owner, volume, key, &f))
		return cli_fail(&f);
	cli_catch_stop();
	progress_begin(&bar, "Copying", c->quiet || !strcmp(c->what.to, "-"));
	on.ctx = &bar;
	c->how.progress = &on;
	if (into)
		err = seal_tool_put(volume, key, &c->what, &c->how, &stats, &e);
	else if (!strcmp(c->what.to, "-"))
		err = seal_tool_cat(volume, key, c->what.from[0], 1, &e);
	else
		err = seal_tool_get(volume, key, &c->what, &c->how, &stats, &e);
	progress_end(&bar);
	explicit_bzero(key, sizeof(key));
	return volume_result(err, &e);
}

// All sources of one kind, and of one volume; the other side is the target.
static int sort_out(struct cp *c, char **words, int count)
{
	const char *target = words[count - 1], **from;
	size_t to = volume_part(target), first = volume_part(words[0]);
	bool into = to != 0;
	char *volume;
	int err = 0;

	if (into == (first != 0))
		return cli_usage(&command_cp, into ? "from a volume to a volume: copy to a folder of this machine, and from there"
						   : "neither is in a volume: coffer cp FILE... VOLUME.vol:/path, or VOLUME.vol:/path... DIR");
	volume = into ? xstrndup(target, to) : xstrndup(words[0], first);
	from = xrealloc(NULL, (size_t)count * sizeof(*from));
	for (int i = 0; i < count - 1 && !err; i++) {
		size_t n = volume_part(words[i]);

		from[i] = n ? words[i] + n + 1 : words[i];
		if ((n != 0) == into || (n && (n != first || strncmp(words[i], volume, n))))
			err = cli_usage(&command_cp, "'%s': all that is copied comes from one side: this machine, or one volume", words[i]);
	}
	c->what.from = from;
	c->what.count = count - 1;
	c->what.to = into ? target + to + 1 : target;
	if (!err && !into && !strcmp(target, "-") && (count > 2 || c->what.recursive))
		err = cli_usage(&command_cp, "standard output takes one file");
	if (!err)
		err = copy(c, volume, into);
	free(from);
	free(volume);
	return err;
}

static int cp(int argc, char **argv)
{
	static const struct option options[] = {
		OWNER_OPTIONS, {"recursive", no_argument, NULL, 'r'}, {"keep-owner", no_argument, NULL, 'o'}, {"quiet", no_argument, NULL, 'q'}, {0},
	};
	struct cp c = {0};
	int option;

	optind = 1;
	while ((option = getopt_long(argc, argv, "rRq", options, NULL)) != -1) {
		if (option == 'r' || option == 'R')
			c.what.recursive = true;
		else if (option == 'o')
			c.how.keep_owner = true;
		else if (option == 'q')
			c.quiet = true;
		else if (!owner_option(&c.owner, option, optarg))
			return cli_usage(&command_cp, "wrong option");
	}
	if (argc - optind < 2)
		return cli_usage(&command_cp, "say what to copy and where to: coffer cp FILE... VOLUME.vol:/path");
	return sort_out(&c, argv + optind, argc - optind);
}

const struct command command_cp = {
	"cp", "copy files into a sealed volume, or out of one",
	"usage: coffer cp [OPTION...] FILE... VOLUME.vol:/path\n"
	"       coffer cp [OPTION...] VOLUME.vol:/path... FILE|DIR\n\n"
	"Copies with modes, times and extended attributes user.*; a target that is a folder gets each under its own name. A file is there whole or\n"
	"not at all: what had its name before goes when the new one is complete. '-' is standard input, or output.\n\n"
	"  -r, --recursive          folders with all that is in them; into a folder of that name that is there already\n"
	"      --keep-owner         user and group numbers, capabilities and the like, too\n"
	"  -q, --quiet              no line that says how far it is\n"
	"      --key-file FILE      the key is in this file, not at the broker\n" OWNER_HELP,
	cp,
};

// SPDX-License-Identifier: Apache-2.0
// `coffer volume`: makes, shows, lists, checks and reads sealed volumes.
#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/owner.h"
#include "image/config.h"
#include "image/text.h"

struct request {
	struct owner owner;
	struct owner_new_volume make;
	const char *volume;
	const char *inner;	// a path in the volume
	bool json;
};

static int from_tool(int err, const struct seal_tool_err *e)
{
	struct fault f;

	if (!err)
		return EXIT_OK;
	fault_set(&f, err, "%s", e->text);
	return cli_fail(&f);
}

static int create(struct request *r)
{
	struct fault f = {0};

	r->make.volume = r->volume;
	return owner_make_volume(&r->owner, &r->make, &f) ? cli_fail(&f) : EXIT_OK;
}

// What anyone can see, and with the key the rest.
static int show(struct request *r)
{
	struct seal_tool_err e = {0};
	struct seal_info info;
	u8 id[SEAL_ID_BYTES], key[SEAL_KEY_BYTES];
	struct fault f = {0};
	char hex[33], size[32], used[32];
	struct stat st = {0};
	u32 version;
	bool have_key;
	int err = seal_tool_id(r->volume, id, &version, &e);

	if (err || stat(r->volume, &st) < 0)
		return from_tool(err ? err : -1, &e);
	seal_tool_id_hex(id, hex);
	have_key = !owner_volume_key(&r->owner, r->volume, key, &f);
	if (!have_key && r->owner.key_file)
		return cli_fail(&f);
	if (have_key) {
		err = seal_tool_info(r->volume, key, &info, &e);
		explicit_bzero(key, sizeof(key));
		if (err)
			return from_tool(err, &e);
	}
	if (r->json) {
		printf("{\"id\":\"%s\",\"version\":%u,\"bytes\":%" PRId64, hex, version, (int64_t)st.st_size);
		if (have_key)
			printf(",\"generation\":%" PRIu64 ",\"limit_bytes\":%" PRIu64 ",\"used_bytes\":%" PRIu64 ",\"inodes\":%" PRIu64
			       ",\"fell_back\":%s", (uint64_t)info.generation, (uint64_t)info.size_blocks * 4096,
			       (uint64_t)info.used_blocks * 4096, (uint64_t)info.inodes, info.fell_back ? "true" : "false");
		printf("}\n");
		return EXIT_OK;
	}
	printf("%s\n  id          %s\n  format      %u\n  file        %s\n", r->volume, hex, version,
	       human_size(size, (uint64_t)st.st_size));
	if (!have_key) {
		printf("  (the rest needs the key: %s)\n", f.text);
		return EXIT_OK;
	}
	printf("  commits     %" PRIu64 "\n  in use      %s of %s\n  inodes      %" PRIu64 "\n", (uint64_t)info.generation,
	       human_size(used, (uint64_t)info.used_blocks * 4096), human_size(size, (uint64_t)info.size_blocks * 4096),
	       (uint64_t)info.inodes);
	if (info.fell_back)
		printf("  %swarning%s     the newest commit did not authenticate: cut off in the middle, or changed by somebody\n",
		       cli_yellow(stdout), cli_plain(stdout));
	return EXIT_OK;
}

static void list_line(void *ctx, const char *path, const struct seal_attr *a)
{
	static const char types[16] = {[1] = 'p', [2] = 'c', [4] = 'd', [6] = 'b', [8] = '-', [10] = 'l', [12] = 's'};

	(void)ctx;
	printf("%c%03o %12" PRIu64 "  %s\n", types[a->mode >> 12 & 15], a->mode & 0777, (uint64_t)a->size, path);
}

static void check_line(void *ctx, const char *text)
{
	(void)ctx;
	printf("  %s\n", text);
}

// The commands that need the key.
static int with_key(struct request *r, const char *what)
{
	struct seal_fsck_stats stats = {0};
	struct seal_tool_err e = {0};
	u8 key[SEAL_KEY_BYTES];
	struct fault f = {0};
	char size[32];
	int err;

	if (owner_volume_key(&r->owner, r->volume, key, &f))
		return cli_fail(&f);
	if (!strcmp(what, "list"))
		err = seal_tool_list(r->volume, key, list_line, NULL, &e);
	else if (!strcmp(what, "cat"))
		err = seal_tool_cat(r->volume, key, r->inner, 1, &e);
	else
		err = seal_tool_fsck(r->volume, key, check_line, NULL, &stats, &e);
	explicit_bzero(key, sizeof(key));
	if (!err && !strcmp(what, "check"))
		printf("%s is whole: %" PRIu64 " files, %" PRIu64 " folders, %s, each byte authenticated\n", r->volume,
		       (uint64_t)stats.files, (uint64_t)stats.dirs, human_size(size, stats.bytes));
	return from_tool(err, &e);
}

static int volume(int argc, char **argv)
{
	static const struct option options[] = {
		OWNER_OPTIONS, {"force", no_argument, NULL, 'f'}, {"size", required_argument, NULL, 's'},
		{"json", no_argument, NULL, 'j'}, {0},
	};
	struct request r = {0};
	const char *what;
	uint64_t size;
	int option;

	optind = 1;
	while ((option = getopt_long(argc, argv, "f", options, NULL)) != -1) {
		if (option == 'f')
			r.make.force = true;
		else if (option == 'j')
			r.json = true;
		else if (option == 's' && !config_parse_size(optarg, &size))
			r.make.size_bytes = size;
		else if (!owner_option(&r.owner, option, optarg))
			return cli_usage(&command_volume, option == 's' ? "--size takes a size such as 10G" : "wrong option");
	}
	if (argc - optind < 2)
		return cli_usage(&command_volume, "say what to do and with which volume: coffer volume show FILE.vol");
	what = argv[optind];
	r.volume = argv[optind + 1];
	r.inner = argc - optind == 3 ? argv[optind + 2] : NULL;
	if (argc - optind != (strcmp(what, "cat") ? 2 : 3))
		return cli_usage(&command_volume, "wrong number of arguments for '%s'", what);
	if (!strcmp(what, "create"))
		return create(&r);
	if (!strcmp(what, "show"))
		return show(&r);
	if (!strcmp(what, "list") || !strcmp(what, "check") || !strcmp(what, "cat"))
		return with_key(&r, what);
	return cli_usage(&command_volume, "there is no 'volume %s': create, show, list, check or cat", what);
}

const struct command command_volume = {
	"volume", "make, show, list, check sealed volumes",
	"usage: coffer volume create [--size SIZE] FILE.vol   a new, empty volume\n"
	"       coffer volume show FILE.vol                   its id, and with the key its state\n"
	"       coffer volume list FILE.vol                   names and sizes of its files\n"
	"       coffer volume check FILE.vol                  reads and authenticates everything\n"
	"       coffer volume cat FILE.vol PATH               one file to standard output\n\n"
	"      --size SIZE          most that the volume may hold, such as 10G\n"
	"  -f, --force              replace an existing volume\n"
	"      --json               show as JSON\n"
	"      --key-file FILE      the key is in this file, not at the broker\n" OWNER_HELP,
	volume,
};

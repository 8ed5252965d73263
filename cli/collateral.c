// SPDX-License-Identifier: Apache-2.0
// `coffer collateral`: the store of what makers publish about their hardware: shows it, fills it from files, packs it with evidence.
// Fetching is in collateral_fetch.c, serving others in collateral_serve.c.
#include "cli/collateral.h"

#include <dirent.h>
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "attest/json.h"
#include "cli/cli.h"
#include "cli/evidence.h"
#include "lib/encode.h"
#include "lib/file.h"

struct view {
	json_t *items;		// --json
	time_t now, soon;
	unsigned int count, expired, ending, damaged;
};

static int show_one(void *ctx, const char *file, const struct collateral_item *i, const char *why)
{
	struct view *v = ctx;
	char about[200], expires[32] = "no end of its own", fetched[32], issued[32];
	const char *state = "damaged", *colour = cli_red(stdout);
	v->count++;
	if (i) {
		bool expired = i->expires >= 0 && i->expires < v->now, ending = !expired && i->expires >= 0 && i->expires < v->soon;
		state = expired ? "EXPIRED" : ending ? "ending" : "good";
		colour = expired ? cli_red(stdout) : ending ? cli_yellow(stdout) : cli_green(stdout);
		v->expired += expired;
		v->ending += ending;
		if (i->expires >= 0)
			time_text(expires, i->expires);
	} else {
		v->damaged++;
	}
	if (v->items) {
		json_t *o = json_pack("{s:s, s:s}", "file", file, "state", i ? state : "damaged");
		if (i) {
			set_text(o, "about", collateral_about(&i->key, about));
			set_text(o, "path", i->key.path);
			set_text(o, "source", i->source);
			set_time(o, "fetched", i->fetched);
			if (i->issued >= 0)
				set_time(o, "issued", i->issued);
			if (i->expires >= 0)
				set_time(o, "expires", i->expires);
			if (i->evaluation >= 0)
				set_number(o, "evaluation", i->evaluation);
			set_text(o, "signer", i->signer);
			set_bool(o, "under_makers_root", i->maker_root);
		} else {
			set_text(o, "why", why);
		}
		json_array_append_new(v->items, o);
		return 0;
	}
	if (!i) {
		printf("%s%-8s%s %s\n         %s\n", colour, state, cli_plain(stdout), file, why);
		return 0;
	}
	printf("%s%-8s%s %s\n", colour, state, cli_plain(stdout), collateral_about(&i->key, about));
	printf("         until %s; issued %s; fetched %s from %s\n", expires, i->issued >= 0 ? time_text(issued, i->issued) : "at no known time",
	       time_text(fetched, i->fetched), i->source);
	return 0;
}

static int show(int argc, char **argv)
{
	static const struct option options[] = {
		{"store", required_argument, NULL, 's'}, {"json", no_argument, NULL, 'j'}, {"within", required_argument, NULL, 'w'},
		{"at", required_argument, NULL, 't'}, {0},
	};
	struct collateral_store *s;
	struct view v = {.items = NULL};
	struct bundle none = {.json = NULL};
	struct fault f = {""};
	const char *dir = NULL, *at = "now";
	long within = 7;
	int option;

	optind = 1;
	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 's': dir = optarg; break;
		case 'j': v.items = v.items ? v.items : json_array(); break;
		case 'w': within = atol(optarg); break;
		case 't': at = optarg; break;
		default: return cli_usage(&command_collateral, "wrong option of show");
		}
	}
	if (optind != argc || within < 0 || within > 3650 || !strcmp(at, "recorded"))
		return cli_usage(&command_collateral, "show takes --store, --within DAYS, --at TIME and --json");
	int err = evidence_time(at, &none, &v.now, &f);
	v.soon = v.now + within * 86400;
	if (!err)
		err = collateral_open(&s, dir, false, &f);
	if (err)
		return cli_fail(&f);
	err = collateral_each(s, show_one, &v, &f);
	if (v.items) {
		json_t *o = json_pack("{s:s, s:i, s:i, s:i, s:o}", "store", collateral_dir(s), "expired", (int)v.expired, "ending", (int)v.ending, "damaged",
				      (int)v.damaged, "items", v.items);
		char *text = json_dumps(o, JSON_COMPACT);
		printf("%s\n", text ? text : "{}");
		free(text);
		json_decref(o);
	} else if (!err) {
		if (v.expired || v.damaged)
			printf("%s%u EXPIRED, %u damaged%s of %u in %s: coffer collateral fetch --renew\n", cli_red(stdout), v.expired, v.damaged,
			       cli_plain(stdout), v.count, collateral_dir(s));
		else
			printf("%u items in %s, %u of them end within %ld days\n", v.count, collateral_dir(s), v.ending, within);
	}
	collateral_close(s);
	return err ? cli_fail(&f) : v.expired || v.damaged ? EXIT_REFUSED : EXIT_OK;
}

struct intake {
	struct collateral_store *store;
	const char *file;
	unsigned int kept, refused;
};

static int take(void *ctx, const struct collateral_item *i, const char *what, const char *why)
{
	struct intake *t = ctx;
	struct fault f = {""};
	char about[200];
	if (!i) {
		printf("  %srefused%s  %s: %s\n", cli_red(stdout), cli_plain(stdout), what, why);
		t->refused++;
		return 0;
	}
	int err = collateral_put(t->store, i, &f);
	if (err && err != -ESTALE) {
		fprintf(stderr, "coffer: error: %s\n", f.text);
		return err;
	}
	// One that is there already, and newer, is no failure: nothing is lost.
	printf("  %s%s%s  %s%s%s\n", err ? cli_yellow(stdout) : cli_green(stdout), err ? "older  " : "kept   ", cli_plain(stdout),
	       collateral_about(&i->key, about), err ? ": " : "", err ? f.text : "");
	t->kept += !err;
	return 0;
}

static int import_file(struct intake *t, const char *path, const struct collateral_origin *o, struct fault *f)
{
	struct collateral_origin origin = *o;
	struct fault why = {""};
	struct stat st;
	char *bytes;
	size_t len;
	origin.source = path;
	if (!stat(path, &st))
		origin.time = st.st_mtime;	// at the earliest then
	int err = file_read(path, BUNDLE_MAX_BYTES, &bytes, &len, f);
	if (err)
		return err;
	printf("%s\n", path);
	err = collateral_import(bytes, len, &origin, take, t, &why);
	free(bytes);
	if (err == -EINVAL)
		return fault_set(f, err, "%s: %s", path, why.text);
	return err < 0 ? fault_set(f, err, "not all of %s could be kept", path) : 0;
}

static int not_hidden(const struct dirent *d)
{
	return d->d_name[0] != '.';
}

// A folder: each file in it that is something; another store, or files on a stick.
static int import_folder(struct intake *t, const char *dir, const struct collateral_origin *o, struct fault *f)
{
	struct dirent **names;
	int err = 0, count = scandir(dir, &names, not_hidden, alphasort);
	if (count < 0)
		return fault_errno(f, errno, "cannot read %s", dir);
	for (int i = 0; i < count; i++) {
		char path[PATH_MAX];
		struct fault why = {""};
		struct stat st;
		snprintf(path, sizeof path, "%s/%s", dir, names[i]->d_name);
		free(names[i]);
		if (err || stat(path, &st) || !S_ISREG(st.st_mode))
			continue;
		err = import_file(t, path, o, &why);
		if (err == -EINVAL) {
			printf("  %sskipped%s  %s\n", cli_yellow(stdout), cli_plain(stdout), why.text);
			err = 0;
		} else if (err) {
			*f = why;
		}
	}
	free(names);
	return err;
}

static int import(int argc, char **argv)
{
	static const struct option options[] = {
		{"store", required_argument, NULL, 's'}, {"item", required_argument, NULL, 'i'}, {"issuer-chain", required_argument, NULL, 'c'}, {0},
	};
	struct collateral_origin o = {.time = time(NULL)};
	struct intake t = {.kept = 0};
	const char *dir = NULL, *chain_file = NULL;
	struct fault f = {""};
	char *chain = NULL;
	int option, err = 0;

	optind = 1;
	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 's': dir = optarg; break;
		case 'i': o.path = optarg; break;
		case 'c': chain_file = optarg; break;
		default: return cli_usage(&command_collateral, "wrong option of import");
		}
	}
	if (optind == argc)
		return cli_usage(&command_collateral, "name files, or folders of them");
	if (chain_file)
		err = file_read(chain_file, COLLATERAL_MAX_CHAIN, &chain, &o.chain_len, &f);
	o.chain = chain;
	if (!err)
		err = collateral_open(&t.store, dir, true, &f);
	if (err) {
		free(chain);
		return cli_fail(&f);
	}
	for (; !err && optind < argc; optind++) {
		struct stat st;
		bool folder = !stat(argv[optind], &st) && S_ISDIR(st.st_mode);
		err = folder ? import_folder(&t, argv[optind], &o, &f) : import_file(&t, argv[optind], &o, &f);
	}
	printf("%u kept, %u refused. In %s\n", t.kept, t.refused, collateral_dir(t.store));
	collateral_close(t.store);
	free(chain);
	return err ? cli_fail(&f) : t.refused ? EXIT_ERROR : EXIT_OK;
}

static int export(int argc, char **argv)
{
	static const struct option options[] = {
		{"store", required_argument, NULL, 's'}, {"output", required_argument, NULL, 'o'}, {"at", required_argument, NULL, 't'}, {0},
	};
	struct evidence_files files = {.evidence = NULL};
	const char *output = NULL, *at = "now";
	struct fault f = {""};
	int option;

	optind = 1;
	while ((option = getopt_long(argc, argv, "o:", options, NULL)) != -1) {
		switch (option) {
		case 's': files.store = optarg; break;
		case 'o': output = optarg; break;
		case 't': at = optarg; break;
		default: return cli_usage(&command_collateral, "wrong option of export");
		}
	}
	if (argc - optind != 1 || !output)
		return cli_usage(&command_collateral, "name one file of evidence, and where to: --output BUNDLE");
	files.evidence = argv[optind];
	if (!files.store)
		files.store = "";	// the default one
	int err = evidence_pack(&files, at, output, true, &f);
	return err ? cli_fail(&f) : EXIT_OK;
}

static int collateral(int argc, char **argv)
{
	static const struct {
		const char *name;
		int (*run)(int argc, char **argv);
	} parts[] = {{"fetch", collateral_fetch}, {"show", show}, {"import", import}, {"export", export}, {"serve", collateral_serve}};
	for (size_t i = 0; argc > 1 && i < sizeof parts / sizeof *parts; i++) {
		if (!strcmp(argv[1], parts[i].name))
			return parts[i].run(argc - 1, argv + 1);
	}
	return cli_usage(&command_collateral, "say what to do: fetch, show, import, export or serve");
}

const struct command command_collateral = {
	"collateral", "keep what makers publish about their hardware: fetch, show, serve",
	"usage: coffer collateral fetch EVIDENCE... [--store DIR] [--early] [--all] [--product P] [--json]\n"
	"       coffer collateral fetch --renew [--within DAYS] | --item PATH\n"
	"       coffer collateral show [--store DIR] [--within DAYS] [--at TIME] [--json]\n"
	"       coffer collateral import FILE... [--store DIR] [--issuer-chain FILE] [--item PATH]\n"
	"       coffer collateral export EVIDENCE --output BUNDLE [--store DIR] [--at TIME]\n"
	"       coffer collateral serve [--store DIR] [--listen ADDRESS:PORT] [--offline] [--within DAYS]\n\n"
	"Verifying evidence needs what its maker says about the hardware: Intel's TCB info, identities and revocation lists, AMD's certificates\n"
	"and lists, Hygon's certificates. A store is a folder that keeps it, one file an item. Nothing is believed for lying there: `coffer\n"
	"verify --collateral DIR` checks every signature. Without --store it is COFFER_COLLATERAL_DIR or ~/.local/share/coffer/collateral.\n\n"
	"fetch    asks the makers' services for what the evidence in files needs and the store lacks or is about to lose (within 2 days, or\n"
	"         --within; --all: everything anew). --renew does the same for all that the store has, --item for one: a path of Intel's\n"
	"         (version 4), AMD's or Hygon's service. --early: Intel's statements for those who update at once. --product: Milan, Genoa or\n"
	"         Turin, for reports that do not say. Exit code 1 when something failed; what was there stays\n"
	"show     lists all, with its end. Exit code 3 when something has expired or is damaged\n"
	"import   takes a bundle, files of Intel's and others' tools, bare answers, certificates and lists, or folders of these\n"
	"export   packs evidence with what it needs into one file, for `coffer verify` anywhere\n"
	"serve    is a mirror of the makers' services for this machine (127.0.0.1:8081, TLS): their paths, from the store, fetched where\n"
	"         something is missing or about to end; --offline: never. /status shows what it has\n\n"
	ORIGIN_HELP,
	collateral,
};

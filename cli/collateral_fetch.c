// SPDX-License-Identifier: Apache-2.0
// `coffer collateral fetch`: what pieces of evidence need, or what a store has and is about to expire, from the makers' services.
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "attest/json.h"
#include "cli/cli.h"
#include "cli/collateral.h"
#include "cli/evidence.h"
#include "lib/encode.h"

struct job {
	struct collateral_store *store;
	struct origins origins;
	time_t renew_before;	// items that end before are fetched anew
	bool all, early, json;
	unsigned int fetched, kept, failed;
	json_t *done;
	// For --renew: the items to look at.
	struct collateral_key *keys;
	unsigned int key_count;
	int damaged;
};

static void waits(const char *what, unsigned int seconds)
{
	if (isatty(STDERR_FILENO))
		fprintf(stderr, "coffer: %s: waiting %u s\n", what, seconds);
}

static void tell(struct job *j, const struct collateral_key *k, const char *outcome, const char *why)
{
	char about[200];
	collateral_about(k, about);
	if (j->json) {
		json_t *o = json_pack("{s:s, s:s, s:s}", "name", k->name, "about", about, "outcome", outcome);
		if (why)
			set_text(o, "why", why);
		json_array_append_new(j->done, o);
		return;
	}
	bool bad = why != NULL;
	printf("  %s%-8s%s %s\n", bad ? cli_red(stdout) : cli_green(stdout), outcome, cli_plain(stdout), about);
	if (bad)
		printf("           %s\n", why);
	fflush(stdout);
}

// 0, or why it is not there. The one that is there is good enough until it is about to end.
static int want(struct job *j, const struct collateral_key *k, bool quiet_absence)
{
	struct collateral_item i;
	struct fault f = {""};
	char stamp[32];
	bool there = !collateral_get(j->store, k, &i, NULL);
	time_t expires = there ? i.expires : -1;
	if (there)
		collateral_item_free(&i);
	if (there && !j->all && (expires < 0 || expires >= j->renew_before)) {
		tell(j, k, "have", NULL);
		j->kept++;
		return 0;
	}
	int err = origin_fetch(j->store, &j->origins, k, waits, &f);
	if (err == -ENOENT && quiet_absence)
		return err;
	if (!err) {
		tell(j, k, "fetched", NULL);
		j->fetched++;
	} else if (there && expires >= time(NULL)) {	// not lost: what is there goes on being good
		char *more = NULL;
		if (asprintf(&more, "%s (the one that is there is good until %s)", f.text, time_text(stamp, expires)) < 0)
			more = NULL;
		tell(j, k, "FAILED", more ? more : f.text);
		free(more);
		j->failed++;
	} else {
		tell(j, k, "FAILED", f.text);
		j->failed++;
	}
	return err;
}

// Intel has each statement twice: standard, and early for those who update at once.
static void choose_early(struct collateral_key *k)
{
	char path[COLLATERAL_MAX_PATH + 16];
	if (k->kind != COLLATERAL_TCB_INFO && k->kind != COLLATERAL_QE_IDENTITY)
		return;
	snprintf(path, sizeof path, "%s%cupdate=early", k->path, strchr(k->path, '?') ? '&' : '?');
	collateral_key_read(path, k, NULL);
}

static int fetch_for(struct job *j, const char *file, const char *product, struct fault *f)
{
	const struct evidence_files files = {.evidence = file};
	struct collateral_needs n;
	struct fault why = {""};
	struct bundle b;
	int err = evidence_load(&files, &b, f);
	if (err)
		return err;
	err = collateral_needs(&b, product, &n, &why);
	if (err)
		fault_set(f, err, "%s: %s", file, why.text);
	else if (!j->json)
		printf("%s\n", file);
	for (unsigned int i = 0; !err && i < n.count; i++) {
		if (j->early)
			choose_early(&n.need[i].key);
		// A report of version 2 does not say which product it is of: whose service knows the chip.
		bool guessing = n.product_guessed && !strcmp(n.need[i].key.product, "Milan") && n.need[i].key.kind == COLLATERAL_VCEK;
		if (want(j, &n.need[i].key, guessing) == -ENOENT && guessing) {
			if (collateral_needs(&b, "Genoa", &n, NULL))
				break;
			i = (unsigned int)-1;
		}
	}
	if (!err && *n.note) {
		j->failed++;
		if (j->json)
			json_array_append_new(j->done, json_pack("{s:s, s:s}", "outcome", "impossible", "why", n.note));
		else
			printf("  %smissing%s  %s\n", cli_yellow(stdout), cli_plain(stdout), n.note);
	} else if (!err && !n.count && !j->json) {
		printf("  needs no collateral of a service\n");
	}
	bundle_free(&b);
	return err;
}

static int gather(void *ctx, const char *file, const struct collateral_item *i, const char *why)
{
	struct job *j = ctx;
	if (!i) {
		fprintf(stderr, "coffer: %s is damaged: %s\n", file, why);
		j->damaged++;
		return 0;
	}
	struct collateral_key *keys = realloc(j->keys, (j->key_count + 1) * sizeof *keys);
	if (!keys)
		return -ENOMEM;
	j->keys = keys;
	j->keys[j->key_count++] = i->key;
	return 0;
}

static int renew(struct job *j, struct fault *f)
{
	int err = collateral_each(j->store, gather, j, f);
	for (unsigned int i = 0; !err && i < j->key_count; i++)
		want(j, &j->keys[i], false);
	free(j->keys);
	j->failed += (unsigned int)j->damaged;
	return err;
}

int collateral_fetch(int argc, char **argv)
{
	static const struct option options[] = {
		ORIGIN_OPTIONS, {"store", required_argument, NULL, 's'}, {"item", required_argument, NULL, 'i'}, {"product", required_argument, NULL, 'p'},
		{"early", no_argument, NULL, 'e'}, {"all", no_argument, NULL, 'a'}, {"renew", no_argument, NULL, 'r'},
		{"within", required_argument, NULL, 'w'}, {"json", no_argument, NULL, 'j'}, {0},
	};
	struct job j = {.origins = {.timeout_s = 60, .patience_s = 60}, .done = json_array()};
	const char *dir = NULL, *product = NULL, *item = NULL;
	long within = 2;
	bool renewing = false;
	struct fault f = {""};
	struct collateral_key k;
	int option, err = 0;

	optind = 1;
	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 's': dir = optarg; break;
		case 'i': item = optarg; break;
		case 'p': product = optarg; break;
		case 'e': j.early = true; break;
		case 'a': j.all = true; break;
		case 'r': renewing = true; break;
		case 'w': within = atol(optarg); break;
		case 'j': j.json = true; break;
		default:
			if (!origin_option(&j.origins, option, optarg))
				return cli_usage(&command_collateral, "wrong option of fetch");
		}
	}
	if (!renewing && !item && argc == optind)
		return cli_usage(&command_collateral, "name files of evidence, or --item PATH, or --renew");
	if (within < 0 || within > 3650)
		return cli_usage(&command_collateral, "--within takes days");
	if (product && strcmp(product, "Milan") && strcmp(product, "Genoa") && strcmp(product, "Turin"))
		return cli_usage(&command_collateral, "--product takes Milan, Genoa or Turin");
	j.renew_before = time(NULL) + within * 86400;
	err = collateral_open(&j.store, dir, true, &f);
	if (!err && item) {
		err = collateral_key_read(item, &k, &f);
		if (!err)
			want(&j, &k, false);
	}
	for (; !err && optind < argc; optind++)
		err = fetch_for(&j, argv[optind], product, &f);
	if (!err && renewing)
		err = renew(&j, &f);
	if (j.json) {
		json_t *o = json_pack("{s:i, s:i, s:i, s:O}", "fetched", (int)j.fetched, "had", (int)j.kept, "failed", (int)j.failed, "items", j.done);
		char *text = json_dumps(o, JSON_COMPACT);
		printf("%s\n", text ? text : "{}");
		free(text);
		json_decref(o);
	} else if (!err) {
		printf("%u fetched, %u good as they are, %s%u failed%s. Kept in %s\n", j.fetched, j.kept, j.failed ? cli_red(stdout) : "", j.failed,
		       j.failed ? cli_plain(stdout) : "", collateral_dir(j.store));
	}
	json_decref(j.done);
	collateral_close(j.store);
	return err ? cli_fail(&f) : j.failed ? EXIT_ERROR : EXIT_OK;
}

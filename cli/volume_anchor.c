// SPDX-License-Identifier: Apache-2.0
// `coffer volume anchor show, set`: what the anchor of a volume remembers, and the owner's word against it.
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/volume.h"
#include "lib/encode.h"

static void state_json(const char *name, const struct seal_anchor *a)
{
	char digest[65];

	hex_encode(digest, a->digest, sizeof(a->digest));
	printf(",\"%s\":{\"epoch\":%" PRIu64 ",\"generation\":%" PRIu64 ",\"digest\":\"%s\"}", name, (uint64_t)a->epoch, (uint64_t)a->generation,
	       digest);
}

static void state_words(const char *name, const struct seal_anchor *a, bool of_anchor)
{
	char digest[17];

	hex_encode(digest, a->digest, 8);
	printf("  %-11s commit %" PRIu64 ", digest %s", name, (uint64_t)a->generation, digest);
	if (a->epoch)
		printf(of_anchor ? ", writer %" PRIu64 " may go on\n" : ", by writer %" PRIu64 "\n", (uint64_t)a->epoch);
	else
		printf(", written without an anchor\n");
}

static void show(const struct request *r, const struct seal_tool_anchor_view *v)
{
	if (r->json) {
		printf("{\"known\":%s", v->known ? "true" : "false");
		if (v->known)
			state_json("remembered", &v->remembered);
		state_json("found", &v->found);
		printf(",\"accepted\":%s}\n", v->verdict ? "false" : "true");
		return;
	}
	printf("%s\n", r->words[0]);
	if (v->known)
		state_words("remembered", &v->remembered, true);
	else
		printf("  remembered  nothing: the volume is accepted as it is by who opens it next\n");
	state_words("found", &v->found, false);
	printf("  verdict     %s\n", v->verdict ? v->why : "opens");
}

static void say_set(const struct request *r, const struct seal_tool_anchor_view *v)
{
	char from[64] = "nothing";

	if (v->known && !v->verdict) {
		printf("%s is what its anchor remembers, or goes on from there: nothing was changed\n", r->words[0]);
		return;
	}
	if (v->known)
		snprintf(from, sizeof(from), "commit %" PRIu64, (uint64_t)v->remembered.generation);
	printf("The anchor of %s remembers commit %" PRIu64 " now (before: %s).\n"
	       "This is on your word: had somebody put another copy there, that copy would be the right one from now on. Look at what it holds.\n"
	       "Every enclave that was writing the volume is fenced: it can store nothing more.\n", r->words[0], (uint64_t)v->found.generation, from);
	owner_anchor_tpm_say();
}

int volume_anchor(struct request *r)
{
	const char *verb = r->words[0];
	struct seal_tool_anchor_view v;
	struct seal_tool_err e = {0};
	u8 key[SEAL_KEY_BYTES];
	bool setting = !strcmp(verb, "set");
	int err;

	if (!setting && strcmp(verb, "show"))
		return cli_usage(&command_volume, "there is no 'anchor %s': show or set", verb);
	if (setting && r->json)
		return cli_usage(&command_volume, "--json is for anchor show");
	r->words[0] = r->words[1];
	err = volume_key(r, key);
	if (err)
		return err;
	if (setting)
		owner_anchor_new();
	err = setting ? seal_tool_anchor_set(r->words[0], key, r->make.force, &v, &e) : seal_tool_anchor_view(r->words[0], key, &v, &e);
	explicit_bzero(key, sizeof(key));
	if (err)
		return volume_result(err, &e);
	if (setting)
		say_set(r, &v);
	else
		show(r, &v);
	return !setting && v.verdict ? EXIT_ERROR : EXIT_OK;
}

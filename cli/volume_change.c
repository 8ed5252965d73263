// SPDX-License-Identifier: Apache-2.0
// `coffer volume snapshot, rekey, grow, shrink, finish`: those that change a volume as a whole.
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/volume.h"
#include "image/text.h"

// A bar, and signals that stop in an orderly way.
static struct seal_tool_progress begin(struct progress *bar, const char *what)
{
	cli_catch_stop();
	progress_begin(bar, what, false);
	return (struct seal_tool_progress){.fn = volume_progress, .ctx = bar};
}

struct listing {
	const struct request *r;
	unsigned int n;
};

static void snapshot_line(void *ctx, const struct seal_snapshot *s, u64 own)
{
	struct listing *l = ctx;
	time_t t = (time_t)(s->created_ns / 1000000000);
	char when[32] = "", size[32];
	struct tm tm;

	l->n++;
	if (l->r->json) {
		printf("{\"name\":");
		volume_json_text(s->name);
		printf(",\"id\":%u,\"generation\":%" PRIu64 ",\"created_ns\":%" PRId64 ",\"inodes\":%" PRIu64 ",\"own_bytes\":%" PRIu64 "}\n", s->id,
		       (uint64_t)s->generation, (int64_t)s->created_ns, (uint64_t)s->inodes, (uint64_t)own * 4096);
		return;
	}
	if (gmtime_r(&t, &tm))
		strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S", &tm);
	printf("%s  commit %" PRIu64 ", %" PRIu64 " inodes, %s of its own  %s\n", when, (uint64_t)s->generation, (uint64_t)s->inodes,
	       human_size(size, own * 4096), s->name);
}

static int snapshot_list(struct request *r, const u8 key[SEAL_KEY_BYTES])
{
	struct listing l = {.r = r};
	struct seal_tool_err e = {0};
	int err = seal_tool_snapshots(r->words[0], key, snapshot_line, &l, &e);

	if (!err && !l.n && !r->json)
		printf("%s has no snapshots\n", r->words[0]);
	return volume_result(err, &e);
}

int volume_snapshot(struct request *r)
{
	static const char *const verbs[] = {"create", "delete", "rollback"};
	static const char *const done[] = {"Made the snapshot", "Deleted the snapshot", "The volume is now what it was in the snapshot"};
	const char *verb = r->words[0];
	struct seal_tool_progress p;
	struct seal_tool_err e = {0};
	struct progress bar;
	u8 key[SEAL_KEY_BYTES];
	int what = 0, err;

	while (what < 3 && strcmp(verb, verbs[what]))
		what++;
	if (what == 3 && strcmp(verb, "list"))
		return cli_usage(&command_volume, "there is no 'snapshot %s': create, list, delete or rollback", verb);
	if (r->count != (what == 3 ? 2 : 3))
		return cli_usage(&command_volume, "wrong number of arguments (coffer volume snapshot --help)");
	r->words[0] = r->words[1];
	err = volume_key(r, key);
	if (err)
		return err;
	if (what == 3) {
		err = snapshot_list(r, key);
	} else {
		p = begin(&bar, "Giving back");
		err = seal_tool_snapshot(r->words[0], key, (enum seal_tool_snap)what, r->words[2], &p, &e);
		progress_end(&bar);
		if (!err)
			printf("%s %s\n", done[what], r->words[2]);
		err = volume_result(err, &e);
	}
	explicit_bzero(key, sizeof(key));
	return err;
}

struct rekeying {
	struct request *r;
	const u8 *key;
	struct broker_client *client;
	u8 id[SEAL_ID_BYTES];
};

// The new key into its place, before the old one is taken away.
static int keep_new(void *ctx, struct seal_tool_err *e)
{
	struct rekeying *k = ctx;
	struct fault f = {0};
	int err;

	if (k->r->new_key_file)
		return seal_tool_save_key(k->r->new_key_file, k->key, e);
	err = broker_client_put_volume_key(k->client, k->id, k->key, true, &f);
	if (err)
		snprintf(e->text, sizeof(e->text), "%.500s", f.text);
	return err;
}

int volume_rekey(struct request *r)
{
	u8 old[SEAL_KEY_BYTES] = {0}, key[SEAL_KEY_BYTES] = {0};
	struct rekeying k = {.r = r, .key = key};
	struct seal_tool_progress p;
	struct seal_tool_err e = {0};
	struct fault f = {0};
	struct progress bar;
	u32 version;
	int err;

	if (!r->owner.key_file != !r->new_key_file)
		return cli_usage(&command_volume, "--key-file and --new-key-file belong together: the old key is in a file, and so will be the new one");
	err = volume_key(r, old);
	if (err)
		return err;
	err = seal_tool_id(r->words[0], k.id, &version, &e);
	if (!err)
		err = seal_tool_new_key(key, &e);
	if (err) {
		err = volume_result(err, &e);
		goto out;
	}
	if (!r->new_key_file && broker_client_open(&k.client, &r->owner.broker, &f)) {
		err = cli_fail(&f);
		goto out;
	}
	p = begin(&bar, "Encrypting again");
	err = seal_tool_rekey(r->words[0], old, key, r->reencrypt, keep_new, &k, &p, &e);
	progress_end(&bar);
	if (!err && owner_anchor_is_tpm()) { // its index takes a secret of the key's
		owner_anchor_new();
		err = seal_tool_anchor_set(r->words[0], key, false, &(struct seal_tool_anchor_view){0}, &e);
	}
	if (!err && r->new_key_file)
		printf("%s has a new key, in %s; the old one opens it no more\n", r->words[0], r->new_key_file);
	else if (!err)
		printf("%s has a new key, at the broker; the old one opens it no more\n", r->words[0]);
	if (!err)
		owner_anchor_tpm_say();
	err = volume_result(err, &e);
out:
	explicit_bzero(old, sizeof(old));
	explicit_bzero(key, sizeof(key));
	if (k.client)
		broker_client_close(k.client);
	return err;
}

static int resize(struct request *r, bool grow)
{
	struct seal_tool_progress p;
	struct seal_tool_err e = {0};
	struct progress bar;
	u8 key[SEAL_KEY_BYTES];
	char size[32];
	int err;

	if (!r->size)
		return cli_usage(&command_volume, "say the new size: --size 10G");
	err = volume_key(r, key);
	if (err)
		return err;
	p = begin(&bar, "Moving");
	err = seal_tool_resize(r->words[0], key, r->size, grow, &p, &e);
	progress_end(&bar);
	explicit_bzero(key, sizeof(key));
	if (!err)
		printf("%s may now hold %s\n", r->words[0], human_size(size, r->size));
	return volume_result(err, &e);
}

int volume_grow(struct request *r)
{
	return resize(r, true);
}

int volume_shrink(struct request *r)
{
	return resize(r, false);
}

int volume_finish(struct request *r)
{
	struct seal_tool_progress p;
	struct seal_tool_err e = {0};
	struct progress bar;
	u8 key[SEAL_KEY_BYTES];
	int err = volume_key(r, key);

	if (err)
		return err;
	p = begin(&bar, "Working");
	err = seal_tool_finish(r->words[0], key, &p, &e);
	progress_end(&bar);
	explicit_bzero(key, sizeof(key));
	if (!err)
		printf("Nothing is left to do in %s\n", r->words[0]);
	return volume_result(err, &e);
}

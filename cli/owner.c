// SPDX-License-Identifier: Apache-2.0
// Keys of volumes between the owner's machine and the broker (see owner.h). Keys live on the stack and are wiped.
#include "cli/owner.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/passphrase.h"
#include "cli/progress.h"
#include "image/text.h"

bool owner_option(struct owner *o, int option, const char *value)
{
	switch (option) {
	case 512: o->broker.url = value; return true;
	case 513: o->broker.ca_file = value; return true;
	case 514: o->broker.token_file = value; return true;
	case 515: o->broker.dir = value; return true;
	case 516: o->key_file = value; return true;
	case 517: o->anchor = value; return true;
	case 518: o->tpm_key = value; return true;
	case 540: o->broker.identity_file = value; return true;
	case 541: cli_passphrase_file = value; return true;
	case 542: o->broker.certificate_file = value; return true;
	case 543: o->broker.certificate_key_file = value; return true;
	default: return false;
	}
}

static int from_seal(struct fault *f, int err, const struct seal_tool_err *e)
{
	return err ? fault_set(f, err, "%s", e->text) : 0;
}

int owner_volume_key(const struct owner *o, const char *volume, u8 key[SEAL_KEY_BYTES], struct fault *f)
{
	struct broker_client *client;
	struct seal_tool_err e = {0};
	u8 id[SEAL_ID_BYTES];
	u32 version;
	int err;

	err = owner_anchor(o, f);
	if (err)
		return err;
	if (o->key_file)
		return from_seal(f, seal_tool_load_key(o->key_file, key, &e), &e);
	err = from_seal(f, seal_tool_id(volume, id, &version, &e), &e);
	if (err)
		return err;
	err = broker_client_open(&client, &o->broker, f);
	if (err)
		return err;
	err = broker_client_get_volume_key(client, id, key, f);
	broker_client_close(client);
	return err;
}

static void show(void *ctx, u64 files, u64 bytes, u64 total)
{
	progress_show(ctx, files, bytes, total);
}

struct making {
	const struct owner_new_volume *v;
	struct broker_client *client;	// NULL: the key is in a file
	const u8 *key;
	u8 id[SEAL_ID_BYTES];
	bool stored;	// the broker has the key
};

// The volume has its id and nothing in it yet: its key goes to the broker first, so that no data is without one.
static int store_key(void *ctx, const u8 id[SEAL_ID_BYTES], struct seal_tool_err *e)
{
	struct making *m = ctx;
	struct fault f = {0};
	int err = m->client ? broker_client_put_volume_key(m->client, id, m->key, false, &f) : 0;

	if (err)
		snprintf(e->text, sizeof(e->text), "%.500s", f.text);
	m->stored = m->client && !err;
	return err;
}

static int make(struct making *m, struct fault *f)
{
	const struct owner_new_volume *v = m->v;
	struct progress bar;
	struct seal_tool_progress on = {.fn = show, .ctx = &bar};
	struct seal_tool_options o = {.force = v->force, .keep_owner = v->keep_owner, .resume = v->resume, .progress = &on, .ready = store_key, .ctx = m};
	struct seal_tool_stats stats = {0};
	struct seal_tool_err e = {0};
	char size[32];
	int err;

	if (!v->source) {
		err = seal_tool_create(v->volume, m->key, v->size_bytes, v->force, m->id, &e);
		if (!err) {
			err = store_key(m, m->id, &e);
			if (!err && owner_anchor_is_tpm()) // which takes no volume for a new one later
				err = seal_tool_anchor_set(v->volume, m->key, false, &(struct seal_tool_anchor_view){0}, &e);
			if (err)
				unlink(v->volume);
		}
		return from_seal(f, err, &e);
	}
	cli_catch_stop();
	progress_begin(&bar, "Sealing", v->quiet);
	if (!bar.on)
		o.progress = NULL;
	err = from_seal(f, seal_tool_seal(v->source, v->volume, m->key, &o, &stats, m->id, &e), &e);
	progress_end(&bar);
	if (err || v->quiet)
		return err;
	printf("Sealed %" PRIu64 " files, %" PRIu64 " folders, %s into %s\n", (uint64_t)stats.files, (uint64_t)stats.dirs,
	       human_size(size, stats.bytes), v->volume);
	if (stats.kept)
		printf("%" PRIu64 " of the files were there from the run before\n", (uint64_t)stats.kept);
	if (stats.others_skipped)
		printf("%" PRIu64 " sockets or devices were left out\n", (uint64_t)stats.others_skipped);
	return 0;
}

// A new key, in the owner's file if that is where it goes; or the one of the partial volume.
static int take_key(const struct owner *o, const char *partial, u8 key[SEAL_KEY_BYTES], struct fault *f)
{
	struct seal_tool_err e = {0};
	int err;

	err = owner_anchor(o, f);
	if (err)
		return err;
	owner_anchor_new();
	if (partial)
		return owner_volume_key(o, partial, key, f);
	err = from_seal(f, seal_tool_new_key(key, &e), &e);
	if (!err && o->key_file)
		err = from_seal(f, seal_tool_save_key(o->key_file, key, &e), &e);
	return err;
}

int owner_make_volume(const struct owner *o, const struct owner_new_volume *v, struct fault *f)
{
	u8 key[SEAL_KEY_BYTES] = {0};
	struct making m = {.v = v, .key = key};
	char *partial = seal_tool_partial(v->volume), hex[33];
	struct fault ignored;
	bool resumes, whole;
	int err;

	if (!partial)
		return fault_set(f, -ENOMEM, "out of memory");
	resumes = v->resume && !access(partial, F_OK);
	// What can fail without touching the disk comes first.
	if (!v->force && !access(v->volume, F_OK)) {
		err = fault_set(f, -EEXIST, "%s exists; --force replaces it", v->volume);
		goto out;
	}
	err = o->key_file ? 0 : broker_client_open(&m.client, &o->broker, f);
	if (!err)
		err = take_key(o, resumes ? partial : NULL, key, f);
	if (err)
		goto out;
	err = make(&m, f);
	whole = !err;
	// The key stays with what can be gone on with.
	if (!whole && !resumes && access(partial, F_OK)) {
		if (o->key_file)
			unlink(o->key_file);
		if (m.stored)
			broker_client_delete_volume_key(m.client, m.id, &ignored);
	}
	if (whole && !v->quiet) {
		seal_tool_id_hex(m.id, hex);
		if (!v->source)
			printf("Made the empty volume %s\n", v->volume);
		printf("  id   %s\n", hex);
		if (o->key_file)
			printf("  key  in %s: keep it in a safe place\n", o->key_file);
		else
			printf("  key  at the broker %s; no enclave gets it before `coffer policy allow`\n", broker_client_url(m.client));
		owner_anchor_tpm_say();
	}
out:
	explicit_bzero(key, sizeof(key));
	if (m.client)
		broker_client_close(m.client);
	free(partial);
	return err;
}

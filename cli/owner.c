// SPDX-License-Identifier: Apache-2.0
// Keys of volumes between the owner's machine and the broker (see owner.h). Keys live on the stack and are wiped.
#include "cli/owner.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "image/text.h"

bool owner_option(struct owner *o, int option, const char *value)
{
	switch (option) {
	case 512: o->broker.url = value; return true;
	case 513: o->broker.ca_file = value; return true;
	case 514: o->broker.token_file = value; return true;
	case 515: o->broker.dir = value; return true;
	case 516: o->key_file = value; return true;
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

static void progress(void *ctx, u64 files, u64 bytes, const char *path)
{
	char size[32];

	(void)ctx;
	(void)path;
	fprintf(stderr, "\r  %" PRIu64 " files, %s ", (uint64_t)files, human_size(size, bytes));
}

static int make(const struct owner_new_volume *v, const u8 key[SEAL_KEY_BYTES], u8 id[SEAL_ID_BYTES], struct fault *f)
{
	struct seal_tool_progress show = {.fn = progress};
	struct seal_tool_stats stats = {0};
	struct seal_tool_err e = {0};
	bool tty = isatty(2) && !v->quiet;
	char size[32];
	int err;

	if (!v->source)
		return from_seal(f, seal_tool_create(v->volume, key, v->size_bytes, v->force, id, &e), &e);
	err = from_seal(f, seal_tool_seal(v->source, v->volume, key, v->force, v->keep_owner, tty ? &show : NULL, &stats, id, &e), &e);
	if (tty)
		fprintf(stderr, "\r%40s\r", "");
	if (err || v->quiet)
		return err;
	printf("Sealed %" PRIu64 " files, %" PRIu64 " folders, %s into %s\n", (uint64_t)stats.files, (uint64_t)stats.dirs,
	       human_size(size, stats.bytes), v->volume);
	if (stats.others_skipped)
		printf("%" PRIu64 " sockets, pipes or devices were left out\n", (uint64_t)stats.others_skipped);
	return 0;
}

int owner_make_volume(const struct owner *o, const struct owner_new_volume *v, struct fault *f)
{
	struct broker_client *client = NULL;
	struct seal_tool_err e = {0};
	u8 key[SEAL_KEY_BYTES] = {0}, id[SEAL_ID_BYTES];
	bool made = false;
	char hex[33];
	int err;

	// What can fail without touching the disk comes first.
	if (!v->force && !access(v->volume, F_OK))
		return fault_set(f, -EEXIST, "%s exists; --force replaces it", v->volume);
	if (!o->key_file) {
		err = broker_client_open(&client, &o->broker, f);
		if (err)
			return err;
	}
	err = from_seal(f, seal_tool_new_key(key, &e), &e);
	if (!err && o->key_file)
		err = from_seal(f, seal_tool_save_key(o->key_file, key, &e), &e);
	if (err)
		goto out;
	err = make(v, key, id, f);
	if (err) {
		if (o->key_file)
			unlink(o->key_file);
		goto out;
	}
	made = true;
	if (client)
		err = broker_client_put_volume_key(client, id, key, false, f);
	if (err)
		goto out;
	if (!v->quiet) {
		seal_tool_id_hex(id, hex);
		if (!v->source)
			printf("Made the empty volume %s\n", v->volume);
		printf("  id   %s\n", hex);
		if (o->key_file)
			printf("  key  in %s: keep it in a safe place\n", o->key_file);
		else
			printf("  key  at the broker %s; no enclave gets it before `coffer policy allow`\n", broker_client_url(client));
	}
out:
	if (err && made)
		unlink(v->volume);
	explicit_bzero(key, sizeof(key));
	if (client)
		broker_client_close(client);
	return err;
}

// SPDX-License-Identifier: Apache-2.0
// Documents of reference values in files (see reference.h).
#include "cli/reference.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/file.h"

#define KEY_MAX_BYTES (64u << 10)
#define YEAR (365 * 86400)

static int named(const char *path, int err, const struct fault *why, struct fault *f)
{
	return err ? fault_set(f, err, "%s: %.900s", path, why->text) : 0;
}

int reference_public_key(const char *path, struct dsse_key *k, struct fault *f)
{
	struct fault why = {""};
	char *pem;
	size_t len;
	int err = file_read(path, KEY_MAX_BYTES, &pem, &len, f);
	if (err)
		return err;
	err = named(path, dsse_public_key(pem, len, k, &why), &why, f);
	free(pem);
	return err;
}

int reference_private_key(const char *path, struct dsse_key *k, struct fault *f)
{
	struct fault why = {""};
	char *pem;
	size_t len;
	int err = file_read_private(path, KEY_MAX_BYTES, &pem, &len, f);
	if (err)
		return err;
	err = named(path, dsse_private_key(pem, len, k, &why), &why, f);
	free_wiped(pem, len);
	return err;
}

int reference_load(const struct reference_files *r, time_t now, struct refval_set *s, struct fault *f)
{
	struct dsse_key keys[REFERENCE_MAX_FILES] = {{NULL, ""}};
	struct fault why = {""};
	json_t *seen = NULL;
	unsigned int count = 0;
	int err = 0, lock = -1;
	for (; count < r->key_count && !err; count++)
		err = reference_public_key(r->keys[count], &keys[count], f);
	if (!err && r->seen)
		err = file_lock(r->seen, &lock, f);	// of two at once neither may forget what the other saw
	if (!err && r->seen)
		err = refval_seen_read(r->seen, &seen, f);
	for (unsigned int i = 0; i < r->file_count && !err; i++) {
		char *text;
		size_t len;
		err = file_read(r->files[i], DSSE_MAX_BYTES, &text, &len, f);
		if (err)
			break;
		err = refval_add(s, text, len, keys, count, now, &why);
		free(text);
		if (!err && seen)
			err = refval_seen(seen, &s->docs[s->count - 1], &why);
		err = named(r->files[i], err, &why, f);
	}
	if (!err && seen)
		err = refval_seen_write(r->seen, seen, f);
	json_decref(seen);
	if (lock >= 0)
		close(lock);
	while (count)
		dsse_key_free(&keys[--count]);
	return err;
}

int reference_change(const struct reference_change *c, time_t now, struct fault *f)
{
	struct dsse_key key = {NULL, ""}, old = {NULL, ""};
	struct refval_doc d = {.json = NULL};
	struct fault why = {""};
	json_t *body = NULL;
	char *text = NULL;
	size_t len;
	int err, changed = 0;
	bool fresh = access(c->file, F_OK) != 0;
	err = reference_private_key(c->key, &key, f);
	if (!err && c->from_key)
		err = reference_public_key(c->from_key, &old, f);
	if (err)
		goto out;
	if (fresh) {
		body = refval_body(c->name, now, now + YEAR);
		err = body ? 0 : fault_set(f, -ENOMEM, "out of memory");
	} else {
		err = file_read(c->file, DSSE_MAX_BYTES, &text, &len, f);
		if (!err)
			err = named(c->file, refval_open(text, len, c->from_key ? &old : &key, 1, &d, &why), &why, f);
		free(text);
		text = NULL;
		body = d.json;
	}
	for (unsigned int i = 0; !err && i < c->count; i++) {
		int added = refval_put(body, &c->values[i], f);
		err = added < 0 ? added : 0;
		changed += added > 0;
	}
	if (!err && (changed || fresh)) {
		err = refval_sign(body, &key, now, &text, f);
		if (!err)
			err = file_write(c->file, text, strlen(text), 0644, fresh, f);
	}
out:
	free(text);
	if (fresh)
		json_decref(body);
	refval_close(&d);
	dsse_key_free(&key);
	dsse_key_free(&old);
	return err ? err : changed > 0;
}

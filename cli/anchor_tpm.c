// SPDX-License-Identifier: Apache-2.0
// Anchors of the owner's commands in a TPM (--anchor tpm). The secrets of the indices are kept for the process's life, which is short.
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli/owner.h"
#include "lib/encode.h"
#include "lib/tpm_anchor.h"

#define VOLUMES 4 // a command opens two at most; a change of the key makes another entry

static struct {
	bool used;
	bool may_be_absent;	// the owner is making the index
	char where[200];
	struct tpm_place place[VOLUMES];
	unsigned int next;
	uint8_t name[TPM_NAME_BYTES];	// of the TPM's endorsement key: the one to insist on, then the one that was met
	bool made;			// an index, for `id`
	u8 id[SEAL_ID_BYTES];
} tpm;

static int told(int err, const struct fault *f, struct seal_tool_err *e)
{
	if (err)
		snprintf(e->text, sizeof(e->text), "the anchor: %.490s", f->text);
	return err;
}

static struct tpm_anchor to_tpm(const struct seal_anchor *a)
{
	struct tpm_anchor t = {.epoch = a->epoch, .generation = a->generation};
	memcpy(t.digest, a->digest, sizeof(t.digest));
	return t;
}

// The last one that began: after a change of the key the new one.
static const struct tpm_place *place_of(const u8 id[SEAL_ID_BYTES])
{
	for (unsigned int k = 1; k <= VOLUMES; k++) {
		const struct tpm_place *p = &tpm.place[(tpm.next + VOLUMES - k) % VOLUMES];
		if (!memcmp(p->id, id, sizeof(p->id)))
			return p;
	}
	return &tpm.place[0];
}

static int begin(void *ctx, const u8 id[SEAL_ID_BYTES], const u8 key[SEAL_KEY_BYTES], struct seal_tool_err *e)
{
	struct tpm_place *p = &tpm.place[tpm.next++ % VOLUMES];

	(void)ctx, (void)e;
	p->where = tpm.where;
	memcpy(p->id, id, sizeof(p->id));
	tpm_anchor_auth(p, key);
	return 0;
}

static int get(void *ctx, const u8 id[SEAL_ID_BYTES], struct seal_anchor *out, struct seal_tool_err *e)
{
	struct tpm_anchor a;
	struct fault f = {0};
	int err = tpm_anchor_get(place_of(id), &a, &f);

	(void)ctx;
	if (tpm.may_be_absent && (err == -ENOENT || err == -EACCES))
		return -ENOENT;
	if (err) // an index that is gone is no new volume
		return told(err == -ENOENT ? SEAL_EROLLBACK : err, &f, e);
	*out = (struct seal_anchor){.epoch = a.epoch, .generation = a.generation};
	memcpy(out->digest, a.digest, sizeof(out->digest));
	return 0;
}

static int make(const u8 id[SEAL_ID_BYTES], const struct seal_anchor *now, u64 *epoch, struct seal_tool_err *e)
{
	struct tpm_anchor to = to_tpm(now);
	struct fault f = {0};
	uint64_t given = 0;
	int err = tpm_anchor_set(place_of(id), &to, tpm.name, &given, &f);

	if (epoch)
		*epoch = given;
	tpm.made = tpm.made || !err;
	memcpy(tpm.id, id, sizeof(tpm.id));
	return told(err, &f, e);
}

static int claim(void *ctx, const u8 id[SEAL_ID_BYTES], const struct seal_anchor *from, const struct seal_anchor *found, u64 *epoch,
		 struct seal_tool_err *e)
{
	struct tpm_anchor was, to = to_tpm(found);
	struct fault f = {0};
	uint64_t given = 0;
	int err;

	(void)ctx;
	if (!from)
		return make(id, found, epoch, e);
	was = to_tpm(from);
	err = tpm_anchor_claim(place_of(id), &was, &to, &given, &f);
	*epoch = given;
	return told(err, &f, e);
}

static int advance(void *ctx, const u8 id[SEAL_ID_BYTES], const struct seal_anchor *now, struct seal_tool_err *e)
{
	struct tpm_anchor to = to_tpm(now);
	struct fault f = {0};

	(void)ctx;
	return told(tpm_anchor_advance(place_of(id), &to, &f), &f, e);
}

static int set(void *ctx, const u8 id[SEAL_ID_BYTES], const struct seal_anchor *now, struct seal_tool_err *e)
{
	(void)ctx;
	return make(id, now, NULL, e);
}

int owner_anchor_tpm(const struct owner *o, const char *where, struct fault *f)
{
	static const struct seal_tool_anchor anchor = {.begin = begin, .get = get, .claim = claim, .advance = advance, .set = set};

	if (!tpm_where_valid(where))
		return fault_set(f, -EINVAL, "--anchor tpm:WHERE takes device:/dev/tpmrm0, tcp:ADDRESS:PORT or unix:PATH, not '%.100s'", where);
	if (o->tpm_key && hex_decode(tpm.name, sizeof(tpm.name), o->tpm_key))
		return fault_set(f, -EINVAL, "--tpm-key takes the %zu hex digits that `coffer volume create`, `seal` and `volume anchor set` show", 2 * sizeof(tpm.name));
	snprintf(tpm.where, sizeof(tpm.where), "%s", where);
	tpm.used = true;
	seal_tool_set_anchor(&anchor);
	return 0;
}

void owner_anchor_new(void)
{
	tpm.may_be_absent = true;
}

bool owner_anchor_is_tpm(void)
{
	return tpm.used;
}

void owner_anchor_tpm_say(void)
{
	char key[2 * TPM_NAME_BYTES + 1], index[2 * TPM_NAME_BYTES + 1];
	uint8_t name[TPM_NAME_BYTES];

	if (!tpm.made)
		return;
	tpm_anchor_name(tpm.id, name);
	hex_encode(key, tpm.name, sizeof(tpm.name));
	hex_encode(index, name, sizeof(name));
	printf("The TPM's endorsement key has the name %s: compare it with the TPM's certificate, and name it with --tpm-key.\n"
	       "Its index 0x%x remembers the volume; that has the name %s.\n", key, tpm_anchor_index(tpm.id), index);
}

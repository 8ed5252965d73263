// SPDX-License-Identifier: Apache-2.0
// See tpm_anchor.h. What the index holds is believed only with the MAC that a holder of the volume's key can check.
#include "lib/tpm_anchor.h"

#include <errno.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <openssl/sha.h>
#include <stddef.h>
#include <string.h>

// Little-endian, as the machine is.
struct record {
	uint8_t magic[8];
	uint8_t id[TPM_ANCHOR_ID_BYTES];
	uint64_t epoch, generation;
	uint8_t digest[32];
};
_Static_assert(sizeof(struct record) == 72, "record");
static const char magic[8] = "CFTPMA1";

#define ATTEMPTS 20 // others use the TPM too

void tpm_anchor_auth(struct tpm_place *p, const uint8_t key[32])
{
	static const char purpose[] = "coffer tpm anchor";
	uint8_t text[sizeof purpose + TPM_ANCHOR_ID_BYTES];
	unsigned int n = TPM_AUTH_BYTES;
	memcpy(text, purpose, sizeof purpose);
	memcpy(text + sizeof purpose, p->id, TPM_ANCHOR_ID_BYTES);
	HMAC(EVP_sha256(), key, 32, text, sizeof text, p->auth, &n);
	p->auth[TPM_AUTH_BYTES - 1] |= 1; // a TPM takes zeros off the end of a secret
}

uint32_t tpm_anchor_index(const uint8_t id[TPM_ANCHOR_ID_BYTES])
{
	uint8_t h[32];
	SHA256(id, TPM_ANCHOR_ID_BYTES, h);
	return 0x01800000u | ((uint32_t)h[0] << 16 | (uint32_t)h[1] << 8 | h[2]) >> 2; // the owner's range has 22 bits
}

void tpm_anchor_name(const uint8_t id[TPM_ANCHOR_ID_BYTES], uint8_t name[TPM_NAME_BYTES])
{
	tpm_nv_name(tpm_anchor_index(id), sizeof(struct record), name);
}

static int read_record(const struct tpm_place *p, const struct record *r, struct tpm_anchor *out, struct fault *f)
{
	if (memcmp(r->magic, magic, sizeof magic) || memcmp(r->id, p->id, sizeof r->id))
		return fault_set(f, -EPROTO, "the TPM's index 0x%x is not this volume's", tpm_anchor_index(p->id));
	*out = (struct tpm_anchor){.epoch = r->epoch, .generation = r->generation};
	memcpy(out->digest, r->digest, sizeof out->digest);
	return 0;
}

static void make_record(const struct tpm_place *p, const struct tpm_anchor *a, struct record *r)
{
	memcpy(r->magic, magic, sizeof magic);
	memcpy(r->id, p->id, sizeof r->id);
	r->epoch = a->epoch;
	r->generation = a->generation;
	memcpy(r->digest, a->digest, sizeof r->digest);
}

// Anything but what it was: two who claim the same state must not get the same, and nobody counts for both.
static int new_epoch(uint64_t *epoch, struct fault *f)
{
	do
		if (RAND_bytes((uint8_t *)epoch, sizeof *epoch) != 1)
			return fault_set(f, -EIO, "no randomness");
	while (!(*epoch >>= 2)); // positive in JSON and SQL
	return 0;
}

static int explain(const struct tpm_place *p, int err, struct fault *f)
{
	if (err == -ENOENT || err == -ENODATA)
		return fault_set(f, -ENOENT, "the TPM at %s remembers nothing of this volume (index 0x%x): it was never told, or the index was deleted and "
				 "an older copy may have been put back. Its owner makes it with: coffer volume anchor set --anchor tpm", p->where,
				 tpm_anchor_index(p->id));
	if (err == -EACCES)
		return fault_set(f, -EACCES, "the TPM's index 0x%x at %s does not go with this volume's key: the index was replaced, or the key was changed "
				 "since (coffer volume anchor set)", tpm_anchor_index(p->id), p->where);
	return err;
}

int tpm_anchor_get(const struct tpm_place *p, struct tpm_anchor *out, struct fault *f)
{
	struct record r;
	struct tpm t;
	int err = tpm_open(&t, p->where, f);
	if (err)
		return err == -ENOENT ? -ENODEV : err; // no device is not "no index"
	err = tpm_nv_read(&t, tpm_anchor_index(p->id), p->auth, &r, sizeof r, f);
	tpm_close(&t);
	return err ? explain(p, err, f) : read_record(p, &r, out, f);
}

struct change {
	const struct tpm_place *place;
	const struct tpm_anchor *from; // of a claim
	struct tpm_anchor to;
};

static int decide(void *ctx, uint8_t *data, struct fault *f)
{
	const struct change *c = ctx;
	struct tpm_anchor now;
	struct record r;
	memcpy(&r, data, sizeof r);
	int err = read_record(c->place, &r, &now, f);
	if (err)
		return err;
	bool same = now.generation == c->to.generation && !memcmp(now.digest, c->to.digest, sizeof now.digest);
	if (c->from && memcmp(&now, c->from, sizeof now))
		return fault_set(f, -EEXIST, "what the TPM remembers of this volume has changed meanwhile");
	if (!c->from && now.epoch != c->to.epoch)
		return fault_set(f, -EEXIST, "another writer has claimed this volume since");
	if (!c->from && same)
		return 0; // the answer to the first attempt was lost
	if (!same && c->to.generation <= now.generation)
		return fault_set(f, -EEXIST, "the TPM remembers a newer state of this volume: commit %" PRIu64, now.generation);
	make_record(c->place, &c->to, &r);
	memcpy(data, &r, sizeof r);
	return 1;
}

static int swap(struct change *c, struct fault *f)
{
	struct tpm t;
	int err = tpm_open(&t, c->place->where, f);
	if (err)
		return err == -ENOENT ? -ENODEV : err;
	for (int k = 0; k < ATTEMPTS; k++) {
		err = tpm_nv_swap(&t, tpm_anchor_index(c->place->id), c->place->auth, sizeof(struct record), decide, c, f);
		if (err != -ESTALE)
			break;
	}
	tpm_close(&t);
	return explain(c->place, err, f);
}

int tpm_anchor_claim(const struct tpm_place *p, const struct tpm_anchor *from, const struct tpm_anchor *to, uint64_t *epoch, struct fault *f)
{
	struct change c = {.place = p, .from = from, .to = *to};
	int err = new_epoch(&c.to.epoch, f);
	if (!err)
		err = swap(&c, f);
	*epoch = err ? 0 : c.to.epoch;
	return err;
}

int tpm_anchor_advance(const struct tpm_place *p, const struct tpm_anchor *to, struct fault *f)
{
	struct change c = {.place = p, .to = *to};
	return swap(&c, f);
}

int tpm_anchor_set(const struct tpm_place *p, const struct tpm_anchor *to, uint8_t name[TPM_NAME_BYTES], uint64_t *epoch, struct fault *f)
{
	struct tpm_anchor a = *to;
	struct record r;
	struct tpm t;
	int err = new_epoch(&a.epoch, f);
	if (!err)
		err = tpm_open(&t, p->where, f);
	if (err)
		return err == -ENOENT ? -ENODEV : err;
	make_record(p, &a, &r);
	err = tpm_nv_create(&t, tpm_anchor_index(p->id), p->auth, &r, sizeof r, name, f);
	tpm_close(&t);
	if (epoch)
		*epoch = err ? 0 : a.epoch;
	return err;
}

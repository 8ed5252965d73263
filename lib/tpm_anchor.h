// SPDX-License-Identifier: Apache-2.0
// Anchors of sealed volumes in a TPM: one NV index a volume, with the newest state that its writer told of. The rules are the broker's
// (docs/sealed-volume.md). Each call is a connection of its own.
#ifndef COFFER_LIB_TPM_ANCHOR_H
#define COFFER_LIB_TPM_ANCHOR_H

#include "lib/tpm.h"

#define TPM_ANCHOR_ID_BYTES 16

struct tpm_anchor {
	uint64_t epoch, generation;
	uint8_t digest[32];
};

// Where a volume's index is and what opens it.
struct tpm_place {
	const char *where;
	uint8_t id[TPM_ANCHOR_ID_BYTES];
	uint8_t auth[TPM_AUTH_BYTES]; // tpm_anchor_auth
};

// The index's secret, from the volume's key.
void tpm_anchor_auth(struct tpm_place *p, const uint8_t key[32]);
uint32_t tpm_anchor_index(const uint8_t id[TPM_ANCHOR_ID_BYTES]);

void tpm_anchor_name(const uint8_t id[TPM_ANCHOR_ID_BYTES], uint8_t name[TPM_NAME_BYTES]); // of the index, as TPM2_NV_ReadPublic tells it

// -ENOENT: there is no index. Never "a new volume": who may delete it could put an old copy back. -EACCES: it takes another key.
int tpm_anchor_get(const struct tpm_place *p, struct tpm_anchor *out, struct fault *f);
// The volume was compared with *from and found in state *to: *epoch is its writer's. -EEXIST: another one was faster.
int tpm_anchor_claim(const struct tpm_place *p, const struct tpm_anchor *from, const struct tpm_anchor *to, uint64_t *epoch, struct fault *f);
// -EEXIST: another writer has claimed it, or a newer state is remembered.
int tpm_anchor_advance(const struct tpm_place *p, const struct tpm_anchor *to, struct fault *f);
// The owner's word: makes the index anew. *name as in tpm_nv_create; *epoch: whose holder may write (may be NULL).
int tpm_anchor_set(const struct tpm_place *p, const struct tpm_anchor *to, uint8_t name[TPM_NAME_BYTES], uint64_t *epoch, struct fault *f);

#endif

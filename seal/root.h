// SPDX-License-Identifier: Apache-2.0
// Root slots and the session table (seal/root.c); used by commit.c and volume.c. Volume's lock held.
#pragma once
#include "seal/vol.h"

enum slot_state { SLOT_BLANK, SLOT_VERSION, SLOT_KEY, SLOT_BAD, SLOT_OK, SLOT_IO };

// Keys of the volume `id` from the master key: v->prk, v->key_check, v->dir_key.
void root_keys(struct seal_vol *v, const u8 key[SEAL_KEY_BYTES], const u8 id[SEAL_ID_BYTES]);
// Writes the present state as root `generation` into its slot. Not flushed.
int slot_write(struct seal_vol *v, u64 generation, bool clean);
// The plaintext part of a slot.
enum slot_state slot_probe(const struct seal_io *io, u32 k, void *block, struct d_slot *head);
// Reads and authenticates slot k under `key`. SLOT_OK: *out is a decrypted copy in `buf` (SLOT_BLOCKS * SEAL_BLOCK).
enum slot_state slot_read(struct seal_vol *v, u32 k, const u8 key[SEAL_KEY_BYTES], void *buf);
// Takes over the state of an authenticated slot, session table included.
int root_load(struct seal_vol *v, const struct d_slot *s);
// Are the blocks that were written in one flush with this root all there? After root_load. SEAL_ETAMPER: not.
int root_complete(struct seal_vol *v, const struct d_slot *s);
void root_unload(struct seal_vol *v);
int table_write(struct seal_vol *v, u32 k);

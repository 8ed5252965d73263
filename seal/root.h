// SPDX-License-Identifier: Apache-2.0
// Root slots and the session table (seal/root.c); used by commit.c and volume.c. Volume's lock held.
#pragma once
#include "seal/vol.h"

enum slot_state { SLOT_BLANK, SLOT_VERSION, SLOT_KEY, SLOT_BAD, SLOT_OK, SLOT_IO };

// --- key.c
// What derives from the volume's secret; and from the one before it, while blocks under that are left.
void root_keys(struct seal_vol *v, const u8 secret[32], const u8 id[SEAL_ID_BYTES]);
void root_old_keys(struct seal_vol *v, const u8 secret[32]);
bool root_has_old(const struct seal_vol *v);
// The secret under a master key, and back: SEAL_EKEY when no wrap is for this key, SEAL_ETAMPER when it was altered.
int key_wrap(struct seal_vol *v, const u8 master[32], const u8 secret[32], struct d_wrap *w);
int key_unwrap(struct seal_vol *v, const u8 master[32], const struct d_slot *head, u8 secret[32]);
u32 key_wraps(const struct seal_vol *v);
// Different master keys that open the one stored root or the other.
u32 key_count(const struct seal_vol *v);

// --- root.c
// Derives the keys of the volume that `head` belongs to.
int root_unlock(struct seal_vol *v, const u8 key[SEAL_KEY_BYTES], const struct d_slot *head);
// Writes the present state as root `generation` into the older slot. Not flushed. clean: as in struct d_slot; log: where records
// after it begin.
int slot_write(struct seal_vol *v, u64 generation, u32 clean, u64 log);
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

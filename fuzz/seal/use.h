// SPDX-License-Identifier: Apache-2.0
// Shared by the fuzz targets of sealed volumes (use.c).
#pragma once
#include "tests/seal/mem.h"

#define PLAIN_BLOCKS 4096u
#define PLAIN_KINDS  16u
extern u8 plain_kind[PLAIN_BLOCKS]; // of each block of the volume written last: 0 unknown or root, else by class and level

const struct mem *use_image(void);	     // the volume, never unmounted: a file without a name is open
u64 use_block_of(u32 kind, u32 which); // a block of that kind (kind 0: a root slot)
void use_volume(struct mem *m);	     // opens, checks, reads and changes it

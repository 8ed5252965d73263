// SPDX-License-Identifier: Apache-2.0
// Moving blocks (seal/reloc.c) and the size of a volume (seal/resize.c). Volume's lock held.
#pragma once
#include "seal/root.h"

// About `budget` blocks of the walk, and a commit. 1: more is left; 0: nothing has to move any more.
int sv_reloc_step(struct seal_vol *v, u64 budget, u64 *done, u64 *total);
int sv_reloc_left(struct seal_vol *v); // 1: blocks have still to move, 0: none
int sv_shrink_finish(struct seal_vol *v);

// SPDX-License-Identifier: Apache-2.0
// What the harnesses against crashes and hostile hosts share: a random workload, and the whole visible state of a volume.
#pragma once
#include "tests/seal/mem.h"

// Up to `n` random operations on names below the root: create, append, overwrite, holes, truncate, rename over, hard and symbolic
// links, directories, attributes, files that are open and have no name. Their errors are of no concern.
struct work {
	struct seal_inode *open_files[4];
	u32 max_write; // bytes
};
void work_some(struct work *w, struct seal_vol *v, u32 n);
// Changes that need no new root: whole pages of files that are there, and attributes.
void work_quiet(struct seal_vol *v, u32 n);
void work_close(struct work *w, struct seal_vol *v); // before unmounting

// One line for each path, sorted: type, mode, size, links, times, and a digest of contents, target and attributes.
#define STATE_PATHS 400u
struct state {
	u64 generation;
	u32 n;
	int error; // the first typed error met while reading; what was read before it is there
	struct state_line {
		char path[48];
		u64 digest;
	} line[STATE_PATHS];
};
void state_read(struct seal_vol *v, struct state *s);
u64 state_digest(const struct state *s);
// Is all that was read of `part` what `whole` has?
bool state_within(const struct state *part, const struct state *whole);

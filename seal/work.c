// SPDX-License-Identifier: Apache-2.0
// Work that goes on behind a volume in use, in pieces: giving back what deleted snapshots held, re-encryption, and
// emptying the tail of a volume that shrinks. Each piece ends with a commit, so it can stop at any time and go on after
// the next mount. Takes the volume's lock for one piece.
#include "seal/root.h"

int seal_work(struct seal_vol *v, u64 blocks, struct seal_work *w)
{
	u64 budget = SEAL_MAX(blocks, 64ul);
	const char *what = "";
	vol_lock(v);
	int r = v->read_only ? -EROFS : v->failed;
	if (!r) {
		what = "freeing deleted snapshots";
		r = sv_snaps_reap(v, &budget);
	}
	if (r >= 0) {
		int e = vol_commit(v, false);
		r = e ? e : r;
	}
	if (w)
		*w = (struct seal_work){.what = r > 0 ? what : ""};
	vol_unlock(v);
	return r;
}

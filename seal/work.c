// SPDX-License-Identifier: Apache-2.0
// Work that goes on behind a volume in use, in pieces: giving back what deleted snapshots held, re-encryption, and
// emptying the tail of a volume that shrinks. Each piece ends with a commit, so it can stop at any time and go on after
// the next mount. Takes the volume's lock for one piece.
#include "seal/reloc.h"

int seal_work(struct seal_vol *v, u64 blocks, struct seal_work *w)
{
	u64 budget = SEAL_MAX(blocks, 64ul), done = 0, total = 0;
	const char *what = "";
	vol_lock(v);
	int r = v->read_only ? -EROFS : v->failed;
	if (!r) {
		what = "freeing deleted snapshots";
		r = sv_snaps_reap(v, &budget);
		int e = r < 0 ? 0 : vol_commit(v, false);
		r = e ? e : r;
	}
	if (!r && (v->shrink_to || root_has_old(v))) {
		what = v->shrink_to ? "emptying the end of the volume" : "encrypting anew";
		r = sv_reloc_step(v, budget, &done, &total);
		if (!r && v->shrink_to)
			r = sv_shrink_finish(v);
	}
	if (w)
		*w = (struct seal_work){.what = r > 0 ? what : "", .done = done, .total = total};
	vol_unlock(v);
	return r;
}

// SPDX-License-Identifier: Apache-2.0
// Freshness of the whole volume: the digest of a root, and which state of a volume an anchor accepts. The anchor itself (the
// broker, a TPM) is the caller's. Takes the volume's lock in the calls on a mounted volume.
//
// Why a later state may be accepted at all: the anchor is told of a root after the root is durable, so a crash between the two
// leaves a volume that is ahead of it. Why only one with the anchor's epoch: an epoch belongs to one mount, which began in the
// very state that the anchor held then; so the roots that carry it are one line of descent, and the one that the anchor
// remembers is part of it. A root of an earlier writer, kept back by the host, may have a higher number but lies beside that line.
// Who writes without asking the anchor carries no epoch on: his roots may begin anywhere.
#include "seal/root.h"
#include "seal/sha256.h"

void sv_anchor_note(struct seal_vol *v, u64 generation, u64 epoch, const void *slot)
{
	// salt and counter name this root, the tag covers the rest of it
	const struct seal_bytes in[] = {{"coffer root", 11}, {slot, SLOT_PLAIN}};
	v->state.generation = generation;
	v->state.epoch = epoch;
	seal_sha256(in, 2, v->state.digest);
}

void sv_anchor_note_record(struct seal_vol *v, const struct d_log *d)
{
	// the tag covers the record, and the tag of what came before it
	const struct seal_bytes in[] = {{"coffer record", 13}, {d, LOG_PLAIN}};
	v->state.generation = v->generation; // the epoch is its root's
	seal_sha256(in, 2, v->state.digest);
}

void seal_get_state(struct seal_vol *v, struct seal_anchor *out)
{
	vol_lock(v);
	*out = v->state;
	vol_unlock(v);
}

void seal_set_epoch(struct seal_vol *v, u64 epoch)
{
	vol_lock(v);
	v->epoch = epoch;
	v->unclaimed = false;
	v->log.next = 0; // records belong to a root of their epoch
	vol_unlock(v);
}

void seal_fence(struct seal_vol *v) { __atomic_store_n(&v->failed, -EIO, __ATOMIC_RELAXED); } // without the lock: a commit may hang

int seal_anchor_check(const struct seal_anchor *found, const struct seal_anchor *least, char *text, size_t n)
{
	if (found->generation < least->generation)
		snprintf(text, n, "the volume was rolled back: this is commit %lu, the anchor remembers commit %lu. "
			 "If its owner put this copy back, he says so: coffer volume anchor set",
			 found->generation, least->generation);
	else if (found->generation == least->generation && memcmp(found->digest, least->digest, sizeof least->digest))
		snprintf(text, n, "the volume was replaced: its commit %lu is not the one that the anchor remembers",
			 found->generation);
	else if (found->generation > least->generation && !found->epoch)
		snprintf(text, n,
			 "its commit %lu was written without its anchor, which remembers commit %lu: what it descends from cannot be told. "
			 "If this is right, its owner says so: coffer volume anchor set",
			 found->generation, least->generation);
	else if (found->generation > least->generation && found->epoch != least->epoch)
		snprintf(text, n,
			 "the volume was replaced: its commit %lu is by writer %lu, but the anchor remembers commit %lu, and let "
			 "writer %lu go on from there",
			 found->generation, found->epoch, least->generation, least->epoch);
	else
		return 0;
	return SEAL_EROLLBACK;
}

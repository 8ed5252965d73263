// SPDX-License-Identifier: Apache-2.0
// The audit log: an append-only Merkle log (merkle.h) of JSON records in a folder of its own. An append returns when the record is
// durable; those that come at the same time share one write, one sync and one signed tree head. Locks inside; every function may be
// called from any thread. docs/audit.md describes files and guarantees.
#ifndef COFFER_BROKER_AUDIT_H
#define COFFER_BROKER_AUDIT_H

#include <jansson.h>

#include "broker/note.h"

#define AUDIT_MAX_ENTRY (256u << 10)
#define AUDIT_PAGE (512u << 10)

struct audit;

// Opens or makes the log in `dir`. What a kill left unfinished at its end is dropped, told in *dropped (bytes). The key (its reference
// is taken) signs tree heads under `name`. -EBADMSG: the log was changed or cut behind the broker's back; -EKEYREJECTED: it is another
// key's.
int audit_open(struct audit **out, const char *dir, const char *name, EVP_PKEY *key, uint64_t *dropped, struct fault *f);
void audit_close(struct audit *a);

// Appends a record (an object; stolen, on failure too); its time is added. Durable when it returns 0. *index (may be NULL): its number.
int audit_append(struct audit *a, json_t *record, uint64_t *index, struct fault *f);

const struct note_key *audit_key(const struct audit *a);
// It still takes records: nothing has left it in doubt what the disk has.
bool audit_works(struct audit *a);
// The newest signed tree head.
void audit_head(struct audit *a, struct note *out);

// A record's exact bytes, malloc'ed; -ENOENT; -EBADMSG when they are not what was logged.
int audit_read(struct audit *a, uint64_t index, char **text, size_t *len, struct fault *f);
// Records [from, to) as lines, and between them the heads that were signed then ("= SIZE ROOT SIGNATURE"); ends early after about
// AUDIT_PAGE bytes. *text is malloc'ed.
int audit_lines(struct audit *a, uint64_t from, uint64_t to, char **text, size_t *len, struct fault *f);

// size: not more than the newest head's. -EINVAL; -EBADMSG: the stored tree is damaged.
int audit_prove_inclusion(struct audit *a, uint64_t index, uint64_t size, struct merkle_proof *out, struct fault *f);
int audit_prove_consistency(struct audit *a, uint64_t old, uint64_t size, struct merkle_proof *out, struct fault *f);
int audit_range(struct audit *a, uint64_t size, struct merkle_range *out, struct fault *f);

#endif

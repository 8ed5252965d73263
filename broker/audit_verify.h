// SPDX-License-Identifier: Apache-2.0
// What can be checked of an audit log without its broker: an export of it, and the proof of one record. Reads untrusted files; no
// locks; fuzz_audit drives it.
//
//	coffer-audit-export v1
//	key KEY				(note.h)
//	from N				records before the first one here
//	hash BASE64			roots of the complete subtrees of those, largest first
//	(empty line)
//	{...}				a record a line, and between them
//	= SIZE ROOT SIGNATURE		the heads that were signed then
//	(empty line)
//	the tree head over all		(note.h)
#ifndef COFFER_BROKER_AUDIT_VERIFY_H
#define COFFER_BROKER_AUDIT_VERIFY_H

#include <stdio.h>

#include "broker/note.h"

#define AUDIT_EXPORT "coffer-audit-export v1"
#define AUDIT_PROOF "c2sp.org/tlog-proof@v1"
#define AUDIT_MAX_KEPT 16
#define AUDIT_MAX_WITNESSES 16

// What the verifier knows beforehand.
struct audit_trust {
	bool has_key;		// otherwise whichever key the file names
	struct note_key key;
	unsigned int kept_count;
	struct note kept[AUDIT_MAX_KEPT];	// heads seen earlier
	unsigned int witness_count, quorum;	// so many of these must have cosigned
	struct note_key witness[AUDIT_MAX_WITNESSES];
};

struct audit_verdict {
	char wrong[640];	// the first thing that is; "" when all is well
	struct note_key key;
	uint64_t from;		// records before the first one
	struct note head;
	unsigned int witnesses;	// that cosigned
	uint64_t index;		// of a proof's record
	char *record;		// a proof's, malloc'ed
};

// 0 when a verdict was reached, whatever it is; -EINVAL: no such file as this; -EIO, -ENOMEM.
int audit_verify_export(FILE *in, const struct audit_trust *t, struct audit_verdict *v, struct fault *f);
int audit_verify_proof(const char *text, size_t len, const struct audit_trust *t, struct audit_verdict *v, struct fault *f);

#endif

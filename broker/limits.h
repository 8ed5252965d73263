// SPDX-License-Identifier: Apache-2.0
// Inside broker/: what those who are refused may cost. Each address (of IPv6: each /64) has two allowances that fill up again with time: for
// refusals, and for sessions that were begun and have not led to an accepted attestation. Who has used one up is told when to come again
// before anything is looked at; who attests well gets the session's share back, so that no rate of good requests is ever limited.
// Refusals of all together have an allowance of single records in the audit log; those beyond it are counted, and a record says how many
// they were. So it is with all refusals while the disk has less room than is kept for grants and for the owners' changes.
// One lock inside; any thread.
#ifndef COFFER_BROKER_LIMITS_H
#define COFFER_BROKER_LIMITS_H

#include <stdbool.h>

#include "broker/audit_api.h"

struct limit_settings {
	unsigned int refusals_per_peer;		// at once; one more each second
	unsigned int sessions_per_peer;		// at once; ten more each second
	unsigned int refusals_logged;		// at once; one more each second
	unsigned int disk_reserve_mib;
};

enum refusal { REFUSED_EVIDENCE, REFUSED_RELEASE, REFUSED_CALLER, REFUSED_UNREAD, REFUSED_SESSION, REFUSALS };

struct limits;

// `dir`: where the log lies, whose file system has the reserve. NULL when memory is short.
struct limits *limits_new(const struct limit_settings *s, const char *dir);
void limits_free(struct limits *l);

// May this peer ask for something that may be refused? Otherwise in how many seconds; it is counted as REFUSED_UNREAD then.
unsigned int limits_ask(struct limits *l, const char *peer);
// The same for beginning a session, which costs one; limits_attested gives it back.
unsigned int limits_begin(struct limits *l, const char *peer);
void limits_attested(struct limits *l, const char *peer);
// No session, a token that is none, a nonce that was used: counted for the next summary. It costs nothing: so are all who come back after a restart.
void limits_unknown(struct limits *l, const char *peer);
// It was refused. True: a record of its own is due; false: it has been counted for the next summary.
bool limits_refused(struct limits *l, const char *peer, enum refusal kind);

// Records the refusals that were counted, one record for each kind; call it now and then, and at the `end`. While the disk's reserve is used that
// is done every ten minutes only. Those that cannot be recorded stay counted.
void limits_summarise(struct limits *l, struct broker *b, bool end);

// Room on the log's file system in bytes; *low: less than the reserve.
unsigned long long limits_disk(struct limits *l, bool *low);
unsigned long limits_unlogged(struct limits *l, enum refusal kind);	// since the start
const char *refusal_name(enum refusal kind);

#endif

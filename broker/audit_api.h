// SPDX-License-Identifier: Apache-2.0
// Inside broker/: the audit log as the rest of the broker uses it, over HTTP, and the witnesses' cosignatures.
#ifndef COFFER_BROKER_AUDIT_API_H
#define COFFER_BROKER_AUDIT_API_H

#include "broker/audit.h"
#include "lib/http_server.h"

struct broker;
struct audit_cosigned;

// Opens the log in `dir`/audit under the key `dir`/audit.key (made when missing; `dir`/audit.pub is its public half), and the
// cosignatures of these witnesses.
int audit_start(struct broker *b, const char *dir, const struct note_key *witnesses, unsigned int count, struct fault *f);
void audit_stop(struct broker *b);

// Records what is about to be answered with `r`: adds who asked ("by", where an identity did; "from": its address). `record` is stolen. 0 when it is durable.
int audit_log(struct broker *b, const struct http_response *r, json_t *record, struct fault *f);

// /coffer/v0/audit/...; heads and proofs hold hashes only and are for everybody, records are not.
void audit_handle(struct broker *b, const char *path, const struct http_request *q, struct http_response *r);
void audit_handle_records(struct broker *b, const char *rest, const struct http_request *q, struct http_response *r);

// audit_cosign.c: heads with the signatures of witnesses. One lock inside.
int audit_cosigned_open(struct audit_cosigned **out, const char *dir, const struct note_key *witnesses, unsigned int count, struct fault *f);
void audit_cosigned_close(struct audit_cosigned *c);
// The head that witnesses shall sign now: it stays the same until all have, or for ten minutes, so that they sign the same one.
void audit_candidate(struct audit_cosigned *c, struct audit *a, struct note *out);
// Takes the witnesses' signatures in *n over the candidate or what is kept. The number of witnesses there are of it now, -EACCES: none
// of them is a witness's; -ESTALE: it is another head; -errno.
int audit_cosign(struct audit_cosigned *c, struct audit *a, const struct note *n, struct fault *f);
// The newest head that at least `quorum` witnesses signed. -ENOENT.
int audit_cosigned_head(struct audit_cosigned *c, unsigned int quorum, struct note *out);

#endif

// SPDX-License-Identifier: Apache-2.0
// The audit log as its owner and witnesses ask a broker for it (broker/client.h has the connection and the errors). No locks.
#ifndef COFFER_BROKER_AUDIT_CLIENT_H
#define COFFER_BROKER_AUDIT_CLIENT_H

#include <stdio.h>

#include "broker/audit_verify.h"
#include "broker/client.h"

int audit_client_key(struct broker_client *c, struct note_key *out, struct fault *f);
// which: "" for the newest, "?candidate", "?cosigned=N".
int audit_client_head(struct broker_client *c, const char *which, struct note *out, struct fault *f);
// *record is malloc'ed.
int audit_client_record(struct broker_client *c, uint64_t index, char **record, struct fault *f);
int audit_client_inclusion(struct broker_client *c, uint64_t index, uint64_t size, struct merkle_proof *out, struct fault *f);
int audit_client_consistency(struct broker_client *c, uint64_t from, uint64_t size, struct merkle_proof *out, struct fault *f);
int audit_client_cosign(struct broker_client *c, const struct note *n, struct fault *f);

// Each line of records [from, to): a record with its number, or a head signed between them (index UINT64_MAX). Not 0 ends it, and is
// returned. A broker that gives fewer records is -EPROTO.
typedef int audit_line(void *ctx, uint64_t index, const char *line, size_t len);
int audit_client_lines(struct broker_client *c, uint64_t from, uint64_t to, audit_line *each, void *ctx, struct fault *f);

// An export (audit_verify.h) of the records from `from` to this head. shown (may be NULL) is told how many were written.
int audit_client_export(struct broker_client *c, const struct note *head, uint64_t from, FILE *out,
			void (*shown)(void *ctx, uint64_t done, uint64_t total), void *ctx, struct fault *f);

#endif

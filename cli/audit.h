// SPDX-License-Identifier: Apache-2.0
// What the parts of `coffer audit` share.
#ifndef COFFER_CLI_AUDIT_H
#define COFFER_CLI_AUDIT_H

#include "broker/audit_client.h"
#include "cli/owner.h"

struct audit_options {
	struct owner owner;
	bool json;
	const char *output;
	unsigned int cosigned;
	uint64_t from;
	struct audit_trust trust;
	// list
	bool has_from;
	unsigned long limit;	// 0: all
	const char *since, *until, *event, *outcome, *resource, *peer;
	// witness
	const char *witness_key, *witness_name, *state;
	bool print_key;
};

// A public key: the text itself, or a file with it. -EINVAL.
int audit_take_key(const char *what, enum note_kind kind, struct note_key *out, struct fault *f);
int audit_take_head(struct audit_trust *t, const char *path, struct fault *f);
int audit_take_witness(struct audit_trust *t, const char *what, struct fault *f);

// audit_list.c
int audit_list(struct broker_client *c, const struct audit_options *o, struct fault *f);
int audit_show(struct broker_client *c, const struct audit_options *o, uint64_t index, struct fault *f);
// Every record, a JSON line each (`coffer policy log`).
int audit_print_all(struct broker_client *c, struct fault *f);

// audit_check.c: exit codes; a failure's message is printed
int audit_head_command(struct broker_client *c, const struct audit_options *o, struct fault *f);
int audit_prove(struct broker_client *c, const struct audit_options *o, uint64_t index, struct fault *f);
int audit_export(struct broker_client *c, const struct audit_options *o, struct fault *f);
// file NULL: the running broker's log. *exit_code is the verdict's when 0 is returned.
int audit_verify(struct broker_client *c, const char *file, const struct audit_options *o, int *exit_code, struct fault *f);

// audit_witness.c; c NULL with print_key.
int audit_witness(struct broker_client *c, const struct audit_options *o, struct fault *f);

#endif

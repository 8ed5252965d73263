// SPDX-License-Identifier: Apache-2.0
// A policy from a YAML file: what a verifier accepts beside genuineness, and rules about resources (rules.h). Strict: unknown keys are errors.
// No locks.
#ifndef COFFER_ATTEST_POLICY_FILE_H
#define COFFER_ATTEST_POLICY_FILE_H

#include "attest/policy.h"
#include "lib/fault.h"

#define POLICY_LIST_MAX 64

struct policy_file {
	struct attest_policy policy;	// points into the rest
	json_t *json;			// rules and their conditions are read there
	char measurements[POLICY_LIST_MAX][ATTEST_MEASUREMENT_HEX];
	const char *tees[POLICY_LIST_MAX + 1], *tcb_status[POLICY_LIST_MAX + 1];
	const char *tpm_keys[POLICY_LIST_MAX + 1], *cca_keys[POLICY_LIST_MAX + 1];
	const char *tpm_endorsement_keys[POLICY_LIST_MAX + 1];
	bool measured;			// the file names measurements
};

// Reads a file; NULL makes the default one: every kind of real hardware, nothing else asked. -EINVAL and where, -ENOENT...
int policy_file_read(const char *path, struct policy_file *p, struct fault *f);
// The same from text.
int policy_file_parse(const char *text, size_t len, struct policy_file *p, struct fault *f);
void policy_file_free(struct policy_file *p);

// Appends the checks that the policy asks for to a verified result.
void policy_file_appraise(const struct policy_file *p, struct attest_result *r);

#endif

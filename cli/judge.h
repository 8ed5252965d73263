// SPDX-License-Identifier: Apache-2.0
// What `coffer verify` and `coffer policy check` share: everything that a verdict about evidence in files needs, read and put together, and the
// options that name it.
#ifndef COFFER_CLI_JUDGE_H
#define COFFER_CLI_JUDGE_H

#include "attest/evidence.h"
#include "attest/policy_file.h"
#include "attest/refval.h"
#include "cli/evidence.h"
#include "cli/reference.h"

struct judge_files {
	struct evidence_files evidence;
	struct reference_files reference;
	const char *policy;	// NULL: none
	const char *at, *simulated_root, *tpm_root, *tpm_crl, *gpu_root;
};

struct judge {
	const struct judge_files *files;
	struct policy_file *policy;
	struct refval_set *references;
	struct attest_result *result;
	struct bundle bundle;
	struct cert_list simulated, gpu;
	struct cert_roots tpm;
	struct cert_revocation tpm_revocation;
	struct collateral_needs needs;
	struct evidence_input in;	// what is asked of the evidence beside that is added by the caller
};

// -errno: something cannot be read. judge_end in any case.
int judge_begin(struct judge *j, const struct judge_files *files, struct fault *f);
// Is it genuine, and does it satisfy the policy? The checks are in j->result.
enum evidence_kind judge_evidence(struct judge *j);
void judge_end(struct judge *j);

// --collateral, --event-log, --at, --tpm-root, --tpm-crl, --insecure-simulated-root, --reference, --reference-key.
#define JUDGE_OPTIONS											\
	{"collateral", required_argument, NULL, 768}, {"event-log", required_argument, NULL, 769},	\
	{"at", required_argument, NULL, 770}, {"tpm-root", required_argument, NULL, 771},		\
	{"insecure-simulated-root", required_argument, NULL, 772},					\
	{"reference", required_argument, NULL, 773}, {"reference-key", required_argument, NULL, 774},	\
	{"tpm-crl", required_argument, NULL, 775}
// Takes one of them. False: it is none, or one too many; *why says what.
bool judge_option(struct judge_files *files, int option, const char *value, const char **why);
// What is wrong with them together, or NULL.
const char *judge_options_wrong(const struct judge_files *files);

#endif

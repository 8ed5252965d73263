// SPDX-License-Identifier: Apache-2.0
// Intel's statements about platforms: TCB info (SGX versions 2 and 3, TDX version 3) and the identity of the quoting enclave, and how
// a platform's security versions become a status. Formats: Intel PCS API v4; rules: "Intel SGX/TDX DCAP Quote Verification
// Library", section 4.1.2.4. Signatures and dates are dcap_collateral.h's business. Pure; no locks.
#ifndef COFFER_ATTEST_DCAP_TCB_H
#define COFFER_ATTEST_DCAP_TCB_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "attest/dcap_quote.h"

#define TCB_COMPONENTS 16
#define TCB_MAX_LEVELS 64
#define TCB_MAX_MODULES 16

enum tcb_status {
	TCB_UNSUPPORTED,	// no level matches: nothing is known in favour of this platform
	TCB_UP_TO_DATE,
	TCB_SW_HARDENING_NEEDED,
	TCB_CONFIGURATION_NEEDED,
	TCB_CONFIGURATION_AND_SW_HARDENING_NEEDED,
	TCB_RELAUNCH_ADVISED,
	TCB_RELAUNCH_ADVISED_CONFIGURATION_NEEDED,
	TCB_OUT_OF_DATE,
	TCB_OUT_OF_DATE_CONFIGURATION_NEEDED,
	TCB_REVOKED,
};

// Intel's word for it: "UpToDate"...
const char *tcb_status_name(enum tcb_status s);

// What every level says of itself.
struct tcb_verdict {
	enum tcb_status status;
	time_t date;
	json_t *advisories;	// array of text, or NULL; borrowed by copies
};

struct tcb_level {
	int sgx[TCB_COMPONENTS], tdx[TCB_COMPONENTS], pce_svn;
	struct tcb_verdict says;
};

struct svn_level {
	int isv_svn;
	struct tcb_verdict says;
};

struct tdx_module {
	char id[8];		// "TDX_01"; "" for the one without a version
	uint8_t mrsigner[48], attributes[8], attributes_mask[8];
	struct svn_level levels[TCB_MAX_LEVELS];
	unsigned int level_count;
};

struct tcb_info {
	bool is_tdx;
	int version, evaluation;	// tcbEvaluationDataNumber
	time_t issued, next;
	uint8_t fmspc[6], pce_id[2];
	bool has_module;
	struct tdx_module module, modules[TCB_MAX_MODULES];
	unsigned int module_count;
	struct tcb_level levels[TCB_MAX_LEVELS];
	unsigned int level_count;
	json_t *json;		// owns the advisories
};

struct qe_identity {
	bool is_td;		// TD_QE
	int version, evaluation, prod_id;
	time_t issued, next;
	uint8_t misc[4], misc_mask[4], attributes[16], attributes_mask[16], mrsigner[32];
	struct svn_level levels[TCB_MAX_LEVELS];
	unsigned int level_count;
	json_t *json;
};

// What the platform's certificate (PCK) says: 1.2.840.113741.1.13.1.
struct pck_platform {
	int sgx[TCB_COMPONENTS], pce_svn;
	uint8_t cpu_svn[16], ppid[16], pce_id[2], fmspc[6], instance_id[16];
	int type;		// 0 standard, 1 scalable, 2 scalable with integrity
	bool has_instance;
	int dynamic, cached_keys, smt;	// 0, 1, or -1: not said
};

// Read the inner object's text. On success *_free later; -EINVAL and which member.
int tcb_info_read(const char *text, size_t len, struct tcb_info *t, struct fault *f);
void tcb_info_free(struct tcb_info *t);
int qe_identity_read(const char *text, size_t len, struct qe_identity *q, struct fault *f);
void qe_identity_free(struct qe_identity *q);

// Reads the extension's DER. -EINVAL.
int pck_platform_read(const uint8_t *der, size_t len, struct pck_platform *p, struct fault *f);

// The platform's whole status and what it is made of.
struct tcb_result {
	enum tcb_status status;		// all merged
	struct tcb_verdict platform, module, qe;	// status TCB_UNSUPPORTED: none matched (module: also when it is not judged apart)
	bool module_judged;
	time_t date;			// the earliest of the parts' dates
};

// `td` NULL for SGX.
void tcb_evaluate(const struct tcb_info *t, const struct qe_identity *q, const struct pck_platform *p, const struct td_report *td,
		  int qe_isv_svn, struct tcb_result *out);

// The module identity that speaks for module version tee_tcb_svn[1]; NULL when there is none.
const struct tdx_module *tcb_module_of(const struct tcb_info *t, const uint8_t tee_tcb_svn[16]);

#endif

// SPDX-License-Identifier: Apache-2.0
// What comes out of appraising evidence: claims (a JSON object; EAT and EAR names where they exist) and the list of
// all checks, failed or not, each with what was expected and what was found. No locks; one owner.
#ifndef COFFER_ATTEST_RESULT_H
#define COFFER_ATTEST_RESULT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#define ATTEST_MAX_CHECKS 64

enum attest_outcome {
	ATTEST_PASSED,
	ATTEST_FAILED,
	ATTEST_SKIPPED,		// could not be made; `found` says why. Does not count as failed.
};

struct attest_check {
	const char *id;		// the claim or step: "signature", "measurement"...; static text
	enum attest_outcome outcome;
	char expected[512];
	char found[256];
};

struct attest_result {
	json_t *claims;
	unsigned int count;
	struct attest_check checks[ATTEST_MAX_CHECKS];
};

// 0 or -ENOMEM.
int attest_result_init(struct attest_result *r);
void attest_result_free(struct attest_result *r);

// Appends a check and returns it, for the caller to fill; `outcome` is set to passed or failed.
struct attest_check *attest_check_add(struct attest_result *r, const char *id, bool passed);
__attribute__((format(printf, 2, 3))) void attest_expected(struct attest_check *c, const char *format, ...);
__attribute__((format(printf, 2, 3))) void attest_found(struct attest_check *c, const char *format, ...);

// The check "report-data": the 64 bytes expected (NULL: skipped, and said so) against those found.
void attest_check_report_data(struct attest_result *r, const uint8_t *expected, const uint8_t *found);

// The check of that name, or NULL. The first, when there are several.
const struct attest_check *attest_find(const struct attest_result *r, const char *id);

// At least one check was made and none failed.
bool attest_passed(const struct attest_result *r);

// [{"claim","expected","found"}] of the failed checks, or of all of them with "outcome"; a new reference.
json_t *attest_failures_json(const struct attest_result *r);
json_t *attest_checks_json(const struct attest_result *r);

#endif

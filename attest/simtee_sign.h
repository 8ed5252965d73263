// SPDX-License-Identifier: Apache-2.0
// Inside attest/ and its tests: the simulated chip's signing step alone, so that tests can make reports that the
// simulated hardware would never make (debug on, other TCB...).
#ifndef COFFER_ATTEST_SIMTEE_SIGN_H
#define COFFER_ATTEST_SIMTEE_SIGN_H

#include <stdint.h>

#include "attest/simtee.h"

// Fills a report as the hardware would, unsigned.
int simtee_fill(const char *dir, const uint8_t measurement[48], const uint8_t report_data[64], bool debug,
		uint8_t report[SIMTEE_REPORT_BYTES]);

// Signs bytes 0 to 0x29f and writes the signature behind them.
int simtee_sign(const char *dir, uint8_t report[SIMTEE_REPORT_BYTES]);

#endif

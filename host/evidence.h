// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "attest/simtee.h"

// A report of the simulated hardware (attest/simtee.h) by the program simulated-tee in lib_dir. The chain of certificates goes to
// chain[size], without a NUL; *chain_len: its length. 0 or a negative errno; -EIO: the program failed.
int evidence_report(const char *lib_dir, const struct simtee_request *q, uint8_t report[SIMTEE_REPORT_BYTES], char *chain, size_t size,
		    size_t *chain_len);
// The SIMULATED sealing key, by the same program.
int evidence_sealing_key(const char *lib_dir, struct simtee_request *q, uint8_t key[32]);

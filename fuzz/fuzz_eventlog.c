// SPDX-License-Identifier: Apache-2.0
// Fuzzes event logs: replay and description, by each algorithm.
#include <stdint.h>
#include <stdlib.h>

#include "attest/eventlog.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint16_t algs[] = {TPM_SHA1, TPM_SHA256, TPM_SHA384, TPM_SM3};
	struct eventlog_registers r;
	uint16_t alg = algs[size % 4];

	int err = eventlog_replay(data, size, alg, &r, NULL);
	json_t *o = eventlog_claims(data, size, alg, NULL);
	if (!err && !o)
		abort();	// what replays can be read
	json_decref(o);
	return 0;
}

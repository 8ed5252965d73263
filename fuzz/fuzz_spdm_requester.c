// SPDX-License-Identifier: Apache-2.0
// Fuzzes what a responder answers, from some point of a conversation on, also under the session's own keys. Nothing may be believed: the fuzzer does
// not have the certificate's key.
#include <stdint.h>

#include "fuzz/spdm_ends.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct ends e;
	bool all;
	int err = 0;
	if (!ends_begin(&e, &data, &size, &all))
		return 0;
	bool open = requester_open(e.requester);
	if (all && !open)
		abort();
	while (!err && ends_feed(&e, false, &data, &size, &err)) {
		buffer_clear(&e.up);
		json_decref(requester_report(e.requester));
		if (!open && (requester_open(e.requester) || requester_ended(e.requester)))
			abort();
	}
	ends_close(&e);
	return 0;
}

// SPDX-License-Identifier: Apache-2.0
// Fuzzes what a responder answers, from some point of a conversation on, also under the session's own keys. Nothing may be believed: the fuzzer does
// not have the certificate's key.
#include <stdint.h>

#include "fuzz/spdm_ends.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct ends e;
	int err = 0;
	if (!size)
		return 0;
	unsigned int turns = *data & 15;
	ends_open(&e, *data & 16);
	data++;
	size--;
	for (unsigned int i = 0; i < (turns == 15 ? 200 : turns) && ends_pass(&e, true) && ends_pass(&e, false); i++)
		;
	bool open = requester_open(e.requester);
	if (turns == 15 && !open)
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

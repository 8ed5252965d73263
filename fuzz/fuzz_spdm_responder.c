// SPDX-License-Identifier: Apache-2.0
// Fuzzes what a requester sends, from some point of a conversation on, also under the session's own keys. No session may be opened so, and every
// frame of the responder's must be one.
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
	bool open = responder_open(e.responder);
	if (all && !open)
		abort();
	buffer_clear(&e.down);
	while (!err && ends_feed(&e, true, &data, &size, &err)) {
		struct spdm_frame head;
		for (size_t at = 0; at < e.down.len; at += SPDM_FRAME_HEAD + head.len) {
			if (e.down.len - at < SPDM_FRAME_HEAD || spdm_frame_read(e.down.bytes + at, &head, NULL) ||
			    head.len > e.down.len - at - SPDM_FRAME_HEAD)
				abort();
		}
		buffer_clear(&e.down);
		if (!open && responder_open(e.responder))
			abort();
	}
	ends_close(&e);
	return 0;
}

// SPDX-License-Identifier: Apache-2.0
// Fuzzes what a requester sends, from some point of a conversation on, also under the session's own keys. No session may be opened so, and every
// frame of the responder's must be one.
#include <stdint.h>

#include "fuzz/spdm_ends.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct ends e;
	int err = 0;
	if (!size)
		return 0;
	unsigned int turns = *data & 15;	// 15 and more: all of it
	ends_open(&e, *data & 16);
	data++;
	size--;
	for (unsigned int i = 0; i < (turns == 15 ? 200 : turns) && ends_pass(&e, true) && ends_pass(&e, false); i++)
		;
	bool open = responder_open(e.responder);
	if (turns == 15 && !open)
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

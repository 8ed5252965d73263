// SPDX-License-Identifier: Apache-2.0
// An HTTP/1.1 message as a client or a server behind may send it: the first byte says which, and how long the pieces are in which content comes.
#include <stdint.h>
#include <stdlib.h>

#include "tunnel/http1.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct http1_head h;
	struct http1_content c;
	struct outbuf out = {.at = NULL};
	struct fault f;
	if (!size)
		return 0;
	const char *in = (const char *)data + 1;
	size_t at_once = 1u + (data[0] >> 2), at = http1_head_end(in, size - 1), have = at;
	if (!at)
		at = have = 0;
	int err = data[0] & 1 ? http1_response_read(&h, in, at, data[0] & 2, &f) : http1_request_read(&h, in, at, &f);
	if (err)
		return 0;
	http1_put_fields(&out, &h.fields);
	outbuf_free(&out);
	http1_content_begin(&c, &h);
	for (;;) {
		const char *piece = NULL;
		size_t used, n = 0;
		int got = http1_content_next(&c, in + at, have - at, have == size - 1, &used, &piece, &n);
		if (used > have - at || (got == HTTP1_PIECE && (!n || piece < in + at || piece + n > in + have)))
			abort();
		at += used;
		if (got == HTTP1_END || got < 0)
			break;
		if (got == HTTP1_MORE)
			have = size - 1 - have < at_once ? size - 1 : have + at_once;
	}
	return 0;
}

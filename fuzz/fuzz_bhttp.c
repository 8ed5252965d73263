// SPDX-License-Identifier: Apache-2.0
// A binary HTTP message in pieces: the first byte says whether a response is expected and how long the pieces are. What is read is written again and
// must be read as the same.
#include <stdint.h>
#include <stdlib.h>

#include "tunnel/bhttp.h"

struct sum {
	int end;
	unsigned int status, fields;
	size_t content;
};

static struct sum read_all(bool response, const uint8_t *data, size_t size, size_t at_once, struct outbuf *again)
{
	static struct bhttp_reader r;
	struct sum s = {0};
	const uint8_t *piece = NULL;
	size_t n = 0, at = 0;
	struct fault f;
	bhttp_reader_begin(&r, response);
	for (;;) {
		s.end = bhttp_reader_next(&r, &piece, &n, &f);
		if (s.end == BHTTP_HEAD) {
			struct bhttp_head *h = &r.head;
			s.status = h->status;
			for (unsigned int i = 0; i < h->fields.count; i++)
				s.fields += !http_field_of_connection(&h->fields.field[i].name);
			if (again && response)
				bhttp_put_response(again, false, h->status, &h->fields);
			else if (again)
				bhttp_put_request(again, false, &h->method, &h->scheme, &h->authority, &h->path, &h->fields);
		} else if (s.end == BHTTP_CONTENT) {
			s.content += n;
			if (again)
				bhttp_put_content(again, piece, n);
		} else if (s.end == BHTTP_MORE) {
			size_t some = size - at < at_once ? size - at : at_once;
			if (some)
				bhttp_reader_add(&r, data + at, some);
			else
				bhttp_reader_end(&r);
			at += some;
		} else {
			break;
		}
	}
	if (again)
		bhttp_put_end(again);
	bhttp_reader_free(&r);
	return s;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct outbuf again = {.at = NULL};
	if (!size)
		return 0;
	bool response = data[0] & 1;
	struct sum a = read_all(response, data + 1, size - 1, 1u + (data[0] >> 1), &again);
	if (a.end == BHTTP_END) {
		struct sum b = read_all(response, again.at, again.len, again.len, NULL);
		if (b.end != BHTTP_END || b.status != a.status || b.fields != a.fields || b.content != a.content)
			abort();
	}
	outbuf_free(&again);
	return 0;
}

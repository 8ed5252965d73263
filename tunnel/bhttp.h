// SPDX-License-Identifier: Apache-2.0
// Binary HTTP messages (RFC 9292): requests and responses, of known and of indeterminate length. The reader takes bytes as they come, so that a long
// response can be passed on before it has ended; it is strict: what RFC 9292 calls invalid is refused, and so is what could not be said in HTTP/1.1
// without changing its meaning (control characters, fields about a connection, names in capitals). Pure but for its buffer; one thread at a time; no
// locks. fuzz_bhttp.
#ifndef COFFER_TUNNEL_BHTTP_H
#define COFFER_TUNNEL_BHTTP_H

#include "lib/fault.h"
#include "tunnel/http_field.h"
#include "tunnel/outbuf.h"

#define BHTTP_MAX_HEAD (64u << 10)	// control data and fields

struct bhttp_head {
	bool response;
	struct http_text method, scheme, authority, path;	// of a request; authority may be empty
	unsigned int status;					// of a response: 200 to 599; informational ones before it are passed over
	struct http_fields fields;
};

enum bhttp_event {
	BHTTP_MORE,	// nothing before more bytes come
	BHTTP_HEAD,	// reader.head, until the next call
	BHTTP_CONTENT,	// a piece, until the next call
	BHTTP_END,	// the whole message was there, trailers included (which are checked, and dropped)
};

struct bhttp_reader {
	struct outbuf in;
	size_t at;		// of `in`, what was dealt with
	enum { BHTTP_AT_HEAD, BHTTP_AT_CONTENT, BHTTP_AT_PIECE, BHTTP_AT_TRAILER, BHTTP_AT_END } state;
	bool response, ended, known;
	uint64_t left;		// of the content's piece
	struct bhttp_head head;
};

// `response`: which of the two is expected.
void bhttp_reader_begin(struct bhttp_reader *r, bool response);
void bhttp_reader_free(struct bhttp_reader *r);
// More bytes; -ENOMEM.
int bhttp_reader_add(struct bhttp_reader *r, const void *bytes, size_t n);
// No more will come.
void bhttp_reader_end(struct bhttp_reader *r);
// The next event (enum bhttp_event); -EINVAL and why, -E2BIG. After bhttp_reader_end a message that is cut short is -EINVAL.
int bhttp_reader_next(struct bhttp_reader *r, const uint8_t **piece, size_t *len, struct fault *f);

// Writing. Names come out in lower case; fields about a connection are left out, and those that `Connection` names.
void bhttp_put_request(struct outbuf *b, bool known, const struct http_text *method, const struct http_text *scheme,
	const struct http_text *authority,
		       const struct http_text *path, const struct http_fields *fields);
void bhttp_put_response(struct outbuf *b, bool known, unsigned int status, const struct http_fields *fields);
// After it: of known length the whole content once, with its end; else pieces (an empty one is nothing), and the end.
void bhttp_put_content(struct outbuf *b, const void *bytes, size_t len);
void bhttp_put_end(struct outbuf *b);
// Zeros behind the end (section 3.8), up to a multiple of that many bytes; `before`: what of the message is in the buffer no more.
void bhttp_put_padding(struct outbuf *b, size_t before, size_t multiple);

#endif

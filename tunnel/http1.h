// SPDX-License-Identifier: Apache-2.0
// HTTP/1.1 messages (RFC 9112) with all their fields, for an intermediary that passes them on: heads, and content in either framing as it comes.
// (lib/http.h is the broker's, which knows the few fields it needs.) Strict where leniency lets two readers see different messages: no bare LF or CR,
// no folding, no white space before a colon, one framing only. Pure; no allocation; no locks. fuzz_http1.
#ifndef COFFER_TUNNEL_HTTP1_H
#define COFFER_TUNNEL_HTTP1_H

#include <stdint.h>

#include "lib/fault.h"
#include "tunnel/http_field.h"
#include "tunnel/outbuf.h"

#define HTTP1_MAX_HEAD (64u << 10)

enum http1_framing { HTTP1_NONE, HTTP1_LENGTH, HTTP1_CHUNKED, HTTP1_TO_THE_END };

struct http1_head {
	struct http_text method;	// request
	struct http_text scheme, authority, path;	// request: of an absolute target; else scheme is empty, and authority is Host's
	unsigned int status;		// response
	bool version_1_1, keep_alive, expects_continue;
	struct http_fields fields;
	enum http1_framing framing;
	uint64_t length;		// of HTTP1_LENGTH
};

// Where the head ends, with its empty line; 0: it has not come whole. It begins with `bytes`.
size_t http1_head_end(const void *bytes, size_t len);

// A whole head. `to_head`: a response to HEAD, which has no content. -EINVAL and why, -E2BIG, -EOPNOTSUPP (a transfer coding that is not "chunked").
int http1_request_read(struct http1_head *h, const char *bytes, size_t len, struct fault *f);
int http1_response_read(struct http1_head *h, const char *bytes, size_t len, bool to_head, struct fault *f);

// ---- content ----

struct http1_content {
	enum http1_framing framing;
	enum { HTTP1_AT_SIZE, HTTP1_AT_DATA, HTTP1_AT_DATA_END, HTTP1_AT_TRAILER, HTTP1_AT_END } state;
	uint64_t left;
	unsigned int trailer;		// bytes of it
};

enum http1_event { HTTP1_MORE, HTTP1_PIECE, HTTP1_END };

void http1_content_begin(struct http1_content *c, const struct http1_head *h);
// What is next in bytes that came: *used are dealt with; of HTTP1_PIECE, *piece and *n are content. `ended`: the connection is. Then -EINVAL when
// something is missing. Trailers are checked and dropped. -EINVAL, -E2BIG.
int http1_content_next(struct http1_content *c, const char *in, size_t len, bool ended, size_t *used, const char **piece, size_t *n);

// ---- writing ----

// Fields but those about a connection, about framing, Host, and Expect; each with its line end.
void http1_put_fields(struct outbuf *b, const struct http_fields *fields);
void http1_put_chunk(struct outbuf *b, const void *bytes, size_t n);	// n > 0
// "OK"
const char *http1_reason(unsigned int status);

#endif

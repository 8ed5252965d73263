// SPDX-License-Identifier: Apache-2.0
// A plain HTTP/1.1 server with a thread for each connection, for handlers that wait on other machines and answer with what comes from there as it
// comes, which the broker's server (lib/http_server.h) does not do. Bounded: connections, heads, and the time for each step; a connection that waits
// between requests makes place for a new one.
#ifndef COFFER_TUNNEL_HTTP1_SERVER_H
#define COFFER_TUNNEL_HTTP1_SERVER_H

#include "tunnel/wire.h"

#define HTTP1_SMALL (64u << 10)

struct http1_server;

// One request.
struct http1_call {
	struct wire *w;
	struct http1_head head;
	struct http1_content body;
	bool continued;		// 100 (Continue) was said, or nobody waits for it
	bool answered;		// something was sent
	bool keep;		// another request may follow: as the client wants it; a handler may clear it
};

struct http1_server_options {
	int listener;			// listening and non-blocking; taken over
	unsigned int max_connections;	// 0: 512
	size_t max_large_bytes;		// of all requests being served, what is beyond HTTP1_SMALL of each; 0: 128 MiB
	void (*handle)(void *ctx, struct http1_call *c);
	void *ctx;
};

int http1_server_start(struct http1_server **out, const struct http1_server_options *o, struct fault *f);
// Takes no new connection, ends those that wait for a request, and the others when their answer is out, after drain_ms at the latest. Then frees.
void http1_server_stop(struct http1_server *s, unsigned int drain_ms);
unsigned int http1_server_open_count(struct http1_server *s);

// ---- for handlers ----

// The request's body. -EFBIG; -ENOBUFS: too much is being sent at a time by all...
int http1_call_body(struct http1_call *c, size_t max, struct outbuf *out);
// A whole answer: `fields` are further lines, each with its end; NULL for none.
int http1_answer(struct http1_call *c, unsigned int status, const char *type, const char *fields, const void *body, size_t len);
// An answer in pieces: chunked, or of a given length (UINT64_MAX: not known), or until the end for HTTP/1.0. `fields` as outbuf's text.
int http1_answer_begin(struct http1_call *c, unsigned int status, const struct outbuf *fields, uint64_t length);
int http1_answer_piece(struct http1_call *c, const void *bytes, size_t len);
int http1_answer_end(struct http1_call *c);
// {"title": ..., "detail": ...} (RFC 9457). `type`: NULL for about:blank.
int http1_problem(struct http1_call *c, unsigned int status, const char *type, const char *detail, const char *fields);

#endif

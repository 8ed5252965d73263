// SPDX-License-Identifier: Apache-2.0
// A connection that carries HTTP/1.1, plain or in ordinary TLS, for threads that wait: each step has a deadline (monotonic milliseconds). What has
// come and is not dealt with stays in it. One thread at a time; no locks.
#ifndef COFFER_TUNNEL_WIRE_H
#define COFFER_TUNNEL_WIRE_H

#include "lib/tls.h"
#include "tunnel/http1.h"

struct wire {
	struct tls_stream s;	// s.ssl NULL: plain
	struct outbuf in;
	size_t at;		// of `in`, what was dealt with
	bool ended;
	int64_t body_deadline_ms;
};

// Takes over a connected, non-blocking socket.
void wire_begin(struct wire *w, int fd);
// To "host:port", "[::1]:port" or "unix:PATH". `tls`: NULL for a plain one; then `host` is what the certificate must be for. -ECONNREFUSED,
// -EHOSTUNREACH, -ETIMEDOUT, -EKEYREJECTED, -EINVAL...
int wire_dial(struct wire *w, const char *where, SSL_CTX *tls, int64_t deadline_ms, struct fault *f);
// Nothing has come on it, and it has not ended: it may be used again.
bool wire_idle(struct wire *w);
void wire_close(struct wire *w);

int wire_write(struct wire *w, const void *bytes, size_t len, int64_t deadline_ms);

// Waits for a whole head, which lies in *head until the next call. -ENODATA: the connection ended before anything came; -ECONNRESET: within a head;
// -ETIMEDOUT; -E2BIG. `first_ms`: until when its first byte must have come.
int wire_head(struct wire *w, int64_t first_ms, int64_t deadline_ms, const char **head, size_t *len);

// Content, piece by piece: HTTP1_PIECE (valid until the next call), HTTP1_END, or an error. From wire_body_begin on it may take that long, and
// a second more for each 16 KiB.
#define WIRE_BODY_MS 30000
void wire_body_begin(struct wire *w, unsigned int ms);
int wire_body(struct wire *w, struct http1_content *c, const char **piece, size_t *n);
// All of it. -EFBIG: more than `max`.
int wire_body_all(struct wire *w, struct http1_content *c, size_t max, struct outbuf *out);

#endif

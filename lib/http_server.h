// SPDX-License-Identifier: Apache-2.0
// A small HTTPS server: one thread a connection, bounded in number, each step under a deadline. A client that is slow
// or silent holds one place and gives it up when others need it; it never delays them.
// Ignore SIGPIPE in the process that uses it.
#ifndef COFFER_LIB_HTTP_SERVER_H
#define COFFER_LIB_HTTP_SERVER_H

#include <openssl/ssl.h>
#include <stddef.h>

#include "lib/fault.h"
#include "lib/http.h"

struct caller;

struct http_request {
	const struct http_head *head;
	const char *body;	// head->content_length bytes and a NUL
	size_t body_len;
	X509 *certificate;	// that the client showed, and whose key it has; checked for nothing else. NULL: none
};

struct http_response {
	const char *peer;		// whom it goes to: a numeric address; set by the server
	const struct caller *caller;	// the handler's own: who that is
	int status;			// 200 unless set
	const char *content_type;	// "application/json" unless set
	char *body;			// malloc; the server wipes and frees it
	size_t body_len;
	char set_cookie[256];		// value of Set-Cookie, or ""
	char *headers;			// malloc, freed by the server: further lines, each ended by \r\n; or NULL
};

struct http_server_options {
	const char *address;		// numeric IPv4 or IPv6 address
	unsigned int port;		// 0: any free one
	SSL_CTX *tls;			// stays the caller's
	unsigned int max_connections;	// 0: 128
	unsigned int max_body_bytes;	// 0: 1 MiB
	unsigned int io_timeout_ms;	// for a handshake, and for one whole request; 0: 10000
	unsigned int idle_timeout_ms;	// between requests of a connection; 0: 15000
	// Called from connection threads, many at a time.
	void (*handle)(void *ctx, const struct http_request *request, struct http_response *response);
	void *ctx;
};

struct http_server;

// Listens and serves in threads of its own. -EADDRINUSE, -EACCES, -EINVAL...
int http_server_start(struct http_server **out, const struct http_server_options *o, struct fault *f);
unsigned int http_server_port(const struct http_server *s);
// Takes no new connection, lets requests in hand end, then frees everything.
void http_server_stop(struct http_server *s);

#endif

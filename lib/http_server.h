// SPDX-License-Identifier: Apache-2.0
// A small HTTPS server for many connections: a few threads share one epoll set; whichever is free takes the connection that can go on
// (http_conn.c). A connection costs memory but no thread, and each of its steps has a deadline, so that a client that is slow or silent holds one
// place and nothing else; it gives the place up when others need it. Ignore SIGPIPE in the process that uses it.
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
	struct caller *caller;		// the handler's own: who that is
	int status;			// 200 unless set
	const char *content_type;	// "application/json" unless set
	char *body;			// malloc; the server wipes and frees it
	size_t body_len;
	char set_cookie[256];		// value of Set-Cookie, or ""
	char *headers;			// malloc, freed by the server: further lines, each ended by \r\n; or NULL
};

// Zeros stand for the numbers in brackets.
struct http_server_options {
	const char *address;		// numeric IPv4 or IPv6 address
	unsigned int port;		// 0: any free one
	int listener;			// instead of both: a socket that listens already, non-blocking, which is taken over; 0: none
	SSL_CTX *tls;			// the server keeps a reference; NULL: plain HTTP
	unsigned int max_connections;	// [1024]
	unsigned int max_per_peer;	// of one address (IPv6: of one /64) [256]
	unsigned int max_body_bytes;	// [1 MiB]
	unsigned int max_large_bytes;	// of all requests being read, what is beyond HTTP_SMALL_REQUEST of each; one peer has half of it [16 MiB]
	unsigned int io_timeout_ms;	// for a handshake, for one whole request, and for taking the answer [10000]
	unsigned int idle_timeout_ms;	// between requests of a connection [15000]
	unsigned int workers;		// requests served at a time [16]
	// Called from the server's threads, as many at a time as there are workers: who waits in it keeps one of them.
	void (*handle)(void *ctx, const struct http_request *request, struct http_response *response);
	void *ctx;
};

#define HTTP_SMALL_REQUEST (64u << 10)

struct http_server_counts {
	unsigned int open;
	unsigned long accepted, over_peer_limit, made_room, timed_out, bad_handshakes, bad_requests;
};

struct http_server;

// Listens and serves in threads of its own. Raises this process's limit of open files as far as it must and may, or takes fewer connections.
// -EADDRINUSE, -EACCES, -EINVAL...
int http_server_start(struct http_server **out, const struct http_server_options *o, struct fault *f);
unsigned int http_server_port(const struct http_server *s);
// Connections from now on have this context (another reference); those that are open keep theirs.
void http_server_use_tls(struct http_server *s, SSL_CTX *tls);
void http_server_counts(struct http_server *s, struct http_server_counts *out);
// Takes no new connection, lets requests that have arrived end (for io_timeout_ms at most, besides what handlers take), then frees everything.
void http_server_stop(struct http_server *s);
// The first half of that: *s can still be counted and asked for its port, and is stopped later.
void http_server_drain(struct http_server *s);

#endif

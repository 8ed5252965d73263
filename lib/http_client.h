// SPDX-License-Identifier: Apache-2.0
// A small HTTPS client: one connection, kept between requests. Fit for static linking: names are looked up by a
// function that the caller chooses. One thread at a time. Ignore SIGPIPE in the process that uses it.
#ifndef COFFER_LIB_HTTP_CLIENT_H
#define COFFER_LIB_HTTP_CLIENT_H

#include <netinet/in.h>
#include <openssl/x509.h>
#include <stdbool.h>
#include <stddef.h>

#include "lib/fault.h"

#define HTTP_MAX_REPLY (1u << 20)

union http_address {
	struct sockaddr sa;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
};

// Fills at most `max` addresses (ports too) of `host`; their number, or -errno with a message.
typedef int http_resolver(const char *host, const char *port, union http_address *out, int max, struct fault *f);

// Numeric addresses, "localhost", and names in /etc/hosts; no DNS, no NSS.
http_resolver http_resolve_static;
// Everything that getaddrinfo knows (resolve.c: not for static programs).
http_resolver http_resolve_system;

struct http_client_options {
	const char *url;	// https://host[:port][/prefix]; or several, with commas between: servers that know the same
	const char *ca_pem;	// certificates to trust
	const char *name;	// the name that a certificate which is not pinned must carry; NULL: pinned only
	X509 *certificate;	// shown to the server, with its key; NULL: none. Both stay the caller's
	EVP_PKEY *key;
	http_resolver *resolve;
	int timeout_ms;		// for connecting, and for each request
};

struct http_reply {
	int status;
	char *body;		// malloc, a NUL behind it; http_reply_free wipes it
	size_t body_len;
	char cookie[512];	// the first Set-Cookie, or ""
	unsigned int retry_after_s;	// of Retry-After in seconds; 0: none
	int64_t date_s;		// of Date, in seconds since 1970; 0: none
};

struct http_client;

// Checks options and copies them; connects at the first request. -EINVAL.
int http_client_open(struct http_client **out, const struct http_client_options *o, struct fault *f);

// One request. Of several servers, the one that answered last, or the next that can be reached; a GET that is cut short is asked of the next,
// another method's request is not made twice. `headers` are extra lines, each ended by \r\n, or "". `body` NULL for none.
// -ECONNREFUSED, -EHOSTUNREACH, -ETIMEDOUT..., -EKEYREJECTED, -EPROTO; 0 with any status code.
int http_client_request(struct http_client *c, const char *method, const char *path, const char *headers,
			const char *body, size_t body_len, struct http_reply *reply, struct fault *f);
void http_reply_free(struct http_reply *r);
// Of several servers: how many, and that the next request goes to the next of them.
unsigned int http_client_servers(const struct http_client *c);
void http_client_next(struct http_client *c);
void http_client_close(struct http_client *c);

#endif

// SPDX-License-Identifier: Apache-2.0
// HTTP/1.1 messages (RFC 9112), the part that server and client share: a strict, bounded parser of message heads.
// Not accepted: line folding, bare LF or CR, transfer codings, repeated Content-Length, requests of HTTP/1.1 without Host or with two. No
// allocation, no locks.
#ifndef COFFER_LIB_HTTP_H
#define COFFER_LIB_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HTTP_MAX_HEAD (16u << 10)
#define HTTP_MAX_TARGET 1024
#define HTTP_MAX_HOST 300
#define HTTP_MAX_VALUE 12288	// attestation result tokens are long

struct http_head {
	char method[16];		// request: "GET"
	char path[HTTP_MAX_TARGET];	// request: without the query, not decoded; starts with '/'
	char query[HTTP_MAX_TARGET];	// request: behind '?', or ""
	int status;			// reply: 200
	size_t content_length;
	bool has_length;
	bool has_host, version_1_1;	// request
	bool keep_alive;
	unsigned int retry_after_s;	// reply: Retry-After in seconds, a week at most; 0: none, or a date
	int64_t date_s;			// reply: Date, in seconds since 1970; 0: none that can be read
	bool expects_continue;		// "Expect: 100-continue"
	char authorization[HTTP_MAX_VALUE];
	char cookie[HTTP_MAX_VALUE];	// request: Cookie; reply: the first Set-Cookie
	// Each at most once in a message, "" when it is not there.
	char host[HTTP_MAX_HOST], origin[HTTP_MAX_HOST];
	char content_digest[256], signature_input[1024], signature[256];
};

// The length of the head in `bytes` including the empty line, 0 when it is not complete yet.
size_t http_head_length(const char *bytes, size_t len);

// Parses a complete head of `len` bytes. 0, -EINVAL malformed, -E2BIG something is too long, -EOPNOTSUPP a transfer
// coding. `reply` chooses status line or request line.
int http_parse_head(struct http_head *h, const char *bytes, size_t len, bool reply);

// The value of one cookie in a Cookie header; false when it is not there or does not fit.
bool http_cookie(const char *header, const char *name, char *out, size_t size);

struct http_url {
	char host[256];		// without the brackets of an IPv6 address
	char port[6];
	char prefix[256];	// "" or "/path", without a slash at its end
	bool ipv6;
};

// "https://host[:port][/prefix]". -EINVAL for anything else.
int http_parse_url(struct http_url *u, const char *url);

#endif

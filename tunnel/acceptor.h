// SPDX-License-Identifier: Apache-2.0
// What the ways in share among themselves (accept.c, socks.c, http_proxy.c, transparent.c). Others include accept.h. No locks.
#ifndef COFFER_TUNNEL_ACCEPTOR_H
#define COFFER_TUNNEL_ACCEPTOR_H

#include "tunnel/accept.h"

#define ACCEPT_OUT ACCEPT_LAST_WORDS		// the longest answer to a client that is not a message of the far side
#define ACCEPT_USER 256

enum socks_stage { SOCKS_GREETING, SOCKS_PASSWORD, SOCKS_REQUEST };

struct proxy_message;	// http_proxy.c: a request that is forwarded, and its response

struct acceptor {
	const struct accept_options *o;
	enum accept_step step;
	struct target target;
	const char *reason;	// never of the client's making
	char user[ACCEPT_USER];
	uint8_t out[ACCEPT_OUT];	// [out_at, out_len) is to be sent
	size_t out_at, out_len;
	enum socks_stage socks;
	uint64_t ticket;	// ACCEPT_HOOK: what the hook knows the connection by, once it is known
	bool told;
	size_t scanned;		// HTTP: how much of the input has no end of the head
	bool head_request;	// HTTP: HEAD, whose answer has no content
	struct proxy_message *http;	// NULL: bytes pass as they are
};

// Appends to what is to be sent; there is always room for what one step says.
void accept_say(struct acceptor *a, const void *bytes, size_t n);
enum accept_step accept_refuse(struct acceptor *a, const char *reason);

enum accept_step socks_input(struct acceptor *a, const uint8_t *bytes, size_t n, size_t *used);
enum accept_step socks_connected(struct acceptor *a, int error, const struct sockaddr *bound);

enum accept_step proxy_input(struct acceptor *a, const uint8_t *bytes, size_t n, size_t *used);
enum accept_step proxy_connected(struct acceptor *a, int error);
int proxy_up(struct proxy_message *m, const uint8_t *in, size_t n, size_t *used, uint8_t *out, size_t size, size_t *made);
int proxy_down(struct proxy_message *m, const uint8_t *in, size_t n, size_t *used, uint8_t *out, size_t size, size_t *made);
size_t proxy_down_end(struct proxy_message *m, uint8_t *out);
void proxy_message_free(struct proxy_message *m);

#endif

// SPDX-License-Identifier: Apache-2.0
// Inside ratls/: the insides of contexts and connections, for context.c, connection.c, peer.c and the fuzz target.
#ifndef COFFER_RATLS_CONNECTION_H
#define COFFER_RATLS_CONNECTION_H

#include <openssl/ssl.h>
#include <pthread.h>

#include "ratls/exchange.h"

#define RATLS_STASH_MAX (256u << 10)	// data that came while the program only wrote
#define RATLS_SESSIONS 16

struct ratls_context {
	unsigned int refs;		// its owner's, and each connection's
	struct self *self;
	struct judge *judge;		// NULL: no evidence is asked for
	SSL_CTX *server, *client;
	enum ratls_session session;
	unsigned int renew_s, answer_s;
	bool ordinary, any_server;	// ca_file; insecure_any_server
	bool resume;
	pthread_mutex_t lock;		// of what follows
	struct {
		char *name;
		SSL_SESSION *session;
	} sessions[RATLS_SESSIONS];	// of a client, for resumption
	unsigned int next;
};

enum ratls_phase { RATLS_TLS, RATLS_PROOF, RATLS_OPEN };

struct ratls_connection {
	struct ratls_context *ctx;
	SSL *ssl;
	int fd;
	bool server;
	char *name;
	enum ratls_phase phase;
	bool offered, framed, peer_verifies;	// of the TLS extension
	struct verdict *verdict;	// about the peer's certificate
	int64_t renew_at_ms;		// without frames: when it is judged again
	struct exchange_state x;

	// What came: a head, and how much of its frame is left.
	uint8_t head[FRAME_HEAD];
	unsigned int head_len;
	struct frame in;
	uint32_t left;
	uint8_t *message;		// of a frame that is not data
	uint8_t *stash;
	size_t stash_len, stash_pos;
	bool ended, end_sent;		// by the peer; by us
	int64_t drained_ms;		// when all that had come was read last
	uint64_t since_challenge;	// bytes of data since then
	// What is to be sent, in front of anything else.
	uint8_t *out;
	size_t out_len, out_pos, out_size;

	int failed;			// a negative errno, for good
	bool want_write;
	char *peer_json;
	struct fault reason;
};

struct ratls_context *context_ref(struct ratls_context *ctx);

// What is known of the peer (peer.c); malloc'ed, NULL without memory.
char *peer_describe(const struct ratls_connection *c);

#endif

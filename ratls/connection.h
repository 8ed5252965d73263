// SPDX-License-Identifier: Apache-2.0
// Inside ratls/: the insides of contexts and connections, for context.c, connection.c, stream.c, peer.c and tests.
#ifndef COFFER_RATLS_CONNECTION_H
#define COFFER_RATLS_CONNECTION_H

#include <openssl/ssl.h>
#include <pthread.h>

#include "ratls/exchange.h"
#include "ratls/layer.h"
#include "ratls/wire.h"

#define RATLS_STASH_MAX (256u << 10)	// data that came while the program only wrote
#define RATLS_SESSIONS 16

struct ratls_context {
	unsigned int refs;		// its owner's, each connection's, each piece of work's
	struct self *self;
	struct judge *judge;		// NULL: no evidence is asked for
	SSL_CTX *server, *client;
	enum ratls_session session;
	unsigned int renew_s, answer_s;
	bool ordinary, any_server;	// ca_file; insecure_any_server
	bool resume, defer;
	bool openssl_records;		// by tests: OpenSSL keeps the record layer, as where sessions may be resumed
	char **alpn;			// up to NULL; and as TLS has them, each behind its length
	unsigned char *alpn_wire;
	unsigned int alpn_len;
	pthread_mutex_t lock;		// of what follows
	struct {
		char *name;
		SSL_SESSION *session;
	} sessions[RATLS_SESSIONS];	// of a client, for resumption
	unsigned int next;
};

// As OpenSSL tells them.
struct secrets {
	uint8_t of_client[RECORD_SECRET_MAX], of_server[RECORD_SECRET_MAX];
	size_t client_len, server_len;
};

enum ratls_phase {
	RATLS_BEGIN,		// this side's certificate is being made (deferred)
	RATLS_TLS,
	RATLS_CHECK,		// the peer's certificate is being judged (deferred, or a resumed session's)
	RATLS_PROOF,
	RATLS_OPEN,
};

struct ratls_connection {
	struct ratls_context *ctx;
	SSL *ssl;
	BIO *wire;			// where records go: the SSL's, then the layer's
	struct layer *layer;		// behind the handshake; NULL: records are OpenSSL's
	struct secrets *secrets;	// of the application's traffic, from the handshake until the layer has them
	int fd;
	enum ratls_phase phase;
	char *name;
	bool server;
	bool framed, peer_verifies;	// of the TLS extension
	bool ended, ended_told, end_sent;	// by the peer, and the program knows; by us
	bool shut;			// without frames: and TLS has said so
	bool gone;			// nothing more can come
	bool starved;			// OpenSSL has no whole record left
	bool want_write;
	struct ratls_work *work;	// under way, or to be taken; NULL: none
	int64_t work_by_ms;		// when it must be done; 0: it need not
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
	int64_t drained_ms;		// when all that had come was read last
	int64_t looked_ms;		// when it was looked at last by a writer
	uint64_t since_challenge;	// bytes of data since then
	// What is to be sent, in front of anything else.
	uint8_t *out;
	size_t out_len, out_pos, out_size;

	int failed;			// a negative errno, for good
	char *peer_json;
	char peer_digest[65];		// of its certificate, which OpenSSL has no longer; "": it has
	uint8_t *peer_der;		// that, if it is needed again
	int peer_der_len;
	struct fault *reason;		// NULL: there is none
};

struct ratls_context *context_ref(struct ratls_context *ctx);
// Wipes them.
void context_forget_secrets(struct ratls_connection *c);
// Looks at the peer's certificate, an ordinary one, of a resumed session.
int context_check_ordinary(struct ratls_connection *c);

// ---- connection.c: what is due ----

// Does what is: takes up work, asks for proofs, cuts off. *overdue: the peer's proof is, and its answer may still lie before us.
int connection_tick(struct ratls_connection *c, bool *overdue);
// Work that has come up, NULL when there was no memory: done here and now, or left for others. 0, or what the connection is lost by.
int connection_begin_work(struct ratls_connection *c, struct ratls_work *w);
// Tells the peer and loses the connection: -EKEYREJECTED.
int connection_cut_off(struct ratls_connection *c, const char *to_peer, const char *why);
// Waits for events of poll(2), until the deadline and for no longer than something is due. 0: something may have changed; -EAGAIN: the time is over.
int connection_wait(struct ratls_connection *c, short events, int64_t deadline);
int64_t connection_deadline(int timeout_ms);

// ---- stream.c: bytes ----

// Remembers what the connection was lost by, the first time; returns err.
int connection_lose(struct ratls_connection *c, int err);
int connection_lose_by(struct ratls_connection *c, int err, const struct fault *why);
// Where the words go; NULL without memory.
struct fault *connection_reason(struct ratls_connection *c);
// After a call of OpenSSL's that did not succeed: -EAGAIN, 0 the peer's goodbye, or what the connection was lost by.
int connection_trouble(struct ratls_connection *c, int ret, bool writing);
// For exchange.h: whole frames, behind each other; flushed by who called.
int connection_send_frame(void *c, enum frame_type type, const void *bytes, size_t len);
int connection_flush(struct ratls_connection *c);
// Reads up to the program's next bytes: 1 they come next (c->left of them, where there are frames), 0 none will come, -EAGAIN.
int connection_advance(struct ratls_connection *c);
// A challenge or a proof has come that waits for other work: nothing behind it is read.
bool connection_is_blocked(const struct ratls_connection *c);
bool connection_has_to_send(const struct ratls_connection *c);
// There is room for data that the program does not read yet.
bool connection_can_keep(const struct ratls_connection *c);

// What is known of the peer (peer.c); malloc'ed, NULL without memory.
char *peer_describe(const struct ratls_connection *c);

#endif

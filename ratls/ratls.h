// SPDX-License-Identifier: Apache-2.0
// Attested TLS: TLS 1.3 connections whose far end has proved which enclave it is (docs/ra-tls.md). The public header of libcoffer-ratls; needs no
// other header of Coffer's. Link with -lcoffer-ratls -lssl -lcrypto -lhogweed -lnettle -lgmp -ljansson -lyaml -lpthread.
//
// Each side may prove itself (attest), ask for proof (verify), both, or neither. A zeroed struct ratls_options proves nothing and asks nothing: no
// client is made with it (it must know whom it means), and a server with it is one for whoever comes, and for clients that ask for no proof.
//
//	struct ratls_options o = {.verify = true, .policy_file = "policy.yaml", .collateral_dir = "collateral"};
//	struct ratls_error e;
//	struct ratls_context *ctx;
//	struct ratls_connection *c;
//	if (ratls_context_new(&ctx, &o, &e) || ratls_connect(&c, ctx, fd, "db.example", &e) || ratls_handshake(c, 10000))
//		...
//	ratls_write(c, "hello\n", 6, -1);
//	ratls_close(c, 1000);
//
// A context may be shared by threads. A connection belongs to one thread at a time. Ignore SIGPIPE in the process that uses this.
//
// A verifier cuts off who does not answer its challenges, and they are answered within ratls_read and ratls_write (ratls_handshake, ratls_end): a
// program that calls none of them for the peer's answer_seconds is cut off, and so is one that leaves more unread than is kept for it (256 KiB) for
// so long.
//
// Functions return 0 (or a count) or a negative errno:
//	-EAGAIN        would wait longer than it may: see ratls_wants; with `defer`, or there is work to be done: see ratls_work_take
//	-EKEYREJECTED  the peer was refused: ratls_reason and ratls_peer say why
//	-EACCES        the peer refused this side
//	-ECONNRESET    the connection was cut: what came before is whole, and something may be missing
//	-EPROTO        the peer does not speak TLS 1.3, or broke the protocol
//	-EPIPE         this side has ended the connection already
#ifndef COFFER_RATLS_RATLS_H
#define COFFER_RATLS_RATLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

struct ratls_context;
struct ratls_connection;

struct ratls_error {
	char text[1024];
};

// Proof that is made in the connection, over the session's keys and a nonce of the verifier, after the handshake and again from time to time. Beside it, a
// certificate alone says that its key was in an enclave once.
enum ratls_session {
	RATLS_SESSION_REQUIRED,	// a peer that cannot is refused: others than Coffer's
	RATLS_SESSION_WANTED,	// where the peer can as well
	RATLS_SESSION_OFF,	// certificates alone: what other implementations of RA-TLS have
};

// What a collector gives.
struct ratls_evidence {
	unsigned char *bytes;	// malloc'ed; a report or quote as the hardware makes it
	size_t len;
	char *certificates;	// malloc'ed PEM that belongs to it; NULL: none
};

// Texts and files are read by ratls_context_new and not needed afterwards, unless it says otherwise. NULL or 0: not given, or the default.
struct ratls_options {
	// ---- what this side shows ----
	bool attest;		// evidence of what this runs on (a confidential machine, an enclave), about a key that is made for it
	// Asks the hardware for evidence over these data; 0 or a negative errno. NULL: as the machine's kernel offers it. Calls come one at a time.
	int (*collect)(void *ctx, const uint8_t report_data[64], struct ratls_evidence *out);
	void *collect_ctx;
	bool endorse;		// sends collateral of collateral_dir along, for verifiers that have none (SGX, TDX)
	const char *token_file;	// instead of evidence of its own: a broker's token (EAR) about the key of key_file. Read anew whenever it is needed
	const char *key_file;	// PEM, not readable by others; NULL: a new P-256 key that never leaves memory
	const char *certificate_file;	// an ordinary certificate (PEM, with its chain) of that key, of a side that does not attest
	const char *subject;	// the made certificate's name; NULL: "coffer"
	unsigned int certificate_seconds;	// how long a made certificate is good; 86400. It is made anew when half of it has passed

	// ---- what it asks of the peer ----
	bool verify;		// evidence, or a token
	const char *policy_file;	// YAML (docs/attestation.md)
	const char *const *measurements;	// hex, up to NULL: one of these, beside what the policy file says
	bool any_measurement;	// whatever runs there: without it the policy must name measurements
	const char *collateral_dir;	// a folder of `coffer collateral`; looked at anew at each verification
	const char *tpm_roots_file;	// certificates of makers of TPMs (PEM)
	const char *token_keys_file;	// the broker's keys (JWKS): tokens that they signed will do instead of evidence
	const char *peer_token_file;	// a token about the peer's key that came another way; read when it is needed
	const char *insecure_simulated_root;	// PEM: evidence under this root is accepted, as "simulated"
	bool insecure_accept_debug;	// enclaves that their host can look into
	const char *ca_file;	// instead of attestation: ordinary certificates under these (PEM), with the name given to ratls_connect
	bool insecure_any_server;	// for clients: encrypts to whoever answers
	int64_t at;		// judges as at this time (seconds since 1970) instead of now

	// ---- how ----
	enum ratls_session session;
	unsigned int renew_seconds;	// how long one proof is good; 300. Then the peer proves itself anew, or is cut off
	unsigned int answer_seconds;	// how long it may take for that; 30
	unsigned int cache_seconds;	// how long the verdict about one certificate's exact bytes is kept; 60. Good ones only
	bool no_cache;
	bool resume;		// TLS sessions may be resumed; the peer's certificate is judged again all the same
	// Names of protocols (RFC 7301), the dearest first, up to NULL: a client offers them, a server takes the first of its own that is offered.
	// Who offers or chooses none of them is served all the same: ratls_alpn says what was agreed, and a program that needs it ends the
	// connection.
	const char *const *alpn;
	// For event loops: no call blocks on collecting evidence or on judging it: see ratls_work_take.
	bool defer;
};

// *out: ratls_context_free. Its connections may live on. -EINVAL and what is wrong.
int ratls_context_new(struct ratls_context **out, const struct ratls_options *o, struct ratls_error *e);
void ratls_context_free(struct ratls_context *ctx);

// A connection over a connected stream socket, which is taken over in every case; nothing is sent yet. `name`: for the server's choice of a certificate
// (SNI) and, with ca_file, what the server's certificate must be for; NULL: none. Makes this side's certificate anew when it is due.
int ratls_accept(struct ratls_connection **out, struct ratls_context *ctx, int fd, struct ratls_error *e);
int ratls_connect(struct ratls_connection **out, struct ratls_context *ctx, int fd, const char *name, struct ratls_error *e);

// Whatever follows takes the longest time that it may wait: -1 for ever, 0 not at all (the socket should be non-blocking then).
// The TLS handshake with all proofs. Until it has returned 0 nothing of the program's is sent, and nothing is received.
int ratls_handshake(struct ratls_connection *c, int timeout_ms);
// At least one byte; 0: the peer has ended its side. Answers the peer's challenges and sends ours meanwhile.
ssize_t ratls_read(struct ratls_connection *c, void *buf, size_t size, int timeout_ms);
// How much was taken; all of it unless time ran out. Does what ratls_read does besides, but for delivering. Large writes (64 KiB and more) cost least.
ssize_t ratls_write(struct ratls_connection *c, const void *buf, size_t len, int timeout_ms);
// No more will be written: the peer's ratls_read returns 0. Reading goes on. -EAGAIN: what is left to be sent goes out in later calls, of any
// function.
int ratls_end(struct ratls_connection *c, int timeout_ms);
// Says goodbye, closes the descriptor and frees. NULL is fine. 0: the peer got all. Of a peer that was refused: waits until it has gone, or it might not learn why.
int ratls_close(struct ratls_connection *c, int timeout_ms);

// For event loops: what poll(2) should wait for (POLLIN, POLLOUT; 0: neither, and not for its end), and in how many milliseconds something is due at
// the latest (-1: nothing is; `timeout_ms` may be NULL). Then ratls_handshake or ratls_read is to be called, also when nothing came: it keeps the time of
// proofs. Who has no room for data calls ratls_write with no bytes instead: challenges are answered, and data are kept for later (POLLIN is not wanted when
// no more can be). POLLOUT is about what the library has left to send: who waits with bytes of its own adds it. *ready: ratls_read would not wait, whatever
// poll says. Ask anew after each call.
short ratls_wants(const struct ratls_connection *c, int *timeout_ms, bool *ready);
int ratls_fd(const struct ratls_connection *c);

// ---- deferred work: contexts with `defer` ----
//
// Hardware may take tens of milliseconds for evidence, and verification a few. With `defer` the calls above never do either: where they cannot go on
// without, they return -EAGAIN (whatever time they were given), and the work waits to be taken. Data go on passing while a proof is renewed.
//
//	n = ratls_read(c, buf, size, 0);			// or ratls_handshake, ratls_write, ratls_end, ratls_attest_again
//	if ((w = ratls_work_take(c)))
//		queue(helpers, w, me);				// a helper: ratls_work_run(w); then tells the owner, say by an eventfd,
//								// which calls ratls_handshake or ratls_read again
//
// Who may do what, when:
// - ratls_work_take is the owner's, like all that takes a connection. To be called after each call that may have made work: all but ratls_wants,
//   ratls_fd, ratls_alpn, ratls_peer, ratls_reason. A connection has one piece of work at a time: no more is given before that one is run and the
//   owner has called again.
// - ratls_work_run is for any thread, without a lock, exactly once for each piece. It touches nothing of the connection: the owner may use it
//   meanwhile, and may close it (the result is dropped then). It keeps the context alive. Afterwards `w` is gone.
// - When it has returned, the owner must hear of it and call ratls_handshake (until that has returned 0) or ratls_read; nothing shows at the
//   descriptor.
// - Work that waits for longer than answer_seconds costs the connection, as the peer's silence would: -EKEYREJECTED, "not judged in time".
// What stays in line: the TLS handshake's own signatures, reading of a token_file, ordinary certificates (ca_file), verdicts that are kept
// (cache_seconds). With `defer` a peer whose certificate is refused learns so by a verdict in the session, or, if it speaks none, by a cut, not by
// TLS's alert.
struct ratls_work;
// NULL: there is none.
struct ratls_work *ratls_work_take(struct ratls_connection *c);
void ratls_work_run(struct ratls_work *w);

// The protocol that was agreed on (alpn), "" when none was; known when ratls_handshake has returned 0. Valid as long as the connection.
const char *ratls_alpn(const struct ratls_connection *c);

// Asks the peer for a proof now, without waiting for it: later calls do, and cut it off when none comes.
int ratls_attest_again(struct ratls_connection *c);

// What is known of the peer, as JSON: verdict (accepted, refused, not asked), model (background-check, passport, x509, none), session (whether it is proved
// and how often), claims, checks (of a proof in the session that passed: which), tls. Valid until the next call of any function with this connection.
const char *ratls_peer(struct ratls_connection *c);
// Why the last function failed, in words. "" when none did.
const char *ratls_reason(const struct ratls_connection *c);

#ifdef __cplusplus
}
#endif

#endif

// SPDX-License-Identifier: Apache-2.0
// Connections: the handshake, the program's bytes, and proofs between them. Every call does what is due first: a peer whose proof is overdue gets nothing.
// One thread at a time; no locks.
#include "ratls/connection.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <fcntl.h>

#include "lib/tls.h"

#define RECORD 16384
#define FRAME_DATA_MAX (8 * RECORD - FRAME_HEAD)	// of one that we send: eight full records
#define OUT_MAX (1u << 20)	// of frames that the peer does not take
#define LATE_DATA (64u << 20)	// behind a challenge: more than any buffers on the way hold

// ---- beginning ----

static int resume_session(struct ratls_connection *c)
{
	struct ratls_context *ctx = c->ctx;
	int ok = 1;
	if (!ctx->resume || !c->name)
		return 0;
	pthread_mutex_lock(&ctx->lock);
	for (unsigned int i = 0; i < RATLS_SESSIONS; i++) {
		if (ctx->sessions[i].name && ctx->sessions[i].session && !strcmp(ctx->sessions[i].name, c->name)) {
			ok = SSL_set_session(c->ssl, ctx->sessions[i].session);
			SSL_SESSION_free(ctx->sessions[i].session);	// each serves once, so that nobody sees who comes again
			ctx->sessions[i].session = NULL;
		}
	}
	pthread_mutex_unlock(&ctx->lock);
	return ok == 1 ? 0 : -ENOMEM;
}

static bool set_name(struct ratls_connection *c, const char *name)
{
	unsigned char address[16];
	bool ip = inet_pton(AF_INET, name, address) == 1 || inet_pton(AF_INET6, name, address) == 1;
	if (!(c->name = strdup(name)) || (!ip && SSL_set_tlsext_host_name(c->ssl, name) != 1))
		return false;
	X509_VERIFY_PARAM *p = SSL_get0_param(c->ssl);
	return !c->ctx->ordinary || (ip ? X509_VERIFY_PARAM_set1_ip_asc(p, name) : X509_VERIFY_PARAM_set1_host(p, name, 0)) == 1;
}

static int open_connection(struct ratls_connection **out, struct ratls_context *ctx, int fd, bool server, const char *name, struct fault *f)
{
	struct ratls_connection *c = calloc(1, sizeof *c);
	int flags = fcntl(fd, F_GETFL), err = 0;
	*out = NULL;
	if (!c) {
		close(fd);
		return fault_set(f, -ENOMEM, "out of memory");
	}
	*c = (struct ratls_connection){.ctx = context_ref(ctx), .fd = fd, .server = server, .ssl = SSL_new(server ? ctx->server : ctx->client)};
	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
		err = fault_errno(f, errno, "the descriptor %d cannot be used", fd);
	else if (!c->ssl || SSL_set_fd(c->ssl, fd) != 1 || SSL_set_app_data(c->ssl, c) != 1 || (name && !set_name(c, name)))
		err = fault_set(f, -ENOMEM, "out of memory, or '%.200s' is no name", name ? name : "");
	else if (!server && !ctx->judge && !ctx->ordinary && !ctx->any_server)
		err = fault_set(f, -EINVAL, "a client must know whom it speaks to: verify (with a policy), ca_file, or insecure_any_server");
	else if (!server && ctx->ordinary && !name)
		err = fault_set(f, -EINVAL, "an ordinary certificate is for a name: which?");
	if (!err)
		err = self_show(ctx->self, c->ssl, server, f);
	if (!err && (err = resume_session(c)))
		fault_set(f, err, "out of memory");
	if (err) {
		ratls_close(c, 0);
		return err;
	}
	// Not every descriptor is TCP, so that it may fail.
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
	if (server)
		SSL_set_accept_state(c->ssl);
	else
		SSL_set_connect_state(c->ssl);
	*out = c;
	return 0;
}

int ratls_accept(struct ratls_connection **out, struct ratls_context *ctx, int fd, struct ratls_error *e)
{
	return open_connection(out, ctx, fd, true, NULL, (struct fault *)e);
}

int ratls_connect(struct ratls_connection **out, struct ratls_context *ctx, int fd, const char *name, struct ratls_error *e)
{
	return open_connection(out, ctx, fd, false, name, (struct fault *)e);
}

// ---- OpenSSL's answers ----

static int lose(struct ratls_connection *c, int err)
{
	if (!c->failed)
		c->failed = err;
	return err;
}

// Alerts by which a peer says that it does not like our certificate.
static bool is_refusal(int alert)
{
	switch (alert) {
	case SSL_AD_BAD_CERTIFICATE: case SSL_AD_UNSUPPORTED_CERTIFICATE: case SSL_AD_CERTIFICATE_REVOKED: case SSL_AD_CERTIFICATE_EXPIRED:
	case SSL_AD_CERTIFICATE_UNKNOWN: case SSL_AD_UNKNOWN_CA: case SSL_AD_ACCESS_DENIED: case SSL_AD_CERTIFICATE_REQUIRED: return true;
	default: return false;
	}
}

static int advance(struct ratls_connection *c);
static int trouble(struct ratls_connection *c, int ret, bool writing);

// A peer that has gone may have said why before: an alert, or a verdict, that nobody has read yet. True: the connection is lost by that.
static bool has_last_words(struct ratls_connection *c)
{
	char byte;
	if (c->framed && c->phase != RATLS_TLS) {
		advance(c);
	} else {
		ERR_clear_error();
		int n = SSL_peek(c->ssl, &byte, 1);
		if (n <= 0)
			trouble(c, n, false);
	}
	return c->failed;
}

// After a call that did not succeed: -EAGAIN, 0 the peer's goodbye, or what the connection was lost by.
static int trouble(struct ratls_connection *c, int ret, bool writing)
{
	char why[256];
	int kind = SSL_get_error(c->ssl, ret), saved = errno;
	unsigned long e = ERR_peek_last_error();
	int alert = ERR_GET_REASON(e) - SSL_AD_REASON_OFFSET;
	switch (kind) {
	case SSL_ERROR_WANT_READ: c->want_write = false; return -EAGAIN;
	case SSL_ERROR_WANT_WRITE: c->want_write = true; return -EAGAIN;
	case SSL_ERROR_ZERO_RETURN: return 0;
	default: break;
	}
	ERR_error_string_n(e, why, sizeof why);
	ERR_clear_error();
	if (c->phase == RATLS_TLS && c->verdict && !c->verdict->accepted)
		return lose(c, fault_set(&c->reason, -EKEYREJECTED, "the peer is refused: %s", c->verdict->reason));
	if (kind == SSL_ERROR_SYSCALL && writing && has_last_words(c))
		return c->failed;
	if (kind == SSL_ERROR_SYSCALL || ERR_GET_REASON(e) == SSL_R_UNEXPECTED_EOF_WHILE_READING)
		return lose(c, fault_set(&c->reason, -ECONNRESET, "the connection was cut%s%s", kind == SSL_ERROR_SYSCALL && saved ? ": " : "",
					 kind == SSL_ERROR_SYSCALL && saved ? strerror(saved) : ""));
	if (ERR_GET_LIB(e) == ERR_LIB_SSL && alert > 0 && is_refusal(alert))
		return lose(c, fault_set(&c->reason, -EACCES, "the peer refuses this side's certificate (%s)", SSL_alert_desc_string_long(alert)));
	if (ERR_GET_REASON(e) == SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE)
		return lose(c, fault_set(&c->reason, -EKEYREJECTED, "the peer is refused: it shows no certificate"));
	return lose(c, fault_set(&c->reason, -EPROTO, "TLS 1.3 failed: %s", why));
}

// ---- sending ----

static int keep(struct ratls_connection *c, const void *bytes, size_t len)
{
	if (c->out_pos) {
		memmove(c->out, c->out + c->out_pos, c->out_len - c->out_pos);
		c->out_len -= c->out_pos;
		c->out_pos = 0;
	}
	if (c->out_len + len > OUT_MAX)
		return lose(c, fault_set(&c->reason, -EPROTO, "the peer asks and does not take the answers"));
	if (c->out_len + len > c->out_size) {
		uint8_t *more = realloc(c->out, c->out_len + len);
		if (!more)
			return lose(c, fault_set(&c->reason, -ENOMEM, "out of memory"));
		c->out = more;
		c->out_size = c->out_len + len;
	}
	memcpy(c->out + c->out_len, bytes, len);
	c->out_len += len;
	return 0;
}

static int flush(struct ratls_connection *c)
{
	while (c->out_pos < c->out_len) {
		size_t n = c->out_len - c->out_pos;
		ERR_clear_error();
		int k = SSL_write(c->ssl, c->out + c->out_pos, n > RECORD ? RECORD : (int)n);
		if (k <= 0) {
			int err = trouble(c, k, true);
			return err ? err : lose(c, fault_set(&c->reason, -ECONNRESET, "the connection was cut"));
		}
		c->out_pos += (size_t)k;
	}
	free(c->out);
	c->out = NULL;
	c->out_len = c->out_pos = c->out_size = 0;
	return 0;
}

// For exchange.h: whole frames, behind each other; flushed by who called.
static int send_frame(void *ctx, enum frame_type type, const void *bytes, size_t len)
{
	struct ratls_connection *c = ctx;
	uint8_t head[FRAME_HEAD];
	frame_write(head, type, len);
	int err = keep(c, head, sizeof head);
	if (!err && len)
		err = keep(c, bytes, len);
	return err;
}

// ---- receiving ----

// Some bytes, -EAGAIN, 0 the peer's goodbye.
static int input(struct ratls_connection *c, void *buf, size_t size)
{
	ERR_clear_error();
	int n = SSL_read(c->ssl, buf, size > 1 << 20 ? 1 << 20 : (int)size);
	if (n > 0)
		return n;
	n = trouble(c, n, false);
	if (n == -EAGAIN)
		c->drained_ms = clock_ms();
	return n;
}

static int take_message(struct ratls_connection *c)
{
	int err = exchange_take(&c->x, c->in.type, c->message, c->in.len, clock_ms(), &c->reason);
	free(c->message);
	c->message = NULL;
	c->head_len = 0;
	return err ? lose(c, err) : 0;
}

// Reads up to the program's next bytes: 1 they come next (c->left of them, where there are frames), 0 none will come, -EAGAIN.
static int advance(struct ratls_connection *c)
{
	while (c->framed && !c->ended) {
		int n;
		if (c->head_len < FRAME_HEAD) {
			n = input(c, c->head + c->head_len, FRAME_HEAD - c->head_len);
			if (n > 0 && (c->head_len += (unsigned int)n) == FRAME_HEAD) {
				if (frame_read(c->head, &c->in, &c->reason))
					return lose(c, -EPROTO);
				c->left = c->in.len;
				if (c->in.type == FRAME_DATA && c->phase != RATLS_OPEN && !exchange_done(&c->x))
					return lose(c, fault_set(&c->reason, -EPROTO, "the peer sends data before it has proved itself"));
				if (c->in.type != FRAME_DATA && c->left && !(c->message = malloc(c->left)))
					return lose(c, fault_set(&c->reason, -ENOMEM, "out of memory"));
			}
		} else if (c->in.type == FRAME_DATA) {
			if (c->left)
				return 1;
			c->head_len = 0;
			continue;
		} else if (c->left) {
			n = input(c, c->message + (c->in.len - c->left), c->left);
			c->left -= n > 0 ? (uint32_t)n : 0;
		} else if (c->in.type == FRAME_END) {
			c->ended = true;
			c->head_len = 0;
			continue;
		} else {
			n = take_message(c);
			if (n)
				return n;
			continue;
		}
		if (n < 0)
			return n;
		if (!n && c->head_len)
			return lose(c, fault_set(&c->reason, -ECONNRESET, "the connection ended within a frame"));
		if (!n)
			return lose(c, fault_set(&c->reason, -ECONNRESET, "the connection ended without an end of the data"));
	}
	return c->ended ? 0 : 1;
}

// The program's bytes, behind advance.
static ssize_t take_data(struct ratls_connection *c, void *buf, size_t size)
{
	int n = input(c, buf, c->framed && size > c->left ? c->left : size);
	if (n > 0) {
		c->left -= c->framed ? (uint32_t)n : 0;
		c->since_challenge += (uint64_t)n;
	} else if (!n && c->framed) {
		return lose(c, fault_set(&c->reason, -ECONNRESET, "the connection ended within a frame"));
	} else if (!n) {
		c->ended = true;
	}
	return n;
}

// ---- what is due ----

static int cut_off(struct ratls_connection *c, const char *why)
{
	static const char late[] = "no proof in time";
	if (c->framed && c->phase != RATLS_TLS)
		send_frame(c, FRAME_VERDICT, late, sizeof late - 1);
	return lose(c, fault_set(&c->reason, -EKEYREJECTED, "the peer is refused: %s", why));
}

static void schedule(struct ratls_connection *c, int64_t now)
{
	long long rest_s = (long long)(c->verdict->until - judge_now(c->ctx->judge));
	c->renew_at_ms = now + 1000 * (rest_s < 1 ? 1 : rest_s < c->ctx->renew_s ? rest_s : c->ctx->renew_s);
}

// Without proofs in the session the same certificate is judged again: its collateral may have become another, or the policy's measure of it.
static int judge_again(struct ratls_connection *c, int64_t now)
{
	X509 *cert = SSL_get0_peer_certificate(c->ssl);
	struct verdict *v = cert ? judge_certificate(c->ctx->judge, cert) : NULL;
	if (!v)
		return lose(c, fault_set(&c->reason, -ENOMEM, "out of memory"));
	verdict_release(c->verdict);
	c->verdict = v;
	if (!v->accepted)
		return cut_off(c, v->reason);
	schedule(c, now);
	return 0;
}

// *overdue: the peer's proof is, and its answer may still lie before us.
static int tick(struct ratls_connection *c, bool *overdue)
{
	int64_t now = clock_ms();
	*overdue = false;
	if (c->failed)
		return c->failed;
	if (c->phase == RATLS_TLS || !c->ctx->judge)
		return 0;
	if (!c->framed)
		return now >= c->renew_at_ms ? judge_again(c, now) : 0;
	if (!c->x.asked && c->x.renew_at_ms && now >= c->x.renew_at_ms) {
		c->since_challenge = 0;
		if (!c->out_len && !c->want_write)	// new traffic keys as well, of both directions
			SSL_key_update(c->ssl, SSL_KEY_UPDATE_REQUESTED);
		int err = exchange_challenge(&c->x, now, &c->reason);
		return err ? lose(c, err) : 0;
	}
	*overdue = c->x.asked && now >= c->x.answer_by_ms;
	// Its answer is behind what the program has not read; but not for ever.
	if (*overdue && (c->drained_ms >= c->x.answer_by_ms || c->since_challenge > LATE_DATA))
		return cut_off(c, "it did not prove itself in time");
	return 0;
}

static int64_t deadline_of(int timeout_ms)
{
	return timeout_ms < 0 ? INT64_MAX : clock_ms() + timeout_ms;
}

static int64_t due_ms(const struct ratls_connection *c)
{
	if (c->phase == RATLS_TLS || !c->ctx->judge || c->failed)
		return -1;
	return c->framed ? exchange_due_ms(&c->x) : c->renew_at_ms;
}

// 0: something may have changed; -EAGAIN: the time is over.
static int wait_for(struct ratls_connection *c, short events, int64_t deadline)
{
	struct pollfd p = {.fd = c->fd, .events = events};
	int64_t now = clock_ms(), due = due_ms(c), until = due >= 0 && due > now && due < deadline ? due : deadline;
	if (now >= deadline)
		return -EAGAIN;
	int n = poll(&p, 1, until - now > 60000 ? 60000 : (int)(until - now));
	return n < 0 && errno != EINTR ? lose(c, fault_errno(&c->reason, errno, "poll")) : 0;
}

// ---- the handshake ----

static int begin_proofs(struct ratls_connection *c)
{
	struct ratls_context *ctx = c->ctx;
	static const char *const roles[] = {"client", "server"};
	X509 *peer = SSL_get0_peer_certificate(c->ssl);	// the session's, which a new ticket replaces
	if (ctx->judge && SSL_session_reused(c->ssl)) {	// nobody has looked at it in this handshake
		int err = peer ? judge_again(c, clock_ms()) : cut_off(c, "it shows no certificate");
		if (err)
			return err;
	}
	if (ctx->judge && !c->framed && ctx->session == RATLS_SESSION_REQUIRED)
		return cut_off(c, "its certificate will do, but it cannot prove itself in this session, as only Coffer's can: evidence of another time would be all "
			       "there is. To accept that: RATLS_SESSION_WANTED (--session wanted)");
	if (ctx->judge)
		schedule(c, clock_ms());
	if (!c->framed)
		return 0;
	c->x = (struct exchange_state){.judge = ctx->judge, .self = ctx->self, .peer = peer, .peer_verifies = c->peer_verifies, .send = send_frame, .ctx = c,
				       .renew_s = ctx->renew_s, .answer_s = ctx->answer_s};
	if (peer)
		X509_up_ref(peer);
	const char *own = roles[c->server], *other = roles[!c->server];
	if (SSL_export_keying_material(c->ssl, c->x.own_exporter, 32, EXCHANGE_LABEL, strlen(EXCHANGE_LABEL), (const uint8_t *)own, strlen(own), 1) != 1 ||
	    SSL_export_keying_material(c->ssl, c->x.peer_exporter, 32, EXCHANGE_LABEL, strlen(EXCHANGE_LABEL), (const uint8_t *)other, strlen(other), 1) != 1)
		return lose(c, fault_set(&c->reason, -EIO, "TLS gives no exporter value"));
	int err = ctx->judge ? exchange_challenge(&c->x, clock_ms(), &c->reason) : 0;
	return err ? lose(c, err) : 0;
}

static int do_tls(struct ratls_connection *c)
{
	ERR_clear_error();
	int n = SSL_do_handshake(c->ssl);
	if (n != 1) {
		int err = trouble(c, n, false);
		return err ? err : lose(c, fault_set(&c->reason, -ECONNRESET, "the peer ended the connection in the handshake"));
	}
	c->phase = RATLS_PROOF;
	return begin_proofs(c);
}

// A step towards the end of the proofs, and with it of the handshake.
static int prove(struct ratls_connection *c)
{
	int err = flush(c);
	if (err && err != -EAGAIN)
		return err;
	if (!c->framed || exchange_done(&c->x)) {
		if (!err) {
			c->phase = RATLS_OPEN;
			c->reason.text[0] = '\0';
		}
		return err;
	}
	err = advance(c);
	if (!err && !exchange_done(&c->x))	// its last verdict and its end may come together
		return lose(c, fault_set(&c->reason, -ECONNRESET, "the peer ended the connection before the proofs were made"));
	// What was waited for may have been in what just came: nothing more need come then.
	return err == 1 || (err == -EAGAIN && exchange_done(&c->x)) ? 0 : err;
}

int ratls_handshake(struct ratls_connection *c, int timeout_ms)
{
	int64_t deadline = deadline_of(timeout_ms);
	bool overdue;
	while (c->phase != RATLS_OPEN) {
		int err = tick(c, &overdue);
		if (!err && c->phase == RATLS_TLS) {
			err = do_tls(c);
		} else if (!err) {
			err = prove(c);
		}
		if (c->failed) {
			flush(c);	// the peer may learn why
			return c->failed;
		}
		if (err == -EAGAIN && (err = wait_for(c, c->want_write || c->out_len ? POLLIN | POLLOUT : POLLIN, deadline))) {
			if (err == -EAGAIN)
				fault_set(&c->reason, err, "no end of the handshake in time");
			return err;
		}
	}
	return 0;
}

// ---- the program's bytes ----

static ssize_t from_stash(struct ratls_connection *c, void *buf, size_t size)
{
	size_t n = c->stash_len - c->stash_pos;
	n = n < size ? n : size;
	memcpy(buf, c->stash + c->stash_pos, n);
	c->stash_pos += n;
	if (c->stash_pos == c->stash_len) {
		free(c->stash);
		c->stash = NULL;
		c->stash_len = c->stash_pos = 0;
	}
	return (ssize_t)n;
}

ssize_t ratls_read(struct ratls_connection *c, void *buf, size_t size, int timeout_ms)
{
	int64_t deadline = deadline_of(timeout_ms);
	bool overdue;
	if (!size)
		return 0;
	for (;;) {
		int err = c->phase == RATLS_OPEN ? tick(c, &overdue) : ratls_handshake(c, timeout_ms);
		if (err)
			return err;
		if (c->stash)
			return from_stash(c, buf, size);
		ssize_t n = advance(c);
		if (n == 1)
			n = take_data(c, buf, size);
		int sent = c->failed ? 0 : flush(c);
		if (c->failed) {
			flush(c);
			return n > 0 ? n : c->failed;
		}
		if (n != -EAGAIN)
			return n;
		if ((err = wait_for(c, sent == -EAGAIN ? POLLIN | POLLOUT : POLLIN, deadline)))
			return err;
	}
}

// While the program only writes: challenges are answered, what else comes is kept for ratls_read.
static int look_around(struct ratls_connection *c)
{
	for (;;) {
		int n = advance(c);
		if (n != 1)
			return n == -EAGAIN ? 0 : n;
		if (c->stash_len - c->stash_pos >= RATLS_STASH_MAX)
			return 0;
		if (!c->stash && !(c->stash = malloc(RATLS_STASH_MAX)))
			return lose(c, fault_set(&c->reason, -ENOMEM, "out of memory"));
		memmove(c->stash, c->stash + c->stash_pos, c->stash_len - c->stash_pos);
		c->stash_len -= c->stash_pos;
		c->stash_pos = 0;
		n = (int)take_data(c, c->stash + c->stash_len, RATLS_STASH_MAX - c->stash_len);
		if (n > 0)
			c->stash_len += (size_t)n;
		if (!c->stash_len) {
			free(c->stash);
			c->stash = NULL;
		}
		if (n <= 0)
			return n == -EAGAIN ? 0 : n;
	}
}

// Hands bytes to OpenSSL, or to the queue when it takes no more: it has begun with them then, and wants the same again.
static int put_bytes(struct ratls_connection *c, const uint8_t *bytes, size_t len)
{
	while (len) {
		ERR_clear_error();
		int k = SSL_write(c->ssl, bytes, len > RECORD ? RECORD : (int)len);
		if (k <= 0) {
			int err = trouble(c, k, true);
			return err == -EAGAIN ? keep(c, bytes, len) : err ? err : lose(c, fault_set(&c->reason, -ECONNRESET, "the connection was cut"));
		}
		bytes += k;
		len -= (size_t)k;
	}
	return 0;
}

// A frame, or a record, of the program's bytes: how many. Only what shares a record with the head is copied.
static ssize_t put(struct ratls_connection *c, const uint8_t *bytes, size_t len)
{
	uint8_t first[RECORD];
	size_t n = len < FRAME_DATA_MAX ? len : FRAME_DATA_MAX, k = n < RECORD - FRAME_HEAD ? n : RECORD - FRAME_HEAD;
	int err;
	if (!c->framed) {
		err = put_bytes(c, bytes, n);
		return err ? err : (ssize_t)n;
	}
	frame_write(first, FRAME_DATA, n);
	memcpy(first + FRAME_HEAD, bytes, k);
	err = put_bytes(c, first, FRAME_HEAD + k);
	if (!err && n > k)
		err = c->out_len ? keep(c, bytes + k, n - k) : put_bytes(c, bytes + k, n - k);
	return err ? err : (ssize_t)n;
}

ssize_t ratls_write(struct ratls_connection *c, const void *buf, size_t len, int timeout_ms)
{
	int64_t deadline = deadline_of(timeout_ms);
	const uint8_t *p = buf;
	size_t done = 0;
	bool overdue;
	if (c->end_sent)
		return fault_set(&c->reason, -EPIPE, "this side has ended the connection");
	for (;;) {
		int err = c->phase == RATLS_OPEN ? tick(c, &overdue) : ratls_handshake(c, timeout_ms);
		if (!err && c->framed)
			err = look_around(c);
		if (!err && !c->failed)
			err = flush(c);
		if (c->failed) {
			flush(c);
			return c->failed;
		}
		if (err && err != -EAGAIN)
			return err;
		if (!err && done == len)
			return (ssize_t)done;
		if (!err && !overdue) {
			ssize_t n = put(c, p + done, len - done);
			if (n < 0)
				return n;
			done += (size_t)n;
			continue;
		}
		err = wait_for(c, overdue && !err ? POLLIN : POLLIN | POLLOUT, deadline);
		if (err)
			return done ? (ssize_t)done : err;
	}
}

int ratls_end(struct ratls_connection *c, int timeout_ms)
{
	int64_t deadline = deadline_of(timeout_ms);
	int err = c->phase == RATLS_OPEN ? 0 : ratls_handshake(c, timeout_ms);
	if (!err && !c->end_sent && c->framed)
		err = send_frame(c, FRAME_END, NULL, 0);
	if (err || c->failed)
		return err ? err : c->failed;
	c->end_sent = true;
	while ((err = flush(c)) == -EAGAIN && !wait_for(c, POLLOUT, deadline))
		;
	if (!err && !c->framed)
		SSL_shutdown(c->ssl);	// half of it: the peer's data still come
	return err;
}

// Who closes a socket with unread data makes the peer lose what it was sent: reads to the end first.
static int linger(struct ratls_connection *c, int64_t deadline)
{
	char sink[4096];
	if (shutdown(c->fd, SHUT_WR))
		return -ECONNRESET;
	for (;;) {
		struct pollfd p = {.fd = c->fd, .events = POLLIN};
		int64_t now = clock_ms();
		ssize_t n = read(c->fd, sink, sizeof sink);
		if (!n)
			return 0;
		if (n < 0 && errno != EAGAIN && errno != EINTR)
			return -ECONNRESET;
		if (now >= deadline)
			return -EAGAIN;
		if (n < 0)
			poll(&p, 1, deadline - now > 1000 ? 1000 : (int)(deadline - now));
	}
}

int ratls_close(struct ratls_connection *c, int timeout_ms)
{
	int64_t deadline = deadline_of(timeout_ms);
	if (!c)
		return 0;
	int err = c->failed;
	if (!err && c->phase == RATLS_OPEN)
		err = ratls_end(c, timeout_ms);
	if (!err && c->phase == RATLS_OPEN) {	// else the peer must not take it for the end of the data
		ERR_clear_error();
		SSL_shutdown(c->ssl);
	}
	if (!err && timeout_ms && c->phase == RATLS_OPEN)
		err = linger(c, deadline);
	else if (err == -EKEYREJECTED && timeout_ms)
		linger(c, deadline);	// until it knows why
	exchange_close(&c->x);
	verdict_release(c->verdict);
	SSL_free(c->ssl);
	ERR_clear_error();
	close(c->fd);
	free(c->name);
	free(c->message);
	free(c->stash);
	free(c->out);
	free(c->peer_json);
	ratls_context_free(c->ctx);
	free(c);
	return err;
}

// ---- for event loops, and what is known ----

short ratls_wants(const struct ratls_connection *c, int *timeout_ms, bool *ready)
{
	int64_t due = due_ms(c), now = clock_ms();
	*timeout_ms = due < 0 ? -1 : due <= now ? 0 : due - now > 3600000 ? 3600000 : (int)(due - now);
	if (due >= 0 && due <= now && c->x.asked)
		*timeout_ms = 100;	// overdue, behind what the program has not read
	*ready = c->stash || c->failed || c->ended || SSL_pending(c->ssl) > 0;
	return c->out_len || (c->phase == RATLS_TLS && c->want_write) ? POLLIN | POLLOUT : POLLIN;
}

int ratls_fd(const struct ratls_connection *c)
{
	return c->fd;
}

int ratls_attest_again(struct ratls_connection *c)
{
	if (c->failed || c->phase != RATLS_OPEN)
		return c->failed ? c->failed : -EAGAIN;
	if (!c->ctx->judge)
		return fault_set(&c->reason, -EINVAL, "nothing is asked of the peer here");
	if (!c->framed)
		return judge_again(c, clock_ms());
	c->since_challenge = 0;
	int err = exchange_challenge(&c->x, clock_ms(), &c->reason);
	if (!err)
		err = flush(c);
	return err == -EAGAIN ? 0 : err;
}

const char *ratls_peer(struct ratls_connection *c)
{
	free(c->peer_json);
	c->peer_json = peer_describe(c);
	return c->peer_json ? c->peer_json : "{}";
}

const char *ratls_reason(const struct ratls_connection *c)
{
	return c->reason.text;
}

// SPDX-License-Identifier: Apache-2.0
// Connections: their beginning and end, the handshake, proofs from time to time, and the work that these need. Every call does what is due first: a
// peer whose proof is overdue gets nothing. One thread at a time; no locks.
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

#include "attest/cert.h"
#include "lib/tls.h"
#include "ratls/shed.h"

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

static bool set_descriptor(struct ratls_connection *c)
{
	if (!(c->wire = wire_new(c->fd)))
		return false;
	SSL_set_bio(c->ssl, c->wire, c->wire);
	return true;
}

static int show(struct ratls_connection *c, struct fault *f)
{
	struct ratls_context *ctx = c->ctx;
	X509 *cert;
	if (!self_shows(ctx->self, c->server))
		return 0;
	int err = self_current(ctx->self, !ctx->defer, &cert, f);
	if (err == -EINPROGRESS) {
		c->phase = RATLS_BEGIN;
		return connection_begin_work(c, work_new(WORK_SHOW, ctx->judge, ctx->self, NULL));
	}
	if (!err) {
		err = self_show(ctx->self, cert, c->ssl, f);
		X509_free(cert);
	}
	return err;
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
	*c = (struct ratls_connection){.ctx = context_ref(ctx), .fd = fd, .server = server, .phase = RATLS_TLS,
					 .ssl = SSL_new(server ? ctx->server : ctx->client)};
	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
		err = fault_errno(f, errno, "the descriptor %d cannot be used", fd);
	else if (!c->ssl || !set_descriptor(c) || SSL_set_app_data(c->ssl, c) != 1 || (name && !set_name(c, name)))
		err = fault_set(f, -ENOMEM, "out of memory, or '%.200s' is no name", name ? name : "");
	else if (!server && !ctx->judge && !ctx->ordinary && !ctx->any_server)
		err = fault_set(f, -EINVAL, "a client must know whom it speaks to: verify (with a policy), ca_file, or insecure_any_server");
	else if (!server && ctx->ordinary && !name)
		err = fault_set(f, -EINVAL, "an ordinary certificate is for a name: which?");
	if (!err)
		err = show(c, f);
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

// ---- what is due ----

int connection_cut_off(struct ratls_connection *c, const char *to_peer, const char *why)
{
	size_t len = strlen(to_peer);
	if (c->framed && c->phase >= RATLS_CHECK)
		connection_send_frame(c, FRAME_VERDICT, to_peer, len < FRAME_MAX_REASON ? len : FRAME_MAX_REASON - 1);
	return connection_lose(c, fault_set(connection_reason(c), -EKEYREJECTED, "the peer is refused: %s", why));
}

static void schedule(struct ratls_connection *c)
{
	long long rest_s = (long long)(c->verdict->until - judge_now(c->ctx->judge));
	c->renew_at_ms = clock_ms() + 1000 * (rest_s < 1 ? 1 : rest_s < c->ctx->renew_s ? rest_s : c->ctx->renew_s);
}

static int take_verdict(struct ratls_connection *c, struct verdict *v)
{
	if (!v)
		return connection_lose(c, fault_set(connection_reason(c), -ENOMEM, "out of memory"));
	verdict_release(c->verdict);
	c->verdict = verdict_ref(v);
	if (!v->accepted)
		return connection_cut_off(c, v->short_reason, v->reason);
	schedule(c);
	return 0;
}

// Takes up work that is done.
static int take_up_work(struct ratls_connection *c)
{
	struct ratls_work *w = c->work;
	struct fault why = {""};
	int err = 0;
	if (!w || !work_is_done(w))
		return 0;
	c->work = NULL;
	switch (w->kind) {
	case WORK_SHOW:
		err = w->err ? fault_set(&why, w->err == -ENOMEM ? w->err : -EIO, "this side has no certificate: %s", w->why.text) :
			self_show(c->ctx->self, w->cert, c->ssl, &why);
		c->phase = RATLS_TLS;
		break;
	case WORK_CERTIFICATE: err = take_verdict(c, w->verdict); break;
	default: err = exchange_finish(&c->x, w, clock_ms(), &why); break;
	}
	work_release(w);
	return err ? connection_lose_by(c, err, &why) : 0;
}

static void let_go(void *ctx)
{
	ratls_context_free(ctx);
}

int connection_begin_work(struct ratls_connection *c, struct ratls_work *w)
{
	if (!w)
		return connection_lose(c, fault_set(connection_reason(c), -ENOMEM, "out of memory"));
	w->keeps = context_ref(c->ctx);
	w->let_go = let_go;
	c->work = w;
	// A verdict that is never reached must not keep a connection open.
	c->work_by_ms = c->phase == RATLS_OPEN && w->kind != WORK_ANSWER ? clock_ms() + c->ctx->answer_s * 1000ll : 0;
	if (!c->ctx->defer)
		work_do(w);
	return take_up_work(c);
}

struct ratls_work *ratls_work_take(struct ratls_connection *c)
{
	struct ratls_work *w = c->work;
	if (!w || w->taken)
		return NULL;
	w->taken = true;
	__atomic_add_fetch(&w->refs, 1, __ATOMIC_RELAXED);
	return w;
}

void ratls_work_run(struct ratls_work *w)
{
	work_do(w);
	work_release(w);
}

// Without proofs in the session the same certificate is judged again: its collateral may have become another, or the policy's measure of it.
static int judge_again(struct ratls_connection *c)
{
	X509 *cert = c->peer_der ? shed_read(c->peer_der, (size_t)c->peer_der_len) : SSL_get1_peer_certificate(c->ssl);
	if (!cert && !c->peer_der)
		return connection_cut_off(c, "certificate", "it shows no certificate");
	struct ratls_work *w = cert ? work_new(WORK_CERTIFICATE, c->ctx->judge, c->ctx->self, cert) : NULL;
	X509_free(cert);
	return connection_begin_work(c, w);
}

static int challenge(struct ratls_connection *c, int64_t now)
{
	struct fault why = {"out of memory"};
	if (c->x.asked || c->x.judging)
		return 0;
	c->since_challenge = 0;
	int err = exchange_challenge(&c->x, now, &why);
	return err ? connection_lose_by(c, err, &why) : 0;
}

int connection_tick(struct ratls_connection *c, bool *overdue)
{
	int64_t now = clock_ms();
	*overdue = false;
	int err = c->failed ? c->failed : take_up_work(c);
	if (err || c->phase < RATLS_PROOF || !c->ctx->judge)
		return err;
	if (c->work && c->work_by_ms && now >= c->work_by_ms)
		return connection_cut_off(c, "not judged in time", "what it proved was not judged in time (ratls_work_run)");
	if (!c->framed)
		return now >= c->renew_at_ms && !c->work ? judge_again(c) : 0;
	if (!c->x.asked && !c->x.judging && c->x.renew_at_ms && now >= c->x.renew_at_ms) {
		// New traffic keys as well, of both directions.
		if (c->layer)
			layer_new_keys(c->layer);	// an error is found again when the challenge goes
		else if (!c->out_len && !c->want_write)
			SSL_key_update(c->ssl, SSL_KEY_UPDATE_REQUESTED);
		return challenge(c, now);
	}
	*overdue = c->x.asked && now >= c->x.answer_by_ms;
	// Its answer is behind what the program has not read; but not for ever.
	if (*overdue && (c->gone || c->drained_ms >= c->x.answer_by_ms || c->since_challenge > LATE_DATA))
		return connection_cut_off(c, "no proof in time", "it did not prove itself in time");
	return 0;
}

int64_t connection_deadline(int timeout_ms)
{
	return timeout_ms < 0 ? INT64_MAX : timeout_ms ? clock_ms() + timeout_ms : 0;	// which is over
}

static int64_t due_ms(const struct ratls_connection *c)
{
	if (c->phase < RATLS_PROOF || !c->ctx->judge || c->failed)
		return -1;
	if (c->work && c->work_by_ms)
		return c->work_by_ms;
	return c->framed ? exchange_due_ms(&c->x) : c->renew_at_ms;
}

// When connection_tick must be called; -1: it need not. What is overdue waits for the answer, which may lie behind other bytes, unless all was read
// since.
static int64_t wake_ms(const struct ratls_connection *c, int64_t now)
{
	int64_t due = due_ms(c);
	return due >= 0 && due <= now && c->framed && c->x.asked && !c->gone && c->drained_ms < due ? now + 100 : due;
}

int connection_wait(struct ratls_connection *c, short events, int64_t deadline)
{
	struct pollfd p = {.fd = events ? c->fd : -1, .events = events};
	int64_t now = clock_ms(), wake = wake_ms(c, now), until = wake >= 0 && wake < deadline ? wake : deadline;
	if (now >= deadline)
		return -EAGAIN;
	int n = poll(&p, 1, until <= now ? 0 : until - now > 60000 ? 60000 : (int)(until - now));
	return n < 0 && errno != EINTR ? connection_lose(c, fault_errno(connection_reason(c), errno, "poll")) : 0;
}

// ---- the handshake ----

static int begin_proofs(struct ratls_connection *c)
{
	struct ratls_context *ctx = c->ctx;
	static const char *const roles[] = {"client", "server"};
	X509 *peer = SSL_get0_peer_certificate(c->ssl);	// the session's, which a new ticket replaces
	if (ctx->judge && !c->framed && ctx->session == RATLS_SESSION_REQUIRED)
		return connection_cut_off(c, "no proof",
					  "its certificate will do, but it cannot prove itself in this session, as only Coffer's can: evidence of "
					  "another time would be all there is. To accept that: RATLS_SESSION_WANTED (--session wanted)");
	if (ctx->judge)
		schedule(c);
	if (!c->framed)
		return 0;
	c->x = (struct exchange_state){.judge = ctx->judge,
				       .self = ctx->self,
				       .peer = peer,
				       .peer_verifies = c->peer_verifies,
				       .send = connection_send_frame,
				       .ctx = c,
				       .renew_s = ctx->renew_s,
				       .answer_s = ctx->answer_s};
	if (peer)
		X509_up_ref(peer);
	SSL_set_options(c->ssl, SSL_OP_IGNORE_UNEXPECTED_EOF);	// frames tell an end from a cut, and what was cut may be half of it only
	const char *own = roles[c->server], *other = roles[!c->server];
	if (SSL_export_keying_material(c->ssl, c->x.own_exporter, 32, EXCHANGE_LABEL, strlen(EXCHANGE_LABEL), (const uint8_t *)own, strlen(own), 1) != 1 ||
	    SSL_export_keying_material(c->ssl, c->x.peer_exporter, 32, EXCHANGE_LABEL, strlen(EXCHANGE_LABEL), (const uint8_t *)other, strlen(other), 1) != 1)
		return connection_lose(c, fault_set(connection_reason(c), -EIO, "TLS gives no exporter value"));
	return ctx->judge ? challenge(c, clock_ms()) : 0;
}

// The peer's certificate, where nobody has looked at it in the handshake: a resumed session's, or left for a helper.
static int check(struct ratls_connection *c)
{
	int err = 0;
	if (c->work)
		return -EAGAIN;
	if (c->ctx->judge && !c->verdict)
		err = judge_again(c);
	else if (c->ctx->ordinary && !c->verdict && !(err = context_check_ordinary(c)) && !c->verdict->accepted)
		err = connection_cut_off(c, c->verdict->short_reason, c->verdict->reason);
	if (err || c->work)
		return err ? err : -EAGAIN;
	c->phase = RATLS_PROOF;
	return begin_proofs(c);
}

// The record layer becomes ours, where it can.
static void take_records(struct ratls_connection *c)
{
	const struct secrets *s = c->secrets;
	if (s && s->client_len == s->server_len && !c->ctx->openssl_records)
		c->layer = layer_new(c->ssl, c->wire, s->of_client, s->of_server, s->client_len);
	context_forget_secrets(c);
	if (!c->layer) {
		SSL_set_default_read_buffer_len(c->ssl, 65000);
		SSL_set_read_ahead(c->ssl, 1);
	}
}

static int do_tls(struct ratls_connection *c)
{
	ERR_clear_error();
	int n = SSL_do_handshake(c->ssl);
	if (n != 1) {
		int err = connection_trouble(c, n, false);
		return err ? err : connection_lose(c, fault_set(connection_reason(c), -ECONNRESET, "the peer ended the connection in the handshake"));
	}
	const unsigned char *chosen;
	unsigned int len;
	SSL_get0_alpn_selected(c->ssl, &chosen, &len);
	if (len && !*ratls_alpn(c))
		return connection_lose(c, fault_set(connection_reason(c), -EPROTO, "the peer chose a protocol that was not offered"));
	take_records(c);
	c->phase = RATLS_CHECK;
	return check(c);
}

// The handshake is over: what it needed goes. (With resumption other connections have the same certificate.)
static void rest(struct ratls_connection *c)
{
	X509 *cert = SSL_get0_peer_certificate(c->ssl);
	if (!cert || c->ctx->resume || c->work || !cert_digest(cert, c->peer_digest))
		return;
	// Without proofs in the session the whole is judged again.
	if (!c->framed && c->ctx->judge && (c->peer_der_len = i2d_X509(cert, &c->peer_der)) <= 0)
		return;
	exchange_rest(&c->x);
	if (c->x.peer)	// there was no memory to make it small
		return;
	shed_certificate(cert);
	if (c->x.verdict) {
		verdict_release(c->verdict);
		c->verdict = NULL;
	}
}

// A step towards the end of the proofs, and with it of the handshake.
static int prove(struct ratls_connection *c)
{
	int err = connection_flush(c);
	if (err && err != -EAGAIN)
		return err;
	if (!c->framed || exchange_done(&c->x)) {
		if (!err) {
			c->phase = RATLS_OPEN;
			free(c->reason);
			c->reason = NULL;
			rest(c);
		}
		return err;
	}
	err = connection_advance(c);
	if (!err && !exchange_done(&c->x) && !c->work)	// its last verdict and its end may come together
		return connection_lose(c, fault_set(connection_reason(c), -ECONNRESET, "the peer ended the connection before the proofs were made"));
	// What was waited for may have been in what just came, and the end of its data behind it: nothing more need come then.
	return err == 1 || ((!err || err == -EAGAIN) && exchange_done(&c->x)) ? 0 : err ? err : -EAGAIN;
}

static int step(struct ratls_connection *c)
{
	switch (c->phase) {
	case RATLS_TLS: return do_tls(c);
	case RATLS_CHECK: return check(c);
	case RATLS_PROOF: return prove(c);
	default: return -EAGAIN;
	}
}

int ratls_handshake(struct ratls_connection *c, int timeout_ms)
{
	int64_t deadline = connection_deadline(timeout_ms);
	bool overdue;
	while (c->phase != RATLS_OPEN) {
		int err = connection_tick(c, &overdue);
		if (!err)
			err = step(c);
		if (c->failed) {
			connection_flush(c);	// the peer may learn why
			return c->failed;
		}
		if (err == -EAGAIN && c->work)
			return err;
		if (err == -EAGAIN && (err = connection_wait(c, c->want_write || connection_has_to_send(c) ? POLLIN | POLLOUT : POLLIN, deadline))) {
			if (err == -EAGAIN)
				fault_set(connection_reason(c), err, "no end of the handshake in time");
			return err;
		}
	}
	return 0;
}

// ---- the end ----

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
	int64_t deadline = connection_deadline(timeout_ms);
	if (!c)
		return 0;
	int err = c->failed;
	if (!err && c->phase == RATLS_OPEN)
		err = ratls_end(c, timeout_ms);
	if (!err && c->phase == RATLS_OPEN && !c->shut) {	// else the peer must not take it for the end of the data
		ERR_clear_error();
		c->layer ? layer_goodbye(c->layer) : SSL_shutdown(c->ssl);
	}
	if (!err && timeout_ms && c->phase == RATLS_OPEN)
		err = linger(c, deadline);
	else if (err == -EKEYREJECTED && timeout_ms)
		linger(c, deadline);	// until it knows why
	if (c->ssl && (!c->failed || c->failed == -ECONNRESET))	// or OpenSSL would not let the session be resumed
		SSL_set_shutdown(c->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
	work_release(c->work);
	exchange_close(&c->x);
	verdict_release(c->verdict);
	context_forget_secrets(c);
	layer_free(c->layer);
	SSL_free(c->ssl);
	ERR_clear_error();
	close(c->fd);
	free(c->name);
	free(c->message);
	free(c->stash);
	free(c->out);
	free(c->peer_json);
	OPENSSL_free(c->peer_der);
	free(c->reason);
	ratls_context_free(c->ctx);
	free(c);
	return err;
}

// ---- for event loops, and what is known ----

short ratls_wants(const struct ratls_connection *c, int *timeout_ms, bool *ready)
{
	if (timeout_ms) {
		int64_t now = clock_ms(), wake = wake_ms(c, now);
		*timeout_ms = wake < 0 ? -1 : wake <= now ? 0 : wake - now > 3600000 ? 3600000 : (int)(wake - now);
	}
	*ready = c->stash || c->failed || (c->ended && !c->ended_told);
	if (c->phase == RATLS_BEGIN || c->phase == RATLS_CHECK)
		return 0;
	bool reads = !c->gone && (c->framed || !c->ended) && !connection_is_blocked(c), full = c->stash && !connection_can_keep(c);
	*ready |= reads && (c->layer ? layer_has_more(c->layer) : (SSL_has_pending(c->ssl) || wire_has_more(c->wire)) && !c->starved);
	return (short)((reads && !full ? POLLIN : 0) | (connection_has_to_send(c) || (c->phase == RATLS_TLS && c->want_write) ? POLLOUT : 0));
}

int ratls_fd(const struct ratls_connection *c)
{
	return c->fd;
}

const char *ratls_alpn(const struct ratls_connection *c)
{
	const unsigned char *chosen;
	unsigned int len;
	SSL_get0_alpn_selected(c->ssl, &chosen, &len);
	for (char **name = c->ctx->alpn; name && *name; name++) {
		if (strlen(*name) == len && !memcmp(*name, chosen, len))
			return *name;
	}
	return "";
}

int ratls_attest_again(struct ratls_connection *c)
{
	if (c->failed || c->phase != RATLS_OPEN)
		return c->failed ? c->failed : -EAGAIN;
	if (!c->ctx->judge)
		return fault_set(connection_reason(c), -EINVAL, "nothing is asked of the peer here");
	if (!c->framed)
		return c->work ? 0 : judge_again(c);
	int err = challenge(c, clock_ms());
	if (!err)
		err = connection_flush(c);
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
	return c->reason ? c->reason->text : "";
}

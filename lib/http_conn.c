// SPDX-License-Identifier: Apache-2.0
// See http_conn.h. One connection: handshake, requests one after the other, answers. Nothing here blocks but the handler. Takes server.lock for
// deadlines and counts, with nothing called under it.
#include "lib/http_conn.h"

#include <errno.h>
#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "lib/file.h"
#include "lib/tls.h"

#define FIRST_BYTES 2048	// most heads fit
#define LINGER_MS 2000

// What a step says: go on with the next one, close, or else which events to wait for.
enum { GO_ON = 0, CLOSE = -1 };

static const char *reason(int status)
{
	static const struct { int status; const char *text; } reasons[] = {
		{200, "OK"}, {201, "Created"}, {204, "No Content"}, {400, "Bad Request"}, {401, "Unauthorized"},
		{403, "Forbidden"}, {404, "Not Found"}, {405, "Method Not Allowed"}, {408, "Request Timeout"},
		{409, "Conflict"}, {411, "Length Required"}, {413, "Content Too Large"},
		{429, "Too Many Requests"}, {502, "Bad Gateway"}, {504, "Gateway Timeout"},
		{431, "Request Header Fields Too Large"}, {500, "Internal Server Error"}, {501, "Not Implemented"},
		{503, "Service Unavailable"},
	};
	for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++) {
		if (reasons[i].status == status)
			return reasons[i].text;
	}
	return "Status";
}

// False: it was cut off already.
static bool set_deadline(struct http_conn *c, int64_t deadline)
{
	struct http_server *s = c->server;
	pthread_mutex_lock(&s->lock);
	bool cut = c->cut;
	c->deadline_ms = deadline;
	c->since_ms = clock_ms();
	pthread_mutex_unlock(&s->lock);
	return !cut;
}

static bool deadline_in(struct http_conn *c, int64_t ms)
{
	return set_deadline(c, clock_ms() + ms);
}

static void count(struct http_conn *c, unsigned long *counter)
{
	pthread_mutex_lock(&c->server->lock);
	(*counter)++;
	pthread_mutex_unlock(&c->server->lock);
}

static int tls_wait(const struct http_conn *c, int n)
{
	switch (SSL_get_error(c->ssl, n)) {
	case SSL_ERROR_WANT_READ: return EPOLLIN;
	case SSL_ERROR_WANT_WRITE: return EPOLLOUT;
	default: return CLOSE;
	}
}

// Bytes moved (> 0), or 0 with *step: what to wait for, or CLOSE at the end and on errors.
static size_t move(struct http_conn *c, bool out, char *bytes, size_t len, int *step)
{
	if (len > 1 << 20)
		len = 1 << 20;
	if (c->ssl) {
		ERR_clear_error();
		int n = out ? SSL_write(c->ssl, bytes, (int)len) : SSL_read(c->ssl, bytes, (int)len);
		*step = n > 0 ? GO_ON : tls_wait(c, n);
		return n > 0 ? (size_t)n : 0;
	}
	ssize_t n = out ? send(c->fd, bytes, len, MSG_DONTWAIT | MSG_NOSIGNAL) : recv(c->fd, bytes, len, MSG_DONTWAIT);
	*step = n > 0 ? GO_ON : n < 0 && (errno == EAGAIN || errno == EINTR) ? (out ? EPOLLOUT : EPOLLIN) : CLOSE;
	return n > 0 ? (size_t)n : 0;
}

static SSL *new_ssl(struct http_server *s)
{
	pthread_mutex_lock(&s->lock);
	SSL_CTX *tls = s->o.tls;
	SSL_CTX_up_ref(tls);
	pthread_mutex_unlock(&s->lock);
	SSL *ssl = SSL_new(tls);
	SSL_CTX_free(tls);
	return ssl;
}

static int handshake(struct http_conn *c)
{
	if (!c->server->tls) {
		c->state = CONN_READING;
		return deadline_in(c, c->server->o.idle_timeout_ms) ? GO_ON : CLOSE;
	}
	if (!c->ssl) {
		c->ssl = new_ssl(c->server);
		if (!c->ssl || SSL_set_fd(c->ssl, c->fd) != 1)
			return CLOSE;
		SSL_set_accept_state(c->ssl);
		SSL_set_mode(c->ssl, SSL_MODE_RELEASE_BUFFERS);	// an idle connection is to be small
		// A read returns after each message of TLS's own: who sends nothing but those keeps no worker.
		SSL_clear_mode(c->ssl, SSL_MODE_AUTO_RETRY);
	}
	ERR_clear_error();
	int n = SSL_do_handshake(c->ssl);
	if (n == 1) {
		c->state = CONN_READING;
		return deadline_in(c, c->server->o.idle_timeout_ms) ? GO_ON : CLOSE;
	}
	int step = tls_wait(c, n);
	if (step == CLOSE)
		count(c, &c->server->counts.bad_handshakes);
	return step;
}

// ---- answers ----

// Makes the answer out of *r, which it takes over. `body` false: the request was HEAD.
static int compose(struct http_conn *c, struct http_response *r, bool body, bool keep)
{
	char head[1024], date[40];
	time_t now = time(NULL);
	struct tm tm;
	const char *more = r->headers ? r->headers : "";
	strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&now, &tm));
	int n = snprintf(head, sizeof head, "HTTP/1.1 %d %s\r\nDate: %s\r\nContent-Type: %s\r\nCache-Control: no-store\r\n%s%s%sConnection: %s\r\n", r->status,
			 reason(r->status), date, r->content_type, r->set_cookie[0] ? "Set-Cookie: " : "", r->set_cookie,
			 r->set_cookie[0] ? "\r\n" : "", keep ? "keep-alive" : "close");
	if (n > 0 && (size_t)n < sizeof head && r->status != 204)
		n += snprintf(head + n, sizeof head - (size_t)n, "Content-Length: %zu\r\n", r->body_len);
	size_t len = body && r->status != 204 ? r->body_len : 0, more_len = strlen(more);
	c->out = n > 0 && (size_t)n < sizeof head ? malloc((size_t)n + more_len + 2 + len) : NULL;
	if (c->out) {
		char *p = mempcpy(mempcpy(mempcpy(c->out, head, (size_t)n), more, more_len), "\r\n", 2);
		if (len)
			p = mempcpy(p, r->body, len);
		c->out_len = (size_t)(p - c->out);
	}
	c->out_at = 0;
	c->keep = keep;
	c->state = CONN_WRITING;
	free_wiped(r->body, r->body_len);
	free(r->headers);
	return c->out && deadline_in(c, c->server->o.io_timeout_ms) ? GO_ON : CLOSE;
}

static int refuse(struct http_conn *c, int status, const char *detail)
{
	struct http_response r = {.status = status, .content_type = "application/json"};
	int n = asprintf(&r.body, "{\"title\":\"%s\",\"detail\":\"%s\"}", reason(status), detail);
	if (n < 0)
		return CLOSE;
	r.body_len = (size_t)n;
	count(c, &c->server->counts.bad_requests);
	return compose(c, &r, true, false);
}

static int write_answer(struct http_conn *c)
{
	while (c->out_at < c->out_len) {
		int step;
		size_t n = move(c, true, c->out + c->out_at, c->out_len - c->out_at, &step);
		if (!n)
			return step;
		c->out_at += n;
	}
	free_wiped(c->out, c->out_len);
	c->out = NULL;
	if (!c->keep || c->server->stopping) {
		// Closing while the client still sends would take the answer from it again: first it is to see the end of what we say.
		if (c->ssl)
			SSL_shutdown(c->ssl);
		shutdown(c->fd, SHUT_WR);
		c->state = CONN_LINGERING;
		return deadline_in(c, LINGER_MS) ? GO_ON : CLOSE;
	}
	c->state = CONN_READING;
	if (!deadline_in(c, c->in_len ? c->server->o.io_timeout_ms : c->server->o.idle_timeout_ms))
		return CLOSE;
	// Who sends many requests at once queues up behind others after each: such a wait ends at once.
	// From others nothing has come yet, as they only now see the answer.
	return c->in_len || (c->ssl && SSL_has_pending(c->ssl)) ? EPOLLOUT : EPOLLIN;
}

static int linger(struct http_conn *c)
{
	char nobody[4096];
	for (int i = 0; i < 64; i++) {
		ssize_t n = recv(c->fd, nobody, sizeof nobody, MSG_DONTWAIT);
		if (n < 0 && errno == EAGAIN)
			return EPOLLIN;
		if (n <= 0)
			return CLOSE;
	}
	return EPOLLIN;
}

// ---- requests ----

static size_t large_part(size_t size)
{
	return size > HTTP_SMALL_REQUEST ? size - HTTP_SMALL_REQUEST : 0;
}

static void set_size(struct http_conn *c, char *in, size_t size)
{
	atomic_fetch_sub(&c->server->large, large_part(c->in_size));
	atomic_fetch_add(&c->server->large, large_part(size));
	atomic_store(&c->large, large_part(size));
	c->in = in;
	c->in_size = size;
}

// One address may have half of what there is for large requests, so that it does not keep out those of all others.
static bool within_share(struct http_conn *c, size_t large)
{
	struct http_server *s = c->server;
	if (!large)
		return true;
	pthread_mutex_lock(&s->lock);
	for (struct http_conn *o = s->connections; o; o = o->next)
		large += o != c && !memcmp(o->group, c->group, sizeof c->group) ? atomic_load(&o->large) : 0;
	pthread_mutex_unlock(&s->lock);
	return large <= s->o.max_large_bytes / 2;
}

// Room for more of what is read, and a byte behind it. False: there is none.
static bool make_room(struct http_conn *c)
{
	size_t limit = c->need ? c->need + 1 : HTTP_MAX_HEAD + 1, size = c->in_size ? c->in_size : FIRST_BYTES;
	if (c->in_len + 1 < c->in_size)
		return true;
	while (size < limit && size <= c->in_len + 1)
		size *= 2;
	if (size > limit && limit > c->in_len + 1)
		size = limit;
	if (atomic_load(&c->server->large) - large_part(c->in_size) + large_part(size) > c->server->o.max_large_bytes ||
	    !within_share(c, large_part(size)))
		return false;
	char *in = malloc(size);
	if (!in)
		return false;
	memcpy(in, c->in ? c->in : "", c->in_len);
	free_wiped(c->in, c->in_len);
	set_size(c, in, size);
	return true;
}

// What follows the request stays; it may have held a secret or a token.
static void drop_request(struct http_conn *c)
{
	size_t rest = c->in_len - c->need;
	memmove(c->in, c->in + c->need, rest);
	explicit_bzero(c->in + rest, c->need);
	c->in_len = rest;
	c->head_len = c->need = 0;
	if (!rest) {
		free(c->in);
		set_size(c, NULL, 0);
	}
}

static int serve(struct http_conn *c, struct http_head *head)
{
	const struct http_server_options *o = &c->server->o;
	struct http_request q = {.head = head, .body = c->in + c->head_len, .body_len = c->need - c->head_len};
	struct http_response r = {.peer = c->peer, .status = 200, .content_type = "application/json"};
	char behind = c->in[c->need];
	if (!set_deadline(c, INT64_MAX))
		return CLOSE;
	if (c->ssl)
		q.certificate = SSL_get0_peer_certificate(c->ssl);
	c->in[c->need] = '\0';
	o->handle(o->ctx, &q, &r);
	ERR_clear_error();
	c->in[c->need] = behind;
	drop_request(c);
	bool keep = head->keep_alive && !c->server->stopping, body = strcmp(head->method, "HEAD") != 0;
	explicit_bzero(head, sizeof *head);
	return compose(c, &r, body, keep);
}

static int go_ahead(struct http_conn *c)
{
	static char text[] = "HTTP/1.1 100 Continue\r\n\r\n";
	int step;
	return move(c, true, text, sizeof text - 1, &step) == sizeof text - 1 ? GO_ON : CLOSE;	// nothing else is on its way out
}

// A line that ends without CR would leave the head without an end.
static bool has_bare_lf(const char *bytes, size_t len)
{
	for (const char *p = bytes, *lf; (lf = memchr(p, '\n', len - (size_t)(p - bytes))); p = lf + 1) {
		if (lf == bytes || lf[-1] != '\r')
			return true;
	}
	return false;
}

// Looks at the head, if it has come: GO_ON with c->need set when the request is fine so far.
static int look_at_head(struct http_conn *c, struct http_head *head)
{
	c->head_len = http_head_length(c->in, c->in_len);
	if (!c->head_len)
		return c->in_len >= HTTP_MAX_HEAD ? refuse(c, 431, "the request's head is too long") :
		       has_bare_lf(c->in, c->in_len) ? refuse(c, 400, "malformed request") : GO_ON;
	int err = http_parse_head(head, c->in, c->head_len, false);
	if (err)
		return refuse(c, err == -E2BIG ? 431 : err == -EOPNOTSUPP ? 501 : 400,
			      err == -EOPNOTSUPP ? "send the body with Content-Length; transfer codings are not supported" : "malformed request");
	if (head->content_length > c->server->o.max_body_bytes)
		return refuse(c, 413, "the request's body is too large");
	c->need = c->head_len + head->content_length;
	return head->expects_continue && c->in_len < c->need ? go_ahead(c) : GO_ON;
}

static int read_request(struct http_conn *c, struct http_head *head)
{
	bool parsed = false;
	for (;;) {
		int step;
		if (!c->need && c->in_len) {
			step = look_at_head(c, head);
			if (step != GO_ON || c->state != CONN_READING)
				return step;
			parsed = c->need;
		}
		if (c->need && c->in_len >= c->need) {
			if (!parsed && http_parse_head(head, c->in, c->head_len, false))
				return CLOSE;
			return serve(c, head);
		}
		if (!make_room(c))
			return refuse(c, 503, "too much is being sent at a time");
		size_t n = move(c, false, c->in + c->in_len, c->in_size - c->in_len - 1, &step);
		if (!n) {
			if (!c->in_len) {	// while it waits it needs no buffer
				free(c->in);
				set_size(c, NULL, 0);
			}
			return step;
		}
		// A request's own time begins with its first byte.
		if (!c->in_len && !deadline_in(c, c->server->o.io_timeout_ms))
			return CLOSE;
		c->in_len += n;
	}
}

uint32_t conn_run(struct http_conn *c, struct http_head *head)
{
	for (;;) {
		int step = CLOSE;
		switch (c->state) {
		case CONN_HANDSHAKE: step = handshake(c); break;
		case CONN_READING: step = read_request(c, head); break;
		case CONN_WRITING: step = write_answer(c); break;
		case CONN_LINGERING: step = linger(c); break;
		}
		if (step != GO_ON)
			return step == CLOSE ? 0 : (uint32_t)step;
	}
}

void conn_close(struct http_conn *c)
{
	if (c->ssl && SSL_is_init_finished(c->ssl) && c->state == CONN_READING)
		SSL_shutdown(c->ssl);
	SSL_free(c->ssl);
	ERR_clear_error();
	free_wiped(c->in, c->in_len);
	set_size(c, NULL, 0);
	if (c->out)
		free_wiped(c->out, c->out_len);
	close(c->fd);
	free(c);
}

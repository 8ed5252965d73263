// SPDX-License-Identifier: Apache-2.0
// See http_server.h. One lock, `server.lock`, guards the list of connections; it is held for list work only.
#include "lib/http_server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/file.h"
#include "lib/tls.h"

struct connection {
	struct connection *next;
	struct http_server *server;
	int fd;
	char peer[64];		// numeric address
	bool serving;		// a request is in the handler's hands: not to be cut off
	int64_t since_ms;	// of the last change of `serving`
};

struct http_server {
	struct http_server_options o;
	int listener, stop_event;
	unsigned int port;
	pthread_t acceptor;
	pthread_mutex_t lock;
	pthread_cond_t freed;	// a connection left the list
	struct connection *connections;
	unsigned int count;
	atomic_bool stopping;
};

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

static int send_response(struct tls_stream *s, const struct http_response *r, bool keep_alive, int64_t deadline)
{
	char head[1024];
	int n = snprintf(head, sizeof head,
			 "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\nCache-Control: no-store\r\n"
			 "%s%s%sConnection: %s\r\n\r\n",
			 r->status, reason(r->status), r->content_type, r->body_len,
			 r->set_cookie[0] ? "Set-Cookie: " : "", r->set_cookie, r->set_cookie[0] ? "\r\n" : "",
			 keep_alive ? "keep-alive" : "close");
	if (n < 0 || (size_t)n >= sizeof head)
		return -E2BIG;
	// Further lines go before the empty one.
	size_t lead = r->headers ? (size_t)n - 2 : (size_t)n;
	int err = tls_write(s, head, lead, deadline);
	if (!err && r->headers)
		err = tls_write(s, r->headers, strlen(r->headers), deadline);
	if (!err && r->headers)
		err = tls_write(s, "\r\n", 2, deadline);
	return !err && r->body_len ? tls_write(s, r->body, r->body_len, deadline) : err;
}

static void refuse(struct tls_stream *s, int status, const char *detail, int64_t deadline)
{
	char body[256];
	struct http_response r = {.status = status, .content_type = "application/json", .body = body};
	r.body_len =
		(size_t)snprintf(body, sizeof body, "{\"title\":\"%s\",\"detail\":\"%s\"}", reason(status), detail);
	send_response(s, &r, false, deadline);
}

static void set_serving(struct connection *c, bool serving)
{
	pthread_mutex_lock(&c->server->lock);
	c->serving = serving;
	c->since_ms = clock_ms();
	pthread_mutex_unlock(&c->server->lock);
}

// Reads until the head is complete. `have` bytes are in buf already. The head's length, 0 at a clean end, or -errno.
static ssize_t read_head(struct tls_stream *s, const struct http_server_options *o, char *buf, size_t *have,
			 int64_t *deadline)
{
	*deadline = clock_ms() + (*have ? o->io_timeout_ms : o->idle_timeout_ms);
	bool started = *have > 0;
	for (;;) {
		size_t len = http_head_length(buf, *have);
		if (len)
			return (ssize_t)len;
		if (*have == HTTP_MAX_HEAD)
			return -E2BIG;
		ssize_t n = tls_read(s, buf + *have, HTTP_MAX_HEAD - *have, *deadline);
		if (n <= 0)
			return n ? n : *have ? -ECONNRESET : 0;
		*have += (size_t)n;
		if (!started)	// the request's own time starts with its first byte
			*deadline = clock_ms() + o->io_timeout_ms;
		started = true;
	}
}

// One request on the connection. True when another may follow. buf holds *have bytes of it on entry and the first
// bytes of the next one on return.
static bool serve_one(struct connection *c, struct tls_stream *s, struct http_head *head, char *buf, size_t *have)
{
	const struct http_server_options *o = &c->server->o;
	int64_t deadline;
	ssize_t len = read_head(s, o, buf, have, &deadline);
	if (len == -E2BIG)
		refuse(s, 431, "the request's head is too long", deadline);
	if (len <= 0)
		return false;
	int err = http_parse_head(head, buf, (size_t)len, false);
	if (err) {
		refuse(s, err == -E2BIG ? 431 : err == -EOPNOTSUPP ? 501 : 400,
		       err == -EOPNOTSUPP ? "send the body with Content-Length; transfer codings are not supported"
					  : "malformed request", deadline);
		return false;
	}
	if (head->content_length > o->max_body_bytes) {
		refuse(s, 413, "the request's body is too large", deadline);
		return false;
	}
	char *body = malloc(head->content_length + 1);
	if (!body) {
		refuse(s, 503, "out of memory", deadline);
		return false;
	}
	size_t got = *have - (size_t)len, spare = got > head->content_length ? got - head->content_length : 0;
	got -= spare;
	memcpy(body, buf + len, got);
	bool ok = true;
	if (head->expects_continue && got < head->content_length)
		ok = !tls_write(s, "HTTP/1.1 100 Continue\r\n\r\n", 25, deadline);
	while (ok && got < head->content_length) {
		ssize_t n = tls_read(s, body + got, head->content_length - got, deadline);
		if (n <= 0)
			ok = false;
		else
			got += (size_t)n;
	}
	body[got] = '\0';
	// What follows the body is the next request; the rest of the buffer may hold a secret or a token.
	memmove(buf, buf + *have - spare, spare);
	explicit_bzero(buf + spare, HTTP_MAX_HEAD - spare);
	*have = spare;
	if (ok) {
		struct http_request request = {.head = head, .body = body, .body_len = got, .certificate = SSL_get0_peer_certificate(s->ssl)};
		struct http_response r = {.peer = c->peer, .status = 200, .content_type = "application/json"};
		set_serving(c, true);
		o->handle(o->ctx, &request, &r);
		bool keep = head->keep_alive && !c->server->stopping;
		ok = !send_response(s, &r, keep, clock_ms() + o->io_timeout_ms) && keep;
		set_serving(c, false);
		free_wiped(r.body, r.body_len);
		free(r.headers);
	}
	free_wiped(body, got);
	explicit_bzero(head, sizeof *head);
	return ok;
}

static void leave(struct connection *c)
{
	struct http_server *server = c->server;
	pthread_mutex_lock(&server->lock);
	for (struct connection **p = &server->connections; *p; p = &(*p)->next) {
		if (*p == c) {
			*p = c->next;
			break;
		}
	}
	server->count--;
	pthread_cond_broadcast(&server->freed);
	pthread_mutex_unlock(&server->lock);
	free(c);
}

static void *connection_thread(void *arg)
{
	struct connection *c = arg;
	const struct http_server_options *o = &c->server->o;
	struct tls_stream s;
	char *buf = malloc(HTTP_MAX_HEAD);
	struct http_head *head = malloc(sizeof *head);
	size_t have = 0;
	// The list keeps its own descriptor, so that shutting it down never hits a reused number.
	int fd = fcntl(c->fd, F_DUPFD_CLOEXEC, 0);
	if (fd >= 0 && buf && head && !tls_accept(&s, o->tls, fd, clock_ms() + o->io_timeout_ms)) {
		while (serve_one(c, &s, head, buf, &have))
			;
		tls_close(&s);
	} else if (fd >= 0 && (!buf || !head)) {
		close(fd);
	}
	free_wiped(buf, buf ? HTTP_MAX_HEAD : 0);
	free(head);
	int own = c->fd;
	leave(c);
	close(own);
	return NULL;
}

// Makes room when all places are taken: the connection that has waited longest without a request in hand goes.
// Called and returns with the lock held.
static void make_room(struct http_server *s)
{
	struct connection *oldest = NULL;
	for (struct connection *c = s->connections; c; c = c->next) {
		if (!c->serving && (!oldest || c->since_ms < oldest->since_ms))
			oldest = c;
	}
	if (oldest) {
		shutdown(oldest->fd, SHUT_RDWR);
		oldest->since_ms = INT64_MAX;	// not chosen twice
	}
	struct timespec until;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec++;
	while (s->count >= s->o.max_connections && !s->stopping) {
		if (pthread_cond_timedwait(&s->freed, &s->lock, &until))
			break;
	}
}

static void name_peer(struct connection *c, const struct sockaddr *from, socklen_t len)
{
	char host[48], port[8];
	if (getnameinfo(from, len, host, sizeof host, port, sizeof port, NI_NUMERICHOST | NI_NUMERICSERV))
		strcpy(c->peer, "unknown");
	else
		snprintf(c->peer, sizeof c->peer, strchr(host, ':') ? "[%s]:%s" : "%s:%s", host, port);
}

static void start_connection(struct http_server *s, int fd, const struct sockaddr *from, socklen_t len)
{
	struct connection *c = malloc(sizeof *c);
	pthread_attr_t attr;
	pthread_t thread;
	bool started = false;
	if (!c) {
		close(fd);
		return;
	}
	*c = (struct connection){.server = s, .fd = fd, .since_ms = clock_ms()};
	name_peer(c, from, len);
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, 512 << 10);
	pthread_mutex_lock(&s->lock);
	if (s->count >= s->o.max_connections)
		make_room(s);
	if (s->count < s->o.max_connections && !pthread_create(&thread, &attr, connection_thread, c)) {
		c->next = s->connections;
		s->connections = c;
		s->count++;
		started = true;
	}
	pthread_mutex_unlock(&s->lock);
	pthread_attr_destroy(&attr);
	if (!started) {
		free(c);
		close(fd);
	}
}

static void *acceptor_thread(void *arg)
{
	struct http_server *s = arg;
	struct pollfd p[2] = {{.fd = s->listener, .events = POLLIN}, {.fd = s->stop_event, .events = POLLIN}};
	while (!p[1].revents) {
		if (poll(p, 2, -1) < 0 && errno != EINTR)
			break;
		if (!p[0].revents)
			continue;
		union {
			struct sockaddr sa;
			struct sockaddr_in6 in6;
		} from;
		socklen_t from_len = sizeof from;
		int fd = accept4(s->listener, &from.sa, &from_len, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (fd >= 0)
			start_connection(s, fd, &from.sa, from_len);
		else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)
			poll(&p[1], 1, 100);	// until a connection ends; do not spin
	}
	return NULL;
}

static int listen_on(struct http_server *s, struct fault *f)
{
	struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM}, *ai;
	char port[16];
	int one = 1, err = 0;
	snprintf(port, sizeof port, "%u", s->o.port);
	if (getaddrinfo(s->o.address, port, &hints, &ai))
		return fault_set(f, -EINVAL, "cannot listen on '%s': not a numeric address", s->o.address);
	s->listener = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (s->listener < 0 || setsockopt(s->listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) < 0 ||
	    bind(s->listener, ai->ai_addr, ai->ai_addrlen) < 0 || listen(s->listener, 256) < 0)
		err = fault_errno(f, errno, "cannot listen on %s port %s", s->o.address, port);
	freeaddrinfo(ai);

	union {
		struct sockaddr sa;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
	} name;
	socklen_t len = sizeof name;
	if (!err && getsockname(s->listener, &name.sa, &len) < 0)
		err = fault_errno(f, errno, "cannot listen on %s", s->o.address);
	if (!err)
		s->port = ntohs(name.sa.sa_family == AF_INET6 ? name.in6.sin6_port : name.in.sin_port);
	return err;
}

int http_server_start(struct http_server **out, const struct http_server_options *o, struct fault *f)
{
	struct http_server *s = calloc(1, sizeof *s);
	if (!s)
		return fault_set(f, -ENOMEM, "out of memory");
	s->o = *o;
	s->o.max_connections = o->max_connections ? o->max_connections : 128;
	s->o.max_body_bytes = o->max_body_bytes ? o->max_body_bytes : 1u << 20;
	s->o.io_timeout_ms = o->io_timeout_ms ? o->io_timeout_ms : 10000;
	s->o.idle_timeout_ms = o->idle_timeout_ms ? o->idle_timeout_ms : 15000;
	s->listener = -1;
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->freed, NULL);
	int err = 0;
	s->stop_event = eventfd(0, EFD_CLOEXEC);
	if (s->stop_event < 0)
		err = fault_errno(f, errno, "cannot start the server");
	if (!err)
		err = listen_on(s, f);
	if (!err && (err = -pthread_create(&s->acceptor, NULL, acceptor_thread, s)))
		fault_errno(f, -err, "cannot start the server");
	if (err) {
		if (s->listener >= 0)
			close(s->listener);
		if (s->stop_event >= 0)
			close(s->stop_event);
		free(s);
		return err;
	}
	*out = s;
	return 0;
}

unsigned int http_server_port(const struct http_server *s)
{
	return s->port;
}

void http_server_stop(struct http_server *s)
{
	pthread_mutex_lock(&s->lock);
	s->stopping = true;
	pthread_mutex_unlock(&s->lock);
	eventfd_write(s->stop_event, 1);
	pthread_join(s->acceptor, NULL);
	close(s->listener);

	pthread_mutex_lock(&s->lock);
	for (struct connection *c = s->connections; c; c = c->next)
		shutdown(c->fd, c->serving ? SHUT_RD : SHUT_RDWR);
	while (s->count)
		pthread_cond_wait(&s->freed, &s->lock);
	pthread_mutex_unlock(&s->lock);
	close(s->stop_event);
	pthread_mutex_destroy(&s->lock);
	pthread_cond_destroy(&s->freed);
	free(s);
}

// SPDX-License-Identifier: Apache-2.0
// See http1_server.h. server.lock guards the list of connections and is held for list work only; a connection's thread closes its own socket, others
// shut it down.
#include "tunnel/http1_server.h"

#include <errno.h>
#include <jansson.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MAX_CONNECTIONS 512
#define HEAD_MS 10000
#define IDLE_MS 60000
#define WRITE_MS 30000
#define LINGER_MS 1000
#define MAX_LARGE (128u << 20)
#define STACK_BYTES (1u << 20)	// evidence is judged on it

struct connection {
	struct connection *next, **link;	// server.lock
	struct http1_server *server;
	bool waiting, cut;			// server.lock: between requests; shut down
	int64_t since_ms;			// server.lock: waiting
	struct wire w;
	struct outbuf head;			// of the request, which the call points into
	struct http1_call call;
	uint64_t left;				// of an answer's length
	bool chunked;
	size_t large;				// of server.large, this request's
};

struct http1_server {
	struct http1_server_options o;
	pthread_mutex_t lock;
	pthread_cond_t freed;
	struct connection *all;
	unsigned int open;
	atomic_size_t large;
	bool stopping;
	int wake;
	pthread_t thread;
};

static struct connection *of(struct http1_call *c)
{
	return (struct connection *)((char *)c - offsetof(struct connection, call));
}

// ---- answers ----

static int put(struct http1_call *c, const void *bytes, size_t len)
{
	c->answered = true;
	int err = wire_write(c->w, bytes, len, clock_ms() + WRITE_MS);
	if (err)
		c->keep = false;
	return err;
}

static void put_head(struct outbuf *b, const struct http1_call *c, unsigned int status)
{
	char line[160], date[40];
	time_t now = time(NULL);
	struct tm tm;
	strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&now, &tm));
	snprintf(line, sizeof line, "HTTP/1.1 %u %s\r\nDate: %s\r\nConnection: %s\r\n", status, http1_reason(status), date,
		c->keep ? "keep-alive" : "close");
	outbuf_text(b, line);
}

int http1_answer(struct http1_call *c, unsigned int status, const char *type, const char *fields, const void *body, size_t len)
{
	struct outbuf b = {.at = NULL};
	char line[160];
	bool none = status == 204 || status == 304;
	// What the client still sends would be taken for its next request.
	if (c->body.state != HTTP1_AT_END)
		c->keep = false;
	put_head(&b, c, status);
	if (!none) {
		snprintf(line, sizeof line, "Content-Type: %s\r\nContent-Length: %zu\r\n", type, len);
		outbuf_text(&b, line);
	}
	outbuf_text(&b, "Cache-Control: no-store\r\n");
	outbuf_text(&b, fields ? fields : "");
	outbuf_text(&b, "\r\n");
	if (!none && !http_text_is(&c->head.method, "HEAD"))
		outbuf_put(&b, body, len);
	int err = b.failed ? -ENOMEM : put(c, b.at, b.len);
	outbuf_free(&b);
	return err;
}

int http1_problem(struct http1_call *c, unsigned int status, const char *type, const char *detail, const char *fields)
{
	json_t *o = json_pack("{s:s, s:s, s:i}", "title", http1_reason(status), "detail", detail, "status", (int)status);
	if (o && type)
		json_object_set_new(o, "type", json_string(type));
	char *text = o ? json_dumps(o, JSON_COMPACT) : NULL;
	int err = http1_answer(c, status, "application/problem+json", fields, text ? text : "{}", text ? strlen(text) : 2);
	free(text);
	json_decref(o);
	return err;
}

int http1_answer_begin(struct http1_call *c, unsigned int status, const struct outbuf *fields, uint64_t length)
{
	struct outbuf b = {.at = NULL};
	char line[64];
	bool none = status == 204 || status == 304 || http_text_is(&c->head.method, "HEAD");
	of(c)->chunked = !none && length == UINT64_MAX && c->head.version_1_1;
	of(c)->left = none ? 0 : length;
	if (c->body.state != HTTP1_AT_END || (!none && length == UINT64_MAX && !c->head.version_1_1))
		c->keep = false;
	put_head(&b, c, status);
	outbuf_put(&b, fields->at, fields->len);
	if (of(c)->chunked)
		outbuf_text(&b, "Transfer-Encoding: chunked\r\n");
	else if (length != UINT64_MAX && status != 204) {
		snprintf(line, sizeof line, "Content-Length: %llu\r\n", (unsigned long long)length);
		outbuf_text(&b, line);
	}
	outbuf_text(&b, "\r\n");
	int err = b.failed || fields->failed ? -ENOMEM : put(c, b.at, b.len);
	outbuf_free(&b);
	return err;
}

int http1_answer_piece(struct http1_call *c, const void *bytes, size_t len)
{
	struct connection *k = of(c);
	struct outbuf b = {.at = NULL};
	if (!len)
		return 0;
	if (!k->chunked && len > k->left) {	// more than was said, or content where none may be
		c->keep = false;
		return -EPROTO;
	}
	if (!k->chunked) {
		k->left -= k->left == UINT64_MAX ? 0 : len;
		return put(c, bytes, len);
	}
	http1_put_chunk(&b, bytes, len);
	int err = b.failed ? -ENOMEM : put(c, b.at, b.len);
	outbuf_free(&b);
	return err;
}

int http1_answer_end(struct http1_call *c)
{
	struct connection *k = of(c);
	if (k->chunked)
		return put(c, "0\r\n\r\n", 5);
	if (k->left && k->left != UINT64_MAX) {
		c->keep = false;
		return -EPROTO;
	}
	return 0;
}

// Room for a body of that size so far. Small ones are not counted, so that nobody keeps those out with large ones.
static bool may_have(struct connection *k, size_t size)
{
	struct http1_server *s = k->server;
	size_t large = size > HTTP1_SMALL ? size - HTTP1_SMALL : 0, more = large > k->large ? large - k->large : 0;
	if (!more)
		return true;
	if (atomic_fetch_add(&s->large, more) + more > s->o.max_large_bytes) {
		atomic_fetch_sub(&s->large, more);
		return false;
	}
	k->large += more;
	return true;
}

int http1_call_body(struct http1_call *c, size_t max, struct outbuf *out)
{
	if (c->body.framing == HTTP1_LENGTH && c->body.left > max)
		return -EFBIG;
	if (!c->continued && c->body.state != HTTP1_AT_END) {
		int err = wire_write(c->w, "HTTP/1.1 100 Continue\r\n\r\n", 25, clock_ms() + WRITE_MS);
		if (err)
			return err;
	}
	c->continued = true;
	wire_body_begin(c->w, WIRE_BODY_MS);
	for (;;) {
		const char *piece = NULL;
		size_t n = 0;
		int got = wire_body(c->w, &c->body, &piece, &n);
		if (got != HTTP1_PIECE)
			return got == HTTP1_END ? 0 : got;
		if (n > max - out->len)
			return -EFBIG;
		if (!may_have(of(c), out->len + n))
			return -ENOBUFS;
		outbuf_put(out, piece, n);
		if (out->failed)
			return -ENOMEM;
	}
}

// ---- connections ----

// False: the server stops, or this connection is cut off.
static bool set_waiting(struct connection *k, bool waiting)
{
	pthread_mutex_lock(&k->server->lock);
	bool on = !k->cut && !(waiting && k->server->stopping);
	k->waiting = waiting;
	k->since_ms = clock_ms();
	pthread_mutex_unlock(&k->server->lock);
	return on;
}

static bool serve_one(struct connection *k)
{
	struct http1_call *c = &k->call;
	struct fault why = {""};
	const char *head;
	size_t len;
	int64_t now = clock_ms();
	bool again = k->call.answered;
	if (!set_waiting(k, true))
		return false;
	int err = wire_head(&k->w, now + (again ? IDLE_MS : HEAD_MS), now + (again ? IDLE_MS : 0) + HEAD_MS, &head, &len);
	bool on = set_waiting(k, false);
	memset(c, 0, sizeof *c);
	c->w = &k->w;
	if (err == -ENODATA || !on)
		return false;
	k->head.len = 0;
	if (!err) {
		outbuf_put(&k->head, head, len);
		err = k->head.failed ? -ENOMEM : http1_request_read(&c->head, (const char *)k->head.at, len, &why);
	}
	if (err) {
		c->head.method = (struct http_text){"", 0};
		c->body.state = HTTP1_AT_SIZE;	// where the next request would begin is not known
		if (err == -EINVAL || err == -E2BIG || err == -EOPNOTSUPP)
			http1_problem(c, err == -E2BIG ? 431 : err == -EOPNOTSUPP ? 501 : 400, NULL,
			*why.text ? why.text : "the request's head is too long", NULL);
		return false;
	}
	c->keep = c->head.keep_alive;
	c->continued = !c->head.expects_continue;
	http1_content_begin(&c->body, &c->head);
	k->server->o.handle(k->server->o.ctx, c);
	atomic_fetch_sub(&k->server->large, k->large);
	k->large = 0;
	return c->keep && c->answered && c->body.state == HTTP1_AT_END;
}

// What the client still sends when we have closed would take the answer from it.
static void linger(struct wire *w)
{
	char nobody[4096];
	struct pollfd p = {.fd = w->s.fd, .events = POLLIN};
	int64_t until = clock_ms() + LINGER_MS, left;
	shutdown(w->s.fd, SHUT_WR);
	while ((left = until - clock_ms()) > 0 && poll(&p, 1, (int)left) > 0 && recv(w->s.fd, nobody, sizeof nobody, MSG_DONTWAIT) > 0)
		;
}

static void *connection_thread(void *arg)
{
	struct connection *k = arg;
	struct http1_server *s = k->server;
	while (serve_one(k))
		;
	linger(&k->w);
	pthread_mutex_lock(&s->lock);
	*k->link = k->next;
	if (k->next)
		k->next->link = k->link;
	wire_close(&k->w);	// within the lock: nobody shuts down another one's descriptor
	s->open--;
	pthread_cond_broadcast(&s->freed);	// with the lock: *s is freed once it is 0
	pthread_mutex_unlock(&s->lock);
	outbuf_free(&k->head);
	free(k);
	return NULL;
}

// With the lock: of those that wait for a request, the one that has waited longest goes.
static bool make_place(struct http1_server *s)
{
	struct connection *oldest = NULL;
	for (struct connection *k = s->all; k; k = k->next) {
		if (k->waiting && !k->cut && (!oldest || k->since_ms < oldest->since_ms))
			oldest = k;
	}
	if (oldest) {
		oldest->cut = true;
		shutdown(oldest->w.s.fd, SHUT_RDWR);
	}
	return oldest;
}

static void start_connection(struct http1_server *s, int fd)
{
	pthread_attr_t attr;
	pthread_t thread;
	struct connection *k = calloc(1, sizeof *k);
	pthread_mutex_lock(&s->lock);
	bool in = k && (s->open < s->o.max_connections || (s->open < s->o.max_connections + 64 && make_place(s)));
	if (in) {
		k->server = s;
		wire_begin(&k->w, fd);
		k->next = s->all;
		k->link = &s->all;
		if (k->next)
			k->next->link = &k->next;
		s->all = k;
		s->open++;
	}
	pthread_mutex_unlock(&s->lock);
	if (!in) {
		static const char busy[] = "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
		send(fd, busy, sizeof busy - 1, MSG_DONTWAIT | MSG_NOSIGNAL);
		close(fd);
		free(k);
		return;
	}
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_BYTES);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	int err = pthread_create(&thread, &attr, connection_thread, k);
	pthread_attr_destroy(&attr);
	if (err) {
		pthread_mutex_lock(&s->lock);
		*k->link = k->next;
		if (k->next)
			k->next->link = k->link;
		s->open--;
		wire_close(&k->w);
		pthread_mutex_unlock(&s->lock);
		free(k);
	}
}

static void *listen_thread(void *arg)
{
	struct http1_server *s = arg;
	struct pollfd p[] = {{.fd = s->o.listener, .events = POLLIN}, {.fd = s->wake, .events = POLLIN}};
	for (;;) {
		if (poll(p, 2, -1) < 0 && errno != EINTR)
			break;
		if (p[1].revents)
			break;
		int fd = accept4(s->o.listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (fd >= 0)
			start_connection(s, fd);
		else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)
			poll(&p[1], 1, 100);	// until a connection ends
	}
	return NULL;
}

int http1_server_start(struct http1_server **out, const struct http1_server_options *o, struct fault *f)
{
	struct http1_server *s = calloc(1, sizeof *s);
	pthread_condattr_t monotonic;
	int err = s ? 0 : -ENOMEM;
	if (err) {
		close(o->listener);
		return fault_set(f, err, "out of memory");
	}
	s->o = *o;
	s->o.max_connections = o->max_connections ? o->max_connections : MAX_CONNECTIONS;
	s->o.max_large_bytes = o->max_large_bytes ? o->max_large_bytes : MAX_LARGE;
	pthread_mutex_init(&s->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&s->freed, &monotonic);
	pthread_condattr_destroy(&monotonic);
	s->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	err = s->wake < 0 ? -errno : -pthread_create(&s->thread, NULL, listen_thread, s);
	if (!err) {
		*out = s;
		return 0;
	}
	if (s->wake >= 0)
		close(s->wake);
	close(s->o.listener);
	pthread_mutex_destroy(&s->lock);
	pthread_cond_destroy(&s->freed);
	free(s);
	return fault_errno(f, -err, "cannot start the server's thread");
}

// With the lock. `all`: also those in the middle of a request.
static void cut_off(struct http1_server *s, bool all)
{
	for (struct connection *k = s->all; k; k = k->next) {
		if (k->cut && !all)
			continue;
		if (k->waiting || all) {
			k->cut = true;
			shutdown(k->w.s.fd, SHUT_RDWR);
		}
	}
}

void http1_server_stop(struct http1_server *s, unsigned int drain_ms)
{
	struct timespec until;
	if (!s)
		return;
	eventfd_write(s->wake, 1);
	pthread_join(s->thread, NULL);
	close(s->o.listener);
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += drain_ms / 1000;
	until.tv_nsec += drain_ms % 1000 * 1000000l;
	if (until.tv_nsec >= 1000000000l) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000l;
	}
	pthread_mutex_lock(&s->lock);
	s->stopping = true;
	cut_off(s, false);
	while (s->open && !pthread_cond_timedwait(&s->freed, &s->lock, &until))
		;
	while (s->open) {
		cut_off(s, true);
		clock_gettime(CLOCK_MONOTONIC, &until);
		until.tv_sec++;
		pthread_cond_timedwait(&s->freed, &s->lock, &until);
	}
	pthread_mutex_unlock(&s->lock);
	close(s->wake);
	pthread_mutex_destroy(&s->lock);
	pthread_cond_destroy(&s->freed);
	free(s);
}

unsigned int http1_server_open_count(struct http1_server *s)
{
	pthread_mutex_lock(&s->lock);
	unsigned int n = s->open;
	pthread_mutex_unlock(&s->lock);
	return n;
}

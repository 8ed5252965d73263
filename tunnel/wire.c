// SPDX-License-Identifier: Apache-2.0
// See wire.h.
#include "tunnel/wire.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define READ_BYTES (32u << 10)
#define BODY_BYTES_PER_S (16u << 10)

void wire_begin(struct wire *w, int fd)
{
	*w = (struct wire){.s.fd = fd};
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
}

void wire_close(struct wire *w)
{
	if (w->s.fd >= 0)
		tls_close(&w->s);
	outbuf_free(&w->in);
	*w = (struct wire){.s.fd = -1};
}

static int wait_for(int fd, short events, int64_t deadline)
{
	struct pollfd p = {.fd = fd, .events = events};
	for (;;) {
		int64_t left = deadline - clock_ms();
		int n = left > 0 ? poll(&p, 1, left > 60000 ? 60000 : (int)left) : 0;
		if (n > 0)
			return 0;
		if (n < 0 && errno != EINTR)
			return -errno;
		if (!n && clock_ms() >= deadline)
			return -ETIMEDOUT;
	}
}

static int connect_to(const struct sockaddr *sa, socklen_t len, int64_t deadline)
{
	int fd = socket(sa->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), err = 0;
	socklen_t size = sizeof err;
	if (fd < 0)
		return -errno;
	if (!connect(fd, sa, len))
		return fd;
	int why = errno == EINPROGRESS ? wait_for(fd, POLLOUT, deadline) : -errno;
	if (!why && getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &size) < 0)
		why = -errno;
	if (!why && !err)
		return fd;
	close(fd);
	return why ? why : -err;
}

static int dial_unix(const char *path, int64_t deadline)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	if (strlen(path) >= sizeof un.sun_path)
		return -ENAMETOOLONG;
	strcpy(un.sun_path, path);
	return connect_to((struct sockaddr *)&un, sizeof un, deadline);
}

// The first address that answers; each has its share of the time.
static int dial_name(const char *host, const char *port, int64_t deadline, struct fault *f)
{
	const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
	struct addrinfo *all = NULL;
	int why = getaddrinfo(host, port, &hints, &all), fd = -EHOSTUNREACH, left = 0;
	if (why)
		return fault_set(f, -EHOSTUNREACH, "%s: %s", host, gai_strerror(why));
	for (const struct addrinfo *a = all; a; a = a->ai_next)
		left++;
	for (const struct addrinfo *a = all; a && fd < 0; a = a->ai_next, left--) {
		int64_t now = clock_ms();
		fd = connect_to(a->ai_addr, a->ai_addrlen, now + (deadline - now) / left);
	}
	freeaddrinfo(all);
	return fd;
}

int wire_dial(struct wire *w, const char *where, SSL_CTX *tls, int64_t deadline_ms, struct fault *f)
{
	char host[256];
	const char *colon = strrchr(where, ':');
	size_t n = colon ? (size_t)(colon - where) : 0;
	int fd;
	*w = (struct wire){.s.fd = -1};
	if (!strncmp(where, "unix:", 5)) {
		fd = dial_unix(where + 5, deadline_ms);
		snprintf(host, sizeof host, "localhost");
	} else {
		bool brackets = n > 2 && *where == '[' && where[n - 1] == ']';
		if (!n || n >= sizeof host || !colon[1])
			return fault_set(f, -EINVAL, "'%s' is no HOST:PORT", where);
		snprintf(host, sizeof host, "%.*s", (int)(brackets ? n - 2 : n), where + brackets);
		fd = dial_name(host, colon + 1, deadline_ms, f);
	}
	if (fd < 0)
		return fault_errno(f, -fd, "cannot reach %s", where);
	wire_begin(w, fd);
	int err = tls ? tls_connect(&w->s, tls, fd, host, deadline_ms, NULL) : 0;
	if (!err)
		return 0;
	*w = (struct wire){.s.fd = -1};	// tls_connect has closed it
	return fault_set(f, err, err == -EKEYREJECTED ? "the certificate that %s shows is not trusted, or is not for %s" : "no TLS 1.3 with %s (%s)",
	where, host);
}

bool wire_idle(struct wire *w)
{
	struct pollfd p = {.fd = w->s.fd, .events = POLLIN};
	return !w->ended && w->at == w->in.len && !(w->s.ssl && SSL_has_pending(w->s.ssl)) && poll(&p, 1, 0) == 0;
}

int wire_write(struct wire *w, const void *bytes, size_t len, int64_t deadline_ms)
{
	const char *p = bytes;
	if (w->s.ssl)
		return tls_write(&w->s, bytes, len, deadline_ms);
	while (len) {
		ssize_t n = send(w->s.fd, p, len, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n > 0) {
			p += n;
			len -= (size_t)n;
			continue;
		}
		int err = errno == EAGAIN ? wait_for(w->s.fd, POLLOUT, deadline_ms) : errno == EINTR ? 0 : -errno;
		if (err)
			return err;
	}
	return 0;
}

// More of what comes, behind what is there; 0: the end.
static ssize_t read_more(struct wire *w, int64_t deadline)
{
	if (w->at) {
		outbuf_drop(&w->in, w->at);
		w->at = 0;
	}
	size_t before = w->in.len;
	uint8_t *p = outbuf_add(&w->in, READ_BYTES);
	ssize_t n = -ENOMEM;
	while (p) {
		if (w->s.ssl) {
			n = tls_read(&w->s, p, READ_BYTES, deadline);
			break;
		}
		n = recv(w->s.fd, p, READ_BYTES, MSG_DONTWAIT);
		if (n >= 0)
			break;
		n = errno == EAGAIN ? wait_for(w->s.fd, POLLIN, deadline) : errno == EINTR ? 0 : -errno;
		if (n)
			break;
	}
	w->in.len = before + (n > 0 ? (size_t)n : 0);
	w->ended |= n == 0;
	return n;
}

int wire_head(struct wire *w, int64_t first_ms, int64_t deadline_ms, const char **head, size_t *len)
{
	for (;;) {
		const char *p = (const char *)w->in.at + w->at;
		size_t have = w->in.len - w->at;
		// Empty lines before a request are passed over (RFC 9112 section 2.2).
		while (have >= 2 && !memcmp(p, "\r\n", 2)) {
			p += 2;
			have -= 2;
			w->at += 2;
		}
		*len = have ? http1_head_end(p, have) : 0;
		if (*len > HTTP1_MAX_HEAD || (!*len && have > HTTP1_MAX_HEAD))
			return -E2BIG;
		if (*len) {
			*head = p;
			w->at += *len;
			return 0;
		}
		ssize_t n = read_more(w, have ? deadline_ms : first_ms);
		if (n <= 0)
			return n < 0 ? (int)n : have ? -ECONNRESET : -ENODATA;
	}
}

void wire_body_begin(struct wire *w, unsigned int ms)
{
	w->body_deadline_ms = clock_ms() + ms;
}

int wire_body(struct wire *w, struct http1_content *c, const char **piece, size_t *n)
{
	for (;;) {
		size_t used;
		const char *p = w->in.at ? (const char *)w->in.at + w->at : "";
		int got = http1_content_next(c, p, w->in.len - w->at, w->ended, &used, piece, n);
		w->at += used;
		if (got != HTTP1_MORE)
			return got == -EINVAL && w->ended ? -ECONNRESET : got;
		ssize_t more = read_more(w, w->body_deadline_ms);
		if (more < 0)
			return (int)more;
		w->body_deadline_ms += more * 1000 / BODY_BYTES_PER_S;
	}
}

int wire_body_all(struct wire *w, struct http1_content *c, size_t max, struct outbuf *out)
{
	const char *piece = NULL;
	size_t n = 0;
	for (;;) {
		int got = wire_body(w, c, &piece, &n);
		if (got != HTTP1_PIECE)
			return got == HTTP1_END ? 0 : got;
		if (n > max - out->len)
			return -EFBIG;
		outbuf_put(out, piece, n);
		if (out->failed)
			return -ENOMEM;
	}
}

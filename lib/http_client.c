// SPDX-License-Identifier: Apache-2.0
// See http_client.h.
#include "lib/http_client.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/file.h"
#include "lib/http.h"
#include "lib/tls.h"

#define MAX_ADDRESSES 8
#define MAX_URLS 8

struct http_client {
	struct http_url urls[MAX_URLS];
	unsigned int count, at;	// the one that is used now
	char *name;
	SSL_CTX *tls;
	http_resolver *resolve;
	int timeout_ms;
	bool connected;
	struct tls_stream stream;
};

static bool numeric(const char *host, const char *port, union http_address *a)
{
	unsigned short p = htons((unsigned short)atoi(port));
	memset(a, 0, sizeof *a);
	if (inet_pton(AF_INET, host, &a->in.sin_addr) == 1) {
		a->in.sin_family = AF_INET;
		a->in.sin_port = p;
		return true;
	}
	if (inet_pton(AF_INET6, host, &a->in6.sin6_addr) == 1) {
		a->in6.sin6_family = AF_INET6;
		a->in6.sin6_port = p;
		return true;
	}
	return false;
}

int http_resolve_static(const char *host, const char *port, union http_address *out, int max, struct fault *f)
{
	char *text, *save, *save2;
	size_t len;
	int count = 0;
	if (max < 1)
		return -EINVAL;
	if (numeric(host, port, out))
		return 1;
	if (!strcasecmp(host, "localhost")) {
		numeric("127.0.0.1", port, out);
		return 1;
	}
	if (!file_read("/etc/hosts", 1 << 20, &text, &len, NULL)) {
		for (char *line = strtok_r(text, "\n", &save); line && count < max;
		     line = strtok_r(NULL, "\n", &save)) {
			line[strcspn(line, "#")] = '\0';
			char *address = strtok_r(line, " \t\r", &save2), *name;
			while (address && count < max && (name = strtok_r(NULL, " \t\r", &save2))) {
				if (!strcasecmp(name, host) && numeric(address, port, &out[count])) {
					count++;
					break;
				}
			}
		}
		free(text);
	}
	if (!count)
		return fault_set(f, -EHOSTUNREACH,
				 "no address is known for '%s': use a numeric address, or list the name "
				 "in /etc/hosts (DNS is not used here)",
				 host);
	return count;
}

static int parse_urls(struct http_client *c, const char *text, struct fault *f)
{
	char one[600];
	for (const char *p = text; p; p = strchr(p, ',') ? strchr(p, ',') + 1 : NULL) {
		size_t n = strcspn(p, ",");
		if (c->count == MAX_URLS)
			return fault_set(f, -EINVAL, "more than %d addresses", MAX_URLS);
		snprintf(one, sizeof one, "%.*s", n < sizeof one ? (int)n : 0, p);
		if (http_parse_url(&c->urls[c->count++], one))
			return fault_set(f, -EINVAL, "'%.200s' is not a URL of the form https://host:port", one);
	}
	return 0;
}

int http_client_open(struct http_client **out, const struct http_client_options *o, struct fault *f)
{
	struct http_client *c = calloc(1, sizeof *c);
	int err = 0;
	if (!c)
		return fault_set(f, -ENOMEM, "out of memory");
	err = parse_urls(c, o->url, f);
	if (!err && !(c->tls = tls_client_context(o->ca_pem, f)))
		err = -EINVAL;
	else if (!err && o->certificate && tls_show(c->tls, o->certificate, o->key, f))
		err = -EINVAL;
	else if (!err && o->name && !(c->name = strdup(o->name)))
		err = fault_set(f, -ENOMEM, "out of memory");
	c->resolve = o->resolve;
	c->timeout_ms = o->timeout_ms;
	c->stream.fd = -1;
	if (err)
		http_client_close(c);
	else
		*out = c;
	return err;
}

void http_client_close(struct http_client *c)
{
	if (!c)
		return;
	if (c->connected)
		tls_close(&c->stream);
	SSL_CTX_free(c->tls);
	free(c->name);
	free(c);
}

static int connect_within(const union http_address *a, int64_t deadline)
{
	int fd = socket(a->sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), err = 0;
	socklen_t len = sizeof err;
	if (fd < 0)
		return -errno;
	if (connect(fd, &a->sa, a->sa.sa_family == AF_INET6 ? sizeof a->in6 : sizeof a->in) == 0)
		return fd;
	if (errno != EINPROGRESS) {
		err = errno;
		close(fd);
		return -err;
	}
	struct pollfd p = {.fd = fd, .events = POLLOUT};
	for (;;) {
		int64_t left = deadline - clock_ms();
		int n = left > 0 ? poll(&p, 1, (int)left) : 0;
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			err = errno;
		else if (n == 0)
			err = ETIMEDOUT;
		else if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0)
			err = errno;
		if (!err)
			return fd;
		close(fd);
		return -err;
	}
}

// To the first address of the name at which it answers; each has its share of the time.
// Of several failures the one to be told: somebody answered who is not the broker. Otherwise the last.
static int tell(int err, const struct fault *now, int told, struct fault *f)
{
	if (told == -EKEYREJECTED)
		return told;
	*f = *now;
	return err;
}

static int connect_to(struct http_client *c, const struct http_url *url, int64_t deadline, struct fault *f)
{
	union http_address addresses[MAX_ADDRESSES];
	int n = c->resolve(url->host, url->port, addresses, MAX_ADDRESSES, f), err = n < 0 ? n : -EHOSTUNREACH, told = err;
	for (int i = 0; i < n && err; i++) {
		struct fault why = {""};
		int64_t now = clock_ms(), until = now + (deadline - now) / (n - i);
		int fd = connect_within(&addresses[i], until);
		err = fd < 0 ? fault_errno(&why, -fd, "cannot reach %s port %s", url->host, url->port) : tls_connect(&c->stream, c->tls, fd, c->name, until, &why);
		told = err ? tell(err, &why, told, f) : 0;
	}
	return told;
}

// To the one that was used last, or the next that answers: each has its share of the time.
static int ensure_connected(struct http_client *c, int64_t deadline, struct fault *f)
{
	int told = 0;
	for (unsigned int left = c->count; left && !c->connected; left--) {
		struct fault why = {""};
		int64_t now = clock_ms();
		int err = connect_to(c, &c->urls[c->at], now + (deadline - now) / left, &why);
		c->connected = !err;
		if (err) {
			told = tell(err, &why, told, f);
			c->at = (c->at + 1) % c->count;
		}
	}
	return c->connected ? 0 : told;
}

static int read_reply(struct http_client *c, struct http_reply *reply, int64_t deadline)
{
	char *buf = malloc(HTTP_MAX_HEAD);
	struct http_head *head = malloc(sizeof *head);
	size_t have = 0, len = 0;
	int err = buf && head ? 0 : -ENOMEM;
	while (!err) {
		ssize_t n = tls_read(&c->stream, buf + have, HTTP_MAX_HEAD - have, deadline);
		if (n <= 0)
			err = n ? (int)n : -ECONNRESET;
		else if ((len = http_head_length(buf, have += (size_t)n)) || have == HTTP_MAX_HEAD)
			break;
	}
	if (!err)
		err = len ? http_parse_head(head, buf, len, true) : -E2BIG;
	if (!err && ((!head->has_length && head->status != 204) || head->content_length > HTTP_MAX_REPLY ||
		     have - len > head->content_length || head->status < 200))
		err = -EPROTO;
	if (!err && !(reply->body = malloc(head->content_length + 1)))
		err = -ENOMEM;
	if (err)
		goto out;
	reply->status = head->status;
	reply->body_len = head->content_length;
	reply->retry_after_s = head->retry_after_s;
	reply->date_s = head->date_s;
	size_t got = have - len;
	memcpy(reply->body, buf + len, got);
	while (!err && got < reply->body_len) {
		ssize_t n = tls_read(&c->stream, reply->body + got, reply->body_len - got, deadline);
		if (n <= 0)
			err = n ? (int)n : -ECONNRESET;
		else
			got += (size_t)n;
	}
	reply->body[got] = '\0';
	if (strlen(head->cookie) < sizeof reply->cookie)
		strcpy(reply->cookie, head->cookie);
	if (!err && !head->keep_alive) {
		tls_close(&c->stream);
		c->connected = false;
	}
out:
	free_wiped(buf, buf ? HTTP_MAX_HEAD : 0);
	free(head);
	return err;
}

static int ask(struct http_client *c, const char *method, const char *path, const char *headers, const char *body, size_t body_len,
	       struct http_reply *reply, int64_t deadline, struct fault *f)
{
	char head[HTTP_MAX_HEAD];
	memset(reply, 0, sizeof *reply);
	int err = ensure_connected(c, deadline, f);
	if (err)
		return err;
	const struct http_url *url = &c->urls[c->at];
	const char *open = url->ipv6 ? "[" : "", *shut = url->ipv6 ? "]" : "";
	int n = snprintf(
		head, sizeof head,
		"%s %s%s HTTP/1.1\r\nHost: %s%s%s:%s\r\nContent-Length: %zu\r\nAccept: application/json\r\n%s%s\r\n",
		method, url->prefix, path, open, url->host, shut, url->port, body ? body_len : 0,
		body ? "Content-Type: application/json\r\n" : "", headers);
	if (n < 0 || (size_t)n >= sizeof head)
		return fault_set(f, -E2BIG, "the request is too long");
	err = tls_write(&c->stream, head, (size_t)n, deadline);
	if (!err && body)
		err = tls_write(&c->stream, body, body_len, deadline);
	if (!err)
		err = read_reply(c, reply, deadline);
	explicit_bzero(head, sizeof head);
	if (err) {
		http_reply_free(reply);
		http_client_next(c);
		return fault_errno(f, -err, "no proper answer from %s port %s", url->host, url->port);
	}
	return 0;
}

int http_client_request(struct http_client *c, const char *method, const char *path, const char *headers,
			const char *body, size_t body_len, struct http_reply *reply, struct fault *f)
{
	int64_t deadline = clock_ms() + c->timeout_ms;
	int err = ask(c, method, path, headers, body, body_len, reply, deadline, f);
	if ((err == -ECONNRESET || err == -EPIPE) && c->count > 1 && !strcmp(method, "GET"))
		err = ask(c, method, path, headers, body, body_len, reply, deadline, f);
	return err;
}

unsigned int http_client_servers(const struct http_client *c)
{
	return c->count;
}

void http_client_next(struct http_client *c)
{
	if (c->connected)
		tls_close(&c->stream);
	c->connected = false;
	c->at = (c->at + 1) % c->count;
}

void http_reply_free(struct http_reply *r)
{
	free_wiped(r->body, r->body_len);
	memset(r, 0, sizeof *r);
}

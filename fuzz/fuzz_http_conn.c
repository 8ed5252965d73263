// SPDX-License-Identifier: Apache-2.0
// Fuzzes one connection of the HTTP server (lib/http_conn.c) with bytes that arrive in pieces: the first byte says how long these are, and
// whether the answers are read at once. However the bytes are cut, the handler must see the same requests.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/http_conn.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct seen {
	uint64_t digest;
	unsigned int count;
};

static void mix(struct seen *s, const void *bytes, size_t len)
{
	const uint8_t *p = bytes;
	for (size_t i = 0; i < len; i++)
		s->digest = (s->digest ^ p[i]) * 0x100000001b3u;
	s->digest = (s->digest ^ len) * 0x100000001b3u;
}

static void handle(void *ctx, const struct http_request *q, struct http_response *r)
{
	struct seen *s = ctx;
	if (q->body[q->body_len] || q->body_len != q->head->content_length || q->head->path[0] != '/')
		abort();
	mix(s, q->head->method, strlen(q->head->method));
	mix(s, q->head->path, strlen(q->head->path));
	mix(s, q->body, q->body_len);
	s->count++;
	r->body = strdup("answer");
	r->body_len = 6;
}

// Runs the connection until it waits for bytes or is over; takes its answers away. False: over.
static bool go(struct http_conn *c, int client, struct http_head *head)
{
	char nobody[4096];
	for (;;) {
		uint32_t events = conn_run(c, head);
		while (recv(client, nobody, sizeof nobody, MSG_DONTWAIT) > 0)
			;
		if (events != EPOLLOUT)
			return events;
	}
}

static struct seen play(const uint8_t *data, size_t size, size_t piece)
{
	struct seen seen = {.digest = 0xcbf29ce484222325u};
	static struct http_head head;
	struct http_server s = {.o = {.max_body_bytes = 8192, .max_large_bytes = 1 << 20, .io_timeout_ms = 1000, .idle_timeout_ms = 1000, .handle = handle,
				      .ctx = &seen}};
	struct http_conn *c = calloc(1, sizeof *c);
	int pair[2];
	if (!c || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		abort();
	pthread_mutex_init(&s.lock, NULL);
	c->server = &s;
	c->fd = pair[0];
	bool open = go(c, pair[1], &head);
	for (size_t at = 0; open && at < size; at += piece) {
		size_t n = size - at < piece ? size - at : piece;
		if (send(pair[1], data + at, n, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)n)
			break;
		open = go(c, pair[1], &head);
	}
	if (open) {
		shutdown(pair[1], SHUT_WR);
		go(c, pair[1], &head);
	}
	conn_close(c);
	close(pair[1]);
	if (s.large)
		abort();
	pthread_mutex_destroy(&s.lock);
	return seen;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!size)
		return 0;
	struct seen whole = play(data + 1, size - 1, size), cut = play(data + 1, size - 1, 1 + data[0]);
	if (whole.count != cut.count || whole.digest != cut.digest)
		abort();
	return 0;
}

// SPDX-License-Identifier: Apache-2.0
// Bytes between the far side, attested or plain, and the program's side. Neither direction waits for the other: proofs are answered while a
// reader is slow. Runs in the connection's thread; no locks.
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "init/gateway.h"

#define BUFFER (64u << 10)

struct pipe_half {
	char buf[BUFFER];
	size_t len, pos;
	bool ended;	// no more will come into it
	bool told;	// and whom it goes to knows
};

struct relay {
	struct ratls_connection *tls;
	int far, near;
	struct pipe_half in, out;	// from the far side to the near one; back
};

static ssize_t result(ssize_t n)
{
	return n < 0 ? errno == EINTR || errno == EAGAIN ? -EAGAIN : -errno : n;
}

static ssize_t far_read(struct relay *r, void *buf, size_t size)
{
	return r->tls ? ratls_read(r->tls, buf, size, 0) : result(recv(r->far, buf, size, 0));
}

static ssize_t far_write(struct relay *r, const void *buf, size_t len)
{
	return r->tls ? ratls_write(r->tls, buf, len, 0) : result(send(r->far, buf, len, MSG_NOSIGNAL));
}

static int far_end(struct relay *r)
{
	return r->tls ? ratls_end(r->tls, 0) : shutdown(r->far, SHUT_WR) ? -errno : 0;
}

static int fill(struct pipe_half *h, ssize_t n)
{
	if (n > 0)
		h->len = (size_t)n;
	h->ended = !n;
	return n < 0 && n != -EAGAIN ? (int)n : 0;
}

static int drained(struct pipe_half *h, ssize_t n)
{
	if (n > 0)
		h->pos += (size_t)n;
	if (h->pos == h->len)
		h->pos = h->len = 0;
	return n < 0 && n != -EAGAIN ? (int)n : 0;
}

static int wait(struct relay *r)
{
	int timeout = -1;
	bool ready = false;
	struct pollfd p[2] = {{.fd = r->far}, {.fd = r->near}};
	if (r->tls)
		p[0].events = ratls_wants(r->tls, &timeout, &ready);
	else
		p[0].events = r->in.ended ? 0 : POLLIN;
	if (r->out.len || (r->out.ended && !r->out.told))
		p[0].events |= POLLOUT;
	if (r->in.len || r->in.ended)
		p[0].events &= (short)~POLLIN;	// the near side is not done with what it has
	else if (ready)
		timeout = 0;
	if (r->in.len)
		p[1].events |= POLLOUT;
	if (!r->out.len && !r->out.ended)
		p[1].events |= POLLIN;
	for (int i = 0; i < 2; i++)
		p[i].fd = p[i].events ? p[i].fd : -1;
	return poll(p, 2, timeout) < 0 && errno != EINTR ? -errno : 0;
}

static int turn(struct relay *r)
{
	int err = wait(r);
	if (!err && !r->out.len && !r->out.ended)
		err = fill(&r->out, result(recv(r->near, r->out.buf, BUFFER, 0)));
	if (!err && !r->out.told && (r->out.len || r->tls)) // with nothing to send, what is due is done
		err = drained(&r->out, far_write(r, r->out.buf + r->out.pos, r->out.len - r->out.pos));
	if (!err && r->out.ended && !r->out.len && !r->out.told) {
		err = far_end(r);
		r->out.told = !err;
		err = err == -EAGAIN ? 0 : err;
	}
	if (!err && !r->in.len && !r->in.ended)
		err = fill(&r->in, far_read(r, r->in.buf, BUFFER));
	if (!err && r->in.len)
		err = drained(&r->in, result(send(r->near, r->in.buf + r->in.pos, r->in.len - r->in.pos, MSG_NOSIGNAL)));
	if (!err && r->in.ended && !r->in.len && !r->in.told) {
		shutdown(r->near, SHUT_WR);
		r->in.told = true;
	}
	return err;
}

int gateway_relay(struct ratls_connection *tls, int far, int near)
{
	struct relay *r = calloc(1, sizeof *r);
	int err = 0;
	if (!r)
		return -ENOMEM;
	r->tls = tls;
	r->far = tls ? ratls_fd(tls) : far;
	r->near = near;
	while (!err && (!r->in.told || !r->out.told))
		err = turn(r);
	explicit_bzero(r, sizeof *r);
	free(r);
	return err;
}

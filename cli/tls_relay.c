// SPDX-License-Identifier: Apache-2.0
// Bytes between an attested connection and two descriptors. Neither waits for the other: proofs are answered while a reader is slow.
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "cli/tls.h"

struct relay {
	struct ratls_connection *c;
	int in, out;			// -1: ended
	char up[16384], down[4096];	// to the peer; from it. What poll says can be written goes to a pipe whole
	size_t up_len, up_pos, down_len, down_pos;
	bool owns_out;			// a program's input: closed when no more will come
	bool peer_ended, end_sent;
};

// To the peer, as much as it takes. With nothing to send, what is due is done: challenges are answered, and what else comes is kept.
static int send_up(struct relay *r)
{
	ssize_t n = ratls_write(r->c, r->up + r->up_pos, r->up_len - r->up_pos, 0);
	if (n > 0)
		r->up_pos += (size_t)n;
	if (r->up_pos == r->up_len)
		r->up_pos = r->up_len = 0;
	return n < 0 && n != -EAGAIN ? (int)n : 0;
}

static int read_in(struct relay *r)
{
	ssize_t n = read(r->in, r->up, sizeof r->up);
	if (n > 0)
		r->up_len = (size_t)n;
	else if (n == 0 || (errno != EINTR && errno != EAGAIN))
		r->in = -1;
	return 0;
}

static int take_down(struct relay *r)
{
	ssize_t n = ratls_read(r->c, r->down, sizeof r->down, 0);
	if (n > 0)
		r->down_len = (size_t)n;
	else if (!n)
		r->peer_ended = true;
	return n < 0 && n != -EAGAIN ? (int)n : 0;
}

static int write_out(struct relay *r)
{
	ssize_t n = write(r->out, r->down + r->down_pos, r->down_len - r->down_pos);
	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return 0;
	if (n < 0 && !r->owns_out)
		return -EIO;
	if (n < 0)	// a program may stop reading and go on writing
		n = (ssize_t)(r->down_len - r->down_pos);
	r->down_pos += (size_t)n;
	if (r->down_pos == r->down_len)
		r->down_pos = r->down_len = 0;
	return 0;
}

static int turn(struct relay *r)
{
	int timeout, err = 0;
	bool ready;
	struct pollfd p[3] = {
		{.fd = r->in >= 0 && !r->up_len ? r->in : -1, .events = POLLIN}, {.fd = r->down_len ? r->out : -1, .events = POLLOUT},
		{.fd = ratls_fd(r->c), .events = ratls_wants(r->c, &timeout, &ready)},
	};
	if (r->up_len)
		p[2].events |= POLLOUT;
	// While the reader behind us is not done with what it has, the peer is listened to all the same (send_up): it may ask for a proof.
	if (ready && !r->down_len && !r->peer_ended)
		timeout = 0;
	if (!p[2].events)
		p[2].fd = -1;
	if (poll(p, 3, timeout) < 0 && errno != EINTR)
		return -errno;
	if (p[0].revents)
		err = read_in(r);
	if (!err && p[1].revents)
		err = write_out(r);
	if (!err)
		err = send_up(r);
	if (!err && !r->down_len && !r->peer_ended)
		err = take_down(r);
	if (!err && r->in < 0 && !r->up_len && !r->end_sent) {
		err = ratls_end(r->c, 0);
		r->end_sent = true;
		err = err == -EAGAIN ? 0 : err;	// what is left goes out in later turns
	}
	if (!err && r->owns_out && r->peer_ended && !r->down_len && r->out >= 0) {
		close(r->out);
		r->out = -1;
	}
	return err;
}

int tls_relay(struct ratls_connection *c, int in, int out, bool owns_out)
{
	struct relay r = {.c = c, .in = in, .out = out, .owns_out = owns_out};
	int err = 0;
	while (!err && (!r.peer_ended || r.down_len || !r.end_sent)) {
		err = turn(&r);
		// Who sits at a terminal may never end: when the peer has, there is nobody to speak to.
		if (!err && !owns_out && r.peer_ended && !r.down_len && !r.up_len)
			break;
	}
	if (owns_out && r.out >= 0)
		close(r.out);
	return err;
}

// SPDX-License-Identifier: Apache-2.0
// See tcp.h.
#include "spdm/tcp.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/tls.h"

#define MAX_OUT (256u << 10)	// waiting to be sent: then no more data are taken to be sent
#define MAX_ANSWERS (512u << 10)	// then nothing is read either; whose data wait on both sides must go on reading, or both wait for ever
#define MAX_DOWN (256u << 10)	// waiting for the descriptor
#define DRAIN_MS 2000		// for an error's last words

struct spdm_tcp {
	int fd, timeout_ms;
	struct requester *q;
	struct responder *r;
	uint8_t head[SPDM_FRAME_HEAD], *content;
	size_t have;			// of the frame that is coming
	struct spdm_frame frame;
	int64_t frame_by_ms;		// when it must be whole
	struct buffer out, down;
	size_t out_at, down_at;
	bool peer_gone, data_end;	// the connection has ended; the other side's data have
};

int spdm_tcp_open(struct spdm_tcp **out, int fd, struct requester *q, struct responder *r, int timeout_ms, struct fault *f)
{
	struct spdm_tcp *l = calloc(1, sizeof *l);
	if (l)
		*l = (struct spdm_tcp){.fd = fd, .timeout_ms = timeout_ms, .q = q, .r = r, .content = malloc(SPDM_FRAME_MAX)};
	int flags = fcntl(fd, F_GETFL);
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));	// requests and answers are short
	if (l && l->content && flags >= 0 && !fcntl(fd, F_SETFL, flags | O_NONBLOCK)) {
		*out = l;
		return 0;
	}
	if (l) {
		spdm_tcp_close(l);
	} else {
		close(fd);
		requester_free(q);
		responder_free(r);
	}
	return fault_set(f, -ENOMEM, "out of memory");
}

void spdm_tcp_close(struct spdm_tcp *l)
{
	if (!l)
		return;
	close(l->fd);
	requester_free(l->q);
	responder_free(l->r);
	buffer_free(&l->out);
	buffer_free(&l->down);
	free(l->content);
	free(l);
}

static bool is_open(const struct spdm_tcp *l)
{
	return l->q ? requester_open(l->q) : responder_open(l->r);
}

static bool is_ended(const struct spdm_tcp *l)
{
	return l->q ? requester_ended(l->q) : responder_ended(l->r);
}

// ---- bytes ----

static int flush(struct spdm_tcp *l, struct fault *f)
{
	while (l->out_at < l->out.len) {
		ssize_t n = send(l->fd, l->out.bytes + l->out_at, l->out.len - l->out_at, MSG_NOSIGNAL);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return 0;
		if (n < 0)
			return fault_set(f, -ECONNRESET, "the connection was cut");
		l->out_at += (size_t)n;
	}
	buffer_clear(&l->out);
	l->out_at = 0;
	return 0;
}

static int take_frame(struct spdm_tcp *l, struct fault *f)
{
	struct spdm_event e;
	l->have = 0;
	int err = l->q ? requester_input(l->q, &l->frame, l->content, clock_ms(), &l->out, &e, f) :
			 responder_input(l->r, &l->frame, l->content, clock_ms(), &l->out, &e, f);
	if (err)
		return err;
	if (e.len)
		buffer_put(&l->down, e.data, e.len);
	l->data_end |= e.data_end;
	return l->down.failed || l->out.failed ? fault_set(f, -ENOMEM, "out of memory") : 0;
}

static bool may_read(const struct spdm_tcp *l)
{
	return !l->peer_gone && !is_ended(l) && l->out.len < MAX_ANSWERS && l->down.len < MAX_DOWN;
}

// Reads until there is nothing more to read, or enough to do.
static int pull(struct spdm_tcp *l, struct fault *f)
{
	int err = 0;
	while (!err && may_read(l)) {
		bool head = l->have < SPDM_FRAME_HEAD;
		uint8_t *to = head ? l->head + l->have : l->content + (l->have - SPDM_FRAME_HEAD);
		size_t want = head ? SPDM_FRAME_HEAD - l->have : SPDM_FRAME_HEAD + l->frame.len - l->have;
		ssize_t n = want ? read(l->fd, to, want) : 0;
		if (n < 0)
			return errno == EAGAIN || errno == EINTR ? 0 : fault_set(f, -ECONNRESET, "the connection was cut");
		if (want && !n) {
			l->peer_gone = true;
			return 0;
		}
		if (!l->have)
			l->frame_by_ms = clock_ms() + l->timeout_ms;
		l->have += (size_t)n;
		if (l->have == SPDM_FRAME_HEAD && head)
			err = spdm_frame_read(l->head, &l->frame, f);
		if (!err && l->have >= SPDM_FRAME_HEAD && l->have == SPDM_FRAME_HEAD + l->frame.len)
			err = take_frame(l, f);
	}
	return err;
}

static int64_t earlier(int64_t a, int64_t b)
{
	return a < 0 ? b : b < 0 || a < b ? a : b;
}

// What time brings: heartbeats, their absence, frames that do not end.
static int on_time(struct spdm_tcp *l, int64_t by_ms, struct fault *f)
{
	int64_t now = clock_ms();
	if (by_ms >= 0 && now >= by_ms)
		return fault_set(f, -ETIMEDOUT, "the other side takes too long");
	if (l->have && now >= l->frame_by_ms)
		return fault_set(f, -ETIMEDOUT, "a frame has not come to its end in time");
	if (l->down.len >= MAX_DOWN)
		return 0;	// who does not read cannot say that the other side is silent
	if (l->q)
		return requester_tick(l->q, now, &l->out, f);
	return responder_expired(l->r, now) ? fault_set(f, -ETIMEDOUT, "the requester was silent for two heartbeats") : 0;
}

// One turn: waits for the socket (and `more`), receives, sends. What to wait for must not change between its choice and poll. by_ms: -1 for ever.
static int turn(struct spdm_tcp *l, int64_t by_ms, struct pollfd *more, nfds_t count, struct fault *f)
{
	struct pollfd p[3] = {{.fd = l->fd}};
	if (l->out_at < l->out.len)
		p[0].events |= POLLOUT;
	if (may_read(l))
		p[0].events |= POLLIN;
	if (!p[0].events)
		p[0].fd = -1;
	for (nfds_t i = 0; i < count; i++)
		p[1 + i] = more[i];
	int64_t due = earlier(by_ms, l->have ? l->frame_by_ms : -1);
	if (l->down.len < MAX_DOWN)
		due = earlier(due, l->q ? requester_due_ms(l->q) : responder_due_ms(l->r));
	int64_t wait = due < 0 ? -1 : due - clock_ms();
	if (poll(p, 1 + count, wait < 0 && due >= 0 ? 0 : wait > 60000 ? 60000 : (int)wait) < 0 && errno != EINTR)
		return fault_errno(f, errno, "poll");
	for (nfds_t i = 0; i < count; i++)
		more[i].revents = p[1 + i].revents;
	int err = p[0].revents ? pull(l, f) : 0;
	if (!err)
		err = on_time(l, by_ms, f);
	return err ? err : flush(l, f);
}

// What is left to be sent goes, if it goes in time.
static void drain(struct spdm_tcp *l, int64_t by_ms)
{
	struct fault f;
	while (l->out_at < l->out.len && clock_ms() < by_ms && !flush(l, &f) && l->out_at < l->out.len) {
		struct pollfd p = {.fd = l->fd, .events = POLLOUT};
		poll(&p, 1, 100);
	}
}

// The same for what this side has to say of an error, which is given time to arrive.
static void say_last(struct spdm_tcp *l)
{
	int64_t by = clock_ms() + DRAIN_MS;
	uint8_t drop[512];
	drain(l, by);
	shutdown(l->fd, SHUT_WR);
	while (clock_ms() < by) {
		struct pollfd p = {.fd = l->fd, .events = POLLIN};
		if (poll(&p, 1, 100) > 0 && read(l->fd, drop, sizeof drop) <= 0)
			return;
	}
}

// ---- the conversation ----

int spdm_tcp_prove(struct spdm_tcp *l, struct fault *f)
{
	int64_t by = clock_ms() + l->timeout_ms;
	int err = requester_begin(l->q, &l->out);
	while (!err && !is_open(l) && !is_ended(l)) {
		err = turn(l, by, NULL, 0, f);
		if (!err && l->peer_gone && !is_open(l) && !is_ended(l))
			err = fault_set(f, -ECONNRESET, "the responder has closed the connection");
	}
	return err;
}

int spdm_tcp_answer(struct spdm_tcp *l, bool *open, struct fault *f)
{
	int64_t by = clock_ms() + l->timeout_ms;
	int err = 0;
	while (!err && !is_open(l) && !l->peer_gone && !is_ended(l))
		err = turn(l, by, NULL, 0, f);
	if (!err && !is_open(l))
		drain(l, by);
	if (err && err != -ECONNRESET)
		say_last(l);
	*open = !err && is_open(l);
	return err;
}

// ---- data ----

struct relay {
	struct spdm_tcp *l;
	int in, out;		// -1: ended
	bool owns_out, end_sent, out_closed;
};

static int send_in(struct relay *r, struct fault *f)
{
	struct spdm_tcp *l = r->l;
	uint8_t buf[SPDM_DATA_MAX];
	ssize_t n = read(r->in, buf, sizeof buf);
	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return 0;
	if (n <= 0) {
		r->in = -1;
		return 0;
	}
	int err = l->q ? requester_send(l->q, buf, (size_t)n, false, &l->out) : responder_send(l->r, buf, (size_t)n, false, &l->out);
	OPENSSL_cleanse(buf, (size_t)n);
	return err ? fault_set(f, err, "data cannot be sent") : 0;
}

static int write_out(struct relay *r, struct fault *f)
{
	struct spdm_tcp *l = r->l;
	size_t left = l->down.len - l->down_at;
	// A program's input does not block; of others, what poll says can be written goes to a pipe whole.
	ssize_t n = write(r->out, l->down.bytes + l->down_at, r->owns_out || left < PIPE_BUF ? left : PIPE_BUF);
	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return 0;
	if (n < 0 && !r->owns_out)
		return fault_set(f, -EIO, "standard output is closed");
	l->down_at = n < 0 ? l->down.len : l->down_at + (size_t)n;	// a program may stop reading and go on writing
	if (l->down_at == l->down.len) {
		buffer_clear(&l->down);
		l->down_at = 0;
	}
	return 0;
}

// Whether data may go now: not while keys change.
static bool may_send(const struct spdm_tcp *l)
{
	return is_open(l) && l->out.len < MAX_OUT && (!l->q || requester_may_send(l->q));
}

static int send_end(struct relay *r, struct fault *f)
{
	struct spdm_tcp *l = r->l;
	int err = l->q ? requester_send(l->q, NULL, 0, true, &l->out) : responder_send(l->r, NULL, 0, true, &l->out);
	r->end_sent = !err;
	return err ? fault_set(f, err, "the end cannot be sent") : 0;
}

static int relay_turn(struct relay *r, struct fault *f)
{
	struct spdm_tcp *l = r->l;
	struct pollfd p[2] = {{.fd = may_send(l) ? r->in : -1, .events = POLLIN}, {.fd = l->down.len ? r->out : -1, .events = POLLOUT}};
	int err = turn(l, -1, p, 2, f);
	if (!err && p[0].revents && may_send(l))
		err = send_in(r, f);
	if (!err && p[1].revents)
		err = write_out(r, f);
	bool delivered = l->data_end && !l->down.len;
	if (!err && delivered && r->owns_out && r->out >= 0) {
		close(r->out);
		r->out = -1;
	}
	// Who sits at a terminal may never end: when the other side has, there is nobody to speak to.
	if (delivered && !r->owns_out)
		r->in = -1;
	if (!err && r->in < 0 && !r->end_sent && may_send(l))
		err = send_end(r, f);
	if (!err)
		err = flush(l, f);
	if (!err && l->peer_gone && !is_ended(l))
		err = fault_set(f, -ECONNRESET, "the connection was cut: something may be missing");
	return err;
}

int spdm_tcp_relay(struct spdm_tcp *l, int in, int out, bool owns_out, struct fault *f)
{
	struct relay r = {.l = l, .in = in, .out = out, .owns_out = owns_out};
	int flags = owns_out ? fcntl(out, F_GETFL) : 0;
	int err = owns_out && (flags < 0 || fcntl(out, F_SETFL, flags | O_NONBLOCK)) ? fault_errno(f, errno, "a program's input") : 0;
	while (!err && is_open(l) && !(r.end_sent && l->data_end && !l->down.len))
		err = relay_turn(&r, f);
	// What came last is still written.
	while (!err && l->down.len && r.out >= 0) {
		struct pollfd p = {.fd = r.out, .events = POLLOUT};
		poll(&p, 1, -1);
		err = write_out(&r, f);
	}
	// The requester ends the session.
	while (!err && !l->q && !is_ended(l) && !l->peer_gone)
		err = turn(l, clock_ms() + l->timeout_ms, NULL, 0, f);
	if (!err && !l->data_end && !is_ended(l))
		err = fault_set(f, -ECONNRESET, "the session was ended before its data were");
	if (err && err != -ECONNRESET && err != -EIO)
		say_last(l);
	if (!err)
		drain(l, clock_ms() + l->timeout_ms);
	if (owns_out && r.out >= 0)
		close(r.out);
	return err;
}

int spdm_tcp_end(struct spdm_tcp *l, struct fault *f)
{
	int64_t by = clock_ms() + l->timeout_ms;
	int err = 0;
	bool asked = false;
	while (!err && !is_ended(l)) {
		if (!asked && requester_may_send(l->q)) {
			err = requester_end(l->q, &l->out);
			asked = !err;
			err = err == -EAGAIN ? 0 : err;
		}
		if (!err)
			err = turn(l, by, NULL, 0, f);
		if (!err && l->peer_gone && !is_ended(l))
			err = fault_set(f, -ECONNRESET, "the connection was cut");
	}
	return err;
}

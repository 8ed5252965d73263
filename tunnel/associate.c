// SPDX-License-Identifier: Apache-2.0
// See associate.h. What finds no room is lost, as UDP may.
#include "tunnel/associate.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tunnel/carrier.h"
#include "tunnel/socks.h"
#include "tunnel/worker.h"

#define MAX_PATHS 256u		// destinations of one client at a time
#define TURN_DATAGRAMS 128
#define LOOK_MS 10000		// how often silent destinations are looked for

// To one destination.
struct path {
	struct carrier carrier;
	struct list_node node;		// association.paths: the most recent last
	struct association *a;
	struct target target;
	struct datagram_queue queue;
	int64_t active_ms;
};

struct association {
	struct flow *f;
	struct source src;
	struct timer timer;
	struct target client;		// whom it is for; port 0: not known before its first datagram
	struct sockaddr_storage answer_to;
	socklen_t answer_len;
	struct list_node paths;
	unsigned int count;
};

static void close_path(struct path *p, int err)
{
	list_remove(&p->node);
	p->a->count--;
	queue_clear(&p->queue);
	carrier_drop(&p->carrier, err);
	carrier_leave(p->carrier.lane->w);
	carrier_bury(&p->carrier);
}

static void touch(struct path *p)
{
	struct flow *f = p->a->f;
	p->active_ms = f->active_ms = f->lane->w->now_ms;
	list_remove(&p->node);
	list_add_last(&p->a->paths, &p->node);
}

static ssize_t path_pull(struct carrier *c, uint8_t *buf, size_t size)
{
	return queue_get(&list_entry(c, struct path, carrier)->queue, buf, size);
}

static ssize_t path_data(struct carrier *c, const uint8_t *bytes, size_t len)
{
	struct path *p = list_entry(c, struct path, carrier);
	struct association *a = p->a;
	uint8_t head[SOCKS_UDP_HEADER];
	struct iovec parts[] = {{head, socks_udp_write(&p->target, head)}, {(void *)bytes, len}};
	const struct msghdr m = {.msg_name = &a->answer_to, .msg_namelen = a->answer_len, .msg_iov = parts, .msg_iovlen = 2};
	touch(p);
	if (sendmsg(a->src.fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		lane_count(c->lane, COUNT_DROPPED, 1);
	else
		lane_count(c->lane, COUNT_BYTES_OUT, (long long)len);
	return (ssize_t)len;
}

static void path_closed(struct carrier *c, int err, const char *why)
{
	struct path *p = list_entry(c, struct path, carrier);
	char text[TARGET_TEXT];
	if (err)
		tunnel_log(TUNNEL_LOG_DEBUG, "datagrams of a client are not carried on", LOG_TEXT("route", c->lane->r->c->name),
			   LOG_TEXT("to", target_text(&p->target, text)), LOG_TEXT("reason", why));
	close_path(p, 0);
}

static void path_free(struct carrier *c)
{
	struct lane *l = c->lane;
	free(list_entry(c, struct path, carrier));
	lane_leave(l);
}

static const struct carrier_ops path_ops = {NULL, path_pull, path_data, path_closed, path_free};

static struct path *new_path(struct association *a, const struct target *t)
{
	struct lane *l = a->f->lane;
	struct path *p;
	if (a->count == MAX_PATHS)
		close_path(list_entry(a->paths.next, struct path, node), 0);
	if (!carrier_admit(l->w)) {
		lane_count(l, COUNT_OVER_LIMIT, 1);
		return NULL;
	}
	if (!(p = calloc(1, sizeof *p))) {
		carrier_leave(l->w);
		return NULL;
	}
	*p = (struct path){.carrier = {.ops = &path_ops, .lane = l}, .a = a, .target = *t};
	queue_init(&p->queue);
	lane_use(l);
	list_add_last(&a->paths, &p->node);
	a->count++;
	return p;
}

// Its stream, now or when there is a link.
static void open_path(struct path *p)
{
	int err = p->carrier.stream ? 0 : carrier_open(&p->carrier, MUX_UDP, &p->target);
	if (!err)
		carrier_ready(&p->carrier);
	else if (err != -EAGAIN)
		close_path(p, 0);
}

static void take_datagram(struct association *a, const uint8_t *bytes, size_t len)
{
	const struct rules *through = a->f->lane->r->c->through;
	struct path *p = NULL;
	struct target t = {0};
	int head = socks_udp_read(bytes, len, &t);
	if (head < 0 || (through && !rules_select(through, &t))) {	// fragments, and what may not go through the tunnel
		lane_count(a->f->lane, COUNT_DROPPED, 1);
		return;
	}
	list_each_safe(n, &a->paths) {
		if (target_equal(&list_entry(n, struct path, node)->target, &t))
			p = list_entry(n, struct path, node);
	}
	if (!p && !(p = new_path(a, &t)))
		return;
	touch(p);
	lane_count(a->f->lane, COUNT_DROPPED, queue_put(&p->queue, bytes + head, len - (size_t)head));
	lane_count(a->f->lane, COUNT_BYTES_IN, (long long)(len - (size_t)head));
	open_path(p);
}

// Is it the client's? Its address is the connection's; its port that of its first datagram, unless it said one.
static bool is_client(struct association *a, const struct sockaddr_storage *from, socklen_t len)
{
	struct target t;
	if (target_set_address(&t, (const struct sockaddr *)from))
		return false;
	if (!a->client.port && a->client.host == t.host && !memcmp(a->client.address, t.address, sizeof t.address))
		a->client.port = t.port;
	if (!target_equal(&a->client, &t))
		return false;
	memcpy(&a->answer_to, from, len);
	a->answer_len = len;
	return true;
}

static void on_datagrams(struct source *s, uint32_t events)
{
	struct association *a = list_entry(s, struct association, src);
	struct worker *w = a->f->lane->w;
	(void)events;
	for (int i = 0; i < TURN_DATAGRAMS && s->fd >= 0; i++) {
		struct sockaddr_storage from;
		socklen_t len = sizeof from;
		ssize_t n = recvfrom(s->fd, w->buffer, WORKER_BUFFER, MSG_DONTWAIT, (struct sockaddr *)&from, &len);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n < 0)
			continue;	// what an earlier answer met
		if (is_client(a, &from, len))
			take_datagram(a, w->buffer, (size_t)n);
		else
			lane_count(a->f->lane, COUNT_DROPPED, 1);
	}
}

static void on_timer(struct timer *t)
{
	struct association *a = list_entry(t, struct association, timer);
	struct worker *w = a->f->lane->w;
	list_each_safe(n, &a->paths) {
		struct path *p = list_entry(n, struct path, node);
		if (p->active_ms + w->settings.udp_idle_ms <= w->now_ms)
			close_path(p, 0);
	}
	timer_set(&w->timers, t, w->now_ms + LOOK_MS);
}

int associate_begin(struct flow *f)
{
	struct worker *w = f->lane->w;
	struct sockaddr_storage local, peer;
	socklen_t len = sizeof local, peer_len = sizeof peer;
	struct association *a = calloc(1, sizeof *a);
	int err = 0;
	if (!a)
		return -ENOMEM;
	*a = (struct association){.f = f, .src = {.fd = -1, .event = on_datagrams}, .timer = {.fire = on_timer}};
	list_head(&a->paths);
	if (getsockname(f->src.fd, (struct sockaddr *)&local, &len) || getpeername(f->src.fd, (struct sockaddr *)&peer, &peer_len))
		err = -errno;
	if (!err)
		err = target_set_address(&a->client, (struct sockaddr *)&peer);	// -EAFNOSUPPORT: a Unix socket
	if (err)
		goto out;
	a->client.port = accept_target(f->acceptor)->port;
	((struct sockaddr_in *)&local)->sin_port = 0;	// in the same place for IPv6
	a->src.fd = socket(local.ss_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (a->src.fd < 0 || bind(a->src.fd, (struct sockaddr *)&local, len) || getsockname(a->src.fd, (struct sockaddr *)&local, &len))
		err = -errno;
	if (!err)
		err = worker_watch(w, &a->src, EPOLLIN);
	if (!err)
		err = timer_set(&w->timers, &a->timer, w->now_ms + LOOK_MS);
out:
	if (err) {
		if (a->src.fd >= 0)
			close(a->src.fd);
		free(a);
		return err;
	}
	f->association = a;
	accept_connected(f->acceptor, 0, (struct sockaddr *)&local);
	return 0;
}

void associate_link_open(struct lane *l)
{
	if (!l->r->c->accept.udp)
		return;
	list_each_safe(n, &l->flows) {
		struct association *a = list_entry(n, struct flow, node)->association;
		if (!a || a->src.fd < 0)
			continue;
		list_each_safe(k, &a->paths)
			open_path(list_entry(k, struct path, node));
	}
}

void associate_end(struct flow *f)
{
	struct association *a = f->association;
	struct worker *w = f->lane->w;
	if (!a || a->src.fd < 0)
		return;
	while (!list_empty(&a->paths))
		close_path(list_entry(a->paths.next, struct path, node), 0);
	timer_clear(&w->timers, &a->timer);
	worker_unwatch(w, &a->src);
	close(a->src.fd);
	a->src.fd = -1;
}

void associate_free(struct association *a)
{
	free(a);
}

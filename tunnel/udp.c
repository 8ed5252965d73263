// SPDX-License-Identifier: Apache-2.0
// See udp.h. A client's session ends when nothing came or went for timeouts: udp_idle_seconds; one that had no more than a question and its answers,
// sooner. When there are too many the one that was silent longest makes room. A client that is silent and comes back is a new session.
#include "tunnel/mix.h"
#include "tunnel/udp.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tunnel/carrier.h"
#include "tunnel/link.h"

#define TURN_DATAGRAMS 128	// of a socket, before others have their turn
#define BRIEF_MS 30000u		// how long a session of one question lasts
#define BUCKETS 4096u
#define QUEUED_BYTES (16u << 20)	// of all clients of a route in a worker
#define RECEIVE_BUFFER (1 << 20)	// asked of the kernel, which may give less

// A client of an ingress route.
struct session {
	struct carrier carrier;
	struct list_node age;		// udp_lane.brief or .steady: the most recent last
	struct session *next;		// in its bucket
	struct sockaddr_storage peer;
	struct in6_pktinfo local;	// what the client sent to: answers come from there
	struct datagram_queue queue;
	int64_t active_ms;
	unsigned int questions;
	bool open;
};

struct udp_lane {
	struct lane *lane;
	struct source src;
	struct timer timer;
	struct list_node brief, steady;
	struct session *table[BUCKETS];
	uint64_t seed;
	size_t queued;
};

// A destination of an egress route.
struct outlet {
	struct carrier carrier;
	struct source src;	// fd -1: not connected yet
	struct timer timer;
	struct dial *dial;
	struct datagram_queue early;	// until it is
	int64_t active_ms;
	bool gone;
};

// ---- sockets ----

// With CAP_NET_ADMIN beyond the system's limit (net.core.rmem_max).
static void large_buffer(int fd)
{
	const int size = RECEIVE_BUFFER;
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size))
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
}

static int udp_socket(const struct config_address *at, uint32_t mark)
{
	const int family = at->sa.ss_family, one = 1;
	int err, fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one) || (mark && setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof mark)) ||
	    (family == AF_INET ? setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &one, sizeof one) :
				 setsockopt(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &one, sizeof one) ||
					 setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one)) ||
	    bind(fd, (const struct sockaddr *)&at->sa, at->len)) {
		err = -errno;
		close(fd);
		return err;
	}
	large_buffer(fd);
	return fd;
}

int udp_listen(struct route *r, unsigned int workers, struct fault *f)
{
	if (r->c->listen.sa.ss_family == AF_UNIX)
		return fault_set(f, -EINVAL, "route '%.64s': UDP has no %.200s", r->c->name, r->c->listen.text);
	r->fds = calloc(workers, sizeof *r->fds);
	if (!r->fds)
		return fault_set(f, -ENOMEM, "out of memory");
	r->at = r->c->listen;
	for (unsigned int i = 0; i < workers; i++) {
		int fd = udp_socket(&r->at, r->c->mark);
		if (fd < 0)
			return fault_errno(f, -fd, "route '%.64s': cannot receive datagrams at %.200s", r->c->name, r->c->listen.text);
		socklen_t len = sizeof r->at.sa;
		r->fds[r->fd_count++] = fd;
		if (getsockname(fd, (struct sockaddr *)&r->at.sa, &len))
			return fault_errno(f, errno, "route '%.64s'", r->c->name);
		config_address_text(r->at.text, (struct sockaddr *)&r->at.sa, len);
	}
	return 0;
}

// ---- ingress: sessions ----

static bool same_peer(const struct sockaddr_storage *a, const struct sockaddr_storage *b)
{
	const struct sockaddr_in *a4 = (const void *)a, *b4 = (const void *)b;
	const struct sockaddr_in6 *a6 = (const void *)a, *b6 = (const void *)b;
	if (a->ss_family != b->ss_family)
		return false;
	if (a->ss_family == AF_INET)
		return a4->sin_port == b4->sin_port && a4->sin_addr.s_addr == b4->sin_addr.s_addr;
	return a6->sin6_port == b6->sin6_port && a6->sin6_scope_id == b6->sin6_scope_id && !memcmp(&a6->sin6_addr, &b6->sin6_addr, 16);
}

static struct session **bucket_of(struct udp_lane *u, const struct sockaddr_storage *peer)
{
	const struct sockaddr_in *in = (const void *)peer;
	const struct sockaddr_in6 *in6 = (const void *)peer;
	uint64_t x = u->seed, half[2];
	if (peer->ss_family == AF_INET) {
		x = mix_bits(x ^ ((uint64_t)in->sin_addr.s_addr << 16 | in->sin_port));
	} else {
		memcpy(half, &in6->sin6_addr, 16);
		x = mix_bits(mix_bits(mix_bits(x ^ half[0]) ^ half[1]) ^ in6->sin6_port);
	}
	return &u->table[x % BUCKETS];
}


static void end_session(struct session *s, int err)
{
	struct udp_lane *u = s->carrier.lane->udp;
	struct session **at = bucket_of(u, &s->peer);
	while (*at != s)
		at = &(*at)->next;
	*at = s->next;
	list_remove(&s->age);
	u->queued -= s->queue.bytes;
	queue_clear(&s->queue);
	carrier_drop(&s->carrier, err);
	lane_count(u->lane, COUNT_OPEN, -1);
	carrier_leave(u->lane->w);
	atomic_fetch_sub(&u->lane->w->load, 1);
	carrier_bury(&s->carrier);
}

static unsigned int brief_ms(const struct udp_lane *u)
{
	unsigned int idle = u->lane->w->settings.udp_idle_ms;
	return idle < BRIEF_MS ? idle : BRIEF_MS;
}

// Those whose time is over; when the next one's will be.
static int64_t expire(struct udp_lane *u, struct list_node *list, unsigned int idle_ms)
{
	while (!list_empty(list)) {
		struct session *s = list_entry(list->next, struct session, age);
		if (s->active_ms + idle_ms > u->lane->w->now_ms)
			return s->active_ms + idle_ms;
		end_session(s, 0);
	}
	return INT64_MAX;
}

static void on_timer(struct timer *t)
{
	struct udp_lane *u = list_entry(t, struct udp_lane, timer);
	int64_t a = expire(u, &u->brief, brief_ms(u)), b = expire(u, &u->steady, u->lane->w->settings.udp_idle_ms);
	if ((a = a < b ? a : b) != INT64_MAX)
		timer_set(&u->lane->w->timers, t, a);
}

static void touch(struct udp_lane *u, struct session *s)
{
	s->active_ms = u->lane->w->now_ms;
	list_remove(&s->age);
	list_add_last(s->questions > 1 ? &u->steady : &u->brief, &s->age);
}

// The session that was silent longest goes. False: there is none.
static bool make_room(struct udp_lane *u)
{
	struct list_node *list = list_empty(&u->brief) ? &u->steady : &u->brief;
	if (list_empty(list))
		return false;
	end_session(list_entry(list->next, struct session, age), 0);
	lane_count(u->lane, COUNT_OVER_LIMIT, 1);
	return true;
}

static void session_open(struct carrier *c)
{
	list_entry(c, struct session, carrier)->open = true;
}

static ssize_t session_pull(struct carrier *c, uint8_t *buf, size_t size)
{
	struct session *s = list_entry(c, struct session, carrier);
	struct udp_lane *u = c->lane->udp;
	size_t before = s->queue.bytes;
	ssize_t n = queue_get(&s->queue, buf, size);
	u->queued -= before - s->queue.bytes;
	return n;
}

static ssize_t session_data(struct carrier *c, const uint8_t *bytes, size_t len)
{
	struct session *s = list_entry(c, struct session, carrier);
	struct udp_lane *u = c->lane->udp;
	union {
		struct cmsghdr head;
		char space[CMSG_SPACE(sizeof(struct in6_pktinfo))];
	} control = {0};
	struct iovec io = {(void *)bytes, len};
	struct msghdr m = {.msg_name = &s->peer, .msg_iov = &io, .msg_iovlen = 1, .msg_control = &control};
	if (s->peer.ss_family == AF_INET) {
		m.msg_namelen = sizeof(struct sockaddr_in);
		m.msg_controllen = CMSG_SPACE(sizeof(struct in_pktinfo));
		control.head = (struct cmsghdr){.cmsg_level = IPPROTO_IP, .cmsg_type = IP_PKTINFO, .cmsg_len = CMSG_LEN(sizeof(struct in_pktinfo))};
		memcpy(&((struct in_pktinfo *)CMSG_DATA(&control.head))->ipi_spec_dst, &s->local.ipi6_addr.s6_addr[12], 4);
	} else {
		m.msg_namelen = sizeof(struct sockaddr_in6);
		m.msg_controllen = CMSG_SPACE(sizeof(struct in6_pktinfo));
		control.head = (struct cmsghdr){.cmsg_level = IPPROTO_IPV6, .cmsg_type = IPV6_PKTINFO,
						.cmsg_len = CMSG_LEN(sizeof(struct in6_pktinfo))};
		memcpy(CMSG_DATA(&control.head), &s->local, sizeof s->local);
	}
	touch(u, s);
	if (sendmsg(u->src.fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		lane_count(c->lane, COUNT_DROPPED, 1);	// its buffer is full, or the client is gone: as the network does
	else
		lane_count(c->lane, COUNT_BYTES_OUT, (long long)len);
	return (ssize_t)len;
}

static void session_closed(struct carrier *c, int err, const char *why)
{
	struct session *s = list_entry(c, struct session, carrier);
	if (err)
		tunnel_log(TUNNEL_LOG_DEBUG, "datagrams of a client are not carried on", LOG_TEXT("route", c->lane->r->c->name),
			   LOG_TEXT("reason", why));
	if (err)
		lane_count(c->lane, COUNT_REFUSED, !s->open);
	end_session(s, 0);
}

static void session_free(struct carrier *c)
{
	struct lane *l = c->lane;
	free(list_entry(c, struct session, carrier));
	lane_leave(l);
}

static const struct carrier_ops session_ops = {session_open, session_pull, session_data, session_closed, session_free};

static struct session *new_session(struct udp_lane *u, const struct sockaddr_storage *peer, const struct in6_pktinfo *local)
{
	struct session **at, *s;
	while (!carrier_admit(u->lane->w)) {
		if (!make_room(u))
			return NULL;
	}
	if (!(s = calloc(1, sizeof *s))) {
		carrier_leave(u->lane->w);
		return NULL;
	}
	at = bucket_of(u, peer);
	s->carrier = (struct carrier){.ops = &session_ops, .lane = u->lane};
	s->peer = *peer;
	s->local = *local;
	queue_init(&s->queue);
	s->next = *at;
	*at = s;
	lane_enter(u->lane);
	atomic_fetch_add(&u->lane->w->load, 1);
	return s;
}

// 0, also when it has to wait for a link.
static int open_session(struct session *s)
{
	int err = s->carrier.stream ? 0 : carrier_open(&s->carrier, MUX_UDP, NULL);
	if (!err)
		carrier_ready(&s->carrier);
	return err == -EAGAIN ? 0 : err;
}

static void take_datagram(struct udp_lane *u, const struct sockaddr_storage *peer, const struct in6_pktinfo *local, const uint8_t *bytes, size_t len)
{
	struct session *s = *bucket_of(u, peer);
	while (s && !same_peer(&s->peer, peer))
		s = s->next;
	if (u->queued > QUEUED_BYTES || (!s && !(s = new_session(u, peer, local)))) {
		lane_count(u->lane, COUNT_DROPPED, 1);
		return;
	}
	s->local = *local;
	s->questions += s->questions < 2;
	touch(u, s);
	size_t before = s->queue.bytes;
	unsigned int lost = queue_put(&s->queue, bytes, len);
	u->queued += s->queue.bytes - before;	// modulo: it may have become less
	lane_count(u->lane, COUNT_DROPPED, lost);
	lane_count(u->lane, COUNT_BYTES_IN, (long long)len);
	if (open_session(s))
		end_session(s, 0);
	else if (!u->timer.place)
		timer_set(&u->lane->w->timers, &u->timer, u->lane->w->now_ms + brief_ms(u));
}

static void find_local(struct msghdr *m, struct in6_pktinfo *local)
{
	*local = (struct in6_pktinfo){0};
	for (struct cmsghdr *h = CMSG_FIRSTHDR(m); h; h = CMSG_NXTHDR(m, h)) {
		if (h->cmsg_level == IPPROTO_IP && h->cmsg_type == IP_PKTINFO)
			memcpy(&local->ipi6_addr.s6_addr[12], &((struct in_pktinfo *)CMSG_DATA(h))->ipi_spec_dst, 4);
		else if (h->cmsg_level == IPPROTO_IPV6 && h->cmsg_type == IPV6_PKTINFO)
			memcpy(local, CMSG_DATA(h), sizeof *local);
	}
	if (!IN6_IS_ADDR_LINKLOCAL(&local->ipi6_addr))
		local->ipi6_ifindex = 0;	// the answer may take another way
}

static void on_datagrams(struct source *src, uint32_t events)
{
	struct udp_lane *u = list_entry(src, struct udp_lane, src);
	(void)events;
	for (unsigned int i = 0; i < TURN_DATAGRAMS && src->fd >= 0; i++) {
		struct sockaddr_storage peer;
		struct in6_pktinfo local;
		char control[256];
		struct iovec io = {u->lane->w->buffer, WORKER_BUFFER};
		struct msghdr m = {.msg_name = &peer, .msg_namelen = sizeof peer, .msg_iov = &io, .msg_iovlen = 1, .msg_control = control,
				   .msg_controllen = sizeof control};
		ssize_t n = recvmsg(src->fd, &m, MSG_DONTWAIT);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n < 0)
			continue;	// what an earlier answer met: a client that is gone
		find_local(&m, &local);
		take_datagram(u, &peer, &local, u->lane->w->buffer, (size_t)n);
	}
}

int udp_lane_new(struct lane *l)
{
	struct udp_lane *u = calloc(1, sizeof *u);
	if (!u)
		return -ENOMEM;
	*u = (struct udp_lane){.lane = l, .src = {.fd = l->r->fds[l->w->index], .event = on_datagrams}, .timer = {.fire = on_timer}};
	list_head(&u->brief);
	list_head(&u->steady);
	if (getrandom(&u->seed, sizeof u->seed, 0) != sizeof u->seed)
		u->seed = (uintptr_t)u;
	int err = worker_watch(l->w, &u->src, EPOLLIN);
	if (err) {
		free(u);
		return err;
	}
	l->udp = u;
	return 0;
}

static void open_waiting(struct list_node *list)
{
	list_each_safe(n, list) {
		struct session *s = list_entry(n, struct session, age);
		if (!s->carrier.stream && open_session(s))
			end_session(s, 0);
	}
}

void udp_lane_link_open(struct lane *l)
{
	if (!l->udp)
		return;
	open_waiting(&l->udp->brief);
	open_waiting(&l->udp->steady);
}

void udp_lane_retire(struct lane *l)
{
	struct udp_lane *u = l->udp;
	if (!u || u->src.fd < 0)
		return;
	worker_unwatch(l->w, &u->src);
	// At once, so that the kernel gives its clients to the route's successor.
	close(u->src.fd);
	u->src.fd = l->r->fds[l->w->index] = -1;
	while (!list_empty(&u->brief))
		end_session(list_entry(u->brief.next, struct session, age), 0);
	while (!list_empty(&u->steady))
		end_session(list_entry(u->steady.next, struct session, age), 0);
	timer_clear(&l->w->timers, &u->timer);
}

void udp_lane_free(struct lane *l)
{
	free(l->udp);
	l->udp = NULL;
}

// ---- egress: destinations ----

static void close_outlet(struct outlet *o, int err)
{
	struct lane *l = o->carrier.lane;
	if (o->gone)
		return;
	o->gone = true;
	carrier_drop(&o->carrier, err);
	if (o->dial)
		dial_cancel(o->dial);
	o->dial = NULL;
	if (o->src.fd >= 0) {
		worker_unwatch(l->w, &o->src);
		close(o->src.fd);
		o->src.fd = -1;
	}
	timer_clear(&l->w->timers, &o->timer);
	queue_clear(&o->early);
	lane_count(l, COUNT_OPEN, -1);
	carrier_leave(l->w);
	carrier_bury(&o->carrier);
}

static void on_answer(struct source *s, uint32_t events)
{
	struct outlet *o = list_entry(s, struct outlet, src);
	(void)events;
	if (!o->gone)
		carrier_ready(&o->carrier);
}

// Both sides keep the time: the near gateway may have lost its link and not know it.
static void on_outlet_timer(struct timer *t)
{
	struct outlet *o = list_entry(t, struct outlet, timer);
	struct worker *w = o->carrier.lane->w;
	int64_t until = o->active_ms + w->settings.udp_idle_ms;
	if (until > w->now_ms)
		timer_set(&w->timers, t, until);
	else
		close_outlet(o, 0);
}

static ssize_t outlet_pull(struct carrier *c, uint8_t *buf, size_t size)
{
	struct outlet *o = list_entry(c, struct outlet, carrier);
	// What an earlier datagram met (nobody listens there now) is told once; then what came is read.
	for (int i = 0; i < 4 && o->src.fd >= 0; i++) {
		ssize_t n = recv(o->src.fd, buf, size, MSG_DONTWAIT);
		if (n >= 0) {
			o->active_ms = c->lane->w->now_ms;
			lane_count(c->lane, COUNT_BYTES_IN, n);
			return n;
		}
		if (errno == EAGAIN)
			break;
	}
	return -EAGAIN;
}

static void send_one(struct outlet *o, const uint8_t *bytes, size_t len)
{
	ssize_t n = send(o->src.fd, bytes, len, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n < 0 && errno == ECONNREFUSED)	// of the one before
		n = send(o->src.fd, bytes, len, MSG_DONTWAIT | MSG_NOSIGNAL);
	lane_count(o->carrier.lane, n < 0 ? COUNT_DROPPED : COUNT_BYTES_OUT, n < 0 ? 1 : (long long)len);
}

static ssize_t outlet_data(struct carrier *c, const uint8_t *bytes, size_t len)
{
	struct outlet *o = list_entry(c, struct outlet, carrier);
	o->active_ms = c->lane->w->now_ms;
	if (o->src.fd >= 0)
		send_one(o, bytes, len);
	else
		lane_count(c->lane, COUNT_DROPPED, queue_put(&o->early, bytes, len));
	return (ssize_t)len;
}

static void outlet_closed(struct carrier *c, int err, const char *why)
{
	(void)err, (void)why;
	close_outlet(list_entry(c, struct outlet, carrier), 0);
}

static void outlet_free(struct carrier *c)
{
	struct lane *l = c->lane;
	free(list_entry(c, struct outlet, carrier));
	lane_leave(l);
}

static const struct carrier_ops outlet_ops = {NULL, outlet_pull, outlet_data, outlet_closed, outlet_free};

static void dialed(void *ctx, int fd, const char *why)
{
	struct outlet *o = ctx;
	struct worker *w = o->carrier.lane->w;
	struct datagram *d;
	o->dial = NULL;
	if (fd < 0) {
		tunnel_log(TUNNEL_LOG_DEBUG, "datagrams have no way to their destination", LOG_TEXT("route", o->carrier.lane->r->c->name),
			   LOG_TEXT("reason", why));
		close_outlet(o, fd);
		return;
	}
	o->src.fd = fd;
	large_buffer(fd);
	int err = worker_watch(w, &o->src, EPOLLIN | EPOLLET);
	if (err) {
		close_outlet(o, err);
		return;
	}
	for (d = o->early.first; d; d = d->next)
		send_one(o, d->bytes, d->len);
	queue_clear(&o->early);
	carrier_accept(&o->carrier);
}

int udp_begin(struct link *l, struct mux_stream *s)
{
	struct lane *lane = l->lane;
	struct worker *w = lane->w;
	const struct route_config *c = lane->r->c;
	const struct target *t = mux_target(s)->host == TARGET_NONE ? NULL : mux_target(s);
	const struct dial_options how = {.rules = t ? c->allow : NULL, .mark = c->mark, .timeout_ms = (int)w->settings.connect_ms, .datagram = true,
					 .share = l->share};
	struct fault why = {""};
	struct outlet *o;
	if (c->kind != ROUTE_EGRESS || !c->udp)
		return -EOPNOTSUPP;
	if (t ? !rules_match(c->allow, t) : !c->has_to || c->to_unix || c->to_original)
		return -EACCES;
	if (!carrier_admit(w)) {
		lane_count(lane, COUNT_OVER_LIMIT, 1);
		return -EBUSY;
	}
	if (!(o = calloc(1, sizeof *o))) {
		carrier_leave(w);
		return -ENOMEM;
	}
	*o = (struct outlet){.carrier = {.ops = &outlet_ops, .lane = lane}, .src = {.fd = -1, .event = on_answer}, .timer = {.fire = on_outlet_timer},
			     .active_ms = w->now_ms};
	queue_init(&o->early);
	carrier_take(&o->carrier, l, s);
	lane_enter(lane);
	int err = timer_set(&w->timers, &o->timer, w->now_ms + w->settings.udp_idle_ms);
	if (!err)
		err = dial_start(&o->dial, w->inbox, t ? t : &c->to, &how, dialed, o, &why);
	if (err) {	// the link refuses the stream itself
		o->carrier.stream = NULL;
		o->carrier.link = NULL;
		close_outlet(o, err);
	}
	return err;
}

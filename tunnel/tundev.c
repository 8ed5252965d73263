// SPDX-License-Identifier: Apache-2.0
// See tundev.h. The device has a queue for each worker, which is attached while a stream is there for what comes of it: the kernel spreads flows
// over the queues that are. With one far gateway in a worker (the usual case) packets are read straight into its connection's buffer. With several
// (egress) each packet goes to the one from which its destination was heard last.
#include "tunnel/tundev.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <unistd.h>

#include "tunnel/carrier.h"
#include "tunnel/link.h"
#include "tunnel/netlink.h"

#define TURN_PACKETS 256	// of a queue, before others have their turn
#define HEARD 4096u		// addresses whose far gateway is known, where there are several
#define HANDED_MAX 4096u	// packets on their way to other workers
#define RETRY_MS 5000		// after the far gateway refused the stream

// A far gateway, by one of its connections.
struct peer {
	struct carrier carrier;
	struct list_node node;		// tun_lane.peers: the newest last
	struct datagram_queue queue;	// where there are several
	bool open, gone;
};

struct heard {
	uint8_t version, address[16];
	unsigned int worker;
	struct peer *peer;		// that worker's
};

// Of an egress route, for all workers: who has heard of an address. A worker looks here for those that it has not heard of itself.
struct tun_shared {
	pthread_mutex_t lock;		// of `heard`
	struct heard heard[HEARD];
	uint64_t seed;
	atomic_uint handed;		// packets on their way to another worker
};

struct tun_lane {
	struct lane *lane;
	struct source src;		// a queue of the device
	bool attached;
	struct list_node peers;		// those that are open
	struct peer *near;		// ingress: the one that is wanted, open or not
	struct timer retry;
	uint64_t seed;
	struct heard *heard;
};

// ---- the device ----

static int open_queue(const struct route *r, struct fault *f)
{
	struct ifreq q = {.ifr_flags = IFF_TUN | IFF_NO_PI | IFF_MULTI_QUEUE}, off = {.ifr_flags = IFF_DETACH_QUEUE};
	const char *name = r->c->name, *device = r->c->tun.device;
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return fault_set(f, -errno, "route '%.64s': /dev/net/tun: %s. The kernel needs its tun module; "
				 "a container needs the device (--device /dev/net/tun)", name, strerror(errno));
	memcpy(q.ifr_name, device, strlen(device));
	if (ioctl(fd, TUNSETIFF, &q) || ioctl(fd, TUNSETQUEUE, &off)) {
		int err = -errno;
		close(fd);
		return fault_set(f, err, "route '%.64s': TUN device %s: %s%s", name, device, strerror(-err),
				 err == -EPERM ? ". CAP_NET_ADMIN is needed" :
				 err == -EBUSY || err == -EINVAL ? ". Another program has a device of this name" : "");
	}
	return fd;
}

static int configure(const struct route *r, struct fault *f)
{
	const struct tun_config *t = &r->c->tun;
	const unsigned int index = if_nametoindex(t->device);
	int err = index ? 0 : -errno;
	for (unsigned int i = 0; !err && i < t->addresses.count; i++)
		err = netlink_address(index, &t->addresses.list[i]);
	if (!err) {
		err = netlink_up(index, t->mtu);
		if (err == -EPERM && !t->addresses.count && !t->routes)
			return 0;	// somebody has set it up for this user
	}
	for (unsigned int i = 0; !err && t->routes && i < t->remote.count; i++)
		err = netlink_route(index, &t->remote.list[i]);
	return err ? fault_set(f, err, "route '%.64s': cannot set up TUN device %s: %s%s", r->c->name, t->device, strerror(-err),
			       err == -EPERM ? ". CAP_NET_ADMIN is needed" : "") : 0;
}

int tun_open(struct route *r, unsigned int workers, struct fault *f)
{
	r->fds = calloc(workers, sizeof *r->fds);
	if (!r->fds)
		return fault_set(f, -ENOMEM, "out of memory");
	if (r->c->kind == ROUTE_EGRESS) {
		if (!(r->tun = calloc(1, sizeof *r->tun)))
			return fault_set(f, -ENOMEM, "out of memory");
		pthread_mutex_init(&r->tun->lock, NULL);
		if (getrandom(&r->tun->seed, sizeof r->tun->seed, 0) != sizeof r->tun->seed)
			r->tun->seed = (uintptr_t)r;
	}
	for (unsigned int i = 0; i < workers; i++) {
		int fd = open_queue(r, f);
		if (fd < 0)
			return fd;
		r->fds[r->fd_count++] = fd;
	}
	return configure(r, f);
}

void tun_close(struct route *r)
{
	if (r->tun)
		pthread_mutex_destroy(&r->tun->lock);
	free(r->tun);
}

// ---- queues ----

static void on_packets(struct source *s, uint32_t events);

// While there is a way for packets the kernel may put some into this worker's queue.
static void tend_queue(struct tun_lane *t)
{
	struct worker *w = t->lane->w;
	bool want = !list_empty(&t->peers) && t->src.fd >= 0;
	struct ifreq q = {.ifr_flags = want ? IFF_ATTACH_QUEUE : IFF_DETACH_QUEUE};
	if (want == t->attached)
		return;
	if (!want)
		worker_unwatch(w, &t->src);
	int err = ioctl(t->src.fd, TUNSETQUEUE, &q) ? -errno : 0;
	if (!err && want)
		err = worker_watch(w, &t->src, EPOLLIN | EPOLLET);
	if (err)
		tunnel_log(TUNNEL_LOG_ERROR, "a queue of the TUN device fails", LOG_TEXT("route", t->lane->r->c->name),
			   LOG_TEXT("error", strerrorname_np(-err)));
	t->attached = want && !err;
}

static bool alone(const struct tun_lane *t)
{
	return t->peers.next->next == &t->peers;
}

static struct peer *newest(const struct tun_lane *t)
{
	return list_entry(t->peers.prev, struct peer, node);
}

static bool same_address(const struct heard *h, unsigned int version, const uint8_t *address)
{
	return h->peer && h->version == version && !memcmp(h->address, address, version == 4 ? 4 : 16);
}

static struct heard *place_of(struct heard *table, uint64_t seed, unsigned int version, const uint8_t *address)
{
	uint64_t x = seed ^ version;
	for (unsigned int i = 0; i < (version == 4 ? 4u : 16u); i++)
		x = (x ^ address[i]) * 0x100000001b3u;
	return &table[(x ^ x >> 29) % HEARD];
}

static void note(struct heard *h, struct peer *p, unsigned int version, const uint8_t *address)
{
	h->peer = p;
	h->worker = p->carrier.lane->w->index;
	h->version = (uint8_t)version;
	memcpy(h->address, address, version == 4 ? 4 : 16);
}

// Only where several far gateways can be: on an egress route.
static void hear(struct tun_lane *t, struct peer *p, const uint8_t *packet, size_t len)
{
	struct tun_shared *all = t->lane->r->tun;
	const uint8_t *source, *destination;
	unsigned int version;
	if (!t->heard || packet_addresses(packet, len, &version, &source, &destination))
		return;
	struct heard *h = place_of(t->heard, t->seed, version, source);
	if (h->peer == p && same_address(h, version, source))
		return;
	note(h, p, version, source);
	pthread_mutex_lock(&all->lock);
	note(place_of(all->heard, all->seed, version, source), p, version, source);
	pthread_mutex_unlock(&all->lock);
}

// ---- packets for a far gateway whose connection is another worker's ----

struct handover {
	struct message message;
	struct route *r;
	size_t len;
	uint8_t bytes[];
};

static void take_over(struct worker *w, struct message *m)
{
	struct handover *o = list_entry(m, struct handover, message);
	const uint8_t *source, *destination;
	unsigned int version;
	list_each(n, &w->lanes) {
		struct tun_lane *t = list_entry(n, struct lane, node)->tun;
		if (!t || t->lane->r != o->r || list_empty(&t->peers) || packet_addresses(o->bytes, o->len, &version, &source, &destination))
			continue;
		struct heard *h = place_of(t->heard, t->seed, version, destination);
		struct peer *p = same_address(h, version, destination) ? h->peer : newest(t);
		lane_count(t->lane, COUNT_DROPPED, queue_put(&p->queue, o->bytes, o->len));
		carrier_ready(&p->carrier);
	}
	atomic_fetch_sub(&o->r->tun->handed, 1);
	route_release(o->r);
	free(o);
}

static bool hand_over(struct tun_lane *t, unsigned int worker, const uint8_t *packet, size_t len)
{
	struct tun_shared *all = t->lane->r->tun;
	struct handover *o = NULL;
	if (atomic_fetch_add(&all->handed, 1) < HANDED_MAX)
		o = malloc(sizeof *o + len);
	if (!o) {
		atomic_fetch_sub(&all->handed, 1);
		return false;
	}
	*o = (struct handover){.message = {.run = take_over}, .r = route_ref(t->lane->r), .len = len};
	memcpy(o->bytes, packet, len);
	if (worker_post(&t->lane->w->e->workers[worker], &o->message))
		return true;
	atomic_fetch_sub(&all->handed, 1);
	route_release(o->r);
	free(o);
	return false;
}

// Which of this worker's far gateways a packet is for; NULL: it is another worker's now, or lost.
static struct peer *peer_for(struct tun_lane *t, const uint8_t *packet, size_t len)
{
	struct tun_shared *all = t->lane->r->tun;
	const uint8_t *source, *destination;
	unsigned int version, worker = t->lane->w->index;
	if (!t->heard || packet_addresses(packet, len, &version, &source, &destination))
		return newest(t);
	struct heard *h = place_of(t->heard, t->seed, version, destination);
	if (same_address(h, version, destination))
		return h->peer;
	pthread_mutex_lock(&all->lock);
	h = place_of(all->heard, all->seed, version, destination);
	if (same_address(h, version, destination))
		worker = h->worker;
	pthread_mutex_unlock(&all->lock);
	if (worker == t->lane->w->index)
		return newest(t);
	if (!hand_over(t, worker, packet, len))
		lane_count(t->lane, COUNT_DROPPED, 1);
	return NULL;
}

// The next packet of the device that may pass. -EAGAIN: none now. `budget`: how many may be looked at; then the queue is asked again in the next
// turn.
static ssize_t read_packet(struct tun_lane *t, uint8_t *buf, size_t size, unsigned int *budget, struct peer **to)
{
	const struct tun_config *c = &t->lane->r->c->tun;
	while (t->attached && (*budget)--) {
		ssize_t n = read(t->src.fd, buf, size);
		if (n < 0)
			return -EAGAIN;
		lane_count(t->lane, COUNT_BYTES_IN, n);
		if (!packet_may_pass(buf, (size_t)n, &c->local, &c->remote))
			lane_count(t->lane, COUNT_DROPPED, 1);
		else if ((*to = peer_for(t, buf, (size_t)n)))
			return n;
	}
	if (t->attached)	// an edge anew
		epoll_ctl(t->lane->w->epoll, EPOLL_CTL_MOD, t->src.fd, &(struct epoll_event){.events = EPOLLIN | EPOLLET, .data.ptr = &t->src});
	return -EAGAIN;
}

static void on_packets(struct source *s, uint32_t events)
{
	struct tun_lane *t = list_entry(s, struct tun_lane, src);
	unsigned int budget = TURN_PACKETS;
	struct peer *p;
	ssize_t n;
	(void)events;
	if (list_empty(&t->peers))
		return;
	if (alone(t)) {
		carrier_ready(&newest(t)->carrier);
		return;
	}
	while ((n = read_packet(t, t->lane->w->buffer, WORKER_BUFFER, &budget, &p)) >= 0) {
		lane_count(t->lane, COUNT_DROPPED, queue_put(&p->queue, t->lane->w->buffer, (size_t)n));
		carrier_ready(&p->carrier);
	}
}

// ---- far gateways ----

static void join(struct peer *p)
{
	struct tun_lane *t = p->carrier.lane->tun;
	p->open = true;
	list_add_last(&t->peers, &p->node);
	tend_queue(t);
	carrier_ready(&p->carrier);
	tunnel_log(TUNNEL_LOG_INFO, "packets pass", LOG_TEXT("route", t->lane->r->c->name), LOG_TEXT("device", t->lane->r->c->tun.device));
}

static void leave(struct peer *p, int err)
{
	struct lane *l = p->carrier.lane;
	struct tun_lane *t = l->tun;
	if (p->gone)
		return;
	p->gone = true;
	carrier_drop(&p->carrier, err);
	for (unsigned int i = 0; t->heard && i < HEARD; i++) {
		if (t->heard[i].peer == p)
			t->heard[i].peer = NULL;
	}
	if (t->heard) {
		struct tun_shared *all = l->r->tun;
		pthread_mutex_lock(&all->lock);
		for (unsigned int i = 0; i < HEARD; i++) {
			if (all->heard[i].peer == p)
				all->heard[i].peer = NULL;
		}
		pthread_mutex_unlock(&all->lock);
	}
	list_remove(&p->node);
	queue_clear(&p->queue);
	tend_queue(t);
	if (!list_empty(&t->peers))
		carrier_ready(&newest(t)->carrier);
	if (t->near == p)
		t->near = NULL;
	lane_count(l, COUNT_OPEN, -1);
	carrier_bury(&p->carrier);
}

static void peer_open(struct carrier *c)
{
	join(list_entry(c, struct peer, carrier));
}

static ssize_t peer_pull(struct carrier *c, uint8_t *buf, size_t size)
{
	struct peer *p = list_entry(c, struct peer, carrier);
	struct tun_lane *t = c->lane->tun;
	unsigned int budget = TURN_PACKETS;
	ssize_t n = queue_get(&p->queue, buf, size);
	if (n == -EAGAIN && p->open && alone(t))
		n = read_packet(t, buf, size, &budget, &p);
	return n;
}

static ssize_t peer_data(struct carrier *c, const uint8_t *bytes, size_t len)
{
	struct peer *p = list_entry(c, struct peer, carrier);
	struct tun_lane *t = c->lane->tun;
	const struct tun_config *o = &c->lane->r->c->tun;
	if (!packet_may_pass(bytes, len, &o->remote, &o->local)) {
		lane_count(c->lane, COUNT_DROPPED, 1);
		return (ssize_t)len;
	}
	hear(t, p, bytes, len);
	if (t->attached && write(t->src.fd, bytes, len) == (ssize_t)len)
		lane_count(c->lane, COUNT_BYTES_OUT, (long long)len);
	else
		lane_count(c->lane, COUNT_DROPPED, 1);
	return (ssize_t)len;
}

static void peer_closed(struct carrier *c, int err, const char *why)
{
	struct peer *p = list_entry(c, struct peer, carrier);
	struct lane *l = c->lane;
	struct tun_lane *t = l->tun;
	bool near = t->near == p, was_open = p->open;
	leave(p, 0);
	if (!near || l->gone)
		return;
	if (err && !was_open)
		tunnel_log(TUNNEL_LOG_WARNING, "the far gateway takes no packets", LOG_TEXT("route", l->r->c->name), LOG_TEXT("reason", why));
	timer_set(&l->w->timers, &t->retry, l->w->now_ms + RETRY_MS);
}

static void peer_free(struct carrier *c)
{
	struct lane *l = c->lane;
	free(list_entry(c, struct peer, carrier));
	lane_leave(l);
}

static const struct carrier_ops peer_ops = {peer_open, peer_pull, peer_data, peer_closed, peer_free};

static struct peer *new_peer(struct lane *l)
{
	struct peer *p = calloc(1, sizeof *p);
	if (!p)
		return NULL;
	p->carrier = (struct carrier){.ops = &peer_ops, .lane = l};
	queue_init(&p->queue);
	lane_enter(l);
	return p;
}

void tun_lane_link_open(struct lane *l)
{
	struct tun_lane *t = l->tun;
	if (!t || t->near || l->gone || l->r->c->kind != ROUTE_INGRESS)
		return;
	struct peer *p = new_peer(l);
	if (!p)
		return;
	t->near = p;
	int err = carrier_open(&p->carrier, MUX_IP, NULL);
	if (err)	// the next link's turn
		leave(p, 0);
}

static void on_retry(struct timer *timer)
{
	struct tun_lane *t = list_entry(timer, struct tun_lane, retry);
	if (t->lane->link && t->lane->link->state == LINK_OPEN)
		tun_lane_link_open(t->lane);
}

int tun_begin(struct link *l, struct mux_stream *s)
{
	struct lane *lane = l->lane;
	if (lane->r->c->kind != ROUTE_EGRESS || !lane->tun || lane->tun->src.fd < 0)
		return -EOPNOTSUPP;
	struct peer *p = new_peer(lane);
	if (!p)
		return -ENOMEM;
	carrier_take(&p->carrier, l, s);
	carrier_accept(&p->carrier);
	join(p);
	return 0;
}

// ---- lanes ----

int tun_lane_new(struct lane *l)
{
	struct tun_lane *t = calloc(1, sizeof *t);
	if (!t)
		return -ENOMEM;
	*t = (struct tun_lane){.lane = l, .src = {.fd = l->r->fds[l->w->index], .event = on_packets}, .retry = {.fire = on_retry}};
	list_head(&t->peers);
	if (l->r->c->kind == ROUTE_EGRESS && !(t->heard = calloc(HEARD, sizeof *t->heard))) {
		free(t);
		return -ENOMEM;
	}
	if (getrandom(&t->seed, sizeof t->seed, 0) != sizeof t->seed)
		t->seed = (uintptr_t)t;
	l->tun = t;
	return 0;
}

void tun_lane_retire(struct lane *l)
{
	struct tun_lane *t = l->tun;
	if (!t || t->src.fd < 0)
		return;
	timer_clear(&l->w->timers, &t->retry);
	while (!list_empty(&t->peers))
		leave(list_entry(t->peers.next, struct peer, node), 0);
	if (t->near)
		leave(t->near, 0);
	close(t->src.fd);
	t->src.fd = l->r->fds[l->w->index] = -1;
}

void tun_lane_free(struct lane *l)
{
	if (l->tun)
		free(l->tun->heard);
	free(l->tun);
	l->tun = NULL;
}

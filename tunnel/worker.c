// SPDX-License-Identifier: Apache-2.0
// A worker's thread: one turn after the other of waiting, taking events, and giving links their turn; and lanes, which are routes in it. Locks:
// worker.lock for
// its messages, engine.lock for what helper threads wait for; neither is held while anything else is called.
#include "tunnel/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "lib/tls.h"
#include "tunnel/carrier.h"
#include "tunnel/flow.h"
#include "tunnel/link.h"
#include "tunnel/tundev.h"
#include "tunnel/udp.h"

#define EVENTS 256
#define TURN_ACCEPTS 64
#define MAX_HELPERS (sizeof(((struct engine *)NULL)->helper_threads) / sizeof(pthread_t))

// ---- the epoll set ----

int worker_watch(struct worker *w, struct source *s, uint32_t events)
{
	struct epoll_event e = {.events = events, .data.ptr = s};
	return epoll_ctl(w->epoll, EPOLL_CTL_ADD, s->fd, &e) ? -errno : 0;
}

int worker_watch_for(struct worker *w, struct source *s, uint32_t events)
{
	struct epoll_event e = {.events = events, .data.ptr = s};
	return epoll_ctl(w->epoll, EPOLL_CTL_MOD, s->fd, &e) ? -errno : 0;
}

void worker_unwatch(struct worker *w, struct source *s)
{
	struct epoll_event none = {0};
	epoll_ctl(w->epoll, EPOLL_CTL_DEL, s->fd, &none);
}

// ---- messages ----

bool worker_post(struct worker *w, struct message *m)
{
	m->next = NULL;
	pthread_mutex_lock(&w->lock);
	if (w->ended) {
		pthread_mutex_unlock(&w->lock);
		return false;
	}
	*w->last = m;
	w->last = &m->next;
	bool wake = !w->awake;
	w->awake = true;
	pthread_mutex_unlock(&w->lock);
	if (wake)
		eventfd_write(w->wake.fd, 1);
	return true;
}

static void take_messages(struct worker *w, bool last)
{
	pthread_mutex_lock(&w->lock);
	struct message *m = w->first;
	w->first = NULL;
	w->last = &w->first;
	w->awake = false;
	w->ended = last;
	pthread_mutex_unlock(&w->lock);
	while (m) {
		struct message *next = m->next;	// m may be gone after run
		m->run(w, m);
		m = next;
	}
}

static void on_wake(struct source *s, uint32_t events)
{
	eventfd_t ignored;
	(void)events;
	eventfd_read(s->fd, &ignored);
	take_messages(list_entry(s, struct worker, wake), false);
}

// The time that was waited for has come; timers_run looks what is due.
static void on_alarm(struct source *s, uint32_t events)
{
	uint64_t ignored;
	(void)events;
	if (read(s->fd, &ignored, sizeof ignored) > 0)
		list_entry(s, struct worker, alarm)->alarm_ms = INT64_MAX;
}

static void on_inbox(struct source *s, uint32_t events)
{
	struct worker *w = list_entry(s, struct worker, inbox_source);
	(void)events;
	dial_inbox_run(w->inbox);
}

// ---- helpers ----

static void job_done(struct worker *w, struct message *m)
{
	struct job *j = list_entry(m, struct job, message);
	(void)w;
	j->done(j);
}

static void *helper_thread(void *arg)
{
	struct engine *e = arg;
	crowd_helper();
	pthread_mutex_lock(&e->lock);
	for (;;) {
		e->idle_helpers++;
		while (!e->jobs && !e->no_more_jobs)
			pthread_cond_wait(&e->jobs_come, &e->lock);
		e->idle_helpers--;
		struct job *j = e->jobs;
		if (!j)
			break;
		if (!(e->jobs = j->next))
			e->last_job = &e->jobs;
		pthread_mutex_unlock(&e->lock);
		j->work(j);
		j->message.run = job_done;
		if (!worker_post(j->worker, &j->message))	// only a link that has gone asked for it
			j->done(j);
		pthread_mutex_lock(&e->lock);
	}
	pthread_mutex_unlock(&e->lock);
	return NULL;
}

int worker_help(struct worker *w, struct job *j)
{
	struct engine *e = w->e;
	int err = 0;
	j->worker = w;
	j->next = NULL;
	pthread_mutex_lock(&e->lock);
	if (!e->idle_helpers && e->helpers < MAX_HELPERS && !pthread_create(&e->helper_threads[e->helpers], NULL, helper_thread, e))
		e->helpers++;
	if (e->helpers && !e->no_more_jobs) {
		*e->last_job = j;
		e->last_job = &j->next;
		pthread_cond_signal(&e->jobs_come);
	} else {
		err = -EAGAIN;
	}
	pthread_mutex_unlock(&e->lock);
	return err;
}

// ---- accepting ----

// A connection for another worker.
struct gift {
	struct message message;
	struct route *r;
	int fd;
};

static struct lane *lane_of(struct worker *w, const struct route *r)
{
	list_each(n, &w->lanes) {
		struct lane *l = list_entry(n, struct lane, node);
		if (l->r == r)
			return l;
	}
	return NULL;
}

// The lane of the route that listens where this one's did; NULL: none does.
static struct lane *heir_of(const struct lane *gone)
{
	list_each(n, &gone->w->lanes) {
		struct lane *l = list_entry(n, struct lane, node);
		if (!l->gone && !strcmp(l->r->at.text, gone->r->at.text))
			return l;
	}
	return NULL;
}

static void begin(struct lane *l, int fd)
{
	if (l->r->c->kind == ROUTE_INGRESS)
		flow_accept(l, fd);
	else
		link_accept(l, fd);
}

static void take_gift(struct worker *w, struct message *m)
{
	struct gift *g = list_entry(m, struct gift, message);
	struct lane *l = lane_of(w, g->r);
	// Another worker may have begun with a new route before this one has heard of it.
	if (!l && !atomic_load(&w->e->draining) && w->changes != atomic_load(&w->e->changes) && worker_post(w, m))
		return;
	if (l && l->gone)	// by the rules of a route that is gone nothing begins
		l = heir_of(l);
	if (l) {
		begin(l, g->fd);
	} else {
		close(g->fd);
		atomic_fetch_sub(&w->e->connections, 1);
		atomic_fetch_sub(&w->load, 1);
	}
	route_release(g->r);
	free(g);
}

// The worker that has the fewest connections; this one when it is one of them.
static struct worker *least_loaded(struct worker *w)
{
	struct worker *best = w;
	unsigned int least = atomic_load_explicit(&w->load, memory_order_relaxed);
	for (unsigned int i = 0; i < w->e->worker_count; i++) {
		unsigned int load = atomic_load_explicit(&w->e->workers[i].load, memory_order_relaxed);
		if (load < least) {
			least = load;
			best = &w->e->workers[i];
		}
	}
	return best;
}

static void place(struct lane *l, int fd)
{
	struct worker *w = l->w, *to = least_loaded(w);
	struct gift *g = to == w ? NULL : malloc(sizeof *g);
	if (!g) {
		atomic_fetch_add(&w->load, 1);
		begin(l, fd);
		return;
	}
	*g = (struct gift){.message = {.run = take_gift}, .r = route_ref(l->r), .fd = fd};
	atomic_fetch_add(&to->load, 1);
	if (!worker_post(to, &g->message))
		take_gift(to, &g->message);	// which has no lane any more: closes it
}

// A descriptor that is kept free, so that when none is left a client is turned away instead of asking without end.
static void turn_away(struct lane *l)
{
	struct worker *w = l->w;
	tunnel_log(TUNNEL_LOG_WARNING, "a connection was turned away: no more descriptors", LOG_TEXT("route", l->r->c->name));
	lane_count(l, COUNT_OVER_LIMIT, 1);
	close(w->spare);
	int fd = accept4(l->accept.fd, NULL, NULL, SOCK_CLOEXEC);
	if (fd >= 0)
		close(fd);
	w->spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static void on_accept(struct source *s, uint32_t events)
{
	struct lane *l = list_entry(s, struct lane, accept);
	struct engine *e = l->w->e;
	(void)events;
	for (unsigned int i = 0; i < TURN_ACCEPTS && l->accepting; i++) {
		int fd = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (fd < 0) {
			if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)
				turn_away(l);
			return;
		}
		if (atomic_fetch_add(&e->connections, 1) >= l->w->settings.connections) {
			atomic_fetch_sub(&e->connections, 1);
			lane_count(l, COUNT_OVER_LIMIT, 1);
			tunnel_log(TUNNEL_LOG_WARNING, "a connection was turned away: limits: connections", LOG_TEXT("route", l->r->c->name));
			setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){.l_onoff = 1}, sizeof(struct linger));
			close(fd);
			continue;
		}
		place(l, fd);
	}
}

// ---- lanes ----

void lane_use(struct lane *l)
{
	l->users++;
}

static void free_lane(struct lane *l)
{
	list_remove(&l->node);
	timer_clear(&l->w->timers, &l->retry);
	udp_lane_free(l);
	tun_lane_free(l);
	route_release(l->r);
	free(l);
}

// An event of its listener may be among those of this turn.
void lane_leave(struct lane *l)
{
	if (--l->users || !l->gone)
		return;
	list_remove(&l->node);
	list_add_last(&l->w->dead_lanes, &l->node);
}

static void cut_lane(struct lane *l, const char *why)
{
	list_each_safe(n, &l->flows)
		flow_cut(list_entry(n, struct flow, node), -ECONNRESET, why);
	list_each_safe(n, &l->links)
		link_cut(list_entry(n, struct link, node), why);
}

static void on_retry(struct timer *t)
{
	struct lane *l = list_entry(t, struct lane, retry);
	if (l->gone)
		cut_lane(l, "the route is gone");
	else
		lane_tend(l);
}

int lane_new(struct worker *w, struct route *r)
{
	if (r->ohttp)
		return 0;	// it has threads of its own
	struct lane *l = calloc(1, sizeof *l);
	if (!l)
		return -ENOMEM;
	*l = (struct lane){.w = w, .r = route_ref(r), .accept = {.fd = r->listener, .event = on_accept}, .retry = {.fire = on_retry}};
	list_head(&l->links);
	list_head(&l->flows);
	list_head(&l->waiting);
	list_add_last(&w->lanes, &l->node);
	l->accepting = r->listener >= 0;
	int err = l->accepting ? worker_watch(w, &l->accept, EPOLLIN | EPOLLEXCLUSIVE) : 0;
	if (!err && r->c->carry == CARRY_UDP)
		err = udp_lane_new(l);
	if (!err && *r->c->tun.device)
		err = tun_lane_new(l);
	if (err) {
		l->accepting = false;
		free_lane(l);
		return err;
	}
	lane_tend(l);
	return 0;
}

void lane_retire(struct lane *l)
{
	struct worker *w = l->w;
	if (l->gone)
		return;
	if (l->accepting)
		worker_unwatch(w, &l->accept);
	l->accepting = false;
	l->gone = true;
	lane_use(l);
	udp_lane_retire(l);
	tun_lane_retire(l);
	list_each_safe(n, &l->links)
		link_retire(list_entry(n, struct link, node));
	// Who waits for a link that will not be made, and who has not yet said where he wants to go.
	list_each_safe(n, &l->flows) {
		struct flow *f = list_entry(n, struct flow, node);
		if (f->state == FLOW_ACCEPTING || (f->state == FLOW_WAITING && !f->link))
			flow_cut(f, -ESHUTDOWN, "the route is gone");
	}
	timer_set(&w->timers, &l->retry, w->now_ms + w->settings.drain_ms);
	lane_leave(l);
}

// ---- the thread ----

static void bury_the_dead(struct worker *w)
{
	while (!list_empty(&w->dead_flows)) {
		struct flow *f = list_entry(w->dead_flows.next, struct flow, dead);
		list_remove(&f->dead);
		flow_free(f);
	}
	while (!list_empty(&w->dead_carriers)) {
		struct carrier *c = list_entry(w->dead_carriers.next, struct carrier, dead);
		list_remove(&c->dead);
		c->ops->free(c);
	}
	while (!list_empty(&w->dead_links)) {
		struct link *l = list_entry(w->dead_links.next, struct link, dead);
		list_remove(&l->dead);
		link_free(l);
	}
	while (!list_empty(&w->dead_lanes))
		free_lane(list_entry(w->dead_lanes.next, struct lane, node));
}

static void give_turns(struct worker *w)
{
	struct list_node now;
	if (list_empty(&w->dirty))
		return;
	// Those that are marked meanwhile have their turn after the next look at the descriptors.
	now = w->dirty;
	now.next->prev = &now;
	now.prev->next = &now;
	list_head(&w->dirty);
	while (!list_empty(&now)) {
		struct link *l = list_entry(now.next, struct link, dirty);
		list_remove(&l->dirty);
		link_turn(l);
	}
}

// For how long to wait for descriptors. Timers have one of their own, which is set only when one is due before all that it was set for: to wait with
// a limit costs a timer of the kernel's each time.
static int patience(struct worker *w)
{
	int64_t next = timers_next(&w->timers);
	if (!list_empty(&w->dirty))
		return 0;
	if (next < 0 || next >= w->alarm_ms)
		return -1;
	// Zero would stop it.
	const struct itimerspec at = {.it_value = {.tv_sec = next / 1000, .tv_nsec = next % 1000 * 1000000 + 1}};
	if (!timerfd_settime(w->alarm.fd, TFD_TIMER_ABSTIME, &at, NULL)) {
		w->alarm_ms = next;
		return -1;
	}
	int64_t wait = next - clock_ms();
	return wait < 0 ? 0 : wait > 60000 ? 60000 : (int)wait;
}

static void *worker_thread(void *arg)
{
	struct worker *w = arg;
	struct engine *e = w->e;
	struct epoll_event events[EVENTS];
	crowd_begin(&w->crowd, clock_ms());
	while (!w->stopping || !list_empty(&w->lanes) || !list_empty(&w->dead_lanes)) {
		int n = epoll_wait(w->epoll, events, EVENTS, patience(w));
		w->now_ms = clock_ms();
		crowd_turn(&w->crowd, w->now_ms);
		for (int i = 0; i < n; i++) {
			struct source *s = events[i].data.ptr;
			s->event(s, events[i].events);
		}
		timers_run(&w->timers, w->now_ms);
		give_turns(w);
		bury_the_dead(w);
	}
	take_messages(w, true);
	bury_the_dead(w);
	pthread_mutex_lock(&e->lock);
	e->running--;
	pthread_cond_broadcast(&e->changed);
	pthread_mutex_unlock(&e->lock);
	return NULL;
}

int worker_init(struct worker *w, struct engine *e, unsigned int index)
{
	*w = (struct worker){.e = e, .settings = e->settings, .index = index, .epoll = epoll_create1(EPOLL_CLOEXEC), .now_ms = clock_ms(), .spare = open("/dev/null",
		O_RDONLY | O_CLOEXEC), .pipe = {{-1, -1}}};
	w->wake = (struct source){.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), .event = on_wake};
	w->alarm = (struct source){.fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK), .event = on_alarm};
	w->alarm_ms = INT64_MAX;
	w->last = &w->first;
	pthread_mutex_init(&w->lock, NULL);
	list_head(&w->lanes);
	list_head(&w->dirty);
	list_head(&w->dead_links);
	list_head(&w->dead_lanes);
	list_head(&w->dead_flows);
	list_head(&w->dead_carriers);
	w->buffer = malloc(WORKER_BUFFER);
	w->out_buffer = malloc(WORKER_BUFFER);
	if (w->epoll < 0 || w->wake.fd < 0 || w->alarm.fd < 0 || w->spare < 0)
		return -errno;
	int err = w->buffer && w->out_buffer ? dial_inbox_new(&w->inbox, e->dials) : -ENOMEM;
	if (err)
		return err;
	w->inbox_source = (struct source){.fd = dial_inbox_fd(w->inbox), .event = on_inbox};
	err = worker_watch(w, &w->wake, EPOLLIN);
	if (!err)
		err = worker_watch(w, &w->alarm, EPOLLIN);
	return err ? err : worker_watch(w, &w->inbox_source, EPOLLIN);
}

int worker_start(struct worker *w)
{
	return -pthread_create(&w->thread, NULL, worker_thread, w);
}

void worker_end(struct worker *w)
{
	if (w->inbox)
		dial_inbox_free(w->inbox);
	timers_free(&w->timers);
	free(w->buffer);
	free(w->out_buffer);
	if (w->epoll >= 0)
		close(w->epoll);
	if (w->wake.fd >= 0)
		close(w->wake.fd);
	if (w->alarm.fd >= 0)
		close(w->alarm.fd);
	if (w->spare >= 0)
		close(w->spare);
	splice_spare_close(&w->pipe);
	pthread_mutex_destroy(&w->lock);
}

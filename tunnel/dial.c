// SPDX-License-Identifier: Apache-2.0
// See dial.h. Lock: pool.lock, for the queue of look-ups, for what they found, and for whom; nothing is called under it.
#include "tunnel/dial.h"

#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "tunnel/transparent.h"

#define MAX_ADDRESSES 16
#define HEAD_START_MS 250
#define DEFAULT_TIMEOUT_MS 10000
#define EVENTS_A_TURN 256	// then the event loop has its turn again
#define STACK_BYTES (512u << 10)
#define LOOKS_A_SECOND 100

// A name that somebody wants to know. Its dial may be gone before the answer is there.
struct lookup {
	struct lookup *next;
	struct dial_inbox *inbox;
	struct dial *dial;	// lock
	struct target asked;
	bool datagram;
	uint64_t share;
	struct target found[MAX_ADDRESSES];
	size_t n;
	int error;		// EAI_...
};

struct dial_pool {
	pthread_mutex_t lock;
	pthread_cond_t wake;
	struct lookup *first, **last;
	struct lookup *running;	// those of the threads
	unsigned int threads, max_threads, idle, waiting, max_waiting;
	unsigned int refs;	// itself and its threads: one may be stuck in a look-up when the pool goes
	bool stop;
};

struct dial_inbox {
	struct dial_pool *pool;
	unsigned int refs;	// lock; itself and its look-ups
	bool closed;		// lock
	struct lookup *found;	// lock
	int epoll, event, timer;
	int64_t timer_ms;	// what the timer is set to; INT64_MAX: nothing
	struct dial *dials, *next;	// next: of a walk that `done` may change
};

struct attempt {
	struct dial *dial;
	int fd;			// -1: none, or over
};

struct dial {
	struct dial *next, **link;
	struct dial_inbox *inbox;
	struct dial_options o;
	struct target asked, address[MAX_ADDRESSES];
	size_t n, tried;
	struct attempt attempt[MAX_ADDRESSES];
	unsigned int running;
	int64_t deadline_ms, next_ms;
	struct lookup *lookup;
	int error;		// of the first attempt that failed
	bool failed;		// before it began: told in the next turn
	dial_done *done;
	void *ctx;
	char why[192];
};

static int64_t now_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

// ---- looking names up ----

static void pool_release(struct dial_pool *p)	// with the lock, which it gives back
{
	bool last = !--p->refs;
	pthread_mutex_unlock(&p->lock);
	if (!last)
		return;
	pthread_cond_destroy(&p->wake);
	pthread_mutex_destroy(&p->lock);
	free(p);
}

static void resolve(struct lookup *l)
{
	struct addrinfo hints = {.ai_socktype = l->datagram ? SOCK_DGRAM : SOCK_STREAM, .ai_flags = AI_ADDRCONFIG}, *list = NULL;
	l->error = getaddrinfo(l->asked.name, NULL, &hints, &list);
	if (l->error == EAI_NONAME || l->error == EAI_ADDRFAMILY || l->error == EAI_NODATA) {
		hints.ai_flags = 0;	// a machine that has nothing but a loopback
		l->error = getaddrinfo(l->asked.name, NULL, &hints, &list);
	}
	for (struct addrinfo *a = l->error ? NULL : list; a && l->n < MAX_ADDRESSES; a = a->ai_next) {
		if (target_set_address(&l->found[l->n], a->ai_addr))
			continue;
		l->found[l->n++].port = l->asked.port;
	}
	if (list)
		freeaddrinfo(list);
}

static void inbox_release(struct dial_inbox *i)	// with the lock
{
	if (!--i->refs)
		free(i);
}

static unsigned int count_share(const struct lookup *l, uint64_t share)
{
	unsigned int n = 0;
	for (; l; l = l->next)
		n += l->share == share;
	return n;
}

// With the lock: the first one in the queue whose peer does not keep half of the threads busy already. Slow names of one do not stop another's.
static struct lookup *take_first(struct dial_pool *p)
{
	struct lookup **at = &p->first, *l;
	while ((l = *at) && l->dial && l->share && count_share(p->running, l->share) >= (p->max_threads + 1) / 2)
		at = &l->next;
	if (!l)
		return NULL;
	if (!(*at = l->next))
		p->last = at;
	p->waiting--;
	l->next = p->running;
	p->running = l;
	return l;
}

// With the lock: its peer's next may have been passed over.
static void leave_running(struct dial_pool *p, const struct lookup *l)
{
	struct lookup **at = &p->running;
	while (*at != l)
		at = &(*at)->next;
	*at = l->next;
	if (p->first)
		pthread_cond_signal(&p->wake);
}

static void *resolver(void *ctx)
{
	struct dial_pool *p = ctx;
	pthread_mutex_lock(&p->lock);
	while (!p->stop) {
		struct lookup *l = take_first(p);
		if (!l) {
			p->idle++;
			pthread_cond_wait(&p->wake, &p->lock);
			p->idle--;
			continue;
		}
		if (l->dial) {
			pthread_mutex_unlock(&p->lock);
			resolve(l);
			pthread_mutex_lock(&p->lock);
		}
		leave_running(p, l);
		if (l->inbox->closed || !l->dial) {
			inbox_release(l->inbox);
			free(l);
			continue;
		}
		l->next = l->inbox->found;
		l->inbox->found = l;
		eventfd_write(l->inbox->event, 1);
	}
	pool_release(p);
	return NULL;
}

// With the lock. False: there is no thread at all.
static bool have_thread(struct dial_pool *p)
{
	pthread_attr_t attr;
	pthread_t thread;
	sigset_t all, before;
	if (p->idle || p->threads == p->max_threads)
		return true;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);	// signals are the main thread's
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_BYTES);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	if (!pthread_create(&thread, &attr, resolver, p)) {
		p->threads++;
		p->refs++;
	}
	pthread_attr_destroy(&attr);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return p->threads;
}

static int look_up(struct dial *d)
{
	struct dial_pool *p = d->inbox->pool;
	struct lookup *l = calloc(1, sizeof *l);
	int err = 0;
	if (!l)
		return -ENOMEM;
	*l = (struct lookup){.inbox = d->inbox, .dial = d, .asked = d->asked, .datagram = d->o.datagram, .share = d->o.share};
	pthread_mutex_lock(&p->lock);
	if (p->waiting >= p->max_waiting || (l->share && count_share(p->first, l->share) >= (p->max_waiting + 1) / 2))
		err = -EBUSY;
	else if (!have_thread(p))
		err = -ENOMEM;
	if (!err) {
		p->waiting++;
		d->inbox->refs++;
		*p->last = l;
		p->last = &l->next;
		pthread_cond_signal(&p->wake);
		d->lookup = l;
	}
	pthread_mutex_unlock(&p->lock);
	if (err)
		free(l);
	return err;
}

int dial_pool_new(struct dial_pool **out, unsigned int threads, unsigned int max_waiting)
{
	struct dial_pool *p = calloc(1, sizeof *p);
	*out = p;
	if (!p)
		return -ENOMEM;
	p->last = &p->first;
	p->max_threads = threads ? threads : 1;
	p->max_waiting = max_waiting;
	p->refs = 1;
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->wake, NULL);
	return 0;
}

void dial_pool_free(struct dial_pool *p)
{
	if (!p)
		return;
	pthread_mutex_lock(&p->lock);
	p->stop = true;
	while (p->first) {
		struct lookup *l = p->first;
		p->first = l->next;
		inbox_release(l->inbox);
		free(l);
	}
	pthread_cond_broadcast(&p->wake);
	pool_release(p);
}

// ---- the inbox ----

static int watch(struct dial_inbox *i, int fd, uint32_t events, struct attempt *a)
{
	struct epoll_event e = {.events = events, .data.ptr = a};
	return epoll_ctl(i->epoll, EPOLL_CTL_ADD, fd, &e) ? -errno : 0;
}

int dial_inbox_new(struct dial_inbox **out, struct dial_pool *p)
{
	struct dial_inbox *i = calloc(1, sizeof *i);
	int err = 0;
	*out = NULL;
	if (!i)
		return -ENOMEM;
	*i = (struct dial_inbox){.pool = p, .refs = 1, .timer_ms = INT64_MAX};
	i->epoll = epoll_create1(EPOLL_CLOEXEC);
	i->event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	i->timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	if (i->epoll < 0 || i->event < 0 || i->timer < 0)
		err = -errno;
	if (!err)
		err = watch(i, i->event, EPOLLIN, NULL);
	if (!err)
		err = watch(i, i->timer, EPOLLIN, NULL);
	if (err) {
		if (i->epoll >= 0)
			close(i->epoll);
		if (i->event >= 0)
			close(i->event);
		if (i->timer >= 0)
			close(i->timer);
		free(i);
		return err;
	}
	*out = i;
	return 0;
}

void dial_inbox_free(struct dial_inbox *i)
{
	struct dial_pool *p = i ? i->pool : NULL;
	if (!i)
		return;
	while (i->dials)
		dial_cancel(i->dials);
	pthread_mutex_lock(&p->lock);
	i->closed = true;
	while (i->found) {
		struct lookup *l = i->found;
		i->found = l->next;
		i->refs--;
		free(l);
	}
	close(i->epoll);
	close(i->event);
	close(i->timer);
	inbox_release(i);
	pthread_mutex_unlock(&p->lock);
}

int dial_inbox_fd(const struct dial_inbox *i)
{
	return i->epoll;
}

// The timer goes off then at the latest.
static void wake_at(struct dial_inbox *i, int64_t ms)
{
	const struct itimerspec at = {.it_value = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 + 1}};
	if (ms >= i->timer_ms)
		return;
	i->timer_ms = ms;
	timerfd_settime(i->timer, TFD_TIMER_ABSTIME, &at, NULL);
}

// ---- one dial ----

static void end_attempt(struct dial *d, struct attempt *a)
{
	if (a->fd < 0)
		return;
	close(a->fd);	// which takes it out of the epoll set
	a->fd = -1;
	d->running--;
}

void dial_cancel(struct dial *d)
{
	if (!d)
		return;
	for (size_t i = 0; i < d->tried; i++)
		end_attempt(d, &d->attempt[i]);
	if (d->lookup) {
		pthread_mutex_lock(&d->inbox->pool->lock);
		d->lookup->dial = NULL;
		pthread_mutex_unlock(&d->inbox->pool->lock);
	}
	*d->link = d->next;
	if (d->next)
		d->next->link = d->link;
	if (d->inbox->next == d)
		d->inbox->next = d->next;
	free(d);
}

// The last of it: the dial is gone before `done` is called.
static void finish(struct dial *d, int result)
{
	dial_done *done = d->done;
	void *ctx = d->ctx;
	char why[sizeof d->why];
	memcpy(why, d->why, sizeof why);
	dial_cancel(d);
	done(ctx, result, why);
}

__attribute__((format(printf, 2, 3))) static void say(struct dial *d, const char *format, ...)
{
	va_list ap;
	va_start(ap, format);
	vsnprintf(d->why, sizeof d->why, format, ap);
	va_end(ap);
}

static int open_socket(const struct dial *d, int family)
{
	int fd = socket(family, (d->o.datagram ? SOCK_DGRAM : SOCK_STREAM) | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (d->o.mark && setsockopt(fd, SOL_SOCKET, SO_MARK, &d->o.mark, sizeof d->o.mark)) {
		close(fd);
		return -EXDEV;	// told apart below
	}
	return fd;
}

static int begin(struct dial *d, const struct target *t, struct attempt *a)
{
	struct sockaddr_storage sa;
	socklen_t len = target_sockaddr(t, &sa);
	int fd = open_socket(d, sa.ss_family), err = fd;
	*a = (struct attempt){.dial = d, .fd = -1};
	if (fd < 0)
		return err;
	err = own_connect(fd, (struct sockaddr *)&sa, len);
	if (!err || err == -EINPROGRESS)
		err = watch(d->inbox, fd, EPOLLOUT, a);
	if (err) {
		close(fd);
		return err;
	}
	a->fd = fd;
	d->running++;
	return 0;
}

static void note(struct dial *d, const struct target *t, int err)
{
	char text[TARGET_TEXT];
	if (d->error)
		return;
	d->error = err == -EXDEV ? -EIO : err == -EADDRNOTAVAIL ? -ENETUNREACH : err == -EACCES || err == -EPERM ? -EHOSTUNREACH : err;
	if (err == -EXDEV)
		say(d, "`mark` needs the capability CAP_NET_ADMIN");
	else
		say(d, "%.100s: %s", target_text(t, text), strerror(-err));
}

// Begins the next attempt that can be begun. False: there are none left, and none is under way.
static bool go_on(struct dial *d)
{
	while (d->tried < d->n) {
		size_t i = d->tried++;
		int err = begin(d, &d->address[i], &d->attempt[i]);
		if (!err) {
			d->next_ms = d->tried < d->n ? now_ms() + HEAD_START_MS : INT64_MAX;
			wake_at(d->inbox, d->next_ms);
			return true;
		}
		note(d, &d->address[i], err);
	}
	d->next_ms = INT64_MAX;
	return d->running;
}

static void attempted(struct attempt *a)
{
	struct dial *d = a->dial;
	const struct target *t = &d->address[a - d->attempt];
	int err = 0, fd = a->fd;
	socklen_t len = sizeof err;
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len))
		err = errno;
	if (!err) {
		epoll_ctl(d->inbox->epoll, EPOLL_CTL_DEL, fd, NULL);
		a->fd = -1;
		d->why[0] = '\0';
		finish(d, fd);
		return;
	}
	note(d, t, -err);
	end_attempt(d, a);
	if (!go_on(d))
		finish(d, d->error);
}

static void looked_up(struct dial *d, const struct lookup *l)
{
	char text[TARGET_TEXT];
	const struct target *denied = NULL;
	d->lookup = NULL;
	for (size_t i = 0; i < l->n; i++) {
		if (!d->o.rules || rules_address(d->o.rules, &d->asked, &l->found[i]))
			d->address[d->n++] = l->found[i];
		else
			denied = &l->found[i];
	}
	if (d->n) {
		if (!go_on(d))
			finish(d, d->error);
		return;
	}
	if (denied)
		say(d, "%.100s is %.48s, %s", d->asked.name, target_host_text(denied, text),
		    target_is_special(denied) ? "a private or special address that no rule lists" : "which no rule allows");
	else
		say(d, "%.100s: %s", d->asked.name, l->error ? gai_strerror(l->error) : "the name has no address");
	finish(d, denied ? -EACCES : l->error == EAI_MEMORY ? -ENOMEM : l->error == EAI_AGAIN || l->error == EAI_FAIL ? -EHOSTUNREACH : -ENOENT);
}

int dial_start(struct dial **out, struct dial_inbox *i, const struct target *t, const struct dial_options *o, dial_done *done, void *ctx,
	       struct fault *why)
{
	char text[TARGET_TEXT];
	int err = 0;
	*out = NULL;
	if (t->host == TARGET_NONE || !t->port)
		return fault_set(why, -EINVAL, "there is no destination");
	if (o->rules && !rules_match(o->rules, t))
		return fault_set(why, -EACCES, "no rule allows %s", target_text(t, text));
	struct dial *d = calloc(1, sizeof *d);
	if (!d)
		return fault_set(why, -ENOMEM, "no memory");
	*d = (struct dial){.next = i->dials, .link = &i->dials, .inbox = i, .o = *o, .asked = *t, .done = done, .ctx = ctx, .next_ms = INT64_MAX};
	d->deadline_ms = now_ms() + (o->timeout_ms > 0 ? o->timeout_ms : DEFAULT_TIMEOUT_MS);
	if (i->dials)
		i->dials->link = &d->next;
	i->dials = d;
	wake_at(i, d->deadline_ms);
	if (t->host == TARGET_NAME) {
		err = look_up(d);
	} else {
		d->address[d->n++] = *t;
		if (!go_on(d)) {
			d->failed = true;
			eventfd_write(i->event, 1);
		}
	}
	if (err) {
		dial_cancel(d);
		return fault_set(why, err, err == -EBUSY ? "too many names are being looked up" : "names cannot be looked up");
	}
	*out = d;
	return 0;
}

// ---- turns ----

static bool turn_failed(struct dial_inbox *i)
{
	for (struct dial *d = i->dials; d; d = d->next) {
		if (d->failed) {
			finish(d, d->error);
			return true;
		}
	}
	return false;
}

static bool turn_found(struct dial_inbox *i)
{
	pthread_mutex_lock(&i->pool->lock);
	struct lookup *l = i->found;
	struct dial *d = NULL;
	if (l) {
		i->found = l->next;
		i->refs--;
		d = l->dial;
	}
	pthread_mutex_unlock(&i->pool->lock);
	if (d)
		looked_up(d, l);
	free(l);
	return l;
}

static void turn_event(struct dial_inbox *i)
{
	eventfd_t n;
	eventfd_read(i->event, &n);
	while (turn_found(i) || turn_failed(i))
		;
}

// What is due. `done` may end others and begin new ones, which are not due yet.
static void turn_due(struct dial_inbox *i, int64_t now)
{
	struct dial *d;
	for (i->next = i->dials; (d = i->next);) {
		i->next = d->next;
		if (d->deadline_ms <= now) {
			say(d, d->lookup ? "looking up %.100s took too long" : "%.100s did not answer in time",
			    d->asked.host == TARGET_NAME ? d->asked.name : "the address");
			finish(d, -ETIMEDOUT);
		} else if (d->next_ms <= now && !go_on(d)) {
			finish(d, d->error);
		}
	}
}

// However many there are, they are gone through LOOKS_A_SECOND times a second at the most.
static void turn_timer(struct dial_inbox *i)
{
	uint64_t n;
	int64_t now = now_ms(), next = INT64_MAX;
	if (read(i->timer, &n, sizeof n) < 0)
		return;
	i->timer_ms = INT64_MAX;
	turn_due(i, now);
	for (struct dial *d = i->dials; d; d = d->next) {
		int64_t at = d->next_ms < d->deadline_ms ? d->next_ms : d->deadline_ms;
		next = at < next ? at : next;
	}
	if (next < INT64_MAX)
		wake_at(i, next < now + 1000 / LOOKS_A_SECOND ? now + 1000 / LOOKS_A_SECOND : next);
}

void dial_inbox_run(struct dial_inbox *i)
{
	struct epoll_event e;
	// One at a time: what `done` does may be the end of others.
	for (int n = 0; n < EVENTS_A_TURN && epoll_wait(i->epoll, &e, 1, 0) == 1; n++) {
		if (e.data.ptr) {
			attempted(e.data.ptr);
		} else {
			turn_event(i);
			turn_timer(i);
		}
	}
}

// SPDX-License-Identifier: Apache-2.0
// Readiness of host handles. The host reports edges; each handle's state keeps them until an operation finds the handle
// used up. A host that lies about readiness can only cause an operation that would block.
// Who collects the host's events: a handle is in set 0, which any sleeping task collects, until several events on end have woken the same task and nobody
// else. Then it moves into that task's own set (its home), so that the task sleeps in the host's epoll itself and no other thread is woken for it. That
// holds as long as nobody else waits for the handle: the first waiter of another task (waitq_add) brings it back to set 0.
// Locks: `moves` is held while the host is told of a handle's move from one set to another, and the handle's watch stays until that is over: else a
// move back might overtake it, or its number be another socket's meanwhile. io_lock guards the table, the sets and all states, below `moves`; waitq locks
// below it. hostio_unwatch returns when no event of the handle can touch its queue or state any more. A watch's cookie and its handle fall into the same row of the table.
#include "kernel/net/hostio.h"
#include "kernel/include/alloc.h"
#include "kernel/include/count.h"
#include "hostcall/hostcall.h"
#include "kernel/include/hostcall.h"
#include "kernel/include/task.h"
#include "kernel/include/uapi.h"
#include "kernel/include/wait.h"

#define BUCKETS 1024u // a power of two: the cookie's low bits are the handle's
#define FIRST_OWN 2u	// sets of single tasks; 0 and 1: kernel/include/hostcall.h, kernel/task/sleep.c
#define HOT 4u		// events that woke the same task, before it gets the handle
#define STRANGERS 3u	// times that a handle came back from its home, after which it stays
#define OLD 256u	// looks at a wish that nobody fulfils
#define ALL_EVENTS (EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLHUP | EPOLLERR)

struct watch {
	struct list link;
	int hfd;
	u32 cookie;
	struct waitq *q;
	struct hostio_state *st;
	u32 set;		// that it is in
	struct list set_link;	// of a task's own set
	struct task *hot;	// woken by the last `events` events, and nobody else. Only compared: it may be gone
	u32 events, strangers;
	bool moving;		// the host is being told of another set; only the holder of `moves` sets and clears it
	struct list want_link;	// it is to move to `hot`
	u32 looks;
};

u32 hostio_active;
static struct mutex moves, io_lock;
static struct list table[BUCKETS];
static u32 last_turn;
static struct {
	struct task *owner;
	struct list watches;
} sets[HC_SETS];
static struct list wanted = LIST_INIT(wanted);
u32 hostio_wanted;	// length of `wanted`

static struct list *bucket(u32 key)
{
	struct list *b = &table[key % BUCKETS];
	if (!b->next)
		list_init(b);
	return b;
}

// A cookie that no watch has. io_lock held.
static u32 new_cookie(int hfd)
{
	struct watch *w;
	u32 c;
again:
	c = ++last_turn * BUCKETS | (u32)hfd % BUCKETS;
	list_for_each(w, bucket(c), link)
		if (unlikely(w->cookie == c))
			goto again;
	return c;
}

static void want(struct watch *w)
{
	list_add_tail(&w->want_link, &wanted);
	w->looks = 0;
	__atomic_store_n(&hostio_wanted, hostio_wanted + 1, __ATOMIC_RELAXED);
}

static void unwant(struct watch *w)
{
	if (list_empty(&w->want_link))
		return;
	list_del(&w->want_link);
	__atomic_store_n(&hostio_wanted, hostio_wanted - 1, __ATOMIC_RELAXED);
}

// w belongs to the set's owner from now on, unless somebody else waits for it. io_lock held.
static bool settle(struct watch *w, u32 set)
{
	struct task *t = sets[set].owner;
	bool alone;

	mutex_lock(&w->q->lock);
	alone = list_empty(&w->q->waiters) || waitq_who(w->q) == t;
	if (alone)
		w->q->home = w;
	mutex_unlock(&w->q->lock);
	if (!alone)
		return false;
	w->set = set;
	list_add_tail(&w->set_link, &sets[set].watches);
	w->st->home = t;
	return true;
}

// w is everybody's from now on; the set that it was in. io_lock held.
static u32 leave_home(struct watch *w)
{
	u32 set = w->set;

	if (!set)
		return 0;
	mutex_lock(&w->q->lock);
	w->q->home = NULL;
	mutex_unlock(&w->q->lock);
	list_del(&w->set_link);
	w->set = 0;
	w->st->home = NULL;
	w->st->maybe = ALL_EVENTS;
	w->st->gen++;
	w->events = 0;
	w->strangers++;
	return set;
}

struct task *hostio_home(const struct watch *w) { return sets[w->set].owner; }

// The host reports what is ready when a handle comes into a set: nothing is lost on the way.
static void bring_back(int hfd, u32 cookie, u32 set)
{
	(void)hc_watch(hfd, cookie, 0); // it fails only for a handle that is being closed
	(void)hc_unwatch(hfd, set);
}

static void moved(struct watch *w)
{
	mutex_lock(&io_lock);
	w->moving = false;
	mutex_unlock(&io_lock);
}

void hostio_unhome(struct waitq *q)
{
	struct watch *w;
	u32 set = 0;

	mutex_lock(&moves);
	mutex_lock(&io_lock);
	w = q->home;
	if (w) {
		set = leave_home(w);
		w->moving = true;
	}
	mutex_unlock(&io_lock);
	if (w) {
		bring_back(w->hfd, w->cookie, set);
		moved(w);
	}
	mutex_unlock(&moves);
}

// The current task's own set; 0: there are none left. io_lock held.
static u32 own_set(void)
{
	struct task *t = current;

	for (u32 i = FIRST_OWN; i < HC_SETS && !t->pollset; i++)
		if (!sets[i].owner) {
			sets[i].owner = t;
			list_init(&sets[i].watches);
			t->pollset = i;
		}
	return t->pollset;
}

// The host hears that w is in a set of its own from now on. `moves` held.
static void tell_taken(struct watch *w, u32 set)
{
	if (hc_watch(w->hfd, w->cookie, set) < 0) {
		mutex_lock(&io_lock);
		leave_home(w);
		mutex_unlock(&io_lock);
		bring_back(w->hfd, w->cookie, set);
	} else {
		(void)hc_unwatch(w->hfd, 0);
	}
	moved(w);
}

void hostio_take(void)
{
	struct watch *w, *next, *mine;
	u32 set;

	do {
		mine = NULL;
		mutex_lock(&moves);
		mutex_lock(&io_lock);
		list_for_each_safe(w, next, &wanted, want_link) {
			if (w->hot == current)
				mine = w;
			else if (++w->looks < OLD)
				continue;
			unwant(w);
			w->events = 0;
			if (mine)
				break;
		}
		set = mine ? own_set() : 0;
		if (mine && !set)
			mine->strangers = STRANGERS; // too many tasks have some
		if (set && !settle(mine, set))
			set = 0;
		if (set)
			mine->moving = true;
		mutex_unlock(&io_lock);
		if (set)
			tell_taken(mine, set);
		mutex_unlock(&moves);
	} while (mine);
}

void hostio_task_exit(struct task *t)
{
	u32 set = t->pollset;
	struct watch *w;

	if (!set)
		return;
	mutex_lock(&moves);
	mutex_lock(&io_lock);
	while (!list_empty(&sets[set].watches)) {
		w = list_first(&sets[set].watches, struct watch, set_link);
		leave_home(w);
		w->moving = true;
		mutex_unlock(&io_lock);
		bring_back(w->hfd, w->cookie, set);
		mutex_lock(&io_lock);
		w->moving = false;
	}
	sets[set].owner = NULL;
	t->pollset = 0;
	mutex_unlock(&io_lock);
	mutex_unlock(&moves);
}

// Until the host is no longer being told about it. io_lock held, and again; only the watch's owner ends it, so it stays.
static void wait_move(const struct watch *w)
{
	while (unlikely(w->moving)) {
		mutex_unlock(&io_lock);
		mutex_lock(&moves);
		mutex_unlock(&moves);
		mutex_lock(&io_lock);
	}
}

// The watch of a handle; NULL: none. io_lock held.
static struct watch *watch_of(int hfd)
{
	struct watch *w;

	list_for_each(w, bucket((u32)hfd), link)
		if (w->hfd == hfd)
			return w;
	return NULL;
}

int hostio_watch_state(int hfd, struct waitq *q, struct hostio_state *st)
{
	struct watch *w = knew(struct watch);
	if (!w)
		return -ENOMEM;
	COUNT(host_watches, 1);
	w->hfd = hfd;
	w->q = q;
	w->st = st;
	list_init(&w->want_link);
	if (st) {
		st->events = 0;
		st->maybe = ALL_EVENTS;
		st->home = NULL;
	}
	mutex_lock(&io_lock);
	if (unlikely(watch_of(hfd))) { // a host that gives the same handle twice: the end of one would leave the other's queue behind
		mutex_unlock(&io_lock);
		COUNT(host_watches, -1);
		kfree(w);
		return -EIO;
	}
	w->cookie = new_cookie(hfd);
	list_add(&w->link, bucket(w->cookie));
	if (st && current->pollset) // most likely it is for whoever makes it
		(void)settle(w, current->pollset);
	u32 set = w->set, cookie = w->cookie;
	mutex_unlock(&io_lock);
	__atomic_fetch_add(&hostio_active, 1, __ATOMIC_SEQ_CST);
	int r = hc_watch(hfd, cookie, set);
	if (r >= 0 && set) { // whoever waited for it already may have brought it back before the host heard of this set
		mutex_lock(&io_lock);
		bool left = w->set != set; // only its owner, the current task, can have it come here again
		mutex_unlock(&io_lock);
		if (left)
			(void)hc_unwatch(hfd, set);
	}
	if (r < 0) {
		mutex_lock(&io_lock);
		wait_move(w);
		leave_home(w);
		list_del(&w->link);
		mutex_unlock(&io_lock);
		__atomic_fetch_sub(&hostio_active, 1, __ATOMIC_SEQ_CST);
		COUNT(host_watches, -1);
		kfree(w);
	}
	return r;
}

int hostio_watch(int hfd, struct waitq *q) { return hostio_watch_state(hfd, q, NULL); }

void hostio_unwatch(int hfd)
{
	struct watch *w;
	u32 set = 0;
	mutex_lock(&io_lock);
	w = watch_of(hfd);
	if (w) {
		wait_move(w);
		list_del(&w->link);
		unwant(w);
		set = leave_home(w);
	}
	mutex_unlock(&io_lock);
	if (!w)
		return;
	hc_unwatch(hfd, set);
	__atomic_fetch_sub(&hostio_active, 1, __ATOMIC_SEQ_CST);
	COUNT(host_watches, -1);
	kfree(w);
}

// An event of everybody's set woke this handle's waiters: are they one task, again and again? io_lock held.
static void count_event(struct watch *w)
{
	struct task *t;

	if (w->set || w->strangers >= STRANGERS || !w->st)
		return;
	mutex_lock(&w->q->lock);
	t = waitq_who(w->q);
	mutex_unlock(&w->q->lock);
	if (w->hot != t) {
		unwant(w);
		w->hot = t;
		w->events = 0;
	}
	if (t && ++w->events == HOT)
		want(w);
}

void hostio_event(u32 cookie, u32 events)
{
	struct watch *w;
	events &= ALL_EVENTS;
	mutex_lock(&io_lock);
	list_for_each(w, bucket(cookie), link)
		if (w->cookie == cookie) {
			if (w->st) {
				w->st->events |= events;
				w->st->maybe &= ~events;
				w->st->gen++;
			}
			count_event(w);
			waitq_wake(w->q, 0);
			break;
		}
	mutex_unlock(&io_lock);
}

void hostio_lost(void)
{
	struct watch *w;

	mutex_lock(&io_lock);
	for (u32 b = 0; b < BUCKETS; b++) {
		struct list *head = bucket(b);

		list_for_each(w, head, link) {
			if (w->st) {
				w->st->maybe = ALL_EVENTS;
				w->st->gen++;
			}
			waitq_wake(w->q, 0);
		}
	}
	mutex_unlock(&io_lock);
}

u32 hostio_events(int hfd) { return hc_poll_now(hfd) & ALL_EVENTS; }

u32 hostio_ready(int hfd, struct hostio_state *st)
{
	u32 gen = __atomic_load_n(&st->gen, __ATOMIC_ACQUIRE);
	struct task *home = __atomic_load_n(&st->home, __ATOMIC_RELAXED);
	if (unlikely(home) && home != current) // who collects its events may be busy with something else
		return hostio_events(hfd);
	if (likely(!st->maybe))
		return st->events;
	u32 now = hostio_events(hfd);
	mutex_lock(&io_lock);
	if (st->gen == gen) {
		st->events = now;
		st->maybe = 0;
	} else { // an event came meanwhile: it counts, too
		now |= st->events & ~st->maybe;
	}
	mutex_unlock(&io_lock);
	return now;
}

void hostio_used_up(struct hostio_state *st, u32 bits, u32 gen)
{
	mutex_lock(&io_lock);
	if (st->gen == gen) {
		st->events &= ~bits;
		st->maybe &= ~bits;
	}
	mutex_unlock(&io_lock);
}

void hostio_unsure(struct hostio_state *st, u32 bits)
{
	if ((st->maybe & bits) == bits)
		return;
	mutex_lock(&io_lock);
	st->maybe |= bits;
	mutex_unlock(&io_lock);
}

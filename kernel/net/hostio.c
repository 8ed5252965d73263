// SPDX-License-Identifier: Apache-2.0
// Readiness of host handles. The host reports edges; each handle's state keeps them until an operation finds the handle
// used up. A host that lies about readiness can only cause an operation that would block.
// Locks: io_lock guards the table and all states; waitq locks below it. hostio_unwatch returns when no event of the
// handle can touch its queue or state any more. A watch's cookie and its handle fall into the same row of the table.
#include "kernel/net/hostio.h"
#include "kernel/include/alloc.h"
#include "kernel/include/count.h"
#include "kernel/include/hostcall.h"
#include "kernel/include/uapi.h"
#include "kernel/include/wait.h"

#define BUCKETS 1024u // a power of two: the cookie's low bits are the handle's
#define ALL_EVENTS (EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLHUP | EPOLLERR)

struct watch {
	struct list link;
	int hfd;
	u32 cookie;
	struct waitq *q;
	struct hostio_state *st;
};

u32 hostio_active;
static struct mutex io_lock;
static struct list table[BUCKETS];
static u32 last_turn;

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

int hostio_watch_state(int hfd, struct waitq *q, struct hostio_state *st)
{
	struct watch *w = knew(struct watch);
	if (!w)
		return -ENOMEM;
	COUNT(host_watches, 1);
	w->hfd = hfd;
	w->q = q;
	w->st = st;
	if (st) {
		st->events = 0;
		st->maybe = ALL_EVENTS;
	}
	mutex_lock(&io_lock);
	w->cookie = new_cookie(hfd);
	list_add(&w->link, bucket(w->cookie));
	mutex_unlock(&io_lock);
	__atomic_fetch_add(&hostio_active, 1, __ATOMIC_SEQ_CST);
	int r = hc_watch(hfd, w->cookie);
	if (r < 0) {
		mutex_lock(&io_lock);
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
	struct watch *w = NULL, *i;
	mutex_lock(&io_lock);
	list_for_each(i, bucket((u32)hfd), link)
		if (i->hfd == hfd) {
			w = i;
			break;
		}
	if (w)
		list_del(&w->link);
	mutex_unlock(&io_lock);
	if (!w)
		return;
	hc_unwatch(hfd);
	__atomic_fetch_sub(&hostio_active, 1, __ATOMIC_SEQ_CST);
	COUNT(host_watches, -1);
	kfree(w);
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

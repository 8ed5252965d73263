// SPDX-License-Identifier: Apache-2.0
// Unix sockets that only messages in flight keep alive, and only messages in each other's queues: nobody can ever reach
// them. They are found as Linux finds them: sockets all of whose references are in flight are candidates; what is queued in
// a socket that is none, or in a candidate that such a one leads to, lives; the rest are emptied, which closes them.
//
// A message counts as in flight from before it is queued until after its files were handed out, so whoever is about to give
// or take one makes its files look alive. Nobody can touch the queue of a socket that is garbage, but its peer may add to it.
// Locks: flight_lock -> sock->lock of candidates (a listener's, then its waiting child's).
#include "kernel/net/sock.h"

enum { GC_NONE, GC_CANDIDATE, GC_LIVE };

static struct mutex flight_lock;
static struct list flying = LIST_INIT(flying);
static u32 nsocks;		// sockets in flight, counted as often as they are
static bool collecting;

static struct sock *unix_of_file(struct file *f)
{
	struct sock *s = file_sock(f);

	return s && s->family == AF_UNIX ? s : NULL;
}

// c is complete and about to be queued: its files are in flight.
void gc_takeoff(struct scm *c)
{
	mutex_lock(&flight_lock);
	list_add_tail(&c->fly, &flying);
	for (u32 i = 0; i < c->nfiles; i++) {
		struct sock *s = unix_of_file(c->files[i]);

		if (s) {
			s->inflight++;
			nsocks++;
		}
	}
	mutex_unlock(&flight_lock);
}

void gc_landed(struct scm *c)
{
	if (list_empty(&c->fly)) // only a copy (MSG_PEEK), or without files
		return;
	mutex_lock(&flight_lock);
	list_del(&c->fly);
	for (u32 i = 0; i < c->nfiles; i++) {
		struct sock *s = unix_of_file(c->files[i]);

		if (s) {
			s->inflight--;
			nsocks--;
		}
	}
	mutex_unlock(&flight_lock);
}

struct walk {
	void (*see)(struct sock *s, struct list *to);	// each candidate that a queued message holds
	struct list *to;
	bool take;					// take the messages away, to this list
};

static void see_scm(struct scm **pc, struct walk *w)
{
	struct scm *c = *pc;

	if (!c || !c->nfiles)
		return;
	if (w->take) {
		*pc = NULL;
		list_init(&c->link);
		list_add_tail(&c->link, w->to);
		return;
	}
	for (u32 i = 0; i < c->nfiles; i++) {
		struct sock *s = unix_of_file(c->files[i]);

		if (s && s->gc == GC_CANDIDATE)
			w->see(s, w->to);
	}
}

static void walk_queue(struct sock *s, struct walk *w)
{
	struct packet *p;
	struct sock *child;
	struct mark *mk;

	mutex_lock(&s->lock);
	list_for_each (mk, &s->marks, link)
		see_scm(&mk->scm, w);
	list_for_each (p, &s->pkts, link)
		see_scm(&p->scm, w);
	list_for_each (child, &s->accept_q, accept_link)
		walk_queue(child, w);
	mutex_unlock(&s->lock);
}

static void one_less(struct sock *s, struct list *to)
{
	(void)to;
	s->gc_left--;
}

static void lives(struct sock *s, struct list *to)
{
	s->gc = GC_LIVE;
	list_del(&s->gc_link);
	list_add_tail(&s->gc_link, to);
}

static void find_candidates(struct list *cands)
{
	struct scm *c;

	list_for_each (c, &flying, fly)
		for (u32 i = 0; i < c->nfiles; i++) {
			struct sock *s = unix_of_file(c->files[i]);

			if (!s || s->gc != GC_NONE || __atomic_load_n(&c->files[i]->ref.n, __ATOMIC_ACQUIRE) != s->inflight)
				continue;
			s->gc = GC_CANDIDATE;
			s->gc_left = s->inflight;
			list_add_tail(&s->gc_link, cands);
		}
}

static void forget(struct list *l)
{
	while (!list_empty(l)) {
		struct sock *s = list_first(l, struct sock, gc_link);

		list_del(&s->gc_link);
		s->gc = GC_NONE;
	}
}

static void sweep(struct list *gone)
{
	struct list cands, live, *at;
	struct walk count = { .see = one_less }, mark = { .see = lives, .to = &live }, take = { .take = true, .to = gone };
	struct sock *s, *tmp;

	list_init(&cands);
	list_init(&live);
	find_candidates(&cands);
	list_for_each (s, &cands, gc_link)
		walk_queue(s, &count);
	list_for_each_safe (s, tmp, &cands, gc_link)
		if (s->gc_left > 0)
			lives(s, &live);
	for (at = live.next; at != &live; at = at->next)
		walk_queue(list_entry(at, struct sock, gc_link), &mark);
	list_for_each (s, &cands, gc_link)
		walk_queue(s, &take);
	forget(&cands);
	forget(&live);
}

// Called where a socket closes, and when too much is in flight.
void unix_gc(void)
{
	struct list gone;

	if (likely(!__atomic_load_n(&nsocks, __ATOMIC_RELAXED)))
		return;
	list_init(&gone);
	mutex_lock(&flight_lock);
	bool mine = !collecting;
	if (mine) {
		collecting = true;
		sweep(&gone);
	}
	mutex_unlock(&flight_lock);
	if (!mine) // by somebody else, or by ourselves further up the stack
		return;
	while (!list_empty(&gone)) {
		struct scm *c = list_first(&gone, struct scm, link);

		list_del(&c->link);
		scm_free(c);
	}
	mutex_lock(&flight_lock);
	collecting = false;
	mutex_unlock(&flight_lock);
}

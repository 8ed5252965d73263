// SPDX-License-Identifier: Apache-2.0
// Readiness of host handles (sockets, console streams): events come from the host's epolls through whichever task
// sleeps there (kernel/task/sleep.c). A handle whose events always wake the same task comes into an epoll of that task's own.
#pragma once
#include "kernel/include/types.h"

struct waitq;
struct watch;
struct task;

extern u32 hostio_active;	// number of watched handles; 0: nobody needs to poll the host
// What is known of a handle's readiness. `maybe` bits must be asked for; others hold until the next event.
struct hostio_state {
	u32 events, maybe;
	u32 gen;		// bumped by each event
	struct task *home;	// the task that alone collects events; NULL: any
};
// Watches hfd; readiness changes update *st, wake q and call nobody. The state belongs to the caller until hostio_unwatch.
int hostio_watch_state(int hfd, struct waitq *q, struct hostio_state *st);
// EPOLL* bits now, asking the host only for what is not known.
u32 hostio_ready(int hfd, struct hostio_state *st);
// An operation that began when st->gen was `gen` found `bits` used up (would block).
void hostio_used_up(struct hostio_state *st, u32 bits, u32 gen);
// An operation succeeded: whether more is possible is not known.
void hostio_unsure(struct hostio_state *st, u32 bits);
// Watches hfd; readiness changes wake q with EPOLL* bits. 0 or -errno (-EPERM: a regular file, always ready).
int hostio_watch(int hfd, struct waitq *q);
void hostio_unwatch(int hfd);
// EPOLL* bits last seen, asked of the host if unknown.
u32 hostio_events(int hfd);
// An event from the host: cookie from hc_watch. Called without locks.
void hostio_event(u32 cookie, u32 events);
// A queue that has q->home gets a waiter that wakes somebody else: from now on anybody collects the handle's events. Called without locks.
struct task *hostio_home(const struct watch *w);
void hostio_unhome(struct waitq *q);
// The current task is about to sleep: takes the handles that are its alone into its own epoll.
extern u32 hostio_wanted;
void hostio_take(void);
void hostio_task_exit(struct task *t);
// Events may have been lost: nothing is known any more, and whoever waits looks again.
void hostio_lost(void);
// Collects host events without sleeping. Whoever polls and finds something ready, or does not wait, never gets to sleep.c, where they are collected
// otherwise. must: now; else only when it was not done lately.
void task_poll_host(bool must);
static inline bool hostio_look(bool must)	// false: there is nothing to collect
{
	if (likely(!__atomic_load_n(&hostio_active, __ATOMIC_RELAXED)))
		return false;
	task_poll_host(must);
	return true;
}

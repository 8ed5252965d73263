// SPDX-License-Identifier: Apache-2.0
// Sleeping and waking. A task sleeps on its own sequence word (task->wake_seq): a waker bumps it and
// wakes the host thread, so nothing is lost between the test of a condition and the sleep, and a
// signal is just one more waker.
//
//	u32 seq = task_seq();		// 1. before testing
//	waitq_add(&q, &w);		// 2. enqueue (once)
//	... test the condition; if false:
//	r = task_sleep(seq, deadline);	// 3. returns at once if anyone woke us since 1.
//
// WAIT_EVENT does it all. Callbacks and wakers may hold object locks; waitq locks are leaves.
#pragma once
#include "kernel/include/list.h"
#include "kernel/include/lock.h"

struct task;
#define NO_DEADLINE U64_MAX

struct waiter {
	struct list link;
	struct task *task;	// woken, when fn is NULL
	// Called under the waitq's lock instead of waking `task` (epoll). Must not sleep or take the same waitq's lock.
	void (*fn)(struct waiter *w, u32 events);
	u32 events;		// interest (EPOLL* bits); 0 = all
	struct task *who;	// with fn: the one task that this wakes in the end; NULL: not known, or several. Only compared
};

struct watch;
struct waitq {
	struct mutex lock;
	struct list waiters;
	struct watch *home;	// of a host handle whose events only one task collects (kernel/net/hostio.c); NULL: any
};

void waitq_init(struct waitq *q);
void waiter_init(struct waiter *w);			// current task, all events
void waitq_add(struct waitq *q, struct waiter *w);
void waitq_del(struct waitq *q, struct waiter *w);	// also when it is no longer queued
void waitq_set_who(struct waitq *q, struct waiter *w, struct task *who);	// of a waiter with fn, which may be queued
struct task *waitq_who(struct waitq *q);		// the one task that all waiters wake; NULL: there is none such. q->lock held
void waitq_wake(struct waitq *q, u32 events);		// wakes/calls all waiters interested in events (0 = all)
void waitq_wake_one(struct waitq *q, u32 events);	// wakes the first task-waiter (and calls every fn-waiter before it)

u32 task_seq(void);
// Sleeps until woken, a signal to act upon is pending, or the deadline (CLOCK_MONOTONIC ns) passes:
// 0 (woken, possibly spuriously), -EINTR, -ETIMEDOUT. Never with a lock held.
int task_sleep(u32 seq, u64 deadline_ns);
int task_sleep_uninterruptible(u32 seq, u64 deadline_ns);
void task_wake(struct task *t);
bool signal_fatal(void);	// one is pending that ends the current task, whatever the program wants
bool signal_pending(void);	// current task must leave the kernel to handle a signal (or die)

// Waits until cond holds. Result: 0, -EINTR (caller turns it into -ERESTARTSYS where Linux does) or -ETIMEDOUT.
#define WAIT_EVENT(q, deadline, cond)                                                              \
	({                                                                                         \
		int _r = 0;                                                                        \
		if (!(cond)) {                                                                     \
			struct waiter _w;                                                          \
			waiter_init(&_w);                                                          \
			waitq_add((q), &_w);                                                       \
			for (;;) {                                                                 \
				u32 _s = task_seq();                                               \
				if (cond) {                                                        \
					_r = 0;                                                    \
					break;                                                     \
				}                                                                  \
				if (_r)                                                            \
					break;                                                     \
				_r = task_sleep(_s, (deadline));                                   \
			}                                                                          \
			waitq_del((q), &_w);                                                       \
		}                                                                                  \
		_r;                                                                                \
	})

// SPDX-License-Identifier: Apache-2.0
// Wait queues and sleeping. A sleeping task waits on its own sequence word, or in an epoll of the host's if host sockets are watched: in its own when it
// has handles to itself (kernel/net/hostio.c), else one task (the poller) sleeps for all others in the host's epoll of everybody's handles and hands events
// out. When the poller leaves, it wakes another candidate, which becomes the poller. Locks: waitq->lock (leaf), io_lock (leaf).
#include "hostcall/hostcall.h"
#include "kernel/include/hostcall.h"
#include "kernel/include/log.h"
#include "kernel/include/platform.h"
#include "kernel/include/remote.h"
#include "kernel/include/strace.h"
#include "kernel/include/task.h"
#include "kernel/include/uring.h"
#include "kernel/net/hostio.h"

#define EVERYBODYS 1u			// the set that the poller sleeps in

static struct task *poller;		// sleeps in the host's epoll of everybody's handles
static struct mutex io_lock;		// guards io_sleepers
static struct list io_sleepers = LIST_INIT(io_sleepers);

struct io_sleeper {
	struct list link;
	struct task *task;
};

void waitq_init(struct waitq *q)
{
	mutex_init(&q->lock);
	list_init(&q->waiters);
	q->home = NULL;
}

void waiter_init(struct waiter *w)
{
	list_init(&w->link);
	w->task = current;
	w->fn = NULL;
	w->events = 0;
	w->who = NULL;
}

static struct task *woken_by(const struct waiter *w) { return w->fn ? w->who : w->task; }

struct task *waitq_who(struct waitq *q)
{
	struct task *who = NULL;
	struct waiter *w;

	list_for_each(w, &q->waiters, link) {
		if (who && woken_by(w) != who)
			return NULL;
		who = woken_by(w);
		if (!who)
			return NULL;
	}
	return who;
}

void waitq_add(struct waitq *q, struct waiter *w)
{
	bool stranger;

	mutex_lock(&q->lock);
	list_add_tail(&w->link, &q->waiters);
	stranger = unlikely(q->home) && hostio_home(q->home) != woken_by(w);
	mutex_unlock(&q->lock);
	if (unlikely(stranger))
		hostio_unhome(q);
}

void waitq_set_who(struct waitq *q, struct waiter *w, struct task *who)
{
	bool stranger;

	mutex_lock(&q->lock);
	w->who = who;
	stranger = q->home && hostio_home(q->home) != who;
	mutex_unlock(&q->lock);
	if (stranger)
		hostio_unhome(q);
}

void waitq_del(struct waitq *q, struct waiter *w)
{
	mutex_lock(&q->lock);
	if (!list_empty(&w->link))
		list_del(&w->link);
	mutex_unlock(&q->lock);
}

// A wake-up: the word has moved, what is left is to ask the host for it.
struct wake_up {
	u32 *word;	// stays readable even if the task has gone: it is kernel memory
	u32 set;	// which it sleeps in, 0: on its word
	struct nap nap; // tid 0: to be forgotten
};

// Sleepers whose host thread is still to be woken: done after the queue's lock was dropped, because a woken thread that
// gets the CPU at once would run into it.
struct late_wakes {
	struct wake_up whom[8];
	u32 n;
};

static struct nap *roused(int tid) { return &current->roused[(u32)tid % ARRAY_SIZE(current->roused)]; }

// Whether the host has to be asked, and for what. Not for one that does not sleep, as it will look at its word first, nor for one that the current task
// has woken before and that has not run since: whoever sends much to somebody who waits for a CPU would make a call of the host's for each piece. Only
// our own calls count; another task may have moved the word and not have got to its call yet.
static bool begin_wake(struct task *t, struct wake_up *w)
{
	u32 before = __atomic_fetch_add(&t->wake_seq, 1, __ATOMIC_SEQ_CST);

	if (!__atomic_load_n(&t->sleeping, __ATOMIC_SEQ_CST) || t == current) // who hands events out to itself does not sleep
		return false;
	w->nap = (struct nap){ t->start_ns, t->tid, __atomic_load_n(&t->sleep_seq, __ATOMIC_SEQ_CST) };
	if (current) {
		struct nap *last = roused(t->tid);
		if (last->tid == w->nap.tid && last->seq == w->nap.seq && last->start_ns == w->nap.start_ns)
			return false;
	}
	if ((s32)(before - w->nap.seq) < 0) // it fell asleep after we had moved the word, and sleeps on
		w->nap.tid = 0;
	w->word = &t->wake_seq;
	w->set = __atomic_load_n(&t->asleep_in, __ATOMIC_SEQ_CST);
	return true;
}

static void end_wake(const struct wake_up *w)
{
	if (w->set)
		hc_wait_interrupt(w->set);
	else
		pf_wake(w->word, 1);
	if (w->nap.tid && current)
		*roused(w->nap.tid) = w->nap;
}

static void note_wake(struct late_wakes *k, struct task *t)
{
	struct wake_up w;

	if (!begin_wake(t, &w))
		return;
	if (k->n < ARRAY_SIZE(k->whom))
		k->whom[k->n++] = w;
	else
		end_wake(&w);
}

static void wake(struct waitq *q, u32 events, bool one)
{
	__uninit struct late_wakes late; // of whom as many as n says
	struct waiter *w, *tmp;

	late.n = 0;
	// The caller changed the condition before; a waiter enqueues before it tests. Order the two.
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (__atomic_load_n(&q->waiters.next, __ATOMIC_RELAXED) == &q->waiters)
		return;
	mutex_lock(&q->lock);
	list_for_each_safe(w, tmp, &q->waiters, link) {
		if (events && w->events && !(w->events & events))
			continue;
		if (w->fn) {
			w->fn(w, events);
			continue;
		}
		note_wake(&late, w->task);
		if (one) { // to the end: the next event is for somebody else, who may still sleep
			list_del(&w->link);
			list_add_tail(&w->link, &q->waiters);
			break;
		}
	}
	mutex_unlock(&q->lock);
	for (u32 i = 0; i < late.n; i++)
		end_wake(&late.whom[i]);
}

void waitq_wake(struct waitq *q, u32 events) { wake(q, events, false); }
void waitq_wake_one(struct waitq *q, u32 events) { wake(q, events, true); }

u32 task_seq(void)
{
	u32 s = __atomic_load_n(&current->wake_seq, __ATOMIC_SEQ_CST);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return s;
}

void task_wake(struct task *t)
{
	struct wake_up w;

	if (begin_wake(t, &w))
		end_wake(&w);
}

bool signal_pending(void)
{
	return __atomic_load_n(&current->work, __ATOMIC_SEQ_CST) & (WORK_SIGNAL | WORK_EXIT | WORK_STOP | WORK_TRAP | WORK_FREEZE);
}

// Calls whose sleep never depends on the host: not worth a turn as poller.
static bool never_polls(struct task *t)
{
	if (!t->proc || !t->regs)
		return true;
	switch (t->regs->orig_rax) {
	case __NR_futex: case __NR_wait4: case __NR_waitid: case __NR_nanosleep: case __NR_clock_nanosleep:
	case __NR_rt_sigsuspend: case __NR_rt_sigtimedwait: case __NR_pause: case __NR_vfork:
		return true;
	default:
		return false;
	}
}

#define HOST_POLL_NS 50000u
static u64 next_look[HC_SETS]; // not before, unless it must be: asking the host costs more than most calls

static int deliver(u32 set, u64 deadline)
{
	__uninit struct hc_event ev[32];
	int n = hc_wait_events(set, ev, ARRAY_SIZE(ev), deadline);

	__atomic_store_n(&next_look[set], ktime_mono() + HOST_POLL_NS, __ATOMIC_RELAXED);
	if (unlikely(n == -ESTALE))
		hostio_lost();
	for (int i = 0; i < n; i++)
		hostio_event(ev[i].cookie, ev[i].events);
	return n;
}

// The poller leaves: someone else who sleeps for I/O must take over.
static void pass_on(void)
{
	struct io_sleeper *s;

	mutex_lock(&io_lock);
	if (!list_empty(&io_sleepers)) {
		s = list_first(&io_sleepers, struct io_sleeper, link);
		task_wake(s->task);
	}
	mutex_unlock(&io_lock);
}

void task_poll_host(bool must)
{
	u32 set = current->pollset;

	if (must || ktime_mono() >= __atomic_load_n(&next_look[set], __ATOMIC_RELAXED))
		deliver(set, 0);
}

// Sleeps in a set until it is woken; a waker that came before it slept there only bumped the word. The last result of deliver.
static int sleep_in(u32 set, u32 seq, u64 deadline, bool interruptible)
{
	struct task *t = current;
	int n = 0;

	__atomic_store_n(&t->asleep_in, set, __ATOMIC_SEQ_CST);
	while (__atomic_load_n(&t->wake_seq, __ATOMIC_SEQ_CST) == seq && !(interruptible && signal_pending())) {
		n = deliver(set, deadline);
		if (deadline != NO_DEADLINE && ktime_mono() >= deadline)
			break;
	}
	__atomic_store_n(&t->asleep_in, 0, __ATOMIC_SEQ_CST);
	return n;
}

static int sleep(u32 seq, u64 deadline, bool interruptible)
{
	struct task *t = current;
	int r = 0;

	if (unlikely(__atomic_load_n(&hostio_wanted, __ATOMIC_RELAXED)) && !t->exiting) // whose handles nobody would bring back
		hostio_take();
	__atomic_store_n(&t->sleep_seq, seq, __ATOMIC_SEQ_CST);
	__atomic_store_n(&t->sleeping, true, __ATOMIC_SEQ_CST);
	while (__atomic_load_n(&t->wake_seq, __ATOMIC_SEQ_CST) == seq) {
		struct task *none = NULL;

		if (interruptible && unlikely(t->nowait)) {
			r = -EINTR;
			break;
		}
		if (interruptible && unlikely(t->uring) && uring_work_pending(t)) { // goes on here, and our caller looks again
			__atomic_store_n(&t->sleeping, false, __ATOMIC_SEQ_CST);
			uring_work_run();
			return 0;
		}
		if (unlikely(t->strace))
			strace_sleeps();
		if (interruptible && signal_pending()) {
			r = -EINTR;
			break;
		}
		if (__atomic_load_n(&hostio_active, __ATOMIC_RELAXED) && !never_polls(t)) {
			bool own = t->pollset;
			if (own || __atomic_compare_exchange_n(&poller, &none, t, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
				int n = sleep_in(own ? t->pollset : EVERYBODYS, seq, deadline, interruptible);
				if (!own) {
					__atomic_store_n(&poller, NULL, __ATOMIC_SEQ_CST);
					pass_on();
				}
				if (n <= 0 && deadline != NO_DEADLINE && ktime_mono() >= deadline &&
				    __atomic_load_n(&t->wake_seq, __ATOMIC_SEQ_CST) == seq) {
					r = -ETIMEDOUT;
					break;
				}
				continue;
			}
			struct io_sleeper me = { .task = t };
			mutex_lock(&io_lock);
			list_add_tail(&me.link, &io_sleepers);
			mutex_unlock(&io_lock);
			// the poller may have left between our test and our entry in the list
			if (__atomic_load_n(&poller, __ATOMIC_SEQ_CST))
				r = pf_wait(&t->wake_seq, seq, deadline);
			mutex_lock(&io_lock);
			list_del(&me.link);
			mutex_unlock(&io_lock);
		} else {
			r = pf_wait(&t->wake_seq, seq, deadline);
		}
		if (r == -ETIMEDOUT)
			break;
		r = 0;
	}
	__atomic_store_n(&t->sleeping, false, __ATOMIC_SEQ_CST);
	return r == -ETIMEDOUT && __atomic_load_n(&t->wake_seq, __ATOMIC_SEQ_CST) != seq ? 0 : r;
}

// Before the sleep and after it: whoever asks sets the bit first and then moves the word.
static inline void serve_others(void)
{
	if (unlikely(__atomic_load_n(&current->work, __ATOMIC_SEQ_CST) & WORK_REMOTE))
		remote_serve();
}

static int sleep_and_serve(u32 seq, u64 deadline_ns, bool interruptible)
{
	int r;

	serve_others();
	r = sleep(seq, deadline_ns, interruptible);
	serve_others();
	return r;
}

int task_sleep(u32 seq, u64 deadline_ns) { return sleep_and_serve(seq, deadline_ns, true); }
int task_sleep_uninterruptible(u32 seq, u64 deadline_ns) { return sleep_and_serve(seq, deadline_ns, false); }

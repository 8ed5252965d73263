// SPDX-License-Identifier: Apache-2.0
// Wait queues and sleeping. A sleeping task either waits on its own sequence word or, if host sockets are watched, is the
// one task that sleeps in the host's epoll (the poller) and hands events out. When the poller leaves, it wakes another
// candidate, which becomes the poller. Locks: waitq->lock (leaf), io_lock (leaf).
#include "kernel/include/hostcall.h"
#include "kernel/include/log.h"
#include "kernel/include/platform.h"
#include "kernel/include/remote.h"
#include "kernel/include/strace.h"
#include "kernel/include/task.h"
#include "kernel/include/uring.h"
#include "kernel/net/hostio.h"

void hc_wait_interrupt(void);

static struct task *poller;		// sleeps in the host's epoll
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
}

void waiter_init(struct waiter *w)
{
	list_init(&w->link);
	w->task = current;
	w->fn = NULL;
	w->events = 0;
}

void waitq_add(struct waitq *q, struct waiter *w)
{
	mutex_lock(&q->lock);
	list_add_tail(&w->link, &q->waiters);
	mutex_unlock(&q->lock);
}

void waitq_del(struct waitq *q, struct waiter *w)
{
	mutex_lock(&q->lock);
	if (!list_empty(&w->link))
		list_del(&w->link);
	mutex_unlock(&q->lock);
}

// Sleepers whose host thread is still to be woken: done after the queue's lock was dropped, because a woken thread that
// gets the CPU at once would run into it. Their words stay readable even if the task has gone: it is kernel memory.
struct late_wakes {
	u32 *word[8];
	u32 n;
	bool host;
};

static void note_wake(struct late_wakes *k, struct task *t)
{
	__atomic_fetch_add(&t->wake_seq, 1, __ATOMIC_SEQ_CST);
	if (!__atomic_load_n(&t->sleeping, __ATOMIC_SEQ_CST))
		return;
	if (__atomic_load_n(&poller, __ATOMIC_SEQ_CST) == t)
		k->host = true;
	else if (k->n < ARRAY_SIZE(k->word))
		k->word[k->n++] = &t->wake_seq;
	else
		pf_wake(&t->wake_seq, 1);
}

static void wake(struct waitq *q, u32 events, bool one)
{
	struct late_wakes late;
	struct waiter *w, *tmp;

	late.n = 0;
	late.host = false;
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
		pf_wake(late.word[i], 1);
	if (late.host)
		hc_wait_interrupt();
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
	__atomic_fetch_add(&t->wake_seq, 1, __ATOMIC_SEQ_CST);
	if (!__atomic_load_n(&t->sleeping, __ATOMIC_SEQ_CST))
		return;
	if (__atomic_load_n(&poller, __ATOMIC_SEQ_CST) == t)
		hc_wait_interrupt();
	else
		pf_wake(&t->wake_seq, 1);
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

static int deliver(u64 deadline)
{
	__uninit struct hc_event ev[32];
	int n = hc_wait_events(ev, ARRAY_SIZE(ev), deadline);

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
	static u64 next; // not before, unless it must be: asking the host costs more than most calls
	struct task *none = NULL, *t = current;

	if (!must && ktime_mono() < __atomic_load_n(&next, __ATOMIC_RELAXED))
		return;
	if (__atomic_compare_exchange_n(&poller, &none, t, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
		deliver(0);
		__atomic_store_n(&next, ktime_mono() + HOST_POLL_NS, __ATOMIC_RELAXED);
		__atomic_store_n(&poller, NULL, __ATOMIC_SEQ_CST);
		pass_on();
	}
}

static int sleep(u32 seq, u64 deadline, bool interruptible)
{
	struct task *t = current;
	int r = 0;

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
			if (__atomic_compare_exchange_n(&poller, &none, t, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
				int n = 0;
				// a waker that came before we were the poller only bumped the word
				while (__atomic_load_n(&t->wake_seq, __ATOMIC_SEQ_CST) == seq && !(interruptible && signal_pending())) {
					n = deliver(deadline);
					if (deadline != NO_DEADLINE && ktime_mono() >= deadline)
						break;
				}
				__atomic_store_n(&poller, NULL, __ATOMIC_SEQ_CST);
				pass_on();
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

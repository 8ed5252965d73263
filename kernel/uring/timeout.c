// SPDX-License-Identifier: Apache-2.0
// TIMEOUT (a span or a moment, a count of completions, again and again), its removal and change, LINK_TIMEOUT.
// Locks: ring->lock.
#include "kernel/uring/uring.h"

#define KINDS (IORING_TIMEOUT_ABS | IORING_TIMEOUT_CLOCK_MASK | IORING_TIMEOUT_ETIME_SUCCESS)

// The moment on CLOCK_MONOTONIC at which a time-out given so comes.
static u64 moment(u64 ns, u32 flags)
{
	u64 now;

	if (!(flags & IORING_TIMEOUT_ABS))
		return ktime_deadline(ns);
	if (!(flags & IORING_TIMEOUT_CLOCK_MASK))
		return ns;
	if (ktime_clock(flags & IORING_TIMEOUT_BOOTTIME ? 7 : 0, &now)) // CLOCK_BOOTTIME, CLOCK_REALTIME
		return ns;
	return ns > now ? ktime_deadline(ns - now) : 0;
}

static int timeout_prep(struct ureq *q, u32 known, bool link)
{
	u32 f = q->sqe.timeout_flags;
	u64 ns;
	int e;

	if (q->sqe.buf_index || q->sqe.len != 1 || q->sqe.splice_fd_in || (q->sqe.off && link) || (f & ~known) ||
	    (f & IORING_TIMEOUT_CLOCK_MASK) == IORING_TIMEOUT_CLOCK_MASK)
		return -EINVAL;
	if ((f & TIMEOUT_MULTISHOT) && (f & IORING_TIMEOUT_ABS))
		return -EINVAL;
	e = user_timespec(U(q->sqe.addr), &ns);
	if (e)
		return e;
	q->interval = ns;
	q->deadline = moment(ns, f);
	return 0;
}

int op_timeout_prep(struct ureq *q) { return timeout_prep(q, KINDS | TIMEOUT_MULTISHOT, false); }

int op_timeout_issue(struct ureq *q)
{
	struct uring *r = q->ring;

	q->repeats = (u32)q->sqe.off;
	mutex_lock(&r->lock);
	if (q->sqe.off && !(q->sqe.timeout_flags & TIMEOUT_MULTISHOT)) {
		q->target = r->ncq + (u32)q->sqe.off;
		list_add_tail(&q->timeout_link, &r->timeouts);
	}
	mutex_unlock(&r->lock);
	if (q->cancel)
		return -ECANCELED;
	ureq_timer(q, q->deadline);
	return U_PENDING;
}

// Those whose count of completions has come.
void uring_check_timeouts(struct uring *r)
{
	struct ureq *q, *tmp;

	list_for_each_safe (q, tmp, &r->timeouts, timeout_link)
		if (r->ncq >= q->target) {
			list_del(&q->timeout_link);
			q->res = 0;
			uring_queue(q);
		}
}

int op_timeout_wake(struct ureq *q)
{
	bool expired = __atomic_load_n(&q->expired, __ATOMIC_SEQ_CST), last;

	if (!expired)
		return q->sqe.off && list_empty(&q->timeout_link) ? 0 : U_PENDING;
	if (q->sqe.timeout_flags & TIMEOUT_MULTISHOT) {
		last = q->repeats && --q->repeats == 0;
		if (!last && uring_post_more(q, -ETIME, 0)) {
			q->deadline = ktime_deadline(q->interval);
			ureq_timer(q, q->deadline);
			return U_PENDING;
		}
	}
	q->res = -ETIME;
	q->fail = !(q->sqe.timeout_flags & IORING_TIMEOUT_ETIME_SUCCESS);
	return U_DONE;
}

int op_timeout_remove_prep(struct ureq *q)
{
	u32 f = q->sqe.timeout_flags;
	int e;

	if (q->sqe.buf_index || q->sqe.len || q->sqe.splice_fd_in || (q->sqe.flags & (IOSQE_FIXED_FILE | IOSQE_BUFFER_SELECT)))
		return -EINVAL;
	if (!(f & IORING_TIMEOUT_UPDATE_MASK))
		return f ? -EINVAL : 0;
	if ((f & (IORING_TIMEOUT_CLOCK_MASK)) == IORING_TIMEOUT_CLOCK_MASK ||
	    (f & ~(IORING_TIMEOUT_UPDATE_MASK | IORING_TIMEOUT_ABS | IORING_TIMEOUT_CLOCK_MASK)))
		return -EINVAL;
	e = user_timespec(U(q->sqe.off), &q->interval);
	if (!e)
		q->deadline = moment(q->interval, f & ~IORING_TIMEOUT_UPDATE_MASK);
	return e;
}

static bool is_timeout(struct ureq *q, const void *arg)
{
	const struct ureq *by = arg;
	u8 op = by->sqe.timeout_flags & IORING_LINK_TIMEOUT_UPDATE ? IORING_OP_LINK_TIMEOUT : IORING_OP_TIMEOUT;

	return q->sqe.opcode == op && q->sqe.user_data == by->sqe.addr;
}

static int update(struct uring *r, struct ureq *by)
{
	struct ureq *q;

	list_for_each (q, &r->reqs, ring_link) {
		if (!is_timeout(q, by))
			continue;
		if (q->state != US_ARMED || q->queued)
			return -EALREADY;
		ktimer_cancel(&q->timer);
		q->interval = by->interval;
		q->deadline = by->deadline;
		ureq_timer(q, q->deadline);
		return 0;
	}
	return -ENOENT;
}

int op_timeout_remove_issue(struct ureq *q)
{
	struct uring *r = q->ring;
	struct udone d;
	int e;

	udone_init(&d);
	mutex_lock(&r->lock);
	e = q->sqe.timeout_flags & IORING_TIMEOUT_UPDATE_MASK ? update(r, q) : uring_cancel(r, is_timeout, q, false, &d);
	mutex_unlock(&r->lock);
	uring_done(r, &d);
	return e;
}

// --- LINK_TIMEOUT: started by the request before it when that has to wait (work.c)

int op_link_timeout_prep(struct ureq *q)
{
	q->deadline = NO_DEADLINE;
	return timeout_prep(q, KINDS, true);
}

// Reached only without a request before it.
int op_link_timeout_issue(struct ureq *q)
{
	(void)q;
	return -EINVAL;
}

static bool is_watched(struct ureq *q, const void *arg) { return q == arg; }

int op_link_timeout_wake(struct ureq *lt)
{
	struct uring *r = lt->ring;
	struct ureq *q;
	struct udone d;
	int e = -ENOENT;

	udone_init(&d);
	mutex_lock(&r->lock);
	q = lt->before;
	if (!__atomic_load_n(&lt->expired, __ATOMIC_SEQ_CST)) {
		mutex_unlock(&r->lock);
		return U_PENDING;
	}
	if (q) {
		lt->before = NULL;
		q->link = lt->link; // it watches no more
		lt->link = NULL;
		e = uring_cancel(r, is_watched, q, false, &d);
	}
	mutex_unlock(&r->lock);
	uring_done(r, &d);
	lt->res = e && q ? e : q ? -ETIME : -ECANCELED;
	lt->fail = true;
	return U_DONE;
}

// SPDX-License-Identifier: Apache-2.0
// POLL_ADD, once or again and again, and POLL_REMOVE with its updates. Locks: ring->lock.
#include "kernel/uring/uring.h"

#define ALWAYS (EPOLLERR | EPOLLHUP)

int op_poll_add_prep(struct ureq *q)
{
	if (q->sqe.buf_index || q->sqe.off || q->sqe.addr || (q->sqe.len & ~IORING_POLL_ADD_MULTI))
		return -EINVAL;
	if ((q->sqe.len & IORING_POLL_ADD_MULTI) && (q->sqe.flags & IOSQE_CQE_SKIP_SUCCESS))
		return -EINVAL;
	q->wait_events = q->sqe.poll32_events | ALWAYS;
	return 0;
}

// ready: what the file says now.
static int found(struct ureq *q, u32 ready)
{
	if (!ready)
		return U_PENDING;
	if (!(q->sqe.len & IORING_POLL_ADD_MULTI))
		return (int)ready;
	if (uring_post_more(q, (s32)ready, 0))
		return U_PENDING;
	return (int)ready; // no room: the last one, without IORING_CQE_F_MORE
}

int op_poll_add_issue(struct ureq *q)
{
	u32 ready = ureq_poll(q, q->file, q->wait_events);

	if (!q->wait.q) // a file without queues is always ready
		return ready ? (int)ready : -EINVAL;
	return found(q, ready);
}

int op_poll_wake(struct ureq *q) { return found(q, ureq_poll(q, q->file, q->wait_events)); }

int op_poll_remove_prep(struct ureq *q)
{
	u32 f = q->sqe.len;

	if (q->sqe.buf_index || q->sqe.splice_fd_in ||
	    (f & ~(IORING_POLL_UPDATE_EVENTS | IORING_POLL_UPDATE_USER_DATA | IORING_POLL_ADD_MULTI)))
		return -EINVAL;
	if (f == IORING_POLL_ADD_MULTI || (!(f & IORING_POLL_UPDATE_USER_DATA) && q->sqe.off) ||
	    (!(f & IORING_POLL_UPDATE_EVENTS) && q->sqe.poll32_events))
		return -EINVAL;
	return 0;
}

static bool is_poll(struct ureq *q, const void *arg)
{
	const struct ureq *by = arg;

	return q != by && q->sqe.opcode == IORING_OP_POLL_ADD && q->sqe.user_data == by->sqe.addr;
}

// Takes it out, changes it and starts it again, all as its own task would.
static int update(struct uring *r, struct ureq *by, struct udone *d)
{
	u32 f = by->sqe.len;
	struct ureq *q;

	list_for_each (q, &r->reqs, ring_link) {
		if (!is_poll(q, by))
			continue;
		if (q->state != US_ARMED)
			return -EALREADY;
		ureq_disarm(q);
		if (f & IORING_POLL_UPDATE_EVENTS) {
			q->sqe.poll32_events = by->sqe.poll32_events;
			q->wait_events = by->sqe.poll32_events | ALWAYS;
			q->sqe.len = f & IORING_POLL_ADD_MULTI;
		}
		if (f & IORING_POLL_UPDATE_USER_DATA)
			q->sqe.user_data = by->sqe.off;
		uring_start(q, d);
		return 0;
	}
	return -ENOENT;
}

int op_poll_remove_issue(struct ureq *q)
{
	struct uring *r = q->ring;
	struct udone d;
	int e;

	udone_init(&d);
	mutex_lock(&r->lock);
	if (q->sqe.len & (IORING_POLL_UPDATE_EVENTS | IORING_POLL_UPDATE_USER_DATA)) {
		e = update(r, q, &d);
	} else {
		e = uring_cancel(r, is_poll, q, false, &d);
	}
	mutex_unlock(&r->lock);
	uring_done(r, &d);
	return e;
}

// SPDX-License-Identifier: Apache-2.0
// Completions: into the ring, or into a list while the ring is full, so that none is lost (IORING_FEAT_NODROP).
#include "kernel/include/ipc.h"
#include "kernel/include/uring.h"
#include "kernel/uring/uring.h"

struct cqe {
	u64 user_data;
	s32 res;
	u32 flags;
};

struct overflow {
	struct list link;
	struct cqe cqe;
	u64 extra[2];
};

// The head is the program's word: nonsense counts as a full ring.
u32 uring_ready(struct uring *r)
{
	u32 n = r->cq_tail - __atomic_load_n(ring_word(r, R_CQ_HEAD), __ATOMIC_ACQUIRE);

	return min(n, r->cq_entries);
}

static void put_cqe(struct uring *r, const struct cqe *c, const u64 *extra)
{
	u32 at = R_CQES + ((r->cq_tail & (r->cq_entries - 1)) << r->cqe_shift);
	struct io_uring_cqe *to = (struct io_uring_cqe *)ring_word(r, at);

	to->user_data = c->user_data;
	to->res = c->res;
	to->flags = c->flags;
	if (r->flags & IORING_SETUP_CQE32) {
		to->big_cqe[0] = extra ? extra[0] : 0;
		to->big_cqe[1] = extra ? extra[1] : 0;
	}
	r->cq_tail++;
	__atomic_store_n(ring_word(r, R_CQ_TAIL), r->cq_tail, __ATOMIC_RELEASE);
}

static void sq_flag(struct uring *r, u32 flag, bool on)
{
	if (on)
		__atomic_fetch_or(ring_word(r, R_SQ_FLAGS), flag, __ATOMIC_SEQ_CST);
	else
		__atomic_fetch_and(ring_word(r, R_SQ_FLAGS), ~flag, __ATOMIC_SEQ_CST);
}

bool uring_post(struct uring *r, u64 user_data, s32 res, u32 cflags, const u64 *extra)
{
	struct cqe c = { .user_data = user_data, .res = res, .flags = cflags };
	struct overflow *o;

	if (list_empty(&r->overflow) && uring_ready(r) < r->cq_entries) {
		put_cqe(r, &c, extra);
		return true;
	}
	o = r->noverflow < MAX_OVERFLOW && !r->dead ? knew(struct overflow) : NULL;
	if (!o) {
		__atomic_fetch_add(ring_word(r, R_CQ_OVERFLOW), 1, __ATOMIC_RELAXED);
		r->lost = true;
		return false;
	}
	o->cqe = c;
	if (extra)
		memcpy(o->extra, extra, sizeof(o->extra));
	list_add_tail(&o->link, &r->overflow);
	r->noverflow++;
	sq_flag(r, IORING_SQ_CQ_OVERFLOW, true);
	return true;
}

bool uring_post_more(struct ureq *q, s32 res, u32 cflags)
{
	struct uring *r = q->ring;
	bool ok;

	mutex_lock(&r->lock);
	ok = list_empty(&r->overflow) && uring_ready(r) < r->cq_entries;
	if (ok) {
		uring_post(r, q->sqe.user_data, res, cflags | IORING_CQE_F_MORE, NULL);
		r->ncq++;
		uring_check_timeouts(r);
	}
	mutex_unlock(&r->lock);
	if (ok)
		uring_notify(r, q->sqe.flags & IOSQE_ASYNC);
	return ok;
}

void uring_flush_overflow(struct uring *r)
{
	struct overflow *o;

	while (!list_empty(&r->overflow) && (r->dead || uring_ready(r) < r->cq_entries)) {
		o = list_first(&r->overflow, struct overflow, link);
		list_del(&o->link);
		r->noverflow--;
		if (!r->dead)
			put_cqe(r, &o->cqe, o->extra);
		kfree(o);
	}
	if (list_empty(&r->overflow) && (*ring_word(r, R_SQ_FLAGS) & IORING_SQ_CQ_OVERFLOW))
		sq_flag(r, IORING_SQ_CQ_OVERFLOW, false);
}

void uring_notify(struct uring *r, bool async)
{
	struct file *efd = NULL;

	waitq_wake(&r->wq, EPOLLIN | EPOLLRDNORM);
	if (likely(!r->eventfd))
		return;
	mutex_lock(&r->lock);
	if (r->eventfd && (async || !r->eventfd_async) && r->cq_told != r->cq_tail &&
	    !(__atomic_load_n(ring_word(r, R_CQ_FLAGS), __ATOMIC_RELAXED) & IORING_CQ_EVENTFD_DISABLED)) {
		efd = r->eventfd;
		file_get(efd);
	}
	r->cq_told = r->cq_tail;
	mutex_unlock(&r->lock);
	if (efd) {
		eventfd_signal(efd);
		file_put(efd);
	}
}

// SPDX-License-Identifier: Apache-2.0
// The life of a request: made, run, armed, woken, ended. See uring.h for who may do what.
// Locks: ring->lock, then utask->lock or ring->work_lock, waitqs, the timers'. Wakers (under a waitq's lock, or on the timer
// thread) call uring_queue only.
#include "kernel/include/uring.h"
#include "kernel/uring/uring.h"

#define LOOK_AGAIN_NS 5000000ul	// for what has no queue to wait in
#define MAX_TRIES 2		// files that say ready and are not

// --- tasks

static void utask_put(struct utask *ut)
{
	if (ref_put(&ut->ref))
		kfree(ut);
}

struct utask *uring_task(void)
{
	struct task *t = current;
	struct utask *ut = t->uring;

	if (ut)
		return ut;
	ut = knew(struct utask);
	if (!ut)
		return NULL;
	ref_init(&ut->ref, 1);
	list_init(&ut->work);
	list_init(&ut->reqs);
	ut->task = t;
	t->uring = ut;
	return ut;
}

struct file *uring_current_file(u32 fd)
{
	struct utask *ut = current->uring;
	struct file *f = ut && fd - IO_FD < ARRAY_SIZE(ut->file) ? ut->file[fd - IO_FD] : NULL;

	if (f)
		file_get(f);
	return f;
}

const char *uring_current_name(const void __user *at)
{
	struct utask *ut = current->uring;

	for (u32 i = 0; ut->names && i < 2; i++)
		if (ut->names[i].s && ut->names[i].at == at)
			return ut->names[i].s;
	return NULL;
}

bool uring_work_pending(struct task *t)
{
	struct utask *ut = t->uring;

	return ut && !ut->running && !list_empty(&ut->work);
}

// --- requests

struct ureq *ureq_new(struct uring *r, struct utask *ut)
{
	struct ureq *q = NULL;

	mutex_lock(&r->lock);
	bool room = r->nreqs < MAX_REQS;
	r->nreqs += room;
	mutex_unlock(&r->lock);
	if (!room)
		return NULL;
	q = knew(struct ureq);
	if (!q) {
		mutex_lock(&r->lock);
		r->nreqs--;
		mutex_unlock(&r->lock);
		return NULL;
	}
	ref_init(&q->ref, 1);
	list_init(&q->ring_link);
	list_init(&q->task_link);
	list_init(&q->work_link);
	list_init(&q->drain_link);
	list_init(&q->timeout_link);
	q->ring = r;
	uring_get(r);
	q->ut = ut;
	ref_get(&ut->ref);
	return q;
}

void ureq_put(struct ureq *q)
{
	if (!ref_put(&q->ref))
		return;
	if (q->op && q->op->clean)
		q->op->clean(q);
	if (q->wait_file && q->wait_file != q->file)
		file_put(q->wait_file);
	if (q->file)
		file_put(q->file);
	for (u32 i = 0; i < 2; i++)
		kfree(q->names[i].s);
	kfree(q->iov);
	kfree(q->data);
	cred_free(q->cred);
	utask_put(q->ut);
	uring_put(q->ring);
	kfree(q);
}

int ureq_name(struct ureq *q, u32 which, u64 addr)
{
	char *s = kmalloc(PATH_MAX);
	ssize_t n;

	if (!s)
		return -ENOMEM;
	n = user_str(s, U(addr), PATH_MAX);
	if (n >= 0) {
		q->names[which].at = U(addr);
		q->names[which].s = kstrndup(s, (size_t)n);
	}
	kfree(s);
	return n < 0 ? (int)n : q->names[which].s ? 0 : -ENOMEM;
}

// --- waking

static void add_work(struct list *work, struct ureq *q)
{
	ref_get(&q->ref);
	list_add_tail(&q->work_link, work);
}

static void eventfd_now(struct ktimer *t)
{
	struct uring *r = container_of(t, struct uring, eventfd_timer);

	mutex_lock(&r->lock);
	r->cq_told = r->cq_tail - 1; // there is something to tell, though not a completion
	mutex_unlock(&r->lock);
	uring_notify(r, true);
}

static void queue_defer(struct uring *r, struct ureq *q)
{
	mutex_lock(&r->work_lock);
	add_work(&r->work, q);
	mutex_unlock(&r->work_lock);
	if (r->flags & IORING_SETUP_TASKRUN_FLAG)
		__atomic_fetch_or(ring_word(r, R_SQ_FLAGS), IORING_SQ_TASKRUN, __ATOMIC_SEQ_CST);
	waitq_wake(&r->wq, EPOLLIN | EPOLLRDNORM);
	if (r->eventfd) // not here: we may be under the lock of that eventfd's own queue
		ktimer_start(&r->eventfd_timer, 0, eventfd_now);
}

void uring_queue(struct ureq *q)
{
	struct uring *r = q->ring;
	struct utask *ut = q->ut;

	if (__atomic_exchange_n(&q->queued, true, __ATOMIC_SEQ_CST))
		return;
	if (r->flags & IORING_SETUP_DEFER_TASKRUN) {
		queue_defer(r, q);
		return;
	}
	mutex_lock(&ut->lock);
	if (ut->task) {
		add_work(&ut->work, q);
		__atomic_fetch_or(&ut->task->work, WORK_URING, __ATOMIC_SEQ_CST);
		if (r->flags & IORING_SETUP_TASKRUN_FLAG)
			__atomic_fetch_or(ring_word(r, R_SQ_FLAGS), IORING_SQ_TASKRUN, __ATOMIC_SEQ_CST);
		if (ut->task != current) {
			task_wake(ut->task);
			if (!(r->flags & IORING_SETUP_COOP_TASKRUN))
				pf_kick(ut->task);
		}
	}
	mutex_unlock(&ut->lock);
}

static void waiter_fn(struct waiter *w, u32 events)
{
	struct ureq *q = container_of(w, struct uwait, w)->req;

	if (!events || (events & q->wait_events))
		uring_queue(q);
}

static void timer_fn(struct ktimer *t)
{
	struct ureq *q = container_of(t, struct ureq, timer);

	__atomic_store_n(&q->expired, true, __ATOMIC_SEQ_CST);
	uring_queue(q);
}

void ureq_timer(struct ureq *q, u64 deadline)
{
	q->expired = false;
	if (deadline != NO_DEADLINE)
		ktimer_start(&q->timer, deadline, timer_fn);
}

struct registrar {
	struct poll_table pt;
	struct ureq *q;
	bool failed;
};

static void register_wait(struct poll_table *pt, struct waitq *wq)
{
	struct registrar *rg = container_of(pt, struct registrar, pt);
	struct uwait *u = &rg->q->wait;

	if (u->q) {
		u = knew(struct uwait);
		if (!u) {
			rg->failed = true;
			return;
		}
		u->more = rg->q->wait.more;
		rg->q->wait.more = u;
	}
	waiter_init(&u->w);
	u->w.task = NULL;
	u->w.fn = waiter_fn;
	u->req = rg->q;
	u->q = wq;
	waitq_add(wq, &u->w);
}

// Enters the file's queues for these events and asks: what is ready now. Already entered: only asks.
u32 ureq_poll(struct ureq *q, struct file *f, u32 events)
{
	struct registrar rg = { .pt.add = register_wait, .q = q };
	u32 ev;

	q->wait_events = events;
	if (q->wait.q)
		return file_poll(f, NULL) & events;
	if (f != q->wait_file) {
		if (q->wait_file && q->wait_file != q->file)
			file_put(q->wait_file);
		if (f != q->file)
			file_get(f);
		q->wait_file = f;
	}
	ev = file_poll(f, &rg.pt) & events;
	return rg.failed ? ev | EPOLLERR : ev;
}

// Leaves queues and timers; afterwards no waker knows the request.
void ureq_disarm(struct ureq *q)
{
	struct uwait *u, *next;

	if (q->wait.q)
		waitq_del(q->wait.q, &q->wait.w);
	q->wait.q = NULL;
	for (u = q->wait.more; u; u = next) {
		next = u->more;
		waitq_del(u->q, &u->w);
		kfree(u);
	}
	q->wait.more = NULL;
	ktimer_cancel(&q->timer);
}

// --- ending

void udone_init(struct udone *d)
{
	list_init(&d->reqs);
	d->posted = false;
	d->async = false;
	d->draining = false;
}

void uring_done(struct uring *r, struct udone *d)
{
	if (d->posted)
		uring_notify(r, d->async);
	while (!list_empty(&d->reqs)) {
		struct ureq *q = list_first(&d->reqs, struct ureq, ring_link);

		list_del(&q->ring_link);
		ureq_put(q);
	}
}

// Takes it off every list and posts its completion.
static void finish_one(struct ureq *q, struct udone *d, bool post)
{
	struct uring *r = q->ring;

	q->state = US_DONE;
	list_del(&q->drain_link);
	list_del(&q->timeout_link);
	list_del(&q->ring_link);
	mutex_lock(&q->ut->lock);
	list_del(&q->task_link);
	mutex_unlock(&q->ut->lock);
	if (post) {
		uring_post(r, q->sqe.user_data, q->res, q->cflags, r->flags & IORING_SETUP_CQE32 ? q->extra : NULL);
		d->posted = true;
		d->async |= q->sqe.flags & IOSQE_ASYNC || q->op->slow;
	}
	if (q->sqe.opcode == IORING_OP_TIMEOUT)
		r->ntimeouts++;
	else
		r->ncq += post;
	r->nreqs--;
	list_add_tail(&q->ring_link, &d->reqs);
}

// The timeout that watches q has nothing to watch any more.
static void drop_link_timeout(struct ureq *q, struct udone *d)
{
	struct ureq *lt = q->link;

	if (!lt || lt->op == NULL || lt->sqe.opcode != IORING_OP_LINK_TIMEOUT || lt->prep_failed)
		return;
	q->link = lt->link;
	lt->link = NULL;
	lt->before = NULL;
	if (lt->state == US_RUNNING) // it has expired, and will find out
		return;
	ureq_disarm(lt);
	lt->res = -ECANCELED;
	finish_one(lt, d, !(lt->sqe.flags & IOSQE_CQE_SKIP_SUCCESS));
}

static void start_drained(struct uring *r, struct udone *d)
{
	while (!list_empty(&r->drain)) {
		struct ureq *q = list_first(&r->drain, struct ureq, drain_link), *l;
		u32 waiting = 0;

		list_for_each (l, &r->drain, drain_link)
			for (struct ureq *m = l; m; m = m->link)
				waiting++;
		if (q->drained && r->nreqs > waiting)
			break;
		list_del(&q->drain_link);
		uring_start(q, d);
	}
}

// Ends q with q->res; what follows it in its chain is started, or ended too. ring->lock held.
void ureq_finish(struct ureq *q, struct udone *d)
{
	struct uring *r = q->ring;
	bool skip = q->sqe.flags & IOSQE_CQE_SKIP_SUCCESS, quiet = false;
	struct ureq *next, *l;

	if (q->fail && skip) {
		skip = false;
		quiet = true;
	}
	drop_link_timeout(q, d);
	if (q->before) { // a timeout that ends before what it watches
		q->before->link = q->link;
		q->link = NULL;
		q->before = NULL;
	}
	next = q->link;
	q->link = NULL;
	finish_one(q, d, !skip);
	if (next && q->fail && !(q->sqe.flags & IOSQE_IO_HARDLINK)) {
		for (; next; next = l) {
			l = next->link;
			next->link = NULL;
			if (!next->prep_failed)
				next->res = -ECANCELED;
			finish_one(next, d, !quiet);
		}
	} else if (next) {
		uring_start(next, d);
	}
	uring_check_timeouts(r);
	if (unlikely(!list_empty(&r->drain)) && !d->draining) {
		d->draining = true;
		start_drained(r, d);
		d->draining = false;
	}
}

// The head of a chain may run now: through its task's list of work. ring->lock held.
void uring_start(struct ureq *q, struct udone *d)
{
	struct uring *r = q->ring;
	bool gone;

	if (list_empty(&q->ring_link))
		list_add_tail(&q->ring_link, &r->reqs);
	mutex_lock(&q->ut->lock);
	gone = !q->ut->task;
	if (!gone && list_empty(&q->task_link))
		list_add_tail(&q->task_link, &q->ut->reqs);
	mutex_unlock(&q->ut->lock);
	if (gone || r->dead) {
		q->res = -ECANCELED;
		q->fail = true;
		q->sqe.flags &= (u8)~IOSQE_IO_HARDLINK;
		ureq_finish(q, d);
		return;
	}
	q->state = US_READY;
	uring_queue(q);
}

int uring_cancel(struct uring *r, ureq_match match, const void *arg, bool all, struct udone *d)
{
	int n = 0, busy = 0;
	bool again = true;

	// Ending one may end or start others: look anew after each. Each pass ends one, so it ends.
	while (again) {
		struct ureq *q;

		again = false;
		list_for_each (q, &r->reqs, ring_link) {
			if (q->state != US_ARMED && q->state != US_READY && q->state != US_NEW) {
				if (q->state == US_RUNNING && !q->cancel && match(q, arg)) {
					if (all)
						q->cancel = true;
					busy++;
				}
				continue;
			}
			if (!match(q, arg))
				continue;
			ureq_disarm(q);
			q->res = -ECANCELED;
			q->fail = true;
			ureq_finish(q, d);
			n++;
			again = all;
			break;
		}
	}
	return all ? n : n ? 0 : busy ? -EALREADY : -ENOENT;
}

static bool match_all(struct ureq *q, const void *arg)
{
	(void)arg;
	q->sqe.flags &= (u8)~IOSQE_IO_HARDLINK;
	return true;
}

void uring_cancel_all(struct uring *r)
{
	struct udone d;

	udone_init(&d);
	mutex_lock(&r->lock);
	uring_cancel(r, match_all, NULL, true, &d);
	uring_flush_overflow(r);
	mutex_unlock(&r->lock);
	uring_done(r, &d);
	mutex_lock(&r->work_lock);
	struct list gone;
	list_init(&gone);
	list_splice_tail(&r->work, &gone);
	mutex_unlock(&r->work_lock);
	while (!list_empty(&gone)) {
		struct ureq *q = list_first(&gone, struct ureq, work_link);

		list_del(&q->work_link);
		ureq_put(q);
	}
}

static bool match_task(struct ureq *q, const void *arg) { return q->ut == arg; }

static void drop_work(struct list *work)
{
	while (!list_empty(work)) {
		struct ureq *q = list_first(work, struct ureq, work_link);

		list_del(&q->work_link);
		ureq_put(q);
	}
}

// A task leaves, or its program does (exec): what it has submitted is cancelled, its registered rings are let go.
void uring_task_gone(struct task *t)
{
	struct utask *ut = t->uring;
	struct list work;

	if (!ut)
		return;
	t->uring = NULL;
	list_init(&work);
	mutex_lock(&ut->lock);
	ut->task = NULL;
	list_splice_tail(&ut->work, &work);
	while (!list_empty(&ut->reqs)) {
		struct ureq *q = list_first(&ut->reqs, struct ureq, task_link);
		struct uring *r = q->ring;
		struct udone d;

		uring_get(r);
		mutex_unlock(&ut->lock);
		udone_init(&d);
		mutex_lock(&r->lock);
		uring_cancel(r, match_task, ut, true, &d);
		mutex_unlock(&r->lock);
		uring_done(r, &d);
		uring_put(r);
		mutex_lock(&ut->lock);
	}
	mutex_unlock(&ut->lock);
	drop_work(&work);
	for (u32 i = 0; i < MAX_RING_FDS; i++)
		if (ut->ring_fd[i])
			file_put(ut->ring_fd[i]);
	utask_put(ut);
}

// --- running

static bool would_block(int r)
{
	return r == -EAGAIN || r == -EINTR || r == -ERESTARTSYS || r == -ERESTARTNOHAND || r == -ERESTARTNOINTR || r == -ERESTART_RESTARTBLOCK;
}

static int get_file(struct ureq *q)
{
	if (!q->op->file || q->file)
		return 0;
	q->file = q->sqe.flags & IOSQE_FIXED_FILE ? fixed_file(q->ring, (u32)q->sqe.fd) : fd_get(q->sqe.fd);
	return q->file ? 0 : -EBADF;
}

// The operation with what it needs of the task around it: nothing in it sleeps for an event (task->nowait).
static int call(struct ureq *q, int (*fn)(struct ureq *))
{
	struct task *t = current;
	struct cred *as = t->as;
	struct utask *ut = q->ut;
	struct file *f0 = ut->file[0], *f1 = ut->file[1]; // of an operation around this one
	struct uname *names = ut->names;
	int r;

	t->as = q->cred; // none: the process's, also within an operation that has others
	ut->file[0] = q->file;
	ut->names = q->names;
	r = fn(q);
	ut->file[0] = f0;
	ut->file[1] = f1;
	ut->names = names;
	t->as = as;
	return r;
}

// Runs until it has a result (returned) or waits (U_PENDING).
static int run(struct ureq *q, bool woken)
{
	for (;;) {
		int r = get_file(q);

		if (r)
			return r;
		r = call(q, woken && q->op->wake ? q->op->wake : q->op->issue);
		if (r != U_WAIT && r != U_RETRY) {
			if (r != U_PENDING)
				ureq_disarm(q);
			return r == U_PENDING || r == U_DONE || r >= 0 ? r : would_block(r) && r != -EAGAIN ? -EINTR : r;
		}
		if (r == U_RETRY || ++q->tries > MAX_TRIES) {
			q->tries = 0;
			ureq_timer(q, ktime_deadline(LOOK_AGAIN_NS));
			return U_PENDING;
		}
		if (!ureq_poll(q, q->wait_file ? q->wait_file : q->file, q->wait_events))
			return U_PENDING;
		ureq_disarm(q);
		woken = true;
	}
}

static void watch(struct ureq *q)
{
	struct ureq *lt = q->link;

	if (!lt || lt->prep_failed || lt->sqe.opcode != IORING_OP_LINK_TIMEOUT || lt->before)
		return;
	lt->before = q;
	lt->state = US_ARMED;
	list_add_tail(&lt->ring_link, &q->ring->reqs);
	mutex_lock(&q->ut->lock);
	list_add_tail(&lt->task_link, &q->ut->reqs);
	mutex_unlock(&q->ut->lock);
	ureq_timer(lt, lt->deadline);
}

static void run_and_settle(struct ureq *q, bool woken)
{
	struct uring *r = q->ring;
	struct udone d;
	int res = q->prep_failed ? q->res : run(q, woken);

	udone_init(&d);
	mutex_lock(&r->lock);
	if (res == U_PENDING && q->cancel) {
		ureq_disarm(q);
		res = -ECANCELED;
	}
	if (res == U_PENDING) {
		q->state = US_ARMED;
		q->inline_issue = false;
		watch(q);
	} else {
		if (res != U_DONE)
			q->res = res;
		q->fail |= q->res < 0;
		ureq_finish(q, &d);
	}
	mutex_unlock(&r->lock);
	uring_done(r, &d);
}

// A request of the current task that has just been submitted.
void uring_run_now(struct ureq *q)
{
	struct uring *r = q->ring;

	mutex_lock(&r->lock);
	bool mine = q->state == US_READY;
	if (mine)
		q->state = US_RUNNING;
	mutex_unlock(&r->lock);
	if (mine) {
		q->inline_issue = true;
		run_and_settle(q, false);
	}
}

static void run_work(struct ureq *q)
{
	struct uring *r = q->ring;
	bool armed, mine;

	__atomic_store_n(&q->queued, false, __ATOMIC_SEQ_CST);
	mutex_lock(&r->lock);
	armed = q->state == US_ARMED;
	mine = armed || q->state == US_READY;
	if (mine)
		q->state = US_RUNNING;
	mutex_unlock(&r->lock);
	if (!mine)
		return;
	if (armed && !q->op->wake)
		ureq_disarm(q);
	run_and_settle(q, armed);
}

static void run_list(struct list *work)
{
	while (!list_empty(work)) {
		struct ureq *q = list_first(work, struct ureq, work_link);

		list_del(&q->work_link);
		run_work(q);
		ureq_put(q);
	}
}

void uring_work_run(void)
{
	struct utask *ut = current->uring;
	struct list work;
	bool nowait = current->nowait;

	__atomic_fetch_and(&current->work, ~WORK_URING, __ATOMIC_SEQ_CST);
	if (!ut || ut->running)
		return;
	ut->running = true;
	for (;;) {
		list_init(&work);
		mutex_lock(&ut->lock);
		list_splice_tail(&ut->work, &work);
		mutex_unlock(&ut->lock);
		if (list_empty(&work))
			break;
		struct uring *r = list_first(&work, struct ureq, work_link)->ring;
		if (r->flags & IORING_SETUP_TASKRUN_FLAG)
			__atomic_fetch_and(ring_word(r, R_SQ_FLAGS), ~IORING_SQ_TASKRUN, __ATOMIC_SEQ_CST);
		run_list(&work);
	}
	ut->running = false;
	current->nowait = nowait;
}

bool uring_has_work(struct uring *r)
{
	mutex_lock(&r->work_lock);
	bool any = !list_empty(&r->work);
	mutex_unlock(&r->work_lock);
	return any;
}

// IORING_SETUP_DEFER_TASKRUN: only the issuer, only in io_uring_enter.
void uring_run_defer(struct uring *r)
{
	struct utask *ut = current->uring;
	struct list work;

	if (!ut || ut->running || r->issuer != current)
		return;
	ut->running = true;
	for (;;) {
		list_init(&work);
		mutex_lock(&r->work_lock);
		list_splice_tail(&r->work, &work);
		if (r->flags & IORING_SETUP_TASKRUN_FLAG)
			__atomic_fetch_and(ring_word(r, R_SQ_FLAGS), ~IORING_SQ_TASKRUN, __ATOMIC_SEQ_CST);
		mutex_unlock(&r->work_lock);
		if (list_empty(&work))
			break;
		run_list(&work);
	}
	ut->running = false;
}

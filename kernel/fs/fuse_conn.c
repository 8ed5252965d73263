// SPDX-License-Identifier: Apache-2.0
// FUSE: the connection between a mount and its daemon. A request is queued, read from the device, answered there, and wakes who waits. A
// signal asks the daemon to hurry (INTERRUPT); one that kills ends the wait, and the answer is dropped when it comes. When the last
// device is closed every request ends with ECONNABORTED and every later one with ENOTCONN. Locks: see fuse.h.
#include "kernel/fs/fuse.h"
#include "kernel/include/platform.h"

struct fuse_conn *fuse_conn_new(void)
{
	struct fuse_conn *c = knew(struct fuse_conn);

	if (!c)
		return NULL;
	ref_init(&c->ref, 1);
	mutex_init(&c->lock);
	waitq_init(&c->readers);
	waitq_init(&c->ready);
	list_init(&c->pending);
	list_init(&c->sent);
	list_init(&c->interrupts);
	list_init(&c->forgets);
	c->connected = true;
	c->user_ns = cred()->user_ns;
	user_ns_get(c->user_ns);
	c->version = 1;
	c->max_write = PAGE_SIZE;
	return c;
}

void fuse_conn_put(struct fuse_conn *c)
{
	if (!c || !ref_put(&c->ref))
		return;
	user_ns_put(c->user_ns);
	kfree(c);
}

struct fuse_req *fuse_req_new(struct fuse_conn *c, u32 opcode, u64 nodeid, size_t body, u32 out_min, u32 out_max)
{
	struct fuse_req *r = kmalloc(sizeof(*r) + body);
	void *out = r && out_max ? kmalloc(out_max) : NULL;

	if (!r || (out_max && !out)) {
		kfree(r);
		return NULL;
	}
	memset(r, 0, sizeof(*r) + body);
	ref_init(&r->ref, 1);
	list_init(&r->link);
	list_init(&r->intr);
	waitq_init(&r->wq);
	r->out = out;
	r->out_min = out_min;
	r->out_max = out_max;
	r->len = (u32)(sizeof(r->h) + body);
	r->h = (struct fuse_in_header){.len = r->len, .opcode = opcode, .nodeid = nodeid, .uid = fuse_id_out(c, false, cred()->fsuid),
					 .gid = fuse_id_out(c, true, cred()->fsgid),
				       .pid = (u32)pid_out(curproc->pid)};
	(void)c;
	return r;
}

void fuse_req_put(struct fuse_req *r)
{
	if (!r || !ref_put(&r->ref))
		return;
	kfree(r->out);
	kfree(r);
}

// Whoever takes it off its list ends it.
void fuse_end(struct fuse_conn *c, struct fuse_req *r, int error)
{
	r->error = error;
	__atomic_store_n(&r->state, FUSE_DONE, __ATOMIC_RELEASE);
	if (r->done)
		r->done(c, r);
	waitq_wake(&r->wq, 0);
	fuse_req_put(r);
}

static int queue(struct fuse_conn *c, struct fuse_req *r)
{
	int e = -ENOTCONN;

	mutex_lock(&c->lock);
	if (c->connected) {
		ref_get(&r->ref);
		r->h.unique = c->unique += 2; // odd ones are interrupts
		list_add_tail(&r->link, &c->pending);
		e = 0;
	}
	mutex_unlock(&c->lock);
	if (!e)
		waitq_wake(&c->readers, EPOLLIN | EPOLLRDNORM);
	return e;
}

void fuse_tell(struct fuse_conn *c, struct fuse_req *r, void (*done)(struct fuse_conn *, struct fuse_req *))
{
	r->done = done;
	if (queue(c, r) && done)
		done(c, r);
	fuse_req_put(r);
}

bool fuse_interrupt(struct fuse_conn *c, struct fuse_req *r)
{
	if (c->no_interrupt || !c->connected || !list_empty(&r->intr))
		return false;
	ref_get(&r->ref);
	list_add_tail(&r->intr, &c->interrupts);
	return true;
}

// A signal came. True: nobody waits for the answer any more.
static bool hurry(struct fuse_conn *c, struct fuse_req *r)
{
	bool fatal = signal_fatal(), gone = false, ask = false;

	mutex_lock(&c->lock);
	if (r->state == FUSE_PENDING && fatal && !list_empty(&r->link)) {
		list_del(&r->link);
		gone = true;
	} else if (!r->interrupted) {
		r->interrupted = true; // one that is pending is followed by its INTERRUPT when it is read
		ask = r->state == FUSE_SENT && fuse_interrupt(c, r);
	}
	mutex_unlock(&c->lock);
	if (gone)
		fuse_req_put(r);
	if (ask)
		waitq_wake(&c->readers, EPOLLIN | EPOLLRDNORM);
	return gone || fatal;
}

static bool done(struct fuse_req *r) { return __atomic_load_n(&r->state, __ATOMIC_ACQUIRE) == FUSE_DONE; }

// Not interrupted by other work of this thread: whoever is in the middle of a call cannot begin another. 0 or -EINTR (killed).
static int wait_for(struct fuse_conn *c, struct fuse_req *r)
{
	struct waiter w;
	int e = 0;

	waiter_init(&w);
	waitq_add(&r->wq, &w);
	for (;;) {
		u32 seq = task_seq();
		if (done(r))
			break;
		if (signal_pending() && hurry(c, r)) {
			e = -EINTR;
			break;
		}
		task_sleep_uninterruptible(seq, NO_DEADLINE);
	}
	waitq_del(&r->wq, &w);
	return e;
}

// The daemon's first words decide what can be asked.
static int wait_ready(struct fuse_conn *c)
{
	struct waiter w;
	int e = 0;

	if (likely(__atomic_load_n(&c->initialised, __ATOMIC_ACQUIRE)))
		return 0;
	waiter_init(&w);
	waitq_add(&c->ready, &w);
	for (;;) {
		u32 seq = task_seq();
		if (__atomic_load_n(&c->initialised, __ATOMIC_ACQUIRE) || !__atomic_load_n(&c->connected, __ATOMIC_ACQUIRE))
			break;
		if (signal_pending() && signal_fatal()) {
			e = -EINTR;
			break;
		}
		task_sleep_uninterruptible(seq, NO_DEADLINE);
	}
	waitq_del(&c->ready, &w);
	return e;
}

int fuse_ask(struct fuse_conn *c, struct fuse_req *r)
{
	int e;

	if (hthread_self()->locks_held)
		return -EIO; // a page fault within the kernel: no place to wait for a program
	e = wait_ready(c);
	if (!e)
		e = queue(c, r);
	if (!e)
		e = wait_for(c, r);
	return e ? e : r->error;
}

int fuse_call(struct fuse_conn *c, u32 opcode, u64 nodeid, const struct fuse_arg *args, u32 n, void *out, u32 out_min, u32 out_max)
{
	size_t body = 0, at = 0;
	struct fuse_req *r;
	int e;

	for (u32 k = 0; k < n; k++)
		body += args[k].n;
	r = fuse_req_new(c, opcode, nodeid, body, out_min, out_max);
	if (!r)
		return -ENOMEM;
	for (u32 k = 0; k < n; at += args[k++].n)
		memcpy((u8 *)fuse_body(r) + at, args[k].p, args[k].n);
	e = fuse_ask(c, r);
	if (!e) {
		if (out_max)
			memcpy(out, r->out, r->out_len);
		e = (int)r->out_len;
	}
	fuse_req_put(r);
	return e;
}

void fuse_forget(struct fuse_conn *c, struct fuse_forget *f)
{
	bool queued = false;

	mutex_lock(&c->lock);
	if (c->connected && f->nlookup) {
		list_add_tail(&f->link, &c->forgets);
		queued = true;
	}
	mutex_unlock(&c->lock);
	if (queued)
		waitq_wake(&c->readers, EPOLLIN | EPOLLRDNORM);
	else
		kfree(f);
}

void fuse_abort(struct fuse_conn *c, bool unmounted)
{
	struct fuse_req *r;

	mutex_lock(&c->lock);
	c->unmounted |= unmounted;
	__atomic_store_n(&c->connected, false, __ATOMIC_RELEASE);
	while (!list_empty(&c->forgets)) {
		struct fuse_forget *f = list_first(&c->forgets, struct fuse_forget, link);
		list_del(&f->link);
		kfree(f);
	}
	while (!list_empty(&c->interrupts)) {
		r = list_first(&c->interrupts, struct fuse_req, intr);
		list_del(&r->intr);
		fuse_req_put(r);
	}
	for (;;) {
		struct list *from = list_empty(&c->pending) ? &c->sent : &c->pending;
		if (list_empty(from))
			break;
		r = list_first(from, struct fuse_req, link);
		list_del(&r->link);
		mutex_unlock(&c->lock);
		fuse_end(c, r, -ECONNABORTED);
		mutex_lock(&c->lock);
	}
	mutex_unlock(&c->lock);
	waitq_wake(&c->ready, 0);
	waitq_wake(&c->readers, 0);
}

int fuse_unsupported(int r, bool *flag, int instead)
{
	if (r != -ENOSYS)
		return r;
	*flag = true;
	return instead;
}

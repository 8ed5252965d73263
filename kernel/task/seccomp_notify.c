// SPDX-License-Identifier: Apache-2.0
// SECCOMP_RET_USER_NOTIF: a descriptor (the listener) on which a supervisor receives the calls of the tasks under a filter and
// answers them (man 2 seccomp_unotify). The task that called waits here; it also puts descriptors that the supervisor
// hands over into its own table. The struct is shared by filter and file; requests live on the callers' stacks and
// leave the list before those return.
// Locks: n->lock for the lists and states -> waitq.
#include "kernel/include/alloc.h"
#include "kernel/include/kstring.h"
#include "kernel/include/usercopy.h"
#include "kernel/include/vfs.h"
#include "kernel/task/internal.h"
#include "kernel/task/seccomp.h"
#include <asm/ioctl.h>

#define ID_VALID_WRONG_WAY SECCOMP_IOR(2, __u64) // as first published

enum req_state { REQ_NEW, REQ_SENT, REQ_REPLIED };

struct addfd { // on the supervisor's stack until done
	struct list link;
	struct file *file;
	u32 flags, newfd, newfd_flags;
	bool send, taken, done; // taken: the caller is at it
	int result;
	struct task *by;
};

struct request {
	struct list link;
	u64 id;
	enum req_state state;
	struct task *task;
	struct seccomp_data data;
	s64 val;
	int error;
	u32 flags;
	struct list addfds;
};

struct notify {
	struct ref ref;
	struct mutex lock;
	struct list requests;
	struct waitq q; // supervisors that receive or poll
	u64 next_id;
	bool killable; // once received, only death ends a request
	bool closed; // nobody listens any more
	bool unused; // nobody will ask any more
};

void notify_put(struct notify *n)
{
	if (ref_put(&n->ref))
		kfree(n);
}

void notify_unused(struct notify *n)
{
	mutex_lock(&n->lock);
	n->unused = true;
	mutex_unlock(&n->lock);
	waitq_wake(&n->q, 0);
}

// --- the task that calls

static void end_addfd(struct addfd *a, int result)
{
	a->result = result;
	a->done = true;
	task_wake(a->by);
}

// n->lock is left meanwhile: what is closed here may be anything.
static void do_addfd(struct notify *n, struct addfd *a, struct request *q)
{
	bool cloexec = a->newfd_flags & O_CLOEXEC;
	int fd;

	list_del(&a->link);
	a->taken = true;
	mutex_unlock(&n->lock);
	file_get(a->file);
	fd = a->flags & SECCOMP_ADDFD_FLAG_SETFD ? fd_install((int)a->newfd, a->file, cloexec) : fd_alloc(a->file, 0, cloexec);
	if (fd < 0)
		file_put(a->file);
	mutex_lock(&n->lock);
	if (fd >= 0 && a->send) {
		q->state = REQ_REPLIED;
		q->val = fd;
		q->error = 0;
		q->flags = 0;
	}
	end_addfd(a, fd);
}

bool notify_ask(struct notify *n, struct regs *r, const struct seccomp_data *d)
{
	struct request q = {.state = REQ_NEW, .task = current, .data = *d};
	bool interrupted = false;

	list_init(&q.addfds);
	mutex_lock(&n->lock);
	if (n->closed) {
		mutex_unlock(&n->lock);
		return false; // ENOSYS
	}
	q.id = ++n->next_id;
	list_add_tail(&q.link, &n->requests);
	mutex_unlock(&n->lock);
	waitq_wake(&n->q, EPOLLIN | EPOLLRDNORM);

	mutex_lock(&n->lock);
	while (q.state != REQ_REPLIED && !interrupted) {
		u32 seq = task_seq();

		while (!list_empty(&q.addfds) && q.state != REQ_REPLIED)
			do_addfd(n, list_first(&q.addfds, struct addfd, link), &q);
		if (q.state == REQ_REPLIED)
			break;
		bool deaf = n->killable && q.state == REQ_SENT;
		mutex_unlock(&n->lock);
		if (deaf) {
			task_sleep_uninterruptible(seq, NO_DEADLINE);
			interrupted = __atomic_load_n(&current->work, __ATOMIC_SEQ_CST) & WORK_EXIT;
		} else {
			interrupted = task_sleep(seq, NO_DEADLINE) == -EINTR;
		}
		mutex_lock(&n->lock);
	}
	list_del(&q.link);
	while (!list_empty(&q.addfds)) {
		struct addfd *a = list_first(&q.addfds, struct addfd, link);
		list_del(&a->link);
		end_addfd(a, -ESRCH);
	}
	mutex_unlock(&n->lock);
	if (q.state == REQ_REPLIED) {
		if (q.flags & SECCOMP_USER_NOTIF_FLAG_CONTINUE)
			return true;
		r->rax = q.error ? (u64)(s64)q.error : (u64)q.val;
	} else {
		r->rax = (u64)-ERESTARTSYS;
	}
	return false;
}

// --- the supervisor

static struct request *by_id(struct notify *n, u64 id)
{
	struct request *q;

	list_for_each (q, &n->requests, link)
		if (q->id == id)
			return q;
	return NULL;
}

static struct request *by_state(struct notify *n, enum req_state s)
{
	struct request *q;

	list_for_each (q, &n->requests, link)
		if (q->state == s)
			return q;
	return NULL;
}

static struct request *fresh(struct notify *n)
{
	struct request *q;

	mutex_lock(&n->lock);
	q = by_state(n, REQ_NEW);
	mutex_unlock(&n->lock);
	return q;
}

static long receive(struct notify *n, void __user *to)
{
	struct seccomp_notif out, zero;
	struct request *q;

	memset(&out, 0, sizeof(out));
	if (copy_from_user(&zero, to, sizeof(zero)))
		return -EFAULT;
	if (memcmp(&zero, &out, sizeof(out)))
		return -EINVAL;
	if (WAIT_EVENT(&n->q, NO_DEADLINE, fresh(n) || n->unused) == -EINTR)
		return -EINTR;
	mutex_lock(&n->lock);
	q = by_state(n, REQ_NEW);
	if (q) {
		out.id = q->id;
		out.pid = (u32)q->task->tid;
		out.data = q->data;
		q->state = REQ_SENT;
	}
	mutex_unlock(&n->lock);
	if (!q)
		return -ENOENT;
	waitq_wake(&n->q, EPOLLOUT | EPOLLWRNORM);
	if (!copy_to_user(to, &out, sizeof(out)))
		return 0;
	mutex_lock(&n->lock);
	q = by_id(n, out.id);
	if (q && q->state == REQ_SENT)
		q->state = REQ_NEW; // somebody else may read it
	mutex_unlock(&n->lock);
	return -EFAULT;
}

static long answer(struct notify *n, const void __user *from)
{
	struct seccomp_notif_resp a;
	struct request *q;
	long r = -ENOENT;

	if (copy_from_user(&a, from, sizeof(a)))
		return -EFAULT;
	if (a.flags & ~SECCOMP_USER_NOTIF_FLAG_CONTINUE || (a.flags && (a.error || a.val)))
		return -EINVAL;
	mutex_lock(&n->lock);
	q = by_id(n, a.id);
	if (q && q->state != REQ_SENT) {
		r = -EINPROGRESS;
	} else if (q) {
		q->state = REQ_REPLIED;
		q->val = a.val;
		q->error = a.error;
		q->flags = a.flags;
		task_wake(q->task);
		r = 0;
	}
	mutex_unlock(&n->lock);
	return r;
}

static long id_valid(struct notify *n, const void __user *from)
{
	struct request *q;
	long r;
	u64 id;

	if (get_user(id, (const u64 __user *)from))
		return -EFAULT;
	mutex_lock(&n->lock);
	q = by_id(n, id);
	r = q && q->state == REQ_SENT ? 0 : -ENOENT;
	mutex_unlock(&n->lock);
	return r;
}

static long add_fd(struct notify *n, const void __user *from, size_t size)
{
	struct seccomp_notif_addfd u;
	struct addfd a = {.by = current};
	struct request *q;
	long r;

	if (size < sizeof(u) || size >= PAGE_SIZE)
		return -EINVAL;
	if (copy_from_user(&u, from, sizeof(u)))
		return -EFAULT;
	if (u.newfd_flags & ~(u32)O_CLOEXEC || u.flags & ~(u32)(SECCOMP_ADDFD_FLAG_SETFD | SECCOMP_ADDFD_FLAG_SEND) ||
	    (u.newfd && !(u.flags & SECCOMP_ADDFD_FLAG_SETFD)))
		return -EINVAL;
	a.file = fd_get((int)u.srcfd);
	if (!a.file)
		return -EBADF;
	a.flags = u.flags;
	a.newfd = u.newfd;
	a.newfd_flags = u.newfd_flags;
	a.send = u.flags & SECCOMP_ADDFD_FLAG_SEND;
	mutex_lock(&n->lock);
	q = by_id(n, u.id);
	r = !q ? -ENOENT : q->state != REQ_SENT ? -EINPROGRESS : a.send && !list_empty(&q->addfds) ? -EBUSY : 0;
	if (!r) {
		list_add_tail(&a.link, &q->addfds);
		task_wake(q->task);
	}
	while (!r && !a.done) {
		u32 seq = task_seq();
		bool taken = a.taken;

		mutex_unlock(&n->lock);
		int woken = taken ? task_sleep_uninterruptible(seq, NO_DEADLINE) : task_sleep(seq, NO_DEADLINE);
		mutex_lock(&n->lock);
		if (!a.taken && !a.done && woken == -EINTR) {
			list_del(&a.link);
			r = -ERESTARTSYS;
		}
	}
	mutex_unlock(&n->lock);
	file_put(a.file);
	return r ? r : a.result;
}

static long notify_ioctl(struct file *f, u32 cmd, u64 arg)
{
	switch (cmd) {
	case SECCOMP_IOCTL_NOTIF_RECV: return receive(f->priv, U(arg));
	case SECCOMP_IOCTL_NOTIF_SEND: return answer(f->priv, U(arg));
	case ID_VALID_WRONG_WAY:
	case SECCOMP_IOCTL_NOTIF_ID_VALID: return id_valid(f->priv, U(arg));
	default:
		if (_IOC_TYPE(cmd) == SECCOMP_IOC_MAGIC && _IOC_NR(cmd) == 3 && _IOC_DIR(cmd) == _IOC_WRITE)
			return add_fd(f->priv, U(arg), _IOC_SIZE(cmd));
		return -EINVAL;
	}
}

static u32 notify_poll(struct file *f, struct poll_table *pt)
{
	struct notify *n = f->priv;
	u32 r = 0;

	poll_wait(pt, &n->q);
	mutex_lock(&n->lock);
	if (by_state(n, REQ_NEW))
		r |= EPOLLIN | EPOLLRDNORM;
	if (by_state(n, REQ_SENT))
		r |= EPOLLOUT | EPOLLWRNORM;
	if (n->unused)
		r |= EPOLLHUP;
	mutex_unlock(&n->lock);
	return r;
}

static void notify_release(struct file *f)
{
	struct notify *n = f->priv;
	struct request *q;

	mutex_lock(&n->lock);
	n->closed = true;
	list_for_each (q, &n->requests, link)
		if (q->state != REQ_REPLIED) {
			q->state = REQ_REPLIED;
			q->error = -ENOSYS;
			q->val = 0;
			q->flags = 0;
			task_wake(q->task);
		}
	mutex_unlock(&n->lock);
	notify_put(n);
}

static const struct file_ops notify_fops = {
	.ioctl = notify_ioctl,
	.poll = notify_poll,
	.release = notify_release,
	.llseek = no_llseek,
	.stream = true,
};

int notify_open(struct notify **out, bool killable)
{
	struct notify *n = knew(struct notify);
	struct file *f;
	int fd;

	if (!n)
		return -ENOMEM;
	ref_init(&n->ref, 2); // the file's and the caller's
	n->killable = killable;
	list_init(&n->requests);
	waitq_init(&n->q);
	f = anon_file("seccomp notify", &notify_fops, O_RDWR, n);
	if (IS_ERR_OR_NULL(f)) {
		kfree(n);
		return f ? (int)PTR_ERR(f) : -ENOMEM;
	}
	fd = fd_alloc(f, 0, true);
	if (fd < 0) {
		file_put(f);
		notify_put(n);
		return fd;
	}
	*out = n;
	return fd;
}

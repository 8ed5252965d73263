// SPDX-License-Identifier: Apache-2.0
// System V message queues (man 2 msgop). Senders and receivers sleep on the queue and try again when it changes.
// Locks: ids->lock -> queue lock -> waitq. User memory is copied with no lock held: a message is complete before it enters
// and has left before it is copied out.
#include "kernel/fs/procfs.h"
#include "kernel/include/alloc.h"
#include "kernel/include/count.h"
#include "kernel/include/kstring.h"
#include "kernel/include/usercopy.h"
#include "kernel/ipc/ids.h"
#include <linux/capability.h>
#include <linux/msg.h>

struct msg {
	struct list link;
	long type;
	size_t n;
	u8 text[];
};

struct msgq {
	struct ipc_obj o;
	struct list msgs;	// oldest first
	u64 bytes, count, max_bytes;
	s64 stime, rtime, ctime;
	int spid, rpid;
	struct waitq readers, writers;
};

static struct msg *msg_new(size_t n)
{
	struct msg *m = kmalloc(sizeof(*m) + n);

	if (m)
		COUNT(messages, 1);
	return m;
}

static void msg_put(struct msg *m)
{
	if (m)
		COUNT(messages, -1);
	kfree(m);
}

static struct msgq *q_of(struct ipc_obj *o) { return container_of(o, struct msgq, o); }

void msg_free(struct ipc_obj *o)
{
	struct msg *m, *tmp;

	list_for_each_safe(m, tmp, &q_of(o)->msgs, link)
		msg_put(m);
	COUNT(msg_queues, -1);
	kfree(q_of(o));
}

static struct ipc_obj *make(const struct ipc_get *g)
{
	struct msgq *q = knew(struct msgq);

	(void)g;
	if (!q)
		return ERR_PTR(-ENOMEM);
	COUNT(msg_queues, 1);
	ref_init(&q->o.ref, 1);
	list_init(&q->msgs);
	waitq_init(&q->readers);
	waitq_init(&q->writers);
	q->max_bytes = MSGMNB;
	q->ctime = ipc_now();
	return &q->o;
}

static int fits(struct ipc_obj *o, const struct ipc_get *g)
{
	(void)o, (void)g;
	return 0;
}

long sys_msgget(int key, int flags)
{
	struct ipc_get g = {.key = key, .flags = flags, .make = make, .fits = fits};

	return ids_open(&ipc_ns()->msg, &g);
}

// Sleeps until the queue may have changed. Locked on entry and on return; the waiter is queued before the lock is dropped.
static int await(struct msgq *q, struct waitq *wq)
{
	struct waiter w;
	u32 seq = task_seq();
	int r;

	waiter_init(&w);
	waitq_add(wq, &w);
	mutex_unlock(&q->o.lock);
	r = task_sleep(seq, NO_DEADLINE);
	waitq_del(wq, &w);
	mutex_lock(&q->o.lock);
	return r ? -ERESTARTNOHAND : 0;
}

static bool has_room(const struct msgq *q, size_t n) { return q->bytes + n <= q->max_bytes && q->count + 1 <= q->max_bytes; }

long sys_msgsnd(int id, const void __user *umsg, size_t n, int flags)
{
	struct ipc_obj *o;
	struct msgq *q;
	struct msg *m;
	long type, r;

	if ((ssize_t)n < 0 || n > MSGMAX || id < 0)
		return -EINVAL;
	if (get_user(type, (const long __user *)umsg))
		return -EFAULT;
	if (type < 1)
		return -EINVAL;
	m = msg_new(n);
	if (!m)
		return -ENOMEM;
	m->type = type;
	m->n = n;
	if (copy_from_user(m->text, (const u8 __user *)umsg + sizeof(long), n)) {
		msg_put(m);
		return -EFAULT;
	}
	o = ids_lock(&ipc_ns()->msg, id);
	if (IS_ERR(o)) {
		msg_put(m);
		return PTR_ERR(o);
	}
	q = q_of(o);
	r = ipc_allowed(o, 2) ? 0 : -EACCES;
	while (!r && !has_room(q, n)) {
		r = flags & IPC_NOWAIT ? -EAGAIN : await(q, &q->writers);
		if (o->gone)
			r = -EIDRM;
	}
	if (!r) {
		list_add_tail(&m->link, &q->msgs);
		m = NULL;
		q->bytes += n;
		q->count++;
		q->spid = curproc->pid;
		q->stime = ipc_now();
		waitq_wake(&q->readers, 0);
	}
	ids_unlock(o);
	msg_put(m);
	return r;
}

// The message that msgrcv means by type and flags (man 2 msgrcv), or NULL.
static struct msg *choose(struct msgq *q, long type, int flags)
{
	struct msg *m, *best = NULL;
	long limit = type == -S64_MAX - 1 ? S64_MAX : -type, i = 0; // of a negative type

	list_for_each(m, &q->msgs, link) {
		if (flags & MSG_COPY) {
			if (i++ == type)
				return m;
		} else if (type < 0) {
			if (m->type <= limit && (!best || m->type < best->type))
				best = m;
		} else if (!type || (m->type == type) == !(flags & MSG_EXCEPT)) {
			return m;
		}
	}
	return best;
}

static struct msg *copy_of(const struct msg *m)
{
	struct msg *c = msg_new(m->n);

	if (c)
		memcpy(c, m, sizeof(*m) + m->n);
	return c;
}

long sys_msgrcv(int id, void __user *umsg, size_t n, long type, int flags)
{
	struct msg *m = NULL;
	struct ipc_obj *o;
	struct msgq *q;
	long r;

	if ((ssize_t)n < 0 || id < 0)
		return -EINVAL;
	if (flags & MSG_COPY && (flags & MSG_EXCEPT || !(flags & IPC_NOWAIT)))
		return -EINVAL;
	o = ids_lock(&ipc_ns()->msg, id);
	if (IS_ERR(o))
		return PTR_ERR(o);
	q = q_of(o);
	r = ipc_allowed(o, 4) ? 0 : -EACCES;
	while (!r && !(m = choose(q, type, flags))) {
		r = flags & IPC_NOWAIT ? -ENOMSG : await(q, &q->readers);
		if (o->gone)
			r = -EIDRM;
	}
	if (!r && m->n > n && !(flags & MSG_NOERROR))
		r = -E2BIG;
	if (!r && flags & MSG_COPY) {
		m = copy_of(m);
		r = m ? 0 : -ENOMEM;
	} else if (!r) {
		list_del(&m->link);
		q->bytes -= m->n;
		q->count--;
		q->rpid = curproc->pid;
		q->rtime = ipc_now();
		waitq_wake(&q->writers, 0);
	}
	ids_unlock(o);
	if (r)
		return r;
	n = min(n, m->n);
	r = (long)n;
	if (put_user(m->type, (long __user *)umsg) || copy_to_user((u8 __user *)umsg + sizeof(long), m->text, n))
		r = -EFAULT;
	msg_put(m);
	return r;
}

// --- msgctl

void msg_kill(struct ipc_obj *o)
{
	waitq_wake(&q_of(o)->readers, 0);
	waitq_wake(&q_of(o)->writers, 0);
}

void msg_row(struct ipc_obj *o, struct pout *p)
{
	struct msgq *q = q_of(o);

	pout(p, "%10d %10d  %4o  %10lu %10lu %5u %5u %5u %5u %5u %5u %10lu %10lu %10lu\n", o->key, o->id, o->mode, q->bytes, q->count,
	     q->spid, q->rpid, uid_out(o->uid), gid_out(o->gid), uid_out(o->cuid), gid_out(o->cgid), q->stime, q->rtime, q->ctime);
}

static long info(int cmd, void __user *buf)
{
	struct ids *ids = &ipc_ns()->msg;
	struct msginfo i = {.msgpool = MSGPOOL, .msgmap = MSGMAP, .msgmax = MSGMAX, .msgmnb = MSGMNB, .msgmni = MSGMNI, .msgssz = MSGSSZ,
			    .msgtql = MSGTQL, .msgseg = (u16)MSGSEG};
	int last = ids_highest(ids);

	if (cmd == MSG_INFO) {
		i.msgpool = (int)ids->used;
		i.msgmap = i.msgtql = 0;
		for (int k = 0; k <= last; k++) {
			struct ipc_obj *o = ids_lock_at(ids, k);
			if (IS_ERR(o))
				continue;
			i.msgmap += (int)q_of(o)->count;
			i.msgtql += (int)q_of(o)->bytes;
			ids_unlock(o);
		}
	}
	return copy_to_user(buf, &i, sizeof(i)) ? -EFAULT : last;
}

static long status(int id, int cmd, void __user *buf)
{
	struct ids *ids = &ipc_ns()->msg;
	struct ipc_obj *o = cmd == IPC_STAT ? ids_lock(ids, id) : ids_lock_at(ids, id);
	struct msqid64_ds ds = {0};
	struct msgq *q;
	long r = -EACCES;

	if (IS_ERR(o))
		return PTR_ERR(o);
	q = q_of(o);
	if (cmd == MSG_STAT_ANY || ipc_allowed(o, 4)) {
		ipc_perm_out(o, &ds.msg_perm);
		ds.msg_stime = q->stime;
		ds.msg_rtime = q->rtime;
		ds.msg_ctime = q->ctime;
		ds.msg_cbytes = q->bytes;
		ds.msg_qnum = q->count;
		ds.msg_qbytes = q->max_bytes;
		ds.msg_lspid = q->spid;
		ds.msg_lrpid = q->rpid;
		r = cmd == IPC_STAT ? 0 : o->id;
	}
	ids_unlock(o);
	return r >= 0 && copy_to_user(buf, &ds, sizeof(ds)) ? -EFAULT : r;
}

static long change(int id, int cmd, const void __user *buf)
{
	struct msqid64_ds ds;
	struct ipc_obj *o;
	long r = 0;

	if (cmd == IPC_SET && copy_from_user(&ds, buf, sizeof(ds)))
		return -EFAULT;
	o = ids_lock_both(&ipc_ns()->msg, id);
	if (IS_ERR(o))
		return PTR_ERR(o);
	if (!ipc_owns(o)) {
		r = -EPERM;
	} else if (cmd == IPC_SET && ds.msg_qbytes > MSGMNB && !ns_capable(ipc_ns_used()->ns.owner, CAP_SYS_RESOURCE)) {
		r = -EPERM;
	} else if (cmd == IPC_SET && !(r = ipc_perm_set(o, &ds.msg_perm))) {
		q_of(o)->max_bytes = ds.msg_qbytes;
		q_of(o)->ctime = ipc_now();
		msg_kill(o); // who waits looks again
	} else if (cmd != IPC_SET) {
		ids_remove(o);
		msg_kill(o);
	}
	ids_unlock_both(o);
	return r;
}

long sys_msgctl(int id, int cmd, void __user *buf)
{
	cmd &= ~IPC_64;
	if (id < 0)
		return -EINVAL;
	switch (cmd) {
	case IPC_INFO: case MSG_INFO: return info(cmd, buf);
	case IPC_STAT: case MSG_STAT: case MSG_STAT_ANY: return status(id, cmd, buf);
	case IPC_SET: case IPC_RMID: return change(id, cmd, buf);
	default: return -EINVAL;
	}
}

// SPDX-License-Identifier: Apache-2.0
// System V semaphores (man 2 semop). Operations of one call happen all at once or not at all. A call that must wait leaves
// its list of operations with the set; whoever changes the set performs what has become possible, oldest first, and
// wakes those callers with their results.
// Undo: what a process's SEM_UNDO operations changed, per set; given back when its last thread leaves.
// Locks: undos->lock (the process's list), ids->lock -> set lock (values, waiting calls, adjustments). A task is woken with
// the set locked: task_wake takes nothing.
#include "kernel/fs/procfs.h"
#include "kernel/include/alloc.h"
#include "kernel/include/count.h"
#include "kernel/include/kstring.h"
#include "kernel/include/ktime.h"
#include "kernel/include/usercopy.h"
#include "kernel/ipc/ids.h"
#include <linux/sem.h>

#define FAST_OPS 16u

struct sem {
	int val, pid;
};

struct semset {
	struct ipc_obj o;
	struct list waiting;	// calls, oldest first
	struct list undos;
	s64 otime, ctime;
	u32 n;
	struct sem sem[];
};

struct sem_undo {		// of one process for one set
	struct list proc_link, set_link;
	struct semset *set;	// reference
	s16 adj[];		// set lock
};

struct sem_undos {		// proc->sem_undos
	struct mutex lock;
	struct list list;
};

struct call {			// a semop that waits, on its caller's stack
	struct list link;
	struct task *task;
	const struct sembuf *ops;
	u32 nops;
	const struct sembuf *blocker;	// the operation that cannot be done
	struct sem_undo *undo;
	int pid, result;
	bool done;
};

static struct semset *set_of(struct ipc_obj *o) { return container_of(o, struct semset, o); }

void sem_free(struct ipc_obj *o)
{
	COUNT(sem_sets, -1);
	kfree(set_of(o));
}

// --- operations

#define WOULD_WAIT 1

// Does all of ops, or nothing: 0, WOULD_WAIT with *blocker, -ERANGE, -EAGAIN. Set locked.
static int perform(struct semset *s, const struct sembuf *ops, u32 n, struct sem_undo *un, int pid, const struct sembuf **blocker)
{
	u32 i;
	int r = 0;

	for (i = 0; i < n; i++) {
		const struct sembuf *op = &ops[i];
		struct sem *m = &s->sem[op->sem_num];
		int val = m->val + op->sem_op;

		if ((!op->sem_op && m->val) || val < 0) {
			*blocker = op;
			r = op->sem_flg & IPC_NOWAIT ? -EAGAIN : WOULD_WAIT;
			break;
		}
		if (val > SEMVMX) {
			r = -ERANGE;
			break;
		}
		if (op->sem_flg & SEM_UNDO) {
			int adj = un->adj[op->sem_num] - op->sem_op;
			if (adj < -SEMAEM - 1 || adj > SEMAEM) {
				r = -ERANGE;
				break;
			}
			un->adj[op->sem_num] = (s16)adj;
		}
		m->val = val;
	}
	if (!r) {
		for (i = 0; i < n; i++)
			s->sem[ops[i].sem_num].pid = pid;
		return 0;
	}
	while (i--) {
		s->sem[ops[i].sem_num].val -= ops[i].sem_op;
		if (ops[i].sem_flg & SEM_UNDO)
			un->adj[ops[i].sem_num] = (s16)(un->adj[ops[i].sem_num] + ops[i].sem_op);
	}
	return r;
}

static void finish(struct call *c, int result)
{
	struct task *t = c->task;

	list_del(&c->link);
	c->result = result;
	ref_get(&t->ref);
	__atomic_store_n(&c->done, true, __ATOMIC_RELEASE); // from now on the record may be gone
	task_wake(t);
	task_put(t);
}

// After a change: performs what has become possible until nothing more is. Set locked.
static void go_on(struct semset *s)
{
	struct call *c, *tmp;
	bool again;

	do {
		again = false;
		list_for_each_safe(c, tmp, &s->waiting, link) {
			int r = perform(s, c->ops, c->nops, c->undo, c->pid, &c->blocker);
			if (r == WOULD_WAIT)
				continue;
			if (!r)
				s->otime = ipc_now();
			again |= !r;
			finish(c, r);
			if (!r)
				break; // the list may have changed its order of possibilities: from the front again
		}
	} while (again);
}

// --- undo

static struct sem_undos *my_undos(void)
{
	struct proc *p = curproc;
	struct sem_undos *u = __atomic_load_n(&p->sem_undos, __ATOMIC_ACQUIRE), *none = NULL;

	if (u)
		return u;
	u = knew(struct sem_undos);
	if (!u)
		return NULL;
	list_init(&u->list);
	if (__atomic_compare_exchange_n(&p->sem_undos, &none, u, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
		return u;
	kfree(u);
	return none;
}

// Takes un off its set and forgets it. Off the process's list already; set not locked.
static void undo_drop(struct sem_undo *un)
{
	mutex_lock(&un->set->o.lock);
	list_del(&un->set_link);
	mutex_unlock(&un->set->o.lock);
	ids_put(&un->set->o);
	COUNT(sem_undos, -1);
	kfree(un);
}

// The caller's adjustments for s, made on first use. Those of removed sets are swept on the way.
static struct sem_undo *undo_for(struct semset *s)
{
	struct sem_undos *u = my_undos();
	struct sem_undo *un, *tmp, *found = NULL;
	struct list dead;

	if (!u)
		return ERR_PTR(-ENOMEM);
	list_init(&dead);
	mutex_lock(&u->lock);
	list_for_each_safe(un, tmp, &u->list, proc_link) {
		if (un->set == s) {
			found = un;
		} else if (__atomic_load_n(&un->set->o.gone, __ATOMIC_RELAXED)) {
			list_del(&un->proc_link);
			list_add(&un->proc_link, &dead);
		}
	}
	if (!found && (found = kzalloc(sizeof(*found) + s->n * sizeof(s16)))) {
		COUNT(sem_undos, 1);
		ref_get(&s->o.ref);
		found->set = s;
		list_add(&found->proc_link, &u->list);
		mutex_lock(&s->o.lock);
		list_add(&found->set_link, &s->undos);
		mutex_unlock(&s->o.lock);
	}
	mutex_unlock(&u->lock);
	list_for_each_safe(un, tmp, &dead, proc_link) {
		list_del(&un->proc_link);
		undo_drop(un);
	}
	return found ? found : ERR_PTR(-ENOMEM);
}

void sem_exit(struct proc *p)
{
	struct sem_undos *u = p->sem_undos;
	struct sem_undo *un, *tmp;

	if (!u)
		return;
	p->sem_undos = NULL;
	list_for_each_safe(un, tmp, &u->list, proc_link) {
		struct semset *s = un->set;

		mutex_lock(&s->o.lock);
		for (u32 i = 0; i < s->n && !s->o.gone; i++) {
			if (!un->adj[i])
				continue;
			s->sem[i].val = min(max(s->sem[i].val + un->adj[i], 0), SEMVMX);
			s->sem[i].pid = p->pid;
			s->otime = ipc_now();
			un->adj[i] = 0;
		}
		if (!s->o.gone)
			go_on(s);
		mutex_unlock(&s->o.lock);
		list_del(&un->proc_link);
		undo_drop(un);
	}
	kfree(u);
}

// --- semget, semop

static struct ipc_obj *make(const struct ipc_get *g)
{
	struct ipc_ns *ns = ipc_ns_used();
	struct semset *s;

	if (!g->size)
		return ERR_PTR(-EINVAL);
	if (ns->sems + g->size > SEMMNS)
		return ERR_PTR(-ENOSPC);
	s = kzalloc(sizeof(*s) + g->size * sizeof(struct sem));
	if (!s)
		return ERR_PTR(-ENOMEM);
	COUNT(sem_sets, 1);
	ref_init(&s->o.ref, 1);
	list_init(&s->waiting);
	list_init(&s->undos);
	s->n = (u32)g->size;
	s->ctime = ipc_now();
	ns->sems += g->size;
	return &s->o;
}

static int fits(struct ipc_obj *o, const struct ipc_get *g) { return g->size > set_of(o)->n ? -EINVAL : 0; }

long sys_semget(int key, int n, int flags)
{
	struct ipc_get g = {.key = key, .flags = flags, .size = (u64)n, .make = make, .fits = fits};

	return n < 0 || n > SEMMSL ? -EINVAL : ids_open(&ipc_ns()->sem, &g);
}

static int await(struct semset *s, struct call *c, u64 deadline)
{
	int r = 0;

	for (;;) {
		u32 seq = task_seq();
		if (__atomic_load_n(&c->done, __ATOMIC_ACQUIRE))
			return c->result;
		if (r)
			break;
		r = task_sleep(seq, deadline);
	}
	mutex_lock(&s->o.lock);
	if (c->done)
		r = c->result;
	else
		list_del(&c->link);
	mutex_unlock(&s->o.lock);
	return r == -ETIMEDOUT ? -EAGAIN : r;
}

static long do_semop(int id, const struct sembuf *ops, u32 n, u64 deadline)
{
	struct call c = {.task = current, .ops = ops, .nops = n, .pid = curproc->pid};
	bool alters = false, undo = false;
	struct semset *s;
	long r = 0;

	struct ipc_obj *o = ids_get(&ipc_ns()->sem, id);
	if (!o)
		return -EINVAL;
	s = set_of(o);
	for (u32 i = 0; i < n && !r; i++) {
		alters |= ops[i].sem_op != 0;
		undo |= (ops[i].sem_flg & SEM_UNDO) != 0;
		if (ops[i].sem_num >= s->n)
			r = -EFBIG;
	}
	if (!r && !ipc_allowed(o, alters ? 2 : 4))
		r = -EACCES;
	if (!r && undo) {
		c.undo = undo_for(s);
		if (IS_ERR(c.undo))
			r = PTR_ERR(c.undo);
	}
	if (r)
		goto out;
	mutex_lock(&o->lock);
	r = o->gone ? -EIDRM : perform(s, ops, n, c.undo, c.pid, &c.blocker);
	if (!r) {
		s->otime = ipc_now();
		if (alters)
			go_on(s);
	} else if (r == WOULD_WAIT) {
		list_add_tail(&c.link, &s->waiting);
	}
	mutex_unlock(&o->lock);
	if (r == WOULD_WAIT)
		r = await(s, &c, deadline);
out:
	ids_put(o);
	return r;
}

long sys_semtimedop(int id, const void __user *uops, u32 n, const void __user *uts)
{
	struct sembuf fast[FAST_OPS], *ops = fast;
	u64 deadline = NO_DEADLINE, ns;
	long r;

	if (uts) {
		r = user_timespec(uts, &ns);
		if (r)
			return r;
		deadline = ktime_deadline(ns);
	}
	if (!n || id < 0)
		return -EINVAL;
	if (n > SEMOPM)
		return -E2BIG;
	if (n > FAST_OPS && !(ops = kmalloc(n * sizeof(*ops))))
		return -ENOMEM;
	r = copy_from_user(ops, uops, n * sizeof(*ops)) ? -EFAULT : do_semop(id, ops, n, deadline);
	if (ops != fast)
		kfree(ops);
	return r;
}

long sys_semop(int id, const void __user *ops, u32 n) { return sys_semtimedop(id, ops, n, NULL); }

// --- semctl

static int waiting_for(const struct semset *s, u32 num, bool zero)
{
	struct call *c;
	int n = 0;

	list_for_each(c, &s->waiting, link)
		n += c->blocker->sem_num == num && !c->blocker->sem_op == zero;
	return n;
}

static void set_value(struct semset *s, u32 i, int val)
{
	struct sem_undo *un;

	list_for_each(un, &s->undos, set_link)
		un->adj[i] = 0;
	s->sem[i].val = val;
	s->sem[i].pid = curproc->pid;
}

void sem_kill(struct ipc_obj *o)
{
	struct call *c, *tmp;

	list_for_each_safe(c, tmp, &set_of(o)->waiting, link)
		finish(c, -EIDRM);
}

void sem_row(struct ipc_obj *o, struct pout *p)
{
	struct semset *s = set_of(o);

	pout(p, "%10d %10d  %4o %10u %5u %5u %5u %5u %10lu %10lu\n", o->key, o->id, o->mode, s->n, uid_out(o->uid), gid_out(o->gid),
	     uid_out(o->cuid), gid_out(o->cgid), s->otime, s->ctime);
}

static long info(int cmd, void __user *buf)
{
	struct ipc_ns *ns = ipc_ns();
	struct seminfo i = {.semmap = SEMMAP, .semmni = SEMMNI, .semmns = SEMMNS, .semmnu = SEMMNU, .semmsl = SEMMSL, .semopm = SEMOPM,
			    .semume = SEMUME, .semusz = SEMUSZ, .semvmx = SEMVMX, .semaem = SEMAEM};

	if (cmd == SEM_INFO) {
		i.semusz = (int)ns->sem.used;
		i.semaem = (int)ns->sems;
	}
	return copy_to_user(buf, &i, sizeof(i)) ? -EFAULT : ids_highest(&ns->sem);
}

static long status(int id, int cmd, void __user *buf)
{
	struct ids *ids = &ipc_ns()->sem;
	struct ipc_obj *o = cmd == IPC_STAT ? ids_lock(ids, id) : ids_lock_at(ids, id);
	struct semid64_ds ds = {0};
	long r = 0;

	if (IS_ERR(o))
		return PTR_ERR(o);
	if (cmd != SEM_STAT_ANY && !ipc_allowed(o, 4)) {
		r = -EACCES;
	} else {
		ipc_perm_out(o, &ds.sem_perm);
		ds.sem_otime = set_of(o)->otime;
		ds.sem_ctime = set_of(o)->ctime;
		ds.sem_nsems = set_of(o)->n;
		r = cmd == IPC_STAT ? 0 : o->id;
	}
	ids_unlock(o);
	return r >= 0 && copy_to_user(buf, &ds, sizeof(ds)) ? -EFAULT : r;
}

static long change(int id, int cmd, const void __user *buf)
{
	struct semid64_ds ds;
	struct ipc_obj *o;
	long r = 0;

	if (cmd == IPC_SET && copy_from_user(&ds, buf, sizeof(ds)))
		return -EFAULT;
	o = ids_lock_both(&ipc_ns()->sem, id);
	if (IS_ERR(o))
		return PTR_ERR(o);
	if (!ipc_owns(o)) {
		r = -EPERM;
	} else if (cmd == IPC_SET) {
		r = ipc_perm_set(o, &ds.sem_perm);
		if (!r)
			set_of(o)->ctime = ipc_now();
	} else {
		ipc_ns_used()->sems -= set_of(o)->n;
		ids_remove(o);
		sem_kill(o);
	}
	ids_unlock_both(o);
	return r;
}

static long all_values(int id, int cmd, void __user *buf)
{
	struct ipc_obj *o = ids_get(&ipc_ns()->sem, id);
	struct semset *s;
	u16 *v = NULL;
	long r = -EINVAL;

	if (!o)
		return r;
	s = set_of(o);
	r = -EACCES;
	if (!ipc_allowed(o, cmd == GETALL ? 4 : 2))
		goto out;
	r = -ENOMEM;
	v = kmalloc(s->n * sizeof(*v));
	if (!v)
		goto out;
	r = cmd == SETALL && copy_from_user(v, buf, s->n * sizeof(*v)) ? -EFAULT : 0;
	for (u32 i = 0; i < s->n && cmd == SETALL && !r; i++)
		r = v[i] > SEMVMX ? -ERANGE : 0;
	if (r)
		goto out;
	mutex_lock(&o->lock);
	r = o->gone ? -EIDRM : 0;
	for (u32 i = 0; i < s->n && !r; i++) {
		if (cmd == GETALL)
			v[i] = (u16)s->sem[i].val;
		else
			set_value(s, i, v[i]);
	}
	if (cmd == SETALL && !r) {
		s->ctime = ipc_now();
		go_on(s);
	}
	mutex_unlock(&o->lock);
	if (cmd == GETALL && !r && copy_to_user(buf, v, s->n * sizeof(*v)))
		r = -EFAULT;
out:
	kfree(v);
	ids_put(o);
	return r;
}

static long one_value(int id, u32 num, int cmd, int val)
{
	struct ipc_obj *o = ids_lock(&ipc_ns()->sem, id);
	struct semset *s;
	long r = 0;

	if (IS_ERR(o))
		return PTR_ERR(o);
	s = set_of(o);
	if (num >= s->n)
		r = -EINVAL;
	else if (!ipc_allowed(o, cmd == SETVAL ? 2 : 4))
		r = -EACCES;
	else if (cmd == SETVAL && (val < 0 || val > SEMVMX))
		r = -ERANGE;
	if (r) {
		ids_unlock(o);
		return r;
	}
	switch (cmd) {
	case GETVAL: r = s->sem[num].val; break;
	case GETPID: r = s->sem[num].pid; break;
	case GETNCNT: r = waiting_for(s, num, false); break;
	case GETZCNT: r = waiting_for(s, num, true); break;
	default:
		set_value(s, num, val);
		s->ctime = ipc_now();
		go_on(s);
	}
	ids_unlock(o);
	return r;
}

long sys_semctl(int id, int num, int cmd, u64 arg)
{
	cmd &= ~IPC_64;
	if (id < 0)
		return -EINVAL;
	switch (cmd) {
	case IPC_INFO: case SEM_INFO: return info(cmd, U(arg));
	case IPC_STAT: case SEM_STAT: case SEM_STAT_ANY: return status(id, cmd, U(arg));
	case IPC_SET: case IPC_RMID: return change(id, cmd, U(arg));
	case GETALL: case SETALL: return all_values(id, cmd, U(arg));
	case GETVAL: case GETPID: case GETNCNT: case GETZCNT: case SETVAL: return one_value(id, (u32)num, cmd, (int)arg);
	default: return -EINVAL;
	}
}

// SPDX-License-Identifier: Apache-2.0
// Controlling terminals, sessions, foreground process groups and hang-up (man 7 credentials, man 2 ioctl_tty).
// session->tty, tty->session and tty->pgrp change under tasklist only. Locks: tasklist -> tty->lock.
#include "kernel/fs/tty_job.h"

void tty_signal_pgrp(int pgrp, int sig)
{
	if (pgrp > 0)
		signal_send_pgrp(pgrp, sig, NULL);
}

int tty_boot_pgrp(void)
{
	struct proc *p = proc_find(2);
	int pgid;

	if (!p)
		p = proc_find(1);
	if (!p)
		return 0;
	pgid = p->pgid;
	proc_put(p);
	return pgid;
}

struct orphan_query {
	int pgid;
	struct session *session;
};

// A member whose parent is in the same session but another group keeps the group from being orphaned.
static int keeps_alive(struct proc *p, void *arg)
{
	struct orphan_query *q = arg;

	return p->pgid == q->pgid && p->state != PROC_ZOMBIE && p->state != PROC_DEAD && p->parent &&
	       p->parent != init_proc && p->parent->pgid != q->pgid && p->parent->session == p->session;
}

static bool own_group_orphaned(void)
{
	struct orphan_query q = {curproc->pgid, curproc->session};

	return !proc_for_each(keeps_alive, &q);
}

static bool ignores(int sig)
{
	return (current->blocked & SIGBIT(sig)) || curproc->action[sig].handler == (void __user *)SIG_IGN;
}

int tty_job_check(struct tty *t, int sig)
{
	struct proc *me = curproc;
	int fg = __atomic_load_n(&t->pgrp, __ATOMIC_RELAXED), pgid = me->pgid;

	if (!me->session || me->session->tty != t || !fg || fg == pgid)
		return 0;
	if (ignores(sig))
		return sig == SIGTTIN ? -EIO : 0;
	if (own_group_orphaned())
		return -EIO;
	tty_signal_pgrp(pgid, sig);
	return -ERESTARTSYS;
}

// tasklist held
static void take_ctty(struct tty *t, struct proc *p)
{
	tty_get(t);
	p->session->tty = t;
	t->session = p->session;
	t->pgrp = p->pgid;
}

static bool leader_without_tty(struct proc *p) { return p->session && p->session->sid == p->pid && !p->session->tty; }

void tty_try_ctty(struct tty *t)
{
	struct proc *me = curproc;

	if (!leader_without_tty(me))
		return;
	mutex_lock(&tasklist);
	if (leader_without_tty(me) && !t->session)
		take_ctty(t, me);
	mutex_unlock(&tasklist);
}

static long set_ctty(struct tty *t, bool steal)
{
	struct proc *me = curproc;
	struct tty *old = NULL;
	long r = -EPERM;

	mutex_lock(&tasklist);
	if (me->session && me->session->sid == me->pid && me->session == t->session) {
		r = 0;
	} else if (leader_without_tty(me)) {
		if (t->session && steal && capable(21 /* CAP_SYS_ADMIN */)) {
			old = t->session->tty;
			t->session->tty = NULL;
			t->session = NULL;
		}
		if (!t->session) {
			take_ctty(t, me);
			r = 0;
		}
	}
	mutex_unlock(&tasklist);
	tty_put(old);
	return r;
}

// The session gives its terminal up; returns the foreground group. `*held`: the reference that the session had.
static int detach(struct tty *t, struct session **s, struct tty **held)
{
	int fg;

	mutex_lock(&tasklist);
	fg = t->pgrp;
	*s = t->session;
	*held = NULL;
	if (*s) {
		*held = (*s)->tty;
		(*s)->tty = NULL;
	}
	t->session = NULL;
	t->pgrp = 0;
	mutex_unlock(&tasklist);
	return fg;
}

static void hangup_signals(int fg)
{
	tty_signal_pgrp(fg, SIGHUP);
	tty_signal_pgrp(fg, SIGCONT);
}

void tty_hangup(struct tty *t, bool signal)
{
	struct session *s;
	struct tty *held;
	struct proc *leader = NULL;
	int fg = detach(t, &s, &held);

	if (s && signal) {
		leader = proc_find(s->sid);
		if (leader) {
			signal_send_proc(leader, SIGHUP, NULL);
			signal_send_proc(leader, SIGCONT, NULL);
			proc_put(leader);
		}
		hangup_signals(fg);
	}
	if (!t->drv->keeps_files) {
		mutex_lock(&t->lock);
		__atomic_add_fetch(&t->generation, 1, __ATOMIC_RELEASE);
		ldisc_flush_input(t);
		tty_unlock(t, 0);
		waitq_wake(&t->q, 0);
	}
	tty_put(held);
}

void tty_hangup_session(struct session *s)
{
	struct tty *t;

	mutex_lock(&tasklist);
	t = s->tty;
	if (t)
		tty_get(t);
	mutex_unlock(&tasklist);
	if (!t)
		return;
	tty_hangup(t, true);
	tty_put(t);
}

void tty_stat_of(struct tty *t, u32 *dev, int *fg_pgid)
{
	*dev = t->dev;
	*fg_pgid = t->pgrp;
}

static int session_of(struct proc *p, void *arg)
{
	struct orphan_query *q = arg;

	if (p->pgid != q->pgid || p->state == PROC_DEAD)
		return 0;
	q->session = p->session;
	return 1;
}

static long set_foreground(struct tty *t, int __user *arg)
{
	struct orphan_query q = {0};
	int r = tty_job_check(t, SIGTTOU);

	if (r == -EIO)
		return -ENOTTY;
	if (r)
		return r;
	if (!curproc->session || t->session != curproc->session)
		return -ENOTTY;
	if (get_user(q.pgid, arg))
		return -EFAULT;
	if (q.pgid < 0)
		return -EINVAL;
	q.pgid = pid_in(q.pgid);
	if (!proc_for_each(session_of, &q))
		return -ESRCH;
	if (q.session != curproc->session)
		return -EPERM;
	mutex_lock(&tasklist);
	if (t->session == curproc->session)
		t->pgrp = q.pgid;
	mutex_unlock(&tasklist);
	return 0;
}

static long release_ctty(struct tty *t)
{
	struct proc *me = curproc;
	struct session *s;
	struct tty *held;
	int fg;

	if (!me->session || me->session->tty != t)
		return -ENOTTY;
	if (me->session->sid != me->pid)
		return 0; // the terminal belongs to the whole session here; setsid, which follows, leaves it
	fg = detach(t, &s, &held);
	hangup_signals(fg);
	tty_put(held);
	return 0;
}

long tty_job_ioctl(struct tty *t, u32 cmd, u64 arg, bool master)
{
	bool mine = curproc->session && curproc->session->tty == t;
	int n;

	switch (cmd) {
	case TIOCGPGRP:
		if (!master && !mine)
			return -ENOTTY;
		n = pid_out(t->pgrp);
		return put_user(n, U(arg));
	case TIOCSPGRP: return set_foreground(t, U(arg));
	case TIOCGSID:
		if (!master && !mine)
			return -ENOTTY;
		mutex_lock(&tasklist);
		n = t->session ? pid_out(t->session->sid) : 0;
		mutex_unlock(&tasklist);
		return n ? put_user(n, U(arg)) : -ENOTTY;
	case TIOCSCTTY: return set_ctty(t, arg == 1);
	case TIOCNOTTY: return release_ctty(t);
	}
	return -ENOIOCTL;
}

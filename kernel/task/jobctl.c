// SPDX-License-Identifier: Apache-2.0
// Process groups and sessions (man 2 setpgid, setsid). Locks: tasklist.
#include "kernel/include/log.h"
#include "kernel/include/usercopy.h"
#include "kernel/task/internal.h"

static int always(struct proc *p, void *arg)
{
	(void)p, (void)arg;
	return 1;
}

static int is_session(struct proc *p, void *arg) { return p->session == arg; }

long sys_setsid(void)
{
	struct proc *p = curproc;
	struct session *s = session_new(p->pid), *old;
	long r = -EPERM;

	if (!s)
		return -ENOMEM;
	mutex_lock(&tasklist);
	// no group of that number may exist, not even one that the leader left
	if (p->pgid != p->pid && pgrp_for_each(p->pid, always, NULL) <= 0) {
		old = p->session;
		p->session = s;
		s = old;
		proc_set_pgrp(p, p->pid);
		r = p->pid;
	}
	session_put(s);
	mutex_unlock(&tasklist);
	return r;
}

long sys_setpgid(int pid, int pgid)
{
	struct proc *me = curproc, *p;
	long r = -ESRCH;

	if (!pid)
		pid = me->pid;
	if (!pgid)
		pgid = pid;
	if (pgid < 0)
		return -EINVAL;
	mutex_lock(&tasklist);
	p = proc_of(pid);
	if (!p || (p != me && p->parent != me))
		goto out;
	r = -EPERM;
	if (p != me && p->session != me->session)
		goto out;
	if (p != me && p->execed) {
		r = -EACCES;
		goto out;
	}
	if (p->session->sid == p->pid)
		goto out; // a session leader
	if (pgid != pid && pgrp_for_each(pgid, is_session, me->session) <= 0)
		goto out;
	if (p->pgid != pgid)
		proc_set_pgrp(p, pgid);
	r = 0;
out:
	mutex_unlock(&tasklist);
	return r;
}

static long query(int pid, bool session)
{
	struct proc *p;
	long r = -ESRCH;

	mutex_lock(&tasklist);
	p = pid ? proc_of(pid) : curproc;
	if (p && p->session)
		r = session ? p->session->sid : p->pgid;
	mutex_unlock(&tasklist);
	return r;
}

long sys_getpgid(int pid) { return query(pid, false); }
long sys_getsid(int pid) { return query(pid, true); }
long sys_getpgrp(void) { return curproc->pgid; }

// SPDX-License-Identifier: Apache-2.0
// The list of processes for `coffer top`, in enclaves that were built with debug_enclave: what runs and how much it takes may leave them. The
// host asks by another number in the control block. A kernel thread of its own answers, since it waits for tasklist, which SIGQUIT's dump never does.
#include "kernel/include/boot.h"
#include "kernel/include/kstring.h"
#include "kernel/include/log.h"
#include "kernel/task/internal.h"
#include "platform/process/window.h"

struct next {
	int after, pid;
};

static int first_after(struct proc *p, void *arg)
{
	struct next *n = arg;

	if (p->pid <= n->after || p->helper)
		return 0;
	n->pid = p->pid;
	return 1;
}

static void fill(struct ctl_task *out, struct proc *p)
{
	struct ctl_task row = {.pid = p->pid, .call = -1, .state = 'Z', .threads = p->nthreads};
	struct pf_usage u;
	struct task *t;

	mutex_lock(&tasklist);
	t = p->leader;
	if (t) {
		strlcpy(row.name, t->comm, sizeof(row.name));
		row.tid = t->tid;
	}
	row.ppid = p->parent ? p->parent->pid : 0;
	if (t && p->state < PROC_ZOMBIE) {
		row.state = p->state == PROC_STOPPED ? 'T' : t->sleeping ? 'S' : 'R';
		if (t->sleeping && t->regs && t->regs->orig_rax < 512)
			row.call = (s32)t->regs->orig_rax;
	}
	mutex_unlock(&tasklist);
	if (row.state != 'Z' && !pf_usage(p, NULL, &u)) { // asks the host: no locks
		row.cpu_ns = u.utime_ns + u.stime_ns;
		row.private_pages = u.anon;
	}
	*out = row;
}

static u32 list_all(struct ctl_task *out)
{
	struct next n = {0};
	u32 count = 0;

	for (; count < CTL_TASKS && proc_for_each(first_after, &n); n.after = n.pid) {
		struct proc *p = proc_find(n.pid);

		if (!p)
			continue;
		fill(&out[count++], p);
		proc_put(p);
	}
	return count;
}

void task_list_thread(void *unused)
{
	struct control *c = CTL;

	(void)unused;
	if (!boot_info.debug)
		panic("the list of tasks in an enclave that is not for debugging");
	for (;;) {
		u32 asked = __atomic_load_n(&c->tasks_asked, __ATOMIC_SEQ_CST);

		if (asked == __atomic_load_n(&c->tasks_told, __ATOMIC_SEQ_CST)) {
			pf_wait(&c->tasks_asked, asked, NO_DEADLINE);
			continue;
		}
		c->tasks_count = list_all(c->tasks);
		__atomic_store_n(&c->tasks_told, asked, __ATOMIC_SEQ_CST);
		pf_wake(&c->tasks_told, 64);
	}
}

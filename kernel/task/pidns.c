// SPDX-License-Identifier: Apache-2.0
// PID namespaces. Each process and thread has one number in all of the kernel: in the first namespace below PID_MAX, in another one
// that namespace's index times PID_MAX plus the number that its own members see. So a member's view is a matter of arithmetic: its
// own namespace's numbers lose the index, those of namespaces below stay as they are (they are no one else's), the rest is 0.
// The calls of a member are diverted (syscall/divert.c): numbers among their arguments and results are translated by table.
// Locks: pid_lock (pid.c) guards a namespace's numbers, tasklist its reaper; lists_lock (leaf) the table of namespaces.
#include "kernel/task/pidns.h"
#include "kernel/include/alloc.h"
#include "kernel/include/kstring.h"

#define SPACES 64
#define SLOTS 256 // numbers made room for at a time

struct pid_ns {
	struct ns ns;
	struct pid_ns *parent;		// a reference; NULL: the first namespace
	u32 index;
	int last, high;			// given last; highest ever
	bool dying;			// its first process ends: no more numbers
	struct proc *reaper;		// number 1
	struct pid_slot *slots[PID_MAX / SLOTS];
};

static struct pid_ns init_pid_ns_body = {.ns = {.ref = {1}, .type = CLONE_NEWPID, .inum = 4026531836ul}};
static struct pid_ns *spaces[SPACES]; // [0] stays NULL
static struct mutex lists_lock;

static struct pid_ns *space(int pid) { return pid < PID_MAX ? NULL : __atomic_load_n(&spaces[pid / PID_MAX % SPACES], __ATOMIC_ACQUIRE); }

struct ns *pid_ns_new(void)
{
	struct proc *p = curproc;
	struct pid_ns *n = NULL, *up = p->pid_children ? container_of(p->pid_children, struct pid_ns, ns) : space(current->tid);
	u32 i = 1;

	mutex_lock(&lists_lock);
	while (i < SPACES && spaces[i] && spaces[i]->ns.ref.n)
		i++;
	if (i < SPACES && !(n = spaces[i]))
		n = knew(struct pid_ns);
	if (n) {
		n->ns = (struct ns){.ref = {1}, .type = CLONE_NEWPID, .inum = ns_inum()};
		n->parent = up;
		n->index = i;
		n->last = n->high = 0;
		n->dying = false;
		n->reaper = NULL;
		__atomic_store_n(&spaces[i], n, __ATOMIC_RELEASE);
	}
	mutex_unlock(&lists_lock);
	if (!n)
		return ERR_PTR(i < SPACES ? -ENOMEM : -ENOSPC);
	if (up)
		ref_get(&up->ns.ref);
	pid_divert_init();
	return &n->ns;
}

// The memory stays for the next one: whoever looks for a number may be looking here.
void pid_ns_put(struct ns *ns)
{
	struct pid_ns *n = ns ? container_of(ns, struct pid_ns, ns) : NULL, *up;

	for (; n && n->index; n = up) {
		up = n->parent;
		struct user_ns *owner = n->ns.owner;
		if (!ref_put(&n->ns.ref))
			break;
		user_ns_put(owner);
	}
}

struct ns *pid_ns_of(int pid)
{
	struct pid_ns *n = space(pid);

	return n ? &n->ns : &init_pid_ns_body.ns;
}

struct pid_slot *pid_slot(int pid)
{
	struct pid_ns *n = pid > 0 && pid < SPACES * PID_MAX ? space(pid) : NULL;
	struct pid_slot *page = n ? __atomic_load_n(&n->slots[pid % PID_MAX / SLOTS], __ATOMIC_ACQUIRE) : NULL;

	return page ? &page[pid % SLOTS] : NULL;
}

static struct pid_slot *slot_for(struct pid_ns *n, int local)
{
	struct pid_slot **page = &n->slots[local / SLOTS];

	if (!*page) {
		struct pid_slot *p = kzalloc(SLOTS * sizeof(**page));
		if (!p)
			return NULL;
		__atomic_store_n(page, p, __ATOMIC_RELEASE);
	}
	return &(*page)[local % SLOTS];
}

int pid_ns_alloc(struct ns *ns, int wish)
{
	struct pid_ns *n = container_of(ns, struct pid_ns, ns);
	int local = wish ? wish - 1 : n->last;
	struct pid_slot *s;

	if (n->dying || (n->high && !n->reaper))
		return -ENOMEM;
	for (int i = 1; i < PID_MAX; i++) {
		if (++local >= PID_MAX)
			local = 300;
		s = slot_for(n, local);
		if (!s)
			return -ENOMEM;
		if (s->uses && wish)
			return -EEXIST;
		if (s->uses)
			continue;
		s->uses = 1;
		ref_get(&n->ns.ref);
		n->last = wish ? n->last : local;
		n->high = max(n->high, local);
		return (int)n->index * PID_MAX + local;
	}
	return -EAGAIN;
}

int pid_spaces_for_each(int (*fn)(struct proc *, void *), void *arg)
{
	int r = 0;

	for (int i = 1; i < SPACES && !r; i++) {
		struct pid_ns *n = spaces[i];
		for (int k = 1; n && k <= n->high && !r; k++) {
			struct pid_slot *s = pid_slot(i * PID_MAX + k);
			if (s && s->proc)
				r = fn(s->proc, arg);
		}
	}
	return r;
}

// --- who sees what

static bool below(int index, int top)
{
	struct pid_ns *n = spaces[index];

	for (; n; n = n->parent)
		if ((int)n->index == top)
			return true;
	return !top;
}

int pid_out_slow(int pid)
{
	int mine = current->tid / PID_MAX, its = pid / PID_MAX;

	if (pid <= 0)
		return pid;
	return its == mine ? pid % PID_MAX : below(its, mine) ? pid : 0;
}

int pid_in_slow(int pid)
{
	int mine = current->tid / PID_MAX;

	if (pid < 0)
		return pid == -1 || pid == (int)0x80000000 ? pid : -pid_in_slow(-pid);
	if (!pid)
		return 0;
	if (pid < PID_MAX)
		return mine * PID_MAX + pid;
	return pid < SPACES * PID_MAX && below(pid / PID_MAX, mine) ? pid : PID_NOBODY;
}

bool pid_visible(int pid) { return current->tid < PID_MAX || pid_out_slow(pid); }
bool pid_ns_below(struct ns *ns)
{
	struct pid_ns *n = container_of(ns, struct pid_ns, ns);

	return below((int)n->index, current->tid / PID_MAX);
}

void pid_fix_info(siginfo_t *info)
{
	int c = info->si_code;

	if (c == SI_USER || c == SI_QUEUE || c == SI_MESGQ || c == SI_TKILL || (info->si_signo == SIGCHLD && c > 0)) {
		info->si_pid = pid_out(info->si_pid);
		info->si_uid = uid_out(info->si_uid);
	}
}

// --- the first process of a namespace

void pid_ns_born(struct proc *p)
{
	struct pid_ns *n = space(p->pid);

	if (n && p->pid % PID_MAX == 1)
		n->reaper = p;
}

// The host refused a process to p: the next one is the first.
void pid_ns_unborn(struct proc *p)
{
	struct pid_ns *n = space(p->pid);

	if (n && n->reaper == p) {
		n->reaper = NULL;
		n->last = n->high = 0;
	}
}

struct proc *pid_reaper(const struct proc *p)
{
	struct pid_ns *n = space(p->pid);

	while (n && (!n->reaper || n->reaper == p))
		n = n->parent;
	return n ? n->reaper : init_proc;
}

struct proc *pid_first(const struct proc *p)
{
	struct pid_ns *n = space(p->pid);

	return n ? n->reaper : init_proc;
}

bool pid_is_reaper(const struct proc *p)
{
	struct pid_ns *n = space(p->pid);

	return n && n->reaper == p;
}

struct ending {
	struct proc *first;
	u32 left;
};

// tasklist held: no zombie is reaped here while the tables are walked.
static int end_one(struct proc *p, void *arg)
{
	struct ending *e = arg;

	if (p == e->first || !below(p->pid / PID_MAX, e->first->pid / PID_MAX))
		return 0;
	if (p->state < PROC_ZOMBIE) {
		signal_send_proc(p, SIGKILL, NULL);
		e->left++;
	} else if (p->parent == e->first) {
		e->left++;
	}
	return 0;
}

// All others get SIGKILL, and those that are left to it are reaped, before the first process itself ends.
void pid_ns_end(struct proc *p)
{
	struct pid_ns *n = space(p->pid);
	struct proc *c, *tmp;

	n->dying = true;
	for (;;) {
		struct ending e = {.first = p};
		u32 seq = task_seq();

		proc_for_each(end_one, &e);
		if (!e.left)
			break;
		mutex_lock(&tasklist);
		list_for_each_safe (c, tmp, &p->children, sibling)
			if (c->state == PROC_ZOMBIE && !ptrace_holds(c))
				proc_reap(c);
		mutex_unlock(&tasklist);
		task_sleep_uninterruptible(seq, ktime_deadline(5000000));
	}
	mutex_lock(&tasklist);
	n->reaper = NULL;
	mutex_unlock(&tasklist);
}

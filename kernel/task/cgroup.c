// SPDX-License-Identifier: Apache-2.0
// Control groups: the tree, who is in which group, the number of tasks (pids.max), and word of changes.
// Locks: tasklist, but for cgroup_notify, which takes what inotify and wait queues take.
#include "kernel/include/cgroup.h"
#include "kernel/fs/fs.h"
#include "kernel/include/alloc.h"
#include "kernel/include/count.h"
#include "kernel/task/internal.h"
#include "kernel/time/clock.h"

#define DESCENDANTS_MOST 10000u // the kernel's own memory is the enclave's

struct cgroup root_cgroup = {.ref = {1}, .children = LIST_INIT(root_cgroup.children), .sibling = LIST_INIT(root_cgroup.sibling), .id = 1,
	.news = LIST_INIT(root_cgroup.news), .max_depth = CG_MAX, .max_descendants = CG_MAX, .pids_max = CG_MAX, .quota_us = CG_MAX,
	.period_us = 100000, .mem_max = CG_MAX, .mem_high = CG_MAX, .wq = {.waiters = LIST_INIT(root_cgroup.wq.waiters)}};
static struct list news = LIST_INIT(news);
bool cgroup_news_waiting;

bool cgroup_under(const struct cgroup *g, const struct cgroup *top)
{
	while (g && g != top)
		g = g->parent;
	return g;
}

void cgroup_put(struct cgroup *g)
{
	while (g && g->parent && ref_put(&g->ref)) {
		struct cgroup *up = g->parent;

		for (struct cgroup *a = up; a; a = a->parent)
			__atomic_fetch_sub(&a->ndying, 1, __ATOMIC_RELAXED);
		COUNT(cgroups, -1);
		kfree(g->name);
		kfree(g);
		g = up;
	}
}

struct cgroup *cgroup_get_of(struct proc *p)
{
	struct cgroup *g;

	mutex_lock(&tasklist);
	g = cgroup_of(p);
	cgroup_get(g);
	mutex_unlock(&tasklist);
	return g;
}

struct cgroup *cgroup_next(struct cgroup *g)
{
	if (!list_empty(&g->children))
		return list_first(&g->children, struct cgroup, sibling);
	while (g->parent && g->sibling.next == &g->parent->children)
		g = g->parent;
	return g->parent ? list_first(&g->sibling, struct cgroup, sibling) : NULL;
}

static int room_below(const struct cgroup *g)
{
	u64 level = 1;

	if (root_cgroup.ndescendants + root_cgroup.ndying >= DESCENDANTS_MOST)
		return -EAGAIN;
	for (; g; g = g->parent, level++)
		if (g->ndescendants >= g->max_descendants || level > g->max_depth)
			return -EAGAIN;
	return 0;
}

struct cgroup *cgroup_new(struct cgroup *parent, const char *name, u32 len, int *err)
{
	static u64 last_id = 1000;
	struct cgroup *g = knew(struct cgroup);

	*err = -ENOMEM;
	if (!g || !(g->name = kstrndup(name, len))) {
		kfree(g);
		return NULL;
	}
	ref_init(&g->ref, 2);
	list_init(&g->children);
	list_init(&g->sibling);
	list_init(&g->news);
	waitq_init(&g->wq);
	g->max_depth = g->max_descendants = g->pids_max = g->quota_us = g->mem_max = g->mem_high = g->swap_max = CG_MAX;
	g->period_us = 100000;
	g->weight = 100;
	mutex_lock(&tasklist);
	*err = parent->dead ? -ENOENT : room_below(parent);
	if (!*err) {
		g->id = last_id += 2 * CG_FILES;
		g->level = parent->level + 1;
		g->parent = parent;
		cgroup_get(parent);
		list_add_tail(&g->sibling, &parent->children);
		for (struct cgroup *a = parent; a; a = a->parent)
			a->ndescendants++;
		COUNT(cgroups, 1);
		if (cgroup_freezing(g))
			cgroup_settle();
	}
	mutex_unlock(&tasklist);
	if (*err) {
		kfree(g->name);
		kfree(g);
		return NULL;
	}
	return g;
}

int cgroup_remove(struct cgroup *g)
{
	int r = -EBUSY;

	mutex_lock(&tasklist);
	if (list_empty(&g->children) && !g->live) {
		r = 0;
		g->dead = true;
		list_del(&g->sibling);
		for (struct cgroup *a = g->parent; a; a = a->parent) {
			a->ndescendants--;
			__atomic_fetch_add(&a->ndying, 1, __ATOMIC_RELAXED);
		}
		if (g->freeze)
			cgroup_freezes--;
		g->freeze = false;
		if (cgroup_freezes)
			cgroup_settle();
	}
	mutex_unlock(&tasklist);
	return r;
}

// --- controllers

u32 cgroup_controllers(const struct cgroup *g) { return g->parent ? g->parent->control : CG_ALL; }

static bool populated_child(const struct cgroup *g)
{
	struct cgroup *c;

	list_for_each (c, &g->children, sibling)
		if (c->live)
			return true;
	return false;
}

// As Linux: processes of the group itself would compete with those of its children. Its controllers of threads do not mind.
int cgroup_may_enter(const struct cgroup *g)
{
	if (g->dead)
		return -ENODEV;
	if (cgroup_is_root(g) || (!(g->control & ~CG_THREADED) && !populated_child(g)))
		return 0;
	return g->control ? -EBUSY : 0;
}

// A controller that a group loses takes its settings along.
static void no_limits(struct cgroup *g, u32 of)
{
	if (of & CG_PIDS)
		g->pids_max = CG_MAX;
	if (of & CG_CPU) {
		g->quota_us = CG_MAX;
		g->weight = 100;
	}
	if (of & CG_CPUSET)
		g->cpus = 0;
	if (of & CG_MEMORY) {
		g->mem_max = g->mem_high = g->swap_max = CG_MAX;
		g->mem_low = g->mem_min = 0;
		g->oom_group = false;
	}
}

int cgroup_control(struct cgroup *g, u32 on, u32 off)
{
	struct cgroup *c;
	u32 used = 0;

	on &= ~g->control;
	off &= g->control;
	if (g->dead)
		return -ENODEV;
	if (on & ~cgroup_controllers(g))
		return -ENOENT;
	list_for_each (c, &g->children, sibling)
		used |= c->control;
	if (off & used)
		return -EBUSY;
	if (on && !cgroup_is_root(g) && g->procs && ((on | g->control) & ~CG_THREADED || populated_child(g)))
		return -EBUSY;
	g->control = (g->control | on) & ~off;
	list_for_each (c, &g->children, sibling)
		no_limits(c, off);
	return 0;
}

// --- paths

static size_t prepend(char *buf, size_t at, const char *s, size_t n)
{
	n = min(n, at);
	memcpy(buf + at - n, s, n);
	return at - n;
}

const char *cgroup_path(const struct cgroup *g, char *buf, size_t n)
{
	const struct cgroup *top = cgroup_ns_root(), *common = top;
	size_t at = n - 1;

	buf[at] = 0;
	while (!cgroup_under(g, common))
		common = common->parent;
	for (; g != common; g = g->parent) {
		at = prepend(buf, at, g->name, strlen(g->name));
		at = prepend(buf, at, "/", 1);
	}
	for (; top != common; top = top->parent)
		at = prepend(buf, at, "/..", 3);
	if (at == n - 1)
		at = prepend(buf, at, "/", 1);
	return buf + at;
}

// --- members. Those of the root are not counted: they are all others.

static void count_live(struct cgroup *g, int by)
{
	if (g->parent)
		g->procs += (u32)by;
	for (; g->parent; g = g->parent) {
		u32 was = g->live;

		g->live += (u32)by;
		if (!was == !g->live)
			continue;
		cgroup_tell(g, CG_EV_EVENTS);
		if (!was && cgroup_has_limit(g))
			cgroup_limits_watch();
	}
}

static void count_tasks(struct cgroup *g, s64 by)
{
	for (; g->parent; g = g->parent) {
		g->tasks += (u64)by;
		g->pids_peak = max(g->pids_peak, g->tasks);
	}
}

static int room_for_task(struct cgroup *g)
{
	while (g->parent && g->tasks < g->pids_max)
		g = g->parent;
	if (!g->parent)
		return 0;
	for (; g->parent; g = g->parent) { // those above hear of it, too
		g->pids_hits++;
		cgroup_tell(g, CG_EV_PIDS);
	}
	return -EAGAIN;
}

// What a new task of this group has to do before it runs.
static void born(struct task *t, struct cgroup *g)
{
	u32 work = (cgroup_freezing(g) ? WORK_FREEZE : 0) | (cgroup_throttling(g) ? WORK_THROTTLE : 0);

	t->cpu_mask = cgroup_wish(g, t->cpu_wish);
	if (work)
		__atomic_fetch_or(&t->work, work, __ATOMIC_SEQ_CST);
}

int cgroup_fork(struct proc *p, struct task *t, struct cgroup *g)
{
	int r = g->dead ? -ENODEV : room_for_task(g);

	if (r || cgroup_is_root(g))
		return r;
	cgroup_get(g);
	p->cgroup = g;
	count_tasks(g, 1);
	count_live(g, 1);
	born(t, g);
	return 0;
}

void cgroup_unfork(struct proc *p)
{
	count_live(p->cgroup, -1);
	if (cgroup_freezes)
		cgroup_settle();
}

int cgroup_thread(struct proc *p, struct task *t)
{
	int r = room_for_task(p->cgroup);

	if (r)
		return r;
	count_tasks(p->cgroup, 1);
	born(t, p->cgroup);
	return 0;
}

void cgroup_thread_left(struct proc *p)
{
	count_tasks(p->cgroup, -1);
	if (cgroup_freezes)
		cgroup_settle();
}

// The CPU time of p since it came is its group's for ever.
static void leave_time(struct proc *p)
{
	u64 u, s;

	proc_cpu_ns_locked(p, &u, &s);
	for (struct cgroup *g = p->cgroup; g && g->parent; g = g->parent) {
		g->utime += u > p->cg_utime ? u - p->cg_utime : 0;
		g->stime += s > p->cg_stime ? s - p->cg_stime : 0;
	}
	p->cg_utime = u;
	p->cg_stime = s;
}

void cgroup_exit(struct proc *p)
{
	leave_time(p);
	count_live(p->cgroup, -1);
	if (cgroup_freezes)
		cgroup_settle();
}

void cgroup_reaped(struct proc *p)
{
	struct cgroup *g = p->cgroup;

	count_tasks(g, -1);
	p->cgroup = NULL;
	cgroup_put(g);
}

static s64 tasks_of(struct proc *p)
{
	struct task *t;
	s64 n = p->leader->dead;

	list_for_each (t, &p->threads, thread_link)
		n++;
	return n;
}

int cgroup_attach(struct cgroup *g, struct proc *p)
{
	struct cgroup *old = cgroup_of(p);
	s64 n;
	int r = cgroup_may_enter(g);

	if (r || g == old || p->state >= PROC_ZOMBIE)
		return r;
	n = tasks_of(p);
	leave_time(p);
	if (!cgroup_is_root(g))
		cgroup_get(g);
	p->cgroup = cgroup_is_root(g) ? NULL : g;
	count_tasks(old, -n);
	count_tasks(g, n);
	count_live(g, 1);
	count_live(old, -1);
	cgroup_follow(p);
	if (cgroup_freezes)
		cgroup_settle();
	cgroup_put(old);
	return 0;
}

struct walk {
	const struct cgroup *g;
	bool below;
	void (*fn)(struct proc *, void *);
	void *arg;
};

static int walk_one(struct proc *p, void *arg)
{
	struct walk *w = arg;

	if (w->below ? cgroup_under(cgroup_of(p), w->g) : cgroup_of(p) == w->g)
		w->fn(p, w->arg);
	return 0;
}

void cgroup_for_each(struct cgroup *g, bool below, void (*fn)(struct proc *, void *), void *arg)
{
	struct walk w = {g, below, fn, arg};

	proc_for_each(walk_one, &w);
}

static void add_time(struct proc *p, void *arg)
{
	u64 *sum = arg, u, s;

	if (p->state >= PROC_ZOMBIE)
		return; // counted as it ended
	proc_cpu_ns_locked(p, &u, &s);
	sum[0] += u > p->cg_utime ? u - p->cg_utime : 0;
	sum[1] += s > p->cg_stime ? s - p->cg_stime : 0;
}

void cgroup_cpu(const struct cgroup *g, u64 *utime, u64 *stime)
{
	u64 sum[2] = {0, 0};

	cgroup_for_each((struct cgroup *)g, true, add_time, sum);
	mutex_lock(&tasklist);
	*utime = g->utime + sum[0];
	*stime = g->stime + sum[1];
	mutex_unlock(&tasklist);
}

// --- word of changes

void cgroup_tell(struct cgroup *g, enum cg_event e)
{
	g->seq[e]++;
	if (list_empty(&g->news) && !g->dead) {
		cgroup_get(g);
		list_add_tail(&g->news, &news);
	}
	__atomic_store_n(&cgroup_news_waiting, true, __ATOMIC_RELAXED);
}

void cgroup_notify(void)
{
	for (;;) {
		struct cgroup *g = NULL;
		u32 which = 0;

		mutex_lock(&tasklist);
		if (list_empty(&news)) {
			__atomic_store_n(&cgroup_news_waiting, false, __ATOMIC_RELAXED);
		} else {
			g = list_first(&news, struct cgroup, news);
			list_del(&g->news);
			for (u32 e = 0; e < CG_EV_COUNT; e++) {
				which |= g->told[e] != g->seq[e] ? 1u << e : 0;
				g->told[e] = g->seq[e];
			}
		}
		mutex_unlock(&tasklist);
		if (!g)
			return;
		waitq_wake(&g->wq, 0);
		cgroup_tell_files(g, which);
		cgroup_put(g);
	}
}

// SPDX-License-Identifier: Apache-2.0
// Control groups, version 2 (Linux's Documentation/admin-guide/cgroup-v2.rst). The root group is all of the enclave; programs make others below
// it through the file system (kernel/fs/cgroupfs.c). A process outside of them all has no group (proc->cgroup NULL): it pays nothing.
// Locks: tasklist guards the tree, who is in which group, counts and settings. A group's inodes are guarded by their directories' locks.
#pragma once
#include "kernel/include/list.h"
#include "kernel/include/lock.h"
#include "kernel/include/task.h"

// Controllers, as bits of subtree_control
#define CG_CPUSET 1u
#define CG_CPU 2u
#define CG_MEMORY 4u
#define CG_PIDS 8u
#define CG_ALL 15u
#define CG_THREADED (CG_CPUSET | CG_CPU | CG_PIDS)	// those that Linux also gives to groups of threads

#define CG_FILES 48u
#define CG_MAX U64_MAX					// a limit that is none

enum cg_event { CG_EV_EVENTS, CG_EV_MEMORY, CG_EV_PIDS, CG_EV_COUNT }; // files that tell of a change

struct cgroup {
	struct ref ref;			// the tree's (until rmdir), inodes, processes, children, namespaces
	struct cgroup *parent;		// reference; NULL: the root
	struct list children, sibling;
	struct list news;		// in the list of those whose event files changed
	char *name;
	u64 id;				// inode number of its directory
	u32 level, ndescendants, ndying;
	u64 max_depth, max_descendants;
	u32 control;			// cgroup.subtree_control
	bool dead;			// removed
	bool freeze;			// cgroup.freeze
	bool frozen, moving;		// frozen: as cgroup.events says. moving: some task below still runs
	u32 procs, live;		// live processes: its own; of all below, too
	u64 tasks;			// of all below, zombies too
	u64 pids_max, pids_peak, pids_hits;

	u64 utime, stime;		// of processes below that are gone, or went elsewhere
	u64 quota_us, period_us;	// cpu.max
	u64 weight;			// cpu.weight, which the host does not hear of
	u64 period_ends, spent_at;	// ns; CPU time at the last look
	s64 left_ns;			// of this period's quota; below zero: used ahead
	u8 throttled;			// CG_BY_*
	u64 nperiods, nthrottled, throttled_ns, throttled_since;

	u64 mem_max, mem_high, mem_low, mem_min, swap_max; // bytes
	u64 mem_now, mem_peak, mem_files;	// pages: private memory at the last look; the most of both; files in memory
	int victim;			// of the memory thread, as the next: the process that it killed last
	u64 victim_until;
	u64 ev_high, ev_max, ev_oom, ev_kill, ev_group_kill;
	bool oom_group;

	u64 cpus;			// cpuset.cpus; 0: not set
	struct waitq wq;		// poll of its event files
	u32 seq[CG_EV_COUNT], told[CG_EV_COUNT];
	struct inode *dir, *file[CG_FILES]; // references, made at the first look; their attributes stay
};

extern struct cgroup root_cgroup;
static inline struct cgroup *cgroup_of(const struct proc *p) { return p->cgroup ? p->cgroup : &root_cgroup; }
static inline bool cgroup_is_root(const struct cgroup *g) { return !g->parent; }
bool cgroup_under(const struct cgroup *g, const struct cgroup *top);	// g is top or below it
static inline void cgroup_get(struct cgroup *g)
{
	if (g->parent) // the root stays, uncounted
		ref_get(&g->ref);
}
void cgroup_put(struct cgroup *g);
struct cgroup *cgroup_get_of(struct proc *p);	// a reference; takes tasklist
struct cgroup *cgroup_next(struct cgroup *g);	// all groups, from the root, parents first; NULL after the last. tasklist held

// --- kernel/task/cgroup.c; tasklist held where it says so
struct cgroup *cgroup_new(struct cgroup *parent, const char *name, u32 len, int *err);	// with two references: the tree's and the caller's
int cgroup_remove(struct cgroup *g);			// rmdir: -EBUSY; drops the tree's reference
u32 cgroup_controllers(const struct cgroup *g);		// cgroup.controllers
int cgroup_control(struct cgroup *g, u32 on, u32 off);	// cgroup.subtree_control
int cgroup_attach(struct cgroup *g, struct proc *p);	// -EBUSY, -ENODEV
int cgroup_may_enter(const struct cgroup *g);		// tasklist held
// /proc/PID/cgroup: the path as the caller's namespace shows it, in buf. tasklist held.
const char *cgroup_path(const struct cgroup *g, char *buf, size_t n);
// Those of p and its ancestors, one process more or less. tasklist held.
int cgroup_fork(struct proc *p, struct task *t, struct cgroup *g);	// the child is linked next; -EAGAIN
void cgroup_unfork(struct proc *p);					// it was not, or never ran: is none of live ones
int cgroup_thread(struct proc *p, struct task *t);			// one thread more; -EAGAIN
void cgroup_thread_left(struct proc *p);
void cgroup_exit(struct proc *p);		// becomes a zombie
void cgroup_reaped(struct proc *p);		// its number is free; drops its reference
void cgroup_cpu(const struct cgroup *g, u64 *utime, u64 *stime);	// takes tasklist
// The processes of g (and of those below it): fn under tasklist.
void cgroup_for_each(struct cgroup *g, bool below, void (*fn)(struct proc *, void *), void *arg);

extern bool cgroup_news_waiting;
void cgroup_tell(struct cgroup *g, enum cg_event e);	// its file has changed; tasklist held
void cgroup_notify(void);				// whoever waits hears of it; no locks held
void cgroup_tell_files(struct cgroup *g, u32 which);	// inotify hears of files whose bit (1 << enum cg_event) is set
static inline void cgroup_news(void)
{
	if (unlikely(__atomic_load_n(&cgroup_news_waiting, __ATOMIC_RELAXED)))
		cgroup_notify();
}

// --- kernel/task/cgroup_freeze.c
bool cgroup_freezing(const struct cgroup *g);		// it or one above; tasklist held
bool cgroup_throttling(const struct cgroup *g);
void cgroup_freeze(struct cgroup *g, bool on);
void cgroup_kill(struct cgroup *g);
void cgroup_settle(void);				// tells which groups stand still now; tasklist held
void cgroup_stand(struct task *t);			// WORK_FREEZE or WORK_THROTTLE of the current task
#define CG_BY_CPU 1u
#define CG_BY_MEMORY 2u
void cgroup_throttle(struct cgroup *g, u8 why, bool on);
void cgroup_follow(struct proc *p);			// its tasks do what their group's state asks; tasklist held
extern u32 cgroup_freezes;				// groups with `freeze` set

// --- kernel/task/cgroup_cpuset.c
u64 cgroup_cpus(const struct cgroup *g);		// cpuset.cpus.effective; tasklist held
void cgroup_set_cpus(struct cgroup *g, u64 cpus);
u64 cgroup_wish(const struct cgroup *g, u64 wish);	// what a task may use that asked for `wish`

// --- kernel/task/cgroup_limit.c
void cgroup_set_cpu_max(struct cgroup *g, u64 quota_us, u64 period_us);
void cgroup_set_memory(u64 *which, u64 bytes);	// mem_max, mem_high... of a group
u64 cgroup_private(struct cgroup *g, bool exact);	// pages of private memory now; asks the host: no locks held
bool cgroup_has_limit(const struct cgroup *g);
void cgroup_limits_watch(void);			// the memory thread is to look: a limit was set, or a group that has one is no longer empty
u64 cgroup_limits_tick(void);				// ms until the next look; of the memory thread

// --- namespaces (kernel/task/ns.c)
struct cgroup *cgroup_ns_root(void);			// of the current process; no reference
int cgroup_may_clone(struct cgroup *from, struct cgroup *to); // permissions of the caller on files of both
struct cgroup *cgroup_of_fd(int fd);			// kernel/fs/cgroupfs.c: a reference, ERR_PTR

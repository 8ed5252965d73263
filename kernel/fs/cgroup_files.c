// SPDX-License-Identifier: Apache-2.0
// What is in the files of a control group. The root shows the limits and figures of all of the enclave, as a container sees its own group, so
// that programs size themselves by it. Locks: tasklist while processes are listed and settings change.
#include "kernel/fs/cgroupfs.h"
#include "kernel/fs/fs.h"
#include "kernel/include/count.h"
#include "kernel/include/platform.h"
#include "kernel/mm/oom.h"
#include "kernel/task/limit.h"

static const struct {
	const char *name;
	u32 bit;
} controllers[] = {{"cpuset", CG_CPUSET}, {"cpu", CG_CPU}, {"memory", CG_MEMORY}, {"pids", CG_PIDS}};

static int put_controllers(struct pout *o, u32 bits)
{
	const char *sep = "";

	for (u32 i = 0; i < ARRAY_SIZE(controllers); i++)
		if (bits & controllers[i].bit) {
			pout(o, "%s%s", sep, controllers[i].name);
			sep = " ";
		}
	if (bits)
		pout(o, "\n");
	return 0;
}

static int has_controllers(struct pout *o, struct cgroup *g) { return put_controllers(o, cgroup_controllers(g)); }
static int subtree(struct pout *o, struct cgroup *g) { return put_controllers(o, g->control); }

// "+pids -memory"
static ssize_t subtree_write(struct cgroup *g, char *buf, size_t len)
{
	u32 on = 0, off = 0;
	int r;

	for (char *s = buf; *s;) {
		u32 bit = 0, n = 0;
		char sign = *s;

		if (sign == ' ') {
			s++;
			continue;
		}
		while (s[n] && s[n] != ' ')
			n++;
		for (u32 i = 0; i < ARRAY_SIZE(controllers); i++)
			if (strlen(controllers[i].name) == n - 1 && !strncmp(s + 1, controllers[i].name, n - 1))
				bit = controllers[i].bit;
		if (!bit || (sign != '+' && sign != '-'))
			return -EINVAL;
		on = sign == '+' ? on | bit : on & ~bit;
		off = sign == '-' ? off | bit : off & ~bit;
		s += n;
	}
	mutex_lock(&tasklist);
	r = cgroup_control(g, on, off);
	mutex_unlock(&tasklist);
	if (r)
		return r;
	cgroupfs_forget(g, on | off);
	if (off & CG_CPUSET)
		cgroup_set_cpus(g, g->cpus); // those below lost theirs
	return (ssize_t)len;
}

// --- members

static void put_proc(struct proc *p, void *arg)
{
	if (p->state < PROC_ZOMBIE)
		pout(arg, "%d\n", pid_out(p->pid));
}

static void put_threads(struct proc *p, void *arg)
{
	struct task *t;

	list_for_each (t, &p->threads, thread_link)
		pout(arg, "%d\n", pid_out(t->tid));
}

static int procs(struct pout *o, struct cgroup *g)
{
	cgroup_for_each(g, false, put_proc, o);
	return 0;
}

static int threads(struct pout *o, struct cgroup *g)
{
	cgroup_for_each(g, false, put_threads, o);
	return 0;
}

static int number(const char *s, u64 *v)
{
	const char *end;

	return kstrtou64(s, &end, v) || *end ? -EINVAL : 0;
}

// Any thread stands for its process.
static struct proc *proc_named(const char *s, int *err)
{
	struct task *t;
	struct proc *p;
	u64 pid;

	*err = -EINVAL;
	if (number(s, &pid) || pid > 0x7fffffff)
		return NULL;
	*err = -ESRCH;
	if (!pid) {
		ref_get(&curproc->ref);
		return curproc;
	}
	t = task_find(pid_in((int)pid));
	if (!t)
		return NULL;
	p = t->proc;
	ref_get(&p->ref);
	task_put(t);
	return p;
}

// Single threads move only below a group of threads, of which there are none.
ssize_t cgroup_write_procs(struct cgroup *g, const char *buf, size_t len, bool thread, const struct cg_opener *by)
{
	struct proc *p;
	struct cgroup *from;
	int r;

	p = proc_named(buf, &r);
	if (!p)
		return r;
	from = cgroup_get_of(p);
	r = cgroup_may_move(from, g, by);
	if (!r) {
		mutex_lock(&tasklist);
		r = !thread ? cgroup_attach(g, p) : cgroup_of(p) == g ? 0 : -EOPNOTSUPP;
		mutex_unlock(&tasklist);
	}
	cgroup_put(from);
	proc_put(p);
	return r ? r : (ssize_t)len;
}

// --- the group itself

static int type(struct pout *o, struct cgroup *g)
{
	(void)g;
	pout(o, "domain\n");
	return 0;
}

static ssize_t type_write(struct cgroup *g, char *buf, size_t len)
{
	(void)g, (void)len;
	return strcmp(buf, "threaded") ? -EINVAL : -EOPNOTSUPP;
}

static int events(struct pout *o, struct cgroup *g)
{
	mutex_lock(&tasklist);
	pout(o, "populated %d\nfrozen %d\n", cgroup_is_root(g) || g->live, g->frozen);
	mutex_unlock(&tasklist);
	return 0;
}

static int put_limit(struct pout *o, u64 v)
{
	if (v == CG_MAX)
		pout(o, "max\n");
	else
		pout(o, "%lu\n", v);
	return 0;
}

static int max_depth(struct pout *o, struct cgroup *g) { return put_limit(o, g->max_depth); }
static int max_descendants(struct pout *o, struct cgroup *g) { return put_limit(o, g->max_descendants); }

static int limit_of(const char *s, u64 most, u64 *v)
{
	int r = 0;

	if (!strcmp(s, "max"))
		*v = CG_MAX;
	else if (*s == '-')
		r = -ERANGE;
	else if (number(s, v))
		r = -EINVAL;
	else if (*v > most)
		r = -ERANGE;
	return r;
}

static ssize_t max_depth_write(struct cgroup *g, char *buf, size_t len)
{
	u64 v;
	int r = limit_of(buf, 0x7fffffff, &v);

	if (!r)
		g->max_depth = v;
	return r ? r : (ssize_t)len;
}

static ssize_t max_descendants_write(struct cgroup *g, char *buf, size_t len)
{
	u64 v;
	int r = limit_of(buf, 0x7fffffff, &v);

	if (!r)
		g->max_descendants = v;
	return r ? r : (ssize_t)len;
}

static int stat(struct pout *o, struct cgroup *g)
{
	pout(o, "nr_descendants %u\nnr_dying_descendants %u\n", g->ndescendants, __atomic_load_n(&g->ndying, __ATOMIC_RELAXED));
	return 0;
}

static int frozen(struct pout *o, struct cgroup *g)
{
	pout(o, "%d\n", g->freeze);
	return 0;
}

static int flag_of(const char *s, u64 *v)
{
	if (*s == '-' ? number(s + 1, v) : number(s, v))
		return -EINVAL;
	return *s == '-' || *v > 1 ? -ERANGE : 0;
}

static ssize_t freeze_write(struct cgroup *g, char *buf, size_t len)
{
	u64 v;
	int r = flag_of(buf, &v);

	if (r)
		return r;
	cgroup_freeze(g, v);
	return (ssize_t)len;
}

static ssize_t kill_write(struct cgroup *g, char *buf, size_t len)
{
	u64 v;
	int r = flag_of(buf, &v);

	if (r || !v)
		return r ? r : -ERANGE;
	cgroup_kill(g);
	return (ssize_t)len;
}

// --- pids

static int pids_max(struct pout *o, struct cgroup *g) { return put_limit(o, g->pids_max); }

static ssize_t pids_max_write(struct cgroup *g, char *buf, size_t len)
{
	u64 v;

	if (limit_of(buf, PID_MAX * 128ul, &v))
		return -EINVAL;
	mutex_lock(&tasklist);
	g->pids_max = v;
	mutex_unlock(&tasklist);
	return (ssize_t)len;
}

static int pids_current(struct pout *o, struct cgroup *g)
{
	pout(o, "%ld\n", cgroup_is_root(g) ? (s64)task_count : (s64)g->tasks);
	return 0;
}

static int pids_peak(struct pout *o, struct cgroup *g)
{
	pout(o, "%lu\n", g->pids_peak);
	return 0;
}

static int pids_events(struct pout *o, struct cgroup *g)
{
	pout(o, "max %lu\n", g->pids_hits);
	return 0;
}

// --- cpu

static int cpu_stat(struct pout *o, struct cgroup *g)
{
	u64 u, s;

	if (cgroup_is_root(g))
		proc_total_cpu(&u, &s);
	else
		cgroup_cpu(g, &u, &s);
	pout(o, "usage_usec %lu\nuser_usec %lu\nsystem_usec %lu\n", (u + s) / 1000, u / 1000, s / 1000);
	if (cgroup_controllers(g) & CG_CPU)
		pout(o, "nr_periods %lu\nnr_throttled %lu\nthrottled_usec %lu\n", g->nperiods, g->nthrottled, g->throttled_ns / 1000);
	return 0;
}

static int weight(struct pout *o, struct cgroup *g)
{
	pout(o, "%lu\n", g->weight);
	return 0;
}

static ssize_t weight_write(struct cgroup *g, char *buf, size_t len)
{
	u64 v;

	if (number(buf, &v))
		return -EINVAL;
	if (v < 1 || v > 10000)
		return -ERANGE;
	g->weight = v;
	return (ssize_t)len;
}

static int cpu_max(struct pout *o, struct cgroup *g)
{
	if (g->quota_us == CG_MAX)
		pout(o, "max %lu\n", g->period_us);
	else
		pout(o, "%lu %lu\n", g->quota_us, g->period_us);
	return 0;
}

// "max", "QUOTA" or either followed by a period, in microseconds.
static ssize_t cpu_max_write(struct cgroup *g, char *buf, size_t len)
{
	char *second = strchr(buf, ' ');
	u64 quota, period = g->period_us;

	if (second) {
		*second++ = 0;
		while (*second == ' ')
			second++;
		if (number(second, &period))
			return -EINVAL;
	}
	if (limit_of(buf, CG_MAX / 1000000, &quota) || period < 1000 || period > 1000000 || quota < 1000)
		return -EINVAL;
	cgroup_set_cpu_max(g, quota, period);
	return (ssize_t)len;
}

// --- cpuset

static u64 all_cpus(void) { return pf_ncpus() >= 64 ? U64_MAX : (1ul << pf_ncpus()) - 1; }

static int put_cpus(struct pout *o, u64 set)
{
	const char *sep = "";

	for (u32 i = 0, end; i < 64; i = end + 1) {
		end = i;
		if (!(set >> i & 1))
			continue;
		while (end < 63 && set >> (end + 1) & 1)
			end++;
		pout(o, end > i ? "%s%u-%u" : "%s%u", sep, i, end);
		sep = ",";
	}
	pout(o, "\n");
	return 0;
}

static int cpuset(struct pout *o, struct cgroup *g)
{
	if (cgroup_is_root(g))
		proc_cpu_range(o);
	else
		put_cpus(o, g->cpus);
	return 0;
}

static int cpuset_effective(struct pout *o, struct cgroup *g)
{
	u64 set;

	if (cgroup_is_root(g)) {
		proc_cpu_range(o);
		return 0;
	}
	mutex_lock(&tasklist);
	set = cgroup_cpus(g) & all_cpus();
	mutex_unlock(&tasklist);
	return put_cpus(o, set);
}

// "0-3,5"; nothing: as the group above.
static int cpus_of(const char *s, u64 *set)
{
	u64 a, b;

	for (*set = 0; *s;) {
		if (kstrtou64(s, &s, &a))
			return -EINVAL;
		b = a;
		if (*s == '-' && kstrtou64(s + 1, &s, &b))
			return -EINVAL;
		if (b < a || (*s && *s != ','))
			return -EINVAL;
		if (b > 63)
			return -ERANGE;
		*set |= (b == 63 ? U64_MAX : (1ul << (b + 1)) - 1) & ~((1ul << a) - 1);
		s += *s == ',';
	}
	return 0;
}

static ssize_t cpuset_write(struct cgroup *g, char *buf, size_t len)
{
	u64 set;
	int r = cpus_of(buf, &set);

	if (r || set & ~all_cpus())
		return r ? r : -EINVAL;
	cgroup_set_cpus(g, set);
	return (ssize_t)len;
}

static int mems(struct pout *o, struct cgroup *g)
{
	pout(o, cgroup_is_root(g) ? "0\n" : "\n");
	return 0;
}

static int mems_effective(struct pout *o, struct cgroup *g)
{
	(void)g;
	pout(o, "0\n");
	return 0;
}

static ssize_t mems_write(struct cgroup *g, char *buf, size_t len)
{
	(void)g;
	return !*buf || !strcmp(buf, "0") ? (ssize_t)len : -EINVAL; // there is one node
}

// --- memory

static u64 held(struct cgroup *g) { return (cgroup_private(g, false) + g->mem_files) << PAGE_SHIFT; }

// A page less than MemTotal: runtimes (the JVM) take a limit that is not below the machine's memory for none.
static int mem_max(struct pout *o, struct cgroup *g) { return put_limit(o, cgroup_is_root(g) ? (page_count_total() - 1) << PAGE_SHIFT : g->mem_max); }
static int mem_high(struct pout *o, struct cgroup *g) { return put_limit(o, g->mem_high); }
static int mem_low(struct pout *o, struct cgroup *g) { return put_limit(o, g->mem_low); }
static int mem_min(struct pout *o, struct cgroup *g) { return put_limit(o, g->mem_min); }
static int swap_max(struct pout *o, struct cgroup *g) { return put_limit(o, g->swap_max); }

static int mem_current(struct pout *o, struct cgroup *g)
{
	struct memory m;

	if (cgroup_is_root(g)) {
		memory_now(&m);
		pout(o, "%lu\n", (m.total - m.free) << PAGE_SHIFT);
	} else {
		pout(o, "%lu\n", held(g));
	}
	return 0;
}

static int mem_peak(struct pout *o, struct cgroup *g)
{
	struct memory m;

	if (cgroup_is_root(g)) {
		memory_now(&m);
		pout(o, "%lu\n", max(oom_counts.peak, m.total - m.free) << PAGE_SHIFT);
	} else {
		held(g);
		pout(o, "%lu\n", g->mem_peak << PAGE_SHIFT);
	}
	return 0;
}

static int mem_stat(struct pout *o, struct cgroup *g)
{
	struct memory m = {0};

	if (cgroup_is_root(g)) {
		memory_now(&m);
	} else {
		m.anon = cgroup_private(g, false);
		m.shared = g->mem_files;
	}
#define LINE(name, pages) pout(o, name " %lu\n", (u64)(pages) << PAGE_SHIFT)
	LINE("anon", m.anon);
	LINE("file", m.file + m.shared);
	LINE("kernel", m.kernel + m.slab);
	LINE("kernel_stack", 0);
	LINE("pagetables", 0);
	LINE("shmem", m.shared);
	LINE("file_mapped", 0);
	LINE("file_dirty", m.dirty);
	LINE("file_writeback", 0);
	LINE("swapcached", 0);
	LINE("anon_thp", 0);
	LINE("inactive_anon", m.shared);
	LINE("active_anon", m.anon);
	LINE("inactive_file", m.file);
	LINE("active_file", 0);
	LINE("unevictable", 0);
	LINE("slab_reclaimable", 0);
	LINE("slab_unreclaimable", m.slab);
	LINE("slab", m.slab);
	return 0;
}

static int mem_events(struct pout *o, struct cgroup *g)
{
	if (cgroup_is_root(g))
		pout(o, "low 0\nhigh 0\nmax %lu\noom %lu\noom_kill %lu\noom_group_kill 0\n", oom_counts.oom, oom_counts.oom, oom_counts.killed);
	else
		pout(o, "low 0\nhigh %lu\nmax %lu\noom %lu\noom_kill %lu\noom_group_kill %lu\n", g->ev_high, g->ev_max, g->ev_oom, g->ev_kill,
		     g->ev_group_kill);
	return 0;
}

// Bytes, with K, M, G or T; "max".
static int bytes_of(const char *s, u64 *v)
{
	const char *end, *units = "KMGT", *u;
	u32 shift = 0;

	if (!strcmp(s, "max")) {
		*v = CG_MAX;
		return 0;
	}
	if (kstrtou64(s, &end, v))
		return -EINVAL;
	if (*end && (u = strchr(units, *end >= 'a' ? *end - 32 : *end))) {
		shift = 10 * (u32)(u - units + 1);
		end++;
	}
	if (*end || (shift && *v >> (64 - shift)))
		return -EINVAL;
	*v = *v << shift & ~(PAGE_SIZE - 1);
	return 0;
}

#define MEMORY_WRITE(name, member) \
	static ssize_t name(struct cgroup *g, char *buf, size_t len) \
	{ \
		u64 v; \
		int r = bytes_of(buf, &v); \
		if (!r) \
			cgroup_set_memory(&g->member, v); \
		return r ? r : (ssize_t)len; \
	}
MEMORY_WRITE(mem_max_write, mem_max)
MEMORY_WRITE(mem_high_write, mem_high)
MEMORY_WRITE(mem_low_write, mem_low) // nothing of a group is ever taken back, protected or not
MEMORY_WRITE(mem_min_write, mem_min)
MEMORY_WRITE(swap_max_write, swap_max) // nothing is ever swapped

static int oom_group(struct pout *o, struct cgroup *g)
{
	pout(o, "%d\n", g->oom_group);
	return 0;
}

static ssize_t oom_group_write(struct cgroup *g, char *buf, size_t len)
{
	u64 v;

	if (flag_of(buf, &v))
		return -EINVAL;
	g->oom_group = v;
	return (ssize_t)len;
}

static int zero(struct pout *o, struct cgroup *g)
{
	(void)g;
	pout(o, "0\n");
	return 0;
}

static int hundred(struct pout *o, struct cgroup *g)
{
	(void)g;
	pout(o, "100\n");
	return 0;
}

#define BOTH (CG_ON_ROOT | CG_BELOW)
#define RO 0444
#define RW 0644
const struct cfile cgroup_files[] = {
	{"cgroup.controllers", RO, BOTH, 0, has_controllers, NULL, 0},
	{"cgroup.subtree_control", RW, BOTH, 0, subtree, subtree_write, 0},
	{"cgroup.procs", RW, BOTH | CG_MOVES, 0, procs, NULL, 0},
	{"cgroup.threads", RW, BOTH | CG_MOVES | CG_MOVES_THREAD, 0, threads, NULL, 0},
	{"cgroup.type", RO, CG_ON_ROOT, 0, type, NULL, 0},
	{"cgroup.type", RW, CG_BELOW, 0, type, type_write, 0},
	{"cgroup.events", RO, BOTH, 0, events, NULL, 1 + CG_EV_EVENTS},
	{"cgroup.max.depth", RW, BOTH, 0, max_depth, max_depth_write, 0},
	{"cgroup.max.descendants", RW, BOTH, 0, max_descendants, max_descendants_write, 0},
	{"cgroup.stat", RO, BOTH, 0, stat, NULL, 0},
	{"cgroup.freeze", RW, CG_BELOW, 0, frozen, freeze_write, 0},
	{"cgroup.kill", 0200, CG_BELOW, 0, NULL, kill_write, 0},
	{"cpu.stat", RO, BOTH, 0, cpu_stat, NULL, 0},
	{"cpu.max", RO, CG_ON_ROOT, CG_CPU, cpu_max, NULL, 0},
	{"cpu.max", RW, CG_BELOW, CG_CPU, cpu_max, cpu_max_write, 0},
	{"cpu.weight", RO, CG_ON_ROOT, CG_CPU, hundred, NULL, 0},
	{"cpu.weight", RW, CG_BELOW, CG_CPU, weight, weight_write, 0},
	{"cpuset.cpus", RO, CG_ON_ROOT, CG_CPUSET, cpuset, NULL, 0},
	{"cpuset.cpus", RW, CG_BELOW, CG_CPUSET, cpuset, cpuset_write, 0},
	{"cpuset.cpus.effective", RO, BOTH, CG_CPUSET, cpuset_effective, NULL, 0},
	{"cpuset.mems", RO, CG_ON_ROOT, CG_CPUSET, mems, NULL, 0},
	{"cpuset.mems", RW, CG_BELOW, CG_CPUSET, mems, mems_write, 0},
	{"cpuset.mems.effective", RO, BOTH, CG_CPUSET, mems_effective, NULL, 0},
	{"memory.current", RO, BOTH, CG_MEMORY, mem_current, NULL, 0},
	{"memory.peak", RO, BOTH, CG_MEMORY, mem_peak, NULL, 0},
	{"memory.stat", RO, BOTH, CG_MEMORY, mem_stat, NULL, 0},
	{"memory.events", RO, BOTH, CG_MEMORY, mem_events, NULL, 1 + CG_EV_MEMORY},
	{"memory.max", RO, CG_ON_ROOT, CG_MEMORY, mem_max, NULL, 0},
	{"memory.max", RW, CG_BELOW, CG_MEMORY, mem_max, mem_max_write, 0},
	{"memory.high", RO, CG_ON_ROOT, CG_MEMORY, mem_high, NULL, 0},
	{"memory.high", RW, CG_BELOW, CG_MEMORY, mem_high, mem_high_write, 0},
	{"memory.low", RO, CG_ON_ROOT, CG_MEMORY, mem_low, NULL, 0},
	{"memory.low", RW, CG_BELOW, CG_MEMORY, mem_low, mem_low_write, 0},
	{"memory.min", RO, CG_ON_ROOT, CG_MEMORY, mem_min, NULL, 0},
	{"memory.min", RW, CG_BELOW, CG_MEMORY, mem_min, mem_min_write, 0},
	{"memory.oom.group", RO, CG_ON_ROOT, CG_MEMORY, zero, NULL, 0},
	{"memory.oom.group", RW, CG_BELOW, CG_MEMORY, oom_group, oom_group_write, 0},
	{"memory.swap.current", RO, BOTH, CG_MEMORY, zero, NULL, 0},
	{"memory.swap.max", RO, CG_ON_ROOT, CG_MEMORY, zero, NULL, 0},
	{"memory.swap.max", RW, CG_BELOW, CG_MEMORY, swap_max, swap_max_write, 0},
	{"pids.max", RO, CG_ON_ROOT, CG_PIDS, pids_max, NULL, 0},
	{"pids.max", RW, CG_BELOW, CG_PIDS, pids_max, pids_max_write, 0},
	{"pids.current", RO, BOTH, CG_PIDS, pids_current, NULL, 0},
	{"pids.peak", RO, CG_BELOW, CG_PIDS, pids_peak, NULL, 0},
	{"pids.events", RO, BOTH, CG_PIDS, pids_events, NULL, 1 + CG_EV_PIDS},
};
const u32 cgroup_nfiles = ARRAY_SIZE(cgroup_files);
_Static_assert(ARRAY_SIZE(cgroup_files) <= CG_FILES, "struct cgroup has room for an inode each");

bool cgroup_file_there(const struct cfile *f, const struct cgroup *g)
{
	return f->where & (cgroup_is_root(g) ? CG_ON_ROOT : CG_BELOW) && (!f->controller || cgroup_controllers(g) & f->controller);
}

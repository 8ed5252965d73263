// SPDX-License-Identifier: Apache-2.0
// The enclave's memory limit over all: pages of the kernel (page.c) and programs' private memory, which the host hands out
// without asking. A kernel thread asks the host how much that is, the more often the nearer the limit; what it
// takes is no longer free for the kernel. When little is left, file caches shrink; when that does not help, the process with the highest
// score is killed. The host may lie about the figure and thereby kill programs, as it can anyway.
// The same thread looks after the limits of control groups (task/cgroup_limit.c).
// Locks: tasklist while a victim is looked for.
#include "kernel/include/cgroup.h"
#include "kernel/include/kstring.h"
#include "kernel/include/ktime.h"
#include "kernel/include/log.h"
#include "kernel/include/platform.h"
#include "kernel/include/task.h"
#include "kernel/include/vfs.h"
#include "kernel/mm/oom.h"
#include "kernel/mm/page.h"
#include "kernel/net/sendcache.h"

#define PAGES_PER_MS 1024	// how fast two CPUs can touch fresh memory, about
#define SHORTEST_MS 10ul
#define LONGEST_MS 1000ul
#define COST_SHARE 20		// asking takes at most this part of the time
#define COST_MOST_MS 250ul	// but on a machine that is late with everything, this is late enough
#define FRESH_NS 20000000ul
#define VICTIM_MS 2000ul		// for a victim to die
#define LEFT_MS 100ul		// for the host to take back what a process had that has ended
#define ALIKE_PAGES 1024ul	// processes that differ by less are equally large

struct oom_counts oom_counts;
static u64 sampled_at, left_at;

static bool tight(u64 spare) { return page_count_free() < spare; }

// Takes a new figure. What forks share counts many times in the cheap one, so near the limit the exact one is asked for.
static void sample(void)
{
	u64 held = page_count_held();
	long n = pf_private_pages(false);

	if (n >= 0 && held + (u64)n + 4 * page_reserve > page_count_total())
		n = pf_private_pages(true);
	if (n >= 0) {
		__atomic_store_n(&page_emergency, held + (u64)n + page_reserve > page_count_total(), __ATOMIC_RELAXED);
		page_set_outside((u64)n);
		if (held + (u64)n > oom_counts.peak)
			oom_counts.peak = min(held + (u64)n, page_count_total());
		__atomic_store_n(&sampled_at, ktime_mono(), __ATOMIC_RELAXED);
	}
}

void memory_refresh(void)
{
	static u32 busy;

	if (ktime_mono() - __atomic_load_n(&sampled_at, __ATOMIC_RELAXED) < FRESH_NS || __atomic_exchange_n(&busy, 1, __ATOMIC_ACQUIRE))
		return;
	sample();
	__atomic_store_n(&busy, 0, __ATOMIC_RELEASE);
}

// The current process ends. When memory is short, what it held is given back now, not some time after its parent knows.
void memory_leave(const struct mm *mm)
{
	if (!tight(16 * page_reserve))
		return;
	__atomic_store_n(&left_at, ktime_mono(), __ATOMIC_RELAXED);
	if (mm->total_pages < page_reserve / 2)
		return;
	pf_reset_address_space();
	memory_refresh(); // one that ends beside us may be asking already: a thousand that end are not a thousand questions
}

// --- the victim

s64 oom_badness(struct proc *p, const struct pf_usage *u)
{
	if (p->oom_score_adj == -1000)
		return 0;
	return (s64)u->anon + (s64)p->oom_score_adj * (s64)(page_count_total() / 1000);
}

u32 oom_score(struct proc *p, const struct pf_usage *u)
{
	s64 points = p->oom_score_adj == -1000 ? -1000 : oom_badness(p, u) * 1000 / (s64)page_count_total();

	return points <= -1000 ? 0 : (u32)((1000 + points) * 2 / 3);
}

struct next {
	int after, pid;
	const struct cgroup *in; // NULL: all
};

static int first_after(struct proc *p, void *arg)
{
	struct next *n = arg;

	if (p->pid <= n->after || p->state >= PROC_ZOMBIE || (n->in && !cgroup_under(cgroup_of(p), n->in)))
		return 0;
	n->pid = p->pid;
	return 1;
}

// The process with the highest badness, with a reference; its private pages in *pages. Of those that are about as bad it is the one that
// was started last: where one family of processes takes everything, a member of it and not somebody who was there before.
static struct proc *victim(const struct cgroup *in, u64 *pages)
{
	struct next n = { .after = 1, .in = in }; // never pid 1
	struct proc *worst = NULL;
	s64 most = 0, of_worst = 0, alike = (s64)min(page_count_total() / 256, ALIKE_PAGES);

	for (; proc_for_each(first_after, &n); n.after = n.pid) {
		struct proc *p = proc_find(n.pid);
		struct pf_usage u;
		s64 bad;

		if (!p)
			continue;
		bad = pf_usage(p, NULL, &u) ? 0 : oom_badness(p, &u);
		most = max(most, bad);
		if (bad <= 0 || bad + alike < most || (worst && of_worst + alike >= most && p->start_ns < worst->start_ns)) {
			proc_put(p);
			continue;
		}
		if (worst)
			proc_put(worst);
		worst = p;
		of_worst = bad;
		*pages = u.anon;
	}
	return worst;
}

static u32 nudges;

void memory_nudge(void)
{
	__atomic_fetch_add(&nudges, 1, __ATOMIC_SEQ_CST);
	pf_wake(&nudges, 1);
}

static void nap(u32 nudge, u64 ms) { pf_wait(&nudges, nudge, ktime_deadline(ms * 1000000)); }

static int kill_sharer(struct proc *p, void *mm)
{
	if (p->mm == mm)
		signal_send_proc(p, SIGKILL, NULL);
	return 0;
}

static int dying(struct proc *p, void *unused)
{
	(void)unused;
	return p->group_exit && p->state < PROC_ZOMBIE;
}

// Processes are on their way out: what they had will be free without another victim. One that hangs there is waited for only so long.
static bool leaving(u64 short_since)
{
	u64 left = __atomic_load_n(&left_at, __ATOMIC_RELAXED), now = ktime_mono();

	return now < left + LEFT_MS * 1000000 || (now < max(left, short_since) + VICTIM_MS * 1000000 && proc_for_each(dying, NULL));
}

// The groups of a process that dies count it.
static void note_kill(struct proc *p)
{
	mutex_lock(&tasklist);
	for (struct cgroup *g = p->cgroup; g; g = g->parent) {
		g->ev_kill++;
		cgroup_tell(g, CG_EV_MEMORY);
	}
	mutex_unlock(&tasklist);
	cgroup_news();
}

int oom_kill(struct cgroup *in)
{
	u64 pages = 0, total = in ? in->mem_max >> PAGE_SHIFT : page_count_total();
	struct proc *p = victim(in, &pages);

	if (!in)
		oom_counts.oom++;
	if (!p)
		return 0;
	pr_err("out of memory: killed process %d (%s) with %lu KiB of private memory, oom_score_adj %d; the limit is %lu MiB (%s)\n",
	       p->pid, p->leader ? p->leader->comm : "?", pages * 4, p->oom_score_adj, total >> 8,
	       in ? "memory.max of its control group" : "memory: in coffer.yaml");
	oom_counts.killed++;
	note_kill(p);
	signal_send_proc(p, SIGKILL, NULL);
	if (in && in->oom_group) {
		in->ev_group_kill++;
		cgroup_kill(in);
	}
	mutex_lock(&tasklist);
	struct mm *mm = p->mm && p->mm->others ? p->mm : NULL; // compared only
	mutex_unlock(&tasklist);
	if (mm)
		proc_for_each(kill_sharer, mm);
	for (u64 ms = 0; !in && ms < VICTIM_MS && p->state < PROC_ZOMBIE; ms += SHORTEST_MS)
		nap(__atomic_load_n(&nudges, __ATOMIC_SEQ_CST), SHORTEST_MS);
	int pid = p->pid;
	proc_put(p);
	return pid;
}

// Until it is time to look again; groups with limits may want to be looked at more often.
static void until_next(u64 ms)
{
	u64 end = ktime_mono() + ms * 1000000;

	for (u64 now = ktime_mono(); now < end; now = ktime_mono()) {
		u32 nudge = __atomic_load_n(&nudges, __ATOMIC_SEQ_CST);

		nap(nudge, min((end - now) / 1000000 + 1, cgroup_limits_tick()));
	}
}

void memory_thread(void *unused)
{
	u64 short_since = 0; // 0: memory is not short

	(void)unused;
	for (;;) {
		u64 start = ktime_mono(), ms, cost;

		sample();
		files_trim();
		kmalloc_trim();
		sendcache_trim();
		if (tight(4 * page_reserve)) {
			pc_reclaim(8 * page_reserve);
			if (tight(page_reserve)) {
				if (!short_since)
					short_since = start;
				if (leaving(short_since)) { // each of them asks the host too
					cost = (ktime_mono() - start) / 1000000;
					nap(__atomic_load_n(&nudges, __ATOMIC_SEQ_CST), max(SHORTEST_MS, min(4 * cost, COST_MOST_MS)));
					continue;
				}
				oom_kill(NULL);
				short_since = 0;
				continue;
			}
		}
		short_since = 0;
		cost = (ktime_mono() - start) / 1000000;
		ms = page_count_free() / PAGES_PER_MS;
		until_next(max(min(max(ms, SHORTEST_MS), LONGEST_MS), min(cost * COST_SHARE, COST_MOST_MS)));
	}
}

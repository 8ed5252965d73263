// SPDX-License-Identifier: Apache-2.0
// Host threads and processes under the kernel's tasks: windows, fork, threads, exit, identity switch for vfork,
// blank processes for exec. Windows and process slots are taken by compare-and-swap on `win_used` / hproc->used; the only
// lock is blank_lock (leaf).
#include "kernel/include/kstring.h"
#include "kernel/include/alloc.h"
#include "kernel/include/hostcall.h"
#include "kernel/include/log.h"
#include "kernel/mm/page.h"
#include "platform/process/window.h"
#include <linux/sched.h>

static u8 win_used[WIN_MAX];
static u32 win_high; // none from here on was ever used: the table is not read, and takes no memory, beyond it
static u64 hproc_serial;

// Host processes: slots in chunks that are kernel objects, near the others that a new process touches. A chunk is never freed.
struct hproc_chunk {
	struct hproc_chunk *next;
	struct hproc slot[37]; // 1.5 KiB in all
};
static struct hproc_chunk first_chunk;
#define for_each_hproc(hp)                                                                                              \
	for (struct hproc_chunk *chunk = &first_chunk; chunk; chunk = __atomic_load_n(&chunk->next, __ATOMIC_ACQUIRE))  \
		for (struct hproc *hp = chunk->slot; hp < chunk->slot + ARRAY_SIZE(chunk->slot); hp++)
static u64 boot_canary __sealed;

static void raise_to(u32 *high, u32 to)
{
	u32 now = __atomic_load_n(high, __ATOMIC_RELAXED);

	while (now < to && !__atomic_compare_exchange_n(high, &now, to, true, __ATOMIC_RELEASE, __ATOMIC_RELAXED))
		;
}

u32 win_count(void) { return __atomic_load_n(&win_high, __ATOMIC_ACQUIRE); }

_Static_assert(offsetof(struct hthread, rseq_word) == 8 && offsetof(struct hthread, in_kernel) == 60 &&
	       offsetof(struct hthread, wait_frame) == 64, "entry.S knows these");

struct window *win_alloc(void)
{
	for (u32 i = 0; i < WIN_MAX; i++) {
		u8 z = 0;
		if (!__atomic_load_n(&win_used[i], __ATOMIC_RELAXED) &&
		    __atomic_compare_exchange_n(&win_used[i], &z, 1, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) {
			raise_to(&win_high, i + 1);
			WIN(i)->index = i;
			return WIN(i);
		}
	}
	return NULL;
}

void win_free(struct window *w) { __atomic_store_n(&win_used[w->index], 0, __ATOMIC_RELEASE); }

void hproc_renew(struct hproc *hp)
{
	hp->serial = __atomic_add_fetch(&hproc_serial, 1, __ATOMIC_RELAXED);
	hp->guards = 0;
}

struct hproc *hproc_alloc(void)
{
	struct hproc_chunk *last = &first_chunk, *more;
	u32 z = 0;

	for (;;) {
		for_each_hproc(hp) {
			if (!__atomic_load_n(&hp->used, __ATOMIC_RELAXED) &&
			    __atomic_compare_exchange_n(&hp->used, &z, 1, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) {
				hp->threads = 1;
				hp->nparked = 0;
				hproc_renew(hp);
				hp->exiting = 0;
				hp->pid = 0;
				return hp;
			}
			z = 0;
			last = chunk;
		}
		more = kzalloc(sizeof(*more));
		if (!more)
			return NULL;
		struct hproc_chunk *none = NULL;
		if (!__atomic_compare_exchange_n(&last->next, &none, more, false, __ATOMIC_RELEASE, __ATOMIC_RELAXED))
			kfree(more); // somebody else was faster: look there
	}
}

void pf_host_counts(u32 *threads, u32 *processes)
{
	*threads = *processes = 0;
	for (u32 i = 0; i < win_high; i++)
		*threads += win_used[i] && WIN(i)->hproc; // but for those that sleep for a task
	for_each_hproc(hp)
		*processes += hp->used != 0;
}

long pf_private_pages(bool exact)
{
	u32 *pids, n = 0;
	long r;

	for_each_hproc(hp)
		n += hp->used != 0;
	n += 64; // those that come meanwhile
	pids = kmalloc(n * sizeof(*pids));
	if (!pids)
		return -ENOMEM;
	u32 k = 0;
	for_each_hproc(hp)
		if (k < n && hp->used && hp->pid)
			pids[k++] = hp->pid;
	r = hc_private(pids, k, exact);
	kfree(pids);
	return r;
}

struct hproc *hproc_of_pid(u32 pid)
{
	for_each_hproc(hp)
		if (hp->used && hp->pid == pid)
			return hp;
	return NULL;
}

// Those that compute, in a program or in the kernel, are interrupted, so that it is known where they are. Who sleeps has left its place, and
// who waits for the host shall not be disturbed.
static void find_places(void)
{
	static u32 word;

	for (u32 i = 0; i < win_high; i++) {
		struct hthread *h = &WIN(i)->h;

		if (!win_used[i] || h == hthread_self())
			continue;
		h->seen_rip = 0;
		if (h->cur && !h->wait_frame && !h->hostcall && __atomic_load_n(&h->ready, __ATOMIC_SEQ_CST) && h->host_pid && h->host_tid)
			S3(__NR_tgkill, h->host_pid, h->host_tid, KICK_SIGNAL);
	}
	pf_wait(&word, 0, ktime_deadline(30000000)); // they have CPUs to share
}

void dump_thread(void *unused)
{
	(void)unused;
	for (u32 seq = 0;;) {
		u32 now = __atomic_load_n(&CTL->dump_seq, __ATOMIC_SEQ_CST);
		if (now == seq) {
			pf_wait(&CTL->dump_seq, seq, NO_DEADLINE);
			continue;
		}
		seq = now;
		find_places();
		for (u32 i = 0; i < win_high; i++)
			if (win_used[i] && WIN(i) != win_self())
				task_dump_window(i, &WIN(i)->h);
		task_dump_end();
	}
}

struct window *win_of(struct hproc *hp, u32 i) { return win_used[i] && WIN(i)->hproc == hp ? WIN(i) : NULL; }

void hproc_reclaim(struct hproc *hp)
{
	for (u32 i = 0; i < win_high; i++)
		if (win_used[i] && WIN(i)->hproc == hp)
			win_free(WIN(i));
	__atomic_store_n(&hp->used, 0, __ATOMIC_RELEASE);
}

void win_setup(struct window *w, struct task *t, struct hproc *hp)
{
	if (!boot_canary)
		pf_random(&boot_canary, 8);
	w->h.self = &w->h;
	w->h.shard = w->index;
	w->h.kstack_top = (u64)win_regs(w);
	w->h.cur = t;
	w->h.calls = syscall_calls(t);
	w->h.canary = boot_canary & ~0xfful;
	w->h.locks_held = 0;
	w->h.in_kernel = 0;
	w->h.wait_frame = NULL;
	w->h.host_tid = 0;
	w->h.hostcall = 0;
	w->h.ready = 0;
	w->h.rseq_area = 0;
	list_init(&w->h.rseq_link);
	w->h.no_rseq = 0;
	w->h.rseq_word = &w->h.no_rseq;
	w->h.pub = (u64 *)(win_slot(w) + PUB_STRIDE - PUB_REGS);
	w->hproc = hp;
	w->cpus = win_self()->cpus; // the host lets it inherit them
	w->batch = win_self()->batch;
	w->fpu_depth = 0;
	w->blank_word = 0;
	w->base = (struct spent){0};
	if (t) {
		t->host = &w->h;
		t->regs = win_regs(w);
	}
}

void host_thread_init(void)
{
	struct window *w = win_self();
	struct {
		void *sp;
		int flags, pad;
		u64 size;
	} ss = { (u8 *)w + WIN_ALTSTACK, 0, 0, WIN_ALTSTACK_LEN };

	if (pku_on)
		ss.sp = win_slot(w), ss.size = PUB_STRIDE - 2 * PUB_REGS;
	if (S2(__NR_sigaltstack, &ss, 0))
		panic("the host refuses a signal stack");
	// Until now host signals would have run on the stack of the process that made this one. Who wanted to kick it before
	// this has set task->work, which is looked at on the way out.
	__atomic_exchange_n(&w->h.ready, 1, __ATOMIC_SEQ_CST);
}

// A launcher that has gone before the host was told tells nobody: what it left would keep its volumes open for ever.
void end_with_launcher(void)
{
	S2(__NR_prctl, 1 /* PR_SET_PDEATHSIG */, 9);
	if (S0(__NR_getppid) != (long)CTL->launcher_pid)
		S1(__NR_exit_group, 0);
}

static void host_process_init(void)
{
	struct window *w = win_self();

	end_with_launcher();
	w->h.host_pid = w->h.host_tid = w->hproc->pid; // which the host wrote before this task ran
	host_thread_init();
}

// The host writes the pid into the slot: the parent may come back from clone when the child has long gone and the slot is another's.
#define PROC_FLAGS (CLONE_FILES | CLONE_FS | CLONE_PARENT | CLONE_PARENT_SETTID | 17 /* SIGCHLD */)
#define THREAD_FLAGS (CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM | CLONE_PARENT_SETTID)

static void kernel_process_start(void)
{
	host_process_init();
	((void (*)(void))win_self()->kfn)();
	panic("the first process returned");
}

// A host process of its own for the first program: fn runs there on the kernel stack of task t.
int pf_start_process(struct task *t, void (*fn)(void))
{
	struct window *w = win_alloc();
	struct hproc *hp = w ? hproc_alloc() : NULL;
	long r;

	if (!hp)
		return -EAGAIN;
	win_setup(w, t, hp);
	t->proc->mm_host = hp;
	hp->guards = win_self()->hproc->guards;
	w->kfn = (void (*)(void *))(void *)fn;
	r = host_clone(PROC_FLAGS, win_stack(w), &hp->pid, w, kernel_process_start);
	return r < 0 ? (int)r : 0;
}

static void thread_start(void)
{
	host_thread_init();
	cpus_follow(win_self());
	pf_set_fs(current->fs_base);
	kresume(win_regs(win_self()));
}

static void process_start(void)
{
	hot_touch();
	host_process_init();
	cpus_follow(win_self());
	pf_set_fs(current->fs_base);
	kresume(win_regs(win_self()));
}

// Work for blank_main.
static u32 blank_seq;
static void blank_kick(void)
{
	__atomic_fetch_add(&blank_seq, 1, __ATOMIC_SEQ_CST);
	pf_wake(&blank_seq, 1);
}

int pf_fork(struct task *child, const struct regs *regs)
{
	struct window *w = win_alloc();
	struct hproc *hp = w ? hproc_alloc() : NULL;
	long r;

	if (!hp) {
		if (w)
			win_free(w);
		return -EAGAIN;
	}
	win_setup(w, child, hp);
	*child->regs = *regs;
	child->regs->rax = 0;
	child->proc->mm_host = hp;
	hp->guards = win_self()->hproc->guards;
	if (win_self()->h.rseq_area) // the host's fork inherits it
		rseq_inherit(&w->h, child->proc->mm);
	r = host_clone(PROC_FLAGS, win_stack(w), &hp->pid, w, process_start);
	if (r < 0) {
		list_del(&w->h.rseq_link);
		child->host = NULL;
		win_free(w);
		hp->used = 0;
		return (int)r;
	}
	if (hot_process_made())
		blank_kick();
	return 0;
}

int pf_thread_create(struct task *t, const struct regs *regs)
{
	struct window *me = win_self(), *parked = park_take(me->hproc), *w = parked ? parked : win_alloc();
	u64 cpus;
	bool batch;
	long r;

	if (!w)
		return -EAGAIN;
	cpus = w->cpus;
	batch = w->batch;
	win_setup(w, t, me->hproc);
	if (!t->proc->mm_host) // a process that shares this one's memory
		t->proc->mm_host = me->hproc;
	*t->regs = *regs;
	t->regs->rax = 0;
	w->h.host_pid = me->h.host_pid;
	if (parked) {
		w->cpus = cpus;
		w->batch = batch;
		w->base = w->seen;
		w->h.host_tid = w->park.tid;
		cpus_follow(w); // while it sleeps: then it need not move
		park_go(w);
		return 0;
	}
	__atomic_fetch_add(&me->hproc->threads, 1, __ATOMIC_SEQ_CST);
	r = host_clone(THREAD_FLAGS, win_stack(w), &w->h.host_tid, w, thread_start);
	if (r < 0) {
		t->host = NULL;
		__atomic_fetch_sub(&me->hproc->threads, 1, __ATOMIC_SEQ_CST);
		win_free(w);
		return (int)r;
	}
	return 0;
}

static void __noreturn thread_exit(bool alone)
{
	struct window *w = win_self();
	struct hproc *hp = w->hproc;
	u64 all = ~0ul;
	bool last;

	w->h.cur = NULL;
	w->hproc = NULL;
	w->park.tid = w->h.host_tid;
	w->h.host_tid = 0;
	if (alone)
		park(hp, w, &win_used[w->index]);
	S4(__NR_rt_sigprocmask, 2, &all, 0, 8);
	last = park_leave(hp);
	if (last)
		hp->exiting = 1;
	// exit(0) of the last thread ends the host process; the host's own teardown is off our critical path
	win_exit_thread(&win_used[w->index], last ? &hp->used : NULL);
}

void pf_thread_exit(void) { thread_exit(true); }
void pf_proc_exit(void) { thread_exit(false); }

void pf_switch_identity(struct task *to)
{
	struct window *w = win_self();

	w->h.cur = to;
	w->h.calls = syscall_calls(to);
	to->host = &w->h;
	to->regs = win_regs(w);
	if (!to->proc->mm_host)
		to->proc->mm_host = w->hproc;
	cpus_follow(win_self());
}

// --- blank processes: host processes without a program, made ahead by the kernel's own host process
#define BLANKS 4
static struct mutex blank_lock;
static struct window *blank_pool[BLANKS];
static u32 nblank;
static u32 blank_refused; // how often the host gave none

static void blank_start(void)
{
	struct window *w = win_self();

	host_process_init();
	// off the critical path: what an exec will run
	window_guards_drop(w->hproc);
	touch(kernel_hot_start, kernel_small_end);
	touch(kernel_text_start, kernel_hot_text_end);
	while (!__atomic_load_n(&w->blank_word, __ATOMIC_ACQUIRE))
		pf_wait(&w->blank_word, 0, NO_DEADLINE);
	w->h.in_kernel = 1;
	cpus_follow(win_self());
	exec_commit_on_blank(w->h.cur);
}

static struct window *blank_make(void)
{
	struct window *w = win_alloc();
	struct hproc *hp = w ? hproc_alloc() : NULL;
	long r;

	if (!hp) {
		if (w)
			win_free(w);
		return NULL;
	}
	win_setup(w, NULL, hp);
	hp->guards = win_self()->hproc->guards; // inherited
	r = host_clone(PROC_FLAGS, win_stack(w), &hp->pid, w, blank_start);
	if (r < 0) {
		win_free(w);
		hp->used = 0;
		return NULL;
	}
	return w;
}

void blank_refill(void)
{
	for (;;) {
		struct window *w;

		if (__atomic_load_n(&nblank, __ATOMIC_SEQ_CST) >= 2)
			return;
		w = blank_make();
		if (!w) {
			__atomic_fetch_add(&blank_refused, 1, __ATOMIC_SEQ_CST);
			return;
		}
		mutex_lock(&blank_lock);
		bool dead = w->hproc->exiting;
		if (!dead)
			blank_pool[nblank++] = w;
		mutex_unlock(&blank_lock);
		if (dead)
			hproc_reclaim(w->hproc);
		pf_wake(&nblank, 64);
	}
}

void blank_main(void *unused)
{
	(void)unused;
	for (;;) {
		u32 s = __atomic_load_n(&blank_seq, __ATOMIC_SEQ_CST);
		blank_refill();
		hot_collapse();
		pf_wait(&blank_seq, s, NO_DEADLINE);
	}
}

int pf_blank_handoff(struct task *t)
{
	struct window *w = NULL;
	u32 refused = __atomic_load_n(&blank_refused, __ATOMIC_SEQ_CST);

	hot_process_made();
	for (int tries = 0; !w; tries++) {
		mutex_lock(&blank_lock);
		if (nblank) {
			w = blank_pool[--nblank];
			w->h.cur = t;
			w->h.calls = syscall_calls(t);
			t->proc->mm_host = w->hproc;
			t->host = &w->h;
			t->regs = win_regs(w);
		}
		mutex_unlock(&blank_lock);
		blank_kick();
		if (w)
			break;
		// The host gives no more processes. Time alone says nothing: the enclave may have had no CPU.
		if (tries >= 50 && __atomic_load_n(&blank_refused, __ATOMIC_SEQ_CST) - refused >= 50)
			return -EAGAIN;
		pf_wait(&nblank, 0, ktime_deadline(100000000));
	}
	__atomic_store_n(&w->blank_word, 1, __ATOMIC_RELEASE);
	pf_wake(&w->blank_word, 1);
	return 0;
}

bool blank_died(struct window *w)
{
	bool found = false, free;

	mutex_lock(&blank_lock);
	free = !w->h.cur;
	for (u32 i = 0; i < nblank && !found; i++)
		if (blank_pool[i] == w) {
			blank_pool[i] = blank_pool[--nblank];
			found = true;
		}
	if (free && !found)
		w->hproc->exiting = 1; // blank_refill sees it
	mutex_unlock(&blank_lock);
	if (found)
		blank_kick();
	return found;
}

long thread_on(struct window *w, void *stack, void (*fn)(void))
{
	return host_clone(THREAD_FLAGS, stack, &w->h.host_tid, w, fn);
}

static void kthread_start(void)
{
	struct window *w = win_self();

	host_thread_init();
	w->kfn(w->karg);
	panic("a kernel thread returned");
}

int pf_kthread(void (*fn)(void *), void *arg, const char *name)
{
	struct window *w = win_alloc(), *me = win_self();
	struct task *t = knew(struct task);
	long r;

	if (!w || !t)
		return -ENOMEM;
	strlcpy(t->comm, name, sizeof(t->comm));
	win_setup(w, t, me->hproc);
	w->kfn = fn;
	w->karg = arg;
	__atomic_fetch_add(&me->hproc->threads, 1, __ATOMIC_SEQ_CST);
	r = host_clone(THREAD_FLAGS, win_stack(w), &w->h.host_tid, w, kthread_start);
	return r < 0 ? (int)r : 0;
}

// Makes a task that runs in user mode look at its work. Only to threads of this enclave that still hold their
// window; a kick that arrives late is harmless.
void pf_kick(struct task *t)
{
	struct hthread *h = t->host;

	if (!h || h == hthread_self() || __atomic_load_n(&t->sleeping, __ATOMIC_SEQ_CST) || !__atomic_load_n(&h->ready, __ATOMIC_SEQ_CST))
		return;
	u32 pid = h->host_pid, tid = h->host_tid;
	if (pid && tid)
		S3(__NR_tgkill, pid, tid, KICK_SIGNAL);
}

void pf_enter_user(struct regs *regs)
{
	struct regs *r = win_regs(win_self());

	if (r != regs)
		*r = *regs;
	kresume(r);
}

void pf_set_fs(u64 base) { __asm__ volatile("wrfsbase %0" ::"r"(base)); }

u64 pf_get_fs(void)
{
	u64 v;
	__asm__ volatile("rdfsbase %0" : "=r"(v));
	return v;
}

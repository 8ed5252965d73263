// SPDX-License-Identifier: Apache-2.0
// Requests to act on another address space: see include/remote.h. A request waits at the mm; the asker sets WORK_REMOTE on
// a task that lives there, wakes and kicks it. Every sleep, every way out of the kernel and every exit of a thread looks at
// that bit. A thread that leaves announces it (exiting) before it looks at the queue, the asker queues before it looks for
// a thread that is not leaving: one of them sees the other.
// Locks: tasklist -> mm->remote_lock (leaf; queue and states). fn runs without locks.
#include "kernel/include/remote.h"
#include "kernel/include/alloc.h"
#include "kernel/include/count.h"
#include "kernel/include/kstring.h"
#include "kernel/include/mm.h"
#include "kernel/include/platform.h"
#include "kernel/include/task.h"
#include <linux/capability.h>

#define CHUNK (64u << 10) // bytes moved by one request

struct copy {
	struct remote r;
	uptr addr;
	size_t n;
	bool write, debug;
	u8 data[];
};

struct remote *remote_new(size_t size, long (*fn)(struct remote *r))
{
	struct remote *r = kzalloc(size);

	if (!r)
		return NULL;
	COUNT(remote_requests, 1);
	list_init(&r->link);
	ref_init(&r->ref, 1);
	r->fn = fn;
	r->caller = current;
	ref_get(&current->ref);
	return r;
}

void remote_put(struct remote *r)
{
	if (!ref_put(&r->ref))
		return;
	task_put(r->caller);
	COUNT(remote_requests, -1);
	kfree(r);
}

// Takes r off the queue with its result. mm->remote_lock held.
static void finish(struct remote *r, long result)
{
	list_del(&r->link);
	r->result = result;
	__atomic_store_n(&r->state, REMOTE_DONE, __ATOMIC_RELEASE);
	task_wake(r->caller);
}

static struct remote *next_queued(struct mm *mm)
{
	struct remote *r, *found = NULL;

	mutex_lock(&mm->remote_lock);
	list_for_each(r, &mm->remote, link)
		if (r->state == REMOTE_QUEUED) {
			found = r;
			r->state = REMOTE_RUNNING;
			ref_get(&r->ref);
			break;
		}
	mutex_unlock(&mm->remote_lock);
	return found;
}

// The program that it was for is no more.
static bool outdated(const struct remote *r, const struct mm *mm)
{
	return r->program && r->program != __atomic_load_n(&mm->program, __ATOMIC_RELAXED);
}

void remote_serve(void)
{
	struct task *t = current;
	struct mm *mm = t->proc->mm;
	struct remote *r;

	__atomic_fetch_and(&t->work, ~WORK_REMOTE, __ATOMIC_SEQ_CST);
	while (mm && (r = next_queued(mm))) {
		long result = outdated(r, mm) ? -ESRCH : r->fn(r);

		mutex_lock(&mm->remote_lock);
		if (r->state == REMOTE_RUNNING) {
			finish(r, result);
			remote_put(r); // the queue's
		}
		mutex_unlock(&mm->remote_lock);
		remote_put(r);
	}
}

void remote_close(struct mm *mm)
{
	struct remote *r, *tmp;

	mutex_lock(&mm->remote_lock);
	list_for_each_safe(r, tmp, &mm->remote, link) {
		finish(r, -ESRCH);
		remote_put(r);
	}
	mutex_unlock(&mm->remote_lock);
}

// --- finding somebody to do it

static void ask(struct task *t)
{
	__atomic_fetch_or(&t->work, WORK_REMOTE, __ATOMIC_SEQ_CST);
	task_wake(t);
	pf_kick(t);
}

static bool leaving(const struct task *t) { return __atomic_load_n(&t->exiting, __ATOMIC_SEQ_CST); }

// Asks t or another thread of its process. tasklist held. 0: all are leaving; 1: asked; 2: asked one whose host thread works
// as its vfork child now, or such a child, or one of several processes, which may leave this memory by exec: whoever shares it must be asked too.
static int ask_thread(struct task *t)
{
	struct proc *p = t->proc;
	struct task *c, *who = t->dead || leaving(t) ? NULL : t;
	struct hthread *h;

	mutex_lock(&p->sig_lock);
	list_for_each(c, &p->threads, thread_link)
		if (!who && !leaving(c))
			who = c;
	if (who)
		ask(who);
	h = who ? who->host : NULL;
	mutex_unlock(&p->sig_lock);
	return !who ? 0 : p->borrows_mm || p->mm->others || (h && h->cur != who) ? 2 : 1;
}

static int ask_sharer(struct proc *p, void *mm)
{
	struct task *t;

	if (p->mm != mm)
		return 0;
	mutex_lock(&p->sig_lock);
	list_for_each(t, &p->threads, thread_link)
		ask(t);
	mutex_unlock(&p->sig_lock);
	return 0;
}

void remote_pass(struct task *from, struct task *to)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (__atomic_load_n(&from->work, __ATOMIC_SEQ_CST) & WORK_REMOTE)
		__atomic_fetch_or(&to->work, WORK_REMOTE, __ATOMIC_SEQ_CST);
}

static void wait_done(struct mm *mm, struct remote *r)
{
	for (;;) {
		u32 seq = task_seq();

		if (__atomic_load_n(&r->state, __ATOMIC_ACQUIRE) == REMOTE_DONE)
			return;
		if (__atomic_load_n(&current->work, __ATOMIC_SEQ_CST) & WORK_EXIT) {
			mutex_lock(&mm->remote_lock);
			if (r->state == REMOTE_QUEUED) {
				finish(r, -EINTR);
				remote_put(r);
			}
			mutex_unlock(&mm->remote_lock);
			continue;
		}
		task_sleep_uninterruptible(seq, NO_DEADLINE);
	}
}

long remote_run(struct task *t, struct remote *r)
{
	struct proc *p = t->proc;
	struct mm *mm;
	int asked = 0;

	if (p->mm && p->mm == curproc->mm)
		return r->result = outdated(r, p->mm) ? -ESRCH : r->fn(r);
	mutex_lock(&tasklist);
	mm = p->mm && !outdated(r, p->mm) ? p->mm : NULL;
	if (mm) {
		ref_get(&mm->ref);
		ref_get(&r->ref);
		r->state = REMOTE_QUEUED;
		mutex_lock(&mm->remote_lock);
		list_add_tail(&r->link, &mm->remote);
		mutex_unlock(&mm->remote_lock);
		asked = ask_thread(t);
	}
	mutex_unlock(&tasklist);
	if (!mm)
		return r->result = -ESRCH;
	if (asked == 2)
		proc_for_each(ask_sharer, mm);
	if (!asked) {
		mutex_lock(&mm->remote_lock);
		if (r->state == REMOTE_QUEUED) {
			finish(r, -ESRCH);
			remote_put(r);
		}
		mutex_unlock(&mm->remote_lock);
	}
	wait_done(mm, r);
	mm_put(mm);
	return r->result;
}

// --- copying

// Page by page, as far as the memory goes.
static long copy_fn(struct remote *r)
{
	struct copy *c = container_of(r, struct copy, r);
	size_t done = 0;

	while (done < c->n) {
		size_t k = min(c->n - done, PAGE_SIZE - ((c->addr + done) & (PAGE_SIZE - 1)));
		int e = c->debug   ? mm_debug_copy(c->addr + done, c->data + done, k, c->write)
			: c->write ? copy_to_user(U(c->addr + done), c->data + done, k) : copy_from_user(c->data + done, U(c->addr + done), k);
		if (e)
			break;
		done += k;
	}
	return done ? (long)done : -EFAULT;
}

static ssize_t move(struct task *t, u64 program, void *buf, uptr addr, size_t n, bool write, bool debug)
{
	size_t done = 0;
	long r = 0;

	while (done < n) {
		size_t k = min(n - done, (size_t)CHUNK);
		struct remote *q = remote_new(sizeof(struct copy) + k, copy_fn);
		struct copy *c = container_of(q, struct copy, r);

		if (!q)
			return done ? (ssize_t)done : -ENOMEM;
		q->program = program;
		c->addr = addr + done;
		c->n = k;
		c->write = write;
		c->debug = debug;
		if (write)
			memcpy(c->data, (u8 *)buf + done, k);
		r = remote_run(t, q);
		if (r > 0 && !write)
			memcpy((u8 *)buf + done, c->data, (size_t)r);
		remote_put(q);
		if (r > 0)
			done += (size_t)r;
		if (r != (long)k)
			break;
	}
	return done ? (ssize_t)done : r < 0 ? r : 0;
}

ssize_t remote_read(struct task *t, u64 program, void *dst, uptr addr, size_t n) { return move(t, program, dst, addr, n, false, false); }
ssize_t remote_write(struct task *t, u64 program, const void *src, uptr addr, size_t n) { return move(t, program, (void *)(uptr)src, addr, n, true, false); }
ssize_t remote_peek(struct task *t, u64 program, void *dst, uptr addr, size_t n) { return move(t, program, dst, addr, n, false, true); }
ssize_t remote_poke(struct task *t, u64 program, const void *src, uptr addr, size_t n) { return move(t, program, (void *)(uptr)src, addr, n, true, true); }

bool remote_allowed(struct proc *p)
{
	const struct cred *c = cred(), *o = &p->cred;

	if (p == curproc || (ns_capable(o->user_ns, CAP_SYS_PTRACE) && (p->dumpable || ns_capable(p->exec_ns, CAP_SYS_PTRACE))))
		return true;
	return p->dumpable && c->user_ns == o->user_ns && c->uid == o->euid && c->uid == o->suid && c->uid == o->uid && c->gid == o->egid && c->gid == o->sgid &&
	       c->gid == o->gid;
}

u64 remote_program(struct proc *p)
{
	mutex_lock(&tasklist);
	u64 n = p->mm ? p->mm->program : 0;
	mutex_unlock(&tasklist);
	return n;
}

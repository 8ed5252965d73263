// SPDX-License-Identifier: Apache-2.0
// rseq(2): restartable sequences. Only what preempts and moves a thread can abort its critical section, so where the platform
// lets its host do that, the registration is handed to it (pf_rseq) and the host keeps the program's area up to date; elsewhere,
// and unless the image's owner asks for it (restartable_sequences: it costs each thread two calls of the host), the call is ENOSYS
// and programs use ordinary atomics.
//
// The host looks at the area whenever it lets the thread go on, in kernel code too, and what it finds wrong there is a SIGSEGV that in
// the end cannot be caught. So the area must be in order while the kernel runs:
// - the entry (entry.S, trap.c) makes rseq_cs 0 before anything else, as Linux does for a thread that is not in a critical section.
//   A wrong pointer there ends the host process while it runs its program, which is what it would come to on Linux (death.c);
// - a program that takes away the memory of a registered area dies of SIGSEGV at once (Linux lets it live until the thread is
//   next preempted), and an area lies in private anonymous memory, which nobody else can take away.
//
// The registration belongs to the host thread (struct hthread): a fork's child inherits it (unless it lacks the memory: MADV_DONTFORK), a vfork child borrows its parent's.
// The host writes to the area at any moment, so it must go before the memory does: at the thread's exit, before anyone may be
// told of it, and at exec.
// Areas are in mm->rseq before the host knows of them and until it has forgotten them, so nobody in that memory can take it away between.
// Locks: mm->lock.
#include "kernel/include/boot.h"
#include "kernel/include/mm.h"
#include "kernel/include/platform.h"
#include "kernel/include/task.h"
#include "kernel/include/usercopy.h"

#define RSEQ_BYTES 32u
#define RSEQ_FLAG_UNREGISTER_ 1

// mm->lock held.
static void enlist(struct mm *mm, struct hthread *h, uptr area, u32 sig)
{
	h->rseq_sig = sig;
	h->rseq_word = (__force u64 *)(area + 8);
	h->rseq_area = area;
	list_add_tail(&h->rseq_link, &mm->rseq);
}

static void delist(struct hthread *h)
{
	h->rseq_word = &h->no_rseq;
	h->rseq_area = 0;
	h->rseq_sig = 0;
	list_del(&h->rseq_link);
}

static int unregister(struct hthread *h) { return pf_rseq(h->rseq_area, RSEQ_BYTES, RSEQ_FLAG_UNREGISTER_, h->rseq_sig); }

// t is the current task, or one whose host process is gone.
void rseq_drop(struct task *t)
{
	struct hthread *h = t->host;
	struct mm *mm = t->proc->mm;

	if (!h || !h->rseq_area || (h == hthread_self() && unregister(h) == -EFAULT))
		return;
	mutex_lock(&mm->lock);
	delist(h);
	mutex_unlock(&mm->lock);
}

// Nobody else knows of this memory yet.
void rseq_inherit(struct hthread *child, struct mm *mm)
{
	const struct hthread *h = hthread_self();

	enlist(mm, child, h->rseq_area, h->rseq_sig);
}

// Whether the area lies in memory that only this process can take away. mm->lock held.
static bool area_ok(struct mm *mm, uptr at)
{
	struct vma *v = mm_find(mm, at);

	return v && !v->pc && v->prot & PROT_WRITE;
}

// The area of the current thread, if a child that is forked now would not have its memory: dropped, until rseq_again. mm->lock held.
uptr rseq_not_for_child(struct mm *mm, u32 *sig)
{
	struct hthread *h = hthread_self();
	uptr area = h->rseq_area;

	if (!area || !(mm_find(mm, area)->flags & VMA_DONTFORK) || unregister(h))
		return 0;
	*sig = h->rseq_sig;
	delist(h);
	return area;
}

void rseq_again(struct mm *mm, uptr area, u32 sig)
{
	if (area && pf_rseq(area, RSEQ_BYTES, 0, sig) == 0)
		enlist(mm, hthread_self(), area, sig);
}

bool rseq_within(const struct mm *mm, uptr start, uptr end)
{
	struct hthread *h;

	list_for_each (h, &mm->rseq, rseq_link)
		if (h->rseq_area < end && start < h->rseq_area + RSEQ_BYTES)
			return true;
	return false;
}

long rseq_survived(long r)
{
	if (unlikely(r == -EAREAGONE))
		proc_exit(SIGSEGV);
	return r;
}

// Enlisted first: from then on the memory stays.
static int reg(struct mm *mm, uptr at, u32 sig)
{
	struct hthread *h = hthread_self();
	bool ok;
	int r;

	mutex_lock(&mm->lock);
	ok = area_ok(mm, at);
	if (ok)
		enlist(mm, h, at, sig);
	mutex_unlock(&mm->lock);
	if (!ok)
		return -EFAULT;
	r = pf_rseq(at, RSEQ_BYTES, 0, sig);
	if (r) {
		mutex_lock(&mm->lock);
		delist(h);
		mutex_unlock(&mm->lock);
	}
	return r;
}

long sys_rseq(void __user *area, u32 len, int flags, u32 sig)
{
	struct hthread *h = hthread_self();
	uptr at = (__force uptr)area;

	if (!boot_info.rseq)
		return -ENOSYS;
	if (flags & RSEQ_FLAG_UNREGISTER_) {
		if (flags & ~RSEQ_FLAG_UNREGISTER_ || !at || at != h->rseq_area || len != RSEQ_BYTES)
			return -EINVAL;
		if (sig != h->rseq_sig)
			return -EPERM;
		rseq_drop(current);
		return h->rseq_area ? -EFAULT : 0;
	} else if (flags) {
		return -EINVAL;
	} else if (h->rseq_area) {
		return at != h->rseq_area || len != RSEQ_BYTES ? -EINVAL : sig != h->rseq_sig ? -EPERM : -EBUSY;
	} else if (len != RSEQ_BYTES || at & (RSEQ_BYTES - 1)) {
		return -EINVAL;
	} else if (!access_ok(area, RSEQ_BYTES) || put_user((u64)0, (u64 __user *)(at + 8))) {
		return -EFAULT;
	}
	return reg(curproc->mm, at, sig);
}

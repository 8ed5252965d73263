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
// Locks: mm->lock for the kind of memory; sig_lock, to look at the areas of other threads.
#include "kernel/include/boot.h"
#include "kernel/include/mm.h"
#include "kernel/include/platform.h"
#include "kernel/include/task.h"
#include "kernel/include/usercopy.h"

#define RSEQ_BYTES 32u
#define RSEQ_FLAG_UNREGISTER_ 1

static void registered(uptr area, u32 sig)
{
	struct hthread *h = hthread_self();

	h->rseq_sig = sig;
	h->rseq_word = area ? (__force u64 *)(area + 8) : &h->no_rseq;
	__atomic_store_n(&h->rseq_area, area, __ATOMIC_RELEASE);
}

void rseq_drop(void)
{
	struct hthread *h = hthread_self();

	if (h->rseq_area && pf_rseq(h->rseq_area, RSEQ_BYTES, RSEQ_FLAG_UNREGISTER_, h->rseq_sig) == 0)
		registered(0, 0);
}

// The area of the current thread, if a child that is forked now would not have its memory: dropped, until rseq_again.
uptr rseq_not_for_child(struct mm *mm, u32 *sig)
{
	struct hthread *h = hthread_self();
	uptr area = h->rseq_area;
	struct vma *v = area ? mm_find(mm, area) : NULL;

	if (!v || !(v->flags & VMA_DONTFORK))
		return 0;
	*sig = h->rseq_sig;
	rseq_drop();
	return area;
}

void rseq_again(uptr area, u32 sig)
{
	if (area && pf_rseq(area, RSEQ_BYTES, 0, sig) == 0)
		registered(area, sig);
}

static bool area_within(struct task *t, uptr addr, size_t len)
{
	uptr a = t->host ? __atomic_load_n(&t->host->rseq_area, __ATOMIC_ACQUIRE) : 0;

	return a && a < addr + len && addr < a + RSEQ_BYTES;
}

// Some thread's area lies in the range, whose memory is about to be taken away: that is the end of this process.
void rseq_memory_goes(uptr addr, size_t len)
{
	struct mm *mm = curproc->mm;
	struct task *user = current, *t;
	bool hit = false;

	len = PAGE_ALIGN(len);
	if (addr >= mm->rseq_hi || !len || addr & (PAGE_SIZE - 1) || addr + len <= mm->rseq_lo)
		return; // no area, or the call will refuse it
	while (user->in_vfork_child)
		user = user->vfork_parent;
	mutex_lock(&user->proc->sig_lock);
	list_for_each (t, &user->proc->threads, thread_link)
		hit |= area_within(t, addr, len);
	mutex_unlock(&user->proc->sig_lock);
	if (hit || area_within(current, addr, len))
		proc_exit(SIGSEGV);
}

// Whether the area lies in memory that only this process can take away.
static bool area_ok(uptr at)
{
	struct mm *mm = curproc->mm;
	struct vma *v;
	bool ok;

	mutex_lock(&mm->lock);
	v = mm_find(mm, at);
	ok = v && !v->pc && v->prot & PROT_WRITE;
	if (ok && (!mm->rseq_hi || at < mm->rseq_lo))
		mm->rseq_lo = at;
	if (ok && at + RSEQ_BYTES > mm->rseq_hi)
		mm->rseq_hi = at + RSEQ_BYTES;
	mutex_unlock(&mm->lock);
	return ok;
}

long sys_rseq(void __user *area, u32 len, int flags, u32 sig)
{
	struct hthread *h = hthread_self();
	uptr at = (__force uptr)area;
	int r;

	if (!boot_info.rseq)
		return -ENOSYS;
	if (flags & RSEQ_FLAG_UNREGISTER_) {
		if (flags & ~RSEQ_FLAG_UNREGISTER_ || !at || at != h->rseq_area || len != RSEQ_BYTES)
			return -EINVAL;
		if (sig != h->rseq_sig)
			return -EPERM;
	} else if (flags) {
		return -EINVAL;
	} else if (h->rseq_area) {
		return at != h->rseq_area || len != RSEQ_BYTES ? -EINVAL : sig != h->rseq_sig ? -EPERM : -EBUSY;
	} else if (len != RSEQ_BYTES || at & (RSEQ_BYTES - 1)) {
		return -EINVAL;
	} else if (!access_ok(area, RSEQ_BYTES) || !area_ok(at) || put_user((u64)0, (u64 __user *)(at + 8))) {
		return -EFAULT;
	}
	r = pf_rseq(at, RSEQ_BYTES, flags, sig);
	if (!r)
		registered(flags ? 0 : at, flags ? 0 : sig);
	return r;
}

// SPDX-License-Identifier: Apache-2.0
// rseq(2): restartable sequences. Only what preempts and moves a thread can abort its critical section, so where the platform
// lets its host do that, the registration is handed to it (pf_rseq) and the host keeps the program's area up to date; elsewhere
// the call is ENOSYS and programs use ordinary atomics.
//
// It is also ENOSYS unless the image's owner has asked for it (restartable_sequences). The host reads the area whenever it lets the
// thread go on, also in the midst of kernel code, and answers what it finds wrong there with a SIGSEGV that in the end cannot
// be caught. Any thread of the program can write a wrong pointer into the area at any moment; a host process that dies inside the
// kernel stops the enclave.
//
// The registration belongs to the host thread (struct hthread): a fork's child inherits it, a vfork child borrows its parent's.
// The host writes to the area at any moment, so it must go before the memory does: at the thread's exit, before anyone may be
// told of it, and at exec. A program that takes away the memory of a registered area dies of SIGSEGV at once; Linux lets it
// live until the thread is next preempted.
// Locks: sig_lock, to look at the areas of other threads.
#include "kernel/include/boot.h"
#include "kernel/include/platform.h"
#include "kernel/include/task.h"
#include "kernel/include/usercopy.h"

#define RSEQ_BYTES 32u
#define RSEQ_FLAG_UNREGISTER_ 1

void rseq_drop(void)
{
	struct hthread *h = hthread_self();
	uptr area = __atomic_load_n(&h->rseq_area, __ATOMIC_RELAXED);

	if (!area)
		return;
	if (pf_rseq(area, RSEQ_BYTES, RSEQ_FLAG_UNREGISTER_, h->rseq_sig) == 0)
		__atomic_store_n(&h->rseq_area, 0, __ATOMIC_RELEASE);
}

// Some thread's area lies in the range, whose memory is about to be taken away: that is the end of this process.
void rseq_memory_goes(uptr addr, size_t len)
{
	struct proc *p = curproc;
	struct task *t;
	bool hit = false;

	len = PAGE_ALIGN(len);
	if (!boot_info.rseq || current->in_vfork_child || !len || addr & (PAGE_SIZE - 1) || addr + len < addr)
		return; // the call will refuse it, or it is the parent's affair
	mutex_lock(&p->sig_lock);
	list_for_each (t, &p->threads, thread_link) {
		uptr a = t->host ? __atomic_load_n(&t->host->rseq_area, __ATOMIC_ACQUIRE) : 0;

		if (a && a < addr + len && addr < a + RSEQ_BYTES)
			hit = true;
	}
	mutex_unlock(&p->sig_lock);
	if (hit)
		proc_exit(SIGSEGV);
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
	}
	if (!access_ok(area, RSEQ_BYTES) || fault_in(area, RSEQ_BYTES, true))
		return -EFAULT;
	r = pf_rseq(at, RSEQ_BYTES, flags, sig);
	if (r)
		return r;
	h->rseq_sig = sig;
	__atomic_store_n(&h->rseq_area, flags ? 0 : at, __ATOMIC_RELEASE);
	return 0;
}

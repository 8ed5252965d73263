// SPDX-License-Identifier: Apache-2.0
// A host process of the enclave is gone, killed by the host. Its kernel stacks are enclave memory and outlive it: a thread that slept in
// the kernel, or stood in one of the host's calls that are made by host_sleep, is taken up there, one that ran its program at the
// way back to it, by threads of the kernel's own process.
// Each finds WORK_EXIT and leaves as for SIGKILL: waiters, locks, references and half-done work are undone by the code that
// made them. Only a thread that was computing inside the kernel cannot be taken up: then the enclave stops.
// The kernel's process has no program's memory: user addresses fault there, as they should. Runs on the host-events
// thread; takes no locks but blank_lock.
#include "kernel/include/log.h"
#include "platform/process/window.h"

void host_resume_sleep(void) __noreturn; // entry.S

static void revived(void)
{
	struct window *w = win_self();

	host_thread_init();
	if (w->h.in_kernel) // else it ran its program, or was about to: a blank process sleeps outside
		host_resume_sleep();
	kresume(win_regs(w));
}

// As exit_group(2) by signal does, without its lock: one of the dead may hold it.
static void doom(struct task *t, int sig)
{
	struct proc *p = t->proc;

	t->robust_list = NULL;
	t->clear_child_tid = NULL;
	if (!p->group_exit) {
		p->exit_code = sig;
		__atomic_store_n(&p->group_exit, true, __ATOMIC_SEQ_CST);
		if (sig == SIGKILL)
			pr_err("the host killed process %d; it ends as if by SIGKILL\n", p->pid);
	}
	if (p->state == PROC_STOPPED)
		p->state = PROC_RUNNING;
	__atomic_fetch_and(&t->work, ~WORK_STOP, __ATOMIC_SEQ_CST);
	__atomic_fetch_or(&t->work, WORK_EXIT, __ATOMIC_SEQ_CST);
}

void host_process_died(u32 pid, u32 status)
{
	struct hproc *hp = hproc_of_pid(pid);
	int sig = (status & 0x7f) == SIGSEGV ? SIGSEGV : SIGKILL; // a spoilt area of rseq(2): kernel/task/rseq.c
	struct window *w;

	if (!hp || hp->exiting)
		return;
	hp->pid = 0; // the host may use the number again
	park_forget(hp);
	for (u32 i = 0; i < win_count(); i++)
		if ((w = win_of(hp, i)) && w->h.in_kernel && !w->h.wait_frame)
			panic("the host killed process %u (status %x) inside the kernel, in call %ld: the enclave cannot go on", pid, status,
			      (s64)win_regs(w)->orig_rax);
	pf_reset_address_space(); // what the last death may have mapped here
	for (u32 i = 0; i < win_count(); i++) {
		w = win_of(hp, i);
		if (!w)
			continue;
		w->h.host_pid = w->h.host_tid = 0; // no kicks to whoever gets these numbers
		if (blank_died(w)) {
			hproc_reclaim(hp);
			return;
		}
		for (struct task *t = w->h.cur; t; t = t->vfork_parent)
			doom(t, sig);
	}
	for (u32 i = 0; i < win_count(); i++) {
		w = win_of(hp, i);
		// on the signal stack; with keys host signals begin at its top whatever stands there (entry_pku.S)
		if (w && w->h.cur && thread_on(w, (u8 *)w + WIN_ALTSTACK + (pku_on ? 0x2000 : WIN_ALTSTACK_LEN) - 512, revived) < 0)
			panic("the host refuses a thread to clean up after process %u", pid);
	}
}

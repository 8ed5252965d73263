// SPDX-License-Identifier: Apache-2.0
// What every host thread of the enclave is doing, for finding out why one hangs: SIGQUIT to the launcher of an enclave that was
// built with debug_enclave. Runs on a kernel thread of its own and takes no lock, because locks may be what hangs:
// it reads the windows as they are, so a line may be wrong about a thread that moves, never about one that stands still.
#include "kernel/include/boot.h"
#include "kernel/include/kstring.h"
#include "kernel/include/log.h"
#include "kernel/include/platform.h"
#include "kernel/syscall/syscall.h"
#include "kernel/task/internal.h"

#define DUMP_DEPTH 12

static bool in_kernel(const void *p, size_t n) { return (uptr)p >= pf_kernel_start && (uptr)p <= pf_kernel_end - n; }

// The frames of another thread, all on one line.
static void dump_chain(u64 rip, const u64 *frame)
{
	char text[(DUMP_DEPTH + 1) * 17 + 1];
	int n = 0;

	if (rip)
		n = scnprintf(text, sizeof(text), " %lx", rip);
	for (int i = 0; i < DUMP_DEPTH && in_kernel(frame, 16) && !((uptr)frame & 7) && frame[1]; i++) {
		n += scnprintf(text + n, sizeof(text) - (size_t)n, " %lx", frame[1]);
		if (frame[0] <= (u64)frame)
			break;
		frame = (const u64 *)frame[0];
	}
	if (n)
		klog(LOG_ERR, "    chain:%s\n", text);
}

static const char *doing(const struct hthread *h, const struct task *t)
{
	if (h->hostcall)
		return "waits for the host";
	if (h->wait_frame)
		return t && t->sleeping ? "sleeps" : "waits";
	if (!h->seen_rip && !h->in_kernel)
		return "runs its program";
	return h->locks_held ? "runs with locks" : "runs";
}

void task_dump_window(u32 index, const struct hthread *h)
{
	const struct task *t = h->cur;
	const struct proc *p = in_kernel(t, sizeof(*t)) ? t->proc : NULL;
	const struct regs *r = p ? t->regs : NULL;
	u64 call = in_kernel(r, sizeof(*r)) ? r->orig_rax : U64_MAX;

	if (!in_kernel(t, sizeof(*t)))
		klog(LOG_ERR, "window %u host %u/%u: blank, locks %d\n", index, h->host_pid, h->host_tid, h->locks_held);
	else
		klog(LOG_ERR, "window %u host %u/%u: task %d of %d (%.15s) %s, call %ld%s%s at %lx, work %x, locks %d, state %d%s%s\n", index,
		     h->host_pid, h->host_tid, t->tid, in_kernel(p, sizeof(*p)) ? p->pid : 0, t->comm, doing(h, t), (s64)call, call < NR_TABLE ? " " : "",
		     call < NR_TABLE ? syscall_name((u32)call) : "", in_kernel(r, sizeof(*r)) ? r->rip : 0, t->work, h->locks_held,
		     in_kernel(p, sizeof(*p)) ? (int)p->state : -1, t->exiting ? ", exiting" : "", t->in_vfork_child ? ", vfork child" : "");
	if (h->hostcall)
		klog(LOG_ERR, "    hostcall %s has not returned\n", pf_hostcall_name(h->hostcall));
	if (h->wait_frame) {
		klog(LOG_ERR, "    on %lx = %u\n", (u64)h->wait_word, in_kernel(h->wait_word, 4) ? *h->wait_word : 0);
		dump_chain(0, h->wait_frame);
	} else if (h->seen_rip) {
		dump_chain(h->seen_rip, (const u64 *)h->seen_rbp);
	}
}

void task_dump_end(void)
{
	log_version(LOG_ERR);
	klog(LOG_ERR, "  names of the addresses: addr2line -pife build/kernel.debug ADDRESS...\n");
}

// SPDX-License-Identifier: Apache-2.0
// What a platform must give the kernel (the hardware abstraction layer). All functions act on the
// current host thread and address space unless they name another.
#pragma once
#include "kernel/include/list.h"
#include "kernel/include/types.h"

struct task;
struct proc;
struct mm;
struct regs;

// Layout of user address space (bytes). The kernel's own region lies above USER_KERNEL_START.
extern const uptr pf_user_min, pf_user_max;	// usable [min, max) in addition to the hole below
extern const uptr pf_kernel_start, pf_kernel_end; // the hole in it

// Window of a host thread, GS_BIAS below GS base. Offsets 0..47 are known to assembly and to current_task().
struct hthread {
	struct hthread *self;	// 0
	u64 *rseq_word;		// 8 rseq_cs of the area in rseq_area, or no_rseq (entry.S)
	const void *calls;	// 16 table of system calls of the task that it carries (syscall_calls)
	u64 kstack_top;		// 24
	struct task *cur;	// 32
	u64 canary;		// 40 stack protector
	s32 locks_held;		// 48
	u32 host_tid;		// 52 cleared by the host when the thread is gone
	u32 host_pid;
	u32 in_kernel;		// 60: between entry and exit (entry.S); not while a new thread starts
	const u64 *wait_frame;	// 64: sleeping in pf_wait: its stack frame (entry.S), and the word
	u32 *wait_word;		// 72
	u64 *pub;		// 80: for registers on their way to the program, where keys protect this memory (gate.h)
	uptr rseq_area;		// kernel/task/rseq.c: what the host has registered, 0: nothing
	struct list rseq_link;	// while it is not 0: in mm->rseq
	u32 rseq_sig;
	u64 no_rseq;		// always 0
	u32 ready;		// its host signal stack is its own: it may be kicked
	u32 shard;		// shard.h
	u32 hostcall;		// HC_*: the host is at it now; 0: none
	u64 seen_rip, seen_rbp;	// where the last kick found it inside the kernel (task/dump.c)
};
static inline struct hthread *hthread_self(void)
{
	struct hthread *h;
	__asm__ volatile("mov %%gs:%c1, %0" : "=r"(h) : "i"(-GS_BIAS));
	return h;
}
// A system call that jumped in leaves struct regs in a short form (ss 0); this makes it complete.
void regs_complete(struct regs *r);

#define PF_R 1
#define PF_W 2
#define PF_X 4
enum pf_cap { PF_HAS_FORK = 1, PF_HAS_COW = 2, PF_HAS_SHARED_TEXT = 4, PF_HAS_FIXED_ADDR = 8, PF_HAS_KERNEL_ISOLATION = 16, PF_HAS_MEM_ENCRYPTION = 32,
	      PF_HOST_FAULTS = 64, PF_OWN_MMU = 128 };
u32 pf_caps(void);

// --- memory of the current address space; addresses and lengths page-aligned, checked by the core.
int pf_map_anon(uptr addr, size_t len, int prot);			// fresh zero pages, copy-on-write over fork
int pf_map_pages(uptr addr, u32 pfn, u32 n, int prot, bool shared);	// page-cache run; private = copy-on-write
int pf_unmap(uptr addr, size_t len);
int pf_protect(uptr addr, size_t len, int prot);
int pf_move(uptr old, size_t len, uptr to, size_t newlen);		// mremap of a private mapping; grows in place when to is old
int pf_dontneed(uptr addr, size_t len);					// private anonymous pages become zero again
int pf_populate(uptr addr, size_t len, bool write);			// a hint
int pf_inherit(uptr addr, size_t len, u32 vma_flag, bool on);		// fork leaves the memory out (VMA_DONTFORK) or zero (VMA_WIPEONFORK)
int pf_mincore(uptr addr, size_t len, u8 *out);				// private memory: a byte for each page, 0 or 1
int pf_hugepage(uptr addr, size_t len, bool on);			// a hint
void pf_reset_address_space(void);					// unmaps everything of the program's
void pf_pages_mapped_often(u32 pfn, u32 n);				// by many processes, if there are many: worth large pages of the host
bool pf_pages_huge(u32 pfn);						// 2 MiB that no memory is behind: gets it at once, zero, if that can be had
void pf_pages_released(u32 pfn, u32 n);					// give memory back: reads as zero afterwards

// --- protection of the kernel itself
void pf_seal(void);	// boot, before any other process exists: __sealed variables become read-only, here and in all that follow
struct pf_protection {
	const char *name;
	bool holds;
	const char *how;
	uptr start, end;	// of the memory, where it is about some
};
#define PF_PROTECTIONS 12
u32 pf_protections(struct pf_protection *out);	// what holds in this process now, tried out where that can be; at most PF_PROTECTIONS

// --- tasks
int pf_fork(struct task *child, const struct regs *regs);	// new address space, copy of this; child resumes at `regs` with its rax
int pf_thread_create(struct task *t, const struct regs *regs);	// same address space
void pf_thread_exit(void) __noreturn;				// the task's host thread is free
void pf_proc_exit(void) __noreturn;				// so are all others of the process, now or soon
// vfork: the current host thread carries `child` from now on / carries `parent` again.
void pf_switch_identity(struct task *to);
// Hands task t (vfork child past exec's point of no return) to a blank host process, which calls exec_commit_on_blank(t).
int pf_blank_handoff(struct task *t);
// task/dump.c: for the platform, which knows all windows
void task_dump_window(u32 index, const struct hthread *h);
void task_dump_end(void);
const char *pf_hostcall_name(u32 op);
void pf_kick(struct task *t);		// make it look at task->work soon if it is in user mode
bool pf_on_cpu(struct task *t);
int pf_kthread(void (*fn)(void *), void *arg, const char *name);
void pf_set_fs(u64 base);
u64 pf_get_fs(void);
void pf_enter_user(struct regs *regs) __noreturn;	// first entry of a program (exec): all registers from regs

// --- waiting: sleeps while *word == val. 0, -EAGAIN, -EINTR, -ETIMEDOUT. deadline CLOCK_MONOTONIC ns.
int pf_wait(u32 *word, u32 val, u64 deadline_ns);
void pf_wake(u32 *word, u32 n);

// --- extended (vector) state. The kernel is built without vector instructions.
size_t pf_xstate_size(void);		// bytes of an XSAVE area in a signal frame
u64 pf_xstate_mask(void);
void pf_xsave(void *area64);		// 64-byte aligned kernel buffer
int pf_xrstor(const void *area64);	// validated; -EINVAL
int pf_xcheck(const void *area64);	// would pf_xrstor take it?
void pf_fpu_begin(void), pf_fpu_end(void); // around kernel crypto: saves and restores the program's vector state; may nest

// --- text: see mm/text.c
void pf_text_sync(void);

// --- the rest
u64 pf_tsc(void);
void pf_random(void *buf, size_t n);	// RDRAND/RDSEED based, host entropy only mixed in
void pf_log(const char *s, size_t n);
void pf_missing(const char *s, size_t n);	// one line for the host's list of names that are not there; debug enclaves only
void pf_stop(int wait_status) __noreturn;	// stops the whole enclave
void pf_program_started(void);	// tells whoever waits for it outside
void pf_limit_cpus(u32 most); // boot: CPUs beyond are not there
u32 pf_ncpus(void);	// CPU numbers are 0 to this less one
void pf_set_cpus(struct task *t);	// task->cpu_mask has changed; a hint to who schedules
void pf_set_batch(bool batch);	// the current task's class is, or is no more, SCHED_BATCH; a hint as well
// What the host says of a process (task NULL) or of one of its threads. It may lie: figures only. Not under locks. -ENOENT: not known.
struct pf_usage {
	u64 utime_ns, stime_ns, minflt, majflt, nvcsw, nivcsw;
	u64 anon, shared, peak;	// resident pages: private, others (the kernel's too), the most at any time
};
int pf_usage(struct proc *p, struct task *t, struct pf_usage *u);
void pf_usage_self(struct pf_usage *u);	// of the caller's process, but for CPU time, anon and shared; peak with the kernel's pages
int pf_resident(struct proc *p, u64 (*range)[2], u32 n);	// {start, end} becomes pages {private, shared}
long pf_private_pages(bool exact);				// of all processes; exact: what a fork shares counts once, and it takes long
long pf_private_pages_of(struct proc *const *p, u32 n, bool exact);	// of these
void pf_host_counts(u32 *threads, u32 *processes);		// host threads and processes that exist for the enclave
void pf_relax(void);
void pf_yield(void);
long pf_cpu_times(struct task *t, u64 *utime_ns, u64 *stime_ns);
int pf_getcpu(void);
// rseq(2) of the current host thread, for a program's area. -ENOSYS: the platform has nothing that could abort a section.
// Its caller keeps rseq_area, rseq_word and rseq_sig; the entry into the kernel makes *rseq_word 0.
int pf_rseq(uptr area, u32 len, int flags, u32 sig);

// SPDX-License-Identifier: Apache-2.0
// Processes and threads. `struct proc` is a Linux thread group (process), `struct task` a thread.
// A task is carried by a host thread window (struct hthread, platform.h); vfork moves a host thread
// from one task to another ("identity switch"), so nothing may be keyed by the host thread.
//
// Locks: tasklist (one mutex) guards the pid tables (who looks for a number does without), parent/child/session links and exit codes.
// proc->sig_lock guards signal actions, pending sets and masks (a task changes its own alone: signal_set_mask), group exit and stop
// states. The list of threads and proc->state change with both held, so either is enough to read them. pgrp_lock (kernel/task/pid.c) guards the process groups.
// Order: tasklist -> pgrp_lock -> sig_lock -> waitq.
#pragma once
#include "kernel/include/ktime.h"
#include "kernel/include/list.h"
#include "kernel/include/lock.h"
#include "kernel/include/uapi.h"
#include "kernel/include/wait.h"
#include <asm/signal.h>
#include <asm/siginfo.h>

struct file;
struct fdtable;
struct mm;
struct path_ctx;
struct hthread;
struct utask;
struct fs_ctx;
struct sighand;

// User registers as saved at kernel entry, on top of the kernel stack. The assembly in
// platform/process/entry.S knows this layout.
struct regs {
	u64 r15, r14, r13, r12, rbp, rbx;	// callee-saved
	u64 r11, r10, r9, r8, rax, rcx, rdx, rsi, rdi;
	u64 orig_rax;		// system call number, -1 when the kernel was not entered by a call
	u64 rip, cs, flags, rsp, ss;
};

// task->work bits: what to do before going back to the program
#define WORK_SIGNAL 1u		// a deliverable signal may be pending
#define WORK_EXIT 2u		// the task must exit (exit_group, exec by a sibling, SIGKILL)
#define WORK_STOP 4u		// job-control stop
#define WORK_FULL_RESTORE 8u	// return with every register from struct regs (sigreturn)
#define WORK_REMOTE 32u		// somebody asks something of this address space (mm/remote.c)
#define WORK_TRAP 64u		// the tracer wants a stop (task/ptrace_stop.c)
#define WORK_SYSEXIT 128u	// the tracer watches the end of this system call
#define WORK_VFORK 256u		// a traced vfork parent has its host thread back
#define WORK_URING 512u		// io_uring requests of this task can go on
#define WORK_FREEZE 1024u	// its control group is frozen
#define WORK_THROTTLE 2048u	// its control group has used up its CPU time
#define WORK_START 16u		// first return of a forked child: store its tid at set_child_tid

#undef NSIG
#define NSIG 64
typedef u64 sigset;		// bit n-1 = signal n
#define SIGBIT(n) (1ul << ((n) - 1))

struct sigqueue {		// one queued signal
	struct list link;
	siginfo_t info;
};
struct sigpending {
	sigset set;
	struct list queue;
};
struct ksigaction {
	void __user *handler;	// SIG_DFL, SIG_IGN or a user address
	u64 flags;
	void __user *restorer;
	sigset mask;
};

// One sleep of one task, by values that no other has.
struct nap {
	u64 start_ns;
	int tid;
	u32 seq;
};

struct task {
	u32 work;		// offset 0: tested by the exit path
	u32 wake_seq;		// offset 4: the word that it sleeps on
	struct hthread *host;	// window that carries it; NULL before start and after exit
	struct regs *regs;	// user registers (on the kernel stack of `host`, or &saved)
	struct regs saved;	// registers of a vfork parent while its host thread is the child
	struct proc *proc;
	struct fdtable *files;	// a reference; only the task itself changes it, under tasklist (task_files_set); NULL once exiting
	struct waiter child_waiter; // of wait4 and waitid: here, not on the stack, an ending child touches no page of its own for it
	int tid;
	struct ref ref;
	struct list thread_link;	// proc->threads
	sigset blocked, saved_blocked;
	sigset sigwait;		// signals that sigtimedwait waits for
	bool restore_blocked;	// sigsuspend, ppoll...: put saved_blocked back after delivery
	bool mask_swapped;	// between sigmask_swap and sigmask_restore
	bool stopped;		// stands still in a job-control stop
	bool frozen;		// ... in a frozen control group
	int force_sig;		// fault that must be acted upon, even by pid 1
	struct sigpending pending;
	u64 altstack_sp, altstack_size;
	int altstack_flags;
	u64 fs_base;		// as far as known while not running
	int __user *clear_child_tid, *set_child_tid;
	void __user *robust_list;
	long (*restart_fn)(struct task *);	// ERESTART_RESTARTBLOCK
	u64 restart_arg[4];
	bool dead, exiting, sleeping, in_vfork_child;
	int exit_code;
	struct task *vfork_parent;	// this task runs on its vfork parent's host thread
	bool vfork_done;		// set for the parent when the child has exec'ed or exited
	char comm[16];
	u64 start_ns, utime_ns, stime_ns;
	struct list futex_link;
	u32 __user *pi_lock;		// the PI futex that it waits for (kernel/task/futex_pi.c)
	u64 nvcsw;
	u32 pdeathsig;
	u32 pollset;			// its own among the host's epolls, 0: none (kernel/net/hostio.c)
	u32 asleep_in;			// the one of them that it sleeps in, 0: none
	u32 sleep_seq;			// while `sleeping`: the value of wake_seq that it sleeps on
	struct nap roused[4];		// sleeps that it has ended by a call of the host's, by tid: it need not do so again (kernel/task/sleep.c)
	u64 trap_fault_addr, trap_err, trap_no;	// of the last fault, for signal frames
	u64 cpu_mask;		// CPUs that it may use; U64_MAX: all
	u64 cpu_wish;		// sched_setaffinity, of which its control group may leave less
	int policy;		// SCHED_*, as set, with SCHED_RESET_ON_FORK
	u32 rt_prio;		// 1 to 99 for SCHED_FIFO and SCHED_RR, else 0
	u64 dl[3];		// SCHED_DEADLINE: runtime, deadline, period
	u16 io_prio;		// IOPRIO_*, as set (task/ioprio.c)
	u64 timer_slack_ns, timer_slack_first; // now, and what 0 goes back to: its maker's of then; 0: 50000
	u32 login_uid, login_session; // /proc/PID/loginuid and sessionid, inverted: 0 is unset
	struct strace_line *strace; // the call that --debug-strace is printing
	struct utask *uring;	// kernel/uring/, NULL until it uses a ring
	bool nowait;		// sleeps for an event end at once with -EINTR
	int mempolicy;		// set_mempolicy: MPOL_* and flags
	u64 mempolicy_nodes;
	void *exec;		// prepared exec on its way to a blank host process
	u32 divert;		// DIVERT_*: its system calls go through syscall/divert.c
	u32 seccomp_mode;	// SECCOMP_MODE_*
	struct seccomp_filter *seccomp;	// newest filter (task/seccomp.h)
	struct sud *sud;	// Syscall User Dispatch (task/sud.c); NULL: off
	struct ptrace *pt;	// kernel/task/ptrace.h; NULL: never was traced
	struct fs_ctx *own_fs;	// directories of this thread alone; NULL: its process's
	struct cred *as;	// acts as these for a while (uring/work.c), whose reference is the setter's; NULL: its process's
	struct key *thread_keyring; // kernel/keys/, NULL until used
	struct ipc_ns *ipc_used; // a reference on what its last call on System V objects used; NULL: the first one
	u8 request_ring;	// KEY_REQKEY_DEFL_*
	u8 mce_policy;		// PR_MCE_KILL: PR_MCE_KILL_* plus one; 0: the system's
};

enum proc_state { PROC_RUNNING, PROC_STOPPED, PROC_ZOMBIE, PROC_DEAD };

struct session {
	struct ref ref;
	int sid;
	struct tty *tty;	// controlling terminal, a reference; guarded by tasklist
};

struct user_ns;
struct cred {			// one set per process; ids are those of the first user namespace
	u32 uid, euid, suid, fsuid, gid, egid, sgid, fsgid;
	u32 ngroups, groups[32];
	u64 cap_eff, cap_perm, cap_inh, cap_bset, cap_amb;
	bool no_new_privs;
	u8 securebits;		// SECBIT_*
	struct user_ns *user_ns; // of capabilities and maps: a reference; NULL: the first one
};

// task->divert: who looks at the system calls of a task
#define DIVERT_PTRACE 1u
#define DIVERT_SECCOMP 2u
#define DIVERT_PIDS 4u
#define DIVERT_SUD 8u
// The table for the task that a host thread carries (kernel/syscall/divert.c); t may be NULL.
const void *syscall_calls(const struct task *t);
void syscall_divert_update(void);	// the current task's divert has changed

struct proc {
	int pid;			// == tid of its first task (leader)
	enum proc_state state;
	struct ref ref;
	struct proc *parent;		// never NULL but for pid 1
	struct list children, sibling;
	struct list threads;		// live tasks
	struct task *leader;		// reference, kept until the process is reaped; the task named pid
	u32 nthreads;
	int pgid;
	struct session *session;
	struct list pgrp_link;
	int exit_code;			// wait(2) status
	int stop_sig;
	bool group_stop;		// a job-control stop is under way or complete
	bool stop_pending, cont_pending; // not yet reported by wait
	bool cont_notify;		// the parent has to be told of SIGCONT
	bool group_exit, execed;
	bool borrows_mm;		// vfork child before exec: mm is the parent's
	struct task *exec_task;		// this thread is getting rid of its siblings
	int exit_signal;		// sent to the parent, SIGCHLD for fork
	int forker;			// tid of the thread that made it
	struct list tracees;		// struct ptrace of what our threads trace; tasklist
	u32 ntraced;			// our threads that are traced; tasklist
	struct waitq wait_child;	// parents sleep here in wait4/waitid
	struct waitq exit_wq;		// woken when the process becomes a zombie (pidfd, vfork)
	struct waitq threads_wq;	// woken when a sibling has left

	struct mm *mm;			// NULL once exited
	struct fs_ctx *fs;		// cwd, root, umask
	struct ipc_ns *ipc_ns;		// include/ns.h; NULL once exited
	struct uts_ns *uts_ns;
	struct mnt_ns *mnt_ns;
	struct ns *time_ns;		// references; NULL: the first one
	struct ns *time_children;	// where its children and its next program are; NULL: in the same
	struct ns *cgroup_ns;		// NULL: the first one
	struct net_ns *net_ns;		// NULL: the first one
	struct cgroup *cgroup;		// include/cgroup.h, a reference; NULL: the root group
	u64 cg_utime, cg_stime;		// CPU time that it had when it came there
	struct ns *pid_children;	// PID namespace of its children to come; NULL: its own
	struct key *session_keyring, *process_keyring; // kernel/keys/, NULL until used
	struct sem_undos *sem_undos;	// kernel/ipc/sem.c; NULL until used
	struct file *exe;		// /proc/self/exe
	struct cred cred;
	struct mutex sig_lock;
	struct ksigaction *action;	// own_action or sighand's; each action is read and changed as a whole by action_get and action_set
	struct sighand *sighand;	// shared with other processes (CLONE_SIGHAND); NULL: with none
	struct sigpending pending;	// process-wide
	struct list signalfd_wqs;	// waitq woken on each new signal: see signalfd
	struct waitq signal_wq;
	struct __kernel_rlimit { u64 cur, max; } rlim[RLIM_NLIMITS];
	char *cmdline;			// argv as one block with NULs, copied at exec
	u32 cmdline_len;
	char *environ;
	u32 environ_len;
	uptr auxv_copy[64];
	u64 arg_start, arg_end, env_start, env_end, stack_top;

	u64 start_ns;			// CLOCK_BOOTTIME
	u64 utime_ns, stime_ns;		// of exited threads
	u64 cutime_ns, cstime_ns;	// of waited-for children
	struct usage_counts {		// the host's figures, for rusage
		u64 minflt, majflt, nvcsw, nivcsw, peak_kib;
	} used, cused;			// of this process when it ended, and of waited-for children
	struct ktimer itimer_real;
	u64 itimer_interval;
	struct cpu_itimers *cpu_itimers; // ITIMER_VIRTUAL and _PROF, NULL until used (time/itimer.c)
	struct list posix_timers;
	int next_timer_id;
	u32 nice;
	int oom_score_adj;		// /proc/PID/oom_score_adj
	u32 dump_filter;		// /proc/PID/coredump_filter, xor its default
	u64 xcpu_next;			// seconds of CPU time at which SIGXCPU comes next
	bool dumpable, child_subreaper;
	struct user_ns *exec_ns; // where its program began, at or above cred.user_ns: who rules that may look at it though it is not dumpable
	bool helper;			// of Coffer itself, out of the programs' sight (proc_hide)
	bool gateway;			// the helper that speaks for programs to the world (net/shield.c)
	u32 personality;
#define PER_NO_RANDOMIZE 0x40000u	// ADDR_NO_RANDOMIZE
#define PER_CLEAR_SETID 0x740000u	// what a set-user-id program does not inherit, as Linux: layout, READ_IMPLIES_EXEC, MMAP_PAGE_ZERO
	void *mm_host;			// platform's record of the host process
	struct ksigaction own_action[NSIG + 1];
};

extern struct mutex tasklist;
extern struct proc *init_proc;

struct hthread;
static inline struct task *current_task(void)
{
	struct task *t;
	__asm__ volatile("mov %%gs:%c1, %0" : "=r"(t) : "i"(32 - GS_BIAS));
	return t;
}
#define current (current_task())
#define curproc (current->proc)

// Working directory, root and umask of the current thread.
static inline struct fs_ctx *cur_fs(void) { return unlikely(current->own_fs) ? current->own_fs : curproc->fs; }

// kernel/task/pid.c: both return a new reference or NULL
struct proc *proc_find(int pid);
struct task *task_find(int tid);
bool sched_batch(const struct task *t);	// its class is SCHED_BATCH
void proc_put(struct proc *p);
void task_put(struct task *t);
// Takes the process out of the tables: no program finds, signals, traces or waits for it. It may reach the host's network.
void proc_hide(struct proc *p);
// Calls fn for each process under tasklist until it returns non-zero, which is then returned.
int proc_for_each(int (*fn)(struct proc *, void *), void *arg);
int proc_for_each_locked(int (*fn)(struct proc *, void *), void *arg); // the caller has tasklist
struct ns;
int pid_alloc(struct ns *ns, int wish);	// in a PID namespace, NULL the first; this number, or any for 0; -EEXIST, -EAGAIN
int pid_last_made(void);
u64 pid_count_made(void);	// how many ever
static inline u64 enclave_start(void) { return init_proc->start_ns; }	// CLOCK_MONOTONIC, as ktime_mono()
void pid_free(int pid);

// kernel/task/sighand.c; sig_lock of p held
struct ksigaction action_get(struct proc *p, int sig);
struct ksigaction action_of(struct proc *p, int sig);	// of any process: sig_lock not held
void action_set(struct proc *p, int sig, const struct ksigaction *ka);
int sighand_share(struct proc *child, struct proc *from);	// sig_lock not held; -ENOMEM
void sighand_leave(struct proc *p, bool keep);	// keep: with the actions of now as its own. Takes sig_lock if so

// PID namespaces (kernel/task/pidns.c): a number as the current task sees it, and what it means by one (negative: a group's).
#define PID_MAX 32768
int pid_out_slow(int pid), pid_in_slow(int pid);
static inline int pid_out(int pid) { return likely(current->tid < PID_MAX) ? pid : pid_out_slow(pid); }
static inline int pid_in(int pid) { return likely(current->tid < PID_MAX) ? pid : pid_in_slow(pid); }
static inline int pid_own(const struct task *t) { return likely(t->tid < PID_MAX) ? t->tid : t->tid % PID_MAX; } // as t sees itself
bool pid_visible(int pid);
void pid_fix_info(siginfo_t *info);	// the sender's numbers in it, for the current task
static inline bool pid_namespaced(void) { return unlikely(current->tid >= PID_MAX); }

// kernel/task/signal.c. All may be called with tasklist held, none with sig_lock.
int signal_send_proc(struct proc *p, int sig, const siginfo_t *info);	// info NULL: from the kernel (SI_KERNEL)
int signal_send_task(struct task *t, int sig, const siginfo_t *info);
u64 signal_queued(struct proc *p);		// how many wait; sig_lock held
int signal_send_pgrp(int pgid, int sig, const siginfo_t *info);		// 0 or -ESRCH
// A fault of the current task: sent even if blocked or ignored (then it kills), as Linux forces it.
void signal_force(int sig, int code, u64 addr);
void signal_force_info(const siginfo_t *info);
void signal_recalc(struct task *t);		// recomputes WORK_SIGNAL; sig_lock held
// Takes the next pending signal in `set` (signalfd, sigtimedwait): signal number or 0.
int signal_dequeue(sigset set, siginfo_t *info);
// The caller took a timer's signal (kernel/time/posix_timer.c): it stands for all expiries until now. Not with sig_lock held.
void posix_timer_taken(siginfo_t *info);
// Exit path: delivers signals, stops, exits. Called with interrupts of any kind harmless.
void task_work(struct regs *regs);
// ppoll, pselect, epoll_pwait: install a temporary mask; the old one comes back on return to user mode
// (or by sigmask_restore when no signal interrupted).
int sigmask_swap(const void __user *set, size_t size);
void sigmask_restore(bool interrupted);

// kernel/task/rseq.c
void rseq_drop(struct task *t);			// the host forgets its thread's area
uptr rseq_not_for_child(struct mm *mm, u32 *sig);	// around a fork, mm->lock held
void rseq_again(struct mm *mm, uptr area, u32 sig);
void rseq_inherit(struct hthread *child, struct mm *mm);	// the host's fork does
long rseq_survived(long r);			// does not return -EAREAGONE

// kernel/task/exit.c
void task_exit(int code) __noreturn;			// this thread (exit(2))
void proc_exit(int wait_status) __noreturn;		// exit_group(2) and death by signal

// kernel/task/exec.c: first program. argv/envp NULL-terminated kernel arrays. Runs on a fresh task.
int exec_init(const char *path, char *const argv[], char *const envp[]);
// Second half of exec, in the address space that will run the program (blank hand-off calls it).
void exec_commit_on_blank(struct task *t) __noreturn;

// ids as seen by programs, with fsuid checks for the VFS
static inline struct cred *cred(void) { return unlikely(current->as) ? current->as : &curproc->cred; }
s64 time_offset(int clock);		// of the current process's clock from the kernel's, ns
u64 time_to_kernel_slow(int clock, u64 ns);
// A moment on a clock, as the process names it, on the kernel's.
static inline u64 time_to_kernel(int clock, u64 ns) { return likely(!curproc->time_ns) ? ns : time_to_kernel_slow(clock, ns); }
bool capable(int cap);			// in the first user namespace, which owns all that has no other owner
bool own_capable(int cap);		// in the caller's own, over itself
bool cred_capable(const struct cred *c, const struct user_ns *u, int cap);
bool ns_capable(const struct user_ns *u, int cap);
bool capable_here(u32 type, int cap);	// in that which owns the caller's namespace of this kind (CLONE_NEW*); takes tasklist
struct cred *cred_dup(const struct cred *c);	// NULL: no memory
void cred_free(struct cred *c);
// Ids to programs and from them: U32_MAX when the caller's user namespace has none for it, 65534 to a program.
u32 id_in(const struct user_ns *u, bool group, u32 id);
u32 id_out(const struct user_ns *u, bool group, u32 id);
bool id_mapped(const struct user_ns *u, bool group, u32 id);
static inline u32 uid_in(u32 id) { return likely(!cred()->user_ns) ? id : id_in(cred()->user_ns, false, id); }
static inline u32 gid_in(u32 id) { return likely(!cred()->user_ns) ? id : id_in(cred()->user_ns, true, id); }
static inline u32 uid_out(u32 id) { return likely(!cred()->user_ns) ? id : id_out(cred()->user_ns, false, id); }
static inline u32 gid_out(u32 id) { return likely(!cred()->user_ns) ? id : id_out(cred()->user_ns, true, id); }
#define RLIMIT(r) (curproc->rlim[r].cur)

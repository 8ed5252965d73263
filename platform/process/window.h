// SPDX-License-Identifier: Apache-2.0
// The process platform's part of a thread window (struct hthread and what follows it in the same 256 KiB).
#pragma once
#include "kernel/include/platform.h"
#include "kernel/include/task.h"
#include "platform/process/control.h"
#include "platform/process/sys.h"

struct park {			// park.c; offsets are known to entry.S
	u32 word;		// 0: asleep or running; PARK_GO, PARK_END
	u32 next;		// the next window on the list: index + 1, or 0
	u64 self;		// index + 1, where hproc->threads has the first one's
	u8 *used;		// what win_exit_thread marks free
	void *stack;		// on which it begins again
	u32 tid;		// the host's number, while no task has it
};
enum { PARK_GO = 1, PARK_END };

struct spent {			// by the tasks that the host thread carried before
	u64 utime_ns, stime_ns, minflt, majflt, nvcsw, nivcsw;
};

struct window {
	struct hthread h;
	struct hproc *hproc;
	u64 cpus;		// task->cpu_mask that the host was told for this thread (cpus.c)
	bool batch;		// and whether it is SCHED_BATCH
	u32 index;
	u32 used;		// allocation state
	u32 next_free;
	struct task *start_task; // what a new host thread begins with
	void (*kfn)(void *);	// kernel thread body
	void *karg;
	u32 blank_word;		// futex: a blank waits here for a task
	u64 guarded;		// serial number of the host process that has a guard page below the kernel stack
	u32 fpu_depth;
	u32 trap_kind;		// what the host signal handler saw (trap.c)
	int trap_sig, trap_code;
	u64 trap_addr, trap_err, trap_no;
	struct hc_desc desc;	// hostcall slot
	struct park park;
	struct spent base, seen; // not this task's; all that the host last said of the thread
	u16 gen;
};

struct hproc {			// one host process
	u64 serial;		// never used again; changes when guard pages go
	u64 threads;		// how many, and those that sleep for a task (park.c)
	u32 used, pid, nparked;
	u32 exiting;		// leaves by itself: not "killed by the host"
	u32 guards;		// pages without access below kernel stacks, inherited ones too
};

#define ADVISE_DONTDUMP 16	// makes mappings of their own
#define ADVISE_GUARD_INSTALL 102 // Linux 6.15

#define CTL ((struct control *)(K_LIN + OFF_CTL))
#define WIN(i) ((struct window *)(K_LIN + OFF_WIN + (u64)(i) * WIN_STRIDE))

static inline struct window *win_self(void) { return (struct window *)hthread_self(); }
static inline u8 *win_pool(struct window *w) { return (u8 *)(K_LIN + OFF_POOLS + (u64)w->index * POOL_STRIDE); }
static inline struct regs *win_regs(struct window *w) { return (struct regs *)(((uptr)w + WIN_KSTACK_TOP - sizeof(struct regs) - 64) & ~15ul); }
static inline void *win_fpu(struct window *w) { return (u8 *)w + WIN_FPU; }
static inline void *win_stack(struct window *w) { return (void *)(((u64)win_regs(w) - 512) & ~15ul); } // of a thread that begins

struct window *win_alloc(void);
void win_free(struct window *w);	// of a thread that never ran
u32 win_count(void);		// those behind were never used
struct hproc *hproc_alloc(void);
struct window *win_of(struct hproc *hp, u32 i); // window i if it is in use by a thread of hp, or NULL
struct hproc *hproc_of_pid(u32 pid);
void hproc_reclaim(struct hproc *hp);
void host_process_died(u32 pid, u32 status);
bool blank_died(struct window *w);	// true: it was a blank that nobody has
long thread_on(struct window *w, void *stack, void (*fn)(void)); // a new thread of this host process takes a window
void win_setup(struct window *w, struct task *t, struct hproc *hp);
// park.c
struct window *park_take(struct hproc *hp);	// a host thread that sleeps, counted as running again; NULL: none
void park_go(struct window *w);			// it begins with the task that the window has now
void park_again(void);				// entry.S: there
void park(struct hproc *hp, struct window *w, u8 *used); // the current thread sleeps for good; returns if it may not
bool park_leave(struct hproc *hp);		// one thread fewer. True: the last; the sleepers end as well
void park_forget(struct hproc *hp);		// the host has killed them
extern u32 host_seed[16];
extern int host_memfd, host_message_fd;
void cpus_init(void);			// boot
bool cpus_dense(void);
void cpus_follow(struct window *w);	// w carries a task that may want other CPUs, or another class, than the one before it
void hot_block_init(void);		// boot
void hot_touch(void);			// a new process
void touch(const char *p, const char *end);
bool hot_process_made(void);		// true: hot_collapse has work
void hot_collapse(void);		// kernel thread
void host_thread_init(void);		// altstack: each new host task
void window_guard(struct window *w);	// in the process that will stand on w's kernel stack
void window_guards_drop(struct hproc *hp); // by a thread of hp
void hproc_renew(struct hproc *hp);	// as if no thread had a guard page
void image_alias_drop(void);		// boot: the linear map shows no kernel image
void trap_init(void);			// signal handlers: once
int seccomp_init(void);
void blank_main(void *unused);
void blank_refill(void);
void host_events_thread(void *unused);

// entry.S
extern char kernel_hot_start[], kernel_small_end[], kernel_hot_end[]; // variables: small ones first
extern char kernel_hot_text_end[];			// what runs in each new process (hot.lds)
extern char kernel_text_start[], kernel_text_end[], kernel_sealed_start[], kernel_sealed_end[], kernel_rodata_end[];
struct gate {			// the way between programs and kernel
	char *kexit;		// entry.S knows it is the first
	char *kentry, *kexit_end, *kexit_jmp, *kexit_iret, *ktrap;
	char *again;		// where a way back that was interrupted begins anew
	void (*on_signal)(int sig, siginfo_t *info, void *ctx); // the host's handler
};
extern const struct gate *gate;
extern char kentry[], kexit[], kexit_end[], kexit_jmp[], kexit_iret[], ktrap[];
extern char kentry_pku[], kexit_pku[], kexit_end_pku[], kexit_jmp_pku[], kexit_iret_pku[], ktrap_pku[], kexit_again_pku[];
void on_signal(int sig, siginfo_t *info, void *ctx), on_signal_pku(int sig, siginfo_t *info, void *ctx);
bool pku_gate_works(void), pku_denies_read(const void *p), pku_denies_write(void *p);
// pku.c
extern bool pku_on;
void pku_init(u64 memory_end);	// boot; the handlers of host signals must be there
struct pf_protection pku_report(void);
static inline u8 *win_slot(struct window *w) { return (u8 *)K_PUB + (u64)w->index * PUB_STRIDE; }
void end_with_launcher(void);	// a host process of its own dies when the launcher does
void kresume(struct regs *regs) __noreturn;	// rsp = regs, leave through the exit path
void win_park(u64 *threads, struct park *p);	// puts itself on the list and sleeps there; returns when it is the last thread
void win_exit_thread(u8 *used, u32 *hproc_used) __noreturn; // marks window (and process slot, or NULL) free, then the host's exit: touches no stack
long host_clone(u64 flags, void *stack, u32 *tid, struct window *w, void (*fn)(void));
// A call of the host in which it may kill the caller: another thread goes on there (death.c), with -EINTR.
long host_sleep(long nr, long a, long b, long c, long d, long e, long f);
#define H6(n, a, b, c, d, e, f) host_sleep(n, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))
#define H3(n, a, b, c) H6(n, a, b, c, 0, 0, 0)

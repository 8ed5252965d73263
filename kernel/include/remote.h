// SPDX-License-Identifier: Apache-2.0
// "Run this on that task's address space" (kernel/mm/remote.c): how one process reaches another's memory. User memory is
// touched only by tasks of its own address space, so a request is queued at the target's mm and any task that lives
// there does it: at once when it sleeps in a system call or stands still, on its way out of the kernel when it is
// there, after a kick when it runs in user mode. What crosses lies in kernel memory.
//
//	ssize_t n = remote_read(task, program, kernel_buf, addr, len);	// PTRACE_PEEK*, /proc/PID/mem, process_vm_readv
//	ssize_t n = remote_write(task, program, kernel_buf, addr, len);
//
// or, for anything else: a struct remote in the first member of a kmalloc'ed record, an fn that acts on "the current" mm
// (curproc->mm, copy_*_user, mm_protect...), and remote_run. The record belongs to the machinery from then on: read the
// result and what fn left in it, then remote_put. The caller holds a reference on the task and no lock, and may sleep.
//
// What may be done to a program may not be done to the next that the process runs, which may be set-user-id: whoever asks remote_allowed
// takes remote_program before.
// Errors: -ESRCH when the address space is gone or goes meanwhile, -EINTR when the caller must die.
#pragma once
#include "kernel/include/list.h"
#include "kernel/include/lock.h"
#include "kernel/include/types.h"

struct task;
struct proc;
struct mm;

enum remote_state { REMOTE_QUEUED, REMOTE_RUNNING, REMOTE_DONE };

struct remote {
	struct list link;		// mm->remote
	struct ref ref;			// the caller's and the queue's
	struct task *caller;		// reference; woken when done
	// Runs in the target's address space on a task of its own, without locks. May resolve faults; must not wait for others.
	long (*fn)(struct remote *r);
	long result;
	u64 program;			// for this one's memory only (mm->program); 0: whichever the task has
	u32 state;			// enum remote_state, guarded by mm->remote_lock
};

struct remote *remote_new(size_t size, long (*fn)(struct remote *r));	// zeroed record of that size; NULL: no memory
long remote_run(struct task *t, struct remote *r);	// fn's result or an error; r stays the caller's
void remote_put(struct remote *r);

// Bytes moved: short where the target's memory ends or forbids it, -EFAULT when nothing moved.
ssize_t remote_read(struct task *t, u64 program, void *dst, uptr addr, size_t n);
ssize_t remote_write(struct task *t, u64 program, const void *src, uptr addr, size_t n);
// The same with a debugger's rights: text shows its original bytes and is copied before it is written.
ssize_t remote_peek(struct task *t, u64 program, void *dst, uptr addr, size_t n);
ssize_t remote_poke(struct task *t, u64 program, const void *src, uptr addr, size_t n);

// May the caller look into p as a debugger would (ptrace_may_access with the real ids)?
bool remote_allowed(struct proc *p);
u64 remote_program(struct proc *p);	// 0: it has exited

// --- for kernel/task
void remote_serve(void);		// WORK_REMOTE: does what is queued at the current address space
void remote_pass(struct task *from, struct task *to);	// vfork: `to` now runs in from's place
void remote_close(struct mm *mm);	// nobody will run there any more

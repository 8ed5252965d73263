// SPDX-License-Identifier: Apache-2.0
// Clocks and kernel timers (kernel/time/). Time comes from the host and is untrusted; it never
// steps back inside.
#pragma once
#include "kernel/include/list.h"
#include "kernel/include/uapi.h"

#define NSEC_PER_SEC 1000000000ul
u64 ktime_mono(void);		// ns, CLOCK_MONOTONIC; cheap (TSC)
u64 ktime_real(void);		// ns since 1970, CLOCK_REALTIME
// CLOCK_REALTIME is between these two, and from now on runs with CLOCK_MONOTONIC, whatever the host's time of day; it is set backwards as well, so before programs run.
// By how much it was moved, in ns.
s64 clock_set_between(u64 least, u64 most);
bool clock_was_set(s64 *moved);	// is it so?
int ktime_clock(int clockid, u64 *ns);	// any clock id that clock_gettime(2) knows; -EINVAL
void ktime_init(void);		// at boot, before any other
void ktime_tick(void);		// re-synchronises with the host; called about once a second by the timer thread
// vDSO image of the programs: maps [vvar data][vdso text] into the current address space; returns its
// ELF header's user address (AT_SYSINFO_EHDR) or 0. Called by exec.
uptr vdso_map(void);

// One-shot timer; fn runs on the timer kernel thread (may take locks, must not sleep long).
// Zero-initialise before first use. ktimer_start on a pending timer moves it.
// fn may free the timer or start it again.
struct ktimer {
	struct list link;
	u64 expires;		// CLOCK_MONOTONIC ns
	void (*fn)(struct ktimer *);
	bool pending;
};
void ktimer_start(struct ktimer *t, u64 expires_mono_ns, void (*fn)(struct ktimer *));
// True if it was pending. Waits until a running fn has returned: hold no lock that fn takes, and never call it from fn.
bool ktimer_cancel(struct ktimer *t);
void ktimer_thread(void *);			// body of the timer kernel thread

static inline u64 ts_ns(const struct __kernel_timespec *t) { return (u64)t->tv_sec * NSEC_PER_SEC + (u64)t->tv_nsec; }
// Reads a user timespec, validates it (-EINVAL, -EFAULT); saturates.
int user_timespec(const void __user *p, u64 *ns);
int put_timespec(void __user *p, u64 ns);
// now + delta, saturating at NO_DEADLINE
u64 ktime_deadline(u64 delta_ns);

// alarm, setitimer and timer_create (kernel/time/itimer.c, posix_timer.c). exec drops the POSIX timers and keeps the
// interval timers; exit drops both. Neither may be called with tasklist or sig_lock held.
struct proc;
void posix_timers_drop(struct proc *p);
void itimers_drop(struct proc *p);

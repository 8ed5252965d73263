// SPDX-License-Identifier: Apache-2.0
// What the files of kernel/time/ share among themselves.
#pragma once
#include "kernel/include/ktime.h"

struct proc;
struct vdso_data;

// Moves the clocks' parameters into a page that programs can read.
void clock_offsets(int by);	// so many more time namespaces whose clocks differ: programs ask the kernel while there are any
void clock_publish(struct vdso_data *page);
// CPU time that all threads of a process have used, in ns. Takes tasklist; _locked: it is held.
void proc_cpu_ns(struct proc *p, u64 *utime, u64 *stime);
void proc_cpu_ns_locked(struct proc *p, u64 *utime, u64 *stime);
// True for the clocks that timers and sleeps run on; the others' errors differ by call.
static inline bool clock_is_real(int id) { return id == CLOCK_REALTIME || id == CLOCK_REALTIME_ALARM || id == CLOCK_TAI; }
static inline bool clock_is_mono(int id) { return id == CLOCK_MONOTONIC || id == CLOCK_BOOTTIME || id == CLOCK_BOOTTIME_ALARM; }
static inline bool clock_is_cpu(int id) { return id < 0 || id == CLOCK_PROCESS_CPUTIME_ID || id == CLOCK_THREAD_CPUTIME_ID; }

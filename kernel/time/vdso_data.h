// SPDX-License-Identifier: Apache-2.0
// What the kernel tells the vDSO: one page, read-only for programs, just below the vDSO's text. The kernel's
// own ktime_mono() reads the same parameters. Written by clock.c alone, under the sequence count.
#pragma once
#include "kernel/include/types.h"

#define VDSO_SHIFT 40
enum { VDSO_MONO, VDSO_REAL, VDSO_NCLOCKS };

struct vdso_data {
	u32 seq;	// odd while it changes
	u32 cpu_in_aux; // rdtscp's third value holds the CPU's number
	u64 tsc_base;
	struct {
		u64 ns;	  // the clock at tsc_base
		u64 mult; // ns per TSC tick << VDSO_SHIFT; 0 before the first calibration
	} clock[VDSO_NCLOCKS];
	u64 boot_offset; // CLOCK_BOOTTIME - CLOCK_MONOTONIC
	u32 offsets;	 // time namespaces with clocks of their own: ask the kernel for CLOCK_MONOTONIC and CLOCK_BOOTTIME
	u64 kentry;	 // where trampolines enter the kernel; 0: use the syscall instruction
};

// Not before earlier loads have finished.
static inline u64 vdso_tsc(void)
{
	u32 lo, hi;
	__asm__ volatile("lfence; rdtsc" : "=a"(lo), "=d"(hi)::"memory");
	return (u64)hi << 32 | lo;
}

static inline u64 vdso_scale(u64 ticks, u64 mult)
{
	return (u64)((unsigned __int128)ticks * mult >> VDSO_SHIFT);
}

// The clock now. CPUs' counters may differ by a few ticks: one that lags reads as the base. volatile: of a constant the compiler would keep the base
// that it read once, before it looks at the sequence count.
static inline u64 vdso_read(const volatile struct vdso_data *vd, int which)
{
	for (;;) {
		u32 seq = __atomic_load_n(&vd->seq, __ATOMIC_ACQUIRE);
		u64 now = vdso_tsc(), base = vd->tsc_base;
		u64 ns = vd->clock[which].ns;
		if (likely(now > base))
			ns += vdso_scale(now - base, vd->clock[which].mult);
		__atomic_thread_fence(__ATOMIC_ACQUIRE);
		if (likely(!(seq & 1) && seq == __atomic_load_n(&vd->seq, __ATOMIC_RELAXED)))
			return ns;
		__asm__ volatile("pause");
	}
}

// SPDX-License-Identifier: Apache-2.0
// The vDSO: code of the kernel's that runs in programs, so that reading a clock is a function call.
// Position-independent, without libraries; it may read only the page below its image (vdso_data.h).
// Interface: vdso(7), names and version as Linux has them.
#include "kernel/include/uapi.h"
#include "kernel/time/vdso_data.h"

extern const volatile struct vdso_data vvar __attribute__((visibility("hidden")));

#define NSEC_PER_SEC 1000000000ul
#define EXPORT __attribute__((visibility("default")))

// Enters the kernel as the rewritten call sites do (return address in RCX); the syscall instruction would trap.
static long call(long nr, long a, long b)
{
	long ret = nr;
	u64 entry = vvar.kentry;
	if (entry)
		__asm__ volatile("lea 1f(%%rip), %%rcx\n\tjmp *%3\n1:"
				 : "+a"(ret) : "D"(a), "S"(b), "d"(entry) : "rcx", "r11", "memory", "cc");
	else
		__asm__ volatile("syscall" : "+a"(ret) : "D"(a), "S"(b) : "rcx", "r11", "memory", "cc");
	return ret;
}

EXPORT int __vdso_clock_gettime(int id, struct __kernel_timespec *ts)
{
	u64 ns;
	switch (id) {
	case CLOCK_REALTIME:
	case CLOCK_REALTIME_COARSE:
	case CLOCK_TAI:
		ns = vdso_read(&vvar, VDSO_REAL);
		break;
	case CLOCK_MONOTONIC:
	case CLOCK_MONOTONIC_COARSE:
	case CLOCK_MONOTONIC_RAW:
		if (vvar.offsets)
			goto ask;
		ns = vdso_read(&vvar, VDSO_MONO);
		break;
	case CLOCK_BOOTTIME:
		if (vvar.offsets)
			goto ask;
		ns = vdso_read(&vvar, VDSO_MONO) + vvar.boot_offset;
		break;
	default:
	ask:
		return (int)call(__NR_clock_gettime, id, (long)ts);
	}
	u64 sec = ns / NSEC_PER_SEC;
	ts->tv_sec = (long long)sec;
	ts->tv_nsec = (long long)(ns - sec * NSEC_PER_SEC);
	return 0;
}

EXPORT int __vdso_clock_getres(int id, struct __kernel_timespec *ts)
{
	return (int)call(__NR_clock_getres, id, (long)ts);
}

EXPORT int __vdso_gettimeofday(struct __kernel_old_timeval *tv, u32 *tz)
{
	if (tv) {
		u64 ns = vdso_read(&vvar, VDSO_REAL), sec = ns / NSEC_PER_SEC;
		tv->tv_sec = (long)sec;
		tv->tv_usec = (long)((ns - sec * NSEC_PER_SEC) / 1000);
	}
	if (tz)
		tz[0] = tz[1] = 0;
	return 0;
}

EXPORT long __vdso_time(long *t)
{
	long sec = (long)(vdso_read(&vvar, VDSO_REAL) / NSEC_PER_SEC);
	if (t)
		*t = sec;
	return sec;
}

EXPORT long __vdso_getcpu(u32 *cpu, u32 *node, void *unused)
{
	(void)unused;
	if (!vvar.cpu_in_aux)
		return call(__NR_getcpu, (long)cpu, (long)node);
	u32 aux;
	__asm__ volatile("rdtscp" : "=c"(aux)::"eax", "edx");
	if (cpu)
		*cpu = aux & 0xfff;
	if (node)
		*node = aux >> 12;
	return 0;
}

#define ALIAS(name, args, ret) EXPORT __attribute__((weak, alias("__vdso_" #name))) ret name args
ALIAS(clock_gettime, (int, struct __kernel_timespec *), int);
ALIAS(clock_getres, (int, struct __kernel_timespec *), int);
ALIAS(gettimeofday, (struct __kernel_old_timeval *, u32 *), int);
ALIAS(time, (long *), long);
ALIAS(getcpu, (u32 *, u32 *, void *), long);

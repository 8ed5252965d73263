// SPDX-License-Identifier: Apache-2.0
// kernel/time/clock.c against a host whose clocks misbehave: time inside never steps back, and finds the host's again.
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

uint64_t ktime_mono(void), ktime_real(void);
void ktime_init(void), ktime_tick(void);

static int64_t skew[2]; // what the host's CLOCK_REALTIME and CLOCK_MONOTONIC lie by

uint64_t hc_time(int id)
{
	struct timespec t;
	clock_gettime(id, &t);
	return (uint64_t)((int64_t)t.tv_sec * 1000000000 + t.tv_nsec + (id < 2 ? skew[id] : 0));
}

// The rest of the kernel, as far as clock.c names it.
uint32_t tasklist;
void mutex_lock_slow(void *m) { (void)m; abort(); }
void mutex_unlock_slow(void *m) { (void)m; }
void pf_relax(void) {}
long pf_cpu_times(void *t, uint64_t *u, uint64_t *s) { return (void)t, (void)u, (void)s, -1; }
void *task_find(int tid) { return (void)tid, NULL; }
void *proc_find(int pid) { return (void)pid, NULL; }
void task_put(void *t) { (void)t; }
void proc_put(void *p) { (void)p; }

static int failed;
static void result(const char *name, bool good, int64_t value)
{
	if (good)
		printf("ok clock.%s\n", name);
	else
		printf("not ok clock.%s: %ld ns\n", name, (long)value);
	failed += !good;
}

// Reads both clocks while time goes on; false if one stepped back.
static bool steady(int ms)
{
	uint64_t mono = ktime_mono(), real = ktime_real(), end = hc_time(CLOCK_BOOTTIME) + (uint64_t)ms * 1000000;
	while (hc_time(CLOCK_BOOTTIME) < end) {
		uint64_t m = ktime_mono(), r = ktime_real();
		if (m < mono || r < real)
			return false;
		mono = m;
		real = r;
	}
	return true;
}

static int64_t error_of(int id)
{
	int64_t best = INT64_MAX;
	for (int i = 0; i < 20; i++) { // the least disturbed of several readings
		int64_t e = (int64_t)((id ? ktime_mono() : ktime_real()) - hc_time(id));
		if (llabs(e) < llabs(best))
			best = e;
	}
	return best;
}

int main(void)
{
	static uint64_t window[64]; // GS points GS_BIAS above it: locks count there
	window[0] = (uint64_t)window;
	if (syscall(SYS_arch_prctl, 0x1001 /* ARCH_SET_GS */, (uintptr_t)window + GS_BIAS))
		return 1;
	uint64_t t0 = hc_time(CLOCK_BOOTTIME);
	ktime_init();
	uint64_t took = hc_time(CLOCK_BOOTTIME) - t0;
	result("quick_start", took < 20000000, (int64_t)took);
	bool ok = steady(20);
	for (int i = 0; i < 4; i++) {
		ktime_tick();
		ok &= steady(20);
	}
	result("follows", llabs(error_of(1)) < 1000000 && llabs(error_of(0)) < 1000000, error_of(1));

	skew[0] = skew[1] = -20000000; // the host steps back by 20 ms
	int64_t before = 0, after = 0;
	for (int i = 0; i < 6; i++) {
		ktime_tick();
		ok &= steady(30);
		if (i == 0)
			before = error_of(1);
	}
	after = error_of(1);
	result("slows_down_when_ahead", before > 10000000 && after < before, after - before);

	skew[0] = skew[1] = 5000000000; // and forwards by 5 s: that is followed at once
	ktime_tick();
	ok &= steady(5);
	result("jumps_forwards", llabs(error_of(1)) < 2000000, error_of(1));
	result("never_steps_back", ok, 0);
	return failed != 0;
}

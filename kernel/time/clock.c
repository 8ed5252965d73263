// SPDX-License-Identifier: Apache-2.0
// The clocks. CLOCK_MONOTONIC and CLOCK_REALTIME run on the time stamp counter; about once a second they
// are compared with the host's clocks and their rate is bent so that the difference melts away. Time
// comes from the host and is untrusted: it may run off forwards, but it never steps back.
// Locks: clock_lock (writers of the parameters; leaf). Readers use the sequence count.
#include "kernel/time/clock.h"
#include "kernel/include/hostcall.h"
#include "kernel/include/kstring.h"
#include "kernel/include/lock.h"
#include "kernel/include/platform.h"
#include "kernel/include/task.h"
#include "kernel/time/vdso_data.h"

#define STEP_NS 50000000l    // a clock that lags further is set, not bent
#define BAD_SAMPLE_TICKS 200000ul // the thread lost the CPU between the two readings
#define CALIBRATE_NS 200000ul	// boot waits for it; the rate is right to some 100 ppm then, and learnt anew 20 ms later

static struct mutex clock_lock;
static struct vdso_data boot_data;
static struct vdso_data *vd = &boot_data; // the page shared with programs once vdso.c has made it

static const int host_clock[VDSO_NCLOCKS] = { CLOCK_MONOTONIC, CLOCK_REALTIME };
static s64 real_ahead;	// of CLOCK_MONOTONIC, once CLOCK_REALTIME was set by somebody who is trusted; 0: it follows the host's
static s64 real_moved;	// by how much it was set
static struct {
	u64 tsc, host; // last good sample
	u64 mult;      // rate between the last two
} track[VDSO_NCLOCKS];

u64 ktime_mono(void) { return vdso_read(vd, VDSO_MONO); }
u64 ktime_real(void) { return vdso_read(vd, VDSO_REAL); }

u64 ktime_deadline(u64 delta_ns)
{
	u64 d;
	return __builtin_add_overflow(ktime_mono(), delta_ns, &d) ? NO_DEADLINE : d;
}

// Reads the host's clock and the counter at the same moment; the best of several tries. False if the
// thread was interrupted each time.
static bool sample(int which, u64 *tsc, u64 *host)
{
	u64 best = U64_MAX;
	for (int i = 0; i < 4; i++) {
		u64 a = vdso_tsc();
		u64 h = hc_time(host_clock[which]);
		u64 b = vdso_tsc();
		if (b - a < best) {
			best = b - a;
			*tsc = a + (b - a) / 2;
			*host = h;
		}
	}
	return best < BAD_SAMPLE_TICKS;
}

// ns << VDSO_SHIFT / ticks; 0 when it makes no sense.
static u64 rate(u64 ns, u64 ticks)
{
	u64 hi = ns >> (64 - VDSO_SHIFT), lo = ns << VDSO_SHIFT, q, r;
	if (hi >= ticks)
		return 0;
	__asm__("divq %4" : "=a"(q), "=d"(r) : "a"(lo), "d"(hi), "r"(ticks) : "cc");
	return q;
}

static void write_begin(void)
{
	__atomic_store_n(&vd->seq, vd->seq + 1, __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_RELEASE);
}
static void write_end(void) { __atomic_store_n(&vd->seq, vd->seq + 1, __ATOMIC_RELEASE); }

// Where readers see a clock at `now`.
static u64 stands(int which, u64 now)
{
	u64 ns = vd->clock[which].ns;
	return now > vd->tsc_base ? ns + vdso_scale(now - vd->tsc_base, vd->clock[which].mult) : ns;
}

// The clocks are set by so much and run at `mult` from here on. Until readers see that, they go on at the old rate: as far as that is, however long
// this thread was kept from the processor, and rounded as they round it, the clocks have gone.
static void publish(const s64 by[], const u64 mult[])
{
	write_begin();
	__atomic_thread_fence(__ATOMIC_SEQ_CST); // the counter is read behind the word that stops readers
	u64 here = vdso_tsc();
	for (int i = 0; i < VDSO_NCLOCKS; i++) {
		vd->clock[i].ns = stands(i, here) + (u64)by[i];
		vd->clock[i].mult = mult[i];
	}
	vd->tsc_base = max(here, vd->tsc_base);
	write_end();
}

void ktime_init(void)
{
	u64 t0, h0, t1 = 0, h1 = 0, tr, hr;
	sample(VDSO_MONO, &t0, &h0);
	do {
		pf_relax();
		sample(VDSO_MONO, &t1, &h1);
	} while (h1 - h0 < CALIBRATE_NS);
	sample(VDSO_REAL, &tr, &hr);

	u64 mult = rate(h1 - h0, t1 - t0);
	u64 boot = hc_time(CLOCK_BOOTTIME), mono = hc_time(CLOCK_MONOTONIC);
	mutex_lock(&clock_lock);
	for (int i = 0; i < VDSO_NCLOCKS; i++)
		track[i].mult = mult;
	track[VDSO_MONO].tsc = t1;
	track[VDSO_MONO].host = h1;
	track[VDSO_REAL].tsc = tr;
	track[VDSO_REAL].host = hr;
	write_begin();
	vd->tsc_base = tr;
	vd->clock[VDSO_MONO].ns = h1 + vdso_scale(tr - t1, mult);
	vd->clock[VDSO_REAL].ns = hr;
	vd->clock[VDSO_MONO].mult = vd->clock[VDSO_REAL].mult = mult;
	vd->boot_offset = boot > mono ? boot - mono : 0;
	write_end();
	mutex_unlock(&clock_lock);
}

// Takes a new sample of the host's clock and learns its rate.
static void follow(int which)
{
	u64 tsc, host;
	if (!sample(which, &tsc, &host))
		return;
	if (host > track[which].host) {
		u64 known = track[which].mult, m = rate(host - track[which].host, tsc - track[which].tsc);
		// A rate far from the known one is a step of the host's clock, not a rate.
		if (m > known - known / 100 && m < known + known / 100)
			track[which].mult = m;
	}
	track[which].tsc = tsc;
	track[which].host = host;
}

// Where the host's clock stands at `now`, close to the last sample. Once the time of day was set, the host's word on that counts no more.
static u64 host_at(int which, u64 now)
{
	u64 ahead = 0;
	if (which == VDSO_REAL && real_ahead) {
		which = VDSO_MONO;
		ahead = (u64)real_ahead;
	}
	u64 tsc = track[which].tsc, ns = track[which].host, mult = track[which].mult;
	return ahead + (now >= tsc ? ns + vdso_scale(now - tsc, mult) : ns - vdso_scale(tsc - now, mult));
}

void ktime_tick(void)
{
	mutex_lock(&clock_lock);
	s64 by[VDSO_NCLOCKS];
	u64 mult[VDSO_NCLOCKS];
	for (int i = 0; i < VDSO_NCLOCKS; i++)
		follow(i);
	u64 now = vdso_tsc();
	for (int i = 0; i < VDSO_NCLOCKS; i++) {
		s64 err = (s64)(host_at(i, now) - stands(i, now)), m = (s64)track[i].mult;
		by[i] = err > STEP_NS ? err : 0;
		mult[i] = track[i].mult;
		if (!by[i]) // make up for it within a second, at most 5 % slower
			mult[i] = (u64)(m + (((m >> 20) * max(err, -STEP_NS)) / (s64)NSEC_PER_SEC << 20));
	}
	publish(by, mult);
	mutex_unlock(&clock_lock);
}

s64 clock_set_between(u64 least, u64 most)
{
	mutex_lock(&clock_lock);
	u64 now = vdso_tsc(), was = stands(VDSO_REAL, now), is = max(least, min(most, was));
	real_moved = (s64)(is - was);
	real_ahead = (s64)(is - host_at(VDSO_MONO, now));
	publish((const s64[]){ [VDSO_REAL] = real_moved }, (const u64[]){ vd->clock[VDSO_MONO].mult, vd->clock[VDSO_REAL].mult });
	mutex_unlock(&clock_lock);
	return real_moved;
}

bool clock_was_set(s64 *moved)
{
	mutex_lock(&clock_lock);
	bool set = real_ahead;
	*moved = real_moved;
	mutex_unlock(&clock_lock);
	return set;
}

void clock_offsets(int by)
{
	if (!by)
		return;
	mutex_lock(&clock_lock);
	__atomic_store_n(&vd->offsets, vd->offsets + (u32)by, __ATOMIC_SEQ_CST);
	mutex_unlock(&clock_lock);
}

void clock_publish(struct vdso_data *page)
{
	mutex_lock(&clock_lock);
	u64 kentry = page->kentry;
	u32 aux = page->cpu_in_aux;
	memcpy(page, vd, sizeof(*page));
	page->kentry = kentry;
	page->cpu_in_aux = aux;
	__atomic_store_n(&vd, page, __ATOMIC_RELEASE);
	mutex_unlock(&clock_lock);
}

// Another process's threads cannot be told apart from outside: what the host says of one is the time of all of them.
void proc_cpu_ns_locked(struct proc *p, u64 *utime, u64 *stime)
{
	bool own = current && curproc == p;
	struct task *t;
	u64 u, s;
	*utime = p->utime_ns;
	*stime = p->stime_ns;
	list_for_each(t, &p->threads, thread_link) {
		if (pf_cpu_times(t, &u, &s))
			continue;
		if (!own) {
			*utime = max(*utime, u + s > *stime ? u + s - *stime : 0);
			return;
		}
		*utime += u;
		*stime += s;
	}
}

void proc_cpu_ns(struct proc *p, u64 *utime, u64 *stime)
{
	mutex_lock(&tasklist);
	proc_cpu_ns_locked(p, utime, stime);
	mutex_unlock(&tasklist);
}

// Clock ids below zero name the CPU time of a process or thread: ~pid << 3 | per-thread << 2 | kind
// (clock_getcpuclockid(3), pthread_getcpuclockid(3)).
static int cpu_clock(int id, u64 *ns)
{
	enum { PROF, VIRT, SCHED };
	int kind = id & 3, pid = ~(id >> 3), r = 0;
	bool thread = id & 4;
	u64 u = 0, s = 0;

	if (kind > SCHED)
		return -EINVAL;
	if (thread) {
		struct task *t = pid ? task_find(pid) : NULL;
		if (pid && (!t || t->proc != curproc))
			r = -EINVAL;
		else if (pf_cpu_times(t ? t : current, &u, &s))
			r = -EINVAL;
		if (t)
			task_put(t);
	} else {
		struct proc *p = pid ? proc_find(pid) : NULL;
		if (pid && !p)
			r = -EINVAL;
		else
			proc_cpu_ns(p ? p : curproc, &u, &s);
		if (p)
			proc_put(p);
	}
	*ns = kind == VIRT ? u : u + s;
	return r;
}

int ktime_clock(int clockid, u64 *ns)
{
	switch (clockid) {
	case CLOCK_REALTIME:
	case CLOCK_REALTIME_COARSE:
	case CLOCK_REALTIME_ALARM:
	case CLOCK_TAI: // the offset to UTC is unknown, hence 0 as on Linux without ntpd
		*ns = ktime_real();
		return 0;
	case CLOCK_MONOTONIC:
	case CLOCK_MONOTONIC_RAW: // bent with CLOCK_MONOTONIC: there is no better reference inside
	case CLOCK_MONOTONIC_COARSE:
		*ns = ktime_mono();
		return 0;
	case CLOCK_BOOTTIME:
	case CLOCK_BOOTTIME_ALARM:
		*ns = ktime_mono() + vd->boot_offset;
		return 0;
	case CLOCK_PROCESS_CPUTIME_ID:
		return cpu_clock(~0 << 3 | 2, ns);
	case CLOCK_THREAD_CPUTIME_ID:
		return cpu_clock(~0 << 3 | 4 | 2, ns);
	}
	return clockid < 0 ? cpu_clock(clockid, ns) : -EINVAL;
}

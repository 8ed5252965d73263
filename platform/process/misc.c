// SPDX-License-Identifier: Apache-2.0
// Waiting, clocks, entropy, vector state, log and end of the process platform.
#include "kernel/include/kstring.h"
#include "kernel/include/log.h"
#include "platform/process/window.h"
#include <linux/futex.h>


#define FUTEX_WAKE_ 1
#define FUTEX_WAIT_BITSET_ 9

int pf_wait(u32 *word, u32 val, u64 deadline)
{
	struct {
		s64 s, n;
	} ts = { (s64)(deadline / 1000000000), (s64)(deadline % 1000000000) };

	struct hthread *h = hthread_self();

	if (h->cur)
		window_guard(win_self());
	h->wait_word = word;
	return (int)host_sleep(__NR_futex, (long)word, FUTEX_WAIT_BITSET_, val, deadline == U64_MAX ? 0 : (long)&ts, 0, -1);
}

// Again by who goes on for a killed waker: it may not have woken anybody.
void pf_wake(u32 *word, u32 n)
{
	struct hthread *h = hthread_self();
	u32 pid;

	do {
		pid = h->host_pid;
		H3(__NR_futex, word, FUTEX_WAKE_, n);
	} while (unlikely(h->host_pid != pid));
}

u64 pf_tsc(void)
{
	u32 lo, hi;
	__asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi));
	return (u64)hi << 32 | lo;
}

void pf_relax(void) { __builtin_ia32_pause(); }

int pf_rseq(uptr area, u32 len, int flags, u32 sig)
{
	long r;

	if (!cpus_dense()) // programs index tables by the host's number of a CPU: it must be among those that they are shown
		return -ENOSYS;
	r = S4(__NR_rseq, area, len, flags, sig);
	return r == 0 || r == -EINVAL || r == -EPERM || r == -EBUSY || r == -EFAULT ? (int)r : -ENOSYS;
}

static bool rdrand64(u64 *v)
{
	u8 ok;
	for (int i = 0; i < 32; i++) {
		__asm__ volatile("rdrand %0; setc %1" : "=r"(*v), "=qm"(ok));
		if (ok)
			return true;
	}
	return false;
}

u32 host_seed[16];	// copied in at boot, as is this:
int host_memfd;
int host_message_fd = 2;	// where the kernel speaks

// RDRAND is the source; the host's seed is only mixed in. Without a working RDRAND there is no safe entropy: stop.
void pf_random(void *buf, size_t n)
{
	static u64 counter;
	u8 *p = buf;

	while (n) {
		u64 v, c = __atomic_add_fetch(&counter, 0x9e3779b97f4a7c15ul, __ATOMIC_RELAXED);
		if (!rdrand64(&v))
			panic("the CPU gives no random numbers (RDRAND failed)");
		c ^= (u64)host_seed[c >> 60] << 32 | host_seed[(c >> 56) & 15];
		c = (c ^ c >> 30) * 0xbf58476d1ce4e5b9ul;
		v ^= c ^ c >> 31;
		size_t k = n < 8 ? n : 8;
		memcpy(p, &v, k);
		p += k;
		n -= k;
	}
}

// --- vector state. The area sizes come from the CPU at boot (xstate_init).
static u64 xstate_size __sealed, xstate_mask __sealed;
static u64 pkru_at __sealed; // where PKRU lies in an area, if that register is the kernel's business (pku.c)
enum { XSTATE_PKRU = 0x200 };

static void cpuid(u32 leaf, u32 sub, u32 *a, u32 *b, u32 *c, u32 *d)
{
	__asm__ volatile("cpuid" : "=a"(*a), "=b"(*b), "=c"(*c), "=d"(*d) : "a"(leaf), "c"(sub));
}

void xstate_init(void)
{
	u32 a, b, c, d;
	u32 lo, hi;

	__asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
	xstate_mask = ((u64)hi << 32 | lo) & 0x2e7; // x87 SSE AVX AVX-512 PKRU; no AMX
	cpuid(0xd, 0, &a, &b, &c, &d);
	xstate_size = 576;
	for (u32 i = 2; i < 10; i++)
		if (xstate_mask & (1ul << i)) {
			cpuid(0xd, i, &a, &b, &c, &d);
			if (b + a > xstate_size)
				xstate_size = b + a;
			if (1 << i == XSTATE_PKRU && pku_on)
				pkru_at = b;
		}
}

size_t pf_xstate_size(void) { return xstate_size; }
u64 pf_xstate_mask(void) { return xstate_mask; }

void pf_xsave(void *area)
{
	// XSAVE writes only XSTATE_BV of the 64-byte header; the rest must be zero for XRSTOR
	memset((u8 *)area + 512, 0, 64);
	__asm__ volatile("xsave64 (%0)" ::"r"(area), "a"((u32)xstate_mask), "d"((u32)(xstate_mask >> 32)) : "memory");
	if (pkru_at) { // programs and debuggers are shown their own
		*(u32 *)((u8 *)area + pkru_at) = PKRU_USER;
		*(u64 *)((u8 *)area + 512) |= XSTATE_PKRU;
	}
}

// No area, which may be a program's, gives rights to memory.
static void xrstor(const void *area)
{
	u32 mask = (u32)xstate_mask & (pkru_at ? ~(u32)XSTATE_PKRU : U32_MAX);

	__asm__ volatile("xrstor64 (%0)" ::"r"(area), "a"(mask), "d"(0) : "memory");
}

// XRSTOR faults on a bad header or reserved MXCSR bits: check what can be wrong first.
int pf_xcheck(const void *area)
{
	const u8 *p = area;
	const u64 *hdr = (const u64 *)(p + 512);
	u32 mxcsr, mask;

	memcpy(&mxcsr, p + 24, 4);
	memcpy(&mask, p + 28, 4);
	if (!mask)
		mask = 0xffbf;
	if (mxcsr & ~(mask & 0xffff))
		return -EINVAL;
	if (hdr[0] & ~xstate_mask)
		return -EINVAL;
	for (int i = 1; i < 8; i++)
		if (hdr[i])
			return -EINVAL;
	return 0;
}

int pf_xrstor(const void *area)
{
	int r = pf_xcheck(area);

	if (!r)
		xrstor(area);
	return r;
}

void pf_fpu_begin(void)
{
	struct window *w = win_self();

	if (w->fpu_depth++ == 0)
		pf_xsave(win_fpu(w));
}

void pf_fpu_end(void)
{
	struct window *w = win_self();

	if (--w->fpu_depth == 0)
		xrstor(win_fpu(w));
}

// Every CPU that runs a thread of the enclave serialises (registered in start.c; children inherit it).
void pf_text_sync(void) { S2(__NR_membarrier, 2 /* GLOBAL_EXPEDITED */, 0); }

void pf_log(const char *s, size_t n)
{
	while (n) {
		long r = S3(__NR_write, host_message_fd, s, n);
		if (r <= 0)
			return;
		s += r;
		n -= (size_t)r;
	}
}

void pf_missing(const char *s, size_t n)
{
	if (CTL->missing_fd >= 0)
		S3(__NR_write, CTL->missing_fd, s, n);
}

void pf_stop(int status)
{
	u64 all = ~0ul;

	S4(__NR_rt_sigprocmask, 2, &all, 0, 8);
	__atomic_store_n(&CTL->stop_status, (u32)status, __ATOMIC_SEQ_CST);
	__atomic_store_n(&CTL->stop_requested, 1, __ATOMIC_SEQ_CST);
	pf_wake(&CTL->stop_requested, 64);
	for (;;)
		S2(__NR_nanosleep, ((s64[2]){ 3600, 0 }), 0);
}

void pf_program_started(void)
{
	__atomic_store_n(&CTL->program_started, 1, __ATOMIC_SEQ_CST);
	pf_wake(&CTL->program_started, 64);
}

static u64 less(u64 all, u64 before) { return all > before ? all - before : 0; }

long pf_cpu_times(struct task *t, u64 *utime_ns, u64 *stime_ns)
{
	struct window *w = win_self();

	*utime_ns = *stime_ns = 0;
	if (t == current) {
		struct {
			s64 us, uu, ss, su, rest[14];
		} ru;
		long r = H3(__NR_getrusage, 1 /* RUSAGE_THREAD */, &ru, 0);
		if (r < 0)
			return r;
		w->seen = (struct spent){ (u64)ru.us * 1000000000 + (u64)ru.uu * 1000, (u64)ru.ss * 1000000000 + (u64)ru.su * 1000,
					  (u64)ru.rest[4], (u64)ru.rest[5], (u64)ru.rest[12], (u64)ru.rest[13] };
		*utime_ns = less(w->seen.utime_ns, w->base.utime_ns);
		*stime_ns = less(w->seen.stime_ns, w->base.stime_ns);
		return 0;
	}
	struct hthread *h = t->host;
	s64 ts[2];
	if (!h || !h->host_tid)
		return -ESRCH;
	// per-process CPU clock when it is another process's thread: the finest that the host offers
	bool same = h->host_pid == hthread_self()->host_pid;
	s64 id = (s64)(s32)(~(same ? h->host_tid : h->host_pid) << 3 | 2 | (same ? 4 : 0));
	long r = S2(__NR_clock_gettime, id, ts);
	if (r < 0)
		return r;
	*utime_ns = (u64)ts[0] * 1000000000 + (u64)ts[1];
	if (same) { // of this thread alone
		const struct spent *base = &((const struct window *)h)->base;
		*utime_ns = less(*utime_ns, base->utime_ns + base->stime_ns);
	}
	return 0;
}

void pf_usage_self(struct pf_usage *u)
{
	struct {
		s64 time[4], peak_kib, rest[13];
	} ru;

	*u = (struct pf_usage){0};
	if (H3(__NR_getrusage, 0 /* RUSAGE_SELF */, &ru, 0) < 0)
		return;
	// rest: three that Linux does not keep, then the faults; the switches are the last two
	u64 most = (u64)K_LIN_MAX >> PAGE_SHIFT;
	u->minflt = (u64)ru.rest[3];
	u->majflt = (u64)ru.rest[4];
	u->nvcsw = (u64)ru.rest[11];
	u->nivcsw = (u64)ru.rest[12];
	u->peak = min((u64)ru.peak_kib / 4, most);
}

void pf_yield(void) { H3(__NR_sched_yield, 0, 0, 0); }

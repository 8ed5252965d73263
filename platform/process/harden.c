// SPDX-License-Identifier: Apache-2.0
// What keeps the kernel's own memory as it should be, against mistakes of the kernel and stray writes of programs: one mapping of
// its image, none of it writable and executable, tables that are read-only after boot, a guard page under each kernel stack;
// and the report on it, which tries instead of promising (docs/isolation.md). Every enclave process descends from the
// first one by the host's fork, so what is done there before the first fork holds in all. No locks.
#include "kernel/include/log.h"
#include "kernel/include/platform.h"
#include "platform/process/window.h"

// usercopy's raw accessors survive a fault: they say whether memory can be read or written (entry.S)
size_t raw_copy(void *dst, const void *src, size_t n);
long raw_load8(const void *src);

static bool sealed __sealed = false;

// The linear map covers the whole memfd, the kernel image at its start too: there text and tables would be writable.
void image_alias_drop(void)
{
	if (S2(__NR_munmap, K_LIN + OFF_IMAGE, OFF_HOT - OFF_IMAGE))
		panic("the host keeps a second mapping of the kernel image");
}

void pf_seal(void)
{
	sealed = true;
	if (S3(__NR_mprotect, kernel_sealed_start, kernel_sealed_end - kernel_sealed_start, PF_R))
		panic("the host refuses to make the kernel's tables read-only");
}

// A page without access below the kernel stack, from the first time on that the thread sleeps: it costs the host time in each fork, and many
// processes never sleep. As a hole in a mapping it is two more mappings in this process and its children, about 4 us a fork. As a guard
// page of Linux 6.15 it makes forks copy the page tables of all windows, about 12 us, whatever their number: for processes of many threads.
// Other processes leave the page alone too, so a child may inherit it: then this changes nothing. The stack for host signals needs none: one handler at a time runs there, and it calls little.
#define GUARD_HOLES 8
void window_guard(struct window *w)
{
	u8 *guard = (u8 *)w + WIN_GUARD;

	if (w->guarded == w->hproc->serial)
		return;
	if (__atomic_fetch_add(&w->hproc->guards, 1, __ATOMIC_RELAXED) >= GUARD_HOLES || S3(__NR_mprotect, guard, PAGE_SIZE, 0)) {
		S3(__NR_madvise, K_LIN + OFF_WINDOWS, OFF_POOLS - OFF_WINDOWS, ADVISE_DONTDUMP);
		// a program that uses up the host's mappings leaves no room for a hole: then it is tried again at the next sleep
		if (S3(__NR_madvise, guard, PAGE_SIZE, ADVISE_GUARD_INSTALL) && S3(__NR_mprotect, guard, PAGE_SIZE, 0))
			return;
	}
	w->guarded = w->hproc->serial;
}

// A process that begins anew has inherited holes of threads that never run in it. Its own come back when they sleep.
void window_guards_drop(struct hproc *hp)
{
	if (!hp->guards)
		return;
	if (S3(__NR_mprotect, K_LIN + OFF_WINDOWS, OFF_POOLS - OFF_WINDOWS, PF_R | PF_W))
		panic("the host refuses access to thread windows");
	hproc_renew(hp);
}

static bool readable(const void *p) { return raw_load8(p) >= 0; }

// Writes the byte that is there.
static bool writable(const void *p)
{
	u8 b;

	return readable(p) && !raw_copy(&b, p, 1) && !raw_copy((void *)(uptr)p, &b, 1);
}

static bool any_writable(uptr from, uptr to)
{
	for (; from < to; from += PAGE_SIZE)
		if (writable((void *)from))
			return true;
	return false;
}

// One page in 64 of long ranges: each try costs a fault.
static bool any_readable(uptr from, uptr to)
{
	uptr step = to - from > 1ul << 20 ? 64 * PAGE_SIZE : PAGE_SIZE;

	for (; from < to; from += step)
		if (readable((void *)from))
			return true;
	return false;
}

u32 pf_protections(struct pf_protection *out)
{
	struct window *w = win_self();
	struct pf_protection *p = out;

	window_guard(w);

#define TEXT (uptr)kernel_text_start, (uptr)kernel_text_end
#define CONSTANTS (uptr)kernel_sealed_end, (uptr)kernel_rodata_end
#define SEALED (uptr)kernel_sealed_start, (uptr)kernel_sealed_end
#define ALIAS K_LIN + OFF_IMAGE, K_LIN + OFF_HOT
#define GUARD (uptr)w + WIN_GUARD, (uptr)w + WIN_GUARD + PAGE_SIZE
#define REPORT(...) *p++ = (struct pf_protection){ __VA_ARGS__ }
	REPORT("kernel-text-read-only", !any_writable(TEXT), "tried: a write to any page faults", TEXT);
	REPORT("kernel-constants-read-only", !any_writable(CONSTANTS), "tried: a write to any page faults", CONSTANTS);
	REPORT("kernel-tables-sealed", sealed && !any_writable(SEALED), "tried: a write to any page faults", SEALED);
	REPORT("kernel-image-mapped-once", !any_readable(ALIAS), "tried: the linear map does not show it", ALIAS);
	REPORT("kernel-stack-guard", !any_readable(GUARD), "tried: a read faults; in place from the first sleep of a thread on", GUARD);
	REPORT("kernel-stack-canary", w->h.canary != 0, "random, one a boot", 0, 0);
	REPORT("kernel-from-programs", false, pku_on ? "stray accesses fault; a program that sets PKRU or jumps into kernel text is not stopped" :
	       "programs share the address space; wild writes can reach kernel data", 0, 0);
	*p++ = pku_report();
	REPORT("kernel-address-random", false, "fixed at link time", 0, 0);
	REPORT("indirect-branch-tracking", false, "the kernel is built for it; Linux does not switch it on for processes", 0, 0);
	REPORT("from-host", false, "ordinary memory of this machine", 0, 0);
#undef REPORT
	return (u32)(p - out);
}

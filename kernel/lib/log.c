// SPDX-License-Identifier: Apache-2.0
// Kernel messages. One line is one write, so lines of several processes do not mix.
#include "kernel/include/log.h"
#include "kernel/include/kstring.h"
#include "kernel/include/platform.h"
#include "kernel/include/task.h"
#include "kernel/include/boot.h"
#include "kernel/syscall/syscall.h"
#include "lib/version.h"

int log_level = LOG_WARN;

static void vlog(int level, const char *prefix, const char *fmt, va_list ap) __printf(3, 0);

static void vlog(int level, const char *prefix, const char *fmt, va_list ap)
{
	__uninit char buf[512];
	int n = scnprintf(buf, sizeof(buf), "%s", prefix);

	n += vsnprintf(buf + n, sizeof(buf) - (size_t)n, fmt, ap);
	if ((size_t)n >= sizeof(buf) - 1)
		n = sizeof(buf) - 2;
	if (buf[n - 1] != '\n')
		buf[n++] = '\n';
	pf_log(buf, (size_t)n);
	if (level >= 0)
		kmsg_add(level, buf, (size_t)n);
}

void klog(int level, const char *fmt, ...)
{
	va_list ap;

	if (level > log_level)
		return;
	va_start(ap, fmt);
	vlog(level, "coffer: ", fmt, ap);
	va_end(ap);
}

#define CHAIN 16u
#define STACK_BELOW 0xc000ul // of a thread's window lies its kernel stack, above the one for host signals
#define STACK_ABOVE 0x8000ul

// --- what is left to say

u32 call_chain(u64 rip, u64 frame, u64 *out, u32 n)
{
	u64 self = (u64)hthread_self(), from = self - STACK_BELOW, to = self + STACK_ABOVE - 16;
	u32 k = 0;

	if (rip)
		out[k++] = rip;
	while (k < n && self && frame >= from && frame <= to && !(frame & 7)) {
		const u64 *f = (const u64 *)frame;

		if (!f[1])
			break;
		out[k++] = f[1];
		if (f[0] <= frame)
			break;
		frame = f[0];
	}
	return k;
}

void log_version(int level)
{
	const char *kernel = strstr(boot_info.manifest, "\nkernel: ");

	klog(level, "  version %s, kernel %.16s\n", COFFER_VERSION, kernel ? kernel + 9 : "?");
}

// Where the current thread is: no names and no contents of a program's, unless the enclave is for debugging.
static void report(u64 rip, u64 frame)
{
	const struct task *t = hthread_self() ? current : NULL;
	const struct regs *r = t ? t->regs : NULL;
	u64 chain[CHAIN];
	char text[CHAIN * 17 + 1];
	u32 n = call_chain(rip, frame, chain, CHAIN), len = 0;

	if (!n || !boot_info.manifest_len) // not yet an enclave: the message says all
		return;
	log_version(LOG_LAST);
	if (r && r->orig_rax < NR_TABLE)
		klog(LOG_LAST, "  task %d%s%.15s, in system call %lu (%s)\n", t->tid, boot_info.debug ? " " : "", boot_info.debug ? t->comm : "", r->orig_rax,
		     syscall_name((u32)r->orig_rax));
	else if (t)
		klog(LOG_LAST, "  task %d%s%.15s, in no system call\n", t->tid, boot_info.debug ? " " : "", boot_info.debug ? t->comm : "");
	for (u32 i = 0; i < n; i++)
		len += (u32)scnprintf(text + len, sizeof(text) - len, " %lx", chain[i]);
	klog(LOG_LAST, "  called from (names: addr2line -pife build/kernel.debug ADDRESS...):%s\n", text);
}

static void __noreturn stop(const char *fmt, va_list ap, u64 rip, u64 frame) __printf(1, 0);
static void __noreturn stop(const char *fmt, va_list ap, u64 rip, u64 frame)
{
	static u32 told;

	if (!__atomic_exchange_n(&told, 1, __ATOMIC_SEQ_CST)) { // whoever comes to grief over this one's report, or beside it, adds nothing
		vlog(LOG_LAST, "coffer: enclave stopped: ", fmt, ap);
		report(rip, frame);
	}
	pf_stop(125 << 8);
}

void panic(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	stop(fmt, ap, 0, (u64)__builtin_frame_address(0));
}

void panic_at(u64 rip, u64 frame, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	stop(fmt, ap, rip, frame);
}

// The compiler's name for a smashed stack canary.
void __stack_chk_fail(void);
void __stack_chk_fail(void) { panic("kernel stack overrun"); }

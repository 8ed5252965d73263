// SPDX-License-Identifier: Apache-2.0
// Kernel messages. One line is one write, so lines of several processes do not mix.
#include "kernel/include/log.h"
#include "kernel/include/kstring.h"
#include "kernel/include/platform.h"

int log_level = LOG_WARN;

static void vlog(int level, const char *prefix, const char *fmt, va_list ap) __printf(3, 0);

// level -1: the last words, which nobody will read in here
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

void panic(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vlog(-1, "coffer: enclave stopped: ", fmt, ap);
	va_end(ap);
	// addresses of kernel.debug, for addr2line
	const u64 *frame = __builtin_frame_address(0);
	for (int i = 0; i < 16 && (uptr)frame > pf_kernel_start && (uptr)frame < pf_kernel_end - 16 && !((uptr)frame & 7) && frame[1]; i++) {
		klog(LOG_INFO, "  called from %lx\n", frame[1]);
		if (frame[0] <= (u64)frame)
			break;
		frame = (const u64 *)frame[0];
	}
	pf_stop(125 << 8);
}

// The compiler's name for a smashed stack canary.
void __stack_chk_fail(void);
void __stack_chk_fail(void) { panic("kernel stack overrun"); }

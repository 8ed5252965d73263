// SPDX-License-Identifier: Apache-2.0
// Debug registers for tracees without the processor's: a task with a watchpoint runs step by step, here in the kernel, and each
// step looks whether the watched bytes have changed or a watched address is reached. So a write of the same value
// goes unseen, and watching reads is refused. About a microsecond an instruction: slower than hardware, far
// faster than a debugger that steps. Locks: tasklist where the tracer comes; the rest is the tracee's own.
#include "kernel/include/kstring.h"
#include "kernel/include/usercopy.h"
#include "kernel/task/ptrace.h"

#define FLAG_TF 0x100ul
enum { RUN = 0, WRITE = 1 };

static bool enabled(u64 dr7, u32 n) { return dr7 >> (2 * n) & 3; }
static u32 kind(u64 dr7, u32 n) { return dr7 >> (16 + 4 * n) & 3; }

static u32 length(u64 dr7, u32 n)
{
	static const u8 lens[] = {1, 2, 8, 4};

	return lens[dr7 >> (18 + 4 * n) & 3];
}

int ptrace_get_debugreg(struct task *t, u32 n, u64 *v)
{
	*v = t->pt->dr[n];
	return 0;
}

int ptrace_set_debugreg(struct task *t, u32 n, u64 v)
{
	u64 *dr = t->pt->dr;

	if (n == 4 || n == 5)
		return -EIO;
	if (n < 4 && !access_ok(U(v), 1))
		return -EINVAL;
	for (u32 i = 0; n == 7 && i < 4; i++) {
		if (!enabled(v, i))
			continue;
		if (kind(v, i) > WRITE || dr[i] & (length(v, i) - 1))
			return -EINVAL;
	}
	dr[n] = v;
	return 0;
}

static u64 value(const struct ptrace *pt, u32 n)
{
	u64 v = 0;

	if (copy_from_user(&v, U(pt->dr[n]), length(pt->dr[7], n)))
		v = 0;
	return v;
}

void ptrace_watch_arm(struct task *t, struct regs *r)
{
	struct ptrace *pt = t->pt;

	if (!(pt->dr[7] & 0xff))
		return;
	for (u32 i = 0; i < 4; i++)
		if (enabled(pt->dr[7], i) && kind(pt->dr[7], i) == WRITE)
			pt->watched[i] = value(pt, i);
	ptrace_watch_go_on(t, r);
}

void ptrace_watch_go_on(struct task *t, struct regs *r)
{
	if (!ptraced(t) || !(t->pt->dr[7] & 0xff) || r->flags & FLAG_TF)
		return;
	r->flags |= FLAG_TF;
	t->pt->forced_tf = true;
}

bool ptrace_watch_step(struct task *t, struct regs *r, int *code)
{
	struct ptrace *pt = t->pt;
	u64 hit = 0;

	if (!ptraced(t) || !(pt->dr[7] & 0xff))
		return true;
	for (u32 i = 0; i < 4; i++) {
		if (!enabled(pt->dr[7], i))
			continue;
		if (kind(pt->dr[7], i) == RUN) {
			hit |= (u64)(r->rip == pt->dr[i]) << i;
		} else {
			u64 now = value(pt, i);
			hit |= (u64)(now != pt->watched[i]) << i;
			pt->watched[i] = now;
		}
	}
	pt->dr[6] |= hit;
	if (hit)
		*code = TRAP_HWBKPT;
	return hit || pt->step;
}

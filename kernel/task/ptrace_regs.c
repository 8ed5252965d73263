// SPDX-License-Identifier: Apache-2.0
// Registers of a stopped tracee as ptrace shows them: struct user_regs_struct, the USER area, the XSAVE area.
// Locks: the caller holds tasklist; the tracee stands still.
#include "kernel/include/kstring.h"
#include "kernel/include/platform.h"
#include "kernel/include/usercopy.h"
#include "kernel/task/ptrace.h"

#define USER_CS	      0x33
#define USER_SS	      0x2b
#define FLAGS_SETTABLE 0x50dd5ul // as FLAG_MASK of Linux: AC RF OF DF TF SF ZF AF PF CF
#define FXSAVE_LEN    512
#define XHEADER	      512
#define USER_AREA     912 // sizeof(struct user)
#define USER_DEBUGREG 848 // offsetof(struct user, u_debugreg)

// Order of struct user_regs_struct (sys/user.h).
enum { R15, R14, R13, R12, RBP, RBX, R11, R10, R9, R8, RAX, RCX, RDX, RSI, RDI, ORIG, RIP, CS, FLAGS, RSP, SS, FS_BASE, GS_BASE, DS, ES, FS, GS };

// The first 21 are struct regs itself.
_Static_assert(sizeof(struct regs) == (SS + 1) * 8 && offsetof(struct regs, rip) == RIP * 8 && offsetof(struct regs, rdi) == RDI * 8,
	       "struct regs is the head of struct user_regs_struct");

void ptrace_getregs(struct task *t, u64 *out)
{
	memset(out, 0, USER_REGS * 8);
	memcpy(out, t->regs, sizeof(struct regs));
	out[FS_BASE] = t->fs_base;
}

static int check(u32 i, u64 v)
{
	switch (i) {
	case RIP: return access_ok(U(v), 1) ? 0 : -EIO;
	case CS: return (v & 0xffff) == USER_CS ? 0 : -EIO;
	case SS: return (v & 0xffff) == USER_SS ? 0 : -EIO;
	case FS_BASE: return v < pf_user_max ? 0 : -EIO;
	case GS_BASE: // the kernel's own here
	case DS:
	case ES:
	case FS:
	case GS: return v ? -EIO : 0;
	default: return 0;
	}
}

int ptrace_setregs(struct task *t, const u64 *in, u32 n)
{
	for (u32 i = 0; i < n; i++)
		if (check(i, in[i]))
			return -EIO;
	for (u32 i = 0; i < n; i++) {
		if (i == FLAGS) {
			t->regs->flags = (t->regs->flags & ~FLAGS_SETTABLE) | (in[i] & FLAGS_SETTABLE);
		} else if (i == FS_BASE) {
			t->fs_base = in[i];
			t->pt->fs_set = true;
		} else if (i < CS || i == RSP) {
			((u64 *)t->regs)[i] = in[i];
		}
	}
	return 0;
}

int ptrace_peekuser(struct task *t, u64 off, u64 *v)
{
	u64 regs[USER_REGS];

	if (off & 7 || off >= USER_AREA)
		return -EIO;
	*v = 0;
	if (off >= USER_DEBUGREG && off < USER_DEBUGREG + 64)
		return ptrace_get_debugreg(t, (u32)(off - USER_DEBUGREG) / 8, v);
	if (off >= sizeof(regs))
		return 0;
	ptrace_getregs(t, regs);
	*v = regs[off / 8];
	return 0;
}

int ptrace_pokeuser(struct task *t, u64 off, u64 v)
{
	u64 regs[USER_REGS];

	if (off & 7 || off >= USER_AREA)
		return -EIO;
	if (off >= USER_DEBUGREG && off < USER_DEBUGREG + 64)
		return ptrace_set_debugreg(t, (u32)(off - USER_DEBUGREG) / 8, v);
	if (off >= sizeof(regs))
		return -EIO;
	ptrace_getregs(t, regs);
	regs[off / 8] = v;
	return ptrace_setregs(t, regs, USER_REGS);
}

// n bytes from the start of an XSAVE area: all of it, or the FXSAVE part.
int ptrace_set_xstate(struct task *t, const u8 *in, size_t n)
{
	struct ptrace *pt = t->pt;
	u8 old[XHEADER + 64];
	u64 bv;
	int r;

	memcpy(old, pt->xstate, sizeof(old));
	memcpy(&bv, (n > XHEADER ? in : pt->xstate) + XHEADER, 8);
	if (n > XHEADER) {
		if (bv & ~pf_xstate_mask())
			return -EINVAL;
		for (u32 i = 8; i < 64; i++)
			if (in[XHEADER + i])
				return -EINVAL;
	} else {
		bv |= 3; // x87 and SSE
	}
	memcpy(pt->xstate, in, FXSAVE_LEN);
	memcpy(pt->xstate + XHEADER, &bv, 8);
	r = pf_xcheck(pt->xstate);
	if (r) {
		memcpy(pt->xstate, old, sizeof(old));
		return r;
	}
	if (n > XHEADER)
		memcpy(pt->xstate + XHEADER, in + XHEADER, n - XHEADER);
	pt->xstate_set = true;
	return 0;
}

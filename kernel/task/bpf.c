// SPDX-License-Identifier: Apache-2.0
// Classic BPF for seccomp filters: the check of a program, which comes from an untrusted caller, and its interpreter.
// Jumps only go forward, so a checked program ends after at most as many steps as it is long. No locks, no memory.
#include "kernel/task/bpf.h"
#include "kernel/include/kstring.h"
#include "kernel/include/uapi.h"

static bool known(const struct sock_filter *i)
{
	switch (i->code) {
	case BPF_LD | BPF_W | BPF_ABS: return i->k < sizeof(struct seccomp_data) && !(i->k & 3);
	case BPF_LD | BPF_W | BPF_LEN:
	case BPF_LDX | BPF_W | BPF_LEN:
	case BPF_LD | BPF_IMM:
	case BPF_LDX | BPF_IMM:
	case BPF_MISC | BPF_TAX:
	case BPF_MISC | BPF_TXA:
	case BPF_RET | BPF_K:
	case BPF_RET | BPF_A:
	case BPF_ALU | BPF_ADD | BPF_K:
	case BPF_ALU | BPF_ADD | BPF_X:
	case BPF_ALU | BPF_SUB | BPF_K:
	case BPF_ALU | BPF_SUB | BPF_X:
	case BPF_ALU | BPF_MUL | BPF_K:
	case BPF_ALU | BPF_MUL | BPF_X:
	case BPF_ALU | BPF_DIV | BPF_X:
	case BPF_ALU | BPF_AND | BPF_K:
	case BPF_ALU | BPF_AND | BPF_X:
	case BPF_ALU | BPF_OR | BPF_K:
	case BPF_ALU | BPF_OR | BPF_X:
	case BPF_ALU | BPF_XOR | BPF_K:
	case BPF_ALU | BPF_XOR | BPF_X:
	case BPF_ALU | BPF_LSH | BPF_X:
	case BPF_ALU | BPF_RSH | BPF_X:
	case BPF_ALU | BPF_NEG: return true;
	case BPF_ALU | BPF_DIV | BPF_K: return i->k;
	case BPF_ALU | BPF_LSH | BPF_K:
	case BPF_ALU | BPF_RSH | BPF_K: return i->k < 32;
	case BPF_LD | BPF_MEM:
	case BPF_LDX | BPF_MEM:
	case BPF_ST:
	case BPF_STX: return i->k < BPF_MEMWORDS;
	default: return BPF_CLASS(i->code) == BPF_JMP;
	}
}

// Where the instruction at pc may go, checked to be inside. False: not a jump that exists.
static bool jump_ok(const struct sock_filter *i, u32 pc, u32 len)
{
	u32 left = len - pc - 1; // instructions behind this one

	switch (i->code) {
	case BPF_JMP | BPF_JA: return i->k < left;
	case BPF_JMP | BPF_JEQ | BPF_K:
	case BPF_JMP | BPF_JEQ | BPF_X:
	case BPF_JMP | BPF_JGE | BPF_K:
	case BPF_JMP | BPF_JGE | BPF_X:
	case BPF_JMP | BPF_JGT | BPF_K:
	case BPF_JMP | BPF_JGT | BPF_X:
	case BPF_JMP | BPF_JSET | BPF_K:
	case BPF_JMP | BPF_JSET | BPF_X: return i->jt < left && i->jf < left;
	default: return false;
	}
}

// Each scratch word that is loaded has been stored on every path. masks[pc]: the words that some path to pc has not stored.
static int check_scratch(const struct sock_filter *f, u32 len)
{
	static u16 shared[BPF_MAX_INSNS] __large; // a program this long is rare: under a lock of the caller
	u16 *missing = shared, now = 0xffff;
	int r = 0;

	memset(missing, 0, len * sizeof(*missing));
	for (u32 pc = 0; pc < len && !r; pc++) {
		const struct sock_filter *i = &f[pc];

		now |= missing[pc];
		switch (BPF_CLASS(i->code)) {
		case BPF_ST:
		case BPF_STX: now &= (u16)~(1u << i->k); break;
		case BPF_LD:
		case BPF_LDX:
			if (BPF_MODE(i->code) == BPF_MEM && now & 1u << i->k)
				r = -EINVAL;
			break;
		case BPF_JMP:
			if (i->code == (BPF_JMP | BPF_JA)) {
				missing[pc + 1 + i->k] |= now;
			} else {
				missing[pc + 1 + i->jt] |= now;
				missing[pc + 1 + i->jf] |= now;
			}
			now = 0; // what follows is reached by jumps only
			break;
		default: break;
		}
		if (BPF_CLASS(i->code) == BPF_RET)
			now = 0;
	}
	return r;
}

int bpf_check(const struct sock_filter *f, u32 len, bool *uses_ip)
{
	*uses_ip = false;
	if (!len || len > BPF_MAX_INSNS)
		return -EINVAL;
	for (u32 pc = 0; pc < len; pc++) {
		if (!known(&f[pc]) || (BPF_CLASS(f[pc].code) == BPF_JMP && !jump_ok(&f[pc], pc, len)))
			return -EINVAL;
		if (f[pc].code == (BPF_LD | BPF_W | BPF_ABS) && f[pc].k / 8 == offsetof(struct seccomp_data, instruction_pointer) / 8)
			*uses_ip = true;
	}
	if (BPF_CLASS(f[len - 1].code) != BPF_RET)
		return -EINVAL;
	return check_scratch(f, len);
}

static bool holds(u16 op, u32 a, u32 v)
{
	switch (op) {
	case BPF_JEQ: return a == v;
	case BPF_JGE: return a >= v;
	case BPF_JGT: return a > v;
	default: return a & v; // BPF_JSET
	}
}

// False: division by zero, which ends the program.
static bool compute(u16 op, u32 *a, u32 v)
{
	switch (op) {
	case BPF_ADD: *a += v; break;
	case BPF_SUB: *a -= v; break;
	case BPF_MUL: *a *= v; break;
	case BPF_DIV:
		if (!v)
			return false;
		*a /= v;
		break;
	case BPF_AND: *a &= v; break;
	case BPF_OR: *a |= v; break;
	case BPF_XOR: *a ^= v; break;
	case BPF_LSH: *a <<= v & 31; break;
	case BPF_RSH: *a >>= v & 31; break;
	default: *a = -*a; // BPF_NEG
	}
	return true;
}

u32 bpf_run(const struct sock_filter *f, const struct seccomp_data *d)
{
	u32 a = 0, x = 0, mem[BPF_MEMWORDS];

	for (const struct sock_filter *i = f;; i++) {
		u32 v = BPF_SRC(i->code) == BPF_X ? x : i->k;

		switch (BPF_CLASS(i->code)) {
		case BPF_LD:
		case BPF_LDX: {
			u32 *to = BPF_CLASS(i->code) == BPF_LD ? &a : &x;
			switch (BPF_MODE(i->code)) {
			case BPF_ABS: memcpy(to, (const u8 *)d + i->k, 4); break;
			case BPF_LEN: *to = sizeof(*d); break;
			case BPF_MEM: *to = mem[i->k]; break;
			default: *to = i->k;
			}
			break;
		}
		case BPF_ST: mem[i->k] = a; break;
		case BPF_STX: mem[i->k] = x; break;
		case BPF_ALU:
			if (!compute(BPF_OP(i->code), &a, v))
				return 0;
			break;
		case BPF_JMP:
			if (BPF_OP(i->code) == BPF_JA)
				i += i->k;
			else
				i += holds(BPF_OP(i->code), a, v) ? i->jt : i->jf;
			break;
		case BPF_RET: return BPF_RVAL(i->code) == BPF_A ? a : i->k;
		default: // BPF_MISC
			if (BPF_MISCOP(i->code) == BPF_TAX)
				x = a;
			else
				a = x;
		}
	}
}

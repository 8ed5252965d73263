// SPDX-License-Identifier: Apache-2.0
// The kernel's memory under a protection key of its own, where CPU and host have them. PKRU, a register of each thread, says which keys it may
// use: a program's value leaves key 1 out, the gate into the kernel sets one that has it, the way out the program's again (gate.h). So a
// stray access of a program to kernel memory faults. A program that sets PKRU itself, or jumps into kernel text, is not stopped
// (docs/isolation.md).
//
// Without keys the plain gate is used, which knows nothing of them: `gate` is chosen here, once, before there is another thread.
// What the host or the way out must reach with a program's rights lies in K_PUB, a slot for each window: where the host writes
// its signal frames (before Linux 6.12 it does so with the rights of whom it interrupts), and three to eight registers on
// their way to the program. The kernel never reads them back, but for the frame. No locks.
#include "kernel/include/kstring.h"
#include "kernel/include/log.h"
#include "kernel/include/mm.h"
#include "platform/process/window.h"

#define GATE(s) { kexit##s, kentry##s, kexit_end##s, kexit_jmp##s, kexit_iret##s, ktrap##s, kexit_again##s, on_signal##s }
#define kexit_again kexit // nothing but struct regs was touched
static const struct gate plain = GATE();
static const struct gate keyed = GATE(_pku);
const struct gate *gate __sealed = &plain;

bool pku_on __sealed = false;
static const char *state __sealed = "the CPU or the host has none";
static uptr data_end __sealed;

static_assert(offsetof(struct gate, kexit) == 0 && offsetof(struct hthread, pub) == WIN_PUB, "entry.S and gate.h know these");
static_assert(K_PUB + (u64)WIN_MAX * PUB_STRIDE == K_LIN && PUB_STRIDE == 1 << PUB_SHIFT, "a slot for each window");

static bool put_under_key(uptr from, uptr end, int prot) { return !S4(__NR_pkey_mprotect, from, end - from, prot, PKU_KEY); }

static bool cpu_has_bmi2(void)
{
	u32 a = 7, b, c = 0, d;

	__asm__ volatile("cpuid" : "=a"(a), "=b"(b), "+c"(c), "=d"(d) : "0"(a));
	return b & 1u << 8;
}

// Why it cannot be used, or NULL: then the kernel's text is under it.
static const char *why_not(long key)
{
	if (key != PKU_KEY)
		return "the host gave a key other than the first";
	if (!cpu_has_bmi2() || !pku_gate_works())
		return "the CPU has them, but the kernel's gate does not work on it";
	if (!put_under_key((uptr)kernel_text_start, (uptr)kernel_sealed_start, PF_R | PF_X))
		return "the host gives keys, but puts no memory under them";
	return NULL;
}

void pku_init(u64 memory_end)
{
	long key = S2(__NR_pkey_alloc, 0, 0); // 0: with all rights to it

	if (key < 0)
		return;
	state = why_not(key);
	if (state) {
		S1(__NR_pkey_free, key);
		return;
	}
	if (S6(__NR_mmap, K_PUB, K_LIN - K_PUB, PF_R | PF_W, 0x100000 /* FIXED_NOREPLACE */ | 0x4000 /* NORESERVE */ | 0x20 | 1 /* ANONYMOUS, SHARED */,
	       -1, 0) != K_PUB)
		panic("the host refuses memory for signal frames");
	data_end = K_LIN + memory_end;
	if (!put_under_key((uptr)kernel_sealed_start, (uptr)kernel_sealed_end, PF_R | PF_W) ||
	    !put_under_key((uptr)kernel_sealed_end, (uptr)ALIGN_UP((uptr)kernel_rodata_end, HUGE_SIZE), PF_R) ||
	    !put_under_key(K_LIN + OFF_HOT, data_end, PF_R | PF_W))
		panic("the host puts only a part of the kernel's memory under a key");
	gate = &keyed;
	text_kentry = (uptr)kentry_pku;
	pku_on = true;
	trap_init();
}

// One page of each kind, and each in 64 MiB of the memory that is handed out.
struct pf_protection pku_report(void)
{
	struct window *w = win_self();
	void *some[] = { w, win_regs(w), win_fpu(w), win_pool(w), kernel_hot_start, kernel_text_start, kernel_sealed_start, kernel_sealed_end };
	bool holds = pku_on;

	if (!pku_on)
		return (struct pf_protection){ "protection-keys", false, state, 0, 0 };
	for (u32 i = 0; i < ARRAY_SIZE(some); i++)
		holds &= pku_denies_read(some[i]) && pku_denies_write(some[i]);
	for (uptr at = K_LIN + OFF_PAGES; at < data_end; at += 64ul << 20)
		holds &= pku_denies_read((void *)at) && pku_denies_write((void *)at);
	return (struct pf_protection){ "protection-keys", holds, "tried: with a program's rights kernel memory can be neither read nor written",
				       K_LIN + OFF_HOT, data_end };
}

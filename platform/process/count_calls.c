// SPDX-License-Identifier: Apache-2.0
// How often each function of the kernel was entered: only in a kernel that was built for it (COUNT_CALLS=1). bench/hot-order reads
// the counts out of the enclave's memory and puts the text in the order of use (hot.lds). Two counts each: of the first host
// processes, and of those that were made later, whose page faults the order is for.
// Touches its own table only; counts that two CPUs change at once may lose one. No locks.
#include "platform/process/window.h"

#ifdef KERNEL_COUNT_CALLS
#define TEXT_MAX 0x400000
#define FIRST 16	// serial numbers of host processes that the start of an enclave takes, and some more
u32 calls_entered[2][TEXT_MAX / 16] __large; // functions begin at multiples of 16

void __cyg_profile_func_enter(void *fn, void *site) __attribute__((no_instrument_function));
void __cyg_profile_func_exit(void *fn, void *site) __attribute__((no_instrument_function));

void __cyg_profile_func_enter(void *fn, void *site)
{
	u64 at = (u64)fn - (u64)kernel_text_start, gs;
	struct hproc *hp;

	(void)site;
	__asm__("rdgsbase %0" : "=r"(gs));
	if (!gs || at >= TEXT_MAX) // not so far yet
		return;
	hp = ((struct window *)(gs - GS_BIAS))->hproc;
	calls_entered[!hp || hp->serial > FIRST][at / 16]++; // none: it is on its way out
}

void __cyg_profile_func_exit(void *fn, void *site) { (void)fn, (void)site; }
#endif

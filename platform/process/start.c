// SPDX-License-Identifier: Apache-2.0
// First C code of the enclave, in the kernel's own host process: lock down, copy the boot blocks in once, start
// the kernel; afterwards this host process carries the kernel threads.
#include "kernel/include/alloc.h"
#include "kernel/include/boot.h"
#include "kernel/include/kstring.h"
#include "kernel/include/log.h"
#include "kernel/mm/page.h"
#include "platform/process/window.h"

static_assert(HC_POOL_SIZE <= POOL_STRIDE, "pools are apart");
static_assert(page_base == K_LIN && pmeta_base == K_LIN + OFF_META, "kernel/mm/page.h says otherwise");
static_assert(GS_BIAS >= WIN_END + WIN_GS_ROOM && GS_BIAS + WIN_GS_ROOM <= WIN_STRIDE + WIN_GUARD, "GS base lies in free space");

void xstate_init(void);
void page_init(u64 bytes, u64 arena, u64 arena_end, u64 first);
void kernel_main(void) __noreturn;

void kernel_start(struct window *w0)
{
	struct control *c = CTL;
	struct window *w = win_alloc(); // window 0, where we stand
	struct hproc *hp = hproc_alloc();
	struct task *t;

	if (w != w0 || c->magic != CTL_MAGIC)
		S1(__NR_exit_group, 127);
	win_setup(w, NULL, hp);
	log_level = (int)c->log_level;
	trap_init();
	end_with_launcher();
	pf_reset_address_space(); // the launcher's leftovers
	image_alias_drop();
	u64 mem = c->memory_bytes;
	if (mem < (64ul << 20) || mem > K_LIN_MAX - OFF_PAGES || mem & (PAGE_SIZE - 1))
		panic("memory size from the launcher is out of range");
	pku_init(OFF_PAGES + mem);
	host_thread_init();
	xstate_init();
	cpus_init();
	S2(__NR_membarrier, 4 /* REGISTER_GLOBAL_EXPEDITED */, 0);
	hot_block_init();
	if (seccomp_init())
		panic("the host refuses the seccomp filter");

	c->desc_offset = offsetof(struct window, desc);
	// copy once, then check
	u32 ml = c->manifest_len, hl = c->host_json_len;
	if (ml >= BOOT_MAX_MANIFEST || hl >= BOOT_MAX_HOST_JSON || c->nvol > CTL_MAX_VOL)
		panic("boot block too large");
	memcpy(host_seed, c->seed, sizeof(host_seed));
	host_memfd = c->memfd;
	boot_info.control_fd = (int)(c->control_fd & 0xffff);
	host_message_fd = boot_info.message_fd = (int)(c->message_fd & 0xffff);
	memcpy(boot_info.manifest, c->manifest, ml);
	boot_info.manifest_len = ml;
	memcpy(boot_info.host_json, c->host_json, hl);
	boot_info.host_json_len = hl;
	boot_info.nvolumes = c->nvol;
	boot_info.strace = c->debug_strace != 0;
	memcpy(boot_info.strace_filter, c->strace_filter, sizeof(boot_info.strace_filter) - 1);
	page_init(mem, (uptr)kernel_hot_end - K_LIN, OFF_ARENA_END, OFF_PAGES);
	t = knew(struct task);
	if (!t)
		panic("no memory at boot");
	strlcpy(t->comm, "kernel", sizeof(t->comm));
	t->host = &w->h;
	w->h.cur = t;
	kernel_main();
}

// Kernel thread: what the launcher reports. Deaths of host processes that did not leave by themselves, signals for the
// first program, window size changes.
void console_winch(void) __weak;

void host_events_thread(void *unused)
{
	struct control *c = CTL;
	u32 tail = 0;

	(void)unused;
	for (;;) {
		u32 s = __atomic_load_n(&c->event_seq, __ATOMIC_SEQ_CST);

		while (tail != __atomic_load_n(&c->dead_head, __ATOMIC_ACQUIRE)) {
			u32 pid = c->dead[tail % CTL_DEAD].pid, st = c->dead[tail % CTL_DEAD].status;
			tail++;
			__atomic_store_n(&c->dead_tail, tail, __ATOMIC_RELEASE);
			host_process_died(pid, st);
		}
		u32 sigs = __atomic_exchange_n(&c->host_signals, 0, __ATOMIC_SEQ_CST);
		for (int n = 1; n < 32; n++)
			if (sigs & 1u << n) {
				struct proc *p = proc_find(2);
				if (!p)
					p = proc_find(1);
				if (p) {
					signal_send_proc(p, n, NULL);
					proc_put(p);
				}
			}
		if (__atomic_exchange_n(&c->winch, 0, __ATOMIC_SEQ_CST) && console_winch)
			console_winch();
		pf_wait(&c->event_seq, s, NO_DEADLINE);
	}
}

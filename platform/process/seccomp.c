// SPDX-License-Identifier: Apache-2.0
// What enclave processes may ask of the host: an allow list, and only from kernel text. A system call from anywhere else is a program's: it becomes SIGSYS
// (trap.c). Inherited by all. Of scheduling classes they may have those that everybody may have.
#include "kernel/include/kstring.h"
#include "platform/process/window.h"
#include <linux/filter.h>
#include <linux/sched.h>
#include <linux/seccomp.h>

// The host goes through it in this order at each call: the most frequent ones first.
static const u16 allowed[] = {
	__NR_futex, __NR_recvfrom, __NR_sendto, __NR_epoll_pwait2, __NR_rt_sigreturn, __NR_mmap, __NR_munmap, __NR_mprotect, __NR_madvise, __NR_pread64,
	__NR_pwrite64, __NR_poll, __NR_sendfile, __NR_read, __NR_write, __NR_tgkill, __NR_clone, __NR_exit, __NR_exit_group, __NR_mremap, __NR_prctl,
	__NR_sigaltstack, __NR_rt_sigprocmask, __NR_fdatasync, __NR_ftruncate, __NR_fallocate, __NR_fstat, __NR_epoll_ctl, __NR_epoll_create1, __NR_eventfd2,
	__NR_socket, __NR_bind, __NR_listen, __NR_accept4, __NR_connect, __NR_shutdown, __NR_getsockopt, __NR_setsockopt, __NR_getsockname,
	__NR_getpeername, __NR_close, __NR_ioctl, __NR_clock_gettime, __NR_getrusage, __NR_getppid, __NR_nanosleep, __NR_sched_getaffinity,
	__NR_sched_setaffinity, __NR_sched_yield, __NR_fsync, __NR_lseek, __NR_rt_sigaction, __NR_membarrier, __NR_rseq, __NR_mincore,
	__NR_sync_file_range,
	__NR_restart_syscall, // which the host makes of a sleep that SIGSTOP and SIGCONT, or a debugger, went through
};

int seccomp_init(void)
{
	static struct sock_filter f[16 + ARRAY_SIZE(allowed) + 8];
	u64 lo = (u64)kernel_text_start, hi = (u64)kernel_text_end;
	u16 n = 0;
	u32 na = ARRAY_SIZE(allowed);
	long r;

	// instruction pointer within [lo, hi): one 4 GiB window by construction of the layout
#define STMT(c, k) f[n++] = (struct sock_filter)BPF_STMT(c, k)
#define JUMP(c, k, t, e) f[n++] = (struct sock_filter)BPF_JUMP(c, k, t, e)
	STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, instruction_pointer) + 4);
	JUMP(BPF_JMP | BPF_JEQ | BPF_K, (u32)(lo >> 32), 1, 0);
	STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP);
	STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, instruction_pointer));
	JUMP(BPF_JMP | BPF_JGE | BPF_K, (u32)lo, 0, 1);
	JUMP(BPF_JMP | BPF_JGE | BPF_K, (u32)hi, 0, 1);
	STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP);
	STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch));
	JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0xc000003e, 1, 0);
	STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
	STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
	for (u32 i = 0; i < na; i++)
		JUMP(BPF_JMP | BPF_JEQ | BPF_K, allowed[i], (u8)(na - i + 6), 0);
	JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_sched_setscheduler, 0, 5); // of the caller itself: SCHED_NORMAL or SCHED_BATCH
	STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0]));
	JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 3);
	STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1]));
	JUMP(BPF_JMP | BPF_JEQ | BPF_K, SCHED_NORMAL, 2, 0);
	JUMP(BPF_JMP | BPF_JEQ | BPF_K, SCHED_BATCH, 1, 0);
	STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
	STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	struct sock_fprog prog = { n, f };
	r = S5(__NR_prctl, 38 /* PR_SET_NO_NEW_PRIVS */, 1, 0, 0, 0);
	if (r)
		return (int)r;
	return (int)S3(__NR_seccomp, SECCOMP_SET_MODE_FILTER, 0, &prog);
}

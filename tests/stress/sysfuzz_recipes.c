// SPDX-License-Identifier: Apache-2.0
// The fuzzer's knowledge of particular calls: structures and descriptors that get past the first check, and short sequences of
// calls that belong together (rings, tracing, filters, mounts...). Everything else is in sysfuzz.c.
#include "tests/stress/sysfuzz.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/io_uring.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static u64 small(struct random *r) { return one_in(r, 10) ? number(r) : below(r, 9000); }
static u64 page(struct random *r) { return (u64)arena + below(r, ARENA / 4096) * 4096; }
static u64 either(struct random *r, const u64 *of, size_t n) { return of[below(r, n)]; }
#define EITHER(r, ...) either(r, (const u64[]){ __VA_ARGS__ }, sizeof((const u64[]){ __VA_ARGS__ }) / sizeof(u64))

// Eight bytes a value, into the arena.
static u64 *words_of(struct random *r, int n, const u64 *v)
{
	u64 *p = (u64 *)room(r, 4096);

	memcpy(p, v, (size_t)n * 8);
	return p;
}
#define WORDS(r, ...) ((u64)words_of(r, sizeof((const u64[]){ __VA_ARGS__ }) / sizeof(u64), (const u64[]){ __VA_ARGS__ }))

static u64 short_time(struct random *r) { return WORDS(r, 0, below(r, 2000000)); }

static u64 any_file(struct random *r) { return of_kind(r, EITHER(r, FILE_A, FILE_B, MEMFD, PIPE_IN, PIPE_OUT, STREAM_PAIR, ZERO_DEVICE, PROGRAM)); }
static u64 any_socket(struct random *r) { return of_kind(r, EITHER(r, STREAM_PAIR, DGRAM_PAIR, PACKET_PAIR, LISTENER, UDP, TCP6, NETLINK)); }

static u64 vector(struct random *r, int n)
{
	u64 *q = (u64 *)room(r, 4096);

	for (int i = 0; i < n; i++) {
		q[2 * i] = address(r);
		q[2 * i + 1] = small(r);
	}
	return (u64)q;
}

// --- futexes: few words, some of all processes, values that fit

static u64 futex_word(struct random *r)
{
	unsigned *w = one_in(r, 2) ? common + below(r, 6) : (unsigned *)arena + 16 * below(r, 4);
	static const unsigned marks[] = { 0, FUTEX_WAITERS, FUTEX_OWNER_DIED, FUTEX_OWNER_DIED | FUTEX_WAITERS };

	if (one_in(r, 4))
		__atomic_store_n(w, one_in(r, 3) ? (unsigned)gettid() | marks[below(r, 4)] : marks[below(r, 4)], __ATOMIC_SEQ_CST);
	return (u64)w;
}

static u64 futex_array(struct random *r, u64 n)
{
	u64 *q = (u64 *)room(r, 4096);

	for (u64 i = 0; i < n; i++) {
		q[3 * i + 1] = futex_word(r);
		q[3 * i] = *(unsigned *)q[3 * i + 1];
		q[3 * i + 2] = 2 | (one_in(r, 2) ? 128 : 0); // u32, private
	}
	return (u64)q;
}

static void futex_better(struct random *r, u64 a[6])
{
	a[0] = futex_word(r);
	a[1] = below(r, 14) | (one_in(r, 3) ? 0 : 128) | (one_in(r, 8) ? 256 : 0);
	a[2] = one_in(r, 2) ? *(unsigned *)a[0] : below(r, 4);
	a[3] = (a[1] & 127) == FUTEX_WAIT || (a[1] & 127) == FUTEX_WAIT_BITSET || (a[1] & 127) == FUTEX_LOCK_PI || (a[1] & 127) == FUTEX_WAIT_REQUEUE_PI ||
	       (a[1] & 127) == FUTEX_LOCK_PI2 ? (one_in(r, 3) ? 0 : short_time(r)) : below(r, 4);
	a[4] = futex_word(r);
	a[5] = (a[1] & 127) == FUTEX_CMP_REQUEUE || (a[1] & 127) == FUTEX_CMP_REQUEUE_PI ? *(unsigned *)a[0] : one_in(r, 2) ? ~0u : number(r);
}

static u64 robust_list(struct random *r)
{
	u64 *head = (u64 *)room(r, 4096), n = below(r, 4), at = (u64)head;

	head[1] = 64; // the futex lies behind the entry
	for (u64 i = 0; i < n; i++) {
		u64 *entry = (u64 *)room(r, 4096);
		((u64 *)at)[0] = (u64)entry | one_in(r, 5);
		((unsigned *)entry)[16] = (unsigned)gettid() | (one_in(r, 2) ? FUTEX_WAITERS : 0);
		at = (u64)entry;
	}
	((u64 *)at)[0] = one_in(r, 4) ? address(r) : (u64)head;
	head[2] = one_in(r, 3) ? address(r) : 0;
	return (u64)head;
}

// --- single calls

static void fcntl_better(struct random *r, u64 a[6])
{
	struct flock lock = { .l_type = (short)below(r, 4), .l_whence = (short)below(r, 3), .l_start = (long)below(r, 300), .l_len = (long)below(r, 100) };
	char *p = room(r, 4096);

	a[0] = any_file(r);
	switch (a[1]) {
	case F_GETLK: case F_SETLK: case F_SETLKW: case F_OFD_GETLK: case F_OFD_SETLK: case F_OFD_SETLKW:
		memcpy(p, &lock, sizeof(lock));
		a[0] = of_kind(r, FILE_A);
		a[2] = (u64)p;
		break;
	case F_DUPFD: case F_DUPFD_CLOEXEC: a[2] = below(r, 60); break;
	case F_SETFL: a[2] = number(r) & (O_APPEND | O_NONBLOCK | O_ASYNC | O_DIRECT); break;
	case F_SETPIPE_SZ: a[0] = of_kind(r, PIPE_IN); a[2] = 4096ul << below(r, 12); break;
	case F_ADD_SEALS: a[0] = of_kind(r, MEMFD); a[2] = below(r, 64); break;
	case F_SETOWN_EX: a[2] = WORDS(r, below(r, 3) | (u64)getpid() << 32); break;
	case F_SETOWN: a[2] = (u64)getpid(); break;
	case F_SETSIG: a[2] = below(r, 65); break;
	default: a[2] = one_in(r, 2) ? page(r) : number(r);
	}
}

static u64 filter(struct random *r, bool seccomp)
{
	static const unsigned short codes[] = { BPF_LD | BPF_W | BPF_ABS, BPF_LD | BPF_B | BPF_IND, BPF_ALU | BPF_ADD | BPF_K, BPF_ALU | BPF_DIV | BPF_X,
		BPF_JMP | BPF_JEQ | BPF_K, BPF_JMP | BPF_JA, BPF_ST, BPF_LDX | BPF_MEM, BPF_MISC | BPF_TAX, BPF_RET | BPF_A, BPF_LD | BPF_W | BPF_LEN,
		BPF_JMP | BPF_JSET | BPF_K, BPF_ALU | BPF_LSH | BPF_K, BPF_LDX | BPF_B | BPF_MSH };
	struct sock_filter *f = (void *)room(r, 4096);
	u64 n = below(r, 12), k = 0;

	for (; k < n; k++)
		f[k] = (struct sock_filter){ one_in(r, 20) ? (unsigned short)number(r) : codes[below(r, sizeof(codes) / sizeof(*codes))], (unsigned char)below(r, 3),
			(unsigned char)below(r, 3), one_in(r, 8) ? (unsigned)number(r) : (unsigned)below(r, 16) * 4 };
	if (!one_in(r, 10))
		f[k++] = (struct sock_filter){ BPF_RET | BPF_K, 0, 0, seccomp ? (unsigned)EITHER(r, SECCOMP_RET_ALLOW, SECCOMP_RET_ALLOW, SECCOMP_RET_LOG,
				SECCOMP_RET_ERRNO | 5, SECCOMP_RET_TRAP, SECCOMP_RET_TRACE, SECCOMP_RET_USER_NOTIF, SECCOMP_RET_KILL_THREAD) : (unsigned)small(r) };
	return WORDS(r, k, (u64)f);
}

static void sockopt_better(struct random *r, u64 a[6], bool set)
{
	a[0] = any_socket(r);
	a[1] = EITHER(r, SOL_SOCKET, SOL_SOCKET, 6, 0, 41, 17, 270);
	a[2] = below(r, a[1] == SOL_SOCKET ? 80 : 70);
	a[3] = WORDS(r, small(r), below(r, 100000), address(r), 0, 0);
	if (a[1] == SOL_SOCKET && a[2] == SO_ATTACH_FILTER)
		a[3] = filter(r, false);
	a[4] = EITHER(r, 4, 4, 8, 16, 1, 12);
	if (!set)
		a[4] = WORDS(r, a[4]);
}

static u64 messages(struct random *r, u64 n)
{
	u64 *q = (u64 *)room(r, 8192);

	for (u64 i = 0; i < n; i++) {
		u64 m[8] = { 0, 0, 0, below(r, 4), 0, 0, 0, 0 };
		m[2] = vector(r, 4);
		memcpy(q + 8 * i, m, sizeof(m));
	}
	return (u64)q;
}

static void ioctl_better(struct random *r, u64 a[6])
{
	struct termios t = { .c_iflag = (tcflag_t)number(r), .c_oflag = (tcflag_t)number(r), .c_lflag = (tcflag_t)number(r), .c_cflag = CREAD | CS8 };
	static const unsigned requests[] = { FIONREAD, FIONBIO, FIOASYNC, 0x8901 /* FIOSETOWN */, 0x8902, 0x8903, 0x80087601 /* FS_IOC_GETVERSION */, 0x80086601,
		0x40086602, 0xc020660b, 0x801c581f, 0x401c5820, 0x40049409 /* FICLONE */, 0x4020940d, 0xc0045878, 0xb701 /* NS_GET_USERNS */, 0xb702, 0xb703,
		0x8912, 0x8914, 0x8921, 0x8927, 0x8943, 0x8942, 0x40045436, 0x80045438, 0x80045439, 0x5420, 0x5405, 0x540c, 0x540d, 0x5457 };

	a[0] = one_in(r, 3) ? of_kind(r, TERMINAL) : one_in(r, 2) ? any_socket(r) : one_in(r, 4) ? of_kind(r, NAMESPACE) : any_file(r);
	if (one_in(r, 2))
		a[1] = requests[below(r, sizeof(requests) / sizeof(*requests))];
	a[2] = one_in(r, 3) ? number(r) : page(r) + below(r, 128) * 16;
	if (a[1] >= TCGETS && a[1] <= TCSETSF && one_in(r, 2))
		memcpy((void *)(a[2] = (u64)room(r, 4096)), &t, sizeof(t));
}

static u64 limit_of(struct random *r) // of attributes that carry their own size
{
	return EITHER(r, 0, 1, 2, 3, 8, 16, 24, 32, 48, 64, 88, 4096);
}

void better(struct random *r, long nr, u64 a[6])
{
	u64 n;

	switch (nr) {
	case SYS_futex: futex_better(r, a); break;
	case 449: a[1] = 1 + below(r, 5); a[0] = futex_array(r, a[1]); a[2] = 0; a[3] = short_time(r); a[4] = 1; break; // futex_waitv
	case 454: a[0] = futex_word(r); a[1] = ~0u; a[2] = below(r, 3); a[3] = 2 | 128 * below(r, 2); break;		// futex_wake
	case 455: a[0] = futex_word(r); a[1] = *(unsigned *)a[0]; a[2] = ~0u; a[3] = 2 | 128 * below(r, 2); a[4] = short_time(r); a[5] = 1; break;
	case 456: a[0] = futex_array(r, 2); a[1] = 0; a[2] = below(r, 3); a[3] = below(r, 3); break;
	case SYS_set_robust_list: a[0] = robust_list(r); a[1] = 24; break;
	case SYS_fcntl: fcntl_better(r, a); break;
	case SYS_ioctl: ioctl_better(r, a); break;
	case SYS_setsockopt: sockopt_better(r, a, true); break;
	case SYS_getsockopt: sockopt_better(r, a, false); break;
	case SYS_sendmsg: case SYS_recvmsg: case SYS_sendto: case SYS_recvfrom: case SYS_getsockname: case SYS_getpeername: case SYS_connect: case SYS_bind:
		a[0] = any_socket(r);
		break;
	case SYS_accept: case SYS_accept4: a[0] = of_kind(r, LISTENER); break;
	case SYS_sendmmsg: case SYS_recvmmsg: a[0] = any_socket(r); a[2] = below(r, 5); a[1] = messages(r, a[2]); if (nr == SYS_recvmmsg) a[4] = short_time(r); break;
	case SYS_epoll_ctl: a[0] = of_kind(r, EPOLL); a[2] = of_kind(r, below(r, KINDS)); a[3] = WORDS(r, flags(r, "epollev", true), number(r)); break;
	case SYS_epoll_wait: case SYS_epoll_pwait: case 441: a[0] = of_kind(r, EPOLL); a[2] = 1 + below(r, 6); if (nr == 441) a[3] = short_time(r); break;
	case SYS_timerfd_settime: a[0] = of_kind(r, TIMER); a[2] = WORDS(r, 0, below(r, 900000), 0, below(r, 900000)); break;
	case SYS_timerfd_gettime: a[0] = of_kind(r, TIMER); break;
	case SYS_signalfd: case SYS_signalfd4: a[0] = one_in(r, 2) ? ~0ul : of_kind(r, SIGNALS); a[2] = 8; break;
	case SYS_inotify_add_watch: a[0] = of_kind(r, INOTIFY); break;
	case SYS_inotify_rm_watch: a[0] = of_kind(r, INOTIFY); a[1] = 1 + below(r, 5); break;
	case SYS_timer_create: a[1] = one_in(r, 3) ? 0 : WORDS(r, number(r), SIGUSR1 | EITHER(r, 0, 1, 4) << 32, (u64)gettid()); break;
	case SYS_timer_settime: case SYS_timer_gettime: case SYS_timer_getoverrun:
		a[0] = below(r, 8);
		a[2] = WORDS(r, 0, below(r, 900000), 0, below(r, 900000));
		break;
	case SYS_timer_delete: a[0] = 3 + below(r, 8); break;
	case SYS_read: case SYS_write: case SYS_readv: case SYS_writev: case SYS_pread64: case SYS_pwrite64: case SYS_preadv2: case SYS_pwritev2:
		a[0] = any_file(r);
		break;
	case SYS_fallocate: case SYS_ftruncate: a[0] = of_kind(r, EITHER(r, FILE_A, FILE_B, MEMFD)); if (nr == SYS_fallocate) a[2] = small(r), a[3] = small(r); break;
	case SYS_mmap:
		a[0] = one_in(r, 3) ? 0 : page(r);
		a[1] = 1 + small(r);
		a[4] = any_file(r);
		a[5] = below(r, 8) * 4096;
		if (a[3] & MAP_FIXED && one_in(r, 2)) // do not lose the arena all the time
			a[0] = 0x50000000 + below(r, 64) * 4096;
		break;
	case SYS_mremap: a[1] = below(r, 3) * 4096; a[2] = 1 + small(r); break;
	case SYS_remap_file_pages: a[2] = 0; a[3] = below(r, 4); a[1] = 4096; break;
	case SYS_mbind: a[2] = below(r, 6); a[3] = WORDS(r, 1); a[4] = 2; break;
	case SYS_splice: a[0] = any_file(r); a[2] = of_kind(r, EITHER(r, PIPE_IN, FILE_B, STREAM_PAIR)); goto no_offsets;
	case SYS_copy_file_range: a[0] = of_kind(r, EITHER(r, FILE_A, MEMFD, MAPS)); a[2] = of_kind(r, EITHER(r, FILE_B, MEMFD)); a[5] = 0;
no_offsets:	if (one_in(r, 2)) a[1] = 0;
		if (one_in(r, 2)) a[3] = 0;
		a[4] = small(r);
		break;
	case SYS_tee: a[0] = of_kind(r, PIPE_OUT); a[1] = of_kind(r, PIPE_IN); a[2] = small(r); break;
	case SYS_vmsplice: a[0] = of_kind(r, EITHER(r, PIPE_IN, PIPE_OUT)); break;
	case SYS_sendfile: a[1] = any_file(r); a[0] = any_file(r); a[3] = small(r); if (one_in(r, 2)) a[2] = 0; break;
	case SYS_process_vm_readv: case SYS_process_vm_writev:
		a[2] = below(r, 6); a[1] = vector(r, 6); a[4] = below(r, 6); a[3] = vector(r, 6); a[5] = 0;
		break;
	case SYS_process_madvise: a[0] = of_kind(r, PIDFD); a[2] = below(r, 4); a[1] = vector(r, 4); a[3] = EITHER(r, 3, 20, 21, 4, 25); a[4] = 0; break;
	case SYS_process_mrelease: case SYS_pidfd_getfd: case SYS_pidfd_send_signal:
		a[0] = of_kind(r, PIDFD);
		if (nr == SYS_pidfd_send_signal) a[2] = 0, a[3] = 0; else a[1] = nr == SYS_pidfd_getfd ? below(r, 50) : 0, a[2] = 0;
		break;
	case SYS_rt_sigqueueinfo: case SYS_rt_tgsigqueueinfo:
		a[nr == SYS_rt_sigqueueinfo ? 2 : 3] = WORDS(r, below(r, 65), (u64)EITHER(r, -1, -2, -6, -60, 0) & 0xffffffff, number(r));
		break;
	case SYS_openat2: a[2] = WORDS(r, flags(r, "open", true), one_in(r, 2) ? 0600 : 0, below(r, 64)); a[3] = 24; break;
	case SYS_setns: a[0] = one_in(r, 2) ? of_kind(r, NAMESPACE) : of_kind(r, PIDFD); a[1] = EITHER(r, 0, 0x20000, 0x4000000, 0x8000000); break;
	case SYS_sched_setattr: a[1] = WORDS(r, 48 | EITHER(r, 0, 1, 3, 5, 6) << 32, below(r, 8), below(r, 40), 0, 0, 0); a[2] = 0; break;
	case SYS_sched_setaffinity: a[1] = 8; a[2] = WORDS(r, one_in(r, 4) ? number(r) : 3); break;
	case SYS_capset: case SYS_capget: a[0] = WORDS(r, 0x20080522); a[1] = WORDS(r, ~0ul, ~0ul, ~0ul); break;
	case SYS_prctl: for (int i = 1; i < 5; i++) a[i] = one_in(r, 2) ? 0 : one_in(r, 2) ? page(r) : below(r, 64); break;
	case SYS_shmctl: case SYS_semctl: case SYS_msgctl:
		a[0] = (u64)syscall(nr == SYS_shmctl ? SYS_shmget : nr == SYS_semctl ? SYS_semget : SYS_msgget, below(r, 3), 0, 0);
		if (nr == SYS_semctl) a[3] = one_in(r, 2) ? page(r) : below(r, 100), a[1] = below(r, 4), a[2] = flags(r, "ipccmd", false);
		break;
	case SYS_shmget: a[0] = below(r, 3); a[1] = 4096ul << below(r, 4); a[2] = 01600; break;
	case SYS_shmat: a[0] = (u64)syscall(SYS_shmget, below(r, 3), 0, 0); a[1] = one_in(r, 2) ? 0 : page(r); break;
	case SYS_semget: a[0] = below(r, 3); a[1] = 1 + below(r, 4); a[2] = 01600; break;
	case SYS_semop: case SYS_semtimedop:
		a[0] = (u64)syscall(SYS_semget, below(r, 3), 0, 0);
		a[2] = 1 + below(r, 3);
		n = 0;
		for (int i = 0; i < 4; i++) // number, operation, flags: six bytes each
			n |= (below(r, 3) | (below(r, 5) - 2) << 16) << (i % 2 ? 48 : 0);
		a[1] = WORDS(r, n, number(r) & 0x1800180018001800, n);
		a[3] = short_time(r);
		break;
	case SYS_msgget: a[0] = below(r, 3); a[1] = 01600; break;
	case SYS_msgsnd: case SYS_msgrcv:
		a[0] = (u64)syscall(SYS_msgget, below(r, 3), 0, 0);
		a[1] = WORDS(r, 1 + below(r, 4), number(r));
		a[2] = small(r);
		a[3] = nr == SYS_msgsnd ? 04000 : below(r, 4);
		a[4] = 04000 | below(r, 2) << 12;
		break;
	case SYS_mq_open: a[0] = (u64)strcpy(room(r, 64), "q"); a[1] = O_RDWR | O_CREAT | O_NONBLOCK; a[2] = 0600; a[3] = WORDS(r, 0, 1 + below(r, 8), 8 + below(r, 99)); break;
	case SYS_mq_timedsend: case SYS_mq_timedreceive: a[0] = of_kind(r, QUEUE); a[2] = one_in(r, 3) ? small(r) : 8192; a[3] = nr == SYS_mq_timedsend ? below(r, 4) : page(r); break;
	case SYS_mq_notify: a[0] = of_kind(r, QUEUE); a[1] = one_in(r, 3) ? 0 : WORDS(r, number(r), SIGUSR1 | below(r, 2) << 32, 0); break;
	case SYS_mq_getsetattr: a[0] = of_kind(r, QUEUE); a[1] = WORDS(r, O_NONBLOCK); break;
	case SYS_quotactl: case SYS_perf_event_open: a[0] = WORDS(r, limit_of(r) << 32); break;
	case 457: a[0] = WORDS(r, 24, one_in(r, 2) ? below(r, 40) : ~0ul, number(r)); break;	// statmount
	case 458: a[0] = WORDS(r, 24, ~0ul, below(r, 20)); break;					// listmount
	case 451: a[0] = any_file(r); a[1] = WORDS(r, small(r), small(r)); a[3] = 0; break;		// cachestat
	case 462: if (one_in(r, 4)) a[0] = 0x50000000 + below(r, 64) * 4096; a[2] = 0; break;	// mseal: rather not the arena
	case SYS_add_key: case SYS_request_key: a[0] = (u64)strcpy(room(r, 64), one_in(r, 4) ? "keyring" : one_in(r, 2) ? "user" : "logon");
		a[1] = (u64)strcpy(room(r, 64), "k:y"); a[3] = below(r, 100); a[4] = -(1 + below(r, 8)); if (nr == SYS_request_key) a[2] = 0, a[3] = a[4]; break;
	case SYS_keyctl: a[0] = below(r, 33); a[1] = one_in(r, 3) ? below(r, 40) : -(1 + below(r, 8)); for (int i = 2; i < 5; i++) a[i] = one_in(r, 2) ? page(r) : number(r); break;
	case SYS_execve: case SYS_execveat: if (!one_in(r, 50)) a[nr == SYS_execveat] = 0; break; // mostly fails: success ends the worker
	default: break;
	}
}

// --- sequences

static void some_calls(struct random *r, u64 n)
{
	while (n--)
		random_call(r);
}

static void forget(pid_t p)
{
	int status;

	for (int i = 0; i < 50 && p > 0 && !waitpid(p, &status, WNOHANG | __WALL); i++)
		usleep(200);
	if (p > 0)
		kill(p, SIGKILL);
	waitpid(p, &status, __WALL);
}

static void a_child(struct random *r) // that does something and goes, by one of the ways
{
	pid_t p = fork();

	if (!p) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		some_calls(r, below(r, 40));
		if (one_in(r, 4))
			raise(SIGKILL);
		if (one_in(r, 3))
			syscall(SYS_exit, 0);
		_exit(0);
	}
	if (!one_in(r, 3))
		forget(p);
}

static void a_program(struct random *r)
{
	char *argv[] = { "sysfuzz", "--version", NULL };
	pid_t p = -1;

	if (!posix_spawn(&p, "/proc/self/exe", NULL, NULL, argv, environ) && !one_in(r, 3))
		forget(p);
	if (one_in(r, 200))
		execve("/proc/self/exe", argv, environ); // of a process with threads
}

static void *passing(void *arg)
{
	struct random r = { (u64)arg };

	some_calls(&r, below(&r, 20));
	return NULL;
}

static void a_thread(struct random *r)
{
	pthread_t t;

	if (!pthread_create(&t, NULL, passing, (void *)next(r)))
		pthread_detach(t);
}

static void filtered(struct random *r)
{
	pid_t p = fork();

	if (!p) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
		for (u64 i = 1 + below(r, 3); i; i--) {
			u64 how = one_in(r, 3) ? SECCOMP_FILTER_FLAG_NEW_LISTENER : EITHER(r, 0, 0, SECCOMP_FILTER_FLAG_TSYNC, SECCOMP_FILTER_FLAG_LOG);
			long fd = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, how, filter(r, true));
			if (how == SECCOMP_FILTER_FLAG_NEW_LISTENER && fd >= 0 && !fork()) {
				u64 *n = (u64 *)room(r, 4096);
				fcntl((int)fd, F_SETFL, O_NONBLOCK);
				for (int k = 0; k < 20; k++) {
					memset(n, 0, 80);
					ioctl((int)fd, SECCOMP_IOCTL_NOTIF_RECV, n);
					u64 answer[3] = { n[0], number(r), below(r, 20) | below(r, 2) << 32 };
					ioctl((int)fd, SECCOMP_IOCTL_NOTIF_SEND, answer);
					ioctl((int)fd, SECCOMP_IOCTL_NOTIF_ID_VALID, n);
				}
				_exit(0);
			}
			some_calls(r, 10);
		}
		_exit(0);
	}
	forget(p);
}

static void traced(struct random *r)
{
	struct user_regs_struct regs;
	pid_t p = fork();
	int status;

	if (!p) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		own_tally(); // it may run on with any registers, and count anywhere
		if (one_in(r, 2))
			ptrace(PTRACE_TRACEME, 0, 0, 0), raise(SIGSTOP);
		some_calls(r, 30);
		_exit(0);
	}
	if (p < 0)
		return;
	if (one_in(r, 2))
		ptrace(one_in(r, 2) ? PTRACE_SEIZE : PTRACE_ATTACH, p, 0, number(r) & 0xff);
	for (u64 n = below(r, 40); n && waitpid(p, &status, WNOHANG | __WALL) <= 0; n--)
		usleep(100);
	for (u64 n = below(r, 12); n; n--) {
		long where = one_in(r, 3) ? (long)number(r) : (long)address(r);
		switch (below(r, 9)) {
		case 0: ptrace(PTRACE_POKEDATA, p, where, number(r)); break;
		case 1: ptrace(PTRACE_PEEKDATA, p, where, 0); break;
		case 2:
			if (!ptrace(PTRACE_GETREGS, p, 0, &regs)) {
				((u64 *)&regs)[below(r, sizeof(regs) / 8)] = number(r);
				ptrace(PTRACE_SETREGS, p, 0, &regs);
			}
			break;
		case 3: ptrace(PTRACE_POKEUSER, p, below(r, 120) * 8, number(r)); break;
		case 4: ptrace(EITHER(r, PTRACE_GETREGSET, PTRACE_SETREGSET), p, EITHER(r, 1, 2, 0x202), WORDS(r, page(r), small(r))); break;
		case 5: ptrace(PTRACE_SETOPTIONS, p, 0, number(r) & 0x1000ff); break;
		case 6: ptrace(PTRACE_INTERRUPT, p, 0, 0); break;
		default: ptrace((int)EITHER(r, PTRACE_CONT, PTRACE_SYSCALL, PTRACE_SINGLESTEP, PTRACE_LISTEN), p, 0, one_in(r, 3) ? below(r, 65) : 0);
		}
		for (int i = 0; i < 5 && waitpid(p, &status, WNOHANG | __WALL) <= 0; i++)
			usleep(50);
	}
	if (one_in(r, 2))
		ptrace(PTRACE_DETACH, p, 0, 0);
	if (one_in(r, 2))
		kill(p, SIGKILL);
	forget(p);
}

static void mounted(struct random *r)
{
	static const char *const types[] = { "tmpfs", "proc", "sysfs", "devpts", "mqueue", "overlay", "cgroup2", "ramfs" };
	int fs, m, tree;

	if (!own_mounts)
		return;
	fs = (int)syscall(SYS_fsopen, types[below(r, 8)], below(r, 2));
	syscall(SYS_fsconfig, fs, 1, one_in(r, 2) ? "size" : "source", "64k", 0);
	syscall(SYS_fsconfig, fs, one_in(r, 4) ? below(r, 9) : 0, "ro", 0, 0);
	syscall(SYS_fsconfig, fs, 6, 0, 0, 0);
	m = (int)syscall(SYS_fsmount, fs, below(r, 2), below(r, 16));
	syscall(SYS_move_mount, m, "", AT_FDCWD, DIRECTORY "/d", 4 | (one_in(r, 4) ? number(r) & 0x77 : 0));
	tree = (int)syscall(SYS_open_tree, AT_FDCWD, one_in(r, 2) ? DIRECTORY "/d" : "/proc", below(r, 2) | 0x80000 | below(r, 2) << 15);
	u64 attr[4] = { number(r) & 0x1f, number(r) & 0x1f, EITHER(r, 0, 1 << 18, 1 << 19, 1 << 20), 0 };
	syscall(SYS_mount_setattr, tree, "", 0x1000 | below(r, 2) << 15, attr, 32);
	some_calls(r, below(r, 10));
	syscall(SYS_move_mount, tree, "", AT_FDCWD, DIRECTORY "/d", 4);
	for (u64 n = below(r, 3); n; n--)
		syscall(SYS_umount2, DIRECTORY "/d", flags(r, "umount", true));
	close(fs);
	close(m);
	close(tree);
}

static void asynchronous(struct random *r)
{
	aio_context_t c = 0;
	struct iocb *list[4], *one = (void *)room(r, 4096);
	struct io_event done[4];
	struct timespec none = { 0, 100000 };

	if (syscall(SYS_io_setup, 1 + below(r, 8), &c))
		return;
	for (int i = 0; i < 4; i++) {
		one[i] = (struct iocb){ .aio_lio_opcode = (unsigned short)below(r, 9), .aio_fildes = (unsigned)any_file(r), .aio_buf = address(r),
			.aio_nbytes = small(r), .aio_offset = (long)small(r), .aio_flags = (unsigned)one_in(r, 3), .aio_resfd = (unsigned)of_kind(r, EVENT) };
		list[i] = &one[i];
	}
	syscall(SYS_io_submit, c, 4, list);
	syscall(SYS_io_cancel, c, list[0], done);
	syscall(SYS_io_getevents, c, below(r, 3), 4, done, &none);
	if (!one_in(r, 8))
		syscall(SYS_io_destroy, c);
}

static void entry(struct random *r, struct io_uring_sqe *s, int ring)
{
	*s = (struct io_uring_sqe){ .opcode = (unsigned char)below(r, 50), .flags = (unsigned char)(one_in(r, 3) ? number(r) & 0x7f : 0),
		.fd = (int)(one_in(r, 12) ? (u64)ring : one_in(r, 2) ? any_file(r) : of_kind(r, below(r, KINDS))), .off = one_in(r, 2) ? ~0ul : small(r),
		.addr = one_in(r, 3) ? text(r) : address(r), .len = (unsigned)small(r), .rw_flags = one_in(r, 3) ? (int)number(r) : 0, .user_data = below(r, 8) };
	switch (s->opcode) {
	case IORING_OP_READV: case IORING_OP_WRITEV: s->addr = vector(r, 4); s->len = (unsigned)below(r, 5); break;
	case IORING_OP_POLL_ADD: s->poll32_events = (unsigned)flags(r, "pollev", true); s->len = (unsigned)below(r, 2); break;
	case IORING_OP_TIMEOUT: case IORING_OP_LINK_TIMEOUT: s->addr = short_time(r); s->len = 1; s->off = below(r, 3); s->timeout_flags = (unsigned)(number(r) & 0x3f); break;
	case IORING_OP_SENDMSG: case IORING_OP_RECVMSG: s->addr = messages(r, 1); s->len = 1; s->fd = (int)any_socket(r); break;
	case IORING_OP_ACCEPT: s->fd = (int)of_kind(r, LISTENER); s->addr = 0; s->off = 0; s->ioprio = (unsigned short)below(r, 4); break;
	case IORING_OP_ASYNC_CANCEL: case IORING_OP_POLL_REMOVE: s->addr = below(r, 8); s->cancel_flags = (unsigned)(number(r) & 0xf); break;
	case IORING_OP_EPOLL_CTL: s->fd = (int)of_kind(r, EPOLL); s->len = (unsigned)(1 + below(r, 3)); s->off = of_kind(r, below(r, KINDS)); break;
	case IORING_OP_PROVIDE_BUFFERS: s->fd = (int)below(r, 8); s->len = 64; s->off = below(r, 8); s->buf_group = (unsigned short)below(r, 2); break;
	case IORING_OP_MSG_RING: s->fd = ring; break;
	default: s->buf_group = (unsigned short)below(r, 2);
	}
}

static void ring(struct random *r)
{
	struct io_uring_params p = { .flags = (unsigned)(one_in(r, 2) ? 0 : number(r) & 0x3fff), .sq_thread_idle = 1, .cq_entries = 64 };
	int fd = (int)syscall(SYS_io_uring_setup, 1 + below(r, 16), &p), event = (int)of_kind(r, EVENT);
	struct timespec nap = { 0, 200000 };
	u64 wait[3] = { 0, 8, (u64)&nap };

	if (fd < 0)
		return;
	size_t n = p.sq_off.array + p.sq_entries * 4, size = p.sq_entries * (p.flags & IORING_SETUP_SQE128 ? 128 : 64);
	if (p.cq_off.cqes + p.cq_entries * 32 > n)
		n = p.cq_off.cqes + p.cq_entries * 32;
	char *q = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_SHARED, fd, IORING_OFF_SQ_RING);
	char *e = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, IORING_OFF_SQES);
	for (u64 rounds = 1 + below(r, 6); rounds && q != MAP_FAILED && e != MAP_FAILED; rounds--) {
		unsigned *tail = (void *)(q + p.sq_off.tail), *mask = (void *)(q + p.sq_off.ring_mask), *array = (void *)(q + p.sq_off.array), k = (unsigned)below(r, 6);
		for (unsigned i = 0; i < k; i++) {
			unsigned at = (*tail + i) & *mask & (p.sq_entries - 1);
			entry(r, (void *)(e + at * (size / p.sq_entries)), fd);
			if (!(p.flags & (1u << 16))) // no array
				array[at] = one_in(r, 30) ? (unsigned)number(r) : at;
		}
		__atomic_store_n(tail, one_in(r, 40) ? (unsigned)number(r) : *tail + k, __ATOMIC_RELEASE);
		switch (below(r, 12)) {
		case 0: syscall(SYS_io_uring_register, fd, 0, vector(r, 2), below(r, 3)); break;
		case 1: syscall(SYS_io_uring_register, fd, 2, opened[below(r, KINDS)], 2); break;
		case 2: syscall(SYS_io_uring_register, fd, 4, &event, 1); break;
		case 3: syscall(SYS_io_uring_register, fd, 22, WORDS(r, page(r), 8 | below(r, 2) << 32, 0, 0, 0), 1); break; // ring of buffers
		case 4: syscall(SYS_io_uring_register, fd, below(r, 30), address(r), below(r, 4)); break;
		default: break;
		}
		if (one_in(r, 4))
			syscall(SYS_io_uring_enter, fd, k, below(r, 3), 9, wait, 24); // getevents, extended argument
		else
			syscall(SYS_io_uring_enter, fd, k, 0, one_in(r, 4) ? below(r, 16) : 1, 0, 8);
		if (one_in(r, 3))
			some_calls(r, 2);
		unsigned *head = (void *)(q + p.cq_off.head);
		*head = one_in(r, 20) ? (unsigned)number(r) : *(unsigned *)(q + p.cq_off.tail);
	}
	if (q != MAP_FAILED && !one_in(r, 10))
		munmap(q, n);
	if (e != MAP_FAILED && !one_in(r, 10))
		munmap(e, size);
	if (!one_in(r, 10))
		close(fd);
}

static void handles(struct random *r)
{
	u64 *h = (u64 *)room(r, 4096);
	int mount;

	h[0] = 128;
	syscall(SYS_name_to_handle_at, AT_FDCWD, text(r), h, &mount, below(r, 2) << 12);
	if (one_in(r, 3))
		h[1 + below(r, 4)] ^= number(r);
	long fd = syscall(SYS_open_by_handle_at, AT_FDCWD, h, flags(r, "open", true));
	if (fd >= 0)
		close((int)fd);
}

static void mapped_file(struct random *r)
{
	u64 fd = of_kind(r, EITHER(r, FILE_A, FILE_B, MEMFD)), n = 4096 * (1 + below(r, 16)), *p;

	if (one_in(r, 2))
		syscall(SYS_ftruncate, fd, below(r, 70000));
	p = mmap(NULL, n, PROT_READ | PROT_WRITE, EITHER(r, MAP_SHARED, MAP_PRIVATE), (int)fd, (long)below(r, 4) * 4096);
	if (p == MAP_FAILED)
		return;
	syscall(SYS_madvise, p, n, flags(r, "madvise", false));
	for (u64 i = 0; i < 4; i++) { // by the kernel: what lies behind the end of the file is EFAULT
		syscall(one_in(r, 2) ? SYS_pread64 : SYS_pwrite64, any_file(r), (u64)p + below(r, n), below(r, 9000), below(r, 9000));
		if (one_in(r, 3))
			syscall(SYS_ftruncate, fd, below(r, 70000));
	}
	if (!one_in(r, 5))
		munmap(p, n);
}

void recipe(struct random *r)
{
	static void (*const all[])(struct random *) = { a_child, a_program, a_thread, filtered, traced, mounted, asynchronous, handles, mapped_file,
		mapped_file, ring, ring, ring };

	u64 i = below(r, sizeof(all) / sizeof(*all));

	if (recipes >> i & 1)
		all[i](r);
}

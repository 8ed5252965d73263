// SPDX-License-Identifier: Apache-2.0
// The control block that the launcher and the enclave share (offset OFF_CTL of the memfd). The launcher fills
// the top half before the first instruction of the kernel; afterwards each side treats what the other writes as hostile.
#pragma once
#ifdef COFFER_KERNEL
#include "kernel/include/types.h"
#endif
#include "hostcall/hostcall.h"
#include "platform/process/layout.h"

#define CTL_MAGIC 0x434f464652303031ul
#define CTL_MAX_VOL 16
#define CTL_RING WIN_MAX	// a request a window at most: it never runs over
#define CTL_DEAD 256
#define CTL_SAID 4096
#define CTL_COUNTS 64	// sets of counters (hostcall.c)
#define CTL_TASKS 512	// most that are listed

// One task of the enclave, as one that is for debugging shows it to the host.
struct ctl_task {
	s32 pid, ppid, tid;
	u32 state;		// 'R', 'S', 'T', 'Z': as in ps(1)
	s32 call;		// number of the system call that it is in; -1: none
	u32 threads;		// of its process
	u64 cpu_ns;		// of its process
	u64 private_pages;	// of its process
	char name[16];
};

// What the host does for the enclave anyway, and so knows.
struct ctl_counts {
	u64 calls, disk_read, disk_written, in, out; // hostcalls; bytes of image and volumes; of streams and connections
	u64 unused[3];
};

struct control {
	u64 magic;
	u64 entry;		// its first instruction
	u32 kernel_pid;		// the kernel's own host process
	u32 desc_offset;	// of struct hc_desc within a window; the kernel sets it at boot
	u64 memory_bytes;	// end of the memfd
	s64 memfd, image_fd;
	// Of each set an epoll and an eventfd that ends a sleep in it; set 0, without eventfd, is inside each other. 0: not made yet.
	s64 epoll_fd[HC_SETS], wake_fd[HC_SETS];
	s64 vol_fd[CTL_MAX_VOL];
	u32 launcher_pid;	// as the enclave's host processes see it: their parent
	s64 cache_fd;		// a memfd of the host's for the send cache (kernel/net/sendcache.c); -1: none
	u32 nvol;
	u32 ring_mode;		// 1: every hostcall goes through the ring
	u32 log_level, debug_strace;
	u32 message_fd;		// where the kernel and init speak: 2, or a stream of their own
	u32 control_fd;		// a listening socket for `coffer exec`; 0: none
	s32 missing_fd;		// where the kernel of a debug enclave lists names that are not there; -1: nowhere
	char strace_filter[256];
	u32 console_tty[3];
	u64 xstate_size, xstate_mask;
	u32 seed[16];		// host entropy, only mixed in
	u32 manifest_len, host_json_len;
	char manifest[4096];
	char host_json[65536];

	// host -> enclave events
	u32 event_seq __attribute__((aligned(64)));	// futex: bumped after dead[], signals, winch change
	u32 dead_head, dead_tail;	// pids of host processes that the launcher reaped
	struct {
		u32 pid, status;
	} dead[CTL_DEAD];
	u32 host_signals;	// bit n: host wants signal n delivered to the first program (TERM, INT, HUP, QUIT)
	u32 winch;
	u32 dump_seq;		// futex: bumped when the tasks are to be listed (debug enclaves)

	// enclave -> host
	u32 stop_requested __attribute__((aligned(64)));	// futex
	u32 stop_status;
	u32 program_started;	// futex: init has started the program
	u32 ring_seq __attribute__((aligned(64)));	// futex: bumped after ring[] changes
	u32 ring_head, ring_tail;
	u32 ring[CTL_RING];	// window numbers whose descriptor is asked
	u32 ring_lock;
	u32 live_windows;
	u32 said_bytes;		// of error output so far, the last of which are in said[] (byte n at n % CTL_SAID)
	u8 said[CTL_SAID];
	struct ctl_counts counts[CTL_COUNTS] __attribute__((aligned(64)));

	// the list of tasks: asked by the host, answered by enclaves for debugging only (tasks.c)
	u32 tasks_asked __attribute__((aligned(64)));	// futex: a number that changes
	u32 tasks_told;		// futex: the number that was asked when the list below was made
	u32 tasks_count;
	struct ctl_task tasks[CTL_TASKS];
};

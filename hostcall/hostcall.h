// SPDX-License-Identifier: Apache-2.0
// The ABI between the enclave kernel and the host: one 64-byte descriptor a call, buffers as offsets into a
// shared pool. Shared by kernel/ (freestanding) and host/. The host's answers are checked in
// platform/process/hostcall.c; the host's side serves them in hostcall/serve.c.
#pragma once
#ifdef COFFER_KERNEL
#include "kernel/include/types.h"
#else
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef int32_t s32;
typedef unsigned long u64;
typedef long s64;
#ifndef __host
#define __host
#endif
#endif

enum hc_op {
	HC_NOP,
	HC_READ,	// a0 handle, a1 pool offset, a2 length
	HC_WRITE,
	HC_CONSOLE_INFO, // a1 pool offset of struct hc_console_info
	HC_CONSOLE_RAW, // a0 on
	HC_BLOCK_READ,	// a0 volume (-1 image), a1 pool offset, a2 length, a3 file offset
	HC_BLOCK_WRITE,
	HC_BLOCK_FLUSH,
	HC_BLOCK_SIZE,
	HC_BLOCK_RESIZE, // a3 bytes
	HC_BLOCK_PUNCH,	// a3 offset, a2 length
	HC_BLOCK_OUT,	// a3 offset, a2 length
	HC_SOCKET,	// a0 family, a1 type
	HC_BIND,	// a0 handle, a1 pool offset of the address, a2 length
	HC_LISTEN,	// a0, a1 backlog
	HC_ACCEPT,	// a0, a1 pool offset for the address (28 bytes): a2 = its length in return
	HC_CONNECT,
	HC_SEND,	// a0, a1 pool offset, a2 length, a3 flags, a4 pool offset of the address or 0, a5 its length
	HC_RECV,	// the same; a5 = address length in return
	HC_SHUTDOWN,	// a0, a1 how
	HC_GETSOCKOPT,	// a0, a1 pool offset, a2 length, a3 level, a4 option; a2 = length in return
	HC_SETSOCKOPT,
	HC_GETNAME,	// a0, a1 pool offset, a3 peer; a2 = length in return
	HC_CLOSE,
	HC_WATCH,	// a0 handle, a1 cookie, a2 set: made when it is first named
	HC_UNWATCH,	// a0 handle, a2 set
	HC_POLL,	// a0: events ready now
	// the send cache: memory of the host's own, c->cache_fd
	HC_CACHE_PUT,	// a1 pool offset, a2 length, a3 offset in it
	HC_CACHE_DROP,	// a2 length, a3 offset: pages that packets in flight lie in stay theirs, others come in their place
	HC_CACHE_SEND,	// a0 handle, a2 length, a3 offset
	HC_EVIDENCE,	// a1 pool offset: in 64 bytes report data + 48 measurement; out report[1184] then chain; a2 = chain length
	HC_SEALING_KEY,	// a1 pool offset: out 32 bytes; SIMULATED, since on hardware no host takes part in it
	// answered by the launcher, also without the ring: what the host knows of the enclave's own host processes
	HC_USAGE,	// a0 process, a1 pool offset of struct hc_usage, a2 thread or 0
	HC_RESIDENT,	// a0 process, a1 pool offset of {start, end} addresses, a2 how many: become pages {private, shared}
	HC_PRIVATE,	// a1 pool offset of process ids (u32), a2 how many, a3 exact: pages that are their own
	HC_NOPS
};

struct hc_desc {
	u16 op;
	u16 gen;	// changes with each use of the slot; the answer must carry it
	u32 state;	// 0 free, 1 asked, 2 answered (ring mode: futex word)
	s64 ret;
	u64 a[6];
};

struct hc_console_info {
	u8 tty[3], open[3];
	u16 rows, cols;
};

struct hc_usage {
	u64 utime_ns, stime_ns, minflt, majflt, nvcsw, nivcsw;
	u64 anon, file, peak; // pages
};

struct hc_epoll_event {	// what the host reports of readiness
	u32 cookie, events;
};

#define HC_SETS 64u		// of watched handles, each with an epoll of its own
#define HC_EVENT_WAKE (~(u64)0)	// what its epoll says of a set's eventfd,
#define HC_EVENT_ALL (~(u64)1) // and of set 0
#define HC_EVIDENCE_REPORT 1184u
#define HC_EVIDENCE_CHAIN (24u << 10)
#define HC_POOL_SIZE (288u << 10)	// per thread: one transfer + addresses
#define HC_POOL_ADDR (256u << 10)	// where addresses and small results go

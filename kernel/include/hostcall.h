// SPDX-License-Identifier: Apache-2.0
// The kernel's one door to the host, as checked functions. Buffers here are kernel memory:
// hostcall.c moves them through the shared pool, checks every value that comes back
// (lengths, counts, errno against a white list) and never hands out a host pointer.
// All return >= 0 or negative errno. A handle (hfd) is the host's name for a stream or a socket.
// None may be called with a lock held unless marked "fast".
#pragma once
#include "kernel/include/types.h"

#define HC_MAX_IO (256u << 10)	// largest single transfer; bigger ones are split by the wrappers

// streams 0, 1, 2 (console) and sockets; non-blocking: -EAGAIN
long hc_read(int hfd, void *buf, size_t n);
long hc_write(int hfd, const void *buf, size_t n);
struct hc_console {
	bool tty[3];		// what host streams 0..2 are
	bool open[3];
	u16 rows, cols;		// of the terminal
};
int hc_console_info(struct hc_console *c);
// Sleeps until host stream 0..2 has one of `events` (EPOLLIN, EPOLLOUT), an error or a hang-up: the events, or -errno (-EINTR).
// For the console's kernel threads only: it cannot be ended from inside.
int hc_wait_stream(int hfd, u32 events);
int hc_console_raw(bool on);	// host terminal to raw mode; the kernel's line discipline takes over

// image (index -1) and sealed volumes (0..); whole transfers or an error (-EIO when short)
int hc_block_read(int vol, u64 off, void *buf, size_t n);
int hc_block_write(int vol, u64 off, const void *buf, size_t n);
int hc_block_flush(int vol);
long hc_block_size(int vol);	// bytes
int hc_block_resize(int vol, u64 bytes);
int hc_block_punch(int vol, u64 off, u64 n);
void hc_block_out(int vol, u64 off, u64 n); // was written: the host may begin to bring it to its disk

// sockets: AF_INET/AF_INET6 SOCK_STREAM/SOCK_DGRAM only; addresses are struct sockaddr_in/in6 (16/28 bytes)
int hc_socket(int family, int type);
int hc_bind(int hfd, const void *addr, u32 len);
int hc_listen(int hfd, int backlog);
int hc_accept(int hfd, void *addr, u32 *len);
int hc_connect(int hfd, const void *addr, u32 len);	// -EINPROGRESS
long hc_send(int hfd, const void *buf, size_t n, int flags, const void *addr, u32 alen);
long hc_recv(int hfd, void *buf, size_t n, int flags, void *addr, u32 *alen);
// The same straight from and to a program's memory, on connected sockets. hc_send_iter: 0 = nothing could be read, a fault; it is advanced by what was
// sent. hc_recv_iter: *put bytes of the result reached `it`; after a fault the others are in *rest, which the caller frees: NULL then
// when there was no memory for them, and they are lost.
struct iter;
long hc_send_iter(int hfd, struct iter *it, size_t n, int flags);
long hc_recv_iter(int hfd, struct iter *it, size_t n, int flags, size_t *put, char **rest);
// The send cache (kernel/net/sendcache.c), memory of the host's at offsets of the caller's choice. hc_cache_put: n bytes of it, at most HC_MAX_IO, all of which must
// be there to be read, else -EAGAIN. hc_cache_send: from there to a connected socket; 0: the host has nothing there.
int hc_cache_put(struct iter *it, size_t n, u64 off);
int hc_cache_drop(u64 off, u64 n);
long hc_cache_send(int hfd, u64 off, size_t n);
int hc_shutdown(int hfd, int how);
int hc_getsockopt(int hfd, int level, int opt, void *val, u32 *len);
int hc_setsockopt(int hfd, int level, int opt, const void *val, u32 len);
int hc_getname(int hfd, bool peer, void *addr, u32 *len);
int hc_close(int hfd);

// Readiness. hc_watch registers an hfd (edge-triggered EPOLLIN|EPOLLOUT|EPOLLRDHUP) with a cookie in one of HC_SETS sets; a handle may be in several.
// hc_poll_now: events ready now, without waiting.
int hc_watch(int hfd, u32 cookie, u32 set);
int hc_unwatch(int hfd, u32 set);
u32 hc_poll_now(int hfd);
// Waits for events of a set or of set 0, until hc_wait_interrupt(set) or the deadline; delivers up to n. Set 0 has no interrupt: it is only asked, not
// waited for. Used by kernel/task/sleep.c only. -ESTALE: events may have been lost.
struct hc_event {
	u32 cookie, events;
};
int hc_wait_events(u32 set, struct hc_event *ev, u32 n, u64 deadline_ns);
void hc_wait_interrupt(u32 set);

// Evidence of the platform: report over 64 bytes of report data; chain is PEM text.
int hc_evidence(const u8 report_data[64], u8 *report, u32 *report_len, char *chain, u32 *chain_len);
// The platform's sealing key of this enclave: the same at each start on this machine, another for each measurement. SIMULATED.
int hc_sealing_key(u8 key[32]);
// What the host says of the enclave's host processes. It may lie, and then only limits and figures are wrong. These wait for the launcher.
struct hc_usage;	// hostcall/hostcall.h
int hc_usage(u32 pid, u32 tid, struct hc_usage *out);			// tid 0: the whole process; -ENOENT: it is gone
int hc_resident(u32 pid, u64 (*range)[2], u32 n);			// {start, end} becomes pages {private, shared}
long hc_private(const u32 *pids, u32 n, bool exact);			// pages of memory that is the processes' own
u64 hc_time(int clockid);	// ns; only CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_BOOTTIME; untrusted

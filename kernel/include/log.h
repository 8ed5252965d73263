// SPDX-License-Identifier: Apache-2.0
// Kernel messages and the end of the world.
#pragma once
#include "kernel/include/types.h"

enum { LOG_LAST = -1, LOG_ERR, LOG_WARN, LOG_INFO, LOG_DEBUG }; // LOG_LAST: of an enclave that stops; takes no locks, and nobody inside will read it
extern int log_level;	// messages above it are dropped
void kmsg_add(int level, const char *text, size_t n);	// fs/kmsg.c: remembers it for dmesg
void klog(int level, const char *fmt, ...) __printf(2, 3);
#define pr_err(...) klog(LOG_ERR, __VA_ARGS__)
#define pr_warn(...) klog(LOG_WARN, __VA_ARGS__)
#define pr_info(...) klog(LOG_INFO, __VA_ARGS__)
#define pr_debug(...) ({ if (unlikely(log_level >= LOG_DEBUG)) klog(LOG_DEBUG, __VA_ARGS__); })
// Logs a message at most once per call site (unsupported features: name the feature and the way out).
#define pr_once(...) ({ static bool _once; if (!__atomic_exchange_n(&_once, true, __ATOMIC_RELAXED)) klog(LOG_WARN, __VA_ARGS__); })
// Prints a report and stops the whole enclave: the message, the version, task and system call, and the call chain as addresses of build/kernel.debug
// (docs/debugging.md). No contents of memory or registers: the host reads it.
void panic(const char *fmt, ...) __printf(1, 2) __noreturn;
// The same for a place that was interrupted: the chain begins at rip and its frame.
void panic_at(u64 rip, u64 frame, const char *fmt, ...) __printf(3, 4) __noreturn;
// The addresses of a call chain: rip (0: none) and what the frames lead to, at most n. Frames are followed on the current thread's own stacks only.
u32 call_chain(u64 rip, u64 frame, u64 *out, u32 n);
// "coffer 0.1.0, kernel 0123456789abcdef": which kernel.debug has the names.
void log_version(int level);
#define BUG_ON(c) ({ if (unlikely(c)) panic("bug at %s:%d: %s", __FILE__, __LINE__, #c); })

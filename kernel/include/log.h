// SPDX-License-Identifier: Apache-2.0
// Kernel messages and the end of the world.
#pragma once
#include "kernel/include/types.h"

enum { LOG_ERR, LOG_WARN, LOG_INFO, LOG_DEBUG };
extern int log_level;	// messages above it are dropped
void kmsg_add(int level, const char *text, size_t n);	// fs/kmsg.c: remembers it for dmesg
void klog(int level, const char *fmt, ...) __printf(2, 3);
#define pr_err(...) klog(LOG_ERR, __VA_ARGS__)
#define pr_warn(...) klog(LOG_WARN, __VA_ARGS__)
#define pr_info(...) klog(LOG_INFO, __VA_ARGS__)
#define pr_debug(...) ({ if (unlikely(log_level >= LOG_DEBUG)) klog(LOG_DEBUG, __VA_ARGS__); })
// Logs a message at most once per call site (unsupported features: name the feature and the way out).
#define pr_once(...) ({ static bool _once; if (!__atomic_exchange_n(&_once, true, __ATOMIC_RELAXED)) klog(LOG_WARN, __VA_ARGS__); })
// Prints a report and stops the whole enclave.
void panic(const char *fmt, ...) __printf(1, 2) __noreturn;
#define BUG_ON(c) ({ if (unlikely(c)) panic("bug at %s:%d: %s", __FILE__, __LINE__, #c); })

// SPDX-License-Identifier: Apache-2.0
// Basic types of the enclave kernel. No libc header is ever included in kernel/; Linux's own UAPI
// headers (linux-libc-dev) are, through uapi.h.
#pragma once

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long u64;
typedef signed char s8;
typedef short s16;
typedef int s32;
typedef long s64;
typedef unsigned long uptr;
typedef unsigned long size_t;
typedef long ssize_t;
typedef _Bool bool;
#define true 1
#define false 0
#ifndef NULL
#define NULL ((void *)0)
#endif

#define U32_MAX 0xffffffffu
#define U64_MAX 0xfffffffffffffffful
#define S64_MAX 0x7fffffffffffffffl
#define SSIZE_MAX S64_MAX

// Pointers that the kernel must never dereference itself: __user (a program's memory; copy helpers
// of usercopy.h only) and __host (memory that the host can change at any moment; hostcall.c only).
// sparse proves it (make lint).
#ifdef __CHECKER__
#define __user __attribute__((noderef, address_space(1)))
#define __host __attribute__((noderef, address_space(2)))
#define __force __attribute__((force))
#else
#define __user
#define __host
#define __force
#endif

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define offsetof(t, m) __builtin_offsetof(t, m)
#define container_of(p, t, m) ((t *)((char *)(p) - offsetof(t, m)))
#define min(a, b) ({ __typeof__(a) _a = (a); __typeof__(b) _b = (b); _a < _b ? _a : _b; })
#define max(a, b) ({ __typeof__(a) _a = (a); __typeof__(b) _b = (b); _a > _b ? _a : _b; })
#define ALIGN_UP(x, a) (((x) + ((a) - 1)) & ~((__typeof__(x))(a) - 1))
#define ALIGN_DOWN(x, a) ((x) & ~((__typeof__(x))(a) - 1))
#define DIV_ROUND_UP(a, b) (((a) + (b) - 1) / (b))
#define __packed __attribute__((packed))
#define __aligned(n) __attribute__((aligned(n)))
#define __printf(f, a) __attribute__((format(printf, f, a)))
#define __noreturn __attribute__((noreturn))
#define __must_check __attribute__((warn_unused_result))
#define __weak __attribute__((weak))
// For large tables: they lie apart, so that the small variables, which every new process touches, share few pages.
#define __large __attribute__((section(".bss.large")))
#define __warm __attribute__((section(".bss.warm"))) // touched here and there by every process
// What only boot writes: read-only from the first program on (pf_seal). Not with an initial value of zero by omission: it is no .bss.
#define __sealed __attribute__((section(".sealed")))
// Every local variable starts as zero (build.mk); not this one: a large buffer of which only what was written is ever read.
#define __uninit __attribute__((uninitialized))
#define fallthrough __attribute__((fallthrough))
#define static_assert _Static_assert

#define PAGE_SHIFT 12
#define PAGE_SIZE 4096ul
#define PAGE_MASK (~(PAGE_SIZE - 1))
#define PAGE_ALIGN(x) ALIGN_UP((u64)(x), PAGE_SIZE)

// Error pointers, as Linux has them: a pointer-returning function returns ERR_PTR(-errno).
#define MAX_ERRNO 4095
static inline void *ERR_PTR(long e) { return (void *)e; }
static inline long PTR_ERR(const void *p) { return (long)p; }
static inline bool IS_ERR(const void *p) { return (uptr)p >= (uptr)-MAX_ERRNO; }
#define IS_ERR_OR_NULL(p) (!(p) || IS_ERR(p))

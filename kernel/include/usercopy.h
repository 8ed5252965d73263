// SPDX-License-Identifier: Apache-2.0
// The only functions that touch a program's memory (design invariant: user memory is touched only
// by its own task, in its own context). Each checks the range, survives a fault and returns
// 0 or -EFAULT. They do not sleep except to resolve a fault of a lazily mapped page, so call the plain
// ones without locks held; the _nofault ones may be called under a lock and just fail.
#pragma once
#include "kernel/include/types.h"
#include <linux/uio.h>

int copy_from_user(void *dst, const void __user *src, size_t n) __must_check;
int copy_to_user(void __user *dst, const void *src, size_t n) __must_check;
// A structure that may be older (shorter: the rest is zero) or newer than ours (longer: the rest must be zero, else -E2BIG).
int copy_struct_from_user(void *dst, size_t n, const void __user *src, size_t user_n) __must_check;
int copy_from_user_nofault(void *dst, const void __user *src, size_t n) __must_check;
int copy_to_user_nofault(void __user *dst, const void *src, size_t n) __must_check;
int clear_user(void __user *dst, size_t n) __must_check;
// Copies a NUL-terminated string of at most n-1 bytes. Returns its length, -EFAULT, or -ENAMETOOLONG.
ssize_t user_str(char *dst, const void __user *src, size_t n) __must_check;
// Atomic operations on an aligned 32-bit user word (futexes). *old receives the previous value.
int user_cmpxchg32(void __user *p, u32 expect, u32 val, u32 *old) __must_check;
int user_load32(const void __user *p, u32 *val) __must_check;
bool access_ok(const void __user *p, size_t n);
// Resolves faults so that a following _nofault copy is likely to succeed. 0 or -EFAULT.
int fault_in(const void __user *p, size_t n, bool write);

#define get_user(var, uptr) copy_from_user(&(var), (uptr), sizeof(var))
#define put_user(val, uptr) ({ __typeof__(val) _v = (val); copy_to_user((uptr), &_v, sizeof(_v)); })
#define U(x) ((void __user *)(x))

struct pagecache;
// A position in a scatter list of user memory (iovec), in one kernel buffer or in a file's page cache. read/write of
// every file type take one (of a page cache only host sockets do). Advances as it copies.
struct iter {
	bool kernel;		     // kbuf instead of iov
	struct pagecache *pc;	     // instead of either; `off` is the place in it. A page that is not in memory is a fault
	const u64 *size;	     // with pc: of the file now; `left` ends there
	const struct iovec *iov;     // already copied into kernel memory and checked
	u32 niov;
	size_t off;		     // within iov[0] / kbuf
	size_t left;		     // bytes left in all
	char *kbuf;
};
void iter_kernel(struct iter *it, void *buf, size_t n);
void iter_user(struct iter *it, struct iovec *one, void __user *buf, size_t n); // fills *one
void iter_pagecache(struct iter *it, struct pagecache *pc, u64 pos, size_t n, const u64 *size); // to iter_get from; the caller keeps pc
// Copies an iovec array in (at most UIO_MAXIOV, lengths checked): *iov is `fast` or kmalloc'ed (iter_free).
int iter_iovec(struct iter *it, const void __user *uiov, u64 n, struct iovec *fast, u32 nfast, struct iovec **iov);
void iter_free(struct iovec *iov, struct iovec *fast);
// Copy kernel -> iter / iter -> kernel. Return bytes copied (short only on a fault) and advance.
// Safe under a lock: they use the _nofault copies. After a short copy drop the lock,
// call iter_fault_in() and, if that gives 0, try again; -EFAULT otherwise.
size_t iter_put(struct iter *it, const void *src, size_t n);
size_t iter_get(struct iter *it, void *dst, size_t n);
size_t iter_zero(struct iter *it, size_t n);
int iter_fault_in(struct iter *it, bool write_to_user);
// All of n bytes, which it has (n <= it->left): 0 or -EFAULT. No locks held.
int iter_put_all(struct iter *it, const void *p, size_t n);
int iter_get_all(struct iter *it, void *p, size_t n);
void iter_advance(struct iter *it, size_t n);
void iter_revert(struct iter *it, const struct iter *saved); // back to a saved copy

// SPDX-License-Identifier: Apache-2.0
// The copy helpers: the one place where the kernel touches a program's memory. Range check here, fault fix-up
// in entry.S. No locks; the sleeping variants may take mm->lock to resolve a lazily mapped page.
#include "kernel/include/usercopy.h"
#include "kernel/include/alloc.h"
#include "kernel/include/kstring.h"
#include "kernel/include/mm.h"
#include "kernel/include/platform.h"
#include "kernel/include/task.h"
#include "kernel/include/uapi.h"
#include "kernel/mm/vma.h"
#include "kernel/include/uring.h"

size_t raw_copy(void *d, const void *s, size_t n);
size_t raw_clear(void *d, size_t n);
long raw_load8(const void *s);
int raw_cmpxchg32(void *p, u32 expect, u32 val, u32 *old);
int raw_load32(const void *p, u32 *val);

bool access_ok(const void __user *p, size_t n)
{
	uptr a = (__force uptr)p, e = a + n;

	if (e < a || e > pf_user_max)
		return false;
	return e <= pf_kernel_start || a >= pf_kernel_end;
}

int copy_from_user_nofault(void *dst, const void __user *src, size_t n)
{
	if (!access_ok(src, n))
		return -EFAULT;
	return raw_copy(dst, (__force const void *)src, n) ? -EFAULT : 0;
}

int copy_to_user_nofault(void __user *dst, const void *src, size_t n)
{
	if (!access_ok(dst, n))
		return -EFAULT;
	return raw_copy((__force void *)dst, src, n) ? -EFAULT : 0;
}

bool user_reachable(uptr at, bool write)
{
	u32 v;

	return write ? !raw_cmpxchg32((void *)(at & ~3ul), 0, 0, &v) : raw_load8((void *)at) >= 0;
}

int fault_in(const void __user *p, size_t n, bool write)
{
	uptr a = (__force uptr)p & PAGE_MASK, e = (__force uptr)p + n;

	if (!access_ok(p, n))
		return -EFAULT;
	for (; a < e; a += PAGE_SIZE) {
		uptr at = max(a, (__force uptr)p);
		if (!user_reachable(at, write) && mm_fault(at, write))
			return -EFAULT;
	}
	return 0;
}

int copy_from_user(void *dst, const void __user *src, size_t n)
{
	size_t left;

	if (!access_ok(src, n))
		return -EFAULT;
	left = raw_copy(dst, (__force const void *)src, n);
	if (likely(!left))
		return 0;
	if (fault_in((const u8 __user *)src + (n - left), left, false))
		return -EFAULT;
	return raw_copy(dst, (__force const void *)src, n) ? -EFAULT : 0;
}

int copy_to_user(void __user *dst, const void *src, size_t n)
{
	size_t left;

	if (!access_ok(dst, n))
		return -EFAULT;
	left = raw_copy((__force void *)dst, src, n);
	if (likely(!left))
		return 0;
	if (fault_in((u8 __user *)dst + (n - left), left, true))
		return -EFAULT;
	return raw_copy((__force void *)dst, src, n) ? -EFAULT : 0;
}

int clear_user(void __user *dst, size_t n)
{
	if (!access_ok(dst, n))
		return -EFAULT;
	if (!raw_clear((__force void *)dst, n))
		return 0;
	if (fault_in(dst, n, true))
		return -EFAULT;
	return raw_clear((__force void *)dst, n) ? -EFAULT : 0;
}

int copy_struct_from_user(void *dst, size_t n, const void __user *src, size_t user_n)
{
	u8 rest[64];

	memset(dst, 0, n);
	for (size_t at = n, k; at < user_n; at += k) {
		k = min(user_n - at, sizeof(rest));
		if (copy_from_user(rest, (const char __user *)src + at, k))
			return -EFAULT;
		for (size_t i = 0; i < k; i++)
			if (rest[i])
				return -E2BIG;
	}
	return copy_from_user(dst, src, min(n, user_n));
}

ssize_t user_str(char *dst, const void __user *src, size_t n)
{
	uptr a = (__force uptr)src;
	size_t done = 0;

	if (unlikely(current->uring)) {
		const char *name = uring_current_name(src);

		if (name) {
			done = strlcpy(dst, name, n);
			return done < n ? (ssize_t)done : -ENAMETOOLONG;
		}
	}
	// page by page: one copy, then look for the end in kernel memory
	while (done < n) {
		size_t k = min(n - done, PAGE_SIZE - ((a + done) & (PAGE_SIZE - 1)));
		size_t step = min(k, (size_t)256);
		char *z;
		if (copy_from_user(dst + done, (const void __user *)(a + done), step))
			return -EFAULT;
		z = memchr(dst + done, 0, step);
		if (z)
			return z - dst;
		done += step;
	}
	return -ENAMETOOLONG;
}

int user_cmpxchg32(void __user *p, u32 expect, u32 val, u32 *old)
{
	if ((__force uptr)p & 3)
		return -EINVAL;
	if (!access_ok(p, 4))
		return -EFAULT;
	if (!raw_cmpxchg32((__force void *)p, expect, val, old))
		return 0;
	if (mm_fault((__force uptr)p, true))
		return -EFAULT;
	return raw_cmpxchg32((__force void *)p, expect, val, old) ? -EFAULT : 0;
}

int user_load32(const void __user *p, u32 *val)
{
	if (!access_ok(p, 4))
		return -EFAULT;
	if (!raw_load32((__force const void *)p, val))
		return 0;
	if (mm_fault((__force uptr)p, false))
		return -EFAULT;
	return raw_load32((__force const void *)p, val) ? -EFAULT : 0;
}

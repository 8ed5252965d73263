// SPDX-License-Identifier: Apache-2.0
// Scatter lists of user memory, or one kernel buffer, behind one cursor. No locks; safe under locks but for
// iter_iovec and iter_fault_in.
#include "kernel/include/alloc.h"
#include "kernel/include/kstring.h"
#include "kernel/include/mm.h"
#include "kernel/include/platform.h"
#include "kernel/include/uapi.h"
#include "kernel/include/usercopy.h"

size_t raw_copy(void *d, const void *s, size_t n);
size_t raw_clear(void *d, size_t n);

void iter_kernel(struct iter *it, void *buf, size_t n)
{
	*it = (struct iter){ .kernel = true, .kbuf = buf, .left = n };
}

void iter_pagecache(struct iter *it, struct pagecache *pc, u64 pos, size_t n, const u64 *size)
{
	*it = (struct iter){ .pc = pc, .size = size, .off = pos, .left = n };
}

void iter_user(struct iter *it, struct iovec *one, void __user *buf, size_t n)
{
	one->iov_base = (__force void *)buf;
	one->iov_len = n;
	*it = (struct iter){ .iov = one, .niov = 1, .left = n };
}

int iter_iovec(struct iter *it, const void __user *uiov, u64 n, struct iovec *fast, u32 nfast, struct iovec **out)
{
	struct iovec *v = fast;
	size_t total = 0;

	if (n > UIO_MAXIOV)
		return -EINVAL;
	if (n > nfast) {
		v = kmalloc(n * sizeof(*v));
		if (!v)
			return -ENOMEM;
	}
	if (n && copy_from_user(v, uiov, n * sizeof(*v))) {
		iter_free(v, fast);
		return -EFAULT;
	}
	for (u64 i = 0; i < n; i++) {
		if ((ssize_t)v[i].iov_len < 0) {
			iter_free(v, fast);
			return -EINVAL;
		}
		if (v[i].iov_len && !access_ok((void __user *)v[i].iov_base, v[i].iov_len)) {
			iter_free(v, fast);
			return -EFAULT;
		}
		if (v[i].iov_len > 0x7ffff000ul - total) // MAX_RW_COUNT
			v[i].iov_len = 0x7ffff000ul - total;
		total += v[i].iov_len;
	}
	*it = (struct iter){ .iov = v, .niov = (u32)n, .left = total };
	*out = v;
	return 0;
}

void iter_free(struct iovec *iov, struct iovec *fast)
{
	if (iov != fast)
		kfree(iov);
}

void iter_advance(struct iter *it, size_t n)
{
	it->left -= n;
	if (it->kernel) {
		it->kbuf += n;
		return;
	}
	it->off += n;
	if (it->pc)
		return;
	while (it->niov && it->off >= it->iov->iov_len) {
		it->off -= it->iov->iov_len;
		it->iov++;
		it->niov--;
	}
}

void iter_revert(struct iter *it, const struct iter *saved) { *it = *saved; }

enum iter_op { ITER_PUT, ITER_GET, ITER_ZERO };

// Range checks were made by iter_iovec; iter_user's single range is checked here.
static size_t iter_move(struct iter *it, enum iter_op op, void *k, size_t n)
{
	size_t done = 0;

	n = min(n, it->left);
	if (it->kernel) {
		if (op == ITER_PUT)
			memcpy(it->kbuf, k, n);
		else if (op == ITER_GET)
			memcpy(k, it->kbuf, n);
		else
			memset(it->kbuf, 0, n);
		iter_advance(it, n);
		return n;
	}
	if (it->pc) {
		n = op == ITER_GET ? pc_peek(it->pc, k, n, it->off, it->size) : 0;
		iter_advance(it, n);
		u64 end = __atomic_load_n(it->size, __ATOMIC_RELAXED);
		it->left = min(it->left, end > it->off ? end - it->off : 0);
		return n;
	}
	while (done < n) {
		size_t c = min(n - done, it->iov->iov_len - it->off), left;
		void *u = (u8 *)it->iov->iov_base + it->off;

		if (!c) {
			it->iov++;
			it->niov--;
			it->off = 0;
			continue;
		}
		if (!access_ok((void __user *)u, c))
			return done;
		if (op == ITER_PUT)
			left = raw_copy(u, (u8 *)k + done, c);
		else if (op == ITER_GET)
			left = raw_copy((u8 *)k + done, u, c);
		else
			left = raw_clear(u, c);
		iter_advance(it, c - left);
		done += c - left;
		if (left)
			break;
	}
	return done;
}

size_t iter_put(struct iter *it, const void *src, size_t n) { return iter_move(it, ITER_PUT, (void *)(uptr)src, n); }
size_t iter_get(struct iter *it, void *dst, size_t n) { return iter_move(it, ITER_GET, dst, n); }
size_t iter_zero(struct iter *it, size_t n) { return iter_move(it, ITER_ZERO, NULL, n); }

int iter_fault_in(struct iter *it, bool write_to_user)
{
	if (it->kernel || !it->left)
		return 0;
	if (it->pc)
		return pc_bring(it->pc, it->off);
	const struct iovec *v = it->iov;
	size_t off = it->off;
	u32 n = it->niov;

	while (n && off >= v->iov_len) {
		off = 0;
		v++;
		n--;
	}
	if (!n)
		return 0;
	return fault_in((void __user *)((u8 *)v->iov_base + off), min(v->iov_len - off, (size_t)(64 * PAGE_SIZE)), write_to_user);
}

int iter_put_all(struct iter *it, const void *p, size_t n)
{
	int r = 0;

	for (size_t done = 0; done < n && !r;) {
		done += iter_put(it, (const u8 *)p + done, n - done);
		if (done < n)
			r = iter_fault_in(it, true);
	}
	return r;
}

int iter_get_all(struct iter *it, void *p, size_t n)
{
	int r = 0;

	for (size_t done = 0; done < n && !r;) {
		done += iter_get(it, (u8 *)p + done, n - done);
		if (done < n)
			r = iter_fault_in(it, false);
	}
	return r;
}

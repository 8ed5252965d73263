// SPDX-License-Identifier: Apache-2.0
// process_vm_readv and process_vm_writev (man 2): each piece passes through kernel memory, the other side is moved by a
// task of the other process (remote.h). No locks.
#include "kernel/include/alloc.h"
#include "kernel/include/remote.h"
#include "kernel/include/task.h"
#include "kernel/include/uapi.h"
#include "kernel/include/usercopy.h"

#define PIECE (256ul << 10)

// The list of the other process's ranges: no address of it can be checked here.
static long remote_ranges(const void __user *uiov, u64 n, struct iovec **out)
{
	struct iovec *v;
	u64 total = 0;

	*out = NULL;
	if (n > UIO_MAXIOV)
		return -EINVAL;
	v = kmalloc(max(n, (u64)1) * sizeof(*v));
	if (!v)
		return -ENOMEM;
	if (n && copy_from_user(v, uiov, n * sizeof(*v))) {
		kfree(v);
		return -EFAULT;
	}
	for (u64 i = 0; i < n; i++) {
		if ((ssize_t)v[i].iov_len < 0 || (ssize_t)(total += v[i].iov_len) < 0) {
			kfree(v);
			return -EINVAL;
		}
	}
	*out = v;
	return 0;
}

// All of n bytes between buf and the local list; false: its memory ends.
static bool local(struct iter *it, void *buf, size_t n, bool put)
{
	for (size_t done = 0; done < n;) {
		size_t k = put ? iter_put(it, (u8 *)buf + done, n - done) : iter_get(it, (u8 *)buf + done, n - done);

		done += k;
		if (done < n && iter_fault_in(it, put))
			return false;
	}
	return true;
}

static ssize_t transfer(struct task *t, u64 program, struct iter *it, const struct iovec *rv, u64 nr, bool write)
{
	ssize_t done = 0, r = 0;
	u8 *buf = kmalloc(PIECE);

	if (!buf)
		return -ENOMEM;
	for (u64 i = 0; i < nr && it->left; i++)
		for (size_t at = 0; at < rv[i].iov_len && it->left;) {
			size_t n = min(min(rv[i].iov_len - at, it->left), PIECE);
			uptr addr = (uptr)rv[i].iov_base + at;

			r = -EFAULT;
			if (write && !local(it, buf, n, false))
				goto out;
			r = write ? remote_write(t, program, buf, addr, n) : remote_read(t, program, buf, addr, n);
			if (r > 0 && !write && !local(it, buf, (size_t)r, true))
				r = -EFAULT;
			if (r <= 0)
				goto out;
			done += r;
			at += (size_t)r;
			if ((size_t)r < n)
				goto out;
		}
out:
	kfree(buf);
	return done ? done : r;
}

static long process_vm(int pid, const void __user *lvec, u64 nl, const void __user *rvec, u64 nr, u64 flags, bool write)
{
	struct iovec fast[8], *lv = NULL, *rv = NULL;
	struct task *t = NULL;
	struct iter it;
	u64 program;
	long r;

	if (flags)
		return -EINVAL;
	r = iter_iovec(&it, lvec, nl, fast, ARRAY_SIZE(fast), &lv);
	if (r)
		return r;
	if (!it.left)
		goto out;
	r = remote_ranges(rvec, nr, &rv);
	if (r)
		goto out;
	t = task_find(pid);
	program = t ? remote_program(t->proc) : 0;
	if (!t)
		r = -ESRCH;
	else if (!remote_allowed(t->proc))
		r = -EPERM;
	else
		r = program ? transfer(t, program, &it, rv, nr, write) : -ESRCH;
out:
	if (t)
		task_put(t);
	kfree(rv);
	iter_free(lv, fast);
	return r;
}

long sys_process_vm_readv(int pid, const void __user *lvec, u64 nl, const void __user *rvec, u64 nr, u64 flags)
{
	return process_vm(pid, lvec, nl, rvec, nr, flags, false);
}

long sys_process_vm_writev(int pid, const void __user *lvec, u64 nl, const void __user *rvec, u64 nr, u64 flags)
{
	return process_vm(pid, lvec, nl, rvec, nr, flags, true);
}

// SPDX-License-Identifier: Apache-2.0
// The second interface to futexes: futex_waitv (several words at once), futex_wait, futex_wake, futex_requeue. The words
// and queues are those of futex.c. Locks: bucket->lock.
#include "kernel/include/alloc.h"
#include "kernel/include/ktime.h"
#include "kernel/include/usercopy.h"
#include "kernel/task/futex.h"

#define F2_SIZE_MASK 3u
#define F2_U32 2u
#define F2_PRIVATE 128u
#define WAITV_MAX 128u

struct waitv { // struct futex_waitv
	u64 val, uaddr;
	u32 flags, reserved;
};

// Only words of 32 bits exist, and no NUMA hint.
static bool flags_ok(u32 flags) { return (flags & ~F2_PRIVATE) == F2_U32; }

static int get_deadline(const void __user *uts, int clock, u64 *deadline)
{
	if (uts && clock != CLOCK_MONOTONIC && clock != CLOCK_REALTIME)
		return -EINVAL;
	return futex_deadline(uts, true, clock == CLOCK_REALTIME, deadline);
}

static int read_waitv(struct waitv *w, u32 n, const void __user *uw)
{
	if (copy_from_user(w, uw, n * sizeof(*w)))
		return -EFAULT;
	for (u32 i = 0; i < n; i++)
		if (!flags_ok(w[i].flags) || w[i].reserved)
			return -EINVAL;
	return 0;
}

// Enters one queue unless the word has another value.
static int enter(struct futex_q *q, const struct waitv *w)
{
	u32 __user *uaddr = U(w->uaddr);
	int r = futex_key(uaddr, w->flags & F2_PRIVATE, &q->key);

	q->bitset = FUTEX_BITSET_MATCH_ANY;
	return r ? r : futex_enqueue_if(q, uaddr, (u32)w->val);
}

static bool any_woken(struct futex_q *q, u32 n)
{
	for (u32 i = 0; i < n; i++)
		if (__atomic_load_n(&q[i].woken, __ATOMIC_ACQUIRE))
			return true;
	return false;
}

// Leaves all queues; the index of the last one that was woken, or r.
static long leave_all(struct futex_q *q, u32 n, long r)
{
	for (u32 i = 0; i < n; i++) {
		futex_unqueue(&q[i]);
		if (__atomic_load_n(&q[i].woken, __ATOMIC_ACQUIRE))
			r = i;
	}
	return r;
}

long sys_futex_waitv(const void __user *uw, u32 n, u32 flags, const void __user *uts, int clock)
{
	struct waitv *w = NULL;
	struct futex_q *q = NULL;
	u64 deadline;
	u32 in = 0;
	long r;

	if (flags || !n || n > WAITV_MAX || !uw)
		return -EINVAL;
	r = get_deadline(uts, clock, &deadline);
	if (r)
		return r;
	w = kmalloc(n * sizeof(*w));
	q = kzalloc(n * sizeof(*q));
	r = w && q ? read_waitv(w, n, uw) : -ENOMEM;
	for (; !r && in < n; in++) {
		r = enter(&q[in], &w[in]);
		if (r)
			break;
	}
	while (!r) {
		u32 seq = task_seq();
		if (any_woken(q, n))
			break;
		r = task_sleep(seq, deadline);
	}
	if (in)
		r = leave_all(q, in, r == -EINTR ? -ERESTARTSYS : r);
	kfree(w);
	kfree(q);
	return r;
}

long sys_futex_wake(u32 __user *uaddr, u64 mask, int n, u32 flags)
{
	if (!flags_ok(flags) || mask > U32_MAX)
		return -EINVAL;
	return futex_wake(uaddr, (u32)n, (u32)mask, flags & F2_PRIVATE);
}

long sys_futex_wait(u32 __user *uaddr, u64 val, u64 mask, u32 flags, const void __user *uts, int clock)
{
	u64 deadline;
	int r;

	if (!flags_ok(flags) || val > U32_MAX || mask > U32_MAX)
		return -EINVAL;
	r = get_deadline(uts, clock, &deadline);
	return r ? r : futex_wait(uaddr, (u32)val, deadline, (u32)mask, flags & F2_PRIVATE);
}

long sys_futex_requeue(const void __user *uw, u32 flags, int nwake, int nmove)
{
	struct waitv w[2];
	u32 val;
	int r;

	if (flags || !uw)
		return -EINVAL;
	r = read_waitv(w, 2, uw);
	if (r)
		return r;
	if ((w[0].flags ^ w[1].flags) & F2_PRIVATE)
		return -EINVAL; // one kind of key for both is all that is needed
	val = (u32)w[0].val;
	return futex_requeue(U(w[0].uaddr), U(w[1].uaddr), w[0].flags & F2_PRIVATE, (u32)nwake, (u32)nmove, &val);
}

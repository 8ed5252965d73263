// SPDX-License-Identifier: Apache-2.0
// Futexes (man 2 futex). Waiters hang in hash buckets under their key: (address space, address) or (page cache,
// offset). A waker takes the waiter off its list, takes a reference on its task, sets q.woken and then wakes it; from
// that moment the waiter's record, which lies on its stack, is not touched any more. A bucket's count lets a wake
// without waiters go by with one fence and one load. futex_pi.c: priority-inheritance locks and robust lists. Locks:
// bucket->lock; two of them in order of address. bucket -> mm->lock (a fault on the futex word).
#include "kernel/include/ktime.h"
#include "kernel/include/log.h"
#include "kernel/include/mm.h"
#include "kernel/include/usercopy.h"
#include "kernel/task/futex.h"

#define BUCKETS 1024
#define BATCH	32

static struct bucket buckets[BUCKETS] __warm;

int futex_key(const void __user *uaddr, bool private, struct key *k)
{
	if ((__force uptr)uaddr & 3)
		return -EINVAL;
	if (!access_ok(uaddr, 4))
		return -EFAULT;
	if (!private)
		return mm_key(uaddr, false, &k->obj, &k->off);
	k->obj = curproc->mm;
	k->off = (__force uptr)uaddr;
	return 0;
}

struct bucket *futex_bucket(const struct key *k)
{
	u64 h = ((u64)k->obj >> 4) ^ (k->off >> 2);

	return &buckets[h * 0x9e3779b97f4a7c15ul >> 54];
}

void futex_lock_bucket(struct bucket *b)
{
	mutex_lock(&b->lock);
	if (unlikely(!b->waiters.next))
		list_init(&b->waiters);
}

void futex_lock_two(struct bucket *a, struct bucket *b)
{
	if (a > b) {
		struct bucket *t = a;
		a = b;
		b = t;
	}
	futex_lock_bucket(a);
	if (a != b)
		futex_lock_bucket(b);
}

void futex_unlock_two(struct bucket *a, struct bucket *b)
{
	mutex_unlock(&a->lock);
	if (a != b)
		mutex_unlock(&b->lock);
}

// --- waking

// Takes q off its bucket; the task returned carries a reference. The bucket is locked.
struct task *futex_take(struct futex_q *q)
{
	struct task *t = q->task;

	list_del(&q->link);
	__atomic_fetch_sub(&q->bucket->count, 1, __ATOMIC_RELAXED);
	ref_get(&t->ref);
	__atomic_store_n(&q->woken, 1, __ATOMIC_RELEASE);
	return t;
}

// *wrong: one was met that waits to be moved, which is an error of the program.
static u32 take_some(struct bucket *b, const struct key *k, u32 bitset, struct task **list, u32 n, bool *wrong)
{
	struct futex_q *q, *tmp;
	u32 got = 0;

	list_for_each_safe (q, tmp, &b->waiters, link) {
		if (got == n)
			break;
		if (!key_same(&q->key, k) || q->pi)
			continue;
		if (unlikely(q->requeue)) {
			*wrong = true;
			break;
		}
		if (q->bitset & bitset)
			list[got++] = futex_take(q);
	}
	return got;
}

static void wake_list(struct task **list, u32 n)
{
	for (u32 i = 0; i < n; i++) {
		task_wake(list[i]);
		task_put(list[i]);
	}
}

static long wake_key(const struct key *k, u32 n, u32 bitset)
{
	bool wrong = false;
	struct bucket *b = futex_bucket(k);
	struct task *list[BATCH];
	u32 done = 0, got;

	// The program stored its word before; a waiter counts itself before it reads the word.
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (!__atomic_load_n(&b->count, __ATOMIC_RELAXED))
		return 0;
	do {
		u32 want = min(n - done, (u32)BATCH);
		futex_lock_bucket(b);
		got = take_some(b, k, bitset, list, want, &wrong);
		mutex_unlock(&b->lock);
		wake_list(list, got);
		done += got;
	} while (got == BATCH && done < n);
	return wrong ? -EINVAL : (long)done;
}

long futex_wake(void __user *uaddr, u32 n, u32 bitset, bool private)
{
	struct key k;
	int r;

	if (!bitset)
		return -EINVAL;
	r = futex_key(uaddr, private, &k);
	if (r)
		return r;
	return n ? wake_key(&k, n, bitset) : 0;
}

// --- waiting

// Leaves the bucket unless a waker was faster.
void futex_unqueue(struct futex_q *q)
{
	struct bucket *b;

	for (;;) { // a requeue may move us
		b = __atomic_load_n(&q->bucket, __ATOMIC_ACQUIRE);
		mutex_lock(&b->lock);
		if (b == q->bucket)
			break;
		mutex_unlock(&b->lock);
	}
	if (!list_empty(&q->link)) {
		list_del(&q->link);
		__atomic_fetch_sub(&b->count, 1, __ATOMIC_RELAXED);
	}
	mutex_unlock(&b->lock);
}

void futex_enqueue(struct futex_q *q, struct bucket *b)
{
	q->bucket = b;
	q->task = current;
	q->woken = 0;
	list_add_tail(&q->link, &b->waiters);
}

// q begins to wait, unless the word no longer holds `val`: -EAGAIN. Counted before the word is read: who changes it and wakes without a
// look at the waiters' list sees us, or we see the new value.
int futex_enqueue_if(struct futex_q *q, const u32 __user *uaddr, u32 val)
{
	struct bucket *b = futex_bucket(&q->key);
	u32 cur;
	int r;

	__atomic_fetch_add(&b->count, 1, __ATOMIC_SEQ_CST);
	futex_lock_bucket(b);
	r = user_load32(uaddr, &cur);
	if (!r && cur != val)
		r = -EAGAIN;
	if (r)
		__atomic_fetch_sub(&b->count, 1, __ATOMIC_RELAXED);
	else
		futex_enqueue(q, b);
	mutex_unlock(&b->lock);
	return r;
}

// Until a waker took q off: 0; else -EINTR or -ETIMEDOUT.
int futex_sleep(struct futex_q *q, u64 deadline)
{
	int r = 0;

	for (;;) {
		u32 seq = task_seq();
		if (__atomic_load_n(&q->woken, __ATOMIC_ACQUIRE))
			return 0;
		if (r)
			break;
		r = task_sleep(seq, deadline);
	}
	futex_unqueue(q);
	return __atomic_load_n(&q->woken, __ATOMIC_ACQUIRE) ? 0 : r;
}

static int wait_once(u32 __user *uaddr, u32 val, u64 deadline, u32 bitset, bool private)
{
	struct futex_q q = {.bitset = bitset};
	int r = futex_key(uaddr, private, &q.key);

	if (!r)
		r = futex_enqueue_if(&q, uaddr, val);
	return r ? r : futex_sleep(&q, deadline);
}

static long wait_restart(struct task *t);

long futex_wait(u32 __user *uaddr, u32 val, u64 deadline, u32 bitset, bool private)
{
	struct task *t = current;
	int r;

	if (!bitset)
		return -EINVAL;
	r = wait_once(uaddr, val, deadline, bitset, private);
	if (r != -EINTR)
		return r;
	if (deadline == NO_DEADLINE)
		return -ERESTARTSYS;
	t->restart_fn = wait_restart;
	t->restart_arg[0] = (u64)(__force uptr)uaddr;
	t->restart_arg[1] = val;
	t->restart_arg[2] = deadline;
	t->restart_arg[3] = (u64)bitset << 1 | private;
	return -ERESTART_RESTARTBLOCK;
}

static long wait_restart(struct task *t)
{
	return futex_wait(U(t->restart_arg[0]), (u32)t->restart_arg[1], t->restart_arg[2],
			  (u32)(t->restart_arg[3] >> 1), t->restart_arg[3] & 1);
}

// --- requeue and wake-op

void futex_move(struct futex_q *q, const struct key *to, struct bucket *b)
{
	struct bucket *from = q->bucket;

	q->key = *to;
	if (from == b)
		return;
	list_del(&q->link);
	list_add_tail(&q->link, &b->waiters);
	__atomic_fetch_sub(&from->count, 1, __ATOMIC_RELAXED);
	__atomic_fetch_add(&b->count, 1, __ATOMIC_SEQ_CST);
	__atomic_store_n(&q->bucket, b, __ATOMIC_RELEASE);
}

long futex_requeue(u32 __user *uaddr, u32 __user *uaddr2, bool private, u32 nwake, u32 nmove, const u32 *expect)
{
	struct key k1, k2;
	struct bucket *b1, *b2;
	struct task *list[BATCH];
	struct futex_q *q, *tmp;
	u32 woken = 0, moved = 0, cur;
	bool wrong = false;
	int r;

	if ((s32)nwake < 0 || (s32)nmove < 0)
		return -EINVAL;
	r = futex_key(uaddr, private, &k1);
	if (!r)
		r = futex_key(uaddr2, private, &k2);
	if (r)
		return r;
	b1 = futex_bucket(&k1);
	b2 = futex_bucket(&k2);
	futex_lock_two(b1, b2);
	if (expect) {
		r = user_load32(uaddr, &cur);
		if (!r && cur != *expect)
			r = -EAGAIN;
		if (r) {
			futex_unlock_two(b1, b2);
			return r;
		}
	}
	u32 now = min(nwake, (u32)BATCH);
	woken = take_some(b1, &k1, U32_MAX, list, now, &wrong);
	// beyond a batch the rest is woken below; only then may others be moved
	if (!wrong && (woken < now || nwake <= BATCH)) {
		list_for_each_safe (q, tmp, &b1->waiters, link) {
			if (moved == nmove)
				break;
			if (!key_same(&q->key, &k1) || q->pi)
				continue;
			if (unlikely(q->requeue)) {
				wrong = true;
				break;
			}
			moved++;
			futex_move(q, &k2, b2);
		}
	}
	futex_unlock_two(b1, b2);
	wake_list(list, woken);
	if (wrong)
		return -EINVAL;
	if (woken == BATCH && nwake > BATCH) {
		long more = wake_key(&k1, nwake - BATCH, U32_MAX);
		if (more < 0)
			return more;
		woken += (u32)more;
	}
	return woken + moved;
}

static int wake_op(u32 __user *uaddr, u32 code, bool *also)
{
	u32 op = code >> 28 & 7, cmp = code >> 24 & 15, old, new, seen;
	s32 oparg = (s32)(code << 8) >> 20, cmparg = (s32)(code << 20) >> 20;
	int r;

	if (code >> 31)
		oparg = (s32)(1u << (oparg & 31));
	r = user_load32(uaddr, &old);
	for (; !r; old = seen) {
		switch (op) {
		case FUTEX_OP_SET: new = (u32)oparg; break;
		case FUTEX_OP_ADD: new = old + (u32)oparg; break;
		case FUTEX_OP_OR: new = old | (u32)oparg; break;
		case FUTEX_OP_ANDN: new = old & ~(u32)oparg; break;
		case FUTEX_OP_XOR: new = old ^ (u32)oparg; break;
		default: return -ENOSYS;
		}
		r = user_cmpxchg32(uaddr, old, new, &seen);
		if (!r && seen == old)
			break;
	}
	if (r)
		return r;
	switch (cmp) {
	case FUTEX_OP_CMP_EQ: *also = (s32)old == cmparg; break;
	case FUTEX_OP_CMP_NE: *also = (s32)old != cmparg; break;
	case FUTEX_OP_CMP_LT: *also = (s32)old < cmparg; break;
	case FUTEX_OP_CMP_GE: *also = (s32)old >= cmparg; break;
	case FUTEX_OP_CMP_LE: *also = (s32)old <= cmparg; break;
	case FUTEX_OP_CMP_GT: *also = (s32)old > cmparg; break;
	default: return -ENOSYS;
	}
	return 0;
}

static long futex_wake_op(u32 __user *uaddr, u32 __user *uaddr2, bool private, u32 n1, u32 n2, u32 code)
{
	struct key k1, k2;
	bool also = false;
	long done;
	int r = futex_key(uaddr, private, &k1);

	if (!r)
		r = futex_key(uaddr2, private, &k2);
	if (!r)
		r = wake_op(uaddr2, code, &also);
	if (r)
		return r;
	done = n1 ? wake_key(&k1, n1, U32_MAX) : 0;
	if (done >= 0 && also && n2) {
		long more = wake_key(&k2, n2, U32_MAX);
		done = more < 0 ? more : done + more;
	}
	return done;
}

// --- the call

int futex_deadline(const void __user *uts, bool absolute, bool realtime, u64 *deadline)
{
	u64 ns, now;
	int r;

	*deadline = NO_DEADLINE;
	if (!uts)
		return 0;
	r = user_timespec(uts, &ns);
	if (r)
		return r;
	if (absolute && realtime) {
		now = ktime_real();
		*deadline = ktime_deadline(ns > now ? ns - now : 0);
	} else {
		*deadline = absolute ? time_to_kernel(CLOCK_MONOTONIC, ns) : ktime_deadline(ns);
	}
	return 0;
}

long sys_futex(u32 __user *uaddr, int op, u32 val, void __user *uts, u32 __user *uaddr2, u32 val3)
{
	bool private = op & FUTEX_PRIVATE_FLAG, realtime = op & FUTEX_CLOCK_REALTIME;
	u32 val2 = (u32)(__force uptr)uts;
	int cmd = op & FUTEX_CMD_MASK, r;
	u64 deadline;

	if (realtime && cmd != FUTEX_WAIT && cmd != FUTEX_WAIT_BITSET && cmd != FUTEX_LOCK_PI2 &&
	    cmd != FUTEX_WAIT_REQUEUE_PI)
		return -ENOSYS;
	switch (cmd) {
	case FUTEX_WAKE: return futex_wake(uaddr, val, FUTEX_BITSET_MATCH_ANY, private);
	case FUTEX_WAKE_BITSET: return futex_wake(uaddr, val, val3, private);
	case FUTEX_WAIT:
	case FUTEX_WAIT_BITSET:
		r = futex_deadline(uts, cmd == FUTEX_WAIT_BITSET, realtime, &deadline);
		return r ? r
			 : futex_wait(uaddr, val, deadline, cmd == FUTEX_WAIT ? FUTEX_BITSET_MATCH_ANY : val3, private);
	case FUTEX_REQUEUE: return futex_requeue(uaddr, uaddr2, private, val, val2, NULL);
	case FUTEX_CMP_REQUEUE: return futex_requeue(uaddr, uaddr2, private, val, val2, &val3);
	case FUTEX_WAKE_OP: return futex_wake_op(uaddr, uaddr2, private, val, val2, val3);
	case FUTEX_LOCK_PI:
	case FUTEX_LOCK_PI2:
		r = futex_deadline(uts, true, cmd == FUTEX_LOCK_PI || realtime, &deadline);
		return r ? r : futex_lock_pi(uaddr, private, deadline, false);
	case FUTEX_TRYLOCK_PI: return futex_lock_pi(uaddr, private, NO_DEADLINE, true);
	case FUTEX_UNLOCK_PI: return futex_unlock_pi(uaddr, private);
	case FUTEX_WAIT_REQUEUE_PI:
		r = futex_deadline(uts, true, realtime, &deadline);
		return r ? r : futex_wait_requeue_pi(uaddr, val, deadline, uaddr2, private);
	case FUTEX_CMP_REQUEUE_PI: return futex_cmp_requeue_pi(uaddr, uaddr2, private, val, val2, val3);
	default: return -ENOSYS;
	}
}

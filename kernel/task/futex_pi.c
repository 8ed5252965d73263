// SPDX-License-Identifier: Apache-2.0
// Futexes that know their owner: PI locks (handed to the first waiter; the host schedules, so no priority is
// inherited) and robust lists, through which the locks of a dying thread are released.
// Locks: the bucket of the futex; bucket -> tasklist to look for the owner.
#include "kernel/include/mm.h"
#include "kernel/include/usercopy.h"
#include "kernel/task/futex.h"

#define CHAIN 1024 // locks that a search for a deadlock follows, as Linux
#define ROBUST_LIMIT 2048 // entries, as in Linux

static bool owner_exists(u32 tid)
{
	struct task *t = task_find(pid_in((int)tid));

	if (!t)
		return false;
	task_put(t);
	return true;
}

static struct futex_q *first_pi(struct bucket *b, const struct key *k, bool *more)
{
	struct futex_q *q, *first = NULL;

	*more = false;
	list_for_each (q, &b->waiters, link) {
		if (!q->pi || q->key.obj != k->obj || q->key.off != k->off)
			continue;
		if (first) {
			*more = true;
			break;
		}
		first = q;
	}
	return first;
}

// One look at the lock word, bucket locked: 0 got it, 1 must wait (and the word says so), -EAGAIN look again.
static int try_lock(u32 __user *uaddr, struct bucket *b, const struct key *k, bool try)
{
	u32 me = (u32)pid_own(current), cur, seen;
	bool more;
	int r = user_load32(uaddr, &cur);

	if (r)
		return r;
	if ((cur & FUTEX_TID_MASK) == me)
		return -EDEADLK;
	if (!(cur & FUTEX_TID_MASK)) {
		u32 new = me | (cur & FUTEX_OWNER_DIED) | (first_pi(b, k, &more) ? FUTEX_WAITERS : 0);
		r = user_cmpxchg32(uaddr, cur, new, &seen);
		return r ? r : seen == cur ? 0 : -EAGAIN;
	}
	if (try)
		return -EWOULDBLOCK;
	if (!owner_exists(cur & FUTEX_TID_MASK)) { // or has given the lock back and left meanwhile
		r = user_load32(uaddr, &seen);
		return r ? r : seen == cur ? -ESRCH : -EAGAIN;
	}
	if (cur & FUTEX_WAITERS)
		return 1;
	r = user_cmpxchg32(uaddr, cur, cur | FUTEX_WAITERS, &seen);
	return r ? r : seen == cur ? 1 : -EAGAIN;
}

// The lock that the owner of *uaddr waits for, and so on: whether the end is one that the caller owns. Owners in other memory are not
// followed. The first owner cannot let go meanwhile, its bucket is locked and the word says that somebody waits.
static bool leads_to_me(u32 __user *uaddr)
{
	for (int depth = 0; depth < CHAIN; depth++) {
		struct task *t;
		u32 owner;

		if (user_load32(uaddr, &owner))
			return false;
		if ((owner & FUTEX_TID_MASK) == (u32)pid_own(current))
			return depth > 0;
		t = task_find(pid_in((int)(owner & FUTEX_TID_MASK)));
		if (!t)
			return false;
		uaddr = t->proc->mm == curproc->mm ? __atomic_load_n(&t->pi_lock, __ATOMIC_ACQUIRE) : NULL;
		task_put(t);
		if (!uaddr)
			return false;
	}
	return false;
}

// Links further on may change between two looks: what is seen twice is there.
static bool deadlock(u32 __user *uaddr) { return leads_to_me(uaddr) && leads_to_me(uaddr); }

long futex_lock_pi(u32 __user *uaddr, bool private, u64 deadline, bool try)
{
	struct futex_q q = {.bitset = U32_MAX, .pi = true};
	struct bucket *b;
	int r = futex_key(uaddr, private, &q.key);

	if (r)
		return r;
	b = futex_bucket(&q.key);
	__atomic_fetch_add(&b->count, 1, __ATOMIC_SEQ_CST);
	futex_lock_bucket(b);
	do
		r = try_lock(uaddr, b, &q.key, try);
	while (r == -EAGAIN && !try);
	if (r == 1 && deadlock(uaddr))
		r = -EDEADLK;
	if (r != 1) {
		__atomic_fetch_sub(&b->count, 1, __ATOMIC_RELAXED);
		mutex_unlock(&b->lock);
		return r;
	}
	futex_enqueue(&q, b);
	current->pi_lock = uaddr;
	mutex_unlock(&b->lock);
	r = futex_sleep(&q, deadline); // 0: the lock was handed to us
	current->pi_lock = NULL;
	return r == -EINTR ? -ERESTARTNOINTR : r;
}

// --- waiting for a condition, to be moved to a lock

long futex_wait_requeue_pi(u32 __user *uaddr, u32 val, u64 deadline, u32 __user *uaddr2, bool private)
{
	struct futex_q q = {.bitset = U32_MAX, .requeue = true};
	int r = uaddr == uaddr2 ? -EINVAL : futex_key(uaddr, private, &q.key);

	if (!r)
		r = futex_key(uaddr2, private, &q.rq_key);
	if (!r && key_same(&q.key, &q.rq_key))
		r = -EINVAL;
	if (!r)
		r = futex_enqueue_if(&q, uaddr, val);
	if (r)
		return r;
	r = futex_sleep(&q, deadline); // 0: the lock is ours
	// once moved, going back to the condition would be wrong
	return r != -EINTR ? r : q.pi ? -EAGAIN : -ERESTARTNOINTR;
}

static struct futex_q *first_to_move(struct bucket *b, const struct key *k)
{
	struct futex_q *q;

	list_for_each (q, &b->waiters, link)
		if (!q->pi && key_same(&q->key, k))
			return q;
	return NULL;
}

// The lock for `who`: 1 it has it, 0 it must wait (and the word says so). Buckets locked.
static int lock_for(u32 __user *uaddr, struct task *who, bool others)
{
	u32 cur, seen, new;
	int r = user_load32(uaddr, &cur);

	for (; !r; cur = seen) {
		bool mine = !(cur & FUTEX_TID_MASK);
		if ((cur & FUTEX_TID_MASK) == (u32)pid_own(who))
			return -EDEADLK;
		if (!mine && !owner_exists(cur & FUTEX_TID_MASK)) { // or has given the lock back and left meanwhile
			r = user_load32(uaddr, &seen);
			if (r || seen == cur)
				return r ? r : -ESRCH;
			continue;
		}
		new = mine ? (u32)pid_own(who) | (cur & (FUTEX_OWNER_DIED | FUTEX_WAITERS)) | (others ? FUTEX_WAITERS : 0) : cur | FUTEX_WAITERS;
		r = user_cmpxchg32(uaddr, cur, new, &seen);
		if (!r && seen == cur)
			return mine;
	}
	return r;
}

long futex_cmp_requeue_pi(u32 __user *uaddr, u32 __user *uaddr2, bool private, u32 nwake, u32 nmove, u32 expect)
{
	struct task *woken = NULL;
	struct bucket *b1, *b2;
	struct key k1, k2;
	struct futex_q *q;
	u32 cur, done = 0;
	int r = nwake != 1 || (s32)nmove < 0 || uaddr == uaddr2 ? -EINVAL : futex_key(uaddr, private, &k1);

	if (!r)
		r = futex_key(uaddr2, private, &k2);
	if (!r && key_same(&k1, &k2))
		r = -EINVAL;
	if (r)
		return r;
	b1 = futex_bucket(&k1);
	b2 = futex_bucket(&k2);
	futex_lock_two(b1, b2);
	r = user_load32(uaddr, &cur);
	if (!r && cur != expect)
		r = -EAGAIN;
	while (!r && (q = first_to_move(b1, &k1))) {
		if (!q->requeue || !key_same(&q->rq_key, &k2)) {
			r = -EINVAL;
		} else if (!done && !woken) {
			r = lock_for(uaddr2, q->task, nmove);
			if (r > 0)
				woken = futex_take(q);
			else if (!r)
				goto move;
			r = min(r, 0);
			done += woken != NULL;
		} else if (done > nmove) {
			break;
		} else {
move:
			q->pi = true;
			futex_move(q, &k2, b2);
			done++;
		}
	}
	futex_unlock_two(b1, b2);
	if (woken) {
		task_wake(woken);
		task_put(woken);
	}
	return r && !done ? r : (long)done;
}

// Passes the lock on: to the first waiter or to nobody. `keep` is OR-ed into the word.
static int hand_over(u32 __user *uaddr, const struct key *k, u32 owner, u32 keep)
{
	struct bucket *b = futex_bucket(k);
	struct task *next = NULL;
	struct futex_q *q;
	u32 cur, seen, new;
	bool more;
	int r;

	futex_lock_bucket(b);
	q = first_pi(b, k, &more);
	r = user_load32(uaddr, &cur);
	while (!r) {
		if ((cur & FUTEX_TID_MASK) != owner) {
			r = -EPERM;
			break;
		}
		new = keep | (q ? (u32)pid_own(q->task) | (more ? FUTEX_WAITERS : 0) : 0);
		r = user_cmpxchg32(uaddr, cur, new, &seen);
		if (!r && seen == cur) {
			if (q)
				next = futex_take(q);
			break;
		}
		cur = seen;
	}
	mutex_unlock(&b->lock);
	if (next) {
		task_wake(next);
		task_put(next);
	}
	return r;
}

long futex_unlock_pi(u32 __user *uaddr, bool private)
{
	struct key k;
	int r = futex_key(uaddr, private, &k);

	return r ? r : hand_over(uaddr, &k, (u32)pid_own(current), 0);
}

// --- robust lists

struct robust_head {
	u64 next;
	s64 offset;
	u64 pending;
};

long sys_set_robust_list(void __user *head, size_t len)
{
	if (len != sizeof(struct robust_head))
		return -EINVAL;
	current->robust_list = head;
	return 0;
}

long sys_get_robust_list(int tid, void __user *uhead, size_t __user *ulen)
{
	struct task *t = tid ? task_find(tid) : NULL;
	void __user *head;
	size_t len = sizeof(struct robust_head);

	if (tid && !t)
		return -ESRCH;
	head = (t ? t : current)->robust_list;
	if (t)
		task_put(t);
	return put_user(len, ulen) || put_user(head, (void __user *__user *)uhead) ? -EFAULT : 0;
}

// Marks one lock of the dying task as abandoned and wakes who waits for it.
static int abandon(u32 __user *uaddr, u32 tid, bool pi, bool pending)
{
	u32 cur, seen;
	struct key k;
	int r;

	if ((__force uptr)uaddr & 3)
		return -EINVAL;
	r = user_load32(uaddr, &cur);
	for (; !r; cur = seen) {
		if (pending && !pi && !cur) { // died between the unlock and its wake
			futex_wake(uaddr, 1, FUTEX_BITSET_MATCH_ANY, false);
			return 0;
		}
		if ((cur & FUTEX_TID_MASK) != tid)
			return 0;
		if (pi)
			return futex_key(uaddr, false, &k) ? -EFAULT : hand_over(uaddr, &k, tid, FUTEX_OWNER_DIED);
		r = user_cmpxchg32(uaddr, cur, (cur & FUTEX_WAITERS) | FUTEX_OWNER_DIED, &seen);
		if (!r && seen == cur) {
			if (cur & FUTEX_WAITERS)
				futex_wake(uaddr, 1, FUTEX_BITSET_MATCH_ANY, false);
			return 0;
		}
	}
	return r;
}

static void walk_robust(struct task *t)
{
	u64 head_at = (u64)(__force uptr)t->robust_list, entry, next;
	struct robust_head h;
	u32 tid = (u32)pid_own(t);

	if (copy_from_user(&h, t->robust_list, sizeof(h)))
		return;
	entry = h.next;
	for (u32 n = 0; (entry & ~1ul) != head_at && n < ROBUST_LIMIT; n++) {
		// read the link first: the woken thread may free the entry
		bool last = get_user(next, (u64 __user *)U(entry & ~1ul));
		if ((entry & ~1ul) != (h.pending & ~1ul) &&
		    abandon((u32 __user *)U((entry & ~1ul) + (u64)h.offset), tid, entry & 1, false))
			return;
		if (last)
			break;
		entry = next;
	}
	if (h.pending & ~1ul)
		abandon((u32 __user *)U((h.pending & ~1ul) + (u64)h.offset), tid, h.pending & 1, true);
}

void futex_exit(struct task *t)
{
	u32 zero = 0;

	if (t->robust_list) {
		walk_robust(t);
		t->robust_list = NULL;
	}
	if (t->clear_child_tid) {
		int __user *p = t->clear_child_tid;
		t->clear_child_tid = NULL;
		// As in Linux: when nobody else uses this memory, nobody is told.
		struct mm *mm = t->proc->mm;
		if (t->proc->nthreads == 1 && __atomic_load_n(&mm->ref.n, __ATOMIC_RELAXED) == 1)
			return;
		if (!copy_to_user(p, &zero, sizeof(zero)))
			futex_wake(p, 1, FUTEX_BITSET_MATCH_ANY, false);
	}
}

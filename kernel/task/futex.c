// SPDX-License-Identifier: Apache-2.0
// Futexes (man 2 futex): waiters hang in hash buckets under a key that is (address space, address) for private words and
// (page cache, offset) for shared ones. Waking touches only kernel memory. Priority-inheritance operations are
// correct but inherit no priority. Locks: bucket->lock (two by address for requeue); mm->lock is taken before it, for the key.
#include "kernel/include/alloc.h"
#include "kernel/include/log.h"
#include "kernel/include/mm.h"
#include "kernel/include/platform.h"
#include "kernel/include/usercopy.h"
#include "kernel/task/internal.h"
#include <linux/futex.h>

#define BUCKETS 256u

struct key {
	void *obj;
	u64 off;
};

struct bucket {
	struct mutex lock;
	struct list waiters;
} __aligned(64);

struct futex_waiter {		// on the waiting task's kernel stack
	struct list link;
	struct task *task;
	struct key key;
	struct bucket *b;	// changes when requeued, under both locks
	u32 bitset;
	bool woken, pi;
};

static struct bucket buckets[BUCKETS];
static bool ready;
static struct mutex ready_lock;

static struct bucket *bucket_of(const struct key *k)
{
	if (unlikely(!__atomic_load_n(&ready, __ATOMIC_ACQUIRE))) {
		mutex_lock(&ready_lock);
		if (!ready)
			for (u32 i = 0; i < BUCKETS; i++)
				list_init(&buckets[i].waiters);
		__atomic_store_n(&ready, true, __ATOMIC_RELEASE);
		mutex_unlock(&ready_lock);
	}
	u64 h = ((u64)k->obj >> 4) * 0x9e3779b97f4a7c15ul ^ (k->off >> 2) * 0xbf58476d1ce4e5b9ul;
	return &buckets[h >> 40 & (BUCKETS - 1)];
}

static int get_key(const u32 __user *p, bool priv, struct key *k)
{
	if ((uptr)p & 3)
		return -EINVAL;
	if (!access_ok(p, 4))
		return -EFAULT;
	return mm_key(p, priv, &k->obj, &k->off);
}

static bool same(const struct key *a, const struct key *b) { return a->obj == b->obj && a->off == b->off; }

// Locks the bucket and reads the word under it; a fault is resolved without the lock.
static int lock_and_load(struct bucket *b, const u32 __user *p, u32 *val)
{
	for (;;) {
		mutex_lock(&b->lock);
		if (!copy_from_user_nofault(val, p, 4))
			return 0;
		mutex_unlock(&b->lock);
		if (fault_in(p, 4, false))
			return -EFAULT;
	}
}

// Bucket locked. The waiter may go away as soon as it sees `woken`, but not before it has taken the lock once more.
static void wake_waiter(struct futex_waiter *w)
{
	list_del(&w->link);
	__atomic_store_n(&w->woken, true, __ATOMIC_RELEASE);
	task_wake(w->task);
}

static struct bucket *lock_waiter(struct futex_waiter *w)
{
	for (;;) {
		struct bucket *b = __atomic_load_n(&w->b, __ATOMIC_ACQUIRE);
		mutex_lock(&b->lock);
		if (b == w->b)
			return b;
		mutex_unlock(&b->lock);
	}
}

// Sleeps until woken: 0, -EINTR or -ETIMEDOUT. The waiter is queued on entry, off the queue on return.
static int wait_queued(struct futex_waiter *w, u64 deadline)
{
	struct bucket *b;
	int r = 0;

	for (;;) {
		u32 seq = task_seq();
		if (__atomic_load_n(&w->woken, __ATOMIC_ACQUIRE) || r)
			break;
		r = task_sleep(seq, deadline);
	}
	b = lock_waiter(w);
	if (w->woken)
		r = 0;
	else
		list_del(&w->link);
	mutex_unlock(&b->lock);
	return r;
}

static long wait_restart(struct task *t);

static long futex_wait(u32 __user *p, bool priv, u32 val, u64 deadline, u32 bitset, bool restartable)
{
	struct futex_waiter w = { .task = current, .bitset = bitset };
	u32 now;
	int r;

	if (!bitset)
		return -EINVAL;
	r = get_key(p, priv, &w.key);
	if (r)
		return r;
	w.b = bucket_of(&w.key);
	r = lock_and_load(w.b, p, &now);
	if (r)
		return r;
	if (now != val) {
		mutex_unlock(&w.b->lock);
		return -EAGAIN;
	}
	list_add_tail(&w.link, &w.b->waiters);
	mutex_unlock(&w.b->lock);
	r = wait_queued(&w, deadline);
	if (r != -EINTR)
		return r;
	if (deadline == NO_DEADLINE)
		return -ERESTARTSYS;
	if (!restartable)
		return -ERESTARTSYS;
	struct task *t = current;
	t->restart_fn = wait_restart;
	t->restart_arg[0] = (u64)p;
	t->restart_arg[1] = val | (u64)priv << 32;
	t->restart_arg[2] = deadline;
	t->restart_arg[3] = bitset;
	return -ERESTART_RESTARTBLOCK;
}

static long wait_restart(struct task *t)
{
	return futex_wait((u32 __user *)t->restart_arg[0], t->restart_arg[1] >> 32, (u32)t->restart_arg[1], t->restart_arg[2],
			  (u32)t->restart_arg[3], true);
}

static long futex_wake(u32 __user *p, bool priv, u32 n, u32 bitset)
{
	struct futex_waiter *w, *tmp;
	struct bucket *b;
	struct key k;
	long done = 0;
	int r;

	if (!bitset)
		return -EINVAL;
	r = get_key(p, priv, &k);
	if (r)
		return r;
	b = bucket_of(&k);
	// the program changed the word before; a waiter queues under the lock before it tests the word
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (__atomic_load_n(&b->waiters.next, __ATOMIC_RELAXED) == &b->waiters)
		return 0;
	mutex_lock(&b->lock);
	list_for_each_safe(w, tmp, &b->waiters, link) {
		if (!same(&w->key, &k) || !(w->bitset & bitset))
			continue;
		if (w->pi) {
			done = -EINVAL;
			break;
		}
		wake_waiter(w);
		if (++done >= (long)n)
			break;
	}
	mutex_unlock(&b->lock);
	return done;
}

static void lock_two(struct bucket *a, struct bucket *b)
{
	mutex_lock(a < b ? &a->lock : &b->lock);
	if (a != b)
		mutex_lock(a < b ? &b->lock : &a->lock);
}

static void unlock_two(struct bucket *a, struct bucket *b)
{
	mutex_unlock(&a->lock);
	if (a != b)
		mutex_unlock(&b->lock);
}

static long futex_requeue(u32 __user *p, u32 __user *p2, bool priv, u32 nwake, u32 nmove, bool cmp, u32 expect)
{
	struct futex_waiter *w, *tmp;
	struct bucket *a, *b;
	struct key k, k2;
	u32 now = 0, moved = 0;
	long woken = 0;
	int r;

	if ((int)nwake < 0 || (int)nmove < 0)
		return -EINVAL;
	r = get_key(p, priv, &k);
	if (!r)
		r = get_key(p2, priv, &k2);
	if (r)
		return r;
	a = bucket_of(&k);
	b = bucket_of(&k2);
	for (;;) {
		lock_two(a, b);
		if (!cmp || !copy_from_user_nofault(&now, p, 4))
			break;
		unlock_two(a, b);
		if (fault_in(p, 4, false))
			return -EFAULT;
	}
	if (cmp && now != expect) {
		unlock_two(a, b);
		return -EAGAIN;
	}
	list_for_each_safe(w, tmp, &a->waiters, link) {
		if (!same(&w->key, &k))
			continue;
		if (woken < (long)nwake) {
			wake_waiter(w);
			woken++;
		} else if (moved < nmove) {
			list_del(&w->link);
			w->key = k2;
			list_add_tail(&w->link, &b->waiters);
			__atomic_store_n(&w->b, b, __ATOMIC_RELEASE);
			moved++;
		} else {
			break;
		}
	}
	unlock_two(a, b);
	return woken + (cmp ? moved : moved);
}

// FUTEX_WAKE_OP: changes the second word atomically, wakes on the first and, if a comparison held, on the second.
static long futex_wake_op(u32 __user *p, u32 __user *p2, bool priv, u32 n, u32 n2, u32 op)
{
	u32 cmd = op >> 28 & 7, cmp = op >> 24 & 15, old, new, got;
	s32 oparg = (s32)(op << 8) >> 20, cmparg = (s32)(op << 20) >> 20;
	bool hit;
	long r, r2 = 0;

	if (op >> 31)
		oparg = 1 << (oparg & 31);
	if (user_load32(p2, &old))
		return -EFAULT;
	for (;;) {
		switch (cmd) {
		case FUTEX_OP_SET: new = (u32)oparg; break;
		case FUTEX_OP_ADD: new = old + (u32)oparg; break;
		case FUTEX_OP_OR: new = old | (u32)oparg; break;
		case FUTEX_OP_ANDN: new = old & ~(u32)oparg; break;
		case FUTEX_OP_XOR: new = old ^ (u32)oparg; break;
		default: return -ENOSYS;
		}
		r = user_cmpxchg32(p2, old, new, &got);
		if (r)
			return r;
		if (got == old)
			break;
		old = got;
	}
	switch (cmp) {
	case FUTEX_OP_CMP_EQ: hit = (s32)old == cmparg; break;
	case FUTEX_OP_CMP_NE: hit = (s32)old != cmparg; break;
	case FUTEX_OP_CMP_LT: hit = (s32)old < cmparg; break;
	case FUTEX_OP_CMP_LE: hit = (s32)old <= cmparg; break;
	case FUTEX_OP_CMP_GT: hit = (s32)old > cmparg; break;
	case FUTEX_OP_CMP_GE: hit = (s32)old >= cmparg; break;
	default: return -ENOSYS;
	}
	r = futex_wake(p, priv, n, FUTEX_BITSET_MATCH_ANY);
	if (r >= 0 && hit) {
		r2 = futex_wake(p2, priv, n2, FUTEX_BITSET_MATCH_ANY);
		if (r2 < 0)
			return r2;
	}
	return r < 0 ? r : r + r2;
}

// --- priority-inheritance locks: the word holds the owner's tid
static long lock_pi(u32 __user *p, bool priv, u64 deadline, bool try)
{
	struct futex_waiter w = { .task = current, .bitset = ~0u, .pi = true };
	u32 tid = (u32)current->tid, old = 0, got;
	struct task *owner;
	int r;

	r = get_key(p, priv, &w.key);
	if (r)
		return r;
	w.b = bucket_of(&w.key);
	for (;;) {
		r = user_load32(p, &old);
		if (r)
			return r;
		if ((old & FUTEX_TID_MASK) == tid)
			return -EDEADLK;
		if (!(old & FUTEX_TID_MASK)) { // free, or its owner died
			r = user_cmpxchg32(p, old, tid | (old & FUTEX_WAITERS), &got);
			if (r)
				return r;
			if (got == old)
				return 0;
			continue;
		}
		if (try)
			return -EAGAIN;
		owner = task_find((int)(old & FUTEX_TID_MASK));
		if (!owner)
			return -ESRCH;
		task_put(owner);
		r = user_cmpxchg32(p, old, old | FUTEX_WAITERS, &got);
		if (r)
			return r;
		if (got != old)
			continue;
		r = lock_and_load(w.b, p, &got);
		if (r)
			return r;
		if (got != (old | FUTEX_WAITERS)) {
			mutex_unlock(&w.b->lock);
			continue;
		}
		w.woken = false;
		list_add_tail(&w.link, &w.b->waiters);
		mutex_unlock(&w.b->lock);
		r = wait_queued(&w, deadline);
		if (r == -EINTR)
			return -ERESTARTNOINTR;
		if (r)
			return r;
		r = user_load32(p, &old);
		if (r)
			return r;
		if ((old & FUTEX_TID_MASK) == tid) // handed over by unlock_pi
			return 0;
	}
}

static long unlock_pi(u32 __user *p, bool priv)
{
	u32 tid = (u32)current->tid, old, got;
	struct futex_waiter *w, *first = NULL;
	struct bucket *b;
	struct key k;
	bool more = false;
	int r = get_key(p, priv, &k);

	if (r)
		return r;
	if (user_load32(p, &old))
		return -EFAULT;
	if ((old & FUTEX_TID_MASK) != tid)
		return -EPERM;
	b = bucket_of(&k);
	r = lock_and_load(b, p, &old);
	if (r)
		return r;
	list_for_each(w, &b->waiters, link)
		if (w->pi && same(&w->key, &k)) {
			if (first) {
				more = true;
				break;
			}
			first = w;
		}
	// the page is present: lock_and_load has just read it, and only its owner may write now
	r = user_cmpxchg32(p, old, first ? (u32)first->task->tid | (more ? FUTEX_WAITERS : 0) : 0, &got);
	if (!r && got == old && first)
		wake_waiter(first);
	mutex_unlock(&b->lock);
	return r ? r : got == old ? 0 : -EAGAIN;
}

static u64 deadline_of(u32 op, u64 ts, int *err)
{
	u64 ns;
	int cmd = (int)(op & (u32)FUTEX_CMD_MASK);

	*err = 0;
	if (!ts)
		return NO_DEADLINE;
	*err = user_timespec((void __user *)ts, &ns);
	if (*err)
		return 0;
	if (cmd == FUTEX_WAIT)
		return ktime_deadline(ns);
	if (op & FUTEX_CLOCK_REALTIME || cmd == FUTEX_LOCK_PI) {
		u64 now = ktime_real();
		return ktime_deadline(ns > now ? ns - now : 0);
	}
	return ns;
}

long sys_futex(u32 __user *p, int op, u32 val, u64 ts, u32 __user *p2, u32 val3)
{
	bool priv = op & FUTEX_PRIVATE_FLAG;
	int cmd = op & FUTEX_CMD_MASK, err;
	u64 deadline;

	switch (cmd) {
	case FUTEX_WAKE:
		return futex_wake(p, priv, val, FUTEX_BITSET_MATCH_ANY);
	case FUTEX_WAKE_BITSET:
		return futex_wake(p, priv, val, val3);
	case FUTEX_WAIT:
		val3 = FUTEX_BITSET_MATCH_ANY;
		fallthrough;
	case FUTEX_WAIT_BITSET:
		deadline = deadline_of((u32)op, ts, &err);
		return err ? err : futex_wait(p, priv, val, deadline, val3, true);
	case FUTEX_REQUEUE:
		return futex_requeue(p, p2, priv, val, (u32)ts, false, 0);
	case FUTEX_CMP_REQUEUE:
		return futex_requeue(p, p2, priv, val, (u32)ts, true, val3);
	case FUTEX_WAKE_OP:
		return futex_wake_op(p, p2, priv, val, (u32)ts, val3);
	case FUTEX_LOCK_PI:
	case FUTEX_LOCK_PI2:
		deadline = deadline_of((u32)op, ts, &err);
		return err ? err : lock_pi(p, priv, deadline, false);
	case FUTEX_TRYLOCK_PI:
		return lock_pi(p, priv, NO_DEADLINE, true);
	case FUTEX_UNLOCK_PI:
		return unlock_pi(p, priv);
	default:
		pr_once("futex: operation %d is not supported\n", cmd);
		return -ENOSYS;
	}
}

// --- robust lists (man 2 get_robust_list)
static void robust_dead(u32 __user *p, bool pending)
{
	u32 old, got, tid = (u32)current->tid;

	if ((uptr)p & 3 || user_load32(p, &old))
		return;
	if (pending && !old) { // died between unlock and wake-up
		futex_wake(p, false, 1, FUTEX_BITSET_MATCH_ANY);
		return;
	}
	while ((old & FUTEX_TID_MASK) == tid) {
		if (user_cmpxchg32(p, old, (old & FUTEX_WAITERS) | FUTEX_OWNER_DIED, &got))
			return;
		if (got == old) {
			if (old & FUTEX_WAITERS)
				futex_wake(p, false, 1, FUTEX_BITSET_MATCH_ANY);
			return;
		}
		old = got;
	}
}

void futex_exit(struct task *t)
{
	struct robust_list_head head;
	struct robust_list __user *at;

	if (t->robust_list && !copy_from_user(&head, t->robust_list, sizeof(head))) {
		at = (struct robust_list __user *)head.list.next;
		for (int n = 0; n < 2048 && (void __user *)at != t->robust_list; n++) {
			uptr next;
			if (copy_from_user(&next, at, 8))
				break;
			if ((uptr)at != (uptr)head.list_op_pending)
				robust_dead((u32 __user *)(((uptr)at & ~1ul) + (uptr)head.futex_offset), false);
			at = (struct robust_list __user *)(next & ~1ul);
		}
		if (head.list_op_pending)
			robust_dead((u32 __user *)(((uptr)head.list_op_pending & ~1ul) + (uptr)head.futex_offset), true);
	}
	t->robust_list = NULL;
	if (t->clear_child_tid) {
		u32 zero = 0;
		u32 __user *c = (u32 __user *)t->clear_child_tid;
		t->clear_child_tid = NULL;
		if (!copy_to_user(c, &zero, 4))
			futex_wake(c, false, 1, FUTEX_BITSET_MATCH_ANY);
	}
}

long sys_set_robust_list(void __user *head, size_t len)
{
	if (len != sizeof(struct robust_list_head))
		return -EINVAL;
	current->robust_list = head;
	return 0;
}

long sys_get_robust_list(int tid, u64 __user *head, size_t __user *len)
{
	struct task *t = tid ? task_find(tid) : NULL;
	u64 h = (u64)(tid && t ? t->robust_list : current->robust_list);
	size_t n = sizeof(struct robust_list_head);

	if (tid && !t)
		return -ESRCH;
	if (t)
		task_put(t);
	return put_user(h, head) || put_user(n, len) ? -EFAULT : 0;
}

// SPDX-License-Identifier: Apache-2.0
// Within futexes: keys, waiters, buckets (futex.c, futex_pi.c).
#pragma once
#include "kernel/task/internal.h"
#include <linux/futex.h>

struct key {
	void *obj;
	u64 off;
};

struct bucket {
	struct mutex lock;
	u32 count;		// waiters that are in the list or about to enter it
	struct list waiters;
} __aligned(64);

struct futex_q {		// a waiter, on its own kernel stack
	struct list link;
	struct task *task;
	struct bucket *bucket;
	struct key key;
	u32 bitset;
	u32 woken;
	bool pi;
	bool requeue;		// waits to be moved to the PI lock rq_key
	struct key rq_key;
};

int futex_key(const void __user *uaddr, bool private, struct key *k);
struct bucket *futex_bucket(const struct key *k);
void futex_lock_bucket(struct bucket *b);
void futex_enqueue(struct futex_q *q, struct bucket *b);	// bucket locked; the caller has counted itself
int futex_enqueue_if(struct futex_q *q, const u32 __user *uaddr, u32 val);
void futex_unqueue(struct futex_q *q);
struct task *futex_take(struct futex_q *q);
int futex_sleep(struct futex_q *q, u64 deadline);
long futex_wake(void __user *uaddr, u32 n, u32 bitset, bool private);
long futex_wait(u32 __user *uaddr, u32 val, u64 deadline, u32 bitset, bool private);
long futex_requeue(u32 __user *uaddr, u32 __user *uaddr2, bool private, u32 nwake, u32 nmove, const u32 *expect);
int futex_deadline(const void __user *uts, bool absolute, bool realtime, u64 *deadline); // uts NULL: none
long futex_lock_pi(u32 __user *uaddr, bool private, u64 deadline, bool try);
long futex_wait_requeue_pi(u32 __user *uaddr, u32 val, u64 deadline, u32 __user *uaddr2, bool private);
long futex_cmp_requeue_pi(u32 __user *uaddr, u32 __user *uaddr2, bool private, u32 nwake, u32 nmove, u32 expect);
void futex_lock_two(struct bucket *a, struct bucket *b), futex_unlock_two(struct bucket *a, struct bucket *b);
void futex_move(struct futex_q *q, const struct key *to, struct bucket *b);	// both buckets locked
static inline bool key_same(const struct key *a, const struct key *b) { return a->obj == b->obj && a->off == b->off; }
long futex_unlock_pi(u32 __user *uaddr, bool private);

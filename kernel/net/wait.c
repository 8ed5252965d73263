// SPDX-License-Identifier: Apache-2.0
// Sleeping on a socket and waking its sleepers; pending errors. Locks: the caller's sock lock, waitq locks below it.
#include "kernel/net/sock.h"

// Sleeps once on q. `lock` is held, and held again on return. 0 (look again), -EAGAIN at the deadline,
// -ERESTARTSYS / -EINTR for a signal (a socket with a time-out set does not restart, as on Linux).
int sock_sleep(struct mutex *lock, struct waitq *q, u64 deadline)
{
	struct waiter w;
	u32 seq = task_seq();
	waiter_init(&w);
	waitq_add(q, &w);
	mutex_unlock(lock);
	int r = task_sleep(seq, deadline);
	waitq_del(q, &w);
	mutex_lock(lock);
	if (r == -ETIMEDOUT)
		return -EAGAIN;
	if (r)
		return deadline == NO_DEADLINE ? -ERESTARTSYS : -EINTR;
	return 0;
}

int sock_take_err(struct sock *s)
{
	if (likely(!__atomic_load_n(&s->err, __ATOMIC_RELAXED)))
		return 0;
	return -__atomic_exchange_n(&s->err, 0, __ATOMIC_ACQ_REL);
}

void sock_set_err(struct sock *s, int err, u32 shut_bits)
{
	mutex_lock(&s->lock);
	__atomic_store_n(&s->err, err, __ATOMIC_RELAXED);
	s->shut |= (u8)shut_bits;
	mutex_unlock(&s->lock);
	sock_wake(&s->rq);
	sock_wake(&s->wq);
	struct sock *p = __atomic_load_n(&s->peer, __ATOMIC_ACQUIRE);
	if (p)
		sock_wake(&p->wq);
	sock_wake_poll(s, 0);
}

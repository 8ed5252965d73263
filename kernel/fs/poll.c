// SPDX-License-Identifier: Apache-2.0
// poll, ppoll, select, pselect6. A call registers one waiter a queue that its files name, then sleeps on the
// task's own wake word. Small sets need no allocation. No lock is held here; a file's poll op takes its own.
#include "kernel/include/kstring.h"
#include "kernel/include/task.h"
#include "kernel/include/vfs.h"
#include "kernel/net/hostio.h"

#define POLL_INLINE 12 // registrations on the stack
#define FDS_INLINE  24 // struct pollfd on the stack
#define CHUNK	    62

struct entry {
	struct waiter w;
	struct waitq *q;
	struct file *f; // reference that keeps q alive
};

struct chunk {
	struct chunk *next;
	u32 n;
	struct entry e[CHUNK];
};

struct registrar {
	struct poll_table pt;
	struct file *f; // being polled now
	u32 events;
	u32 n;
	bool failed; // out of memory
	struct entry e[POLL_INLINE];
	struct chunk *more;
};

static void register_waiter(struct poll_table *pt, struct waitq *q)
{
	struct registrar *rg = container_of(pt, struct registrar, pt);
	struct entry *e;

	if (rg->n < POLL_INLINE) {
		e = &rg->e[rg->n++];
	} else {
		if (!rg->more || rg->more->n == CHUNK) {
			struct chunk *c = kmalloc(sizeof(*c));

			if (!c) {
				rg->failed = true;
				return;
			}
			c->n = 0;
			c->next = rg->more;
			rg->more = c;
		}
		e = &rg->more->e[rg->more->n++];
	}
	waiter_init(&e->w);
	e->w.events = rg->events;
	e->q = q;
	e->f = rg->f;
	file_get(rg->f);
	waitq_add(q, &e->w);
}

static void registrar_init(struct registrar *rg)
{
	rg->pt.add = register_waiter;
	rg->n = 0;
	rg->failed = false;
	rg->more = NULL;
}

static void unregister(struct entry *e, u32 n)
{
	for (; n; n--, e++) {
		waitq_del(e->q, &e->w);
		file_put(e->f);
	}
}

static void registrar_done(struct registrar *rg)
{
	struct chunk *c;

	unregister(rg->e, rg->n);
	while ((c = rg->more)) {
		rg->more = c->next;
		unregister(c->e, c->n);
		kfree(c);
	}
}

// --- poll

static u32 poll_one(struct pollfd *p, struct registrar *rg, bool want)
{
	u32 mask, filter = (u16)p->events | EPOLLERR | EPOLLHUP;
	struct file *f;

	if (p->fd < 0)
		return 0;
	f = fd_get(p->fd);
	if (!f)
		return POLLNVAL;
	if (want) {
		rg->f = f;
		rg->events = filter;
	}
	mask = file_poll(f, want ? &rg->pt : NULL) & filter;
	file_put(f);
	return mask;
}

static int poll_scan(struct pollfd *fds, u32 n, struct registrar *rg, bool want)
{
	int ready = 0;

	for (u32 i = 0; i < n; i++) {
		fds[i].revents = poll_one(&fds[i], rg, want && !ready);
		ready += fds[i].revents != 0;
	}
	return ready;
}

static int poll_wait_fds(struct pollfd *fds, u32 n, u64 deadline)
{
	struct registrar rg;
	bool first = true, slept = false;
	int ready, r = 0;

	if (!deadline) {
		ready = poll_scan(fds, n, NULL, false);
		return hostio_look(!ready) && !ready ? poll_scan(fds, n, NULL, false) : ready;
	}
	registrar_init(&rg);
	for (;;) {
		u32 seq = task_seq();

		ready = poll_scan(fds, n, &rg, first);
		first = false;
		if (ready || r)
			break;
		if (rg.failed) {
			r = -ENOMEM;
			break;
		}
		slept = true;
		r = task_sleep(seq, deadline);
	}
	registrar_done(&rg);
	if (!slept)
		hostio_look(false);
	return ready ? ready : r == -ETIMEDOUT ? 0 : r;
}

// deadline: 0 = do not wait, NO_DEADLINE, or CLOCK_MONOTONIC ns. -EINTR when a signal came.
static long do_poll(struct pollfd __user *ufds, u32 n, u64 deadline)
{
	__uninit struct pollfd small[FDS_INLINE], *fds = small;
	long r;

	if (n > RLIMIT(RLIMIT_NOFILE))
		return -EINVAL;
	if (n > FDS_INLINE && !(fds = kmalloc(n * sizeof(*fds))))
		return -ENOMEM;
	r = copy_from_user(fds, ufds, n * sizeof(*fds));
	if (r)
		goto out;
	r = poll_wait_fds(fds, n, deadline);
	if (r >= 0) {
		for (u32 i = 0; i < n; i++)
			if (put_user(fds[i].revents, &ufds[i].revents))
				r = -EFAULT;
	}
out:
	if (fds != small)
		kfree(fds);
	return r;
}

// poll is restarted when no handler ran, with the time that is left: the deadline stays what it was.
static long poll_restart(struct task *t)
{
	long r = do_poll(U(t->restart_arg[0]), t->restart_arg[1], t->restart_arg[2]);

	return r == -EINTR ? -ERESTART_RESTARTBLOCK : r;
}

long sys_poll(struct pollfd __user *fds, u32 n, int timeout_ms)
{
	u64 deadline = timeout_ms < 0 ? NO_DEADLINE : timeout_ms ? ktime_deadline((u64)timeout_ms * 1000000) : 0;
	long r = do_poll(fds, n, deadline);

	if (r == -EINTR) {
		current->restart_fn = poll_restart;
		current->restart_arg[0] = (u64)fds;
		current->restart_arg[1] = n;
		current->restart_arg[2] = deadline;
		r = -ERESTART_RESTARTBLOCK;
	}
	return r;
}

// Absent, zero or a time span: the deadline as do_poll wants it.
static int user_deadline(const void __user *ts, u64 *deadline)
{
	u64 ns;
	int r;

	*deadline = NO_DEADLINE;
	if (!ts)
		return 0;
	r = user_timespec(ts, &ns);
	if (!r)
		*deadline = ns ? ktime_deadline(ns) : 0;
	return r;
}

// Linux writes back the time that was left (ppoll, select, pselect6); failure to do so is no error.
static void put_time_left(void __user *ts, u64 deadline, bool timeval)
{
	struct __kernel_timespec v = {0};
	u64 now, left;

	if (!ts || deadline == NO_DEADLINE)
		return;
	now = ktime_mono();
	left = deadline > now ? deadline - now : 0;
	v.tv_sec = left / NSEC_PER_SEC;
	v.tv_nsec = left % NSEC_PER_SEC / (timeval ? 1000 : 1);
	if (copy_to_user(ts, &v, sizeof(v)))
		return;
}

long sys_ppoll(struct pollfd __user *fds, u32 n, void __user *ts, const void __user *mask, size_t masksize)
{
	u64 deadline;
	long r = user_deadline(ts, &deadline);

	if (r)
		return r;
	if (mask && (r = sigmask_swap(mask, masksize)))
		return r;
	r = do_poll(fds, n, deadline);
	if (mask)
		sigmask_restore(r == -EINTR);
	put_time_left(ts, deadline, false);
	return r == -EINTR ? -ERESTARTNOHAND : r;
}

// --- select

#define SEL_IN		 (EPOLLIN | EPOLLRDNORM | EPOLLRDBAND | EPOLLHUP | EPOLLERR)
#define SEL_OUT		 (EPOLLOUT | EPOLLWRNORM | EPOLLWRBAND | EPOLLERR)
#define SEL_EX		 EPOLLPRI
#define SEL_WORDS_INLINE (6 * 4) // 256 descriptors

struct fdsets {
	u64 *in, *out, *ex;    // asked for
	u64 *rin, *rout, *rex; // found
	u32 n;
};

static int select_scan(struct fdsets *s, struct registrar *rg, bool want)
{
	int ready = 0;

	for (u32 i = 0; i < DIV_ROUND_UP(s->n, 64); i++) {
		u64 all = s->in[i] | s->out[i] | s->ex[i];

		s->rin[i] = s->rout[i] = s->rex[i] = 0;
		while (all) {
			u32 b = __builtin_ctzl(all), mask, filter;
			u64 bit = 1ul << b;
			struct file *f;

			all &= all - 1;
			if (i * 64 + b >= s->n)
				break;
			f = fd_get(i * 64 + b);
			if (!f)
				return -EBADF;
			filter = (s->in[i] & bit ? SEL_IN : 0) | (s->out[i] & bit ? SEL_OUT : 0) |
				 (s->ex[i] & bit ? SEL_EX : 0);
			if (want && !ready) {
				rg->f = f;
				rg->events = filter | EPOLLERR | EPOLLHUP;
				mask = file_poll(f, &rg->pt);
			} else {
				mask = file_poll(f, NULL);
			}
			file_put(f);
			if ((s->in[i] & bit) && (mask & SEL_IN))
				s->rin[i] |= bit, ready++;
			if ((s->out[i] & bit) && (mask & SEL_OUT))
				s->rout[i] |= bit, ready++;
			if ((s->ex[i] & bit) && (mask & SEL_EX))
				s->rex[i] |= bit, ready++;
		}
	}
	return ready;
}

static int select_wait(struct fdsets *s, u64 deadline)
{
	struct registrar rg;
	bool first = true, slept = false;
	int ready, r = 0;

	if (!deadline) {
		ready = select_scan(s, NULL, false);
		return hostio_look(!ready) && !ready ? select_scan(s, NULL, false) : ready;
	}
	registrar_init(&rg);
	for (;;) {
		u32 seq = task_seq();

		ready = select_scan(s, &rg, first);
		first = false;
		if (ready || r)
			break;
		if (rg.failed) {
			r = -ENOMEM;
			break;
		}
		slept = true;
		r = task_sleep(seq, deadline);
	}
	registrar_done(&rg);
	if (!slept)
		hostio_look(false);
	return ready ? ready : r == -ETIMEDOUT ? 0 : r;
}

static int get_set(u64 *set, const void __user *u, size_t bytes)
{
	if (!u) {
		memset(set, 0, bytes);
		return 0;
	}
	return copy_from_user(set, u, bytes);
}

static int put_set(void __user *u, const u64 *set, size_t bytes) { return u ? copy_to_user(u, set, bytes) : 0; }

static long do_select(int n, void __user *in, void __user *out, void __user *ex, u64 deadline)
{
	__uninit u64 small[SEL_WORDS_INLINE], *buf = small;
	u32 words, size;
	struct fdsets s;
	size_t bytes;
	long r;

	if (n < 0)
		return -EINVAL;
	size = __atomic_load_n(&current->files->size, __ATOMIC_RELAXED);
	n = min((u32)n, size);
	words = DIV_ROUND_UP((u32)n, 64);
	bytes = words * 8;
	if (words * 6 > SEL_WORDS_INLINE && !(buf = kmalloc(bytes * 6)))
		return -ENOMEM;
	s = (struct fdsets){buf, buf + words, buf + 2 * words, buf + 3 * words, buf + 4 * words, buf + 5 * words, n};
	r = -EFAULT;
	if (get_set(s.in, in, bytes) || get_set(s.out, out, bytes) || get_set(s.ex, ex, bytes))
		goto free;
	r = select_wait(&s, deadline);
	if (r >= 0 && (put_set(in, s.rin, bytes) || put_set(out, s.rout, bytes) || put_set(ex, s.rex, bytes)))
		r = -EFAULT;
free:
	if (buf != small)
		kfree(buf);
	return r;
}

long sys_select(int n, void __user *in, void __user *out, void __user *ex, void __user *tv)
{
	u64 deadline = NO_DEADLINE;
	long r;

	if (tv) {
		struct __kernel_old_timeval v;

		if (copy_from_user(&v, tv, sizeof(v)))
			return -EFAULT;
		if (v.tv_sec < 0 || v.tv_usec < 0)
			return -EINVAL;
		if (v.tv_sec > 1000000000)
			v.tv_sec = 1000000000;
		v.tv_sec += v.tv_usec / 1000000;
		v.tv_usec %= 1000000;
		deadline = v.tv_sec || v.tv_usec ? ktime_deadline((u64)v.tv_sec * NSEC_PER_SEC + (u64)v.tv_usec * 1000)
						 : 0;
	}
	r = do_select(n, in, out, ex, deadline);
	put_time_left(tv, deadline, true);
	return r == -EINTR ? -ERESTARTNOHAND : r;
}

long sys_pselect6(int n, void __user *in, void __user *out, void __user *ex, void __user *ts, const void __user *sig)
{
	struct {
		u64 mask;
		u64 size;
	} a = {0, 0};
	u64 deadline;
	long r;

	if (sig && copy_from_user(&a, sig, sizeof(a)))
		return -EFAULT;
	r = user_deadline(ts, &deadline);
	if (r)
		return r;
	if (a.mask && (r = sigmask_swap(U(a.mask), a.size)))
		return r;
	r = do_select(n, in, out, ex, deadline);
	if (a.mask)
		sigmask_restore(r == -EINTR);
	put_time_left(ts, deadline, false);
	return r == -EINTR ? -ERESTARTNOHAND : r;
}

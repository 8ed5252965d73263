// SPDX-License-Identifier: Apache-2.0
// epoll(7) over every kind of file. An item is keyed by (file, descriptor) and holds no reference on its file: the
// file's end (epoll_file_closing) takes its items away.
// A file's waker calls item_wake under the file's waitq lock; it puts the item on the ready list and wakes. epoll_wait
// takes items off that list one at a time and then asks the file, so an event that comes after the question puts the
// item back, and none is lost.
// Locks: lifetime (global: closing files and epolls, nesting checks) -> ep->lock (parent before nested child) ->
// the files' own locks -> file->epoll_lock | waitq -> ep->ready_lock -> ep->wq, ep->pollq (-> the same of a parent
// epoll).
#include "kernel/include/count.h"
#include "kernel/include/kstring.h"
#include "kernel/include/task.h"
#include "kernel/include/vfs.h"
#include "kernel/net/hostio.h"

#define PRIVATE_BITS  (EPOLLWAKEUP | EPOLLONESHOT | EPOLLET | EPOLLEXCLUSIVE)
#define EXCLUSIVE_OK  (EPOLLIN | EPOLLOUT | EPOLLERR | EPOLLHUP | EPOLLWAKEUP | EPOLLET | EPOLLEXCLUSIVE)
#define MAX_NESTS     5
#define MAX_EVENTS    (0x7fffffff / sizeof(struct epoll_event))
#define FIRST_BUCKETS 8u

struct epitem;

struct epwait { // one registration in a queue of the file
	struct waiter w;
	struct waitq *q; // NULL: unused
	struct epitem *item;
	struct epwait *more;
};

struct epitem {
	struct list file_link;	// file->epoll_links
	struct list ready_link; // ep->ready or a local list of epoll_wait; ready_lock
	struct epitem *next;	// hash chain
	struct epoll *ep;
	struct file *file;
	int fd;
	struct epoll_event ev; // ev.events without EPOLLERR|HUP when disabled by ONESHOT: 0 interest bits
	struct epwait wait;    // most files have one queue
};

struct epoll {
	struct mutex lock; // items, hash
	struct mutex ready_lock;
	struct list ready;
	struct waitq wq;    // in epoll_wait: one is woken, and hands on
	struct waitq pollq; // pollers and outer epolls
	struct epitem **bucket;
	u32 nbuckets, nitems;
	struct file *file;
	struct task *waiter; // the only task that ever waited here, or SEVERAL
};
#define SEVERAL ((struct task *)1)

static struct mutex lifetime;
static const struct file_ops epoll_fops;

static struct epoll *ep_of(struct file *f) { return f->ops == &epoll_fops ? f->priv : NULL; }

// --- items

static u32 hash_of(struct epoll *ep, struct file *f, int fd)
{
	return (((uptr)f >> 6) + (u32)fd * 0x9e3779b1u) & (ep->nbuckets - 1);
}

static struct epitem *item_find(struct epoll *ep, struct file *f, int fd)
{
	struct epitem *i;

	if (!ep->bucket)
		return NULL;
	for (i = ep->bucket[hash_of(ep, f, fd)]; i; i = i->next)
		if (i->file == f && i->fd == fd)
			return i;
	return NULL;
}

// kcmp(2): the file that descriptor fd stood for when it came in; nth of several. Only to compare: there is no reference.
long epoll_target(struct file *f, int fd, u32 nth, const struct file **target)
{
	struct epoll *ep = ep_of(f);
	long r = -ENOENT;

	if (!ep)
		return -EINVAL;
	mutex_lock(&ep->lock);
	for (u32 b = 0; ep->bucket && b < ep->nbuckets && r; b++)
		for (struct epitem *i = ep->bucket[b]; i && r; i = i->next)
			if (i->fd == fd && !nth--) {
				*target = i->file;
				r = 0;
			}
	mutex_unlock(&ep->lock);
	return r;
}

static int hash_grow(struct epoll *ep)
{
	u32 old = ep->nbuckets, n = old ? old * 4 : FIRST_BUCKETS;
	struct epitem **nb, **ob = ep->bucket;

	if (ep->nitems < old * 2)
		return 0;
	nb = kzalloc(n * sizeof(*nb));
	if (!nb)
		return old ? 0 : -ENOMEM;
	ep->bucket = nb;
	ep->nbuckets = n;
	for (u32 b = 0; b < old; b++) {
		struct epitem *i, *next;

		for (i = ob[b]; i; i = next) {
			u32 h = hash_of(ep, i->file, i->fd);

			next = i->next;
			i->next = nb[h];
			nb[h] = i;
		}
	}
	kfree(ob);
	return 0;
}

static bool ready_add(struct epoll *ep, struct epitem *i)
{
	bool added = false;

	mutex_lock(&ep->ready_lock);
	if (list_empty(&i->ready_link)) {
		list_add_tail(&i->ready_link, &ep->ready);
		added = true;
	}
	mutex_unlock(&ep->ready_lock);
	return added;
}

static void ready_del(struct epoll *ep, struct epitem *i)
{
	mutex_lock(&ep->ready_lock);
	list_del(&i->ready_link);
	mutex_unlock(&ep->ready_lock);
}

// Any waiter of either kind: enqueues before it looks at the ready list under ready_lock, so an unlocked look is
// enough.
static void ep_wake(struct epoll *ep)
{
	if (!list_empty(&ep->wq.waiters))
		waitq_wake_one(&ep->wq, 0);
	if (!list_empty(&ep->pollq.waiters))
		waitq_wake(&ep->pollq, EPOLLIN | EPOLLRDNORM);
}

static void item_wake(struct waiter *w, u32 events)
{
	struct epitem *i = container_of(w, struct epwait, w)->item;
	u32 want = __atomic_load_n(&i->ev.events, __ATOMIC_RELAXED);

	if (!(want & ~PRIVATE_BITS) || (events && !(events & want)))
		return;
	// An edge-triggered item that is still on the list tells nothing new, but a sleeper may have been left by one
	// that was woken and died: waking again is cheap and always right.
	ready_add(i->ep, i);
	ep_wake(i->ep);
}

static struct task *only_waiter(struct epoll *ep)
{
	struct task *t = __atomic_load_n(&ep->waiter, __ATOMIC_RELAXED);

	return t == SEVERAL ? NULL : t;
}

struct registrar {
	struct poll_table pt;
	struct epitem *item;
	bool failed;
};

static void item_register(struct poll_table *pt, struct waitq *q)
{
	struct registrar *rg = container_of(pt, struct registrar, pt);
	struct epwait *e = &rg->item->wait;

	if (e->q) {
		e = knew(struct epwait);
		if (!e) {
			rg->failed = true;
			return;
		}
		e->more = rg->item->wait.more;
		rg->item->wait.more = e;
	}
	waiter_init(&e->w);
	e->w.task = NULL;
	e->w.fn = item_wake;
	e->w.who = only_waiter(rg->item->ep);
	e->item = rg->item;
	e->q = q;
	waitq_add(q, &e->w);
}

// Leaves the file's queues; afterwards item_wake is not running and will not run for it.
static void item_unregister(struct epitem *i)
{
	struct epwait *e, *next;

	if (i->wait.q)
		waitq_del(i->wait.q, &i->wait.w);
	i->wait.q = NULL;
	for (e = i->wait.more; e; e = next) {
		next = e->more;
		waitq_del(e->q, &e->w);
		kfree(e);
	}
	i->wait.more = NULL;
}

// ep->lock held. The file is alive, or in epoll_file_closing.
static void item_remove(struct epoll *ep, struct epitem *i)
{
	struct epitem **pp = &ep->bucket[hash_of(ep, i->file, i->fd)];

	item_unregister(i);
	ready_del(ep, i);
	while (*pp != i)
		pp = &(*pp)->next;
	*pp = i->next;
	ep->nitems--;
	mutex_lock(&i->file->epoll_lock);
	list_del(&i->file_link);
	mutex_unlock(&i->file->epoll_lock);
	COUNT(epoll_items, -1);
	kfree(i);
}

// Somebody waits: the current task in epoll_wait, or anybody in another way. Whom the items wake is known as long as it is one task in epoll_wait.
static void waits_here(struct epoll *ep, bool epoll_wait)
{
	mutex_lock(&ep->lock);
	if (ep->waiter == SEVERAL || (epoll_wait && ep->waiter == current))
		goto out;
	__atomic_store_n(&ep->waiter, ep->waiter || !epoll_wait ? SEVERAL : current, __ATOMIC_RELAXED);
	for (u32 b = 0; b < ep->nbuckets; b++)
		for (struct epitem *i = ep->bucket[b]; i; i = i->next)
			for (struct epwait *e = &i->wait; e; e = e->more)
				if (e->q)
					waitq_set_who(e->q, &e->w, only_waiter(ep));
out:
	mutex_unlock(&ep->lock);
}

// What an item has to tell now. ERR and HUP are always wanted.
static u32 item_poll(struct epitem *i, struct poll_table *pt)
{
	return file_poll(i->file, pt) & i->ev.events & ~PRIVATE_BITS;
}

void epoll_file_closing(struct file *f)
{
	// Nobody can add an item any more. A remover touches f last by releasing epoll_lock.
	if (likely(__atomic_load_n(&f->epoll_links.next, __ATOMIC_ACQUIRE) == &f->epoll_links &&
		   !__atomic_load_n(&f->epoll_lock.word, __ATOMIC_ACQUIRE)))
		return;
	mutex_lock(&lifetime);
	for (;;) {
		struct epitem *i = NULL;
		struct epoll *ep = NULL;

		// EPOLL_CTL_DEL needs a reference on f, so only epoll_release removes items now, and it needs
		// `lifetime`.
		mutex_lock(&f->epoll_lock);
		if (!list_empty(&f->epoll_links)) {
			i = list_first(&f->epoll_links, struct epitem, file_link);
			ep = i->ep;
		}
		mutex_unlock(&f->epoll_lock);
		if (!i)
			break;
		mutex_lock(&ep->lock);
		item_remove(ep, i);
		mutex_unlock(&ep->lock);
	}
	mutex_unlock(&lifetime);
}

static void epoll_release(struct file *file)
{
	struct epoll *ep = file->priv;

	mutex_lock(&lifetime);
	mutex_lock(&ep->lock);
	for (u32 b = 0; b < ep->nbuckets; b++)
		while (ep->bucket[b])
			item_remove(ep, ep->bucket[b]);
	mutex_unlock(&ep->lock);
	mutex_unlock(&lifetime);
	kfree(ep->bucket);
	COUNT(epolls, -1);
	kfree(ep);
}

// --- nesting (lifetime held)

// Levels of epolls below and including ep, or -ELOOP when `target` is among them or it is too deep.
static int depth_below(struct epoll *ep, struct epoll *target, int level)
{
	int deepest = 1;

	if (ep == target || level > MAX_NESTS)
		return -ELOOP;
	mutex_lock(&ep->lock);
	for (u32 b = 0; b < ep->nbuckets && deepest > 0; b++)
		for (struct epitem *i = ep->bucket[b]; i; i = i->next) {
			struct epoll *child = ep_of(i->file);
			int d = child ? depth_below(child, target, level + 1) : 0;

			if (d < 0) {
				deepest = d;
				break;
			}
			deepest = max(deepest, d + 1);
		}
	mutex_unlock(&ep->lock);
	return deepest;
}

static int depth_above(struct epoll *ep, int level)
{
	int deepest = 1;
	struct epitem *i;

	if (level > MAX_NESTS)
		return MAX_NESTS + 1;
	mutex_lock(&ep->file->epoll_lock);
	list_for_each (i, &ep->file->epoll_links, file_link)
		deepest = max(deepest, 1 + depth_above(i->ep, level + 1));
	mutex_unlock(&ep->file->epoll_lock);
	return deepest;
}

static int nest_check(struct epoll *ep, struct epoll *inner)
{
	int below = depth_below(inner, ep, 1);

	if (below < 0)
		return below;
	return below + depth_above(ep, 1) > MAX_NESTS ? -ELOOP : 0;
}

// --- control

static int ctl_add(struct epoll *ep, struct file *f, int fd, const struct epoll_event *ev)
{
	struct registrar rg = {.pt.add = item_register};
	struct epitem *i;
	u32 found;
	int r;

	r = hash_grow(ep);
	if (r)
		return r;
	i = knew(struct epitem);
	if (!i)
		return -ENOMEM;
	COUNT(epoll_items, 1);
	list_init(&i->ready_link);
	i->ep = ep;
	i->file = f;
	i->fd = fd;
	i->ev = *ev;
	i->next = ep->bucket[hash_of(ep, f, fd)];
	ep->bucket[hash_of(ep, f, fd)] = i;
	ep->nitems++;
	mutex_lock(&f->epoll_lock);
	list_add_tail(&i->file_link, &f->epoll_links);
	mutex_unlock(&f->epoll_lock);
	rg.item = i;
	found = item_poll(i, &rg.pt);
	if (rg.failed) {
		item_remove(ep, i);
		return -ENOMEM;
	}
	if (found) {
		ready_add(ep, i);
		ep_wake(ep);
	}
	return 0;
}

static int ctl_mod(struct epoll *ep, struct epitem *i, const struct epoll_event *ev)
{
	if (i->ev.events & EPOLLEXCLUSIVE)
		return -EINVAL;
	i->ev.data = ev->data;
	// A waker reads `events` without a lock: it sees the new interest, or we see what it announced.
	__atomic_exchange_n(&i->ev.events, ev->events, __ATOMIC_SEQ_CST);
	if (item_poll(i, NULL)) {
		ready_add(ep, i);
		ep_wake(ep);
	}
	return 0;
}

static int epoll_ctl_locked(struct epoll *ep, int op, struct file *f, int fd, struct epoll_event *ev)
{
	struct epitem *i = item_find(ep, f, fd);

	switch (op) {
	case EPOLL_CTL_ADD: return i ? -EEXIST : ctl_add(ep, f, fd, ev);
	case EPOLL_CTL_DEL:
		if (!i)
			return -ENOENT;
		item_remove(ep, i);
		return 0;
	case EPOLL_CTL_MOD: return i ? ctl_mod(ep, i, ev) : -ENOENT;
	}
	return -EINVAL;
}

long sys_epoll_ctl(int epfd, int op, int fd, const struct epoll_event __user *uev)
{
	struct epoll_event ev = {0};
	struct file *epf, *f = NULL;
	struct epoll *ep, *inner;
	bool nested;
	long r;

	if (op != EPOLL_CTL_DEL && copy_from_user(&ev, uev, sizeof(ev)))
		return -EFAULT;
	epf = fd_get(epfd);
	if (!epf)
		return -EBADF;
	f = fd_get(fd);
	r = -EBADF;
	if (!f)
		goto out;
	r = -EPERM;
	if (!f->ops->poll)
		goto out;
	ep = ep_of(epf);
	inner = ep_of(f);
	r = -EINVAL;
	if (!ep || f == epf)
		goto out;
	if (op != EPOLL_CTL_DEL && (ev.events & EPOLLEXCLUSIVE) &&
	    (op == EPOLL_CTL_MOD || inner || (ev.events & ~EXCLUSIVE_OK)))
		goto out;
	ev.events &= ~EPOLLWAKEUP;
	ev.events |= EPOLLERR | EPOLLHUP;

	nested = op == EPOLL_CTL_ADD && inner;
	if (nested) {
		mutex_lock(&lifetime);
		r = nest_check(ep, inner);
		if (r) {
			mutex_unlock(&lifetime);
			goto out;
		}
	}
	mutex_lock(&ep->lock);
	r = epoll_ctl_locked(ep, op, f, fd, &ev);
	mutex_unlock(&ep->lock);
	if (nested)
		mutex_unlock(&lifetime);
out:
	if (f)
		file_put(f);
	file_put(epf);
	return r;
}

// --- waiting

// Takes what is ready. ep->lock held. Number of events, or -EFAULT when not one could be written.
static int harvest(struct epoll *ep, struct epoll_event __user *out, int max)
{
	struct list batch;
	int n = 0;

	list_init(&batch);
	mutex_lock(&ep->ready_lock);
	list_splice_tail(&ep->ready, &batch);
	mutex_unlock(&ep->ready_lock);
	while (n < max) {
		struct epitem *i = NULL;
		struct epoll_event ev;

		mutex_lock(&ep->ready_lock);
		if (!list_empty(&batch)) {
			i = list_first(&batch, struct epitem, ready_link);
			list_del(&i->ready_link);
		}
		mutex_unlock(&ep->ready_lock);
		if (!i)
			break;
		ev.events = item_poll(i, NULL);
		if (!ev.events)
			continue;
		ev.data = i->ev.data;
		if (copy_to_user_nofault(&out[n], &ev, sizeof(ev))) {
			mutex_lock(&ep->ready_lock);
			if (list_empty(&i->ready_link))
				list_add(&i->ready_link, &batch);
			mutex_unlock(&ep->ready_lock);
			if (!n)
				n = -EFAULT;
			break;
		}
		n++;
		if (i->ev.events & EPOLLONESHOT)
			__atomic_store_n(&i->ev.events, i->ev.events & PRIVATE_BITS, __ATOMIC_RELAXED);
		else if (!(i->ev.events & EPOLLET))
			ready_add(ep, i); // level-triggered: asked again next time
	}
	// What did not fit comes first next time.
	mutex_lock(&ep->ready_lock);
	list_splice_tail(&ep->ready, &batch);
	list_splice_tail(&batch, &ep->ready);
	mutex_unlock(&ep->ready_lock);
	return n;
}

static bool ready_any(struct epoll *ep)
{
	bool any;

	mutex_lock(&ep->ready_lock);
	any = !list_empty(&ep->ready);
	mutex_unlock(&ep->ready_lock);
	return any;
}

// deadline: 0 = do not wait. -EINTR when a signal came.
static long epoll_wait_on(struct epoll *ep, struct epoll_event __user *out, int max, u64 deadline)
{
	struct waiter w;
	bool more = false, asked = false;
	int n, r = 0;

	if (unlikely(ep->waiter != current) && ep->waiter != SEVERAL)
		waits_here(ep, true);

	for (;;) {
		u32 seq;

		n = 0;
		if (ready_any(ep)) {
			mutex_lock(&ep->lock);
			n = harvest(ep, out, max);
			mutex_unlock(&ep->lock);
			if (n == -EFAULT && !fault_in(out, sizeof(*out), true))
				continue;
			more = !list_empty(&ep->ready);
		}
		if (!asked && (n || !deadline)) {
			asked = true;
			if (hostio_look(!n) && !n)
				continue;
		}
		if (n || r || !deadline)
			break;
		asked = true; // while asleep
		if (signal_pending()) {
			r = -EINTR;
			break;
		}
		seq = task_seq();
		waiter_init(&w);
		waitq_add(&ep->wq, &w);
		if (!ready_any(ep))
			r = task_sleep(seq, deadline);
		waitq_del(&ep->wq, &w);
		more |= r != 0;
	}
	// The wake-up may have been meant for one: hand on what is left.
	if (more && !list_empty(&ep->ready) && !list_empty(&ep->wq.waiters))
		waitq_wake_one(&ep->wq, 0);
	return n ? n : r == -ETIMEDOUT ? 0 : r;
}

static long do_epoll_wait(int epfd, struct epoll_event __user *out, int max, u64 deadline)
{
	struct file *f;
	long r = -EINVAL;

	if (max <= 0 || (u64)max > MAX_EVENTS)
		return -EINVAL;
	if (!access_ok(out, (size_t)max * sizeof(*out)))
		return -EFAULT;
	f = fd_get(epfd);
	if (!f)
		return -EBADF;
	if (ep_of(f))
		r = epoll_wait_on(f->priv, out, max, deadline);
	file_put(f);
	return r;
}

static u64 ms_deadline(int ms) { return ms < 0 ? NO_DEADLINE : ms ? ktime_deadline((u64)ms * 1000000) : 0; }

long sys_epoll_wait(int epfd, struct epoll_event __user *out, int max, int timeout_ms)
{
	return do_epoll_wait(epfd, out, max, ms_deadline(timeout_ms));
}

static long epoll_pwait_until(int epfd, void __user *out, int max, u64 deadline, const void __user *mask, size_t size)
{
	long r;

	if (mask && (r = sigmask_swap(mask, size)))
		return r;
	r = do_epoll_wait(epfd, out, max, deadline);
	if (mask)
		sigmask_restore(r == -EINTR);
	return r;
}

long sys_epoll_pwait(int epfd, void __user *out, int max, int timeout_ms, const void __user *mask, size_t size)
{
	return epoll_pwait_until(epfd, out, max, ms_deadline(timeout_ms), mask, size);
}

long sys_epoll_pwait2(int epfd, void __user *out, int max, const void __user *ts, const void __user *mask, size_t size)
{
	u64 ns, deadline = NO_DEADLINE;

	if (ts) {
		int r = user_timespec(ts, &ns);

		if (r)
			return r;
		deadline = ns ? ktime_deadline(ns) : 0;
	}
	return epoll_pwait_until(epfd, out, max, deadline, mask, size);
}

// Readable when an item truly has something to tell.
static u32 epoll_poll(struct file *f, struct poll_table *pt)
{
	struct epoll *ep = f->priv;
	u32 ev = 0;

	poll_wait(pt, &ep->pollq);
	if (ep->waiter != SEVERAL)
		waits_here(ep, false);
	if (!ready_any(ep))
		return 0;
	mutex_lock(&ep->lock);
	for (;;) {
		struct epitem *i = NULL;

		mutex_lock(&ep->ready_lock);
		if (!list_empty(&ep->ready)) {
			i = list_first(&ep->ready, struct epitem, ready_link);
			list_del(&i->ready_link);
		}
		mutex_unlock(&ep->ready_lock);
		if (!i)
			break;
		if (item_poll(i, NULL)) {
			mutex_lock(&ep->ready_lock);
			if (list_empty(&i->ready_link))
				list_add(&i->ready_link, &ep->ready);
			mutex_unlock(&ep->ready_lock);
			ev = EPOLLIN | EPOLLRDNORM;
			break;
		}
	}
	mutex_unlock(&ep->lock);
	return ev;
}

static const struct file_ops epoll_fops = {
	.poll = epoll_poll,
	.llseek = no_llseek,
	.release = epoll_release,
	.stream = true,
};

// For /proc/PID/fdinfo: one line an item. Returns the length needed.
size_t epoll_fdinfo(struct file *f, char *buf, size_t n)
{
	struct epoll *ep = ep_of(f);
	size_t len = 0;

	if (!ep)
		return 0;
	mutex_lock(&ep->lock);
	for (u32 b = 0; b < ep->nbuckets; b++)
		for (struct epitem *i = ep->bucket[b]; i; i = i->next)
			len += snprintf(len < n ? buf + len : NULL, len < n ? n - len : 0,
					"tfd: %8d events: %8x data: %16lx  pos:%ld ino:%lx sdev:%lx\n", i->fd,
					i->ev.events, (u64)i->ev.data, (s64)i->file->pos, i->file->inode->ino,
					i->file->inode->sb->dev);
	mutex_unlock(&ep->lock);
	return len;
}

long sys_epoll_create1(int flags)
{
	struct epoll *ep;
	struct file *f;
	long fd;

	if (flags & ~EPOLL_CLOEXEC)
		return -EINVAL;
	ep = knew(struct epoll);
	if (!ep)
		return -ENOMEM;
	list_init(&ep->ready);
	waitq_init(&ep->wq);
	waitq_init(&ep->pollq);
	f = anon_file("[eventpoll]", &epoll_fops, O_RDWR, ep);
	if (IS_ERR_OR_NULL(f)) {
		kfree(ep);
		return f ? PTR_ERR(f) : -ENOMEM;
	}
	COUNT(epolls, 1);
	ep->file = f;
	fd = fd_alloc(f, 0, flags & EPOLL_CLOEXEC);
	if (fd < 0)
		file_put(f);
	return fd;
}

long sys_epoll_create(int size) { return size <= 0 ? -EINVAL : sys_epoll_create1(0); }

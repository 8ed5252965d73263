// SPDX-License-Identifier: Apache-2.0
// io_uring_setup(2) and the ring as a file: mapping, readiness, end. The memory of the rings is one page cache with two
// runs of pages, one for the heads, completions and indices, one for the entries.
#include "kernel/include/uring.h"
#include "kernel/uring/uring.h"

#define SETUP_KNOWN                                                                                                                     \
	(IORING_SETUP_IOPOLL | IORING_SETUP_SQPOLL | IORING_SETUP_SQ_AFF | IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP | IORING_SETUP_ATTACH_WQ |   \
	 IORING_SETUP_R_DISABLED | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SQE128 |       \
	 IORING_SETUP_CQE32 | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN)
#define FEATURES                                                                                                                        \
	(IORING_FEAT_SINGLE_MMAP | IORING_FEAT_NODROP | IORING_FEAT_SUBMIT_STABLE | IORING_FEAT_RW_CUR_POS | IORING_FEAT_CUR_PERSONALITY |       \
	 IORING_FEAT_FAST_POLL | IORING_FEAT_POLL_32BITS | IORING_FEAT_SQPOLL_NONFIXED | IORING_FEAT_EXT_ARG | IORING_FEAT_NATIVE_WORKERS |      \
	 IORING_FEAT_RSRC_TAGS | IORING_FEAT_CQE_SKIP | IORING_FEAT_LINKED_FILE)
#define SQES_PAGE (IORING_OFF_SQES >> PAGE_SHIFT)
#define CQ_PAGE (IORING_OFF_CQ_RING >> PAGE_SHIFT)

static const struct file_ops uring_fops;

struct uring *file_uring(struct file *f) { return f->ops == &uring_fops ? f->priv : NULL; }
bool file_is_uring(struct file *f) { return file_uring(f); }
void uring_get(struct uring *r) { ref_get(&r->ref); }

void uring_put(struct uring *r)
{
	if (!ref_put(&r->ref))
		return;
	ktimer_cancel(&r->eventfd_timer);
	register_free(r);
	bufs_free(r);
	if (r->issuer)
		task_put(r->issuer);
	kfree(r->ring_page);
	kfree(r->sqe_page);
	if (r->pc)
		pc_put(r->pc);
	kfree(r);
}

static void uring_release(struct file *f)
{
	struct uring *r = f->priv;

	mutex_lock(&r->lock);
	r->dead = true;
	mutex_unlock(&r->lock);
	uring_cancel_all(r);
	uring_put(r);
}

static u32 uring_fpoll(struct file *f, struct poll_table *pt)
{
	struct uring *r = f->priv;
	u32 ev = 0;

	poll_wait(pt, &r->wq);
	mutex_lock(&r->lock);
	u32 tail = __atomic_load_n(ring_word(r, R_SQ_TAIL), __ATOMIC_ACQUIRE);
	if (tail - r->sq_head != r->sq_entries)
		ev |= EPOLLOUT | EPOLLWRNORM;
	if (uring_ready(r) || !list_empty(&r->overflow))
		ev |= EPOLLIN | EPOLLRDNORM;
	mutex_unlock(&r->lock);
	if (uring_has_work(r))
		ev |= EPOLLIN | EPOLLRDNORM;
	return ev;
}

// Both names of the rings' memory are one place (IORING_FEAT_SINGLE_MMAP).
static u64 uring_mmap_page(struct file *f, u64 pgoff)
{
	(void)f;
	return pgoff >= CQ_PAGE && pgoff < SQES_PAGE ? pgoff - CQ_PAGE : pgoff;
}

static int uring_mmap(struct file *f, u64 pgoff, size_t len, int prot, int flags, struct pagecache **pc)
{
	struct uring *r = f->priv;
	u64 pages = PAGE_ALIGN(len) >> PAGE_SHIFT;

	(void)prot;
	if ((flags & MAP_TYPE) == MAP_PRIVATE)
		return -EINVAL;
	if (pgoff == SQES_PAGE ? pages > r->nsqe : pgoff == 0 || pgoff == CQ_PAGE ? pages > r->nring : true)
		return -EINVAL;
	pc_get(r->pc);
	*pc = r->pc;
	return 0;
}

static const struct file_ops uring_fops = {
	.poll = uring_fpoll,
	.mmap = uring_mmap,
	.mmap_page = uring_mmap_page,
	.llseek = no_llseek,
	.release = uring_release,
	.stream = true,
};

// n fresh pages of the cache from index on, by their kernel addresses.
static char **make_pages(struct pagecache *pc, u64 index, u32 n)
{
	char **v = kmalloc(n * sizeof(*v));
	u32 done = 0;

	while (v && done < n) {
		pfn_t pfn;
		u32 got;

		if (pc_run(pc, index + done, n - done, true, &pfn, &got)) {
			kfree(v);
			return NULL;
		}
		for (u32 i = 0; i < got && done < n; i++)
			v[done++] = page_addr(pfn + i);
	}
	return v;
}

static u32 round_up_pow2(u32 n)
{
	u32 p = 1;

	while (p < n)
		p *= 2;
	return p;
}

static int sizes(u32 entries, struct io_uring_params *p)
{
	if (!entries)
		return -EINVAL;
	if (entries > MAX_ENTRIES) {
		if (!(p->flags & IORING_SETUP_CLAMP))
			return -EINVAL;
		entries = MAX_ENTRIES;
	}
	p->sq_entries = round_up_pow2(entries);
	if (!(p->flags & IORING_SETUP_CQSIZE)) {
		p->cq_entries = 2 * p->sq_entries;
		return 0;
	}
	if (!p->cq_entries)
		return -EINVAL;
	if (p->cq_entries > MAX_CQ_ENTRIES) {
		if (!(p->flags & IORING_SETUP_CLAMP))
			return -EINVAL;
		p->cq_entries = MAX_CQ_ENTRIES;
	}
	p->cq_entries = round_up_pow2(p->cq_entries);
	return p->cq_entries < p->sq_entries ? -EINVAL : 0;
}

static int check_params(const struct io_uring_params *p)
{
	u32 f = p->flags;

	if (p->resv[0] || p->resv[1] || p->resv[2] || (f & ~SETUP_KNOWN))
		return -EINVAL;
	if (f & IORING_SETUP_SQPOLL) {
		if (f & (IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_DEFER_TASKRUN))
			return -EINVAL;
		if ((f & IORING_SETUP_SQ_AFF) && p->sq_thread_cpu >= pf_ncpus())
			return -EINVAL;
	} else if ((f & IORING_SETUP_SQ_AFF) ||
		   ((f & IORING_SETUP_TASKRUN_FLAG) && !(f & (IORING_SETUP_COOP_TASKRUN | IORING_SETUP_DEFER_TASKRUN)))) {
		return -EINVAL;
	}
	if ((f & IORING_SETUP_DEFER_TASKRUN) && !(f & IORING_SETUP_SINGLE_ISSUER))
		return -EINVAL;
	if (f & IORING_SETUP_ATTACH_WQ) { // there are no worker threads that could be shared: checked only
		struct file *o = fd_get((int)p->wq_fd);
		bool ok = o && file_uring(o);

		if (!o)
			return f & IORING_SETUP_SQPOLL ? -ENXIO : -EBADF;
		file_put(o);
		if (!ok)
			return -EINVAL;
	}
	return 0;
}

static void init_ring(struct uring *r, const struct io_uring_params *p)
{
	ref_init(&r->ref, 1);
	r->flags = p->flags;
	r->sq_entries = p->sq_entries;
	r->cq_entries = p->cq_entries;
	r->sqe_shift = p->flags & IORING_SETUP_SQE128 ? 7 : 6;
	r->cqe_shift = p->flags & IORING_SETUP_CQE32 ? 5 : 4;
	r->disabled = p->flags & IORING_SETUP_R_DISABLED;
	list_init(&r->reqs);
	list_init(&r->drain);
	list_init(&r->timeouts);
	list_init(&r->overflow);
	list_init(&r->work);
	list_init(&r->groups);
	waitq_init(&r->wq);
	r->mm = curproc->mm;
	r->alloc_end = MAX_FIXED_FILES;
	if ((p->flags & (IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_SQPOLL)) && !r->disabled) {
		r->issuer = current;
		ref_get(&current->ref);
	}
}

static int make_memory(struct uring *r)
{
	r->array_off = R_CQES + (r->cq_entries << r->cqe_shift);
	r->nring = (u32)(PAGE_ALIGN(r->array_off + r->sq_entries * sizeof(u32)) >> PAGE_SHIFT);
	r->nsqe = (u32)(PAGE_ALIGN((u64)r->sq_entries << r->sqe_shift) >> PAGE_SHIFT);
	r->pc = pc_new(NULL, NULL);
	if (!r->pc)
		return -ENOMEM;
	r->ring_page = make_pages(r->pc, 0, r->nring);
	r->sqe_page = make_pages(r->pc, SQES_PAGE, r->nsqe);
	if (!r->ring_page || !r->sqe_page)
		return -ENOMEM;
	*ring_word(r, R_SQ_MASK) = r->sq_entries - 1;
	*ring_word(r, R_SQ_ENTRIES) = r->sq_entries;
	*ring_word(r, R_CQ_MASK) = r->cq_entries - 1;
	*ring_word(r, R_CQ_ENTRIES) = r->cq_entries;
	// The poller sleeps always: io_uring_enter(IORING_ENTER_SQ_WAKEUP) is what submits.
	*ring_word(r, R_SQ_FLAGS) = r->flags & IORING_SETUP_SQPOLL ? IORING_SQ_NEED_WAKEUP : 0;
	return 0;
}

static void put_offsets(struct io_uring_params *p, const struct uring *r)
{
	p->sq_off = (struct io_sqring_offsets){ .head = R_SQ_HEAD, .tail = R_SQ_TAIL, .ring_mask = R_SQ_MASK, .ring_entries = R_SQ_ENTRIES,
						.flags = R_SQ_FLAGS, .dropped = R_SQ_DROPPED, .array = r->array_off };
	p->cq_off = (struct io_cqring_offsets){ .head = R_CQ_HEAD, .tail = R_CQ_TAIL, .ring_mask = R_CQ_MASK, .ring_entries = R_CQ_ENTRIES,
						.overflow = R_CQ_OVERFLOW, .cqes = R_CQES, .flags = R_CQ_FLAGS };
	p->features = FEATURES;
}

long sys_io_uring_setup(u32 entries, void __user *up)
{
	struct io_uring_params p;
	struct uring *r = NULL;
	struct file *f;
	long fd;

	if (copy_from_user(&p, up, sizeof(p)))
		return -EFAULT;
	fd = check_params(&p);
	if (!fd)
		fd = sizes(entries, &p);
	if (fd)
		return fd;
	r = knew(struct uring);
	if (!r)
		return -ENOMEM;
	init_ring(r, &p);
	fd = uring_task() ? make_memory(r) : -ENOMEM;
	if (fd)
		goto out;
	put_offsets(&p, r);
	fd = -EFAULT;
	if (copy_to_user(up, &p, sizeof(p)))
		goto out;
	f = anon_file("[io_uring]", &uring_fops, O_RDWR, r);
	fd = f ? PTR_ERR(f) : -ENOMEM;
	if (IS_ERR_OR_NULL(f))
		goto out;
	fd = fd_alloc(f, 0, true);
	if (fd < 0)
		file_put(f); // ends the ring too
	return fd;
out:
	uring_put(r);
	return fd;
}

// /proc/PID/fdinfo: length written.
size_t uring_fdinfo(struct file *f, char *buf, size_t n)
{
	struct uring *r = file_uring(f);
	struct ureq *q;
	size_t len;

	if (!r)
		return 0;
	mutex_lock(&r->lock);
	len = scnprintf(buf, n,
			"SqMask:\t0x%x\nSqHead:\t%u\nSqTail:\t%u\nCachedSqHead:\t%u\nCqMask:\t0x%x\nCqHead:\t%u\nCqTail:\t%u\nCachedCqTail:\t%u\n"
			"SqThread:\t-1\nSqThreadCpu:\t-1\nUserFiles:\t%u\nUserBufs:\t%u\nPollList:\n",
			r->sq_entries - 1, r->sq_head, *ring_word(r, R_SQ_TAIL), r->sq_head, r->cq_entries - 1, *ring_word(r, R_CQ_HEAD), r->cq_tail,
			r->cq_tail, r->nfiles, r->nbufs);
	list_for_each (q, &r->reqs, ring_link)
		if (q->state == US_ARMED && q->wait.q)
			len += scnprintf(buf + len, n - len, "  op=%d, task_works=%d\n", q->sqe.opcode, q->queued);
	len += scnprintf(buf + len, n - len, "CqOverflowList:\n");
	mutex_unlock(&r->lock);
	return len;
}

// SPDX-License-Identifier: Apache-2.0
// Registered buffers (ranges of the program's memory that READ_FIXED and others name by index) and provided buffers (groups
// from which a request takes one when its data is there, IOSQE_BUFFER_SELECT). Both belong to one address space: from
// another, a forked child's, they give -EFAULT. Locks: ring->lock, not held over user memory.
#include "kernel/uring/uring.h"

#define MAX_BUF_BYTES (1ul << 30)
#define MAX_GROUP 65536u

// --- registered

static int check_buf(const struct iovec *v, u64 tag, struct ufixed *out)
{
	u64 base = (u64)(uptr)v->iov_base;

	*out = (struct ufixed){ base, v->iov_len, tag };
	if (!base)
		return v->iov_len ? -EFAULT : tag ? -EINVAL : 0;
	if (!v->iov_len || v->iov_len > MAX_BUF_BYTES || base + v->iov_len < base || !access_ok(U(base), v->iov_len))
		return -EFAULT;
	return fault_in(U(base), v->iov_len, true);
}

static int read_buf(const void __user *iov, const void __user *tags, u32 i, struct ufixed *out)
{
	struct iovec v = { NULL, 0 };
	u64 tag = 0;

	if ((iov && get_user(v, (const struct iovec __user *)iov + i)) || (tags && get_user(tag, (const u64 __user *)tags + i)))
		return -EFAULT;
	return check_buf(&v, tag, out);
}

int bufs_register(struct uring *r, const void __user *iov, u32 n, const void __user *tags, bool sparse)
{
	struct ufixed *v;
	int e = 0;

	if (r->nbufs)
		return -EBUSY;
	if (!n || n > MAX_FIXED_BUFS)
		return -EINVAL;
	if (curproc->mm != r->mm)
		return -EFAULT;
	v = kzalloc(n * sizeof(*v));
	if (!v)
		return -ENOMEM;
	for (u32 i = 0; i < n && !e && !sparse; i++)
		e = read_buf(iov, tags, i, &v[i]);
	mutex_lock(&r->lock);
	if (!e && r->nbufs)
		e = -EBUSY;
	if (!e) {
		r->bufs = v;
		r->nbufs = n;
	}
	mutex_unlock(&r->lock);
	if (e)
		kfree(v);
	return e;
}

int bufs_unregister(struct uring *r)
{
	struct udone d;
	struct ufixed *v;
	u32 n;

	udone_init(&d);
	mutex_lock(&r->lock);
	v = r->bufs;
	n = r->nbufs;
	r->bufs = NULL;
	r->nbufs = 0;
	for (u32 i = 0; i < n && !r->dead; i++)
		if (v[i].tag) {
			uring_post(r, v[i].tag, 0, 0, NULL);
			d.posted = true;
		}
	mutex_unlock(&r->lock);
	uring_done(r, &d);
	kfree(v);
	return n ? 0 : -ENXIO;
}

int bufs_update(struct uring *r, u32 off, const void __user *iov, const void __user *tags, u32 n)
{
	u32 done = 0;
	int e = 0;

	if (!r->nbufs)
		return -ENXIO;
	if ((u64)off + n > r->nbufs)
		return -EINVAL;
	for (; done < n; done++) {
		struct ufixed v;
		struct udone d;

		e = read_buf(iov, tags, done, &v);
		if (e)
			break;
		udone_init(&d);
		mutex_lock(&r->lock);
		if (off + done < r->nbufs) {
			struct ufixed *to = &r->bufs[off + done];

			if (to->tag) {
				uring_post(r, to->tag, 0, 0, NULL);
				d.posted = true;
			}
			*to = v;
		}
		mutex_unlock(&r->lock);
		uring_done(r, &d);
	}
	return done ? (int)done : e;
}

int fixed_buffer(struct ureq *q, u64 addr, u64 len)
{
	struct uring *r = q->ring;
	u32 i = q->sqe.buf_index;
	int e = -EFAULT;

	mutex_lock(&r->lock);
	if (i < r->nbufs && curproc->mm == r->mm) {
		const struct ufixed *b = &r->bufs[i];

		if (addr >= b->addr && addr + len >= addr && addr + len <= b->addr + b->len)
			e = 0;
	}
	mutex_unlock(&r->lock);
	return e;
}

// --- provided

static struct ubuf_group *group(struct uring *r, u16 id)
{
	struct ubuf_group *g;

	list_for_each (g, &r->groups, link)
		if (g->id == id)
			return g;
	return NULL;
}

static struct ubuf_group *group_make(struct uring *r, u16 id)
{
	struct ubuf_group *g = group(r, id);

	if (g || r->ngroups >= MAX_BUF_GROUPS)
		return g;
	g = knew(struct ubuf_group);
	if (!g)
		return NULL;
	g->id = id;
	g->mm = curproc->mm;
	list_init(&g->bufs);
	list_add(&g->link, &r->groups);
	r->ngroups++;
	return g;
}

static void group_empty(struct ubuf_group *g, u32 n)
{
	while (n-- && !list_empty(&g->bufs)) {
		struct ubuf *b = list_first(&g->bufs, struct ubuf, link);

		list_del(&b->link);
		g->n--;
		kfree(b);
	}
}

static void group_free(struct uring *r, struct ubuf_group *g)
{
	group_empty(g, U32_MAX);
	list_del(&g->link);
	r->ngroups--;
	kfree(g);
}

// The next of a ring of buffers in the program's memory. -ENOBUFS: none.
static int ring_next(struct uring *r, struct ubuf_group *g, struct io_uring_buf *b)
{
	struct io_uring_buf __user *ring = g->ring;
	u16 head = g->head, mask = g->mask, tail;

	mutex_unlock(&r->lock); // only its own process frees it, and that is us
	int e = get_user(tail, &((struct io_uring_buf_ring __user *)ring)->tail);
	if (!e)
		e = tail == head ? -ENOBUFS : get_user(*b, &ring[head & mask]);
	mutex_lock(&r->lock);
	return e;
}

int buffer_select(struct ureq *q, u32 want)
{
	struct uring *r = q->ring;
	struct ubuf_group *g;
	struct ubuf *b;
	int e = -ENOBUFS;

	if (q->buf_taken)
		return 0;
	mutex_lock(&r->lock);
	g = group(r, q->sqe.buf_group);
	if (g && g->mm != curproc->mm) {
		e = -EFAULT;
	} else if (g && g->ring) {
		struct io_uring_buf v;

		e = ring_next(r, g, &v);
		g = e ? NULL : group(r, q->sqe.buf_group);
		if (g && g->ring) {
			g->head++;
			q->buf_addr = v.addr;
			q->buf_len = v.len;
			q->buf_id = v.bid;
		} else if (!e) {
			e = -ENOBUFS;
		}
	} else if (g && !list_empty(&g->bufs)) {
		b = list_first(&g->bufs, struct ubuf, link);
		list_del(&b->link);
		g->n--;
		q->buf_addr = b->addr;
		q->buf_len = b->len;
		q->buf_id = b->id;
		kfree(b);
		e = 0;
	}
	if (!e) {
		q->buf_taken = true;
		q->buf_whole = q->buf_len;
		if (want && want < q->buf_len)
			q->buf_len = want;
	}
	mutex_unlock(&r->lock);
	return e;
}

// It was not used: back to the front.
void buffer_recycle(struct ureq *q)
{
	struct uring *r = q->ring;
	struct ubuf_group *g;
	struct ubuf *b;

	if (!q->buf_taken || q->done)
		return;
	q->buf_taken = false;
	b = knew(struct ubuf);
	mutex_lock(&r->lock);
	g = group(r, q->sqe.buf_group);
	if (g && g->ring) {
		g->head--;
	} else if (g && b) {
		b->addr = q->buf_addr;
		b->len = q->buf_whole;
		b->id = q->buf_id;
		list_add(&b->link, &g->bufs);
		g->n++;
		b = NULL;
	}
	mutex_unlock(&r->lock);
	kfree(b);
}

u32 buffer_used(struct ureq *q)
{
	if (!q->buf_taken)
		return 0;
	q->buf_taken = false;
	return IORING_CQE_F_BUFFER | (u32)q->buf_id << IORING_CQE_BUFFER_SHIFT;
}

int op_provide_prep(struct ureq *q)
{
	u64 n = (u32)q->sqe.fd, size;

	if (q->sqe.rw_flags || q->sqe.splice_fd_in)
		return -EINVAL;
	if (!n || n > MAX_GROUP)
		return -E2BIG;
	size = (u64)q->sqe.len * n;
	if (q->sqe.addr + size < q->sqe.addr)
		return -EOVERFLOW;
	if (!access_ok(U(q->sqe.addr), size))
		return -EFAULT;
	if (q->sqe.off > 0xffff)
		return -E2BIG;
	return q->sqe.off + n > MAX_GROUP ? -EINVAL : 0;
}

int op_provide_issue(struct ureq *q)
{
	struct uring *r = q->ring;
	u32 n = (u32)q->sqe.fd, i;
	struct ubuf_group *g;
	int e = -ENOMEM;

	mutex_lock(&r->lock);
	g = group_make(r, q->sqe.buf_group);
	if (g && g->ring) {
		e = -EINVAL;
		g = NULL;
	}
	for (i = 0; g && i < n && g->n < 4 * MAX_GROUP; i++) {
		struct ubuf *b = knew(struct ubuf);

		if (!b)
			break;
		b->addr = q->sqe.addr + (u64)i * q->sqe.len;
		b->len = q->sqe.len;
		b->id = (u16)(q->sqe.off + i);
		list_add_tail(&b->link, &g->bufs);
		g->n++;
		e = 0;
	}
	mutex_unlock(&r->lock);
	return e;
}

int op_remove_buffers_prep(struct ureq *q)
{
	if (q->sqe.rw_flags || q->sqe.addr || q->sqe.len || q->sqe.off || q->sqe.splice_fd_in)
		return -EINVAL;
	return !q->sqe.fd || (u32)q->sqe.fd > MAX_GROUP ? -EINVAL : 0;
}

int op_remove_buffers_issue(struct ureq *q)
{
	struct uring *r = q->ring;
	struct ubuf_group *g;
	int e = -ENOENT;

	mutex_lock(&r->lock);
	g = group(r, q->sqe.buf_group);
	if (g && g->ring) {
		e = -EINVAL;
	} else if (g) {
		e = (int)min(g->n, (u32)q->sqe.fd);
		group_empty(g, (u32)e);
	}
	mutex_unlock(&r->lock);
	return e;
}

int pbuf_ring_register(struct uring *r, const void __user *arg)
{
	struct io_uring_buf_reg a;
	struct ubuf_group *g;
	u64 bytes;
	int e;

	if (copy_from_user(&a, arg, sizeof(a)))
		return -EFAULT;
	if (a.pad || a.resv[0] || a.resv[1] || a.resv[2])
		return -EINVAL;
	if (!a.ring_addr)
		return -EFAULT;
	if (a.ring_addr & (PAGE_SIZE - 1) || !a.ring_entries || (a.ring_entries & (a.ring_entries - 1)) || a.ring_entries >= 65536)
		return -EINVAL;
	bytes = (u64)a.ring_entries * sizeof(struct io_uring_buf);
	if (!access_ok(U(a.ring_addr), bytes) || fault_in(U(a.ring_addr), bytes, true))
		return -EFAULT;
	mutex_lock(&r->lock);
	g = group(r, a.bgid);
	e = g && (g->ring || !list_empty(&g->bufs)) ? -EEXIST : 0;
	if (!e && !(g = group_make(r, a.bgid)))
		e = -ENOMEM;
	if (!e) {
		g->mm = curproc->mm;
		g->ring = U(a.ring_addr);
		g->mask = (u16)(a.ring_entries - 1);
		g->head = 0;
	}
	mutex_unlock(&r->lock);
	return e;
}

int pbuf_ring_unregister(struct uring *r, const void __user *arg)
{
	struct io_uring_buf_reg a;
	struct ubuf_group *g;
	int e;

	if (copy_from_user(&a, arg, sizeof(a)))
		return -EFAULT;
	if (a.pad || a.resv[0] || a.resv[1] || a.resv[2])
		return -EINVAL;
	mutex_lock(&r->lock);
	g = group(r, a.bgid);
	e = !g ? -ENOENT : g->ring ? 0 : -EINVAL;
	if (!e)
		group_free(r, g);
	mutex_unlock(&r->lock);
	return e;
}

void bufs_free(struct uring *r)
{
	while (!list_empty(&r->groups))
		group_free(r, list_first(&r->groups, struct ubuf_group, link));
	kfree(r->bufs);
	r->bufs = NULL;
}

// SPDX-License-Identifier: Apache-2.0
// Registered files: a table of open files that requests name by index (IOSQE_FIXED_FILE), and operations that put what they
// open into it. Locks: ring->lock; files are put without it.
#include "kernel/uring/uring.h"

// One slot: the file that was there is handed back to be put; its tag is told.
static struct file *set(struct uring *r, u32 slot, struct file *f, u64 tag, struct udone *d)
{
	struct file *old = r->files[slot].f;

	if (old && r->files[slot].tag) {
		uring_post(r, r->files[slot].tag, 0, 0, NULL);
		d->posted = true;
	}
	r->files[slot] = (struct ufile){ f, tag };
	return old;
}

struct file *fixed_file(struct uring *r, u32 slot)
{
	struct file *f = NULL;

	mutex_lock(&r->lock);
	if (slot < r->nfiles && (f = r->files[slot].f))
		file_get(f);
	mutex_unlock(&r->lock);
	return f;
}

static int find_slot(struct uring *r)
{
	for (u32 i = r->alloc_from; i < min(r->nfiles, r->alloc_end); i++)
		if (!r->files[i].f)
			return (int)i;
	return -ENFILE;
}

int fixed_install(struct uring *r, struct file *f, u32 index)
{
	struct file *old = f;
	struct udone d;
	int e = 0, slot;

	udone_init(&d);
	mutex_lock(&r->lock);
	if (file_uring(f)) {
		e = -EBADF;
	} else if (!r->nfiles) {
		e = index == SLOT_ALLOC ? -ENFILE : -ENXIO;
	} else {
		slot = index == SLOT_ALLOC ? find_slot(r) : index - 1 < r->nfiles ? (int)(index - 1) : -EINVAL;
		e = index == SLOT_ALLOC || slot < 0 ? slot : 0;
		if (slot >= 0)
			old = set(r, (u32)slot, f, 0, &d);
	}
	mutex_unlock(&r->lock);
	uring_done(r, &d);
	if (old)
		file_put(old);
	return e;
}

int fixed_close(struct uring *r, u32 slot)
{
	struct file *old = NULL;
	struct udone d;
	int e = 0;

	udone_init(&d);
	mutex_lock(&r->lock);
	if (!r->nfiles)
		e = -ENXIO;
	else if (slot >= r->nfiles)
		e = -EINVAL;
	else if (!(old = set(r, slot, NULL, 0, &d)))
		e = -EBADF;
	mutex_unlock(&r->lock);
	uring_done(r, &d);
	if (old)
		file_put(old);
	return e;
}

// The file of a descriptor that the program names; NULL for -1; ERR_PTR. Rings cannot be registered.
static struct file *take(const void __user *fds, u32 i, int *fd)
{
	struct file *f;

	if (get_user(*fd, (const int __user *)fds + i))
		return ERR_PTR(-EFAULT);
	if (*fd == -1 || *fd == IORING_REGISTER_FILES_SKIP)
		return NULL;
	f = fd_get(*fd);
	if (f && file_uring(f)) {
		file_put(f);
		f = NULL;
	}
	return f ? f : ERR_PTR(-EBADF);
}

static int take_tag(const void __user *tags, u32 i, u64 *tag)
{
	*tag = 0;
	return tags ? get_user(*tag, (const u64 __user *)tags + i) : 0;
}

int files_register(struct uring *r, const void __user *fds, u32 n, const void __user *tags, bool sparse)
{
	struct ufile *v;
	int e = 0, fd;

	if (r->nfiles)
		return -EBUSY;
	if (!n)
		return -EINVAL;
	if (n > MAX_FIXED_FILES || n > RLIMIT(RLIMIT_NOFILE))
		return -EMFILE;
	v = kzalloc(n * sizeof(*v));
	if (!v)
		return -ENOMEM;
	for (u32 i = 0; i < n && !e && !sparse; i++) {
		e = take_tag(tags, i, &v[i].tag);
		struct file *f = e ? NULL : take(fds, i, &fd);

		if (IS_ERR(f))
			e = (int)PTR_ERR(f);
		else if (!e && !f && (v[i].tag || fd != -1))
			e = fd == -1 ? -EINVAL : -EBADF;
		else if (!e)
			v[i].f = f;
	}
	mutex_lock(&r->lock);
	if (!e && r->nfiles)
		e = -EBUSY;
	if (!e) {
		r->files = v;
		r->nfiles = n;
		r->alloc_from = 0;
		r->alloc_end = n;
	}
	mutex_unlock(&r->lock);
	if (e) {
		for (u32 i = 0; i < n; i++)
			if (v[i].f)
				file_put(v[i].f);
		kfree(v);
	}
	return e;
}

int files_unregister(struct uring *r)
{
	struct udone d;
	struct ufile *v;
	u32 n;

	udone_init(&d);
	mutex_lock(&r->lock);
	v = r->files;
	n = r->nfiles;
	r->files = NULL;
	r->nfiles = 0;
	for (u32 i = 0; i < n && !r->dead; i++)
		if (v[i].f && v[i].tag) {
			uring_post(r, v[i].tag, 0, 0, NULL);
			d.posted = true;
		}
	mutex_unlock(&r->lock);
	uring_done(r, &d);
	for (u32 i = 0; i < n; i++)
		if (v[i].f)
			file_put(v[i].f);
	kfree(v);
	return n ? 0 : -ENXIO;
}

int files_update(struct uring *r, u32 off, const void __user *fds, const void __user *tags, u32 n)
{
	u32 done = 0;
	int e = 0, fd;

	if (!r->nfiles)
		return -ENXIO;
	if ((u64)off + n > r->nfiles)
		return -EINVAL;
	for (; done < n && !e; done++) {
		struct file *f, *old = NULL;
		struct udone d;
		u64 tag;

		e = take_tag(tags, done, &tag);
		if (e)
			break;
		f = take(fds, done, &fd);
		if (IS_ERR(f)) {
			e = (int)PTR_ERR(f);
			break;
		}
		if (!f && tag) {
			e = -EINVAL;
			break;
		}
		if (fd == IORING_REGISTER_FILES_SKIP)
			continue;
		udone_init(&d);
		mutex_lock(&r->lock);
		if (off + done < r->nfiles)
			old = set(r, off + done, f, tag, &d);
		else
			old = f;
		mutex_unlock(&r->lock);
		uring_done(r, &d);
		if (old)
			file_put(old);
	}
	return done ? (int)done : e;
}

int files_range(struct uring *r, u32 off, u32 len)
{
	int e = -EINVAL;

	mutex_lock(&r->lock);
	if (off + len < off) {
		e = -EOVERFLOW;
	} else if (off + len <= r->nfiles) {
		r->alloc_from = off;
		r->alloc_end = off + len;
		e = 0;
	}
	mutex_unlock(&r->lock);
	return e;
}

int op_files_update_prep(struct ureq *q)
{
	if ((q->sqe.flags & (IOSQE_FIXED_FILE | IOSQE_BUFFER_SELECT)) || q->sqe.rw_flags || q->sqe.splice_fd_in || !q->sqe.len)
		return -EINVAL;
	return 0;
}

// With offset IORING_FILE_INDEX_ALLOC each file finds its own slot, whose number replaces the descriptor's.
static int update_anywhere(struct ureq *q)
{
	int __user *fds = U(q->sqe.addr);
	u32 done;
	int e = 0;

	for (done = 0; done < q->sqe.len; done++) {
		struct file *f;
		int fd;

		if (get_user(fd, fds + done)) {
			e = -EFAULT;
			break;
		}
		f = fd_get(fd);
		e = f ? fixed_install(q->ring, f, SLOT_ALLOC) : -EBADF;
		if (e < 0)
			break;
		if (put_user(e, fds + done)) {
			fixed_close(q->ring, (u32)e);
			e = -EFAULT;
			break;
		}
	}
	return done ? (int)done : e;
}

int op_files_update_issue(struct ureq *q)
{
	if ((u32)q->sqe.off == SLOT_ALLOC)
		return update_anywhere(q);
	return files_update(q->ring, (u32)q->sqe.off, U(q->sqe.addr), NULL, q->sqe.len);
}

// --- MSG_RING: a completion, or a registered file, for another ring

enum { MSG_DATA, MSG_FD };

int op_msg_ring_prep(struct ureq *q)
{
	return q->sqe.buf_index || q->sqe.personality || (q->sqe.msg_ring_flags & ~IORING_MSG_RING_CQE_SKIP) ? -EINVAL : 0;
}

static int post_to(struct uring *to, u64 user_data, s32 res)
{
	bool ok;

	mutex_lock(&to->lock);
	ok = uring_post(to, user_data, res, 0, NULL);
	to->ncq++;
	uring_check_timeouts(to);
	mutex_unlock(&to->lock);
	uring_notify(to, true);
	return ok ? 0 : -EOVERFLOW;
}

int op_msg_ring_issue(struct ureq *q)
{
	struct uring *to = file_uring(q->file);
	struct file *f;
	int slot, e;

	if (!to)
		return -EBADFD;
	if (to->disabled)
		return -EBADFD;
	if (q->sqe.addr == MSG_DATA)
		return q->sqe.file_index ? -EINVAL : post_to(to, q->sqe.off, (s32)q->sqe.len);
	if (q->sqe.addr != MSG_FD || to == q->ring)
		return -EINVAL;
	f = fixed_file(q->ring, (u32)q->sqe.addr3);
	if (!f)
		return -EBADF;
	slot = fixed_install(to, f, q->sqe.file_index);
	if (slot < 0 || (q->sqe.msg_ring_flags & IORING_MSG_RING_CQE_SKIP))
		return slot;
	e = post_to(to, q->sqe.off, slot);
	return e ? e : slot;
}

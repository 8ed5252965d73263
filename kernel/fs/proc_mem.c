// SPDX-License-Identifier: Apache-2.0
// /proc/PID/mem: the memory of a process as a file, for debuggers. An open file stands for the address space that the process
// had then: after its exec or exit there is nothing to read. Tasks of the process do the copying (mm/remote.c).
// Locks: tasklist to look at the process.
#include "kernel/fs/procfs.h"
#include "kernel/include/alloc.h"
#include "kernel/include/mm.h"
#include "kernel/include/remote.h"
#include <linux/fs.h>

#define CHUNK (64ul << 10)

static int mem_open(struct inode *ino, struct file *f)
{
	u64 program = remote_program(pnode_of(ino)->proc);

	if (!remote_allowed(pnode_of(ino)->proc))
		return -EACCES;
	f->priv = (void *)program;
	return program ? 0 : -ESRCH;
}

// A task of the process if it still runs the program whose memory was opened; reference or NULL.
static struct task *mem_task(struct file *f)
{
	struct proc *p = pnode_of(f->inode)->proc;
	struct task *t = NULL;

	mutex_lock(&tasklist);
	if (p->mm && p->mm->program == (u64)f->priv && !list_empty(&p->threads)) {
		t = list_first(&p->threads, struct task, thread_link);
		ref_get(&t->ref);
	}
	mutex_unlock(&tasklist);
	return t;
}

static ssize_t mem_move(struct file *f, struct iter *it, u64 *pos, bool write)
{
	size_t n, done = 0;
	ssize_t r = 0;
	u8 *buf = kmalloc(min(it->left, CHUNK));

	if (!buf)
		return it->left ? -ENOMEM : 0;
	while ((n = min(it->left, CHUNK))) {
		struct task *t = mem_task(f);
		struct iter saved = *it;

		if (!t)
			break;
		while (write && !r && iter_get(it, buf, n) != n) {
			r = iter_fault_in(it, false);
			iter_revert(it, &saved);
		}
		if (!r)
			r = write ? remote_poke(t, (u64)f->priv, buf, *pos, n) : remote_peek(t, (u64)f->priv, buf, *pos, n);
		task_put(t);
		if (r <= 0)
			break;
		if (write) {
			iter_revert(it, &saved);
			iter_advance(it, (size_t)r);
		} else {
			size_t put = 0;
			while ((put += iter_put(it, buf + put, (size_t)r - put)) < (size_t)r)
				if (iter_fault_in(it, true))
					break;
			if (put < (size_t)r && !put) {
				r = -EFAULT;
				break;
			}
			r = (ssize_t)put;
		}
		done += (size_t)r;
		*pos += (u64)r;
		if ((size_t)r < n)
			break;
		r = 0;
	}
	kfree(buf);
	if (done || r >= 0)
		return (ssize_t)done;
	return r == -ESRCH ? 0 : r == -EFAULT ? -EIO : r;
}

static ssize_t mem_read(struct file *f, struct iter *it, u64 *pos) { return mem_move(f, it, pos, false); }
static ssize_t mem_write(struct file *f, struct iter *it, u64 *pos) { return mem_move(f, it, pos, true); }

static s64 mem_llseek(struct file *f, s64 off, int whence)
{
	if (whence == SEEK_CUR)
		off += (s64)f->pos;
	else if (whence != SEEK_SET)
		return -EINVAL;
	f->pos = (u64)off;
	return off;
}

const struct file_ops proc_mem_fops = {
	.open = mem_open,
	.read = mem_read,
	.write = mem_write,
	.llseek = mem_llseek,
};

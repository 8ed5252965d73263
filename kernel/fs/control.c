// SPDX-License-Identifier: Apache-2.0
// /proc/coffer/control: the host's requests to start a program or to list the tasks (docs/running.md), for the helper that init leaves behind. It
// is there only where the measured options say exec=1 or debug=1 and the launcher listens, and can be opened only before the first program runs.
// COFFER_CONTROL_ACCEPT waits for the next connection and gives it as a descriptor: a stream of hostile bytes, which that helper checks. Locks: none.
#include "hostcall/controlcall.h"
#include "kernel/fs/procfs.h"
#include "kernel/fs/stream.h"
#include "kernel/include/boot.h"
#include "kernel/include/hostcall.h"
#include "kernel/net/hostio.h"

static struct stream listener;

static void connection_release(struct file *f)
{
	struct stream *s = f->priv;

	if (s->watched && !s->always_ready)
		hostio_unwatch(s->hfd);
	hc_close(s->hfd);
	kfree(s);
}

static const struct file_ops connection_fops = {
	.read = hstream_read,
	.write = hstream_write,
	.llseek = no_llseek,
	.poll = hstream_poll,
	.ioctl = hstream_ioctl,
	.release = connection_release,
	.stream = true,
};

static int connection_fd(int hfd)
{
	struct stream *s = knew(struct stream);
	struct super *sb = hstream_super();
	struct inode *ino = s && sb ? inode_new(sb, S_IFSOCK | 0600) : NULL;
	struct file *f = NULL;
	int r = -ENOMEM;

	if (s) {
		s->hfd = hfd;
		s->socket = true;
		waitq_init(&s->q);
	}
	if (ino) {
		ino->fops = &connection_fops;
		f = file_alloc(&connection_fops, ino, O_RDWR, s);
		inode_put(ino);
	}
	if (IS_ERR(f)) {
		r = (int)PTR_ERR(f);
	} else if (f) { // it owns stream and handle from now on
		r = fd_alloc(f, 0, true);
		if (r < 0)
			file_put(f);
		return r;
	}
	kfree(s);
	hc_close(hfd);
	return r;
}

static long control_ioctl(struct file *f, u32 cmd, u64 arg)
{
	struct waiter w;
	int r, e;

	(void)f, (void)arg;
	if (cmd != COFFER_CONTROL_ACCEPT)
		return -ENOTTY;
	waiter_init(&w);
	w.events = EPOLLIN | EPOLLHUP | EPOLLERR;
	waitq_add(&listener.q, &w);
	for (;;) {
		u32 seq = task_seq();

		r = hc_accept(listener.hfd, NULL, NULL);
		if (r != -EAGAIN)
			break;
		e = task_sleep(seq, NO_DEADLINE);
		if (e) {
			r = -ERESTARTSYS;
			break;
		}
	}
	waitq_del(&listener.q, &w);
	return r < 0 ? r : connection_fd(r);
}

static int control_open(struct inode *ino, struct file *f)
{
	(void)ino, (void)f;
	if (!boot_before_program() || listener.hfd)
		return -EPERM;
	if (boot_info.control_fd <= 2 || !(boot_info.exec || boot_info.debug))
		return -ENODEV;
	listener.hfd = boot_info.control_fd;
	waitq_init(&listener.q);
	return hstream_watch(&listener);
}

// The helper is gone: nobody is to wait for it.
static void control_release(struct file *f)
{
	(void)f;
	hostio_unwatch(listener.hfd);
	hc_close(listener.hfd);
}

const struct file_ops proc_control_fops = {
	.open = control_open, .ioctl = control_ioctl, .llseek = no_llseek, .release = control_release, .stream = true};

// SPDX-License-Identifier: Apache-2.0
// The host's streams 0, 1, 2 as files, and a fourth for what init says, where the host keeps that apart. When input and output are the host's terminal, they are one tty with our
// own line discipline and the host's terminal is put into raw mode; otherwise a stream is a plain byte stream.
// One kernel thread brings terminal input in, so that Ctrl-C works while every program computes; another sends output
// that the terminal did not take at once. Locks: see tty.h. No lock is held over a hostcall; `flushing` keeps one
// sender at the output ring.
#include "kernel/fs/stream.h"
#include "kernel/fs/tty.h"
#include "kernel/include/boot.h"
#include "kernel/include/hostcall.h"
#include "kernel/include/kstring.h"
#include "kernel/include/log.h"
#include "kernel/include/platform.h"
#include "kernel/net/hostio.h"
#include <linux/magic.h>
#include <linux/major.h>

#define STREAM_CHUNK (64u << 10)
#define INPUT_CHUNK  256u

static struct hc_console info;
static struct super *sb;
static struct stream streams[4];
static struct tty *tty; // NULL: no terminal
static int tty_out_hfd;
static bool raw;      // the host's terminal is ours to edit on
static bool flushing; // tty->lock
static struct mutex init_lock, watch_lock;
static u32 input_word, output_word; // the console's threads sleep on them
static bool input_ended;

int hstream_watch(struct stream *s)
{
	int r = 0;

	if (__atomic_load_n(&s->watched, __ATOMIC_ACQUIRE))
		return 0;
	mutex_lock(&watch_lock);
	if (!s->watched) {
		r = hostio_watch(s->hfd, &s->q);
		if (r == -EPERM) { // a regular file of the host
			s->always_ready = true;
			r = 0;
		}
		if (!r)
			__atomic_store_n(&s->watched, true, __ATOMIC_RELEASE);
	}
	mutex_unlock(&watch_lock);
	return r;
}

// --- plain streams

static long stream_try(struct stream *s, void *buf, size_t n, bool write)
{
	if (s->socket)
		return write ? hc_send(s->hfd, buf, n, 0, NULL, 0) : hc_recv(s->hfd, buf, n, 0, NULL, NULL);
	return write ? hc_write(s->hfd, buf, n) : hc_read(s->hfd, buf, n);
}

// Moves up to n bytes, waiting for at least one unless nonblock. Bytes, 0 at the end of file, or -errno.
static long stream_io(struct stream *s, void *buf, size_t n, bool write, bool nonblock)
{
	struct waiter w;
	long r = stream_try(s, buf, n, write);
	int e;

	if (r != -EAGAIN || nonblock)
		return r;
	e = hstream_watch(s);
	if (e)
		return e;
	waiter_init(&w);
	w.events = (write ? EPOLLOUT : EPOLLIN) | EPOLLHUP | EPOLLERR;
	waitq_add(&s->q, &w);
	for (;;) {
		u32 seq = task_seq();

		r = stream_try(s, buf, n, write);
		if (r != -EAGAIN)
			break;
		e = task_sleep(seq, NO_DEADLINE);
		if (e) {
			r = -ERESTARTSYS;
			break;
		}
	}
	waitq_del(&s->q, &w);
	return r;
}

ssize_t hstream_read(struct file *f, struct iter *it, u64 *pos)
{
	struct stream *s = f->priv;
	size_t n = min(it->left, (size_t)STREAM_CHUNK);
	char *buf;
	long got, put = 0;

	(void)pos;
	if (!n)
		return 0;
	buf = kmalloc(n);
	if (!buf)
		return -ENOMEM;
	got = stream_io(s, buf, n, false, f->flags & O_NONBLOCK);
	while (got > 0 && put < got) {
		put += iter_put(it, buf + put, got - put);
		if (put < got && iter_fault_in(it, true)) {
			got = put ? put : -EFAULT;
			break;
		}
	}
	explicit_bzero(buf, n);
	kfree(buf);
	return got;
}

ssize_t hstream_write(struct file *f, struct iter *it, u64 *pos)
{
	struct stream *s = f->priv;
	__uninit char small[512], *buf = small;
	size_t chunk = min(it->left, (size_t)STREAM_CHUNK);
	ssize_t done = 0;
	long r = 0;

	(void)pos;
	if (chunk > sizeof(small) && !(buf = kmalloc(chunk)))
		return -ENOMEM;
	while (it->left && r >= 0) {
		size_t n = iter_get(it, buf, min(chunk, it->left)), sent = 0;

		if (!n) {
			r = iter_fault_in(it, false) ? -EFAULT : 0;
			continue;
		}
		while (sent < n) {
			r = stream_io(s, buf + sent, n - sent, true, f->flags & O_NONBLOCK);
			if (r <= 0)
				break;
			sent += r;
		}
		done += sent;
		if (r == 0)
			r = -EIO;
	}
	if (buf != small)
		kfree(buf);
	if (r == -EPIPE) {
		siginfo_t si = {.si_signo = SIGPIPE, .si_code = SI_USER};

		si.si_pid = curproc->pid;
		signal_send_task(current, SIGPIPE, &si);
	}
	return done ? done : r;
}

u32 hstream_poll(struct file *f, struct poll_table *pt)
{
	struct stream *s = f->priv;

	if (hstream_watch(s))
		return EPOLLERR;
	if (s->always_ready)
		return EPOLLIN | EPOLLOUT | EPOLLRDNORM | EPOLLWRNORM;
	poll_wait(pt, &s->q);
	return hostio_events(s->hfd);
}

long hstream_ioctl(struct file *f, u32 cmd, u64 arg)
{
	(void)f;
	(void)cmd;
	(void)arg;
	return -ENOTTY;
}

static int stream_open(struct inode *ino, struct file *f)
{
	f->priv = ino->priv;
	return 0;
}

static const struct file_ops stream_fops = {
	.open = stream_open,
	.read = hstream_read,
	.write = hstream_write,
	.llseek = no_llseek,
	.poll = hstream_poll,
	.ioctl = hstream_ioctl,
	.stream = true,
};

// --- the terminal

static void kick(u32 *word)
{
	__atomic_fetch_add(word, 1, __ATOMIC_SEQ_CST);
	pf_wake(word, 1);
}

static void console_flush(struct tty *t)
{
	mutex_lock(&t->lock);
	if (flushing) { // who is at it sees what was added
		mutex_unlock(&t->lock);
		return;
	}
	flushing = true;
	while (t->out_len && !t->stopped) {
		u32 head = t->out_head, n = min(t->out_len, TTY_OUT - head);
		u8 *from = t->out + head;
		bool writable;
		long r;

		mutex_unlock(&t->lock);
		r = hc_write(tty_out_hfd, from, n); // only we consume: the bytes stay where they are
		mutex_lock(&t->lock);
		if (r == -EAGAIN) {
			kick(&output_word);
			break;
		}
		if (r <= 0) // the terminal is gone: output has nowhere to go
			r = n;
		// A flush of the queue (Ctrl-C, tcflush) may have emptied it meanwhile: what it has now was not sent.
		r = t->out_head == head ? min((u32)r, t->out_len) : 0;
		t->out_head = (t->out_head + r) & (TTY_OUT - 1);
		t->out_len -= r;
		writable = !list_empty(&t->q.waiters);
		if (writable) {
			mutex_unlock(&t->lock);
			waitq_wake(&t->q, EPOLLOUT | EPOLLWRNORM);
			mutex_lock(&t->lock);
		}
	}
	flushing = false;
	mutex_unlock(&t->lock);
}

static void console_unthrottle(struct tty *t)
{
	(void)t;
	if (info.tty[0])
		kick(&input_word);
}

static void console_winsize(struct tty *t)
{
	struct hc_console c;
	struct winsize ws = t->ws;

	if (hc_console_info(&c) || !c.rows || !c.cols || (c.rows == info.rows && c.cols == info.cols))
		return;
	info.rows = c.rows; // and nothing else: what the streams are was settled when they were opened
	info.cols = c.cols;
	ws.ws_row = c.rows;
	ws.ws_col = c.cols;
	tty_resized(t, &ws);
}

// The host says that the window's size has changed.
void console_winch(void)
{
	if (tty)
		console_winsize(tty);
}

static void console_free(struct tty *t)
{
	(void)t; // `tty` holds a reference for ever
}

static const struct tty_driver console_driver = {
	.flush = console_flush,
	.unthrottle = console_unthrottle,
	.winsize = console_winsize,
	.free = console_free,
	.drains = true,
	.keeps_files = true,
};

// Reads what the host has and the input buffer can take. False when the buffer is full.
static bool pump_input(void)
{
	__uninit u8 buf[INPUT_CHUNK];
	u32 room;
	long n;

	mutex_lock(&tty->lock);
	room = tty_room(tty);
	mutex_unlock(&tty->lock);
	if (!room)
		return false;
	n = hc_read(0, buf, min(room, INPUT_CHUNK));
	if (n == 0) { // the terminal is gone, or end of file from one in cooked mode
		buf[0] = tty->t.c_cc[VEOF];
		n = 1;
		input_ended = true;
	}
	if (n > 0)
		tty_receive(tty, buf, n);
	return true;
}

static void input_thread(void *arg)
{
	(void)arg;
	while (!input_ended) {
		u32 seq = __atomic_load_n(&input_word, __ATOMIC_SEQ_CST);
		int r = hc_wait_stream(0, EPOLLIN);

		if (r < 0 && r != -EINTR)
			input_ended = true;
		else if (r > 0 && !pump_input())
			pf_wait(&input_word, seq, NO_DEADLINE);
	}
	if (raw)
		tty_hangup(tty, true); // as when a terminal's line drops
	for (;;)
		pf_wait(&input_word, __atomic_load_n(&input_word, __ATOMIC_SEQ_CST), NO_DEADLINE);
}

// Sends what the terminal would not take at once.
static void output_thread(void *arg)
{
	(void)arg;
	for (;;) {
		u32 seq = __atomic_load_n(&output_word, __ATOMIC_SEQ_CST);

		if (tty->out_len && !tty->stopped && hc_wait_stream(tty_out_hfd, EPOLLOUT) > 0)
			console_flush(tty);
		else
			pf_wait(&output_word, seq, NO_DEADLINE);
	}
}

static int make_tty(void)
{
	struct tty *t = tty_new(&console_driver, TTYAUX_MAJOR << 8 | 1);
	int r;

	if (!t)
		return -ENOMEM;
	t->ws.ws_row = info.rows;
	t->ws.ws_col = info.cols;
	tty_out_hfd = info.tty[1] ? 1 : info.tty[2] ? 2 : 0;
	tty = t;
	raw = info.tty[0] && tty_out_hfd && hc_console_raw(true) == 0;
	if (!raw) { // the host's line discipline edits, echoes and makes signals
		t->t.c_lflag &= ~(ECHO | ECHOE | ECHOK | ECHOCTL | ECHOKE);
		t->t.c_oflag &= ~OPOST;
	}
	r = pf_kthread(output_thread, NULL, "console-output");
	if (!r && info.tty[0])
		r = pf_kthread(input_thread, NULL, "console-input");
	return r;
}

static int console_init(void)
{
	static bool done;
	int r = 0;

	mutex_lock(&init_lock);
	if (!done) {
		r = hc_console_info(&info);
		sb = r ? NULL : super_new("hostio", NULL, PIPEFS_MAGIC);
		if (!r && !sb)
			r = -ENOMEM;
		for (int i = 0; i < 4; i++) {
			streams[i].hfd = i < 3 ? i : boot_info.message_fd;
			waitq_init(&streams[i].q);
		}
		if (!r && (info.tty[0] || info.tty[1] || info.tty[2]))
			r = make_tty();
		done = !r;
	}
	mutex_unlock(&init_lock);
	return r;
}

struct super *hstream_super(void) { return console_init() ? NULL : sb; }

struct file *console_open(int n)
{
	struct inode *ino;
	struct file *f;
	int r = console_init();

	if (r)
		return ERR_PTR(r);
	if (n < 0 || n > 3)
		return ERR_PTR(-EINVAL);
	if (n == 3 && boot_info.message_fd <= 2)
		return ERR_PTR(-ENODEV);
	if (n < 3 && !info.open[n])
		return file_open(AT_FDCWD, "/dev/null", O_RDWR, 0);
	if (n < 3 && info.tty[n])
		return file_open(AT_FDCWD, "/dev/console", O_RDWR | O_NOCTTY, 0);
	ino = inode_new(sb, S_IFIFO | 0600);
	if (!ino)
		return ERR_PTR(-ENOMEM);
	ino->fops = &stream_fops;
	ino->priv = &streams[n];
	f = file_alloc(&stream_fops, ino, n ? O_WRONLY : O_RDONLY, &streams[n]);
	inode_put(ino);
	return f ? f : ERR_PTR(-ENOMEM);
}

// --- /dev/console and /dev/tty

// Without a terminal /dev/console is the host's output.
static int console_dev_open(struct inode *ino, struct file *f)
{
	int r = console_init();

	(void)ino;
	if (r)
		return r;
	if (tty) {
		f->flags |= O_NOCTTY; // as in Linux: only TIOCSCTTY makes the console a controlling terminal
		tty_get(tty);
		return tty_open_file(tty, f);
	}
	f->ops = &stream_fops;
	f->priv = &streams[(f->flags & O_ACCMODE) == O_RDONLY ? 0 : 1];
	return 0;
}

static int tty_dev_open(struct inode *ino, struct file *f)
{
	struct tty *t = NULL;

	(void)ino;
	mutex_lock(&tasklist);
	if (curproc->session && curproc->session->tty) {
		t = curproc->session->tty;
		tty_get(t);
	}
	mutex_unlock(&tasklist);
	return t ? tty_open_file(t, f) : -ENXIO;
}

const struct file_ops console_fops = {.open = console_dev_open, .llseek = no_llseek, .stream = true};
const struct file_ops dev_tty_fops = {.open = tty_dev_open, .llseek = no_llseek, .stream = true};

// SPDX-License-Identifier: Apache-2.0
// /dev/kmsg: the last messages of the kernel, for dmesg, one record a read; what is written becomes a record too. Only for CAP_SYSLOG. A
// file's position is the number of the record that it reads next. Locks: kmsg_lock (leaf, then the queue's).
#include "kernel/fs/fs.h"

#define RECORDS 64u
#define TEXT 232u	// longer ones are cut

static struct record {
	u64 ns;
	u16 len;
	u8 prio;	// facility * 8 + level
	char text[TEXT];
} record[RECORDS] __large;
static u64 next;	// number of the next one; the last RECORDS before it are there
static struct mutex kmsg_lock;
static struct waitq readers = {.waiters = LIST_INIT(readers.waiters)};
static bool ready;

static void add(u32 prio, const char *text, size_t n)
{
	mutex_lock(&kmsg_lock);
	struct record *r = &record[next++ % RECORDS];
	r->ns = ktime_mono();
	r->prio = (u8)prio;
	r->len = (u16)min(n, (size_t)TEXT);
	memcpy(r->text, text, r->len);
	mutex_unlock(&kmsg_lock);
	waitq_wake(&readers, EPOLLIN | EPOLLRDNORM);
}

void kmsg_add(int level, const char *text, size_t n)
{
	static const u8 prio[] = {[LOG_ERR] = 3, [LOG_WARN] = 4, [LOG_INFO] = 6, [LOG_DEBUG] = 7};

	while (n && text[n - 1] == '\n')
		n--;
	if (ready && n)
		add(prio[level & 3], text, n);
}

// "prio,number,microseconds,-;text": what is no plain text as \xNN.
static size_t show(const struct record *r, u64 number, char *buf, size_t n)
{
	size_t k = (size_t)scnprintf(buf, n, "%u,%lu,%lu,-;", r->prio, number, r->ns / 1000);

	for (u32 i = 0; i < r->len && k + 6 < n; i++) {
		u8 c = (u8)r->text[i];
		if (c < ' ' || c >= 127 || c == '\\')
			k += (size_t)scnprintf(buf + k, n - k, "\\x%02x", c);
		else
			buf[k++] = (char)c;
	}
	buf[k++] = '\n';
	return k;
}

// The record at f's position, which moves on. Length, -EAGAIN: there is none yet, -EPIPE: it is gone.
static ssize_t take(struct file *f, char *buf, size_t n)
{
	ssize_t r = -EAGAIN;

	mutex_lock(&kmsg_lock);
	u64 oldest = next > RECORDS ? next - RECORDS : 0;
	if (f->pos < oldest) {
		f->pos = oldest;
		r = -EPIPE;
	} else if (f->pos < next) {
		r = (ssize_t)show(&record[f->pos % RECORDS], f->pos, buf, n);
		f->pos++;
	}
	mutex_unlock(&kmsg_lock);
	return r;
}

static ssize_t kmsg_read(struct file *f, struct iter *it, u64 *pos)
{
	__uninit char buf[4 * TEXT + 64];
	ssize_t n = -EAGAIN;
	int r;

	(void)pos;
	r = f->flags & O_NONBLOCK ? ((n = take(f, buf, sizeof(buf))), 0)
				  : WAIT_EVENT(&readers, NO_DEADLINE, (n = take(f, buf, sizeof(buf))) != -EAGAIN);
	if (r)
		return -ERESTARTSYS;
	if (n < 0)
		return n;
	if ((size_t)n > it->left)
		return -EINVAL;
	r = iter_put_all(it, buf, (size_t)n);
	return r ? r : n;
}

static ssize_t kmsg_write(struct file *f, struct iter *it, u64 *pos)
{
	size_t total = it->left, n = min(total, (size_t)TEXT), at = 0;
	char buf[TEXT];
	u64 prio = 4;
	int r;

	(void)f;
	(void)pos;
	if ((r = iter_get_all(it, buf, n)))
		return r;
	iter_advance(it, it->left);
	if (n > 2 && buf[0] == '<') { // "<level>"
		for (at = 1, prio = 0; at < n && buf[at] >= '0' && buf[at] <= '9' && prio < 1000; at++)
			prio = prio * 10 + (u64)(buf[at] - '0');
		if (at == n || buf[at] != '>') {
			at = 0;
			prio = 4;
		} else {
			at++;
		}
	}
	if (prio < 8)
		prio |= 1 << 3; // nobody but the kernel writes as the kernel
	while (n > at && buf[n - 1] == '\n')
		n--;
	add((u32)prio & 255, buf + at, n - at);
	return (ssize_t)total;
}

static s64 kmsg_llseek(struct file *f, s64 off, int whence)
{
	if (off)
		return -ESPIPE;
	mutex_lock(&kmsg_lock);
	switch (whence) {
	case SEEK_SET: case SEEK_DATA: // nothing was ever cleared
		f->pos = next > RECORDS ? next - RECORDS : 0;
		break;
	case SEEK_END:
		f->pos = next;
		break;
	default:
		off = -EINVAL;
	}
	mutex_unlock(&kmsg_lock);
	return off;
}

static u32 kmsg_poll(struct file *f, struct poll_table *pt)
{
	u32 mask;

	poll_wait(pt, &readers);
	mutex_lock(&kmsg_lock);
	mask = f->pos >= next ? 0 : EPOLLIN | EPOLLRDNORM | (next - f->pos > RECORDS ? EPOLLERR | EPOLLPRI : 0);
	mutex_unlock(&kmsg_lock);
	return mask;
}

static int kmsg_open(struct inode *ino, struct file *f)
{
	(void)ino;
	if (can_read(f) && !capable(CAP_SYSLOG))
		return -EPERM;
	kmsg_llseek(f, 0, SEEK_SET);
	return 0;
}

static const struct file_ops kmsg_fops = {
	.open = kmsg_open, .read = kmsg_read, .write = kmsg_write, .llseek = kmsg_llseek, .poll = kmsg_poll, .stream = true};

int kmsg_init(void)
{
	ready = true;
	return dev_register(1, 11, "kmsg", 0600, &kmsg_fops);
}

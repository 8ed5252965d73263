// SPDX-License-Identifier: Apache-2.0
// The inside of a pipe, for pipe.c (bytes), pipe_packet.c (packet mode) and pipe_splice.c. Locks: see pipe.c.
#pragma once
#include "kernel/include/ipc.h"
#include "kernel/include/kstring.h"
#include "kernel/include/task.h"

struct pipe {
	struct mutex lock;
	u32 head; // offset of the first byte
	u32 len;  // bytes in the ring
	u32 size; // bytes of buf, 0 or a power of two pages
	u32 cap;  // as F_GETPIPE_SZ says
	char *buf;
	u32 readers, writers; // open files
	u32 r_opens, w_opens; // counters of opens: a FIFO's open waits for the other to change
	u32 files;	      // open files of a FIFO, guarded by inode->lock
	bool packets;	      // O_DIRECT: each write of up to PIPE_BUF bytes stays one; a u32 length goes before it
	u32 npackets;
	struct waitq rq, wq; // blocked readers, writers
	struct waitq pollq, openq;
};

// Room for n more bytes if the capacity and memory allow; returns the room there is (pipe.c). p->lock held.
u32 pipe_ring_room(struct pipe *p, u64 n);
// Moves the content to a ring of `size` bytes (a power of two pages, >= len). 0 or -ENOMEM.
int pipe_ring_resize(struct pipe *p, u32 size);
// Sleeps once. p->lock is held, and held again on return; `wake_readers`: bytes were added before. 0 or -ERESTARTSYS.
int pipe_sleep(struct pipe *p, struct waitq *q, bool wake_readers);
void pipe_sigpipe(void); // to the current task
ssize_t packet_read(struct file *f, struct iter *it);
ssize_t packet_write(struct file *f, struct iter *it);
#define PACKET_HEAD sizeof(u32) // before each packet: its length

static inline size_t ring_out(struct pipe *p, struct iter *it, u32 n)
{
	u32 first = min(n, p->size - p->head);
	size_t got = iter_put(it, p->buf + p->head, first);

	if (got == first && n > first)
		got += iter_put(it, p->buf, n - first);
	p->len -= got;
	p->head = p->len ? (p->head + got) & (p->size - 1) : 0; // an empty ring starts over: warm in the cache
	return got;
}

// Copies behind the end; the caller adds what it accepts to p->len.
static inline size_t ring_in(struct pipe *p, struct iter *it, u32 n)
{
	u32 tail = (p->head + p->len) & (p->size - 1);
	u32 first = min(n, p->size - tail);
	size_t got = iter_get(it, p->buf + tail, first);

	if (got == first && n > first)
		got += iter_get(it, p->buf, n - first);
	return got;
}

static inline void kick(struct waitq *sleepers)
{
	if (!list_empty(&sleepers->waiters))
		waitq_wake_one(sleepers, 0);
}

static inline void kick_polls(struct pipe *p, u32 events)
{
	if (!list_empty(&p->pollq.waiters))
		waitq_wake(&p->pollq, events);
}

static inline void kick_readers(struct pipe *p, bool was_empty)
{
	if (was_empty)
		kick(&p->rq);
	kick_polls(p, EPOLLIN | EPOLLRDNORM);
}

static inline void kick_writers(struct pipe *p)
{
	kick(&p->wq);
	kick_polls(p, EPOLLOUT | EPOLLWRNORM);
}

static inline bool writable(struct pipe *p) { return p->len + PIPE_BUF <= p->cap; }

// SPDX-License-Identifier: Apache-2.0
// Byte streams of the host as files: the console's (console.c) and the connections of `coffer exec` (control.c).
#pragma once
#include "kernel/include/vfs.h"
#include "kernel/include/wait.h"

struct stream {
	int hfd;
	bool socket;			// asked with sendto and recvfrom
	bool watched, always_ready;	// set once, under a lock of console.c
	struct waitq q;
};

// As members of a struct file_ops; file->priv is the stream.
ssize_t hstream_read(struct file *f, struct iter *it, u64 *pos), hstream_write(struct file *f, struct iter *it, u64 *pos);
u32 hstream_poll(struct file *f, struct poll_table *pt);
long hstream_ioctl(struct file *f, u32 cmd, u64 arg);
int hstream_watch(struct stream *s);	// its queue is woken from now on; 0 or -errno
struct super *hstream_super(void);	// whose inodes streams have; NULL: no memory

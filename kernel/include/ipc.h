// SPDX-License-Identifier: Apache-2.0
// IPC-like files and pseudo file systems: what the rest of the kernel calls in them.
#pragma once
#include "kernel/include/vfs.h"

struct tty;
struct session;
struct proc;

// Boot, before anything is mounted: registers proc, sysfs, configfs, devpts, pipefs and the tty devices. 0 or -errno.
int ipc_init(void);

// --- pipes (fs/pipe.c). fifo_fops is the inode->fops of every S_IFIFO inode: open blocks for the other end (man 7 fifo).
extern const struct file_ops fifo_fops;
struct pipe;
struct pipe *pipe_of(struct file *f);			// NULL when f is no pipe or FIFO
long pipe_fcntl(struct file *f, u32 cmd, u64 arg);	// F_SETPIPE_SZ, F_GETPIPE_SZ; -EBADF when not a pipe
// For splice. They neither sleep nor signal.
size_t pipe_peek(struct pipe *p, void *buf, size_t n);	// copies without consuming
size_t pipe_take(struct pipe *p, void *buf, size_t n);	// consumes
void pipe_unread(struct pipe *p, const void *buf, size_t n); // puts taken bytes back in front
int pipe_push(struct pipe *p, const void *buf, size_t n);    // all of n, even above the capacity; -EPIPE, -ENOMEM
size_t pipe_room(struct pipe *p);			// bytes that fit
int pipe_wait_data(struct pipe *p, bool nonblock);	// 1 data, 0 end of file, -EAGAIN, -ERESTARTSYS
int pipe_wait_room(struct pipe *p, bool nonblock);	// 0, -EPIPE, -EAGAIN, -ERESTARTSYS

// splice(2) on open files (fs/splice.c). Offsets: NULL = the file's own position or none.
#define SPLICE_F_NONBLOCK_ 2u
#define SPLICE_F_ALL_ 15u
ssize_t splice_files(struct file *in, s64 *ioff, struct file *out, s64 *ooff, size_t n, u32 flags);

// --- eventfd (fs/eventfd.c)
bool file_is_eventfd(struct file *f);
void eventfd_signal(struct file *f);	// adds one; never blocks

// --- console (fs/console.c): host stream n (0, 1, 2) as a file with its own reference, or ERR_PTR. 3: the stream
// for what init says; -ENODEV: that is standard error.
struct file *console_open(int n);
void console_winch(void);	// the host's terminal has another size

// --- terminals (fs/tty.c)
void tty_hangup_session(struct session *s);	// the session leader exits: SIGHUP + SIGCONT to the foreground group
void tty_put(struct tty *t);			// drops session->tty
// What /proc/PID/stat shows: device number and foreground group of a session's terminal. tasklist held.
void tty_stat_of(struct tty *t, u32 *dev, int *fg_pgid);

// --- memfd (fs/memfd.c): fcntl F_ADD_SEALS / F_GET_SEALS
long memfd_fcntl(struct file *f, u32 cmd, u64 arg);
struct file *memfd_new(const char *name, bool sealing);	// a nameless file in memory, shown as `name`; ERR_PTR
extern const struct file_ops memfd_fops;

// --- /proc (fs/proc_pid.c): the process whose directory /proc/PID an open file is, no reference; NULL for any other file.
struct proc *proc_dir_process(const struct file *f);

// --- /proc/net (hook for kernel/net): one text file each, made by a generator that fills buf and returns the length
// that it would need (as snprintf). Registered at boot; name is kept by reference.
struct net_ns;
int proc_net_register(const char *name, size_t (*gen)(const struct net_ns *net, char *buf, size_t n));

// SPDX-License-Identifier: Apache-2.0
// A terminal: line discipline state, output ring and what the driver (console, pty) must do. Private to kernel/fs/.
//
// Locks: tasklist -> tty->lock -> waitq. Signals are sent and drivers called without tty->lock.
// session and pgrp are written under tasklist.
#pragma once
#include "kernel/include/ipc.h"
#include "kernel/include/task.h"
#include <asm/ioctls.h>
#include <asm/termbits.h>
#include <asm/termios.h>

#define TTY_IN	4096u  // input buffer: longest canonical line, as in Linux
#define TTY_OUT 16384u // output ring

struct tty;

struct tty_driver {
	void (*flush)(struct tty *t);	   // output is waiting in the ring: pass it on
	void (*unthrottle)(struct tty *t); // the input buffer has room again
	void (*winsize)(struct tty *t);	   // refresh t->ws from the device; may be NULL
	void (*last_close)(struct tty *t); // may be NULL
	void (*free)(struct tty *t);	   // last reference: frees priv
	bool drains;			   // tcdrain waits until the ring is empty
	bool keeps_files;		   // a hang-up takes the session away but not the open files (console)
};

struct tty {
	struct ref ref;
	struct mutex lock;
	const struct tty_driver *drv;
	void *priv; // of the driver
	u32 dev;    // (major << 8) | minor
	struct ktermios t;
	struct winsize ws;
	// input: free-running offsets into in[]
	u32 head, tail, canon_head;
	u64 mark[TTY_IN / 64]; // bytes that end a line
	u8 in[TTY_IN];
	bool lnext, erasing;
	u32 column, canon_column; // of the cursor; where the line being typed began
	u32 pending_signals;	  // SIGBITs for the foreground group, sent after unlocking
	bool pending_flush;	  // the driver has output to pass on
	// output ring
	u8 *out;
	u32 out_head, out_len;
	bool stopped;	   // by XOFF or tcflow
	bool exclusive;	   // TIOCEXCL
	bool other_closed; // the pty's master is gone
	u32 opens;
	u32 generation;		 // a file that was opened under another one is hung up
	struct session *session; // NULL or the one whose controlling terminal this is; no reference
	int pgrp;		 // foreground process group
	struct waitq q;		 // readers, writers and pollers, told apart by events
};

// --- tty.c
extern const struct file_ops tty_fops; // console and pty slaves; f->priv = tty, f->pos = generation
struct tty *tty_new(const struct tty_driver *drv, u32 dev);
static inline void tty_get(struct tty *t) { ref_get(&t->ref); }
int tty_open_file(struct tty *t, struct file *f);	   // consumes a reference of t, also on failure
void tty_hangup(struct tty *t, bool signal);		   // all open files of it are dead; session loses it
void tty_receive(struct tty *t, const u8 *buf, u32 n);	   // input from the device: call only with room (tty_room)
u32 tty_room(struct tty *t);				   // bytes of input that can be taken
void tty_resized(struct tty *t, const struct winsize *ws); // SIGWINCH when it differs
// Releases t->lock, then does what was noted under it: signals, output, and wakes waiters for `events` (0: nobody).
void tty_unlock(struct tty *t, u32 events);
long tty_modes_ioctl(struct tty *t, u32 cmd, u64 arg); // those that a pty master answers too; -ENOTTY
void tty_try_ctty(struct tty *t);		       // makes it the current process's controlling terminal if it may
int tty_sleep(struct tty *t, u32 events,
	      u64 deadline); // once; t->lock held, and held again. 0, -ERESTARTSYS, -ETIMEDOUT

// --- ldisc.c; tty->lock held
void ldisc_init(struct tty *t);
void ldisc_input(struct tty *t, u8 c);
void ldisc_termios_changed(struct tty *t, const struct ktermios *old);
void ldisc_flush_input(struct tty *t);
bool ldisc_readable(struct tty *t, bool for_poll);
u32 ldisc_copy(struct tty *t, struct iter *it, bool *eof, bool *fault); // one line, or what there is
u32 ldisc_count(struct tty *t);						// FIONREAD
u32 ldisc_write(struct tty *t, const u8 *buf, u32 n);			// output processing; bytes of buf taken
static inline u32 out_room(struct tty *t) { return TTY_OUT - t->out_len; }

// --- pty.c
int pty_init(void);

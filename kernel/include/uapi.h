// SPDX-License-Identifier: Apache-2.0
// Linux's user ABI as its own headers (package linux-libc-dev) define it, plus what they lack.
#pragma once
#include "kernel/include/types.h"
#include <asm/errno.h>
#include <asm/unistd_64.h>
#include <asm/stat.h>
#include <asm/statfs.h>
#include <linux/fcntl.h>
#include <linux/stat.h>
#include <linux/futex.h>
#include <linux/mman.h>
#include <linux/eventpoll.h>
#include <linux/poll.h>
#include <linux/time.h>
#include <linux/resource.h>
#include <linux/sched.h>
#include <linux/uio.h>
#include <linux/limits.h>

// Errors private to the kernel: never seen by programs (man 7 signal, "restart").
#define ERESTARTSYS 512		 // restart if SA_RESTART, else EINTR
#define ERESTARTNOINTR 513	 // always restart
#define ERESTARTNOHAND 514	 // restart only if no handler ran
#define EAREAGONE 515		 // memory of an area of rseq(2) would go: rseq_survived
#define ERESTART_RESTARTBLOCK 516 // restart through task->restart_fn, EINTR if a handler ran

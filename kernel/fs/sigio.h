// SPDX-License-Identifier: Apache-2.0
// Signals about files (sigio.c): who gets them and which. Private to kernel/fs/.
#pragma once
#include "kernel/include/vfs.h"

struct sigio_target {
	int type, owner; // F_OWNER_*; owner 0: nobody
	int sig;	 // F_SETSIG; 0: SIGIO without details
	int fd;		 // what si_fd tells
};

// fcntl: F_GETOWN, F_SETOWN, F_GETOWN_EX, F_SETOWN_EX, F_GETSIG, F_SETSIG
long sigio_fcntl(struct file *f, u32 cmd, u64 arg);
// O_ASYNC comes or goes through descriptor fd. 0 (also for files that never send signals) or -ENOMEM.
int sigio_async(struct file *f, int fd, bool on);
struct sigio_target sigio_target(struct file *f);
// dnotify: the owner, when there is none yet.
void sigio_default_owner(struct file *f, int fd, int pid);
// Sends sig; with SIGIO the signal that F_SETSIG chose, with its details, if one was chosen. No lock of kernel/fs but inode locks held.
void sigio_send(const struct sigio_target *to, int sig, int code, u32 band);
void sigio_free(struct file *f); // the file ends; f->sigio is not NULL

// SPDX-License-Identifier: Apache-2.0
// Job control of terminals (tty_job.c). Private to kernel/fs/.
#pragma once
#include "kernel/fs/tty.h"

#define ENOIOCTL 515 // not one of ours: go on looking

void tty_signal_pgrp(int pgrp, int sig);
int tty_boot_pgrp(void);	// the group of the program that init started, or of init
// May the current process read from (SIGTTIN) or change (SIGTTOU) its controlling terminal? 0, or it has been sent
// the signal: -ERESTARTSYS, or -EIO when that would be of no use (man 3 termios, man 2 ioctl_tty).
int tty_job_check(struct tty *t, int sig);
// TIOCGPGRP, TIOCSPGRP, TIOCGSID, TIOCSCTTY, TIOCNOTTY; -ENOIOCTL for others. `master`: asked on the pty's master.
long tty_job_ioctl(struct tty *t, u32 cmd, u64 arg, bool master);

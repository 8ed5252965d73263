// SPDX-License-Identifier: Apache-2.0
// What the rest of the kernel tells the --debug-strace decoder (kernel/syscall/strace.c). Only debug enclaves trace.
#pragma once
#include "kernel/include/types.h"

struct task;
extern bool strace_on;
void strace_sleeps(void);		// current is about to sleep in its call
void strace_exec(void);			// current's exec has succeeded and will not return
void strace_signal(int sig, int code);	// current takes a signal

// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "kernel/include/task.h"
static inline bool seccomp_syscall_enter(struct regs *r) { (void)r; return true; }

// SPDX-License-Identifier: Apache-2.0
// Classic BPF as seccomp allows it (bpf.c).
#pragma once
#include "kernel/include/types.h"
#include <linux/filter.h>
#include <linux/seccomp.h>

#define BPF_MAX_INSNS 4096u

// Is the program safe to run on a struct seccomp_data: known instructions, jumps forward and inside, loads inside, each
// scratch word stored before it is loaded, a return at the end? 0, -EINVAL. *uses_ip: it looks at the instruction pointer.
int bpf_check(const struct sock_filter *f, u32 len, bool *uses_ip);
u32 bpf_run(const struct sock_filter *f, const struct seccomp_data *d);	// a program that bpf_check took

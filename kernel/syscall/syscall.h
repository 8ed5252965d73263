// SPDX-License-Identifier: Apache-2.0
// Between dispatch (syscall.c) and the decoder (strace.c).
#pragma once
#include "kernel/include/types.h"

#define NR_TABLE 512
typedef long (*syscall_fn)(u64, u64, u64, u64, u64, u64);

const char *syscall_name(u32 nr);	// "?": there is none
syscall_fn syscall_handler(u32 nr);	// what really answers, sys_ni when nobody does
bool strace_wants(u32 nr);		// does the filter of --debug-strace choose this call?
long strace_call(u64 a, u64 b, u64 c, u64 d, u64 e, u64 f);

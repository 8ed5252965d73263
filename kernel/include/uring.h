// SPDX-License-Identifier: Apache-2.0
// What the rest of the kernel knows of io_uring (kernel/uring/).
#pragma once
#include "kernel/include/task.h"

struct file;
// Descriptor numbers that stand for open files of the request that runs (registered files have none): behind every table.
#define IO_FD 0x40000000u
struct file *uring_current_file(u32 fd);	// new reference or NULL
// A name that was read when its request was submitted, NULL: none of those. Valid during the operation.
const char *uring_current_name(const void __user *at);

bool file_is_uring(struct file *f);
size_t uring_fdinfo(struct file *f, char *buf, size_t n);
bool uring_work_pending(struct task *t);
void uring_work_run(void);		// the current task's; no locks held
void uring_task_gone(struct task *t);	// exit, exec: its requests are cancelled

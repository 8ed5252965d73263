// SPDX-License-Identifier: Apache-2.0
// What a process uses (proc_usage.c).
#pragma once
#include "kernel/fs/procfs.h"
#include "kernel/include/mm.h"
#include "kernel/include/platform.h"

struct residence {		// a look at the pages of each mapping
	struct resident {
		uptr start;
		u64 priv, shared; // pages
	} *at;
	u32 n;
};
// All mappings, or only those of files and shared memory. -ENODATA: the host does not tell, or it would take too long.
int residence_take(struct residence *r, struct proc *p, struct mm *mm, bool only_shared);
const struct resident *residence_of(const struct residence *r, const struct vma *v);	// never NULL
void residence_drop(struct residence *r);
// Fills *u, with 0 where nothing is known. `shared` is what the program maps, without the kernel's pages.
void proc_usage(struct proc *p, struct task *t, struct pf_usage *u);
bool proc_may_inspect(struct proc *p);	// proc_pid.c
extern const struct file_ops proc_pagemap_fops;

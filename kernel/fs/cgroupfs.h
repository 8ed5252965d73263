// SPDX-License-Identifier: Apache-2.0
// What cgroupfs.c (directories, opening) and cgroup_files.c (what is in the files) share.
#pragma once
#include "kernel/fs/procfs.h"
#include "kernel/include/cgroup.h"

#define CG_ON_ROOT 1u
#define CG_BELOW 2u
#define CG_MOVES 4u		// writing moves a process: cgroup_write_procs
#define CG_MOVES_THREAD 8u	// or a thread

struct cfile {			// one kind of file in a group's directory
	const char *name;
	u32 mode;
	u32 where;		// CG_ON_ROOT, CG_BELOW
	u32 controller;		// CG_*; 0: in every group
	int (*text)(struct pout *o, struct cgroup *g);
	ssize_t (*write)(struct cgroup *g, char *buf, size_t len); // len or -errno; buf is NUL-terminated, without the last newline
	u32 event;		// 1 + CG_EV_*: poll tells of changes; 0: a file that does not change by itself
};
// Who has opened a file: asked when a process is moved, not who writes, who may have been talked into it.
struct cg_opener {
	struct cred *cred;
	struct cgroup *top;	// the root of its cgroup namespace: a reference
};
int cgroup_may_move(struct cgroup *from, struct cgroup *to, const struct cg_opener *by);
ssize_t cgroup_write_procs(struct cgroup *g, const char *buf, size_t len, bool thread, const struct cg_opener *by);
extern const struct cfile cgroup_files[];
extern const u32 cgroup_nfiles;
bool cgroup_file_there(const struct cfile *f, const struct cgroup *g);
void cgroupfs_forget(struct cgroup *g, u32 controllers);	// files of these controllers in the groups below g come or go

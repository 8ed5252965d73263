// SPDX-License-Identifier: Apache-2.0
// Namespaces (man 7 namespaces): what a process sees of names that Linux can keep apart. Each process holds one reference on
// each of its namespaces until its last thread leaves; descriptors of /proc/PID/ns hold more.
#pragma once
#include "kernel/include/lock.h"

struct proc;
struct ipc_ns;

struct ns {			// head of every namespace
	struct ref ref;
	u32 type;		// CLONE_NEW*
	u64 inum;		// number of its inode in /proc/PID/ns
};

// --- System V IPC and POSIX message queues (kernel/ipc/)
struct ipc_ns *ipc_ns_new(void);	// empty; NULL: no memory
void ipc_ns_get(struct ipc_ns *n);
void ipc_ns_put(struct ipc_ns *n);	// the last reference removes what is in it
extern struct ipc_ns init_ipc_ns;
void sem_exit(struct proc *p);		// SEM_UNDO of a process whose last thread leaves

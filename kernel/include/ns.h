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
	struct user_ns *owner;	// whose capabilities count in it: a reference; NULL: the first user namespace's
};

// --- System V IPC and POSIX message queues (kernel/ipc/)
struct ipc_ns *ipc_ns_new(void);	// empty; NULL: no memory
void ipc_ns_get(struct ipc_ns *n);
void ipc_ns_put(struct ipc_ns *n);	// the last reference removes what is in it
void ipc_ns_leave(void);		// the current thread does not keep the one that it used last
extern struct ipc_ns init_ipc_ns;
// --- mounts (kernel/fs/mount_tree.c)
struct mnt_ns;
struct fs_ctx;
extern struct mnt_ns init_mnt_ns;
struct user_ns;
struct mnt_ns *mnt_ns_copy(struct fs_ctx *fs, struct user_ns *owner);	// of the caller's; fs moves to the copies. ERR_PTR
struct mnt_ns *mnt_ns_of(struct proc *p, int tid);	// of a thread, 0: of the process: a reference; NULL once it has exited
struct mnt_ns *mnt_ns_at(struct proc *p, int tid);	// no reference; tasklist held
void mnt_ns_put(struct mnt_ns *n);
struct mnt_ns *cur_mnt_ns(void);	// of the current thread; no reference
void mnt_ns_enter(struct mnt_ns *n, struct fs_ctx *fs);

// --- host names (kernel/fs/misc.c)
struct uts_ns;
extern struct uts_ns init_uts_ns;
struct uts_ns *uts_ns_copy(void);	// of the caller's; NULL: no memory
void uts_ns_put(struct uts_ns *n);

// --- network (kernel/net/netns.c); NULL is the first one
struct net_ns;
struct net_ns *net_ns_new(void);	// lo is down; NULL: no memory
void net_ns_put(struct net_ns *n);
struct net_ns *net_ns_of(struct proc *p);	// a reference

// --- users (kernel/task/userns.c); NULL is the first one
struct user_ns;
void user_ns_get(struct user_ns *u);
void user_ns_put(struct user_ns *u);

// --- clocks (kernel/task/timens.c); NULL is the first one
extern struct ns first_time_ns;
struct ns *time_ns_new(struct proc *p);		// with the offsets of where p's children come. NULL: no memory
void time_ns_put(struct ns *n);
struct ns *time_ns_enter(struct proc *p);	// p goes where its children come; what it leaves is to be put. tasklist held
void time_ns_exec(struct proc *p);

// --- all of a process (kernel/task/ns.c)
u64 ns_inum(void);			// for a new namespace
// The namespaces that `flags` (CLONE_NEW*) asks for are made anew for p, which is the caller or its child that does not run
// yet; p->fs is p's own. 0 or -errno, then nothing has changed.
int ns_unshare(struct proc *p, u64 flags);
struct inode;
struct mount;
bool mount_mine(const struct mount *m);		// of the caller's mount namespace (fs/mount_tree.c)
bool is_ns_file(const struct inode *i);		// as /proc/PID/ns gives them
void ns_own(struct ns *n, struct user_ns *u);	// n is new: u owns it
void ns_inherit(struct proc *p, const struct proc *from);
void ns_drop(struct proc *p);		// tasklist not held

void sem_exit(struct proc *p);		// SEM_UNDO of a process whose last thread leaves

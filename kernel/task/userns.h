// SPDX-License-Identifier: Apache-2.0
// User namespaces within the kernel: see userns.c. What others need of them is in include/task.h.
#pragma once
#include "kernel/include/ns.h"
#include "kernel/include/task.h"

extern struct ns init_user_ns;		// what stands for NULL in /proc/PID/ns
struct ns *user_ns_head(struct user_ns *u);
struct user_ns *user_ns_of(struct ns *n);
struct user_ns *user_ns_parent(const struct user_ns *u);
struct user_ns *user_ns_new(const struct cred *c);	// below that of c, made by it; ERR_PTR
bool user_ns_above(const struct user_ns *top, const struct user_ns *u); // or the same
u32 user_ns_owner(const struct ns *n);
bool user_ns_made(const struct user_ns *u, const struct cred *c); // it, or one above it, in which c has all capabilities for that
void cred_enter(struct cred *c, struct user_ns *u);	// with all capabilities there
bool setgroups_allowed(void);
bool fs_chrooted(void);			// the current thread's root is not its mount namespace's (fs/mount_tree.c)

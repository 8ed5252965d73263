// SPDX-License-Identifier: Apache-2.0
// Keyrings of processes and threads (kernel/keys/). Most have none: callers look before they call.
#pragma once
struct key;
struct proc;
struct task;
void keys_inherit(struct proc *p, struct proc *from);	// fork: the session's
int keys_new_thread(struct task *t);		// its maker has a keyring of its own: so gets t
void keys_drop_thread(struct task *t);
void keys_drop_own(struct proc *p, struct task *t);	// exec: those of the process and its thread go
void keys_drop_proc(struct proc *p);

// SPDX-License-Identifier: Apache-2.0
// Within exec: what is prepared, and the layout of a new stack (exec.c, stack.c).
#pragma once
#include "kernel/task/elf.h"
#include "kernel/task/internal.h"

#define ARG_STRING_MAX (128ul << 10)	// one string with its NUL, as Linux limits it

struct strings {		// n NUL-terminated strings, one after the other
	char *buf;
	size_t len, cap;
	u32 n;
};

struct exec {
	char *name;		// AT_EXECFN
	struct elf_image prog, ld;
	struct file *exe;	// claimed by exe_get
	struct strings args, envs;
	struct mm *mm;		// new address space of a vfork child
	struct fdtable *files;	// own copy of a shared descriptor table
	bool secure;		// AT_SECURE
	int old_tid;		// of the thread that called
	u64 sp;			// set by stack_build
};

// Maps the stack and sets where mmap starts. 0 or -errno.
int stack_reserve(struct mm *mm, size_t filled, bool executable); // filled: bytes that stack_build will put there
// Writes argc, argv, envp and the auxiliary vector; the program is mapped already.
int stack_build(struct exec *e, struct proc *p);

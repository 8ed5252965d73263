// SPDX-License-Identifier: Apache-2.0
// Inside the --debug-strace decoder: one line of output per call, built on the caller's own stack of work.
#pragma once
#include "kernel/include/types.h"

struct task;

// A call under way. It hangs on its task, so that what blocks the task or ends the call elsewhere (exec) can print it.
struct strace_line {
	u32 nr;
	bool running;		// the handler runs: going to sleep prints what is there
	bool broken;		// printed as <unfinished ...>
	bool closing;		// the arguments are printed
	int tid;
	u8 arg;			// the next argument to print
	const char *args;	// where its name begins, in the row's text
	u64 v[6];
	int n;
	char text[1400];
};

void strace_say(struct strace_line *l, const char *fmt, ...) __printf(2, 3);
const char *strace_row_name(u32 nr);

// strace_arg.c
struct strace_type {
	char mark;		// one of "|#*>+", or 0
	char name[23];
};
// The type of the argument at *p ("name:type name:type =result"), moving *p behind it; false at the end of the arguments.
bool strace_next(const char **p, struct strace_type *t);
// Prints argument i. ret: the result if the call is over and wrote its structures.
void strace_arg(struct strace_line *l, const struct strace_type *t, u32 i, bool over, long ret);
void strace_words(struct strace_line *l, const char *set, u64 v, bool bits);
void strace_bytes(struct strace_line *l, u64 addr, u64 len);
void strace_string(struct strace_line *l, u64 addr);
void strace_signal_name(struct strace_line *l, int sig);
void strace_result(struct strace_line *l, const char *args, long ret);

// strace_struct.c: prints the structure `kind` at addr; n is what the next argument says. False when the kind is not known.
bool strace_struct(struct strace_line *l, const char *kind, u64 addr, u64 n, bool over, long ret);
// What poll, select and epoll report besides their result.
void strace_ready(struct strace_line *l, long ret);

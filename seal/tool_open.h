// SPDX-License-Identifier: Apache-2.0
// What the two files share that bring files out of a volume: all of them (tool_open.c), or some (tool_cp.c).
#pragma once
#include "seal/tool_impl.h"

struct opening {
	struct tool_vol t;
	const struct seal_tool_options *o;
	struct seal_tool_stats *st;
	struct seal_tool_err *err;
	int rootfd;
	u64 total; // bytes expected, for progress
	struct links links;
	bool trusted, marked; // what earlier runs named is whole: the machine has not been down since; RUN_MARK is there
	u8 *buf; // twice TOOL_CHUNK
	u64 shown;
	bool damage; // what failed last is the volume's damage, not this machine's
	struct seal_tool_err first; // of such
	char path[8192]; // in hand, relative to the target folder
};

int opening_host_err(struct opening *o, int e);
int opening_vol_err(struct opening *o, int e);
// One file under its name in the folder dfd: a regular one has another name until it is whole.
int opening_file(struct opening *o, struct seal_inode *i, const struct seal_attr *a, int dfd, const char *name);
int opening_symlink(struct opening *o, struct seal_inode *i, const struct seal_attr *a, int dfd, const char *name);
int opening_fifo(struct opening *o, const struct seal_attr *a, int dfd, const char *name);
// Owner, extended attributes, mode and times; then the flags, after which nothing else can be changed.
int opening_attr(struct opening *o, struct seal_inode *i, const struct seal_attr *a, int fd);
int opening_flags(struct opening *o, const struct seal_attr *a, int fd);

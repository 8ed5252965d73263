// SPDX-License-Identifier: Apache-2.0
// What the two files that seal a folder share.
#pragma once
#include "seal/tool_impl.h"
#include <sys/stat.h>
#include <sys/types.h>

struct sealing {
	struct tool_vol t;
	const struct seal_tool_options *o;
	struct seal_tool_stats *st;
	struct seal_tool_err *err;
	bool resumed;  // the volume holds what an earlier run has done
	dev_t out_dev; // the volume being written: never sealed into itself
	ino_t out_ino;
	struct links links;
	u8 *buf;
	u64 total;	      // bytes expected, for progress; 0: not known
	u64 shown, committed; // st->bytes when it was last shown, committed
	u64 uncommitted;      // files since the last commit
	char path[8192];      // in hand, relative to the folder; for messages
};

void sealing_show(struct sealing *s, bool now);
int sealing_host_err(struct sealing *s, int e);
int sealing_vol_err(struct sealing *s, int e);
// A regular file under its name in dir.
int sealing_regular(struct sealing *s, struct seal_inode *dir, int dfd, const char *name, const struct stat *st);
// The contents and attributes of a host's file into an inode that has nothing yet (or, going on, a part).
int sealing_fill(struct sealing *s, struct seal_inode *i, int dfd, const char *name, const struct stat *st);
// n bytes of s->buf at off, leaving holes where a whole page is zero.
int sealing_store(struct sealing *s, struct seal_inode *i, u64 off, size_t n);
// How many bytes there are in a folder or file, for progress only.
u64 sealing_measure(const char *dir);
// Extended attributes of fd; mode, owner and times as stat says.
int sealing_xattrs(struct sealing *s, struct seal_inode *i, int fd);
int sealing_attr(struct sealing *s, struct seal_inode *i, const struct stat *st);
// Removes a name with all below it.
int sealing_remove(struct sealing *s, struct seal_inode *dir, const char *name, int depth);

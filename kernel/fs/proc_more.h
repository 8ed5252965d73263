// SPDX-License-Identifier: Apache-2.0
// The smaller files of a process's directory (proc_more.c), as entries of its tables.
#pragma once
#include "kernel/fs/proc_usage.h"

int proc_oom_score(struct pout *o, struct pnode *n), proc_oom_adj(struct pout *o, struct pnode *n), proc_io(struct pout *o, struct pnode *n);
int proc_personality(struct pout *o, struct pnode *n), proc_stack(struct pout *o, struct pnode *n), proc_sched(struct pout *o, struct pnode *n);
int proc_schedstat(struct pout *o, struct pnode *n), proc_dump_filter(struct pout *o, struct pnode *n), proc_slack(struct pout *o, struct pnode *n);
int proc_loginuid(struct pout *o, struct pnode *n), proc_sessionid(struct pout *o, struct pnode *n);
ssize_t proc_loginuid_write(struct pnode *n, char *buf, size_t len);
int proc_children(struct pout *o, struct pnode *n), proc_mountstats(struct pout *o, struct pnode *n);
ssize_t proc_oom_adj_write(struct pnode *n, char *buf, size_t len), proc_dump_filter_write(struct pnode *n, char *buf, size_t len);
ssize_t proc_clear_refs(struct pnode *n, char *buf, size_t len), proc_slack_write(struct pnode *n, char *buf, size_t len);
extern const struct pent proc_attr_table[];

#define PROC_MORE \
	TXT("oom_score", 0444, proc_oom_score), \
		{.name = "oom_adj", .mode = S_IFREG | 0644, .text = proc_oom_adj, .write = proc_oom_adj_write}, \
		TXT("numa_maps", 0444, proc_numa_maps), {.name = "pagemap", .mode = S_IFREG | 0400, .fops = &proc_pagemap_fops}, \
		TXT("io", 0400, proc_io), TXT("stack", 0400, proc_stack), TXT("sched", 0644, proc_sched), \
		TXT("schedstat", 0444, proc_schedstat), TXT("mountstats", 0400, proc_mountstats), \
		{.name = "coredump_filter", .mode = S_IFREG | 0644, .text = proc_dump_filter, .write = proc_dump_filter_write}, \
		{.name = "clear_refs", .mode = S_IFREG | 0200, .write = proc_clear_refs}, \
		{.name = "timerslack_ns", .mode = S_IFREG | 0666, .text = proc_slack, .write = proc_slack_write}, \
		{.name = "loginuid", .mode = S_IFREG | 0644, .text = proc_loginuid, .write = proc_loginuid_write}, \
		TXT("sessionid", 0444, proc_sessionid), \
		{.name = "attr", .mode = S_IFDIR | 0555, .dir = proc_attr_table}, FIX("cpuset", 0444, "/")

// SPDX-License-Identifier: Apache-2.0
// /proc/cpuinfo (proc_cpu.c).
#pragma once
#include "kernel/fs/procfs.h"

int proc_cpuinfo(struct pout *o, struct pnode *n);

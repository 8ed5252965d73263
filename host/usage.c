// SPDX-License-Identifier: Apache-2.0
// What the host knows of the enclave's processes: CPU time, faults, context switches, resident memory. Read from the host's
// /proc for children of the launcher and for nobody else.
#include "host/usage.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define RUN 8192 // pagemap entries read at a time
#define ENTRY_PRESENT (1ull << 63)
#define ENTRY_SWAPPED (1ull << 62)
#define ENTRY_FILE (1ull << 61)

static bool is_child(u64 pid)
{
	siginfo_t si;

	return pid && pid < 1u << 30 && waitid(P_PID, (id_t)pid, &si, WEXITED | WNOHANG | WNOWAIT) == 0;
}

// The text of a small file; its length or -errno.
static int slurp(const char *path, char *buf, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = read(fd, buf, size - 1);
	if (n < 0)
		n = -errno;
	else
		buf[n] = 0;
	close(fd);
	return (int)n;
}

// "/proc/PID/name", without printf, which this launcher would keep in memory for what is asked each second.
static const char *proc_path(char path[64], u32 pid, const char *name)
{
	char digits[12], *p = digits + sizeof(digits);

	*--p = 0;
	do
		*--p = (char)('0' + pid % 10);
	while (pid /= 10);
	return strcat(strcat(strcpy(path, "/proc/"), p), name);
}

// The number behind a line's name, 0 when there is no such line.
static u64 field(const char *text, const char *name)
{
	const char *p = strstr(text, name);

	return p ? strtoull(p + strlen(name), NULL, 10) : 0;
}

static int usage(u64 pid, u64 tid, struct hc_usage *u)
{
	u64 tick = 1000000000ull / (u64)sysconf(_SC_CLK_TCK);
	char path[64], text[4096];
	const char *p;
	int r;

	snprintf(path, sizeof(path), tid ? "/proc/%lu/task/%lu/stat" : "/proc/%lu/stat", pid, tid);
	r = slurp(path, text, sizeof(text));
	p = r > 0 ? strrchr(text, ')') : NULL;
	if (!p)
		return r < 0 ? -ENOENT : -EIO;
	memset(u, 0, sizeof(*u));
	// behind the name: state ppid pgrp session tty tpgid flags minflt cminflt majflt cmajflt utime stime
	if (sscanf(p + 1, " %*c %*d %*d %*d %*d %*d %*u %lu %*u %lu %*u %lu %lu", &u->minflt, &u->majflt, &u->utime_ns, &u->stime_ns) != 4)
		return -EIO;
	u->utime_ns *= tick;
	u->stime_ns *= tick;
	snprintf(path, sizeof(path), tid ? "/proc/%lu/task/%lu/status" : "/proc/%lu/status", pid, tid);
	r = slurp(path, text, sizeof(text));
	if (r < 0)
		return -ENOENT;
	u->anon = field(text, "\nRssAnon:") / 4;
	u->file = (field(text, "\nRssFile:") + field(text, "\nRssShmem:")) / 4;
	u->peak = field(text, "\nVmHWM:") / 4;
	u->nvcsw = field(text, "\nvoluntary_ctxt_switches:");
	u->nivcsw = field(text, "\nnonvoluntary_ctxt_switches:");
	return 0;
}

// Counts each range's pages: {start, end} becomes {private, shared}.
static int resident(u64 pid, u64 (*range)[2], u64 n)
{
	static u64 map[RUN]; // one ring thread serves
	char path[64];
	int fd, r = 0;

	snprintf(path, sizeof(path), "/proc/%lu/pagemap", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -ENOENT;
	for (u64 i = 0; i < n && !r; i++) {
		u64 page = range[i][0] >> 12, end = range[i][1] >> 12, priv = 0, shared = 0;

		while (page < end) {
			u64 k = end - page < RUN ? end - page : RUN;
			ssize_t got = pread(fd, map, k * 8, (off_t)(page * 8));

			if (got <= 0) // beyond what a process can have
				break;
			for (ssize_t e = 0; e < got / 8; e++) {
				if (map[e] & (ENTRY_PRESENT | ENTRY_SWAPPED)) {
					if (map[e] & ENTRY_FILE)
						shared++;
					else
						priv++;
				}
			}
			page += (u64)got / 8;
		}
		range[i][0] = priv;
		range[i][1] = shared;
	}
	close(fd);
	return r;
}

// statm: "size resident shared ..."
static u64 resident_private(char *text)
{
	char *p = text;
	u64 res, shared;

	strtoull(p, &p, 10);
	res = strtoull(p, &p, 10);
	shared = strtoull(p, &p, 10);
	return res > shared ? res - shared : 0;
}

// Pages that are the processes' own. Copies that a fork shares count once when `exact`, which costs a walk of all page tables.
static s64 private_pages(const u32 *pid, u64 n, bool exact)
{
	char path[64], text[4096];
	u64 sum = 0;

	for (u64 i = 0; i < n; i++) {
		if (!is_child(pid[i]))
			continue;
		if (slurp(proc_path(path, pid[i], exact ? "/smaps_rollup" : "/statm"), text, sizeof(text)) <= 0)
			continue;
		if (exact && strstr(text, "\nPss_Anon:"))
			sum += field(text, "\nPss_Anon:") / 4;
		else if (exact)
			sum += field(text, "\nAnonymous:") / 4;
		else
			sum += resident_private(text);
	}
	return (s64)sum;
}

void usage_serve(struct hc_desc *d, uint8_t *pool)
{
	u64 *a = d->a, item = d->op == HC_PRIVATE ? sizeof(u32) : d->op == HC_RESIDENT ? 16 : sizeof(struct hc_usage);
	u64 n = d->op == HC_USAGE ? 1 : a[2];

	d->ret = -EINVAL;
	if (a[1] > HC_POOL_SIZE || a[1] % 8 || n > (HC_POOL_SIZE - a[1]) / item)
		return;
	if (d->op == HC_PRIVATE)
		d->ret = private_pages((u32 *)(void *)(pool + a[1]), n, a[3]);
	else if (!is_child(a[0]))
		d->ret = -ENOENT;
	else if (d->op == HC_USAGE)
		d->ret = usage(a[0], a[2], (struct hc_usage *)(void *)(pool + a[1]));
	else
		d->ret = resident(a[0], (u64(*)[2])(void *)(pool + a[1]), n);
}

// SPDX-License-Identifier: Apache-2.0
// See enclaves.h. A launcher is found by the memory that it shares with its enclave: a memfd named "enclave", which its host processes hold
// too, but they are its children. What is read there was written by the enclave or by whoever owns this machine: it is shown, and decides nothing.
#include "host/enclaves.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "platform/process/control.h"

#define MEMORY_NAME "/memfd:enclave (deleted)"
#define ANSWER_S 1

// A file of a process, as text; its length or -errno.
static ssize_t slurp(pid_t pid, const char *name, char *buf, size_t size)
{
	char path[64];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	n = read(fd, buf, size - 1);
	if (n < 0)
		n = -errno;
	buf[n > 0 ? n : 0] = '\0';
	close(fd);
	return n;
}

static uint64_t field(const char *text, const char *name)
{
	const char *p = strstr(text, name);

	return p ? strtoull(p + strlen(name), NULL, 10) : 0;
}

// The parent and the CPU time; with `gone` also of the children that ended. 0 or -errno.
static int cpu_of(pid_t pid, bool gone, pid_t *parent, unsigned int *threads, uint64_t *ns)
{
	uint64_t tick = 1000000000ull / (uint64_t)sysconf(_SC_CLK_TCK);
	unsigned long long u, s, cu, cs;
	char text[2048], *p;
	ssize_t n = slurp(pid, "stat", text, sizeof(text));

	if (n < 0)
		return (int)n;
	p = strrchr(text, ')');
	// state ppid pgrp session tty tpgid flags minflt cminflt majflt cmajflt utime stime cutime cstime priority nice threads
	if (!p || sscanf(p + 1, " %*c %d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu %llu %llu %*d %*d %u", parent, &u, &s, &cu, &cs, threads) != 6)
		return -ESRCH;
	*ns = (u + s + (gone ? cu + cs : 0)) * tick;
	return 0;
}

// Opens the memory that a process shares with others of its enclave. -ESRCH: it has none.
static int open_memory(pid_t pid, int flags)
{
	char path[64], link[360], target[64];
	struct dirent *e;
	int fd = -ESRCH;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	d = opendir(path);
	if (!d)
		return errno == ENOENT ? -ESRCH : -errno;
	while (fd == -ESRCH && (e = readdir(d))) {
		ssize_t n = readlinkat(dirfd(d), e->d_name, target, sizeof(target) - 1);

		if (n <= 0)
			continue;
		target[n] = '\0';
		if (strcmp(target, MEMORY_NAME))
			continue;
		snprintf(link, sizeof(link), "%s/%s", path, e->d_name);
		fd = open(link, flags | O_CLOEXEC);
		if (fd < 0)
			fd = -errno;
	}
	closedir(d);
	return fd;
}

static bool has_memory(pid_t pid)
{
	int fd = open_memory(pid, O_RDONLY);

	if (fd < 0)
		return false;
	close(fd);
	return true;
}

// Calls fn for each child; the launcher has one thread that makes them.
static int children(pid_t launcher, void (*fn)(void *ctx, pid_t pid), void *ctx)
{
	char path[64], word[32];
	FILE *f;
	int n = 0, c;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", launcher, launcher);
	f = fopen(path, "re");
	if (!f)
		return errno == ENOENT ? -ESRCH : -errno;
	while ((c = fgetc(f)) != EOF) {
		if (c != ' ' && n < (int)sizeof(word) - 1) {
			word[n++] = (char)c;
			continue;
		}
		word[n] = '\0';
		n = 0;
		if (atoi(word) > 0)
			fn(ctx, atoi(word));
	}
	fclose(f);
	return 0;
}

static void add_child(void *ctx, pid_t pid)
{
	struct enclave_usage *u = ctx;
	unsigned int threads;
	char text[2048];
	uint64_t ns;
	pid_t parent;

	if (cpu_of(pid, false, &parent, &threads, &ns))
		return; // it has just ended
	u->cpu_ns += ns;
	u->processes++;
	u->threads += threads;
	if (slurp(pid, "smaps_rollup", text, sizeof(text)) > 0)
		u->private_bytes += (strstr(text, "\nPss_Anon:") ? field(text, "\nPss_Anon:") : field(text, "\nAnonymous:")) * 1024;
}

static const struct control *map_control(int fd, int prot)
{
	struct stat st;
	void *p;

	if (fstat(fd, &st) || st.st_size < (off_t)(OFF_CTL + sizeof(struct control)))
		return NULL;
	p = mmap(NULL, sizeof(struct control), prot, MAP_SHARED, fd, OFF_CTL);
	if (p == MAP_FAILED)
		return NULL;
	if (((const struct control *)p)->magic == CTL_MAGIC)
		return p;
	munmap(p, sizeof(struct control));
	return NULL;
}

static void unmap(const struct control *c)
{
	if (c)
		munmap((void *)(uintptr_t)c, sizeof(*c));
}

static bool for_debugging(const struct control *c)
{
	const char *options = memmem(c->manifest, sizeof(c->manifest), "\noptions: ", 10);

	return options && memmem(options, sizeof(c->manifest) - (size_t)(options - c->manifest), ",debug=1", 8);
}

static void counts(struct enclave_usage *u, const struct control *c)
{
	for (int i = 0; i < CTL_COUNTS; i++) {
		const struct ctl_counts *n = &c->counts[i];

		u->hostcalls += __atomic_load_n(&n->calls, __ATOMIC_RELAXED);
		u->disk_read += __atomic_load_n(&n->disk_read, __ATOMIC_RELAXED);
		u->disk_written += __atomic_load_n(&n->disk_written, __ATOMIC_RELAXED);
		u->in += __atomic_load_n(&n->in, __ATOMIC_RELAXED);
		u->out += __atomic_load_n(&n->out, __ATOMIC_RELAXED);
	}
	u->counted = true;
	u->limit_bytes = c->memory_bytes;
	u->debug = for_debugging(c);
}

int enclave_usage(pid_t launcher, struct enclave_usage *u)
{
	const struct control *c;
	unsigned int threads;
	struct stat st;
	pid_t parent;
	int err, fd;

	memset(u, 0, sizeof(*u));
	err = cpu_of(launcher, true, &parent, &threads, &u->cpu_ns);
	fd = err ? err : open_memory(launcher, O_RDONLY);
	if (fd < 0)
		return fd == -EPERM ? -EACCES : fd;
	err = children(launcher, add_child, u);
	if (!err && !fstat(fd, &st))
		u->kernel_bytes = (uint64_t)st.st_blocks * 512;
	c = err ? NULL : map_control(fd, PROT_READ);
	if (c)
		counts(u, c);
	unmap(c);
	close(fd);
	return err;
}

static void take(struct enclave_process *to, const struct ctl_task *from)
{
	struct ctl_task t = *from; // once: it may change

	*to = (struct enclave_process){.pid = t.pid, .ppid = t.ppid, .call = t.call, .threads = t.threads, .cpu_ns = t.cpu_ns, .private_bytes = t.private_pages * 4096};
	to->state = t.state == 'R' || t.state == 'S' || t.state == 'T' || t.state == 'Z' ? (char)t.state : '?';
	memcpy(to->name, t.name, sizeof(to->name) - 1);
	for (char *p = to->name; *p; p++)
		if ((unsigned char)*p < ' ' || *p == 127) // a program chooses its name, and a terminal obeys
			*p = '?';
}

static int ask(struct control *c, struct enclave_process **list, size_t *count)
{
	const struct timespec wait = {.tv_sec = ANSWER_S};
	uint32_t number = __atomic_add_fetch(&c->tasks_asked, 1, __ATOMIC_SEQ_CST), told;
	uint32_t n;

	syscall(SYS_futex, &c->tasks_asked, FUTEX_WAKE, 64, NULL, NULL, 0);
	while ((told = __atomic_load_n(&c->tasks_told, __ATOMIC_SEQ_CST)) - number > UINT32_MAX / 2)
		if (syscall(SYS_futex, &c->tasks_told, FUTEX_WAIT, told, &wait, NULL, 0) && errno == ETIMEDOUT)
			return -ETIMEDOUT;
	n = __atomic_load_n(&c->tasks_count, __ATOMIC_RELAXED);
	if (n > CTL_TASKS)
		n = CTL_TASKS;
	*list = calloc(n + 1, sizeof(**list));
	if (!*list)
		return -ENOMEM;
	for (uint32_t i = 0; i < n; i++)
		take(&(*list)[i], &c->tasks[i]);
	*count = n;
	return 0;
}

int enclave_processes(pid_t launcher, struct enclave_process **list, size_t *count)
{
	int fd = open_memory(launcher, O_RDWR), err;
	struct control *c;

	*list = NULL;
	*count = 0;
	if (fd < 0)
		return fd;
	c = (struct control *)(uintptr_t)map_control(fd, PROT_READ | PROT_WRITE);
	err = !c ? -ESRCH : for_debugging(c) ? ask(c, list, count) : -EPERM;
	unmap(c);
	close(fd);
	return err;
}

static int ascending(const void *a, const void *b)
{
	pid_t x = *(const pid_t *)a, y = *(const pid_t *)b;

	return (x > y) - (x < y);
}

int enclave_launchers(pid_t **list, size_t *count)
{
	DIR *d = opendir("/proc");
	struct dirent *e;
	int err = 0;

	*list = NULL;
	*count = 0;
	if (!d)
		return -errno;
	while (!err && (e = readdir(d))) {
		pid_t pid = atoi(e->d_name), parent, *more;
		unsigned int threads;
		uint64_t ns;

		if (pid <= 0 || !has_memory(pid) || cpu_of(pid, false, &parent, &threads, &ns) || has_memory(parent))
			continue;
		more = realloc(*list, (*count + 1) * sizeof(**list));
		if (!more) {
			err = -ENOMEM;
			break;
		}
		*list = more;
		more[(*count)++] = pid;
	}
	closedir(d);
	if (*count)
		qsort(*list, *count, sizeof(**list), ascending);
	return err;
}

void enclave_project(pid_t launcher, char *out, size_t size)
{
	static const char tail[] = "/build/enclave.img";
	char path[64], target[4096];
	struct dirent *e;
	DIR *d;

	*out = '\0';
	snprintf(path, sizeof(path), "/proc/%d/fd", launcher);
	d = opendir(path);
	while (d && !*out && (e = readdir(d))) {
		ssize_t n = readlinkat(dirfd(d), e->d_name, target, sizeof(target) - 1), folder;

		target[n > 0 ? n : 0] = '\0';
		folder = n - (ssize_t)strlen(tail);
		if (folder > 0 && !strcmp(target + folder, tail))
			snprintf(out, size, "%.*s", (int)folder, target);
	}
	if (d)
		closedir(d);
}

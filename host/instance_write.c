// SPDX-License-Identifier: Apache-2.0
// Names, folders, locks and the state file of running enclaves (instances.h): what the supervisor does. No JSON is read here, so that the
// small static `coffer`, in which it runs, needs no library for that.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "host/instances.h"
#include "image/text.h"
#include "lib/file.h"

#define ROOM 4096u	// least length of the state file: what is there can be written over when the disk is full

int instances_dir(char *out, size_t size, struct fault *f)
{
	const char *given = getenv("COFFER_RUN_DIR"), *run = getenv("XDG_RUNTIME_DIR"), *home = getenv("HOME");
	int n;

	if (given && *given == '/')
		n = snprintf(out, size, "%s", given);
	else if (run && *run == '/')
		n = snprintf(out, size, "%s/coffer", run);
	else if (home && *home == '/')
		n = snprintf(out, size, "%s/.local/share/coffer/run", home);
	else
		return fault_set(f, -ENOENT, "there is no place for running enclaves: set COFFER_RUN_DIR, XDG_RUNTIME_DIR or HOME");
	return (size_t)n < size ? 0 : fault_set(f, -ENAMETOOLONG, "the folder of running enclaves has too long a name");
}

bool instance_name_valid(const char *name)
{
	static const char alnum[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
	size_t n = strlen(name);

	return n && n <= INSTANCE_NAME_MAX && strchr(alnum, *name) && strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == n;
}

int instance_dir(const char *name, char *out, size_t size, struct fault *f)
{
	int err = instances_dir(out, size, f);
	size_t n;

	if (err)
		return err;
	if (!instance_name_valid(name))
		return fault_set(f, -EINVAL, "'%.100s' cannot be the name of an enclave: letters, digits, '.', '_' and '-', at most %d", name, INSTANCE_NAME_MAX);
	n = strlen(out);
	return (size_t)snprintf(out + n, size - n, "/%s", name) < size - n ? 0 : fault_set(f, -ENAMETOOLONG, "the folder of running enclaves has too long a name");
}

struct process_name process_name(pid_t pid)
{
	char path[32], line[1024], *p;
	struct process_name who = {pid, 0};
	ssize_t n = -1;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		n = read(fd, line, sizeof(line) - 1);
		close(fd);
	}
	line[n > 0 ? n : 0] = '\0';
	p = strrchr(line, ')'); // behind the name, in which anything may stand: field 3
	if (p && p[1] && strchr("ZX", p[2])) // nobody has fetched its end yet
		return who;
	for (int field = 3; p && field <= 22; field++)
		p = strchr(p + 1, ' ');
	if (p)
		who.start = strtoull(p, NULL, 10);
	return who;
}

int process_open(const struct process_name *p)
{
	int fd = p->pid > 0 && p->start ? (int)syscall(SYS_pidfd_open, p->pid, 0) : -1;

	if (fd < 0)
		return -ESRCH;
	// What the descriptor holds cannot change any more; was it the right one?
	if (process_name(p->pid).start == p->start)
		return fd;
	close(fd);
	return -ESRCH;
}

int process_signal(const struct process_name *p, int sig, int value)
{
	siginfo_t info = {.si_signo = sig, .si_code = SI_QUEUE};
	int fd = process_open(p), err = 0;

	if (fd < 0)
		return fd;
	info.si_pid = getpid();
	info.si_uid = getuid();
	info.si_value.sival_int = value;
	if (syscall(SYS_pidfd_send_signal, fd, sig, &info, 0))
		err = -errno;
	close(fd);
	return err;
}

int instance_claim(const char *name, int *lock, bool *fresh, struct fault *f)
{
	struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	char dir[4096], path[4200];
	struct stat there, here;
	int err = instances_dir(dir, sizeof(dir), f), fd;

	if (!err)
		err = file_make_private_dir(dir, f);
	if (!err)
		err = instance_dir(name, dir, sizeof(dir), f);
	if (err)
		return err;
	snprintf(path, sizeof(path), "%s/lock", dir);
	for (;;) {
		*fresh = !mkdir(dir, 0700);
		if (!*fresh && errno != EEXIST)
			return fault_errno(f, errno, "cannot make the folder %s", dir);
		fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
		if (fd < 0 && errno == ENOENT) // somebody removes it
			continue;
		if (fd < 0)
			return fault_errno(f, errno, "cannot make %s", path);
		if (fcntl(fd, F_OFD_SETLK, &whole)) {
			close(fd);
			return fault_set(f, -EBUSY, "an enclave named %s is there already: choose another --name, or `coffer stop %s`", name, name);
		}
		if (!fstat(fd, &here) && !stat(path, &there) && here.st_ino == there.st_ino && here.st_dev == there.st_dev)
			break;
		close(fd); // removed between the two
	}
	*lock = fd;
	return 0;
}

static void put_process(struct text *t, const char *name, const struct process_name *p)
{
	text_printf(t, ",\"%s\":{\"pid\":%d,\"start\":%llu}", name, p->pid, (unsigned long long)p->start);
}

static void put_text(struct text *t, const char *name, const char *value)
{
	text_printf(t, ",\"%s\":", name);
	text_json_bytes(t, value ? value : "", value ? strlen(value) : 0);
}

static void put_boot(struct text *t)
{
	char id[64] = "";
	FILE *f = fopen("/proc/sys/kernel/random/boot_id", "re");

	if (f && fgets(id, sizeof(id), f))
		id[strcspn(id, "\n")] = '\0';
	if (f)
		fclose(f);
	put_text(t, "boot", id);
}

static int write_all(int fd, const struct text *t)
{
	ssize_t n = fd < 0 ? -1 : pwrite(fd, t->data, t->len, 0);

	return n == (ssize_t)t->len ? 0 : n < 0 ? -errno : -ENOSPC;
}

int instance_write(const struct instance *i)
{
	static const char *const states[] = INSTANCE_STATES;
	char dir[4096], path[4200], new[4200];
	struct text t = {0};
	int err, fd;

	err = instance_dir(i->name, dir, sizeof(dir), NULL);
	if (err)
		return err;
	text_printf(&t, "{\"state\":\"%s\",\"created_ms\":%lld,\"since_ms\":%lld,\"restarts\":%u,\"taking_programs\":%s,\"memory\":%llu,\"log_dropped\":%llu",
		    states[i->state], (long long)i->created_ms, (long long)i->since_ms, i->restarts, i->taking_programs ? "true" : "false",
		    (unsigned long long)i->memory_bytes, (unsigned long long)i->log_dropped);
	if (i->exit_code >= 0)
		text_printf(&t, ",\"exit_code\":%d", i->exit_code);
	put_process(&t, "supervisor", &i->supervisor);
	put_process(&t, "launcher", &i->launcher);
	put_boot(&t);
	put_text(&t, "measurement", i->measurement);
	put_text(&t, "restart", i->restart);
	put_text(&t, "reason", i->reason);
	put_text(&t, "project", i->project);
	put_text(&t, "program", i->program);
	text_puts(&t, "}\n");
	while (t.len < ROOM)
		text_puts(&t, "                                                               \n");
	snprintf(path, sizeof(path), "%s/state", dir);
	snprintf(new, sizeof(new), "%s/state.new", dir);
	fd = open(new, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	err = write_all(fd, &t);
	if (fd >= 0)
		close(fd);
	if (!err && rename(new, path))
		err = -errno;
	if (err) {
		unlink(new);
		fd = open(path, O_WRONLY | O_CLOEXEC);
		err = write_all(fd, &t);
		if (fd >= 0)
			close(fd);
	}
	text_free(&t);
	return err;
}

int instance_remove(const char *name, struct fault *f)
{
	char dir[4096], path[4400];
	struct dirent *e;
	bool fresh;
	int lock, err = instance_claim(name, &lock, &fresh, f);
	DIR *d;

	if (err)
		return err;
	err = instance_dir(name, dir, sizeof(dir), f);
	d = err ? NULL : opendir(dir);
	while (d && (e = readdir(d))) {
		snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
		if (strcmp(e->d_name, ".") && strcmp(e->d_name, "..") && strcmp(e->d_name, "lock"))
			unlink(path);
	}
	if (d)
		closedir(d);
	snprintf(path, sizeof(path), "%s/lock", dir);
	unlink(path); // last: who waits for it looks whether it is still the same
	if (!err && rmdir(dir))
		err = fault_errno(f, errno, "cannot remove the folder %s", dir);
	close(lock);
	return err;
}

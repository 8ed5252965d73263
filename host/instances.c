// SPDX-License-Identifier: Apache-2.0
// See instances.h. Reading: `coffer ps` and the like. Writing is instance_write.c's, which the small `coffer` holds, too.
#include "host/instances.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "host/enclaves.h"
#include "lib/file.h"

static const char *const states[] = INSTANCE_STATES;

bool instance_alive(enum instance_state s) { return s != INSTANCE_ENDED && s != INSTANCE_LOST; }

void instance_free(struct instance *i)
{
	free(i->project);
	free(i->program);
	i->project = i->program = NULL;
}

static uint64_t number(const json_t *o, const char *name)
{
	json_int_t v = json_integer_value(json_object_get(o, name));

	return v > 0 ? (uint64_t)v : 0;
}

static void text(const json_t *o, const char *name, char *out, size_t size)
{
	const char *s = json_string_value(json_object_get(o, name));

	snprintf(out, size, "%s", s ? s : "");
}

static char *copy(const json_t *o, const char *name)
{
	const char *s = json_string_value(json_object_get(o, name));

	return strdup(s ? s : "");
}

static struct process_name process(const json_t *o, const char *name)
{
	const json_t *p = json_object_get(o, name);

	return (struct process_name){(pid_t)number(p, "pid"), number(p, "start")};
}

// A process of before the machine's last start is nobody.
static bool this_boot(const json_t *o)
{
	char *now = NULL, then[64];
	size_t len;
	bool same;

	text(o, "boot", then, sizeof(then));
	if (file_read("/proc/sys/kernel/random/boot_id", 100, &now, &len, NULL))
		return true;
	now[strcspn(now, "\n")] = '\0';
	same = !strcmp(now, then);
	free(now);
	return same;
}

static bool lock_is_held(const char *dir)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	char path[4200];
	bool held = false;
	int fd;

	snprintf(path, sizeof(path), "%s/lock", dir);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd >= 0) {
		held = !fcntl(fd, F_OFD_GETLK, &lock) && lock.l_type != F_UNLCK;
		close(fd);
	}
	return held;
}

static int parse(struct instance *i, const json_t *o, struct fault *f)
{
	const json_t *code = json_object_get(o, "exit_code");
	char state[16];
	size_t s = 0;

	text(o, "state", state, sizeof(state));
	while (s < sizeof(states) / sizeof(*states) && strcmp(states[s], state))
		s++;
	if (s == sizeof(states) / sizeof(*states))
		return fault_set(f, -EINVAL, "the state of %s is damaged", i->name);
	i->state = (enum instance_state)s;
	i->created_ms = (int64_t)number(o, "created_ms");
	i->since_ms = (int64_t)number(o, "since_ms");
	i->exit_code = json_is_integer(code) ? (int)json_integer_value(code) : -1;
	i->restarts = (unsigned int)number(o, "restarts");
	i->taking_programs = json_is_true(json_object_get(o, "taking_programs"));
	i->memory_bytes = number(o, "memory");
	i->log_dropped = number(o, "log_dropped");
	text(o, "measurement", i->measurement, sizeof(i->measurement));
	text(o, "restart", i->restart, sizeof(i->restart));
	text(o, "reason", i->reason, sizeof(i->reason));
	i->project = copy(o, "project");
	i->program = copy(o, "program");
	if (!i->project || !i->program)
		return fault_set(f, -ENOMEM, "out of memory");
	if (this_boot(o)) {
		i->supervisor = process(o, "supervisor");
		i->launcher = process(o, "launcher");
	}
	return 0;
}

int instance_read(const char *name, struct instance *i, struct fault *f)
{
	char dir[4096], path[4200], *bytes = NULL;
	json_t *o = NULL;
	size_t len;
	int err;

	*i = (struct instance){.exit_code = -1};
	err = instance_dir(name, dir, sizeof(dir), f);
	if (err)
		return err;
	snprintf(i->name, sizeof(i->name), "%s", name);
	snprintf(path, sizeof(path), "%s/state", dir);
	for (int turn = 0; turn < 20 && !o; turn++) { // written in place when the disk is full, or not written yet
		free(bytes);
		bytes = NULL;
		err = file_read(path, 65536, &bytes, &len, NULL);
		o = err ? NULL : json_loadb(bytes, len, JSON_REJECT_DUPLICATES, NULL);
		if (err == -ENOENT && !lock_is_held(dir))
			break;
		if (!o)
			usleep(10000);
	}
	free(bytes);
	if (err == -ENOENT)
		return fault_set(f, -ENOENT, "there is no enclave named %s (`coffer ps --all` lists them)", name);
	if (!o)
		return fault_set(f, err ? err : -EINVAL, "the state of %s, %s, cannot be read", name, path);
	err = parse(i, o, f);
	json_decref(o);
	if (err || !instance_alive(i->state))
		return err;
	int fd = process_open(&i->supervisor);
	if (fd >= 0) {
		close(fd);
		return 0;
	}
	fd = process_open(&i->launcher);
	i->state = fd >= 0 && lock_is_held(dir) ? INSTANCE_STOPPING : INSTANCE_LOST;
	snprintf(i->reason, sizeof(i->reason), "its supervisor was killed");
	if (fd >= 0)
		close(fd);
	return 0;
}

uint64_t instance_memory(const struct instance *i)
{
	int held = process_open(&i->launcher); // its number stays its own meanwhile
	struct enclave_usage u;
	uint64_t bytes;

	if (held < 0)
		return 0;
	bytes = enclave_usage(i->launcher.pid, &u) ? 0 : u.private_bytes + u.kernel_bytes;
	close(held);
	return bytes;
}

static int by_name(const void *a, const void *b)
{
	const struct instance *x = a, *y = b;

	return strcmp(x->name, y->name);
}

int instances_list(struct instance **list, size_t *count, struct fault *f)
{
	struct dirent *e;
	char dir[4096];
	int err = instances_dir(dir, sizeof(dir), f);
	DIR *d;

	*list = NULL;
	*count = 0;
	if (err)
		return err;
	d = opendir(dir);
	if (!d)
		return errno == ENOENT ? 0 : fault_errno(f, errno, "cannot read the folder %s", dir);
	while (!err && (e = readdir(d))) {
		struct instance i, *bigger;

		if (!instance_name_valid(e->d_name))
			continue;
		err = instance_read(e->d_name, &i, f);
		if (err == -ENOENT || err == -ENOTDIR || err == -EINVAL) { // just removed, or something else
			instance_free(&i);
			err = 0;
			continue;
		}
		bigger = err ? NULL : realloc(*list, (*count + 1) * sizeof(i));
		if (!bigger) {
			instance_free(&i);
			err = err ? err : fault_set(f, -ENOMEM, "out of memory");
			break;
		}
		*list = bigger;
		(*list)[(*count)++] = i;
	}
	closedir(d);
	if (*count)
		qsort(*list, *count, sizeof(**list), by_name);
	return err;
}

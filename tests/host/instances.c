// SPDX-License-Identifier: Apache-2.0
// The folders of running enclaves: names, locks, states, and processes that are not taken for others.
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

#include "host/instances.h"
#include "host/supervise.h"
#include "tests/folder.h"

static void check(bool good, const char *name)
{
	printf(good ? "ok %s\n" : "not ok %s: not so\n", name);
}

static void names(void)
{
	static const char *const bad[] = {"", ".", "..", ".x", "-x", "_x", "a/b", "a b", "\xc3\xa4", "0123456789012345678901234567890123456789012345678901234567890123"};
	bool good = true;

	for (size_t k = 0; k < sizeof(bad) / sizeof(*bad); k++)
		good = good && !instance_name_valid(bad[k]);
	check(good && instance_name_valid("a") && instance_name_valid("9.x_y-Z"), "instances.names");
}

static void policies(void)
{
	static const char *const bad[] = {"", "yes", "on-failure:", "on-failure:0", "on-failure:-1", "on-failure:3x", "on-failure:99999999999999999999", "always "};
	enum restart_policy p;
	unsigned int most;
	bool good = true;

	for (size_t k = 0; k < sizeof(bad) / sizeof(*bad); k++)
		good = good && !supervise_policy(bad[k], &p, &most);
	check(good && supervise_policy("on-failure:3", &p, &most) && p == RESTART_ON_FAILURE && most == 3, "instances.policies");
}

static void processes(void)
{
	struct process_name self = process_name(getpid()), other = self;
	int fd = process_open(&self);
	pid_t child;

	check(self.start && fd >= 0, "instances.process");
	close(fd);
	other.start++;
	check(process_open(&other) == -ESRCH && process_signal(&other, SIGKILL, 0) == -ESRCH, "instances.number_of_another");
	child = fork();
	if (!child)
		_exit(0);
	siginfo_t info;
	waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT);
	other = process_name(child);
	check(process_open(&other) == -ESRCH, "instances.dead_but_not_reaped");
	waitpid(child, NULL, 0);
}

static void states(void)
{
	struct instance i = {.name = "one", .state = INSTANCE_RUNNING, .created_ms = 1700000000123, .since_ms = 1700000000456, .exit_code = -1, .restarts = 2,
			     .memory_bytes = 1 << 30, .restart = "always", .project = "/a \"b\"\n\xff", .program = "x"}, r;
	struct instance *list;
	char dir[64], path[160];
	int lock, again;
	bool fresh;
	size_t count;

	if (!test_folder(dir, "instances"))
		return;
	setenv("COFFER_RUN_DIR", dir, 1);
	check(instance_read("one", &r, NULL) == -ENOENT, "instances.none");
	instance_free(&r);
	check(!instance_claim("one", &lock, &fresh, NULL) && fresh, "instances.claimed");
	check(instance_claim("one", &again, &fresh, NULL) == -EBUSY && instance_remove("one", NULL) == -EBUSY, "instances.taken");
	i.supervisor = process_name(getpid());
	check(!instance_write(&i) && !instance_read("one", &r, NULL) && r.state == INSTANCE_RUNNING && r.created_ms == i.created_ms && r.since_ms == i.since_ms &&
		      r.exit_code == -1 && r.restarts == 2 && r.supervisor.pid == getpid() && !strcmp(r.project, "/a \"b\"\n\xef\xbf\xbd"),
	      "instances.state");
	instance_free(&r);
	i.supervisor.start++; // its number is another's now
	instance_write(&i);
	check(!instance_read("one", &r, NULL) && r.state == INSTANCE_LOST, "instances.lost");
	instance_free(&r);
	i.launcher = process_name(getpid());
	instance_write(&i);
	check(!instance_read("one", &r, NULL) && r.state == INSTANCE_STOPPING, "instances.launcher_left");
	instance_free(&r);
	check(!instances_list(&list, &count, NULL) && count == 1 && !strcmp(list[0].name, "one"), "instances.list");
	instance_free(&list[0]);
	free(list);
	snprintf(path, sizeof(path), "%s/one/state", dir);
	int fd = open(path, O_WRONLY | O_TRUNC);
	check(fd >= 0 && write(fd, "{\"state\":\"flying\"}", 18) == 18 && instance_read("one", &r, NULL) == -EINVAL, "instances.damaged_state");
	instance_free(&r);
	close(fd);
	close(lock);
	check(!instance_remove("one", NULL) && instance_read("one", &r, NULL) == -ENOENT, "instances.removed");
	instance_free(&r);
}

int main(void)
{
	names();
	policies();
	processes();
	states();
	return 0;
}

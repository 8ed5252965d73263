// SPDX-License-Identifier: Apache-2.0
// Requests of the host to start a program in a running enclave, and the frames that they come in.
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "init/exec_request.h"
#include "init/exec_user.h"
#include "lib/control.h"
#include "lib/file.h"
#include "tests/folder.h"

static char *programs[] = {"/bin/sh", "/usr/bin/redis-cli", NULL}, *variables[] = {"TERM", "A", NULL}, *envp[] = {"PATH=/bin", "A=1", "B=2", NULL};
static const struct exec_rules none = {.envp = envp, .cwd = "/app"}, any = {.any = true, .variables = variables, .envp = envp, .cwd = "/app"},
			       listed = {.programs = programs, .variables = variables, .envp = envp, .cwd = "/app"};

static void check(bool good, const char *name)
{
	printf(good ? "ok exec_request.%s\n" : "not ok exec_request.%s: not so\n", name);
}

static void gives(const char *name, const struct exec_rules *rules, const char *text, int want, const char *program, const char *says)
{
	struct exec_request r;
	struct fault f = {""};
	int err = exec_request_read(&r, rules, text, strlen(text), &f);

	check(err == want && (err ? strstr(f.text, says) != NULL : !strcmp(r.argv[0], program)), name);
	exec_request_free(&r);
}

static void frames(void)
{
	static struct control_input in;
	struct control_frame f;
	static uint8_t big[CONTROL_MOST];
	int way[2];

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, way))
		return;
	check(!control_send(way[0], CONTROL_EXEC, "{}", 2) && !control_send(way[0], CONTROL_STDIN, NULL, 0), "send");
	for (int k = 0; k < 10; k++) { // a byte at a time
		check(control_room(&in) > 0 && read(way[1], in.data + in.have, 1) == 1, "byte");
		in.have++;
		if (k == 5)
			check(control_next(&in, &f) == 1 && f.type == CONTROL_EXEC && f.len == 2 && !memcmp(f.data, "{}", 2), "frame");
		else if (k < 9)
			check(control_next(&in, &f) == 0, "not_whole");
	}
	check(control_next(&in, &f) == 1 && f.type == CONTROL_STDIN && !f.len && !control_next(&in, &f), "empty_frame");
	check(control_send(way[0], CONTROL_STDIN, big, sizeof(big) + 1) == -EMSGSIZE, "too_long_to_send");
	memcpy(in.data, "\x03\x01\x00\x01", 4);
	in.have = 4, in.at = 0;
	check(control_next(&in, &f) == -EPROTO, "too_long");
	memcpy(in.data, "\x00\x00\x00\x01x", 5);
	in.have = 5, in.at = 0;
	check(control_next(&in, &f) == -EPROTO, "unknown_type");
	close(way[0]);
	close(way[1]);
}

static void environment(void)
{
	static const char text[] = "{\"args\":[\"/bin/sh\",\"-c\",\"x\"],\"env\":{\"A\":\"3\"},\"tty\":{\"rows\":5,\"cols\":6,\"term\":\"vt100\"}}";
	struct exec_request r;

	check(!exec_request_read(&r, &listed, text, strlen(text), NULL) && r.tty && r.rows == 5 && r.cols == 6 && !strcmp(r.cwd, "/app") && !strcmp(r.argv[2], "x") &&
		      !r.argv[3] && !strcmp(r.envp[0], "PATH=/bin") && !strcmp(r.envp[1], "A=3") && !strcmp(r.envp[2], "B=2") &&
		      !strcmp(r.envp[3], "TERM=vt100") && !r.envp[4],
	      "environment");
	exec_request_free(&r);
}

static void is(const char *spec, const char *passwd, const char *group, int want, unsigned int uid, unsigned int gid, size_t groups)
{
	struct exec_user u;
	struct fault f = {""};
	int err = exec_user_find(&u, spec, passwd, group, &f);
	bool good = err == want || (!want && err > 0);

	if (good && !want)
		good = u.uid == uid && u.gid == gid && u.group_count == groups && u.groups[0] == gid;
	printf("%s exec_request.user '%s'%s%s\n", good ? "ok" : "not ok", spec, good ? "" : ": not so: ", good ? "" : f.text);
	exec_user_free(&u);
}

static void users(void)
{
	static const char users[] = "root:x:0:0:root:/root:/bin/sh\nann:x:1000:1000::/home/ann:/bin/sh\n# none\nbad line\nbob:x:1001:50::/:/bin/sh\n";
	static const char groups[] = "root:x:0:\nann:x:1000:ann\nstaff:x:50:ann,bob\ndisk:x:6:ann\n";
	char dir[64], passwd[80], group[80];

	if (!test_folder(dir, "users"))
		return;
	snprintf(passwd, sizeof(passwd), "%s/passwd", dir);
	snprintf(group, sizeof(group), "%s/group", dir);
	check(!file_write(passwd, users, strlen(users), 0600, false, NULL) && !file_write(group, groups, strlen(groups), 0600, false, NULL), "lists");
	is("ann", passwd, group, 0, 1000, 1000, 3);
	is("1000", passwd, group, 0, 1000, 1000, 3);
	is("bob", passwd, group, 0, 1001, 50, 1);
	is("4711", passwd, group, 0, 4711, 0, 1);
	is("ann:disk", passwd, group, 0, 1000, 6, 1);
	is("1:2", passwd, group, 0, 1, 2, 1);
	is("1:2", "/nonexistent", "/nonexistent", 0, 1, 2, 1);
	is("nobody", passwd, group, -ENOENT, 0, 0, 0);
	is("ann:none", passwd, group, -ENOENT, 0, 0, 0);
	is("ann:", passwd, group, -EINVAL, 0, 0, 0);
	is(":disk", passwd, group, -EINVAL, 0, 0, 0);
	is("4294967295", passwd, group, -EINVAL, 0, 0, 0);
	is("0:4294967295", passwd, group, -EINVAL, 0, 0, 0);
	is("99999999999999999999", passwd, group, -EINVAL, 0, 0, 0);
	is("-1", passwd, group, -ENOENT, 0, 0, 0);
}

int main(void)
{
	gives("listed", &listed, "{\"args\":[\"/bin/sh\"]}", 0, "/bin/sh", "");
	gives("by_name", &listed, "{\"args\":[\"redis-cli\",\"x\"]}", 0, "/usr/bin/redis-cli", "");
	gives("any", &any, "{\"args\":[\"ls\"],\"cwd\":\"/tmp\"}", 0, "ls", "");
	gives("none", &none, "{\"args\":[\"/bin/sh\"]}", -EPERM, NULL, "host_exec");
	gives("unlisted", &listed, "{\"args\":[\"/bin/ls\"]}", -EPERM, NULL, "does not list");
	gives("unlisted_end", &listed, "{\"args\":[\"bin/sh\"]}", -EPERM, NULL, "does not list");
	gives("part_of_name", &listed, "{\"args\":[\"cli\"]}", -EPERM, NULL, "does not list");
	gives("folder", &listed, "{\"args\":[\"sh\"],\"cwd\":\"/\"}", -EPERM, NULL, "working directory");
	gives("own_folder", &listed, "{\"args\":[\"sh\"],\"cwd\":\"/app\"}", 0, "/bin/sh", "");
	gives("variable", &listed, "{\"args\":[\"sh\"],\"env\":{\"B\":\"3\"}}", -EPERM, NULL, "host_environment");
	gives("variable_type", &listed, "{\"args\":[\"sh\"],\"env\":{\"A\":3}}", -EINVAL, NULL, "malformed");
	gives("no_args", &listed, "{}", -EINVAL, NULL, "names a program");
	gives("empty_args", &listed, "{\"args\":[]}", -EINVAL, NULL, "names a program");
	gives("empty_program", &any, "{\"args\":[\"\"]}", -EINVAL, NULL, "first a program");
	gives("args_type", &listed, "{\"args\":[\"sh\",1]}", -EINVAL, NULL, "texts");
	gives("nul", &listed, "{\"args\":[\"/bin/sh\\u0000x\"]}", -EINVAL, NULL, "JSON");
	gives("unknown_key", &listed, "{\"args\":[\"sh\"],\"uid\":0}", -EINVAL, NULL, "unknown key");
	gives("unknown_tty_key", &listed, "{\"args\":[\"sh\"],\"tty\":{\"rows\":1,\"cols\":1,\"x\":1}}", -EINVAL, NULL, "unknown key");
	gives("tty_size", &listed, "{\"args\":[\"sh\"],\"tty\":{\"rows\":99999,\"cols\":1}}", -EINVAL, NULL, "rows");
	gives("twice", &listed, "{\"args\":[\"sh\"],\"args\":[\"sh\"]}", -EINVAL, NULL, "JSON");
	gives("relative_folder", &any, "{\"args\":[\"sh\"],\"cwd\":\"x\"}", -EINVAL, NULL, "absolute");
	gives("user", &any, "{\"args\":[\"sh\"],\"user\":\"a:b\"}", 0, "sh", "");
	gives("user_of_listed", &listed, "{\"args\":[\"sh\"],\"user\":\"root\"}", -EPERM, NULL, "host_exec: any");
	gives("user_type", &any, "{\"args\":[\"sh\"],\"user\":0}", -EINVAL, NULL, "user must be a text");
	gives("user_nobody", &any, "{\"args\":[\"sh\"],\"user\":\"\"}", -EINVAL, NULL, "user must be a text");
	environment();
	frames();
	users();
	return 0;
}
